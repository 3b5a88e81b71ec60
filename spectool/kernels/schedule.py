"""Who computes which rows when: strips of rows, how far they reach, sections and wave fronts.

Source
    Alappat, Hager, Schenk, Wellein, Level-based blocking for sparse matrices: sparse matrix-power-
    vector multiplication, IEEE TPDS 34 (2022).
Deviations
    No levels. ``advance[f]``, the strips that reach only rows before strip f, is the front that
    follows a front f in any ordering of the rows; a pattern that is not symmetric is joined with
    its transpose by the same pass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import uintp

from spectool._types import Array, FloatArray, IntArray
from spectool.kernels.compilation import kernel
from spectool.kernels.formats import GRANULE
from spectool.kernels.team import share

CHUNK = 1_920
"""Rows per partial sum of a reduction: fixed, so that bits do not depend on the threads."""
ROW_WORK = 4
"""Entries that one row costs beside its own."""


class Schedule(NamedTuple):
    """A plan that kernels execute.

    Attributes
    ----------
    rows : int
        Rows of the matrix.
    strip : int
        Rows per strip, a multiple of GRANULE.
    advance : ndarray, shape (n_strips + 1,)
        ``advance[f]`` strips of step k + 1 can be done when f strips of step k are.
    left, right : ndarray, shape (parts, depth)
        Strips [left, right) of each step of a pass that a part can do without the others.
    """

    rows: int
    strip: int
    advance: IntArray
    left: IntArray
    right: IntArray

    @property
    def parts(self) -> int:
        """Sections, one per thread."""
        return int(self.left.shape[0])

    @property
    def depth(self) -> int:
        """Most steps per pass."""
        return int(self.left.shape[1])


class Strips(NamedTuple):
    """The rows in strips, what they cost and how far they reach.

    Attributes
    ----------
    rows, strip : int
        Rows of the matrix, and of one strip.
    work : ndarray, shape (n_strips + 1,)
        Entries, and ROW_WORK per row, before each strip.
    advance, retreat : ndarray, shape (n_strips + 1,)
        Strips [0, advance[f]) touch only strips before f; [retreat[f], end) none before f.
    """

    rows: int
    strip: int
    work: FloatArray
    advance: IntArray
    retreat: IntArray


@kernel
def _reach(
    indptr: Array,
    indices: Array,
    strip: int,
    furthest: IntArray,
    nearest: IntArray,
    first: int,
    last: int,
) -> None:
    """Widen furthest, nearest (n_strips,) to the strips that strips [first, last) touch.

    A strip that is touched touches back: the pattern is joined with its transpose. Only exact after
    running extrema; rows are sorted, so their ends tell.
    """
    n = indptr.size - 1
    for here in range(first, last):
        for i in range(here * strip, min((here + 1) * strip, n)):
            begin, end = indptr[i], indptr[i + 1]
            if begin == end:
                continue
            low = uintp(indices[uintp(begin)]) // uintp(strip)
            high = uintp(indices[uintp(end - 1)]) // uintp(strip)
            furthest[here] = max(furthest[here], int(high))
            nearest[here] = min(nearest[here], int(low))
            furthest[low] = max(furthest[low], here)
            nearest[high] = min(nearest[high], here)


def strips_of(indptr: Array, indices: Array, strip: int) -> Strips:
    """Cut sorted CSR rows into strips; one pass over the row ends."""
    n = indptr.size - 1
    n_strips = max(-(-n // strip), 1)
    reaches: list[IntArray] = []

    def reach(first: int, last: int) -> None:
        ends = np.tile(np.arange(n_strips), (2, 1))
        _reach(indptr, indices, strip, ends[0], ends[1], first, last)
        reaches.append(ends)

    share(10 * n, n_strips, reach)
    furthest = np.maximum.accumulate(np.max([ends[0] for ends in reaches], axis=0))
    nearest = np.minimum.accumulate(np.min([ends[1] for ends in reaches], axis=0)[::-1])[::-1]
    fronts = np.arange(n_strips + 1)
    starts = np.minimum(fronts * strip, n)
    return Strips(
        rows=n,
        strip=strip,
        work=indptr[starts] + ROW_WORK * starts.astype(np.float64),
        advance=np.searchsorted(furthest, fronts).astype(np.int64),
        retreat=np.searchsorted(nearest, fronts).astype(np.int64),
    )


def strip_rows(rows: int, parts: int, most: int) -> int:
    """Return rows per strip: ``most``, or few enough to be shared evenly."""
    if parts == 1:
        return most
    fair = rows // (16 * parts) // GRANULE * GRANULE
    return int(min(max(fair, GRANULE), most))


def schedule(strips: Strips, parts: int, depth: int) -> Schedule:
    """Cut the strips into sections of equal work; depth falls until the sections hold it."""
    n_strips = strips.work.size - 1
    parts = max(min(parts, n_strips), 1)
    targets = strips.work[-1] * np.arange(1, parts) / parts
    cuts = np.searchsorted(strips.work, targets)
    left = np.zeros((parts, depth), dtype=np.int64)
    right = np.full((parts, depth), n_strips, dtype=np.int64)
    left[1:, 0] = right[:-1, 0] = cuts
    held = depth
    for k in range(1, depth):
        left[1:, k] = strips.retreat[left[1:, k - 1]]
        right[:-1, k] = strips.advance[right[:-1, k - 1]]
        if (left[:, k] >= right[:, k]).any():  # a part would wait for the others
            held = k
            break
    left, right = np.ascontiguousarray(left[:, :held]), np.ascontiguousarray(right[:, :held])
    return Schedule(strips.rows, strips.strip, strips.advance, left, right)


def window(strips: Strips, depth: int, bytes_per_work: float, bytes_per_row: float) -> float:
    """Return the bytes between the first and the last of ``depth`` fronts, 90th percentile."""
    n_strips = strips.work.size - 1
    front = np.arange(n_strips + 1)
    last = front.copy()
    for _ in range(depth):
        last = strips.advance[last]
    rows = np.minimum(front * strips.strip, strips.rows) - np.minimum(
        last * strips.strip, strips.rows
    )
    entries = strips.work[front] - strips.work[last] - ROW_WORK * rows
    return float(np.quantile(bytes_per_work * entries + bytes_per_row * rows, 0.9))
