"""A plan of steps for matrices of one kind of spectrum: runs, prints, and is stored as JSON.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025).
Cost
    See ``dense.plan_run``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from spectool._types import FloatArray
from spectool.dense.accuracy import widened
from spectool.dense.algebra import Tensor
from spectool.dense.costs import Costs
from spectool.dense.decompositions import (
    DECOMPOSITIONS,
    FASTEST,
    IDENTITY_START,
    SCALINGS,
    scaled_start,
)
from spectool.dense.door import to_host
from spectool.dense.gauss import norm_estimate
from spectool.dense.iterations import ZOO
from spectool.dense.planning.execution import SEED, PlanRun, run_plan
from spectool.dense.planning.spectra import ROOM, Nodes
from spectool.dense.problems import Problem
from spectool.dense.run import Run
from spectool.dense.steps import Kind, Stability, Step, Variables
from spectool.errors import InputError

__all__ = ["IterationPlan", "PlanRun"]

_KINDS: dict[str, Kind] = {
    **ZOO,
    **{one.kind.name: one.kind for one in DECOMPOSITIONS},
    **{kind.name: kind for kind in SCALINGS.values()},
    IDENTITY_START.name: IDENTITY_START,
}
_STABLEST = {
    "sign": "sign.newton_schulz",
    "inv": "inv.newton_schulz",
    "sqrt": "sqrt.newton_schulz",
    "root": "root.iannazzo",
    "inverse_root": "inverse_root.newton",
}


@dataclass(frozen=True, slots=True, eq=False)
class IterationPlan:
    """Steps for a function of matrices; call it with arrays of NumPy or torch, also in batches.

    It is a ``Method`` too: pass it to verbs as ``plan=``.

    Attributes
    ----------
    problem : Problem
        The function.
    schedule : tuple of Step
        What is done.
    nodes : Nodes
        The scaled spectrum that it is for.
    rtol, dtype, device : float, str, str
        What it is for.
    costs : Costs
        What operations cost.
    cost : float
        Predicted, in products.
    losses : tuple of float
        Predicted ``||R||_F / sqrt(n)`` before each step and at the end.
    errors : tuple of float
        Predicted relative errors of the answer by rounding, after each step.
    prices : tuple of float
        Predicted cost of each step, in products.
    found_by : str
        Which search.
    pair : bool
        Whether square root and inverse square root are computed together.
    statistics : dict
        Of the searches.
    """

    problem: Problem
    schedule: tuple[Step, ...]
    nodes: Nodes = field(repr=False)
    rtol: float
    dtype: str
    device: str
    costs: Costs = field(repr=False)
    cost: float
    losses: tuple[float, ...]
    errors: tuple[float, ...]
    prices: tuple[float, ...]
    found_by: str
    pair: bool = False
    statistics: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Of the method, for reports."""
        return f"plan of {len(self.schedule)} steps ({self.found_by})"

    @property
    def direct(self) -> bool:
        """Whether the plan is a direct method and nothing else."""
        return len(self.schedule) == 1 and self.schedule[0].kind.order == FASTEST

    @property
    def seconds(self) -> float | None:
        """Predicted seconds; None where the costs are ratios."""
        return self.cost * self.costs.product if self.costs.unit == "s" else None

    @property
    def square(self) -> bool:
        """Whether X must be square: an inverse of it is taken."""
        return any(step.kind.name == "sign.newton" for step in self.schedule)

    def method(self) -> Self | None:
        """Return the method for verbs: itself, or None for the direct one."""
        return None if self.direct else self

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield a change of scale, the planned steps, and classical ones as long as needed."""
        estimate = norm_estimate(widened(run.variables.A), np.random.default_rng(SEED))
        largest = to_host(estimate).astype(np.float64)
        scale = 1.0 / np.where(largest > 0, ROOM * largest, 1.0)
        schedule = list(self.schedule)
        identity = schedule[0].kind is IDENTITY_START
        if identity:
            yield schedule.pop(0)
        name, value = scaled_start(self.problem, scale, identity=identity)
        yield Step(_KINDS[name], (float(value) if np.ndim(value) == 0 else value,))
        for step in schedule:
            yield _unscaled(step, self.problem, scale)
        further = self._further(run.variables)
        while further is not None:
            yield further

    def _further(self, v: Variables) -> Step | None:
        """Return the classical step that follows a plan; None if there is none from here."""
        last = self.schedule[-1].kind
        single = self.problem.family in ("sign", "inv")
        if last.order == FASTEST:
            return None
        if not single and not v.coupled:
            return Step(last, last.classical(v.p)) if last.stability is Stability.STABLE else None
        usable = last.order > 1 and (single or last.coupled) and last.parameters
        kind = last if usable else _KINDS[_STABLEST[self.problem.family]]
        return Step(kind, kind.classical(v.p))

    def __call__(self, A: Any) -> Tensor:
        """Return the function of each matrix; shape (..., m, n) of A, its type and device.

        Raises
        ------
        InputError
            If A is not finite, not Hermitian where it must be, or of another shape.
        BreakdownError
            If no finite answer was found, by a direct method either.
        """
        return self.run(A).value

    def run(self, A: Any) -> PlanRun:
        """Return the function of each matrix, and how it went. Raises as a call does."""
        return run_plan(self, A)

    def to_json(self) -> str:
        """Return the plan as JSON."""
        record = {
            "function": self.problem.function,
            "p": self.problem.p,
            "schedule": [
                {"kind": step.kind.name, "values": [float(value) for value in step.values]}
                for step in self.schedule
            ],
            "nodes": self.nodes.to_json(),
            "costs": self.costs.to_json(),
            **{name: getattr(self, name) for name in _PLAIN},
        }
        return json.dumps(record, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the plan that ``to_json`` wrote; raises InputError for anything else."""
        try:
            record = json.loads(text)
            schedule = tuple(
                Step(_KINDS[step["kind"]], tuple(step["values"])) for step in record["schedule"]
            )
            plain: dict[str, Any] = {
                name: tuple(record[name]) if isinstance(record[name], list) else record[name]
                for name in _PLAIN
            }
            return cls(
                problem=Problem(record["function"], record["p"]),
                schedule=schedule,
                nodes=Nodes.from_json(record["nodes"]),
                costs=Costs.from_json(record["costs"]),
                **plain,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"text must be what IterationPlan.to_json wrote: {error!r}") from error

    def __str__(self) -> str:
        m, n = self.nodes.shape
        lines = [
            f"{self.problem.function}{'' if self.problem.p < 3 else f', p = {self.problem.p}'} of "
            f"A ({m} x {n}, {self.dtype}, {self.device}) to {self.rtol:.1e}, "
            f"for {self.nodes.source}"
        ]
        if not self.direct:
            lines.append(f"    A <- A / ||A||_2, by an estimate; {_START[self.problem.family]}")
        for index, step in enumerate(self.schedule):
            formula = _formula(step.kind)
            values = ", ".join(
                f"{parameter.name} = {value:.6g}"
                for parameter, value in zip(step.kind.parameters, step.values, strict=True)
            )
            lines.append(
                f"    {formula:<52} # {step.kind.name}{': ' if values else ''}{values}; "
                f"{self.prices[index]:.3g} products, loss {self.losses[index + 1]:.1e}"
            )
        time_ = "" if self.seconds is None else f", {self.seconds:.3g} s"
        lines.append(f"predicted {self.cost:.4g} products{time_}; found by {self.found_by}")
        if self.direct:
            lines.append("nothing that was searched is cheaper than LAPACK here")
        return "\n".join(lines)


_PLAIN = (
    "rtol",
    "dtype",
    "device",
    "cost",
    "losses",
    "errors",
    "prices",
    "found_by",
    "pair",
    "statistics",
)
_START = {
    "sign": "X <- A",
    "inv": "X <- A^H",
    "sqrt": "X <- A, Y <- I",
    "root": "X <- I, Y <- A",
    "inverse_root": "X <- I, Y <- A",
}


def _formula(kind: Kind) -> str:
    text = (kind.rule.__doc__ or kind.name).split("``.")[0].split("``:")[0]
    text = " ".join(text.replace("`", "").split()).removesuffix(".")
    # One form is enough.
    return text if "with" in text or "," in text else text.split(" = ")[0]


def _unscaled(step: Step, problem: Problem, scale: FloatArray) -> Step:
    """Return a step for variables of scaled A where A itself is not: relaxation sees A."""
    relaxed = {"sqrt.visser": 0.5, "sqrt.visser_coupled": 0.5, "root.visser": 1.0 - 1.0 / problem.p}
    exponent = relaxed.get(step.kind.name)
    if exponent is None:
        return step
    factor = scale**exponent
    value = step.values[0] * factor
    return Step(step.kind, (float(value) if np.ndim(value) == 0 else value,))
