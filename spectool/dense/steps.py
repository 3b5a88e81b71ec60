"""One step of a matrix iteration, as a small immutable value.

A ``Kind`` is an iteration of the literature: its formula, its parameters with their ranges, and
what is known of it. A ``Step`` is a kind with values for its parameters. Both run on anything that
obeys ``Algebra``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from spectool.dense.algebra import Algebra, Coefficient, Cost, Tally
from spectool.errors import InputError

__all__ = ["Kind", "Parameter", "Rule", "Stability", "Step", "Variables"]


class Variables(NamedTuple):
    """State of an iteration for a function of A; all entries are functions of A, and commute.

    Attributes
    ----------
    X : matrix
        What converges to the function.
    Y : matrix or None
        The second variable; None where there is none, or where a step gave up its relation to X.
    A : matrix
        The scaled input, constant; what X started from where no step needs it.
    p : int
        Which root, where the function is one.
    """

    X: Any
    Y: Any
    A: Any
    p: int = 1

    @property
    def coupled(self) -> bool:
        """Whether Y holds what it has to."""
        return self.Y is not None


Rule: TypeAlias = Callable[..., Variables]
"""``rule(algebra, variables, *values)`` returns the next variables."""


class Stability(enum.Enum):
    """How rounding errors travel from step to step."""

    STABLE = "bounded powers of the derivative at the limit"
    CONDITIONAL = "stable for moderate condition numbers of A only"
    UNSTABLE = "rounding errors grow; a few steps only"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One coefficient of a step.

    Attributes
    ----------
    name : str
        As in the formula.
    classical : float
        The value in the literature's iteration, to which all schedules tend; NaN where it depends
        on p: see ``Kind.classical``.
    lower, upper : float
        Where a search looks.
    log : bool
        Whether it looks there on a logarithmic scale.
    """

    name: str
    classical: float
    lower: float
    upper: float
    log: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """An iteration: formula, parameters, and what is known of it.

    Attributes
    ----------
    name : str
        ``function.iteration``, like "sign.newton"; unique.
    function : str
        "inv", "sign" (and polar), "sqrt", "root" or "inverse_root".
    rule : callable
        ``rule(algebra, variables, *values)``.
    parameters : tuple of Parameter
        In the order of ``values``.
    order : int
        Of convergence, with the classical values.
    stability : Stability
        Of the classical iteration.
    coupled : bool
        Whether the step reads Y; it then writes Y too.
    recouples : bool
        Whether it makes Y anew from X.
    source : str
        Where it is from.
    classical_of : callable or None
        ``classical_of(p)`` returns the classical values, where they depend on p.
    """

    name: str
    function: str
    rule: Rule
    parameters: tuple[Parameter, ...]
    order: int
    stability: Stability
    source: str
    coupled: bool = False
    recouples: bool = False
    classical_of: Callable[[int], tuple[float, ...]] | None = None

    def classical(self, p: int = 1) -> tuple[float, ...]:
        """Return the classical values of the parameters."""
        if self.classical_of is not None:
            return self.classical_of(p)
        return tuple(parameter.classical for parameter in self.parameters)

    def step(self, *values: Coefficient) -> Step:
        """Return a step; without values the classical one. Raises InputError for a wrong number."""
        if values and len(values) != len(self.parameters):
            names = ", ".join(parameter.name for parameter in self.parameters)
            raise InputError(
                f"{self.name} takes {len(self.parameters)} values ({names}), got {len(values)}."
            )
        return Step(self, values or tuple(parameter.classical for parameter in self.parameters))

    def __reduce__(self) -> tuple[Any, ...]:
        from spectool.dense.iterations import find_kind

        return find_kind, (self.name,)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A kind with its values: numbers, or one number per matrix of a batch.

    ``step(algebra, variables)`` returns the next variables. NaN stands for the classical value
    where that depends on p.
    """

    kind: Kind
    values: tuple[Coefficient, ...]

    def __call__(self, algebra: Algebra, variables: Variables) -> Variables:
        """Return the next variables."""
        return self.kind.rule(algebra, variables, *self.resolved(variables.p))

    def resolved(self, p: int) -> tuple[Coefficient, ...]:
        """Return the values, with those that were left to p."""
        if self.kind.classical_of is None:
            return self.values
        pairs = zip(self.values, self.kind.classical(p), strict=True)
        return tuple(classical if _left_open(value) else value for value, classical in pairs)

    def cost(self, *, p: int = 1, tall: bool = False) -> Cost:
        """Count its operations, for X of shape (m, n) with m > n if tall."""
        tally = Tally(tall=tall)
        Y = tally.variable() if self.kind.coupled else None
        self(tally, Variables(tally.variable(tall=tall), Y, tally.variable(tall=tall), p))
        return tally.cost

    def __str__(self) -> str:
        named = zip(self.kind.parameters, self.values, strict=True)
        shown = ", ".join(f"{parameter.name}={_shown(value)}" for parameter, value in named)
        return f"{self.kind.name}({shown})"


def _left_open(value: Coefficient) -> bool:
    return isinstance(value, float) and value != value


def _shown(value: Coefficient) -> str:
    if _left_open(value):
        return "classical"
    return f"{value:.6g}" if isinstance(value, float | int) else "per matrix"
