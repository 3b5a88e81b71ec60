"""Polar factors and inverse roots of tensors: documented bands, hostile matrices, references."""

import math
import warnings

import numpy as np
import pytest
import scipy.linalg as sl
from numpy.testing import assert_allclose

from spectool import gallery
from spectool.dense.algebra import MatrixAlgebra
from spectool.dense.iterations.sign import NEWTON_SCHULZ, QUINTIC
from spectool.dense.steps import Variables
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
stt = pytest.importorskip("spectool.torch", reason="the torch extra is not installed")
from spectool.torch.fused import FusedAlgebra, Gram, GramAlgebra  # noqa: E402
from spectool.torch.orthogonalize import _rounds, _schedule  # noqa: E402

EPS = np.finfo(float).eps
F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
# Where singular values from SEEN times the largest on end, and none ends above: docs/how-to.
SEEN = 0.005
BANDS = {
    "polar_express": {F64: (0.88, 1.12), F32: (0.88, 1.13), BF16: (0.83, 1.17), F16: (0.86, 1.19)},
    "muon": {F64: (0.68, 1.21), F32: (0.68, 1.21), BF16: (0.65, 1.22), F16: (0.68, 1.21)},
    "cans": {F64: (0.88, 1.125), F32: (0.88, 1.125), BF16: (0.87, 1.14), F16: (0.88, 1.125)},
    "newton_schulz": {
        F64: (0.99, 1.001),
        F32: (0.99, 1.001),
        BF16: (0.98, 1.03),
        F16: (0.99, 1.01),
    },
    "exact": {
        F64: (1 - 1e-9, 1 + 1e-9),
        F32: (0.999, 1.001),
        BF16: (0.99, 1.01),
        F16: (0.99, 1.01),
    },
}
CASES = [(method, dtype) for method, bands in BANDS.items() for dtype in bands]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def hostile(rng, count, m, n):
    """Batches of matrices that iterations have trouble with, float64, by name."""
    k = min(m, n)
    thin = max(k // 2, 1)

    def spectrum(s):
        U, V = (np.linalg.qr(rng.standard_normal((count, size, k)))[0] for size in (m, n))
        return (U * s) @ np.swapaxes(V, 1, 2)

    normal = rng.standard_normal((count, m, n))
    return {
        "gaussian": normal,
        "conditioned": spectrum(100.0 ** -np.sort(rng.random((count, 1, k)))),
        "outlier": spectrum(np.where(np.arange(k) < k - 1, 1.0, 1e-4)),
        "dominant": spectrum(np.where(np.arange(k) < 1, 1.0, 1e-3)),
        "quadratic": spectrum(np.arange(1.0, k + 1) ** -2),
        "orthogonal": spectrum(np.ones(k)),
        "rank": rng.standard_normal((count, m, thin)) @ rng.standard_normal((count, thin, n)),
        "rows": normal * 10.0 ** rng.uniform(-2, 2, (count, m, 1)),
        "columns": normal * 10.0 ** rng.uniform(-2, 2, (count, 1, n)),
        "sparse": normal * (rng.random((count, m, n)) < 0.1),
        "copies": np.repeat(normal[..., :1], n, axis=2) + 1e-3 * normal,
        "ones": np.ones((count, m, n)),
        "zero": np.zeros((count, m, n)),
        "signs": rng.integers(-1, 2, (count, m, n)).astype(float),
    }


def band(G, U, seen=SEEN):
    """Smallest ``u_i^T U v_i`` for singular values of G from ``seen`` on, and the largest of U."""
    assert torch.isfinite(U).all()
    G, U = G.double(), U.double()
    left, s, right = torch.linalg.svd(G, full_matrices=False)
    values = torch.einsum("...mi,...mn,...in->...i", left, U, right)
    floor = (seen * s[..., :1]).clamp(min=1e-300)
    return values[s >= floor].min().item() if (s >= floor).any() else 1.0, torch.linalg.svdvals(
        U
    ).max().item()


# -- orthogonalize: bands --------------------------------------------------------------------


@pytest.mark.parametrize(("method", "dtype"), CASES)
def test_singular_values_end_in_the_documented_band(method, dtype):
    rng = np.random.default_rng(629571438)
    lower, upper = BANDS[method][dtype]
    for m, n in ((8, 8), (24, 24), (60, 12), (12, 33)):
        for name, batch in hostile(rng, 6, m, n).items():
            G = torch.from_numpy(batch).to(dtype)
            U = stt.orthogonalize(G, method=method)
            assert U.dtype == dtype
            assert U.shape == G.shape
            low, high = band(G, U)
            assert lower <= low, (name, m, n, low)
            assert high <= upper, (name, m, n, high)


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_ten_thousand_random_matrices(dtype):
    """Also of low rank, and from 1e-30 to 1e30: none is NaN, all are in the band."""
    rng = np.random.default_rng(384729165)
    lower, upper = BANDS["polar_express"][dtype]
    for m, n in ((6, 6), (16, 5)):
        for name, batch in hostile(rng, 360, m, n).items():
            units = 10.0 ** rng.uniform(-30, 30, (360, 1, 1))
            G = torch.from_numpy(batch * units).to(dtype)
            low, high = band(G, stt.orthogonalize(G))
            assert lower <= low, (name, low)
            assert high <= upper, (name, high)


@pytest.mark.parametrize("method", ["polar_express", "muon", "newton_schulz", "cans"])
def test_larger_matrices_in_half_precision(method):
    rng = np.random.default_rng(750318264)
    lower, upper = BANDS[method][BF16]
    for m, n in ((200, 200), (400, 100)):
        for name, batch in hostile(rng, 1, m, n).items():
            G = torch.from_numpy(batch[0]).to(BF16)
            low, high = band(G, stt.orthogonalize(G, method=method))
            assert lower <= low, (name, low)
            assert high <= upper, (name, high)


def test_sums_of_many_equal_terms_in_single_precision():
    """Rounding of norms, 3e-5 here, grew 12 times per step where steps did not expect it."""
    rng = np.random.default_rng(572839164)
    G = np.repeat(rng.standard_normal((2, 512, 1)), 512, axis=2)
    G = torch.from_numpy(G + 1e-3 * rng.standard_normal((2, 512, 512))).float()
    low, high = band(G, stt.orthogonalize(G))
    assert low >= 0.88
    assert high <= 1.13


def test_products_of_lower_precision_count_as_such(monkeypatch):
    """What torch does in TensorFloat-32 on request is half precision to the choice of steps."""
    G = torch.from_numpy(np.random.default_rng(384756291).standard_normal((30, 10))).float()
    exact = stt.orthogonalize(G)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    careful = stt.orthogonalize(G)
    assert not torch.equal(careful, exact)
    low, high = band(G, careful)
    assert low >= 0.86
    assert high <= 1.15


@pytest.mark.parametrize("dtype", [F64, F32, BF16, F16])
def test_turbo_is_the_factor_of_g_with_scaled_columns(dtype):
    rng = np.random.default_rng(518273640)
    for m, n in ((9, 9), (40, 8), (8, 40)):
        for name, batch in hostile(rng, 5, m, n).items():
            G = torch.from_numpy(batch).to(dtype)
            U = stt.orthogonalize(G, method="turbo")
            tall = G.double() if m >= n else G.double().mT
            sums = (tall.mT @ tall).abs().sum(-1)
            d = torch.where(sums > 0, sums, 1.0).rsqrt()
            low, high = band(tall * d[..., None, :], U if m >= n else U.mT, seen=0.1)
            assert low >= 0.9, name
            assert high <= 1.11, name


@pytest.mark.parametrize("method", ["polar_express", "newton_schulz"])
@pytest.mark.parametrize("rtol", [0.2, 1e-2, 1e-6])
@pytest.mark.parametrize("lower", [1e-1, 1e-3])
def test_rtol_is_kept_for_singular_values_from_lower_on(method, rtol, lower):
    s = np.geomspace(1.0, 2 * lower, 20)  # the norm bound is at most 20^(1/8) = 1.5 ||G||
    G = torch.from_numpy(gallery.prescribed_singular_values(s, (50, 20), rng=947362815))
    U = stt.orthogonalize(G, method=method, rtol=rtol, lower=lower)
    values = torch.linalg.svdvals(U)
    rounding = 1e3 * EPS  # some steps' errors
    assert (values - 1).abs().max() <= rtol + rounding


def test_steps_follow_rtol():
    counts = [
        len(_schedule("polar_express", None, rtol, 1e-3, 0.0, False)) for rtol in (0.5, 1e-2, 1e-9)
    ]
    assert counts == sorted(counts)
    assert len(set(counts)) == 3


@pytest.mark.parametrize("method", ["muon", "cans"])
def test_rtol_that_a_table_cannot_reach_is_an_error(method):
    with pytest.raises(InputError, match="polar_express"):
        stt.orthogonalize(torch.eye(3), method=method, rtol=1e-3)


# -- orthogonalize: relations ----------------------------------------------------------------

ALL = ("polar_express", "muon", "newton_schulz", "cans", "turbo", "exact")


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("dtype", [F64, F32, BF16])
def test_powers_of_two_drop_out_bit_for_bit(method, dtype):
    G = torch.from_numpy(np.random.default_rng(836194725).standard_normal((3, 12, 7))).to(dtype)
    expected = stt.orthogonalize(G, method=method)
    for k in (-100, -3, 90):
        assert torch.equal(stt.orthogonalize(G * 2.0**k, method=method), expected)


@pytest.mark.parametrize("method", ALL)
def test_transposes_batches_and_single_matrices_agree(method):
    G = torch.from_numpy(np.random.default_rng(165839274).standard_normal((2, 3, 15, 6)))
    U = stt.orthogonalize(G, method=method)
    turned = stt.orthogonalize(G.mT, method=method)
    assert_allclose(turned.numpy(), U.mT.numpy(), atol=1e-12)
    for i, j in np.ndindex(2, 3):
        assert_allclose(stt.orthogonalize(G[i, j], method=method).numpy(), U[i, j], atol=1e-12)


@pytest.mark.parametrize("method", ["polar_express", "muon", "newton_schulz", "cans", "exact"])
def test_orthogonal_factors_pass_through(method):
    rng = np.random.default_rng(294817365)
    G = torch.from_numpy(rng.standard_normal((10, 10)))
    Q = torch.from_numpy(np.linalg.qr(rng.standard_normal((10, 10)))[0])
    # The bound of the norm depends on the basis; steps amplify what is small by 1e3 at most.
    tolerance = 1e-9 if method in ("newton_schulz", "exact") else 0.5
    before, after = (stt.orthogonalize(X, method=method) for X in (G, Q @ G))
    assert (Q @ before - after).norm() <= tolerance


def test_odd_in_g():
    G = torch.from_numpy(np.random.default_rng(617283945).standard_normal((9, 4)))
    assert torch.equal(stt.orthogonalize(-G), -stt.orthogonalize(G))


@pytest.mark.parametrize("dtype", [F64, F32, torch.complex64, torch.complex128])
def test_exact_is_scipys_polar_factor(dtype):
    rng = np.random.default_rng(509182736)
    G = rng.standard_normal((8, 5)) + 1j * rng.standard_normal((8, 5))
    G = torch.from_numpy(G if dtype.is_complex else G.real.copy()).to(dtype)
    expected = sl.polar(G.numpy())[0]
    tolerance = 200 * torch.finfo(dtype).eps
    assert_allclose(stt.orthogonalize(G, method="exact").numpy(), expected, atol=tolerance)
    found = stt.orthogonalize(G, rtol=1e-6).numpy()
    assert_allclose(found, expected, atol=1e-5)


def test_matrices_of_less_than_full_rank_stay_so():
    rng = np.random.default_rng(730192846)
    G = torch.from_numpy(rng.standard_normal((12, 3)) @ rng.standard_normal((3, 9)))
    for method in ("polar_express", "exact"):
        U = stt.orthogonalize(G, method=method, **({} if method == "exact" else {"rtol": 1e-3}))
        s = torch.linalg.svdvals(U)
        assert_allclose(s[:3].numpy(), 1.0, atol=1e-3)
        # Rounding of the first product, 1e-16, times slopes of at most 10 in some 8 steps.
        assert s[3:].max() < 1e-8


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 5), (3, 1, 1)])
def test_vectors_are_normalized(shape):
    G = torch.from_numpy(np.random.default_rng(493827165).standard_normal(shape))
    U = stt.orthogonalize(G, rtol=1e-9)
    expected = G / torch.linalg.vector_norm(G, dim=(-2, -1), keepdim=True)
    assert_allclose(U.numpy(), expected.numpy(), atol=1e-8)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 4, 3), (2, 0, 0)])
def test_nothing_in_nothing_out(shape):
    assert stt.orthogonalize(torch.empty(shape)).shape == shape


@pytest.mark.parametrize("dtype", [F32, BF16, F16])
def test_smallest_and_largest_numbers_of_the_type(dtype):
    limits = torch.finfo(dtype)
    rng = np.random.default_rng(827364519)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], (6, 4))).to(dtype)
    for unit in (limits.smallest_normal, limits.max, limits.smallest_normal * limits.eps):
        low, high = band(signs, stt.orthogonalize(signs * unit))
        assert BANDS["polar_express"][dtype][0] <= low
        assert high <= BANDS["polar_express"][dtype][1]


def test_many_rows_do_not_overflow_in_float16():
    G = torch.ones((70_000, 2), dtype=F16)
    G[::2, 1] = -1.0
    _, high = band(G, stt.orthogonalize(G))
    low = torch.linalg.svdvals(stt.orthogonalize(G).double()).min()
    assert low >= 0.86
    assert high <= 1.19


def test_works_in_the_data_type_asked_for():
    G = torch.from_numpy(np.random.default_rng(273645918).standard_normal((20, 20))).float()
    U = stt.orthogonalize(G, dtype=BF16)
    assert U.dtype == F32
    assert torch.equal(U, stt.orthogonalize(G.to(BF16)).float())
    assert torch.equal(
        stt.orthogonalize(G.to(BF16), dtype=F32), stt.orthogonalize(G.bfloat16().float()).bfloat16()
    )


def test_gradients_stop_and_the_input_stays():
    G = torch.ones(3, 2, requires_grad=True)
    assert not stt.orthogonalize(G).requires_grad
    before = torch.arange(6.0).reshape(3, 2)
    after = before.clone()
    stt.orthogonalize(after)
    assert torch.equal(before, after)


# -- orthogonalize: the algebras ---------------------------------------------------------------


@pytest.mark.parametrize("kind", [QUINTIC, NEWTON_SCHULZ])
@pytest.mark.parametrize("shape", [(9, 6), (4, 9, 6)])
def test_fused_and_gram_steps_are_the_steps(kind, shape):
    rng = np.random.default_rng(384756192)
    X = torch.from_numpy(rng.standard_normal(shape))
    X = X / torch.linalg.matrix_norm(X, 2)[..., None, None]
    steps = [kind.step(), kind.step(*(1.1 * p.classical for p in kind.parameters)), kind.step()]
    plain, fused, gram = MatrixAlgebra(X, adjoint=True), FusedAlgebra(X), GramAlgebra(X)
    v, w = Variables(X, None, X), Variables(X, None, X)
    u = Variables(Gram(X.mT @ X), None, None)
    for step in steps:
        v, w, u = step(plain, v), step(fused, w), step(gram, u)
    assert_allclose(w.X.numpy(), v.X.numpy(), atol=1e-13)
    assert_allclose((X @ u.X.Q).numpy(), v.X.numpy(), atol=1e-13)


def test_known_squares_are_used():
    X = torch.from_numpy(np.random.default_rng(918273645).standard_normal((5, 3)))
    S = X.mT @ X
    o = FusedAlgebra(X)
    o.remember(X, S, 2.0 * S @ S)  # wrong on purpose
    found = QUINTIC.step(1.0, 2.0, 3.0)(o, Variables(X, None, X)).X
    expected = X @ (torch.eye(3) + 2.0 * S + 6.0 * S @ S)
    assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)


def test_gram_matrices_are_renewed_before_rounding_is_amplified():
    steps = _schedule("polar_express", 6, None, 1e-3, 0.0, False)
    for eps, most in ((EPS, 6), (2.0**-23, 5), (2.0**-10, 2), (2.0**-7, 2)):
        rounds = _rounds(steps, eps)
        assert [step for some in rounds for step in some] == list(steps)
        assert max(map(len, rounds)) == most


# -- orthogonalize: fitted steps -----------------------------------------------------------------


@pytest.mark.parametrize("method", ["prism", "kpe"])
@pytest.mark.parametrize("dtype", [F64, F32, BF16])
def test_fitted_methods(method, dtype):
    rng = np.random.default_rng(561728394)
    for name, batch in hostile(rng, 4, 20, 12).items():
        G = torch.from_numpy(batch).to(dtype)
        U = stt.orthogonalize(G, method=method, rng=102938475)
        low, high = band(G, U)
        assert low >= 0.2, name
        assert high <= (1.25 if method == "prism" else 1.12), name
    G = torch.from_numpy(rng.standard_normal((3, 30, 20)))
    U = stt.orthogonalize(G, method=method, rtol=1e-9, rng=564738291)
    assert_allclose((U.mT @ U).numpy(), np.broadcast_to(np.eye(20), (3, 20, 20)), atol=1e-7)
    again = stt.orthogonalize(G, method=method, rtol=1e-9, rng=564738291)
    assert torch.equal(U, again)


def test_fitted_methods_tell_what_they_miss():
    G = torch.ones((4, 3), dtype=F64)
    with pytest.warns(ConvergenceWarning, match="full rank"):
        stt.orthogonalize(G, method="prism", rtol=1e-6, rng=673829104)


# -- orthogonalize: errors -------------------------------------------------------------------


def test_matrices_that_are_not_finite():
    G = torch.from_numpy(np.random.default_rng(192837465).standard_normal((3, 6, 4)))
    expected = stt.orthogonalize(G)
    for bad in (math.nan, math.inf):
        broken = G.clone()
        broken[1, 2, 3] = bad
        with pytest.raises(InputError, match="finite"):
            stt.orthogonalize(broken)
        U = stt.orthogonalize(broken, check=False)
        assert torch.isnan(U[1]).all()
        assert torch.equal(U[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton"}, "method"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": 2.0}, "n_steps"),
        ({"rtol": 0.0}, "rtol"),
        ({"rtol": 0.1, "n_steps": 3}, "rtol"),
        ({"lower": 0.0}, "lower"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        stt.orthogonalize(torch.eye(2), **options)


@pytest.mark.parametrize(
    "G", [np.eye(2), torch.eye(2, dtype=torch.int64), torch.ones(3), torch.eye(3).to_sparse()]
)
def test_wrong_tensors(G):
    with pytest.raises(InputError, match="G must be"):
        stt.orthogonalize(G)


# -- inverse_root ----------------------------------------------------------------------------

ITERATIONS = ("coupled_newton", "higher_order", "polar_express", "gawlik")


def reference_root(A, p, eps=0.0):
    lam, Q = np.linalg.eigh(A)
    return (Q * (lam + eps) ** (-1.0 / p)) @ Q.T


@pytest.mark.parametrize("method", ["eigh", *ITERATIONS])
@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_inverse_roots_are_those_of_eigenvalues(method, p):
    A = gallery.wishart(30, 60, rng=746352819)
    for unit in (1.0, 2.0**40, 2.0**-40):
        X = stt.inverse_root(torch.from_numpy(unit * A), p, method=method)
        expected = reference_root(A, p) * unit ** (-1.0 / p)
        assert_allclose(X.numpy(), expected, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("method", ["eigh", *ITERATIONS])
@pytest.mark.parametrize("dtype", [F64, F32, BF16, F16])
def test_semidefinite_batches_with_damping(method, dtype):
    rng = np.random.default_rng(283746159)
    G = rng.standard_normal((2, 3, 12, 4))
    A = torch.from_numpy(G @ np.swapaxes(G, -1, -2)).to(dtype)
    X = stt.inverse_root(A, 4, eps=0.25, method=method)
    assert X.shape == A.shape
    assert X.dtype == dtype
    # The matrix itself is rounded to 8 bits in the worst case, relative to 30 in 0.25.
    eps = torch.finfo(dtype).eps if dtype in (F64, F32) else 0.05
    wide = A.double().numpy()
    for i, j in np.ndindex(2, 3):
        lam, Q = np.linalg.eigh(wide[i, j])
        expected = (Q * (np.maximum(lam, 0) + 0.25) ** -0.25) @ Q.T
        assert_allclose(X[i, j].double().numpy(), expected, atol=1e3 * eps if eps < 0.01 else eps)


def test_damping_relative_to_row_sums():
    A = np.array([[2.0, -1.0], [-1.0, 3.0]])
    X = stt.inverse_root(torch.from_numpy(1e200 * A), 2, eps=0.5, relative=True)
    assert_allclose(X.numpy(), reference_root(A, 2, 0.5 * 4.0) * 1e-100, rtol=1e-12)


def test_roots_of_zero_and_of_complex_matrices():
    X = stt.inverse_root(torch.zeros((2, 3, 3)), 4, eps=1e-4)
    assert_allclose(X.numpy(), np.broadcast_to(10.0 * np.eye(3), (2, 3, 3)), rtol=1e-5)
    rng = np.random.default_rng(918364520)
    Z = torch.from_numpy(rng.standard_normal((9, 4)) + 1j * rng.standard_normal((9, 4)))
    A = Z.mH @ Z
    X = stt.inverse_root(A, 2)
    assert_allclose((X @ A @ X).numpy(), np.eye(4), atol=1e-11)
    assert stt.inverse_root(torch.empty((0, 3, 3)), 2).shape == (0, 3, 3)


def test_singular_matrices_need_damping():
    A = torch.ones((2, 3, 3), dtype=F64)
    with pytest.raises(NotPositiveDefiniteError, match="2 of 2"):
        stt.inverse_root(A, 4)
    with pytest.raises(NotPositiveDefiniteError):
        stt.inverse_root(torch.zeros((1, 1)), 2, eps=1e-3, relative=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not torch.isfinite(stt.inverse_root(torch.zeros((1, 1)), 2, check=False)).all()


@pytest.mark.parametrize(
    ("A", "p", "eps", "message"),
    [
        (torch.eye(2), 0, 0.0, "p must"),
        (torch.eye(2), 2.0, 0.0, "p must"),
        (torch.eye(2), 2, -1.0, "eps must"),
        (torch.eye(2), 2, math.nan, "eps must"),
        (torch.ones(2, 3), 2, 0.0, "square"),
        (torch.eye(2, dtype=torch.int32), 2, 0.0, "floating"),
        (torch.full((2, 2), math.nan), 2, 0.0, "finite"),
    ],
)
def test_wrong_arguments_of_roots(A, p, eps, message):
    with pytest.raises(InputError, match=message):
        stt.inverse_root(A, p, eps=eps)
