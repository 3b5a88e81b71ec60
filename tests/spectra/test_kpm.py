"""Densities and counts: KPM, and what known moments do to the Gauss weights of a probe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from strategies import problems

import spectool as st
from spectool.errors import InputError
from spectool.operators import as_operator
from spectool.spectrum.kpm import kpm_density
from spectool.spectrum.moments import Moments, calibrated, known_moments

EPS = np.finfo(float).eps
SEED = 141592653
POISSON = st.gallery.poisson((31, 29))
TRUTH = np.sort(st.gallery.poisson_eigenvalues((31, 29)).ravel())
WINDOWS = [(-1.0, 1.0), (1.0, 3.0), (2.5, 4.5), (6.0, 9.0), (-5.0, 20.0)]


# -- KPM -------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [1, 2, 3, 8, 9])
def test_moments_are_those_of_the_start_vectors(degree):
    rng = np.random.default_rng(SEED)
    B = rng.standard_normal((40, 40)) + 1j * rng.standard_normal((40, 40))
    A = B + B.conj().T
    lam, U = np.linalg.eigh(A)
    spectrum = st.estimate_spectrum(A, steps=40, rng=SEED)
    d = kpm_density(A, degree=degree, n_probes=3, spectrum=spectrum, assume_a="her", rng=SEED)
    draw = np.random.default_rng(SEED)
    lower, upper = spectrum.interval
    y = (2 * lam - lower - upper) / (upper - lower)
    for moments in d.moments:
        v = draw.standard_normal(40) + 1j * draw.standard_normal(40)
        weights = np.abs(U.conj().T @ v) ** 2 / np.linalg.norm(v) ** 2
        expected = [weights @ np.cos(k * np.arccos(np.clip(y, -1, 1))) for k in range(degree + 1)]
        np.testing.assert_allclose(moments, expected, atol=1e-12)
    assert d.n_matvecs == 3 * -(-degree // 2)


@pytest.mark.parametrize("window", WINDOWS)
def test_counts_within_their_error_bars(window):
    count = np.count_nonzero(window[0] < TRUTH) - np.count_nonzero(window[1] < TRUTH)
    for seed in range(SEED, SEED + 8):
        estimate = kpm_density(POISSON, degree=128, rng=seed).count(*window)
        assert abs(estimate.value - count) <= 3 * estimate.standard_error + 0.01 * TRUTH.size


def test_density_and_distribution_agree():
    d = kpm_density(POISSON, degree=60, rng=SEED)
    lower, upper = d.interval
    angle = np.linspace(0, np.pi, 20_001)[1:-1]
    x = 0.5 * (upper + lower) + 0.5 * (upper - lower) * np.cos(angle)
    mass = np.trapezoid(d.density(x) * 0.5 * (upper - lower) * np.sin(angle), angle)
    assert abs(mass - 1) <= 1e-5
    assert (d.density(x) >= 0).all()
    heights = d.cumulative(x[::-1])
    assert (np.diff(heights) >= -1e-12).all()
    middle = np.linspace(lower + 0.1, upper - 0.1, 4001)
    slope = np.gradient(d.cumulative(middle), middle)
    np.testing.assert_allclose(d.density(middle)[1:-1], slope[1:-1], atol=1e-3)
    assert d.cumulative(lower - 1) == pytest.approx(0, abs=1e-12)
    assert d.cumulative(upper + 1) == pytest.approx(1, abs=1e-12)
    assert d.density([lower - 1, upper + 1]).tolist() == [0, 0]
    assert d.cumulative(np.ones((2, 3))).shape == (2, 3)
    assert "degree 60" in str(d)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128, int])
def test_dtypes(dtype):
    A = np.diag(np.arange(1, 41)).astype(dtype)
    estimate = kpm_density(A, degree=40, n_probes=20, rng=SEED).count(0.5, 20.5)
    assert abs(estimate.value - 20) <= 4 * estimate.standard_error


@pytest.mark.parametrize("value", [0.0, 3.0, -1e100])
def test_multiples_of_the_identity(value):
    d = kpm_density(sparse.csr_array(value * np.eye(5)), degree=10, rng=SEED)
    assert d.count(value - 1 - abs(value), value + 1 + abs(value)).value == pytest.approx(5)


def test_every_matvec_is_counted():
    calls = []
    operator = LinearOperator(
        POISSON.shape, matvec=lambda x: calls.append(1) or POISSON @ x, dtype=float
    )
    d = kpm_density(operator, degree=20, n_probes=3, rng=SEED)
    assert d.n_matvecs == len(calls) == 2 + 24 + 30
    assert d.n_probes == 3
    assert d.degree == 20


@pytest.mark.parametrize(
    "options",
    [
        {"degree": 0},
        {"degree": 2.5},
        {"n_probes": 0},
        {"n_probes": 1.5},
        {"n_probes": True},
        {"spectrum": st.estimate_spectrum(st.gallery.poisson((5, 5)), rng=SEED)},
        {"spectrum": st.estimate_spectrum(POISSON, scaling="symmetric", rng=SEED)},
        {"spectrum": (0.0, 8.0)},
        {"assume_a": "gen"},
    ],
    ids=str,
)
def test_malformed_options(options):
    with pytest.raises(InputError):
        kpm_density(POISSON, **options)


def test_malformed_questions():
    with pytest.raises(InputError):
        kpm_density(POISSON, degree=4, rng=SEED).count(2.0, 1.0)


# -- known moments ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128, int])
@pytest.mark.parametrize("stored", [np.asarray, sparse.csr_array])
def test_known_moments_are_the_eigenvalues(dtype, stored):
    rng = np.random.default_rng(SEED)
    B = rng.integers(-3, 4, (30, 30)).astype(dtype)
    if dtype is np.complex128:
        B = B + 1j * rng.integers(-3, 4, (30, 30))
    A = B + B.conj().T
    moments = known_moments(as_operator(stored(A)))
    lam = np.linalg.eigvalsh(A.astype(np.complex128))
    np.testing.assert_allclose(moments, (lam.mean(), (lam**2).mean()), rtol=1e-6)


def test_unknown_moments():
    assert known_moments(as_operator(aslinearoperator(POISSON))) is None
    for value in (1e200, 1e-200):
        assert known_moments(as_operator(value * POISSON)) is None
    # A probe lifts what would underflow.
    assert st.estimate_spectrum(1e-200 * POISSON, rng=SEED).n_moments == 2
    assert st.estimate_spectrum(POISSON, rng=SEED).n_moments == 2


@settings(max_examples=100)
@given(problem=problems(max_n=80, indefinite=True), steps=hs.sampled_from([1, 2, 3, 8]))
def test_weights_reproduce_the_moments(problem, steps):
    lam = problem.eigenvalues
    spectrum = st.estimate_spectrum(problem.A, steps=steps, n_probes=2, rng=problem.seed)
    assert (spectrum.weights >= 0).all()
    assert spectrum.weights.sum() == pytest.approx(1)
    size = np.abs(lam).max()
    for k in range(1, spectrum.n_moments + 1):
        found = spectrum.weights @ (spectrum.ritz_values / size) ** k
        assert found == pytest.approx(((lam / size) ** k).mean(), abs=1e-6)


def test_calibration_refuses_negative_weights():
    nodes, weights = np.array([0.0, 1.0, 2.0]), np.array([0.2, 0.3, 0.5])
    moved, matched = calibrated(nodes, weights, Moments(1.0, 1.5))
    assert matched == 2
    np.testing.assert_allclose(moved @ np.vander(nodes, 3), (1.5, 1.0, 1.0))
    for impossible in (Moments(5.0, 26.0), Moments(1.0, 1.0)):
        same, matched = calibrated(nodes, weights, impossible)
        assert matched == 0
        assert np.array_equal(same, weights)
    _, matched = calibrated(nodes, weights, Moments(1.0, 9.0))  # beyond these nodes
    assert matched == 1


def test_calibration_sharpens_counts():
    errors = {True: [], False: []}
    bars = {True: [], False: []}
    for seed in range(SEED, SEED + 10):
        for stored in (True, False):
            A = POISSON if stored else aslinearoperator(POISSON)
            spectrum = st.estimate_spectrum(A, n_probes=2, assume_a="her", rng=seed)
            for lo, hi in WINDOWS[:-1]:
                truth = np.count_nonzero(lo < TRUTH) - np.count_nonzero(hi < TRUTH)
                count = spectrum.count(lo, hi)
                errors[stored].append((count.value - truth) / TRUTH.size)
                bars[stored].append(count.standard_error / TRUTH.size)
    rms = {stored: np.sqrt(np.mean(np.square(e))) for stored, e in errors.items()}
    assert rms[True] <= 0.75 * rms[False]
    assert np.mean(bars[True]) < np.mean(bars[False])
    assert (np.abs(errors[True]) <= 0.02 + np.array(bars[True])).all()
    assert (np.abs(errors[False]) <= 4 * np.array(bars[False])).all()


@pytest.mark.parametrize("name", ["HB/bcsstk16", "HB/lund_a", "pyamg/bar", "pyamg/ldg_diffusion"])
def test_counts_of_bundled_matrices(name):
    A = sparse.csr_array(st.collection.load(name))
    n = A.shape[0]
    if n > 1000:
        A, n = sparse.csr_array(A[:1000, :1000]), 1000
    lam = np.linalg.eigvalsh(A.toarray())
    for seed in range(SEED, SEED + 4):
        spectrum = st.estimate_spectrum(A, n_probes=4, rng=seed)
        for a, b in [(0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.45, 0.55), (0.5, 0.9), (0.9, 1)]:
            lo = 0.5 * (lam[int(a * n) - 1] + lam[int(a * n)]) if a else lam[0] - 1
            hi = 0.5 * (lam[int(b * n) - 1] + lam[int(b * n)]) if b < 1 else lam[-1] + 1
            truth = np.count_nonzero((lam > lo) & (lam <= hi))
            count = spectrum.count(lo, hi)
            assert abs(count.value - truth) <= 0.02 * n + count.standard_error


@pytest.mark.parametrize("n", [1, 2, 30])
def test_counts_are_exact_once_all_eigenvalues_are_found(n):
    lam = np.linspace(1, 4, n)
    spectrum = st.estimate_spectrum(st.gallery.random_spectrum(lam, rng=SEED), steps=n, rng=SEED)
    assert spectrum.complete
    for edge in (0.5, 1.7, 2.6, 4.5):
        assert spectrum.count(-9.0, edge) == (np.count_nonzero(lam <= edge), 0.0)


def test_an_unresolved_step_is_admitted():
    """Half the eigenvalues lie where 6 steps see one or two: no count inside is trusted."""
    lam = np.concatenate([1 + np.random.default_rng(SEED).random(400), np.linspace(9e3, 1e4, 400)])
    A = st.gallery.random_spectrum(lam, rng=SEED)
    spectrum = st.estimate_spectrum(A, steps=6, n_probes=4, rng=SEED)
    for edge in (1.2, 1.5, 1.8):
        count = spectrum.count(0.0, edge)
        truth = np.count_nonzero(lam <= edge)
        assert abs(count.value - truth) <= 0.02 * 800 + count.standard_error
        assert count.standard_error >= 0.1 * 800
