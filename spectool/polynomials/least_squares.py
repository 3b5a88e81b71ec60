"""Least squares designs: the polynomial that fits the eigenvalues where they are.

Source
    Johnson, Micchelli and Paul, Polynomial preconditioners for conjugate gradient calculations,
    SIAM J. Numer. Anal. 20 (1983); Gautschi, Orthogonal Polynomials, Oxford 2004, section 2.2.3
    (Lanczos-type algorithm for a discrete measure).
Deviations
    The measure is discrete, any sample of a density, and z may have both signs: the weight z^2 of
    the inverse makes a measure of the normal equations either way. Reorthogonalized throughout.
Cost
    O(m d^2) for m nodes and degree d, no products with A.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.errors import InputError
from spectool.polynomials.chebyshev import checked_degree
from spectool.polynomials.measure import from_measure
from spectool.polynomials.nodes import checked_interval
from spectool.polynomials.recurrence import Recurrence

EXHAUSTED = 1e-13
"""A new basis vector this short, relative to the spread of the nodes, is rounding."""
NOISE = 1e-14
"""So is a coefficient this small, relative to all."""
DRIFT = 1e-8
"""Most that the recurrence may drift from the reorthogonalized polynomials at the nodes."""


def least_squares_inverse(nodes: Any, weights: Any, interval: Interval, degree: int) -> Recurrence:
    """Return the q of degree d that minimizes ``sum_i weights[i] (1 - z_i q(z_i))^2``.

    Sampled from a spectral density the measure counts each eigenvalue once, and the few smallest
    are left to CG; weights ``nodes**-0.5`` raise their share.

    Parameters
    ----------
    nodes : array_like, shape (m,)
        Points z_i, hundreds for a smooth density; of both signs for an indefinite operator.
    weights : array_like, shape (m,)
        Nonnegative, not all zero.
    interval : tuple of float
        Safe bounds of the spectrum.
    degree : int
        Degree of q, at most. It is lower where the nodes carry no more: fewer than d + 1 distinct
        ones, which q interpolates, or isolated ones, between which q would explode.

    Returns
    -------
    Recurrence
        A series in polynomials orthogonal in the measure ``weights * nodes**2``.

    Raises
    ------
    InputError
        If nodes or weights are not finite, of unlike length, zero, negative (weights), or outside
        the interval (nodes).

    Notes
    -----
    Nothing keeps q positive, or moderate, where there are no nodes: ask ``certified_minimum``.
    Where it matters add nodes, Chebyshev points of the interval with 1% of the weight, say.

    References
    ----------
    .. [1] Johnson, Micchelli and Paul, Polynomial preconditioners for conjugate gradient
       calculations, SIAM J. Numer. Anal. 20 (1983).

    Examples
    --------
    >>> q = least_squares_inverse([1.0, 2.0, 4.0], [1.0, 1.0, 1.0], (1.0, 4.0), 2)
    >>> [round(z * q(z), 12) for z in (1.0, 2.0, 4.0)]
    [1.0, 1.0, 1.0]
    """
    lower, upper = checked_interval(interval)
    d = checked_degree(degree)
    z, mu = _checked_measure(nodes, weights, (lower, upper))
    kept = (z != 0) & (mu > 0)  # 1 - z q(z) = 1 at zero whatever q is
    z, mu = z[kept], mu[kept]
    if z.size == 0:
        raise InputError("nodes need a nonzero one of positive weight.")
    series = _orthogonal_fit(z, mu * (z / np.abs(z).max()) ** 2, 1.0 / z, d)
    name = f"least squares inverse on [{lower:.3g}, {upper:.3g}]"
    return from_measure(*series, (lower, upper), name=name)


def _checked_measure(nodes: Any, weights: Any, interval: Interval) -> tuple[FloatArray, FloatArray]:
    pair: list[Array] = []
    for name, values in (("nodes", nodes), ("weights", weights)):
        raw = np.atleast_1d(np.asarray(values))
        if raw.dtype.kind not in "biuf" or raw.ndim != 1 or not np.isfinite(raw).all():
            raise InputError(
                f"{name} must be a vector of finite real numbers; got {raw.dtype} {raw.shape}."
            )
        pair.append(raw.astype(np.float64))
    z, mu = pair
    if z.size != mu.size:
        raise InputError(f"nodes and weights need one length; got {z.size} and {mu.size}.")
    if z.size == 0 or (mu < 0).any() or not mu.any():
        raise InputError("weights must be nonnegative and not all zero.")
    lower, upper = interval
    if z.min() < lower or z.max() > upper:
        raise InputError(
            f"nodes must lie in the interval [{lower:.6g}, {upper:.6g}]; they span "
            f"[{z.min():.6g}, {z.max():.6g}]. Widen the interval."
        )
    return z, mu


def _orthogonal_fit(
    nodes: FloatArray, weights: FloatArray, values: FloatArray, degree: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return alpha, beta and coefficients of the p minimizing ``sum weights (values - p)^2``.

    p is a series in the orthonormal polynomials of the measure, found by Lanczos on
    ``diag(nodes)``.
    """
    root = np.sqrt(weights / weights.max())
    mass = float(np.linalg.norm(root))
    scale = float(np.ptp(nodes)) or 1.0
    basis = np.zeros((nodes.size, degree + 1))
    basis[:, 0] = root / mass
    alpha, beta = np.zeros(degree), np.zeros(degree)
    found = degree
    plain, earlier = basis[:, 0], np.zeros(nodes.size)
    for k in range(degree):
        v = nodes * basis[:, k]
        alpha[k] = basis[:, k] @ v
        for _ in range(2):
            v -= basis[:, : k + 1] @ (basis[:, : k + 1].T @ v)
        beta[k] = np.linalg.norm(v)
        if k + 1 >= nodes.size or beta[k] <= EXHAUSTED * scale:
            found = k
            break
        basis[:, k + 1] = v / beta[k]
        # What is executed is the recurrence. At nodes as isolated as a converged Ritz value it
        # explodes, and between such nodes p would: they carry no higher degree.
        back = beta[k - 1] * earlier if k else 0.0
        plain, earlier = ((nodes - alpha[k]) * plain - back) / beta[k], plain
        if np.linalg.norm(plain - basis[:, k + 1]) > DRIFT:
            found = k
            break
    coefficients = basis[:, : found + 1].T @ (root * values)
    # Trailing coefficients that are rounding would dominate p far from the nodes.
    large = np.abs(coefficients) > NOISE * np.linalg.norm(coefficients)
    kept = int(np.flatnonzero(large).max(initial=0))
    return alpha[:kept], beta[:kept], coefficients[: kept + 1] / mass
