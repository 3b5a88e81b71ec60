"""Preconditioners: definite as matrices, usable by anyone's solver, never a loss."""

import copy
import pickle

import numpy as np
import pyamg.krylov
import pytest
import scipy.sparse.linalg as sla
from hypothesis import assume, given, settings
from hypothesis import strategies as hs
from scipy import sparse
from strategies import problems

import spectool as st
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.planner.costs import StepRates
from spectool.polynomials import Recurrence
from spectool.preconditioners.monitor import ROUNDS

EPS = np.finfo(float).eps
SEED = 927364518
DESIGNS = [
    {"method": "chebyshev"},
    {"method": "chebyshev4"},
    {"degree": 2},
    {"degree": 8, "method": "chebyshev"},
    {"degree": 16, "method": "chebyshev4"},
    {"degree": 5, "method": "chebyshev4"},
    {"degree": 4, "scaling": None},
]
POISSON = st.gallery.poisson((17, 16))
JUMP = st.gallery.jump((17, 16), 1e4)


def dense(M):
    return M @ np.eye(M.shape[0], dtype=M.dtype)


def complex_hermitian(n, seed=SEED):
    rng = np.random.default_rng(seed)
    B = sparse.random_array((n, n), density=3 / n, rng=rng) + 1j * sparse.random_array(
        (n, n), density=3 / n, rng=rng
    )
    A = sparse.csr_array(B + B.conj().T)
    shift = abs(A).sum(axis=1).max() + 0.02
    return sparse.csr_array(A + shift * sparse.eye_array(n))


class Counting(sla.LinearOperator):
    """Counts products from outside, one per column."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self.A = A
        self.count = 0

    def _matvec(self, x):
        self.count += 1
        return self.A @ x

    def _matmat(self, X):
        self.count += X.shape[1]
        return self.A @ X

    def _adjoint(self):
        return self


# -- definiteness ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", DESIGNS, ids=str)
@pytest.mark.parametrize("A", [POISSON, JUMP], ids=["poisson", "jump"])
def test_positive_definite_and_close_to_the_inverse(A, options):
    M = st.preconditioner(A, rng=SEED, **options)
    D = dense(M)
    assert np.abs(D - D.T).max() <= 1e4 * EPS * np.abs(D).max()
    assert np.linalg.eigvalsh(0.5 * (D + D.T))[0] > 0
    # Eigenvalues of M A lie around 1, and are less spread than those of Jacobi's D^-1 A.
    s = 1 / np.sqrt(A.diagonal())
    plain = np.linalg.cond(s[:, None] * A.toarray() * s)
    root = np.linalg.cholesky(0.5 * (D + D.T))
    lam = np.linalg.eigvalsh(root.T @ A.toarray() @ root)
    if options.get("scaling", "auto") == "auto":
        assert lam[-1] < 2.01
        assert lam[-1] / lam[0] < 0.5 * plain


@settings(max_examples=60)
@given(
    problem=problems(max_n=80, max_log_cond=10),
    method=hs.sampled_from(["chebyshev", "chebyshev4"]),
    degree=hs.sampled_from([None, 0, 2, 4, 8, 32]),
)
def test_positive_definite_on_drawn_spectra(problem, method, degree):
    A = problem.A
    try:
        M = st.preconditioner(A, method=method, degree=degree, rng=problem.seed)
    except NotPositiveDefiniteError:
        # allowed only where rounding hides definiteness
        assume(problem.eigenvalues[0] <= 1e4 * EPS * problem.eigenvalues[-1])
        return
    assert M.recurrence.degree == degree or degree is None
    # Scaled to the matrix's size, so that 1e-100 and 1e100 can be compared with 0.
    D = dense(M) * problem.eigenvalues[-1]
    D = 0.5 * (D + D.T)
    assert np.isfinite(D).all()
    lam = np.linalg.eigvalsh(D)
    assert lam[0] > -1e3 * EPS * lam[-1]
    scale = M.scale if M.scale is not None else 1.0
    exact = np.linalg.eigvalsh((A.toarray() * scale).T * scale)
    assert (M.recurrence(np.maximum(exact, 0)) > 0).all()


# -- in other people's solvers ---------------------------------------------------------------

AUTO_AND_FORCED = [{}, {"method": "chebyshev", "degree": 8}, {"method": "chebyshev4", "degree": 16}]


@pytest.mark.parametrize("options", AUTO_AND_FORCED, ids=str)
@pytest.mark.parametrize("solver", [sla.cg, sla.minres, sla.gmres])
@pytest.mark.parametrize("A", [POISSON, JUMP], ids=["poisson", "jump"])
def test_scipy_solvers(solver, options, A, rng):
    M = st.preconditioner(A, rng=SEED, **options)
    b = rng.standard_normal(A.shape[0])
    rtol = 1e-11 if solver is sla.minres else 1e-8  # minres stops on a preconditioned norm
    x, info = solver(A, b, M=M, rtol=rtol)
    assert info == 0
    assert np.linalg.norm(A @ x - b) <= 1.1e-8 * np.linalg.norm(b) * (10 if rtol < 1e-8 else 1)


@pytest.mark.parametrize("options", AUTO_AND_FORCED, ids=str)
def test_lobpcg(options):
    M = st.preconditioner(POISSON, rng=SEED, **options)
    X = np.random.default_rng(SEED).standard_normal((POISSON.shape[0], 4))
    w, _ = sla.lobpcg(POISSON, X, M=M, largest=False, tol=1e-8, maxiter=400)
    exact = np.sort(st.gallery.poisson_eigenvalues((17, 16)).ravel())[:4]
    np.testing.assert_allclose(np.sort(w), exact, rtol=1e-9)


@pytest.mark.parametrize("name", ["cg", "gmres"])
def test_pyamg_solvers(name, rng):
    M = st.preconditioner(JUMP, method="chebyshev4", degree=8, rng=SEED)
    b = rng.standard_normal(JUMP.shape[0])
    options = {"restart": 60} if name == "gmres" else {}
    A = sparse.csr_matrix(JUMP)
    x, info = getattr(pyamg.krylov, name)(A, b, M=M, tol=1e-9, maxiter=400, **options)
    assert info == 0
    assert np.linalg.norm(JUMP @ x - b) <= 1e-6 * np.linalg.norm(b)


def iterations(A, b, M):
    seen = []
    _, info = sla.cg(A, b, M=M, rtol=1e-8, callback=lambda x: seen.append(1))
    assert info == 0
    return len(seen)


@pytest.mark.parametrize("method", ["chebyshev", "chebyshev4"])
def test_iterations_fall_about_like_the_degree(method, rng):
    A = st.gallery.poisson((60, 60))
    b = rng.standard_normal(3600)
    plain = iterations(A, b, None)
    for degree in (4, 8, 16):
        M = st.preconditioner(A, method=method, degree=degree, rng=SEED)
        assert iterations(A, b, M) * (degree + 1) <= 1.5 * plain


def test_scaling_matters_where_coefficients_jump(rng):
    A, b = JUMP, rng.standard_normal(JUMP.shape[0])
    scaled = st.preconditioner(A, method="chebyshev4", degree=8, rng=SEED)
    unscaled = st.preconditioner(A, method="chebyshev4", degree=8, scaling=None, rng=SEED)
    assert scaled.scale is not None
    assert unscaled.scale is None
    assert iterations(A, b, scaled) < iterations(A, b, unscaled)


@settings(max_examples=60)
@given(problem=problems(max_n=100, max_log_cond=6))
def test_never_worse_than_jacobi(problem):
    A = problem.A
    b = np.random.default_rng(problem.seed).standard_normal(A.shape[0])
    M = st.preconditioner(A, rng=problem.seed)
    jacobi = st.preconditioner(A, method="jacobi")
    budget = 60 * A.shape[0] + 60

    def solve(M):
        x, info = sla.cg(A, b, M=M, rtol=1e-6, maxiter=budget)
        assert np.isfinite(x).all()
        true = np.linalg.norm(A @ x - b) <= 1e-5 * np.linalg.norm(b)
        return info == 0 and true

    assert solve(M) or not solve(jacobi)


@settings(max_examples=40)
@given(
    problem=problems(max_n=100, max_log_cond=5),
    method=hs.sampled_from(["chebyshev", "chebyshev4"]),
    degree=hs.sampled_from([2, 8]),
)
def test_forced_polynomials_converge_where_jacobi_does(problem, method, degree):
    A = problem.A
    b = np.random.default_rng(problem.seed).standard_normal(A.shape[0])
    M = st.preconditioner(A, method=method, degree=degree, rng=problem.seed)
    x, info = sla.cg(A, b, M=M, rtol=1e-6, maxiter=60 * A.shape[0] + 60)
    assert info == 0
    assert np.linalg.norm(A @ x - b) <= 1e-5 * np.linalg.norm(b)


# -- the operator ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [*DESIGNS, {"method": "jacobi"}], ids=str)
def test_operator_contract(options, rng):
    M = st.preconditioner(JUMP, rng=SEED, **options)
    n = JUMP.shape[0]
    assert isinstance(M, sla.LinearOperator)
    assert M.shape == (n, n)
    assert M.dtype == np.float64
    assert M.H is M
    assert isinstance(M.recurrence, Recurrence)
    X = rng.standard_normal((n, 3))
    Y = M @ X
    for j in range(3):
        column = M @ X[:, j]
        np.testing.assert_allclose(Y[:, j], column, atol=1e3 * EPS * np.abs(column).max())
    y = M @ X[:, :1]
    assert y.shape == (n, 1)
    assert (M @ np.ones(n, dtype=int)).dtype == np.float64
    z = M @ (X[:, 0] + 1j * X[:, 1])
    np.testing.assert_allclose(z, Y[:, 0] + 1j * Y[:, 1], atol=1e4 * EPS * np.abs(z).max())


@pytest.mark.parametrize("options", DESIGNS, ids=str)
@pytest.mark.parametrize("duplicate", [lambda M: pickle.loads(pickle.dumps(M)), copy.deepcopy])
def test_copies_compute_the_same_bits(options, duplicate, rng):
    M = st.preconditioner(JUMP, rng=SEED, **options)
    twin, x = duplicate(M), rng.standard_normal(JUMP.shape[0])
    assert np.array_equal(twin @ x, M @ x)
    assert twin.report == M.report


@pytest.mark.parametrize("A", [POISSON, JUMP], ids=["poisson", "jump"])
def test_single_precision_inside(A, rng):
    options = {"method": "chebyshev4", "degree": 8, "rng": SEED}
    M = st.preconditioner(A, precision="float32", **options)
    full = st.preconditioner(A, **options)
    x = rng.standard_normal(A.shape[0])
    assert M.dtype == np.float64
    assert (M @ x).dtype == np.float64
    error = np.linalg.norm(M @ x - full @ x) / np.linalg.norm(full @ x)
    assert 0 < error <= 100 * np.finfo(np.float32).eps
    z = x + 1j * x[::-1]
    error = np.linalg.norm(M @ z - full @ z) / np.linalg.norm(full @ z)
    assert 0 < error <= 100 * np.finfo(np.float32).eps
    assert iterations(A, x, M) <= iterations(A, x, full) + 3


def test_float32_matrix(rng):
    A = JUMP.astype(np.float32)
    M = st.preconditioner(A, method="chebyshev4", degree=8, rng=SEED)
    assert M.dtype == np.float32
    b = rng.standard_normal(A.shape[0]).astype(np.float32)
    assert (M @ b).dtype == np.float32
    x, info = sla.cg(A, b, M=M, rtol=1e-4)
    assert info == 0
    assert x.dtype == np.float32


def test_complex_hermitian(rng):
    A = complex_hermitian(300)
    M = st.preconditioner(A, method="chebyshev", degree=4, rng=SEED)
    D = dense(M)
    assert M.dtype == np.complex128
    np.testing.assert_allclose(D, D.conj().T, atol=1e3 * EPS * np.abs(D).max())
    assert np.linalg.eigvalsh(D)[0] > 0
    b = rng.standard_normal(300) + 1j * rng.standard_normal(300)
    x, info = sla.cg(A, b, M=M, rtol=1e-9)
    assert info == 0
    assert np.linalg.norm(A @ x - b) <= 1e-8 * np.linalg.norm(b)


# -- costs and reports -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"method": "chebyshev", "degree": 4}, {"degree": 0}])
@pytest.mark.parametrize("assume_a", [None, "her", "pos"])
def test_every_matvec_is_counted(options, assume_a, rng):
    counting = Counting(st.gallery.poisson((30, 30)))
    M = st.preconditioner(counting, assume_a=assume_a, rng=SEED, **options)
    assert M.report.n_matvecs == M.n_matvecs == counting.count
    M @ rng.standard_normal(900)
    M @ rng.standard_normal((900, 3))
    assert M.n_matvecs == counting.count
    # A LinearOperator is watched while it is used for the first times.
    watched = sum(ROUNDS[:2]) if M.recurrence.degree else 0
    assert M.n_matvecs == M.report.n_matvecs + 4 * M.recurrence.degree + watched


def test_report_explains(fixed_costs):
    A = st.gallery.poisson((150, 150))
    M = st.preconditioner(A, rng=SEED)
    report = M.report
    assert report.n_matvecs == M.spectrum.n_matvecs <= 24
    assert report.elapsed > 0
    assert len(report.candidates) > 5
    seconds = [c.seconds for c in report.candidates]
    assert seconds == sorted(seconds)
    assert "identity" in {c.method for c in report.candidates}
    assert len({c.degree for c in report.candidates}) == len(report.candidates)
    for c in report.candidates:
        assert c.matvecs == c.iterations * (c.degree + 1)
    text = str(report)
    assert report.chosen in text
    assert report.reason in text
    assert "predicted s" in text
    assert report.chosen in repr(M)


def test_predictions_rank_iterations(fixed_costs, rng):
    """Counts are trusted to a factor of three, and the ranking by degree is exact."""
    A = st.gallery.poisson((80, 80))
    b = rng.standard_normal(6400)
    predicted = {}
    for degree in (2, 8, 32):
        M = st.preconditioner(A, method="chebyshev4", degree=degree, rng=SEED)
        (candidate,) = [c for c in M.report.candidates if c.degree == degree]
        predicted[degree] = candidate.iterations
        assert 1 / 3 <= candidate.iterations / iterations(A, b, M) <= 3
    assert predicted[2] > predicted[8] > predicted[32]


def test_given_spectrum_costs_no_probe(fixed_costs):
    for A in (POISSON, JUMP):
        first = st.preconditioner(A, method="chebyshev", degree=4, rng=SEED)
        again = st.preconditioner(A, method="chebyshev", degree=4, spectrum=first.spectrum)
        assert first.report.n_matvecs > 0
        assert again.report.n_matvecs == 0
        assert np.array_equal(again.recurrence.w, first.recurrence.w)
        x = np.ones(A.shape[0])
        assert np.array_equal(first @ x, again @ x)
    scaled = st.estimate_spectrum(JUMP, scaling="symmetric", rng=SEED)
    M = st.preconditioner(JUMP, spectrum=scaled, degree=4)
    assert M.scale is not None
    assert M.report.n_matvecs == 0
    unscaled = st.estimate_spectrum(JUMP, rng=SEED)
    assert st.preconditioner(JUMP, spectrum=unscaled, degree=4).scale is None


def test_easy_problems_get_no_polynomial(fixed_costs):
    n = 2000
    rng = np.random.default_rng(SEED)
    easy = sparse.csr_array(
        sparse.random_array((n, n), density=2 / n, rng=rng) * 0.01 + sparse.eye_array(n)
    )
    easy = 0.5 * (easy + easy.T)
    for A in (easy, POISSON, st.gallery.jump((10, 10))):
        M = st.preconditioner(A, rng=SEED)
        assert M.recurrence.degree == 0
        assert M.report.n_matvecs <= 24
        assert "Jacobi" in M.report.chosen or "identity" in M.report.chosen


def test_hard_problems_get_a_polynomial_where_steps_are_cheap(monkeypatch, fixed_costs):
    """With fused steps at half the price of products and dots, a polynomial must win."""
    import dataclasses

    rates = dataclasses.replace(fixed_costs.cached, vector=5e-9)
    dear = dataclasses.replace(fixed_costs, cached=rates, memory=rates)
    steps = StepRates(alone=5e-11, cached=5e-11, memory=5e-11, call=1e-5)
    monkeypatch.setattr("spectool.planner.costs.machine_costs", lambda: dear)
    monkeypatch.setattr("spectool.planner.costs.format_rates", lambda *_: steps)
    M = st.preconditioner(st.gallery.poisson((120, 120)), rng=SEED)
    assert M.recurrence.degree >= 2


@pytest.mark.parametrize("degree", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("method", ["chebyshev", "chebyshev4"])
def test_degree_is_obeyed(method, degree):
    M = st.preconditioner(POISSON, method=method, degree=degree, rng=SEED)
    assert M.recurrence.degree == degree


def test_forced_trivial_methods(rng):
    x = rng.standard_normal(JUMP.shape[0])
    jacobi = st.preconditioner(JUMP, method="jacobi")
    np.testing.assert_allclose(jacobi @ x, x / JUMP.diagonal(), rtol=10 * EPS)
    assert jacobi.report.n_matvecs == 0
    none = st.preconditioner(JUMP, method="none")
    np.testing.assert_allclose(none @ x, x, rtol=10 * EPS)
    assert none.report.n_matvecs == 0


@pytest.mark.parametrize("diagonal", [np.ones(7), np.full(7, 3.0), np.arange(1.0, 8), [5.0]])
@pytest.mark.parametrize("scaling", ["auto", "symmetric", None])
def test_diagonal_matrices(diagonal, scaling):
    A = sparse.csr_array(np.diag(diagonal))
    M = st.preconditioner(A, scaling=scaling, rng=SEED)
    n = len(diagonal)
    assert M.recurrence.degree == 0
    if scaling is not None or "inverse" in M.report.reason:
        np.testing.assert_allclose(dense(M), np.diag(1 / np.asarray(diagonal)), rtol=10 * EPS)
    assert np.isfinite(M @ np.ones(n)).all()


@pytest.mark.parametrize("value", [1e-150, 2.0, 1e150])
def test_one_by_one(value):
    M = st.preconditioner(np.array([[value]]))
    np.testing.assert_allclose(M @ np.ones(1), 1 / value, rtol=10 * EPS)


def test_linear_operator_input(rng):
    A = sla.aslinearoperator(POISSON)
    b = rng.standard_normal(POISSON.shape[0])
    for options in ({}, {"method": "chebyshev", "degree": 4}, {"method": "none"}):
        M = st.preconditioner(A, rng=SEED, **options)
        assert M.scale is None
        x, info = sla.cg(A, b, M=M, rtol=1e-8)
        assert info == 0
        assert np.linalg.norm(A @ x - b) <= 1.1e-8 * np.linalg.norm(b)
    with pytest.raises(InputError, match="diagonal"):
        st.preconditioner(A, method="jacobi")
    with pytest.raises(InputError, match="diagonal"):
        st.preconditioner(A, scaling="symmetric")


# -- indefinite ------------------------------------------------------------------------------

SHIFTED = sparse.csr_array(st.gallery.poisson((40, 40)) - 0.9 * sparse.eye_array(1600))
NEGATIVE = -POISSON
SADDLE = sparse.csr_array(
    sparse.block_array(
        [[POISSON, sparse.eye_array(272)], [sparse.eye_array(272), None]], format="csr"
    )
)


@pytest.mark.parametrize("A", [SHIFTED, SADDLE, NEGATIVE], ids=["shifted", "saddle", "negative"])
@pytest.mark.parametrize("options", [{}, {"degree": 8}, {"method": "jacobi"}], ids=str)
def test_indefinite_gets_a_definite_preconditioner(A, options, rng):
    if A is NEGATIVE and "degree" in options:
        with pytest.raises(NotPositiveDefiniteError, match="-A"):
            st.preconditioner(A, rng=SEED, **options)
        return
    M = st.preconditioner(A, rng=SEED, **options)
    D = dense(M)
    np.testing.assert_allclose(D, D.T, atol=1e-12 * np.abs(D).max())
    assert np.linalg.eigvalsh(D)[0] > 0
    if "method" not in options:
        assert "not positive definite" in M.report.reason or "too small" in M.report.reason
    b = rng.standard_normal(A.shape[0])
    x, info = sla.minres(A, b, M=M, rtol=1e-10, maxiter=20_000)
    assert info == 0
    assert np.linalg.norm(A @ x - b) <= 1e-6 * np.linalg.norm(b)


@pytest.mark.parametrize("A", [SHIFTED, SADDLE, NEGATIVE], ids=["shifted", "saddle", "negative"])
@pytest.mark.parametrize(
    "options", [{"method": "chebyshev"}, {"method": "chebyshev4"}, {"method": "least_squares"}]
)
def test_forced_on_indefinite_raises(A, options):
    with pytest.raises(NotPositiveDefiniteError, match="positive definite"):
        st.preconditioner(A, rng=SEED, **options)


def test_zero_matrix():
    A = sparse.csr_array((9, 9))
    M = st.preconditioner(A, rng=SEED)
    assert np.array_equal(M @ np.ones(9), np.ones(9))
    with pytest.raises(NotPositiveDefiniteError):
        st.preconditioner(A, method="chebyshev")


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"degree": -1},
        {"degree": 2.0},
        {"degree": True},
        {"method": "amg"},
        {"scaling": "jacobi"},
        {"precision": "float16"},
        {"spectrum": (0.0, 8.0)},
        {"spectrum": st.estimate_spectrum(st.gallery.poisson((5, 5)), rng=SEED)},
        {"assume_a": "symmetric"},
        {
            "scaling": "symmetric",
            "spectrum": st.estimate_spectrum(POISSON, rng=SEED),
        },
    ],
    ids=str,
)
def test_malformed_options(options):
    with pytest.raises(InputError):
        st.preconditioner(POISSON, **options)


def test_same_rng_same_choice(fixed_costs):
    A = st.gallery.poisson((120, 120))
    one, two = (st.preconditioner(A, rng=np.random.default_rng(SEED)) for _ in range(2))
    assert one.report.chosen == two.report.chosen
    x = np.linspace(-1, 1, A.shape[0])
    assert np.array_equal(one @ x, two @ x)


@pytest.mark.parametrize("execution", ["sell", {"format": "sell"}, 3])
def test_execution_must_be_an_execution(execution):
    with pytest.raises(InputError, match="execution"):
        st.preconditioner(st.gallery.poisson((5, 5)), execution=execution)


def test_an_execution_cannot_be_forced_on_products_alone():
    A = sla.aslinearoperator(st.gallery.poisson((12, 12)))
    forced = st.Execution(format="sell")
    with pytest.raises(InputError, match="stored entries"):
        st.preconditioner(A, method="chebyshev", degree=4, execution=forced, rng=SEED)


# -- other designs, general matrices, bases --------------------------------------------------


@pytest.mark.parametrize("method", ["least_squares", "minimax"])
@pytest.mark.parametrize("degree", [2, 8])
def test_other_designs_solve(method, degree, rng):
    A = st.gallery.diffusion(rng.uniform(0.5, 2, (30, 30)))
    M = st.preconditioner(A, method=method, degree=degree, rng=SEED)
    assert M.recurrence.degree == degree
    assert method.split("_")[0] in M.report.chosen
    b = rng.standard_normal(900)
    solution = st.cg(A, b, M=M, rtol=1e-9)
    assert solution.converged
    plain = st.cg(A, b, M=st.preconditioner(A, method="jacobi"), rtol=1e-9)
    assert solution.n_iterations < 0.6 * plain.n_iterations


def test_general_matrices_get_the_gmres_polynomial(rng):
    A = st.gallery.convection_diffusion((30, 30))
    M = st.preconditioner(A, rng=SEED)
    assert type(M).__name__ == "GeneralPreconditioner"
    b = rng.standard_normal(900)
    solution = st.gmres(A, b, M=M, rtol=1e-9)
    assert solution.converged
    assert solution.n_iterations < st.gmres(A, b, rtol=1e-9).n_iterations
    with pytest.raises(InputError, match="Hermitian"):
        st.preconditioner(A, method="chebyshev")
    for options in ({"precision": "float32"}, {"scaling": "symmetric"}, {"deflate": 3}):
        with pytest.raises(InputError, match=next(iter(options))):
            st.preconditioner(A, rng=SEED, **options)


def test_gmres_polynomial_of_a_hermitian_matrix(rng):
    A = st.gallery.poisson((40, 40))
    M = st.preconditioner(A, method="gmres_poly", degree=12, rng=SEED)
    b = rng.standard_normal(1600)
    solution = st.gmres(A, b, M=M, rtol=1e-8)
    assert solution.converged
    assert 4 * solution.n_iterations < st.gmres(A, b, rtol=1e-8).n_iterations


def test_bases_are_sent_to_their_designers(rng):
    A = st.gallery.poisson((24, 24))
    b = rng.standard_normal(576)
    inverse = sparse.diags_array(1.0 / A.diagonal())
    for base, kind in [
        ("jacobi", "Preconditioner"),
        ("block_jacobi", "BlockJacobi"),
        ("amg", "AmgPreconditioner"),
        (inverse, "ComposedPreconditioner"),
    ]:
        M = st.preconditioner(A, base=base, rng=SEED)
        assert type(M).__name__ == kind
        assert st.cg(A, b, M=M, rtol=1e-9).converged
        assert M.n_matvecs >= M.report.n_matvecs
    for options, match in [
        ({"base": "ilu"}, "base"),
        ({"base": inverse, "precision": "float32"}, "precision"),
        ({"base": "amg", "spectrum": st.estimate_spectrum(A, rng=SEED)}, "spectrum"),
        ({"base": "block_jacobi", "method": "minimax"}, "method"),
    ]:
        with pytest.raises(InputError, match=match):
            st.preconditioner(A, rng=SEED, **options)
    with pytest.raises(InputError, match="Hermitian"):
        st.preconditioner(st.gallery.convection_diffusion((8, 8)), base="block_jacobi")


def test_deflation_by_number_and_by_vectors(rng):
    values = np.concatenate([np.geomspace(1e-5, 1e-4, 8), np.linspace(1.0, 4.0, 392)])
    A = st.gallery.random_spectrum(values, rng=SEED)
    b = rng.standard_normal(400)
    plain = st.preconditioner(A, method="jacobi")
    deflated = st.preconditioner(A, method="jacobi", deflate=8, rng=SEED)
    again = st.preconditioner(A, method="jacobi", deflate=deflated.vectors, rng=SEED)
    counts = [st.cg(A, b, M=M, rtol=1e-8).n_iterations for M in (plain, deflated, again)]
    assert max(counts[1:]) < 0.5 * counts[0]
    assert deflated.n_matvecs > again.n_matvecs  # the vectors were paid for


def test_report_tells_what_applications_cost(rng):
    A = st.gallery.poisson((30, 30))
    M = st.preconditioner(A, method="chebyshev4", degree=4, rng=SEED)
    assert M.report.n_applied == 0
    assert "applied" not in str(M.report)
    solution = st.cg(A, rng.standard_normal(900), M=M, rtol=1e-8)
    M @ rng.standard_normal((900, 3))
    assert M.report.n_applied == solution.n_iterations + 3
    assert M.report.seconds_applied > 0
    assert f"applied to {M.report.n_applied} vectors" in str(M.report)


def test_large_matrices_are_tested_for_symmetry_by_products(monkeypatch, rng):
    monkeypatch.setattr("spectool.operators.operator.COMPARED", 100)
    A = st.gallery.diffusion(rng.uniform(0.5, 2, (30, 30)))
    M = st.preconditioner(A, method="jacobi")
    assert M.n_matvecs == 2
    wrong = A.copy()
    wrong.data[7] *= 1 + 1e-8  # seen by two random vectors all the same
    assert type(st.preconditioner(wrong, rng=SEED)).__name__ == "GeneralPreconditioner"
    with pytest.raises(InputError, match="Hermitian"):
        st.cg(wrong, np.ones(900))
    rounded = A.copy()
    rounded.data *= 1 + 1e-15 * rng.standard_normal(A.nnz)
    assert st.cg(rounded, np.ones(900), M=M).converged
    huge = 1e200 * A  # norms of products overflow: entries are compared after all
    assert st.cg(huge, np.ones(900), M=st.preconditioner(huge, method="jacobi")).converged


def test_degrees_that_no_network_knows_are_simulated(fixed_costs):
    M = st.preconditioner(st.gallery.poisson((60, 60)), degree=64, rng=SEED)
    methods = [candidate.method for candidate in M.report.candidates if candidate.degree]
    assert sorted(methods) == ["chebyshev", "chebyshev", "chebyshev4"]
    assert M.recurrence.degree == 64
