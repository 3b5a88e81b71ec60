"""Progress bars for long work, drawn by rich; the library itself never prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)


def steps_bar(console: Console | None = None, *, disable: bool = False) -> Progress:
    """Return a bar that counts steps (matrices, problems, seeds)."""
    return Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
        disable=disable,
        transient=False,
    )


@contextmanager
def bytes_bar(
    description: str, total: int | None, *, disable: bool = False
) -> Iterator[tuple[Progress, int]]:
    """Yield a bar that counts bytes, and its task id."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=disable) as bar:
        task = bar.add_task(description, total=total)
        yield bar, int(task)
