"""The block sweeps equal the one-vector sweeps, for every tile width."""

import numpy as np
import pytest
import reference
from kernels.matrices import DTYPES, LARGE, SIZES, coefficients, empty, hermitian, uneven, values

from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.polynomials import Recurrence

ORDERS = ["clenshaw", "forward"]
WIDTHS = [1, 2, 3, 4, 5, 8, 13, 17]
"""Tiles are eight, four and one columns wide."""


def recurrence(degree):
    return Recurrence(*coefficients(degree), (-1.0, 1.0))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("m", WIDTHS)
@pytest.mark.parametrize("n", SIZES)
def test_equals_dense_reference(n, m, order, rng):
    A, X, p = hermitian(n, np.float64, 465738291), rng.standard_normal((n, m)), recurrence(5)
    expected = getattr(reference, order)(A.toarray(), p.a, p.b, p.c, p.w, X)
    found = CpuBackend(A).apply(p, X, order=order)
    tol = 100 * np.finfo(float).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tol)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_columns_are_independent(threads, dtype, order, rng):
    A, X, p = uneven(dtype), values(rng, (LARGE, 13), dtype), recurrence(4)
    backend = CpuBackend(A, execution=Execution(threads=threads))
    together = backend.apply(p, X, order=order)
    assert together.dtype == dtype
    for j in (0, 7, 8, 12):
        alone = backend.apply(p, np.ascontiguousarray(X[:, j]), order=order)
        tol = 100 * np.finfo(dtype).eps * np.abs(alone).max()
        np.testing.assert_allclose(together[:, j], alone, rtol=0, atol=tol)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(dtype, order, rng):
    A, X, p = uneven(dtype), values(rng, (LARGE, 5), dtype), recurrence(6)
    one = CpuBackend(A, execution=Execution(threads=1)).apply(p, X, order=order)
    for _ in range(3):
        assert np.array_equal(
            CpuBackend(A, execution=Execution(threads=2)).apply(p, X, order=order), one
        )


@pytest.mark.parametrize("order", ORDERS)
def test_no_entry_at_all(order, rng):
    p, X = recurrence(3), rng.standard_normal((LARGE, 3))
    found = CpuBackend(empty(LARGE, np.float64), execution=Execution(threads=2)).apply(
        p, X, order=order
    )
    tol = 100 * np.finfo(float).eps * np.abs(X).max()
    np.testing.assert_allclose(found, p(0.0) * X, rtol=0, atol=tol)


def test_no_column_at_all():
    A = hermitian(3, np.float64, 918237465)
    assert CpuBackend(A).apply(recurrence(2), np.empty((3, 0))).shape == (3, 0)


@pytest.mark.parametrize("order", ORDERS)
def test_nan_stays_in_its_column(order):
    A, X = hermitian(597, np.float64, 192837465), np.ones((597, 9))
    X[:, 2] = np.nan
    Y = CpuBackend(A).apply(recurrence(3), X, order=order)
    assert np.isnan(Y[:, 2]).all()
    assert np.isfinite(np.delete(Y, 2, axis=1)).all()


@pytest.mark.parametrize("order", ORDERS)
def test_column_major_blocks(order, rng):
    A, X, p = hermitian(597, np.float64, 647382910), rng.standard_normal((597, 6)), recurrence(3)
    expected = CpuBackend(A).apply(p, X, order=order)
    assert np.array_equal(CpuBackend(A).apply(p, np.asfortranarray(X), order=order), expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_real_matrix_on_complex_block(stored, order, rng):
    A, X, p = hermitian(97, stored, 736482915), values(rng, (97, 3), np.complex128), recurrence(3)
    found = CpuBackend(A).apply(p, X, order=order)
    assert found.shape == X.shape
    expected = reference.forward(A.toarray(), p.a, p.b, p.c, p.w, X)
    tol = 100 * np.finfo(stored).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tol)
