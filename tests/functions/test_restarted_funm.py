"""Restarts: as without them, estimates that hold where cycles see little of the spectrum."""

import numpy as np
import pytest
import scipy.linalg

from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.functions.methods.restarted import in_dtype, restarted_funm
from spectool.functions.scalar import as_scalar_function
from spectool.functions.task import Limits, Target, Task
from spectool.operators import as_operator
from spectool.results import Status

SEED = 274_905_813
N = 90
DENSE = {
    "exp": scipy.linalg.expm,
    "cos": scipy.linalg.cosm,
    "inv": np.linalg.inv,
    "sqrt": scipy.linalg.sqrtm,
    "invsqrt": lambda A: np.linalg.inv(scipy.linalg.sqrtm(A)),
    "log": scipy.linalg.logm,
    "power(0.3)": lambda A: scipy.linalg.fractional_matrix_power(A, 0.3),
    "power(1.6)": lambda A: A @ scipy.linalg.fractional_matrix_power(A, 0.6),
}


def unitary(n, rng, *, turned):
    G = rng.standard_normal((n, n))
    return np.linalg.qr(G + 1j * rng.standard_normal((n, n)) if turned else G)[0]


def matrix(kind, n=N, *, turned=False, seed=SEED):
    rng = np.random.default_rng(seed)
    Q = unitary(n, rng, turned=turned)
    if kind == "normal":
        pairs = [[[a, b], [-b, a]] for a, b in rng.uniform(0.4, 2.0, (n // 2, 2))]
        return Q @ scipy.linalg.block_diag(*pairs) @ Q.conj().T
    if kind == "jordan":
        T = np.diag(np.repeat(np.linspace(0.6, 2, n // 3), 3))
        return Q @ (T + np.diag(np.where(np.arange(1, n) % 3 > 0, 0.4, 0.0), 1)) @ Q.conj().T
    T = np.diag(rng.uniform(0.6, 2.0, n)) + 0.05 * np.triu(rng.standard_normal((n, n)), 1)
    return Q @ T @ Q.conj().T


def solve(names, A, B, *, restart=20, t=1.0, rtol=1e-7, maxiter=6000, assume_a="gen", **limits):
    names = names if isinstance(names, list) else [names]
    targets = tuple(Target(as_scalar_function(f), t) for f in names)
    operator = as_operator(A, assume_a=assume_a, need_hermitian=False)
    B = np.ascontiguousarray(np.reshape(B, (operator.n, -1)), dtype=operator.dtype)
    task = Task(targets, operator, B, rtol, Limits(maxiter, **limits))
    return restarted_funm(task, restart=restart)


def vector(n=N, seed=SEED):
    return np.random.default_rng(seed).standard_normal(n)


def check(answer, truth, rtol, *, row=0, met=True):
    """Keep the promise; 1e-11: what dense functions of these matrices lose themselves."""
    size = np.linalg.norm(truth)
    error = np.linalg.norm(answer.Y[row, :, 0] - truth)
    told = answer.error[row, 0] + answer.rounding[row, 0]
    if met:
        assert answer.status is Status.CONVERGED
        assert error <= 10 * rtol * size + 10 * answer.rounding[row, 0] + 1e-11 * size
    assert error <= 10 * told + 1e-11 * size


@pytest.mark.parametrize("turned", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("kind", ["normal", "jordan", "triangular"])
def test_against_dense_functions(kind, name, turned):
    A, b = matrix(kind, turned=turned), vector()
    truth = DENSE[name](A) @ b
    for rtol, restart in ((1e-3, 10), (1e-9, 30)):
        check(solve(name, A, b, rtol=rtol, restart=restart), truth, rtol)


@pytest.mark.parametrize("t", [-3.0, 2.0j, 1.0 - 1.0j])
@pytest.mark.parametrize("kind", ["normal", "jordan", "triangular"])
def test_times(kind, t):
    A, b = matrix(kind), vector()
    check(solve("exp", A, b, t=t), scipy.linalg.expm(t * A) @ b, 1e-7)


def two_sided(kind, n, seed, *, turned=False):
    """Eigenvalues on both sides of the imaginary axis, and their sign by a Schur form."""
    rng = np.random.default_rng(seed)
    Q = unitary(n, rng, turned=turned)
    if kind == "triangular":
        T = np.diag(rng.uniform(-1, 1, n)) + 0.3 * np.triu(rng.standard_normal((n, n)), 1)
    elif kind == "spread":
        lam = rng.choice([-100.0, -1.0, 0.05, 1.0, 30.0, 100.0], n)
        T = np.diag(lam * (1 + 0.2 * rng.standard_normal(n)))
    else:
        lam = np.repeat(rng.standard_normal(n // 6 + 1), 6)[:n]
        T = np.diag(lam) + np.diag(np.where(np.arange(1, n) % 6 > 0, 1.0, 0.0), 1)
    return Q @ T @ Q.conj().T


def signed(A):
    """Return ``sign(A)``: an ordered Schur form is block-diagonalized, half planes apart."""
    T, Q, k = scipy.linalg.schur(A.astype(complex), output="complex", sort="lhp")
    P = np.eye(len(A), dtype=complex)
    P[:k, k:] = scipy.linalg.solve_sylvester(T[:k, :k], -T[k:, k:], -T[:k, k:])
    S = np.diag(np.where(np.arange(len(A)) < k, -1.0, 1.0))
    return Q @ P @ S @ (2 * np.eye(len(A)) - P) @ Q.conj().T


@pytest.mark.parametrize("restart", [8, 30])
@pytest.mark.parametrize("seed", [104_729_113, 982_451_653])
@pytest.mark.parametrize("kind", ["triangular", "spread", "jordan"])
def test_signs_are_never_claimed_too_early(kind, seed, restart):
    """Short cycles see other eigenvalues each time, some of them next to the imaginary axis."""
    A, b = two_sided(kind, 40, seed), vector(40)
    truth = signed(A) @ b
    noise = np.linalg.norm(A) * np.random.default_rng(seed).standard_normal((40, 40)) / 40
    known = np.linalg.norm(signed(A + 1e-15 * noise) @ b - truth)
    size = np.linalg.norm(truth)
    for rtol in (1e-3, 1e-8):
        answer = solve("sign", A, b, restart=restart, rtol=rtol, maxiter=1200)
        error = np.linalg.norm(answer.Y[0, :, 0] - truth)
        told = answer.error[0, 0] + answer.rounding[0, 0]
        assert error <= max(10 * told, 10 * rtol * size) + 10 * known


@pytest.mark.filterwarnings("ignore:logm result may be inaccurate")  # by 1e-10: see known
@pytest.mark.parametrize("seed", [104_729_113, 611_953_007, 982_451_653])
@pytest.mark.parametrize("name", ["sqrt", "log", "invsqrt"])
def test_sums_are_held_against_projections(name, seed):
    """Zero is in the field of values: what is good at eigenvalues is not good for A."""
    rng = np.random.default_rng(seed)
    Q = unitary(45, rng, turned=True)
    T = np.diag(rng.uniform(0.2, 2.2, 45)) + 0.5 * np.triu(rng.standard_normal((45, 45)), 1)
    A, b = Q @ T @ Q.conj().T, vector(45)
    truth = DENSE[name](A) @ b
    moved = A + 1e-16 * np.linalg.norm(A) * unitary(45, rng, turned=True)
    known = np.linalg.norm(DENSE[name](moved) @ b - truth)
    for rtol in (1e-3, 1e-5):
        answer = solve(name, A, b, restart=36, rtol=rtol)
        error = np.linalg.norm(answer.Y[0, :, 0] - truth)
        told = answer.error[0, 0] + answer.rounding[0, 0]
        size = np.linalg.norm(truth)
        assert known <= rtol * size
        assert error <= max(10 * told, rtol * size) + 10 * known


def test_nothing_is_claimed_where_cycles_cancel_all_digits():
    """Cycles grow by powers of ten and leave garbage, of which the last change tells nothing."""
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((70, 70))
    lam = np.repeat(rng.standard_normal(5), 14)
    A, b = X @ (lam[:, None] * np.linalg.inv(X)), vector(70)
    truth = X @ (np.exp(3j * lam) * np.linalg.solve(X, b))
    answer = solve("exp", A, b, t=3.0j, restart=14, rtol=1e-3)
    error = np.linalg.norm(answer.Y[0, :, 0] - truth)
    assert answer.status is not Status.CONVERGED
    assert error > np.linalg.norm(truth)
    assert np.isinf(answer.error[0, 0])


def test_as_without_restarts():
    A, b = matrix("triangular"), vector()
    short = solve("log", A, b, restart=12, rtol=1e-9)
    whole = solve("log", A, b, restart=N, rtol=1e-9)
    assert "restart 12" in short.method
    np.testing.assert_allclose(short.Y, whole.Y, atol=1e-7 * np.linalg.norm(whole.Y))
    assert "90 steps" in whole.method


def test_hermitian_matrices_run_lanczos_alike():
    rng = np.random.default_rng(SEED)
    Q = unitary(N, rng, turned=False)
    lam = np.geomspace(0.1, 3.0, N)
    A, b = (Q * lam) @ Q.T, vector()
    A = 0.5 * (A + A.T)
    truth = Q @ (lam**-0.5 * (Q.T @ b))
    for assume_a in ("gen", "her"):
        answer = solve("invsqrt", A, b, assume_a=assume_a, rtol=1e-8)
        check(answer, truth, 1e-8)


@pytest.mark.parametrize("name", ["exp", "sqrt", "log", "power(1.6)"])
def test_invariant_spaces_are_exact(name):
    J = 2 * np.eye(5) + np.diag(np.ones(4), -1)
    A = scipy.linalg.block_diag(J, -7 * np.eye(20))
    answer = solve(name, A, np.eye(25)[0], rtol=1e-10)
    truth = np.zeros(25)
    truth[:5] = DENSE[name](J)[:, 0].real
    check(answer, truth, 1e-10)
    assert answer.error[0, 0] == 0.0


@pytest.mark.parametrize("name", DENSE)
def test_one_by_one(name):
    z = 2.0 + 1.0j
    answer = solve(name, np.array([[z]]), np.array([3.0]))
    truth = complex(as_scalar_function(name).evaluate(np.array(z)))
    assert abs(answer.Y[0, 0, 0] - 3 * truth) <= 1e-13 * abs(truth)


def test_powers_that_annihilate_b_are_zero():
    answer = solve("power(3)", np.diag(np.ones(2), -1), np.eye(3)[1])
    assert not answer.Y.any()
    assert not answer.error.any()
    assert answer.status is Status.CONVERGED


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize(
    ("name", "power"), [("sqrt", 0.5), ("invsqrt", -0.5), ("inv", -1.0), ("exp", None)]
)
def test_extreme_units(name, power, scale):
    A, b = matrix("triangular"), vector()
    truth = DENSE[name](A) @ b
    t = 1 / scale if power is None else 1.0
    answer = solve(name, scale * A, 1e-100 * b, t=t)
    factor = 1e-100 * (1.0 if power is None else scale**power)
    assert np.linalg.norm(answer.Y[0, :, 0] / factor - truth) <= 1e-6 * np.linalg.norm(truth)
    assert answer.error[0, 0] / factor <= 1e-7 * np.linalg.norm(truth)


@pytest.mark.parametrize("t", [0.3, 5.0])
def test_roots_at_times_and_groups_of_targets(t):
    A, b = matrix("jordan"), vector()
    names = ["sqrt", "exp", "power(1.6)", "invsqrt"]
    answer = solve(names, A, b, t=t)
    for row, name in enumerate(names):
        check(answer, DENSE[name](t * A) @ b, 1e-7, row=row)


def test_nonnormal_exponentials_get_sums_that_do():
    """The field of values is wide: sums of poles good to 1e-8 at eigenvalues are not for A."""
    n = 80
    A = -np.eye(n) + 3.0 * np.diag(np.ones(n - 1), -1)
    b = vector(n)
    for t in (1.0, 4.0):
        truth = scipy.linalg.expm(t * A) @ b
        answer = solve("exp", A, b, t=t, restart=25, rtol=1e-8)
        check(answer, truth, 1e-8, met=answer.status is Status.CONVERGED)


@pytest.mark.parametrize("maxiter", [8, 12, 16])
@pytest.mark.parametrize("name", ["exp", "log", "invsqrt"])
def test_estimates_hold_where_limits_end_it(name, maxiter):
    A, b = matrix("normal"), vector()
    answer = solve(name, A, b, rtol=1e-12, restart=8, maxiter=maxiter)
    assert answer.status is Status.MAXITER
    check(answer, DENSE[name](A) @ b, 1e-12, met=False)


@pytest.mark.parametrize("name", ["sqrt", "log", "invsqrt"])
def test_eigenvalues_on_the_cut_are_named(name):
    A = np.diag(np.append(np.linspace(1.0, 2.0, N - 1), -3.0)) + 0.1 * np.eye(N, k=1)
    with pytest.raises(NotPositiveDefiniteError, match="Ritz value -3"):
        solve(name, A, vector(), restart=40)


def test_complex_answers_of_real_matrices():
    A, b = matrix("normal"), vector()

    def f(z):
        return 1j * np.exp(-np.asarray(z))

    answer = solve(f, A, b, restart=15)
    check(answer, 1j * scipy.linalg.expm(-A) @ b, 1e-7)


def test_trouble_is_told():
    A, b = matrix("normal"), vector()
    with pytest.raises(InputError, match="restart must be at least 4; got 3"):
        solve("exp", A, b, restart=3)
    with pytest.raises(InputError, match="no partial fractions"):
        solve(lambda z: 1 / (z - 1.2), A, b, restart=8)
    with pytest.raises(InputError, match="overflow"):
        solve("power(3)", 1e150 * A, b, restart=8)


def test_data_types_that_do_not_hold_the_answer():
    y = np.array([[3e38, 1.0]])
    cast, lost = in_dtype(y, np.dtype(np.float32))
    assert cast.dtype == np.float32
    assert lost[0] <= 1e-7 * 3e38
    assert in_dtype(1j * y, np.dtype(np.float32))[0].dtype == np.complex64
    with pytest.raises(InputError, match="must be finite in float32"):
        in_dtype(y, np.dtype(np.float32), 10.0)
