"""Rational approximation from samples on an interval: AAA, the poles, and residues to fit them.

Source
    Nakatsukasa, Sete and Trefethen, The AAA algorithm for rational approximation, SISC 40 (2018).
Deviations
    (1) Errors may be weighted, and the Loewner matrix scaled from both sides: with
    ``(z_i z_j)^(1/2)`` it depends on ratios of samples only, and serves intervals [1e-16, 1]. (2)
    Poles are polished by Newton's method or, where they are known to be negative, bisected. (3)
    Residues are fitted by least squares.
Cost
    A singular value decomposition of samples x q values for each of the q poles: 1 to 100 ms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigvals

from spectool._types import Array, FloatArray, Interval

MAX_POLES = 80
"""More are not sought: vectors would be held for each."""
PATIENCE = 12
"""Poles that are added without gain, once the function's shape is found, before giving up."""
RESOLVED = 1e-3
"""Error from which it is."""
BISECTIONS = 52
NEAREST = 1e-12
"""Distance from the interval from which a pole is believed, over its modulus or, on the axis, the
interval's: there an eigenvalue might hit it by rounding."""
_EPS = float(np.finfo(np.float64).eps)


class Barycentric(NamedTuple):
    """A denominator ``sum_j weights[j] / (x - support[j])``.

    Attributes
    ----------
    support : ndarray, shape (m,)
        Samples at which the approximation interpolates.
    weights : ndarray, shape (m,)
        Real if the function is.
    """

    support: FloatArray
    weights: Array

    def poles(self, interval: Interval) -> Array:
        """Return its zeros, complex, shape (q,), but for those on the interval or next to it.

        Of real functions only the upper half plane and the axis.
        """
        support, c = self
        m = support.size
        if m < 2:
            return np.zeros(0, dtype=np.complex128)
        B = np.eye(m + 1)
        B[0, 0] = 0.0
        E = np.zeros((m + 1, m + 1), dtype=c.dtype)
        E[0, 1:], E[1:, 0] = c, 1.0
        E[1:, 1:] = np.diag(support)
        with np.errstate(all="ignore"):
            poles = np.asarray(eigvals(E, B), dtype=np.complex128)
            poles = poles[np.isfinite(poles) & (np.abs(poles) < 1e8)]
            for _ in range(4):  # the pencil's rounding is relative to the whole interval
                terms = 1.0 / (poles[:, None] - support)
                step = (terms @ c) / ((terms**2) @ c)
                small = np.abs(step) < 1e-3 / np.abs(terms).max(axis=1, initial=1e-300)
                poles = poles + np.where(np.isfinite(step) & small, step, 0.0)
        axis = np.abs(poles.imag) <= 1e-13 * np.abs(poles)
        if c.dtype.kind != "c":
            poles = np.concatenate([poles[axis].real + 0j, poles[~axis & (poles.imag > 0)]])
        distance = np.abs(poles - np.clip(poles.real, *interval))
        size = np.where(poles.imag == 0, max(abs(interval[0]), abs(interval[1])), np.abs(poles))
        return np.asarray(poles[distance > NEAREST * size])

    def negative_poles(self) -> FloatArray:
        """Return the negative zeros, shape (q,), to the last digit; the support is positive."""
        support, c = self
        low, high = 1e-9 * support.min(), 1e9 * support.max()
        x = np.geomspace(low, high, int(200 * np.log10(high / low)))

        def sign(x: FloatArray) -> FloatArray:
            return np.asarray(np.sign((c / (x[:, None] + support)).sum(axis=1)))

        signs = sign(x)
        k = np.flatnonzero(signs[:-1] != signs[1:])
        left, right = np.log(x[k]), np.log(x[k + 1])
        for _ in range(BISECTIONS):
            middle = 0.5 * (left + right)
            same = sign(np.exp(middle)) == signs[k]
            left, right = np.where(same, middle, left), np.where(same, right, middle)
        return np.asarray(-np.exp(0.5 * (left + right)))


def aaa(
    x: FloatArray, f: Array, tolerance: float, *, weights: FloatArray, scales: FloatArray
) -> Barycentric:
    """Return the denominator of an approximation of f to within ``tolerance weights``.

    Parameters
    ----------
    x, f : ndarray, shape (n,)
        Samples; distinct.
    tolerance : float
        Wanted ``max |f - r| / weights``. If it is not met, the best that was seen is returned.
    weights, scales : ndarray, shape (n,)
        Positive: what errors are relative to, and what the Loewner matrix is multiplied by.
    """
    left = np.ones(x.size, dtype=bool)
    support: list[int] = []
    r, c, least, since = np.full(x.size, f.mean()), np.ones(1, dtype=f.dtype), np.inf, 0
    best = Barycentric(x[:1], c)
    for _ in range(min(MAX_POLES, x.size // 2) + 2):
        error = np.where(left, np.abs(f - r) / weights, 0.0)
        worst, since = int(error.argmax()), since + 1
        if support and error[worst] < least:
            least, since = float(error[worst]), 0
            best = Barycentric(x[support], c * scales[support])
        if least <= tolerance or (since > PATIENCE and least < RESOLVED):
            break
        support.append(worst)
        left[worst] = False
        rows = scales[left, None] * scales[support] / (x[left, None] - x[support])
        loewner = (f[left, None] - f[support]) * rows / weights[left, None]
        c = np.linalg.svd(loewner, full_matrices=False)[2][-1].conj()
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = (rows @ (c * f[support])) / (rows @ c)
        r = f.copy()
        r[left] = np.where(np.isfinite(quotient), quotient, f.mean())
    return best


class Fit(NamedTuple):
    """``constant + sum_q residues[q] / (x - poles[q])``; conjugate poles are neighbors."""

    constant: complex
    poles: Array
    residues: Array


def fitted(x: FloatArray, f: Array, poles: Array, weights: FloatArray) -> Fit:
    """Fit a constant and residues to samples of f, by least squares of errors over weights.

    Of real functions ``poles`` hold the upper half plane and the axis.
    """
    terms, one = 1.0 / (x[:, None] - poles), np.ones((x.size, 1))
    if f.dtype.kind == "c":
        c = _least_squares(np.concatenate([one, terms], axis=1), f, weights)
        return Fit(complex(c[0]), poles, c[1:])
    pair = poles.imag != 0
    single, upper = poles[~pair], poles[pair]
    # 2 Re((a + i b) / (x - p)) = 2 a Re(1 / (x - p)) - 2 b Im(1 / (x - p))
    columns = [one, terms[:, ~pair].real, 2 * terms[:, pair].real, -2 * terms[:, pair].imag]
    c = _least_squares(np.concatenate(columns, axis=1), f, weights)
    constant, real, a, b = np.split(c, np.cumsum([1, single.size, upper.size]))
    residues = a + 1j * b
    return Fit(
        float(constant[0]),
        np.concatenate([single, np.stack([upper, upper.conj()], axis=1).ravel()]),
        np.concatenate([real + 0j, np.stack([residues, residues.conj()], axis=1).ravel()]),
    )


def without_doublets(x: FloatArray, f: Array, fit: Fit, tolerance: float) -> Fit:
    """Return a fit without poles that never contribute more than the tolerance.

    Numerical noise leaves such poles next to the interval, where an eigenvalue might lie.
    """
    nearest = np.abs(fit.poles - np.clip(fit.poles.real, x[0], x[-1]))
    small = np.abs(fit.residues) <= tolerance * nearest
    if not small.any():
        return fit
    kept = fit.poles[~small]
    if f.dtype.kind != "c":
        kept = kept[kept.imag >= 0]
    return fitted(x, f, kept, np.ones_like(x))


def _least_squares(columns: Array, values: Array, weights: FloatArray) -> Array:
    columns = columns / weights[:, None]
    sizes = np.abs(columns).max(axis=0)
    return np.asarray(np.linalg.lstsq(columns / sizes, values / weights, rcond=_EPS)[0] / sizes)
