"""Chebyshev designs: series, interpolants and residual polynomials.

Source
    Trefethen, Approximation Theory and Approximation Practice, SIAM 2013; Saad, Iterative Methods
    for Sparse Linear Systems, 2nd ed., section 12.3; Lottes, Optimal polynomial smoothers for
    multigrid V-cycles, Numer. Linear Algebra Appl. 30 (2023).
Deviations
    The optimal fourth-kind polynomial is computed in closed form for any degree: it is the
    fourth-kind polynomial of the interval [-C upper, upper], C = tan^2(pi / (4m + 2)), scaled to 1
    at zero (its residual equioscillates under sqrt(C / (C + x)), which is T_{2m+1} in sqrt(C + x)).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from spectool._types import Array, FloatArray, Interval, ScalarMap
from spectool.errors import InputError
from spectool.polynomials.nodes import (
    chebyshev_coefficients,
    chebyshev_points,
    checked_interval,
)
from spectool.polynomials.recurrence import Recurrence, chebyshev_series


def checked_degree(degree: Any, *, least: int = 0, most: int = 100_000) -> int:
    """Return ``degree`` as an int, or raise InputError."""
    if isinstance(degree, bool | np.bool_) or not isinstance(degree, int | np.integer):
        raise InputError(f"degree must be an integer; got {degree!r}.")
    if not least <= degree <= most:
        raise InputError(f"degree must lie in [{least}, {most}]; got {degree}.")
    return int(degree)


def chebyshev_interpolant(
    f: ScalarMap,
    interval: Interval,
    *,
    degree: int | None = None,
    rtol: float = 1e-15,
    max_degree: int = 16_384,
    name: str | None = None,
) -> tuple[Recurrence, float]:
    """Interpolate f at Chebyshev points; choose the degree from ``rtol`` unless it is given.

    The number of points doubles until the coefficients have decayed to ``rtol`` times the
    largest, then the tail is cut.

    Parameters
    ----------
    f : callable
        Maps an array of eigenvalues to an array of the same shape; smooth on the interval.
    interval : tuple of float
        ``(lower, upper)``.
    degree : int, optional
        Fixes the degree.
    rtol : float
        Bound on the neglected coefficients relative to the largest value of ``|f|``.
    max_degree : int
        Where the doubling stops.

    Returns
    -------
    recurrence : Recurrence
        The interpolant.
    error : float
        Estimate of ``max |f - p|`` on the interval (unit of f): the neglected coefficients, or
        the last ones kept where nothing was neglected.

    Raises
    ------
    InputError
        If f is complex or not finite somewhere on the interval.

    Notes
    -----
    Error of degree d: ``4 M rho**-d / (rho - 1)`` for f analytic and bounded by M in the Bernstein
    ellipse of parameter rho [1]_.

    References
    ----------
    .. [1] Trefethen, Approximation Theory and Approximation Practice, Theorem 8.2.

    Examples
    --------
    >>> import numpy as np
    >>> p, error = chebyshev_interpolant(np.exp, (-1.0, 1.0), rtol=1e-10)
    >>> p.degree, bool(abs(p(0.3) - np.exp(0.3)) < 1e-10)
    (10, True)
    """
    where = checked_interval(interval)
    title = name or f"Chebyshev interpolant of {getattr(f, '__name__', 'f')}"
    if degree is not None:
        d = checked_degree(degree)
        # Sampled finer than needed, so that the first neglected coefficients are seen.
        coefficients = chebyshev_coefficients(
            checked_values(f, chebyshev_points(2 * d + 17, where))
        )
        return (
            chebyshev_series(coefficients[: d + 1], where, name=title),
            float(np.abs(coefficients[d + 1 :]).sum()),
        )
    m = min(17, checked_degree(max_degree) + 1)
    while True:
        values = checked_values(f, chebyshev_points(m, where))
        coefficients = chebyshev_coefficients(values)
        size = float(np.abs(values).max())
        tail = np.cumsum(np.abs(coefficients[::-1]))[::-1]
        # Rounding of f and of the transform leaves about eps in each coefficient of the tail.
        floor = max(rtol, (8 + 0.5 * m) * float(np.finfo(np.float64).eps)) * size
        kept = int(np.searchsorted(-tail, -floor))
        if kept <= 0.75 * m:
            break
        if m - 1 >= max_degree:
            return (
                chebyshev_series(coefficients, where, name=title),
                float(np.abs(coefficients[-max(2, m // 16) :]).sum()),
            )
        m = min(2 * (m - 1), max_degree) + 1
    kept = max(kept, 1)
    return (
        chebyshev_series(coefficients[:kept], where, name=title),
        float(tail[kept]) if kept < m else 0.0,
    )


def checked_values(f: ScalarMap, x: FloatArray, *, name: str = "f") -> FloatArray:
    """Return f(x), or raise InputError unless it is real, finite and of x's shape."""
    with np.errstate(all="ignore"):
        values: Array = np.asarray(f(x))
    if values.shape != x.shape:
        raise InputError(f"f must map shape {x.shape} to itself; it returned {values.shape}.")
    if values.dtype.kind not in "biufc" or np.abs(np.imag(values)).any():
        raise InputError(f"f must be real on a real spectrum; it returned {values.dtype}.")
    result = np.real(values).astype(np.float64)
    if not np.isfinite(result).all():
        where = float(x[np.flatnonzero(~np.isfinite(result))[0]])
        raise InputError(
            f"f must be finite on the spectrum; {name}({where:.6g}) is not. For log, sqrt or "
            "inverse powers A must be positive definite; for exp rescale t."
        )
    return result


def residual_to_solution(
    alpha: FloatArray, beta: FloatArray, gamma: FloatArray, interval: Interval, name: str
) -> Recurrence:
    """Return q with ``1 - z q(z) = r_m(z)`` from the recurrence of normalized residuals.

    ``r_0 = 1``, ``r_{k+1} = (alpha_k z + beta_k) r_k + gamma_k r_{k-1}`` with
    ``beta_k + gamma_k = 1`` (``beta_0 = 1``) keeps ``r_k(0) = 1``; then
    ``q_{k+1} = (alpha_k z + beta_k) q_k + gamma_k q_{k-1} - alpha_k``, an affine iteration whose
    first step costs no product because ``q_0 = 0``.
    """
    return Recurrence.from_affine(
        alpha[1:],
        beta[1:],
        gamma[1:] * (np.arange(1, alpha.size) > 1),
        -alpha[1:],
        -float(alpha[0]),
        interval,
        name,
    )


def _normalized_residuals(
    kind: Literal[1, 4], center: float, slope: float, m: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Recurrence of ``P_k(center - slope z) / P_k(center)``, k = 1 .. m, for P = T or W.

    Ratios of consecutive ``P_k(center)`` stand in for the values, which would overflow.
    """
    multiple, offset = (1.0, 0.0) if kind == 1 else (2.0, 1.0)
    alpha, beta, gamma = (np.zeros(m) for _ in range(3))
    ratio = 1.0 / (multiple * center + offset)  # P_{k-1}(center) / P_k(center)
    alpha[0], beta[0] = -multiple * slope * ratio, 1.0
    for k in range(1, m):
        following = 1.0 / (2.0 * center - ratio)
        alpha[k] = -2.0 * slope * following
        beta[k] = 2.0 * center * following
        gamma[k] = -ratio * following
        ratio = following
    return alpha, beta, gamma


def chebyshev_inverse(interval: Interval, degree: int) -> Recurrence:
    """Return the degree-d polynomial q that minimizes ``max |1 - z q(z)|`` on an interval.

    Parameters
    ----------
    interval : tuple of float
        ``(lower, upper)`` with ``0 < lower < upper``.
    degree : int
        Degree of q; the residual polynomial ``1 - z q`` has degree d + 1.

    Returns
    -------
    Recurrence
        ``max |1 - z q| = 1 / T_{d+1}((upper + lower) / (upper - lower))``.

    Raises
    ------
    InputError
        If lower is not positive.

    Notes
    -----
    q > 0 on (0, upper] always; for even d it stays positive above ``upper`` too, so an
    under-estimated upper end cannot make the preconditioner indefinite.
    Newton's iteration for the inverse, scaled for the interval, makes this polynomial for
    d = 2^k - 1; a detuned Newton-Chebyshev preconditioner is this one on a shifted interval.

    References
    ----------
    .. [1] Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., Algorithm 12.1.

    Examples
    --------
    >>> q = chebyshev_inverse((1.0, 3.0), 1)
    >>> round(1 - 3.0 * q(3.0), 12)  # 1 / T_2(2) = 1 / 7
    0.142857142857
    """
    lower, upper = checked_interval(interval)
    if lower <= 0:
        raise InputError(f"interval must be positive; its lower end is {lower:.6g}.")
    m = checked_degree(degree) + 1
    center, slope = (upper + lower) / (upper - lower), 2.0 / (upper - lower)
    return residual_to_solution(
        *_normalized_residuals(1, center, slope, m),
        (lower, upper),
        f"Chebyshev inverse on [{lower:.3g}, {upper:.3g}]",
    )


def fourth_kind_inverse(upper: float, degree: int, *, optimal: bool = True) -> Recurrence:
    """Return the fourth-kind Chebyshev polynomial q for ``z^-1`` on ``(0, upper]``.

    Needs no lower end. ``optimal=True`` minimizes ``max z r(z)^2 / (1 - r(z)^2)``, r = 1 - z q.

    Parameters
    ----------
    upper : float
        Safe upper bound of the spectrum.
    degree : int
        Degree of q.
    optimal : bool
        Lottes' optimal weights, else the plain fourth kind.

    Returns
    -------
    Recurrence
        Positive on ``(0, upper]``.

    Raises
    ------
    InputError
        If ``upper`` is not positive.

    Notes
    -----
    With m = d + 1 the maximum above is ``upper * tan(pi / (4m + 2))**2``. Peers tabulate the
    optimal weights up to degree 16; the closed form in this module's header holds for any degree.

    References
    ----------
    .. [1] Lottes, Optimal polynomial smoothers for multigrid V-cycles, 2023, sections 4 and 5.
    """
    if not (math.isfinite(upper) and upper > 0):
        raise InputError(f"upper must be positive and finite; got {upper!r}.")
    m = checked_degree(degree) + 1
    shift = math.tan(math.pi / (4 * m + 2)) ** 2 if optimal else 0.0
    slope = 2.0 / ((1.0 + shift) * upper)
    center = (1.0 - shift) / (1.0 + shift)
    return residual_to_solution(
        *_normalized_residuals(4, center, slope, m),
        (0.0, float(upper)),
        f"{'optimal ' if optimal else ''}4th-kind inverse on (0, {upper:.3g}]",
    )
