"""Learned recurrence coefficients against the classical method they start from.

Four kinds of rows. "unseen": 60 spectra of 400 eigenvalues, both paradigms. "ripples": extrema of
the residual polynomial. "probes": error for x^-1/2 by condition number and length of the probe.
"matrices": real positive definite ones up to 3000 rows, by their eigenvalues; CG with a random
right-hand side on diag(eigenvalues) has the same law. Counts and errors only, no timing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from spectool import collection, gallery, plotting
from spectool._types import FloatArray
from spectool.bench.jobs import Job
from spectool.learned.data import cg_count
from spectool.learned.features import scaled_probe
from spectool.learned.portfolio import NAMES, member
from spectool.learned.predictor import Prediction, Predictor, objective
from spectool.learned.recurrences import PARADIGMS, Paradigm, PredictorTask
from spectool.learned.synthetic import Problem, probed
from spectool.operators import as_operator, jacobi_scale
from spectool.polynomials import Recurrence

N_SPECTRA, N = 60, 400
DEGREES = (4, 8, 16, 32)
DEGREE = 16
SHORT, LONG = 8, 24
"""Lanczos steps of the probes: the prototype's, and the package's."""
OWN = {"inverse": -1.50, "invsqrt": -2.06, "lowest": -0.31}
"""Medians that the prototype reached, on spectra of its own, from probes of eight vectors."""
SHARE_BETTER = 0.75
LENGTHS = (8, 12, 16, 24)
CONDS = (1e1, 1e2, 1e3, 1e4, 1e5)
REPEATS = 8
LARGEST = 3_000
FEWEST, MOST = 20, 20_000
TIME = 30.0
MATRIX_TASKS = ("invsqrt", "sqrt", "exp", "log", "lowest", "window")


@dataclass(frozen=True, slots=True, eq=False)
class CoefficientRow:
    """One spectrum, probe, task and degree.

    Attributes
    ----------
    kind : {"unseen", "ripples", "probes", "matrices"}
        Which experiment.
    case : str
        Matrix, or family and number.
    task, paradigm : str
        Of the predictor.
    degree, steps : int
        Of the polynomial; Lanczos steps of the probe.
    cond : float
        Condition number.
    classical, learned, guarded : float
        log10 of the objective; for "solve" the logarithm of matvecs over plain CG's; for "ripples"
        the number of alternations within a fifth of the maximum.
    used : str
        Which one the guard ran.
    unlike : bool
        Whether the probe was flagged.
    fixed : dict
        For "solve" the same of every fixed design.
    """

    kind: str
    case: str
    task: str
    paradigm: str
    degree: int
    steps: int
    cond: float
    classical: float
    learned: float
    guarded: float
    used: str
    unlike: bool
    fixed: dict[str, float]

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        return {"part": "coefficients", **asdict(self)}


def coefficient_jobs(*, tiny: bool = False) -> Iterator[Job[CoefficientRow]]:
    """Yield one job per synthetic experiment, then one per matrix."""
    few = 3 if tiny else N_SPECTRA
    yield Job("coefficients", "unseen", lambda seed: run_unseen(seed=seed, count=few))
    yield Job("coefficients", "ripples", lambda seed: run_ripples(seed=seed, count=few))
    conds = CONDS[:2] if tiny else CONDS
    yield Job("coefficients", "probes", lambda seed: run_probes(seed=seed, conds=conds))
    if tiny:
        A = gallery.poisson((12, 12))
        yield Job("coefficients", "poisson 12x12", lambda seed: run_matrix("poisson", A, seed=seed))
        return
    for entry in sorted(collection.search(spd=True), key=lambda each: each.n_rows):
        if entry.n_rows <= LARGEST:
            yield Job(
                "coefficients",
                entry.name,
                lambda seed, name=entry.name: run_matrix(  # type: ignore[misc]
                    name, collection.load(name), seed=seed
                ),
            )


def unseen_spectrum(index: int, rng: np.random.Generator) -> tuple[str, FloatArray]:
    """Return one of the prototype's families: 400 eigenvalues, condition number 10 to 1e4."""
    low = 10.0 ** -rng.uniform(1.0, 4.0)
    u = np.sort(rng.random(N))
    family = index % 6
    if family == 0:
        x = low**u
    elif family == 1:
        x = low + (1 - low) * u
    elif family == 2:
        x = low + (1 - low) * np.sort(
            rng.beta(float(rng.uniform(0.5, 4.0)), float(rng.uniform(0.5, 4.0)), N)
        )
    elif family == 3:
        x = np.where(u < rng.uniform(0.1, 0.9), low * (1 + u), 0.5 + 0.5 * u)
    elif family == 4:
        x = np.arange(1.0, N + 1) ** -(-np.log(low) / np.log(N))
    else:
        x = np.where(np.arange(N) < 5, low * (1 + u), 0.2 + 0.8 * u)
    x = np.sort(x)
    names = ("log-uniform", "uniform", "beta", "two clusters", "power law", "small outliers")
    return f"{names[family]} {index}", x / x[-1]


def _probed(x: FloatArray, rng: np.random.Generator, steps: int) -> tuple[Problem, Any]:
    counts = np.ones(x.size)
    problem = Problem(x, counts, rng.chisquare(counts), x.size, "given")
    return problem, probed(problem, rng, steps=min(steps, x.size))


def _row(
    kind: str, case: str, x: FloatArray, spectrum: Any, task: str, paradigm: str, degree: int
) -> CoefficientRow:
    found = _predicted(spectrum, task, paradigm, degree, float(x[-1]))
    levels = (np.arange(x.size) + 0.5) / x.size
    share = 0.5 if task == "window" else 0.05

    def judged(p: Recurrence) -> float:
        upper = float(x[-1])
        value = objective(task, p, x, levels, upper=upper, time=TIME, share=share)
        return min(value, 300.0)

    classical, learned = judged(found.classical), judged(found.learned)
    guarded = learned if found.used == "learned" else classical
    steps = spectrum.n_matvecs
    return CoefficientRow(
        kind, case, task, paradigm, degree, steps, float(x[-1] / x[0]),
        classical, learned, guarded, found.used, found.unlike, {},
    )  # fmt: skip


def _predicted(spectrum: Any, task: str, paradigm: str, degree: int, upper: float) -> Prediction:
    predictor = Predictor.default(cast("PredictorTask", task), cast("Paradigm", paradigm))
    return predictor(spectrum, degree, time=TIME / upper)


def run_unseen(*, seed: int, count: int = N_SPECTRA) -> Iterator[CoefficientRow]:
    """Yield three tasks, two paradigms and two probes per unseen spectrum, at degree 16."""
    for index in range(count):
        rng = np.random.default_rng([seed, 1, index])
        case, x = unseen_spectrum(index, rng)
        for steps in (SHORT, LONG):
            _, spectrum = _probed(x, rng, steps)
            for task in OWN:
                for paradigm in PARADIGMS:
                    yield _row("unseen", case, x, spectrum, task, paradigm, DEGREE)


def alternations(r: FloatArray) -> int:
    """Return how many extrema of alternating sign lie within a fifth of the largest modulus."""
    signs = np.sign(r[np.abs(r) >= 0.8 * np.abs(r).max()])
    return int(np.count_nonzero(np.diff(signs))) + 1


def residual(p: Recurrence, lower: float, upper: float) -> tuple[FloatArray, FloatArray]:
    """Return z on a logarithmic grid and ``1 - z p(z)``, both of shape (8001,)."""
    z = np.geomspace(lower, upper, 8001)
    return z, 1.0 - z * np.asarray(p(z))


def run_ripples(*, seed: int, count: int = N_SPECTRA) -> Iterator[CoefficientRow]:
    """Yield alternations of ``1 - z p(z)`` on log-uniform spectra, on their interval."""
    for index in range(count):
        rng = np.random.default_rng([seed, 2, index])
        low = 10.0 ** -rng.uniform(1.0, 3.0)
        x = np.sort(low ** rng.random(N))
        _, spectrum = _probed(x, rng, LONG)
        for degree in (8, 16):
            for paradigm in PARADIGMS:
                found = _predicted(spectrum, "inverse", paradigm, degree, float(x[-1]))
                classical, learned, guarded = (
                    float(alternations(residual(p, float(x[0]), float(x[-1]))[1]))
                    for p in (found.classical, found.learned, found.recurrence)
                )
                yield CoefficientRow(
                    "ripples", f"log-uniform {index}", "inverse", paradigm, degree, LONG,
                    float(x[-1] / x[0]), classical, learned, guarded, found.used, found.unlike, {},
                )  # fmt: skip


def run_probes(*, seed: int, conds: Sequence[float] = CONDS) -> Iterator[CoefficientRow]:
    """Yield errors for x^-1/2 on log-uniform spectra, by condition number and probe length."""
    for cond in conds:
        for repeat in range(REPEATS):
            rng = np.random.default_rng([seed, 3, round(math.log10(cond)), repeat])
            x = np.sort(cond ** -rng.random(N))
            for steps in LENGTHS:
                _, spectrum = _probed(x, rng, steps)
                case = f"cond {cond:.0e}"
                yield _row("probes", case, x, spectrum, "invsqrt", "expansion", DEGREE)


def run_matrix(name: str, A: Any, *, seed: int) -> Iterator[CoefficientRow]:
    """Yield all tasks and degrees on the eigenvalues of a Jacobi scaled matrix."""
    operator = as_operator(A, assume_a="her")
    scale = jacobi_scale(operator)
    S = A if scale is None else A.multiply(scale[:, None]).multiply(scale[None, :])
    x = np.linalg.eigvalsh(S.toarray())
    if not x[0] > 1e-13 * x[-1] or x[-1] <= (1 + 1e-9) * x[0]:
        return
    x = np.asarray(x / x[-1])
    rng = np.random.default_rng([seed, 4])
    problem, spectrum = _probed(x, rng, LONG)
    for degree in DEGREES:
        for task in MATRIX_TASKS:
            yield _row("matrices", name, x, spectrum, task, "expansion", degree)
    plain = cg_count(x, problem.masses, None)
    if not FEWEST <= plain < MOST:
        return
    probe = scaled_probe(spectrum)
    for degree in DEGREES:
        fixed = {
            each: _overhead(problem, member(each, spectrum, degree, probe=probe).recurrence, plain)
            for each in NAMES
        }
        for paradigm in PARADIGMS:
            found = _predicted(spectrum, "solve", paradigm, degree, 1.0)
            classical, learned, guarded = (
                _overhead(problem, p, plain)
                for p in (found.classical, found.learned, found.recurrence)
            )
            yield CoefficientRow(
                "matrices", name, "solve", paradigm, degree, LONG, float(1 / x[0]),
                classical, learned, guarded, found.used, found.unlike, fixed,
            )  # fmt: skip


def _overhead(problem: Problem, p: Recurrence, plain: int) -> float:
    most = 20 * plain // (p.degree + 1) + 20
    count = cg_count(problem.eigenvalues, problem.masses, p, maxiter=most)
    return math.log(max(count, 1) * (p.degree + 1) / plain)


def draw_ripples(path: Any, *, seed: int, cond: float = 100.0, degree: int = 16) -> None:
    """Draw the residual polynomials, classical and learned, on one log-uniform spectrum."""
    rng = np.random.default_rng([seed, 5])
    x = np.sort(cond ** -rng.random(N))
    _, spectrum = _probed(x, rng, LONG)
    found = _predicted(spectrum, "inverse", "expansion", degree, float(x[-1]))
    ax = plotting.blank_axes((7.4, 3.6))
    for name, p in (("classical", found.classical), ("learned", found.learned)):
        z, r = residual(p, float(x[0]), float(x[-1]))
        ax.plot(z, r, label=name)
    ax.set_xscale("log")
    ax.set_xlabel("eigenvalue")
    ax.set_ylabel("residual polynomial")
    ax.legend(frameon=False)
    plotting.save(ax, path)
