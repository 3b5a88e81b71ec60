"""Coefficients of steps against equioscillation, high precision, and published figures."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest

import spectool.dense.coefficients as dc
from spectool.errors import InputError

EPS = np.finfo(float).eps
RATIOS = [0.0, 1e-300, 1e-16, 1e-9, 1e-4, 1e-2, 0.3, 0.9, 0.999]


def odd(coefs, x):
    return x * sum(c * x ** (2 * k) for k, c in enumerate(coefs))


def grid(lower, n=20_001):
    """[lower, 1], dense near both ends, on a linear and on a logarithmic scale."""
    t = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, n))
    logs = np.geomspace(max(lower, 1e-18), 1.0, n)
    return np.unique(np.concatenate([lower + t * (1 - lower), np.clip(logs, lower, 1.0)]))


def alternations(errors, level):
    """How many extrema of at least this size alternate in sign."""
    signs = np.sign(errors[np.abs(errors) >= level])
    return 1 + np.count_nonzero(np.diff(signs)) if signs.size else 0


def remez(lower, n_terms, digits=120):
    """Coefficients of the best odd polynomial on [lower, 1], by exchanges in many digits."""
    with mp.workdps(digits):
        lower = mp.mpf(lower)
        nodes = [lower + (1 - lower) * mp.mpf(k) / n_terms for k in range(n_terms + 1)]
        for _ in range(60):
            M = mp.matrix(n_terms + 1, n_terms + 1)
            for i, x in enumerate(nodes):
                for k in range(n_terms):
                    M[i, k] = x ** (2 * k + 1)
                M[i, n_terms] = (-1) ** i
            solved = mp.lu_solve(M, mp.matrix([1] * (n_terms + 1)))
            coefs = [solved[k] for k in range(n_terms)]
            if n_terms == 2:
                inner = [mp.sqrt(-coefs[0] / (3 * coefs[1]))]
            else:
                a, b, c = coefs
                root = mp.sqrt(9 * b * b - 20 * a * c)
                inner = [mp.sqrt((-3 * b - root) / (10 * c)), mp.sqrt((-3 * b + root) / (10 * c))]
            moved = max(abs(x - y) for x, y in zip(nodes[1:-1], inner, strict=True))
            nodes = [lower, *inner, mp.mpf(1)]
            if moved < mp.mpf(10) ** (-digits // 2):
                break
        return coefs


@pytest.mark.parametrize("lower", [1e-16, 1e-12, 1e-6, 1e-3, 0.1, 0.7])
def test_quintic_and_cubic_agree_with_an_exchange_in_many_digits(lower):
    for found, n_terms in ((dc.optimal_quintic(lower), 3), (dc.optimal_cubic(lower), 2)):
        expected = remez(lower, n_terms)
        # Rounding of 17 rounds, of which the last counts.
        worst = max(abs(float(f / e - 1)) for f, e in zip(found, expected, strict=True))
        assert worst <= 20 * EPS


@pytest.mark.parametrize("lower", RATIOS)
def test_quintic_alternates_four_times(lower):
    coefs = dc.optimal_quintic(lower)
    errors = odd(coefs, grid(lower)) - 1
    best = np.abs(errors).max()
    # Values of size 2 of terms of size 25; the grid misses an extremum by 1e-8 relative.
    floor = 60 * EPS
    assert best <= abs(errors[0]) + floor
    assert alternations(errors, best * (1 - 1e-6) - floor) >= 4 or best < floor


@pytest.mark.parametrize("lower", RATIOS)
@pytest.mark.parametrize("p", [1, 2, 3, 4, 7])
def test_steps_for_roots_alternate(lower, p):
    y = grid(lower)
    for coefs, n_extrema in (
        (dc.optimal_linear(lower, 1.0, p), 3),
        (dc.optimal_quadratic(lower, 1.0, p), 4),
    ):
        errors = y ** (1 / p) * np.polyval(coefs[::-1], y) - 1
        best = np.abs(errors).max()
        floor = 60 * EPS
        assert best <= abs(errors[0]) + floor + 1e-8 * best
        assert alternations(errors, best * (1 - 1e-6) - floor) >= n_extrema or best < floor


def test_roots_of_order_one_are_chebyshev():
    lower = 0.05
    y = grid(lower)
    t = (1 + lower - 2 * y) / (1 - lower)
    top = (1 + lower) / (1 - lower)
    for coefs, degree in (
        (dc.optimal_linear(lower, 1.0, 1), 2),
        (dc.optimal_quadratic(lower, 1.0, 1), 3),
    ):
        cheb = np.polynomial.chebyshev.Chebyshev.basis(degree)
        residual = 1 - y * np.polyval(coefs[::-1], y)
        np.testing.assert_allclose(residual, cheb(t) / cheb(top), atol=50 * EPS)


@pytest.mark.parametrize("lower", [1e-8, 0.02, 0.6])
def test_square_roots_are_the_odd_polynomials(lower):
    square = lower * lower
    np.testing.assert_allclose(
        dc.optimal_quadratic(square), dc.optimal_quintic(lower), rtol=50 * EPS
    )
    np.testing.assert_allclose(dc.optimal_linear(square), dc.optimal_cubic(lower), rtol=50 * EPS)


def test_cubic_in_closed_form():
    a, b = 0.05, 1.0
    e = (a * a + a * b + b * b) / 3
    scale = 2 / (2 * e**1.5 + a * a * b + b * b * a)
    coefs = dc.optimal_cubic(a, b)
    np.testing.assert_allclose(coefs, (3 * e * scale, -scale), rtol=10 * EPS)
    error = (2 * e**1.5 - a * a * b - b * b * a) / (2 * e**1.5 + a * a * b + b * b * a)
    assert abs(np.abs(odd(coefs, grid(a)) - 1).max() - error) < 1e-8


@pytest.mark.parametrize("upper", [1e-30, 0.3, 7.0, 1e30])
def test_coefficients_scale_with_the_interval(upper):
    x = np.linspace(0.2, 1.0, 11)
    for make in (dc.optimal_cubic, dc.optimal_quintic):
        unit, scaled = make(0.2), make(0.2 * upper, upper)
        powers = upper ** (2 * np.arange(len(unit)) + 1)
        np.testing.assert_allclose(np.multiply(scaled, powers), unit, rtol=50 * EPS)
        np.testing.assert_allclose(odd(np.multiply(scaled, powers), x), odd(unit, x), rtol=1e-14)
    for p in (1, 3):
        unit, scaled = (dc.optimal_quadratic(0.2 * u, u, p) for u in (1.0, upper))
        powers = upper ** (np.arange(3) + 1 / p)
        np.testing.assert_allclose(np.multiply(scaled, powers), unit, rtol=200 * EPS)


def test_an_interval_that_is_a_point_gives_the_series():
    np.testing.assert_allclose(dc.optimal_quintic(1.0), (1.875, -1.25, 0.375), rtol=10 * EPS)
    np.testing.assert_allclose(dc.optimal_cubic(1.0), (1.5, -0.5), rtol=10 * EPS)
    for p in (1, 2, 3, 4, 9):
        c = (p + 1) / (2 * p * p)
        np.testing.assert_allclose(
            dc.optimal_quadratic(1.0, 1.0, p), (1 + 1 / p + c, -1 / p - 2 * c, c), rtol=20 * EPS
        )
        np.testing.assert_allclose(dc.optimal_linear(1.0, 1.0, p), (1 + 1 / p, -1 / p), rtol=1e-14)


@pytest.mark.parametrize(
    "bounds", [(-0.1, 1.0), (0.5, 0.4), (0.1, np.inf), (np.nan, 1.0), (0.0, 0.0), (1e-90, 1e-80)]
)
def test_bounds_that_are_none(bounds):
    for make in (dc.optimal_quintic, dc.optimal_quadratic):
        if make is dc.optimal_quadratic and bounds[1] == 1e-80:
            continue  # y^(-1/2 - 2) is a number still
        with pytest.raises(InputError, match=r"bounds are|overflow"):
            make(*bounds)


def test_p_below_one_is_refused():
    for make in (dc.optimal_linear, dc.optimal_quadratic):
        with pytest.raises(InputError, match="p is at least 1"):
            make(0.1, 1.0, 0)


@pytest.mark.parametrize(
    "coefs",
    [
        *dc.JORDAN,
        *dc.CANS,
        *dc.CUBIC5,
        (1.875, -1.25, 0.375),
        (2.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        (-1.0, 3.0, -1.0),
    ],
)
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.3, 0.31), (0.05, 1.4)])
def test_intervals_are_ranges(coefs, bounds):
    x = np.linspace(*bounds, 200_001)
    lower, upper = dc.quintic_interval(coefs, *bounds)
    values = odd(coefs, x)
    # The grid misses extrema by its spacing, squared.
    np.testing.assert_allclose((lower, upper), (values.min(), values.max()), atol=1e-9)
    for p in (1, 2, 3, 4):
        values = x * np.polyval(coefs[::-1], x) ** p
        found = dc.root_interval(coefs, *bounds, p)
        scale = max(np.abs(values).max(), 1.0)
        np.testing.assert_allclose(found, (values.min(), values.max()), atol=1e-7 * scale)


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_compositions_contract(p):
    bounds = (1e-6, 1.0)
    for _ in range(60):
        coefs = dc.optimal_quadratic(*bounds, p)
        bounds = dc.root_interval(coefs, *bounds, p)
        if bounds[1] - bounds[0] < 1e-14:
            break
    np.testing.assert_allclose(bounds, 1.0, atol=1e-13)


def test_polar_express_reproduces_the_published_table():
    cushion = 0.02407327424182761
    found = dc.polar_express(1e-3, 8, cushion=cushion)
    # Published to six digits.
    np.testing.assert_allclose(found[:7], dc.POLAR_EXPRESS[:7], atol=2e-6)
    np.testing.assert_allclose(found[7], dc.POLAR_EXPRESS[7], atol=1e-8)
    shipped = [
        (8.2051, -22.9019, 16.4607), (4.0664, -2.8612, 0.5184), (3.9096, -2.8234, 0.5250),
        (3.2856, -2.4153, 0.4853), (2.2779, -1.6198, 0.3985), (1.8726, -1.2307, 0.3585),
        (1.8564, -1.2132, 0.3568),
    ]  # fmt: skip
    safe = dc.polar_express(1e-3, 8, safety=1.01, cushion=cushion)
    np.testing.assert_allclose(safe[:7], shipped, atol=2e-4)
    # The last one has no safety: its fixed point is 1.
    assert abs(sum(safe[-1]) - 1) < 1e-8 < abs(sum(safe[-2]) - 1)


def test_polar_express_composes_best_quintics():
    # Rounding at the top is multiplied by 13 in each of five steps.
    x, bounds = grid(1e-3), (1e-3, 1.0)
    for coefs in dc.polar_express(1e-3, 6):
        np.testing.assert_allclose(coefs, dc.optimal_quintic(*bounds), rtol=13**5 * EPS)
        bounds = dc.quintic_interval(coefs, *bounds)
        np.testing.assert_allclose(sum(bounds), 2.0, rtol=13**5 * EPS)
        x = odd(coefs, x)
        np.testing.assert_allclose((x.min(), x.max()), bounds, rtol=1e-6)  # of the grid
    classical = grid(1e-3)
    for _ in range(6):
        classical = odd((1.875, -1.25, 0.375), classical)
    assert np.abs(x - 1).max() < 1e-2 * np.abs(classical - 1).max()


@pytest.mark.parametrize("lower", [1e-14, 1e-10, 1e-6])
@pytest.mark.parametrize("cushion", [0.0, 0.024])
def test_polar_express_with_safety_survives_rounding_at_the_top(lower, cushion):
    # Each steep step enlarges what exceeds the interval 13 times.
    top = 1 + np.arange(-50, 51) * EPS
    x = np.concatenate([grid(lower), top])
    for coefs in dc.polar_express(lower, 30, safety=1 + 1e-12, cushion=cushion):
        x = odd(coefs, x)
        assert x.max() <= 2.0
    if cushion:
        np.testing.assert_allclose(x, 1.0, atol=1e-14)


def test_polar_express_without_safety_does_not():
    x = np.array([1 + 10 * EPS])
    for coefs in dc.polar_express(1e-12, 15):
        x = odd(coefs, x)
    assert x[0] > 2.1


def test_polar_express_refuses_what_makes_no_sense():
    for options in ({"safety": 0.9}, {"cushion": 1.0}, {"safety": np.nan}):
        with pytest.raises(InputError, match="polar_express needs"):
            dc.polar_express(1e-3, 5, **options)
    with pytest.raises(InputError, match="bounds are"):
        dc.polar_express(1.5, 5)


def test_cans_and_muon_stay_in_their_bands():
    x = np.geomspace(7e-3, 1.0, 20_001)
    for coefs in dc.CANS:
        x = odd(coefs, x)
    np.testing.assert_allclose((x.min(), x.max()), (0.884, 1.120), atol=2e-3)
    x = np.geomspace(1e-2, 1.0, 20_001)
    for coefs in dc.MUON:
        x = odd(coefs, x)
    assert x.min() > 0.65
    assert x.max() < 1.25
    for _ in range(200):
        x = odd(dc.MUON[0], x)
    np.testing.assert_allclose((x.min(), x.max()), (0.682, 1.134), atol=2e-3)
    assert np.abs(x - 1).max() > 0.05  # for ever


@pytest.mark.parametrize(
    ("name", "domain", "band"),
    [
        ("JORDAN", (1.6e-3, 1.0), (0.70, 1.15)),
        ("TURBO", (7.5e-3, 0.877), (0.70, 1.09)),
        ("TURBO_STEEP", (5.4e-3, 1.0), (0.70, 1.06)),
        ("CUBIC5", (6.3e-3, 1.0), (0.70, 1.30)),
        ("DEEPSEEK", (1e-3, 1.0), (1 - 6e-4, 1 + 6e-4)),
        ("POLAR_EXPRESS", (1e-3, 1.0), (1 - 1e-14, 1 + 1e-14)),
    ],
)
def test_tables_reach_their_band(name, domain, band):
    x = np.geomspace(*domain, 20_001)
    for coefs in getattr(dc, name):
        x = odd(coefs, x)
    assert band[0] < x.min()
    assert x.max() < band[1]


def test_turbo_turns_large_values_around():
    x = 0.9
    for coefs in dc.TURBO:
        x = odd(coefs, x)
    assert x < 0


@pytest.mark.parametrize("lower", [1e-16, 1e-4, 0.05, 0.9])
def test_chen_chow_keeps_its_maximum_at_one(lower):
    x = grid(lower)
    rounding = 20 * EPS / lower  # of values near one, which fall to lower
    for a, b in itertools.islice(dc.chen_chow(lower), 80):
        assert abs(odd((a, b), lower) - odd((a, b), 1.0)) <= 1e-12
        x, lower = odd((a, b), x), min(odd((a, b), lower), 1.0)
        assert x.max() <= 1 + 4 * EPS
        assert x.min() >= lower * (1 - rounding)
    np.testing.assert_allclose(x, 1.0, atol=1e-14)


def test_chen_chow_is_a_multiple_of_the_best_cubic_and_takes_half_the_steps():
    ratio = np.divide(next(dc.chen_chow(0.05)), dc.optimal_cubic(0.05))
    np.testing.assert_allclose(ratio[0], ratio[1], rtol=10 * EPS)

    def count(steps):
        x = np.geomspace(1e-4, 1.0, 2001)
        for k, coefs in enumerate(steps):
            if np.abs(x * x - 1).max() <= 1e-10:
                return k
            x = odd(coefs, x)
        raise AssertionError

    assert count(dc.chen_chow(1e-4)) == 14
    assert count(itertools.repeat((1.5, -0.5))) == 28


def test_byers_xu_takes_nine_steps():
    for scale in (1.0, 1e-150, 1e150):
        x = np.geomspace(1e-16, 1.0, 4001) * scale
        for z in itertools.islice(dc.byers_xu(scale, 1e-16 * scale), 9):
            x = (z * x + 1 / (z * x)) / 2
        assert np.abs(x - 1).max() < 1e-14
    x = np.geomspace(1e-10, 1.0, 4001)
    for z in itertools.islice(dc.byers_xu(1.0, 1e-10), 7):
        x = (z * x + 1 / (z * x)) / 2
    assert np.abs(x * x - 1).max() < 1e-8


def test_qdwh_takes_six_steps():
    lower, x, n_steps = 1e-16, np.geomspace(1e-16, 1.0, 4001), 0
    while abs(lower - 1) > 1e-14:
        a, b, c = dc.qdwh(lower)
        x = x * (a + b * x * x) / (1 + c * x * x)
        lower, upper = dc.halley_interval((a, b, c), lower)
        assert upper == 1.0
        n_steps += 1
    assert n_steps == 6
    assert np.abs(x - 1).max() < 1e-10
    np.testing.assert_allclose(dc.qdwh(1.0), (3.0, 1.0, 3.0), rtol=10 * EPS)
    np.testing.assert_allclose(dc.qdwh(1 - 1e-13), (3.0, 1.0, 3.0), rtol=1e-3)


@pytest.mark.parametrize("lower", [1e-130, 1e-16, 1e-5, 0.1, 0.9])
def test_qdwh_alternates_and_is_zolotarev_of_type_3_2(lower):
    a, b, c = dc.qdwh(lower)
    x = grid(lower) if lower > 1e-17 else np.geomspace(lower, 1.0, 200_001)
    values = x * (a + b * x * x) / (1 + c * x * x)
    low, _ = dc.halley_interval((a, b, c), lower)
    inner = values[(x > lower) & (x < 1)]
    # Inside, it touches its bounds: 1 at both ends of alternation, and low.
    assert inner.max() <= 1 + 1e-14
    assert inner.min() >= low * (1 - 1e-13)
    interior = inner[len(inner) // 100 : -len(inner) // 100]
    assert interior.max() >= 1 - 1e-3
    z = dc.zolotarev(lower, 1)
    np.testing.assert_allclose(z(x), values, rtol=1e-12)


@pytest.mark.parametrize("lower", [1e-100, 1e-16, 1e-8, 1e-3, 0.1, 0.9, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("r", [1, 2, 5, 8])
def test_zolotarev_nodes_agree_with_many_digits(lower, r):
    z = dc.zolotarev(lower, r)
    # m rounds to 1 below twice the digits of lower.
    with mp.workdps(250):
        m = 1 - mp.mpf(lower) ** 2
        steps = [j * mp.ellipk(m) / (2 * r + 1) for j in range(1, 2 * r + 1)]
        ratio = [mp.ellipfun("sn", u, m=m) / mp.ellipfun("cn", u, m=m) for u in steps]
        nodes = [(mp.mpf(lower) * s) ** 2 for s in ratio]
        found = [c for pair in zip(z.odd, z.even, strict=True) for c in pair]
        worst = max(abs(float(f / c - 1)) for f, c in zip(found, nodes, strict=True))
    # sinh(psi)^2 errs by 2 psi eps, psi up to half of log(4 / lower)
    assert worst <= 10 * EPS * (2 + math.log(4 / lower))
    x = np.geomspace(lower, 1.0, 41)
    fractions = x + sum(w * x / (1 + x * x / c) for w, c in zip(z.weights, z.odd, strict=True))
    np.testing.assert_allclose(z.scale * fractions, z(x), rtol=1e-13)
    assert min(z.weights) > 0
    assert abs(z(1.0) - 1) <= 20 * EPS


def test_zolotarev_twice_is_enough():
    x, lower = np.geomspace(1e-16, 1.0, 4001), 1e-16
    for _ in range(2):
        z = dc.zolotarev(lower, 8)
        x, lower = z(x), min(z(lower), 1.0)
    np.testing.assert_allclose(x, 1.0, atol=1e-12)


@pytest.mark.parametrize("r", [1, 2, 5, 8])
def test_zolotarev_of_a_point_is_the_hyperbolic_tangent(r):
    x = np.linspace(0.05, 0.95, 19)
    expected = np.tanh((2 * r + 1) * np.arctanh(x))
    np.testing.assert_allclose(dc.zolotarev(1.0, r)(x), expected, rtol=1e-13)


@pytest.mark.parametrize("lower", [1e-10, 1e-3, 0.2])
def test_zolotarev_alternates(lower):
    r = 3
    z = dc.zolotarev(lower, r)
    values = z(np.geomspace(lower, 1.0, 400_001))
    low = z(lower)
    error = (1 - low) / (1 + low)
    centred = 2 * values / (1 + low) - 1
    assert np.abs(centred).max() <= error * (1 + 1e-12) + 20 * EPS
    assert alternations(centred, error * (1 - 1e-6) - 20 * EPS) == 2 * r + 2


@pytest.mark.parametrize("p", [2, 3, 4, 6])
@pytest.mark.parametrize("lower", [1e-8, 1e-2, 0.5])
def test_gawlik_alternates_and_follows_its_interval(lower, p):
    alpha = lower
    for a, b in itertools.islice(dc.gawlik(lower, p), 40):
        t = np.geomspace(alpha, 1.0, 20_001)
        values = t * p * a / (t**p + (p - 1) * b)
        np.testing.assert_allclose(values[0], values[-1], rtol=1e-12)
        np.testing.assert_allclose(values.max(), 1.0, rtol=1e-6)
        assert values.max() <= 1 + 1e-14
        alpha = min(values[0], 1.0)
        if alpha == 1.0:
            break
    assert alpha > 1 - 1e-14
    np.testing.assert_allclose(next(dc.gawlik(1.0, p)), (1.0, 1.0), rtol=1e-14)


def test_gawlik_for_the_inverse_takes_one_step():
    assert next(dc.gawlik(1e-5, 1)) == (1.0, 1.0)


@pytest.mark.parametrize("lower", [0.0, -1.0, 1.1, np.nan])
def test_lower_bounds_that_are_none(lower):
    for make in (
        dc.qdwh,
        dc.chen_chow,
        lambda low: dc.zolotarev(low, 3),
        lambda low: next(dc.gawlik(low, 3)),
    ):
        with pytest.raises(InputError, match="lower is in"):
            make(lower)
    with pytest.raises(InputError, match="bounds are"):
        dc.byers_xu(1.0, 0.0 if lower == 1.1 else lower)


def test_degrees_below_one_are_refused():
    with pytest.raises(InputError, match="r is at least 1"):
        dc.zolotarev(0.1, 0)
    with pytest.raises(InputError, match="p is at least 1"):
        dc.gawlik(0.1, 0)


def test_scalars_of_numpy_give_floats():
    for values in (
        dc.optimal_quintic(np.float32(0.25)),
        dc.optimal_cubic(np.float64(0.25), np.float64(1.0)),
        dc.qdwh(np.float64(0.25)),
        dc.zolotarev(np.float64(0.25), np.int64(2)).odd,
        next(dc.chen_chow(np.float64(0.25))),
        next(dc.gawlik(np.float64(0.25), 3)),
    ):
        assert all(type(value) is float for value in values)
