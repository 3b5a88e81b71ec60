"""Functions of small general matrices, against Taylor coefficients and 50 digits."""

import mpmath
import numpy as np
import pytest

from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.functions.estimates import hessenberg
from spectool.functions.estimates.hessenberg import (
    SmallMatrix,
    domain_error,
    function_of,
    rounding_of,
    undefined,
)
from spectool.functions.poles.field_of_values import FieldOfValues
from spectool.functions.scalar import as_scalar_function
from spectool.functions.task import Target

SEED = 602_918_437
EPS = np.finfo(float).eps
EXACT = {
    "exp": mpmath.exp,
    "expm1": lambda z: mpmath.exp(z) - 1,
    "phi1": lambda z: (mpmath.exp(z) - 1) / z,
    "phi2": lambda z: (mpmath.exp(z) - 1 - z) / z**2,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "sinc": lambda z: mpmath.sin(z) / z,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "inv": lambda z: 1 / z,
    "sqrt": mpmath.sqrt,
    "invsqrt": lambda z: 1 / mpmath.sqrt(z),
    "log": mpmath.log,
    "power(0.3)": lambda z: z ** mpmath.mpf(0.3),
    "power(-1.7)": lambda z: z ** mpmath.mpf(-1.7),
    "power(3)": lambda z: z**3,
}


def target(f, t=1.0):
    return Target(as_scalar_function(f), t)


def jordan(lam, k, below=1.0):
    return lam * np.eye(k) + np.diag(np.full(k - 1, below), -1)


def taylor(name, lam, k, t=1.0):
    """The first column of ``f(t J)`` for a lower Jordan block: ``t^j f^(j)(t lam) / j!``."""
    with mpmath.workdps(60):
        found = mpmath.taylor(EXACT[name], mpmath.mpmathify(t * lam), k - 1)
        return np.array([complex(c) for c in found]) * t ** np.arange(k)


@pytest.mark.parametrize("lam", [2.5, 2.0 + 1.5j])
@pytest.mark.parametrize("name", EXACT)
def test_jordan_blocks_are_taylor_coefficients(name, lam):
    truth = taylor(name, lam, 6)
    small = SmallMatrix(jordan(lam, 6))
    found = function_of(target(name), small)
    rounding = rounding_of(target(name), small, found, EPS)[0]
    assert np.linalg.norm(found.values[:, 0] - truth) <= 1e-11 * np.linalg.norm(truth)
    assert rounding <= 1e-10 * np.linalg.norm(truth)
    assert found.values.dtype == (np.complex128 if np.iscomplexobj(lam) else np.float64)


@pytest.mark.parametrize("t", [-3.0, 0.5 + 2.0j])
def test_complex_times_of_jordan_blocks(t):
    truth = taylor("exp", 0.3, 8, t)
    found = function_of(target("exp", t), SmallMatrix(jordan(0.3, 8))).values[:, 0]
    assert np.linalg.norm(found - truth) <= 1e-12 * np.linalg.norm(truth)


@pytest.mark.parametrize("name", ["exp", "cos", "log", "sqrt", "inv"])
def test_callables_of_defective_matrices_go_by_contours(name):
    truth = taylor(name, 2.5, 6)
    evaluate = as_scalar_function(name).evaluate
    small = SmallMatrix(jordan(2.5, 6))
    found = function_of(target(lambda z: evaluate(np.asarray(z, dtype=complex))), small)
    error = np.linalg.norm(found.values[:, 0] - truth)
    assert error <= 1e-8 * np.linalg.norm(truth)
    # What a contour loses is told; 1e-13: what its estimate does not see.
    assert error <= 10 * found.lost + 1e-13 * np.linalg.norm(truth)


def test_the_field_of_values_is_made_only_where_eigenvalues_do_not_suffice(monkeypatch):
    made = []
    of = FieldOfValues.of

    def counted(Z):
        made.append(len(Z))
        return of(Z)

    monkeypatch.setattr(hessenberg.FieldOfValues, "of", counted)
    rng = np.random.default_rng(SEED)
    H = np.diag(np.repeat([0.1, -0.2, 0.3], 3)) + np.triu(rng.standard_normal((9, 9)), 1)
    found = function_of(target(lambda z: np.exp(z)), SmallMatrix(H))
    assert found.lost > 0  # a contour it was
    assert made == []


@pytest.mark.parametrize("name", ["exp", "sqrt", "log"])
@pytest.mark.parametrize("off", [0.1, 1.0, 4.0])
def test_rounding_of_nonnormal_matrices_is_foreseen(name, off):
    rng = np.random.default_rng(SEED)
    k = 8
    H = np.diag(rng.uniform(0.5, 2.0, k)) + off * np.triu(rng.standard_normal((k, k)), 1)
    Q = np.linalg.qr(rng.standard_normal((k, k)))[0]
    H = Q @ H @ Q.T
    with mpmath.workdps(60):
        lam, X = mpmath.eig(mpmath.matrix(H.tolist()))
        values = mpmath.diag([EXACT[name](z) for z in lam])
        exact = X * values * mpmath.lu_solve(X, mpmath.eye(k)[:, 0])
        truth = np.array([complex(z) for z in exact])
    small = SmallMatrix(H)
    found = function_of(target(name), small)
    error = np.linalg.norm(found.values[:, 0] - truth)
    assert error <= 3 * rounding_of(target(name), small, found, EPS)[0]
    assert error <= 1e-4 * np.linalg.norm(truth)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize(
    ("name", "power"), [("inv", -1.0), ("sqrt", 0.5), ("invsqrt", -0.5), ("sign", 0.0)]
)
def test_homogeneous_functions_know_no_units(name, power, scale):
    for H in (jordan(2.0, 6), np.diag([1.0, 2.0, 5.0]) + np.triu(np.ones((3, 3)), 1)):
        one = function_of(target(name), SmallMatrix(H)).values
        found = function_of(target(name), SmallMatrix(scale * H)).values / scale**power
        np.testing.assert_allclose(found, one, rtol=1e-10, atol=1e-12 * np.abs(one).max())


@pytest.mark.parametrize("name", EXACT)
def test_one_by_one(name):
    with mpmath.workdps(50):
        truth = complex(EXACT[name](mpmath.mpf(1.75)))
    found = function_of(target(name), SmallMatrix(np.array([[1.75]]))).values
    assert found.shape == (1, 1)
    assert abs(found[0, 0] - truth) <= 20 * EPS * abs(truth)


def test_products_with_blocks_are_products_with_columns():
    rng = np.random.default_rng(SEED)
    H, B = jordan(1.5, 7), rng.standard_normal((7, 3))
    for name in ("exp", "phi2", "log"):
        whole = function_of(target(name), SmallMatrix(H), B).values
        unit = function_of(target(name), SmallMatrix(H), np.eye(7)).values
        np.testing.assert_allclose(whole, unit @ B, atol=1e-12)


def test_the_sign_is_an_involution():
    rng = np.random.default_rng(SEED)
    H = np.diag([-2.0, -1.0, 1.0, 3.0]) + np.triu(rng.standard_normal((4, 4)), 1)
    S = function_of(target("sign"), SmallMatrix(H), np.eye(4)).values
    np.testing.assert_allclose(S @ S, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(S @ H, H @ S, atol=1e-12)


@pytest.mark.parametrize("below", [0.5, 1.0, 5.0])
def test_type_is_what_is_promised_whichever_way_it_is_computed(below):
    # Eigenvectors serve nearly normal matrices, names defective ones: types may not depend on it.
    real = jordan(2.0, 5, below) if below == 1.0 else np.diag(np.arange(1.0, 6.0)) * below
    for name in ("exp", "sqrt", "log"):
        assert function_of(target(name), SmallMatrix(real)).values.dtype == np.float64
        turned = SmallMatrix(real.astype(complex))
        assert function_of(target(name), turned).values.dtype == np.complex128
    real_callable = target(lambda z: np.abs(z))
    times_i = Target(real_callable.function, 1j)
    assert function_of(real_callable, SmallMatrix(real)).values.dtype == np.float64
    assert function_of(times_i, SmallMatrix(np.diag([1.0, 2.0]))).values.dtype == np.complex128


def test_callables_with_a_cut_are_complex_where_it_is_crossed():
    root = target(lambda z: np.sqrt(np.asarray(z, dtype=complex)))
    right = function_of(root, SmallMatrix(np.diag([1.0, 4.0])), np.ones((2, 1))).values
    left = function_of(root, SmallMatrix(np.diag([-1.0, 4.0])), np.ones((2, 1))).values
    assert right.dtype == np.float64
    np.testing.assert_allclose(right[:, 0], [1.0, 2.0])
    np.testing.assert_allclose(left[:, 0], [1j, 2.0])


@pytest.mark.parametrize(
    ("name", "theta", "bad"),
    [
        ("log", [1.0, -1.0], 1),
        ("log", [1.0, 0.0], 1),
        ("log", [1.0, -1.0 + 1e-3j], None),
        ("sqrt", [1.0, 0.0], None),
        ("sqrt", [1.0, -1e-17], None),
        ("sqrt", [-1e-3, 1.0], 0),
        ("inv", [1.0, -1.0], None),
        ("inv", [1.0, 1e-17], 1),
        ("sign", [1.0, 1e-17 + 1j], 1),
        ("exp", [1.0, 800.0], 1),
        ("exp", [1.0, 1j], None),
    ],
)
def test_where_functions_are_undefined(name, theta, bad):
    found = undefined(target(name), np.array(theta), EPS)
    assert (None if found is None else found[0]) == bad
    if found is not None:
        kind = InputError if name == "exp" else NotPositiveDefiniteError
        assert isinstance(domain_error(target(name), found[1]), kind)
        assert "Ritz value" in found[1]


def test_trouble_is_told():
    with pytest.raises(InputError, match="overflows"):
        function_of(target("exp", 1e3), SmallMatrix(jordan(1.0, 3)))

    def only_real(z):
        if np.iscomplexobj(z):
            message = "complex"
            raise TypeError(message)
        return z

    with pytest.raises(InputError, match="complex arrays"):
        function_of(target(only_real), SmallMatrix(np.array([[0.0, 1.0], [-1.0, 0.0]])))


def test_perturbations_have_the_size_that_is_asked_for():
    rng = np.random.default_rng(SEED)
    for dtype in (float, complex):
        H = rng.standard_normal((30, 30)).astype(dtype)
        moved = SmallMatrix(H).perturbed(1e-6, rng).H - H
        sizes = np.linalg.norm(moved, axis=0) / np.linalg.norm(H)
        assert 0.4e-6 <= sizes.min() <= sizes.max() <= 2e-6
        assert moved.dtype == dtype
