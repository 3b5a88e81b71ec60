"""How many steps polar iterations need on ten spectra: schedules, and methods that look.

Counted are steps of three products until ``||I - X^T X||_F <= 1e-8``, from ``X / ||X||_F``, in
double precision (cubic PRISM: of two products). Schedules run on the singular values, methods that
sketch on diagonal matrices, which no sketch can tell from others. A second table is for heavy tails
(``gallery.heavy_tailed``) in single precision, on dense matrices.

NS5 is the quintic Newton-Schulz iteration. PE is Polar Express: as published (its table, and inputs
divided by 1.01 of their norm), composed for the lower bounds 0.1 and 1e-7, and for the true one.
PRISM3 and PRISM5 are as published; PRISM5+ divides by a norm at the first step, which KPE and the
hybrid do too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

import spectool as st
from spectool._types import Array, FloatArray
from spectool.dense.coefficients import POLAR_EXPRESS, polar_express
from spectool.dense.problems import Problem
from spectool.dense.run import Method, Run, iterate
from spectool.dense.sketch import Hybrid, KrylovMinimax, Prism
from spectool.results import Status

SEED = 318_604_927
TOLERANCE = 1e-8
MAXITER = 80
TAYLOR = (15.0 / 8.0, -10.0 / 8.0, 3.0 / 8.0)
CUSHION = 0.02407327424182761
METHODS: dict[str, Method] = {
    "PRISM3": Prism(1, rescale=False),
    "PRISM5": Prism(rescale=False),
    "PRISM5+": Prism(),
    "KPE": KrylovMinimax(),
    "hybrid": Hybrid(),
}
HEADS = ("NS5", "PE", "PE .1", "PE 1e-7", "oracle", *METHODS)


def main() -> None:
    """Print both tables."""
    print(f"{'spectrum':18s} {'min/F':>7s} " + " ".join(f"{head:>7s}" for head in HEADS))
    for name, sigma in spectra():
        counts = [*schedule_counts(sigma), *(steps(np.diag(sigma), m) for m in METHODS.values())]
        row = " ".join(f"{count:7d}" for count in counts)
        print(f"{name:18s} {sigma.min():7.0e} {row}", flush=True)
    print("\nheavy tails, 2000 x 1000, single precision: steps to ||R||_F <= 1e-2 / 1e-4")
    print(f"{'kappa':>7s} " + " ".join(f"{name:>9s}" for name in METHODS))
    for kappa in (0.1, 0.5, 100.0):
        G = st.gallery.heavy_tailed(2000, 1000, kappa, rng=SEED).astype(np.float32)
        G /= np.linalg.norm(G)
        counted = [steps_to(G, method, (1e-2, 1e-4)) for method in METHODS.values()]
        print(
            f"{kappa:7g} " + " ".join(f"{'/'.join(map(str, c)):>9s}" for c in counted), flush=True
        )


def spectra() -> Iterator[tuple[str, FloatArray]]:
    """Yield names and singular values with Frobenius norm 1."""
    rng = np.random.default_rng(SEED)
    for m, n in ((800, 800), (1600, 400), (5000, 100)):
        sigma = np.linalg.svd(rng.standard_normal((m, n)), compute_uv=False)
        yield f"Gaussian {m // n}:1", sigma / np.linalg.norm(sigma)
    for decades in (2, 4, 6, 8):
        sigma = np.logspace(0, -decades, 400)
        yield f"log-uniform 1e{decades}", sigma / np.linalg.norm(sigma)
    j = np.arange(1, 401.0)
    others = {"399 and one 1e-4": np.r_[np.ones(399), 1e-4], "1/j": 1 / j, "1/j^2": 1 / j**2}
    for name, sigma in others.items():
        yield name, sigma / np.linalg.norm(sigma)


def schedule_counts(sigma: FloatArray) -> Iterator[int]:
    """Yield the counts of the five schedules."""
    published = [*POLAR_EXPRESS, TAYLOR, TAYLOR]
    safe = [(a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in published[:-1]]
    yield scheduled(sigma, [TAYLOR])
    yield scheduled(sigma / 1.01, [*safe, published[-1]])
    for lower in (0.1, 1e-7):
        yield scheduled(sigma, polar_express(lower, 14, cushion=CUSHION))
    yield scheduled(sigma, polar_express(0.99 * float(sigma.min()), 40, cushion=CUSHION))


def scheduled(sigma: FloatArray, steps: Sequence[Sequence[float]]) -> int:
    """Return how many steps a schedule takes; its last step is repeated."""
    for k in range(MAXITER):
        if np.linalg.norm(1.0 - sigma**2) <= TOLERANCE:
            return k
        a, b, c = steps[min(k, len(steps) - 1)]
        sigma = sigma * (a + sigma**2 * (b + sigma**2 * c))
    return MAXITER


def steps(X: Array, method: Method) -> int:
    """Return how many steps a method takes for the polar factor of X."""
    run = started(X)
    status = iterate(run, method, rtol=TOLERANCE / X.shape[1] ** 0.5, maxiter=MAXITER)
    return len(run.taken) if status is Status.CONVERGED else MAXITER


def steps_to(X: Array, method: Method, tolerances: Sequence[float]) -> list[int]:
    """Return after how many steps the residual first was at most each tolerance."""
    run, root = started(X), math.sqrt(X.shape[1])
    iterate(run, method, rtol=min(tolerances) / root, maxiter=MAXITER)
    norms = np.asarray(run.history) * root
    return [int(np.argmax(norms <= tolerance)) for tolerance in tolerances]


def started(X: Array) -> Run:
    """Return a run at its start: X has norm 1."""
    problem = Problem("polar")
    o = problem.algebra(X, hermitian=False)
    return Run(problem, o, problem.variables(o, X), np.random.default_rng(SEED))


if __name__ == "__main__":
    main()
