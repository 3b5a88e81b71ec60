"""Lanczos from many starts: equal to one by one, with or without a basis, whatever stops when."""

import tracemalloc

import numpy as np
import pytest
from kernels.matrices import DTYPES, LARGE, hermitian, uneven, values
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from spectool import gallery
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.errors import BreakdownError, InputError
from spectool.krylov import LanczosProcess
from spectool.krylov.lockstep import BLOCKS, LockstepLanczos, second_pass
from spectool.operators import Operator, as_operator


def operator(A, threads=None):
    return Operator(CpuBackend(A, execution=Execution(threads=threads)), "her")


def run(A, B, steps, **options):
    process = LockstepLanczos(operator(A), B, **options)
    for _ in range(steps):
        process.step()
    return process


def jagged():
    """Starts 0, 2 and 4 see 3, 1 and 2 eigenvalues; 1 and 3 see all."""
    A = sparse.csr_array(
        sparse.block_diag([sparse.diags_array([1.0, 2.0, 4.0]), gallery.poisson((20, 20))])
    )
    B = np.random.default_rng(918273645).standard_normal((A.shape[0], 5))
    B[3:, [0, 2, 4]] = 0
    B[1:3, 2] = 0
    B[0, 4] = 0
    return A, B, np.array([3, 0, 1, 0, 2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 2, 7])
@pytest.mark.parametrize("n", [1, 3, 597])
def test_equals_one_column_at_a_time(n, m, dtype, rng):
    A, B = hermitian(n, dtype, 564738291), 3 * values(rng, (n, m), dtype)
    process = run(A, B, 10)
    assert process.steps == 10
    # Each step magnifies the rounding of the last by the inverse of beta, 10 or more; after n steps
    # beta is rounding itself.
    tol, known = 1000 * np.finfo(dtype).eps, min(n, 10)
    for j in range(m):
        single = LanczosProcess(operator(A), B[:, j], reorthogonalize=False)
        for _ in range(process.lengths[j]):
            single.step()
        alpha, beta = process.jacobi(j)
        np.testing.assert_allclose(process.norms[j], single.norm, rtol=10 * np.finfo(dtype).eps)
        np.testing.assert_allclose(alpha[:known], single.alpha[:known], rtol=0, atol=tol)
        np.testing.assert_allclose(beta[:known], single.beta[:known], rtol=0, atol=tol)
    if n != 3:  # there it is a matter of rounding
        assert list(process.exhausted) == [n == 1] * m


def test_ritz_values_lie_inside_the_spectrum_and_find_its_ends(rng):
    A = gallery.poisson((17, 19))
    lam = np.linalg.eigvalsh(A.toarray())
    process = run(A, rng.standard_normal((323, 3)), 60)
    for j in range(3):
        alpha, beta = process.jacobi(j)
        T = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
        theta = np.linalg.eigvalsh(T)
        assert lam[0] - 1e-12 < theta[0] < lam[0] + 1e-6
        assert lam[-1] - 1e-6 < theta[-1] < lam[-1] + 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_depend_on_neither_threads_nor_storage(dtype, rng):
    A, B = uneven(dtype), values(rng, (LARGE, 3), dtype)
    processes = [LockstepLanczos(operator(A, threads), B) for threads in (1, 2, 2)]
    processes += [LockstepLanczos(operator(A, 2), B, keep_basis=False)]
    for k in range(BLOCKS + 5):
        if k == 11:
            processes[2].drop_basis()
        for process in processes:
            process.step()
    first = processes[0]
    for other in processes[1:]:
        assert np.array_equal(first.alphas, other.alphas)
        assert np.array_equal(first.betas, other.betas)
    assert [p.keeps_basis for p in processes] == [True, True, False, False]


def test_generic_operators_keep_their_bits_too(rng):
    A, B = hermitian(97, np.float64, 647382915).toarray(), rng.standard_normal((97, 2))
    kept = LockstepLanczos(as_operator(aslinearoperator(A)), B)
    ring = LockstepLanczos(as_operator(aslinearoperator(A)), B, keep_basis=False)
    for _ in range(7):
        kept.step()
        ring.step()
    assert np.array_equal(kept.alphas, ring.alphas)
    assert np.array_equal(kept.betas, ring.betas)


@pytest.mark.parametrize("kind", [np.float64, np.complex128])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 4])
def test_combine_and_second_pass(m, dtype, kind, rng):
    """f(A) b for a polynomial f of degree 5, against products; and the basis's orthonormality."""
    A, B = hermitian(597, dtype, 192837465), values(rng, (597, m), dtype)
    process = run(A, B, BLOCKS + 3)
    c = np.zeros((process.steps, m, 2), dtype=kind)
    weights = values(rng, 6, kind)
    for j in range(m):
        alpha, beta = process.jacobi(j)
        T = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
        power = np.eye(len(alpha))[0]
        for weight in weights:
            c[:, j, 0] += weight * power
            power = T @ power
        c[7, j, 1] = 1
    Y = process.combine(c)
    assert Y.dtype == np.result_type(dtype, np.complex64 if kind is np.complex128 else np.float32)
    V = B / np.linalg.norm(B, axis=0)
    expected = np.zeros(B.shape, dtype=np.complex128)
    for weight in weights:
        expected, V = expected + weight * V, A @ V
    tol = 200 * np.finfo(dtype).eps  # ||A|| is about 1, and so are the weights
    np.testing.assert_allclose(Y[0], expected, rtol=0, atol=tol)
    np.testing.assert_allclose(np.linalg.norm(Y[1], axis=0), 1, rtol=tol)
    out = np.full_like(Y, np.nan)
    assert process.combine(c, out) is out
    assert np.array_equal(out, Y)

    again = operator(A)
    Z = second_pass(again, B, c)
    assert again.n_matvecs == (process.steps - 1) * m
    if np.finfo(dtype).eps < 1e-10:
        assert np.array_equal(Z, Y)
    np.testing.assert_allclose(Z, Y, rtol=0, atol=tol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exhausted_columns_beside_running_ones(dtype):
    A, B, counts = jagged()
    A, B = A.astype(dtype), B.astype(dtype)
    process = LockstepLanczos(operator(A), B)
    steps = BLOCKS + 4
    for k in range(steps):
        assert list(process.columns) == [j for j in range(5) if counts[j] == 0 or counts[j] > k]
        assert process.n_moving == process.columns.size
        process.step()
    assert list(process.lengths) == [3, steps, 1, steps, 2]
    assert list(process.exhausted) == [True, False, True, False, True]
    assert process.operator.n_matvecs == process.lengths.sum()
    tol = 100 * np.finfo(dtype).eps
    eigenvalues = {0: [1, 2, 4], 2: [1], 4: [2, 4]}
    for j, wanted in eigenvalues.items():
        alpha, beta = process.jacobi(j)
        T = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
        np.testing.assert_allclose(np.linalg.eigvalsh(T), wanted, rtol=tol)
        assert not process.alphas[counts[j] :, j].any()
        assert not process.betas[counts[j] :, j].any()
    # Ones beyond a column's length are ignored: the answer is the sum of its basis.
    c = np.ones((steps, 5, 1))
    inside = c * (np.arange(steps)[:, None] < process.lengths)[:, :, None]
    Y = process.combine(c)
    assert np.array_equal(Y, process.combine(inside))
    assert np.abs(Y[0][3:, [0, 2, 4]]).max() < tol
    np.testing.assert_allclose(
        second_pass(operator(A), B, c), Y, rtol=0, atol=0 if dtype is np.float64 else tol * steps
    )
    for _ in range(2):
        process.keep([])
        process.step()
    assert process.operator.n_matvecs == process.lengths.sum()
    assert process.steps == steps + 2
    assert process.n_moving == 0


@pytest.mark.parametrize("keep_basis", [True, False])
def test_columns_may_be_left_out(keep_basis, rng):
    A, B = gallery.poisson((20, 20)), rng.standard_normal((400, 5))
    process = LockstepLanczos(operator(A), B, keep_basis=keep_basis)
    whole = run(A, B, 12)
    stops = {0: [1], 4: [0, 3], 9: [4]}  # the last but one is alone, with a kernel of its own
    lengths = np.full(5, 12)
    for k in range(12):
        gone = stops.get(k, [])
        process.keep(np.setdiff1d(np.arange(5), gone))
        lengths[gone] = k
        process.step()
    assert list(process.lengths) == list(lengths)
    assert process.n_moving == process.columns.size == np.count_nonzero(lengths == 12)
    assert not process.exhausted.any()
    assert process.operator.n_matvecs == lengths.sum()
    for j in range(5):
        for mine, other in zip(process.jacobi(j), whole.jacobi(j), strict=True):
            np.testing.assert_allclose(mine, other[: lengths[j]], rtol=0, atol=1e-10)
    c = rng.standard_normal((12, 5, 2))
    c[np.arange(12)[:, None] >= lengths] = 0
    Y = second_pass(operator(A), B, c, lengths=process.lengths)
    np.testing.assert_allclose(Y, whole.combine(c), rtol=0, atol=1e-10)
    if keep_basis:
        assert np.array_equal(process.combine(c), Y)


@pytest.mark.parametrize(
    ("dtype", "unit"),
    [(np.float64, 2.0**k) for k in (-940, -500, 500, 960)]
    + [(np.float32, 2.0**k) for k in (-100, -70, 70, 100)],
)
@pytest.mark.parametrize("as_given", [np.asarray, aslinearoperator, sparse.csr_array])
def test_units_change_the_unit_only(as_given, dtype, unit, rng):
    A, B = hermitian(97, dtype, 736482915).toarray(), rng.standard_normal((97, 3)).astype(dtype)
    given = [as_given(np.ascontiguousarray(A * dtype(u))) for u in (1, unit)]
    plain, scaled = (
        LockstepLanczos(as_operator(M, assume_a="her"), B, keep_basis=True) for M in given
    )
    for _ in range(12):
        plain.step()
        scaled.step()
    assert np.array_equal(plain.alphas * unit, scaled.alphas)
    assert np.array_equal(plain.betas * unit, scaled.betas)
    c = rng.standard_normal((12, 3, 1))
    np.testing.assert_allclose(
        scaled.combine(c), plain.combine(c), rtol=0, atol=100 * np.finfo(dtype).eps
    )
    assert plain.operator.n_matvecs == 36
    assert scaled.operator.n_matvecs == 36 + 6  # the first step in another unit, and its product


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("unit", [2.0**-1060, 2.0**-600, 2.0**600, 2.0**1000])
def test_starts_in_any_unit(unit, dtype, rng):
    A = hermitian(97, dtype, 736482915)
    B = np.round(4 * values(rng, (97, 2), dtype))  # few digits, which subnormal numbers hold
    one, other = run(A, B, 5), run(A, B * unit, 5)
    assert np.array_equal(one.alphas, other.alphas)
    np.testing.assert_allclose(other.norms / unit, one.norms, rtol=1e-2 if unit < 1e-300 else 1e-15)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("calls", [0, 3])
def test_products_that_are_not_finite_are_told(value, calls, rng):
    made = []

    def product(x):
        made.append(1)
        return np.where(np.arange(9) == 4, value if len(made) > calls else 1.0, np.arange(9.0) * x)

    A = LinearOperator((9, 9), matvec=product, dtype=np.float64)
    process = LockstepLanczos(as_operator(A, assume_a="her"), rng.standard_normal((9, 1)))
    for _ in range(calls):
        process.step()
    with pytest.raises(BreakdownError, match="A @ v is not finite"):
        process.step()
    assert process.steps == calls
    process.combine(np.ones((calls, 1, 1)))  # what was done stays good


def test_a_zero_operator_is_exhausted_at_once(rng):
    process = run(sparse.csr_array((5, 5)), rng.standard_normal((5, 2)), 3)
    assert list(process.lengths) == [1, 1]
    assert process.exhausted.all()
    assert not process.alphas.any()


def test_memory_is_that_of_the_basis(rng):
    n, m, steps = 20_000, 2, 3 * BLOCKS - 2
    A, B = gallery.poisson((100, 200)), rng.standard_normal((n, m))
    run(A, B, 2).combine(np.ones((2, m, 1)))  # compiled
    tracemalloc.start()
    kept = run(A, B, steps)
    assert kept.n_bytes == (steps + 1) * n * m * 8
    assert tracemalloc.get_traced_memory()[1] < 1.1 * kept.n_bytes
    del kept
    tracemalloc.reset_peak()
    ring = run(A, B, steps, keep_basis=False)
    assert ring.n_bytes == 3 * n * m * 8
    assert tracemalloc.get_traced_memory()[1] < 5 * n * m * 8
    del ring
    tracemalloc.reset_peak()
    Y = second_pass(operator(A), B, np.ones((steps, m, 2), dtype=np.complex128))
    assert tracemalloc.get_traced_memory()[1] < Y.nbytes + 5 * n * m * 8
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        (np.ones(4), r"shape \(4, m\)"),
        (np.ones((3, 2)), r"shape \(4, m\)"),
        (np.ones((4, 0)), "m >= 1"),
        (np.array([[1.0, 0.0]] * 4), "column 1 is 0.0"),
        (np.array([[1.0, np.nan]] * 4), "column 1 is nan"),
        (np.ones((4, 2)) * 1j, "must be real"),
    ],
)
def test_starts_are_checked(starts, message):
    with pytest.raises(InputError, match=message):
        LockstepLanczos(operator(sparse.csr_array(np.eye(4))), starts)


def test_arguments_are_checked(rng):
    A, B = gallery.poisson((5, 5)), rng.standard_normal((25, 2))
    process = run(A, B, 4)
    for columns in ([2], [True, False, True], [0.5]):
        with pytest.raises(InputError, match="numbers below 2"):
            process.keep(columns)
    with pytest.raises(InputError, match="at most 4 rows; got 5"):
        process.combine(np.ones((5, 2, 1)))
    with pytest.raises(InputError, match=r"\(k, 2, q\)"):
        process.combine(np.ones((4, 2)))
    with pytest.raises(InputError, match="complex128; got"):
        process.combine(np.ones((4, 2, 1)) * 1j, np.empty((1, 25, 2)))
    with pytest.raises(InputError, match=r"lengths must have shape \(2,\)"):
        second_pass(operator(A), B, np.ones((4, 2, 1)), lengths=np.ones(3))
    process.drop_basis()
    with pytest.raises(InputError, match="second_pass"):
        process.combine(np.ones((4, 2, 1)))
