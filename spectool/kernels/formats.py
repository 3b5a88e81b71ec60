"""How a matrix lies in memory, and what every format can do: multiply a range of rows.

``multiply(A, columns, first, last, v, out)`` does ``out <- A[first:last, :] v``. Sweeps, Lanczos
steps and solvers are written once over it: a format knows nothing of recurrences, a recurrence
nothing of formats. The compiler picks the kernel by the type of A.
"""

from __future__ import annotations

from collections.abc import Callable
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

    indptr: IntArray
    indices: IntArray
    data: Array


class LongCsr(NamedTuple):
    """The same arrays where rows are longer than a cache line."""

    indptr: IntArray
    indices: IntArray
    data: Array


class Sell(NamedTuple):
    """Chunks of 8 rows, padded to the longest of them, stored column by column (SELL-8).

    Chunk c is ``indices[chunks[c] : chunks[c + 1]]`` and data alike. Places are rows in the order
    of storage: row ``order[i]`` stands at place i, row i at place ``place[i]``, both within the same
    GRANULE of rows. Both are empty if no row was moved. ``order`` is padded with n.
    """

    chunks: IntArray
    indices: IntArray
    data: Array
    order: IntArray
    place: IntArray


class Bsr(NamedTuple):
    """Dense blocks of b x b. ``data`` is flat, row-major in a block; ``lanes`` is ``range(b)``."""

    indptr: IntArray
    indices: IntArray
    data: Array
    lanes: tuple[int, ...]


class Dia(NamedTuple):
    """Diagonals: ``data[k n + i] = A[i, i + offsets[k]]``, zero where that is outside."""

    data: Array
    offsets: tuple[int, ...]
    n: int


Matrix = Csr | LongCsr | Sell | Bsr | Dia


class Format(NamedTuple):
    """The kernels of one format.

    Attributes
    ----------
    product : callable
        ``(A, first, last, v, out)``: one vector.
    entries : callable
        ``(A, i) -> (first, stop, step)``: a range of the runs of entries of row i.
    entry : callable
        ``(A, i, p) -> (position, column)``: where run p starts in ``A.data`` and in the row.
    run : callable
        ``(A) -> int``: entries per run, side by side in ``A.data`` and in the row.
    """

    product: Any
    entries: Any
    entry: Any
    run: Any


FORMATS: dict[type, Format] = {}
"""Filled by the modules of the formats."""


def dispatched(attribute: str) -> Callable[..., Any]:
    """Return a function that calls this attribute of A's format; compiled, it costs nothing."""

    def function(A: Any, *arguments: Any) -> Any:
        return getattr(FORMATS[type(A)], attribute)(A, *arguments)

    return function


entries = dispatched("entries")
entry = dispatched("entry")
run = dispatched("run")
product = dispatched("product")

if JIT:
    _overload: Any = overload
    _inline = {**OPTIONS, "forceinline": True}

    @_overload(entries, jit_options=_inline)
    def _entries(A: Any, i: Any) -> Any:  # noqa: ARG001
        kernel = FORMATS[A.instance_class].entries

        def implementation(A: Any, i: Any) -> Any:
            return kernel(A, i)

        return implementation

    @_overload(entry, jit_options=_inline)
    def _entry(A: Any, i: Any, p: Any) -> Any:  # noqa: ARG001
        kernel = FORMATS[A.instance_class].entry

        def implementation(A: Any, i: Any, p: Any) -> Any:
            return kernel(A, i, p)

        return implementation

    @_overload(run, jit_options=_inline)
    def _run(A: Any) -> Any:
        kernel = FORMATS[A.instance_class].run

        def implementation(A: Any) -> Any:
            return kernel(A)

        return implementation

    @_overload(product, jit_options=OPTIONS)
    def _product(A: Any, first: Any, last: Any, v: Any, out: Any) -> Any:  # noqa: ARG001
        kernel = FORMATS[A.instance_class].product

        def implementation(A: Any, first: Any, last: Any, v: Any, out: Any) -> None:
            kernel(A, first, last, v, out)

        return implementation


__all__ = [
    "FORMATS",
    "GRANULE",
    "LANES",
    "Bsr",
    "Csr",
    "Dia",
    "Format",
    "LongCsr",
    "Matrix",
    "Sell",
    "entries",
    "entry",
    "product",
    "run",
]
