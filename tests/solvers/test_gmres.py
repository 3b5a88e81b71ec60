"""gmres: any structure, restarts that gain, restarts that do not, an M that changes."""

import itertools

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy import sparse
from test_solvers import assert_honest, quietly, right_hand_side

import spectool as st
from spectool.errors import InputError
from spectool.results import Status
from spectool.solvers import gmres

CONVECTION = st.gallery.convection_diffusion((14, 13))
N = CONVECTION.shape[0]


@pytest.mark.parametrize(
    "name", ["convection", "HB/fs_183_1", "HB/arc130", "pyamg/recirc_flow", "complex"]
)
@pytest.mark.parametrize("restart", [20, 80])
def test_as_many_iterations_as_scipy(name, restart):
    if name == "convection":
        A = CONVECTION
    elif name == "complex":
        A = sparse.csr_array(CONVECTION + 20j * sparse.eye_array(N))
    else:
        A = st.collection.load(name)
    b = A @ np.ones(A.shape[0])
    count = itertools.count()
    cycles = -(-1600 // restart)
    _, info = sla.gmres(
        A, b, rtol=1e-6, restart=restart, maxiter=cycles, callback=lambda _: next(count),
        callback_type="pr_norm",
    )  # fmt: skip
    solution = quietly(gmres, A, b, rtol=1e-6, restart=restart, maxiter=cycles * restart)
    theirs = next(count)
    assert_honest(solution, A, b, 1e-6)
    assert solution.converged == (info == 0)
    assert abs(solution.n_iterations - theirs) <= 2 + 0.05 * theirs


@settings(max_examples=60)
@given(
    n=hs.integers(1, 40), seed=hs.integers(10**8, 10**9), restart=hs.integers(1, 50),
    unit=hs.sampled_from([1.0, 1e-100, 1e100]), is_complex=hs.booleans(),
)  # fmt: skip
def test_honest_on_random_matrices(n, seed, restart, unit, is_complex):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    if is_complex:
        A = A + 1j * rng.standard_normal((n, n))
    A *= unit
    b = rng.standard_normal(n)
    solution = quietly(gmres, A, b, rtol=1e-8, restart=restart)
    assert_honest(solution, A, b, 1e-8)
    if restart >= n:
        assert solution.converged
    assert solution.residual_norm <= (1 + 1e-12) * np.linalg.norm(b)


def test_residual_never_grows_and_basis_is_orthogonal():
    b = right_hand_side(N)
    history = quietly(gmres, CONVECTION, b, rtol=1e-13, restart=N).history
    assert (np.diff(history) <= 1e-14).all()
    least = []
    K = np.empty((N, 0))
    v = b.copy()
    for _ in range(12):
        K = np.column_stack([K, v / np.linalg.norm(v)])
        Q, _ = np.linalg.qr(K)
        AQ = CONVECTION @ Q
        least.append(np.linalg.norm(b - AQ @ np.linalg.lstsq(AQ, b)[0]))
        v = CONVECTION @ Q[:, -1]
    np.testing.assert_allclose(history[1:13] * np.linalg.norm(b), least, rtol=1e-9)


def test_happy_breakdown_is_convergence():
    A = np.diag([3.0, 3.0, 5.0, 5.0])
    solution = quietly(gmres, A, np.ones(4), rtol=1e-12)
    assert solution.converged
    assert solution.n_iterations == 2
    Q = np.roll(np.eye(20), 1, axis=0)  # no progress at all before the last step
    solution = quietly(gmres, Q, np.eye(20)[0], restart=20)
    assert solution.converged
    assert solution.n_iterations == 20
    np.testing.assert_allclose(Q @ solution.x, np.eye(20)[0], atol=1e-14)


def test_stagnation_ends_a_solve_that_gains_nothing():
    Q = np.roll(np.eye(20), 1, axis=0)
    solution = quietly(gmres, Q, np.eye(20)[0], restart=5)
    assert solution.status is Status.STAGNATED
    assert solution.n_iterations == 10
    assert "restart" in solution.report
    assert_honest(solution, Q, np.eye(20)[0], 1e-5)


def test_slow_but_steady_is_not_stagnation():
    A = st.gallery.poisson((12, 11))
    b = right_hand_side(132)
    for restart in (1, 2, 5):
        solution = quietly(gmres, A, b, restart=restart, rtol=1e-4, maxiter=20_000)
        assert solution.converged


@pytest.mark.parametrize("restart", [10, 50])
def test_singular_inconsistent_gives_least_squares(restart):
    A = np.diag(np.r_[np.arange(1.0, 50.0), 0.0])
    solution = quietly(gmres, A, np.ones(50), rtol=1e-8, restart=restart, maxiter=5000)
    assert solution.status is Status.STAGNATED
    assert solution.residual_norm == pytest.approx(1.0, rel=1e-4)
    assert_honest(solution, A, np.ones(50), 1e-8)


def test_nilpotent_operators_end_at_once():
    A = np.diag(np.ones(9), 1)
    for j in (0, 9):
        solution = quietly(gmres, A, np.eye(10)[j], restart=10)
        assert not solution.converged
        assert solution.residual_norm == 1.0
        assert np.isfinite(solution.x).all()


def test_preconditioned_from_the_right_tests_the_true_residual():
    d = 10.0 ** np.linspace(-3, 3, N)
    A = sparse.csr_array(sparse.diags_array(d) @ CONVECTION)
    M = sparse.csr_array(sparse.diags_array(1 / A.diagonal()))
    b = A @ np.ones(N)
    solution = quietly(gmres, A, b, M=M, rtol=1e-9, restart=N)
    assert solution.converged
    assert_honest(solution, A, b, 1e-9)
    exact = sparse.linalg.splu(sparse.csc_array(A))
    inverse = sla.LinearOperator((N, N), matvec=exact.solve, dtype=float)
    assert quietly(gmres, A, b, M=inverse, rtol=1e-9).n_iterations == 1


def changing():
    """An M that is another one at every application, as an inner solver's."""
    d, calls = CONVECTION.diagonal(), itertools.count()

    def apply(v):
        v = v.ravel()
        return v / d * (1 + 0.5 * np.sin(1 + next(calls))) + 0.1 * np.abs(v) / d

    return sla.LinearOperator((N, N), matvec=apply, dtype=float)


@pytest.mark.parametrize("flexible", [None, True])
def test_flexible(flexible):
    b = right_hand_side(N)
    solution = quietly(gmres, CONVECTION, b, M=changing(), flexible=flexible, rtol=1e-9)
    assert solution.converged
    assert_honest(solution, CONVECTION, b, 1e-9)
    assert ("FGMRES" in solution.report) == (flexible is None)
    if flexible:
        assert "restarted" not in solution.report  # the estimate is the true norm
    rigid = quietly(gmres, CONVECTION, b, M=changing(), flexible=False, rtol=1e-9, maxiter=3000)
    assert_honest(rigid, CONVECTION, b, 1e-9)
    assert rigid.n_iterations > solution.n_iterations


def test_flexible_equals_rigid_for_a_fixed_preconditioner():
    b = right_hand_side(N)
    M = sparse.csr_array(sparse.diags_array(1 / np.linspace(3, 5, N)))
    one, two = (quietly(gmres, CONVECTION, b, M=M, flexible=f, rtol=1e-9) for f in (False, True))
    assert one.n_iterations == two.n_iterations
    np.testing.assert_allclose(one.x, two.x, rtol=1e-6, atol=1e-10)
    assert quietly(gmres, CONVECTION, b, flexible=True).converged  # without M


def test_counts():
    b = right_hand_side(N)
    solution = quietly(gmres, CONVECTION, b, restart=10, rtol=1e-6)
    cycles = -(-solution.n_iterations // 10)
    assert solution.n_matvecs == solution.n_iterations + cycles
    assert quietly(gmres, CONVECTION, b, restart=10, maxiter=25).n_iterations == 25
    assert solution.method == "gmres(10)"


@pytest.mark.parametrize(
    ("options", "match"),
    [({"restart": 0}, "restart"), ({"restart": 2.0}, "restart"), ({"flexible": 1}, "flexible")],
)
def test_malformed_options(options, match):
    with pytest.raises(InputError, match=match):
        gmres(CONVECTION, np.ones(N), **options)
