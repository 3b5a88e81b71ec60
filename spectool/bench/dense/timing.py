"""Time several methods on one dense matrix, in turns, and judge each answer by the same measure.

How it is measured
    Each method runs once, which warms it up and gives the answer that is judged; then all run in
    turns, so that a noisy moment hits all of them alike. Medians count. Planning that can be done
    beforehand is not timed, and is told in the note.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from spectool._types import Array
from spectool.bench.dense.records import TimedRow
from spectool.bench.measure import NOTE, OutOfTimeError, time_limit

REPEATS = 3
LIMIT = 60.0
"""Seconds per call."""
LONG = 15.0
"""Calls above this many seconds are not repeated."""
OURS, ITERATION, DIRECT = "ours", "iteration", "direct"


class Answer(NamedTuple):
    """What a method returns.

    Attributes
    ----------
    value : tuple of arrays
        What the judge takes.
    steps : int or None
        Taken.
    products : float
        Operations that are products of order n, where counted.
    note : str
        What was chosen.
    """

    value: tuple[Any, ...]
    steps: int | None = None
    products: float = float("nan")
    note: str = ""


class Contestant(NamedTuple):
    """A method: ``run()`` answers, after ``prepare()``, which is not timed."""

    name: str
    kind: str
    run: Callable[[], Answer]
    prepare: Callable[[], Any] = lambda: None


@dataclass(frozen=True, slots=True)
class Contest:
    """One question, put to several methods.

    Attributes
    ----------
    blank : TimedRow
        What all rows share.
    contestants : sequence of Contestant
        In the order of tables.
    judge : callable
        ``judge(value)`` returns the residual and the error.
    wait : callable
        Waits for the device.
    """

    blank: TimedRow
    contestants: Sequence[Contestant]
    judge: Callable[[tuple[Any, ...]], tuple[float, float]]
    wait: Callable[[], Any] = field(default=lambda: None)


def run_contest(
    contest: Contest, *, repeats: int = REPEATS, limit: float = LIMIT
) -> Iterator[TimedRow]:
    """Yield one row per method; a failure is a row too.

    Parameters
    ----------
    contest : Contest
        Question and methods.
    repeats : int
        Measured rounds after the first call.
    limit : float
        Seconds per call.
    """
    rows: list[TimedRow] = []
    again: list[int] = []
    times: list[list[float]] = []
    for place, contestant in enumerate(contest.contestants):
        blank = replace(contest.blank, method=contestant.name, kind=contestant.kind)
        row, seconds = _first(contest, contestant, blank, limit)
        rows.append(row)
        times.append([seconds] if seconds is not None else [])
        if seconds is not None and seconds <= LONG:
            again.append(place)
    for round_ in range(repeats):
        for place in again:
            seconds = _timed(contest, contest.contestants[place], limit)
            if seconds is None:
                continue
            times[place] = [seconds] if round_ == 0 else [*times[place], seconds]
    for row, measured in zip(rows, times, strict=True):
        if measured:
            yield replace(row, seconds=statistics.median(measured), repeats=tuple(measured))
        else:
            yield row


def _first(
    contest: Contest, contestant: Contestant, blank: TimedRow, limit: float
) -> tuple[TimedRow, float | None]:
    try:
        with warnings.catch_warnings(), time_limit(limit):
            warnings.simplefilter("ignore")  # the row has the residual
            contestant.prepare()
            begun = time.perf_counter()
            answer = contestant.run()
            contest.wait()
            seconds = time.perf_counter() - begun
        with np.errstate(all="ignore"):
            residual, wrong = contest.judge(answer.value)
    except OutOfTimeError:
        return replace(blank, note=f"stopped after {limit:g} s"), None
    except Exception as error:  # noqa: BLE001, RUF100 - a failure is a row, never a crash
        return replace(blank, note=f"{type(error).__name__}: {error}"[:NOTE]), None
    row = replace(
        blank,
        residual=residual,
        error=wrong,
        steps=answer.steps,
        products=answer.products,
        note=answer.note[:NOTE],
    )
    return row, seconds


def _timed(contest: Contest, contestant: Contestant, limit: float) -> float | None:
    try:
        with warnings.catch_warnings(), time_limit(limit):
            warnings.simplefilter("ignore")
            contest.wait()
            begun = time.perf_counter()
            contestant.run()
            contest.wait()
            return time.perf_counter() - begun
    except OutOfTimeError:
        return None


# --- threads, devices ------------------------------------------------------------------------


def torch_or_none() -> Any:
    """Return torch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def blas_threads() -> int:
    """Return how many threads BLAS was asked for; all cores if it was not."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        if (text := os.environ.get(name, "")).isdigit():
            return int(text)
    return os.cpu_count() or 1


def pin_torch() -> None:
    """Give torch as many threads as BLAS has."""
    torch = torch_or_none()
    if torch is not None:
        torch.set_num_threads(blas_threads())


def devices() -> tuple[str, ...]:
    """Return "cpu", and "cuda" where torch sees one."""
    torch = torch_or_none()
    return ("cpu", "cuda") if torch is not None and torch.cuda.is_available() else ("cpu",)


def waiting(device: str) -> Callable[[], Any]:
    """Return what waits for a device."""
    torch = torch_or_none()
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def on_host(X: Any) -> Array:
    """Return an array of NumPy in double precision."""
    if hasattr(X, "detach"):
        X = X.detach().cpu().numpy()
    return np.asarray(X, dtype=np.complex128 if np.iscomplexobj(X) else np.float64)
