"""Sums over vectors, in an order that is written out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import uintp

from spectool._types import Array
from spectool.kernels.compilation import inlined, kernel


@inlined
def dot(x: Array, y: Array, first: int, last: int) -> Any:
    """Return ``sum conj(x[i]) y[i]`` over first <= i < last, in eight interleaved sums.

    The order is written out: left to the compiler it would differ between copies of this function.
    """
    i, end = uintp(first), uintp(last)
    zero = x.dtype.type(0)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    while i + uintp(8) <= end:
        s0 += np.conj(x[i]) * y[i]
        s1 += np.conj(x[i + uintp(1)]) * y[i + uintp(1)]
        s2 += np.conj(x[i + uintp(2)]) * y[i + uintp(2)]
        s3 += np.conj(x[i + uintp(3)]) * y[i + uintp(3)]
        s4 += np.conj(x[i + uintp(4)]) * y[i + uintp(4)]
        s5 += np.conj(x[i + uintp(5)]) * y[i + uintp(5)]
        s6 += np.conj(x[i + uintp(6)]) * y[i + uintp(6)]
        s7 += np.conj(x[i + uintp(7)]) * y[i + uintp(7)]
        i += uintp(8)
    while i < end:
        s0 += np.conj(x[i]) * y[i]
        i += uintp(1)
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@inlined
def weighted_square(D: Array, x: Array, first: int, last: int) -> Any:
    """Return ``sum D[i] |x[i]|^2`` over first <= i < last for real D, in four sums."""
    i, end = uintp(first), uintp(last)
    zero = x.dtype.type(0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    while i + uintp(4) <= end:
        s0 += D[i] * (np.conj(x[i]) * x[i])
        s1 += D[i + uintp(1)] * (np.conj(x[i + uintp(1)]) * x[i + uintp(1)])
        s2 += D[i + uintp(2)] * (np.conj(x[i + uintp(2)]) * x[i + uintp(2)])
        s3 += D[i + uintp(3)] * (np.conj(x[i + uintp(3)]) * x[i + uintp(3)])
        i += uintp(4)
    while i < end:
        s0 += D[i] * (np.conj(x[i]) * x[i])
        i += uintp(1)
    return (s0 + s1) + (s2 + s3)


@kernel
def in_order(partials: Array, n_chunks: int) -> Any:
    """Return the sum of the first partial sums, added one after the other."""
    total = partials.dtype.type(0)
    for q in range(n_chunks):
        total += partials[q]
    return total
