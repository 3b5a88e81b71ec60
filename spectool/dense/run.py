"""Runs steps until the residual is small: the loop that all methods share.

A method decides on steps; the loop takes them, measures, and stops. It knows whether a residual is
free: whether the product it needs is one that the step needs too (``shares_residual``). Where it is
not, as in Newton's iteration, the change of X tells when to look.

Source
    Higham, Functions of Matrices, SIAM 2008, section 4.9 (stopping tests).
Cost
    One Frobenius norm per step, O(n^2); one residual at the end where it is not free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from spectool.dense.algebra import Cost, MatrixAlgebra, Tally, Tensor
from spectool.dense.problems import Problem
from spectool.dense.steps import Kind, Step, Variables
from spectool.errors import BreakdownError
from spectool.results import Status

__all__ = ["Method", "Progress", "Run", "iterate", "shares_residual"]

GROWTH = 1e3
"""Growth of the residual over its smallest value that counts as divergence."""
SKETCHED = 1.5
"""Multiple of the tolerance at which a sketched residual is worth a look at the true one."""
LOOK = 0.1
"""Change of X below which the order of convergence foresees the residual."""
FLAT = 2
"""Steps without progress, where there should be some, that end a run."""
NEAR = 0.5
"""``||R||_F`` below which iterations of order 2 or more contract: if not, it is rounding."""
ROUNDING = 1e3
"""Multiple of the data type's rounding below which a residual may stagnate without harm."""


class Progress(NamedTuple):
    """What a callback sees after each step.

    Attributes
    ----------
    iteration : int
        Steps so far.
    residual_norm : float
        ``||R||_F / sqrt(n)`` before that step, the largest of a batch; NaN where it is not known.
    step : str
        The step just taken.
    """

    iteration: int
    residual_norm: float
    step: str


class Method(Protocol):
    """Decides on steps.

    Attributes
    ----------
    name : str
        Of the method, for reports.
    """

    @property
    def name(self) -> str:
        """Of the method, for reports."""

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield the next step; looks at ``run`` between yields. May end, or go on for ever."""


@dataclass(eq=False)
class Run:
    """Where an iteration is: what a method may look at.

    Attributes
    ----------
    problem : Problem
        The function.
    algebra : MatrixAlgebra
        The arithmetic.
    variables : Variables
        Now.
    rng : Generator
        For sketches.
    taken : list of Step
        So far.
    history : list of float
        ``||R||_F / sqrt(n)``, the largest of the batch, before each step and at the end; NaN where
        it was not computed.
    best : tuple of Variables and float, or None
        The variables of the smallest residual that was looked at.
    overhead : Cost
        What the method spent beside its steps.
    trouble : str
        Why the run broke down, where somebody knows.
    estimate : ndarray or None
        ``||R||_F / sqrt(n)`` of each matrix by a sketch, where the method makes one before a step
        that does not share the residual.
    """

    problem: Problem
    algebra: MatrixAlgebra
    variables: Variables
    rng: np.random.Generator
    taken: list[Step] = field(default_factory=list)
    history: list[float] = field(default_factory=list)
    best: tuple[Variables, float] | None = None
    overhead: Cost = field(default_factory=Cost)
    trouble: str = ""
    estimate: Any = None
    _residual: tuple[Any, Tensor] | None = None

    def residual(self) -> Tensor:
        """Return R of the variables, shape (..., n, n); computed once."""
        if self._residual is None or self._residual[0] is not self.variables:
            R = self.problem.residual(self.algebra, self.variables)
            self._residual = (self.variables, R)
        return self._residual[1]

    def residual_norms(self) -> np.ndarray[Any, Any]:
        """Return ``||R||_F / sqrt(n)`` for each matrix, shape (...), on the host."""
        R = self.residual()
        norms = self.algebra.norm(R) / R.shape[-1] ** 0.5
        return np.asarray(norms.cpu() if hasattr(norms, "cpu") else norms)

    @property
    def cost(self) -> Cost:
        """Of the steps taken, and of what the method spent beside them."""
        X = self.variables.X
        total = self.overhead
        for step in self.taken:
            total = total.plus(step.cost(p=self.variables.p, tall=X.shape[-2] > X.shape[-1]))
        return total


@lru_cache(maxsize=256)
def shares_residual(kind: Kind, problem: Problem) -> bool:
    """Return whether a residual before the step costs nothing but what the step costs anyway."""
    tally = Tally()
    Y = tally.variable() if problem.family not in ("sign", "inv") and kind.coupled else None
    v = Variables(tally.variable(), Y, tally.variable(), problem.p)
    problem.residual(tally, v)
    kind.step()(tally, v)
    return tally.cost == kind.step().cost(p=problem.p)


@lru_cache(maxsize=256)
def inverts_something(kind: Kind) -> bool:
    """Return whether a kind inverts or divides: its iterates may grow before they converge."""
    cost = kind.step().cost(p=2)
    return cost.inverses + cost.solves + cost.definite_solves + cost.qr_solves > 0.0


def iterate(
    run: Run,
    method: Method,
    *,
    rtol: float,
    maxiter: int,
    max_time: float | None = None,
    callback: Callable[[Progress], Any] | None = None,
) -> Status:
    """Take the method's steps until every residual is at most rtol.

    Parameters
    ----------
    run : Run
        At its start; holds the result afterwards.
    method : Method
        Decides.
    rtol : float
        For ``||R||_F / sqrt(n)``.
    maxiter : int
        Most steps.
    max_time : float or None
        Seconds.
    callback : callable or None
        Called with a ``Progress`` after each step; stops where it returns True.

    Returns
    -------
    Status
        CONVERGED; STAGNATED at the level of rounding; MAXITER, also where the method has no more
        steps; BROKE_DOWN where it diverges or a matrix is singular; TIMED_OUT, STOPPED or
        INTERRUPTED.
    """
    begun = time.perf_counter()
    watch = _Watch(run, rtol)
    try:
        with np.errstate(all="ignore"):  # what overflows is found by the residual
            for step in method.steps(run):
                if (status := watch.before(step)) is not None:
                    return status
                if len(run.taken) >= maxiter:
                    return watch.last(Status.MAXITER)
                previous = run.variables
                run.variables = step(run.algebra, previous)
                run.taken.append(step)
                if (status := watch.after(step, previous)) is not None:
                    return status
                if callback is not None and callback(
                    Progress(len(run.taken), run.history[-1], str(step))
                ):
                    return watch.last(Status.STOPPED)
                if max_time is not None and time.perf_counter() - begun > max_time:
                    return watch.last(Status.TIMED_OUT)
            return watch.last(Status.MAXITER)
    except BreakdownError as error:
        run.trouble = str(error)
    except (np.linalg.LinAlgError, RuntimeError) as error:
        if not is_singular(error):
            raise
        run.trouble = f"a matrix is singular ({str(error).splitlines()[0]})"
    except KeyboardInterrupt:
        return watch.last(Status.INTERRUPTED)
    return Status.BROKE_DOWN


def is_singular(error: Exception) -> bool:
    """Return whether an error of NumPy or torch says that a matrix has no inverse or factor."""
    return isinstance(error, np.linalg.LinAlgError) or type(error).__name__ == "_LinAlgError"


class _Watch:
    """Tells convergence, stagnation and divergence from residuals, or from changes."""

    def __init__(self, run: Run, rtol: float) -> None:
        self.run, self.rtol = run, rtol
        X = run.variables.X
        bits = float(run.algebra.xp.finfo(X.dtype).eps)
        root = X.shape[-1] ** 0.5
        self.rounding = min(ROUNDING * bits * root, LOOK / root)
        self.best, self.flat = np.inf, 0
        self.looked: Variables | None = None
        self.due = False  # whether the change says that a residual is worth its product

    def before(self, step: Step) -> Status | None:
        """Look at the residual if it is free, or due."""
        foreseen = self.run.estimate
        promised = foreseen is not None and float(np.max(foreseen)) <= SKETCHED * self.rtol
        if self.due or promised or shares_residual(step.kind, self.run.problem):
            return self._look()
        self.run.history.append(float("nan"))
        return None

    def after(self, step: Step, previous: Variables) -> Status | None:
        """Foresee the residual from the change of X, where steps do not share it."""
        if shares_residual(step.kind, self.run.problem):
            self.due = False
            return None
        change = self.run.algebra.combine((1.0, self.run.variables.X), (-1.0, previous.X))
        norms = self.run.algebra.norm(change)
        largest = float(norms.max())
        if not np.isfinite(largest):
            return Status.BROKE_DOWN
        foreseen = largest**step.kind.order / change.shape[-1] ** 0.5
        self.due = largest < LOOK and (foreseen <= self.rtol or foreseen <= self.rounding)
        return None

    def last(self, otherwise: Status) -> Status:
        """Return CONVERGED if it is so at the end of a run that was ended by something else."""
        status = self._look() if self.looked is not self.run.variables else None
        return status if status is Status.CONVERGED else otherwise

    def _look(self) -> Status | None:
        run = self.run
        largest = float(run.residual_norms().max(initial=0.0))
        run.history.append(largest)
        self.looked = run.variables
        # Newton's steps overshoot, and come back.
        inverts = bool(run.taken) and inverts_something(run.taken[-1].kind)
        if not np.isfinite(largest) or (largest > GROWTH * max(self.best, 1.0) and not inverts):
            run.trouble = f"the residual grew to {largest:.1e}"
            return Status.BROKE_DOWN
        if run.best is None or largest <= run.best[1]:
            run.best = (run.variables, largest)
        if largest <= self.rtol:
            return Status.CONVERGED
        superlinear = run.taken and run.taken[-1].kind.order > 1
        near = superlinear and self.best * run.variables.X.shape[-1] ** 0.5 < NEAR
        stalled = largest > 0.5 * self.best and (near or self.best <= self.rounding)
        self.flat = self.flat + 1 if stalled else 0
        self.best = min(self.best, largest)
        if largest > GROWTH * self.best and (self.best < LOOK or not inverts):
            run.trouble = f"the residual grew from {self.best:.1e} to {largest:.1e}"
            return Status.BROKE_DOWN
        if self.flat >= FLAT:
            return Status.STAGNATED
        return None
