"""Samples of a Gaussian: exact in their noise, right in their statistics."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.csgraph
from scipy.sparse.linalg import aslinearoperator
from scipy.stats import chi2

import spectool as st
from spectool import sample_gaussian
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError

CHANCE = 1e-6
"""Two-sided probability of a false alarm of each statistic; there are fewer than 100 of them."""


def precision(n=12):
    return st.gallery.poisson((n, n)) + 0.1 * sp.eye_array(n * n)


def in_chi_square(value, degrees):
    low, high = chi2.ppf([CHANCE / 2, 1 - CHANCE / 2], degrees)
    return low <= value <= high


@pytest.mark.parametrize("given", ["precision", "covariance"])
def test_directions_have_their_variances(given):
    A = precision()
    dense = A.toarray()
    covariance = np.linalg.inv(dense) if given == "precision" else dense
    m = 400
    X = sample_gaussian(A, m, given=given, rng=314159265).check().y
    assert X.shape == (144, m)
    # Eigenvectors, coordinates and mixtures: (c* x)^2 / var is chi-square with m degrees.
    eigenvectors = np.linalg.eigh(dense)[1][:, [0, 1, 70, 142, 143]]
    mixed = np.random.default_rng(271828182).standard_normal((144, 10))
    for c in np.hstack([eigenvectors, np.eye(144)[:, :10], mixed]).T:
        assert in_chi_square(np.sum((c @ X) ** 2) / (c @ covariance @ c), m)
    # The wrong root would fail: A has eigenvalues from 0.2 to 8.
    c = eigenvectors[:, 0]
    assert not in_chi_square(np.sum((c @ X) ** 2) * (c @ covariance @ c), m)


def test_directions_are_independent():
    A = precision()
    m = 400
    X = sample_gaussian(A, m, rng=141421356).y
    lam, U = np.linalg.eigh(A.toarray())
    white = np.sqrt(lam)[:, None] * (U.T @ X)
    # Sums of two independent standard normals have variance 2.
    for i, j in [(0, 1), (0, 143), (3, 70), (142, 143)]:
        for sign in (1, -1):
            assert in_chi_square(np.sum((white[i] + sign * white[j]) ** 2) / 2, m)


def test_complex_noise_is_circular():
    n, m = 40, 500
    rng = np.random.default_rng(161803398)
    G = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    A = G @ G.conj().T / n + np.eye(n)
    X = sample_gaussian(A, m, rng=rng).y
    assert X.dtype == np.complex128
    covariance = np.linalg.inv(A)
    for c in np.eye(n)[:8]:
        projected = c @ X / np.sqrt((c @ covariance @ c).real)
        # Real and imaginary parts are independent, each of variance 1/2.
        assert in_chi_square(2 * np.sum(projected.real**2), m)
        assert in_chi_square(2 * np.sum(projected.imag**2), m)
        assert in_chi_square(np.sum((projected.real + projected.imag) ** 2), m)


@pytest.mark.parametrize("given", ["precision", "covariance"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sample_is_the_symmetric_root_of_its_noise(given, dtype, rng):
    A = precision(8).astype(dtype)
    z = rng.standard_normal((64, 3)).astype(dtype)
    solution = sample_gaussian(A, given=given, z=z)
    lam, U = np.linalg.eigh(A.toarray().astype(np.float64))
    exact = (U * lam ** (-0.5 if given == "precision" else 0.5)) @ (U.T @ z)
    assert solution.y.dtype == dtype
    # Twice the estimate, because it is one, and the rounding of the reference itself.
    error = np.linalg.norm(solution.y - exact, axis=0) / np.linalg.norm(exact, axis=0)
    assert error.max() <= 2 * solution.error_estimate + 100 * np.finfo(dtype).eps
    assert solution.error_estimate <= (1e-4 if dtype == np.float32 else 1e-8)
    one = sample_gaussian(A, given=given, z=z[:, 0])
    assert one.y.shape == (64,)
    np.testing.assert_allclose(one.y, exact[:, 0], rtol=0, atol=2e-4 * np.abs(exact).max())


def test_order_of_the_unknowns_does_not_matter(rng):
    A, z = precision(8), rng.standard_normal(64)
    p = rng.permutation(64)
    x = sample_gaussian(A, z=z).y
    permuted = sample_gaussian(A.tocsr()[p][:, p], z=z[p]).y
    np.testing.assert_allclose(permuted, x[p], rtol=0, atol=1e-7 * np.abs(x).max())


def test_operators_and_spectra_and_seeds():
    A = precision(8)
    spectrum = st.estimate_spectrum(A)
    first = sample_gaussian(A, 2, rng=577215664, spectrum=spectrum)
    again = sample_gaussian(A, 2, rng=577215664, spectrum=spectrum)
    np.testing.assert_array_equal(first.y, again.y)
    assert not np.allclose(first.y, sample_gaussian(A, 2, rng=577215665).y)
    z = np.random.default_rng(577215664).standard_normal((64, 2))
    operated = sample_gaussian(aslinearoperator(A), z=z)
    np.testing.assert_allclose(operated.y, first.y, rtol=0, atol=1e-6)
    assert operated.n_matvecs > 0


def test_scales_with_the_unit():
    A, z = precision(6), np.random.default_rng(693147180).standard_normal(36)
    x = sample_gaussian(A, z=z).y
    for unit in (1e150, 1e-150):
        scaled = sample_gaussian(A * unit, z=z).y
        np.testing.assert_allclose(scaled * unit**0.5, x, rtol=0, atol=1e-7 * np.abs(x).max())


def test_small_and_empty():
    assert sample_gaussian([[4.0]], z=[2.0]).y.tolist() == [1.0]
    assert sample_gaussian([[4.0]], z=[2.0], given="covariance").y.tolist() == [4.0]
    assert sample_gaussian(precision(4)).y.shape == (16, 1)
    assert sample_gaussian(precision(4), 0).y.shape == (16, 0)


def test_semidefinite_covariance_samples_its_range():
    L = scipy.sparse.csgraph.laplacian(abs(st.gallery.poisson((5, 5)).astype(float)))
    X = sample_gaussian(L, 5, given="covariance", rng=101325000, rtol=1e-6).y
    # Constants are in the null space: the samples have no mean, to the error of the root at zero.
    assert np.abs(X.sum(axis=0)).max() <= 1e-5 * np.abs(X).max() * 25


def test_says_what_is_wrong():
    A = precision(4)
    with pytest.raises(InputError, match="given must be one of"):
        sample_gaussian(A, given="variance")
    with pytest.raises(InputError, match="n_samples must be a nonnegative"):
        sample_gaussian(A, 1.5)
    with pytest.raises(InputError, match="exclude each other"):
        sample_gaussian(A, 2, z=np.ones(16))
    with pytest.raises(InputError, match="shape"):
        sample_gaussian(A, z=np.ones(15))
    with pytest.raises(NotPositiveDefiniteError):
        sample_gaussian(A - 3 * sp.eye_array(16), 1)
    with pytest.warns(ConvergenceWarning):
        solution = sample_gaussian(A, 1, rng=299792458, rtol=1e-16)
    assert not solution.converged
