"""What a run says in words and in a terminal table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spectool.bench.records import Outcome, Row, grouped, score, winners
from spectool.bench.tasks import JACOBI, OURS, OURS_ALONE, PLAIN

MANY_MATVECS = 1.5
SLOW = 0.1
UNFACTORIZED = (PLAIN, JACOBI)
"""What the bar compares with; AMG factorizes its coarsest level, and stands in the table."""
NEAR, HARM, NOTABLE, LARGE = 1.05, 1.10, 0.05, 1_000_000


def seconds_text(seconds: float) -> str:
    """Return seconds with three digits and a unit; a dash for nan."""
    if math.isnan(seconds):
        return "–"
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} µs"
    if seconds < 1.0:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:.3g} s"


def error_text(error: float) -> str:
    """Return an error with two digits; a dash for nan."""
    return "–" if math.isnan(error) else f"{error:.1e}"


def count_text(count: int | None) -> str:
    """Return a count with separators; a dash where unknown."""
    return "–" if count is None else f"{count:,}"


def result_text(row: Row, group: Sequence[Row]) -> str:
    """Return "fastest", "tie", "only right", how much slower, or what went wrong."""
    best = winners(group)
    if row in best:
        if sum(other.outcome.solved for other in group) == 1:
            return "only right"
        return "fastest" if len(best) == 1 else "tie"
    if row.outcome is Outcome.MET:
        return f"{row.seconds / min(other.seconds for other in best):.2g}x slower"
    return row.outcome.value


_WIDTHS = {
    "method": 15, "total": 8, "matvecs": 8, "reductions": 10, "MiB": 7, "error": 8, "result": 14
}  # fmt: skip


def as_tables(rows: Iterable[Row], title: str) -> Group:
    """Return the rows as rich tables that fit 80 columns, one per matrix and task."""
    parts: list[RenderableType] = [Text(title, style="bold")]
    for (matrix, task), group in grouped(rows).items():
        parts += [Text(f"\n{matrix}: {task}", style="cyan"), _table(group)]
    return Group(*parts)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name, width in _WIDTHS.items():
        left = name in ("method", "result")
        table.add_column(name, width=width, justify="left" if left else "right", overflow="fold")
    best = winners(rows)
    for row in rows:
        table.add_row(
            Text(row.method, style="bold" if row.ours else ""),
            seconds_text(row.seconds),
            count_text(row.matvecs),
            count_text(row.reductions),
            "–" if row.n_bytes is None else f"{row.n_bytes / 2**20:.2g}",
            error_text(row.error),
            Text(result_text(row, rows), style=_result_style(row, best)),
        )
    return table


def _result_style(row: Row, best: Sequence[Row]) -> str:
    if row in best:
        return "bold green"
    return "" if row.outcome in (Outcome.MET, Outcome.UNVERIFIED) else "red"


def summary(rows: Sequence[Row]) -> str:
    """Return how spectool fared, one clause per task, and all failures."""
    tasks = list(dict.fromkeys(row.task for row in rows if row.method))
    clauses = []
    for task in tasks:
        of_task = [row for row in rows if row.task == task]
        result = score(of_task)
        total = len(grouped(of_task))
        clause = (
            f"{task}: first on {result.won} of {total}, tied on {result.tied}, "
            f"behind on {result.lost}"
        )
        clauses.append(clause + (f", undecided on {result.open}" if result.open else ""))
    ours, theirs = _failures(rows, ours=True), _failures(rows, ours=False)
    ends = f"Attempts without a right answer: spectool {ours}, scipy {theirs}."
    return f"spectool's place by total seconds among right answers. {'; '.join(clauses)}. {ends}"


def _failures(rows: Iterable[Row], *, ours: bool) -> int:
    fine = (Outcome.MET, Outcome.UNVERIFIED)
    return sum(row.method != "" and row.ours is ours and row.outcome not in fine for row in rows)


def solve_verdict(rows: Sequence[Row]) -> list[str]:
    """Return the promises of preconditioner and solver, each kept or broken where.

    Scipy's cg stops on a recurred residual, which drifts from the true one whatever M is.
    """
    stranded, costly, wrong, alone = [], [], [], []
    for (matrix, task), group in grouped(rows).items():
        ours = next((row for row in group if row.ours), None)
        jacobi = next((row for row in group if row.method == JACOBI), None)
        if not task.startswith("solve") or ours is None or jacobi is None:
            continue
        alone += [
            f"{matrix} ({row.error:.1e})"
            for row in group
            if row.method == OURS_ALONE and row.outcome is Outcome.INACCURATE
        ]
        if ours.outcome is Outcome.INACCURATE and jacobi.outcome is not Outcome.INACCURATE:
            wrong.append(f"{matrix} ({ours.error:.1e}, Jacobi CG {jacobi.error:.1e})")
        if not jacobi.outcome.solved:
            continue
        if not ours.outcome.solved:
            stranded.append(f"{matrix} ({ours.outcome.value})")
        elif ours.matvecs is not None and jacobi.matvecs is not None:
            ratio = ours.matvecs / jacobi.matvecs
            if ratio > MANY_MATVECS and ours.seconds >= jacobi.seconds:
                costly.append(
                    f"{matrix} ({ratio:.2g}x matvecs, {ours.seconds / jacobi.seconds:.2g}x seconds)"
                )
    return [
        _promise("right wherever Jacobi CG is", stranded),
        _promise(f"never above {MANY_MATVECS}x Jacobi's matvecs without being faster", costly),
        _promise("no wrong answer where Jacobi CG has none", wrong),
        _promise(f"{OURS_ALONE}: no wrong answer", alone),
    ]


def solve_speed(rows: Sequence[Row]) -> str:
    """Return how our total seconds compare with Jacobi CG's where those exceed SLOW, or ''.

    Only matrices that both get right count; the mean is geometric.
    """
    ratios = []
    for (_, task), group in grouped(rows).items():
        ours = next((row for row in group if row.ours), None)
        jacobi = next((row for row in group if row.method == JACOBI), None)
        if not task.startswith("solve") or ours is None or jacobi is None:
            continue
        if ours.outcome.solved and jacobi.outcome.solved and jacobi.seconds > SLOW:
            ratios.append(jacobi.seconds / ours.seconds)
    if not ratios:
        return ""
    return (
        f"where Jacobi CG takes over {SLOW} s ({len(ratios)} matrices): "
        f"{statistics.geometric_mean(ratios):.2f}x faster, set-up included "
        f"({min(ratios):.2f}x to {max(ratios):.2f}x)"
    )


def solve_bars(rows: Sequence[Row]) -> list[str]:
    """Return how each of our ways to solve stands against all that do not factorize."""
    groups = [group for (_, task), group in grouped(rows).items() if task == "solve, all"]
    lines = []
    for name in (OURS, OURS_ALONE):
        near, slow, large = [], [], []
        for group in groups:
            row = {row.method: row for row in group}
            if name not in row or JACOBI not in row:
                continue  # interrupted, or the matrix could not be made
            ours, jacobi = row[name], row[JACOBI]
            rivals = [r.seconds for r in group if r.outcome.solved and r.method in UNFACTORIZED]
            if not rivals and not ours.outcome.solved:
                continue
            best = min(rivals, default=math.inf)
            near.append((ours.outcome.solved and ours.seconds <= NEAR * best, best > NOTABLE))
            if not ours.outcome.solved:
                continue
            if jacobi.outcome.solved:
                ratio = jacobi.seconds / ours.seconds
                if jacobi.seconds > NOTABLE and ratio < 1 / HARM:
                    slow.append(f"{ours.matrix} {1 / ratio:.2f}x")
                if ours.nnz >= LARGE:
                    large.append(ratio)
        if not near:
            continue
        longer = [kept for kept, long in near if long]
        lines.append(
            f"{name}: within {NEAR}x of the best other that does not factorize on "
            f"{sum(kept for kept, _ in near)} of {len(near)}, {sum(longer)} of {len(longer)} where "
            f"that takes {NOTABLE} s; "
            + _promise(f"at most {HARM}x Jacobi CG where that takes {NOTABLE} s", slow)
        )
        if large:
            lines.append(
                f"{name}: from {LARGE:,} entries on ({len(large)} matrices) "
                f"{statistics.geometric_mean(large):.2f}x faster than Jacobi CG "
                f"({min(large):.2f}x to {max(large):.2f}x)"
            )
    return lines


def profile_costs(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Return total seconds per method and problem of "solve, all", inf where it is not right."""
    groups = [group for (_, task), group in grouped(rows).items() if task == "solve, all"]
    methods = dict.fromkeys(row.method for group in groups for row in group)
    return {
        method: [
            next((r.seconds for r in group if r.method == method and r.outcome.solved), math.inf)
            for group in groups
        ]
        for method in methods
    }


def _promise(text: str, exceptions: Sequence[str]) -> str:
    kept = "kept" if not exceptions else f"BROKEN on {len(exceptions)}: {', '.join(exceptions)}"
    return f"{text}: {kept}"
