"""``general_preconditioner`` in front of scipy's gmres; scalings of general matrices."""

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from scipy import sparse

import spectool as st
from spectool.errors import BreakdownError, InputError
from spectool.operators import as_operator
from spectool.operators.scaling import equilibrate
from spectool.preconditioners.general import general_preconditioner
from spectool.preconditioners.gmres_polynomial import predicted_steps

SEED = 918_273_645


def convection(n=24, wind=0.7):
    """Upwind-free convection diffusion, shape (n^2, n^2)."""
    one = sparse.diags_array([-1.0 - wind, 2.0, -1.0 + wind], offsets=[-1, 0, 1], shape=(n, n))
    eye = sparse.eye_array(n)
    return sparse.csr_array(sparse.kron(one, eye) + sparse.kron(eye, one))


def badly_scaled(n=24):
    """The same with shuffled rows in many units: no diagonal to speak of."""
    rng = np.random.default_rng(SEED)
    units = sparse.diags_array(10.0 ** rng.uniform(-4, 4, n * n))
    return sparse.csr_array((units @ convection(n))[rng.permutation(n * n)])


def operator(A):
    return as_operator(A, assume_a="gen", need_hermitian=False)


def made(A, **options):
    return general_preconditioner(operator(A), **{"rng": SEED, **options})


def solved(A, M, *, rtol=1e-8, **options):
    b = np.random.default_rng(SEED + 1).standard_normal(A.shape[0]).astype(A.dtype)
    count = []
    x, info = sla.gmres(
        A, b, M=M, restart=30, rtol=rtol, callback=count.append, callback_type="pr_norm", **options
    )
    ok = info == 0 and np.linalg.norm(b - A @ x) <= 1.1 * rtol * np.linalg.norm(b)
    return ok, len(count)


@pytest.mark.parametrize("name", ["HB/west0067", "HB/arc130", "HB/fs_183_1", "pyamg/recirc_flow"])
def test_real_matrices(name):
    A = st.collection.load(name)
    ok, iterations = solved(A, made(A), maxiter=2)
    assert ok
    assert iterations <= 40


def test_fewer_iterations_than_jacobi():
    A = convection()
    M = made(A)
    ok, iterations = solved(A, M)
    plain, many = solved(A, made(A, method="jacobi"))
    assert ok
    assert plain
    assert 6 * iterations <= many
    assert M.recurrence.degree >= 8
    assert M.report.n_matvecs <= 64 + M.recurrence.degree + 1


@pytest.mark.parametrize("stored", ["csr", "dense", "operator"])
def test_inputs_of_every_kind(stored):
    A = convection(12)
    given = {"csr": A, "dense": A.toarray(), "operator": sla.aslinearoperator(A)}[stored]
    M = made(given)
    assert solved(A, M)[0]
    assert (M.equilibration is None) == (stored == "operator")


def test_scaling_recovers_shuffled_rows():
    A = badly_scaled()
    assert not solved(A, made(A, method="jacobi"), maxiter=20)[0]
    ok, iterations = solved(A, made(A), maxiter=2)
    reference = solved(convection(), made(convection()))[1]
    assert ok
    assert iterations <= 3 * reference


def test_matrix_of_the_operator():
    A = badly_scaled(6)
    M = made(A)
    E, q = M.equilibration, M.recurrence
    B = E.left[:, None] * A.toarray()[E.rows] * E.right
    S = np.zeros_like(B)
    S[np.arange(36), E.rows] = E.left
    Q = operator(B).apply(q, np.eye(36), order="forward")
    np.testing.assert_allclose(M @ np.eye(36), E.right[:, None] * Q @ S, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("A", [convection(8), badly_scaled(8), convection(8).toarray()])
@pytest.mark.parametrize("method", ["auto", "jacobi", "none"])
def test_adjoint(A, method, rng):
    M = made(A, method=method)
    X, Y = rng.standard_normal((2, 64, 3))
    np.testing.assert_allclose(Y.T @ (M @ X), (M.H @ Y).T @ X, rtol=1e-9)
    np.testing.assert_allclose(M.rmatvec(Y[:, 0]), M.T @ Y[:, 0])
    before = M.n_matvecs
    M.H @ Y
    assert M.n_matvecs == before + 3 * M.recurrence.degree


def test_adjoint_of_an_operator_and_of_complex_scaling(rng):
    A = convection(8)
    M = made(sla.aslinearoperator(A))
    x, y = rng.standard_normal((2, 64))
    np.testing.assert_allclose(y @ (M @ x), (M.H @ y) @ x, rtol=1e-10)
    C = made(A + 0.5j * sparse.eye_array(64))
    np.testing.assert_allclose(np.vdot(y, C @ x), np.vdot(C.H @ y, x), rtol=1e-10)


def test_complex_gets_a_scaling_or_an_error():
    A = sparse.csr_array(convection(10) * (1 + 0.3j))
    M = made(A)
    assert M.recurrence.degree == 0
    assert M.dtype == complex
    assert "complex" in M.report.reason
    np.testing.assert_allclose(np.diagonal(M @ A.toarray()).imag, 0.0, atol=1e-14)
    assert solved(A, M)[0]
    with pytest.raises(InputError, match="real system"):
        made(A, method="gmres_poly")


def test_complex_vectors_of_a_real_matrix(rng):
    M = made(convection(8))
    x, y = rng.standard_normal((2, 64))
    np.testing.assert_allclose(M @ (x + 1j * y), M @ x + 1j * (M @ y), atol=1e-12)


def test_single_precision():
    A = convection(16).astype(np.float32)
    M = made(A)
    assert (M @ np.ones(256, dtype=np.float32)).dtype == np.float32
    ok, iterations = solved(A, M, rtol=1e-4)
    assert ok
    assert iterations <= 15


@pytest.mark.parametrize("degree", [1, 5, 16, 40])
def test_degree_is_kept(degree):
    M = made(convection(), degree=degree)
    assert degree - 3 <= M.recurrence.degree <= degree
    x = np.ones(576)
    before = M.n_matvecs
    M @ x
    assert M.n_matvecs == before + M.recurrence.degree


def test_same_seed_same_bits():
    A = convection(10)
    x = np.arange(100.0)
    first, second = made(A) @ x, made(A) @ x
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, made(A, rng=SEED + 1) @ x)


def test_diagonal_and_order_one():
    d = np.array([2.0, -0.5, 1e-9, 1e9])
    M = made(sparse.diags_array(d, format="csr"))
    assert M.recurrence.degree == 0
    np.testing.assert_allclose(M @ d, np.ones(4), rtol=1e-12)
    np.testing.assert_allclose(made(np.array([[-4.0]])) @ np.ones(1), [-0.25])


def test_zero_and_singular_matrices_fall_back_to_a_scaling():
    M = made(sparse.csr_array((5, 5)))
    assert M.recurrence.degree == 0
    np.testing.assert_array_equal(M @ np.ones(5), np.ones(5))
    with pytest.raises(BreakdownError, match="no polynomial"):
        made(np.zeros((5, 5)), method="gmres_poly")
    turn = sla.LinearOperator((2_000, 2_000), matvec=lambda x: np.roll(x, 1), dtype=np.float64)
    M = made(turn)  # GMRES stagnates on a cyclic shift
    assert M.recurrence.degree == 0
    assert "left" in M.report.reason
    shift = np.roll(np.eye(50), 1, axis=0)
    assert solved(shift, made(shift))[0]  # the permutation solves it
    nilpotent = sparse.diags_array([np.ones(29)], offsets=[1], shape=(30, 30), format="csr")
    assert np.isfinite(made(nilpotent) @ np.ones(30)).all()


def test_a_nonnormal_matrix_is_not_made_worse(rng):
    A = np.triu(rng.standard_normal((80, 80)), 1) + np.eye(80)
    M = made(A)
    x = rng.standard_normal(80)
    scaled = made(A, degree=0)
    assert np.linalg.norm(M @ (A @ x) - x) <= 1e3 * np.linalg.norm(scaled @ (A @ x) - x)


def test_jacobi_and_none():
    A = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, -4.0]])
    np.testing.assert_array_equal(made(A, method="jacobi") @ np.ones(3), [0.5, 1.0, -0.25])
    np.testing.assert_array_equal(made(A, method="none") @ np.ones(3), np.ones(3))
    assert made(A, method="jacobi").n_matvecs == 0


def test_not_finite_products():
    A = sla.LinearOperator((4, 4), matvec=lambda x: x * np.nan, dtype=np.float64)
    with pytest.raises(BreakdownError, match="not finite"):
        made(A)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "ilu"}, "method"),
        ({"degree": -1}, "degree"),
        ({"degree": 2.5}, "degree"),
        ({"method": "jacobi", "degree": 3}, "degree 0"),
        ({"method": "gmres_poly", "degree": 0}, "at least 1"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(InputError, match=match):
        made(convection(4), **options)


def test_jacobi_needs_a_diagonal():
    with pytest.raises(InputError, match="diagonal"):
        made(sla.aslinearoperator(np.eye(3)), method="jacobi")


@pytest.mark.parametrize("kind", ["csr", "dense", "complex"])
def test_equilibration_has_unit_diagonal_and_balanced_rows(kind):
    A = badly_scaled(10)
    A = A.toarray() if kind == "dense" else (A * (1 - 1j) if kind == "complex" else A)
    copy = A.copy()
    E = equilibrate(A)
    B = E.apply(A)
    B = B.toarray() if sparse.issparse(B) else B
    np.testing.assert_allclose(np.diagonal(B), 1.0, rtol=1e-12)
    off = np.abs(B - np.eye(100))
    assert off.max() < 3.0
    ratio = np.linalg.norm(off, axis=0) / np.linalg.norm(off, axis=1)
    assert 0.2 < ratio.min() <= ratio.max() < 5.0
    assert sorted(E.rows) == list(range(100))
    assert (E.right > 0).all()
    assert (abs(A - copy)).max() == 0


def test_equilibration_of_explicit_zeros_and_empty_rows():
    A = sparse.csr_array(([0.0, 2.0, 3.0], ([0, 0, 2], [0, 1, 2])), shape=(3, 3))
    E = equilibrate(A)
    np.testing.assert_array_equal(E.rows, [0, 1, 2])
    assert np.isfinite(E.left).all()
    assert np.isfinite(E.right).all()
    assert A.nnz == 3


def test_predicted_steps():
    norms = 10.0 ** -np.arange(1.0, 7.0)
    assert predicted_steps(norms[:4]) == pytest.approx(8.0)
    assert predicted_steps(10.0 ** (-3.0 * np.arange(1, 5))) == 3.0
    assert predicted_steps(np.ones(4)) == np.inf
