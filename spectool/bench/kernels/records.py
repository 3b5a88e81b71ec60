"""What the kernel benchmark says: one timing per job, and the roof above them all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from spectool.bench.kernels.cases import SEED
from spectool.bench.machine import Machine
from spectool.bench.records import finite, write_jsonl

SCIPY, AUTOMATIC, FAILED = "scipy", "automatic", "failed"
CHAIN, PRODUCT = "", "A @ x, "
ALONE, BLOCKED, ONE_VECTOR = ", 1 thread", " blocked", ", one vector"
"""Names of jobs are a kind, a plan and its conditions, as in ``"A @ x, csr, 1 thread"``."""
CSR_PRODUCT = PRODUCT + "csr"
PLANS = ("csr", "sell", "bsr", "dia")


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


class Comparison:
    """The timings of one matrix, degree and width."""

    def __init__(self, timings: Sequence[Timing]) -> None:
        self.first = timings[0]
        self._timings = {(timing.dtype, timing.job): timing for timing in timings}

    def __getitem__(self, key: tuple[str, str]) -> Timing | None:
        return self._timings.get(key)

    def jobs(self, dtype: str) -> Iterator[Timing]:
        """Yield the timings of one precision."""
        return (timing for (kind, _), timing in self._timings.items() if kind == dtype)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Precisions, in order."""
        return tuple(dict.fromkeys(dtype for dtype, _ in self._timings))

    def seconds(self, dtype: str, job: str) -> float:
        """Return the median of one job, nan if it was not run."""
        timing = self[dtype, job]
        return math.nan if timing is None else timing.seconds

    def speedup(self, dtype: str, job: str = AUTOMATIC, rival: str = "float64") -> float:
        """Return how many times faster than scipy's chain in precision ``rival`` the job is."""
        return self.seconds(rival, SCIPY) / self.seconds(dtype, job)

    def best_product(self, dtype: str) -> float:
        """Return the seconds of our fastest plain product with the block."""
        return min(
            timing.seconds
            for timing in self.jobs(dtype)
            if timing.job.startswith(PRODUCT) and SCIPY not in timing.job and _is_full(timing)
        )

    def forced(self, dtype: str) -> list[Timing]:
        """Return the plans forced by hand."""
        names = {name + suffix for name in PLANS for suffix in ("", BLOCKED)}
        return [timing for timing in self.jobs(dtype) if timing.job in names]

    def blocking(self, dtype: str) -> dict[str, float]:
        """Return per blocked format how many times faster it is than the same unblocked."""
        return {
            name: self.seconds(dtype, name) / self.seconds(dtype, name + BLOCKED)
            for name in PLANS
            if self[dtype, name + BLOCKED] is not None and self[dtype, name] is not None
        }

    def loss(self, dtype: str) -> float:
        """Return the seconds of the automatic plan over those of the best forced one."""
        best = min(timing.seconds for timing in self.forced(dtype))
        return self.seconds(dtype, AUTOMATIC) / best

    def setup(self, dtype: str) -> float:
        """Return the set-up of the automatic plan in CSR products with one vector."""
        timing = self[dtype, AUTOMATIC]
        return (
            math.nan if timing is None else timing.setup_seconds / self.seconds(dtype, CSR_PRODUCT)
        )


def _is_full(timing: Timing) -> bool:
    return not timing.job.endswith((ALONE, ONE_VECTOR))


def compared(timings: Iterable[Timing]) -> list[Comparison]:
    """Return the timings per matrix, degree and width, in order; failures are left out."""
    groups: dict[tuple[str, int, int], list[Timing]] = {}
    for timing in timings:
        if timing.job != FAILED:
            key = (timing.matrix, timing.degree, timing.columns)
            groups.setdefault(key, []).append(timing)
    return [Comparison(group) for group in groups.values()]
