"""Lanczos steps of m columns at once.

Columns are not normalized: ``u`` with its norm stands for ``v = u / norm``, which saves the step a
third sweep. Beyond the product all arithmetic is real, and in double precision: a complex block is
a real one of twice the columns. Inner loops run over patterns, whole rows of some hundred values in
all, and so vectorize for every m. Partial sums of CHUNK rows are added in order: bits do not depend
on the threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import uintp

from spectool._types import Array, FloatArray, IntArray
from spectool.kernels.block import multiply
from spectool.kernels.compilation import inlined, kernel
from spectool.kernels.formats import GRANULE, LANES
from spectool.kernels.schedule import CHUNK
from spectool.kernels.team import barrier

PATTERN = 128
"""Values that the inner loops take at a time, where rows are shorter."""
STRIP_VALUES = 1_920
"""Values of a block that are multiplied before their inner products are taken."""
LINE = 16
"""Values between the scratch of two threads, so that they share no cache line."""


def pattern_size(width: int) -> int:
    """Return the size of a pattern of rows of ``width`` values: a power of two of rows."""
    return int(width << max(PATTERN // width, 1).bit_length() - 1)


def strip_rows(columns: int) -> int:
    """Return rows per product: a multiple of GRANULE that divides CHUNK."""
    rows = CHUNK
    while rows > GRANULE and rows * columns > STRIP_VALUES:
        rows //= 2
    return rows


@inlined
def _project(
    row: Array,
    u: Array,
    p: Array,
    f: Array,
    scale: FloatArray,
    back: FloatArray,
    sums: FloatArray,
    begin: Any,
    end: Any,
) -> None:
    """Do ``f <- scale row - back p`` and ``sums <- sums + u f`` on flat values [begin, end).

    The first value of ``row`` belongs to ``begin``.
    """
    size = uintp(sums.size)
    t = begin
    while t < end:
        for i in range(min(size, end - t)):
            following = scale[i] * row[t - begin + i] - back[i] * p[t + i]
            f[t + i] = following
            sums[i] += u[t + i] * following
        t += size


@inlined
def _orthogonalize(
    u: Array, f: Array, factor: FloatArray, sums: FloatArray, begin: Any, end: Any
) -> None:
    """Do ``f <- f - factor u`` and ``sums <- sums + f f`` on flat values [begin, end)."""
    size = uintp(sums.size)
    t = begin
    while t < end:
        for i in range(min(size, end - t)):
            following = f[t + i] - factor[i] * u[t + i]
            f[t + i] = following
            sums[i] += following * following
        t += size


@kernel
def _fold(sums: FloatArray, kinds: int, out: FloatArray) -> None:
    """Do ``out[j] <- sum of sums`` over the rows and parts of column j, and ``sums <- 0``."""
    half = uintp(sums.size)
    width = uintp(out.size * kinds)
    while half > width:
        half //= uintp(2)
        for i in range(half):
            sums[i] += sums[half + i]
    for j in range(out.size):
        out[j] = sums[j * kinds]
        for part in range(1, kinds):
            out[j] += sums[j * kinds + part]
    sums[:] = 0.0


@kernel
def _totals(partials: FloatArray, out: FloatArray) -> None:
    """Do ``out[j] <- sum of partials[q m + j]`` over q, in order."""
    m = out.size
    for j in range(m):
        out[j] = 0.0
    for q in range(partials.size // m):
        for j in range(m):
            out[j] += partials[q * m + j]


@kernel
def repeat(values: FloatArray, kinds: int, out: FloatArray) -> None:
    """Fill a pattern with the columns' values."""
    filled = uintp(0)
    for j in range(values.size):
        for _ in range(kinds):
            out[filled] = values[j]
            filled += uintp(1)
    while filled < uintp(out.size):
        for k in range(filled):
            out[filled + k] = out[k]
        filled *= uintp(2)


@kernel
def lanczos_steps(
    A: Any,
    columns: Any,
    current: Array,
    u: Array,
    p: Array,
    f: Array,
    norms: FloatArray,
    back: FloatArray,
    unit: float,
    out: FloatArray,
    strip: int,
    work: FloatArray,
    patterns: FloatArray,
    rows: Array,
    reals: Array,
    schedule: Any,
    part: int,
    sync: IntArray,
) -> None:
    """Do ``f <- unit A v - back p``, then ``f <- f - (v* f) v`` with ``v = u / norms``.

    Parameters
    ----------
    A, columns
        As `multiply` takes them; columns is None for m = 1.
    current : ndarray, shape (n m,)
        Row-major block in A's dtype.
    u, p, f : ndarray, shape (n m kinds,)
        The current, previous and following block; a complex value is ``kinds = 2`` real ones.
    norms, back : ndarray, shape (m,)
        Norms of u's columns, and what p's are multiplied by.
    strip : int
        Rows per product: `strip_rows`.
    out : ndarray, shape (2, m)
        ``v* f`` before the second step, and the norms of f's columns after it.
    work, patterns : ndarray, shape ((2 n_chunks + parts) m,) and (parts, 3, size)
        Scratch; size is `pattern_size`.
    rows, reals : ndarray, shape (parts, strip m + LANES or more)
        Scratch of the products, and the same as real values.

    Notes
    -----
    Two reductions. Cost: one pass over A; reads 5 and writes 2 blocks.
    """
    parts, m = schedule.left.shape[0], norms.size
    kinds = u.size // current.size
    width, n = m * kinds, current.size // m
    n_chunks = (n + CHUNK - 1) // CHUNK
    first, last = schedule.left[part, 0], schedule.right[part, 0]
    products, squares = work[: n_chunks * m], work[n_chunks * m : 2 * n_chunks * m]
    totals = work[(2 * n_chunks + part) * m : (2 * n_chunks + part + 1) * m]
    scale, behind, sums = patterns[part, 0], patterns[part, 1], patterns[part, 2]
    for j in range(m):
        totals[j] = unit / norms[j]
    repeat(totals, kinds, scale)
    repeat(back, kinds, behind)
    sums[:] = 0.0
    for q in range(first, last):
        end = min((q + 1) * CHUNK, n)
        for here in range(q * CHUNK, end, strip):
            there = min(here + strip, end)
            multiply(A, columns, here, there, current, rows[part])
            begin, stop = uintp(here * width), uintp(there * width)
            _project(reals[part], u, p, f, scale, behind, sums, begin, stop)
        _fold(sums, kinds, products[q * m : (q + 1) * m])
    barrier(parts, 1, sync)
    _totals(products, totals)
    if part == 0:
        for j in range(m):
            out[0, j] = totals[j] / norms[j]
    for j in range(m):
        totals[j] = totals[j] / norms[j] / norms[j]
    repeat(totals, kinds, scale)
    for q in range(first, last):
        end = min((q + 1) * CHUNK, n)
        _orthogonalize(u, f, scale, sums, uintp(q * CHUNK * width), uintp(end * width))
        _fold(sums, kinds, squares[q * m : (q + 1) * m])
    barrier(parts, 2, sync)
    if part == 0:
        _totals(squares, totals)
        for j in range(m):
            out[1, j] = np.sqrt(totals[j])


def arguments(
    A: Any,
    previous: Array,
    current: Array,
    following: Array,
    norms: FloatArray,
    back: FloatArray,
    unit: float,
    out: FloatArray,
    parts: int,
) -> tuple[Any, ...]:
    """Return what `lanczos_steps` takes, for C-contiguous blocks (n, m) in A's dtype."""
    n, m = current.shape
    strip = strip_rows(m)
    rows = np.empty((parts, strip * m + LANES + LINE), dtype=current.dtype)
    flat = current.reshape(-1)
    u, p, f, reals = flat, previous.reshape(-1), following.reshape(-1), rows
    if current.dtype.kind == "c":
        real = current.real.dtype
        u, p, f, reals = u.view(real), p.view(real), f.view(real), rows.view(real)
    work = np.empty((2 * -(-n // CHUNK) + parts) * m)
    patterns = np.empty((parts, 3, pattern_size(u.size // n)))
    columns = None if m == 1 else m
    return A, columns, flat, u, p, f, norms, back, unit, out, strip, work, patterns, rows, reals
