"""Block CG against dense solves: dependent, zero and too many columns; counts; failures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from scipy import sparse
from scipy.sparse.linalg import LinearOperator
from strategies import problems

import spectool as st
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError
from spectool.results import Status
from spectool.solvers import CGSequence
from spectool.solvers.block import block_cg
from spectool.solvers.cg import cg

SEED = 417903628


def jump(shape=(20, 18)):
    return st.gallery.jump(shape, contrast=1e4, rng=SEED)


def relative_residuals(A, B, X):
    return np.linalg.norm(B - A @ X, axis=0) / np.linalg.norm(B, axis=0)


def jacobi(A):
    return sparse.diags_array(1.0 / A.diagonal())


@given(problems(max_n=60, max_log_cond=4), hs.integers(1, 7))
def test_every_column_meets_its_target(problem, m):
    A, lam, seed = problem
    B = np.random.default_rng(seed).standard_normal((lam.size, m))
    s = block_cg(A, B, rtol=1e-9)
    assert s.converged
    assert (relative_residuals(A, B, s.x) <= 1.001e-9).all()
    assert s.residual_norm <= s.target


@pytest.mark.parametrize("preconditioned", [False, True])
def test_fewer_matvecs_than_one_by_one(rng, preconditioned):
    A = jump()
    M = jacobi(A) if preconditioned else None
    B = rng.standard_normal((A.shape[0], 8))
    s = block_cg(A, B, rtol=1e-8, M=M)
    alone = sum(cg(A, b, rtol=1e-8, M=M).n_matvecs for b in B.T)
    assert s.n_matvecs < 0.6 * alone
    np.testing.assert_allclose(
        s.x, np.linalg.solve(A.toarray(), B), rtol=0, atol=1e-5 * np.abs(s.x).max()
    )


def test_one_column_is_cg(rng):
    A = jump()
    b = rng.standard_normal(A.shape[0])
    block, single = (
        block_cg(A, b[:, None], rtol=1e-6, M=jacobi(A)),
        cg(A, b, rtol=1e-6, M=jacobi(A)),
    )
    assert abs(block.n_iterations - single.n_iterations) <= 3
    np.testing.assert_allclose(
        block.history[:20] / block.history[0], single.history[:20] / single.history[0], rtol=1e-6
    )


def test_dependent_columns_cost_nothing(rng):
    A = jump()
    b, c = rng.standard_normal((2, A.shape[0]))
    pair = block_cg(A, np.column_stack([b, c]), rtol=1e-8)
    B = np.column_stack([b, 0 * b, c, b, -3 * b, b + c, 1e-9 * b])
    s = block_cg(A, B, rtol=1e-8)
    assert s.converged
    assert s.n_matvecs <= pair.n_matvecs + 8 * 7
    assert not s.x[:, 1].any()
    kept = [0, 2, 3, 4, 5, 6]
    assert (relative_residuals(A, B[:, kept], s.x[:, kept]) <= 1.001e-8).all()


def test_nearly_equal_columns(rng):
    A = jump()
    b = rng.standard_normal(A.shape[0])
    for distance in (1e-5, 1e-9, 1e-12, 1e-15):
        B = np.column_stack([b, b + distance * rng.standard_normal(b.size)])
        s = block_cg(A, B, rtol=1e-9)
        assert s.converged
        assert (relative_residuals(A, B, s.x) <= 1.001e-9).all()


def test_more_columns_than_rows(rng):
    A = st.gallery.poisson((3, 2))
    B = rng.standard_normal((6, 11))
    s = block_cg(A, B, rtol=1e-12)
    assert s.converged
    np.testing.assert_allclose(A @ s.x, B, rtol=0, atol=1e-11 * np.abs(B).max())
    assert s.n_matvecs <= 6 + 11


def test_columns_of_any_unit(rng):
    A = jump((9, 8))
    B = rng.standard_normal((A.shape[0], 3)) * [1e-200, 1.0, 1e200]
    s = block_cg(A, B, rtol=1e-8)
    assert s.converged
    scaled = B * [1e200, 1.0, 1e-200], s.x * [1e200, 1.0, 1e-200]
    assert (relative_residuals(A, *scaled) <= 1.001e-8).all()


def test_start_and_absolute_tolerance(rng):
    A = jump()
    X = rng.standard_normal((A.shape[0], 3))
    B = A @ X
    assert block_cg(A, B, X).n_iterations == 0
    s = block_cg(A, B, X + 1e-6 * rng.standard_normal(X.shape), rtol=1e-8)
    assert s.converged
    assert (relative_residuals(A, B, s.x) <= 1.001e-8).all()
    absolute = block_cg(A, B, rtol=0.0, atol=1e-3)
    assert (np.linalg.norm(B - A @ absolute.x, axis=0) <= 1e-3).all()


def test_zero_right_hand_sides_ignore_the_start(rng):
    A = jump((5, 4))
    s = block_cg(A, np.zeros((20, 2)), np.ones((20, 2)))
    assert s.converged
    assert not s.x.any()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64, np.complex128])
def test_dtypes(rng, kind):
    A = st.gallery.poisson((8, 7)).astype(kind)
    B = rng.standard_normal((56, 3)).astype(kind)
    if np.dtype(kind).kind == "c":
        phase = np.exp(1j * np.linspace(0, 3, 56))
        A = sparse.csr_array((phase[:, None] * A.toarray() * phase.conj()).astype(kind))
        B = (B + 1j * rng.standard_normal(B.shape)).astype(kind)
    s = block_cg(A, B, rtol=1e-4)
    assert s.x.dtype == kind
    assert s.converged
    assert (relative_residuals(A, B, s.x) <= 1.2e-4).all()


def test_complex_columns_of_a_real_operator(rng):
    A = jump((8, 7))
    B = rng.standard_normal((56, 2)) + 1j * rng.standard_normal((56, 2))
    for form in (A, A.toarray(), LinearOperator(A.shape, matvec=lambda v: A @ v, dtype=float)):
        s = block_cg(form, B, rtol=1e-9)
        assert (relative_residuals(A, B, s.x) <= 1.001e-9).all()
    integers = block_cg(
        A.toarray().round().astype(int) + 99 * np.eye(56, dtype=int), B.real.round()
    )
    assert integers.x.dtype == np.float64


def test_counts(rng):
    A = jump((8, 7))
    B = rng.standard_normal((56, 4))
    seen = []

    def product(X):
        seen.append(1 if X.ndim == 1 else X.shape[1])
        return A @ X

    counted = LinearOperator(A.shape, matvec=product, matmat=product, dtype=float)
    s = block_cg(counted, B, rtol=1e-8)
    assert s.n_matvecs == sum(seen)
    M = st.preconditioner(A, method="chebyshev4", degree=4, rng=SEED)
    before = M.n_matvecs
    inner = block_cg(A, B, rtol=1e-8, M=M)
    assert inner.n_matvecs > M.n_matvecs - before >= 4 * 4 * inner.n_iterations / 2


@pytest.mark.parametrize("preconditioned", [False, True])
def test_indefinite_is_named(rng, preconditioned):
    A = np.diag([1.0, 2.0, -3.0, 4.0, 5.0])
    B = rng.standard_normal((5, 2))
    with pytest.raises(NotPositiveDefiniteError, match=r"definite A.*P\* A P"):
        block_cg(A, B, M=np.eye(5) if preconditioned else None)
    with pytest.raises(NotPositiveDefiniteError, match="definite M"):
        block_cg(np.eye(5), B, M=A)


def test_hostile_input(rng):
    A = np.eye(4)
    for B in (np.ones(4), np.ones((3, 2)), np.ones((4, 0)), np.full((4, 2), np.nan)):
        with pytest.raises(InputError):
            block_cg(A, B)
    with pytest.raises(InputError, match="X0"):
        block_cg(A, np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(InputError, match="rtol"):
        block_cg(A, np.ones((4, 2)), rtol=-1)
    with pytest.raises(InputError, match="Hermitian"):
        block_cg(np.triu(np.ones((4, 4))), np.ones((4, 2)))
    one = block_cg(np.array([[2.0]]), np.array([[4.0, -6.0, 0.0]]))
    np.testing.assert_allclose(one.x, [[2.0, -3.0, 0.0]])


def test_out_of_reach_stagnates(rng):
    A = np.diag(np.geomspace(1e-12, 1.0, 60))
    with pytest.warns(ConvergenceWarning):
        s = block_cg(A, rng.standard_normal((60, 2)), rtol=1e-15)
    assert s.status in (Status.STAGNATED, Status.MAXITER)
    assert s.residual_norm > s.target
    assert np.isfinite(s.x).all()


def test_limits_and_callback(rng):
    A = jump()
    B = rng.standard_normal((A.shape[0], 3))
    with pytest.warns(ConvergenceWarning, match="maxiter"):
        s = block_cg(A, B, rtol=1e-10, maxiter=5)
    assert s.info == s.n_iterations == 5
    np.testing.assert_allclose(
        s.residual_norm,
        np.linalg.norm(B - A @ s.x, axis=0)[
            np.argmax(np.linalg.norm(B - A @ s.x, axis=0) / np.linalg.norm(B, axis=0))
        ],
        rtol=1e-10,
    )
    states = []

    def callback(state):
        states.append((state.iteration, state.residual_norm, state.x))
        return len(states) == 4

    s = block_cg(A, B, callback=callback)
    assert s.status is Status.STOPPED
    assert [i for i, _, _ in states] == [1, 2, 3, 4]
    assert states[-1][2].shape == B.shape
    true = np.linalg.norm(B - A @ states[-1][2], axis=0)
    np.testing.assert_allclose(states[-1][1], true[np.isclose(true, states[-1][1])][0], rtol=1e-8)

    def interrupt(state):
        raise KeyboardInterrupt

    assert block_cg(A, B, callback=interrupt).status is Status.INTERRUPTED
    with pytest.warns(ConvergenceWarning, match="max_time"):
        assert block_cg(A, B, rtol=1e-10, max_time=1e-9).status is Status.TIMED_OUT


def test_nan_products_break_down(rng):
    broken = LinearOperator((6, 6), matvec=lambda v: v * np.nan, dtype=float)
    declared = st.operators.as_operator(broken, assume_a="pos")
    with pytest.warns(ConvergenceWarning, match="not finite"):
        s = block_cg(declared, rng.standard_normal((6, 2)))
    assert s.info == -1


def test_bits_repeat(rng):
    A = jump()
    B = rng.standard_normal((A.shape[0], 3))
    assert np.array_equal(block_cg(A, B).x, block_cg(A, B).x)


def test_a_diagonal_preconditioner_takes_blocks(rng):
    A = st.gallery.jump((20, 20))
    B = rng.standard_normal((400, 4))
    M = st.preconditioner(A, method="jacobi")
    solution = st.cg(A, B, M=M, rtol=1e-9)
    assert solution.converged
    same = st.cg(A, B, M=sparse.diags_array(1.0 / A.diagonal()), rtol=1e-9)
    assert abs(solution.n_iterations - same.n_iterations) <= 1
    sequence = CGSequence(A, M=M, k=5)
    assert sequence.solve(B[:, 0], rtol=1e-9).converged
    sequence.refresh(A)
    assert sequence.solve(B[:, 1], rtol=1e-9).converged
