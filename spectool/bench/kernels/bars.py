"""The promises of the kernel layer, kept or missed by a run of its benchmark."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

from spectool.bench.bars import Bar
from spectool.bench.kernels.records import (
    ALONE,
    AUTOMATIC,
    CSR_PRODUCT,
    FAILED,
    ONE_VECTOR,
    PRODUCT,
    SCIPY,
    Comparison,
    KernelRun,
    Roof,
    Timing,
    compared,
)

DEGREE = 16
"""The degree that the bars speak of."""
SHORT_ROWS, LONG_ROWS = 12, 26
"""Mean entries per row up to, and from, which rows count as short and long."""
CALLS = 20_000
"""Entries below which a product is mostly its call."""
NOISE = 0.97
"""A ratio from here up is no loss."""
TYPES = {"float64": "f64", "float32": "f32"}


def bars(run: KernelRun) -> list[Bar]:
    """Return the promises about large matrices, each kept or missed.

    Means are geometric, over matrices whose CSR form is beyond the cache, at degree 16.
    """
    found = compared(run.timings)
    large = [entry for entry in found if entry.first.large and entry.first.degree == DEGREE]
    single = [entry for entry in large if entry.first.columns == 1]
    eight = [entry for entry in large if entry.first.columns == 8]
    return [
        *_speed(single, "float64", 2.6, 6.0),
        *_speed(single, "float32", 3.2, 10.0),
        *_blocking(found),
        _mean("8 vectors, float64, over scipy's chain", eight, lambda e: e.speedup("float64"), 4.5),
        _mean(
            "8 vectors, per vector over one by the same plan", eight, _per_vector(AUTOMATIC), 2.0
        ),
        _mean("8 vectors, per vector over one by CSR", eight, _per_vector("csr"), None),
        _bandwidth(single, run.roof),
        _alone([entry for entry in found if entry.first.columns == 1]),
        _choice(large),
        _setup(single),
        _exact(run.timings),
    ]


def _speed(entries: Sequence[Comparison], dtype: str, mean: float, best: float) -> Iterator[Bar]:
    name = f"degree {DEGREE}, one vector, {dtype}, over scipy's float64 chain"
    yield _mean(name, entries, lambda e: e.speedup(dtype), mean)
    gains = {entry.first.matrix: entry.speedup(dtype) for entry in entries}
    top = max(gains, key=lambda matrix: gains[matrix], default="")
    yield Bar(
        f"its best at least {best:g}x",
        f"{gains[top]:.2f}x on {top}" if top else "",
        gains[top] >= best if top else None,
    )
    if dtype == "float32":
        same = lambda e: e.speedup(dtype, rival=dtype)  # noqa: E731
        yield _mean(f"the same over scipy's {dtype} chain", entries, same, None)


def _mean(
    text: str,
    entries: Sequence[Comparison],
    ratio: Callable[[Comparison], float],
    least: float | None,
) -> Bar:
    """Return a bar on the geometric mean; ``least`` None only tells the figure."""
    values = [value for entry in entries if not math.isnan(value := ratio(entry))]
    text += f" at least {least:g}x" if least is not None else ""
    if not values:
        return Bar(text, "", None)
    mean = statistics.geometric_mean(values)
    figure = f"{mean:.2f}x ({_matrices(values)}, {min(values):.2f}x to {max(values):.2f}x)"
    return Bar(text, figure, None if least is None else mean >= least)


def _matrices(values: Sequence[float]) -> str:
    return "1 matrix" if len(values) == 1 else f"{len(values)} matrices"


def _per_vector(job: str) -> Callable[[Comparison], float]:
    def gain(entry: Comparison) -> float:
        one = entry.seconds("float64", job + ONE_VECTOR)
        return one * entry.first.columns / entry.seconds("float64", AUTOMATIC)

    return gain


def _blocking(found: Sequence[Comparison]) -> Iterator[Bar]:
    """Judge gains where the automatic plan is blocked, and losses wherever any plan is."""
    short: list[float] = []
    everywhere: dict[str, float] = {}
    for entry in found:
        first = entry.first
        for dtype in entry.dtypes:
            gains = entry.blocking(dtype)
            for name, gain in gains.items():
                where = (
                    f"{first.matrix} {name} {TYPES[dtype]} degree {first.degree} x{first.columns}"
                )
                everywhere[where] = gain
            chosen = entry[dtype, AUTOMATIC]
            if (
                chosen is not None
                and chosen.depth > 1
                and (name := chosen.plan.split()[0]) in gains
                and first.large
                and first.nnz <= SHORT_ROWS * first.n
            ):
                short.append(gains[name])
    text = f"blocking, where chosen, at least 1.4x on rows of up to {SHORT_ROWS} entries"
    mean = statistics.geometric_mean(short) if short else math.nan
    figure = (
        f"{mean:.2f}x ({len(short)} plans, {min(short):.2f}x to {max(short):.2f}x)" if short else ""
    )
    yield Bar(text, figure, mean >= 1.4 if short else None)
    worst = min(everywhere, key=lambda where: everywhere[where], default="")
    yield Bar(
        f"blocking never below {NOISE}x of the same format unblocked",
        f"{everywhere[worst]:.2f}x at worst, {worst} ({len(everywhere)} plans)" if worst else "",
        everywhere[worst] >= NOISE if worst else None,
    )


def _bandwidth(entries: Sequence[Comparison], roof: Roof) -> Bar:
    """Judge the plain CSR product of long rows by the bytes it must move."""
    text = f"CSR product, rows of {LONG_ROWS} entries or more, at 90% of the triad"
    products = [
        timing
        for entry in entries
        if entry.first.nnz >= LONG_ROWS * entry.first.n
        and (timing := entry["float64", CSR_PRODUCT]) is not None
    ]
    if not products:
        return Bar(text, "", None)
    parts = [timing.bound(roof.triad) / timing.seconds for timing in products]
    of_reading = [timing.bound(roof.read) / timing.seconds for timing in products]
    figure = (
        f"{min(parts):.1%} to {max(parts):.1%} ({_matrices(parts)}; {min(of_reading):.0%} to "
        f"{max(of_reading):.0%} of reading alone)"
    )
    return Bar(text, figure, min(parts) >= 0.9)


def _alone(entries: Sequence[Comparison]) -> Bar:
    """Judge the CSR product on one thread, on all matrices where it is more than its call."""
    text = f"CSR product on one thread never below {NOISE}x of scipy's"
    gains = {
        entry.first.matrix: entry.seconds("float64", PRODUCT + SCIPY)
        / entry.seconds("float64", CSR_PRODUCT + ALONE)
        for entry in entries
        if entry.first.nnz >= CALLS
    }
    if not gains:
        return Bar(text, "", None)
    worst = min(gains, key=lambda matrix: gains[matrix])
    return Bar(text, f"{gains[worst]:.2f}x at worst, {worst}", gains[worst] >= NOISE)


def _choice(entries: Sequence[Comparison]) -> Bar:
    text = "automatic plan within 5% of the best forced one on 90% of cases"
    losses = {
        f"{entry.first.matrix} {TYPES[dtype]} x{entry.first.columns}": entry.loss(dtype)
        for entry in entries
        for dtype in entry.dtypes
    }
    if not losses:
        return Bar(text, "", None)
    near = sum(loss <= 1.05 for loss in losses.values()) / len(losses)
    worst = max(losses, key=lambda where: losses[where])
    figure = f"{near:.0%} of {len(losses)} cases; {losses[worst]:.2f}x at worst, {worst}"
    return Bar(text, figure, near >= 0.9)


def _setup(entries: Sequence[Comparison]) -> Bar:
    text = "set-up of the automatic plan below 15 products, reordering apart"
    costs = {
        f"{entry.first.matrix} {TYPES[dtype]}": entry.setup(dtype)
        for entry in entries
        if not entry.first.reordered
        for dtype in entry.dtypes
    }
    if not costs:
        return Bar(text, "", None)
    worst = max(costs, key=lambda where: costs[where])
    median = statistics.median(costs.values())
    figure = f"{median:.1f} in the median, {costs[worst]:.1f} at most, {worst}"
    return Bar(text, figure, costs[worst] < 15)


def _exact(timings: Sequence[Timing]) -> Bar:
    """Tell the largest errors; the engine has refused wrong ones and bits that differ by thread."""
    text = "every plan agrees with scipy, and has the same bits on any number of threads"
    failed = [timing.matrix for timing in timings if timing.job == FAILED]
    ours = [t for t in timings if SCIPY not in t.job and t.job != FAILED]
    if not ours:
        return Bar(text, ", ".join(failed), False if failed else None)
    errors = [
        f"{dtype} {max(errors):.1e}"
        for dtype in TYPES
        if (errors := [timing.error for timing in ours if timing.dtype == dtype])
    ]
    figure = f"largest relative errors {', '.join(errors)}"
    return Bar(text, "; failed: ".join([figure, *failed]), not failed)
