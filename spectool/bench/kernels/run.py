"""Times of every format, precision, degree and block width, beside scipy and the memory's roof.

All jobs of one matrix, degree and width, in both precisions, take turns in one process, so that a
noisy moment hits them alike; medians are kept. Every result is compared with scipy's double
precision chain inside: a wrong one fails the matrix.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from spectool._types import Array
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import MIN_FILL, Execution, Layout, choose
from spectool.backends.layout import FORMAT_NAMES, fits, permuted
from spectool.bench.kernels.cases import BEYOND_CACHE, SEED, Case, polynomial, scipy_chain
from spectool.bench.kernels.records import (
    ALONE,
    AUTOMATIC,
    BLOCKED,
    CHAIN,
    FAILED,
    ONE_VECTOR,
    PRODUCT,
    SCIPY,
    KernelRun,
    Roof,
    Timing,
)
from spectool.bench.machine import describe
from spectool.errors import InputError
from spectool.kernels.stream import read, triad
from spectool.kernels.team import available_threads
from spectool.polynomials import Recurrence

DTYPES = ("float64", "float32")
TOLERANCE = {"float64": 1e-12, "float32": 1e-3}
PRODUCTS = 1_000
"""Products that the automatic plan is told to expect: conversions are repaid, reordering is not."""
STREAM = 16_000_000
"""Values per vector of the bandwidth measurement, 128 MB: beyond every cache."""
SECONDS = 0.4
"""Of samples per job; all matrices then take some minutes."""
MOST_ROUNDS, LEAST_ROUNDS, LEAST_LONG_ROUNDS = 40, 5, 3
LONG = 4.0
"""Seconds of a round from which three of them must do."""
QUICK = 0.02
"""Calls of under this many seconds find the cache as their own last call left it."""


class WrongResultError(ArithmeticError):
    """A kernel disagrees with scipy, or with itself."""


def run_kernels(
    cases: Sequence[Case],
    *,
    degrees: Sequence[int] = (16,),
    widths: Sequence[int] = (1, 8),
    seconds: float = SECONDS,
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
    fitting = {fit.format for fit in fits(B) if fit.fill >= MIN_FILL[fit.format]}
    forced: list[Layout] = []
    for name in sorted(fitting, key=FORMAT_NAMES.index):  # CSR first
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
        first, *later = [_seconds(partial(backend.apply, p, x)) for _ in range(4)]
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
    plan = backend.report.format if width is None else "csr"  # blocks run over compressed rows
    return Executed(plan, -(-degree // passes), together.parts)


# --- jobs ------------------------------------------------------------------------------------


class _Job(NamedTuple):
    """Something to be timed, and the timings that wait for its seconds: one plan, many names."""

    call: Callable[[], Array]
    timings: list[Timing]


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
            values = A.data.astype(dtype)
            cast = sp.csr_array((values, A.indices, A.indptr), shape=A.shape)
            plans[dtype] = _plans(cast, case, max(degrees))
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
        for timing in job.timings:
            yield replace(timing, seconds=statistics.median(samples), samples=tuple(samples))


def _jobs(plan: _Plans, p: Recurrence, X: Array, blank: Timing) -> list[_Job]:
    """Return scipy's chain, all plans, their products, and one vector beside a block."""
    A, degree, columns = plan.A, blank.degree, blank.columns
    scipy_jobs: dict[str, tuple[Callable[[], Array], int]] = {
        SCIPY: (partial(scipy_chain, A, p, X), degree * columns),
        PRODUCT + SCIPY: (lambda: np.asarray(A @ X), columns),
    }
    jobs = [
        _Job(call, [replace(blank, job=name, products=products)])
        for name, (call, products) in scipy_jobs.items()
    ]
    known: dict[Any, _Job] = {}
    names: set[str] = set()

    def add(
        layout: Layout,
        prefix: str,
        name: str = "",
        suffix: str = "",
        threads: int | None = None,
        **extra: Any,
    ) -> None:
        backend = CpuBackend(A, execution=Execution(threads=threads), layout=layout)
        single = suffix == ONE_VECTOR
        x = np.ascontiguousarray(X[:, 0]) if single else X
        width, steps = (1 if single else columns), (1 if prefix == PRODUCT else degree)
        how = executed(backend, width, steps)
        name = prefix + (name or how.name) + suffix
        if name in names:
            return
        names.add(name)
        apply = partial(backend.apply, p, x) if prefix == CHAIN else partial(backend.matmul, x)
        job = known.setdefault((prefix, single, how), _Job(apply, []))
        timing = replace(blank, job=name, products=steps * width, **how._asdict(), **extra)
        job.timings.append(timing)

    for layout in plan.forced:
        add(layout, CHAIN)
        add(layout, PRODUCT)
    csr, chosen = plan.forced[0], plan.automatic
    add(chosen, CHAIN, AUTOMATIC, setup_seconds=plan.setup_seconds, note=chosen.report.reason)
    add(chosen, CHAIN, AUTOMATIC, ALONE, threads=1)
    add(csr, PRODUCT, suffix=ALONE, threads=1)
    if columns > 1:
        add(csr, CHAIN, suffix=ONE_VECTOR)
        add(chosen, CHAIN, AUTOMATIC, ONE_VECTOR)
    return [*jobs, *known.values()]


def _checked(jobs: Sequence[_Job], truths: Mapping[str, Array]) -> Iterator[_Job]:
    """Run each job once, and yield it with its error; raise WrongResultError if it is large."""
    digests: dict[str, bytes] = {}
    for job in jobs:
        first = job.timings[0]
        if (first.job, first.dtype) == (SCIPY, "float64"):
            yield _Job(job.call, [replace(first, error=0.0)])  # is the truth itself
            continue
        y = job.call()
        truth = truths[PRODUCT if first.job.startswith(PRODUCT) else CHAIN]
        if y.ndim < truth.ndim:
            truth = truth[:, 0]
        error = float(np.linalg.norm(y - truth) / np.linalg.norm(truth))
        allowed = TOLERANCE[first.dtype]
        if SCIPY not in first.job and not error <= allowed:
            raise WrongResultError(
                f"{first.job}, {first.dtype}, degree {first.degree}, {first.columns} columns is "
                f"off by {error:.1e}; {allowed:.0e} is allowed."
            )
        for timing in job.timings:
            if timing.job in (AUTOMATIC, AUTOMATIC + ALONE):
                digests[timing.job] = hashlib.blake2b(y.tobytes()).digest()
        yield _Job(job.call, [replace(timing, error=error) for timing in job.timings])
    if len(set(digests.values())) > 1:
        raise WrongResultError(f"{first.dtype}: one thread and all threads differ in some bit.")


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def interleaved(calls: Sequence[Callable[[], Any]], seconds: float) -> list[list[float]]:
    """Return times of each call; they take turns for about ``seconds`` each.

    Short calls are made once more, untimed, before each sample, so that they find in cache what
    they left there.
    """
    samples: list[list[float]] = [[] for _ in calls]
    begin = time.perf_counter()
    for turn in range(1, MOST_ROUNDS + 1):
        for call, times in zip(calls, samples, strict=True):
            if times and times[-1] < QUICK:
                call()
            times.append(_seconds(call))
        elapsed = time.perf_counter() - begin
        least = LEAST_LONG_ROUNDS if elapsed > LONG * turn else LEAST_ROUNDS
        if turn >= least and elapsed >= seconds * len(calls):
            break
    return samples
