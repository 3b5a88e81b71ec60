"""Run a suite: every task on every matrix, failures as rows, Ctrl-C at any time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spectool import gallery
from spectool.bench.machine import Machine, describe
from spectool.bench.measure import Task, measure
from spectool.bench.problems import Problem
from spectool.bench.records import Outcome, Row, write_jsonl
from spectool.bench.suites import Source, Suite
from spectool.bench.tasks import TASKS, low_window
from spectool.eigen import SpectralFilter, spectral_filter
from spectool.spectrum import Spectrum

SEED = 271_828_182


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a suite brought.

    Attributes
    ----------
    suite : Suite
        What was asked.
    machine : Machine
        Where.
    seed : int
        Of right-hand sides and probes.
    rows : tuple of Row
        All results, failures included.
    spectra, filters : dict
        Per matrix, for pictures.
    seconds : float
        Wall-clock time of everything.
    interrupted : bool
        Whether Ctrl-C cut it short.
    """

    suite: Suite
    machine: Machine
    seed: int
    rows: tuple[Row, ...]
    spectra: dict[str, Spectrum]
    filters: dict[str, SpectralFilter]
    seconds: float
    interrupted: bool

    def write_jsonl(self, path: Path) -> None:
        """Write one record per row."""
        context = {"suite": self.suite.name, "seed": self.seed, "machine": self.machine.as_record()}
        write_jsonl(path, self.rows, context)


def run_suite(
    suite: Suite,
    *,
    seed: int = SEED,
    tasks: dict[str, Task] | None = None,
    advance: Callable[[str, int], Any] = lambda _name, _steps: None,
    keep: Callable[[Run], Any] = lambda _so_far: None,
) -> Run:
    """Run every task of a suite on every matrix.

    Parameters
    ----------
    suite : Suite
        Matrices, tasks, limits.
    seed : int
        Seeds right-hand sides and probes.
    tasks : dict of str to Task, optional
        What task names mean; the built-in ones.
    advance : callable
        ``advance(matrix, steps)`` moves a progress bar that counts `n_steps`.
    keep : callable
        ``keep(run)`` after every matrix, with what is there so far, so that a killed process loses
        one matrix at most.
    """
    begin = time.perf_counter()
    known = TASKS if tasks is None else tasks
    rows: list[Row] = []
    spectra: dict[str, Spectrum] = {}
    filters: dict[str, SpectralFilter] = {}
    interrupted = False
    machine = describe()

    def so_far() -> Run:
        seconds = time.perf_counter() - begin
        return Run(suite, machine, seed, tuple(rows), spectra, filters, seconds, interrupted)

    try:
        _warm_up([known[name] for name in suite.tasks], seed)
        for source, names in suite.pairs():
            advance(source.name, 0)
            problem = _loaded(source, seed, rows)
            contests = _contests(source, names, known)
            if problem is None:
                advance(source.name, sum(len(contest.contestants) for contest in contests))
                continue
            for contest in contests:
                for row in measure(
                    problem,
                    contest,
                    limit=suite.limit,
                    repeats=suite.repeats,
                    advance=partial(advance, source.name, 1),
                ):
                    rows.append(row)  # noqa: PERF402 - row by row, so that Ctrl-C loses none
            spectra[problem.name] = problem.spectrum
            if "eigenpairs" in names:
                filters[problem.name] = spectral_filter(
                    problem.A, low_window(problem), spectrum=problem.spectrum, rng=seed
                )
            keep(so_far())
    except KeyboardInterrupt:
        interrupted = True
    return so_far()


def n_steps(suite: Suite, tasks: dict[str, Task] | None = None) -> int:
    """Return how many steps `run_suite` reports to ``advance``."""
    known = TASKS if tasks is None else tasks
    return sum(
        len(contest.contestants)
        for source, names in suite.pairs()
        for contest in _contests(source, names, known)
    )


def _contests(source: Source, names: Sequence[str], known: dict[str, Task]) -> list[Task]:
    """Return the tasks of a matrix, without the contestants that stay away from it."""
    return [
        replace(
            known[name],
            contestants=tuple(c for c in known[name].contestants if c.name not in source.without),
        )
        for name in names
    ]


def _loaded(source: Source, seed: int, rows: list[Row]) -> Problem | None:
    try:
        return source.problem(seed)
    except Exception as error:  # noqa: BLE001, RUF100 - a failure is a row, never a crash
        note = f"{type(error).__name__}: {error}"
        rows.append(Row(source.name, "load", "", False, 0, 0, Outcome.FAILED, note=note))
        return None


def _warm_up(tasks: Sequence[Task], seed: int) -> None:
    """Compile every kernel that the tasks use, and measure the machine's costs, off the clock."""
    problem = Problem("warm-up", gallery.poisson((12, 12)), seed)
    stiff = Problem(
        "warm-up", gallery.random_spectrum(np.geomspace(1e-5, 1.0, 400), rng=seed), seed
    )
    for task in tasks:
        ours = replace(task, contestants=tuple(c for c in task.contestants if c.ours))
        for each in (problem, stiff):
            for _ in measure(each, ours, limit=math.inf, repeats=0):
                pass
