"""Training of the selector, the completion and the predictors: data, checkpoints, progress.

Cost
    On two cores four minutes for data of 1500 problems (selector) and one for 4000 (completion),
    and one minute of training each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from spectool.errors import BackendUnavailableError, InputError
from spectool.learned.data import completion_data, selector_data
from spectool.learned.model import PREDICTORS, TASKS, Network
from spectool.learned.training_run import VERSION, Rows, Run, Settings, Task

WORST = 1.5
"""Log-overheads are cut to this: how bad a bad design is need not be learned."""
CHUNK = 100
"""Problems between two writes of the data that are kept."""
PROBLEMS = {"selector": 2600, "completion": 4000} | dict.fromkeys(PREDICTORS, 8000)


def default_settings(task: Task) -> Settings:
    """Return the settings that the shipped network of a task was trained with."""
    if task in PREDICTORS:
        return Settings(PROBLEMS[task], epochs=12, width=64, members=1)
    return Settings(PROBLEMS[task])


class Progress(NamedTuple):
    """What a callback is told: the stage, how far it is, and the last validation loss."""

    stage: Literal["data", "training"]
    done: int
    total: int
    loss: float


Callback: TypeAlias = Callable[[Progress], None]


def train(
    task: Task,
    settings: Settings | None = None,
    *,
    checkpoint: Path | None = None,
    callback: Callback | None = None,
) -> Network:
    """Train one network on synthetic spectra; validate on families it has not seen.

    Parameters
    ----------
    task : str
        "selector", "completion" or "predictor-TASK-PARADIGM".
    settings : Settings, optional
        Sizes and seed.
    checkpoint : Path, optional
        File that is written after every epoch. If it is there, and was made with the same settings,
        training goes on from it.
    callback : callable, optional
        Called with `Progress` after every problem and every epoch.

    Returns
    -------
    Network
        The one of the epoch with the least validation loss.

    Raises
    ------
    InputError
        If the task is unknown, the checkpoint is of other settings, or no row can be learned from.
    BackendUnavailableError
        If torch is not installed.
    """
    if task not in TASKS:
        raise InputError(f"task must be one of {TASKS}; got {task!r}.")
    settings = settings or default_settings(task)
    kind: type[Run] = Run
    if task in PREDICTORS:
        from spectool.learned.train_predictor import PredictorRun

        kind = PredictorRun
    torch = _torch()
    tell = callback or (lambda _: None)
    rows = kind.expanded(_load_rows(task, settings, checkpoint, tell), task, settings)
    kept = rows.held_out > 0
    if kept.all() or not kept.any():
        raise InputError(f"n_problems={settings.n_problems} gives no rows; take more.")
    trained = rows.features[~kept]
    moments = (
        trained.mean(axis=0),
        np.maximum(trained.std(axis=0), 1e-3),
        *np.quantile(trained, [0.001, 0.999], axis=0),
    )
    run = kind(torch, task, settings, rows, moments)
    if checkpoint is not None and checkpoint.is_file():
        run.restore(checkpoint)
    while not run.finished:
        run.epoch()
        if checkpoint is not None:
            run.store(checkpoint)
        tell(Progress("training", run.done, settings.epochs, run.losses[-1]))
    return run.result()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailableError(
            "spectool train needs torch; pip install spectool[torch]."
        ) from error
    return torch


def _load_rows(task: Task, settings: Settings, checkpoint: Path | None, tell: Callback) -> Rows:
    """Draw the data, going on from what an earlier run with the same settings has kept."""
    file = None if checkpoint is None else checkpoint.with_suffix(".data.npz")
    label = json.dumps([VERSION, task, settings.n_problems, settings.seed])
    parts: list[Rows] = []
    done = 0
    if file is not None and file.is_file():
        with np.load(file, allow_pickle=False) as stored:
            if str(stored["label"]) == label:
                done = int(stored["done"])
                parts = [Rows(stored["features"], stored["targets"], stored["held_out"])]

    def advance() -> None:
        nonlocal done
        done += 1
        tell(Progress("data", done, settings.n_problems, math.nan))

    while done < settings.n_problems:
        chunk = range(done, min(done + CHUNK, settings.n_problems))
        parts = [_joined([*parts, _drawn(task, chunk, settings, advance)])]
        if file is not None:
            partial = file.with_suffix(".partial")
            with partial.open("wb") as stream:
                np.savez(stream, label=np.array(label), done=np.array(done), **parts[0]._asdict())
            partial.replace(file)
    return parts[0]


def _drawn(task: Task, problems: range, settings: Settings, advance: Callable[[], None]) -> Rows:
    seed, threads = settings.seed, settings.threads
    if task == "selector":
        found = selector_data(problems, seed, threads=threads, advance=advance)
        return Rows(found.features, np.minimum(found.overheads, WORST), found.held_out)
    if task in PREDICTORS:
        from spectool.learned.train_predictor import predictor_rows

        return predictor_rows(problems, seed + 2, threads, advance)
    drawn = completion_data(problems, seed + 1, threads=threads, advance=advance)
    return Rows(drawn.features, drawn.corrections, drawn.held_out)


def _joined(parts: list[Rows]) -> Rows:
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
