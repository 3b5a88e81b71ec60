r"""Options for solving positive definite systems by CG, counted on a completed spectrum.

Designs, degrees, precisions and deflations are few, so they are enumerated. A tree search then
looks among what is continuous: lower ends of Chebyshev intervals, and compositions

    q(z) = q1(z) q2(z q1(z)),

which are polynomials of degree ``(d1 + 1)(d2 + 1) - 1``. It starts from the best enumerated option,
and replaces it only for a visible gain.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025), who name sparse tasks as open.
Deviations
    The score of an enumerated design is the mean of the selector's and of CG simulated on the
    completed spectrum; the tree knows the simulation alone, and is compared by it.
Cost
    Milliseconds per degree for networks, one to five milliseconds per simulated CG.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from spectool.learned import choose, completed, member
from spectool.learned.completion import CompletedSpectrum
from spectool.learned.features import scaled_probe
from spectool.planner.mcts import search
from spectool.planner.plan import Counts, Option, PlanCosts
from spectool.planner.simulate import chebyshev_bound
from spectool.planner.tuning import DEGREES, CgEnvironment, Draft
from spectool.polynomials import (
    Recurrence,
)
from spectool.spectrum import Scaling, Spectrum

__all__ = ["CgSpace", "Found", "cg_options", "unscaled_options"]

DEFLATED = (5, 10, 20, 50)
SHORT = 6
"""Enumerated designs whose CG is simulated; the selector alone judges the others."""
PER_DEGREE = 2
"""Designs per degree that are priced."""
LEAST_GAIN = 0.15
"""Share of the predicted seconds that the tree must save: the best of hundreds looks better than it
is, by about that much."""
TREE_SHARE = 0.03
"""Share of the predicted seconds that a search may take where nobody says how long it may."""
SHORTEST = 0.02
"""Seconds below which the tree does not begin."""
SINGLE_GAIN = 0.85
"""Most seconds in single precision over those in double for it to be an option."""
VECTORS, REDUCTIONS = 6, 3
"""Vector operations of a CG iteration, and reductions among them."""


class Found(NamedTuple):
    """Options, which search found the best, and how many were evaluated."""

    options: list[Option]
    found_by: str
    evaluated: int
    tree_gain: float


@dataclass(eq=False)
class CgSpace:
    """What is known of the system, and counts on it.

    Attributes
    ----------
    spectrum : Spectrum
        Of the scaled operator.
    costs : PlanCosts
        Of this machine.
    rtol : float
        Of the solve.
    n_rhs : int
        Right-hand sides, one after the other.
    single : bool
        Whether single precision inside M is safe.
    scaling, unit : str or None, float or None
        How A was scaled, and the mean of its diagonal then, as far as known.
    """

    spectrum: Spectrum
    costs: PlanCosts
    rtol: float
    n_rhs: int
    single: bool
    scaling: Scaling = None
    unit: float | None = None
    virtual: CompletedSpectrum = field(init=False)
    plain: int = field(init=False)
    evaluated: int = 0

    def __post_init__(self) -> None:
        self.virtual = completed(self.spectrum)
        counted = self.virtual.cg_iterations(None, rtol=self.rtol)
        self.plain = max(min(counted, self.spectrum.n), 1)
        self._shrink = self.plain / max(counted, 1)

    def iterations(self, q: Recurrence | None, deflated: int = 0) -> float:
        """Return CG's iterations, simulated; without the smallest eigenvalues if deflated."""
        self.evaluated += 1
        virtual = self.virtual if not deflated else _without(self.virtual, deflated)
        return max(self._shrink * virtual.cg_iterations(q, rtol=self.rtol), 1.0)

    def counts(
        self,
        iterations: float,
        degree: int,
        *,
        deflated: int = 0,
        first: float = 0.0,
        single: bool = False,
    ) -> Counts:
        """Return the operations of all solves, and of a first one that finds what to deflate."""
        k = self.n_rhs * iterations + first
        # eigCG's window takes some 4 vector operations per vector and step of the first solve; then
        # each application of M projects them out.
        extra = deflated * (4.0 * first + 2.0 * self.n_rhs * iterations)
        return Counts(
            products=k,
            applications=k if degree else 0.0,
            steps=k * degree,
            vectors=(VECTORS if degree else VECTORS + 1) * k + extra,
            reductions=REDUCTIONS * k + (self.n_rhs * deflated if deflated else 0),
            held=4.0 + 7.0 * deflated,
            degree=degree,
            single=single and degree > 0,
        )

    def option(
        self,
        name: str,
        q: Recurrence | None,
        iterations: float,
        *,
        deflated: int = 0,
        first: float = 0.0,
        method: str = "polynomial",
    ) -> Iterator[Option]:
        """Yield the option in double precision, and in single where that is safe."""
        degree, double = 0 if q is None else q.degree, math.inf
        for single in (False, True) if self.single and degree else (False,):
            action: dict[str, Any] = {"method": method, "degree": degree}
            action |= {"precision": "float32" if single else "float64", "deflate": deflated}
            action |= {"scaling": self.scaling, "unit": self.unit}
            title = name + (f", degree {degree}" if degree else "")
            title += (f", deflating {deflated}" if deflated else "") + (", single" * single)
            counts = self.counts(iterations, degree, deflated=deflated, first=first, single=single)
            plain = q is None and not deflated
            option = Option(title, action, counts, plain=plain, recurrence=q).priced(self.costs)
            if single and option.seconds > SINGLE_GAIN * double:
                return
            double = option.seconds
            yield option

    def price(self, q: Recurrence) -> float:
        """Return the least predicted seconds with this polynomial, its iterations simulated."""
        return self.seconds(q, self.iterations(q))

    def seconds(self, q: Recurrence, iterations: float) -> float:
        """Return the least predicted seconds with this polynomial."""
        return min(option.seconds for option in self.option("", q, iterations))


def cg_options(
    space: CgSpace,
    *,
    scaled: bool,
    deadline: float | None,
    rng: np.random.Generator,
    n_tree: int | None,
) -> Found:
    """Enumerate, then search; return all options with seconds.

    Parameters
    ----------
    space : CgSpace
        What is known.
    scaled : bool
        Whether the spectrum is that of the Jacobi scaled matrix.
    deadline : float or None
        ``time.perf_counter()`` at which the tree search ends; None grants it TREE_SHARE of the
        seconds that the best enumerated option is predicted to take.
    rng : Generator
        Of the tree search.
    n_tree : int or None
        Iterations of the tree search in place of the deadline: repeatable.
    """
    begun = time.perf_counter()
    options: list[Option] = []
    name, method = ("CG with Jacobi", "jacobi") if scaled else ("CG", "none")
    options += space.option(name, None, space.plain, method=method)
    judged = sorted(_enumerated(space), key=lambda entry: entry[0])
    # Where nobody says how long planning may take, simulating takes a small share of the solve.
    share = TREE_SHARE * space.n_rhs * min((entry[0] for entry in judged), default=0.0)
    least = begun + share if deadline is None and n_tree is None else math.inf
    for rank, (_, title, q, iterations) in enumerate(judged):
        if rank < SHORT and (rank == 0 or time.perf_counter() < least):
            iterations = math.sqrt(iterations * space.iterations(q))
        options += space.option(title, q, iterations)
    if space.n_rhs > 1:
        options += _deflating(space, options, method)
    if deadline is None:
        least = min(option.seconds for option in options)
        deadline = time.perf_counter() + min(TREE_SHARE * least, 1.0)
    found = _searched(space, options, deadline, rng, n_tree)
    options += found[0]
    options.sort(key=lambda option: option.seconds)
    by = "tree search" if options[0] in found[0] else "enumeration"
    return Found(options, by, space.evaluated, found[1])


def unscaled_options(space: CgSpace, spectrum: Spectrum | None, ratio: float) -> list[Option]:
    """Return CG without any preconditioner on an A that was scaled for all other options.

    Counts on two probes do not compare: they err by factors, and the least would be the luckier.
    This one is a bound instead, that of the resolved Ritz values, unless the probe saw everything;
    without a probe, that of a condition number ``ratio`` times as large as with scaling.

    Parameters
    ----------
    space : CgSpace
        Of the scaled A.
    spectrum : Spectrum or None
        Of A itself. Where rounding hides its small eigenvalues, CG is no option.
    ratio : float
        Of A's largest and smallest diagonal entries.
    """
    if spectrum is None:
        counted = space.plain * math.sqrt(ratio)
    elif not float(spectrum.ritz_values[0]) > 0:
        return []
    elif spectrum.complete:
        counted = completed(spectrum).cg_iterations(None, rtol=space.rtol)
    else:
        counted = chebyshev_bound(spectrum.ritz_values, spectrum.ritz_residuals, space.rtol)
    iterations = max(min(counted, space.spectrum.n), 1)
    return [
        replace(option, action=option.action | {"scaling": None, "unit": None})
        for option in space.option("CG", None, iterations, method="none")
    ]


def _enumerated(space: CgSpace) -> Iterator[tuple[float, str, Recurrence, float]]:
    """Yield seconds, name, polynomial and the selector's iterations of the best per degree."""
    probe = scaled_probe(space.spectrum)
    for degree in DEGREES:
        decision = choose(space.spectrum, degree, judge="selector", margin=0.0, probe=probe)
        space.evaluated += max(len(decision.scores), 1)
        if not decision.scores:  # unlike training: the classical default, simulated
            q = decision.member.recurrence
            iterations = space.iterations(q)
            yield space.seconds(q, iterations), decision.member.name, q, iterations
            continue
        ranked = sorted(decision.scores, key=lambda name: decision.scores[name])
        worse = decision.overhead / decision.scores[decision.member.name]
        for name in ranked[:PER_DEGREE]:
            q = member(name, space.spectrum, degree, probe=probe).recurrence
            overhead = max(decision.scores[name] * worse, 1.0)
            iterations = max(space.plain * overhead / (q.degree + 1), 1.0)
            yield space.seconds(q, iterations), name, q, iterations


def _deflating(space: CgSpace, options: Sequence[Option], method: str) -> list[Option]:
    """Return the best options so far with the smallest eigenvalues removed."""
    found: list[Option] = []
    polynomials = [option for option in options if option.recurrence is not None]
    best = sorted(polynomials, key=lambda option: option.seconds)[:2]
    for k in DEFLATED:
        if 10 * k > space.spectrum.n:
            break
        plain = space.plain * space.iterations(None, k) / max(space.iterations(None), 1.0)
        title = "CG with Jacobi" if method == "jacobi" else "CG"
        found += space.option(title, None, plain, deflated=k, first=space.plain, method=method)
        for option in best:
            q = option.recurrence
            assert q is not None
            share = space.iterations(q, k) / space.iterations(q)
            each = option.counts.products / space.n_rhs
            name = option.name.partition(", degree")[0]
            iterations = max(share * each, 1.0)
            found += space.option(name, q, iterations, deflated=k, first=each)
    return found


def _without(virtual: CompletedSpectrum, k: int) -> CompletedSpectrum:
    """Return the spectrum without its k smallest eigenvalues."""
    counts = virtual.weights / virtual.weights.min()
    kept = np.cumsum(counts) > k
    return virtual._replace(nodes=virtual.nodes[kept], weights=virtual.weights[kept])


def _searched(
    space: CgSpace,
    options: Sequence[Option],
    deadline: float,
    rng: np.random.Generator,
    n_tree: int | None,
) -> tuple[list[Option], float]:
    """Return what the tree found, if that pays, and how many times quicker than the best it is.

    Compared by simulation, which also counts the best of the others; a network had a say in the
    count of that one, so the tree's is changed by as much.
    """
    left = deadline - time.perf_counter()
    polynomials = [o for o in options if o.recurrence is not None and not o.action["deflate"]]
    if (n_tree is None and left < SHORTEST) or not polynomials:
        return [], 1.0
    best = min(polynomials, key=lambda option: option.seconds)
    environment = CgEnvironment(space.price, scaled_probe(space.spectrum))
    limits: dict[str, Any] = {"n_iterations": n_tree} if n_tree else {"max_time": left}
    result = search(environment, Draft(), rng=rng, **limits)
    draft = Draft()
    for kind, values in result.path:
        if kind != "stop":
            draft = environment.step(draft, kind, values).state
    if draft.q is None or best.recurrence is None:
        return [], 1.0
    q = environment.in_unit(draft.q)
    simulated, iterations = space.iterations(best.recurrence), space.iterations(q)
    gain = space.seconds(best.recurrence, simulated) / space.seconds(q, iterations)
    if gain < 1.0 / (1.0 - LEAST_GAIN):
        return [], gain
    told = best.counts.products / (space.n_rhs * simulated)
    title = "composition" if draft.q.name == "composition" else "Chebyshev, tuned"
    return list(space.option(title, q, max(told * iterations, 1.0))), gain
