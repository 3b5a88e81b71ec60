"""One training run of a network in torch: parameters, loss, rate, and what a checkpoint holds.

Source
    AdamW: Loshchilov and Hutter, ICLR 2019; one-cycle rates: Smith and Topin, arXiv:1708.07120.
Deviations
    The selector's loss is the smooth L1 distance of log-overheads plus the expected regret of a
    softmin choice; an ensemble is trained as one batched network. The rate is a function of the
    step, and the order of rows one of (seed, epoch), so that a resumed run equals one that was not
    interrupted.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.learned.completion import LEVELS
from spectool.learned.data import DEGREES
from spectool.learned.model import CLAMP, FORMAT, Network
from spectool.learned.portfolio import NAMES
from spectool.learned.synthetic import FAMILIES, HELD_OUT

Task: TypeAlias = str
"""One of ``model.TASKS``."""
VERSION = 1
BETA = 0.1
"""Where the smooth L1 loss turns from square to linear."""
TEMPERATURE = 0.03
"""Of the softmin choice whose regret is a loss."""
ROOM = 1.5
"""What lies farther out than this times all but one per cent of held-out probes is unlike those of
training."""
NEAREST = 0.05
"""Least such distance."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is trained.

    Attributes
    ----------
    n_problems : int
        Synthetic spectra.
    epochs : int
        Most passes over the rows.
    width, depth : int
        Of the hidden layers.
    members : int
        Networks of the ensemble.
    batch : int
        Rows per step.
    rate, decay : float
        Largest learning rate, and AdamW's weight decay.
    patience : int
        Epochs without a better validation loss after which training ends.
    seed : int
        Decides data, initial weights and the order of rows.
    objective : {"pcg", "kaporin", "condition"}
        What "predictor-solve-..." makes small.
    threads : int
        Problems drawn at a time, and torch's threads.
    """

    n_problems: int
    epochs: int = 80
    width: int = 128
    depth: int = 2
    members: int = 4
    batch: int = 256
    rate: float = 2e-3
    decay: float = 1e-2
    patience: int = 25
    seed: int = 271_828_182
    objective: str = "pcg"
    threads: int = 2


class Rows(NamedTuple):
    """Features, targets and whether held out, from either kind of data."""

    features: FloatArray
    targets: FloatArray
    held_out: FloatArray


class Run:
    """One training run: what a checkpoint holds."""

    gain = 0.1  # of the last layer: an untrained completion is the classical one

    def __init__(
        self, torch: Any, task: Task, settings: Settings, rows: Rows, moments: tuple[Any, ...]
    ) -> None:
        self.torch, self.task, self.settings, self.rows = torch, task, settings, rows
        self.moments = moments
        torch.set_num_threads(settings.threads)
        mean, std = moments[:2]
        x = np.clip((rows.features - mean) / std, -CLAMP, CLAMP).astype(np.float32)
        y, kept = rows.targets.astype(np.float32), rows.held_out > 0
        self.x, self.y = (torch.from_numpy(part[~kept]) for part in (x, y))
        self.x_kept, self.y_kept = (torch.from_numpy(part[kept]) for part in (x, y))
        generator = torch.Generator().manual_seed(settings.seed)
        sizes = [x.shape[1], *[settings.width] * settings.depth, self.n_outputs()]
        self.parameters: list[Any] = []
        for inputs, outputs in pairwise(sizes):
            shape = (settings.members, inputs, outputs)
            weight = torch.randn(shape, generator=generator) / math.sqrt(inputs)
            if len(self.parameters) == 2 * settings.depth:
                weight *= self.gain
            self.parameters += [weight, torch.zeros(settings.members, 1, outputs)]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.rate, weight_decay=settings.decay
        )
        self.done = 0
        self.losses: list[float] = []
        self.best = [p.detach().clone() for p in self.parameters]

    @property
    def finished(self) -> bool:
        """Return whether training is over."""
        waited = self.done - 1 - int(np.argmin(self.losses)) if self.losses else 0
        return self.done >= self.settings.epochs or waited >= self.settings.patience

    def forward(self, x: Any) -> Any:
        """Return outputs, shape (members, rows, outputs)."""
        x = x.expand(self.settings.members, *x.shape)
        for k in range(0, len(self.parameters), 2):
            x = self.torch.baddbmm(self.parameters[k + 1], x, self.parameters[k])
            if k + 2 < len(self.parameters):
                x = self.torch.nn.functional.gelu(x)
        return x

    def loss(self, found: Any, target: Any) -> Any:
        """Return the mean loss of all networks."""
        target = target.expand_as(found)
        loss = self.torch.nn.functional.smooth_l1_loss(found, target, beta=BETA)
        if self.task == "selector":
            chosen = self.torch.softmax(-found / TEMPERATURE, dim=-1)
            regret = target - target.min(dim=-1, keepdim=True).values
            loss = loss + (chosen * regret).sum(dim=-1).mean()
        return loss

    @staticmethod
    def expanded(rows: Rows, task: Task, settings: Settings) -> Rows:
        """Return the rows to train on."""
        del task, settings
        return rows

    def n_outputs(self) -> int:
        """Return how many numbers the network gives."""
        return int(self.rows.targets.shape[1])

    def batches(self, order: Any) -> list[Any]:
        """Return the rows of every step."""
        size = self.settings.batch
        return [order[k : k + size] for k in range(0, len(order), size)]

    def step(self) -> None:
        """Update the parameters."""
        self.optimizer.step()

    def epoch(self) -> None:
        """Pass over the rows once, and validate."""
        settings, torch = self.settings, self.torch
        order = np.random.default_rng([settings.seed, self.done]).permutation(len(self.x))
        batches = self.batches(order)
        steps = len(batches)
        for k in range(steps):
            share = (self.done * steps + k) / (settings.epochs * steps)
            for group in self.optimizer.param_groups:
                group["lr"] = settings.rate * _one_cycle(share)
            rows = torch.from_numpy(batches[k])
            self.optimizer.zero_grad()
            self.loss(self.forward(self.x[rows]), self.y[rows]).backward()
            self.step()
        with torch.no_grad():
            found = self.forward(self.x_kept).mean(dim=0, keepdim=True)
            value = float(self.loss(found, self.y_kept))
        if not self.losses or value < min(self.losses):
            self.best = [p.detach().clone() for p in self.parameters]
        self.losses.append(value)
        self.done += 1

    def store(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {
            "label": self._label(),
            "done": self.done,
            "losses": self.losses,
            "parameters": [p.detach() for p in self.parameters],
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
        }
        partial = path.with_suffix(".partial")
        self.torch.save(state, partial)
        partial.replace(path)  # Ctrl-C leaves the old one or the new one

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same settings."""
        state = self.torch.load(path, weights_only=True)
        if state["label"] != self._label():
            raise InputError(
                f"checkpoint {path} is of other settings: {state['label']}, not {self._label()}. "
                "Take another file, or delete it."
            )
        with self.torch.no_grad():
            for mine, stored in zip(self.parameters, state["parameters"], strict=True):
                mine.copy_(stored)
        self.optimizer.load_state_dict(state["optimizer"])
        self.best, self.losses, self.done = state["best"], state["losses"], state["done"]

    def _label(self) -> str:
        return f"{VERSION} {self.task} {self.settings}"

    def result(self) -> Network:
        """Return the best epoch's network with its card."""
        arrays = [p.numpy().astype(np.float32) for p in self.best]
        weights, biases = tuple(arrays[::2]), tuple(b[:, 0] for b in arrays[1::2])
        kept = self.rows.held_out > 0
        card = self._card()
        mean, std, low, high = self.moments
        net = Network(weights, biases, mean, std, low, high, card)
        features, targets = self.rows.features[kept], self.rows.targets[kept]
        distances = net.distance(features)
        card["training"]["farthest"] = ROOM * max(float(np.quantile(distances, 0.99)), NEAREST)
        if self.task == "selector":
            found, rows = net(features), np.arange(len(targets))
            chosen = found.argmin(axis=1)
            optimism = (targets - found)[rows, chosen].mean()
            card["training"]["optimism"] = float(optimism)
        card["scores"] = self.scores(net)
        return net

    def scores(self, net: Network) -> dict[str, float]:
        """Return how well held-out families are predicted."""
        kept = self.rows.held_out > 0
        return _scores(self.task, net, self.rows.features[kept], self.rows.targets[kept])

    def outputs(self) -> list[str]:
        """Return names of the outputs."""
        return list(NAMES) if self.task == "selector" else [f"{p:.4g}" for p in LEVELS]

    def loss_name(self) -> str:
        """Return what the card says of the loss."""
        return "smooth L1" + (
            " + softmin regret" if self.task == "selector" else " of log10 quantiles"
        )

    def _card(self) -> dict[str, Any]:
        s = self.settings
        return {
            "format": FORMAT,
            "task": self.task,
            "version": VERSION,
            "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
            "seed": s.seed,
            "data": {
                "problems": s.n_problems,
                "rows": len(self.x),
                "families": [name for name in FAMILIES if name not in HELD_OUT],
                "held_out": list(HELD_OUT),
                "held_out_rows": len(self.x_kept),
                "probe": "Lanczos, 24 steps (a fifth: 16 to 32), diagonal operators of 40 to "
                "400000 rows, condition numbers to 1e8",
            },
            "training": {
                "epochs": self.done,
                "best_epoch": int(np.argmin(self.losses)) + 1,
                "width": s.width,
                "depth": s.depth,
                "members": s.members,
                "optimizer": f"AdamW, one cycle to {s.rate:g}, decay {s.decay:g}, batch {s.batch}",
                "loss": self.loss_name(),
            },
            "scores": {},
            "outputs": self.outputs(),
        }


def _one_cycle(share: float) -> float:
    """Return the rate over its maximum: a rise over the first 30 per cent, then a fall."""
    if share < 0.3:
        return 0.04 + 0.96 * 0.5 * (1.0 - math.cos(math.pi * share / 0.3))
    return 1e-4 + 0.5 * (1.0 + math.cos(math.pi * (share - 0.3) / 0.7))


def _scores(task: str, net: Network, features: FloatArray, targets: FloatArray) -> dict[str, float]:
    """Return how well held-out families are predicted."""
    found = net(features)
    if task == "completion":
        errors, before = np.abs(found - targets), np.abs(targets)
        return {
            "mean error, decades": float(errors.mean()),
            "classical, decades": float(before.mean()),
            "lowest, decades": float(errors[:, 0].mean()),
            "classical lowest, decades": float(before[:, 0].mean()),
        }
    chosen = found.argmin(axis=1)
    m = np.round(2.0 ** features[:, -2]).astype(int)
    scores: dict[str, float] = {}
    for degree in DEGREES:
        rows = m == degree + 1
        if not rows.any():
            continue
        y = targets[rows]
        picked = y[np.arange(len(y)), chosen[rows]]
        scores[f"overhead, degree {degree}"] = float(np.exp(picked.mean()))
        scores[f"best fixed, degree {degree}"] = float(np.exp(y.mean(axis=0).min()))
        scores[f"best possible, degree {degree}"] = float(np.exp(y.min(axis=1).mean()))
    return scores
