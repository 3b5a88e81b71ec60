"""Polynomial sweeps over a CSR matrix, one vector: forward and Clenshaw.

Every function takes flat arrays, allocates nothing and checks nothing. Indices go through
``uintp``: a signed index keeps numba's wraparound test and makes the same loop twice as slow.
"""

from __future__ import annotations

from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.compilation import kernel
from spectool.kernels.team import barrier
from spectool.kernels.vector import row_dot


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
    part: int,
    bounds: IntArray,
    sync: IntArray,
) -> None:
    """Leave ``p(A) x`` in u if the degree is even, in later if it is odd.

    ``u_k = w_k x + (a_k A + b_k) u_{k+1} + c_{k+1} u_{k+2}``, overwriting u_{k+2} row by row.
    Cost per step: one pass over A; reads 3n, writes n values.
    """
    parts = bounds.size - 1
    d = a.size
    begin, end = uintp(bounds[part]), uintp(bounds[part + 1])
    for i in range(begin, end):
        u[i] = w[d] * x[i]
        later[i] = 0
    barrier(parts, 1, sync)
    for step in range(d):
        k = d - 1 - step
        ak, bk, wk = a[k], b[k], w[k]
        ck = c[k + 1] if step > 0 else a[k] * 0
        for i in range(begin, end):
            row = row_dot(indptr, indices, data, i, u)
            later[i] = wk * x[i] + ak * row + bk * u[i] + ck * later[i]
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
    part: int,
    bounds: IntArray,
    sync: IntArray,
) -> None:
    """Do out <- p(A) v, overwriting v and earlier.

    ``v_{k+1} = (a_k A + b_k) v_k + c_k v_{k-1}`` and ``out += w_{k+1} v_{k+1}`` in one pass.
    Cost per step: one pass over A; reads 3n, writes 2n values.
    """
    parts = bounds.size - 1
    begin, end = uintp(bounds[part]), uintp(bounds[part + 1])
    for i in range(begin, end):
        out[i] = w[0] * v[i]
        earlier[i] = 0
    barrier(parts, 1, sync)
    for k in range(a.size):
        ak, bk, ck, wk = a[k], b[k], c[k], w[k + 1]
        for i in range(begin, end):
            row = row_dot(indptr, indices, data, i, v)
            following = ak * row + bk * v[i] + ck * earlier[i]
            earlier[i] = following
            out[i] += wk * following
        v, earlier = earlier, v
        barrier(parts, k + 2, sync)
