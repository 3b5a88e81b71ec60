"""Krylov-Schur: an Arnoldi or Lanczos process that restarts with some of its Schur vectors.

Source
    Stewart, A Krylov-Schur algorithm for large eigenproblems, SIMAX 23 (2001); Wu and Simon,
    Thick-restart Lanczos method for large symmetric eigenvalue problems, SIMAX 22 (2000).
Deviations
    Full orthogonalization, twice for general A and once beside the three-term recurrence for
    Hermitian A, so that kept vectors stay out.
Cost per step
    1 matvec, 3 reductions, ``4 k n`` values of traffic with k vectors in the basis (half of it for
    Hermitian A); ``capacity + 1`` vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg as sl

from spectool._types import Array
from spectool.errors import BreakdownError, InputError
from spectool.operators import Operator

SLAB = 4096
"""Unknowns whose basis is combined at a time: no second basis is needed."""
_schur: Any = sl.schur
"""SciPy's stubs know no arrays that may be real or complex."""


class Projection(NamedTuple):
    """One cycle in Schur form: ``A V = V H + below v e_k*`` with ``H = Q T Q*``.

    Attributes
    ----------
    H : ndarray, shape (k, k)
        float64 or complex128; Hermitian if A is.
    T, Q : ndarray, shape (k, k)
        Upper triangular, diagonal if A is Hermitian; unitary.
    first : int
        Index of the vector that the last cycle ended with, and this one started from.
    below : float
        Norm of the next basis vector before normalization; 0 if the space is invariant.
    """

    H: Array
    T: Array
    Q: Array
    first: int
    below: float

    @property
    def theta(self) -> Array:
        """Ritz values, shape (k,); real if A is Hermitian."""
        return np.diagonal(self.T)


class KrylovSchur:
    """Basis of at most ``capacity`` vectors, and one more.

    Parameters
    ----------
    operator : Operator
        Any square operator.
    start : ndarray, shape (n,)
        Of norm 1, in the operator's data type.
    capacity : int
        Vectors of a cycle.

    Attributes
    ----------
    basis : ndarray, shape (capacity + 1, n)
        Rows; the first ``size`` or ``size + 1`` are in use.
    size : int
        Vectors of the current cycle, those kept included.
    steps : int
        Products with A so far.
    invariant : bool
        Whether the space is exhausted.
    """

    def __init__(self, operator: Operator, start: Array, capacity: int) -> None:
        if capacity < 2 and operator.n > 1:
            raise InputError(f"restart must be at least 2; got {capacity}.")
        self.operator = operator
        self.hermitian = operator.assume_a != "gen"
        self.capacity = min(capacity, operator.n)
        self.basis = np.empty((self.capacity + 1, operator.n), dtype=operator.dtype)
        wide = np.complex128 if operator.dtype.kind == "c" else np.float64
        self._H = np.zeros((self.capacity + 1, self.capacity), dtype=wide)
        self.steps = 0
        self.begin(start)

    def begin(self, start: Array) -> None:
        """Forget everything but the count of steps."""
        self.basis[0] = start
        self._H[...] = 0.0
        self.size = self._kept = 0
        self.invariant = False

    def expand(self, steps: float = np.inf) -> None:
        """Fill the basis by at most so many steps. Raises BreakdownError on NaN or overflow."""
        while self.size < self.capacity and steps >= 1 and not self.invariant:
            steps -= 1
            if self.hermitian and self.size > self._kept:
                self._lanczos_step()
            else:
                self._arnoldi_step()

    def _lanczos_step(self) -> None:
        k, V, H = self.size, self.basis, self._H
        before = float(abs(H[k, k - 1]))
        alpha, beta = self.operator.lanczos_step(V[k - 1], V[k], before, V[: k + 1], V[k + 1])
        H[k - 1, k], H[k, k] = before, alpha
        self._grown(beta, abs(alpha) + before + beta)

    def _arnoldi_step(self) -> None:
        k, V = self.size, self.basis
        w = np.array(self.operator.matmul(V[k]))
        size = _norm(w)
        if not np.isfinite(size):
            raise BreakdownError(
                f"A @ v is not finite or overflows (its norm is {size}). Check the operator for "
                "NaN, and rescale A if its entries are beyond 1e300."
            )
        for _ in range(2):
            h = V[: k + 1].conj() @ w
            w -= h @ V[: k + 1]
            self._H[: k + 1, k] += h
        norm = _norm(w)
        if norm > 0:
            V[k + 1] = w / norm
        self._grown(norm, size)

    def _grown(self, norm: float, scale: float) -> None:
        self.size += 1
        self.steps += 1
        eps = float(np.finfo(self.basis.dtype).eps)
        self.invariant = self.size >= self.operator.n or norm <= 100 * eps * scale
        self._H[self.size, self.size - 1] = 0.0 if self.invariant else norm

    def projection(self) -> Projection:
        """Return the cycle's H in Schur form."""
        k = self.size
        H = self._H[:k, :k].copy()
        below = float(abs(self._H[k, k - 1]))
        if self.hermitian:
            H = 0.5 * (H + H.conj().T)
            theta, Q = np.linalg.eigh(H)
            return Projection(H, np.diag(theta), Q, self._kept, below)
        T, Q = _schur(H, output="complex")
        return Projection(H, T, Q, self._kept, below)

    def restart(self, wanted: Callable[[Array], Array], most: int) -> None:
        """Keep Schur vectors and the newest vector.

        Parameters
        ----------
        wanted : callable
            Maps Ritz values, shape (k,), to scores; the largest are kept, conjugate pairs of a real
            A together.
        most : int
            How many at most.
        """
        k = self.size
        H = self._H[:k, :k]
        T, Q, kept = self._ordered(H, wanted, min(most, k - 1))
        coupling = self._H[k, k - 1] * Q[k - 1, :kept]
        newest = self.basis[k].copy()
        C = np.ascontiguousarray(Q[:, :kept].T).astype(self.basis.dtype)
        for first in range(0, self.operator.n, SLAB):
            rows = self.basis[:, first : first + SLAB]
            rows[:kept] = C @ rows[:k]
        self.basis[kept] = newest
        self._H[...] = 0.0
        self._H[:kept, :kept] = T[:kept, :kept]
        self._H[kept, :kept] = coupling
        self.size = self._kept = kept

    def _ordered(
        self, H: Array, wanted: Callable[[Array], Array], most: int
    ) -> tuple[Array, Array, int]:
        """Return a Schur form whose first eigenvalues are those wanted, and how many they are."""
        k = len(H)
        if most < 1:
            return H, np.eye(k), 0
        if self.hermitian:
            theta, Q = np.linalg.eigh(0.5 * (H + H.conj().T))
            order = np.argsort(-wanted(theta))[:most]
            rest = np.setdiff1d(np.arange(k), order)
            both = np.concatenate([order, rest])
            return np.diag(theta[both]), Q[:, both], most
        theta = np.linalg.eigvals(H)
        scores = np.sort(wanted(theta))[::-1]
        threshold = 0.5 * (scores[most - 1] + scores[most]) if most < k else -np.inf

        def chosen(x: complex, y: float = 0.0) -> bool:
            return bool(wanted(np.array([complex(x) + 1j * y]))[0] > threshold)

        kind = "complex" if np.iscomplexobj(H) else "real"
        try:
            T, Q, kept = _schur(H, output=kind, sort=chosen)
        except np.linalg.LinAlgError:  # eigenvalues too close to be reordered
            return H, np.eye(k), 0
        if kept > min(most + 1, k - 1) or (kept and abs(T[kept, kept - 1]) > 0):
            return H, np.eye(k), 0
        return T, Q, int(kept)


def _norm(w: Array) -> float:
    return float(sl.norm(w, check_finite=False))
