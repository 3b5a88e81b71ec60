"""Filter polynomials: steps stay in [0, 1], end filters are minimax."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from spectool.errors import InputError
from spectool.polynomials import end_filter, step_filter
from spectool.polynomials.filters import jackson_damping

EPS = np.finfo(float).eps


@given(
    lo=hs.floats(-1.5, 0.9),
    width=hs.floats(0.01, 2),
    degree=hs.integers(0, 300),
    scale=hs.sampled_from([1e-90, 1.0, 1e90]),
)
def test_step_lies_between_zero_and_one(lo, width, degree, scale):
    hi = lo + width
    if hi <= -1:
        return
    p = step_filter((lo * scale, hi * scale), (-scale, scale), degree)
    values = p(scale * np.cos(np.linspace(0, np.pi, 2001)))
    assert values.min() >= -100 * (degree + 1) * EPS
    assert values.max() <= 1 + 100 * (degree + 1) * EPS


@pytest.mark.parametrize("degree", [50, 200, 1000])
@pytest.mark.parametrize("window", [(-0.3, 0.2), (0.5, 9.0), (-np.inf, -0.8), (-0.9, -0.7)])
def test_step_drops_within_its_transition(window, degree):
    p = step_filter(window, (-1.0, 1.0), degree)
    x = np.linspace(-1, 1, 4001)
    distance = np.min(np.abs(x[:, None] - np.clip(window, -2, 2)), axis=1)
    inside = (x > window[0]) & (x < window[1])
    far = distance > 3 * math.pi / degree
    half_width = 0.5 * (min(window[1], 1.0) - max(window[0], -1.0))
    if 3 * math.pi / degree < half_width:
        assert p(x[far & inside]).min() > 0.99
    assert p(x[far & ~inside]).max(initial=0.0) < 0.01
    at_edges = [end for end in window if -1 < end < 1]
    if 20 * math.pi / degree < half_width:
        np.testing.assert_allclose(p(np.array(at_edges)), 0.5, atol=0.03)


def test_jackson_factors():
    g = jackson_damping(30)
    assert g.shape == (31,)
    assert abs(g[0] - 1) <= 10 * EPS
    assert (np.diff(g) < 0).all()
    assert g[-1] > 0
    # The damped kernel is not negative (Jackson's theorem).
    t = np.linspace(0, np.pi, 1001)
    kernel = g[0] + 2 * (g[1:, None] * np.cos(np.arange(1, 31)[:, None] * t)).sum(axis=0)
    assert kernel.min() >= -1e3 * EPS


@pytest.mark.parametrize("end", ["lower", "upper"])
@pytest.mark.parametrize("degree", [1, 2, 9, 40])
@pytest.mark.parametrize("interval", [(0.0, 1.0), (-3.0, 9.0), (-1e-70, 1e-70)])
def test_end_filter_is_minimax(interval, degree, end):
    lower, upper = interval
    fraction = 0.15 if end == "lower" else 0.85
    edge = lower + fraction * (upper - lower)
    p = end_filter(edge, interval, degree, end=end)
    far, unwanted = (lower, (edge, upper)) if end == "lower" else (upper, (lower, edge))
    assert abs(p(far) - 1) <= 1e3 * EPS
    y = 1 + 2 * abs(edge - far) / (unwanted[1] - unwanted[0])
    bound = 1 / math.cosh(degree * math.acosh(y))
    t = np.cos(np.linspace(0, np.pi, 4001))
    x = 0.5 * (unwanted[0] + unwanted[1]) + 0.5 * (unwanted[1] - unwanted[0]) * t
    x = np.clip(x, *unwanted)
    worst = np.abs(p(x)).max()
    assert abs(worst - bound) <= 1e4 * EPS + 1e-4 * bound  # 1e-4: the grid misses the extrema
    wanted = np.linspace(far, edge, 500)
    assert (np.diff(p(wanted)) < 0).all()  # falls from the end to the edge
    assert (p(wanted) > 0).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: step_filter((2.0, 3.0), (-1.0, 1.0), 9),
        lambda: step_filter((0.5, 0.5), (-1.0, 1.0), 9),
        lambda: step_filter((0.5, 0.2), (-1.0, 1.0), 9),
        lambda: step_filter((np.nan, 0.2), (-1.0, 1.0), 9),
        lambda: step_filter((0.0, 0.2), (1.0, -1.0), 9),
        lambda: step_filter((0.0, 0.2), (-1.0, 1.0), -9),
        lambda: end_filter(1.0, (-1.0, 1.0), 9, end="lower"),
        lambda: end_filter(-2.0, (-1.0, 1.0), 9, end="lower"),
        lambda: end_filter(np.nan, (-1.0, 1.0), 9, end="lower"),
        lambda: end_filter(0.0, (-1.0, 1.0), 0, end="lower"),
        lambda: end_filter(0.0, (-1.0, 1.0), 5, end="middle"),
    ],
)
def test_malformed_calls(call):
    with pytest.raises(InputError):
        call()
