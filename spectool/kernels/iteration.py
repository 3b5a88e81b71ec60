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
from spectool.kernels.vector import dot, in_order, weighted_square


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
def _scaled_rows(D: Any, z: Array, beta: Any, p: Array, first: int, last: int) -> None:
    """Do ``p <- D z + beta p`` on rows [first, last); p may hold anything if beta is 0."""
    zero = p.dtype.type(0)
    if beta == zero:
        for i in range(uintp(first), uintp(last)):
            p[i] = zero
    if D is None:
        for i in range(uintp(first), uintp(last)):
            p[i] = z[i] + beta * p[i]
    else:
        for i in range(uintp(first), uintp(last)):
            p[i] = D[i] * z[i] + beta * p[i]


@kernel
def search(
    A: Any,
    D: Any,
    z: Array,
    beta: Any,
    p: Array,
    q: Array,
    partials: Array,
    out: Array,
    rows: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``p <- D z + beta p``, ``q <- A p``, ``out[0] <- p* q``; D (n,) is diagonal, or None.

    One reduction; one pass over A, reads 3n, writes 2n. Scratch as in `product_dot`.
    """
    parts, n = schedule.left.shape[0], p.size
    first, last = schedule.left[part, 0] * CHUNK, schedule.right[part, 0] * CHUNK
    _scaled_rows(D, z, beta, p, min(first, n), min(last, n))
    barrier(parts, 1, sync)
    row = rows[part]
    for chunk in range(schedule.left[part, 0], schedule.right[part, 0]):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, n)
        multiply(A, None, first, last, p, row)
        for i in range(uintp(last - first)):
            q[uintp(first) + i] = row[i]
        partials[chunk] = dot(p, q, first, last)
    barrier(parts, 2, sync)
    if part == 0:
        out[0] = in_order(partials, partials.size)


@kernel
def update_norm(
    x: Array,
    r: Array,
    p: Array,
    q: Array,
    alpha: Any,
    D: Any,
    partials: Array,
    out: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``x <- x + alpha p``, ``r <- r - alpha q``, ``out <- (r* r, r* D r)``.

    D (n,) is diagonal, or None, which leaves out[1] alone. ``partials`` is (2, n_chunks). One
    reduction; reads 4n, 5n with D, writes 2n values.
    """
    parts, n = schedule.left.shape[0], x.size
    for chunk in range(schedule.left[part, 0], schedule.right[part, 0]):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, n)
        for i in range(uintp(first), uintp(last)):
            x[i] += alpha * p[i]
        for i in range(uintp(first), uintp(last)):
            r[i] -= alpha * q[i]
        partials[0, chunk] = dot(r, r, first, last)
        if D is not None:
            partials[1, chunk] = weighted_square(D, r, first, last)
    barrier(parts, 1, sync)
    if part == 0:
        out[0] = in_order(partials[0], partials.shape[1])
        if D is not None:
            out[1] = in_order(partials[1], partials.shape[1])


@kernel
def direction(p: Array, z: Array, beta: Any, schedule: Any, part: int, sync: IntArray) -> None:
    """Do ``p <- z + beta p``. No reduction; reads 2n, writes n values."""
    n = p.size
    first = min(schedule.left[part, 0] * CHUNK, n)
    last = min(schedule.right[part, 0] * CHUNK, n)
    for i in range(uintp(first), uintp(last)):
        p[i] = z[i] + beta * p[i]
    barrier(schedule.left.shape[0], 1, sync)


@kernel
def inner(
    x: Array, y: Array, partials: Array, out: Array, schedule: Any, part: int, sync: IntArray
) -> None:
    """Do ``out[0] <- x* y``. One reduction; reads 2n values."""
    parts, n = schedule.left.shape[0], x.size
    for chunk in range(schedule.left[part, 0], schedule.right[part, 0]):
        partials[chunk] = dot(x, y, chunk * CHUNK, min((chunk + 1) * CHUNK, n))
    barrier(parts, 1, sync)
    if part == 0:
        out[0] = in_order(partials, partials.size)


@kernel
def combine(
    y: Array,
    c: Any,
    u: Array,
    a: Any,
    v: Array,
    b: Any,
    partials: Array,
    out: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``y <- c y + a u + b v``, ``out[0] <- y* y``. One reduction; reads 3n, writes n values."""
    parts, n = schedule.left.shape[0], y.size
    for chunk in range(schedule.left[part, 0], schedule.right[part, 0]):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, n)
        for i in range(uintp(first), uintp(last)):
            y[i] = c * y[i] + a * u[i] + b * v[i]
        partials[chunk] = dot(y, y, first, last)
    barrier(parts, 1, sync)
    if part == 0:
        out[0] = in_order(partials, partials.size)


@kernel
def project_out(
    V: Array,
    w: Array,
    projections: Array,
    partials: Array,
    scratch: Array,
    h: Array,
    out: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``h <- conj(V) w``, ``w <- w - V^T h``, ``out[0] <- w* w`` for V of shape (k, n).

    ``projections`` is (k, n_chunks), ``scratch`` (parts, k or more). Two reductions; reads
    2 (k + 1) n, writes n values.
    """
    parts, n, k = schedule.left.shape[0], w.size, V.shape[0]
    own = scratch[part]
    for chunk in range(schedule.left[part, 0], schedule.right[part, 0]):
        for j in range(k):  # a chunk stays in cache while the basis streams past
            projections[j, chunk] = dot(V[j], w, chunk * CHUNK, min((chunk + 1) * CHUNK, n))
    barrier(parts, 1, sync)
    for j in range(k):
        own[j] = in_order(projections[j], partials.size)
    for chunk in range(schedule.left[part, 0], schedule.right[part, 0]):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, n)
        for j in range(k):
            for i in range(uintp(first), uintp(last)):
                w[i] -= own[j] * V[j, i]
        partials[chunk] = dot(w, w, first, last)
    barrier(parts, 2, sync)
    if part == 0:
        out[0] = in_order(partials, partials.size)
        for j in range(k):
            h[j] = own[j]
