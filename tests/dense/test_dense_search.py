"""Searches for plans: exact on the interval, beam and tree on the spectrum, and what they know."""

import itertools

import numpy as np
import pytest

from spectool.dense.algebra import SpectrumAlgebra
from spectool.dense.costs import Costs
from spectool.dense.gauss import norm_estimate
from spectool.dense.iterations import ZOO, find_kind
from spectool.dense.planning.aims import aimed, coordinate, fitted, is_linear, limit
from spectool.dense.planning.beam import baselines, beam_search
from spectool.dense.planning.environment import IterationEnvironment
from spectool.dense.planning.exact_search import CostToGo, cheapest_schedule, image, moves_of
from spectool.dense.planning.rounding import RoundingModel
from spectool.dense.planning.spectra import Nodes, sampled_nodes, sketched_nodes
from spectool.dense.problems import Problem
from spectool.dense.steps import Variables
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.planner.mcts import search

EPS = 2.0**-52
TABLE = [
    (1.7, 8.5, "NNNNN"),
    (2.9, 12.8, None),
    (4.56, 15.56, None),
    (5.0, 16.0, None),
    (8.0, 19.0, None),
]


def prices(ratio):
    """Halley's step with a solve that costs as much as an inverse, and two products."""
    return {
        "sign.newton": ratio,
        "sign.newton_schulz": 2.0,
        "sign.quintic": 3.0,
        "sign.halley": ratio + 2.0,
    }


def costs_for(ratio, **others):
    return Costs(inverse=ratio, definite_solve=ratio + 1.0, qr_solve=ratio + 2.0, **others)


def environment_for(ratio, **options):
    nodes = Nodes.of_interval(1e-3)
    options = {"rtol": 1e-6, "eps": EPS, "classical_last": False, **options}
    return IterationEnvironment(Problem("polar"), nodes, costs_for(ratio), **options)


# The exact search.


@pytest.mark.parametrize(("ratio", "cost", "kinds"), TABLE)
def test_exact_costs_from_a_ratio_of_a_thousand(ratio, cost, kinds):
    found = cheapest_schedule(prices(ratio), 1e-3, rtol=1e-6)
    assert found.cost == pytest.approx(cost)
    letters = "".join(name.split(".")[1][0].upper() for name in found.kinds)
    if kinds is not None:
        assert letters == kinds
    newton = found.kinds.count("sign.newton")
    assert (newton > 0) == (ratio < 4.0)
    if 2.0 < ratio < 4.0:
        assert 0 < newton < len(found.kinds)


def test_nothing_cheaper_exists_among_all_short_schedules():
    best = np.inf
    for kinds in itertools.chain.from_iterable(
        itertools.product(prices(2.9), repeat=length) for length in range(1, 6)
    ):
        ratio = 1e-2
        for name in kinds:
            ratio = image(name, ratio)
        if 1.0 - ratio <= 1e-6:
            best = min(best, sum(prices(2.9)[name] for name in kinds))
    assert cheapest_schedule(prices(2.9), 1e-2, rtol=1e-6).cost == pytest.approx(best)


@pytest.mark.parametrize("function", ["polar", "sqrt", "inv", "inverse_root", "root"])
@pytest.mark.parametrize("lower", [1e-3, 0.2, 0.97])
def test_images_are_those_of_dense_grids(function, lower):
    problem = Problem(function, 3 if "root" in function else 1)
    t = np.concatenate([np.geomspace(lower, 1.0, 20001)])
    a = t**problem.p if problem.family in ("root", "inverse_root") else t
    for name in moves_of(problem):
        v = Variables(t, None if function == "inv" else t, np.ones_like(t), problem.p)
        if problem.family in ("root", "inverse_root"):
            v = Variables(np.ones_like(t), a, a, problem.p)
        values = aimed(find_kind(name), lower, 1.0, problem.p)
        after = find_kind(name).step(*values)(SpectrumAlgebra(), v)
        made = coordinate(problem, after, np.ones_like(t))
        # The grid misses an extremum by the square of its spacing.
        assert made.min() / made.max() == pytest.approx(image(name, lower, problem.p), rel=1e-5)


def test_the_table_of_remaining_costs_is_never_too_low_and_nearly_right():
    table = CostToGo(prices(2.9), rtol=1e-6)
    for lower in (1e-6, 1e-3, 0.04, 0.6, 0.99):
        exact = cheapest_schedule(prices(2.9), lower, rtol=1e-6).cost
        assert exact - 1e-12 <= table.cost(lower) <= exact + 3.0  # the dearest step
    assert table.cost(1.0) == 0.0
    assert table.step(1.0) == ""


def test_a_classical_end_costs_no_less():
    for ratio in (1.7, 2.9, 5.0):
        free = cheapest_schedule(prices(ratio), 1e-4, rtol=1e-8)
        tied = cheapest_schedule(prices(ratio), 1e-4, rtol=1e-8, classical_last=True)
        assert free.cost <= tied.cost <= free.cost + 3.0


def test_exact_search_names_what_is_wrong():
    with pytest.raises(InputError, match="prices"):
        cheapest_schedule({}, 0.1)
    with pytest.raises(InputError, match="lower"):
        cheapest_schedule(prices(2.0), 0.0)
    assert cheapest_schedule(prices(2.0), 1.0).kinds == ()


# Aims and fits.


@pytest.mark.parametrize("name", ["sign.newton_schulz", "sign.quintic", "sign.newton"])
def test_a_fit_of_the_largest_deviation_comes_close_to_the_closed_form(name):
    kind = find_kind(name)
    x = np.linspace(0.1, 1.0, 400)
    v = Variables(x, None, x)
    weights = np.full(x.size, 1.0 / x.size)
    worst = {}
    for how, values in (
        ("closed", aimed(kind, 0.1, 1.0, 1)),
        ("fitted", fitted(kind, v, np.ones_like(x), weights)),
    ):
        worst[how] = np.abs(1.0 - kind.step(*values)(SpectrumAlgebra(), v).X).max()
    # Lawson's weights converge linearly; a dozen rounds leave some percent.
    assert worst["closed"] <= worst["fitted"] * (1 + 1e-9)
    assert worst["fitted"] <= 1.15 * worst["closed"]


def test_two_eigenvalues_are_fitted_exactly():
    kind = find_kind("sign.newton_schulz")
    x = np.asarray([0.05, 1.0])
    values = fitted(kind, Variables(x, None, x), np.ones(2), np.asarray([0.1, 0.9]))
    assert np.allclose(kind.step(*values)(SpectrumAlgebra(), Variables(x, None, x)).X, 1.0)


def test_which_kinds_are_linear_in_their_values():
    nonlinear = {name for name, kind in ZOO.items() if kind.parameters and not is_linear(kind, 3)}
    assert nonlinear == {"sign.halley", "sign.zolotarev", "inverse_root.gawlik"}


# The model of rounding.


def replay(problem, kind, a, steps, dtype=np.float32):
    rng = np.random.default_rng(518_203_447)
    n = a.size
    a = a * rng.choice([-1.0, 1.0], n) if problem.function == "sign" else a
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = ((Q * a) @ Q.T).astype(dtype)
    o, s = problem.algebra(A, hermitian=True), SpectrumAlgebra()
    v, w = problem.variables(o, A), problem.variables(s, a)
    eps = float(np.finfo(dtype).eps)
    model = RoundingModel(problem, a, np.full(n, 1.0 / n), eps, n)
    noise = model.quiet()
    for _ in range(steps):
        t = coordinate(problem, w, limit(problem, a))
        step = kind.step(*(aimed(kind, t.min(), t.max(), problem.p) or kind.classical(problem.p)))
        noise = model.step(step, w, noise)
        v, w = step(o, v), step(s, w)
    measured = float(o.norm(problem.residual(o, v))) / n**0.5
    return measured, model.of_residual(w, noise)


@pytest.mark.parametrize(
    ("function", "name", "steps"),
    [
        ("sign", "sign.newton", 7),
        ("sign", "sign.quintic", 8),
        ("sqrt", "sqrt.newton_schulz", 9),
        ("sqrt", "sqrt.denman_beavers", 7),
        ("inverse_root", "inverse_root.newton", 9),
    ],
)
def test_stable_iterations_end_where_the_model_says(function, name, steps):
    problem = Problem(function, 3 if function == "inverse_root" else 1)
    measured, foreseen = replay(problem, find_kind(name), np.geomspace(1e-3, 1.0, 150), steps)
    assert foreseen < 1e-5
    assert 0.1 * measured < foreseen < 10.0 * measured  # typical sizes, not bounds


def test_newton_for_square_roots_is_seen_to_blow_up():
    problem = Problem("sqrt")
    measured, foreseen = replay(problem, find_kind("sqrt.newton"), np.geomspace(1e-3, 1, 150), 11)
    assert measured > 1e-3
    assert foreseen > 1e-3


# Spectra.


def test_quantiles_keep_ends_and_mean():
    rng = np.random.default_rng(902_117_365)
    values = rng.standard_normal(5000) ** 3
    nodes = Nodes.of_values(values)
    assert nodes.values.size < 120
    assert nodes.smallest == np.abs(values).min()
    assert nodes.largest == np.abs(values).max()
    assert nodes.weights.sum() == pytest.approx(1.0)
    assert nodes.weights @ nodes.values == pytest.approx(values.mean(), rel=1e-10, abs=1e-10)
    assert Nodes.from_json(nodes.to_json()).to_json() == nodes.to_json()


@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_sketches_of_matrices_lie_inside_and_reach_the_top(n):
    rng = np.random.default_rng(330_481_296)
    A = rng.standard_normal((n + 5, n))
    sigma = np.linalg.svd(A, compute_uv=False)
    nodes = sketched_nodes(Problem("polar"), A, rng=1)
    assert nodes.smallest > 0.0
    assert 0.95 * sigma[0] <= nodes.largest <= sigma[0] * (1 + 1e-10)
    assert nodes.weights.sum() == pytest.approx(1.0)
    estimate = float(norm_estimate(A, np.random.default_rng(2)))
    assert 0.98 * sigma[0] <= estimate <= sigma[0] * (1 + 1e-10)


def test_complete_sketches_are_exact():
    A = np.diag([4.0, 3.0, 2.0, 1.0])
    nodes = sketched_nodes(Problem("sqrt"), A, rng=3)
    assert np.allclose(np.sort(nodes.values)[-3:], [2.0, 3.0, 4.0], atol=1.5)
    with pytest.raises(NotPositiveDefiniteError, match="Ritz"):
        sketched_nodes(Problem("sqrt"), -A, rng=3)
    with pytest.raises(InputError, match="Hermitian"):
        sketched_nodes(Problem("sign"), np.triu(np.ones((4, 4))), rng=3)


def test_samples_are_pooled():
    rng = np.random.default_rng(771_300_182)
    nodes = sampled_nodes(Problem("polar"), rng.standard_normal((5, 30, 20)))
    assert nodes.shape == (30, 20)
    assert nodes.source == "5 samples"
    assert nodes.spare > 1.0
    values, weights = nodes.scaled().guarded()
    assert values[0] < nodes.scaled().smallest
    assert weights[0] == 0.0
    assert weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [[], [0.0, 0.0], [1.0, np.nan]])
def test_spectra_must_be_spectra(wrong):
    with pytest.raises(InputError, match="spectrum"):
        Nodes.of_values(wrong)


# The environment.


def wishart(n=120, d=120, seed=640_118_253):
    Z = np.random.default_rng(seed).standard_normal((d, n)) / np.sqrt(d)
    return np.linalg.eigvalsh(Z.T @ Z + 1e-3 * np.eye(n))


def sqrt_environment(**options):
    nodes = Nodes.of_values(wishart(), spare=8.0).scaled()
    costs = Costs(inverse=2.9, eigh=options.pop("eigh", np.inf))
    options = {"rtol": 1e-8, "eps": EPS, **options}
    return IterationEnvironment(Problem("sqrt"), nodes, costs, **options)


def test_coupled_steps_are_offered_only_while_coupled():
    environment = sqrt_environment()
    root = environment.root
    names = {action.partition(":")[0] for action in environment.kinds(root)}
    assert "sqrt.newton_schulz" in names
    assert "sqrt.visser" in names
    assert "sqrt.coupling" not in names
    after = environment.step(root, "sqrt.visser:scaled", ()).state
    assert not after.variables.coupled
    names = {action.partition(":")[0] for action in environment.kinds(after)}
    assert "sqrt.newton_schulz" not in names
    assert {"sqrt.coupling", "sqrt.visser"} <= names
    again = environment.step(after, "sqrt.coupling:scaled", ()).state
    assert again.variables.coupled
    assert np.allclose(again.variables.X, again.variables.A * again.variables.Y, rtol=1e-10)


def test_products_with_the_identity_are_free():
    environment = sqrt_environment()
    root = environment.root
    first = environment.step(root, "sqrt.newton_schulz:scaled", ())
    second = environment.step(first.state, "sqrt.newton_schulz:scaled", ())
    assert (first.reward, second.reward) == (-1.0, -3.0)
    assert environment.step(root, "sqrt.denman_beavers:scaled", ()).reward == -2.9


def test_a_direct_method_ends_a_plan_at_its_price():
    environment = sqrt_environment(eigh=6.0)
    moved = environment.step(environment.root, "sqrt.eigh", ())
    assert moved.terminal
    assert moved.state.finished
    assert moved.reward == -7.0
    pair = sqrt_environment(eigh=6.0, pair=True)
    assert pair.step(pair.root, "sqrt.eigh_pair", ()).reward == -8.0


def test_an_eigendecomposition_of_the_gram_matrix_needs_a_well_conditioned_x():
    nodes = Nodes.of_interval(1e-3, n=200)
    costs = Costs(inverse=3.0, eigh=4.0, svd=100.0)
    options = {"rtol": 1e-5, "eps": 2.0**-23}
    environment = IterationEnvironment(Problem("polar"), nodes, costs, **options)
    assert "polar.gram" not in environment.kinds(environment.root)
    assert "polar.svd" in environment.kinds(environment.root)
    state = environment.root
    for _ in range(3):
        state = environment.step(state, "sign.newton:scaled", ()).state
    assert "polar.gram" in environment.kinds(state)


def test_free_values_that_leave_the_domain_are_lost():
    environment = environment_for(2.9)
    moved = environment.step(environment.root, "sign.newton_schulz:free", (1.0, -3.0))
    assert moved.reward == -np.inf
    assert moved.state.lost
    assert not environment.kinds(moved.state)


def test_unstable_plans_are_not_finished_in_single_precision():
    for eps, expected in ((2.0**-52, True), (2.0**-23, False)):
        nodes = Nodes.of_interval(1e-4, n=500)
        environment = IterationEnvironment(
            Problem("sqrt"), nodes, Costs(inverse=2.0), rtol=1e-6, eps=eps
        )
        path = [("sqrt.newton:scaled", ())] * 20
        _, cost, state = environment.follow(path)
        assert np.isfinite(cost) == expected
        assert state.finished == expected


def test_what_is_aimed_at_the_samples_survives_smaller_eigenvalues():
    values = np.geomspace(1e-2, 1.0, 100)
    nodes = Nodes.of_values(values, spare=8.0).scaled()
    environment = IterationEnvironment(Problem("polar"), nodes, costs_for(2.9), rtol=1e-8, eps=EPS)
    for found in baselines(environment):
        if np.isfinite(found.cost):
            steps, _ = environment.steps(found.path)
            v = Variables(*(np.geomspace(1e-2 / 8.0, 1.0, 2000) / 1.05,), None, None)
            for step in steps:
                v = step(SpectrumAlgebra(), v)
            assert (v.X > 0.0).all()
            assert (v.X < 3.0**0.5).all()


# Searches on the spectrum.


@pytest.mark.parametrize("ratio", [1.7, 2.9, 5.0])
def test_every_search_comes_within_two_percent_of_the_exact_one(ratio):
    exact = cheapest_schedule(prices(ratio), 1e-3, rtol=1e-6).cost
    environment = environment_for(ratio, direct=False)
    found, n_tried = beam_search(environment)
    assert n_tried > 0
    assert found.cost <= 1.02 * exact
    rng = np.random.default_rng(417_905_662)
    result = search(environment, environment.root, rng=rng, n_iterations=150)
    _, cost, state = environment.follow(result.path)
    assert state.finished
    assert cost == pytest.approx(-result.reward)
    assert cost <= 1.02 * exact
    kinds = [action.partition(":")[0] for action, _ in result.path]
    newton = kinds.count("sign.newton")
    if ratio == 1.7:
        assert newton == len(kinds)
    elif ratio == 2.9:
        assert 0 < newton < len(kinds)
    else:
        assert newton == 0


def test_the_tree_search_returns_nothing_worse_than_its_incumbent():
    environment = sqrt_environment()
    best = min(baselines(environment), key=lambda one: one.cost)
    result = search(
        environment,
        environment.root,
        rng=np.random.default_rng(254_118_907),
        n_iterations=20,
        incumbent=best.path,
    )
    _, cost, _ = environment.follow(result.path)
    assert cost <= best.cost


def test_beam_search_respects_the_bound():
    found, _ = beam_search(environment_for(2.9, direct=False), bound=1.0)
    assert found.path == ()
    assert found.cost == np.inf
