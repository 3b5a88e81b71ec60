"""Backends execute a ``Recurrence`` on vectors; they choose no coefficients.

A backend is what A can do: multiply a block, run a recurrence on it, make one Lanczos step. NumPy
over a scipy operator (``generic``) is the reference; ``cpu`` must equal it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from spectool._types import Array, FloatArray

if TYPE_CHECKING:
    import numpy as np

    from spectool.backends.execution import Execution
    from spectool.polynomials.recurrence import Recurrence
    from spectool.results import ExecutionReport


class RowFacts(NamedTuple):
    """What one pass over stored entries tells.

    Attributes
    ----------
    diagonal : ndarray, shape (n,)
        The diagonal of A.
    radius : ndarray, shape (n,)
        Row sums of the moduli off the diagonal (Gershgorin radii).
    """

    diagonal: Array
    radius: FloatArray


class Backend(Protocol):
    """What every backend offers. Vectors are (n,), blocks row-major (n, m), both C-contiguous."""

    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def prepared(self, products: float, execution: Execution | None = None) -> Self:
        """Return the backend laid out for about ``products`` more products with a vector."""

    @property
    def report(self) -> ExecutionReport:
        """How products are executed, and why."""

    def matmul(self, X: Array) -> Array:
        """Return ``A @ X``; one product per column."""

    def apply(self, recurrence: Recurrence, X: Array, *, order: str | None = None) -> Array:
        """Return ``p(A) X``; ``degree`` products per column, no reductions."""

    def lanczos_step(
        self, previous: Array, current: Array, beta: float, basis: Array, following: Array
    ) -> tuple[float, float]:
        """Write the next Lanczos vector into ``following``; return its alpha and beta.

        One product; two reductions, three where ``basis`` (k, n) has rows to project out.
        """

    def lanczos_steps(
        self,
        previous: Array,
        current: Array,
        norms: FloatArray,
        back: FloatArray,
        following: Array,
        unit: float = 1.0,
    ) -> FloatArray:
        """Make one Lanczos step for every column of a block; return alphas and norms, (2, m).

        Blocks hold Lanczos vectors times their norms. With ``v = current / norms``, ``following``
        gets ``unit A v - alphas v - back previous``, where ``alphas = v* unit A v``; its columns'
        norms are returned. One product per column; two reductions in all.
        """

    def product_dot(self, p: Array, q: Array) -> Any:
        """Do ``q <- A p`` and return ``p* q``; vectors in A's dtype. One product, one reduction."""

    def search(self, p: Array, q: Array, z: Array, beta: Any, D: Array | None = None) -> Any:
        """Do ``p <- D z + beta p``, ``q <- A p`` and return ``p* q``. One product, one reduction.

        D (n,) is a diagonal, or None for the identity; p may hold anything if beta is 0.
        """

    def update_norm(
        self, x: Array, r: Array, p: Array, q: Array, alpha: Any, D: Array | None = None
    ) -> tuple[float, float]:
        """Do ``x <- x + alpha p``, ``r <- r - alpha q``; return ``(r* r, r* D r)``. One reduction.

        Without D both are ``r* r``.
        """

    def direction(self, p: Array, z: Array, beta: Any) -> None:
        """Do ``p <- z + beta p``. No reduction."""

    def inner(self, x: Array, y: Array) -> Any:
        """Return ``x* y``. One reduction."""

    def combine(self, y: Array, c: Any, u: Array, a: Any, v: Array, b: Any) -> float:
        """Do ``y <- c y + a u + b v``; return ``y* y``. One reduction."""

    def project_out(self, V: Array, w: Array) -> tuple[Array, float]:
        """Do ``w <- w - V^T h`` with h = ``conj(V) w``, shape (k,); return h and ``w* w``.

        V is (k, n). Two reductions.
        """

    def row_facts(self) -> RowFacts | None:
        """Return the diagonal and Gershgorin radii, or None where entries are not stored."""

    def hermitian_defect(self) -> float | None:
        """Return ``max |a_ij - conj(a_ji)|``, or None where entries are not stored."""

    def to_dense(self) -> Array | None:
        """Return A as an array, shape (n, n), or None where entries are not stored."""

    def scaled(self, scale: FloatArray) -> Self:
        """Return the backend of ``diag(scale) A diag(scale)``."""

    def astype(self, dtype: Any) -> Self:
        """Return the backend with values stored in another precision."""

    @property
    def nnz(self) -> int:
        """Stored entries that one product reads (n^2 for dense; an upper guess otherwise)."""
