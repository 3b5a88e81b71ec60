"""Recurrences that a network may bend: classical starts, and bounded corrections to them.

Source
    Liu, Balabanov, Yang, Mahoney, AutoSpec (arXiv:2602.09530, 2026): an affine three-term
    recurrence, or a basis and an expansion. Starts: Chebyshev's semi-iteration (Saad, Iterative
    Methods for Sparse Linear Systems, 2nd ed., section 12.3), Chebyshev series, Jackson-damped
    steps (Di Napoli, Polizzi and Saad, Numer. Linear Algebra Appl. 23, 2016).
Deviations
    Corrections are smooth along the recurrence, a few cosines, so that one network serves all
    degrees; ends of the interval move on a logarithmic scale. The affine paradigm of a function
    starts from Clenshaw's algorithm for its interpolant. Outputs of zero give the classical one.
Cost
    A few thousand operations per row. Written for numpy and torch alike: ``xp`` is the module.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from spectool._types import FloatArray
from spectool.polynomials.filters import jackson_damping
from spectool.polynomials.nodes import chebyshev_points

PredictorTask: TypeAlias = Literal[
    "solve", "inverse", "invsqrt", "sqrt", "exp", "log", "lowest", "window"
]
Paradigm: TypeAlias = Literal["affine", "expansion"]
PREDICTED: Final[tuple[PredictorTask, ...]] = get_args(PredictorTask)
FUNCTIONS: Final = ("invsqrt", "sqrt", "exp", "log")
FILTERS: Final = ("lowest", "window")
PARADIGMS: Final[tuple[Paradigm, ...]] = get_args(Paradigm)
MODES: Final = 8
"""Cosines per corrected sequence."""
CHANNELS: Final = {"affine": 3, "expansion": 1}
"""Sequences that are corrected."""
LOWER_REACH, UPPER_REACH = 4.0, 0.2
"""Most that the logarithms of the ends may move."""
AFFINE_REACH, EXPANSION_REACH = 0.1, 2.0
"""Most that coefficients change: a, b, c by a tenth, or by the start's own error where that is
less; w by twice the last coefficient; a step's by so much of what follows in the series."""
STEP_REACH = 0.5
WIDEST = 0.9
"""Largest lower end over the upper one."""


class Given(NamedTuple):
    """What the start is made from, in units of the likely upper end; each of shape (rows, 1).

    ``lower`` and ``upper`` are the classical interval, ``time`` the t of ``exp(-t x)``; ``left``
    and ``right`` the estimated ends of a filter's window.
    """

    lower: Any
    upper: Any
    time: Any
    left: Any
    right: Any


class Coefficients(NamedTuple):
    """Of a `Recurrence`, of shapes (rows, d) and, for w, (rows, d + 1)."""

    a: Any
    b: Any
    c: Any
    w: Any


def n_outputs(paradigm: str) -> int:
    """Return how many numbers a network has to give."""
    return 2 + MODES * CHANNELS[paradigm]


def coefficients(
    xp: Any, task: str, paradigm: str, degree: int, given: Given, outputs: Any
) -> Coefficients:
    """Return the classical recurrence as the outputs bend it.

    Parameters
    ----------
    xp : module
        numpy or torch.
    task, paradigm : str
        Of ``PREDICTED`` and ``PARADIGMS``.
    degree : int
        At least 2.
    given : Given
        The classical choices.
    outputs : array, shape (rows, n_outputs(paradigm))
        Zero for the classical method.
    """
    first, second = xp.tanh(outputs[:, :1]), xp.tanh(outputs[:, 1:2])
    size = degree + 1
    modes = np.cos(np.pi * np.outer(np.arange(MODES), (np.arange(size) + 0.5) / size))
    modes = xp.asarray(modes)
    bends = [
        xp.tanh(outputs[:, 2 + k * MODES : 2 + (k + 1) * MODES] @ modes)
        for k in range(CHANNELS[paradigm])
    ]
    upper = given.upper * xp.exp(UPPER_REACH * second)
    lower = given.lower * xp.exp(LOWER_REACH * first)
    if task in ("solve", "inverse"):
        lower = xp.minimum(lower, WIDEST * upper)
        if paradigm == "affine":
            return _semi_iteration(xp, lower, upper, degree, bends)
        # The same polynomial in the Chebyshev basis.
        y, transform = _transform(xp, degree, size)
        x = 0.5 * (upper + lower) + 0.5 * (upper - lower) * y
        values = evaluate(xp, _semi_iteration(xp, lower, upper, degree, None), x)
        return _series(xp, lower, upper, values @ transform, bends)
    if task in FUNCTIONS:
        lower = xp.minimum(lower, WIDEST * upper)
        y, transform = _transform(xp, degree, 2 * degree + 17)
        x = 0.5 * (upper + lower) + 0.5 * (upper - lower) * y
        return _series(xp, lower, upper, function(xp, task, x, given.time) @ transform, bends)
    if task == "lowest":
        edge = xp.minimum(given.right * xp.exp(LOWER_REACH * first), WIDEST * upper)
        w = xp.concatenate([xp.zeros_like(bends[0][:, 1:]), xp.ones_like(edge)], 1)
        return _series(xp, edge, upper, w, bends)
    width = 0.5 * (given.right - given.left)
    ends = given.left - width * first, given.right + width * second
    zero = xp.zeros_like(given.upper)
    return _series(xp, zero, given.upper, _step(xp, ends, given.upper, degree), bends, flat=False)


def function(xp: Any, task: str, x: Any, time: Any) -> Any:
    """Return f(x) for positive x."""
    if task == "invsqrt":
        return 1.0 / xp.sqrt(x)
    if task == "sqrt":
        return xp.sqrt(x)
    return xp.exp(-time * x) if task == "exp" else xp.log(x)


def evaluate(xp: Any, p: Coefficients, x: Any) -> Any:
    """Return p(x), x of shape (rows, points), by Clenshaw's algorithm."""
    d = p.a.shape[1]
    u = p.w[:, d:] + xp.zeros_like(x)
    later = xp.zeros_like(x)
    for k in range(d - 1, -1, -1):
        step = p.w[:, k : k + 1] + (p.a[:, k : k + 1] * x + p.b[:, k : k + 1]) * u
        if k + 1 < d:
            step = step + p.c[:, k + 1 : k + 2] * later
        u, later = step, u
    return u


def _transform(xp: Any, degree: int, m: int) -> tuple[Any, Any]:
    """Return m Chebyshev points, (1, m), and the matrix to coefficients, (m, degree + 1)."""
    y: FloatArray = chebyshev_points(m, (-1.0, 1.0))
    angles = np.arccos(np.clip(y, -1.0, 1.0))
    matrix = 2.0 / m * np.cos(np.outer(angles, np.arange(degree + 1)))
    matrix[:, 0] *= 0.5
    return xp.asarray(y[None]), xp.asarray(matrix)


def _semi_iteration(xp: Any, lower: Any, upper: Any, d: int, bends: list[Any] | None) -> Any:
    center, half = 0.5 * (upper + lower), 0.5 * (upper - lower)
    sigma = center / half
    ratio = 1.0 / sigma
    steps, momenta = [], []
    for _ in range(d):
        following = 1.0 / (2.0 * sigma - ratio)
        steps.append(2.0 * following / half)
        momenta.append(following * ratio)
        ratio = following
    step, momentum = xp.concatenate(steps, 1), xp.concatenate(momenta, 1)
    start, delta = 1.0 / center, step
    if bends is not None:
        growth = (d + 1) * xp.log(sigma + xp.sqrt(sigma * sigma - 1.0))
        level = 2.0 / (xp.exp(growth) + xp.exp(-growth))
        bends = [level * bend for bend in bends]
        step = step * (1.0 + AFFINE_REACH * bends[0][:, :d])
        momentum = momentum * (1.0 + AFFINE_REACH * bends[1][:, :d])
        factor = 1.0 + AFFINE_REACH * bends[2]
        delta, start = step * factor[:, :d], start * factor[:, d:]
    # Clenshaw's algorithm of the recurrence that is the iteration read backwards.
    flip = xp.flip
    c = xp.concatenate([xp.zeros_like(start), -flip(momentum[:, 1:], (1,))], 1)
    w = xp.concatenate([flip(delta, (1,)), start], 1)
    return Coefficients(-flip(step, (1,)), 1.0 + flip(momentum, (1,)), c, w)


def _series(
    xp: Any, lower: Any, upper: Any, w: Any, bends: list[Any], *, flat: bool = True
) -> Coefficients:
    """Return a Chebyshev series on an interval, bent."""
    d = w.shape[1] - 1
    slope = 2.0 / (upper - lower)
    offset = -(upper + lower) / (upper - lower)
    twice = xp.asarray(np.array([[1.0, *[2.0] * (d - 1)]]))
    ones = xp.asarray(np.array([[0.0, *[-1.0] * (d - 1)]]))
    a, b, c = twice * slope, twice * offset, ones + 0.0 * slope
    size = xp.abs(w)
    last = size[:, d:] + size[:, d - 1 : d]
    if len(bends) > 1:
        level = last / xp.amax(size, 1)[:, None]
        factor = 1.0 + AFFINE_REACH * level * bends[0][:, :d]
        a, b, c = a * factor, b * factor, c * (1.0 + AFFINE_REACH * level * bends[1][:, :d])
    scale = EXPANSION_REACH * last if flat else STEP_REACH * _following(xp, size)
    return Coefficients(a, b, c, w + scale * bends[-1])


def _following(xp: Any, size: Any) -> Any:
    return xp.flip(xp.cumsum(xp.flip(size, (1,)), 1), (1,))


def _step(xp: Any, ends: tuple[Any, Any], upper: Any, d: int) -> Any:
    """Return Jackson-damped coefficients of a step on (0, upper), shape (rows, d + 1)."""
    small = 1e-9  # arccos has no slope at the ends
    left, right = (
        xp.arccos(xp.clip(2.0 * e / upper - 1.0, small - 1.0, 1.0 - small)) for e in ends
    )
    k = xp.asarray(np.arange(1.0, d + 1.0)[None])
    rest = 2.0 * (xp.sin(k * left) - xp.sin(k * right)) / (k * np.pi)
    w = xp.concatenate([(left - right) / np.pi, rest], 1)
    return w * xp.asarray(jackson_damping(d)[None])
