"""Vectors on their way into another precision and back: scaled, in one pass each.

NumPy takes a pass, and a temporary, for each operation; at 90 000 rows that was a third of an
application of degree 8.
"""

from __future__ import annotations

from spectool._types import Array, FloatArray
from spectool.kernels.compilation import kernel


@kernel
def largest(x: Array, scale: FloatArray) -> float:
    """Return ``max |scale_i x_i|``; NaN is passed over. Vectors of shape (n,)."""
    worst = 0.0
    for i in range(x.size):
        size = abs(scale[i] * x[i])
        worst = size if size > worst else worst
    return worst


@kernel
def rescale(x: Array, scale: FloatArray, factor: float, out: Array) -> None:
    """Do ``out <- factor scale x`` in the precision of out. Vectors of shape (n,)."""
    for i in range(x.size):
        out[i] = scale[i] * x[i] * factor
