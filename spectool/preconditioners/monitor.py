"""Growth monitor: finds out at run time that the spectrum leaves the interval of a polynomial.

Source
    van Dorsselaer, Hochstenbach and van der Vorst, SIMAX 22 (2001), for the safe ends of the probe
    that follows a detection; Ehlich and Zeller, Schwankung von Polynomen zwischen Gitterpunkten,
    Math. Z. 86 (1964), for ``max |p|`` from samples.
Deviations
    None of the theory: both tests prove what they report, rounding apart.
Cost
    Two norms per application; while it watches, ``sum(ROUNDS)`` matvecs in all, two reductions
    each, and three vectors. Nothing where the discs of Gershgorin prove the interval.

Every bound of a spectrum can be wrong when it is used: given by the user for another matrix, probed
through a LinearOperator that did something else then, or voided by changing A in place. Two tests:

1. *Gain*: for Hermitian B with spectrum in I, ``||p(B) x|| <= max_I |p| ||x||``. An excess proves a
   violation, and so do NaN and Inf out of a finite x. It sees polynomials run wild, not eigenvalues
   that exceed the interval by a few percent.
2. *Watch*: a Lanczos process of its own takes some steps in each of the first applications. Ritz
   values lie inside the spectrum, so one outside the interval is a proof.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal

from spectool._types import Array, Interval
from spectool.krylov import LanczosProcess
from spectool.operators import Operator
from spectool.polynomials import Recurrence
from spectool.polynomials.nodes import chebyshev_points
from spectool.spectrum import Scaling, Spectrum, probe, random_start

ROUNDS = (16, 8, 8, 16)
"""Steps of the watch before each of the first applications: most of it before any harm is done."""
RESTART = 2
"""Round at which the watch starts anew: an operator that misreports for a while also misleads a
Krylov space, for good where a Ritz pair has converged meanwhile."""
SEED = 577_215_664
PIECE = 8_192
"""Values per dot product: a longer one may wake BLAS threads, which then spin on the cores that
kernels need."""
ROUNDING = 1e3
"""Units of rounding, relative to the interval, that a Ritz value may lie outside of it."""
NOTHING: Interval = (math.inf, -math.inf)
"""Extremes of no Ritz values."""
STRETCHED = ", stretched to "
EXCESS = 1.01
"""Slack of the gain test: rounding, and 0.5% for ``max |p|`` between samples."""


class IntervalError(Exception):
    """The spectrum is not inside the interval; ``extremes`` are Ritz values that show it.

    Caught where the polynomial can be designed anew; never seen by users.
    """

    def __init__(self, extremes: Interval, *, finite: bool = True) -> None:
        super().__init__(f"Ritz values {extremes}, answer {'finite' if finite else 'not finite'}")
        self.extremes = extremes
        self.finite = finite


class MonitoredOperator(Operator):
    """An operator whose ``apply`` raises ``IntervalError`` once its spectrum leaves an interval.

    Parameters
    ----------
    operator : Operator
        Hermitian. Products are counted together with its own.
    interval : tuple of float
        ``(lower, upper)``: what recurrences trust.
    watch : bool
        Whether to run the watch, too.

    Attributes
    ----------
    interval : tuple of float
        May be widened at any time.
    tests_gain : bool
        Whether the gain is tested.
    """

    def __init__(self, operator: Operator, interval: Interval, *, watch: bool) -> None:
        super().__init__(operator.backend, operator.assume_a)
        self.counter = operator.counter
        self.interval = interval
        self.tests_gain = True
        self._gain: tuple[Recurrence, Interval, float] | None = None
        # Taken out while it is advanced: of two threads that apply M, one watches.
        self._watches: list[LanczosProcess | None] = [None] if watch else []
        self._rounds = 0
        discs = self.gershgorin() if watch else None
        if discs is not None and not self.leaves(discs):
            self._watches = []

    def leaves(self, extremes: Interval) -> bool:
        """Whether ``(lowest, highest)`` is outside the interval, by more than rounding."""
        room = self.room()
        return extremes[0] < self.interval[0] - room or extremes[1] > self.interval[1] + room

    def room(self) -> float:
        """Return what rounding may add to a Ritz value."""
        size = max(abs(end) for end in self.interval)
        return ROUNDING * float(np.finfo(self.dtype).eps) * size

    def apply(self, recurrence: Recurrence, X: Array, *, order: str | None = None) -> Array:
        """Return ``p(A) X``, or raise IntervalError.

        Raises BreakdownError if A returns NaN or Inf to the watch.
        """
        self._watch()
        Y = super().apply(recurrence, X, order=order)
        if self.tests_gain:
            before, after = _norm(X), _norm(Y)
            if not math.isfinite(after) and np.isfinite(X).all() and not np.isfinite(Y).all():
                raise IntervalError(NOTHING, finite=False)
            # Squares that underflow or overflow tell nothing.
            limits = np.finfo(X.dtype)
            usable = 1e3 * math.sqrt(limits.tiny) < before < 1e-3 * math.sqrt(limits.max)
            if usable and self._largest(recurrence) * before < after < math.inf:
                raise IntervalError(NOTHING)
        return Y

    def _largest(self, recurrence: Recurrence) -> float:
        """Return an upper bound of ``|p|`` on the interval."""
        if self._gain is None or self._gain[:2] != (recurrence, self.interval):
            points = chebyshev_points(16 * (recurrence.degree + 1), self.interval)
            largest = EXCESS * float(np.abs(recurrence(points)).max())
            self._gain = (recurrence, self.interval, largest)
        return self._gain[2]

    def _watch(self) -> None:
        """Advance the watch by one round, if it is on."""
        try:
            process = self._watches.pop()
        except IndexError:
            return
        done = self._rounds
        self._rounds += 1
        if process is None or done == RESTART:
            start = random_start(self, np.random.default_rng(SEED + done))
            process = LanczosProcess(self, start, reorthogonalize=False)
        for _ in range(ROUNDS[done]):
            process.step()
            if process.invariant:
                break
        if self._rounds < len(ROUNDS):
            self._watches.append(process)
        theta = eigvalsh_tridiagonal(*process.tridiagonal())
        extremes = float(theta[0]), float(theta[-1])
        if self.leaves(extremes):
            raise IntervalError(extremes)

    def probed(self, scaling: Scaling) -> Spectrum:
        """Probe the operator as it is now; its products are counted here."""
        twin = self.recounted()
        spectrum = probe(twin, scaling=scaling, rng=SEED + 1)
        self.counter.add(twin.n_matvecs)
        return spectrum


def _norm(X: Array) -> float:
    """Return the Frobenius norm: one pass, and the bound on the gain holds for it as well."""
    parts = np.ascontiguousarray(X).ravel().view(X.real.dtype)
    pieces = (parts[i : i + PIECE] for i in range(0, parts.size, PIECE))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return math.sqrt(sum(float(np.dot(piece, piece)) for piece in pieces))


def stretched(recurrence: Recurrence, factor: float) -> Recurrence:
    """Return the same design on an interval ``factor`` times as long; its name says so."""
    p = recurrence.in_unit(factor)
    design = recurrence.name.split(STRETCHED)[0]
    return replace(p, name=f"{design}{STRETCHED}{p.interval[1]:.3g}")
