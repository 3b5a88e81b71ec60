"""The probe: bounds that hold, counts with honest error bars, consistent densities."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as hs
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from strategies import FAMILIES, draw_spectrum, problems, seeds

import spectool as st
from spectool.errors import BreakdownError, InputError

EPS = np.finfo(float).eps
SEED = 481516234


def diagonal_operator(lam):
    """diag(lam) that hides its entries, so that Gershgorin discs cannot help."""
    lam = np.asarray(lam)
    return LinearOperator(
        (lam.size, lam.size),
        matvec=lambda x: lam * x.ravel(),
        matmat=lambda X: lam[:, None] * X,
        dtype=np.result_type(lam.dtype, np.float32),
    )


# -- bounds ----------------------------------------------------------------------------------


@settings(max_examples=400)
@given(
    family=hs.sampled_from(sorted(FAMILIES)),
    n=hs.one_of(hs.integers(1, 40), hs.integers(1, 300)),
    log_cond=hs.integers(0, 14),
    indefinite=hs.booleans(),
    scale=hs.sampled_from([1.0, 1e-100, 1e100]),
    steps=hs.sampled_from([None, 1, 2, 5, 40]),
    seed=seeds,
)
def test_bounds_hold_without_gershgorin(family, n, log_cond, indefinite, scale, steps, seed):
    lam = draw_spectrum(family, n, 10.0**log_cond, seed, scale=scale, indefinite=indefinite)
    spectrum = st.estimate_spectrum(diagonal_operator(lam), steps=steps, assume_a="her", rng=seed)
    lower, upper = spectrum.interval
    # A Ritz value that is an eigenvalue may be off by rounding of the recurrence.
    slack = 100 * EPS * np.abs(lam).max() if spectrum.complete else 0.0
    assert lower <= lam[0] + slack
    assert upper >= lam[-1] - slack
    size = np.abs(lam).max()
    assert spectrum.ritz_values[0] >= lam[0] - 100 * EPS * size
    assert spectrum.ritz_values[-1] <= lam[-1] + 100 * EPS * size
    assert spectrum.n_matvecs <= min(steps or 24, n)


@settings(max_examples=100)
@given(problem=problems(max_n=120, indefinite=True), n_probes=hs.sampled_from([1, 3]))
def test_bounds_hold_for_stored_matrices(problem, n_probes):
    spectrum = st.estimate_spectrum(problem.A, n_probes=n_probes, rng=problem.seed)
    lower, upper = spectrum.interval
    # The rotations that built A are rounded too.
    slack = 100 * EPS * np.abs(problem.eigenvalues).max()
    assert lower <= problem.eigenvalues[0] + slack
    assert upper >= problem.eigenvalues[-1] - slack


@pytest.mark.parametrize("single", [np.float32, np.complex64])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_bounds_hold_in_single_precision(family, single):
    for seed in range(SEED, SEED + 8):
        lam = draw_spectrum(family, 150, 1e3, seed).astype(np.float32)
        A = diagonal_operator(lam.astype(single))
        spectrum = st.estimate_spectrum(A, assume_a="her", rng=seed)
        slack = 100 * np.finfo(np.float32).eps * np.abs(lam).max()
        assert spectrum.interval[0] <= lam[0] + slack
        assert spectrum.interval[1] >= lam[-1] - slack


def test_bounds_are_sharp_enough_to_be_useful():
    A = st.gallery.poisson((60, 60))
    for seed in range(SEED, SEED + 10):
        spectrum = st.estimate_spectrum(aslinearoperator(A), rng=seed)
        width = 8.0
        assert spectrum.interval[1] <= 8 + 0.1 * width
        assert spectrum.interval[0] >= -0.1 * width


def test_more_steps_sharpen_the_upper_bound():
    A = aslinearoperator(st.gallery.poisson((50, 50)))
    ends = [st.estimate_spectrum(A, steps=k, rng=SEED).interval[1] for k in (4, 8, 16, 32, 64)]
    assert (np.diff(ends) < 0).all()


# -- certificates ----------------------------------------------------------------------------


def test_certificate_of_a_stored_matrix_names_gershgorin():
    upper = st.estimate_spectrum(st.gallery.poisson((50, 50)), rng=SEED).certificate.upper
    assert upper.source == "Gershgorin"
    assert upper.proven
    assert 8 <= upper.value <= 8 * (1 + 100 * EPS)


def test_certificate_of_an_operator_is_probabilistic():
    A = aslinearoperator(st.gallery.poisson((50, 50)))
    certificate = st.estimate_spectrum(A, rng=SEED).certificate
    for bound in certificate:
        assert bound.source == "Lanczos polynomial"
        assert not bound.proven
        assert "1e-4" in str(bound)
    assert certificate.lower.value <= certificate.lower.ritz_value
    assert certificate.upper.value >= certificate.upper.ritz_value
    assert certificate.upper.residual > 0


def test_declared_definite_cuts_the_lower_end():
    A = st.gallery.poisson((50, 50))
    spectrum = st.estimate_spectrum(aslinearoperator(A), assume_a="pos", rng=SEED)
    assert spectrum.interval[0] == 0.0
    assert spectrum.certificate.lower.source == "declared positive definite"
    assert spectrum.certificate.lower.proven


def test_wrongly_declared_definite_is_refused_and_named():
    A = st.gallery.poisson((30, 30)) - 2 * sparse.eye_array(900)
    with pytest.raises(InputError, match="Ritz value -1"):
        st.estimate_spectrum(A, assume_a="pos", rng=SEED)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 24])
def test_tiny_operators_are_known_completely(n):
    lam = np.linspace(-1, 3, n)
    spectrum = st.estimate_spectrum(st.gallery.random_spectrum(lam, rng=SEED), steps=30, rng=SEED)
    assert spectrum.complete
    np.testing.assert_allclose(spectrum.ritz_values, lam, atol=100 * EPS)
    assert spectrum.n_matvecs == n
    assert spectrum.certificate.upper.proven


@pytest.mark.parametrize("distinct", [1, 2, 5])
def test_few_distinct_eigenvalues_end_the_probe(distinct):
    lam = np.repeat(np.arange(1.0, distinct + 1), 20)
    spectrum = st.estimate_spectrum(diagonal_operator(lam), rng=SEED)
    assert spectrum.complete
    np.testing.assert_allclose(spectrum.ritz_values, np.unique(lam), atol=100 * EPS)
    assert spectrum.n_matvecs == distinct + 2  # two test symmetry


# -- special operators -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-200, 1e120])
@pytest.mark.parametrize("n", [1, 50])
def test_multiples_of_the_identity(n, value):
    spectrum = st.estimate_spectrum(sparse.csr_array(value * np.eye(n)), rng=SEED)
    lower, upper = spectrum.interval
    assert lower < upper
    assert lower <= value <= upper
    assert upper - lower <= 1e-11 * max(abs(value), 1)
    assert spectrum.complete
    for sample in (spectrum.sample(7), spectrum.quantile(0.5)):
        np.testing.assert_allclose(sample, value, atol=1e-11 * max(abs(value), 1))
    assert spectrum.cumulative(lower - 1.0 - abs(value)) <= 0.5
    assert spectrum.cumulative(upper + 1.0 + abs(value)) >= 1.0 - 100 * EPS


def test_complex_hermitian():
    lam = np.linspace(-2, 5, 80)
    rng = np.random.default_rng(SEED)
    Q = np.linalg.qr(rng.standard_normal((80, 80)) + 1j * rng.standard_normal((80, 80)))[0]
    A = (Q * lam) @ Q.conj().T
    A = 0.5 * (A + A.conj().T)
    for operand in (A, sparse.csr_array(A), aslinearoperator(A)):
        lower, upper = st.estimate_spectrum(operand, rng=SEED).interval
        assert lower <= -2 <= 5 <= upper
        assert upper - lower <= 9


def test_symmetric_scaling_is_the_spectrum_of_the_scaled_matrix():
    A = st.gallery.jump((20, 20), 1e4)
    s = 1 / np.sqrt(A.diagonal())
    scaled = sparse.csr_array(A.multiply(s[:, None]).multiply(s))
    scaled = 0.5 * (scaled + scaled.T)
    spectrum = st.estimate_spectrum(A, scaling="symmetric", rng=SEED)
    lam = np.linalg.eigvalsh(scaled.toarray())
    assert spectrum.scaling == "symmetric"
    assert spectrum.interval[0] <= lam[0] <= lam[-1] <= spectrum.interval[1]
    direct = st.estimate_spectrum(scaled, rng=SEED)
    np.testing.assert_allclose(spectrum.ritz_values[-3:], direct.ritz_values[-3:], rtol=1e4 * EPS)


# -- distributions ---------------------------------------------------------------------------

POISSON = (53, 47)


@pytest.fixture(scope="module")
def truth():
    return np.sort(st.gallery.poisson_eigenvalues(POISSON).ravel())


@pytest.mark.parametrize("window", [(0.0, 1.0), (1.0, 3.0), (3.9, 5.0), (6.0, 9.0), (-5.0, 20.0)])
def test_counts_within_their_error_bars(truth, window):
    A = st.gallery.poisson(POISSON)
    count = np.count_nonzero((truth > window[0]) & (truth <= window[1]))
    z = []
    for seed in range(SEED, SEED + 12):
        estimate = st.estimate_spectrum(A, n_probes=3, rng=seed).count(*window)
        # 1 % of n: what the interpolation between the Ritz values may add to the statistics
        z.append((estimate.value - count) / (estimate.standard_error + 0.01 * truth.size))
    assert np.abs(z).max() < 4
    assert abs(np.mean(z)) < 1.5


def test_more_probes_sharpen_the_distribution(truth):
    A, x = st.gallery.poisson(POISSON), np.linspace(0, 8, 401)
    exact = np.searchsorted(truth, x) / truth.size

    def error(n_probes):
        return np.mean(
            [
                np.abs(
                    st.estimate_spectrum(A, n_probes=n_probes, rng=seed).cumulative(x) - exact
                ).max()
                for seed in range(SEED, SEED + 5)
            ]
        )

    assert error(10) <= error(1)


def test_standard_error_falls_with_probes():
    A = st.gallery.poisson(POISSON)
    one, nine = (
        st.estimate_spectrum(A, n_probes=k, steps=150, rng=SEED).count(1.0, 4.0).standard_error
        for k in (1, 9)
    )
    assert 0.25 < nine / one < 0.45


@pytest.mark.parametrize("end", ["poisson", "indefinite", "log-uniform", "complete", "outliers"])
def test_distribution_functions_agree(end):
    A = {
        "poisson": st.gallery.poisson((30, 30)),
        "indefinite": st.gallery.poisson((30, 30)) - 3 * sparse.eye_array(900),
        "log-uniform": st.gallery.random_spectrum(
            st.gallery.log_uniform(500, 1e6, rng=SEED), rng=SEED
        ),
        "complete": sparse.csr_array(np.diag(np.arange(1.0, 11))),
        "outliers": sparse.csr_array(np.diag(np.append(np.linspace(1, 2, 99), 1e5))),
    }[end]
    spectrum = st.estimate_spectrum(A, rng=SEED)
    lower, upper = spectrum.interval
    room = upper - lower
    x = np.linspace(lower - 0.1 * room, upper + 0.1 * room, 5001)
    heights = spectrum.cumulative(x)
    assert (np.diff(heights) >= 0).all()
    assert spectrum.cumulative(lower - room) <= 1 / spectrum.n
    assert spectrum.cumulative(upper + room) >= 1.0 - 100 * EPS
    assert (spectrum.density(x) >= 0).all()
    # The density is the derivative of the cumulative distribution, and integrates to 1.
    nodes = np.unique(
        np.concatenate([spectrum.quantile(np.linspace(0, 1, 801)), spectrum.ritz_values])
    )
    spaced = np.geomspace if nodes[0] > 0 else np.linspace
    panels = np.unique([spaced(a, b, 60) for a, b in itertools.pairwise(nodes)])
    mass = np.trapezoid(spectrum.density(panels), panels)
    assert abs(mass - 1) <= 0.01
    p = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(spectrum.cumulative(spectrum.quantile(p)), p, atol=2e-3)
    sample = spectrum.sample(50)
    assert sample.shape == (50,)
    assert (np.diff(sample) >= 0).all()
    assert sample[0] >= lower - 1e-6 * room
    assert sample[-1] <= upper + 1e-6 * room
    if end != "complete":
        assert spectrum.count(lower, upper).value <= spectrum.n * (1 + 100 * EPS)


@pytest.mark.parametrize("power", [-460, -332, 332, 490])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_distributions_of_any_unit(power, shift):
    """Differences of eigenvalues have cubes that leave the range of double precision."""
    A, unit = st.gallery.poisson((20, 20)) - shift * sparse.eye_array(400), np.ldexp(1.0, power)
    plain, scaled = (st.estimate_spectrum(B, rng=SEED) for B in (A, sparse.csr_array(unit * A)))
    x = np.linspace(-4.0, 9.0, 101)
    # Powers of two round nothing; logarithms of positive eigenvalues do, to eps log(unit).
    options = {"rtol": 1e-9, "atol": 1e-10}
    np.testing.assert_allclose(scaled.cumulative(unit * x), plain.cumulative(x), **options)
    np.testing.assert_allclose(scaled.density(unit * x) * unit, plain.density(x), **options)
    np.testing.assert_allclose(scaled.sample(50) / unit, plain.sample(50), **options)
    for lo, hi in ((-1.0, 1.0), (0.5, 4.0)):
        one, two = plain.count(lo, hi), scaled.count(unit * lo, unit * hi)
        np.testing.assert_allclose(two, one, rtol=1e-6)


def test_gauss_quadrature_is_exact_for_its_start_vector():
    A = st.gallery.poisson(POISSON)
    spectrum = st.estimate_spectrum(A, n_probes=40, rng=SEED)
    assert abs(spectrum.weights.sum() - 1) <= 100 * EPS
    mean = spectrum.weights @ spectrum.ritz_values
    n = A.shape[0]
    # Hutchinson: variance 2 ||A - tr(A)/n||_F^2 / (n^2 probes), nearly
    deviation = np.sqrt(2 * 4 / (n * 40))
    assert abs(mean - 4.0) <= 4 * deviation


@pytest.mark.parametrize("shape", [(60, 60), (120, 90)])
def test_smallest_eigenvalue_is_extrapolated_by_weyls_law(shape):
    smallest = st.gallery.poisson_eigenvalues(shape).min()
    n = shape[0] * shape[1]
    ratios = [
        st.estimate_spectrum(st.gallery.poisson(shape), rng=seed).quantile(1 / n) / smallest
        for seed in range(SEED, SEED + 8)
    ]
    assert 1 / 3 < np.median(ratios) < 3


# -- promises --------------------------------------------------------------------------------


def test_same_rng_same_bits():
    A = st.gallery.poisson((30, 30))

    def values(rng):
        return st.estimate_spectrum(A, rng=rng).ritz_values

    assert np.array_equal(values(SEED), values(SEED))
    assert np.array_equal(values(SEED), values(np.random.default_rng(SEED)))
    assert not np.array_equal(values(SEED), values(SEED + 1))
    generator = np.random.default_rng(SEED)
    assert not np.array_equal(values(generator), values(generator))


@pytest.mark.parametrize("n_probes", [1, 3])
def test_every_matvec_is_counted(n_probes):
    calls = []
    A = st.gallery.poisson((30, 30))
    operator = LinearOperator(A.shape, matvec=lambda x: calls.append(1) or A @ x, dtype=np.float64)
    spectrum = st.estimate_spectrum(operator, steps=10, n_probes=n_probes, rng=SEED)
    assert spectrum.n_matvecs == len(calls) == 10 * n_probes + 2


def test_prints():
    spectrum = st.estimate_spectrum(st.gallery.poisson((30, 30)), rng=SEED)
    assert "900 eigenvalues" in str(spectrum)
    assert "24 matvecs" in repr(spectrum)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": -1},
        {"steps": 2.5},
        {"n_probes": 0},
        {"n_probes": 1.5},
        {"scaling": "jacobi"},
        {"assume_a": "gen"},
        {"assume_a": "spd"},
    ],
)
def test_malformed_options(options):
    with pytest.raises(InputError):
        st.estimate_spectrum(st.gallery.poisson((5, 5)), **options)


def test_scaling_needs_entries():
    with pytest.raises(InputError, match="diagonal"):
        st.estimate_spectrum(aslinearoperator(np.eye(5)), scaling="symmetric")


def test_malformed_questions():
    spectrum = st.estimate_spectrum(st.gallery.poisson((5, 5)), rng=SEED)
    with pytest.raises(InputError):
        spectrum.count(2.0, 1.0)
    with pytest.raises(InputError):
        spectrum.count(np.nan, 1.0)
    with pytest.raises(InputError):
        spectrum.sample(0)


def test_nan_from_an_operator_is_an_error():
    def matvec(x):
        return np.full_like(x, np.nan)

    A = LinearOperator((9, 9), matvec=matvec, dtype=np.float64)
    with pytest.raises(BreakdownError, match="not finite"):
        st.estimate_spectrum(A, assume_a="her", rng=SEED)


@given(problem=problems(max_n=60), m=hs.integers(1, 200))
@example(problem=None, m=1)
def test_virtual_spectra_are_ascending_and_inside(problem, m):
    A = sparse.csr_array(np.eye(1)) if problem is None else problem.A
    spectrum = st.estimate_spectrum(A, rng=SEED)
    sample = spectrum.sample(m)
    lower, upper = spectrum.interval
    room = 1e-6 * max(abs(lower), abs(upper))
    assert np.isfinite(sample).all()
    assert (np.diff(sample) >= 0).all()
    assert sample[0] >= lower - room
    assert sample[-1] <= upper + room


@pytest.mark.parametrize("power", [-520, -664, -1000])
def test_operators_whose_squares_underflow(power):
    A = st.gallery.poisson((9, 9))
    usual = st.estimate_spectrum(A, rng=SEED)
    tiny = st.estimate_spectrum(2.0**power * A, rng=SEED)
    assert np.array_equal(tiny.ritz_values, 2.0**power * usual.ritz_values)
    assert tiny.interval == tuple(2.0**power * np.array(usual.interval))
    assert tiny.n_matvecs == usual.n_matvecs
