"""Spectra refined by a solve: better ends, no end less safe, and nothing taken for granted."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy import sparse
from strategies import problems

import spectool as st
from spectool.errors import InputError
from spectool.results import LinearSolution
from spectool.spectrum import Bound, Certificate
from spectool.spectrum.refine import ROUNDING

SEED = 448201739
EPS = np.finfo(float).eps
A = st.gallery.jump((30, 31), 1e3, rng=SEED)
N = A.shape[0]
B = np.random.default_rng(SEED).standard_normal(N)
GRID = st.gallery.poisson((30, 31))


def scaled(A):
    d = np.sqrt(A.diagonal())
    return A.toarray() / np.outer(d, d)


EXACT = np.linalg.eigvalsh(scaled(A))
PROBED = st.estimate_spectrum(A, scaling="symmetric", rng=SEED)
JACOBI = st.preconditioner(A, method="jacobi")
SOLVED = st.cg(A, B, M=JACOBI, rtol=1e-10)


# -- better ends -----------------------------------------------------------------------------


def test_the_lower_end_becomes_sharp():
    refined = PROBED.refined(SOLVED, M=JACOBI)
    assert PROBED.ritz_values[0] > 2 * EXACT[0]
    np.testing.assert_allclose(refined.ritz_values[0], EXACT[0], rtol=1e-9)
    lower = refined.certificate.lower
    assert lower.ritz_value == refined.ritz_values[0]
    assert lower.residual == refined.ritz_residuals[0] < 1e-3 * EXACT[0]
    assert refined.interval == PROBED.interval  # safe ends are not sharpened
    assert refined.n_matvecs == PROBED.n_matvecs
    assert refined.scaling == "symmetric"
    # one eigenvalue in front, and the moments that are known are reproduced as before
    assert 0 < refined.cumulative(2 * EXACT[0]) <= 5 / N
    assert refined.n_moments == PROBED.n_moments == 2
    for k in range(3):
        before = PROBED.weights @ PROBED.ritz_values**k
        np.testing.assert_allclose(refined.weights @ refined.ritz_values**k, before, rtol=1e-8)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("method", ["chebyshev", "chebyshev4", "least_squares"])
@pytest.mark.parametrize("degree", [2, 8])
def test_a_polynomial_tells_the_lower_end(method, degree, precision):
    M = st.preconditioner(A, method=method, degree=degree, precision=precision, rng=SEED)
    refined = PROBED.refined(st.cg(A, B, M=M, rtol=1e-10), M=M)
    slack = 2e3 * np.finfo(precision).eps
    assert EXACT[0] * (1 - 1e-9) <= refined.ritz_values[0] <= EXACT[0] * (1 + slack)
    assert refined.certificate.upper == PROBED.certificate.upper


def test_without_m_and_with_a_constant_diagonal():
    exact = np.sort(st.gallery.poisson_eigenvalues((30, 31)).ravel())
    for unit in (1.0, 1e-100, 1e100):
        spectrum = st.estimate_spectrum(unit * GRID, rng=SEED)
        for M in (
            None,
            st.preconditioner(GRID * unit, method="jacobi"),
            st.preconditioner(GRID * unit, degree=4, precision="float32", rng=SEED),
        ):
            refined = spectrum.refined(st.cg(unit * GRID, B, M=M, rtol=1e-10), M=M)
            rtol = 1e-8 if M is None or not M.recurrence.degree else 1e-3
            np.testing.assert_allclose(refined.ritz_values[0], unit * exact[0], rtol=rtol)


def test_a_second_solve_refines_further_or_leaves_it():
    rough = PROBED.refined(st.cg(A, B, M=JACOBI, rtol=1e-2), M=JACOBI)
    assert EXACT[0] < rough.ritz_values[0] < PROBED.ritz_values[0]
    fine = rough.refined(SOLVED, M=JACOBI)
    assert fine.ritz_values[0] < rough.ritz_values[0]
    again = fine.refined(st.cg(A, B, M=JACOBI, rtol=1e-2), M=JACOBI)
    assert again.ritz_values.size == fine.ritz_values.size
    assert again.ritz_values[0] == fine.ritz_values[0]
    assert again.ritz_residuals[0] <= fine.ritz_residuals[0]


@pytest.mark.parametrize("degree", [8, 16, 32])
def test_the_next_preconditioner_is_safe_and_as_good(degree):
    refined = PROBED.refined(SOLVED, M=JACOBI)
    counts = []
    for spectrum in (PROBED, refined):
        M = st.preconditioner(A, method="chebyshev", degree=degree, spectrum=spectrum)
        D = M @ np.eye(N)
        assert np.linalg.eigvalsh(0.5 * (D + D.T))[0] > 0
        assert M.report.n_matvecs == 0
        counts.append(st.cg(A, B, M=M, rtol=1e-8).check().n_iterations)
        assert not M.amended
    assert counts[1] <= counts[0] + 1


def test_several_probes_and_single_precision():
    spectrum = st.estimate_spectrum(A, scaling="symmetric", n_probes=3, steps=8, rng=SEED)
    refined = spectrum.refined(SOLVED, M=JACOBI)
    assert refined.ritz_values.size == spectrum.ritz_values.size + 3
    assert [np.sum(refined.probes == i) for i in range(3)] == [9, 9, 9]
    np.testing.assert_allclose(refined.weights.sum(), 1.0, rtol=1e-12)
    assert (refined.weights > 0).all()
    assert refined.count(0.0, 1.0).standard_error > 0
    C = GRID.astype(np.float32)
    M = st.preconditioner(C, method="jacobi")
    solved = st.cg(C, B.astype(np.float32), M=M, rtol=1e-4)
    found = st.estimate_spectrum(C, rng=SEED).refined(solved, M=M).ritz_values[0]
    exact = st.gallery.poisson_eigenvalues((30, 31)).min()
    assert exact * (1 - 1e-3) <= found


# -- nothing is made worse -------------------------------------------------------------------


@settings(max_examples=80)
@given(
    problem=problems(max_n=60, max_log_cond=8),
    method=hs.sampled_from([None, "jacobi", "chebyshev4"]),
    rtol=hs.sampled_from([1e-2, 1e-6, 1e-12]),
    eigenvector=hs.booleans(),
)
def test_ritz_values_stay_inside(problem, method, rtol, eigenvector):
    """Also with the copies of converged values that CG makes beyond the order of A."""
    C, n = problem.A, problem.A.shape[0]
    scaling = None if method is None else "symmetric"
    spectrum = st.estimate_spectrum(C, scaling=scaling, rng=problem.seed)
    b = np.random.default_rng(problem.seed).standard_normal(n)
    if eigenvector:
        b = np.linalg.eigh(C.toarray() / problem.eigenvalues[-1])[1][:, n // 2]
    M = None
    if method is not None:
        options = {"degree": 4} if method == "chebyshev4" else {}
        M = st.preconditioner(C, method=method, scaling=scaling, rng=problem.seed, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.errors.ConvergenceWarning)
        solution = st.cg(C, b, M=M, rtol=rtol)
    refined = spectrum.refined(solution, M=M)
    D = C.toarray() if method is None else scaled(C)
    unit = np.abs(D).max()
    lam = unit * np.linalg.eigvalsh(D / unit)
    room = ROUNDING * EPS * lam[-1]
    assert refined.ritz_values[0] >= lam[0] * (1 - 1e-9) - room
    assert refined.ritz_values[0] <= spectrum.ritz_values[0]
    assert refined.ritz_values[-1] == spectrum.ritz_values[-1]
    lower, upper = refined.certificate
    assert lower.value <= spectrum.certificate.lower.value
    assert upper.value >= spectrum.certificate.upper.value
    assert np.abs(lam - lower.ritz_value).min() <= lower.residual * (1 + 1e-6) + room
    assert (np.diff(refined.ritz_values) >= 0).all()
    assert (refined.weights >= 0).all()
    np.testing.assert_allclose(refined.weights.sum(), 1.0, rtol=1e-9)


def with_ends(spectrum, lower, upper, *, proven):
    theta, r = spectrum.ritz_values, spectrum.ritz_residuals
    bounds = (
        Bound(lower, theta[0], r[0], "a test", proven),
        Bound(upper, theta[-1], r[-1], "a test", proven),
    )
    return replace(spectrum, certificate=Certificate(*bounds))


def test_ends_that_the_solve_disproves_are_moved():
    wrong = with_ends(PROBED, 10 * EXACT[0], 0.9 * EXACT[-1], proven=False)
    refined = wrong.refined(SOLVED, M=JACOBI)
    assert refined.interval[0] <= EXACT[0]
    assert refined.interval[1] >= EXACT[-1]
    assert "solve" in str(refined.certificate.upper)
    assert refined.certificate.upper.residual >= EXACT[-1] - refined.certificate.upper.ritz_value
    M = st.preconditioner(A, method="chebyshev4", degree=8, spectrum=refined)
    assert M.recurrence.interval[1] >= EXACT[-1]


def test_proven_ends_are_not_moved_but_the_mismatch_is_told():
    wrong = with_ends(PROBED, 0.0, 0.9 * EXACT[-1], proven=True)
    with pytest.raises(InputError, match="no eigenvalue lies beyond"):
        wrong.refined(SOLVED, M=JACOBI)
    wrong = with_ends(PROBED, 0.1, 2.5, proven=True)
    with pytest.raises(InputError, match="with this A"):
        wrong.refined(SOLVED, M=JACOBI)
    with pytest.raises(InputError, match="with this A"):
        st.estimate_spectrum(GRID, rng=SEED).refined(st.cg(3.0 * GRID, B, rtol=1e-6))


def test_a_spectrum_that_is_known_stays():
    D = sparse.diags_array(np.repeat([1.0, 2.0, 5.0], 10), format="csr")
    spectrum = st.estimate_spectrum(D, rng=SEED)
    assert spectrum.complete
    refined = spectrum.refined(st.cg(D, np.ones(30), rtol=1e-12))
    np.testing.assert_array_equal(refined.ritz_values, spectrum.ritz_values)
    assert refined.interval == spectrum.interval
    one = st.estimate_spectrum([[4.0]], rng=SEED)
    assert one.refined(st.cg(np.array([[4.0]]), np.ones(1))).interval == one.interval


# -- refusals --------------------------------------------------------------------------------


def test_what_tells_nothing_is_refused():
    plain = st.cg(A, B, rtol=1e-6)
    unscaled = st.estimate_spectrum(A, rng=SEED)
    with pytest.raises(InputError, match="without M"):
        PROBED.refined(plain)
    with pytest.raises(InputError, match="scaled by A's diagonal, and the spectrum is not"):
        unscaled.refined(SOLVED, M=JACOBI)
    with pytest.raises(InputError, match="M must be what"):
        PROBED.refined(SOLVED)
    with pytest.raises(InputError, match="M must be what"):
        unscaled.refined(plain, M=JACOBI)
    with pytest.raises(InputError, match="no Lanczos matrix"):
        PROBED.refined(st.minres(A, B, M=JACOBI), M=JACOBI)
    with pytest.raises(InputError, match="no Lanczos matrix"):
        PROBED.refined(st.cg(A, np.zeros(N), M=JACOBI), M=JACOBI)
    with pytest.raises(InputError, match="LinearSolution"):
        PROBED.refined(SOLVED.x, M=JACOBI)
    inverse = sparse.diags_array(1 / A.diagonal())
    with pytest.raises(InputError, match="tell nothing"):
        PROBED.refined(st.cg(A, B, M=inverse), M=inverse)
    with pytest.raises(InputError, match="unknowns"):
        st.estimate_spectrum(GRID[:50, :50], rng=SEED).refined(plain)
    free = st.preconditioner(A, degree=4, scaling=None, rng=SEED)
    solved = st.cg(A, B, M=free)
    assert isinstance(solved, LinearSolution)
    with pytest.raises(InputError, match="not scaled"):
        PROBED.refined(solved, M=free)
    assert unscaled.refined(solved, M=free).ritz_values[0] < unscaled.ritz_values[0]


def test_a_mended_polynomial_is_refused():
    narrow = with_ends(PROBED, 0.0, 0.5 * EXACT[-1], proven=False)
    M = st.preconditioner(A, method="chebyshev4", degree=8, spectrum=narrow)
    with pytest.warns(st.errors.SpectralBoundWarning):
        solution = st.cg(A, B, M=M)
    with pytest.raises(InputError, match="mended"):
        PROBED.refined(solution, M=M)
