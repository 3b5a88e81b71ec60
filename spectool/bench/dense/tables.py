"""Tables of ``bench dense``, for terminals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spectool.bench.dense.records import CountRow, PlanRow, RobustRow, TimedRow
from spectool.bench.dense.timing import OURS
from spectool.bench.records import TIE
from spectool.bench.tables import error_text, seconds_text

TITLES = {
    "spectra": "Steps to ||I - U'U||_F <= 1e-8 (published)",
    "heavy tails": "Steps on heavy-tailed matrices, float32 (published at most)",
    "inverse roots": "Steps to ||R||_F <= 1e-10, condition number 1e4 (published)",
    "theorem": "The theorem",
}

WRAPPED = ("note", "by", "kinds")
"""Columns that may take several lines."""


def _table(columns: Sequence[str], left: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=name != "note")
    return table


def count_tables(rows: Sequence[CountRow]) -> Iterator[RenderableType]:
    """Yield one table per kind of matrices: matrices down, methods across."""
    for kind, title in TITLES.items():
        chosen = [row for row in rows if row.table == kind]
        if not chosen:
            continue
        yield Text(f"\n{title}", style="bold")
        if kind == "theorem":
            for row in chosen:
                said = f"{row.matrix}, {row.method}: {row.steps} of {row.published} {row.note}"
                yield Text(said.rstrip())
            continue
        methods = list(dict.fromkeys(row.method for row in chosen))
        table = _table(["matrix", *methods], ["matrix"])
        for matrix in dict.fromkeys(row.matrix for row in chosen):
            found = {row.method: row for row in chosen if row.matrix == matrix}
            table.add_row(matrix, *(_count_text(found.get(method)) for method in methods))
        yield table
        for row in chosen:
            if row.note:
                yield Text(f"{row.matrix}, {row.method}: {row.note}", style="dim")


def _count_text(row: CountRow | None) -> Text:
    if row is None:
        return Text("")
    steps = "–" if row.steps is None else str(row.steps)
    published = f" ({row.published})" if row.published is not None else ""
    beaten = row.steps is None or (row.published is not None and row.steps > row.published)
    return Text(f"{steps}{published}", style="red" if beaten else "")


def timed_tables(rows: Sequence[TimedRow]) -> Iterator[RenderableType]:
    """Yield one table per contest."""
    for where in dict.fromkeys(row.where for row in rows):
        chosen = [row for row in rows if row.where == where]
        shape = " x ".join(str(size) for size in chosen[0].shape)
        threads = f", {chosen[0].threads} threads" if chosen[0].threads else ""
        yield Text(f"\n{where} ({shape}{threads})", style="cyan")
        columns = ["method", "median", "steps", "products", "residual", "error", "result", "note"]
        table = _table(columns, ["method", "result", "note"])
        best = min((row.seconds for row in chosen if row.solved), default=math.inf)
        for row in chosen:
            table.add_row(
                Text(row.method, style="bold" if row.kind == OURS else ""),
                seconds_text(row.seconds),
                "" if row.steps is None else str(row.steps),
                "" if math.isnan(row.products) else f"{row.products:.3g}",
                error_text(row.residual),
                error_text(row.error),
                _result(row, best),
                row.note,
            )
        yield table


def _result(row: TimedRow, best: float) -> str:
    if not row.solved:
        return "failed" if math.isnan(row.seconds) else "inaccurate"
    if row.seconds <= TIE * best:
        return "fastest" if row.seconds == best else "tie"
    return f"{row.seconds / best:.3g}x slower"


def plan_tables(rows: Sequence[PlanRow]) -> Iterator[RenderableType]:
    """Yield the table of plans, and lines on transfer."""
    ratios = [row for row in rows if row.table == "ratios"]
    if ratios:
        yield Text("\nPlans for [1e-3, 1] to 1e-6, costs in products", style="bold")
        columns = ["costs", "published", "exact", "tree alone", "plan", "seconds", "by", "kinds"]
        table = _table(columns, ["costs", "by", "kinds"])
        for row in ratios:
            table.add_row(
                row.name,
                _number(row.published),
                _number(row.exact),
                _number(row.tree),
                _number(row.cost),
                seconds_text(row.seconds),
                row.found_by,
                ", ".join(row.kinds) or row.note,
            )
        yield table
    transfer = [row for row in rows if row.table == "transfer"]
    if transfer:
        yield Text("\nA plan for A^-1/2, Wishart d = 4 n, on other matrices", style="bold")
        table = _table(
            ["matrix", "cost", "loss", "further", "again: cost", "loss ", "further ", "note"],
            ["matrix", "note"],
        )
        for row in transfer:
            value = row.figures.get
            table.add_row(
                row.name,
                _number(row.cost),
                error_text(value("loss", math.nan)),
                _number(value("further steps", math.nan)),
                _number(value("online cost", math.nan)),
                error_text(value("online loss", math.nan)),
                _number(value("online further steps", math.nan)),
                row.note,
            )
        yield table
    for row in rows:
        if row.table == "divergence" and row.note:
            yield Text(f"{row.name}: {row.note}", style="red")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def robust_table(rows: Sequence[RobustRow]) -> Iterator[RenderableType]:
    """Yield the table of hostile matrices."""
    if not rows:
        return
    yield Text("\nHostile matrices through orthogonalize", style="bold")
    columns = ["matrices", "type", "count", "not finite", "smallest", "largest", "band", "note"]
    table = _table(columns, ["matrices", "type", "note"])
    for row in rows:
        table.add_row(
            row.sort,
            row.dtype,
            f"{row.count:,}",
            str(row.not_finite),
            "–" if math.isnan(row.smallest) else f"{row.smallest:.3f}",
            f"{row.largest:.3f}",
            f"[{row.lower:g}, {row.upper:g}]",
            row.note,
        )
    yield table


def as_tables(rows: Iterable[CountRow | TimedRow | PlanRow | RobustRow]) -> Group:
    """Return the tables of all parts."""
    every = list(rows)
    return Group(
        *count_tables([row for row in every if isinstance(row, CountRow)]),
        *timed_tables([row for row in every if isinstance(row, TimedRow)]),
        *plan_tables([row for row in every if isinstance(row, PlanRow)]),
        *robust_table([row for row in every if isinstance(row, RobustRow)]),
    )
