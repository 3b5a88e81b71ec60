"""One-pass facts equal those of the dense matrix."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as hs
from kernels.matrices import DTYPES, LARGE, SIZES, empty, hermitian, uneven, values
from scipy import sparse

from spectool.backends.cpu import CpuBackend
from spectool.kernels import structure


@given(
    n=hs.integers(1, 12),
    density=hs.sampled_from([0.05, 0.2, 0.6, 1.0]),
    dtype=hs.sampled_from([np.float64, np.complex128]),
    symmetrize=hs.booleans(),
    seed=hs.integers(100_000_000, 999_999_999),
)
def test_defect_equals_dense(n, density, dtype, symmetrize, seed):
    rng = np.random.default_rng(seed)
    A = sparse.random_array((n, n), density=density, rng=rng, format="csr").astype(dtype)
    A.data = values(rng, A.nnz, dtype)
    if symmetrize:
        A = sparse.csr_array(A + A.conj().T)
    A.sum_duplicates()
    found = CpuBackend(A).hermitian_defect()
    truth = reference.hermitian_defect(A.toarray())
    # One stored entry of a pair may be changed without the other: an entry is compared or counted.
    assert abs(found - truth) <= 4 * np.finfo(float).eps * max(truth, 1.0)


@pytest.mark.parametrize("position", [(0, 596), (596, 0), (300, 301), (17, 17)])
def test_one_wrong_entry_is_found(position):
    A = hermitian(597, np.complex128, 372819465).tolil()
    A[position] = A[position] + 0.25j
    A = sparse.csr_array(A)
    assert CpuBackend(A).hermitian_defect() >= 0.2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("position", [(0, 1), (1, 0), (2, 2), (5, 0), (5, 4)])
def test_defect_is_nan_where_an_entry_is(position, dtype):
    A = np.zeros((7, 7), dtype=dtype)
    A[5, 0] = A[1, 0] = 2.0  # larger gaps come before it and after it
    A[6, 5] = 3.0
    A[position] = np.nan
    assert np.isnan(CpuBackend(sparse.csr_array(A)).hermitian_defect())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_row_facts_equal_dense(n, dtype):
    A = hermitian(n, dtype, 918273645)
    facts = CpuBackend(A).row_facts()
    diagonal, radius = reference.gershgorin(A.toarray())
    assert np.array_equal(facts.diagonal, diagonal)
    np.testing.assert_allclose(facts.radius, radius, atol=20 * np.finfo(dtype).eps)


def test_row_facts_of_empty_rows_and_no_entries():
    A = uneven(np.float64)
    facts = CpuBackend(A).row_facts()
    assert np.array_equal(facts.diagonal, A.diagonal())
    facts = CpuBackend(empty(LARGE, np.float64)).row_facts()
    assert not facts.diagonal.any()
    assert not facts.radius.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_symmetric_scaling_equals_dense(dtype, rng):
    A, s = hermitian(97, dtype, 827364519), rng.uniform(0.1, 10, 97)
    scaled = CpuBackend(A).scaled(s).A
    truth = s[:, None] * A.toarray() * s
    np.testing.assert_allclose(scaled.toarray(), truth, rtol=10 * np.finfo(dtype).eps)
    assert scaled.dtype == dtype


def test_nan_travels():
    A = hermitian(597, np.float64, 564738219)
    A.data[700] = np.nan
    facts = CpuBackend(A).row_facts()
    assert np.isnan(facts.diagonal).any() or np.isnan(facts.radius).any()


@pytest.mark.parametrize("seed", [731284956, 284617395])
def test_levels_are_distances(seed):
    rng = np.random.default_rng(seed)
    half = sparse.random_array((60, 60), density=0.02, rng=rng, format="csr")
    A = sparse.csr_array(half + half.T)
    queue, starts = np.empty(60, dtype=np.int64), np.empty(61, dtype=np.int64)
    levels = structure.breadth_first(
        A.indptr, A.indices, 7, queue, np.zeros(60, dtype=bool), starts
    )
    assert np.array_equal(np.sort(queue), np.arange(60))
    assert starts[levels] == 60
    distance = sparse.csgraph.shortest_path(A, unweighted=True, indices=7)
    reached = int(np.isfinite(distance).sum())
    assert 1 < reached < 60  # some nodes are out of reach, and follow in levels of their own
    level = np.repeat(np.arange(levels), np.diff(starts[: levels + 1]))
    assert np.array_equal(level[:reached], distance[queue[:reached]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaling_keeps_symmetry_to_the_bit(dtype, rng):
    A = hermitian(200, dtype, 918273645)
    scaled = CpuBackend(A).scaled(1.0 / np.sqrt(rng.uniform(0.1, 10.0, 200)))
    assert scaled.hermitian_defect() == 0.0
