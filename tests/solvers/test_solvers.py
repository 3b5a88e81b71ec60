"""cg, and what all solvers promise: true residuals, counts, limits, callbacks, hostile input."""

import itertools
import re
import warnings

import numpy as np
import pytest
import reference
import scipy.sparse.linalg as sla
from hypothesis import given, settings
from scipy import sparse
from strategies import problems

import spectool as st
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError
from spectool.results import Status
from spectool.solvers import cg, gmres, minres

SOLVERS = [cg, minres, gmres]
EPS = np.finfo(float).eps
POISSON = st.gallery.poisson((15, 14))
N = POISSON.shape[0]
FAILED = (Status.MAXITER, Status.STAGNATED, Status.TIMED_OUT, Status.BROKE_DOWN)
each_solver = pytest.mark.parametrize("solve", SOLVERS)


def right_hand_side(n, seed=518273946):
    return np.random.default_rng(seed).standard_normal(n)


def quietly(solve, *args, **options):
    """Solve; a solution that did not converge must have warned, a converged one must not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution = solve(*args, **options)
    categories = {warning.category for warning in caught}
    assert categories == ({ConvergenceWarning} if solution.status in FAILED else set())
    return solution


def assert_honest(solution, A, b, rtol, shift=0.0):
    """What is reported is true of x."""
    r = b - (A @ solution.x - shift * solution.x)
    true = np.linalg.norm(r)
    size = sla.norm(A, np.inf) if sparse.issparse(A) else np.linalg.norm(A, np.inf)
    noise = 50 * np.finfo(solution.x.dtype).eps * (
        size * np.linalg.norm(solution.x) + np.linalg.norm(b)
    )  # fmt: skip
    assert np.isfinite(solution.x).all()
    assert abs(true - solution.residual_norm) <= noise + 1e-10 * true
    assert np.isclose(solution.target, rtol * np.linalg.norm(b))
    assert solution.converged == (solution.residual_norm <= solution.target)
    assert solution.history.size == solution.n_iterations + 1


def diagonal(values):
    values = np.asarray(values)
    return sla.LinearOperator(
        2 * values.shape, matvec=lambda v: values * v.ravel(), dtype=values.dtype
    )


def counting(A):
    count = [0]

    def product(v):
        count[0] += 1
        return A @ v

    return sla.LinearOperator(A.shape, matvec=product, dtype=A.dtype), count


@settings(max_examples=200)
@given(problem=problems(max_n=80, max_log_cond=8))
def test_cg_is_honest_on_any_spectrum(problem):
    b = right_hand_side(len(problem.eigenvalues), problem.seed)
    solution = quietly(cg, problem.A, b, rtol=1e-7, maxiter=60 * b.size)
    assert_honest(solution, problem.A, b, 1e-7)
    if problem.eigenvalues[-1] / problem.eigenvalues[0] <= 1e6:
        assert solution.converged


@settings(max_examples=60)
@given(problem=problems(max_n=60, max_log_cond=5, indefinite=True))
def test_indefinite_spectra(problem):
    b = right_hand_side(len(problem.eigenvalues), problem.seed)
    for solve in (minres, gmres):
        solution = quietly(solve, problem.A, b, rtol=1e-6, maxiter=60 * b.size)
        assert_honest(solution, problem.A, b, 1e-6)
    try:
        solution = quietly(cg, problem.A, b, rtol=1e-6)
    except NotPositiveDefiniteError:
        assert problem.eigenvalues[0] < 0
    else:
        assert_honest(solution, problem.A, b, 1e-6)


@pytest.mark.parametrize("name", ["HB/bcsstk16", "HB/bcsstk01", "HB/lund_a", "poisson", "jump"])
@pytest.mark.parametrize("jacobi", [False, True])
def test_cg_takes_as_many_iterations_as_scipy(name, jacobi):
    if name == "poisson":
        A = POISSON
    elif name == "jump":
        A = st.gallery.jump((17, 16), 1e4, rng=271828182)
    else:
        A = st.collection.load(name)
    M = diagonal(1.0 / A.diagonal()) if jacobi else None
    b = A @ np.ones(A.shape[0])
    count = itertools.count()
    _, info = sla.cg(A, b, rtol=1e-8, M=M, callback=lambda _: next(count))
    solution = quietly(cg, A, b, rtol=1e-8, M=M)
    assert info == 0
    assert_honest(solution, A, b, 1e-8)
    theirs = next(count)
    assert abs(solution.n_iterations - theirs) <= 2 + 0.05 * theirs


def test_cg_equals_the_textbook():
    b = right_hand_side(N)
    M = np.diag(1 / np.linspace(1, 3, N))
    x, iterations = reference.cg(POISSON.toarray(), b, M, 1e-9, 1000)
    solution = quietly(cg, POISSON, b, M=M, rtol=1e-9)
    assert abs(solution.n_iterations - iterations) <= 1
    np.testing.assert_allclose(solution.x, x, atol=1e-7 * np.abs(x).max())


@pytest.mark.parametrize(
    ("name", "rtol", "status"),
    [
        ("HB/lund_a", 1e-12, Status.CONVERGED),
        ("HB/bcsstk16", 1e-12, Status.CONVERGED),
        ("HB/lund_a", 1e-14, Status.STAGNATED),
    ],
)
def test_cg_where_the_recurrence_alone_claims_convergence_wrongly(name, rtol, status):
    A = st.collection.load(name)
    b = right_hand_side(A.shape[0])
    x, info = sla.cg(A, b, rtol=rtol)
    theirs = np.linalg.norm(b - A @ x)
    assert info == 0
    assert theirs > 2 * rtol * np.linalg.norm(b)
    solution = quietly(cg, A, b, rtol=rtol)
    assert solution.status is status
    assert solution.residual_norm <= theirs
    assert_honest(solution, A, b, rtol)
    assert "restarted" in solution.report


def test_cg_replaces_a_residual_that_has_drifted():
    """A huge x0 spoils the recurrence: its rounding errors are those of A x0."""
    b, x0 = right_hand_side(N), 1e12 * right_hand_side(N, 918273645)
    x, info = sla.cg(POISSON, b, x0, rtol=1e-8)
    assert info == 0
    assert np.linalg.norm(b - POISSON @ x) > 1e-8 * np.linalg.norm(b)
    for solve in SOLVERS:
        solution = quietly(solve, POISSON, b, x0, rtol=1e-8)
        assert solution.converged
        assert_honest(solution, POISSON, b, 1e-8)


@each_solver
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128, int])
@pytest.mark.parametrize("form", ["sparse", "dense", "operator"])
def test_dtypes(solve, dtype, form):
    A = sparse.csr_array(POISSON, dtype=dtype)
    if np.dtype(dtype).kind == "c":
        skew = sparse.diags_array([1.0, -1.0], offsets=[1, -1], shape=(N, N))
        A = A + sparse.eye_array(N) + 0.3j * skew
    A = sparse.csr_array(A, dtype=dtype)
    b = (10 * right_hand_side(N)).astype(dtype)
    single = np.dtype(dtype).itemsize == (8 if np.dtype(dtype).kind == "c" else 4)
    rtol = 1e-4 if single else 1e-8
    given = {"sparse": A, "dense": A.toarray(), "operator": sla.aslinearoperator(A)}[form]
    solution = quietly(solve, given, b, rtol=rtol)
    assert solution.converged
    assert solution.x.dtype == (np.float64 if dtype is int else dtype)
    assert_honest(solution, A, b.astype(solution.x.dtype), rtol)


@each_solver
def test_precisions_meet_in_the_wider(solve):
    b = right_hand_side(N)
    A = POISSON.astype(np.float32)
    assert quietly(solve, A, b).x.dtype == np.float64
    assert quietly(solve, POISSON, b.astype(np.float32)).x.dtype == np.float64
    assert quietly(solve, A, b.astype(np.float32)).x.dtype == np.float32
    assert quietly(solve, POISSON, b.astype(np.longdouble)).x.dtype == np.float64


@each_solver
@pytest.mark.parametrize("form", [sparse.csr_array, np.asarray, sla.aslinearoperator])
def test_real_operator_and_complex_vector(solve, form):
    b = right_hand_side(N) + 1j * right_hand_side(N, 918273645)
    A = POISSON.toarray() if form is np.asarray else POISSON
    solution = quietly(solve, form(A), b, rtol=1e-9)
    assert solution.x.dtype == np.complex128
    assert_honest(solution, POISSON, b, 1e-9)
    if form is sla.aslinearoperator:  # real and imaginary parts apart, and two for the test of A
        tested = 0 if solve is gmres else 2
        assert solution.n_matvecs >= 2 * solution.n_iterations + tested


@each_solver
def test_complex_start_or_preconditioner(solve):
    b, x0 = right_hand_side(N), 1j * right_hand_side(N, 918273645)
    assert_honest(quietly(solve, POISSON, b, x0), POISSON, b, 1e-5)
    M = sparse.csr_array(0.25 * sparse.eye_array(N, dtype=complex))
    assert_honest(quietly(solve, POISSON, b, M=M), POISSON, b, 1e-5)


@each_solver
def test_shapes_and_unpacking(solve):
    b = right_hand_side(N)
    flat = quietly(solve, POISSON, b)
    x, info = quietly(solve, POISSON, b[:, None], np.zeros((N, 1)))
    assert x.shape == (N, 1)
    assert info == 0
    assert np.array_equal(x.ravel(), flat.x)
    x, info = quietly(solve, POISSON, b.tolist(), maxiter=3)
    assert info == 3


@each_solver
@pytest.mark.parametrize("value", [5.0, -5.0])
def test_one_unknown(solve, value):
    if solve is cg and value < 0:
        with pytest.raises(NotPositiveDefiniteError, match="Rayleigh quotient"):
            cg([[value]], [2.0])
        return
    solution = quietly(solve, [[value]], [2.0])
    assert solution.x == pytest.approx(2.0 / value)
    assert solution.n_iterations == 1


@each_solver
@pytest.mark.parametrize("x0", [None, np.ones(N)])
def test_zero_right_hand_side(solve, x0):
    solution = quietly(solve, POISSON, np.zeros(N), x0)
    assert solution.converged
    assert solution.n_iterations == 0
    assert not solution.x.any()
    assert solution.n_matvecs == 0
    assert solution.history.tolist() == [0.0]


@each_solver
def test_start_that_already_solves(solve):
    x = right_hand_side(N)
    b = POISSON @ x
    before = x.copy()
    solution = quietly(solve, POISSON, b, x)
    assert solution.n_iterations == 0
    assert solution.n_matvecs == 1
    np.testing.assert_allclose(solution.x, before, rtol=1e-15)
    assert np.array_equal(x, before)
    assert not np.shares_memory(solution.x, x)
    assert quietly(solve, POISSON, b, 0.999 * x, rtol=1e-2).n_iterations == 0


@each_solver
def test_nothing_given_is_changed(solve):
    A, b, x0 = POISSON.copy(), right_hand_side(N), np.ones(N)
    for array in (b, x0, A.data, A.indices, A.indptr):
        array.flags.writeable = False
    quietly(solve, A, b, x0, M=sparse.eye_array(N))


@each_solver
def test_absolute_tolerance_and_scale(solve):
    b = right_hand_side(N)
    tight = quietly(solve, POISSON, b, rtol=0.0, atol=1e-7)
    assert tight.residual_norm <= 1e-7 == tight.target
    for unit in (1e-200, 1e200):
        scaled = quietly(solve, POISSON, unit * b, rtol=1e-9)
        assert scaled.converged
        x = quietly(solve, POISSON, b, rtol=1e-9).x
        np.testing.assert_allclose(scaled.x / unit, x, rtol=1e-6, atol=1e-8)


@each_solver
def test_same_bits_again(solve):
    b = right_hand_side(N)
    once, again = (quietly(solve, POISSON, b, rtol=1e-9) for _ in range(2))
    assert np.array_equal(once.x, again.x)
    assert np.array_equal(once.history, again.history)


@each_solver
@pytest.mark.parametrize("preconditioned", [False, True])
def test_every_product_is_counted(solve, preconditioned):
    A, count = counting(POISSON)
    M = st.preconditioner(POISSON, method="chebyshev4", degree=4, rng=558127364)
    before = M.n_matvecs
    solution = quietly(
        solve, A, right_hand_side(N), rtol=1e-8, M=M if preconditioned else None
    )  # fmt: skip
    inside = M.n_matvecs - before
    assert (inside > 0) == preconditioned
    assert solution.n_matvecs == count[0] + inside
    assert quietly(solve, A, right_hand_side(N), np.ones(N), maxiter=3).n_matvecs >= 4


def test_cg_costs_one_matvec_per_iteration_and_one_check():
    A = st.gallery.poisson((12, 12))
    b = right_hand_side(144)
    solution = quietly(cg, A, b)
    assert solution.n_matvecs == solution.n_iterations + 1
    assert solution.n_reductions == 2 * solution.n_iterations + 2  # ||b||, and the check
    M = diagonal(np.linspace(0.2, 0.3, 144))
    solution = quietly(cg, A, b, M=M)
    assert solution.n_reductions == 3 * solution.n_iterations + 2


def test_ritz_values_are_those_of_the_preconditioned_operator():
    A = st.gallery.poisson((9, 8))
    b = right_hand_side(72)
    lam = st.gallery.poisson_eigenvalues((9, 8))
    theta = quietly(cg, A, b, rtol=1e-12).ritz_values
    np.testing.assert_allclose(theta[[0, -1]], lam[[0, -1]], rtol=1e-6)
    d = np.linspace(1, 4, 72)
    theta = quietly(cg, A, b, rtol=1e-12, M=diagonal(1 / d)).ritz_values
    S = np.diag(d**-0.5)
    lam = np.linalg.eigvalsh(S @ A.toarray() @ S)
    np.testing.assert_allclose(theta[[0, -1]], lam[[0, -1]], rtol=1e-6)
    assert quietly(cg, A, np.zeros(72)).ritz_values.size == 0


@each_solver
def test_callback_sees_every_iteration(solve):
    b, seen = right_hand_side(N), []

    def callback(state):
        seen.append((state.iteration, state.residual_norm, state.x))

    solution = quietly(solve, POISSON, b, rtol=1e-6, callback=callback)
    assert [k for k, _, _ in seen] == list(range(1, solution.n_iterations + 1))
    np.testing.assert_allclose(
        [norm for _, norm, _ in seen], solution.history[1:] * np.linalg.norm(b), rtol=1e-6
    )
    for _, norm, x in seen[:: max(len(seen) // 7, 1)]:
        assert np.linalg.norm(b - POISSON @ x) == pytest.approx(norm, rel=1e-6)
    np.testing.assert_allclose(seen[-1][2], solution.x, rtol=1e-12)


@each_solver
def test_callback_stops(solve):
    b = right_hand_side(N)
    solution = quietly(solve, POISSON, b, callback=lambda state: state.iteration == 7)
    assert solution.status is Status.STOPPED
    assert solution.n_iterations == 7
    assert solution.info == 7
    assert_honest(solution, POISSON, b, 1e-5)


@each_solver
def test_callback_that_raises(solve):
    def callback(state):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        solve(POISSON, right_hand_side(N), callback=callback)


@each_solver
@pytest.mark.parametrize("where", ["A", "M", "callback"])
def test_interrupt_returns_what_was_reached(solve, where):
    b, calls = right_hand_side(N), itertools.count(1)

    def interrupt():
        if next(calls) == 23:
            raise KeyboardInterrupt

    def product(v):
        interrupt()
        return POISSON @ v

    options = {"rtol": 1e-8}
    A = POISSON
    if where == "A":
        A = sla.LinearOperator((N, N), matvec=product, dtype=float)
    elif where == "M":
        M = 0.25 * np.ones(N)
        options["M"] = sla.LinearOperator(
            (N, N), matvec=lambda v: (interrupt(), M * v.ravel())[1], dtype=float
        )
    else:
        options["callback"] = lambda state: interrupt()
    solution = quietly(solve, A, b, **options)
    assert solution.status is Status.INTERRUPTED
    assert 19 <= solution.n_iterations <= 23
    assert_honest(solution, POISSON, b, 1e-8)
    assert solution.residual_norm < np.linalg.norm(b)


@each_solver
def test_limits(solve):
    b = right_hand_side(N)
    solution = quietly(solve, POISSON, b, maxiter=5)
    assert solution.status is Status.MAXITER
    assert solution.n_iterations == 5
    assert solution.x.any()
    assert_honest(solution, POISSON, b, 1e-5)
    solution = quietly(solve, POISSON, b, max_time=1e-9)
    assert solution.status is Status.TIMED_OUT
    assert solution.n_iterations == 1
    with pytest.raises(st.errors.NotConvergedError):
        solution.check()


def test_a_capped_cg_returns_its_last_iterate():
    """Its error is the smallest, in the norm of A, though its residual may exceed that of 0."""
    A = st.gallery.random_spectrum(st.gallery.log_uniform(300, 1e8, rng=918273), rng=192837465)
    b = A @ right_hand_side(300)
    solution = quietly(cg, A, b, rtol=1e-12, maxiter=10)
    _, x = None, sla.cg(A, b, rtol=1e-12, maxiter=10)[0]
    np.testing.assert_allclose(solution.x, x, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "values", [[1.0, -1.0], [1.0, 2.0, -1e-3], [-1.0, -2.0, -3.0], [1.0, -1e-30]]
)
def test_cg_names_the_rayleigh_quotient_of_an_indefinite_operator(values):
    b = np.ones(len(values))
    with pytest.raises(NotPositiveDefiniteError, match="Rayleigh quotient") as raised:
        cg(np.diag(values), b)
    quotient = float(re.search(r"p\* p = (\S+)", str(raised.value)).group(1))
    assert min(values) * (1 + 1e-4) <= quotient <= 0


def test_preconditioner_that_is_not_definite():
    b = right_hand_side(N)
    for solve in (cg, minres):
        with pytest.raises(NotPositiveDefiniteError, match=r"positive definite M"):
            solve(POISSON, b, M=-sparse.eye_array(N))
    with pytest.raises(NotPositiveDefiniteError, match=r"positive definite M"):
        cg(POISSON, b, M=sparse.csr_array((N, N)))


@each_solver
@pytest.mark.parametrize("exponent", [0, -9, 9])
def test_singular_systems(solve, exponent):
    L = 10.0**exponent * st.gallery.graph_laplacian(st.gallery.grid_graph((12, 11)))
    n = L.shape[0]
    b = L @ right_hand_side(n)
    assert_honest(quietly(solve, L, b, rtol=1e-8), L, b, 1e-8)
    assert quietly(solve, L, b, rtol=1e-8).converged
    b = right_hand_side(n) + 1.0
    options = {"restart": n} if solve is gmres else {}
    solution = quietly(solve, L, b, rtol=1e-8, **options)
    assert solution.status is Status.STAGNATED
    assert_honest(solution, L, b, 1e-8)
    assert solution.residual_norm <= 1.001 * np.linalg.norm(b)
    assert np.linalg.norm(solution.x) * 10.0**exponent <= 1e6 * np.linalg.norm(b)
    assert "singular" in solution.report or "least-squares" in solution.report
    if solve is minres:
        least = abs(b.sum()) / np.sqrt(n)
        assert solution.residual_norm == pytest.approx(least, rel=1e-6)


@each_solver
def test_zero_operator(solve):
    solution = quietly(solve, np.zeros((4, 4)), np.ones(4))
    assert solution.status is Status.STAGNATED
    assert not solution.x.any()
    assert solution.residual_norm == 2.0


@each_solver
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["A", "M"])
@pytest.mark.parametrize("after", [3, 9])
def test_nan_on_the_way_is_never_silent(solve, bad, where, after):
    calls = itertools.count(1)

    def spoiled(v):
        y = (POISSON @ v) if where == "A" else 0.25 * v.ravel()
        return np.where(np.arange(N) == 5, bad, y) if next(calls) >= after else y

    F = sla.LinearOperator((N, N), matvec=spoiled, dtype=float)
    A, M = (F, None) if where == "A" else (POISSON, F)
    b = right_hand_side(N)
    with np.errstate(all="ignore"):
        solution = quietly(solve, A, b, M=M, rtol=1e-8)
    assert solution.status is Status.BROKE_DOWN
    assert solution.info == -1
    assert "finite" in solution.report
    assert_honest(solution, POISSON, b, 1e-8)


@each_solver
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"b": np.full(N, np.nan)}, "b must be finite"),
        ({"b": np.ones(N + 1)}, "b must have shape"),
        ({"b": np.array(["x"] * N)}, "b must be numeric"),
        ({"x0": np.full(N, np.inf)}, "x0 must be finite"),
        ({"x0": np.ones(3)}, "x0 must have shape"),
        ({"M": np.eye(3)}, "M must"),
        ({"M": lambda v: v}, "LinearOperator"),
        ({"M": np.full((N, N), np.nan)}, "M is not usable"),
        ({"rtol": -1.0}, "rtol"),
        ({"rtol": np.nan}, "rtol"),
        ({"atol": None}, "atol"),
        ({"maxiter": 0}, "maxiter"),
        ({"maxiter": 2.5}, "maxiter"),
        ({"max_time": 0}, "max_time"),
        ({"callback": 3}, "callback"),
        ({"A": np.ones((3, 4))}, "A must be square"),
    ],
)
def test_malformed_input(solve, options, match):
    given = {"A": POISSON, "b": np.ones(N), "x0": None, **options}
    with pytest.raises(InputError, match=match):
        solve(given.pop("A"), given.pop("b"), given.pop("x0"), **given)


@pytest.mark.parametrize("solve", [cg, minres])
def test_nonsymmetric_operators_are_refused(solve):
    A = st.gallery.convection_diffusion((5, 4))
    for form in (A, A.toarray(), sla.aslinearoperator(A)):
        with pytest.raises(InputError, match="Hermitian"):
            solve(form, np.ones(20))


@each_solver
@pytest.mark.parametrize("form", [sparse.csc_array, lambda M: M.toarray(), sla.aslinearoperator])
def test_forms_of_the_preconditioner(solve, form):
    M = sparse.csr_array(sparse.diags_array(1 / np.linspace(1, 5, N)))
    A = sparse.csr_array(POISSON + sparse.diags_array(np.linspace(0, 20, N)))
    b = right_hand_side(N)
    solution = quietly(solve, A, b, M=form(M), rtol=1e-8)
    assert_honest(solution, A, b, 1e-8)
    assert solution.converged
    assert solution.method.startswith("preconditioned")


@each_solver
def test_identity_preconditioner_changes_nothing(solve):
    b = right_hand_side(N)
    plain = quietly(solve, POISSON, b, rtol=1e-9)
    identity = quietly(solve, POISSON, b, rtol=1e-9, M=sla.aslinearoperator(sparse.eye_array(N)))
    assert abs(identity.n_iterations - plain.n_iterations) <= 1


def test_long_solves_lay_the_matrix_out(monkeypatch):
    monkeypatch.setattr("spectool.backends.execution.WORTH_SECONDS", 0.0)
    A = st.gallery.poisson((40, 41))
    b = right_hand_side(A.shape[0])
    solution = quietly(cg, A, b, rtol=1e-9)
    assert "executed as dia" in solution.report
    assert_honest(solution, A, b, 1e-9)


def test_badly_scaled_rows_are_not_mistaken_for_a_singular_operator():
    d = np.ones(N)
    d[::7] = 1e10  # a penalty, as on a Dirichlet boundary
    S = sparse.diags_array(d)
    A = sparse.csr_array(S @ POISSON @ S)
    b = right_hand_side(N)
    solution = quietly(cg, A, A @ b, M=diagonal(1 / A.diagonal()), rtol=1e-8)
    assert solution.converged
    D = np.diag([1e20, 1.0])
    assert quietly(cg, D, np.ones(2), rtol=1e-10).converged


def test_solution_prints_as_a_sentence():
    text = str(quietly(cg, POISSON, right_hand_side(N)))
    assert text.startswith("cg: the tolerance was met; residual ")
    assert "matvecs" in text
