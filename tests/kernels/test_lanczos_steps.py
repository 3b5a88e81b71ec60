"""Lanczos steps of a block equal the textbook's column by column; combinations equal einsum's."""

import itertools

import numpy as np
import pytest
import reference
from kernels.matrices import DTYPES, LARGE, SIZES, empty, hermitian, uneven, values
from scipy.sparse.linalg import aslinearoperator

from spectool import gallery
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.backends.generic import GenericBackend, column_dots
from spectool.kernels import combination, team
from spectool.kernels.combination import Piece, add_combination

WIDTHS = [1, 2, 3, 8, 17, 150]
"""One column has a kernel of its own; patterns hold many rows, one row, and less than a row."""


def matrix(n, dtype):
    return uneven(dtype) if n == LARGE else hermitian(n, dtype, 918273465)


def blocks_of(rng, n, m, dtype):
    """Two blocks whose columns are of any size, the sizes, and a third that must not be read."""
    sizes = rng.uniform(0.01, 100, (2, m))
    pair = [values(rng, (n, m), dtype) for _ in range(2)]
    pair = [U / np.linalg.norm(U, axis=0) * size for U, size in zip(pair, sizes, strict=True)]
    previous, current = (np.ascontiguousarray(U, dtype=dtype) for U in pair)
    return previous, current, sizes[1], sizes[1] / sizes[0], np.full_like(current, np.nan)


def step_of(A, previous, current, norms, back, unit=1.0):
    """The step, in double precision and in the words of the docstring."""
    wide = np.result_type(A.dtype, np.float64)
    v = current.astype(wide) / norms
    w = unit * (A.astype(wide) @ v)
    alphas = np.einsum("ij,ij->j", v.conj(), w - back * previous.astype(wide)).real
    f = w - alphas * v - back * previous
    return alphas, np.linalg.norm(f, axis=0), f


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", WIDTHS)
@pytest.mark.parametrize("n", [*SIZES, LARGE])
def test_a_step_equals_its_definition(n, m, dtype, rng):
    A = matrix(n, dtype)
    previous, current, norms, back, following = blocks_of(rng, n, m, dtype)
    expected = step_of(A, previous, current, norms, back)
    size = 1 + norms.max()  # of the rows of A, and of what is subtracted
    # Sums of n products; the products themselves are in the working precision.
    tol = 100 * np.finfo(dtype).eps * size
    dense = [GenericBackend(A.toarray()), GenericBackend(aslinearoperator(A))] if n < LARGE else []
    for backend in (CpuBackend(A), CpuBackend(A, execution=Execution(threads=2)), *dense):
        following[:] = np.nan
        alphas, betas = backend.lanczos_steps(previous, current, norms, back, following)
        np.testing.assert_allclose(alphas, expected[0], rtol=0, atol=tol)
        np.testing.assert_allclose(betas, expected[1], rtol=0, atol=tol)
        np.testing.assert_allclose(following, expected[2], rtol=0, atol=tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [CpuBackend, GenericBackend])
def test_a_power_of_two_changes_no_bit(kind, dtype, rng):
    A = hermitian(597, dtype, 647382915)
    previous, current, norms, back, following = blocks_of(rng, 597, 3, dtype)
    backend = kind(A if kind is CpuBackend else A.toarray())
    pair = backend.lanczos_steps(previous, current, norms, back, following)
    larger = np.empty_like(following)
    scaled = backend.lanczos_steps(previous, current, norms, 0.25 * back, larger, unit=0.25)
    assert np.array_equal(0.25 * pair, scaled)
    assert np.array_equal(0.25 * following, larger)


@pytest.mark.parametrize("m", [1, 4])
@pytest.mark.parametrize("kind", [CpuBackend, GenericBackend])
def test_the_first_step_reads_no_previous_block(kind, m, rng):
    A = hermitian(597, np.float64, 192837465)
    _, current, norms, back, following = blocks_of(rng, 597, m, np.float64)
    backend = kind(A if kind is CpuBackend else A.toarray())
    alphas, _ = backend.lanczos_steps(current, current, norms, 0 * back, following)
    V = current / norms
    np.testing.assert_allclose(alphas, np.einsum("ij,ij->j", V, A @ V), rtol=0, atol=1e-14)
    start = V[:, 0]
    expected = reference.lanczos(A.toarray().astype(complex), start.astype(complex), 1)
    np.testing.assert_allclose(alphas[0], expected[0][0].real, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 2, 5])
def test_bits_do_not_depend_on_threads(m, dtype, rng):
    A = uneven(dtype)
    previous, current, norms, back, following = blocks_of(rng, LARGE, m, dtype)
    answers = []
    for threads in (1, 2, 2, 2):
        backend = CpuBackend(A, execution=Execution(threads=threads))
        pair = backend.lanczos_steps(previous, current, norms, back, following)
        answers.append((pair, following.copy()))
    for pair, block in answers[1:]:
        assert np.array_equal(pair, answers[0][0])
        assert np.array_equal(block, answers[0][1])


@pytest.mark.parametrize(
    ("name", "reorder"),
    [
        ("csr", False),
        ("sell", False),
        ("dia", False),
        ("bsr", False),
        ("csr", True),
        ("sell", True),
    ],
)
@pytest.mark.parametrize("m", [1, 3])
def test_any_layout_gives_vectors_in_the_order_of_the_rows(m, reorder, name, rng):
    A = gallery.poisson((24, 25))
    previous, current, norms, back, following = blocks_of(rng, 600, m, np.float64)
    expected = step_of(A, previous, current, norms, back)
    backend = CpuBackend(A).prepared(1e6, Execution(name, reorder=reorder))
    alphas, _ = backend.lanczos_steps(previous, current, norms, back, following)
    tol = 1e-13 * (8 + norms.max())
    np.testing.assert_allclose(alphas, expected[0], rtol=0, atol=tol)
    np.testing.assert_allclose(following, expected[2], rtol=0, atol=tol)


def test_nan_stays_in_its_column(rng):
    A = hermitian(597, np.float64, 928374651)
    previous, current, norms, back, following = blocks_of(rng, 597, 5, np.float64)
    current[300, 2] = np.nan
    pair = CpuBackend(A).lanczos_steps(previous, current, norms, back, following)
    assert np.isnan(pair[:, 2]).all()
    assert np.isfinite(np.delete(pair, 2, axis=1)).all()


@pytest.mark.parametrize("n", SIZES)
def test_no_entry_at_all(n):
    V = np.ones((n, 2)) / np.sqrt(n)
    following = np.full_like(V, np.nan)
    one = np.ones(2)
    pair = CpuBackend(empty(n, np.float64)).lanczos_steps(V, V, one, 0 * one, following)
    assert not pair.any()
    assert not following.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1024, 3), (5000, 2)])
def test_column_dots(shape, dtype, rng):
    X, Y = values(rng, shape, dtype), values(rng, shape, dtype)
    wide = np.result_type(dtype, np.float64)
    expected = np.einsum("ij,ij->j", X.astype(wide).conj(), Y.astype(wide)).real
    np.testing.assert_allclose(column_dots(X, Y), expected, rtol=0, atol=1e-12)


def einsum_of(pieces, shape):
    total = np.zeros(shape, dtype=np.complex128)
    for blocks, columns, coefficients in pieces:
        total[:, :, columns] += np.einsum("knj,kjq->qnj", blocks, coefficients)
    return total


def pieces_of(rng, n, m, q, dtype, kind):
    """Full blocks, then some of their columns, a single block, and no column."""
    choices = [(7, np.arange(m)), (4, np.arange(m)[::2]), (1, np.arange(m)[-1:]), (2, np.arange(0))]
    return [
        Piece(
            values(rng, (steps, n, columns.size), dtype),
            columns,
            values(rng, (steps, columns.size, q), kind),
        )
        for steps, columns in choices
    ]


def answer(n, m, q, dtype, kind):
    single = np.complex64 if np.dtype(kind).kind == "c" else np.float32
    return np.zeros((q, n, m), dtype=np.result_type(dtype, single))


@pytest.mark.parametrize("kind", [np.float64, np.complex128])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "m", "q"), [(1, 1, 1), (3, 2, 5), (597, 7, 3), (9000, 5, 2)])
def test_combinations_equal_einsum(n, m, q, dtype, kind, rng):
    pieces = pieces_of(rng, n, m, q, dtype, kind)
    out = answer(n, m, q, dtype, kind)
    add_combination(pieces, out)
    expected = einsum_of(pieces, out.shape)
    # Formed in double precision, and rounded once per piece.
    tol = 10 * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(out, expected, rtol=0, atol=tol)
    add_combination(pieces, out)
    np.testing.assert_allclose(out, 2 * expected, rtol=0, atol=2 * tol)


@pytest.mark.parametrize("kind", [np.float64, np.complex128])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_bits_of_combinations_depend_on_neither_threads_nor_cuts(dtype, kind, rng, monkeypatch):
    n, m, q = 9000, 3, 2
    blocks, every = values(rng, (11, n, m), dtype), np.arange(m)
    c = values(rng, (11, m, q), kind)
    answers = []
    monkeypatch.setattr(team, "SHARED_FROM", 0)
    monkeypatch.setattr(combination, "OUT_BYTES", 10_000)
    for threads, cuts in [(1, [0, 11]), (2, [0, 11]), (3, [0, 1, 4, 9, 11])]:
        monkeypatch.setattr(team, "available_threads", lambda threads=threads: threads)
        out = answer(n, m, q, dtype, kind)
        for first, last in itertools.pairwise(cuts):
            add_combination([Piece(blocks[first:last], every, c[first:last])], out)
        answers.append(out)
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])


def test_nan_of_a_column_stays_there(rng):
    blocks, c = rng.standard_normal((5, 40, 3)), rng.standard_normal((5, 3, 2))
    blocks[2, 7, 1] = np.nan
    out = np.zeros((2, 40, 3))
    add_combination([Piece(blocks, np.arange(3), c)], out)
    assert np.isnan(out[:, 7, 1]).all()
    out[:, 7, 1] = 0
    assert np.isfinite(out).all()
