"""One call of ``funm_multiply``, validated, and what a method answers: the contract of all methods.

A method is a function ``method(task) -> Answer``. It sees columns in the operator's data type only:
complex vectors of a real operator were split at the door.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import NotPositiveDefiniteError
from spectool.functions.scalar import ScalarFunction, conjugate, outside_domain
from spectool.operators import Operator
from spectool.results import Status


@dataclass(frozen=True, slots=True)
class Target:
    """The function ``z -> f(t z)`` of A's eigenvalues z.

    Attributes
    ----------
    function : ScalarFunction
        f.
    t : float or complex
        Multiplies A; complex only where f is entire.
    """

    function: ScalarFunction
    t: complex = 1.0

    def __call__(self, z: Array) -> Array:
        """Return ``f(t z)``, float64 or complex128; raises InputError unless it is finite."""
        return self.function(self.t * z)

    def conjugate(self) -> Target:
        """Return ``z -> conj(f(t conj(z)))``, whose function of a Hermitian A is the adjoint."""
        return Target(conjugate(self.function), self.t.conjugate())

    def checked(self, z: FloatArray, eps: float) -> Array:
        """Return ``t z`` for Ritz values z known to ``eps``, moved into f's domain by as much.

        Raises NotPositiveDefiniteError where f is undefined; names the Ritz value.
        """
        scaled: Array = self.t * z
        if self.function.domain == "any":
            return scaled
        size = float(np.abs(scaled).max())
        complaint = outside_domain(self.function, scaled.real, 10 * eps * size)
        if complaint:
            raise NotPositiveDefiniteError(complaint + " Shift A, or choose another function.")
        return np.maximum(scaled, 0.0) if self.function.domain == "nonnegative" else scaled

    def __str__(self) -> str:
        return self.function.name if self.t == 1 else f"{self.function.name}({self.t:.4g} A)"


@dataclass(frozen=True, slots=True)
class FunctionState:
    """What ``callback`` sees at each check.

    Attributes
    ----------
    iteration : int
        Lanczos or Arnoldi steps so far, or the degree of the polynomial.
    error_estimate : float
        Relative error estimate of the current approximation, the largest over columns.
    n_matvecs : int
        Products with A so far.
    """

    iteration: int
    error_estimate: float
    n_matvecs: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop before the tolerance is met.

    Attributes
    ----------
    maxiter : int
        Most steps, or degrees, per column.
    max_matvecs : float
        Most products with A, those of the probe included.
    max_memory : float
        Most bytes of vectors beside b and y.
    deadline : float
        ``time.perf_counter()`` after which to stop.
    callback : callable, optional
        Called with a ``FunctionState``; returning True stops.
    """

    maxiter: int
    max_matvecs: float = math.inf
    max_memory: float = math.inf
    deadline: float = math.inf
    callback: Callable[[FunctionState], Any] | None = None

    def spent(self, steps: int, n_matvecs: float) -> Status | None:
        """Return why not to go on after so many steps, to so many matvecs in all; None to go on."""
        if steps >= self.maxiter or n_matvecs > self.max_matvecs:
            return Status.MAXITER
        return Status.TIMED_OUT if time.perf_counter() > self.deadline else None

    def stop(self, state: FunctionState) -> bool:
        """Show the state to the callback; return whether it asks to stop."""
        return self.callback is not None and bool(self.callback(state))


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is asked.

    Attributes
    ----------
    targets : tuple of Target
        Functions wanted, all of the same A and B.
    operator : Operator
        A; counts its products.
    B : ndarray, shape (n, m)
        Nonzero columns in the operator's data type, C-contiguous.
    rtol : float
        Wanted ``||y - f(tA) b|| / ||f(tA) b||`` of every column and target.
    limits : Limits
        When to stop before.
    """

    targets: tuple[Target, ...]
    operator: Operator
    B: Array
    rtol: float
    limits: Limits

    @property
    def n_columns(self) -> int:
        """Columns of B."""
        return int(self.B.shape[1])

    @property
    def eps(self) -> float:
        """Unit roundoff of the operator's data type, times 2."""
        return float(np.finfo(self.operator.dtype).eps)

    @property
    def kind(self) -> np.dtype[Any]:
        """Data type of the answer: complex if A or a target is."""
        with np.errstate(all="ignore"):
            turned = any(
                np.asarray(target.function.evaluate(target.t * np.array([-1.0, 1.0]))).dtype.kind
                == "c"
                for target in self.targets
            )
        return np.result_type(self.operator.dtype, np.complex64 if turned else np.float32)

    def empty(self) -> Array:
        """Return zeros for the answer, shape (targets, n, m)."""
        return np.zeros((len(self.targets), *self.B.shape), dtype=self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a method returns.

    Attributes
    ----------
    Y : ndarray, shape (targets, n, m)
        Approximations.
    error : ndarray, shape (targets, m)
        Estimates of the absolute errors by truncation, per column.
    rounding : ndarray, shape (targets, m)
        The same for rounding.
    status : Status
        Why the method stopped; CONVERGED also where rounding exceeds rtol (the verb tells).
    n_reductions : int
        Global inner products and norms.
    method : str
        What was executed, for instance "lanczos, 40 steps".
    tightness : float
        Part of rtol that Chebyshev coefficients had to meet.
    """

    Y: Array
    error: FloatArray
    rounding: FloatArray
    status: Status
    n_reductions: int
    method: str
    tightness: float = 0.1


def column_norms(B: Array) -> FloatArray:
    """Return the 2-norms of the columns of (n, m), shape (m,); never overflows."""
    columns = np.abs(B.reshape(len(B), -1))
    largest = columns.max(axis=0, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    return np.asarray(largest * np.linalg.norm(columns / unit, axis=0), dtype=np.float64)


def relative(errors: FloatArray, sizes: FloatArray) -> float:
    """Return the largest ratio; no error of a zero answer counts as exact."""
    ratio = np.where(errors > 0, errors / np.maximum(sizes, 1e-300), 0.0)
    return float(ratio.max(initial=0.0))
