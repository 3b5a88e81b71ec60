"""Pictures of results: each function draws on the given axes and returns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spectool._types import FloatArray, Interval
from spectool.errors import BackendUnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _HasDensity(Protocol):
    @property
    def ritz_values(self) -> FloatArray: ...

    @property
    def interval(self) -> Interval: ...

    def density(self, x: Any) -> FloatArray: ...


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


def density(spectrum: _HasDensity, *, ax: Axes | None = None) -> Axes:
    """Draw a spectral density and its Ritz values (ticks); logarithmic for positive spectra.

    On a logarithmic axis the curve is the density per factor e, so that areas still are fractions
    of the eigenvalues.
    """
    axes = _axes(ax)
    low, high = float(spectrum.ritz_values[0]), float(spectrum.interval[1])
    log = low > 0 and high > 10 * low
    x = np.geomspace(low / 4, high, 600) if log else np.linspace(spectrum.interval[0], high, 600)
    y = spectrum.density(x) * (x if log else 1.0)
    axes.fill_between(x, y, alpha=0.25)
    axes.plot(x, y)
    axes.plot(
        spectrum.ritz_values,
        np.zeros_like(spectrum.ritz_values),
        "|",
        color="black",
        markersize=8,
        label="Ritz values",
    )
    axes.set_xscale("log" if log else "linear")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("eigenvalue")
    axes.set_ylabel("density per unit of log" if log else "density")
    return axes


def response(polynomial: Any, *, ax: Axes | None = None, interval: Interval | None = None) -> Axes:
    """Draw a recurrence over its interval."""
    axes = _axes(ax)
    lower, upper = interval or polynomial.interval
    x = np.linspace(lower, upper, 1500)
    axes.plot(x, polynomial(x), label=f"{polynomial.name}, degree {polynomial.degree}")
    axes.set_xlabel("eigenvalue")
    axes.set_ylabel("p")
    return axes


def convergence(histories: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Draw relative residuals (or errors) against cumulative matvecs; one curve per name.

    Each history is a sequence of pairs ``(matvecs, residual)``.
    """
    axes = _axes(ax)
    for name, history in histories.items():
        points = np.asarray(history, dtype=np.float64).reshape(-1, 2)
        axes.semilogy(points[:, 0], np.maximum(points[:, 1], 1e-17), label=name)
    axes.set_xlabel("matvecs")
    axes.set_ylabel("relative residual")
    axes.legend(frameon=False)
    return axes


def performance_profile(
    costs: Mapping[str, Sequence[float]], *, ax: Axes | None = None, unit: str = "cost"
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

    Notes
    -----
    The curve of a solver at tau is the fraction of problems that it solves within tau times the
    best cost on that problem [1]_.

    References
    ----------
    .. [1] Dolan and More, Benchmarking optimization software with performance profiles, 2002.
    """
    axes = _axes(ax)
    names = list(costs)
    table = np.array([list(costs[name]) for name in names], dtype=np.float64)
    best = table.min(axis=0)
    solved = np.isfinite(best)
    ratios = np.full_like(table, np.inf)
    ratios[:, solved] = table[:, solved] / np.maximum(best[solved], 1e-300)
    finite = ratios[np.isfinite(ratios)]
    right = max(2.0, 1.1 * float(finite.max())) if finite.size else 2.0
    for name, row in zip(names, ratios, strict=True):
        reached = np.sort(row[np.isfinite(row)])
        x = np.concatenate([[1.0], reached, [right]])
        counts = np.arange(1, reached.size + 1) / max(table.shape[1], 1)
        y = np.concatenate([[0.0], counts, [counts[-1] if counts.size else 0.0]])
        axes.step(x, y, where="post", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1.0, right)
    axes.set_ylim(0.0, 1.02)
    axes.set_xlabel(f"within this factor of the best {unit}")
    axes.set_ylabel("fraction of problems")
    axes.legend(frameon=False, loc="lower right")
    return axes
