"""Definite designs: symmetric split preconditioners, and positive ones for indefinite operators.

Source
    Frommer, Ramirez-Hidalgo, Schweitzer and Tsolakis, Polynomial preconditioning for the action of
    the matrix square root and inverse square root, arXiv:2401.06684, for ``q ~ z^-1/2``;
    Vecharynski and Knyazev, Absolute value preconditioning for symmetric indefinite linear systems,
    SIAM J. Sci. Comput. 35 (2013), for ``p ~ 1 / |z|``.
Deviations
    Both are minimax in the relative error.
Cost
    That of ``minimax``; no products with A.
"""

from __future__ import annotations

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.errors import InputError
from spectool.polynomials.minimax import minimax
from spectool.polynomials.nodes import checked_interval
from spectool.polynomials.recurrence import Recurrence
from spectool.polynomials.unions import described


def inverse_square_root(interval: Interval, degree: int) -> tuple[Recurrence, float]:
    """Return the q of degree d that minimizes ``max |1 - z^1/2 q(z)|`` on an interval.

    ``S = q(A)`` splits symmetrically: ``S A S`` has the eigenvalues ``z q(z)^2``, and ``q * q``, of
    degree 2d, is positive semidefinite wherever the spectrum lies.

    Parameters
    ----------
    interval : tuple of float
        ``(lower, upper)`` with ``0 < lower < upper``.
    degree : int
        Degree of q.

    Returns
    -------
    recurrence : Recurrence
        Positive on ``[0, upper]``; if its degree is even above ``upper`` too.
    error : float
        The maximum: the eigenvalues of S A S lie in ``[(1 - error)^2, (1 + error)^2]``.

    Raises
    ------
    InputError
        If lower is not positive.

    Notes
    -----
    The error decays like ``((sqrt(k) - 1) / (sqrt(k) + 1))^d``, k = upper / lower: per matvec half
    as fast as that of ``chebyshev_inverse``, the price of the split.

    Examples
    --------
    >>> q, error = inverse_square_root((1.0, 4.0), 3)
    >>> abs(1 - 2.5 * (q * q)(2.5)) <= (1 + error) ** 2 - 1
    True
    """
    lower, upper = checked_interval(interval)
    if lower <= 0:
        raise InputError(f"interval must be positive; its lower end is {lower:.6g}.")
    where = [(lower, upper)]
    return minimax(
        _inverse_root, where, degree, name=f"minimax inverse square root on {described(where)}"
    )


def absolute_inverse(
    negative: Interval, positive: Interval, degree: int
) -> tuple[Recurrence, float]:
    """Return the p of degree d that minimizes ``max |1 - |z| p(z)|`` on both sides of zero.

    ``M = p(A)`` is positive definite, and MINRES on M A sees two clusters, around -1 and 1.

    Parameters
    ----------
    negative, positive : tuple of float
        ``(lower, upper)`` with ``upper < 0`` and ``lower > 0`` respectively.
    degree : int
        Degree of p.

    Returns
    -------
    recurrence : Recurrence
        Positive on the hull of the intervals, also in the gap around zero.
    error : float
        The radius of both clusters.

    Raises
    ------
    InputError
        If an interval touches zero or lies on the wrong side of it.

    Notes
    -----
    Why p is positive: it is on the intervals, as error < 1. In the gap count the critical points
    of ``h = z p``, at most d. Of the d + 2 points where the error equioscillates all but those at
    interval ends are critical. If all four ends are among them, two critical points are left; the
    gap takes an odd number of them, since the extrema at its ends bind h' to opposite signs; so
    one, and h, negative left of the gap and positive right of it, has no zero there but z = 0.
    Each end that is not among them costs the gap a critical point, with the same conclusion.

    For intervals that mirror each other p is a polynomial in z^2; an odd d gains nothing. Where one
    interval is much narrower than the other its cluster still gets the common radius, and MINRES
    may need more iterations than with a lower degree.

    References
    ----------
    .. [1] Vecharynski and Knyazev, 2013, section 2.

    Examples
    --------
    >>> p, error = absolute_inverse((-3.0, -1.0), (1.0, 2.0), 6)
    >>> p(0.0) > 0, abs(1 - 1.5 * p(1.5)) <= error, abs(1 - 2.5 * p(-2.5)) <= error
    (True, True, True)
    """
    below, above = checked_interval(negative), checked_interval(positive)
    if below[1] >= 0 or above[0] <= 0:
        raise InputError(
            "negative and positive must lie on their sides of zero; got "
            f"{described([below])} and {described([above])}."
        )
    where = [below, above]
    return minimax(
        _absolute_reciprocal, where, degree, name=f"absolute inverse on {described(where)}"
    )


def _inverse_root(z: FloatArray) -> Array:
    return 1.0 / np.sqrt(z)


def _absolute_reciprocal(z: FloatArray) -> Array:
    return 1.0 / np.abs(z)
