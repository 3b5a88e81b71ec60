"""Values of a search for actions: what is planned, how, and what came out."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np

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


@dataclass(frozen=True, slots=True)
class Range:
    """Where a parameter is looked for.

    Attributes
    ----------
    lower, upper : float
        Ends, ``lower <= upper``.
    log : bool
        Whether on a logarithmic scale; both ends must then be positive.

    Raises
    ------
    InputError
        If the ends are not finite or in the wrong order, or not positive where log.
    """

    lower: float
    upper: float
    log: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.lower <= self.upper < math.inf:
            raise InputError(
                f"lower <= upper must hold, and both be finite; got {self.lower}, {self.upper}."
            )
        if self.log and self.lower <= 0:
            raise InputError(f"lower must be positive on a logarithmic scale; got {self.lower}.")

    def at(self, u: float) -> float:
        """Return the value at the fraction u in [0, 1]."""
        if not self.log:
            return float(self.lower * (1 - u) + self.upper * u)
        if u <= 0 or u >= 1:  # without rounding
            return float(self.lower if u <= 0 else self.upper)
        value = math.exp(math.log(self.lower) * (1 - u) + math.log(self.upper) * u)
        return float(min(max(value, self.lower), self.upper))

    def fraction(self, value: float) -> float:
        """Return where a value lies, cut to [0, 1]."""
        if value <= self.lower:
            return 0.0
        if value >= self.upper:
            return 1.0
        if self.log:
            lower = math.log(self.lower)
            return (math.log(value) - lower) / (math.log(self.upper) - lower)
        # Halves: the difference must not overflow.
        return (0.5 * value - 0.5 * self.lower) / (0.5 * self.upper - 0.5 * self.lower)


class Transition(NamedTuple, Generic[S]):
    """What an action leads to.

    Attributes
    ----------
    state : object
        The next state.
    reward : float
        Of the action; NaN or infinite (of either sign) where it leads nowhere.
    terminal : bool
        Whether the sequence is complete.
    """

    state: S
    reward: float
    terminal: bool


class Environment(Protocol[S]):
    """What is planned; deterministic.

    Two methods are optional. ``suggestions(state, kind)`` returns values to be tried first, those
    of a closed form for example. ``identity(state)`` returns what two states share that allow the
    same, so that of several ways to a state only the best is searched on.
    """

    def kinds(self, state: S) -> Sequence[Hashable]:
        """Return the kinds of actions from a state; none at dead ends."""

    def ranges(self, state: S, kind: Any) -> tuple[Range, ...]:
        """Return the range of each parameter of a kind."""

    def step(self, state: S, kind: Any, values: tuple[float, ...]) -> Transition[S]:
        """Return what an action leads to."""

    def rollouts(self, state: S) -> Iterable[Iterable[tuple[Any, tuple[float, ...]]]]:
        """Return continuations by baselines, finitely many, the most promising first.

        Without any, actions are drawn at random.
        """


@dataclass(frozen=True, slots=True)
class Settings:
    """Constants of the search.

    Attributes
    ----------
    exploration : float
        c of ``UCT = value + c sqrt(ln N_parent / N)``; values are scaled to [0, 1] by the range of
        the siblings'.
    widening, power : float
        A parameter has at most ``widening N^power`` values after N visits.
    uniform_visits : int
        Visits of a parameter before which its values are sampled uniformly.
    uniform_share : float
        Probability of a uniform sample after that; the others are near the best value.
    window : float
        Width of what is near, as a part of the range; divided by ``log2(N + 2)``.
    depth : int
        Most actions of a path; an incumbent's number if it has more.
    rollouts : int
        Baselines that are followed to their ends from each new state. All of them are from the
        root, if there is no incumbent.
    """

    exploration: float = 1.0
    widening: float = 1.0
    power: float = 0.5
    uniform_visits: int = 20
    uniform_share: float = 0.05
    window: float = 0.5
    depth: int = 40
    rollouts: int = 4

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
        Of the restart that found it:

        ``iterations``, ``stopped``
            How many there were, and why no more: "n_iterations", "max_time", "callback",
            "interrupt" or "exhausted" (nothing was left to try).
        ``nodes``, ``depth``, ``rollouts``, ``transitions``, ``duplicates``
            Size and depth of the tree, completed rollouts, calls of ``step``, states closed for
            their identity.
        ``visits``, ``choices``
            By kind: at the root, and in the whole tree.
        ``improvements``, ``found_at``
            [iteration, reward] whenever a better path was found, and the last such iteration; 0 is
            the incumbent's.
        ``seconds``, ``restarts``
            Since the search began; [reward, iterations] of each restart if there are several.
    """

    path: Path
    reward: float
    found_by: str
    statistics: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> str:
        """Return a JSON text; kinds must be strings, numbers, None, or tuples of these.

        Raises
        ------
        InputError
            If a kind is of another type.
        """
        record = {
            "path": self.path,
            "reward": self.reward if math.isfinite(self.reward) else None,
            "found_by": self.found_by,
            "statistics": _plain(self.statistics),
        }
        try:
            return json.dumps(record, allow_nan=False, default=_number)
        except TypeError as error:
            raise InputError(
                f"kinds must be strings, numbers, None or tuples of these for JSON; {error}."
            ) from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        read = json.loads(text)
        path = tuple((_tuples(kind), tuple(values)) for kind, values in read["path"])
        reward = -math.inf if read["reward"] is None else read["reward"]
        statistics = read["statistics"]
        for row in statistics.get("restarts", ()):
            row[0] = -math.inf if row[0] is None else row[0]
        return cls(path, reward, read["found_by"], statistics)

    def __str__(self) -> str:
        return (
            f"{len(self.path)} actions, reward {self.reward:.6g}, found by {self.found_by} in "
            f"{self.statistics.get('iterations', 0)} iterations"
        )


def _plain(statistics: dict[str, Any]) -> dict[str, Any]:
    """Write the reward of a restart that found nothing as None."""
    if "restarts" not in statistics:
        return statistics
    rows = [[r if math.isfinite(r) else None, n] for r, n in statistics["restarts"]]
    return {**statistics, "restarts": rows}


def _number(kind: Any) -> Any:
    if isinstance(kind, np.generic):
        return kind.item()
    raise TypeError(f"{kind!r} is of type {type(kind).__name__}")


def _tuples(read: Any) -> Any:
    return tuple(_tuples(one) for one in read) if isinstance(read, list) else read
