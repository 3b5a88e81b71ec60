"""Minimax designs on a union of intervals, by Remez's exchange.

Source
    Trefethen, Approximation Theory and Approximation Practice, SIAM 2013, chapter 10; Pachon and
    Trefethen, Barycentric-Remez algorithms, BIT 49 (2009); de Boor and Rice, Extremal polynomials
    with application to Richardson iteration for indefinite linear systems, SIAM J. Sci. Stat.
    Comput. 3 (1982), for inverses on two intervals.
Deviations
    Starts from Leja points of the union, which need no knowledge of its capacity; errors are
    relative to f; the result is in Newton's form, since between intervals p may grow by many
    decades, which a Chebyshev series of the hull would not survive.
Cost
    Some ten exchanges of O(k d^2), d the degree, k the number of intervals; no products with A.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np

from spectool._types import FloatArray, IntArray, Interval, ScalarMap
from spectool.errors import InputError
from spectool.polynomials.chebyshev import checked_degree, checked_values
from spectool.polynomials.recurrence import Recurrence
from spectool.polynomials.unions import checked_union, described

EXCHANGES = 60
DENSITY = 8
"""Grid points of an interval per degree: enough to bracket every extremum."""
EQUAL = 1e-9
"""The exchange stops once the error's extrema agree to this share of both error and 1 - error."""
ROUNDING = 1e-13
ZOOMS = 5
"""Refinements of an extremum, 8-fold each: its value is then good to 1e-10 of the error."""
MOST = 500
"""Highest degree; memory grows like its square."""


def minimax(
    f: ScalarMap, intervals: Any, degree: int, *, name: str | None = None
) -> tuple[Recurrence, float]:
    """Return the p of degree d that minimizes ``max |1 - p(z) / f(z)|`` on a union of intervals.

    Parameters
    ----------
    f : callable
        Maps an array of eigenvalues to an array of the same shape; smooth and without zeros on each
        interval.
    intervals : sequence of tuple of float
        Disjoint pairs ``(lower, upper)``.
    degree : int
        Degree of p, at most: less suffices where p is f up to rounding.

    Returns
    -------
    recurrence : Recurrence
        On the hull of the intervals; between them p may be large.
    error : float
        The maximum.

    Raises
    ------
    InputError
        If intervals overlap, or f is not finite, complex or zero somewhere on them.

    Notes
    -----
    The error equioscillates: d + 2 times at least it is the maximum in modulus, where the signs of
    ``f - p`` alternate [1]_. What is below ``1e-13 max |f| / min |f|`` is rounding.

    References
    ----------
    .. [1] Trefethen, Approximation Theory and Approximation Practice, Theorem 10.1.

    Examples
    --------
    >>> import numpy as np
    >>> p, error = minimax(np.exp, [(-1.0, 0.0), (1.0, 1.5)], 6)
    >>> bool(abs(1 - p(1.2) / np.exp(1.2)) <= error < 1e-4)
    True
    """
    union = checked_union(intervals)
    d = checked_degree(degree, most=MOST)
    angles = np.pi * np.arange(DENSITY * (d + 2), -1, -1) / (DENSITY * (d + 2))
    grid = np.unique(np.concatenate([_place(angles, *where) for where in union]))
    d = min(d, grid.size - 2)  # an interval of a few units in the last place
    values = checked_values(f, grid)
    if not values.all():
        raise InputError(
            f"f must have no zero on the intervals; f({grid[values == 0][0]:.6g}) = 0."
        )
    size = np.abs(values)
    resolved = ROUNDING * float(size.max() / size.min())
    leja = grid[_leja(grid, d + 2)]
    # Degrees beyond the first that resolves f would only fit rounding.
    d = bisect_left(
        range(d),
        True,
        key=lambda k: bool(np.abs(_Fit(f, np.sort(leja[: k + 2])).error(grid)).max() <= resolved),
    )
    reference = np.sort(leja[: d + 2])
    best, level = _Fit(f, reference), -1.0
    for _ in range(EXCHANGES):
        fit = _Fit(f, reference)
        if fit.level <= level:
            break  # it rises in exact arithmetic: from here on all is rounding
        best, level = fit, fit.level
        candidates = np.union1d(_extrema(fit, union, angles), reference)
        peaks = fit.error(candidates)
        if np.abs(peaks).max() <= max(level + EQUAL * level * (1 - level), resolved):
            break
        reference = _exchange(candidates, peaks * np.sign(checked_values(f, candidates)), d + 2)
    p = _newton_form(
        best, grid, values, name or f"minimax approximation of {getattr(f, '__name__', 'f')}"
    )
    seen = np.concatenate([grid, best.reference])
    return p, float(np.abs(1 - p(seen) / checked_values(f, seen)).max())


def minimax_inverse(intervals: Any, degree: int) -> tuple[Recurrence, float]:
    """Return the q of degree d that minimizes ``max |1 - z q(z)|`` on a union of intervals.

    Parameters
    ----------
    intervals : sequence of tuple of float
        Disjoint pairs ``(lower, upper)``, none of which contains zero; on either side of it.
    degree : int
        Degree of q.

    Returns
    -------
    recurrence : Recurrence
        On one interval ``chebyshev_inverse``, which costs less to design.
    error : float
        The maximum. An eigenvalue between the intervals may be mapped anywhere, also to a negative
        number: see ``certified_minimum``.

    Raises
    ------
    InputError
        If intervals overlap or contain zero.

    References
    ----------
    .. [1] de Boor and Rice, Extremal polynomials with application to Richardson iteration for
       indefinite linear systems, SIAM J. Sci. Stat. Comput. 3 (1982).

    Examples
    --------
    >>> q, error = minimax_inverse([(-2.0, -1.0), (1.0, 2.0)], 1)  # q = 0.4 z
    >>> round(q(2.0), 9), round(error, 9)
    (0.8, 0.6)
    """
    union = checked_union(intervals)
    if any(lower <= 0 <= upper for lower, upper in union):
        raise InputError(f"intervals must not contain zero; got {union}. Split them around it.")
    return minimax(np.reciprocal, union, degree, name=f"minimax inverse on {described(union)}")


class _Fit:
    """The p whose relative error is ``+-level`` at the reference, signs alternating as they must.

    Barycentric interpolation at all d + 2 points: the degree is d by the choice of ``level``.
    """

    def __init__(self, f: ScalarMap, reference: FloatArray) -> None:
        self.f, self.reference = f, reference
        distance = reference[:, None] - reference
        np.fill_diagonal(distance, 1.0)
        logarithms = -np.log(np.abs(distance)).sum(axis=1)
        alternating = (-1.0) ** np.arange(reference.size)
        self.weights = alternating * np.exp(logarithms - logarithms.max())
        values = checked_values(f, reference)
        moments = self.weights * values
        signed = float(moments.sum() / np.abs(moments).sum())
        self.level = abs(signed)
        self.values = values - signed * alternating * np.abs(values)

    def error(self, z: FloatArray) -> FloatArray:
        """Return ``1 - p(z) / f(z)``, shape of z."""
        difference = z[..., None] - self.reference
        exact = difference == 0
        cauchy = np.where(
            exact.any(axis=-1, keepdims=True), exact, self.weights / np.where(exact, 1, difference)
        )
        p = cauchy @ self.values / cauchy.sum(axis=-1)
        return np.asarray(1.0 - p / self.f(z), dtype=np.float64)


def _place(angles: FloatArray, lower: Any, upper: Any) -> FloatArray:
    """Return the points at angles (pi to 0) of intervals, accurate next to either end."""
    half = np.sin(0.5 * angles) ** 2
    return np.clip(lower * half + upper * (1 - half), lower, upper)


def _leja(points: FloatArray, m: int) -> IntArray:
    """Return the indices of m Leja points, in order: spread like extrema of polynomials."""
    chosen = [int(np.abs(points).argmax())]
    distance = np.zeros(points.size)
    with np.errstate(divide="ignore"):
        while len(chosen) < m:
            distance += np.log(np.abs(points - points[chosen[-1]]))
            chosen.append(int(distance.argmax()))
    return np.array(chosen)


def _newton_form(fit: _Fit, grid: FloatArray, values: FloatArray, name: str) -> Recurrence:
    """Return the p of a fit as Newton's interpolant at its reference in Leja order.

    The basis is scaled to maximum 1 on the grid; Leja's order makes the matrix of the divided
    differences one that pivoting would not permute. What adds less than rounding is cut.
    """
    order = _leja(fit.reference, fit.reference.size)[:-1]
    x, data = fit.reference[order], fit.values[order]
    d = x.size - 1
    a, b, w = np.empty(d), np.empty(d), np.zeros(d + 1)
    on_grid, at_x = np.ones(grid.size), np.ones(d + 1)
    kept = 0
    for k in range(d + 1):
        w[k] = data[k] / at_x[k]
        data = data - w[k] * at_x
        if np.abs(w[k] * on_grid / values).max() > ROUNDING:
            kept = k
        if k < d:
            size = np.abs((grid - x[k]) * on_grid).max()
            a[k], b[k] = 1.0 / size, -x[k] / size
            on_grid, at_x = (grid - x[k]) * on_grid / size, (x - x[k]) * at_x / size
    return Recurrence(
        a[:kept], b[:kept], np.zeros(kept), w[: kept + 1], (grid.min(), grid.max()), name
    )


def _extrema(fit: _Fit, union: list[Interval], angles: FloatArray) -> FloatArray:
    """Return the local maxima of ``|error|`` on each interval, its ends among them."""
    found = []
    step = float(angles[0] - angles[1])
    for lower, upper in union:
        size = np.abs(fit.error(_place(angles, lower, upper)))
        inner = 1 + np.flatnonzero((size[1:-1] >= size[:-2]) & (size[1:-1] > size[2:]))
        center, width = angles[inner], step
        for _ in range(ZOOMS):
            around = center[:, None] + width * np.linspace(-1, 1, 17)
            size = np.abs(fit.error(_place(around, lower, upper)))
            center = around[np.arange(center.size), size.argmax(axis=1)]
            width /= 8
        found += [np.array([lower, upper]), _place(center, lower, upper)]
    return np.concatenate(found)


def _exchange(candidates: FloatArray, peaks: FloatArray, m: int) -> FloatArray:
    """Return m of the candidates, ascending, whose signed peaks alternate, the largest kept."""
    size = np.abs(peaks)
    runs = np.split(np.arange(peaks.size), 1 + np.flatnonzero(np.diff(np.sign(peaks))))
    kept = [int(run[size[run].argmax()]) for run in runs]
    while len(kept) > m:
        ends = 0 if size[kept[0]] < size[kept[-1]] else len(kept) - 1
        smallest = int(size[kept].argmin())
        if len(kept) == m + 1 or smallest in (0, len(kept) - 1):
            del kept[ends]
        else:  # two neighbors go, so that the rest alternates
            first = smallest - (size[kept[smallest - 1]] < size[kept[smallest + 1]])
            del kept[first : first + 2]
    return candidates[kept]
