"""Axes to draw on, the looks that all pictures share, and what becomes of a drawn figure."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spectool.errors import BackendUnavailableError, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
"""Colors that are told apart by almost everyone, in the order in which they are used."""
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), "-.", (0, (7, 2)), (0, (4, 1, 1, 1)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_WEIGHT = ({"linewidth": 1.7, "zorder": 3}, {"linewidth": 2.4, "zorder": 2})
"""Dashed curves lie on top of the first, solid and broad one, so that equal curves show both."""


def drawing_axes(ax: Axes | None) -> Axes:
    """Return the given axes, or new ones of a figure of their own."""
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


def plain(text: str) -> str:
    """Return text that matplotlib shows as it is: no mathematics, no hidden legend entries."""
    return text.replace("$", r"\$").lstrip("_")


def line_style(name: str, position: int, colors: Mapping[str, str] | None) -> dict[str, Any]:
    """Return color and dash of a curve: by its name where ``colors`` knows it, else by position."""
    place = position % len(OKABE_ITO)
    color = (colors or {}).get(name, OKABE_ITO[place])
    if color in OKABE_ITO:
        place = OKABE_ITO.index(color)
    return {
        "color": color,
        "linestyle": DASHES[place],
        **_WEIGHT[place == 0],
        "label": plain(name),
    }


def blank_axes(size: tuple[float, float] = (5.4, 3.2)) -> Axes:
    """Return axes of a figure of their own, light and without a window, for `to_svg`."""
    return blank_panels(1, size)[0]


def blank_panels(count: int, size: tuple[float, float] = (5.4, 3.2)) -> list[Axes]:
    """Return axes side by side in one figure without a window, each of this size in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailableError(
            "plotting needs matplotlib; pip install 'spectool[plot]'."
        ) from error
    figure = Figure(figsize=(count * size[0], size[1]), layout="constrained")
    panels = [figure.add_subplot(1, count, place + 1) for place in range(count)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
    return panels


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
