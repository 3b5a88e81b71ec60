"""Arnoldi: ``f(t A) b ~ ||b|| V f(t H) e_1`` for general A, column by column.

Source
    Saad, Analysis of some Krylov subspace approximations to the matrix exponential operator, SINUM
    29 (1992).
Deviations
    The error is that of the answer some steps ago, which is seen, times the contraction since,
    which residuals tell (see ``arnoldi_errors``); bounds count where they are smaller. Where the
    basis outgrows the memory, the restarted method begins again from b.
Cost per step
    1 matvec, 3 reductions, 1 stored vector, ``4 k n`` values of traffic at step k; a check some
    100 k^3 flops. All targets share the basis.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from spectool._types import Array
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.functions.estimates.general import Projection, errors_of
from spectool.functions.estimates.hessenberg import (
    Evaluation,
    SmallMatrix,
    domain_error,
    function_of,
    rounding_of,
    undefined,
)
from spectool.functions.methods.restarted import LEAST_RESTART, in_dtype, restarted_funm
from spectool.functions.scalar import safe_norm
from spectool.functions.task import Answer, FunctionState, Target, Task
from spectool.krylov.arnoldi import ArnoldiProcess
from spectool.results import Status

MAX_BASIS_BYTES = 2**30
"""Basis that is kept where the caller names no limit."""
MAX_STEPS = 1500
"""Order of H beyond which functions of it take minutes."""
CHUNK = 32
"""Vectors that are allocated at a time."""
FIRST_CHECK = 6
LEAST_PAUSE, SHORTEST, LONGEST = 4, 12, 4
"""Steps between checks: at least, as a part of those made at least, and at most."""
FORESIGHT = 0.4
"""Part of the steps foreseen that are made without a check: convergence accelerates."""
LARGEST_RESTART = 300
"""Vectors that restarts may use: H is brought to Schur form in each."""
SAFETY = 3.0
"""By how much the estimated contraction may be too good."""
LEAST = 0.1
"""Part of the last change of the answer that the estimated error is at least."""
SLACK = 10.0
"""Most that a bound may exceed rtol where the estimate meets it: what the verb promises."""
NOISE = 100.0
"""How much residuals may exceed the rounding where the answer changes by rounding only."""
LOOKS = 3
"""Checks after which a growth is trusted not to be there that the field of values allows."""
STALLED, OFTEN = 0.5, 1.5
"""Contraction between two checks beyond which rounding may be why, asked at this ratio of steps."""
SLOWEST = 0.98
"""Contraction between two checks beyond which the last change tells nothing."""
FLAT = 1e-6
"""Residual of a Ritz pair, relative to ``||H||``, below which it counts as an eigenpair."""


def arnoldi_funm(task: Task) -> Answer:
    """Approximate all targets for all columns.

    Raises NotPositiveDefiniteError or InputError if f is undefined at an eigenvalue; names it.
    """
    shape = (len(task.targets), task.n_columns)
    error, rounding = np.full(shape, np.inf), np.zeros(shape)
    found: list[tuple[int, Array]] = []
    n_reductions, longest = 0, 0
    status, further = Status.CONVERGED, ""
    for j in range(task.n_columns):
        column = _Column(task, np.ascontiguousarray(task.B[:, j]))
        ended = column.run()
        steps, norm = column.process.steps, column.process.norm
        n_reductions += 3 * steps + 1
        longest = max(longest, steps)
        if steps:
            y, lost = in_dtype(column.collect(), task.operator.dtype, norm)
            found.append((j, y))
            error[:, j] = [norm * judge.error for judge in column.judges]
            rounding[:, j] = [norm * judge.rounding for judge in column.judges] + lost
        if ended is None:
            missing = [q for q, judge in enumerate(column.judges) if not judge.met]
            del column  # and with it the basis
            ended, answer = _restarted(task, j, missing, steps)
            if answer is not None:
                better = answer.error[:, 0] < error[missing, j]
                _, y = found.pop()
                y = y.astype(np.result_type(y.dtype, answer.Y.dtype), copy=False)
                for row in np.flatnonzero(better):
                    q = missing[row]
                    y[q], error[q, j] = answer.Y[row, :, 0], answer.error[row, 0]
                    rounding[q, j] = answer.rounding[row, 0]
                found.append((j, y))
                n_reductions += answer.n_reductions
                further = f"; {answer.method}"
        if ended is not Status.CONVERGED:
            status = ended
        if status in (Status.STOPPED, Status.INTERRUPTED, Status.TIMED_OUT):
            break
    Y = task.empty()
    Y = Y.astype(np.result_type(Y.dtype, *(y.dtype for _, y in found)), copy=False)
    for j, y in found:
        Y[:, :, j] = y
    return Answer(Y, error, rounding, status, n_reductions, f"arnoldi, {longest} steps{further}")


def _restarted(task: Task, j: int, indices: list[int], steps: int) -> tuple[Status, Answer | None]:
    """Begin again with restarts, in the memory that the basis has left."""
    if not indices:
        return Status.CONVERGED, None
    vector = task.B.itemsize * len(task.B)
    room = int(min(task.limits.max_memory, MAX_BASIS_BYTES) / vector) - 3 - len(indices)
    left = task.limits.maxiter - steps
    if room < LEAST_RESTART or left < 1:
        return Status.MAXITER, None
    part = replace(
        task,
        targets=tuple(task.targets[q] for q in indices),
        B=np.ascontiguousarray(task.B[:, j : j + 1]),
        limits=replace(task.limits, maxiter=left),
    )
    try:
        answer = restarted_funm(part, restart=min(room, LARGEST_RESTART))
    except NotPositiveDefiniteError:
        raise
    except InputError:  # no partial fractions
        return Status.MAXITER, None
    return answer.status, answer


class _Column:
    """One column of B: a basis, and a judge for each target."""

    def __init__(self, task: Task, b: Array) -> None:
        self.task = task
        self.process = ArnoldiProcess(task.operator, b, min(CHUNK, task.operator.n))
        self.judges = [Judge(target, task.rtol, task.eps) for target in task.targets]

    def run(self) -> Status | None:
        """Expand the basis until all targets are met; None if it outgrows the memory."""
        process, limits = self.process, self.task.limits
        room = min(limits.max_memory, MAX_BASIS_BYTES)
        each = process.n_bytes
        check = FIRST_CHECK
        try:
            while True:
                status = limits.spent(process.steps, self.task.operator.n_matvecs + 1)
                full = process.n_bytes + each > room or process.steps >= MAX_STEPS
                if status is not None or (full and process.steps):
                    self._finish(last=status is not None)
                    return status
                process.step()
                if process.steps < check and not process.invariant:
                    continue
                worst = self._look()
                check = process.steps + self._pause()
                state = FunctionState(process.steps, worst, self.task.operator.n_matvecs)
                if all(judge.met for judge in self.judges):
                    limits.stop(state)
                    return Status.CONVERGED
                if limits.stop(state):
                    return Status.STOPPED
        except KeyboardInterrupt:
            return Status.INTERRUPTED

    def _look(self) -> float:
        projection = Projection.of(self.process.hessenberg)
        for judge in self.judges:
            if not judge.met:
                judge.look(projection, exhausted=self.process.invariant)
        return max(judge.relative_error for judge in self.judges)

    def _pause(self) -> int:
        """Return how many steps to make until the next check: checks cost ``k^3``."""
        k = self.process.steps
        foreseen = max((judge.steps_to_go() for judge in self.judges if not judge.met), default=0.0)
        return max(LEAST_PAUSE, k // SHORTEST, int(min(FORESIGHT * foreseen, k // LONGEST)))

    def _finish(self, *, last: bool) -> None:
        """Bring answers up to the last step; raises where f was undefined to the end."""
        if any(not judge.met and judge.steps < self.process.steps for judge in self.judges):
            self._look()
        for judge in self.judges:
            judge.finish(last=last)

    def collect(self) -> Array:
        """Return the answers, shape (targets, n)."""
        steps = max(judge.coefficients.size for judge in self.judges)
        weights = np.zeros(
            (steps, len(self.judges)), dtype=np.result_type(*(j.coefficients for j in self.judges))
        )
        for q, judge in enumerate(self.judges):
            weights[: judge.coefficients.size, q] = judge.coefficients
        return self.process.combine(weights).T


class Judge:
    """Follows one target in one column: coefficients, error and rounding relative to ``||b||``."""

    def __init__(self, target: Target, rtol: float, eps: float) -> None:
        self.target, self.rtol, self.eps = target, rtol, eps
        self.coefficients: Array = np.zeros(0)
        self.error = self._bound = self._worst = math.inf
        self.norm = 0.0
        self.rounding = 0.0
        self.steps = self._rounded = 0
        self.met = False
        self._trouble, self._ruled = "", False
        self._history: list[tuple[int, float]] = []

    @property
    def relative_error(self) -> float:
        """Relative to the norm of the answer."""
        return self.error / self.norm if self.norm > 0 else math.inf * max(self.error, 1.0)

    def look(self, projection: Projection, *, exhausted: bool) -> None:
        """Judge the answer of this many steps; raises where an eigenvalue is in f's way."""
        small = projection.small
        previous, before = self.coefficients, self.steps
        self.steps = len(small.H)
        if not self._defined(projection, exhausted=exhausted):
            return
        try:
            found = function_of(self.target, small, rtol=self.rtol)
        except InputError as complaint:
            if exhausted:
                raise
            self._trouble = str(complaint)
            return
        self._trouble = ""
        self.coefficients = found.values[:, 0]
        self.norm = safe_norm(np.abs(self.coefficients))
        if exhausted:
            self.error, self.met = 0.0, True
            self.rounding = self._rounding(small, found)
            return
        change = self._estimate(projection, previous, before)
        wanted = self.rtol * self.norm
        smaller = min(self.error, change)
        if smaller <= max(100 * wanted, 1e5 * self.eps * self.norm):
            stalls = not self._contraction(self.steps - before) < STALLED
            if smaller <= max(wanted, SLACK * self.rounding) or (
                stalls and self.steps >= OFTEN * self._rounded
            ):
                self.rounding, self._rounded = self._rounding(small, found), self.steps
            if self._is_noise(change):  # and so would be the next
                self.error = min(self.error, change)
            allowed = max(wanted, self.rounding)
            looks = len(self._history)
            self.met = (
                self.error <= allowed
                and not SLACK * allowed < self._bound < math.inf
                and (looks >= LOOKS or self._worst <= SLACK * allowed)
            )

    def _rounding(self, small: SmallMatrix, found: Evaluation) -> float:
        return float(rounding_of(self.target, small, found, self.eps, rtol=self.rtol)[0])

    def _is_noise(self, change: float) -> bool:
        """Return whether the last change is rounding; where nothing else is known, the last two."""
        if change > self.rounding:
            return False
        measures = [measure for _, measure in self._history[-2:]]
        if self._ruled:
            return measures[-1] <= NOISE * self.rounding
        return len(measures) == 2 and max(measures) <= self.rounding

    def _defined(self, projection: Projection, *, exhausted: bool) -> bool:
        """Return whether f takes the Ritz values: those that are no eigenvalues may pass by."""
        found = undefined(self.target, projection.small.theta, self.eps)
        if found is None:
            return True
        index, sentence = found
        residual = projection.residual_of_ritz_pair(index)
        if exhausted or residual <= FLAT * projection.small.norm:
            raise domain_error(self.target, sentence)
        self._trouble = sentence
        return False

    def _estimate(self, projection: Projection, previous: Array, before: int) -> float:
        """Return the last change: the error before it, of which residuals tell the contraction."""
        k = self.steps
        change = math.inf
        if previous.size:
            # A callable's values may be real at one check and complex at the next.
            difference = self.coefficients.astype(np.result_type(self.coefficients, previous))
            difference[: previous.size] -= previous
            change = safe_norm(np.abs(difference))
        errors = errors_of(self.target, projection)
        self._ruled = errors is not None
        measure, bound, self._worst = errors or (change, math.inf, math.inf)
        # Where all eigenvalues seen have one sign, all terms are there but nothing changes.
        self._bound = measure if self.target.function.name == "sign" else bound
        self._history.append((k, measure))
        contraction = self._contraction(k - before)
        if contraction < SLOWEST:
            part = max(SAFETY * contraction / (1.0 - contraction), LEAST)
            self.error = min(part * change, bound)
        else:
            self.error = bound
        return change

    def _contraction(self, steps: int) -> float:
        """Return by how much the error shrinks in so many steps, at the slower of two paces."""
        k, measure = self._history[-1]
        paces = []
        for span in (1, 3):
            if len(self._history) > span:
                before, larger = self._history[-1 - span]
                if not (math.isfinite(larger) and larger > 0):
                    return math.inf
                paces.append((measure / larger) ** (steps / (k - before)))
        return max(paces) if paces else math.inf

    def steps_to_go(self) -> float:
        """Return how many more steps the pace foresees; inf where there is none."""
        contraction = self._contraction(1) if self._history else math.inf
        if not (0 < contraction < 1 and 0 < self.error < math.inf and self.norm > 0):
            return math.inf
        allowed = max(self.rtol * self.norm, self.rounding)
        return max(math.log(self.error / allowed), 0.0) / -math.log(contraction)

    def finish(self, *, last: bool) -> None:
        """Keep the last answer; raise if there is none because f was undefined at every check."""
        if last and self._trouble and not self.coefficients.size:
            raise domain_error(self.target, f"after {self.steps} steps {self._trouble}")
        if self._trouble:
            self.error = math.inf
