"""Tree search and beam beside enumeration: polynomials for CG, found within the same seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectool._types import FloatArray
from spectool.bench.learned.designs import MOST, cg_iterations
from spectool.learned import NAMES, member
from spectool.learned.features import scaled_probe
from spectool.operators import as_operator, jacobi_scale
from spectool.planner import operator_costs, search
from spectool.planner.plan import PlanCosts
from spectool.planner.systems import CgSpace
from spectool.planner.tuning import DEGREES, CgEnvironment, Draft
from spectool.polynomials import Recurrence, chebyshev_inverse
from spectool.spectrum import probe


@dataclass(frozen=True, slots=True, eq=False)
class SearchRow:
    """One search on one matrix, within the same seconds.

    Attributes
    ----------
    matrix, search : str
        Names.
    predicted : float
        Seconds of what it found, by simulation.
    evaluated : int
        Polynomials that it simulated.
    counted : float
        The same seconds with the iterations that CG really takes.
    degree : int
        Of it.
    """

    matrix: str
    search: str
    predicted: float
    evaluated: int
    counted: float
    degree: int

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        names = ("matrix", "search", "predicted", "evaluated", "counted", "degree")
        return {"part": "search"} | {name: getattr(self, name) for name in names}


def run_searches(
    name: str, A: Any, b: FloatArray, *, seed: int, seconds: float
) -> Iterator[SearchRow]:
    """Yield what enumeration, tree and beam find on the completed spectrum, and its worth."""
    operator = as_operator(A, assume_a="her")
    scale = jacobi_scale(operator)
    scaled = operator if scale is None else operator.scaled(scale)
    spectrum = probe(scaled, scaling="symmetric", rng=np.random.default_rng(seed))
    costs = operator_costs(scaled, scaled.prepared(1000.0))
    space = CgSpace(spectrum, PlanCosts(costs, costs), 1e-8, 1, single=False)
    environment = CgEnvironment(space.price, scaled_probe(spectrum))
    plain = cg_iterations(scaled, b, None, most=MOST)

    def row(label: str, q: Recurrence, evaluated: int) -> SearchRow:
        predicted = space.seconds(q, space.iterations(q))
        count = cg_iterations(scaled, b, q, most=2 * plain + 20)
        counted = space.seconds(q, float(count))
        return SearchRow(name, label, predicted, evaluated, counted, q.degree)

    designs = [member(n, spectrum, d).recurrence for d in DEGREES for n in NAMES]
    best = min(designs, key=lambda q: space.seconds(q, space.iterations(q)))
    yield row("enumeration", best, len(designs))
    before = space.evaluated
    result = search(environment, Draft(), rng=seed, max_time=seconds)
    draft = Draft()
    for kind, values in result.path:
        draft = draft if kind == "stop" else environment.step(draft, kind, values).state
    if draft.q is not None:
        yield row("tree", environment.in_unit(draft.q), space.evaluated - before)
    before = space.evaluated
    found = _beam(CgEnvironment(space.price, scaled_probe(spectrum)), seconds)
    yield row("beam", environment.in_unit(found), space.evaluated - before)


def _beam(environment: CgEnvironment, seconds: float, width: int = 6) -> Recurrence:
    """Keep the best lower ends, and look closer around them, until time is up."""
    deadline = time.perf_counter() + seconds

    def value(state: tuple[int, float]) -> float:
        return environment.reward(chebyshev_inverse((state[1], 1.0), state[0]))

    step = 4.0
    states = [(d, min(1.0 / (c * (d + 1) ** 2), 0.5)) for d in DEGREES for c in (8.0, 2.0, 0.5)]
    kept = sorted({state: value(state) for state in states}.items(), key=lambda e: -e[1])[:width]
    while time.perf_counter() < deadline and step > 1.02:
        step = math.sqrt(step)
        near = {(d, min(low * f, 0.5)) for (d, low), _ in kept for f in (step, 1.0 / step)}
        found = dict(kept) | {state: value(state) for state in near}
        kept = sorted(found.items(), key=lambda entry: -entry[1])[:width]
    (degree, low), _ = kept[0]
    return chebyshev_inverse((low, 1.0), degree)
