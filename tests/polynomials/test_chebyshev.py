"""Residual polynomials and interpolants against the theorems that define them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from spectool.errors import InputError
from spectool.polynomials import chebyshev_interpolant, chebyshev_inverse, fourth_kind_inverse

EPS = np.finfo(float).eps
INTERVALS = [(1.0, 3.0), (1e-4, 2.0), (1e-9, 1e-3), (1e100, 5e104)]


def grid(lower, upper, m=20_001):
    """Points dense near both ends, which they include."""
    t = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, m))
    return np.clip(lower + t * (upper - lower), lower, upper)


def chebyshev_t(m, y):
    return math.cosh(m * math.acosh(y))


# -- minimax inverse -------------------------------------------------------------------------


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("degree", [0, 1, 2, 5, 16, 33])
def test_inverse_attains_the_minimax_residual(interval, degree):
    lower, upper = interval
    z = grid(lower, upper)
    q = chebyshev_inverse(interval, degree)
    assert q.degree == degree
    residual = np.abs(1 - z * q(z)).max()
    best = 1 / chebyshev_t(degree + 1, (upper + lower) / (upper - lower))
    # z q(z) is rounded near 1; z near lower is known to eps upper of the interval
    assert abs(residual - best) <= 1e4 * EPS + 1e-6 * best  # 1e-6: the grid misses the extrema


@pytest.mark.parametrize("degree", [1, 4, 9])
def test_inverse_residual_equioscillates(degree):
    q = chebyshev_inverse((0.5, 2.0), degree)
    m = degree + 1
    extrema = 1.25 + 0.75 * np.cos(np.arange(m + 1) * np.pi / m)
    residual = 1 - extrema * q(extrema)
    assert (np.sign(residual[1:]) == -np.sign(residual[:-1])).all()
    np.testing.assert_allclose(np.abs(residual), np.abs(residual[0]), atol=1e3 * EPS)


@given(
    degree=hs.integers(0, 64),
    log_cond=hs.floats(0.1, 6),
    scale=hs.sampled_from([1e-100, 1.0, 1e100]),
)
def test_inverse_is_positive(degree, log_cond, scale):
    upper = scale
    interval = (upper / 10**log_cond, upper)
    q = chebyshev_inverse(interval, degree)
    inside = np.geomspace(interval[0] * 1e-6, upper, 500)
    assert (q(inside) > 0).all()
    if degree % 2 == 0:
        assert (q(upper * np.linspace(1, 3, 200)) > 0).all()


@pytest.mark.parametrize("degree", [1, 3, 7])
def test_odd_degrees_fail_beyond_the_bound_as_documented(degree):
    assert chebyshev_inverse((0.1, 1.0), degree)(3.0) < 0


# -- fourth kind -----------------------------------------------------------------------------


@pytest.mark.parametrize("upper", [1.0, 7.3, 1e-80])
@pytest.mark.parametrize("degree", [0, 1, 2, 7, 16, 40])
def test_optimal_fourth_kind_attains_its_bound(degree, upper):
    m = degree + 1
    q = fourth_kind_inverse(upper, degree)
    # Toward 0 the quotient tends to a limit whose rounding error grows like eps / z.
    z = upper * np.geomspace(1e-4 / m**2, 1, 40_001)
    r = 1 - z * q(z)
    quotient = z * r**2 / (1 - r**2)
    best = upper * math.tan(math.pi / (4 * m + 2)) ** 2
    assert abs(quotient.max() - best) <= 1e-5 * best  # the grid's resolution, and eps / 1e-4


@pytest.mark.parametrize("degree", [1, 3, 10])
def test_plain_fourth_kind_is_w_over_its_value_at_zero(degree):
    m, upper = degree + 1, 2.5
    t = np.linspace(0.01, np.pi - 0.01, 301)
    z = upper * (1 - np.cos(t)) / 2
    w = np.sin((m + 0.5) * t) / np.sin(0.5 * t) / (2 * m + 1)
    r = 1 - z * fourth_kind_inverse(upper, degree, optimal=False)(z)
    np.testing.assert_allclose(r, w, atol=1e3 * EPS)


@given(degree=hs.integers(0, 64), optimal=hs.booleans())
def test_fourth_kind_is_positive(degree, optimal):
    q = fourth_kind_inverse(1.0, degree, optimal=optimal)
    assert (q(np.geomspace(1e-9, 1, 500)) > 0).all()
    if degree % 2 == 0:
        assert (q(np.linspace(1, 3, 200)) > 0).all()


def test_optimal_weights_beat_plain_ones():
    z = np.geomspace(1e-6, 1, 5001)

    def worst(optimal):
        r = 1 - z * fourth_kind_inverse(1.0, 4, optimal=optimal)(z)
        return (z * r**2 / (1 - r**2)).max()

    m = 5
    assert worst(True) < worst(False)
    # Lottes' bound of the plain fourth kind is attained towards 0, where the grid begins.
    assert abs(worst(False) - 3 / (4 * m * (m + 1))) <= 1e-3 * worst(False)


# -- interpolants ----------------------------------------------------------------------------


@pytest.mark.parametrize("rtol", [1e-3, 1e-8, 1e-15])
@pytest.mark.parametrize(
    ("f", "interval"),
    [
        (np.exp, (-1.0, 1.0)),
        (np.exp, (-200.0, 3.0)),
        (lambda x: 1 / (1 + 25 * x**2), (-1.0, 1.0)),
        (np.sin, (-50.0, 50.0)),
        (lambda x: np.full_like(x, 3.0), (0.0, 1.0)),
        (np.zeros_like, (0.0, 1.0)),
        (lambda x: x**3, (-1.0, 2.0)),
        (lambda x: 1e-150 * np.cos(x), (-1.0, 2.0)),
    ],
)
def test_interpolant_keeps_its_promise(f, interval, rtol):
    p, error = chebyshev_interpolant(f, interval, rtol=rtol)
    x = grid(*interval)
    truth = f(x)
    size = np.abs(truth).max()
    actual = np.abs(p(x) - truth).max()
    rounding = 50 * EPS * (1 + p.degree) ** 0.5 * size
    assert actual <= 2 * rtol * size + rounding
    assert error >= 0.1 * (actual - rounding)
    assert error <= 2 * rtol * size + rounding


def test_interpolant_cuts_its_tail():
    p, _ = chebyshev_interpolant(lambda x: x**3, (-1.0, 2.0))
    assert p.degree == 3
    p, _ = chebyshev_interpolant(np.ones_like, (-1.0, 2.0))
    assert p.degree == 0


@pytest.mark.parametrize("max_degree", [4, 16, 100, 512])
def test_max_degree_is_a_limit_and_the_error_is_told(max_degree):
    p, error = chebyshev_interpolant(np.abs, (-1.0, 1.0), max_degree=max_degree)
    x = grid(-1, 1)
    actual = np.abs(p(x) - np.abs(x)).max()
    assert p.degree <= max_degree
    assert 0.1 * actual <= error <= 100 * actual


@pytest.mark.parametrize("degree", [0, 1, 7, 60])
@pytest.mark.parametrize("f", [np.exp, np.abs, lambda x: 1 / (1 + 25 * x**2)])
def test_fixed_degree(f, degree):
    p, error = chebyshev_interpolant(f, (-1.0, 1.0), degree=degree)
    assert p.degree == degree
    x = grid(-1, 1)
    actual = np.abs(p(x) - f(x)).max()
    assert error >= 0.1 * actual - 50 * EPS
    assert error <= 100 * actual + 50 * EPS


@pytest.mark.parametrize(
    ("f", "interval"),
    [
        (np.log, (-1.0, 1.0)),
        (lambda x: np.full_like(x, np.nan), (0.0, 1.0)),
        (lambda x: np.exp(1j * x), (0.0, 1.0)),
        (lambda x: 1.0, (0.0, 1.0)),
        (lambda x: x[:3], (0.0, 1.0)),
        (np.exp, (0.0, 1e6)),
        (np.exp, (1.0, 0.0)),
    ],
)
@pytest.mark.parametrize("degree", [None, 5])
def test_bad_functions_are_refused(f, interval, degree):
    with pytest.raises(InputError):
        chebyshev_interpolant(f, interval, degree=degree)


def test_complex_type_with_real_values_is_accepted():
    p, _ = chebyshev_interpolant(lambda x: np.exp(x) + 0j, (0.0, 1.0))
    assert abs(p(0.5) - math.exp(0.5)) <= 10 * EPS


@pytest.mark.parametrize(
    "call",
    [
        lambda: chebyshev_inverse((0.0, 1.0), 3),
        lambda: chebyshev_inverse((-1.0, 1.0), 3),
        lambda: chebyshev_inverse((1.0, 2.0), -1),
        lambda: chebyshev_inverse((1.0, 2.0), 2.0),
        lambda: chebyshev_inverse((1.0, 2.0), True),
        lambda: fourth_kind_inverse(0.0, 3),
        lambda: fourth_kind_inverse(np.inf, 3),
        lambda: fourth_kind_inverse(np.nan, 3),
        lambda: fourth_kind_inverse(1.0, 10**9),
        lambda: chebyshev_interpolant(np.exp, (0.0, 1.0), degree=-1),
    ],
)
def test_malformed_calls(call):
    with pytest.raises(InputError):
        call()
