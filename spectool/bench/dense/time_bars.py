"""The promises on seconds of polar factors, roots and signs, kept or missed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from spectool.bench.bars import Bar
from spectool.bench.dense.bars import listed
from spectool.bench.dense.polar import NEWTON_SCHULZ, SHIPPED, TORCH_SVD
from spectool.bench.dense.records import TimedRow
from spectool.bench.dense.roots import AUTO, EIGH, PAIR, PLAN, PLAN_ALONE, SIGN
from spectool.bench.dense.timing import DIRECT, ITERATION, OURS

CLASSICAL_GAIN = 1.8
CLASSICAL = ("Newton", "Denman-Beavers", "scaled DB", "product DB", "Newton-Schulz (NSV)")
"""Iterations for the square root with which planned ones are compared."""
PUBLISHED = ("Newton", "Denman-Beavers", "scaled DB", "Newton-Schulz (NSV)")
"""Those of them that were published beside planned ones."""


def _contests(rows: Iterable[TimedRow], part: str) -> dict[str, dict[str, TimedRow]]:
    found: dict[str, dict[str, TimedRow]] = {}
    for row in rows:
        if row.part == part:
            found.setdefault(row.where, {})[row.method] = row
    return found


def _seconds(row: TimedRow | None) -> float:
    """Return the seconds of a right answer; inf for none."""
    if row is None or not row.solved or math.isnan(row.seconds):
        return math.inf
    return row.seconds


def _quickest(contest: dict[str, TimedRow], kind: str, names: Sequence[str] = ()) -> float:
    return min(
        (
            _seconds(row)
            for row in contest.values()
            if row.kind == kind and (not names or row.method in names)
        ),
        default=math.inf,
    )


def _times(
    text: str, ratios: dict[str, float], *, most: float | None = None, least: float | None = None
) -> Bar:
    """Return a bar on ratios of seconds; infinite ones have no right answer above the line."""
    known = {name: ratio for name, ratio in ratios.items() if not math.isnan(ratio)}
    if not known:
        return Bar(text, "", None)
    finite = [ratio for ratio in known.values() if 0.0 < ratio < math.inf]
    bad = [
        f"{name} {_text(ratio)}"
        for name, ratio in known.items()
        if (most is not None and not ratio <= most) or (least is not None and not ratio >= least)
    ]
    figure = ""
    if finite:
        mean = statistics.geometric_mean(finite)
        figure = f"{mean:.2f}x in the mean, {min(finite):.2f}x to {max(finite):.2f}x"
    contests = "1 contest" if len(known) == 1 else f"{len(known)} contests"
    figure += f" ({contests}){listed(bad)}"
    return Bar(text, figure.strip(), None if most is None and least is None else not bad)


def _text(ratio: float) -> str:
    return f"{ratio:.2f}x" if 0.0 < ratio < math.inf else "(no right answer)"


def _ratio(above: float, below: float) -> float:
    """Return above / below; nan where neither has a right answer."""
    if math.isinf(above) and math.isinf(below):
        return math.nan
    return math.inf if math.isinf(above) else 0.0 if math.isinf(below) else above / below


def polar_bars(rows: Sequence[TimedRow]) -> list[Bar]:
    """Return the promises on seconds for polar factors."""
    contests = _contests(rows, "polar")
    if not contests:
        return []

    def against(ours: str, rival: str) -> dict[str, float]:
        return {
            where: _ratio(_seconds(contest.get(ours)), _seconds(contest.get(rival)))
            for where, contest in contests.items()
            if ours in contest and rival in contest
        }

    def best(kind: str) -> dict[str, float]:
        return {
            where: _ratio(_seconds(contest.get("auto")), _quickest(contest, kind))
            for where, contest in contests.items()
        }

    return [
        _times(
            "seconds of PRISM5 over Newton-Schulz at most 1x",
            against("prism", NEWTON_SCHULZ),
            most=1.0,
        ),
        _times(
            "seconds of PRISM5 over Polar Express as shipped at most 1x",
            against("prism", SHIPPED),
            most=1.0,
        ),
        _times("seconds of KPE over PRISM5", against("kpe", "prism")),
        _times("seconds of auto over the quickest iteration of the literature", best(ITERATION)),
        _times("seconds of auto over the quickest SVD", best(DIRECT)),
        _times("seconds of auto over torch's SVD", against("auto", TORCH_SVD)),
        _errors(contests),
    ]


def _errors(contests: dict[str, dict[str, TimedRow]]) -> Bar:
    """Judge ``||G - U H|| / ||G||`` of ours."""
    errors = {
        f"{row.method} on {where}": row.error / row.tolerance
        for where, contest in contests.items()
        for row in contest.values()
        if row.kind == OURS and not math.isnan(row.error)
    }
    worst = max(errors, key=lambda name: errors[name], default="")
    text = "||G - U H|| / ||G|| of ours at most the tolerance"
    figure = f"{errors[worst]:.2g} of it at most, {worst}" if worst else ""
    return Bar(text, figure, errors[worst] <= 1.0 if worst else None)


def root_bars(rows: Sequence[TimedRow]) -> list[Bar]:
    """Return the promises on seconds for roots and signs."""
    contests = _contests(rows, "roots")
    if not contests:
        return []
    pairs = {where: contest for where, contest in contests.items() if PAIR in where}
    wishart = {where: contest for where, contest in pairs.items() if where.startswith("Wishart")}
    images = {where: contest for where, contest in pairs.items() if where.startswith("ZCA")}
    signs = {where: contest for where, contest in contests.items() if f", {SIGN}," in where}

    def gains(
        chosen: dict[str, dict[str, TimedRow]], rivals: Sequence[str] = CLASSICAL
    ) -> dict[str, float]:
        return {
            where: _ratio(_quickest(contest, ITERATION, rivals), _seconds(contest.get(PLAN_ALONE)))
            for where, contest in chosen.items()
        }

    def over_eigh(chosen: dict[str, dict[str, TimedRow]], ours: str) -> dict[str, float]:
        return {
            where: _ratio(_seconds(contest.get(ours)), _seconds(contest.get(EIGH)))
            for where, contest in chosen.items()
        }

    def over_best(ours: str) -> dict[str, float]:
        return {
            where: _ratio(
                _seconds(contest.get(ours)), min(_seconds(row) for row in contest.values())
            )
            for where, contest in contests.items()
        }

    return [
        _times(
            "planned steps faster than the best of Newton, DB, scaled DB, product DB and NSV on "
            "Wishart matrices",
            gains(wishart),
            least=1.0,
        ),
        _times(
            f"the same on image covariances, at least {CLASSICAL_GAIN:g}x",
            gains(images),
            least=CLASSICAL_GAIN,
        ),
        _times("the same without product DB", gains(images, PUBLISHED)),
        _times("seconds of planned steps over eigh, square roots", over_eigh(pairs, PLAN_ALONE)),
        _times("seconds of a plan over eigh, signs, at most 1x", over_eigh(signs, PLAN), most=1.0),
        _times("seconds of auto over eigh", over_eigh(contests, AUTO)),
        _times("seconds of a plan over the quickest right answer of all", over_best(PLAN)),
        _times("seconds of auto over the quickest right answer of all", over_best(AUTO)),
    ]
