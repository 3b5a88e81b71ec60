"""Conjugate directions of many shifted systems from one Lanczos vector, and their sums.

Directions are stored in strips of ROWS rows, all of a strip together: ``D[s, j]`` is contiguous,
so that one pass over the Lanczos vector and over D updates all of them, without reductions.
"""

from __future__ import annotations

import numpy as np
from numpy import uintp

from spectool._types import Array, FloatArray
from spectool.kernels.compilation import kernel
from spectool.kernels.team import share

ROWS = 256
"""Rows of a strip: it stays in the innermost cache, with what is added to."""


def empty_directions(n: int, width: int, dtype: np.dtype[np.floating]) -> Array:
    """Return ``width`` zero directions of n values, shape (n_strips, width, ROWS)."""
    return np.zeros((max(-(-n // ROWS), 1), width, ROWS), dtype=dtype)


def kept_directions(D: Array, columns: Array) -> Array:
    """Return the directions ``columns``, ascending numbers, in the same memory."""
    n_strips, kept = D.shape[0], columns.size
    flat = D.reshape(-1)
    smaller = flat[: n_strips * kept * ROWS].reshape(n_strips, kept, ROWS)
    for s in range(n_strips):  # never ahead of what is read
        smaller[s] = D[s, columns]
    return smaller


@kernel
def _update(
    v: Array,
    real: int,
    rates: Array,
    turns: Array,
    weights: Array,
    D: Array,
    Y: Array,
    first: int,
    last: int,
) -> None:
    """Do so for strips [first, last)."""
    n, pairs = v.size, turns.size
    for s in range(first, last):
        start = uintp(s * ROWS)
        count = uintp(min(ROWS, n - s * ROWS))
        for j in range(real):
            d, rate = D[s, j], rates[j]
            for i in range(count):
                d[i] = v[start + i] - rate * d[i]
        for j in range(pairs):
            e, f = D[s, real + j], D[s, real + pairs + j]
            rate, turn = rates[real + j], turns[j]
            for i in range(count):
                old = e[i]
                e[i] = v[start + i] - rate * old + turn * f[i]
                f[i] = -rate * f[i] - turn * old
        for t in range(Y.shape[0]):
            y = Y[t]
            for j in range(D.shape[1]):
                d, weight = D[s, j], weights[t, j]
                for i in range(count):
                    y[start + i] += weight * d[i]


def update(v: Array, rates: Array, weights: FloatArray, D: Array, Y: Array) -> None:
    """Do ``d_q <- v - rates[q] d_q`` for all q, then ``Y[t] <- Y[t] + sum_j weights[t, j] D_j``.

    Parameters
    ----------
    v : ndarray, shape (n,)
        Real, contiguous.
    rates : ndarray, shape (h,)
        Complex; those whose direction is real come first, and have imaginary part 0.
    weights : ndarray, shape (T, width)
        In units of the stored directions: the real ones, then the real parts and then the imaginary
        parts of the others.
    D : ndarray, shape (n_strips, width, ROWS)
        Directions, v's dtype.
    Y : ndarray, shape (T, n)
        Sums, v's dtype.

    Notes
    -----
    One pass: reads n (width + 1 + T) values, writes n (width + T). No reduction.
    """
    pairs = D.shape[1] - rates.size
    real = rates.size - pairs
    numbers = (rates.real, rates.imag[real:], weights)
    kinds = [np.ascontiguousarray(values, dtype=v.dtype) for values in numbers]

    def strips(first: int, last: int) -> None:
        _update(v, real, kinds[0], kinds[1], kinds[2], D, Y, first, last)

    share(2 * D.size, len(D), strips)


@kernel
def first_columns(
    alpha: FloatArray,
    beta: FloatArray,
    poles: Array,
    residues: Array,
    partners: Array,
    scratch: Array,
    out: Array,
) -> None:
    """Add ``sum_q residues[t, q] z_q + partners[t, q] conj(z_q)`` to out, z_q = (T - p_q)^-1 e_1.

    Parameters
    ----------
    alpha, beta : ndarray, shape (k,) and (k - 1,) or more
        Diagonal and off-diagonal of T.
    poles : ndarray, shape (h,)
        Complex; none is an eigenvalue of T or of a leading block.
    residues, partners : ndarray, shape (T, h)
        Complex.
    scratch : ndarray, shape (2, k)
        Complex.
    out : ndarray, shape (T, k)
        Complex.

    Notes
    -----
    ``T - p = L D L^T``, without pivoting. Cost: one division and about 8 products per pole and row.
    """
    k = alpha.size
    rates, z = scratch[0], scratch[1]
    for q in range(poles.size):
        pivot = alpha[0] - poles[q]
        w = pivot * 0 + 1.0
        z[0] = w / pivot
        for j in range(1, k):
            rates[j] = beta[j - 1] / pivot
            pivot = alpha[j] - poles[q] - beta[j - 1] * rates[j]
            w = -rates[j] * w
            z[j] = w / pivot
        for j in range(k - 2, -1, -1):
            z[j] -= rates[j + 1] * z[j + 1]
        for t in range(out.shape[0]):
            residue, partner = residues[t, q], partners[t, q]
            for j in range(k):
                out[t, j] += residue * z[j] + partner * np.conj(z[j])
