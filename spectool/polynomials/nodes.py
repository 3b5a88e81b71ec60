"""Chebyshev points of an interval, and the transform from values there to coefficients.

Source
    Trefethen, Approximation Theory and Approximation Practice, SIAM 2013, chapters 2 and 3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.errors import InputError


def checked_interval(interval: Any) -> Interval:
    """Return ``interval`` as two floats, or raise InputError unless lower < upper, both finite."""
    try:
        lower, upper = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise InputError(f"interval must be a pair (lower, upper); got {interval!r}.") from None
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise InputError(
            f"interval needs finite lower < upper; got ({lower:.6g}, {upper:.6g}). "
            "For a single eigenvalue widen it by a few units in the last place."
        )
    return lower, upper


def chebyshev_points(m: int, interval: Interval) -> FloatArray:
    """Return the m Chebyshev points of the first kind in ``interval``, descending, shape (m,)."""
    lower, upper = interval
    x = np.cos((np.arange(m) + 0.5) * (np.pi / m))
    return 0.5 * (upper + lower) + 0.5 * (upper - lower) * x


def chebyshev_coefficients(values: Array) -> FloatArray:
    """Return series coefficients, shape (m,), from values at the m Chebyshev points."""
    from scipy.fft import dct  # 0.03 s that a first easy call is spared

    m = len(values)
    coefficients = dct(np.asarray(values, dtype=np.float64), type=2) / m
    coefficients[0] *= 0.5
    return np.asarray(coefficients, dtype=np.float64)
