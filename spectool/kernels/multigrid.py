"""The passes of a multigrid cycle: smoothing from a given iterate, and transfer between levels.

A cycle of polynomial smoothers is products only: no reduction, no triangular solve, no vector pass
of its own. Rows are cut by a ``Schedule``, as in ``sweeps``.
"""

from __future__ import annotations

from typing import Any

from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.compilation import kernel
from spectool.kernels.formats import product
from spectool.kernels.half import Half, Summands
from spectool.kernels.half import _accumulate_sections as accumulate_sections
from spectool.kernels.sweeps import step_rows
from spectool.kernels.team import barrier


@kernel
def smooth(
    A: Any,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    r: Array,
    even: Array,
    odd: Array,
    rows: Array,
    fronts: IntArray,
    begin: int,
    depth: int,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Run the steps ``begin, ..., d - 1`` of Clenshaw's ``u <- w r + (a A + b) u + c later``.

    With ``begin = 0`` from nothing: even and odd need not be initialized. With ``begin = 2`` from
    the iterate in even, where ``c[d - 2] = 0`` and odd must be finite; the last two coefficients
    are not read. Step s writes odd if s is even, even if it is odd, and the iterate before the last
    stays in the other one. A step is one pass over A; reads 3n and writes n values. ``rows``
    (parts, strip + LANES or more) and ``fronts`` (parts, depth or more) are scratch; depth is the
    most steps per pass over the rows.
    """
    degree = a.size
    parts = schedule.left.shape[0]
    row, front = rows[part], fronts[part]
    passes = (degree - begin + depth - 1) // depth
    depth = (degree - begin + passes - 1) // passes
    phase = 0
    for origin in range(begin, degree, depth):
        steps = min(depth, degree - origin)
        # The section of this part: fronts run up it, each as far behind the last as A reaches.
        for j in range(steps):
            front[j] = schedule.left[part, j]
        while front[0] < schedule.right[part, 0]:
            for j in range(steps):
                goal = front[0] + 1 if j == 0 else schedule.advance[front[j - 1]]
                goal = min(goal, schedule.right[part, j])
                for s in range(front[j], goal):
                    step_rows(A, None, origin + j, s, a, b, c, w, r, even, odd, None, row, schedule)
                front[j] = max(front[j], goal)
        phase += 1
        barrier(parts, phase, sync)
        # What lies between the sections, one step after the other, shared by all.
        if parts > 1:
            for j in range(1, steps):
                for gap in range(parts - 1):
                    low, high = schedule.right[gap, j], schedule.left[gap + 1, j]
                    share = high - low
                    for s in range(low + share * part // parts, low + share * (part + 1) // parts):
                        step_rows(
                            A, None, origin + j, s, a, b, c, w, r, even, odd, None, row, schedule
                        )
                phase += 1
                barrier(parts, phase, sync)


@kernel
def smooth_by_halves(
    A: Half,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    r: Array,
    even: Array,
    odd: Array,
    private: Array,
    rows: Array,
    begin: int,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do the same for a symmetric A by half, one step per pass; private is as in `half.sweep`."""
    parts, row = schedule.left.shape[0], rows[part]
    summands = Summands(A.starts, A.lows, A.offsets, private)
    n_strips = (schedule.rows + schedule.strip - 1) // schedule.strip
    phase = 0
    for step in range(begin, a.size):
        v = r
        if step > 0:
            v = odd if step & 1 else even
        accumulate_sections(A, v, private, part, parts)
        barrier(parts, phase + 1, sync)
        for s in range(n_strips * part // parts, n_strips * (part + 1) // parts):
            step_rows(summands, None, step, s, a, b, c, w, r, even, odd, None, row, schedule)
        phase += 2
        barrier(parts, phase, sync)


@kernel
def transfer(
    A: Any,
    v: Array,
    add: bool,
    out: Array,
    rows: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``out <- A v``, or ``out <- out + A v``; A need not be square.

    One pass over A; ``rows`` (parts, strip + LANES or more) is scratch.
    """
    row, strip = rows[part], schedule.strip
    for s in range(schedule.left[part, 0], schedule.right[part, 0]):
        first, last = s * strip, min((s + 1) * strip, schedule.rows)
        product(A, first, last, v, row)
        begin, size = uintp(first), uintp(last - first)
        if add:
            for q in range(size):
                out[begin + q] += row[q]
        else:
            for q in range(size):
                out[begin + q] = row[q]
    barrier(schedule.left.shape[0], 1, sync)
