r"""Runs a plan on matrices, looks at the residual, and mends what does not fit.

Source
    Higham, Functions of Matrices, SIAM 2008, section 4.9 (stopping tests).
Deviations
    (1) A is divided by an estimate of its norm, not by its Frobenius norm, which is larger by up to
    ``sqrt(n)``. (2) Where the residual is too large after the plan, steps follow that are aimed at
    where a sketch of the residual sees the spectrum; then a direct method.
Cost
    That of the steps, one residual, and ten products with a few vectors for the norm.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from spectool._types import FloatArray
from spectool.dense.accuracy import residual_norms, widened
from spectool.dense.algebra import Tensor
from spectool.dense.decompositions import FASTEST
from spectool.dense.door import Matrices, checked_matrices, to_host
from spectool.dense.gauss import block_lanczos, norm_estimate
from spectool.dense.iterations import find_kind
from spectool.dense.lapack import direct
from spectool.dense.planning.aims import aimed
from spectool.dense.planning.rounding import FLOOR
from spectool.dense.planning.spectra import ROOM
from spectool.dense.problems import Problem, norm_bound
from spectool.dense.run import is_singular
from spectool.dense.steps import Step, Variables
from spectool.errors import BreakdownError, ConvergenceWarning, InputError
from spectool.results import Status

__all__ = ["SEED", "PlanRun", "run_plan"]

FURTHER = 12
"""Most steps after those planned."""
CLASSICAL = 0.3
"""``||R||_F`` from which steps have their classical values."""
SLACK = 1.5
"""Multiple of the tolerance that still counts as met: spectra differ."""
SEED = 720_418_365
"""Of the start of sketches, on which the outcome hardly depends."""
BACKWARD = ("polar", "sign", "sqrt", "root")
"""Functions whose answers are held against A besides: their residual does not grow with the
condition number."""
MENDING = {
    "sign": "sign.quintic",
    "inv": "inv.chebyshev",
    "sqrt": "sqrt.quintic",
    "root": "root.iannazzo",
    "inverse_root": "inverse_root.quadratic",
}
"""Steps after those planned, by the family of problems."""


class Planned(Protocol):
    """What is run; see ``IterationPlan``."""

    @property
    def problem(self) -> Problem:
        """The function."""

    @property
    def schedule(self) -> tuple[Step, ...]:
        """What is done."""

    @property
    def rtol(self) -> float:
        """For ``||R||_F / sqrt(n)``."""

    @property
    def pair(self) -> bool:
        """Whether both square roots are asked for."""

    @property
    def direct(self) -> bool:
        """Whether the plan is a direct method."""

    @property
    def square(self) -> bool:
        """Whether X must be square."""


@dataclass(frozen=True, slots=True, eq=False)
class PlanRun:
    """What a plan made of matrices.

    Attributes
    ----------
    value : array
        The function; shape of the input.
    partner : array or None
        The inverse square root for a square root, and the other way round, where both are planned.
    residual_norms : ndarray, shape of the batch
        ``||R||_F / sqrt(n)`` of the last variables, relative to ``||A||_F`` where Y was given up;
        that of the answer after a direct method.
    n_further : int
        Steps that had to follow the plan, the most of the batch.
    replaced : int
        Matrices that went to a direct method in the end.
    status : Status
        CONVERGED, or STAGNATED where a residual is above the tolerance nevertheless.
    elapsed : float
        Wall-clock seconds.
    """

    value: Tensor = field(repr=False)
    partner: Tensor | None = field(repr=False)
    residual_norms: FloatArray
    n_further: int
    replaced: int
    status: Status
    elapsed: float


def run_plan(plan: Planned, A: Any) -> PlanRun:
    """Return the function of each matrix, shape (..., m, n), and how it went.

    Raises
    ------
    InputError
        If A is not finite, not Hermitian where it must be, or of another shape.
    BreakdownError
        If no finite answer was found, by a direct method either.

    Warns
    -----
    ConvergenceWarning
        If a residual is above the tolerance in the end.
    """
    begun = time.perf_counter()
    matrices = _checked(plan.problem, A)
    wide = matrices.A.shape[-2] < matrices.A.shape[-1]
    run = _Run(plan, matrices, _adjoint(matrices.A) if wide else matrices.A)
    with np.errstate(all="ignore"):
        run.iterate()
        run.mend()
        run.replace()
        X, Y = run.X, run.Y
        exponent = _exponent(plan.problem)
        X = matrices.restored(_adjoint(X) if wide else X, exponent)
        Y = None if Y is None else matrices.restored(Y, -exponent)
    if not bool(run.o.xp.all(run.o.xp.isfinite(X))):
        raise BreakdownError(
            f"{plan.problem.function} of A has no finite answer in {X.dtype}; scale A, or take a "
            "wider data type."
        )
    bad = ~(run.norms <= run.granted)
    if bad.any():
        warnings.warn(
            f"{plan.problem.function} by a plan: the residual is {run.norms.max():.1e}, not "
            f"{plan.rtol:.1e}; loosen rtol, or compute in a wider data type.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return PlanRun(
        X,
        Y,
        run.norms.reshape(matrices.batch),
        run.n_further,
        run.replaced,
        Status.STAGNATED if bad.any() else Status.CONVERGED,
        time.perf_counter() - begun,
    )


def _checked(problem: Problem, A: Any) -> Matrices:
    matrices = checked_matrices(A, square=problem.function != "polar", p=problem.p)
    if 0 in matrices.A.shape:
        raise InputError(f"A must have entries; its shape is {tuple(np.shape(A))}.")
    if problem.function not in ("polar", "inv") and not matrices.hermitian.all():
        raise InputError(
            f"this plan for {problem.function} is for Hermitian matrices; A is not. Use the verb "
            "without a plan."
        )
    return matrices


class _Run:
    """The variables of a batch on their way."""

    def __init__(self, plan: Planned, matrices: Matrices, A: Tensor) -> None:
        self.plan, self.problem, self.A = plan, plan.problem, A
        self.hermitian = self.problem.function != "polar" and bool(matrices.hermitian.all())
        self.Q: Tensor | None = None
        if plan.square and A.shape[-2] > A.shape[-1]:
            self.Q, A = array_namespace(A).linalg.qr(A)
        # A single matrix is no batch: some of NumPy's and SciPy's routines are faster then.
        self.single = A.shape[0] == 1
        self.start = A[0] if self.single else A
        self.o = self.problem.algebra(self.start, hermitian=self.hermitian)
        eps = float(self.o.xp.finfo(A.dtype).eps)
        self.granted = SLACK * max(plan.rtol, FLOOR * eps * A.shape[-1] ** 0.5)
        self.n_further = self.replaced = 0
        self.Y: Tensor | None = None

    def iterate(self) -> None:
        """Take the planned steps on matrices divided by what their norms are estimated to be."""
        o, problem, A = self.o, self.problem, self.start
        c = norm_bound(o, A)
        if self.plan.direct:
            c = o.xp.ones_like(c)
        else:
            estimate = norm_estimate(widened(A), np.random.default_rng(SEED))
            c = o.xp.where(estimate > 0, ROOM * o.xp.astype(estimate, c.dtype), c)
        v = problem.variables(o, A / o.xp.astype(c, A.real.dtype)[..., None, None])
        for step in self.plan.schedule:
            v, fine = self._tried(v, step)
            if not fine:
                break
        self.norms = self._norms(v)
        self.v, self.c = (v, c) if not self.single else (_stacked(v), c[None])

    def _tried(self, v: Variables, step: Step) -> tuple[Variables, bool]:
        """Take a step; where a matrix is singular return NaN, for the direct method to follow."""
        try:
            return step(self.o, v), True
        except (np.linalg.LinAlgError, RuntimeError, BreakdownError) as error:
            if not (is_singular(error) or isinstance(error, BreakdownError)):
                raise
        return v._replace(X=v.X * float("nan")), False

    def _norms(self, v: Variables) -> FloatArray:
        R = self.problem.residual(self.o, v)
        norms = self.o.norm(R)
        if not v.coupled and self.problem.family in ("sqrt", "root"):
            size = self.o.norm(v.A)
            norms = norms / self.o.xp.where(size > 0, size, self.o.xp.ones_like(size))
        else:
            norms = norms / R.shape[-1] ** 0.5
        return np.atleast_1d(to_host(norms).astype(np.float64))

    @property
    def bad(self) -> list[int]:
        """Matrices whose residual is too large."""
        return [int(index) for index in np.flatnonzero(~(self.norms <= self.granted))]

    def mend(self) -> None:
        """Continue where the spectrum differed from the planned one; then take the answers."""
        rows = {}
        coupled = self.problem.family in ("sign", "inv") or self.v.coupled
        if coupled and self.plan.schedule[-1].kind.order != FASTEST:
            for index in self.bad:
                rows[index] = self._mended(index)
        v, xp = _with_rows(self.v, rows), self.o.xp
        factor = xp.astype(self.c, v.A.real.dtype)[..., None, None]
        self.X = self.problem.answer(v, factor)
        if self.plan.pair:
            self.Y = _partner(self.problem).answer(v, factor)
        if self.hermitian:
            self.X = self.o.symmetric(self.X)
            self.Y = None if self.Y is None else self.o.symmetric(self.Y)
        if self.Q is not None:
            self.X = self.Q @ self.X
        if not self.plan.direct and self.problem.function in BACKWARD:
            # R is blind to what rounding, or steps aimed at another spectrum, took from A.
            self.norms = np.maximum(self.norms, residual_norms(self.problem, self.A, self.X))

    def _mended(self, index: int) -> Variables:
        rng = np.random.default_rng(SEED)
        kind = find_kind(MENDING[self.problem.family])
        q = {"sign": 2, "sqrt": 2}.get(self.problem.family, self.problem.p)
        v = _row(self.v, index)
        for taken in range(FURTHER + 1):
            R = self.problem.residual(self.o, v)
            norm = float(self.o.norm(R))
            self.norms[index] = norm / R.shape[-1] ** 0.5
            done = not np.isfinite(norm) or self.norms[index] <= self.granted
            if done or taken == FURTHER:
                break
            theta, _, reach = block_lanczos(widened(R), rng, singular=False)
            low = max(1.0 - float(theta[-1]), 0.0) ** (1.0 / q)
            high = max(1.0 - float(theta[0]) + float(reach[0]), 1.0) ** (1.0 / q)
            values = aimed(kind, max(0.7 * low, 1e-3 * high), high, v.p)
            if norm < CLASSICAL or values is None:
                values = kind.classical(v.p)
            v, fine = self._tried(v, Step(kind, values))
            self.n_further = max(self.n_further, taken + 1)
            if not fine:
                break
        return v

    def replace(self) -> None:
        """Compute what did not converge by a direct method."""
        if not self.bad:
            return
        xp = self.o.xp
        self.replaced = len(self.bad)
        rows, partners = list(self.X), None if self.Y is None else list(self.Y)
        for index in self.bad:
            one = self.A[index][None]
            rows[index] = direct(self.problem, one, hermitian=self.hermitian).X[0]
            self.norms[index] = residual_norms(self.problem, one, rows[index][None])[0]
            if partners is not None:
                other = _partner(self.problem)
                partners[index] = direct(other, one, hermitian=self.hermitian).X[0]
        self.X = xp.stack(rows)
        self.Y = None if partners is None else xp.stack(partners)


def _partner(problem: Problem) -> Problem:
    """Return the problem that is solved along with that of a square root."""
    return Problem("invsqrt" if problem.function == "sqrt" else "sqrt", 2)


def _exponent(problem: Problem) -> float:
    """Return how the function scales with A."""
    fixed = {"sign": 0.0, "polar": 0.0, "inv": -1.0}
    if problem.function in fixed:
        return fixed[problem.function]
    inverse = problem.function in ("invsqrt", "inverse_root")
    return (-1.0 if inverse else 1.0) / problem.p


def _stacked(v: Variables) -> Variables:
    return Variables(v.X[None], None if v.Y is None else v.Y[None], v.A[None], v.p)


def _row(v: Variables, index: int) -> Variables:
    """Return the variables of one matrix of a batch."""
    return Variables(v.X[index], None if v.Y is None else v.Y[index], v.A[index], v.p)


def _with_rows(v: Variables, rows: dict[int, Variables]) -> Variables:
    """Return the variables of a batch, some of them replaced."""
    if not rows:
        return v
    xp = array_namespace(v.X)
    count = range(v.X.shape[0])
    X = xp.stack([rows[index].X if index in rows else v.X[index] for index in count])
    if v.Y is None:
        return v._replace(X=X)
    Y = xp.stack([rows[index].Y if index in rows else v.Y[index] for index in count])
    return v._replace(X=X, Y=Y)


def _adjoint(X: Tensor) -> Tensor:
    xp = array_namespace(X)
    turned = xp.matrix_transpose(X)
    return xp.conj(turned) if xp.isdtype(X.dtype, "complex floating") else turned
