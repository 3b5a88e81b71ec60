"""Restarted Lanczos and Arnoldi: ``f(t A) b`` in the memory of ``restart`` vectors.

Source
    As ``pole_series``; Wu and Simon, Thick-restart Lanczos method for large symmetric eigenvalue
    problems, SIMAX 22 (2000), and Stewart, A Krylov-Schur algorithm for large eigenproblems, SIMAX
    23 (2001), for keeping Ritz vectors.
Deviations
    f is replaced by a sum of poles: of an interval for Hermitian A, of contours around the field of
    values for others. Kept are the Ritz vectors at which the error function is largest. Where a
    later cycle finds Ritz values at which the sum is wrong, all starts again with a wider one.
Cost per step
    1 matvec, 3 reductions, ``4 restart n`` values of traffic; ``restart + 3`` vectors, and one per
    target. Without deflation two to fifty times the steps of the method that is not restarted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import InputError
from spectool.functions.estimates.hessenberg import (
    Evaluation,
    SmallMatrix,
    function_of,
    rounding_of,
)
from spectool.functions.methods.restart_region import PlaneRegion, RealRegion
from spectool.functions.methods.restart_series import Bounds, PoleSeries
from spectool.functions.poles.contours import divided, power_taken_out, without_power
from spectool.functions.poles.fractions import LEAST_RTOL, PoleSum
from spectool.functions.scalar import safe_norm
from spectool.functions.task import Answer, FunctionState, Target, Task, column_norms
from spectool.krylov.krylov_schur import KrylovSchur, Projection
from spectool.results import Status

RESTART, LEAST_RESTART = 30, 4
"""Vectors of a cycle: by default, and at least."""
KEPT = 0.4
"""Part of the vectors that a restart keeps."""
PART = 0.1
"""Part of rtol that the sum of poles may err by."""
MOST_DESIGNS, MOST_TIGHTER = 12, 3
"""Sums of poles for a wider region, and for a smaller error."""
PATIENCE = 40
"""Cycles whose changes must be smaller than those of as many before, or it has stagnated."""
PROGRESS = 0.95
"""By this factor, in the geometric mean."""


def restarted_funm(task: Task, *, restart: int = RESTART) -> Answer:
    """Approximate all targets for all columns with a basis of ``restart`` vectors.

    Raises NotPositiveDefiniteError or InputError if f is undefined at an eigenvalue, or has no
    partial fractions near the spectrum.
    """
    if restart < LEAST_RESTART and restart < task.operator.n:
        raise InputError(
            f"restart must be at least {LEAST_RESTART}; got {restart}. Shorter cycles see "
            "too little of the spectrum."
        )
    Y = task.empty()
    shape = (len(task.targets), task.n_columns)
    error, rounding = np.full(shape, np.inf), np.zeros(shape)
    status, n_reductions, steps, kind = Status.CONVERGED, 0, 0, Y.dtype
    answers: list[tuple[list[int], int, Array]] = []
    for j in range(task.n_columns):
        for indices in _groups(task.targets):
            column = Column(task, j, indices, restart)
            ended = column.run()
            norm = column.norm
            y, lost = in_dtype(column.y, task.operator.dtype, norm)
            answers.append((indices, j, y))
            error[indices, j] = 0.0 if norm == 0 else np.inf
            for index, series in zip(indices, column.series, strict=False):
                if series.error <= series.norm:  # else no digit is known
                    error[index, j] = norm * series.error
                rounding[index, j] = norm * series.rounding
            rounding[indices, j] += lost
            n_reductions += 3 * column.process.steps + 1
            steps = max(steps, column.process.steps)
            kind = np.result_type(kind, *([np.complex64] if np.iscomplexobj(column.y) else []))
            if ended is not Status.CONVERGED:
                status = ended
        if status in (Status.STOPPED, Status.INTERRUPTED, Status.TIMED_OUT):
            break
    Y = Y.astype(kind, copy=False)
    for indices, j, y in answers:
        Y[indices, :, j] = y
    name = "lanczos" if task.operator.assume_a != "gen" else "arnoldi"
    method = f"restarted {name}, {steps} steps, restart {restart}"
    return Answer(Y, error, rounding, status, n_reductions, method)


def in_dtype(y: Array, dtype: np.dtype[Any], factor: float = 1.0) -> tuple[Array, FloatArray]:
    """Return ``factor y``, rows, in an operator's data type, and the norms of what that loses.

    Complex y stay complex. Raises InputError if the data type does not hold them.
    """
    dtype = np.result_type(dtype, np.complex64) if np.iscomplexobj(y) else dtype
    with np.errstate(all="ignore"):
        exact = np.float64(factor) * y
        cast = exact.astype(dtype)
    if not np.isfinite(cast).all():
        raise InputError(
            f"f(tA) b must be finite in {dtype}; its entries grow to {np.abs(y).max():.3g} times "
            f"{factor:.3g}. Rescale b or t, or pass A in double precision."
        )
    return cast, column_norms((exact - cast).T)


def _groups(targets: tuple[Target, ...]) -> list[list[int]]:
    """Return which targets share a start vector ``(|t| A)^m b``."""
    found: dict[tuple[int, float], list[int]] = {}
    for index, target in enumerate(targets):
        m = power_taken_out(target)
        found.setdefault((m, abs(target.t) if m else 1.0), []).append(index)
    return list(found.values())


class Column:
    """One column of B: a basis that is restarted, and a series of poles for each target.

    Attributes
    ----------
    norm : float
        Of the start vector; all else is relative to it.
    y : ndarray, shape (targets, n)
        Answers so far.
    series : list of PoleSeries
        One per target, none before the first cycle.
    """

    def __init__(self, task: Task, j: int, indices: list[int], restart: int) -> None:
        operator = task.operator
        self.task, self.operator = task, operator
        self.targets = [task.targets[index] for index in indices]
        start = np.ascontiguousarray(task.B[:, j])
        self._power = power_taken_out(self.targets[0])
        size = operator.dtype.type(abs(self.targets[0].t))  # spares over- and underflow
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(self._power):
                start = operator.matmul(start) * size
        if not np.isfinite(start).all():
            raise InputError(
                f"products of A with b must be finite; they overflow {operator.dtype} before "
                f"{self.targets[0].function.name} is applied. Rescale A or b."
            )
        self.norm = safe_norm(np.abs(start))
        self._start = start / self.norm if self.norm > 0 else start
        self.process = KrylovSchur(operator, self._start, restart)
        self.y: Array = np.zeros((len(indices), operator.n), dtype=operator.dtype)
        self.series: list[PoleSeries] = []
        region = RealRegion if self.process.hermitian else PlaneRegion
        self._region = region(task.eps)
        self._rtols = [PART * task.rtol] * len(indices)
        self._size = 0.0
        self._designs = 0
        self._lost = False

    def run(self) -> Status:
        """Repeat cycles until all targets are met."""
        if self.norm == 0:
            return Status.CONVERGED
        limits, process = self.task.limits, self.process
        try:
            while True:
                status = limits.spent(process.steps, self.operator.n_matvecs + 1)
                if status is not None:
                    return status
                allowed = limits.max_matvecs - self.operator.n_matvecs
                process.expand(min(limits.maxiter - process.steps, allowed))
                self._take(process.projection())
                worst = max(_relative(series) for series in self.series)
                state = FunctionState(process.steps, worst, self.operator.n_matvecs)
                if limits.stop(state) and not self._done:
                    return Status.STOPPED
                if self._done:
                    return Status.CONVERGED
                if process.invariant or self._lost or self._stagnates():
                    return Status.STAGNATED
                process.restart(self._score, int(KEPT * process.capacity))
        except KeyboardInterrupt:
            return Status.INTERRUPTED

    @property
    def _done(self) -> bool:
        return all(series.met for series in self.series)

    def _take(self, seen: Projection) -> None:
        """Judge the sums by what this cycle saw, and bring answers up to date."""
        self._region.see(seen, self.targets)
        self._size = max(self._size, float(np.abs(seen.theta).max()))
        if not self.series and seen.below == 0:
            self._finish(seen)
        elif not self.series:
            self._design(seen)
            self._advance(seen)
        elif all(map(self._region.fits, self.series, self._rtols)):
            self._advance(seen)
        else:  # what has been added up is wrong by an unknown amount
            self._region.widen()
            self._again()

    def _finish(self, seen: Projection) -> None:
        """Evaluate f on an invariant space: nothing is left to be approximated."""
        small = SmallMatrix(seen.H)
        for q, target in enumerate(self.targets):
            rest = without_power(target)
            scale = (target.t / abs(target.t)) ** self._power
            found = function_of(rest, small, rtol=self.task.rtol)
            rounding = rounding_of(rest, small, found, self.task.eps, rtol=self.task.rtol)
            series = PoleSeries.exact(target)
            series.rounding = abs(scale) * float(rounding[0])
            self._change(q, scale * found.values[:, 0], series)
            self.series.append(series)

    def _again(self) -> None:
        """Start again, from b; the region has been widened."""
        if self._designs >= MOST_DESIGNS:
            self._lost = True
            for series in self.series:
                series.truncation = math.inf
            return
        self.y[...] = 0.0
        self.series = []
        self.process.begin(self._start)
        room = self.task.limits.maxiter - self.process.steps
        self.process.expand(max(room, 1))
        self._take(self.process.projection())

    def _design(self, seen: Projection) -> None:
        """Make a sum of poles per target; ``max |f|`` may exceed the answer by far.

        Where H is far from normal, a sum errs by more than at eigenvalues: one of more poles helps.
        """
        self._designs += 1
        for q, target in enumerate(self.targets):
            exact = self._projected(target, seen)
            size = math.inf if exact is None else safe_norm(np.abs(exact.values))
            rtol = PART * self.task.rtol
            found = self._region.design(target, rtol)
            if not found.relative and found.size > size:
                rtol *= size / found.size
                if found.error > rtol:
                    found = self._region.design(target, rtol)
            series = self._series(target, found, seen, exact)
            for _ in range(MOST_TIGHTER):
                if series.off <= PART * self.task.rtol * size or rtol <= LEAST_RTOL:
                    break
                rtol *= max(PART * self.task.rtol * size / series.off, LEAST_RTOL)
                better = self._series(target, self._region.design(target, rtol), seen, exact)
                if better.off >= series.off:
                    break
                series = better
            self._rtols[q] = rtol
            self.series.append(series)

    def _series(
        self, target: Target, found: PoleSum, seen: Projection, exact: Evaluation | None
    ) -> PoleSeries:
        real, normal = self.operator.dtype.kind != "c", self.process.hermitian
        total = divided(found, abs(target.t) ** self._power)
        series = PoleSeries(target, total, real=real, unit=self._size or 1.0, normal=normal)
        if self._region.covers(series):
            self._compare(series, seen, exact)
        return series

    def _compare(self, series: PoleSeries, seen: Projection, exact: Evaluation | None) -> None:
        """Measure what a sum of poles, and rounding, cost beyond what they do to numbers."""
        if self.process.hermitian or exact is None:
            series.compared = self.process.hermitian
            return
        first, size = not series.compared, safe_norm(np.abs(exact.values))
        off = safe_norm(np.abs(series.projected(seen) - exact.values[:, 0]))
        if series.sum.relative and series.norm > 0:  # of another vector than b
            off *= series.norm / size if size > 0 else 0.0
        series.compared, series.off = True, max(series.off, off)
        if first:
            target, small, start = without_power(series.target), SmallMatrix(seen.H), _start(seen)
            rounding = rounding_of(target, small, exact, self.task.eps, start, rtol=self.task.rtol)
            series.rounding = math.hypot(series.rounding, float(rounding[0]))

    def _projected(self, target: Target, seen: Projection) -> Evaluation | None:
        """Return f of a cycle's H times its start, what a sum should answer; None if that fails."""
        try:
            found = function_of(
                without_power(target), SmallMatrix(seen.H), _start(seen), rtol=self.task.rtol
            )
        except InputError:
            return None
        turn = (target.t / abs(target.t)) ** self._power
        return Evaluation(turn * found.values, found.lost)

    def _advance(self, seen: Projection) -> None:
        for q, series in enumerate(self.series):
            if series.met:
                continue
            covered = self._region.covers(series)
            if covered and not series.compared:
                self._compare(series, seen, self._projected(series.target, seen))
            change = series.advance(seen, self.task.eps)
            self._change(q, change, series)
            series.judge(
                safe_norm(np.abs(change)),
                Bounds(0.0, 0.0) if seen.below == 0 else self._region.bounds(series),
                self.task.rtol * series.norm,
                covered=covered,
            )
            if series.met and not self.process.hermitian:  # H is other than at first
                self._compare(series, seen, self._projected(series.target, seen))
                series.met = series.error <= max(self.task.rtol * series.norm, series.rounding)

    def _change(self, q: int, change: Array, series: PoleSeries) -> None:
        """Add a combination of the basis to an answer."""
        if np.iscomplexobj(change) and not np.iscomplexobj(self.y):
            self.y = self.y.astype(np.result_type(self.y.dtype, np.complex64))
        step = change @ self.process.basis[: change.size]
        total, lost = in_dtype((self.y[q] + step)[None, :], self.y.dtype)
        self.y[q] = total[0]
        series.rounding = math.hypot(series.rounding, float(lost[0]))
        series.norm = safe_norm(np.abs(self.y[q]))

    def _score(self, theta: Array) -> Array:
        """Return how much the error functions want a Ritz value kept, shape of theta."""
        scores = np.zeros(theta.shape)
        for series in self.series:
            if not series.met:
                scores += series.error_function(theta) / max(series.norm, 1e-300)
        return scores

    def _stagnates(self) -> bool:
        """Return whether no target that is left is worth another cycle."""
        for series in self.series:
            if series.met or series.spent:
                continue
            if len(series.changes) < 2 * PATIENCE:
                return False
            logs = np.log(np.maximum(series.changes[-2 * PATIENCE :], 1e-300))
            if logs[PATIENCE:].mean() < logs[:PATIENCE].mean() + np.log(PROGRESS):
                return False
        return True


def _start(seen: Projection) -> Array:
    return np.eye(len(seen.H), 1, -seen.first)


def _relative(series: PoleSeries) -> float:
    return series.error / series.norm if series.norm > 0 else math.inf
