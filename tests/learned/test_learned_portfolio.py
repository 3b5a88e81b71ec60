"""Every design of the portfolio is a positive polynomial in the unit of A."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import spectool as st
from spectool.errors import InputError
from spectool.learned.features import scaled_probe
from spectool.learned.portfolio import NAMES, harmonic_ritz_values, member
from spectool.learned.synthetic import FAMILIES, draw, probed

SEED = 271_828_182


def _spectrum(shape=(30, 30), unit=1.0):
    return st.estimate_spectrum(unit * st.gallery.poisson(shape), rng=SEED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("degree", [1, 2, 5, 8, 32])
def test_members_are_positive_on_the_safe_interval(name, degree):
    spectrum = _spectrum()
    found = member(name, spectrum, degree)
    upper = spectrum.interval[1]
    z = np.concatenate([np.geomspace(1e-9 * upper, upper, 4000), np.linspace(0, upper, 4000)[1:]])
    assert (found.recurrence(z) > 0).all()
    assert found.recurrence.degree <= degree
    assert found.proof


@settings(max_examples=40, deadline=None)
@given(
    family=some.sampled_from(FAMILIES),
    seed=some.integers(0, 2**32),
    name=some.sampled_from(NAMES),
    degree=some.integers(1, 40),
)
def test_members_are_positive_at_true_eigenvalues(family, seed, name, degree):
    rng = np.random.default_rng(seed)
    problem = draw(family, rng)
    spectrum = probed(problem, rng)
    found = member(name, spectrum, degree).recurrence
    inside = problem.eigenvalues[problem.eigenvalues <= spectrum.interval[1]]
    assert (found(inside) > 0).all()


@pytest.mark.parametrize("unit", [2.0**-300, 2.0**300])
def test_the_unit_of_a_cancels(unit):
    spectrum, scaled = _spectrum(), _spectrum(unit=unit)
    for name in NAMES:
        z = np.linspace(0.1, spectrum.interval[1], 50)
        found = member(name, scaled, 8).recurrence(unit * z) * unit
        assert np.allclose(found, member(name, spectrum, 8).recurrence(z), rtol=1e-6)


def test_harmonic_ritz_values_minimize_the_residual():
    """MINRES's residual polynomial: its roots, normalized to 1 at 0, leave least."""
    spectrum = _spectrum()
    probe = scaled_probe(spectrum)
    k = 6
    roots = harmonic_ritz_values(probe, k)
    T = np.zeros((k + 1, k))
    T[:k] = np.diag(probe.alpha[:k]) + np.diag(probe.beta[: k - 1], 1)
    T[:k] += np.diag(probe.beta[: k - 1], -1)
    T[k, k - 1] = probe.beta[k - 1]
    first = np.eye(k + 1)[:, 0]
    y = np.linalg.lstsq(T, first, rcond=None)[0]
    least = np.linalg.norm(first - T @ y)
    # The residual polynomial applied to the measure of the whole Jacobi matrix has this norm.
    m = probe.alpha.size
    whole = (
        np.diag(probe.alpha) + np.diag(probe.beta[: m - 1], 1) + np.diag(probe.beta[: m - 1], -1)
    )
    theta, S = np.linalg.eigh(whole)
    values = np.prod(1.0 - theta[:, None] / roots, axis=1)
    assert np.linalg.norm(S[0] * values) == pytest.approx(least, rel=1e-8)


def test_a_probe_too_short_for_roots_falls_back():
    spectrum = st.estimate_spectrum(np.diag([1.0, 1.0, 1.0]), rng=SEED)
    found = member("gmres", spectrum, 8)
    assert (found.recurrence(np.array([0.5, 1.0])) > 0).all()


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="name must be one of"):
        member("best", _spectrum(), 8)
