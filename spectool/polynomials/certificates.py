"""Certified extrema: bounds that hold for all points of an interval, not only for a grid.

Source
    Ehlich and Zeller, Schwankung von Polynomen zwischen Gitterpunkten, Math. Z. 86 (1964).
Deviations
    The bound is applied to pieces, and pieces that could hold a lower value are halved (branch and
    bound), so that it gets sharp even where p spans many decades.
Cost
    O(d^2) evaluations of p at scalars, d the degree; no products with A.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from spectool._types import FloatArray, Interval
from spectool.errors import InputError
from spectool.polynomials.nodes import chebyshev_points, checked_interval
from spectool.polynomials.recurrence import Recurrence

SHARP = 1e-3
"""Halving stops once bound and attained value agree to this share of the attained value."""
PIECES = 8
"""Pieces per degree in doubt at which halving stops: d extrema need fewer, rounding errors more."""
EPS = float(np.finfo(np.float64).eps)


class Extremum(NamedTuple):
    """An extreme value of a polynomial on an interval.

    Attributes
    ----------
    bound : float
        No value on the interval lies beyond this, rounding in the evaluation of p apart.
    attained : float
        The most extreme value found.
    where : float
        The point that attains it.
    """

    bound: float
    attained: float
    where: float


def certified_minimum(p: Recurrence, interval: Interval | None = None) -> Extremum:
    """Return a lower bound of p on ``interval``; p is positive there if the bound is.

    Parameters
    ----------
    p : Recurrence
        Degree d.
    interval : tuple of float, optional
        ``(lower, upper)``; that of p by default.

    Returns
    -------
    Extremum
        ``bound <= min p <= attained``, with a gap of about ``0.001 |attained|``, or more where
        rounding hides the minimum.

    Raises
    ------
    InputError
        If p is not finite on the interval.

    Notes
    -----
    At m Chebyshev points of a piece let p lie in ``[s - h, s + h]``. Every point of the piece is
    within angle ``pi / (2 m)`` of one of them, and a polynomial falls from its maximum no faster
    than ``cos(d angle)`` (Riesz), so ``|p - s| <= h / cos(pi d / (2 m))`` on the whole piece [1]_.

    References
    ----------
    .. [1] Ehlich and Zeller, Schwankung von Polynomen zwischen Gitterpunkten, Math. Z. 86 (1964).

    Examples
    --------
    >>> from spectool.polynomials import chebyshev_inverse
    >>> lowest = certified_minimum(chebyshev_inverse((1.0, 3.0), 4), (0.0, 4.0))
    >>> 0 < lowest.bound <= lowest.attained
    True
    """
    pieces = np.array([checked_interval(interval or p.interval)])
    finest = EPS * float(np.abs(pieces).max())
    d = p.degree
    m = 2 * d + 1
    inflation = 1.0 / math.cos(math.pi * d / (2 * m))
    # Beside the Chebyshev points the two ends, where monotone polynomials have their minimum.
    points = np.concatenate([chebyshev_points(m, (-1.0, 1.0)), [-1.0, 1.0]])
    best, where, safe = math.inf, math.nan, math.inf
    while pieces.size:
        lower, upper = pieces[:, :1], pieces[:, 1:]
        x = np.clip(0.5 * (1 - points) * lower + 0.5 * (1 + points) * upper, lower, upper)
        values = _finite(p, x)
        low, high = values.min(axis=1), values.max(axis=1)
        bounds = 0.5 * (low + high) - 0.5 * (high - low) * inflation
        if low.min() < best:
            best, where = float(low.min()), float(x.flat[int(values.argmin())])
        rounding = 64 * EPS * np.abs(values).max(axis=1)
        unclear = bounds < best - np.maximum(SHARP * abs(best), rounding)
        unclear &= (upper - lower).ravel() > finest
        if np.count_nonzero(unclear) > PIECES * (d + 4):
            unclear[:] = False
        safe = float(bounds[~unclear].min(initial=safe))
        middle = 0.5 * lower[unclear] + 0.5 * upper[unclear]
        pieces = np.concatenate(
            [np.hstack([lower[unclear], middle]), np.hstack([middle, upper[unclear]])]
        )
    return Extremum(safe, best, where)


def largest(p: Recurrence, interval: Interval | None = None) -> Extremum:
    """Return an upper bound of ``|p|`` on ``interval``: of the growth of a vector under ``p(A)``.

    Parameters
    ----------
    p : Recurrence
        Degree d.
    interval : tuple of float, optional
        ``(lower, upper)``; that of p by default.

    Returns
    -------
    Extremum
        ``attained <= max |p| <= bound``, as close as in ``certified_minimum``.

    Raises
    ------
    InputError
        If p is not finite on the interval.

    Examples
    --------
    >>> from spectool.polynomials import chebyshev_series
    >>> round(largest(chebyshev_series([0, 0, 0, 1], (0.0, 1.0))).attained, 12)
    1.0
    """
    lowest, highest = certified_minimum(p, interval), certified_minimum(-p, interval)
    below = lowest.attained <= highest.attained
    return Extremum(
        max(-lowest.bound, -highest.bound),
        abs(lowest.attained if below else highest.attained),
        lowest.where if below else highest.where,
    )


def _finite(p: Recurrence, x: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):
        values: FloatArray = p(x)
    if not np.isfinite(values).all():
        raise InputError(
            f"p must be finite on its interval; p({x[~np.isfinite(values)][0]:.6g}) is not."
        )
    return values
