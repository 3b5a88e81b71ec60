"""Plans: made, printed, stored, and run on matrices that fit and on those that do not."""

import copy
import pickle

import numpy as np
import pytest

from spectool.dense import root_verbs, verbs
from spectool.dense.costs import Costs
from spectool.dense.planning.iteration_plan import IterationPlan
from spectool.dense.planning.plan import plan_iteration
from spectool.dense.planning.spectra import Nodes
from spectool.dense.problems import Problem
from spectool.dense.run import Run, iterate
from spectool.errors import BreakdownError, InputError, NotPositiveDefiniteError
from spectool.results import Status

COSTS = Costs(inverse=2.9, definite_solve=2.4, qr_solve=8.0)
DIRECT = Costs(inverse=2.9, definite_solve=2.4, qr_solve=8.0, eigh=4.0, svd=9.0)
FUNCTIONS = {
    "sign": np.sign,
    "inv": lambda w, p: 1 / w,
    "sqrt": lambda w, p: w**0.5,
    "invsqrt": lambda w, p: w**-0.5,
    "root": lambda w, p: w ** (1 / p),
    "inverse_root": lambda w, p: w ** (-1 / p),
    "sign_": lambda w, p: np.sign(w),
}
QUICK = {"n_iterations": 2, "width": 1, "rng": 481_900_733, "costs": COSTS, "direct": False}
CHOICE = {**QUICK, "costs": DIRECT, "direct": True}


def spd(n=50, kappa=200.0, seed=193_847_560):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (Q * np.geomspace(1.0 / kappa, 1.0, n)) @ Q.T


def hermitian(n=50, seed=660_182_934, *, complex_=False):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if complex_ else 0.0)
    Q = np.linalg.qr(A)[0]
    w = np.geomspace(0.02, 1.0, n) * np.where(np.arange(n) % 2, 1.0, -1.0)
    A = (Q * w) @ Q.conj().T
    return 0.5 * (A + A.conj().T)


def exact(function, A, p=1):
    if function == "polar":
        U, _, Vh = np.linalg.svd(A, full_matrices=False)
        return U @ Vh
    w, Q = np.linalg.eigh(A)
    make = FUNCTIONS["sign_" if function == "sign" else function]
    return (Q * make(w, p)) @ Q.conj().T


def close(X, Y, rtol):
    return np.linalg.norm(np.asarray(X) - Y) <= rtol * np.linalg.norm(Y)


CASES = [
    ("sign", 1),
    ("polar", 1),
    ("inv", 1),
    ("sqrt", 2),
    ("invsqrt", 2),
    ("root", 3),
    ("inverse_root", 2),
    ("inverse_root", 3),
]


@pytest.mark.parametrize(("function", "p"), CASES)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-10), ("float32", 1e-5)])
def test_plans_from_a_matrix_compute_its_function(function, p, dtype, rtol):
    kappa = 30.0 if function == "inv" else 200.0
    A = (hermitian() if function == "sign" else spd(kappa=kappa)).astype(dtype)
    if function == "polar":
        A = A @ np.linalg.qr(np.random.default_rng(8).standard_normal(A.shape))[0].astype(dtype)
    plan = plan_iteration(function, A, p=p, rtol=rtol, **QUICK)
    run = plan.run(A)
    assert run.status is Status.CONVERGED
    assert run.value.dtype == A.dtype
    assert run.replaced == 0
    # The condition of the function stands between residual and error.
    assert close(run.value, exact(function, A.astype(float), p), 300 * rtol)
    assert plan.cost == pytest.approx(sum(plan.prices))
    assert len(plan.losses) == len(plan.schedule) + 1
    assert plan.losses[-1] <= rtol


@pytest.mark.parametrize(("function", "p"), CASES)
def test_the_same_plan_is_a_method_for_verbs(function, p):
    A = hermitian() if function == "sign" else spd(kappa=30.0)
    plan = plan_iteration(function, A, p=p, rtol=1e-10, **QUICK)
    names = {"sign": "signm", "sqrt": "sqrtm", "invsqrt": "invsqrtm"}
    name = names.get(function, function)
    verb = getattr(verbs, name, None) or getattr(root_verbs, name)
    options = {"p": p} if "root" in function else {}
    batch = np.stack([A, 4.0 * A])
    result = verb(batch, plan=plan, rtol=1e-8, full_output=True, **options)
    assert result.converged
    assert "plan of" in result.method
    value = result.value[0] if function == "polar" else result.value
    assert close(value[0], exact(function, A, p), 1e-6)
    assert close(value[1], exact(function, 4.0 * A, p), 1e-6)


def test_a_plan_runs_in_the_loop_of_all_methods():
    A = spd()
    plan = plan_iteration("sqrt", A, rtol=1e-10, **QUICK)
    problem = Problem("sqrt")
    o = problem.algebra(A, hermitian=True)
    v, c = problem.start(o, A)
    run = Run(problem, o, v, np.random.default_rng(0))
    assert iterate(run, plan, rtol=1e-10, maxiter=40) is Status.CONVERGED
    assert close(problem.answer(run.variables, c), exact("sqrt", A), 1e-9)


@pytest.mark.parametrize("shape", [(90, 30), (30, 90), (40, 40), (1, 1), (3, 1), (1, 4)])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_polar_plans_for_any_shape(shape, dtype):
    rng = np.random.default_rng(204_418_993)
    G = rng.standard_normal(shape).astype(dtype)
    if dtype == np.complex128:
        G = G + 1j * rng.standard_normal(shape)
    plan = plan_iteration("polar", G, rtol=1e-9, **QUICK)
    assert close(plan(G), exact("polar", G), 1e-5)
    assert close(plan(1e-150 * G), exact("polar", G), 1e-5)
    assert close(plan(1e150 * G), exact("polar", G), 1e-5)


def test_batches_and_torch_give_what_single_matrices_give():
    torch = pytest.importorskip("torch")
    A = np.stack([spd(), 7.0 * spd(seed=2), 1e-9 * spd(seed=3)])
    plan = plan_iteration("invsqrt", A, rtol=1e-10, **QUICK)
    whole = plan(A)
    for one, found in zip(A, whole, strict=True):
        assert close(found, plan(one), 1e-8)
        assert close(found, exact("invsqrt", one), 1e-7)
    tensor = plan(torch.asarray(A).reshape(3, 1, 50, 50))
    assert tensor.shape == (3, 1, 50, 50)
    assert np.allclose(tensor[:, 0].numpy(), whole, rtol=1e-7, atol=1e-7 * np.abs(whole).max())


def test_half_precision_of_torch():
    torch = pytest.importorskip("torch")
    G = torch.randn(2, 40, 20, generator=torch.Generator().manual_seed(918_273_645))
    plan = plan_iteration("polar", G.to(torch.bfloat16), rtol=0.05, **QUICK)
    assert plan.dtype == "bfloat16"
    U = plan(G.to(torch.bfloat16))
    assert U.dtype == torch.bfloat16
    error = U.float().mT @ U.float() - torch.eye(20)
    assert float(torch.linalg.matrix_norm(error).max()) / 20**0.5 < 0.1


def test_pairs_of_roots_come_together():
    A = spd()
    plan = plan_iteration("sqrt", A, rtol=1e-10, pair=True, **QUICK)
    run = plan.run(3.0 * A)
    assert close(run.value, exact("sqrt", 3.0 * A), 1e-8)
    assert close(run.partner, exact("invsqrt", 3.0 * A), 1e-8)
    direct = plan_iteration("sqrt", A, rtol=1e-10, pair=True, **CHOICE)
    assert direct.direct
    run = direct.run(3.0 * A)
    assert close(run.value @ run.partner, np.eye(50), 1e-10)


# What it says of itself.


def test_json_and_print():
    plan = plan_iteration("polar", spd(), rtol=1e-8, **QUICK)
    again = IterationPlan.from_json(plan.to_json())
    assert again.to_json() == plan.to_json()
    assert str(again) == str(plan)
    assert np.array_equal(again(spd()), plan(spd()))
    text = str(plan)
    assert text.count("X <- ") == len(plan.schedule) + 1
    assert f"predicted {plan.cost:.4g} products" in text
    with pytest.raises(InputError, match="to_json"):
        IterationPlan.from_json("{}")


def test_plans_are_copied_and_pickled():
    plan = plan_iteration("polar", spd(), rtol=1e-8, **QUICK)
    for other in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert str(other) == str(plan)


def test_where_nothing_beats_lapack_the_plan_says_so_and_is_it():
    A = hermitian()
    plan = plan_iteration("sign", A, rtol=1e-10, **CHOICE)
    assert plan.direct
    assert plan.method() is None
    assert plan.found_by == "direct method"
    assert plan.cost == 5.0
    assert "LAPACK" in str(plan)
    assert close(plan(A), exact("sign", A), 1e-12)
    assert close(verbs.signm(A, plan=plan), exact("sign", A), 1e-12)
    without = plan_iteration("sign", A, rtol=1e-10, **{**CHOICE, "direct": False})
    assert not without.direct
    assert without.cost > plan.cost


def test_costs_decide():
    nodes = Nodes.of_interval(1e-3)
    for ratio, newton in ((1.7, True), (8.0, False)):
        costs = Costs(inverse=ratio, definite_solve=ratio + 1, qr_solve=ratio + 2)
        plan = plan_iteration("polar", nodes, rtol=1e-6, costs=costs, n_iterations=2, width=1)
        assert all((step.kind.name == "sign.newton") == newton for step in plan.schedule)


def test_measured_costs_predict_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTOOL_CACHE", str(tmp_path))
    plan = plan_iteration("sqrt", spd(16), rtol=1e-8, n_iterations=2, width=1)
    assert plan.seconds > 0.0
    assert "LAPACK" in str(plan) or len(plan.schedule) > 1
    assert (
        plan_iteration("sqrt", spd(16), rtol=1e-8, costs=COSTS, n_iterations=2, width=1).seconds
        is None
    )


def test_the_same_rng_gives_the_same_plan():
    A = spd()
    options = {"rtol": 1e-8, "n_iterations": 8, "width": 2, "costs": COSTS}
    first, second = (plan_iteration("sqrt", A, rng=77, **options) for _ in range(2))
    assert [str(step) for step in first.schedule] == [str(step) for step in second.schedule]
    assert first.cost == second.cost


def test_a_search_in_time_comes_back():
    plan = plan_iteration("polar", spd(), rtol=1e-8, costs=COSTS, max_time=0.2, rng=1)
    assert plan.statistics["seconds"] < 5.0
    assert plan.statistics["beam_steps"] > 0


# Spectra that do not fit, and inputs that are none.


@pytest.fixture(scope="module")
def root_plan():
    return plan_iteration("sqrt", np.linspace(0.1, 1.0, 30), rtol=1e-9, **QUICK)


@pytest.fixture(scope="module")
def polar_plan():
    return plan_iteration("polar", np.linspace(0.5, 1.0, 30), rtol=1e-9, **QUICK)


@pytest.mark.parametrize("function", ["sign", "polar", "sqrt", "invsqrt", "inverse_root"])
def test_a_spectrum_that_does_not_fit_takes_further_steps(function):
    plan = plan_iteration(function, np.linspace(0.5, 1.0, 30), rtol=1e-9, shape=(50, 50), **QUICK)
    A = spd(kappa=3e3)
    run = plan.run(A)
    assert run.status is Status.CONVERGED
    # Newton's uncoupled iteration for square roots cannot be continued.
    assert (run.n_further > 0) != (run.replaced > 0)
    assert close(run.value, exact(function, A, 2), 1e-5)


def test_what_no_step_mends_goes_to_a_direct_method(polar_plan):
    rng = np.random.default_rng(120_938_475)
    G = rng.standard_normal((2, 20, 20))
    G[1, :, 0] = 0.0  # singular: its polar factor is not unique
    run = polar_plan.run(G)
    assert run.replaced == 1
    assert np.isfinite(run.value).all()
    assert close(run.value[0], exact("polar", G[0]), 1e-6)
    assert close(run.value[1].T @ run.value[1], np.eye(20), 1e-8)


def test_zero_matrices_have_some_polar_factor(polar_plan):
    U = polar_plan(np.zeros((4, 3)))
    assert close(U.T @ U, np.eye(3), 1e-12)


def test_indefinite_matrices_are_refused_under_roots(root_plan):
    with pytest.raises(BreakdownError):
        root_plan(hermitian())
    with pytest.raises(NotPositiveDefiniteError, match="Ritz"):
        plan_iteration("sqrt", hermitian(), **QUICK)


@pytest.mark.parametrize(
    ("A", "message"),
    [
        (np.full((3, 3), np.nan), "finite"),
        (np.triu(np.ones((3, 3))), "Hermitian"),
        (np.ones((3, 4)), "square"),
        (np.ones((0, 0)), "entries"),
    ],
)
def test_matrices_outside_the_domain_are_named(A, message, root_plan):
    with pytest.raises(InputError, match=message):
        root_plan(A)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("cube", [1.0, 2.0]), {}, "function"),
        (("sqrt", [0.0, 0.0]), {}, "zero"),
        (("sqrt", [-1.0, 1.0]), {}, "positive"),
        (("sign", [0.0, 1.0]), {}, "0"),
        (("sqrt", [1.0, 2.0]), {"rtol": 2.0}, "rtol"),
        (("sqrt", [1.0, 2.0]), {"dtype": "int8"}, "dtype"),
        (("sqrt", [1.0, 2.0]), {"max_time": 0.0}, "max_time"),
        (("sqrt", [1.0, 2.0]), {"width": 0}, "width"),
        (("root", [1.0, 2.0]), {"p": 1}, "p must"),
        (("sign", [1.0, 2.0]), {"pair": True}, "pair"),
        (("polar", []), {}, "empty"),
        (("polar", np.zeros((3, 3))), {}, "zero"),
        (("polar", np.full((3, 3), np.inf)), {}, "finite"),
        (("polar", np.ones((2, 2, 2, 2))), {}, "shape"),
        (("sqrt", np.ones((3, 4))), {}, "Hermitian"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, message):
    with pytest.raises(InputError, match=message):
        plan_iteration(*arguments, **{**QUICK, **options})


def test_a_tolerance_out_of_reach_is_told():
    with pytest.raises(BreakdownError, match="float32"):
        # No iteration inverts this one in float32.
        plan_iteration("inv", np.geomspace(1e-7, 1.0, 40), dtype="float32", rtol=1e-6, **QUICK)


def test_plans_for_single_precision_do_not_diverge():
    rng = np.random.default_rng(870_114_236)
    for trial in range(8):
        function = ("sign", "polar", "sqrt", "invsqrt")[trial % 4]
        n = int(rng.integers(20, 80))
        a = np.sort(np.exp(rng.uniform(-9.0, 0.0, n)))
        if function == "sign":
            a = a * rng.choice([-1.0, 1.0], n)
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        A = ((Q * a) @ Q.T).astype(np.float32)
        A = 0.5 * (A + A.T)
        plan = plan_iteration(function, a, dtype="float32", rtol=1e-4, **QUICK)
        run = plan.run(A)
        assert run.status is Status.CONVERGED
        assert run.n_further == 0
        assert run.replaced == 0
