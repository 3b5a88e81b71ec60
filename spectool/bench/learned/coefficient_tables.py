"""What the coefficient predictor's benchmark says: tables by kind of row, and bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spectool._types import FloatArray
from spectool.bench.bars import Bar
from spectool.bench.learned.coefficients import DEGREE, OWN, SHARE_BETTER, SHORT, CoefficientRow
from spectool.learned.portfolio import NAMES


def _groups(
    rows: Sequence[CoefficientRow], kind: str, *names: str
) -> dict[tuple[Any, ...], list[CoefficientRow]]:
    found: dict[tuple[Any, ...], list[CoefficientRow]] = {}
    for row in rows:
        if row.kind == kind:
            found.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    return found


def _column(rows: Sequence[CoefficientRow], name: str) -> FloatArray:
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)


def better(rows: Sequence[CoefficientRow]) -> tuple[float, float]:
    """Return the share of cases in which the learned one is better, and in which the guarded is."""
    classical = _column(rows, "classical")
    learned, guarded = _column(rows, "learned"), _column(rows, "guarded")
    return float(np.mean(learned < classical - 1e-9)), float(np.mean(guarded < classical - 1e-9))


def best_fixed(rows: Sequence[CoefficientRow]) -> tuple[str, FloatArray]:
    """Return the fixed design of the least mean in hindsight, and its logarithms by matrix."""
    table = {name: np.array([row.fixed[name] for row in rows]) for name in NAMES}
    name = min(table, key=lambda each: float(table[each].mean()))
    return name, table[name]


def _table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> RenderableType:
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return Group(Text(f"\n{title}", style="bold"), table)


def _medians(rows: Sequence[CoefficientRow]) -> list[str]:
    values = [float(np.median(_column(rows, n))) for n in ("classical", "learned", "guarded")]
    shares = better(rows)
    return [f"{v:.2f}" for v in values] + [f"{share:.0%}" for share in shares]


MEDIANS = ("classical", "learned", "guarded", "learned better", "guarded better")


def coefficient_tables(rows: Sequence[CoefficientRow]) -> RenderableType:
    """Return one table per experiment."""
    parts: list[RenderableType] = []
    unseen = _groups(rows, "unseen", "task", "paradigm", "steps")
    lines = [[f"{t}, {p}, probe {m}", *_medians(each)] for (t, p, m), each in unseen.items()]
    if lines:
        title = f"Unseen spectra, degree {DEGREE}: median log10 of the objective"
        parts.append(_table(title, ("task", *MEDIANS), lines))
    ripples = _groups(rows, "ripples", "paradigm", "degree")
    lines = [[f"{p}, degree {d}", *_medians(each)[:3]] for (p, d), each in ripples.items()]
    if lines:
        title = "Alternations of the residual polynomial within 20%, log-uniform: median"
        parts.append(_table(title, ("paradigm", *MEDIANS[:3]), lines))
    probes = _groups(rows, "probes", "case", "steps")
    lines = [[f"{c}, probe {m}", *_medians(each)] for (c, m), each in probes.items()]
    if lines:
        parts.append(_table("x^-1/2 by condition number", ("case", *MEDIANS), lines))
    matrices = _groups(rows, "matrices", "task", "paradigm", "degree")
    lines = [
        [f"{t}, degree {d} ({len(each)})", *_medians(each)]
        for (t, _, d), each in matrices.items()
        if t != "solve"
    ]
    if lines:
        parts.append(_table("Real matrices: median log10", ("task", *MEDIANS), lines))
    lines = []
    for (task, paradigm, degree), each in matrices.items():
        if task != "solve":
            continue
        name, fixed = best_fixed(each)
        means = [_column(each, n) for n in ("classical", "learned", "guarded")]
        worst = float(np.exp((means[2] - fixed).max()))
        lines.append(
            [
                f"{paradigm}, degree {degree} ({len(each)})",
                *(f"{np.exp(v.mean()):.3f}" for v in means),
                f"{name} {np.exp(fixed.mean()):.3f}",
                f"{worst:.2f}",
                f"{np.mean([row.used == 'learned' for row in each]):.0%}",
            ]
        )
    if lines:
        columns = ("paradigm", *MEDIANS[:3], "best fixed", "worst over it", "learned ran")
        parts.append(_table("Real matrices: matvecs over plain CG's, mean", columns, lines))
    return Group(*parts)


def coefficient_bars(rows: Sequence[CoefficientRow]) -> list[Bar]:
    """Return the promises, kept or missed."""
    found: list[Bar] = []
    for (task, paradigm, steps), each in _groups(
        rows, "unseen", "task", "paradigm", "steps"
    ).items():
        share, _ = better(each)
        mine, start = (float(np.median(_column(each, n))) for n in ("learned", "classical"))
        found.append(
            Bar(
                f"{task}, {paradigm}, probe {steps}: better than classical in {SHARE_BETTER:.0%}, "
                "and in the median",
                f"{share:.0%}; {start:.2f} -> {mine:.2f}",
                share >= SHARE_BETTER and mine < start,
            )
        )
        if steps == SHORT:
            goal = OWN[task]
            text = f"{task}, {paradigm}: median at most {goal} (the prototype's, on other spectra)"
            found.append(Bar(text, f"{mine:.2f}", mine <= goal))
    for (paradigm, degree), each in _groups(rows, "ripples", "paradigm", "degree").items():
        count = float(np.median(_column(each, "learned")))
        text = f"A2, {paradigm}, degree {degree}: {degree} alternations within 20%"
        found.append(Bar(text, f"median {count:g}", count >= degree))
    curves = _groups(rows, "probes", "case", "steps")
    for case in dict.fromkeys(key[0] for key in curves):
        values = [
            float(np.median(_column(each, "learned")))
            for (c, _), each in curves.items()
            if c == case
        ]
        text = f"A3: x^-1/2 at {case} improves with the probe"
        told = " ".join(f"{v:.2f}" for v in values)
        found.append(Bar(text, told, bool(np.all(np.diff(values) < 0.02))))
    for (task, paradigm, degree), each in _groups(
        rows, "matrices", "task", "paradigm", "degree"
    ).items():
        reference, guarded = _column(each, "classical"), _column(each, "guarded")
        text = f"{len(each)} matrices, {task}, {paradigm}, degree {degree}: guarded beats classical"
        told = f"{reference.mean():.3f} -> {guarded.mean():.3f}"
        if task == "solve":
            name, fixed = best_fixed(each)
            text = text.replace("classical", f"{name}, the best fixed design")
            reference = fixed
            told = f"{np.exp(fixed.mean()):.3f} -> {np.exp(guarded.mean()):.3f}"
        found.append(Bar(text, told, bool(guarded.mean() < reference.mean())))
    return found
