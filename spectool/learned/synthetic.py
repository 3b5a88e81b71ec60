"""Synthetic spectra, and probes of them: what the networks are trained on.

Source
    Families as in AutoSpec (Liu, Balabanov, Yang, Mahoney, arXiv:2602.09530, 2026), and those of
    differential operators: sums of one-dimensional eigenvalues, with jumping coefficients.
Deviations
    Probes are real Lanczos runs on the diagonal operator. Operators of up to 400 000 rows are
    drawn: away from the ends of the spectrum neighboring eigenvalues share a node, whose component
    in a random vector is chi-distributed. Krylov methods cannot tell until they resolve neighbors.
Cost
    A few milliseconds per spectrum; 24 products with a diagonal matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal
from scipy.sparse.linalg import LinearOperator
from scipy.special import betaincinv

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.krylov import lanczos, ritz
from spectool.learned.completion import grouped
from spectool.operators import as_operator
from spectool.spectrum import Bound, Certificate, Spectrum
from spectool.spectrum.bounds import outer_end, smallest_component
from spectool.spectrum.estimate import RISK, STEPS
from spectool.spectrum.moments import Moments, calibrated

NODES = 3072
"""Eigenvalues beyond which neighbors share a node."""
SIZES = (40, 400_000)
MOST_COND = 1e8


class Problem(NamedTuple):
    """A spectrum, and a random right-hand side's components.

    ``eigenvalues``, ascending, and ``counts``, how many share each, have shape (m,); ``masses`` are
    the squared components of a Gaussian vector; ``n`` is the sum of counts.
    """

    eigenvalues: FloatArray
    counts: FloatArray
    masses: FloatArray
    n: int
    family: str

    def quantiles(self, levels: FloatArray) -> FloatArray:
        """Return the eigenvalues below which these fractions lie, shape of levels."""
        heights = (np.cumsum(self.counts) - 0.5 * self.counts) / self.n
        logs = np.interp(levels, heights, np.log(self.eigenvalues))
        return np.exp(logs)


Quantile = Callable[[FloatArray], FloatArray]


def _cond(rng: np.random.Generator) -> float:
    return float(10.0 ** rng.uniform(0.5, np.log10(MOST_COND)))


def _log_uniform(rng: np.random.Generator) -> Quantile:
    cond = _cond(rng)
    return lambda u: cond ** (u - 1.0)


def _uniform(rng: np.random.Generator) -> Quantile:
    low = 1.0 / _cond(rng)
    return lambda u: low + (1.0 - low) * u


def _beta(rng: np.random.Generator) -> Quantile:
    a, b = np.exp(rng.uniform(np.log(0.4), np.log(6.0), 2))
    low = 1.0 / _cond(rng)
    return lambda u: low + np.asarray(betaincinv(a, b, u))


def _power(rng: np.random.Generator) -> Quantile:
    """Weyl's law: ``u^(order / dimension)``, possibly with a floor, and a soft upper end."""
    power = float(np.exp(rng.uniform(np.log(0.4), np.log(8.0))))
    low = rng.choice([0.0, 1.0 / _cond(rng)])
    bend = rng.uniform(0.3, 2.0)
    return lambda u: low + (1.0 - (1.0 - u) ** bend) ** power


def _clusters(rng: np.random.Generator) -> Quantile:
    k = int(rng.integers(2, 9))
    centers = np.sort(_cond(rng) ** -rng.random(k))
    widths = 10.0 ** rng.uniform(-4, -0.3, k)
    edges = np.concatenate([[0.0], np.sort(rng.random(k - 1)), [1.0]])

    def quantile(u: FloatArray) -> FloatArray:
        i = np.clip(np.searchsorted(edges, u, side="right") - 1, 0, k - 1)
        inside = (u - edges[i]) / np.maximum(edges[i + 1] - edges[i], 1e-12)
        return np.asarray(centers[i] * (1.0 + widths[i] * (inside - 0.5)), dtype=np.float64)

    return quantile


def _gaps(rng: np.random.Generator) -> Quantile:
    base = _SMOOTH[int(rng.integers(len(_SMOOTH)))](rng)
    cuts = np.sort(10.0 ** rng.uniform(-3, -0.05, int(rng.integers(1, 4))))
    factors = 10.0 ** rng.uniform(0.3, 2.0, cuts.size)

    def quantile(u: FloatArray) -> FloatArray:
        values = base(u)
        for cut, factor in zip(cuts, factors, strict=True):
            values = np.where(u >= cut, values * factor, values)
        return values

    return quantile


def _marchenko_pastur(rng: np.random.Generator) -> Quantile:
    y = rng.uniform(0.05, 1.0)
    low, high = (1 - np.sqrt(y)) ** 2, (1 + np.sqrt(y)) ** 2
    ridge = rng.choice([0.0, high / _cond(rng)])
    angle = np.pi * (np.arange(4096) + 0.5) / 4096
    x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
    mass = np.cumsum(np.sin(angle) ** 2 / np.maximum(x, 1e-12))
    return lambda u: np.interp(u, mass / mass[-1], x) + ridge + 1e-9


_SMOOTH = (_log_uniform, _uniform, _beta, _power, _marchenko_pastur)
_QUANTILES: dict[str, Callable[[np.random.Generator], Quantile]] = {
    "log-uniform": _log_uniform,
    "uniform": _uniform,
    "beta": _beta,
    "power law": _power,
    "clusters": _clusters,
    "gaps": _gaps,
    "Marchenko-Pastur": _marchenko_pastur,
}


def _from_quantile(
    quantile: Quantile, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues and counts: evenly spaced in probability, or as independent draws."""
    counts = grouped(n, NODES)
    gaps = rng.gamma(counts) if rng.random() < 0.5 else counts
    heights = np.cumsum(gaps) - 0.5 * gaps
    return np.sort(quantile(heights / (float(gaps.sum()) + 1e-9))), counts


def _line(k: int, rng: np.random.Generator) -> FloatArray:
    """Return eigenvalues of a one-dimensional diffusion operator with a random coefficient."""
    kind = int(rng.integers(3))
    coefficient = np.ones(k + 1)
    if kind == 1:
        jump = 10.0 ** rng.uniform(0.5, 5)
        at = np.sort(rng.integers(0, k + 2, 2))
        coefficient[at[0] : at[1]] = jump
    elif kind == 2:
        rough = np.cumsum(rng.standard_normal(k + 1)) / np.sqrt(k)
        coefficient = np.exp(rng.uniform(0.5, 4.0) * rough)
    diagonal = coefficient[:-1] + coefficient[1:]
    off = -coefficient[1:-1]
    if rng.random() < 0.8:  # as Jacobi scaling leaves it
        off = off / np.sqrt(diagonal[:-1] * diagonal[1:])
        diagonal = np.ones(k)
    return np.maximum(eigvalsh_tridiagonal(diagonal, off), 1e-14 * float(diagonal.max()))


def _tensor(rng: np.random.Generator, n: int, order: int) -> FloatArray:
    """Return eigenvalues of a sum of line operators, to the power order / 2."""
    dimension = int(rng.integers(1, 4)) if order == 2 else int(rng.integers(1, 3))
    n = min(n, 1_500 if dimension == 1 else 300_000)
    shape = np.exp(rng.uniform(-0.4, 0.4, dimension))
    shape *= (n / shape.prod()) ** (1.0 / dimension)
    sides = [min(max(int(k), 3), 1_500) for k in shape]
    values = np.zeros(1)
    for k in sides:
        strength = 10.0 ** rng.choice([0.0, rng.uniform(-3, 0)])
        values = (values[:, None] + strength * _line(k, rng)).ravel()
    shift = rng.choice([0.0, float(values.max()) / _cond(rng)])
    return np.sort((values + shift) ** (order // 2))


def _lumped(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return at most about NODES means of neighbors, and how many each stands for."""
    counts = grouped(values.size, NODES)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
    return np.add.reduceat(values, starts) / counts, counts


def _low_outliers(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    k = min(int(rng.integers(1, 20)), values.size // 4 + 1)
    values = values.copy()
    values[:k] = values[0] * np.sort(10.0 ** -rng.uniform(0.0, rng.uniform(0.5, 5.0), k))
    return values


def _high_outliers(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    k = min(int(rng.integers(1, 20)), values.size // 4 + 1)
    values = values.copy()
    values[-k:] = values[-1] * np.sort(10.0 ** rng.uniform(0.0, rng.uniform(0.3, 3.0), k))
    return values


FAMILIES = (
    *_QUANTILES,
    "low outliers",
    "high outliers",
    "diffusion",
    "plates",
    "mixture",
)
"""What `draw` draws from."""
HELD_OUT = ("beta", "clusters", "Marchenko-Pastur")
"""Families kept from training, to validate on."""


def draw(family: str, rng: np.random.Generator) -> Problem:
    """Draw a positive spectrum of one family, and a right-hand side.

    Parameters
    ----------
    family : str
        One of ``FAMILIES``.
    rng : Generator
        Decides everything.

    Returns
    -------
    Problem
        With largest eigenvalue 1 and a condition number of at most 1e12.

    Raises
    ------
    InputError
        If the family is unknown.
    """
    if family not in FAMILIES:
        raise InputError(f"family must be one of {FAMILIES}; got {family!r}.")
    n = int(np.exp(rng.uniform(*np.log(SIZES))))
    values, counts = _draw(family, n, rng)
    order = np.argsort(values, kind="stable")
    values, counts = values[order] / values.max(), counts[order]
    values = np.maximum(values, 1e-12)
    return Problem(values, counts, rng.chisquare(counts), int(counts.sum()), family)


def _draw(family: str, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    if family in _QUANTILES:
        return _from_quantile(_QUANTILES[family](rng), n, rng)
    if family in ("diffusion", "plates"):
        return _lumped(_tensor(rng, n, 2 if family == "diffusion" else 4))
    others = [name for name in FAMILIES if name not in HELD_OUT][:-1]
    if family == "mixture":
        smooth = [name for name in others if not name.endswith("outliers")]
        first, second = (smooth[int(rng.integers(len(smooth)))] for _ in range(2))
        share = rng.uniform(0.02, 0.98)
        parts = [
            _draw(first, max(int(share * n), 8), rng),
            _draw(second, max(int((1 - share) * n), 8), rng),
        ]
        factor = 10.0 ** rng.uniform(-2.0, 2.0)
        return (
            np.concatenate(
                [parts[0][0] / parts[0][0].max(), factor * parts[1][0] / parts[1][0].max()]
            ),
            np.concatenate([parts[0][1], parts[1][1]]),
        )
    base = ("log-uniform", "uniform", "power law", "diffusion")[int(rng.integers(4))]
    values, counts = _draw(base, n, rng)
    outliers = _low_outliers if family == "low outliers" else _high_outliers
    return outliers(values, rng), counts


def probed(problem: Problem, rng: np.random.Generator, *, steps: int = STEPS) -> Spectrum:
    """Return what a Lanczos run of so many steps from a random vector finds.

    The vector is not the right-hand side of the problem. Half of the runs know trace A and trace
    A^2, as probes of stored matrices do; none knows Gershgorin discs.
    """
    values = problem.eigenvalues
    m = values.size
    operator = as_operator(
        LinearOperator((m, m), matvec=lambda x: values * x.ravel(), dtype=np.float64),
        assume_a="her",
    )
    start = np.sqrt(rng.chisquare(problem.counts))
    run = ritz(lanczos(operator, start, steps))
    delta = smallest_component(problem.n, RISK, complex_vector=False)
    rounding = 10 * float(np.finfo(np.float64).eps) * float(run.values[-1])
    source = "invariant Krylov space" if run.invariant else "Lanczos polynomial"
    high = max(outer_end(run, delta, upper=True), float(run.values[-1])) + rounding
    low = min(outer_end(run, delta, upper=False), float(run.values[0])) - rounding
    shares, matched = run.weights, 0
    if rng.random() < 0.5:
        weights = problem.counts / problem.n
        moments = Moments(float(weights @ values), float(weights @ values**2))
        shares, matched = calibrated(run.values, run.weights, moments)
    bottom, top = float(run.residuals[0]), float(run.residuals[-1])
    return Spectrum(
        n=problem.n,
        ritz_values=run.values,
        ritz_residuals=run.residuals,
        weights=shares,
        probes=np.zeros(run.values.size, dtype=np.int64),
        certificate=Certificate(
            Bound(low, float(run.values[0]), bottom, source, run.invariant),
            Bound(high, float(run.values[-1]), top, source, run.invariant),
        ),
        n_probes=1,
        n_matvecs=run.values.size,
        complete=run.invariant,
        scaling=None,
        n_moments=matched,
    )
