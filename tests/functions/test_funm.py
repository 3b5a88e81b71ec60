"""f(A) b against dense eigendecompositions, and estimates that do not flatter."""

import warnings

import numpy as np
import pytest
import reference
import scipy.sparse.linalg as sla
from hypothesis import assume, given, settings
from hypothesis import strategies as hs
from scipy import sparse
from strategies import FAMILIES, draw_spectrum, seeds

import spectool as st
from spectool.errors import (
    ConvergenceWarning,
    InputError,
    NotConvergedError,
    NotPositiveDefiniteError,
)
from spectool.functions import FunctionState
from spectool.results import Status

EPS = np.finfo(float).eps
SEED = 615243879
N = 150


def phi1(z):
    return np.expm1(z) / np.where(z == 0, 1.0, z) + (z == 0)


FUNCTIONS = {
    "exp": np.exp,
    "phi1": phi1,
    "inv": lambda z: 1 / z,
    "sqrt": lambda z: np.sqrt(np.maximum(z, 0)),
    "invsqrt": lambda z: 1 / np.sqrt(z),
    "log": np.log,
    "sign": np.sign,
}
DEFINITE = ["sqrt", "invsqrt", "log", "inv", "exp", "phi1"]


def matrix(lam, seed=SEED):
    """Q diag(lam) Q^T and f(.) b from the eigenvectors, known without an eigensolver."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((lam.size, lam.size)))[0]
    A = (Q * lam) @ Q.T
    return 0.5 * (A + A.T), Q


def exactly(f, lam, Q, B, t=1.0):
    return (Q * f(t * lam)) @ (Q.conj().T @ B)


def honest(solution, truth, rtol, *, factor=10.0):
    """The error is what was promised, and the estimate does not flatter."""
    error = reference.relative_error(solution.y, truth)
    assert error <= factor * rtol
    # Below 1e-12 it is our truth that errs: its eigenvectors are rounded too.
    assert solution.error_estimate >= 0.1 * error - 1e4 * EPS
    assert solution.converged
    return error


# -- accuracy --------------------------------------------------------------------------------


@pytest.mark.parametrize("cond", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("name", DEFINITE)
@pytest.mark.parametrize("method", ["auto", "lanczos"])
def test_definite(method, name, cond):
    lam = st.gallery.log_uniform(N, cond, rng=SEED)
    A, Q = matrix(lam)
    b = np.random.default_rng(SEED + 1).standard_normal(N)
    # The function itself is ill-conditioned: inv of a matrix known to eps has relative error
    # eps cond; at 1e6 that is far below rtol still.
    solution = st.funm_multiply(name, A, b, rtol=1e-8, method=method, rng=SEED)
    honest(solution, exactly(FUNCTIONS[name], lam, Q, b), 1e-8)


@pytest.mark.parametrize("cond", [1e2, 1e4])
@pytest.mark.parametrize("name", ["sign", "inv", "exp"])
def test_indefinite(name, cond):
    lam = st.gallery.log_uniform(N, cond, rng=SEED) * np.resize([1.0, -1.0, 1.0], N)
    A, Q = matrix(lam)
    b = np.random.default_rng(SEED + 1).standard_normal(N)
    solution = st.funm_multiply(name, A, b, rtol=1e-8, rng=SEED)
    honest(solution, exactly(FUNCTIONS[name], lam, Q, b), 1e-8)


@pytest.mark.parametrize("name", ["sqrt", "invsqrt", "log", "inv"])
@pytest.mark.parametrize("shape", [(60, 60)])
def test_large_sparse_operator_that_is_never_dense(name, shape):
    """2D Poisson has known eigenvectors: sines, which fast transforms apply."""
    from scipy.fft import dstn

    A = sla.aslinearoperator(st.gallery.poisson(shape))
    angles = [np.arange(1, m + 1) * np.pi / (2 * (m + 1)) for m in shape]
    lam = np.add.outer(*(4 * np.sin(angle) ** 2 for angle in angles))
    b = np.random.default_rng(SEED).standard_normal(shape)
    truth = dstn(FUNCTIONS[name](lam) * dstn(b, type=1, norm="ortho"), type=1, norm="ortho")
    solution = st.funm_multiply(name, A, b.ravel(), rtol=1e-8, rng=SEED)
    honest(solution, truth.ravel(), 1e-8)
    assert "lanczos" in solution.method


@settings(max_examples=80)
@given(
    name=hs.sampled_from(DEFINITE),
    family=hs.sampled_from(sorted(FAMILIES)),
    n=hs.integers(1, 80),
    log_cond=hs.integers(0, 5),
    scale=hs.sampled_from([1.0, 1e-3, 1e3]),
    seed=seeds,
)
def test_drawn_spectra(name, family, n, log_cond, scale, seed):
    lam = draw_spectrum(family, n, 10.0**log_cond, seed, scale=scale)
    if name in ("exp", "phi1"):
        lam = -lam
    A, Q = matrix(lam, seed)
    b = np.random.default_rng(seed + 1).standard_normal(n)
    truth = exactly(FUNCTIONS[name], lam, Q, b)
    assume(np.linalg.norm(truth) > 1e-290)  # exp underflows
    # log vanishes at 1: there the answer may be smaller than what rounding of A moves
    moved = np.linalg.norm(exactly(FUNCTIONS[name], lam * (1 + 50 * EPS), Q, b) - truth)
    assume(moved <= 1e-9 * np.linalg.norm(truth))
    solution = st.funm_multiply(name, A, b, rtol=1e-8, rng=seed)
    error = reference.relative_error(solution.y, truth)
    assert error <= 1e-7
    assert solution.error_estimate >= 0.1 * (error - 1e-9)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-10])
@pytest.mark.parametrize("name", ["invsqrt", "exp"])
def test_rtol_is_met_and_cheaper_when_loose(name, rtol):
    A = st.gallery.poisson((22, 22))
    b = np.ones(484)
    solution = st.funm_multiply(name, A, b, rtol=rtol, t=-1.0 if name == "exp" else 1.0, rng=SEED)
    truth = reference.dense_funm(FUNCTIONS[name], A.toarray() * (-1 if name == "exp" else 1), b)
    honest(solution, truth, rtol)
    tight = st.funm_multiply(name, A, b, rtol=1e-12, t=-1.0 if name == "exp" else 1.0, rng=SEED)
    assert solution.n_matvecs < tight.n_matvecs


@pytest.mark.parametrize("t", [-1e4, -1e2, -1.0, 1e-3, 3.0])
@pytest.mark.parametrize("name", ["exp", "phi1"])
def test_time_steps(name, t):
    lam = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, N - 1)])
    A, Q = matrix(lam)
    b = np.random.default_rng(SEED + 2).standard_normal(N)
    for operand in (A, sla.aslinearoperator(A)):
        solution = st.funm_multiply(name, operand, b, t=t, rtol=1e-8, rng=SEED)
        honest(solution, exactly(FUNCTIONS[name], lam, Q, b, t), 1e-8)


@pytest.mark.parametrize("name", ["sqrt", "log", "inv"])
def test_negative_t_on_a_negative_operator(name):
    lam = -np.geomspace(0.01, 1, N)
    A, Q = matrix(lam)
    b = np.ones(N)
    solution = st.funm_multiply(name, A, b, t=-2.0, rtol=1e-8, rng=SEED)
    honest(solution, exactly(FUNCTIONS[name], lam, Q, b, -2.0), 1e-8)


def test_semidefinite_root():
    A = st.gallery.graph_laplacian(st.gallery.grid_graph((12, 12)))
    b = np.random.default_rng(SEED).standard_normal(144)
    solution = st.funm_multiply("sqrt", A, b, rtol=1e-6, rng=SEED)
    truth = reference.dense_funm(FUNCTIONS["sqrt"], A.toarray(), b)
    assert reference.relative_error(solution.y, truth) <= 1e-5


@pytest.mark.parametrize("f", [np.cos, lambda z: 1 / (2 + z), np.tanh, lambda z: z**3])
@pytest.mark.parametrize("method", ["auto", "chebyshev", "lanczos"])
def test_callables(f, method):
    lam = np.linspace(-1, 4, N)
    A, Q = matrix(lam)
    b = np.random.default_rng(SEED).standard_normal(N)
    solution = st.funm_multiply(f, A, b, method=method, rtol=1e-8, rng=SEED)
    honest(solution, exactly(f, lam, Q, b), 1e-8)


# -- data types and shapes -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["exp", "invsqrt", "cos"])
@pytest.mark.parametrize("stored", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("wide", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("sparsely", [True, False])
def test_dtypes(sparsely, stored, wide, name):
    rng = np.random.default_rng(SEED)
    lam = np.linspace(0.1, 2, 60)
    B = rng.standard_normal((60, 60)) + (1j if np.dtype(stored).kind == "c" else 0) * (
        rng.standard_normal((60, 60))
    )
    Q = np.linalg.qr(B)[0]
    A = ((Q * lam) @ Q.conj().T).astype(stored)
    A = 0.5 * (A + A.conj().T)
    b = rng.standard_normal(60).astype(wide)
    if np.dtype(wide).kind == "c":
        b = b + 1j * rng.standard_normal(60).astype(wide)
    f = np.cos if name == "cos" else name
    truth = exactly(FUNCTIONS.get(name, np.cos), lam, Q, b)
    rtol = 1e-8 if np.finfo(stored).eps < 1e-10 else 1e-4
    solution = st.funm_multiply(f, sparse.csr_array(A) if sparsely else A, b, rng=SEED)
    assert solution.y.dtype == np.result_type(stored, wide)
    assert solution.y.shape == b.shape
    honest(solution, truth, rtol)


@pytest.mark.parametrize("name", ["exp", "invsqrt", "sign"])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_blocks_equal_their_columns(name, m):
    A = st.gallery.poisson((15, 15))
    B = np.random.default_rng(SEED).standard_normal((225, m))
    together = st.funm_multiply(name, A, B, rtol=1e-8, rng=SEED)
    assert together.y.shape == B.shape
    for j in range(m):
        alone = st.funm_multiply(name, A, B[:, j], rtol=1e-8, rng=SEED)
        assert reference.relative_error(together.y[:, j], alone.y) <= 2e-8
    honest(together, reference.dense_funm(FUNCTIONS[name], A.toarray(), B), 1e-8)


@pytest.mark.parametrize("name", ["exp", "invsqrt"])
def test_columns_of_very_different_size(name):
    A = st.gallery.poisson((15, 15))
    B = np.random.default_rng(SEED).standard_normal((225, 3)) * np.array([1e-90, 0.0, 1e90])
    solution = st.funm_multiply(name, A, B, rtol=1e-8, rng=SEED)
    truth = reference.dense_funm(FUNCTIONS[name], A.toarray(), B)
    assert not solution.y[:, 1].any()
    assert reference.relative_error(solution.y[:, ::2], truth[:, ::2]) <= 1e-7
    assert solution.converged


def test_complex_hermitian_operator_and_linearoperator():
    lam = np.geomspace(1e-3, 1, 90)
    rng = np.random.default_rng(SEED)
    Q = np.linalg.qr(rng.standard_normal((90, 90)) + 1j * rng.standard_normal((90, 90)))[0]
    A = (Q * lam) @ Q.conj().T
    A = 0.5 * (A + A.conj().T)
    b = rng.standard_normal(90)
    for operand in (A, sparse.csr_array(A), sla.aslinearoperator(A)):
        for name in ("invsqrt", "exp", "log"):
            solution = st.funm_multiply(name, operand, b, rtol=1e-8, rng=SEED)
            honest(solution, exactly(FUNCTIONS[name], lam, Q, b), 1e-8)


# -- special vectors -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_zero_vector(name):
    A = st.gallery.poisson((5, 5))
    for b in (np.zeros(25), np.zeros((25, 3)), np.zeros(25, dtype=int)):
        for spectrum in (None, st.estimate_spectrum(A, rng=SEED)):
            solution = st.funm_multiply(name, A, b, spectrum=spectrum)
            assert solution.y.shape == b.shape
            assert not solution.y.any()
            assert solution.converged
            assert solution.error_estimate == 0


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("value", [0.3, 7.0])
def test_one_by_one(name, value):
    solution = st.funm_multiply(name, np.array([[value]]), np.array([2.0]), rtol=1e-10)
    assert abs(solution.y[0] - 2 * FUNCTIONS[name](np.array(value))) <= 1e-9 * abs(solution.y[0])
    assert solution.converged


@pytest.mark.parametrize("name", DEFINITE)
def test_eigenvectors_and_few_eigenvalues(name):
    lam = np.repeat([0.5, 1.5, 4.0], 30)
    A, Q = matrix(lam)
    for b in (Q[:, 0], Q[:, 0] + Q[:, -1], np.ones(90)):
        solution = st.funm_multiply(name, A, b, rtol=1e-8, rng=SEED)
        honest(solution, exactly(FUNCTIONS[name], lam, Q, b), 1e-8)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_identity(name):
    b = np.random.default_rng(SEED).standard_normal(40)
    solution = st.funm_multiply(name, 3.0 * np.eye(40), b, rtol=1e-8, rng=SEED)
    value = float(FUNCTIONS[name](np.array(3.0)))
    assert np.linalg.norm(solution.y - value * b) <= 1e-7 * abs(value) * np.linalg.norm(b)


# -- domains ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["log", "sqrt", "invsqrt"])
def test_indefinite_is_refused_by_name_of_the_ritz_value(name):
    A = np.diag(np.linspace(-1, 3, 30))
    with pytest.raises(NotPositiveDefiniteError, match="Ritz value -"):
        st.funm_multiply(name, A, np.ones(30), rng=SEED)


@pytest.mark.parametrize("name", ["log", "invsqrt", "inv", "sign"])
def test_singular_is_refused_by_name_of_the_ritz_value(name):
    A = np.diag(np.arange(10.0))
    with pytest.raises(NotPositiveDefiniteError, match="Ritz value"):
        st.funm_multiply(name, A, np.ones(10), rng=SEED)


@pytest.mark.parametrize("name", ["log", "invsqrt"])
def test_indefiniteness_that_the_probe_missed_is_found_by_the_solver(name):
    """One small negative eigenvalue: the right-hand side points at it."""
    lam = np.append(np.linspace(1, 100, 1999), -1e-3)
    A = sparse.csr_array(np.diag(lam))
    b = np.ones(2000)
    b[-1] = 100.0
    with pytest.raises(NotPositiveDefiniteError):
        st.funm_multiply(name, A, b, rng=SEED)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_chebyshev_across_a_singularity_is_refused(name):
    A = st.gallery.poisson((30, 30))
    if name in ("exp", "phi1"):
        st.funm_multiply(name, A, np.ones(900), t=-1.0, method="chebyshev", rng=SEED)
    else:
        with pytest.raises(InputError, match="zero"):
            st.funm_multiply(
                name, sla.aslinearoperator(A), np.ones(900), method="chebyshev", rng=SEED
            )


# -- stopping --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "t"), [("invsqrt", 1.0), ("exp", -30.0)])
@pytest.mark.parametrize("maxiter", [1, 5, 12])
def test_maxiter_warns_and_returns_the_best_so_far(name, t, maxiter):
    A = st.gallery.poisson((22, 22))
    b = np.random.default_rng(SEED).standard_normal(484)
    spectrum = st.estimate_spectrum(A, rng=SEED)
    with pytest.warns(ConvergenceWarning, match="maxiter"):
        solution = st.funm_multiply(name, A, b, t=t, maxiter=maxiter, spectrum=spectrum, rng=SEED)
    assert solution.status is Status.MAXITER
    assert not solution.converged
    assert solution.n_matvecs <= maxiter
    with pytest.raises(NotConvergedError) as caught:
        solution.check()
    assert caught.value.solution is solution
    truth = reference.dense_funm(FUNCTIONS[name], t * A.toarray(), b)
    error = reference.relative_error(solution.y, truth)
    assert solution.error_estimate >= 0.1 * error
    if name == "invsqrt" and maxiter == 12:
        assert error < 0.5  # partial, but an answer


def test_unattainable_rtol_is_told():
    lam = np.geomspace(1e-12, 1, 100)
    A, _ = matrix(lam)
    with pytest.warns(ConvergenceWarning):
        solution = st.funm_multiply("exp", A, np.ones(100), t=300.0, rtol=1e-15, rng=SEED)
    assert solution.status is Status.STAGNATED


@pytest.mark.parametrize("t", [300.0, 400.0, 600.0])
def test_answers_whose_square_overflows(t):
    lam = np.linspace(0, 1, 40)
    A, Q = matrix(lam)
    b = np.random.default_rng(SEED).standard_normal(40)
    solution = st.funm_multiply("exp", A, b, t=t, rtol=1e-8, rng=SEED)
    size = np.exp(-t)  # norms of the answers themselves would overflow
    truth = exactly(lambda z: np.exp(z - t), lam, Q, b, t)
    assert reference.relative_error(size * solution.y, truth) <= 1e-7
    assert 0 < solution.error_estimate <= 1e-8


def test_callback_sees_falling_errors_and_stops():
    A = st.gallery.poisson((22, 22))
    b = np.random.default_rng(SEED).standard_normal(484)
    states = []
    st.funm_multiply("invsqrt", A, b, callback=lambda s: states.append(s), rng=SEED)
    assert all(isinstance(s, FunctionState) for s in states)
    assert len(states) > 2
    assert [s.iteration for s in states] == sorted({s.iteration for s in states})
    assert states[-1].error_estimate < 1e-7 < states[0].error_estimate
    with pytest.warns(ConvergenceWarning, match="callback"):
        solution = st.funm_multiply("invsqrt", A, b, callback=lambda s: s.iteration > 20, rng=SEED)
    assert solution.status is Status.STOPPED
    truth = reference.dense_funm(FUNCTIONS["invsqrt"], A.toarray(), b)
    error = reference.relative_error(solution.y, truth)
    assert 1e-8 < error < 1
    assert solution.error_estimate >= 0.1 * error


@pytest.mark.parametrize("product", [30, 27])
def test_interrupt_returns_the_best_so_far(product):
    """Ctrl-C in a product: at the third Lanczos step, and before the first one is done."""
    A = st.gallery.poisson((30, 30))
    count = []

    def matvec(x):
        count.append(1)
        if len(count) == product:
            raise KeyboardInterrupt
        return A @ x

    operator = sla.LinearOperator(A.shape, matvec=matvec, dtype=float)
    try:
        with pytest.warns(ConvergenceWarning, match="Ctrl-C"):
            solution = st.funm_multiply("invsqrt", operator, np.ones(900), rng=SEED)
    except KeyboardInterrupt:
        assert product == 27  # nothing to return yet: the interrupt may pass
    else:
        assert solution.status is Status.INTERRUPTED
        assert solution.y.shape == (900,)
        assert np.isfinite(solution.y).all()


# -- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["invsqrt", "log", "sign"])
@pytest.mark.parametrize("kind", [sparse.csr_array, sla.aslinearoperator])
@pytest.mark.parametrize("vectors", [1, 10, 41])
def test_two_passes_equal_one(monkeypatch, vectors, kind, name):
    A = st.gallery.poisson((30, 30))
    b = np.random.default_rng(SEED).standard_normal(900)
    one = st.funm_multiply(name, kind(A), b, rng=SEED)
    monkeypatch.setattr("spectool.functions.methods.lanczos.MAX_BASIS_BYTES", vectors * b.nbytes)
    two = st.funm_multiply(name, kind(A), b, rng=SEED)
    assert "two passes" in two.method
    assert "two passes" not in one.method
    # Our kernel regenerates the basis bit for bit, and only the sum over it is taken in another
    # order; NumPy's sums depend on where vectors lie in memory.
    # The estimate is relative to that sum's norm.
    room = 4 if kind is sparse.csr_array else 1e4
    assert abs(two.error_estimate - one.error_estimate) <= room * EPS * one.error_estimate
    assert two.status is one.status
    assert reference.relative_error(two.y, one.y) <= 1e3 * EPS
    assert two.n_matvecs > one.n_matvecs


# -- counts and options ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["exp", "invsqrt"])
@pytest.mark.parametrize("given_spectrum", [True, False])
@pytest.mark.parametrize("shape", [(400,), (400, 3)])
def test_every_matvec_is_counted(shape, given_spectrum, name):
    A = st.gallery.poisson((20, 20))
    count = [0]

    def matmat(X):
        count[0] += X.shape[1]
        return A @ X

    operator = sla.LinearOperator(
        A.shape, matvec=lambda x: matmat(x.reshape(-1, 1)).ravel(), matmat=matmat, dtype=float
    )
    spectrum = st.estimate_spectrum(A, rng=SEED) if given_spectrum else None
    b = np.random.default_rng(SEED).standard_normal(shape)
    solution = st.funm_multiply(name, operator, b, t=1.0, spectrum=spectrum, rng=SEED)
    assert solution.n_matvecs == count[0]
    count[0] = 0
    F = st.matrix_function(name, operator, spectrum=spectrum, rng=SEED)
    before = F.n_matvecs
    assert before == count[0]
    F @ b
    assert F.n_matvecs == count[0] > before


def test_solution_prints_a_sentence():
    solution = st.funm_multiply("exp", st.gallery.poisson((9, 9)), np.ones(81), t=-1, rng=SEED)
    text = str(solution)
    assert "the tolerance was met" in text
    assert f"{solution.n_matvecs} matvecs" in text
    assert solution.check() is solution
    assert "array" not in repr(solution)


@pytest.mark.parametrize(
    ("f", "b", "options"),
    [
        ("tan", np.ones(25), {}),
        ("power(x)", np.ones(25), {}),
        ("power(inf)", np.ones(25), {}),
        ([], np.ones(25), {}),
        (3, np.ones(25), {}),
        ("exp", np.ones(24), {}),
        ("exp", np.ones((25, 2, 2)), {}),
        ("exp", np.full(25, np.nan), {}),
        ("exp", np.full(25, np.inf), {}),
        ("exp", np.full(25, "x"), {}),
        ("exp", np.ones(25, dtype=object), {}),
        ("exp", np.ones(25), {"rtol": 0.0}),
        ("exp", np.ones(25), {"rtol": 1.5}),
        ("exp", np.ones(25), {"rtol": np.nan}),
        ("exp", np.ones(25), {"t": np.inf}),
        ("exp", np.ones(25), {"t": [1.0, np.nan]}),
        ("exp", np.ones(25), {"t": np.ones((2, 2))}),
        ("exp", np.ones(25), {"t": []}),
        ("exp", np.ones(25), {"t": True}),
        ("log", np.ones(25), {"t": 1j}),
        ("exp", np.ones(25), {"t": "1"}),
        ("exp", np.ones(25), {"method": "arnoldi"}),
        ("exp", np.ones(25), {"method": "krylov"}),
        ("log", np.ones(25), {"method": "preconditioned"}),
        ("exp", np.ones(25), {"maxiter": 0}),
        ("exp", np.ones(25), {"max_matvecs": 0}),
        ("exp", np.ones(25), {"max_memory": -1}),
        ("exp", np.ones(25), {"max_time": "1"}),
        ("exp", np.ones(25), {"callback": 3}),
        ("exp", np.ones(25), {"spectrum": (0.0, 8.0)}),
        ("exp", np.ones(25), {"assume_a": "gen", "method": "chebyshev"}),
        ("exp", np.ones(25), {"t": 1e9}),
        (lambda z: z[:2], np.ones(25), {}),
        (lambda z: np.full_like(z, np.nan), np.ones(25), {}),
    ],
)
def test_malformed_calls(f, b, options):
    with pytest.raises(InputError):
        st.funm_multiply(f, st.gallery.poisson((5, 5)), b, rng=SEED, **options)


@pytest.mark.parametrize(
    "f", [lambda z: z[:2], lambda z: np.full_like(z, np.nan), lambda z: np.full(z.shape, "a")]
)
def test_malformed_callables_are_refused_by_lanczos_too(f):
    with pytest.raises(InputError):
        st.funm_multiply(f, st.gallery.poisson((5, 5)), np.ones(25), method="lanczos", rng=SEED)


@pytest.mark.parametrize(
    "options",
    [{"rtol": 2.0}, {"t": [1.0]}, {"method": "krylov"}, {"maxiter": 0}, {"spectrum": 3}],
    ids=str,
)
def test_matrix_function_refuses_at_once(options):
    with pytest.raises(InputError):
        st.matrix_function("exp", st.gallery.poisson((5, 5)), rng=SEED, **options)


def test_scaled_spectrum_is_refused():
    A = st.gallery.jump((9, 9))
    spectrum = st.estimate_spectrum(A, scaling="symmetric", rng=SEED)
    with pytest.raises(InputError, match="scaled"):
        st.funm_multiply("exp", A, np.ones(81), spectrum=spectrum)


# -- matrix functions as operators -----------------------------------------------------------


def test_matrix_function_inside_eigsh():
    """Shift-invert without a factorization: the largest of inv(A) are the smallest of A."""
    A = st.gallery.poisson((20, 19))
    F = st.matrix_function("inv", A, rtol=1e-12, rng=SEED)
    w = sla.eigsh(F, k=4, which="LA", return_eigenvectors=False)
    exact = np.sort(st.gallery.poisson_eigenvalues((20, 19)).ravel())[:4]
    np.testing.assert_allclose(np.sort(1 / w), exact, rtol=1e-9)


@pytest.mark.parametrize("name", ["exp", "invsqrt"])
def test_matrix_function_is_an_operator(name):
    A = st.gallery.poisson((15, 15))
    F = st.matrix_function(name, A, rtol=1e-10, rng=SEED)
    x = np.random.default_rng(SEED).standard_normal((225, 2))
    truth = reference.dense_funm(FUNCTIONS[name], A.toarray(), x)
    for operand in (x, x[:, 0], x[:, :1]):
        y = F @ operand
        assert y.shape == operand.shape
        expected = truth if operand.shape == x.shape else truth[:, :1].reshape(operand.shape)
        assert reference.relative_error(y, expected) <= 1e-9
    assert F.H is F
    assert F.solution.converged
    assert F.n_matvecs > 0


def test_probe_is_made_once():
    A = st.gallery.poisson((15, 15))
    spectrum = st.estimate_spectrum(A, rng=SEED)
    alone = st.funm_multiply("exp", A, np.ones(225), t=-1.0, method="chebyshev", rng=SEED)
    shared = st.funm_multiply("exp", A, np.ones(225), t=-1.0, spectrum=spectrum)
    assert np.array_equal(alone.y, shared.y)
    assert alone.n_matvecs == shared.n_matvecs + spectrum.n_matvecs


def test_converged_runs_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        st.funm_multiply("log", st.gallery.poisson((9, 9)), np.ones(81), rng=SEED).check()
