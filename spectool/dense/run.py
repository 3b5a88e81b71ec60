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
from spectool.results import Status

__all__ = ["Method", "Progress", "Run", "iterate", "shares_residual"]

GROWTH = 1e3
"""Growth of the residual over its smallest value that counts as divergence."""
LOOK = 0.1
"""Change of X below which the order of convergence foresees the residual."""
FLAT = 3
"""Steps without progress, close to rounding, that end a run."""
ROUNDING = 1e3
"""Multiple of the data type's rounding below which a residual may stagnate without harm."""


class Progress(NamedTuple):
    """What a callback sees after each step.

    Attributes
    ----------
    iteration : int
        Steps so far.
    residual_norm : float
        ``||R||_F / sqrt(n)``, the largest of a batch; NaN where it is not known.
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
    """

    problem: Problem
    algebra: MatrixAlgebra
    variables: Variables
    rng: np.random.Generator
    taken: list[Step] = field(default_factory=list)
    history: list[float] = field(default_factory=list)
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
        """Of the steps taken."""
        X = self.variables.X
        total = Cost()
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
        for step in method.steps(run):
            if (status := watch.before(step)) is not None:
                return status
            if len(run.taken) >= maxiter:
                return watch.last(Status.MAXITER)
            previous = run.variables
            try:
                run.variables = step(run.algebra, previous)
            except (np.linalg.LinAlgError, RuntimeError) as error:
                if not is_singular(error):
                    raise
                return Status.BROKE_DOWN
            run.taken.append(step)
            if (status := watch.after(step, previous)) is not None:
                return status
            if callback is not None and callback(
                Progress(len(run.taken), run.history[-1], str(step))
            ):
                return watch.last(Status.STOPPED)
            if max_time is not None and time.perf_counter() - begun > max_time:
                return watch.last(Status.TIMED_OUT)
    except KeyboardInterrupt:
        return watch.last(Status.INTERRUPTED)
    return watch.last(Status.MAXITER)


def is_singular(error: Exception) -> bool:
    """Return whether an error of NumPy or torch says that a matrix has no inverse or factor."""
    return isinstance(error, np.linalg.LinAlgError) or type(error).__name__ == "_LinAlgError"


class _Watch:
    """Tells convergence, stagnation and divergence from residuals, or from changes."""

    def __init__(self, run: Run, rtol: float) -> None:
        self.run, self.rtol = run, rtol
        X = run.variables.X
        bits = float(run.algebra.xp.finfo(X.dtype).eps)
        self.rounding = ROUNDING * bits * X.shape[-1] ** 0.5
        self.best, self.flat = np.inf, 0
        self.due = False  # whether the change says that a residual is worth its product

    def before(self, step: Step) -> Status | None:
        """Look at the residual if it is free, or due."""
        if self.due or shares_residual(step.kind, self.run.problem):
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
        status = self._look()
        return status if status is Status.CONVERGED else otherwise

    def _look(self) -> Status | None:
        largest = float(self.run.residual_norms().max(initial=0.0))
        self.run.history.append(largest)
        if not np.isfinite(largest) or largest > GROWTH * max(self.best, 1.0):
            return Status.BROKE_DOWN
        if largest <= self.rtol:
            return Status.CONVERGED
        self.flat = self.flat + 1 if largest > 0.5 * self.best else 0
        self.best = min(self.best, largest)
        if largest > GROWTH * self.best:
            return Status.BROKE_DOWN
        if self.flat >= FLAT and self.best <= self.rounding:
            return Status.STAGNATED
        return None
