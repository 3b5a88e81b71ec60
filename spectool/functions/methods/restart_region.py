"""Where the spectrum is, as far as a restarted process has seen, and pole sums that are good there.

Source
    As ``restarted_funm``.
Deviations
    Functions with a singularity at zero get sums that hold from rounding level on, which costs a
    few poles more and makes small eigenvalues found later harmless.
"""

from __future__ import annotations

import math

import numpy as np

from spectool._types import Array
from spectool.errors import InputError
from spectool.functions.estimates.hermitian import arcsine_points
from spectool.functions.estimates.hessenberg import SmallMatrix, domain_error, undefined
from spectool.functions.methods.restart_series import Bounds, PoleSeries
from spectool.functions.poles.contours import PER_EDGE, contour_sum, error_at, in_sector
from spectool.functions.poles.field_of_values import FieldOfValues
from spectool.functions.poles.fractions import PoleSum, pole_sum
from spectool.functions.task import Target
from spectool.krylov.krylov_schur import Projection

EPS = float(np.finfo(np.float64).eps)
MARGIN = 0.05
"""Widening beyond what is seen, in units of the width; doubled at each new design."""
GROWTH = 2.0
"""Widening for exponentials at most, in units of 1 / t."""
FLAT = 1e-6
"""Residual of a Ritz pair, relative to ``||H||``, below which it counts as an eigenpair."""
SLACK = 10.0
"""How much worse than on its region a sum may be at new Ritz values."""
CROUZEIX = 1.0 + math.sqrt(2.0)
"""``||g(A)||`` is at most this times ``max |g|`` over the field of values."""


class RealRegion:
    """Spectrum of a Hermitian A: an interval, and a gap around zero where it is indefinite."""

    def __init__(self, eps: float) -> None:
        self._eps = eps
        self._margin, self._growth = MARGIN, GROWTH
        self._low, self._high = math.inf, -math.inf  # Ritz values
        self._ends = (math.inf, -math.inf)  # the same, moved outwards by their residuals
        self._theta: Array = np.zeros(0)
        self._least = 0.0

    def see(self, seen: Projection, targets: list[Target]) -> None:
        """Take a cycle's Ritz values; raises NotPositiveDefiniteError if f does not take one."""
        theta = self._theta = seen.theta.real
        residuals = seen.below * np.abs(seen.Q[-1])
        for target in targets:
            target.checked(theta, self._eps)
        if theta[0] <= self._low:
            self._low, self._ends = theta[0], (theta[0] - residuals[0], self._ends[1])
        if theta[-1] >= self._high:
            self._high, self._ends = theta[-1], (self._ends[0], theta[-1] + residuals[-1])
        self._least = float((np.abs(theta) - residuals).min())

    def design(self, target: Target, rtol: float) -> PoleSum:
        """Return a sum for the interval, somewhat widened. Raises InputError if there is none."""
        width = self._high - self._low
        size = max(abs(self._low), abs(self._high))
        if size == 0:
            size = 1e-290
        domain = target.function.domain
        extra = self._margin * width + 4 * EPS * size
        if target.function.exponentials:  # which may grow by a digit only
            extra = min(extra, self._growth / abs(target.t))
        low, high = self._low - extra, self._high + extra
        if domain == "any":
            return _best(target, low, high, rtol)
        if target.function.name == "sign":  # a sign not seen yet must show in the error
            high = max(-low, high)
            return pole_sum(target, (-high, high), rtol, gap=16 * EPS * size)
        if domain in ("positive", "nonnegative") or self._low * self._high > 0:
            near = 4 * EPS * size
            ends = (near, max(high, near)) if self._high > 0 else (min(low, -near), -near)
            return pole_sum(target, ends, rtol)
        return pole_sum(target, (low, high), rtol, gap=16 * EPS * size)

    def widen(self) -> None:
        """Widen further from now on."""
        self._margin, self._growth = 2 * self._margin, 2 * self._growth

    def fits(self, series: PoleSeries, rtol: float) -> bool:
        """Return whether the sum holds at the newest Ritz values, too."""
        points = self._theta[np.abs(self._theta) > series.sum.gap]
        if series.target.function.domain == "nonnegative":
            points = points[series.target.t.real * points > 4 * EPS * np.abs(points).max(initial=0)]
        if points.size == 0:
            return True
        return error_at(series.target, series.sum, points) <= max(SLACK * series.sum.error, rtol)

    def covers(self, series: PoleSeries) -> bool:  # noqa: ARG002 - as PlaneRegion's
        """Return True: a Ritz value where f is undefined is an error."""
        return True

    def bounds(self, series: PoleSeries) -> Bounds:
        """Return ``max |g|`` over what is known of the spectrum."""
        low, high = self._ends
        singular = series.target.function.domain != "any"
        if singular and self._low > 0:  # as far down as is not excluded
            low = max(low, 4 * EPS * high)
        elif singular and self._high < 0:
            high = min(high, 4 * EPS * low)
        points = arcsine_points(low, high)
        if low * high > 0:
            points = np.concatenate([points, np.geomspace(low, high, 200)])
        elif singular:
            if self._least <= 0:
                return Bounds(math.inf, math.inf)
            points = np.concatenate([points, [self._least, -self._least]])
            points = points[np.abs(points) >= self._least]
        largest = float(series.error_function(points).max())
        return Bounds(largest, largest)


def _best(target: Target, low: float, high: float, rtol: float) -> PoleSum:
    """Return the sum by interpolation, or by a contour where that is not good enough."""
    try:
        found = pole_sum(target, (low, high), rtol)
    except InputError:
        found = None
    if found is not None and found.error <= rtol:
        return found
    try:
        other = contour_sum(target, FieldOfValues.interval(low, high), np.array([low, high]), rtol)
    except InputError:
        if found is None:
            raise
        return found
    return other if found is None or other.error < found.error else found


class PlaneRegion:
    """Field of values of a general A: the union of those of all cycles, an inner estimate."""

    def __init__(self, eps: float) -> None:
        self._eps = eps
        self._margin, self._growth = 2 * MARGIN, GROWTH
        self._field: FieldOfValues | None = None
        self._theta: Array = np.zeros(0)
        self._newest: Array = np.zeros(0)

    def see(self, seen: Projection, targets: list[Target]) -> None:
        """Take a cycle's H; raises InputError if f does not take an eigenvalue that it found."""
        found = FieldOfValues.of(seen.H)
        self._field = found if self._field is None else self._field.joined(found)
        self._newest = seen.theta
        self._theta = np.concatenate([self._theta[-200:], seen.theta])
        small = SmallMatrix(seen.H)
        for target in targets:
            complaint = undefined(target, small.theta, self._eps)
            if complaint is not None:
                index, sentence = complaint
                if seen.below * abs(small.eigen[1][-1, index]) <= FLAT * small.norm:
                    raise domain_error(target, sentence)

    def design(self, target: Target, rtol: float) -> PoleSum:
        """Return a sum for the field of values, widened. Raises InputError if there is none."""
        return contour_sum(target, self._around(target), self._theta, rtol)

    def _around(self, target: Target) -> FieldOfValues:
        """Return the field of values seen, widened; for exponentials so that they grow little."""
        assert self._field is not None
        size = float(np.abs(self._theta).max())
        extra = self._margin * max(self._field.width, 1e-3 * size, 1e-290)
        if target.function.exponentials:
            extra = min(extra, self._growth / abs(target.t))
        to_zero = float(self._field.distance(np.zeros(1))[0])
        if target.function.domain != "any" and to_zero > 0:
            extra = min(extra, 0.5 * to_zero)
        return self._field.moved_outwards(extra)

    def widen(self) -> None:
        """Widen further from now on."""
        self._margin, self._growth = 2 * self._margin, 2 * self._growth

    def fits(self, series: PoleSeries, rtol: float) -> bool:
        """Return whether the sum holds at the newest Ritz values and the field of values."""
        assert self._field is not None
        points = self._newest
        if series.target.function.domain == "any":
            points = np.concatenate([points, self._field.boundary(2)])
        else:
            points = points[in_sector(series.target.function, series.target.t * points)]
        if points.size == 0:
            return True
        return error_at(series.target, series.sum, points) <= max(SLACK * series.sum.error, rtol)

    def covers(self, series: PoleSeries) -> bool:
        """Return whether the newest Ritz values lie where sums of poles can be good at all."""
        if series.target.function.domain == "any":
            return True
        return bool(in_sector(series.target.function, series.target.t * self._newest).all())

    def bounds(self, series: PoleSeries) -> Bounds:
        """Return Crouzeix and Palencia's bound, inf where poles lie near the field of values."""
        field = self._around(series.target)
        if series.poles.size and not (field.distance(series.poles) > 0).all():
            shown = math.inf
            if series.target.function.name == "sign":  # a sign not seen yet must show
                shown = float(series.error_function(self._theta).max())
            return Bounds(math.inf, shown)
        largest = CROUZEIX * float(series.error_function(field.boundary(PER_EDGE)).max())
        return Bounds(largest, largest)
