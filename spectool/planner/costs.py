"""What operations cost on this machine: measured once, kept in the user's cache.

The model is affine in the work of a pass, ``entries + 4 rows``, and in the vector length. It only
has to rank designs; an operator that is no CSR matrix is timed itself instead. What an application
takes beside its steps decides between degrees: measured back to back, without the passes of a
solver between, it was half of what it is.
"""

from __future__ import annotations

import json
import logging
import operator
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import platformdirs
import scipy.sparse as sp
from scipy.sparse.linalg import cg

from spectool._types import FloatArray
from spectool.backends.cpu import SERIAL_BELOW, CpuBackend
from spectool.backends.execution import Execution
from spectool.kernels.schedule import ROW_WORK
from spectool.operators import Operator, PolynomialOperator
from spectool.polynomials import chebyshev_inverse
from spectool.results import ExecutionReport

_log = logging.getLogger("spectool")
SMALL, CACHED, MEMORY = 400, 120_000, 600_000
"""Rows of the calibration matrices, seven entries each: one thread's cache, all caches, beyond."""
MIDDLE = 20_000
"""Rows from which threads share an application, and hardly anything else takes time."""
DEGREES = {SMALL: (8, 32), MIDDLE: (8, 32), CACHED: (4, 16), MEMORY: (2, 8)}
"""Degrees whose applications are timed: the difference is that of steps, the rest the call."""
APPLICATIONS = {SMALL: 75, MIDDLE: 25, CACHED: 15, MEMORY: 5}
"""Of which the median counts: helpers wake late more often than not, and users wait for them."""
VARIANTS = {"csr": "csr", "sell": "sell", "dia": "dia", "bsr": "csr", "half": "csr"}
"""Formats whose measured rates price a format: what blocks and halves gain is the pattern's."""
VECTORS = 6
"""Vector operations of an iteration of scipy's cg: 3 reductions, 3 axpys."""
SEED, LOOPS = 662_607_015, 40
CACHE_BYTES = 24 * 2**20
"""Matrix and vectors beyond which memory sets the pace."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds of scipy's product per ``entries + 4 rows``, of axpys per row."""

    product: float
    vector: float


@dataclass(frozen=True, slots=True)
class StepRates:
    """What applications of a recurrence cost in one format and precision, in seconds.

    Inside scipy's cg, where other arrays have passed the caches and helpers have fallen asleep.

    Attributes
    ----------
    alone, cached, memory : float
        A fused step per ``entries + 4 rows``, with one thread; with as many as pay, inside the
        caches; outside them.
    call, wake : float
        One application in a LinearOperator; what it takes longer where threads share it.
    row, far_row : float
        Its first and last passes per row, inside and outside the caches.
    """

    alone: float
    cached: float
    memory: float
    call: float
    wake: float = 0.0
    row: float = 0.0
    far_row: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What scipy's operations cost on one machine, in seconds.

    Attributes
    ----------
    product_call, vector_call : float
        Overhead of ``A @ x`` and of the loop around it; of one NumPy operation.
    cached, memory : Rates
        Inside and outside the caches.
    """

    product_call: float
    vector_call: float
    cached: Rates
    memory: Rates


@dataclass(frozen=True, slots=True)
class OperatorCosts:
    """Seconds of each operation with one operator.

    Attributes
    ----------
    product : float
        One ``A @ x`` as scipy's solvers call it.
    call : float
        What an application of a recurrence takes beside its steps, inside a LinearOperator.
    step_small, step_large : float
        One degree more, with one thread and with the team.
    vector : float
        One vector operation (dot or axpy).
    threshold : float
        Degree from which the team works.
    wake : float
        What a call takes longer then.
    bare : float, optional
        An application of degree 0; a vector operation by default.
    """

    product: float
    call: float
    step_small: float
    step_large: float
    vector: float
    threshold: float
    wake: float = 0.0
    bare: float | None = None

    def application(self, degree: int) -> float:
        """Seconds of one ``p(A) x``."""
        if not degree:
            return self.vector if self.bare is None else self.bare
        if degree < self.threshold:
            return self.call + degree * self.step_small
        return self.call + self.wake + degree * self.step_large

    def cg_iteration(self, degree: int) -> float:
        """Seconds of one iteration of scipy's cg: a product, 3 reductions, 3 axpys, one M."""
        return self.product + VECTORS * self.vector + self.application(degree)

    def minres_iteration(self, degree: int) -> float:
        """Seconds of one iteration of scipy's minres: a product, 3 reductions, 8 axpys, one M."""
        return self.product + 11 * self.vector + self.application(degree)


def operator_costs(A: Operator, laid_out: Operator | None = None) -> OperatorCosts:
    """Price one operator: by the machine's rates, or where A is no CSR matrix by one timed product.

    Where recurrences run over ``laid_out``, A in another format, the machine's rates for that one
    count. The timed product is counted as a matvec of A.
    """
    costs, n = machine_costs(), A.n
    big = 12 * A.nnz + 40 * n > CACHE_BYTES
    if A.backend.name == "cpu":
        report = (laid_out or A).backend.report
        single = (laid_out or A).dtype.char in "fF"
        steps = format_rates(VARIANTS[report.format.split()[0]], "float32" if single else "float64")
        streams = report.n_bytes + 32 * n > CACHE_BYTES and report.depth <= 1
        return _priced(costs, steps, n, A.nnz, far=big, streams=streams)
    vector = costs.vector_call + (costs.memory if big else costs.cached).vector * n
    call = format_rates("csr", "float64").call + 2 * vector
    x = np.ones(n, dtype=A.dtype)
    begin = time.perf_counter()
    A.matmul(x)
    product = time.perf_counter() - begin
    step = product + 4 * vector
    return OperatorCosts(product, call, step, step, vector, 0.0)


def rough_costs(n: int, nnz: int) -> OperatorCosts:
    """Price a CSR matrix of that size, which is not at hand, by the machine's rates."""
    big = 12 * nnz + 40 * n > CACHE_BYTES
    return _priced(machine_costs(), format_rates("csr", "float64"), n, nnz, far=big, streams=big)


def single_costs(double: OperatorCosts, A: Operator, report: ExecutionReport) -> OperatorCosts:
    """Price the same operator, laid out alike, with values and vectors in single precision."""
    steps = format_rates(VARIANTS[report.format.split()[0]], "float32")
    n_bytes = report.n_bytes - 4 * A.nnz
    streams = n_bytes + 16 * A.n > CACHE_BYTES and report.depth == 1
    big = 12 * A.nnz + 40 * A.n > CACHE_BYTES
    found = _priced(machine_costs(), steps, A.n, A.nnz, far=big, streams=streams)
    return replace(found, product=double.product, vector=double.vector)


def _priced(
    costs: Costs, steps: StepRates, n: int, nnz: int, *, far: bool, streams: bool
) -> OperatorCosts:
    """Price a CSR matrix whose vectors lie ``far``, and whose steps stream it from memory."""
    rates = costs.memory if far else costs.cached
    work = nnz + ROW_WORK * n
    return OperatorCosts(
        product=costs.product_call + rates.product * work,
        call=steps.call + (steps.far_row if far else steps.row) * n,
        step_small=steps.alone * work,
        step_large=(steps.memory if streams else steps.cached) * work,
        vector=costs.vector_call + rates.vector * n,
        threshold=SERIAL_BELOW / max(nnz, 1),
        wake=steps.wake,
    )


@lru_cache(maxsize=1)
def machine_costs() -> Costs:
    """Return this machine's costs, from the cache file or measured now (about half a second)."""
    path = _cache_file("costs")
    try:
        record = _read(path)
        cached, memory = Rates(**record.pop("cached")), Rates(**record.pop("memory"))
        return Costs(**record, cached=cached, memory=memory)
    except (OSError, ValueError, TypeError, KeyError):
        costs = measure()
        _write(path, asdict(costs))
        return costs


@lru_cache(maxsize=8)
def format_rates(name: str, dtype: str) -> StepRates:
    """Return this machine's rates of one format, from the cache file or measured now."""
    path = _cache_file(f"{name}-{dtype}")
    try:
        return StepRates(**_read(path))
    except (OSError, ValueError, TypeError):
        rates = measure_format(name, dtype)
        _write(path, asdict(rates))
        return rates


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, record: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps(record, indent=1), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        _log.info("machine costs could not be cached in %s: %s", path, error)


def cache_folder() -> Path:
    """Return the folder for what is measured and planned; ``SPECTOOL_CACHE`` moves it."""
    return Path(os.environ.get("SPECTOOL_CACHE") or platformdirs.user_cache_dir("spectool"))


def machine_mark() -> str:
    """Return what tells this machine, and the threads that it may use, from others."""
    # What decides thread counts decides costs.
    threads = "-".join(
        os.environ.get(name, "")
        for name in ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    )
    host = f"{platform.node() or 'host'}-{platform.machine()}-{os.cpu_count()}-{threads}"
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in host)


def _cache_file(name: str) -> Path:
    return cache_folder() / f"{name}-4-{machine_mark()}.json"


def measure() -> Costs:
    """Time scipy's products, loop and vector operations on three sizes."""
    # Anything else that runs only adds time: the least is what the machine can do.
    t: dict[tuple[str, int], float] = {}
    for n in (SMALL, CACHED, MEMORY):
        A = _calibration_matrix(n)
        x, y = np.ones(n), np.ones(n)
        jobs: dict[str, Callable[[], Any]] = {
            "product": partial(operator.matmul, A, x),
            "vector": partial(_axpy_and_dot, x, y),
        }
        for name, job in jobs.items():
            t[name, n] = min(_run(job) for _ in range(3 if n == MEMORY else 7))

    def rates(n: int) -> Rates:
        # The vector job makes two passes, an axpy and a dot.
        return Rates(t["product", n] / ((7 + ROW_WORK) * n), t["vector", n] / (2 * n))

    cached = rates(CACHED)
    vector_call = max(t["vector", SMALL] / 2 - cached.vector * SMALL, 1e-7)
    vectors = VECTORS * (vector_call + cached.vector * SMALL)
    A, b = _calibration_matrix(SMALL), np.random.default_rng(SEED).standard_normal(SMALL)
    job = partial(cg, A, b, rtol=0.0, atol=0.0, maxiter=LOOPS)
    call = (
        min(_run(job) for _ in range(7)) / LOOPS - vectors - cached.product * (7 + ROW_WORK) * SMALL
    )
    return Costs(max(call, 1e-7), vector_call, cached, rates(MEMORY))


def measure_format(name: str, dtype: str) -> StepRates:
    """Time applications in one format and precision, unblocked, on four sizes."""
    forced = Execution(format=cast("Any", name), depth=1)
    steps, calls = {}, {}
    for n, (low, high) in DEGREES.items():
        A = _calibration_matrix(n)
        inner = Operator(CpuBackend(sp.csr_array(A.astype(dtype))).prepared(1.0, forced), "pos")
        less, more = (_application(A, inner, degree) for degree in (low, high))
        steps[n] = max(more - less, 0.05 * more) / (high - low)
        calls[n] = less - low * steps[n]
    work = 7 + ROW_WORK
    call = max(calls[SMALL], 1e-6)
    wake = max(calls[MIDDLE] - call, 0.0)
    return StepRates(
        alone=steps[SMALL] / (work * SMALL),
        cached=steps[CACHED] / (work * CACHED),
        memory=steps[MEMORY] / (work * MEMORY),
        call=call,
        wake=wake,
        row=max(calls[CACHED] - call - wake, 0.0) / CACHED,
        far_row=max(calls[MEMORY] - call - wake, 0.0) / MEMORY,
    )


def _application(A: sp.csr_array, inner: Operator, degree: int) -> float:
    """Return seconds of an application between other passes, as those of scipy's cg."""
    n = inner.n
    recurrence = chebyshev_inverse((0.1, 14.0), degree)
    M = PolynomialOperator(inner, recurrence, scale=np.ones(n), dtype=np.float64)
    x, r, times = np.ones(n), np.ones(n), []
    z = M @ r  # compiles
    for _ in range(APPLICATIONS[n]):
        x += 1e-3 * z
        r = x - 1e-3 * (A @ z)
        begin = time.perf_counter()
        z = M @ r
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _run(job: Callable[[], Any]) -> float:
    """Return seconds per call, over enough calls to fill a millisecond."""
    job()  # compiles, warms caches
    calls = 1
    while True:
        begin = time.perf_counter()
        for _ in range(calls):
            job()
        elapsed = time.perf_counter() - begin
        if elapsed >= 1e-3:
            return elapsed / calls
        calls *= 4


def _axpy_and_dot(x: FloatArray, y: FloatArray) -> float:
    return float(x @ (y + x))


def _calibration_matrix(n: int) -> sp.csr_array:
    offsets = [-n // 5, -n // 25, -1, 0, 1, n // 25, n // 5]
    diagonals = [np.full(n - abs(k), 8.0 if k == 0 else -1.0) for k in offsets]
    A = sp.csr_array(sp.diags_array(cast("Any", diagonals), offsets=offsets))
    A.sort_indices()
    return A
