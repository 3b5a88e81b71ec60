r"""What is continuous in a preconditioner: lower ends, and compositions, as a sequential decision.

    q(z) = q1(z) q2(z q1(z) / u) / u

is a polynomial of degree ``(d1 + 1)(d2 + 1) - 1``.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025), for the search.
Cost
    One simulated CG per polynomial, some milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from spectool._types import FloatArray
from spectool.learned.features import Probe
from spectool.planner.decisions import Range, Transition
from spectool.polynomials import (
    Recurrence,
    certified_minimum,
    chebyshev_interpolant,
    chebyshev_inverse,
)

__all__ = ["DEGREES", "CgEnvironment", "Draft", "composed"]

DEGREES = (2, 4, 6, 8, 12, 16, 24, 32)
INNER, OUTER = (1, 2, 4), (1, 2, 4, 8)
"""Degrees of compositions."""


class Draft(NamedTuple):
    """A polynomial under way: its degree and lower end, over the likely upper end."""

    degree: int = 0
    low: float = 0.0
    q: Recurrence | None = None


class CgEnvironment:
    """Chebyshev intervals, and compositions of two, as a sequential decision.

    Parameters
    ----------
    price : callable
        Predicted seconds of a solve with a polynomial in the unit of A.
    probe : Probe
        Of the spectrum.
    """

    def __init__(self, price: Callable[[Recurrence], float], probe: Probe) -> None:
        self.price, self.probe = price, probe
        self._known: dict[bytes, float] = {}

    def kinds(self, state: Draft) -> Sequence[Any]:
        """Begin with a degree; then stop, or compose."""
        if state.q is None:
            return [("first", d) for d in (*INNER, *(d for d in DEGREES if d not in INNER))]
        inner = state.degree if state.degree in INNER else None
        return ["stop"] if inner is None else ["stop", *(("then", d) for d in OUTER)]

    def ranges(self, state: Draft, kind: Any) -> tuple[Range, ...]:  # noqa: ARG002 - protocol
        """Return the range of the lower end of the interval; none to stop."""
        if kind == "stop":
            return ()
        m = kind[1] + 1
        return (Range(1.0 / (64.0 * m * m), 0.5, log=True),)

    def suggestions(
        self,
        state: Draft,  # noqa: ARG002 - the protocol's
        kind: Any,
    ) -> Iterable[tuple[float, ...]]:
        """Return lower ends tied to the degree."""
        if kind == "stop":
            return [()]
        m = kind[1] + 1
        return [(min(1.0 / (c * m * m), 0.5),) for c in (2.0, 0.5, 8.0)]

    def step(self, state: Draft, kind: Any, values: tuple[float, ...]) -> Transition[Draft]:
        """Return the polynomial; minus its predicted seconds once it is complete."""
        if kind == "stop":
            assert state.q is not None
            return Transition(state, self.reward(state.q), True)
        degree = kind[1]
        q = chebyshev_inverse((values[0], 1.0), degree)
        if state.q is None:
            return Transition(Draft(degree, values[0], q), 0.0, False)
        whole = composed(state.q, q)
        return Transition(Draft(degree, values[0], whole), self.reward(whole), True)

    def rollouts(self, state: Draft) -> Iterable[Iterable[tuple[Any, tuple[float, ...]]]]:
        """Stop; from the root, first take what is tied to degree 8."""
        stop: tuple[Any, tuple[float, ...]] = ("stop", ())
        return [[stop]] if state.q is not None else [[(("first", 8), (1.0 / 81.0,)), stop]]

    def reward(self, q: Recurrence) -> float:
        """Return minus the predicted seconds, q in the unit of the likely upper end."""
        key = q.w.tobytes() + q.a.tobytes()
        if key not in self._known:
            self._known[key] = -math.inf
            if certified_minimum(q, (0.0, self.probe.safe)).bound > 0:
                self._known[key] = -self.price(self.in_unit(q))
        return self._known[key]

    def in_unit(self, q: Recurrence) -> Recurrence:
        """Return q for the scaled operator."""
        return q.in_unit(self.probe.upper)


def composed(first: Recurrence, second: Recurrence) -> Recurrence:
    """Return ``q1(z) q2(z q1(z) / u) / u``, u being the maximum of ``z q1`` on [0, 1].

    Parameters
    ----------
    first, second : Recurrence
        Positive approximations to the inverse on (0, 1].

    Examples
    --------
    >>> from spectool.polynomials import chebyshev_inverse
    >>> q = composed(chebyshev_inverse((0.1, 1.0), 2), chebyshev_inverse((0.2, 1.0), 2))
    >>> q.degree, bool(abs(0.5 * q(0.5) - 1) < 0.2)
    (8, True)
    """
    z = np.linspace(0.0, 1.0, 20 * (first.degree + 2))
    u = float((z * first(z)).max()) * (1.0 + 1e-6)
    degree = (first.degree + 1) * (second.degree + 1) - 1

    def values(x: FloatArray) -> FloatArray:
        inside = first(x)
        return np.asarray(inside * second(x * inside / u) / u)

    q, _ = chebyshev_interpolant(values, (0.0, 1.0), degree=degree, name="composition")
    return q
