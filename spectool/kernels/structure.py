"""One-pass facts about a CSR matrix with sorted indices: symmetry, row sums, scaling."""

from __future__ import annotations

import numpy as np
from numpy import uintp

from spectool._types import Array, FloatArray, IntArray
from spectool.kernels.compilation import inlined, kernel


@inlined
def _larger(worst: float, gap: float) -> float:
    """Return the larger one, or NaN where either is."""
    return gap if gap > worst or np.isnan(gap) else worst


@kernel
def asymmetry(indptr: Array, indices: Array, data: Array, cursor: Array) -> float:
    """Return ``max |a_ij - conj(a_ji)|``; cursor (n,) starts as a copy of ``indptr[:-1]``.

    Sorted rows are consumed in step: by the time row i is read, the entries of row j that lie in
    columns before i are behind ``cursor[j]``. An entry without a partner counts in full. NaN where
    A holds NaN, or infinities that are partners.
    """
    n = cursor.size
    worst = 0.0
    for i in range(n):
        for p in range(uintp(indptr[i]), uintp(indptr[i + 1])):
            j = uintp(indices[p])
            if j == uintp(i):
                worst = _larger(worst, abs(data[p] - np.conj(data[p])))
                continue
            end = uintp(indptr[j + uintp(1)])
            q = uintp(cursor[j])
            if j > uintp(i):
                # Row j's entries left of column i had partners only if already consumed.
                while q < end and uintp(indices[q]) < uintp(i):
                    worst = _larger(worst, abs(data[q]))
                    q += uintp(1)
                if q < end and uintp(indices[q]) == uintp(i):
                    worst = _larger(worst, abs(data[p] - np.conj(data[q])))
                    q += uintp(1)
                else:
                    worst = _larger(worst, abs(data[p]))
                cursor[j] = q
            elif uintp(p) >= uintp(cursor[i]):
                # Left of the diagonal and never met from row j: it has no partner.
                worst = _larger(worst, abs(data[p]))
    return worst


@kernel
def row_facts(
    indptr: Array,
    indices: Array,
    data: Array,
    diagonal: Array,
    radius: FloatArray,
    first: int,
    last: int,
) -> None:
    """Do diagonal <- diag(A), radius <- sums of ``|a_ij|`` off the diagonal, rows [first, last)."""
    for i in range(uintp(first), uintp(last)):
        d = data.dtype.type(0)
        r = 0.0
        for p in range(uintp(indptr[i]), uintp(indptr[i + uintp(1)])):
            if uintp(indices[p]) == i:
                d += data[p]
            else:
                r += abs(data[p])
        diagonal[i] = d
        radius[i] = r


@kernel
def scale_symmetric(
    indptr: Array,
    indices: Array,
    data: Array,
    scale: FloatArray,
    out: Array,
    first: int,
    last: int,
) -> None:
    """Do out <- data of ``diag(scale) A diag(scale)``, rows [first, last)."""
    for i in range(uintp(first), uintp(last)):
        left = scale[i]
        for p in range(uintp(indptr[i]), uintp(indptr[i + uintp(1)])):
            # The factors commute, so what was symmetric stays so, bit for bit.
            out[p] = data[p] * (left * scale[uintp(indices[p])])


@kernel
def permute_rows(
    indptr: Array,
    indices: Array,
    data: Array,
    order: IntArray,
    place: Array,
    new_indptr: Array,
    new_indices: Array,
    new_data: Array,
    first: int,
    last: int,
) -> None:
    """Do rows [first, last) of ``A[order][:, order]``, unsorted; ``place`` inverts order.

    ``new_indptr`` is known already.
    """
    for i in range(uintp(first), uintp(last)):
        row = uintp(order[i])
        q = uintp(new_indptr[i])
        for p in range(uintp(indptr[row]), uintp(indptr[row + uintp(1)])):
            new_indices[q] = place[uintp(indices[p])]
            new_data[q] = data[p]
            q += uintp(1)


@kernel
def breadth_first(
    indptr: Array, indices: Array, start: int, queue: IntArray, seen: Array, starts: IntArray
) -> int:
    """Do queue <- all nodes by their distance from start; return the number of levels.

    Level k is ``queue[starts[k] : starts[k + 1]]``; ``starts`` is (n + 1,), ``seen`` (n,) all
    False. Nodes out of reach begin again at distance 0, in levels of their own.
    """
    n = seen.size
    filled, level, fresh = 0, 0, 0
    starts[0] = 0
    root = start
    while filled < n:
        queue[filled] = root
        seen[root] = True
        filled += 1
        while starts[level] < filled:
            level += 1
            starts[level] = filled
            for q in range(uintp(starts[level - 1]), uintp(starts[level])):
                row = uintp(queue[q])
                for p in range(uintp(indptr[row]), uintp(indptr[row + uintp(1)])):
                    j = uintp(indices[p])
                    if not seen[j]:
                        seen[j] = True
                        queue[uintp(filled)] = j
                        filled += 1
        while fresh < n and seen[fresh]:
            fresh += 1
        root = fresh
    return level
