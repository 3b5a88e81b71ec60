"""One Lanczos step over a CSR matrix: product, inner products and reorthogonalization fused.

Reductions are sums over fixed chunks of CHUNK rows, added in order, so alpha and beta have the same
bits for every number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy import uintp

from spectool._types import Array, FloatArray, IntArray
from spectool.kernels.compilation import kernel
from spectool.kernels.team import CHUNK, barrier
from spectool.kernels.vector import dot, row_dot


@kernel
def _in_order(partials: Array, n_chunks: int) -> float:
    total = partials.dtype.type(0)
    for q in range(n_chunks):
        total += partials[q]
    return total


@kernel
def lanczos_step(
    indptr: Array,
    indices: Array,
    data: Array,
    previous: Array,
    current: Array,
    beta: float,
    basis: Array,
    following: Array,
    projections: Array,
    partials: FloatArray,
    out: FloatArray,
    part: int,
    bounds: IntArray,
    sync: IntArray,
) -> None:
    """Do ``out[1] following <- A current - alpha current - beta previous``, ``out[0] = alpha``.

    ``basis``, shape (k, n), is projected out once more (k = 0: local orthogonality only);
    ``projections`` is (k, n_chunks), ``partials`` (2 n_chunks,). Two reductions, one more with a
    basis. Cost: one pass over A; 8n values, and 3kn with a basis.
    """
    parts = bounds.size - 1
    first, last = bounds[part], bounds[part + 1]
    n = current.size
    n_chunks = (n + CHUNK - 1) // CHUNK
    first_chunk, last_chunk = first // CHUNK, (last + CHUNK - 1) // CHUNK
    for q in range(first_chunk, last_chunk):
        for i in range(uintp(q * CHUNK), uintp(min((q + 1) * CHUNK, n))):
            following[i] = row_dot(indptr, indices, data, i, current) - beta * previous[i]
        partials[q] = dot(current, following, q * CHUNK, min((q + 1) * CHUNK, n)).real
    barrier(parts, 1, sync)
    alpha = _in_order(partials, n_chunks)
    phase = 2
    n_basis = basis.shape[0]
    for q in range(first_chunk, last_chunk):
        begin, end = q * CHUNK, min((q + 1) * CHUNK, n)
        for i in range(uintp(begin), uintp(end)):
            following[i] -= alpha * current[i]
        for j in range(n_basis):
            projections[j, q] = dot(basis[j], following, begin, end)
    if n_basis > 0:
        barrier(parts, phase, sync)
        phase += 1
        for j in range(n_basis):
            coefficient = _in_order(projections[j], n_chunks)
            for i in range(uintp(first), uintp(last)):
                following[i] -= coefficient * basis[j, i]
    for q in range(first_chunk, last_chunk):
        end_of_chunk = min((q + 1) * CHUNK, n)
        partials[n_chunks + q] = dot(following, following, q * CHUNK, end_of_chunk).real
    barrier(parts, phase, sync)
    norm = np.sqrt(_in_order(partials[n_chunks:], n_chunks))
    if norm > 0:
        inverse = 1.0 / norm
        for i in range(uintp(first), uintp(last)):
            following[i] *= inverse
    # The first part returns to the caller, who reads all rows: nobody may still be writing.
    barrier(parts, phase + 1, sync)
    if first == 0:
        out[0] = alpha
        out[1] = norm
