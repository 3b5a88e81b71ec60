"""What a step of an iteration costs, from the operations it counts.

Cost
    A count per kind, remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spectool.dense.algebra import CHOLESKY, Tally
from spectool.dense.coefficients import qdwh
from spectool.dense.costs import Costs
from spectool.dense.problems import Problem
from spectool.dense.steps import Kind, Variables

__all__ = ["StepPrices"]


class StepPrices:
    """Prices of steps for one problem.

    Parameters
    ----------
    problem : Problem
        The function.
    costs : Costs
        What operations cost.
    tall : bool
        Whether X has more rows than columns.
    """

    def __init__(self, problem: Problem, costs: Costs, *, tall: bool) -> None:
        self.problem, self.costs, self.tall = problem, costs, tall
        self._known: dict[tuple[str, bool, bool], float] = {}

    def of(self, kind: Kind, values: tuple[float, ...], *, fresh: bool) -> float:
        """Return the price of a step; fresh if X, or Y, is the identity still."""
        by_qr = kind.name == "sign.halley" and bool(values[2] > CHOLESKY)
        key = (kind.name, fresh, by_qr)
        if key not in self._known:
            self._known[key] = self._counted(kind, values, fresh=fresh)
        return self._known[key]

    def by_ratio(self, kind: Kind) -> Callable[[float], float]:
        """Return the price as a function of the ratio of the ends that the step is aimed at."""
        cheap = self.of(kind, kind.classical(self.problem.p), fresh=False)
        if kind.name != "sign.halley":
            return lambda ratio: cheap  # noqa: ARG005
        by_qr = self.of(kind, (1.0, 1.0, 2.0 * CHOLESKY), fresh=False)
        return lambda ratio: by_qr if qdwh(ratio)[2] > CHOLESKY else cheap

    def _counted(self, kind: Kind, values: tuple[float, ...], *, fresh: bool) -> float:
        tally = Tally(tall=self.tall)
        A = tally.variable(tall=self.tall)
        X = A if fresh else tally.variable(tall=self.tall)
        Y: Any = None
        if kind.coupled and self.problem.family != "sign":
            Y = tally.variable()
        if fresh and self.problem.family == "inv":
            X = tally.identity(A)
        elif fresh:
            v = self.problem.variables(tally, A)
            X, Y = v.X, v.Y
        kind.step(*values)(tally, Variables(X, Y, A, self.problem.p))
        return self.costs.of(tally.cost) + self.costs.step
