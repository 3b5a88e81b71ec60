"""Tree search: known optima, incumbents, dead ends, budgets, and a record that adds up."""

import heapq
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from spectool.dense.coefficients import optimal_cubic, optimal_quintic, qdwh
from spectool.errors import InputError
from spectool.planner.mcts import Range, SearchResult, Settings, Transition, search
from spectool.planner.tree import Tree

SEED = 614205937


class Graph:
    """Walks in a layered graph with given costs; state = (layer, node)."""

    def __init__(self, costs, baselines=True):
        self.costs, self.baselines = costs, baselines  # (layers, nodes, nodes)

    def kinds(self, state):
        return range(self.costs.shape[1])

    def ranges(self, state, kind):
        return ()

    def step(self, state, kind, values):
        layer, node = state
        reward = -float(self.costs[layer, node, kind])
        return Transition((layer + 1, kind), reward, layer + 1 == len(self.costs))

    def rollouts(self, state):
        if self.baselines:
            yield itertools.repeat((0, ()))

    def shortest(self):
        to_go = np.zeros(self.costs.shape[1])
        for layer in self.costs[::-1]:
            to_go = (layer + to_go).min(axis=1)
        return float(to_go[0])


class Curve:
    """One action with parameters; the reward is minus the distance to a point."""

    def __init__(self, target, ranges, suggested=()):
        self.target, self.where, self.suggested = target, ranges, suggested

    def kinds(self, state):
        return ("move",)

    def ranges(self, state, kind):
        return self.where

    def step(self, state, kind, values):
        away = [
            abs(one.fraction(x) - one.fraction(y))
            for one, x, y in zip(self.where, values, self.target, strict=True)
        ]
        return Transition("there", -sum(away), True)

    def rollouts(self, state):
        return ()

    def suggestions(self, state, kind):
        return self.suggested


class Sign:
    """The interval of a sign iteration, as its ratio; costs in products."""

    def __init__(self, inverse, *, free=False):
        self.costs = {"N": inverse, "H": inverse + 2.0, "NS": 2.0, "Q": 3.0}
        self.free = free

    def kinds(self, ratio):
        return [*self.costs, *(["free"] if self.free else [])]

    def ranges(self, ratio, kind):
        return (Range(1e-6, 1.0, log=True),) if kind == "free" else ()

    def image(self, ratio, kind, values=()):
        if kind == "N":
            return 2 * math.sqrt(ratio) / (1 + ratio)
        if kind == "H":
            a, b, c = qdwh(ratio)
            return ratio * (a + b * ratio**2) / (1 + c * ratio**2)
        if kind == "free":  # the best cubic of another interval
            a, b = optimal_cubic(values[0])
            x = np.geomspace(ratio, 1.0, 200)
            y = a * x + b * x**3
            return float(y.min() / y.max()) if y.min() > 0 else math.nan
        values = optimal_cubic(ratio) if kind == "NS" else (*optimal_quintic(ratio),)
        y = sum(c * ratio ** (2 * i + 1) for i, c in enumerate(values))
        return y / (2 - y)

    def step(self, ratio, kind, values):
        after = min(self.image(ratio, kind, values), 1.0)
        price = self.costs.get(kind, 2.0)
        return Transition(after, -price if after == after else math.nan, 1 - after <= 1e-6)

    def rollouts(self, ratio):
        for kind in self.costs:
            yield itertools.repeat((kind, ()), 60)

    def cheapest(self, ratio):
        heap, seen = [(0.0, -ratio)], {}
        while heap:
            cost, minus = heapq.heappop(heap)
            if 1 + minus <= 1e-6:
                return cost
            if any(c <= cost and r <= minus for r, c in seen.items()):
                continue
            seen[minus] = cost
            for kind, price in self.costs.items():
                after = min(self.image(-minus, kind), 1.0)
                heapq.heappush(heap, (cost + price, -after))
        return math.inf


@pytest.mark.parametrize("baselines", [True, False])
def test_finds_the_shortest_walk(baselines):
    rng = np.random.default_rng(SEED)
    for _ in range(10):
        graph = Graph(rng.exponential(size=(5, 3, 3)), baselines)
        found = search(graph, (0, 0), rng=SEED, n_iterations=3_000)
        assert found.reward == pytest.approx(-graph.shortest(), rel=1e-12)
        assert len(found.path) == 5


def test_a_finished_tree_is_not_searched_on():
    graph = Graph(np.ones((3, 2, 2)))
    found = search(graph, (0, 0), rng=SEED, n_iterations=10_000)
    assert found.statistics["iterations"] < 40
    assert found.reward == -3.0


@pytest.mark.parametrize("log", [False, True])
def test_comes_closer_to_the_best_values_with_more_iterations(log):
    ranges = (Range(1e-3, 10.0, log), Range(0.5, 2.0, log))
    curve = Curve((0.07, 1.3), ranges)
    errors = [
        np.median([-search(curve, 0, rng=seed, n_iterations=n).reward for seed in range(5)])
        for n in (30, 300, 3_000)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


@pytest.mark.parametrize("baselines", [True, False])
def test_single_bad_actions_do_not_hide_the_other_differences(baselines):
    """Costs of 1e4 beside ones of order 1."""
    rng = np.random.default_rng(SEED)
    excess = []
    for seed in range(10):
        costs = rng.exponential(size=(8, 4, 4)) + np.where(rng.random((8, 4, 4)) < 0.05, 1e4, 0.0)
        graph = Graph(costs, baselines)
        found = search(graph, (0, 0), rng=seed, n_iterations=2_000)
        excess.append(-found.reward / graph.shortest())
    assert np.median(excess) < 1.25
    assert max(excess) < 3.0


def test_deep_walks_are_completed_without_baselines():
    graph = Graph(np.random.default_rng(SEED).exponential(size=(30, 6, 6)), baselines=False)
    found = search(graph, (0, 0), rng=SEED, n_iterations=1_000)
    drawn = search(graph, (0, 0), rng=SEED, n_iterations=1)
    assert found.reward > 0.8 * drawn.reward


class Merged(Graph):
    def identity(self, state):
        return state


def test_states_that_are_the_same_are_searched_once():
    """6^12 walks, but 67 states."""
    costs = np.random.default_rng(SEED).exponential(size=(12, 6, 6))
    merged = Merged(costs)
    found = search(merged, (0, 0), rng=SEED, n_iterations=20_000)
    assert found.reward == pytest.approx(-merged.shortest(), rel=1e-12)
    assert found.statistics["stopped"] == "exhausted"
    assert found.statistics["duplicates"] > 0
    # An incumbent's states count as reached, but are not closed for that.
    walk = [(5, ())] * 12
    again = search(merged, (0, 0), rng=SEED, n_iterations=20_000, incumbent=walk)
    assert again.reward == pytest.approx(-merged.shortest(), rel=1e-12)


class Menu(Graph):
    """Baseline i repeats kind i."""

    def rollouts(self, state):
        for kind in range(self.costs.shape[1]):
            yield itertools.repeat((kind, ()))


def test_is_never_worse_than_any_baseline_from_the_root():
    for seed in range(20):
        menu = Menu(np.random.default_rng(seed).exponential(size=(9, 5, 5)))
        best = min(menu.costs[0, 0, k] + menu.costs[1:, k, k].sum() for k in range(5))
        found = search(menu, (0, 0), rng=seed, n_iterations=1)
        assert found.reward == pytest.approx(-best, rel=1e-12)
        assert found.found_by == "rollout"
        assert found.statistics["rollouts"] == 5
    none = search(menu, (0, 0), n_iterations=1, settings=Settings(rollouts=0))
    assert none.path == ()


@pytest.mark.parametrize("unit", [1e-300, 1e-150, 1e150, 1e306])
def test_the_unit_of_rewards_does_not_matter(unit):
    costs = np.random.default_rng(SEED).exponential(size=(6, 4, 4))
    one = search(Graph(costs), (0, 0), rng=SEED, n_iterations=400)
    other = search(Graph(costs * unit), (0, 0), rng=SEED, n_iterations=400)
    assert other.path == one.path


def test_sums_that_overflow_are_no_paths():
    graph = Graph(np.full((4, 2, 2), -1e308))
    found = search(graph, (0, 0), rng=SEED, n_iterations=200)
    assert found.path == ()
    assert found.reward == -math.inf


def test_ranges_of_a_single_value_are_exhausted():
    curve = Curve((2.0, 3.0), (Range(2.0, 2.0), Range(3.0, 3.0)))
    found = search(curve, 0, rng=SEED, n_iterations=1_000)
    assert found.path == (("move", (2.0, 3.0)),)
    assert found.statistics["stopped"] == "exhausted"


def test_suggestions_that_are_not_finite_are_left_out():
    curve = Curve((0.07,), (Range(0.0, 1.0),), suggested=((math.nan,), (math.inf,), (0.07,)))
    assert search(curve, 0, rng=SEED, n_iterations=2).reward == 0.0
    wrong = Curve((0.07,), (Range(0.0, 1.0),), suggested=((0.5, 0.5),))
    with pytest.raises(InputError, match="takes 1 values"):
        search(wrong, 0, n_iterations=5)


def test_restarts_return_the_best_of_them():
    curve = Curve((0.3, 0.4), (Range(0.0, 1.0), Range(0.0, 1.0)))
    seen = []
    found = search(
        curve, 0, rng=SEED, n_iterations=100, n_restarts=4, callback=lambda p: seen.append(p)
    )
    rewards = [reward for reward, _ in found.statistics["restarts"]]
    assert len(set(rewards)) == 4
    assert found.reward == max(rewards)
    assert [progress.iteration for progress in seen] == list(range(1, 401))
    assert [p.reward for p in seen] == sorted(p.reward for p in seen)
    assert seen[-1].reward == found.reward
    again = search(curve, 0, rng=SEED, n_iterations=100, n_restarts=4)
    assert again.path == found.path
    stopped = search(
        curve,
        0,
        rng=SEED,
        n_iterations=100,
        n_restarts=4,
        callback=lambda p: p.iteration == 150,
    )
    assert stopped.statistics["restarts"][0] == found.statistics["restarts"][0]
    assert [n for _, n in stopped.statistics["restarts"]] == [100, 50]


def test_incumbents_may_be_longer_than_the_depth():
    graph = Graph(np.random.default_rng(SEED).exponential(size=(9, 2, 2)))
    walk = [(1, ())] * 9
    found = search(
        graph, (0, 0), rng=SEED, n_iterations=50, incumbent=walk, settings=Settings(depth=4)
    )
    assert len(found.path) == 9
    assert found.statistics["depth"] == 9


def test_suggested_values_come_first():
    curve = Curve((0.07,), (Range(0.0, 1.0),), suggested=((0.5,), (0.07,)))
    found = search(curve, 0, rng=SEED, n_iterations=3)
    assert found.reward == 0.0
    assert found.path == (("move", (0.07,)),)


@pytest.mark.parametrize("inverse", [1.7, 2.9, 4.56, 5.0, 8.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_plans_a_sign_iteration_as_cheap_as_exact_search(inverse, seed):
    """Mixed iterations, whose best order no baseline has."""
    sign = Sign(inverse)
    found = search(sign, 1e-3, rng=seed, n_iterations=2_000)
    assert -found.reward <= 1.02 * sign.cheapest(1e-3)


def test_continuous_actions_do_not_hurt():
    sign = Sign(5.0, free=True)
    found = search(sign, 1e-3, rng=SEED, n_iterations=4_000)
    assert -found.reward <= 1.05 * sign.cheapest(1e-3)


@given(
    hs.integers(0, 2**31), hs.integers(1, 5), hs.integers(1, 4), hs.integers(0, 60), hs.booleans()
)
@settings(max_examples=60, deadline=None)
def test_is_never_worse_than_the_incumbent(seed, layers, nodes, n_iterations, baselines):
    rng = np.random.default_rng(seed)
    graph = Graph(rng.standard_normal((layers, nodes, nodes)), baselines)
    walk = [(int(kind), ()) for kind in rng.integers(0, nodes, layers)]
    state, total = (0, 0), 0.0
    for kind, values in walk:
        moved = graph.step(state, kind, values)
        state, total = moved.state, total + moved.reward
    found = search(graph, (0, 0), rng=seed, n_iterations=n_iterations, incumbent=walk)
    assert found.reward >= total
    replayed, state = 0.0, (0, 0)
    for kind, values in found.path:
        moved = graph.step(state, kind, values)
        state, replayed = moved.state, replayed + moved.reward
    assert moved.terminal
    assert replayed == pytest.approx(found.reward, abs=1e-12)
    assert -found.reward >= graph.shortest() - 1e-12
    if n_iterations == 0:
        assert found.found_by == "incumbent"


def test_incumbents_are_checked():
    graph = Graph(np.ones((2, 2, 2)))
    for walk, said in [
        ([(0, ())], "complete"),
        ([(0, ()), (5, ())], "not offered"),
        ([(0, ()), (0, ()), (0, ())], "not offered"),
        ([(0, (1.0,)), (0, ())], "takes 0 values"),
    ]:
        with pytest.raises(InputError, match=said):
            search(graph, (0, 0), incumbent=walk, n_iterations=5)


class Trap(Graph):
    """Node 1 leads nowhere, and node 2 to what is not a number."""

    def kinds(self, state):
        return () if state[1] == 1 else range(3)

    def step(self, state, kind, values):
        moved = super().step(state, kind, values)
        return moved._replace(reward=math.nan) if kind == 2 else moved


def test_dead_ends_are_left():
    trap = Trap(np.ones((4, 3, 3)), baselines=False)
    found = search(trap, (0, 0), rng=SEED, n_iterations=1_000)
    # A last step to node 1 ends the walk like one to node 0.
    assert found.reward == -4.0
    assert [kind for kind, _ in found.path][:3] == [0, 0, 0]


class Nowhere(Graph):
    def kinds(self, state):
        return () if state[0] == 2 else range(2)


def test_nothing_to_be_found_is_said():
    found = search(Nowhere(np.ones((9, 2, 2)), baselines=False), (0, 0), n_iterations=1_000)
    assert found.path == ()
    assert found.reward == -math.inf
    assert found.found_by == "nothing"
    assert found.statistics["iterations"] < 100
    assert search(Nowhere(np.ones((9, 2, 2))), (0, 0), max_time=0.0).path == ()


def test_paths_are_no_longer_than_allowed():
    graph = Graph(np.ones((9, 2, 2)))
    found = search(graph, (0, 0), rng=SEED, n_iterations=300, settings=Settings(depth=4))
    assert found.path == ()
    assert found.statistics["depth"] <= 4


def test_the_same_seed_finds_the_same():
    curve = Curve((0.3, 0.4), (Range(0.0, 1.0), Range(0.0, 1.0)))
    first, again, other = (search(curve, 0, rng=s, n_iterations=200) for s in (7, 7, 8))
    assert first.path == again.path
    assert first.path != other.path
    generator = np.random.default_rng(7)
    assert search(curve, 0, rng=generator, n_iterations=200).path == first.path


def test_the_callback_sees_rewards_grow_and_stops():
    seen = []

    def watch(progress):
        seen.append(progress)
        return len(seen) == 50

    curve = Curve((0.3,), (Range(0.0, 1.0),))
    found = search(curve, 0, rng=SEED, max_time=60.0, callback=watch)
    assert found.statistics["iterations"] == len(seen) == 50
    rewards = [progress.reward for progress in seen]
    assert rewards == sorted(rewards)
    assert rewards[-1] == found.reward


def test_an_interrupt_keeps_what_was_found():
    def interrupt(progress):
        if progress.iteration == 20:
            raise KeyboardInterrupt

    found = search(Curve((0.3,), (Range(0.0, 1.0),)), 0, rng=SEED, callback=interrupt)
    assert found.statistics["iterations"] == 20
    assert found.path


def test_the_record_adds_up():
    graph = Graph(np.random.default_rng(SEED).exponential(size=(6, 4, 4)))
    found = search(graph, (0, 0), rng=SEED, n_iterations=500)
    statistics = found.statistics
    # The first iteration follows baselines from the root.
    assert sum(statistics["visits"].values()) == statistics["iterations"] - 1 == 499
    assert sum(statistics["choices"].values()) >= 499
    assert statistics["stopped"] == "n_iterations"
    rewards = [reward for _, reward in statistics["improvements"]]
    assert rewards == sorted(rewards)
    assert rewards[-1] == found.reward
    assert statistics["found_at"] == statistics["improvements"][-1][0] <= 500
    assert statistics["nodes"] == 500
    assert statistics["nodes"] <= statistics["transitions"] + 1
    assert "6 actions" in str(found)


@pytest.mark.parametrize("guided", [False, True])
def test_visits_of_children_sum_to_the_parents(guided):
    """But for the visit that made a state, which went no further."""
    sign = Sign(5.0, free=True)
    tree = Tree(sign, 1e-3, Settings(), np.random.default_rng(SEED))
    incumbent, on_path = [("free", (0.01,))], {1e-3}  # its states were made by one that went on
    state = sign.step(1e-3, *incumbent[0]).state
    while guided and 1 - state > 1e-6:
        on_path.add(state)
        incumbent.append(("NS", ()))
        state = sign.step(state, "NS", ()).state
    if guided:
        tree.insert(incumbent)
    for _ in range(1_500):
        tree.iterate()
    stack, n_nodes = [tree.root], 0
    while stack:
        node = stack.pop()
        n_nodes += 1
        below = sum(child.visits for child in node.children.values())
        if node.state is None or not node.children:
            own = 0 if node.children else node.visits
        else:
            # At the root it is the iteration of the baselines.
            own = 1 if node is tree.root or not guided or node.state not in on_path else 0
        assert node.visits == below + own
        assert set(node.open) == {k for k, child in node.children.items() if not child.closed}
        if node.best > -math.inf:
            assert node.best >= max(
                (child.reward + child.best for child in node.children.values()), default=-math.inf
            )
        stack += node.children.values()
    assert n_nodes == tree.nodes


def test_results_survive_json():
    class Named(Graph):
        def kinds(self, state):
            return [np.int64(0), np.int64(1)]

    class Tuples(Graph):
        def kinds(self, state):
            return [("a", 0), ("a", 1)]

        def step(self, state, kind, values):
            return super().step(state, kind[1], values)

    costs = np.random.default_rng(SEED).exponential(size=(4, 2, 2))
    for environment in (Named(costs, False), Tuples(costs, False)):
        found = search(environment, (0, 0), rng=SEED, n_iterations=20, n_restarts=2)
        again = SearchResult.from_json(found.to_json())
        assert again.path == found.path
        assert (again.reward, again.found_by) == (found.reward, found.found_by)
        assert again.statistics == found.statistics
        assert str(again) == str(found)
    nothing = search(Nowhere(costs, False), (0, 0), n_iterations=20, n_restarts=2)
    again = SearchResult.from_json(nothing.to_json())
    assert again.reward == -math.inf
    assert again.statistics == nothing.statistics
    with pytest.raises(InputError, match="kinds must be"):
        SearchResult(((object(), ()),), 1.0, "rollout").to_json()


def test_options_are_checked():
    graph = Graph(np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="n_restarts"):
        search(graph, (0, 0), n_restarts=0)
    for ends in ((1.0, 0.0), (math.nan, 1.0), (0.0, math.inf)):
        with pytest.raises(InputError, match="lower <= upper"):
            Range(*ends)
    with pytest.raises(InputError, match="positive"):
        Range(0.0, 1.0, log=True)
    for options in ({"n_iterations": -1}, {"max_time": -1.0}, {"max_time": math.nan}):
        with pytest.raises(InputError, match="must not be negative"):
            search(graph, (0, 0), **options)
    for options in (
        {"exploration": 0.0},
        {"power": math.inf},
        {"uniform_share": 1.5},
        {"depth": 0},
        {"rollouts": -1},
    ):
        with pytest.raises(InputError, match=next(iter(options))):
            Settings(**options)


@given(hs.floats(0, 1), hs.booleans())
def test_fractions_of_ranges(u, log):
    one = Range(0.01, 100.0, log)
    assert one.lower * (1 - 1e-12) <= one.at(u) <= one.upper * (1 + 1e-12)
    assert one.fraction(one.at(u)) == pytest.approx(u, abs=1e-12)
    assert Range(2.0, 2.0).fraction(2.0) == 0.0
    assert one.fraction(-3.0) == 0.0
    assert one.fraction(1e9) == 1.0
    wide = Range(-1.7e308, 1.7e308)
    assert wide.fraction(wide.at(u)) == pytest.approx(u, abs=1e-12)
    assert (one.at(0.0), one.at(1.0)) == (one.lower, one.upper)
