"""Single precision inside M: where it is faster and costs no iteration, and only there."""

import numpy as np
import pytest
import scipy.sparse.linalg as sla

import spectool as st
from spectool.errors import ConvergenceWarning
from spectool.operators import as_operator
from spectool.planner import VirtualOperator
from spectool.planner.costs import StepRates
from spectool.planner.precision import single_is_safe

SEED = 530871962
EASY = st.gallery.jump((120, 110), 1e3, rng=SEED)
LOW = np.r_[10.0 ** -np.linspace(1, 6, 10), np.linspace(1, 2, 590)]
HARD = st.gallery.random_spectrum(LOW, rng=SEED)


def iterations(A, M, rtol=1e-8):
    b = np.random.default_rng(SEED).standard_normal(A.shape[0])
    return st.cg(A, b, M=M, rtol=rtol).check().n_iterations


@pytest.fixture
def rates(monkeypatch, fixed_costs):
    """Price single precision at a share of double; let every matrix be worth a choice."""
    for module in ("polynomial", "selection"):
        monkeypatch.setattr(f"spectool.preconditioners.{module}.WORTHWHILE", 0.0)
    monkeypatch.setattr("spectool.preconditioners.selection.FEWEST", 1)

    def price(share):
        def steps(_name, dtype):
            factor = share if dtype == "float32" else 1.0
            return StepRates(*(factor * rate for rate in (3e-10, 2e-10, 2e-10, 1e-5)))

        monkeypatch.setattr("spectool.planner.costs.format_rates", steps)

    return price


# -- what is chosen --------------------------------------------------------------------------


@pytest.mark.parametrize("A", [EASY, 1e-100 * st.gallery.poisson((120, 110))])
def test_single_precision_is_taken_where_it_is_predicted_to_pay(rates, A):
    rates(0.4)
    M = st.preconditioner(A, assume_a="pos", rng=SEED)
    double = st.preconditioner(A, precision="float64", rng=SEED)
    assert M.recurrence.degree
    assert (M.operator.dtype, double.operator.dtype) == (np.float32, np.float64)
    assert "in single precision" in M.report.reason
    assert "float32" in M.report.execution
    assert M.dtype == np.float64
    method = "chebyshev" if M.recurrence.name.startswith("Chebyshev") else "chebyshev4"
    options = {"method": method, "degree": M.recurrence.degree, "precision": "float64"}
    same = st.preconditioner(A, rng=SEED, **options)
    assert iterations(A, M) <= 1.05 * iterations(A, same) + 1


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_a_small_gain_is_left_alone(rates, share):
    rates(share)
    M = st.preconditioner(EASY, rng=SEED)
    assert M.recurrence.degree
    assert M.operator.dtype == np.float64
    assert "single" not in M.report.reason


def test_it_is_not_taken_where_it_would_cost_iterations(rates, monkeypatch):
    rates(0.1)
    M = st.preconditioner(HARD, rng=SEED)
    assert M.operator.dtype == np.float64
    single, double = (
        st.preconditioner(HARD, method="chebyshev", degree=8, precision=p, rng=SEED)
        for p in ("float32", "float64")
    )
    assert iterations(HARD, single, 1e-6) > 1.1 * iterations(HARD, double, 1e-6)
    # Nor where the size of A alone decided.
    monkeypatch.setattr("spectool.preconditioners.polynomial.SINGLE_FROM", 0)
    assert st.preconditioner(HARD, degree=8, rng=SEED).operator.dtype == np.float64
    assert st.preconditioner(EASY, degree=8, rng=SEED).operator.dtype == np.float32
    assert st.preconditioner(EASY, degree=8, precision="float64").operator.dtype == np.float64


def test_forced_designs_keep_the_precision_of_a_small_matrix(rates):
    rates(0.1)
    assert st.preconditioner(EASY, degree=8, rng=SEED).operator.dtype == np.float64
    assert st.preconditioner(EASY.astype(np.float32), rng=SEED).operator.dtype == np.float32


def test_the_same_seed_gives_the_same_bits(rates):
    rates(0.4)
    x = np.random.default_rng(SEED).standard_normal(EASY.shape[0])
    first, second = (st.preconditioner(EASY, rng=SEED) for _ in range(2))
    assert np.array_equal(first @ x, second @ x)


def test_positive_definite_to_its_rounding(rates):
    rates(0.4)
    A = st.gallery.jump((24, 25), 1e3, rng=SEED)
    M = st.preconditioner(A, precision="float32", degree=16, method="chebyshev", rng=SEED)
    D = M @ np.eye(A.shape[0])
    eps = np.finfo(np.float32).eps
    assert np.abs(D - D.T).max() <= 1e3 * eps * np.abs(D).max()
    lam = np.linalg.eigvalsh(0.5 * (D + D.T))
    assert lam[0] > 0


def test_what_decides():
    def safe(lam):
        spectrum = st.estimate_spectrum(np.diag(lam), rng=SEED)
        return single_is_safe(VirtualOperator.of(spectrum), lam.size)

    assert safe(np.linspace(1, 20, 400))
    assert not safe(np.geomspace(1, 1e6, 400))  # more steps than a quarter of n
    assert not safe(np.geomspace(1, 1e9, 400))  # condition beyond single precision


# -- promotion -------------------------------------------------------------------------------


def test_m_is_promoted_where_a_solve_gets_stuck():
    M = st.preconditioner(HARD, method="chebyshev", degree=8, precision="float32", rng=SEED)
    b = np.random.default_rng(SEED).standard_normal(600)
    with pytest.warns(ConvergenceWarning):
        solution = st.cg(HARD, b, M=M, rtol=1e-12)  # beyond what rounding lets x attain
    assert "M promoted to the precision of A" in solution.report
    assert M.operator.dtype == np.float32  # the caller's is left alone
    double = st.preconditioner(HARD, method="chebyshev", degree=8, rng=SEED)
    with pytest.warns(ConvergenceWarning):
        other = st.cg(HARD, b, M=double, rtol=1e-12)
    assert "promoted" not in other.report
    assert solution.residual_norm <= 10 * other.residual_norm


class Sloppy(sla.LinearOperator):
    """Products with A, wrong in the seventh digit until ``exact`` is set."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self.A, self.exact, self.rng = A, False, np.random.default_rng(SEED)

    def _matvec(self, x):
        y = self.A @ x.ravel()
        error = 1e-7 * np.linalg.norm(y) / y.size**0.5
        return y if self.exact else y + error * self.rng.standard_normal(y.size)

    def _adjoint(self):
        return self


class Promotable(sla.LinearOperator):
    """Jacobi; its promotion cures A, for CG's residual and x agree whatever M is."""

    def __init__(self, A, cured=None):
        super().__init__(np.float64, A.shape)
        self.inverse, self.cured, self.n_matvecs = 1.0 / A.diagonal(), cured, 0

    def _matvec(self, x):
        self.n_matvecs += 1
        return self.inverse * x.ravel()

    def _adjoint(self):
        return self

    def promoted(self, A):
        if self.cured is None:
            return None
        assert A.shape == self.shape
        self.cured.exact = True
        return Promotable(self.cured.A)


def test_a_solve_goes_on_with_the_promoted_m():
    grid = st.gallery.poisson((20, 20))
    A, b = Sloppy(grid), np.ones(400)
    M = Promotable(grid, cured=A)
    solution = st.cg(as_operator(A, assume_a="her"), b, M=M, rtol=1e-10).check()
    assert "M promoted to the precision of A at iteration" in solution.report
    assert np.linalg.norm(grid @ solution.x - b) <= 1.01e-10 * 20
    # Products inside both M are counted; those of A are the rest.
    assert M.n_matvecs < solution.n_iterations
    assert solution.n_matvecs >= 2 * solution.n_iterations
    noisy = as_operator(Sloppy(grid), assume_a="her")
    with pytest.warns(ConvergenceWarning):
        stuck = st.cg(noisy, b, M=Promotable(grid), rtol=1e-10)
    assert "promoted" not in stuck.report


def test_promoted_by_hand():
    M = st.preconditioner(EASY, method="chebyshev4", degree=8, precision="float32", rng=SEED)
    double = M.promoted(EASY)
    full = st.preconditioner(EASY, method="chebyshev4", degree=8, precision="float64", rng=SEED)
    x = np.random.default_rng(SEED).standard_normal(EASY.shape[0])
    np.testing.assert_allclose(double @ x, full @ x, rtol=0, atol=1e-12 * np.abs(full @ x).max())
    assert double.n_matvecs == 8
    assert "promoted to float64" in double.report.reason
    assert double.promoted(EASY) is None
    assert st.preconditioner(EASY, method="jacobi").promoted(EASY) is None
    grid = st.gallery.poisson((30, 30)) * 1e-120  # a unit that single precision cannot hold
    M = st.preconditioner(grid, degree=8, precision="float32", rng=SEED)
    y, z = M @ np.ones(900), M.promoted(grid) @ np.ones(900)
    np.testing.assert_allclose(y, z, rtol=0, atol=1e-5 * np.abs(z).max())
