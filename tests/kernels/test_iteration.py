"""The fused passes of an iteration equal NumPy's, with the same bits for every thread count."""

import numpy as np
import pytest
from kernels.matrices import DTYPES, LARGE, SIZES, hermitian, uneven, values

from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution


def assert_close(found, expected, dtype):
    size = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=200 * np.finfo(dtype).eps * size)


def matrix(n, dtype):
    return uneven(dtype) if n == LARGE else hermitian(n, dtype, 918273465)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [*SIZES, LARGE])
def test_product_dot(n, dtype, rng):
    A, p = matrix(n, dtype), values(rng, n, dtype)
    q = np.full_like(p, np.nan)
    found = CpuBackend(A, execution=Execution(threads=2)).product_dot(p, q)
    assert_close(q, A @ p, dtype)
    assert_close(found, np.vdot(p, A @ p), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [*SIZES, LARGE])
def test_update_norm_and_direction(n, dtype, rng):
    backend = CpuBackend(matrix(n, dtype), execution=Execution(threads=2))
    x, r, p, q = (values(rng, n, dtype) for _ in range(4))
    alpha, beta = values(rng, 2, dtype)
    wanted_x, wanted_r, wanted_p = x + alpha * p, r - alpha * q, q + beta * p
    found = backend.update_norm(x, r, p, q, alpha)
    assert_close(x, wanted_x, dtype)
    assert_close(r, wanted_r, dtype)
    assert_close(found, np.vdot(wanted_r, wanted_r).real, dtype)
    backend.direction(p, q, beta)
    assert_close(p, wanted_p, dtype)


def test_bits_do_not_depend_on_threads_or_chance(rng):
    A = uneven(np.float64)
    p, x, r = rng.standard_normal((3, LARGE))
    answers = []
    for threads in (1, 2, 2, 2):
        backend = CpuBackend(A, execution=Execution(threads=threads))
        q, u, s = np.empty(LARGE), x.copy(), r.copy()
        answers.append((backend.product_dot(p, q), backend.update_norm(u, s, p, q, 0.3), *u, *s))
    assert len(set(answers)) == 1


def test_reordered_layout_leaves_vectors_in_their_order(rng):
    A = hermitian(LARGE, np.float64, 564738291)
    backend = CpuBackend(A).prepared(1.0, Execution(reorder=True))
    p = rng.standard_normal(LARGE)
    q = np.empty(LARGE)
    assert_close(backend.product_dot(p, q), p @ (A @ p), np.float64)
    assert_close(q, A @ p, np.float64)


def test_nan_shows(rng):
    backend = CpuBackend(hermitian(597, np.float64, 817263541))
    x, r, p, q = rng.standard_normal((4, 597))
    q[17] = np.nan
    assert np.isnan(backend.update_norm(x, r, p, q, 1.0))
