r"""A-posteriori errors of Lanczos-FA from its Jacobi matrix alone: an estimate and a bound.

Source
    Chen, Greenbaum, Musco and Musco, Error bounds for Lanczos-based matrix function approximation,
    SIMAX 43 (2022), for functions with a partial fraction expansion; Botchev, Grimm and Hochbruck,
    Residual, restarting and Richardson iteration for the matrix exponential, SISC 35 (2013), for
    the exponential and its averages.
Deviations
    Both write the error as ``g(A) v_{k+1}`` with a known scalar function g and bound it by
    ``max |g|``. Here ``||g(A) v_{k+1}||`` is estimated too: the spectral measure of the newest
    Lanczos vector, the square of an orthonormal polynomial, tends to the equilibrium (arcsine)
    measure of the spectrum's interval (Nevai, Orthogonal Polynomials, 1979), so that a mean of
    ``g^2`` at Chebyshev points does it. Isolated eigenvalues defeat the estimate, never the bound.
    The ends of the spectrum are Ritz values moved outwards by their residuals. Where the outermost
    Ritz values have converged, the newest vector has lost their eigenvectors: ``refined_rule``
    takes the arcsine measure of what is left, and what remains of each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import eigh_tridiagonal, eigvalsh_tridiagonal

from spectool._types import Array, FloatArray
from spectool.functions.scalar import ScalarFunction, phi1, phi2, safe_norm
from spectool.functions.task import Target
from spectool.kernels.tridiagonal import log_shifted_residuals

POINTS = 200
"""Chebyshev points of the mean."""
CONVERGED = 0.1
"""Residual of a Ritz value, over its distance to the next one, from which it counts as isolated."""
COPIES = 1e-10
"""Distance of Ritz values, over the largest, within which they are one: copies by rounding."""


_GAUSS = np.polynomial.legendre.leggauss(6)


class Measure(NamedTuple):
    """Where the newest Lanczos vector lives.

    Attributes
    ----------
    ends : tuple of float
        Of its interval.
    points, weights : ndarray, shape (m,)
        Points of the spectrum and their masses, about 1 in all; outliers come last.
    """

    ends: tuple[float, float]
    points: FloatArray
    weights: FloatArray

    def scaled(self, t: float) -> Measure:
        """Return the measure of t times the operator."""
        low, high = sorted(t * end for end in self.ends)
        return Measure((low, high), t * self.points, self.weights)


class Errors(NamedTuple):
    """Norms of the error, relative to ``||b||``: estimated, and bounded."""

    estimate: float
    bound: float


@dataclass(frozen=True, eq=False)
class Jacobi:
    """One column's Jacobi matrix after k steps.

    Attributes
    ----------
    alpha, beta : ndarray, shape (k,)
        Diagonal; off-diagonal, with the norm of the last residual as its last entry.
    """

    alpha: FloatArray
    beta: FloatArray

    @cached_property
    def eigen(self) -> tuple[FloatArray, FloatArray]:
        """Ritz values, shape (k,), and eigenvectors, shape (k, k)."""
        theta, S = eigh_tridiagonal(self.alpha, self.beta[:-1])
        return np.asarray(theta, dtype=np.float64), np.asarray(S, dtype=np.float64)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Extreme Ritz values, moved outwards by their residuals."""
        k = self.alpha.size
        low, s = self._ritz(0)
        high, u = self._ritz(k - 1)
        last = float(self.beta[-1])
        return low - last * abs(s), high + last * abs(u)

    @cached_property
    def whole(self) -> Measure:
        """The arcsine measure between the ends."""
        return Measure(self.ends, arcsine_points(*self.ends), np.full(POINTS, 1.0 / POINTS))

    @cached_property
    def refined(self) -> Measure:
        """Converged outliers with their masses, and the arcsine measure between them.

        An outlier lambda with eigenvector u, Ritz value theta and residual r keeps the component
        ``u* v_{k+1} = (lambda - theta) / r``, about ``r / gap``.
        """
        theta, S = self.eigen
        r = float(self.beta[-1]) * np.abs(S[-1])
        first, small = _outliers(theta, r)
        last, large = _outliers(-theta[::-1], r[::-1])
        inner, r = theta[first : theta.size - last], r[first : theta.size - last]
        if inner.size < 2:
            return self.whole
        found = np.array([*small, *((-point, mass) for point, mass in large)]).reshape(-1, 2)
        ends = max(inner[0] - r[0], self.ends[0]), min(inner[-1] + r[-1], self.ends[1])
        return Measure(
            ends,
            np.concatenate([arcsine_points(*ends), found[:, 0]]),
            np.concatenate([np.full(POINTS, 1.0 / POINTS), found[:, 1]]),
        )

    @cached_property
    def gap(self) -> float:
        """The Ritz value nearest to zero less its residual, in modulus; 0 while unresolved.

        While it is 0, nothing is known yet about how small eigenvalues may be.
        """
        known = "eigen" in self.__dict__
        values = self.eigen[0] if known else eigvalsh_tridiagonal(self.alpha, self.beta[:-1])
        theta, s = self._ritz(int(np.abs(values).argmin()))
        return max(abs(theta) - float(self.beta[-1]) * abs(s), 0.0)

    def _ritz(self, index: int) -> tuple[float, float]:
        """Return a Ritz value and the last component of its eigenvector."""
        if "eigen" in self.__dict__:
            values, S = self.eigen
            return float(values[index]), float(S[-1, index])
        theta, s = eigh_tridiagonal(
            self.alpha, self.beta[:-1], select="i", select_range=(index, index)
        )
        return float(theta[0]), float(s[-1, 0])


def _outliers(theta: FloatArray, r: FloatArray) -> tuple[int, list[tuple[float, float]]]:
    """Return how many of the smallest Ritz values have converged; these, with their masses."""
    same = COPIES * float(np.abs(theta).max())
    i, found = 0, list[tuple[float, float]]()
    while i < theta.size // 2:
        j = i + int(np.searchsorted(theta[i:], theta[i] + same, side="right"))
        if j >= theta.size:
            break
        ratio = safe_norm(r[i:j]) / float(theta[j] - theta[i])
        if ratio > CONVERGED:
            break
        found.append((float(theta[i]), ratio**2))
        i = j
    return i, found


class Rule(Protocol):
    """What tells errors from a Jacobi matrix."""

    def __call__(self, jacobi: Jacobi, worth: float = np.inf) -> Errors:
        """Return the errors; beyond ``worth`` the bound stands for the dear estimate too."""


def error_rule(target: Target) -> Rule | None:
    """Return the rule for one target, or None where none is known (f a callable)."""
    return _rule(target, lambda jacobi: jacobi.whole)


def refined_rule(target: Target) -> Rule | None:
    """Return the rule that knows isolated eigenvalues; its bound is no bound, but sharper."""
    return _rule(target, lambda jacobi: jacobi.refined)


def _rule(target: Target, measure: Callable[[Jacobi], Measure]) -> Rule | None:
    function = target.function

    def exponential(jacobi: Jacobi, worth: float = np.inf) -> Errors:
        return _exponential(function, target.t, jacobi, measure(jacobi), worth)

    def expanded(jacobi: Jacobi, worth: float = np.inf) -> Errors:
        return _expanded(function, target.t.real, jacobi, measure(jacobi), worth)

    if function.exponentials:
        return exponential
    return expanded if function.expansion is not None else None


def _expanded(
    function: ScalarFunction, t: float, jacobi: Jacobi, measure: Measure, worth: float
) -> Errors:
    """``f = f_0 + sum_q w_q / (z + s_q)``: each shifted system errs by ``rho_q (A + s_q)^-1 v``."""
    assert function.expansion is not None
    alpha, beta = t * jacobi.alpha, abs(t) * jacobi.beta
    measure = measure.scaled(t)
    (low, high), points = measure.ends, measure.points
    expansion = function.expansion(max(abs(low), abs(high)))
    logs = np.empty(expansion.shifts.size)
    log_shifted_residuals(alpha, beta, expansion.shifts, logs)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        residuals = expansion.weights * np.exp(np.minimum(logs, 700.0))
        if function.domain == "nonzero" and low < 0:
            least = abs(t) * jacobi.gap
            points = np.copysign(np.maximum(np.abs(points), least), points)
        else:
            least = max(low, 0.0)
            points = np.append(arcsine_points(least, high), np.maximum(points[POINTS:], 0.0))
        top = float((residuals / np.abs(least + expansion.shifts)).sum())
        if not top <= worth:
            return _only_bounded(top)
        g = (residuals / np.abs(points[:, None] + expansion.shifts)).sum(axis=1)
    return _errors(g, top, measure)


def _only_bounded(top: float) -> Errors:
    """Return the largest value of g as both: the estimate is at most that."""
    return Errors(top, top) if np.isfinite(top) else Errors(np.inf, np.inf)


def _errors(g: FloatArray, top: float, measure: Measure) -> Errors:
    """Return the root mean square of g, and its largest value in the interval and at outliers."""
    if not (np.isfinite(g).all() and np.isfinite(top)):
        return Errors(np.inf, np.inf)
    parts = g * np.sqrt(measure.weights)
    bound = top + safe_norm(parts[POINTS:])
    return Errors(min(safe_norm(parts), bound), bound)


def _exponential(
    function: ScalarFunction, t: complex, jacobi: Jacobi, measure: Measure, worth: float
) -> Errors:
    r"""Errors of exp and its averages by the residual ``rho(s)`` of ``y' = t A y``.

    ``error = \int_0^1 K((1 - s) t A) rho(s) ds v_{k+1}`` with ``K(w z) = w^p phi_p(w z)``, p = 0
    for exp, and ``rho(s) = t beta_k e_k* exp(s t T) e_1``.
    """
    theta, S = jacobi.eigen
    points = measure.points
    bound, parts = 0.0, list[Callable[[], Array]]()
    for weight, factor in function.exponentials:
        z = factor * t
        size = max(1.0, float(np.abs(z * theta).max()))
        s, weights = _panels(size, theta.size)
        mu, edge = (float((z * np.array(x)).real.max()) for x in (points, measure.ends))
        mu = max(mu, edge)
        if function.phi:  # averages over times do not fall like the exponential
            mu, edge = max(mu, 0.0), max(edge, 0.0)
        # exp(s (z theta - mu)) is at most about 1; exp(mu) is put back at the end.
        with np.errstate(under="ignore"):
            rho = np.exp(np.outer(s, z * theta - mu)) @ (S[-1] * S[0])
        rho = rho * (z * jacobi.beta[-1] * weights)
        w = 1.0 - s
        largest = np.exp(np.clip(mu, -700.0, 700.0))
        top = _phi(function.phi, np.asarray(edge * w)[None, :], w, mu).real
        bound += weight * largest * float((top @ np.abs(rho))[0])
        parts.append(partial(_at, points, function.phi, z * w, w, mu, weight * largest * rho))
    if not bound <= worth:
        return _only_bounded(bound)
    total = sum((part() for part in parts), np.zeros(points.size, dtype=np.complex128))
    return _errors(np.abs(total), bound, measure)


def _at(points: FloatArray, p: int, zw: Array, w: FloatArray, mu: float, rho: Array) -> Array:
    """Return the integral of ``w^p phi_p(zw points) rho`` at points, shape of points."""
    return np.asarray(_phi(p, np.outer(points, zw), w, mu) @ rho)


def _phi(p: int, y: Array, w: FloatArray, mu: float) -> Array:
    """Return ``w^p phi_p(y) exp(-w mu)`` for Re y <= w mu, shape of y (points, s)."""
    shrink = np.exp(-w * mu)
    if p == 0:
        return np.asarray(np.exp(y - w * mu))
    large = y.real > 500.0
    near, far = np.where(large, 1.0, y), np.where(large, y, 1.0)
    with np.errstate(under="ignore"):
        values = (phi1 if p == 1 else phi2)(near) * shrink
        limits = np.exp(np.where(large, y - w * mu, 0.0)) / far**p
    return np.asarray(w**p * np.where(large, limits, values))


def _panels(size: float, k: int) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre on [0, 1], graded towards 0, where the integrand may live on 1 / size."""
    graded = np.geomspace(min(0.5, 1.0 / size), 1.0, 8)
    even = np.linspace(0.0, 1.0, 2 + min(k // 12, 200))
    edges = np.union1d(graded, even)
    x, w = _GAUSS
    half = 0.5 * np.diff(edges)
    s = (0.5 * (edges[1:] + edges[:-1]) + half * x[:, None]).ravel()
    return s, (half * w[:, None]).ravel()


def arcsine_points(low: float, high: float) -> FloatArray:
    """Return points of equal weight in the arcsine measure of [low, high]."""
    x = np.cos((np.arange(POINTS) + 0.5) * (np.pi / POINTS))
    return np.asarray(0.5 * (low + high) + 0.5 * (high - low) * x)
