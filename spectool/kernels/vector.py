"""Sums over vectors, in an order that is written out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy import uintp

from spectool._types import Array
from spectool.kernels.compilation import JIT, OPTIONS, inlined, kernel
from spectool.kernels.intrinsics import PACKED, packed_dot


@inlined
def real_dot(x: Array, y: Array, first: int, last: int) -> Any:
    """Return ``sum x[i] y[i]`` over first <= i < last."""
    i, end = uintp(first), uintp(last)
    whole = i + (end - i) // uintp(PACKED) * uintp(PACKED)
    total = packed_dot(x, y, i, whole)
    for k in range(whole, end):
        total += x[k] * y[k]
    return total


@inlined
def complex_dot(x: Array, y: Array, first: int, last: int) -> Any:
    """Return ``sum conj(x[i]) y[i]`` over first <= i < last, in four interleaved sums."""
    i, end = uintp(first), uintp(last)
    zero = x.dtype.type(0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    while i + uintp(4) <= end:
        s0 += np.conj(x[i]) * y[i]
        s1 += np.conj(x[i + uintp(1)]) * y[i + uintp(1)]
        s2 += np.conj(x[i + uintp(2)]) * y[i + uintp(2)]
        s3 += np.conj(x[i + uintp(3)]) * y[i + uintp(3)]
        i += uintp(4)
    while i < end:
        s0 += np.conj(x[i]) * y[i]
        i += uintp(1)
    return (s0 + s1) + (s2 + s3)


def dot(x: Array, y: Array, first: int, last: int) -> Any:
    """Return ``sum conj(x[i]) y[i]`` over first <= i < last, added in an order of our own."""
    return (complex_dot if x.dtype.kind == "c" else real_dot)(x, y, first, last)


if JIT:
    _overload: Any = overload

    @_overload(dot, jit_options=OPTIONS)
    def _dot(x: Any, y: Any, first: Any, last: Any) -> Any:  # noqa: ARG001
        chosen: Any = complex_dot if isinstance(x.dtype, types.Complex) else real_dot

        def implementation(x: Any, y: Any, first: Any, last: Any) -> Any:
            return chosen(x, y, first, last)

        return implementation


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
