"""What a predicted recurrence is for: objectives on a true spectrum, for numpy and torch alike.

Source
    AutoSpec (Liu, Balabanov, Yang, Mahoney, arXiv:2602.09530, 2026): unrolled, self-supervised. The
    Kaporin number is of Kaporin, Numer. Linear Algebra Appl. 1 (1994).
Deviations
    Preconditioners are judged by CG unrolled for as many iterations as plain CG's count allows;
    condition numbers mislead. Maxima are softened to a 16-norm in training only. Errors of sqrt,
    exp and log are relative to the function's largest value on the spectrum, that of x^-1/2 is
    relative pointwise.
Cost
    Elementwise: degree times nodes for the polynomial, and iterations times nodes for CG.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias

from spectool.errors import InputError
from spectool.learned.recurrences import FILTERS, FUNCTIONS, function

Objective: TypeAlias = Literal["pcg", "kaporin", "condition"]
OBJECTIVES: Final = ("pcg", "kaporin", "condition")
POWER: Final = 16
SMALLEST: Final = 1e-13
GOOD: Final = 1e-8
"""Errors far below this one teach nothing."""
ITERATIONS: Final = (3, 24)
"""Fewest and most iterations of CG that are unrolled."""
AUXILIARY: Final = 0.02
"""Weight of the Kaporin number beside unrolled CG."""
PENALTY: Final = 10.0
"""Of a preconditioner that is not positive."""
GUARD = 1.25
"""The unwanted part begins at this many times the wanted levels; between them anything goes."""
WIDTH = 0.1
"""Levels in a window."""


class Nodes(NamedTuple):
    """A true or virtual spectrum: nodes, right-hand side's masses, levels, each (rows, m)."""

    x: Any
    masses: Any
    levels: Any


def log_error(
    xp: Any, task: str, values: Any, nodes: Nodes, *, time: Any, share: Any, soft: bool
) -> Any:
    """Return log10 of what a task wants small, shape (rows,).

    Parameters
    ----------
    xp : module
        numpy or torch.
    task : str
        Any but "solve".
    values : array, shape (rows, m)
        ``p(x)``.
    nodes : Nodes
        Where.
    time, share : array, shape (rows, 1)
        t of ``exp(-t x)``; the share of the lowest levels, or the middle level of the window.
    soft : bool
        Whether maxima are 16-norms, whose gradients are less sparse.

    Raises
    ------
    InputError
        If the task has no such error.
    """
    x = nodes.x
    if task == "inverse":
        return _log10(xp, _largest(xp, xp.abs(1.0 - x * values), soft), soft)
    if task in FUNCTIONS:
        f = function(xp, task, x, time)
        size = xp.abs(f) if task == "invsqrt" else (_largest(xp, xp.abs(f), False)[:, None] + 1e-30)
        return _log10(xp, _largest(xp, xp.abs(values - f) / size, soft), soft)
    if task not in FILTERS:
        raise InputError(
            f"task must be one of inverse, {', '.join((*FUNCTIONS, *FILTERS))}; got {task!r}."
        )
    wanted, unwanted = parts(xp, task, nodes.levels, share)
    v = xp.abs(values)
    largest = _largest(xp, xp.where(unwanted, v, xp.zeros_like(v)), soft)
    inverse = 1.0 / (v + 1e-30)
    smallest = 1.0 / _largest(xp, xp.where(wanted, inverse, xp.zeros_like(v)), soft)
    return xp.log10(largest + 1e-30) - xp.log10(smallest + 1e-30)


def parts(xp: Any, task: str, levels: Any, share: Any) -> tuple[Any, Any]:
    """Return masks of wanted and unwanted nodes; the lowest node is always wanted by "lowest"."""
    if task == "lowest":
        wanted = (levels <= share) | (levels <= levels[:, :1])
        return wanted, (levels > GUARD * share) & ~wanted
    distance = abs(levels - share)
    nearest = distance <= xp.amin(distance, 1)[:, None]
    wanted = (distance <= 0.5 * WIDTH) | nearest
    return wanted, (distance > 0.5 * GUARD**2 * WIDTH) & ~wanted


def _largest(xp: Any, values: Any, soft: bool) -> Any:
    top = xp.amax(values, 1)
    if not soft:
        return top
    top = top + 1e-30
    return top * xp.mean((values / top[:, None]) ** POWER, 1) ** (1.0 / POWER)


def _log10(xp: Any, error: Any, soft: bool) -> Any:
    return xp.log10(error + (GOOD if soft else SMALLEST))


# --- linear systems: torch only -----------------------------------------------------------------


def system_loss(torch: Any, values: Any, nodes: Nodes, plain: Any, degree: int, kind: str) -> Any:
    """Return the loss of a preconditioner, shape (rows,).

    ``plain`` are plain CG's iterations, (rows, 1). "pcg": log10 of the residual per iteration that
    Krylov optimality allows; "kaporin": log of the Kaporin number over n; "condition": log10 of the
    condition number of ``p(A) A``, the objective that was measured to be the worst.
    """
    product = nodes.x * values
    bad = torch.relu(-product).amax(1) * PENALTY
    positive = torch.clamp(product, min=1e-12)
    if kind == "condition":
        return torch.log10(positive.amax(1) / positive.amin(1)) + bad
    kaporin = torch.log(positive.mean(1)) - torch.log(positive).mean(1)
    if kind == "kaporin":
        return kaporin + bad
    fewest, most = ITERATIONS
    allowed = torch.clamp(torch.round(plain[:, 0] / (degree + 1)), fewest, most)
    return unrolled(torch, positive / nodes.x, nodes, allowed) + AUXILIARY * kaporin + bad


def unrolled(torch: Any, weights: Any, nodes: Nodes, allowed: Any) -> Any:
    """Return the mean log10 decay of the residual in ``allowed`` iterations, shape (rows,)."""
    x = nodes.x
    r = torch.sqrt(nodes.masses)
    r = r / r.norm(dim=1, keepdim=True)
    p = weights * r
    rho = (p * r).sum(1, keepdim=True)
    found = torch.zeros_like(rho[:, 0])
    for k in range(1, int(allowed.max()) + 1):
        q = x * p
        r = r - rho / ((p * q).sum(1, keepdim=True) + 1e-40) * q
        z = weights * r
        following = (z * r).sum(1, keepdim=True)
        p = z + following / (rho + 1e-40) * p
        rho = following
        # Converged rows would give gradients of rounding.
        decay = 0.5 * torch.log10((r * r).sum(1) + 1e-18) / allowed
        found = torch.where(allowed == k, decay, found)
    return found
