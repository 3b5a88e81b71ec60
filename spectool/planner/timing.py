"""What applications with one laid-out operator take, timed instead of priced by a machine's rates.

Rates are of matrices with seven entries a row; blocking, halves and small blocks depend on the
pattern. Where a solve is long, a share of it buys its true pace.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025), whose rewards are measured.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np

from spectool._types import Interval
from spectool.operators import Operator, PolynomialOperator
from spectool.planner.costs import OperatorCosts
from spectool.polynomials import chebyshev_inverse

__all__ = ["timed_costs"]

TIMED = 4, 16
"""Degrees whose applications are timed: the difference is that of steps, the rest the call."""
FEWEST, MOST = 2, 7
"""Rounds: fewer say less than the rates, more say nothing new."""


def timed_costs(
    costs: OperatorCosts,
    A: Operator,
    laid_out: Operator,
    interval: Interval,
    *,
    dtype: Any,
    seconds: float,
) -> OperatorCosts:
    """Return costs whose steps and calls are those of this operator.

    Applications are timed between other passes, a product and two updates, as in a solver.

    Parameters
    ----------
    costs : OperatorCosts
        By the machine's rates.
    A : Operator
        As solvers multiply with it.
    laid_out : Operator
        What polynomials run over, in the precision that is to be timed.
    interval : tuple of float
        That holds the spectrum.
    dtype : dtype
        Of vectors.
    seconds : float
        That may be spent; ``costs`` is returned where they do not suffice.
    """
    low, high = TIMED
    shared = low >= costs.threshold
    each = costs.application(low) + costs.application(high) + 2 * costs.cg_iteration(0)
    rounds = min(int(seconds / each) - 1, MOST)
    if rounds < FEWEST or shared != (high >= costs.threshold) or not interval[1] > 0:
        return costs
    x = np.ones(A.n, dtype=dtype)
    times: dict[int, list[float]] = {low: [], high: []}
    Ms = {
        degree: PolynomialOperator(
            laid_out,
            chebyshev_inverse((0.01 * interval[1], interval[1]), degree),
            scale=np.ones(A.n),
            dtype=dtype,
        )
        for degree in TIMED
    }
    z = x
    for turn in range(rounds + 1):
        for degree, M in Ms.items():
            r = x - 1e-3 * A.matmul(z)
            begin = time.perf_counter()
            z = M @ r
            if turn:  # the first one loads kernels
                times[degree].append(time.perf_counter() - begin)
            z /= max(float(np.abs(z).max()), np.finfo(np.float64).tiny)
    less, more = (statistics.median(times[degree]) for degree in TIMED)
    step = max(more - less, 0.05 * more) / (high - low)
    call = max(less - low * step, 0.05 * less)
    if not shared:
        return replace(costs, step_small=step, call=call)
    wake = min(costs.wake, call)
    return replace(costs, step_large=step, call=call - wake, wake=wake)
