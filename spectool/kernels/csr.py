"""Compressed rows (CSR).

Indices go through ``uintp``: a signed index keeps numba's wraparound test and makes the same loop
twice as slow. Short rows fetch their data well ahead: the hardware's prefetcher stops at pages, and
from memory on one thread the fetch makes rows of 5 to 7 entries 1.5 to 1.7 times faster; long rows
lose by it (both measured).
"""

from __future__ import annotations

from typing import Any

from numpy import uintp

from spectool._types import Array
from spectool.kernels.compilation import inlined, kernel
from spectool.kernels.formats import PRODUCTS, Csr, LongCsr
from spectool.kernels.intrinsics import prefetch

AHEAD = 512
"""Entries between what is multiplied and what is fetched."""
SHORT = 16
"""Mean entries a row up to which fetching ahead pays."""


@inlined
def row_dot(indptr: Array, indices: Array, data: Array, i: int, v: Array) -> Any:
    """Return ``(A v)[i]``.

    Four sums: one would wait for each addition (1.1 to 1.4 times slower, measured), and letting the
    compiler reorder a single sum makes it gather, which is slower still on short rows.
    """
    p, end = uintp(indptr[i]), uintp(indptr[i + uintp(1)])
    zero = data.dtype.type(0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    while p + uintp(4) <= end:
        s0 += data[p] * v[uintp(indices[p])]
        s1 += data[p + uintp(1)] * v[uintp(indices[p + uintp(1)])]
        s2 += data[p + uintp(2)] * v[uintp(indices[p + uintp(2)])]
        s3 += data[p + uintp(3)] * v[uintp(indices[p + uintp(3)])]
        p += uintp(4)
    while p < end:
        s0 += data[p] * v[uintp(indices[p])]
        p += uintp(1)
    return (s0 + s1) + (s2 + s3)


@kernel
def short_rows(A: Csr, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v``, fetching ahead once a row."""
    indptr, indices, data = A.indptr, A.indices, A.data
    begin = uintp(first)
    for i in range(begin, uintp(last)):
        ahead = uintp(indptr[i]) + uintp(AHEAD)
        prefetch(data, ahead)
        prefetch(indices, ahead)
        out[i - begin] = row_dot(indptr, indices, data, i, v)


@kernel
def long_rows(A: LongCsr, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v``."""
    indptr, indices, data = A.indptr, A.indices, A.data
    begin = uintp(first)
    for i in range(begin, uintp(last)):
        out[i - begin] = row_dot(indptr, indices, data, i, v)


PRODUCTS[Csr] = short_rows
PRODUCTS[LongCsr] = long_rows
