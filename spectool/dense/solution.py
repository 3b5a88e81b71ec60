"""From checked matrices to the result: groups of one structure, a method each, errors in words."""

from __future__ import annotations

import importlib
import itertools
import time
import warnings
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from spectool._types import Array
from spectool.dense.accuracy import MEASURES
from spectool.dense.algebra import Tensor
from spectool.dense.choice import choose
from spectool.dense.door import Matrices, Options
from spectool.dense.evaluate import Attempt, Task, evaluate
from spectool.dense.lapack import OutsideDomainError
from spectool.dense.methods import Named, method_names
from spectool.dense.problems import Problem
from spectool.dense.run import Method
from spectool.errors import (
    BreakdownError,
    ConvergenceWarning,
    InputError,
    NotPositiveDefiniteError,
    SpectoolError,
)
from spectool.results import IterationResult, Status

__all__ = ["compute", "find_method"]

SKETCHED = {
    "prism": "Prism",
    "kpe": "KrylovMinimax",
    "hybrid": "Hybrid",
    "prism_newton": "PrismNewton",
}
"""Methods that look at sketches, and their classes in ``spectool.dense.sketch``."""
WORST = (
    Status.CONVERGED,
    Status.STAGNATED,
    Status.MAXITER,
    Status.STOPPED,
    Status.TIMED_OUT,
    Status.INTERRUPTED,
    Status.BROKE_DOWN,
)
ILL = "A is ill-conditioned for its data type (use a wider one), or not what assume_a says"
"""Why a direct method has a large residual."""
EXPONENTS = {"inv": -1.0, "sqrt": 0.5, "invsqrt": -0.5}
"""How answers scale with A, where p does not say."""


def compute(
    problem: Problem, matrices: Matrices, options: Options, method: Any, plan: Any
) -> IterationResult:
    """Compute a function of each matrix.

    The value of polar is the pair (U, H).

    Raises
    ------
    InputError
        For an unknown method, and where a function does not exist for a matrix.
    NotPositiveDefiniteError
        Under roots, naming the eigenvalue.
    BreakdownError
        If the answer overflows.
    """
    began = time.perf_counter()
    asked = _asked(problem, method, plan)
    A = matrices.A
    wide = A.shape[-2] < A.shape[-1]
    if wide:
        A = _adjoint(A)
    if 0 in A.shape:
        return _empty(problem, matrices, time.perf_counter() - began)
    eps = float(array_namespace(A).finfo(A.dtype).eps)
    enough = options.rtol if options.rtol is not None else eps**0.5
    parts: list[tuple[Array, Attempt]] = []
    for hermitian, zero in itertools.product((True, False), repeat=2):
        indices = np.flatnonzero((matrices.hermitian == hermitian) & (matrices.zero == zero))
        if indices.size:
            task = Task(problem, options, hermitian, matrices.definite, enough)
            group = A if len(indices) == len(A) else _rows(A, indices)
            meant = None if zero else asked  # there is nothing to divide by
            parts.append((indices, _attempt(task, group, indices, meant, matrices)))
    X, residuals = _merged(parts, len(A))
    value = _value(problem, matrices, _adjoint(X) if wide else X)
    result = _result(problem, parts, value, residuals, matrices, time.perf_counter() - began)
    if not result.converged:
        advice = next((attempt.advice for _, attempt in parts if attempt.advice), "")
        _warn(problem, result, advice, options)
    return result


def find_method(problem: Problem, name: str) -> Method | None:
    """Return the method of this name; None for "lapack". Raises InputError with those known."""
    if name == "lapack":
        return None
    known = method_names(problem)
    if name in known:
        return Named(name)
    if name in SKETCHED:
        sketch: Any = importlib.import_module("spectool.dense.sketch")
        return getattr(sketch, SKETCHED[name])()
    names = ("auto", "lapack", *known, *SKETCHED)
    raise InputError(
        f"method must be one of {', '.join(names)} for {problem.function}, or an object with "
        f"steps(run); got {name!r}."
    )


def _asked(problem: Problem, method: Any, plan: Any) -> Any:
    """Return "auto", a method, or None for the direct one."""
    if plan is not None:
        if method != "auto":
            raise InputError(f"give a plan or a method, not both; got method={method!r}.")
        method = plan.method() if callable(getattr(plan, "method", None)) else plan
        if method is None:
            return None
    if isinstance(method, str):
        return "auto" if method == "auto" else find_method(problem, method)
    if callable(getattr(method, "steps", None)):
        return method
    name = "method" if plan is None else "plan"
    raise InputError(
        f"{name} must be a name, or an object with steps(run)"
        f"{' or method()' if plan is not None else ''}; got {type(method).__name__}."
    )


def _attempt(task: Task, A: Tensor, indices: Array, asked: Any, matrices: Matrices) -> Attempt:
    reason, method = "", asked
    if asked == "auto":
        choice = choose(task.problem, A, hermitian=task.hermitian)
        method, reason = find_method(task.problem, choice.name), choice.reason
    try:
        attempt = evaluate(task, A, indices, method, reason)
    except OutsideDomainError as error:
        raise _in_words(task, error, matrices) from None
    if not bool(np.isfinite(attempt.residuals).all()):
        index = indices[int(np.argmin(np.isfinite(attempt.residuals)))]
        raise BreakdownError(
            f"{_which(matrices, int(index))} no finite answer by {attempt.method}: "
            f"{'; '.join(note for note in attempt.notes if note) or 'it overflowed'}. Try "
            "method='lapack', or a wider data type."
        )
    return attempt


def _in_words(task: Task, error: OutsideDomainError, matrices: Matrices) -> SpectoolError:
    """Say which eigenvalue is in the way, in the units of A, and what to do."""
    value = error.value * matrices.unit[error.index]
    shown = f"{value.real:.6g}" if value.imag == 0.0 else f"{value:.6g}"
    which = _which(matrices, error.index)
    if task.problem.function == "inv":
        return InputError(
            f"A must be invertible, but {which} the singular value {shown}, zero to working "
            "precision. Shift it, or use a pseudo-inverse, numpy.linalg.pinv."
        )
    if task.problem.function == "sign":
        place = "zero" if task.hermitian else "the imaginary axis"
        return InputError(
            f"the sign needs eigenvalues away from {place}, but {which} one at {shown}, which is "
            "there to working precision. Shift A; or take dense.polar, which needs no inverse."
        )
    kind = "semidefinite" if task.problem.function in ("sqrt", "root") else "definite"
    needed = f"a positive {kind} A"
    if not task.hermitian:
        needed = "eigenvalues off the closed negative real axis, to working precision"
    return NotPositiveDefiniteError(
        f"{task.problem.function} needs {needed}, but {which} the eigenvalue {shown}. Shift A by a "
        "multiple of the identity, or take another branch, with scipy.linalg.sqrtm."
    )


def _which(matrices: Matrices, index: int) -> str:
    if not matrices.batch:
        return "A has"
    place = tuple(int(i) for i in np.unravel_index(index, matrices.batch))
    return f"matrix {place if len(place) > 1 else place[0]} of the batch has"


def _merged(parts: list[tuple[Array, Attempt]], count: int) -> tuple[Tensor, Array]:
    (indices, attempt), *others = parts
    if not others:
        return attempt.X, attempt.residuals
    rows: list[Any] = [None] * count
    residuals = np.empty(count)
    for indices, attempt in parts:
        for place, index in enumerate(indices):
            rows[index] = attempt.X[place]
        residuals[indices] = attempt.residuals
    return array_namespace(attempt.X).stack(rows), residuals


def _value(problem: Problem, matrices: Matrices, X: Tensor) -> Any:
    """Return the answer in the units and the shape of the input; raises if that overflows."""
    if problem.function == "polar":
        product = _adjoint(X) @ matrices.A
        H = matrices.restored(0.5 * (product + _adjoint(product)), 1.0)
        values: tuple[Any, ...] = (matrices.restored(X, 0.0), H)
    else:
        exponent = EXPONENTS.get(problem.function, 0.0)
        if problem.family in ("root", "inverse_root"):
            exponent = (1.0 if problem.family == "root" else -1.0) / problem.p
        values = (matrices.restored(X, exponent),)
    for value in values:
        xp = array_namespace(value)
        if not bool(xp.all(xp.isfinite(value))):
            raise BreakdownError(
                f"the answer overflows {value.dtype}; use a wider data type, or scale A."
            )
    return values if problem.function == "polar" else values[0]


def _result(
    problem: Problem,
    parts: list[tuple[Array, Attempt]],
    value: Any,
    residuals: Array,
    matrices: Matrices,
    elapsed: float,
) -> IterationResult:
    _, main = max(parts, key=lambda part: len(part[0]))
    cost: dict[str, float] = {}
    for _, attempt in parts:
        for name, count in attempt.cost.items():
            cost[name] = max(cost.get(name, 0.0), count)
    methods = dict.fromkeys(attempt.method for _, attempt in parts)
    notes = dict.fromkeys(note for _, attempt in parts for note in attempt.notes if note)
    return IterationResult(
        value=value,
        residual_norm=float(residuals.max()),
        residual_norms=residuals.reshape(matrices.batch),
        status=max((attempt.status for _, attempt in parts), key=WORST.index),
        history=np.asarray(main.history, dtype=np.float64),
        steps=main.steps,
        cost=cost,
        method=f"{problem.function} by {' and '.join(methods)}",
        elapsed=elapsed,
        report="; ".join((*notes, f"the residual is {MEASURES[problem.function]}")),
    )


def _warn(problem: Problem, result: IterationResult, advice: str, options: Options) -> None:
    if result.status is not Status.STAGNATED:
        advice = result.status.value
    elif options.rtol is not None:
        advice = advice or "rounding allows no more: loosen rtol, or use a wider data type"
    warnings.warn(
        f"{result.method}: the residual {MEASURES[problem.function]} is "
        f"{result.residual_norm:.1e}, above the tolerance; "
        f"{advice or ILL}. "
        "See full_output=True.",
        ConvergenceWarning,
        stacklevel=4,
    )


def _empty(problem: Problem, matrices: Matrices, elapsed: float) -> IterationResult:
    """Answer for no matrices, or matrices without entries."""
    xp, A = array_namespace(matrices.A), matrices.A
    X = xp.reshape(A, (*matrices.batch, *A.shape[-2:]))
    value: Any = xp.zeros_like(X)
    if problem.function == "polar":
        n = A.shape[-1]
        options = {"device": A.device} if is_torch_array(A) else {}
        value = (value, xp.zeros((*matrices.batch, n, n), dtype=A.dtype, **options))
    return IterationResult(
        value=value,
        residual_norm=0.0,
        residual_norms=np.zeros(matrices.batch),
        status=Status.CONVERGED,
        history=np.empty(0),
        steps=(),
        cost={},
        method=f"{problem.function} of nothing",
        elapsed=elapsed,
        report="there are no entries",
    )


def _adjoint(X: Tensor) -> Tensor:
    xp = array_namespace(X)
    turned = xp.matrix_transpose(X)
    return xp.conj(turned) if xp.isdtype(X.dtype, "complex floating") else turned


def _rows(A: Tensor, indices: Array) -> Tensor:
    return array_namespace(A).stack([A[int(index)] for index in indices])
