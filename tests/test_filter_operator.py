"""``spectral_filter`` in front of scipy's eigensolvers finds every pair of a window."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from scipy import sparse

import spectool as st
from spectool.errors import InputError

EPS = np.finfo(float).eps
SEED = 384756192
SHAPE = (21, 20)
A = st.gallery.poisson(SHAPE)
EXACT = np.sort(st.gallery.poisson_eigenvalues(SHAPE).ravel())


def pairs(F, k, tol=0.0):
    """Ritz values of A on F's dominant vectors, ascending, with residuals."""
    _, V = sla.eigsh(F, k=k, which="LA", v0=np.ones(A.shape[0]), tol=tol)
    theta, S = np.linalg.eigh(V.T @ (A @ V))
    V = V @ S
    return theta, np.linalg.norm(A @ V - V * theta, axis=0)


@pytest.mark.parametrize(
    "window",
    [(-np.inf, 0.3), (0.0, 0.3), (1.0, 1.15), (3.95, 4.02), (7.8, 9.0), (7.8, np.inf)],
)
@pytest.mark.parametrize("kind", ["auto", "step"])
def test_all_eigenpairs_of_a_window(kind, window):
    inside = EXACT[(window[0] < EXACT) & (window[1] > EXACT)]
    F = st.spectral_filter(A, window, kind=kind, rng=SEED)
    theta, residuals = pairs(F, inside.size + 8)
    keep = (theta > window[0]) & (theta < window[1])
    assert inside.size > 3
    assert keep.sum() == inside.size
    np.testing.assert_allclose(theta[keep], inside, atol=1e5 * EPS * 8)
    assert residuals[keep].max() <= 1e-6


def test_lobpcg_on_the_filtered_operator():
    F = st.spectral_filter(A, (0.0, 0.3), rng=SEED)
    X = np.random.default_rng(SEED).standard_normal((A.shape[0], 8))
    _, V = sla.lobpcg(F, X, largest=True, tol=1e-10, maxiter=200)
    theta = np.linalg.eigvalsh(V.T @ (A @ V))
    np.testing.assert_allclose(theta[:4], EXACT[:4], rtol=1e-6)


@pytest.mark.parametrize("window", [(0.0, 0.3), (1.0, 1.3), (7.5, np.inf)])
def test_filter_values_are_the_recurrence_at_the_eigenvalues(window):
    F = st.spectral_filter(A, window, degree=60, rng=SEED)
    assert F.recurrence.degree == 60
    lam, V = np.linalg.eigh(A.toarray())
    expected = (V * F.recurrence(lam)) @ V.T
    found = F @ np.eye(A.shape[0])
    np.testing.assert_allclose(found, expected, atol=1e4 * EPS)
    np.testing.assert_allclose(found, found.T, atol=1e3 * EPS)


@pytest.mark.parametrize("window", [(0.0, 0.3), (7.5, 9.0)])
def test_end_filters_amplify(window):
    F = st.spectral_filter(A, window, rng=SEED)
    assert "Chebyshev filter" in F.recurrence.name
    values = F.recurrence(EXACT)
    inside = (window[0] < EXACT) & (window[1] > EXACT)
    far = EXACT[0] if window[0] == 0 else EXACT[-1]
    assert F.recurrence(far) >= 100 * np.abs(values[~inside]).max()
    assert (values[inside] >= np.abs(values[~inside]).max()).all()


def test_contract(rng):
    F = st.spectral_filter(A, (1.0, 1.2), rng=SEED)
    n = A.shape[0]
    assert isinstance(F, sla.LinearOperator)
    assert F.shape == (n, n)
    assert F.H is F
    assert F.window == (1.0, 1.2)
    X = rng.standard_normal((n, 3))
    for twin in (pickle.loads(pickle.dumps(F)), copy.deepcopy(F)):
        assert np.array_equal(twin @ X, F @ X)
    for j in range(3):
        np.testing.assert_allclose((F @ X)[:, j], F @ X[:, j], atol=1e3 * EPS)
    assert "Jackson" in repr(F)


def test_matvecs_are_counted(rng):
    count = []
    operator = sla.LinearOperator(A.shape, matvec=lambda x: count.append(1) or A @ x, dtype=float)
    F = st.spectral_filter(operator, (1.0, 2.0), degree=30, rng=SEED)
    assert F.n_matvecs == len(count) == F.spectrum.n_matvecs
    F @ rng.standard_normal(A.shape[0])
    assert F.n_matvecs == len(count)
    shared = st.spectral_filter(A, (0.0, 1.0), spectrum=F.spectrum)
    assert shared.n_matvecs == 0


def test_complex_hermitian_and_indefinite(rng):
    n = 80
    lam = np.linspace(-3, 2, n)
    Q = np.linalg.qr(rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))[0]
    H = (Q * lam) @ Q.conj().T
    H = 0.5 * (H + H.conj().T)
    F = st.spectral_filter(H, (-0.52, 0.02), rng=SEED)
    inside = lam[(lam > -0.52) & (lam < 0.02)]
    _, V = sla.eigsh(F, k=inside.size + 4, which="LA")
    theta = np.linalg.eigvalsh(V.conj().T @ (H @ V))
    found = theta[(theta > -0.52) & (theta < 0.02)]
    np.testing.assert_allclose(found, inside, atol=1e5 * EPS)


@pytest.mark.parametrize(
    ("window", "options"),
    [
        ((1.0, 1.0), {}),
        ((2.0, 1.0), {}),
        ((np.nan, 1.0), {}),
        ((1.0, 2.0, 3.0), {}),
        (1.0, {}),
        (("a", "b"), {}),
        ((20.0, 30.0), {}),
        ((-9.0, -5.0), {}),
        ((-1.0, 9.0), {}),
        ((-np.inf, np.inf), {}),
        ((1.0, 2.0), {"kind": "chebyshev"}),
        ((1.0, 2.0), {"kind": "feast"}),
        ((1.0, 2.0), {"degree": 0}),
        ((1.0, 2.0), {"degree": 2.5}),
        ((1.0, 2.0), {"spectrum": 3}),
        ((1.0, 2.0), {"spectrum": st.estimate_spectrum(np.eye(3), rng=SEED)}),
        (
            (1.0, 2.0),
            {"spectrum": st.estimate_spectrum(A, scaling="symmetric", rng=SEED)},
        ),
    ],
)
def test_malformed_calls(window, options):
    with pytest.raises(InputError):
        st.spectral_filter(A, window, rng=SEED, **options)


def test_narrow_windows_cap_the_degree():
    F = st.spectral_filter(A, (4.0, 4.0 + 1e-9), rng=SEED)
    assert F.recurrence.degree == 2000


def test_multiple_of_the_identity():
    F = st.spectral_filter(sparse.csr_array(2.0 * np.eye(6)), (1.0, 2.0), kind="step", rng=SEED)
    assert np.isfinite(F @ np.ones(6)).all()
