r"""Values for rational steps: Halley with weights, Zolotarev, scaled Newton, Gawlik.

Source
    Nakatsukasa, Bai and Gygi, SIAM J. Matrix Anal. Appl. 31 (2010) (QDWH); Nakatsukasa and Freund,
    SIAM Rev. 58 (2016) (Zolotarev's functions); Byers and Xu, SIAM J. Matrix Anal. Appl. 30 (2008)
    (scaled Newton); Gawlik, Rational minimax iterations for computing the matrix p-th root, Constr.
    Approx. 54 (2021).
Deviations
    Zolotarev's nodes come from the AGM in the complementary modulus, which is the given lower
    bound: nothing is lost at 1e-16, where elliptic functions of the modulus see 1.
Cost
    Microseconds; 100 us for the first call with r = 8 of ``zolotarev``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from spectool.errors import InputError

__all__ = ["Zolotarev", "byers_xu", "gawlik", "halley_interval", "qdwh", "zolotarev"]

SMALLEST = 1e-140
"""Lower bounds are above; their powers are numbers."""
AGM_STEPS = 20
"""Most means; 8 are needed at lower = 1 - 1e-16."""


class Zolotarev(NamedTuple):
    r"""``scale x prod_j (x^2 + even_j) / (x^2 + odd_j)``, 1 at 1, of type (2r+1, 2r).

    The same as ``scale (x + sum_j weights_j x / (1 + x^2 / odd_j))``.

    Attributes
    ----------
    scale : float
        The factor.
    even, odd : tuple of float
        ``c_2j`` and ``c_{2j-1}``, j = 1 to r, increasing.
    weights : tuple of float
        Of the partial fractions; positive.
    """

    scale: float
    even: tuple[float, ...]
    odd: tuple[float, ...]
    weights: tuple[float, ...]

    def __call__(self, x: float) -> float:
        """Return the value at x, by the product; an array works as well."""
        value = self.scale * x
        for even, odd in zip(self.even, self.odd, strict=True):
            value = value * ((x * x + even) / (x * x + odd))
        return value


def qdwh(lower: float) -> tuple[float, float, float]:
    """Return (a, b, c) of the best ``x (a + b x^2) / (1 + c x^2)`` on [lower, 1], 1 at 1.

    Parameters
    ----------
    lower : float
        In (1e-140, 1], a lower bound of the singular values.

    Raises
    ------
    InputError
        If lower is out of its range.

    References
    ----------
    .. [1] Nakatsukasa, Bai and Gygi (2010), section 3.
    """
    low = _checked(lower)
    d = (4.0 * (1.0 - low) * (1.0 + low)) ** (1.0 / 3.0) * low ** (-4.0 / 3.0)
    root = math.sqrt(1.0 + d)
    inside = 8.0 - 4.0 * d + 8.0 * (2.0 - low * low) / (low * root) / low
    a = root + 0.5 * math.sqrt(inside)
    b = 0.25 * (a - 1.0) ** 2
    return a, b, a + b - 1.0


def halley_interval(coefs: tuple[float, float, float], lower: float) -> tuple[float, float]:
    """Return where ``x (a + b x^2) / (1 + c x^2)`` of ``qdwh(lower)`` takes [lower, 1]."""
    a, b, c = coefs
    square = lower * lower
    return min(lower * (a + b * square) / (1.0 + c * square), 1.0), 1.0


def byers_xu(upper: float, lower: float) -> Iterator[float]:
    """Yield the scales ``z`` of Newton's steps ``(z X + (z X)^-1) / 2``, for ever.

    Nine steps suffice for lower / upper = 1e-16. With ``sign.newton``, a = z / 2 and b = 1 / (2 z).

    Parameters
    ----------
    upper, lower : float
        ``0 < lower <= upper``, bounds of the singular values of the first X.

    Raises
    ------
    InputError
        If they are none.

    References
    ----------
    .. [1] Byers and Xu (2008): the suboptimal scaling.
    """
    if not 0.0 < lower <= upper < math.inf:
        raise InputError(f"bounds are 0 < lower <= upper, finite; got {lower} and {upper}.")
    return _byers_xu(float(upper), float(lower))


def _byers_xu(upper: float, lower: float) -> Iterator[float]:
    a, b = math.sqrt(upper), math.sqrt(lower)
    yield 1.0 / a / b
    ratio = b / a
    z = math.sqrt(2.0 * ratio / (1.0 + ratio * ratio))
    while True:
        yield z
        z = math.sqrt(2.0 * z / (1.0 + z * z))


def gawlik(lower: float, p: int) -> Iterator[tuple[float, float]]:
    """Yield (a, b) of the best steps ``W = p a (Y + (p - 1) b I)^-1`` to p-th roots, for ever.

    Parameters
    ----------
    lower : float
        In (1e-140, 1]; the spectrum of Y is in ``[lower^p, 1]``.
    p : int
        At least 1.

    Raises
    ------
    InputError
        If an argument is out of its range.

    References
    ----------
    .. [1] Gawlik (2021): the iteration of type (1, 0).
    """
    if p < 1:
        raise InputError(f"p is at least 1; got {p}.")
    return _gawlik(_checked(lower), p)


def _gawlik(alpha: float, p: int) -> Iterator[tuple[float, float]]:
    if p == 1:
        while True:
            yield 1.0, 1.0
    while True:
        # (alpha - alpha^p) / ((p - 1)(1 - alpha)), without cancellation
        b = sum(alpha**k for k in range(1, p)) / (p - 1)
        mu = b ** (1.0 / p)
        a = b / mu
        yield a, b
        alpha = min(p * a / (1.0 + (p - 1) * b), 1.0)


def zolotarev(lower: float, r: int) -> Zolotarev:
    """Return Zolotarev's best odd function of type (2r+1, 2r) on [lower, 1], scaled to 1 at 1.

    It takes ``[lower, 1]`` to ``[f(lower), 1]``; r = 1 is ``qdwh``. At lower = 1 it is
    ``tanh((2r+1) artanh x)``, of order 2r+1.

    Parameters
    ----------
    lower : float
        In (1e-140, 1], a lower bound of the singular values.
    r : int
        At least 1.

    Raises
    ------
    InputError
        If an argument is out of its range.

    References
    ----------
    .. [1] Nakatsukasa and Freund (2016), section 3.
    """
    if r < 1:
        raise InputError(f"r is at least 1; got {r}.")
    return _zolotarev(_checked(lower), int(r))


@lru_cache(maxsize=4096)
def _zolotarev(lower: float, r: int) -> Zolotarev:
    first = [_node(j / (2 * r + 1), lower) for j in range(1, r + 1)]
    # sc(K' - u) = 1 / (lower sc(u))
    nodes = [*first, *(lower / c * lower for c in reversed(first))]
    odd, even = tuple(nodes[0::2]), tuple(nodes[1::2])
    scale = math.prod((1.0 + c) / (1.0 + d) for c, d in zip(odd, even, strict=True))
    weights = []
    for j, c in enumerate(odd):
        # Factors in pairs, so that none overflows.
        weight = (even[j] - c) / c
        for k, d in enumerate(odd):
            if k != j:
                weight *= (even[k] - c) / (d - c)
        weights.append(weight)
    return Zolotarev(scale, even, odd, tuple(weights))


def _node(part: float, lower: float) -> float:
    """Return ``lower^2 sc(part K' | 1 - lower^2)^2``, by Jacobi's imaginary transformation [1]_.

    Means descend from the modulus ``lower``; all angles are imaginary, hence hyperbolic functions.

    References
    ----------
    .. [1] Abramowitz and Stegun, 16.4 and 16.20.
    """
    if lower == 1.0:
        return math.tan(part * 0.5 * math.pi) ** 2
    a, b, c = 1.0, math.sqrt((1.0 - lower) * (1.0 + lower)), lower
    ratios: list[float] = []
    while c > 1e-19 * a and len(ratios) < AGM_STEPS:
        # c by a quotient: the difference of a and b cancels.
        a, b, c = 0.5 * (a + b), math.sqrt(a * b), c * c / (2.0 * (a + b))
        ratios.append(c / a)
    psi = 2.0 ** len(ratios) * a * part * _quarter_period(lower)
    for ratio in reversed(ratios):
        psi = 0.5 * (psi + math.asinh(ratio * math.sinh(psi)))
    return (lower * math.sinh(psi)) ** 2


def _quarter_period(complement: float) -> float:
    """Return K of the modulus ``(1 - complement^2)^(1/2)``."""
    a, b = 1.0, complement
    while abs(a - b) > 1e-15 * a:
        a, b = 0.5 * (a + b), math.sqrt(a * b)
    return math.pi / (a + b)


def _checked(lower: float) -> float:
    if not SMALLEST < lower <= 1.0:
        raise InputError(
            f"lower is in ({SMALLEST:g}, 1]; got {lower}. Scale the matrix by its norm."
        )
    return float(lower)
