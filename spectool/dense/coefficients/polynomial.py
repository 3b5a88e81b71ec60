r"""Best polynomial steps, ``y -> y g(y)^p``, on an interval.

Where Y has the spectrum ``[lower, upper]``, the step ``X <- X g(Y), Y <- g(Y)^p Y`` brings it
closest to I if ``t g(t^p)``, ``t = y^(1/p)``, is closest to 1. For p = 2 these are odd cubics and
quintics for the sign.

Source
    Amsel, Persson, Musco and Gower, arXiv:2505.16932 (2025) (Polar Express: quintics); Grishina,
    Smirnov and Rakhuba, arXiv:2506.10935 (2025) (CANS: the cubic in closed form); Chen and Chow,
    A stable scaling of Newton-Schulz, Argonne ANL/MCS-P5059-0114 (2014).
Deviations
    No exchange of Remez, whose system is singular to working precision from lower / upper = 1e-4
    on. The extrema ``q < r`` inside the interval determine the polynomial, whose derivative is
    ``(t^p - q^p)(t^p - r^p)`` up to a factor; that its values alternate gives r by q and q by r,
    as quotients of polynomials with positive coefficients. Alternating them converges linearly,
    by 0.1 per round, and no digit cancels: coefficients are right to about 1e-15 for every
    ``0 <= lower / upper <= 1``.
Cost
    About 40 us; repeated calls are remembered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from spectool._types import FloatArray
from spectool.errors import InputError

__all__ = [
    "chen_chow",
    "optimal_cubic",
    "optimal_linear",
    "optimal_quadratic",
    "optimal_quintic",
    "optimal_steps",
    "polar_express",
    "quintic_interval",
    "root_interval",
]

ROUNDS = 60
"""Most alternations; about 17 are needed."""


def optimal_cubic(lower: float, upper: float = 1.0) -> tuple[float, float]:
    """Return (a, b) of the odd cubic ``a x + b x^3`` closest to 1 on [lower, upper].

    Parameters
    ----------
    lower, upper : float
        ``0 <= lower <= upper``, bounds of singular values.

    Raises
    ------
    InputError
        If the bounds are none, or the coefficients overflow.
    """
    ratio, upper = _ratio(lower, upper)
    a, b = _linear(ratio, 2)
    return a / upper, _scaled(b, upper, 3)


def optimal_quintic(lower: float, upper: float = 1.0) -> tuple[float, float, float]:
    """Return (a, b, c) of the odd quintic ``a x + b x^3 + c x^5`` closest to 1 on [lower, upper].

    It takes ``[lower, upper]`` to ``[p(lower), 2 - p(lower)]``.

    Parameters
    ----------
    lower, upper : float
        ``0 <= lower <= upper``, bounds of singular values.

    Raises
    ------
    InputError
        If the bounds are none, or the coefficients overflow.
    """
    ratio, upper = _ratio(lower, upper)
    a, b, c = _quadratic(ratio, 2)
    return a / upper, _scaled(b, upper, 3), _scaled(c, upper, 5)


def optimal_linear(lower: float, upper: float = 1.0, p: int = 2) -> tuple[float, float]:
    """Return (a, b) for which ``y^(1/p) (a + b y)`` is closest to 1 on [lower, upper].

    Parameters
    ----------
    lower, upper : float
        ``0 <= lower <= upper``, bounds of the eigenvalues of Y; of A X for inverses, p = 1.
    p : int
        Which root; at least 1.

    Raises
    ------
    InputError
        If the bounds are none, p is not positive, or the coefficients overflow.
    """
    ratio, upper = _ratio(lower, upper)
    a, b = _linear(ratio ** (1.0 / _root(p)), p)
    top = upper ** (1.0 / p)
    return a / top, _scaled(b / top, upper, 1)


def optimal_quadratic(lower: float, upper: float = 1.0, p: int = 2) -> tuple[float, float, float]:
    """Return (a, b, c) for which ``y^(1/p) (a + b y + c y^2)`` is closest to 1 on [lower, upper].

    Parameters
    ----------
    lower, upper : float
        ``0 <= lower <= upper``, bounds of the eigenvalues of Y; of A X for inverses, p = 1.
    p : int
        Which root; at least 1.

    Raises
    ------
    InputError
        If the bounds are none, p is not positive, or the coefficients overflow.
    """
    ratio, upper = _ratio(lower, upper)
    a, b, c = _quadratic(ratio ** (1.0 / _root(p)), p)
    top = upper ** (1.0 / p)
    return a / top, _scaled(b / top, upper, 1), _scaled(c / top, upper, 2)


def optimal_steps(ratio: FloatArray, p: int, degree: int) -> tuple[FloatArray, ...]:
    """Return a, b (and c) of the best ``t (a + b t^p + c t^2p)`` on [ratio, 1], for many ratios.

    Parameters
    ----------
    ratio : ndarray
        In [0, 1], of any shape.
    p : int
        Which root; at least 1.
    degree : int
        1, or 2 for c.
    """
    make = _linear_on if degree == 1 else _quadratic_on
    made = make(np.asarray(ratio, dtype=np.float64), _root(p))
    return tuple(np.broadcast_to(values, np.shape(ratio)) for values in made)


def polar_express(
    lower: float, n_steps: int, *, safety: float = 1.0, cushion: float = 0.0
) -> list[tuple[float, float, float]]:
    """Return the best composition of odd quintics on [lower, 1]: (a, b, c) of each step.

    Parameters
    ----------
    lower : float
        In [0, 1], a lower bound of the singular values.
    n_steps : int
        How many.
    safety : float
        At least 1; all steps but the last are for values larger by it, against overshooting in
        low precision. Then the limit is 1 only if all steps are taken, and no others.
    cushion : float
        In [0, 1); steps are best on ``[max(lower, cushion upper), upper]``, and what is below
        grows slower than it could. Against rounding in low precision.

    Raises
    ------
    InputError
        If an argument is out of its range.

    Notes
    -----
    What exceeds ``upper`` by rounding exceeds it 13 times as much after a steep step, relatively,
    and there are ``log(1 / lower) / 1.45`` of them: below ``lower = 4 eps^(1/2)`` a composition
    without ``safety`` can diverge in exact arithmetic on rounded data. ``1 + 1000 eps`` suffices.
    Values near the inner minimum fall to ``p(lower)`` and lose their digits there: in the polar
    decomposition ``||A - U H||`` is up to ``eps / max(lower, cushion)``, although U is orthogonal.
    A cushion of 0.024 costs 3 per cent of the growth.

    References
    ----------
    .. [1] Amsel, Persson, Musco and Gower, arXiv:2505.16932 (2025).
    """
    if n_steps < 0 or not 1.0 <= safety < math.inf or not 0.0 <= cushion < 1.0:
        raise InputError(
            f"polar_express needs n_steps >= 0, safety >= 1 and 0 <= cushion < 1; got {n_steps}, "
            f"{safety} and {cushion}."
        )
    lower, upper = _ratio(lower, 1.0)[0], 1.0
    steps = []
    for k in range(n_steps):
        a, b, c = optimal_quintic(max(lower, cushion * upper), upper)
        scale = 1.0
        if cushion * upper > lower:
            # Not balanced around 1 any more.
            scale = 2.0 / (_odd((a, b, c), lower) + _odd((a, b, c), upper))
        a, b, c = scale * a, scale * b, scale * c
        lower = min(_odd((a, b, c), lower), 1.0)
        upper = 2.0 - lower
        s = safety if k < n_steps - 1 else 1.0
        steps.append((a / s, b / s**3, c / s**5))
    return steps


def chen_chow(lower: float) -> Iterator[tuple[float, float]]:
    """Yield (a, b) of the scaled Newton-Schulz steps ``a X + b X^3`` on [lower, 1], for ever.

    Each is a multiple of the best cubic, with its maximum 1: rounding cannot overshoot.

    Parameters
    ----------
    lower : float
        In (0, 1], a lower bound of the singular values.

    Raises
    ------
    InputError
        If lower is out of its range.

    References
    ----------
    .. [1] Chen and Chow, ANL/MCS-P5059-0114 (2014).
    """
    if not 0.0 < lower <= 1.0:
        raise InputError(f"lower is in (0, 1]; got {lower}. Scale the matrix by its norm.")
    return _chen_chow(float(lower))


def _chen_chow(lower: float) -> Iterator[tuple[float, float]]:
    while True:
        rho = math.sqrt(3.0 / (1.0 + lower + lower * lower))
        a, b = 1.5 * rho, -0.5 * rho**3
        yield a, b
        lower = min(_odd((a, b), lower), 1.0)


def quintic_interval(coefs: Sequence[float], lower: float, upper: float) -> tuple[float, float]:
    """Return the range of ``a x + b x^3 + c x^5`` on [lower, upper], 0 <= lower <= upper.

    ``coefs`` is (a, b, c), or (a, b) of a cubic.
    """
    return _range(coefs, float(lower), float(upper), 2)


def root_interval(
    coefs: Sequence[float], lower: float, upper: float, p: int = 2
) -> tuple[float, float]:
    """Return the range of ``y g(y)^p``, ``g = a + b y + c y^2``, on [lower, upper].

    ``coefs`` is (a, b, c) or (a, b), and 0 <= lower <= upper: where the next Y has its spectrum.
    """
    bounds = (float(lower) ** (1.0 / _root(p)), float(upper) ** (1.0 / p))
    low, high = _range(coefs, *bounds, p)
    ends = (_power(low, p), _power(high, p))
    if p % 2:
        return ends
    # Even powers fold the range at zero.
    return (0.0 if low < 0.0 < high else min(ends)), max(ends)


def _range(coefs: Sequence[float], lower: float, upper: float, p: int) -> tuple[float, float]:
    """Range of ``t g(t^p)`` on [lower, upper]: at the ends, and where the derivative is zero."""
    a, b, c = (*(float(value) for value in coefs), 0.0)[:3]
    z = _roots(a, (p + 1) * b, (2 * p + 1) * c)
    inside = [x for x in (y ** (1.0 / p) for y in z if y > 0.0) if lower < x < upper]
    ends = [x * (a + _power(x, p) * (b + _power(x, p) * c)) for x in (lower, *inside, upper)]
    if not all(math.isfinite(value) for value in ends):
        return -math.inf, math.inf
    return min(ends), max(ends)


def _power(x: float, p: int) -> float:
    """Return ``x^p``, infinite rather than an OverflowError."""
    return math.prod([x] * p)


def _roots(a: float, b: float, c: float) -> list[float]:
    """Real roots of ``a + b z + c z^2``, without cancellation."""
    inside = b * b - 4.0 * a * c
    if inside < 0.0:
        return []
    half = -0.5 * (b + math.copysign(math.sqrt(inside), b))
    return [top / bottom for top, bottom in ((half, c), (a, half)) if bottom != 0.0]


def _odd(coefs: Sequence[float], x: float) -> float:
    """Return ``a x + b x^3 (+ c x^5)``."""
    inner = 0.0
    for c in reversed(coefs):
        inner = inner * x * x + c
    return x * inner


@lru_cache(maxsize=4096)
def _linear(lower: float, p: int) -> tuple[float, float]:
    """Return (a, b) of the best ``t (a + b t^p)`` on [lower, 1]."""
    return _linear_on(lower, p)


def _linear_on(lower: Any, p: int) -> tuple[Any, Any]:
    """Return the same for a number, or for each of many."""
    power = _horner([1.0] * (p + 1), lower) / (p + 1)  # of q, where the extremum is
    q = power ** (1.0 / p)
    # P(t) = q^p t - t^(p+1) / (p+1)
    scale = 2.0 / (power * q * p / (p + 1) + power - 1.0 / (p + 1))
    return scale * power, -scale / (p + 1)


@lru_cache(maxsize=4096)
def _quadratic(lower: float, p: int) -> tuple[float, float, float]:
    """Return (a, b, c) of the best ``t (a + b t^p + c t^2p)`` on [lower, 1]."""
    return _quadratic_on(lower, p)


def _quadratic_on(lower: Any, p: int) -> tuple[Any, Any, Any]:
    """Return the same for a number, or for each of many."""
    # 1 - (p+1) x^p + p x^(p+1) and its like, over (1-x)^2
    top = [float((p + 1) * (k + 1) if k < p else p * (2 * p - k)) for k in range(2 * p)]
    bottom = [float(k + 1) for k in range(p)]
    q = 0.75 * lower + 0.25
    for _ in range(ROUNDS):
        before = q
        r = (_horner(top, q) / (_horner(bottom, q) * (2 * p + 1))) ** (1.0 / p)
        t = lower / r
        back = _horner(top[::-1], t) / (_horner(bottom[::-1], t) * (2 * p + 1))
        q = r * back ** (1.0 / p)
        close = abs(q - before) <= 1e-16
        if close if isinstance(close, bool) else close.all():
            break
    s, product = q**p + r**p, (q * r) ** p
    # P(t) = t^(2p+1) / (2p+1) - s t^(p+1) / (p+1) + product t, and P(q) + P(r) = 2
    values = sum(x * (x ** (2 * p) / (2 * p + 1) - s * x**p / (p + 1) + product) for x in (q, r))
    scale = 2.0 / values
    return scale * product, -scale * s / (p + 1), scale / (2 * p + 1)


def _horner(coefs: Sequence[float], x: Any) -> Any:
    value = 0.0
    for c in reversed(coefs):
        value = value * x + c
    return value


def _ratio(lower: float, upper: float) -> tuple[float, float]:
    """Return ``(lower / upper, upper)`` after a look at them."""
    if not 0.0 <= lower <= upper < math.inf or upper == 0.0:
        raise InputError(
            f"bounds are 0 <= lower <= upper, finite and not both zero; got {lower} and {upper}."
        )
    return float(lower) / float(upper), float(upper)


def _root(p: int) -> int:
    if p < 1:
        raise InputError(f"p is at least 1; got {p}.")
    return p


def _scaled(c: float, upper: float, power: int) -> float:
    """Return ``c / upper^power``; raises InputError if that is no number."""
    for _ in range(power):
        c = c / upper
    if not math.isfinite(c):
        raise InputError(f"coefficients for upper={upper} overflow. Scale the matrix by its norm.")
    return c
