"""Several functions and times from one call, limits, and estimates that are sharp."""

import math
import pickle
import time

import numpy as np
import pytest
import reference
import scipy.linalg
import scipy.sparse.linalg as sla
from scipy import sparse

import spectool as st
from spectool.errors import ConvergenceWarning, InputError
from spectool.functions.door import Columns
from spectool.functions.estimates.hermitian import Jacobi, error_rule, refined_rule
from spectool.functions.scalar import FUNCTIONS, as_scalar_function
from spectool.functions.task import Target
from spectool.krylov import LanczosProcess
from spectool.operators import as_operator
from spectool.results import Status

SEED = 418273905
N = 400
SMOOTH = ["exp", "expm1", "phi1", "phi2", "sinh", "cosh", "sin", "cos", "sinc"]
ROOTS = ["sqrt", "invsqrt", "log", "inv", "power(0.3)", "power(-0.7)", "power(1.5)", "power(-2)"]


def phi(p, z):
    """phi_p by its Taylor series or its definition: slow and safe."""
    z = np.asarray(z, dtype=complex)
    series = sum(z**k / math.factorial(k + p) for k in range(60))
    far = np.where(np.abs(z) < 2, 2.0, z)
    direct = (np.exp(far) - sum(far**k / math.factorial(k) for k in range(p))) / far**p
    return np.where(np.abs(z) < 2, series, direct)


TRUTH = {
    "exp": np.exp,
    "expm1": np.expm1,
    "phi1": lambda z: phi(1, z),
    "phi2": lambda z: phi(2, z),
    "sinh": np.sinh,
    "cosh": np.cosh,
    "sin": np.sin,
    "cos": np.cos,
    "sinc": lambda z: np.sin(z) / z,
    "sqrt": np.sqrt,
    "invsqrt": lambda z: z**-0.5,
    "log": np.log,
    "inv": lambda z: 1 / z,
    "power(0.3)": lambda z: z**0.3,
    "power(-0.7)": lambda z: z**-0.7,
    "power(1.5)": lambda z: z**1.5,
    "power(-2)": lambda z: z**-2.0,
}


def diagonal(lam):
    """Lanczos does not notice that A is diagonal, and the truth is exact."""
    return sparse.csr_array(sparse.diags_array(lam))


def problem(cond=1e3):
    lam = st.gallery.log_uniform(N, cond, rng=SEED) * 4
    return diagonal(lam), lam, np.random.default_rng(SEED).standard_normal(N)


def worst(y, truth):
    sizes = np.linalg.norm(truth, axis=-1)
    return float((np.linalg.norm(y - truth, axis=-1) / sizes).max())


# -- functions and times ---------------------------------------------------------------------


@pytest.mark.parametrize("t", [1.0, -7.0, 3j, 1 - 2j])
@pytest.mark.parametrize("method", ["chebyshev", "lanczos", "dense"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions(name, method, t):
    A, lam, b = problem()
    solution = st.funm_multiply(name, A, b, t=t, method=method, rng=SEED)
    assert worst(solution.y, TRUTH[name](t * lam) * b) <= 1e-8
    assert solution.converged
    assert np.iscomplexobj(solution.y) == isinstance(t, complex)


@pytest.mark.parametrize("name", ROOTS)
def test_functions_with_a_singularity(name):
    A, lam, b = problem()
    solution = st.funm_multiply(name, A, b, t=2.0, rng=SEED)
    assert worst(solution.y, TRUTH[name](2 * lam) * b) <= 1e-7
    assert solution.converged


@pytest.mark.parametrize("method", ["chebyshev", "lanczos"])
def test_several_functions_and_times_share_the_matvecs(method):
    A, lam, b = problem()
    B = np.stack([b, b[::-1], 1e6 * b**2], axis=1)
    times = [0.0, -1.0, 0.5, -5.0]
    together = st.funm_multiply(["exp", "cos"], A, B, t=times, method=method, rng=SEED)
    assert together.y.shape == (2, 4, N, 3)
    truth = np.array([[TRUTH[f](t * lam)[:, None] * B for t in times] for f in ("exp", "cos")])
    assert worst(np.moveaxis(together.y, -2, -1), np.moveaxis(truth, -2, -1)) <= 1e-8
    longest = st.funm_multiply("exp", A, B, t=-5.0, method=method, rng=SEED)
    assert together.n_matvecs <= 1.5 * longest.n_matvecs
    assert st.funm_multiply(["exp"], A, b, rng=SEED).y.shape == (1, N)
    assert st.funm_multiply("exp", A, b, t=[1.0], rng=SEED).y.shape == (1, N)


def test_time_zero_needs_no_matvec():
    A, _, b = problem()
    solution = st.funm_multiply("cos", A, b, t=0.0)
    assert np.array_equal(solution.y, b)
    assert solution.n_matvecs == 0
    with pytest.raises(InputError, match="finite"):
        st.funm_multiply("inv", A, b, t=0.0)


def test_complex_callable_on_a_real_operator():
    A, lam, b = problem()
    for method in ("auto", "chebyshev", "lanczos"):
        solution = st.funm_multiply(lambda z: np.exp(1j * z), A, b, method=method, rng=SEED)
        assert worst(solution.y, np.exp(1j * lam) * b) <= 1e-8
    single = A.astype(np.float32)
    assert st.funm_multiply("exp", single, b.astype(np.float32), t=1j).y.dtype == np.complex64


def test_unitary_evolution_keeps_the_norm():
    rng = np.random.default_rng(SEED)
    H = rng.standard_normal((90, 90)) + 1j * rng.standard_normal((90, 90))
    H = H + H.conj().T
    b = rng.standard_normal(90) + 1j * rng.standard_normal(90)
    y = st.funm_multiply("exp", H, b, t=-1j, rtol=1e-10, rng=SEED).y
    assert worst(y, scipy.linalg.expm(-1j * H) @ b) <= 1e-9
    assert abs(np.linalg.norm(y) - np.linalg.norm(b)) <= 1e-9 * np.linalg.norm(b)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_names_evaluate_what_they_say(name):
    z = np.array([0.2, 1.0, 3.0, 40.0])
    if name == "sign":
        assert np.array_equal(FUNCTIONS[name](z), np.ones(4))
    else:
        np.testing.assert_allclose(FUNCTIONS[name](z), np.real(TRUTH[name](z)), rtol=1e-12)
    assert pickle.loads(pickle.dumps(FUNCTIONS[name])) is FUNCTIONS[name]


@pytest.mark.parametrize("alpha", [0.123456789012345, -1e-7, 2.0, 12.0])
def test_powers_survive_pickling(alpha):
    power = as_scalar_function(f"power({alpha!r})")
    again = pickle.loads(pickle.dumps(power))
    z = np.array([0.5, 3.0])
    assert np.array_equal(again.evaluate(z), power.evaluate(z))
    assert np.array_equal(power.evaluate(z), z**alpha)


@pytest.mark.parametrize("z", [0.0, 1e-200, 1e-9, 1e-3, 0.49, 0.51, -0.3, 2j, -30.0, 30.0])
def test_phi_functions_near_zero(z):
    for name, p in (("phi1", 1), ("phi2", 2)):
        value = as_scalar_function(name)(np.array([z]))[0]
        assert abs(value - phi(p, z)) <= 1e-13 * abs(phi(p, z))


# -- roots through a polynomial ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["sqrt", "invsqrt"])
@pytest.mark.parametrize("width", [1, 3])
def test_preconditioned_roots(name, width):
    A, lam, b = problem(1e5)
    B = np.stack([b, b[::-1], b**2], axis=1)[:, :width]
    plain = st.funm_multiply(name, A, B, t=0.5, method="lanczos", rng=SEED)
    solution = st.funm_multiply(name, A, B, t=0.5, method="preconditioned", rng=SEED)
    assert worst(solution.y.T, (TRUTH[name](0.5 * lam)[:, None] * B).T) <= 1e-7
    assert "preconditioned" in solution.method
    assert solution.n_reductions < plain.n_reductions / 4


def test_preconditioned_roots_refuse_an_indefinite_operator():
    A = diagonal(np.append(np.linspace(1, 10, 300), -0.5))
    with pytest.raises(st.errors.NotPositiveDefiniteError, match="positive definite"):
        st.funm_multiply("invsqrt", A, np.ones(301), method="preconditioned", rng=SEED)


# -- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lanczos", "chebyshev", "preconditioned"])
def test_max_matvecs_counts_all(method):
    A, lam, b = problem(1e5)
    name, t = ("exp", -900.0) if method == "chebyshev" else ("invsqrt", 1.0)
    with pytest.warns(ConvergenceWarning):
        solution = st.funm_multiply(name, A, b, t=t, method=method, max_matvecs=90, rng=SEED)
    assert 0 < solution.n_matvecs <= 90
    assert solution.status is Status.MAXITER
    error = worst(solution.y, TRUTH[name](t * lam) * b)
    assert solution.error_estimate >= 0.1 * error


@pytest.mark.parametrize("name", ["invsqrt", "log", "sign"])
def test_little_memory_costs_matvecs_only(name):
    A, _, b = problem(1e3)
    much = st.funm_multiply(name, A, b, method="lanczos", rng=SEED)
    little = st.funm_multiply(name, A, b, method="lanczos", max_memory=20 * b.nbytes, rng=SEED)
    assert "two passes" in little.method
    assert much.n_matvecs < little.n_matvecs <= 2 * much.n_matvecs
    assert worst(little.y, much.y) <= 1e-12
    assert little.converged


def test_two_passes_stay_within_max_matvecs():
    A, _, b = problem(1e5)
    with pytest.warns(ConvergenceWarning):
        solution = st.funm_multiply(
            "log", A, b, method="lanczos", max_memory=20 * b.nbytes, max_matvecs=101, rng=SEED
        )
    assert "two passes" in solution.method
    assert solution.n_matvecs <= 101


def test_max_time_returns_the_best_so_far():
    A, lam, b = problem(1e6)

    def slow(x):
        time.sleep(2e-3)
        return A @ x

    operator = sla.LinearOperator(A.shape, matvec=slow, dtype=float)
    with pytest.warns(ConvergenceWarning, match="max_time"):
        solution = st.funm_multiply("invsqrt", operator, b, assume_a="pos", max_time=0.1)
    assert solution.status is Status.TIMED_OUT
    assert 0 < solution.n_matvecs <= 60
    assert solution.error_estimate >= 0.1 * worst(solution.y, lam**-0.5 * b)


def test_callback_sees_matvecs():
    A, _, b = problem()
    states = []
    solution = st.funm_multiply("log", A, b, method="lanczos", callback=states.append)
    assert [s.n_matvecs for s in states] == [s.iteration for s in states]
    assert states[-1].n_matvecs == solution.n_matvecs


# -- estimates -------------------------------------------------------------------------------


@pytest.mark.parametrize("rtol", [1e-4, 1e-8, 1e-11])
@pytest.mark.parametrize("cond", [1e2, 1e4])
@pytest.mark.parametrize("name", ["exp", "phi1", "sqrt", "invsqrt", "log", "inv", "power(0.3)"])
def test_estimates_are_sharp_on_smooth_spectra(name, cond, rtol):
    A, lam, b = problem(cond)
    t = -20.0 if name in SMOOTH else 1.0
    for method in ("auto", "lanczos"):
        solution = st.funm_multiply(name, A, b, t=t, rtol=rtol, method=method, rng=SEED)
        error = worst(solution.y, TRUTH[name](t * lam) * b)
        assert solution.converged
        assert error <= 10 * rtol
        # 3e-15: what rounding of b and of the answer leaves of any error
        assert 0.1 * error <= solution.error_estimate + 3e-15
        assert solution.error_estimate <= 10 * max(error, 3e-15)


@pytest.mark.parametrize("name", ["exp", "phi2", "cos", "sqrt", "invsqrt", "log"])
def test_bounds_hold_at_every_step(name):
    """The bound of the error holds wherever the extreme Ritz values are resolved."""
    A, lam, b = problem(1e2)
    target = Target(FUNCTIONS[name], -2.0 if name in SMOOTH else 2.0)
    process = LanczosProcess(as_operator(A), b, reorthogonalize=True)
    rule = error_rule(target)
    truth = np.real(TRUTH[name](target.t * lam)) * b / np.linalg.norm(b)
    for k in range(1, 120):
        process.step()
        if k % 8:
            continue
        jacobi = Jacobi(np.array(process.alpha), np.array(process.beta))
        theta, S = jacobi.eigen
        y = (S @ (target(theta) * S[0])) @ process.basis
        error = np.linalg.norm(y - truth)
        estimate, bound = rule(jacobi)
        if error > 1e-13 * np.linalg.norm(truth):
            assert error <= 1.01 * bound
            assert 0.1 * error <= estimate <= bound
        for worth in (0.5 * bound, 2.0 * bound):  # the estimate is for those that care
            quick = rule(jacobi, worth)
            assert quick.bound == pytest.approx(bound, rel=1e-9)
            assert quick.estimate == (quick.bound if bound > worth else pytest.approx(estimate))


def test_errors_of_real_and_imaginary_parts_are_orthogonal():
    """Those of real answers add as squares; complex answers to both parts need the sum."""
    A, lam, b = problem()
    columns = Columns.of(as_operator(A), np.stack([b + 2j * b, b], axis=1))
    errors = np.array([[3.0, 1.0, 4.0]])  # real parts of both columns, then the imaginary one
    assert columns.summed(errors, real=True).tolist() == [[5.0, 1.0]]
    assert columns.summed(errors, real=False).tolist() == [[7.0, 1.0]]
    for name in ("sqrt", "exp"):
        solution = st.funm_multiply(name, A, b + 2j * b, method="lanczos", rng=SEED)
        assert solution.converged
        assert worst(solution.y, TRUTH[name](lam) * (b + 2j * b)) <= 1e-8


@pytest.mark.parametrize("name", ["inv", "log", "sqrt", "exp"])
def test_isolated_eigenvalues_do_not_inflate_the_refined_estimate(name):
    """Once they have converged, nothing is left of them in the newest vector."""
    rng = np.random.default_rng(SEED)
    lam = np.concatenate([[1e-4, 1e-3, 1e-2], np.linspace(0.3, 1.0, N - 5), [3.0, 9.0]])
    b = rng.standard_normal(N)
    target = Target(FUNCTIONS[name], -2.0 if name == "exp" else 2.0)
    process = LanczosProcess(as_operator(diagonal(lam)), b, reorthogonalize=True)
    truth = np.real(TRUTH[name](target.t * lam)) * b / np.linalg.norm(b)
    crude, refined = error_rule(target), refined_rule(target)
    ratios = []
    for _ in range(40):
        process.step()
        jacobi = Jacobi(np.array(process.alpha), np.array(process.beta))
        theta, S = jacobi.eigen
        y = (S @ (target(theta) * S[0])) @ process.basis
        error = np.linalg.norm(y - truth)
        if error > 1e-12 * np.linalg.norm(truth):
            estimate, _ = refined(jacobi)
            assert estimate <= 1.01 * crude(jacobi).bound
            ratios.append((estimate / error, crude(jacobi).estimate / error))
    late = np.array(ratios[-5:])
    assert (late[:, 0] >= 0.1).all()
    # Where the function is large at small eigenvalues the crude estimate is far too high.
    assert (late[:, 0] <= 15).all()
    if name in ("inv", "log"):
        assert (late[:, 1] > 15).all()


def test_a_laplacian_needs_no_probe_for_a_moderate_exponential():
    """The constant vector tells that the spectrum reaches close to Gershgorin's lower end."""
    A = st.gallery.poisson((30, 30))
    b = np.random.default_rng(SEED).standard_normal(900)
    solution = st.funm_multiply("exp", A, b, t=-12.5, rtol=1e-8)
    lam, V = np.linalg.eigh(A.toarray())
    truth = V @ (np.exp(-12.5 * lam) * (V.T @ b))
    assert np.linalg.norm(solution.y - truth) <= 1e-8 * np.linalg.norm(truth)
    assert solution.n_matvecs <= 60


def test_dense_rounding_is_measured():
    """An ill-conditioned A whose entries are exact: the estimate follows the true error."""
    rng = np.random.default_rng(SEED)
    lam = np.geomspace(1e-9, 1.0, 80)
    exact = st.funm_multiply("invsqrt", diagonal(lam), np.ones(80), method="dense")
    assert exact.error_estimate <= 1e-15
    Q = np.linalg.qr(rng.standard_normal((80, 80)))[0]
    A = (Q * lam) @ Q.T
    A = 0.5 * (A + A.T)
    b = rng.standard_normal(80)
    again = st.funm_multiply("invsqrt", A, b, method="dense", rtol=0.1)
    # e* A^-1 e through a factorization instead of eigenvectors
    square = float(again.y @ again.y)
    error = abs(square / float(b @ np.linalg.solve(A, b)) - 1)
    assert 1e-12 < error <= 30 * again.error_estimate < 0.1


# -- operators -------------------------------------------------------------------------------


def test_matrix_function_learns_from_its_first_application():
    A, lam, b = problem()
    count = [0]

    def matvec(x):
        count[0] += 1
        return A @ x

    operator = sla.LinearOperator(A.shape, matvec=matvec, dtype=float)
    F = st.matrix_function("exp", operator, t=-40.0, rng=SEED)
    first = F @ b
    once = F.solution.n_matvecs
    second = F @ b
    assert np.array_equal(first, second)
    assert F.solution.n_matvecs < once  # neither symmetry nor bounds are probed again
    assert F.n_matvecs == count[0]
    assert worst(first, np.exp(-40 * lam) * b) <= 1e-7


def test_adjoint_of_a_complex_function():
    A, _, b = problem()
    F = st.matrix_function("exp", A, t=1j, rng=SEED)
    x = np.random.default_rng(SEED + 1).standard_normal(N) + 0j
    assert abs(np.vdot(x, F @ b) - np.vdot(F.H @ x, b)) <= 1e-6
    assert st.matrix_function("exp", A, t=1.0).H is not None
    G = st.matrix_function("exp", sparse.csr_array(np.triu(np.ones((4, 4)))))
    with pytest.raises(InputError, match="adjoint"):
        _ = G.H


def test_dense_forced_needs_entries():
    A, _, b = problem()
    with pytest.raises(InputError, match="dense"):
        st.funm_multiply("exp", sla.aslinearoperator(A), b, method="dense")
    dense = st.funm_multiply("exp", A, b, method="dense")
    assert reference.relative_error(dense.y, st.funm_multiply("exp", A, b).y) <= 1e-8
