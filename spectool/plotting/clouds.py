"""Clouds of points on logarithmic axes: rooflines, and one number against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.plotting.canvas import DASHES, MARKERS, OKABE_ITO, drawing_axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    axes = drawing_axes(ax)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for position, (name, pairs) in enumerate(series.items()):
        axes.plot(
            *pairs.T,
            (markers or {}).get(name, MARKERS[position % len(MARKERS)]),
            color=(colors or {}).get(name, OKABE_ITO[position % len(OKABE_ITO)]),
            markersize=max(8.0 - position / 2, 5.0),  # equal points show both
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=plain(name),
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
            linestyle=DASHES[position % len(DASHES)],
            label=f"{plain(name)}, {bandwidth:.3g} GB/s",
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
    axes = _square(drawing_axes(ax), _positive_pairs(points), 2.0, colors, markers)
    axes.set_xlabel("predicted (shaded: within a factor of 2)")
    axes.set_ylabel("true")
    return axes


def estimates(
    points: Mapping[str, Sequence[Any]],
    *,
    missed: Sequence[Any] = (),
    ax: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    markers: Mapping[str, str] | None = None,
) -> Axes:
    """Draw estimated against true errors, with the diagonal and factors of ten around it.

    Parameters
    ----------
    points : mapping of str to sequence
        Pairs ``(true error, estimate)`` per series, all positive. Empty ones are left out.
    missed : sequence
        Such pairs that are to be circled.
    ax : Axes, optional
        Where to draw.
    colors, markers : mapping of str to str, optional
        Per series.

    Returns
    -------
    Axes
        Logarithmic on both axes, square. An honest estimate lies above the lower edge of the band,
        a sharp one inside.

    Raises
    ------
    InputError
        If a number is not positive and finite.
    """
    axes = _square(drawing_axes(ax), _positive_pairs(points), 10.0, colors, markers)
    for name, pairs in _positive_pairs({"silent miss": missed}).items():
        axes.plot(
            *pairs.T,
            "o",
            markersize=10.0,
            markerfacecolor="none",
            markeredgecolor="black",
            label=name,
            zorder=4,
        )
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_xlabel("true relative error")
    axes.set_ylabel("its estimate (shaded: within a factor of 10)")
    return axes


def rivalry(
    points: Mapping[str, Sequence[Any]],
    *,
    ax: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    markers: Mapping[str, str] | None = None,
) -> Axes:
    """Draw our seconds against a rival's, with the diagonal and factors of two around it.

    Parameters
    ----------
    points : mapping of str to sequence
        Pairs ``(rival's seconds, ours)`` per series, all positive. Empty ones are left out.
    ax : Axes, optional
        Where to draw.
    colors, markers : mapping of str to str, optional
        Per series.

    Returns
    -------
    Axes
        Logarithmic on both axes, square; below the diagonal we are faster.

    Raises
    ------
    InputError
        If a number is not positive and finite.
    """
    axes = _square(drawing_axes(ax), _positive_pairs(points), 2.0, colors, markers)
    axes.set_xlabel("seconds of the rival (shaded: within a factor of 2)")
    axes.set_ylabel("seconds of spectool")
    return axes


def _square(
    axes: Axes,
    series: Mapping[str, FloatArray],
    factor: float,
    colors: Mapping[str, str] | None,
    markers: Mapping[str, str] | None,
) -> Axes:
    """Draw pairs on equal logarithmic axes, over a band of ``factor`` around the diagonal."""
    everything = np.concatenate([*series.values()]) if series else np.array([[1.0, 10.0]])
    ends = np.array([everything.min() / 1.5, everything.max() * 1.5])
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    axes.fill_between(ends, ends / factor, ends * factor, color="#e8e8e8", linewidth=0, zorder=1)
    axes.plot(ends, ends, color="#777777", linewidth=0.9, zorder=2)
    for position, (name, pairs) in enumerate(series.items()):
        shift = position // len(OKABE_ITO)  # the eighth has the first color, but not its marker
        axes.plot(
            *pairs.T,
            (markers or {}).get(name, MARKERS[(position + shift) % len(MARKERS)]),
            color=(colors or {}).get(name, OKABE_ITO[position % len(OKABE_ITO)]),
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=plain(name),
            zorder=3,
        )
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
