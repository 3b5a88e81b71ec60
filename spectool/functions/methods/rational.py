"""Rational Krylov without solves: f is a sum of poles, and one Lanczos run serves all of them.

Source
    van den Eshof, Frommer, Lippert, Schilling and van der Vorst, Numerical methods for the QCD
    overlap operator, Comput. Phys. Commun. 146 (2002); Frommer and Simoncini, Stopping criteria for
    rational matrix functions of Hermitian and symmetric matrices, SISC 30 (2008); Chen, Greenbaum,
    Musco and Musco, Error bounds for Lanczos-based matrix function approximation, SIMAX 43 (2022).
Deviations
    (1) The rational function is made for an interval that Ritz values must confirm: if ``f - r`` on
    the Jacobi matrix is too large it is made anew, for a wider interval or a smaller tolerance,
    and the run starts again. (2) Errors of all poles are added with their signs, as a function
    of A times the newest Lanczos vector.
Cost per step and column
    That of `ShiftedLanczos`: 1 matvec, 2 reductions, a vector per real and two per complex pole,
    fewer when poles are solved. No basis is stored, and none is regenerated.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.errors import BreakdownError, InputError
from spectool.functions.estimates.hermitian import POINTS, Jacobi, arcsine_points
from spectool.functions.methods.rational_design import (
    ALLOWED,
    FLOOR,
    Design,
    Premise,
    first_premise,
    revised,
)
from spectool.functions.methods.shifted_lanczos import ShiftedLanczos
from spectool.functions.poles.fractions import PoleSum
from spectool.functions.scalar import safe_norm
from spectool.functions.task import (
    Answer,
    FunctionState,
    Target,
    Task,
    column_norms,
    relative,
)
from spectool.kernels.shifted import first_columns
from spectool.results import Status

SPACING = 4
"""Fewest steps between two checks; twice as many before the first."""
SLACK = 10.0
"""Most that the bound may exceed rtol where the estimate meets it."""
FEWER = 0.3
"""Part of the last change of the answer that the estimated error is at least."""
SOLVED = 1e-3
"""Part of rtol that all poles together may err by which leave."""
LEFT = 0.3
"""Part of rtol that is always left to Lanczos."""
CROWD = 60
"""Points on either side of zero for functions that jump there."""
GUESSED = 500.0
"""Most by which tolerances are tightened at the first check, when a restart is cheap."""
MAX_RESTARTS = 8


class _ContradictedError(Exception):
    """Ritz values ask for another premise."""

    def __init__(self, premise: Premise) -> None:
        super().__init__()
        self.premise = premise


def rational_funm(task: Task, interval: Interval) -> Answer:
    """Approximate all targets for all columns, one after the other.

    Parameters
    ----------
    task : Task
        Hermitian operator.
    interval : tuple of float
        ``(lower, upper)`` where the spectrum is expected; a lower end that is too small, negative
        for a definite A too, does no harm. Is widened if a Ritz value lies outside.

    Raises
    ------
    InputError
        If a target is not to be had from poles, or their vectors exceed ``max_memory``.
    NotPositiveDefiniteError
        If a Ritz value lies where f is undefined.
    BreakdownError
        If Ritz values keep contradicting, or products are NaN.

    Notes
    -----
    Stops once the estimate is within rtol and a bound within 10 rtol, of all targets. The estimate
    of ``r(A) b - y = g(A) v_{k+1}`` is the mean of g over the arcsine measure, and 0.3 of the
    answer's last change at least; that of ``f(A) b - r(A) b`` is twice the norm of ``(f - r)(T)
    e_1``, or the error that r was made for.
    """
    lower, upper = float(interval[0]), float(interval[1])
    if not (np.isfinite([lower, upper]).all() and lower <= upper):
        raise InputError(f"interval must be finite and (lower, upper); got ({lower}, {upper}).")
    task, unit = _in_range(task, max(abs(lower), abs(upper)))
    premise = first_premise(task, (lower / unit, upper / unit))
    norms = column_norms(task.B)
    shape = (len(task.targets), task.n_columns)
    Y, error, rounding = task.empty(), np.full(shape, np.inf), np.zeros(shape)
    statuses: list[Status] = []
    steps, poles, restarts = 0, 0, 0
    design = Design(task, premise)
    for j in range(task.n_columns):
        spent = 0
        while True:
            run = _Run(task, design, j, float(norms[j]), spent)
            try:
                status = run.go(final=restarts >= MAX_RESTARTS)
                break
            except _ContradictedError as found:
                design, restarts, spent = Design(task, found.premise), restarts + 1, run.steps
        steps, poles = steps + run.steps, max(poles, design.poles.size)
        statuses.append(status)
        run.answer(Y[:, :, j])
        error[:, j], rounding[:, j] = norms[j] * run.error, norms[j] * run.rounding
        if status in (Status.STOPPED, Status.INTERRUPTED, Status.TIMED_OUT):
            break
    failed = [status for status in statuses if status is not Status.CONVERGED]
    again = f", {restarts} restarts" if restarts else ""
    return Answer(
        Y, error, rounding, failed[0] if failed else Status.CONVERGED, 2 * steps + task.n_columns,
        f"rational, {poles} poles, {steps} steps{again}",
    )  # fmt: skip


def _in_range(task: Task, size: float) -> tuple[Task, float]:
    """Return the task for A in another unit, a power of two, if squares of its own overflow."""
    limit = float(np.finfo(task.operator.dtype).max) ** 0.2
    if size == 0 or 1 / limit <= size <= limit:
        return task, 1.0
    root = float(np.ldexp(1.0, -(math.frexp(size)[1] // 2)))
    unit = 1.0 / (root * root)
    scaled = task.operator.scaled(np.full(task.operator.n, root))
    scaled.counter = task.operator.counter
    targets = tuple(Target(target.function, target.t * unit) for target in task.targets)
    return replace(task, operator=scaled, targets=targets), unit


class _Run:
    """One column with one design.

    Attributes
    ----------
    error, rounding, norms : ndarray, shape (T,)
        Of the current sums, relative to ``||b||``.
    left : ndarray, shape (T,)
        Bounds of errors by which poles have left.
    met : bool
        Whether all targets are within rtol.
    """

    def __init__(self, task: Task, design: Design, j: int, norm: float, spent: int) -> None:
        self.task, self.design, self.norm, self.spent = task, design, norm, spent
        with np.errstate(under="ignore"):
            b = task.B[:, j].astype(np.result_type(task.B.dtype, np.float64)) / norm
        self.start = np.ascontiguousarray(b, dtype=task.operator.dtype)
        self.solver = ShiftedLanczos(
            task.operator, self.start, design.poles, design.residues, design.partners
        )
        T = len(task.targets)
        self.error, self.rounding, self.norms = np.full(T, np.inf), np.zeros(T), np.zeros(T)
        self.left, self.met = np.zeros(T), False
        self._apart = np.zeros(T)
        self._seen = 0

    @property
    def steps(self) -> int:
        """Steps of this column, those before restarts included."""
        return self.spent + self.solver.process.steps

    def go(self, *, final: bool) -> Status:
        """Run until the targets are met or a limit is; raises _ContradictedError unless final."""
        limits, process, check = self.task.limits, self.solver.process, 2 * SPACING
        behind = 1 + max(found.factor for found in self.design.sums)
        status: Status | None = None
        try:
            while status is None:
                status = limits.spent(self.steps, self.task.operator.n_matvecs + behind)
                if status is not None:
                    break
                self.solver.step()
                if self.solver.crossed:
                    self._crossed(final=final)
                if process.steps < check and not process.invariant:
                    continue
                check = process.steps + max(SPACING, process.steps // 12)
                self.look(final=final)
                worst = relative(self.error, self.norms)
                if limits.stop(FunctionState(self.steps, worst, self.task.operator.n_matvecs)):
                    status = Status.STOPPED
                if self.met:
                    status = Status.CONVERGED
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        if not self.met and process.steps:
            self.look(final=True, closing=True)
        return status or Status.MAXITER

    def look(self, *, final: bool, closing: bool = False) -> None:
        """Estimate the errors of the current sums; let poles leave that are solved."""
        process = self.solver.process
        jacobi = Jacobi(np.array(process.alpha), np.array(process.beta))
        k = process.steps
        coefficients = self._coefficients(jacobi, k)
        self.norms = np.array([safe_norm(np.abs(row)) for row in coefficients])
        wanted = self.task.rtol * self.norms
        estimate, bound = self._by_krylov(jacobi, wanted)
        passed = bool((estimate + self.left <= wanted).all() and (bound <= SLACK * wanted).all())
        halfway = bool((estimate <= self.task.rtol**0.5 * self.norms).all())
        if passed or closing or k >= 2 * self._seen:
            self._seen = k
            self._compare(jacobi, wanted, resolved=passed or halfway, final=final)
        self.error = bound + self.left + self._apart
        if passed:
            # The estimate trusts a smooth spectrum; the last change of the answer does not.
            before = max(k - max(SPACING, k // 12), k // 2, 1)
            coefficients[:, :before] -= self._coefficients(jacobi, before)
            change = np.array([safe_norm(np.abs(row)) for row in coefficients])
            if process.invariant:
                change[:] = 0.0
            kept = np.minimum(np.maximum(estimate, FEWER * change), bound) + self.left
            self.error = kept + self._apart
            # What f and r differ by cannot be waited for.
            room = np.maximum(wanted - self._apart, LEFT * wanted)
            self.met = bool((kept <= room).all()) or process.invariant
            if not final and (self.left > 0.5 * wanted).any():
                raise _ContradictedError(self.design.premise._replace(hold=True))

    def _coefficients(self, jacobi: Jacobi, k: int) -> Array:
        """Return ``r(T_k) e_1`` of all targets, shape (T, k)."""
        design, alpha, beta = self.design, jacobi.alpha[:k], jacobi.beta[: k - 1]
        out = np.zeros((len(design.sums), k), dtype=np.complex128)
        scratch = np.empty((2, k), dtype=np.complex128)
        first_columns(alpha, beta, design.poles, design.residues, design.partners, scratch, out)
        for row, found in zip(out, design.sums, strict=True):
            row[0] += found.constant
            for _ in range(found.factor):
                product = alpha * row
                product[1:] += beta * row[:-1]
                product[:-1] += beta * row[1:]
                row[:] = product
        return out

    def _by_krylov(self, jacobi: Jacobi, wanted: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return estimates and bounds of ``r(A) b - y`` over ``||b||``, of the active poles."""
        T = len(wanted)
        if self.solver.process.invariant:
            return np.zeros(T), np.zeros(T)
        estimate, bound = np.zeros(T), np.zeros(T)
        design, poles = self.design, self.design.poles
        active, last = self.solver.active, self.solver.last
        single = np.zeros((T, poles.size))
        for t, found in enumerate(design.sums):
            points = np.concatenate(_points(jacobi, found))
            with np.errstate(all="ignore"):
                power = np.abs(points[:, None]) ** found.factor
                near = design.residues[t] * last / (points[:, None] - poles)
                far = design.partners[t] * last.conj() / (points[:, None] - poles.conj())
                single[t] = (power * (np.abs(near) + np.abs(far))).max(axis=0)
                g = np.abs((power * (near + far))[:, active].sum(axis=1))
            bound[t] = float(g.max()) if np.isfinite(g).all() else np.inf
            inner = g[:POINTS]
            mean = safe_norm(inner) / inner.size**0.5 if np.isfinite(inner).all() else np.inf
            estimate[t] = min(mean, bound[t])
        if not design.premise.hold and poles.size:
            small = single <= SOLVED * wanted[:, None] / poles.size
            solved = active & small.all(axis=0)
            self.left += single[:, solved].sum(axis=1)
            self.solver.leave(solved)
        return estimate, bound

    def _compare(self, jacobi: Jacobi, wanted: FloatArray, *, resolved: bool, final: bool) -> None:
        """Compare f and r at the Ritz values; raises _ContradictedError if they differ."""
        theta, S = jacobi.eigen
        s, eps, k = S[0], self.task.eps, theta.size
        apart, told = np.zeros((2, len(wanted)))
        # Nearer to zero an eigenvalue is rounding, and no other premise would serve it better.
        resolved_from = FLOOR * eps * float(np.abs(theta).max())
        for t, (target, found) in enumerate(zip(self.task.targets, self.design.sums, strict=True)):
            values, slope = target.function.with_slope(target.checked(theta, eps))
            difference = np.abs(found(theta) - values) * np.abs(s)
            apart[t] = safe_norm(difference)
            known = (np.abs(theta) >= resolved_from) | (target.function.domain == "any")
            told[t] = safe_norm(difference[known])
            size = abs(target.t) * float(np.abs(theta).max())
            terms = np.abs(theta[:, None] - found.poles)
            amplitude = (np.abs(found.residues) / terms).sum(axis=1) + abs(found.constant)
            # A^m multiplies what rounding has put into large eigenvalues' directions.
            amplitude *= max(abs(theta[0]), abs(theta[-1])) ** found.factor
            self.rounding[t] = eps * (
                size * safe_norm(slope * s) + k**0.5 * safe_norm(amplitude * s)
            )
            # Equioscillating errors: a mean of few points may miss the peaks.
            inside = found.interval[0] <= theta[0] and theta[-1] <= found.interval[1]
            peak = found.absolute_error(self.norms[t], 1.0) if inside else np.inf
            self._apart[t] = min(2.0 * apart[t], peak)
        allowed = ALLOWED * wanted
        if not final and (told > allowed).any():
            # Few steps guess the size of the answer, which errors are compared with, within limits.
            first = GUESSED if self.steps == 2 * SPACING else 0.0
            shown = told if resolved else np.minimum(told, first * allowed)
            premise = revised(self.task, self.design, theta, shown, allowed)
            if premise != self.design.premise:
                raise _ContradictedError(premise)

    def _crossed(self, *, final: bool) -> None:
        """Tell why a pole lies inside the spectrum, or ask for another premise."""
        process = self.solver.process
        jacobi = Jacobi(np.array(process.alpha), np.array(process.beta))
        theta = jacobi.eigen[0]
        for target in self.task.targets:
            if target.function.domain != "nonzero":
                target.checked(theta, self.task.eps)
        none = np.zeros(len(self.task.targets))
        premise = revised(self.task, self.design, theta, none, none)
        if final or premise == self.design.premise:
            raise BreakdownError(
                f"a pole of the rational function lies among the Ritz values {theta[0]:.6g} to "
                f"{theta[-1]:.6g}, made for {premise.interval}. Use method='lanczos'."
            )
        raise _ContradictedError(premise)

    def answer(self, out: Array) -> None:
        """Write the approximations of all targets to out, shape (T, n)."""
        sums, T = self.solver.sums, len(self.design.sums)
        for t, found in enumerate(self.design.sums):
            y: Array = sums[t] if len(sums) == T else sums[t] + 1j * sums[T + t]
            constant = complex(found.constant)
            if constant != 0:
                y = y + (constant if constant.imag else constant.real) * self.start
            for _ in range(found.factor):
                y = self.task.operator.matmul(y)
            np.multiply(y, self.norm, out=out[t], casting="same_kind")


class _Points(NamedTuple):
    """Where errors are looked at: points of the arcsine measure, and others for the maximum."""

    even: FloatArray
    more: FloatArray


def _points(jacobi: Jacobi, found: PoleSum) -> _Points:
    """Return points between the ends of the spectrum, which Ritz values tell."""
    low, high = jacobi.ends
    if found.interval[0] >= 0:
        low, high = max(low, 0.0), max(high, 0.0)
    elif found.interval[1] <= 0:
        low, high = min(low, 0.0), min(high, 0.0)
    even, more = arcsine_points(low, high), np.array([low, high])
    if not found.gap:
        return _Points(even, np.concatenate([more, np.clip(found.poles.real, low, high)]))
    # Poles crowd at zero, and errors with them.
    gap = jacobi.gap
    least = max(gap, float(np.abs(found.poles).min()))
    crowd = np.geomspace(least, max(abs(low), abs(high), 2 * least), CROWD)
    more = np.concatenate([more, crowd, -crowd, [gap]])
    return _Points(np.copysign(np.maximum(np.abs(even), gap), even), more)
