"""Divided differences, and the derivative of a function of a Hermitian matrix made of them."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

from spectool.errors import InputError
from spectool.functions.derivatives.divided_differences import derivative, divided_differences
from spectool.functions.derivatives.frechet import FrechetPair, relative_change
from spectool.functions.estimates.hermitian import Jacobi
from spectool.functions.scalar import FUNCTIONS, as_scalar_function
from spectool.functions.task import Target

EPS = np.finfo(np.float64).eps
EXACT = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "phi1": lambda z: mpmath.expm1(z) / z if z else mpmath.mpf(1),
    "phi2": lambda z: (mpmath.exp(z) - 1 - z) / z**2 if z else mpmath.mpf(1) / 2,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "sinc": lambda z: mpmath.sin(z) / z if z else mpmath.mpf(1),
    "inv": lambda z: 1 / z,
    "sqrt": mpmath.sqrt,
    "invsqrt": lambda z: 1 / mpmath.sqrt(z),
    "log": mpmath.log,
    "sign": mpmath.sign,
}


def exact(name, x, y):
    f = EXACT[name]
    with mpmath.workdps(60):
        values = np.empty((x.size, y.size), dtype=complex if np.iscomplexobj(x) else float)
        for i, a in enumerate(x):
            for j, b in enumerate(y):
                p, q = mpmath.mpmathify(a.item()), mpmath.mpmathify(b.item())
                if p != q:
                    value = (f(p) - f(q)) / (p - q)
                else:
                    value = 0 if name == "sign" else mpmath.diff(f, p)
                values[i, j] = complex(value) if np.iscomplexobj(x) else float(value)
    return values


def test_every_name_is_checked():
    assert set(EXACT) == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(EXACT))
@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0])
def test_close_equal_and_far_pairs(name, scale, rng):
    function = as_scalar_function(name)
    x = scale * (0.1 + rng.random(5))
    if function.domain in ("any", "nonzero"):
        x[::2] *= -1
    y = np.concatenate([x, x * (1 + 1e-13), x * (1 - 1e-7), x * (1 + 1e-3), x[::-1] * 1.3])
    F = divided_differences(function, x, y)
    reference = exact(name, x, y)
    # cos, cosh and sinc are flat at zero: their differences are as exact as their values, 1.
    floor = EPS if function.domain == "any" else 0.0
    assert (np.abs(F - reference) <= 300 * (EPS * np.abs(reference) + floor)).all()
    assert_allclose(divided_differences(function, y, x), F.T, rtol=1e-12, atol=100 * floor)


@pytest.mark.parametrize("name", ["exp", "phi1", "phi2", "cos", "sinc"])
def test_complex_arguments_of_entire_functions(name, rng):
    z = (0.4 - 2.0j) * rng.standard_normal(4)
    w = np.concatenate([z, z * (1 + 1e-9)])
    assert_allclose(
        divided_differences(as_scalar_function(name), z, w), exact(name, z, w), rtol=1e-13
    )


def test_powers():
    x = np.array([0.5, 0.5 + 1e-12, 2.0])
    assert_allclose(divided_differences(as_scalar_function("power(2)"), x, x), x[:, None] + x)
    cube = divided_differences(as_scalar_function("power(-3)"), x, x[:1])
    assert_allclose(cube[0], -3 * 0.5**-4)


def test_a_callable_knows_its_own_scale():
    # A step of width 1e-3 at 2, and a unit of 1e6: nothing says so but f itself.
    x = np.array([1.9, 1.9999, 2.0, 2.0 + 1e-9, 2.0005, 2.1])
    for unit in (1e-6, 1.0, 1e6):

        def step(z, unit=unit):
            return 0.5 + 0.5 * np.tanh((z / unit - 2.0) / 1e-3)

        with mpmath.workdps(60):
            f = lambda z: 0.5 + 0.5 * mpmath.tanh((z - 2) / mpmath.mpf("1e-3"))  # noqa: E731
            reference = [
                [
                    float(mpmath.diff(f, a) if a == b else (f(a) - f(b)) / (mpmath.mpf(a) - b))
                    for b in x
                ]
                for a in x
            ]
        F = unit * divided_differences(as_scalar_function(step), unit * x, unit * x)
        # The arguments' own rounding, 2 EPS, is 4e-13 of the width.
        assert_allclose(F, reference, rtol=1e-11, atol=1e-10)


def test_nodes_that_all_miss_the_function_are_not_trusted():
    # On [-6000, -140] eight Gauss points see exp as zero; the quotient knows better.
    x, y = np.array([-140.0]), np.array([-6000.0])
    F = divided_differences(as_scalar_function("exp"), x, y)
    assert_allclose(F, [[np.exp(-140.0) / 5860.0]], rtol=1e-13)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (np.abs, "returned float64"),
        (lambda z: z.real**2, "returned float64"),
        (lambda z: np.abs(z) * z, "must be analytic"),
        (lambda z: np.arctan2(z, 1.0), "TypeError"),
        (lambda z: np.exp(1j * z), "complex values at real"),
    ],
)
def test_says_why_f_cannot_be_differentiated(f, message):
    x = np.array([0.5, 0.501, 2.0])
    with pytest.raises(InputError, match=message):
        divided_differences(as_scalar_function(f), x, x)


def test_derivative_of_singular_functions_needs_real_arguments():
    with pytest.raises(InputError, match="real arguments only"):
        derivative(as_scalar_function("sqrt"), np.array([1.0 + 1.0j]))


# -- the derivative of a matrix function -------------------------------------------------------


def tridiagonalized(A, v):
    """Lanczos by the book, reorthogonalized: basis as rows, alpha, beta."""
    V, alpha, beta = [v / np.linalg.norm(v)], [], []
    for _ in range(len(v)):
        w = A @ V[-1]
        alpha.append(np.vdot(V[-1], w).real)
        for _ in range(3):
            w = w - np.array(V).T @ (np.array(V).conj() @ w)
        beta.append(np.linalg.norm(w))
        if beta[-1] < 1e-12:
            break
        V.append(w / beta[-1])
    return np.array(V[: len(alpha)]), np.array(alpha), np.array(beta)


def dense_derivative(f, t, A, b, g):
    """``L^*(A, g b^*)`` by Daleckii and Krein."""
    lam, U = np.linalg.eigh(A)
    F = t * divided_differences(as_scalar_function(f), t * lam, t * lam)
    return U @ (F.conj() * (U.conj().T @ np.outer(g, b.conj()) @ U)) @ U.conj().T


def pair_after(k, target, of_b, of_g, b, g, rtol=1e-8):
    pair = FrechetPair(target, rtol, EPS, np.array([np.linalg.norm(b), np.linalg.norm(g)]))
    for j in range(4, k + 1, 4):
        pair.look(Jacobi(of_b[1][:j], of_b[2][:j]), Jacobi(of_g[1][:j], of_g[2][:j]))
    return pair


@pytest.mark.parametrize(
    ("f", "t"), [("exp", -2.0), ("exp", 0.5j), ("sqrt", 1.0), ("log", 3.0), ("sign", 1.0)]
)
@pytest.mark.parametrize("complex_entries", [False, True])
def test_two_krylov_spaces_give_the_derivative(f, t, complex_entries, rng):
    n = 40
    G = rng.standard_normal((n, n)) + 1j * complex_entries * rng.standard_normal((n, n))
    U = np.linalg.qr(G)[0]
    lam = np.linspace(0.5, 3.0, n)
    if f == "sign":
        lam[:20] *= -1
    A = (U * lam) @ U.conj().T
    b, g = rng.standard_normal((2, n)) + 1j * complex_entries * rng.standard_normal((2, n))
    of_b, of_g = tridiagonalized(A, b), tridiagonalized(A, g)
    pair = pair_after(n, Target(as_scalar_function(f), t), of_b, of_g, b, g)
    assert pair.met
    k, m = pair.C.shape
    reference = dense_derivative(f, t, A, b, g)
    found = of_g[0][:k].T @ pair.C @ of_b[0][:m].conj()
    assert np.linalg.norm(found - reference) <= 1e-8 * np.linalg.norm(reference)
    # The factors say the same, with fewer columns; the adjoint and t's derivative come along.
    P, Q = pair.factors()
    assert len(P) <= min(k, m)
    assert relative_change(P.T @ Q.conj(), pair.C) <= 1e-8
    values = as_scalar_function(f)(t * lam)
    expected = (U * values.conj()) @ (U.conj().T @ g)
    assert_allclose(of_g[0][:k].T @ pair.adjoint, expected, atol=1e-7 * np.linalg.norm(expected))
    slopes = lam * derivative(as_scalar_function(f), t * lam)
    expected = (U * slopes) @ (U.conj().T @ b)
    assert_allclose(of_b[0][:m].T @ pair.in_t, expected, atol=1e-6 * np.linalg.norm(b))


def test_error_is_not_underestimated(rng):
    n = 60
    U = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = (U * np.logspace(-2, 0, n)) @ U.T
    b, g = rng.standard_normal((2, n))
    of_b, of_g = tridiagonalized(A, b), tridiagonalized(A, g)
    reference = dense_derivative("invsqrt", 1.0, A, b, g)
    for rtol in (1e-3, 1e-6):
        target = Target(as_scalar_function("invsqrt"))
        pair = pair_after(n, target, of_b, of_g, b, g, rtol=rtol)
        assert pair.met
        k, m = pair.C.shape
        assert k < n
        found = of_g[0][:k].T @ pair.C @ of_b[0][:m].conj()
        assert np.linalg.norm(found - reference) <= rtol * np.linalg.norm(reference)


def test_an_infinite_slope_is_not_an_answer():
    target, A = Target(as_scalar_function("sqrt")), np.diag([0.0, 1.0, 2.0])

    def look(b):
        basis, *coefficients = tridiagonalized(A, b)
        pair = FrechetPair(target, 1e-8, EPS, np.full(2, np.linalg.norm(b)))
        pair.look(Jacobi(*coefficients), Jacobi(*coefficients))
        return basis.T @ pair.C @ basis

    with pytest.raises(InputError, match="gradient is infinite"):
        look(np.ones(3))
    # Vectors without the null vector: the derivative is that of the rest.
    between = 1 / (1 + 2**0.5)
    found = look(np.array([0.0, 1.0, 1.0]))
    assert_allclose(found[1:, 1:], [[0.5, between], [between, 8**-0.5]])
