r"""Monte-Carlo tree search for short sequences of actions with continuous parameters.

The environment is deterministic; rewards add up to what is maximized. An action is a kind and the
values of its parameters, chosen one at a time; the transition happens when all are chosen.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025), section 3: kinds and parameters one
    after the other, progressive widening, values near the best one, rollouts by baselines, Bellman
    backups; Kocsis and Szepesvari, Bandit based Monte-Carlo planning, ECML 2006 (UCT); Couetoux et
    al., Continuous upper confidence trees, LION 5 (2011) (progressive widening).
Deviations
    (1) The best complete path is kept, an incumbent's included, and so the search never returns
    less. (2) Values are scaled to [0, 1] by the range of the siblings'. (3) Branches that lead
    nowhere are closed, and a search that has nothing open left ends. (4) Values that the
    environment suggests are tried before random ones. (5) Random actions replace baselines where
    there are none. (6) Where states have an identity, one that was reached before at least as well
    is closed.
Cost
    Per iteration one transition, and those of a rollout; 20 to 60 us of its own.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from spectool.errors import InputError
from spectool.planner.decisions import (
    Environment,
    Progress,
    Range,
    SearchResult,
    Settings,
    Transition,
)
from spectool.planner.tree import Tree

__all__ = ["Environment", "Progress", "Range", "SearchResult", "Settings", "Transition", "search"]

S = TypeVar("S")
_log = logging.getLogger("spectool")


def search(
    environment: Environment[S],
    root: S,
    *,
    rng: np.random.Generator | int | None = None,
    n_iterations: int | None = None,
    max_time: float | None = None,
    incumbent: Iterable[tuple[Any, Sequence[float]]] | None = None,
    settings: Settings | None = None,
    n_restarts: int = 1,
    callback: Callable[[Progress], Any] | None = None,
) -> SearchResult:
    """Search for the path of largest total reward.

    Parameters
    ----------
    environment : Environment
        Deterministic.
    root : object
        The state to begin from.
    rng : Generator, int or None
        Seeds the sampled values and rollouts. With ``n_iterations`` alone the path depends on
        nothing else.
    n_iterations : int, optional
        Most iterations per restart; 10000 if neither this nor ``max_time`` is given.
    max_time : float, optional
        Seconds, shared by all restarts.
    incumbent : iterable of (kind, values), optional
        A complete path to start from; what is returned is at least as good.
    settings : Settings, optional
        Constants.
    n_restarts : int
        Independent searches, of which the best result is returned.
    callback : callable, optional
        ``callback(progress)`` after each iteration; all ends where it returns True.

    Returns
    -------
    SearchResult
        The best complete path seen; also after Ctrl-C.

    Raises
    ------
    InputError
        If an option or a range is out of its domain, or the incumbent is no complete path.

    Examples
    --------
    >>> from spectool.planner import Range, Transition, search
    >>> class Parabola:
    ...     def kinds(self, state):
    ...         return ("move",)
    ...     def ranges(self, state, kind):
    ...         return (Range(0.0, 1.0),)
    ...     def step(self, state, kind, values):
    ...         return Transition("end", -((values[0] - 0.3) ** 2), True)
    ...     def rollouts(self, state):
    ...         return ()
    >>> found = search(Parabola(), "start", rng=3, n_iterations=1000)
    >>> abs(found.path[0][1][0] - 0.3) < 0.01
    True
    """
    if n_iterations is not None and n_iterations < 0:
        raise InputError(f"n_iterations must not be negative; got {n_iterations}.")
    if max_time is not None and not max_time >= 0:
        raise InputError(f"max_time must not be negative; got {max_time}.")
    if n_restarts < 1:
        raise InputError(f"n_restarts must be at least 1; got {n_restarts}.")
    if n_iterations is None and max_time is None:
        n_iterations = 10_000
    known = None
    if incumbent is not None:
        known = [(kind, tuple(float(x) for x in values)) for kind, values in incumbent]
    generator = np.random.default_rng(rng)
    generators = [generator] if n_restarts == 1 else generator.spawn(n_restarts)
    settings = settings or Settings()
    begun = time.perf_counter()
    results: list[SearchResult] = []
    for index, one in enumerate(generators, start=1):
        tree = Tree(environment, root, settings, one)
        if known is not None:
            tree.insert(known)
        deadline = math.inf if max_time is None else begun + max_time * index / n_restarts
        stopped = _searched(tree, begun, n_iterations, deadline, callback, results)
        results.append(_result(tree, stopped, time.perf_counter() - begun))
        if stopped in ("callback", "interrupt"):
            break
    best = max(results, key=lambda result: result.reward)
    if len(results) > 1:
        restarts = [[one.reward, one.statistics["iterations"]] for one in results]
        best = replace(best, statistics={**best.statistics, "restarts": restarts})
    _log.debug("tree search: %s", best)
    return best


def _searched(
    tree: Tree,
    begun: float,
    n_iterations: int | None,
    deadline: float,
    callback: Callable[[Progress], Any] | None,
    before: list[SearchResult],
) -> str:
    """Iterate; return why it stopped."""
    done = sum(result.statistics["iterations"] for result in before)
    reached = max((result.reward for result in before), default=-math.inf)
    try:
        while not tree.root.closed:
            if n_iterations is not None and tree.iterations >= n_iterations:
                return "n_iterations"
            if time.perf_counter() >= deadline:
                return "max_time"
            tree.iterate()
            if callback is not None:
                best = max(reached, tree.best_reward)
                seconds = time.perf_counter() - begun
                if callback(Progress(done + tree.iterations, best, seconds)):
                    return "callback"
    except KeyboardInterrupt:
        _log.warning("tree search interrupted after %d iterations", tree.iterations)
        return "interrupt"
    return "exhausted"


def _result(tree: Tree, stopped: str, seconds: float) -> SearchResult:
    """Return the best path and what the search did."""
    statistics = {
        "iterations": tree.iterations,
        "stopped": stopped,
        "nodes": tree.nodes,
        "depth": tree.depth,
        "rollouts": tree.rollouts,
        "transitions": tree.transitions,
        "duplicates": tree.duplicates,
        "seconds": seconds,
        "visits": {str(kind): child.visits for kind, child in tree.root.children.items()},
        "choices": {str(kind): count for kind, count in tree.choices.items()},
        "improvements": tree.improvements,
        "found_at": int(tree.improvements[-1][0]) if tree.improvements else None,
    }
    return SearchResult(tree.best_path, tree.best_reward, tree.found_by, statistics)
