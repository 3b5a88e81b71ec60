"""The passes of a conjugate gradient iteration, each with the inner product it is followed by.

Apart they read every vector once more per inner product. Reductions are sums over chunks of CHUNK
rows, added in order: the bits do not depend on the threads.
"""

from __future__ import annotations

from typing import Any

from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.block import multiply
from spectool.kernels.compilation import kernel
from spectool.kernels.schedule import CHUNK
from spectool.kernels.team import barrier
from spectool.kernels.vector import dot, in_order


@kernel
def product_dot(
    A: Any,
    p: Array,
    q: Array,
    partials: Array,
    out: Array,
    rows: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``q <- A p``, ``out[0] <- p* q``. One reduction; one pass over A, reads n, writes n.

    ``partials`` is (n_chunks,), ``rows`` (parts, CHUNK + LANES or more).
    """
    parts, n = schedule.left.shape[0], p.size
    row = rows[part]
    for chunk in range(schedule.left[part, 0], schedule.right[part, 0]):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, n)
        multiply(A, None, first, last, p, row)
        for i in range(uintp(last - first)):
            q[uintp(first) + i] = row[i]
        partials[chunk] = dot(p, q, first, last)
    barrier(parts, 1, sync)
    if part == 0:
        out[0] = in_order(partials, partials.size)


@kernel
def update_norm(
    x: Array,
    r: Array,
    p: Array,
    q: Array,
    alpha: Any,
    partials: Array,
    out: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``x <- x + alpha p``, ``r <- r - alpha q``, ``out[0] <- r* r``.

    One reduction; reads 4n, writes 2n values.
    """
    parts, n = schedule.left.shape[0], x.size
    for chunk in range(schedule.left[part, 0], schedule.right[part, 0]):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, n)
        for i in range(uintp(first), uintp(last)):
            x[i] += alpha * p[i]
        for i in range(uintp(first), uintp(last)):
            r[i] -= alpha * q[i]
        partials[chunk] = dot(r, r, first, last)
    barrier(parts, 1, sync)
    if part == 0:
        out[0] = in_order(partials, partials.size)


@kernel
def direction(p: Array, z: Array, beta: Any, schedule: Any, part: int, sync: IntArray) -> None:
    """Do ``p <- z + beta p``. No reduction; reads 2n, writes n values."""
    n = p.size
    first = min(schedule.left[part, 0] * CHUNK, n)
    last = min(schedule.right[part, 0] * CHUNK, n)
    for i in range(uintp(first), uintp(last)):
        p[i] = z[i] + beta * p[i]
    barrier(schedule.left.shape[0], 1, sync)
