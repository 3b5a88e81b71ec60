"""Residuals of answers: exact in small orders, sketched in large ones, and looked at by plans."""

import dataclasses

import numpy as np
import pytest

from spectool.dense import accuracy
from spectool.dense.accuracy import EXACT, residual_norms
from spectool.dense.costs import Costs
from spectool.dense.lapack import natively
from spectool.dense.planning.plan import plan_iteration
from spectool.dense.problems import FUNCTIONS, Problem
from spectool.dense.steps import Kind, Stability, Step

SEED = 662_607_015
LARGE = 2 * EXACT


def _answer(function, n=LARGE, m=None):
    """Return A, its function with a visible error, and the problem."""
    rng = np.random.default_rng(SEED)
    p = 3 if function in ("root", "inverse_root") else 1
    if function == "polar":
        A = rng.standard_normal((m or n + 50, n)) / n
        W, _, Vh = np.linalg.svd(A, full_matrices=False)
        X = W @ Vh
    else:
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        lam = np.linspace(0.1, 1.0, n)
        if function == "sign":
            lam = np.where(np.arange(n) % 3, lam, -lam)
        A = (Q * lam) @ Q.T
        exponent = {
            "inv": -1.0,
            "sqrt": 0.5,
            "invsqrt": -0.5,
            "root": 1 / 3,
            "inverse_root": -1 / 3,
        }
        X = (Q * (np.sign(lam) if function == "sign" else lam ** exponent[function])) @ Q.T
    error = rng.standard_normal(X.shape)
    X = X + 1e-5 * np.linalg.norm(X) / np.linalg.norm(error) * error
    return Problem(function, p), A[None], X[None]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sketched_residuals_are_those_of_the_whole(function, monkeypatch):
    """Of eight vectors, 8 times the squared ratio is near chi-squared with 8 degrees at worst."""
    problem, A, X = _answer(function)
    sketched = residual_norms(problem, A, X)
    monkeypatch.setattr(accuracy, "EXACT", 10 * LARGE)
    whole = residual_norms(problem, A, X)
    assert whole[0] > 1e-7
    assert 0.5 < sketched[0] / whole[0] < 2.0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_wrong_entry_is_seen(function):
    problem, A, X = _answer(function)
    good = residual_norms(problem, A, X)
    X = X.copy()
    X[0, 3, 7] += 0.1
    assert residual_norms(problem, A, X)[0] > 10 * good[0]
    X[0, 3, 7] = np.nan
    assert not np.isfinite(residual_norms(problem, A, X)[0])


def test_wide_matrices_have_residuals_of_their_adjoints():
    problem, A, X = _answer("polar")
    tall = residual_norms(problem, A, X)
    wide = residual_norms(problem, A.transpose(0, 2, 1), X.transpose(0, 2, 1))
    assert wide == pytest.approx(tall, rel=1e-10)


def test_residuals_repeat_themselves_and_batches_agree():
    problem, A, X = _answer("sqrt")
    both = residual_norms(problem, np.concatenate([A, 2 * A]), np.concatenate([X, X]))
    assert both[0] == residual_norms(problem, A, X)[0]
    assert both[1] > 0.1


def test_high_roots_are_computed_whole():
    n, p = EXACT + 10, 64
    lam = np.linspace(0.5, 1.0, n)
    A, X = np.diag(lam), np.diag(lam ** (1 / p))
    found = residual_norms(Problem("root", p), A[None], X[None])
    assert found[0] <= 1e-13


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64"])
@pytest.mark.parametrize("n", [5, 90])
@pytest.mark.parametrize("name", ["eigh", "svd", "inv"])
def test_routines_answer_in_the_precision_of_the_matrix(dtype, n, name):
    rng = np.random.default_rng(SEED)
    A = rng.standard_normal((2, n, n)) + 4 * n**0.5 * np.eye(n)
    A = (A + A.transpose(0, 2, 1)).astype(dtype)
    found = natively(name, A)
    eps = np.finfo(dtype).eps
    if name == "inv":
        made = np.eye(n) @ found
        error = np.abs(A @ made - np.eye(n)).max()
    elif name == "eigh":
        theta, V = found
        error = np.abs((V * theta[:, None, :]) @ V.conj().transpose(0, 2, 1) - A).max()
    else:
        W, s, Vh = found
        error = np.abs((W * s[:, None, :]) @ Vh - A).max()
    assert error <= 100 * eps * n**0.5 * np.abs(A).max()
    parts = (found,) if name == "inv" else (found[0], found[-1])
    assert all(part.dtype.itemsize <= A.dtype.itemsize for part in parts)


@pytest.mark.parametrize("n", [20, LARGE])
def test_plans_that_lose_the_matrix_are_replaced(n):
    """What turns X leaves ``X^H X`` as it is: orthogonal in the end, and not A's polar factor."""
    A = np.random.default_rng(SEED).standard_normal((n + 5, n))
    costs = Costs(inverse=2.9, definite_solve=2.4, qr_solve=8.0)
    options = {"n_iterations": 2, "width": 1, "rng": SEED, "costs": costs, "direct": False}
    plan = plan_iteration("polar", A, rtol=1e-8, **options)
    turning = Kind(
        "sign.turning",
        "sign",
        lambda _, v: v._replace(X=v.X[..., ::-1, :]),
        (),
        1,
        Stability.STABLE,
        "",
    )
    found = dataclasses.replace(plan, schedule=(Step(turning, ()), *plan.schedule)).run(A)
    assert found.replaced == 1
    assert found.residual_norms <= 1e-8
    W, _, Vh = np.linalg.svd(A, full_matrices=False)
    assert np.abs(found.value - W @ Vh).max() <= 1e-10
    assert plan.run(A).replaced == 0
