"""Polynomials in product form: residual polynomials from their roots, in a stable order.

Source
    Reichel, Newton interpolation at Leja points, BIT 30 (1990), for the order; Loe and Morgan,
    Toward efficient polynomial preconditioning for GMRES, Numer. Linear Algebra Appl. 29 (2022),
    for the product form in real arithmetic and the roots added for stability.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.errors import InputError
from spectool.polynomials.recurrence import Recurrence


def leja_order(roots: Any) -> Array:
    """Return ``roots`` in Leja order, a conjugate pair kept together (positive part first).

    Each root maximizes the product of its distances to those before it; sums of logarithms
    stand in for the product, so that degree 1000 neither over- nor underflows.

    Parameters
    ----------
    roots : array_like, shape (d,)
        Real, or complex in conjugate pairs.

    Returns
    -------
    ndarray, shape (d,)
        The same numbers, reordered; real if all are real.

    Raises
    ------
    InputError
        If a root is not finite or a complex one lacks its conjugate.

    References
    ----------
    .. [1] Bai, Hu and Reichel, A Newton basis GMRES implementation, 1994, for pairs.
    """
    z = np.atleast_1d(np.asarray(roots, dtype=np.complex128))
    if not np.isfinite(z).all():
        raise InputError("roots must be finite.")
    scale = float(np.abs(z).max(initial=0.0))
    real = np.abs(z.imag) <= 1e-14 * scale
    above = z[~real & (z.imag > 0)]
    below = z[~real & (z.imag < 0)]
    if above.size != below.size or not np.allclose(
        np.sort_complex(above), np.sort_complex(below.conj()), rtol=1e-10, atol=1e-14 * scale
    ):
        raise InputError("complex roots must come in conjugate pairs; add the missing conjugates.")
    pool = np.concatenate([z[real].real.astype(complex), above])
    if pool.size == 0:
        return np.empty(0)
    score = np.log(np.maximum(np.abs(pool), 1e-300))  # start with the largest modulus
    ordered: list[complex] = []
    distance = np.zeros(pool.size)
    free = np.ones(pool.size, dtype=bool)
    while free.any():
        best = int(np.argmax(np.where(free, score, -np.inf)))
        free[best] = False
        chosen = [pool[best]] if pool[best].imag == 0 else [pool[best], pool[best].conj()]
        ordered += chosen
        for root in chosen:
            # Rounding lets a factor reduce its root's component by 1e-16, not to 0: a copy is due
            # once the other factors have undone half of that.
            apart = np.maximum(np.abs(pool - root), 1e-8 * np.abs(root))
            distance += np.log(np.maximum(apart, 1e-300))
        score = distance
    result = np.array(ordered)
    return result.real if not result.imag.any() else result


def added_roots(roots: Any, *, digits: float = 14.0) -> Array:
    """Return ``roots`` with copies of those at which the product form is unstable.

    At the j-th root the other factors multiply to ``pof_j = prod_i |1 - roots[j] / roots[i]|``.
    Where that exceeds ``10^(2 digits / 7)`` (10^4 in double precision), rounding in the j-th factor
    is no longer annihilated; the root is repeated, once per ``digits`` decades of excess.

    Parameters
    ----------
    roots : array_like, shape (d,)
        Nonzero; real, or complex in conjugate pairs.
    digits : float
        Decimal digits that one factor annihilates: 14 in double precision, 5 in single.

    Returns
    -------
    ndarray, shape (d + added,)
        In Leja order.

    Raises
    ------
    InputError
        If a root is zero, not finite, or lacks its conjugate.

    Notes
    -----
    Costs no matvec here, one per copy in each application.

    References
    ----------
    .. [1] Loe and Morgan, Toward efficient polynomial preconditioning for GMRES, Numer. Linear
       Algebra Appl. 29 (2022), Algorithm 2.

    Examples
    --------
    >>> added_roots([1.0, 2.0, 1e6])  # an outlier: |1 - 1e6| |1 - 5e5| exceeds 1e4
    array([1.e+06, 1.e+00, 2.e+00, 1.e+06])
    """
    z = _checked(roots)
    # Equal roots are copies already; they must not hide that the others need one.
    distance = np.abs(z[:, None] - z[None, :])
    apart = np.where(distance > 0, distance, np.abs(z))
    pof = np.log10(apart / np.abs(z)).sum(axis=1)
    copies = np.ceil(np.maximum(pof - 2.0 * digits / 7.0, 0.0) / digits).astype(int)
    # Both of a pair get the same count, whatever rounding says.
    above = np.flatnonzero(z.imag > 0)
    copies[above + 1] = copies[above]
    return leja_order(np.repeat(z, copies + 1))


def from_roots(roots: Any, interval: Interval, *, name: str = "product of roots") -> Recurrence:
    """Return ``r(z) = prod_j (1 - z / roots[j])``, executed root by root in Leja order.

    A conjugate pair takes two steps in real arithmetic.

    Parameters
    ----------
    roots : array_like, shape (d,)
        Nonzero; real, or complex in conjugate pairs.
    interval : tuple of float
        Where r is to be used.

    Returns
    -------
    Recurrence
        Of degree d, with ``r(0) = 1``.

    Raises
    ------
    InputError
        If a root is zero, not finite, or lacks its conjugate.

    Examples
    --------
    >>> r = from_roots([1.0, 2.0, 1 + 1j, 1 - 1j], (0.0, 2.0))
    >>> r(0.0), abs(r(1.0)) < 1e-15, abs(r(1 + 1j)) < 1e-15
    (1.0, True, True)
    """
    a, b, c = _steps(_checked(roots))
    w = np.zeros(a.size + 1)
    w[-1] = 1.0
    return Recurrence(a, b, c, w, interval, name)


def inverse_from_roots(
    roots: Any, interval: Interval, *, name: str = "GMRES-type polynomial"
) -> Recurrence:
    """Return q of degree d - 1 with ``1 - z q(z) = prod_j (1 - z / roots[j])``.

    Parameters
    ----------
    roots : array_like, shape (d,)
        Harmonic Ritz values, say; nonzero, complex ones in conjugate pairs.
    interval : tuple of float
        Where q is to be used.

    Returns
    -------
    Recurrence
        Approximates ``z^-1``.
    """
    z = _checked(roots)
    if z.size == 0:
        raise InputError("roots must not be empty.")
    a, b, c = _steps(z)
    # q collects r_k / theta_k; a pair contributes (2 Re theta - A) r_k / |theta|^2, which is the
    # vector its first step forms anyway.
    w = np.zeros(z.size)
    k = 0
    while k < z.size:
        if z[k].imag == 0:
            w[k] += 1.0 / z[k].real
            k += 1
        else:
            w[k + 1] += 1.0 / abs(z[k]) ** 2
            k += 2
    d = z.size - 1
    return Recurrence(a[:d], b[:d], c[:d], w, interval, name)


def _checked(roots: Any) -> Array:
    z = np.asarray(leja_order(roots), dtype=np.complex128)
    if np.any(z == 0):
        raise InputError("roots must be nonzero: a factor 1 - z / 0 does not exist.")
    return z


def _steps(z: Array) -> tuple[FloatArray, FloatArray, FloatArray]:
    a, b, c = (np.zeros(z.size) for _ in range(3))
    k = 0
    while k < z.size:
        theta = z[k]
        if theta.imag == 0:
            a[k], b[k] = -1.0 / theta.real, 1.0
            k += 1
        else:
            a[k], b[k] = -1.0, 2.0 * theta.real
            a[k + 1], c[k + 1] = -1.0 / abs(theta) ** 2, 1.0
            k += 2
    return a, b, c
