"""Lanczos-FA: ``f(t A) b ~ ||b|| V f(t T) e_1`` per column, all columns and functions together.

Source
    Saad, Analysis of some Krylov subspace approximations to the matrix exponential operator, SINUM
    29 (1992); Musco, Musco and Sidford, Stability of the Lanczos method for matrix function
    approximation, SODA 2018, for why no reorthogonalization is needed.
Deviations
    The basis is dropped once it outgrows the memory and regenerated in a second pass.
Cost per step and column
    1 matvec (one pass over A serves all columns), 2 reductions, 1 stored vector (or 3 in all and
    twice the matvecs). Several functions and times share the basis.
"""

from __future__ import annotations

import numpy as np

from spectool._types import Array
from spectool.functions.estimates.hermitian import Jacobi, Rule, error_rule, refined_rule
from spectool.functions.scalar import safe_norm
from spectool.functions.task import Answer, FunctionState, Target, Task
from spectool.krylov import LockstepLanczos, second_pass
from spectool.results import Status

MAX_BASIS_BYTES = 2**30
"""Basis that is kept where the caller names no limit."""
SPACING = 4
"""Fewest steps between two checks; twice as many before the first."""
REMAINING = 0.6
"""Part of the steps that seem to remain, at the rate of the last two checks, to the next one."""
SLACK = 10.0
"""Most that the bound may exceed rtol where the estimate meets it: what the verb promises."""
FACTOR = 30.0
"""Most that the bound is taken to exceed the error: it did on spectra without gaps."""
FEWER = 0.3
"""Part of the last change of the answer that the estimated error is at least."""
FASTER = 0.3
"""Contraction of changes below which that part shrinks with it."""


def lanczos_funm(task: Task, *, spacing: int = SPACING) -> Answer:
    """Approximate all targets for all columns; ``spacing`` steps or more lie between checks.

    Raises NotPositiveDefiniteError if a Ritz value lies where f is undefined.
    """
    process = LockstepLanczos(task.operator, task.B, keep_basis=True)
    kept = min(task.limits.max_memory, MAX_BASIS_BYTES)
    judges = [
        [_Judge(target, task.rtol, task.eps) for target in task.targets]
        for _ in range(task.n_columns)
    ]
    check: float = 2 * spacing
    status: Status | None = None
    try:
        while status is None:
            again = 0 if process.keeps_basis else int(process.lengths.sum())
            following = task.operator.n_matvecs + process.n_moving + again
            status = task.limits.spent(process.steps, following)
            if status is not None:
                break
            process.step()
            if process.keeps_basis and process.n_bytes > kept:
                process.drop_basis()
            if process.steps < check and process.n_moving:
                continue
            worst = _look(process, judges)
            if task.limits.stop(FunctionState(process.steps, worst, task.operator.n_matvecs)):
                status = Status.STOPPED
            unmet = [j for j, column in enumerate(judges) if not all(one.met for one in column)]
            if not unmet:
                status = Status.CONVERGED
            else:
                pauses = (one.pause(process.steps) for column in judges for one in column)
                check = process.steps + max(spacing, min(pauses))
                if len(unmet) < process.n_moving:
                    process.keep(np.array(unmet))
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return _collected(task, process, judges, status or Status.MAXITER)


class _Judge:
    """Follows one target in one column: coefficients, error and rounding relative to ``||b||``."""

    def __init__(self, target: Target, rtol: float, eps: float) -> None:
        self.target, self.rtol, self.eps = target, rtol, eps
        self.rule: Rule | None = error_rule(target)
        self.refined: Rule | None = refined_rule(target)
        self.error = np.inf
        self.norm = 0.0
        self.rounding = 0.0
        self.coefficients: Array = np.zeros(0)
        self.met = False
        self._changes: list[float] = []
        self._excess: list[tuple[int, float]] = []

    def pause(self, steps: int) -> float:
        """Return how many steps to make before the next check: fewer than seem to remain."""
        if self.met:
            return np.inf
        if self.rule is None:  # changes over few steps say little
            return steps // 12
        most = steps // 3
        if len(self._excess) < 2:
            return most
        (before, larger), (now, smaller) = self._excess[-2:]
        if not 0 < smaller < larger < np.inf:
            return most
        remaining = max(np.log(smaller), 0.0) * (now - before) / np.log(larger / smaller)
        return int(min(REMAINING * remaining, most))

    @property
    def relative_error(self) -> float:
        """Relative to the norm of the answer."""
        return float(self.error) / float(self.norm) if self.norm > 0 else np.inf

    def look(self, jacobi: Jacobi, *, exhausted: bool) -> None:
        """Judge the answer of this many steps; an answer that has met its tolerance is kept."""
        k = jacobi.alpha.size
        if self.rule is None or exhausted or k >= 2 * self.coefficients.size:
            self.measure(jacobi)
        if exhausted:
            self.error, self.met = 0.0, True
        elif self.rule is None:
            self._by_change()
        else:
            wanted = self._wanted()
            estimate, bound = self.rule(jacobi, SLACK * wanted)
            self.error = bound
            excess = max(estimate, bound / SLACK)
            if excess <= wanted:
                self.measure(jacobi)
                excess = self.error = min(self._refined(jacobi), bound)
                self.met = self.error <= self._wanted()
            self._excess.append((k, float(excess) / wanted if wanted > 0 else np.inf))

    def _refined(self, jacobi: Jacobi) -> float:
        """Return an estimate that knows isolated eigenvalues, and how the answer changed lately.

        The rule trusts a smooth spectrum, changes do not; one that is much smaller than the one
        before it says that convergence is faster than linear.
        """
        assert self.refined is not None
        estimate, bound = self.refined(jacobi)
        answers, k = [self.coefficients], jacobi.alpha.size
        for _ in range(2):
            k = max(k - max(SPACING, k // 12), k // 2)
            answers.append(self._f(Jacobi(jacobi.alpha[:k], jacobi.beta[:k]))[0])
        last, before = _change(answers[0], answers[1]), _change(answers[1], answers[2])
        faster = min(1.0, last / (FASTER * before)) if before > 0 else 1.0
        return max(estimate, FEWER * faster * last, bound / FACTOR)

    def _wanted(self) -> float:
        """Return the truncation error that, with rounding, meets rtol; none below rounding."""
        whole = self.rtol * self.norm
        return max(whole - self.rounding, 0.5 * whole, self.rounding)

    def measure(self, jacobi: Jacobi) -> None:
        """Evaluate f on the Jacobi matrix: coefficients, norm and rounding level."""
        previous = self.coefficients
        self.coefficients, slope = self._f(jacobi)
        self.norm = safe_norm(np.abs(self.coefficients))
        if self.rule is None and previous.size:
            self._changes.append(_change(self.coefficients, previous))
        # A relative perturbation eps of A, in norm, moves f by its slope at each Ritz value.
        size = abs(self.target.t) * float(np.abs(jacobi.eigen[0]).max())
        self.rounding = self.eps * (size * slope + jacobi.alpha.size**0.5 * self.norm)

    def finish(self, jacobi: Jacobi) -> None:
        """Bring an answer that has not met its tolerance up to the last step."""
        if self.met:
            return
        if self.coefficients.size < jacobi.alpha.size:
            self.measure(jacobi)
        if self.rule is not None:
            estimate, bound = self.rule(jacobi)
            # While the low end is unresolved nothing bounds the error: all of it may be wrong.
            self.error = (estimate * bound) ** 0.5 if bound < np.inf else max(estimate, self.norm)

    def _f(self, jacobi: Jacobi) -> tuple[Array, float]:
        """Return ``f(t T) e_1``, shape (k,), and the norm of ``f'(t T) e_1``."""
        theta, S = jacobi.eigen
        values, slope = self.target.function.with_slope(self.target.checked(theta, self.eps))
        return S @ (values * S[0]), safe_norm(slope * S[0])

    def _by_change(self) -> None:
        """No bound is known for this f: two changes in a row tell."""
        if len(self._changes) < 2:
            return
        before, last = self._changes[-2:]
        self.error = last if last < before else max(last, before)
        wanted = self._wanted()
        self.met = last <= wanted and before <= SLACK * wanted


def _change(coefficients: Array, previous: Array) -> float:
    change = coefficients.copy()
    change[: previous.size] -= previous
    return safe_norm(np.abs(change))


def _look(process: LockstepLanczos, judges: list[list[_Judge]]) -> float:
    """Judge what has not met its tolerance; return the worst relative error."""
    for j, column in enumerate(judges):
        if any(not judge.met for judge in column):
            jacobi = Jacobi(*process.jacobi(j))
            for judge in column:
                if not judge.met:
                    judge.look(jacobi, exhausted=bool(process.exhausted[j]))
    return max(judge.relative_error for column in judges for judge in column)


def _collected(
    task: Task, process: LockstepLanczos, judges: list[list[_Judge]], status: Status
) -> Answer:
    """Combine the basis, or regenerate and combine it."""
    Y, steps, m = task.empty(), process.steps, task.n_columns
    shape = (len(task.targets), m)
    error, rounding = np.full(shape, np.inf), np.zeros(shape)
    if steps == 0:  # interrupted at once
        return Answer(Y, error, rounding, status, m, "lanczos, 0 steps")
    kind = np.complex128 if Y.dtype.kind == "c" and task.operator.dtype.kind != "c" else np.float64
    if any(np.iscomplexobj(judge.coefficients) for column in judges for judge in column):
        kind = np.complex128
    weights = np.zeros((steps, m, len(task.targets)), dtype=kind)
    for j, column in enumerate(judges):
        jacobi = Jacobi(*process.jacobi(j))
        for q, judge in enumerate(column):
            judge.finish(jacobi)
            size = process.norms[j]
            weights[: judge.coefficients.size, j, q] = size * judge.coefficients
            error[q, j], rounding[q, j] = size * judge.error, size * judge.rounding
    n_reductions, passes = m * (2 * steps + 1), ""
    if process.keeps_basis:
        Y[...] = process.combine(weights)
    else:
        Y[...] = second_pass(task.operator, task.B, weights, lengths=process.lengths)
        n_reductions, passes = 2 * n_reductions, ", two passes"
    return Answer(Y, error, rounding, status, n_reductions, f"lanczos, {steps} steps{passes}")
