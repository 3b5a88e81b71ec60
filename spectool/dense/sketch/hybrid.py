r"""At each step whichever does better two steps on: a fit to the residual, or a minimax polynomial.

The fit (PRISM) serves clusters, the minimax step serves the ends of a spectrum. Both are tried on
the quadrature nodes of one block Krylov space, followed by a minimax step.

Source
    As in ``prism`` and ``minimax``; the choice is our own.
Cost per iteration
    A step of ``sign.quintic`` and its like; ``n_products n_sketch`` thin products, and scalars.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spectool._types import FloatArray
from spectool.dense.run import Run
from spectool.dense.sketch.fit import (
    GRID,
    alpha_interval,
    degree_of_residual,
    minimizer,
    objective,
    step_values,
)
from spectool.dense.sketch.minimax import (
    Interval,
    KrylovMinimax,
    best_values,
    first_interval,
    image,
)
from spectool.dense.sketch.prism import in_units, kind_of, plain, root_of
from spectool.dense.sketch.probes import drawn, probed
from spectool.dense.steps import Step
from spectool.errors import InputError

__all__ = ["Hybrid"]

DEGREE = 2
"""Of both polynomials."""
ROOM = 1.2
"""``u^p`` up to which values above 1 are left to a fit as they are; others are scaled by u."""

LESS = 0.25
"""Fraction of the mean square of R after minimax steps that a fit must promise: the nodes do not
show all small values, which minimax steps raise anyway."""
ROUNDING = 1e3
"""Multiple of ``eps^2`` up to which a mean square of R is rounding."""

Values = tuple[FloatArray, ...]


@dataclass(frozen=True)
class Hybrid:
    """The better of Prism and KrylovMinimax, for each matrix and step.

    Parameters
    ----------
    n_sketch, n_products : int
        Size of the blocks, and how many of them are multiplied by R.
    cushion, shrink : float
        See ``KrylovMinimax``.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    n_sketch: int = 4
    n_products: int = 5
    cushion: float = 0.02
    shrink: float = 0.7

    def __post_init__(self) -> None:
        try:
            KrylovMinimax(DEGREE, self.n_sketch, self.n_products, self.cushion, self.shrink)
        except InputError as error:
            raise InputError(str(error).replace("KrylovMinimax", "Hybrid")) from None

    @property
    def name(self) -> str:
        """Of the method, for reports."""
        return "hybrid"

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield the next step.

        Raises
        ------
        InputError
            If no polynomial iteration computes the function.
        BreakdownError
            If R has an eigenvalue beyond 1, or is not Hermitian.
        """
        kind, p = kind_of(run.problem, DEGREE), root_of(run.problem)
        eps = float(run.algebra.xp.finfo(run.variables.X.dtype).eps)
        S = drawn(run, self.n_sketch)
        interval = first_interval(run, p, DEGREE)
        while True:
            ritz = probed(run, S, self.n_products)
            t = np.maximum(1.0 - ritz.theta, 0.0) ** (1.0 / p)
            choice = _Choice(ritz.weights, p, self.cushion, self.shrink, eps)
            values, interval = choice.best(t, interval)
            yield kind.step(*(plain(value) for value in values))


@dataclass(frozen=True)
class _Choice:
    """What the two would do on quadrature nodes."""

    weights: FloatArray
    p: int
    cushion: float
    shrink: float
    eps: float

    def best(self, t: FloatArray, interval: Interval) -> tuple[Values, Interval]:
        """Return the values of the better step for nodes t (..., k), and the interval after it."""
        l, u = self.ends(t, interval)  # noqa: E741
        fit, best = self.fit(t, u), best_values(l, u, self.p, DEGREE)
        one, two = [], []
        for values in (fit, best):
            now = image(_each(values), t, self.p)
            ends = self.ends(now, interval.after(values, l, u, self.p, self.eps))
            one.append(self.residual(now))
            two.append(self.residual(image(_each(best_values(*ends, self.p, DEGREE)), now, self.p)))
        # Where two steps are enough for either, one step may be.
        enough = np.maximum(*two) <= ROUNDING * self.eps**2
        fits = np.where(enough, one[0] < LESS * one[1], two[0] < LESS * two[1])
        values = tuple(np.where(fits, a, b) for a, b in zip(fit, best, strict=True))
        return values, interval.after(values, l, u, self.p, self.eps)

    def ends(self, t: FloatArray, interval: Interval) -> tuple[FloatArray, FloatArray]:
        """Return where the nodes are."""
        theta = np.sort(1.0 - t**self.p, axis=-1)
        return interval.narrowed(theta, self.p, self.cushion, self.shrink)

    def residual(self, t: FloatArray) -> FloatArray:
        """Return the mean square of R, shape (...)."""
        return np.asarray((self.weights * np.square(1.0 - t**self.p)).sum(axis=-1))

    def fit(self, t: FloatArray, u: FloatArray) -> Values:
        """Return the step of least mean square, where needed for ``t / u``."""
        power = u**self.p
        unit = np.where((power > 1.0) & (power < ROOM), 1.0, u)
        theta = 1.0 - (t / unit[..., None]) ** self.p
        degree = degree_of_residual(self.p, DEGREE)
        powers = theta[..., None, :] ** np.arange(degree + 1)[:, None]
        gram = (powers * self.weights[..., None, :]) @ np.swapaxes(powers, -1, -2)
        grid = np.linspace(*alpha_interval(self.p, DEGREE), GRID)
        alpha = minimizer(objective(gram, self.p, DEGREE), grid)
        return in_units(step_values(alpha, self.p, DEGREE), unit, self.p)


def _each(values: Values) -> Values:
    return tuple(np.asarray(value)[..., None] for value in values)
