r"""The polynomial in alpha that a fitted step minimizes, and its minimizer.

A step multiplies by ``g(R) = f(R) + alpha R^d``, f the Taylor polynomial of ``(1 - xi)^(-1/p)`` of
degree d - 1, and leaves ``R_+ = I - (I - R) g(R)^p``: a polynomial in R whose coefficients are
polynomials in alpha. The sketched ``||R_+ S||_F^2`` is one of degree 2 p in alpha.

Source
    Yang, Wang, Balabanov, Erichson and Mahoney, arXiv:2601.22137 (2026).
Deviations
    (1) Any p and d. (2) For p > 2 and p = 1, where no interval for alpha was published, the upper
    end follows the rule behind theirs: the largest fixed alpha under which no residual grows.
Cost
    ``O(p^2 (p d)^2)`` numbers for each matrix, on its device.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from array_api_compat import array_namespace

from spectool._types import FloatArray
from spectool.dense.algebra import Tensor
from spectool.errors import InputError

__all__ = [
    "alpha_interval",
    "degree_of_residual",
    "minimizer",
    "objective",
    "step_values",
    "taylor",
]

PUBLISHED = {(2, 1): 1.0, (2, 2): 29.0 / 20.0}
"""Upper ends of alpha by p and d."""
GRID = 65
"""Points among which the minimum is looked for first; it is then followed to rounding."""
NEWTON = 8
"""Newton's steps for the minimizer, within two cells of the grid: they converge quadratically."""


def taylor(p: int, degree: int) -> list[float]:
    """Return the coefficients of ``(1 - xi)^(-1/p)`` up to ``xi^degree``."""
    c = [1.0]
    for k in range(1, degree + 1):
        c.append(c[-1] * (1.0 / p + k - 1.0) / k)
    return c


def degree_of_residual(p: int, degree: int) -> int:
    """Return the degree of ``R_+`` in R."""
    return 1 + p * degree


@lru_cache(maxsize=64)
def _rows(p: int, degree: int) -> FloatArray:
    """Coefficients of ``R_+`` by powers of alpha, shape (p + 1, 2 + p d); exact zeros stay zero."""
    f = np.asarray(taylor(p, degree)[:degree])
    rows = np.zeros((p + 1, degree_of_residual(p, degree) + 1))
    for j in range(p + 1):
        made = np.asarray([1.0])
        for _ in range(p - j):
            made = np.convolve(made, f)
        made = math.comb(p, j) * np.convolve(made, [1.0, -1.0])  # times 1 - xi
        rows[j, j * degree : j * degree + made.size] = -made
    rows[0, 0] += 1.0
    rows[0, :degree] = 0.0  # f is a Taylor polynomial
    return rows


def objective(gram: Tensor, p: int, degree: int) -> Tensor:
    """Return the coefficients of ``||R_+ S||_F^2`` by powers of alpha, shape (..., 2 p + 1).

    Parameters
    ----------
    gram : array, shape (..., 2 + p d, 2 + p d)
        Of ``R^i S``, in double precision.
    p, degree : int
        Which root, and the degree d of g.
    """
    rows = _beside(_rows(p, degree), gram)
    by_powers = rows @ gram @ _beside(_rows(p, degree).T, gram)
    columns = [
        sum(by_powers[..., i, m - i] for i in range(max(0, m - p), min(m, p) + 1))
        for m in range(2 * p + 1)
    ]
    return array_namespace(gram).stack(columns, axis=-1)


def minimizer(c: Tensor, grid: FloatArray) -> Tensor:
    """Return where ``sum c_m alpha^m`` is smallest on the grid's interval, shape (...).

    Parameters
    ----------
    c : array, shape (..., k)
        Coefficients, ascending, in double precision. Those of a constant give the lower end.
    grid : ndarray, shape (g,)
        Ascending, so dense that Newton's method converges from its best point.
    """
    k, last = c.shape[-1], len(grid) - 1
    powers = np.arange(k)
    values = c @ _beside(grid[None, :] ** powers[:, None], c)  # (..., g)
    best = values.argmin(-1)
    points = _beside(grid, c)
    lower, alpha = points[(best - 1).clip(0, last)], points[best]
    upper = points[(best + 1).clip(0, last)]
    smallest = values.min(-1) if isinstance(values, np.ndarray) else values.amin(-1)
    first = c[..., 1:] * _beside(powers[1:].astype(np.float64), c)
    second = first[..., 1:] * _beside(powers[1:-1].astype(np.float64), c)
    start = alpha
    for _ in range(NEWTON):
        slope, bend = _horner(first, alpha), _horner(second, alpha)
        convex = bend > 0
        step = slope * convex / (bend * convex + (bend <= 0))
        alpha = alpha - step
        alpha = alpha + (lower - alpha) * (alpha < lower) + (upper - alpha) * (alpha > upper)
    better = _horner(c, alpha) < smallest
    return start + (alpha - start) * better


def _horner(c: Tensor, alpha: Tensor) -> Tensor:
    value = c[..., -1] + 0.0 * alpha
    for m in range(c.shape[-1] - 2, -1, -1):
        value = value * alpha + c[..., m]
    return value


@lru_cache(maxsize=64)
def alpha_interval(p: int, degree: int) -> tuple[float, float]:
    """Return where alpha is looked for: from the Taylor coefficient on.

    Raises InputError if p or the degree is not positive.
    """
    if p < 1 or degree < 1:
        raise InputError(f"p and degree must be at least 1; got {p} and {degree}.")
    lower = taylor(p, degree)[degree]
    if (p, degree) in PUBLISHED:
        return lower, PUBLISHED[p, degree]
    upper = 16.0 * lower
    while upper - lower > 1e-5:
        middle = 0.5 * (lower + upper)
        lower, upper = (middle, upper) if _is_tame(middle, p, degree) else (lower, middle)
    return taylor(p, degree)[degree], math.floor(1e3 * lower) / 1e3


def _is_tame(alpha: float, p: int, degree: int) -> bool:
    """Return whether no residual in [0, 1], nor one that it overshoots to, grows."""
    xi = np.linspace(0.0, 1.0, 20_001)
    image = _image(xi, alpha, p, degree)
    overshot = -np.linspace(0.0, max(0.0, -float(image.min())), 2_001)
    both = (xi, image), (overshot, _image(overshot, alpha, p, degree))
    return all(bool((np.abs(h) <= np.abs(x) + 1e-12).all()) for x, h in both)


def _image(xi: FloatArray, alpha: float, p: int, degree: int) -> FloatArray:
    g = sum(c * xi**k for k, c in enumerate((*taylor(p, degree)[:degree], alpha)))
    return np.asarray(1.0 - (1.0 - xi) * g**p)


def step_values(alpha: Tensor, p: int, degree: int) -> tuple[Tensor, ...]:
    """Return (a, b) or (a, b, c) for which ``a + b y + c y^2 = g(1 - y)``."""
    if degree == 1:
        return 1.0 + alpha, -alpha
    slope = 1.0 / p
    return 1.0 + slope + alpha, -slope - 2.0 * alpha, alpha


def _beside(values: FloatArray, like: Tensor) -> Tensor:
    """Return constants in double precision beside an array."""
    if isinstance(like, np.ndarray):
        return values
    return like.new_tensor(values)
