"""The command line: ``spectool demo``, ``bench``, ``spectrum``, ``kernels``, ``plan`` and others.

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
    from spectool.bench.dense.run import DenseRun
    from spectool.bench.funm.run import FunmRun
    from spectool.bench.kernels.records import KernelRun
    from spectool.bench.learned.run import LearnedRun
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
    int | None,
    typer.Option(
        min=1, help="Threads of spectool's kernels, all cores by default; dense: of BLAS, one."
    ),
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
    suite: Annotated[
        str, typer.Argument(help="solve, funm, dense, learned, kernels, demo or quick.")
    ],
    output: Annotated[Path | None, typer.Option(help="JSON Lines file of all results.")] = None,
    only: Annotated[
        str, typer.Option(help="Shell pattern of matrix names; dense: of steps, as the bar shows.")
    ] = "*",
    limit: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds per attempt; not for kernels.")
    ] = None,
    seed: Seed = None,
    threads: Threads = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Roofline (kernels), performance profile (solve), estimates and seconds (funm), "
            "steps and seconds (dense), matvecs (learned): .svg, .png or .pdf."
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="funm: honesty, rivals or large; dense: iterations, polar, roots, planning or "
            "robust; learned: designs, coefficients or planning; repeatable, all by default."
        ),
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
        bool, typer.Option("--tiny", help="kernels, funm, dense and learned: tiny matrices only.")
    ] = False,
    no_progress: NoProgress = False,
) -> None:
    """Run a benchmark suite; print a table and whether promises are kept."""
    import dataclasses

    if suite == "dense":
        _blas_threads(threads)
    _prepare(threads)
    from spectool.errors import InputError

    with _complaints():
        if suite == "kernels":
            if limit is not None or seed is not None:
                raise InputError("bench kernels takes no --limit and no --seed.")
            if part or method:
                raise InputError("--part is for bench funm, dense and learned, --method for funm.")
            from spectool.cli.benches import bench_kernels

            _leave(bench_kernels(output, plot, only, degree, columns, seconds, tiny, no_progress))
            return
        if degree or columns or seconds is not None:
            raise InputError("--degree, --columns and --seconds belong to bench kernels.")
        if suite == "funm":
            from spectool.cli.benches import bench_funm

            _leave(bench_funm(output, plot, only, limit, seed, part, method, tiny, no_progress))
            return
        if method:
            raise InputError("--method belongs to bench funm.")
        if suite == "dense":
            from spectool.cli.benches import bench_dense

            _leave(bench_dense(output, plot, only, limit, seed, part, tiny, no_progress))
            return
        if suite == "learned":
            if limit is not None:
                raise InputError("bench learned counts, and takes no --limit.")
            from spectool.cli.benches import bench_learned

            _leave(bench_learned(output, plot, only, seed, part, tiny, no_progress))
            return
        if part:
            raise InputError("--part belongs to bench funm, dense and learned.")
        if tiny:
            raise InputError("--tiny belongs to bench kernels, funm, dense and learned.")
        if plot is not None and suite != "solve":
            raise InputError("--plot belongs to bench kernels, solve, funm, dense and learned.")
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
        run = _run(chosen, seed, no_progress, output)
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
def plan(
    function: Annotated[
        str,
        typer.Argument(
            help="Dense: inv, sign, polar, sqrt, invsqrt, root or inverse_root. Sparse, with "
            "--task: a name of the collection or a Matrix Market file."
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option(help="Sparse: solve, eigs, exp, sqrt, invsqrt, log, inv and others."),
    ] = None,
    rhs: Annotated[int, typer.Option(min=1, help="Sparse: right-hand sides.")] = 1,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Sparse: eigenpairs.")] = None,
    time: Annotated[float, typer.Option("--t", help="Sparse: multiplies A in functions.")] = 1.0,
    spectrum: Annotated[
        Path | None, typer.Option(help="Eigenvalues (singular values for polar): .npy or text.")
    ] = None,
    matrix: Annotated[
        Path | None, typer.Option(help="One matrix, whose spectrum is sketched: .npy or .mtx.")
    ] = None,
    distribution: Annotated[
        str | None,
        typer.Option(
            help="wishart, wishart-uniform, uniform, quartic, erdos-renyi, images, heavy-tailed or "
            "gaussian: three matrices are drawn."
        ),
    ] = None,
    interval: Annotated[
        float | None, typer.Option(help="Only the smallest value over the largest is known.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Order of drawn matrices.")] = 256,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Of drawn matrices, or degrees of freedom; n.")
    ] = None,
    p: Annotated[int | None, typer.Option("--p", min=1, help="Which root.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float64, float32, bfloat16 or float16.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, torch or cuda.")] = None,
    rtol: Annotated[float | None, typer.Option(help="For ||R||_F / sqrt(n).")] = None,
    costs: Annotated[
        str | None,
        typer.Option(help="Like inverse=2.9,eigh=4, in products; measured here if not given."),
    ] = None,
    iterations_only: Annotated[
        bool, typer.Option("--iterations-only", help="Without LAPACK's methods.")
    ] = False,
    pair: Annotated[
        bool, typer.Option("--pair", help="Square root and inverse square root together.")
    ] = False,
    max_time: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds of searching; dense: 1.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of drawn matrices, sketches and searches.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of BLAS; one.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the plan as JSON.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw spectrum and loss through the steps: .svg, .png or .pdf."),
    ] = None,
) -> None:
    """Plan a sparse task, or the steps of a dense function; print what else was considered."""
    if task is not None:
        _prepare(threads)
        from spectool.cli.plans import sparse_plan

        with _complaints():
            made = sparse_plan(
                _load(function), task, rtol, rhs, k, time, max_time, seed, output=output
            )
            typer.echo(f"{function}: {made}")
        return
    _blas_threads(threads)
    _prepare(None)
    from spectool.cli.planning import draw_plan, make_plan, plan_lines, subject

    with _complaints():
        found = make_plan(
            function,
            subject(spectrum, matrix, distribution, interval, n, rows, seed),
            p=p,
            rtol=rtol,
            dtype=dtype,
            device=device,
            costs=costs,
            max_time=1.0 if max_time is None else max_time,
            iterations_only=iterations_only,
            pair=pair,
            seed=seed,
        )
        for line in plan_lines(found):
            typer.echo(line)
        if output is not None:
            output.write_text(found.to_json() + "\n", encoding="utf-8")
            typer.echo(f"plan: {output}")
        if plot is not None:
            draw_plan(found, plot)
            typer.echo(f"picture: {plot}")


@app.command()
def train(
    task: Annotated[str, typer.Argument(help="selector, completion or predictor-TASK-PARADIGM.")],
    output: Annotated[
        Path | None, typer.Option(help="Weights; TASK.npz in this folder if not given.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Kept after every epoch and gone on from; beside output.")
    ] = None,
    problems: Annotated[int | None, typer.Option(min=20, help="Synthetic spectra.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most passes over the rows.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of data and weights.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of data and torch; two.")] = None,
    no_progress: NoProgress = False,
) -> None:
    """Train a network on synthetic spectra; Ctrl-C keeps the checkpoint."""
    _prepare(None)
    from spectool.cli.training import card_lines, train_network

    path = output or Path(f"{task}.npz")
    with _complaints():
        try:
            found = train_network(
                task, path, checkpoint, problems, epochs, seed, threads, no_progress
            )
        except KeyboardInterrupt:
            typer.echo("interrupted: run the same command again to go on", err=True)
            raise typer.Exit(INTERRUPTED) from None
    for line in card_lines(found, path):
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


def _blas_threads(threads: int | None) -> None:
    """Let BLAS, whose products are all there is here, use this many threads."""
    from spectool.bench.machine import BLAS_VARIABLES

    if threads is not None:
        for name in BLAS_VARIABLES:
            os.environ[name] = str(threads)


def _run(suite: Suite, seed: int | None, no_progress: bool, output: Path | None = None) -> Run:
    from spectool.bench.run import SEED, n_steps, run_suite
    from spectool.bench.tables import as_tables
    from spectool.progress import steps_bar

    with steps_bar(disable=no_progress) as bar:
        step = bar.add_task("warming up", total=n_steps(suite))
        run = run_suite(
            suite,
            seed=SEED if seed is None else seed,
            advance=lambda name, n: bar.update(step, advance=n, description=name),
            keep=lambda so_far: None if output is None else so_far.write_jsonl(output),
        )
    if output is not None:
        run.write_jsonl(output)
    Console().print(as_tables(run.rows, suite.title))
    return run


def _leave(run: Run | KernelRun | FunmRun | DenseRun | LearnedRun) -> None:
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
