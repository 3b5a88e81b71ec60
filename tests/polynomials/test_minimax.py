"""Minimax designs against equioscillation, Chebyshev's closed forms and linear programming."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from scipy.optimize import linprog

from spectool.errors import InputError
from spectool.polynomials import chebyshev_inverse
from spectool.polynomials.minimax import minimax, minimax_inverse

EPS = np.finfo(float).eps
UNIONS = {
    "clusters": [(1e-4, 1e-3), (0.5, 1.0)],
    "three": [(1e-4, 2e-4), (1e-2, 1.2e-2), (0.9, 1.0)],
    "mirrored": [(-1.0, -0.1), (0.1, 1.0)],
    "lopsided": [(-1.0, -1e-3), (0.1, 3.0)],
    "small negative": [(-1e-3, -1e-4), (1e-4, 1.0)],
}


def dense(union, m=20_001):
    t = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, m))
    return np.concatenate([np.clip(a + t * (b - a), a, b) for a, b in union])


def alternations(values, level):
    """Length of the longest alternating subsequence among points where |values| is level."""
    signs = np.sign(values[np.abs(values) >= level])
    return 1 + np.count_nonzero(np.diff(signs))


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 16, 40])
@pytest.mark.parametrize("lower", [0.5, 1e-2, 1e-4])
def test_one_interval_gives_chebyshev(lower, degree):
    q, error = minimax_inverse([(lower, 1.0)], degree)
    z = dense([(lower, 1.0)])
    classical = chebyshev_inverse((lower, 1.0), degree)
    np.testing.assert_allclose(q(z), classical(z), rtol=1e-8)
    best = np.abs(1 - z * classical(z)).max()
    assert abs(error - best) <= 1e-8 * best + 1e-13


@pytest.mark.parametrize("degree", [0, 3, 24])
def test_extreme_condition(degree):
    lower = 1e-6
    q, error = minimax_inverse([(lower, 1.0)], degree)
    z = dense([(lower, 1.0)])
    # 1 - z q is a difference of numbers near 1, and q spans six decades: eps / lower
    np.testing.assert_allclose(
        1 - z * q(z), 1 - z * chebyshev_inverse((lower, 1.0), degree)(z), atol=EPS / lower
    )
    assert error < 1


@pytest.mark.parametrize("name", UNIONS)
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 8, 19, 40])
def test_error_is_attained_and_equioscillates(name, degree):
    union = UNIONS[name]
    q, error = minimax_inverse(union, degree)
    z = dense(union)
    r = 1 - z * q(z)
    assert np.abs(r).max() <= error * (1 + 1e-7) + 1e-12
    # f - p = r / z alternates d + 2 times: de la Vallee Poussin then bounds the best error below.
    assert alternations(r * np.sign(z), 0.9999 * error) >= degree + 2


@pytest.mark.parametrize("name", UNIONS)
@pytest.mark.parametrize("degree", [1, 4])
def test_equals_linear_programming(name, degree):
    union = UNIONS[name]
    _, error = minimax_inverse(union, degree)
    z = dense(union, 1501)
    # Powers of z suffice at low degree; variables are coefficients and the error.
    v = z[:, None] * np.vander(z / np.abs(z).max(), degree + 1)
    v /= np.abs(v).max(axis=0)
    ones = np.ones((z.size, 1))
    done = linprog(
        np.append(np.zeros(degree + 1), 1.0),
        np.block([[v, -ones], [-v, -ones]]),
        np.concatenate([np.ones(z.size), -np.ones(z.size)]),
        bounds=[(None, None)] * (degree + 1) + [(0, None)],
        method="highs",
    )
    assert done.success
    assert abs(done.fun - error) <= 1e-5


def test_two_mirrored_intervals_are_chebyshev_in_the_square():
    a, b, d = 0.2, 1.0, 7
    q, error = minimax_inverse([(-b, -a), (a, b)], d)
    inner = chebyshev_inverse((a * a, b * b), (d - 1) // 2)
    z = dense([(-b, -a), (a, b)])
    np.testing.assert_allclose(z * q(z), z * z * inner(z * z), atol=1e-8)
    even, same = minimax_inverse([(-b, -a), (a, b)], d + 1)
    assert abs(same - error) <= 1e-8
    assert even.degree in (d, d + 1)


@pytest.mark.parametrize("degree", [0, 1, 4, 9])
@pytest.mark.parametrize("f", [np.exp, lambda x: 1 / (x * x + 0.1), lambda x: -2 - np.cos(x)])
def test_any_function(f, degree):
    union = [(-1.0, 0.5), (1.0, 2.0)]
    p, error = minimax(f, union, degree)
    z = dense(union)
    r = 1 - p(z) / f(z)
    assert np.abs(r).max() <= error * (1 + 1e-7) + 1e-13
    assert alternations(r * np.sign(f(z)), 0.9999 * error) >= degree + 2


def test_polynomials_are_reproduced_without_noise():
    p, error = minimax(lambda x: 1 + x**3, [(0.0, 1.0), (2.0, 3.0)], 20)
    assert error <= 1e-13
    assert p.degree == 3
    assert abs(p(10.0) - 1001.0) <= 1e-7


@given(seed=hs.integers(0, 10**9), degree=hs.integers(0, 30), k=hs.integers(1, 4))
def test_union_is_never_worse_than_its_hull(seed, degree, k):
    rng = np.random.default_rng(seed)
    ends = np.sort(10.0 ** rng.uniform(-3, 0, 2 * k))
    union = list(zip(ends[::2], ends[1::2], strict=True))
    if min(np.diff(ends)) <= 1e-9:
        return
    q, error = minimax_inverse(union, degree)
    z = dense(union, 2001)
    assert np.abs(1 - z * q(z)).max() <= error * (1 + 1e-6) + 1e-11
    hull = chebyshev_inverse((ends[0], ends[-1]), degree)
    z = dense([(ends[0], ends[-1])], 2001)
    assert error <= np.abs(1 - z * hull(z)).max() * (1 + 1e-4) + 1e-12


@given(seed=hs.integers(0, 10**9), degree=hs.integers(0, 45), k=hs.integers(1, 4))
def test_narrow_clusters_at_high_degree(seed, degree, k):
    """Down to 1e-14 wide, where degrees beyond a few fit rounding and must be refused."""
    rng = np.random.default_rng(seed)
    centers = np.unique(10.0 ** rng.uniform(-4, 0, k)) * rng.choice([-1, 1])
    widths = np.abs(centers) * 10.0 ** rng.uniform(-14, -2, k)
    union = [(c - w, c + w) for c, w in zip(np.sort(centers), widths, strict=True)]
    if any(a[1] >= b[0] for a, b in itertools.pairwise(union)):
        return
    q, error = minimax_inverse(union, degree)
    z = dense(union, 301)
    condition = np.abs(centers).max() / np.abs(centers).min()
    assert np.abs(1 - z * q(z)).max() <= error * (1 + 1e-6) + 1e-12 * condition
    assert error <= 1
    if degree >= 3 * k and widths.max() <= 1e-6 * np.abs(centers).min():
        assert error <= 1e-4


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_scales_with_the_operator(scale):
    one, error = minimax_inverse(UNIONS["lopsided"], 9)
    other, same = minimax_inverse([(scale * a, scale * b) for a, b in UNIONS["lopsided"]], 9)
    z = dense(UNIONS["lopsided"], 101)
    assert abs(same - error) <= 1e-8
    np.testing.assert_allclose(scale * z * other(scale * z), z * one(z), atol=1e-7)


@pytest.mark.parametrize(
    "call",
    [
        lambda: minimax_inverse([(-1.0, 1.0)], 3),
        lambda: minimax_inverse([(0.0, 1.0)], 3),
        lambda: minimax_inverse([(-1.0, 0.0)], 3),
        lambda: minimax_inverse([(1.0, 2.0), (1.5, 3.0)], 3),
        lambda: minimax_inverse([(1.0, 2.0), (2.0, 3.0)], 3),
        lambda: minimax_inverse([(2.0, 1.0)], 3),
        lambda: minimax_inverse([], 3),
        lambda: minimax_inverse((1.0, 2.0), 3),
        lambda: minimax_inverse(None, 3),
        lambda: minimax_inverse([(1.0, np.inf)], 3),
        lambda: minimax_inverse([(1.0, 2.0)], -1),
        lambda: minimax_inverse([(1.0, 2.0)], 10**6),
        lambda: minimax_inverse([(1.0, 2.0)], True),
        lambda: minimax(lambda x: x, [(0.0, 1.0)], 3),
        lambda: minimax(np.log, [(-1.0, 1.0)], 3),
        lambda: minimax(lambda x: x + 1j, [(1.0, 2.0)], 3),
    ],
)
def test_malformed_calls(call):
    with pytest.raises(InputError):
        call()
