"""Products with many vectors, row-major blocks (n, m), for every format.

A row is read once for all columns. Columns are taken eight at a time, then four, two, one: the
sums of a tile are scalars that the compiler keeps in vector registers (an array of sums lives in
memory and loses to scipy on long rows, measured).
"""

from __future__ import annotations

from typing import Any

from numpy import uintp

from spectool._types import Array
from spectool.kernels.compilation import inlined, kernel
from spectool.kernels.formats import entries, entry, product, run


@inlined
def _eight(A: Any, i: int, width: int, v: Array, j: int, out: Array, slot: int) -> None:
    """Do ``out[slot : slot + 8] <- (A v)[i, j : j + 8]``."""
    zero = v.dtype.type(0)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    first, stop, step = entries(A, i)
    for p in range(first, stop, step):
        q, column = entry(A, i, p)
        for lane in range(run(A)):
            value = A.data[q + lane]
            k = (column + lane) * width + j
            s0 += value * v[k]
            s1 += value * v[k + uintp(1)]
            s2 += value * v[k + uintp(2)]
            s3 += value * v[k + uintp(3)]
            s4 += value * v[k + uintp(4)]
            s5 += value * v[k + uintp(5)]
            s6 += value * v[k + uintp(6)]
            s7 += value * v[k + uintp(7)]
    out[slot] = s0
    out[slot + uintp(1)] = s1
    out[slot + uintp(2)] = s2
    out[slot + uintp(3)] = s3
    out[slot + uintp(4)] = s4
    out[slot + uintp(5)] = s5
    out[slot + uintp(6)] = s6
    out[slot + uintp(7)] = s7


@inlined
def _four(A: Any, i: int, width: int, v: Array, j: int, out: Array, slot: int) -> None:
    """Do ``out[slot : slot + 4] <- (A v)[i, j : j + 4]``."""
    zero = v.dtype.type(0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    first, stop, step = entries(A, i)
    for p in range(first, stop, step):
        q, column = entry(A, i, p)
        for lane in range(run(A)):
            value = A.data[q + lane]
            k = (column + lane) * width + j
            s0 += value * v[k]
            s1 += value * v[k + uintp(1)]
            s2 += value * v[k + uintp(2)]
            s3 += value * v[k + uintp(3)]
    out[slot] = s0
    out[slot + uintp(1)] = s1
    out[slot + uintp(2)] = s2
    out[slot + uintp(3)] = s3


@inlined
def _two(A: Any, i: int, width: int, v: Array, j: int, out: Array, slot: int) -> None:
    """Do ``out[slot : slot + 2] <- (A v)[i, j : j + 2]``."""
    zero = v.dtype.type(0)
    s0, s1 = zero, zero
    first, stop, step = entries(A, i)
    for p in range(first, stop, step):
        q, column = entry(A, i, p)
        for lane in range(run(A)):
            value = A.data[q + lane]
            k = (column + lane) * width + j
            s0 += value * v[k]
            s1 += value * v[k + uintp(1)]
    out[slot] = s0
    out[slot + uintp(1)] = s1


@kernel
def block_rows(A: Any, m: int, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v`` for flat row-major v (n m,) and out."""
    width, begin = uintp(m), uintp(first)
    for i in range(begin, uintp(last)):
        q = (i - begin) * width
        j = uintp(0)
        while j + uintp(8) <= width:
            _eight(A, i, width, v, j, out, q + j)
            j += uintp(8)
        while j + uintp(4) <= width:
            _four(A, i, width, v, j, out, q + j)
            j += uintp(4)
        while j + uintp(2) <= width:
            _two(A, i, width, v, j, out, q + j)
            j += uintp(2)
        if j < width:
            total = v.dtype.type(0)
            start, stop, step = entries(A, i)
            for p in range(start, stop, step):
                k, column = entry(A, i, p)
                for lane in range(run(A)):
                    total += A.data[k + lane] * v[(column + lane) * width + j]
            out[q + j] = total


@kernel
def multiply(A: Any, columns: Any, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out[: (last - first) m] <- A[first:last, :] v``.

    Parameters
    ----------
    A : Matrix
        n rows.
    columns : int or None
        None for one vector, else the number m of columns of v.
    first, last : int
        Rows; first is a multiple of GRANULE, and last too unless it is n.
    v, out : ndarray
        Flat, row-major: n m values, and at least (last - first) m + LANES.
    """
    if columns is None:
        product(A, first, last, v, out)
    else:
        block_rows(A, columns, first, last, v, out)
