"""Does ``funm_multiply`` know how wrong it is? Every function, condition number and tolerance.

A cell is one call. What counts is the true error against the estimate and the tolerance, beyond
what the truth itself is uncertain by; a cell that the truth cannot decide is counted apart.
"""

from __future__ import annotations

import enum
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np

from spectool.bench.funm.cases import QUESTIONS, Question, Source, Subject, Truth, prescribed
from spectool.bench.measure import NOTE, OutOfTimeError, time_limit
from spectool.bench.records import finite
from spectool.errors import ConvergenceWarning
from spectool.functions import funm_multiply
from spectool.results import Status

RTOLS = (1e-4, 1e-8, 1e-12)
MISS = 10.0
"""A true error of more than this many tolerances, without a warning, is a silent miss."""
NEAR = 10.0
"""An estimate within this factor of the truth is sharp."""
LIMIT = 20.0
"""Seconds per call."""
PATIENCE = 2
"""Steps, in multiples of n, that a matrix-free cell may take: nothing but steps is left to it."""


class Finding(enum.StrEnum):
    """What became of one call."""

    KEPT = "kept"
    SILENT = "silent miss"
    UNDECIDED = "undecided"
    WARNED = "warned"
    REFUSED = "refused"
    TIMEOUT = "time-out"


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One function of one matrix at one tolerance.

    Attributes
    ----------
    matrix, kind, form : str
        Name, kind of spectrum ("real" for a real matrix) and form of the operator.
    n : int
        Rows.
    cond : float
        Condition number, inf if singular.
    function, asked : str
        Name of the question; the method that was asked for, mostly "auto".
    rtol : float
        Tolerance.
    finding : Finding
        What became of it.
    error : float
        ``||y - f(A) b|| / ||f(A) b||``; nan if there was no answer.
    uncertainty : float
        What the true f(A) b may be off by, relative.
    estimate : float
        What the verb believes.
    converged, warned : bool
        What the verb says.
    seconds : float
        Of the call, once.
    matvecs : int
        All products with A.
    method : str
        What was executed.
    note : str
        The warning, or the exception.
    """

    matrix: str
    kind: str
    form: str
    n: int
    cond: float
    function: str
    asked: str
    rtol: float
    finding: Finding
    error: float = math.nan
    uncertainty: float = math.nan
    estimate: float = math.nan
    converged: bool = False
    warned: bool = False
    seconds: float = math.nan
    matvecs: int = 0
    method: str = ""
    note: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is a true error to compare the estimate with."""
        return math.isfinite(self.error)

    @property
    def truth(self) -> float:
        """The true error, floored by its own uncertainty."""
        return max(self.error, self.uncertainty)

    @property
    def ratio(self) -> float:
        """Estimate over true error; 1 where that is uncertain and the estimate no larger."""
        if self.error <= self.uncertainty:
            return max(self.estimate / self.uncertainty, 1.0)
        return self.estimate / self.error

    @property
    def covered(self) -> bool:
        """Whether the estimate is at least a tenth of the true error, or that is too small."""
        return self.error <= self.uncertainty or self.estimate >= self.error / NEAR

    @property
    def sharp(self) -> bool:
        """Whether the estimate is within a factor of 10 of the true error."""
        return self.covered and self.estimate <= NEAR * self.truth

    @property
    def needless(self) -> bool:
        """Whether it warned of an answer that is within the tolerance."""
        return self.finding is Finding.WARNED and self.error + self.uncertainty <= self.rtol

    @property
    def family(self) -> str:
        """The method without its figures: "lanczos" of "lanczos, 40 steps"."""
        return self.method.split(",")[0]

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict; numbers that are not finite become None."""
        record = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        record["finding"] = self.finding.name
        return {name: finite(value) for name, value in record.items()}


def judge(error: float, uncertainty: float, rtol: float, *, warned: bool) -> Finding:
    """Return the finding of an answer; ``warned`` whether the verb withdrew its promise."""
    if warned:
        return Finding.WARNED
    if not error - uncertainty <= MISS * rtol:  # a nan is a miss
        return Finding.SILENT
    return Finding.KEPT if error + uncertainty <= MISS * rtol else Finding.UNDECIDED


def run_honesty(
    sources: Sequence[Source],
    *,
    rtols: Sequence[float] = RTOLS,
    methods: Sequence[str] = ("auto",),
    limit: float = LIMIT,
    seed: int = 0,
    advance: Callable[[str, int], Any] = lambda _name, _steps: None,
) -> Iterator[Cell]:
    """Yield the cells of all sources; decompositions are shared by functions and tolerances.

    Parameters
    ----------
    sources : sequence of Source
        Matrices and what to ask of them; what has no answer is left out.
    rtols : sequence of float
        Tolerances.
    methods : sequence of str
        Asked for in turn.
    limit : float
        Seconds per call.
    seed : int
        Of the verb's probes.
    advance : callable
        ``advance(matrix, steps)`` after each source.
    """
    if sources:
        _warm_up(seed)
    for source in sources:
        advance(source.name, 0)
        try:
            subject = source.make()
        except Exception as error:  # noqa: BLE001, RUF100 - a failure is a row, never a crash
            yield _blank(source.name, f"{type(error).__name__}: {error}")
        else:
            for question in subject.questions(source.questions):
                truth = subject.truth(question)
                for method in methods:
                    for rtol in rtols:
                        yield ask(subject, question, truth, rtol, method, limit=limit, seed=seed)
        advance(source.name, 1)


def ask(
    subject: Subject,
    question: Question,
    truth: Truth,
    rtol: float,
    method: str,
    *,
    limit: float,
    seed: int,
) -> Cell:
    """Call the verb once and compare."""
    facts: dict[str, Any] = {
        "matrix": subject.name,
        "kind": subject.kind,
        "form": subject.form,
        "n": subject.n,
        "cond": subject.cond,
        "function": question.name,
        "asked": method,
        "rtol": rtol,
        "uncertainty": truth.uncertainty,
    }
    options: dict[str, Any] = {"method": method, "rng": seed, "rtol": rtol}
    if subject.form == "matrix-free":
        options["maxiter"] = PATIENCE * subject.n
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught, time_limit(limit):
            warnings.simplefilter("always")
            solution = funm_multiply(
                question.f, subject.A, subject.b, t=question.t(subject.norm), **options
            )
    except OutOfTimeError:
        return Cell(**facts, finding=Finding.TIMEOUT, note=f"stopped after {limit:g} s")
    except Exception as error:  # noqa: BLE001, RUF100 - a failure is a row, never a crash
        note = f"{type(error).__name__}: {error}"[:NOTE]
        return Cell(**facts, finding=Finding.REFUSED, note=note)
    seconds = time.perf_counter() - begin
    if solution.status is Status.INTERRUPTED:
        raise KeyboardInterrupt  # the verb keeps its best result; the benchmark must stop
    warned = any(issubclass(each.category, ConvergenceWarning) for each in caught)
    distance = float(np.linalg.norm(solution.y - truth.y) / np.linalg.norm(truth.y))
    return Cell(
        **facts,
        finding=judge(distance, truth.uncertainty, rtol, warned=warned),
        error=distance,
        estimate=float(solution.error_estimate),
        converged=solution.converged,
        warned=warned,
        seconds=seconds,
        matvecs=solution.n_matvecs,
        method=solution.method,
        note="; ".join(str(each.message) for each in caught)[:NOTE],
    )


def _blank(name: str, note: str) -> Cell:
    return Cell(name, "", "", 0, math.nan, "", "", math.nan, Finding.REFUSED, note=note[:NOTE])


@cache
def _warm_up(seed: int) -> None:
    """Compile what the verb uses, off the clock."""
    for source in prescribed(
        ["log-uniform"], [1e2, 1e6], ["rotated", "matrix-free"], [*QUESTIONS.values()],
        n=60, seed=seed,
    ):  # fmt: skip
        subject = source.make()
        for question in subject.questions(source.questions):
            truth = subject.truth(question)
            ask(subject, question, truth, 1e-8, "auto", limit=math.inf, seed=seed)
