"""``spectool plan``: what it reads, prints, writes and draws."""

import json
import math

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

from spectool import plotting
from spectool.cli import app
from spectool.cli.planning import DISTRIBUTIONS, given_costs, losses, spectra_of, subject
from spectool.dense.costs import Costs
from spectool.dense.planning.iteration_plan import IterationPlan
from spectool.dense.planning.plan import plan_iteration
from spectool.errors import InputError

SEED = 141_421_356
QUICK = ["--max-time", "0.1", "--costs", "inverse=2.9"]


def invoke(*arguments):
    return CliRunner().invoke(app, ["plan", *arguments])


@pytest.fixture(scope="module")
def plan():
    values = np.geomspace(1e-3, 1.0, 30)
    costs = Costs(inverse=2.9, svd=50.0)
    return plan_iteration("polar", values, rtol=1e-6, costs=costs, n_iterations=20, rng=SEED)


# --- the command -------------------------------------------------------------------------------


def test_a_plan_is_printed_written_and_drawn(tmp_path):
    output, plot = tmp_path / "plan.json", tmp_path / "plan.svg"
    result = invoke(
        "polar", "--interval", "1e-3", "--rtol", "1e-6", *QUICK,
        "--output", str(output), "--plot", str(plot),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for said in ("sign.newton", "predicted", "found by", "best classical iteration", "searches:"):
        assert said in result.output
    assert "<svg" in plot.read_text()
    again = IterationPlan.from_json(output.read_text())
    assert again.rtol == 1e-6
    assert f"{again.cost:.4g} products" in result.output
    U = again(np.random.default_rng(SEED).standard_normal((20, 20)))
    # Ten times the tolerance of one step, squared by it.
    assert np.linalg.norm(U.T @ U - np.eye(20)) < 1e-5


def test_lapack_is_named_where_nothing_is_cheaper():
    result = invoke(
        "sqrt", "--interval", "1e-4", "--max-time", "0.1", "--costs", "inverse=3,eigh=2"
    )
    assert result.exit_code == 0, result.output
    assert "nothing that was searched is cheaper than LAPACK" in result.output
    alone = invoke(
        "sqrt", "--interval", "1e-4", "--max-time", "0.1", "--costs", "inverse=3,eigh=2",
        "--iterations-only", "--rtol", "1e-8",
    )  # fmt: skip
    assert alone.exit_code == 0, alone.output
    assert "eigh" not in alone.output


def test_spectra_and_matrices_are_read_from_files(tmp_path):
    values = np.linspace(0.1, 2.0, 15)
    A = np.diag(values)
    np.save(tmp_path / "values.npy", values)
    np.savetxt(tmp_path / "values.txt", values)
    np.save(tmp_path / "matrix.npy", A)
    scipy.io.mmwrite(tmp_path / "matrix.mtx", A)
    for option, name in (
        ("--spectrum", "values.npy"),
        ("--spectrum", "values.txt"),
        ("--matrix", "matrix.npy"),
        ("--matrix", "matrix.mtx"),
    ):
        result = invoke("invsqrt", option, str(tmp_path / name), *QUICK, "--rtol", "1e-6")
        assert result.exit_code == 0, (name, result.output)
        assert "invsqrt of A (15 x 15" in result.output


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_distribution_can_be_planned_for(name):
    function = "sign" if name in ("uniform", "quartic") else "polar"
    result = invoke(
        function, "--distribution", name, "--n", "16", "--rows", "32", *QUICK, "--rtol", "1e-4",
        "--costs", "inverse=2.9,svd=9,eigh=4",
    )  # fmt: skip
    assert result.exit_code == 0, result.output


def test_seeds_draw_the_same_matrices_again():
    drawn = [subject(None, None, "wishart", None, 8, 12, SEED) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].shape == (3, 8, 8)
    other = subject(None, None, "wishart", None, 8, 12, SEED + 1)
    assert not np.array_equal(drawn[0], other)


@pytest.mark.parametrize(
    "arguments",
    [
        ["sqrt"],
        ["sqrt", "--interval", "0.1", "--distribution", "wishart"],
        ["sqrt", "--distribution", "cauchy"],
        ["sqrt", "--spectrum", "no-such-file.npy"],
        ["sqrt", "--matrix", "no-such-file.mtx"],
        ["sqrt", "--interval", "2.0"],
        ["cosine", "--interval", "0.1"],
        ["sqrt", "--interval", "0.1", "--costs", "speed=3"],
        ["sqrt", "--interval", "0.1", "--costs", "inverse"],
        ["sqrt", "--interval", "0.1", "--dtype", "int8", "--costs", "inverse=3"],
    ],
)
def test_mistakes_are_one_line(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert result.output.startswith("spectool: ")
    assert len(result.output.splitlines()) == 1


def test_files_of_another_kind_are_named(tmp_path):
    (tmp_path / "words.txt").write_text("one two\n")
    (tmp_path / "words.mtx").write_text("one two\n")
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match=r"words\.txt"):
        subject(tmp_path / "words.txt", None, None, None, 8, None, 0)
    with pytest.raises(InputError, match=r"words\.mtx"):
        subject(None, tmp_path / "words.mtx", None, None, 8, None, 0)
    with pytest.raises(InputError, match="one dimension"):
        subject(tmp_path / "cube.npy", None, None, None, 8, None, 0)
    with pytest.raises(InputError, match=r"takes \.npy and \.mtx"):
        subject(None, tmp_path / "words.txt", None, None, 8, None, 0)


def test_costs_are_numbers_by_name_or_json():
    assert given_costs(None) is None
    assert given_costs("inverse=2.9, eigh=4").eigh == 4.0
    text = json.dumps(Costs(inverse=1.7).to_json())
    assert given_costs(text).inverse == 1.7
    with pytest.raises(InputError, match="JSON"):
        given_costs("{inverse")


# --- pictures ----------------------------------------------------------------------------------


def test_the_spectrum_goes_to_one(plan):
    spectra = spectra_of(plan)
    assert len(spectra) == len(plan.schedule) + 1
    np.testing.assert_array_equal(spectra[0], plan.nodes.values)
    assert np.abs(spectra[-1] - 1.0).max() < 1e-5


def test_losses_begin_at_the_start_and_end_below_the_tolerance(plan):
    curves = losses(plan)
    assert set(curves) >= {"plan", "newton, scaled", "LAPACK"}
    cost, loss = curves["plan"][-1]
    assert cost == pytest.approx(plan.cost)
    assert loss <= plan.rtol
    for name, curve in curves.items():
        assert curve[-1][1] <= plan.rtol, name
        assert curve[-1][0] >= plan.cost * (1 - 1e-12), name  # plans are the cheapest
    assert curves["LAPACK"] == [(51.0, 2.0**-52)]  # with the product of both factors


def test_direct_plans_have_pictures_too(tmp_path):
    costs = Costs(inverse=2.9, eigh=1.0)
    direct = plan_iteration("sqrt", np.linspace(0.1, 1.0, 9), costs=costs, n_iterations=3, rng=SEED)
    assert direct.direct
    spectra = spectra_of(direct)
    np.testing.assert_array_equal(spectra[-1], np.ones_like(spectra[0]))


def test_steps_are_bands_and_lines():
    ax = plotting.spectrum_steps(
        [[0.01, 1.0], [0.5, 1.2], [1.0, 1.0]],
        weights=[0.0, 1.0],
        labels=["a", "b"],
        ax=plotting.blank_axes(),
    )
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["start", "a", "b"]
    assert len(ax.patches) == 3  # what has no weight is in no band
    dashed, solid = ax.lines[:2]
    assert dashed.get_linestyle() != solid.get_linestyle()
    np.testing.assert_allclose(dashed.get_ydata(), [0.01, 0.5, 1.0])
    linear = plotting.spectrum_steps([[-1.0, 1.0]], ax=plotting.blank_axes())
    assert linear.get_yscale() == "linear"


@pytest.mark.parametrize(
    ("spectra", "options", "message"),
    [
        ([], {}, "one size"),
        ([[]], {}, "one size"),
        ([[1.0], [1.0, 2.0]], {}, "one size"),
        ([[math.nan]], {}, "finite"),
        ([[1.0]], {"weights": [-1.0]}, "weight"),
        ([[1.0], [1.0]], {"labels": ["a", "b"]}, "1 steps"),
    ],
)
def test_spectra_that_cannot_be_drawn_are_refused(spectra, options, message):
    with pytest.raises(InputError, match=message):
        plotting.spectrum_steps(spectra, ax=plotting.blank_axes(), **options)


def test_losses_are_logarithmic_and_finite():
    curves = {"a": [(0, 1.0), (2, 0.0)], "none": []}
    ax = plotting.loss_against_time(curves, unit="s", tolerance=1e-6, ax=plotting.blank_axes())
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "seconds"
    assert ax.lines[0].get_ydata().tolist() == [1.0, 1e-17]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a"]
    with pytest.raises(InputError, match="finite"):
        plotting.loss_against_time({"a": [(0, math.inf)]}, ax=plotting.blank_axes())
    assert plotting.loss_against_time({}, ax=plotting.blank_axes()).get_legend() is None
