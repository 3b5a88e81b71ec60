"""Matrices that kernels get wrong: tiny, empty rows, a dense row, no entry at all."""

import numpy as np
from scipy import sparse

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
SIZES = [1, 3, 597]
LARGE = 2 * 2048 + 377
"""Rows of the matrix that spans three reduction chunks."""


def values(rng, shape, dtype):
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def hermitian(n, dtype, seed):
    """A random sparse Hermitian matrix of norm about 1."""
    rng = np.random.default_rng(seed)
    B = sparse.random_array((n, n), density=min(1.0, 4 / n), rng=rng, format="csr")
    B.data = values(rng, B.nnz, dtype)
    A = sparse.csr_array(B + B.conj().T + sparse.diags_array(np.ones(n, dtype=dtype)))
    A.data /= np.asarray(abs(A).sum(axis=1).max()).astype(A.data.real.dtype)
    A.sum_duplicates()
    return A


def uneven(dtype, n=LARGE):
    """Hermitian; every third row empty, one row and column dense."""
    rng = np.random.default_rng(561748392)
    A = hermitian(n, dtype, 918273645).tolil()
    full = values(rng, n, dtype) / np.sqrt(n).astype(np.float32)
    full[5] = 1
    keep = sparse.diags_array((np.arange(n) % 3 != 1).astype(np.float64))
    A = sparse.csr_array(keep @ A.tocsr() @ keep)
    row = sparse.csr_array((full.conj(), (np.full(n, 5), np.arange(n))), shape=(n, n))
    A = sparse.csr_array(A + row + row.conj().T, dtype=dtype)
    A.data /= abs(A).sum(axis=1).max().astype(A.data.real.dtype)
    A.sum_duplicates()
    return A


def empty(n, dtype):
    return sparse.csr_array((n, n), dtype=dtype)


def coefficients(degree, seed=647382915):
    """Random a, b, c, w of a recurrence that neither grows nor dies."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(-1, 1, (3, degree)) * np.array([[1.0], [0.3], [0.5]])
    return a, b, c, rng.standard_normal(degree + 1)
