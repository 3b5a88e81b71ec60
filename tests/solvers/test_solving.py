"""The whole chain ``M = preconditioner(A); cg / minres / gmres(A, b, M=M)`` on hostile matrices.

Whatever is drawn: no wrong answer, no NaN, no hang, no error but spectool's own. Thresholds below
which matrices are too small for a polynomial are switched off, so that small ones get it.
"""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sla
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as hs
from strategies import FAMILIES, draw_spectrum, problems, scales, seeds

import spectool as st
from spectool.backends.generic import GenericBackend
from spectool.errors import (
    ConvergenceWarning,
    NotPositiveDefiniteError,
    SpectoolError,
    SpectralBoundWarning,
)
from spectool.operators import as_operator, jacobi_scale
from spectool.results import Status

EPS = np.finfo(float).eps
SEED = 318_250_947
TIME = 30.0
"""Seconds that no solve here comes near; TIMED_OUT is a failure."""
many = settings(
    max_examples=200,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
some = settings(many, max_examples=60)


@pytest.fixture
def eager(monkeypatch, fixed_costs):
    """Choose polynomials for small matrices, too."""
    monkeypatch.setattr("spectool.preconditioners.polynomial.WORTHWHILE", 0.0)
    monkeypatch.setattr("spectool.preconditioners.selection.WORTHWHILE", 0.0)
    monkeypatch.setattr("spectool.preconditioners.selection.FEWEST", 1)


def dense(A):
    return A.toarray() if sp.issparse(A) else np.asarray(A)


def solved(A, b, solution, rtol):
    """Check all that a solution promises; return whether it converged."""
    A, x = dense(A), solution.x
    assert np.isfinite(x).all()
    assert solution.status is not Status.TIMED_OUT
    wide = np.result_type(A, b, np.longdouble)
    A, b, x = (np.asarray(part, dtype=wide) for part in (A, b, x))
    true, size = np.linalg.norm(b - A @ x), np.linalg.norm(b)
    # Nobody can compute a residual better than this in the working precision.
    eps = float(np.finfo(solution.x.dtype).eps)
    rounding = 4 * len(b) * eps * (np.linalg.norm(np.abs(A) @ np.abs(x)) + size)
    assert abs(true - solution.residual_norm) <= 1e-6 * true + rounding
    if solution.converged:
        assert true <= (1 + 1e-6) * rtol * size + rounding
    return solution.converged


def run(solve, A, b, M, rtol=1e-8, **options):
    """Solve, with spectool's warnings and no others allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        return solve(A, b, M=M, rtol=rtol, max_time=TIME, **options)


def assert_definite(M, single=False):
    """M is Hermitian positive definite, seen in a scaling of unit diagonal."""
    D = M @ np.eye(M.shape[0], dtype=M.dtype)
    eps = np.finfo(np.float32).eps if single else EPS
    assert np.isfinite(D).all()
    assert (D.diagonal().real > 0).all()
    s = 1 / np.sqrt(D.diagonal().real)
    D = s[:, None] * D * s
    assert np.abs(D - D.conj().T).max() <= 1e4 * eps
    lam = np.linalg.eigvalsh(0.5 * (D + D.conj().T))
    assert lam[0] > -1e3 * eps * lam[-1]


OPTIONS = [
    {},
    {"precision": "float32"},
    {"scaling": None},
    {"degree": 3},
    {"degree": 8, "precision": "float32"},
    {"method": "chebyshev"},
    {"method": "chebyshev4", "degree": 16},
    {"method": "least_squares"},
    {"method": "minimax", "degree": 2},
    {"method": "jacobi"},
    {"method": "none"},
    {"base": "block_jacobi", "degree": 4},
    {"base": "own", "degree": 3},
    {"deflate": 3},
    {"deflate": 2, "degree": 4},
]
forms = hs.sampled_from(["csr", "dense", "operator"])


def in_form(A, form):
    return {"csr": A, "dense": A.toarray(), "operator": sla.aslinearoperator(A)}[form]


def own_base(A):
    """A user's matrix as the base: Jacobi."""
    return sp.csr_array(sp.diags_array(1.0 / A.diagonal().real))


@many
@given(
    problem=problems(max_n=100, max_log_cond=8),
    options=hs.sampled_from(OPTIONS),
    form=forms,
    is_complex=hs.booleans(),
)
def test_definite_matrices_are_solved(eager, problem, options, form, is_complex):
    A, lam, seed = problem
    rng = np.random.default_rng(seed)
    n = A.shape[0]
    b = rng.standard_normal(n)
    if is_complex:
        phases = sp.diags_array(np.exp(2j * np.pi * rng.random(n)))
        A = sp.csr_array(phases @ A @ phases.conj())
        A, b = 0.5 * (A + A.conj().T), b + 1j * rng.standard_normal(n)
    options = dict(options)
    if (form != "csr" and "base" in options) or options.get("method") == "jacobi":
        form = "csr"
    if options.get("base") == "own":
        options["base"] = own_base(A)
    X = in_form(A, form)
    try:
        M = st.preconditioner(X, rng=seed, **options)
    except NotPositiveDefiniteError:
        # rounding hides definiteness, or a design asked for is not positive
        assert lam[0] <= 1e6 * EPS * lam[-1] or options.get("method") in (
            "minimax",
            "least_squares",
        )
        return
    if n <= 30:
        assert_definite(M, options.get("precision") == "float32")
    for solve in (st.cg, st.minres):
        converged = solved(A, b, run(solve, X, b, M), 1e-8)
        assert converged or lam[0] < 1e-4 * lam[-1]
    x, info = sla.cg(A, b, M=M, rtol=1e-6, maxiter=20 * n)
    assert np.isfinite(x).all()
    if info == 0:
        left = np.linalg.norm(b - A @ x)
        assert left <= 2e-6 * np.linalg.norm(b) or lam[0] < 1e-6 * lam[-1]


@many
@given(
    problem=problems(max_n=80, max_log_cond=6, indefinite=True),
    options=hs.sampled_from(
        [{}, {"degree": 8}, {"degree": 3, "scaling": None}, {"method": "jacobi"}]
    ),
    form=forms,
)
def test_indefinite_matrices_are_solved_by_minres_and_gmres(eager, problem, options, form):
    A, lam, seed = problem
    b = np.random.default_rng(seed).standard_normal(A.shape[0])
    X = in_form(A, "csr" if "method" in options else form)
    if options.get("degree") and (lam < 0).all():
        with pytest.raises(NotPositiveDefiniteError, match="negate"):
            st.preconditioner(X, rng=seed, **options)
        return
    M = st.preconditioner(X, rng=seed, **options)
    if lam.size <= 30:
        assert_definite(M)
    size = np.abs(lam)
    for solve, more in ((st.minres, {}), (st.gmres, {"restart": lam.size})):
        converged = solved(A, b, run(solve, X, b, M, **more), 1e-8)
        assert converged or size.min() < 1e-2 * size.max()
    try:  # CG may be lucky; it may not lie
        solved(A, b, run(st.cg, X, b, M), 1e-8)
    except NotPositiveDefiniteError:
        assert lam[0] < 0


@some
@given(
    n=hs.integers(1, 60),
    seed=seeds,
    shift=hs.sampled_from([0.0, 0.1, 3.0]),
    unit=scales,
    options=hs.sampled_from([{}, {"method": "gmres_poly", "degree": 6}, {"degree": 0}]),
    form=forms,
)
def test_general_matrices(n, seed, shift, unit, options, form):
    rng = np.random.default_rng(seed)
    A = sp.random_array((n, n), density=min(1.0, 3 / n), rng=rng, data_sampler=rng.standard_normal)
    A = sp.csr_array(unit * (A + shift * sp.eye_array(n)))
    b = rng.standard_normal(n)
    try:
        M = st.preconditioner(in_form(A, form), rng=seed, assume_a="gen", **options)
    except SpectoolError:
        assert "method" in options  # a forced polynomial may not exist
        return
    solved(A, b, run(st.gmres, A, b, M, restart=n), 1e-8)


@some
@given(
    family=hs.sampled_from(sorted(FAMILIES)),
    n=hs.integers(1, 100),
    factor=hs.sampled_from([1e-6, 1e-2, 0.5, 0.9, 1.0, 2.0, 1e2, 1e6]),
    log_cond=hs.integers(0, 5),
    seed=seeds,
    label=hs.sampled_from([None, "symmetric"]),
    options=hs.sampled_from(
        [{}, {"degree": 4}, {"method": "chebyshev4"}, {"precision": "float32"}]
    ),
    form=hs.sampled_from(["csr", "operator"]),
)
def test_the_spectrum_of_another_matrix(
    eager, family, n, factor, log_cond, seed, label, options, form
):
    lam = draw_spectrum(family, n, 10.0**log_cond, seed)
    other = draw_spectrum(family, n, 10.0 ** (5 - log_cond), seed + 1) * factor
    A = st.gallery.random_spectrum(lam, rng=seed)
    B = st.gallery.random_spectrum(other, rng=seed)
    label = None if form == "operator" else label
    spectrum = st.estimate_spectrum(B, scaling=label, rng=seed)
    X = in_form(A, form)
    b = np.random.default_rng(seed).standard_normal(n)
    M = st.preconditioner(X, spectrum=spectrum, rng=seed, **options)
    designed = M.recurrence.interval[1]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        solutions = [(st.cg(X, b, M=M, rtol=1e-6, max_time=TIME))]
    assert {w.category for w in found} <= {SpectralBoundWarning, ConvergenceWarning}
    warned = any(w.category is SpectralBoundWarning for w in found)
    s = M.scale if label else np.ones(n)
    highest = np.linalg.eigvalsh(s[:, None] * A.toarray() * s)[-1] if s is not None else lam[-1]
    if M.recurrence.degree and options.get("precision") is None and highest > 1.5 * designed:
        assert warned
    solutions.append(run(st.minres, X, b, M, rtol=1e-6))
    for solution in solutions:
        converged = solved(A, b, solution, 1e-6)
        assert converged or lam[0] < 1e-4 * lam[-1]
    if n <= 30:
        assert_definite(M, "precision" in options)


def test_its_own_spectrum_saves_the_probe(eager):
    A = st.gallery.random_spectrum(st.gallery.log_uniform(90, 1e4, rng=SEED), rng=SEED)
    first = st.preconditioner(A, degree=8, rng=SEED)
    again = st.preconditioner(A, degree=8, spectrum=first.spectrum)
    b = np.random.default_rng(SEED).standard_normal(90)
    one, two = (run(st.cg, A, b, M) for M in (first, again))
    assert again.report.n_matvecs < first.report.n_matvecs
    assert one.x.tobytes() == two.x.tobytes()


# -- matrices that no theory likes -----------------------------------------------------------


@some
@given(
    n=hs.integers(1, 80),
    seed=seeds,
    density=hs.sampled_from([0.5, 1.0, 3.0]),
    unit=scales,
    options=hs.sampled_from([{}, {"degree": 4}, {"method": "chebyshev4"}, {"scaling": None}]),
    form=forms,
)
def test_singular_laplacians_with_consistent_right_hand_sides(
    eager, n, seed, density, unit, options, form
):
    rng = np.random.default_rng(seed)
    W = sp.random_array((n, n), density=min(1.0, density / n), rng=rng)
    W = sp.csr_array(W + W.T)
    W = W - sp.diags_array(W.diagonal())
    A = sp.csr_array(unit * (sp.diags_array(W.sum(axis=1)) - W))  # isolated vertices: empty rows
    b = A @ rng.standard_normal(n)
    X = in_form(A, form)
    if not b.any() and len(options) and options != {"scaling": None}:
        with pytest.raises(NotPositiveDefiniteError, match="A is zero"):
            st.preconditioner(X, rng=seed, **options)
        return
    M = st.preconditioner(X, rng=seed, **options)
    for solve, more in ((st.cg, {}), (st.minres, {}), (st.gmres, {"restart": n})):
        assert solved(A, b, run(solve, X, b, M, **more), 1e-8)


def test_an_isolated_vertex_costs_no_polynomial(eager):
    A = sp.block_diag([st.gallery.poisson((9, 9)), sp.csr_array((1, 1))], format="csr")
    M = st.preconditioner(A, degree=8, rng=SEED)
    assert M.recurrence.degree == 8
    assert_definite(M)
    b = A @ np.random.default_rng(SEED).standard_normal(82)
    assert solved(A, b, run(st.cg, A, b, M), 1e-8)
    assert "a[1, 1] = 0" in st.preconditioner(np.array([[2.0, 1.0], [1.0, 0.0]])).report.reason


@pytest.mark.parametrize("form", ["csr", "dense", "operator"])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_the_zero_matrix(eager, n, form):
    A = sp.csr_array((n, n))
    X = in_form(A, form)
    M = st.preconditioner(X, rng=SEED)
    assert_definite(M)
    for solve in (st.cg, st.minres, st.gmres):
        solution = run(solve, X, np.ones(n), M)
        assert solution.status is Status.STAGNATED
        solved(A, np.ones(n), solution, 1e-8)
        assert run(solve, X, np.zeros(n), M).converged


@pytest.mark.parametrize("value", [7, -7.0, np.float32(3.0), 1e-150, 1e150, 1j * 1j])
@pytest.mark.parametrize("options", [{}, {"precision": "float32"}, {"degree": 0}])
def test_one_by_one(eager, value, options):
    A = sp.csr_array(np.array([[value]]))
    M = st.preconditioner(A, **options)
    assert_definite(M)
    for solve in (st.minres, st.gmres):
        assert solved(A, np.array([3.0]), run(solve, A, np.array([3.0]), M, rtol=1e-6), 1e-6)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, bool])
def test_other_numbers(eager, dtype):
    A = st.gallery.poisson((8, 8))
    A = sp.csr_array(sp.eye_array(64) if dtype is bool else A).astype(dtype)
    b = np.arange(1, 65)
    M = st.preconditioner(A, degree=4 if dtype is not bool else None, rng=SEED)
    assert_definite(M, dtype is np.float32)
    for solve in (st.cg, st.minres, st.gmres):
        assert solved(A, b, run(solve, A, b, M, rtol=1e-5), 1e-5)


@some
@given(
    problem=problems(max_n=60, max_log_cond=3),
    reach=hs.sampled_from([10, 60]),
    options=hs.sampled_from([{}, {"degree": 8}, {"precision": "float32"}, {"method": "jacobi"}]),
)
def test_symmetric_scaling_by_extreme_units(eager, problem, reach, options):
    rng = np.random.default_rng(problem.seed)
    lam = problem.eigenvalues
    A = problem.A / lam[-1]
    n = A.shape[0]
    units = 10.0 ** rng.choice([-reach, 0, reach], n)
    B = sp.csr_array(sp.diags_array(units) @ A @ sp.diags_array(units))
    B = 0.5 * (B + B.T)
    b = units * rng.standard_normal(n)
    M = st.preconditioner(B, rng=problem.seed, **options)
    D = units[:, None] * (M @ np.eye(n)) * units  # the units cancel
    assert np.linalg.eigvalsh(0.5 * (D + D.T))[0] > 0
    solution = run(st.cg, B, b, M)
    solved(B, b, solution, 1e-8)


@some
@given(
    problem=problems(max_n=40, max_log_cond=3),
    seed=seeds,
    block=hs.booleans(),
    options=hs.sampled_from([{}, {"degree": 8}, {"scaling": None}]),
)
def test_saddle_points(eager, problem, seed, block, options):
    A = problem.A / problem.eigenvalues[-1]
    n = A.shape[0]
    m = max(n // 3, 1)
    B = sp.random_array((m, n), density=min(1.0, 4 / n), rng=np.random.default_rng(seed))
    K = sp.csr_array(sp.block_array([[A, B.T], [B, -sp.eye_array(m) if block else None]]))
    b = K @ np.random.default_rng(seed).standard_normal(n + m)
    M = st.preconditioner(K, rng=seed, **options)
    assert_definite(M)
    for solve, more in ((st.minres, {}), (st.gmres, {"restart": n + m})):
        assert solved(K, b, run(solve, K, b, M, **more), 1e-6) or not block


# -- what was found here ---------------------------------------------------------------------


@pytest.mark.parametrize("method", ["least_squares", "minimax"])
def test_a_degree_that_is_not_positive_is_left_out(eager, method):
    lam = draw_spectrum("clustered", 5, 1e7, 177_086_325)
    A = st.gallery.random_spectrum(lam, rounds=2, rng=177_086_325)
    with pytest.raises(NotPositiveDefiniteError, match="not be positive"):
        st.preconditioner(A, method=method, degree=32, rng=SEED)
    M = st.preconditioner(A, method=method, rng=SEED)
    assert 0 < M.recurrence.degree < 32
    assert_definite(M)


def test_deflating_a_singular_matrix_says_so():
    A = sp.csr_array(sp.diags_array(np.append(np.linspace(1.0, 2.0, 40), 0.0)))
    with pytest.raises(NotPositiveDefiniteError, match=r"(singular|positive definite)"):
        st.preconditioner(A, deflate=2, rng=SEED)


def test_a_wrong_unit_does_not_leave_the_range_of_single_precision(eager):
    A = st.gallery.random_spectrum(1e60 * np.linspace(1.0, 2.0, 40), rng=SEED)
    spectrum = st.estimate_spectrum(A / 1e60, rng=SEED)
    M = st.preconditioner(A, degree=4, spectrum=spectrum, precision="float32")
    b = np.ones(40)
    with pytest.warns(SpectralBoundWarning, match="outside"):
        solution = st.cg(A, b, M=M, rtol=1e-6)
    assert solved(A, b, solution, 1e-6)
    assert solution.converged


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_a_degree_is_obeyed_though_the_probe_sees_no_negative_ritz_value(unit):
    A = st.gallery.poisson((24, 24))
    B = sp.random_array((144, 576), density=4 / 576, rng=np.random.default_rng(1))
    K = sp.csr_array(unit * sp.block_array([[A, B.T], [B, None]]))
    M = st.preconditioner(K, degree=8, rng=1)
    assert M.recurrence.degree == 8
    b = K @ np.random.default_rng(1).standard_normal(720)
    assert solved(K, b, run(st.minres, K, b, M, maxiter=20_000), 1e-8)


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_dense_arrays_are_scaled_before_they_are_cast(unit):
    A = st.gallery.poisson((7, 7)).toarray()
    truth = GenericBackend(A).scaled(np.full(49, 0.5)).astype(np.float32)
    X = GenericBackend(unit * A).scaled(np.full(49, 0.5 / np.sqrt(unit))).astype(np.float32)
    x = np.random.default_rng(SEED).standard_normal(49).astype(np.float32)
    assert X.dtype == X.to_dense().dtype == np.float32
    np.testing.assert_allclose(X.to_dense(), truth.to_dense(), rtol=4 * np.finfo(np.float32).eps)
    size = np.abs(truth.to_dense()) @ np.abs(x)
    assert (np.abs(X.matmul(x) - truth.matmul(x)) <= 1e2 * np.finfo(np.float32).eps * size).all()


@pytest.mark.parametrize("form", ["csr", "dense"])
def test_zeros_on_the_diagonal_are_scaled_in_the_unit_of_the_matrix(form):
    rng = np.random.default_rng(SEED)
    A = sp.random_array((40, 40), density=0.1, rng=rng, data_sampler=rng.standard_normal)
    A = sp.csr_array(A + A.T)
    A.setdiag(np.where(np.arange(40) % 3, 0.0, 1.0 + np.arange(40)))  # zeros are stored
    hollow = sp.csr_array(A - sp.diags_array(A.diagonal()))
    empty = sp.block_diag([A, sp.csr_array((2, 2))], format="csr")
    for B in (A, hollow, empty):
        plain = jacobi_scale(as_operator(in_form(B, form)))
        zero = B.diagonal() == 0
        assert (plain[~zero] == 1 / np.sqrt(np.abs(B.diagonal()[~zero]))).all()
        assert np.ptp(plain[zero]) == 0
        for unit in (1e-100, 1e-6, 1e100):
            scaled = jacobi_scale(as_operator(in_form(unit * B, form)))
            # logarithms of entries are as large as 300
            np.testing.assert_allclose(scaled * np.sqrt(unit), plain, rtol=1e3 * EPS)
    assert (jacobi_scale(as_operator(in_form(sp.csr_array((3, 3)), form))) == 1).all()


def test_saddle_points_take_as_many_iterations_in_any_unit():
    A = st.gallery.poisson((16, 16))
    B = sp.random_array((64, 256), density=4 / 256, rng=np.random.default_rng(SEED))
    K = sp.csr_array(sp.block_array([[A, B.T], [B, None]]))
    b = K @ np.random.default_rng(SEED).standard_normal(320)
    for degree in (0, 8):
        counts = []
        for unit in (1.0, 1e-6, 1e6):
            M = st.preconditioner(unit * K, degree=degree, rng=SEED)
            counts.append(run(st.minres, unit * K, b, M).n_iterations)
        assert np.ptp(counts) <= 0.02 * counts[0]  # rounding differs


def test_a_diagonal_preconditioner_is_never_called_nonlinear():
    with pytest.warns(ConvergenceWarning):
        solution = st.gmres(np.diag([1.0, 0.0]), np.ones(2), M=st.preconditioner(np.eye(2)))
    assert "linear" not in solution.report
