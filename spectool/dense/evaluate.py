"""Computes a function of a batch: attempts by the method asked for, and by a direct one after.

An answer counts by its residual, recomputed from it. Matrices of a batch whose answer is not good
enough are taken out and computed again: alone by the same method where the batch broke down, and
then by LAPACK. Whatever happened is told in the report.

Cost
    That of the method, and 2 or 3 products for the residual of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from spectool._types import Array, FloatArray
from spectool.dense.accuracy import residual_norms, widened
from spectool.dense.algebra import Tensor
from spectool.dense.door import Options
from spectool.dense.iterations import find_kind
from spectool.dense.lapack import OutsideDomainError, direct, raise_if_singular
from spectool.dense.problems import Problem
from spectool.dense.region import excluded, other_solutions
from spectool.dense.run import Method, Run, iterate
from spectool.errors import BreakdownError
from spectool.results import Status

__all__ = ["Attempt", "Task", "evaluate"]

MAXITER = 100
"""Steps after which a method is given up, if maxiter is not given."""
ROUNDING = 4.0
"""Multiple of eps at which a loop stops if no tolerance is asked for."""
NO_DIGIT = 0.5
"""Residual of an inverse that is no inverse."""
UNLIMITED = (Status.BROKE_DOWN, Status.STAGNATED, Status.MAXITER, Status.CONVERGED)
"""How an attempt may end that another one follows; the others end at the user's wish."""


@dataclass(frozen=True)
class Task:
    """What is computed of which matrices, all Hermitian or all not."""

    problem: Problem
    options: Options
    hermitian: bool
    definite: bool
    enough: float  # the residual that counts as good

    def outside(self, error: OutsideDomainError, indices: Array) -> OutsideDomainError:
        """Return the error with the index in the batch."""
        return OutsideDomainError(int(indices[error.index]), error.value)


@dataclass(eq=False)
class Attempt:
    """Answers and how they came about.

    Attributes
    ----------
    X : array, shape (k, m, n)
        Answers for matrices of order one.
    residuals : ndarray, shape (k,)
        Of the answers.
    wrong : ndarray, shape (k,), bool
        Whether an answer is known to be another solution than the principal one.
    status : Status
        Of the last attempt at the worst matrix.
    method : str
        What was executed.
    history, steps, cost
        As in ``IterationResult``.
    notes : tuple of str
        For the report.
    advice : str
        What to do if the tolerance is not met, where that is special.
    """

    X: Tensor
    residuals: FloatArray
    wrong: Array
    status: Status
    method: str
    history: list[float] = field(default_factory=list)
    steps: tuple[str, ...] = ()
    cost: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    advice: str = ""


def evaluate(task: Task, A: Tensor, indices: Array, method: Method | None, reason: str) -> Attempt:
    """Compute the function of A, shape (k, m, n).

    Parameters
    ----------
    task : Task
        What is asked.
    A : array, shape (k, m, n)
        Matrices of order one; k and n positive.
    indices : ndarray, shape (k,)
        Where they stand in the batch, for messages.
    method : Method or None
        The iteration; None for the direct method.
    reason : str
        Why, for the report.

    Raises
    ------
    OutsideDomainError
        If a matrix has an eigenvalue where the function does not exist.
    BreakdownError
        If nothing led to a finite answer.
    """
    if method is None:
        attempt = _direct(task, A, indices)
        attempt.notes = (reason,)
        return attempt
    excluding = "" if task.hermitian else excluded(task.problem, A, method)
    if excluding:
        attempt = _direct(task, A, indices)
        attempt.notes = (reason, f"{method.name} {excluding}; {attempt.method} instead")
        return attempt
    attempt = _iterated(task, A, method)
    attempt.notes = (reason, *attempt.notes)
    tolerance = getattr(method, "tolerance", None)
    if tolerance is not None and not (attempt.wrong | ~np.isfinite(attempt.residuals)).any():
        return _of_table(task, attempt, tolerance)
    return _repaired(task, A, indices, method, attempt)


def _of_table(task: Task, attempt: Attempt, tolerance: float) -> Attempt:
    """Judge a fixed number of steps by what they promise; they are never done again."""
    asked = task.options.rtol if task.options.rtol is not None else tolerance
    good = bool((attempt.residuals <= asked).all())
    if attempt.status in UNLIMITED:
        attempt.status = Status.CONVERGED if good else Status.STAGNATED
    attempt.advice = f"{attempt.method} is a fixed number of steps; other methods go on"
    attempt.notes += (f"fixed steps promise a residual of {tolerance:.2g}, and no less",)
    return attempt


def _repaired(task: Task, A: Tensor, indices: Array, method: Method, attempt: Attempt) -> Attempt:
    """Do again what is not good enough, unless the user limited the run."""
    bad = _bad(task, attempt)
    limited = attempt.status is Status.MAXITER and task.options.maxiter is not None
    if attempt.status not in UNLIMITED or limited:
        return attempt
    if bad.any() and attempt.status is Status.BROKE_DOWN and len(indices) > 1:
        for index in np.flatnonzero(bad):
            alone = _iterated(task, A[index : index + 1], method)
            _keep(attempt, np.asarray([index]), alone)
        attempt.notes += (f"{int(bad.sum())} matrices were computed alone",)
        bad = _bad(task, attempt)
    if not bad.any():
        attempt.status = Status.CONVERGED
        return attempt
    places = np.flatnonzero(bad)
    try:
        found = _direct(task, _taken(A, places), indices[places])
    except OutsideDomainError:
        raise
    except BreakdownError as error:
        attempt.notes += (f"{method.name} did not reach the tolerance, and {error}",)
        attempt.status = Status.STAGNATED
        return attempt
    which = "" if len(indices) == 1 else f" for {len(places)} of {len(indices)} matrices"
    why = attempt.notes[-1] if attempt.status is Status.BROKE_DOWN else "its residual was too large"
    attempt.notes += (f"{method.name} failed{which} ({why}); {found.method} instead",)
    _keep(attempt, places, found)
    attempt.cost = {**attempt.cost, **found.cost}
    attempt.method = f"{attempt.method}, then {found.method}"
    attempt.status = _verdict(task, attempt)
    return attempt


def _bad(task: Task, attempt: Attempt) -> Array:
    return attempt.wrong | ~(attempt.residuals <= task.enough)


def _verdict(task: Task, attempt: Attempt) -> Status:
    return Status.STAGNATED if _bad(task, attempt).any() else Status.CONVERGED


def _keep(attempt: Attempt, places: Array, found: Attempt) -> None:
    """Take over those answers that are better, which NaN is not."""
    worse = ~(attempt.residuals[places] <= found.residuals)
    better = np.flatnonzero((worse | attempt.wrong[places]) & ~found.wrong)
    if better.size:
        xp = array_namespace(attempt.X)
        rows = list(attempt.X) if len(attempt.X) > 1 else [attempt.X[0]]
        for index in better:
            rows[int(places[index])] = found.X[int(index)]
        attempt.X = xp.stack(rows)
        attempt.residuals[places[better]] = found.residuals[better]
        attempt.wrong[places[better]] = False


def _taken(A: Tensor, places: Array) -> Tensor:
    return array_namespace(A).stack([A[int(index)] for index in places])


def _direct(task: Task, A: Tensor, indices: Array) -> Attempt:
    try:
        found = direct(task.problem, A, hermitian=task.hermitian, definite=task.definite)
    except OutsideDomainError as error:
        raise task.outside(error, indices) from error
    residuals = residual_norms(task.problem, A, found.X)
    _check_singular(task, A, indices, residuals)
    right = np.zeros(len(residuals), dtype=bool)
    cost = {found.operation: 1.0}
    attempt = Attempt(found.X, residuals, right, Status.CONVERGED, found.name, cost=cost)
    attempt.status = _verdict(task, attempt)
    return attempt


def _check_singular(task: Task, A: Tensor, indices: Array, residuals: FloatArray) -> None:
    """Raise where an inverse has no digit, and A none either."""
    if task.problem.function not in ("inv", "invsqrt", "inverse_root"):
        return
    for index in np.flatnonzero(~(residuals <= NO_DIGIT)):
        try:
            raise_if_singular(A, int(index))
        except OutsideDomainError as error:
            raise task.outside(error, indices) from error


def _iterated(task: Task, A: Tensor, method: Method) -> Attempt:
    """Run the method; tall matrices are reduced to square ones where it needs an inverse of X."""
    problem, options = task.problem, task.options
    xp = array_namespace(A)
    Q, extra = None, {}
    if getattr(method, "square", False) and A.shape[-2] > A.shape[-1]:
        Q, reduced = xp.linalg.qr(widened(A))
        extra = {"qr": 1.0}
    else:
        reduced = A
    single = reduced.shape[0] == 1
    o = problem.algebra(reduced, hermitian=task.hermitian)
    v, c = problem.start(o, reduced[0] if single else reduced)
    run = Run(problem, o, v, options.rng)
    status = iterate(
        run,
        method,
        rtol=_loop_tolerance(task, o, v),
        maxiter=options.maxiter or MAXITER,
        max_time=options.max_time,
        callback=options.callback,
    )
    notes: tuple[str, ...] = (run.trouble,) if run.trouble else ()
    if run.best is not None and status is not Status.CONVERGED:
        run.variables = run.best[0]
    with np.errstate(all="ignore"):
        if problem.function == "invsqrt" and not run.variables.coupled:
            run.variables = find_kind("sqrt.coupling").step()(o, run.variables)
        X = problem.answer(run.variables, xp.astype(c, v.X.dtype)[..., None, None])
        X = o.symmetric(X) if task.hermitian and problem.function != "polar" else X
        X = X[None] if single else X
        X = xp.astype(Q @ X, A.dtype) if Q is not None else X
    wrong, why = other_solutions(run, A, X, hermitian=task.hermitian)
    notes += (why,) if why else ()
    cost = {name: count for name, count in run.cost._asdict().items() if count}
    attempt = Attempt(
        X,
        residual_norms(problem, A, X),
        wrong,
        status,
        method.name,
        run.history,
        tuple(str(step) for step in run.taken),
        {**extra, **cost},
        notes,
    )
    if status in (Status.CONVERGED, Status.STAGNATED):
        attempt.status = _verdict(task, attempt)
    return attempt


def _loop_tolerance(task: Task, o: Any, v: Any) -> float:
    """Return the tolerance of R that grants the one of the answer's residual.

    Under roots, ``||X^p - A|| / ||A|| <= ||A||_2 ||R||_F / ||A||_F``, and ``||A||_2 <= 1``.
    """
    rounding = ROUNDING * float(o.xp.finfo(v.X.dtype).eps)
    if task.options.rtol is None:
        return rounding
    share = 1.0
    if task.problem.function in ("sqrt", "root", "sign", "polar"):
        n = v.A.shape[-1]
        share = min(float(o.norm(v.A).min()) / n**0.5, 1.0)
    return max(task.options.rtol * share, rounding)
