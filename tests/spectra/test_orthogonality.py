"""Partial reorthogonalization: the same T to rounding, with few projections, and none too late."""

import sys

import numpy as np
import pytest
from scipy import sparse

import spectool as st
from spectool.krylov.lanczos import LanczosProcess, ritz
from spectool.operators import as_operator

module = sys.modules["spectool.krylov.lanczos"]
N = 600
OUTLIERS = np.concatenate([np.linspace(1.0, 2.0, N - 4), [1e1, 1e2, 1e4, 1e6]])
SPECTRA = {
    "laplacian": st.gallery.poisson((24, 25)),
    "jump": st.gallery.jump((24, 25), contrast=1e4, rng=4),
    "small eigenvalues": sparse.diags_array(np.geomspace(1e-10, 1.0, N)),
    "outliers": sparse.diags_array(OUTLIERS),
}


def run(A, start, steps, partial_from, monkeypatch):
    monkeypatch.setattr(module, "PARTIAL_FROM", partial_from)
    process = LanczosProcess(as_operator(A), start, capacity=steps)
    projections = []
    stepped = process._stepped
    process._stepped = lambda k, projected: projections.append(projected) or stepped(k, projected)
    for _ in range(steps):
        process.step()
    return process, sum(projections)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_the_jacobi_matrix_is_that_of_full_projections(name, dtype, rng, monkeypatch):
    A = sparse.csr_array(SPECTRA[name]).astype(dtype)
    start = rng.standard_normal(N).astype(dtype)
    if dtype == np.complex128:  # a diagonal similarity makes the entries complex
        phase = sparse.diags_array(np.exp(2j * np.pi * rng.random(N)))
        A, start = sparse.csr_array(phase @ A @ phase.conj()), start + 1j * rng.standard_normal(N)
    full, every = run(A, start, 40, N + 1, monkeypatch)
    partial, few = run(A, start, 40, 1, monkeypatch)
    eps = float(np.finfo(dtype).eps)
    scale = max(abs(a) + b for a, b in zip(full.alpha, full.beta, strict=True))
    V = partial.basis
    assert np.abs(V.conj() @ V.T - np.eye(len(V))).max() <= np.sqrt(eps)
    expected, found = ritz(full), ritz(partial)
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e3 * eps * scale)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=0, atol=1e4 * eps)
    assert every == 40
    assert partial.operator.n_matvecs <= 41  # one step again where orthogonality was lost in one
    if name != "outliers":
        assert few <= (every // 2 if eps < 1e-10 else every - 5)


def test_without_projections_orthogonality_would_be_lost(rng):
    """The cases above are no easy ones."""
    A, start = sparse.csr_array(SPECTRA["outliers"]), rng.standard_normal(N)
    process = LanczosProcess(as_operator(A), start, reorthogonalize=False, keep_basis=True)
    for _ in range(40):
        process.step()
    V = process.basis
    assert np.abs(V @ V.T - np.eye(len(V))).max() > 0.1


def test_exhausted_spaces_are_noticed(rng, monkeypatch):
    lam = np.repeat([1.0, 3.0, 7.0], N // 3)
    monkeypatch.setattr(module, "PARTIAL_FROM", 1)
    process = st.estimate_spectrum(sparse.diags_array(lam), rng=rng)
    assert process.complete
    np.testing.assert_allclose(process.ritz_values, [1.0, 3.0, 7.0], rtol=1e-12)
