"""Hermitian indefinite A: a positive definite M for MINRES, chosen by predicted seconds.

Source
    Vecharynski and Knyazev, Absolute value preconditioning for symmetric indefinite linear systems,
    SISC 35 (2013): M ~ inv(|A|) leaves two clusters, around -1 and 1.
Deviations
    M is a polynomial of A; the gap around zero, which a probe does not see, is tied to the degree.
"""

from __future__ import annotations

from collections.abc import Iterator

from spectool.planner import OperatorCosts, VirtualOperator
from spectool.polynomials import Recurrence, absolute_inverse
from spectool.preconditioners.selection import MARGIN, TARGET, Choice
from spectool.results import Candidate
from spectool.spectrum import Spectrum

DEGREES = (2, 4, 8, 16, 24)
GAPS = (1.0, 3.0)
"""The constants c of the gap's half width ``size / (c (degree / 2 + 1))`` that are tried."""


def is_definite(spectrum: Spectrum) -> bool:
    """Whether all eigenvalues have one sign: A is negative definite then, as far as is seen.

    A short probe may miss the few negative ones that A's diagonal proves; the safe end does not.
    """
    return bool(spectrum.ritz_values[-1] <= 0 or spectrum.interval[0] >= 0)


def _designs(spectrum: Spectrum, degree: int | None) -> Iterator[Recurrence]:
    low, high = spectrum.interval
    for d in DEGREES if degree is None else (degree,):
        for c in GAPS:
            gap = max(-low, high) / (c * (0.5 * d + 1.0))
            below, above = (low, -min(gap, -0.5 * low)), (min(gap, 0.5 * high), high)
            yield absolute_inverse(below, above, d)[0]


def select_for_minres(
    costs: OperatorCosts,
    spectrum: Spectrum,
    degree: int | None,
    jacobi: Recurrence,
    plain: str,
    evidence: str,
) -> Choice:
    """Price every candidate on the virtual operator; return the cheapest and why."""
    virtual = VirtualOperator.indefinite(spectrum)

    def price(name: str, recurrence: Recurrence) -> Candidate:
        iterations = max(virtual.minres_iterations(recurrence, rtol=TARGET), 1)
        return Candidate(
            name,
            recurrence.degree,
            iterations,
            iterations * (recurrence.degree + 1),
            3 * iterations,
            iterations * costs.minres_iteration(recurrence.degree),
        )

    options = [(price("absolute", p), p) for p in _designs(spectrum, degree)]
    baseline = price(plain, jacobi)
    table = tuple(sorted([baseline, *(c for c, _ in options)], key=lambda c: c.seconds))
    best, chosen = min(options, key=lambda option: option[0].seconds)
    if degree is None and best.seconds > MARGIN * baseline.seconds:
        reason = f"{evidence} For minres no polynomial is predicted to take {1 - MARGIN:.0%} less."
        return Choice(jacobi, plain, reason, table)
    reason = (
        f"{evidence} Predicted {best.seconds:.3g} s for minres to {TARGET:.0e}, {plain} "
        f"{baseline.seconds:.3g} s"
    )
    return Choice(chosen, f"{chosen.name}, degree {chosen.degree}", reason, table)
