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
        "bench", "solve", "--only", "HB/bcsstk01", "--no-progress", "--output", output, *SEED
    )
    assert result.exit_code == 0, result.output
    assert "right wherever Jacobi CG is: kept" in result.output
    assert len(output.read_text().splitlines()) == 3


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
