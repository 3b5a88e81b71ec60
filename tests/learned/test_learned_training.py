"""Synthetic spectra, data, and tiny training runs that repeat themselves and can be resumed."""

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

from spectool.cli import app
from spectool.errors import InputError
from spectool.learned.data import cg_count, completion_data, log_overheads, selector_data
from spectool.learned.features import DEGREE_SIZE, SIZE
from spectool.learned.model import read
from spectool.learned.portfolio import NAMES
from spectool.learned.synthetic import FAMILIES, HELD_OUT, draw, probed
from spectool.polynomials import fourth_kind_inverse

SEED = 141_421_356
N_PROBLEMS = 26


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


# Spectra.


@pytest.mark.parametrize("family", FAMILIES)
def test_spectra_are_positive_and_scaled(family):
    for seed in range(5):
        problem = draw(family, np.random.default_rng([SEED, seed]))
        assert (problem.eigenvalues > 0).all()
        assert (np.diff(problem.eigenvalues) >= 0).all()
        assert problem.eigenvalues[-1] == 1.0
        assert problem.counts.sum() == problem.n
        assert (problem.masses > 0).all()
        quantiles = problem.quantiles(np.linspace(0, 1, 9))
        assert (np.diff(quantiles) >= 0).all()


def test_probes_bound_the_spectrum():
    """A safe end fails with probability RISK per probe; of so few none does."""
    for seed in range(30):
        rng = np.random.default_rng([SEED, seed])
        problem = draw(FAMILIES[seed % len(FAMILIES)], rng)
        spectrum = probed(problem, rng)
        assert spectrum.interval[1] >= problem.eigenvalues[-1] * (1 - 1e-12)
        assert spectrum.ritz_values[0] >= problem.eigenvalues[0] * (1 - 1e-9)
        assert spectrum.weights.sum() == pytest.approx(1.0)


def test_unknown_families_are_refused():
    with pytest.raises(InputError, match="family must be one of"):
        draw("laplace", np.random.default_rng(SEED))


# Data.


def test_counts_are_those_of_conjugate_gradients():
    rng = np.random.default_rng(SEED)
    values = np.sort(rng.uniform(0.01, 1.0, 300))
    masses = rng.chisquare(1.0, 300)
    q = fourth_kind_inverse(1.0, 4)
    b = np.sqrt(masses)
    for recurrence in (None, q):
        x, r = np.zeros(300), b.copy()
        weights = np.ones(300) if recurrence is None else recurrence(values)
        p = z = weights * r
        rho, count = r @ z, 0
        while np.linalg.norm(r) > 1e-8 * np.linalg.norm(b):
            alpha = rho / (p @ (values * p))
            x, r = x + alpha * p, r - alpha * (values * p)
            z = weights * r
            rho, before = r @ z, rho
            p = z + rho / before * p
            count += 1
        # Sums in another order round differently; the last step may tip over.
        assert abs(cg_count(values, masses, recurrence) - count) <= 1


def test_no_design_beats_plain_cg_in_matvecs():
    """Krylov optimality: overheads are at least one, but for the last application's remainder."""
    found = 0
    for seed in range(12):
        rng = np.random.default_rng([SEED, seed])
        problem = draw("uniform", rng)
        logs = log_overheads(problem, probed(problem, rng), (4, 8))
        if logs is not None:
            assert logs.shape == (2, len(NAMES))
            assert (logs >= -0.15).all()  # rounding slows long plain runs
            found += 1
    assert found >= 3


def test_data_do_not_depend_on_threads():
    one, two = (selector_data(range(6), SEED, threads=threads) for threads in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert one.features.shape[1] == SIZE + DEGREE_SIZE
    assert one.overheads.shape == (len(one.features), len(NAMES))


def test_completion_data_hold_what_is_missing():
    found = completion_data(range(8), SEED)
    assert found.features.shape[0] == found.corrections.shape[0] == 8
    assert np.isfinite(found.corrections).all()


# Training.


def _settings(**options):
    from spectool.learned.training_run import Settings

    return Settings(N_PROBLEMS, epochs=4, width=16, members=2, seed=SEED, threads=1, **options)


@pytest.mark.parametrize("task", ["selector", "completion"])
def test_training_repeats_itself_and_can_be_resumed(torch, task, tmp_path):
    from spectool.learned.train import train

    checkpoint = tmp_path / "run.checkpoint"
    whole = train(task, _settings(), checkpoint=checkpoint)

    def stop(progress):
        if progress.stage == "training" and progress.done == 2:
            raise KeyboardInterrupt

    other = tmp_path / "other.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train(task, _settings(), checkpoint=other, callback=stop)
    resumed = train(task, _settings(), checkpoint=other)
    for first, second in zip(whole.weights, resumed.weights, strict=True):
        assert np.array_equal(first, second)
    assert whole.card == resumed.card


def test_training_learns(torch):
    """More epochs leave a smaller loss on held-out families than none."""
    from spectool.learned.train import train

    losses = []
    settings = dataclasses.replace(_settings(), epochs=25)
    train("completion", settings, callback=lambda p: losses.append(p.loss))
    told = [loss for loss in losses if np.isfinite(loss)]
    assert min(told) < told[0]


def test_cards_tell_families_and_seed(torch):
    from spectool.learned.train import train

    card = train("selector", _settings()).card
    assert card["seed"] == SEED
    assert card["data"]["held_out"] == list(HELD_OUT)
    assert not set(card["data"]["families"]) & set(HELD_OUT)
    assert card["scores"]


def test_checkpoints_of_other_settings_are_refused(torch, tmp_path):
    from spectool.learned.train import train

    checkpoint = tmp_path / "run.checkpoint"
    train("completion", _settings(), checkpoint=checkpoint)
    with pytest.raises(InputError, match="other settings"):
        train("completion", _settings(rate=1e-3), checkpoint=checkpoint)


def test_too_little_data_is_refused(torch):
    from spectool.learned.train import train
    from spectool.learned.training_run import Settings

    with pytest.raises(InputError, match="n_problems"):
        train("completion", Settings(1, threads=1))


def test_command_line_trains_and_tells(torch, tmp_path):
    path = tmp_path / "net.npz"
    arguments = ["train", "completion", "--output", str(path), "--problems", "24", "--epochs", "2"]
    result = CliRunner().invoke(app, [*arguments, "--threads", "1", "--no-progress"])
    assert result.exit_code == 0, result.output
    assert "24 spectra" in result.output
    assert read(path).card["training"]["epochs"] == 2


def test_command_line_refuses_unknown_tasks(torch, tmp_path):
    result = CliRunner().invoke(app, ["train", "everything", "--output", str(tmp_path / "x.npz")])
    assert result.exit_code == 1
    assert "task must be one of" in result.output
