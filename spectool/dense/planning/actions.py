r"""What a planner of iterations may do, and the states it sees.

A state is the spectra of (X, Y, A), and the errors that rounding has left so far. An action is a
step of the zoo with a way to find its values, or a direct method:

    kind:scaled   the best values on the interval where the spectrum is, by closed form or by fit;
                  the classical values where these end the plan
    kind:covering the same on the wider interval where later matrices may have eigenvalues
    kind:aimed    the best values on an upper part of it, which begins where the parameter says
    kind:fitted   least squares on the spectrum, by weight
    kind:largest  least largest deviation on the spectrum
    kind:free     any values in the ranges of the zoo
    sign.eigh, polar.svd, inv.lu, ...    direct methods

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833, section 3.
Deviations
    Actions know the best values; uniform samples of their ranges hardly ever converge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spectool.dense.planning.aims import CLOSED, is_linear
from spectool.dense.planning.rounding import Noise
from spectool.dense.steps import Kind, Stability, Variables

__all__ = ["Action", "Path", "State", "modes"]

Action: TypeAlias = str
"""``kind:mode``, or the name of a direct method."""
Path: TypeAlias = Sequence[tuple[Action, tuple[float, ...]]]
"""Actions with the values of their parameters."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where a plan is.

    Attributes
    ----------
    variables : Variables
        Spectra, each of shape (k,).
    noise : Noise
        Errors by rounding.
    loss : float
        ``||R||_F / sqrt(n)``; ``||R||_F / ||A||_F`` where Y was given up.
    depth : int
        Steps so far.
    finished : bool
        Whether the plan is done.
    lost : str
        Why it leads nowhere; empty if it does not.
    fresh : bool
        Whether X, or Y, is the identity still, so that products with it are free.
    """

    variables: Variables
    noise: Noise
    loss: float
    depth: int = 0
    finished: bool = False
    lost: str = ""
    fresh: bool = False


def modes(kind: Kind, p: int, *, ahead: bool) -> list[str]:
    """Return the ways to find values; ahead if later matrices may differ."""
    if not kind.parameters:
        return ["scaled"]
    modes = ["scaled", "covering", "aimed"] if ahead else ["scaled", "aimed"]
    if is_linear(kind, p):
        modes.append("fitted")
        # With gaps in the spectrum that differs from the closed form.
        if kind.name in CLOSED and not ahead:
            modes.append("largest")
    if kind.stability is not Stability.UNSTABLE:
        modes.append("free")
    return modes
