"""Stochastic Lanczos quadrature: ``v* f(A) v`` for random v, by Gauss quadrature.

Source
    Ubaru, Chen and Saad, Fast estimation of tr(f(A)) via stochastic Lanczos quadrature, SIMAX 38
    (2017); Golub and Meurant, Matrices, Moments and Quadrature, 2010, chapter 7; Bai and Golub,
    Bounds for the trace of the inverse and the determinant of symmetric positive definite matrices,
    Ann. Numer. Math. 4 (1997).
Deviations
    (1) Where entries are stored, every quadrature is calibrated to ``trace A`` and ``trace A^2``;
    (2) the standard error is the larger of the samples' and of the one that the quadrature predicts
    (a few samples of a skewed variable underrate themselves), plus what truncation may add.
Cost
    1 matvec and 2 reductions per step and probe, 3 vectors: nothing is reorthogonalized.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh_tridiagonal

from spectool._types import Array, FloatArray, Interval
from spectool.errors import NotPositiveDefiniteError
from spectool.functions.scalar import FUNCTIONS, ScalarFunction, outside_domain
from spectool.functions.traces.xtrace import TraceSample
from spectool.krylov import LanczosProcess
from spectool.operators import Operator
from spectool.spectrum.moments import Moments, calibrated

FEWEST = 8
"""Probes below which their own spread says little."""
MOST = 512
FIRST_STEPS, MAX_STEPS = 16, 2_000
SHARE = 0.1
"""Part of the tolerance that truncating a quadrature may take."""
THIRD_DERIVATIVE = {"exp": 1, "phi1": 1, "sqrt": 1, "log": 1, "inv": -1, "invsqrt": -1}
"""Its sign, everywhere in the domain."""


class _Samples:
    """Values of ``n v* f(A) v / v* v`` over probes, and what their errors are made of."""

    def __init__(
        self, function: ScalarFunction, operator: Operator, t: float, moments: Moments | None
    ) -> None:
        self.function, self.operator, self.t, self.moments = function, operator, t, moments
        self.values: list[float] = []
        self.sizes: list[float] = []
        self.variances: list[float] = []
        self.truncations: list[float] = []
        self.roundings: list[float] = []
        self.steps = FIRST_STEPS

    def add(self, start: Array, target: float) -> None:
        """Sample one start vector; truncate where ``target`` times ``trace |f|`` is met."""
        n, process = self.operator.n, LanczosProcess(self.operator, start, reorthogonalize=False)
        while True:
            while process.steps < self.steps and not process.invariant:
                process.step()
            nodes, weights, matched, fine = self._quadrature(process, process.steps)
            value, size = float(weights @ fine), float(weights @ np.abs(fine))
            truncation = 0.0
            if not process.invariant:
                _, coarse_weights, _, coarse = self._quadrature(process, process.steps // 2)
                truncation = abs(value - float(coarse_weights @ coarse))
            if truncation <= SHARE * target * size or self.steps >= MAX_STEPS:
                break
            self.steps = min(self.steps + self.steps // 2, MAX_STEPS)
        _, slope = self.function.with_slope(self.t * nodes)
        eps = float(np.finfo(self.operator.dtype).eps)
        extent = abs(self.t) * float(np.abs(nodes).max())
        rounding = eps * (size + extent * float(weights @ slope))
        self.values.append(n * value)
        self.sizes.append(n * size)
        self.truncations.append(n * truncation)
        self.roundings.append(n * rounding)
        self.variances.append(n**2 * _unexplained(nodes, weights, fine, matched))

    def _quadrature(
        self, process: LanczosProcess, k: int
    ) -> tuple[FloatArray, FloatArray, int, FloatArray]:
        """Return nodes, weights, how many moments these match, and f at the nodes, of k steps."""
        theta, S = eigh_tridiagonal(process.alpha[:k], process.beta[: k - 1])
        nodes = np.asarray(theta, dtype=np.float64)
        z = self.t * nodes
        eps = float(np.finfo(self.operator.dtype).eps)
        complaint = outside_domain(self.function, z, 10 * eps * float(np.abs(z).max()))
        if complaint:
            raise NotPositiveDefiniteError(complaint + " Shift A, or choose another function.")
        weights, matched = calibrated(nodes, np.asarray(S[0] ** 2, dtype=np.float64), self.moments)
        inside = np.maximum(z, 0.0) if self.function.domain == "nonnegative" else z
        return nodes, weights, matched, self.function(inside)

    def error(self) -> float:
        """Return the standard error of the mean, with what truncation and rounding may add."""
        m, n = len(self.values), self.operator.n
        # Uniform on the sphere: Beta(1/2, .) components for real vectors, Beta(1, .) for complex.
        predicted = np.mean(self.variances) / (n + 1)
        if self.operator.dtype.kind != "c":
            predicted = 2.0 * np.mean(self.variances) / (n + 2)
        observed = float(np.var(self.values, ddof=1)) if m > 1 else 0.0
        systematic = float(np.mean(self.truncations) + np.mean(self.roundings))
        return math.sqrt(max(float(predicted), observed) / m) + systematic

    def met(self, target: float) -> bool:
        """Whether the error is ``target`` times ``trace |f|``, or rounding error only."""
        size, rounding = float(np.mean(self.sizes)), float(np.mean(self.roundings))
        return self.error() <= target * size + 2.0 * rounding


def _unexplained(nodes: FloatArray, weights: FloatArray, values: FloatArray, matched: int) -> float:
    """Return the mean square of f less the polynomial of degree ``matched`` that fits it best."""
    scale = float(np.abs(values).max()) or 1.0
    extent = float(np.abs(nodes).max()) or 1.0
    root = np.sqrt(weights)
    P = root[:, None] * np.vander(nodes / extent, matched + 1)
    y = root * (values / scale)
    residual = y - P @ np.linalg.lstsq(P, y, rcond=None)[0]
    return float(residual @ residual) * scale**2


def quadrature_trace(
    function: ScalarFunction,
    operator: Operator,
    draw: Callable[[], Array],
    *,
    t: float,
    moments: Moments | None,
    target: float,
    n_probes: int | None,
) -> TraceSample:
    """Estimate ``trace f(t A)`` from random vectors until ``target`` or ``n_probes`` is reached.

    ``target`` is the standard error relative to ``trace |f(t A)|``. Raises NotPositiveDefiniteError
    if a Ritz value lies where f is undefined.
    """
    samples = _Samples(function, operator, t, moments)
    wanted = n_probes or FEWEST
    while True:
        while len(samples.values) < wanted:
            samples.add(draw(), target)
        met = samples.met(target)
        if n_probes is not None or met or wanted >= MOST:
            break
        needed = wanted * (samples.error() / (target * float(np.mean(samples.sizes)))) ** 2
        wanted = min(MOST, max(wanted + 1, math.ceil(min(needed, 2.0 * wanted))))
    method = f"slq, {wanted} probes of {samples.steps} Lanczos steps"
    return TraceSample(float(np.mean(samples.values)), samples.error(), met, wanted, method)


def moment_bounds(
    function: ScalarFunction, n: int, t: float, moments: Moments, interval: Interval
) -> Interval | None:
    """Return bounds of ``trace f(t A)`` from two moments and safe ends of the spectrum, or None.

    Gauss-Radau quadrature with one free node errs by ``f'''`` times a sign that the fixed end
    determines. A side is infinite where f is at its end; None where f is not of one sign.
    """
    if FUNCTIONS.get(function.name) is not function or function.name not in THIRD_DERIVATIVE:
        return None
    low, high = sorted((t * interval[0], t * interval[1]))
    if function.domain in ("positive", "nonnegative"):
        low = max(low, 0.0)
    if function.domain == "nonzero" and low <= 0.0 <= high:
        return None
    mean = t * moments.mean
    variance = t * t * max(moments.square - moments.mean**2, 0.0)

    def radau(end: float) -> float:
        distance = mean - end
        weight = distance**2 / (distance**2 + variance) if variance > 0 else 1.0
        free = mean + variance / distance if weight > 0 else mean
        with np.errstate(all="ignore"):
            at_free, at_end = function.evaluate(np.array([free, end]))
        return float(weight * at_free + ((1.0 - weight) * at_end if weight < 1 else 0.0))

    ends = radau(low), radau(high)
    lower, upper = ends if THIRD_DERIVATIVE[function.name] > 0 else ends[::-1]
    room = 1e-12 * max(abs(end) for end in (lower, upper) if np.isfinite(end))
    return n * (lower - room), n * (upper + room)
