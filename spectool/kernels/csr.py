"""Compressed rows (CSR).

Indices go through ``uintp``: a signed index keeps numba's wraparound test and makes the same loop
twice as slow. A row starts where the last one ended: reading ``indptr`` once a row instead of twice
is worth 1.1 to 1.3 times. One sum would wait for each addition; two serve short rows best, four
long ones, and letting the compiler reorder a single sum makes it gather, which is slower still.
Short rows fetch their data well ahead: the hardware's prefetcher stops at pages, and from memory on
one thread the fetch makes rows of 5 to 7 entries 1.5 to 1.8 times faster; long rows lose by it. All
of this was measured.
"""

from __future__ import annotations

from numpy import uintp

from spectool._types import Array
from spectool.kernels.compilation import kernel
from spectool.kernels.formats import PRODUCTS, Csr, LongCsr
from spectool.kernels.intrinsics import prefetch

AHEAD = 512
"""Entries between what is multiplied and what is fetched."""
SHORT = 16
"""Mean entries a row up to which fetching ahead pays."""


@kernel
def short_rows(A: Csr, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v``, two sums a row, fetching ahead once a row."""
    indptr, indices, data = A.indptr, A.indices, A.data
    begin = uintp(first)
    zero = data.dtype.type(0)
    p = uintp(indptr[begin])
    for i in range(begin, uintp(last)):
        end = uintp(indptr[i + uintp(1)])
        prefetch(data, p + uintp(AHEAD))
        prefetch(indices, p + uintp(AHEAD))
        s0, s1 = zero, zero
        while p + uintp(2) <= end:
            s0 += data[p] * v[uintp(indices[p])]
            s1 += data[p + uintp(1)] * v[uintp(indices[p + uintp(1)])]
            p += uintp(2)
        if p < end:
            s0 += data[p] * v[uintp(indices[p])]
            p += uintp(1)
        out[i - begin] = s0 + s1


@kernel
def long_rows(A: LongCsr, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v``, four sums a row."""
    indptr, indices, data = A.indptr, A.indices, A.data
    begin = uintp(first)
    zero = data.dtype.type(0)
    p = uintp(indptr[begin])
    for i in range(begin, uintp(last)):
        end = uintp(indptr[i + uintp(1)])
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
        out[i - begin] = (s0 + s1) + (s2 + s3)


PRODUCTS[Csr] = short_rows
PRODUCTS[LongCsr] = long_rows
