"""Costs timed on an operator: what is measured goes where it belongs, and nothing is spent else."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import spectool as st
from spectool.operators import as_operator
from spectool.planner import timing
from spectool.planner.costs import OperatorCosts
from spectool.planner.timing import timed_costs

COSTS = OperatorCosts(
    product=1e-3, call=2e-3, step_small=1e-3, step_large=1e-3, vector=1e-4, threshold=0.0, wake=1e-3
)


@pytest.fixture
def A():
    return as_operator(st.gallery.poisson((30, 30)))


def let_applications_take(seconds, monkeypatch):
    now = [0.0]

    class Application:
        def __init__(self, operator, recurrence, **_):
            self.degree = recurrence.degree

        def __matmul__(self, r):
            now[0] += seconds(self.degree)
            return r

    monkeypatch.setattr(timing, "PolynomialOperator", Application)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))


def timed(costs, A, seconds=10.0):
    return timed_costs(costs, A, A, (0.0, 8.0), dtype=np.float64, seconds=seconds)


def test_steps_and_calls_are_told_apart(A, monkeypatch):
    let_applications_take(lambda degree: 5.0 + 3.0 * degree, monkeypatch)
    together = timed(COSTS, A)
    assert together.step_large == pytest.approx(3.0)
    assert (together.call, together.wake) == pytest.approx((5.0 - COSTS.wake, COSTS.wake))
    assert together.application(16) == pytest.approx(53.0)
    assert replace(together, step_large=1e-3, call=2e-3) == COSTS  # nothing else has changed
    alone = timed(replace(COSTS, threshold=100.0), A)
    assert (alone.step_small, alone.call) == pytest.approx((3.0, 5.0))
    assert alone.application(16) == pytest.approx(53.0)


def test_noise_makes_no_negative_seconds(A, monkeypatch):
    let_applications_take(lambda degree: 20.0 - degree, monkeypatch)
    found = timed(COSTS, A)
    assert min(found.step_large, found.call, found.wake) >= 0


@pytest.mark.parametrize(
    ("costs", "seconds"),
    [(COSTS, 1e-3), (replace(COSTS, threshold=10.0), 10.0)],
    ids=["too short", "alone and together"],
)
def test_rates_stay_where_timing_would_not_tell(A, costs, seconds):
    assert timed(costs, A, seconds) is costs
    assert A.n_matvecs == 0


def test_a_real_operator(A):
    found = timed(COSTS, A, seconds=1.0)
    assert 0 < found.step_large < 0.1
    assert A.n_matvecs > 0
