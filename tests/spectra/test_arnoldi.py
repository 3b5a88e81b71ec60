"""The Arnoldi process keeps its relation; harmonic Ritz values are GMRES's roots."""

import numpy as np
import pytest
from scipy import sparse

from spectool.errors import BreakdownError, InputError
from spectool.krylov.arnoldi import (
    arnoldi,
    field_of_values_box,
    gmres_residuals,
    harmonic_ritz_values,
    ritz_values,
)
from spectool.operators import as_operator
from spectool.polynomials.roots import added_roots, from_roots, inverse_from_roots

SEED = 730_164_952


def operator(A):
    return as_operator(A, assume_a="gen", need_hermitian=False)


def general(n, dtype=np.float64, seed=SEED):
    rng = np.random.default_rng(seed)
    A = 3.0 * np.eye(n) + rng.standard_normal((n, n)) / np.sqrt(n)
    if np.dtype(dtype).kind == "c":
        A = A + 1j * rng.standard_normal((n, n)) / np.sqrt(n)
    return A.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("stored", [np.asarray, sparse.csr_array])
def test_relation_and_orthogonality(dtype, stored, rng):
    A = general(40, dtype)
    process = arnoldi(operator(stored(A)), rng.standard_normal(40).astype(dtype), 12)
    V, H = process.basis.T, process.hessenberg
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(A @ V[:, :-1], V @ H, atol=100 * eps)
    np.testing.assert_allclose(V.conj().T @ V, np.eye(13), atol=20 * eps)
    assert not np.tril(H, -2).any()
    assert process.operator.n_matvecs == 12
    assert H.dtype == (np.complex128 if np.dtype(dtype).kind == "c" else np.float64)


def test_basis_of_an_ill_conditioned_operator_stays_orthogonal(rng):
    A = np.diag(np.logspace(-14, 0, 60)) + np.diag(np.full(59, 1e-3), 1)
    V = arnoldi(operator(A), rng.standard_normal(60), 40).basis
    np.testing.assert_allclose(V @ V.T, np.eye(len(V)), atol=1e-14)


def test_an_invariant_space_ends_the_process():
    A = general(30)
    A[5:, :5] = 0.0
    process = arnoldi(operator(A), np.eye(30)[0], 20)
    assert process.steps == 5
    assert process.invariant
    assert process.basis.shape == (5, 30)
    assert not process.hessenberg[-1].any()
    expected = np.sort_complex(np.linalg.eigvals(A[:5, :5]))
    np.testing.assert_allclose(np.sort_complex(ritz_values(process.hessenberg)), expected)
    harmonic = harmonic_ritz_values(process.hessenberg)
    np.testing.assert_allclose(np.sort_complex(harmonic), expected, rtol=1e-12)
    assert gmres_residuals(process.hessenberg)[-1] == 0.0


def test_enough_and_order_one():
    assert arnoldi(operator(general(9)), np.ones(9), 8, enough=lambda p: p.steps == 3).steps == 3
    process = arnoldi(operator(np.array([[4.0]])), np.ones(1), 5)
    assert process.invariant
    np.testing.assert_allclose(harmonic_ritz_values(process.hessenberg), [4.0])


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_residuals_are_those_of_least_squares(dtype, rng):
    A, b = general(25, dtype), rng.standard_normal(25).astype(dtype)
    process = arnoldi(operator(A), b, 9)
    found = gmres_residuals(process.hessenberg)
    b = b / np.linalg.norm(b)
    for k in range(1, 10):
        AV = A @ process.basis[:k].T
        r = b - AV @ np.linalg.lstsq(AV, b)[0]
        np.testing.assert_allclose(found[k - 1], np.linalg.norm(r), rtol=1e-9)


def test_harmonic_ritz_values_are_the_roots_of_the_gmres_residual(rng):
    A, b = general(40), rng.standard_normal(40)
    process = arnoldi(operator(A), b, 9)
    roots = harmonic_ritz_values(process.hessenberg)
    assert np.abs(roots.imag).max() > 0
    q = inverse_from_roots(roots, (1.0, 5.0))
    assert q.degree == 8
    r = b - A @ operator(A).apply(q, b, order="forward")
    expected = gmres_residuals(process.hessenberg)[-1] * np.linalg.norm(b)
    np.testing.assert_allclose(np.linalg.norm(r), expected, rtol=1e-9)


def test_a_singular_square_part_means_a_lower_degree():
    # GMRES on a cyclic shift stagnates: all roots are at infinity.
    shift = np.roll(np.eye(6), 1, axis=0)
    process = arnoldi(operator(shift), np.eye(6)[0], 4)
    assert harmonic_ritz_values(process.hessenberg).size == 0
    np.testing.assert_array_equal(gmres_residuals(process.hessenberg), np.ones(4))


def test_a_singular_operator_on_its_space():
    process = arnoldi(operator(np.zeros((4, 4))), np.ones(4), 3)
    assert process.invariant
    assert process.steps == 1
    with pytest.raises(BreakdownError, match="full rank"):
        harmonic_ritz_values(process.hessenberg)
    assert gmres_residuals(process.hessenberg)[-1] == 1.0


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_box_lies_inside_the_field_of_values(dtype, rng):
    A = general(30, dtype)
    short, whole = (
        field_of_values_box(
            arnoldi(operator(A), rng.standard_normal(30).astype(dtype), k).hessenberg
        )
        for k in (10, 30)
    )
    real = np.linalg.eigvalsh((A + A.conj().T) / 2)[[0, -1]]
    imaginary = np.linalg.eigvalsh((A - A.conj().T) / 2j)[[0, -1]]
    np.testing.assert_allclose(whole, [*real, *imaginary], atol=1e-12)
    assert real[0] <= short[0] < short[1] <= real[1]
    assert imaginary[0] <= short[2] < short[3] <= imaginary[1]


def test_not_finite_products():
    A = sparse.linalg.aslinearoperator(np.diag([1.0, np.nan]))
    with pytest.raises(BreakdownError, match="not finite"):
        arnoldi(operator(A), np.ones(2), 2)


@pytest.mark.parametrize(
    ("start", "steps", "match"),
    [
        (np.zeros(3), 2, "nonzero"),
        (np.array([1.0, np.nan, 0.0]), 2, "nonzero"),
        (np.ones(2), 2, "shape"),
        (np.ones(3), 0, "at least 1"),
        (np.ones(3, dtype=complex), 2, "real"),
    ],
)
def test_bad_starts(start, steps, match):
    with pytest.raises(InputError, match=match):
        arnoldi(operator(np.eye(3)), start, steps)


@pytest.mark.parametrize("H", [np.eye(3), np.ones((1, 0)), np.array([[np.nan], [1.0]])])
@pytest.mark.parametrize("function", [ritz_values, harmonic_ritz_values, gmres_residuals])
def test_bad_hessenberg_matrices(function, H):
    with pytest.raises(InputError, match="H must"):
        function(H)


def test_added_roots_stabilize_an_outlier():
    lam = np.concatenate([np.linspace(1.0, 2.0, 30), [1e6]])
    roots = np.concatenate(
        [1.5 + 0.5 * np.cos(np.pi * (np.arange(8) + 0.5) / 8), [1e6 * (1 + 2.0**-50)]]
    )
    plain, stable = (from_roots(r, (1.0, 1e6)) for r in (roots, added_roots(roots)))
    assert np.abs(plain(lam, order="forward")).max() > 1e10
    assert np.abs(stable(lam, order="forward")).max() < 1e-3
    assert stable.degree <= 13
    assert stable(0.0) == 1.0


def test_added_roots_of_harmless_ones_are_the_same():
    roots = np.array([1.0, 2.0, 1.5 + 1j, 1.5 - 1j])
    np.testing.assert_array_equal(np.sort_complex(added_roots(roots)), np.sort_complex(roots))


def test_added_roots_keep_pairs_and_need_more_in_single_precision():
    roots = np.array([1.0, 2.0, 3.0, 1e3 + 1e5j, 1e3 - 1e5j])
    added = added_roots(roots)
    assert np.sum(added == 1e3 + 1e5j) == np.sum(added == 1e3 - 1e5j) >= 2
    assert added_roots(roots, digits=5.0).size > added.size
    with pytest.raises(InputError, match="nonzero"):
        added_roots([0.0, 1.0])
    with pytest.raises(InputError, match="conjugate"):
        added_roots([1.0, 1j])
