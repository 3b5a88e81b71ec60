"""Plans for solving: predicted beside true seconds, and tree search beside enumeration and beam.

Every matrix that plain CG solves in more than ``LEAST`` seconds is planned afresh. The best
``TRIED`` options of the plan, CG with Jacobi, and what ``preconditioner(A)`` takes by itself are
then run in turns, with scipy's cg, whose iterations are what is priced. Medians; set-up apart.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from scipy.sparse.linalg import cg

from spectool import collection, gallery
from spectool._types import Array, FloatArray
from spectool.bench.bars import Bar
from spectool.bench.jobs import Job
from spectool.bench.learned.searches import SearchRow, run_searches
from spectool.planner.plan import Option, Plan
from spectool.planner.sparse import plan
from spectool.preconditioners import preconditioner

RTOL = 1e-8
TRIED = 10
"""Options per matrix that are run, with those that differ in precision alone counted once."""
ROUNDS = 25
LEAST, ENOUGH = 0.03, 6.0
"""Seconds of plain CG from which a matrix is of interest, and after which rounds end."""
HOPELESS = 10.0
"""Seconds over those of plain CG after which a solve is given up."""
MOST_ROWS = 25_000
"""Largest matrix of the collection; the large ones are generated."""
NEAR, SHARE = 1.05, 0.9
PLANNING, LONG = 0.05, 1.0
SEARCHING = 0.5
"""Seconds that tree and beam search each."""
AUTO = "preconditioner(A)"


@dataclass(frozen=True, slots=True, eq=False)
class PlanningRow:
    """One option on one matrix.

    Attributes
    ----------
    matrix, option : str
        Names.
    n : int
        Rows.
    predicted, seconds : float
        Predicted, and the median of those measured; nan where nothing was predicted.
    counted, iterations : float
        Predicted and true iterations.
    chosen, plain : bool
        Whether the plan takes it, and whether it is CG without a polynomial.
    planning : float
        Seconds of planning.
    """

    matrix: str
    option: str
    n: int
    predicted: float
    seconds: float
    counted: float
    iterations: int
    chosen: bool
    plain: bool
    planning: float

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        names = ("matrix", "option", "n", "iterations", "chosen", "plain", "planning")
        record: dict[str, Any] = {"part": "planning"}
        record |= {name: getattr(self, name) for name in names}
        for name in ("predicted", "counted", "seconds"):
            value = getattr(self, name)
            record[name] = value if math.isfinite(value) else None
        return record


Row = PlanningRow | SearchRow


def planning_jobs(*, tiny: bool = False) -> Iterator[Job[Row]]:
    """Yield one job per matrix."""
    for name, load in _matrices(tiny).items():
        yield Job(
            "planning",
            name,
            lambda seed, name=name, load=load: run_planning(  # type: ignore[misc]
                name,
                load(),
                seed=seed,
                least=0.0 if tiny else LEAST,
                searching=0.02 if tiny else SEARCHING,
                rounds=1 if tiny else ROUNDS,
            ),
        )


def _matrices(tiny: bool) -> dict[str, Callable[[], Any]]:
    if tiny:
        return {"poisson 20x20": lambda: gallery.poisson((20, 20))}
    entries = sorted(collection.search(spd=True), key=lambda entry: entry.n_rows)
    found: dict[str, Callable[[], Any]] = {
        entry.name: lambda name=entry.name: collection.load(name)  # type: ignore[misc]
        for entry in entries
        if entry.n_rows <= MOST_ROWS
    }
    return found | {
        "poisson 300x300": lambda: gallery.poisson((300, 300)),
        "poisson 40x40x40": lambda: gallery.poisson((40, 40, 40)),
        "poisson 80x80x80": lambda: gallery.poisson((80, 80, 80)),
        "jump 250x250": lambda: gallery.jump((250, 250), rng=1),
        "jump 600x600": lambda: gallery.jump((600, 600), rng=1),
        "anisotropic 250x250": lambda: gallery.anisotropic((250, 250)),
        "elasticity 100x100": lambda: gallery.elasticity((100, 100)),
    }


def run_planning(
    name: str, A: Any, *, seed: int, least: float, searching: float, rounds: int
) -> Iterator[Row]:
    """Yield rows of options and searches; none where plain CG is too quick, or does not end."""
    made = plan(A, "solve", rtol=RTOL, cache=False, rng=seed)
    b = np.random.default_rng(seed).standard_normal(made.n)
    options = _shortlist(made)
    setups: dict[str, Any] = {
        option.name: preconditioner(A, plan=_single(made, option), rng=seed) for option in options
    }
    setups[AUTO] = preconditioner(A, rng=seed)
    plains = [option for option in options if option.plain]
    plain = next((o for o in plains if o.action["method"] == "jacobi"), plains[0])
    seconds, counts = _timed(A, b, setups, plain.name, least, rounds)
    if not seconds:
        return
    known = {option.name: option for option in options}
    for label, found in seconds.items():
        option = known.get(label)
        yield PlanningRow(
            name,
            label,
            made.n,
            math.nan if option is None else option.seconds,
            found,
            math.nan if option is None else option.counts.products,
            counts[label],
            option is made.chosen,
            option is not None and option.plain,
            made.statistics["seconds"],
        )
    yield from run_searches(name, A, b, seed=seed, seconds=searching)


def _single(made: Plan, option: Option) -> Plan:
    """Return a plan that takes this option."""
    return replace(made, candidates=(option,))


def _shortlist(made: Plan) -> list[Option]:
    """Return what runs: the quickest of each polynomial, and CG."""
    found: dict[tuple[str, bool], Option] = {}
    for option in made.candidates:
        key = option.name.removesuffix(", single"), option.plain
        if key not in found and (len(found) < TRIED or option.plain):
            found[key] = option
    return list(found.values())


def _timed(
    A: Any, b: FloatArray, setups: dict[str, Any], plain: str, least: float, rounds: int
) -> tuple[dict[str, float], dict[str, int]]:
    """Return median seconds and iterations of scipy's cg, run in turns; nothing where too quick."""
    counts: dict[str, int] = {}
    times: dict[str, list[float]] = {label: [] for label in setups}

    def solve(label: str) -> float:
        count = 0

        def tick(_: Array) -> None:
            nonlocal count
            count += 1
            if time.perf_counter() - begun > most:
                raise TimeoutError

        begun = time.perf_counter()
        try:
            _, info = cg(A, b, M=setups[label], rtol=RTOL, maxiter=20 * b.size, callback=tick)
        except TimeoutError:
            info = 1
        elapsed = time.perf_counter() - begun
        counts[label] = count
        return elapsed if info == 0 else math.inf

    most = math.inf
    first = solve(plain)
    if not least <= first < math.inf:
        return {}, {}
    most = HOPELESS * first
    # Compiles, and warms caches.
    ended = [label for label in setups if math.isfinite(solve(label))]
    times = {label: times[label] if label in ended else [math.inf] for label in setups}
    begun = time.perf_counter()
    for _ in range(rounds):
        for label in ended:
            times[label].append(solve(label))
        if time.perf_counter() - begun > ENOUGH:
            break
    return {label: statistics.median(each) for label, each in times.items()}, counts


# --- what was found --------------------------------------------------------------------------


def _by_matrix(rows: Sequence[Row]) -> dict[str, list[PlanningRow]]:
    found: dict[str, list[PlanningRow]] = {}
    for row in rows:
        if isinstance(row, PlanningRow):
            found.setdefault(row.matrix, []).append(row)
    return found


def planning_tables(rows: Sequence[Row]) -> RenderableType:
    """Return a line per matrix, and one per search."""
    parts: list[RenderableType] = [Text("\nPlans: seconds of scipy's cg", style="bold")]
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for title in ("matrix", "plan", "seconds", "predicted", "best tried", "over best"):
        table.add_column(title, justify="left" if title in ("matrix", "plan") else "right")
    for title in ("over CG", "auto over best", "planning"):
        table.add_column(title, justify="right")
    for matrix, found in _by_matrix(rows).items():
        chosen, best = _chosen(found), min(found, key=lambda row: row.seconds)
        plain = min(row.seconds for row in found if row.plain)
        auto = next(row.seconds for row in found if row.option == AUTO)
        table.add_row(
            matrix,
            chosen.option,
            f"{chosen.seconds:.3g}",
            f"{chosen.predicted:.3g}",
            best.option,
            f"{chosen.seconds / best.seconds:.2f}",
            f"{chosen.seconds / plain:.2f}",
            f"{auto / best.seconds:.2f}",
            f"{chosen.planning:.2g}",
        )
    parts.append(table)
    searches = [row for row in rows if isinstance(row, SearchRow)]
    for label in dict.fromkeys(row.search for row in searches):
        mine = [row for row in searches if row.search == label]
        base = {row.matrix: row for row in searches if row.search == "enumeration"}
        predicted = _mean([row.predicted / base[row.matrix].predicted for row in mine])
        true = _mean([row.counted / base[row.matrix].counted for row in mine])
        said = (
            f"{label}: {predicted:.3f} of enumeration's seconds with simulated iterations, "
            f"{true:.3f} with true ones; {statistics.mean(r.evaluated for r in mine):.0f} "
            f"polynomials ({len(mine)} matrices)"
        )
        parts.append(Text(said))
    return Group(*parts)


def _chosen(rows: Sequence[PlanningRow]) -> PlanningRow:
    return next(row for row in rows if row.chosen)


def _mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean, infinite where a run did not end."""
    if not all(map(math.isfinite, ratios)):
        return math.inf
    return math.exp(statistics.mean(math.log(ratio) for ratio in ratios))


def planning_bars(rows: Sequence[Row]) -> list[Bar]:
    """Return the promises of plans, kept or missed."""
    contests = _by_matrix(rows)
    if not contests:
        return []
    over, autos, plains, spent = [], [], [], []
    errors: list[float] = []
    for found in contests.values():
        chosen = _chosen(found)
        # What preconditioner(A) takes is tried too.
        best = min(row.seconds for row in found)
        over.append(chosen.seconds / best)
        autos.append(next(row.seconds for row in found if row.option == AUTO) / best)
        plains.append(chosen.seconds / min(row.seconds for row in found if row.plain))
        if chosen.seconds > LONG:
            spent.append(chosen.planning / chosen.seconds)
        errors += [
            math.log(row.predicted / row.seconds)
            for row in found
            if math.isfinite(row.predicted) and 0 < row.seconds < math.inf
        ]
    near = sum(ratio <= NEAR for ratio in over) / len(over)
    spread = statistics.pstdev(errors)
    return [
        Bar(
            f"planned choice within {NEAR}x of the best of all tried on {SHARE:.0%} of matrices",
            f"{near:.0%} of {len(over)}, {_mean(over):.2f}x in the mean, {max(over):.2f}x at most",
            near >= SHARE,
        ),
        Bar(
            "preconditioner(A) over the best of all tried",
            f"{_mean(autos):.2f}x in the mean, {max(autos):.2f}x at most",
            None,
        ),
        Bar(
            "planned choice over CG with Jacobi",
            f"{_mean(plains):.2f}x in the mean, {max(plains):.2f}x at most",
            max(plains) <= 1.1,
        ),
        Bar(
            f"planning takes at most {PLANNING:.0%} of solves of more than {LONG:g} s",
            f"{max(spent):.1%} at most ({len(spent)} matrices)" if spent else "",
            max(spent) <= PLANNING if spent else None,
        ),
        Bar(
            "predicted over true seconds",
            f"{math.exp(statistics.mean(errors)):.2f}x in the mean, a factor of "
            f"{math.exp(spread):.2f} (one standard deviation, {len(errors)} runs)",
            None,
        ),
    ]
