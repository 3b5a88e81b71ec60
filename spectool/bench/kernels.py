"""Times of every format, precision, degree and block width, beside scipy and the memory's roof.

All jobs of one matrix, degree and width, in both precisions, take turns in one process, so that a
noisy moment hits them alike; medians are kept. Every result is compared with scipy's double
precision chain inside: a wrong one fails the matrix.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from spectool._types import Array
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import MIN_FILL, Execution, Layout, choose
from spectool.backends.layout import fits, permuted
from spectool.bench.kernel_cases import BEYOND_CACHE, SEED, Case, polynomial, scipy_chain
from spectool.bench.machine import Machine, describe
from spectool.bench.records import finite, write_jsonl
from spectool.errors import InputError
from spectool.kernels.stream import read, triad
from spectool.kernels.team import available_threads
from spectool.polynomials import Recurrence

DEGREES = (4, 8, 16, 32)
DTYPES = ("float64", "float32")
TOLERANCE = {"float64": 1e-12, "float32": 1e-3}
PRODUCTS = 1_000
"""Products that the automatic plan is told to expect: conversions are repaid, reordering is not."""
STREAM = 16_000_000
"""Values per vector of the bandwidth measurement, 128 MB: beyond every cache."""
MOST_ROUNDS, LEAST_ROUNDS, LEAST_LONG_ROUNDS = 40, 5, 3
LONG = 4.0
"""Seconds of a round from which three of them must do."""
QUICK = 0.02
"""Calls of under this many seconds find the cache as their own last call left it."""

SCIPY, AUTOMATIC, FAILED = "scipy", "automatic", "failed"
ALONE, BLOCKED, ONE_VECTOR, PRODUCT = ", 1 thread", " blocked", ", one vector", "A @ x, "


class WrongResultError(ArithmeticError):
    """A kernel disagrees with scipy."""


@dataclass(frozen=True, slots=True)
class Roof:
    """Bandwidth of memory, GB/s, best of several passes beyond every cache.

    Attributes
    ----------
    triad_alone, triad : float
        ``a <- b + s c`` on one and on all threads, 24 bytes per element.
    read_alone, read : float
        A sum over one vector, 8 bytes per element.
    threads : int
        All threads.
    """

    triad_alone: float
    triad: float
    read_alone: float
    read: float
    threads: int


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """One job on one matrix.

    Attributes
    ----------
    matrix : str
        Name.
    n, nnz : int
        Size and stored entries.
    large : bool
        Whether its CSR form is beyond the cache, so that the bars apply.
    reordered : bool
        Whether our plans could renumber rows.
    dtype : str
        Of values and vectors.
    degree, columns : int
        Of the chain, and of its block of vectors (1 is a vector).
    job : str
        Who did what, as in ``"scipy"``, ``"sell blocked"``, ``"automatic"``, ``"A @ x, csr"``.
    products : int
        Products with one vector that it comes to.
    plan : str
        Format that was executed; empty for scipy.
    depth : int
        Steps per pass.
    threads : int
        Most threads.
    seconds : float
        Median; nan if it failed.
    samples : tuple of float
        All times, in order.
    error : float
        Relative distance to scipy's float64 result, 2-norm.
    setup_seconds : float
        Automatic plan only: choosing and converting, and what the first application adds.
    note : str
        Why the plan was chosen, or what failed.
    """

    matrix: str
    n: int
    nnz: int
    large: bool
    reordered: bool
    dtype: str
    degree: int
    columns: int
    job: str
    products: int = 0
    plan: str = ""
    depth: int = 1
    threads: int = 1
    seconds: float = math.nan
    samples: tuple[float, ...] = ()
    error: float = math.nan
    setup_seconds: float = math.nan
    note: str = ""

    @property
    def flops(self) -> float:
        """Multiplications and additions per second."""
        return 2.0 * self.nnz * self.products / self.seconds

    @property
    def intensity(self) -> float:
        """Operations per byte that CSR products must move: 12 (8) per entry, 20 (12) per row."""
        return 2.0 * self.nnz * self._width / self._bytes_per_pass

    def bound(self, bandwidth: float) -> float:
        """Return the seconds in which unblocked CSR could do it at so many GB/s."""
        return self.products / self._width * self._bytes_per_pass / (1e9 * bandwidth)

    @property
    def _width(self) -> int:
        return 1 if self.job.endswith(ONE_VECTOR) else self.columns

    @property
    def _bytes_per_pass(self) -> float:
        size = np.dtype(self.dtype).itemsize
        return (size + 4.0) * self.nnz + (4.0 + 2.0 * size * self._width) * self.n

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict; numbers that are not finite become None."""
        return {entry.name: finite(getattr(self, entry.name)) for entry in fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class KernelRun:
    """What the kernel benchmark brought.

    Attributes
    ----------
    machine : Machine
        Where.
    roof : Roof
        What its memory can do.
    timings : tuple of Timing
        In the order of measurement; a matrix that failed has one called ``"failed"``.
    seconds : float
        Wall-clock time of everything.
    interrupted : bool
        Whether Ctrl-C cut it short.
    """

    machine: Machine
    roof: Roof
    timings: tuple[Timing, ...]
    seconds: float
    interrupted: bool

    def write_jsonl(self, path: Path) -> None:
        """Write one record per timing."""
        context = {
            "suite": "kernels",
            "seed": SEED,
            "machine": self.machine.as_record(),
            "roof": asdict(self.roof),
        }
        write_jsonl(path, self.timings, context)


def run_kernels(
    cases: Sequence[Case],
    *,
    degrees: Sequence[int] = (16,),
    widths: Sequence[int] = (1, 8),
    seconds: float = 0.5,
    stream: int = STREAM,
    advance: Callable[[str, int], Any] = lambda _name, _steps: None,
) -> KernelRun:
    """Measure all plans on all matrices.

    Parameters
    ----------
    cases : sequence of Case
        Matrices.
    degrees, widths : sequence of int
        Degrees of the polynomial and columns of the block, at least 1.
    seconds : float
        Of samples per job; at least 5 are taken, 3 where a round of all jobs is long.
    stream : int
        Values per vector of the bandwidth measurement.
    advance : callable
        ``advance(matrix, steps)`` moves a progress bar that counts `n_steps`.

    Returns
    -------
    KernelRun
        What was finished before Ctrl-C, if that came.

    Raises
    ------
    InputError
        If a degree or a width is below 1, or seconds is negative.
    """
    for name, values in (("degrees", degrees), ("widths", widths)):
        if not values or min(values) < 1:
            raise InputError(f"{name} must be integers of at least 1; got {list(values)}.")
    if not seconds >= 0:
        raise InputError(f"seconds must not be negative; got {seconds}.")
    begin = time.perf_counter()
    machine, roof = describe(), measure_roof(stream)
    timings: list[Timing] = []
    interrupted = False
    done = 0
    try:
        for number, case in enumerate(cases, start=1):
            advance(case.name, 0)
            for timing in _measured(case, degrees, widths, seconds):
                if isinstance(timing, Timing):
                    timings.append(timing)
                else:
                    done += 1
                    advance(case.name, 1)
            steps = number * n_steps(cases[:1], degrees, widths) - done  # left out by a failure
            done += steps
            advance(case.name, steps)
    except KeyboardInterrupt:
        interrupted = True
    return KernelRun(machine, roof, tuple(timings), time.perf_counter() - begin, interrupted)


def n_steps(cases: Sequence[Case], degrees: Sequence[int], widths: Sequence[int]) -> int:
    """Return how many steps `run_kernels` reports to ``advance``."""
    return len(cases) * (1 + len(DTYPES) + len(degrees) * len(widths))


def measure_roof(size: int = STREAM) -> Roof:
    """Measure the bandwidth of passes over vectors of ``size`` values."""
    a, b, c = np.zeros(size), np.ones(size), np.ones(size)
    threads = available_threads()
    passes: dict[str, tuple[Any, tuple[Any, ...], int]] = {
        "triad": (triad, (a, b, c, 3.0), 24),
        "read": (read, (b,), 8),
    }
    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, (function, arguments, n_bytes) in passes.items():
            for suffix, parts in (("_alone", 1), ("", threads)):
                ends = [size * k // parts for k in range(parts + 1)]
                best = math.inf
                for _ in range(10):
                    begin = time.perf_counter()
                    futures = [
                        pool.submit(function, *arguments, *ends[k : k + 2]) for k in range(parts)
                    ]
                    for future in futures:
                        future.result()
                    best = min(best, time.perf_counter() - begin)
                found[name + suffix] = n_bytes * size / best / 1e9
    return Roof(**found, threads=threads)


# --- plans -----------------------------------------------------------------------------------


class _Plans(NamedTuple):
    """The layouts of one matrix in one precision: forced ones, and the one chosen."""

    A: sp.csr_array
    forced: tuple[Layout, ...]
    automatic: Layout
    setup_seconds: float


def _plans(A: sp.csr_array, case: Case, degree: int) -> _Plans:
    """Lay A out in every format that suits it, unblocked and as deep as the guard allows."""
    free = Execution(reorder=True if case.reorder else None)
    order = choose(A, free, PRODUCTS).order  # compiles; the timed choice follows
    B = A if order is None else permuted(A, order)
    names = dict.fromkeys(fit.format for fit in fits(B) if fit.fill >= MIN_FILL[fit.format])
    forced: list[Layout] = []
    for name in names:
        deep = choose(B, Execution(format=name, reorder=False), PRODUCTS)._replace(order=order)
        forced.append(deep._replace(depth=1))
        if deep.depth > 1:
            forced.append(deep)
    seconds, chosen = _set_up(A, free, polynomial(A, degree))
    for layout in forced:  # the same plan again would only take memory
        if (layout.report.format, layout.depth) == (chosen.report.format, chosen.depth):
            chosen = layout._replace(report=chosen.report)
    return _Plans(A, tuple(forced), chosen, seconds)


def _set_up(A: sp.csr_array, free: Execution, p: Recurrence) -> tuple[float, Layout]:
    """Return the seconds between A and its automatic plan, schedule included, and the plan.

    The least of two attempts; one if it takes over a second.
    """
    x = np.ones(A.shape[0], dtype=A.dtype)
    least = math.inf
    for _ in range(2):
        begin = time.perf_counter()
        layout = choose(A, free, PRODUCTS)
        seconds = time.perf_counter() - begin
        backend = CpuBackend(A, layout=layout)
        first, *later = [_seconds(lambda b=backend: b.apply(p, x)) for _ in range(4)]
        least = min(least, seconds + max(first - statistics.median(later), 0.0))
        if seconds > 1.0:
            break
    return least, layout


class Executed(NamedTuple):
    """What one application amounts to.

    Attributes
    ----------
    plan : str
        Format; blocks of vectors may run over another than one vector does.
    depth, threads : int
        Steps per pass, and threads, that it really takes.
    """

    plan: str
    depth: int
    threads: int

    @property
    def name(self) -> str:
        """Of the job: the format without its size, and whether it is blocked."""
        return self.plan.split()[0] + (BLOCKED if self.depth > 1 else "")


def executed(backend: CpuBackend, columns: int, degree: int) -> Executed:
    """Return how the backend applies a recurrence of this degree to so many columns."""
    width = None if columns == 1 else columns
    together, _ = backend._plan(width, degree, columns * backend.nnz * degree)
    passes = -(-degree // together.depth)
    compressed = isinstance(backend._matrix(width), Csr | LongCsr)
    plan = "csr" if compressed else backend.report.format
    return Executed(plan, -(-degree // passes), together.parts)


# --- jobs ------------------------------------------------------------------------------------


class _Job(NamedTuple):
    """Something to be timed, and the timing that waits for its seconds."""

    call: Callable[[], Array]
    timing: Timing


def _measured(
    case: Case, degrees: Sequence[int], widths: Sequence[int], seconds: float
) -> Iterator[Timing | None]:
    """Yield the timings of one matrix, and None for every step done. Failures are timings."""
    blank = Timing(case.name, 0, 0, False, case.reorder, "float64", degrees[0], 1, FAILED)
    try:
        A = case.make()
        n_bytes = 12 * A.nnz + 4 * A.shape[0]
        blank = replace(blank, n=A.shape[0], nnz=A.nnz, large=n_bytes >= BEYOND_CACHE)
        yield None
        plans = {}
        for dtype in DTYPES:
            plans[dtype] = _plans(A.astype(dtype), case, max(degrees))
            yield None
        for degree in degrees:
            for columns in widths:
                group = replace(blank, degree=degree, columns=columns)
                yield from _group(group, plans, seconds)
                yield None
    except Exception as error:  # noqa: BLE001, RUF100 - a failure is a row, never a crash
        yield replace(blank, note=f"{type(error).__name__}: {error}")


def _group(blank: Timing, plans: Mapping[str, _Plans], seconds: float) -> Iterator[Timing]:
    """Yield the timings of all jobs of one degree and width."""
    A = plans["float64"].A
    p = polynomial(A, blank.degree)
    shape = A.shape[0] if blank.columns == 1 else (A.shape[0], blank.columns)
    X = np.random.default_rng(SEED).standard_normal(shape)
    truths = {PRODUCT: A @ X, CHAIN: scipy_chain(A, p, X)}
    jobs: list[_Job] = []
    for dtype, plan in plans.items():
        mine = _jobs(plan, p, X.astype(dtype), replace(blank, dtype=dtype))
        jobs += _checked(mine, truths)
    del truths
    for job, samples in zip(jobs, interleaved([job.call for job in jobs], seconds), strict=True):
        yield replace(job.timing, seconds=statistics.median(samples), samples=tuple(samples))


def _jobs(plan: _Plans, p: Recurrence, X: Array, blank: Timing) -> dict[str, _Job]:
    """Return scipy's chain, all plans, their products, and one vector beside a block."""
    A, degree, columns = plan.A, blank.degree, blank.columns
    jobs: dict[str, _Job] = {}

    def add(name: str, call: Callable[[], Array], products: int, **known: Any) -> None:
        jobs[name] = _Job(call, replace(blank, job=name, products=products, **known))

    add(SCIPY, lambda: scipy_chain(A, p, X), degree * columns)
    add(PRODUCT + SCIPY, lambda: A @ X, columns)

    def chain(layout: Layout, name: str = "", x: Array = X, threads: int | None = None) -> None:
        backend = CpuBackend(A, execution=Execution(threads=threads), layout=layout)
        width = 1 if x.ndim == 1 else columns
        how = executed(backend, width, degree)
        if (name or how.name) not in jobs:
            call = lambda: backend.apply(p, x)  # noqa: E731
            add(name or how.name, call, degree * width, **how._asdict())

    def product(layout: Layout, suffix: str = "", threads: int | None = None) -> None:
        backend = CpuBackend(A, execution=Execution(threads=threads), layout=layout)
        how = executed(backend, columns, 1)
        if PRODUCT + how.name + suffix not in jobs:
            call = lambda: backend.matmul(X)  # noqa: E731
            add(PRODUCT + how.name + suffix, call, columns, **how._asdict())

    for layout in plan.forced:
        chain(layout)
        product(layout)
    chain(plan.automatic, AUTOMATIC)
    chain(plan.automatic, AUTOMATIC + ALONE, threads=1)
    product(plan.forced[0], ALONE, threads=1)
    if columns > 1:
        x = np.ascontiguousarray(X[:, 0])
        chain(plan.forced[0], "csr" + ONE_VECTOR, x)
        chain(plan.automatic, AUTOMATIC + ONE_VECTOR, x)
    return jobs
