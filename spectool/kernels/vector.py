"""Sums over vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import uintp

from spectool._types import Array
from spectool.kernels.compilation import kernel, reduction


@reduction
def dot(x: Array, y: Array, first: int, last: int) -> Any:
    """Return ``sum conj(x[i]) y[i]`` over first <= i < last."""
    total = x.dtype.type(0)
    for i in range(uintp(first), uintp(last)):
        total += np.conj(x[i]) * y[i]
    return total


@kernel
def in_order(partials: Array, n_chunks: int) -> Any:
    """Return the sum of the first partial sums, added one after the other."""
    total = partials.dtype.type(0)
    for q in range(n_chunks):
        total += partials[q]
    return total
