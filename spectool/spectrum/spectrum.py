"""What a short probe knows of the eigenvalues of a Hermitian operator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.interpolate import PchipInterpolator

from spectool._types import FloatArray, Interval
from spectool.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Scaling: TypeAlias = Literal["symmetric"] | None


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of the spectrum.

    Attributes
    ----------
    value : float
        The safe end: outside or at the extreme eigenvalue. Unit of A.
    ritz_value : float
        The extreme Ritz value: always inside the spectrum, so the truth lies between the two.
    residual : float
        Its residual norm, the error bar of the Ritz value: an eigenvalue lies this close to it.
    source : str
        How the safe end was obtained.
    proven : bool
        Whether it holds for certain (Gershgorin, an invariant Krylov space, a declaration), or with
        probability 1 - 1e-4 over the random start vector.
    """

    value: float
    ritz_value: float
    residual: float
    source: str
    proven: bool

    def __str__(self) -> str:
        return (
            f"{self.value:.6g} ({self.source}{'' if self.proven else ', risk 1e-4'}; "
            f"Ritz value {self.ritz_value:.6g} +- {self.residual:.1e})"
        )


class Certificate(NamedTuple):
    """How each end of the interval was obtained."""

    lower: Bound
    upper: Bound


class CountEstimate(NamedTuple):
    """An eigenvalue count.

    Attributes
    ----------
    value : float
        Estimated number of eigenvalues in the interval.
    standard_error : float
        Of the count, from the randomness of the start vectors.
    """

    value: float
    standard_error: float


def _low_end_exponent(nodes: FloatArray, heights: FloatArray) -> float:
    """Return the slope of log(cumulative) against log(lambda) over the lowest Ritz values."""
    k = min(4, nodes.size)
    x, y = np.log(nodes[:k]), np.log(np.maximum(heights[:k], 1e-300))
    slope = float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 0 else 1.0
    return min(max(slope, 0.25), 4.0)


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    """Coarse knowledge of a spectrum: bounds, Gauss quadrature, density.

    Attributes
    ----------
    n : int
        Size of the operator.
    ritz_values, ritz_residuals, weights : ndarray, shape (m,)
        Ascending Ritz values of all probes together, their residual norms, and Gauss weights (they
        sum to 1): ``sum_i weights[i] f(ritz_values[i])`` estimates ``trace f(A) / n``.
    certificate : Certificate
        The bounds and their sources.
    n_probes : int
        Random start vectors used.
    n_matvecs : int
        Products with A spent.
    complete : bool
        Whether every probe exhausted its Krylov space: the Ritz values are eigenvalues.
    scaling : {"symmetric", None}
        Whether this is the spectrum of ``D^-1/2 A D^-1/2`` or of A itself.
    """

    n: int
    ritz_values: FloatArray
    ritz_residuals: FloatArray
    weights: FloatArray
    certificate: Certificate
    n_probes: int
    n_matvecs: int
    complete: bool = False
    scaling: Scaling = None

    def __repr__(self) -> str:
        lower, upper = self.interval
        return (
            f"<Spectrum of {self.n} eigenvalues in [{lower:.4g}, {upper:.4g}]: "
            f"{self.ritz_values.size} Ritz values, {self.n_matvecs} matvecs>"
        )

    def __str__(self) -> str:
        return (
            f"{self.n} eigenvalues, {self.n_matvecs} matvecs\n"
            f"  lower end {self.certificate.lower}\n  upper end {self.certificate.upper}"
        )

    @property
    def interval(self) -> Interval:
        """Safe outer bounds ``(lower, upper)``, lower < upper even for a multiple of I."""
        lower, upper = self.certificate.lower.value, self.certificate.upper.value
        room = 1e-13 * max(abs(lower), abs(upper)) or 1e-13
        return (lower, upper) if upper - lower > room else (lower - room, upper + room)

    @cached_property
    def _cdf(self) -> tuple[PchipInterpolator, bool]:
        """Monotone interpolant through the midpoints of the quadrature's steps.

        The true distribution crosses every step of the Gauss distribution (separation theorem of
        Chebyshev, Markov and Stieltjes), so the midpoints are the natural places to pass through.
        Positive spectra are interpolated in log(lambda) and, where the probe has not resolved
        their low end, continued below the first Ritz value by a power law down to the height 1/n
        (Weyl's law: the exponent of a second-order operator in dimension d is d/2).
        """
        lower, upper = self.interval
        nodes, weights = self.ritz_values, self.weights
        heights = np.cumsum(weights) - 0.5 * weights
        first, last = float(nodes[0]), float(nodes[-1])
        tail_x, tail_y = [lower], [0.0]
        log = first > 0
        if log:
            resolved = first - float(self.ritz_residuals[0])
            lower = max(lower, resolved, 0.0)
            if self.ritz_residuals[0] > 0.01 * first and nodes.size > 3:
                exponent = _low_end_exponent(nodes, heights)
                end = min(0.5 / self.n, 0.5 * float(heights[0]))
                y = np.geomspace(end, heights[0], 12)[:-1]
                x = first * (y / heights[0]) ** (1.0 / exponent)
                keep = x > max(self.interval[0], 1e-16 * last)
                tail_x, tail_y = x[keep].tolist(), y[keep].tolist()
                lower = 0.5 * tail_x[0] if tail_x else 0.5 * first
            lower = max(lower, 1e-16 * last)
            tail_x, tail_y = [min(lower, first), *tail_x], [0.0, *tail_y]
        x = np.concatenate([tail_x, nodes, [max(upper, last)]])
        y = np.concatenate([tail_y, heights, [1.0]])
        places = np.log(x) if log else x
        room = 1e-9 * (places[-1] - places[0]) or 1e-12
        places[0] -= room
        places[-1] += room
        apart = [0]
        for i in range(1, len(places) - 1):
            if places[i] > places[apart[-1]] + room and places[i] < places[-1] - room:
                apart.append(i)
        apart.append(len(places) - 1)
        return PchipInterpolator(places[apart], y[apart], extrapolate=False), log

    def cumulative(self, x: Any) -> FloatArray:
        """Return the estimated fraction of eigenvalues at most x; shape of x."""
        cdf, log = self._cdf
        points = np.asarray(x, dtype=np.float64)
        places = np.log(np.maximum(points, 1e-300)) if log else points
        inside = np.clip(places, cdf.x[0], cdf.x[-1])
        return np.asarray(np.clip(cdf(inside), 0.0, 1.0), dtype=np.float64)

    def density(self, x: Any) -> FloatArray:
        """Return the estimated spectral density, shape of x; it integrates to 1 (unit 1 / A)."""
        cdf, log = self._cdf
        points = np.asarray(x, dtype=np.float64)
        positive = points > 0
        places = np.log(np.where(positive, points, 1.0)) if log else points
        values = np.nan_to_num(cdf.derivative()(places), nan=0.0)
        if log:
            values = np.where(positive, values / np.where(positive, points, 1.0), 0.0)
        return np.asarray(np.maximum(values, 0.0), dtype=np.float64)

    def count(self, lo: float, hi: float) -> CountEstimate:
        """Estimate how many eigenvalues lie in (lo, hi], with its standard error.

        Raises
        ------
        InputError
            Unless lo < hi.

        Notes
        -----
        For a start vector uniform on the sphere the measure of k of n eigenvalues is Beta
        distributed; its variance gives ``2 k (n - k) / ((n + 2) n_probes)``.
        """
        if not lo < hi:
            raise InputError(f"count needs lo < hi; got ({lo}, {hi}).")
        fraction = float(self.cumulative(hi) - self.cumulative(lo))
        k = self.n * fraction
        error = np.sqrt(2.0 * k * max(self.n - k, 0.0) / ((self.n + 2.0) * self.n_probes))
        return CountEstimate(k, float(error))

    def quantile(self, p: Any) -> FloatArray:
        """Return the estimated eigenvalues below which the fractions p lie; shape of p."""
        cdf, log = self._cdf
        grid = np.linspace(cdf.x[0], cdf.x[-1], 4097)
        heights = np.maximum.accumulate(cdf(grid))
        rising = np.concatenate([[True], np.diff(heights) > 0])
        places = np.interp(np.asarray(p, dtype=np.float64), heights[rising], grid[rising])
        return np.asarray(np.exp(places) if log else places, dtype=np.float64)

    def sample(self, m: int) -> FloatArray:
        """Return the virtual spectrum: m equally likely eigenvalues, ascending, shape (m,)."""
        if m < 1:
            raise InputError(f"m must be positive; got {m}.")
        return self.quantile((np.arange(m) + 0.5) / m)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the density; see ``spectool.plotting.density``."""
        from spectool import plotting

        return plotting.density(self, ax=ax)
