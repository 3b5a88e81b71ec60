"""minres: indefinite, shifted, singular; the iterations of scipy's, with a true residual."""

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from scipy import sparse
from test_solvers import POISSON, N, assert_honest, diagonal, quietly, right_hand_side

import spectool as st
from spectool.errors import InputError
from spectool.results import Status
from spectool.solvers import cg, minres

INDEFINITE = sparse.csr_array(POISSON - 1.3 * sparse.eye_array(N))


def residuals_of_scipy(A, b, steps, **options):
    norms = []
    shift = options.get("shift", 0.0)
    sla.minres(
        A, b, rtol=1e-15, maxiter=steps, **options,
        callback=lambda x: norms.append(np.linalg.norm(b - (A @ x - shift * x))),
    )  # fmt: skip
    return np.array(norms)


@pytest.mark.parametrize("shift", [0.0, 1.3, -2.0])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_iterates_are_those_of_scipy(shift, preconditioned):
    b = right_hand_side(N)
    M = diagonal(1 / np.linspace(1, 3, N)) if preconditioned else None
    theirs = residuals_of_scipy(POISSON, b, 40, shift=shift, M=M)
    ours = quietly(minres, POISSON, b, rtol=1e-12, maxiter=40, shift=shift, M=M)
    norms = ours.history[1:] * np.linalg.norm(b)
    steps = min(norms.size, theirs.size)
    np.testing.assert_allclose(norms[:steps], theirs[:steps], rtol=1e-6, atol=1e-10)
    assert steps >= 25
    assert_honest(ours, POISSON, b, 1e-12, shift)


@pytest.mark.parametrize("name", ["HB/bcsstk01", "HB/lund_a", "indefinite", "saddle"])
def test_as_many_iterations_as_scipy(name):
    if name == "saddle":
        B = sparse.random_array((30, N), density=0.05, rng=np.random.default_rng(817263))
        A = sparse.csr_array(sparse.block_array([[POISSON, B.T], [B, None]]))
    else:
        A = INDEFINITE if name == "indefinite" else st.collection.load(name)
    d = np.abs(A.diagonal())
    M = diagonal(1 / np.where(d > 0, d, 1.0))
    b = A @ right_hand_side(A.shape[0])
    theirs = residuals_of_scipy(A, b, 5 * b.size, M=M)
    theirs = int(np.argmax(theirs <= 1e-6 * np.linalg.norm(b))) + 1
    assert theirs > 1
    solution = quietly(minres, A, b, rtol=1e-6, M=M)
    assert solution.converged
    assert_honest(solution, A, b, 1e-6)
    assert abs(solution.n_iterations - theirs) <= 2 + 0.05 * theirs


def test_residual_never_grows():
    b = right_hand_side(N)
    for A in (INDEFINITE, POISSON):
        assert (np.diff(quietly(minres, A, b, rtol=1e-9).history) <= 1e-14).all()


def test_indefinite_complex_with_preconditioner():
    rng = np.random.default_rng(726354819)
    Q, _ = np.linalg.qr(rng.standard_normal((60, 60)) + 1j * rng.standard_normal((60, 60)))
    lam = np.concatenate([np.linspace(-3, -1, 20), np.linspace(1, 5, 40)])
    A = (Q * lam) @ Q.conj().T
    A = 0.5 * (A + A.conj().T)
    P = rng.standard_normal((60, 60)) + 1j * rng.standard_normal((60, 60))
    M = P @ P.conj().T / 60 + np.eye(60)
    b = rng.standard_normal(60) + 1j * rng.standard_normal(60)
    for options in ({}, {"M": M}, {"M": M, "shift": 0.4}):
        solution = quietly(minres, A, b, rtol=1e-9, **options)
        assert solution.converged
        assert_honest(solution, A, b, 1e-9, options.get("shift", 0.0))


def test_residual_is_smaller_than_that_of_cg():
    b = right_hand_side(N)
    for steps in (5, 20, 40):
        least = quietly(minres, POISSON, b, rtol=1e-12, maxiter=steps).residual_norm
        assert least <= quietly(cg, POISSON, b, rtol=1e-12, maxiter=steps).residual_norm


@pytest.mark.parametrize("part", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_least_squares_solution_of_an_inconsistent_system(part, preconditioned):
    L = st.gallery.graph_laplacian(st.gallery.grid_graph((20, 19)))
    n = L.shape[0]
    b = L @ right_hand_side(n) + part
    M = diagonal(1 / np.linspace(2, 5, n)) if preconditioned else None
    solution = quietly(minres, L, b, rtol=1e-11, M=M, maxiter=50 * n)
    assert solution.status is Status.STAGNATED
    assert "least-squares" in solution.report
    assert_honest(solution, L, b, 1e-11)
    least = part * np.sqrt(n)
    assert solution.residual_norm >= (1 - 1e-9) * least
    if M is None:  # with M the M-norm is least, and the smallest norm on the way is returned
        assert solution.residual_norm == pytest.approx(least, rel=1e-6)


def test_shift_at_an_eigenvalue():
    lam = st.gallery.poisson_eigenvalues((15, 14))
    b = right_hand_side(N)
    solution = quietly(minres, POISSON, b, shift=float(lam[4]), rtol=1e-8)
    assert_honest(solution, POISSON, b, 1e-8, float(lam[4]))
    assert np.linalg.norm(solution.x) < 1e16


@pytest.mark.parametrize("shift", [np.nan, 1j, None, "1", True])
def test_malformed_shift(shift):
    with pytest.raises(InputError, match="shift"):
        minres(POISSON, np.ones(N), shift=shift)
