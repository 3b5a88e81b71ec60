"""Directions of shifted systems equal NumPy's recurrences, and their sums dense solves."""

import numpy as np
import pytest

from spectool.kernels.shifted import (
    ROWS,
    empty_directions,
    first_columns,
    kept_directions,
    update,
)

EPS = np.finfo(float).eps


def directions_of(D, n):
    """Columns (width, n) of directions stored in strips."""
    return D.transpose(1, 0, 2).reshape(D.shape[1], len(D) * ROWS)[:, :n]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, ROWS, 597, 3 * ROWS + 1])
@pytest.mark.parametrize(("real", "pairs"), [(3, 2), (5, 0), (0, 1), (0, 0)])
def test_update_equals_complex_recurrences(n, dtype, real, pairs, rng):
    width, T = real + 2 * pairs, 3
    D = empty_directions(n, width, np.dtype(dtype))
    Y = np.zeros((T, n), dtype=dtype)
    d, y = np.zeros((real + pairs, n), dtype=complex), np.zeros((T, n))
    for _ in range(4):
        v = rng.standard_normal(n).astype(dtype)
        rates = rng.uniform(-0.7, 0.7, real + pairs) + 1j * rng.uniform(-0.5, 0.5, real + pairs)
        rates.imag[:real] = 0.0
        weights = rng.standard_normal((T, width))
        update(v, rates, weights, D, Y)
        d = v - rates[:, None] * d
        y += weights @ np.concatenate([d[:real].real, d[real:].real, d[real:].imag])
    expected = np.concatenate([d[:real].real, d[real:].real, d[real:].imag])
    # A few roundings of sums of about 10 values of size 3.
    atol = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(directions_of(D, n), expected, rtol=0, atol=atol)
    np.testing.assert_allclose(Y, y, rtol=0, atol=4 * atol)


def test_threads_do_not_change_bits(rng):
    n = 60_000  # work above the threshold of sharing
    D = empty_directions(n, 10, np.dtype(float))
    rates, weights = np.linspace(-0.5, 0.5, 10) + 0j, rng.standard_normal((1, 10))
    v, Y = rng.standard_normal(n), np.zeros((1, n))
    update(v, rates, weights, D, Y)
    update(v, rates, weights, D, Y)
    for part in (slice(0, 7 * ROWS), slice(7 * ROWS, n)):
        few = v[part]
        E, Z = empty_directions(few.size, 10, np.dtype(float)), np.zeros((1, few.size))
        update(few, rates, weights, E, Z)
        update(few, rates, weights, E, Z)
        assert (Y[:, part] == Z).all()


def test_leaving_keeps_the_others_in_the_same_memory(rng):
    n = 2 * ROWS + 5
    D = empty_directions(n, 6, np.dtype(float))
    update(rng.standard_normal(n), np.zeros(6) + 0j, np.zeros((1, 6)), D, np.zeros((1, n)))
    D *= np.arange(1.0, 7.0)[:, None]
    before = directions_of(D, n).copy()
    fewer = kept_directions(D, np.array([0, 3, 5]))
    assert np.shares_memory(fewer, D)
    np.testing.assert_array_equal(directions_of(fewer, n), before[[0, 3, 5]])
    assert kept_directions(fewer, np.arange(0)).shape == (3, 0, ROWS)


def test_nan_shows(rng):
    n = 597
    v = rng.standard_normal(n)
    v[300] = np.nan
    D, Y = empty_directions(n, 2, np.dtype(float)), np.zeros((1, n))
    update(v, np.zeros(2) + 0j, np.ones((1, 2)), D, Y)
    assert np.isnan(Y[0, 300])
    assert np.isfinite(np.delete(Y[0], 300)).all()


@pytest.mark.parametrize("k", [1, 2, 40])
def test_first_columns_equal_dense_solves(k, rng):
    alpha, beta = 2.5 + rng.random(k), 0.2 + rng.random(k)
    poles = np.array([-0.3, 1.0 + 0.4j, 9.0, 2.0 - 1e-2j])
    residues = rng.standard_normal((2, 4)) + 1j * rng.standard_normal((2, 4))
    partners = rng.standard_normal((2, 4)) + 1j * rng.standard_normal((2, 4))
    out = np.ones((2, k), dtype=complex)
    scratch = np.empty((2, k), dtype=complex)
    first_columns(alpha, beta[:-1], poles, residues, partners, scratch, out)
    T = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
    z = np.array([np.linalg.solve(T - p * np.eye(k), np.eye(k)[0] + 0j) for p in poles])
    # The last pole is 1e-2 from the spectrum: errors grow a hundredfold.
    np.testing.assert_allclose(out, 1.0 + residues @ z + partners @ z.conj(), atol=1e5 * EPS)
