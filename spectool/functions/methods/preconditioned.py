"""Roots by polynomial preconditioning: ``A^(-1/2) b = C^(-1/2) q(A) b`` with ``C = q(A) A q(A)``.

Source
    Frommer, Ramirez-Hidalgo, Schweitzer and Tsolakis, Polynomial preconditioning for the action of
    the matrix square root and inverse square root, arXiv:2401.06684.
Deviations
    q acts on b first, so that the error estimates of Lanczos-FA are those of the answer; its degree
    is chosen by predicted seconds. ``A^(1/2) b = C^(-1/2) A q(A) b``.
Cost per Lanczos step
    ``2 degree + 1`` matvecs in the fused kernels, 2 reductions, 1 stored vector: many times fewer
    vectors and reductions than plain Lanczos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from spectool._types import Interval
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.functions.methods.lanczos import MAX_BASIS_BYTES, lanczos_funm
from spectool.functions.scalar import FUNCTIONS
from spectool.functions.task import Answer, Limits, Target, Task
from spectool.operators import PolynomialOperator, as_operator
from spectool.polynomials import Recurrence, chebyshev_series, inverse_square_root
from spectool.results import Status

ROOTS = ("sqrt", "invsqrt")
STEPS = 32
"""Steps that the basis of a group of columns has room for."""


def split_design(interval: Interval, degree: int) -> tuple[Recurrence, Recurrence]:
    """Return q of an even degree, positive on the whole axis above 0, and ``z q(z)^2``."""
    q, _ = inverse_square_root(interval, degree + degree % 2)
    lower, upper = interval
    identity = chebyshev_series([0.5 * (lower + upper), 0.5 * (upper - lower)], interval)
    return q, identity * q * q


def preconditioned_funm(task: Task, interval: Interval, degree: int) -> Answer:
    """Approximate roots of positive definite A for all columns.

    Parameters
    ----------
    task : Task
        Targets "sqrt" or "invsqrt" with t > 0.
    interval : tuple of float
        ``(lower, upper)``: upper at least the largest eigenvalue, lower positive; eigenvalues below
        it are allowed, and what Lanczos is left to find.
    degree : int
        Of q.

    Raises
    ------
    InputError
        If a target is no root, or the interval not positive.
    NotPositiveDefiniteError
        If A has a nonpositive eigenvalue that Lanczos meets.
    """
    for target in task.targets:
        if target.function.name not in ROOTS or not target.t.real > 0:
            raise InputError(
                f"method='preconditioned' serves {ROOTS} with t > 0; got {target}. "
                "Use method='lanczos'."
            )
    q, composed = split_design(interval, degree)
    operator = task.operator.prepared(STEPS * composed.degree * task.n_columns)
    inner = as_operator(PolynomialOperator(operator, composed), assume_a="her")
    shifted = chebyshev_series([0.5 * sum(interval), 0.5 * (interval[1] - interval[0])], interval)
    Y, answers = task.empty(), []
    error = np.full((len(task.targets), task.n_columns), np.inf)
    rounding = np.zeros_like(error)
    for index, target in enumerate(task.targets):
        inverse = target.function.name == "invsqrt"
        start, power = (q, -0.5) if inverse else (shifted * q, 0.5)
        for columns in _groups(task):
            B = operator.apply(start, np.ascontiguousarray(task.B[:, columns]))
            part = dataclasses.replace(
                task,
                targets=(Target(FUNCTIONS["invsqrt"]),),
                operator=inner.recounted(),
                B=np.ascontiguousarray(B * target.t.real**power, dtype=task.operator.dtype),
                limits=_inner(task, composed.degree),
            )
            try:
                answer = lanczos_funm(part, spacing=1)
            except NotPositiveDefiniteError as found:
                raise NotPositiveDefiniteError(
                    f"{target} needs a positive definite A; of the preconditioned operator "
                    f"z q(z)^2, which has the sign of A's eigenvalues: {found}"
                ) from found
            Y[index][:, columns] = answer.Y[0]
            error[index, columns], rounding[index, columns] = answer.error[0], answer.rounding[0]
            answers.append(answer)
    failed = [answer.status for answer in answers if answer.status is not Status.CONVERGED]
    steps = ", ".join(dict.fromkeys(answer.method for answer in answers))
    return Answer(
        Y,
        error,
        rounding,
        failed[0] if failed else Status.CONVERGED,
        sum(answer.n_reductions for answer in answers),
        f"preconditioned by degree {q.degree}, {steps}",
    )


def _groups(task: Task) -> Iterator[slice]:
    """Cut the columns into groups whose bases may be kept: a second pass would cost more."""
    kept = min(task.limits.max_memory, MAX_BASIS_BYTES)
    width = max(int(kept / (STEPS * task.B[:, 0].nbytes)), 1)
    for first in range(0, task.n_columns, width):
        yield slice(first, min(first + width, task.n_columns))


def _inner(task: Task, degree: int) -> Limits:
    """Return the limits of a run whose steps cost ``degree`` products, counted by A itself."""
    left = (task.limits.max_matvecs - task.operator.n_matvecs) / degree
    return dataclasses.replace(
        task.limits,
        maxiter=max(task.limits.maxiter // degree, 1),
        max_matvecs=max(left, 1.0),
    )
