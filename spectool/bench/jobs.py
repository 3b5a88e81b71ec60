"""Steps of a benchmark that yield rows, one after the other, until done or interrupted."""

from __future__ import annotations

import fnmatch
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from spectool.errors import InputError

Row = TypeVar("Row")
Advance: TypeAlias = Callable[[str, int], Any]


class Job(NamedTuple, Generic[Row]):
    """A step of the benchmark: ``run(seed)`` yields its rows."""

    part: str
    name: str
    run: Callable[[int], Iterator[Row]]


class Outcome(NamedTuple, Generic[Row]):
    """The rows, wall-clock seconds, and whether Ctrl-C cut it short."""

    rows: tuple[Row, ...]
    seconds: float
    interrupted: bool


def nowhere(_name: str, _steps: int) -> None:
    """Show no progress."""


def checked_parts(parts: Sequence[str], known: Sequence[str]) -> None:
    """Raise InputError unless there are parts and all are known."""
    unknown = [part for part in parts if part not in known]
    if unknown or not parts:
        raise InputError(f"part must be one of {', '.join(known)}; got {', '.join(unknown)!r}.")


def matching(jobs: Sequence[Job[Row]], only: str, suite: str) -> tuple[Job[Row], ...]:
    """Return the jobs whose names match a shell pattern; raise InputError if none does."""
    found = tuple(job for job in jobs if fnmatch.fnmatchcase(job.name, only))
    if not found and only != "*":
        names = ", ".join(dict.fromkeys(job.name for job in jobs))
        raise InputError(f"nothing of suite {suite!r} matches {only!r}; it has {names}.")
    return found


def run_jobs(jobs: Sequence[Job[Row]], *, seed: int, advance: Advance = nowhere) -> Outcome[Row]:
    """Run all steps; Ctrl-C keeps what is finished.

    Parameters
    ----------
    jobs : sequence of Job
        What to run.
    seed : int
        Passed to each.
    advance : callable
        ``advance(name, steps)`` moves a progress bar that counts the jobs.
    """
    begun = time.perf_counter()
    rows: list[Row] = []
    interrupted = False
    with _noticed_interrupts() as seen:
        try:
            for job in jobs:
                advance(job.name, 0)
                for row in job.run(seed):
                    if seen:
                        raise KeyboardInterrupt  # noqa: TRY301 - verbs and searches had caught it
                    rows.append(row)
                advance(job.name, 1)
        except KeyboardInterrupt:
            interrupted = True
    return Outcome(tuple(rows), time.perf_counter() - begun, interrupted)


@contextmanager
def _noticed_interrupts() -> Iterator[list[int]]:
    """Yield a list that is not empty once Ctrl-C was pressed, whoever catches the exception."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def notice(number: int, _frame: Any) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, notice)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
