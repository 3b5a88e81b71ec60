"""M for the next matrix of a sequence: as good as a fresh one, and a third of its products."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy import sparse
from strategies import problems

import spectool as st
from spectool.errors import BreakdownError, InputError, NotPositiveDefiniteError
from spectool.preconditioners.refresh import MOST_STRETCH, STEPS, first_ritz_values, in_other_unit

SEED = 715604928
EPS = np.finfo(float).eps
DESIGNS = [
    {"method": "chebyshev4", "degree": 8},
    {"method": "chebyshev", "degree": 8, "precision": "float32"},
    {"method": "least_squares", "degree": 4},
]
GRID = st.gallery.poisson((24, 25))  # constant diagonal: not scaled
JUMP = st.gallery.jump((24, 25), 1e4, rng=SEED)
FEM = st.gallery.elasticity((12, 12))
MATRICES = pytest.mark.parametrize("A", [GRID, JUMP, FEM], ids=["grid", "jump", "elasticity"])


class Counting(sla.LinearOperator):
    """Hides its entries, and counts products."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self.A, self.count = A, 0

    def _matvec(self, x):
        self.count += 1
        return self.A @ x

    def _matmat(self, X):
        self.count += X.shape[1]
        return self.A @ X

    def _adjoint(self):
        return self


def perturbed(A, size, seed=SEED):
    """Scale couplings by random factors near 1, and keep the excess of the diagonal over them."""
    rng = np.random.default_rng(seed)
    upper = sparse.triu(A, 1, format="csr")
    upper.data *= 1 + size * rng.uniform(-1, 1, upper.nnz)
    couplings = upper + upper.T
    before = A - sparse.diags_array(A.diagonal())
    diagonal = A.diagonal() + (abs(couplings) - abs(before)).sum(axis=1)
    return sparse.csr_array(couplings + sparse.diags_array(diagonal))


def rescaled(A, seed=SEED):
    d = sparse.diags_array(np.exp(np.random.default_rng(seed).standard_normal(A.shape[0])))
    return sparse.csr_array(d @ A @ d)


def dense(M):
    return M @ np.eye(M.shape[0], dtype=M.dtype)


def smallest(M):
    """The smallest eigenvalue of M relative to the largest."""
    D = dense(M)
    lam = np.linalg.eigvalsh(0.5 * (D + D.conj().T) / np.abs(D).max())
    return lam[0] / lam[-1]


def is_full(M):
    return M.report.reason.startswith("full set-up: ")


def iterations(A, M, solver=st.cg):
    b = np.random.default_rng(SEED).standard_normal(A.shape[0])
    return solver(A, b, M=M, rtol=1e-8).check().n_iterations


# -- slight changes --------------------------------------------------------------------------


@MATRICES
@pytest.mark.parametrize("options", DESIGNS, ids=str)
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1e-2])
def test_slight_changes_take_a_third_of_the_products(A, options, size):
    M, B = st.preconditioner(A, rng=SEED, **options), perturbed(A, size)
    M, fresh = M.refresh(B), st.preconditioner(B, rng=SEED + 1, **options)
    assert M.report.reason.startswith("refreshed: ")
    # In single precision the smallest change is lost in the rounding of what is stored.
    assert (M.report.n_matvecs > 0) == (size > 1e-6 or M.operator.dtype == np.float64)
    assert 3 * M.report.n_matvecs <= fresh.report.n_matvecs
    assert M.n_matvecs == M.report.n_matvecs
    assert M.recurrence.degree == fresh.recurrence.degree
    assert M.operator.dtype == fresh.operator.dtype
    assert smallest(M) > 0
    assert iterations(B, M) <= 1.1 * iterations(B, fresh) + 1
    scale = np.ones(len(B.indptr) - 1) if M.scale is None else M.scale
    top = np.linalg.eigvalsh(B.toarray() * np.outer(scale, scale))[-1]
    assert top <= (1 + 10 * np.finfo(M.operator.dtype).eps) * M.recurrence.interval[1]
    d = np.sqrt(B.diagonal()) if M.spectrum.scaling else np.ones(B.shape[0])
    exact = np.linalg.eigvalsh(B.toarray() / np.outer(d, d))
    lower, upper = M.spectrum.interval
    assert lower <= exact[0]
    assert exact[-1] <= upper
    assert exact[0] <= M.spectrum.ritz_values[0] * (1 + 1e-5)  # one of B, or moved by rounding


@MATRICES
@pytest.mark.parametrize("options", DESIGNS, ids=str)
@pytest.mark.parametrize(
    "change",
    [lambda A: A, lambda A: A.copy(), rescaled, lambda A: 1e6 * A, lambda A: 1e-150 * A],
    ids=["A", "copy", "scaled", "1e6", "1e-150"],
)
def test_scalings_and_units_take_no_product(A, options, change):
    M, B = st.preconditioner(A, rng=SEED, **options), change(A)
    M = M.refresh(B)
    assert M.report.n_matvecs == M.n_matvecs == 0
    assert not is_full(M)
    fresh = st.preconditioner(B, rng=SEED + 1, **options)
    assert abs(iterations(B, M) - iterations(B, fresh)) <= 1 + 0.1 * iterations(B, fresh)
    assert M.spectrum.scaling == fresh.spectrum.scaling
    np.testing.assert_allclose(M.spectrum.interval[1], fresh.spectrum.interval[1], rtol=0.2)


def test_an_indefinite_matrix():
    A = sparse.csr_array(JUMP - 0.3 * sparse.diags_array(JUMP.diagonal()))
    B = perturbed(JUMP, 1e-3)
    B = sparse.csr_array(B - 0.3 * sparse.diags_array(B.diagonal()))
    M = st.preconditioner(A, degree=8, rng=SEED)
    assert M.recurrence.interval[0] < 0
    refreshed, fresh = M.refresh(B), st.preconditioner(B, degree=8, rng=SEED + 1)
    assert not is_full(refreshed)
    assert 3 * refreshed.report.n_matvecs <= fresh.report.n_matvecs
    assert smallest(refreshed) > 0
    assert iterations(B, refreshed, st.minres) <= 1.1 * iterations(B, fresh, st.minres)


@pytest.mark.parametrize("size", [0.0, 1e-3, 1e-2])
def test_operators_that_hide_their_entries(size):
    before, after = Counting(JUMP), Counting(perturbed(JUMP, size))
    options = {"method": "chebyshev4", "degree": 8}
    M = st.preconditioner(before, rng=SEED, **options).refresh(after)
    assert M.report.reason.startswith("refreshed: ")
    assert M.report.n_matvecs == M.n_matvecs == after.count == STEPS
    fresh = st.preconditioner(Counting(after.A), rng=SEED + 1, **options)
    assert fresh.report.n_matvecs >= 3 * STEPS
    assert iterations(after.A, M) <= 1.1 * iterations(after.A, fresh)
    assert not M.amended


def test_complex_and_dense():
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((40, 40)) + 1j * rng.standard_normal((40, 40))
    A = X @ X.conj().T + 5 * np.eye(40)
    B = A + 1e-3 * (X + X.conj().T)
    M = st.preconditioner(A, method="chebyshev4", degree=4, rng=SEED).refresh(B)
    assert not is_full(M)
    assert M.dtype == np.complex128
    assert smallest(M) > 0
    assert iterations(B, M) <= 40


def test_a_long_drift_ends_in_a_full_set_up_now_and_then():
    A, M = FEM, st.preconditioner(FEM, method="chebyshev4", degree=8, rng=SEED)
    full = 0
    for step in range(30):
        A = perturbed(A, 1e-2, SEED + step)
        M = M.refresh(A)
        full += is_full(M)
        assert M.set_up.drift <= MOST_STRETCH
        assert ", stretched to " not in M.recurrence.name.partition(", stretched to ")[2]
    fresh = st.preconditioner(A, method="chebyshev4", degree=8, rng=SEED)
    assert 1 <= full <= 10
    assert iterations(A, M) <= 1.1 * iterations(A, fresh)


def test_the_old_one_still_belongs_to_the_old_matrix():
    M = st.preconditioner(JUMP, method="chebyshev4", degree=8, rng=SEED)
    x = np.random.default_rng(SEED).standard_normal(JUMP.shape[0])
    before, report = M @ x, str(M._report)
    M.refresh(perturbed(JUMP, 1e-2))
    assert np.array_equal(M @ x, before)
    assert str(M._report) == report


@pytest.mark.parametrize("duplicate", [lambda M: pickle.loads(pickle.dumps(M)), copy.deepcopy])
def test_copies_can_be_refreshed_with_the_same_bits(duplicate):
    M, B = st.preconditioner(JUMP, degree=8, rng=SEED), perturbed(JUMP, 1e-3)
    x = np.random.default_rng(SEED).standard_normal(JUMP.shape[0])
    assert np.array_equal(duplicate(M).refresh(B) @ x, M.refresh(B) @ x)


# -- changes that are not slight -------------------------------------------------------------


def grown(A, factor):
    """Add a direction, so that the largest eigenvalue is that many times as large."""
    n = A.shape[0]
    v = np.random.default_rng(SEED).standard_normal(n)
    v /= np.linalg.norm(v)
    top = factor * sla.eigsh(A, k=1, return_eigenvectors=False)[0]
    return A.toarray() + top * np.outer(v, v)


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("factor", [1.5, 20.0])
def test_bounds_that_are_violated_by_much(hide, factor):
    A, B = GRID.toarray(), grown(GRID, factor)
    A, B = (Counting(A), Counting(B)) if hide else (A, B)
    options = {"method": "chebyshev", "degree": 8, "scaling": None}
    M = st.preconditioner(A, rng=SEED, **options).refresh(B)
    assert is_full(M)
    assert M.recurrence.interval[1] >= 0.999 * np.linalg.norm(grown(GRID, factor), 2)
    fresh = st.preconditioner(B, rng=SEED + 1, **options)
    assert fresh.report.n_matvecs <= M.report.n_matvecs <= fresh.report.n_matvecs + STEPS
    assert M.n_matvecs == M.report.n_matvecs
    assert smallest(M) > 0


@pytest.mark.parametrize(
    ("B", "why"),
    [
        (st.gallery.poisson((10, 10)), "has 100 rows now"),
        (JUMP.astype(np.float32), "float32 now"),
        (JUMP.astype(complex), "complex128 now"),
        (Counting(JUMP), "stored at one time"),
        (JUMP.toarray(), "dense at the other"),
        (sparse.csr_array(JUMP + sparse.triu(JUMP, 1)), "not Hermitian any more"),
        (sparse.csr_array(-JUMP), "not positive definite"),
        (sparse.csr_array(JUMP - 0.5 * sparse.diags_array(JUMP.diagonal())), "Ritz value"),
        (sparse.diags_array(JUMP.diagonal(), format="csr"), "Ritz value"),
        (sparse.csr_array(0.0 * JUMP), "A is zero"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_matrices_are_set_up_in_full(B, why):
    M = st.preconditioner(JUMP, degree=8, rng=SEED)
    if why == "A is zero" or (why == "not positive definite"):
        with pytest.raises(NotPositiveDefiniteError):
            M.refresh(B)  # as preconditioner(B, degree=8) does
        return
    refreshed = M.refresh(B)
    assert is_full(refreshed)
    assert why in refreshed.report.reason


def test_a_matrix_changed_in_place_is_not_taken_for_unchanged():
    A = GRID.copy()
    M = st.preconditioner(A, method="chebyshev4", degree=8, rng=SEED)
    A.data *= 3.0
    for B in (A, A.copy()):
        refreshed = M.refresh(B)
        assert is_full(refreshed)
        assert "in place" in refreshed.report.reason
        assert refreshed.recurrence.interval[1] >= 3 * 7.9


def test_what_is_no_matrix_is_an_error():
    M = st.preconditioner(JUMP, method="chebyshev4", degree=8, rng=SEED)
    broken = JUMP.copy()
    broken.data[7] = np.nan
    with pytest.raises(InputError, match="finite"):
        M.refresh(broken)
    hidden = st.preconditioner(Counting(JUMP), method="chebyshev4", degree=8, rng=SEED)
    with pytest.raises((InputError, BreakdownError), match="finite"):
        hidden.refresh(Counting(broken))
    with pytest.raises(InputError, match="square"):
        M.refresh(JUMP[:, :5])
    with pytest.raises(NotPositiveDefiniteError):
        M.refresh(sparse.csr_array(JUMP - 0.5 * sparse.diags_array(JUMP.diagonal())))


@settings(max_examples=60)
@given(
    before=problems(max_n=40, max_log_cond=6),
    after=problems(max_n=40, max_log_cond=6),
    method=hs.sampled_from(["auto", "chebyshev", "chebyshev4"]),
    share=hs.sampled_from([1e-9, 1e-3, 0.1, 1.0]),
)
def test_positive_definite_whatever_comes(before, after, method, share):
    A, B = before.A, after.A
    M = st.preconditioner(A, method=method, degree=4, rng=SEED)
    unit = before.eigenvalues[-1] / after.eigenvalues[-1]
    if A.shape == B.shape:
        B = sparse.csr_array((1 - share) * A + share * unit * B)
    M = M.refresh(B)
    # Definite to the precision that rounding in D leaves.
    assert smallest(M) > -1e3 * EPS
    assert not M.amended


# -- what was chosen, not asked for ----------------------------------------------------------


@pytest.fixture
def everything_pays(monkeypatch, fixed_costs):
    for module in ("polynomial", "selection", "refresh"):
        monkeypatch.setattr(f"spectool.preconditioners.{module}.WORTHWHILE", 0.0)
    monkeypatch.setattr("spectool.preconditioners.selection.FEWEST", 1)


def test_a_chosen_design_is_kept(everything_pays):
    A = st.gallery.jump((40, 40), 1e4, rng=SEED)
    M = st.preconditioner(A, rng=SEED)
    assert M.recurrence.degree
    B = perturbed(A, 1e-3)
    refreshed = M.refresh(B)
    assert not is_full(refreshed)
    assert refreshed.recurrence.degree == M.recurrence.degree
    assert refreshed.report.n_matvecs == STEPS


def test_what_needs_no_probe_is_set_up_as_before():
    for options in ({}, {"method": "jacobi"}, {"method": "none"}, {"degree": 0}):
        M = st.preconditioner(JUMP, **options).refresh(rescaled(JUMP))
        fresh = st.preconditioner(rescaled(JUMP), **options)
        assert M.n_matvecs == 0
        assert M.recurrence.degree == 0
        np.testing.assert_array_equal(M.diagonal, fresh.diagonal)


def test_jacobi_that_a_probe_chose_costs_a_third(monkeypatch, everything_pays):
    monkeypatch.setattr("spectool.preconditioners.polynomial.MARGIN", 0.0)
    monkeypatch.setattr("spectool.preconditioners.selection.MARGIN", 0.0)
    M = st.preconditioner(JUMP, rng=SEED)
    assert (M.recurrence.degree, M.report.n_matvecs) == (0, 24)
    B = perturbed(JUMP, 1e-3)
    refreshed = M.refresh(B)
    assert refreshed.report.n_matvecs == STEPS
    np.testing.assert_allclose(refreshed.diagonal, 1 / B.diagonal())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_matrices(n):
    A = sparse.csr_array(np.diag(np.arange(1.0, n + 1)))
    M = st.preconditioner(A, method="chebyshev4", degree=2, rng=SEED)
    for B in (A, 2 * A, A + sparse.csr_array(np.ones((n, n)))):
        assert smallest(M.refresh(B)) > 0


# -- other classes ---------------------------------------------------------------------------


def convection(speed, n=400):
    return sparse.diags_array(
        [-1 - speed, 2.2, -1 + speed], offsets=[-1, 0, 1], shape=(n, n)
    ).tocsr()


def test_general_matrices_are_tried_by_a_residual():
    A = convection(0.3)
    M = st.preconditioner(A, rng=SEED)
    d = M.recurrence.degree
    assert d > 1
    # Equilibration is no function of the scaled matrix alone: the last two differ from A.
    for B, cost in ((A, 0), (1e6 * A, 0), (rescaled(A), d + 1), (convection(0.3001), d + 1)):
        refreshed = M.refresh(B)
        assert not is_full(refreshed)
        assert refreshed.n_matvecs == refreshed.report.n_matvecs == cost
        fresh = st.preconditioner(B, rng=SEED)
        assert 2 * cost <= fresh.report.n_matvecs
        assert iterations(B, refreshed, st.gmres) <= 1.1 * iterations(B, fresh, st.gmres)
    for B in (convection(0.9) - 3 * sparse.eye_array(400), convection(0.3, 300), GRID):
        refreshed = M.refresh(sparse.csr_array(B))
        assert is_full(refreshed)
        assert refreshed.n_matvecs == refreshed.report.n_matvecs
    hermitian = M.refresh(GRID[:400, :400])
    assert is_full(hermitian)
    assert not hasattr(hermitian, "equilibration")


def test_general_matrices_where_no_polynomial_helps(monkeypatch):
    monkeypatch.setattr("spectool.preconditioners.gmres_polynomial.IDLE", 0.0)
    A = convection(0.3)
    M = st.preconditioner(A, rng=SEED)
    assert M.recurrence.degree == 0
    assert M.report.n_matvecs > 0
    near = M.refresh(convection(0.31))
    assert (is_full(near), near.n_matvecs) == (False, 0)
    assert is_full(M.refresh(convection(-0.8)))
    for options in ({"degree": 0}, {"method": "jacobi"}, {"method": "none"}):
        asked = st.preconditioner(A, **options).refresh(convection(0.31))
        assert (asked.recurrence.degree, asked.n_matvecs) == (0, 0)
        np.testing.assert_array_equal(
            dense(asked), dense(st.preconditioner(convection(0.31), **options))
        )


def test_block_jacobi_is_split_anew():
    B = perturbed(FEM, 1e-3)
    M = st.preconditioner(FEM, base="block_jacobi", degree=8, rng=SEED)
    refreshed = M.refresh(B)
    fresh = st.preconditioner(B, base="block_jacobi", degree=8, rng=SEED)
    assert refreshed.report.reason.startswith("refreshed: ")
    assert 3 * refreshed.report.n_matvecs <= fresh.report.n_matvecs
    assert iterations(B, refreshed) <= 1.1 * iterations(B, fresh)
    assert "block Jacobi (2 rows)" in refreshed.report.chosen


def test_other_bases_are_set_up_in_full():
    pytest.importorskip("pyamg")
    B = perturbed(GRID, 1e-2)
    inverse = sparse.diags_array(1 / GRID.diagonal())
    M = st.preconditioner(GRID, base=inverse, degree=4, rng=SEED).refresh(B)
    assert M.report.reason.startswith("full set-up")
    assert iterations(B, M) > 0
    amg = st.preconditioner(GRID, base="amg", degree=2, rng=SEED)
    refreshed = amg.refresh(B)
    assert refreshed.report.levels[0].degree == 2
    assert iterations(B, refreshed) <= 1.5 * iterations(GRID, amg)


def test_a_given_hierarchy_cannot_be_refreshed():
    pyamg = pytest.importorskip("pyamg")
    from spectool.preconditioners.amg import accelerate

    M = accelerate(pyamg.smoothed_aggregation_solver(sparse.csr_matrix(GRID)))
    with pytest.raises(InputError, match="hierarchy"):
        M.refresh(GRID)


def test_deflation_keeps_its_vectors():
    B = perturbed(JUMP, 1e-2)
    M = st.preconditioner(JUMP, method="chebyshev4", degree=4, deflate=10, rng=SEED)
    refreshed = M.refresh(B)
    assert refreshed.n_matvecs < M.n_matvecs
    assert smallest(refreshed) > 0
    plain = st.preconditioner(B, method="chebyshev4", degree=4, rng=SEED)
    assert iterations(B, refreshed) < iterations(B, plain)
    arrays = st.preconditioner(JUMP, method="jacobi", deflate=M.vectors)
    assert smallest(arrays.refresh(B)) > 0


# -- parts -----------------------------------------------------------------------------------


def test_the_first_steps_of_a_probe_are_recovered():
    start = np.random.default_rng(SEED).standard_normal(600)
    long = st.estimate_spectrum(Counting(JUMP), rng=SEED)
    short = st.estimate_spectrum(Counting(JUMP), steps=6, rng=SEED)
    assert start.size == JUMP.shape[0]
    found = first_ritz_values(long, 6)
    np.testing.assert_allclose(found, short.ritz_values, rtol=1e-9)


def test_a_spectrum_in_another_unit():
    spectrum = st.estimate_spectrum(JUMP, rng=SEED)
    twin = in_other_unit(spectrum, 4.0)
    other = st.estimate_spectrum(4.0 * JUMP, rng=SEED)
    np.testing.assert_array_equal(twin.ritz_values, other.ritz_values)
    np.testing.assert_allclose(twin.interval, other.interval, rtol=1e-12)
    assert in_other_unit(spectrum, 1.0) is spectrum
