"""Guessed unions: split where Ritz values leave a gap, whole where they do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from strategies import spectra

import spectool as st
from spectool.errors import InputError
from spectool.polynomials.minimax import minimax_inverse
from spectool.polynomials.unions import checked_union, guessed_intervals


def test_clear_gap_is_split():
    union = guessed_intervals([1.0, 2.0, 8.0, 9.0], [0.1, 0.2, 0.3, 0.1], (0.5, 10.0))
    assert union == [(0.5, 2.2), (7.7, 10.0)]


def test_unclear_gap_is_not():
    assert guessed_intervals([1.0, 2.0, 8.0], [0.1, 1.0, 0.5], (0.5, 10.0)) == [(0.5, 10.0)]


def test_narrow_gap_is_not_worth_it():
    assert guessed_intervals([1.0, 8.0, 9.0], np.zeros(3), (1.0, 9.0), most=3)[1:] == [
        (8.0 - 9e-12, 9.0)
    ]


def test_residual_of_a_far_ritz_value_closes_a_gap():
    theta = [3.0, 4.0, 8.0]
    assert guessed_intervals(theta, [0.1, 0.0, 0.0], (1.0, 9.0))[1:] == [(8.0 - 9e-12, 9.0)]
    assert guessed_intervals(theta, [2.9, 0.0, 0.0], (1.0, 9.0)) == [(1.0, 9.0)]


def test_most_limits_the_number():
    theta, zeros = [1.0, 10.0, 100.0, 1000.0], np.zeros(4)
    for most in (1, 2, 3, 4, 9):
        assert len(guessed_intervals(theta, zeros, (0.5, 2000.0), most=most)) == min(most, 4)


@pytest.mark.parametrize("most", [1, 2])
def test_zero_is_always_split_off(most):
    union = guessed_intervals([-2.0, -1.0, 1.5, 3.0], 4 * [0.6], (-4.0, 4.0), most=most)
    assert union == [(-4.0, -0.4), (0.9, 4.0)]


def test_safe_end_beyond_zero_is_replaced():
    assert guessed_intervals([1.0, 2.0], [0.5, 0.5], (-1.0, 3.0)) == [(0.5, 3.0)]
    assert guessed_intervals([-2.0, -1.0], [0.5, 0.5], (-3.0, 0.0)) == [(-3.0, -0.5)]


def test_declared_bounds_outweigh_residuals():
    assert guessed_intervals([1.0, 9.0], [1.0, 0.25], (0.5, 9.0)) == [(0.5, 2.0), (8.75, 9.0)]


@given(lam=spectra(indefinite=True), most=hs.integers(1, 5))
def test_exact_eigenvalues_stay_inside(lam, most):
    if np.abs(lam).min() <= 1e-9 * np.abs(lam).max():
        return
    room = 1e-3 * np.abs(lam).max()
    union = guessed_intervals(lam, np.zeros(lam.size), (lam[0] - room, lam[-1] + room), most=most)
    assert checked_union(union) == union
    assert all(any(a <= x <= b for a, b in union) for x in lam)
    assert all(a * b > 0 for a, b in union)


def test_probe_of_two_clusters_designs_a_better_polynomial():
    lam = np.concatenate([np.linspace(1e-3, 2e-3, 5), np.linspace(0.5, 1.0, 300)])
    A = st.gallery.random_spectrum(lam, rng=416_273_905)
    known = st.estimate_spectrum(A, steps=40, rng=583_920_117)
    union = guessed_intervals(known.ritz_values, known.ritz_residuals, known.interval)
    assert len(union) == 2
    assert all(any(a <= x <= b for a, b in union) for x in lam)
    _, split = minimax_inverse(union, 8)
    _, whole = minimax_inverse([(union[0][0], union[-1][1])], 8)
    assert (1 + split) / (1 - split) < 0.2 * (1 + whole) / (1 - whole)


@pytest.mark.parametrize(
    ("theta", "rho", "interval", "most"),
    [
        ([1.0, 2.0], [0.1], (0.0, 3.0), 2),
        ([], [], (0.0, 3.0), 2),
        ([1.0, np.nan], [0.1, 0.1], (0.5, 3.0), 2),
        ([1.0, 2.0], [0.1, -0.1], (0.5, 3.0), 2),
        ([1.0, 2.0], [0.1, np.inf], (0.5, 3.0), 2),
        ([1.0, 2.0], [0.1, 0.1], (3.0, 0.5), 2),
        ([1.0, 2.0], [0.1, 0.1], (0.5, 3.0), 0),
        ([0.0, 2.0], [0.0, 0.1], (-1.0, 3.0), 2),
        ([1.0, 2.0], [1.5, 0.1], (-1.0, 3.0), 2),
    ],
)
def test_malformed_calls(theta, rho, interval, most):
    with pytest.raises(InputError):
        guessed_intervals(theta, rho, interval, most=most)
