"""PRISM: what is fitted, to what, how many steps that takes, and where it must refuse."""

import itertools
import math

import numpy as np
import pytest

from spectool import dense
from spectool.dense.algebra import SpectrumAlgebra
from spectool.dense.problems import Problem
from spectool.dense.run import Run, iterate
from spectool.dense.sketch import Hybrid, KrylovMinimax, Prism, PrismNewton
from spectool.dense.sketch.fit import (
    GRID,
    alpha_interval,
    degree_of_residual,
    minimizer,
    objective,
    step_values,
)
from spectool.dense.sketch.probes import drawn, moments
from spectool.dense.steps import Variables
from spectool.errors import BreakdownError, InputError
from spectool.results import Status

SEED = 571830246
EPS = float(np.finfo(np.float64).eps)
TOLERANCE = 1e-8
CASES = list(itertools.product((1, 2, 3, 4, 6), (1, 2)))
KAPPA = 1e4


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


def haar(n, rng):
    Q, R = np.linalg.qr(rng.standard_normal((n, n)))
    return Q * np.sign(np.diag(R))


def with_eigenvalues(w, rng):
    Q = haar(len(w), rng)
    A = (Q * w) @ Q.T
    return (A + A.T) / 2


def started(function, A, p=1, *, hermitian=True, seed=SEED):
    """Return a run for A, which is scaled already."""
    problem = Problem(function, p)
    o = problem.algebra(A, hermitian=hermitian)
    return Run(problem, o, problem.variables(o, A), np.random.default_rng(seed))


def finished(function, A, method, p=1, *, tolerance=TOLERANCE, **options):
    """Return a run at its end, for ``||R||_F <= tolerance``."""
    run = started(function, A, p, **options)
    status = iterate(run, method, rtol=tolerance / A.shape[-1] ** 0.5, maxiter=100)
    assert status is Status.CONVERGED, (status, run.trouble, run.history)
    return run


def count(sigma, method, **options):
    """Return the steps for singular values: no sketch tells a diagonal matrix from others."""
    return len(finished("polar", np.diag(sigma), method, hermitian=False, **options).taken)


def newton_schulz_count(sigma):
    for k in range(100):
        if np.linalg.norm(1 - sigma**2) <= TOLERANCE:
            return k
        sigma = sigma * (15 - 10 * sigma**2 + 3 * sigma**4) / 8
    raise AssertionError


def fitted(R, S, p, degree):
    """Return the objective's coefficients and its minimizer, for a residual of its own."""
    run = started("inverse_root", np.eye(len(R)) - R, p)
    gram = moments(run, S, degree_of_residual(p, degree))
    c = objective(gram, p, degree)
    return c, float(minimizer(c, np.linspace(*alpha_interval(p, degree), GRID)))


# -- the fit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "degree"), CASES)
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_objective_is_that_of_dense_matrices(rng, p, degree, symmetric):
    n = 9
    R = with_eigenvalues(rng.uniform(-0.3, 1, n), rng)
    if not symmetric:
        R = 0.5 * R + 0.05 * rng.standard_normal((n, n))
    S = rng.standard_normal((n, 5))
    c, _ = fitted(R, S, p, degree)
    taylor = [1.0, 1.0 / p]
    for alpha in (*alpha_interval(p, degree), 0.9):
        g = alpha * np.linalg.matrix_power(R, degree)
        g += sum(taylor[k] * np.linalg.matrix_power(R, k) for k in range(degree))
        after = np.eye(n) - (np.eye(n) - R) @ np.linalg.matrix_power(g, p)
        dense_value = np.linalg.norm(after.T @ S) ** 2
        assert np.polynomial.polynomial.polyval(alpha, c) == pytest.approx(dense_value, rel=1e-10)


def test_the_objective_is_the_published_quartic(rng):
    """arXiv:2601.22137: coefficients by t_i = tr(S R^i S^T), all but the constant."""
    R = with_eigenvalues(rng.uniform(0, 1, 40), rng)
    S = rng.standard_normal((40, 5))
    t = [float(np.sum(S * (np.linalg.matrix_power(R, i) @ S))) for i in range(11)]
    cubic = (
        4 * t[3] - 4 * t[2],
        6 * t[4] - 10 * t[3] + 4 * t[2],
        4 * t[5] - 8 * t[4] + 4 * t[3],
        t[6] - 2 * t[5] + t[4],
    )
    quintic = (
        t[7] / 2 + 2 * t[6] + t[5] / 2 - 3 * t[4],
        1.5 * t[8] + 3 * t[7] - 4.5 * t[6] - 4 * t[5] + 4 * t[4],
        2 * t[9] - 6 * t[7] + 4 * t[6],
        t[10] - 2 * t[9] + t[8],
    )
    for degree, published in ((1, cubic), (2, quintic)):
        c, _ = fitted(R, S, 2, degree)
        np.testing.assert_allclose(c[1:], published, rtol=0, atol=1e-10 * t[2])


def test_the_minimizer_is_the_best_of_critical_points_and_ends(rng):
    grid = np.linspace(0.375, 1.45, GRID)
    c = rng.standard_normal((200, 5)) * [1, 1, 1, 1, 0.5]
    found = minimizer(c, grid)
    for coefs, alpha in zip(c, found, strict=True):
        P = np.polynomial.Polynomial(coefs)
        roots = P.deriv().roots()
        real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0.375) & (roots.real < 1.45)]
        best = min((0.375, 1.45, *real), key=P)
        # Two minima may be equal up to rounding; their values tell.
        assert P(alpha) == pytest.approx(P(best), abs=1e-13)
        assert alpha == pytest.approx(best, abs=1e-7)


def test_the_minimizer_of_a_constant_is_the_taylor_coefficient():
    assert minimizer(np.zeros((3, 5)), np.linspace(0.375, 1.45, GRID)).tolist() == [0.375] * 3


@pytest.mark.parametrize(("p", "degree"), CASES)
def test_values_are_those_of_g(p, degree):
    y, alpha = 0.3, 0.8
    g = 1 + (0.7 / p if degree == 2 else 0) + alpha * 0.7**degree
    values = step_values(alpha, p, degree)
    assert sum(value * y**k for k, value in enumerate(values)) == pytest.approx(g, rel=4 * EPS)


def test_intervals_end_where_fixed_steps_would_expand():
    expected = {(1, 1): 1.83, (1, 2): 4.0, (2, 1): 1.0, (2, 2): 1.45}
    expected |= {(3, 1): 0.63, (3, 2): 0.86, (4, 1): 0.48, (4, 2): 0.60}
    for (p, degree), upper in expected.items():
        lower, found = alpha_interval(p, degree)
        assert found == pytest.approx(upper, abs=0.006)
        assert lower == pytest.approx([1 / p, (p + 1) / (2 * p * p)][degree - 1])
    with pytest.raises(InputError, match="at least 1"):
        alpha_interval(0, 1)


def test_five_vectors_give_nearly_the_exact_coefficient(rng):
    errors = []
    for decades in (2, 4, 6):
        sigma = np.logspace(0, -decades, 24)
        x = sigma / np.linalg.norm(sigma)
        for _ in range(4):
            R = np.diag(1 - x**2)
            _, exact = fitted(R, np.eye(24), 2, 2)
            sketches = rng.standard_normal((10, 24, 5))
            errors += [abs(fitted(R, S, 2, 2)[1] - exact) for S in sketches]
            a, b, c = step_values(exact, 2, 2)
            x = x * (a + b * x**2 + c * x**4)
    assert np.median(errors) < 0.05


def test_a_sketch_costs_half_the_traces():
    run = started("polar", np.diag(np.linspace(0.01, 0.2, 40)), hermitian=False)
    next(Prism().steps(run))
    assert run.overhead.products == pytest.approx(5 * 5 / 40)
    assert run.overhead._replace(products=0.0) == (0.0,) * 6


# -- steps needed ------------------------------------------------------------------------------

SPECTRA = {
    # singular values, and the counts of PRISM3 and PRISM5 in arXiv:2601.22137's setting
    "log-uniform 1e2": (np.logspace(0, -2, 400), 13, 9),
    "log-uniform 1e4": (np.logspace(0, -4, 400), 20, 13),
    "log-uniform 1e6": (np.logspace(0, -6, 400), 26, 17),
    "log-uniform 1e8": (np.logspace(0, -8, 400), 33, 21),
    "cluster and outlier": (np.r_[np.ones(399), 1e-4], 19, 12),
    "1/j": (1 / np.arange(1.0, 401), 13, 9),
    "1/j^2": (1 / np.arange(1.0, 401) ** 2, 21, 14),
    "Gaussian 4:1": ((1600, 400), 9, 6),
    "Gaussian 50:1": ((5000, 100), 7, 5),
}


def singular_values(values, rng):
    if isinstance(values, tuple):
        values = np.linalg.svd(rng.standard_normal(values), compute_uv=False)
    return values / np.linalg.norm(values)


@pytest.mark.parametrize("name", SPECTRA)
def test_counts_of_the_quintic_fit(rng, name):
    values, _, most = SPECTRA[name]
    sigma = singular_values(values, rng)
    published = count(sigma, Prism(rescale=False))
    assert published <= most
    assert published < newton_schulz_count(sigma)
    assert count(sigma, Prism()) <= published


@pytest.mark.parametrize("name", ["log-uniform 1e2", "1/j", "Gaussian 4:1", "Gaussian 50:1"])
def test_counts_of_the_cubic_fit(rng, name):
    values, most, _ = SPECTRA[name]
    assert count(singular_values(values, rng), Prism(1, rescale=False)) <= most


@pytest.mark.parametrize(
    ("function", "p", "degree", "most", "classical"),
    [
        ("inverse_root", 1, 1, 13, 19),
        ("inverse_root", 1, 2, 8, 12),
        ("inverse_root", 2, 1, 11, 17),
        ("inverse_root", 2, 2, 7, 11),
        ("inverse_root", 3, 1, 11, 16),
        ("inverse_root", 4, 1, 10, 15),
        ("inverse_root", 4, 2, 7, 10),
        ("invsqrt", 2, 2, 7, 11),
    ],
)
def test_counts_of_inverse_roots(rng, function, p, degree, most, classical):
    w = np.logspace(0, -np.log10(KAPPA), 24)
    A = with_eigenvalues(w / np.linalg.norm(w), rng)
    run = finished(function, A, Prism(degree, rescale=False), p, tolerance=1e-10)
    assert len(run.taken) <= most < classical
    X = run.problem.answer(run.variables, 1.0)
    wanted = np.linalg.inv(np.linalg.matrix_power(X, p))
    # X^-p amplifies the error of X by its condition number, KAPPA at most.
    np.testing.assert_allclose(wanted, A, atol=KAPPA * 1e-10 * np.linalg.norm(A))


def test_inverses_of_general_matrices(rng):
    A = haar(12, rng) * np.logspace(0, -2, 12) @ haar(12, rng)
    A /= np.linalg.norm(A)
    for degree in (1, 2):
        run = finished("inv", A, Prism(degree), hermitian=False)
        assert np.linalg.norm(A @ run.variables.X - np.eye(12)) <= TOLERANCE


# -- the theorem and its hypothesis ------------------------------------------------------------


def test_the_theorem_bounds_every_step(rng):
    """Theorem 1: ``||I - X_k^2|| <= ||I - A^2||^(2^(k - 2))`` for d = 1 and the exact fit."""
    for _ in range(100):
        A = with_eigenvalues(rng.choice([-1, 1], 12) * 10 ** -rng.uniform(0, 2, 12), rng)
        run = started("sign", A)
        method = Prism(1, None, rescale=False).steps(run)
        first = np.linalg.norm(run.residual(), 2)
        for k in range(1, 30):
            run.variables = next(method)(run.algebra, run.variables)
            bound = first ** (2.0 ** (k - 2))
            if bound < 1e-10:
                break
            # ``1e-12`` is rounding of X^2 in 30 steps.
            assert np.linalg.norm(run.residual(), 2) <= bound * (1 + 1e-9) + 1e-12


METHODS = [Prism(1), Prism(), Prism(2, None), KrylovMinimax(), Hybrid(), PrismNewton()]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_rotation_is_refused(method):
    A = np.asarray([[0.0, -1.0], [1.0, 0.0]])
    run = started("sign", A, hermitian=False)
    with pytest.raises(BreakdownError, match=r"A\^2 must be Hermitian positive semidefinite"):
        next(method.steps(run))
    run = started("sign", A, hermitian=False)
    assert iterate(run, method, rtol=1e-10, maxiter=50) is Status.BROKE_DOWN
    assert "general matrices" in run.trouble


def test_a_hidden_rotation_is_refused_before_it_diverges(rng):
    A = np.diag(rng.uniform(0.3, 1, 30))
    A[:2, :2] = [[0.0, -1e-3], [1e-3, 0.0]]
    run = started("sign", A, hermitian=False)
    assert iterate(run, Prism(), rtol=1e-10, maxiter=50) is Status.BROKE_DOWN
    assert "a vector grew under R" in run.trouble
    assert np.linalg.norm(run.variables.X, 2) < 3


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_indefinite_matrix_has_no_fitted_root(method, rng):
    A = np.stack([np.eye(6) / 3, with_eigenvalues([0.9, 0.5, 0.4, 0.3, 0.2, -0.4], rng)])
    run = started("sqrt", A, 2)
    assert iterate(run, method, rtol=1e-10, maxiter=50) is Status.BROKE_DOWN
    assert "A must be Hermitian positive definite" in run.trouble
    assert "matrix 1 of the batch" in run.trouble


# -- PRISM-Newton ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_sketch", [5, None])
def test_newton_fitted(rng, n_sketch):
    n = 24
    G = haar(n, rng) * np.logspace(0, -6, n) @ haar(n, rng)
    run = finished("polar", G, PrismNewton(n_sketch), hermitian=False, tolerance=1e-10)
    assert len(run.taken) <= 7
    U, _, Vh = np.linalg.svd(G)
    # The polar factor has the condition number 1e6.
    np.testing.assert_allclose(run.variables.X, U @ Vh, atol=1e6 * 100 * EPS)
    X = G
    for _ in range(23):
        X = (X + np.linalg.inv(X).T) / 2
    assert np.linalg.norm(np.eye(n) - X.T @ X) > 1e-10  # Newton's method takes 24
    assert run.overhead.products == pytest.approx(len(run.taken) * 4 * (n_sketch or n) / n, rel=0.2)


def test_newton_fits_the_exact_quartic(rng):
    """Against the objective in powers of alpha, by dense matrices."""
    G = rng.standard_normal((8, 8)) / 8
    step = next(PrismNewton(None).steps(started("polar", G, hermitian=False)))
    E, H = np.eye(8) - G.T @ G, np.linalg.inv(G.T @ G)
    parts = [E, 2 * (G.T @ G) - 2 * np.eye(8), -(G.T @ G) + 2 * np.eye(8) - H]
    c = np.zeros(5)
    for i, j in itertools.product(range(3), range(3)):
        c[i + j] += np.sum(parts[i] * parts[j])
    roots = np.polynomial.Polynomial(c).deriv().roots()
    real = [root.real for root in roots if abs(root.imag) < 1e-9 and root.real > 0]
    best = min(real, key=np.polynomial.Polynomial(c))
    assert step.values[1] == pytest.approx(best, rel=1e-8)
    assert sum(step.values) == pytest.approx(1.0)


@pytest.mark.parametrize("function", ["sqrt", "invsqrt", "sign"])
def test_newton_for_signs_and_roots(rng, function):
    w = np.logspace(0, -4, 16)
    signs = rng.choice([-1.0, 1.0], 16) if function == "sign" else np.ones(16)
    A = with_eigenvalues(signs * w, rng)
    run = finished(function, A, PrismNewton())
    X = run.problem.answer(run.variables, 1.0)
    lam, Q = np.linalg.eigh(A)
    wanted = np.sign(lam) if function == "sign" else lam ** {"sqrt": 0.5, "invsqrt": -0.5}[function]
    scale = np.abs(wanted).max()
    # 1e4 is the condition number, TOLERANCE what the iteration was asked for.
    np.testing.assert_allclose(X, (Q * wanted) @ Q.T, atol=scale * (TOLERANCE + 1e4 * 100 * EPS))


def test_the_sketch_foresees_the_residual(rng):
    """A run of Newton's steps looks at the residual when the sketch says so, and not before."""
    run = finished("sign", with_eigenvalues(np.linspace(-1, 1, 20), rng), PrismNewton())
    looked = np.isfinite(run.history)
    assert looked[-1]
    assert looked.sum() <= 2
    assert run.estimate < 1.5 * TOLERANCE


# -- libraries, types, batches, and what is degenerate -----------------------------------------

POLYNOMIAL = [Prism(1), Prism(), Prism(2, 5, 2), Prism(2, None)]
NEWTON = ("polar", "sign", "sqrt")
FUNCTIONS = [("polar", 1), ("sign", 1), ("inv", 1), ("sqrt", 2), ("inverse_root", 3)]


def problems(rng, function, dtype=float):
    """Return a batch (2, 3, n, n) for a function, of norm below one."""
    B = rng.standard_normal((2, 3, 8, 8)).astype(dtype)
    if np.issubdtype(dtype, np.complexfloating):
        B = B + 1j * rng.standard_normal(B.shape)
    A = B if function == "polar" else np.conj(np.swapaxes(B, -1, -2)) @ B + np.eye(8)
    return A / np.linalg.norm(A, axis=(-2, -1), keepdims=True)


@pytest.mark.parametrize(
    ("method", "function", "p"),
    [
        *((method, *case) for method in POLYNOMIAL for case in FUNCTIONS),
        *((PrismNewton(), function, p) for function, p in FUNCTIONS if function in NEWTON),
    ],
)
def test_a_batch_is_its_matrices(rng, method, function, p):
    A = problems(rng, function)
    many = started(function, A, p)
    steps = method.steps(many)
    for _ in range(3):
        many.variables = next(steps)(many.algebra, many.variables)
    for index in np.ndindex(2, 3):
        one = started(function, A[index], p)
        steps = method.steps(one)
        for _ in range(3):
            one.variables = next(steps)(one.algebra, one.variables)
        # Minimizers differ by rounding over the curvature of the objective.
        np.testing.assert_allclose(many.variables.X[index], one.variables.X, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", [*POLYNOMIAL, PrismNewton()], ids=repr)
def test_torch_and_complex_numbers(rng, method):
    torch = pytest.importorskip("torch")
    for dtype in (np.float64, np.complex128):
        A = problems(rng, "polar", dtype)[0, :1]
        here = finished("polar", A, method, hermitian=False)
        for there in (torch.as_tensor(A), torch.as_tensor(A)[0]):
            run = finished("polar", there, method, hermitian=False)
            assert len(run.taken) == len(here.taken)
            X = run.variables.X.numpy().reshape(A.shape)
            np.testing.assert_allclose(X, here.variables.X, atol=1e-6)
        gram = np.conj(np.swapaxes(X, -1, -2)) @ X
        np.testing.assert_allclose(gram, np.eye(8)[None], atol=TOLERANCE)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_low_precision(rng, name):
    torch = pytest.importorskip("torch")
    G = torch.as_tensor(rng.standard_normal((3, 40, 20)), dtype=getattr(torch, name))
    run = started("polar", G / 40, hermitian=False)
    iterate(run, Prism(), rtol=1e-9, maxiter=10)
    assert run.variables.X.dtype == G.dtype
    s = np.linalg.svd(run.variables.X.float().numpy(), compute_uv=False)
    # A product of 20 rows rounds by sqrt(20) eps, a few times over.
    assert np.abs(s - 1).max() <= 8 * math.sqrt(20) * torch.finfo(G.dtype).eps


@pytest.mark.parametrize("method", POLYNOMIAL, ids=repr)
def test_degenerate_matrices(rng, method):
    assert count(np.asarray([0.3]), method) <= 8
    G = np.zeros((9, 6))
    G[:, :4] = rng.standard_normal((9, 4)) / 10
    run = started("polar", G, hermitian=False)
    iterate(run, method, rtol=1e-8, maxiter=40)
    s = np.linalg.svd(run.variables.X, compute_uv=False)
    np.testing.assert_allclose(s, [1, 1, 1, 1, 0, 0], atol=1e-8)
    empty = started("polar", np.zeros((0, 4, 4)), hermitian=False)
    assert iterate(empty, method, rtol=1e-8, maxiter=9) is Status.CONVERGED
    lost = started("polar", np.full((3, 3), np.nan), hermitian=False)
    assert iterate(lost, method, rtol=1e-8, maxiter=9) is Status.BROKE_DOWN


def test_warm_steps_take_the_largest_coefficient():
    run = started("polar", np.diag(np.logspace(0, -3, 30)) / 10, hermitian=False)
    steps = Prism(n_warm=2, rescale=False).steps(run)
    for _ in range(2):
        step = next(steps)
        assert step.values == pytest.approx((2.95, -3.4, 1.45))
        run.variables = step(run.algebra, run.variables)
    assert next(steps).values[2] < 1.45 + EPS


def test_steps_act_on_spectra_as_on_matrices(rng):
    sigma = rng.uniform(0.01, 1, 10)
    sigma /= np.linalg.norm(sigma)
    run = finished("polar", np.diag(sigma), Prism(), hermitian=False)
    v = Variables(sigma, None, sigma)
    for step in run.taken:
        v = step(SpectrumAlgebra(), v)
    np.testing.assert_allclose(v.X, np.diag(run.variables.X), rtol=1e-9)


def test_the_same_generator_gives_the_same_bits(rng):
    A = problems(rng, "polar")
    first, second = (finished("polar", A, Prism(), hermitian=False) for _ in range(2))
    assert (first.variables.X == second.variables.X).all()


def test_arguments_are_checked():
    for wrong in ({"degree": 3}, {"n_sketch": 0}, {"n_warm": -1}):
        with pytest.raises(InputError, match="Prism needs"):
            Prism(**wrong)
    with pytest.raises(InputError, match="n_sketch"):
        PrismNewton(0)
    with pytest.raises(InputError, match="inverse_root and multiply"):
        next(Prism().steps(started("root", np.eye(3) / 2, 3)))
    with pytest.raises(InputError, match="take prism"):
        next(PrismNewton().steps(started("inv", np.eye(3) / 2)))


def test_a_sketch_is_drawn_once_and_scaled(rng):
    run = started("polar", np.eye(50) / 10, hermitian=False)
    S = drawn(run, 400)
    assert S.shape == (50, 50)
    # 2500 entries of variance 1/50: their sum of squares is 50 up to 2 in the mean.
    assert np.sum(S**2) == pytest.approx(50, abs=10)


@pytest.mark.parametrize("verb", ["polar", "signm", "sqrtm", "invsqrtm", "inv"])
def test_verbs_take_the_method_by_name(rng, verb):
    A = with_eigenvalues(np.linspace(0.1, 1, 12), rng)
    found = getattr(dense, verb)(A, method="prism", rng=SEED, full_output=True)
    assert found.converged
    assert found.method.endswith("by prism")
