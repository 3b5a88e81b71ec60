"""The kernel polynomial method: a density from Chebyshev moments, smooth and of even resolution.

Source
    Weisse, Wellein, Alvermann and Fehske, The kernel polynomial method, Rev. Mod. Phys. 78 (2006),
    sections II.B to II.D; Lin, Saad and Yang, Approximating spectral densities of large matrices,
    SIAM Review 58 (2016), section 3.
Deviations
    The cumulative distribution integrates the series term by term, and a count's error includes the
    smearing by the kernel, estimated by halving the degree.
Cost
    ``degree / 2`` matvecs per probe (two moments each), all probes in one block of vectors; one
    reduction per matvec; 3 blocks.

`Spectrum` (Gauss quadrature of a Lanczos run) counts better for the same products: it resolves what
the kernel smears over ``pi / degree`` of the interval. A KPM density has no free joints: it is a
trigonometric polynomial, the same resolution everywhere, and one pass over A serves all probes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spectool._types import Array, FloatArray, Interval, Rng
from spectool.errors import InputError
from spectool.operators import AssumeA, Operator, as_operator
from spectool.polynomials.chebyshev import checked_degree
from spectool.polynomials.filters import jackson_damping
from spectool.spectrum.estimate import probe, random_start
from spectool.spectrum.spectrum import CountEstimate, Spectrum


@dataclass(frozen=True, slots=True, eq=False)
class KpmDensity:
    """A spectral density as a damped Chebyshev series.

    Attributes
    ----------
    n : int
        Size of the operator.
    interval : tuple of float
        ``(lower, upper)``: where the series lives; holds the spectrum.
    moments : ndarray, shape (n_probes, degree + 1)
        ``v* T_k(A) v`` per probe, A mapped to [-1, 1] and v of norm 1.
    n_matvecs : int
        Products with A spent.
    """

    n: int
    interval: Interval
    moments: FloatArray = field(repr=False)
    n_matvecs: int

    @property
    def degree(self) -> int:
        """Highest Chebyshev moment; features narrower than ``pi / degree`` are smeared."""
        return self.moments.shape[1] - 1

    @property
    def n_probes(self) -> int:
        """Random vectors used."""
        return self.moments.shape[0]

    def __str__(self) -> str:
        lower, upper = self.interval
        return (
            f"{self.n} eigenvalues in [{lower:.6g}, {upper:.6g}]: KPM density of degree "
            f"{self.degree} from {self.n_probes} probes, {self.n_matvecs} matvecs"
        )

    def _angle(self, x: Any) -> FloatArray:
        lower, upper = self.interval
        points = np.asarray(x, dtype=np.float64)
        return np.arccos(np.clip((2.0 * points - lower - upper) / (upper - lower), -1.0, 1.0))

    def _heights(self, x: Any, degree: int) -> FloatArray:
        """Return the cumulative distribution of each probe, shape (n_probes,) + shape of x."""
        angle = self._angle(x)
        k = np.arange(1, degree + 1)
        c = -2.0 * (jackson_damping(degree) * self.moments[:, : degree + 1])[:, 1:] / k
        return (np.pi - angle + np.tensordot(c, np.sin(np.multiply.outer(k, angle)), 1)) / np.pi

    def cumulative(self, x: Any) -> FloatArray:
        """Return the estimated fraction of eigenvalues at most x; shape of x."""
        return np.asarray(np.clip(self._heights(x, self.degree).mean(axis=0), 0.0, 1.0))

    def density(self, x: Any) -> FloatArray:
        """Return the estimated spectral density, shape of x; it integrates to 1 (unit 1 / A)."""
        lower, upper = self.interval
        points = np.asarray(x, dtype=np.float64)
        angle = self._angle(points)
        c = 2.0 * jackson_damping(self.degree) * self.moments.mean(axis=0)
        series = 1.0 + np.tensordot(
            c[1:], np.cos(np.multiply.outer(np.arange(1, self.degree + 1), angle)), 1
        )
        inside = (points > lower) & (points < upper)
        root = np.where(inside, np.sin(angle), 1.0)
        # Jackson's kernel is nonnegative, so only rounding can take the series below zero.
        return np.where(inside, np.maximum(series, 0.0) * 2.0 / (np.pi * root * (upper - lower)), 0)

    def count(self, lo: float, hi: float) -> CountEstimate:
        """Estimate how many eigenvalues lie in (lo, hi], with its standard error.

        Raises
        ------
        InputError
            Unless lo < hi.

        Notes
        -----
        The error holds the randomness of the probes, as of ``Spectrum.count``, and for each end how
        far half the degree would have moved it.
        """
        if not lo < hi:
            raise InputError(f"count needs lo < hi; got ({lo}, {hi}).")
        heights = self._heights([lo, hi], self.degree).mean(axis=0)
        fraction = min(max(float(heights[1] - heights[0]), 0.0), 1.0)
        variance = 2.0 * fraction * (1.0 - fraction) / (self.n + 2.0) / self.n_probes
        if self.degree > 1:
            coarse = self._heights([lo, hi], self.degree // 2).mean(axis=0)
            variance += float(np.sum((heights - coarse) ** 2))
        return CountEstimate(self.n * fraction, self.n * math.sqrt(variance))


def kpm_density(
    A: Any,
    *,
    degree: int = 128,
    n_probes: int = 8,
    spectrum: Spectrum | None = None,
    assume_a: AssumeA | None = None,
    rng: Rng = None,
) -> KpmDensity:
    """Estimate the spectral density by the kernel polynomial method, Jackson kernel.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian, definite or not.
    degree : int
        Highest Chebyshev moment; the density is smeared over ``pi / degree`` half-widths of the
        interval.
    n_probes : int
        Random vectors, moved through A as one block.
    spectrum : Spectrum, optional
        A probe of A made before; saves the 24 matvecs that find the interval.
    assume_a : {"her", "pos"}, optional
        Declares A's structure; without it symmetry is tested.
    rng : Generator, int or None
        Seeds the vectors.

    Returns
    -------
    KpmDensity
        With ``density(x)``, ``cumulative(x)`` and ``count(lo, hi)``.

    Raises
    ------
    InputError
        If A is not square, finite and Hermitian, an option is out of range, or the spectrum is of
        another size or scaled.

    Notes
    -----
    Cost: ``ceil(degree / 2)`` matvecs per probe, since ``T_2k = 2 T_k^2 - 1`` [1]_; 3 blocks of
    shape (n, n_probes). Standard error of a mean of g over the spectrum: ``sqrt(2 / (n n_probes))``
    times the deviation of g.

    References
    ----------
    .. [1] Weisse et al., Rev. Mod. Phys. 78 (2006), equations (34) and (35).

    Examples
    --------
    >>> import spectool as st
    >>> from spectool.spectrum.kpm import kpm_density
    >>> d = kpm_density(st.gallery.poisson((30, 30)), degree=64, rng=141592653)
    >>> count = d.count(2.0, 6.0)  # 572 eigenvalues
    >>> abs(count.value - 572) < 3 * count.standard_error
    True
    """
    operator = as_operator(A, assume_a=assume_a)
    d = checked_degree(degree, least=1)
    if isinstance(n_probes, bool) or int(n_probes) != n_probes or n_probes < 1:
        raise InputError(f"n_probes must be a positive integer; got {n_probes!r}.")
    if spectrum is not None and (not isinstance(spectrum, Spectrum) or spectrum.n != operator.n):
        raise InputError(f"spectrum must be a Spectrum of size {operator.n}; got {spectrum!r}.")
    if spectrum is not None and spectrum.scaling is not None:
        raise InputError("spectrum describes D^-1/2 A D^-1/2; pass estimate_spectrum(A).")
    generator = np.random.default_rng(rng)
    if spectrum is None:
        spectrum = probe(operator, rng=generator)
    V = np.stack([random_start(operator, generator) for _ in range(int(n_probes))], axis=1)
    moments = _moments(operator, V / np.linalg.norm(V, axis=0), spectrum.interval, d)
    return KpmDensity(operator.n, spectrum.interval, moments, operator.n_matvecs)


def _moments(operator: Operator, V: Array, interval: Interval, degree: int) -> FloatArray:
    """Return ``v* T_k v``, k = 0 .. degree, for the unit columns v of V, shape (m, degree + 1)."""
    center, half = 0.5 * (interval[1] + interval[0]), 0.5 * (interval[1] - interval[0])

    def mapped(T: Array) -> Array:
        return (operator.matmul(T) - center * T) / half

    def dots(X: Array, Y: Array) -> FloatArray:
        return np.einsum("ij,ij->j", X.conj(), Y).real.astype(np.float64)

    moments = np.empty((degree + 2, V.shape[1]))
    earlier, current = V, mapped(V)
    moments[0], moments[1] = 1.0, dots(V, current)
    for k in range(1, (degree + 1) // 2 + 1):
        moments[2 * k] = 2.0 * dots(current, current) - moments[0]
        if 2 * k + 1 > degree:
            break
        earlier, current = current, 2.0 * mapped(current) - earlier
        moments[2 * k + 1] = 2.0 * dots(current, earlier) - moments[1]
    return np.ascontiguousarray(moments[: degree + 1].T)
