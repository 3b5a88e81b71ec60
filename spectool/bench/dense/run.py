"""The parts of ``bench dense``: counts of steps, seconds, planning, hostile matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group

from spectool import plotting
from spectool.bench.bars import Bar
from spectool.bench.dense.bars import iteration_bars, planning_bars, robust_bars
from spectool.bench.dense.iterations import (
    HEAVY_KAPPAS,
    check_theorem,
    count_heavy,
    count_roots,
    count_spectrum,
    wanted_spectra,
)
from spectool.bench.dense.planning import (
    DIVERGENCE_ITERATIONS,
    ITERATIONS,
    RATIOS,
    SEEDS,
    against_exact,
    diverging,
    searched,
    transferred,
)
from spectool.bench.dense.polar import ONLINE, SHAPES, TINY_SHAPES, time_polar
from spectool.bench.dense.records import CountRow, DenseRow, PlanRow, RobustRow, TimedRow
from spectool.bench.dense.robust import BANDS, COUNT, SORTS, stress
from spectool.bench.dense.roots import root_cases, time_roots
from spectool.bench.dense.tables import as_tables
from spectool.bench.dense.time_bars import polar_bars, root_bars
from spectool.bench.dense.timing import (
    DIRECT,
    ITERATION,
    LIMIT,
    OURS,
    REPEATS,
    devices,
    pin_torch,
    torch_or_none,
)
from spectool.bench.jobs import Advance, Job, checked_parts, matching, nowhere, run_jobs
from spectool.bench.machine import Machine, describe
from spectool.bench.records import write_jsonl
from spectool.bench.run import SEED

PARTS = ("iterations", "polar", "roots", "planning", "robust")
SHOWN = ("auto", "plan", "plan, iterations only", ONLINE, "prism", "kpe")
KINDS = {ITERATION: "best published iteration", DIRECT: "LAPACK, best"}
"""What the picture of seconds shows: of ours, and of others' the quickest by kind."""
TINY_PLANNING = 0.1
"""Seconds per plan in a tiny run."""


@dataclass(frozen=True, slots=True, eq=False)
class DenseRun:
    """What ``bench dense`` brought.

    Attributes
    ----------
    machine : Machine
        Where.
    seed : int
        Of matrices and sketches.
    rows : tuple of rows
        Of all parts.
    seconds : float
        Wall-clock time of everything.
    interrupted : bool
        Whether Ctrl-C cut it short.
    """

    machine: Machine
    seed: int
    rows: tuple[DenseRow, ...]
    seconds: float
    interrupted: bool

    @property
    def counts(self) -> list[CountRow]:
        """Rows of counts."""
        return [row for row in self.rows if isinstance(row, CountRow)]

    @property
    def timed(self) -> list[TimedRow]:
        """Rows of seconds."""
        return [row for row in self.rows if isinstance(row, TimedRow)]

    @property
    def plans(self) -> list[PlanRow]:
        """Rows of plans."""
        return [row for row in self.rows if isinstance(row, PlanRow)]

    @property
    def robust(self) -> list[RobustRow]:
        """Rows of hostile matrices."""
        return [row for row in self.rows if isinstance(row, RobustRow)]

    def bars(self) -> list[Bar]:
        """Return every promise, kept or missed."""
        return [
            *iteration_bars(self.counts),
            *polar_bars(self.timed),
            *root_bars(self.timed),
            *planning_bars(self.plans),
            *robust_bars(self.robust),
        ]

    def as_tables(self) -> Group:
        """Return the tables of all parts."""
        return as_tables(self.rows)

    def write_jsonl(self, path: Path) -> None:
        """Write one record per row; ``part`` tells which."""
        context = {"suite": "dense", "seed": self.seed, "machine": self.machine.as_record()}
        write_jsonl(path, self.rows, context)

    def draw(self, path: Path) -> bool:
        """Draw counts of steps, seconds beside rivals' and losses of plans; False without any.

        One panel each; the suffix of the path is the format.
        """
        spectra = [row for row in self.counts if row.table == "spectra"]
        table = _relative(self.timed)
        curves = _curves(self.plans)
        draws: list[Callable[[Any], Any]] = []
        if spectra:
            draws.append(lambda ax: _draw_counts(spectra, ax))
        if table:
            draws.append(lambda ax: _draw_seconds(table, ax))
        if curves:
            draws.append(lambda ax: _draw_losses(curves, ax))
        height = max(4.6, 1.0 + 0.28 * len(table))
        panels = plotting.blank_panels(len(draws), (7.4, height)) if draws else []
        for draw, ax in zip(draws, panels, strict=True):
            draw(ax)
        if panels:
            plotting.save(panels[0], path)
        return bool(panels)


def _draw_counts(rows: Sequence[CountRow], ax: Any) -> None:
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        steps = math.nan if row.steps is None else float(row.steps)
        table.setdefault(row.matrix, {})[row.method] = steps
    plotting.dots(table, ax=ax, label="steps, 3 products each (PRISM3: 2)")
    ax.set_title("Steps to ||I - U'U|| <= 1e-8")


def _relative(rows: Sequence[TimedRow]) -> dict[str, dict[str, float]]:
    """Return seconds of right answers over the least, by contest, with rivals by their kind."""
    found: dict[str, dict[str, float]] = {}
    for where in dict.fromkeys(row.where for row in rows):
        contest = [row for row in rows if row.where == where and row.solved]
        best = min((row.seconds for row in contest), default=math.nan)
        table = dict.fromkeys((*SHOWN, *KINDS.values()), math.nan)
        for row in contest:
            name = row.method if row.kind == OURS else KINDS[row.kind]
            if name in table:
                table[name] = float(np.fmin(table[name], row.seconds / best))
        if contest:
            found[where.removesuffix(", cpu")] = table
    return found


def _draw_seconds(table: dict[str, dict[str, float]], ax: Any) -> None:
    plotting.dots(table, ax=ax, label="seconds over those of the quickest right answer", log=True)
    ax.set_title("Seconds")


def _curves(rows: Sequence[PlanRow]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.table != "transfer" or not row.losses:
            continue
        if not found:
            found["predicted"] = list(enumerate(row.losses["predicted"]))
        found[row.name] = [
            (float(k), loss) for k, loss in enumerate(row.losses["measured"]) if math.isfinite(loss)
        ]
    return found


def _draw_losses(curves: dict[str, list[tuple[float, float]]], ax: Any) -> None:
    plotting.loss_against_time(curves, unit="steps", ax=ax)
    ax.set_xticks(range(1 + int(max(curve[-1][0] for curve in curves.values()))))
    ax.set_title("A plan for Wishart, d = 4 n, on other matrices")


# --- what to run -----------------------------------------------------------------------------


def dense_jobs(
    parts: Sequence[str] = PARTS,
    *,
    only: str = "*",
    limit: float | None = None,
    tiny: bool = False,
) -> tuple[Job[DenseRow], ...]:
    """Return the steps of the benchmark that are wanted.

    Parameters
    ----------
    parts : sequence of str
        Of `PARTS`.
    only : str
        Shell pattern of the names of steps.
    limit : float, optional
        Seconds per call where seconds are measured.
    tiny : bool
        Small matrices and few of them, so that the benchmark cannot rot.

    Raises
    ------
    InputError
        If a part is unknown, or nothing matches.
    """
    checked_parts(parts, PARTS)
    seconds = LIMIT if limit is None else limit
    makers = {
        "iterations": lambda: _iteration_jobs(tiny),
        "polar": lambda: _polar_jobs(tiny, seconds),
        "roots": lambda: _root_jobs(tiny, seconds),
        "planning": lambda: _planning_jobs(tiny),
        "robust": lambda: _robust_jobs(tiny),
    }
    every = [job for part in PARTS if part in parts for job in makers[part]()]
    return matching(every, only, "dense")


def _iteration_jobs(tiny: bool) -> Iterator[Job[DenseRow]]:
    for case in wanted_spectra(tiny=tiny):
        yield Job(
            "iterations",
            case.name,
            lambda seed, case=case: count_spectrum(case, seed=seed),  # type: ignore[misc]
        )
    shape = (60, 30) if tiny else (2000, 1000)
    for kappa in HEAVY_KAPPAS:
        yield Job(
            "iterations",
            f"heavy tails {kappa:g}",
            lambda seed, kappa=kappa: count_heavy(kappa, shape=shape, seed=seed),  # type: ignore[misc]
        )
    yield Job(
        "iterations", "theorem", lambda seed: check_theorem(count=5 if tiny else 100, seed=seed)
    )
    yield Job("iterations", "inverse roots", lambda seed: count_roots(seed=seed))


def _polar_jobs(tiny: bool, limit: float) -> Iterator[Job[DenseRow]]:
    options: dict[str, Any] = {"limit": limit, "repeats": 1 if tiny else REPEATS}
    if tiny:
        options["planning"] = TINY_PLANNING
    for device in devices():
        for shape in TINY_SHAPES if tiny else SHAPES:
            yield Job(
                "polar",
                f"polar {shape[0]}x{shape[1]} {device}",
                lambda seed, shape=shape, device=device: time_polar(  # type: ignore[misc]
                    shape, device=device, seed=seed, **options
                ),
            )


def _root_jobs(tiny: bool, limit: float) -> Iterator[Job[DenseRow]]:
    options: dict[str, Any] = {"limit": limit, "repeats": 1 if tiny else REPEATS}
    if tiny:
        options["planning"] = TINY_PLANNING
    for case in root_cases(tiny=tiny):
        yield Job(
            "roots",
            f"{case.task}, {case.law.name}, {case.dtype}",
            lambda seed, case=case: time_roots(case, seed=seed, **options),  # type: ignore[misc]
        )


def _planning_jobs(tiny: bool) -> Iterator[Job[DenseRow]]:
    n, max_time = (48, TINY_PLANNING) if tiny else (256, 1.0)
    for ratio in list(RATIOS)[:2] if tiny else RATIOS:
        yield Job(
            "planning",
            f"ratio {ratio:g}",
            lambda seed, ratio=ratio: against_exact(  # type: ignore[misc]
                ratio, seed=seed, n_iterations=50 if tiny else ITERATIONS, max_time=max_time
            ),
        )
    yield Job("planning", "transfer", lambda seed: transferred(n=n, max_time=max_time, seed=seed))
    count, seeds = (5, 2) if tiny else (100, SEEDS)
    yield Job(
        "planning",
        "search",
        lambda seed: searched(n=n, seeds=seeds, max_time=max_time, seed=seed),
    )
    n_iterations = 20 if tiny else DIVERGENCE_ITERATIONS
    yield Job(
        "planning",
        "divergence",
        lambda seed: diverging(count=count, n=n, seed=seed, n_iterations=n_iterations),
    )


def _robust_jobs(tiny: bool) -> Iterator[Job[DenseRow]]:
    if torch_or_none() is None:
        return
    count = 16 if tiny else -(-COUNT // (len(SORTS) * len(BANDS)))
    for dtype in BANDS:
        for sort in SORTS:
            yield Job(
                "robust",
                f"{sort}, {dtype}",
                lambda seed, sort=sort, dtype=dtype: stress(  # type: ignore[misc]
                    sort, dtype, count=count, seed=seed
                ),
            )


def run_dense(
    jobs: Sequence[Job[DenseRow]],
    *,
    seed: int = SEED,
    advance: Advance = nowhere,
) -> DenseRun:
    """Run all steps; Ctrl-C keeps what is finished.

    Parameters
    ----------
    jobs : sequence of Job
        What to run.
    seed : int
        Draws matrices, and seeds sketches and searches.
    advance : callable
        ``advance(name, steps)`` moves a progress bar that counts the jobs.
    """
    pin_torch()
    machine = describe()
    return DenseRun(machine, seed, *run_jobs(jobs, seed=seed, advance=advance))
