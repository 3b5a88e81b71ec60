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
    less. (2) Values are scaled to [0, 1] by the returns seen. (3) Branches that lead nowhere are
    closed, and a search that has nothing open left ends. (4) Values that the environment suggests
    are tried before random ones.
Cost
    Per iteration one transition, and those of a rollout; about 20 us of its own.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from spectool.errors import InputError
from spectool.planner.decisions import (
    Action,
    Environment,
    Path,
    Progress,
    Range,
    SearchResult,
    Settings,
    Transition,
)

__all__ = ["Environment", "Range", "SearchResult", "Settings", "Transition", "search"]

S = TypeVar("S")
_log = logging.getLogger("spectool")
NEVER = -math.inf


class _Node:
    """A state; or a kind with the first values of its parameters, which has none."""

    __slots__ = ("best", "children", "closed", "pending", "reward", "state", "untried", "visits")

    def __init__(self) -> None:
        self.state: Any = None
        self.reward = 0.0
        self.untried: list[Any] | None = None
        """Kinds that were not tried yet; None where it was not asked for them."""
        self.pending: list[tuple[float, ...]] = []
        """Suggested values that were not tried yet; of kinds."""
        self.children: dict[Any, _Node] = {}
        self.visits = 0
        self.best = NEVER
        """Largest return from here on, of all complete paths seen."""
        self.closed = False
        """Whether nothing new can come from here."""


def search(
    environment: Environment[S],
    root: S,
    *,
    rng: np.random.Generator | int | None = None,
    n_iterations: int | None = None,
    max_time: float | None = None,
    incumbent: Iterable[tuple[Any, Sequence[float]]] | None = None,
    settings: Settings | None = None,
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
        Seeds the sampled values and ties. With ``n_iterations`` alone the result depends on
        nothing else.
    n_iterations : int, optional
        Most iterations; 10000 if neither this nor ``max_time`` is given.
    max_time : float, optional
        Seconds.
    incumbent : iterable of (kind, values), optional
        A complete path to start from; what is returned is at least as good.
    settings : Settings, optional
        Constants.
    callback : callable, optional
        ``callback(progress)`` after each iteration; stops where it returns True.

    Returns
    -------
    SearchResult
        The best complete path seen; also after Ctrl-C.

    Raises
    ------
    InputError
        If an option is out of its range, or the incumbent is no complete path.
    """
    if n_iterations is not None and n_iterations < 0:
        raise InputError(f"n_iterations must not be negative; got {n_iterations}.")
    if max_time is not None and not max_time >= 0:
        raise InputError(f"max_time must not be negative; got {max_time}.")
    if n_iterations is None and max_time is None:
        n_iterations = 10_000
    tree = _Tree(environment, root, settings or Settings(), np.random.default_rng(rng))
    if incumbent is not None:
        tree.insert([(kind, tuple(float(x) for x in values)) for kind, values in incumbent])
    begun = time.perf_counter()
    deadline = math.inf if max_time is None else begun + max_time
    try:
        while not tree.root.closed and (n_iterations is None or tree.iterations < n_iterations):
            if time.perf_counter() >= deadline:
                break
            tree.iterate()
            seconds = time.perf_counter() - begun
            if callback is not None and callback(
                Progress(tree.iterations, tree.best_reward, seconds)
            ):
                break
    except KeyboardInterrupt:
        _log.warning("tree search interrupted after %d iterations", tree.iterations)
    result = tree.result(time.perf_counter() - begun)
    _log.debug("tree search: %s", result)
    return result


class _Tree:
    """The tree, and the best complete path seen."""

    def __init__(
        self, environment: Any, root: Any, settings: Settings, rng: np.random.Generator
    ) -> None:
        self.environment, self.settings, self.rng = environment, settings, rng
        self.suggestions = getattr(environment, "suggestions", None)
        self.root = _Node()
        self.root.state = root
        self.best_path: Path = ()
        self.best_reward = NEVER
        self.found_by = "nothing"
        self.iterations = self.nodes = self.rollouts = self.transitions = self.depth = 0
        self.improvements: list[tuple[int, float]] = []
        self._low, self._high = math.inf, NEVER  # returns seen

    def insert(self, path: list[Action]) -> None:
        """Make an incumbent's states part of the tree."""
        trail, total, terminal = [self.root], 0.0, False
        for kind, values in path:
            node = trail[-1]
            if terminal or (kind not in self._kinds(node) and kind not in node.children):
                raise InputError(f"incumbent takes {kind!r} where that is not offered.")
            node.untried = [other for other in node.untried or () if other != kind]
            trail += self._grown(self._opened(node, kind), values, kind, node)
            terminal = self._enter(node, trail[-1], kind, values)
            if trail[-1].closed and not terminal:
                raise InputError(f"incumbent leads nowhere: {kind!r} with values {values}.")
            total += trail[-1].reward
        if not terminal:
            raise InputError("incumbent must be complete; its last action does not end a path.")
        self._keep(tuple(path), total, "incumbent")
        self._back_up(trail, 0.0)

    def iterate(self) -> None:
        """Descend, expand, follow a baseline, back up."""
        self.iterations += 1
        if self.iterations == 1:
            self._back_up([self.root], self._roll_out(self.root.state, (), 0.0))
            return
        path: Path = ()
        trail, total = [self.root], 0.0
        while True:
            node = trail[-1]
            kind = self._kind(node, total)
            if kind is None:
                node.closed = True
                self._back_up(trail, NEVER)
                return
            values, grown = self._values(node, kind, total)
            trail += grown
            path = (*path, (kind, values))
            child = trail[-1]
            fresh = child.visits == 0
            terminal = fresh and self._enter(node, child, kind, values)
            total += child.reward
            if fresh or child.closed:
                break
        to_go = NEVER
        if terminal:
            to_go = 0.0
            self._keep(path, total, "tree search")
        elif len(path) >= self.settings.depth:
            child.closed = True
        elif not child.closed:
            to_go = self._roll_out(child.state, path, total)
        self.depth = max(self.depth, len(path))
        self._back_up(trail, to_go)

    # Which action.

    def _kinds(self, node: _Node) -> list[Any]:
        """Return the kinds that were not tried yet."""
        if node.untried is None:
            node.untried = list(self.environment.kinds(node.state))
        return node.untried

    def _kind(self, node: _Node, total: float) -> Any:
        """Return a kind that was not tried yet, or the one of largest UCT; None at a dead end."""
        untried = self._kinds(node)
        if untried:
            return untried.pop(0)
        return self._best_child(node, total)

    def _best_child(self, node: _Node, total: float) -> Any:
        c, log_visits = self.settings.exploration, math.log(node.visits + 1)
        spread = self._high - self._low
        best, found = NEVER, None
        for key, child in node.children.items():
            if child.closed:
                continue
            value = 0.0
            if child.best > NEVER:
                reached = total + child.reward + child.best
                value = (reached - self._low) / spread if spread > 0 else 1.0
            score = value + c * math.sqrt(log_visits / max(child.visits, 1))
            if score > best:
                best, found = score, key
        return found

    def _opened(self, node: _Node, kind: Any) -> _Node:
        """Return the child of a kind; the first time with its suggestions."""
        child = node.children.get(kind)
        if child is None:
            child = node.children[kind] = _Node()
            self.nodes += 1
            if self.suggestions is not None and self._ranges(node, kind):
                offered = self.suggestions(node.state, kind)
                child.pending = [tuple(float(x) for x in values) for values in offered]
        return child

    def _ranges(self, node: _Node, kind: Any) -> tuple[Range, ...]:
        return tuple(self.environment.ranges(node.state, kind))

    def _values(
        self, node: _Node, kind: Any, total: float
    ) -> tuple[tuple[float, ...], list[_Node]]:
        """Choose the values of a kind, one at a time; return them and the nodes on the way."""
        child, ranges = self._opened(node, kind), self._ranges(node, kind)
        if child.pending:
            values = child.pending.pop(0)
            return values, self._grown(child, values, kind, node)
        chosen, at = [], child
        for one in ranges:
            key = None
            allowed = self.settings.widening * (at.visits + 1) ** self.settings.power
            if len(at.children) >= allowed:
                key = self._best_child(at, total)
            if key is None:
                key = self._sampled(at, one)
            chosen.append(key)
            at = at.children.setdefault(key, _Node())
        values = tuple(chosen)
        return values, self._grown(child, values, kind, node)

    def _sampled(self, node: _Node, one: Range) -> float:
        """Sample a value: anywhere, or near the best one so far."""
        s, rng = self.settings, self.rng
        u = float(rng.random())
        near = [(child.best + child.reward, key) for key, child in node.children.items()]
        best = max(near, default=(NEVER, 0.0))
        local = node.visits >= s.uniform_visits and best[0] > NEVER
        if local and rng.random() >= s.uniform_share:
            width = s.window / math.log2(node.visits + 2)
            u = min(max(one.fraction(best[1]) + width * (u - 0.5), 0.0), 1.0)
        return one.at(u)

    def _grown(self, child: _Node, values: Sequence[float], kind: Any, node: _Node) -> list[_Node]:
        """Return the nodes from a kind to the state behind its last value, making what misses."""
        ranges = self._ranges(node, kind)
        if len(values) != len(ranges):
            raise InputError(f"{kind!r} takes {len(ranges)} values; got {len(values)}.")
        nodes = [child]
        for value in values:
            at = nodes[-1]
            if value not in at.children:
                self.nodes += 1
            nodes.append(at.children.setdefault(value, _Node()))
        return nodes

    # What it brings.

    def _step(self, state: Any, kind: Any, values: tuple[float, ...]) -> Transition[Any] | None:
        """Return where an action leads, or None if nowhere."""
        self.transitions += 1
        moved = self.environment.step(state, kind, values)
        return moved if math.isfinite(moved.reward) else None

    def _enter(self, node: _Node, child: _Node, kind: Any, values: tuple[float, ...]) -> bool:
        """Give a new node its state; return whether the path is complete."""
        moved = self._step(node.state, kind, values)
        if moved is None:
            child.closed = True
            return False
        child.state, child.reward, child.closed = moved.state, moved.reward, moved.terminal
        return moved.terminal

    def _roll_out(self, state: Any, path: Path, total: float) -> float:
        """Follow baselines to their ends; return the best return from here on."""
        best, completed = NEVER, 0
        for baseline in self.environment.rollouts(state):
            if completed >= self.settings.rollouts:
                break
            at, gained, taken = state, 0.0, list[Action]()
            for kind, values in baseline:
                if len(path) + len(taken) >= self.settings.depth:
                    break
                moved = self._step(at, kind, tuple(values))
                if moved is None:
                    break
                at, gained = moved.state, gained + moved.reward
                taken.append((kind, tuple(values)))
                if moved.terminal:
                    completed += 1
                    best = max(best, gained)
                    self._keep((*path, *taken), total + gained, "rollout")
                    break
        self.rollouts += completed
        return best

    def _keep(self, path: Path, reward: float, found_by: str) -> None:
        self._low, self._high = min(self._low, reward), max(self._high, reward)
        if reward > self.best_reward:
            self.best_path, self.best_reward, self.found_by = path, reward, found_by
            self.improvements.append((self.iterations, reward))

    def _back_up(self, trail: list[_Node], to_go: float) -> None:
        """Count a visit, and pass the return upwards."""
        for node in reversed(trail):
            node.visits += 1
            node.best = max(node.best, to_go)
            to_go += node.reward
            if node.untried is not None and not node.untried and not node.closed:
                node.closed = all(child.closed for child in node.children.values())

    def result(self, seconds: float) -> SearchResult:
        """Return the best path and what the search did."""
        statistics = {
            "iterations": self.iterations,
            "nodes": self.nodes,
            "depth": self.depth,
            "rollouts": self.rollouts,
            "transitions": self.transitions,
            "seconds": seconds,
            "visits": {str(kind): child.visits for kind, child in self.root.children.items()},
            "improvements": self.improvements,
        }
        return SearchResult(self.best_path, self.best_reward, self.found_by, statistics)
