"""CG on a virtual operator takes the iterations that CG takes."""

import numpy as np
import pytest
import reference

from spectool.kernels.virtual import pcg_iterations


def count(eigenvalues, preconditioner, b, rtol=1e-8, maxiter=1000):
    return pcg_iterations(eigenvalues, preconditioner, b.copy(), np.empty_like(b), rtol, maxiter)


@pytest.mark.parametrize("n", [1, 3, 597])
@pytest.mark.parametrize("cond", [1.0, 1e2, 1e4])
def test_equals_reference(n, cond, rng):
    eigenvalues = cond ** -rng.random(n)
    M, b = 1 / (eigenvalues + 0.1), rng.standard_normal(n)
    expected = reference.pcg_iterations(eigenvalues, M, b, 1e-8, 1000)
    assert abs(count(eigenvalues, M, b) - expected) <= 1  # rounding may move the last one


def test_few_distinct_eigenvalues_take_few_iterations(rng):
    eigenvalues = np.repeat([1.0, 5.0, 9.0], 20)
    assert count(eigenvalues, np.ones(60), rng.standard_normal(60)) == 3


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan])
def test_failure_costs_maxiter(bad):
    eigenvalues = np.full(5, bad)
    assert count(eigenvalues, np.ones(5), np.ones(5), maxiter=77) == 77


def test_right_hand_side_is_overwritten_but_spectrum_is_not(rng):
    eigenvalues, M = 1 + rng.random(9), np.ones(9)
    kept = eigenvalues.copy()
    count(eigenvalues, M, rng.standard_normal(9))
    assert np.array_equal(eigenvalues, kept)
