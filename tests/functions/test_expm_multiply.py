"""``expm_multiply``: SciPy's function in shapes and values, and beyond where it can be.

SciPy's own tests run in ``test_scipy_expm_multiply.py``.
"""

import importlib
import inspect

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from scipy.sparse.linalg import expm_multiply as scipys

import spectool as st
from spectool import expm_multiply
from spectool.errors import ConvergenceWarning, InputError

# The package's attribute of this name is the function.
module = importlib.import_module("spectool.functions.expm_multiply")
POISSON = -st.gallery.poisson((15, 16))
N = POISSON.shape[0]
UP = sp.diags_array(np.ones(N - 1), offsets=1).tocsr()
CASES = {
    "symmetric": 10 * POISSON,
    "growing": -3 * POISSON,
    "Hermitian": POISSON + 0.3j * (UP - UP.T),
    "Schroedinger": 1j * POISSON,
    "skew-symmetric": 5 * (UP - UP.T),
    "convection": POISSON + 0.7 * (UP - UP.T),
    "complex, general": (1 + 0.5j) * POISSON + 0.2 * UP,
    "one Jordan block": 3 * (UP - sp.eye_array(N)),
}
INTERVALS = [
    {},
    {"start": 0, "stop": 1, "num": 3},
    {"start": 0.5, "stop": 2, "num": 4, "endpoint": False},
]


def worst(found, reference):
    """Largest relative error of a column at a time, in norm."""
    assert found.shape == reference.shape
    axis = -1 if found.shape[-1] == N else -2
    errors = np.linalg.norm(found - reference, axis=axis)
    return (errors / np.linalg.norm(reference, axis=axis)).max()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("interval", INTERVALS)
def test_equals_scipy(name, interval):
    A = CASES[name]
    rng = np.random.default_rng(662607015)
    for B in (rng.standard_normal(N), rng.standard_normal((N, 2)) @ np.diag([1, 1e5])):
        found, reference = expm_multiply(A, B, **interval), scipys(A, B, **interval)
        assert found.dtype == reference.dtype
        # Rounding is EPS ||tA||, at most 80 EPS here, and SciPy's is as large.
        assert worst(found, reference) <= 5e-13


def test_signature_is_scipys_and_two_keywords_more():
    ours = list(inspect.signature(expm_multiply).parameters.values())
    theirs = list(inspect.signature(scipys).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [
        (p.name, p.default) for p in theirs
    ]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


@pytest.mark.parametrize("name", CASES)
def test_forms_of_a_and_b(name):
    A, b = CASES[name], np.random.default_rng(602214076).standard_normal(N)
    y = expm_multiply(A, b)
    for form in (A.toarray(), sp.coo_matrix(A), aslinearoperator(A)):
        assert worst(expm_multiply(form, b), y) <= 5e-13
    assert worst(expm_multiply(A, sp.csr_array(b[:, None]))[:, 0], y) <= 5e-13
    assert worst(expm_multiply(A, b.tolist()), y) <= 5e-13
    assert worst(expm_multiply(A, b + 0j), y.astype(complex)) <= 5e-13
    assert_allclose(expm_multiply(A, b, traceA=1e6, rng=1), expm_multiply(A, b, rng=1), rtol=0)


def test_the_semigroup_and_its_invariants():
    A, b = CASES["convection"], np.random.default_rng(137035999).standard_normal(N)
    twice = expm_multiply(A, expm_multiply(A, b))
    at_two = expm_multiply(A, b, start=0, stop=2, num=3)
    assert worst(at_two[2], twice) <= 1e-13
    assert worst(at_two[0], b) <= 1e-15
    back = expm_multiply(-A, expm_multiply(A, b))
    # Backward in time, exp(8) times the rounding.
    assert worst(back, b) <= 1e-10
    for name in ("Schroedinger", "skew-symmetric"):
        norms = np.linalg.norm(expm_multiply(CASES[name], b, start=0, stop=10, num=5), axis=1)
        assert_allclose(norms, np.linalg.norm(b), rtol=1e-12)
    # A graph's heat is conserved.
    L = POISSON - sp.diags_array(POISSON.sum(axis=0))
    assert abs(expm_multiply(L, b).sum() - b.sum()) <= 1e-12 * np.abs(b).sum()


def test_small_and_large_orders_agree(monkeypatch, rng):
    A = rng.standard_normal((30, 30))
    B = rng.standard_normal((30, 2))
    for M in (A, A + A.T, A - A.T, A + 1j * A.T):
        whole = expm_multiply(M, B, start=-0.5, stop=1, num=4)
        reference = [scipy.linalg.expm(t * M) @ B for t in (-0.5, 0, 0.5, 1)]
        assert_allclose(whole, reference, rtol=0, atol=1e-12 * np.abs(reference).max())
        monkeypatch.setattr(module, "DENSE_N", 0)
        krylov = expm_multiply(M, B, start=-0.5, stop=1, num=4)
        monkeypatch.undo()
        for found, expected in zip(krylov, whole, strict=True):
            assert np.linalg.norm(found - expected) <= 1e-12 * np.linalg.norm(expected)


def test_times_may_descend_and_change_sign(rng):
    # SciPy 1.17 returns the first time's answer unmultiplied where stop < start.
    A, B = CASES["convection"] + sp.eye_array(N), rng.standard_normal((N, 2))
    times = [1.0, 0.0, -1.0]
    found = expm_multiply(A, B, start=1, stop=-1, num=3)
    for y, t in zip(found, times, strict=True):
        assert worst(y, scipys(t * A, B)) <= 1e-12


@pytest.mark.parametrize("ends", [(-0.6, 0.9), (0.9, -0.6), (-0.9, -0.1), (0.3, 0.3)])
def test_steps_do_not_lose_what_grows(ends, rng):
    # Stepping from one end through zero would: exp(100) and more lie between the components.
    A = rng.standard_normal((12, 12))
    A = 30 * (A + A.T)
    b = rng.standard_normal(12)
    found = expm_multiply(A, b, *ends, 4)
    for y, t in zip(found, np.linspace(*ends, 4), strict=True):
        reference = scipy.linalg.expm(t * A) @ b
        assert np.linalg.norm(y - reference) <= 1e-11 * np.linalg.norm(reference)


def test_one_basis_serves_all_times():
    calls = []

    def multiply(x):
        calls.append(1)
        return POISSON @ x

    b = np.ones(N)
    for num in (2, 20):
        calls.clear()
        A = LinearOperator(POISSON.shape, matvec=multiply, rmatvec=multiply, dtype=float)
        expm_multiply(A, b, start=0, stop=10, num=num)
        if num == 2:
            few = len(calls)
    # Twenty times cost as many products as two, but for checks.
    assert len(calls) <= few + 5


@pytest.mark.parametrize("factor", [-100, -100j])
def test_no_more_is_asked_for_than_rounding_allows(factor):
    # A tolerance below the rounding of ||A|| = 800 would never be met.
    P = factor * st.gallery.poisson((50, 50))
    count = [0]

    def multiply(x):
        count[0] += 1
        return P @ x

    b = np.random.default_rng(258819045).standard_normal(2500)
    A = LinearOperator(P.shape, matvec=multiply, rmatvec=multiply, dtype=P.dtype)
    y = expm_multiply(A, b)
    # SciPy's makes 2200 and more.
    assert count[0] <= 1500
    stored = expm_multiply(P, b)
    assert np.linalg.norm(y - stored) <= 1e-11 * np.linalg.norm(stored)


def test_single_precision_stays_single():
    A = CASES["convection"].astype(np.float32)
    b = np.random.default_rng(380649912).standard_normal(N)
    reference = scipys(A.astype(float), b)
    for interval in INTERVALS[:2]:
        y = expm_multiply(A, b.astype(np.float32), **interval)
        assert y.dtype == np.float32
        assert worst(y if not interval else y[-1], reference) <= 1e-5
    # The wider of the two precisions is worked in.
    mixed = expm_multiply(A, b)
    assert mixed.dtype == np.float64
    assert worst(mixed, reference) <= 1e-13
    assert expm_multiply(A, b.astype(np.longdouble)).dtype == np.float64
    assert expm_multiply(POISSON, b.astype(np.float32)).dtype == np.float64
    assert (
        expm_multiply(np.eye(3, dtype=np.float32), np.ones(3, np.complex64)).dtype == np.complex64
    )


def test_times_may_be_complex():
    b = np.ones(N)
    y = expm_multiply(POISSON, b, start=0, stop=-1j, num=2)
    assert worst(y[1], scipys(-1j * POISSON, b)) <= 1e-13
    y = expm_multiply(np.diag([1.0, 2.0]), [1, 1], start=0, stop=1j, num=2)
    assert_allclose(y[1], np.exp([1j, 2j]), rtol=1e-14)


@pytest.mark.parametrize("way", [module.DENSE_N, 0])
def test_degenerate(way, monkeypatch):
    monkeypatch.setattr(module, "DENSE_N", way)
    assert_allclose(expm_multiply([[2.0]], [3.0]), [3 * np.e**2], rtol=1e-14)
    A = -st.gallery.poisson((3, 4)) + 0.1 * sp.eye_array(12, k=1)
    assert expm_multiply(A, np.ones((12, 0))).shape == (12, 0)
    assert expm_multiply(A, np.ones((12, 0)), 0, 1, 3).shape == (3, 12, 0)
    assert not expm_multiply(A, np.zeros(12)).any()
    block = expm_multiply(A, np.stack([np.zeros(12), np.ones(12)], axis=1), 0, 1, 2)
    assert not block[:, :, 0].any()
    assert_allclose(expm_multiply(0 * A, np.arange(12)), np.arange(12), rtol=1e-15)
    assert_allclose(expm_multiply(A, np.ones(12), 2, 2, 2)[0], expm_multiply(2 * A, np.ones(12)))
    for unit in (1e150, 1e-150):
        y = expm_multiply(A * unit, np.ones(12), start=0, stop=1 / unit, num=2)[1]
        assert_allclose(y, expm_multiply(A, np.ones(12)), rtol=1e-12)


@pytest.mark.parametrize("way", [module.DENSE_N, 0])
def test_overflow_is_no_answer(way, monkeypatch):
    monkeypatch.setattr(module, "DENSE_N", way)
    for A in (1000 * np.eye(3), 1000 * np.eye(3) + np.eye(3, k=1)):
        with pytest.raises(InputError, match=r"overflow|finite"):
            expm_multiply(A, np.ones(3))


def test_rtol_saves_and_warns():
    b = np.random.default_rng(176432870).standard_normal(N)
    reference = scipys(100 * POISSON, b)
    assert worst(expm_multiply(100 * POISSON, b, rtol=1e-4), reference) <= 1e-4
    with pytest.warns(ConvergenceWarning, match="expm_multiply"):
        expm_multiply(100 * POISSON, b, rtol=1e-16)
    # Without rtol, what rounding allows is enough, unless half of the digits are lost.
    stiff = expm_multiply(1e3 * POISSON, b)
    assert worst(stiff, scipy.linalg.expm(1e3 * POISSON.toarray()) @ b) <= 1e-7


def test_says_what_is_wrong():
    A, b = POISSON, np.ones(N)
    with pytest.raises(InputError, match="A must be square"):
        expm_multiply(A[:5], b)
    with pytest.raises(InputError, match="B must have shape"):
        expm_multiply(A, b[:5])
    with pytest.raises(InputError, match="B must be numeric"):
        expm_multiply(A, np.full(N, "x"))
    with pytest.raises(InputError, match="B must be finite"):
        expm_multiply(A, b * np.inf)
    with pytest.raises(InputError, match="start and stop must both"):
        expm_multiply(A, b, num=3)
    with pytest.raises(InputError, match="start and stop must both"):
        expm_multiply(A, b, start=0)
    with pytest.raises(InputError, match="start and stop must be finite"):
        expm_multiply(A, b, 0, np.inf)
    with pytest.raises(InputError, match="num must be at least 2"):
        expm_multiply(A, b, 0, 1, 1)
    with pytest.raises(InputError, match="rtol"):
        expm_multiply(A, b, rtol=-1.0)
