"""One Lanczos step in any format: product, inner products and reorthogonalization fused.

Reductions are sums over fixed chunks of CHUNK rows, added in order, so alpha and beta have the same
bits for every number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import uintp

from spectool._types import Array, FloatArray, IntArray
from spectool.kernels.block import multiply
from spectool.kernels.compilation import kernel
from spectool.kernels.schedule import CHUNK
from spectool.kernels.team import barrier
from spectool.kernels.vector import dot, in_order


@kernel
def lanczos_step(
    A: Any,
    previous: Array,
    current: Array,
    beta: float,
    basis: Array,
    following: Array,
    projections: Array,
    partials: FloatArray,
    out: FloatArray,
    rows: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``out[1] following <- A current - alpha current - beta previous``, ``out[0] = alpha``.

    ``basis``, shape (k, n), is projected out once more (k = 0: local orthogonality only);
    ``projections`` is (k, n_chunks), ``partials`` (2 n_chunks,), ``rows`` (parts, CHUNK + LANES or
    more, and k). Two reductions, one more with a basis. Cost: one pass over A; 8n values, and 2kn
    with a basis.
    """
    parts = schedule.left.shape[0]
    n = current.size
    n_chunks = (n + CHUNK - 1) // CHUNK
    first_chunk, last_chunk = schedule.left[part, 0], schedule.right[part, 0]
    first, last = min(first_chunk * CHUNK, n), min(last_chunk * CHUNK, n)
    row = rows[part]
    for q in range(first_chunk, last_chunk):
        begin = uintp(q * CHUNK)
        multiply(A, None, q * CHUNK, min((q + 1) * CHUNK, n), current, row)
        for i in range(uintp(min(CHUNK, n - q * CHUNK))):
            following[begin + i] = row[i] - beta * previous[begin + i]
        partials[q] = dot(current, following, q * CHUNK, min((q + 1) * CHUNK, n)).real
    barrier(parts, 1, sync)
    alpha = in_order(partials, n_chunks)
    phase = 2
    n_basis = basis.shape[0]
    for q in range(first_chunk, last_chunk):
        start, end = q * CHUNK, min((q + 1) * CHUNK, n)
        for i in range(uintp(start), uintp(end)):
            following[i] -= alpha * current[i]
        for j in range(n_basis):
            projections[j, q] = dot(basis[j], following, start, end)
    if n_basis > 0:
        barrier(parts, phase, sync)
        phase += 1
        for j in range(n_basis):
            row[j] = in_order(projections[j], n_chunks)
    for q in range(first_chunk, last_chunk):
        start, end = q * CHUNK, min((q + 1) * CHUNK, n)
        for j in range(n_basis):  # a chunk stays in cache while the basis streams past
            for i in range(uintp(start), uintp(end)):
                following[i] -= row[j] * basis[j, i]
        partials[n_chunks + q] = dot(following, following, start, end).real
    barrier(parts, phase, sync)
    norm = np.sqrt(in_order(partials[n_chunks:], n_chunks))
    if norm > 0:
        inverse = 1.0 / norm
        for i in range(uintp(first), uintp(last)):
            following[i] *= inverse
    # The first part returns to the caller, who reads all rows: nobody may still be writing.
    barrier(parts, phase + 1, sync)
    if part == 0:
        out[0] = alpha
        out[1] = norm
