"""Traces: against all eigenvalues, with error bars and bounds that hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from strategies import draw_spectrum, problems

import spectool as st
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError
from spectool.functions.scalar import as_scalar_function
from spectool.functions.trace import TraceEstimate, logdet, trace_funm
from spectool.functions.traces.xtrace import leave_one_out
from spectool.spectrum.moments import Moments

EPS = np.finfo(float).eps
SEED = 161803398
NAMED = {
    "log": np.log,
    "inv": lambda x: 1 / x,
    "exp": np.exp,
    "phi1": lambda x: np.expm1(x) / x,
    "sqrt": np.sqrt,
    "invsqrt": lambda x: x**-0.5,
}
POISSON = st.gallery.poisson((53, 47))
TRUTH = np.sort(st.gallery.poisson_eigenvalues((53, 47)).ravel())


def free(lam):
    """diag(lam) known by its products only."""
    lam = np.asarray(lam)
    return LinearOperator(
        (lam.size, lam.size),
        matvec=lambda x: lam * x.ravel(),
        matmat=lambda X: lam[:, None] * X,
        dtype=lam.dtype,
    )


# -- small: exact ----------------------------------------------------------------------------


@settings(max_examples=60)
@given(problem=problems(max_n=60, max_log_cond=6), f=hs.sampled_from(sorted(NAMED)))
def test_small_matrices_are_exact(problem, f):
    lam = problem.eigenvalues / problem.eigenvalues.max()
    estimate = trace_funm(f, problem.A / problem.eigenvalues.max(), rng=problem.seed)
    exact = NAMED[f](lam).sum()
    # eigenvalues of the built matrix are off by rounding, too
    assert abs(estimate.value - exact) <= 100 * estimate.standard_error
    assert estimate.n_probes == 0
    assert estimate.bounds[0] <= estimate.value <= estimate.bounds[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128, int])
def test_dtypes(dtype):
    A = np.diag([1, 2, 4, 8]).astype(dtype)
    estimate = trace_funm("log", A)
    assert abs(estimate.value - 6 * np.log(2)) <= 10 * estimate.standard_error
    assert estimate.standard_error <= 1e-5 if np.dtype(dtype).itemsize <= 8 else 1e-14


def test_matrix_free_and_small_costs_n_products():
    lam = np.linspace(1, 2, 50)
    estimate = trace_funm("exp", free(lam), assume_a="her")
    assert estimate.n_matvecs == 50
    assert abs(estimate.value - np.exp(lam).sum()) <= 1e-12 * estimate.value


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("method", ["auto", "dense", "slq", "xtrace"])
def test_tiny(n, method):
    lam = np.full(n, 3.0)
    estimate = trace_funm("log", free(lam), method=method, rng=SEED)
    assert abs(estimate.value - n * np.log(3)) <= 1e-7
    if method != "xtrace":  # log(I) b = 0 has no relative error
        assert logdet(np.eye(n), method=method, rng=SEED).value == pytest.approx(0, abs=1e-12)


# -- estimates -------------------------------------------------------------------------------


@pytest.mark.parametrize("f", sorted(NAMED))
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "free"])
def test_poisson(f, stored):
    A = POISSON if stored else aslinearoperator(POISSON)
    rtol = 0.1 if f == "inv" else 0.01
    estimate = trace_funm(f, A, rtol=rtol, rng=SEED)
    exact = NAMED[f](TRUTH).sum()
    assert abs(estimate.value - exact) <= 4 * estimate.standard_error
    assert estimate.standard_error <= 1.01 * rtol * np.abs(NAMED[f](TRUTH)).sum()
    if stored and f != "inv":  # its safe interval holds zero
        assert estimate.bounds[0] <= exact <= estimate.bounds[1]
    else:
        assert estimate.bounds is None


@pytest.mark.parametrize("f", ["log", "inv", "exp", "sqrt"])
@pytest.mark.parametrize("family", ["log-uniform", "low outliers", "high outliers"])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "free"])
def test_slq_errors_are_within_four_standard_errors(f, family, stored):
    lam = draw_spectrum(family, 240, 1e3, SEED)
    lam = 20 * lam / lam.max()
    A = st.gallery.random_spectrum(lam, rng=SEED) if stored else free(lam)
    spectrum = st.estimate_spectrum(A, assume_a="her", rng=SEED)
    exact = NAMED[f](lam).sum()
    beyond = 0
    for seed in range(SEED, SEED + 30):
        estimate = trace_funm(
            f, A, method="slq", n_probes=8, assume_a="her", spectrum=spectrum, rng=seed
        )
        beyond += abs(estimate.value - exact) > 4 * estimate.standard_error
    assert beyond == 0  # of 720 draws in all


@pytest.mark.parametrize("decay", [1.5, 4.0, 20.0, 1e3])
def test_xtrace_errors_are_within_four_standard_errors(decay):
    lam = -np.arange(150) / decay
    exact = np.exp(lam).sum()
    spectrum = st.estimate_spectrum(free(lam), assume_a="her", rng=SEED)
    beyond = 0
    for seed in range(SEED, SEED + 25):
        estimate = trace_funm(
            "exp", free(lam), method="xtrace", n_probes=16, spectrum=spectrum, rng=seed
        )
        beyond += abs(estimate.value - exact) > 4 * estimate.standard_error
    assert beyond <= 1


def test_leave_one_out_is_what_it_says(rng):
    n, q = 40, 7
    B = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    F = (B + B.conj().T) * np.exp(-np.add.outer(np.arange(n), np.arange(n)) / 8)
    Omega = rng.standard_normal((n, q)) + 1j * rng.standard_normal((n, q))
    Y = F @ Omega
    Q = np.linalg.qr(Y)[0]
    expected = []
    for i in range(q):
        P = np.linalg.qr(np.delete(Y, i, axis=1))[0]
        rest = Omega[:, i] - P @ (P.conj().T @ Omega[:, i])
        form = np.vdot(rest, F @ rest).real / np.vdot(rest, rest).real
        expected.append(np.trace(P.conj().T @ F @ P).real + (n - q + 1) * form)
    np.testing.assert_allclose(leave_one_out(Omega, Y, Q, F @ Q), expected, rtol=1e-10)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_xtrace_of_low_rank_is_exact(rank, rng):
    n, q = 60, 16
    G = rng.standard_normal((n, rank))
    F = G @ G.T
    Omega = rng.standard_normal((n, q))
    Y = F @ Omega
    Q = np.linalg.qr(Y)[0]
    estimates = leave_one_out(Omega, Y, Q, F @ Q)
    np.testing.assert_allclose(estimates, np.trace(F), atol=1e-9 * max(np.trace(F), 1))


def test_a_decaying_function_is_given_to_xtrace():
    exact = np.exp(-20 * TRUTH).sum()
    estimate = trace_funm("exp", POISSON, t=-20.0, rtol=1e-3, rng=SEED)
    assert "xtrace" in estimate.method
    assert abs(estimate.value - exact) <= 4 * estimate.standard_error
    assert estimate.standard_error <= 1e-3 * exact
    flat = trace_funm("exp", POISSON, t=-0.1, rng=SEED)
    assert "slq" in flat.method


def test_callables_and_signs():
    estimate = trace_funm(lambda x: np.cos(x), POISSON, rng=SEED)
    assert abs(estimate.value - np.cos(TRUTH).sum()) <= 4 * estimate.standard_error
    assert estimate.bounds is None
    A = POISSON - 2.03 * sparse.eye_array(POISSON.shape[0])
    estimate = trace_funm("sign", A, rtol=0.1, rng=SEED)
    assert abs(estimate.value - np.sign(TRUTH - 2.03).sum()) <= 4 * estimate.standard_error


def test_knowing_the_entries_helps():
    stored = logdet(POISSON, n_probes=8, rng=SEED)
    products = logdet(aslinearoperator(POISSON), n_probes=8, rng=SEED)
    assert stored.standard_error <= 0.5 * products.standard_error


def test_complex_hermitian():
    n = 300
    phases = np.exp(1j * np.random.default_rng(SEED).uniform(0, 6, n))
    A = sparse.csr_array(
        sparse.diags_array([phases[:-1], np.full(n, 3.0), phases[:-1].conj()], offsets=[-1, 0, 1])
    )
    exact = np.linalg.slogdet(A.toarray())[1]
    for seed in range(SEED, SEED + 10):
        estimate = logdet(A, method="slq", rng=seed)
        assert abs(estimate.value - exact) <= 4 * estimate.standard_error
        assert estimate.bounds[0] <= exact <= estimate.bounds[1]


# -- bounds ----------------------------------------------------------------------------------


@settings(max_examples=80)
@given(
    problem=problems(max_n=60, max_log_cond=5),
    f=hs.sampled_from(sorted(NAMED)),
    t=hs.sampled_from([1.0, 0.3]),
)
def test_bounds_hold(problem, f, t):
    lam = problem.eigenvalues / problem.eigenvalues.max()
    A = problem.A / problem.eigenvalues.max()
    estimate = trace_funm(f, A, t=t, method="slq", n_probes=1, rng=problem.seed)
    exact = NAMED[f](t * lam).sum()
    slack = 1e-7 * np.abs(NAMED[f](t * lam)).sum() + 1e-12
    assert estimate.bounds[0] - slack <= exact <= estimate.bounds[1] + slack
    assert estimate.bounds[0] <= estimate.value <= estimate.bounds[1]


def test_bounds_are_attained_by_two_eigenvalues():
    lam = np.repeat([1.0, 3.0], [30, 20])
    A = st.gallery.random_spectrum(lam, rng=SEED)
    estimate = trace_funm("log", A, method="slq", rng=SEED)
    np.testing.assert_allclose(estimate.bounds, 20 * np.log(3), rtol=1e-9)


def test_moment_bounds_for_a_negative_spectrum():
    from spectool.functions.traces.quadrature import moment_bounds

    lam = -np.linspace(1, 5, 9)
    moments = Moments(lam.mean(), (lam**2).mean())
    low, high = moment_bounds(as_scalar_function("inv"), 9, 1.0, moments, (-5.5, -0.9))
    assert low <= (1 / lam).sum() <= high < 0
    assert moment_bounds(as_scalar_function("inv"), 9, 1.0, moments, (-5.5, 0.1)) is None


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("A", "evidence"),
    [
        (POISSON - 2 * sparse.eye_array(POISSON.shape[0]), "Ritz value"),
        (st.gallery.poisson((9, 9)) - 2 * sparse.eye_array(81), "Ritz value"),
        (-st.gallery.poisson((9, 9)), "diagonal entry"),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), "diagonal entry"),
        (np.ones((3, 3)), "zero to rounding"),
    ],
)
def test_logdet_of_an_indefinite_matrix_names_the_evidence(A, evidence):
    with pytest.raises(NotPositiveDefiniteError, match=evidence):
        logdet(A, rng=SEED)


def test_unmet_tolerance_warns():
    with pytest.warns(ConvergenceWarning, match="rtol"):
        estimate = trace_funm("log", free(np.linspace(1, 2, 300)), rtol=1e-9, rng=SEED)
    assert estimate.n_probes == 512


@pytest.mark.parametrize(
    "options",
    [
        {"rtol": 0.0},
        {"rtol": None, "f": "tan"},
        {"n_probes": 0},
        {"n_probes": 2.5},
        {"n_probes": True},
        {"method": "hutchinson"},
        {"t": 0.0},
        {"spectrum": st.estimate_spectrum(st.gallery.poisson((5, 5)), rng=SEED)},
        {"assume_a": "gen"},
        {"f": lambda x: x * np.inf},
    ],
    ids=str,
)
def test_malformed_options(options):
    options = dict(options)
    f = options.pop("f", "exp")
    with pytest.raises(InputError):
        trace_funm(f, st.gallery.poisson((9, 9)), **options)


# -- promises --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"method": "slq", "n_probes": 4}, {"method": "xtrace", "n_probes": 20}]
)
def test_every_matvec_is_counted(options):
    calls = []
    A = st.gallery.poisson((20, 20))
    operator = LinearOperator(A.shape, matvec=lambda x: calls.append(1) or A @ x, dtype=float)
    estimate = trace_funm("exp", operator, rng=SEED, **options)
    assert estimate.n_matvecs == len(calls)
    spectrum = st.estimate_spectrum(operator, assume_a="her", rng=SEED)
    calls.clear()
    again = trace_funm("exp", operator, rng=SEED, spectrum=spectrum, assume_a="her", **options)
    assert again.n_matvecs == len(calls) == estimate.n_matvecs - 26


def test_same_rng_same_bits():
    for options in ({"method": "slq"}, {"method": "xtrace", "n_probes": 20}):
        one, two = (trace_funm("exp", POISSON, rng=SEED, **options) for _ in range(2))
        assert one.value == two.value
        assert one.standard_error == two.standard_error


def test_n_probes_are_obeyed():
    for n_probes in (1, 3, 9):
        estimate = logdet(POISSON, n_probes=n_probes, rng=SEED)
        assert estimate.n_probes == n_probes


def test_prints():
    estimate = logdet(POISSON, rng=SEED)
    assert isinstance(estimate, TraceEstimate)
    text = str(estimate)
    assert "slq" in text
    assert f"{estimate.n_matvecs} matvecs" in text
    assert "+-" in text
    assert "[-inf" in text
    assert "log" in estimate.report
