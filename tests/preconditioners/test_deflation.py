"""Deflation as a preconditioner: definite for any W, fewer iterations for a good one."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.linalg import eigh, eigvals
from scipy.sparse.linalg import LinearOperator
from strategies import outliers

import spectool as st
from spectool.errors import BreakdownError, InputError, NotPositiveDefiniteError
from spectool.preconditioners.deflation import deflated, smallest_ritz_vectors

SEED = 298471056


def dense(M):
    return M @ np.eye(M.shape[0])


def scipy_iterations(A, b, M):
    from scipy.sparse.linalg import cg

    seen = []
    _, info = cg(A, b, M=M, rtol=1e-9, maxiter=20_000, callback=seen.append)
    assert info == 0
    return len(seen)


@pytest.mark.parametrize("base", ["none", "jacobi", "chebyshev4", "dense"])
def test_positive_definite_for_any_basis(rng, base):
    A = st.gallery.jump((9, 8), contrast=1e3, rng=SEED)
    M = {
        "none": None,
        "dense": np.linalg.inv(A.toarray() + np.eye(72)),
    }.get(base)
    if base in ("jacobi", "chebyshev4"):
        M = st.preconditioner(A, method=base, degree=4 if base == "chebyshev4" else None, rng=SEED)
    for W in (rng.standard_normal((72, 5)), np.eye(72)[:, 3:9], np.ones(72)):
        D = deflated(A, M, W)
        matrix = dense(D)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-9 * np.abs(matrix).max())
        assert np.linalg.eigvalsh(matrix).min() > 0
        inner = np.eye(72) if M is None else dense(M)
        W = W.reshape(72, -1)
        coarse = W @ np.linalg.solve(W.T @ A @ W, W.T)
        np.testing.assert_allclose(matrix, inner + D.tau * coarse, atol=1e-10 * matrix.max())


def test_eigenvalues_are_lifted_by_tau():
    A = outliers(120)
    lam, U = eigh(A.toarray())
    D = deflated(A, None, U[:, :10])
    assert 1 < D.tau < 3
    wanted = np.sort(np.concatenate([lam[:10] + D.tau, lam[10:]]))
    np.testing.assert_allclose(np.sort(eigvals(dense(D) @ A.toarray()).real), wanted, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_big_savings_on_ten_outliers_in_any_unit(rng, unit):
    A = unit * outliers()
    b = rng.standard_normal(400)
    found = smallest_ritz_vectors(A, 10, rng=SEED)
    D = deflated(A, None, found.vectors)
    assert scipy_iterations(A, b, D) < 0.25 * scipy_iterations(A, b, None)
    np.testing.assert_allclose(found.values[:8], unit * np.geomspace(1e-6, 1e-4, 10)[:8], rtol=0.05)


def test_ritz_vectors_fit_the_preconditioner(rng):
    A = st.gallery.jump((14, 12), contrast=1e4, rng=SEED)
    M = st.preconditioner(A, method="jacobi")
    lam = eigh(A.toarray(), np.diag(A.diagonal()), eigvals_only=True)
    vectors, values, n_matvecs = smallest_ritz_vectors(A, 4, M=M, rng=SEED)
    # CG to 1e-8 finds them: of six seeds the worst was off by 5e-7.
    np.testing.assert_allclose(values, lam[:4], rtol=1e-5)
    np.testing.assert_allclose(vectors.T @ A @ vectors, np.eye(4), atol=1e-8)
    b = rng.standard_normal(168)
    plain, better = scipy_iterations(A, b, M), scipy_iterations(A, b, deflated(A, M, vectors))
    assert better < 0.8 * plain
    assert n_matvecs <= 2 * plain
    short = smallest_ritz_vectors(A, 4, M=M, maxiter=3, rng=SEED)
    assert short.vectors.shape == (168, 3)
    assert short.n_matvecs == 3
    again = smallest_ritz_vectors(A, 4, M=M, rng=SEED)
    assert np.array_equal(again.vectors, vectors)


def test_dependent_zero_and_many_columns(rng):
    A = st.gallery.poisson((6, 5))
    v, w = rng.standard_normal((2, 30))
    D = deflated(A, None, np.column_stack([v, w, v + w, 0 * v, 1e-200 * v, 1e200 * w]))
    assert D.vectors.shape == (30, 2)
    assert "4 dependent" in D.report.reason
    np.testing.assert_allclose(dense(D), dense(deflated(A, None, np.column_stack([v, w]))))
    whole = deflated(A, None, rng.standard_normal((30, 41)))
    inverse = np.linalg.inv(A.toarray())
    np.testing.assert_allclose(dense(whole), np.eye(30) + whole.tau * inverse, atol=1e-8)
    np.testing.assert_allclose(
        dense(deflated(A, None, v)), dense(deflated(A, None, v[:, None])), rtol=1e-14
    )
    ones = dense(deflated(A, None, np.ones(30, dtype=int)))
    np.testing.assert_allclose(ones, dense(deflated(A, None, np.ones(30, np.float32))), rtol=1e-6)


def test_hostile_input():
    A = np.diag([1.0, 2.0, 3.0])
    for W in (np.zeros(3), np.zeros((3, 2)), np.full(3, np.nan), np.ones(4), np.ones((3, 0)), None):
        with pytest.raises(InputError, match="W must"):
            deflated(A, None, W)
    with pytest.raises(InputError, match="W must be real"):
        deflated(A, None, 1j * np.ones(3))
    with pytest.raises(InputError, match="M must"):
        deflated(A, np.eye(2), np.ones(3))
    with pytest.raises(InputError, match="M must"):
        smallest_ritz_vectors(A, 1, M=np.eye(2))
    with pytest.raises(NotPositiveDefiniteError):
        deflated(np.diag([1.0, -1.0, 5.0]), None, np.array([0.0, 1.0, 0.0]))
    with pytest.raises(NotPositiveDefiniteError, match="quotient"):
        deflated(A, -np.eye(3), np.ones(3))
    for k in (0, 1.5, True):
        with pytest.raises(InputError, match="k must"):
            smallest_ritz_vectors(A, k)
    with pytest.raises(InputError, match="maxiter"):
        smallest_ritz_vectors(A, 1, maxiter=0)
    with pytest.raises(NotPositiveDefiniteError, match="A must"):
        smallest_ritz_vectors(np.diag([-1.0, -2.0]), 1)
    with pytest.raises(NotPositiveDefiniteError, match="M must"):
        smallest_ritz_vectors(A, 1, M=-np.eye(3))
    broken = LinearOperator((3, 3), matvec=lambda v: v * np.nan, dtype=float)
    with pytest.raises(BreakdownError, match="not finite"):
        smallest_ritz_vectors(A, 1, M=broken)
    one = smallest_ritz_vectors(np.array([[4.0]]), 3, rng=SEED)
    np.testing.assert_allclose(one.values, [4.0])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64, np.complex128])
def test_dtypes(rng, kind):
    A = outliers(60, 2).toarray() + 1e-3 * np.eye(60)
    if np.dtype(kind).kind == "c":
        phase = np.exp(1j * np.linspace(0, 3, 60))
        A = phase[:, None] * A * phase.conj()
    A = A.astype(kind)
    found = smallest_ritz_vectors(A, 2, rng=SEED)
    D = deflated(A, None, found.vectors)
    assert D.dtype == kind
    x = rng.standard_normal(60).astype(kind)
    assert (D @ x).dtype == kind
    matrix = dense(D)
    tight = 1e-3 if np.finfo(kind).eps > 1e-10 else 1e-9
    np.testing.assert_allclose(matrix, matrix.conj().T, atol=tight * np.abs(matrix).max())
    lifted = np.sort(eigvals(matrix @ A).real)
    assert lifted[0] > 0.9


def test_operator_protocol(rng):
    A = st.gallery.jump((9, 8), rng=SEED)
    M = st.preconditioner(A, method="chebyshev4", degree=4, rng=SEED)
    before = M.n_matvecs
    D = deflated(A, M, rng.standard_normal((72, 3)))
    assert D.n_matvecs == M.n_matvecs + 4  # three columns and a random vector
    assert D.report.n_matvecs == 4
    assert M.n_matvecs == before + 4
    X = rng.standard_normal((72, 5))
    np.testing.assert_allclose(D @ X, np.column_stack([D @ x for x in X.T]), rtol=1e-10)
    np.testing.assert_allclose(D.H @ X, D @ X, rtol=0)
    complex_ = X + 1j * X[:, ::-1]
    np.testing.assert_allclose((D @ complex_).imag, D @ X[:, ::-1], rtol=1e-10, atol=1e-12)
    copy = pickle.loads(pickle.dumps(D))
    np.testing.assert_array_equal(copy @ X, D @ X)
    assert copy.n_matvecs == D.n_matvecs
    assert "3 vectors deflated" in repr(D)
    spent = D.n_matvecs
    D @ X[:, 0]
    assert D.n_matvecs == spent + 4
    assert deflated(A, sparse.eye_array(72), X).shape == (72, 72)
