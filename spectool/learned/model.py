"""Inference: small networks in plain numpy, their weights, and how far a probe is from training.

Source
    Multilayer perceptrons with GELU (Hendrycks and Gimpel, arXiv:1606.08415, 2016); an ensemble is
    averaged (Lakshminarayanan, Pritzel, Blundell, NIPS 2017).
Cost
    About 0.2 million multiplications per network of the ensemble and row: some 0.1 ms.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.special import erf

from spectool._types import Array, FloatArray
from spectool.errors import InputError
from spectool.learned.recurrences import PARADIGMS, PREDICTED

FOLDER: Final = Path(__file__).parent / "weights"
PREDICTORS: Final = tuple(
    f"predictor-{task}-{paradigm}" for task in PREDICTED for paradigm in PARADIGMS
)
TASKS: Final = ("selector", "completion", *PREDICTORS)
FORMAT: Final = "spectool.learned/1"
CLAMP: Final = 4.0
"""Standardized features are clamped to this many standard deviations."""
CARD: Final = ("format", "task", "version", "date", "seed", "data", "training", "scores", "outputs")
"""What every model card holds."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Network:
    """An ensemble of multilayer perceptrons with what they were trained on.

    Attributes
    ----------
    weights, biases : tuple of ndarray
        Of shapes (members, inputs, outputs) and (members, outputs), float32, one per layer.
    mean, std : ndarray, shape (inputs,)
        Moments of the features in training.
    low, high : ndarray, shape (inputs,)
        Their 0.1 and 99.9 per cent quantiles.
    card : dict
        Training data, seed, date, scores, names of the outputs.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    mean: FloatArray
    std: FloatArray
    low: FloatArray
    high: FloatArray
    card: dict[str, Any]

    def __repr__(self) -> str:
        size = sum(array.size for array in (*self.weights, *self.biases))
        return f"<Network {self.card['task']} {self.card['version']}: {size} parameters>"

    def standardized(self, features: Any) -> FloatArray:
        """Return features in training's units, clamped; shape (rows, inputs)."""
        rows = np.atleast_2d(np.asarray(features, dtype=np.float64))
        if rows.ndim != 2 or rows.shape[1] != self.mean.size or not np.isfinite(rows).all():
            raise InputError(
                f"features must be finite, of shape (rows, {self.mean.size}); got {rows.shape}."
            )
        return np.clip((rows - self.mean) / self.std, -CLAMP, CLAMP)

    def members(self, features: Any) -> FloatArray:
        """Return what every network of the ensemble says, shape (members, rows, outputs)."""
        x: Array = self.standardized(features).astype(np.float32)[None]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = gelu(x @ weight + bias[:, None])
        x = x @ self.weights[-1] + self.biases[-1][:, None]
        return np.asarray(x, dtype=np.float64)

    def __call__(self, features: Any) -> FloatArray:
        """Return the ensemble's mean, shape (rows, outputs)."""
        return np.asarray(self.members(features).mean(axis=0))

    def distance(self, features: Any) -> FloatArray:
        """Return how far rows lie outside of training, shape (rows,).

        The root mean square, over features, of the excess over the quantiles ``low`` and ``high``,
        in standard deviations, at most CLAMP each; zero inside.
        """
        rows = np.atleast_2d(np.asarray(features, dtype=np.float64))
        excess = np.maximum(np.maximum(self.low - rows, rows - self.high), 0.0) / self.std
        excess = np.minimum(excess, CLAMP)
        return np.asarray(np.sqrt(np.mean(excess**2, axis=1)))

    @property
    def farthest(self) -> float:
        """Distance beyond which a probe counts as unlike those of training."""
        return float(self.card["training"]["farthest"])

    @property
    def optimism(self) -> float:
        """How much larger the logarithm of what was chosen turned out to be than was predicted."""
        return float(self.card["training"].get("optimism", 0.0))


def gelu(x: Array) -> Array:
    """Return ``x Phi(x)``, Phi being the normal distribution; shape and dtype of x."""
    return np.asarray(0.5 * x * (1.0 + erf(x * np.float32(np.sqrt(0.5)))), dtype=x.dtype)


def save(network: Network, path: Path) -> None:
    """Write weights and card to one ``.npz`` file."""
    arrays: dict[str, Any] = {f"weight_{i}": w for i, w in enumerate(network.weights)}
    arrays |= {f"bias_{i}": b for i, b in enumerate(network.biases)}
    for name in ("mean", "std", "low", "high"):
        arrays[name] = getattr(network, name).astype(np.float32)
    arrays["card"] = np.array(json.dumps(network.card, allow_nan=False))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read(path: Path) -> Network:
    """Read what `save` wrote.

    Raises
    ------
    InputError
        If the file is missing, or of another format, or its card is incomplete.
    """
    if not path.is_file():
        raise InputError(f"there are no weights in {path}; run spectool train.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        card = json.loads(str(arrays["card"]))
        layers = sum(name.startswith("weight_") for name in arrays)
        weights = tuple(arrays[f"weight_{i}"] for i in range(layers))
        biases = tuple(arrays[f"bias_{i}"] for i in range(layers))
        moments = [arrays[name].astype(np.float64) for name in ("mean", "std", "low", "high")]
    except (KeyError, OSError, ValueError) as error:
        raise InputError(f"{path} holds no weights: {error!r}.") from error
    if card.get("format") != FORMAT or any(name not in card for name in CARD):
        raise InputError(
            f"{path} has a card of format {card.get('format')!r} with {sorted(card)}; "
            f"{FORMAT!r} with {CARD} is needed. Train again with this version."
        )
    mean, std, low, high = moments
    return Network(weights, biases, mean, std, low, high, card)


@cache
def network(task: str) -> Network:
    """Return the network that is shipped for a task.

    Parameters
    ----------
    task : str
        "selector", "completion" or "predictor-TASK-PARADIGM".

    Raises
    ------
    InputError
        If the task is unknown.

    Examples
    --------
    >>> network("selector").card["task"]
    'selector'
    """
    if task not in TASKS:
        raise InputError(f"task must be one of {TASKS}; got {task!r}.")
    return read(FOLDER / f"{task}.npz")
