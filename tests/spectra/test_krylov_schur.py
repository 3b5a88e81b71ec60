"""The Krylov-Schur process keeps its relation through restarts, and what it is told to keep."""

import numpy as np
import pytest
import scipy.sparse.linalg as sla

from spectool.errors import BreakdownError, InputError
from spectool.krylov.krylov_schur import KrylovSchur
from spectool.operators import as_operator

SEED = 518_204_963
N = 50


def matrix(kind, seed=SEED):
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((N, N)) / np.sqrt(N)
    if kind.startswith("complex"):
        G = G + 1j * rng.standard_normal((N, N)) / np.sqrt(N)
    if kind.endswith("hermitian"):
        return G + G.conj().T
    if kind == "defective":
        return np.kron(np.diag(np.arange(1.0, 6.0)), np.eye(10)) + np.diag(np.ones(N - 1), -1)
    return G


KINDS = ["real", "complex", "hermitian", "complex hermitian", "defective"]


def started(A, capacity, kind="gen", seed=SEED):
    b = np.random.default_rng(seed).standard_normal(len(A)).astype(A.dtype)
    assume = "her" if kind.endswith("hermitian") else "gen"
    operator = as_operator(A, assume_a=assume, need_hermitian=False)
    return KrylovSchur(operator, b / np.linalg.norm(b), capacity)


def check_relation(A, process, scale=1.0):
    """``A V = V H + below v e_k*`` with V orthonormal and H in the Schur form that is told."""
    k, seen = process.size, process.projection()
    V = process.basis[:k].T
    residual = A @ V - V @ seen.H
    residual[:, -1] -= seen.below * process.basis[k]
    eps = np.finfo(A.dtype).eps
    assert np.abs(residual).max() <= 100 * N * eps * scale
    np.testing.assert_allclose(V.conj().T @ V, np.eye(k), atol=50 * eps)
    np.testing.assert_allclose(
        seen.Q @ seen.T @ seen.Q.conj().T, seen.H, atol=100 * N * eps * scale
    )
    assert not np.tril(seen.T, -1).any()
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_relation_holds_through_restarts(kind):
    A = matrix(kind)
    process = started(A, 15, kind)
    for _ in range(6):
        process.expand()
        check_relation(A, process, np.linalg.norm(A, 2))
        process.restart(lambda theta: np.abs(theta), 6)
    assert process.steps == process.operator.n_matvecs
    assert process.steps > 15


@pytest.mark.parametrize("kind", KINDS)
def test_the_cycle_starts_from_the_last_ones_newest_vector(kind):
    process = started(matrix(kind), 12, kind)
    process.expand()
    newest = process.basis[process.size].copy()
    process.restart(lambda theta: theta.real, 4)
    process.expand()
    first = process.projection().first
    np.testing.assert_array_equal(process.basis[first], newest)
    assert 0 < first <= 5


@pytest.mark.parametrize("kind", KINDS[:4])
def test_wanted_ritz_values_are_kept_and_converge(kind):
    A = matrix(kind)
    process = started(A, 20, kind)
    lam = np.linalg.eigvals(A)
    for _ in range(60):
        process.expand()
        kept = process.projection().theta
        process.restart(lambda theta: theta.real, 8)
    # 1e-8: no eigenvalue of these is worse conditioned than 1e4.
    assert abs(kept.real.max() - lam.real.max()) <= 1e-8
    assert np.abs(lam - kept[kept.real.argmax()]).min() <= 1e-8


def test_conjugate_pairs_of_real_matrices_stay_together():
    process = started(matrix("real"), 16)
    for most in (3, 4, 5, 6):
        process.expand()
        process.restart(lambda theta: np.abs(theta), most)
        theta = np.linalg.eigvals(process._H[: process.size, : process.size])
        np.testing.assert_allclose(
            np.sort_complex(theta), np.sort_complex(theta.conj()), atol=1e-13
        )


def test_an_invariant_space_is_exhausted():
    A = matrix("real")
    A[5:, :5] = 0.0
    operator = as_operator(A, assume_a="gen", need_hermitian=False)
    process = KrylovSchur(operator, np.eye(N)[0], 20)
    process.expand()
    assert process.invariant
    assert process.size == process.steps == 5
    seen = process.projection()
    assert seen.below == 0
    np.testing.assert_allclose(
        np.sort_complex(seen.theta), np.sort_complex(np.linalg.eigvals(A[:5, :5])), atol=1e-12
    )


def test_nilpotent_shift_has_an_exact_projection():
    n = 12
    operator = as_operator(np.diag(np.ones(n - 1), -1), assume_a="gen", need_hermitian=False)
    process = KrylovSchur(operator, np.eye(n)[0], n)
    process.expand()
    assert process.invariant
    np.testing.assert_array_equal(process.projection().H, np.diag(np.ones(n - 1), -1))


def test_one_by_one():
    operator = as_operator(np.array([[3.0 - 2.0j]]), assume_a="gen", need_hermitian=False)
    process = KrylovSchur(operator, np.ones(1, complex), 30)
    process.expand()
    assert process.invariant
    assert process.projection().theta[0] == 3 - 2j


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_units_of_A_are_units_of_H(scale):
    A = matrix("real")
    one, other = started(A, 10), started(scale * A, 10)
    for process in (one, other):
        process.expand()
        process.restart(lambda theta: np.abs(theta), 4)
        process.expand()
    seen = check_relation(scale * A, other, scale * np.linalg.norm(A, 2))
    np.testing.assert_allclose(seen.H / scale, one.projection().H, atol=1e-11)


def test_steps_are_limited_and_begin_forgets():
    process = started(matrix("real"), 20)
    process.expand(7)
    assert (process.size, process.steps) == (7, 7)
    process.begin(process.basis[0].copy())
    assert (process.size, process.steps, process.invariant) == (0, 7, False)
    process.expand(2)
    assert process.projection().H.shape == (2, 2)


def test_trouble_is_told():
    with pytest.raises(InputError, match="restart must be at least 2"):
        started(matrix("real"), 1)
    products = sla.LinearOperator((N, N), matvec=lambda x: x * np.nan, dtype=float)
    operator = as_operator(products, assume_a="gen", need_hermitian=False)
    with pytest.raises(BreakdownError, match="not finite"):
        KrylovSchur(operator, np.eye(N)[0], 5).expand()
