"""Lanczos-FA: ``f(A) b ~ ||b|| V f(T) e_1`` for one vector, with an error estimate per check.

Source
    Saad, Analysis of some Krylov subspace approximations to the matrix exponential operator, SINUM
    29 (1992); Chen, Greenbaum, Musco and Musco, SIMAX 43 (2022), for the error bounds; Musco,
    Musco and Sidford, Stability of the Lanczos method for matrix function approximation, SODA 2018,
    for why no reorthogonalization is needed.
Deviations
    (1) the bounds take the smallest Ritz value less its residual for the smallest eigenvalue, so
    they are estimates;
    (2) the basis is dropped once it outgrows ``MAX_BASIS_BYTES`` and regenerated in a second pass.
Cost per step
    1 matvec, 2 reductions, 1 stored vector (or 3 in all and twice the matvecs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh_tridiagonal, eigvalsh_tridiagonal

from spectool._types import Array, FloatArray
from spectool.errors import NotPositiveDefiniteError
from spectool.functions.scalar import ScalarFunction, outside_domain, safe_norm
from spectool.kernels.tridiagonal import log_shifted_residuals
from spectool.krylov import LanczosProcess, jacobi_eigen
from spectool.operators import Operator
from spectool.results import Status

MAX_BASIS_BYTES = 2**30
FIRST_CHECK = 8


@dataclass(frozen=True, slots=True)
class FunctionState:
    """What ``callback`` sees at each check.

    Attributes
    ----------
    iteration : int
        Lanczos steps so far.
    error_estimate : float
        Relative error estimate of the current approximation.
    """

    iteration: int
    error_estimate: float


@dataclass(frozen=True, slots=True, eq=False)
class LanczosAnswer:
    """Approximation, its estimated absolute error, why it stopped, steps and reductions."""

    y: Array
    error: float
    rounding: float
    status: Status
    steps: int
    n_reductions: int
    two_pass: bool


class _Measure:
    """f on the current Jacobi matrix: coefficients, norm and rounding level."""

    def __init__(self, function: ScalarFunction, t: float, process: LanczosProcess) -> None:
        theta, S = jacobi_eigen(process)
        eps = float(np.finfo(process.operator.dtype).eps)
        size = float(np.abs(theta).max())
        complaint = outside_domain(function, t * theta, 10 * eps * abs(t) * size)
        if complaint:
            raise NotPositiveDefiniteError(complaint + " Shift A, or choose another function.")
        values, slope = function.with_slope(t * theta)
        self.coefficients = S @ (values * S[0])
        self.norm = safe_norm(values * S[0])
        # A relative perturbation eps of A, in norm, moves f by its slope at each Ritz value.
        self.rounding = eps * (
            abs(t) * size * safe_norm(slope * S[0]) + len(theta) ** 0.5 * self.norm
        )


def lanczos_funm(
    function: ScalarFunction,
    operator: Operator,
    b: Array,
    *,
    rtol: float,
    t: float,
    upper: float,
    maxiter: int,
    callback: Callable[[FunctionState], Any] | None = None,
) -> LanczosAnswer:
    """Approximate ``f(t A) b`` for one nonzero vector b, shape (n,), in the operator's dtype.

    ``upper`` is the largest modulus the spectrum of A may have. Raises NotPositiveDefiniteError if
    a Ritz value lies where f is undefined.
    """
    process = LanczosProcess(operator, b, reorthogonalize=False, keep_basis=True)
    error_of = _error_rule(function, t, upper)
    status, error, norm = Status.MAXITER, np.inf, 0.0
    check, norm_at = FIRST_CHECK, 0
    previous: _Measure | None = None
    try:
        while process.steps < maxiter:
            process.step()
            if process.invariant:
                status, error = Status.CONVERGED, 0.0
                break
            if process.keeps_basis and process.basis.nbytes > MAX_BASIS_BYTES:
                process.drop_basis()
            if process.steps < check:
                continue
            check = process.steps + max(4, process.steps // 12)
            fresh = error_of is None or process.steps >= 2 * norm_at
            measure = _Measure(function, t, process) if fresh else None
            if measure is not None:
                norm, norm_at = measure.norm, process.steps
            if error_of is not None:
                error = error_of(process)
            else:
                error = _difference(measure, previous)
                previous = measure
            relative = error / norm if norm > 0 else np.inf
            if callback is not None and callback(FunctionState(process.steps, relative)):
                status = Status.STOPPED
                break
            if error <= rtol * norm:
                status = Status.CONVERGED
                break
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    if process.steps == 0:  # interrupted at once
        nothing = np.zeros(operator.n, dtype=operator.dtype)
        return LanczosAnswer(nothing, np.inf, 0.0, status, 0, 1, two_pass=False)
    final = _Measure(function, t, process)
    if error_of is not None and status is not Status.CONVERGED:
        error = error_of(process)
    coefficients = process.norm * final.coefficients
    n_reductions = 2 * process.steps + 1
    two_pass = not process.keeps_basis
    if two_pass:
        y = _second_pass(operator, b, process.steps, coefficients)
        n_reductions *= 2
    else:
        y = coefficients.astype(operator.dtype) @ process.basis
    rounding = process.norm * final.rounding
    return LanczosAnswer(
        y, process.norm * error, rounding, status, process.steps, n_reductions, two_pass
    )


def _second_pass(operator: Operator, b: Array, steps: int, coefficients: FloatArray) -> Array:
    """Regenerate the basis, bit for bit, and combine it on the way."""
    process = LanczosProcess(operator, b, reorthogonalize=False)
    y = np.zeros(operator.n, dtype=operator.dtype)
    for k in range(steps):
        y += coefficients[k] * process.current
        if k + 1 < steps:
            process.step()
    return y


def _difference(measure: _Measure | None, previous: _Measure | None) -> float:
    """Estimate the error by the last change of the answer (no bound is known for this f)."""
    if measure is None or previous is None:
        return np.inf
    change = measure.coefficients.copy()
    change[: previous.coefficients.size] -= previous.coefficients
    return safe_norm(change)


def _error_rule(
    function: ScalarFunction, t: float, upper: float
) -> Callable[[LanczosProcess], float] | None:
    """Return a map from the process to an estimate of ``||error|| / ||b||``, or None."""
    if function.exponential:
        return lambda process: _exponential_error(process, t)
    if function.expansion is None:
        return None
    expansion = function.expansion(abs(t) * upper)
    indefinite = function.domain == "nonzero"

    def rule(process: LanczosProcess) -> float:
        alpha, beta = t * np.array(process.alpha), abs(t) * np.array(process.beta)
        logs = np.empty(expansion.shifts.size)
        log_shifted_residuals(alpha, beta, expansion.shifts, logs)
        distance = np.abs(_lowest(alpha, beta, indefinite) + expansion.shifts)
        with np.errstate(over="ignore", divide="ignore"):
            terms = expansion.weights * np.exp(np.minimum(logs, 700.0)) / distance
        return float(terms.sum())

    return rule


def _lowest(alpha: FloatArray, beta: FloatArray, indefinite: bool) -> float:
    """Return a lower estimate of the smallest ``|eigenvalue|``: a Ritz value less its residual.

    While that Ritz value is unresolved the estimate is 0, and the error stays large: nothing is
    known yet about how small eigenvalues may be.
    """
    off = beta[:-1]
    index = int(np.abs(eigvalsh_tridiagonal(alpha, off)).argmin()) if indefinite else 0
    theta, s = eigh_tridiagonal(alpha, off, select="i", select_range=(index, index))
    return max(float(abs(theta[0]) - beta[-1] * abs(s[-1, 0])), 0.0)


def _exponential_error(process: LanczosProcess, t: float) -> float:
    r"""Bound the error of exp by the residual of ``y' = t A y`` [Botchev, Grimm, Hochbruck 2013].

    ``||error|| <= \int_0^1 exp((1-s) mu) |t| beta_k |e_k* exp(s t T) e_1| ds`` with mu the largest
    eigenvalue of tA (its Ritz value here); for phi1 the same with ``max(1, exp)``.
    """
    theta, S = jacobi_eigen(process)
    z = t * theta
    mu = float(z.max())
    # The integrand may live on s ~ 1 / ||t T||: graded Gauss-Legendre panels.
    size = max(1.0, float(np.abs(z).max()))
    edges = np.concatenate([[0.0], np.geomspace(min(0.5, 1.0 / size), 1.0, 8)])
    x, w = np.polynomial.legendre.leggauss(6)
    half = 0.5 * np.diff(edges)
    s = (0.5 * (edges[1:] + edges[:-1]) + half * x[:, None]).ravel()
    weights = (half * w[:, None]).ravel()
    # exp(s z - s mu) <= 1 keeps the sum finite for any t.
    ends = np.abs(np.exp(np.outer(s, z - mu)) @ (S[-1] * S[0]))
    growth = max(mu, 0.0)  # max(1, exp((1 - s) mu)) exp(s mu) <= exp(growth)
    exponent = mu if mu >= 0 else growth
    return float(abs(t) * process.beta[-1] * np.exp(min(exponent, 700.0)) * (weights @ ends))
