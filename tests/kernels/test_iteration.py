"""The fused passes of an iteration equal NumPy's, with the same bits for every thread count."""

import numpy as np
import pytest
from kernels.matrices import DTYPES, LARGE, SIZES, hermitian, uneven, values
from scipy.sparse.linalg import aslinearoperator as aslinear

from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.backends.generic import GenericBackend


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
    assert found[0] == found[1]
    backend.direction(p, q, beta)
    assert_close(p, wanted_p, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [*SIZES, LARGE])
@pytest.mark.parametrize("diagonal", [True, False])
def test_search_and_weighted_norm(n, dtype, diagonal, rng):
    A = matrix(n, dtype)
    D = rng.uniform(0.5, 2.0, n).astype(np.empty(0, dtype).real.dtype) if diagonal else None
    cpu = CpuBackend(A, execution=Execution(threads=2))
    for backend in (cpu, GenericBackend(aslinear(A))):
        x, r, p, q = (values(rng, n, dtype) for _ in range(4))
        z = r if D is None else D * r
        for beta in (0.0, 0.75):
            wanted = z + beta * p
            if beta == 0.0:
                p[:] = np.nan  # must not matter
            found = backend.search(p, q, r, beta, D)
            assert_close(p, wanted, dtype)
            assert_close(q, A @ wanted, dtype)
            assert_close(found, np.vdot(wanted, A @ wanted), dtype)
        wanted = r - 0.5 * q
        square, weighted = backend.update_norm(x, r, p, q, 0.5, D)
        assert_close(square, np.vdot(wanted, wanted).real, dtype)
        weights = 1.0 if D is None else D
        assert_close(weighted, np.vdot(wanted, weights * wanted).real, dtype)


def test_search_has_the_same_bits_for_every_number_of_threads(rng):
    p, z, x, r = rng.standard_normal((4, LARGE))
    D = rng.uniform(0.5, 2.0, LARGE)
    answers = []
    for threads in (1, 2, 2):
        backend = CpuBackend(uneven(np.float64), execution=Execution(threads=threads))
        u, q, y, s = p.copy(), np.empty(LARGE), x.copy(), r.copy()
        found = backend.search(u, q, z, 0.7, D)
        answers.append((found, *backend.update_norm(y, s, u, q, 0.3, D), *u, *q, *s))
    assert len(set(answers)) == 1


def test_bits_do_not_depend_on_threads_or_chance(rng):
    A = uneven(np.float64)
    p, x, r = rng.standard_normal((3, LARGE))
    answers = []
    for threads in (1, 2, 2, 2):
        backend = CpuBackend(A, execution=Execution(threads=threads))
        q, u, s = np.empty(LARGE), x.copy(), r.copy()
        answers.append((backend.product_dot(p, q), *backend.update_norm(u, s, p, q, 0.3), *u, *s))
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
    assert np.isnan(backend.update_norm(x, r, p, q, 1.0)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [*SIZES, LARGE])
@pytest.mark.parametrize("threads", [1, 2])
def test_inner_combine_and_project_out(n, dtype, threads, rng):
    A = matrix(n, dtype)
    cpu = CpuBackend(A, execution=Execution(threads=threads))
    for backend in (cpu, GenericBackend(np.eye(n, dtype=dtype) if n < LARGE else aslinear(A))):
        x, y, u, v, w = (values(rng, n, dtype) / np.sqrt(n).astype(np.float32) for _ in range(5))
        assert_close(backend.inner(x, y), np.vdot(x, y), dtype)
        wanted = 0.5 * y + 2 * u - 0.25 * v
        found = backend.combine(y, 0.5, u, 2.0, v, -0.25)
        assert_close(y, wanted, dtype)
        assert_close(found, np.vdot(wanted, wanted).real, dtype)
        V = np.ascontiguousarray(values(rng, (3, n), dtype) / np.sqrt(n).astype(np.float32))
        wanted = w - V.T @ (V.conj() @ w)
        coefficients = V.conj() @ w
        h, square = backend.project_out(V, w)
        assert_close(h, coefficients, dtype)
        assert_close(w, wanted, dtype)
        assert_close(square, np.vdot(wanted, wanted).real, dtype)


def test_reductions_have_the_same_bits_for_every_number_of_threads(rng):
    x, y, u = rng.standard_normal((3, LARGE))
    V = rng.standard_normal((4, LARGE))
    answers = []
    for threads in (1, 2, 2):
        backend = CpuBackend(uneven(np.float64), execution=Execution(threads=threads))
        z, w = y.copy(), u.copy()
        h, square = backend.project_out(V, w)
        norm = backend.combine(z, 0.3, x, 0.7, u, -1.1)
        answers.append((backend.inner(x, y), norm, square, *h, *z, *w))
    assert len(set(answers)) == 1
