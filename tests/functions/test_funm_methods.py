"""Methods that are not the first choice: rational, restarted, Arnoldi; all against dense truth."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg as sla
from scipy import sparse

import spectool as st
from spectool.errors import ConvergenceWarning, InputError, SpectoolError

SEED = 730182645
N = 300
DENSE = {
    "exp": scipy.linalg.expm,
    "cos": scipy.linalg.cosm,
    "sqrt": scipy.linalg.sqrtm,
    "log": scipy.linalg.logm,
    "inv": scipy.linalg.inv,
    "invsqrt": lambda A: scipy.linalg.inv(scipy.linalg.sqrtm(A)),
    "sign": scipy.linalg.signm,
    "power(0.3)": lambda A: scipy.linalg.fractional_matrix_power(A, 0.3),
}
SCALAR = {
    "sqrt": np.sqrt,
    "invsqrt": lambda z: z**-0.5,
    "log": np.log,
    "inv": lambda z: 1 / z,
    "power(0.3)": lambda z: z**0.3,
}


def error_of(y, truth):
    return np.linalg.norm(y - truth) / np.linalg.norm(truth)


def convection():
    """Eigenvalues in [0.3, 4.1], not normal."""
    bands = [np.full(N - 1, -1.3), np.full(N, 2.2), np.full(N - 1, -0.7)]
    return sparse.csr_array(sparse.diags_array(bands, offsets=[-1, 0, 1]))


def gaussian():
    """Eigenvalues in a disc of radius 0.4 around 1.5, almost normal."""
    rng = np.random.default_rng(SEED)
    return sparse.csr_array(1.5 * np.eye(N) + 0.4 * rng.standard_normal((N, N)) / N**0.5)


@pytest.fixture(scope="module")
def truths():
    """f(A) of both matrices, computed once."""
    found = {}
    for matrix in (convection, gaussian):
        A = matrix().toarray()
        for name, f in DENSE.items():
            found[matrix, name] = np.real_if_close(f(A))
    return found


@pytest.mark.parametrize("rtol", [1e-4, 1e-8])
@pytest.mark.parametrize(
    "options", [{}, {"method": "restarted", "max_memory": 30 * 8 * N}], ids=str
)
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("matrix", [convection, gaussian])
def test_general_matrices(matrix, name, options, rtol, truths):
    A = matrix()
    b = np.random.default_rng(SEED).standard_normal(N)
    solution = st.funm_multiply(name, A, b, rtol=rtol, **options)
    error = error_of(solution.y, truths[matrix, name] @ b)
    assert solution.converged
    assert error <= 10 * rtol
    # 1e-12: the dense truth's own error
    assert solution.error_estimate >= 0.1 * error - 1e-12


@pytest.mark.parametrize("kind", [sparse.csr_array, sla.aslinearoperator, lambda A: A.toarray()])
def test_general_blocks_times_and_forms(kind):
    A = convection()
    B = np.random.default_rng(SEED).standard_normal((N, 2)) * [1.0, 1e-40]
    times = [0.0, -0.5, -3.0]
    solution = st.funm_multiply("exp", kind(A), B, t=times, assume_a="gen")
    assert solution.y.shape == (3, N, 2)
    for t, y in zip(times, solution.y, strict=True):
        truth = scipy.linalg.expm(t * A.toarray()) @ B
        for j in range(2):
            assert error_of(y[:, j], truth[:, j]) <= 1e-7


def test_complex_general_matrix_and_complex_time():
    rng = np.random.default_rng(SEED)
    A = np.diag(np.linspace(1, 2, 60)) + 0.1 * (
        rng.standard_normal((60, 60)) + 1j * rng.standard_normal((60, 60))
    )
    b = rng.standard_normal(60)
    assert error_of(st.funm_multiply("log", A, b).y, scipy.linalg.logm(A) @ b) <= 1e-7
    y = st.funm_multiply("exp", A.real, b, t=2j).y
    assert error_of(y, scipy.linalg.expm(2j * A.real) @ b) <= 1e-7


@pytest.mark.parametrize("name", ["sqrt", "log", "invsqrt"])
def test_general_matrices_with_negative_eigenvalues_are_refused(name):
    A = np.triu(np.full((20, 20), 0.1))
    np.fill_diagonal(A, np.linspace(-2, 3, 20))
    with pytest.raises(SpectoolError, match=r"eigenvalue|Ritz value"):
        st.funm_multiply(name, A, np.ones(20))


def test_general_runs_respect_their_limits():
    A, b = convection(), np.random.default_rng(SEED).standard_normal(N)
    with pytest.warns(ConvergenceWarning):
        solution = st.funm_multiply("log", A, b, maxiter=15)
    assert not solution.converged
    assert solution.n_matvecs <= 16
    truth = scipy.linalg.logm(convection().toarray()).real @ b
    assert solution.error_estimate >= 0.1 * error_of(solution.y, truth)
    with pytest.raises(InputError, match="Hermitian"):
        st.funm_multiply("exp", A, b, method="lanczos")


@pytest.mark.parametrize("method", ["rational", "restarted"])
@pytest.mark.parametrize("cond", [1e2, 1e4])
@pytest.mark.parametrize("name", SCALAR)
def test_hermitian_alternatives(name, cond, method):
    lam = st.gallery.log_uniform(600, cond, rng=SEED)
    A = sparse.csr_array(sparse.diags_array(lam))
    B = np.random.default_rng(SEED).standard_normal((600, 2))
    options = {"max_memory": 40 * 8 * 600} if method == "restarted" else {}
    solution = st.funm_multiply(name, A, B, rtol=1e-7, method=method, rng=SEED, **options)
    truth = SCALAR[name](lam)[:, None] * B
    errors = [error_of(solution.y[:, j], truth[:, j]) for j in range(2)]
    assert solution.converged
    assert max(errors) <= 1e-6
    assert solution.error_estimate >= 0.1 * max(errors)
    assert method in solution.method
