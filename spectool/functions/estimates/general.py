r"""What the error of Arnoldi's approximation is known to be proportional to, and bounds for it.

Source
    Chen, Greenbaum, Musco and Musco, SIMAX 43 (2022), for sums of shifted systems; Botchev, Grimm
    and Hochbruck, SISC 35 (2013), and Saad, SINUM 29 (1992), Theorem 5.1, for the exponential.
Deviations
    (1) Residuals of shifted systems are products of subdiagonals over ``prod (theta_j + s)``: no
    system is solved. (2) The propagator ``||exp(s t A)||`` is that of H, computed, not bounded by
    the numerical abscissa: the same for normal A, for others smaller by powers of ten. It and H's
    field of values lie below A's and approach them as H resolves A: bounds are estimates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from spectool._types import Array, FloatArray
from spectool.functions.estimates.hessenberg import SmallMatrix
from spectool.functions.poles.field_of_values import FieldOfValues
from spectool.functions.scalar import ScalarFunction
from spectool.functions.task import Target

FINEST = 60
"""Most halvings of the time span."""
MOST = 700.0
"""Largest exponent that is exponentiated."""


class Errors(NamedTuple):
    """Of ``V f(t H) e_1``, relative to ``||b||``.

    Attributes
    ----------
    measure : float
        Proportional to the error, up to a factor that changes little with the steps.
    bound : float
        By the propagator or the field of values of H; inf where that has poles inside.
    worst : float
        By the field of values of H: what a growth that H does not show yet may amount to.
    """

    measure: float
    bound: float
    worst: float


@dataclass(frozen=True, eq=False)
class Projection:
    """H of k Arnoldi steps.

    Attributes
    ----------
    small : SmallMatrix
        Its square part.
    below : ndarray, shape (k,)
        Subdiagonal, the last entry being the norm of the newest residual.
    """

    small: SmallMatrix
    below: FloatArray

    @classmethod
    def of(cls, H: Array) -> Projection:
        """Split H, shape (k + 1, k)."""
        below = np.abs(np.diagonal(H, -1)).astype(np.float64)
        return cls(SmallMatrix(H[:-1]), below)

    @cached_property
    def field(self) -> FieldOfValues:
        """Polygon around H's field of values."""
        return FieldOfValues.of(self.small.H)

    def residual_of_ritz_pair(self, index: int) -> float:
        """Return ``||A u - theta u||`` for the Ritz vector u of length 1."""
        return float(self.below[-1] * abs(self.small.eigen[1][-1, index]))


def errors_of(target: Target, projection: Projection) -> Errors | None:
    """Return measure and bound for a target, or None where no rule is known (f a callable)."""
    with np.errstate(all="ignore"):
        if target.function.exponentials:
            return _exponential(target.function, target.t, projection)
        if target.function.expansion is not None:
            return _expanded(target.function, target.t.real, projection)
    return None


def _expanded(function: ScalarFunction, t: float, projection: Projection) -> Errors:
    """``f = f_0 + sum w_q / (z + s_q)``: shifted systems err by ``rho_q (t A + s_q)^-1 v``."""
    assert function.expansion is not None
    z = t * projection.small.theta
    size = float(np.abs(z).max())
    if not 0 < size < math.inf:
        return Errors(math.inf, math.inf, math.inf)
    expansion = function.expansion(size)
    shifts, weights = expansion.shifts, expansion.weights
    if np.iscomplexobj(shifts):  # each stands for a conjugate pair
        shifts, weights = np.concatenate([shifts, shifts.conj()]), np.tile(0.5 * weights, 2)
    distances = np.abs(z + shifts[:, None])
    logs = np.log(abs(t) * projection.below).sum() - np.log(distances).sum(axis=1)
    residuals = weights * np.exp(np.minimum(logs, MOST))
    apart = abs(t) * projection.field.distance(-shifts / t)
    bound = float((residuals / apart).sum()) if (apart > 0).all() else math.inf
    nearest = np.maximum(apart, distances.min(axis=1))
    measure = float((residuals / nearest).sum())
    return Errors(measure if np.isfinite(measure) else math.inf, bound, bound)


def _exponential(function: ScalarFunction, t: complex, projection: Projection) -> Errors:
    """Sum over the exponentials of f; a conjugate pair errs alike where H and t are real."""
    total, worst, known = 0.0, 0.0, dict[complex, tuple[float, float]]()
    for weight, factor in function.exponentials:
        z = complex(factor * t)
        if not np.iscomplexobj(projection.small.H) and z.conjugate() in known:
            known[z] = known[z.conjugate()]
        if z not in known:
            known[z] = _integral(function.phi, z, projection)
        total, worst = total + weight * known[z][0], worst + weight * known[z][1]
    return Errors(total, 2.0 * total, worst)


def _integral(p: int, z: complex, projection: Projection) -> tuple[float, float]:
    r"""Return ``\int_0^1 |rho(s)| (1 - s)^p / p! max_{w <= 1 - s} ||exp(w z H)|| ds``.

    And the same with the norm replaced by its bound by the numerical abscissa.

    ``rho(s) = z h e_k* exp(s z H) e_1`` is the residual of ``y' = z A y``. The grid of s halves
    towards 0, where all of rho may happen.
    """
    H = z * projection.small.H if complex(z).imag else complex(z).real * projection.small.H
    top = float((z * projection.small.theta).real.max())
    Z = H - top * np.eye(len(H))
    size = float(np.abs(Z).sum(axis=0).max())
    if not np.isfinite(size):
        return math.inf, math.inf
    levels = min(max(3, math.ceil(math.log2(max(size, 1e-300))) + 1), FINEST)
    E = sl.expm(Z * 2.0**-levels)
    x: Array = np.eye(len(Z), 1)[:, 0]
    s, rho, spans, norms = [0.0], [abs(x[-1])], [], []
    for level in range(levels + 1):
        step = 2.0 ** (level - levels)
        spans.append(step)
        norms.append(_norm_estimate(E))
        for _ in range(8 if level == 0 else 4 if level <= levels - 3 else 0):
            x = E @ x
            s.append(s[-1] + step)
            rho.append(abs(x[-1]))
        if level < levels:
            E = E @ E
    times, rho_of = np.array(s), np.array(rho) * abs(z) * projection.below[-1]
    left = 1.0 - times
    # Between two powers of 1/2 the larger norm serves; as w -> 0 the propagator tends to 1.
    above = np.minimum(np.searchsorted(spans, left), levels)
    grown = np.maximum.accumulate(np.maximum(norms, 1.0)) if p else np.array(norms)
    propagator = np.maximum(grown[above], grown[np.maximum(above - 1, 0)])
    propagator[left < spans[0]] = max(1.0, norms[0])
    residuals = rho_of * left**p / math.factorial(p)
    abscissa = max(float(np.linalg.eigvalsh(0.5 * (H + H.conj().T))[-1]), 0.0)
    exponents = top * np.ones_like(times) if p == 0 else top * times + max(top, 0.0) * left
    seen = residuals * propagator * np.exp(np.minimum(exponents, MOST))
    worst = residuals * np.exp(np.minimum(top * times + abscissa * left, MOST))
    totals = [float((0.5 * (f[1:] + f[:-1]) * np.diff(times)).sum()) for f in (seen, worst)]
    seen_total, worst_total = (total if np.isfinite(total) else math.inf for total in totals)
    return seen_total, worst_total


def _norm_estimate(E: Array) -> float:
    """Return the 2-norm of E, shape (k, k), to some percent."""
    x = np.random.default_rng(602_214_076).standard_normal(len(E))
    size, adjoint = 0.0, E.conj().T if np.iscomplexobj(E) else E.T
    for _ in range(5):
        x = adjoint @ (E @ (x / max(float(np.linalg.norm(x)), 1e-300)))
        size = float(np.sqrt(np.linalg.norm(x)))
    return size
