"""Blocked rows (BSR): dense blocks of b x b, for several unknowns per node.

One column index serves b^2 entries, and a block row keeps b sums in registers. The source of one
block row is written out per b when it is compiled: sums in an array would live in memory.
"""

from __future__ import annotations

from typing import Any, cast

from numba.extending import overload
from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.compilation import JIT, OPTIONS, inlined, kernel
from spectool.kernels.formats import PRODUCTS, Bsr
from spectool.kernels.intrinsics import prefetch

SIZES = (2, 3, 4, 5, 6)
"""Block sizes that are built."""
AHEAD = 1024
"""Entries between what is multiplied and what is fetched."""


def block_row(A: Bsr, r: Any, v: Array, out: Array, slot: Any) -> None:
    """Do ``out[slot : slot + b] <- (A v)[r b : (r + 1) b]``."""
    b = len(A.lanes)
    out[slot : slot + b] = 0
    for p in range(A.indptr[r], A.indptr[r + 1]):
        block = A.data[p * b * b : (p + 1) * b * b].reshape(b, b)
        out[slot : slot + b] += block @ v[A.indices[p] * b : (A.indices[p] + 1) * b]


def _source(b: int) -> str:
    lanes = range(b)
    # The compiler wants the signature of block_row, annotations and all.
    lines = [
        "def block_row(A: Bsr, r: Any, v: Array, out: Array, slot: Any) -> None:",
        "    data, indices = A.data, A.indices",
    ]
    lines += [f"    s{i} = data.dtype.type(0)" for i in lanes]
    lines += [
        "    for p in range(uintp(A.indptr[r]), uintp(A.indptr[r + uintp(1)])):",
        f"        j, q = uintp(indices[p]) * uintp({b}), p * uintp({b * b})",
        f"        prefetch(data, q + uintp({AHEAD}))",
    ]
    lines += [f"        x{k} = v[j + uintp({k})]" for k in lanes]
    for i in lanes:
        terms = (f"data[q + uintp({i * b + k})] * x{k}" for k in lanes)
        lines.append(f"        s{i} += {' + '.join(terms)}")
    lines += [f"    out[slot + uintp({i})] = s{i}" for i in lanes]
    return "\n".join(lines)


if JIT:
    _overload: Any = overload

    @_overload(block_row, jit_options=OPTIONS)
    def _block_row(A: Bsr, r: Any, v: Array, out: Array, slot: Any) -> Any:  # noqa: ARG001
        names: dict[str, Any] = {"uintp": uintp, "prefetch": prefetch}
        exec(_source(len(cast("Any", A).types[3])), names)
        return names["block_row"]


@kernel
def rows(A: Bsr, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v``; b divides first and last."""
    b = uintp(len(A.lanes))
    begin = uintp(first) // b
    for r in range(begin, uintp(last) // b):
        block_row(A, r, v, out, (r - begin) * b)


PRODUCTS[Bsr] = rows


@inlined
def _next_block(indptr: Array, indices: Array, r: int, b: int, at: IntArray) -> int:
    """Return the smallest block column under the cursors of block row r, or -1 at its end."""
    column = -1
    for lane in range(b):
        p = at[lane]
        if p < indptr[r * b + lane + 1]:
            candidate = indices[uintp(p)] // b
            if column < 0 or candidate < column:
                column = candidate
    return column


@kernel
def count_blocks(
    indptr: Array,
    indices: Array,
    b: int,
    first: int,
    last: int,
    at: IntArray,
    counts: IntArray,
) -> None:
    """Do ``counts[r - first] <- blocks of block row r``; rows are sorted, at (b,) is scratch."""
    for r in range(first, last):
        for lane in range(b):
            at[lane] = indptr[r * b + lane]
        blocks = 0
        column = _next_block(indptr, indices, r, b, at)
        while column >= 0:
            blocks += 1
            for lane in range(b):
                end = indptr[r * b + lane + 1]
                while at[lane] < end and indices[uintp(at[lane])] < (column + 1) * b:
                    at[lane] += 1
            column = _next_block(indptr, indices, r, b, at)
        counts[r - first] = blocks


@kernel
def fill(
    indptr: Array, indices: Array, data: Array, A: Bsr, first: int, last: int, at: IntArray
) -> None:
    """Copy block rows [first, last) from CSR; at (b,) is scratch."""
    b = len(A.lanes)
    for r in range(first, last):
        for lane in range(b):
            at[lane] = indptr[r * b + lane]
        for block in range(A.indptr[r], A.indptr[r + 1]):
            column = _next_block(indptr, indices, r, b, at)
            A.indices[block] = column
            base = uintp(block) * uintp(b * b)
            for q in range(base, base + uintp(b * b)):
                A.data[q] = 0
            for lane in range(b):
                end = indptr[r * b + lane + 1]
                while at[lane] < end and indices[uintp(at[lane])] < (column + 1) * b:
                    p = uintp(at[lane])
                    A.data[base + uintp(lane * b + indices[p] - column * b)] = data[p]
                    at[lane] += 1
