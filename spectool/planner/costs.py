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
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import platformdirs
import scipy.sparse as sp

from spectool._types import FloatArray
from spectool.backends.cpu import SERIAL_BELOW, CsrBackend
from spectool.operators import Operator
from spectool.polynomials import chebyshev_inverse

_log = logging.getLogger("spectool")
ROW_WORK = 4
"""Entries that one row costs beside its own."""
SMALL, LARGE = 400, 120_000
"""Rows of the two calibration matrices, seven entries each: in cache with one thread, beyond."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of each operation: a call's overhead, and a rate per unit of work.

    Attributes
    ----------
    product_call, product_rate : float
        scipy's ``A @ x``; per unit of work (stored entries + 4 rows).
    step_call, step_rate_small, step_rate_large : float
        One application of our fused recurrence; per unit of work and degree, below and above the
        size from which threads are used.
    vector_call, vector_rate : float
        One NumPy vector operation; per element.
    """

    product_call: float
    product_rate: float
    step_call: float
    step_rate_small: float
    step_rate_large: float
    vector_call: float
    vector_rate: float


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


def operator_costs(A: Operator) -> OperatorCosts:
    """Price one operator: by the machine's rates, or where A is no CSR matrix by one timed product.

    The timed product is counted as a matvec of A.
    """
    costs, n = machine_costs(), A.n
    vector = costs.vector_call + costs.vector_rate * n
    call = costs.step_call + 2 * vector
    if A.backend.name == "cpu":
        work = A.nnz + ROW_WORK * n
        return OperatorCosts(
            product=costs.product_call + costs.product_rate * work,
            call=call,
            step_small=costs.step_rate_small * work,
            step_large=costs.step_rate_large * work,
            vector=vector,
            threshold=SERIAL_BELOW / max(A.nnz, 1),
        )
    x = np.ones(n, dtype=A.dtype)
    begin = time.perf_counter()
    A.matmul(x)
    product = time.perf_counter() - begin
    step = product + 4 * vector
    return OperatorCosts(product, call, step, step, vector, 0.0)


@lru_cache(maxsize=1)
def machine_costs() -> Costs:
    """Return this machine's costs, from the cache file or measured now (about 0.2 s)."""
    path = _cache_file()
    try:
        return Costs(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    costs = measure()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps(asdict(costs), indent=1), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        _log.info("machine costs could not be cached in %s: %s", path, error)
    return costs


def _cache_file() -> Path:
    root = os.environ.get("SPECTOOL_CACHE") or platformdirs.user_cache_dir("spectool")
    # What decides thread counts decides costs.
    threads = "-".join(
        os.environ.get(name, "")
        for name in ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    )
    host = f"{platform.node() or 'host'}-{platform.machine()}-{os.cpu_count()}-{threads}"
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in host)
    return Path(root) / f"costs-1-{safe}.json"


def measure() -> Costs:
    """Time products, fused steps and vector operations on two sizes."""
    degree = 8
    recurrence = chebyshev_inverse((0.1, 14.0), degree)
    jobs: dict[str, Callable[[], Any]] = {}
    for label, n in (("small", SMALL), ("large", LARGE)):
        A = _calibration_matrix(n)
        x, y = np.ones(n), np.ones(n)
        backend = CsrBackend(A)
        jobs[f"product {label}"] = partial(operator.matmul, A, x)
        jobs[f"step {label}"] = partial(backend.apply, recurrence, x)
        jobs[f"vector {label}"] = partial(_axpy_and_dot, x, y)
    # Anything else that runs only adds time: the least is what the machine can do.
    t = {name: min(_run(job) for _ in range(7)) for name, job in jobs.items()}
    work_small, work_large = (7 + ROW_WORK) * SMALL, (7 + ROW_WORK) * LARGE

    def affine(name: str, small: int, large: int) -> tuple[float, float]:
        slope = max(t[f"{name} large"] - t[f"{name} small"], 1e-9) / (large - small)
        return max(t[f"{name} small"] - slope * small, 1e-7), slope

    product_call, product_rate = affine("product", work_small, work_large)
    # The vector job makes two passes, an axpy and a dot.
    vector_call, vector_rate = (value / 2 for value in affine("vector", SMALL, LARGE))
    # One thread in cache runs our step at scipy's rate, or better: then the call costs the rest.
    step_rate = t["step large"] / (degree * work_large)
    return Costs(
        product_call=product_call,
        product_rate=product_rate,
        step_call=max(t["step small"] - degree * product_rate * work_small, 1e-7),
        step_rate_small=product_rate,
        step_rate_large=step_rate,
        vector_call=vector_call,
        vector_rate=vector_rate,
    )


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
