"""Pictures of results: each function draws on the given axes and returns them."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spectool._types import FloatArray, Interval
from spectool.errors import BackendUnavailableError, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
"""Colors that are told apart by almost everyone, in the order in which they are used."""
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), "-.", (0, (7, 2)), (0, (4, 1, 1, 1)), "-")
_WEIGHT = ({"linewidth": 1.7, "zorder": 3}, {"linewidth": 2.4, "zorder": 2})
"""Dashed curves lie on top of the first, solid and broad one, so that equal curves show both."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_BINS = 100
LOG_BEYOND = 20.0
"""Curves whose lengths differ by more than this factor share a logarithmic axis."""


class _HasDensity(Protocol):
    @property
    def ritz_values(self) -> FloatArray: ...

    @property
    def interval(self) -> Interval: ...

    def cumulative(self, x: Any) -> FloatArray: ...


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise BackendUnavailableError(
            "plotting needs matplotlib; pip install 'spectool[plot]'."
        ) from error
    axes: Axes = plt.figure(figsize=(6.0, 3.6), layout="constrained").add_subplot()
    return axes


def _plain(text: str) -> str:
    """Return text that matplotlib shows as it is: no mathematics, no hidden legend entries."""
    return text.replace("$", r"\$").lstrip("_")


def _style(name: str, position: int, colors: Mapping[str, str] | None) -> dict[str, Any]:
    """Return color and dash of a curve: by its name where ``colors`` knows it, else by position."""
    place = position % len(OKABE_ITO)
    color = (colors or {}).get(name, OKABE_ITO[place])
    if color in OKABE_ITO:
        place = OKABE_ITO.index(color)
    return {
        "color": color,
        "linestyle": _DASHES[place],
        **_WEIGHT[place == 0],
        "label": _plain(name),
    }


def density(spectrum: _HasDensity, *, ax: Axes | None = None, color: str = OKABE_ITO[0]) -> Axes:
    """Draw a spectral density and its Ritz values (ticks); logarithmic for positive spectra.

    The density is averaged over bins, a hundredth of the axis each, so that a multiple eigenvalue
    stays finite. On a logarithmic axis it is the density per factor e, so that areas still are
    fractions of the eigenvalues.
    """
    axes = _axes(ax)
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
    axes = _axes(ax)
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
    axes = _axes(ax)
    curves, ends = [], []
    for position, (name, history) in enumerate(histories.items()):
        points = np.asarray(history, dtype=np.float64).reshape(-1, 2)
        if not len(points):
            continue
        ends.append(max(float(points[-1, 0]), 1.0))
        style = _style(name, position, colors)
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
    axes = _axes(ax)
    ratios = profile_ratios(costs)
    finite = [ratio for row in ratios.values() for ratio in row if np.isfinite(ratio)]
    right = max(2.0, 1.25 * max(finite, default=1.0))
    for position, (name, row) in enumerate(ratios.items()):
        reached = np.sort(row[np.isfinite(row)])
        height = np.arange(1, reached.size + 1) / max(row.size, 1)
        x = np.concatenate([[1.0], reached, [right]])
        y = np.concatenate([[0.0], height, height[-1:] if height.size else [0.0]])
        axes.step(x, y, where="post", **_style(name, position, colors))
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


def roofline(
    points: Mapping[str, Sequence[Any]],
    roofs: Mapping[str, float],
    *,
    ax: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    markers: Mapping[str, str] | None = None,
) -> Axes:
    """Draw attained Gflop/s against arithmetic intensity, below (or above) the memory's roofs.

    Parameters
    ----------
    points : mapping of str to sequence
        Pairs ``(operations per byte, Gflop/s)`` per series, all positive. Empty ones are left out.
    roofs : mapping of str to float
        GB/s per line; a point on a line moves all its bytes at that speed. What is above reads
        some of them from a cache.
    ax : Axes, optional
        Where to draw.
    colors, markers : mapping of str to str, optional
        Per series.

    Returns
    -------
    Axes
        Logarithmic on both axes.

    Raises
    ------
    InputError
        If a number is not positive and finite.

    Notes
    -----
    See [1]_. Only the slanted part of the roof is drawn: sparse products never reach the flat one.

    References
    ----------
    .. [1] Williams, Waterman, Patterson, Roofline: an insightful visual performance model, Comm.
       ACM 52 (2009).
    """
    series = _positive_pairs(points)
    for name, bandwidth in roofs.items():
        _check_positive(name, np.array(bandwidth))
    axes = _axes(ax)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for position, (name, pairs) in enumerate(series.items()):
        axes.plot(
            *pairs.T,
            (markers or {}).get(name, _MARKERS[position % len(_MARKERS)]),
            color=(colors or {}).get(name, OKABE_ITO[position % len(OKABE_ITO)]),
            markersize=max(8.0 - position / 2, 5.0),  # equal points show both
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=_plain(name),
            zorder=3,
        )
    everything = (
        np.concatenate([*series.values()]) if series else np.array([[0.1, 1.0], [1.0, 10.0]])
    )
    low, high = float(everything[:, 0].min()) / 1.25, float(everything[:, 0].max()) * 1.25
    heights = [everything[:, 1].min(), everything[:, 1].max()]
    axes.set_xlim(low, high)
    if roofs:
        heights += [min(roofs.values()) * low, max(roofs.values()) * high]
    axes.set_ylim(float(min(heights)) / 1.3, float(max(heights)) * 1.5)
    for position, (name, bandwidth) in enumerate(roofs.items()):
        axes.plot(
            [low, high],
            [bandwidth * low, bandwidth * high],
            color="#333333",
            linewidth=1.2,
            linestyle=_DASHES[position % len(_DASHES)],
            label=f"{_plain(name)}, {bandwidth:.3g} GB/s",
            zorder=2,
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if _leading(value) in (2, 5) else "")
    axes.tick_params(which="both", length=3.5)
    axes.set_xlabel("operations per byte of a CSR product")
    axes.set_ylabel("Gflop/s")
    if series or roofs:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes


def calibration(
    points: Mapping[str, Sequence[Any]],
    *,
    ax: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    markers: Mapping[str, str] | None = None,
) -> Axes:
    """Draw true against predicted counts, with the diagonal and factors of two around it.

    Parameters
    ----------
    points : mapping of str to sequence
        Pairs ``(predicted, true)`` per series, all positive. Empty ones are left out.
    ax : Axes, optional
        Where to draw.
    colors, markers : mapping of str to str, optional
        Per series.

    Returns
    -------
    Axes
        Logarithmic on both axes, square.

    Raises
    ------
    InputError
        If a number is not positive and finite.
    """
    series = _positive_pairs(points)
    axes = _axes(ax)
    everything = np.concatenate([*series.values()]) if series else np.array([[1.0, 10.0]])
    ends = np.array([everything.min() / 1.5, everything.max() * 1.5])
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    axes.fill_between(ends, ends / 2, ends * 2, color="#e8e8e8", linewidth=0, zorder=1)
    axes.plot(ends, ends, color="#777777", linewidth=0.9, zorder=2)
    for position, (name, pairs) in enumerate(series.items()):
        axes.plot(
            *pairs.T,
            (markers or {}).get(name, _MARKERS[position % len(_MARKERS)]),
            color=(colors or {}).get(name, OKABE_ITO[position % len(OKABE_ITO)]),
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=_plain(name),
            zorder=3,
        )
    axes.set_xlabel("predicted (shaded: within a factor of 2)")
    axes.set_ylabel("true")
    if series:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes


def _positive_pairs(points: Mapping[str, Sequence[Any]]) -> dict[str, FloatArray]:
    """Return the series that are not empty, shape (m, 2) each; refuse what has no logarithm."""
    series = {
        name: np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
        for name, pairs in points.items()
        if len(pairs)
    }
    for name, values in series.items():
        _check_positive(name, values)
    return series


def _check_positive(name: str, values: FloatArray) -> None:
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise InputError(f"{name!r} must hold positive finite numbers; got {values.tolist()}.")


def _leading(value: float) -> int:
    """Return the first digit."""
    return int(f"{value:e}"[0])


def blank_axes(size: tuple[float, float] = (5.4, 3.2)) -> Axes:
    """Return axes of a figure of their own, light and without a window, for `to_svg`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailableError(
            "plotting needs matplotlib; pip install 'spectool[plot]'."
        ) from error
    axes = Figure(figsize=size, layout="constrained").add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


_DECIMALS = re.compile(r"(\.\d\d)\d+")
"""A hundredth of a point is fine enough for paths."""


def _figure(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    if figure is None:
        raise InputError("these axes belong to no figure; draw on new ones.")
    return figure


def save(ax: Axes, path: Any) -> None:
    """Write the figure of these axes; the suffix of the path is the format."""
    _figure(ax).savefig(path, dpi=200)


def to_svg(ax: Axes, *, label: str, key: str) -> str:
    """Return the figure of these axes as an ``<svg>`` element for a page with other pictures.

    Parameters
    ----------
    ax : Axes
        Drawn.
    label : str
        What a reader who cannot see the picture is told; escaped here.
    key : str
        Letters and digits; made part of every id, so that pictures of one page do not collide.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": key}):
        _figure(ax).savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|="#|url\(#)', rf"\g<1>{key}-", text)
    text = re.sub(r' d="[^"]*"', lambda path: _DECIMALS.sub(r"\1", path[0]), text)
    text = re.sub(r"\s(width|height)=\"[\d.]+pt\"", "", text, count=2)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1).strip()
