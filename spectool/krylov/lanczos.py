"""The Lanczos process: a Jacobi matrix and, if wanted, its orthonormal basis. Solves no problem.

Source
    Golub and Van Loan, Matrix Computations, 4th ed., Algorithm 10.1.1; Parlett, The Symmetric
    Eigenvalue Problem, SIAM 1998, chapter 13.
Cost per step
    1 matvec and 2 reductions fused into it; where the basis is projected out, one more reduction
    and ``3 k n`` values of traffic at step k: at every step of small n, where it costs little; of
    large n only when T says that orthogonality is about to be lost (`orthogonality`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal

from spectool._types import Array, FloatArray
from spectool.errors import InputError
from spectool.krylov.orthogonality import Orthogonality
from spectool.operators import Operator

PARTIAL_FROM = 20_000
"""Rows from which not every vector is projected: below, that costs little beside a step."""


class LanczosProcess:
    """Expandable Lanczos factorization ``A V = V T + beta_k v_{k+1} e_k*``.

    Parameters
    ----------
    operator : Operator
        Hermitian.
    start : ndarray, shape (n,)
        Nonzero; normalized here, its norm kept in ``norm``.
    reorthogonalize : bool
        Keep the basis orthogonal, to rounding or for large n to its square root, which leaves T
        the same to rounding.
    keep_basis : bool
        Keep the basis although only local orthogonality is maintained.
    capacity : int
        Vectors to reserve room for; the basis grows by doubling beyond it.

    Attributes
    ----------
    alpha, beta : list of float
        Diagonal and off-diagonal of T; ``beta[-1]`` is the norm of the last residual.
    invariant : bool
        Whether the Krylov space is exhausted: T's eigenvalues are eigenvalues of A.
    """

    def __init__(
        self,
        operator: Operator,
        start: Array,
        *,
        reorthogonalize: bool = True,
        keep_basis: bool = False,
        capacity: int = 32,
    ) -> None:
        self.operator = operator
        self.norm = float(np.linalg.norm(start))
        if not (np.isfinite(self.norm) and self.norm > 0):
            raise InputError(f"start must be finite and nonzero; its norm is {self.norm}.")
        dtype = np.result_type(operator.dtype, np.asarray(start).dtype)
        if operator.dtype.kind != "c" and dtype.kind == "c":
            raise InputError("start must be real for a real operator; split it in two.")
        self._keep = reorthogonalize or keep_basis
        self._reorthogonalize = reorthogonalize
        n = operator.n
        rows = min(capacity, n) + 1 if self._keep else 3
        self._vectors = np.empty((rows, n), dtype=operator.dtype)
        self._vectors[0] = np.asarray(start) / self.norm
        self._none = np.empty((0, n), dtype=operator.dtype)
        self._zero = np.zeros(n, dtype=operator.dtype)
        self.alpha: list[float] = []
        self.beta: list[float] = []
        self._scale = 0.0
        partial = reorthogonalize and n >= PARTIAL_FROM
        eps = float(np.finfo(operator.dtype).eps)
        self._orthogonality = Orthogonality(n, eps) if partial else None
        self._due = 0

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return len(self.alpha)

    @property
    def invariant(self) -> bool:
        """Whether the last residual is rounding error only."""
        if not self.beta:
            return False
        if self._reorthogonalize and self.steps >= self.operator.n:
            return True
        return self.beta[-1] <= 100 * float(np.finfo(self.operator.dtype).eps) * self._scale

    @property
    def current(self) -> Array:
        """The newest normalized vector, shape (n,)."""
        return self._vectors[self._row(self.steps)]

    def _row(self, k: int) -> int:
        return k if self._keep else k % 3

    def step(self) -> tuple[float, float]:
        """Expand by one vector; return the new alpha and beta."""
        k = self.steps
        if self._keep and k + 1 >= len(self._vectors):
            grown = np.empty((2 * len(self._vectors), self.operator.n), dtype=self._vectors.dtype)
            grown[: k + 1] = self._vectors[: k + 1]
            self._vectors = grown
        alpha, beta = self._stepped(k, self._reorthogonalize and not self._skips())
        self.alpha.append(alpha)
        self.beta.append(beta)
        if self._orthogonality is not None:
            self._watch(self._orthogonality, k)
        self._scale = max(self._scale, abs(self.alpha[k]) + self.beta[k])
        return self.alpha[k], self.beta[k]

    def _stepped(self, k: int, projected: bool) -> tuple[float, float]:
        V = self._vectors
        return self.operator.lanczos_step(
            V[self._row(k - 1)] if k else self._zero,
            V[self._row(k)],
            self.beta[k - 1] if k else 0.0,
            V[: k + 1] if projected else self._none,
            V[self._row(k + 1)],
        )

    def _skips(self) -> bool:
        """Whether the next vector need not be projected."""
        return self._orthogonality is not None and not self._due

    def _watch(self, orthogonality: Orthogonality, k: int) -> None:
        """Say that the next two vectors must be projected, or this one and all that follow."""
        projected = self._due > 0
        self._due = max(self._due - 1, 0)
        if not projected:
            level = orthogonality.level(self.alpha, self.beta)
            if level > orthogonality.late:  # lost within a step, as far outliers do again and again
                self.alpha[k], self.beta[k] = self._stepped(k, True)
                self._orthogonality = None
                return
            if level > orthogonality.early:
                self._due = 2
        orthogonality.accept(projected=projected)

    @property
    def keeps_basis(self) -> bool:
        """Whether ``basis`` can be had."""
        return self._keep

    def drop_basis(self) -> None:
        """Go on with three vectors; needs a process that is not reorthogonalized."""
        if self._reorthogonalize:
            raise InputError("a reorthogonalized process needs its basis.")
        k = self.steps
        rotating = np.empty((3, self.operator.n), dtype=self._vectors.dtype)
        for j in range(max(k - 1, 0), k + 1):
            rotating[j % 3] = self._vectors[self._row(j)]
        self._vectors = rotating
        self._keep = False

    @property
    def basis(self) -> Array:
        """The first ``steps`` basis vectors as rows, shape (steps, n); a view."""
        if not self._keep:
            raise InputError("the basis was not kept; pass keep_basis=True.")
        return self._vectors[: self.steps]

    def tridiagonal(self) -> tuple[FloatArray, FloatArray]:
        """Return T's diagonal, shape (steps,), and off-diagonal, shape (steps - 1,)."""
        return np.array(self.alpha), np.array(self.beta[:-1])


@dataclass(frozen=True, slots=True, eq=False)
class RitzData:
    """Eigenvalues of the Jacobi matrix and what they tell.

    Attributes
    ----------
    values : ndarray, shape (m,)
        Ritz values, ascending; unit of A.
    residuals : ndarray, shape (m,)
        ``||A u - theta u||``: an eigenvalue of A lies this close.
    weights : ndarray, shape (m,)
        Gauss quadrature weights of the start vector's spectral measure; they sum to 1.
    log_norm : float
        ``sum(log beta)``: the Lanczos polynomial ``prod (z - values) / exp(log_norm)`` has norm 1
        in the start vector's spectral measure.
    invariant : bool
        Whether the Ritz values are eigenvalues.
    """

    values: FloatArray
    residuals: FloatArray
    weights: FloatArray
    log_norm: float
    invariant: bool


def ritz(process: LanczosProcess) -> RitzData:
    """Return the Ritz values of a Lanczos process with residuals and Gauss weights [1]_.

    References
    ----------
    .. [1] Golub and Welsch, Calculation of Gauss quadrature rules, Math. Comp. 23 (1969).
    """
    theta, S = jacobi_eigen(process)
    residuals = np.abs(S[-1]) * process.beta[-1]
    with np.errstate(divide="ignore"):
        log_norm = float(np.log(process.beta).sum())
    return RitzData(theta, residuals, S[0] ** 2, log_norm, process.invariant)


def jacobi_eigen(process: LanczosProcess) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues, shape (k,), and eigenvectors, shape (k, k), of the Jacobi matrix."""
    theta, S = eigh_tridiagonal(*process.tridiagonal())
    return np.asarray(theta, dtype=np.float64), np.asarray(S, dtype=np.float64)


def lanczos(
    operator: Operator,
    start: Array,
    steps: int,
    *,
    enough: Callable[[LanczosProcess], bool] | None = None,
) -> LanczosProcess:
    """Run at most ``steps`` reorthogonalized Lanczos steps.

    Stops early once the Krylov space is invariant, or ``enough(process)`` says so.
    """
    process = LanczosProcess(operator, start, capacity=steps)
    for _ in range(min(steps, operator.n)):
        process.step()
        if process.invariant or (enough is not None and enough(process)):
            break
    return process
