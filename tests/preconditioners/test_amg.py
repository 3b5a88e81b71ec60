"""Multigrid cycles with polynomial smoothers: positive definite, convergent, as pyamg's are."""

import pickle
import sys
import threading

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sla

import spectool as st
from spectool import gallery
from spectool.errors import BackendUnavailableError, InputError, NotPositiveDefiniteError
from spectool.polynomials import chebyshev_inverse, fourth_kind_inverse
from spectool.preconditioners.amg import accelerate, amg

pyamg = pytest.importorskip("pyamg", reason="builds the hierarchies; an optional extra")
# pyamg's own: scipy's sparse matrices and conversions to BSR are on their way out.
pytestmark = [
    pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyamg"),
]
SEED = 602_884_197


def hierarchy(A, **options):
    """Two or three levels even for small A: coarsened until 12 unknowns are left."""
    return pyamg.smoothed_aggregation_solver(A, max_coarse=12, **options)


def solve(A, M, b, rtol=1e-8, maxiter=500):
    count = []
    x, info = sla.cg(A, b, M=M, rtol=rtol, maxiter=maxiter, callback=lambda _: count.append(0))
    assert info == 0
    assert np.linalg.norm(b - A @ x) <= 1.5 * rtol * np.linalg.norm(b)
    return len(count)


def matrices():
    return {
        "poisson": gallery.poisson((28, 28)),
        "jump": gallery.jump((28, 28)),
        "anisotropic": gallery.anisotropic((28, 28)),
        "cube": gallery.poisson((11, 11, 11)),
    }


@pytest.fixture
def small_coarse(monkeypatch):
    """Let cycles run over all levels of small problems."""
    for module in ("hierarchy", "amg"):
        monkeypatch.setattr(f"spectool.preconditioners.{module}.COARSE", 12)


@pytest.mark.parametrize("name", list(matrices()))
@pytest.mark.parametrize("degree", [2, 3])
def test_the_cycle_is_symmetric_positive_definite(name, degree, small_coarse):
    A = matrices()[name]
    M = accelerate(hierarchy(A), degree=degree, rng=SEED)
    assert len(M.report.levels) >= 3
    dense = np.column_stack([M @ e for e in np.eye(len(A.toarray()))])
    assert np.abs(dense - dense.T).max() <= 1e-13 * np.abs(dense).max()
    assert np.linalg.eigvalsh(dense)[0] > 0
    # A convergent cycle: the error propagation I - M A has its spectrum in [0, 1).
    L = np.linalg.cholesky(A.toarray())
    errors = 1.0 - np.linalg.eigvalsh(L.T @ dense @ L)
    assert errors.min() >= -1e-10
    # Two regions of high coefficient that touch no boundary are two outliers for CG.
    assert errors.max() < 1
    assert np.sort(errors)[-3] < 0.98


def reference_cycle(levels, degree, uppers, r):
    """Textbook V-cycle in the unknowns of A, by dense products."""

    def cycle(i, r):
        A = levels[i].A.toarray()
        if i == len(levels) - 1:
            return np.linalg.pinv(A) @ r
        S = np.diag(1.0 / np.sqrt(np.diag(A)))
        q = fourth_kind_inverse(uppers[i], degree + 2 * i - 1)
        lam, V = np.linalg.eigh(S @ A @ S)
        smoother = S @ (V * q(lam)) @ V.T @ S
        P = levels[i].P.toarray()
        x = smoother @ r
        x += P @ cycle(i + 1, P.T @ (r - A @ x))
        return x + smoother @ (r - A @ x)

    return cycle(0, r)


@pytest.mark.parametrize("degree", [2, 3, 4, 7])
def test_the_cycle_is_the_textbook_one(degree, small_coarse, rng):
    ml = hierarchy(gallery.jump((24, 24), contrast=1e3))
    M = accelerate(ml, degree=degree, rng=SEED)
    uppers = [level.upper for level in M.report.levels[:-1]]
    assert [level.degree for level in M.report.levels] == [
        *(degree + 2 * i for i in range(len(uppers))),
        0,
    ]
    levels = ml.levels[: len(M.report.levels)]
    r = rng.standard_normal(576)
    truth = reference_cycle(levels, degree, uppers, r)
    assert np.linalg.norm(M @ r - truth) <= 1e-12 * np.linalg.norm(truth)


def test_blocked_steps_and_threads_change_no_bits(small_coarse, monkeypatch, rng):
    ml = hierarchy(gallery.poisson((70, 70)))
    r = rng.standard_normal(4900)
    plain = accelerate(ml, degree=5, rng=SEED) @ r
    monkeypatch.setattr("spectool.backends.multigrid.SERIAL_BELOW", 0)
    monkeypatch.setattr("spectool.backends.multigrid.STRIP", 120)
    from spectool.backends import multigrid

    chosen = multigrid.choose

    def deep(A, execution, products):
        return chosen(A, execution, products)._replace(depth=3)

    monkeypatch.setattr(multigrid, "choose", deep)
    blocked = accelerate(ml, degree=5, rng=SEED) @ r
    assert np.array_equal(plain, blocked)


@pytest.mark.parametrize("name", ["poisson", "cube"])
def test_as_few_iterations_as_pyamg(name, small_coarse, rng):
    A = matrices()[name]
    ml = hierarchy(A)
    b = rng.standard_normal(A.shape[0])
    theirs = solve(A, ml.aspreconditioner(), b)
    ours = solve(A, accelerate(ml, rng=SEED), b)
    assert ours <= 1.5 * theirs


def test_jumps_of_coefficients_do_no_harm(small_coarse, rng):
    b = rng.standard_normal(1600)
    counts = []
    for contrast in (1.0, 1e3, 1e6):
        A = gallery.jump((40, 40), contrast=contrast)
        counts.append(solve(A, accelerate(hierarchy(A), rng=SEED), b))
    assert max(counts) <= counts[0] + 14
    # Hierarchies of our own do not aggregate across jumps.
    assert solve(A, amg(A, rng=SEED), b) <= counts[0] + 3
    unscaled = hierarchy(A, presmoother="chebyshev", postsmoother="chebyshev")
    assert 3 * counts[-1] <= solve(A, unscaled.aspreconditioner(), b, maxiter=5000)


def test_single_precision_converges_as_well(rng):
    A = gallery.poisson((60, 60))
    ml = hierarchy(A)
    b = rng.standard_normal(3600)
    double = accelerate(ml, precision="float64", rng=SEED)
    single = accelerate(ml, precision="float32", rng=SEED)
    assert single.dtype == np.float64
    assert single.cycle.coarse.dtype == np.float32
    assert solve(A, single, b) <= solve(A, double, b) + 1
    z = double @ b
    assert np.linalg.norm(single @ b - z) <= 1e-4 * np.linalg.norm(z)
    # Vectors beyond the range of single precision.
    for unit in (1e-60, 1e60):
        scaled = single @ (unit * b)
        assert np.linalg.norm(scaled / unit - z) <= 1e-4 * np.linalg.norm(z)
    assert not (single @ np.zeros(3600)).any()
    assert np.isnan(single @ np.full(3600, np.nan)).all()
    # ... and no trace of them is left.
    assert np.linalg.norm(single @ b - z) <= 1e-4 * np.linalg.norm(z)


def test_matrices_of_any_unit_and_single_precision(rng):
    A = gallery.poisson((40, 40))
    b = rng.standard_normal(1600).astype(np.float32)
    M = amg(A.astype(np.float32), rng=SEED)
    assert M.dtype == np.float32
    assert (M @ b).dtype == np.float32
    assert solve(A, M, b, rtol=1e-6) <= 12
    # S r alone leaves the range of single precision beyond 1e-76 and 1e76.
    for unit in (1e-300, 1e-100, 1e-60, 1e60, 1e100, 1e300):
        M = amg(unit * A, precision="float32", rng=SEED)
        assert solve(A, sla.aslinearoperator(unit * M), rng.standard_normal(1600)) <= 12


def test_complex_hermitian(small_coarse, rng):
    A = gallery.poisson((24, 24))
    phase = sp.diags_array(np.exp(2j * np.pi * rng.random(576)))
    H = sp.csr_array(phase @ A @ phase.conj())
    H = 0.5 * (H + H.conj().T)
    M = amg(H, near_null=phase.diagonal()[:, None], rng=SEED)
    assert len(M.report.levels) >= 3
    dense = M @ np.eye(576, dtype=complex)
    assert np.abs(dense - dense.conj().T).max() <= 1e-13 * np.abs(dense).max()
    assert np.linalg.eigvalsh(dense)[0] > 0
    b = rng.standard_normal(576) + 1j * rng.standard_normal(576)
    assert solve(H, M, b) <= 12


def test_real_hierarchies_take_complex_and_integer_vectors_and_blocks(small_coarse, rng):
    M = amg(gallery.poisson((20, 20)), rng=SEED)
    X = rng.standard_normal((400, 3))
    columns = np.column_stack([M @ x for x in X.T])
    assert np.array_equal(M @ X, columns)
    assert np.allclose(M @ (X[:, 0] + 1j * X[:, 1]), columns[:, 0] + 1j * columns[:, 1])
    assert np.allclose(M @ np.ones(400, dtype=int), M @ np.ones(400))
    assert M.H is M or np.array_equal(M.H @ X, columns)


def test_near_null_vectors_and_blocks(rng):
    A = gallery.elasticity((12, 12))
    places = np.stack(np.meshgrid(np.arange(1, 13), np.arange(13), indexing="ij"), -1).reshape(
        -1, 2
    )
    modes = np.zeros((len(places), 2, 3))
    modes[:, 0, 0] = modes[:, 1, 1] = 1.0
    modes[:, 0, 2], modes[:, 1, 2] = -places[:, 1], places[:, 0]
    M = amg(A.tobsr((2, 2)), near_null=modes.reshape(-1, 3), rng=SEED)
    assert solve(A, M, rng.standard_normal(A.shape[0])) <= 20


def test_singular_matrices_are_solved_in_their_range(small_coarse, rng):
    A = gallery.graph_laplacian(gallery.grid_graph((30, 30)))
    M = amg(A, rng=SEED)
    b = rng.standard_normal(900)
    b -= b.mean()
    assert solve(A, M, b) <= 20


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("coarse", [12, 300])
def test_graphs_of_many_components(precision, coarse, monkeypatch):
    """Each is a null vector, of which coarser levels hold rounding errors of either sign."""
    for module in ("hierarchy", "amg"):
        monkeypatch.setattr(f"spectool.preconditioners.{module}.COARSE", coarse)
    several = 0
    for seed in range(SEED, SEED + 20):
        rng = np.random.default_rng(seed)
        n = int(rng.choice([30, 120, 400]))
        W = sp.random_array((n, n), density=rng.choice([1.0, 2.0, 4.0]) / n, rng=rng)
        W = W + W.T
        W = W - sp.diags_array(W.diagonal())
        unit = rng.choice([1e-80, 1.0, 1e80])
        A = sp.csr_array(unit * (sp.diags_array(W.sum(axis=1)) - W))
        M = amg(A, precision=precision, rng=seed)
        several += len(M.report.levels) > 1
        dense = M @ np.eye(n)
        s = 1.0 / np.sqrt(dense.diagonal())
        lam = np.linalg.eigvalsh(s[:, None] * dense * s)
        assert lam[0] > 0
        b = A @ rng.standard_normal(n)
        for solver in (st.cg, st.minres):
            assert solver(A, b, M=M, rtol=1e-8).converged
    assert several >= 5


@pytest.mark.parametrize("n", [1, 400])
@pytest.mark.parametrize("stored", [False, True])
def test_the_zero_matrix_is_refused(n, stored):
    A = sp.diags_array(np.zeros(n), format="csr") if stored else sp.csr_array((n, n))
    with pytest.raises(NotPositiveDefiniteError, match="A is zero"):
        st.preconditioner(A, base="amg")


def test_single_precision_keeps_ill_conditioned_coarse_levels_definite():
    for seed in range(SEED, SEED + 10):
        lam = 10.0 ** -np.random.default_rng(seed).uniform(0, 10, 150)
        A = st.gallery.random_spectrum(lam, rounds=3, rng=seed)
        coarse = amg(A, precision="float32", rng=seed).cycle.coarse
        assert np.linalg.eigvalsh(coarse.astype(np.float64))[0] > 0


def test_small_matrices_are_inverted(rng):
    A = gallery.poisson((9, 9))
    M = amg(A, rng=SEED)
    assert [level.degree for level in M.report.levels] == [0]
    assert np.allclose(M @ A.toarray(), np.eye(81))
    assert np.allclose(amg(sp.csr_array([[4.0]])) @ [8.0], [2.0])


def test_pickles_and_seeds(small_coarse, rng):
    A = gallery.poisson((20, 20))
    r = rng.standard_normal(400)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    M, twin, other = amg(A, rng=1), amg(A, rng=1), amg(A, rng=2)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    z = M @ r
    assert np.array_equal(twin @ r, z)
    assert 0 < np.linalg.norm(other @ r - z) <= 1e-2 * np.linalg.norm(z)
    copy = pickle.loads(pickle.dumps(M))
    assert np.array_equal(copy @ r, z)
    assert copy.n_matvecs == M.n_matvecs + M.report.levels[0].degree * 2


def test_concurrent_applications(small_coarse, rng):
    M = amg(gallery.poisson((50, 50)), rng=SEED)
    X = rng.standard_normal((4, 2500))
    truth = [M @ x for x in X]
    wrong = []

    def work(x, z):
        wrong.extend(1 for _ in range(20) if not np.array_equal(M @ x, z))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(X, truth, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_counts_and_report(small_coarse):
    A = gallery.poisson((40, 40))
    M = amg(A, degree=4, rng=SEED)
    report = M.report
    assert 0 < report.n_matvecs <= 24
    assert M.n_matvecs == report.n_matvecs
    M @ np.ones(1600)
    M @ np.ones((1600, 2))
    assert M.n_matvecs == report.n_matvecs + 3 * 2 * 4
    assert report.levels[0].n == 1600
    assert report.levels[0].nnz == A.nnz
    assert report.work > 8
    assert report.operator_complexity == pytest.approx(sum(x.nnz for x in report.levels) / A.nnz)
    assert "degree 4" in str(report)
    assert "solved" in str(report)
    assert "levels" in repr(M)


def test_upper_ends_are_safe(small_coarse):
    for A in matrices().values():
        ml = hierarchy(A)
        M = accelerate(ml, rng=SEED)
        for level, facts in zip(ml.levels, M.report.levels[:-1], strict=False):
            B = level.A.toarray()
            s = 1.0 / np.sqrt(np.diag(B))
            largest = np.linalg.eigvalsh(s[:, None] * B * s)[-1]
            assert largest <= facts.upper * (1 + 1e-12) <= 1.5 * largest


class Fake:
    """A hierarchy that a user brings."""

    def __init__(self, *levels):
        self.levels = [type("Level", (), level) for level in levels]


def test_unsymmetric_hierarchies_are_refused(small_coarse):
    A = gallery.poisson((20, 20))
    ml = hierarchy(A)
    ml.levels[0].R = 2 * ml.levels[0].R
    with pytest.raises(InputError, match="R must be the adjoint of P"):
        accelerate(ml)
    B = gallery.convection_diffusion((20, 20))
    with pytest.raises(InputError, match=r"level 0 .* must be Hermitian"):
        accelerate(pyamg.smoothed_aggregation_solver(B, symmetry="nonsymmetric"))
    P = sp.csr_array(np.kron(np.eye(200), [[1.0], [1.0]]))
    given = {"A": A, "P": P}
    accelerate(Fake(given, {"A": P.T @ A @ P}))  # R is not needed
    with pytest.raises(InputError, match="P of shape"):
        accelerate(Fake({"A": A}, {"A": P.T @ A @ P}))
    with pytest.raises(InputError, match="P of shape"):
        accelerate(Fake({"A": A, "P": P[:, :7]}, {"A": P.T @ A @ P}))


def test_indefinite_levels_are_refused(small_coarse):
    A = gallery.poisson((20, 20))
    with pytest.raises(NotPositiveDefiniteError, match=r"level [01]"):
        amg(sp.csr_array(A - 3.0 * sp.eye_array(400)))
    with pytest.raises(NotPositiveDefiniteError, match=r"a\[0, 0\] = -4"):
        accelerate(Fake({"A": -A}))
    with pytest.raises(NotPositiveDefiniteError, match=r"a\[1, 1\] = 0"):
        accelerate(Fake({"A": sp.csr_array([[1.0, 2.0], [2.0, 0.0]])}))
    with pytest.raises(NotPositiveDefiniteError, match="eigenvalue"):
        accelerate(Fake({"A": sp.csr_array([[1.0, 2.0], [2.0, 1.0]])}))


def test_bad_input_is_refused():
    A = gallery.poisson((8, 8))
    for degree in (1, 0, -1, 65, 2.5, True):
        with pytest.raises(InputError, match="degree"):
            amg(A, degree=degree)
    with pytest.raises(InputError, match="precision"):
        amg(A, precision="half")
    with pytest.raises(InputError, match="near_null"):
        amg(A, near_null=np.ones(64))
    with pytest.raises(InputError, match="sparse"):
        amg(A.toarray())
    with pytest.raises(InputError, match="finite"):
        amg(sp.csr_array([[1.0, 0.0], [0.0, np.inf]]))
    with pytest.raises(InputError, match="levels"):
        accelerate(A)
    with pytest.raises(InputError, match="levels"):
        accelerate(Fake())


def test_a_large_coarsest_level_is_refused(monkeypatch):
    monkeypatch.setattr("spectool.preconditioners.hierarchy.LARGEST_COARSE", 350)
    with pytest.raises(InputError, match="coarsest level has 400"):
        accelerate(Fake({"A": gallery.poisson((20, 20))}))


def test_without_pyamg(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyamg", None)
    with pytest.raises(BackendUnavailableError, match=r'pip install "spectool\[amg\]"'):
        amg(gallery.poisson((8, 8)))


def test_smoothing_from_an_iterate_is_the_same_polynomial(rng):
    """The affine steps read off q have the residuals of ``x + q(A) (r - A x)``."""
    from spectool.backends.multigrid import _from_iterate, _from_nothing

    z, start, r = 1.3, 0.7, 2.0
    for q in (fourth_kind_inverse(2.0, 5), chebyshev_inverse((0.2, 2.0), 4)):
        m = q.degree + 1
        a, b, c, w = _from_iterate(q)
        x, later = start, 0.0
        for k in range(m - 1, -1, -1):
            x, later = w[k] * r + (a[k] * z + b[k]) * x + c[k + 1] * later, x
        assert x == pytest.approx(start + q(z) * (r - z * start), rel=1e-13)
        a, b, c, w = _from_nothing(q)
        longer = st.polynomials.Recurrence(a, b, c, w, q.interval)
        assert longer(z) == pytest.approx(1 - z * q(z), rel=1e-12)


@pytest.mark.parametrize("form", ["dia", "sell", "bsr", "half"])
def test_every_format_runs_the_same_cycle(form, small_coarse, monkeypatch, rng):
    from spectool.backends import multigrid

    ml = hierarchy(gallery.jump((30, 30)))
    r = rng.standard_normal(900)
    truth = accelerate(ml, rng=SEED) @ r
    chosen = multigrid.choose

    def forced(A, execution, products):
        fine = st.Execution(format=form) if A.shape[0] == 900 else execution
        return chosen(A, fine, products)

    monkeypatch.setattr(multigrid, "choose", forced)
    monkeypatch.setattr(multigrid, "SERIAL_BELOW", 0)
    for degree in (2, 3):
        M = accelerate(ml, degree=degree, rng=SEED)
        assert M.report.levels[0].execution.startswith(form)
        if degree == 3:
            assert np.linalg.norm(M @ r - truth) <= 1e-12 * np.linalg.norm(truth)
        x, y = rng.standard_normal((2, 900))
        assert y @ (M @ x) == pytest.approx(x @ (M @ y), rel=1e-9)
