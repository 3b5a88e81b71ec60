"""The guarded choice: networks propose, a default stays unless there is a reason to leave it."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from scipy.special import erf

import spectool as st
from spectool.errors import InputError
from spectool.learned import choose, completed, network
from spectool.learned.completion import LEVELS, grouped
from spectool.learned.decision import DEGREES, JUDGES, default_name
from spectool.learned.features import features
from spectool.learned.model import CARD, FOLDER, TASKS, read, save
from spectool.learned.portfolio import NAMES

SEED = 161_803_398


@pytest.fixture(scope="module")
def spectrum():
    return st.estimate_spectrum(st.gallery.poisson((50, 50)), rng=SEED)


def _says(scores, task="selector"):
    """Return a network that says the same of everything."""
    known = network(task)
    biases = [np.zeros_like(bias) for bias in known.biases[:-1]]
    last = np.broadcast_to(np.asarray(scores, dtype=np.float32), known.biases[-1].shape)
    weights = tuple(np.zeros_like(weight) for weight in known.weights)
    return dataclasses.replace(known, weights=weights, biases=(*biases, last))


def _preferring(name, by=0.3):
    scores = np.zeros(len(NAMES))
    scores[NAMES.index(name)] = -by
    return _says(scores)


# Networks.


@pytest.mark.parametrize("task", TASKS)
def test_shipped_networks_have_whole_cards(task):
    net = network(task)
    assert all(entry in net.card for entry in CARD)
    assert net.card["task"] == task
    assert net.card["scores"]
    assert net.farthest > 0
    json.dumps(net.card)


def test_all_weights_together_are_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 3 * 2**20


def test_inference_is_a_perceptron_with_gelu(spectrum):
    net = network("completion")
    row = np.concatenate([features(spectrum), np.linspace(-3.0, 0.0, LEVELS.size)])
    x = np.clip((row - net.mean) / net.std, -4, 4)
    outputs = []
    for k in range(net.weights[0].shape[0]):
        y = x
        for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
            y = y @ weight[k].astype(float) + bias[k]
            y = 0.5 * y * (1 + erf(y / np.sqrt(2)))
        outputs.append(y @ net.weights[-1][k].astype(float) + net.biases[-1][k])
    # Inference is in single precision.
    assert np.allclose(net(row)[0], np.mean(outputs, axis=0), atol=1e-4)


def test_distance_is_zero_inside_of_training_and_grows_outside():
    net = network("selector")
    middle = 0.5 * (net.low + net.high)
    far = net.high + 100 * net.std
    near = middle.copy()
    near[3] = net.high[3] + net.std[3]
    distances = net.distance([middle, near, far])
    assert distances[0] == 0.0
    assert 0 < distances[1] < net.farthest < distances[2]


def test_networks_round_trip(tmp_path):
    net = network("selector")
    save(net, tmp_path / "again.npz")
    again = read(tmp_path / "again.npz")
    row = np.zeros((3, net.mean.size))
    assert np.array_equal(again(row), net(row))
    assert again.card == net.card
    assert "selector" in repr(again)


def test_broken_files_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    with pytest.raises(InputError, match="spectool train"):
        read(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no weights"):
        read(path)
    net = network("selector")
    save(dataclasses.replace(net, card={**net.card, "format": "spectool.learned/0"}), path)
    with pytest.raises(InputError, match="Train again"):
        read(path)


@pytest.mark.parametrize("rows", [np.zeros(3), np.full(147, np.nan)])
def test_wrong_features_are_refused(rows):
    with pytest.raises(InputError, match="features must be finite"):
        network("selector")(rows)


def test_unknown_tasks_are_refused():
    with pytest.raises(InputError, match="task must be one of"):
        network("oracle")


# The completed spectrum.


def test_completion_keeps_what_is_known(spectrum):
    found = completed(spectrum)
    assert (np.diff(found.nodes) >= 0).all()
    assert found.nodes[0] * found.upper <= spectrum.ritz_values[0] * (1 + 1e-12)
    assert found.nodes[-1] <= 1.0
    assert found.weights.sum() == pytest.approx(1.0)


def test_completion_without_corrections_is_the_probe(spectrum):
    """An untrained network says zero, and the classical distribution is left."""
    net = _says(np.zeros(LEVELS.size), "completion")
    found = completed(spectrum, net=net)
    heights = (np.cumsum(found.weights) - 0.5 * found.weights)[1:]
    expected = np.clip(spectrum.quantile(heights) / found.upper, 1e-14, 1.0)
    assert np.allclose(found.nodes[1:], np.maximum.accumulate(expected), rtol=1e-9)


def test_completion_is_nearer_to_the_truth_than_the_probe():
    """On a spectrum of no family of training: eigenvalues of a Laplacian, known exactly."""
    k = np.arange(1, 61)
    line = 2 - 2 * np.cos(np.pi * k / 61)
    true = np.sort((line[:, None] + line).ravel())
    spectrum = st.estimate_spectrum(st.gallery.poisson((60, 60)), rng=SEED)
    found = completed(spectrum)
    lowest = found.nodes[0] * found.upper
    assert abs(np.log(lowest / true[0])) < abs(np.log(spectrum.ritz_values[0] / true[0]))


@pytest.mark.parametrize("n", [1, 2, 40, 2048, 5000, 10**7])
def test_groups_cover_everything_once(n):
    counts = grouped(n, 2048)
    assert counts.sum() == n
    assert (counts >= 1).all()
    assert counts[0] == counts[-1] == 1
    assert counts.size <= 2048


# Decisions.


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("degree", [2, 5, 8, 16, 40])
def test_choices_are_positive_and_told(spectrum, judge, degree):
    found = choose(spectrum, degree, judge=judge)
    z = np.linspace(0, spectrum.interval[1], 3000)[1:]
    assert (found.member.recurrence(z) > 0).all()
    assert found.reason
    assert set(found.scores) == set(NAMES)
    assert not found.unlike


def test_a_promising_design_is_taken(spectrum):
    net = _preferring("chebyshev 1/8")
    found = choose(spectrum, 8, judge="selector", selector=net)
    assert found.member.name == "chebyshev 1/8"
    assert "26%" in found.reason  # 1 - exp(-0.3)


def test_a_small_promise_does_not_leave_the_default(spectrum):
    net = _preferring("chebyshev 1/8", by=0.01)
    found = choose(spectrum, 8, judge="selector", selector=net)
    assert found.member.name == default_name(8)
    assert choose(spectrum, 8, judge="selector", selector=net, margin=0.0).member.name != (
        default_name(8)
    )


def test_what_the_simulation_contradicts_is_not_taken():
    """The selector is made to praise a bad design; CG on the completed spectrum knows better."""
    spectrum = st.estimate_spectrum(st.gallery.poisson((100, 100)), rng=SEED)
    alone = choose(spectrum, 8, judge="selector", selector=_preferring("chebyshev 16"))
    assert alone.member.name == "chebyshev 16"
    found = choose(spectrum, 8, selector=_preferring("chebyshev 16", by=0.05))
    assert found.member.name != "chebyshev 16"


def test_probes_unlike_those_of_training_keep_the_default(spectrum):
    net = network("selector")
    strange = dataclasses.replace(net, low=net.low + 50, high=net.high + 50)
    found = choose(spectrum, 8, selector=strange)
    assert found.unlike
    assert found.distance > 1
    assert found.member.name == default_name(8)
    assert not found.scores
    assert "unlike" in found.reason


def test_degrees_beyond_training_keep_the_default(spectrum):
    found = choose(spectrum, DEGREES[1] + 60)
    assert found.unlike
    assert found.member.name == default_name(100)
    assert "degree 100" in found.reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degree": 0}, "degree"),
        ({"degree": 8, "judge": "jury"}, "judge must be one of"),
        ({"degree": 8, "default": "best"}, "name must be one of"),
    ],
)
def test_wrong_arguments_are_refused(spectrum, options, message):
    with pytest.raises(InputError, match=message):
        choose(spectrum, **options)


# As a preconditioner.


@pytest.mark.parametrize("degree", [2, 5, 8, 16, 32])
def test_preconditioner_solves(degree):
    A = st.gallery.jump((40, 40), rng=SEED)
    M = st.preconditioner(A, method="learned", degree=degree, rng=SEED)
    b = np.random.default_rng(SEED).standard_normal(A.shape[0])
    x, info = sla.cg(A, b, M=M, rtol=1e-9, maxiter=2000)
    assert info == 0
    assert np.linalg.norm(b - A @ x) <= 1e-8 * np.linalg.norm(b)
    assert M.recurrence.degree <= degree
    assert {candidate.method for candidate in M.report.candidates} & set(NAMES)


def test_indefinite_matrices_are_refused():
    A = np.diag(np.linspace(-1.0, 2.0, 300))
    with pytest.raises(st.errors.NotPositiveDefiniteError, match="learned"):
        st.preconditioner(st.gallery.poisson((30, 30)) - st.gallery.poisson((30, 30)) * 1.3,
                          method="learned", degree=8)  # fmt: skip
    with pytest.raises(st.errors.NotPositiveDefiniteError, match="learned"):
        st.preconditioner(A, method="learned", degree=8)


def test_general_matrices_are_refused():
    A = st.gallery.poisson((20, 20)).tolil()
    A[0, 5] = 3.0
    with pytest.raises(InputError, match="method"):
        st.preconditioner(A.tocsr(), method="learned")


def test_an_exhausted_krylov_space_needs_no_completion():
    lam = np.repeat([1.0, 50.0, 100.0, 200.0], [397, 1, 1, 1])
    spectrum = st.estimate_spectrum(np.diag(lam), rng=SEED)
    found = completed(spectrum)
    np.testing.assert_allclose(found.upper * found.nodes, [1.0, 50.0, 100.0, 200.0])
    assert found.cg_iterations(None) == 4
