"""Every public verb as ``verb(A) -> something comparable``, and the forms a matrix may take."""

import numpy as np
from scipy import sparse

import spectool as st

SEED = 558127364


def _spectrum(A):
    return st.estimate_spectrum(A, rng=SEED).ritz_values


def _preconditioner(A):
    n = np.shape(A)[0]
    return st.preconditioner(A, method="chebyshev4", degree=4, rng=SEED) @ np.linspace(1, 2, n)


def _auto(A):
    n = np.shape(A)[0]
    return st.preconditioner(A, rng=SEED) @ np.linspace(1, 2, n)


def _exp(A):
    return st.funm_multiply("exp", A, np.linspace(1, 2, np.shape(A)[0]), t=-0.5, rng=SEED).y


def _invsqrt(A):
    return st.funm_multiply("invsqrt", A, np.linspace(1, 2, np.shape(A)[0]), rng=SEED).y


def _operator(A):
    F = st.matrix_function("exp", A, t=-0.5, rng=SEED)
    return F @ np.linspace(1, 2, np.shape(A)[0])


def _filter(A):
    n = np.shape(A)[0]
    F = st.spectral_filter(A, (-np.inf, 1.0), degree=10, rng=SEED)
    return F @ np.linspace(1, 2, n)


VERBS = {
    "estimate_spectrum": _spectrum,
    "preconditioner": _preconditioner,
    "preconditioner auto": _auto,
    "funm_multiply exp": _exp,
    "funm_multiply invsqrt": _invsqrt,
    "matrix_function": _operator,
    "spectral_filter": _filter,
}


def jump():
    """Positive definite with a diagonal that varies; its spectrum is about [0.02, 8]."""
    return st.gallery.diffusion(np.random.default_rng(SEED).uniform(0.5, 2, (9, 8)))


def unsorted(A):
    """The same matrix with every row reversed."""
    A = sparse.csr_array(A)
    order = np.concatenate(
        [np.arange(A.indptr[i], A.indptr[i + 1])[::-1] for i in range(A.shape[0])]
    )
    return sparse.csr_array((A.data[order], A.indices[order], A.indptr), shape=A.shape)


def duplicated(A):
    """The same matrix with every entry split in two."""
    A = sparse.csr_array(A)
    return sparse.csr_array(
        (np.repeat(A.data, 2) / 2, np.repeat(A.indices, 2), 2 * A.indptr), shape=A.shape
    )


def with_zeros(A):
    """The same matrix with explicit zeros stored."""
    A = sparse.coo_array(A)
    n = A.shape[0]
    corner = np.array([0, n - 1]), np.array([n - 1, 0])
    rows, cols = (np.concatenate([old, new]) for old, new in zip(A.coords, corner, strict=True))
    padded = sparse.coo_array((np.append(A.data, [0.0, 0.0]), (rows, cols)), shape=A.shape)
    return sparse.csr_array(padded)


def long_indices(A):
    A = sparse.csr_array(A)
    A.indices, A.indptr = A.indices.astype(np.int64), A.indptr.astype(np.int64)
    return A


def read_only(A):
    A = sparse.csr_array(A, copy=True)
    for array in (A.data, A.indices, A.indptr):
        array.flags.writeable = False
    return A


def swapped_bytes(A):
    A = sparse.csr_array(A, copy=True)
    A.data = A.data.astype(">f8")
    return A


FORMS = {
    "csr_matrix": sparse.csr_matrix,
    "csc_array": sparse.csc_array,
    "coo_array": sparse.coo_array,
    "bsr_array": sparse.bsr_array,
    "dia_array": sparse.dia_array,
    "lil_array": sparse.lil_array,
    "dok_array": sparse.dok_array,
    "csc_matrix": sparse.csc_matrix,
    "unsorted": unsorted,
    "duplicated": duplicated,
    "explicit zeros": with_zeros,
    "int64 indices": long_indices,
    "read-only": read_only,
    "big-endian": swapped_bytes,
    "longdouble": lambda A: sparse.csr_array(A, dtype=np.longdouble),
}
DENSE_FORMS = {
    "ndarray": lambda A: A.toarray(),
    "Fortran order": lambda A: np.asfortranarray(A.toarray()),
    "np.matrix": lambda A: np.asmatrix(A.toarray()),
    "list": lambda A: A.toarray().tolist(),
    "strided": lambda A: np.kron(A.toarray(), np.ones((2, 2)))[::2, ::2],
}
