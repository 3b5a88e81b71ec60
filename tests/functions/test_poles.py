"""Sums of poles: as close as they say, as few as theory promises, and on the right side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from scipy.special import ellipj, ellipk

from spectool.errors import InputError
from spectool.functions.poles.fractions import LEAST_RTOL, pole_sum
from spectool.functions.poles.zolotarev import _sc, inverse_root
from spectool.functions.scalar import FUNCTIONS, ScalarFunction, as_scalar_function, phi1
from spectool.functions.task import Target

EPS = np.finfo(float).eps
STIELTJES = ["sqrt", "invsqrt", "log", "power(0.3)", "power(-0.7)", "power(1.6)", "power(-1.3)"]
SMOOTH = ["exp", "expm1", "phi1", "phi2"]


def target(name, t=1.0):
    return Target(as_scalar_function(name), t)


def points(lower, upper, count=3001):
    """Points between, crowded towards zero."""
    if lower > 0 or upper < 0:
        return np.geomspace(lower, upper, count)
    near = np.geomspace(1e-14, 1.0, count)
    z = np.concatenate([lower * near, [0.0], upper * near])
    return z[(z >= lower) & (z <= upper)]


def seen_error(found, f, z):
    values = f(z)
    return float(
        (np.abs(found(z) - values) / (np.abs(values) if found.relative else found.size)).max()
    )


# -- how close -------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [1.0, -3.0])
@pytest.mark.parametrize("cond", [1.0, 1e2, 1e8, 1e14])
@pytest.mark.parametrize("rtol", [1e-3, 1e-8, 1e-12])
@pytest.mark.parametrize("name", STIELTJES)
def test_functions_with_a_cut(name, rtol, cond, t):
    interval = (1 / cond, 1.0) if t > 0 else (-1.0, -1 / cond)
    f = target(name, t)
    found = pole_sum(f, interval, rtol)
    # The product of 1/z and a root loses the digits by which 1/p exceeds 1/z.
    slack = 1e4 if name == "power(-1.3)" and cond > 1e8 else 1.0
    assert found.error <= slack * rtol
    # Between the points of its own grid it is no worse; summation rounds.
    assert seen_error(found, f, points(*interval)) <= 1.05 * found.error + 1e3 * EPS
    poles = found.poles * t
    assert (poles.imag == 0).all()
    assert (poles.real <= 0).all()


@pytest.mark.parametrize("span", [0.5, 8.0, 1e2, 1e6])
@pytest.mark.parametrize("rtol", [1e-3, 1e-8, 1e-11])
@pytest.mark.parametrize("name", SMOOTH)
def test_decaying_functions_of_wide_intervals(name, rtol, span):
    f = target(name, -1.0)
    found = pole_sum(f, (0.0, span), rtol)
    assert found.error <= rtol
    assert seen_error(found, f, points(0.0, span)) <= 1.05 * found.error + 1e3 * EPS
    # Cody, Meinardus and Varga: 9.29 per pole for exp on the half axis, whatever its length.
    assert found.poles.size <= np.log(1 / rtol) / np.log(9.29) + 4


@pytest.mark.parametrize("lower", [-1.8e-14, -1e-3, -1.0, 5.0])
def test_an_end_next_to_zero_costs_nothing(lower):
    f = target("exp", -10.0)
    found = pole_sum(f, (lower, 800.0), 1e-10)
    assert found.error <= 1e-10
    assert found.poles.size <= 14


@pytest.mark.parametrize("gap", [0.5, 1e-3, 1e-7])
@pytest.mark.parametrize("rtol", [1e-3, 1e-8, 1e-12])
def test_sign_across_a_gap(gap, rtol):
    found = pole_sum(target("sign"), (-1.0, 0.7), rtol, gap=gap)
    z = np.geomspace(gap, 1.0, 4001)
    assert found.error <= rtol
    np.testing.assert_allclose(found(z), 1.0, rtol=0, atol=1.01 * found.error + 100 * EPS)
    np.testing.assert_allclose(found(-z), -found(z), rtol=0, atol=10 * EPS)
    assert (found.poles.real == 0).all()
    assert (pole_sum(target("sign", -2.0), (-1.0, 0.7), rtol, gap=gap)(z) < 0).all()


def test_sign_of_one_side_is_a_constant():
    for interval, t, value in (((0.1, 1.0), 1.0, 1.0), ((-1.0, -0.1), 1.0, -1.0)):
        found = pole_sum(target("sign", t), interval, 1e-8)
        assert found.poles.size == 0
        assert found.constant == value


@pytest.mark.parametrize("name", ["inv", "power(-1)"])
@pytest.mark.parametrize("t", [2.0, -3.0])
def test_inverse_is_its_own_pole(name, t):
    found = pole_sum(target(name, t), (1e-10, 1.0), 1e-8)
    assert found.poles.tolist() == [0.0]
    assert found.error == 0.0
    np.testing.assert_allclose(found(np.array([0.5])), 2.0 / t, rtol=4 * EPS)


def test_inverse_across_a_gap_has_no_pole_on_the_axis():
    found = pole_sum(target("inv"), (-1.0, 2.0), 1e-8, gap=1e-3)
    assert (np.abs(found.poles.imag) > 0).all()
    z = np.concatenate([-np.geomspace(1e-3, 1, 50), np.geomspace(1e-3, 2, 50)])
    assert seen_error(found, target("inv"), z) <= 1.01 * found.error <= 1.01e-8


@pytest.mark.parametrize("alpha", [0, 1, 2, 4])
def test_whole_powers_are_exact(alpha, rng):
    found = pole_sum(target(f"power({alpha})", -2.0), (-1.0, 2.0), 1e-8)
    z = rng.uniform(-1, 2, 20)
    assert found.poles.size == 0
    assert found.factor == alpha
    np.testing.assert_allclose(found(z), (-2.0 * z) ** alpha, rtol=10 * EPS)


def test_roots_vanish_where_they_should():
    for name in ("sqrt", "power(0.3)", "power(1.7)"):
        found = pole_sum(target(name), (0.0, 3.0), 1e-8)
        assert found.relative
        assert found(np.zeros(1))[0] == 0.0
        assert found.interval == (pytest.approx(3 * EPS), 3.0)


def test_exponents_have_more_digits_than_their_names():
    alpha = 0.123456789123
    found = pole_sum(target(f"power({alpha})"), (1e-3, 1.0), 1e-12)
    z = np.geomspace(1e-3, 1, 40)
    np.testing.assert_allclose(found(z), z**alpha, rtol=2e-12)


@pytest.mark.parametrize(("t", "interval"), [(1j, (-3.0, 5.0)), (-1 + 2j, (0.0, 30.0))])
def test_complex_times(t, interval):
    f = target("exp", t)
    found = pole_sum(f, interval, 1e-8)
    assert not found.is_real
    assert found.error <= 1e-8
    assert seen_error(found, f, np.linspace(*interval, 1001)) <= 1.05 * found.error


def test_complex_type_of_real_values_is_real():
    assert pole_sum(target("cos", 1j), (-3.0, 3.0), 1e-8).is_real


def test_a_callable_that_is_rational_is_found_out():
    f = Target(as_scalar_function(lambda z: 1 / (1 + 25 * z**2)))
    found = pole_sum(f, (-1.0, 1.0), 1e-10)
    np.testing.assert_allclose(found.poles, [0.2j, -0.2j], atol=1e-10)
    assert abs(found.constant) <= 1e-10


def test_a_singularity_next_to_the_interval():
    f = Target(as_scalar_function(lambda z: z**-0.5))
    found = pole_sum(f, (1e-6, 1.0), 1e-8)
    assert not found.relative
    assert found.error <= 1e-8


# -- how many --------------------------------------------------------------------------------


@pytest.mark.parametrize("cond", [10.0, 1e4, 1e8, 1e14])
@pytest.mark.parametrize("rtol", [1e-3, 1e-8, 1e-12])
def test_inverse_roots_take_what_theory_says(cond, rtol):
    found = pole_sum(target("invsqrt"), (1 / cond, 1.0), rtol)
    # Zolotarev: 4 exp(-2 pi^2 N / log(16 cond)) for large condition numbers.
    wanted = np.log(4 / rtol) * np.log(16 * cond) / (2 * np.pi**2)
    assert found.poles.size <= wanted + 1
    assert found.error <= 1.001 * rtol + 100 * EPS


@pytest.mark.parametrize("cond", [10.0, 1e4, 1e14])
@pytest.mark.parametrize("rtol", [1e-2, 1e-5])
def test_errors_of_inverse_roots_are_the_same_everywhere(cond, rtol):
    """Best approximations have 2 N + 1 equal extrema of alternating sign, on the whole interval."""
    found = pole_sum(target("invsqrt"), (1 / cond, 1.0), rtol)
    z = np.geomspace(1 / cond, 1.0, 4001)
    error = found(z) * np.sqrt(z) - 1
    turns = np.flatnonzero(np.diff(np.sign(np.diff(error)))) + 1
    peaks = np.concatenate([error[:1], error[turns], error[-1:]])
    assert peaks.size == 2 * found.poles.size + 1
    assert (np.sign(peaks[:-1]) == -np.sign(peaks[1:])).all()
    np.testing.assert_allclose(np.abs(peaks), found.error, rtol=1e-2)


@pytest.mark.parametrize("name", STIELTJES)
def test_others_take_about_as_many(name):
    for cond, rtol in ((1e4, 1e-8), (1e10, 1e-8)):
        best = pole_sum(target("invsqrt"), (1 / cond, 1.0), rtol).poles.size
        assert pole_sum(target(name), (1 / cond, 1.0), rtol).poles.size <= best + 5


@pytest.mark.parametrize("name", ["invsqrt", "sqrt", "power(-0.7)", "power(0.3)", "power(1.6)"])
def test_terms_of_roots_do_not_cancel(name):
    found = pole_sum(target(name), (1e-10, 1.0), 1e-8)
    assert (found.residues.real > 0).all()
    assert np.real(found.constant) >= 0


@given(
    log_root=hs.floats(-7.5, -0.01),
    fraction=hs.floats(0.0, 0.5),
)
def test_sc_equals_scipy_where_scipy_can(log_root, fraction):
    m = 10.0 ** (2 * log_root)
    if m < 1e-6:
        m = 1e-6  # 1 - m keeps ten digits of m
    u = fraction * ellipk(1 - m)
    sn, cn, _, _ = ellipj(u, 1 - m)
    found = _sc(np.array([u]), np.sqrt(m), m)[0]
    # ellipj knows m to EPS / m, which sc feels times exp(2 u) m / 8 < 1.
    assert abs(found - sn / cn) <= (50 * EPS + 2 * EPS / m) * max(sn / cn, 1e-300) + 1e-300


def test_tiny_ratios_keep_their_digits():
    """The quarter period's middle maps to the geometric mean of the ends, whatever m is."""
    for root in (1e-3, 1e-7, 1e-8, 1e-20):
        found = inverse_root(root, 1e-3, square=True)
        product = found.squares * found.squares[::-1]
        np.testing.assert_allclose(product, root**2, rtol=1e-13)


# -- what else it promises -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "t", "interval"),
    [("exp", -1.0, (-0.03, 8.0)), ("log", 1.0, (1e-3, 1.0)), ("exp", 1j, (-3.0, 5.0)),
     ("phi1", -1e3, (0.0, 8.0)), ("cos", 1.0, (0.0, 40.0)), ("inv", 1.0, (0.1, 1.0))],
)  # fmt: skip
def test_poles_come_in_pairs_away_from_the_interval(name, t, interval):
    found = pole_sum(target(name, t), interval, 1e-8)
    distance = np.abs(found.poles - np.clip(found.poles.real, *interval))
    assert (distance > 0).all()
    # Nothing close contributes like noise: every pole matters.
    assert (np.abs(found.residues) > 1e-12 * found.size * distance).all()
    halves = found.halves
    assert (halves.poles.imag >= 0).all()
    z = np.linspace(*interval, 7)
    total = found.constant + sum(
        a / (z - p) + b / (z - p.conjugate())
        for p, a, b in zip(halves.poles, halves.residues, halves.partners, strict=True)
    )
    terms = np.abs(found.residues / (z[:, None] - found.poles)).sum() + abs(found.constant)
    np.testing.assert_allclose(total, found(z), rtol=0, atol=10 * EPS * terms)
    if found.is_real:
        pairs = found.poles[found.poles.imag != 0]
        np.testing.assert_array_equal(pairs[::2], pairs[1::2].conj())
        assert found(z).dtype == np.float64
        assert found(z + 0j).dtype == np.complex128


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
@pytest.mark.parametrize("name", ["invsqrt", "sqrt", "log", "power(-0.3)", "inv"])
def test_extreme_units(name, scale):
    f = target(name)
    found = pole_sum(f, (1e-4 * scale, scale), 1e-8)
    assert found.error <= 1e-8
    assert seen_error(found, f, np.geomspace(1e-4 * scale, scale, 501)) <= 1.1e-8
    same = pole_sum(target(name, scale), (1e-4, 1.0), 1e-8)
    assert same.poles.size == pytest.approx(found.poles.size, abs=1)


@pytest.mark.parametrize("value", [2.0, -2.0, 0.0])
def test_intervals_of_one_point(value):
    for name in ("exp", "phi1"):
        found = pole_sum(target(name), (value, value), 1e-10)
        f = np.exp if name == "exp" else phi1
        np.testing.assert_allclose(found(np.array([value])), f(np.array([value])), rtol=1e-9)
    for name in ("sqrt", "log", "inv"):
        if value > 0:
            found = pole_sum(target(name), (value, value), 1e-10)
            expected = FUNCTIONS[name].evaluate(value)
            np.testing.assert_allclose(found(np.array([value])), expected, rtol=1e-9)


def test_zero_is_a_sum_without_poles():
    found = pole_sum(Target(ScalarFunction("zero", lambda z: 0.0 * z)), (-1.0, 1.0), 1e-8)
    assert found.poles.size == 0
    assert (found(np.ones(3)) == 0).all()
    assert found.error == 0.0


def test_tolerances_below_rounding_are_not_attempted():
    loose = pole_sum(target("invsqrt"), (0.1, 1.0), LEAST_RTOL)
    assert pole_sum(target("invsqrt"), (0.1, 1.0), 1e-30).poles.size == loose.poles.size


def test_sums_are_shared_and_cannot_be_written_to():
    first, second = (pole_sum(target("exp", -1.0), (0.0, 8.0), 1e-8) for _ in range(2))
    assert first is second
    with pytest.raises(ValueError, match="read-only"):
        first.poles[0] = 0.0


def test_absolute_error_bounds():
    root = pole_sum(target("invsqrt"), (1e-4, 1.0), 1e-3)
    assert root.absolute_error(5.0, 100.0) == 5.0 * root.error
    smooth = pole_sum(target("exp"), (0.0, 2.0), 1e-3)
    assert smooth.absolute_error(5.0, 100.0) == pytest.approx(100.0 * np.exp(2.0) * smooth.error)


@pytest.mark.parametrize(
    ("name", "interval", "rtol", "gap", "message"),
    [
        ("log", (-1.0, 1.0), 1e-8, 0.0, "interval must be positive"),
        ("invsqrt", (0.0, 1.0), 1e-8, 0.0, "interval must be positive"),
        ("sqrt", (-1e-3, 1.0), 1e-8, 0.0, "interval must be nonnegative"),
        ("sign", (-1.0, 1.0), 1e-8, 0.0, "gap must be positive"),
        ("inv", (-1.0, 1.0), 1e-8, 2.0, "gap must be positive"),
        ("sign", (-1.0, 1.0), 1e-8, -1.0, "gap must be finite"),
        ("power(-2)", (0.1, 1.0), 1e-8, 0.0, "power.-2. is no sum of simple poles"),
        ("power(7.5)", (0.1, 1.0), 1e-8, 0.0, "grows too fast"),
        ("cos", (0.0, 1e4), 1e-8, 0.0, "chebyshev"),
        ("exp", (0.0, 1e4), 1e-8, 0.0, "finite on the spectrum"),
        ("exp", (1.0, 0.0), 1e-8, 0.0, "interval must be finite"),
        ("exp", (0.0, np.nan), 1e-8, 0.0, "interval must be finite"),
        ("exp", (0.0, 1.0), 0.0, 0.0, "rtol must lie in"),
        ("exp", (0.0, 1.0), 1.0, 0.0, "rtol must lie in"),
    ],
)
def test_what_cannot_be_is_refused(name, interval, rtol, gap, message):
    with pytest.raises(InputError, match=message):
        pole_sum(target(name), interval, rtol, gap=gap)


def test_a_pole_inside_is_refused():
    with pytest.raises(InputError, match="no good approximation"):
        pole_sum(Target(as_scalar_function(lambda z: 1 / (z - 0.31))), (0.0, 1.0), 1e-8)


@given(
    name=hs.sampled_from(STIELTJES),
    log_cond=hs.floats(0.0, 15.0),
    log_rtol=hs.floats(-12.0, -1.0),
)
def test_drawn_intervals(name, log_cond, log_rtol):
    f, interval = target(name), (10.0**-log_cond, 1.0)
    found = pole_sum(f, interval, 10.0**log_rtol)
    assert seen_error(found, f, points(*interval, 701)) <= 1.1 * found.error + 1e4 * EPS
    if name not in ("power(-1.3)", "power(1.6)"):
        assert found.error <= max(10.0**log_rtol, 1e-11)
