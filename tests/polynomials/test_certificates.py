"""Certified extrema against the roots of derivatives, and on polynomials made to hide them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from numpy.polynomial import chebyshev

from spectool.errors import InputError
from spectool.polynomials import (
    Recurrence,
    chebyshev_inverse,
    chebyshev_series,
    end_filter,
    fourth_kind_inverse,
    from_roots,
    step_filter,
)
from spectool.polynomials.certificates import certified_minimum, largest


def true_range(coefficients):
    """Extrema of a Chebyshev series on [-1, 1] from the eigenvalues of a colleague matrix."""
    x = np.array([-1.0, 1.0])
    if np.size(coefficients) > 2:
        critical = chebyshev.chebroots(chebyshev.chebder(coefficients))
        # Those off the real line do no harm: p is evaluated at their real parts.
        x = np.append(x, np.clip(critical.real, -1, 1))
    values = chebyshev.chebval(x, coefficients)
    return values.min(), values.max()


@given(degree=hs.integers(0, 30), seed=hs.integers(0, 10**9), decay=hs.sampled_from([1.0, 0.7]))
def test_bounds_hold_and_are_sharp(degree, seed, decay):
    rng = np.random.default_rng(seed)
    coefficients = rng.standard_normal(degree + 1) * decay ** np.arange(degree + 1)
    low, high = true_range(coefficients)
    size = max(-low, high)
    p = chebyshev_series(coefficients, (-1.0, 1.0))
    lowest, most = certified_minimum(p), largest(p)
    assert lowest.bound <= low + 1e-12 * size
    assert low - lowest.bound <= 2.1e-3 * abs(low) + 1e-11 * size
    assert low - 1e-12 * size <= lowest.attained == p(lowest.where)
    assert most.bound >= size * (1 - 1e-12)
    assert most.bound <= size * (1 + 2.1e-3)
    assert most.attained == abs(p(most.where)) <= most.bound


@pytest.mark.parametrize("degree", [1, 2, 3, 10, 40])
def test_dip_between_grid_points_is_found(degree):
    """(T_2d + 1) / 2 - 1e-6 touches -1e-6 at d points that a coarse grid may miss."""
    p = chebyshev_series(np.append(np.zeros(2 * degree), 0.5), (0.0, 1.0)) + chebyshev_series(
        [0.5 - 1e-6], (0.0, 1.0)
    )
    found = certified_minimum(p)
    assert -1e-6 * 1.01 <= found.bound <= found.attained <= -1e-6 * 0.99


@pytest.mark.parametrize("degree", [0, 1, 5, 16, 64])
@pytest.mark.parametrize("condition", [10.0, 1e6])
def test_chebyshev_inverses_are_certified_positive(degree, condition):
    interval = (1.0 / condition, 1.0)
    p = chebyshev_inverse(interval, degree)
    found = certified_minimum(p, (0.0, 1.0))
    assert 0 < found.bound <= p(1.0)
    assert certified_minimum(fourth_kind_inverse(1.0, degree), (0.0, 1.0)).bound > 0
    # p falls from p(0) on: its largest modulus is known.
    top = largest(p, (0.0, 1.0))
    assert degree == 0 or top.where == 0.0
    assert p(0.0) <= top.bound <= p(0.0) * 1.0011


@pytest.mark.parametrize("degree", [1, 3, 7])
def test_odd_degrees_are_convicted_beyond_the_bound(degree):
    found = certified_minimum(chebyshev_inverse((0.1, 1.0), degree), (0.0, 3.0))
    assert found.bound <= found.attained < 0
    assert found.where == 3.0


@pytest.mark.parametrize(
    "p",
    [
        end_filter(0.1, (0.0, 1.0), 120, end="lower"),
        step_filter((0.4, 0.6), (0.0, 1.0), 90),
        from_roots(np.linspace(0.1, 1.0, 9), (0.0, 1.0)),
        chebyshev_series([0.0], (0.0, 1.0)),
        chebyshev_series([1.0] + 100 * [1e-17], (0.0, 1.0)),
    ],
    ids=lambda p: p.name,
)
def test_plateaus_and_zeros_end(p):
    found, top = certified_minimum(p), largest(p)
    x = np.linspace(0, 1, 5001)
    values = p(x)
    size = np.abs(values).max()
    assert found.bound <= values.min() + 1e-14 * size
    assert found.bound >= values.min() - 2e-3 * size
    assert size <= top.bound * (1 + 1e-14) <= size * 1.003 + 1e-300


def test_growth_elsewhere_does_not_blunt_the_bound():
    """A product that reaches 1e20 in the middle is known to 0.1% at its ends."""
    p = from_roots(np.append(np.full(5, -1e-4), np.full(5, 1.0001)), (0.0, 1.0))
    found = certified_minimum(p)
    assert found.attained == p(found.where)
    assert 0 < found.bound <= p(1.0)
    assert found.bound >= 0.998 * min(p(0.0), p(1.0))


def test_own_interval_is_the_default():
    p = chebyshev_series([0.0, 1.0], (2.0, 5.0))
    assert abs(certified_minimum(p).attained + 1) <= 1e-15
    assert certified_minimum(p).where == 2.0
    assert certified_minimum(p, (3.5, 4.0)).bound >= -1e-3


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_scales(scale):
    p = chebyshev_inverse((0.1 * scale, scale), 6)
    assert 0 < certified_minimum(p).bound * scale < 2


def test_malformed_calls():
    p = chebyshev_inverse((0.1, 1.0), 3)
    for interval in [(1.0, 0.0), (0.0, np.nan), 3]:
        with pytest.raises(InputError):
            certified_minimum(p, interval)
    overflowing = Recurrence([1e200, 1e200], [0.0, 0.0], [0.0, 0.0], [0, 0, 1], (0.0, 1.0))
    with pytest.raises(InputError, match="finite"):
        largest(overflowing)
