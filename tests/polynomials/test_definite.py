"""Split and absolute-value designs: clusters as promised, positive wherever it was claimed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from spectool import gallery
from spectool.errors import InputError
from spectool.polynomials.certificates import certified_minimum
from spectool.polynomials.definite import absolute_inverse, inverse_square_root


@hs.composite
def around_zero(draw):
    ends = [10.0 ** draw(hs.floats(-3, 1)) for _ in range(4)]
    a1, b1 = sorted(ends[:2])
    a2, b2 = sorted(ends[2:])
    return (-b1 * 1.01, -a1), (a2, b2 * 1.01)


# -- inverse square root ---------------------------------------------------------------------


@pytest.mark.parametrize("interval", [(1.0, 3.0), (1e-3, 2.0), (1e-6, 1.0), (1e99, 1e100)])
@pytest.mark.parametrize("degree", [0, 1, 2, 7, 20])
def test_split_clusters_the_spectrum(interval, degree):
    q, error = inverse_square_root(interval, degree)
    z = np.geomspace(*interval, 4001)
    eigenvalues = (np.sqrt(z) * q(z)) ** 2
    assert 0 < error < 1
    assert eigenvalues.min() >= (1 - error) ** 2 * (1 - 1e-6)
    assert eigenvalues.max() <= (1 + error) ** 2 * (1 + 1e-6)


def test_degree_zero_in_closed_form():
    # q = c with c sqrt(a) = 1 - e, c sqrt(b) = 1 + e
    q, error = inverse_square_root((1.0, 9.0), 0)
    assert abs(q(0.0) - 0.5) <= 1e-12
    assert abs(error - 0.5) <= 1e-12


def test_error_decays_at_the_classical_rate():
    _, first = inverse_square_root((0.1, 1.0), 10)
    _, second = inverse_square_root((0.1, 1.0), 16)
    root = np.sqrt(10.0)
    rate = (root - 1) / (root + 1)
    assert abs((second / first) ** (1 / 6) / rate - 1) <= 0.05


@pytest.mark.parametrize("degree", [1, 4])
def test_square_is_a_split_preconditioner(degree):
    A = gallery.poisson((6, 6)).toarray()
    lam, V = np.linalg.eigh(A)
    q, error = inverse_square_root((lam[0], lam[-1]), degree)
    S = (V * q(lam)) @ V.T
    split = np.linalg.eigvalsh(S @ A @ S)
    product = q * q
    assert product.degree == 2 * q.degree
    np.testing.assert_allclose(split, np.sort(lam * product(lam)), rtol=1e-10)
    assert split.max() / split.min() <= ((1 + error) / (1 - error)) ** 2 * (1 + 1e-6)


@given(degree=hs.integers(0, 24), log_cond=hs.floats(0.01, 5))
def test_root_is_positive(degree, log_cond):
    q, _ = inverse_square_root((10.0**-log_cond, 1.0), degree)
    assert certified_minimum(q, (0.0, 1.0)).bound > 0
    if q.degree % 2 == 0:
        assert certified_minimum(q, (0.0, 2.0)).bound > 0


# -- absolute inverse ------------------------------------------------------------------------


@given(intervals=around_zero(), degree=hs.integers(0, 30))
def test_absolute_inverse_is_positive_and_clusters(intervals, degree):
    negative, positive = intervals
    p, error = absolute_inverse(negative, positive, degree)
    for lower, upper in intervals:
        z = np.linspace(lower, upper, 2001)
        assert np.abs(np.sign(z) - z * p(z)).max() <= error * (1 + 1e-6) + 1e-12
    assert certified_minimum(p, (negative[0], positive[1])).bound > 0


@pytest.mark.parametrize("degree", [0, 2, 8, 15])
def test_mirrored_intervals_give_a_polynomial_in_the_square(degree):
    p, error = absolute_inverse((-2.0, -0.1), (0.1, 2.0), degree)
    root, same = inverse_square_root((0.01, 4.0), degree // 2)
    z = np.linspace(0.1, 2.0, 301)
    np.testing.assert_allclose(p(z), root(z * z), rtol=1e-7)
    np.testing.assert_allclose(p(-z), p(z), rtol=1e-7)
    assert abs(error - same) <= 1e-8


def test_extreme_gap():
    p, error = absolute_inverse((-1.0, -1e-6), (1e-3, 1.0), 30)
    assert error < 1
    assert certified_minimum(p).bound > 0


def test_lopsided_intervals_beat_mirrored_ones():
    _, error = absolute_inverse((-0.2, -0.1), (0.01, 1.0), 20)
    _, mirrored = absolute_inverse((-1.0, -0.01), (0.01, 1.0), 20)
    assert error < 0.9 * mirrored


@pytest.mark.parametrize(
    "call",
    [
        lambda: inverse_square_root((0.0, 1.0), 3),
        lambda: inverse_square_root((-1.0, 1.0), 3),
        lambda: inverse_square_root((1.0, 1.0), 3),
        lambda: inverse_square_root((1.0, 2.0), 1.5),
        lambda: absolute_inverse((1.0, 2.0), (3.0, 4.0), 3),
        lambda: absolute_inverse((-2.0, -1.0), (-0.5, 1.0), 3),
        lambda: absolute_inverse((-2.0, 0.0), (1.0, 2.0), 3),
        lambda: absolute_inverse((-1.0, -2.0), (1.0, 2.0), 3),
        lambda: absolute_inverse((-2.0, -1.0), (1.0, 2.0), -3),
        lambda: absolute_inverse((-2.0, -1.0), (1.0, np.nan), 3),
    ],
)
def test_malformed_calls(call):
    with pytest.raises(InputError):
        call()
