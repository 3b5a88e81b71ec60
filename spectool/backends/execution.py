"""How an operator is executed: format, blocking, threads and order of rows, chosen or forced."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import scipy.sparse as sp

from spectool._types import Array, IntArray
from spectool.backends.layout import (
    FORMAT_NAMES,
    Fit,
    best_blocks,
    convert,
    csr_matrix,
    fits,
    forced,
    n_bytes,
    permuted,
)
from spectool.errors import InputError
from spectool.kernels import half, structure, sweeps
from spectool.kernels.block import multiply
from spectool.kernels.formats import GRANULE, LANES, Csr, LongCsr, Matrix
from spectool.kernels.half import Half
from spectool.kernels.schedule import Strips, schedule, strip_rows, strips_of, window
from spectool.kernels.team import available_threads, run
from spectool.results import ExecutionReport

STRIP = 960
"""Most rows per strip, one vector: shorter ones cost 5 to 15% (measured)."""
BLOCK_STRIP = 120
"""Rows per strip with many vectors."""
DEEPEST = 16
"""Most steps per pass: deeper fronts gained nothing (measured)."""
MIN_FILL = {"csr": 1.0, "sell": 0.75, "bsr": 0.5, "dia": 0.6}
"""Entries per stored value from which a format is considered."""
SLICE = 60_000
"""Entries of a timed slice: they fit into one core's cache."""
GAIN = 1.1
"""Least predicted gain for which steps are blocked."""
REPAID = 60
"""Products that repay tests and conversion, which cost 9 in the median, up to some 30."""
HALF_GAIN = 1.15
"""Least measured gain for which a symmetric matrix is kept by half."""
HALVED = 150
"""Products that repay symmetric halves, which cost 10 to 20 and gain about a third of each."""
HALVED_ROWS = 10
"""Entries per row below which vectors, not the matrix, are most of the traffic: nothing was gained
on meshes and random graphs of 6 to 8."""
REORDERED = 1_500
"""Products that repay reverse Cuthill-McKee, which costs 100 to 400."""
ENTRY_SECONDS = 5e-10
"""Roughly what a product costs per entry."""
WORTH_SECONDS = 0.05
"""Seconds of products below which no layout is sought: it would save less than it costs."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Options of execution; what is left at None or "auto" is chosen by measurement.

    Parameters
    ----------
    format : {"auto", "csr", "sell", "bsr", "dia", "half"}
        How the matrix is stored; "half" needs symmetric real values and cannot be blocked.
    depth : int, optional
        Steps of a recurrence per pass over the matrix (level blocking); 1 does not block.
    threads : int, optional
        Threads; by default as many as pay.
    reorder : bool, optional
        Whether rows are renumbered by reverse Cuthill-McKee first.

    Raises
    ------
    InputError
        If a value is not one of those.

    Examples
    --------
    >>> import spectool as st
    >>> A = st.gallery.poisson((40, 40))
    >>> forced = st.Execution(format="dia", threads=1)
    >>> M = st.preconditioner(A, method="chebyshev", degree=8, execution=forced, rng=271828)
    >>> M.report.execution.split(",")[0]
    'dia 5 float64'
    """

    format: Literal["auto", "csr", "sell", "bsr", "dia", "half"] = "auto"
    depth: int | None = None
    threads: int | None = None
    reorder: bool | None = None

    def __post_init__(self) -> None:
        if self.format not in ("auto", *FORMAT_NAMES):
            raise InputError(
                f"format must be 'auto' or one of {FORMAT_NAMES}; got {self.format!r}."
            )
        for name, value in (("depth", self.depth), ("threads", self.threads)):
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if value is not None and not (whole and value >= 1):
                raise InputError(f"{name} must be an int of at least 1 or None; got {value!r}.")
        if self.format == "half" and self.depth is not None and self.depth > 1:
            raise InputError(
                f"depth must be 1 or None with format='half', which cannot be blocked; got "
                f"{self.depth}. Use another format to block steps."
            )
        if not (self.reorder is None or isinstance(self.reorder, bool | np.bool)):
            raise InputError(f"reorder must be True, False or None; got {self.reorder!r}.")

    @property
    def is_free(self) -> bool:
        """Whether set-up is left to what it repays."""
        return self.format == "auto" and self.depth is None and not self.reorder


class Layout(NamedTuple):
    """A matrix ready to be swept.

    Attributes
    ----------
    matrix : Matrix or Half
        In its format, rows renumbered if order is given.
    rows : Csr or LongCsr
        The same compressed: for blocks of vectors, and the pattern that schedules are made from.
    depth : int
        Most steps per pass with one vector.
    order : ndarray or None
        Row ``order[i]`` of A is row i here.
    report : ExecutionReport
        What was chosen, and why.
    """

    matrix: Matrix | Half
    rows: Csr | LongCsr
    depth: int
    order: IntArray | None
    report: ExecutionReport

    @property
    def by_rows(self) -> Matrix:
        """The matrix that multiplies a range of rows; halves cannot."""
        return self.rows if isinstance(self.matrix, Half) else self.matrix


def plain(A: sp.csr_array, threads: int | None) -> Layout:
    """Return A as it is: CSR, unblocked, no set-up at all."""
    matrix = csr_matrix(A)
    most = min(threads or available_threads(), available_threads())
    report = ExecutionReport("csr", A.dtype.name, 1, most, False, n_bytes(matrix), 0.0, "as is")
    return Layout(matrix, matrix, 1, None, report)


@lru_cache(maxsize=1)
def cache_bytes() -> int:
    """Return how much of the last-level cache one thread may count on."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        sizes.append(int(text[:-1]) << {"K": 10, "M": 20, "G": 30}.get(text[-1], 0))
    last = max(sizes, default=16 << 20)
    return int(min(max(last / (1.5 * available_threads()), 2 << 20), 10 << 20))


def choose(A: sp.csr_array, execution: Execution, products: float) -> Layout:
    """Choose format, order and depth for about ``products`` products with one vector.

    Formats are chosen by structure and timed on a slice of rows; a pass is blocked where its fronts
    fit into the cache and the slice runs faster there than the whole does from memory.
    """
    begin = time.perf_counter()
    nnz, n = max(A.nnz, 1), A.shape[0]
    base = plain(A, execution.threads)
    if execution.is_free and (products < REPAID or products * nnz * ENTRY_SECONDS < WORTH_SECONDS):
        reason = f"{products:.0f} products would not repay a conversion"
        return base._replace(report=replace(base.report, reason=reason))
    order, B, reason = _ordered(A, execution, products)
    candidates: dict[str, float] = {}
    if execution.format == "auto":
        fit, why = _fastest(B, candidates)
    else:
        fit, why = forced(B, execution.format), "format as asked"
    matrix: Matrix | Half = (
        half.half_of(B.indptr, B.indices, B.data) if fit.format == "half" else convert(B, fit)
    )
    strips = strips_of(B.indptr, B.indices, strip_rows(n, 1, STRIP))
    depth, why_depth = execution.depth, "depth as asked"
    if isinstance(matrix, Half):
        depth, why_depth = 1, "halves cannot be blocked"
    elif depth is None:
        depth, why_depth = steps_per_pass(matrix, strips, B.nnz, None)
        streams = n_bytes(matrix) > 1.5 * cache_bytes()
        halvable = products >= HALVED and B.nnz >= HALVED_ROWS * n
        if execution.format == "auto" and depth == 1 and streams and halvable:
            halves, gain = _halved(B, matrix, base.report.threads)
            if halves is not None and gain >= HALF_GAIN:
                fit, matrix = Fit("half", 1.0), halves
                why = f"a product by symmetric halves is {gain:.2f} times faster"
    report = ExecutionReport(
        fit.label,
        A.dtype.name,
        depth,
        base.report.threads,
        order is not None,
        n_bytes(matrix),
        time.perf_counter() - begin,
        "; ".join(text for text in (why, why_depth, reason) if text),
        tuple(sorted(candidates.items(), key=lambda item: item[1])),
    )
    return Layout(matrix, csr_matrix(B), depth, order, report)


def _halved(A: sp.csr_array, matrix: Matrix, threads: int) -> tuple[Half | None, float]:
    """Return A in halves and how many times faster its whole product is, 0 if there are none."""
    fit = next(fits(A, ("half",)), None)
    if fit is None:
        return None, 0.0
    halves = half.half_of(A.indptr, A.indices, A.data)
    n = A.shape[0]
    strip = strip_rows(n, threads, STRIP)
    strips = strips_of(A.indptr, A.indices, strip)
    alone, together = schedule(strips, 1, 1), schedule(strips, threads, 1)
    x, out = np.ones(n, dtype=A.dtype), np.empty(n, dtype=A.dtype)
    rows = np.empty((together.parts, strip + LANES), dtype=A.dtype)
    private = np.empty(halves.offsets[-1], dtype=A.dtype)
    jobs: dict[Any, tuple[Any, ...]] = {
        sweeps.product: (matrix, None, x, out, rows),
        half.product: (halves, x, out, private),
    }
    best = dict.fromkeys(jobs, np.inf)
    for attempt in range(4):
        for function, arguments in jobs.items():
            begin = time.perf_counter()
            run(function, arguments, together, alone)
            if attempt > 0:  # the first compiles
                best[function] = min(best[function], time.perf_counter() - begin)
        if attempt > 0 and best[sweeps.product] < best[half.product]:
            break  # not to be made up for by noise
    return halves, best[sweeps.product] / best[half.product]


def _ordered(
    A: sp.csr_array, execution: Execution, products: float
) -> tuple[IntArray | None, sp.csr_array, str]:
    """Return an order of rows that narrows the fronts or None, A in that order, and why."""
    free = execution.reorder is None
    if not (free or execution.reorder):
        return None, A, ""
    if free:
        if products < REORDERED or _bytes(A) < cache_bytes():
            return None, A, ""
        width = _window(A, 2)
        if width < min(0.5 * _bytes(A), 2 * cache_bytes()):
            return None, A, ""
        if _level_bytes(A) > 0.5 * width:
            return None, A, "no order of rows would narrow its fronts"
    from scipy.sparse.csgraph import reverse_cuthill_mckee  # 0.05 s that few need

    pattern = sp.csr_array((np.ones(A.nnz, dtype=np.int8), A.indices, A.indptr), shape=A.shape)
    order: IntArray = reverse_cuthill_mckee(pattern + pattern.T).astype(np.int64)
    B = permuted(A, order)
    if free and _window(B, 2) > 0.5 * width:
        return None, A, "reverse Cuthill-McKee would not narrow it"
    return order, B, "rows renumbered by reverse Cuthill-McKee"


def _bytes(A: sp.csr_array) -> float:
    return float(n_bytes(csr_matrix(A)))


def _level_bytes(A: sp.csr_array) -> float:
    """Return the bytes of two neighboring levels from an end of the graph, 90th percentile.

    Cuthill-McKee numbers level by level, so that two fronts lie about that far apart.
    """
    n, start = A.shape[0], 0
    for _ in range(2):  # the last node reached is nearly an end
        queue, starts = np.empty(n, dtype=np.int64), np.empty(n + 1, dtype=np.int64)
        seen = np.zeros(n, dtype=bool)
        n_levels = structure.breadth_first(A.indptr, A.indices, start, queue, seen, starts)
        start = int(queue[-1])
    ends = np.concatenate([[0], np.cumsum(np.diff(A.indptr)[queue])])[starts[: n_levels + 1]]
    levels = np.diff(ends)
    pairs = levels + np.concatenate([levels[1:], [0]])
    middle = int(np.searchsorted(np.cumsum(np.sort(pairs)), 0.9 * pairs.sum()))
    return float(np.sort(pairs)[middle]) * _bytes(A) / max(A.nnz, 1)


def _window(A: sp.csr_array, depth: int) -> float:
    strips = strips_of(A.indptr, A.indices, strip_rows(A.shape[0], 1, STRIP))
    return window(strips, depth, _bytes(A) / max(A.nnz, 1), 3 * A.dtype.itemsize)


def _fastest(A: sp.csr_array, candidates: dict[str, float]) -> tuple[Fit, str]:
    """Return the fit whose product of a slice takes least, in cache and on one thread, and why."""
    usable: list[Fit] = []
    for fit in fits(A):
        if fit.fill >= MIN_FILL[fit.format]:
            if fit.format == "dia":  # no other comes near
                return fit, f"{fit.size} diagonals, {fit.fill:.0%} full"
            usable.append(fit)
    mean = A.nnz / A.shape[0]
    blocks = [fit for fit in usable if fit.format == "bsr"]
    if blocks:
        best = best_blocks(blocks)
        usable = [fit for fit in usable if fit.format != "bsr" or fit is best]
    if len(usable) == 1:
        return usable[0], f"rows of {mean:.1f} entries suit no other format"
    n = A.shape[0]
    middle = min(int(np.searchsorted(A.indptr, A.nnz // 2)), n - 1) // GRANULE * GRANULE
    last = int(np.searchsorted(A.indptr, A.indptr[middle] + SLICE)) // GRANULE * GRANULE
    last = min(max(last, middle + GRANULE), n)
    part = sp.csr_array(
        (
            A.data[A.indptr[middle] : A.indptr[last]],
            A.indices[A.indptr[middle] : A.indptr[last]],
            A.indptr[middle : last + 1] - A.indptr[middle],
        ),
        shape=(last - middle, n),
    )
    v = np.ones(n, dtype=A.dtype)
    sliced = {fit: convert(part, fit) for fit in usable}
    seconds = time_slices({fit: (matrix, 0, last - middle) for fit, matrix in sliced.items()}, v)
    for fit in usable:
        candidates[fit.label] = seconds[fit] / max(part.nnz, 1)
    best = min(usable, key=lambda fit: seconds[fit])
    told = ", ".join(f"{name} {1e9 * rate:.2f}" for name, rate in candidates.items())
    return best, f"a slice takes {told} ns per entry"


def time_slices(
    jobs: dict[Any, tuple[Matrix, int, int]], v: Array, columns: int | None = None
) -> dict[Any, float]:
    """Return seconds of each ``A[first:last] v``, the least of interleaved calls, one thread."""
    calls: dict[Any, Callable[[], Any]] = {}
    for key, (matrix, first, last) in jobs.items():
        out = np.empty((last - first) * (columns or 1) + LANES, dtype=v.dtype)
        calls[key] = partial(multiply, matrix, columns, first, last, v, out)
        calls[key]()  # compiles, warms the cache
    best = dict.fromkeys(calls, np.inf)
    for _ in range(5):
        for key, call in calls.items():
            begin = time.perf_counter()
            call()
            call()
            best[key] = min(best[key], (time.perf_counter() - begin) / 2)
    return best


def steps_per_pass(
    matrix: Matrix, strips: Strips, nnz: int, columns: int | None
) -> tuple[int, str]:
    """Return how many steps of a recurrence a pass should make, and why; two slices are timed."""
    n, width = strips.rows, columns or 1
    dtype = matrix.data.dtype
    total, per_row = n_bytes(matrix), 3 * dtype.itemsize * width
    if total + per_row * n <= 1.5 * cache_bytes():
        return 1, "the matrix stays in cache by itself"
    depth = _fitting(strips, total / max(nnz, 1), per_row)
    if depth < 3:
        return 1, "its fronts are too wide to block"
    # Rows that stay in cache, and rows from memory.
    v = np.ones(n * width, dtype=dtype)
    entries = SLICE if columns is None else SLICE // 4
    n_slice = max(int(entries / max(nnz / n, 1)) // GRANULE * GRANULE, GRANULE)
    middle = max(n // 2 // GRANULE * GRANULE - n_slice, 0)
    job = (matrix, middle, min(middle + n_slice, n))
    cached = time_slices({0: job}, v, columns)[0] / n_slice
    streamed = _streamed(matrix, columns, v) / n
    gain = streamed / max(cached, streamed / depth)
    if gain < GAIN:
        return 1, f"blocking would gain {gain:.2f} only"
    return depth, f"blocking gains {gain:.2f}"


def _streamed(matrix: Matrix, columns: int | None, v: Array) -> float:
    """Return seconds of one product by one thread, as long as memory lets it."""
    width = columns or 1
    n, run = v.size // width, 64 * STRIP // width // GRANULE * GRANULE or GRANULE
    out = np.empty(run * width + LANES, dtype=v.dtype)
    begin = time.perf_counter()
    for first in range(0, n, run):
        multiply(matrix, columns, first, min(first + run, n), v, out)
    return time.perf_counter() - begin


def _fitting(strips: Strips, per_entry: float, per_row: float) -> int:
    """Return the most steps per pass whose fronts fit into the cache."""
    depth = 1
    while depth < DEEPEST and window(strips, depth + 1, per_entry, per_row) <= cache_bytes():
        depth += 1
    return depth


def alike(report: ExecutionReport) -> Execution | None:
    """Return options that lay a matrix of the same pattern out as that one was, untimed."""
    if report.seconds == 0:
        return None  # as is
    name = cast("Any", report.format.split()[0])
    return Execution(format=name, depth=report.depth, reorder=report.reordered)
