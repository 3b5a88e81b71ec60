"""The benchmark of f(A) b: truths are true, liars are found out, bars by hand, all parts run."""

import io
import json
import math
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from rich.console import Console
from typer.testing import CliRunner

from spectool import gallery
from spectool.bench.funm import honesty as funm_honesty
from spectool.bench.funm import large as funm_large
from spectool.bench.funm.bars import large_bars, large_table, rival_bars
from spectool.bench.funm.cases import (
    FORMS,
    KINDS,
    QUANTUM,
    QUESTIONS,
    decomposed,
    norm2,
    prescribed,
    real,
    rotated,
)
from spectool.bench.funm.honesty import Cell, Finding, ask, judge, run_honesty
from spectool.bench.funm.large import LargeRow, large_cases, run_large
from spectool.bench.funm.run import PARTS, funm_plan, run_funm
from spectool.bench.funm.tables import draw_honesty, honesty_bars, honesty_tables, tally
from spectool.bench.funm.tasks import FUNCTION_TASKS, Asked, plain_lanczos, reach_of, truth
from spectool.bench.problems import Problem
from spectool.bench.records import Outcome, Row
from spectool.cli import app
from spectool.errors import ConvergenceWarning, InputError
from spectool.results import FunctionSolution, Status

SEED = 314_159_265
EPS = np.finfo(float).eps
ALL = tuple(QUESTIONS.values())


def subjects(kind="log-uniform", cond=1e4, form="rotated", n=60):
    return [source.make() for source in prescribed([kind], [cond], [form], ALL, n=n, seed=SEED)]


def text_of(renderable):
    console = Console(file=io.StringIO(), width=160)
    console.print(renderable)
    return console.file.getvalue()


# --- the truth ---------------------------------------------------------------------------------


def test_rotated_matrices_are_exact(rng):
    """In integers nothing is rounded: the stored entries must be the integers over 2^50."""
    n = 20
    whole = rng.integers(1, 2**47, n)
    whole[0], whole[1] = 2**47, -(2**47)
    A, H = rotated(whole * QUANTUM, rng)
    exact = [[int(v) for v in row] for row in H.toarray()]
    for i in range(n):
        for j in range(n):
            entry = sum(exact[i][k] * int(whole[k]) * exact[j][k] for k in range(n))
            assert float(A[i, j]) * 2**50 == entry  # eight halvings are left: three rounds
    np.testing.assert_array_equal((H @ H.T).toarray(), 8 * np.eye(n))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cond", [1e2, 1e8])
def test_spectra_have_their_condition_number(kind, cond):
    definite, gap = subjects(kind, cond)
    assert definite.cond == pytest.approx(cond, rel=1e-6)
    assert definite.lam.min() > 0
    assert gap.cond == pytest.approx(cond, rel=1e-6)
    assert (gap.lam < 0).sum() == 30
    np.testing.assert_allclose(np.linalg.eigvalsh(gap.A.toarray()), np.sort(gap.lam), atol=50 * EPS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cond", [1e2, 1e5, 1e8])
def test_uncertain_truths_are_as_wrong_as_they_say(kind, cond):
    """The decomposition of an exact matrix errs by no more than the uncertainty that it states."""
    for subject in subjects(kind, cond):
        guessed = decomposed("guessed", subject.A, subject.b)
        questions = subject.questions(ALL)
        assert len(questions) >= 4
        for question in questions:
            exact, blur = subject.truth(question)
            y, uncertainty = guessed.truth(question)
            error = norm2(y - exact) / norm2(exact)
            assert error <= uncertainty + blur, question.name
            assert blur < 1e-13  # z itself is rounded, and exp turns that into 1e3 eps


def test_forms_of_a_spectrum_are_one_matrix():
    (rotated_one, _), (free, _), (diagonal, _) = (
        subjects(form=form) for form in ("rotated", "matrix-free", "diagonal")
    )
    x = np.arange(60.0)
    np.testing.assert_array_equal(free.A @ x, rotated_one.A @ x)
    np.testing.assert_array_equal(diagonal.lam, rotated_one.lam)
    assert diagonal.A.nnz == 60
    assert set(FORMS) == {"rotated", "matrix-free", "diagonal"}


@pytest.mark.parametrize("question", ALL, ids=lambda q: q.name)
def test_slopes_are_slopes(question):
    z = np.array([0.3, 0.9, 2.0])
    z = -z if question.reach else z
    if question.f == "sign":
        np.testing.assert_allclose(question.slopes(z), 1 / z)
        return
    step = 1e-6  # a central difference errs by its square, and by eps over it
    slope = (question.values(z + step) - question.values(z - step)) / (2 * step)
    np.testing.assert_allclose(question.slopes(z), np.abs(slope), rtol=1e-8)


def test_phi1_has_its_slope_at_zero():
    tiny = np.array([-1e-9, 0.0, 1e-310])
    np.testing.assert_allclose(QUESTIONS["phi1 1e2"].values(tiny), 1.0, rtol=1e-8)
    np.testing.assert_allclose(QUESTIONS["phi1 1e2"].slopes(tiny), 0.5, rtol=1e-8)


@pytest.mark.parametrize(
    ("lam", "names"),
    [
        ([1.0, 2.0], {"exp 10", "exp 1e3", "phi1 1e2", "sqrt", "invsqrt", "log", "inv"}),
        ([0.0, 2.0], {"exp 10", "exp 1e3", "phi1 1e2", "sqrt"}),
        ([-0.1, 2.0], {"exp 10", "exp 1e3", "phi1 1e2", "inv", "sign"}),
        ([-1.0, 1e-16], {"exp 10", "phi1 1e2"}),  # exp(1000) overflows
    ],
)
def test_only_what_is_defined_is_asked(lam, names):
    subject = decomposed("x", sp.csr_array(np.diag(lam)), np.ones(2))
    assert {question.name for question in subject.questions(ALL)} == names


def test_real_matrices_are_exact_where_diagonal_and_refused_where_not_hermitian():
    diagonal = sp.csr_array(np.diag([1.0, 3.0]))
    assert decomposed("x", diagonal, np.ones(2)).backward == 0
    assert decomposed("x", gallery.poisson((3,)), np.ones(3)).backward > 0
    with pytest.raises(InputError, match="not Hermitian"):
        decomposed("x", sp.csr_array([[0.0, 1.0], [-1.0, 0.0]]), np.ones(2))


def test_complex_matrices_have_a_truth(rng):
    Q, _ = np.linalg.qr(rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6)))
    H = (Q * np.arange(1.0, 7.0)) @ Q.conj().T
    H = 0.5 * (H + H.conj().T)
    b = rng.standard_normal(6)
    subject = decomposed("complex", sp.csr_array(H), b)
    np.testing.assert_allclose(subject.truth(QUESTIONS["inv"]).y, np.linalg.solve(H, b), rtol=1e-12)


# --- findings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "uncertainty", "warned", "finding"),
    [
        (9e-8, 0.0, False, Finding.KEPT),
        (2e-7, 0.0, False, Finding.SILENT),
        (2e-7, 0.0, True, Finding.WARNED),
        (2e-7, 1.5e-7, False, Finding.UNDECIDED),
        (1e-8, 1e-6, False, Finding.UNDECIDED),
        (math.nan, 0.0, False, Finding.SILENT),
        (math.inf, 0.0, False, Finding.SILENT),
    ],
)
def test_a_miss_is_ten_tolerances_beyond_the_uncertainty(error, uncertainty, warned, finding):
    assert judge(error, uncertainty, 1e-8, warned=warned) is finding


def cell(estimate=1e-9, error=1e-9, uncertainty=1e-15, finding=Finding.KEPT, **changes):
    found = Cell(
        "a", "real", "stored", 5, 10.0, "log", "auto", 1e-8, finding, error, uncertainty, estimate
    )
    return replace(found, **changes)


@pytest.mark.parametrize(
    ("estimate", "error", "uncertainty", "covered", "sharp"),
    [
        (2e-9, 1e-9, 0.0, True, True),
        (2e-8, 1e-9, 0.0, True, False),
        (0.5e-10, 1e-9, 0.0, False, False),
        (0.0, 1e-9, 1e-8, True, True),  # the error is not known to be above zero
        (9e-8, 1e-9, 1e-8, True, True),  # floored by the uncertainty
        (2e-7, 1e-9, 1e-8, True, False),
        (math.inf, 1e-9, 0.0, True, False),
        (math.nan, 1e-9, 0.0, False, False),
    ],
)
def test_coverage_and_sharpness(estimate, error, uncertainty, covered, sharp):
    found = cell(estimate, error, uncertainty)
    assert (found.covered, found.sharp) == (covered, sharp)


def test_ratios_know_no_less_than_the_truth():
    assert cell(estimate=1e-10, error=1e-9).ratio == pytest.approx(0.1)
    assert cell(estimate=1e-12, error=1e-9, uncertainty=1e-8).ratio == 1.0
    assert cell(estimate=1e-7, error=1e-9, uncertainty=1e-8).ratio == pytest.approx(10.0)


def test_needless_warnings_are_those_of_right_answers():
    assert cell(finding=Finding.WARNED).needless
    assert not cell(finding=Finding.WARNED, error=2e-8).needless
    assert not cell().needless


class Liar:
    """A verb that answers twice the truth, or does something worse."""

    def __init__(self, subject, question, behaviour):
        self.y, self.behaviour = 2 * subject.truth(question).y, behaviour

    def __call__(self, *_, **__):
        status = Status.CONVERGED
        if self.behaviour == "warns":
            status = Status.STAGNATED
            warnings.warn("I am not sure", ConvergenceWarning, stacklevel=2)
        elif self.behaviour == "raises":
            raise InputError("no")
        elif self.behaviour == "sleeps":
            time.sleep(5)
        elif self.behaviour == "nan":
            self.y = self.y * np.nan
        elif self.behaviour == "is interrupted":
            status = Status.INTERRUPTED
        return FunctionSolution(self.y, 1e-9, status, 7, 0, 0.1, "lies, 3 steps")


@pytest.mark.parametrize(
    ("behaviour", "finding"),
    [
        ("lies", Finding.SILENT),
        ("nan", Finding.SILENT),
        ("warns", Finding.WARNED),
        ("raises", Finding.REFUSED),
        ("sleeps", Finding.TIMEOUT),
    ],
)
def test_liars_are_found_out(monkeypatch, behaviour, finding):
    subject = subjects()[0]
    question = QUESTIONS["log"]
    monkeypatch.setattr(funm_honesty, "funm_multiply", Liar(subject, question, behaviour))
    found = ask(subject, question, subject.truth(question), 1e-8, "auto", limit=0.1, seed=SEED)
    assert found.finding is finding
    if behaviour == "lies":
        assert found.error == pytest.approx(1.0)
        assert (found.covered, found.family, found.matvecs) == (False, "lies", 7)
        assert honesty_bars([found])[0].kept is False
        assert "SILENT MISS: log-uniform 1e4, rotated log" in text_of(honesty_tables([found]))
    json.dumps(found.as_record(), allow_nan=False)


def test_ctrl_c_inside_the_verb_stops_the_grid(monkeypatch):
    subject = subjects()[0]
    question = QUESTIONS["log"]
    monkeypatch.setattr(funm_honesty, "funm_multiply", Liar(subject, question, "is interrupted"))
    with pytest.raises(KeyboardInterrupt):
        ask(subject, question, subject.truth(question), 1e-8, "auto", limit=1.0, seed=SEED)


def test_ctrl_c_keeps_what_is_finished(monkeypatch):
    asked = []

    def twice(*arguments, **_):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(arguments)
        return cell()

    monkeypatch.setattr(funm_honesty, "ask", twice)
    monkeypatch.setattr(funm_honesty, "_warm_up", lambda _seed: None)
    run = run_funm(funm_plan(tiny=True))
    assert run.interrupted
    assert len(run.cells) == 2
    assert (run.rivals, run.large) == (None, ())


def test_a_matrix_that_cannot_be_made_is_a_cell():
    def gone():
        raise OSError("gone")

    (source,) = (each._replace(make=gone) for each in real(["HB/bcsstk01"], ALL, seed=SEED))
    (found,) = run_honesty([source], seed=SEED)
    assert (found.finding, found.note) == (Finding.REFUSED, "OSError: gone")
    assert "OSError: gone" in text_of(honesty_tables([found]))
    assert honesty_bars([found])[0].kept


def test_tally_by_hand():
    cells = [
        cell(estimate=1e-9), cell(estimate=1e-10), cell(estimate=1e-11), cell(estimate=math.inf),
        cell(error=math.nan, finding=Finding.TIMEOUT), cell(finding=Finding.WARNED),
    ]  # fmt: skip
    found = tally(cells)
    assert (found.cells, found.answered, found.needless) == (6, 5, 1)
    assert (found.covered, found.sharp) == (4, 3)
    np.testing.assert_allclose(found.quantiles, [0.01, 1.0, math.inf])
    assert sum(found.findings.values()) == 6


# --- rivals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", ["exp", "sqrt", "invsqrt", "log"])
def test_the_yardstick_is_lanczos(f):
    problem = Problem("grid", gallery.poisson((9, 8)), SEED)
    asked = Asked(f)
    exact = problem.reference(asked.scalar(problem), singular=False)
    y, steps, change = plain_lanczos(
        asked.scalar(problem), problem.A, problem.b, rtol=1e-8, most=200
    )
    assert np.linalg.norm(y - exact) <= 1e-7 * np.linalg.norm(exact)
    assert change <= 1e-8
    assert steps <= 72
    _, few, much = plain_lanczos(asked.scalar(problem), problem.A, problem.b, rtol=1e-8, most=5)
    assert few == 5
    assert much > 1e-8


def test_the_yardstick_ends_with_its_space():
    y, steps, change = plain_lanczos(
        np.sqrt, sp.csr_array(np.diag([1.0, 4.0, 4.0])), np.ones(3), rtol=1e-12, most=50
    )
    np.testing.assert_allclose(y, [1.0, 2.0, 2.0], rtol=1e-14)
    assert (steps, change) == (2, 0.0)


def test_truths_of_large_matrices_settle_or_are_unknown(monkeypatch):
    monkeypatch.setattr("spectool.bench.funm.tasks.DENSE", 50)
    monkeypatch.setattr("spectool.bench.problems.DENSE", 50)
    problem = Problem("large", gallery.poisson((9, 8)), SEED)
    lam, Q = np.linalg.eigh(problem.A.toarray())
    exact = Q @ (np.log(lam) * (Q.T @ problem.b))
    settled = truth(Asked("log"), problem)
    assert np.linalg.norm(settled - exact) <= 1e-10 * np.linalg.norm(exact)
    monkeypatch.setattr("spectool.bench.funm.tasks.STEPS", 12)
    again = Problem("large", problem.A, SEED)
    assert truth(Asked("log"), again) is None


def test_reach_is_read_from_the_name():
    assert reach_of("exp 1e3") == 1e3
    assert reach_of("exp") is None
    assert reach_of("sqrt, yardstick") is None
    assert "exp 1e4" in FUNCTION_TASKS


def row(matrix, task, method, seconds, outcome=Outcome.MET):
    return Row(matrix, task, method, method == "spectool", 5, 13, outcome, seconds=seconds)


def test_rival_bars_by_hand():
    expm, krylov = "scipy expm_multiply", "scipy funm_krylov"
    rows = [
        row("a", "exp 1e3", expm, 1.0), row("a", "exp 1e3", "spectool", 0.4),
        row("a", "exp 10", expm, 1.0), row("a", "exp 10", "spectool", 1.0),
        row("b", "exp 1e4", expm, math.nan, Outcome.TIMEOUT), row("b", "exp 1e4", "spectool", 5.0),
        row("a", "log, yardstick", krylov, 9.0, Outcome.INACCURATE),
        row("a", "log, yardstick", "spectool", 1.0),
        row("a", "log, yardstick", "plain Lanczos", 0.5),
        row("a", "sqrt, yardstick", krylov, 1.0), row("a", "sqrt, yardstick", "spectool", 1.0),
    ]  # fmt: skip
    bars = rival_bars(rows, limit=20.0)
    assert [bar.kept for bar in bars] == [True, True, True, True, None]
    assert "1 runs of expm_multiply were stopped" in bars[0].figure
    assert "0.40x at most (2 contests)" in bars[0].figure  # 5 of 20 seconds, and 0.4 of 1
    assert "2 of 2, funm_multiply_krylov 1" in bars[2].figure
    assert "2.00x (1 contests" in bars[4].figure
    worse = [replace(each, seconds=2 * each.seconds) if each.ours else each for each in rows]
    wrong = replace(worse[-1], outcome=Outcome.INACCURATE, error=0.3)
    bars = rival_bars([*worse[:-1], wrong], limit=20.0)
    assert [bar.kept for bar in bars] == [False, False, False, False, None]
    assert "not on a exp 1e3 0.80x" in bars[0].figure
    assert "a sqrt, yardstick (inaccurate, 3.0e-01)" in bars[2].figure
    assert "(no right answer)" in bars[3].figure
    assert [bar.kept for bar in rival_bars([], limit=1.0)] == [None, None, None]


# --- large -------------------------------------------------------------------------------------


def test_large_bars_by_hand():
    good = LargeRow(
        "a", "log", 10, 16, 1e-6, single_seconds=1.0, block_seconds=4.0,
        max_memory=2**20, frugal_error=1e-7, frugal_bytes=2**19,
    )  # fmt: skip
    assert good.gain == 4.0
    assert [bar.kept for bar in large_bars([good])] == [True, True]
    slow = replace(good, block_seconds=8.0, frugal_error=math.nan)
    gain, memory = large_bars([good, slow])
    assert (gain.kept, memory.kept) == (False, False)
    assert "not on a log 2.00x" in gain.figure
    stopped = LargeRow("b", "log", 10, 16, 1e-6, note="stopped after 1 s")
    assert large_bars([good, stopped])[0].kept is False
    assert "stopped after 1 s" in text_of(large_table([good, stopped]))
    assert large_bars([]) == []
    json.dumps(stopped.as_record(), allow_nan=False)


@pytest.fixture
def cube():
    return large_cases(
        [{"name": "cube", "make": "poisson", "shape": [6, 6, 6], "questions": ["exp 10", "log"]}]
    )


def test_large_rows_are_right(cube):
    rows = list(run_large(cube, columns=3, seed=SEED))
    assert [entry.function for entry in rows] == ["exp 10", "log"]
    for entry in rows:
        assert entry.error <= 1.1e-6
        assert entry.difference <= 2.2e-6
        assert entry.single_bytes >= 8 * 216
        assert entry.block_bytes >= 3 * 8 * 216
        assert entry.converged
        assert entry.gain > 0
        if entry.max_memory:
            assert entry.frugal_kept


def test_large_failures_are_rows(cube, monkeypatch):
    def fails(*_, **__):
        raise ArithmeticError("no")

    monkeypatch.setattr(funm_large, "funm_multiply", fails)
    rows = list(run_large(cube, columns=2, seed=SEED))
    assert [entry.note for entry in rows] == ["ArithmeticError: no"] * 2


# --- the whole ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    steps = []
    plan = funm_plan(tiny=True)
    run = run_funm(plan, advance=lambda _name, n: steps.append(n))
    return plan, run, sum(steps)


def test_every_part_runs_and_steps_are_counted(tiny):
    plan, run, steps = tiny
    assert steps == plan.n_steps
    assert {entry.function for entry in run.cells} == set(QUESTIONS)
    assert len({entry.matrix for entry in run.cells}) == 5
    assert [entry.matrix for entry in run.large] == ["poisson 5x5"]
    assert not [entry for entry in run.rows if entry.ours and entry.outcome is not Outcome.MET]
    assert not run.interrupted


def test_the_tiny_run_is_honest(tiny):
    _, run, _ = tiny
    assert not [entry for entry in run.cells if entry.finding is Finding.SILENT]
    assert not [entry for entry in run.cells if entry.finding is Finding.REFUSED]


def test_rows_tell_their_part(tiny, tmp_path):
    _, run, _ = tiny
    run.write_jsonl(tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == (
        ["honesty"] * len(run.cells) + ["rivals"] * len(run.rows) + ["large"]
    )
    assert {row["suite"] for row in rows} == {"funm"}


def test_pictures_have_a_panel_per_part(tiny, tmp_path):
    _, run, _ = tiny
    assert run.draw(tmp_path / "both.svg")
    assert "<svg" in (tmp_path / "both.svg").read_text()
    assert not replace(run, cells=(), rivals=None).draw(tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


def test_infinite_estimates_are_drawn_at_the_end():
    from spectool import plotting

    ax = plotting.blank_axes()
    draw_honesty([cell(estimate=math.inf), cell(estimate=0.0, finding=Finding.SILENT)], ax)
    band, points, missed = ax.lines
    np.testing.assert_allclose(points.get_ydata(), [1e3, 1e-17])
    np.testing.assert_allclose(missed.get_ydata(), [1e-17])
    assert band.get_label().startswith("_")


def test_parts_and_names_are_chosen(monkeypatch):
    monkeypatch.delenv("SPECTOOL_DATA", raising=False)
    whole = funm_plan()
    assert {source.name for source in whole.sources} >= {"HB/bcsstk01", "log-uniform 1e8, rotated"}
    assert whole.suite.limit == 20.0
    assert [case.name for case in whole.large] == ["poisson 100^3", "jump 1000^2"]
    honesty = funm_plan(["honesty"], only="HB/*", limit=3.0)
    assert (honesty.suite, honesty.large, honesty.limit) == (None, (), 3.0)
    assert len(honesty.sources) == honesty.n_steps >= 3
    rivals = funm_plan(["rivals"], only="poisson 20x20", limit=3.0)
    assert [source.name for source in rivals.suite.sources] == ["poisson 20x20"]
    assert rivals.suite.limit == 3.0
    with pytest.raises(InputError, match="honesty, rivals, large"):
        funm_plan(["speed"])
    with pytest.raises(InputError, match="it has log-uniform 1e2"):
        funm_plan(only="nothing")


def test_every_name_of_the_suite_is_known():
    """The lists of the suite name questions, kinds and tasks that exist."""
    whole = funm_plan()
    assert set(PARTS) == {"honesty", "rivals", "large"}
    assert {source.name.split(",")[-1].strip() for source in whole.sources} >= set(FORMS)
    for _, names in whole.suite.pairs():
        assert set(names) <= set(FUNCTION_TASKS)


def test_the_command_prints_bars_and_writes_rows(tmp_path):
    output, plot = tmp_path / "rows.jsonl", tmp_path / "honest.svg"
    result = CliRunner().invoke(
        app,
        [
            "bench", "funm", "--tiny", "--part", "honesty", "--only", "HB/*", "--no-progress",
            "--method", "lanczos", "--output", str(output), "--plot", str(plot),
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "no silent miss" in result.output
    assert {json.loads(line)["asked"] for line in output.read_text().splitlines()} == {"lanczos"}
    assert "<svg" in plot.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["funm", "--degree", "3"],
        ["funm", "--part", "speed"],
        ["funm", "--only", "nothing"],
        ["solve", "--part", "honesty"],
        ["kernels", "--method", "lanczos"],
        ["quick", "--plot", "a.svg"],
    ],
)
def test_options_of_another_suite_are_one_line(arguments):
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 1
    assert result.output.startswith("spectool: ")
    assert len(result.output.splitlines()) == 1
