r"""Planning: which steps, with which values, for a spectrum, a precision and a machine.

Baselines, the exact search on the interval and a beam search on the whole spectrum come first; what
they find is the incumbent of the tree search, so that nothing worse is returned.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025).
Deviations
    (1) Online: the spectrum may be that of one matrix at hand, by a sketch, instead of one of a
    distribution. (2) Direct methods compete. (3) The best plans are replayed on a matrix, in the
    data type they are for, before one is accepted.
Cost
    ``max_time`` seconds, and those of measuring costs, once per shape.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from spectool._types import Rng
from spectool.dense.costs import Costs, dtype_name, measured_costs
from spectool.dense.planning.beam import WIDTH, Found, baselines, beam_search
from spectool.dense.planning.environment import IterationEnvironment
from spectool.dense.planning.inputs import check_domain, given_nodes
from spectool.dense.planning.iteration_plan import IterationPlan
from spectool.dense.planning.replay import replayed
from spectool.dense.problems import Problem
from spectool.errors import BreakdownError, InputError
from spectool.planner.mcts import search

__all__ = ["plan_iteration"]

EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
"""Rounding of the data types that plans are made for."""
COMPLEX = {"complex64": "float32", "complex128": "float64"}
ROUNDING = 4.0
"""Multiple of eps that is the tolerance if none is given."""
FINALISTS = 6
"""Most plans that are replayed before direct methods."""
SHARE = 0.4
"""Part of the time that the beam search may take."""


def plan_iteration(
    function: str,
    samples_or_spectrum: Any,
    *,
    p: int | None = None,
    rtol: float | None = None,
    dtype: Any = None,
    device: str | None = None,
    shape: tuple[int, int] | None = None,
    costs: Costs | None = None,
    max_time: float = 1.0,
    n_iterations: int | None = None,
    width: int = WIDTH,
    pair: bool = False,
    direct: bool = True,
    classical_last: bool = True,
    rng: Rng = None,
    callback: Callable[[Any], Any] | None = None,
) -> IterationPlan:
    """Plan the steps that compute a function of matrices in the least time.

    Parameters
    ----------
    function : str
        "inv", "sign", "polar", "sqrt", "invsqrt", "root" or "inverse_root".
    samples_or_spectrum : array or sequence of arrays or Nodes
        Sample matrices, (k, m, n) or a sequence of (m, n), by their exact spectra; one matrix
        (m, n), by a sketch in O(n^2); eigenvalues (singular values for polar factors), shape (k,).
    p : int or None
        Which root; 2 if None.
    rtol : float or None
        For ``||R||_F / sqrt(n)``; a few units of rounding if None.
    dtype : dtype, str or None
        That of the matrices; of the samples if None, float64 for spectra.
    device : str or None
        As for ``measured_costs``; of the samples if None.
    shape : tuple of int or None
        (m, n) of the matrices; of the samples if None.
    costs : Costs or None
        What operations cost; measured if None.
    max_time : float
        Seconds for the searches, if ``n_iterations`` is not given.
    n_iterations : int or None
        Iterations of the tree search; then the plan depends on the rng and the costs alone.
    width : int
        States that the beam search keeps.
    pair : bool
        Whether square root and inverse square root are wanted together.
    direct : bool
        Whether direct methods compete.
    classical_last : bool
        Whether the last step has its classical values, so that more of them converge further.
    rng : Generator, int or None
        For sketches, the tree search, and the replay.
    callback : callable or None
        Passed to the tree search.

    Returns
    -------
    IterationPlan
        Callable on arrays; a ``Method``; prints as pseudo-code.

    Raises
    ------
    InputError
        If an argument is outside its domain.
    NotPositiveDefiniteError
        If a sketched spectrum is negative under a root.
    BreakdownError
        If no plan reaches rtol in this data type.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool.dense.costs import Costs
    >>> costs = Costs(inverse=1.7)
    >>> plan = plan_iteration("polar", [0.001, 0.03, 1], rtol=1e-6, costs=costs, n_iterations=5)
    >>> plan.cost <= 8.5
    True
    """
    if p is None:
        p = 2 if function in ("sqrt", "invsqrt", "root", "inverse_root") else 1
    problem = Problem(function, p)
    _checked(problem, rtol, max_time, width, pair=pair)
    generator = np.random.default_rng(rng)
    nodes, found_dtype, found_device = given_nodes(problem, samples_or_spectrum, generator)
    if shape is not None:
        m, n = (int(size) for size in shape)
        nodes = replace(nodes, shape=(max(m, n), min(m, n)))
    name = dtype_name(found_dtype if dtype is None else dtype)
    name = COMPLEX.get(name, name)
    if name not in EPS:
        raise InputError(f"dtype must be one of {', '.join(EPS)}, got {dtype!r}.")
    place = found_device if device is None else str(device)
    check_domain(problem, nodes)
    scaled = nodes.scaled()
    tolerance = ROUNDING * EPS[name] if rtol is None else float(rtol)
    if costs is None:
        costs = measured_costs(nodes.shape, name, place)
    environment = IterationEnvironment(
        problem,
        scaled,
        costs,
        rtol=tolerance,
        eps=EPS[name],
        pair=pair,
        classical_last=classical_last,
        direct=direct,
    )
    found, statistics = _searched(environment, generator, max_time, n_iterations, width, callback)
    plan = _accepted(environment, found, name, place, costs, statistics, generator)
    if plan is None:
        raise BreakdownError(
            f"no plan brings the residual of {function} to {tolerance:.1e} in {name}, with "
            f"eigenvalues down to {scaled.smallest:.1e} of the largest; loosen rtol, take a wider "
            "data type, or offer direct methods, by costs with eigh, svd or inverse."
        )
    return plan


def _checked(problem: Problem, rtol: Any, max_time: float, width: int, *, pair: bool) -> None:
    if problem.family in ("root", "inverse_root") and problem.p < 2:
        raise InputError(f"p must be at least 2 for {problem.function}, got {problem.p}.")
    if rtol is not None and not 0.0 < float(rtol) < 1.0:
        raise InputError(f"rtol must lie in (0, 1), or be None; got {rtol!r}.")
    if not max_time > 0.0:
        raise InputError(f"max_time must be positive, got {max_time!r}.")
    if width < 1:
        raise InputError(f"width must be at least 1, got {width!r}.")
    if pair and problem.family != "sqrt":
        raise InputError(f"pair is for square roots; the function is {problem.function}.")


def _searched(
    environment: IterationEnvironment,
    rng: np.random.Generator,
    max_time: float,
    n_iterations: int | None,
    width: int,
    callback: Callable[[Any], Any] | None,
) -> tuple[list[Found], dict[str, Any]]:
    """Return plans by increasing cost, and what the searches did."""
    begun = time.perf_counter()
    found = baselines(environment)
    best = min(found, key=lambda one: one.cost, default=Found((), math.inf, ""))
    limit = math.inf if n_iterations is not None else SHARE * max_time
    beam, n_tried = beam_search(environment, width=width, bound=best.cost, max_time=limit)
    found.append(beam)
    best = min(found, key=lambda one: one.cost)
    beam_seconds = time.perf_counter() - begun
    left = None if n_iterations is not None else max(max_time - beam_seconds, 0.05)
    result = search(
        environment,
        environment.root,
        rng=rng,
        n_iterations=n_iterations,
        max_time=left,
        incumbent=best.path if math.isfinite(best.cost) else None,
        callback=callback,
    )
    path, cost, _ = environment.follow(result.path)
    found.append(Found(path, cost, "tree search"))
    usable = [one for one in found if math.isfinite(one.cost) and one.path]
    # Equal costs go to whoever found them first.
    usable.sort(key=lambda one: one.cost)
    statistics = {
        "seconds": time.perf_counter() - begun,
        "beam_seconds": beam_seconds,
        "beam_steps": n_tried,
        "tree": {
            name: value
            for name, value in result.statistics.items()
            if name in ("iterations", "nodes", "depth", "rollouts", "transitions", "seconds")
        },
        "costs": {one.found_by: one.cost for one in reversed(usable)},
    }
    return usable, statistics


def _accepted(
    environment: IterationEnvironment,
    found: list[Found],
    dtype: str,
    device: str,
    costs: Costs,
    statistics: dict[str, Any],
    rng: np.random.Generator,
) -> IterationPlan | None:
    """Return the cheapest plan that keeps its word on a matrix."""
    seed = int(rng.integers(2**31))
    replays = 0
    for one in found:
        schedule, states = environment.steps(one.path)
        is_direct = schedule[-1].kind.name in environment.direct and len(schedule) == 1
        if not is_direct:
            if replays >= FINALISTS:
                continue
            replays += 1
            if not replayed(environment, schedule, dtype, np.random.default_rng(seed)):
                continue
        before = [environment.root, *states]
        prices = [
            -environment.step(state, action, values).reward
            for state, (action, values) in zip(before, one.path, strict=False)
        ]
        errors = [environment.rounding.of_answer(s.variables, s.noise) for s in states]
        if states[-1].variables.X is environment.target:  # by a direct method
            errors[-1] = environment.inherent
        return IterationPlan(
            environment.problem,
            tuple(schedule),
            environment.nodes,
            environment.rtol,
            dtype,
            device,
            costs,
            one.cost,
            tuple(state.loss for state in before),
            tuple(errors),
            tuple(prices),
            one.found_by,
            environment.pair,
            {**statistics, "replays": replays},
        )
    return None
