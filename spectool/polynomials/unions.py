"""Unions of intervals: where eigenvalues are, and guessed to be.

Source
    Parlett, The Symmetric Eigenvalue Problem, SIAM 1998, section 4.5, for the residual bound.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from spectool._types import Interval
from spectool.errors import InputError
from spectool.polynomials.nodes import checked_interval

CLEAR = 0.2
"""A gap between Ritz values is believed if their residuals fill less than this share of it."""
WIDE = 1.5
"""Ratio of a gap's ends below which splitting gains less than it risks."""
NARROWEST = 1e-12
"""Half-width of an interval around an exact Ritz value, relative to the spectrum."""


def checked_union(intervals: Any) -> list[Interval]:
    """Return ``intervals`` as ascending pairs of floats, or raise InputError unless disjoint."""
    try:
        pairs = list(intervals)
    except TypeError:
        raise InputError(f"intervals must be a sequence of pairs; got {intervals!r}.") from None
    if not pairs:
        raise InputError("intervals must not be empty.")
    union = sorted(checked_interval(pair) for pair in pairs)
    for (_, upper), (lower, _) in pairwise(union):
        if lower <= upper:
            raise InputError(
                f"intervals must be disjoint; {lower:.6g} <= {upper:.6g}. Merge those that meet."
            )
    return union


def described(union: list[Interval]) -> str:
    """Return a union in words."""
    return " u ".join(f"[{lower:.3g}, {upper:.3g}]" for lower, upper in union)


def guessed_intervals(
    ritz_values: Any, residuals: Any, interval: Interval, *, most: int = 2
) -> list[Interval]:
    """Guess a union of intervals that holds the spectrum, by splitting at gaps of Ritz values.

    The guess is not a bound: an eigenvalue whose eigenvector the probe hardly met leaves no Ritz
    value. What residuals do prove is that an eigenvalue lies within each of their Ritz value.

    Parameters
    ----------
    ritz_values, residuals : array_like, shape (m,)
        Ritz values of a probe and their residual norms.
    interval : tuple of float
        Bounds of the spectrum: the ends of the union. Residuals are not believed to reach beyond.
    most : int
        Intervals at most, split at the gaps whose ends have the largest ratio; one gap around zero
        is always taken if the interval contains zero.

    Returns
    -------
    list of tuple of float
        Ascending, disjoint, without zero.

    Raises
    ------
    InputError
        If Ritz values or residuals are malformed, or zero is not clear of them.

    Notes
    -----
    Costs nothing. Where a safe end lies beyond zero but no Ritz value does, the nearest Ritz value
    less its residual replaces it.

    Examples
    --------
    >>> guessed_intervals([1.0, 1.5, 8.0, 9.0], [0.01, 0.5, 0.25, 0.0], (0.5, 10.0))
    [(0.5, 2.0), (7.75, 10.0)]
    """
    lower, upper = checked_interval(interval)
    theta, rho = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (ritz_values, residuals))
    if theta.ndim != 1 or theta.shape != rho.shape or not theta.size:
        raise InputError(
            f"ritz_values and residuals need one length; got {theta.shape} and {rho.shape}."
        )
    if not (np.isfinite(theta).all() and np.isfinite(rho).all() and (rho >= 0).all()):
        raise InputError("ritz_values must be finite, residuals finite and nonnegative.")
    if most < 1:
        raise InputError(f"most must be at least 1; got {most}.")
    order = np.argsort(theta)
    room = np.maximum(rho[order], NARROWEST * max(abs(lower), abs(upper)))
    left, right = (np.clip(theta[order] + x, lower, upper) for x in (-room, room))
    around = (left <= 0) & (right >= 0)
    if around.any():
        raise InputError(
            f"zero must be clear of the Ritz values; {theta[order][around][0]:.6g} has residual "
            f"{rho[order][around][0]:.3g}. Take more probe steps, or deflate."
        )
    if lower <= 0 < left[0]:
        lower = float(left[0])
    if right[-1] < 0 <= upper:
        upper = float(right[-1])
    # Residuals of neighbors may overlap: a gap is what none of them reaches.
    start = np.maximum.accumulate(right)[:-1]
    stop = np.minimum.accumulate(left[::-1])[::-1][1:]
    clear = stop - start >= (1 - CLEAR) * np.diff(theta[order])
    signed = start * stop < 0
    sizes = np.abs([start, stop])
    ratio = np.where(signed, np.inf, sizes.max(axis=0) / sizes.min(axis=0))
    inside = (start < stop) & (start > lower) & (stop < upper) & (clear & (ratio >= WIDE) | signed)
    widest = [k for k in np.argsort(-ratio, kind="stable") if inside[k]]
    taken = sorted(widest[: max(most - 1, int(signed.any()))])
    ends = [lower, *(float(x) for k in taken for x in (start[k], stop[k])), upper]
    return list(zip(ends[::2], ends[1::2], strict=True))
