"""The promises of dense functions, kept or missed by a run of their benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from spectool.bench.bars import Bar
from spectool.bench.dense.cases import OUTLIER
from spectool.bench.dense.records import CountRow, PlanRow, RobustRow

NAMED = 4
"""Failures that are named."""
HYBRID = 12
"""Steps on the cluster with an outlier."""
NEAR_EXACT = 1.02
APART = 0.05
INVERTING = ("newton", "halley", "newton_variant", "zolotarev")
"""Steps for signs that invert or divide."""

Table = dict[str, dict[str, CountRow]]


def _by_matrix(rows: Iterable[CountRow]) -> Table:
    found: Table = {}
    for row in rows:
        found.setdefault(row.matrix, {})[row.method] = row
    return found


def _steps(row: CountRow | None) -> float:
    return math.inf if row is None or row.steps is None else row.steps


def listed(names: Sequence[str]) -> str:
    """Return what was missed, the first few by name."""
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"; not on {', '.join(names[:NAMED])}{more}"


def _all(
    text: str, table: Table, keeps: Callable[[dict[str, CountRow]], bool], figure: str = ""
) -> Bar:
    missed = [name for name, row in table.items() if not keeps(row)]
    said = f"{len(table) - len(missed)} of {len(table)} matrices{figure}{listed(missed)}"
    return Bar(text, said if table else "", not missed if table else None)


# --- iterations ------------------------------------------------------------------------------


def iteration_bars(rows: Sequence[CountRow]) -> list[Bar]:
    """Return the promises on counts of steps."""
    if not rows:
        return []
    spectra = _by_matrix(row for row in rows if row.table == "spectra")
    found: list[Bar] = []
    if spectra:
        found += [
            _all(
                "PRISM5 takes at most the published steps",
                spectra,
                lambda row: _steps(row.get("PRISM5")) <= (row["PRISM5"].published or 0),
            ),
            _all(
                "PRISM5 takes fewer steps than Newton-Schulz",
                spectra,
                lambda row: _steps(row.get("PRISM5")) < _steps(row["NS5"]),
            ),
            _all(
                "PRISM5 takes fewer steps than Polar Express with the bound 0.1, or 1e-7",
                spectra,
                lambda row: (
                    _steps(row.get("PRISM5")) < max(_steps(row["PE 0.1"]), _steps(row["PE 1e-7"]))
                ),
            ),
            _all(
                "KPE takes at most as many steps as PRISM5, but for the outlier",
                {name: row for name, row in spectra.items() if not _is_outlier(name)},
                lambda row: _steps(row.get("KPE")) <= _steps(row.get("PRISM5")),
            ),
            *_hybrid(spectra),
            _backward(rows),
        ]
    found += [*_heavy(rows), *_theorem(rows), *_roots(rows)]
    return found


def _is_outlier(name: str) -> bool:
    return name == OUTLIER


def _hybrid(spectra: Table) -> Iterator[Bar]:
    for name, row in spectra.items():
        if _is_outlier(name):
            steps = _steps(row.get("hybrid"))
            yield Bar(
                f"the hybrid takes at most {HYBRID} steps on {name}", f"{steps:g}", steps <= HYBRID
            )
    over = [
        _steps(row.get("hybrid")) - min(_steps(row.get("PRISM5")), _steps(row.get("KPE")))
        for row in spectra.values()
    ]
    finite = [one for one in over if math.isfinite(one)]
    figure = f"{min(finite):+g} to {max(finite):+g} ({len(finite)} matrices)" if finite else ""
    yield Bar("steps of the hybrid beyond the better of PRISM5 and KPE", figure, None)


def _backward(rows: Sequence[CountRow]) -> Bar:
    errors = {
        f"{row.method} on {row.matrix}": row.backward
        for row in rows
        if row.table == "spectra" and not math.isnan(row.backward)
    }
    worst = max(errors, key=lambda name: errors[name], default="")
    return Bar(
        "||G - U H|| / ||G||", f"at most {errors[worst]:.1e}, {worst}" if worst else "", None
    )


def _heavy(rows: Sequence[CountRow]) -> Iterator[Bar]:
    for name, row in _by_matrix(row for row in rows if row.table == "heavy tails").items():
        ours, theirs = _steps(row.get("PRISM5")), row["PRISM5"].published or 0
        judged = name.startswith("kappa 100,")
        yield Bar(
            f"heavy tails, {name}: PRISM5 in at most {theirs} steps",
            f"{ours:g} (Newton-Schulz {_steps(row.get('NS5')):g})",
            ours <= theirs if judged else None,
        )


def _theorem(rows: Sequence[CountRow]) -> Iterator[Bar]:
    for row in rows:
        if row.table != "theorem":
            continue
        if row.method == "PRISM3, exact fit":
            yield Bar(
                "bound ||I - A^2||^(2^(k-2)) of the residual after k steps",
                f"{row.steps} of {row.published} matrices, ratio {row.residual:.3f} at most"
                + (f"; {row.note}" if row.note else ""),
                row.steps == row.published,
            )
        else:
            yield Bar(f"{row.matrix} is refused by {row.method}", row.note, row.steps == 1)


def _roots(rows: Sequence[CountRow]) -> Iterator[Bar]:
    table = _by_matrix(row for row in rows if row.table == "inverse roots")
    if table:
        judged = {name: row for name, row in table.items() if "PRISM" in row}
        yield _all(
            "PRISM for inverse roots takes at most the published steps",
            judged,
            lambda row: _steps(row["PRISM"]) <= (row["PRISM"].published or 0),
        )


# --- planning --------------------------------------------------------------------------------


def planning_bars(rows: Sequence[PlanRow]) -> list[Bar]:
    """Return the promises on planning."""
    found: list[Bar] = []
    ratios = [row for row in rows if row.table == "ratios"]
    if ratios:
        found += [
            _near("plans at most 2% dearer than the exact search", ratios, lambda row: row.cost),
            _near("the tree search alone, too", ratios, lambda row: row.tree),
            *_composition(ratios),
        ]
    transfer = [row for row in rows if row.table == "transfer"]
    for row in transfer[1:]:
        found.append(_transfer(row))
    for row in rows:
        if row.table == "search":
            said = row.note or (
                f"{row.seconds:.2g} s in the median; {row.cost:.4g} to "
                f"{row.figures['largest cost']:.4g} products; found by {row.found_by}"
            )
            found.append(Bar(f"planning, {row.name}", said, None))
        if row.table == "divergence":
            n, diverged = row.figures["plans"], row.figures["diverged"]
            said = (
                f"{diverged:g} of {n:g}; {row.figures['short']:g} fell short of the tolerance, "
                f"{row.figures['with further steps']:g} took further steps, "
                f"{row.figures['replaced']:g} were replaced, "
                f"{row.figures['without a plan']:g} times there was none"
            )
            found.append(Bar("no plan in single precision diverges", said, diverged == 0))
    return found


def _near(text: str, rows: Sequence[PlanRow], cost: Callable[[PlanRow], float]) -> Bar:
    excess = {row.name: cost(row) / row.exact for row in rows}
    bad = [f"{name} {ratio:.3f}x" for name, ratio in excess.items() if not ratio <= NEAR_EXACT]
    figure = ", ".join(f"{ratio:.3f}x" for ratio in excess.values())
    return Bar(text, f"{figure}{listed(bad)}", not bad)


def _composition(rows: Sequence[PlanRow]) -> Iterator[Bar]:
    for row in rows:
        ratio = float(row.name.rpartition("= ")[2])
        inverting = sum(kind in INVERTING for kind in row.kinds)
        products = len(row.kinds) - inverting
        if ratio < 2.0:
            text, kept = "inverses alone", products == 0
        elif ratio < 4.0:
            text, kept = "inverses and polynomials", inverting > 0 and products > 0
        else:
            text, kept = "mostly polynomials", products > inverting
        said = ", ".join(row.kinds) or row.note
        yield Bar(f"at {row.name} plans take {text}", said, kept if row.kinds else False)


def _transfer(row: PlanRow) -> Bar:
    same = "uniform" in row.name
    text = f"a plan for Wishart, d = 4 n, on {row.name}"
    if row.note:
        return Bar(text, row.note, False if same else None)
    figures = row.figures
    said = (
        f"loss {figures['loss']:.1e} with {figures['further steps']:g} further steps"
        + (", replaced by a direct method" if figures["replaced"] else "")
        + f"; planned again: {figures['online cost']:.3g} for {row.cost:.3g} products, loss "
        f"{figures['online loss']:.1e}, {figures['online further steps']:g} further steps"
    )
    if not same:
        return Bar(text, said, None)
    apart = figures["apart"]
    return Bar(f"{text}: losses at most {APART:.0%} apart", f"{apart:.1%}; {said}", apart <= APART)


# --- robustness ------------------------------------------------------------------------------


def robust_bars(rows: Sequence[RobustRow]) -> list[Bar]:
    """Return the promises on hostile matrices."""
    if not rows:
        return []
    count = sum(row.count for row in rows)
    bad = sum(row.not_finite for row in rows)
    failed = [f"{row.sort} {row.dtype}: {row.note}" for row in rows if row.note]
    outside = [f"{row.sort} {row.dtype}" for row in rows if not row.kept and not row.note]
    ends = []
    for dtype in dict.fromkeys(row.dtype for row in rows):
        some = [row for row in rows if row.dtype == dtype]
        low = min((row.smallest for row in some if not math.isnan(row.smallest)), default=math.nan)
        ends.append(f"{dtype} [{low:.3f}, {max(row.largest for row in some):.3f}]")
    return [
        Bar(
            "no NaN from orthogonalize",
            f"{bad} of {count} matrices{'; ' if failed else ''}{'; '.join(failed)}",
            bad == 0 and not failed,
        ),
        Bar(
            "singular values in the documented band",
            f"{', '.join(ends)}{listed(outside)}",
            not outside and not failed,
        ),
    ]
