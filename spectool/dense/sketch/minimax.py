r"""Minimax steps on an interval whose ends a block Krylov space shows, and the steps themselves.

With M = I - R, a step brings ``t = lambda(M)^(1/p)`` to ``t g(t^p)``. The g that is best on [l, u]
takes [0, l) to where l goes or below, and never beyond: an l that is too large costs speed, and
nothing else. The ends after the step are known, ``g(l^p) l`` and 2 minus that.

Source
    Amsel, Persson, Musco and Gower, Polar Express, arXiv:2505.16932 (2025) (best quintics for fixed
    intervals).
Deviations
    (1) The lower end is seen, not assumed: a Ritz value of R, from above. (2) The first upper end
    is ``||M^2||_F^(1/(2 p))``, by the product that the step needs anyway; later ones are at least
    what Ritz values show, against rounding. (3) What starts as zero to working precision is left
    behind: matrices that are rank-deficient converge on their range. (4) Any root p.
Cost per iteration
    A step of ``sign.quintic`` and its like; ``n_products n_sketch`` thin products, and the QR
    decompositions of as many columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spectool._types import FloatArray
from spectool.dense.coefficients import optimal_steps
from spectool.dense.run import Run
from spectool.dense.sketch.prism import kind_of, plain, root_of
from spectool.dense.sketch.probes import MARGIN, drawn, probed, upper_bound
from spectool.dense.steps import Step
from spectool.errors import InputError

__all__ = ["Interval", "KrylovMinimax", "first_interval"]

MISSED = 3.0
"""Multiple of what a tracked end is above the Ritz value, by which it is lowered."""
NARROW, TAME = 0.2, 1.5
"""Relative width of the spectrum of M by Ritz values, and by what factor its upper end may exceed
them, if they are to be trusted on where it is."""


class Interval(NamedTuple):
    """What is known of t for each matrix; arrays (...).

    Attributes
    ----------
    lower : ndarray
        Where the values above the last step's lower end are now; 0 at first.
    upper : ndarray
        Above all values.
    floor : ndarray
        Where a value that was rounding at first would be now.
    """

    lower: FloatArray
    upper: FloatArray
    floor: FloatArray

    def narrowed(
        self, theta: FloatArray, p: int, cushion: float, shrink: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the ends (l, u) of the next step, by Ritz values theta (..., k) of R, ascending.

        Parameters
        ----------
        theta : ndarray
            Ritz values.
        p : int
            Which root.
        cushion : float
            Least l / u.
        shrink : float
            By what Ritz values that show less than the tracked end are multiplied.
        """
        seen = np.maximum(1.0 - theta[..., -1], 0.0) ** (1.0 / p)
        top = np.maximum(1.0 - theta[..., 0], 0.0) ** (1.0 / p)
        u = np.maximum(self.upper, top)
        # A narrow interval makes a step that is tame beyond it: what is not seen cannot grow.
        width = top - seen
        narrow = (p * width <= NARROW * top) & (u**p <= TAME * top**p)
        u = np.where(narrow, np.minimum(top + width, u), u)
        # Below what is seen there may be more, by a share of it, or by the width of what is seen.
        guess = np.maximum(shrink * seen, 2.0 * seen - top)
        # Rounding shows slightly less than the tracked end; much less means that it was no bound.
        missing = np.maximum(self.lower - seen, 0.0)
        tracked = np.where(self.lower > 0.0, self.lower - MISSED * missing, 0.0)
        l = np.maximum(np.maximum(guess, tracked), self.floor)  # noqa: E741
        return np.clip(l, cushion * u, u), u

    def after(
        self,
        values: tuple[FloatArray, ...],
        l: FloatArray,  # noqa: E741
        u: FloatArray,
        p: int,
        eps: float,
    ) -> Interval:
        """Return the interval after a quadratic or linear step for t in [l, u]."""
        lower, upper = image_range(values, l, np.maximum(u, self.upper), p)
        floor = np.minimum(image(values, self.floor, p), 1.0)
        return Interval(lower, upper * (1.0 + MARGIN * eps), floor)


def best_values(l: FloatArray, u: FloatArray, p: int, degree: int) -> tuple[FloatArray, ...]:  # noqa: E741
    """Return a, b (and c) of the best step for t in [l, u], one of each for each matrix."""
    scaled = optimal_steps(l / u, p, degree)
    return tuple(value / u ** (1 + k * p) for k, value in enumerate(scaled))


def image(values: tuple[FloatArray, ...], t: FloatArray, p: int) -> FloatArray:
    """Return ``t (a + b t^p + c t^2p)``."""
    y, g = t**p, values[-1]
    for value in values[-2::-1]:
        g = value + y * g
    return t * g


def image_range(
    values: tuple[FloatArray, ...],
    l: FloatArray,  # noqa: E741
    u: FloatArray,
    p: int,
) -> tuple[FloatArray, FloatArray]:
    """Return the least image of [l, u], and the largest one of [0, u]."""
    a, b, c = (*values, 0.0 * values[0])[:3]
    b, c = (p + 1.0) * b, (2.0 * p + 1.0) * c
    half = -0.5 * (b - np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0)))  # b < 0: no cancellation
    with np.errstate(divide="ignore", invalid="ignore"):
        extrema = [np.fmax(y, 0.0) ** (1.0 / p) for y in (a / half, half / c)]
    inside = [np.clip(np.where(np.isfinite(t), t, u), 0.0, u) for t in extrema]
    images = [image(values, t, p) for t in (u, *inside)]
    low = [image(values, np.maximum(t, l), p) for t in (l, u, *inside)]
    return np.minimum.reduce(low), np.maximum.reduce(images)


def first_interval(run: Run, p: int, degree: int) -> Interval:
    """Return what is known at the start."""
    upper = upper_bound(run, p, degree)
    eps = float(run.algebra.xp.finfo(run.variables.X.dtype).eps)
    return Interval(0.0 * upper, upper, upper * eps)


@dataclass(frozen=True)
class KrylovMinimax:
    """Best polynomial steps on the interval that a block Krylov space of R shows.

    Parameters
    ----------
    degree : int
        Of the polynomial g: 1 (cubic in X for signs) or 2 (quintic).
    n_sketch, n_products : int
        Size of the blocks, and how many of them are multiplied by R.
    cushion : float
        In [0, 1): least ratio of the ends. Values below grow a little slower; without it rounding
        of the largest ones would be amplified.
    shrink : float
        In (0, 1]: by what a Ritz value is multiplied, to get below the smallest value.

    Raises
    ------
    InputError
        If a number is out of its range.

    References
    ----------
    .. [1] Amsel, Persson, Musco and Gower, arXiv:2505.16932 (2025).
    """

    degree: int = 2
    n_sketch: int = 4
    n_products: int = 5
    cushion: float = 0.02
    shrink: float = 0.7

    def __post_init__(self) -> None:
        sized = self.n_sketch >= 1 and self.n_products >= 1
        inside = 0.0 <= self.cushion < 1.0 and 0.0 < self.shrink <= 1.0
        if self.degree not in (1, 2) or not sized or not inside:
            raise InputError(
                "KrylovMinimax needs degree 1 or 2, positive n_sketch and n_products, cushion in "
                f"[0, 1) and shrink in (0, 1]; got {self!r}."
            )

    @property
    def name(self) -> str:
        """Of the method, for reports."""
        return "kpe"

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield the next step.

        Raises
        ------
        InputError
            If no polynomial iteration computes the function.
        BreakdownError
            If R has an eigenvalue beyond 1, or is not Hermitian.
        """
        kind, p = kind_of(run.problem, self.degree), root_of(run.problem)
        eps = float(run.algebra.xp.finfo(run.variables.X.dtype).eps)
        S = drawn(run, self.n_sketch)
        interval = first_interval(run, p, self.degree)
        while True:
            theta = probed(run, S, self.n_products).theta
            l, u = interval.narrowed(theta, p, self.cushion, self.shrink)  # noqa: E741
            values = best_values(l, u, p, self.degree)
            interval = interval.after(values, l, u, p, eps)
            yield kind.step(*(plain(value) for value in values))
