"""Features of a probe: fixed length, no unit, and what a shorter probe would have seen."""

import numpy as np
import pytest

import spectool as st
from spectool.errors import InputError
from spectool.krylov import lanczos, ritz
from spectool.learned.features import (
    BLOCKS,
    SIZE,
    SLOTS,
    degree_features,
    features,
    jacobi_matrix,
    scaled_probe,
)
from spectool.operators import as_operator

SEED = 314_159_265
PLACES = np.cumsum([0, *(length for _, length in BLOCKS)])
BLOCK = {name: slice(PLACES[i], PLACES[i + 1]) for i, (name, _) in enumerate(BLOCKS)}


def _spectrum(A, steps=None, **options):
    return st.estimate_spectrum(A, steps=steps, rng=SEED, **options)


@pytest.mark.parametrize("steps", [1, 2, 7, 24, 40])
def test_length_does_not_depend_on_the_probe(steps):
    found = features(_spectrum(st.gallery.poisson((30, 30)), steps))
    assert found.shape == (SIZE,)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("unit", [1e-140, 3.7, 1e150])
def test_no_unit(unit):
    A = st.gallery.poisson((25, 25))
    # Multiplying rounds: eigenvalues move by some eps, the residuals of converged ones by more.
    found, scaled = features(_spectrum(A)), features(_spectrum(unit * A))
    assert np.abs(found - scaled).max() <= 1e-8


def test_sums_of_probes_are_the_nodes_of_their_average():
    A = st.gallery.poisson((25, 25))
    found = features(_spectrum(A, 12, n_probes=4))
    assert found.shape == (SIZE,)
    assert np.isfinite(found).all()
    # The mean over the upper end is a moment of the measure, and cutting keeps moments.
    spectrum = _spectrum(A, 12, n_probes=4)
    mean = float(spectrum.weights @ spectrum.ritz_values / spectrum.weights.sum())
    upper = scaled_probe(spectrum).upper
    assert found[BLOCK["summary"]][1] == pytest.approx(mean / upper, rel=1e-10)


def test_a_long_probe_is_cut_to_what_a_short_one_sees():
    """Lanczos from the same vector: 24 of 40 steps have the leading block of T."""
    A = as_operator(st.gallery.poisson((40, 40)), assume_a="her")
    v = np.random.default_rng(SEED).standard_normal(A.n)
    long, short = (ritz(lanczos(A, v, steps)) for steps in (40, SLOTS))
    alpha, beta = jacobi_matrix(long.values, long.weights, 0.0)
    T = np.diag(alpha[:SLOTS]) + np.diag(beta[: SLOTS - 1], 1) + np.diag(beta[: SLOTS - 1], -1)
    theta = np.linalg.eigvalsh(T)
    # Rebuilding T from its eigenvalues is backward stable only up to the weights' rounding.
    assert np.abs(theta - short.values).max() <= 1e-9 * short.values[-1]


def test_complete_probes_say_so():
    A = np.diag([1.0, 2.0, 5.0])
    found = features(_spectrum(A))
    assert found[BLOCK["summary"]][-1] == 1.0
    assert features(_spectrum(st.gallery.poisson((30, 30))))[-1] == 0.0


def test_one_row():
    assert np.isfinite(features(_spectrum(np.array([[3.0]])))).all()


def test_indefinite_spectra_are_refused():
    with pytest.raises(InputError, match="positive spectrum"):
        features(_spectrum(np.diag(np.linspace(-1.0, 2.0, 50))))


def test_degree_features_know_what_a_degree_resolves():
    low, high = degree_features(1e-4, 4), degree_features(1e-4, 32)
    assert (high > low).all()
    # log10(lowest m^2) is zero where degree m - 1 just resolves the lower end.
    assert degree_features(1.0 / 81.0, 8)[1] == pytest.approx(0.0, abs=1e-12)


def test_semidefinite_spectra_are_taken():
    """A graph Laplacian: rounding makes of its zero what it likes."""
    A = st.gallery.poisson((20, 20)).tolil()
    A.setdiag(0.0)
    A.setdiag(-np.asarray(A.sum(axis=1)).ravel())
    found = features(_spectrum(A.tocsr(), 60))
    assert np.isfinite(found).all()
