"""Which rational functions serve a task: made for what is believed of the spectrum, and revised.

A probe's bounds are safe, and may be far from the spectrum or on the wrong side of zero. What is
assumed here is nearer, cheaper, and may be wrong: `rational_funm` compares it with Ritz values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spectool._types import FloatArray, Interval
from spectool.errors import InputError
from spectool.functions.methods.shifted_lanczos import n_vectors
from spectool.functions.poles.fractions import LEAST_RTOL, PoleSum, pole_sum
from spectool.functions.task import Target, Task

SHARE = 0.2
"""Part of rtol that is left to the rational function."""
ALLOWED = 0.25
"""Part of rtol that f and r may differ by at the Ritz values."""
FIRST_NEAREST = 1e-6
"""Smallest eigenvalue over the largest that is assumed where no bound is known."""
MARGIN = 1e-4
"""How far below the smallest Ritz value the next rational function reaches."""
FLOOR = 64.0
"""Least distance from zero that is resolved, in units of eps times the largest eigenvalue."""
OVERHANG = 0.1
"""Part of the spectrum that a safe end may lie beyond zero and be doubted."""
SWOLLEN = 10.0
"""Growth of f beyond zero by which it is."""
WIDENING = 0.02
"""Part of the spectrum by which an interval is widened at least."""


class Premise(NamedTuple):
    """What is taken to be true of A's spectrum until Ritz values contradict.

    Attributes
    ----------
    interval : tuple of float
        Holds the spectrum.
    nearest : float
        No eigenvalue is nearer to zero.
    definite : bool
        All eigenvalues have one sign.
    tolerances : tuple of float
        Wanted errors of the rational functions.
    hold : bool
        Solved poles stay: errors by which they left were not negligible in the end.
    """

    interval: Interval
    nearest: float
    definite: bool
    tolerances: tuple[float, ...]
    hold: bool = False


def first_premise(task: Task, interval: Interval) -> Premise:
    """Return what to assume for an interval that is safe."""
    lower, upper = interval
    far = max(abs(lower), abs(upper), 1e-290)
    guess = max(FIRST_NEAREST, task.eps) * far
    # A probe may prove more than the working precision can tell.
    nearest = max(lower, -upper, task.eps * far) if lower > 0 or upper < 0 else guess
    if _swells(task, lower, upper):
        lower = 0.0
    elif _swells(task, upper, lower):
        upper = 0.0
    tolerance = max(SHARE * task.rtol, LEAST_RTOL)
    return Premise((lower, upper), nearest, True, (tolerance,) * len(task.targets))


def _swells(task: Task, end: float, other: float) -> bool:
    """Return whether f is much larger at a safe end just beyond zero than at zero.

    Errors of smooth functions are relative to their largest value, and such an end may be slack.
    """
    if not 0 < -end * np.sign(other) <= OVERHANG * abs(other):
        return False
    z = np.array([end, 0.0, other])
    for target in task.targets:
        if target.function.domain == "any":
            with np.errstate(all="ignore"):
                beyond, *inside = np.abs(target.function.evaluate(target.t * z)).tolist()
            if not beyond <= SWOLLEN * max(inside):
                return True
    return False


def revised(
    task: Task, design: Design, theta: FloatArray, apart: FloatArray, allowed: FloatArray
) -> Premise:
    """Return a premise that agrees with Ritz values theta, the same if there is nothing to revise.

    Parameters
    ----------
    theta : ndarray, shape (k,)
        Ascending.
    apart, allowed : ndarray, shape (T,)
        How much f and r differ there, and may; tolerances are revised if the interval needs not be.
    """
    premise = design.premise
    lower, upper = premise.interval
    low, high, near = float(theta[0]), float(theta[-1]), float(np.abs(theta).min())
    floor = FLOOR * task.eps * max(abs(low), abs(high))
    if low < lower - floor:
        lower = -_beyond(-low, -lower, high - low)
    if high > upper + floor:
        upper = _beyond(high, upper, high - low)
    nearest = premise.nearest if near >= premise.nearest else max(MARGIN * near, floor)
    found = premise._replace(
        interval=(lower, upper),
        nearest=min(nearest, premise.nearest),
        definite=premise.definite and low * high >= 0,
    )
    if found != premise:
        return found
    tolerances = [
        max(0.5 * tolerance * float(most / far), LEAST_RTOL)
        if far > most and sum_.error <= 10 * tolerance  # else it is as good as it gets
        else tolerance
        for tolerance, far, most, sum_ in zip(
            premise.tolerances, apart, allowed, design.sums, strict=True
        )
    ]
    return premise._replace(tolerances=tuple(tolerances))


def _beyond(value: float, end: float, spread: float) -> float:
    """Return a new upper end for a Ritz value above the old one: later ones may lie further out.

    Zero is not crossed before a Ritz value has: many functions grow there.
    """
    further = value + max(value - end, WIDENING * spread)
    if value <= 0:
        return min(further, 0.0)
    return further if end > 0 else min(further, 2 * value)


class Design:
    """The rational functions of all targets, with the poles they share.

    Attributes
    ----------
    premise : Premise
        What they are made for.
    sums : list of PoleSum
        One per target.
    poles : ndarray, shape (h,)
        One of each conjugate pair.
    residues, partners : ndarray, shape (T, h)
        As in `Halves`.

    Raises
    ------
    InputError
        If a target is not to be had from poles, or their vectors exceed ``max_memory``.
    """

    def __init__(self, task: Task, premise: Premise) -> None:
        self.premise = premise
        self.sums = [
            _approximation(target, premise, tolerance)
            for target, tolerance in zip(task.targets, premise.tolerances, strict=True)
        ]
        halves = [found.halves for found in self.sums]
        place: dict[complex, int] = {}
        for half in halves:
            for pole in half.poles.tolist():
                place.setdefault(pole, len(place))
        self.poles = np.array(list(place), dtype=np.complex128)
        self.residues, self.partners = np.zeros((2, len(halves), len(place)), dtype=np.complex128)
        for t, half in enumerate(halves):
            columns = [place[pole] for pole in half.poles.tolist()]
            self.residues[t, columns], self.partners[t, columns] = half.residues, half.partners
        # Those, b of norm 1, and a sum while it is scaled.
        vectors = 2 + n_vectors(self.poles, self.residues, self.partners)
        needed = float(vectors) * task.operator.n * task.operator.dtype.itemsize
        if needed > task.limits.max_memory:
            raise InputError(
                f"max_memory must be at least {needed:.4g} bytes for {self.poles.size} poles "
                f"({vectors} vectors); got {task.limits.max_memory:.4g}. Loosen rtol, pass an "
                "interval closer to the spectrum, or use method='lanczos'."
            )


def _approximation(target: Target, premise: Premise, tolerance: float) -> PoleSum:
    """Return a target's rational function for what the premise leaves of its domain."""
    (lower, upper), nearest, t = premise.interval, premise.nearest, target.t
    domain = target.function.domain
    straddles = lower < nearest and upper > -nearest
    if domain == "any" or not straddles:
        return pole_sum(target, (lower, upper), tolerance)
    if domain == "nonzero" and (target.function.name == "sign" or not premise.definite):
        far = max(abs(lower), abs(upper), 2 * nearest)
        interval = (min(lower, -0.5 * far), max(upper, 0.5 * far))
        return pole_sum(target, interval, tolerance, gap=nearest)
    positive = t.real > 0 if domain != "nonzero" else upper >= -lower
    far = max(upper if positive else -lower, 2 * nearest)
    return pole_sum(target, (nearest, far) if positive else (-far, -nearest), tolerance)
