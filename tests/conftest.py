"""Settings of the whole suite: no test sees the user's cache, hypothesis repeats itself."""

import os

# Before NumPy loads: OpenBLAS's idle threads spin on the cores that our kernels need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from spectool.planner.costs import Costs, Rates, StepRates

settings.register_profile(
    "spectool",
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("spectool")


@pytest.fixture
def fixed_costs(monkeypatch):
    """Replace this machine's measured costs by a typical laptop's, so that choices repeat."""
    rates = Rates(product=3e-10, vector=5e-10)
    costs = Costs(product_call=4e-6, vector_call=1e-6, cached=rates, memory=rates)
    monkeypatch.setattr("spectool.planner.costs.machine_costs", lambda: costs)
    steps = StepRates(alone=3e-10, cached=2e-10, memory=2e-10, call=1.2e-5, row=1e-9, far_row=1e-9)
    monkeypatch.setattr("spectool.planner.costs.format_rates", lambda *_: steps)
    monkeypatch.setattr("spectool.planner.sparse.timed_costs", lambda costs, *_, **__: costs)
    return costs


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("SPECTOOL_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture
def rng():
    return np.random.default_rng(736251948)
