"""The three parts of ``bench funm``: honesty of the estimates, rivals, size."""

from __future__ import annotations

import fnmatch
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from rich.console import Group, RenderableType

from spectool import gallery, plotting
from spectool.bench import run as suite_run
from spectool.bench.bars import Bar
from spectool.bench.funm.bars import large_bars, large_table, rival_bars
from spectool.bench.funm.cases import KINDS, QUESTIONS, Source, prescribed, real
from spectool.bench.funm.honesty import LIMIT as CELL_LIMIT
from spectool.bench.funm.honesty import Cell, run_honesty
from spectool.bench.funm.large import COLUMNS, LargeCase, LargeRow, large_cases, run_large
from spectool.bench.funm.large import LIMIT as LARGE_LIMIT
from spectool.bench.funm.tables import draw_honesty, honesty_bars, honesty_tables
from spectool.bench.funm.tasks import EXPM, KRYLOV, KRYLOV_LONG, SPECTOOL, YARDSTICK
from spectool.bench.jobs import checked_parts
from spectool.bench.machine import Machine, describe
from spectool.bench.problems import sine_basis
from spectool.bench.records import Row, grouped, write_jsonl
from spectool.bench.run import SEED, Run, run_suite
from spectool.bench.suites import Source as Matrix
from spectool.bench.suites import Suite, load_suite
from spectool.bench.tables import as_tables
from spectool.errors import InputError

PARTS = ("honesty", "rivals", "large")


@dataclass(frozen=True, slots=True)
class FunmPlan:
    """What to run; a part that is empty is left out.

    Attributes
    ----------
    sources : tuple of Source
        Of the honesty grid.
    rtols, methods : tuple
        Tolerances, and methods asked for.
    suite : Suite or None
        Contests with rivals.
    large : tuple of LargeCase
        Large matrices.
    columns : int
        Right-hand sides of those.
    limit : float or None
        Seconds per attempt, for all parts; None for their own.
    """

    sources: tuple[Source, ...]
    rtols: tuple[float, ...]
    methods: tuple[str, ...]
    suite: Suite | None
    large: tuple[LargeCase, ...]
    columns: int
    limit: float | None

    @property
    def n_steps(self) -> int:
        """How many steps `run_funm` reports."""
        contests = suite_run.n_steps(self.suite) if self.suite else 0
        return len(self.sources) + contests + sum(len(case.questions) for case in self.large)


@dataclass(frozen=True, slots=True, eq=False)
class FunmRun:
    """What ``bench funm`` brought.

    Attributes
    ----------
    machine : Machine
        Where.
    seed : int
        Of right-hand sides and probes.
    cells : tuple of Cell
        The honesty grid.
    rivals : Run or None
        Contests.
    large : tuple of LargeRow
        Large matrices.
    seconds : float
        Wall-clock time of everything.
    interrupted : bool
        Whether Ctrl-C cut it short.
    """

    machine: Machine
    seed: int
    cells: tuple[Cell, ...]
    rivals: Run | None
    large: tuple[LargeRow, ...]
    seconds: float
    interrupted: bool

    @property
    def rows(self) -> tuple[Row, ...]:
        """Contests, one row per contestant."""
        return self.rivals.rows if self.rivals else ()

    def bars(self) -> list[Bar]:
        """Return every promise, kept or missed."""
        limit = self.rivals.suite.limit if self.rivals else 0.0
        return [
            *honesty_bars(self.cells),
            *(rival_bars(self.rows, limit=limit) if self.rows else []),
            *large_bars(self.large),
        ]

    def as_tables(self) -> Group:
        """Return the tables of all parts."""
        parts: list[RenderableType] = []
        if self.cells:
            parts.append(honesty_tables(self.cells))
        if self.rivals:
            parts.append(as_tables(self.rows, self.rivals.suite.title))
        if self.large:
            parts.append(large_table(self.large))
        return Group(*parts)

    def write_jsonl(self, path: Path) -> None:
        """Write one record per cell, contestant and large row; ``part`` tells which."""
        tagged: list[_Tagged] = [_Tagged("honesty", cell) for cell in self.cells]
        tagged += [_Tagged("rivals", row) for row in self.rows]
        tagged += [_Tagged("large", row) for row in self.large]
        context = {"suite": "funm", "seed": self.seed, "machine": self.machine.as_record()}
        write_jsonl(path, tagged, context)

    def draw(self, path: Path) -> bool:
        """Draw estimates against truths, and our seconds against rivals'; False if there is none.

        One panel each; the suffix of the path is the format.
        """
        rivalry = _rivalry(self.rows)
        panels = [draw for found, draw in ((self.cells, _honesty), (rivalry, _seconds)) if found]
        axes = plotting.blank_panels(len(panels), (7.4, 4.6)) if panels else []
        for draw, ax in zip(panels, axes, strict=True):
            draw(self, ax)
        if axes:
            plotting.save(axes[0], path)
        return bool(axes)


class _Recorded(Protocol):
    def as_record(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class _Tagged:
    part: str
    row: _Recorded

    def as_record(self) -> dict[str, Any]:
        return {"part": self.part, **self.row.as_record()}


def _honesty(run: FunmRun, ax: Any) -> None:
    draw_honesty(run.cells, ax)


def _seconds(run: FunmRun, ax: Any) -> None:
    plotting.rivalry(_rivalry(run.rows), ax=ax)
    ax.set_title("Seconds where both are right")


def _rivalry(rows: Iterable[Row]) -> dict[str, list[tuple[float, float]]]:
    """Return pairs (rival's seconds, ours) where both are right."""
    points: dict[str, list[tuple[float, float]]] = {
        name: [] for name in (EXPM, KRYLOV, YARDSTICK, KRYLOV_LONG)
    }
    for group in grouped(rows).values():
        found = {row.method: row for row in group if row.outcome.solved}
        for name, pairs in points.items():
            if SPECTOOL in found and name in found:
                pairs.append((found[name].seconds, found[SPECTOOL].seconds))
    return points if any(points.values()) else {}


# --- what to run -----------------------------------------------------------------------------


def funm_plan(
    parts: Sequence[str] = PARTS,
    *,
    only: str = "*",
    limit: float | None = None,
    methods: Sequence[str] = ("auto",),
    seed: int = SEED,
    tiny: bool = False,
) -> FunmPlan:
    """Read the suite, or make a tiny one, and keep what is wanted.

    Parameters
    ----------
    parts : sequence of str
        Of `PARTS`.
    only : str
        Shell pattern of names of matrices.
    limit : float, optional
        Seconds per attempt.
    methods : sequence of str
        Asked for in the honesty grid.
    seed : int
        Draws spectra and right-hand sides.
    tiny : bool
        A few rows instead of thousands, so that the benchmark cannot rot.

    Returns
    -------
    FunmPlan
        Without the parts that have no matrix of that name.

    Raises
    ------
    InputError
        If a part is unknown, or no matrix matches.
    """
    checked_parts(parts, PARTS)
    text = (resources.files("spectool.bench") / "suites" / "funm.toml").read_text("utf-8")
    table = _TINY if tiny else tomllib.loads(text)
    grid = table["honesty"]
    questions = tuple(QUESTIONS.values())
    sources = (
        *prescribed(grid["kinds"], grid["conds"], grid["forms"], questions, n=grid["n"], seed=seed),
        *real(grid["real"], questions, seed=seed),
    )
    suite = _tiny_suite() if tiny else load_suite("funm")
    matrices = tuple(entry for entry in suite.sources if fnmatch.fnmatchcase(entry.name, only))
    suite = replace(suite, sources=matrices, limit=suite.limit if limit is None else limit)
    plan = FunmPlan(
        tuple(each for each in sources if _wanted("honesty", parts, each.name, only)),
        tuple(grid["rtols"]),
        tuple(methods),
        suite if matrices and "rivals" in parts else None,
        tuple(
            case for case in large_cases(table["large"]) if _wanted("large", parts, case.name, only)
        ),
        table.get("columns", COLUMNS),
        limit,
    )
    if not plan.n_steps:
        names = [*(each.name for each in sources), *(each.name for each in suite.sources)]
        raise InputError(
            f"no matrix of suite 'funm', {' and '.join(parts)}, matches {only!r}; it has "
            f"{', '.join(dict.fromkeys(names))}."
        )
    return plan


def _wanted(part: str, parts: Sequence[str], name: str, only: str) -> bool:
    return part in parts and fnmatch.fnmatchcase(name, only)


_TINY: dict[str, Any] = {
    "columns": 3,
    "honesty": {
        "n": 60,
        "kinds": KINDS[:2],
        "conds": [1e2],
        "forms": ["diagonal", "matrix-free"],
        "rtols": [1e-4, 1e-8],
        "real": ["HB/bcsstk01"],
    },
    "large": [
        {"name": "poisson 5x5", "make": "poisson", "shape": [5, 5], "questions": ["invsqrt"]}
    ],
}


def _tiny_suite() -> Suite:
    tasks = ("exp 10", "exp 1e3", "invsqrt, long restarts")
    matrix = Matrix("poisson 5x5", lambda _: gallery.poisson((5, 5)), sine_basis((5, 5)))
    return Suite("funm", "f(A) b beside scipy, tiny", tasks, (matrix,), limit=10.0, repeats=1)


def run_funm(
    plan: FunmPlan,
    *,
    seed: int = SEED,
    advance: Callable[[str, int], Any] = lambda _name, _steps: None,
) -> FunmRun:
    """Run all parts; Ctrl-C keeps what is finished.

    Parameters
    ----------
    plan : FunmPlan
        What to run.
    seed : int
        Seeds right-hand sides and probes.
    advance : callable
        ``advance(matrix, steps)`` moves a progress bar that counts ``plan.n_steps``.
    """
    begin = time.perf_counter()
    machine = describe()
    cells: list[Cell] = []
    large: list[LargeRow] = []
    rivals: Run | None = None
    interrupted = False
    try:
        for cell in run_honesty(
            plan.sources,
            rtols=plan.rtols,
            methods=plan.methods,
            limit=CELL_LIMIT if plan.limit is None else plan.limit,
            seed=seed,
            advance=advance,
        ):
            cells.append(cell)  # noqa: PERF402 - one by one, so that Ctrl-C loses none
        if plan.suite is not None:
            rivals = run_suite(plan.suite, seed=seed, advance=advance)
            interrupted = rivals.interrupted
        if not interrupted:
            for row in run_large(
                plan.large,
                columns=plan.columns,
                limit=LARGE_LIMIT if plan.limit is None else plan.limit,
                seed=seed,
                advance=advance,
            ):
                large.append(row)  # noqa: PERF402
    except KeyboardInterrupt:
        interrupted = True
    seconds = time.perf_counter() - begin
    return FunmRun(machine, seed, tuple(cells), rivals, tuple(large), seconds, interrupted)
