"""Least squares designs against their normal equations and against dense least squares."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from numpy.polynomial import chebyshev

from spectool.errors import InputError
from spectool.polynomials.least_squares import least_squares_inverse

EPS = np.finfo(float).eps


def uniform(m=400, lower=1e-6, upper=1.0):
    return np.linspace(lower, upper, m)


def low_heavy(m=400):
    """Quadratically dense at both ends, as degree 50 needs it, and down to 1e-6."""
    return 1e-6 + (0.5 - 0.5 * np.cos(np.pi * np.linspace(0, 1, m))) ** 2


def indefinite(m=400):
    z = np.linspace(-1.0, 2.0, m)
    return z[np.abs(z) > 0.05]


SPECTRA = {"uniform": uniform, "low-heavy": low_heavy, "indefinite": indefinite}


def hull(z):
    return (float(z.min()), float(z.max()))


@pytest.mark.parametrize("family", SPECTRA)
@pytest.mark.parametrize("degree", [0, 1, 2, 7, 20, 50])
def test_residual_is_orthogonal_to_all_competitors(family, degree):
    z = SPECTRA[family]()
    w = 1.0 + np.cos(7 * z) ** 2
    q = least_squares_inverse(z, w, hull(z), degree)
    assert q.degree == degree
    r = 1 - z * q(z)
    # Normal equations: sum w r z p = 0 for every p of the degree, the T_k span them.
    lower, upper = hull(z)
    t = chebyshev.chebvander((2 * z - lower - upper) / (upper - lower), degree) * z[:, None]
    scale = np.sqrt(w.sum()) * np.linalg.norm(np.sqrt(w)[:, None] * t, axis=0)
    assert (np.abs((w * r) @ t) <= 100 * EPS * scale).all()


@pytest.mark.parametrize("family", SPECTRA)
@pytest.mark.parametrize("degree", [0, 3, 12])
def test_equals_dense_least_squares(family, degree):
    z = SPECTRA[family]()
    w = np.abs(z) ** 0.5
    q = least_squares_inverse(z, w, hull(z), degree)
    lower, upper = hull(z)
    t = chebyshev.chebvander((2 * z - lower - upper) / (upper - lower), degree) * z[:, None]
    root = np.sqrt(w)
    coefficients, *_ = np.linalg.lstsq(root[:, None] * t, root, rcond=None)
    np.testing.assert_allclose(root * z * q(z), root * (t @ coefficients), atol=1e-11)


def test_stays_accurate_at_degree_50():
    """The same normal equations solved with 40 digits."""
    z, d = uniform(110, 0.01, 1.0), 50
    q = least_squares_inverse(z, np.ones_like(z), (0.01, 1.0), d)
    with mpmath.workdps(40):
        nodes = [mpmath.mpf(float(x)) for x in z]
        rows = mpmath.matrix(len(nodes), d + 1)
        for i, x in enumerate(nodes):
            y = (2 * x - mpmath.mpf("1.01")) / mpmath.mpf("0.99")
            for k in range(d + 1):
                rows[i, k] = x * mpmath.chebyt(k, y)
        c = mpmath.lu_solve(rows.T * rows, rows.T * mpmath.matrix([1] * len(nodes)))
        truth = np.array([float(v) for v in rows * c])
    np.testing.assert_allclose(z * q(z), truth, atol=1e-12)


@given(degree=hs.integers(0, 40), seed=hs.integers(0, 10**9), log_cond=hs.floats(0, 8))
def test_error_falls_with_the_degree(degree, seed, log_cond):
    rng = np.random.default_rng(seed)
    z = 10.0 ** (-log_cond * rng.random(200))
    w = rng.random(200)

    def loss(d):
        q = least_squares_inverse(z, w, (0.0, 1.0), d)
        return np.sqrt((w * (1 - z * q(z)) ** 2).sum() / w.sum())

    assert loss(degree + 1) <= loss(degree) + 1e-8
    assert loss(0) <= 1


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1e100])
def test_scales_with_the_operator(scale):
    z = uniform()
    one = least_squares_inverse(z, np.ones_like(z), (0.0, 1.0), 12)
    other = least_squares_inverse(scale * z, np.full(z.size, 7.0), (0.0, scale), 12)
    np.testing.assert_allclose(scale * z * other(scale * z), z * one(z), atol=1e-12)


def test_chebyshev_measure_gives_chebyshev_polynomials():
    """In the measure dz / sqrt(...) times z^-2 the optimum is a truncated Chebyshev series."""
    m, d = 300, 9
    y = np.cos((np.arange(m) + 0.5) * np.pi / m)
    z = 2.0 + y
    q = least_squares_inverse(z, z**-2.0, (1.0, 3.0), d)
    # 1 / (2 + y) = (1 + 2 sum (-s)^k T_k) / sqrt(3), s = 2 - sqrt(3)
    k = np.arange(d + 1)
    truth = np.where(k, 2.0, 1.0) * (np.sqrt(3) - 2) ** k / np.sqrt(3)
    np.testing.assert_allclose(q.chebyshev_coefficients((1.0, 3.0)), truth, atol=1e-14)


@pytest.mark.parametrize("distinct", [1, 2, 5])
def test_few_distinct_nodes_are_interpolated(distinct):
    z = np.repeat([0.5, -1.0, 2.0, 3.0, 4.0][:distinct], 40)
    q = least_squares_inverse(z, np.ones_like(z), (-1.0, 4.0), 12)
    assert q.degree <= distinct - 1
    np.testing.assert_allclose(z * q(z), 1.0, atol=1e-12)


def test_isolated_nodes_lower_the_degree():
    """400 nodes, 67 in a decade: the last are too far apart for degree 50 to be determined."""
    z = 10.0 ** np.linspace(-6, 0, 400)
    q = least_squares_inverse(z, np.ones_like(z), (0.0, 1.0), 50)
    assert 20 <= q.degree < 50
    lower = least_squares_inverse(z, np.ones_like(z), (0.0, 1.0), q.degree)
    np.testing.assert_array_equal(q.w, lower.w)
    assert np.abs(1 - z * q(z)).max() <= 1.5


def test_nodes_without_weight_and_zero_do_not_count():
    z = np.array([1.0, 2.0, 3.0, 0.0])
    q = least_squares_inverse(z, [1.0, 1.0, 0.0, 9.0], (0.0, 3.0), 5)
    assert q.degree == 1
    np.testing.assert_allclose(q([1.0, 2.0]), [1.0, 0.5], atol=1e-14)


def test_integer_nodes():
    q = least_squares_inverse([1, 2], [1, 1], (1, 2), 0)
    assert abs(q(1.0) - 3 / 5) <= 4 * EPS  # sum z / sum z^2


@pytest.mark.parametrize(
    ("nodes", "weights", "interval", "degree"),
    [
        ([1.0, 2.0], [1.0], (0.0, 3.0), 1),
        ([1.0, np.nan], [1.0, 1.0], (0.0, 3.0), 1),
        ([1.0, 2.0], [1.0, np.inf], (0.0, 3.0), 1),
        ([1.0, 2.0], [1.0, -1.0], (0.0, 3.0), 1),
        ([1.0, 2.0], [0.0, 0.0], (0.0, 3.0), 1),
        ([0.0], [1.0], (0.0, 3.0), 1),
        ([], [], (0.0, 3.0), 1),
        ([1j, 2.0], [1.0, 1.0], (0.0, 3.0), 1),
        ([[1.0]], [[1.0]], (0.0, 3.0), 1),
        (["a"], [1.0], (0.0, 3.0), 1),
        ([1.0, 4.0], [1.0, 1.0], (0.0, 3.0), 1),
        ([1.0, 2.0], [1.0, 1.0], (3.0, 0.0), 1),
        ([1.0, 2.0], [1.0, 1.0], (0.0, 3.0), -1),
        ([1.0, 2.0], [1.0, 1.0], (0.0, 3.0), 1.0),
    ],
)
def test_malformed_calls(nodes, weights, interval, degree):
    with pytest.raises(InputError):
        least_squares_inverse(nodes, weights, interval, degree)
