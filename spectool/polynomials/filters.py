"""Spectral filters: polynomials close to one on wanted eigenvalues, close to zero elsewhere.

Source
    Zhou and Saad, A Chebyshev-Davidson algorithm, SIMAX 29 (2007), for the ends of the spectrum;
    Di Napoli, Polizzi and Saad, Efficient estimation of eigenvalue counts in an interval, 2016,
    section 2.3, for Jackson-damped steps.
"""

from __future__ import annotations

import math

import numpy as np

from spectool._types import FloatArray, Interval
from spectool.errors import InputError
from spectool.polynomials.chebyshev import checked_degree
from spectool.polynomials.nodes import checked_interval
from spectool.polynomials.recurrence import Recurrence, chebyshev_series


def jackson_damping(degree: int) -> FloatArray:
    """Return the Jackson factors g_0 .. g_degree, shape (degree + 1,); they remove Gibbs ripple."""
    m = degree + 2
    k = np.arange(degree + 1)
    angle = np.pi / m
    return np.asarray(
        ((m - k) * np.cos(k * angle) + np.sin(k * angle) / np.tan(angle)) / m, dtype=np.float64
    )


def step_filter(window: Interval, interval: Interval, degree: int) -> Recurrence:
    """Return the Jackson-damped Chebyshev expansion of the indicator of ``window``.

    Parameters
    ----------
    window : tuple of float
        ``(lo, hi)``; infinite ends are cut to the interval.
    interval : tuple of float
        Safe bounds of the spectrum.
    degree : int
        At each end p falls from 90% to 10% over about ``2.4 pi / degree`` half-widths of the
        interval.

    Returns
    -------
    Recurrence
        With values in [0, 1] up to rounding.

    Raises
    ------
    InputError
        If the window does not meet the interval.
    """
    lower, upper = checked_interval(interval)
    lo, hi = max(window[0], lower), min(window[1], upper)
    if not lo < hi:
        raise InputError(
            f"window must meet the spectrum's interval [{lower:.6g}, {upper:.6g}]; "
            f"got ({window[0]:.6g}, {window[1]:.6g})."
        )
    d = checked_degree(degree)
    center, half = 0.5 * (upper + lower), 0.5 * (upper - lower)
    left = math.acos(min(1.0, max(-1.0, (lo - center) / half)))
    right = math.acos(min(1.0, max(-1.0, (hi - center) / half)))
    k = np.arange(1, d + 1)
    w = np.empty(d + 1)
    w[0] = (left - right) / np.pi
    w[1:] = 2.0 * (np.sin(k * left) - np.sin(k * right)) / (k * np.pi)
    return chebyshev_series(
        w * jackson_damping(d), (lower, upper), name=f"Jackson step on [{lo:.3g}, {hi:.3g}]"
    )


def end_filter(
    edge: float, interval: Interval, degree: int, *, end: str, unit: float | None = None
) -> Recurrence:
    """Return ``T_d`` of the unwanted part, scaled to 1 inside the wanted part.

    Minimax: no polynomial of the degree that is 1 at ``unit`` is smaller on the unwanted part.

    Parameters
    ----------
    edge : float
        Where the wanted part stops, inside ``interval``.
    interval : tuple of float
        Safe bounds of the spectrum.
    degree : int
        Products with A per application, at least 1. The filter is positive on the wanted part.
    end : {"lower", "upper"}
        Which end of the spectrum is wanted.
    unit : float, optional
        Where the filter is 1: beyond the edge; the end of the interval by default. The extreme Ritz
        value is better, since a safe end may lie far outside the spectrum.

    Returns
    -------
    Recurrence
        Growing from the edge towards the wanted end; ``1 / T_d`` in modulus, at most, on the
        unwanted part.

    Raises
    ------
    InputError
        If the edge lies outside the interval, ``unit`` on the wrong side of it, or ``end`` is
        unknown.
    """
    lower, upper = checked_interval(interval)
    if not lower < edge < upper:
        raise InputError(f"edge must lie inside [{lower:.6g}, {upper:.6g}]; got {edge:.6g}.")
    if end not in ("lower", "upper"):
        raise InputError(f"end must be 'lower' or 'upper'; got {end!r}.")
    d = checked_degree(degree, least=1)
    unwanted = (edge, upper) if end == "lower" else (lower, edge)
    center, half = 0.5 * (unwanted[1] + unwanted[0]), 0.5 * (unwanted[1] - unwanted[0])
    extreme = (lower if end == "lower" else upper) if unit is None else float(unit)
    if not (extreme < edge if end == "lower" else extreme > edge):
        raise InputError(f"unit must lie beyond the edge {edge:.6g}; got {extreme:.6g}.")
    # v_k = T_k(y) / T_k(y_extreme), by ratios: T_k itself overflows at high degree.
    y_extreme = (extreme - center) / half
    a, b, c = (np.zeros(d) for _ in range(3))
    ratio = 1.0 / y_extreme
    a[0], b[0] = ratio / half, -ratio * center / half
    for k in range(1, d):
        following = 1.0 / (2.0 * y_extreme - ratio)
        a[k], b[k] = 2.0 * following / half, -2.0 * following * center / half
        c[k] = -ratio * following
        ratio = following
    w = np.zeros(d + 1)
    w[-1] = 1.0
    return Recurrence(
        a,
        b,
        c,
        w,
        (lower, upper),
        f"Chebyshev filter below {edge:.3g}"
        if end == "lower"
        else f"Chebyshev filter above {edge:.3g}",
    )
