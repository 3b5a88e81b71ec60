"""Which method serves a task: by what f allows, by predicted seconds and by memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spectool._types import FloatArray, Interval, Rng
from spectool.errors import InputError
from spectool.functions.estimates.hermitian import arcsine_points
from spectool.functions.methods.chebyshev import TIGHTNESS, Part, interpolants
from spectool.functions.methods.lanczos import MAX_BASIS_BYTES
from spectool.functions.methods.preconditioned import ROOTS
from spectool.functions.task import Task
from spectool.operators import Operator
from spectool.planner.costs import OperatorCosts, operator_costs
from spectool.planner.simulate import VirtualOperator
from spectool.polynomials import chebyshev_series, inverse_square_root
from spectool.spectrum import Spectrum, probe

MOST_AMPLIFIED = 1e4
"""Chebyshev loses one digit per factor ten that max |f| on the safe interval exceeds f's size."""
LEAST_SHARE = 1e-3
"""Of max |f| that the answer is foreseen to have; where it has less, a second round finds out."""
UNPROBED = 96
"""Degree on Gershgorin's interval up to which a probe could not pay for itself."""
PRICED_FROM = 20_000
"""Rows from which methods for roots are priced; below, plain Lanczos is over before a probe is."""
LONG = 500
"""Steps that must be allowed for several of them to be run in one."""
STORED, STREAMED = 20, 10
"""Vector operations that a Lanczos step costs beside the product."""
SHIFTED = 3
"""Vector operations that each pole costs in a step."""
DEGREES = (4, 8, 16)
"""Of q, for roots."""


class Choice(NamedTuple):
    """A method, why, and what it needs to know."""

    method: str
    reason: str
    interval: Interval = (-math.inf, math.inf)
    degree: int = 0
    parts: tuple[Part, ...] = ()


@dataclass(slots=True, eq=False)
class Knowledge:
    """The spectrum as far as it is known; probed when somebody asks.

    Attributes
    ----------
    operator : Operator
        A.
    rng : Generator, int or None
        Seeds the probe.
    given : Spectrum, optional
        A probe made before.
    choice : Choice, optional
        What served the last task.
    tightness : float
        Part of rtol that the last Chebyshev coefficients had to meet.
    """

    operator: Operator
    rng: Rng = None
    given: Spectrum | None = None
    choice: Choice | None = None
    tightness: float = TIGHTNESS

    @property
    def spectrum(self) -> Spectrum:
        """The probe, made at the first call."""
        if self.given is None:
            self.given = probe(self.operator, rng=self.rng)
        return self.given

    def tighten(
        self,
        task: Task,
        interval: Interval,
        nodes: FloatArray,
        weights: FloatArray,
        *,
        dimension: int = 1,
    ) -> None:
        """Foresee how small ``||f(A) b||`` is against ``max |f|``, which coefficients refer to.

        ``nodes`` and ``weights`` are a quadrature of the spectrum, and b is taken to be random. A
        Laplacian in ``dimension`` variables has that power of the part of one variable's spectrum
        close to its ends.
        """
        self.tightness = TIGHTNESS
        with np.errstate(all="ignore"):
            for target in task.targets:
                inside = np.abs(target.function.evaluate(target.t * nodes))
                ends = np.abs(target.function.evaluate(target.t * np.array(interval)))
                if inside.shape != nodes.shape:
                    return  # the interpolant says what is wrong with f
                mean = float(np.sqrt(weights @ np.square(inside)))
                share = mean / (max(float(inside.max()), float(ends.max())) or 1.0)
                share **= dimension
                if 0 < share < 1:
                    self.tightness = min(self.tightness, TIGHTNESS * max(share, LEAST_SHARE))

    @property
    def n_reductions(self) -> int:
        """Reductions that the probe took."""
        return 0 if self.given is None else 2 * int(self.given.ritz_values.size)


def choose(task: Task, method: str, known: Knowledge) -> Choice:
    """Choose for Hermitian A; a method that was asked for is only given what it needs.

    Raises InputError if the method asked for cannot serve f.
    """
    functions = [target.function for target in task.targets]
    if method == "chebyshev":
        return _across(task, known)
    if method == "preconditioned":
        return _for_roots(task, known, forced=True)
    if method != "auto":
        return Choice(method, "as asked")
    if all(function.domain == "any" for function in functions):
        return _for_smooth(task, known)
    if len(functions) == 1 and functions[0].name in ROOTS and task.targets[0].t.real > 0:
        return _for_roots(task, known)
    names = ", ".join(sorted({function.name for function in functions}))
    return Choice("lanczos", f"{names} is singular at zero, where the probe cannot see")


def _across(task: Task, known: Knowledge) -> Choice:
    lower, upper = known.spectrum.interval
    for target in task.targets:
        if target.function.domain != "any" and lower <= 0 <= upper:
            raise InputError(
                f"method='chebyshev' needs zero outside the safe interval [{lower:.4g}, "
                f"{upper:.4g}], because {target.function.name} is singular there. Use "
                "method='lanczos', or pass a spectrum of more steps."
            )
    return Choice("chebyshev", "as asked", (lower, upper))


def _for_smooth(task: Task, known: Knowledge) -> Choice:
    """Chebyshev on proven bounds where that is cheap, on probed bounds where f is tame there."""
    discs = task.operator.gershgorin() if known.given is None else None
    if discs is not None and discs[0] < discs[1]:
        facts = task.operator.row_facts()
        assert facts is not None
        # Every diagonal entry is a Rayleigh quotient: the spectrum reaches at least that far. That
        # of the constant vector is close to the low end of a Laplacian.
        diagonal = facts.diagonal.real
        reach = np.array([float(diagonal.min()), float(diagonal.max())])
        growth = _amplification(task, discs, reach)
        if growth > _tolerable(task):
            ones = np.ones(task.operator.n, dtype=task.operator.dtype)
            mean = float(task.operator.matmul(ones).real.mean(dtype=np.float64))
            growth = _amplification(task, discs, np.append(reach, mean))
        if growth <= _tolerable(task):
            points = arcsine_points(*discs)
            weights = np.full(points.size, 1.0 / points.size)
            known.tighten(task, discs, points, weights, dimension=3)
            tolerances = np.full(len(task.targets), known.tightness * task.rtol)
            parts = tuple(interpolants(task.targets, discs, tolerances, UNPROBED + 1))
            if max(part.recurrence.degree for part in parts) <= UNPROBED:
                reason = "few degrees on Gershgorin's interval"
                return Choice("chebyshev", reason, discs, parts=parts)
    spectrum = known.spectrum
    interval = spectrum.interval
    growth = _amplification(task, interval, spectrum.ritz_values)
    known.tighten(task, interval, spectrum.ritz_values, spectrum.weights)
    if not growth <= _tolerable(task):
        return Choice("lanczos", f"f grows {growth:.1e}-fold between the spectrum and its safe end")
    return Choice("chebyshev", "smooth, and no larger on the safe interval than inside", interval)


def _tolerable(task: Task) -> float:
    """Return the loss of digits that leaves rtol attainable."""
    return min(0.1 * task.rtol / task.eps, MOST_AMPLIFIED)


def _amplification(task: Task, interval: Interval, inside: FloatArray) -> float:
    """Return how much larger f is at the ends of an interval than inside, the worst target."""
    worst = 0.0
    with np.errstate(all="ignore"):
        for target in task.targets:
            edge = np.abs(target.function.evaluate(target.t * np.array(interval))).max()
            size = np.abs(target.function.evaluate(target.t * inside)).max()
            ratio = float(edge / size) if size > 0 else math.inf
            worst = max(worst, ratio) if not math.isnan(ratio) else math.inf
    return worst


def _for_roots(task: Task, known: Knowledge, *, forced: bool = False) -> Choice:
    """Price Lanczos, with stored basis or two passes, against preconditioned and rational ones.

    Poles need vectors of their own, but no basis and no second pass: they pay where products are
    dear and the basis does not fit.
    """
    plain = Choice("lanczos", "its error bound needs no lower end of the spectrum")
    if not forced and (task.operator.n < PRICED_FROM or task.limits.maxiter < LONG):
        return plain
    spectrum = known.spectrum
    upper = spectrum.interval[1]
    nodes_low = float(spectrum.ritz_values[0])
    if not (upper > 0 and nodes_low > 0):
        return plain  # Lanczos names the Ritz value
    virtual = VirtualOperator.of(spectrum)
    identity = chebyshev_series([1.0], (0.0, 1.0), name="identity")
    steps = plain_steps = virtual.cg_iterations(identity, rtol=task.rtol)
    # Laid out for the products of a polynomial; blocked layouts make the difference.
    laid_out = task.operator.prepared(steps * task.n_columns)
    costs = operator_costs(task.operator, laid_out)
    seconds = {"lanczos": steps * _step_seconds(task, steps, costs.product, costs)}
    designs: dict[str, tuple[Interval, int]] = {}
    for degree in DEGREES:
        interval = root_interval(upper, degree)
        q, _ = inverse_square_root(interval, degree)
        steps = virtual.cg_iterations(q * q, rtol=task.rtol)
        name = f"preconditioned {degree}"
        applied = costs.call + (2 * degree + 1) * costs.step_large
        seconds[name] = steps * _step_seconds(task, steps, applied, costs)
        designs[name] = interval, degree
    if forced:
        del seconds["lanczos"]
    elif not _fits(task, plain_steps):
        poles = _n_poles(task, upper / nodes_low)
        if (2 * poles + 4) * task.B[:, 0].nbytes <= task.limits.max_memory:
            shifted = costs.product + (STREAMED + SHIFTED * poles) * costs.vector
            seconds["rational"] = plain_steps * shifted
    best = min(seconds, key=lambda name: seconds[name])
    reason = "predicted " + ", ".join(f"{name} {s:.2g} s" for name, s in seconds.items())
    if best in ("lanczos", "rational"):
        return Choice(best, reason)
    return Choice("preconditioned", "as asked" if forced else reason, *designs[best])


def root_interval(upper: float, degree: int) -> Interval:
    """Return where q of that degree approximates ``z^-1/2``: to about 5% of its value.

    The error of q decays like ``exp(-2 d / sqrt(k))`` on ``[upper / k, upper]``.
    """
    return (upper / max((degree / 1.5) ** 2, 1.5), upper)


def _step_seconds(task: Task, steps: int, applied: float, costs: OperatorCosts) -> float:
    """Price a Lanczos step whose product takes ``applied`` seconds, per column.

    A stored basis costs new memory at first touch, and one pass when it is combined; a dropped one
    costs every step twice.
    """
    if _fits(task, steps):
        return applied + STORED * costs.vector
    return 2.0 * (applied + STREAMED * costs.vector)


def _fits(task: Task, steps: int) -> bool:
    return float(steps) * task.B.nbytes <= min(task.limits.max_memory, MAX_BASIS_BYTES)


def _n_poles(task: Task, cond: float) -> int:
    """Return how many poles serve a root (Hale, Higham and Trefethen, SINUM 46 (2008), (4.6))."""
    return math.ceil((math.log(cond) + 3.0) * math.log(1.0 / task.rtol) / (2.0 * math.pi**2))
