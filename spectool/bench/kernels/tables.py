"""What the kernel benchmark shows: tables, and the points of a roofline."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spectool import plotting
from spectool.bench.kernels.bars import TYPES
from spectool.bench.kernels.records import (
    ALONE,
    AUTOMATIC,
    BLOCKED,
    FAILED,
    PLANS,
    SCIPY,
    Comparison,
    KernelRun,
    Roof,
    compared,
)


def header(run: KernelRun) -> str:
    """Return machine, roof and rules in some lines."""
    machine, roof = run.machine, run.roof
    more = (f", {roof.triad:.1f} on {roof.threads}", f" and {roof.read:.1f}")
    if roof.threads == 1:
        more = ("", "")
    return (
        f"{machine.cpu}, {machine.cores} cores, load {machine.load:g} before; "
        f"BLAS threads {machine.blas}\n"
        f"triad {roof.triad_alone:.1f} GB/s on 1 thread{more[0]}; "
        f"reading alone {roof.read_alone:.1f}{more[1]}"
    )


def as_tables(run: KernelRun) -> Group:
    """Return two tables per degree and width: the automatic plan, and all plans."""
    parts: list[RenderableType] = [Text(header(run))]
    found = compared(run.timings)
    settings = dict.fromkeys((entry.first.degree, entry.first.columns) for entry in found)
    for degree, columns in settings:
        group = [
            entry
            for entry in found
            if (entry.first.degree, entry.first.columns) == (degree, columns)
        ]
        vectors = "one vector" if columns == 1 else f"{columns} vectors"
        parts += [
            Text(f"\nDegree {degree}, {vectors}: the automatic plan", style="bold cyan"),
            _automatic_table(group, run.roof),
            Text(f"\nDegree {degree}, {vectors}: times faster than scipy in float64", "bold cyan"),
            _plans_table(group),
        ]
    if found:
        parts.append(Text(f"\n{_EXPLAINED}", style="dim"))
    parts += [
        Text(f"{timing.matrix}: {timing.note}", style="red")
        for timing in run.timings
        if timing.job == FAILED
    ]
    return Group(*parts)


_EXPLAINED = (
    "ms: scipy's chain in float64. 1t, all: times faster than that. own: than scipy's chain in the "
    "same precision. spmv: than degree times our best product. roof: the time that memory allows "
    "unblocked CSR, over ours. gain: by blocking, over the same format unblocked. best: our time "
    "over that of the best forced plan. set-up: in products with CSR."
)


def _automatic_table(group: Sequence[Comparison], roof: Roof) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for name in ("matrix", "type", "plan"):
        table.add_column(name, no_wrap=True)
    for name in ("ms", "1t", "all", "own", "spmv", "roof", "gain", "best", "set-up"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in group:
        for dtype in entry.dtypes:
            timing = entry[dtype, AUTOMATIC]
            if timing is None:
                continue
            scipy_seconds = entry.seconds("float64", SCIPY)
            gain = scipy_seconds / timing.seconds
            table.add_row(
                entry.first.matrix if dtype == entry.dtypes[0] else "",
                TYPES[dtype],
                f"{timing.plan} x{timing.depth}" if timing.depth > 1 else timing.plan,
                _milliseconds(scipy_seconds) if dtype == entry.dtypes[0] else "",
                _times(entry.speedup(dtype, AUTOMATIC + ALONE)),
                Text(_times(gain), style="bold" if gain >= 1 else "bold red"),
                _times(entry.speedup(dtype, rival=dtype)),
                _times(timing.degree * entry.best_product(dtype) / timing.seconds),
                f"{timing.bound(roof.triad) / timing.seconds:.0%}",
                _times(entry.blocking(dtype).get(timing.plan.split()[0], math.nan))
                if timing.depth > 1
                else "",
                _times(entry.loss(dtype)),
                f"{entry.setup(dtype):.1f}" if entry.first.columns == 1 else "",
            )
    return table


def _plans_table(group: Sequence[Comparison]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for name in ("matrix", "type"):
        table.add_column(name, no_wrap=True)
    names = [name + suffix for name in PLANS for suffix in ("", BLOCKED)]
    present = {
        timing.job for entry in group for dtype in entry.dtypes for timing in entry.jobs(dtype)
    }
    names = [SCIPY, *(name for name in names if name in present)]
    for name in names:
        table.add_column(name.replace(BLOCKED, "\nblocked"), justify="right")
    for entry in group:
        for dtype in entry.dtypes:
            gains = {name: entry.speedup(dtype, name) for name in names}
            best = max((gain for gain in gains.values() if gain > 0), default=math.nan)
            table.add_row(
                entry.first.matrix if dtype == entry.dtypes[0] else "",
                TYPES[dtype],
                *(
                    Text(_times(gain), style="bold green" if gain == best else "")
                    for gain in gains.values()
                ),
            )
    return table


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def _times(ratio: float) -> str:
    return "" if math.isnan(ratio) else f"{ratio:.2f}"


_SERIES = ((SCIPY, SCIPY), ("csr", "CSR unblocked"), (AUTOMATIC, "spectool"))
_COLORS = {
    SCIPY: plotting.OKABE_ITO[1],
    "CSR unblocked": plotting.OKABE_ITO[2],
    "spectool": plotting.OKABE_ITO[0],
}
_MARKERS = {("float64", False): "o", ("float32", False): "^"}
_MARKERS |= {("float64", True): "s", ("float32", True): "D"}


def draw_roofline(run: KernelRun, path: Path) -> None:
    """Draw every large matrix (all, where none is large); the suffix of the path is the format."""
    found = compared(run.timings)
    shown = [entry for entry in found if entry.first.large] or found
    points: dict[str, list[tuple[float, float]]] = {}
    colors, markers = {}, {}
    for entry in shown:
        columns = entry.first.columns
        for dtype, (job, name) in itertools.product(entry.dtypes, _SERIES):
            timing = entry[dtype, job]
            if timing is None or (dtype == "float32" and job != AUTOMATIC):
                continue
            series = name + (" float32" if dtype == "float32" else "")
            series += "" if columns == 1 else f", {columns} vectors"
            points.setdefault(series, []).append((timing.intensity, timing.flops / 1e9))
            colors[series], markers[series] = _COLORS[name], _MARKERS[dtype, columns > 1]
    roof = run.roof
    roofs = {"triad, 1 thread": roof.triad_alone}
    if roof.threads > 1:
        roofs = {f"triad, {roof.threads} threads": roof.triad, **roofs}
    axes = plotting.roofline(
        points, roofs, ax=plotting.blank_axes((8.0, 4.6)), colors=colors, markers=markers
    )
    axes.set_title("Matrices beyond the cache" if shown[:1] and shown[0].first.large else "")
    plotting.save(axes, path)
