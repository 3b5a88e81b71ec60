"""Coefficient predictor: starts, paradigms, units, guard, training and bench."""

import dataclasses

import numpy as np
import pytest

from spectool.bench.learned.coefficient_tables import coefficient_bars, coefficient_tables
from spectool.bench.learned.coefficients import alternations, coefficient_jobs
from spectool.errors import InputError
from spectool.learned.features import DEGREE_SIZE, SIZE, scaled_probe
from spectool.learned.model import CARD, PREDICTORS, network, read, save
from spectool.learned.predictor import Predictor, objective, untrained
from spectool.learned.recurrences import PARADIGMS, PREDICTED, coefficients, evaluate, n_outputs
from spectool.learned.synthetic import Problem, probed
from spectool.polynomials import (
    certified_minimum,
    chebyshev_interpolant,
    chebyshev_inverse,
    end_filter,
    step_filter,
)

SEED = 314_159_265
N_INPUTS = SIZE + DEGREE_SIZE + 3


def _spectrum(unit=1.0, *, n=300, cond=1e3, seed=SEED, steps=24):
    rng = np.random.default_rng(seed)
    x = np.sort(cond ** -rng.random(n))
    counts = np.ones(n)
    problem = Problem(unit * x / x[-1], counts, rng.chisquare(counts), n, "given")
    return problem.eigenvalues, probed(problem, rng, steps=steps)


def _bent(task, paradigm, size=0.5, seed=SEED):
    """A network whose outputs do not depend on the probe, and are not zero."""
    net = untrained(task, paradigm, N_INPUTS)
    bias = size * np.random.default_rng(seed).standard_normal((1, n_outputs(paradigm)))
    return dataclasses.replace(net, biases=(bias.astype(np.float32),))


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


# The start.


@pytest.mark.parametrize("paradigm", PARADIGMS)
@pytest.mark.parametrize("degree", [4, 8, 16, 32])
def test_untrained_is_the_classical_method(paradigm, degree):
    x, spectrum = _spectrum()
    probe = scaled_probe(spectrum)
    lower, upper = probe.upper * probe.lowest, probe.upper
    f = {"invsqrt": lambda z: z**-0.5, "sqrt": np.sqrt, "log": np.log, "exp": lambda z: np.exp(-z)}
    references = {
        name: chebyshev_interpolant(each, (lower, upper), degree=degree)[0]
        for name, each in f.items()
    }
    references["inverse"] = chebyshev_inverse((lower, upper), degree)
    safe = max(1.0, probe.safe) * upper
    edge = float(spectrum.quantile(np.array([1.25 * 0.05]))[0])
    references["lowest"] = end_filter(edge, (0.0, safe), degree, end="lower")
    window = tuple(spectrum.quantile(np.array([0.45, 0.55])))
    references["window"] = step_filter(window, (0.0, safe), degree)
    for task, reference in references.items():
        found = Predictor(task, paradigm, untrained(task, paradigm, N_INPUTS))(spectrum, degree)
        values = reference(x)
        # Interpolation coefficients are rounded relative to the largest value.
        assert abs(found.learned(x) - values).max() <= 1e-10 * abs(values).max(), task
        assert found.used == "classical"
        assert np.array_equal(found.learned.w, found.classical.w)


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_untrained_preconditioner_has_the_tied_lower_end(paradigm):
    _, spectrum = _spectrum(cond=1e6)
    probe = scaled_probe(spectrum)
    found = Predictor("solve", paradigm, untrained("solve", paradigm, N_INPUTS))(spectrum, 8)
    lower = probe.upper * max(probe.seen, 1.0 / 81.0)
    z = np.linspace(0.0, probe.upper, 50)
    expected = chebyshev_inverse((lower, probe.upper), 8)(z)
    assert found.recurrence(z) == pytest.approx(expected, rel=1e-9)


# Both paradigms are what they say.


@pytest.mark.parametrize("task", PREDICTED)
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_recurrence_is_what_was_trained(task, paradigm, torch):
    """The Recurrence that runs, numpy's polynomial and torch's agree."""
    from spectool.learned.predictor import _given

    x, spectrum = _spectrum(7.0)
    probe = scaled_probe(spectrum)
    predictor = Predictor(task, paradigm, _bent(task, paradigm))
    found = predictor(spectrum, 12, time=2.0).learned
    ends = tuple(spectrum.quantile(np.array([0.0625, 0.45, 0.55])) / probe.upper)
    given = _given(task, probe, 12, 2.0 * probe.upper, ends)
    outputs = predictor.net(np.zeros(N_INPUTS))
    z = (x / probe.upper)[None]
    direct = evaluate(np, coefficients(np, task, paradigm, 12, given, outputs), z)[0]
    tensors = type(given)(*(torch.asarray(part) for part in given))
    p = coefficients(torch, task, paradigm, 12, tensors, torch.asarray(outputs))
    other = evaluate(torch, p, torch.asarray(z))[0].numpy()
    assert other == pytest.approx(direct, rel=1e-9, abs=1e-9 * abs(direct).max())
    values = found(x)
    unit = probe.upper
    scale = {"solve": unit, "inverse": unit, "invsqrt": unit**0.5, "sqrt": unit**-0.5}
    values = values * scale.get(task, 1.0) - (np.log(unit) if task == "log" else 0.0)
    if task == "lowest":  # normalized: one at zero
        values, direct = values / values[-1], direct / direct[-1]
    assert values == pytest.approx(direct, rel=1e-8, abs=1e-9 * abs(direct).max())


def test_affine_iteration_is_the_recurrence():
    """Semi-iteration as it is written, with bent steps, gives the same values."""
    x, spectrum = _spectrum()
    found = Predictor("inverse", "affine", _bent("inverse", "affine"))(spectrum, 10).learned
    alpha, beta, delta = found.a[::-1], found.b[::-1], found.w[-2::-1]
    gamma = np.append(0.0, found.c[:0:-1])
    y, before = np.full_like(x, found.w[-1]), np.zeros_like(x)
    for k in range(10):
        y, before = (alpha[k] * x + beta[k]) * y + gamma[k] * before + delta[k], y
    assert found(x) == pytest.approx(y, rel=1e-11)


# Units.


@pytest.mark.parametrize("task", PREDICTED)
@pytest.mark.parametrize("power", [-140, 13, 140])
def test_scaling_changes_nothing(task, power):
    unit = 2.0 ** (2 * power)
    x, spectrum = _spectrum()
    _, scaled = _spectrum(unit)
    predictor = Predictor.default(task)
    one, two = predictor(spectrum, 8, time=5.0), predictor(scaled, 8, time=5.0 / unit)
    assert one.used == two.used
    if task != "log":
        factor = {"solve": unit, "inverse": unit, "sqrt": unit**-0.5, "invsqrt": unit**0.5}
        values = two.recurrence(unit * x) * factor.get(task, 1.0)
    else:
        values = two.recurrence(unit * x) - np.log(unit)
    expected = one.recurrence(x)
    # log adds its unit's logarithm, some 200, and loses those digits.
    assert abs(values - expected).max() <= 1e-5 * abs(expected).max()


# Guard.


def test_guard_prefers_the_better_one():
    for seed in range(4):
        x, spectrum = _spectrum(seed=SEED + seed, cond=1e4)
        for task in ("inverse", "invsqrt", "lowest"):
            found = Predictor(task, "expansion", _bent(task, "expansion", 3.0, seed))(spectrum, 16)
            best = min(found.predicted, key=lambda name: found.predicted[name])
            assert found.used == best or found.predicted["learned"] == found.predicted["classical"]
            assert np.isfinite(found.recurrence(x)).all()


def test_guard_refuses_what_is_not_positive():
    """Wild outputs make indefinite polynomials; what runs is certified positive."""
    refused = 0
    for seed in range(12):
        _, spectrum = _spectrum(seed=SEED + seed)
        predictor = Predictor("solve", "expansion", _bent("solve", "expansion", 20.0, seed))
        found = predictor(spectrum, 8)
        lowest = certified_minimum(found.recurrence, (0.0, spectrum.interval[1]))
        assert lowest.bound > 0
        assert found.proof
        refused += certified_minimum(found.learned, (0.0, spectrum.interval[1])).bound <= 0
    assert refused > 0


def test_guard_flags_probes_unlike_training():
    _, spectrum = _spectrum()
    net = _bent("invsqrt", "expansion")
    far = dataclasses.replace(net, low=np.full(N_INPUTS, 1e3))
    found = Predictor("invsqrt", "expansion", far)(spectrum, 8)
    assert found.unlike
    assert found.used == "classical"
    assert Predictor("invsqrt", "expansion", net)(spectrum, 60).unlike


def test_arguments_are_checked():
    _, spectrum = _spectrum()
    predictor = Predictor.default("exp")
    for options in ({"time": 0.0}, {"time": np.inf}, {"share": 0.9}, {"center": 0.0}):
        with pytest.raises(InputError, match=next(iter(options))):
            predictor(spectrum, 8, **options)
    with pytest.raises(InputError, match="degree"):
        predictor(spectrum, 1)
    with pytest.raises(InputError, match="task must be"):
        Predictor.default("sign")
    with pytest.raises(InputError, match="paradigm must be"):
        Predictor.default("exp", "roots")


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("task", PREDICTED)
def test_tiny_spectra_run(task, n):
    x = np.arange(1.0, n + 1.0)
    problem = Problem(x, np.ones(n), np.ones(n), n, "given")
    spectrum = probed(problem, np.random.default_rng(SEED), steps=n)
    assert np.isfinite(Predictor.default(task)(spectrum, 4).recurrence(x)).all()


def test_objective_is_the_error():
    x = np.linspace(0.1, 3.0, 50)
    p, _ = chebyshev_interpolant(np.sqrt, (0.1, 3.0), degree=5)
    levels = (np.arange(50) + 0.5) / 50
    expected = abs(p(x) - np.sqrt(x)).max() / np.sqrt(3.0)
    found = objective("sqrt", p, x, levels, upper=2.0)
    assert found == pytest.approx(np.log10(expected), abs=1e-6)


# Shipped weights.


@pytest.mark.parametrize("name", PREDICTORS)
def test_cards_are_complete(name):
    net = network(name)
    assert all(key in net.card for key in CARD)
    assert net.card["task"] == name
    assert net.mean.size == N_INPUTS
    assert net.biases[-1].shape[1] == n_outputs(name.split("-")[2])
    assert net.card["scores"]["share better"] > 0


# Training.


def _settings(**options):
    from spectool.learned.training_run import Settings

    return Settings(26, epochs=3, width=12, members=1, batch=32, seed=SEED, threads=1, **options)


@pytest.mark.parametrize("task", ["predictor-solve-affine", "predictor-lowest-expansion"])
def test_training_repeats_itself_and_can_be_resumed(torch, task, tmp_path):
    from spectool.learned.train import train

    whole = train(task, _settings())

    def stop(progress):
        if progress.stage == "training" and progress.done == 2:
            raise KeyboardInterrupt

    file = tmp_path / "other.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train(task, _settings(), checkpoint=file, callback=stop)
    resumed = train(task, _settings(), checkpoint=file)
    for first, second in zip(whole.weights, resumed.weights, strict=True):
        assert np.array_equal(first, second)
    assert whole.card == resumed.card
    save(whole, tmp_path / "net.npz")
    stored = read(tmp_path / "net.npz")
    row = np.zeros(N_INPUTS)
    # Moments are stored in single precision.
    assert stored(row) == pytest.approx(whole(row), abs=1e-3)


def test_training_gains_on_its_own_objective(torch):
    """From the classical start, the loss on held-out families falls."""
    from spectool.learned.train import train

    losses = []
    settings = dataclasses.replace(_settings(), n_problems=130, epochs=12, width=32, rate=4e-3)
    net = train("predictor-invsqrt-expansion", settings, callback=lambda p: losses.append(p.loss))
    told = [loss for loss in losses if np.isfinite(loss)]
    assert min(told) < told[0]
    scores = net.card["scores"]
    assert scores["held-out objective, mean log10"] < scores["classical start, mean log10"]


@pytest.mark.parametrize("kind", ["pcg", "kaporin", "condition"])
def test_objectives_of_systems_are_finite_with_gradients(torch, kind):
    from spectool.learned.objectives import Nodes, system_loss

    x = torch.linspace(0.01, 1.0, 60, dtype=torch.float64)[None]
    nodes = Nodes(x, torch.ones_like(x), x)
    w = torch.ones_like(x, requires_grad=True)
    plain = torch.full((1, 1), 60.0, dtype=torch.float64)
    loss = system_loss(torch, w, nodes, plain, 4, kind)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(w.grad).all()
    better = system_loss(torch, 1.0 / x, nodes, plain, 4, kind)
    assert float(better) < float(loss.detach())


# Bench.


def test_alternations_count_equal_ripples():
    t = np.cos(np.linspace(0.0, np.pi, 2001))
    assert alternations(np.polynomial.chebyshev.chebval(t, [0.0] * 7 + [1.0])) == 8


def test_bench_runs():
    rows = [row for job in coefficient_jobs(tiny=True) for row in job.run(SEED)]
    assert {row.kind for row in rows} == {"unseen", "ripples", "probes", "matrices"}
    assert all(row.as_record()["part"] == "coefficients" for row in rows)
    assert coefficient_tables(rows)
    assert len(coefficient_bars(rows)) > 20
