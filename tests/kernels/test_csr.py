"""The one-vector sweeps equal their dense reference."""

import numpy as np
import pytest
import reference
from kernels.matrices import DTYPES, LARGE, SIZES, coefficients, empty, hermitian, uneven, values

from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.polynomials import Recurrence

ORDERS = ["clenshaw", "forward"]


def recurrence(degree):
    return Recurrence(*coefficients(degree), (-1.0, 1.0))


def assert_close(found, expected, dtype):
    assert found.dtype == dtype
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=100 * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("degree", [1, 2, 7])
def test_equals_dense_reference(n, degree, dtype, order, rng):
    A, x, p = hermitian(n, dtype, 384756291), values(rng, n, dtype), recurrence(degree)
    expected = getattr(reference, order)(
        A.toarray().astype(np.complex128), p.a, p.b, p.c, p.w, x.astype(np.complex128)
    )
    found = CpuBackend(A).apply(p, x, order=order)
    assert_close(found, expected if x.dtype.kind == "c" else expected.real, dtype)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_empty_rows_and_a_dense_row(threads, dtype, order, rng):
    A, x, p = uneven(dtype), values(rng, LARGE, dtype), recurrence(4)
    # A sparse product stands in for the dense one: the reference only multiplies.
    expected = getattr(reference, order)(
        A.astype(np.complex128), p.a, p.b, p.c, p.w, x.astype(np.complex128)
    )
    found = CpuBackend(A, execution=Execution(threads=threads)).apply(p, x, order=order)
    assert_close(found, expected if x.dtype.kind == "c" else expected.real, dtype)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [*SIZES, LARGE])
def test_no_entry_at_all(n, order, rng):
    p, x = recurrence(5), rng.standard_normal(n)
    found = CpuBackend(empty(n, np.float64), execution=Execution(threads=2)).apply(
        p, x, order=order
    )
    assert_close(found, p(0.0) * x, np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_is_scipys(dtype, rng):
    A, x = uneven(dtype), values(rng, LARGE, dtype)
    assert_close(CpuBackend(A).matmul(x), A @ x, dtype)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [1, 2])
def test_nan_reaches_every_row_it_touches(threads, order):
    A, p = uneven(np.float64), recurrence(1)
    x = np.ones(LARGE)
    x[5] = np.nan  # column 5 is dense
    y = CpuBackend(A, execution=Execution(threads=threads)).apply(p, x, order=order)
    touched = np.asarray(abs(A)[:, [5]].toarray()).ravel() > 0
    assert np.isnan(y[touched]).all()
    assert np.isfinite(y[~touched]).all()
    A.data[-1] = np.inf
    assert not np.isfinite(CpuBackend(A).apply(p, np.ones(LARGE), order=order)).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(dtype, order, rng):
    A, x, p = uneven(dtype), values(rng, LARGE, dtype), recurrence(9)
    one = CpuBackend(A, execution=Execution(threads=1)).apply(p, x, order=order)
    for _ in range(5):
        assert np.array_equal(
            CpuBackend(A, execution=Execution(threads=2)).apply(p, x, order=order), one
        )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("degree", [0, 1, 6])
def test_input_is_left_alone(degree, order, rng):
    A, x = hermitian(597, np.float64, 817263549), rng.standard_normal(597)
    kept, data = x.copy(), A.data.copy()
    x.flags.writeable = False
    y = CpuBackend(A).apply(recurrence(degree), x, order=order)
    assert not np.shares_memory(x, y)
    assert np.array_equal(x, kept)
    assert np.array_equal(A.data, data)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wide", [np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("stored", [np.float32, np.float64, np.complex64])
def test_mixed_dtypes_are_promoted(stored, wide, order, rng):
    A, x, p = hermitian(40, stored, 273645819), values(rng, 40, wide), recurrence(3)
    expected = reference.forward(A.toarray().astype(complex), p.a, p.b, p.c, p.w, x.astype(complex))
    found = CpuBackend(A).apply(p, x, order=order)
    assert found.dtype == np.result_type(stored, wide)
    assert found.shape == x.shape
    eps = max(np.finfo(stored).eps, np.finfo(wide).eps)
    np.testing.assert_allclose(found, expected, rtol=0, atol=100 * eps * np.abs(expected).max())
