"""What a benchmark says: one row per matrix, task and method; and who won."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

TIE = 1.10
"""Times within this factor of the fastest are a tie."""
SLACK = 1.1
"""An error up to this factor above the tolerance still meets it: methods stop on estimates."""


class Outcome(enum.StrEnum):
    """What became of one attempt."""

    MET = "met the tolerance"
    UNVERIFIED = "no reference"
    INACCURATE = "inaccurate"
    UNCONVERGED = "not converged"
    TIMEOUT = "time-out"
    FAILED = "failed"

    @property
    def solved(self) -> bool:
        """Whether the answer is known to be right."""
        return self is Outcome.MET


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One method on one task of one matrix.

    Attributes
    ----------
    matrix, task, method : str
        Names.
    ours : bool
        Whether the method uses spectool.
    n, nnz : int
        Size and stored entries of A.
    outcome : Outcome
        What became of it.
    seconds : float
        Median over ``repeats`` of the whole attempt, set-up included; nan if there was none.
    setup_seconds : float
        Median of the set-up within.
    repeats : tuple of float
        All measured times.
    matvecs, reductions : int or None
        All products with A; all global inner products and norms; None where unknown.
    error : float
        True relative residual or error, the worst over the repeats; nan without a reference.
    estimate : float
        What the method itself believes; nan if it does not say.
    n_bytes : int or None
        What the method holds beside A; None where unknown.
    tolerance : float
        What ``error`` had to meet.
    note : str
        What else happened: warnings, the exception, what was chosen.
    history : tuple of (int, float)
        Matvecs and true relative residual along the way.
    """

    matrix: str
    task: str
    method: str
    ours: bool
    n: int
    nnz: int
    outcome: Outcome
    seconds: float = math.nan
    setup_seconds: float = math.nan
    repeats: tuple[float, ...] = ()
    matvecs: int | None = None
    reductions: int | None = None
    error: float = math.nan
    estimate: float = math.nan
    n_bytes: int | None = None
    tolerance: float = math.nan
    note: str = ""
    history: tuple[tuple[int, float], ...] = field(default=(), repr=False)

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict; numbers that are not finite become None."""
        record = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        record["outcome"] = self.outcome.name
        return {name: finite(value) for name, value in record.items()}


def finite(value: Any) -> Any:
    """Return the value with numbers that JSON lacks as None, and tuples as lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, tuple):
        return [finite(entry) for entry in value]
    return value


class _Recorded(Protocol):
    def as_record(self) -> dict[str, Any]: ...


def write_jsonl(path: Path, rows: Iterable[_Recorded], context: Mapping[str, Any]) -> None:
    """Write one JSON object per row; each repeats the context (machine, seed, suite)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({**context, **row.as_record()}, ensure_ascii=False) + "\n")


def grouped(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows per (matrix, task), in order of appearance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.matrix, row.task), []).append(row)
    return groups


def winners(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the fastest of the rows that are known to be right, with all that tie with it.

    Rows of one matrix and task. Empty if none is right.
    """
    right = [row for row in rows if row.outcome.solved]
    if not right:
        return ()
    best = min(row.seconds for row in right)
    return tuple(row for row in right if row.seconds <= TIE * best)


@dataclass(frozen=True, slots=True)
class Score:
    """How spectool fared over several (matrix, task) pairs.

    Attributes
    ----------
    won, tied, lost, open : int
        Ours alone was fastest; was among the fastest; was slower or not right where a rival was
        right; nobody was known to be right.
    """

    won: int
    tied: int
    lost: int
    open: int


def score(rows: Iterable[Row]) -> Score:
    """Count spectool's wins, ties and losses."""
    counts = {"won": 0, "tied": 0, "lost": 0, "open": 0}
    for _, result in _results(rows):
        counts[result] += 1
    return Score(**counts)


def _results(rows: Iterable[Row]) -> Iterator[tuple[tuple[str, str], str]]:
    for key, group in grouped(rows).items():
        best = winners(group)
        if not best:
            yield key, "open"
        elif not any(row.ours for row in best):
            yield key, "lost"
        else:
            yield key, "won" if all(row.ours for row in best) else "tied"
