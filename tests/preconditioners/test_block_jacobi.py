"""Block Jacobi: blocks divided out exactly, polynomials over what is left."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from spectool import gallery
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.preconditioners.block_jacobi import block_jacobi, block_split

SEED = 299_792_458


def blocks_of(A, b):
    dense = A.toarray()
    return sp.block_diag([dense[i : i + b, i : i + b] for i in range(0, len(dense), b)]).toarray()


def random_blocks(n_blocks, b, rng, *, dtype=float):
    """A block tridiagonal matrix whose blocks are badly conditioned each in its own way."""
    diagonal, X = [], rng.standard_normal((n_blocks, b, b)).astype(dtype)
    if np.dtype(dtype).kind == "c":
        X = X + 1j * rng.standard_normal(X.shape)
    for x in X:
        q, _ = np.linalg.qr(x)
        diagonal.append((q * np.geomspace(1e-4, 1e2, b)) @ q.conj().T)
    D = sp.block_diag(diagonal, format="csr")
    L = sp.block_diag([np.linalg.cholesky(0.5 * (d + d.conj().T)) for d in diagonal])
    T = gallery.path_graph(n_blocks)
    coupling = sp.kron(T / T.sum(axis=1).max(), np.eye(b))
    return sp.csr_array(D + 0.1 * (L @ coupling @ L.conj().T))


@pytest.mark.parametrize("b", [1, 2, 3, 5, 7])
def test_degree_zero_is_the_inverse_of_the_diagonal_blocks(b, rng):
    A = random_blocks(12, b, rng)
    M = block_jacobi(A, block_size=b, degree=0)
    assert M.block_size == b
    truth = np.linalg.inv(blocks_of(A, b))
    assert np.abs(M @ np.eye(12 * b) - truth).max() <= 1e-9 * np.abs(truth).max()
    assert M.recurrence.degree == 0
    assert "block Jacobi" in M.report.chosen


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("degree", [1, 4, 8])
def test_the_polynomial_acts_on_the_split_matrix(degree, dtype, rng):
    b, n = 3, 60
    A = random_blocks(n // b, b, rng, dtype=dtype)
    M = block_jacobi(A, block_size=b, degree=degree, method="chebyshev4", rng=SEED)
    L = np.linalg.cholesky(blocks_of(A, b))
    inverse = np.linalg.inv(L)
    lam, V = np.linalg.eigh(inverse @ A.toarray() @ inverse.conj().T)
    truth = inverse.conj().T @ (V * M.recurrence(lam)) @ V.conj().T @ inverse
    dense = M @ np.eye(n, dtype=dtype)
    # The blocks' condition number is 1e6.
    assert np.abs(dense - truth).max() <= 1e-8 * np.abs(truth).max()
    assert np.abs(dense - dense.conj().T).max() <= 1e-8 * np.abs(truth).max()
    half = np.linalg.cholesky(A.toarray())
    assert np.linalg.eigvalsh(half.conj().T @ dense @ half)[0] > 0
    assert lam[-1] <= M.spectrum.interval[1]
    x = rng.standard_normal(n)
    assert np.allclose(M @ x, dense @ x)
    assert np.allclose(M @ (x + 2j * x), (1 + 2j) * (dense @ x))


def test_the_split_matrix_is_hermitian_with_unit_blocks(rng):
    A = random_blocks(10, 4, rng)
    split = block_split(A, 4)
    S = split.operator.backend.to_dense()
    assert np.abs(S - S.T).max() <= 1e-12
    for i in range(0, 40, 4):
        assert np.array_equal(S[i : i + 4, i : i + 4], np.eye(4))
    forward, backward = (m.backend.to_dense() for m in (split.forward, split.backward))
    assert np.array_equal(forward.T, backward)
    assert np.allclose(forward @ A.toarray() @ backward, S)


def test_a_block_diagonal_matrix_is_inverted(rng):
    blocks = [x @ x.T + np.eye(3) for x in rng.standard_normal((20, 3, 3))]
    A = sp.csr_array(sp.block_diag(blocks))
    M = block_jacobi(A, rng=SEED)
    assert M.block_size == 3
    x = rng.standard_normal(60)
    assert np.allclose(M @ (A @ x), x)


def test_block_sizes_are_found():
    assert block_split(gallery.elasticity((12, 12))).block_size == 2
    assert block_split(gallery.elasticity((6, 6, 6))).block_size == 3
    assert block_split(gallery.poisson((20, 20))).block_size == 1
    assert block_split(gallery.poisson((6, 6, 6))).block_size == 1
    assert block_split(sp.csr_array([[3.0]])).block_size == 1


def test_it_beats_jacobi_where_blocks_are_ill_conditioned(rng):
    A = random_blocks(200, 3, rng)
    b = rng.standard_normal(600)

    def iterations(M):
        count = []
        _, info = sla.cg(A, b, M=M, rtol=1e-8, maxiter=5000, callback=lambda _: count.append(0))
        assert info == 0
        return len(count)

    jacobi = iterations(block_jacobi(A, block_size=1, degree=0))
    base = iterations(block_jacobi(A, block_size=3, degree=0))
    polynomial = iterations(block_jacobi(A, block_size=3, degree=4, rng=SEED))
    assert 4 * base <= jacobi
    assert 2 * polynomial <= base


def test_blocks_of_vectors_integers_and_single_precision(rng):
    A = gallery.elasticity((8, 8))
    M = block_jacobi(A, degree=4, rng=SEED)
    X = rng.standard_normal((A.shape[0], 3))
    columns = np.column_stack([M @ x for x in X.T])
    assert np.allclose(M @ X, columns, rtol=1e-12, atol=1e-14)
    assert np.allclose(M @ np.ones(len(X), dtype=int), M @ np.ones(len(X)))
    single = block_jacobi(A, degree=4, precision="float32", rng=SEED)
    assert np.linalg.norm(single @ X - columns) <= 1e-5 * np.linalg.norm(columns)
    assert M.n_matvecs > M.report.n_matvecs
    half = block_jacobi(A.astype(np.float32), degree=4, rng=SEED)
    assert half.dtype == np.float32
    assert (half @ X.astype(np.float32)).dtype == np.float32


def test_it_pickles(rng):
    A = gallery.elasticity((8, 8))
    M = block_jacobi(A, degree=4, rng=SEED)
    x = rng.standard_normal(A.shape[0])
    copy = pickle.loads(pickle.dumps(M))
    assert np.array_equal(copy @ x, M @ x)
    assert str(copy.report) == str(M.report)
    assert np.array_equal(block_jacobi(A, degree=4, rng=SEED) @ x, M @ x)


def test_bad_input_is_refused(rng):
    A = gallery.elasticity((4, 4))
    for size in (0, -2, 3, 2.0, True, 4000):
        with pytest.raises(InputError, match="block_size"):
            block_jacobi(A, block_size=size)
    with pytest.raises(InputError, match="method"):
        block_jacobi(A, method="jacobi")
    with pytest.raises(InputError, match="degree"):
        block_jacobi(A, degree=-1)
    with pytest.raises(InputError, match="stored entries"):
        block_jacobi(A.toarray())
    with pytest.raises(InputError, match="finite"):
        block_jacobi(A * np.nan)
    with pytest.raises(InputError, match="Hermitian"):
        block_jacobi(gallery.convection_diffusion((6, 6)))


def test_indefinite_blocks_are_named(rng):
    A = random_blocks(5, 2, rng).tolil()
    A[6, 6] = -1.0
    with pytest.raises(NotPositiveDefiniteError, match="rows 6 to 7 has the eigenvalue -2"):
        block_jacobi(A.tocsr(), block_size=2)
    with pytest.raises(NotPositiveDefiniteError, match="rows 0 to 1"):
        block_jacobi(sp.csr_array((4, 4)), block_size=2)
    # Definite blocks, indefinite matrix: a forced degree finds out.
    B = sp.csr_array(
        sp.block_diag([np.eye(2)] * 20) + 2 * sp.kron(gallery.path_graph(20), np.eye(2))
    )
    B.setdiag(1.0)
    with pytest.raises(NotPositiveDefiniteError, match="Ritz value"):
        block_jacobi(sp.csr_array(B), block_size=2, method="chebyshev", degree=4, rng=SEED)
