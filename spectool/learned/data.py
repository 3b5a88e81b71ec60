"""Training data: features of probes, and what every design then really takes.

Source
    Overheads are counted by CG on the true spectrum, unrolled to its end; the objective that
    AutoSpec-like predictors were measured to need, where condition numbers mislead.
Cost
    About 0.1 s per problem and core: some 70 designs, certified, and as many CG runs of 1536 nodes.
    The runs release the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from spectool._types import FloatArray
from spectool.kernels.virtual import pcg_iterations
from spectool.learned.completion import LEVELS, completion_features
from spectool.learned.features import (
    DEGREE_SIZE,
    SIZE,
    degree_features,
    probe_features,
    scaled_probe,
)
from spectool.learned.portfolio import NAMES, member
from spectool.learned.synthetic import FAMILIES, HELD_OUT, NODES, Problem, draw, probed
from spectool.polynomials import Recurrence
from spectool.spectrum import Spectrum

DEGREES = (4, 8, 16, 32)
RTOL = 1e-8
MAXITER = 20_000
FAILED = 3.0
"""Logarithm that stands for the overhead of a design with which CG did not end."""
Rows = TypeVar("Rows")
FEWEST = 20
"""Iterations of plain CG below which counts are too coarse to learn from."""
FEWEST_STEPS = 16
"""Of probes in the data; most have 24."""


class SelectorData(NamedTuple):
    """What the selector is trained on.

    ``features`` (rows, SIZE + 2) with the degree's; ``overheads`` (rows, members), natural
    logarithms of matvecs over those of plain CG; ``degrees`` (rows,); ``held_out`` (rows,), whether
    the family is kept for validation.
    """

    features: FloatArray
    overheads: FloatArray
    degrees: FloatArray
    held_out: FloatArray


class CompletionData(NamedTuple):
    """What the completion is trained on.

    ``features`` (rows, SIZE + levels), the last being the classical quantiles; ``corrections``
    (rows, levels), the true log10 quantiles over the upper end less those; ``held_out`` (rows,).
    """

    features: FloatArray
    corrections: FloatArray
    held_out: FloatArray


def cg_count(
    eigenvalues: FloatArray,
    masses: FloatArray,
    recurrence: Recurrence | None,
    *,
    rtol: float = RTOL,
    maxiter: int = MAXITER,
) -> int:
    """Return CG's iterations on ``diag(eigenvalues)`` with ``M = p(A)``, maxiter if it failed.

    ``masses``, shape (m,), are the squared components of the right-hand side.
    """
    values = np.ascontiguousarray(eigenvalues, dtype=np.float64)
    weights = np.ones_like(values) if recurrence is None else recurrence(values)
    residual = np.sqrt(masses)
    return pcg_iterations(
        values, np.ascontiguousarray(weights), residual, np.empty_like(values), rtol, maxiter
    )


def log_overheads(
    problem: Problem, spectrum: Spectrum, degrees: Sequence[int], *, names: Sequence[str] = NAMES
) -> FloatArray | None:
    """Return the logarithms of matvecs over those of plain CG, shape (degrees, names).

    None if plain CG does not end, or ends so soon that the count is too coarse to learn from.
    """
    # Beyond half as many iterations as nodes CG would feel that neighbors share one.
    most = MAXITER if problem.n <= NODES else problem.eigenvalues.size // 2
    plain = cg_count(problem.eigenvalues, problem.masses, None, maxiter=most)
    if not FEWEST <= plain < most:
        return None
    probe = scaled_probe(spectrum)
    found = np.empty((len(degrees), len(names)))
    for i, degree in enumerate(degrees):
        known: dict[bytes, float] = {}
        for j, name in enumerate(names):
            q = member(name, spectrum, degree, probe=probe).recurrence
            key = q.a.tobytes() + q.w.tobytes()
            if key not in known:
                # What takes e^3 times as many matvecs may as well have failed.
                most = int(np.exp(FAILED) * plain / (q.degree + 1)) + 2
                count = cg_count(problem.eigenvalues, problem.masses, q, maxiter=most)
                known[key] = min(float(np.log(count * (q.degree + 1) / plain)), FAILED)
            found[i, j] = known[key]
    return found


def _steps(rng: np.random.Generator) -> int:
    return 24 if rng.random() < 0.8 else int(rng.integers(FEWEST_STEPS, 33))


def _problem(seed: int, index: int) -> tuple[Problem, Spectrum, np.random.Generator]:
    """Draw problem number ``index``: families in turn, each with a generator of its own."""
    rng = np.random.default_rng([seed, index])
    problem = draw(FAMILIES[index % len(FAMILIES)], rng)
    return problem, probed(problem, rng, steps=_steps(rng)), rng


def _selector_rows(seed: int, index: int) -> SelectorData | None:
    problem, spectrum, rng = _problem(seed, index)
    degrees = (*DEGREES, int(np.exp(rng.uniform(np.log(2), np.log(40)))))
    overheads = log_overheads(problem, spectrum, degrees)
    if overheads is None:
        return None
    probe = scaled_probe(spectrum)
    shared = probe_features(probe, complete=spectrum.complete)
    rows = [np.concatenate([shared, degree_features(probe.lowest, d)]) for d in degrees]
    kept = np.full(len(degrees), float(problem.family in HELD_OUT))
    return SelectorData(np.array(rows), overheads, np.array(degrees, dtype=np.float64), kept)


def _completion_row(seed: int, index: int) -> CompletionData:
    problem, spectrum, _ = _problem(seed, index)
    probe = scaled_probe(spectrum)
    row = completion_features(spectrum, probe)
    true = np.log10(problem.quantiles(LEVELS) / probe.upper)
    return CompletionData(
        row[None],
        (true - row[-LEVELS.size :])[None],
        np.array([float(problem.family in HELD_OUT)]),
    )


def selector_data(
    problems: Sequence[int],
    seed: int,
    *,
    threads: int = 2,
    advance: Callable[[], None] | None = None,
) -> SelectorData:
    """Draw problems and count what every member of the portfolio takes.

    Parameters
    ----------
    problems : sequence of int
        Numbers of the spectra to draw, ``range(1000)``, say; each gives five rows, degrees 4, 8,
        16, 32 and one between 2 and 40, or none if CG ends at once or not at all.
    seed : int
        Problem i depends on ``(seed, i)`` only, so the data do not depend on ``threads``.
    threads : int
        Problems at a time.
    advance : callable, optional
        Called after every problem.
    """
    parts = drawn(lambda i: _selector_rows(seed, i), problems, threads, advance)
    none = SelectorData(
        np.empty((0, SIZE + DEGREE_SIZE)), np.empty((0, len(NAMES))), np.empty(0), np.empty(0)
    )
    columns = [np.concatenate(column) for column in zip(none, *parts, strict=True)]
    return SelectorData(*columns)


def completion_data(
    problems: Sequence[int],
    seed: int,
    *,
    threads: int = 2,
    advance: Callable[[], None] | None = None,
) -> CompletionData:
    """Draw spectra and their probes; arguments as in `selector_data`."""
    parts = drawn(lambda i: _completion_row(seed, i), problems, threads, advance)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return CompletionData(*columns)


def drawn(
    row: Callable[[int], Rows | None],
    problems: Sequence[int],
    threads: int,
    advance: Callable[[], None] | None,
) -> list[Rows]:
    """Return the rows of problems in their order; None is left out."""
    found: list[Rows] = []
    with ThreadPoolExecutor(threads) as pool:
        try:
            for part in pool.map(row, problems):
                if part is not None:
                    found.append(part)
                if advance is not None:
                    advance()
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return found
