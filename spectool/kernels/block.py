"""Polynomial sweeps over a CSR matrix for many right-hand sides, row-major blocks (n, m).

A is read once per step for all columns. Columns are taken eight at a time, then four, then one:
the running sums of a tile are scalars that the compiler keeps in vector registers (an array of
sums lives in memory and loses to scipy on long rows, measured).
"""

from __future__ import annotations

from typing import Any

from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.compilation import inlined, kernel
from spectool.kernels.team import barrier


@inlined
def _row_times_block(
    indptr: Array, indices: Array, data: Array, i: int, m: int, v: Array, row: Array
) -> None:
    """Do row <- (A v)[i, :] for a flat row-major block v of m columns."""
    begin, end = uintp(indptr[i]), uintp(indptr[i + uintp(1)])
    width = uintp(m)
    j = uintp(0)
    while j + uintp(8) <= width:
        zero = data.dtype.type(0)
        s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
        for p in range(begin, end):
            value = data[p]
            q = uintp(indices[p]) * width + j
            s0 += value * v[q]
            s1 += value * v[q + uintp(1)]
            s2 += value * v[q + uintp(2)]
            s3 += value * v[q + uintp(3)]
            s4 += value * v[q + uintp(4)]
            s5 += value * v[q + uintp(5)]
            s6 += value * v[q + uintp(6)]
            s7 += value * v[q + uintp(7)]
        row[j] = s0
        row[j + uintp(1)] = s1
        row[j + uintp(2)] = s2
        row[j + uintp(3)] = s3
        row[j + uintp(4)] = s4
        row[j + uintp(5)] = s5
        row[j + uintp(6)] = s6
        row[j + uintp(7)] = s7
        j += uintp(8)
    while j + uintp(4) <= width:
        zero = data.dtype.type(0)
        s0, s1, s2, s3 = zero, zero, zero, zero
        for p in range(begin, end):
            value = data[p]
            q = uintp(indices[p]) * width + j
            s0 += value * v[q]
            s1 += value * v[q + uintp(1)]
            s2 += value * v[q + uintp(2)]
            s3 += value * v[q + uintp(3)]
        row[j] = s0
        row[j + uintp(1)] = s1
        row[j + uintp(2)] = s2
        row[j + uintp(3)] = s3
        j += uintp(4)
    while j < width:
        s0 = data.dtype.type(0)
        for p in range(begin, end):
            s0 += data[p] * v[uintp(indices[p]) * width + j]
        row[j] = s0
        j += uintp(1)


@kernel
def clenshaw(
    indptr: Array,
    indices: Array,
    data: Array,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    x: Array,
    u: Array,
    later: Array,
    m: int,
    rows: Array,
    part: int,
    bounds: IntArray,
    sync: IntArray,
) -> None:
    """Leave ``p(A) X`` in u if the degree is even, in later if odd; blocks are flat, row-major.

    ``rows``, shape (parts, m or more), holds one row's product per thread.
    """
    parts = bounds.size - 1
    d = a.size
    row = rows[part]
    width: Any = uintp(m)
    begin, end = uintp(bounds[part]), uintp(bounds[part + 1])
    for q in range(begin * width, end * width):
        u[q] = w[d] * x[q]
        later[q] = 0
    barrier(parts, 1, sync)
    for step in range(d):
        k = d - 1 - step
        ak, bk, wk = a[k], b[k], w[k]
        ck = c[k + 1] if step > 0 else a[k] * 0
        for i in range(begin, end):
            _row_times_block(indptr, indices, data, i, m, u, row)
            base = i * width
            for j in range(width):
                q = base + j
                later[q] = wk * x[q] + ak * row[j] + bk * u[q] + ck * later[q]
        u, later = later, u
        barrier(parts, step + 2, sync)


@kernel
def forward(
    indptr: Array,
    indices: Array,
    data: Array,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    v: Array,
    earlier: Array,
    out: Array,
    m: int,
    rows: Array,
    part: int,
    bounds: IntArray,
    sync: IntArray,
) -> None:
    """Do out <- p(A) V for flat row-major blocks of m columns, overwriting v and earlier."""
    parts = bounds.size - 1
    row = rows[part]
    width: Any = uintp(m)
    begin, end = uintp(bounds[part]), uintp(bounds[part + 1])
    for q in range(begin * width, end * width):
        out[q] = w[0] * v[q]
        earlier[q] = 0
    barrier(parts, 1, sync)
    for k in range(a.size):
        ak, bk, ck, wk = a[k], b[k], c[k], w[k + 1]
        for i in range(begin, end):
            _row_times_block(indptr, indices, data, i, m, v, row)
            base = i * width
            for j in range(width):
                q = base + j
                following = ak * row[j] + bk * v[q] + ck * earlier[q]
                earlier[q] = following
                out[q] += wk * following
        v, earlier = earlier, v
        barrier(parts, k + 2, sync)
