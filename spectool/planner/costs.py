"""What operations cost on this machine: measured once, kept in the user's cache.

The model is affine in the work of a pass, ``entries + 4 rows``, and in the vector length. It only
has to rank designs; an operator that is no CSR matrix is timed itself instead.
"""

from __future__ import annotations

import json
import logging
import operator
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import platformdirs
import scipy.sparse as sp

from spectool._types import FloatArray
from spectool.backends.cpu import SERIAL_BELOW, CpuBackend
from spectool.backends.execution import Execution
from spectool.kernels.schedule import ROW_WORK
from spectool.operators import Operator
from spectool.polynomials import chebyshev_inverse
from spectool.results import ExecutionReport

_log = logging.getLogger("spectool")
SMALL, CACHED, MEMORY = 400, 120_000, 600_000
"""Rows of the calibration matrices, seven entries each: one thread's cache, all caches, beyond."""
DEGREE = 8
"""Degree of timed applications."""
VARIANTS = {"csr": "csr", "sell": "sell", "dia": "dia", "bsr": "csr", "half": "csr"}
"""Formats whose measured rates price a format: what blocks and halves gain is the pattern's."""
CACHE_BYTES = 24 * 2**20
"""Matrix and vectors beyond which memory sets the pace."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds of scipy's product and our fused step per ``entries + 4 rows``, of axpys per row."""

    product: float
    step: float
    vector: float


@dataclass(frozen=True, slots=True)
class StepRates:
    """Seconds of a fused step in one format per ``entries + 4 rows``.

    With one thread; with as many as pay, inside the caches; outside them.
    """

    alone: float
    cached: float
    memory: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What operations cost on one machine, in seconds.

    Attributes
    ----------
    product_call, step_call, vector_call : float
        Overhead of scipy's ``A @ x``, of one application of a recurrence, of one NumPy operation.
    alone : float
        Rate of a fused step with one thread.
    cached, memory : Rates
        With as many threads as pay, inside and outside the caches.
    """

    product_call: float
    step_call: float
    vector_call: float
    alone: float
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
        One application of a recurrence of degree 0, inside a LinearOperator.
    step_small, step_large : float
        One degree more, with one thread and with the team.
    vector : float
        One vector operation (dot or axpy).
    threshold : float
        Degree from which the team works.
    """

    product: float
    call: float
    step_small: float
    step_large: float
    vector: float
    threshold: float

    def application(self, degree: int) -> float:
        """Seconds of one ``p(A) x``."""
        step = self.step_large if degree >= self.threshold else self.step_small
        return self.call + degree * step

    def cg_iteration(self, degree: int) -> float:
        """Seconds of one iteration of scipy's cg: a product, 3 reductions, 3 axpys, one M."""
        return self.product + 6 * self.vector + self.application(degree)

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
    rates = costs.memory if big else costs.cached
    vector = costs.vector_call + rates.vector * n
    call = costs.step_call + 2 * vector
    if A.backend.name == "cpu":
        work = A.nnz + ROW_WORK * n
        step_small, step_large = costs.alone * work, rates.step * work
        report = (laid_out or A).backend.report
        name = VARIANTS[report.format.split()[0]]
        single = (laid_out or A).dtype.char in "fF"
        if single or name != "csr":
            steps = format_rates(name, "float32" if single else "float64")
            step_small = min(step_small, steps.alone * work)
            streams = report.n_bytes + 32 * n > CACHE_BYTES and report.depth == 1
            step_large = (steps.memory if streams else steps.cached) * work
        elif report.depth > 1:
            step_large = costs.cached.step * work
        return OperatorCosts(
            product=costs.product_call + rates.product * work,
            call=call,
            step_small=step_small,
            step_large=step_large,
            vector=vector,
            threshold=SERIAL_BELOW / max(A.nnz, 1),
        )
    x = np.ones(n, dtype=A.dtype)
    begin = time.perf_counter()
    A.matmul(x)
    product = time.perf_counter() - begin
    step = product + 4 * vector
    return OperatorCosts(product, call, step, step, vector, 0.0)


def rough_costs(n: int, nnz: int) -> OperatorCosts:
    """Price a CSR matrix of that size, which is not at hand, by the machine's rates."""
    costs = machine_costs()
    rates = costs.memory if 12 * nnz + 40 * n > CACHE_BYTES else costs.cached
    vector = costs.vector_call + rates.vector * n
    work = nnz + ROW_WORK * n
    return OperatorCosts(
        product=costs.product_call + rates.product * work,
        call=costs.step_call + 2 * vector,
        step_small=costs.alone * work,
        step_large=rates.step * work,
        vector=vector,
        threshold=SERIAL_BELOW / max(nnz, 1),
    )


def single_costs(double: OperatorCosts, A: Operator, report: ExecutionReport) -> OperatorCosts:
    """Price the same operator, laid out alike, with values and vectors in single precision."""
    work = A.nnz + ROW_WORK * A.n
    rates = format_rates(VARIANTS[report.format.split()[0]], "float32")
    n_bytes = report.n_bytes - 4 * A.nnz
    streams = n_bytes + 16 * A.n > CACHE_BYTES and report.depth == 1
    return replace(
        double,
        step_small=min(double.step_small, rates.alone * work),
        step_large=(rates.memory if streams else rates.cached) * work,
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
    return cache_folder() / f"{name}-3-{machine_mark()}.json"


def measure() -> Costs:
    """Time products, fused steps and vector operations on three sizes."""
    recurrence = chebyshev_inverse((0.1, 14.0), DEGREE)
    # Anything else that runs only adds time: the least is what the machine can do.
    t: dict[tuple[str, int], float] = {}
    for n in (SMALL, CACHED, MEMORY):
        A = _calibration_matrix(n)
        x, y = np.ones(n), np.ones(n)
        jobs: dict[str, Callable[[], Any]] = {
            "product": partial(operator.matmul, A, x),
            "step": partial(CpuBackend(A).apply, recurrence, x),
            "vector": partial(_axpy_and_dot, x, y),
        }
        for name, job in jobs.items():
            t[name, n] = min(_run(job) for _ in range(3 if n == MEMORY else 7))

    def rates(n: int) -> Rates:
        work = (7 + ROW_WORK) * n
        # The vector job makes two passes, an axpy and a dot.
        return Rates(
            product=t["product", n] / work,
            step=t["step", n] / (DEGREE * work),
            vector=t["vector", n] / (2 * n),
        )

    cached = rates(CACHED)
    work = (7 + ROW_WORK) * SMALL
    # One thread runs our step at scipy's rate, or better: then the call costs the rest.
    return Costs(
        product_call=max(t["product", SMALL] - cached.product * work, 1e-7),
        step_call=max(t["step", SMALL] - DEGREE * cached.product * work, 1e-7),
        vector_call=max(t["vector", SMALL] / 2 - cached.vector * SMALL, 1e-7),
        alone=cached.product,
        cached=cached,
        memory=rates(MEMORY),
    )


def measure_format(name: str, dtype: str) -> StepRates:
    """Time fused steps in one format and precision, unblocked, on three sizes."""
    recurrence = chebyshev_inverse((0.1, 14.0), DEGREE)
    forced = Execution(format=cast("Any", name), depth=1)
    rates = []
    for n in (SMALL, CACHED, MEMORY):
        A = sp.csr_array(_calibration_matrix(n).astype(dtype))
        backend = CpuBackend(A).prepared(1.0, forced)
        job = partial(backend.apply, recurrence, np.ones(n, dtype=dtype))
        seconds = min(_run(job) for _ in range(3 if n == MEMORY else 7))
        if n == SMALL:
            seconds = max(seconds - machine_costs().step_call, 0.1 * seconds)
        rates.append(seconds / (DEGREE * (7 + ROW_WORK) * n))
    return StepRates(*rates)


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
