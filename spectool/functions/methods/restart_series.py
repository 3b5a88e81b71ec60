"""A sum of shifted systems ``(A - p_q) x = b`` that is restarted: what is known of each target.

Source
    Simoncini, Restarted full orthogonalization method for shifted linear systems, BIT 43 (2003);
    Frommer, Guettel and Schweitzer, Efficient and stable Arnoldi restarts for matrix functions
    based on quadrature, SIMAX 35 (2014); Eiermann, Ernst and Guettel, Deflated restarting for
    matrix functions, SIMAX 32 (2011).
Deviations
    The error before a cycle is seen in what the cycle changes; by how much these changes shrink
    tells the error after it. The error function ``g(z) = sum_q w_q rho_q / (z - p_q)``, the error
    being ``g(A) v``, bounds it where the spectrum or the field of values is known.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from spectool._types import Array, FloatArray
from spectool.functions.poles.fractions import PoleSum
from spectool.functions.scalar import safe_norm
from spectool.functions.task import Target
from spectool.krylov.krylov_schur import Projection

SAFETY = 4.0
"""By how much the contraction of the error function may be better than the error's."""
LEAST = 0.2
"""Part of the last change of the answer that the estimated error is at least."""
SLACK = 10.0
"""Most that the bound may exceed rtol where the estimate meets it: what the verb promises."""
SETTLED = 3
"""Cycles that changed less than the sum of poles errs by, after which no more are made."""
LUCKY = 4
"""Last cycles whose changes are looked at, shrunk by the contraction since."""
TRUSTED = 3
"""Cycles in a row whose Ritz values a sum must cover where it did not cover those of all."""
SLOWEST = 0.999
"""Contraction per cycle beyond which the last change tells nothing."""


def shifted_solutions(T: Array, poles: Array, C: Array) -> Array:
    """Return ``(T - p_q)^-1 c_q`` as rows, shape (q, k), for T upper triangular and rows of C."""
    X = C.astype(np.complex128)
    for i in range(len(T) - 1, -1, -1):
        X[:, i] = (X[:, i] - X[:, i + 1 :] @ T[i, i + 1 :]) / (T[i, i] - poles)
    return X


class Bounds(NamedTuple):
    """Of a truncation error, relative to the norm of the start vector.

    Attributes
    ----------
    upper : float
        It is at most that; inf where nothing is known.
    shown : float
        What may come true of it, while which is large nothing is met; inf where nothing is known.
    """

    upper: float
    shown: float


class PoleSeries:
    """One target of one column, relative to the norm of the start vector.

    Parameters
    ----------
    target : Target
        f and t.
    total : PoleSum
        What replaces it.
    real : bool
        Whether A is real, so that conjugate poles have conjugate solutions.
    unit : float
        Size of A's eigenvalues, in which poles are held.
    normal : bool
        Whether A is known to be normal, so that a sum errs as it does at eigenvalues.

    Attributes
    ----------
    truncation, rounding : float
        Estimated errors of the current answer, that of the sum of poles left out.
    norm : float
        Norm of the current answer, set by the caller.
    off : float
        What the sum of poles is seen to err by, set by the caller with ``compared``.
    compared : bool
        Whether that has been looked at.
    met : bool
        Whether the answer is good enough.
    spent : bool
        Whether it is as good as the sum of poles is, which is not good enough.
    changes : list of float
        Norms of what the cycles changed.
    """

    def __init__(
        self, target: Target, total: PoleSum, *, real: bool, unit: float, normal: bool = False
    ) -> None:
        self.target, self.sum, self.real = target, total, real
        self._normal, self._largest = normal, 0.0
        self._turns = not (real and total.is_real)
        poles, residues = total.poles, total.residues
        partners = np.zeros_like(residues)
        if real:
            poles, residues, partners = total.halves
        self._unit, self._alike = unit, target.function.name == "sign"
        self._poles, self._residues, self._partners = poles / unit, residues / unit, partners / unit
        self._rho = np.ones(poles.size, dtype=np.complex128)
        self.truncation, self.rounding, self.norm, self.off = math.inf, 0.0, 0.0, 0.0
        self.met = self.spent = self.compared = False
        self.changes: list[float] = []
        self._covered, self._strayed = 0, False

    @classmethod
    def exact(cls, target: Target) -> PoleSeries:
        """Return the series of an answer that needs no poles."""
        none = np.zeros(0, dtype=np.complex128)
        total = PoleSum(0.0, none, none, 0, 0.0, True, 0.0, (0.0, 0.0))
        series = cls(target, total, real=False, unit=1.0)
        series.truncation, series.met = 0.0, True
        return series

    @property
    def poles(self) -> Array:
        """Poles whose conjugates are none, in the unit of A."""
        return self._poles * self._unit

    @property
    def error(self) -> float:
        """Estimate for the current answer, rounding left out."""
        return self.truncation + self.approximation

    @property
    def approximation(self) -> float:
        """Error of the sum of poles itself; larger where cycles cancel, unless A is normal."""
        size = self.norm if self._normal else max(self.norm, self._largest)
        return max(self.sum.absolute_error(size, 1.0), self.off)

    def projected(self, seen: Projection) -> Array:
        """Return r of a cycle's H times its start, shape (k,), for the sum of poles r."""
        fresh = PoleSeries(self.target, self.sum, real=self.real, unit=self._unit)
        return fresh.advance(seen, 0.0)

    def advance(self, seen: Projection, eps: float) -> Array:
        """Return the coefficients, shape (k,), by which this cycle changes the answer.

        Residuals are brought up to date, and the rounding that errors of ``eps ||A||`` cause.
        Real where A and the sum of poles are.
        """
        with np.errstate(all="ignore"):  # a pole at an eigenvalue: infinite, and judged so
            change = self._advance(seen, eps)
        return change if self._turns else np.asarray(change.real)

    def _advance(self, seen: Projection, eps: float) -> Array:
        T = seen.T / self._unit
        start = np.tile(seen.Q[seen.first].conj(), (self._poles.size, 1))
        X = shifted_solutions(T, self._poles, start)
        slopes = self._combined(shifted_solutions(T, self._poles, X), seen)
        change = self._combined(X, seen)
        weights = np.abs(self._residues * self._rho) + np.abs(self._partners * self._rho)
        canceled = weights @ np.abs(X)
        if not self.changes:
            change[seen.first] += self.sum.constant
        for part in (
            eps * safe_norm(np.abs(slopes)),
            eps * safe_norm(np.abs(change)),
            float(np.finfo(np.float64).eps) * safe_norm(canceled),
        ):
            self.rounding = math.hypot(self.rounding, part)
        self._rho *= -(seen.below / self._unit) * (X @ seen.Q[-1])
        return change

    def _combined(self, X: Array, seen: Projection) -> Array:
        total = seen.Q @ ((self._residues * self._rho) @ X)
        if self.real:
            total = total + (seen.Q @ ((self._partners.conj() * self._rho) @ X)).conj()
        return np.asarray(total)

    def error_function(self, z: Array) -> FloatArray:
        """Return ``|g|`` at points z, shape of z: the error is ``g(A) v``.

        For the sign, whose terms cancel where all eigenvalues seen have one, the sum of moduli.
        """
        z = np.asarray(z, dtype=np.complex128)[..., None] / self._unit
        with np.errstate(all="ignore"):
            terms = [self._residues * self._rho / (z - self._poles)]
            if self.real:
                terms.append(self._partners * self._rho.conj() / (z - self._poles.conj()))
            if self._alike:
                terms = [np.abs(term) for term in terms]
            g = np.abs(sum(term.sum(axis=-1) for term in terms))
        return np.asarray(np.where(np.isfinite(g), g, np.inf), dtype=np.float64)

    def judge(self, change: float, bounds: Bounds, wanted: float, *, covered: bool) -> None:
        """Estimate the error: the last cycle's was the change, which shrinks at a pace seen.

        Nothing is claimed while Ritz values are not ``covered`` by the sum of poles, nor in the
        next cycles: short ones do not find the same eigenvalues each time.
        """
        bound, shown = bounds
        self.changes.append(change)
        self._largest = max(self._largest, change)
        paces = [
            (change / self.changes[-1 - span]) ** (1.0 / span)
            for span in (1, 2, 4, 8, 16)
            if len(self.changes) > span and self.changes[-1 - span] > 0
        ]
        contraction = max(paces) if paces else math.inf
        # A single change may be small by luck.
        lately = self.changes[: -LUCKY - 1 : -1]
        change = max(size * min(contraction, 1.0) ** i for i, size in enumerate(lately))
        truncation = bound
        if contraction < SLOWEST:
            part = max(SAFETY * contraction / (1.0 - contraction), LEAST)
            truncation = min(part * change, bound)
        self._covered = self._covered + 1 if covered else 0
        self._strayed = self._strayed or not covered
        if self._strayed and self._covered < TRUSTED:
            truncation = math.inf
        self.truncation = truncation
        allowed = max(wanted, self.rounding)
        small = not SLACK * max(allowed, self.approximation) < shown < math.inf
        self.met = small and self.error <= allowed
        settled = len(self.changes) > SETTLED and max(self.changes[-SETTLED:]) <= self.approximation
        self.spent = small and settled and self.approximation > allowed
