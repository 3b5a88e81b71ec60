"""Iteration counts on the virtual operator: CG and MINRES on a sampled spectrum.

With a random right-hand side CG on A has the same law as CG on diag(eigenvalues); only the
spectrum's shape matters, and the probe has sketched it. The low end is extrapolated: from 40
iterations on, eight of ten absolute counts were 0.7 to 3.2 times the true ones, the worst 10 times
(``benchmarks/calibration.py``). What is used are ratios to Jacobi's, eight of ten of which were
right to 20 percent, and in the median to 3, provided there are more nodes than iterations: with
fewer CG terminates on the nodes, which favors plain CG.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spectool._types import FloatArray
from spectool.kernels.virtual import minres_iterations, pcg_iterations
from spectool.polynomials import Recurrence
from spectool.spectrum import Spectrum

NODES = 1024
MAXITER = 5_000
HARDEST = 1e4
"""Condition number above which the spectrum is squeezed to this one. All counts grow alike, like
its square root, while degrees stay far below that; the simulation takes a few milliseconds."""
HARDEST_INDEFINITE = 500.0
"""The same on both sides of zero, where counts grow like the condition number itself."""


@dataclass(frozen=True, eq=False)
class VirtualOperator:
    """A diagonal stand-in for A.

    Attributes
    ----------
    nodes, weights : ndarray, shape (m,)
        Eigenvalues, and the fractions of the spectrum they stand for.
    stretch : float
        What iteration counts on it are multiplied with.
    """

    nodes: FloatArray
    weights: FloatArray
    stretch: float

    @classmethod
    def of(cls, spectrum: Spectrum) -> VirtualOperator:
        """Sample a probed spectrum that is positive."""
        nodes, weights = sampled(spectrum)
        upper = spectrum.interval[1]
        lowest = max(float(nodes[0]), 1e-14 * upper)
        nodes = np.maximum(nodes, lowest)
        stretch = max(1.0, float(np.sqrt(upper / (HARDEST * lowest))))
        if stretch > 1:
            # Squeeze the lower decades; to cut them off would leave a single node that CG deflates.
            knee = upper / 10
            power = np.log(HARDEST / 10) / np.log(knee / lowest)
            nodes = np.where(nodes < knee, knee * (nodes / knee) ** power, nodes)
        return cls(nodes, weights, stretch)

    @classmethod
    def indefinite(cls, spectrum: Spectrum) -> VirtualOperator:
        """Sample a spectrum that lies on both sides of zero, for MINRES.

        A short probe does not see how close eigenvalues come to zero; they are taken to be as dense
        there as around.
        """
        nodes, weights = sampled(spectrum)
        size = np.abs(nodes)
        largest = float(size.max())
        lowest = max(float(size.min()), 0.25 * largest / spectrum.n)
        stretch = max(1.0, largest / (HARDEST_INDEFINITE * lowest))
        size = np.maximum(size, lowest)
        if stretch > 1:
            knee = largest / 10
            power = np.log(HARDEST_INDEFINITE / 10) / np.log(knee / lowest)
            size = np.where(size < knee, knee * (size / knee) ** power, size)
        return cls(np.where(nodes < 0, -size, size), weights, stretch)

    def cg_iterations(self, recurrence: Recurrence, *, rtol: float = 1e-8) -> int:
        """Return CG's iterations to rtol with ``M = p(A)``; no product with A is made."""
        return self._counted(np.ascontiguousarray(recurrence(self.nodes), dtype=np.float64), rtol)

    @cached_property
    def plain_iterations(self) -> int:
        """CG's iterations to 1e-8 without a preconditioner, at least one."""
        return max(self._counted(np.ones_like(self.nodes), 1e-8), 1)

    def _counted(self, preconditioner: FloatArray, rtol: float) -> int:
        steps = pcg_iterations(
            self.nodes,
            preconditioner,
            np.sqrt(self.weights),
            np.empty_like(self.nodes),
            rtol,
            MAXITER,
        )
        return round(steps * self.stretch)

    def minres_iterations(self, recurrence: Recurrence, *, rtol: float = 1e-8) -> int:
        """Return MINRES's iterations to rtol with a positive ``M = p(A)``."""
        preconditioner = np.asarray(recurrence(self.nodes), dtype=np.float64)
        if not (preconditioner > 0).all():
            return MAXITER
        counted = minres_iterations(
            self.nodes * preconditioner,
            np.sqrt(self.weights * preconditioner),
            np.zeros_like(self.nodes),
            rtol,
            MAXITER,
        )
        return round(counted * self.stretch)


def chebyshev_bound(values: FloatArray, residuals: FloatArray, rtol: float) -> float:
    """CG's iterations by the Chebyshev bound on Ritz values; inf while the low end is unresolved.

    Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., equation (6.128).
    """
    low, high = float(values[0] - residuals[0]), float(values[-1] + residuals[-1])
    if low <= 0:
        return np.inf
    return float(np.ceil(0.5 * np.sqrt(high / low) * np.log(2.0 / rtol)))


def sampled(spectrum: Spectrum) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues, and fractions spaced evenly on the logistic scale that they stand for.

    Both ends are thus sampled down to single eigenvalues.
    """
    m = min(NODES, max(spectrum.n, 2))
    reach = np.log(2.0 * spectrum.n + 2.0)
    edges = 1.0 / (1.0 + np.exp(-np.linspace(-reach, reach, m + 1)))
    edges[0], edges[-1] = 0.0, 1.0
    return spectrum.quantile(0.5 * (edges[1:] + edges[:-1])), np.diff(edges)
