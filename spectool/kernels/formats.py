"""How a matrix lies in memory, and the one thing every format can do: multiply a range of rows.

``product(A, first, last, v, out)`` does ``out <- A[first:last, :] v``. Sweeps, Lanczos
steps and solvers are written once over it: a format knows nothing of recurrences, a recurrence
nothing of formats. The compiler picks the kernel by the type of A.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba.extending import overload

from spectool._types import Array, IntArray
from spectool.kernels.compilation import JIT, OPTIONS

GRANULE = 120
"""Ranges of rows start at multiples of this, which every block size and chunk divides."""
LANES = 8
"""Rows of a SELL chunk."""


class Csr(NamedTuple):
    """Compressed rows of a few entries. ``indptr`` (n + 1,), ``indices`` and ``data`` (nnz,)."""

    indptr: Array
    indices: Array
    data: Array


class LongCsr(NamedTuple):
    """The same arrays where rows are longer than a cache line."""

    indptr: Array
    indices: Array
    data: Array


class Sell(NamedTuple):
    """Chunks of 8 rows, padded to the longest of them, stored column by column (SELL-8).

    Chunk c is ``indices[chunks[c] : chunks[c + 1]]`` and data alike. Row ``order[i]`` stands at
    place i, within the same GRANULE of rows; ``order`` is padded with n, and empty if no row was
    moved.
    """

    chunks: IntArray
    indices: Array
    data: Array
    order: IntArray


class Bsr(NamedTuple):
    """Dense blocks of b x b. ``data`` is flat, row-major in a block; ``lanes`` is ``range(b)``."""

    indptr: Array
    indices: Array
    data: Array
    lanes: tuple[int, ...]


class Dia(NamedTuple):
    """Diagonals: ``data[k n + i] = A[i, i + offsets[k]]``, zero where that is outside."""

    data: Array
    offsets: tuple[int, ...]
    n: int


Matrix = Csr | LongCsr | Sell | Bsr | Dia


PRODUCTS: dict[type, Any] = {}
"""The kernel ``(A, first, last, v, out)`` of each format; filled by their modules."""


def product(A: Matrix, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out[: last - first] <- A[first:last, :] v`` in A's format."""
    PRODUCTS[type(A)](A, first, last, v, out)


if JIT:
    _overload: Any = overload

    @_overload(product, jit_options=OPTIONS)
    def _product(A: Any, first: Any, last: Any, v: Any, out: Any) -> Any:  # noqa: ARG001
        kernel = PRODUCTS[A.instance_class]

        def implementation(A: Any, first: Any, last: Any, v: Any, out: Any) -> None:
            kernel(A, first, last, v, out)

        return implementation
