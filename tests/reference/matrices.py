"""Facts about dense matrices."""

import numpy as np


def gershgorin(A):
    """Return the diagonal and the row sums of the moduli beside it."""
    diagonal = np.diag(A)
    return diagonal, np.abs(A).sum(axis=1) - np.abs(diagonal)


def hermitian_defect(A):
    return np.abs(A - A.conj().T).max()


def dense_funm(f, A, B):
    """f(A) B for Hermitian A by its eigendecomposition, in double precision."""
    wide = np.complex128 if np.iscomplexobj(A) else np.float64
    lam, V = np.linalg.eigh(np.asarray(A, dtype=wide))
    scaled = (f(lam) * V) @ V.conj().T
    return scaled @ B


def relative_error(found, truth):
    """Largest over columns of ``||found - truth|| / ||truth||``."""
    found, truth = (np.atleast_2d(np.asarray(y).T) for y in (found, truth))
    return (np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth, axis=1)).max()
