"""What ``spectool kernels`` and ``spectool plan --task`` print for one sparse matrix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spectool.errors import InputError
from spectool.operators import as_operator
from spectool.planner.plan import Plan
from spectool.planner.sparse import plan

RTOL = 1e-8
DTYPES = ("float64", "float32")


def execution_lines(name: str, A: Any, products: float, dtype: str) -> Iterator[str]:
    """Yield the chosen execution, its reasons and the formats that were timed.

    Parameters
    ----------
    name : str
        Of the matrix.
    A : sparse array, shape (n, n)
        Any square matrix.
    products : float
        Products that are to follow, which decides what is repaid.
    dtype : str
        ``"float64"`` or ``"float32"``; a complex matrix keeps its parts in that precision.

    Raises
    ------
    InputError
        If A is not square, empty or not finite, or the dtype is another.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    operator = as_operator(A, assume_a="gen", need_hermitian=False)
    operator = operator.astype(np.result_type(dtype, np.complex64) if _complex(operator) else dtype)
    first = operator.prepared(products).backend.report  # loads or compiles kernels
    report = operator.prepared(products).backend.report
    n, nnz = operator.n, operator.nnz
    yield f"{name}: {n:,} rows, {nnz:,} entries, {nnz / n:.1f} a row"
    yield f"  {report.format} in {report.dtype}, {report.n_bytes / 2**20:.3g} MiB"
    yield (
        f"  {report.depth} steps per pass over the matrix"
        if report.depth > 1
        else "  one pass over the matrix per step"
    )
    yield f"  up to {report.threads} threads" + (", rows renumbered" if report.reordered else "")
    yield (
        f"  set up for {products:g} products in {report.seconds:.2g} s "
        f"({first.seconds:.2g} s the first time, with its kernels)"
    )
    for reason in report.reason.split("; "):
        yield f"  because {reason}"
    for label, seconds in report.candidates:
        yield f"  timed: {label:<8} {1e9 * seconds:6.3f} ns per entry, in cache, one thread"


def _complex(operator: Any) -> bool:
    return bool(operator.dtype.kind == "c")


def sparse_plan(
    A: Any,
    task: str,
    rtol: float | None,
    n_rhs: int,
    k: int | None,
    t: float,
    budget: float | None,
    seed: int,
    *,
    output: Path | None,
) -> Plan:
    """Plan a task for one matrix, afresh; write it as JSON if wanted.

    Raises
    ------
    InputError
        If the task is unknown, or an option does not go with it.
    """
    found = plan(
        A,
        task,
        rtol=RTOL if rtol is None else rtol,
        n_rhs=n_rhs,
        k=k,
        t=t,
        budget=budget,
        cache=False,
        rng=seed,
    )
    if output is not None:
        output.write_text(found.to_json(), encoding="utf-8")
    return found
