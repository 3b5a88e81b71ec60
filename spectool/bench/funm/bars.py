"""The promises about rivals and about size, kept or missed by a run of ``bench funm``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spectool.bench.bars import Bar
from spectool.bench.funm.large import FRACTION, LargeRow
from spectool.bench.funm.tasks import EXPM, KRYLOV, KRYLOV_LONG, SPECTOOL, YARDSTICK, reach_of
from spectool.bench.records import Outcome, Row, grouped
from spectool.bench.tables import error_text, seconds_text

FAST, FAR = 0.5, 1e3
"""Our seconds over those of expm_multiply, at most, from this ``t ||A||`` on."""
NEVER_ABOVE = 1.1
"""Our seconds over a rival's, at most, wherever the rival is right."""
PER_VECTOR = 2.5
"""Times that a vector of a block is cheaper, at least."""
NAMED = 6
"""Exceptions that a bar names."""


def rival_bars(rows: Sequence[Row], *, limit: float) -> list[Bar]:
    """Return how our seconds and errors stand against scipy's.

    A rival that was stopped after ``limit`` seconds counts as if it had ended then.
    """
    contests = [{row.method: row for row in group} for group in grouped(rows).values()]
    return [
        *_exponentials(contests, limit),
        *_krylov(contests),
        *_yardstick(contests),
    ]


Contest = dict[str, Row]


def _exponentials(contests: Iterable[Contest], limit: float) -> Iterator[Bar]:
    far: dict[str, float] = {}
    everywhere: dict[str, float] = {}
    stopped = 0
    for contest in contests:
        ours, rival = contest.get(SPECTOOL), contest.get(EXPM)
        reach = reach_of(ours.task) if ours is not None else None
        if ours is None or rival is None or reach is None:
            continue
        seconds = rival.seconds
        if rival.outcome is Outcome.TIMEOUT:
            stopped += 1
            seconds = limit
        name = f"{ours.matrix} {ours.task}"
        everywhere[name] = _ratio(ours, seconds)
        if reach >= FAR:
            far[name] = everywhere[name]
    text = f"at most {FAST:g}x the seconds of expm_multiply from t ||A|| = {FAR:g} on"
    suffix = f"; {stopped} runs of expm_multiply were stopped" if stopped else ""
    yield _at_most(text, far, FAST, suffix)
    yield _at_most(f"never above {NEVER_ABOVE:g}x those of expm_multiply", everywhere, NEVER_ABOVE)


def _ratio(ours: Row, seconds: float) -> float:
    """Return our seconds over the rival's; inf if ours is no right answer."""
    if ours.outcome in (Outcome.MET, Outcome.UNVERIFIED):
        return ours.seconds / seconds
    return math.inf


def _krylov(contests: Iterable[Contest]) -> Iterator[Bar]:
    where: dict[str, float] = {}
    wrong: list[str] = []
    total = right = 0
    for contest in contests:
        ours = contest.get(SPECTOOL)
        rivals = [contest[name] for name in (KRYLOV, KRYLOV_LONG) if name in contest]
        if ours is None or not rivals:
            continue
        total += 1
        right += any(rival.outcome.solved for rival in rivals)
        name = f"{ours.matrix} {ours.task}"
        if ours.outcome not in (Outcome.MET, Outcome.UNVERIFIED):
            wrong.append(f"{name} ({ours.outcome.value}, {ours.error:.1e})")
        for rival in rivals:
            if rival.outcome.solved:
                where[f"{name} ({rival.method})"] = _ratio(ours, rival.seconds)
    text = "right wherever funm_multiply_krylov is asked, right or not"
    if total:
        figure = f"{total - len(wrong)} of {total}, funm_multiply_krylov {right}{_named(wrong)}"
        yield Bar(text, figure, not wrong)
    yield _at_most(
        f"where it is right, never above {NEVER_ABOVE:g}x its seconds", where, NEVER_ABOVE
    )


def _yardstick(contests: Iterable[Contest]) -> Iterator[Bar]:
    ratios = []
    for contest in contests:
        ours, plain = contest.get(SPECTOOL), contest.get(YARDSTICK)
        if ours is None or plain is None:
            continue
        if ours.outcome.solved and plain.outcome.solved:
            ratios.append(ours.seconds / plain.seconds)
    if ratios:
        figure = (
            f"{statistics.geometric_mean(ratios):.2f}x ({len(ratios)} contests, "
            f"{min(ratios):.2f}x to {max(ratios):.2f}x)"
        )
        yield Bar("our seconds over those of plain Lanczos with a stored basis", figure, None)


def _at_most(text: str, ratios: dict[str, float], most: float, suffix: str = "") -> Bar:
    if not ratios:
        return Bar(text, "", None)
    above = sorted((name for name in ratios if not ratios[name] <= most), key=lambda n: -ratios[n])
    finite = [ratio for ratio in ratios.values() if math.isfinite(ratio)]
    mean = statistics.geometric_mean(finite) if finite else math.nan
    figure = (
        f"{mean:.2f}x in the mean, {max(finite, default=math.nan):.2f}x at most ({len(ratios)} "
        f"contests){suffix}{_named([f'{name} {_times(ratios[name])}' for name in above])}"
    )
    return Bar(text, figure, not above)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x" if math.isfinite(ratio) else "(no right answer)"


def _named(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"; not on {', '.join(names[:NAMED])}{more}"


# --- large -----------------------------------------------------------------------------------


def large_bars(rows: Sequence[LargeRow]) -> list[Bar]:
    """Return how blocks and little memory fare."""
    if not rows:
        return []
    measured = [row for row in rows if not math.isnan(row.gain)]
    frugal = [row for row in rows if row.max_memory]
    failed = [f"{row.matrix} {row.function}: {row.note}" for row in rows if row not in measured]
    gains = {f"{row.matrix} {row.function}": row.gain for row in measured}
    slow = [f"{name} {gain:.2f}x" for name, gain in gains.items() if gain < PER_VECTOR]
    figure = ""
    if gains:
        figure = (
            f"{statistics.geometric_mean(gains.values()):.2f}x in the mean, "
            f"{min(gains.values()):.2f}x to {max(gains.values()):.2f}x{_named(slow)}"
        )
    wrong = [
        f"{row.matrix} {row.function} ({row.frugal_error:.1e} for {row.rtol:.0e})"
        for row in frugal
        if not row.frugal_kept
    ]
    held = ", ".join(
        f"{row.frugal_bytes / 2**20:.0f} of {row.max_memory / 2**20:.0f} MiB" for row in frugal
    )
    return [
        Bar(
            f"{rows[0].columns} right-hand sides at once, per vector at least {PER_VECTOR:g}x "
            "cheaper than one by one",
            "; failed: ".join(filter(None, [figure, "; ".join(failed)])),
            not slow and not failed if gains or failed else None,
        ),
        Bar(
            f"with {FRACTION:g} of the memory of the plain basis still to tolerance",
            f"{len(frugal) - len(wrong)} of {len(frugal)}; peak {held}{_named(wrong)}"
            if frugal
            else "",
            not wrong if frugal else None,
        ),
    ]


def large_table(rows: Sequence[LargeRow]) -> Group:
    """Return one line per matrix and function, and below what was executed and what went wrong."""
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    columns: dict[str, Callable[[LargeRow], str]] = {
        "matrix": lambda row: row.matrix,
        "function": lambda row: row.function,
        "one": lambda row: seconds_text(row.single_seconds),
        "block": lambda row: seconds_text(row.block_seconds),
        "gain": lambda row: _text(row.gain, "{:.2f}x"),
        "error": lambda row: error_text(row.error),
        "differ": lambda row: error_text(row.difference),
        "MiB one": lambda row: _mebibytes(row.single_bytes),
        "block ": lambda row: _mebibytes(row.block_bytes),
        "basis": lambda row: _mebibytes(row.basis_bytes),
        "allowed": lambda row: _mebibytes(row.max_memory),
        "held": lambda row: _mebibytes(row.frugal_bytes),
        "in": lambda row: seconds_text(row.frugal_seconds),
        "error ": lambda row: error_text(row.frugal_error),
    }
    for name in columns:
        left = name in ("matrix", "function")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(text(row) for text in columns.values()))
    lines = []
    for row in rows:
        methods = (row.single_method, row.block_method, row.frugal_method)
        line = f"{row.matrix} {row.function}: {' | '.join(filter(None, methods))}"
        lines.append(Text(line, style="dim"))
        if row.note or not row.converged:
            lines.append(Text(row.note or "a call did not converge", style="red"))
    return Group(Text("A million unknowns", style="bold"), table, *lines)


def _text(value: float, form: str) -> str:
    return "–" if math.isnan(value) else form.format(value)


def _mebibytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f}" if n_bytes else "–"
