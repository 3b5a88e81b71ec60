"""Shifted residuals equal those of a dense solve."""

import numpy as np
import pytest

from spectool.kernels.tridiagonal import log_shifted_residuals


@pytest.mark.parametrize("k", [1, 2, 3, 40])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_equals_dense_solve(k, dtype, rng):
    alpha, beta = 2.5 + rng.random(k), 0.2 + rng.random(k)
    shifts = np.array([0.0, 0.3, 1e3], dtype=dtype)
    if dtype is np.complex128:
        shifts *= 1j
    out = np.empty(3)
    log_shifted_residuals(alpha, beta, shifts, out)
    T = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
    truth = [
        beta[-1] * abs(np.linalg.solve(T + s * np.eye(k), np.eye(k)[0].astype(dtype))[-1])
        for s in shifts
    ]
    np.testing.assert_allclose(out, np.log(truth), atol=1000 * k * np.finfo(float).eps)


def test_no_overflow_where_the_product_would(rng):
    k = 4000
    out = np.empty(1)
    log_shifted_residuals(np.full(k, 2.0), np.full(k, 1.0), np.array([100.0]), out)
    # pivots tend to s + sqrt(s^2 - 1) with s = 51, the residual to its -k-th power
    assert abs(out[0] + k * np.arccosh(51.0)) <= 1e-3 * k


def test_zero_pivot_is_survived():
    out = np.empty(1)
    alpha, beta = np.zeros(3), np.ones(3)
    log_shifted_residuals(alpha, beta, np.zeros(1), out)  # T is singular
    assert not np.isnan(out[0])
    assert out[0] > 100  # the residual of a singular system is huge, not small


def test_nan_travels():
    out = np.zeros(1)
    log_shifted_residuals(np.array([1.0, np.nan]), np.ones(2), np.zeros(1), out)
    assert np.isnan(out[0])
