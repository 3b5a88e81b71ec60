"""Weighted sums of the blocks of a basis, formed in double precision.

A strip of the answers stays in cache while the blocks stream past.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy import uintp

from spectool._types import Array, IntArray
from spectool.kernels.compilation import kernel
from spectool.kernels.lockstep import pattern_size, repeat
from spectool.kernels.team import share

GROUP = 4
"""Blocks that are combined at a time."""
OUT_BYTES = 2**18
"""Bytes of answers that stay in cache while a basis streams past."""
ACC_VALUES, ACC_STRIP = 2**14, 2**11
"""Values that a strip holds of all targets, and of each, at most."""


@kernel
def _combine(
    blocks: Array,
    coefficients: Array,
    targets: IntArray,
    places: IntArray,
    out: Array,
    first: int,
    last: int,
    acc: Array,
    patterns: Array,
) -> None:
    """Add ``sum over k of coefficients[k] * blocks[k]`` to rows [first, last) of every target.

    Parameters
    ----------
    blocks : ndarray, shape (K, n w)
        Row-major.
    coefficients : ndarray, shape (K, T, w)
        In double precision.
    targets, places : ndarray, shape (T,) and (T, w)
        Column j of target t is column ``places[t, j]`` of ``out[targets[t]]``.
    out : ndarray, shape (q, n wide)
        Row-major.
    acc, patterns : ndarray, shape (T, strip w or more) and (GROUP, size)
        Scratch in double precision; size is `pattern_size`.

    Notes
    -----
    Each value is added to in the order of k: in double precision its bits do not depend on how the
    blocks are cut into calls. Cost: reads K blocks; reads and writes T columns for each of w.
    """
    K, T, w = coefficients.shape
    n_rows = blocks.shape[1] // w
    wide = out.shape[1] // n_rows
    size = uintp(patterns.shape[1])
    strip = acc.shape[1] // w
    for here in range(first, last, strip):
        there = min(here + strip, last)
        base, count = uintp(here * w), uintp((there - here) * w)
        for t in range(T):
            _gather(out[targets[t]], places[t], wide, here, there, acc[t])
        for k in range(0, K, GROUP):
            # Past the end the last block is read once more, from cache, times zero.
            v0, v1 = blocks[k], blocks[min(k + 1, K - 1)]
            v2, v3 = blocks[min(k + 2, K - 1)], blocks[min(k + 3, K - 1)]
            for t in range(T):
                for g in range(GROUP):
                    if k + g < K:
                        repeat(coefficients[k + g, t], 1, patterns[g])
                    else:
                        patterns[g, :] = 0.0
                c0, c1, c2, c3 = patterns[0], patterns[1], patterns[2], patterns[3]
                row = acc[t]
                s = uintp(0)
                while s < count:
                    for i in range(min(size, count - s)):
                        total = row[s + i] + c0[i] * v0[base + s + i]
                        total = total + c1[i] * v1[base + s + i]
                        total = total + c2[i] * v2[base + s + i]
                        row[s + i] = total + c3[i] * v3[base + s + i]
                    s += size
        for t in range(T):
            _scatter(acc[t], places[t], wide, here, there, out[targets[t]])


@kernel
def _gather(out: Array, places: IntArray, wide: int, first: int, last: int, acc: Array) -> None:
    """Copy columns of rows [first, last) into acc."""
    w = uintp(places.size)
    if w == uintp(wide):  # all columns, which are in order
        for i in range(uintp(last - first) * w):
            acc[i] = out[uintp(first) * w + i]
        return
    k = uintp(0)
    for i in range(uintp(first), uintp(last)):
        for j in range(w):
            acc[k] = out[i * uintp(wide) + uintp(places[j])]
            k += uintp(1)


@kernel
def _scatter(acc: Array, places: IntArray, wide: int, first: int, last: int, out: Array) -> None:
    """Copy them back."""
    w = uintp(places.size)
    if w == uintp(wide):
        for i in range(uintp(last - first) * w):
            out[uintp(first) * w + i] = acc[i]
        return
    k = uintp(0)
    for i in range(uintp(first), uintp(last)):
        for j in range(w):
            out[i * uintp(wide) + uintp(places[j])] = acc[k]
            k += uintp(1)


class Piece(NamedTuple):
    """Some consecutive blocks of a basis, and what they are to be multiplied by.

    Attributes
    ----------
    blocks : ndarray, shape (K, n, w)
        C-contiguous.
    columns : ndarray, shape (w,)
        Ascending: the columns of the answer that these are.
    coefficients : ndarray, shape (K, w, q)
        float64 or complex128.
    """

    blocks: Array
    columns: IntArray
    coefficients: Array


def add_combination(pieces: Sequence[Piece], out: Array) -> None:
    """Do ``out[q][:, columns] += sum over k of blocks[k] * coefficients[k, :, q]``, all pieces.

    ``out`` is (q, n, m), C-contiguous; complex if blocks or coefficients are. One pass over the
    blocks and over out. A real basis stays real: complex coefficients are twice as many targets.
    """
    parts = [_prepared(piece, out) for piece in pieces if piece.blocks.size]
    if not parts or not out.size:
        return
    n = out.shape[1]
    flat = parts[0].out
    values = sum(part.coefficients.size for part in parts)
    rows = max(OUT_BYTES // (8 * flat.shape[0] * (flat.shape[1] // n)), 1)
    panels = -(-n // rows)

    def add(first: int, last: int) -> None:
        scratch = [part.scratch() for part in parts]
        for panel in range(first, last):
            start, end = panel * rows, min((panel + 1) * rows, n)
            for part, (acc, patterns) in zip(parts, scratch, strict=True):
                _combine(*part, start, end, acc, patterns)

    share(n * values, panels, add)


class _Prepared(NamedTuple):
    """Arguments of `_combine`."""

    blocks: Array
    coefficients: Array
    targets: IntArray
    places: IntArray
    out: Array

    def scratch(self) -> tuple[Array, Array]:
        """Return scratch of one thread."""
        _, T, w = self.coefficients.shape
        strip = max(min(ACC_VALUES // (T * w), ACC_STRIP // w), 8)
        acc = np.empty((T, strip * w), dtype=self.coefficients.dtype)
        return acc, np.empty((GROUP, pattern_size(w)), dtype=self.coefficients.dtype)


def _prepared(piece: Piece, out: Array) -> _Prepared:
    """Sort out real and complex."""
    blocks, columns = piece.blocks.reshape(len(piece.blocks), -1), piece.columns
    c = piece.coefficients.transpose(0, 2, 1)  # (K, q, w)
    flat = out.reshape(len(out), -1)
    targets = np.arange(len(out))
    real = out.real.dtype
    if blocks.dtype.kind == "c" and c.dtype.kind == "c":
        pass
    elif blocks.dtype.kind == "c":
        blocks, flat, c = blocks.view(real), flat.view(real), np.repeat(c, 2, axis=2)
        columns = (2 * columns[:, None] + np.arange(2)).ravel()
    elif c.dtype.kind == "c":
        c, targets, flat = np.concatenate([c.real, c.imag], 1), np.tile(targets, 2), flat.view(real)
        places = np.repeat(2 * columns + np.arange(2)[:, None], len(out), axis=0)
        return _Prepared(blocks, np.ascontiguousarray(c), targets, places, flat)
    places = np.tile(columns, (len(out), 1))
    return _Prepared(blocks, np.ascontiguousarray(c), targets, places, flat)
