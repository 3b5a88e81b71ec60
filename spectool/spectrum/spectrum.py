"""What a short probe knows of the eigenvalues of a Hermitian operator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.interpolate import PchipInterpolator

from spectool._types import FloatArray, IntArray, Interval
from spectool.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from spectool.results import LinearSolution


Scaling: TypeAlias = Literal["symmetric"] | None
CURVATURE = 1.0
"""Error of the distribution between Ritz values over the squared weight of the nearest: its root
mean square lay between 0.2 and 0.8 on ten matrices."""


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


@dataclass(frozen=True, slots=True, eq=False)
class _Distribution:
    """Smooth cumulative distribution of one probe, in x or log(x).

    The true distribution crosses every step of the Gauss distribution (separation theorem of
    Chebyshev, Markov and Stieltjes), so the midpoints of the steps are the natural places to pass
    through; PCHIP keeps it monotone. Positive spectra are interpolated in log(x) and, where the
    probe has not resolved their low end, continued below the first Ritz value by a power law down
    to the height 1/n (Weyl's law: the exponent of a second-order operator in dimension d is d/2).
    """

    curve: PchipInterpolator
    log: bool
    unit: float = 1.0
    """Power of two that a linear axis is measured in: PCHIP divides by cubes of its steps."""

    @classmethod
    def through(
        cls, nodes: FloatArray, weights: FloatArray, residual: float, interval: Interval, n: int
    ) -> _Distribution:
        heights = np.cumsum(weights) - 0.5 * weights
        first, last = float(nodes[0]), float(nodes[-1])
        low, high = interval
        log = first > 0
        tail_x, tail_y = np.empty(0), np.empty(0)
        if log and residual > 0.01 * first and nodes.size > 3:
            y = np.geomspace(min(0.5 / n, 0.5 * float(heights[0])), heights[0], 12)[:-1]
            x = first * (y / heights[0]) ** (1.0 / _low_end_exponent(nodes, heights))
            keep = x > max(low, 1e-16 * last)
            tail_x, tail_y = x[keep], y[keep]
            low = float(tail_x[0]) / 2 if tail_x.size else first / 2
        elif log:
            low = max(low, first - residual)
        if log:
            low = max(low, 1e-16 * last)
        x = np.concatenate([[min(low, first)], tail_x, nodes, [max(high, last)]])
        y = np.concatenate([[0.0], tail_y, heights, [1.0]])
        unit = 1.0 if log else float(np.ldexp(1.0, np.frexp(np.abs(x).max())[1] - 1))
        places = np.log(x) if log else x / unit
        room = 1e-9 * (places[-1] - places[0]) or 1e-12
        places[0] -= room
        places[-1] += room
        apart = [0]
        for i in range(1, len(places) - 1):
            if places[apart[-1]] + room < places[i] < places[-1] - room:
                apart.append(i)
        apart.append(len(places) - 1)
        return cls(PchipInterpolator(places[apart], y[apart], extrapolate=False), log, unit)

    def cumulative(self, x: FloatArray) -> FloatArray:
        places = np.log(np.maximum(x, 1e-300)) if self.log else x / self.unit
        inside = np.clip(places, self.curve.x[0], self.curve.x[-1])
        return np.asarray(np.clip(self.curve(inside), 0.0, 1.0), dtype=np.float64)

    def density(self, x: FloatArray) -> FloatArray:
        positive = np.where(x > 0, x, 1.0)
        places = np.log(positive) if self.log else x / self.unit
        values = np.nan_to_num(self.curve.derivative()(places), nan=0.0)
        values = np.where(x > 0, values / positive, 0.0) if self.log else values / self.unit
        return np.asarray(np.maximum(values, 0.0), dtype=np.float64)

    def grid(self) -> FloatArray:
        places = np.union1d(np.linspace(self.curve.x[0], self.curve.x[-1], 2049), self.curve.x)
        return np.exp(places) if self.log else places * self.unit


def _low_end_exponent(nodes: FloatArray, heights: FloatArray) -> float:
    """Return the slope of log(cumulative) against log(x) over the lowest Ritz values.

    At least 1, the Weyl exponent of operators of order 2 in two dimensions: a gap above the lowest
    Ritz value feigns less. Predicted CG iterations were at worst 10 times the true ones so, 41
    times with 1/2. For operators on a line, whose exponent that is, the lowest eigenvalue comes out
    too high, but iterations right to a factor of three.
    """
    k = min(4, nodes.size)
    x, y = np.log(nodes[:k]), np.log(np.maximum(heights[:k], 1e-300))
    slope = float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 0 else 1.0
    return min(max(slope, 1.0), 4.0)


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    """Coarse knowledge of a spectrum: bounds, Gauss quadrature, density.

    Attributes
    ----------
    n : int
        Size of the operator.
    ritz_values, ritz_residuals, weights : ndarray, shape (m,)
        Ascending Ritz values of all probes together, their residual norms, and Gauss weights (they
        sum to 1): ``sum_i weights[i] f(ritz_values[i])`` estimates ``trace f(A) / n``, exactly for
        polynomials of degree ``n_moments``.
    probes : ndarray of int, shape (m,)
        Which probe each Ritz value is from.
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
    n_moments : int
        How many of ``trace A`` and ``trace A^2`` the weights reproduce: known where entries are.
    """

    n: int
    ritz_values: FloatArray
    ritz_residuals: FloatArray
    weights: FloatArray
    probes: IntArray
    certificate: Certificate
    n_probes: int
    n_matvecs: int
    complete: bool = False
    scaling: Scaling = None
    n_moments: int = 0

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
    def _distributions(self) -> tuple[_Distribution, ...]:
        """One smooth distribution per probe; they are averaged."""
        return tuple(
            _Distribution.through(
                self.ritz_values[of],
                self.weights[of] * self.n_probes,
                float(self.ritz_residuals[of][0]),
                self.interval,
                self.n,
            )
            for of in (self.probes == i for i in range(self.n_probes))
        )

    def cumulative(self, x: Any) -> FloatArray:
        """Return the estimated fraction of eigenvalues at most x; shape of x."""
        points = np.asarray(x, dtype=np.float64)
        values = [d.cumulative(points) for d in self._distributions]
        return np.asarray(np.mean(values, axis=0), dtype=np.float64)

    def density(self, x: Any) -> FloatArray:
        """Return the estimated spectral density, shape of x; it integrates to 1 (unit 1 / A)."""
        points = np.asarray(x, dtype=np.float64)
        values = [d.density(points) for d in self._distributions]
        return np.asarray(np.mean(values, axis=0), dtype=np.float64)

    def count(self, lo: float, hi: float) -> CountEstimate:
        """Estimate how many eigenvalues lie in (lo, hi], with its standard error.

        Raises
        ------
        InputError
            Unless lo < hi.

        Notes
        -----
        A start vector uniform on the sphere measures a function g of the spectrum with variance
        ``2 (mean g^2 - mean^2 g) / (n + 2)``, g being the window's indicator less the quadratic
        that explains it best where ``trace A`` and ``trace A^2`` are known. Each end inside the
        spectrum adds what the interpolation between Ritz values may err, which no further probe
        cures. All eigenvalues found: no error.
        """
        if not lo < hi:
            raise InputError(f"count needs lo < hi; got ({lo}, {hi}).")
        fraction = float(self.cumulative(hi) - self.cumulative(lo))
        if self.complete and self.ritz_values.size == self.n * self.n_probes:
            values = self.ritz_values
            found = np.count_nonzero((values > lo) & (values <= hi)) / self.n_probes
            return CountEstimate(float(found), 0.0)
        x = self.sample(512)
        inside = ((x > lo) & (x <= hi)).astype(np.float64)
        places = (x - x.mean()) / (x.std() or 1.0)
        P = np.vander(places, self.n_moments + 1)
        unexplained = inside - P @ np.linalg.lstsq(P, inside, rcond=None)[0]
        variance = 2.0 * float(np.mean(unexplained**2)) / (self.n + 2.0) / self.n_probes
        for edge in (lo, hi):
            if self.interval[0] < edge < self.interval[1] and not self.complete:
                variance += self._interpolation_error(edge) ** 2
        return CountEstimate(self.n * fraction, self.n * float(np.sqrt(variance)))

    def _interpolation_error(self, edge: float) -> float:
        """Estimate how far ``cumulative(edge)`` is off: second order in the step, at most half."""
        steps = []
        for i in range(self.n_probes):
            nodes, weights = self.ritz_values[self.probes == i], self.weights[self.probes == i]
            steps.append(self.n_probes * float(weights[np.abs(nodes - edge).argmin()]))
        step = float(np.mean(steps))
        return min(CURVATURE * step**2, 0.5 * step)

    def quantile(self, p: Any) -> FloatArray:
        """Return the estimated eigenvalues below which the fractions p lie; shape of p."""
        grid = np.unique(np.concatenate([d.grid() for d in self._distributions]))
        heights = np.maximum.accumulate(self.cumulative(grid))
        rising = np.concatenate([[True], np.diff(heights) > 0])
        values = np.interp(np.asarray(p, dtype=np.float64), heights[rising], grid[rising])
        return np.asarray(values, dtype=np.float64)

    def sample(self, m: int) -> FloatArray:
        """Return the virtual spectrum: m equally likely eigenvalues, ascending, shape (m,)."""
        if m < 1:
            raise InputError(f"m must be positive; got {m}.")
        return self.quantile((np.arange(m) + 0.5) / m)

    def refined(self, solution: LinearSolution, *, M: Any = None) -> Spectrum:
        """Return the spectrum with the ends that a solve by ``cg`` has found on its way.

        Pass it on as ``spectrum=`` to the next ``preconditioner``; no product is spent.

        Parameters
        ----------
        solution : LinearSolution
            Of ``cg`` with the A whose spectrum this is, and one right-hand side.
        M : Preconditioner, optional
            What it was solved with; by ``preconditioner(A)``. Over ``D^-1/2 A D^-1/2`` if this
            spectrum is (``scaling="symmetric"``), and over A if not. With a polynomial only the
            lower end can be told.

        Returns
        -------
        Spectrum
            With a lower first Ritz value, or a smaller residual of it, where the solve has a better
            one; a safe end that the solve disproves is moved. No end is sharpened, and no weight
            taken from the solve: b is no random vector.

        Raises
        ------
        InputError
            If solution holds no Lanczos matrix, does not go with M, or contradicts a proven end;
            if Ritz values of M A do not tell of this spectrum.
        """
        from spectool.spectrum.refine import refined  # it imports this module's types

        return refined(self, solution, M)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the density; see ``spectool.plotting.density``."""
        from spectool import plotting

        return plotting.density(self, ax=ax)
