r"""The cheapest schedule on an interval, exactly: the state is the ratio of its ends.

Where only an interval ``[l, 1]`` is known, each step has one best choice of values, and maps l to a
larger l. A schedule of least cost is then a shortest path.

Source
    Uniform-cost search (Dijkstra); the maps of ``dense.coefficients``.
Deviations
    States that are both costlier and not better than another are dropped, which makes it
    milliseconds; ``CostToGo`` tabulates the remaining cost on a grid, from above.
Cost
    A few milliseconds per list of costs.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from spectool._types import FloatArray
from spectool.dense.coefficients import halley_interval
from spectool.dense.iterations import find_kind
from spectool.dense.planning.aims import aimed
from spectool.dense.problems import Problem
from spectool.errors import InputError

__all__ = ["CostToGo", "Schedule", "cheapest_schedule", "classical_image", "image", "moves_of"]

Price = Callable[[float], float]
"""Cost of a move from l."""
MOVES = {
    "sign": ("sign.newton", "sign.newton_schulz", "sign.quintic", "sign.halley"),
    "sqrt": (
        "sqrt.denman_beavers",
        "sqrt.product_db",
        "sqrt.newton_schulz",
        "sqrt.quintic",
    ),
    "inv": ("inv.newton_schulz", "inv.chebyshev"),
    "inverse_root": ("inverse_root.newton", "inverse_root.quadratic"),
    "root": ("root.iannazzo",),
}
"""Steps by the family of problems whose best values on an interval are known."""
SMALLEST, MOST = 1e-100, 64
"""Smallest ratio that is searched, and most steps."""
NEWTON_LIKE = ("sign.newton", "sqrt.denman_beavers", "sqrt.product_db")


def moves_of(problem: Problem) -> tuple[str, ...]:
    """Return the names of the steps that the search knows for a problem."""
    return MOVES[problem.family]


@lru_cache(maxsize=131072)
def image(name: str, lower: float, p: int = 1) -> float:
    """Return the ratio of the ends of what the best values make of ``[lower, 1]``."""
    if lower >= 1.0:
        return 1.0
    if name in NEWTON_LIKE:
        return 2.0 * math.sqrt(lower) / (1.0 + lower)
    values = aimed(find_kind(name), lower, 1.0, p)
    if values is None:
        raise InputError(f"no best values are known for {name} on an interval.")
    if name == "sign.halley":
        return halley_interval((values[0], values[1], values[2]), lower)[0]
    if name == "root.iannazzo":
        a, b = values
        ends = [t / (((p - 1) * a + b * t**p) / p) for t in (1.0, (a / b) ** (1.0 / p))]
        return min(ends) / max(ends) if lower < 1.0 - 1e-9 else 1.0
    bottom = _polynomial(name, values, lower, p)
    return min(bottom / (2.0 - bottom), 1.0)


@lru_cache(maxsize=131072)
def classical_image(name: str, lower: float, upper: float, p: int = 1) -> float:
    """Return the largest ``|1 - t|`` after the classical step from ``[lower, upper]`` around 1."""
    worst = 0.0
    for t in (lower, upper):
        worst = max(worst, abs(1.0 - _classical(name, t, p)))
    return worst


def _classical(name: str, t: float, p: int) -> float:
    if name in NEWTON_LIKE:
        return 0.5 * (t + 1.0 / t)
    if name == "sign.halley":
        return t * (3.0 + t * t) / (1.0 + 3.0 * t * t)
    if name == "root.iannazzo":
        return t * p / ((p - 1) + t**p)
    return _polynomial(name, find_kind(name).classical(p), t, p)


def _polynomial(name: str, values: tuple[float, ...], t: float, p: int) -> float:
    """Return ``t g(t^q)``."""
    q = {"sign": 2, "sqrt": 2, "inv": 1}.get(name.split(".", maxsplit=1)[0], p)
    return t * math.fsum(value * t ** (q * k) for k, value in enumerate(values))


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cheapest schedule.

    Attributes
    ----------
    cost : float
        In the unit of the prices.
    kinds : tuple of str
        Names of the steps, in order.
    ratios : tuple of float
        Ratio of the ends before each step, and at the end.
    n_visited : int
        States that were expanded.
    """

    cost: float
    kinds: tuple[str, ...]
    ratios: tuple[float, ...]
    n_visited: int


def cheapest_schedule(
    prices: Mapping[str, float | Price],
    lower: float,
    *,
    rtol: float = 1e-6,
    p: int = 1,
    classical_last: bool = False,
) -> Schedule:
    """Return the cheapest schedule that takes ``[lower, 1]`` to a ratio of ``1 - rtol`` or more.

    Parameters
    ----------
    prices : mapping of str to float or callable
        Of each step, by the names in ``MOVES``; a callable is given the ratio.
    lower : float
        In (0, 1].
    rtol : float
        In (0, 1).
    p : int
        Which root.
    classical_last : bool
        Whether the last step must have the classical values, so that further steps converge.

    Raises
    ------
    InputError
        If there is no price, or lower or rtol is outside its range.
    """
    if not prices:
        raise InputError("prices must hold at least one step, like {'sign.newton': 2.9}.")
    if not SMALLEST <= lower <= 1.0 or not 0.0 < rtol < 1.0:
        raise InputError(f"lower and rtol must lie in (0, 1], got {lower!r} and {rtol!r}.")
    heap: list[tuple[float, float, int, tuple[str, ...], tuple[float, ...]]] = []
    heapq.heappush(heap, (0.0, -lower, 0, (), (lower,)))
    settled: list[tuple[float, float]] = []
    n_visited = 0
    while heap:
        cost, negative, done, kinds, ratios = heapq.heappop(heap)
        ratio = -negative
        if done or (1.0 - ratio <= rtol and (not classical_last or not kinds)):
            return Schedule(cost, kinds, ratios, n_visited)
        if any(ratio <= better for _, better in settled) or len(kinds) >= MOST:
            continue  # pops come by increasing cost
        settled = [(cost, ratio)]
        n_visited += 1
        for name, price in prices.items():
            paid = cost + (price(ratio) if callable(price) else price)
            after = (*kinds, name)
            if classical_last and _classical_finishes(name, ratio, rtol, p):
                heapq.heappush(heap, (paid, -1.0, 1, after, (*ratios, 1.0)))
            following = image(name, ratio, p)
            heapq.heappush(heap, (paid, -following, 0, after, (*ratios, following)))
    raise InputError(f"no schedule of {MOST} steps leads from {lower:.3g} to 1 - {rtol:.1e}.")


def _classical_finishes(name: str, ratio: float, rtol: float, p: int) -> bool:
    """Return whether the classical step from an interval centered at 1 leaves at most rtol / 2."""
    if ratio < 0.2:
        return False
    center = 2.0 / (1.0 + ratio)
    return classical_image(name, ratio * center, center, p) <= 0.5 * rtol


class CostToGo:
    """Least remaining cost from any ratio, tabulated on a grid; and the step to take.

    Parameters
    ----------
    prices, lower, rtol, p, classical_last
        As for ``cheapest_schedule``; smaller ratios than lower count as lower.
    """

    SPACING = 0.05

    def __init__(
        self,
        prices: Mapping[str, float | Price],
        lower: float = 1e-8,
        *,
        rtol: float,
        p: int = 1,
        classical_last: bool = False,
    ) -> None:
        # Even steps in log(l / (1 - l)) resolve both ends; a common grid shares remembered images.
        top = math.log(2.0 / rtol) / self.SPACING
        begin = math.log(min(max(lower, SMALLEST), 0.5)) / self.SPACING
        self._grid = self.SPACING * np.arange(math.floor(begin), math.ceil(top) + 1.0)
        self._cost = np.full(self._grid.size, np.inf)
        self._step: list[str] = [""] * self._grid.size
        for index in range(self._grid.size - 1, -1, -1):
            ratio = 1.0 / (1.0 + math.exp(-self._grid[index]))
            if 1.0 - ratio <= rtol and not classical_last:
                self._cost[index] = 0.0
                continue
            for name, price in prices.items():
                paid = price(ratio) if callable(price) else price
                if classical_last and _classical_finishes(name, ratio, rtol, p):
                    remaining = 0.0
                else:
                    following = image(name, ratio, p)
                    remaining = 0.0 if 1.0 - following <= rtol else self._after(index, following)
                    if classical_last and remaining == 0.0:
                        remaining = min(
                            other(ratio) if callable(other) else other for other in prices.values()
                        )
                if paid + remaining < self._cost[index]:
                    self._cost[index], self._step[index] = paid + remaining, name

    def _place(self, ratio: float) -> int:
        if ratio >= 1.0:
            return self._grid.size - 1
        value = math.log(ratio / (1.0 - ratio)) if ratio > 0.0 else -np.inf
        place = math.floor((value - self._grid[0]) / self.SPACING + 1e-9) if value > -1e300 else 0
        return int(min(max(place, 0), self._grid.size - 1))

    def _after(self, index: int, following: float) -> float:
        place = self._place(following)
        # A step that does not leave its cell of the grid leads nowhere.
        return float(self._cost[place]) if place > index else math.inf

    def cost(self, ratio: float) -> float:
        """Return the remaining cost from a ratio, an upper bound within a cell of the grid."""
        return float(self._cost[self._place(ratio)])

    def step(self, ratio: float) -> str:
        """Return the name of the step to take; empty at the end."""
        return self._step[self._place(ratio)]

    @property
    def table(self) -> tuple[FloatArray, FloatArray]:
        """Ratios, and the cost from each."""
        return 1.0 / (1.0 + np.exp(-self._grid)), self._cost.copy()
