"""The CPU backend: a CSR matrix and the fused kernels that run over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import scipy.sparse as sp

from spectool._types import Array, FloatArray
from spectool.backends import RowFacts
from spectool.kernels import block, csr, lanczos, structure
from spectool.kernels.team import CHUNK, SERIAL_BELOW, Team

if TYPE_CHECKING:
    from spectool.polynomials.recurrence import Recurrence

__all__ = ["SERIAL_BELOW", "CsrBackend"]

_REAL = {"f": np.float32, "d": np.float64, "F": np.float32, "D": np.float64}


class CsrBackend:
    """Executes recurrences over one CSR matrix with 1 or more threads.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Canonical (sorted, no duplicates); float32/64 or complex64/128. Not copied.
    threads : int, optional
        Forces the number of parts, whatever the work; chosen by work otherwise.
    """

    name = "cpu"

    def __init__(self, A: sp.csr_array, *, threads: int | None = None) -> None:
        self.A = A
        self.shape = (int(A.shape[0]), int(A.shape[1]))
        self.dtype = np.dtype(A.dtype)
        self.threads = threads
        self._matrix = (A.indptr, A.indices, A.data)
        self._team = Team(A.indptr, threads)
        self._n_chunks = -(-self.shape[0] // CHUNK)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.A, self.threads))

    @property
    def nnz(self) -> int:
        """Stored entries."""
        return int(self.A.nnz)

    def matmul(self, X: Array) -> Array:
        """Return ``A @ X`` as the degree-one recurrence."""
        one, zero = np.ones(1), np.zeros(1)
        return self._execute((one, zero, zero, np.array([0.0, 1.0])), X, "forward")

    def apply(self, recurrence: Recurrence, X: Array, *, order: str | None = None) -> Array:
        """Return ``p(A) X`` in the dtype of X (promoted with A's)."""
        if recurrence.degree == 0:
            return np.asarray(recurrence.w[0] * X, dtype=np.result_type(self.dtype, X.dtype))
        coefficients = (recurrence.a, recurrence.b, recurrence.c, recurrence.w)
        return self._execute(coefficients, X, order or recurrence.order)

    def _execute(self, coefficients: tuple[FloatArray, ...], X: Array, order: str) -> Array:
        result = np.result_type(self.dtype, X.dtype)
        if self.dtype.kind != "c" and X.dtype.kind == "c":
            # A real matrix acts on real and imaginary parts alike: twice as many real columns.
            real_dtype = np.empty(0, dtype=result).real.dtype
            parts = np.ascontiguousarray(X, dtype=result).view(real_dtype).reshape(len(X), -1)
            both = self._execute(coefficients, parts, order)
            return np.ascontiguousarray(both).view(result).reshape(X.shape)
        # Forward execution overwrites its input, so it needs a copy.
        x = np.array(X, dtype=self.dtype, order="C", copy=order == "forward" or None).ravel()
        real = _REAL[self.dtype.char]
        a, b, c, w = (np.asarray(values, dtype=real) for values in coefficients)
        second, third = np.empty_like(x), np.empty_like(x)
        columns = 1 if X.ndim == 1 else X.shape[1]
        work = float(columns * self.nnz * a.size)
        if x.size == 0:
            return np.empty(X.shape, dtype=result)
        if columns == 1:
            function: Any = csr.clenshaw if order == "clenshaw" else csr.forward
            tail: tuple[Any, ...] = ()
        else:
            function = block.clenshaw if order == "clenshaw" else block.forward
            # One cache line apart, so that threads do not share one.
            rows = np.empty((self._team.n_parts, -(-columns // 16) * 16 + 16), dtype=self.dtype)
            tail = (columns, rows)
        self._team.run(function, work, *self._matrix, a, b, c, w, x, second, third, *tail)
        y = second if order == "clenshaw" and a.size % 2 == 0 else third
        return y.reshape(X.shape).astype(result, copy=False)

    def lanczos_step(
        self, previous: Array, current: Array, beta: float, basis: Array, following: Array
    ) -> tuple[float, float]:
        """Write the next Lanczos vector into ``following``; return alpha and beta."""
        projections = np.empty((len(basis), self._n_chunks), dtype=self.dtype)
        partials, out = np.empty(2 * self._n_chunks), np.empty(2)
        work = float(self.nnz + 2 * basis.size)
        self._team.run(
            lanczos.lanczos_step,
            work,
            *self._matrix,
            previous,
            current,
            beta,
            basis,
            following,
            projections,
            partials,
            out,
        )
        return float(out[0]), float(out[1])

    def row_facts(self) -> RowFacts:
        """Return the diagonal and the Gershgorin radii."""
        diagonal = np.empty(self.shape[0], dtype=self.dtype)
        radius = np.empty(self.shape[0])
        structure.row_facts(*self._matrix, diagonal, radius)
        return RowFacts(diagonal, radius)

    def hermitian_defect(self) -> float:
        """Return ``max |a_ij - conj(a_ji)|``."""
        return float(structure.asymmetry(*self._matrix, self.A.indptr[:-1].copy()))

    def to_dense(self) -> Array:
        """Return A as an array, shape (n, n)."""
        return self.A.toarray()

    def scaled(self, scale: FloatArray) -> Self:
        """Return the backend of ``diag(scale) A diag(scale)``; shares the pattern."""
        data = np.empty_like(self.A.data)
        structure.scale_symmetric(*self._matrix, scale, data)
        return self._with_data(data)

    def astype(self, dtype: Any) -> Self:
        """Return the backend with values in another precision; shares the pattern."""
        return self if np.dtype(dtype) == self.dtype else self._with_data(self.A.data.astype(dtype))

    def _with_data(self, data: Array) -> Self:
        A = sp.csr_array((data, self.A.indices, self.A.indptr), shape=self.shape, copy=False)
        return type(self)(A, threads=self.threads)


def _rebuild(A: sp.csr_array, threads: int | None) -> CsrBackend:
    return CsrBackend(A, threads=threads)
