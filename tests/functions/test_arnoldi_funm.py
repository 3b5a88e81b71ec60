"""Arnoldi's approximation for general A: exact constructions, dense truth, estimates that hold."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg as sla

from spectool.errors import BreakdownError, InputError, NotPositiveDefiniteError
from spectool.functions.methods import arnoldi as module
from spectool.functions.methods.arnoldi import arnoldi_funm
from spectool.functions.scalar import as_scalar_function
from spectool.functions.task import Limits, Target, Task
from spectool.operators import as_operator
from spectool.results import Status

SEED = 391_846_527
N = 120
DENSE = {
    "exp": scipy.linalg.expm,
    "cos": scipy.linalg.cosm,
    "sqrt": scipy.linalg.sqrtm,
    "invsqrt": lambda A: np.linalg.inv(scipy.linalg.sqrtm(A)),
    "log": scipy.linalg.logm,
    "sign": lambda A: np.eye(len(A)),  # of these matrices
    "power(0.3)": lambda A: scipy.linalg.fractional_matrix_power(A, 0.3),
}
KINDS = ["normal", "triangular", "gaussian", "jordan", "clustered", "grcar"]


def matrix(kind, n=N, *, turned=False, seed=SEED):
    """Spectrum in the right half plane but near it; the real part of the field may be negative."""
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((n, n))
    if turned:
        G = G + 1j * rng.standard_normal((n, n))
    Q = np.linalg.qr(G)[0]
    if kind == "normal":
        pairs = [[[a, b], [-b, a]] for a, b in rng.uniform(0.2, 2.0, (n // 2, 2))]
        return Q @ scipy.linalg.block_diag(*pairs) @ Q.conj().T
    if kind == "triangular":
        T = np.diag(rng.uniform(0.3, 2.0, n)) + 0.1 * np.triu(rng.standard_normal((n, n)), 1)
        return Q @ T @ Q.conj().T
    if kind == "gaussian":
        return 1.5 * np.eye(n) + 0.7 * G / np.sqrt(n * (2 if turned else 1))
    if kind == "jordan":
        below = np.where(np.arange(1, n) % 4 > 0, 0.5, 0.0)
        return (
            Q
            @ (np.diag(np.repeat(np.linspace(0.5, 2, n // 4), 4)) + np.diag(below, -1))
            @ (Q.conj().T)
        )
    if kind == "clustered":
        lam = np.repeat([0.5, 1.0, 3.0], n // 3) * (1 + 1e-6 * rng.standard_normal(n))
        return Q @ (np.diag(lam) + np.diag(np.full(n - 1, 0.2), 1)) @ Q.conj().T
    A = sum(np.eye(n, k=k) for k in range(4)) - np.eye(n, k=-1)
    return A + (0.1j * np.eye(n, k=2) if turned else 0.0)


def solve(names, A, B, *, t=1.0, rtol=1e-8, maxiter=2000, **limits):
    names = names if isinstance(names, list) else [names]
    targets = tuple(Target(as_scalar_function(f), t) for f in names)
    operator = as_operator(A, assume_a="gen", need_hermitian=False)
    B = np.ascontiguousarray(np.reshape(B, (operator.n, -1)), dtype=operator.dtype)
    return arnoldi_funm(Task(targets, operator, B, rtol, Limits(maxiter, **limits)))


def vector(A, seed=SEED):
    return np.random.default_rng(seed).standard_normal(len(A))


def check(answer, truth, rtol, *, row=0):
    """Keep the promise; 1e-11: what dense functions of these matrices lose themselves."""
    size = np.linalg.norm(truth)
    error = np.linalg.norm(answer.Y[row, :, 0] - truth)
    told = answer.error[row, 0] + answer.rounding[row, 0]
    assert answer.status is Status.CONVERGED
    assert error <= 10 * rtol * size + 10 * answer.rounding[row, 0] + 1e-11 * size
    assert error <= 10 * told + 1e-11 * size


@pytest.mark.parametrize("turned", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("kind", KINDS)
def test_against_dense_functions(kind, name, turned):
    A = matrix(kind, 60 if kind == "grcar" else N, turned=turned)
    b = vector(A)
    truth = DENSE[name](A) @ b
    for rtol in (1e-3, 1e-9):
        answer = solve(name, A, b, rtol=rtol)
        check(answer, truth, rtol)
        assert np.iscomplexobj(answer.Y) == turned


@pytest.mark.parametrize("t", [-20.0, 3.0, 4.0j, 2.0 - 3.0j])
@pytest.mark.parametrize("kind", KINDS)
def test_times(kind, t):
    A = matrix(kind)
    b = vector(A)
    check(solve("exp", A, b, t=t), scipy.linalg.expm(t * A) @ b, 1e-8)


@pytest.mark.parametrize("t", [1.0, -30.0, 5.0j])
def test_nilpotent_shifts_have_taylor_polynomials(t):
    n = 25
    answer = solve("exp", np.diag(np.ones(n - 1), -1), np.eye(n)[0], t=t, rtol=1e-12)
    truth = np.array([t**j / math.factorial(j) for j in range(n)])
    error = np.linalg.norm(answer.Y[0, :, 0] - truth)
    assert error <= 1e-12 * np.linalg.norm(truth) + 10 * answer.rounding[0, 0]


@pytest.mark.parametrize("name", ["exp", "sqrt", "log", "sign"])
def test_shifted_nilpotents_of_which_b_sees_a_block(name):
    """A is defective, and the space is invariant after 5 steps."""
    J = 2 * np.eye(5) + np.diag(np.ones(4), -1)
    A = scipy.linalg.block_diag(J, -7 * np.eye(20))
    answer = solve(name, A, np.eye(25)[0], rtol=1e-10)
    assert "5 steps" in answer.method
    truth = np.zeros(25, dtype=complex)
    truth[:5] = DENSE[name](J)[:, 0]
    assert answer.error[0, 0] == 0.0
    check(answer, truth.real, 1e-10)


@pytest.mark.parametrize("name", DENSE)
def test_one_by_one(name):
    z = 2.0 + 1.0j
    answer = solve(name, np.array([[z]]), np.array([3.0]))
    truth = 1.0 if name == "sign" else complex(as_scalar_function(name).evaluate(np.array(z)))
    assert abs(answer.Y[0, 0, 0] - 3 * truth) <= 1e-13 * abs(truth)


def test_identity_and_zero():
    for scale in (0.0, 2.5):
        answer = solve("exp", scale * np.eye(30), np.ones(30))
        np.testing.assert_allclose(answer.Y[0, :, 0], np.exp(scale), rtol=1e-14)
        assert "1 steps" in answer.method


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize(
    ("name", "power"), [("sqrt", 0.5), ("invsqrt", -0.5), ("sign", 0.0), ("exp", None)]
)
def test_extreme_units(name, power, scale):
    A = matrix("triangular")
    b = vector(A)
    truth = DENSE[name](A) @ b
    t = 1 / scale if power is None else 1.0
    answer = solve(name, scale * A, 1e-100 * b, t=t)
    factor = 1e-100 * (1.0 if power is None else scale**power)
    assert np.linalg.norm(answer.Y[0, :, 0] / factor - truth) <= 1e-7 * np.linalg.norm(truth)
    assert answer.error[0, 0] / factor <= 1e-8 * np.linalg.norm(truth)


def test_targets_share_the_basis():
    A = matrix("gaussian")
    b = vector(A)
    names = ["exp", "log", "invsqrt"]
    answer = solve(names, A, b)
    for row, name in enumerate(names):
        check(answer, DENSE[name](A) @ b, 1e-8, row=row)
    most = max(solve(name, A, b).n_reductions for name in names)
    # Checks fall elsewhere: a quarter more steps at most.
    assert answer.n_reductions <= 1.3 * most + 12


def test_values_of_callables_may_turn_complex_between_checks():
    """Ritz values are positive at first; the eigenvalue left of the cut is found later."""
    n = 40
    A = np.diag(np.linspace(1.0, 2.0, n)) + 0.01 * np.diag(np.ones(n - 1), 1)
    A[-1, -1] = -0.5
    b = np.ones(n)
    b[-1] = 1e-9

    def root(z):
        return np.sqrt(np.asarray(z, dtype=complex))

    answer = solve(root, A, b, rtol=1e-11)
    truth = scipy.linalg.sqrtm(A.astype(complex)) @ b
    check(answer, truth, 1e-11)
    assert np.iscomplexobj(answer.Y)


def test_ritz_values_across_the_cut_pass_by():
    """Eigenvalues are e^(i phi), |phi| <= 2.5; the first Ritz values are inside the arc's hull."""
    phi = np.linspace(-2.5, 2.5, N)
    b = vector(phi)
    answer = solve("log", np.diag(np.exp(1j * phi)), b, rtol=1e-7)
    check(answer, 1j * phi * b, 1e-7)


@pytest.mark.parametrize("name", ["sqrt", "log", "invsqrt"])
def test_eigenvalues_on_the_cut_are_named(name):
    A = matrix("triangular")
    with pytest.raises(NotPositiveDefiniteError, match="Ritz value"):
        solve(name, A - 1.0 * np.eye(N), vector(A))


def test_transient_growth_is_waited_for():
    """Nothing happens for 30 steps, then ``exp`` grows by powers of ten."""
    n = 60
    A = -np.eye(n) + 4.0 * np.diag(np.ones(n - 1), -1)
    b = np.eye(n)[0]
    for rtol in (1e-2, 1e-6):
        answer = solve("exp", A, b, t=6.0, rtol=rtol)
        truth = np.array([np.exp(-6.0 + j * np.log(24.0) - math.lgamma(j + 1)) for j in range(n)])
        check(answer, truth, rtol)


@pytest.mark.parametrize("name", ["exp", "log"])
@pytest.mark.parametrize("maxiter", [8, 15, 25])
def test_estimates_hold_where_limits_end_it(name, maxiter):
    A = matrix("normal")
    b = vector(A)
    answer = solve(name, A, b, rtol=1e-12, maxiter=maxiter)
    truth = DENSE[name](A) @ b
    assert answer.status in (Status.MAXITER, Status.CONVERGED)
    error = np.linalg.norm(answer.Y[0, :, 0] - truth)
    assert error <= 10 * (answer.error + answer.rounding)[0, 0] + 1e-12 * np.linalg.norm(truth)


@pytest.mark.parametrize(("kind", "name", "t"), [("grcar", "exp", -30.0), ("normal", "exp", 40.0)])
def test_few_checks_cost_few_steps(kind, name, t, monkeypatch):
    A = matrix(kind, 300)
    b = vector(A)
    seen = []

    def run():
        checks = []
        answer = solve(name, A, b, t=t, callback=lambda state: checks.append(state.iteration))
        check(answer, DENSE[name](t * A) @ b, 1e-8)
        seen.append(checks)

    run()
    for name_of_part in ("SHORTEST", "LONGEST"):
        monkeypatch.setattr(module, name_of_part, 10**9)  # every LEAST_PAUSE steps
    run()
    few, many = seen
    assert len(few) <= 0.6 * len(many)
    # A pause is a quarter of the steps made at most.
    assert few[-1] <= 1.25 * many[-1] + module.LEAST_PAUSE


def test_rounding_beyond_rtol_is_told():
    """``exp`` of a strongly nonnormal matrix, whose answer cancels."""
    A = matrix("grcar")
    b = vector(A)
    answer = solve("exp", A, b, t=20.0, rtol=1e-13)
    truth = scipy.linalg.expm(20.0 * A) @ b
    error = np.linalg.norm(answer.Y[0, :, 0] - truth)
    assert error <= 10 * (answer.error + answer.rounding)[0, 0] + 1e-12 * np.linalg.norm(truth)


def test_trouble_is_told():
    products = sla.LinearOperator((9, 9), matvec=lambda x: x * np.nan, dtype=float)
    with pytest.raises(BreakdownError, match="not finite"):
        solve("exp", products, np.ones(9))
    with pytest.raises(InputError, match="finite on the spectrum"):
        solve("exp", 1e3 * np.eye(5), np.ones(5))


def test_callback_stops_and_deadlines_count():
    A = matrix("normal")
    answer = solve("exp", A, vector(A), t=20.0, callback=lambda state: state.iteration >= 10)
    assert answer.status is Status.STOPPED
    answer = solve("exp", A, vector(A), t=20.0, deadline=0.0)
    assert answer.status is Status.TIMED_OUT
    assert np.isinf(answer.error).all()
