"""Muon and Shampoo: slow dense references, torch's own optimizers, conventions of torch.optim."""

import copy
import io
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from spectool.errors import InputError

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
stt = pytest.importorskip("spectool.torch", reason="the torch extra is not installed")

SHAPES = {"matrix": (5, 3), "wide": (3, 7), "kernel": (4, 2, 3, 3), "vector": (6,), "scalar": ()}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def parameters(names, dtype=torch.float64, seed=472819365):
    rng = np.random.default_rng(seed)
    values = [torch.from_numpy(np.array(rng.standard_normal(SHAPES[name]))) for name in names]
    return [torch.nn.Parameter(value.to(dtype)) for value in values]


def gradients(params, steps, seed=829461537):
    """The same random gradients for every optimizer, as functions of the parameters."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in params:
            noise = torch.from_numpy(np.array(rng.standard_normal(tuple(p.shape))))
            p.grad = (torch.sin(p.detach().double()) + noise).to(p.dtype)
        yield


def run(optimizer, params, steps, **options):
    for _ in gradients(params, steps, **options):
        optimizer.step()
    return [p.detach().clone() for p in params]


def muon(names, **options):
    params = parameters(names, options.pop("parameter_dtype", torch.float64))
    groups = [
        {"params": [p for p in params if p.ndim > 1]},
        {"params": [p for p in params if p.ndim < 2], "use_muon": False, "lr": 1e-2},
    ]
    return stt.Muon([group for group in groups if group["params"]], **options), params


def shampoo(names, **options):
    params = parameters(names, options.pop("parameter_dtype", torch.float64))
    return stt.Shampoo(params, **options), params


BOTH = {"muon": muon, "shampoo": shampoo}


@pytest.fixture(params=BOTH)
def make(request):
    return BOTH[request.param]


# -- references ------------------------------------------------------------------------------


def polar(M):
    U, _, Vt = np.linalg.svd(M, full_matrices=False)
    return U @ Vt


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", [None, "original", "match_rms_adamw"])
@pytest.mark.parametrize("maximize", [False, True])
def test_muon_is_momentum_and_polar_factor(nesterov, adjust, maximize):
    names, lr, decay, momentum = ["matrix", "wide", "kernel"], 0.03, 0.2, 0.8
    optimizer, params = muon(
        names,
        lr=lr,
        weight_decay=decay,
        momentum=momentum,
        nesterov=nesterov,
        adjust_lr_fn=adjust,
        maximize=maximize,
        method="exact",
    )
    expected = [p.detach().numpy().copy() for p in params]
    buffers = [np.zeros_like(X) for X in expected]
    for _ in gradients(params, 4):
        for k, p in enumerate(params):
            G = p.grad.numpy() * (-1 if maximize else 1)
            buffers[k] = momentum * buffers[k] + (1 - momentum) * G
            M = momentum * buffers[k] + (1 - momentum) * G if nesterov else buffers[k]
            M = M.reshape(len(M), -1)
            m, n = M.shape
            scale = 0.2 * math.sqrt(max(m, n)) if adjust == "match_rms_adamw" else 1.0
            scale *= 1.0 if adjust == "match_rms_adamw" else math.sqrt(max(1, m / n))
            step = (lr * scale * polar(M)).reshape(expected[k].shape)
            expected[k] = (1 - lr * decay) * expected[k] - step
        optimizer.step()
        for p, X in zip(params, expected, strict=True):
            assert_allclose(p.detach().numpy(), X, atol=1e-11)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_follows_torchs_muon():
    """Both orthogonalize roughly; with the exact factor in both places they would be equal."""
    options = {"lr": 0.02, "weight_decay": 0.3, "momentum": 0.9}
    theirs = parameters(["matrix"], torch.float32)
    optimizer, ours = muon(["matrix"], method="muon", parameter_dtype=torch.float32, **options)
    start = ours[0].detach().clone()
    (A,) = run(torch.optim.Muon(theirs, **options), theirs, 5)
    (B,) = run(optimizer, ours, 5)
    # Each factor's singular values are in [0.66, 1.21].
    assert (A - B).norm() <= 0.4 * (A - start).norm()
    assert optimizer.state_dict()["state"][0].keys() == {"momentum_buffer"}


def test_what_is_not_muon_is_torchs_adamw():
    options = {"lr": 3e-3, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}
    ours, theirs = (parameters(["vector", "scalar", "matrix"]) for _ in range(2))
    expected = run(torch.optim.AdamW(theirs, **options), theirs, 6)
    found = run(stt.Muon(ours, use_muon=False, **options), ours, 6)
    for A, B in zip(expected, found, strict=True):
        assert_allclose(B.numpy(), A.numpy(), rtol=1e-12)


def inverse_root(S, p, eps):
    lam, Q = np.linalg.eigh(S)
    return (Q * (np.maximum(lam, 0) + eps * np.abs(S).sum(1).max()) ** (-1 / p)) @ Q.T


@pytest.mark.parametrize("beta2", [1.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("freq", [1, 3])
@pytest.mark.parametrize("root", [None, 2])
def test_shampoo_is_two_inverse_roots(beta2, nesterov, freq, root):
    names, lr, decay, momentum, eps = ["matrix", "kernel", "vector"], 0.03, 0.2, 0.8, 1e-3
    optimizer, params = shampoo(
        names,
        lr=lr,
        momentum=momentum,
        weight_decay=decay,
        nesterov=nesterov,
        beta2=beta2,
        eps=eps,
        root=root,
        update_freq=freq,
    )
    expected = [p.detach().numpy().copy() for p in params]
    L, R, left, right, buffers = ([0.0] * 3 for _ in range(5))
    for step, _ in enumerate(gradients(params, 5), 1):
        for k, p in enumerate(params):
            G = p.grad.numpy().reshape(len(p), -1)
            weight = 1.0 if beta2 == 1.0 else 1 - beta2
            L[k] = beta2 * L[k] + weight * G @ G.T
            R[k] = beta2 * R[k] + weight * G.T @ G
            seen = 1.0 if beta2 == 1.0 else 1 - beta2**step
            if (step - 1) % freq == 0:
                order = root or (2 if p.ndim == 1 else 4)
                left[k] = inverse_root(L[k] / seen, order, eps)
                right[k] = inverse_root(R[k] / seen, order, eps) if p.ndim > 1 else np.eye(1)
            M = left[k] @ G @ right[k]
            if root is None:
                M *= min(1.0, math.sqrt(min(M.shape) * seen / weight) / np.linalg.norm(M))
            buffers[k] = momentum * buffers[k] + M
            M = M + momentum * buffers[k] if nesterov else buffers[k]
            expected[k] = (1 - lr * decay) * expected[k] - lr * M.reshape(p.shape)
        optimizer.step()
        for p, X in zip(params, expected, strict=True):
            assert_allclose(p.detach().numpy(), X, atol=1e-10)


def test_long_sides_have_diagonals():
    optimizer, params = shampoo(
        ["matrix", "wide", "vector"], lr=0.1, momentum=0.0, eps=1e-3, max_preconditioner_dim=4
    )
    start = [p.detach().numpy().copy() for p in params]
    next(gradients(params, 1))
    optimizer.step()
    for p, X in zip(params, start, strict=True):
        G = p.grad.numpy().reshape(len(p), -1)
        order = 2 if p.ndim == 1 else 4
        M = G
        for S, side in ((G @ G.T, 0), (G.T @ G, 1)):
            if len(S) == 1:
                continue
            d = np.diag(S)
            diagonal = np.diag((d + 1e-3 * d.max()) ** (-1 / order))
            root = diagonal if len(S) > 4 else inverse_root(S, order, 1e-3)
            M = root @ M if side == 0 else M @ root
        assert np.linalg.norm(M) <= math.sqrt(max(M.shape))
        assert_allclose(p.detach().numpy(), X - 0.1 * M.reshape(p.shape), atol=1e-12)


def test_the_scale_of_the_loss_drops_out(make):
    for unit in (2.0**-40, 2.0**40):
        results = []
        for scale in (1.0, unit):
            optimizer, params = make(["matrix", "wide"], weight_decay=0.0, lr=0.1)
            for _ in gradients(params, 3):
                for p in params:
                    p.grad *= scale
                optimizer.step()
                for p in params:  # the gradients depend on the parameters
                    p.grad /= scale
            results.append([p.detach().numpy() for p in params])
        for A, B in zip(*results, strict=True):
            assert_allclose(B, A, atol=1e-9)


# -- what has to hold of every optimizer -----------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("closure", [False, True])
def test_a_saved_state_continues_identically(make, dtype, closure):
    names = ["matrix", "kernel", "vector"]
    options = {"lr": 0.05, "parameter_dtype": dtype}
    optimizer, params = make(names, **options)
    run(optimizer, params, 3)
    stored = io.BytesIO()
    torch.save((optimizer.state_dict(), [p.detach() for p in params]), stored)
    stored.seek(0)
    state, values = torch.load(stored, weights_only=True)
    other, copies = make(names, **(options | {"lr": 0.7}))
    for p, value in zip(copies, values, strict=True):
        p.data.copy_(value)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 0.05
    expected = run(optimizer, params, 3, seed=918273645)
    found = run(other, copies, 3, seed=918273645)
    assert all(torch.equal(A, B) for A, B in zip(expected, found, strict=True))
    for p, q in zip(params, copies, strict=True):
        for key, value in optimizer.state[p].items():
            same = other.state[q][key]
            assert torch.equal(value, same) if torch.is_tensor(value) else value == same
            assert getattr(value, "dtype", None) == getattr(same, "dtype", None)


def test_a_loaded_state_is_a_copy(make):
    optimizer, params = make(["matrix"], lr=0.05)
    run(optimizer, params, 2)
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    other, copies = make(["matrix"], lr=0.05)
    other.load_state_dict(state)
    run(other, copies, 2)
    for key, value in before["state"][0].items():
        same = state["state"][0][key]
        assert torch.equal(value, same) if torch.is_tensor(value) else value == same


def test_repeats_bit_for_bit(make):
    results = []
    for _ in range(2):
        optimizer, params = make(list(SHAPES), lr=0.03, parameter_dtype=torch.float32)
        results.append(run(optimizer, params, 4))
    assert all(torch.equal(A, B) for A, B in zip(*results, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_zero_gradients_only_decay(make, dtype):
    optimizer, params = make(list(SHAPES), lr=0.5, weight_decay=0.1, parameter_dtype=dtype)
    start = [p.detach().clone() for p in params]
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    decay = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for p, value in zip(params, start, strict=True):
        expected = value * (1.0 - 0.1 * decay[id(p)])
        assert torch.equal(p.detach(), expected)
    for X in run(optimizer, params, 3):
        assert torch.isfinite(X).all()


@pytest.mark.parametrize("unit", [1e-30, 1e15])
def test_extreme_gradients(make, unit):
    optimizer, params = make(list(SHAPES), lr=0.1, parameter_dtype=torch.float32)
    for _ in gradients(params, 3):
        for p in params:
            p.grad *= unit
        optimizer.step()
        for p in params:
            assert torch.isfinite(p).all()
            p.grad /= unit


def test_old_roots_do_not_throw_far():
    """Gradients that turn into directions of which the roots know nothing."""
    p = torch.nn.Parameter(torch.zeros(4, 4))
    v = torch.nn.Parameter(torch.zeros(4))
    optimizer = stt.Shampoo([p, v], lr=1.0, momentum=0.0, eps=1e-9, update_freq=100)
    for k in range(4):
        before = p.detach().clone(), v.detach().clone()
        p.grad, v.grad = torch.zeros(4, 4), torch.zeros(4)
        p.grad[k, k] = v.grad[k] = 1.0
        optimizer.step()
        assert (p - before[0]).norm() <= 2.0 + 1e-5  # sqrt(min(m, n))
        assert (v - before[1]).norm() <= 1.0 + 1e-5


def test_parameters_without_gradient_and_empty_ones_stay(make):
    optimizer, params = make(["matrix", "wide"], lr=0.1)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(0, 3))]})
    params[0].grad = torch.ones_like(params[0])
    optimizer.param_groups[-1]["params"][0].grad = torch.zeros(0, 3)
    before = params[1].detach().clone()
    optimizer.step()
    assert torch.equal(params[1].detach(), before)
    assert params[1] not in optimizer.state


def test_closures_and_hooks(make):
    optimizer, (p,) = make(["matrix"], lr=0.1)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append("hook"))

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        calls.append("closure")
        return loss

    before = p.square().sum().item()
    assert optimizer.step(closure).item() == before
    assert calls == ["closure", "hook"]
    assert p.square().sum().item() < before


def test_schedulers_and_tensor_rates(make):
    optimizer, (p,) = make(["matrix"], lr=torch.tensor(0.5), weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    p.grad = torch.ones_like(p)
    optimizer.step()
    scheduler.step()
    before = p.detach().clone()
    optimizer.step()
    assert torch.equal(p.detach(), before)


def test_gradients_that_are_not_finite_change_nothing(make):
    optimizer, params = make(["matrix", "wide"], lr=0.1)
    run(optimizer, params, 1)
    values = [p.detach().clone() for p in params]
    state = copy.deepcopy(optimizer.state_dict()["state"])
    params[1].grad[0, 0] = math.nan
    with pytest.raises(InputError, match="not finite"):
        optimizer.step()
    assert all(torch.equal(p.detach(), value) for p, value in zip(params, values, strict=True))
    for k, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            same = state[k][key]
            assert torch.equal(value, same) if torch.is_tensor(value) else value == same


def test_sparse_gradients_are_an_error(make):
    optimizer, (p,) = make(["matrix"], lr=0.1)
    p.grad = torch.ones_like(p).to_sparse()
    with pytest.raises(InputError, match="SparseAdam"):
        optimizer.step()


def test_errors_name_the_remedy():
    with pytest.raises(InputError, match="use_muon=False"):
        stt.Muon(parameters(["matrix", "vector"]))
    with pytest.raises(InputError, match="real"):
        stt.Muon([torch.nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -1.0),
        ("lr", math.nan),
        ("weight_decay", -0.1),
        ("momentum", 1.0),
        ("eps", -1.0),
    ],
)
def test_wrong_options(make, name, value):
    with pytest.raises(InputError, match=name):
        make(["matrix"], **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("beta2", 0.0), ("root", 0), ("update_freq", 0), ("max_preconditioner_dim", 0)],
)
def test_wrong_options_of_shampoo(name, value):
    with pytest.raises(InputError, match=name):
        shampoo(["matrix"], **{name: value})


@pytest.mark.parametrize(("name", "value"), [("betas", (0.9, 1.0)), ("adjust_lr_fn", "rms")])
def test_wrong_options_of_muon(name, value):
    with pytest.raises(InputError, match=name):
        muon(["matrix"], **{name: value})


# -- training --------------------------------------------------------------------------------


def train(make_optimizer, steps=150):
    """Fit a small network to another one's answers; return the last loss."""
    generator = torch.Generator().manual_seed(364758291)
    inputs = torch.randn(128, 12, generator=generator) * torch.logspace(0, -2, 12)
    mixed = torch.randn(12, 16, generator=generator) @ torch.randn(16, 6, generator=generator)
    answers = torch.tanh(inputs @ mixed)
    net = torch.nn.Sequential(torch.nn.Linear(12, 24), torch.nn.Tanh(), torch.nn.Linear(24, 6))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    optimizer = make_optimizer(list(net.parameters()))
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(inputs) - answers).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_both_fit_an_ill_conditioned_regression_better_than_sgd():
    def grouped(params):
        matrices, rest = [p for p in params if p.ndim > 1], [p for p in params if p.ndim < 2]
        return [{"params": matrices}, {"params": rest, "use_muon": False}]

    rates = (0.1, 0.3, 1.0, 1.5)  # it diverges from 2 on
    sgd = min(train(lambda ps, lr=lr: torch.optim.SGD(ps, lr=lr, momentum=0.9)) for lr in rates)
    with_muon = train(lambda ps: stt.Muon(grouped(ps), lr=0.06, weight_decay=0.0))
    with_shampoo = train(lambda ps: stt.Shampoo(ps, lr=0.1, beta2=0.99, update_freq=5))
    assert with_muon < sgd
    assert with_shampoo < 0.5 * sgd
