"""What the honesty grid shows: findings, coverage, sharpness, and every miss by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spectool import plotting
from spectool._types import FloatArray
from spectool.bench.bars import Bar
from spectool.bench.funm.honesty import MISS, NEAR, Cell, Finding

K = TypeVar("K")
LISTED = 20
"""Cells of one sort that are named."""
SMALLEST, LARGEST = 1e-17, 1e3
"""Errors and estimates beyond are drawn at these ends."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over some cells.

    Attributes
    ----------
    cells, answered, covered, sharp, needless : int
        All; with a true error; of those with an estimate of at least a tenth of it; within a factor
        of ten of it; warnings of answers within the tolerance.
    findings : dict of Finding to int
        How many of each.
    quantiles : ndarray, shape (3,)
        Of estimate over true error: 5%, 50%, 95%; nan without an answer.
    """

    cells: int
    answered: int
    covered: int
    sharp: int
    needless: int
    findings: dict[Finding, int]
    quantiles: FloatArray


def tally(cells: Sequence[Cell]) -> Tally:
    """Count."""
    answered = [cell for cell in cells if cell.answered]
    ratios = np.array([cell.ratio for cell in answered])
    # An infinite estimate is a number here, not a gap: no interpolation between quantiles.
    edges = (
        np.quantile(ratios, [0.05, 0.5, 0.95], method="nearest") if answered else np.full(3, np.nan)
    )
    return Tally(
        len(cells),
        len(answered),
        sum(cell.covered for cell in answered),
        sum(cell.sharp for cell in answered),
        sum(cell.needless for cell in cells),
        {finding: sum(cell.finding is finding for cell in cells) for finding in Finding},
        edges,
    )


def honesty_bars(cells: Sequence[Cell]) -> list[Bar]:
    """Return the promise of the estimate, kept or missed, and how sharp it is."""
    if not cells:
        return []
    all_of_them = tally(cells)
    found = all_of_them.findings
    silent, answered = found[Finding.SILENT], all_of_them.answered
    low, middle, high = all_of_them.quantiles
    return [
        Bar(
            f"no silent miss (true error above {MISS:g} rtol without a warning)",
            f"{silent} of {all_of_them.cells} cells; {found[Finding.UNDECIDED]} undecided",
            silent == 0,
        ),
        Bar(
            "estimate at least a tenth of the true error",
            _share(all_of_them.covered, answered),
            None,
        ),
        Bar(
            f"estimate within a factor of {NEAR:g} of the true error",
            f"{_share(all_of_them.sharp, answered)}; estimate over truth {low:.2g} to {high:.2g} "
            f"(5% to 95%), {middle:.2g} in the median",
            None,
        ),
        Bar(
            "warnings of answers that were within the tolerance",
            f"{all_of_them.needless} of {found[Finding.WARNED]} warnings",
            None,
        ),
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%} of {whole}" if whole else ""


# --- tables ----------------------------------------------------------------------------------


def honesty_tables(cells: Sequence[Cell]) -> Group:
    """Return the tables, by function, by method and by condition number, and what went wrong."""
    prescribed = [cell for cell in cells if cell.kind not in ("", "real")]
    parts: list[RenderableType] = [Text("Honesty of the estimates", style="bold")]
    for title, chosen in (
        ("prescribed spectra", prescribed),
        ("real matrices", [cell for cell in cells if cell.kind == "real"]),
    ):
        if chosen:
            parts += [Text(f"\n{title}, by function", style="cyan")]
            parts += [_counts(chosen, lambda cell: cell.function)]
    if cells:
        parts += [Text("\nall, by method", style="cyan"), _counts(cells, lambda c: c.family)]
    if prescribed:
        parts += [Text("\nprescribed spectra, by kind and form", style="cyan")]
        parts += [_counts(prescribed, lambda cell: f"{cell.kind}, {cell.form}")]
        parts += [
            Text("\nprescribed spectra: estimate over true error", style="cyan"),
            _sharpness(prescribed),
            Text(_EXPLAINED, style="dim"),
        ]
    return Group(*parts, *_complaints(cells))


_EXPLAINED = (
    "kept: no warning, and the true error within 10 rtol. undec.: the truth cannot tell. warned: "
    "of these within rtol in brackets. none: refused, or out of time. covered: estimate at least "
    "a tenth of the true error. sharp: within a factor of 10. Below: median, [least, largest], and "
    "how many of the cells warned."
)


def _counts(cells: Sequence[Cell], key: Callable[[Cell], str]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in (
        "cells", "kept", "silent", "undec.", "warned", "none", "covered", "sharp", "5%", "50%",
        "95%",
    ):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for name, group in _grouped(cells, key).items():
        row = tally(group)
        found = row.findings
        silent = found[Finding.SILENT]
        table.add_row(
            name or "-",
            str(row.cells),
            str(found[Finding.KEPT]),
            Text(str(silent), style="bold red" if silent else ""),
            str(found[Finding.UNDECIDED]),
            f"{found[Finding.WARNED]} ({row.needless})",
            str(found[Finding.REFUSED] + found[Finding.TIMEOUT]),
            _percent(row.covered, row.answered),
            _percent(row.sharp, row.answered),
            *(f"{edge:.2g}" for edge in row.quantiles),
        )
    return table


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _sharpness(cells: Sequence[Cell]) -> Table:
    """Return one row per function and condition number, one column per tolerance."""
    rtols = sorted({cell.rtol for cell in cells}, reverse=True)
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for name in ("function", "cond"):
        table.add_column(name, no_wrap=True)
    for rtol in rtols:
        table.add_column(f"rtol {rtol:.0e}", no_wrap=True)
    rounded = _grouped(cells, lambda cell: (cell.function, float(f"{cell.cond:.1e}")))
    for (function, cond), group in sorted(rounded.items()):
        table.add_row(
            function,
            f"{cond:.0e}",
            *(Text(_spread([cell for cell in group if cell.rtol == rtol])) for rtol in rtols),
        )
    return table


def _spread(cells: Sequence[Cell]) -> str:
    ratios = [cell.ratio for cell in cells if cell.answered]
    if not ratios:
        return ""
    middle = float(np.quantile(ratios, 0.5, method="nearest"))
    warned = sum(cell.warned for cell in cells)
    text = f"{middle:.2g} [{min(ratios):.1g}, {max(ratios):.1g}]"
    return text + (f" {warned}/{len(cells)}" if warned else "")


def _complaints(cells: Sequence[Cell]) -> Iterator[Text]:
    """Yield every sort of bad news, the worst cells first."""
    silent = [cell for cell in cells if cell.finding is Finding.SILENT]
    low = [cell for cell in cells if cell.answered and not cell.covered]
    for title, found in (("SILENT MISS", silent), ("estimate below a tenth of the truth", low)):
        worst = sorted(found, key=lambda cell: -cell.error / cell.rtol)
        yield from _listed(title, [cell_text(cell) for cell in worst])
    none = [cell for cell in cells if cell.finding in (Finding.REFUSED, Finding.TIMEOUT)]
    alike = _grouped(none, lambda cell: (cell.matrix, cell.function, cell.note))
    names = [
        f"{matrix} {function} ({len(group)} cells): {note}"
        for (matrix, function, note), group in alike.items()
    ]
    yield from _listed("no answer", names)


def _listed(title: str, lines: Sequence[str]) -> Iterator[Text]:
    for line in lines[:LISTED]:
        yield Text(f"{title}: {line}", style="red")
    if len(lines) > LISTED:
        yield Text(f"{title}: and {len(lines) - LISTED} more", style="red")


def cell_text(cell: Cell) -> str:
    """Return one answered cell in a line."""
    asked = "" if cell.asked == "auto" else f" by {cell.asked}"
    return (
        f"{cell.matrix} {cell.function}{asked} rtol {cell.rtol:.0e}: true {cell.error:.1e} "
        f"(+- {cell.uncertainty:.0e}), estimate {cell.estimate:.1e}"
        f"{', warned' if cell.warned else ''}; {cell.method}"
    )


def _grouped(cells: Iterable[Cell], key: Callable[[Cell], K]) -> dict[K, list[Cell]]:
    groups: dict[K, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


# --- picture ---------------------------------------------------------------------------------


def draw_honesty(cells: Sequence[Cell], ax: Any) -> None:
    """Draw estimate against true error, one color per function."""

    def point(cell: Cell) -> tuple[float, float]:
        # Where the truth is too uncertain to tell, the point lies on the diagonal.
        pair = [cell.truth, cell.ratio * cell.truth]
        ends = np.nan_to_num(pair, nan=LARGEST, posinf=LARGEST)
        x, y = np.clip(ends, SMALLEST, LARGEST)
        return float(x), float(y)

    points: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        if cell.answered:
            points.setdefault(cell.function, []).append(point(cell))
    missed = [point(cell) for cell in cells if cell.finding is Finding.SILENT]
    plotting.estimates(points, missed=missed, ax=ax)
    ax.set_title("How wrong it is, and how wrong it thinks it is")
