"""Probabilistic bounds of the extreme eigenvalues from one Lanczos run.

Source
    van Dorsselaer, Hochstenbach and van der Vorst, Computing probabilistic bounds for extreme
    eigenvalues of symmetric matrices with the Lanczos method, SIMAX 22 (2001), section 3.

The Lanczos vector v_{m+1} = p_m(A) v_1 has norm 1, so ``|q| |p_m(lambda)| <= 1`` for every
eigenvalue lambda and the component q of v_1 in its direction. Beyond the Ritz values |p_m| only
grows; so lambda cannot lie where ``|p_m| > 1 / delta``, unless the random v_1 had ``|q| < delta``,
and the probability of that is known exactly. No gap, no residual, no safety factor enters.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaincinv

from spectool.krylov import RitzData


def smallest_component(n: int, probability: float, *, complex_vector: bool) -> float:
    """Return delta with ``P(|q| < delta) = probability`` for one component of a random unit vector.

    ``|q|^2`` is Beta(1/2, (n-1)/2) distributed for real vectors, Beta(1, n-1) for complex ones.
    """
    if n == 1:
        return 1.0
    half = 1.0 if complex_vector else 0.5
    return math.sqrt(float(betaincinv(half, half * (n - 1), probability)))


def outer_end(run: RitzData, delta: float, *, upper: bool) -> float:
    """Return where ``|p_m|`` reaches ``1 / delta`` beyond the largest (smallest) Ritz value."""
    theta = run.values if upper else -run.values[::-1]
    if run.invariant:
        return float(theta[-1] if upper else -theta[-1])
    target = run.log_norm - math.log(delta)

    def excess(gap: float) -> float:
        return float(np.log(theta[-1] - theta + gap).sum()) - target

    # Bisection in log(gap): the root may lie many decades below the spread of the Ritz values.
    high = max(float(theta[-1] - theta[0]), abs(float(theta[-1])), 1e-300)
    while excess(high) < 0:
        high *= 4.0
    low = high
    while excess(low) > 0 and low > 1e-300:
        low *= 1e-4
    for _ in range(50):
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    end = float(theta[-1]) + high
    return end if upper else -end
