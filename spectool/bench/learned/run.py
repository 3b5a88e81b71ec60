"""The parts of ``bench learned``: choices among designs, predicted coefficients, and plans."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group, RenderableType

from spectool import plotting
from spectool.bench.bars import Bar
from spectool.bench.jobs import Advance, Job, checked_parts, matching, nowhere, run_jobs
from spectool.bench.learned.coefficient_tables import coefficient_bars, coefficient_tables
from spectool.bench.learned.coefficients import CoefficientRow, coefficient_jobs
from spectool.bench.learned.designs import (
    CHOOSERS,
    DesignRow,
    best_fixed,
    design_bars,
    design_jobs,
    design_tables,
    logs,
)
from spectool.bench.learned.planning import (
    PlanningRow,
    planning_bars,
    planning_jobs,
    planning_tables,
)
from spectool.bench.learned.searches import SearchRow
from spectool.bench.machine import Machine, describe
from spectool.bench.records import write_jsonl
from spectool.bench.run import SEED


class Part(NamedTuple):
    """One part of the benchmark: its rows' type, steps, tables and promises."""

    row: type[Any] | tuple[type[Any], ...]
    jobs: Callable[..., Iterator[Job[Any]]]
    tables: Callable[[Sequence[Any]], RenderableType]
    bars: Callable[[Sequence[Any]], list[Bar]]


PARTS = {
    "designs": Part(DesignRow, design_jobs, design_tables, design_bars),
    "coefficients": Part(CoefficientRow, coefficient_jobs, coefficient_tables, coefficient_bars),
    "planning": Part((PlanningRow, SearchRow), planning_jobs, planning_tables, planning_bars),
}


@dataclass(frozen=True, slots=True, eq=False)
class LearnedRun:
    """What ``bench learned`` brought.

    Attributes
    ----------
    machine : Machine
        Where.
    seed : int
        Of probes and right-hand sides.
    rows : tuple of rows
        Of all parts.
    seconds : float
        Wall-clock time of everything.
    interrupted : bool
        Whether Ctrl-C cut it short.
    """

    machine: Machine
    seed: int
    rows: tuple[Any, ...]
    seconds: float
    interrupted: bool

    def _parts(self) -> Iterator[tuple[Part, list[Any]]]:
        for part in PARTS.values():
            rows = [row for row in self.rows if isinstance(row, part.row)]
            if rows:
                yield part, rows

    def bars(self) -> list[Bar]:
        """Return every promise, kept or missed."""
        return [bar for part, rows in self._parts() for bar in part.bars(rows)]

    def as_tables(self) -> Group:
        """Return the tables of all parts."""
        return Group(*(part.tables(rows) for part, rows in self._parts()))

    def write_jsonl(self, path: Path) -> None:
        """Write one record per row; ``part`` tells which."""
        context = {"suite": "learned", "seed": self.seed, "machine": self.machine.as_record()}
        write_jsonl(path, self.rows, context)

    def draw(self, path: Path) -> bool:
        """Draw overheads of choosers, and true against predicted seconds; False without any.

        One panel each; the suffix of the path is the format.
        """
        draws: list[Callable[[Any], Any]] = []
        designs = [row for row in self.rows if isinstance(row, DesignRow)]
        if designs:
            draws.append(lambda ax: _draw_designs(designs, ax))
        points = _predictions(row for row in self.rows if isinstance(row, PlanningRow))
        if points:
            draws.append(lambda ax: _draw_predictions(points, ax))
        panels = plotting.blank_panels(len(draws), (7.4, 4.6)) if draws else []
        for draw, ax in zip(draws, panels, strict=True):
            draw(ax)
        if panels:
            plotting.save(panels[0], path)
        return bool(panels)


def _draw_designs(rows: Sequence[DesignRow], ax: Any) -> None:
    table: dict[str, dict[str, float]] = {}
    for degree in dict.fromkeys(row.degree for row in rows):
        means = {"best fixed design": logs(rows, degree, best_fixed(rows, degree)).mean()}
        means |= {label: logs(rows, degree, label).mean() for label in CHOOSERS}
        table[f"degree {degree}"] = {name: math.exp(mean) for name, mean in means.items()}
    plotting.dots(table, ax=ax, label="matvecs over those of plain CG, geometric mean")
    ax.set_title("Designs")


def _predictions(rows: Iterable[PlanningRow]) -> dict[str, list[tuple[float, float]]]:
    """Return pairs (predicted, true seconds) by what kind of option it is."""
    found: dict[str, list[tuple[float, float]]] = {"chosen": [], "CG": [], "others": []}
    for row in rows:
        if math.isfinite(row.predicted) and 0 < row.seconds < math.inf:
            kind = "chosen" if row.chosen else "CG" if row.plain else "others"
            found[kind].append((row.predicted, row.seconds))
    return {kind: pairs for kind, pairs in found.items() if pairs}


def _draw_predictions(points: dict[str, list[tuple[float, float]]], ax: Any) -> None:
    plotting.calibration(points, ax=ax)
    ax.set_title("Seconds of planned solves")


def learned_jobs(
    parts: Sequence[str] = tuple(PARTS), *, only: str = "*", tiny: bool = False
) -> tuple[Job[Any], ...]:
    """Return the steps of the benchmark that are wanted.

    Parameters
    ----------
    parts : sequence of str
        Of `PARTS`.
    only : str
        Shell pattern of the names of steps: matrices mostly.
    tiny : bool
        A small matrix, so that the benchmark cannot rot.

    Raises
    ------
    InputError
        If a part is unknown, or nothing matches.
    """
    checked_parts(parts, tuple(PARTS))
    every = [job for name, part in PARTS.items() if name in parts for job in part.jobs(tiny=tiny)]
    return matching(every, only, "learned")


def run_learned(
    jobs: Sequence[Job[Any]], *, seed: int = SEED, advance: Advance = nowhere
) -> LearnedRun:
    """Run all steps; Ctrl-C keeps what is finished. Arguments as in `run_jobs`."""
    return LearnedRun(describe(), seed, *run_jobs(jobs, seed=seed, advance=advance))
