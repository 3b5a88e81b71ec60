"""Training of the coefficient predictor: data, unrolled losses, scores; the loop is `train`'s.

Source
    AutoSpec (Liu, Balabanov, Yang, Mahoney, arXiv:2602.09530, 2026): self-supervised, on diagonal
    operators, through the recurrence that is to run.
Deviations
    Three of four spectra are squeezed to condition numbers of at most 1e5, since on harder ones no
    polynomial of low degree has anything to gain.
Cost
    About a minute per network on one core: elementwise work on batches of rows times 192 nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from spectool._types import FloatArray
from spectool.learned.features import probe_features, scaled_probe
from spectool.learned.objectives import GUARD, WIDTH, Nodes, log_error, system_loss
from spectool.learned.predictor import TIMES, inputs, starts
from spectool.learned.recurrences import Given, coefficients, evaluate, n_outputs
from spectool.learned.synthetic import FAMILIES, HELD_OUT, Problem, draw, probed
from spectool.learned.training_run import Rows, Run

if TYPE_CHECKING:
    from spectool.learned.training_run import Settings

NODES = 192
"""Nodes that a spectrum is lumped to."""
HEAD = ("degree", "low", "seen", "safe", "time", "share", "center", "plain", "n")
"""Columns of the targets before logarithms of nodes, masses and levels."""
OCTAVES = ((4, 4, 6), (8, 8, 12), (16, 16, 24), (32, 32, 40))
"""Degrees: one of each octave per spectrum."""
MODERATE_SHARE, MODERATE = 0.75, (0.7, 5.0)
"""How many spectra are squeezed to condition numbers of these logarithms."""
MOST_PLAIN = 5_000


def squeezed(problem: Problem, rng: np.random.Generator) -> Problem:
    """Return the problem with a power of its eigenvalues, so that it is moderately conditioned."""
    decades = -math.log10(problem.eigenvalues[0])
    power = min(1.0, rng.uniform(*MODERATE) / max(decades, 1e-6))
    return problem._replace(eigenvalues=problem.eigenvalues**power)


def predictor_row(seed: int, index: int) -> Rows:
    """Draw spectrum number ``index``: features of its probe, and the spectrum in their unit."""
    from spectool.learned.data import cg_count

    rng = np.random.default_rng([seed, index])
    problem = draw(FAMILIES[index % len(FAMILIES)], rng)
    if rng.random() < MODERATE_SHARE:
        problem = squeezed(problem, rng)
    steps = 24 if rng.random() < 0.5 else int(rng.integers(6, 33))
    spectrum = probed(problem, rng, steps=steps)
    probe = scaled_probe(spectrum)
    x = problem.eigenvalues
    plain = cg_count(x, problem.masses, None, maxiter=MOST_PLAIN)
    low, high = np.log(TIMES)
    head = [0.0, probe.lowest, probe.seen, probe.safe, math.exp(rng.uniform(low, high))]
    head += [10.0 ** rng.uniform(-2, -0.7), rng.uniform(0.15, 0.85), plain, problem.n]
    levels = (np.cumsum(problem.counts) - 0.5 * problem.counts) / problem.n
    parts = np.array_split(np.arange(x.size), min(NODES, x.size))
    if x.size > NODES:  # both ends as finely as they are, the middle in groups
        reach = 1.0 / (1.0 + np.exp(-np.linspace(-1, 1, NODES + 1) * np.log(x.size)))
        edges = np.unique(np.round(reach * x.size).astype(int))
        edges[0], edges[-1] = 0, x.size
        parts = [np.arange(i, j) for i, j in pairwise(edges)]
    nodes = np.array([x[part].mean() for part in parts]) / probe.upper
    masses = np.array([problem.masses[part].sum() for part in parts])
    heights = np.array([levels[part].mean() for part in parts])
    # Ends that the probe gives, of window and edge.
    share, center = head[5], head[6]
    quantiles = [GUARD * share, center - 0.5 * WIDTH, center + 0.5 * WIDTH]
    estimates = spectrum.quantile(np.array(quantiles)) / probe.upper
    padding = (0, NODES - nodes.size)
    columns = [
        np.array(head),
        estimates,
        np.log(np.pad(np.maximum(nodes, 1e-14), padding, mode="edge")),
        np.pad(masses / masses.sum(), padding),
        np.pad(heights, padding, mode="edge"),
    ]
    row = probe_features(probe, complete=spectrum.complete)
    kept = float(problem.family in HELD_OUT)
    return Rows(row[None], np.concatenate(columns)[None], np.array([kept]))


def predictor_rows(
    problems: range, seed: int, threads: int, advance: Callable[[], None] | None
) -> Rows:
    """Draw spectra as `selector_data` does."""
    from spectool.learned.data import drawn

    parts = drawn(lambda i: predictor_row(seed, i), problems, threads, advance)
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class PredictorRun(Run):
    """A run whose loss is what the recurrence does on the true spectrum."""

    gain = 0.0  # an untrained network is the classical method

    @staticmethod
    def expanded(rows: Rows, task: str, settings: Settings) -> Rows:
        """Return a row per spectrum and degree, with what the network sees of the task."""
        _, name, _ = task.split("-")
        rng = np.random.default_rng([settings.seed, 1])
        features, targets = [], []
        for octave in OCTAVES:
            degrees = np.array(octave)[rng.integers(len(octave), size=len(rows.features))]
            y = rows.targets.copy()
            y[:, 0] = degrees
            extra = [inputs(name, int(row[0]), row[1], *_choices(row)) for row in y]
            features.append(np.hstack([rows.features, np.array(extra)]))
            targets.append(y)
        kept = np.tile(rows.held_out, len(OCTAVES))
        return Rows(np.concatenate(features), np.concatenate(targets), kept)

    @property
    def names(self) -> tuple[str, str]:
        """Return the task and the paradigm."""
        _, name, paradigm = self.task.split("-")
        return name, paradigm

    def n_outputs(self) -> int:
        """Return the network's outputs."""
        return n_outputs(self.names[1])

    def batches(self, order: Any) -> list[Any]:
        """Return batches of one degree each."""
        degrees = self.y[:, 0].numpy()[order].astype(int)
        size = self.settings.batch
        groups = [order[degrees == d] for d in np.unique(degrees)]
        found = [g[k : k + size] for g in groups for k in range(0, len(g), size)]
        shuffled = np.random.default_rng([self.settings.seed, self.done, 1]).permutation(len(found))
        return [found[i] for i in shuffled]

    def loss(self, found: Any, target: Any) -> Any:
        """Return the mean of the task's objective."""
        values = [self.row_losses(each, target, soft=True) for each in found]
        return self.torch.stack(values).mean()

    def row_losses(self, outputs: Any, target: Any, *, soft: bool) -> Any:
        """Return the objective row by row, shape (rows,)."""
        torch, (name, paradigm) = self.torch, self.names
        outputs, target = outputs.double(), target.double()
        losses = torch.zeros(len(target), dtype=torch.float64)
        for degree in torch.unique(target[:, 0]).tolist():
            chosen = target[:, 0] == degree
            y, d = target[chosen], int(degree)
            k = len(HEAD) + 3
            nodes = Nodes(
                torch.exp(y[:, k : k + NODES]),
                y[:, k + NODES : k + 2 * NODES],
                y[:, k + 2 * NODES :],
            )
            given = _given(torch, name, y, d)
            p = coefficients(torch, name, paradigm, d, given, outputs[chosen])
            values = evaluate(torch, p, nodes.x)
            if name == "solve":
                kind = self.settings.objective
                part = system_loss(torch, values, nodes, y[:, 7:8], d, kind)
            else:
                share = y[:, 6:7] if name == "window" else y[:, 5:6]
                part = log_error(torch, name, values, nodes, time=y[:, 4:5], share=share, soft=soft)
            losses = losses.masked_scatter(chosen, part)
        return losses

    def step(self) -> None:
        """Clip gradients, then step."""
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    def scores(self, net: Any) -> dict[str, float]:
        """Return how much held-out families gain over the classical start, in log10 units."""
        del net
        torch = self.torch
        with torch.no_grad():
            parameters, self.parameters = self.parameters, self.best
            outputs = self.forward(self.x_kept).mean(dim=0)
            self.parameters = parameters
            mine = self.row_losses(outputs, self.y_kept, soft=False).numpy()
            start = self.row_losses(0.0 * outputs, self.y_kept, soft=False).numpy()
        gain = mine - start
        return {
            "held-out objective, mean log10": float(mine.mean()),
            "classical start, mean log10": float(start.mean()),
            "median change": float(np.median(gain)),
            "share better": float(np.mean(gain < -1e-9)),
        }

    def outputs(self) -> list[str]:
        """Return names of the outputs."""
        ends = ["first end", "second end"]
        count = self.n_outputs() - 2
        return ends + [f"correction {k}" for k in range(count)]

    def loss_name(self) -> str:
        """Return what the card says of the loss."""
        name = self.names[0]
        return f"unrolled: {self.settings.objective if name == 'solve' else name + ', log10 error'}"


def _choices(row: FloatArray) -> tuple[float, float, float, tuple[float, ...]]:
    """Return time, share, center and the three estimates as `inputs` takes them."""
    time, share, center = row[4:7]
    edge, left, right = row[len(HEAD) : len(HEAD) + 3]
    return float(time), float(share), float(center), (edge, left, right)


def _given(torch: Any, name: str, y: Any, degree: int) -> Given:
    low, seen, safe, time = (y[:, k : k + 1] for k in (1, 2, 3, 4))
    edge, left, right = (y[:, len(HEAD) + k : len(HEAD) + k + 1] for k in range(3))
    return starts(torch, name, degree, low, seen, safe, time, edge, left, right)
