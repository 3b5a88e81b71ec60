"""Planning: against the exact search, on other spectra than it was made for, and how long it takes.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833: ratios of costs, transfer from Wishart
    matrices to others of the same limit, five runs.
Deviations
    The exact search on the interval is the yardstick; a spectrum that does not fit is tried too,
    with and without planning again; every plan counts, not the best of five.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np

from spectool import gallery
from spectool._types import FloatArray
from spectool.bench.dense.records import PlanRow
from spectool.bench.measure import NOTE
from spectool.dense.costs import Costs
from spectool.dense.planning.actions import State
from spectool.dense.planning.environment import IterationEnvironment
from spectool.dense.planning.exact_search import cheapest_schedule
from spectool.dense.planning.iteration_plan import IterationPlan
from spectool.dense.planning.plan import plan_iteration
from spectool.dense.planning.spectra import Nodes
from spectool.dense.problems import Problem
from spectool.errors import BreakdownError, SpectoolError
from spectool.planner.mcts import search

LOWER, RTOL = 1e-3, 1e-6
"""Interval and tolerance of the comparison with the exact search."""
RATIOS = {1.7: 8.5, 2.9: 12.8, 4.56: 15.6, 5.0: 16.0, 8.0: 19.0}
"""Costs of an inverse in products, and the published least cost of a schedule."""
ITERATIONS = 1500
"""Of the tree search where no incumbent helps it."""
SEEDS = 5
TRANSFER_RTOL = 1e-8
DIVERGENCE_RTOL, DIVERGENCE_ITERATIONS = 1e-4, 100
FAILURE = 10.0
"""Multiple of that tolerance from which a plan falls short."""


def _failed(row: PlanRow, error: Exception) -> PlanRow:
    return replace(row, note=f"{type(error).__name__}: {error}"[:NOTE])


def _names(plan: IterationPlan) -> tuple[str, ...]:
    return tuple(step.kind.name.partition(".")[2] for step in plan.schedule)


# --- against the exact search ----------------------------------------------------------------


class Unaided:
    """An environment whose rollouts are scaled iterations only: no other search helps the tree."""

    def __init__(self, environment: IterationEnvironment) -> None:
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def rollouts(self, state: State) -> Iterator[Any]:
        """Yield the continuations but those of the exact search."""
        environment = self._environment
        yield from itertools.islice(environment.rollouts(state), environment.n_policies, None)


def against_exact(
    ratio: float, *, seed: int, n_iterations: int = ITERATIONS, max_time: float = 1.0
) -> Iterator[PlanRow]:
    """Yield what all searches find for polar factors on ``[1e-3, 1]``, at a ratio of costs."""
    row = PlanRow("ratios", f"inverse / product = {ratio:g}", published=RATIOS.get(ratio, math.nan))
    problem, costs = Problem("polar"), Costs(inverse=ratio)
    nodes = Nodes.of_interval(LOWER)
    try:
        environment = IterationEnvironment(
            problem, nodes, costs, rtol=RTOL, eps=2.0**-52, classical_last=False, direct=False
        )
        exact = cheapest_schedule(environment.moves, LOWER, rtol=RTOL).cost
        begun = time.perf_counter()
        found = search(
            cast(Any, Unaided(environment)),
            environment.root,
            rng=np.random.default_rng(seed),
            n_iterations=n_iterations,
        )
        tree_seconds = time.perf_counter() - begun
        tree = environment.follow(found.path)[1]
        begun = time.perf_counter()
        plan = plan_iteration(
            "polar", nodes, rtol=RTOL, costs=costs, max_time=max_time, direct=False,
            classical_last=False, rng=seed,
        )  # fmt: skip
    except SpectoolError as error:
        yield _failed(row, error)
        return
    yield replace(
        row,
        cost=plan.cost,
        exact=exact,
        tree=tree,
        kinds=_names(plan),
        found_by=plan.found_by,
        seconds=time.perf_counter() - begun,
        figures={"tree seconds": tree_seconds, **_found(plan)},
    )


def _found(plan: IterationPlan) -> dict[str, float]:
    costs = plan.statistics.get("costs", {})
    return {name: float(costs[name]) for name in ("beam search", "tree search") if name in costs}


# --- transfer --------------------------------------------------------------------------------


def transferred(
    *, n: int = 256, seed: int, max_time: float = 1.0, rtol: float = TRANSFER_RTOL
) -> Iterator[PlanRow]:
    """Yield how a plan for Wishart matrices does on others, and what planning again gains.

    One row for entries that are uniform, with the same limit of the spectrum, and rows for
    spectra that the plan was not made for.
    """
    rng = np.random.default_rng(seed)
    row = PlanRow("transfer", "Wishart, d = 4 n")
    laws: dict[str, Callable[[], FloatArray]] = {
        "Wishart, d = 4 n": lambda: gallery.wishart(n, 4 * n, rng=rng),
        "uniform entries, d = 4 n": lambda: gallery.wishart(n, 4 * n, uniform=True, rng=rng),
        "Wishart, d = 1.2 n": lambda: gallery.wishart(n, n + n // 5, rng=rng),
        "Wishart, d = n": lambda: gallery.wishart(n, n, rng=rng),
    }
    samples = np.stack([laws["Wishart, d = 4 n"]() for _ in range(3)])
    begun = time.perf_counter()
    try:
        plan = plan_iteration(
            "invsqrt", samples, rtol=rtol, max_time=max_time, direct=False, rng=seed
        )
    except SpectoolError as error:
        yield _failed(row, error)
        return
    seconds = time.perf_counter() - begun
    reference: FloatArray | None = None
    for name, draw in laws.items():
        A = draw()
        curve = loss_curve(plan, A)
        reference = curve if reference is None else reference
        again_row = PlanRow(
            "transfer",
            name,
            cost=plan.cost,
            kinds=_names(plan),
            found_by=plan.found_by,
            seconds=seconds,
            losses={"predicted": tuple(plan.losses), "measured": tuple(curve.tolist())},
        )
        try:
            yield _transfer_row(again_row, plan, A, reference, rtol, max_time, seed)
        except SpectoolError as error:
            yield _failed(again_row, error)


def _transfer_row(
    row: PlanRow,
    plan: IterationPlan,
    A: FloatArray,
    reference: FloatArray,
    rtol: float,
    max_time: float,
    seed: int,
) -> PlanRow:
    found = plan.run(A)
    begun = time.perf_counter()
    again = plan_iteration("invsqrt", A, rtol=rtol, max_time=max_time, direct=False, rng=seed)
    seconds = time.perf_counter() - begun
    other = again.run(A)
    curve = np.asarray(row.losses["measured"])
    return replace(
        row,
        figures={
            "apart": deviation(curve, reference, floor=rtol),
            "further steps": float(found.n_further),
            "replaced": float(found.replaced),
            "loss": float(found.residual_norms.max()),
            "online cost": again.cost,
            "online further steps": float(other.n_further),
            "online replaced": float(other.replaced),
            "online loss": float(other.residual_norms.max()),
            "online seconds": seconds,
        },
    )


def loss_curve(plan: IterationPlan, A: FloatArray) -> FloatArray:
    """Return ``||R||_F / sqrt(n)`` before each step of a plan and at the end.

    A is divided by its norm, and by the room that the plan leaves above.
    """
    problem = plan.problem
    scale = float(np.linalg.norm(A, 2)) / plan.nodes.largest
    o = problem.algebra(A, hermitian=True)
    v = problem.variables(o, A / scale)
    losses = [float(o.norm(problem.residual(o, v)))]
    with np.errstate(all="ignore"):
        for step in plan.schedule:
            v = step(o, v)
            R = problem.residual(o, v)
            size = float(o.norm(v.A)) / A.shape[0] ** 0.5 if not v.coupled else 1.0
            losses.append(float(o.norm(R)) / size)
    return np.asarray(losses) / A.shape[0] ** 0.5


def deviation(curve: FloatArray, reference: FloatArray, *, floor: float) -> float:
    """Return the largest relative distance of two curves, where both are above the floor."""
    kept = (curve > floor) & (reference > floor)
    if not kept.any():
        return 0.0
    return float(np.max(np.abs(curve[kept] / reference[kept] - 1.0)))


# --- search time, and divergence -------------------------------------------------------------


def searched(
    *, n: int = 256, seed: int, seeds: int = SEEDS, max_time: float = 1.0
) -> Iterator[PlanRow]:
    """Yield the seconds and the spread of the costs of plans by several seeds."""
    rng = np.random.default_rng(seed)
    cases: dict[str, tuple[str, Any]] = {
        "sqrt, Wishart, d = n": ("sqrt", gallery.wishart(n, n, rng=rng)),
        "sign, Uniform[-1, 1]": ("sign", gallery.uniform_spectrum(n, rng=rng)),
        "polar, Gaussian": ("polar", rng.standard_normal((n, n))),
    }
    for name, (function, A) in cases.items():
        row = PlanRow("search", f"{name}, {seeds} seeds")
        costs, seconds, by = [], [], []
        try:
            for index in range(seeds):
                begun = time.perf_counter()
                plan = plan_iteration(
                    function, A[None], rtol=1e-8, max_time=max_time, direct=False, rng=seed + index
                )
                seconds.append(time.perf_counter() - begun)
                costs.append(plan.cost)
                by.append(plan.found_by)
        except SpectoolError as error:
            yield _failed(row, error)
            continue
        yield replace(
            row,
            cost=min(costs),
            found_by=", ".join(f"{who} {count}" for who, count in Counter(by).most_common()),
            seconds=float(np.median(seconds[1:] or seconds)),
            figures={"largest cost": max(costs), "first seconds": seconds[0]},
        )


def diverging(
    *, count: int = 100, n: int = 96, seed: int, n_iterations: int = DIVERGENCE_ITERATIONS
) -> Iterator[PlanRow]:
    """Yield how many of many plans in single precision diverge on a new matrix of their law.

    A plan diverges if its steps alone leave a residual that is not below 1. It falls short if they
    leave ``FAILURE`` times the tolerance, for a smallest eigenvalue that the sample did not have;
    further steps repair that in use.
    """
    rng = np.random.default_rng(seed)
    laws: dict[str, Callable[[], FloatArray]] = {
        "sqrt": lambda: gallery.wishart(n, n, rng=rng),
        "invsqrt": lambda: gallery.wishart(n, 2 * n, rng=rng),
        "sign": lambda: gallery.uniform_spectrum(n, rng=rng),
        "polar": lambda: rng.standard_normal((2 * n, n)),
        "inverse_root": lambda: gallery.wishart(n, 2 * n, rng=rng),
    }
    ratios = (1.7, 2.9, 5.0, 8.0)
    diverged: list[str] = []
    short, further, replaced, none = 0, 0, 0, 0
    seconds = []
    for index in range(count):
        function = list(laws)[index % len(laws)]
        sample, A = (laws[function]().astype(np.float32) for _ in range(2))
        begun = time.perf_counter()
        try:
            plan = plan_iteration(
                function,
                sample[None],
                rtol=DIVERGENCE_RTOL,
                costs=Costs(inverse=ratios[index % len(ratios)]),
                direct=False,
                n_iterations=n_iterations,
                rng=seed + index,
            )
        except BreakdownError:
            none += 1
            continue
        seconds.append(time.perf_counter() - begun)
        end = alone(plan, A)
        if not end < 1.0:
            diverged.append(f"{function} {end:.1e}")
        short += FAILURE * DIVERGENCE_RTOL < end < 1.0
        found = plan.run(A)
        further += found.n_further > 0
        replaced += found.replaced > 0
    yield PlanRow(
        "divergence",
        f"{count} plans in float32",
        seconds=float(np.median(seconds)) if seconds else math.nan,
        figures={
            "plans": float(len(seconds)),
            "without a plan": float(none),
            "diverged": float(len(diverged)),
            "short": float(short),
            "with further steps": float(further),
            "replaced": float(replaced),
        },
        note=", ".join(diverged)[:NOTE],
    )


def alone(plan: IterationPlan, A: Any) -> float:
    """Return ``||R||_F / sqrt(n)`` after the planned steps and nothing else; inf if they break."""
    problem = plan.problem
    hermitian = problem.function != "polar"
    scale = float(np.linalg.norm(A, 2)) / plan.nodes.largest
    o = problem.algebra(A, hermitian=hermitian)
    v = problem.variables(o, A / A.dtype.type(scale))
    try:
        with np.errstate(all="ignore"):
            for step in plan.schedule:
                v = step(o, v)
            R = problem.residual(o, v)
            size = 1.0
            if not v.coupled and problem.family in ("sqrt", "root"):
                size = float(o.norm(v.A)) / A.shape[1] ** 0.5
            end = float(o.norm(R)) / A.shape[1] ** 0.5 / size
    except (np.linalg.LinAlgError, BreakdownError):
        return math.inf
    return end if math.isfinite(end) else math.inf
