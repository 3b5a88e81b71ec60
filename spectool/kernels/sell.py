"""SELL-8: chunks of eight rows side by side, so that short rows fill vector registers.

Source
    Kreutzer, Hager, Wellein, Fehske, Bishop, A unified sparse matrix data format for efficient
    general sparse matrix-vector multiply on modern processors with wide SIMD units, SIAM J. Sci.
    Comput. 36 (2014).
Deviations
    Rows are sorted by length only within GRANULE rows, and a product puts them back: the vectors
    keep their order, so neither solver nor level blocking knows of the sort.
"""

from __future__ import annotations

from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.compilation import kernel
from spectool.kernels.formats import GRANULE, LANES, PRODUCTS, Sell
from spectool.kernels.intrinsics import chunk_product, prefetch

AHEAD = 512
"""Entries between what is multiplied and what is fetched."""

SHORT = 16
"""Entries a row up to which fetching ahead pays."""


@kernel
def rows(A: Sell, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v``; out has LANES more places, which are overwritten."""
    chunks, indices, data, order = A.chunks, A.indices, A.data, A.order
    begin, end = uintp(first) // uintp(LANES), (uintp(last) + uintp(LANES - 1)) // uintp(LANES)
    size = uintp(last) - uintp(first)
    moved = order.size > 0
    for chunk in range(begin, end):
        p, stop = uintp(chunks[chunk]), uintp(chunks[chunk + uintp(1)])
        if stop - p <= uintp(SHORT * LANES):
            for q in range(p + uintp(AHEAD), stop + uintp(AHEAD), uintp(LANES)):
                prefetch(data, q)
                prefetch(indices, q)
        place = (chunk - begin) * uintp(LANES)
        if moved:
            chunk_product(indices, data, p, stop, v, out, size)
            for lane in range(uintp(LANES)):
                row = uintp(order[chunk * uintp(LANES) + lane])
                if row < uintp(last):
                    out[row - uintp(first)] = out[size + lane]
        else:
            chunk_product(indices, data, p, stop, v, out, place)


PRODUCTS[Sell] = rows


@kernel
def sort_rows(indptr: Array, order: IntArray) -> None:
    """Do order <- rows by falling length within each GRANULE, padded with n."""
    n = indptr.size - 1
    for start in range(0, n, GRANULE):
        stop = min(start + GRANULE, n)
        for i in range(start, stop):  # insertion sort: GRANULE is small, rows nearly alike
            length = indptr[i + 1] - indptr[i]
            j = i
            while j > start and indptr[order[j - 1] + 1] - indptr[order[j - 1]] < length:
                order[j] = order[j - 1]
                j -= 1
            order[j] = i
    for i in range(n, order.size):
        order[i] = n


@kernel
def chunk_starts(indptr: Array, order: Array, n: int, chunks: IntArray) -> None:
    """Do chunks (n_chunks + 1,) <- starts; order is empty for rows in place."""
    chunks[0] = 0
    for chunk in range(chunks.size - 1):
        longest = 0
        for place in range(chunk * LANES, min((chunk + 1) * LANES, n)):
            row = order[place] if order.size > 0 else place
            longest = max(longest, indptr[row + 1] - indptr[row])
        chunks[chunk + 1] = chunks[chunk] + longest * LANES


@kernel
def fill(
    indptr: Array,
    indices: Array,
    data: Array,
    A: Sell,
    first: int,
    last: int,
) -> None:
    """Copy chunks [first, last) from CSR; padding repeats a column of the row, with value 0."""
    n = indptr.size - 1
    for chunk in range(uintp(first), uintp(last)):
        begin, end = uintp(A.chunks[chunk]), uintp(A.chunks[chunk + uintp(1)])
        for lane in range(uintp(LANES)):
            place = chunk * uintp(LANES) + lane
            row = uintp(A.order[place]) if A.order.size > 0 else place
            q = begin + lane
            column = 0
            if row < uintp(n):
                column = int(row)
                for p in range(uintp(indptr[row]), uintp(indptr[row + uintp(1)])):
                    column = indices[p]
                    A.indices[q] = column
                    A.data[q] = data[p]
                    q += uintp(LANES)
            while q < end:
                A.indices[q] = column
                A.data[q] = 0
                q += uintp(LANES)
