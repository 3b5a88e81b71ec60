"""What verbs return: small frozen values that print themselves as a sentence."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import NotConvergedError


class Status(enum.Enum):
    """Why a computation stopped. The value is advice for the user."""

    CONVERGED = "the tolerance was met"
    MAXITER = "maxiter was reached; raise maxiter or loosen rtol"
    STAGNATED = "it improves no further, by rounding or a singular A; loosen rtol, see report"
    STOPPED = "the callback asked to stop"
    INTERRUPTED = "interrupted by Ctrl-C; this is the best result so far"
    TIMED_OUT = "max_time was reached; this is the best result so far"
    BROKE_DOWN = "the recurrence broke down; A or M is not what the solver assumes"


@dataclass(frozen=True, slots=True, eq=False)
class FunctionSolution:
    """Approximation of ``f(A) b``.

    Attributes
    ----------
    y : ndarray, shape of b
        The approximation; unit of f times that of b.
    error_estimate : float
        Estimate of ``||y - f(A) b|| / ||f(A) b||``, the largest over columns.
    status : Status
        Why the computation stopped.
    n_matvecs : int
        Products with A, all of them: probe, recurrence and checks.
    n_reductions : int
        Global inner products and norms, what a parallel machine waits for.
    elapsed : float
        Wall-clock seconds; the first call in a process includes compilation.
    method : str
        What was executed.
    report : str
        What was chosen and why.
    """

    y: Array = field(repr=False)
    error_estimate: float
    status: Status
    n_matvecs: int
    n_reductions: int
    elapsed: float
    method: str
    report: str = field(default="", repr=False)

    @property
    def converged(self) -> bool:
        """Whether the tolerance was met."""
        return self.status is Status.CONVERGED

    def check(self) -> Self:
        """Return self, or raise ``NotConvergedError``."""
        if not self.converged:
            raise NotConvergedError(self)
        return self

    def __str__(self) -> str:
        return (
            f"{self.method}: {self.status.value}; error estimate {self.error_estimate:.1e}, "
            f"{self.n_matvecs} matvecs, {self.n_reductions} reductions, {self.elapsed:.3g} s"
        )


@dataclass(frozen=True, slots=True, eq=False)
class LinearSolution:
    """Approximate solution of ``A x = b``; unpacks as ``x, info`` like scipy's.

    Attributes
    ----------
    x : ndarray, shape of b
        The approximation with the smallest residual seen.
    status : Status
        Why the computation stopped.
    residual_norm : float
        ``||b - A x||``, recomputed from x at the end; the largest over columns.
    target : float
        What it had to reach: ``max(rtol ||b||, atol)`` of that column.
    history : ndarray, shape (n_iterations + 1,)
        Residual norms as the recurrence sees them, relative to the target's ``||b||``; for several
        columns the largest.
    n_iterations : int
        Applications of M, or products with A where M is the identity.
    n_matvecs : int
        Products with A, one per column: recurrence, recomputed residuals, and those inside M.
    n_reductions : int
        Global inner products and norms, what a parallel machine waits for.
    elapsed : float
        Wall-clock seconds.
    method : str
        What was executed.
    lanczos : tuple of ndarray, shapes (m,) and (m - 1,)
        Diagonal and off-diagonal of the Lanczos matrix of ``M A`` that CG built on its way.
    report : str
        What happened on the way: residuals replaced, precision promoted, vectors recycled.
    """

    x: Array = field(repr=False)
    status: Status
    residual_norm: float
    target: float
    history: FloatArray = field(repr=False)
    n_iterations: int
    n_matvecs: int
    n_reductions: int
    elapsed: float
    method: str
    lanczos: tuple[FloatArray, FloatArray] = field(
        default_factory=lambda: (np.empty(0), np.empty(0)), repr=False
    )
    report: str = field(default="", repr=False)

    @property
    def converged(self) -> bool:
        """Whether the tolerance was met."""
        return self.status is Status.CONVERGED

    @property
    def ritz_values(self) -> FloatArray:
        """Ascending Ritz values of ``M A``, shape (m,); empty if the solver is not CG."""
        from scipy.linalg import eigvalsh_tridiagonal

        diagonal, off = self.lanczos
        return np.asarray(eigvalsh_tridiagonal(diagonal, off)) if diagonal.size else diagonal

    @property
    def info(self) -> int:
        """Code as in scipy: 0 converged, n_iterations (1 or more) if not, -1 after a breakdown."""
        if self.converged:
            return 0
        return -1 if self.status is Status.BROKE_DOWN else max(self.n_iterations, 1)

    def __iter__(self) -> Iterator[Any]:
        yield self.x
        yield self.info

    def check(self) -> Self:
        """Return self, or raise ``NotConvergedError``."""
        if not self.converged:
            raise NotConvergedError(self)
        return self

    def __str__(self) -> str:
        return (
            f"{self.method}: {self.status.value}; residual {self.residual_norm:.1e} (target "
            f"{self.target:.1e}), {self.n_iterations} iterations, {self.n_matvecs} matvecs, "
            f"{self.n_reductions} reductions, {self.elapsed:.3g} s"
        )


@dataclass(frozen=True, slots=True, eq=False)
class IterationResult:
    """A function of dense matrices, and how it was computed.

    Attributes
    ----------
    value : array, or pair of arrays
        The answer, of the type, device and batch of the input; ``(U, H)`` for polar.
    residual_norm : float
        Recomputed from the answer; the largest of the batch. The verb says of what.
    residual_norms : ndarray, shape of the batch
        The same, for each matrix.
    status : Status
        Why the computation stopped; the worst of the batch.
    history : ndarray, shape (k,)
        Residual norms ``||R||_F / sqrt(n)`` before each step and at the end, the largest of the
        batch; NaN where a step does not need the residual. Empty for direct methods.
    steps : tuple of str
        The steps taken, with their values; those of the first attempt at the largest group.
    cost : dict of str to float
        How often each operation was done per matrix: "products", "inverses", "eigh" and so on.
    method : str
        What was executed.
    elapsed : float
        Wall-clock seconds.
    report : str
        What was chosen and why; what failed on the way and was done again in another way.
    """

    value: Any = field(repr=False)
    residual_norm: float
    residual_norms: FloatArray = field(repr=False)
    status: Status
    history: FloatArray = field(repr=False)
    steps: tuple[str, ...] = field(repr=False)
    cost: dict[str, float]
    method: str
    elapsed: float
    report: str = field(default="", repr=False)

    @property
    def converged(self) -> bool:
        """Whether the tolerance was met, for all matrices."""
        return self.status is Status.CONVERGED

    @property
    def n_iterations(self) -> int:
        """Steps taken."""
        return len(self.steps)

    def check(self) -> Self:
        """Return self, or raise ``NotConvergedError``."""
        if not self.converged:
            raise NotConvergedError(self)
        return self

    def __str__(self) -> str:
        counts = ", ".join(f"{n:g} {name.replace('_', ' ')}" for name, n in self.cost.items())
        return (
            f"{self.method}: {self.status.value}; residual {self.residual_norm:.1e}, "
            f"{self.n_iterations} steps, {counts or 'no operations'}, {self.elapsed:.3g} s"
        )


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """How an operator is executed, and why.

    Attributes
    ----------
    format : str
        Storage: "csr", "sell", "bsr bxb", "dia k" or "half".
    dtype : str
        Of values and vectors.
    depth : int
        Steps of a recurrence per pass over the matrix; 1 is unblocked.
    threads : int
        Most threads a sweep uses.
    reordered : bool
        Whether rows were renumbered.
    n_bytes : int
        What one pass reads of the matrix.
    seconds : float
        Set-up: tests, timed slices, conversion.
    reason : str
        Why.
    candidates : tuple of (str, float)
        Formats that were timed, with seconds per entry in cache, one thread.
    """

    format: str
    dtype: str
    depth: int
    threads: int
    reordered: bool
    n_bytes: int
    seconds: float
    reason: str
    candidates: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        blocked = f"{self.depth} steps per pass" if self.depth > 1 else "unblocked"
        return (
            f"{self.format} {self.dtype}, {blocked}, up to {self.threads} threads, "
            f"{self.n_bytes / 2**20:.3g} MiB, set up in {self.seconds:.2g} s: {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """One preconditioner that was considered.

    Attributes
    ----------
    method : str
        Name of the design.
    degree : int
        Products with A per application.
    iterations : int
        Predicted iterations of CG to rtol 1e-8.
    matvecs, reductions : int
        Predicted totals of the solve.
    seconds : float
        Predicted, with costs measured on this machine.
    """

    method: str
    degree: int
    iterations: int
    matvecs: int
    reductions: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PreconditionerReport:
    """What was chosen, why, and what the choice cost.

    Attributes
    ----------
    chosen : str
        One line.
    reason : str
        Why.
    candidates : tuple of Candidate
        Everything considered, cheapest first; empty if nothing had to be.
    n_matvecs : int
        Products with A spent on the set-up.
    elapsed : float
        Seconds of set-up.
    execution : str
        How the polynomial is executed, and why; empty for degree 0.
    n_applied : int
        Vectors that M has been applied to since, but by degree 0, which is not followed.
    seconds_applied : float
        What that took.
    """

    chosen: str
    reason: str
    candidates: tuple[Candidate, ...]
    n_matvecs: int
    elapsed: float
    execution: str = ""
    n_applied: int = 0
    seconds_applied: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        lines = [
            f"{self.chosen}: {self.reason}",
            f"set-up: {self.n_matvecs} matvecs, {self.elapsed:.3g} s",
        ]
        if self.execution:
            lines.append(f"executed as {self.execution}")
        if self.n_applied:
            lines.append(f"applied to {self.n_applied} vectors in {self.seconds_applied:.3g} s")
        if self.candidates:
            lines.append("  design       degree  iterations  matvecs  reductions  predicted s")
            lines += [
                f"  {c.method:<12} {c.degree:>6}  {c.iterations:>10}  {c.matvecs:>7}  "
                f"{c.reductions:>10}  {c.seconds:>11.3g}"
                for c in self.candidates
            ]
        return "\n".join(lines)
