"""Many right-hand sides at once, and little memory, at a million unknowns.

How memory is measured
    ``tracemalloc`` counts what NumPy allocates, A and b apart, while the verb runs; it slows a call
    by some microseconds per array, which nobody sees at this size. Memory of kernels and of LAPACK
    is not seen; ours allocate nothing.
"""

from __future__ import annotations

import inspect
import math
import re
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from spectool import gallery
from spectool._types import Array
from spectool.bench.funm.cases import QUESTIONS, Question, norm2
from spectool.bench.measure import NOTE, OutOfTimeError, time_limit
from spectool.bench.problems import Eigenbasis, sine_basis
from spectool.bench.records import SLACK, finite
from spectool.functions import funm_multiply
from spectool.results import FunctionSolution, Status
from spectool.spectrum import estimate_spectrum

RTOL = 1e-6
COLUMNS, SINGLES = 16, 3
"""Right-hand sides at once; how many of them are also timed one by one."""
FRACTION = 0.1
"""Of the plain run's basis that the frugal run may hold."""
LIMIT = 120.0
"""Seconds per call."""


class LargeCase(NamedTuple):
    """A matrix, what to ask of it, and how it is made."""

    name: str
    make: Callable[[], Any]
    eigenbasis: Eigenbasis | None
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LargeRow:
    """One function of one large matrix.

    Attributes
    ----------
    matrix, function : str
        Names.
    n, columns : int
        Rows, and right-hand sides at once.
    rtol : float
        Tolerance.
    single_seconds : float
        Median of calls with one right-hand side.
    block_seconds : float
        Of the call with all of them.
    single_matvecs, block_matvecs : int
        All products with A.
    single_method, block_method : str
        What was executed.
    error : float
        True error, the worst column of the block; nan without a reference.
    difference : float
        Between the block's columns and the single answers, the worst.
    single_bytes, block_bytes : int
        Peak memory of the calls.
    basis_bytes : int
        What the steps of the single run would take if all vectors were kept: 8 n per step.
    max_memory : int
        What the frugal run was allowed; 0 if the verb has no such option.
    frugal_seconds, frugal_error, frugal_bytes : float, float, int
        Of that run; the error is the difference from the plain answer without a reference.
    frugal_method : str
        What it executed.
    converged : bool
        Whether all calls say so.
    note : str
        What went wrong.
    """

    matrix: str
    function: str
    n: int
    columns: int
    rtol: float
    single_seconds: float = math.nan
    block_seconds: float = math.nan
    single_matvecs: int = 0
    block_matvecs: int = 0
    single_method: str = ""
    block_method: str = ""
    error: float = math.nan
    difference: float = math.nan
    single_bytes: int = 0
    block_bytes: int = 0
    basis_bytes: int = 0
    max_memory: int = 0
    frugal_seconds: float = math.nan
    frugal_error: float = math.nan
    frugal_bytes: int = 0
    frugal_method: str = ""
    converged: bool = True
    note: str = ""

    @property
    def gain(self) -> float:
        """How many times cheaper a vector of the block is."""
        return self.columns * self.single_seconds / self.block_seconds

    @property
    def frugal_kept(self) -> bool:
        """Whether the frugal run met the tolerance."""
        return self.frugal_error <= SLACK * self.rtol

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict; numbers that are not finite become None."""
        return {entry.name: finite(getattr(self, entry.name)) for entry in fields(self)}


def large_cases(tables: Sequence[dict[str, Any]]) -> tuple[LargeCase, ...]:
    """Return the ``[[large]]`` entries of the suite: a function of the gallery and its shape."""
    cases = []
    for table in tables:
        arguments = dict(table)
        name, make = arguments.pop("name"), getattr(gallery, arguments.pop("make"))
        questions = tuple(QUESTIONS[each] for each in arguments.pop("questions"))
        basis = sine_basis(tuple(arguments["shape"])) if make is gallery.poisson else None
        cases.append(LargeCase(name, _made(make, arguments), basis, questions))
    return tuple(cases)


def _made(make: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[], Any]:
    return lambda: make(**arguments)


class _Measured(NamedTuple):
    """One call."""

    solution: FunctionSolution
    seconds: float
    n_bytes: int


def run_large(
    cases: Sequence[LargeCase],
    *,
    columns: int = COLUMNS,
    limit: float = LIMIT,
    seed: int = 0,
    advance: Callable[[str, int], Any] = lambda _name, _steps: None,
) -> Iterator[LargeRow]:
    """Yield one row per matrix and function.

    Parameters
    ----------
    cases : sequence of LargeCase
        Matrices and functions.
    columns : int
        Right-hand sides at once.
    limit : float
        Seconds per call.
    seed : int
        Draws b, and seeds the verb's probes.
    advance : callable
        ``advance(matrix, steps)`` after each function.
    """
    for case in cases:
        advance(case.name, 0)
        A = case.make()
        B = np.random.default_rng(seed).standard_normal((A.shape[0], columns))
        norm = estimate_spectrum(A, rng=seed).interval[1]
        for question in case.questions:
            blank = LargeRow(case.name, question.name, A.shape[0], columns, RTOL)
            yield _row(blank, case, question, A, B, norm, limit=limit, seed=seed)
            advance(case.name, 1)


def _row(
    row: LargeRow,
    case: LargeCase,
    question: Question,
    A: Any,
    B: Array,
    norm: float,
    *,
    limit: float,
    seed: int,
) -> LargeRow:
    t = question.t(norm)

    def call(b: Array, **options: Any) -> _Measured:
        return _measured(
            lambda: funm_multiply(question.f, A, b, t=t, rtol=RTOL, rng=seed, **options), limit
        )

    notes: list[str] = []
    try:
        _measured(  # compiles, and finds the costs of this matrix's formats
            lambda: funm_multiply(question.f, A, B[:, :2].copy(), t=t, rtol=0.1, rng=seed), limit
        )
        # Single calls lie around the block, so that a noisy moment is not one side's alone.
        singles = [call(B[:, 0].copy())]
        first = singles[0].solution
        basis = 8 * row.n * _steps(first)
        row = replace(
            row,
            single_seconds=singles[0].seconds,
            single_matvecs=first.n_matvecs,
            single_method=first.method,
            single_bytes=singles[0].n_bytes,
            basis_bytes=basis,
            converged=first.converged,
        )
        block = call(B)
        singles += [call(B[:, j].copy()) for j in range(1, min(SINGLES, row.columns))]
        answers = [single.solution.y for single in singles]
        if case.eigenbasis is not None:
            truths = [
                case.eigenbasis(lambda lam: question.values(t * lam), B[:, j])
                for j in range(len(answers))
            ]
        else:
            truths = []
        row = replace(
            row,
            single_seconds=statistics.median(single.seconds for single in singles),
            block_seconds=block.seconds,
            block_matvecs=block.solution.n_matvecs,
            block_method=block.solution.method,
            block_bytes=block.n_bytes,
            difference=_worst(block.solution.y, answers),
            error=_worst(block.solution.y, truths),
            converged=all(each.solution.converged for each in (*singles, block)),
        )
        del block, singles
        if "max_memory" in inspect.signature(funm_multiply).parameters:
            allowed = int(FRACTION * basis)
            frugal = call(B[:, 0].copy(), max_memory=allowed)
            row = replace(
                row,
                max_memory=allowed,
                frugal_seconds=frugal.seconds,
                frugal_error=_distance(frugal.solution.y, (truths or answers)[0]),
                frugal_bytes=frugal.n_bytes,
                frugal_method=frugal.solution.method,
                converged=row.converged and frugal.solution.converged,
            )
        else:
            notes.append("the verb has no max_memory")
    except OutOfTimeError:
        notes.append(f"stopped after {limit:g} s")
    except Exception as error:  # noqa: BLE001, RUF100 - a failure is a row, never a crash
        notes.append(f"{type(error).__name__}: {error}")
    return replace(row, note="; ".join(notes)[:NOTE])


def _measured(call: Callable[[], FunctionSolution], limit: float) -> _Measured:
    tracemalloc.start()
    try:
        with warnings.catch_warnings(), time_limit(limit):
            warnings.simplefilter("ignore")  # the row says whether all converged
            begin = time.perf_counter()
            solution = call()
            seconds = time.perf_counter() - begin
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if solution.status is Status.INTERRUPTED:
        raise KeyboardInterrupt  # the verb keeps its best result; the benchmark must stop
    return _Measured(solution, seconds, peak)


def _steps(solution: FunctionSolution) -> int:
    """Return the steps that a method names, or all products."""
    found = re.search(r"(\d+) steps", solution.method)
    return int(found[1]) if found else solution.n_matvecs


def _worst(Y: Array, truths: Sequence[Array]) -> float:
    """Return the largest distance of the first columns; nan without a truth."""
    return max((_distance(Y[:, j], y) for j, y in enumerate(truths)), default=math.nan)


def _distance(y: Array, true: Array) -> float:
    return norm2(y - true) / norm2(true)
