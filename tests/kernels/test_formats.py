"""Every format multiplies like the dense matrix, in every recurrence, width and corner."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import reference
from kernels.matrices import empty, uneven, values
from scipy import sparse

from spectool import gallery
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.backends.layout import convert, csr_matrix, fits
from spectool.kernels.block import multiply
from spectool.kernels.formats import GRANULE, LANES, Csr, LongCsr
from spectool.polynomials import Recurrence

ORDERS = ["clenshaw", "forward"]
WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 32]
FACTOR = 450
"""Times eps, relative to the largest value: 1e-13 in float64."""
MANY = 1e6
"""Products that repay every conversion."""


def steady(degree, seed=583920174):
    """A recurrence whose late steps count as much as its first: b + c = 1, norm of A at most 1."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(-0.3, 0.3, degree)
    b = rng.uniform(0.5, 0.7, degree)
    return Recurrence(a, b, 1 - b, rng.standard_normal(degree + 1), (-1.0, 1.0))


def chebyshev(degree, seed=918273640):
    """A Chebyshev series: every basis vector of a symmetric matrix has norm at most 1."""
    a, b, c = np.full(degree, 2.0), np.zeros(degree), np.full(degree, -1.0)
    a[0] = 1.0
    w = np.random.default_rng(seed).standard_normal(degree + 1)
    return Recurrence(a, b, c, w, (-1.0, 1.0))


def normed(A, dtype=np.float64):
    """Canonical CSR whose rows and columns have absolute sums of at most 1."""
    A = sparse.csr_array(A, dtype=dtype)
    A.sum_duplicates()
    A.indices, A.indptr = A.indices.astype(np.int32), A.indptr.astype(np.int32)
    size = max(abs(A).sum(axis=1).max(), abs(A).sum(axis=0).max()) if A.data.any() else 1.0
    A.data /= np.asarray(size).astype(A.data.real.dtype)
    return A


def scattered(n, per_row, dtype=np.float64, seed=462913857):
    """Random rows of per_row entries, no symmetry anywhere."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(n), per_row)
    A = sparse.csr_array(
        (values(rng, rows.size, dtype), (rows, rng.integers(0, n, rows.size))), shape=(n, n)
    )
    return normed(A, dtype)


def ragged(n, dtype=np.float64, seed=509182736):
    """Rows of 0 to 40 entries, few of them long: sorting them saves padding."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.pareto(1.0, n).astype(int), 40)
    rows = np.repeat(np.arange(n), lengths)
    A = sparse.csr_array(
        (values(rng, rows.size, dtype), (rows, rng.integers(0, n, rows.size))), shape=(n, n)
    )
    return normed(A, dtype)


def blocks(n, b, dtype=np.float64, seed=645129378):
    """Dense blocks of b at random places, some entries missing, some block rows empty."""
    rng = np.random.default_rng(seed)
    m = n // b
    nodes = sparse.random_array((m, m), density=min(1.0, 3 / m), rng=rng, format="csr")
    A = sparse.kron(nodes, np.ones((b, b)), format="csr")
    A.data = values(rng, A.nnz, dtype) * (rng.random(A.nnz) < 0.9)
    A.eliminate_zeros()
    return normed(A, dtype)


def diagonals(n, offsets, dtype=np.float64, seed=372918465):
    rng = np.random.default_rng(seed)
    return normed(
        sparse.diags_array(
            [values(rng, n - abs(k), dtype) for k in offsets], offsets=offsets, shape=(n, n)
        ),
        dtype,
    )


def with_dense_row(n, dtype=np.float64):
    A = scattered(n, 3, dtype).tolil()
    A[n // 2] = values(np.random.default_rng(718293645), n, dtype)
    return normed(A.tocsr(), dtype)


def expected_of(A, p, X, order):
    """The dense reference in double precision; a sparse product stands in for the dense one."""
    wide = np.complex128 if A.dtype.kind == "c" or X.dtype.kind == "c" else np.float64
    return getattr(reference, order)(A.astype(wide), p.a, p.b, p.c, p.w, X.astype(wide))


def assert_close(found, expected, dtype, size=None):
    assert found.dtype == dtype
    assert found.shape == expected.shape
    size = np.abs(expected).max() if size is None else size
    np.testing.assert_allclose(found, expected, rtol=0, atol=FACTOR * np.finfo(dtype).eps * size)


def forced(A, name, **options):
    backend = CpuBackend(A).prepared(MANY, Execution(format=name, **options))
    assert backend.report.format.split()[0] == name
    return backend


# ---------------------------------------------------------------------------------------------
# One vector

BORDERS = [1, 3, 7, 8, 9, 119, 120, 121, 597, 959, 960, 961, 1919, 1920, 1921]
"""Around a chunk, a granule, a strip and a reduction chunk."""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["csr", "sell"])
@pytest.mark.parametrize("n", BORDERS)
def test_short_rows_at_every_border(n, name, order, rng):
    A, x, p = scattered(n, 5), rng.standard_normal(n), steady(64)
    found = forced(A, name, depth=3, threads=2).apply(p, x, order=order)
    assert_close(found, expected_of(A, p, x, order), np.float64)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [1, 3, 119, 121, 597, 961, 1921])
def test_long_rows_at_every_border(n, order, rng):
    A, x, p = scattered(n, 40), rng.standard_normal(n), steady(64)
    found = forced(A, "csr", depth=3, threads=2).apply(p, x, order=order)
    assert_close(found, expected_of(A, p, x, order), np.float64)


def test_long_rows_have_kernels_of_their_own():
    assert type(csr_matrix(scattered(597, 40))) is LongCsr
    assert type(csr_matrix(scattered(597, 5))) is Csr


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", BORDERS)
def test_sell_with_moved_rows(n, order, rng):
    A, x, p = ragged(n), rng.standard_normal(n), steady(64)
    found = forced(A, "sell", depth=2, threads=2).apply(p, x, order=order)
    assert_close(found, expected_of(A, p, x, order), np.float64)


def test_sell_moves_ragged_rows_and_leaves_even_ones():
    A = ragged(1921)
    moved = convert(A, next(fits(A, ("sell",))))
    order, n = np.asarray(moved.order), 1921
    assert order.size == 1928
    assert (order[n:] == n).all()
    assert np.array_equal(np.sort(order[:n]), np.arange(n))
    assert np.array_equal(order[:n] // GRANULE, np.arange(n) // GRANULE)
    lengths = np.diff(A.indptr)[order[:n]]
    inner = np.arange(1, n) % GRANULE != 0
    assert (np.diff(lengths)[inner] <= 0).all()
    even = diagonals(1921, (-1, 0, 1))
    assert convert(even, next(fits(even, ("sell",)))).order.size == 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("b", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("n", [60, 120, 960, 1980])
def test_every_block_size(n, b, order, rng):
    A, x, p = blocks(n, b), rng.standard_normal(n), steady(64)
    fit = next(fit for fit in fits(A, ("bsr",)) if fit.size == b)
    # Formats are forced by name only, so a block size is forced by the matrix or through its fit.
    matrix, out = convert(A, fit), np.empty(n + LANES)
    multiply(matrix, None, 0, n, x, out)
    assert_close(out[:n], A @ x, np.float64)
    found = forced(A, "bsr", depth=3, threads=2).apply(p, x, order=order)
    assert_close(found, expected_of(A, p, x, order), np.float64)


@pytest.mark.parametrize("b", [2, 3, 4, 5, 6])
def test_full_blocks_are_recognized(b):
    nodes = scattered(119, 4)
    A = normed(sparse.kron(nodes, np.ones((b, b)), format="csr"))
    assert forced(A, "bsr").report.format == f"bsr {b}x{b}"


OFFSETS = {
    1: (0,),
    2: (-1, 0),
    3: (-7, 0, 5),
    4: (-118, -1, 0, 1),
    5: (-30, -1, 0, 1, 30),
    6: (1, 2, 3, 50, 100, 118),
    7: (-100, -10, -1, 0, 1, 10, 100),
    8: (-118, -117, -116, -1, 1, 2, 3, 4),
    9: (-118, -31, -30, -1, 0, 1, 2, 117, 118),
}
"""Up to both corners of 119 rows; the inner rows may be none."""


@pytest.mark.parametrize("number", OFFSETS)
def test_every_number_of_diagonals(number, rng):
    p, order = steady(64), ORDERS[number % 2]
    for n in (119, 120, 121, 961, 1921):
        A, x = diagonals(n, OFFSETS[number]), rng.standard_normal(n)
        backend = forced(A, "dia", depth=4, threads=2)
        assert backend.report.format == f"dia {number}"
        assert_close(backend.matmul(x), A @ x, np.float64)
        assert_close(backend.apply(p, x, order=order), expected_of(A, p, x, order), np.float64)


@pytest.mark.parametrize("offset", [-1920, -960, -1, 0, 1, 959, 1920])
def test_one_diagonal_anywhere(offset, rng):
    A, x, p = diagonals(1921, (offset,)), rng.standard_normal(1921), steady(7)
    found = forced(A, "dia", depth=2).apply(p, x, order="forward")
    assert_close(found, expected_of(A, p, x, "forward"), np.float64)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_diagonals_of_tiny_matrices(number, rng):
    for n in (1, 2, 3):
        offsets = {1: (0,), 2: (0, n - 1), 3: (1 - n, 0, n - 1)}[number]
        if len(set(offsets)) < number:
            continue
        A, x = diagonals(n, offsets), rng.standard_normal(n)
        for p in (steady(1), steady(2), steady(64)):
            found = forced(A, "dia").apply(p, x, order=ORDERS[number % 2])
            expected = expected_of(A, p, x, ORDERS[number % 2])
            assert_close(found, expected, np.float64)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["csr", "sell", "bsr", "dia"])
@pytest.mark.parametrize("degree", [1, 2, 3, 64])
def test_chebyshev_series_of_a_stencil(degree, name, order, rng):
    A = gallery.poisson((30, 32))
    A = sparse.csr_array(A * 0.25 - sparse.eye_array(960))
    A.sum_duplicates()
    x, p = rng.standard_normal(960), chebyshev(degree)
    found = forced(A, name, depth=5, threads=2).apply(p, x, order=order)
    assert_close(found, expected_of(A, p, x, order), np.float64)


SPECIAL = {
    "dense row": with_dense_row(962),
    "dense row among ragged ones": normed(ragged(960) + with_dense_row(960)),
    "dense column": normed(with_dense_row(960).T),
    "empty rows": normed(uneven(np.float64, n=960)),
    "no entries": empty(120, np.float64),
    "one entry, last row": normed(sparse.csr_array(([0.5], ([959], [0])), shape=(960, 960))),
    "one entry, first row": normed(sparse.csr_array(([0.5], ([0], [959])), shape=(960, 960))),
    "stored zeros": normed(sparse.csr_array((np.zeros(3), ([0, 5, 9], [9, 0, 9])), shape=(10, 10))),
    "full": normed(np.random.default_rng(817263540).standard_normal((124, 124))),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["csr", "sell", "bsr"])
@pytest.mark.parametrize("which", SPECIAL)
def test_special_matrices(which, name, order, rng):
    A, p = SPECIAL[which], steady(64)
    n = A.shape[0]
    backend = forced(A, name, depth=4, threads=2)
    for X in (rng.standard_normal(n), rng.standard_normal((n, 5))):
        assert_close(backend.apply(p, X, order=order), expected_of(A, p, X, order), np.float64)
        # Products of single numbers are below the largest of all; zeros stay zeros.
        np.testing.assert_allclose(
            backend.matmul(X), A @ X, rtol=0, atol=100 * np.finfo(float).eps * np.abs(X).max()
        )


# ---------------------------------------------------------------------------------------------
# Blocks of vectors: they run over compressed rows, whatever the format of one vector

BLOCKED = {
    "short rows": ("csr", scattered(121, 5)),
    "long rows": ("csr", scattered(361, 40)),
    "moved rows": ("sell", ragged(361)),
    "bsr": ("bsr", normed(sparse.kron(scattered(121, 3), np.ones((3, 3)), format="csr"))),
    "dia": ("dia", diagonals(361, (-30, -1, 0, 1, 30))),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("which", BLOCKED)
def test_every_width(which, order, rng):
    name, A = BLOCKED[which]
    backend = forced(A, name, depth=3, threads=2)
    for m in WIDTHS:
        X, p = rng.standard_normal((A.shape[0], m)), steady(64 if m in (1, 9, 31) else 5)
        assert_close(backend.apply(p, X, order=order), expected_of(A, p, X, order), np.float64)
        assert_close(backend.matmul(X), A @ X, np.float64)


@pytest.mark.parametrize("m", [4, 9])
@pytest.mark.parametrize("n", [1, 3, 119, 120, 121, 959, 960, 961])
@pytest.mark.parametrize("name", ["csr", "sell"])
def test_blocks_at_every_border(name, n, m, rng):
    A, X, p = ragged(n), rng.standard_normal((n, m)), steady(64)
    found = forced(A, name, depth=3, threads=2).apply(p, X, order="clenshaw")
    assert_close(found, expected_of(A, p, X, "clenshaw"), np.float64)


# ---------------------------------------------------------------------------------------------
# Precisions

SINGLE = {
    "csr": scattered(961, 5, np.float32),
    "sell": ragged(961, np.float32),
    "bsr": blocks(963, 3, np.float32),
    "dia": diagonals(961, (-30, -1, 0, 1, 30), np.float32),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", SINGLE)
def test_single_precision(name, order, rng):
    A, p = SINGLE[name], steady(64)
    backend = forced(A, name, depth=4, threads=2)
    x = values(rng, A.shape[0], np.float32)
    assert_close(backend.apply(p, x, order=order), expected_of(A, p, x, order), np.float32)
    X = values(rng, (A.shape[0], 7), np.float32)
    assert_close(backend.apply(p, X, order=order), expected_of(A, p, X, order), np.float32)


COMPLEX = {
    "csr": scattered(961, 5, np.complex128),
    "bsr": blocks(962, 2, np.complex128),
    "dia": diagonals(961, (-7, 0, 5), np.complex128),
}


@pytest.mark.parametrize("name", COMPLEX)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_complex_matrices(shape, name, rng):
    A, p = COMPLEX[name], steady(64)
    X = values(rng, (A.shape[0], *shape), np.complex128)
    order = ORDERS[len(shape)]
    found = forced(A, name, depth=4, threads=2).apply(p, X, order=order)
    assert_close(found, expected_of(A, p, X, order), np.complex128)


def test_single_precision_complex_diagonals(rng):
    A, p = diagonals(961, (-7, 0, 5), np.complex64), steady(64)
    x = values(rng, 961, np.complex64)
    found = forced(A, "dia", depth=4).apply(p, x, order="clenshaw")
    assert_close(found, expected_of(A, p, x, "clenshaw"), np.complex64)


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
@pytest.mark.parametrize("name", ["sell", "dia"])
def test_real_matrix_on_complex_vectors(name, shape, rng):
    A, p = diagonals(961, (-7, 0, 5)), steady(9)
    X = values(rng, (961, *shape), np.complex128)
    backend = forced(A, name, depth=4, threads=2)
    assert_close(backend.apply(p, X, order="forward"), expected_of(A, p, X, "forward"), X.dtype)
    assert_close(backend.matmul(X), A @ X, X.dtype)


@pytest.mark.parametrize("name", ["csr", "bsr", "dia"])
def test_wide_indices(name, rng):
    A = diagonals(962, (-7, 0, 5))
    wide = sparse.csr_array(A.shape)
    wide.data, wide.indices = A.data, A.indices.astype(np.int64)
    wide.indptr = A.indptr.astype(np.int64)
    x, p = rng.standard_normal(962), steady(64)
    found = forced(wide, name, depth=4, threads=2).apply(p, x, order="clenshaw")
    assert_close(found, expected_of(A, p, x, "clenshaw"), np.float64)


# ---------------------------------------------------------------------------------------------
# Products with a range of rows, as every recurrence calls them


@pytest.mark.parametrize(
    ("name", "columns"),
    [("csr", None), ("sell", None), ("bsr", None), ("dia", None), ("csr", 3), ("csr", 31)],
)
def test_a_range_of_rows_stays_in_its_range(name, columns, rng):
    """What stands after the rows and LANES more values must not be touched."""
    n, width = 3 * GRANULE + 62, columns or 1
    A = diagonals(n, (-30, -1, 0, 1, 30)) if name == "dia" else ragged(n)
    matrix = csr_matrix(A)
    if columns is None:
        matrix = convert(A, max(fits(A, (name,)), key=lambda fit: fit.fill))
    V = rng.standard_normal((n, width))
    truth = A @ V
    for first in range(0, n, GRANULE):
        for last in (*range(first, n, GRANULE), n):
            size = (last - first) * width
            out = np.full(size + LANES + 5, 7.5)
            multiply(matrix, columns, first, last, V.ravel(), out)
            if size:
                found = out[:size].reshape(-1, width)
                assert_close(found, truth[first:last], np.float64, np.abs(truth).max())
            assert (out[size + LANES :] == 7.5).all()


# ---------------------------------------------------------------------------------------------
# NaN and inf


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("columns", [None, 2])
@pytest.mark.parametrize("name", ["csr", "sell", "bsr", "dia"])
def test_trouble_reaches_the_rows_it_must_and_no_others(name, columns, bad):
    """Zeros that a format stores between entries may carry it; rows that store nothing may not."""
    n = 960
    A = gallery.poisson((32, 30)) if name == "dia" else normed(uneven(np.float64, n=n))
    backend = forced(A, name)
    must = A.toarray() != 0
    may = must.copy()
    if name == "dia" and columns is None:  # inside the matrix, a diagonal is stored in full
        for offset in np.unique(np.subtract(*A.nonzero()[::-1])):
            may |= np.eye(n, k=offset, dtype=bool)
    if name == "bsr" and columns is None:
        b = int(backend.report.format[-1])
        may = np.kron(must.reshape(n // b, b, n // b, b).any(axis=(1, 3)), np.ones((b, b))) > 0
    for j in (0, 1, 5, n // 2, n - 2, n - 1):
        X = np.ones(n) if columns is None else np.ones((n, columns))
        X[j] = bad
        found = ~np.isfinite(backend.matmul(X).reshape(n, -1))
        assert found[must[:, j]].all()
        assert not found[~may[:, j]].any()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["csr", "sell", "bsr", "dia"])
def test_trouble_travels_one_row_a_step(name, order):
    """On a path, degree 5 carries a NaN five rows either way, blocked or not."""
    n, degree, at = 1920, 5, 960
    A = diagonals(n, (-1, 0, 1))
    x = np.ones(n)
    x[at] = np.nan
    y = forced(A, name, depth=5, threads=2).apply(steady(degree), x, order=order)
    assert np.isnan(y[at - degree : at + degree + 1]).all()
    # Blocks of at most 6 may carry it to their own ends in each step.
    assert np.isfinite(y[: at - 6 * degree - 6]).all()
    assert np.isfinite(y[at + 6 * degree + 6 :]).all()


@pytest.mark.parametrize("name", ["csr", "sell", "bsr", "dia"])
def test_trouble_stored_in_the_matrix_is_told(name):
    A = diagonals(960, (-1, 0, 1))
    A.data[1500] = np.nan
    row = int(np.searchsorted(A.indptr, 1500, side="right")) - 1
    y = forced(A, name).matmul(np.ones(960))
    assert np.flatnonzero(np.isnan(y)).tolist() == [row]


# ---------------------------------------------------------------------------------------------
# Without the JIT


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="is that run already")
@pytest.mark.parametrize("name", ["csr", "sell", "moved", "bsr", "dia"])
def test_the_same_without_the_jit(name):
    source = """
        import json, sys, warnings
        warnings.simplefilter("error")
        import numpy as np
        from kernels import test_formats as t
        name = sys.argv[1]
        n = 124
        A = {"dia": lambda: t.diagonals(n, (-30, -1, 0, 1, 30)), "moved": lambda: t.ragged(n),
             "bsr": lambda: t.blocks(n, 2)}.get(name, lambda: t.scattered(n, 3))()
        backend = t.forced(A, "sell" if name == "moved" else name, depth=2)
        rng, p = np.random.default_rng(519283746), t.steady(3)
        for X in (rng.standard_normal(n), rng.standard_normal((n, 3))):
            for order in t.ORDERS:
                found = backend.apply(p, X, order=order)
                t.assert_close(found, t.expected_of(A, p, X, order), float)
            t.assert_close(backend.matmul(X), A @ X, float)
        print(json.dumps("same"))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), name],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "NUMBA_DISABLE_JIT": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == "same"
