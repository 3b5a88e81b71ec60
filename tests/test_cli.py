"""The command line, in this process."""

import json
import os
import subprocess
import sys

import pytest
import scipy.io
from typer.testing import CliRunner

from spectool import gallery
from spectool.bench import run as bench_run
from spectool.bench.measure import Task
from spectool.bench.tasks import TASKS
from spectool.cli import app

SEED = ["--seed", "173205080"]


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_quick_demo_writes_a_report(tmp_path):
    result = call("demo", "--quick", "--no-progress", "--output", tmp_path / "report", *SEED)
    assert result.exit_code == 0, result.output
    assert "report: file://" in result.output
    assert "<svg" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    lines = (tmp_path / "report" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["task"] for line in lines} == {
        "solve", "exp", "sqrt", "invsqrt", "eigenpairs",
    }  # fmt: skip


def test_bench_solve_prints_a_verdict_and_writes_rows(tmp_path):
    output = tmp_path / "rows.jsonl"
    result = call(
        "bench", "solve", "--only", "HB/bcsstk01", "--no-progress", "--output", output,
        "--plot", tmp_path / "profile.svg", *SEED,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "right wherever Jacobi CG is: kept" in result.output
    assert "spectool cg: within 1.05x" in result.output
    assert "<svg" in (tmp_path / "profile.svg").read_text()
    assert len(output.read_text().splitlines()) == 6


def test_bench_limits_each_attempt():
    result = call("bench", "solve", "--only", "HB/bcsstk01", "--no-progress", "--limit", "1e-6")
    assert result.exit_code == 0, result.output
    assert "time-out" in result.output


def test_tables_fit_eighty_columns():
    result = call("bench", "quick", "--only", "HB/bcsstk02", "--no-progress", *SEED)
    table = result.output.split("spectool's place")[0]
    assert max(map(len, table.splitlines())) <= 80


def test_bench_of_an_unknown_suite_is_one_line():
    result = call("bench", "nothing")
    assert result.exit_code == 1
    assert result.output.startswith("spectool: suite must be one of")


def test_ctrl_c_writes_the_report_and_says_so(tmp_path, monkeypatch):
    def interrupt(problem, answers):
        raise KeyboardInterrupt

    solve = TASKS["solve"]
    monkeypatch.setitem(
        TASKS, "exp", Task("exp", TASKS["exp"].contestants, interrupt, solve.tolerance)
    )
    monkeypatch.setattr(bench_run, "_warm_up", lambda *_: None)
    result = call("demo", "--quick", "--no-progress", "--output", tmp_path, *SEED)
    assert result.exit_code == 130
    assert "interrupted" in result.output
    assert "HB/bcsstk01" in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz"])
def test_spectrum_of_a_file(tmp_path, suffix):
    import gzip

    plain = tmp_path / "a.mtx"
    scipy.io.mmwrite(plain, gallery.poisson((6, 6)))
    path = tmp_path / f"b{suffix}"
    content = plain.read_bytes()
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    result = call("spectrum", path, *SEED)
    assert result.exit_code == 0, result.output
    assert "36 eigenvalues" in result.output
    assert "upper end" in result.output
    assert "Ritz values from" in result.output


def test_spectrum_draws_its_density(tmp_path):
    result = call("spectrum", "HB/bcsstk01", "--plot", tmp_path / "a.svg", *SEED)
    assert result.exit_code == 0, result.output
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_spectrum_of_a_nonsymmetric_matrix_is_one_line():
    result = call("spectrum", "HB/west0067")
    assert result.exit_code == 1
    assert result.output.startswith("spectool: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["missing.mtx", "no-group"])
def test_unknown_matrices_are_one_line(name):
    result = call("spectrum", name)
    assert result.exit_code == 1
    assert name in result.output


def test_a_file_that_is_no_matrix_is_one_line(tmp_path):
    (tmp_path / "a.mtx").write_text("nothing\n")
    result = call("spectrum", tmp_path / "a.mtx")
    assert result.exit_code == 1
    assert "not a Matrix Market file" in result.output


def test_precondition_prints_the_report():
    result = call("precondition", "HB/bcsstk01", *SEED)
    assert result.exit_code == 0, result.output
    assert "set-up" in result.output


def test_bench_kernels_prints_bars_and_writes_rows_and_a_roofline(tmp_path):
    output, plot = tmp_path / "rows.jsonl", tmp_path / "roof.svg"
    result = call(
        "bench", "kernels", "--tiny", "--degree", "4", "--columns", "2", "--no-progress",
        "--output", output, "--plot", plot,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Degree 4, 2 vectors" in result.output
    assert "every plan agrees with scipy" in result.output
    assert {json.loads(line)["columns"] for line in output.read_text().splitlines()} == {2}
    assert "<svg" in plot.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["kernels", "--limit", "1"],
        ["kernels", "--only", "nothing"],
        ["solve", "--tiny"],
        ["quick", "--plot", "a.svg"],
    ],
)
def test_options_of_another_suite_are_one_line(arguments):
    result = call("bench", *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("spectool: ")
    assert len(result.output.splitlines()) == 1


def test_kernels_says_how_and_why():
    result = call("kernels", "HB/bcsstk16", "--products", "1e6")
    assert result.exit_code == 0, result.output
    assert "4,884 rows" in result.output
    assert "because" in result.output
    assert "timed: csr" in result.output


def test_kernels_of_few_products_stays_with_csr():
    result = call("kernels", "HB/west0067", "--products", "5", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    assert "csr in float32" in result.output
    assert "would not repay" in result.output


@pytest.mark.parametrize(
    "arguments", [["HB/bcsstk01", "--dtype", "float16"], ["missing.mtx"], ["wide.mtx"]]
)
def test_kernels_complains_in_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scipy.io.mmwrite("wide.mtx", gallery.poisson((6,))[:3])
    result = call("kernels", *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("spectool: ")


def test_warmup_says_where_the_cache_lies(monkeypatch, fixed_costs):
    from spectool.cli import compiling

    everything = list(compiling._uses())
    monkeypatch.setattr(compiling, "_uses", lambda: iter([everything[0], *everything[-2:]]))
    result = call("warmup", "--no-progress")
    assert result.exit_code == 0, result.output
    assert "kept in" in result.output or "NUMBA_DISABLE_JIT" in result.output


@pytest.mark.slow
def test_warmup_uses_every_format(fixed_costs):
    from spectool.cli import compiling

    seen = []
    compiling.compile_usual(seen.append)
    assert len(seen) == compiling.n_steps()
    names = " ".join(seen)
    for part in ("csr", "long rows", "sell", "dia 5", "dia 7", "dia 9", "bsr 2", "bsr 3", "bsr 6"):
        assert part in names


def test_version_and_help():
    assert call("--version").output.startswith("spectool ")
    assert "demo" in call("--help").output


def test_importing_the_command_line_loads_no_numpy():
    code = "import sys, spectool.cli, spectool.bench.machine; print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_blas_is_pinned_where_numpy_comes_later():
    code = (
        "from spectool.bench.machine import pin_blas, blas_state; pin_blas(); import numpy; "
        "print(blas_state())"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert out.stdout.startswith("1 ")
