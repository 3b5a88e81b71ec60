"""Eigenvectors on the side: Ritz vectors of M A from the directions of conjugate gradients.

Source
    Stathopoulos and Orginos, Computing and deflating eigenvalues while solving multiple right-hand
    side linear systems, SISC 32 (2010), Algorithm 2.2 (eigCG): a window of vectors that restarts
    with the Ritz vectors of its last two steps loses next to nothing against the whole Krylov
    space. Saad, Yeung, Erhel and Guyomarc'h, A deflated version of the conjugate gradient
    algorithm, SISC 21 (2000), section 4.
Deviations
    The window holds A-normalized directions p and their products A p, not residuals. In the inner
    product of A they are orthonormal and M A is tridiagonal with entries of CG's own scalars, so
    that neither products with A or M nor reductions are spent, with M and without; a restart needs
    none either, since the next direction meets the kept vectors through the last one only.
Cost
    2 ``capacity`` vectors; 2 copies per step, and a product of two blocks per restart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spectool._types import Array, FloatArray

DEPENDENT = 1e-2
"""Squared length below which a combination of the window's vectors is noise: long runs of CG repeat
eigenvectors that have converged, and the difference of two copies is no eigenvector."""


class RitzBasis(NamedTuple):
    """Approximate eigenvectors of M A, A-orthonormal.

    Attributes
    ----------
    vectors, products : ndarray, shape (k, n)
        Rows w and A w.
    values : ndarray, shape (k,)
        Ascending Ritz values; no unit where M approximates the inverse of A.
    """

    vectors: Array
    products: Array
    values: FloatArray

    @classmethod
    def empty(cls, n: int, dtype: Any) -> RitzBasis:
        """Return a basis of no vectors."""
        none = np.empty((0, n), dtype=dtype)
        return cls(none, none, np.empty(0))


class RitzWindow:
    """Approximations to the k smallest eigenvectors of M A, kept while CG runs.

    Parameters
    ----------
    k : int
        Eigenvectors wanted.
    deflated : RitzBasis
        What CG's directions are A-orthogonal to.
    capacity : int, optional
        Vectors the window may hold, more than 2 k; 3 k.
    """

    def __init__(self, k: int, deflated: RitzBasis, capacity: int | None = None) -> None:
        self.k = k
        self.capacity = capacity or 3 * k + 10
        self._deflated = deflated
        self._rows = 0
        self._last = np.empty(0)
        self._step = (1.0, 1.0)
        shape = (self.capacity, deflated.vectors.shape[1])
        dtype = deflated.vectors.dtype
        self._V, self._AV = np.empty(shape, dtype=dtype), np.empty(shape, dtype=dtype)
        self._G = np.zeros((self.capacity, self.capacity))
        self._C = np.zeros((len(deflated.values), self.capacity), dtype=dtype)
        self.frozen = False
        """Whether nothing is recorded any more: CG has restarted, which cuts its recurrence."""

    def record(
        self, p: Array, Ap: Array, alpha: float, rho: float, following: float, change: Array
    ) -> None:
        """Take one step of CG: its direction, step length, ``r* M r`` before and after it.

        ``change``, shape (len(deflated),), is how much ``(A W)* M r`` fell.
        """
        if self.frozen:
            return
        j = self._rows
        scale = np.sqrt(alpha / rho)  # p* A p = rho / alpha
        self._V[j], self._AV[j] = scale * p, scale * Ap
        # M A p = (z - z_next) / alpha, and p* A z_next etc. are known from CG's orthogonality.
        self._G[j, :], self._G[:, j] = 0.0, 0.0
        if j:
            alpha_before, rho_before = self._step
            coupling = -np.sqrt(rho / rho_before / alpha / alpha_before)
            self._G[:j, j] = self._G[j, :j] = coupling * self._last
        self._G[j, j] = (1.0 + following / rho) / alpha
        self._C[:, j] = (scale / alpha) * change
        self._last, self._step, self._rows = np.eye(j + 1)[j], (alpha, rho), j + 1
        if self._rows == self.capacity:
            self._restart()

    def _restart(self) -> None:
        """Keep the Ritz vectors of this step and of the step before."""
        G, k = self._G, self.k
        newest = np.linalg.eigh(G)[1][:, :k]
        before = np.zeros_like(newest)
        before[:-1] = np.linalg.eigh(G[:-1, :-1])[1][:, :k]
        Q, sizes, _ = np.linalg.svd(np.hstack([newest, before]), full_matrices=False)
        Q = Q[:, sizes > 1e-8]  # converged Ritz vectors are the same in both
        theta, U = np.linalg.eigh(Q.T @ G @ Q)
        S = Q @ U
        rows = theta.size
        self._V[:rows], self._AV[:rows] = _combined(S, self._V), _combined(S, self._AV)
        self._C[:, :rows] = self._C @ S
        self._G[:rows, :rows] = np.diag(theta)
        self._last, self._rows = S[-1].copy(), rows

    def basis(self) -> RitzBasis:
        """Return the k smallest Ritz vectors over the deflated ones and the window. 1 reduction."""
        known, m = self._deflated, self._rows
        if m == 0:
            return known
        V = np.concatenate([known.vectors, self._V[:m]])
        AV = np.concatenate([known.products, self._AV[:m]])
        C = self._C[:, :m]
        K = np.block([[np.diag(known.values), C], [C.conj().T, self._G[:m, :m]]])
        # M A V = V K holds by CG's local recurrence also where V has lost its orthogonality.
        found = rayleigh_ritz(V, AV, (V.conj() @ AV.T) @ K, len(V), floor=DEPENDENT)
        first = int((found.values <= 0).sum())  # noise: no Rayleigh quotient of CG's is
        return RitzBasis(*(part[first : first + self.k] for part in found))


def rayleigh_ritz(
    V: Array, AV: Array, G: Array, k: int, *, floor: float | None = None
) -> RitzBasis:
    """Return the k smallest Ritz pairs of M A on rows V, given ``G = (A V)* M (A V)``.

    Directions that rows of length one span less than ``floor`` of (squared, by default what
    rounding leaves) are dropped.
    """
    F = V.conj() @ AV.T
    size = np.sqrt(np.maximum(np.diag(F).real, 0.0))
    scale = np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), 0.0)
    lam, U = np.linalg.eigh(scale[:, None] * (0.5 * (F + F.conj().T)) * scale)
    if floor is None:
        floor = float(np.finfo(V.dtype).eps) ** (2 / 3)
    kept = lam > floor * max(lam[-1], 0.0)
    U = scale[:, None] * (U[:, kept] / np.sqrt(lam[kept]))
    theta, Y = np.linalg.eigh(U.conj().T @ (0.5 * (G + G.conj().T)) @ U)
    S = U @ Y[:, :k]
    return RitzBasis(_combined(S, V), _combined(S, AV), theta[:k])


def _combined(S: Array, rows: Array) -> Array:
    """Return the rows ``sum_i S[i, j] rows[i]`` in the dtype of ``rows``."""
    return np.asarray(S.T.astype(rows.dtype) @ rows)
