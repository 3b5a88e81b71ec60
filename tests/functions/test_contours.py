"""Sums of poles in the complex plane: errors measured on boundaries hold inside."""

import numpy as np
import pytest

from spectool.errors import InputError
from spectool.functions.poles.contours import (
    contour_sum,
    divided,
    ellipses,
    error_at,
    in_sector,
    power_taken_out,
    without_power,
)
from spectool.functions.poles.field_of_values import FieldOfValues
from spectool.functions.scalar import as_scalar_function
from spectool.functions.task import Target

SEED = 845_120_637
ENTIRE = ["exp", "expm1", "phi1", "phi2", "sin", "cos", "sinc", "sinh", "cosh"]
CUT = ["inv", "invsqrt", "sqrt", "log", "power(0.3)", "power(-0.7)", "power(1.6)"]


def target(f, t=1.0):
    return Target(as_scalar_function(f), t)


def disc(center, radius, count=64):
    return center + radius * np.exp(2j * np.pi * np.arange(count) / count)


def inside(center, radius, count=200):
    rng = np.random.default_rng(SEED)
    z = rng.uniform(-1, 1, 2 * count) + 1j * rng.uniform(-1, 1, 2 * count)
    return center + radius * z[np.abs(z) <= 1][:count]


def made(name, center, radius, rtol, t=1.0):
    theta = disc(center, 0.9 * radius)
    return contour_sum(target(name, t), FieldOfValues.around(disc(center, radius)), theta, rtol)


def gap(f, total, z, t=1.0):
    """Largest error at z, in the unit of ``total.error``; f and r are evaluated here."""
    terms = (total.residues / (z[:, None] - total.poles)).sum(axis=1)
    found = z**total.factor * (total.constant + terms)
    exact = as_scalar_function(f).evaluate(t * z)
    unit = np.abs(exact) if total.relative else total.size
    return float((np.abs(found - exact) / unit).max())


@pytest.mark.parametrize("rtol", [1e-4, 1e-10])
@pytest.mark.parametrize(("center", "radius"), [(-1.0, 0.5), (0.0, 3.0), (2.0 + 5.0j, 1.0)])
@pytest.mark.parametrize("name", ENTIRE)
def test_entire_functions(name, center, radius, rtol):
    total = made(name, center, radius, rtol)
    assert total.error <= rtol
    # Analytic errors are largest on the boundary; 2: that is sampled.
    assert gap(name, total, inside(center, radius)) <= 2 * total.error + 1e-13


@pytest.mark.parametrize("t", [-0.5, 2.0j, 1.0 - 1.0j, 1e-3])
def test_complex_times(t):
    total = made("exp", 0.5, 2.0, 1e-9, t)
    assert gap("exp", total, inside(0.5, 2.0), t) <= 2e-9


@pytest.mark.parametrize("rtol", [1e-4, 1e-10])
@pytest.mark.parametrize(("center", "radius"), [(1.0, 0.9), (3.0, 0.1), (1.0 + 2.0j, 2.0)])
@pytest.mark.parametrize("name", CUT)
def test_functions_with_a_cut(name, center, radius, rtol):
    total = made(name, center, radius, rtol)
    assert total.error <= 10 * rtol
    assert gap(name, total, inside(center, radius)) <= 2 * total.error + 1e-12
    # They hold from rounding level on, so that small eigenvalues found later do no harm.
    if name != "log":
        assert gap(name, total, np.geomspace(1e-3, 1.0, 50) + 0j) <= 10 * rtol


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize("name", ["inv", "invsqrt", "sqrt", "log"])
def test_extreme_units(name, scale):
    total = made(name, 2.0 * scale, scale, 1e-8)
    assert gap(name, total, inside(2.0 * scale, scale)) <= 1e-7


def test_sign_of_both_half_planes():
    both = np.concatenate([disc(2.0, 1.0), disc(-3.0, 1.5)])
    total = contour_sum(target("sign"), FieldOfValues.around(both), both, 1e-9)
    z = np.concatenate([inside(2.0, 1.0), inside(-3.0, 1.5)])
    terms = total.constant + (total.residues / (z[:, None] - total.poles)).sum(axis=1)
    assert np.abs(terms - np.sign(z.real)).max() <= 1e-8


@pytest.mark.parametrize("name", ["exp", "cos", "sqrt", "log", "invsqrt"])
def test_sums_of_real_functions_on_symmetric_regions_are_real(name):
    total = made(name, 2.0, 1.0, 1e-8)
    z = inside(2.0, 1.0)

    def r(z):
        return total.constant + (total.residues / (z[:, None] - total.poles)).sum(axis=1)

    np.testing.assert_allclose(r(z.conj()), r(z).conj(), rtol=1e-10)
    assert total.is_real


@pytest.mark.parametrize("t", [1.0, -2.0 + 1.0j])
@pytest.mark.parametrize("name", ["exp", "power(3)"])
def test_errors_at_complex_points_are_those_of_the_sum(name, t):
    total = made(name, 1.0 + 1.0j, 2.0, 1e-6, t)
    points = inside(1.0 + 1.0j, 6.0)  # outside, too
    exact = as_scalar_function(name).evaluate(t * points)
    terms = (total.residues / (points[:, None] - total.poles)).sum(axis=1)
    gaps = np.abs(points**total.factor * (total.constant + terms) - exact)
    unit = np.abs(exact) if total.relative else total.size
    np.testing.assert_allclose(
        error_at(target(name, t), total, points), (gaps / unit).max(), rtol=1e-6, atol=1e-14
    )


def test_errors_at_poles_are_infinite_and_at_no_points_zero():
    total = made("exp", 0.0, 1.0, 1e-6)
    assert error_at(target("exp"), total, total.poles[:1]) == np.inf
    assert error_at(target("exp"), total, np.zeros(0)) == 0.0


@pytest.mark.parametrize("alpha", [-2.0, -0.5, 0.0, 0.5, 1.0, 1.6, 3.0, 3.999])
def test_powers_taken_out_multiply_back(alpha):
    whole = target(f"power({alpha!r})", 0.5)
    m = power_taken_out(whole)
    z = inside(3.0, 1.0)
    rest = without_power(whole)
    assert m >= 0
    np.testing.assert_allclose(
        (0.5 * z) ** m * rest.function.evaluate(0.5 * z),
        whole.function.evaluate(0.5 * z),
        rtol=1e-13,
    )


@pytest.mark.parametrize("factor", [0.1, 7.0])
def test_division(factor):
    total = made("exp", 0.0, 1.0, 1e-8)
    z = inside(0.0, 1.0)
    np.testing.assert_allclose(divided(total, factor)(z), total(z) / factor, rtol=1e-13)
    assert divided(total, factor).error == total.error


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e300])
def test_division_by_what_no_float_holds(size):
    with pytest.raises(InputError, match="powers of t must be representable"):
        divided(made("exp", 0.0, 1.0, 1e-8), size)


def test_cauchy_integrals_of_a_constant_are_one_inside_and_none_outside():
    region = FieldOfValues.around(disc(1.0 + 2.0j, 0.5))
    for _, poles, residues in ellipses(as_scalar_function(np.ones_like), region, 256)[4:]:
        far = np.array([1e4, -1e4j])
        near = inside(1.0 + 2.0j, 0.3)
        np.testing.assert_allclose((residues / (near[:, None] - poles)).sum(axis=1), 1, atol=1e-9)
        np.testing.assert_allclose((residues / (far[:, None] - poles)).sum(axis=1), 0, atol=1e-9)


def test_the_sector_of_poles():
    z = np.array([1.0, 1j, -1.0, -1.0 + 1e-3j, 0.0, -1.0 + 1.0j])
    log, sign = (as_scalar_function(name) for name in ("log", "sign"))
    assert in_sector(log, z).tolist() == [True, True, False, False, False, True]
    assert in_sector(sign, z).tolist() == [True, False, True, True, False, True]


def test_regions_of_one_point():
    for name in ("exp", "log", "sqrt"):
        z = np.array([2.0 + 0j])
        total = contour_sum(target(name), FieldOfValues.around(z), z, 1e-9)
        assert gap(name, total, z) <= 1e-8


@pytest.mark.parametrize(
    ("f", "center", "t", "message"),
    [
        (lambda z: 1 / z, 0.3, 1.0, "no partial fractions"),
        ("log", -5.0, 1.0, "close to the negative real axis"),
    ],
)
def test_what_cannot_be_is_refused(f, center, t, message):
    theta = np.full(4, center + 0j)
    with pytest.raises(InputError, match=message):
        contour_sum(target(f, t), FieldOfValues.around(disc(center, 0.5)), theta, 1e-8)


def test_powers_of_t_that_overflow_are_refused():
    # f(t z) = 1e225 is representable, t^3 is not.
    theta = 1e-20 * disc(2.0, 0.5)
    with pytest.raises(InputError, match="overflows where its poles are"):
        contour_sum(target("power(2.5)", 1e110), FieldOfValues.around(theta), theta, 1e-8)
