"""The fused Lanczos step equals the textbook's, and its bits do not depend on threads."""

import time

import numpy as np
import pytest
import reference
from kernels.matrices import DTYPES, LARGE, SIZES, empty, hermitian, uneven, values
from scipy import sparse

from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.backends.generic import GenericBackend


def run(backend, start, steps, *, reorthogonalize=True):
    V = np.zeros((steps + 1, start.size), dtype=backend.dtype)
    V[0] = start / np.linalg.norm(start)
    alpha, beta = [], []
    for k in range(steps):
        basis = V[: k + 1] if reorthogonalize else V[:0]
        previous = V[k - 1] if k else np.zeros_like(V[0])
        pair = backend.lanczos_step(previous, V[k], beta[-1] if k else 0.0, basis, V[k + 1])
        alpha.append(pair[0])
        beta.append(pair[1])
    return np.array(alpha), np.array(beta), V.T


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 597])
@pytest.mark.parametrize("kind", [CpuBackend, GenericBackend])
def test_equals_reference(kind, n, dtype, rng):
    A, start = hermitian(n, dtype, 564738291), values(rng, n, dtype)
    steps = min(n - 1, 8)
    expected = reference.lanczos(A.toarray().astype(complex), start.astype(complex), steps)
    found = run(kind(A if kind is CpuBackend else A.toarray()), start, steps)
    tol = 1000 * np.finfo(dtype).eps
    for mine, truth in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, truth, rtol=0, atol=tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reorthogonalize", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_factorization_on_uneven_rows(threads, reorthogonalize, dtype, rng):
    A, start = uneven(dtype), values(rng, LARGE, dtype)
    alpha, beta, V = run(
        CpuBackend(A, execution=Execution(threads=threads)),
        start,
        6,
        reorthogonalize=reorthogonalize,
    )
    T = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
    defect = A @ V[:, :6] - V[:, :6] @ T
    defect[:, -1] -= beta[-1] * V[:, 6]
    tol = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(defect, 0, atol=tol)
    if reorthogonalize:
        np.testing.assert_allclose(V.conj().T @ V, np.eye(7), atol=10 * tol)


@pytest.mark.parametrize("n", SIZES)
def test_no_entry_at_all_is_invariant_at_once(n):
    alpha, beta, V = run(CpuBackend(empty(n, np.float64)), np.ones(n), 1)
    assert alpha[0] == beta[0] == 0.0
    assert not V[:, 1].any()


def test_nan_is_told():
    A = hermitian(597, np.float64, 928374651)
    x = np.ones(597)
    x[300] = np.nan
    alpha, beta, _ = run(CpuBackend(A), x, 1)
    assert np.isnan(alpha[0])
    assert np.isnan(beta[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reorthogonalize", [True, False])
def test_bits_do_not_depend_on_threads(reorthogonalize, dtype, rng):
    A, start = uneven(dtype), values(rng, LARGE, dtype)
    one = run(
        CpuBackend(A, execution=Execution(threads=1)), start, 8, reorthogonalize=reorthogonalize
    )
    for _ in range(5):
        two = run(
            CpuBackend(A, execution=Execution(threads=2)), start, 8, reorthogonalize=reorthogonalize
        )
        assert all(np.array_equal(x, y) for x, y in zip(one, two, strict=True))


def test_every_part_has_finished_when_the_step_returns():
    """The first part holds the entries, the second the rows: it normalizes longest."""
    n, heavy = 600_000, 2048
    rng = np.random.default_rng(837465192)
    rows = np.repeat(np.arange(heavy), 1500)
    A = sparse.csr_array(
        (np.ones(rows.size), (rows, rng.integers(0, heavy, rows.size))), shape=(n, n)
    )
    A = sparse.csr_array(A + A.T + sparse.eye_array(n))
    A.sum_duplicates()
    backend = CpuBackend(A, execution=Execution(threads=2))
    v, none, zero = rng.standard_normal(n), np.empty((0, n)), np.zeros(n)
    v /= np.linalg.norm(v)
    following = np.zeros(n)
    for _ in range(20):
        backend.lanczos_step(zero, v, 0.0, none, following)
        last = following[-1000:].copy()
        time.sleep(0.002)  # whoever still writes does so now
        assert np.array_equal(last, following[-1000:])
