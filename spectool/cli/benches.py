"""The benchmarks with engines of their own: what they print, write and draw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, RenderableType

if TYPE_CHECKING:
    from spectool.bench.bars import Bar
    from spectool.bench.dense.run import DenseRun
    from spectool.bench.funm.run import FunmRun
    from spectool.bench.kernels.records import KernelRun
    from spectool.bench.learned.run import LearnedRun
    from spectool.bench.machine import Machine


def bench_kernels(
    output: Path | None,
    plot: Path | None,
    only: str,
    degrees: list[int] | None,
    widths: list[int] | None,
    seconds: float | None,
    tiny: bool,
    no_progress: bool,
) -> KernelRun:
    """Run ``bench kernels``: print tables and bars, write rows, draw a roofline."""
    from spectool.bench.kernels.bars import bars
    from spectool.bench.kernels.cases import kernel_cases
    from spectool.bench.kernels.run import SECONDS, STREAM, n_steps, run_kernels
    from spectool.bench.kernels.tables import as_tables, draw_roofline
    from spectool.progress import steps_bar

    cases = kernel_cases(tiny=tiny, only=only)
    degrees, widths = degrees or [16], widths or [1, 8]
    with steps_bar(disable=no_progress) as bar:
        step = bar.add_task("measuring memory", total=n_steps(cases, degrees, widths))
        run = run_kernels(
            cases,
            degrees=degrees,
            widths=widths,
            seconds=seconds if seconds is not None else 0.0 if tiny else SECONDS,
            stream=1_000 if tiny else STREAM,
            advance=lambda name, n: bar.update(step, advance=n, description=name),
        )
    console = Console()
    Console(width=max(console.width, 110)).print(as_tables(run))
    for line in bars(run):
        console.print(str(line), highlight=False, soft_wrap=True)
    if output is not None:
        run.write_jsonl(output)
        console.print(f"results: {output}", highlight=False, soft_wrap=True)
    if plot is not None:
        draw_roofline(run, plot)
        console.print(f"roofline: {plot}", highlight=False, soft_wrap=True)
    return run


def bench_funm(
    output: Path | None,
    plot: Path | None,
    only: str,
    limit: float | None,
    seed: int | None,
    parts: list[str] | None,
    methods: list[str] | None,
    tiny: bool,
    no_progress: bool,
) -> FunmRun:
    """Run ``bench funm``: print tables and bars, write rows, draw estimates and seconds."""
    from spectool.bench.funm.run import PARTS, funm_plan, run_funm
    from spectool.bench.run import SEED
    from spectool.progress import steps_bar

    seed = SEED if seed is None else seed
    plan = funm_plan(
        parts or PARTS, only=only, limit=limit, methods=methods or ("auto",), seed=seed, tiny=tiny
    )
    with steps_bar(disable=no_progress) as bar:
        step = bar.add_task("warming up", total=plan.n_steps)
        run = run_funm(
            plan,
            seed=seed,
            advance=lambda name, n: bar.update(step, advance=n, description=name),
        )
    _show(run, output, plot, width=120)
    return run


def bench_dense(
    output: Path | None,
    plot: Path | None,
    only: str,
    limit: float | None,
    seed: int | None,
    parts: list[str] | None,
    tiny: bool,
    no_progress: bool,
) -> DenseRun:
    """Run ``bench dense``: print tables and bars, write rows, draw counts, seconds and losses."""
    from spectool.bench.dense.run import PARTS, dense_jobs, run_dense
    from spectool.bench.run import SEED
    from spectool.progress import steps_bar

    jobs = dense_jobs(parts or PARTS, only=only, limit=limit, tiny=tiny)
    with steps_bar(disable=no_progress) as bar:
        step = bar.add_task("warming up", total=len(jobs))
        run = run_dense(
            jobs,
            seed=SEED if seed is None else seed,
            advance=lambda name, n: bar.update(step, advance=n, description=name),
        )
    _show(run, output, plot, width=140)
    if not run.rows:
        Console().print("nothing was run: the part robust needs torch", highlight=False)
    return run


def bench_learned(
    output: Path | None,
    plot: Path | None,
    only: str,
    seed: int | None,
    parts: list[str] | None,
    tiny: bool,
    no_progress: bool,
) -> LearnedRun:
    """Run ``bench learned``: print tables and bars, write rows, draw overheads."""
    from spectool.bench.learned.run import PARTS, learned_jobs, run_learned
    from spectool.bench.run import SEED
    from spectool.progress import steps_bar

    jobs = learned_jobs(parts or tuple(PARTS), only=only, tiny=tiny)
    with steps_bar(disable=no_progress) as bar:
        step = bar.add_task("warming up", total=len(jobs))
        run = run_learned(
            jobs,
            seed=SEED if seed is None else seed,
            advance=lambda name, n: bar.update(step, advance=n, description=name),
        )
    _show(run, output, plot, width=120)
    return run


class _Run(Protocol):
    """What the benchmarks of several parts bring."""

    @property
    def machine(self) -> Machine: ...
    @property
    def seconds(self) -> float: ...
    def bars(self) -> list[Bar]: ...
    def as_tables(self) -> RenderableType: ...
    def write_jsonl(self, path: Path) -> None: ...
    def draw(self, path: Path) -> bool: ...


def _show(run: _Run, output: Path | None, plot: Path | None, *, width: int) -> None:
    """Print tables and bars, write rows, draw the picture."""
    console = Console()
    Console(width=max(console.width, width)).print(run.as_tables())
    for line in run.bars():
        console.print(str(line), highlight=False, soft_wrap=True)
    console.print(f"{run.seconds:.0f} s in all; BLAS threads: {run.machine.blas}", highlight=False)
    if output is not None:
        run.write_jsonl(output)
        console.print(f"results: {output}", highlight=False, soft_wrap=True)
    if plot is not None and run.draw(plot):
        console.print(f"picture: {plot}", highlight=False, soft_wrap=True)
