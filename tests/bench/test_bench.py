"""The benchmark harness: failures are rows, Ctrl-C keeps them, winners are honest."""

import html.parser
import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest

from spectool import gallery
from spectool.bench import machine, tables
from spectool.bench.measure import (
    Answer,
    Contestant,
    OutOfTimeError,
    Task,
    Verdict,
    measure,
    time_limit,
)
from spectool.bench.problems import Problem, sine_basis
from spectool.bench.records import Outcome, Row, score, winners, write_jsonl
from spectool.bench.report import as_html, write_report
from spectool.bench.run import n_steps, run_suite
from spectool.bench.suites import Source, Suite, available_suites, load_suite
from spectool.bench.tasks import TASKS
from spectool.errors import InputError

SEED = 141_421_356


def row(method, seconds, outcome=Outcome.MET, *, ours=False, matrix="a", matvecs=10, error=1e-9):
    return Row(
        matrix, "solve", method, ours, 5, 13, outcome, seconds=seconds, matvecs=matvecs, error=error
    )


def tiny(name="tiny"):
    return Source(name, lambda _seed: gallery.poisson((5, 5)), sine_basis((5, 5)))


def suite(*sources, tasks=("solve",)):
    return Suite("test", "a <suite>", tasks, sources or (tiny(),), limit=5.0)


def task(*contestants):
    return Task("solve", contestants, lambda _p, a: {name: Verdict(0.0) for name in a}, 1e-8)


def fine(_problem, _trace):
    return Answer(1.0)


def raising(error):
    def run(_problem, _trace):
        raise error

    return run


@pytest.fixture
def problem():
    return Problem("tiny", gallery.poisson((5, 5)), SEED)


# --- winners -----------------------------------------------------------------------------------


def test_the_fastest_right_answer_wins():
    rows = [row("a", 2.0), row("b", 1.0), row("c", 0.1, Outcome.INACCURATE)]
    assert [best.method for best in winners(rows)] == ["b"]


def test_times_within_ten_percent_tie():
    rows = [row("a", 1.0), row("b", 1.1), row("c", 1.11)]
    assert [best.method for best in winners(rows)] == ["a", "b"]


@pytest.mark.parametrize("outcome", [Outcome.UNVERIFIED, Outcome.TIMEOUT, Outcome.UNCONVERGED])
def test_nobody_wins_without_a_right_answer(outcome):
    assert winners([row("a", 1.0, outcome)]) == ()


def test_score_counts_losses_too():
    rows = [
        *(row("us", 1.0, ours=True, matrix="won"), row("they", 2.0, matrix="won")),
        *(row("us", 1.0, ours=True, matrix="tied"), row("they", 1.0, matrix="tied")),
        *(row("us", 3.0, ours=True, matrix="lost"), row("they", 1.0, matrix="lost")),
        row("us", math.nan, Outcome.FAILED, ours=True, matrix="worse"),
        row("they", 1.0, matrix="worse"),
        row("us", 1.0, Outcome.UNVERIFIED, ours=True, matrix="open"),
    ]  # fmt: skip
    result = score(rows)
    assert (result.won, result.tied, result.lost, result.open) == (1, 1, 2, 1)


def test_verdict_names_broken_promises():
    rows = [
        row("cg + Jacobi", 1.0, matrix="slow"),
        row("us", 2.0, ours=True, matrix="slow", matvecs=16),
        row("cg + Jacobi", 1.0, matrix="fast"),
        row("us", 0.5, ours=True, matrix="fast", matvecs=16),
        row("cg + Jacobi", 1.0, matrix="bad"),
        row("us", 0.5, Outcome.INACCURATE, ours=True, matrix="bad"),
        row("spectool cg", 0.5, Outcome.INACCURATE, ours=True, matrix="bad"),
        row("cg + Jacobi", 1.0, Outcome.INACCURATE, matrix="scipy's"),
        row("us", 0.5, Outcome.INACCURATE, ours=True, matrix="scipy's"),
    ]
    stranded, costly, wrong, alone = tables.solve_verdict(rows)
    assert "BROKEN on 1: bad" in stranded
    assert "BROKEN on 1: slow (1.6x matvecs" in costly
    assert "BROKEN on 1: bad" in wrong
    assert "spectool cg: no wrong answer: BROKEN on 1: bad" in alone
    speed = tables.solve_speed(rows)  # "bad" is not right, so it does not count
    assert "2 matrices" in speed
    assert "1.00x faster" in speed
    assert "(0.50x to 2.00x)" in speed
    assert tables.solve_speed(rows[4:]) == ""


def test_bars_compare_with_what_does_not_factorize():
    def contest(matrix, jacobi, ours, amg, outcome=Outcome.MET):
        found = [
            row("cg", 9.0, matrix=matrix),
            row("cg + Jacobi", jacobi, matrix=matrix),
            row("cg + pyamg", amg, matrix=matrix),
            row("spectool cg", ours, outcome, ours=True, matrix=matrix),
        ]
        return [replace(entry, task="solve, all") for entry in found]

    rows = [
        *contest("won", 1.0, 0.5, 0.1),
        *contest("small", 0.01, 0.02, 1.0),
        *contest("lost", 1.0, 1.2, 2.0),
        *contest("stranded", 1.0, 0.5, 2.0, Outcome.UNCONVERGED),
    ]
    (line,) = tables.solve_bars(rows)
    assert "on 1 of 4, 1 of 3 where that takes 0.05 s" in line
    assert "BROKEN on 1: lost 1.20x" in line
    large = [replace(entry, nnz=2_000_000) for entry in rows[:4]]
    assert "(1 matrices) 2.00x faster" in tables.solve_bars(large)[1]
    assert tables.solve_bars([]) == []


# --- failures are rows -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contestant", "outcome", "note"),
    [
        (raising(ZeroDivisionError("no pivot")), Outcome.FAILED, "ZeroDivisionError: no pivot"),
        (lambda _p, _t: time.sleep(5), Outcome.TIMEOUT, "stopped after 0.05 s"),
        (lambda _p, _t: Answer(1.0, converged=False), Outcome.UNCONVERGED, ""),
    ],
)
def test_a_failing_contestant_becomes_a_row(problem, contestant, outcome, note):
    rows = list(
        measure(problem, task(Contestant("a", contestant), Contestant("b", fine)), limit=0.05)
    )
    assert [entry.outcome for entry in rows] == [outcome, Outcome.MET]
    assert note in rows[0].note


def test_a_wrong_answer_is_not_met(problem):
    judged = replace(task(Contestant("a", fine)), judge=lambda _p, _a: {"a": Verdict(2e-8)})
    (only,) = measure(problem, judged, limit=1.0)
    assert only.outcome is Outcome.INACCURATE


def test_a_matrix_that_cannot_be_made_is_a_row():
    def gone(_seed):
        raise OSError("gone")

    broken = Source("broken", gone)
    run = run_suite(suite(broken, tiny()), seed=SEED)
    assert run.rows[0].note == "OSError: gone"
    assert len(run.rows) == 4


def test_time_limit_leaves_no_alarm_behind():
    with pytest.raises(OutOfTimeError), time_limit(0.02):
        time.sleep(1)
    with time_limit(0.02):
        pass
    time.sleep(0.04)


def test_ctrl_c_keeps_finished_rows():
    calls = []

    def first_matrix_only(problem, trace):
        calls.append(problem.name)
        if problem.name == "two":
            raise KeyboardInterrupt
        return Answer(1.0)

    contest = task(Contestant("first", fine), Contestant("second", first_matrix_only))
    run = run_suite(
        suite(tiny("one"), tiny("two"), tiny("three")), seed=SEED, tasks={"solve": contest}
    )
    assert run.interrupted
    assert [(r.matrix, r.method) for r in run.rows] == [
        ("one", "first"), ("one", "second"), ("two", "first"),
    ]  # fmt: skip
    assert "three" not in calls
    assert "Ctrl-C" in as_html(run)


def test_every_matrix_is_handed_over_when_it_is_finished():
    contest = task(Contestant("first", fine), Contestant("second", fine))
    kept = []
    run = run_suite(
        suite(tiny("one"), tiny("two")),
        seed=SEED,
        tasks={"solve": contest},
        keep=lambda so_far: kept.append([r.matrix for r in so_far.rows]),
    )
    assert kept == [["one"] * 2, ["one"] * 2 + ["two"] * 2]
    assert kept[-1] == [r.matrix for r in run.rows]


def test_ctrl_c_while_warming_up_gives_an_empty_report(tmp_path):
    contest = task(Contestant("us", raising(KeyboardInterrupt()), ours=True))
    run = run_suite(suite(), seed=SEED, tasks={"solve": contest})
    assert run.interrupted
    assert "Nothing was finished" in write_report(run, tmp_path).read_text()


# --- what is measured --------------------------------------------------------------------------


def test_every_task_runs_on_a_tiny_matrix_and_steps_are_counted():
    steps = []
    everything = suite(tasks=tuple(TASKS))
    run = run_suite(everything, seed=SEED, advance=lambda _name, n: steps.append(n))
    assert sum(steps) == n_steps(everything)
    wrong = [r for r in run.rows if r.ours and r.outcome is not Outcome.MET]
    assert not wrong


def test_solve_counts_what_cg_spends(problem):
    plain, jacobi, ours = measure(problem, TASKS["solve"], limit=5.0)
    iterations = (plain.reductions - 1) // 3
    assert plain.matvecs in (iterations, iterations + 1)
    assert plain.history[0] == (0, 1.0)
    assert plain.history[-1][1] == pytest.approx(plain.error, rel=1e-6)
    assert len(plain.repeats) == 3
    assert {plain.outcome, jacobi.outcome, ours.outcome} == {Outcome.MET}


def test_references_agree():
    A = gallery.poisson((6, 5))
    dense = Problem("dense", A, SEED)
    known = Problem("known", A, SEED, sine_basis((6, 5)))
    for f, singular in ((np.sqrt, False), (lambda x: 1 / np.sqrt(x), True)):
        a, b = (p.reference(f, singular=singular) for p in (dense, known))
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_no_reference_where_rounding_spoils_it():
    lam = np.geomspace(1e-9, 1.0, 30)
    hard = Problem("hard", gallery.random_spectrum(lam, rng=SEED), SEED)
    assert hard.reference(lambda x: 1 / np.sqrt(x), singular=True) is None
    assert hard.reference(np.sqrt, singular=False) is not None


@pytest.mark.parametrize("name", available_suites())
def test_suites_load_and_run_once(name):
    loaded = load_suite(name)
    assert loaded.sources
    run = run_suite(replace(loaded, sources=(tiny(),), repeats=1), seed=SEED)
    assert len(run.rows) == n_steps(run.suite)


def test_prescribed_spectra_have_their_condition_number():
    for source in load_suite("funm", only="*cond 1e3").sources:
        lam = np.linalg.eigvalsh(source.make(SEED).toarray())
        assert lam[-1] / lam[0] == pytest.approx(1e3)


def test_unknown_suites_and_patterns_say_what_exists():
    with pytest.raises(InputError, match="funm"):
        load_suite("nothing")
    with pytest.raises(InputError, match="poisson 20x20"):
        load_suite("quick", only="nothing")


# --- what is written ---------------------------------------------------------------------------


class _Checker(html.parser.HTMLParser):
    """Collects tags that do not nest."""

    VOID = ("meta", "br", "hr", "img", "link")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.wrong = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_report_is_well_formed_self_contained_and_escaped(tmp_path):
    evil = tiny("<script>alert('x')</script> & $A_1$")
    run = run_suite(suite(evil, tasks=("solve", "exp", "eigenpairs")), seed=SEED)
    text = write_report(run, tmp_path / "new" / "folder").read_text(encoding="utf-8")
    checker = _Checker()
    checker.feed(text)
    assert not checker.wrong
    assert not checker.open
    assert "svg" in checker.seen
    assert "script" not in checker.seen
    assert "&lt;script&gt;" in text
    for outside in ("src=", "<link", "@import", "url(http"):
        assert outside not in text


def test_jsonl_rows_parse(tmp_path):
    run = run_suite(suite(tasks=("solve", "sqrt")), seed=SEED)
    run.write_jsonl(tmp_path / "a" / "rows.jsonl")
    lines = (tmp_path / "a" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert len(records) == len(run.rows)
    assert {"machine", "seed", "suite", "outcome", "repeats", "history"} <= set(records[0])
    assert records[0]["machine"]["versions"]["numpy"] == np.__version__
    assert records[0]["seed"] == SEED


def test_numbers_that_json_lacks_become_null(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [row("a", math.nan, Outcome.FAILED)], {})
    assert json.loads((tmp_path / "a.jsonl").read_text())["seconds"] is None


def test_machine_is_described():
    here = machine.describe()
    assert here.cores >= 1
    assert here.bandwidth > 0
    assert here.as_record()["python"].startswith("3.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(math.nan, "–"), (2.5e-5, "25 µs"), (0.0123, "12.3 ms"), (12.34, "12.3 s")],
)
def test_seconds_read_well(seconds, text):
    assert tables.seconds_text(seconds) == text
