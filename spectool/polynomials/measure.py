"""Orthogonal polynomials of a Lanczos measure as a recurrence.

Source
    Gautschi, Orthogonal Polynomials: Computation and Approximation, Oxford 2004, section 2.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spectool._types import Interval
from spectool.errors import InputError
from spectool.polynomials.recurrence import Recurrence


def from_measure(
    alpha: Any,
    beta: Any,
    weights: Any,
    interval: Interval,
    *,
    name: str = "orthogonal series of a Lanczos measure",
) -> Recurrence:
    """Return ``sum_k weights[k] p_k`` for the orthonormal polynomials of a Jacobi matrix.

    ``beta[k] p_{k+1} = (z - alpha[k]) p_k - beta[k-1] p_{k-1}``, ``p_0 = 1``.

    Parameters
    ----------
    alpha : array_like, shape (d,)
        Diagonal of the Jacobi matrix that Lanczos builds; unit of A.
    beta : array_like, shape (d,)
        Its off-diagonal, all positive; ``beta[d - 1]`` is the last residual norm.
    weights : array_like, shape (d + 1,)
        Expansion coefficients.
    interval : tuple of float
        Where the series is to be used.

    Returns
    -------
    Recurrence
        Of degree d.

    Raises
    ------
    InputError
        If lengths disagree or a beta is not positive.

    Notes
    -----
    The polynomials of a *discrete* measure grow without bound between its nodes, and where
    nodes are isolated the recurrence drifts even at the nodes: `least_squares_inverse` stops
    before that; a Chebyshev series of the same function has neither problem.

    Examples
    --------
    >>> p = from_measure([0.0, 0.0], [0.5**0.5, 0.5], [0.0, 0.0, 0.5**0.5], (-1.0, 1.0))
    >>> round(p(0.5), 12)  # the Chebyshev measure: T_2(0.5)
    -0.5
    """
    diagonal = np.atleast_1d(np.asarray(alpha, dtype=np.float64))
    off = np.atleast_1d(np.asarray(beta, dtype=np.float64))
    if diagonal.shape != off.shape or diagonal.ndim != 1:
        raise InputError(
            f"alpha and beta need one common length; got {diagonal.shape} and {off.shape}."
        )
    if not (off > 0).all():
        raise InputError(f"beta must be positive; the smallest is {off.min():.3g}.")
    earlier = np.concatenate([[0.0], off[:-1]])[: off.size]
    return Recurrence(1.0 / off, -diagonal / off, -earlier / off, weights, interval, name)
