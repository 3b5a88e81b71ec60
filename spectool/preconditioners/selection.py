"""Which polynomial: a network's choice at each degree, priced by measured costs.

Deviations
    Where a probe is unlike those that the network was trained on, fixed designs are priced by
    simulated CG instead. The lower end of their Chebyshev interval is tied to the degree, ``upper /
    (c m^2)``, m = degree + 1: a polynomial of degree d cannot resolve eigenvalues below that, and
    trying to costs more iterations than it saves. Degrees are even, so that M stays positive
    definite even where an eigenvalue exceeds the upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from spectool.errors import NotPositiveDefiniteError
from spectool.krylov import LanczosProcess, RitzData, ritz
from spectool.planner import OperatorCosts, VirtualOperator, chebyshev_bound, sampled
from spectool.polynomials import (
    Recurrence,
    certified_minimum,
    chebyshev_inverse,
    fourth_kind_inverse,
    guessed_intervals,
    least_squares_inverse,
    minimax_inverse,
)
from spectool.polynomials.nodes import chebyshev_points
from spectool.results import Candidate
from spectool.spectrum import Spectrum

DEGREES = (2, 4, 8, 16, 32)
LOW_ENDS = (1.0, 0.25)
"""The constants c of the lower end ``upper / (c m^2)`` that are tried."""
MARGIN = 0.85
"""A polynomial must promise at least 15% less time than Jacobi: predictions err by that much."""
WORTHWHILE = 0.08
"""Seconds of plain CG below which choosing costs more than any choice saves: pricing all candidates
and laying A out take 20 ms, and a polynomial saves half at best where A is that small."""
FEWEST, FEWEST_SIMULATED = 8, 40
"""Predicted iterations below which a degree is not chosen, by networks and by simulation: the true
CG converges faster than the simulated one once it has resolved outlying eigenvalues, and high
degrees forgo that. Networks have seen it."""
TARGET = 1e-8


class Choice(NamedTuple):
    """A recurrence, one line that names it, why it was taken, and what else was considered.

    ``seconds`` are what a solve with it is predicted to take, where that was asked.
    """

    recurrence: Recurrence
    chosen: str
    reason: str
    candidates: tuple[Candidate, ...]
    seconds: float = 0.0


class _Design(NamedTuple):
    """A candidate: its iterations, and how few are not believed."""

    name: str
    recurrence: Recurrence
    iterations: int
    fewest: int


def iterations_bound(ritz: RitzData | Spectrum) -> float:
    """CG's iterations to TARGET by the Chebyshev bound; inf while the low end is unresolved."""
    values, residuals = (
        (ritz.values, ritz.residuals)
        if isinstance(ritz, RitzData)
        else (ritz.ritz_values, ritz.ritz_residuals)
    )
    return chebyshev_bound(values, residuals, TARGET)


def is_easy(iteration: float, process: LanczosProcess) -> bool:
    """Whether a few Lanczos steps already show that plain CG is quick."""
    if process.steps < 4 or process.steps % 4:
        return False
    return iterations_bound(ritz(process)) * iteration <= WORTHWHILE


def _designs(
    spectrum: Spectrum, method: str, degree: int | None, virtual: VirtualOperator, plainly: int
) -> Iterator[_Design]:
    """Yield designs with the iterations that CG is predicted to take to TARGET."""
    degrees = DEGREES if degree is None else (degree,)

    def simulated(name: str, q: Recurrence) -> _Design:
        return _Design(name, q, virtual.cg_iterations(q, rtol=TARGET), FEWEST_SIMULATED)

    if method in ("least_squares", "minimax"):
        design = _least_squares if method == "least_squares" else _minimax
        for q in _positive([design(spectrum, d) for d in degrees], spectrum.interval[1]):
            yield simulated(method, q)
        return
    judge: Literal["selector", "both"] = "selector" if method == "auto" else "both"
    if learned := method in ("auto", "learned"):
        from spectool.learned import choose, scaled_probe  # networks that a small A does not need

        scaled = scaled_probe(spectrum)
    for d in degrees:
        if learned:
            found = choose(spectrum, d, judge=judge, probe=scaled)
            if found.scores:
                name, q = found.member.name, found.member.recurrence
                counted = plainly * found.overhead / (q.degree + 1)
                yield _Design(name, q, max(round(counted), 1), FEWEST)
                continue
            if method == "learned":
                yield simulated(found.member.name, found.member.recurrence)
                continue
        *first, fourth = fixed_designs(spectrum, d)
        if method != "chebyshev4":
            yield from (simulated("chebyshev", q) for q in first)
        if method != "chebyshev":
            yield simulated("chebyshev4", fourth)


def fixed_designs(spectrum: Spectrum, degree: int) -> list[Recurrence]:
    """Return Chebyshev designs of one degree with two lower ends, and the optimal fourth kind."""
    upper, m = spectrum.interval[1], degree + 1
    seen = max(float(spectrum.ritz_values[0] - spectrum.ritz_residuals[0]), 0.0)
    lows = [
        min(max(seen, upper / (c * m * m) if m > 1 else upper / 4), 0.9 * upper) for c in LOW_ENDS
    ]
    designs = [chebyshev_inverse((low, upper), degree) for low in lows]
    return [*designs, fourth_kind_inverse(upper, degree)]


def _least_squares(spectrum: Spectrum, degree: int) -> Recurrence:
    """Return the least squares design on the density, with 1% on Chebyshev points everywhere.

    Not tried unless asked for: 5 to 30% more iterations than Chebyshev's on smooth densities; what
    it gains in a gap, it gains by not being positive there (measured).
    """
    upper = spectrum.interval[1]
    nodes, weights = sampled(spectrum)
    everywhere = chebyshev_points(128, (0.0, upper))
    nodes = np.clip(np.concatenate([nodes, everywhere]), 0.0, upper)
    weights = np.concatenate([weights, np.full(everywhere.size, 0.01 / everywhere.size)])
    return least_squares_inverse(nodes, weights, (0.0, upper), degree)


def _minimax(spectrum: Spectrum, degree: int) -> Recurrence:
    """Return the minimax design on the intervals that Ritz values suggest."""
    upper, m = spectrum.interval[1], degree + 1
    lower = upper / (m * m + 1)
    seen = np.maximum(spectrum.ritz_values, lower)
    residuals = np.minimum(spectrum.ritz_residuals, 0.5 * seen)
    return minimax_inverse(guessed_intervals(seen, residuals, (lower, upper)), degree)[0]


def _positive(designs: list[Recurrence], upper: float) -> list[Recurrence]:
    """Return the designs that are positive, or raise NotPositiveDefiniteError if none is."""
    found = [certified_minimum(q, (0.0, upper)) for q in designs]
    kept = [q for q, minimum in zip(designs, found, strict=True) if minimum.bound > 0]
    if not kept:
        q, minimum = designs[0], found[0]
        raise NotPositiveDefiniteError(
            f"{q.name}, degree {q.degree}, is {minimum.attained:.3g} at {minimum.where:.6g}, "
            "inside the safe interval, so M might not be positive definite. "
            "Use another degree, or method='auto'."
        )
    return kept


def select(
    costs: OperatorCosts,
    spectrum: Spectrum,
    virtual: VirtualOperator,
    method: str,
    degree: int | None,
    jacobi: Recurrence,
    plain: str,
) -> Choice:
    """Price every candidate on the virtual operator; return the cheapest and why."""
    # CG ends within n iterations, rounding apart; all counts shrink alike.
    plainly = virtual.plain_iterations
    shrink = min(1.0, spectrum.n / plainly)

    def price(name: str, recurrence: Recurrence, counted: int) -> Candidate:
        iterations = max(round(shrink * counted), 1)
        seconds = iterations * costs.cg_iteration(recurrence.degree)
        return Candidate(
            name,
            recurrence.degree,
            iterations,
            iterations * (recurrence.degree + 1),
            3 * iterations,
            seconds,
        )

    options = [
        (price(design.name, design.recurrence, design.iterations), design)
        for design in _designs(spectrum, method, degree, virtual, plainly)
    ]
    baseline = price(plain, jacobi, plainly)
    forced = method != "auto" or degree is not None
    table = tuple(sorted([baseline, *(c for c, _ in options)], key=lambda c: c.seconds))
    if not forced:
        options = [option for option in options if option[0].iterations >= option[1].fewest]
        if not options:
            reason = "so few iterations are predicted that every polynomial is a gamble"
            return Choice(jacobi, plain, reason, table, baseline.seconds)
    best, (_, chosen, *_) = min(options, key=lambda option: option[0].seconds)
    if not forced and best.seconds > MARGIN * baseline.seconds:
        reason = f"no polynomial is predicted to take {1 - MARGIN:.0%} less time"
        return Choice(jacobi, plain, reason, table, baseline.seconds)
    reason = (
        f"predicted {best.seconds:.3g} s for CG to {TARGET:.0e}, {plain} {baseline.seconds:.3g} s"
    )
    title = f"{chosen.name}, degree {chosen.degree}"
    return Choice(chosen, title, reason, table, best.seconds)
