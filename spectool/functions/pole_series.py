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
from dataclasses import dataclass, field

import numpy as np

from spectool._types import Array, FloatArray
from spectool.functions.poles import PoleSum
from spectool.functions.scalar import safe_norm
from spectool.functions.task import Target
from spectool.krylov.krylov_schur import Projection

SAFETY = 4.0
"""By how much the contraction of the error function may be better than the error's."""
LEAST = 0.2
"""Part of the last change of the answer that the estimated error is at least."""
SLACK = 10.0
"""Most that the bound may exceed rtol where the estimate meets it: what the verb promises."""
SLOWEST = 0.999
"""Contraction per cycle beyond which the last change tells nothing."""


def shifted_solutions(T: Array, poles: Array, C: Array) -> Array:
    """Return ``(T - p_q)^-1 c_q`` as rows, shape (q, k), for T upper triangular and rows of C."""
    X = C.astype(np.complex128)
    for i in range(len(T) - 1, -1, -1):
        X[:, i] = (X[:, i] - X[:, i + 1 :] @ T[i, i + 1 :]) / (T[i, i] - poles)
    return X


@dataclass(eq=False)
class PoleSeries:
    """One target of one column, relative to ``||b||``.

    Attributes
    ----------
    target : Target
        f and t.
    sum : PoleSum
        What replaces it.
    error, rounding : float
        Estimates for the current answer.
    norm : float
        Norm of the current answer, set by the caller.
    met : bool
        Whether it is good enough.
    """

    target: Target
    sum: PoleSum
    real: bool
    error: float = math.inf
    rounding: float = 0.0
    norm: float = 0.0
    met: bool = False
    poles: Array = field(init=False)
    residues: Array = field(init=False)
    partners: Array = field(init=False)
    rho: Array = field(init=False)
    changes: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.real:
            self.poles, self.residues, self.partners = self.sum.halves
        else:
            self.poles, self.residues = self.sum.poles, self.sum.residues
            self.partners = np.zeros_like(self.residues)
        self.rho = np.ones(self.poles.size, dtype=np.complex128)

    @property
    def approximation(self) -> float:
        """Error of the sum of poles itself."""
        return self.sum.absolute_error(self.norm, 1.0)

    def advance(self, seen: Projection, eps: float, size: float) -> Array:
        """Return the coefficients, shape (k,), by which this cycle changes the answer.

        Residuals and the rounding that errors of ``eps size`` in A cause are brought up to date.
        """
        roundoff = float(np.finfo(np.float64).eps)
        start = np.tile(seen.Q[seen.first].conj(), (self.poles.size, 1))
        X = shifted_solutions(seen.T, self.poles, start)
        slopes = self._combined(shifted_solutions(seen.T, self.poles, X), seen)
        change = self._combined(X, seen)
        canceled = (np.abs(self.residues * self.rho) + np.abs(self.partners * self.rho)) @ np.abs(X)
        for part in (
            eps * size * safe_norm(np.abs(slopes)),
            eps * safe_norm(np.abs(change)),
            roundoff * safe_norm(canceled),
        ):
            self.rounding = math.hypot(self.rounding, part)
        if not self.changes:
            change[0] += self.sum.constant
        self.rho *= -seen.below * (X @ seen.Q[-1])
        return change

    def _combined(self, X: Array, seen: Projection) -> Array:
        total = seen.Q @ ((self.residues * self.rho) @ X)
        if self.real:
            total = total + (seen.Q @ ((self.partners.conj() * self.rho) @ X)).conj()
        return np.asarray(total)

    def error_function(self, z: Array) -> FloatArray:
        """Return ``|g|`` at points z, shape of z: the error is ``g(A) v``."""
        z = np.asarray(z, dtype=np.complex128)[..., None]
        with np.errstate(all="ignore"):
            g = (self.residues * self.rho / (z - self.poles)).sum(axis=-1)
            if self.real:
                g = g + (self.partners * self.rho.conj() / (z - self.poles.conj())).sum(axis=-1)
        return np.asarray(np.where(np.isfinite(g), np.abs(g), np.inf), dtype=np.float64)

    def judge(self, change: float, bound: float, wanted: float) -> None:
        """Estimate the error: the last cycle's was the change, which shrinks at a pace seen."""
        self.changes.append(change)
        paces = [
            (change / self.changes[-1 - span]) ** (1.0 / span)
            for span in (1, 2, 4, 8, 16)
            if len(self.changes) > span and self.changes[-1 - span] > 0
        ]
        contraction = max(paces) if paces else math.inf
        self.error = bound
        if contraction < SLOWEST:
            part = max(SAFETY * contraction / (1.0 - contraction), LEAST)
            self.error = min(part * change, bound)
        self.error += self.approximation
        allowed = max(wanted, self.rounding)
        self.met = self.error <= allowed and not SLACK * allowed < bound < math.inf
