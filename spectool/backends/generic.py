"""The generic backend: any scipy LinearOperator or dense array, with NumPy around its products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, FloatArray
from spectool.backends import RowFacts
from spectool.backends.execution import Execution
from spectool.errors import InputError
from spectool.results import ExecutionReport

if TYPE_CHECKING:
    from spectool.polynomials.recurrence import Recurrence


class GenericBackend:
    """Executes recurrences over an operator known by its products only.

    Parameters
    ----------
    A : LinearOperator or ndarray, shape (n, n)
        Real operators are applied to real and imaginary parts of complex vectors separately.
    scale : ndarray, shape (n,), optional
        Stands for ``diag(scale) A diag(scale)``.
    """

    name = "generic"

    def __init__(self, A: Any, *, scale: FloatArray | None = None, dtype: Any = None) -> None:
        self.A = A
        self.shape = (int(A.shape[0]), int(A.shape[1]))
        self.dtype = np.dtype(dtype or A.dtype or np.float64)
        self.scale = scale

    @property
    def nnz(self) -> int:
        """n^2 for a dense array; for an operator, what a short-row sparse matrix would hold."""
        n = self.shape[0]
        return n * n if isinstance(self.A, np.ndarray) else 8 * n

    def prepared(self, products: float, execution: Execution | None = None) -> Self:  # noqa: ARG002
        """Return self: there is nothing to lay out. Raises InputError if something is forced."""
        if execution is not None and execution != Execution():
            raise InputError(
                f"execution={execution} needs stored entries, and A is known by its products or "
                "dense; pass a sparse array, or leave execution out."
            )
        return self

    @property
    def report(self) -> ExecutionReport:
        """What the operator does is its own affair."""
        kind = type(self.A).__name__
        return ExecutionReport(kind, self.dtype.name, 1, 1, False, 0, 0.0, "products of its own")

    def matmul(self, X: Array) -> Array:
        """Return ``A @ X``."""
        if self.dtype.kind != "c" and X.dtype.kind == "c":
            return np.asarray(self.matmul(X.real) + 1j * self.matmul(X.imag))
        if self.scale is None:
            return self._product(X)
        scale = self.scale if X.ndim == 1 else self.scale[:, None]
        return np.asarray(scale * self._product(scale * X))

    def _product(self, X: Array) -> Array:
        if not isinstance(self.A, LinearOperator):
            Y = self.A @ X
        elif X.ndim == 1:
            Y = self.A.matvec(X)
        else:
            try:
                Y = self.A.matmat(X)
            except ValueError:  # scipy hands columns of shape (n, 1) to a matvec made for (n,)
                Y = np.stack([self.A.matvec(x) for x in np.ascontiguousarray(X.T)], axis=1)
        return np.asarray(Y, dtype=np.result_type(self.dtype, X.dtype))

    def apply(self, recurrence: Recurrence, X: Array, *, order: str | None = None) -> Array:
        """Return ``p(A) X``."""
        a, b, c, w = recurrence.a, recurrence.b, recurrence.c, recurrence.w
        X = np.asarray(X, dtype=np.result_type(self.dtype, X.dtype))
        if X.size == 0:
            return X.copy()
        if (order or recurrence.order) == "forward":
            v, earlier = X, np.zeros_like(X)
            out = w[0] * X
            for k in range(recurrence.degree):
                v, earlier = a[k] * self.matmul(v) + b[k] * v + c[k] * earlier, v
                out += w[k + 1] * v
            return np.asarray(out, dtype=X.dtype)
        u, later = w[-1] * X, np.zeros_like(X)
        for k in range(recurrence.degree - 1, -1, -1):
            ck = c[k + 1] if k + 1 < recurrence.degree else 0.0
            u, later = w[k] * X + a[k] * self.matmul(u) + b[k] * u + ck * later, u
        return np.asarray(u, dtype=X.dtype)

    def lanczos_step(
        self, previous: Array, current: Array, beta: float, basis: Array, following: Array
    ) -> tuple[float, float]:
        """Write the next Lanczos vector into ``following``; return alpha and beta."""
        r = self.matmul(current) - beta * previous
        alpha = float(np.vdot(current, r).real)
        r -= alpha * current
        if len(basis):
            r -= basis.T @ (basis.conj() @ r)
        norm = float(np.linalg.norm(r))
        following[:] = r / norm if norm > 0 else r
        return alpha, norm

    def lanczos_steps(
        self,
        previous: Array,
        current: Array,
        norms: FloatArray,
        back: FloatArray,
        following: Array,
        unit: float = 1.0,
    ) -> FloatArray:
        """Write the next Lanczos vectors of m columns; return alphas and norms."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            V = current[:, 0] if current.shape[1] == 1 else current
            R = (unit / norms) * self.matmul(V).reshape(current.shape) - back * previous
            alphas = column_dots(current, R) / norms
            R -= (alphas / norms) * current
            following[:] = R
            return np.stack([alphas, np.sqrt(column_dots(R, R))])

    def product_dot(self, p: Array, q: Array) -> Any:
        """Do ``q <- A p`` and return ``p* q``."""
        q[:] = self.matmul(p)
        return np.vdot(p, q)

    def search(self, p: Array, q: Array, z: Array, beta: Any, D: Array | None = None) -> Any:
        """Do ``p <- D z + beta p``, ``q <- A p`` and return ``p* q``."""
        following = z if D is None else D * z
        p[:] = following + beta * p if beta else following
        return self.product_dot(p, q)

    def update_norm(
        self, x: Array, r: Array, p: Array, q: Array, alpha: Any, D: Array | None = None
    ) -> tuple[float, float]:
        """Do ``x <- x + alpha p``, ``r <- r - alpha q``; return ``(r* r, r* D r)``."""
        x += alpha * p
        r -= alpha * q
        square = float(np.vdot(r, r).real)
        return square, square if D is None else float(np.vdot(r, D * r).real)

    def direction(self, p: Array, z: Array, beta: Any) -> None:
        """Do ``p <- z + beta p``."""
        p *= beta
        p += z

    def inner(self, x: Array, y: Array) -> Any:
        """Return ``x* y``."""
        return np.vdot(x, y)

    def combine(self, y: Array, c: Any, u: Array, a: Any, v: Array, b: Any) -> float:
        """Do ``y <- c y + a u + b v``; return ``y* y``."""
        y[:] = c * y + a * u + b * v
        return float(np.vdot(y, y).real)

    def project_out(self, V: Array, w: Array) -> tuple[Array, float]:
        """Do ``w <- w - V^T h`` with h = ``conj(V) w``; return h and ``w* w``."""
        h = V.conj() @ w
        w -= h @ V
        return h, float(np.vdot(w, w).real)

    def row_facts(self) -> RowFacts | None:
        """Return the diagonal and Gershgorin radii of a dense array, else None."""
        if not isinstance(self.A, np.ndarray):
            return None
        A = self._scaled_array()
        diagonal = np.diagonal(A).copy()
        return RowFacts(diagonal, np.abs(A).sum(axis=1) - np.abs(diagonal))

    def hermitian_defect(self) -> float | None:
        """Return ``max |a_ij - conj(a_ji)|`` of a dense array, else None."""
        if not isinstance(self.A, np.ndarray):
            return None
        A = self._scaled_array()
        return float(np.abs(A - A.conj().T).max(initial=0.0))

    def to_dense(self) -> Array | None:
        """Return a dense array's values, else None."""
        return self._scaled_array() if isinstance(self.A, np.ndarray) else None

    def _scaled_array(self) -> Array:
        A: Array = self.A
        return A if self.scale is None else self.scale[:, None] * A * self.scale

    def scaled(self, scale: FloatArray) -> Self:
        """Return the backend of ``diag(scale) A diag(scale)``."""
        together = scale if self.scale is None else scale * self.scale
        return type(self)(self.A, scale=together, dtype=self.dtype)

    def astype(self, dtype: Any) -> Self:
        """Return the backend whose vectors have another precision."""
        if np.dtype(dtype) == self.dtype:
            return self
        if isinstance(self.A, np.ndarray):  # scaled first: A's own unit may leave dtype's range
            return type(self)(self._scaled_array().astype(dtype), dtype=dtype)
        return type(self)(self.A, scale=self.scale, dtype=dtype)


def column_dots(X: Array, Y: Array) -> FloatArray:
    """Return the real parts of ``x_j* y_j`` for row-major blocks (n, m), summed in float64."""
    n, m = X.shape
    if X.dtype.kind == "c":
        X, Y = (np.ascontiguousarray(block).view(block.real.dtype) for block in (X, Y))
    width = X.shape[1]
    # Sums of sums: one after the other, 10^7 addends would lose digits.
    panel = 1024
    whole = n // panel * panel
    x, y = (block[:whole].reshape(-1, panel, width) for block in (X, Y))
    sums = np.einsum("pij,pij->pj", x, y, dtype=np.float64).sum(axis=0)
    sums += np.einsum("ij,ij->j", X[whole:], Y[whole:], dtype=np.float64)
    return np.asarray(sums.reshape(m, -1).sum(axis=1), dtype=np.float64)
