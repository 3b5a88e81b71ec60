"""The CPU backend: a matrix in the format that suits it, and the fused kernels that run over it."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import scipy.sparse as sp

from spectool._types import Array, FloatArray
from spectool.backends import RowFacts
from spectool.backends.execution import (
    BLOCK_STRIP,
    STRIP,
    Execution,
    Layout,
    choose,
    plain,
    steps_per_pass,
)
from spectool.backends.layout import scaled_data
from spectool.kernels import half, iteration, lanczos, lockstep, structure, sweeps
from spectool.kernels.block import multiply
from spectool.kernels.formats import LANES, Matrix
from spectool.kernels.half import Half
from spectool.kernels.schedule import (
    CHUNK,
    Schedule,
    Strips,
    schedule,
    strip_rows,
    strips_of,
)
from spectool.kernels.team import available_threads, run, share
from spectool.results import ExecutionReport

if TYPE_CHECKING:
    from spectool.polynomials.recurrence import Recurrence

SERIAL_BELOW = 500_000
"""Multiply-adds per application under which waking a second thread costs more than it brings."""
_REAL = {"f": np.float32, "d": np.float64, "F": np.float32, "D": np.float64}
_LINE = 16
"""Values between the scratch of two threads, so that they share no cache line."""


class CpuBackend:
    """Executes recurrences over one sparse matrix with 1 or more threads.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Canonical (sorted, no duplicates); float32/64 or complex64/128. Not copied.
    execution : Execution, optional
        What is forced. A threads count given here is used whatever the work.
    layout : Layout, optional
        A laid out already; by default A's own arrays, unblocked.

    Notes
    -----
    A starts as CSR without any set-up; `prepared` lays it out for many products.
    """

    name = "cpu"

    def __init__(
        self,
        A: sp.csr_array,
        *,
        execution: Execution | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.A = A
        self.shape = (int(A.shape[0]), int(A.shape[1]))
        self.dtype = np.dtype(A.dtype)
        self.execution = execution or Execution()
        self._layout = layout or plain(A, self.execution.threads)
        self._strips: dict[int, Strips] = {}
        self._schedules: dict[tuple[int, int, int], Schedule] = {}
        self._plans: dict[tuple[int, int, int], tuple[Schedule, Schedule]] = {}
        self._depths: dict[int, int] = {1: self._layout.depth}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.A, self.execution, self._layout))

    @property
    def nnz(self) -> int:
        """Stored entries."""
        return int(self.A.nnz)

    @property
    def report(self) -> ExecutionReport:
        """How products are executed, and why."""
        return self._layout.report

    def prepared(self, products: float, execution: Execution | None = None) -> Self:
        """Return the backend laid out for about ``products`` more products.

        Costs 9 products in the median and up to some 30 (`spectool bench kernels`), hundreds if
        rows are renumbered; nothing if too few are asked and nothing is forced.
        """
        if execution is None and self._layout.report.seconds > 0:
            return self  # laid out already
        wanted = execution or self.execution
        return type(self)(self.A, execution=wanted, layout=choose(self.A, wanted, products))

    def matmul(self, X: Array) -> Array:
        """Return ``A @ X``."""
        if self.dtype.kind != "c" and X.dtype.kind == "c":
            return self._by_parts(X, self.matmul)
        columns, x = self._columns(X), self._enter(X)
        work = (columns or 1) * self.nnz
        if columns is None and isinstance(self._layout.matrix, Half):
            halves, y = self._layout.matrix, np.empty_like(x)
            private = np.empty(halves.offsets[-1], dtype=self.dtype)
            run(half.product, (halves, x, y, private), *self._plan(None, 1, work))
            return self._leave(y, X)
        if self._parts(work) == 1:  # straight into the answer: no strips, no scratch
            padded = np.empty(x.size + LANES, dtype=x.dtype)
            if x.size:
                multiply(self._matrix(columns), columns, 0, self.shape[0], x, padded)
            return self._leave(padded[: x.size], X)
        out = np.empty_like(x)
        together, alone = self._plan(columns, 1, work)
        rows = self._scratch(together, columns)
        run(sweeps.product, (self._matrix(columns), columns, x, out, rows), together, alone)
        return self._leave(out, X)

    def apply(self, recurrence: Recurrence, X: Array, *, order: str | None = None) -> Array:
        """Return ``p(A) X`` in the dtype of X (promoted with A's)."""
        degree = recurrence.degree
        if degree == 0:
            return np.asarray(recurrence.w[0] * X, dtype=np.result_type(self.dtype, X.dtype))
        if self.dtype.kind != "c" and X.dtype.kind == "c":
            return self._by_parts(X, lambda parts: self.apply(recurrence, parts, order=order))
        columns, x = self._columns(X), self._enter(X)
        even, odd = np.empty_like(x), np.empty_like(x)
        out = np.empty_like(x) if (order or recurrence.order) == "forward" else None
        if x.size:
            real = _REAL[self.dtype.char]
            a, b, c, w = (
                np.asarray(values, dtype=real)
                for values in (recurrence.a, recurrence.b, recurrence.c, recurrence.w)
            )
            work = (columns or 1) * self.nnz * degree
            together, alone = self._plan(columns, degree, work)
            rows = self._scratch(together, columns)
            if columns is None and isinstance(self._layout.matrix, Half):
                halves = self._layout.matrix
                private = np.empty(halves.offsets[-1], dtype=self.dtype)
                by_half = (halves, a, b, c, w, x, even, odd, out, private, rows)
                run(half.sweep, by_half, together, alone)
            else:
                fronts = np.empty((together.parts, together.depth + _LINE), dtype=np.int64)
                arguments = (
                    self._matrix(columns), columns, a, b, c, w, x, even, odd, out, rows, fronts,
                    together.depth,
                )  # fmt: skip
                run(sweeps.sweep, arguments, together, alone)
        if out is not None:
            return self._leave(out, X)
        return self._leave(odd if degree % 2 else even, X)

    def _by_parts(self, X: Array, function: Any) -> Array:
        """Apply a real matrix to real and imaginary parts: twice as many real columns."""
        result = np.result_type(self.dtype, X.dtype)
        real = np.empty(0, dtype=result).real.dtype
        parts = np.ascontiguousarray(X, dtype=result).view(real).reshape(len(X), -1)
        return np.ascontiguousarray(function(parts)).view(result).reshape(X.shape)

    def _matrix(self, columns: int | None) -> Matrix:
        """Blocks run over compressed rows whatever the format: no other is faster there."""
        return self._layout.by_rows if columns is None else self._layout.rows

    @staticmethod
    def _columns(X: Array) -> int | None:
        return None if X.ndim == 1 or X.shape[1] == 1 else X.shape[1]

    def _enter(self, X: Array) -> Array:
        """Return X flat, in A's dtype and in the order of the layout."""
        if self._layout.order is not None:
            X = X[self._layout.order]
        if X.ndim == 1 and X.dtype == self.dtype and X.flags.carray:
            return X
        # Kernels are compiled for writable arrays only, though they leave x alone.
        copy = None if X.flags.writeable else True
        return np.array(X, dtype=self.dtype, order="C", copy=copy).ravel()

    def _leave(self, y: Array, X: Array) -> Array:
        if y.dtype != X.dtype:
            y = y.astype(np.result_type(self.dtype, X.dtype), copy=False)
        if X.ndim > 1:
            y = y.reshape(X.shape)
        if self._layout.order is None:
            return y
        restored = np.empty_like(y)
        restored[self._layout.order] = y
        return restored

    def _scratch(self, together: Schedule, columns: int | None) -> Array:
        size = together.strip * (columns or 1) + LANES + _LINE
        return np.empty((together.parts, size), dtype=self.dtype)

    def _plan(self, columns: int | None, degree: int, work: float) -> tuple[Schedule, Schedule]:
        """Return the schedules of this application with as many threads as pay, and with one."""
        parts = self._parts(work)
        key = (columns or 1, degree, parts)
        if key not in self._plans:
            most = STRIP if columns is None else BLOCK_STRIP
            strip = strip_rows(self.shape[0], parts, most)
            depth = min(self._depth(columns or 1, strip), degree)
            alone = self._schedule(strip, 1, depth)
            together = alone if parts == 1 else self._schedule(strip, parts, depth)
            self._plans[key] = together, alone
        return self._plans[key]

    def _depth(self, columns: int, strip: int) -> int:
        """Return the steps per pass; blocks run over other rows, and decide on their own."""
        if columns not in self._depths:
            laid_out, forced = self._layout.report.seconds > 0, self.execution.depth
            depth = forced or 1
            if laid_out and forced is None:
                rows = self._layout.rows
                depth, _ = steps_per_pass(rows, self._cut(strip), self.nnz, columns)
            self._depths[columns] = depth
        return self._depths[columns]

    def _cut(self, strip: int) -> Strips:
        if strip not in self._strips:
            self._strips[strip] = strips_of(*self._layout.rows[:2], strip)
        return self._strips[strip]

    def _schedule(self, strip: int, parts: int, depth: int) -> Schedule:
        key = (strip, parts, depth)
        if key not in self._schedules:
            self._schedules[key] = schedule(self._cut(strip), parts, depth)
        return self._schedules[key]

    def lanczos_step(
        self, previous: Array, current: Array, beta: float, basis: Array, following: Array
    ) -> tuple[float, float]:
        """Write the next Lanczos vector into ``following``; return alpha and beta."""
        if self._layout.order is not None:  # its vectors belong to the caller, in A's order
            return self._in_order.lanczos_step(previous, current, beta, basis, following)
        n_chunks = -(-self.shape[0] // CHUNK)
        projections = np.empty((len(basis), n_chunks), dtype=self.dtype)
        partials, out = np.empty(2 * n_chunks), np.empty(2)
        together, alone = self._chunks(self.nnz + 2 * basis.size)
        size = max(CHUNK + LANES, len(basis)) + _LINE
        rows = np.empty((together.parts, size), dtype=self.dtype)
        arguments = (
            self._layout.by_rows, previous, current, beta, basis, following, projections, partials,
            out, rows,
        )  # fmt: skip
        run(lanczos.lanczos_step, arguments, together, alone)
        return float(out[0]), float(out[1])

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
        if self._layout.order is not None:
            return self._in_order.lanczos_steps(previous, current, norms, back, following, unit)
        m = current.shape[1]
        together, alone = self._chunks(m * self.nnz)
        columns, out = None if m == 1 else m, np.empty((2, m))
        arguments = lockstep.arguments(
            self._matrix(columns), previous, current, following, norms, back, unit, out,
            together.parts,
        )  # fmt: skip
        run(lockstep.lanczos_steps, arguments, together, alone)
        return out

    def product_dot(self, p: Array, q: Array) -> Any:
        """Do ``q <- A p`` and return ``p* q``; vectors in A's dtype. One product, one reduction."""
        if self._layout.order is not None:
            return self._in_order.product_dot(p, q)
        together, alone = self._chunks(self.nnz)
        partials, out = self._partials()
        rows = np.empty((together.parts, CHUNK + LANES + _LINE), dtype=self.dtype)
        arguments = (self._layout.by_rows, p, q, partials, out, rows)
        run(iteration.product_dot, arguments, together, alone)
        return out[0]

    def search(self, p: Array, q: Array, z: Array, beta: Any, D: Array | None = None) -> Any:
        """Do ``p <- D z + beta p``, ``q <- A p`` and return ``p* q``. One product, one reduction.

        D (n,) is a diagonal, in the real precision of A; None is the identity.
        """
        if self._layout.order is not None:
            return self._in_order.search(p, q, z, beta, D)
        together, alone = self._chunks(self.nnz)
        partials, out = self._partials()
        rows = np.empty((together.parts, CHUNK + LANES + _LINE), dtype=self.dtype)
        number = self.dtype.type(beta)
        arguments = (self._layout.by_rows, D, z, number, p, q, partials, out, rows)
        run(iteration.search, arguments, together, alone)
        return out[0]

    def update_norm(
        self, x: Array, r: Array, p: Array, q: Array, alpha: Any, D: Array | None = None
    ) -> tuple[float, float]:
        """Do ``x <- x + alpha p``, ``r <- r - alpha q``; return ``(r* r, r* D r)``. One reduction.

        D as in `search`.
        """
        together, alone = self._chunks(5 * self.shape[0])
        partials = np.empty((2, -(-self.shape[0] // CHUNK)), dtype=self.dtype)
        out = np.empty(2, dtype=self.dtype)
        arguments = (x, r, p, q, self.dtype.type(alpha), D, partials, out)
        run(iteration.update_norm, arguments, together, alone)
        square = float(out[0].real)
        return square, square if D is None else float(out[1].real)

    def direction(self, p: Array, z: Array, beta: Any) -> None:
        """Do ``p <- z + beta p``."""
        together, alone = self._chunks(2 * self.shape[0])
        run(iteration.direction, (p, z, self.dtype.type(beta)), together, alone)

    def inner(self, x: Array, y: Array) -> Any:
        """Return ``x* y``. One reduction."""
        together, alone = self._chunks(2 * self.shape[0])
        partials, out = self._partials()
        run(iteration.inner, (x, y, partials, out), together, alone)
        return out[0]

    def combine(self, y: Array, c: Any, u: Array, a: Any, v: Array, b: Any) -> float:
        """Do ``y <- c y + a u + b v``; return ``y* y``. One reduction."""
        together, alone = self._chunks(4 * self.shape[0])
        partials, out = self._partials()
        number = self.dtype.type
        run(
            iteration.combine,
            (y, number(c), u, number(a), v, number(b), partials, out),
            together,
            alone,
        )
        return float(out[0].real)

    def project_out(self, V: Array, w: Array) -> tuple[Array, float]:
        """Do ``w <- w - V^T h`` with h = ``conj(V) w``; return h and ``w* w``. Two reductions."""
        together, alone = self._chunks(4 * V.size)
        partials, out = self._partials()
        k = len(V)
        projections = np.empty((k, partials.size), dtype=self.dtype)
        scratch = np.empty((together.parts, k + _LINE), dtype=self.dtype)
        h = np.empty(k, dtype=self.dtype)
        arguments = (V, w, projections, partials, scratch, h, out)
        run(iteration.project_out, arguments, together, alone)
        return h, float(out[0].real)

    def _partials(self) -> tuple[Array, Array]:
        n_chunks = -(-self.shape[0] // CHUNK)
        return np.empty(n_chunks, dtype=self.dtype), np.empty(1, dtype=self.dtype)

    def _chunks(self, work: float) -> tuple[Schedule, Schedule]:
        """Return the schedules of a pass with reductions, together and alone."""
        alone = self._schedule(CHUNK, 1, 1)
        parts = self._parts(work)
        return (alone if parts == 1 else self._schedule(CHUNK, parts, 1)), alone

    def _parts(self, work: float) -> int:
        """Return how many threads share this much work."""
        forced = self.execution.threads
        if forced is None and work < SERIAL_BELOW:
            return 1
        return min(forced or available_threads(), available_threads())

    @cached_property
    def _in_order(self) -> CpuBackend:
        return CpuBackend(self.A, execution=Execution(threads=self.execution.threads))

    def row_facts(self) -> RowFacts:
        """Return the diagonal and the Gershgorin radii."""
        diagonal = np.empty(self.shape[0], dtype=self.dtype)
        radius = np.empty(self.shape[0])
        arrays = (self.A.indptr, self.A.indices, self.A.data, diagonal, radius)
        share(self.nnz, self.shape[0], partial(structure.row_facts, *arrays))
        return RowFacts(diagonal, radius)

    def hermitian_defect(self) -> float:
        """Return ``max |a_ij - conj(a_ji)|``."""
        A = self.A
        return float(structure.asymmetry(A.indptr, A.indices, A.data, A.indptr[:-1].copy()))

    def to_dense(self) -> Array:
        """Return A as an array, shape (n, n)."""
        return self.A.toarray()

    def scaled(self, scale: FloatArray) -> Self:
        """Return the backend of ``diag(scale) A diag(scale)``; shares the pattern."""
        return self._with_data(scaled_data(self.A, scale))

    def astype(self, dtype: Any) -> Self:
        """Return the backend with values in another precision; shares the pattern."""
        return self if np.dtype(dtype) == self.dtype else self._with_data(self.A.data.astype(dtype))

    def _with_data(self, data: Array) -> Self:
        A = sp.csr_array((data, self.A.indices, self.A.indptr), shape=self.shape, copy=False)
        return type(self)(A, execution=self.execution)


def _rebuild(A: sp.csr_array, execution: Execution, layout: Layout) -> CpuBackend:
    return CpuBackend(A, execution=execution, layout=layout)
