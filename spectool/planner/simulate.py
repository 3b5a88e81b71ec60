"""Iteration counts on the virtual operator: conjugate gradients on a sampled spectrum.

With a random right-hand side CG on A has the same law as CG on diag(eigenvalues); only the
spectrum's shape matters, and the probe has sketched it. Absolute counts are good to a factor of
about two (the low end is unseen); what is used is their ranking.
"""

from __future__ import annotations

import numpy as np

from spectool._types import FloatArray
from spectool.kernels.virtual import pcg_iterations
from spectool.polynomials import Recurrence
from spectool.spectrum import Spectrum

NODES = 192
MAXITER = 20_000


def virtual_operator(spectrum: Spectrum) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights, each shape (NODES,), of a virtual operator.

    Fractions are spaced evenly on the logistic scale, so that both ends are sampled down to single
    eigenvalues; weights are the fractions each node stands for.
    """
    reach = np.log(2.0 * spectrum.n + 2.0)
    edges = 1.0 / (1.0 + np.exp(-np.linspace(-reach, reach, NODES + 1)))
    edges[0], edges[-1] = 0.0, 1.0
    nodes = spectrum.quantile(0.5 * (edges[1:] + edges[:-1]))
    return np.maximum(nodes, 1e-14 * spectrum.interval[1]), np.diff(edges)


def simulate_cg(
    nodes: FloatArray, weights: FloatArray, recurrence: Recurrence, *, rtol: float = 1e-8
) -> int:
    """Return CG's iterations to rtol with ``M = p(A)`` on a virtual operator (at most MAXITER).

    Cost: about 6 flops per node and iteration, no product with A.
    """
    return pcg_iterations(
        nodes,
        np.ascontiguousarray(recurrence(nodes), dtype=np.float64),
        np.sqrt(weights),
        np.empty_like(nodes),
        rtol,
        MAXITER,
    )
