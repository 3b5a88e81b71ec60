"""Hypothesis strategies that draw spectra, not entries.

A random matrix has a bland spectrum; what breaks solvers is written in eigenvalues. So families of
spectra are drawn, and operators are built from them: diagonal, or rotated by sparse random
rotations (``gallery.random_spectrum``), which keeps the eigenvalues.
"""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as hs
from scipy import sparse

from spectool import gallery


class Problem(NamedTuple):
    A: sparse.csr_array
    eigenvalues: np.ndarray
    seed: int


def _log_uniform(rng, n, cond):
    return cond ** -rng.random(n)


def _clustered(rng, n, cond):
    centers = cond ** -rng.random(min(n, 4))
    width = 10.0 ** rng.uniform(-14, -3)
    return rng.choice(centers, n) * (1 + width * rng.random(n))


def _low_outliers(rng, n, cond):
    lam = 1 + rng.random(n)
    lam[: min(n, 2)] = 2 / cond
    return lam


def _high_outliers(rng, n, cond):
    lam = 1 + rng.random(n)
    lam[: min(n, 2)] = cond
    return lam


def _repeated(rng, n, cond):
    return rng.choice(cond ** -rng.random(3), n)


FAMILIES = {
    "log-uniform": _log_uniform,
    "clustered": _clustered,
    "low outliers": _low_outliers,
    "high outliers": _high_outliers,
    "repeated": _repeated,
}
scales = hs.sampled_from([1.0, 1.0, 1e-100, 1e-9, 1e9, 1e100])
seeds = hs.integers(100_000_000, 999_999_999)


def draw_spectrum(family, n, cond, seed, *, scale=1.0, indefinite=False):
    """Ascending eigenvalues of one family; indefinite spectra get random signs."""
    rng = np.random.default_rng(seed)
    lam = FAMILIES[family](rng, n, cond)
    if indefinite:
        lam = lam * rng.choice([-1.0, 1.0], n)
    return np.sort(scale * lam)


@hs.composite
def spectra(draw, max_n=120, max_log_cond=8, indefinite=None):
    return draw_spectrum(
        draw(hs.sampled_from(sorted(FAMILIES))),
        draw(hs.integers(1, max_n)),
        10.0 ** draw(hs.integers(0, max_log_cond)),
        draw(seeds),
        scale=draw(scales),
        indefinite=draw(hs.booleans()) if indefinite is None else indefinite,
    )


@hs.composite
def problems(draw, max_n=120, max_log_cond=6, indefinite=False):
    """A sparse Hermitian matrix, its eigenvalues and a seed for right-hand sides."""
    lam = draw(spectra(max_n, max_log_cond, indefinite))
    seed = draw(seeds)
    rounds = draw(hs.integers(0, 3))
    return Problem(gallery.random_spectrum(lam, rounds=rounds, rng=seed), lam, seed)


def outliers(n=400, few=10):
    """Ten eigenvalues far below the others."""
    lam = np.concatenate([np.geomspace(1e-6, 1e-4, few), np.linspace(1.0, 3.0, n - few)])
    return gallery.random_spectrum(lam, rng=563019482)
