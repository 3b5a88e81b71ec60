"""Beam search on the full spectrum; the exact search on its interval says what remains.

Source
    Beam search with a cost-to-go heuristic (Russell and Norvig, Artificial
    Intelligence, chapter 4).
Deviations
    A continuous parameter is tried at a few places; states of one depth with nearly the same
    interval and loss count as one.
Cost
    About ``width`` times the number of actions steps on the spectrum per depth: 0.1 to 0.5 s.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from spectool.dense.planning.actions import Action, Path, State
from spectool.dense.planning.environment import IterationEnvironment

__all__ = ["WIDTH", "Found", "baselines", "beam_search"]

WIDTH = 10
"""States that are kept per depth."""
PLACES = (0.3, 0.6)
"""Where a continuous parameter is tried, within its range."""


class Found(NamedTuple):
    """A plan that some search found.

    Attributes
    ----------
    path : sequence of (action, values)
        What to do.
    cost : float
        In products; infinite if the plan does not end.
    found_by : str
        Name of the search.
    """

    path: Path
    cost: float
    found_by: str


class _Entry(NamedTuple):
    total: float
    cost: float
    state: State
    path: tuple[tuple[Action, tuple[float, ...]], ...]


def baselines(environment: IterationEnvironment) -> list[Found]:
    """Return the plans of the direct methods, the exact search and each scaled iteration."""
    found = []
    root = environment.root
    for action in environment.kinds(root):
        if action in environment.direct:
            path, cost, _ = environment.follow([(action, ())])
            found.append(Found(path, cost, "direct method"))
    for index, rollout in enumerate(environment.rollouts(root)):
        path, cost, _ = environment.follow(rollout)
        if not path:
            continue
        name = path[-1][0].partition(":")[0]
        exact = bool(environment.moves) and index < environment.n_policies
        found.append(Found(path, cost, "exact search on the interval" if exact else name))
    return found


def beam_search(
    environment: IterationEnvironment,
    *,
    width: int = WIDTH,
    bound: float = math.inf,
    max_time: float = math.inf,
) -> tuple[Found, int]:
    """Return the best plan of a beam search, and how many steps were tried.

    Parameters
    ----------
    environment : IterationEnvironment
        What may be done.
    width : int
        States kept per depth.
    bound : float
        Cost of a known plan; what cannot be cheaper is left out.
    max_time : float
        Seconds after which the best so far is returned.
    """
    begun = time.perf_counter()
    best = Found((), math.inf, "beam search")
    beam = [_Entry(0.0, 0.0, environment.root, ())]
    tried = 0
    while beam:
        candidates: list[_Entry] = []
        for entry in beam:
            for action, values in _choices(environment, entry.state):
                if time.perf_counter() - begun > max_time:
                    return best, tried
                moved = environment.step(entry.state, action, values)
                tried += 1
                if moved.state.lost:
                    continue
                cost = entry.cost - moved.reward
                path = (*entry.path, (action, values))
                if moved.state.finished:
                    if cost < min(best.cost, bound):
                        best = Found(path, cost, "beam search")
                    continue
                total = cost + environment.remaining(moved.state)
                candidates.append(_Entry(total, cost, moved.state, path))
        limit = min(best.cost, bound)
        beam = _kept([entry for entry in candidates if entry.cost < limit], environment, width)
    return best, tried


def _choices(
    environment: IterationEnvironment, state: State
) -> list[tuple[Action, tuple[float, ...]]]:
    found: list[tuple[Action, tuple[float, ...]]] = []
    for action in environment.kinds(state):
        if action.endswith(":free"):
            continue
        ranges = environment.ranges(state, action)
        if not ranges:
            found.append((action, ()))
            continue
        found += [
            (action, tuple(one.lower + place * (one.upper - one.lower) for one in ranges))
            for place in PLACES
        ]
    return found


def _kept(entries: list[_Entry], environment: IterationEnvironment, width: int) -> list[_Entry]:
    """Return the most promising ones that differ."""
    kept: list[_Entry] = []
    seen: set[tuple[int, int, bool]] = set()
    for entry in sorted(entries, key=lambda entry: entry.total):
        ratio = environment.ratio(entry.state)
        where = round(8.0 * math.log(max(ratio, 1e-300) / max(1.0 - ratio, 1e-16)))
        loss = round(8.0 * math.log(max(entry.state.loss, 1e-16)))
        key = (where, loss, entry.state.variables.coupled)
        if key not in seen:
            seen.add(key)
            kept.append(entry)
        if len(kept) == width:
            break
    return kept
