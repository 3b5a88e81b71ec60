"""The GMRES polynomial for a matrix that has changed a little: kept if it still does its work.

Deviations
    Nothing bounds how the spectrum of a general matrix moves, so what the polynomial leaves of a
    random residual decides, as it does when the polynomial is made.
Cost
    One equilibration, and ``degree + 1`` matvecs; none where the equilibrated matrix is the same.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import scipy.sparse as sp

from spectool._types import Rng
from spectool.operators import Operator, as_operator
from spectool.operators.scaling import equilibrate
from spectool.preconditioners.general import (
    MOST_EXPECTED,
    GeneralPreconditioner,
    Trial,
    stored_matrix,
)
from spectool.preconditioners.gmres_polynomial import GROWTH, TARGET, residual_left
from spectool.preconditioners.operator import SetUp
from spectool.preconditioners.refresh import TooDifferentError, set_up_again
from spectool.results import PreconditionerReport

WORSE = 2.0
"""Factor by which a random residual may be left larger than before."""
NEAR = 0.1
"""Relative change, in the Frobenius norm, up to which no probe is made again where one found that
no polynomial helps."""


def refreshed(M: GeneralPreconditioner, A: Any, rng: Rng) -> Any:
    """Return M for another A; see `GeneralPreconditioner.refresh`."""
    begin = time.perf_counter()
    set_up = M.set_up
    operator = as_operator(A, assume_a=set_up and set_up.assume_a, need_hermitian=False)
    spent = [operator.counter]
    try:
        set_up = _checked(M, set_up, operator)
        matrix = stored_matrix(operator)
        equilibration, B = None, operator.recounted()
        if matrix is not None:
            equilibration = equilibrate(matrix)
            B = as_operator(equilibration.apply(matrix), assume_a="gen", need_hermitian=False)
        spent.append(B.counter)
        trial, reason = _tried(M, B, rng)
        return _made(M, set_up, operator, B, equilibration, trial, reason, begin)
    except TooDifferentError as found:
        return set_up_again(set_up, operator, rng, str(found), spent)


def _checked(M: GeneralPreconditioner, set_up: SetUp | None, operator: Operator) -> SetUp:
    """Return how M was made, or raise TooDifferentError if that cannot be of use."""
    method = set_up and set_up.again.keywords.get("method")
    if set_up is None or method in ("none", "jacobi"):
        raise TooDifferentError("the one before took no probe")
    if operator.n != M.shape[0]:
        raise TooDifferentError(f"A has {operator.n} rows now, and had {M.shape[0]}")
    if operator.dtype != M.dtype:
        raise TooDifferentError(f"A is {operator.dtype} now, and was {M.dtype}")
    if operator.assume_a != "gen" and method != "gmres_poly":
        raise TooDifferentError("A is Hermitian now")
    return set_up


def _tried(M: GeneralPreconditioner, B: Operator, rng: Rng) -> tuple[Trial, str]:
    """Return what M's polynomial does with the new B, or raise TooDifferentError."""
    change = _relative_change(stored_matrix(B), stored_matrix(M.operator))
    q, before = M.recurrence, M.trial
    if change <= 1e3 * float(np.finfo(B.dtype).eps):
        return before, "refreshed: A is what it was, but for scalings and rounding"
    if q.degree == 0:
        if change <= NEAR:
            return before, f"refreshed: A has changed by {change:.2g}; scaled anew, not probed"
        raise TooDifferentError(f"A has changed by {change:.2g}")
    fresh = np.random.default_rng(rng).standard_normal(B.n).astype(B.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        left = residual_left(B, q, fresh)
    if not left <= min(WORSE * before.left + TARGET, GROWTH):
        raise TooDifferentError(
            f"the polynomial leaves {left:.1e} of a random residual, and left {before.left:.1e}"
        )
    reason = f"refreshed: the polynomial leaves {left:.1e} of a random residual, and left "
    return Trial(left, before.steps), f"{reason}{before.left:.1e}"


def _relative_change(A: Any, B: Any) -> float:
    """Return ``||A - B||_F / ||B||_F``, infinite where entries are not stored."""
    if A is None or B is None or sp.issparse(A) != sp.issparse(B):
        return float("inf")
    norm = sp.linalg.norm if sp.issparse(A) else np.linalg.norm
    size = float(norm(B))
    return float(norm(A - B)) / size if size > 0 else float("inf")


def _made(
    M: GeneralPreconditioner,
    set_up: SetUp,
    operator: Operator,
    B: Operator,
    equilibration: Any,
    trial: Trial,
    reason: str,
    begin: float,
) -> GeneralPreconditioner:
    q, spent = M.recurrence, operator.n_matvecs + B.n_matvecs
    if q.degree:
        B = B.prepared(min(trial.steps, MOST_EXPECTED), set_up.execution)
    counted = B.recounted()
    counted.counter.add(spent)
    execution = str(counted.backend.report) if q.degree else ""
    elapsed = time.perf_counter() - begin
    report = PreconditionerReport(M.report.chosen, reason, (), spent, elapsed, execution)
    return GeneralPreconditioner(
        counted, q, report, equilibration, operator.dtype, trial=trial, set_up=set_up
    )
