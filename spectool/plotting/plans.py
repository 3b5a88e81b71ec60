"""Pictures of planned iterations: the spectrum through the steps, and loss against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.plotting.canvas import OKABE_ITO, drawing_axes, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 40
SPREAD = 2.0
"""Ratio of largest to smallest value above which the axis is logarithmic."""
LINES = 40
"""Values that are followed by a line."""


def spectrum_steps(
    spectra: Sequence[Any],
    *,
    weights: Any = None,
    labels: Sequence[str] = (),
    ax: Axes | None = None,
    color: str = OKABE_ITO[0],
) -> Axes:
    """Draw where each step of an iteration takes the spectrum, one band of bins per step.

    Parameters
    ----------
    spectra : sequence of array_like, shape (k,) each
        Values before the first step and after each, in the same order, so that lines can follow
        them; the first may have any k, all the same. Finite.
    weights : array_like, shape (k,), optional
        Fractions of the spectrum, not negative; equal ones if not given. Values of weight 0 have
        a dashed line and no share in the bins.
    labels : sequence of str, optional
        Of the steps, shown below; one for each spectrum but the first.
    ax : Axes, optional
        Where to draw.
    color : str
        Of the bands.

    Returns
    -------
    Axes
        Steps to the right, values upwards, logarithmic where they are positive and spread.

    Raises
    ------
    InputError
        If there is no spectrum, or the shapes differ, or a number is not finite.
    """
    values, share = _checked(spectra, weights, labels)
    axes = drawing_axes(ax)
    log = bool((values > 0).all()) and float(values.max()) > SPREAD * float(values.min())
    if log:
        axes.set_yscale("log")
    low, high = float(values.min()), float(values.max())
    if log:
        edges = np.geomspace(low / 1.2, high * 1.2, BINS + 1)
    else:
        room = 0.05 * (high - low) or 0.1
        edges = np.linspace(low - room, high + room, BINS + 1)
    for place, row in enumerate(values):
        counts = np.histogram(row, edges, weights=share)[0]
        # The root keeps sparse bins visible.
        widths = 0.8 * np.sqrt(counts / max(float(counts.max()), 1e-300))
        drawn = widths > 0
        axes.barh(
            edges[:-1][drawn],
            widths[drawn],
            np.diff(edges)[drawn],
            left=place,
            align="edge",
            color=color,
            alpha=0.55,
            linewidth=0,
            zorder=2,
        )
    _follow(axes, values, share)
    axes.axhline(1.0, color="#777777", linewidth=0.9, zorder=1)
    axes.set_xticks(range(len(values)), ["start", *_padded(labels, len(values) - 1)])
    if any(len(label) > 3 for label in labels):
        for tick in axes.get_xticklabels():
            tick.set(rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.15, len(values) - 0.05)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("value, 1 at the limit")
    return axes


def loss_against_time(
    curves: Mapping[str, Sequence[Any]],
    *,
    unit: str = "products",
    tolerance: float | None = None,
    ax: Axes | None = None,
    colors: Mapping[str, str] | None = None,
) -> Axes:
    """Draw losses against what was spent until then; one curve with markers per name.

    Parameters
    ----------
    curves : mapping of str to sequence
        Pairs ``(time, loss)`` per name. Empty ones are left out; losses below 1e-17 are drawn
        there.
    unit : str
        Of time: "products", "s" or another word.
    tolerance : float, optional
        Drawn as a line.
    ax : Axes, optional
        Where to draw.
    colors : mapping of str to str, optional
        Per name.

    Returns
    -------
    Axes
        Logarithmic upwards.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    axes = drawing_axes(ax)
    position = 0
    for name, curve in curves.items():
        points = np.asarray(curve, dtype=np.float64).reshape(-1, 2)
        if not len(points):
            continue
        if not np.isfinite(points).all():
            raise InputError(f"{name!r} must hold finite numbers; got {points.tolist()}.")
        style = line_style(name, position, colors)
        axes.semilogy(
            points[:, 0], np.maximum(points[:, 1], 1e-17), marker="o", markersize=3.5, **style
        )
        position += 1
    if tolerance is not None:
        axes.axhline(tolerance, color="#777777", linewidth=0.9)
    axes.set_xlabel("seconds" if unit == "s" else unit)
    axes.set_ylabel("loss")
    if position:
        axes.set_xlim(left=0.0)
        axes.legend(frameon=False)
    return axes


def _checked(
    spectra: Sequence[Any], weights: Any, labels: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    rows = [np.asarray(row, dtype=np.float64).ravel() for row in spectra]
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(f"spectra must be of one size and not empty; got sizes {sorted(sizes)}.")
    values = np.stack(rows)
    share = np.ones(values.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if not np.isfinite(values).all() or share.shape != values.shape[1:] or not (share >= 0).all():
        raise InputError("spectra must be finite, with one weight, not negative, for each value.")
    if labels and len(labels) != len(rows) - 1:
        raise InputError(f"labels must name {len(rows) - 1} steps; got {len(labels)}.")
    return values, share


def _padded(labels: Sequence[str], count: int) -> list[str]:
    return list(labels) if labels else [str(place + 1) for place in range(count)]


def _follow(axes: Axes, values: FloatArray, share: FloatArray) -> None:
    """Follow some values through the steps: both ends, and evenly between."""
    k = values.shape[1]
    chosen = np.unique(np.linspace(0, k - 1, min(k, LINES)).astype(int))
    for index in chosen:
        axes.plot(
            np.arange(len(values)),
            values[:, index],
            color="#333333",
            linewidth=0.6,
            alpha=0.6,
            linestyle="-" if share[index] > 0 else (0, (4, 2)),
            zorder=3,
        )
