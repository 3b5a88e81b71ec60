"""Determinism, copies, shapes and counts, for every verb that returns something."""

import copy
import pickle

import numpy as np
import pytest
from contracts.verbs import SEED, jump
from scipy.sparse.linalg import LinearOperator

import spectool as st

N = 72
VALUES = {
    "spectrum": lambda A, rng: st.estimate_spectrum(A, steps=8, rng=rng).ritz_values,
    "preconditioner": lambda A, rng: (
        st.preconditioner(A, method="chebyshev4", degree=3, rng=rng) @ np.ones(N)
    ),
    "funm": lambda A, rng: st.funm_multiply("exp", A, np.ones(N), t=-1.0, rng=rng).y,
    "filter": lambda A, rng: st.spectral_filter(A, (-np.inf, 1.0), degree=9, rng=rng) @ np.ones(N),
    "matrix function": lambda A, rng: st.matrix_function("exp", A, t=-1.0, rng=rng) @ np.ones(N),
}
OPERATORS = {
    "preconditioner": lambda A: st.preconditioner(A, rng=SEED),
    "chebyshev": lambda A: st.preconditioner(A, method="chebyshev", degree=4, rng=SEED),
    "float32": lambda A: st.preconditioner(
        A, method="chebyshev", degree=4, precision="float32", rng=SEED
    ),
    "filter": lambda A: st.spectral_filter(A, (1.0, 2.0), rng=SEED),
    "matrix function": lambda A: st.matrix_function("exp", A, t=-1.0, rng=SEED),
    "Lanczos function": lambda A: st.matrix_function("invsqrt", A, rng=SEED),
}
DUPLICATES = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=OPERATORS)
def operator(request):
    return OPERATORS[request.param]


@pytest.mark.parametrize("name", VALUES)
def test_same_rng_same_bits(name):
    A, call = jump(), VALUES[name]
    once = call(A, SEED)
    assert np.array_equal(call(A, SEED), once)
    assert np.array_equal(call(A, np.random.default_rng(SEED)), once)
    assert np.isfinite(call(A, None)).all()
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state must not move
    call(A, SEED)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("name", ["spectrum", "preconditioner", "filter"])
def test_another_seed_another_probe(name):
    A, call = jump(), VALUES[name]
    if name == "preconditioner":
        A = LinearOperator(A.shape, matvec=A.dot, dtype=float)  # no Gershgorin to agree on
    assert not np.array_equal(call(A, SEED), call(A, SEED + 1)) or name == "filter"


@pytest.mark.parametrize("rng", ["seed", 1.5, -3])
@pytest.mark.parametrize("name", VALUES)
def test_malformed_rng(name, rng):
    with pytest.raises((TypeError, ValueError)):
        VALUES[name](jump(), rng)


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_operators_survive_copies(operator, duplicate):
    F, x = operator(jump()), np.random.default_rng(SEED).standard_normal((N, 2))
    twin = DUPLICATES[duplicate](F)
    assert np.array_equal(twin @ x, F @ x)
    assert twin.shape == F.shape
    assert twin.dtype == F.dtype
    assert repr(twin) == repr(F)


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_results_survive_copies(duplicate):
    A = jump()
    spectrum = st.estimate_spectrum(A, rng=SEED)
    spectrum.cumulative(1.0)  # fills its cache
    twin = DUPLICATES[duplicate](spectrum)
    assert np.array_equal(twin.sample(9), spectrum.sample(9))
    assert twin.certificate == spectrum.certificate
    solution = st.funm_multiply("exp", A, np.ones(N), t=-1.0, rng=SEED)
    twin = DUPLICATES[duplicate](solution)
    assert np.array_equal(twin.y, solution.y)
    assert str(twin) == str(solution)


def test_results_are_frozen():
    A = jump()
    solution = st.funm_multiply("exp", A, np.ones(N), t=-1.0, rng=SEED)
    spectrum = st.estimate_spectrum(A, rng=SEED)
    M = st.preconditioner(A, rng=SEED)
    for result, field in (
        (solution, "y"),
        (spectrum, "ritz_values"),
        (spectrum.certificate.upper, "value"),
        (M.report, "chosen"),
        (M.recurrence, "w"),
    ):
        with pytest.raises((AttributeError, TypeError)):
            setattr(result, field, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128, int])
@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 4), (N, 0)])
def test_shapes_and_dtypes(operator, shape, dtype):
    F = operator(jump())
    x = np.random.default_rng(SEED).standard_normal(shape)
    x = (x + 1j * x[::-1] if np.dtype(dtype).kind == "c" else 10 * x).astype(dtype)
    y = F @ x
    assert y.shape == shape
    assert y.dtype == (np.complex128 if np.dtype(dtype).kind == "c" else np.float64)
    if x.size:
        flat = x.reshape(N, -1)[:, 0].astype(np.complex128)
        expected = F @ flat.real.copy() + 1j * (F @ flat.imag.copy())
        # Columns pass through the same arithmetic; Lanczos, which sees all columns, rounds.
        tolerance = 100 * np.finfo(float).eps * np.abs(expected).max()
        np.testing.assert_allclose(y.reshape(N, -1)[:, 0], expected, atol=tolerance)


@pytest.mark.parametrize("shape", [(N - 1,), (N + 1, 2), ()])
def test_wrong_shapes_are_refused(operator, shape):
    with pytest.raises(ValueError):
        operator(jump()) @ np.ones(shape)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_hermitian(name):
    F = OPERATORS[name](jump())
    D = F @ np.eye(N)
    # Rounding of what is symmetric but for the order of sums, in the precision inside.
    eps = np.finfo(np.float32 if name == "float32" else float).eps
    np.testing.assert_allclose(D, D.T, atol=100 * eps * np.abs(D).max())
    x = np.random.default_rng(SEED).standard_normal(N)
    assert np.array_equal(F.H @ x, F @ x)
    assert np.array_equal(F.rmatvec(x), F.matvec(x))


@pytest.mark.parametrize("name", ["chebyshev", "filter", "matrix function", "Lanczos function"])
def test_every_product_is_counted(name):
    A, count = jump(), [0]

    def matmat(X):
        count[0] += X.shape[1]
        return A @ X

    counting = LinearOperator(
        A.shape, matvec=lambda x: matmat(x.reshape(-1, 1)).ravel(), matmat=matmat, dtype=float
    )
    F = OPERATORS[name](counting)
    assert F.n_matvecs == count[0]
    for x in (np.ones(N), np.ones((N, 3)), np.ones(N) + 1j):
        F @ x
        # A real operator is applied to real and imaginary parts apart: one column each.
        assert F.n_matvecs == count[0]


def test_nan_in_nan_out():
    A = jump()
    x = np.ones(N)
    x[3] = np.nan
    for name in ("chebyshev", "filter"):
        assert np.isnan(OPERATORS[name](A) @ x).any()
