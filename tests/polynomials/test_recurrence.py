"""The noun: every construction against its definition, every execution against mpmath."""

import dataclasses
import json
import math
import pickle

import mpmath
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as hs
from scipy import sparse

from spectool.backends.cpu import CpuBackend
from spectool.errors import InputError
from spectool.polynomials import (
    Recurrence,
    chebyshev_inverse,
    chebyshev_series,
    end_filter,
    fourth_kind_inverse,
    from_measure,
    from_roots,
    inverse_from_roots,
    leja_order,
    step_filter,
)

EPS = np.finfo(float).eps
ORDERS = ["clenshaw", "forward"]
X = np.linspace(-0.97, 0.99, 41)


def close(found, expected, factor=1e3):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=factor * EPS * np.abs(expected).max())


# -- constructions ---------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", [0, 1, 2, 3, 10])
def test_the_four_chebyshev_kinds(k, order):
    t = np.arccos(X)
    kinds = {
        1: np.cos(k * t),
        2: np.sin((k + 1) * t) / np.sin(t),
        3: np.cos((k + 0.5) * t) / np.cos(0.5 * t),
        4: np.sin((k + 0.5) * t) / np.sin(0.5 * t),
    }
    weights = np.zeros(k + 1)
    weights[k] = 1
    for kind, expected in kinds.items():
        p = chebyshev_series(weights, (-1.0, 1.0), kind=kind)
        assert p.degree == k
        close(p(X, order=order), expected)
        moved = chebyshev_series(weights, (3.0, 8.0), kind=kind)
        close(moved(5.5 + 2.5 * X, order=order), expected)


def residual_by_betas(z, upper, betas):
    """Lottes' 4th-kind smoother, Algorithm 1 with optimal weights: returns 1 - z q(z)."""
    x, r, step = np.zeros_like(z), np.ones_like(z), np.zeros_like(z)
    for k, beta in enumerate(betas, start=1):
        step = (2 * k - 3) / (2 * k + 1) * step + (8 * k - 4) / (2 * k + 1) / upper * r
        x = x + beta * step
        r = r - z * step
    return 1 - z * x


@pytest.mark.parametrize(
    "betas",
    [
        [1.12500000000000],
        [1.02387287570313, 1.26408905371085],
        [1.00842544782028, 1.08867839208730, 1.33753125909618],
    ],
)
def test_optimal_fourth_kind_equals_published_tables(betas):
    upper = 3.7
    z = np.linspace(0, upper, 101)[1:]
    q = fourth_kind_inverse(upper, len(betas) - 1)
    printed = 1e-14 / 2  # half a unit of the table's last digit
    expected = residual_by_betas(z, upper, betas)
    np.testing.assert_allclose(1 - z * q(z), expected, atol=20 * printed + 100 * EPS)
    plain = fourth_kind_inverse(upper, len(betas) - 1, optimal=False)
    close(1 - z * plain(z), residual_by_betas(z, upper, np.ones(len(betas))))


def test_from_affine_equals_the_iteration(rng):
    d = 9
    alpha, beta, gamma, delta = rng.uniform(-1, 1, (4, d))
    y, earlier = np.full_like(X, 0.7), np.zeros_like(X)
    for k in range(d):
        y, earlier = (alpha[k] * X + beta[k]) * y + (gamma[k] if k else 0) * earlier + delta[k], y
    p = Recurrence.from_affine(alpha, beta, gamma, delta, 0.7, (-1.0, 1.0))
    assert p.degree == d
    for order in ORDERS:
        close(p(X, order=order), y)


ROOTS = [
    [2.0],
    [1.0, 2.0, 3.0],
    [1 + 1j, 1 - 1j],
    [0.5, 1 + 1j, 1 - 1j, 4.0, 2 - 3j, 2 + 3j],
    [-1.0, 2.0, 2.0],
]


@pytest.mark.parametrize("roots", ROOTS)
@pytest.mark.parametrize("order", ORDERS)
def test_products_of_roots(roots, order):
    z = np.linspace(-1, 5, 31)
    r = np.prod([1 - z / root for root in roots], axis=0).real
    close(from_roots(roots, (-1.0, 5.0))(z, order=order), r)
    q = inverse_from_roots(roots, (-1.0, 5.0))
    assert q.degree == len(roots) - 1
    close(1 - z * q(z, order=order), r)


@given(
    real=hs.lists(hs.floats(0.1, 9), max_size=6),
    pairs=hs.lists(hs.tuples(hs.floats(0.1, 9), hs.floats(0.1, 9)), max_size=4),
)
def test_inverse_from_roots_is_the_inverse_up_to_the_residual(real, pairs):
    roots = np.array([*real, *(complex(*p) for p in pairs), *(complex(p[0], -p[1]) for p in pairs)])
    if roots.size == 0:
        return
    z = np.linspace(0, 9, 25)
    r = np.prod([1 - z / root for root in roots], axis=0).real
    # What rounding may do: the product of the moduli, which partial products attain.
    size = np.prod([1 + z / abs(root) for root in roots], axis=0)
    error = np.abs(1 - z * inverse_from_roots(roots, (0.0, 9.0))(z) - r)
    assert (error <= 1e3 * EPS * size).all()


def test_leja_order_permutes_and_keeps_pairs():
    roots = np.array([1.0, 5.0, 2 + 1j, 2 - 1j, 0.3, 4 - 2j, 4 + 2j])
    ordered = leja_order(roots)
    assert np.array_equal(np.sort_complex(ordered), np.sort_complex(roots))
    assert abs(ordered[0]) == np.abs(roots).max()
    where = np.flatnonzero(ordered.imag > 0)
    assert np.array_equal(ordered[where + 1], ordered[where].conj())
    assert leja_order([3.0, 1.0, 2.0]).tolist() == [3.0, 1.0, 2.0]
    assert leja_order([]).size == 0


def test_leja_order_maximizes_distances(rng):
    ordered = leja_order(rng.uniform(1, 2, 40))
    for k in range(1, 40):
        products = [np.abs(z - ordered[:k]).prod() for z in ordered[k:]]
        assert products[0] >= max(products) * (1 - 100 * EPS)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("family", ["legendre", "hermite", "laguerre"])
def test_measures_give_the_classical_families(family, k):
    j = np.arange(1, k + 1, dtype=float)
    alpha, beta, polynomial = {
        "legendre": (
            np.zeros(k),
            j / np.sqrt(4 * j**2 - 1),
            lambda x: math.sqrt(2 * k + 1) * scipy.special.eval_legendre(k, x),
        ),
        "hermite": (
            np.zeros(k),
            np.sqrt(j),
            lambda x: scipy.special.eval_hermitenorm(k, x) / math.sqrt(math.factorial(k)),
        ),
        "laguerre": (2 * j - 1, j, lambda x: (-1) ** k * scipy.special.eval_laguerre(k, x)),
    }[family]
    weights = np.zeros(k + 1)
    weights[k] = 1
    p = from_measure(alpha, beta, weights, (-1.0, 1.0))
    for order in ORDERS:
        close(p(X, order=order), polynomial(X))


# -- evaluation and algebra ------------------------------------------------------------------


@given(
    degree=hs.integers(0, 40),
    kind=hs.sampled_from([1, 2, 3, 4]),
    seed=hs.integers(100_000_000, 999_999_999),
)
def test_forward_equals_clenshaw(degree, kind, seed):
    w = np.random.default_rng(seed).standard_normal(degree + 1)
    p = chebyshev_series(w, (-2.0, 7.0), kind=kind)
    x = np.linspace(-2, 7, 33)
    size = np.abs(p.basis(x) * w[:, None]).sum(axis=0).max()
    difference = np.abs(p(x, order="forward") - p(x, order="clenshaw")).max()
    assert difference <= 100 * (degree + 1) * EPS * size


def test_values_and_shapes():
    p = chebyshev_series([1.0, 2.0, 3.0], (0.0, 2.0))
    assert isinstance(p(1), float)
    assert p(1) == -2.0
    assert p([0, 1]).shape == (2,)
    assert p(np.ones((2, 3))).shape == (2, 3)
    y = 0.3 + 0.4j
    assert abs(p(1 + y) - (1 + 2 * y + 3 * (2 * y * y - 1))) <= 20 * EPS


def test_basis_rows():
    p = chebyshev_series([1.0, 2.0, 3.0], (-1.0, 1.0))
    close(p.basis(X), [np.ones_like(X), X, 2 * X**2 - 1])
    close(p.w @ p.basis(X), p(X))


P = chebyshev_series([1.0, -0.5, 0.25, 2.0], (-1.0, 1.0), name="p")
Q = chebyshev_series([0.3, 1.0], (-1.0, 1.0), kind=4, name="q")


@pytest.mark.parametrize("scale", [2.0, -0.5, 1e100, 1e-100])
def test_affine_map(scale):
    q = P.affine(scale, 0.25)
    z = (X - 0.25) / scale
    close(q(z), P(X), factor=1e4)
    lower, upper = q.interval
    assert lower < upper
    close(sorted(scale * np.array(q.interval) + 0.25), P.interval)


def test_sum_scalar_product_and_derivative():
    far = chebyshev_series([1.0, 1.0], (-3.0, 2.0))
    for other in (P, Q, far):
        total, product = P + other, P * other
        assert total.degree == max(P.degree, other.degree)
        assert product.degree == P.degree + other.degree
        close(total(X), P(X) + other(X))
        close((other + P)(X), P(X) + other(X))
        close(product(X), P(X) * other(X), factor=1e4)
        close((P - other)(X) + other(X), P(X))
        assert total.interval[0] <= min(P.interval[0], other.interval[0])
    close((2.5 * P)(X), 2.5 * P(X))
    close((P * np.float32(0.5))(X), 0.5 * P(X))
    close((-P)(X), -P(X))
    derivative = np.polynomial.chebyshev.Chebyshev(P.w).deriv()
    close(P.derivative()(X), derivative(X))
    assert chebyshev_series([3.0], (0.0, 1.0)).derivative()(0.5) == 0.0
    close(P.chebyshev_coefficients(), P.w)


@pytest.mark.parametrize("other", ["2", None, [1.0, 2.0]])
def test_algebra_refuses_strangers(other):
    for operation in (lambda: P + other, lambda: P - other):
        with pytest.raises(TypeError):
            operation()
    if other != [1.0, 2.0]:
        with pytest.raises(TypeError):
            P * other


def test_imaginary_factors_are_not_dropped():
    with pytest.raises((TypeError, InputError)):
        P * 1j


def test_degree_zero(rng):
    p = chebyshev_series([2.5], (0.0, 1.0))
    assert p.degree == 0
    assert p(17.0) == 2.5
    x = rng.standard_normal(5)
    for order in ORDERS:
        assert np.array_equal(
            CpuBackend(sparse.csr_array(np.eye(5))).apply(p, x, order=order), 2.5 * x
        )
    assert Recurrence.from_json(p.to_json()).degree == 0


@pytest.mark.parametrize(
    "p",
    [
        chebyshev_series(np.eye(1001)[1000], (-1.0, 1.0)),
        chebyshev_inverse((1e-3, 1.0), 1000),
        fourth_kind_inverse(1.0, 1000),
        from_roots(np.cos((np.arange(1000) + 0.5) * np.pi / 1000) * 0.5 + 0.5005, (1e-3, 1.0)),
        end_filter(0.1, (0.0, 1.0), 1000, end="lower"),
        step_filter((0.2, 0.4), (0.0, 1.0), 1000),
    ],
    ids=lambda p: p.name.split(" on ")[0],
)
def test_degree_1000_does_not_overflow(p):
    assert p.degree == 1000
    assert np.isfinite(p(np.linspace(*p.interval, 999))).all()


# -- persistence -----------------------------------------------------------------------------


def same_bits(p, q):
    arrays = all(np.array_equal(getattr(p, f), getattr(q, f)) for f in "abcw")
    return arrays and (p.interval, p.name) == (q.interval, q.name)


@pytest.mark.parametrize(
    "p", [P, Q, chebyshev_inverse((1e-7 / 3, math.pi * 1e90), 17), chebyshev_series([1.0], (0, 1))]
)
def test_json_and_pickle_keep_every_bit(p):
    assert same_bits(Recurrence.from_json(p.to_json()), p)
    again = pickle.loads(pickle.dumps(p))
    assert same_bits(again, p)
    assert not again.a.flags.writeable


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "null", "{}", json.dumps({"format": "other/1"}), '{"format": 3}']
)
def test_foreign_json_is_refused(text):
    with pytest.raises(InputError):
        Recurrence.from_json(text)


def test_damaged_json_is_refused():
    record = json.loads(P.to_json())
    for field in ("a", "w", "interval", "name"):
        damaged = {k: v for k, v in record.items() if k != field}
        with pytest.raises(InputError):
            Recurrence.from_json(json.dumps(damaged))
    with pytest.raises(InputError):
        Recurrence.from_json(json.dumps({**record, "a": record["a"][:-1]}))
    with pytest.raises(InputError):
        Recurrence.from_json(json.dumps({**record, "a": ["x"] * len(record["a"])}))


def test_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        P.w = np.ones(4)
    with pytest.raises(ValueError):
        P.w[0] = 9.0
    source = np.array([1.0, 2.0])
    p = chebyshev_series(source, (0.0, 1.0))
    source[0] = 9.0
    assert p.w[0] == 1.0


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ([np.nan], [0.0], [0.0], [1.0, 1.0], (0.0, 1.0)),
        ([1.0], [0.0], [0.0], [np.inf, 1.0], (0.0, 1.0)),
        ([1.0], [0.0], [0.0], [1.0], (0.0, 1.0)),
        ([1.0, 1.0], [0.0], [0.0], [1.0, 1.0], (0.0, 1.0)),
        ([], [], [], [], (0.0, 1.0)),
        ([[1.0]], [0.0], [0.0], [1.0, 1.0], (0.0, 1.0)),
        ([1j], [0.0], [0.0], [1.0, 1.0], (0.0, 1.0)),
        ([1.0], [0.0], [0.0], [1.0, 1.0], (1.0, 0.0)),
        ([1.0], [0.0], [0.0], [1.0, 1.0], (1.0, 1.0)),
        ([1.0], [0.0], [0.0], [1.0, 1.0], (0.0, np.inf)),
        ([1.0], [0.0], [0.0], [1.0, 1.0], (np.nan, 1.0)),
        ([1.0], [0.0], [0.0], [1.0, 1.0], (0.0, 1.0, 2.0)),
        ([1.0], [0.0], [0.0], [1.0, 1.0], None),
    ],
)
def test_malformed_recurrences(arguments):
    with pytest.raises(InputError):
        Recurrence(*arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda: from_roots([0.0, 1.0], (0.0, 1.0)),
        lambda: from_roots([1 + 1j], (0.0, 1.0)),
        lambda: from_roots([1 + 1j, 1 - 2j], (0.0, 1.0)),
        lambda: from_roots([np.nan], (0.0, 1.0)),
        lambda: inverse_from_roots([], (0.0, 1.0)),
        lambda: chebyshev_series([1.0, 2.0], (0.0, 1.0), kind=5),
        lambda: chebyshev_series([1j, 2.0], (0.0, 1.0)),
        lambda: chebyshev_series([], (0.0, 1.0)),
        lambda: from_measure([0.0], [0.0], [1.0, 1.0], (-1.0, 1.0)),
        lambda: from_measure([0.0], [np.nan], [1.0, 1.0], (-1.0, 1.0)),
        lambda: from_measure([0.0], [1.0, 1.0], [1.0, 1.0], (-1.0, 1.0)),
        lambda: Recurrence.from_affine([1.0], [1.0, 2.0], [0.0], [0.0], 1.0, (0.0, 1.0)),
        lambda: P.affine(0.0),
        lambda: P.affine(1.0, np.inf),
        lambda: P(0.5, order="backwards"),
    ],
)
def test_malformed_calls(call):
    with pytest.raises(InputError):
        call()


# -- accuracy at degree 500 ------------------------------------------------------------------


def exact(p, points):
    """The polynomial that the float64 coefficients define, in 60 digits."""
    with mpmath.workdps(60):
        values = []
        for point in points:
            z, v, earlier = mpmath.mpf(float(point)), mpmath.mpf(1), mpmath.mpf(0)
            total = mpmath.mpf(p.w[0])
            for a, b, c, w in zip(p.a, p.b, p.c, p.w[1:], strict=True):
                v, earlier = (mpmath.mpf(a) * z + b) * v + mpmath.mpf(c) * earlier, v
                total += mpmath.mpf(w) * v
            values.append(float(total))
    return np.array(values)


def exact_inverse(lower, upper, degree, points):
    """(1 - T_m(y(z)) / T_m(y(0))) / z from the formula, not from our coefficients."""
    with mpmath.workdps(60):
        lo, hi, m = mpmath.mpf(lower), mpmath.mpf(upper), degree + 1
        scale = mpmath.chebyt(m, (hi + lo) / (hi - lo))
        return np.array(
            [
                float((1 - mpmath.chebyt(m, (hi + lo - 2 * z) / (hi - lo)) / scale) / z)
                for z in map(mpmath.mpf, points)
            ]
        )


def points_of(lower, upper):
    """Points of an interval, dense near both ends; about 120 of them."""
    t = np.concatenate([[0.0], np.geomspace(1e-9, 0.5, 30)])
    t = np.concatenate([t, 1 - t, np.linspace(0.02, 0.98, 60)])
    return np.unique(np.clip(lower + t * (upper - lower), lower, upper))


DECAYING = np.random.default_rng(918273645).standard_normal(501) * 0.98 ** np.arange(501)
DESIGNS = {
    "decaying series": (chebyshev_series(DECAYING, (-1.0, 1.0)), ORDERS),
    "decaying 2nd kind": (chebyshev_series(DECAYING, (0.5, 3.0), kind=2), ORDERS),
    "T_500": (chebyshev_series(np.eye(501)[500], (-1.0, 1.0)), ORDERS),
    "4th kind": (fourth_kind_inverse(2.0, 500), None),
    "inverse": (chebyshev_inverse((1e-3, 2.0), 500), None),
    "step": (step_filter((0.1, 0.4), (-1.0, 1.0), 500), ORDERS),
    "end": (end_filter(0.3, (0.0, 1.0), 500, end="upper"), None),
}
"""Product and affine forms are stable in one direction only, which their ``order`` names."""


@pytest.mark.parametrize("design", DESIGNS)
def test_degree_500_to_twelve_digits_on_the_cpu_backend(design):
    p, orders = DESIGNS[design]
    points = points_of(*p.interval)
    truth = exact(p, points)
    backend = CpuBackend(sparse.csr_array(sparse.diags_array(points)))
    for order in orders or [None]:
        y = backend.apply(p, np.ones(points.size), order=order)
        assert np.linalg.norm(y - truth) <= 4500 * EPS * np.linalg.norm(truth)  # 1e-12


def test_degree_500_inverse_against_its_formula():
    points = points_of(1e-3, 2.0)
    p = chebyshev_inverse((1e-3, 2.0), 500)
    truth = exact_inverse(1e-3, 2.0, 500, points)
    y = CpuBackend(sparse.csr_array(sparse.diags_array(points))).apply(p, np.ones(points.size))
    assert np.linalg.norm(y - truth) <= 4500 * EPS * np.linalg.norm(truth)


CHEBYSHEV_ROOTS = 1.0005 + 0.9995 * np.cos((np.arange(500) + 0.5) * np.pi / 500)
PAIRS = 1.5 + 0.9 * np.exp(1j * np.pi * (np.arange(250) + 0.5) / 250)


@pytest.mark.parametrize("roots", [CHEBYSHEV_ROOTS, np.concatenate([PAIRS, PAIRS.conj()])])
def test_degree_500_products_against_mpmath(roots):
    points = points_of(1e-3, 2.0)
    with mpmath.workdps(60):
        factors = [
            [1 - mpmath.mpf(float(z)) / mpmath.mpmathify(complex(root)) for root in roots]
            for z in points
        ]
        truth = np.array([float(mpmath.fprod(row).real) for row in factors])
    p = from_roots(roots, (1e-3, 2.0))
    y = CpuBackend(sparse.csr_array(sparse.diags_array(points))).apply(p, np.ones(points.size))
    # A root moved by rounding, theta (1 + eps), moves the product by eps |z / (theta - z)|.
    condition = np.abs(points[:, None] / (roots - points[:, None])).sum(axis=1)
    bound = np.linalg.norm((500 + condition) * truth)
    assert np.linalg.norm(y - truth) <= 4 * EPS * bound


def test_degree_500_roots_to_twelve_digits_away_from_the_ends():
    points = np.linspace(0.2, 1.8, 150)
    with mpmath.workdps(60):
        truth = np.array(
            [
                float(mpmath.fprod(1 - mpmath.mpf(z) / mpmath.mpf(t) for t in CHEBYSHEV_ROOTS))
                for z in points
            ]
        )
    p = from_roots(CHEBYSHEV_ROOTS, (1e-3, 2.0))
    y = CpuBackend(sparse.csr_array(sparse.diags_array(points))).apply(p, np.ones(points.size))
    assert np.linalg.norm(y - truth) <= 4500 * EPS * np.linalg.norm(truth)
