"""How safe and how sharp the ends of a probe are, against eigenvalues that are known.

1. Every real symmetric matrix of the collection found on this machine (``SPECTOOL_DATA`` adds
   folders) with at most MAX_N rows is probed from several seeds.
2. DRAWS diagonal operators of random size and density (uniform, beta, log-uniform, clusters,
   outliers at either end, mixtures), known by their products only, so that no disc of Gershgorin
   helps, are probed once each.

Counted: draws where an end of the interval is no bound, and where the usual choice, the largest
Ritz value plus its residual, is none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

import spectool as st
from spectool._types import FloatArray

Case = tuple[Any, FloatArray, int]

MAX_N, SEEDS, SEED, DRAWS = 2_500, 20, 480_215_937, 12_000
STEPS = (24, 16)


def main(draws: int = DRAWS) -> None:
    """Print one line per probe length, for the collection and for random spectra."""
    for steps in STEPS:
        print("collection:", Tally(steps).over(_collection()))
    for steps in STEPS:
        print("random spectra:", Tally(steps).over(_random_spectra(draws)))


class Tally:
    """Counts violations of probes of one length."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.violated, self.naive = 0, 0
        self.excess: list[float] = []

    def over(self, cases: Iterable[Case]) -> str:
        """Probe every (operator, eigenvalues, seed) and return the sentence."""
        for A, truth, seed in cases:
            spectrum = st.estimate_spectrum(A, steps=self.steps, assume_a="her", rng=seed)
            size = np.abs(truth).max()
            slack = 1e-10 * size  # eigvalsh's own error, generously
            low, high = spectrum.interval
            self.violated += bool(high < truth[-1] - slack) + bool(low > truth[0] + slack)
            top = spectrum.ritz_values[-1] + spectrum.ritz_residuals[-1]
            self.naive += bool(top < truth[-1] - slack)
            self.excess.append((high - truth[-1]) / size)
        return (
            f"{self.steps} steps, {len(self.excess)} draws: {self.violated} violated ends; "
            f"theta + residual violated {self.naive} times; over-estimate of the upper end: median "
            f"{np.median(self.excess):.2%}, 95% quantile {np.quantile(self.excess, 0.95):.2%}"
        )


def _collection() -> Iterator[Case]:
    for entry in st.collection.search(symmetric=True, max_rows=MAX_N):
        if entry.field == "real":
            A = st.collection.load(entry.name)
            truth = np.linalg.eigvalsh(A.toarray())
            for seed in range(SEED, SEED + SEEDS):
                yield A, truth, seed


def _random_spectra(draws: int) -> Iterator[Case]:
    for seed in range(SEED, SEED + draws):
        rng = np.random.default_rng(seed)
        n = int(np.exp(rng.uniform(np.log(50), np.log(2000))))
        lam = np.sort(DENSITIES[seed % len(DENSITIES)](rng, n))
        if rng.random() < 0.25:
            lam = np.sort(-lam)
        yield _diagonal(lam), lam, seed


def _diagonal(lam: FloatArray) -> LinearOperator:
    return LinearOperator((lam.size, lam.size), matvec=lambda x: lam * x.ravel(), dtype=np.float64)


def _clusters(rng: np.random.Generator, n: int) -> FloatArray:
    centers = rng.random(rng.integers(1, 30))
    return rng.choice(centers, n) * (1 + 10.0 ** rng.uniform(-14, -2) * rng.random(n))


def _outliers(rng: np.random.Generator, n: int) -> FloatArray:
    lam = rng.random(n)
    k = min(int(rng.integers(1, 6)), n)
    lam[:k] = 1 + 10.0 ** rng.uniform(-3, 3) * rng.random(k)
    return lam


def _mixture(rng: np.random.Generator, n: int) -> FloatArray:
    scales = 10.0 ** rng.uniform(-6, 0, 4)
    return rng.choice(scales, n) * (1 + 0.5 * rng.standard_normal(n))


DENSITIES: tuple[Callable[[np.random.Generator, int], FloatArray], ...] = (
    lambda rng, n: rng.random(n),
    lambda rng, n: rng.beta(*rng.uniform(0.3, 6.0, 2), n),
    lambda rng, n: 10.0 ** (-rng.uniform(1, 10) * rng.random(n)),
    lambda rng, n: rng.standard_normal(n),
    lambda rng, n: rng.standard_exponential(n),
    _clusters,
    _outliers,
    _mixture,
)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
