"""Dense laws: formulas, spectra and limits, and that the same seed draws the same matrix."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from spectool import gallery
from spectool.errors import InputError

EPS = np.finfo(float).eps

EXAMPLES = {
    "wishart": lambda rng: gallery.wishart(20, 30, rng=rng),
    "wishart uniform": lambda rng: gallery.wishart(20, uniform=True, rng=rng),
    "uniform_spectrum": lambda rng: gallery.uniform_spectrum(20, rng=rng),
    "quartic_hessian": lambda rng: gallery.quartic_hessian(20, rng=rng),
    "erdos_renyi_laplacian": lambda rng: gallery.erdos_renyi_laplacian(20, 0.3, rng=rng),
    "image_covariance": lambda rng: gallery.image_covariance(25, rng=rng),
    "image_covariance colors": lambda rng: gallery.image_covariance(27, 50, rng=rng),
    "heavy_tailed": lambda rng: gallery.heavy_tailed(20, 8, 0.5, rng=rng),
    "prescribed": lambda rng: gallery.prescribed_singular_values([2, 1], (5, 7), rng=rng),
}
INDEFINITE = ("uniform_spectrum", "quartic_hessian")


@pytest.mark.parametrize("name", EXAMPLES)
def test_arrays_of_doubles_that_the_seed_determines(name):
    A = EXAMPLES[name](501928374)
    assert type(A) is np.ndarray
    assert A.dtype == np.float64
    assert np.isfinite(A).all()
    assert np.array_equal(A, EXAMPLES[name](501928374))
    assert not np.array_equal(A, EXAMPLES[name](610293847))
    rng = np.random.default_rng(501928374)
    assert np.array_equal(A, EXAMPLES[name](rng))
    assert not np.array_equal(A, EXAMPLES[name](rng))


@pytest.mark.parametrize(
    "name", [name for name in EXAMPLES if name not in ("heavy_tailed", "prescribed")]
)
def test_symmetric_bit_for_bit_and_of_the_stated_sign(name):
    A = EXAMPLES[name](192837465)
    assert np.array_equal(A, A.T)
    lam = np.linalg.eigvalsh(A)
    assert (lam[0] < 0) == (name in INDEFINITE)


@pytest.mark.parametrize("uniform", [False, True])
def test_wishart_fills_the_interval_of_marchenko_and_pastur(uniform):
    n, d, eps = 400, 1600, 0.5
    A = gallery.wishart(n, d, eps=eps, uniform=uniform, rng=736451928)
    lam = np.linalg.eigvalsh(A)
    edges = (1 + np.array([-1, 1]) * math.sqrt(n / d)) ** 2 + eps
    # Edges fluctuate like n^(-2/3) = 0.02; the mean like 1 / sqrt(n d).
    assert_allclose(lam[[0, -1]], edges, atol=0.1)
    assert_allclose(lam.mean(), 1 + eps, atol=0.01)


def test_wishart_of_few_rows_is_damped_only():
    lam = np.linalg.eigvalsh(gallery.wishart(30, 10, eps=1e-3, rng=647382915))
    assert_allclose(lam[:20], 1e-3, atol=1e3 * EPS)
    assert lam[20] > 0.01
    assert np.linalg.eigvalsh(gallery.wishart(30, 10, eps=0, rng=647382915))[19] < 1e3 * EPS


def test_uniform_spectrum_has_floor_and_ends():
    lam = np.linalg.eigvalsh(gallery.uniform_spectrum(400, -2.0, 3.0, floor=0.5, rng=918273640))
    assert lam[0] > -2
    assert lam[-1] < 3
    assert np.abs(lam).min() > 0.5 - 1e3 * EPS
    assert np.sum(np.abs(lam - 0.5) < 1e3 * EPS) > 40  # a fifth of them, on the positive side
    # Mean of the uniform law, with [-0.5, 0.5] moved to 0.5; standard error 1.44 / 20.
    assert abs(lam.mean() - (0.5 + 0.1)) < 0.3


def test_quartic_hessian_is_one():
    """``diag(3 x^2) + B``: before division, off-diagonal variance 1 / (2 n) * 2 / 2."""
    n = 300
    H = gallery.quartic_hessian(n, floor=0.0, rng=564738291)
    assert_allclose(np.linalg.norm(H), 1.0, rtol=1e-12)
    off = H[~np.eye(n, dtype=bool)]
    diagonal = np.diag(H)
    # In units of the standard deviation of an entry of B, 1 / sqrt(n): 3 x^2 has mean 3.
    assert_allclose(diagonal.mean() / off.std() / math.sqrt(n), 3.0, rtol=0.2)
    lam = np.linalg.eigvalsh(gallery.quartic_hessian(n, floor=1e-2, rng=564738291))
    assert np.abs(lam).min() * math.sqrt(n) > 1e-4


def test_erdos_renyi_laplacian_follows_its_definition():
    n, p, shift = 150, 0.2, 0.25
    A = gallery.erdos_renyi_laplacian(n, p, shift, rng=384756192)
    assert_allclose(np.diag(A), 1 + shift)
    off = A - np.diag(np.diag(A))
    W = (off != 0).astype(float)
    degree = W.sum(1)
    assert_allclose(off, -W / np.sqrt(np.outer(degree, degree)), rtol=1e-14)
    edges = W.sum() / 2
    mean = p * n * (n - 1) / 2
    assert abs(edges - mean) < 5 * math.sqrt(mean)
    lam = np.linalg.eigvalsh(A)
    assert_allclose(lam[0], shift, atol=1e3 * EPS)
    assert lam[-1] < 2 + shift


@pytest.mark.parametrize(("p", "expected"), [(0.0, np.eye(3) * 0.5), (1.0, None)])
def test_erdos_renyi_laplacian_without_and_with_all_edges(p, expected):
    A = gallery.erdos_renyi_laplacian(3, p, 0.5, rng=1)
    if expected is None:
        expected = 1.5 * np.eye(3) - (np.ones((3, 3)) - np.eye(3)) / 2
    assert_allclose(A, expected, rtol=1e-14)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_images_have_the_power_spectrum_asked_for(exponent):
    A = gallery.image_covariance(64, 2000, exponent=exponent, eps=0.0, rng=273645918)
    f = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16))
    f[0, 0] = 1 / 16
    covariance = np.fft.ifft2(f**-exponent).real
    for distance in (1, 3):
        rho = covariance[0, distance] / covariance[0, 0]
        # Mean 1/2 and variance 1/16; cutting pixels to [0, 1], at two deviations, and 2000 samples
        # move this by about 0.01.
        expected = (1 / 4 + rho / 16) / (1 / 4 + 1 / 16)
        assert_allclose(A[27, 27 + distance] / A[27, 27], expected, atol=0.03)


def test_colors_of_a_pixel_are_alike():
    A = gallery.image_covariance(75, 4000, eps=0.0, rng=465738291)
    i, j = 12, 25 + 12  # the same pixel in two planes
    expected = (1 / 4 + 0.9 / 16) / (1 / 4 + 1 / 16)
    assert_allclose(A[i, j] / A[i, i], expected, atol=0.02)


def test_image_covariance_is_dominated_by_the_mean_and_damped():
    A = gallery.image_covariance(100, 40, eps=1e-2, rng=819273645)
    lam, U = np.linalg.eigh(A)
    assert_allclose(lam[:60], 1e-2, atol=1e3 * EPS)
    assert_allclose(np.linalg.norm(A - 1e-2 * np.eye(100)), 1.0, rtol=1e-12)
    assert abs(U[:, -1].sum()) / 10 > 0.95
    assert gallery.image_covariance(3 * 16, rng=1).shape == (48, 48)


def test_heavy_tails_follow_the_bidiagonal_ensemble():
    """``tr B B^T``: chi variables add up to ``beta n m``, so squared singular values to m."""
    n, m = 90, 60
    squares = [
        (np.linalg.norm(gallery.heavy_tailed(n, m, kappa, rng=seed)) ** 2 / m)
        for kappa in (0.5, 5.0)
        for seed in range(60)
    ]
    # Each is 1 in the mean, with variance 2 / (kappa n).
    assert abs(np.mean(squares) - 1) < 0.1
    spread = [
        np.ptp(np.log10(np.linalg.svd(gallery.heavy_tailed(n, m, kappa, rng=728193645))[1]))
        for kappa in (100.0, 1.0, 0.1)
    ]
    assert spread[0] < 1.5
    assert spread == sorted(spread)
    assert spread[2] > 6


def test_heavy_tails_with_large_kappa_are_gaussian_in_their_spectrum():
    n, m = 400, 100
    s = np.linalg.svd(gallery.heavy_tailed(n, m, 1e6, rng=463728195))[1]
    edges = 1 + np.array([-1, 1]) * math.sqrt(m / n)
    assert_allclose(s[[-1, 0]], edges, atol=0.05)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (1, 1), (3, 1)])
def test_prescribed_singular_values(shape):
    k = min(shape)
    s = np.geomspace(1.0, 1e-6, k)
    G = gallery.prescribed_singular_values(s, shape, rng=651928374)
    assert G.shape == shape
    assert_allclose(np.linalg.svd(G)[1], s, atol=50 * EPS)
    if k > 1:
        G = gallery.prescribed_singular_values(s[:1], shape, rng=651928374)
        assert np.linalg.matrix_rank(G) == 1


def test_haar_factors_prefer_no_direction():
    first = [gallery.prescribed_singular_values([1.0], (3, 2), rng=seed) for seed in range(400)]
    mean = np.mean(first, axis=0)
    # Entries have variance 1 / 6; without the signs of R the mean would not be zero.
    assert np.abs(mean).max() < 5 * math.sqrt(1 / 6 / 400)


@pytest.mark.parametrize(
    "name",
    ["wishart", "uniform_spectrum", "quartic_hessian", "erdos_renyi_laplacian", "image_covariance"],
)
def test_one_by_one(name):
    A = getattr(gallery, name)(1, rng=738291645)
    assert A.shape == (1, 1)
    assert np.isfinite(A).all()
    assert gallery.heavy_tailed(1, 1, rng=738291645).shape == (1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gallery.wishart(0), "n must"),
        (lambda: gallery.wishart(3, 0), "d must"),
        (lambda: gallery.wishart(3, eps=-1), "eps"),
        (lambda: gallery.uniform_spectrum(3, 1.0, 1.0), "upper"),
        (lambda: gallery.uniform_spectrum(3, floor=-1), "floor"),
        (lambda: gallery.uniform_spectrum(3, -np.inf), "lower"),
        (lambda: gallery.quartic_hessian(2.5), "n must"),
        (lambda: gallery.erdos_renyi_laplacian(3, 1.5), "p must"),
        (lambda: gallery.erdos_renyi_laplacian(3, 0.5, -1.0), "shift"),
        (lambda: gallery.image_covariance(10), "s\\*\\*2"),
        (lambda: gallery.image_covariance(9, 0), "n_images"),
        (lambda: gallery.image_covariance(9, exponent=-1), "exponent"),
        (lambda: gallery.heavy_tailed(3, 4), "n must"),
        (lambda: gallery.heavy_tailed(4, 3, 0.0), "kappa"),
        (lambda: gallery.prescribed_singular_values([1, 2, 3], (2, 5)), "s must"),
        (lambda: gallery.prescribed_singular_values([], (2, 5)), "s must"),
        (lambda: gallery.prescribed_singular_values([-1], (2, 5)), "not negative"),
        (lambda: gallery.prescribed_singular_values([np.nan], (2, 5)), "finite"),
        (lambda: gallery.prescribed_singular_values([1], (5,)), "shape"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(InputError, match=message):
        call()
