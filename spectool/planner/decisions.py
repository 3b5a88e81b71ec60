"""Values of a search for actions: what is planned, how, and what came out."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from spectool.errors import InputError

__all__ = [
    "Action",
    "Environment",
    "Path",
    "Progress",
    "Range",
    "SearchResult",
    "Settings",
    "Transition",
]

S = TypeVar("S")
Action = tuple[Any, tuple[float, ...]]
"""A kind, and the values of its parameters."""
Path = tuple[Action, ...]


class Range(NamedTuple):
    """Where a parameter is looked for.

    Attributes
    ----------
    lower, upper : float
        Ends, ``lower <= upper``.
    log : bool
        Whether on a logarithmic scale; both ends must then be positive.
    """

    lower: float
    upper: float
    log: bool = False

    def at(self, u: float) -> float:
        """Return the value at the fraction u in [0, 1]."""
        if self.log:
            return float(math.exp(math.log(self.lower) * (1 - u) + math.log(self.upper) * u))
        return self.lower + (self.upper - self.lower) * u

    def fraction(self, value: float) -> float:
        """Return where a value lies, cut to [0, 1]."""
        if self.upper == self.lower:
            return 0.0
        if self.log:
            if value <= 0:
                return 0.0
            u = math.log(value / self.lower) / math.log(self.upper / self.lower)
        else:
            u = (value - self.lower) / (self.upper - self.lower)
        return min(max(u, 0.0), 1.0)


class Transition(NamedTuple, Generic[S]):
    """What an action leads to.

    Attributes
    ----------
    state : object
        The next state.
    reward : float
        Of the action; NaN or infinite where it leads nowhere.
    terminal : bool
        Whether the sequence is complete.
    """

    state: S
    reward: float
    terminal: bool


class Environment(Protocol[S]):
    """What is planned; deterministic. ``suggestions(state, kind)`` is optional."""

    def kinds(self, state: S) -> Sequence[Hashable]:
        """Return the kinds of actions from a state; none at dead ends."""

    def ranges(self, state: S, kind: Any) -> tuple[Range, ...]:
        """Return the range of each parameter of a kind."""

    def step(self, state: S, kind: Any, values: tuple[float, ...]) -> Transition[S]:
        """Return what an action leads to."""

    def rollouts(self, state: S) -> Iterable[Iterable[tuple[Any, tuple[float, ...]]]]:
        """Return continuations by baselines, the most promising first."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Constants of the search.

    Attributes
    ----------
    exploration : float
        c of ``UCT = value + c sqrt(ln N_parent / N)``, values in [0, 1].
    widening, power : float
        A parameter has at most ``widening N^power`` values after N visits.
    uniform_visits : int
        Visits of a parameter before which its values are sampled uniformly.
    uniform_share : float
        Probability of a uniform sample after that; the others are near the best value.
    window : float
        Width of what is near, as a part of the range; divided by ``log2(N + 2)``.
    depth : int
        Most actions of a path.
    rollouts : int
        Baselines that are followed to their ends from each new state.
    """

    exploration: float = 0.7
    widening: float = 1.0
    power: float = 0.5
    uniform_visits: int = 20
    uniform_share: float = 0.05
    window: float = 0.5
    depth: int = 40
    rollouts: int = 1

    def __post_init__(self) -> None:
        for name in ("exploration", "widening", "power", "window"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"{name} must be positive and finite; got {value}.")
        if not 0 <= self.uniform_share <= 1:
            raise InputError(f"uniform_share must be in [0, 1]; got {self.uniform_share}.")
        for name, least in (("uniform_visits", 0), ("depth", 1), ("rollouts", 0)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"{name} must be at least {least}; got {value}.")


class Progress(NamedTuple):
    """What a callback sees after each iteration."""

    iteration: int
    reward: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """The best complete path, and how it was found.

    Attributes
    ----------
    path : tuple of (kind, values)
        Empty if no complete path was found.
    reward : float
        Its total; -inf if there is none.
    found_by : str
        "incumbent", "rollout" or "tree search"; "nothing".
    statistics : dict
        Iterations, nodes, depth, rollouts, transitions, seconds, visits of the root's kinds, and
        ``improvements``: (iteration, reward) whenever a better path was found.
    """

    path: Path
    reward: float
    found_by: str
    statistics: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> str:
        """Return a JSON text; kinds must be strings or numbers."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SearchResult:
        """Read what ``to_json`` wrote."""
        read = json.loads(text)
        path = tuple((kind, tuple(values)) for kind, values in read.pop("path"))
        return cls(path, **read)

    def __str__(self) -> str:
        return (
            f"{len(self.path)} actions, reward {self.reward:.6g}, found by {self.found_by} in "
            f"{self.statistics.get('iterations', 0)} iterations"
        )
