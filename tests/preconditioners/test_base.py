"""Polynomials over a given preconditioner: M = q(B A) B."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from spectool import gallery
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.preconditioners.composed import composed

SEED = 137_035_999


def symmetric_sweep(A, omega=1.0):
    """The inverse of SSOR's matrix, dense."""
    D, L = np.diag(np.diag(A)), np.tril(A, -1)
    lower = D / omega + L
    return np.linalg.inv(lower @ np.linalg.inv(D) @ lower.T) * (2.0 - omega) / omega


def pairs():
    A = gallery.jump((12, 12), contrast=1e4)
    C = gallery.poisson((6, 5, 4))
    return {
        "Jacobi": (A, sp.diags_array(1.0 / A.diagonal())),
        "SSOR": (A, symmetric_sweep(A.toarray())),
        "operator": (C, sla.aslinearoperator(symmetric_sweep(C.toarray(), 1.3))),
        "both operators": (
            sla.aslinearoperator(C),
            sla.aslinearoperator(symmetric_sweep(C.toarray())),
        ),
        "bad units": (1e12 * C, sp.diags_array(np.geomspace(1e-3, 1e3, 120) * 1e-12)),
    }


def dense(A, n):
    return A @ np.eye(n)


@pytest.mark.parametrize("name", list(pairs()))
@pytest.mark.parametrize("method", ["chebyshev", "chebyshev4"])
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_the_composition_is_hermitian_positive_definite(name, degree, method):
    A, B = pairs()[name]
    n = A.shape[0]
    M = composed(A, B, degree=degree, method=method, rng=SEED)
    assert M.recurrence.degree == degree
    full, given = dense(A, n), dense(B, n)
    half = np.linalg.cholesky(given)
    lam, V = np.linalg.eigh(half.T @ full @ half)
    truth = half @ (V * M.recurrence(lam)) @ V.T @ half.T
    built = dense(M, n)
    assert np.abs(built - truth).max() <= 1e-9 * np.abs(truth).max()
    assert np.abs(built - built.T).max() <= 1e-10 * np.abs(truth).max()
    L = np.linalg.cholesky(full)
    assert np.linalg.eigvalsh(L.T @ built @ L)[0] > 0


def test_the_upper_end_is_safe_and_sharp():
    for A, B in pairs().values():
        n = A.shape[0]
        half = np.linalg.cholesky(dense(B, n))
        lam = np.linalg.eigvalsh(half.T @ dense(A, n) @ half)
        for seed in range(10):
            spectrum = composed(A, B, degree=0, rng=seed).spectrum
            assert lam[-1] * (1 - 1e-10) <= spectrum.interval[1] <= 1.6 * lam[-1]
            assert spectrum.ritz_values[-1] <= lam[-1] * (1 + 1e-10)
            assert spectrum.ritz_values[0] >= lam[0] * (1 - 1e-8)


def test_an_unlucky_base_is_bounded_all_the_same():
    """Large eigenvalues of BA hidden where B is small: v ~ N(0, I) would hardly see them."""
    n = 400
    d = np.geomspace(1.0, 1e8, n)
    A = sp.csr_array(sp.diags_array(d))
    lam = np.full(n, 0.01)
    lam[-1] = 1.0  # its eigenvector is the one that B weighs least
    B = sp.diags_array(lam / d)
    for seed in range(20):
        assert composed(A, B, degree=0, rng=seed).spectrum.interval[1] >= 1 - 1e-10


def test_complex_hermitian(rng):
    n = 80
    X = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    A = X @ X.conj().T / n + 0.1 * np.eye(n)
    A = 0.5 * (A + A.conj().T)
    B = np.diag(1.0 / np.diag(A).real)
    M = composed(A, B, degree=2, rng=SEED)
    built = M @ np.eye(n, dtype=complex)
    assert np.abs(built - built.conj().T).max() <= 1e-12 * np.abs(built).max()
    assert np.linalg.eigvalsh(built)[0] > 0
    x = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    assert np.allclose(M @ x, built @ x)


def test_iterations_fall_by_the_degree(rng):
    A = gallery.poisson((40, 40))
    b = rng.standard_normal(1600)
    B = sla.aslinearoperator(symmetric_sweep(A.toarray()))

    def iterations(M):
        count = []
        x, info = sla.cg(A, b, M=M, rtol=1e-8, callback=lambda _: count.append(0))
        assert info == 0
        assert np.linalg.norm(b - A @ x) <= 2e-8 * np.linalg.norm(b)
        return len(count)

    alone = iterations(B)
    assert iterations(composed(A, B, degree=0, rng=SEED)) == alone
    assert iterations(composed(A, B, degree=2, rng=SEED)) <= 0.5 * alone
    assert iterations(composed(A, B, degree=4, rng=SEED)) <= 0.33 * alone
    # Free to choose, it does no harm.
    assert iterations(composed(A, B, rng=SEED)) <= alone


def test_a_multigrid_cycle_as_the_base(rng):
    pytest.importorskip("pyamg", reason="builds the hierarchy; an optional extra")
    from spectool.preconditioners.amg import amg

    A = gallery.poisson((30, 30))
    M = composed(A, amg(A, rng=SEED), degree=2, rng=SEED)
    assert M.spectrum.interval[1] == pytest.approx(1.0, rel=0.05)
    b = rng.standard_normal(900)
    count = []
    _, info = sla.cg(A, b, M=M, rtol=1e-8, callback=lambda _: count.append(0))
    assert info == 0
    assert len(count) <= 4


def test_counts_blocks_and_pickles(rng):
    A, B = pairs()["SSOR"]
    M = composed(A, B, degree=3, rng=SEED)
    assert M.report.n_matvecs == M.n_matvecs <= 24
    assert "over B" in M.report.chosen
    assert "over B" in repr(M)
    X = rng.standard_normal((144, 4))
    before = M.n_matvecs
    Y = M @ X
    assert M.n_matvecs == before + 3 * 4
    assert np.allclose(Y, np.column_stack([M @ x for x in X.T]), rtol=1e-12)
    assert np.allclose(M.H @ X, Y, rtol=1e-12)
    assert np.allclose(M @ np.ones(144, dtype=int), M @ np.ones(144))
    assert np.array_equal(composed(A, B, degree=3, rng=SEED) @ X, Y)
    assert np.array_equal(pickle.loads(pickle.dumps(M)) @ X, Y)


def test_exact_inverses_and_single_unknowns(rng):
    A = gallery.poisson((8, 8))
    inverse = np.linalg.inv(A.toarray())
    M = composed(A, 0.5 * (inverse + inverse.T), degree=2, rng=SEED)
    assert M.spectrum.complete
    assert M.spectrum.interval[1] == pytest.approx(1.0)
    x = rng.standard_normal(64)
    assert np.allclose(M @ (A @ x), M.recurrence(1.0) * x)
    one = composed(np.array([[4.0]]), np.array([[0.5]]), degree=1, rng=SEED)
    assert one.spectrum.interval[1] == pytest.approx(2.0)
    assert one @ [1.0] == pytest.approx(0.5 * one.recurrence(2.0))


def test_threshold_factorizations_are_left_alone(rng):
    """spilu's factors are no symmetric pair; a polynomial in B A would mean nothing."""
    A = gallery.jump((30, 30))
    factors = sla.spilu(A.tocsc(), drop_tol=1e-3)
    B = sla.LinearOperator(A.shape, factors.solve)
    M = composed(A, B, rng=SEED)
    assert M.recurrence.degree == 0
    assert "not Hermitian" in M.report.reason
    assert M.spectrum is None
    x = rng.standard_normal(900)
    assert np.array_equal(M @ x, B @ x)
    with pytest.raises(InputError, match="not Hermitian"):
        composed(A, B, degree=2, rng=SEED)
    # Where they are nearly symmetric they serve.
    C = gallery.poisson((20, 20))
    fine = sla.spilu(C.tocsc(), drop_tol=0, fill_factor=50)
    M = composed(C, sla.LinearOperator(C.shape, fine.solve), degree=2, rng=SEED)
    assert M.spectrum.interval[1] == pytest.approx(1.0, rel=1e-6)


def test_bases_that_are_not_definite_are_refused(rng):
    A = gallery.poisson((20, 20))
    D = np.full(400, 0.25)
    with pytest.raises(NotPositiveDefiniteError, match=r"B must be .* v\* B v = -"):
        composed(A, sp.diags_array(-D), rng=SEED)
    D[::3] = -0.25
    with pytest.raises(NotPositiveDefiniteError, match="B must be"):
        composed(A, sp.diags_array(D), rng=SEED)
    with pytest.raises(NotPositiveDefiniteError, match="A must be"):
        composed(A - 2.5 * sp.eye_array(400), np.eye(400), rng=SEED)
    with pytest.raises(NotPositiveDefiniteError, match="A must be"):
        composed(-A, np.eye(400), rng=SEED)
    with pytest.raises(NotPositiveDefiniteError, match="B must be"):
        composed(A, sp.csr_array((400, 400)), rng=SEED)


def test_bad_input_is_refused(rng):
    A = gallery.poisson((20, 20))
    lower = np.linalg.inv(np.tril(A.toarray()) + 3 * np.tril(np.ones((400, 400)), -1))
    with pytest.raises(InputError, match=r"B must be Hermitian|not Hermitian"):
        composed(A, lower, degree=2, rng=SEED)
    with pytest.raises(InputError, match="shape of A"):
        composed(A, np.eye(3), rng=SEED)
    with pytest.raises(InputError, match="finite"):
        composed(A, sla.LinearOperator((400, 400), lambda x: x * np.nan), rng=SEED)
    with pytest.raises(InputError, match="degree"):
        composed(A, np.eye(400), degree=-1)
    with pytest.raises(InputError, match="method"):
        composed(A, np.eye(400), method="jacobi")
    with pytest.raises(InputError, match="Hermitian"):
        composed(gallery.convection_diffusion((5, 5)), np.eye(25))
