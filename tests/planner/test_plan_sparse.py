"""``spectool.plan``: what is enumerated and searched, priced, stored, and run by the verbs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from typer.testing import CliRunner

import spectool as st
from spectool.cli import app
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.learned.features import scaled_probe
from spectool.planner.costs import OperatorCosts
from spectool.planner.plan import Counts, Option, PlanCosts
from spectool.planner.systems import CgSpace
from spectool.planner.tuning import CgEnvironment, Draft, composed
from spectool.polynomials import chebyshev_inverse

SEED = 299_792_458
QUICK = {"n_iterations": 30, "cache": False, "rng": SEED}
DEAR_VECTORS = OperatorCosts(1e-4, 1e-5, 5e-5, 5e-5, 1e-2, 0.0)
DEAR_PRODUCTS = OperatorCosts(1e-2, 1e-5, 1e-2, 1e-2, 1e-6, 0.0)


@pytest.fixture(scope="module")
def A():
    return st.gallery.jump((40, 40), rng=SEED)


@pytest.fixture
def made(A, fixed_costs):
    return st.plan(A, **QUICK)


# What is found.


def test_plain_cg_is_always_considered(made):
    assert made.plainest is not None
    assert made.gain >= 1.0
    seconds = [option.seconds for option in made.candidates]
    assert seconds == sorted(seconds)
    assert made.chosen is made.candidates[0]


def test_cg_without_scaling_is_considered_too(fixed_costs):
    """It has a spectrum of its own: scaling may help, or hurt."""
    rng = np.random.default_rng(SEED)
    lam = np.concatenate([np.full(397, 1.0), [50.0, 100.0, 200.0]])
    Q = np.linalg.qr(rng.standard_normal((400, 400)))[0]
    few = (Q * lam) @ Q.T  # four distinct eigenvalues, which scaling tears apart
    badly = few * np.outer(s := np.geomspace(1.0, 100.0, 400), s)
    for M, quicker in ((few, "CG"), (badly, "CG with Jacobi")):
        found = st.plan(M, **QUICK)
        counts = {o.name: o.counts.products for o in found.candidates if o.plain}
        assert set(counts) == {"CG", "CG with Jacobi"}
        assert min(counts, key=counts.__getitem__) == quicker
        for name, scaling in (("CG", None), ("CG with Jacobi", "symmetric")):
            option = next(o for o in found.candidates if o.name == name)
            assert option.action["scaling"] == scaling
            alone = replace(found, candidates=(option,))
            M1 = st.preconditioner(M, plan=alone)
            expected = np.ones(400) if scaling is None else 1.0 / np.diag(M)
            np.testing.assert_allclose(M1 @ np.ones(400), expected, rtol=1e-12)


def test_the_same_plan_again(A, fixed_costs):
    first, second = (st.plan(A, **QUICK) for _ in range(2))
    assert first.chosen.name == second.chosen.name
    assert [o.seconds for o in first.candidates] == [o.seconds for o in second.candidates]


def test_easy_matrices_have_no_gain(fixed_costs):
    A = np.diag(np.linspace(1.0, 1.5, 300)) + 1e-3 * np.ones((300, 300))
    found = st.plan(A, **QUICK)
    assert found.chosen.plain
    assert found.gain == 1.0
    assert "no gain" in str(found)


def test_costs_of_a_machine_decide(made):
    """Dear inner products call for high degrees; dear products for plain CG."""
    vectors = made.repriced(PlanCosts(DEAR_VECTORS, DEAR_VECTORS))
    products = made.repriced(PlanCosts(DEAR_PRODUCTS, DEAR_PRODUCTS))
    assert vectors.chosen.counts.degree >= 16
    assert products.chosen.plain
    assert {o.name for o in vectors.candidates} == {o.name for o in products.candidates}


def test_seconds_are_counts_times_costs():
    counts = Counts(10.0, 3.0, 24.0, 60.0, 30.0, degree=8)
    costs = OperatorCosts(1.0, 10.0, 100.0, 1000.0, 10_000.0, threshold=9.0)
    assert counts.seconds(PlanCosts(costs, costs)) == 10 + 30 + 2400 + 600_000
    assert counts.matvecs == 34
    large = costs.__class__(1.0, 10.0, 100.0, 1000.0, 10_000.0, threshold=8.0)
    assert counts.seconds(PlanCosts(large, large)) == 10 + 30 + 24_000 + 600_000


def test_deflation_waits_for_right_hand_sides(A, fixed_costs):
    one, many = (st.plan(A, n_rhs=n, **QUICK) for n in (1, 30))
    assert not any(option.action["deflate"] for option in one.candidates)
    deflating = [option for option in many.candidates if option.action["deflate"]]
    assert deflating
    # Finding the vectors costs a solve: there must be more of it than of the same without.
    for option in deflating:
        assert option.counts.vectors > 30 * option.action["deflate"]


def test_what_the_tree_finds_is_at_least_what_it_began_with(A, fixed_costs):
    spectrum = st.estimate_spectrum(A, scaling="symmetric", rng=SEED)
    costs = PlanCosts(DEAR_VECTORS, DEAR_VECTORS)
    space = CgSpace(spectrum, costs, 1e-8, 1, single=False)
    environment = CgEnvironment(space.price, scaled_probe(spectrum))
    from spectool.planner import search

    start = [(("first", 8), (1.0 / 81.0,)), ("stop", ())]
    begun = environment.step(Draft(), *start[0])
    known = environment.step(begun.state, *start[1]).reward
    result = search(environment, Draft(), rng=SEED, n_iterations=40, incumbent=start)
    assert result.reward >= known


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 4), (4, 8)])
def test_compositions_are_one_polynomial(first, second):
    q1, q2 = chebyshev_inverse((0.2, 1.0), first), chebyshev_inverse((0.3, 1.0), second)
    q = composed(q1, q2)
    z = np.linspace(1e-3, 1.0, 200)
    grid = np.linspace(0.0, 1.0, 20 * (first + 2))
    u = float((grid * q1(grid)).max()) * (1 + 1e-6)
    assert q.degree == (first + 1) * (second + 1) - 1
    assert np.allclose(q(z), q1(z) * q2(z * q1(z) / u) / u, rtol=1e-9)


def test_odd_degrees_are_held_against_the_safe_end(A):
    """A polynomial that is negative between the likely and the safe end leads nowhere."""
    spectrum = st.estimate_spectrum(A, scaling="symmetric", rng=SEED)
    costs = PlanCosts(DEAR_VECTORS, DEAR_VECTORS)
    environment = CgEnvironment(
        CgSpace(spectrum, costs, 1e-8, 1, single=False).price,
        scaled_probe(spectrum)._replace(safe=5.0),
    )
    state = environment.step(Draft(), ("first", 1), (0.3,)).state
    assert environment.step(state, "stop", ()).reward == -np.inf


def test_spectra_alone_are_enough(A, fixed_costs):
    spectrum = st.estimate_spectrum(A, scaling="symmetric", rng=SEED)
    found = st.plan(spectrum, **QUICK)
    assert found.n == A.shape[0]
    assert found.fingerprint == ""


@pytest.mark.parametrize("task", ["exp", "cos", "sqrt", "invsqrt", "log", "inv"])
def test_functions_have_lanczos_among_them(A, task, fixed_costs):
    found = st.plan(A, task, t=-1.0 if task == "exp" else 1.0, **QUICK)
    assert "Lanczos" in {option.name.split(",")[0] for option in found.candidates}
    assert found.plainest is not None


def test_short_memory_costs_passes(A, fixed_costs):
    n_bytes = A.shape[0] * 8
    short = st.plan(A, "invsqrt", max_memory=5.0 * n_bytes, **QUICK)
    names = {option.name for option in short.candidates}
    assert "Lanczos, two passes" in names
    assert "restarted Lanczos" in names


# Stored and kept.


@pytest.mark.parametrize("task", ["solve", "eigs", "exp"])
def test_json_loses_nothing(A, task, fixed_costs):
    options = {"eigs": {"k": 4}, "exp": {"t": -1.0}}.get(task, {})
    found = st.plan(A, task, **options, **QUICK)
    again = st.Plan.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    q, p = found.chosen.recurrence, again.chosen.recurrence
    assert (q is None) == (p is None)
    if q is not None:
        assert all(np.array_equal(getattr(q, x), getattr(p, x)) for x in "abcw")


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '{"format": "spectool.plan/0"}', "null"])
def test_other_texts_are_no_plans(text):
    with pytest.raises(InputError, match="plan"):
        st.Plan.from_json(text)


def test_plans_are_kept_by_fingerprint(A, fixed_costs, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTOOL_CACHE", str(tmp_path))
    first = st.plan(A, n_iterations=20, rng=SEED)
    again = st.plan(A, n_iterations=20, rng=SEED)
    assert again.statistics.get("kept") == 1.0
    assert again.chosen.name == first.chosen.name
    other = st.plan(A, n_iterations=20, n_rhs=3, rng=SEED)
    assert "kept" not in other.statistics
    changed = A.copy()
    changed.data[0] *= 1.5
    changed = 0.5 * (changed + changed.T)
    assert "kept" not in st.plan(changed, n_iterations=20, rng=SEED).statistics


# The verbs.


def test_preconditioners_follow_a_plan(A, made):
    M = st.preconditioner(A, plan=made)
    b = np.random.default_rng(SEED).standard_normal(A.shape[0])
    x, info = sla.cg(A, b, M=M, rtol=1e-9, maxiter=3000)
    assert info == 0
    assert np.linalg.norm(b - A @ x) <= 2e-9 * np.linalg.norm(b)
    assert M.report.n_matvecs == 0  # no probe
    degree = made.chosen.counts.degree
    assert M.recurrence.degree == degree
    again = M.refresh(1.001 * A)
    assert again.shape == A.shape


@pytest.mark.parametrize("index", range(6))
def test_every_option_of_a_plan_solves(A, index, fixed_costs):
    found = st.plan(A, n_rhs=20, **QUICK)
    kinds = {(o.action["method"], o.action["precision"], bool(o.action["deflate"])): o
             for o in reversed(found.candidates)}  # fmt: skip
    option = list(kinds.values())[index % len(kinds)]
    plan = st.Plan(
        found.task, found.options, found.n, found.nnz, found.dtype, "", (option,), "test", {}
    )
    M = st.preconditioner(A, plan=plan, rng=SEED)
    b = np.random.default_rng(SEED).standard_normal(A.shape[0])
    assert sla.cg(A, b, M=M, rtol=1e-8, maxiter=3000)[1] == 0


def test_functions_follow_a_plan(A, fixed_costs):
    found = st.plan(A, "exp", t=-1.0, **QUICK)
    b = np.ones(A.shape[0])
    planned = st.funm_multiply("exp", A, b, t=-1.0, plan=found, rng=SEED)
    free = st.funm_multiply("exp", A, b, t=-1.0, rng=SEED)
    assert np.linalg.norm(planned.y - free.y) <= 2e-8 * np.linalg.norm(free.y)
    F = st.matrix_function("exp", A, t=-1.0, plan=found, rng=SEED)
    assert np.linalg.norm(F @ b - free.y) <= 2e-8 * np.linalg.norm(free.y)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e3])
def test_plans_know_their_unit(unit, fixed_costs):
    """A plan for A serves a multiple of A, whether or not the diagonal is constant."""
    for A in (st.gallery.poisson((30, 30)), st.gallery.jump((30, 30), rng=SEED)):
        b = np.random.default_rng(SEED).standard_normal(900)
        subjects = [A, st.estimate_spectrum(A, rng=SEED)]
        subjects.append(st.estimate_spectrum(A, scaling="symmetric", rng=SEED))
        for index, subject in enumerate(subjects):
            plan = st.plan(subject, **QUICK)
            told = plan.repriced(PlanCosts(DEAR_VECTORS, DEAR_VECTORS))
            if index == 1 and unit != 1.0:
                continue  # the spectrum of an unscaled A, whose diagonal nobody told
            counts = [
                st.cg(c * A, b, M=st.preconditioner(c * A, plan=told), rtol=1e-8).n_iterations
                for c in (1.0, unit)
            ]
            assert abs(counts[1] - counts[0]) <= 1 + counts[0] // 10


def test_signs_of_entries_tell_matrices_apart(fixed_costs, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTOOL_CACHE", str(tmp_path))
    off = np.ones((30, 30)) - np.eye(30)
    definite, indefinite = 20.0 * np.eye(30) + off, 20.0 * np.eye(30) - off
    st.plan(definite, n_iterations=5, rng=SEED)
    with pytest.raises(NotPositiveDefiniteError):
        st.plan(indefinite, n_iterations=5, rng=SEED)


def test_filters_follow_a_plan(fixed_costs):
    A = st.gallery.poisson((30, 30))
    found = st.plan(A, "eigs", k=8, **QUICK)
    filtered = next(o for o in found.candidates if o.action["degree"])
    plan = st.Plan("eigs", found.options, found.n, found.nnz, "float64", "", (filtered,), "x", {})
    F = st.spectral_filter(A, plan=plan, rng=SEED)
    assert F.recurrence.degree == filtered.action["degree"]
    _, V = sla.eigsh(F, k=8, which="LA", v0=np.ones(900))
    w = np.sort(np.sum(V * (A @ V), axis=0))
    # Multiple eigenvalues may be found in another order: compare the smallest.
    assert w[0] == pytest.approx(st.gallery.poisson_eigenvalues((30, 30)).min(), rel=1e-8)


# What is refused.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "solving"}, "task must be one of"),
        ({"rtol": 2.0}, "rtol must lie"),
        ({"n_rhs": 0}, "n_rhs must be a positive"),
        ({"task": "eigs"}, "k belongs to"),
        ({"k": 3}, "k belongs to"),
        ({"task": "eigs", "k": 10**6}, "k must lie in"),
        ({"t": 2.0}, "t belongs to functions"),
        ({"task": "exp", "t": np.nan}, "t must be a finite"),
        ({"budget": -1.0}, "budget must be positive"),
    ],
)
def test_wrong_options_are_named(A, options, message, fixed_costs):
    with pytest.raises(InputError, match=message):
        st.plan(A, **{**QUICK, **options})


def test_indefinite_matrices_are_named(fixed_costs):
    A = np.diag(np.linspace(-1.0, 1.0, 200))
    with pytest.raises(NotPositiveDefiniteError, match="Ritz value"):
        st.plan(A, **QUICK)
    assert st.plan(A, "cos", **QUICK).candidates
    general = st.gallery.poisson((10, 10)).tolil()
    general[0, 5] = 2.0
    with pytest.raises(InputError):
        st.plan(general.tocsr(), **QUICK)


def test_plans_of_another_kind_are_refused(A, made, fixed_costs):
    with pytest.raises(InputError, match="rows"):
        st.preconditioner(st.gallery.poisson((9, 9)), plan=made)
    with pytest.raises(InputError, match="no effect with plan"):
        st.preconditioner(A, plan=made, degree=4)
    with pytest.raises(InputError, match="plan must be a Plan"):
        st.preconditioner(A, plan="fast")
    with pytest.raises(InputError, match="for the task"):
        st.funm_multiply("exp", A, np.ones(A.shape[0]), plan=made)
    with pytest.raises(InputError, match="not both"):
        st.funm_multiply("exp", A, np.ones(A.shape[0]), plan=made, method="lanczos")
    with pytest.raises(InputError, match="for the task"):
        st.spectral_filter(A, plan=made)
    lowest = st.plan(A, "eigs", k=3, **QUICK)
    with pytest.raises(InputError, match="give a plan, or window"):
        st.spectral_filter(A, (0.0, 1.0), plan=lowest)
    cosine = st.plan(A, "cos", t=1e-6, **QUICK)
    with pytest.raises(InputError, match="plan is for t"):
        st.funm_multiply("cos", A, np.ones(A.shape[0]), t=2e-6, plan=cosine)
    with pytest.raises(InputError, match="positive definite"):
        st.preconditioner(-A, plan=made)
    with pytest.raises(InputError, match="candidates"):
        st.Plan("solve", {}, 3, 3, "float64", "", (), "x", {})


def test_a_plan_that_prefers_arpack_makes_no_filter(A):
    option = Option("ARPACK", {"degree": 0, "window": [-1.0, 1.0]}, Counts(1.0), 1.0, plain=True)
    plan = st.Plan("eigs", {"k": 2}, A.shape[0], 3, "float64", "", (option,), "x", {})
    with pytest.raises(InputError, match="eigsh"):
        st.spectral_filter(A, plan=plan)


# The command line.


def test_command_line(tmp_path):
    path = tmp_path / "plan.json"
    arguments = ["plan", "HB/bcsstk01", "--task", "solve", "--rhs", "2", "--output", str(path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "CG" in result.output
    assert json.loads(path.read_text("utf-8"))["task"] == "solve"
    wrong = CliRunner().invoke(app, ["plan", "HB/bcsstk01", "--task", "bake"])
    assert wrong.exit_code == 1
    assert "task must be one of" in wrong.output
