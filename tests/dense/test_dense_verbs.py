"""Functions of dense matrices: relations, references, batches, methods, and everything degenerate.

Tolerances are multiples of eps: residuals of stable methods are a few eps per sqrt(n); forward
errors carry the condition number that each test names.
"""

import warnings

import numpy as np
import pytest
import scipy.linalg as sl

from spectool import dense
from spectool.dense.costs import Costs
from spectool.dense.methods import method_names
from spectool.dense.problems import Problem
from spectool.errors import (
    BreakdownError,
    ConvergenceWarning,
    InputError,
    NotConvergedError,
    NotPositiveDefiniteError,
)
from spectool.results import IterationResult, Status

SEED = 604518273
EPS = float(np.finfo(np.float64).eps)
TABLES = ("muon", "jordan", "cans", "deepseek", "cubic5")
VERBS = {
    "polar": dense.polar,
    "sign": dense.signm,
    "sqrt": dense.sqrtm,
    "invsqrt": dense.invsqrtm,
    "root": lambda A, **options: dense.root(A, 3, **options),
    "inverse_root": lambda A, **options: dense.inverse_root(A, 3, **options),
    "inv": dense.inv,
}
POWERS = {"sqrt": 1 / 2, "invsqrt": -1 / 2, "root": 1 / 3, "inverse_root": -1 / 3, "inv": -1}
NAMES = [
    (function, name)
    for function in VERBS
    for name in ("auto", "lapack", *method_names(Problem(function, 3)))
    if name not in TABLES
]


def haar(rng, n, dtype=float):
    X = rng.standard_normal((n, n))
    if np.dtype(dtype).kind == "c":
        X = X + 1j * rng.standard_normal((n, n))
    return np.linalg.qr(X)[0]


def hermitian(rng, theta, dtype=float):
    Q = haar(rng, len(theta), dtype)
    A = (Q * theta) @ Q.conj().T
    return (0.5 * (A + A.conj().T)).astype(dtype)


def definite(rng, n, cond, dtype=float):
    return hermitian(rng, np.geomspace(1.0, 1.0 / cond, n), dtype)


def of_eigenvalues(A, f):
    theta, V = np.linalg.eigh(A)
    return (V * f(theta)) @ V.conj().T


def example(rng, function, n=9, dtype=float):
    if function == "polar":
        return haar(rng, n, dtype) @ definite(rng, n, 50.0, dtype)
    if function == "sign":
        theta = np.geomspace(1.0, 0.02, n) * np.where(np.arange(n) % 2, -1, 1)
        return hermitian(rng, theta, dtype)
    return definite(rng, n, 20.0, dtype)


def expected(function, A):
    if function == "polar":
        W, _, Vh = np.linalg.svd(A, full_matrices=False)
        return W @ Vh
    if function == "sign":
        return of_eigenvalues(A, np.sign)
    return of_eigenvalues(A, lambda theta: theta ** POWERS[function])


def answer(value):
    return value.U if isinstance(value, dense.Polar) else value


def close(X, Y, factor, dtype=np.float64):
    assert np.linalg.norm(X - Y) <= factor * np.finfo(dtype).eps * np.linalg.norm(Y)


# every method


@pytest.mark.parametrize(("function", "name"), NAMES)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_every_method_computes_its_function(rng, function, name, dtype):
    A = example(rng, function, dtype=dtype)
    if name == "visser":  # of order one: 100 steps are for condition numbers below 9
        A = hermitian(rng, np.geomspace(1.0, 0.3, 9), dtype)
    result = VERBS[function](A, method=name, full_output=True)
    # condition number 50 at most, of the function less; 300 steps of rounding
    close(answer(result.value), expected(function, A), 3e3)
    assert result.converged
    assert result.value is not None
    if name not in ("auto", "lapack"):
        assert f"by {name}" in result.method
        assert "then" not in result.method  # nothing else had to help
        assert result.n_iterations >= 2
        assert len(result.history) == result.n_iterations + 1


@pytest.mark.parametrize("name", TABLES)
def test_tables_end_in_a_band(rng, name):
    G = rng.standard_normal((40, 12))
    result = dense.polar(G, method=name, full_output=True)
    values = np.linalg.svd(result.value.U, compute_uv=False)
    assert result.converged
    assert values.min() > 0.3
    assert values.max() < 1.3
    assert "fixed steps" in result.report
    with pytest.warns(ConvergenceWarning, match="fixed number of steps"):
        dense.polar(np.ones((4, 4)), method=name)


@pytest.mark.parametrize("function", list(VERBS))
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_single_precision_stays(rng, function, dtype):
    A = example(rng, function).astype(dtype)
    for name in ("auto", *method_names(Problem(function, 3))):
        if name in (*TABLES, "visser"):
            continue
        X = answer(VERBS[function](A, method=name))
        assert X.dtype == dtype
        close(X, expected(function, A.astype(np.complex128)), 5e3, np.float32)


@pytest.mark.parametrize("function", [name for name in VERBS if name != "root"])
@pytest.mark.parametrize("name", ["prism", "kpe", "hybrid"])
def test_methods_that_sketch_repeat_with_their_seed(rng, function, name):
    A = example(rng, function)
    first, second = (VERBS[function](A, method=name, rng=SEED, full_output=True) for _ in range(2))
    assert first.converged
    assert f"by {name}" in first.method
    assert "then" not in first.method
    assert np.array_equal(answer(first.value), answer(second.value))
    assert first.steps == second.steps
    close(answer(first.value), expected(function, A), 3e3)


# relations and references


@pytest.mark.parametrize("shape", [(7, 7), (30, 8), (8, 30), (1, 5), (5, 1), (1, 1), (600, 3)])
@pytest.mark.parametrize("name", ["auto", "scaled_newton", "qdwh", "polar_express"])
def test_polar_of_any_shape(rng, shape, name):
    G = rng.standard_normal(shape)
    U, H = dense.polar(G, method=name)
    m, n = shape
    small = U.T @ U if m >= n else U @ U.T
    assert np.linalg.norm(small - np.eye(min(shape))) <= 50 * EPS * min(shape)
    assert np.array_equal(H, H.T)
    assert np.linalg.eigvalsh(H).min() >= -50 * EPS * np.linalg.norm(G)
    close(U @ H, G, 100)
    close(H, sl.polar(G)[1], 200)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("name", ["auto", "scaled_newton", "qdwh", "zolotarev", "polar_express"])
def test_polar_of_an_ill_conditioned_matrix(rng, dtype, name):
    n = 30
    G = (haar(rng, n, dtype) * np.geomspace(1.0, 1e-12, n)) @ haar(rng, n, dtype)
    result = dense.polar(G, method=name, full_output=True)
    U, H = result.value
    assert "then" not in result.method
    assert np.linalg.norm(U.conj().T @ U - np.eye(n)) <= 10 * n * EPS
    # polynomials are not backward stable: they lose the square root of the condition number at most
    close(U @ H, G, 1e5 if name == "polar_express" else 100)
    assert result.residual_norm <= 1e-9


def test_sqrt_of_an_ill_conditioned_matrix_against_mpmath(rng):
    mpmath = pytest.importorskip("mpmath")
    A = definite(rng, 8, 1e10)
    with mpmath.workdps(50):
        theta, V = mpmath.eighe(mpmath.matrix(A.tolist()))
        root = V * mpmath.diag([mpmath.sqrt(one) for one in theta]) * V.T
        exact = np.array(root.tolist(), dtype=float)
    # relative condition sqrt(1e10) / 2 at the small end, 1 at the large one
    for name in ("auto", "product_db", "scaled_db", "newton_schulz", "quintic", "polar_express"):
        close(dense.sqrtm(A, method=name), exact, 1e6)


def test_functions_of_general_matrices_against_scipy(rng):
    A = rng.standard_normal((12, 12)) + 5.0 * np.eye(12)
    B = rng.standard_normal((12, 12))
    C = A + 1j * rng.standard_normal((12, 12))
    for name in ("auto", "lapack", "product_db", "scaled_db", "denman_beavers", "newton_schulz"):
        for M in (A, C):
            X = dense.sqrtm(M, method=name)
            close(X, sl.sqrtm(M), 1e3)
            assert X.dtype == M.dtype
            close(dense.invsqrtm(M, method=name) @ X, np.eye(12), 1e4)
    for name in ("auto", "lapack", "newton", "halley", "qdwh", "zolotarev"):
        close(dense.signm(B, method=name), sl.signm(B), 1e5)
    for name in ("auto", "iannazzo", "newton"):
        close(dense.root(A, 3, method=name), sl.fractional_matrix_power(A, 1 / 3), 1e4)
    close(dense.inverse_root(A, 3), sl.fractional_matrix_power(A, -1 / 3), 1e4)
    close(dense.inv(B), np.linalg.inv(B), 1e4)


def test_powers_of_roots(rng):
    A = definite(rng, 6, 10.0)
    for p in (1, 2, 3, 4, 5, 8):
        close(np.linalg.matrix_power(dense.root(A, p), p), A, 300)
        close(np.linalg.matrix_power(dense.inverse_root(A, p), p) @ A, np.eye(6), 1e3)
    close(dense.root(A, 2), dense.sqrtm(A), 100)


def test_a_singular_semidefinite_matrix_has_a_root(rng):
    B = rng.standard_normal((6, 3))
    A = B @ B.T
    X = dense.sqrtm(A)
    close(X @ X, A, 100)
    with pytest.raises(NotPositiveDefiniteError):
        dense.invsqrtm(A)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
@pytest.mark.parametrize("function", list(VERBS))
def test_units_do_not_matter(rng, function, scale):
    A = example(rng, function)
    power = POWERS.get(function, 0.0)
    for name in ("auto", method_names(Problem(function, 3))[0]):
        small = answer(VERBS[function](A * scale, method=name))
        close(small, answer(VERBS[function](A, method=name)) * scale**power, 1e3)
    if function == "polar":
        close(dense.polar(A * scale).H, dense.polar(A).H * scale, 1e3)


def test_a_power_of_four_scales_roots_exactly(rng):
    A = definite(rng, 5, 10.0)
    assert np.array_equal(dense.sqrtm(A * 4.0**30), dense.sqrtm(A) * 2.0**30)


# batches, libraries, repeatability


@pytest.mark.parametrize("function", list(VERBS))
def test_a_batch_is_its_matrices_one_by_one(rng, function):
    A = np.stack([example(rng, function, 5) for _ in range(6)]).reshape(2, 3, 5, 5)
    A[0, 1] *= 1e3
    for name in ("auto", method_names(Problem(function, 3))[-1 if function == "inv" else 1]):
        whole = VERBS[function](A, method=name)
        for index in np.ndindex(2, 3):
            alone = VERBS[function](A[index], method=name)
            close(answer(whole)[index], answer(alone), 1e3)


def test_a_batch_of_different_structure(rng):
    general = rng.standard_normal((5, 5)) + 4.0 * np.eye(5)
    A = np.stack([definite(rng, 5, 10.0), general, np.zeros((5, 5)), np.eye(5)])
    with pytest.raises(NotPositiveDefiniteError, match="matrix 2 of the batch"):
        dense.invsqrtm(A)
    A[2] += np.eye(5)
    result = dense.sqrtm(A, full_output=True)
    assert result.residual_norms.shape == (4,)
    assert "eigh" in result.method
    assert "Schur" in result.method
    for index in range(4):
        close(result.value[index], dense.sqrtm(A[index]), 10)


def test_one_bad_matrix_does_not_spoil_a_batch(rng):
    G = np.stack([rng.standard_normal((6, 6)), np.ones((6, 6)), rng.standard_normal((6, 6))])
    result = dense.polar(G, method="scaled_newton", full_output=True)
    assert result.converged
    assert "SVD" in result.method or "eigh" in result.method
    close(result.value.U[0], dense.polar(G[0], method="scaled_newton").U, 100)
    close(result.value.U @ result.value.H, G, 100)


def test_torch_equals_numpy(rng):
    torch = pytest.importorskip("torch")
    for function, verb in VERBS.items():
        for dtype in (np.float32, np.complex128):
            A = np.stack([example(rng, function, 6) for _ in range(2)]).astype(dtype)
            for name in ("auto", *method_names(Problem(function, 3))):
                if name in (*TABLES, "visser"):
                    continue
                found = answer(verb(torch.from_numpy(A), method=name))
                assert isinstance(found, torch.Tensor)
                assert found.dtype == torch.from_numpy(A).dtype
                close(found.numpy(), answer(verb(A, method=name)), 2e3, dtype)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_is_storage(rng, half):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, half)
    for function, verb in VERBS.items():
        A = torch.from_numpy(example(rng, function, 8)).to(dtype)
        result = verb(A, full_output=True)
        X = answer(result.value)
        assert X.dtype == dtype
        # A itself is rounded; condition 50
        reference = expected(function, A.double().numpy())
        error = np.linalg.norm(X.double().numpy() - reference) / np.linalg.norm(reference)
        assert error <= 40 * torch.finfo(dtype).eps


def test_integers_and_lists_become_float64_and_half_becomes_single():
    assert dense.sqrtm([[4, 0], [0, 9]]).tolist() == [[2.0, 0.0], [0.0, 3.0]]
    assert dense.inv(np.array([[2]], dtype=np.int8)).dtype == np.float64
    assert dense.sqrtm(np.eye(2, dtype=np.float16)).dtype == np.float32


def test_results_repeat(rng):
    G = rng.standard_normal((20, 20))
    first, second = (dense.polar(G, method="polar_express", rng=SEED) for _ in range(2))
    assert np.array_equal(first.U, second.U)
    assert np.array_equal(first.H, second.H)


def test_the_input_is_not_touched(rng):
    for function, verb in VERBS.items():
        A = example(rng, function)
        before = A.copy()
        for name in ("auto", *method_names(Problem(function, 3))):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                verb(A, method=name)
            assert np.array_equal(A, before)


# tolerances and limits


@pytest.mark.parametrize("rtol", [1e-2, 1e-5, 1e-10])
def test_rtol_is_met_by_the_answer(rng, rtol):
    A = definite(rng, 30, 1e3)
    for verb in (dense.sqrtm, dense.invsqrtm, dense.polar, dense.inv):
        steps = []
        for tolerance in (rtol, None):
            result = verb(A, method="polar_express", rtol=tolerance, full_output=True)
            assert result.converged
            steps.append(result.n_iterations)
        assert steps[0] <= steps[1]
        assert verb(A, method="polar_express", rtol=rtol, full_output=True).residual_norm <= rtol


def test_an_unattainable_rtol_is_told(rng):
    G = rng.standard_normal((20, 20))
    with pytest.warns(ConvergenceWarning, match="rounding"):
        result = dense.polar(G, rtol=1e-17, full_output=True)
    assert result.status is Status.STAGNATED
    assert result.residual_norm <= 100 * EPS
    with pytest.raises(NotConvergedError):
        result.check()


def test_an_ill_conditioned_inverse_is_told(rng):
    A = definite(rng, 8, 1e13)
    with pytest.warns(ConvergenceWarning, match="ill-conditioned"):
        result = dense.invsqrtm(A, full_output=True)
    assert result.residual_norm > EPS**0.5


def test_limits_end_a_run_with_what_there_is(rng):
    G = rng.standard_normal((20, 20))
    seen = []
    for options, status in (
        ({"maxiter": 3}, Status.MAXITER),
        ({"max_time": 1e-9}, Status.TIMED_OUT),
        ({"callback": lambda progress: progress.iteration >= 2}, Status.STOPPED),
    ):
        with pytest.warns(ConvergenceWarning):
            result = dense.polar(G, method="newton_schulz", full_output=True, **options)
        assert result.status is status
        assert (
            result.n_iterations == {"maxiter": 3, "max_time": 1, "callback": 2}[next(iter(options))]
        )
        assert np.isfinite(result.value.U).all()
    dense.polar(G, method="newton_schulz", callback=seen.append)
    assert [progress.iteration for progress in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].residual_norm < seen[0].residual_norm
    assert seen[0].step.startswith("sign.newton_schulz")


def test_an_interrupt_keeps_the_result(rng):
    def interrupt(progress):
        if progress.iteration == 4:
            raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match="Ctrl-C"):
        result = dense.polar(
            rng.standard_normal((9, 9)),
            method="newton_schulz",
            callback=interrupt,
            full_output=True,
        )
    assert result.status is Status.INTERRUPTED
    assert np.isfinite(result.value.U).all()


def test_the_result_prints_as_a_sentence(rng):
    result = dense.polar(rng.standard_normal((9, 4)), method="qdwh", full_output=True)
    assert isinstance(result, IterationResult)
    assert str(result).startswith("polar by qdwh: the tolerance was met; residual ")
    assert "tall products" in str(result)
    assert result.check() is result
    assert "||U^H U - I||" in result.report
    assert result.elapsed > 0.0


# methods and plans


class Cubic:
    """A method of somebody else's."""

    name = "cubic"

    def steps(self, run):
        from spectool.dense.iterations import find_kind

        while True:
            yield find_kind("sign.newton_schulz").step()


class Overshooting:
    """Takes singular values above 0.43 to -1, and the others to 1."""

    name = "overshooting"

    def steps(self, run):
        from spectool.dense.iterations import find_kind

        yield find_kind("sign.newton_schulz").step(4.0, -22.0)
        while True:
            yield find_kind("sign.newton_schulz").step()


class Planned:
    def method(self):
        return Cubic()


def test_a_method_or_a_plan_may_be_an_object(rng):
    G = rng.standard_normal((8, 8))
    for options in ({"method": Cubic()}, {"plan": Cubic()}, {"plan": Planned()}):
        result = dense.polar(G, full_output=True, **options)
        assert result.method == "polar by cubic"
        close(result.value.U, expected("polar", G), 1e3)
    with pytest.raises(InputError, match="plan or a method"):
        dense.polar(G, method="lapack", plan=Planned())
    with pytest.raises(InputError, match="steps"):
        dense.polar(G, plan=3)


def test_a_plan_serves_its_verb(rng):
    A = definite(rng, 40, 1e3)
    for function, verb in (("sqrt", dense.sqrtm), ("polar", dense.polar)):
        plan = dense.plan_iteration(
            function, A, costs=Costs(product=1.0, inverse=3.0), n_iterations=20, rng=SEED
        )
        result = verb(A, plan=plan, full_output=True)
        assert "plan" in result.method
        assert result.converged
        close(answer(result.value), expected(function, A), 1e4)


def test_singular_values_that_change_their_sign_are_found(rng):
    G = (haar(rng, 9) * np.linspace(0.3, 1.0, 9)) @ haar(rng, 9)
    for A, verb in ((G, dense.polar), (hermitian(rng, np.linspace(-1.0, 0.9, 8)), dense.signm)):
        result = verb(A, method=Overshooting(), full_output=True)
        assert "went to -1" in result.report
        close(answer(result.value), expected("polar", A), 1e3)


def test_a_bound_saves_steps(rng):
    G = haar(rng, 20) @ definite(rng, 20, 20.0)
    steps = [
        dense.polar(G, method=dense.Named("polar_express", lower=lower), full_output=True)
        for lower in (1e-9, None, 1e-2)
    ]
    counts = [result.n_iterations for result in steps]
    assert counts[0] > counts[1] > counts[2]
    for result in steps:
        close(result.value.U, expected("polar", G), 1e3)
    with pytest.raises(InputError, match="lower"):
        dense.Named("polar_express", lower=2.0)
    with pytest.raises(InputError, match="a method is one of"):
        dense.Named("nonsense")


def test_scaling_saves_steps(rng):
    A = definite(rng, 16, 1e8)
    pairs = [
        (dense.polar, "newton", "scaled_newton"),
        (dense.polar, "halley", "qdwh"),
        (dense.sqrtm, "denman_beavers", "scaled_db"),
        (dense.sqrtm, "newton_schulz", "quintic"),
    ]
    for verb, plain, scaled in pairs:
        counts = [verb(A, method=n, full_output=True).n_iterations for n in (plain, scaled)]
        assert counts[0] > counts[1]
    G = definite(rng, 30, 1e12)
    assert dense.polar(G, method="zolotarev", full_output=True).n_iterations <= 3


def test_unknown_methods_are_named():
    with pytest.raises(InputError, match=r"method must be one of auto, lapack, .*got 'qdwh'"):
        dense.sqrtm(np.eye(2), method="qdwh")
    with pytest.raises(InputError, match="does not compute sqrt"):
        dense.sqrtm(np.eye(2), plan=dense.Named("halley"))


# what has no answer


ROTATION = np.array([[0.0, -1.0], [1.0, 0.0]])


@pytest.mark.parametrize("name", ["auto", "lapack", *method_names(Problem("sign"))])
def test_the_rotation_has_no_sign(name):
    with pytest.raises(InputError, match="imaginary axis"):
        dense.signm(ROTATION, method=name)
    close(dense.sqrtm(ROTATION), np.array([[1.0, -1.0], [1.0, 1.0]]) / 2**0.5, 10)


@pytest.mark.parametrize("theta", [0.1, 0.5, 1.0, 1.4])
def test_polynomials_for_the_sign_of_general_matrices(theta):
    # eigenvalues exp(+-i theta) have the sign 1; Newton-Schulz converges for some of them only
    A = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    for name in ("newton_schulz", "quintic", "polar_express", "muon", "scaled_newton_schulz"):
        result = dense.signm(A, method=name, full_output=True)
        close(result.value, np.eye(2), 100)


@pytest.mark.parametrize("name", [n for f, n in NAMES if f == "sign"])
def test_an_eigenvalue_that_is_zero_has_no_sign(rng, name):
    theta = np.array([1.0, 0.5, 1e-17, -0.3, -1.0])
    with pytest.raises((InputError, BreakdownError)):
        dense.signm(hermitian(rng, theta), method=name)


def test_nearly_defective_matrices_have_no_sign():
    A = np.array([[1.0, -1.0], [1.0, -1.0]], dtype=np.float32)  # nilpotent
    with pytest.raises(InputError, match="imaginary axis"):
        dense.signm(A)


@pytest.mark.parametrize("function", ["sqrt", "invsqrt", "root", "inverse_root"])
def test_indefinite_matrices_have_no_root(rng, function):
    A = hermitian(rng, np.array([2.0, 1.0, -0.25]))
    for name in ("auto", "lapack", *method_names(Problem(function, 3))):
        with pytest.raises(NotPositiveDefiniteError, match=r"eigenvalue -0\.25"):
            VERBS[function](A, method=name)
    general = np.diag([1.0, -2.0, 3.0]) + np.diag([1.0, 1.0], 1)
    for name in ("auto", "lapack", *method_names(Problem(function, 3))):
        with pytest.raises(NotPositiveDefiniteError, match="eigenvalue -2"):
            VERBS[function](general, method=name)


@pytest.mark.parametrize("name", ["auto", *method_names(Problem("inv"))])
def test_singular_matrices_have_no_inverse(rng, name):
    for A in (np.zeros((3, 3)), np.ones((3, 3)), np.outer([1.0, 2.0, 3.1], [0.3, 0.2, 1.0])):
        with pytest.raises(InputError, match="singular value"):
            dense.inv(A, method=name)
    B = rng.standard_normal((6, 5))
    with pytest.raises(InputError, match="singular value"):
        dense.inv(B @ B.T, method=name)


@pytest.mark.parametrize("name", ["auto", *method_names(Problem("polar"))])
def test_polar_without_full_rank(rng, name):
    for G in (np.zeros((4, 3)), np.ones((4, 4)), np.outer(np.arange(5.0), np.arange(3.0))):
        if name in TABLES:
            continue
        U, H = dense.polar(G, method=name)
        assert np.linalg.norm(U.T @ U - np.eye(G.shape[1])) <= 100 * EPS
        assert np.linalg.norm(U @ H - G) <= 100 * EPS * (np.linalg.norm(G) or 1.0)


def test_what_has_no_entries():
    U, H = dense.polar(np.zeros((3, 0)))
    assert (U.shape, H.shape) == ((3, 0), (0, 0))
    U, H = dense.polar(np.zeros((0, 3)))
    assert (U.shape, H.shape) == ((0, 3), (3, 3))
    for verb in (dense.sqrtm, dense.inv, dense.signm):
        assert verb(np.zeros((0, 0))).shape == (0, 0)
        assert verb(np.zeros((0, 4, 4), dtype=np.float32)).dtype == np.float32
        assert verb(np.zeros((2, 0, 4, 4))).shape == (2, 0, 4, 4)
    assert dense.sqrtm(np.zeros((0, 4, 4)), full_output=True).converged


@pytest.mark.parametrize("function", list(VERBS))
def test_order_one(function):
    for a in (0.25, 3.0):
        value = {"polar": 1.0, "sign": 1.0}.get(function, a ** POWERS.get(function, 0.0))
        for name in ("auto", "lapack", *method_names(Problem(function, 3))):
            if name not in (*TABLES, "visser"):
                found = answer(VERBS[function](np.array([[a]]), method=name))
                assert found.item() == pytest.approx(value, rel=1e-14)


def test_a_phase_is_the_polar_factor_of_a_complex_number():
    U, H = dense.polar(np.array([[3.0 + 4.0j]]))
    assert U.item() == pytest.approx(0.6 + 0.8j)
    assert H.item() == pytest.approx(5.0)


def test_answers_that_overflow_are_told():
    with pytest.raises(BreakdownError, match="overflows"):
        dense.inv(np.eye(2) * 1e-310)
    assert dense.sqrtm(np.eye(2) * 1e308) == pytest.approx(np.eye(2) * 1e154)
    assert dense.polar(np.eye(2) * 5e-324).H[0, 0] == 5e-324


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dense.inv(np.ones((3, 2))), "square"),
        (lambda: dense.inv(np.ones(3)), "1-D"),
        (lambda: dense.polar(np.array([[np.nan]])), "G must be finite"),
        (lambda: dense.inv(np.array([[np.inf]])), "finite"),
        (lambda: dense.inv(np.array([["a"]])), "numbers"),
        (lambda: dense.inv(np.array([[None]])), "numbers"),
        (lambda: dense.inv(np.array([[True]])), "bool"),
        (lambda: dense.inv([[1.0, 2.0], [3.0]]), "array of numbers"),
        (lambda: dense.inv(np.eye(2, dtype=np.longdouble)), "double precision"),
        (lambda: dense.inv(np.eye(2), rtol=0.0), "rtol"),
        (lambda: dense.inv(np.eye(2), rtol="1e-3"), "rtol"),
        (lambda: dense.inv(np.eye(2), maxiter=0), "maxiter"),
        (lambda: dense.inv(np.eye(2), maxiter=True), "maxiter"),
        (lambda: dense.inv(np.eye(2), max_time=-1.0), "max_time"),
        (lambda: dense.inv(np.eye(2), callback=3), "callback"),
        (lambda: dense.inv(np.eye(2), assume_a="spd"), "assume_a"),
        (lambda: dense.inv(np.eye(2), method=None), "method"),
        (lambda: dense.root(np.eye(2), 0), "p must be"),
        (lambda: dense.root(np.eye(2), 2.0), "p must be"),
        (lambda: dense.inverse_root(np.eye(2), True), "p must be"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_sparse_matrices_are_told_to_be_converted():
    import spectool as st

    with pytest.raises(InputError, match="toarray"):
        dense.inv(st.gallery.poisson((3, 3)))


def test_declared_structure(rng):
    A = definite(rng, 6, 10.0)
    result = dense.inv(A, assume_a="pos", full_output=True)
    assert "Cholesky" in result.method
    close(result.value, np.linalg.inv(A), 1e3)
    assert "Schur" in dense.sqrtm(A, assume_a="gen", method="lapack", full_output=True).method
    with pytest.warns(ConvergenceWarning, match="assume_a"):
        dense.sqrtm(np.array([[1.0, 1.0], [0.0, 1.0]]), assume_a="her")
    indefinite = np.array([[0.0, 1.0], [1.0, 0.0]])
    close(dense.inv(indefinite, assume_a="pos"), indefinite, 10)


def test_asymmetry_by_rounding_is_hermitian(rng):
    B = rng.standard_normal((200, 20))
    A = (B.T * rng.uniform(0.5, 2.0, 200)) @ B
    A[0, 1] = np.nextafter(A[0, 1], np.inf)
    assert not np.array_equal(A, A.T)
    result = dense.sqrtm(A, full_output=True)
    assert result.method == "sqrt by eigh"
    assert np.array_equal(result.value, result.value.T)


# random matrices of every kind


def draw(rng):
    """Return a matrix of order 1 to 6: full, singular, graded, defective, of any scale."""
    n = int(rng.integers(1, 7))
    kind = rng.integers(7)
    A = rng.standard_normal((n, n))
    if kind == 1:
        A = A @ A.T
    elif kind == 2:
        A = A + A.T
    elif kind == 3:
        B = rng.standard_normal((n, int(rng.integers(0, n + 1))))
        A = B @ B.T
    elif kind == 4:
        d = 10.0 ** rng.uniform(-20, 20, n)
        A = d[:, None] * A * d
    elif kind == 5:
        A = np.triu(rng.integers(-1, 3, (n, n))).astype(float)
    elif kind == 6:
        A = A[:, : int(rng.integers(1, n + 1))]
    if rng.random() < 0.3:
        A = A * (1 + 1j) + 1j * np.roll(A, 1)
    return A * 10.0 ** rng.choice([0.0, rng.uniform(-150, 150)])


@pytest.mark.parametrize("seed", [271946035, 860172493, 415903726])
def test_random_matrices_never_give_nan_and_never_lie(seed):
    rng = np.random.default_rng(seed)
    outcomes = {"answers": 0, "warnings": 0, "errors": 0}
    for _ in range(300):
        A = draw(rng)
        function = "polar" if len(set(A.shape)) > 1 else str(rng.choice(list(VERBS)))
        names = [n for n in method_names(Problem(function, 3)) if n not in TABLES]
        name = str(rng.choice(["auto", "lapack", *names]))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                result = VERBS[function](A, method=name, full_output=True)
            except (InputError, BreakdownError):
                outcomes["errors"] += 1
                continue
        assert all(issubclass(one.category, ConvergenceWarning) for one in told)
        X = answer(result.value)
        assert np.isfinite(X).all()
        assert bool(told) != result.converged
        outcomes["warnings" if told else "answers"] += 1
        if not told:
            assert np.abs(residual(function, A, X)).max() <= 1e-6  # of matrices of order 6
    assert outcomes["answers"] > 100
    assert outcomes["errors"] > 10


def residual(function, A, X):
    unit = float(np.abs(A).max()) or 1.0
    A = A / unit
    identity = np.eye(len(X)) if X.shape[0] == X.shape[1] else None
    if function == "polar":
        H = X.conj().T @ A
        return X @ (0.5 * (H + H.conj().T)) - A
    if function == "sign":
        return X @ X - identity
    power = POWERS[function]
    X = X * unit**-power
    full = np.linalg.matrix_power(X, round(1 / abs(power)))
    return full - A if power > 0 else A @ full - identity
