"""f(A) b of torch tensors: values of the NumPy verb, gradients of dense differentiation."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import spectool as st
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError
from spectool.functions.derivatives.divided_differences import divided_differences
from spectool.functions.scalar import as_scalar_function

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
stt = pytest.importorskip("spectool.torch", reason="the torch extra is not installed")

# torch says once that it may change its CSR tensors.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
LAYOUTS = ["dense", "coo", "csr"]
DEVICES = ["kernels", "torch"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """Where products run: our kernels, or torch operations as on an accelerator."""
    if request.param == "torch":
        monkeypatch.setattr(stt.functions, "HOST", ())
    return request.param


def laid_out(D, layout, pattern=None):
    """The matrix D as a tensor of this layout, with D's own gradient behind it."""
    if layout == "dense":
        return D
    if pattern is None:
        pattern = D.detach() != 0
    index = pattern.nonzero().T
    values = D[index[0], index[1]]
    if layout == "coo":
        return torch.sparse_coo_tensor(index, values, D.shape, check_invariants=False)
    crow = torch.zeros(len(D) + 1, dtype=torch.int64)
    crow[1:] = torch.bincount(index[0], minlength=len(D)).cumsum(0)
    return torch.sparse_csr_tensor(crow, index[1], values, D.shape, check_invariants=False)


def problem(n, *, complex_entries=False, seed=602214076):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) + 1j * complex_entries * rng.standard_normal((n, n))
    keep = rng.random((n, n)) < 0.4
    A = np.where(keep | keep.T | np.eye(n, dtype=bool), A + A.conj().T, 0)
    A += (0.5 - np.linalg.eigvalsh(A)[0]) * np.eye(n)
    B = rng.standard_normal((2, n, 2)) + 1j * complex_entries * rng.standard_normal((2, n, 2))
    return (A, *B) if complex_entries else (A.real, *B.real)


def dense_gradient(f, A, B, G, t=1.0):
    """Hermitian part of the derivative of Re <G, f(tA) B> by Daleckii and Krein."""
    lam, U = np.linalg.eigh(A)
    F = t * divided_differences(as_scalar_function(f), t * lam, t * lam)
    D = U @ (F.conj() * (U.conj().T @ G @ B.conj().T @ U)) @ U.conj().T
    return 0.5 * (D + D.conj().T)


def dense_product(f, A, B, t=1.0):
    lam, U = np.linalg.eigh(A)
    return (U * as_scalar_function(f)(t * lam)) @ (U.conj().T @ B)


def pulled_back(f, A, B, G, layout="csr", **options):
    """y, and the gradients of the leaf tensors A and b, as arrays."""
    leaf = laid_out(torch.as_tensor(A), layout).requires_grad_()
    b = torch.as_tensor(B).requires_grad_()
    y = stt.funm_multiply(f, leaf, b, **options)
    y.backward(torch.as_tensor(G).to(y.dtype))
    assert leaf.grad.layout == leaf.layout
    grad = leaf.grad.to_dense() if layout != "dense" else leaf.grad
    return y.detach().numpy(), grad.numpy(), b.grad.numpy()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("f", ["exp", "invsqrt", lambda z: z**2 * np.exp(-z)])
def test_gradcheck_real(layout, f, device):
    A, B, _ = problem(4)
    pattern = torch.as_tensor(A != 0)

    def function(D, b, t):
        symmetric = laid_out(0.5 * (D + D.mT), layout, pattern)
        return stt.funm_multiply(f, symmetric, b, rtol=1e-12, t=t)

    D = torch.as_tensor(A).requires_grad_()
    b = torch.as_tensor(B).requires_grad_()
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (D, b, t))


@pytest.mark.parametrize("layout", ["dense", "coo"])  # torch builds no differentiable complex CSR
@pytest.mark.parametrize(("f", "t"), [("sqrt", 0.7), ("exp", 0.3 - 0.7j), ("sinc", 1.0j)])
def test_gradcheck_complex(layout, f, t, device):
    A, B, _ = problem(3, complex_entries=True)
    pattern = torch.as_tensor(A != 0)

    def function(D, b, t):
        hermitian = laid_out(0.5 * (D + D.mH), layout, pattern)
        return stt.funm_multiply(f, hermitian, b, rtol=1e-12, t=t)

    D = torch.as_tensor(A).requires_grad_()
    b = torch.as_tensor(B[:, 0]).contiguous().requires_grad_()
    kind = torch.complex128 if isinstance(t, complex) else torch.float64
    t = torch.tensor(t, dtype=kind, requires_grad=True)
    assert torch.autograd.gradcheck(function, (D, b, t))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("f", ["exp", "sqrt", "log", "inv"])
def test_gradient_of_stored_entries(layout, f, device):
    """The leaf's gradient: Hermitian, on the pattern only, that of (A + A*) / 2."""
    A = st.gallery.poisson((9, 10)).toarray()
    rng = np.random.default_rng(161803398)
    B, G = rng.standard_normal((2, 90, 3))
    B[:, 1], G[:, 2] = 0.0, 0.0
    t = -2.0 if f == "exp" else 1.0
    y, gradient, grad_b = pulled_back(f, A, B, G, layout, t=t)
    reference = dense_gradient(f, A, B, G, t)
    size = np.linalg.norm(reference)
    if layout != "dense":
        reference = np.where(A != 0, reference, 0)
    # rtol of the default is 1e-8, for each of three columns.
    assert np.linalg.norm(gradient - reference) <= 3e-8 * size
    assert_allclose(gradient, gradient.T, rtol=0, atol=1e-14 * size)
    for found, of in ((y, B), (grad_b, G)):
        expected = dense_product(f, A, of, t)
        assert np.linalg.norm(found - expected) <= 3e-8 * np.linalg.norm(expected)
    assert not y[:, 1].any()
    assert not grad_b[:, 2].any()


def test_one_parameter_in_both_triangles(device):
    # An edge weight of a graph fills four entries; the chain rule adds them up.
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    ends = torch.tensor([[0, 1, 2], [1, 2, 3]])
    b = torch.tensor([1.0, -1.0, 2.0, 0.5], dtype=torch.float64)

    def heat(weights):
        i, j = ends
        index = torch.stack([torch.cat([i, j, i, j]), torch.cat([j, i, i, j])])
        values = torch.cat([-weights, -weights, weights, weights])
        L = torch.sparse_coo_tensor(index, values, (4, 4), check_invariants=False)
        return stt.funm_multiply("exp", L, b, t=-0.4, rtol=1e-12)

    assert torch.autograd.gradcheck(heat, (weights,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_numpy_verb(dtype, layout, device):
    A, B, _ = problem(30, complex_entries=dtype.is_complex)
    A, B = torch.as_tensor(A).to(dtype), torch.as_tensor(B).to(dtype)
    tolerance = 1e-7 if dtype == torch.float64 else 1e-3
    for b in (B, B[:, 0]):
        y = stt.funm_multiply("sqrt", laid_out(A, layout), b)
        assert y.dtype == dtype
        assert y.shape == b.shape
        assert not y.requires_grad
        expected = dense_product("sqrt", A.numpy().astype(complex), b.numpy())
        assert_allclose(y.numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_types_meet_as_in_torch(device):
    A, B, _ = problem(8)
    A, b = torch.as_tensor(A), torch.as_tensor(B[:, 0])
    assert stt.funm_multiply("exp", A, b, t=0.1j).dtype == torch.complex128
    assert stt.funm_multiply("exp", A.float(), b).dtype == torch.float64
    assert stt.funm_multiply(lambda z: np.exp(1j * z), A, b).dtype == torch.complex128
    # The gradients of real tensors are real, whatever came between.
    A, b = A.requires_grad_(), b.requires_grad_()
    y = stt.funm_multiply("exp", A, b, t=-1j)
    (y.abs() ** 2 * torch.arange(8)).sum().backward()
    assert A.grad.dtype == b.grad.dtype == torch.float64
    G = 2 * torch.arange(8) * y.detach()
    reference = dense_gradient("exp", A.detach().numpy(), b.detach().numpy()[:, None],
                               G.numpy()[:, None], t=-1j)  # fmt: skip
    assert_allclose(A.grad, reference.real, rtol=0, atol=1e-7 * np.abs(reference).max())


def test_only_what_needs_a_gradient_gets_one(device):
    A, B, _ = problem(8)
    A, b = torch.as_tensor(A), torch.as_tensor(B).requires_grad_()
    stt.funm_multiply("exp", A, b).sum().backward()
    assert A.grad is None
    expected = dense_product("exp", A.numpy(), np.ones((8, 2)))
    assert_allclose(b.grad, expected, rtol=1e-6)
    t = torch.tensor(0.3, dtype=torch.float32, requires_grad=True)
    stt.funm_multiply("exp", A, b.detach(), t=t).sum().backward()
    assert t.grad.dtype == torch.float32
    expected = (A.numpy() @ dense_product("exp", A.numpy(), B, t.item())).sum()
    assert abs(float(t.grad) - expected) <= 1e-6 * abs(expected)


def test_gradient_descent_keeps_a_matrix_symmetric(device):
    A, B, _ = problem(6)
    A = torch.as_tensor(A).requires_grad_()
    wanted = torch.as_tensor(B[:, 0])
    losses = []
    for _ in range(5):
        A.grad = None
        loss = ((stt.funm_multiply("invsqrt", A, wanted) - wanted) ** 2).sum()
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            A -= 0.1 * A.grad
    assert losses == sorted(losses, reverse=True)
    assert torch.equal(A, A.mT)


def test_no_second_derivatives():
    A, B, _ = problem(4)
    A, b = torch.as_tensor(A).requires_grad_(), torch.as_tensor(B).requires_grad_()
    y = stt.funm_multiply("exp", A, b)
    gradients = torch.autograd.grad(y.sum(), [A, b], create_graph=True)
    for gradient in gradients:
        with pytest.raises(InputError, match="no second derivatives"):
            (gradient**2).sum().backward(retain_graph=True)


@pytest.mark.parametrize("unit", [1e150, 1e-150])
def test_scales_with_the_unit(unit, device):
    A, B, G = problem(12)
    y, gradient, grad_b = pulled_back("invsqrt", A, B, G, "dense")
    scaled = pulled_back("invsqrt", A * unit, B, G, "dense")
    # y ~ unit^(-1/2), its derivative in A ~ unit^(-3/2).
    assert_allclose(scaled[0] * unit**0.5, y, rtol=0, atol=1e-7 * np.abs(y).max())
    assert_allclose(scaled[2] * unit**0.5, grad_b, rtol=0, atol=1e-7 * np.abs(grad_b).max())
    size = np.abs(gradient).max()
    assert_allclose(scaled[1] * unit * unit**0.5, gradient, rtol=0, atol=1e-7 * size)


def test_small_and_empty(device):
    one = np.ones((1, 1))
    for found, expected in zip(pulled_back("sqrt", 4 * one, one, one), [2, 0.25, 2], strict=True):
        assert_allclose(found, [[expected]], rtol=1e-14)
    A = np.eye(3) + 0.0
    y, gradient, _ = pulled_back("exp", A, np.ones(3), np.arange(3.0))
    assert_allclose(y, np.e)
    assert_allclose(np.diag(gradient), np.e * np.arange(3.0), rtol=1e-14)
    shapes = [x.shape for x in pulled_back("exp", A, np.ones((3, 0)), np.ones((3, 0)))]
    assert shapes == [(3, 0), (3, 3), (3, 0)]
    zero, _, grad_b = pulled_back("exp", np.zeros((3, 3)), np.ones(3), np.ones(3), "dense")
    assert_allclose([zero, grad_b], 1.0)
    still, gradient, grad_b = pulled_back("exp", A, np.ones(3), np.ones(3), t=0.0)
    assert still.tolist() == grad_b.tolist() == [1, 1, 1]
    assert not gradient.any()


def test_many_columns_go_in_groups(monkeypatch, device):
    A, B, G = problem(20)
    expected = pulled_back("sqrt", A, B, G)
    monkeypatch.setattr(stt.functions, "BASIS_BYTES", 1)
    for found, reference in zip(pulled_back("sqrt", A, B, G), expected, strict=True):
        assert_allclose(found, reference, rtol=0, atol=1e-7 * np.abs(reference).max())


def test_says_when_it_has_not_converged(monkeypatch):
    A = st.gallery.poisson((400,)).toarray()
    b = np.ones(400)
    with pytest.warns(ConvergenceWarning) as caught:
        pulled_back("invsqrt", A, b, b, maxiter=12)
    ours = [w for w in caught if w.category is ConvergenceWarning]
    assert {str(warning.message).split(":")[0] for warning in ours} == {
        "funm_multiply",
        "gradient of funm_multiply",
    }
    monkeypatch.setattr(stt.functions, "HOST", ())
    with pytest.warns(ConvergenceWarning, match="funm_multiply: the error estimate"):
        stt.funm_multiply("invsqrt", torch.as_tensor(A), torch.as_tensor(b), maxiter=12)


def test_rounding_is_told(monkeypatch):
    # log is ill-conditioned at 1, and exp(-100) lies below single precision's normal numbers.
    monkeypatch.setattr(stt.functions, "HOST", ())
    A = torch.diag(1 + torch.linspace(0, 1e-6, 6))
    b = torch.ones(6, requires_grad=True)
    for f, t in [("log", 1.0), ("exp", -100.0)]:
        with pytest.warns(ConvergenceWarning, match="^funm_multiply"):
            y = stt.funm_multiply(f, A, b, t=t)
        with pytest.warns(ConvergenceWarning, match="funm_multiply"):
            y.sum().backward()
    # sin is known well at its crest, its slope, zero there, is not.
    C = torch.diag(torch.full((3,), float(np.pi / 2))).requires_grad_()
    y = stt.funm_multiply("sin", C, torch.ones(3))
    with pytest.warns(ConvergenceWarning, match="^gradient of"):
        y.sum().backward()


def test_says_what_is_wrong_anywhere(device):
    A, B, _ = problem(6)
    A, b = torch.as_tensor(A), torch.as_tensor(B[:, 0])
    with pytest.raises(InputError, match="must be Hermitian"):
        stt.funm_multiply("exp", A + torch.ones(6, 6).triu(1), b)
    with pytest.raises(NotPositiveDefiniteError, match="Ritz value"):
        stt.funm_multiply("log", A - 3 * torch.eye(6), b)
    with pytest.raises(InputError, match="must be finite"):
        stt.funm_multiply("exp", torch.full((6, 6), torch.nan, dtype=torch.float64), b)
    with pytest.raises(InputError, match="f must be finite"):
        stt.funm_multiply("exp", 1000 * A, b)


def test_says_what_is_wrong(monkeypatch):
    A, B, _ = problem(6)
    A, b = torch.as_tensor(A), torch.as_tensor(B[:, 0])
    with pytest.raises(InputError, match="A must be a torch tensor"):
        stt.funm_multiply("exp", A.numpy(), b)
    with pytest.raises(InputError, match="b must be a torch tensor"):
        stt.funm_multiply("exp", A, b.numpy())
    with pytest.raises(InputError, match="A must be square"):
        stt.funm_multiply("exp", A[:4], b)
    with pytest.raises(InputError, match=r"to_sparse_csr\(\)"):
        stt.funm_multiply("exp", A.to_sparse_csc(), b)
    with pytest.raises(InputError, match="data types"):
        stt.funm_multiply("exp", A.half(), b)
    with pytest.raises(InputError, match="b must be dense"):
        stt.funm_multiply("exp", A, b.to_sparse())
    with pytest.raises(InputError, match="b must have shape"):
        stt.funm_multiply("exp", A, b[:3])
    with pytest.raises(InputError, match="b must be finite"):
        stt.funm_multiply("exp", A, b * torch.inf)
    with pytest.raises(InputError, match="A's device"):
        stt.funm_multiply("exp", A, b.to("meta"))
    with pytest.raises(InputError, match="t must be one number"):
        stt.funm_multiply("exp", A, b, t=[1.0, 2.0])
    with pytest.raises(InputError, match="t must be a number"):
        stt.funm_multiply("exp", A, b, t=torch.ones(2))
    with pytest.raises(InputError, match="t must be real"):
        stt.funm_multiply("sqrt", A, b, t=1j)
    with pytest.raises(InputError, match="rtol"):
        stt.funm_multiply("exp", A, b, rtol=2.0)
    monkeypatch.setattr(stt.functions, "HOST", ())
    with pytest.raises(InputError, match="'auto' or 'lanczos'"):
        stt.funm_multiply("exp", A, b, method="chebyshev")
    with pytest.raises(InputError, match="complex at some eigenvalues"):
        stt.funm_multiply(np.emath.sqrt, A - 3 * torch.eye(6), b)


def test_says_why_a_gradient_does_not_exist(device):
    A, B, _ = problem(6)
    A, b = torch.as_tensor(A).requires_grad_(), torch.as_tensor(B[:, 0])
    with pytest.raises(InputError, match=r"Write it without np\.abs"):
        stt.funm_multiply(np.abs, A, b).sum().backward()
    singular = torch.diag(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)).requires_grad_()
    y = stt.funm_multiply("sqrt", singular, torch.ones(3, dtype=torch.float64), rtol=1e-6)
    with pytest.raises(InputError, match="gradient is infinite"):
        y.sum().backward()


def in_a_fresh_process(source):
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_torch_is_imported_when_asked_for():
    used = "import spectool as st, sys; st.funm_multiply('exp', [[1.0]], [1.0])"
    assert in_a_fresh_process(f"{used}; print('torch' in sys.modules)") == "False\n"


def test_a_missing_torch_is_named():
    source = """
import sys
sys.modules["torch"] = None
try:
    import spectool.torch
except ImportError as error:
    print(type(error).__name__, error)
"""
    found = in_a_fresh_process(source)
    assert found.startswith("BackendUnavailableError")
    assert "pip install 'spectool[torch]'" in found
