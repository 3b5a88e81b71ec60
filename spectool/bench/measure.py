"""Run contestants on a task under one clock, one time limit and one judge.

Each contestant runs once with its products counted and its convergence recorded, then, untouched,
for the clock: in turns with its rivals, so that a noisy moment hits all of them alike.
"""

from __future__ import annotations

import math
import signal
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array
from spectool.bench.problems import Problem
from spectool.bench.records import SLACK, Outcome, Row

SHORT = 0.5
"""Attempts under this many seconds are repeated, longer ones timed once."""
NOTE = 240
"""Characters of a note that are kept."""


class OutOfTimeError(Exception):
    """Raised inside a contestant whose time is up."""


@dataclass(slots=True)
class Trace:
    """What is written down during the counted run.

    Attributes
    ----------
    matvecs, iterations : int
        Products with A seen at the border; callbacks seen.
    paused : float
        Seconds spent on recording, not the contestant's.
    history : list of (int, float)
        Thinned to about 3% between points.
    """

    matvecs: int = 0
    iterations: int = 0
    paused: float = 0.0
    history: list[tuple[int, float]] = field(default_factory=list)
    _next: float = 0.0

    def watch(self, A: Any) -> LinearOperator:
        """Return A as an operator that counts its products here."""

        def product(X: Array) -> Array:
            self.matvecs += 1 if X.ndim == 1 else X.shape[1]
            return np.asarray(A @ X)

        return LinearOperator(
            A.shape, matvec=product, rmatvec=product, matmat=product, dtype=A.dtype
        )

    def iterate(self, inner_matvecs: Callable[[], int], residual: Callable[[], float]) -> None:
        """Count one iteration, and record its residual if the last record is old enough."""
        self.iterations += 1
        if self.iterations < self._next:
            return
        begin = time.perf_counter()
        self.history.append((self.matvecs + inner_matvecs(), residual()))
        self._next = 1.03 * self.iterations
        self.paused += time.perf_counter() - begin


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a contestant returns.

    Attributes
    ----------
    value : Any
        What the task's judge takes.
    converged : bool
        Whether the method claims success.
    setup_seconds : float
        Part of the time that another right-hand side would not need.
    matvecs, reductions : int or None
        All of them; used from the counted run only.
    estimate : float
        The method's own error estimate.
    n_bytes : int or None
        What the method holds beside A.
    note : str
        What was chosen.
    """

    value: Any
    converged: bool = True
    setup_seconds: float = 0.0
    matvecs: int | None = None
    reductions: int | None = None
    estimate: float = math.nan
    n_bytes: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A method: ``run(problem, trace)`` with a Trace in the counted run, None on the clock."""

    name: str
    run: Callable[[Problem, Trace | None], Answer]
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one answer: true error (nan: no reference), wrong whatever the error."""

    error: float
    wrong: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One question, put to several contestants.

    Attributes
    ----------
    name : str
        Of the task, as suites name it.
    contestants : tuple of Contestant
        In the order of tables.
    judge : callable
        ``judge(problem, answers) -> verdicts`` by contestant; sees all answers, to compare them.
    tolerance : float
        Largest error.
    """

    name: str
    contestants: tuple[Contestant, ...]
    judge: Callable[[Problem, Mapping[str, Answer]], Mapping[str, Verdict]]
    tolerance: float


@dataclass(slots=True)
class _Attempts:
    """All attempts of one contestant."""

    contestant: Contestant
    counted: Answer | None = None
    counted_seconds: float = math.nan
    trace: Trace = field(default_factory=Trace)
    seconds: list[float] = field(default_factory=list)
    setups: list[float] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    failure: Outcome | None = None
    notes: list[str] = field(default_factory=list)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the body after ``seconds``.

    Needs Unix and the main thread; elsewhere there is no limit. One long call into compiled code
    is not cut short: the error comes when it returns.
    """
    usable = hasattr(signal, "setitimer") and (
        threading.current_thread() is threading.main_thread()
    )
    if not usable or not math.isfinite(seconds):
        yield
        return
    armed = True

    def expire(_signal: int, _frame: Any) -> None:
        if armed:
            raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def measure(
    problem: Problem,
    task: Task,
    *,
    limit: float,
    repeats: int = 3,
    advance: Callable[[], Any] = lambda: None,
) -> Iterator[Row]:
    """Yield one row per contestant; after Ctrl-C those that were reached, then KeyboardInterrupt.

    Parameters
    ----------
    problem : Problem
        A and b.
    task : Task
        Contestants and judge.
    limit : float
        Seconds per attempt.
    repeats : int
        Timed attempts of short runs (under a second); long runs are timed once.
    advance : callable
        Called after each contestant's counted run.
    """
    attempts = {entry.name: _Attempts(entry) for entry in task.contestants}
    interrupted = False
    try:
        for attempt in attempts.values():
            _counted_run(problem, attempt, limit)
            advance()
        _judge(problem, task, attempts, {n: a.counted for n, a in attempts.items()})
        for turn in range(repeats):
            answers = {
                name: _timed_run(problem, attempt, limit)
                for name, attempt in attempts.items()
                if attempt.failure is None and (turn == 0 or attempt.counted_seconds < SHORT)
            }
            _judge(problem, task, attempts, answers)
    except KeyboardInterrupt:
        interrupted = True
    for attempt in attempts.values():
        if attempt.counted is not None or attempt.failure is not None:
            yield _row(problem, task, attempt)
    if interrupted:
        raise KeyboardInterrupt


def _guarded(
    problem: Problem, attempt: _Attempts, limit: float, trace: Trace | None
) -> tuple[Answer | None, float]:
    """Run once; whatever goes wrong, but Ctrl-C, ends up in ``attempt``."""
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught, time_limit(limit):
            warnings.simplefilter("always")
            begin = time.perf_counter()
            answer = attempt.contestant.run(problem, trace)
            seconds = time.perf_counter() - begin
    except OutOfTimeError:
        attempt.failure = Outcome.TIMEOUT
        attempt.notes.append(f"stopped after {limit:g} s")
        return None, math.nan
    except Exception as error:  # noqa: BLE001, RUF100 - a failure is a row, never a crash
        attempt.failure = Outcome.FAILED
        attempt.notes.append(f"{type(error).__name__}: {error}")
        return None, math.nan
    if trace is not None:  # the warnings of the timed runs are the same
        attempt.notes += [str(warning.message) for warning in caught]
    return answer, seconds - (trace.paused if trace else 0.0)


def _counted_run(problem: Problem, attempt: _Attempts, limit: float) -> None:
    answer, seconds = _guarded(problem, attempt, limit, attempt.trace)
    attempt.counted, attempt.counted_seconds = answer, seconds


def _timed_run(problem: Problem, attempt: _Attempts, limit: float) -> Answer | None:
    answer, seconds = _guarded(problem, attempt, limit, None)
    if answer is not None:
        attempt.seconds.append(seconds)
        attempt.setups.append(answer.setup_seconds)
    return answer


def _judge(
    problem: Problem,
    task: Task,
    attempts: Mapping[str, _Attempts],
    answers: Mapping[str, Answer | None],
) -> None:
    known = {name: answer for name, answer in answers.items() if answer is not None}
    for name, verdict in task.judge(problem, known).items() if known else ():
        attempts[name].verdicts.append(verdict)


def _outcome(task: Task, attempt: _Attempts, error: float) -> Outcome:
    if attempt.failure is not None:
        return attempt.failure
    if attempt.counted is not None and not attempt.counted.converged:
        return Outcome.UNCONVERGED
    if any(verdict.wrong for verdict in attempt.verdicts):
        return Outcome.INACCURATE
    if math.isnan(error):
        return Outcome.UNVERIFIED
    return Outcome.MET if error <= SLACK * task.tolerance else Outcome.INACCURATE


def _row(problem: Problem, task: Task, attempt: _Attempts) -> Row:
    errors = [verdict.error for verdict in attempt.verdicts]
    error = math.nan if not errors or any(map(math.isnan, errors)) else max(errors)
    notes = [*attempt.notes, *(verdict.note for verdict in attempt.verdicts)]
    answer = attempt.counted
    if answer is not None:
        notes.insert(0, answer.note)
    row = Row(
        matrix=problem.name,
        task=task.name,
        method=attempt.contestant.name,
        ours=attempt.contestant.ours,
        n=problem.n,
        nnz=problem.nnz,
        outcome=_outcome(task, attempt, error),
        error=error,
        tolerance=task.tolerance,
        note=_joined(notes),
        history=tuple(attempt.trace.history),
    )
    if answer is None:
        return row
    seconds: Sequence[float] = attempt.seconds or [attempt.counted_seconds]
    return replace(
        row,
        seconds=statistics.median(seconds),
        setup_seconds=statistics.median(attempt.setups or [answer.setup_seconds]),
        repeats=tuple(attempt.seconds),
        matvecs=answer.matvecs,
        reductions=answer.reductions,
        estimate=answer.estimate,
        n_bytes=answer.n_bytes,
    )


def _joined(notes: Sequence[str]) -> str:
    """Return the different notes as one line."""
    text = "; ".join(dict.fromkeys(" ".join(note.split()) for note in notes if note))
    return text if len(text) <= NOTE else text[: NOTE - 1] + "…"
