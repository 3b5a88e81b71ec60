"""Curves: spectral densities, responses, convergence, performance profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spectool._types import FloatArray, Interval
from spectool.plotting.canvas import OKABE_ITO, drawing_axes, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 100
LOG_BEYOND = 20.0
"""Curves whose lengths differ by more than this factor share a logarithmic axis."""


class _HasDensity(Protocol):
    @property
    def ritz_values(self) -> FloatArray: ...

    @property
    def interval(self) -> Interval: ...

    def cumulative(self, x: Any) -> FloatArray: ...


def density(spectrum: _HasDensity, *, ax: Axes | None = None, color: str = OKABE_ITO[0]) -> Axes:
    """Draw a spectral density and its Ritz values (ticks); logarithmic for positive spectra.

    The density is averaged over bins, a hundredth of the axis each, so that a multiple eigenvalue
    stays finite. On a logarithmic axis it is the density per factor e, so that areas still are
    fractions of the eigenvalues.
    """
    axes = drawing_axes(ax)
    low, high = float(spectrum.ritz_values[0]), float(spectrum.interval[1])
    log = low > 0 and high > 10 * low
    bins = _BINS + 1
    edges = np.geomspace(low / 4, high, bins) if log else np.linspace(*spectrum.interval, bins)
    y = np.diff(spectrum.cumulative(edges)) / np.diff(np.log(edges) if log else edges)
    axes.stairs(y, edges, fill=True, alpha=0.2, color=color, linewidth=0)
    axes.stairs(y, edges, color=color, linewidth=1.4)
    axes.plot(
        spectrum.ritz_values,
        np.zeros_like(spectrum.ritz_values),
        "|",
        color="black",
        markersize=9,
        markeredgewidth=0.8,
        label="Ritz values",
        clip_on=False,
        zorder=3,
    )
    axes.set_xscale("log" if log else "linear")
    top = float(y.max())
    axes.set_ylim(0.0, 1.08 * top if top > 0 else 1.0)
    axes.set_xlabel("eigenvalue")
    axes.set_ylabel("density per unit of log" if log else "density")
    axes.legend(frameon=False, loc="upper left")
    return axes


def response(
    polynomial: Any,
    *,
    ax: Axes | None = None,
    interval: Interval | None = None,
    window: Interval | None = None,
    relative: bool = False,
    color: str = OKABE_ITO[0],
) -> Axes:
    """Draw a recurrence over its interval, and shade the window that it is meant to keep.

    ``relative`` divides by the largest modulus that is drawn: eigenvectors do not see the scale.
    """
    axes = drawing_axes(ax)
    lower, upper = interval or polynomial.interval
    x = np.linspace(lower, upper, 1200)
    y = np.asarray(polynomial(x))
    if relative:
        y = y / (float(np.abs(y).max()) or 1.0)
        axes.set_ylim(min(-0.1, 1.1 * float(y.min())), 1.35)
    if window is not None:
        shown = max(window[0], lower), min(window[1], upper)
        axes.axvspan(*shown, color=OKABE_ITO[3], alpha=0.2, linewidth=0, label="window")
    axes.axhline(0.0, color="#999999", linewidth=0.8)
    axes.plot(x, y, color=color, linewidth=1.6, label=f"degree {polynomial.degree}")
    axes.set_xlim(lower, upper)
    axes.set_xlabel("eigenvalue")
    axes.set_ylabel("p / max |p|" if relative else "p")
    axes.ticklabel_format(axis="x", scilimits=(-2, 4))
    axes.legend(frameon=False, loc="upper right", ncols=2)
    return axes


def convergence(
    histories: Mapping[str, Sequence[Any]],
    *,
    ax: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    tolerance: float | None = None,
) -> Axes:
    """Draw relative residuals (or errors) against cumulative matvecs; one curve per name.

    Parameters
    ----------
    histories : mapping of str to sequence
        Pairs ``(matvecs, residual)`` per method. Empty ones are left out.
    ax : Axes, optional
        Where to draw.
    colors : mapping of str to str, optional
        Per method; for the same colors in several pictures.
    tolerance : float, optional
        Drawn as a line.
    """
    axes = drawing_axes(ax)
    curves, ends = [], []
    for position, (name, history) in enumerate(histories.items()):
        points = np.asarray(history, dtype=np.float64).reshape(-1, 2)
        if not len(points):
            continue
        ends.append(max(float(points[-1, 0]), 1.0))
        style = line_style(name, position, colors)
        curves += axes.semilogy(points[:, 0], np.maximum(points[:, 1], 1e-17), **style)
    if tolerance is not None:
        axes.axhline(tolerance, color="#777777", linewidth=0.9)
    if ends and max(ends) > LOG_BEYOND * min(ends):
        axes.set_xscale("log")
        for curve in curves:
            curve.set_xdata(np.maximum(curve.get_xdata(), 1.0))
        axes.relim()
        axes.autoscale_view()
    axes.set_xlabel("matvecs")
    axes.set_ylabel("relative residual")
    if ends:
        axes.legend(frameon=False)
    return axes


def performance_profile(
    costs: Mapping[str, Sequence[float]],
    *,
    ax: Axes | None = None,
    unit: str = "cost",
    colors: Mapping[str, str] | None = None,
) -> Axes:
    """Draw a Dolan-More performance profile; failures are ``inf``.

    Parameters
    ----------
    costs : mapping of str to sequence
        Per solver the cost on each problem, in the same order of problems.
    ax : Axes, optional
        Where to draw.
    unit : str
        What is compared, for the axis label.
    colors : mapping of str to str, optional
        Per solver.

    Notes
    -----
    The curve of a solver at tau is the fraction of problems that it solves within tau times the
    best cost on that problem [1]_.

    References
    ----------
    .. [1] Dolan and More, Benchmarking optimization software with performance profiles, 2002.
    """
    axes = drawing_axes(ax)
    ratios = profile_ratios(costs)
    finite = [ratio for row in ratios.values() for ratio in row if np.isfinite(ratio)]
    right = max(2.0, 1.25 * max(finite, default=1.0))
    for position, (name, row) in enumerate(ratios.items()):
        reached = np.sort(row[np.isfinite(row)])
        height = np.arange(1, reached.size + 1) / max(row.size, 1)
        x = np.concatenate([[1.0], reached, [right]])
        y = np.concatenate([[0.0], height, height[-1:] if height.size else [0.0]])
        axes.step(x, y, where="post", **line_style(name, position, colors))
    axes.set_xscale("log", base=2)
    axes.set_xlim(1.0, right)
    axes.set_ylim(0.0, 1.03)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel(f"within this factor of the best {unit}")
    axes.set_ylabel("fraction of problems")
    if ratios:
        axes.legend(frameon=False, loc="lower right")
    return axes


def profile_ratios(costs: Mapping[str, Sequence[float]]) -> dict[str, FloatArray]:
    """Return per solver the ratio of its cost to the best on each problem; ``inf`` if unsolved."""
    names = list(costs)
    table = np.array([list(costs[name]) for name in names], dtype=np.float64)
    if not names:
        return {}
    table = table.reshape(len(names), -1)
    ratios = np.full_like(table, np.inf)
    if table.size:
        best = table.min(axis=0)
        solved = np.isfinite(best)
        ratios[:, solved] = table[:, solved] / np.maximum(best[solved], 1e-300)
    return dict(zip(names, ratios, strict=True))
