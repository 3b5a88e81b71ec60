"""``bench learned`` on a small matrix: rows, tables, promises, files."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

import spectool as st
from spectool.bench.jobs import Job, checked_parts, matching, run_jobs
from spectool.bench.learned.designs import (
    BOTH,
    CHOOSERS,
    LEARNED,
    ORACLE,
    DesignRow,
    best_fixed,
    cg_iterations,
    design_bars,
    interval,
    logs,
    run_designs,
)
from spectool.bench.learned.run import LearnedRun, learned_jobs
from spectool.cli import app
from spectool.errors import InputError
from spectool.learned.portfolio import NAMES
from spectool.operators import as_operator

SEED = 577_215_664


def _rows(factor, matrices=12, degree=8):
    """Return rows where the choice takes ``factor`` times what the best fixed design takes."""
    found = []
    for i in range(matrices):
        fixed = {name: 1.3 + 0.05 * k for k, name in enumerate(NAMES)}
        chosen = dict.fromkeys(CHOOSERS, fixed[NAMES[0]] * factor)
        overheads = fixed | chosen | {ORACLE: 1.1}
        found.append(DesignRow(f"matrix {i}", 100, 200, 0, degree, overheads))
    return found


@pytest.fixture(scope="module")
def rows():
    return list(run_designs("jump", st.gallery.jump((25, 25), rng=SEED), seed=SEED, degrees=(4,)))


def test_rows_hold_every_design(rows):
    assert len(rows) == 2  # two draws
    for row in rows:
        assert set(row.overheads) == {*NAMES, *CHOOSERS}
        assert row.overheads[ORACLE] == min(row.overheads[name] for name in NAMES)
        for label, name in row.chosen.items():
            assert row.overheads[label] == row.overheads[name]
        json.dumps(row.as_record())


def test_counts_are_scipys(rows):
    A = as_operator(st.gallery.poisson((20, 20)), assume_a="her")
    b = np.random.default_rng(SEED).standard_normal(A.n)
    plain = cg_iterations(A, b, None, most=1000)
    solution = st.cg(st.gallery.poisson((20, 20)), b, rtol=1e-8)
    assert abs(plain - solution.n_iterations) <= 2  # sums round in another order
    assert cg_iterations(A, b, None, most=5) == 5


def test_diagonal_and_easy_matrices_have_no_rows():
    assert not list(run_designs("diagonal", np.diag(np.arange(1.0, 9.0)), seed=SEED))
    easy = 10.0 * np.eye(50) + np.ones((50, 50))
    assert not list(run_designs("easy", easy, seed=SEED))


def test_means_are_over_matrices_not_draws():
    two = [
        DesignRow("a", 9, 50, 0, 8, {"x": 2.0}),
        DesignRow("a", 9, 50, 1, 8, {"x": 8.0}),
        DesignRow("b", 9, 50, 0, 8, {"x": 1.0}),
    ]
    assert np.allclose(logs(two, 8, "x"), [math.log(4.0), 0.0])


def test_bars_are_kept_and_missed():
    better = {bar.text: bar.kept for bar in design_bars(_rows(0.9))}
    worse = {bar.text: bar.kept for bar in design_bars(_rows(1.6))}
    assert [kept for text, kept in better.items() if "best fixed" in text] == [True]
    assert [kept for text, kept in worse.items() if "best fixed" in text] == [False]
    assert [kept for text, kept in worse.items() if "no matrix above" in text] == [False]
    assert best_fixed(_rows(1.0), 8) == NAMES[0]


def test_bootstrap_intervals_cover_the_mean():
    values = np.random.default_rng(SEED).normal(-0.1, 0.2, 60)
    low, high = interval(values)
    assert low < math.exp(values.mean()) < high
    assert interval(np.full(5, -0.5)) == pytest.approx((math.exp(-0.5), math.exp(-0.5)))


def test_pictures_have_every_chooser(rows, tmp_path):
    from spectool.bench.machine import describe

    run = LearnedRun(describe(), SEED, tuple(rows), 1.0, False)
    assert run.draw(tmp_path / "learned.svg")
    text = (tmp_path / "learned.svg").read_text("utf-8")
    assert "matvecs over those of plain CG" in text
    assert not LearnedRun(describe(), SEED, (), 1.0, False).draw(tmp_path / "none.svg")


def test_command_line(tmp_path):
    path = tmp_path / "learned.jsonl"
    arguments = ["bench", "learned", "--tiny", "--no-progress", "--output", str(path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert LEARNED in result.output
    assert BOTH in result.output
    assert "planned choice" in result.output
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert {"designs", "coefficients", "planning", "search"} == {r["part"] for r in records}
    assert {record["degree"] for record in records if record["part"] == "designs"} == {4, 8}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "seconds"], "part must be one of"),
        (["--only", "nothing*"], "matches"),
        (["--limit", "3"], "--limit"),
    ],
)
def test_command_line_refuses(arguments, message):
    result = CliRunner().invoke(app, ["bench", "learned", "--tiny", "--no-progress", *arguments])
    assert result.exit_code == 1
    assert message in result.output


def test_matrices_are_those_of_the_collection(monkeypatch):
    monkeypatch.delenv("SPECTOOL_DATA", raising=False)
    names = {job.name for job in learned_jobs(["designs"])}
    assert "HB/bcsstk01" in names


# Jobs.


def test_interrupts_keep_what_is_finished():
    def stops(_seed):
        yield 2
        raise KeyboardInterrupt

    jobs = [Job("a", "one", lambda _: iter([1])), Job("a", "two", stops), Job("a", "three", stops)]
    found = run_jobs(jobs, seed=SEED)
    assert found.rows == (1, 2)
    assert found.interrupted


def test_patterns_and_parts_are_checked():
    jobs = [Job("a", "one", lambda _: iter([1]))]
    assert matching(jobs, "o*", "suite") == tuple(jobs)
    with pytest.raises(InputError, match="it has one"):
        matching(jobs, "x*", "suite")
    with pytest.raises(InputError, match="part must be"):
        checked_parts([], ["a"])
