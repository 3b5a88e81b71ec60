"""How operators are executed: options, choices, orders of rows, copies, callers, reports."""

import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import reference
from kernels.matrices import coefficients, empty, hermitian, uneven, values
from kernels.test_formats import blocks, diagonals, forced, normed, ragged, scattered, steady
from kernels.test_lanczos import run as lanczos
from scipy import sparse

from spectool import gallery
from spectool.backends import execution as choosing
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.backends.layout import convert, fits, n_bytes, permuted
from spectool.errors import InputError
from spectool.kernels import bsr, dia
from spectool.kernels.team import available_threads
from spectool.polynomials import Recurrence, chebyshev_inverse

ORDERS = ["clenshaw", "forward"]
MANY = 1e6
EPS = float(np.finfo(float).eps)


def of_format(name, n=1921):
    """A matrix that the format suits, of several strips."""
    return {
        "csr": lambda: scattered(n, 5),
        "sell": lambda: ragged(n),
        "bsr": lambda: blocks(n - n % 3, 3),
        "dia": lambda: diagonals(n, (-30, -1, 0, 1, 30)),
    }[name]()


def assert_close(found, expected, factor=450):
    assert found.shape == expected.shape
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=factor * EPS * size)


# ---------------------------------------------------------------------------------------------
# Options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "ell"),
        ("format", "CSR"),
        ("format", None),
        ("format", 3),
        ("depth", 0),
        ("depth", -1),
        ("depth", 2.0),
        ("depth", "auto"),
        ("depth", True),
        ("threads", 0),
        ("threads", -3),
        ("threads", 1.5),
        ("threads", "2"),
        ("threads", True),
        ("reorder", "no"),
        ("reorder", "rcm"),
        ("reorder", 3),
    ],
)
def test_wrong_options_are_named(name, value):
    with pytest.raises(InputError, match=rf"^{name} must be .*; got {re.escape(repr(value))}\.$"):
        Execution(**{name: value})


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8])
def test_numpy_integers_are_integers(integer):
    backend = CpuBackend(of_format("csr")).prepared(
        MANY, Execution("csr", depth=integer(3), threads=integer(1))
    )
    assert backend.report.depth == 3


def test_options_are_frozen_and_compare_by_value():
    assert Execution("csr", depth=3) == Execution("csr", depth=3)
    assert len({Execution(), Execution(), Execution(threads=2)}) == 2
    with pytest.raises(AttributeError):
        Execution().depth = 3


@pytest.mark.parametrize(
    ("name", "A", "why"),
    [
        ("dia", scattered(121, 3), "at most 9 diagonals"),
        ("dia", diagonals(121, tuple(range(-5, 5))), "at most 9 diagonals"),
        ("bsr", diagonals(121, (-1, 0, 1)), "divisible by"),
        ("sell", scattered(121, 3, np.complex128), "real values"),
    ],
)
def test_formats_that_cannot_hold_the_matrix_say_so(name, A, why):
    with pytest.raises(InputError, match=rf"format='{name}' needs .*{why}.*Use format="):
        CpuBackend(A).prepared(MANY, Execution(name))


def test_wide_indices_in_sell_are_named():
    A = diagonals(121, (0,))
    A.indices, A.indptr = A.indices.astype(np.int64), A.indptr.astype(np.int64)
    with pytest.raises(InputError, match="int64"):  # what was found, not only what is needed
        CpuBackend(A).prepared(MANY, Execution("sell"))


def test_no_entries_have_no_diagonals():
    """Either it works, or the reason is one: no entry has at most 9 diagonals."""
    A = empty(121, np.float64)
    try:
        backend = CpuBackend(A).prepared(MANY, Execution("dia"))
    except InputError as error:
        assert "at most 9 diagonals;" not in str(error)  # noqa: PT017
    else:
        assert not backend.matmul(np.ones(121)).any()


def test_two_rows_are_divisible_by_two():
    """Either it works, or the reason is another than divisibility."""
    A = diagonals(2, (0,))
    try:
        backend = CpuBackend(A).prepared(MANY, Execution("bsr"))
    except InputError as error:
        assert "needs a size divisible by one of" not in str(error)  # noqa: PT017
    else:
        assert np.array_equal(backend.matmul(np.ones(2)), A @ np.ones(2))


@pytest.mark.parametrize("n", [1, 3, 120])
@pytest.mark.parametrize("reorder", [None, True, False])
def test_no_entries_can_be_prepared(reorder, n):
    execution = Execution(reorder=reorder, depth=2)
    backend = CpuBackend(empty(n, np.float64)).prepared(MANY, execution)
    x, p = np.linspace(-1, 1, n), steady(5)
    assert_close(backend.apply(p, x), p(0.0) * x)


# ---------------------------------------------------------------------------------------------
# Choices and reports


def assert_one_sentence(report):
    text = str(report)
    assert "\n" not in text
    assert not re.search(r"[.!?] ", text)
    assert text == text.strip()
    assert report.reason
    assert report.format in text
    assert report.reason in text


@pytest.mark.parametrize("products", [0, 1, 59])
def test_too_few_products_change_nothing(products):
    A = gallery.poisson((40, 48))
    backend = CpuBackend(A).prepared(products)
    assert backend.report.format == "csr"
    assert backend.report.depth == 1
    assert backend.report.seconds == 0
    assert not backend.report.reordered
    assert f"{products} products" in backend.report.reason
    assert np.shares_memory(backend._layout.matrix.data, A.data)
    assert_one_sentence(backend.report)


def test_reports_are_sentences_that_tell_the_truth():
    for A in (
        gallery.poisson((40, 48)), gallery.poisson((12, 16, 10)), of_format("bsr"), ragged(1921),
        scattered(961, 40), empty(597, np.float64), hermitian(1, np.float64, 546372819),
    ):  # fmt: skip
        for execution in (None, Execution(depth=3), Execution("csr", threads=1, reorder=True)):
            backend = CpuBackend(A).prepared(1e9, execution)
            report = backend.report
            assert_one_sentence(report)
            assert report.n_bytes == n_bytes(backend._layout.matrix)
            assert report.dtype == "float64"
            assert report.seconds > 0
            assert 1 <= report.threads <= available_threads()
            x = np.linspace(-1, 1, A.shape[0])
            assert_close(backend.matmul(x), A @ x, 100)


def test_threads_that_do_not_exist_are_not_reported():
    """``threads`` is "most threads a sweep uses"."""
    A = gallery.poisson((40, 48))
    for backend in (
        CpuBackend(A, execution=Execution(threads=64)),
        CpuBackend(A).prepared(MANY, Execution("csr", threads=64)),
    ):
        together, _ = backend._plan(None, 4, 1e12)
        assert together.parts <= backend.report.threads <= available_threads()


def test_stencils_become_diagonals_and_ragged_rows_do_not():
    assert CpuBackend(gallery.poisson((40, 48))).prepared(1e9).report.format == "dia 5"
    assert not CpuBackend(ragged(1921)).prepared(1e9).report.format.startswith("dia")


def test_candidates_are_those_that_were_timed():
    report = CpuBackend(of_format("bsr")).prepared(1e9).report
    names = [name for name, _ in report.candidates]
    assert {"csr", "bsr 3x3"} <= set(names)
    assert report.format in names
    rates = [rate for _, rate in report.candidates]
    assert rates == sorted(rates)
    assert rates[0] > 0


@pytest.mark.parametrize("n", [960, 961])
def test_work_in_the_last_row_alone(n):
    """The slice that is timed begins in the middle of the entries: here, after the last granule."""
    A = normed(sparse.csr_array((np.ones(n), (np.full(n, n - 1), np.arange(n))), shape=(n, n)))
    x = np.linspace(-1, 2, n)
    for execution in (None, Execution(depth=2)):
        backend = CpuBackend(A).prepared(1e12, execution)
        assert all(np.isfinite(rate) and rate > 0 for _, rate in backend.report.candidates)
        assert_close(backend.matmul(x), A @ x, 1000)


def test_prepared_twice_is_prepared_once():
    backend = CpuBackend(of_format("dia")).prepared(MANY, Execution("dia"))
    assert backend.prepared(MANY) is backend
    again = backend.prepared(MANY, Execution("csr"))
    assert again.report.format == "csr"
    assert backend.report.format == "dia 5"


def test_preparing_leaves_the_matrix_alone():
    for name in ("csr", "sell", "bsr", "dia"):
        A = of_format(name)
        kept = A.copy()
        for array in (A.data, A.indices, A.indptr):
            array.flags.writeable = False
        backend = forced(A, name, depth=2, reorder=False)
        assert backend.A is A
        x = np.ones(A.shape[0])
        assert_close(backend.apply(steady(3), x), CpuBackend(kept).apply(steady(3), x))
        assert np.array_equal(A.data, kept.data)


def test_another_precision_of_a_prepared_backend(rng):
    A = of_format("dia")
    backend = forced(A, "dia", depth=3)
    x = rng.standard_normal(A.shape[0])
    single = backend.astype(np.float32)
    assert single.dtype == np.float32
    found = single.apply(steady(5), x.astype(np.float32))
    assert_close(found.astype(float), backend.apply(steady(5), x), 450 * 2**29)
    scale = rng.uniform(0.5, 2, A.shape[0])
    assert_close(backend.scaled(scale).matmul(x), scale * (A @ (scale * x)), 100)


# ---------------------------------------------------------------------------------------------
# Fits


def found_fits(A):
    return {(fit.format, fit.size): fit for fit in fits(A)}


@pytest.mark.parametrize("b", [2, 3, 4, 5, 6])
def test_full_blocks_fill_their_size(b):
    nodes = sparse.random_array((60, 60), density=0.1, rng=np.random.default_rng(817263504))
    A = normed(sparse.kron(nodes, np.ones((b, b)), format="csr"))
    found = found_fits(A)
    assert found["bsr", b].fill == 1.0
    for size in bsr.SIZES:
        matrix = convert(A, found["bsr", size])
        assert found["bsr", size].fill == pytest.approx(A.nnz / matrix.data.size, rel=0.2)
        assert found["bsr", size].fill <= 1.0


def test_diagonal_blocks_have_known_fills():
    """Blocks of 6 on the diagonal: halves and thirds fit, a block of 4 catches two corners."""
    A = normed(sparse.block_diag([np.ones((6, 6))] * 40, format="csr"))
    found = found_fits(A)
    for b in (2, 3, 6):
        assert found["bsr", b].fill == 1.0
    # Two sixes are three fours, of which all but the two far corners are touched.
    assert found["bsr", 4].fill == pytest.approx(72 / (7 * 16), rel=0.05)
    assert ("dia", 11) not in found


def test_a_lone_diagonal_fills_a_bth_of_its_blocks():
    found = found_fits(diagonals(240, (0,)))
    for b in bsr.SIZES:
        assert found["bsr", b].fill == 1 / b
    assert found["dia", 1].fill == 1.0
    assert found["sell", 1].fill == 1.0


@pytest.mark.parametrize("n", [3, 119, 120, 121, 961])
def test_tridiagonal_fills(n):
    found = found_fits(diagonals(n, (-1, 0, 1)))
    assert found["dia", 3].fill == (3 * n - 2) / (3 * n)
    assert found["dia", 3].offsets == (-1, 0, 1)
    assert found["csr", 1].fill == 1.0
    last = {1: 2}.get(n % 8, 3)  # a chunk of the last row alone has no third entry
    stored = 8 * (3 * (n // 8) + (last if n % 8 else 0))
    assert found["sell", 1].fill == pytest.approx((3 * n - 2) / stored, rel=4 * EPS)


def test_more_diagonals_than_nine_are_none():
    assert len(OFTEN := tuple(range(-4, 5))) == dia.MOST
    assert found_fits(diagonals(121, OFTEN))["dia", 9].offsets == OFTEN
    assert not [fit for fit in fits(diagonals(121, tuple(range(-4, 6)))) if fit.format == "dia"]


def test_late_diagonals_are_found():
    """Rows alike are skipped when diagonals are sought; one that differs at the end is not."""
    for i, j in ((599, 0), (599, 598), (0, 599), (300, 302), (301, 7)):
        A = diagonals(600, (-1, 0, 1)).tolil()
        A[i, j] = 0.25
        A = normed(A.tocsr())
        expected = tuple(sorted({-1, 0, 1, j - i}))
        found = next(fits(A, ("dia",)))
        assert found.offsets == expected
        x = np.linspace(-1, 1, 600)
        assert_close(forced(A, "dia").matmul(x), A @ x, 100)
    # A row as long as the last but not alike, with holes and with an empty row between.
    A = sparse.csr_array((np.ones(7), ([0, 0, 1, 1, 3, 3, 4], [0, 2, 1, 4, 3, 5, 0])), shape=(6, 6))
    assert next(fits(A, ("dia",))).offsets == (-4, 0, 2, 3)


def test_power_law_rows_fill_more_when_sorted():
    A = ragged(4000)
    lengths = np.diff(A.indptr)
    fit = next(fits(A, ("sell",)))
    as_is = lengths.reshape(-1, 8).max(axis=1).sum() * 8
    best = np.sort(lengths)[::-1].reshape(-1, 8).max(axis=1).sum() * 8
    assert A.nnz / as_is < fit.fill <= A.nnz / best
    within = sum(
        np.sort(lengths[k : k + 120])[::-1].reshape(-1, 8).max(axis=1).sum() * 8
        for k in range(0, 3960, 120)
    )
    within += np.sort(lengths[3960:])[::-1].reshape(-1, 8).max(axis=1).sum() * 8
    assert fit.fill == A.nnz / within


def test_fills_of_no_entries_are_numbers():
    for n in (1, 2, 120):
        for fit in fits(empty(n, np.float64)):
            assert 0 <= fit.fill <= 1


def test_a_large_dense_row_is_prepared():
    n = 20_000
    A = diagonals(n, (-1, 0, 1)).tolil()
    A[n // 2] = 1 / n
    A = normed(A.tocsr())
    x = np.linspace(-1, 1, n)
    expected = A @ x
    for execution in (
        None, Execution("csr"), Execution("sell"), Execution("bsr"), Execution(reorder=True),
        Execution("csr", depth=8, threads=2),
    ):  # fmt: skip
        backend = CpuBackend(A).prepared(1e9, execution)
        assert_close(backend.matmul(x), expected, 1e4)
        assert backend.report.format != "dia 3"
    assert next(fits(A, ("sell",))).fill < 0.5


# ---------------------------------------------------------------------------------------------
# Order of rows


def shuffled_plane(shape=(40, 48), seed=918274635):
    A = gallery.poisson(shape)
    place = np.random.default_rng(seed).permutation(A.shape[0])
    return normed(A[place][:, place])


def test_permuted_is_scipys(rng):
    for A in (ragged(597), scattered(121, 5, np.complex128), empty(5, np.float64)):
        order = rng.permutation(A.shape[0])
        found = permuted(A, order)
        assert found.has_canonical_format
        assert np.array_equal(found.toarray(), A.toarray()[order][:, order])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["auto", "csr", "sell", "bsr"])
def test_reordered_results_are_those_of_the_original(name, order, rng):
    A, p = shuffled_plane(), steady(17)
    plain = CpuBackend(A)
    backend = plain.prepared(MANY, Execution(name, depth=5, threads=2, reorder=True))
    assert backend.report.reordered
    assert backend._layout.order is not None
    for shape in ((), (1,), (5,)):
        X = rng.standard_normal((A.shape[0], *shape))
        expected = plain.apply(p, X, order=order)
        assert_close(backend.apply(p, X, order=order), expected)
        assert_close(backend.matmul(X), A @ X)
    X = values(rng, (A.shape[0], 3), np.complex128)
    assert_close(backend.apply(p, X, order=order), plain.apply(p, X, order=order))
    constant = Recurrence([], [], [], [2.5], (-1.0, 1.0))
    assert np.array_equal(backend.apply(constant, X, order=order), 2.5 * X)


@pytest.mark.parametrize("kind", ["nonsymmetric", "disconnected", "complex", "wide", "single"])
def test_odd_matrices_can_be_reordered(kind, rng):
    A = {
        "nonsymmetric": lambda: scattered(597, 2),
        "disconnected": lambda: normed(uneven(np.float64, n=597)),
        "complex": lambda: scattered(597, 2, np.complex128),
        "wide": lambda: scattered(597, 2),
        "single": lambda: scattered(597, 2, np.float32),
    }[kind]()
    if kind == "wide":
        A.indices, A.indptr = A.indices.astype(np.int64), A.indptr.astype(np.int64)
    backend = CpuBackend(A).prepared(MANY, Execution("csr", depth=3, reorder=True))
    assert np.array_equal(np.sort(backend._layout.order), np.arange(597))
    x = values(rng, 597, A.dtype)
    expected = CpuBackend(A).apply(steady(9), x)
    size = np.abs(expected).max()
    tol = 450 * np.finfo(A.dtype).eps * size
    np.testing.assert_allclose(backend.apply(steady(9), x), expected, rtol=0, atol=tol)


def test_reordering_narrows_the_fronts():
    A = shuffled_plane((200, 200))
    plain, backend = CpuBackend(A), CpuBackend(A).prepared(MANY, Execution("csr", reorder=True))
    reach = [
        np.abs(np.subtract(*matrix.nonzero())).max()
        for matrix in (A, permuted(A, backend._layout.order))
    ]
    assert reach[1] < 0.05 * reach[0]
    assert plain.report.reordered is False


@pytest.mark.parametrize("reorthogonalize", [True, False])
def test_lanczos_of_a_reordered_backend_is_that_of_the_original(reorthogonalize, rng):
    A = shuffled_plane()
    start = rng.standard_normal(A.shape[0])
    plain = CpuBackend(A, execution=Execution(threads=1))
    backend = plain.prepared(MANY, Execution("sell", depth=3, threads=1, reorder=True))
    expected = lanczos(plain, start, 12, reorthogonalize=reorthogonalize)
    found = lanczos(backend, start, 12, reorthogonalize=reorthogonalize)
    for mine, truth in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, truth, rtol=0, atol=1e5 * EPS)
    facts, truth = backend.row_facts(), plain.row_facts()
    assert np.array_equal(facts.diagonal, truth.diagonal)
    assert np.array_equal(facts.radius, truth.radius)
    assert backend.hermitian_defect() == plain.hermitian_defect()


@pytest.mark.parametrize("name", ["csr", "sell", "bsr", "dia"])
def test_lanczos_in_every_format(name, rng):
    A = normed(gallery.poisson((40, 51)))
    start = rng.standard_normal(A.shape[0])
    expected = reference.lanczos(A, start, 8)
    for threads in (1, 2):
        backend = forced(A, name, depth=4, threads=threads)
        for mine, truth in zip(lanczos(backend, start, 8), expected, strict=True):
            np.testing.assert_allclose(mine, truth, rtol=0, atol=1000 * EPS)


# ---------------------------------------------------------------------------------------------
# Copies


@pytest.mark.parametrize("reorder", [False, True])
@pytest.mark.parametrize("name", ["csr", "sell", "bsr"])
def test_pickled_backends_compute_the_same(name, reorder, rng):
    A = of_format(name)
    backend = CpuBackend(A).prepared(MANY, Execution(name, depth=3, threads=2, reorder=reorder))
    x = rng.standard_normal(A.shape[0])
    expected = backend.apply(steady(7), x, order="clenshaw")
    copy = pickle.loads(pickle.dumps(backend))
    assert copy.report == backend.report
    assert copy.execution == backend.execution
    assert type(copy._layout.matrix) is type(backend._layout.matrix)
    assert np.array_equal(copy.apply(steady(7), x, order="clenshaw"), expected)
    assert np.array_equal(copy.matmul(x), backend.matmul(x))
    assert copy.prepared(MANY) is copy


def test_pickled_diagonals_and_csr_stay_small(rng):
    for name in ("dia", "csr"):
        A = of_format(name)
        backend = forced(A, name, depth=3)
        backend.apply(steady(7), rng.standard_normal(A.shape[0]))
        size = sum(array.nbytes for array in (A.data, A.indices, A.indptr))
        most = size + (backend.report.n_bytes if name == "dia" else 0) + 5000
        text = pickle.dumps(backend)
        assert len(text) <= most  # CSR's arrays are A's own, and stay shared
        x = rng.standard_normal(A.shape[0])
        assert np.array_equal(pickle.loads(text).matmul(x), backend.matmul(x))
    copy = pickle.loads(text)
    assert np.shares_memory(copy._layout.matrix.data, copy.A.data)


# ---------------------------------------------------------------------------------------------
# Vectors of the caller


@pytest.mark.parametrize("reorder", [False, True])
@pytest.mark.parametrize("name", ["csr", "dia"])
def test_vectors_of_the_caller_are_left_alone(name, reorder, rng):
    A, p = of_format("dia"), steady(6)
    if reorder:
        name = "csr"
    backend = forced(A, name, depth=3, threads=2, reorder=reorder)
    for shape in ((), (1,), (4,)):
        X = rng.standard_normal((A.shape[0], *shape))
        kept = X.copy()
        X.flags.writeable = False
        for order in ORDERS:
            Y = backend.apply(p, X, order=order)
            assert not np.shares_memory(X, Y)
            assert Y.flags.writeable
            assert np.array_equal(Y, backend.apply(p, kept, order=order))
        assert np.array_equal(backend.matmul(X), backend.matmul(kept))
        assert np.array_equal(X, kept)


@pytest.mark.parametrize("reorder", [False, True])
def test_vectors_in_any_memory_order(reorder, rng):
    A, p = of_format("csr"), steady(6)
    n = A.shape[0]
    backend = forced(A, "csr", depth=3, threads=2, reorder=reorder)
    X = rng.standard_normal((n, 6))
    wide = rng.standard_normal((2 * n, 13))
    wide[::2, 1::2] = X
    backward = np.ascontiguousarray(X[::-1])[::-1]
    for order in ORDERS:
        Y = backend.apply(p, X, order=order)
        for same in (np.asfortranarray(X), wide[::2, 1::2], backward, X.T.copy().T):
            assert np.array_equal(backend.apply(p, same, order=order), Y)
        y = backend.apply(p, np.ascontiguousarray(X[:, 2]), order=order)
        for same in (X[:, 2], wide[::2, 5], X[:, 2][::-1].copy()[::-1]):
            assert np.array_equal(backend.apply(p, same, order=order), y)
        assert np.array_equal(backend.apply(p, X[:, 2:3], order=order), y[:, None])
    assert np.array_equal(backend.matmul(np.asfortranarray(X)), backend.matmul(X))
    Z = np.asfortranarray(X + 1j * X[::-1])
    assert np.array_equal(backend.apply(p, Z), backend.apply(p, Z.copy(order="C")))
    assert np.array_equal(backend.apply(p, Z.T.copy().T[:, 0]), backend.apply(p, Z[:, 0].copy()))


def test_lists_of_integers_and_broadcast_vectors(rng):
    A, p = of_format("csr"), steady(6)
    backend = forced(A, "csr", depth=3)
    ones = np.broadcast_to(np.ones(1), A.shape[0])
    assert np.array_equal(backend.apply(p, ones), backend.apply(p, np.ones(A.shape[0])))
    whole = rng.integers(-5, 5, A.shape[0])
    assert np.array_equal(backend.apply(p, whole), backend.apply(p, whole.astype(float)))


def test_no_column_at_all():
    backend = forced(of_format("dia"), "dia", depth=3, threads=2)
    assert backend.apply(steady(3), np.empty((1921, 0))).shape == (1921, 0)
    assert backend.matmul(np.empty((1921, 0))).shape == (1921, 0)


# ---------------------------------------------------------------------------------------------
# Repeats and concurrent callers


@pytest.mark.parametrize("name", ["csr", "sell", "bsr", "dia"])
def test_repeats_have_the_same_bits(name, rng):
    A = of_format(name)
    X = rng.standard_normal((A.shape[0], 3))
    for V in (X, np.ascontiguousarray(X[:, 0])):
        found = [
            forced(A, name, depth=3, threads=2).apply(steady(9), V, order="clenshaw")
            for _ in range(3)
        ]
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("name", ["sell", "dia"])
def test_concurrent_callers_of_a_blocked_backend(name):
    A = of_format(name, 4321)
    rng = np.random.default_rng(635172849)
    inputs = [rng.standard_normal((4321, 3) if k % 2 else 4321) for k in range(6)]
    p = Recurrence(*coefficients(24), (-1.0, 1.0))
    alone = forced(A, name, depth=1, threads=1)
    expected = [[alone.apply(p, X, order=order) for order in ORDERS] for X in inputs]
    backend = forced(A, name, depth=6, threads=2)  # plans nothing before the callers come
    wrong, together = [], threading.Barrier(len(inputs))

    def call(k):
        together.wait(20)
        for _ in range(15):
            for order, truth in zip(ORDERS, expected[k], strict=True):
                if not np.array_equal(backend.apply(p, inputs[k], order=order), truth):
                    wrong.append((k, order))

    callers = [threading.Thread(target=call, args=(k,), daemon=True) for k in range(len(inputs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not any(caller.is_alive() for caller in callers)
    assert not wrong


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="compiles nothing")
def test_kernels_from_the_cache_have_the_bits_of_those_just_compiled(tmp_path):
    """The second run of a program gives the bits of its first."""
    source = """
        import hashlib, json
        import numpy as np
        from kernels.test_formats import ORDERS, diagonals, steady
        from spectool.backends.cpu import CpuBackend
        n = 1921
        backend = CpuBackend(diagonals(n, (-30, -1, 0, 1, 30)))
        x = np.random.default_rng(736251948).standard_normal(n)
        x /= np.linalg.norm(x)
        found = [backend.apply(steady(6), x, order=order) for order in ORDERS]
        following = np.empty(n)
        pair = backend.lanczos_step(np.zeros(n), x, 0.0, x[None, :].copy(), following)
        found += [following, np.array(pair)]
        print(json.dumps([hashlib.sha256(y.tobytes()).hexdigest() for y in found]))
        """
    runs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(source)],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parent),
                "NUMBA_CACHE_DIR": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        runs.append(json.loads(done.stdout))
    assert runs[0] == runs[1]


def test_blocks_choose_their_own_steps_per_pass(monkeypatch, rng):
    """One vector may run unblocked where eight run blocked; bits agree with the unblocked ones."""
    monkeypatch.setattr("spectool.backends.execution.cache_bytes", lambda: 500_000)
    monkeypatch.setattr("spectool.backends.execution._streamed", lambda *_: 1e3)
    A = gallery.poisson((600, 40))
    laid_out = CpuBackend(A).prepared(1e4, Execution(format="csr", reorder=False))
    assert laid_out.report.depth > 1
    forced = CpuBackend(A).prepared(1e4, Execution(format="csr", depth=1))
    p = chebyshev_inverse((0.05, 8.0), 12)
    X = rng.standard_normal((24_000, 3))
    assert np.array_equal(laid_out.apply(p, X), forced.apply(p, X))
    assert laid_out._depths[3] != forced._depths[3] == 1


def test_graphs_without_a_narrow_order_are_left_alone(monkeypatch):
    monkeypatch.setattr("spectool.backends.execution.cache_bytes", lambda: 30_000)
    rng = np.random.default_rng(564738291)
    half = sparse.random_array((2_000, 2_000), density=0.005, rng=rng, format="csr")
    A = sparse.csr_array(half + half.T + 20 * sparse.eye_array(2_000))
    report = CpuBackend(A).prepared(1e6).report
    assert not report.reordered
    assert "no order of rows would narrow its fronts" in report.reason


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_halves_compute_what_rows_do(dtype, rng):
    A = hermitian(700, dtype, 475869213)
    p = chebyshev_inverse((0.1, 1.2 * float(abs(A).sum(axis=1).max())), 9)
    rows = CpuBackend(A)
    x, X = rng.standard_normal(700).astype(dtype), rng.standard_normal((700, 3)).astype(dtype)
    for threads in (1, 2):
        halves = CpuBackend(A).prepared(1.0, Execution(format="half", threads=threads))
        assert halves.report.format == "half"
        close = {"rtol": 0, "atol": 1e3 * np.finfo(dtype).eps}
        for order in ("clenshaw", "forward"):
            truth = rows.apply(p, x, order=order)
            size = np.abs(truth).max()
            np.testing.assert_allclose(
                halves.apply(p, x, order=order) / size, truth / size, **close
            )
        truth = rows.matmul(x)
        size = np.abs(truth).max()
        np.testing.assert_allclose(halves.matmul(x) / size, truth / size, **close)
        assert np.array_equal(halves.matmul(X), rows.matmul(X))  # blocks run over rows
        z = (x + 1j * x[::-1]).astype(np.result_type(dtype, np.complex64))
        np.testing.assert_allclose(halves.matmul(z), rows.matmul(z), rtol=0, atol=size * 1e-5)
        again = pickle.loads(pickle.dumps(halves))
        assert np.array_equal(again.apply(p, x), halves.apply(p, x))


@pytest.mark.parametrize("wrong", ["asymmetric", "nan", "complex"])
def test_halves_need_a_symmetric_matrix(wrong):
    A = hermitian(60, np.float64, 675849302)
    if wrong == "asymmetric":
        A.data[1] += 1e-9
    elif wrong == "nan":
        A.data[1] = np.nan
    else:
        A = A.astype(np.complex128)
    with pytest.raises(InputError, match="equal those of the transpose"):
        CpuBackend(A).prepared(1.0, Execution(format="half"))


def test_halves_cannot_be_blocked():
    with pytest.raises(InputError, match="cannot be blocked"):
        Execution(format="half", depth=4)


@pytest.mark.parametrize(("gain", "chosen"), [(1.3, "half"), (1.05, "sell")])
def test_halves_are_taken_where_they_are_faster(monkeypatch, gain, chosen):
    """The timing is replaced; everything else is as it runs."""
    monkeypatch.setattr("spectool.backends.execution.cache_bytes", lambda: 30_000)
    measured = choosing._halved
    monkeypatch.setattr(choosing, "_halved", lambda *args: (measured(*args)[0], gain))
    monkeypatch.setattr(choosing, "_fastest", lambda A, _: (next(fits(A, ("sell",))), "as told"))
    rng = np.random.default_rng(564738291)
    half = sparse.random_array((2_000, 2_000), density=0.005, rng=rng, format="csr")
    A = sparse.csr_array(half + half.T + 20 * sparse.eye_array(2_000))
    report = CpuBackend(A).prepared(1e5, Execution(reorder=False)).report
    assert report.format == chosen
    assert ("halves" in report.reason) == (chosen == "half")
