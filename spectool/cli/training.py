"""What ``spectool train`` does: train a network with a bar, keep a checkpoint, print its card."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectool.errors import InputError

if TYPE_CHECKING:
    from spectool.learned.model import Network


def train_network(
    task: str,
    output: Path,
    checkpoint: Path | None,
    n_problems: int | None,
    epochs: int | None,
    seed: int | None,
    threads: int | None,
    no_progress: bool,
) -> Network:
    """Train, or go on from the checkpoint; write the weights to ``output``.

    Raises
    ------
    InputError
        If the task is unknown, a number is out of range, or the checkpoint is of other settings.
    BackendUnavailableError
        If torch is not installed.
    """
    from spectool.learned.model import TASKS, save
    from spectool.learned.train import Progress, default_settings, train
    from spectool.progress import steps_bar

    if task not in TASKS:
        raise InputError(f"task must be one of {', '.join(TASKS)}; got {task!r}.")
    given = {"n_problems": n_problems, "epochs": epochs, "seed": seed, "threads": threads}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = dataclasses.replace(default_settings(task), **chosen)
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = checkpoint or output.with_suffix(".checkpoint")
    with steps_bar(disable=no_progress) as bar:
        data = bar.add_task("spectra and probes", total=settings.n_problems)
        step = bar.add_task("training", total=settings.epochs)

        def show(progress: Progress) -> None:
            if progress.stage == "data":
                bar.update(data, completed=progress.done)
                return
            name = f"training, held-out loss {progress.loss:.4f}"
            bar.update(step, completed=progress.done, description=name)

        found = train(task, settings, checkpoint=kept, callback=show)
    save(found, output)
    return found


def card_lines(network: Network, output: Path) -> Iterator[str]:
    """Yield the model card as text."""
    card = network.card
    yield f"{card['task']}, version {card['version']}, {card['date']}, seed {card['seed']}"
    data, training = card["data"], card["training"]
    yield (
        f"  {data['rows']} rows of {data['problems']} spectra; validated on "
        f"{data['held_out_rows']} of {', '.join(data['held_out'])}"
    )
    yield (
        f"  epoch {training['best_epoch']} of {training['epochs']}; {training['members']} networks "
        f"of {training['depth']} hidden layers of {training['width']}"
    )
    for name, value in card["scores"].items():
        yield f"  {name}: {value:.4g}"
    yield f"weights: {output}"
