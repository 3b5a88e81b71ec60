"""How many steps adaptive methods take, beside fixed ones and beside what was published.

Source
    Yang, Wang, Balabanov, Erichson and Mahoney, arXiv:2601.22137: heavy tails (figure on the
    beta-Laguerre ensemble), Theorem 1.
Deviations
    Matrices are dense and drawn with a seed; those of prescribed singular values are rotated by
    Haar matrices, so that sketches see no structure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from spectool import dense, gallery
from spectool._types import Array
from spectool.bench.dense.cases import (
    METHODS,
    Fixed,
    Spectrum,
    adaptive,
    counted,
    plain_start,
    polar_method,
    polar_pair,
    spectra,
    started,
)
from spectool.bench.dense.records import CountRow
from spectool.bench.measure import NOTE
from spectool.dense.iterations import find_kind
from spectool.dense.problems import Problem
from spectool.dense.run import Method, Run
from spectool.dense.sketch import Prism, PrismNewton
from spectool.errors import SpectoolError

TARGET = 1e-8
"""For ``||I - X^H X||_F`` in the table of spectra."""
ROOT_TARGET = 1e-10
"""For ``||R||_F`` of inverse roots."""
ROOT_KAPPA = 1e4
SKETCHES = 5
"""Draws of a sketch, whose median counts."""
HEAVY_TARGETS = (1e-2, 1e-4)
HEAVY_KAPPAS = (0.1, 0.5, 100.0)
HEAVY_METHODS = ("NS5", "PE shipped", "PRISM3", "PRISM5", "KPE", "hybrid")
HEAVY_PUBLISHED = {
    (0.1, 1e-2): (17, 19),
    (0.5, 1e-2): (17, 19),
    (100.0, 1e-2): (7, 9),
    (0.1, 1e-4): (18, 20),
    (0.5, 1e-4): (18, 20),
    (100.0, 1e-4): (7, 10),
}
"""Steps read from a figure, fewest and most."""
ROOTS = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (4, 1), (4, 2))
"""p and the degree of the fitted polynomial."""
ROOTS_PUBLISHED = {(1, 1): 13, (1, 2): 8, (2, 1): 11, (2, 2): 7, (3, 1): 11, (4, 1): 10, (4, 2): 7}
NEWTON_KAPPA, NEWTON_PUBLISHED = 1e6, 7
TAYLOR = {
    (1, 1): "inv.newton_schulz",
    (1, 2): "inv.chebyshev",
    **{(p, 1): "inverse_root.newton" for p in (2, 3, 4)},
    **{(p, 2): "inverse_root.quadratic" for p in (2, 3, 4)},
}
MOST = 60


def count_spectrum(case: Spectrum, *, seed: int) -> Iterator[CountRow]:
    """Yield the steps of each method to ``||I - X^H X||_F <= TARGET``."""
    G = case.make(np.random.default_rng(seed))
    lower = float(np.linalg.svd(G / np.linalg.norm(G), compute_uv=False)[-1])
    for name in METHODS:
        yield _polar_row(
            "spectra", case.name, G, name, lower, TARGET, case.published.get(name), seed
        )


def _polar_row(
    table: str,
    matrix: str,
    G: Array,
    name: str,
    lower: float,
    target: float,
    published: int | None,
    seed: int,
) -> CountRow:
    problem, n = Problem("polar"), G.shape[1]
    blank = CountRow(table, matrix, name, None, published, target)
    try:
        method = polar_method(name, lower)
        run, _ = started(problem, G, method, seed=seed, frobenius=True)
        steps = counted(run, method, target=target, most=MOST)
    except (SpectoolError, ArithmeticError, ValueError) as error:
        return _failed(blank, error)
    residual = float(run.residual_norms().max()) * n**0.5
    U, H = polar_pair(run.algebra, G, run.variables.X)
    backward = float(np.linalg.norm(G - U @ H) / np.linalg.norm(G))
    note = "" if steps is not None else f"least residual {min(run.history):.1e}"
    return CountRow(table, matrix, name, steps, published, target, residual, backward, note)


def _failed(blank: CountRow, error: Exception) -> CountRow:
    return replace(blank, note=f"{type(error).__name__}: {error}"[:NOTE])


def count_heavy(
    kappa: float, *, shape: tuple[int, int] = (2000, 1000), seed: int
) -> Iterator[CountRow]:
    """Yield steps on heavy-tailed matrices in single precision, to each of ``HEAVY_TARGETS``."""
    m, n = shape
    G = gallery.heavy_tailed(m, n, kappa, rng=seed).astype(np.float32)
    for name in HEAVY_METHODS:
        for target in HEAVY_TARGETS:
            yield _polar_row(
                "heavy tails",
                f"kappa {kappa:g}, ||R|| <= {target:g}",
                G,
                name,
                0.0,
                target,
                HEAVY_PUBLISHED[kappa, target][1],
                seed,
            )


# --- the theorem -----------------------------------------------------------------------------


def check_theorem(*, count: int = 100, n: int = 24, seed: int) -> Iterator[CountRow]:
    """Yield how often ``||I - X_k^2|| <= ||I - A^2||^(2^(k-2))`` held, and what a rotation does.

    A is symmetric with ``||A||_2 = 1``, and the cubic step is fitted to all of R. The rotation by
    90 degrees has ``A^2 = -I``, for which the theorem as printed fails.
    """
    rng = np.random.default_rng(seed)
    kept, worst = 0, 0.0
    note = ""
    for _ in range(count):
        lam = np.logspace(0, -rng.uniform(0.5, 3.0), n) * rng.choice([-1.0, 1.0], n)
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        try:
            ratio = _bound_ratio((Q * lam) @ Q.T, rng)
        except SpectoolError as error:
            note = f"{type(error).__name__}: {error}"[:NOTE]
            break
        kept += ratio <= 1.0 + 1e-9
        worst = max(worst, ratio)
    yield CountRow("theorem", f"{count} symmetric matrices", "PRISM3, exact fit", kept, count, 1.0,
                   residual=worst, note=note)  # fmt: skip
    rotation = np.array([[0.0, -1.0], [1.0, 0.0]])
    for name in ("prism", "kpe"):
        yield _rotated(rotation, name)


def _bound_ratio(A: Array, rng: np.random.Generator) -> float:
    """Return the largest ratio of a residual to the theorem's bound, while that is no rounding."""
    problem = Problem("sign")
    A = 0.5 * (A + A.T)
    o = problem.algebra(A, hermitian=True)
    run = Run(problem, o, problem.variables(o, A), rng)
    first = float(np.linalg.norm(run.residual(), 2))
    steps = exact_prism().steps(run)
    worst = 0.0
    for k in range(1, 30):
        step = next(steps)
        run.variables = step(o, run.variables)
        run.taken.append(step)
        bound = first ** (2.0 ** (k - 2))
        if bound <= 1e-12:
            break
        worst = max(worst, float(np.linalg.norm(run.residual(), 2)) / bound)
    return worst


def exact_prism() -> Method:
    """Return the cubic method fitted to R itself, as the theorem has it."""
    return Prism(degree=1, n_sketch=None)


def _rotated(A: Array, name: str) -> CountRow:
    """Ask for the sign of a rotation, which does not exist: that must be said."""
    row = CountRow("theorem", "rotation by 90 degrees", name, 0, 1, 0.0)
    try:
        found = dense.signm(A, method=name)
    except (SpectoolError, ValueError) as error:
        return replace(row, steps=1, note=f"refused: {error}"[:NOTE])
    return replace(row, note=f"answered {np.asarray(found).tolist()}"[:NOTE])


# --- inverse roots ---------------------------------------------------------------------------


def count_roots(*, n: int = 24, seed: int) -> Iterator[CountRow]:
    """Yield steps to ``A^(-1/p)``, fitted coefficients beside Taylor's; condition number 1e4."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = (Q * np.logspace(0, -math.log10(ROOT_KAPPA), n)) @ Q.T
    A = 0.5 * (A + A.T)
    for p, degree in ROOTS:
        problem = Problem("inv") if p == 1 else Problem("inverse_root", p)
        matrix = f"A^-1/{p}, degree {degree}" if p > 1 else f"A^-1, degree {degree}"
        kind = find_kind(TAYLOR[p, degree])
        taylor = Fixed("Taylor", (kind.step(*kind.classical(p)),))
        yield _root_row(problem, A, matrix, "Taylor", taylor, None, seed)
        prism = adaptive("PRISM3" if degree == 1 else "PRISM5")
        yield _root_row(problem, A, matrix, "PRISM", prism, ROOTS_PUBLISHED[p, degree], seed)
    for p in (1, 2, 3, 4):
        problem = Problem("inv") if p == 1 else Problem("inverse_root", p)
        matrix = f"A^-1/{p}, degree 2" if p > 1 else "A^-1, degree 2"
        for name in ("KPE", "hybrid"):
            yield _root_row(problem, A, matrix, name, adaptive(name), None, seed)
    yield from _newton_rows(Q, seed)


def _newton_rows(Q: Array, seed: int) -> Iterator[CountRow]:
    """Yield the steps of Newton's iteration for a polar factor, plain and fitted."""
    n = Q.shape[0]
    G = (Q * np.logspace(0, -math.log10(NEWTON_KAPPA), n)) @ np.linalg.qr(Q[::-1] + np.eye(n))[0]
    kind = find_kind("sign.newton")
    methods: dict[str, Method] = {
        "Taylor": Fixed("Newton", (kind.step(),)),
        "PRISM": PrismNewton(n_sketch=None),
    }
    for name, method in methods.items():
        problem = Problem("polar")
        o = problem.algebra(G, hermitian=False)
        run = Run(problem, o, problem.variables(o, G), np.random.default_rng(seed))
        steps = counted(run, method, target=ROOT_TARGET, most=MOST)
        yield CountRow(
            "inverse roots",
            "polar by inverses, 1e6",
            name,
            steps,
            NEWTON_PUBLISHED if name == "PRISM" else None,
            ROOT_TARGET,
            float(run.residual_norms().max()) * n**0.5,
        )


def _root_row(
    problem: Problem,
    A: Array,
    matrix: str,
    name: str,
    method: Method,
    published: int | None,
    seed: int,
) -> CountRow:
    blank = CountRow("inverse roots", matrix, name, None, published, ROOT_TARGET)
    n = A.shape[0]
    o = problem.algebra(A, hermitian=True)
    runs = []
    for sketch in range(1 if name == "Taylor" else SKETCHES):
        run = Run(problem, o, plain_start(problem, A), np.random.default_rng(seed + sketch))
        try:
            steps = counted(run, method, target=ROOT_TARGET, most=MOST)
        except (SpectoolError, ArithmeticError, ValueError) as error:
            return _failed(blank, error)
        runs.append((MOST + 1 if steps is None else steps, sketch, steps, run))
    _, _, steps, run = sorted(runs, key=lambda one: one[:2])[len(runs) // 2]
    residual = float(run.residual_norms().max()) * n**0.5
    note = "" if steps is not None else f"least residual {min(run.history):.1e}"
    return CountRow(
        "inverse roots", matrix, name, steps, published, ROOT_TARGET, residual, note=note
    )


TINY_SPECTRA = 40
"""Order of the spectra of a tiny run."""


def wanted_spectra(*, tiny: bool) -> tuple[Spectrum, ...]:
    """Return all ten, or three small ones."""
    return spectra(TINY_SPECTRA)[2:5] if tiny else spectra()
