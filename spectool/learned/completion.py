"""The completed spectrum: what the probe did not see, guessed by a network, and CG simulated on it.

Source
    Our own. The classical guess is the probe's smooth distribution, continued by a power law below
    the first Ritz value; the network corrects it.
Deviations
    Corrections are interpolated, not quantiles, so that what the probe has resolved, isolated
    eigenvalues at the upper end above all, stays. The lowest eigenvalue is capped by the smallest
    Ritz value, which lies inside the spectrum, and the result is made monotone.
Cost
    One network, and at most 2048 nodes times six operations per simulated iteration.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spectool._types import FloatArray
from spectool.kernels.virtual import pcg_iterations
from spectool.learned.features import Probe, probe_features, scaled_probe
from spectool.learned.model import Network, network
from spectool.polynomials import Recurrence
from spectool.spectrum import Spectrum

LEVELS = np.concatenate([[0.0], np.logspace(-4.0, -1.0, 17), np.linspace(0.15, 1.0, 14)])
"""Fractions whose quantiles are predicted; the first stands for the lowest eigenvalue."""
NODES = 2048
MAXITER = 20_000


def completion_features(
    spectrum: Spectrum, probe: Probe, *, shared: FloatArray | None = None
) -> FloatArray:
    """Return the probe's features, or those given, and classical quantiles, shape (SIZE + 32,)."""
    if shared is None:
        shared = probe_features(probe, complete=spectrum.complete)
    return np.concatenate([shared, classical_quantiles(spectrum, probe)])


def classical_quantiles(spectrum: Spectrum, probe: Probe) -> FloatArray:
    """Return log10 quantiles of the probe's own distribution, over the upper end, shape (32,)."""
    levels = np.maximum(LEVELS, 0.5 / spectrum.n)
    values = spectrum.quantile(np.minimum(levels, 1.0)) / probe.upper
    return np.log10(np.clip(values, 1e-14, 1.0))


class CompletedSpectrum(NamedTuple):
    """A virtual spectrum: nodes ascending over the likely upper end, and their weights, (m,)."""

    nodes: FloatArray
    weights: FloatArray
    upper: float

    def cg_iterations(self, recurrence: Recurrence | None, *, rtol: float = 1e-8) -> int:
        """Return CG's iterations on it with ``M = p(A)``, p in the unit of A."""
        values = self.upper * self.nodes
        weights = np.ones_like(values) if recurrence is None else recurrence(values) * self.upper
        return pcg_iterations(
            self.nodes,
            np.ascontiguousarray(weights, dtype=np.float64),
            np.sqrt(self.weights),
            np.empty_like(self.nodes),
            rtol,
            MAXITER,
        )

    def log_overhead(self, recurrence: Recurrence, plain: int) -> float:
        """Return the logarithm of predicted matvecs over those of plain CG."""
        count = self.cg_iterations(recurrence) * (recurrence.degree + 1)
        return float(np.log(max(count, 1) / max(plain, 1)))


def completed(
    spectrum: Spectrum, *, probe: Probe | None = None, net: Network | None = None
) -> CompletedSpectrum:
    """Guess the whole spectrum from a probe.

    Parameters
    ----------
    spectrum : Spectrum
        With positive Ritz values.
    probe : Probe, optional
        `scaled_probe` of it.
    net : Network, optional
        The one that is shipped by default.

    Returns
    -------
    CompletedSpectrum
        At most about 2048 nodes; one per eigenvalue up to that size. The Ritz values where they
        are all the eigenvalues there are.
    """
    probe = scaled_probe(spectrum) if probe is None else probe
    if spectrum.complete:
        nodes = np.clip(spectrum.ritz_values / probe.upper, 1e-14, 1.0)
        weights = np.maximum(spectrum.weights, np.finfo(np.float64).tiny)
        return CompletedSpectrum(nodes, weights / weights.sum(), probe.upper)
    row = completion_features(spectrum, probe)
    corrections = (net or network("completion"))(row)[0]
    counts = grouped(spectrum.n, NODES)
    heights = (np.cumsum(counts) - 0.5 * counts) / spectrum.n
    values = np.log10(np.clip(spectrum.quantile(heights) / probe.upper, 1e-14, 1.0))
    levels = np.log(np.maximum(LEVELS, 0.5 / spectrum.n))
    values += np.interp(np.log(heights), levels, corrections)
    values[0] = min(values[0], np.log10(probe.lowest))
    nodes = 10.0 ** np.maximum.accumulate(np.clip(values, -14.0, 0.0))
    return CompletedSpectrum(nodes, counts / spectrum.n, probe.upper)


def grouped(n: int, most: int) -> FloatArray:
    """Return how many of n eigenvalues each of about ``most`` nodes stands for.

    One at either end, more between: evenly spaced on the logistic scale of the distribution.
    """
    if n <= most:
        return np.ones(n)
    edges = n / (1.0 + np.exp(-np.linspace(-1.0, 1.0, most) * np.log(n)))
    edges = np.unique(np.concatenate([[0.0], np.round(edges), [float(n)]]))
    return np.diff(edges)
