"""The command line: ``spectool demo``, ``bench``, ``spectrum``, ``kernels`` and others.

Commands import what they need when they run: ``--help`` is quick, and BLAS can be pinned to one
thread before numpy is loaded.
"""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from spectool.errors import SpectoolError

if TYPE_CHECKING:
    from spectool.bench.funm_run import FunmRun
    from spectool.bench.kernel_records import KernelRun
    from spectool.bench.run import Run
    from spectool.bench.suites import Suite
    from spectool.spectrum import Spectrum

__all__ = ["app"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

app = typer.Typer(
    name="spectool",
    help="Matrix polynomials for large sparse operators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

Matrix = Annotated[
    str, typer.Argument(help="Name in the collection (HB/bcsstk16) or a .mtx or .mtx.gz file.")
]
Seed = Annotated[int | None, typer.Option(help="Seeds right-hand sides and probes.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of spectool's kernels; all cores by default.")
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Draw no progress bar.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spectool {importlib.metadata.version('spectool')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Matrix polynomials for large sparse operators."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    quick: Annotated[bool, typer.Option("--quick", help="Tiny matrices only.")] = False,
    seed: Seed = None,
    threads: Threads = None,
    no_progress: NoProgress = False,
) -> None:
    """Solve, apply functions and find eigenpairs beside scipy; write a report."""
    _prepare(threads)
    from spectool.bench.report import write_report
    from spectool.bench.suites import load_suite
    from spectool.bench.tables import summary

    with _complaints():
        run = _run(load_suite("quick" if quick else "demo"), seed, no_progress)
        page = write_report(run, output)
    console = Console()
    console.print(summary(run.rows), highlight=False, soft_wrap=True)
    console.print(f"report: {page.resolve().as_uri()}", highlight=False, soft_wrap=True)
    _leave(run)


@app.command()
def bench(
    suite: Annotated[str, typer.Argument(help="solve, funm, demo, quick or kernels.")],
    output: Annotated[Path | None, typer.Option(help="JSON Lines file of all results.")] = None,
    only: Annotated[str, typer.Option(help="Shell pattern of matrix names.")] = "*",
    limit: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds per attempt; not for kernels.")
    ] = None,
    seed: Seed = None,
    threads: Threads = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Roofline (kernels), performance profile (solve), estimates and seconds (funm): "
            ".svg, .png or .pdf."
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="funm: honesty, rivals or large; repeatable, all by default."),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="funm: asked for in the honesty part; repeatable.")
    ] = None,
    degree: Annotated[
        list[int] | None, typer.Option(min=1, help="kernels: of the polynomial; repeatable.")
    ] = None,
    columns: Annotated[
        list[int] | None, typer.Option(min=1, help="kernels: of the block; repeatable.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="kernels: of samples per job.")
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="kernels and funm: tiny matrices only.")
    ] = False,
    no_progress: NoProgress = False,
) -> None:
    """Run a benchmark suite; print a table and whether promises are kept."""
    import dataclasses

    _prepare(threads)
    from spectool.errors import InputError

    with _complaints():
        if suite == "kernels":
            if limit is not None or seed is not None:
                raise InputError("bench kernels takes no --limit and no --seed.")
            if part or method:
                raise InputError("--part and --method belong to bench funm.")
            from spectool.cli.benches import bench_kernels

            _leave(bench_kernels(output, plot, only, degree, columns, seconds, tiny, no_progress))
            return
        if degree or columns or seconds is not None:
            raise InputError("--degree, --columns and --seconds belong to bench kernels.")
        if suite == "funm":
            from spectool.cli.benches import bench_funm

            _leave(bench_funm(output, plot, only, limit, seed, part, method, tiny, no_progress))
            return
        if part or method:
            raise InputError("--part and --method belong to bench funm.")
        if tiny:
            raise InputError("--tiny belongs to bench kernels and bench funm.")
        if plot is not None and suite != "solve":
            raise InputError("--plot belongs to bench kernels, bench solve and bench funm.")
    from spectool.bench.suites import load_suite
    from spectool.bench.tables import (
        profile_costs,
        solve_bars,
        solve_speed,
        solve_verdict,
        summary,
    )

    with _complaints():
        chosen = load_suite(suite, only=only)
        if limit is not None:
            chosen = dataclasses.replace(chosen, limit=limit)
        run = _run(chosen, seed, no_progress)
        if output is not None:
            run.write_jsonl(output)
    console = Console()
    console.print(summary(run.rows), highlight=False, soft_wrap=True)
    if any(task.startswith("solve") for task in chosen.tasks):
        lines = [*solve_verdict(run.rows), solve_speed(run.rows), *solve_bars(run.rows)]
        for line in filter(None, lines):
            console.print(f"  {line}", highlight=False, soft_wrap=True)
    if plot is not None:
        from spectool import plotting

        axes = plotting.performance_profile(profile_costs(run.rows), unit="total seconds")
        plotting.save(axes, plot)
    _leave(run)


@app.command()
def kernels(
    matrix: Matrix,
    products: Annotated[
        float, typer.Option(min=0.0, help="Products with one vector that are to follow.")
    ] = 1_000.0,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    threads: Threads = None,
) -> None:
    """Choose how products with a matrix are executed, and print why."""
    _prepare(threads)
    from spectool.cli.plans import execution_lines

    with _complaints():
        for line in execution_lines(matrix, _load(matrix), products, dtype):
            typer.echo(line)


@app.command()
def warmup(threads: Threads = None, no_progress: NoProgress = False) -> None:
    """Compile the usual kernels into numba's cache, so that later processes start fast."""
    _prepare(threads)
    from spectool.cli.compiling import compile_usual, n_steps
    from spectool.progress import steps_bar

    with _complaints(), steps_bar(disable=no_progress) as bar:
        step = bar.add_task("compiling", total=n_steps())
        report = compile_usual(lambda name: bar.update(step, advance=1, description=name))
    typer.echo(report)


@app.command()
def spectrum(
    matrix: Matrix,
    plot: Annotated[
        Path | None, typer.Option(help="Write the density as .svg, .png or .pdf.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Lanczos steps of the probe.")] = None,
    seed: Seed = None,
) -> None:
    """Probe the spectrum of a Hermitian matrix: safe bounds, Ritz values, counts."""
    _prepare(None)
    from spectool import plotting
    from spectool.spectrum import estimate_spectrum

    with _complaints():
        probe = estimate_spectrum(_load(matrix), steps=steps, rng=seed)
        typer.echo(f"{matrix}: {probe}")
        for line in _spectrum_lines(probe):
            typer.echo(f"  {line}")
        if plot is not None:
            plotting.save(plotting.density(probe, ax=plotting.blank_axes()), plot)
            typer.echo(f"  density drawn in {plot}")


@app.command()
def precondition(matrix: Matrix, seed: Seed = None, threads: Threads = None) -> None:
    """Choose a polynomial preconditioner, and print why it was chosen."""
    _prepare(threads)
    from spectool.preconditioners import preconditioner

    with _complaints():
        typer.echo(str(preconditioner(_load(matrix), rng=seed).report))


class _complaints:  # noqa: N801 - reads as a statement
    """Turn errors that spectool raises on purpose into one line and exit status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if isinstance(error, SpectoolError):
            typer.echo(f"spectool: {error}", err=True)
            raise typer.Exit(1) from error


def _prepare(threads: int | None) -> None:
    """Fix thread counts; both work only before numpy and numba are loaded."""
    from spectool.bench.machine import pin_blas

    pin_blas()
    if threads is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)


def _run(suite: Suite, seed: int | None, no_progress: bool) -> Run:
    from spectool.bench.run import SEED, n_steps, run_suite
    from spectool.bench.tables import as_tables
    from spectool.progress import steps_bar

    with steps_bar(disable=no_progress) as bar:
        step = bar.add_task("warming up", total=n_steps(suite))
        run = run_suite(
            suite,
            seed=SEED if seed is None else seed,
            advance=lambda name, n: bar.update(step, advance=n, description=name),
        )
    Console().print(as_tables(run.rows, suite.title))
    return run


def _leave(run: Run | KernelRun | FunmRun) -> None:
    if run.interrupted:
        typer.echo("interrupted: these are the results so far", err=True)
        raise typer.Exit(INTERRUPTED)


def _load(matrix: str) -> Any:
    """Load a matrix of the collection, or read a Matrix Market file."""
    from spectool import collection
    from spectool.collection.reading import read_file
    from spectool.errors import InputError

    if not matrix.endswith((".mtx", ".mtx.gz")):
        return collection.load(matrix)
    path = Path(matrix)
    if not path.is_file():
        raise InputError(f"there is no file {matrix}; give a .mtx file or a name like HB/bcsstk16.")
    if matrix.endswith(".gz"):
        return read_file(path, rhs=False).A
    import scipy.io
    from scipy import sparse

    try:
        return sparse.csr_array(scipy.io.mmread(path, spmatrix=False))
    except ValueError as error:
        raise InputError(f"{matrix} is not a Matrix Market file: {error}") from error


def _spectrum_lines(probe: Spectrum) -> list[str]:
    """Return Ritz values and counts as text."""
    theta = probe.ritz_values
    lines = [
        f"{theta.size} Ritz values from {theta[0]:.6g} to {theta[-1]:.6g}"
        + (", all of them eigenvalues" if probe.complete else "")
    ]
    if theta[0] > 0:
        lines.append(f"condition number at least {theta[-1] / theta[0]:.3g}")
    edges = probe.quantile([0.0, 0.25, 0.5, 0.75, 1.0])
    lines.append("quartiles " + ", ".join(f"{edge:.4g}" for edge in edges[1:4]))
    lower, upper = probe.interval
    for lo, hi, name in (
        (lower, lower + 0.1 * (upper - lower), "lowest"),
        (upper - 0.1 * (upper - lower), upper, "highest"),
    ):
        count = probe.count(lo, hi)
        lines.append(
            f"about {count.value:.0f} +- {count.standard_error:.0f} eigenvalues in the {name} "
            f"tenth of the interval"
        )
    return lines
