"""Learned choices of a preconditioner, against every fixed design: matvecs of CG to 1e-8.

All positive definite matrices at hand, Jacobi scaled; diagonal ones are left out, and those that
plain CG solves in a few iterations. Every design sees the same probe, 24 Lanczos steps, and all of
degrees 4, 8, 16 and 32. Each CG is run, on a random right-hand side; two pairs of probe and
right-hand side per matrix are averaged, one where the matrix is large. Counts only, no timing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from scipy.sparse.linalg import LinearOperator, cg

from spectool import collection, gallery
from spectool._types import Array, FloatArray
from spectool.bench.bars import Bar
from spectool.bench.jobs import Job
from spectool.learned import Decision, choose, member
from spectool.learned.features import scaled_probe
from spectool.learned.portfolio import NAMES
from spectool.operators import Operator, as_operator, jacobi_scale
from spectool.planner import VirtualOperator
from spectool.polynomials import Recurrence
from spectool.preconditioners.selection import fixed_designs
from spectool.spectrum import Spectrum, probe

DEGREES = (4, 8, 16, 32)
GOALS = {4: (1.16, 4.0), 8: (1.25, 7.0), 16: (1.42, 12.0), 32: (1.64, 20.0)}
"""Per degree the most matvecs over plain CG's, and how many times fewer dot products at least."""
WORST = 1.5
"""Most matvecs over those of the best fixed design, on any matrix."""
RTOL = 1e-8
FEWEST = 20
"""Iterations of plain CG from which counts are fine enough to compare."""
MOST = 60_000
LARGE = 12_000
"""Rows from which one pair of probe and right-hand side must do."""
MARGIN = 2.0
"""A design that needs this many times plain CG's matvecs per degree and one is stopped."""
AUTO, SELECTOR, COMPLETION, BOTH, LEARNED, ORACLE = (
    "fixed, simulated",
    "selector",
    "completion",
    "both",
    "learned",
    "best in hindsight",
)
CHOOSERS = {
    AUTO: "fixed designs by simulation, as where a probe is unlike those of training",
    SELECTOR: "the selector alone",
    COMPLETION: "CG simulated on the completed spectrum, alone",
    BOTH: "the mean of both",
    LEARNED: "both, guarded: method='learned'",
    ORACLE: "the best design of the portfolio, which nobody knows before",
}
DRAWS = 4000


@dataclass(frozen=True, slots=True, eq=False)
class DesignRow:
    """One matrix, one probe, one degree.

    Attributes
    ----------
    matrix : str
        Name.
    n, plain : int
        Rows, and iterations of plain CG on the Jacobi scaled matrix.
    draw, degree : int
        Number of the probe and right-hand side; products with A per application.
    overheads : dict
        Matvecs over those of plain CG, by design of the portfolio and by chooser.
    chosen : dict
        Design that each chooser took, where it took one of the portfolio.
    unlike : bool
        Whether the probe was flagged as unlike those of training.
    distance : float
        How far outside of training it lies; flagged beyond 1.
    reason : str
        What `choose` said.
    """

    matrix: str
    n: int
    plain: int
    draw: int
    degree: int
    overheads: dict[str, float]
    chosen: dict[str, str] = field(default_factory=dict)
    unlike: bool = False
    distance: float = 0.0
    reason: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        names = ("matrix", "n", "plain", "draw", "degree", "overheads", "chosen", "unlike")
        record = {name: getattr(self, name) for name in (*names, "distance", "reason")}
        return {"part": "designs", **record}


def design_jobs(*, tiny: bool = False) -> Iterator[Job[DesignRow]]:
    """Yield one job per matrix, small ones first."""
    for name, load in _matrices(tiny).items():
        yield Job(
            "designs",
            name,
            lambda seed, name=name, load=load: run_designs(  # type: ignore[misc]
                name, load(), seed=seed, degrees=DEGREES[:2] if tiny else DEGREES
            ),
        )


def _matrices(tiny: bool) -> dict[str, Callable[[], Any]]:
    if tiny:
        return {"poisson 20x20": lambda: gallery.poisson((20, 20))}
    entries = sorted(collection.search(spd=True), key=lambda entry: entry.n_rows)
    return {
        entry.name: lambda name=entry.name: collection.load(name)  # type: ignore[misc]
        for entry in entries
    }


def run_designs(
    name: str, A: Any, *, seed: int, degrees: Sequence[int] = DEGREES
) -> Iterator[DesignRow]:
    """Yield a row per degree and draw, of a positive definite A; none if CG is too quick."""
    operator = as_operator(A, assume_a="her")
    scale = jacobi_scale(operator)
    scaled = operator if scale is None else operator.scaled(scale)
    facts = scaled.row_facts()
    if facts is not None and not facts.radius.any():
        return
    for draw in range(1 if scaled.n >= LARGE else 2):
        rng = np.random.default_rng([seed, draw])
        spectrum = probe(scaled, scaling="symmetric", rng=rng)
        b = rng.standard_normal(scaled.n)
        plain = cg_iterations(scaled, b, None, most=MOST)
        if not FEWEST <= plain < MOST:
            return
        for degree in degrees:
            yield _row(name, scaled, spectrum, b, plain, draw, degree)


def _row(
    name: str,
    A: Operator,
    spectrum: Spectrum,
    b: FloatArray,
    plain: int,
    draw: int,
    degree: int,
) -> DesignRow:
    known: dict[bytes, float] = {}

    def overhead(q: Recurrence) -> float:
        key = b"".join(part.tobytes() for part in (q.a, q.b, q.c, q.w))
        if key not in known:
            most = math.ceil(MARGIN * plain) + FEWEST
            known[key] = cg_iterations(A, b, q, most=most) * (q.degree + 1) / plain
        return known[key]

    scaled = scaled_probe(spectrum)
    found = {
        each: overhead(member(each, spectrum, degree, probe=scaled).recurrence) for each in NAMES
    }
    decisions = _decisions(spectrum, degree)
    chosen = {label: decision.member.name for label, decision in decisions.items()}
    guarded = decisions[LEARNED]
    virtual = VirtualOperator.of(spectrum)
    automatic = min(fixed_designs(spectrum, degree), key=virtual.cg_iterations)
    overheads = found | {label: found[each] for label, each in chosen.items()}
    overheads |= {AUTO: overhead(automatic), ORACLE: min(found.values())}
    return DesignRow(
        name,
        A.n,
        plain,
        draw,
        degree,
        overheads,
        chosen,
        guarded.unlike,
        guarded.distance,
        guarded.reason,
    )


def _decisions(spectrum: Spectrum, degree: int) -> dict[str, Decision]:
    """Return what each judge takes without a margin, and what `choose` takes."""
    return {
        SELECTOR: choose(spectrum, degree, judge="selector", margin=0.0),
        COMPLETION: choose(spectrum, degree, judge="completion", margin=0.0),
        BOTH: choose(spectrum, degree, judge="both", margin=0.0),
        LEARNED: choose(spectrum, degree),
    }


def cg_iterations(A: Operator, b: FloatArray, recurrence: Recurrence | None, *, most: int) -> int:
    """Return the iterations of scipy's cg to RTOL with ``M = p(A)``; most if it did not end."""
    count = 0

    def tick(_: Array) -> None:
        nonlocal count
        count += 1

    product = LinearOperator(A.shape, matvec=A.matmul, dtype=A.dtype)
    M = None
    if recurrence is not None:
        M = LinearOperator(A.shape, matvec=lambda r: A.apply(recurrence, r), dtype=A.dtype)
    cg(product, b, rtol=RTOL, atol=0.0, maxiter=most, M=M, callback=tick)
    return count


# --- what was found ---------------------------------------------------------------------------


def logs(rows: Sequence[DesignRow], degree: int, label: str) -> FloatArray:
    """Return log overheads of one design or chooser, averaged over draws, shape (matrices,)."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.degree == degree:
            found.setdefault(row.matrix, []).append(math.log(row.overheads[label]))
    return np.array([float(np.mean(values)) for values in found.values()])


def best_fixed(rows: Sequence[DesignRow], degree: int) -> str:
    """Return the design of the least mean overhead, in hindsight."""
    return min(NAMES, key=lambda name: logs(rows, degree, name).mean())


def interval(differences: FloatArray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 per cent bootstrap interval of a geometric mean ratio over matrices."""
    draws = np.random.default_rng(seed).integers(0, differences.size, (DRAWS, differences.size))
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    return float(np.exp(low)), float(np.exp(high))


def design_tables(rows: Sequence[DesignRow]) -> RenderableType:
    """Return, per degree, fixed designs and choosers with their mean and worst overhead."""
    parts: list[RenderableType] = []
    for degree in dict.fromkeys(row.degree for row in rows):
        best = best_fixed(rows, degree)
        reference = logs(rows, degree, best)
        parts.append(Text(f"\nDegree {degree}: matvecs over plain CG's", style="bold"))
        table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
        table.add_column("design")
        for title in ("mean", "worst", f"over {best}", "95%", "worst", "dots fewer"):
            table.add_column(title, justify="right", no_wrap=True)
        for label in (*NAMES, *CHOOSERS):
            found = logs(rows, degree, label)
            difference = found - reference
            low, high = interval(difference)
            table.add_row(
                Text(label, style="bold" if label == LEARNED else ""),
                f"{math.exp(found.mean()):.3f}",
                f"{math.exp(found.max()):.2f}",
                f"{math.exp(difference.mean()):.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{math.exp(difference.max()):.2f}",
                f"{(degree + 1) / math.exp(found.mean()):.1f}",
            )
        parts.append(table)
    parts.append(Text("\n" + "; ".join(f"{name}: {text}" for name, text in CHOOSERS.items())))
    return Group(*parts)


def design_bars(rows: Sequence[DesignRow]) -> list[Bar]:
    """Return the promises on counts, kept or missed."""
    found: list[Bar] = []
    for degree in dict.fromkeys(row.degree for row in rows):
        overhead, fewer = GOALS[degree]
        best = best_fixed(rows, degree)
        mine, reference = logs(rows, degree, LEARNED), logs(rows, degree, best)
        mean, worst = math.exp(mine.mean()), math.exp((mine - reference).max())
        low, high = interval(mine - reference)
        dots = (degree + 1) / mean
        ceiling = math.exp(logs(rows, degree, ORACLE).mean())
        found += [
            Bar(
                f"degree {degree}: learned takes at most {overhead} of plain CG's matvecs",
                f"{mean:.3f} over {mine.size} matrices; best in hindsight {ceiling:.3f}",
                mean <= overhead,
            ),
            Bar(
                f"degree {degree}: fewer than the best fixed design, {best}",
                f"{math.exp((mine - reference).mean()):.3f} [{low:.3f}, {high:.3f}]",
                high < 1,
            ),
            Bar(f"degree {degree}: no matrix above {WORST} of it", f"{worst:.2f}", worst <= WORST),
            Bar(f"degree {degree}: {fewer:g}x fewer dot products", f"{dots:.1f}x", dots >= fewer),
        ]
    return found
