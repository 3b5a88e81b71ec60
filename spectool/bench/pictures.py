"""The pictures of a run, in the order of its report; colors belong to methods, not to pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spectool import plotting
from spectool.bench.records import Row, grouped
from spectool.bench.run import Run
from spectool.bench.tasks import JACOBI, OURS, PLAIN

COLORS = {
    PLAIN: plotting.OKABE_ITO[1],
    JACOBI: plotting.OKABE_ITO[2],
    OURS: plotting.OKABE_ITO[0],
}


@dataclass(frozen=True, slots=True)
class Picture:
    """An ``<svg>`` element and its caption (plain text)."""

    svg: str
    caption: str


def convergence_pictures(run: Run) -> Iterator[Picture]:
    """Yield the residuals of each solve against matvecs."""
    for number, ((matrix, _), rows) in enumerate(_solves(run.rows).items()):
        histories = {row.method: row.history for row in rows if row.history}
        if not histories:
            continue
        axes = plotting.convergence(
            histories, ax=plotting.blank_axes(), colors=COLORS, tolerance=rows[0].tolerance
        )
        label = f"True relative residual of CG against matvecs on {matrix}"
        svg = plotting.to_svg(axes, label=label, key=f"convergence{number}")
        yield Picture(svg, f"{matrix}, n = {rows[0].n:,}")


def density_pictures(run: Run) -> Iterator[Picture]:
    """Yield the spectral density of each matrix."""
    for number, (matrix, spectrum) in enumerate(run.spectra.items()):
        axes = plotting.density(spectrum, ax=plotting.blank_axes())
        label = f"Estimated spectral density of {matrix}"
        svg = plotting.to_svg(axes, label=label, key=f"density{number}")
        yield Picture(svg, f"{matrix}, {spectrum.n_matvecs} matvecs")


def filter_pictures(run: Run) -> Iterator[Picture]:
    """Yield the response of each filter near its window."""
    for number, (matrix, F) in enumerate(run.filters.items()):
        lower, upper = F.spectrum.interval
        edge = F.window[1]
        low = max(lower, 0.0)
        axes = plotting.response(
            F.recurrence,
            ax=plotting.blank_axes(),
            interval=(low, min(upper, low + 6 * (edge - low))),
            window=F.window,
            relative=True,
        )
        label = f"Response of the spectral filter on {matrix}"
        svg = plotting.to_svg(axes, label=label, key=f"filter{number}")
        yield Picture(svg, f"{matrix}: {F.recurrence.name}, degree {F.recurrence.degree}")


def profile_pictures(run: Run) -> Iterator[Picture]:
    """Yield performance profiles of the solves, in seconds and in matvecs."""
    solves = list(_solves(run.rows).values())
    if not solves:
        return
    for unit, pick in (("time", _seconds), ("matvecs", _matvecs)):
        costs = {
            method: [pick(rows, method) for rows in solves] for method in (PLAIN, JACOBI, OURS)
        }
        axes = plotting.performance_profile(
            costs, ax=plotting.blank_axes(), unit=unit, colors=COLORS
        )
        label = f"Performance profile of the solves in {unit}"
        yield Picture(plotting.to_svg(axes, label=label, key=f"profile{unit}"), f"In {unit}")


def _solves(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    return {key: group for key, group in grouped(rows).items() if key[1] == "solve"}


def _seconds(rows: Sequence[Row], method: str) -> float:
    return next((r.seconds for r in rows if r.method == method and r.outcome.solved), math.inf)


def _matvecs(rows: Sequence[Row], method: str) -> float:
    found = (r.matvecs for r in rows if r.method == method and r.outcome.solved)
    return float(next((m for m in found if m is not None), math.inf))
