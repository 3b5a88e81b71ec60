"""Half storage multiplies like the whole matrix, with the same bits for every number of parts."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as hs
from kernels.matrices import empty, hermitian, uneven
from kernels.test_formats import chebyshev, normed, steady
from kernels.test_schedule import arrow
from scipy import sparse

from spectool import gallery
from spectool.backends.cpu import CpuBackend
from spectool.kernels import half
from spectool.kernels.compilation import JIT
from spectool.kernels.schedule import schedule, strips_of
from spectool.kernels.team import run

ORDERS = ["clenshaw", "forward"]
FACTOR = 450
"""Times eps, relative to the largest value: 1e-13 in float64."""
PARTS = [1, 2, 3, 4] if JIT else [1]
STRIP = 120


def regular(n, degree, seed=629184735):
    """Adjacency of a random graph of about this degree: every section reaches every row."""
    rng = np.random.default_rng(seed)
    rows = np.tile(np.arange(n), degree // 2)
    columns = np.concatenate([rng.permutation(n) for _ in range(degree // 2)])
    G = sparse.csr_array((rng.standard_normal(rows.size), (rows, columns)), shape=(n, n))
    return normed(G + G.T)


def corners(n):
    """Only the first and the last row are coupled; the others are empty."""
    return normed(sparse.csr_array(([2.0, 2.0], ([0, n - 1], [n - 1, 0])), shape=(n, n)))


def dense(n, seed=817263549):
    G = np.random.default_rng(seed).standard_normal((n, n))
    return normed(G + G.T)


MATRICES = {
    "poisson": normed(gallery.poisson((31, 33))),
    "poisson, three dimensions": normed(gallery.poisson((13, 11, 9))),
    "random": normed(hermitian(1203, np.float64, 918273645)),
    "regular": regular(1500, 20),
    "regular, narrow sections pay": regular(900, 400),
    "arrow, dense first row": arrow(1201),
    "arrow, dense last row": arrow(1201, head=1200),
    "arrow, dense row within": arrow(1201, head=600),
    "dense": dense(150),
    "diagonal": normed(sparse.diags_array(np.linspace(-1, 1, 961))),
    "empty rows": normed(uneven(np.float64, n=960)),
    "no entries": empty(121, np.float64),
    "corners": corners(959),
    "no diagonal": normed(sparse.csr_array([[0.0, 1.0], [1.0, 0.0]])),
    "one row": normed(sparse.csr_array([[-3.0]])),
    "one empty row": empty(1, np.float64),
    "more sections than rows": dense(3),
}


def halved(A):
    return half.half_of(A.indptr, A.indices, A.data)


def schedules(A, parts):
    strips = strips_of(A.indptr, A.indices, STRIP)
    alone = schedule(strips, 1, 1)
    together = schedule(strips, parts, 1)
    if together.parts < parts:  # fewer strips than parts: some have nothing to do
        left = np.zeros((parts, 1), dtype=np.int64)
        together = alone._replace(left=left, right=left)
    return together, alone


def swept(H, A, p, x, order, parts=1):
    """Run the compiled sweep; what need not be initialized is NaN."""
    even, odd = np.full_like(x, np.nan), np.full_like(x, np.nan)
    out = np.full_like(x, np.nan) if order == "forward" else None
    together, alone = schedules(A, parts)
    private = np.full(H.offsets[-1], np.nan, dtype=x.dtype)
    rows = np.full((parts, STRIP), np.nan, dtype=x.dtype)
    coefficients = (np.asarray(values, dtype=x.dtype) for values in (p.a, p.b, p.c, p.w))
    run(half.sweep, (H, *coefficients, x, even, odd, out, private, rows), together, alone)
    if out is not None:
        return out
    return odd if p.degree % 2 else even


def multiplied(H, A, x, parts=1):
    out, private = np.full_like(x, np.nan), np.full(H.offsets[-1], np.nan, dtype=x.dtype)
    run(half.product, (H, x, out, private), *schedules(A, parts))
    return out


def assert_close(found, expected, dtype=np.float64):
    assert found.dtype == dtype
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=FACTOR * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("which", MATRICES)
def test_products(which, rng):
    A = MATRICES[which]
    x = rng.standard_normal(A.shape[0])
    assert_close(multiplied(halved(A), A, x), A @ x)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("which", MATRICES)
def test_recurrences(which, order, rng):
    A = MATRICES[which]
    x, H = rng.standard_normal(A.shape[0]), halved(A)
    for p in (steady(16), chebyshev(16), steady(1), steady(2), steady(3)):
        expected = getattr(reference, order)(A, p.a, p.b, p.c, p.w, x)
        assert_close(swept(H, A, p, x, order), expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("which", ["poisson", "regular", "arrow, dense last row", "one row"])
def test_single_precision(which, order, rng):
    A = MATRICES[which].astype(np.float32)
    p, x, H = steady(16), rng.standard_normal(A.shape[0]).astype(np.float32), halved(A)
    assert H.data.dtype == H.diag.dtype == np.float32
    expected = getattr(reference, order)(A.astype(np.float64), p.a, p.b, p.c, p.w, x.astype(float))
    assert_close(swept(H, A, p, x, order), expected, np.float32)
    assert_close(multiplied(H, A, x), A.astype(np.float64) @ x.astype(float), np.float32)


@pytest.mark.parametrize("which", MATRICES)
def test_bits_do_not_depend_on_the_parts(which, rng):
    A = MATRICES[which]
    x, p, H = rng.standard_normal(A.shape[0]), steady(16), halved(A)
    for parts in PARTS:
        assert np.array_equal(multiplied(H, A, x, parts), multiplied(H, A, x))
        for order in ORDERS:
            found = [swept(H, A, p, x, order, parts) for _ in range(2)]
            assert all(np.array_equal(y, swept(H, A, p, x, order)) for y in found)


def test_bits_in_single_precision(rng):
    A = MATRICES["regular"].astype(np.float32)
    x, p, H = rng.standard_normal(A.shape[0]).astype(np.float32), steady(16), halved(A)
    for order in ORDERS:
        plain = swept(H, A, p, x, order)
        assert all(np.array_equal(swept(H, A, p, x, order, parts), plain) for parts in PARTS)


@pytest.mark.parametrize("which", MATRICES)
def test_the_half_is_the_lower_triangle(which):
    A = MATRICES[which]
    H = halved(A)
    lower = sparse.csr_array((H.data, H.indices, H.indptr), shape=A.shape)
    assert np.array_equal(H.diag, A.diagonal())
    assert abs(lower - sparse.tril(A, -1)).nnz == 0
    assert lower.nnz == H.indptr[-1] == H.data.size


@pytest.mark.parametrize("which", MATRICES)
def test_sections_hold_what_they_touch(which):
    A = MATRICES[which]
    H, n = halved(A), A.shape[0]
    assert H.starts[0] == 0
    assert H.starts[-1] == n
    assert (np.diff(H.starts) > 0).all()
    assert 1 <= H.lows.size <= min(n, max(half.SECTIONS))
    assert np.array_equal(np.diff(H.offsets), H.starts[1:] - H.lows)
    for s, (first, last) in enumerate(zip(H.starts[:-1], H.starts[1:], strict=True)):
        touched = np.append(H.indices[H.indptr[first] : H.indptr[last]], first)
        assert H.lows[s] == touched.min()


def test_sections_are_as_many_as_their_overhang_allows():
    assert halved(normed(gallery.poisson((300, 8)))).lows.size == max(half.SECTIONS)
    assert halved(MATRICES["regular, narrow sections pay"]).lows.size == max(half.SECTIONS)
    assert halved(MATRICES["regular"]).lows.size == min(half.SECTIONS)
    H = halved(regular(20_000, 60))
    work = np.diff(H.indptr[H.starts])
    assert work.max() < 1.1 * work.min()


def test_scaled_and_rounded_matrices_stay_symmetric_in_every_bit(rng):
    """Half storage is allowed by this alone: a_ij and a_ji must not be rounded apart."""
    A = CpuBackend(MATRICES["regular"]).scaled(rng.uniform(1e-3, 1e3, 1500))
    for backend in (A, A.astype(np.float32)):
        assert backend.hermitian_defect() == 0
        S = backend.A
        assert (S != S.T).nnz == 0
        x = rng.standard_normal(1500).astype(S.dtype)
        assert_close(multiplied(halved(S), S, x), S.astype(float) @ x.astype(float), S.dtype)


def test_trouble_travels(rng):
    A = MATRICES["regular"]
    x, H = rng.standard_normal(1500), halved(A)
    x[700] = np.nan
    expected = np.isnan(A @ x)
    expected[700] = True  # a diagonal entry that A lacks is a stored zero here
    assert np.array_equal(np.isnan(multiplied(H, A, x)), expected)
    x[700] = np.inf
    assert not np.isfinite(multiplied(H, A, x)[expected]).any()


@pytest.mark.parametrize("order", ORDERS)
def test_wide_indices(order, rng):
    A = MATRICES["regular"]
    H = half.half_of(A.indptr.astype(np.int64), A.indices.astype(np.int64), A.data)
    assert H.indptr.dtype == H.indices.dtype == np.int64
    x, p = rng.standard_normal(1500), steady(16)
    assert np.array_equal(swept(H, A, p, x, order), swept(halved(A), A, p, x, order))
    assert np.array_equal(multiplied(H, A, x), multiplied(halved(A), A, x))


def test_no_rows():
    A = empty(0, np.float64)
    H = halved(A)
    assert H.lows.size == H.offsets[-1] == H.data.size == 0


@settings(max_examples=60)
@given(
    n=hs.integers(1, 40),
    entries=hs.lists(hs.tuples(hs.integers(0, 39), hs.integers(0, 39)), max_size=120),
    parts=hs.sampled_from(PARTS),
    seed=hs.integers(100_000_000, 999_999_999),
)
def test_drawn_patterns(n, entries, parts, seed):
    rng = np.random.default_rng(seed)
    pairs = sorted({(i % n, j % n) for i, j in entries})
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    B = sparse.csr_array((rng.standard_normal(len(pairs)), (rows, columns)), shape=(n, n))
    A = normed(B + B.T)
    x, p, H = rng.standard_normal(n), steady(16), halved(A)
    assert_close(multiplied(H, A, x, parts), A @ x)
    for order in ORDERS:
        expected = getattr(reference, order)(A, p.a, p.b, p.c, p.w, x)
        assert_close(swept(H, A, p, x, order, parts), expected)
