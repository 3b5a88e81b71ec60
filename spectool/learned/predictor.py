"""The coefficient predictor: a network that bends a classical recurrence, and a guard.

Source
    AutoSpec (Liu, Balabanov, Yang, Mahoney, arXiv:2602.09530, 2026), in both of its paradigms.
Deviations
    The classical recurrence is the start and the contestant: both are compared on the completed
    spectrum, and the classical one runs where the learned one is not predicted to be better, is not
    certified positive though it must be, or where the probe is unlike those of training.
Cost
    Two small networks and a few evaluations at 2048 nodes: milliseconds, no products with A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.learned.completion import CompletedSpectrum, completed
from spectool.learned.features import Probe, degree_features, probe_features, scaled_probe
from spectool.learned.model import Network, network
from spectool.learned.objectives import GUARD, WIDTH, Nodes, log_error
from spectool.learned.recurrences import (
    FUNCTIONS,
    PARADIGMS,
    PREDICTED,
    Coefficients,
    Given,
    Paradigm,
    PredictorTask,
    coefficients,
    n_outputs,
)
from spectool.polynomials import Recurrence, certified_minimum
from spectool.polynomials.chebyshev import checked_degree
from spectool.spectrum import Spectrum

DEGREES = (4, 40)
"""Degrees of training."""
TIMES = (1.0, 100.0)
"""Of ``exp(-t A / upper)`` in training."""
SHARES = (0.01, 0.2)
"""Of the levels that "lowest" wants, in training."""
CENTERS = (0.15, 0.85)
"""Middle levels of windows in training."""
BEST: dict[str, Paradigm] = {
    "solve": "affine",
    "inverse": "affine",
    "invsqrt": "affine",
    "sqrt": "affine",
    "log": "affine",
}
"""Paradigms that did better on held-out families, where it is not "expansion"."""


class Prediction(NamedTuple):
    """A recurrence, and why.

    ``recurrence`` is what runs, in the unit of A; ``learned`` and ``classical`` are contestants;
    ``used`` says which won and ``reason`` why. ``predicted`` are their objectives on the completed
    spectrum: log10 of the error or amplification; for "solve" the natural logarithm of matvecs over
    plain CG's. ``unlike`` and ``distance`` are as in `Decision`. ``proof`` tells that the one that
    runs is certified positive; empty where that is not needed.
    """

    recurrence: Recurrence
    learned: Recurrence
    classical: Recurrence
    used: str
    reason: str
    predicted: dict[str, float]
    unlike: bool
    distance: float
    proof: str


@dataclass(frozen=True, slots=True)
class Predictor:
    """Predicts recurrence coefficients from a probe.

    Parameters
    ----------
    task : str
        "solve": a preconditioner for CG; "inverse": least ``max |1 - z p(z)|``; "invsqrt", "sqrt",
        "exp", "log": least error; "lowest", "window": a filter for a share of the levels.
    paradigm : {"affine", "expansion"}
        Which coefficients bend.
    net : Network
        Trained for them, or `untrained`.
    """

    task: PredictorTask
    paradigm: Paradigm
    net: Network

    @classmethod
    def default(cls, task: PredictorTask, paradigm: Paradigm | None = None) -> Self:
        """Return the predictor that is shipped for a task.

        Raises
        ------
        InputError
            If task or paradigm is unknown.

        Examples
        --------
        >>> import spectool as st
        >>> spectrum = st.estimate_spectrum(st.gallery.poisson((40, 40)), rng=161803398)
        >>> found = Predictor.default("solve")(spectrum, 8)
        >>> found.recurrence.degree, found.used in ("learned", "classical")
        (8, True)
        """
        if task not in PREDICTED:
            raise InputError(f"task must be one of {PREDICTED}; got {task!r}.")
        chosen = paradigm or BEST.get(task, "expansion")
        if chosen not in PARADIGMS:
            raise InputError(f"paradigm must be one of {PARADIGMS}; got {paradigm!r}.")
        return cls(task, chosen, network(f"predictor-{task}-{chosen}"))

    def __call__(
        self,
        spectrum: Spectrum,
        degree: int,
        *,
        time: float = 1.0,
        share: float = 0.05,
        center: float = 0.5,
        completion: Network | None = None,
    ) -> Prediction:
        """Predict, compare with the classical method, and return what should run.

        Parameters
        ----------
        spectrum : Spectrum
            With positive Ritz values.
        degree : int
            In [2, 500]; outside of [4, 40] the classical method runs.
        time : float
            For "exp": t of ``exp(-t A)``, positive, in the inverse unit of A.
        share : float
            For "lowest": the share of eigenvalues that is wanted, in (0, 0.7].
        center : float
            For "window": the level in whose middle the window lies, a tenth of all wide.
        completion : Network, optional
            The one that is shipped by default.

        Raises
        ------
        InputError
            If a number is out of range, or a Ritz value is not positive.
        """
        degree = checked_degree(degree, least=2, most=500)
        for name, value, low, high in (
            ("time", time, 0.0, np.inf),
            ("share", share, 0.0, 0.7),
            ("center", center, 0.1, 0.9),
        ):
            if not low < value <= high or not np.isfinite(value):
                raise InputError(f"{name} must lie in ({low:g}, {high:g}]; got {value!r}.")
        probe = scaled_probe(spectrum)
        t = time * probe.upper
        levels = [GUARD * share, center - 0.5 * WIDTH, center + 0.5 * WIDTH]
        ends = tuple(float(v) for v in spectrum.quantile(np.array(levels)) / probe.upper)
        extra = inputs(self.task, degree, probe.lowest, t, share, center, ends)
        row = np.concatenate([probe_features(probe, complete=spectrum.complete), extra])
        given = _given(self.task, probe, degree, t, ends)
        distance = float(self.net.distance(row)[0]) / self.net.farthest
        inside = DEGREES[0] <= degree <= DEGREES[1] and np.isfinite(distance)
        unlike = distance > 1.0 or not inside
        zero = np.zeros((1, n_outputs(self.paradigm)))
        classical, learned = (
            self._recurrence(probe, degree, given, outputs, what)
            for what, outputs in (("Chebyshev", zero), ("learned", self.net(row)))
        )
        virtual = completed(spectrum, probe=probe, net=completion)
        middle = center if self.task == "window" else share
        predicted = {
            name: _judged(self.task, p, probe, virtual, t, middle)
            for name, p in (("learned", learned), ("classical", classical))
        }
        used, reason = _verdict(predicted, unlike, self.task)
        proof = ""
        if self.task == "solve":
            if used == "learned" and not _positive(learned, probe):
                used, reason = "classical", "the learned polynomial is not certified positive"
            proof = (
                "certified positive on the safe interval"
                if used == "learned"
                else "by construction"
            )
        chosen = learned if used == "learned" else classical
        return Prediction(
            chosen, learned, classical, used, reason, predicted, unlike, distance, proof
        )

    def _recurrence(
        self, probe: Probe, degree: int, given: Given, outputs: FloatArray, what: str
    ) -> Recurrence:
        p = coefficients(np, self.task, self.paradigm, degree, given, outputs)
        return in_unit(self.task, p, probe, f"{what} {self.task}, {self.paradigm}")


def untrained(task: PredictorTask, paradigm: Paradigm, n_inputs: int) -> Network:
    """Return a network that says zero: the classical method."""
    size = n_outputs(paradigm)
    weights, biases = (
        (np.zeros((1, n_inputs, size), np.float32),),
        (np.zeros((1, size), np.float32),),
    )
    ends = np.full(n_inputs, -1e9), np.full(n_inputs, 1e9)
    card: dict[str, Any] = {"task": f"predictor-{task}-{paradigm}", "version": 0}
    card["training"] = {"farthest": 1.0}
    return Network(weights, biases, np.zeros(n_inputs), np.ones(n_inputs), *ends, card)


def inputs(
    task: str,
    degree: int,
    lowest: float,
    time: float,
    share: float,
    center: float,
    ends: tuple[float, ...],
) -> FloatArray:
    """Return what the network sees beside the probe's features, shape (5,)."""
    extra = [0.0, 0.0, 0.0]
    edge, left, right = (np.log10(max(end, 1e-14)) for end in ends)
    if task == "exp":
        extra[0] = np.log10(time)
    elif task == "lowest":
        extra = [np.log10(share), edge, 0.0]
    elif task == "window":
        extra = [center, left, right]
    return np.concatenate([degree_features(lowest, degree), extra])


def starts(
    xp: Any,
    task: str,
    degree: int,
    low: Any,
    seen: Any,
    safe: Any,
    time: Any,
    edge: Any,
    left: Any,
    right: Any,
) -> Given:
    """Return the classical choices of a task, each of shape (rows, 1).

    The lower end is the smallest Ritz value, but for "solve" the one that is tied to the degree, as
    in `portfolio`. Preconditioners of odd degree end at the safe upper end, filters always.
    """
    one = xp.ones_like(low)
    if task == "solve":
        m, c = degree + 1, 1.0 if degree <= 12 else 0.5
        low = xp.minimum(xp.maximum(seen, one / (c * m * m)), 0.9 * one)
        return Given(low, safe if degree % 2 else one, time, left, right)
    low = xp.minimum(low, 0.9 * one)
    if task == "lowest":
        return Given(low, safe, time, left, edge)
    return Given(low, safe if task == "window" else one, time, left, right)


def _given(task: str, probe: Probe, degree: int, t: float, ends: tuple[float, ...]) -> Given:
    values = (probe.lowest, probe.seen, probe.safe, t, *ends)
    return starts(np, task, degree, *(np.array([[value]]) for value in values))


def in_unit(task: str, p: Coefficients, probe: Probe, name: str) -> Recurrence:
    """Return the first row of coefficients as a recurrence in the unit of A."""
    unit, interval = probe.upper, (0.0, max(1.0, probe.safe))
    a, b, c, w = (part[0] for part in p)
    if task == "lowest":
        w = w / Recurrence(a, b, c, w, interval)(0.0)  # one at zero
    found = Recurrence(a, b, c, w, interval, name)
    if task in ("solve", "inverse"):
        return found.in_unit(unit)
    found = found.affine(1.0 / unit)
    if task in FUNCTIONS and task != "exp":
        if task == "log":
            moved = found.w.copy()
            moved[0] += np.log(unit)
            return Recurrence(found.a, found.b, found.c, moved, found.interval, name)
        return (unit**0.5 if task == "sqrt" else unit**-0.5) * found
    return found


def objective(
    task: str,
    p: Recurrence,
    eigenvalues: FloatArray,
    levels: FloatArray,
    *,
    upper: float,
    time: float = 1.0,
    share: float = 0.05,
) -> float:
    """Return log10 of what a task wants small, on a spectrum.

    Parameters
    ----------
    task : str
        Any but "solve".
    p : Recurrence
        In the unit of A.
    eigenvalues, levels : ndarray, shape (m,)
        In the unit of A, and the shares of the spectrum below them.
    upper : float
        Unit of ``time``, which is t of ``exp(-t A / upper)``; anything near the upper end.
    share : float
        Of "lowest"; the middle level of "window".
    """
    x = eigenvalues / upper
    values = np.asarray(p(eigenvalues), dtype=np.float64)
    scale = {"inverse": upper, "invsqrt": upper**0.5, "sqrt": upper**-0.5}.get(task, 1.0)
    values = values * scale - (np.log(upper) if task == "log" else 0.0)
    nodes = Nodes(x[None], np.ones((1, x.size)), levels[None])
    with np.errstate(over="ignore", invalid="ignore"):
        found = log_error(
            np,
            task,
            values[None],
            nodes,
            time=np.array([[time]]),
            share=np.array([[share]]),
            soft=False,
        )
    return float(np.nan_to_num(found[0], nan=np.inf))


def _judged(
    task: str, p: Recurrence, probe: Probe, virtual: CompletedSpectrum, t: float, share: float
) -> float:
    if task == "solve":
        return virtual.log_overhead(p, virtual.cg_iterations(None))
    levels = np.cumsum(virtual.weights) - 0.5 * virtual.weights
    return objective(
        task, p, virtual.upper * virtual.nodes, levels, upper=probe.upper, time=t, share=share
    )


def _verdict(predicted: dict[str, float], unlike: bool, task: str) -> tuple[str, str]:
    if unlike:
        return "classical", "probe or degree are unlike those of training"
    gain = predicted["classical"] - predicted["learned"]
    unit = "log of matvecs" if task == "solve" else "decades"
    if not gain > 0:
        return "classical", f"the learned one is not predicted to be better ({-gain:+.3g} {unit})"
    return "learned", f"predicted {gain:.3g} {unit} better on the completed spectrum"


def _positive(p: Recurrence, probe: Probe) -> bool:
    try:
        return certified_minimum(p, (0.0, probe.upper * probe.safe)).bound > 0
    except InputError:
        return False
