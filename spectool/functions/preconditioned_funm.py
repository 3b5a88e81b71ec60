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

import numpy as np

from spectool._types import Interval
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.functions.lanczos_funm import lanczos_funm
from spectool.functions.scalar import FUNCTIONS
from spectool.functions.task import Answer, Target, Task
from spectool.operators import PolynomialOperator, as_operator
from spectool.polynomials import Recurrence, chebyshev_series, inverse_square_root
from spectool.results import Status

ROOTS = ("sqrt", "invsqrt")


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
    operator = task.operator.prepared(32 * composed.degree * task.n_columns)
    inner = as_operator(PolynomialOperator(operator, composed), assume_a="her")
    shifted = chebyshev_series([0.5 * sum(interval), 0.5 * (interval[1] - interval[0])], interval)
    Y, errors, roundings, answers = task.empty(), [], [], []
    for index, target in enumerate(task.targets):
        start = q if target.function.name == "invsqrt" else shifted * q
        B = operator.apply(start, task.B) * target.t.real ** (
            -0.5 if target.function.name == "invsqrt" else 0.5
        )
        # Products are counted by A's own counter; inside, one step stands for all its degrees.
        limits = dataclasses.replace(
            task.limits,
            maxiter=max(task.limits.maxiter // composed.degree, 1),
            max_matvecs=max(
                (task.limits.max_matvecs - task.operator.n_matvecs) / composed.degree, 1.0
            ),
        )
        part = dataclasses.replace(
            task,
            targets=(Target(FUNCTIONS["invsqrt"]),),
            operator=inner.recounted(),
            B=np.ascontiguousarray(B, dtype=task.operator.dtype),
            limits=limits,
        )
        try:
            answer = lanczos_funm(part, spacing=1)
        except NotPositiveDefiniteError as error:
            raise NotPositiveDefiniteError(
                f"{target} needs a positive definite A; of the preconditioned operator "
                f"z q(z)^2, which has the sign of A's eigenvalues: {error}"
            ) from error
        Y[index] = answer.Y[0]
        errors.append(answer.error[0])
        roundings.append(answer.rounding[0])
        answers.append(answer)
    failed = [answer.status for answer in answers if answer.status is not Status.CONVERGED]
    steps = ", ".join(answer.method for answer in answers)
    return Answer(
        Y,
        np.array(errors),
        np.array(roundings),
        failed[0] if failed else Status.CONVERGED,
        sum(answer.n_reductions for answer in answers),
        f"preconditioned by degree {q.degree}, {steps}",
    )
