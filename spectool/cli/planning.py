"""What ``spectool plan`` reads, prints and draws: a schedule of steps for dense matrices."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spectool import gallery, plotting
from spectool._types import FloatArray
from spectool.dense.algebra import SpectrumAlgebra
from spectool.dense.costs import Costs
from spectool.dense.planning.aims import coordinate, limit
from spectool.dense.planning.environment import IterationEnvironment
from spectool.dense.planning.iteration_plan import IterationPlan
from spectool.dense.planning.plan import EPS, plan_iteration
from spectool.dense.planning.spectra import Nodes
from spectool.dense.problems import Problem
from spectool.errors import InputError

__all__ = ["DISTRIBUTIONS", "draw_plan", "make_plan", "plan_lines", "subject"]

DIRECT = "direct method"
SEARCHES = ("beam search", "tree search", "exact search on the interval")
BASELINES = 3
"""Classical iterations that are drawn beside a plan."""
SAMPLES = 3
DISTRIBUTIONS: dict[str, Callable[[int, int, np.random.Generator], FloatArray]] = {
    "wishart": lambda m, n, rng: gallery.wishart(n, m, rng=rng),
    "wishart-uniform": lambda m, n, rng: gallery.wishart(n, m, uniform=True, rng=rng),
    "uniform": lambda m, n, rng: gallery.uniform_spectrum(n, rng=rng),  # noqa: ARG005
    "quartic": lambda m, n, rng: gallery.quartic_hessian(n, rng=rng),  # noqa: ARG005
    "erdos-renyi": lambda m, n, rng: gallery.erdos_renyi_laplacian(n, rng=rng),  # noqa: ARG005
    "images": lambda m, n, rng: gallery.image_covariance(n, m, rng=rng),
    "heavy-tailed": lambda m, n, rng: gallery.heavy_tailed(m, n, rng=rng),
    "gaussian": lambda m, n, rng: rng.standard_normal((m, n)),
}
"""Draws by name: rows (or degrees of freedom, or images), order, generator."""


# --- what is planned for ---------------------------------------------------------------------


def subject(
    spectrum: Path | None,
    matrix: Path | None,
    distribution: str | None,
    interval: float | None,
    n: int,
    rows: int | None,
    seed: int,
) -> Any:
    """Return what `plan_iteration` takes: values, a matrix, samples or nodes.

    Raises
    ------
    InputError
        If not exactly one of the four is given, or a file does not hold what it should.
    """
    given = [each for each in (spectrum, matrix, distribution, interval) if each is not None]
    if len(given) != 1:
        raise InputError(
            f"give one of --spectrum, --matrix, --distribution and --interval; got {len(given)}."
        )
    if spectrum is not None:
        return _values(spectrum)
    if matrix is not None:
        return _matrix(matrix)
    if interval is not None:
        return Nodes.of_interval(interval, n=n)
    if distribution not in DISTRIBUTIONS:
        raise InputError(
            f"distribution must be one of {', '.join(DISTRIBUTIONS)}; got {distribution!r}."
        )
    rng = np.random.default_rng(seed)
    draw = DISTRIBUTIONS[distribution]
    return np.stack([draw(n if rows is None else rows, n, rng) for _ in range(SAMPLES)])


def _values(path: Path) -> FloatArray:
    """Read eigenvalues or singular values: .npy, or text of numbers."""
    _exists(path)
    try:
        found = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, ndmin=1)
    except ValueError as error:
        raise InputError(f"{path} holds no numbers: {error}") from error
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        raise InputError(f"{path} must hold real numbers, one dimension; got {found.shape}.")
    return found.astype(np.float64)


def _matrix(path: Path) -> Any:
    """Read a dense matrix: .npy, or Matrix Market."""
    _exists(path)
    if path.suffix == ".npy":
        try:
            return np.load(path)
        except ValueError as error:
            raise InputError(f"{path} is not a NumPy file of numbers: {error}") from error
    if path.suffix != ".mtx":
        raise InputError(f"--matrix takes .npy and .mtx; got {path.name}.")
    import scipy.io

    try:
        found = scipy.io.mmread(path, spmatrix=False)
    except ValueError as error:
        raise InputError(f"{path} is not a Matrix Market file: {error}") from error
    return found if isinstance(found, np.ndarray) else found.toarray()


def _exists(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no file {path}.")


def given_costs(text: str | None) -> Costs | None:
    """Return costs from ``product=1,inverse=2.9`` or a JSON record; None to measure them.

    Raises InputError if a name or a number is wrong.
    """
    if text is None:
        return None
    if text.lstrip().startswith("{"):
        try:
            record = json.loads(text)
        except ValueError as error:
            raise InputError(f"--costs is no JSON: {error}") from error
        return Costs.from_json(record)
    record = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            record[name.strip()] = float(value)
        except ValueError:
            raise InputError(
                f"--costs takes name=number, like inverse=2.9,eigh=4; got {part!r}."
            ) from None
    return Costs.from_json(record)


def make_plan(
    function: str,
    given: Any,
    *,
    p: int | None,
    rtol: float | None,
    dtype: str | None,
    device: str | None,
    costs: str | None,
    max_time: float,
    iterations_only: bool,
    pair: bool,
    seed: int,
) -> IterationPlan:
    """Return the plan. Raises what `plan_iteration` raises."""
    return plan_iteration(
        function,
        given,
        p=p,
        rtol=rtol,
        dtype=dtype,
        device=device,
        costs=given_costs(costs),
        max_time=max_time,
        direct=not iterations_only,
        pair=pair,
        rng=seed,
    )


# --- what is printed -------------------------------------------------------------------------


def plan_lines(plan: IterationPlan) -> Iterator[str]:
    """Yield the pseudo-code, the cost beside others', and what the searches did."""
    yield from str(plan).splitlines()
    costs = plan.statistics.get("costs", {})
    classical = {
        name: cost for name, cost in costs.items() if name != DIRECT and name not in SEARCHES
    }
    for label, cost in _compared(costs, classical):
        if math.isfinite(cost):
            ratio = cost / plan.cost if plan.cost > 0 else math.inf
            yield f"  {label:<44} {_priced(plan, cost)}, {ratio:.2f}x the plan"
    statistics = {
        name: value
        for name, value in plan.statistics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    said = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in statistics.items())
    if said:
        yield f"  searches: {said}"
    tree = plan.statistics.get("tree")
    if isinstance(tree, dict):
        said = ", ".join(
            f"{name.replace('_', ' ')} {value:.4g}"
            for name, value in tree.items()
            if isinstance(value, int | float)
        )
        yield f"  tree: {said}"


def _compared(costs: dict[str, float], classical: dict[str, float]) -> Iterator[tuple[str, float]]:
    if classical:
        name = min(classical, key=lambda name: classical[name])
        yield f"best classical iteration, scaled: {name}", classical[name]
    if DIRECT in costs:
        yield "LAPACK", costs[DIRECT]
    for name in SEARCHES:
        if name in costs:
            yield name, costs[name]


def _priced(plan: IterationPlan, cost: float) -> str:
    text = f"{cost:.4g} products"
    return f"{text}, {cost * plan.costs.product:.3g} s" if plan.costs.unit == "s" else text


# --- pictures --------------------------------------------------------------------------------


def draw_plan(plan: IterationPlan, path: Path) -> None:
    """Draw the spectrum through the steps, and loss against time; the suffix is the format."""
    left, right = plotting.blank_panels(2, (6.4, 4.2))
    plotting.spectrum_steps(
        spectra_of(plan),
        weights=plan.nodes.weights,
        labels=[step.kind.name.partition(".")[2] for step in plan.schedule],
        ax=left,
    )
    left.set_title(f"{plan.problem.function}: the spectrum through the steps")
    unit = plan.costs.unit
    scale = plan.costs.product if unit == "s" else 1.0
    curves = {
        name: [(scale * cost, loss) for cost, loss in curve] for name, curve in losses(plan).items()
    }
    plotting.loss_against_time(curves, unit=unit, tolerance=plan.rtol, ax=right)
    right.set_title("Predicted loss against cost")
    plotting.save(left, path)


def spectra_of(plan: IterationPlan) -> list[FloatArray]:
    """Return where the spectrum is before each step and at the end: 1 at the limit."""
    o, problem, A = SpectrumAlgebra(), plan.problem, plan.nodes.values
    target = limit(problem, A)
    v = problem.variables(o, A)
    found = [coordinate(problem, v, target)]
    for step in plan.schedule:
        if _is_direct(step):
            found.append(np.ones_like(A))
            continue
        v = step(o, v)
        found.append(coordinate(problem, v, target))
    return [np.abs(values) for values in found]


def _is_direct(step: Any) -> bool:
    return bool(step.kind.source == "LAPACK")


def losses(plan: IterationPlan) -> dict[str, list[tuple[float, float]]]:
    """Return losses against cost, in products: of the plan, of classical iterations, of LAPACK."""
    spent = np.concatenate([[0.0], np.cumsum(plan.prices)])
    ended = [max(loss, 1e-17) for loss in plan.losses]
    found = {"plan": [(float(cost), loss) for cost, loss in zip(spent, ended, strict=True)]}
    environment = IterationEnvironment(
        Problem(plan.problem.function, plan.problem.p),
        plan.nodes,
        plan.costs,
        rtol=plan.rtol,
        eps=EPS[plan.dtype],
        pair=plan.pair,
        direct=False,
    )
    curves = {}
    for rollout in list(environment.rollouts(environment.root))[environment.n_policies :]:
        curve = _walked(environment, rollout)
        if curve is not None and curve[0] not in curves:
            curves[curve[0]] = curve[1]
    for name in sorted(curves, key=lambda name: curves[name][-1][0])[:BASELINES]:
        found[name.partition(".")[2] + ", scaled"] = curves[name]
    direct = plan.statistics.get("costs", {}).get(DIRECT)
    if direct is not None and math.isfinite(direct):
        found["LAPACK"] = [(float(direct), EPS[plan.dtype])]
    return found


def _walked(
    environment: IterationEnvironment, rollout: Any
) -> tuple[str, list[tuple[float, float]]] | None:
    """Return a name and the losses of a baseline; None if it does not end well."""
    path, cost, state = environment.follow(rollout)
    if not path or not math.isfinite(cost) or not state.finished:
        return None
    state, spent = environment.root, 0.0
    curve = [(0.0, state.loss)]
    for action, values in path:
        moved = environment.step(state, action, values)
        state, spent = moved.state, spent - moved.reward
        curve.append((spent, max(state.loss, 1e-17)))
    return path[-1][0].partition(":")[0], curve
