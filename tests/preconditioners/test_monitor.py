"""The growth monitor: each violated interval is found and mended, no honest one suspected."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy import sparse
from strategies import FAMILIES, draw_spectrum, scales, seeds

import spectool as st
from spectool.errors import BreakdownError, SpectralBoundWarning
from spectool.operators import as_operator, jacobi_scale
from spectool.polynomials import absolute_inverse, chebyshev_inverse, fourth_kind_inverse
from spectool.preconditioners.monitor import ROUNDS, MonitoredOperator, stretched
from spectool.preconditioners.operator import Preconditioner
from spectool.results import PreconditionerReport
from spectool.spectrum import probe

SEED = 662607015
PERCENT = [1, 2, 5, 10, 20, 30]


class Diagonal(sla.LinearOperator):
    """diag(lam); its top eigenvalues are capped by ``cap`` until product number ``honest_from``."""

    def __init__(self, lam, *, cap=np.inf, honest_from=0):
        lam = np.asarray(lam)
        super().__init__(lam.dtype, (lam.size, lam.size))
        self.lam, self.capped = lam, np.minimum(lam, cap)
        self.honest_from = honest_from
        self.count = 0

    def _matvec(self, x):
        self.count += 1
        return (self.lam if self.count > self.honest_from else self.capped) * x.ravel()

    def _matmat(self, X):
        return np.stack([self._matvec(x) for x in X.T], axis=1)

    def _adjoint(self):
        return self


def precondition(
    A,
    *,
    upper=None,
    degree=8,
    design="fourth",
    watch=True,
    seed=SEED,
    scale=None,
    recurrence=None,
):
    """What ``preconditioner`` builds, with an interval of our own."""
    operator = as_operator(A, assume_a="her")
    if scale is not None:
        operator = operator.scaled(scale)
    spectrum = probe(operator, rng=seed) if upper is None and recurrence is None else None
    upper = spectrum.interval[1] if spectrum else upper
    q = recurrence
    if q is None and design == "fourth":
        q = fourth_kind_inverse(upper, degree)
    elif q is None:
        q = chebyshev_inverse((upper / (degree + 1) ** 2, upper), degree)
    spent = operator.n_matvecs
    operator = operator.recounted()
    operator.counter.add(spent)
    report = PreconditionerReport("a design", "a test", (), spent, 0.0)
    return Preconditioner(
        operator, q, report, spectrum, scale=scale, dtype=operator.dtype, watch=watch
    )


def power_iterations(M, x, times):
    """Apply M again and again; return the number of the application that warned, or 0."""
    for k in range(1, times + 1):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            x = M @ x
        if caught:
            assert [w.category for w in caught] == [SpectralBoundWarning]
            return k
        x = x / np.linalg.norm(x)
    return 0


def spectra(n, seed):
    rng = np.random.default_rng(seed)
    side = round(n**0.5)
    return {
        "uniform": rng.random(n),
        "poisson": st.gallery.poisson_eigenvalues((side, side)).ravel(),
        "thin top": rng.beta(2, 4, n),
        "one outlier": np.append(rng.random(n - 1), 1.3),
        "log-uniform": 1e4 ** -rng.random(n),
    }


# -- detection -------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", PERCENT)
@pytest.mark.parametrize("design", ["fourth", "first"])
def test_an_interval_that_is_too_short_is_found_every_time(percent, design):
    for seed in range(SEED, SEED + 20):
        for name, lam in spectra(400, seed).items():
            upper = (1 - percent / 100) * lam.max()
            M = precondition(Diagonal(lam), upper=upper, design=design)
            x = np.random.default_rng(seed).standard_normal(lam.size)
            assert 1 <= power_iterations(M, x, 4) <= 4, (name, seed)
            assert M.recurrence.interval[1] >= lam.max()
            assert M.spectrum.interval[1] >= lam.max()


@pytest.mark.parametrize("percent", PERCENT)
@pytest.mark.parametrize("products", [24, 40, 60])
def test_an_operator_that_misreports_at_first_is_found_every_time(percent, products):
    violated = 0
    for seed in range(SEED, SEED + 20):
        for name, lam in spectra(400, seed).items():
            A = Diagonal(lam, cap=(1 - percent / 100) * lam.max(), honest_from=products)
            M = precondition(A, seed=seed)
            if M.recurrence.interval[1] >= 0.999 * lam.max():
                continue  # the safe end held all the same, or nearly
            violated += 1
            x = np.random.default_rng(seed).standard_normal(lam.size)
            assert power_iterations(M, x, 6), (name, seed)
            assert M.recurrence.interval[1] >= lam.max()
    assert violated or percent < 5


@settings(max_examples=200)
@given(
    family=hs.sampled_from(sorted(FAMILIES)),
    n=hs.integers(1, 200),
    log_cond=hs.integers(0, 10),
    scale=scales,
    seed=seeds,
    dtype=hs.sampled_from([np.float64, np.complex128, np.float32]),
    design=hs.sampled_from(["fourth", "first"]),
    degree=hs.sampled_from([1, 2, 8, 31]),
)
def test_no_honest_operator_is_suspected(family, n, log_cond, scale, seed, dtype, design, degree):
    scale = 1.0 if dtype is np.float32 else scale
    lam = draw_spectrum(family, n, 10.0**log_cond, seed, scale=scale).astype(dtype)
    M = precondition(Diagonal(lam), design=design, degree=degree, seed=seed)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n).astype(dtype)
    for _ in range(5):  # a warning would raise; powers of M hit its largest gain
        x = M @ x
        x = x / np.abs(x).max()
    assert np.isfinite(x).all()
    assert "at run time" not in M.report.reason


@pytest.mark.parametrize("x", [np.zeros(50), np.full(50, 1e-200), np.full(50, 1e200), np.eye(50)])
@pytest.mark.parametrize("unit", [1.0, 1e-90, 1e90])
def test_extreme_vectors_are_no_violation(x, unit):
    M = precondition(Diagonal(unit * np.linspace(0.01, 1, 50)), watch=False)
    assert np.isfinite(M @ x).all()
    assert M.operator.tests_gain


# -- what follows ----------------------------------------------------------------------------


@pytest.mark.parametrize("design", ["fourth", "first"])
@pytest.mark.parametrize("degree", [1, 2, 9])
def test_stretched_has_the_residual_of_the_longer_interval(design, degree):
    q = fourth_kind_inverse(2.0, degree) if design == "fourth" else chebyshev_inverse((0.1, 2.0), 4)
    wide = stretched(q, 1.5)
    z = np.linspace(0, 3, 101)
    s = 2 / 3
    np.testing.assert_allclose(1 - z * wide(z), 1 - s * z * q(s * z), atol=1e-13)
    assert wide.interval == pytest.approx((q.interval[0] / s, 3.0))
    assert "stretched to 3" in wide.name
    if design == "fourth":
        np.testing.assert_allclose(wide(z), fourth_kind_inverse(3.0, degree)(z), rtol=1e-12)


def test_the_application_is_redone_and_the_report_amended():
    lam = np.linspace(0.01, 1, 300)
    M = precondition(Diagonal(lam), upper=0.8)
    with pytest.warns(SpectralBoundWarning, match=r"lie outside \[0, 0\.8\]"):
        y = M @ np.ones(300)
    assert 1.0 <= M.recurrence.interval[1] <= 1.1
    np.testing.assert_allclose(y, M.recurrence(lam), rtol=1e-12)
    assert "a test; at run time: eigenvalues lie outside" in M.report.reason
    for _ in range(5):  # filterwarnings = error: it warns once
        M @ np.ones(300)


@pytest.mark.parametrize("percent", PERCENT)
def test_cg_converges_although_m_changes_on_the_way(percent):
    A = st.gallery.poisson((40, 40))
    b = np.random.default_rng(SEED).standard_normal(1600)
    lam_max = st.gallery.poisson_eigenvalues((40, 40)).max()
    counts = []
    for upper in (8.0, (1 - percent / 100) * lam_max):
        M = precondition(sla.aslinearoperator(A), upper=upper)
        counts.append(0)

        def count(_):
            counts[-1] += 1

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpectralBoundWarning)
            x, info = sla.cg(A, b, M=M, rtol=1e-8, callback=count)
        assert info == 0
        assert np.linalg.norm(A @ x - b) <= 1.1e-8 * np.linalg.norm(b)
    assert M.recurrence.interval[1] >= lam_max
    assert counts[1] <= 1.5 * counts[0]


def test_every_product_is_counted():
    A = Diagonal(np.linspace(0.01, 1, 300))
    M = precondition(A, upper=0.9)
    with pytest.warns(SpectralBoundWarning):
        M @ np.ones(300)
    assert M.n_matvecs == A.count == ROUNDS[0] + 24 + ROUNDS[1] + 8  # watch, probe, watch, redone
    for _ in range(6):
        M @ np.ones((300, 2))
    assert M.n_matvecs == A.count == sum(ROUNDS) + 24 + 8 + 6 * 2 * 8


def test_gershgorin_spares_the_watch():
    A = st.gallery.poisson((20, 20))
    M = precondition(A, upper=8.0)
    M @ np.ones(400)
    assert M.n_matvecs == 8
    M = precondition(sla.aslinearoperator(A), upper=8.0)
    M @ np.ones(400)
    assert M.n_matvecs == 8 + ROUNDS[0]


# -- the gain --------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [None, 3])
def test_a_matrix_that_grew_in_place_is_found_without_a_watch(columns):
    A = st.gallery.poisson((30, 30))
    M = precondition(A, degree=12, watch=False)
    x = np.random.default_rng(SEED).standard_normal((900, columns) if columns else 900)
    M @ x
    A.data *= 3
    with pytest.warns(SpectralBoundWarning, match="to 23"):
        y = M @ x
    assert M.recurrence.interval[1] >= 23.9
    assert np.linalg.norm(y) <= M.recurrence(0.0) * np.linalg.norm(x)


def test_a_scaled_preconditioner_is_mended_too():
    A = st.gallery.jump((20, 20), 1e4)
    scale = jacobi_scale(as_operator(A))
    honest = precondition(A, scale=scale)
    M = precondition(A, scale=scale, upper=0.7 * honest.recurrence.interval[1])
    x = np.random.default_rng(SEED).standard_normal(400)
    with pytest.warns(SpectralBoundWarning):
        M @ x
    X = np.random.default_rng(SEED).standard_normal((400, 3))
    Y = M @ X
    np.testing.assert_allclose(X.T @ Y, (X.T @ Y).T, rtol=1e-9)
    assert np.linalg.eigvalsh(X.T @ Y).min() > 0


def test_nan_from_a_is_an_error():
    lam = np.linspace(0.1, 1, 40)
    for watch in (True, False):
        A = Diagonal(lam)
        M = precondition(A, watch=watch)
        A.lam = np.full(40, np.nan)
        with pytest.raises(BreakdownError, match="not finite"):
            M @ np.ones(40)


def test_nan_from_x_is_nobody_elses_fault():
    M = precondition(Diagonal(np.linspace(0.1, 1, 40)), watch=False)
    assert np.isnan(M @ np.full(40, np.nan)).any()
    assert "at run time" not in M.report.reason


def test_a_polynomial_that_overflows_is_an_error():
    M = precondition(Diagonal(np.linspace(0.1, 1, 40)), upper=1.5, watch=False)
    M.recurrence = 1e300 * M.recurrence
    ignoring = np.errstate(over="ignore", invalid="ignore")
    with ignoring, pytest.raises(BreakdownError, match="M @ x is not finite"):
        M @ np.full(40, 1e300)


def test_an_operator_that_contradicts_itself_is_named_once():
    A = Diagonal(np.linspace(0.1, 1, 40))
    M = precondition(A, upper=1.5, watch=False)
    honest = A.lam
    A.lam = 5 * honest
    calls = iter([honest] * 2)

    class Flickering(type(M.operator)):
        def probed(self, scaling):
            A.lam = next(calls)
            return super().probed(scaling)

    M.operator.__class__ = Flickering
    with pytest.warns(SpectralBoundWarning, match="no reason"):
        M @ np.ones(40)
    assert not M.operator.tests_gain
    M @ np.ones(40)


def test_an_operator_that_keeps_growing_is_an_error():
    lam = np.linspace(0.1, 1, 40)

    class Growing(Diagonal):
        def _matvec(self, x):
            self.count += 1
            return 1.5**self.count * lam * x.ravel()

    M = precondition(Growing(lam), upper=1.5, watch=False)
    with pytest.warns(SpectralBoundWarning), pytest.raises(BreakdownError, match="keeps growing"):
        M @ np.ones(40)


@pytest.mark.parametrize("design", ["fourth", "first"])
def test_an_indefinite_operator_is_named_and_m_stays_definite(design):
    lam = np.append(np.linspace(0.05, 1, 300), -0.02)
    M = precondition(Diagonal(lam), upper=1.01, design=design)
    with pytest.warns(SpectralBoundWarning, match="not positive definite"):
        M @ np.ones(301)
    D = M @ np.eye(301)
    assert (np.diag(D) > 0).all()
    assert M.operator.interval[0] <= -0.02
    assert M.recurrence.interval[1] == pytest.approx(1.01)


def test_an_absolute_value_design_is_stretched_at_either_end():
    lam = np.concatenate([-np.linspace(0.1, 1, 100), np.linspace(0.1, 0.7, 100)])
    for sign in (1, -1):
        end = (-0.8, 0.75) if sign > 0 else (-0.75, 0.8)
        q = absolute_inverse((end[0], -0.1), (0.1, end[1]), 8)[0]
        M = precondition(Diagonal(sign * lam), recurrence=q)
        with pytest.warns(SpectralBoundWarning, match="lie outside"):
            D = M @ np.eye(200)
        assert (np.diag(D) > 0).all()
        low, high = M.recurrence.interval
        assert low <= (sign * lam).min() < (sign * lam).max() <= high
        for _ in range(5):
            M @ np.ones(200)


def test_a_true_absolute_value_design_is_not_suspected():
    lam = np.concatenate([-np.linspace(0.1, 1, 100), np.linspace(0.1, 0.7, 100)])
    M = precondition(Diagonal(lam), recurrence=absolute_inverse((-1.02, -0.1), (0.1, 0.71), 8)[0])
    for _ in range(5):
        M @ np.ones(200)
    assert "at run time" not in M.report.reason


# -- promises --------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [lambda M: pickle.loads(pickle.dumps(M)), copy.deepcopy])
def test_copies_go_on_where_the_original_was(duplicate):
    A = sparse.csr_array(st.gallery.jump((20, 20), 1e4))
    M = precondition(A, upper=8e4)  # inside the discs, outside the spectrum: watched
    assert isinstance(M.operator, MonitoredOperator)
    x = np.random.default_rng(SEED).standard_normal(400)
    M @ x
    twin = duplicate(M)
    assert np.array_equal(twin @ x, M @ x)
    assert twin.n_matvecs == M.n_matvecs
    assert twin.report == M.report


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny(n):
    lam = np.arange(1.0, n + 1)
    M = precondition(Diagonal(lam), degree=3)
    for _ in range(5):
        M @ np.ones(n)
    M = precondition(Diagonal(lam), upper=0.9 * n, degree=3)
    with pytest.warns(SpectralBoundWarning):
        M @ np.ones(n)


def test_same_bits_each_time():
    def run():
        M = precondition(Diagonal(np.linspace(0.01, 1, 200)), upper=0.95)
        with pytest.warns(SpectralBoundWarning):
            return M @ np.ones(200)

    assert np.array_equal(run(), run())
