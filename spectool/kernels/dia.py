"""Diagonals (DIA): no indices at all, for stencils.

A row is one expression over all diagonals: their number is part of the type of ``offsets``, so the
compiler unrolls the sum and vectorizes across rows. A loop over diagonals outside the rows was half
as fast (measured).
"""

from __future__ import annotations

from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.compilation import kernel
from spectool.kernels.formats import PRODUCTS, Dia

MOST = 9
"""Diagonals up to which this format is built."""


@kernel
def _edge(A: Dia, first: int, begin: int, end: int, v: Array, out: Array) -> None:
    """Rows [begin, end), where some diagonals leave the matrix."""
    data, n = A.data, A.n
    for i in range(uintp(begin), uintp(end)):
        out[i - uintp(first)] = 0
    for k in range(len(A.offsets)):
        offset, base = A.offsets[k], uintp(k) * uintp(n)
        for i in range(uintp(max(begin, -offset)), uintp(max(min(end, n - offset), 0))):
            out[i - uintp(first)] += data[base + i] * v[uintp(int(i) + offset)]


@kernel
def rows(A: Dia, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v``."""
    data, offsets, n = A.data, A.offsets, A.n
    low, high = 0, 0
    for k in range(len(offsets)):
        low, high = min(low, offsets[k]), max(high, offsets[k])
    inner = max(first, min(-low, last))
    outer = max(inner, min(n - high, last))
    _edge(A, first, first, inner, v, out)
    for i in range(uintp(inner), uintp(outer)):
        total = data[i] * v[uintp(int(i) + offsets[0])]
        for k in range(1, len(offsets)):
            total += data[uintp(k) * uintp(n) + i] * v[uintp(int(i) + offsets[k])]
        out[i - uintp(first)] = total
    _edge(A, first, outer, last, v, out)


PRODUCTS[Dia] = rows


@kernel
def find_offsets(indptr: Array, indices: Array, offsets: IntArray, first: int, last: int) -> int:
    """Write the distinct offsets of rows [first, last), unsorted, until the array is full.

    Returns their number.
    """
    found, previous, length = 0, uintp(0), uintp(0)
    for i in range(first, last):
        begin = uintp(indptr[i])
        stays = uintp(indptr[i + 1]) - begin == length
        if stays:  # nearly all rows of a stencil are their predecessor, moved by one
            for p in range(length):
                stays &= indices[begin + p] - indices[previous + p] == 1
        length, previous = uintp(indptr[i + 1]) - begin, begin
        if stays:
            continue
        k = 0
        for p in range(uintp(indptr[i]), uintp(indptr[i + 1])):
            offset = indices[p] - i
            looked = 0  # look on where the last was found
            while looked < found and offsets[k] != offset:
                k += 1
                if k == found:
                    k = 0
                looked += 1
            if looked == found:
                offsets[found] = offset
                k = found
                found += 1
                if found == offsets.size:
                    return found
    return found


@kernel
def fill(indptr: Array, indices: Array, data: Array, A: Dia, first: int, last: int) -> None:
    """Copy rows [first, last) from CSR; ``A.data`` starts as zeros."""
    for i in range(uintp(first), uintp(last)):
        begin = uintp(indptr[i])
        if uintp(indptr[i + uintp(1)]) - begin == uintp(len(A.offsets)):  # on every diagonal
            for k in range(len(A.offsets)):
                A.data[uintp(k) * uintp(A.n) + i] = data[begin + uintp(k)]
            continue
        k = 0
        for p in range(uintp(indptr[i]), uintp(indptr[i + uintp(1)])):
            offset = indices[p] - int(i)
            while A.offsets[k] != offset:  # offsets rise, and so do the columns of a row
                k += 1
            A.data[uintp(k) * uintp(A.n) + i] = data[p]
