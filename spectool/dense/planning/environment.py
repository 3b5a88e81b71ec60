r"""Planning as a sequence of decisions: which actions, what they lead to, and what they cost.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833, section 3 (state, actions, coupling, reward
    by measured time, rollouts by baselines).
Deviations
    (1) See ``dense.actions`` for what is offered. (2) Errors of rounding belong to the state: a
    plan counts as done only if what they leave is small. (3) Direct methods are actions. (4) Steps
    cost what they do as they run: from ``Y = I`` products are free.
Cost
    0.1 to 0.3 ms per step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from spectool._types import FloatArray
from spectool.dense.algebra import SpectrumAlgebra
from spectool.dense.costs import Costs
from spectool.dense.decompositions import IDENTITY_START, Decomposition, decompositions
from spectool.dense.iterations import ZOO
from spectool.dense.planning.actions import Action, Path, State, modes
from spectool.dense.planning.aims import aimed, coordinate, fitted, limit
from spectool.dense.planning.exact_search import CostToGo, image, moves_of
from spectool.dense.planning.pricing import StepPrices
from spectool.dense.planning.rounding import FLOOR, Noise, RoundingModel
from spectool.dense.planning.spectra import Nodes
from spectool.dense.problems import Problem
from spectool.dense.steps import Kind, Step, Variables
from spectool.planner.mcts import Range, Transition

__all__ = ["IterationEnvironment"]

DEPTH = 24
"""Most steps of a plan."""
CLOSE = 0.6
"""Largest ``|1 - t|`` from which a classical step is tried as the last one."""
FARTHEST = 1e6
"""Largest t, and 1 / t, relative to the start's, before a state counts as lost."""
LOST = 0.05
"""Relative error by rounding at which a state counts as lost."""
WORSE = 30.0
"""How much more error than by rounding of A is granted to rounding on the way."""
SQUARED = 4.0
"""Multiple of ``eps kappa(X)^2`` that a direct method on ``X^H X`` leaves."""
MARGIN = 0.002
"""Part of the interval by which values between those of the model may exceed it."""
BASIN = 0.95
"""Share of ``t^q < q + 1``, from where classical steps converge, that all values must end in."""
AIMS = (0.0, 0.95)
"""Where the aimed part may begin: exponents between the ends of the interval."""
_SPECTRUM = SpectrumAlgebra()


class IterationEnvironment:
    """Planning of an iteration for one spectrum, precision and list of costs.

    Parameters
    ----------
    problem : Problem
        The function.
    nodes : Nodes
        Scaled into [-1, 1].
    costs : Costs
        What operations cost.
    rtol : float
        For the loss.
    eps : float
        Rounding of the data type.
    pair : bool
        Whether square root and inverse square root are asked for together.
    classical_last : bool
        Whether the last step must have its classical values, so that more of them converge.
    direct : bool
        Whether direct methods are offered.
    """

    def __init__(
        self,
        problem: Problem,
        nodes: Nodes,
        costs: Costs,
        *,
        rtol: float,
        eps: float,
        pair: bool = False,
        classical_last: bool = True,
        direct: bool = True,
    ) -> None:
        self.problem, self.nodes, self.costs = problem, nodes, costs.relative()
        self.rtol, self.eps, self.pair = rtol, eps, pair
        self.classical_last = classical_last
        self.tall = nodes.shape[0] > nodes.shape[1]
        A, self.weights = nodes.guarded()
        self._safe_modes = ("scaled", "covering") if nodes.spare > 1.0 else ("scaled",)
        # The first value is there to be survived, not to be aimed at.
        self.inside = slice(1 if nodes.spare > 1.0 else 0, None)
        self.margin = MARGIN if nodes.spare > 1.0 else 0.0
        self.definite = bool((A > 0).all()) and problem.function != "polar" and not nodes.singular
        self.target = limit(problem, A)
        # As if one eigenvalue lay where later matrices may have some.
        presence = self.weights.copy()
        presence[0] = max(presence[0], 1.0 / nodes.shape[1])
        self.presence = presence / presence.sum()
        self.rounding = RoundingModel(problem, A, self.presence, eps, nodes.shape[1])
        self.granted = max(rtol, FLOOR * eps * math.sqrt(nodes.shape[1]))
        self.inherent = self.rounding.inherent(A, self.target)
        self.tolerated = max(rtol, WORSE * self.inherent, self.granted)
        self._size = float(np.sqrt(self.weights @ (A * A)))
        self._kinds = {name: kind for name, kind in ZOO.items() if self._serves(kind)}
        served = decompositions(problem, self.costs, definite=self.definite, pair=pair)
        self.direct = served if direct else {}
        q = {"sign": 2, "sqrt": 2}.get(problem.family, problem.p)
        self.basin = (BASIN * (q + 1)) ** (1.0 / q)
        self._prices = StepPrices(problem, self.costs, tall=self.tall)
        self._tried: tuple[State, Step, Transition[State]] | None = None
        v = problem.variables(_SPECTRUM, A)
        self.root = State(v, self.rounding.quiet(), self._loss(v), fresh=True)
        prices = {
            name: self._prices.by_ratio(self._kinds[name])
            for name in moves_of(problem)
            if name in self._kinds
        }
        self.moves = {name: price for name, price in prices.items() if math.isfinite(price(1.0))}
        self.to_go = CostToGo(
            self.moves,
            self.ratio(self.root) / nodes.spare,
            rtol=rtol,
            p=problem.p,
            classical_last=classical_last,
        )
        self._recoupling = min(
            (
                self._prices.of(kind, (), fresh=False)
                for kind in self._kinds.values()
                if kind.recouples
            ),
            default=0.0,
        )
        self.n_policies = len(self._safe_modes) * (
            2 if self._may_start_from_identity(self.root) else 1
        )

    def _serves(self, kind: Kind) -> bool:
        if kind.function != self.problem.family or kind.name == "sign.zolotarev":
            return False
        # No inverse of a rectangular X.
        return not (self.tall and kind.name == "sign.newton")

    def kinds(self, state: State) -> list[Action]:
        """Return the actions from a state, in a fixed order."""
        if state.finished or state.lost or state.depth >= DEPTH:
            return []
        found: list[Action] = [
            name for name, one in self.direct.items() if self._fits(one[0], state)
        ]
        for kind in self._available(state):
            offered = modes(kind, self.problem.p, ahead=self.nodes.spare > 1.0)
            found += [f"{kind.name}:{mode}" for mode in offered]
        if self._may_start_from_identity(state):
            found.append(IDENTITY_START.name)
        return found

    def _may_start_from_identity(self, state: State) -> bool:
        return self.problem.family == "inv" and self.definite and state.depth == 0

    def _available(self, state: State) -> Iterator[Kind]:
        coupled = state.variables.coupled
        single = self.problem.family in ("sign", "inv")
        for kind in self._kinds.values():
            if not math.isfinite(self.price(kind, kind.classical(self.problem.p), state)):
                continue
            if single or (coupled and not kind.recouples) or not (coupled or kind.coupled):
                yield kind

    def _fits(self, one: Decomposition, state: State) -> bool:
        if state.depth and not one.anywhere:
            return False
        if not one.squared:
            return True
        t = np.abs(state.variables.X)
        kappa = float(t.max() / t.min())
        return SQUARED * self.eps * kappa**2 <= self.granted

    def ranges(self, state: State, action: Action) -> tuple[Range, ...]:
        """Return the ranges of an action's parameters."""
        del state
        kind, mode = self._parsed(action)
        if mode == "aimed":
            return (Range(*AIMS, False),)
        if mode == "free" and kind is not None:
            return tuple(Range(one.lower, one.upper, one.log) for one in kind.parameters)
        return ()

    def suggestions(self, state: State, action: Action) -> list[tuple[float, ...]]:
        """Return values to try before any others."""
        kind, mode = self._parsed(action)
        if mode == "aimed":
            return [(0.3,), (0.6,)]
        best = self.resolved(state, f"{action.partition(':')[0]}:scaled", ())
        if kind is None or best is None:
            return []
        return [best.values, kind.classical(self.problem.p)]

    def step(self, state: State, action: Action, values: Sequence[float]) -> Transition[State]:
        """Return the next state and minus the cost, in products."""
        step = self.resolved(state, action, tuple(values))
        if step is None:
            return self._dead(state, f"{action} has no values here")
        if step.kind.name in self.direct:
            price = self.direct[step.kind.name][1]
            v = state.variables._replace(X=self.target)
            ended = State(v, state.noise, 0.0, state.depth + 1, finished=True)
            return Transition(ended, -price, True)
        return self.taken(state, step)

    def rollouts(self, state: State) -> Iterator[Iterable[tuple[Action, tuple[float, ...]]]]:
        """Yield continuations: the cheapest on the interval, then each baseline to its end."""
        prefix: list[tuple[Action, tuple[float, ...]]] = []
        if self._gave_up(state.variables):
            recoupling = (kind for kind in self._kinds.values() if kind.recouples)
            prefix = [(f"{kind.name}:scaled", ()) for kind in recoupling]
        prefixes = [prefix]
        if self._may_start_from_identity(state):
            prefixes.append([(IDENTITY_START.name, ())])
        for mode, prefix in itertools.product(self._safe_modes if self.moves else (), prefixes):
            yield itertools.chain(prefix, self._policy(state, mode))
        for name, mode, prefix in itertools.product(self.moves, self._safe_modes, prefixes):
            yield itertools.chain(prefix, itertools.repeat((f"{name}:{mode}", ()), DEPTH))
        for kind in self._available(state):
            if kind.name not in self.moves and kind.order > 1:
                yield itertools.repeat((f"{kind.name}:scaled", ()), DEPTH)

    def resolved(self, state: State, action: Action, values: tuple[float, ...]) -> Step | None:
        """Return the step that an action takes, or None where it has no values."""
        kind, mode = self._parsed(action)
        if kind is None or not kind.parameters or mode == "free":
            return None if kind is None else Step(kind, values)
        v, p = state.variables, self.problem.p
        t = coordinate(self.problem, v, self.target)
        lower = float(t.min() if mode == "covering" else t[self.inside].min())
        upper = float(t[self.inside].max())
        upper += self.margin * (upper - lower)
        if not 0.0 < lower <= upper < math.inf:
            return None
        if mode in ("scaled", "covering"):
            if self.classical_last and max(upper - 1.0, 1.0 - lower) < CLOSE:
                classical = Step(kind, kind.classical(p))
                if self.taken(state, classical).state.finished:
                    return classical
            return self._best(kind, v, t, lower, upper)
        if mode == "aimed":
            begin = lower ** (1.0 - values[0]) * upper ** values[0]
            return self._best(kind, v, t, begin, upper)
        weights = self.weights
        if mode == "largest":
            weights = np.ones_like(weights)
            weights[: self.inside.start] = 0.0
        with np.errstate(all="ignore"):
            found = fitted(kind, v, self.target, weights, largest=mode == "largest")
        return None if found is None else Step(kind, found)

    def _best(
        self, kind: Kind, v: Variables, t: FloatArray, lower: float, upper: float
    ) -> Step | None:
        with np.errstate(all="ignore"):
            found = aimed(kind, lower, upper, self.problem.p)
            if found is None:
                found = fitted(kind, v, self.target, np.where(t >= lower, 1.0, 0.0))
        return None if found is None else Step(kind, found)

    def taken(self, state: State, step: Step) -> Transition[State]:
        """Return what a step with given values leads to."""
        # A classical step that was tried as the last one is taken next.
        if self._tried is None or self._tried[0] is not state or self._tried[1] is not step:
            self._tried = (state, step, self._taken(state, step))
        return self._tried[2]

    def _taken(self, state: State, step: Step) -> Transition[State]:
        price = self.price(step.kind, step.values, state)
        v = state.variables
        with np.errstate(all="ignore"):
            after = step(_SPECTRUM, v)
            if step.kind.name == IDENTITY_START.name:
                loss = self._loss(after)
                started = State(after, state.noise, loss, state.depth + 1, fresh=True)
                return Transition(started, 0.0, False)
            t = after.X / self.target
            low, high = float(t.min()), float(t.max())
            if not (0.0 < low <= high < math.inf) or high > FARTHEST or low < 1.0 / FARTHEST**2:
                return self._dead(state, f"{step.kind.name} leaves its domain")
            noise = self.rounding.step(step, v, state.noise)
            loss = self._loss(after)
            wrong = self.rounding.of_answer(after, noise)
        if not loss < FARTHEST or not wrong < LOST:
            return self._dead(state, f"{step.kind.name}: rounding errors of {wrong:.1g}")
        finished = self._finished(after, noise, loss, wrong, step)
        made = State(after, noise, loss, state.depth + 1, finished)
        if not finished and made.depth >= DEPTH:
            return self._dead(state, f"more than {DEPTH} steps")
        return Transition(made, -price, finished)

    def _finished(self, v: Variables, noise: Noise, loss: float, wrong: float, step: Step) -> bool:
        if not loss <= self.rtol or wrong > self.tolerated:
            return False
        if float(np.abs(coordinate(self.problem, v, self.target)).max()) >= self.basin:
            return False
        if self._gave_up(v):
            # Nothing repairs such an end where the spectrum differs.
            wider = self._loss(v, self.presence)
            if self.pair or self.problem.function == "invsqrt" or not wider <= self.rtol:
                return False
        if self.classical_last and step.values != step.kind.classical(self.problem.p):
            return False
        return self.rounding.of_residual(v, noise) <= self.granted

    def price(self, kind: Kind, values: Sequence[float], state: State) -> float:
        """Return the cost of a step in products."""
        # Inverses start from A^H, unless the identity was chosen.
        fresh = state.fresh and (self.problem.family != "inv" or state.depth > 0)
        return self._prices.of(kind, tuple(values), fresh=fresh)

    def follow(self, path: Iterable[tuple[Action, tuple[float, ...]]]) -> tuple[Path, float, State]:
        """Take actions until the plan is done or lost; returns what was taken, cost and state."""
        state, cost, taken = self.root, 0.0, []
        for action, values in path:
            if state.finished or state.lost:
                break
            moved = self.step(state, action, values)
            taken.append((action, tuple(values)))
            state, cost = moved.state, cost - moved.reward
        return taken, (cost if state.finished else math.inf), state

    def steps(self, path: Path) -> tuple[list[Step], list[State]]:
        """Return the steps of a path, and the states after them."""
        state, made, states = self.root, [], []
        for action, values in path:
            step = self.resolved(state, action, tuple(values))
            if step is None:
                break
            made.append(step)
            state = self.step(state, action, values).state
            states.append(state)
        return made, states

    def ratio(self, state: State) -> float:
        """Return the ratio of the ends of the coordinate's interval, 0 if there is none."""
        with np.errstate(all="ignore"):
            t = coordinate(self.problem, state.variables, self.target)[self.inside]
        low, high = float(t.min()), float(t.max())
        return low / high if 0.0 < low <= high < math.inf else 0.0

    def remaining(self, state: State) -> float:
        """Return about what it costs to the end; 0 where nothing is known."""
        if not self.moves:
            return 0.0
        return self.to_go.cost(self.ratio(state)) + (
            self._recoupling if self._gave_up(state.variables) else 0.0
        )

    def _policy(self, state: State, mode: str) -> Iterator[tuple[Action, tuple[float, ...]]]:
        """Yield what the exact search on the interval does, from wherever the state then is."""
        ratio = self.ratio(state)
        if mode == "covering":
            ratio /= self.nodes.spare
        for _ in range(DEPTH):
            name = self.to_go.step(ratio)
            if not name:
                name = self.to_go.step(0.5) or next(iter(self.moves))
            yield f"{name}:{mode}", ()
            ratio = image(name, ratio, self.problem.p)

    def _parsed(self, action: Action) -> tuple[Kind | None, str]:
        if action in self.direct:
            return self.direct[action][0].kind, "direct"
        if action == IDENTITY_START.name:
            return IDENTITY_START, "direct"
        name, _, mode = action.partition(":")
        return self._kinds.get(name), mode

    def _loss(self, v: Variables, weights: FloatArray | None = None) -> float:
        weights = self.weights if weights is None else weights
        with np.errstate(all="ignore"):
            R = self.problem.residual(_SPECTRUM, v)
            loss = float(np.sqrt(weights @ np.square(np.abs(R))))
        return loss / self._size if self._gave_up(v) else loss

    def _gave_up(self, v: Variables) -> bool:
        """Return whether Y was given up, so that the residual is ``A - X^p``."""
        return self.problem.family not in ("sign", "inv") and not v.coupled

    def _dead(self, state: State, why: str) -> Transition[State]:
        lost = State(state.variables, state.noise, state.loss, state.depth + 1, lost=why)
        return Transition(lost, -math.inf, False)
