"""Matrices and methods of ``bench dense``, with the counts of steps that were published.

Source
    Counts of the ten spectra: side experiment on Yang, Wang, Balabanov, Erichson and Mahoney,
    arXiv:2601.22137 (``||I - X^H X||_F <= 1e-8``, from ``G / ||G||_F``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from spectool import gallery
from spectool._types import Array
from spectool.dense.algebra import MatrixAlgebra
from spectool.dense.coefficients import POLAR_EXPRESS, polar_express
from spectool.dense.iterations import find_kind
from spectool.dense.problems import Problem, norm_bound
from spectool.dense.run import Method, Run, iterate
from spectool.dense.sketch import Hybrid, KrylovMinimax, Prism
from spectool.dense.steps import Step, Variables
from spectool.results import Status

QUINTIC = "sign.quintic"
CUSHION = 0.02
"""Of Polar Express with other bounds than its own."""
SHIPPED_SAFETY = 1.01
SHIPPED_STEPS = 10
OUTLIER = "399 equal + one 1e-4"


class Spectrum(NamedTuple):
    """A matrix whose polar factor is wanted, and published counts of steps by method."""

    name: str
    make: Callable[[np.random.Generator], Array]
    published: dict[str, int]


METHODS = (
    "NS5",
    "PE shipped",
    "PE 0.1",
    "PE 1e-7",
    "PE oracle",
    "PRISM3",
    "PRISM5",
    "KPE",
    "hybrid",
)
"""In the order of the table; the last has no published count."""


def _counts(*counts: int) -> dict[str, int]:
    return dict(zip(METHODS, counts, strict=False))


def _gaussian(m: int, n: int) -> Callable[[np.random.Generator], Array]:
    return lambda rng: rng.standard_normal((m, n))


def _prescribed(s: Array) -> Callable[[np.random.Generator], Array]:
    return lambda rng: gallery.prescribed_singular_values(s, (s.size, s.size), rng=rng)


def spectra(n: int = 400) -> tuple[Spectrum, ...]:
    """Return the ten spectra; those with prescribed values of order n, Gaussian ones in proportion.

    The counts are for n = 400, and change by a step at most for n from 200 on.
    """
    j = np.arange(1.0, n + 1)
    equal = np.ones(n)
    equal[-1] = 1e-4
    return (
        Spectrum(
            f"Gaussian 1:1 m={2 * n}",
            _gaussian(2 * n, 2 * n),
            _counts(19, 13, 17, 14, 10, 19, 13, 10),
        ),
        Spectrum(f"Gaussian 4:1 m={n}", _gaussian(4 * n, n), _counts(9, 10, 7, 14, 5, 9, 6, 5)),
        Spectrum(
            f"Gaussian 50:1 m={n // 4}",
            _gaussian(50 * (n // 4), n // 4),
            _counts(7, 10, 5, 14, 4, 7, 5, 5),
        ),
        Spectrum("log-uniform 1e2", _log(2, n), _counts(13, 10, 11, 14, 7, 13, 9, 8)),
        Spectrum("log-uniform 1e4", _log(4, n), _counts(20, 14, 18, 14, 10, 20, 13, 10)),
        Spectrum("log-uniform 1e6", _log(6, n), _counts(27, 21, 25, 14, 13, 26, 17, 14)),
        Spectrum("log-uniform 1e8", _log(8, n), _counts(34, 28, 32, 20, 16, 33, 21, 17)),
        Spectrum(OUTLIER, _prescribed(equal), _counts(22, 17, 21, 14, 11, 19, 12, 15)),
        Spectrum("1/j", _prescribed(1.0 / j), _counts(13, 10, 11, 14, 7, 13, 9, 7)),
        Spectrum("1/j^2", _prescribed(1.0 / j**2), _counts(22, 16, 20, 14, 11, 21, 14, 12)),
    )


def _log(decades: int, n: int) -> Callable[[np.random.Generator], Array]:
    return _prescribed(np.logspace(0, -decades, n))


# --- methods ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fixed:
    """Steps that do not depend on the matrix; the last one repeats."""

    name: str
    schedule: tuple[Step, ...]

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield the next step."""
        del run
        yield from self.schedule
        while True:
            yield self.schedule[-1]


def quintics(name: str, rows: Any) -> Fixed:
    """Return odd quintics (a, b, c), one row per step."""
    kind = find_kind(QUINTIC)
    return Fixed(name, tuple(kind.step(*row) for row in rows))


def newton_schulz() -> Fixed:
    """Return the quintic Newton-Schulz iteration."""
    return quintics("NS5", [(1.875, -1.25, 0.375)])


def shipped() -> Fixed:
    """Return Polar Express as its authors ship it: 10 steps for [1e-3, 1], safety 1.01."""
    rows = [POLAR_EXPRESS[min(k, len(POLAR_EXPRESS) - 1)] for k in range(SHIPPED_STEPS)]
    s = SHIPPED_SAFETY
    safe = [(a / s, b / s**3, c / s**5) for a, b, c in rows[:-1]]
    return quintics("PE shipped", [*safe, rows[-1]])


def composed(name: str, lower: float) -> Fixed:
    """Return Polar Express for ``[lower, 1]``, continued by its last step."""
    return quintics(name, polar_express(max(lower, 1e-15), 40, cushion=CUSHION))


def adaptive(name: str) -> Method:
    """Return PRISM3, PRISM5, KPE or the hybrid."""
    made: dict[str, Callable[[], Method]] = {
        "PRISM3": lambda: Prism(degree=1),
        "PRISM5": lambda: Prism(degree=2),
        "KPE": KrylovMinimax,
        "hybrid": Hybrid,
    }
    return made[name]()


def polar_method(name: str, lower: float) -> Method:
    """Return one of ``METHODS``, with the true bound for the oracle."""
    if name == "NS5":
        return newton_schulz()
    if name == "PE shipped":
        return shipped()
    if name.startswith("PE"):
        bounds = {"PE 0.1": 0.1, "PE 1e-7": 1e-7, "PE oracle": 0.99 * lower}
        return composed(name, bounds[name])
    return adaptive(name)


# --- running ---------------------------------------------------------------------------------


class Iterated(NamedTuple):
    """A run that has ended, its status, and by what A was divided."""

    run: Run
    status: Status
    scale: Any


def iterated(
    problem: Problem,
    A: Any,
    method: Method,
    *,
    rtol: float,
    maxiter: int = 100,
    seed: int = 0,
    frobenius: bool = False,
) -> Iterated:
    """Run a method in the loop that all methods share, without the verb's checks and repairs.

    Parameters
    ----------
    problem : Problem
        The function; A is Hermitian unless it is polar.
    A : array, shape (m, n)
        NumPy or torch.
    method : Method
        Decides on steps.
    rtol : float
        For ``||R||_F / sqrt(n)``.
    maxiter : int
        Most steps.
    seed : int
        Of sketches.
    frobenius : bool
        Whether A is divided by its Frobenius norm, as published, and not by a better bound.
    """
    run, c = started(problem, A, method, seed=seed, frobenius=frobenius)
    status = iterate(run, method, rtol=rtol, maxiter=maxiter)
    return Iterated(run, status, c)


def counted(run: Run, method: Method, *, target: float, most: int) -> int | None:
    """Take steps until ``||R||_F <= target``; return how many, or None after ``most`` of them.

    Unlike ``iterate`` it is patient: a schedule may be slow in between.
    """
    root = run.variables.X.shape[-1] ** 0.5
    with np.errstate(all="ignore"):
        for step in method.steps(run):
            norm = float(run.residual_norms().max()) * root
            run.history.append(norm)
            if norm <= target:
                return len(run.taken)
            if len(run.taken) >= most or not np.isfinite(norm):
                return None
            run.variables = step(run.algebra, run.variables)
            run.taken.append(step)
    return None


def started(
    problem: Problem, A: Any, method: Method, *, seed: int = 0, frobenius: bool = False
) -> tuple[Run, Any]:
    """Return a run at its start, and by what A was divided; see ``iterated``."""
    o = problem.algebra(A, hermitian=problem.function != "polar")
    c = o.norm(A) if frobenius else norm_bound(o, A)
    if method.name == "PE shipped":
        c = SHIPPED_SAFETY * c + 1e-7
    v = problem.variables(o, A / o.xp.astype(c, A.dtype))
    return Run(problem, o, v, np.random.default_rng(seed)), c


def polar_pair(o: MatrixAlgebra, G: Any, X: Any) -> tuple[Any, Any]:
    """Return (U, H) for a computed polar factor: one more product."""
    product = o.adjoint_of(X) @ G
    return X, 0.5 * (product + o.adjoint_of(product))


def plain_start(problem: Problem, A: Array) -> Variables:
    """Return ``X = I`` for positive definite ``A / ||A||_F``, whose inverse or root is wanted."""
    scaled = A / np.linalg.norm(A)
    one = np.eye(A.shape[0])
    if problem.function == "inv":
        return Variables(one, None, scaled)
    return Variables(one, scaled, scaled, problem.p)
