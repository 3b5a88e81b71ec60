"""The tree of a search: states, kinds and values, what they are worth, and what is tried next.

A state has a child per kind of action. A kind without parameters leads to the next state; the
others to a node per value of their first parameter, those to nodes of the second, and so on; the
last of them holds the next state.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from spectool.errors import InputError
from spectool.planner.decisions import Action, Path, Range, Settings, Transition

__all__ = ["Node", "Tree"]

NEVER = -math.inf
_NOTHING = object()


class Node:
    """A state; or a kind with the first values of its parameters, which has none."""

    __slots__ = (
        "best", "children", "closed", "favorite", "key", "open", "pending", "ranges", "reward",
        "state", "untried", "visits",
    )  # fmt: skip

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.state: Any = None
        self.reward = 0.0
        self.untried: list[Any] | None = None
        """Kinds that were not tried yet; None where more can always be tried, or none is known."""
        self.ranges: tuple[Range, ...] = ()
        self.pending: list[tuple[float, ...]] = []
        """Suggested values that were not tried yet; of kinds."""
        self.children: dict[Hashable, Node] = {}
        self.open: dict[Hashable, Node] = {}
        """Children that are not closed."""
        self.visits = 0
        self.best = NEVER
        """Largest return from here on, of all complete paths seen."""
        self.favorite: Any = None
        """Key of the child that it came through."""
        self.closed = False
        """Whether nothing new can come from here."""


class Tree:
    """The tree, and the best complete path seen."""

    def __init__(
        self, environment: Any, root: Any, settings: Settings, rng: np.random.Generator
    ) -> None:
        self.environment, self.settings, self.rng = environment, settings, rng
        self.suggestions = getattr(environment, "suggestions", None)
        self.identity = getattr(environment, "identity", None)
        self.root = Node(None)
        self.root.state = root
        self.longest = settings.depth
        self.best_path: Path = ()
        self.best_reward = NEVER
        self.found_by = "nothing"
        self.iterations = self.rollouts = self.transitions = self.duplicates = self.depth = 0
        self.nodes = 1
        self.choices: dict[Any, int] = {}
        self.improvements: list[list[float]] = []
        self._reached: dict[Hashable, tuple[float, int]] = {}
        if self.identity is not None:
            self._reached[self.identity(root)] = (0.0, 0)

    def insert(self, path: list[Action]) -> None:
        """Make an incumbent's states part of the tree."""
        self.longest = max(self.longest, len(path))
        trail, total, terminal = [self.root], 0.0, False
        for depth, (kind, values) in enumerate(path, start=1):
            node = trail[-1]
            if terminal or (kind not in self._kinds(node) and kind not in node.children):
                raise InputError(f"incumbent takes {kind!r} where that is not offered.")
            node.untried = [other for other in node.untried or () if other != kind]
            trail += self._grown(self._opened(node, kind), kind, values)
            child = trail[-1]
            terminal = self._enter(node, child, kind, values)
            if child.closed and not terminal:
                raise InputError(f"incumbent leads nowhere: {kind!r} with values {values}.")
            total += child.reward
            if self.identity is not None and not terminal:
                self._reached[self.identity(child.state)] = (total, depth)
        if not terminal:
            raise InputError("incumbent must be complete; its last action does not end a path.")
        self.depth = len(path)
        self._keep(path, total, "incumbent")
        self._back_up(trail, 0.0)

    def iterate(self) -> None:
        """Descend, expand, follow baselines, back up."""
        self.iterations += 1
        if self.iterations == 1:
            # Without an incumbent no baseline is to be better than what is returned.
            most = self.settings.rollouts if self.best_path else math.inf
            to_go = self._roll_out(self.root.state, [], 0.0, most)
            self._back_up([self.root], to_go)
            return
        path: list[Action] = []
        trail, total, terminal = [self.root], 0.0, False
        while True:
            node = trail[-1]
            kind = self._kind(node)
            if kind is _NOTHING:
                node.closed = True
                self._back_up(trail, NEVER)
                return
            values, grown = self._values(node, kind)
            trail += grown
            path.append((kind, values))
            self.choices[kind] = self.choices.get(kind, 0) + 1
            child = trail[-1]
            fresh = child.visits == 0
            if fresh:
                terminal = self._enter(node, child, kind, values)
            total += child.reward
            if not math.isfinite(total):  # the sum overflowed
                child.closed, terminal = True, False
            if fresh or child.closed:
                break
        to_go = NEVER
        if terminal:
            to_go = 0.0
            self._keep(path, total, "tree search")
        elif not child.closed:
            child.closed = len(path) >= self.longest or self._known(child, total, len(path))
            if not child.closed:
                to_go = self._roll_out(child.state, path, total, self.settings.rollouts)
        self.depth = max(self.depth, len(path))
        self._back_up(trail, to_go)

    # Which action.

    def _kinds(self, node: Node) -> list[Any]:
        """Return the kinds that were not tried yet."""
        if node.untried is None:
            node.untried = list(self.environment.kinds(node.state))
        return node.untried

    def _kind(self, node: Node) -> Any:
        """Return a kind that was not tried yet, or the one of largest UCT."""
        untried = self._kinds(node)
        return untried.pop(0) if untried else self._best_child(node)

    def _best_child(self, node: Node) -> Any:
        """Return the key of the open child of largest UCT, if there is one.

        Values are scaled by the range of the siblings': one action that is far worse than the
        others would make all differences elsewhere vanish if the range were the tree's.
        """
        low, high = math.inf, NEVER
        for child in node.open.values():
            if child.best > NEVER:
                value = 0.5 * (child.reward + child.best)  # halves: high - low must not overflow
                low, high = min(low, value), max(high, value)
        c, spread = self.settings.exploration, high - low
        log_visits = math.log(node.visits + 1)
        best, found = NEVER, _NOTHING
        for key, child in node.open.items():
            value = 0.0
            if child.best > NEVER:
                value = (0.5 * (child.reward + child.best) - low) / spread if spread > 0 else 1.0
            score = value + c * math.sqrt(log_visits / max(child.visits, 1))
            if score > best:
                best, found = score, key
        return found

    def _opened(self, node: Node, kind: Any) -> Node:
        """Return the child of a kind; the first time with its ranges and suggestions."""
        known = node.children.get(kind)
        if known is not None:
            return known
        child = self._child(node, kind)
        child.ranges = tuple(self.environment.ranges(node.state, kind))
        if self.suggestions is not None and child.ranges:
            offered = [tuple(map(float, one)) for one in self.suggestions(node.state, kind)]
            child.pending = [one for one in offered if all(map(math.isfinite, one))]
        return child

    def _child(self, node: Node, key: Hashable) -> Node:
        """Return a child, made where it is missing."""
        child = node.children.get(key)
        if child is None:
            child = node.children[key] = node.open[key] = Node(key)
            self.nodes += 1
        return child

    def _values(self, node: Node, kind: Any) -> tuple[tuple[float, ...], list[Node]]:
        """Choose the values of a kind, one at a time; return them and the nodes on the way."""
        child = self._opened(node, kind)
        if child.pending:
            values = child.pending.pop(0)
            return values, self._grown(child, kind, values)
        grown, chosen = [child], list[float]()
        for one in child.ranges:
            at = grown[-1]
            key: Any = _NOTHING
            if one.lower == one.upper:
                key, at.untried = one.lower, []
            elif len(at.children) >= (
                self.settings.widening * (at.visits + 1) ** self.settings.power
            ):
                key = self._best_child(at)
            if key is _NOTHING:
                key = self._sampled(at, one)
            chosen.append(key)
            grown.append(self._child(at, key))
        return tuple(chosen), grown

    def _sampled(self, node: Node, one: Range) -> float:
        """Sample a value: anywhere, or near the best one so far."""
        s, rng = self.settings, self.rng
        u = float(rng.random())
        local = node.visits >= s.uniform_visits and node.favorite is not None
        if local and rng.random() >= s.uniform_share:
            width = s.window / math.log2(node.visits + 2)
            u = min(max(one.fraction(node.favorite) + width * (u - 0.5), 0.0), 1.0)
        return one.at(u)

    def _grown(self, child: Node, kind: Any, values: Sequence[float]) -> list[Node]:
        """Return the nodes from a kind to the state behind its last value, making what misses."""
        if len(values) != len(child.ranges):
            raise InputError(f"{kind!r} takes {len(child.ranges)} values; got {len(values)}.")
        nodes = [child]
        for value in values:
            nodes.append(self._child(nodes[-1], value))
        return nodes

    # What it brings.

    def _step(self, state: Any, kind: Any, values: tuple[float, ...]) -> Transition[Any] | None:
        """Return where an action leads, or None if nowhere."""
        self.transitions += 1
        moved = self.environment.step(state, kind, values)
        return moved if math.isfinite(moved.reward) else None

    def _enter(self, node: Node, child: Node, kind: Any, values: tuple[float, ...]) -> bool:
        """Give a new node its state; return whether the path is complete."""
        moved = self._step(node.state, kind, values)
        if moved is None:
            child.closed = True
            return False
        child.state, child.reward = moved.state, float(moved.reward)
        child.closed = bool(moved.terminal)
        return child.closed

    def _known(self, child: Node, total: float, depth: int) -> bool:
        """Return whether the same state was reached before, at least as well."""
        if self.identity is None:
            return False
        identity = self.identity(child.state)
        before = self._reached.get(identity)
        if before is not None and before[0] >= total and before[1] <= depth:
            self.duplicates += 1
            return True
        self._reached[identity] = (total, depth)
        return False

    def _roll_out(self, state: Any, path: list[Action], total: float, most: float) -> float:
        """Follow baselines to their ends; return the best return from here on."""
        if self.settings.rollouts == 0:
            return NEVER
        best, completed, offered = NEVER, 0, False
        for baseline in self.environment.rollouts(state):
            offered = True
            gained = self._followed(state, baseline, path, total)
            completed += gained > NEVER
            best = max(best, gained)
            if completed >= most:
                break
        if not offered:
            best = self._followed(state, None, path, total)
            completed = int(best > NEVER)
        self.rollouts += completed
        return best

    def _followed(self, state: Any, baseline: Any, path: list[Action], total: float) -> float:
        """Return what a continuation gains; -inf if it does not end. Without one, draw actions."""
        steps = None if baseline is None else iter(baseline)
        gained, taken = 0.0, list[Action]()
        while len(path) + len(taken) < self.longest:
            action = self._drawn(state) if steps is None else next(steps, None)
            if action is None:
                break
            kind, values = action[0], tuple(map(float, action[1]))
            moved = self._step(state, kind, values)
            if moved is None:
                break
            state, gained = moved.state, gained + float(moved.reward)
            taken.append((kind, values))
            if moved.terminal:
                if not math.isfinite(total + gained):
                    break
                self._keep([*path, *taken], total + gained, "rollout")
                return gained
        return NEVER

    def _drawn(self, state: Any) -> Action | None:
        """Return an action at random; None at a dead end."""
        kinds = self.environment.kinds(state)
        if not len(kinds):
            return None
        kind = kinds[int(self.rng.random() * len(kinds))]
        ranges = self.environment.ranges(state, kind)
        return kind, tuple(one.at(float(self.rng.random())) for one in ranges)

    def _keep(self, path: list[Action], reward: float, found_by: str) -> None:
        if reward > self.best_reward:
            self.best_path, self.best_reward, self.found_by = tuple(path), reward, found_by
            self.improvements.append([self.iterations, reward])

    def _back_up(self, trail: list[Node], to_go: float) -> None:
        """Count a visit, and pass the return upwards."""
        below: Node | None = None
        for node in reversed(trail):
            node.visits += 1
            if to_go > node.best:
                node.best = to_go
                node.favorite = None if below is None else below.key
            if below is not None and below.closed:
                node.open.pop(below.key, None)
            if not node.open and node.untried is not None and not node.untried:
                node.closed = not node.pending
            to_go += node.reward
            below = node
