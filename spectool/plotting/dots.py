"""Dot plots: one line per case, one marker per method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from spectool.plotting.canvas import MARKERS, OKABE_ITO, drawing_axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dots(
    table: Mapping[str, Mapping[str, float]],
    *,
    ax: Axes | None = None,
    label: str = "",
    log: bool = False,
    colors: Mapping[str, str] | None = None,
) -> Axes:
    """Draw one number per case and method: cases downwards, numbers to the right.

    Parameters
    ----------
    table : mapping of str to mapping of str to float
        Numbers by case, then by method. What is missing or not finite is left out.
    ax : Axes, optional
        Where to draw.
    label : str
        What the numbers are.
    log : bool
        Whether they are positive, and drawn on a logarithmic axis.
    colors : mapping of str to str, optional
        Per method.

    Returns
    -------
    Axes
        The first case is on top. Equal numbers of one case lie one below the other.
    """
    axes = drawing_axes(ax)
    methods = list(dict.fromkeys(name for row in table.values() for name in row))
    shifts = dict(zip(methods, np.linspace(-0.32, 0.32, max(len(methods), 1)), strict=False))
    for position, name in enumerate(methods):
        found = [
            (row[name], place + shifts[name])
            for place, row in enumerate(table.values())
            if name in row and np.isfinite(row[name])
        ]
        if not found:
            continue
        shift = position // len(OKABE_ITO)  # the eighth has the first color, but not its marker
        axes.plot(
            *np.asarray(found).T,
            MARKERS[(position + shift) % len(MARKERS)],
            color=(colors or {}).get(name, OKABE_ITO[position % len(OKABE_ITO)]),
            markersize=5.0,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=plain(name),
            zorder=3,
        )
    axes.set_yticks(range(len(table)), [plain(name) for name in table])
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    for place in range(1, len(table)):
        axes.axhline(place - 0.5, color="#e4e4e4", linewidth=0.7, zorder=1)
    axes.grid(visible=False, axis="y")
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(
            lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""
        )
    axes.set_xlabel(label)
    if methods:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes
