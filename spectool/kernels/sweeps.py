"""Polynomial sweeps over a matrix in any format: product, forward and Clenshaw.

A sweep is executed by the parts of a team along a ``Schedule``: rows in strips, p steps of the
recurrence at a time. Each part moves p wave fronts up its section of the rows, so that a strip is
read from memory once and used p times from cache; between two sections an inverted trapezoid is
left over, which the parts then fill together. p = 1 is the plain sweep.

Source
    Level-blocked matrix powers as in Alappat, Hager, Schenk, Wellein, Level-based blocking for
    sparse matrices (2022), without levels: fronts come from the reach of each strip, in any
    ordering of the rows.

No function allocates or checks anything. Blocks are flat and row-major, m columns; ``columns`` is
None for one vector, which compiles apart.
"""

from __future__ import annotations

from typing import Any

from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.block import multiply
from spectool.kernels.compilation import kernel
from spectool.kernels.team import barrier


@kernel
def product(
    A: Any,
    columns: Any,
    x: Array,
    out: Array,
    rows: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do out <- A x; rows (parts, strip m + LANES or more) is scratch."""
    width = uintp(1 if columns is None else columns)
    row = rows[part]
    for s in range(schedule.left[part, 0], schedule.right[part, 0]):
        first, last = s * schedule.strip, min((s + 1) * schedule.strip, schedule.rows)
        multiply(A, columns, first, last, x, row)
        begin, size = uintp(first) * width, uintp(last - first) * width
        for q in range(size):
            out[begin + q] = row[q]
    barrier(schedule.left.shape[0], 1, sync)


@kernel
def _clenshaw_rows(
    A: Any,
    columns: Any,
    step: int,
    first: int,
    last: int,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    x: Array,
    u: Array,
    later: Array,
    row: Array,
) -> None:
    """Do later <- w x + (a A + b) u + c later on rows [first, last)."""
    width = uintp(1 if columns is None else columns)
    begin, size = uintp(first) * width, uintp(last - first) * width
    d = a.size
    k = d - 1 - step
    ak, bk, wk = a[k], b[k], w[k]
    if step == 0:  # u_d is w_d x
        multiply(A, columns, first, last, x, row)
        ak *= w[d]
        wk += bk * w[d]
        for q in range(size):
            later[begin + q] = wk * x[begin + q] + ak * row[q]
        return
    multiply(A, columns, first, last, u, row)
    if step == 1:
        wk += c[k + 1] * w[d]
        for q in range(size):
            i = begin + q
            later[i] = wk * x[i] + ak * row[q] + bk * u[i]
        return
    ck = c[k + 1]
    for q in range(size):
        i = begin + q
        later[i] = wk * x[i] + ak * row[q] + bk * u[i] + ck * later[i]


@kernel
def _forward_rows(
    A: Any,
    columns: Any,
    step: int,
    first: int,
    last: int,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    x: Array,
    v: Array,
    earlier: Array,
    out: Array,
    row: Array,
) -> None:
    """Do one forward step on rows [first, last): earlier <- (a A + b) v + c earlier, summed.

    The sum is a loop of its own: fused with the step, copies of this function that are compiled
    apart would contract its products differently, and give other bits.
    """
    width = uintp(1 if columns is None else columns)
    begin, size = uintp(first) * width, uintp(last - first) * width
    ak, bk, ck, wk = a[step], b[step], c[step], w[step + 1]
    if step == 0:
        multiply(A, columns, first, last, x, row)
        for q in range(size):
            i = begin + q
            earlier[i] = ak * row[q] + bk * x[i]
        for q in range(size):
            out[begin + q] = w[0] * x[begin + q]
    else:
        multiply(A, columns, first, last, v, row)
        if step == 1:
            for q in range(size):
                i = begin + q
                earlier[i] = ak * row[q] + bk * v[i] + ck * x[i]
        else:
            for q in range(size):
                i = begin + q
                earlier[i] = ak * row[q] + bk * v[i] + ck * earlier[i]
    for q in range(size):
        out[begin + q] += wk * earlier[begin + q]


@kernel
def step_rows(
    A: Any,
    columns: Any,
    step: int,
    s: int,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    x: Array,
    even: Array,
    odd: Array,
    out: Any,
    row: Array,
    schedule: Any,
) -> None:
    """Do one step on strip s; even steps write odd, odd steps write even."""
    strip = schedule.strip
    first, last = s * strip, min((s + 1) * strip, schedule.rows)
    read, written = even, odd
    if step & 1:
        read, written = odd, even
    if out is None:
        _clenshaw_rows(A, columns, step, first, last, a, b, c, w, x, read, written, row)
    else:
        _forward_rows(A, columns, step, first, last, a, b, c, w, x, read, written, out, row)


@kernel
def sweep(
    A: Any,
    columns: Any,
    a: Array,
    b: Array,
    c: Array,
    w: Array,
    x: Array,
    even: Array,
    odd: Array,
    out: Any,
    rows: Array,
    fronts: IntArray,
    depth: int,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Run a recurrence of degree 1 or more on x, forward into out, or if out is None by Clenshaw.

    Forward: ``v_{k+1} = (a_k A + b_k) v_k + c_k v_{k-1}`` and ``out += w_{k+1} v_{k+1}``; a step
    reads 3n and writes 2n values. Clenshaw: ``u_k = w_k x + (a_k A + b_k) u_{k+1} + c_{k+1}
    u_{k+2}``; a step reads 3n and writes n values, and the answer is left in even if the degree is
    even, in odd if it is odd. ``even`` and ``odd`` need not be initialized. ``rows`` (parts, strip
    m + LANES or more) and ``fronts`` (parts, depth or more) are scratch; depth is the most steps
    per pass.
    """
    degree = a.size
    parts = schedule.left.shape[0]
    row, front = rows[part], fronts[part]
    passes = (degree + depth - 1) // depth
    depth = (degree + passes - 1) // passes
    phase = 0
    for origin in range(0, degree, depth):
        steps = min(depth, degree - origin)
        # The section of this part: fronts run up it, each as far behind the last as A reaches.
        for j in range(steps):
            front[j] = schedule.left[part, j]
        while front[0] < schedule.right[part, 0]:
            for j in range(steps):
                goal = front[0] + 1 if j == 0 else schedule.advance[front[j - 1]]
                goal = min(goal, schedule.right[part, j])
                for s in range(front[j], goal):
                    step_rows(
                        A, columns, origin + j, s, a, b, c, w, x, even, odd, out, row, schedule
                    )
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
                            A, columns, origin + j, s, a, b, c, w, x, even, odd, out, row, schedule
                        )
                phase += 1
                barrier(parts, phase, sync)
