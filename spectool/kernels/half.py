"""Symmetric matrices by half: the diagonal and what is below it, each entry used twice.

Where fronts are too wide for level blocking, a product reads the whole matrix from memory, and half
of it is read in little more than half of the time. An entry ``a_ij`` adds to rows i and j, so rows
cannot be shared as they are elsewhere: the matrix is cut into sections, each section adds into a
vector of its own, and a second pass sums those vectors row by row. Sections depend on the matrix
alone and are summed in order, so bits do not depend on the threads.

Source
    Gkountouvas, Karakasis, Kourtis, Goumas, Koziris, Improving the performance of the symmetric
    sparse matrix-vector multiplication in multicore, IPDPS (2013): local vectors, summed after.
Deviations
    A local vector is the range of rows that its section touches, without an index of them; a row's
    own sum is assigned, not added, so it is cleared only above its section. The number of sections
    follows from what their vectors cost.
Cost per product
    nnz / 2 entries; writes and reads ``offsets[-1]`` values, at most n + nnz / 16 unless there are
    two sections, beside the vectors. One vector only; two barriers per step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.compilation import kernel
from spectool.kernels.csr import AHEAD, SHORT
from spectool.kernels.formats import PRODUCTS
from spectool.kernels.intrinsics import prefetch
from spectool.kernels.sweeps import step_rows
from spectool.kernels.team import barrier, share

SECTIONS = (24, 12, 6, 2)
"""Numbers of sections, which many numbers of threads divide."""
OVERHANG = 0.125
"""Values above its sections, per entry below the diagonal, that more than two sections may cost."""


class Half(NamedTuple):
    """A symmetric matrix: its diagonal, and the rest of its lower triangle in sections.

    Attributes
    ----------
    diag : ndarray, shape (n,)
        Diagonal.
    indptr, indices, data : ndarray, shapes (n + 1,), (m,) and (m,)
        Entries strictly below the diagonal, compressed rows.
    starts : ndarray, shape (n_sections + 1,)
        Section s is rows ``starts[s]`` to ``starts[s + 1]``: about as many entries in each.
    lows : ndarray, shape (n_sections,)
        Least row to which a section adds.
    offsets : ndarray, shape (n_sections + 1,)
        Where each section's vector of rows ``lows[s]`` to ``starts[s + 1]`` begins in scratch.
    """

    diag: Array
    indptr: Array
    indices: Array
    data: Array
    starts: IntArray
    lows: IntArray
    offsets: IntArray


class Summands(NamedTuple):
    """A product in the private vectors of its sections, not summed yet."""

    starts: IntArray
    lows: IntArray
    offsets: IntArray
    private: Array


@kernel
def _accumulate(A: Half, s: int, v: Array, private: Array) -> None:
    """Do section s of the product into its private vector.

    Rows of the section are assigned when they are reached: only later rows add to them. A row's
    columns differ, so four are loaded before the first is stored.
    """
    diag, indptr, indices, data = A.diag, A.indptr, A.indices, A.data
    first, last, low = uintp(A.starts[s]), uintp(A.starts[s + 1]), uintp(A.lows[s])
    shift = uintp(A.offsets[s]) - low  # not negative: the sections before hold all rows before
    zero = data.dtype.type(0)
    for i in range(low + shift, first + shift):
        private[i] = zero
    p = uintp(indptr[first])
    for i in range(first, last):
        end = uintp(indptr[i + uintp(1)])
        if end - p <= uintp(SHORT):
            prefetch(data, p + uintp(AHEAD))
            prefetch(indices, p + uintp(AHEAD))
        v_i = v[i]
        s0, s1, s2, s3 = zero, zero, zero, zero
        while p + uintp(4) <= end:
            j0, j1 = uintp(indices[p]), uintp(indices[p + uintp(1)])
            j2, j3 = uintp(indices[p + uintp(2)]), uintp(indices[p + uintp(3)])
            a0, a1, a2, a3 = data[p], data[p + uintp(1)], data[p + uintp(2)], data[p + uintp(3)]
            t0, t1, t2, t3 = (
                private[j0 + shift],
                private[j1 + shift],
                private[j2 + shift],
                private[j3 + shift],
            )
            s0 += a0 * v[j0]
            s1 += a1 * v[j1]
            s2 += a2 * v[j2]
            s3 += a3 * v[j3]
            private[j0 + shift] = t0 + a0 * v_i
            private[j1 + shift] = t1 + a1 * v_i
            private[j2 + shift] = t2 + a2 * v_i
            private[j3 + shift] = t3 + a3 * v_i
            p += uintp(4)
        while p < end:
            j = uintp(indices[p])
            s0 += data[p] * v[j]
            private[j + shift] += data[p] * v_i
            p += uintp(1)
        private[i + shift] = diag[i] * v_i + ((s0 + s1) + (s2 + s3))


@kernel
def _accumulate_sections(A: Half, v: Array, private: Array, part: int, parts: int) -> None:
    """Do the sections of one part."""
    sections = A.lows.size
    for s in range(sections * part // parts, sections * (part + 1) // parts):
        _accumulate(A, s, v, private)


@kernel
def _sum_rows(A: Summands, first: int, last: int, v: Array, out: Array) -> None:  # noqa: ARG001
    """Do ``out[: last - first] <-`` rows of the product, sections in order; v was used already."""
    private = A.private
    zero = private.dtype.type(0)
    for q in range(uintp(last - first)):
        out[q] = zero
    for s in range(A.lows.size):
        low, high = max(first, A.lows[s]), min(last, A.starts[s + 1])
        if low < high:
            place, begin = uintp(low - first), uintp(A.offsets[s] + low - A.lows[s])
            for q in range(uintp(high - low)):
                out[place + q] += private[begin + q]


PRODUCTS[Summands] = _sum_rows


@kernel
def product(
    A: Half,
    x: Array,
    out: Array,
    private: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do out <- A x; private (``A.offsets[-1]``,) is scratch."""
    parts, strip = schedule.left.shape[0], schedule.strip
    _accumulate_sections(A, x, private, part, parts)
    barrier(parts, 1, sync)
    summands = Summands(A.starts, A.lows, A.offsets, private)
    n_strips = (schedule.rows + strip - 1) // strip
    for s in range(n_strips * part // parts, n_strips * (part + 1) // parts):
        first, last = s * strip, min((s + 1) * strip, schedule.rows)
        _sum_rows(summands, first, last, x, out[first:last])
    barrier(parts, 2, sync)


@kernel
def sweep(
    A: Half,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    x: Array,
    even: Array,
    odd: Array,
    out: Any,
    private: Array,
    rows: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Run a recurrence of degree 1 or more on x, as `sweeps.sweep` does, one vector and step.

    The answer is in out, or if out is None in even or odd, as there. ``private``
    (``A.offsets[-1]``,) and ``rows`` (parts, strip or more) are scratch.
    """
    parts, row = schedule.left.shape[0], rows[part]
    summands = Summands(A.starts, A.lows, A.offsets, private)
    n_strips = (schedule.rows + schedule.strip - 1) // schedule.strip
    for step in range(a.size):
        v = x
        if step > 0:
            v = odd if step & 1 else even
        _accumulate_sections(A, v, private, part, parts)
        barrier(parts, 2 * step + 1, sync)
        for s in range(n_strips * part // parts, n_strips * (part + 1) // parts):
            step_rows(summands, None, step, s, a, b, c, w, x, even, odd, out, row, schedule)
        barrier(parts, 2 * step + 2, sync)


@kernel
def _count(indptr: Array, indices: Array, below: Array, lows: Array, first: int, last: int) -> None:
    """Do below <- entries before the diagonal, lows <- the first column or the row, per row."""
    for i in range(uintp(first), uintp(last)):
        begin, low, high = uintp(indptr[i]), uintp(indptr[i]), uintp(indptr[i + uintp(1)])
        while low < high:  # bisection: rows are sorted
            middle = (low + high) // uintp(2)
            if uintp(indices[middle]) < i:
                low = middle + uintp(1)
            else:
                high = middle
        below[i] = low - begin
        lows[i] = i
        if low > begin:
            lows[i] = indices[begin]


@kernel
def _fill(indptr: Array, indices: Array, data: Array, A: Half, first: int, last: int) -> None:
    """Copy rows [first, last) from CSR."""
    zero = data.dtype.type(0)
    for i in range(uintp(first), uintp(last)):
        p = uintp(indptr[i])
        for q in range(uintp(A.indptr[i]), uintp(A.indptr[i + uintp(1)])):
            A.indices[q] = indices[p]
            A.data[q] = data[p]
            p += uintp(1)
        held = p < uintp(indptr[i + uintp(1)]) and uintp(indices[p]) == i
        A.diag[i] = data[p] if held else zero


def half_of(indptr: Array, indices: Array, data: Array) -> Half:
    """Return a symmetric matrix by half; what is above the diagonal is not read.

    Parameters
    ----------
    indptr, indices, data : ndarray, shapes (n + 1,), (nnz,) and (nnz,)
        Canonical CSR (sorted, no duplicates) of a real matrix that equals its transpose in every
        bit; see `structure.asymmetry`.

    Returns
    -------
    Half
        Copies, in the same types.

    Notes
    -----
    Cost: one pass over half of the entries and two over the row ends, shared by threads.

    Examples
    --------
    >>> import numpy as np
    >>> indptr, indices = np.array([0, 2, 4], dtype=np.int32), np.array([0, 1, 0, 1], np.int32)
    >>> A = half_of(indptr, indices, np.array([4.0, 1.0, 1.0, 3.0]))
    >>> A.diag, A.indices, A.data
    (array([4., 3.]), array([0], dtype=int32), array([1.]))
    """
    n = indptr.size - 1
    below, lows = np.zeros(n + 1, dtype=indptr.dtype), np.empty(n, dtype=indices.dtype)
    share(10 * n, n, lambda i, j: _count(indptr, indices, below[1:], lows, i, j))
    np.cumsum(below, out=below)
    A = Half(
        np.empty(n, dtype=data.dtype),
        below,
        np.empty(below[-1], dtype=indices.dtype),
        np.empty(below[-1], dtype=data.dtype),
        *_sections(below, lows),
    )
    share(data.size, n, lambda i, j: _fill(indptr, indices, data, A, i, j))
    return A


def _sections(below: Array, lows: Array) -> tuple[IntArray, IntArray, IntArray]:
    """Return starts, lows and offsets of as many sections as their overhang allows."""
    n, entries = lows.size, int(below[-1])
    for count in SECTIONS:
        work = below + np.arange(n + 1)  # rows without entries count too
        cuts = np.searchsorted(work, work[-1] * np.arange(count + 1) / count)
        starts = np.unique(cuts).astype(np.int64)
        least = np.minimum.reduceat(lows, starts[:-1]).astype(np.int64)
        offsets = np.zeros(starts.size, dtype=np.int64)
        np.cumsum(starts[1:] - least, out=offsets[1:])
        if offsets[-1] - n <= OVERHANG * entries:
            break
    return starts, least, offsets
