"""Features of a spectrum: numbers of fixed length and no unit, from a probe alone.

Source
    Our own; that quadrature rules of fewer nodes follow from the leading block of the Jacobi matrix
    is Golub and Welsch, Math. Comp. 23 (1969).
Cost
    O(m^3) for m Ritz values; no products with A.

A probe of more than 24 steps is cut to what 24 would have seen: its Jacobi matrix is rebuilt from
Ritz values and weights, and the leading block kept. Shorter ones are stretched by interpolation,
and their length is a feature. Everything is divided by the likely upper end, the largest Ritz value
plus its residual, so that the unit of A cancels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.polynomials.chebyshev import checked_degree
from spectool.spectrum import Spectrum

SLOTS = 24
"""Places that a probe's sequences take, whatever its length."""
QUANTILES = 19
"""Quantiles of the Gauss measure."""
BLOCKS = (
    ("ritz_values", SLOTS),
    ("weights", SLOTS),
    ("residuals", SLOTS),
    ("alpha", SLOTS),
    ("beta", SLOTS),
    ("quantiles", QUANTILES),
    ("summary", 6),
)
"""What `features` holds, in order, with lengths."""
SIZE = sum(length for _, length in BLOCKS)
DEGREE_SIZE = 2
SMALLEST = 1e-16
"""Ratios below this one are rounding."""


ROUNDING = 1e3 * float(np.finfo(np.float64).eps)
"""Negative Ritz values down to this ratio are zero: A is semidefinite."""


class Probe(NamedTuple):
    """A probe in units of the likely upper end, of at most 24 Ritz values.

    ``theta``, ``residuals``, ``weights`` and ``alpha`` have shape (m,), as has ``beta``, whose last
    entry is the norm of the residual; ``n`` is the size of the operator. ``upper`` is the unit, the
    largest Ritz value plus its residual: no bound, but of 84 probes with 16 steps or more none was
    below the largest eigenvalue. ``safe`` is the safe upper end, at least 1, in that unit.
    """

    theta: FloatArray
    residuals: FloatArray
    weights: FloatArray
    alpha: FloatArray
    beta: FloatArray
    n: int
    upper: float
    safe: float

    @property
    def lowest(self) -> float:
        """The smallest Ritz value, in units of the upper end; at least SMALLEST."""
        return max(float(self.theta[0]), SMALLEST)

    @property
    def seen(self) -> float:
        """Where the smallest Ritz value less its residual lies, or zero below that."""
        return max(float(self.theta[0] - self.residuals[0]), 0.0)

    def in_unit(self, upper: float) -> Probe:
        """Return the same probe in another unit."""
        ratio = self.upper / upper
        return Probe(
            ratio * self.theta,
            ratio * self.residuals,
            self.weights,
            ratio * self.alpha,
            ratio * self.beta,
            self.n,
            upper,
            self.safe * ratio,
        )


def scaled_probe(spectrum: Spectrum) -> Probe:
    """Return the probe in units of the likely upper end, cut to 24 Ritz values.

    Several probes are one measure: the nodes of their average.

    Raises
    ------
    InputError
        If the spectrum has a negative Ritz value, rounding apart.
    """
    safe = spectrum.interval[1]
    upper = min(float((spectrum.ritz_values + spectrum.ritz_residuals).max()), safe)
    least = -ROUNDING * max(abs(upper), abs(safe))
    if not (np.isfinite(upper) and upper > 0 and float(spectrum.ritz_values[0]) >= least):
        raise InputError(
            "learned designs need a positive spectrum; the smallest Ritz value is "
            f"{float(spectrum.ritz_values[0]):.6g}. Use method='auto'."
        )
    theta = np.maximum(np.asarray(spectrum.ritz_values, dtype=np.float64) / upper, SMALLEST)
    residuals = np.asarray(spectrum.ritz_residuals, dtype=np.float64) / upper
    weights = np.maximum(spectrum.weights, 0.0)
    weights = weights / weights.sum()
    # The residual norms of one Jacobi matrix are beta times a unit row; several share the average.
    last = float(np.linalg.norm(residuals)) / np.sqrt(spectrum.n_probes)
    alpha, beta = jacobi_matrix(theta, weights, last)
    if theta.size > SLOTS or alpha.size < theta.size:
        alpha, beta = alpha[:SLOTS], beta[:SLOTS]
        nodes, S = eigh_tridiagonal(alpha, beta[:-1])
        theta = np.clip(np.asarray(nodes, dtype=np.float64), SMALLEST, 1.0)
        residuals, weights = np.abs(S[-1]) * beta[-1], S[0] ** 2
    return Probe(theta, residuals, weights, alpha, beta, spectrum.n, upper, safe / upper)


def jacobi_matrix(
    theta: FloatArray, weights: FloatArray, last: float
) -> tuple[FloatArray, FloatArray]:
    """Return alpha and beta, shape (k,), of the measure; ``last`` ends beta where k is its size.

    Reorthogonalized Lanczos on ``diag(theta)``; k is less where nodes repeat or weigh nothing.
    """
    m = theta.size
    basis = np.zeros((m, m + 1))
    basis[:, 0] = np.sqrt(weights)
    alpha, beta = np.zeros(m), np.zeros(m)
    for k in range(m):
        v = theta * basis[:, k]
        alpha[k] = basis[:, k] @ v
        for _ in range(2):
            v = v - basis[:, : k + 1] @ (basis[:, : k + 1].T @ v)
        norm = float(np.linalg.norm(v))
        if k + 1 == m or norm <= 1e-14 * float(theta[-1]):
            beta[k] = last
            return alpha[: k + 1], beta[: k + 1]
        beta[k] = norm
        basis[:, k + 1] = v / norm
    return alpha, beta


def features(spectrum: Spectrum) -> FloatArray:
    """Return what the networks see of a spectrum.

    Parameters
    ----------
    spectrum : Spectrum
        Of a positive semidefinite operator; any number of probes and steps.

    Returns
    -------
    ndarray, shape (145,)
        Blocks in the order of ``BLOCKS``: logarithms (base 10) of Ritz values over the upper end,
        of weights (a quarter), of residuals over Ritz values (a quarter), each at 24 places; alpha
        and beta over the upper end at 24 places; 19 quantiles of the logarithm of Ritz values under
        their weights; and a summary: log10 n, the mean over the upper end, the share of 24 steps
        that were made, ten times log10 of the safe over the likely upper end, log10 of the smallest
        Ritz value less its residual, and whether the probe was complete. No unit.

    Raises
    ------
    InputError
        If a Ritz value is negative, rounding apart.

    Examples
    --------
    >>> import spectool as st
    >>> A = st.gallery.poisson((30, 30))
    >>> a = features(st.estimate_spectrum(A, rng=161803398))
    >>> b = features(st.estimate_spectrum(2.0**40 * A, rng=161803398))
    >>> a.shape, bool(abs(a - b).max() < 1e-9)
    ((145,), True)
    """
    return probe_features(scaled_probe(spectrum), complete=spectrum.complete)


def probe_features(probe: Probe, *, complete: bool = False) -> FloatArray:
    """Return `features` of a probe that is scaled already."""
    theta = np.clip(probe.theta, SMALLEST, None)
    weights = np.clip(probe.weights, SMALLEST, 1.0)
    ratio = np.clip(probe.residuals / theta, SMALLEST, 1e4)
    log_theta = np.log10(theta)
    heights = np.cumsum(weights) - 0.5 * weights
    levels = (np.arange(QUANTILES) + 1.0) / (QUANTILES + 1.0)
    summary = [
        np.log10(probe.n),
        float(weights @ theta),
        min(probe.theta.size, SLOTS) / SLOTS,
        10.0 * float(np.log10(probe.safe)),
        float(np.log10(max(probe.seen, 1e-3 * probe.lowest))),
        float(complete),
    ]
    return np.concatenate(
        [
            _stretched(log_theta),
            _stretched(np.log10(weights) / 4.0),
            _stretched(np.log10(ratio) / 4.0),
            _stretched(probe.alpha),
            _stretched(probe.beta),
            np.interp(levels, heights, log_theta),
            summary,
        ]
    )


def degree_features(lowest: float, degree: int) -> FloatArray:
    """Return what the selector sees of a degree, shape (2,).

    Parameters
    ----------
    lowest : float
        Smallest Ritz value over the upper end.
    degree : int
        Products with A per application.
    """
    m = checked_degree(degree) + 1
    return np.array([np.log2(m), np.log10(max(lowest, SMALLEST) * m * m)])


def _stretched(values: FloatArray) -> FloatArray:
    """Return a sequence at SLOTS places, itself if it has as many."""
    if values.size == SLOTS:
        return values
    places = (np.arange(SLOTS) + 0.5) / SLOTS
    return np.interp(places, (np.arange(values.size) + 0.5) / values.size, values)
