"""The fused CSR recurrence against the same recurrence as scipy products and NumPy updates.

Prints how many times faster the kernel is, as the ratio of medians of interleaved runs.
"""

# ruff: noqa: E402 - BLAS reads its thread count when numpy is loaded
from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from spectool import gallery
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.bench.machine import describe
from spectool.polynomials import Recurrence, chebyshev_inverse

DEGREE = 16
TOLERANCE = {"float64": 1e-11, "float32": 1e-3}
MATRICES: dict[str, Callable[[], Any]] = {
    "poisson 100x100": lambda: gallery.poisson((100, 100)),
    "poisson 300x300": lambda: gallery.poisson((300, 300)),
    "poisson 50x50x50": lambda: gallery.poisson((50, 50, 50)),
    "elasticity 120x120": lambda: gallery.elasticity((120, 120)),
}
TINY: dict[str, Callable[[], Any]] = {"poisson 5x5": lambda: gallery.poisson((5, 5))}


def scipy_chain(A: Any, p: Recurrence, X: Any) -> Any:
    """Run the recurrence forward: one product and three updates per degree."""
    real = X.dtype.type
    previous, current = np.zeros_like(X), X
    total = real(p.w[0]) * X
    for a, b, c, w in zip(p.a, p.b, p.c, p.w[1:], strict=True):
        following = A @ current
        following *= real(a)
        following += real(b) * current
        following += real(c) * previous
        total += real(w) * following
        previous, current = current, following
    return total


def medians(jobs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Return the median time of each job; they take turns for about ``seconds`` in all."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="per line of the table")
    parser.add_argument("--tiny", action="store_true", help="a 5x5 grid only")
    arguments = parser.parse_args()
    machine = describe()
    title = (
        f"times faster than scipy, degree {DEGREE}; {machine.cpu}, {machine.cores} cores, "
        f"BLAS threads {machine.blas}"
    )
    table = Table(title=title)
    for name in ("matrix", "dtype", "columns", "scipy ms", "1 thread", "2 threads", "auto"):
        table.add_column(name, justify="left" if name in ("matrix", "dtype") else "right")
    rng = np.random.default_rng(577_215_664)
    for name, make in (TINY if arguments.tiny else MATRICES).items():
        for dtype in ("float64", "float32"):
            A = make().astype(dtype)
            upper = float(abs(A).sum(axis=1).max())
            p = chebyshev_inverse((upper / 100, upper), DEGREE)
            for columns in (1, 8):
                shape = (A.shape[0],) if columns == 1 else (A.shape[0], columns)
                X = rng.standard_normal(shape).astype(dtype)
                backends = {str(t): CpuBackend(A, execution=Execution(threads=t)) for t in (1, 2, None)}
                truth = scipy_chain(A, p, X)
                for backend in backends.values():  # compiles, and checks
                    error = np.linalg.norm(backend.apply(p, X) - truth) / np.linalg.norm(truth)
                    assert error < TOLERANCE[dtype], (name, dtype, columns, error)
                jobs: dict[str, Callable[[], Any]] = {"scipy": lambda: scipy_chain(A, p, X)}  # noqa: B023
                for key, backend in backends.items():
                    jobs[key] = lambda backend=backend: backend.apply(p, X)  # noqa: B023
                times = medians(jobs, arguments.seconds)
                ratios = [f"{times['scipy'] / times[key]:.2f}" for key in backends]
                cells = [name, dtype, str(columns), f"{1e3 * times['scipy']:.3g}", *ratios]
                table.add_row(*cells)
    Console(width=max(Console().width, 100)).print(table)


if __name__ == "__main__":
    main()
