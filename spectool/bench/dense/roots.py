"""Square roots, inverse roots and signs of positive definite and indefinite matrices.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833: the distributions, the classical
    iterations, and the pair of square root and inverse square root (ZCA whitening).
Deviations
    LAPACK's eigendecomposition competes. Iterations run in one loop, to one residual; those that
    give no inverse square root pay for an inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg as sl

from spectool import dense, gallery
from spectool._types import Array, FloatArray
from spectool.bench.dense.cases import adaptive, iterated
from spectool.bench.dense.records import TimedRow
from spectool.bench.dense.timing import (
    DIRECT,
    ITERATION,
    LIMIT,
    OURS,
    REPEATS,
    Answer,
    Contest,
    Contestant,
    blas_threads,
    run_contest,
)
from spectool.dense.methods import Named
from spectool.dense.planning.iteration_plan import IterationPlan
from spectool.dense.planning.plan import plan_iteration
from spectool.dense.problems import Problem
from spectool.dense.run import Method

PLANNING = 2.0
RTOLS = {"float64": 1e-10, "float32": 1e-5}
"""For the residuals by which iterations stop."""
AMPLIFIED = 10.0
"""How much larger the error of an answer may be: condition numbers amplify."""
EIGH, SQRTM, FRACTIONAL = "eigh", "scipy sqrtm", "scipy fractional_matrix_power"
PLAN, PLAN_ALONE, AUTO = "plan", "plan, iterations only", "auto"
PAIR = "A^1/2 and A^-1/2"
SIGN = "sign"


class Law(NamedTuple):
    """A distribution of matrices."""

    name: str
    draw: Callable[[np.random.Generator], FloatArray]


@dataclass(frozen=True, slots=True)
class RootCase:
    """A distribution, what is asked of it, and in which type.

    Attributes
    ----------
    law : Law
        Of the matrices.
    function : str
        "pair", "sign" or "inverse_root".
    p : int
        Which root.
    dtype : str
        Of the matrices.
    """

    law: Law
    function: str
    p: int
    dtype: str

    @property
    def task(self) -> str:
        """For tables."""
        return {"pair": PAIR, "sign": SIGN}.get(self.function, f"A^-1/{self.p}")


def wishart_law(n: int, d: int) -> Law:
    """Return Wishart matrices of order n with d degrees of freedom."""
    return Law(f"Wishart {n}, d = {d // n} n", lambda rng: gallery.wishart(n, d, rng=rng))


def root_cases(*, tiny: bool = False) -> tuple[RootCase, ...]:
    """Return all cases; three small ones if tiny."""
    n, zca = (32, (27,)) if tiny else (512, (507, 1024))
    graph = Law(f"Erdos-Renyi {n}", lambda rng: gallery.erdos_renyi_laplacian(n, 0.1, rng=rng))
    images = tuple(
        Law(f"ZCA {size}", lambda rng, size=size: gallery.image_covariance(size, rng=rng))  # type: ignore[misc]
        for size in zca
    )
    definite = (wishart_law(n, 4 * n), wishart_law(n, n), *images, graph)
    indefinite = (
        Law(f"Uniform[-1, 1] {n}", lambda rng: gallery.uniform_spectrum(n, rng=rng)),
        Law(f"Quartic {n}", lambda rng: gallery.quartic_hessian(n, rng=rng)),
    )
    if tiny:
        return (
            RootCase(definite[0], "pair", 2, "float64"),
            RootCase(definite[2], "inverse_root", 4, "float32"),
            RootCase(indefinite[0], "sign", 1, "float64"),
        )
    types = tuple(RTOLS)
    return (
        *(RootCase(law, "pair", 2, dtype) for law in definite for dtype in types),
        *(
            RootCase(law, "inverse_root", p, dtype)
            for law in (definite[1], images[0], graph)
            for p in (3, 4)
            for dtype in types
        ),
        *(RootCase(law, "sign", 1, dtype) for law in indefinite for dtype in types),
    )


def time_roots(
    case: RootCase,
    *,
    seed: int,
    repeats: int = REPEATS,
    limit: float = LIMIT,
    planning: float = PLANNING,
) -> Iterator[TimedRow]:
    """Yield the seconds of all methods on one matrix of a case.

    Plans are made for another matrix of the same distribution, beforehand.
    """
    rng = np.random.default_rng(seed)
    A, sample = (case.law.draw(rng).astype(case.dtype) for _ in range(2))
    rtol = RTOLS[case.dtype]
    blank = TimedRow(
        "roots",
        case.law.name,
        case.task,
        "",
        "",
        A.shape,
        case.dtype,
        "cpu",
        blas_threads(),
        AMPLIFIED * rtol,
    )
    makers = {"pair": _pair, "sign": _sign, "inverse_root": _inverse_root}
    subject = _Subject(A, sample, case, rtol, seed, planning)
    contest = Contest(blank, list(makers[case.function](subject)), _judge(A, case))
    yield from run_contest(contest, repeats=repeats, limit=limit)


class _Subject(NamedTuple):
    A: Array
    sample: Array
    case: RootCase
    rtol: float
    seed: int
    planning: float


def _judge(A: Array, case: RootCase) -> Callable[[tuple[Any, ...]], Any]:
    """Return residual and error of answers, beside eigh of the matrix as it is stored."""
    stored = A.astype(np.float64)
    lam, Q = np.linalg.eigh(stored)
    norm, root = np.linalg.norm, stored.shape[0] ** 0.5

    def of(values: Array) -> Array:
        return (Q * values) @ Q.T

    def sign(value: tuple[Any, ...]) -> tuple[float, float]:
        S = np.asarray(value[0], dtype=np.float64)
        gap = norm(stored @ S - S @ stored) / norm(stored)
        one = norm(S @ S - np.eye(len(S))) / root
        return float(max(one, gap)), float(norm(S - of(np.sign(lam))) / root)

    def pair(value: tuple[Any, ...]) -> tuple[float, float]:
        X, Y = (np.asarray(one, dtype=np.float64) for one in value)
        inverse = norm(Y @ stored @ Y - np.eye(len(X))) / root
        residual = max(norm(X @ X - stored) / norm(stored), inverse)
        exact = of(lam**0.5), of(lam**-0.5)
        error = max(norm(one - true) / norm(true) for one, true in zip((X, Y), exact, strict=True))
        return float(residual), float(error)

    def inverse_root(value: tuple[Any, ...]) -> tuple[float, float]:
        X = np.asarray(value[0], dtype=np.float64)
        residual = norm(np.linalg.matrix_power(X, case.p) @ stored - np.eye(len(X))) / root
        true = of(lam ** (-1.0 / case.p))
        return float(residual), float(norm(X - true) / norm(true))

    return {"sign": sign, "pair": pair, "inverse_root": inverse_root}[case.function]


# --- ours ------------------------------------------------------------------------------------


def _planned(subject: _Subject, function: str, *, direct: bool) -> Contestant:
    """Return a contestant that plans for another matrix, beforehand."""
    made: list[IterationPlan] = []
    pair = subject.case.function == "pair"

    def prepare() -> None:
        made.append(
            plan_iteration(
                function,
                subject.sample[None],
                p=None if function == "sign" else subject.case.p,
                rtol=subject.rtol,
                max_time=subject.planning,
                pair=pair,
                direct=direct,
                rng=subject.seed,
            )
        )

    def run() -> Answer:
        plan = made[0]
        found = plan.run(subject.A)
        steps = ", ".join(step.kind.name.split(".")[-1] for step in plan.schedule)
        seconds = plan.statistics.get("seconds", float("nan"))
        note = f"{steps}; predicted {plan.cost:.3g} products; planned in {seconds:.2g} s"
        if found.n_further or found.replaced:
            note += f"; {found.n_further} more steps, {found.replaced} replaced"
        value = (found.value, found.partner) if pair else (found.value,)
        return Answer(value, len(plan.schedule), note=note)

    return Contestant(PLAN if direct else PLAN_ALONE, OURS, run, prepare)


def _loop(subject: _Subject, problem: Problem, method: Method) -> Answer:
    found = iterated(problem, subject.A, method, rtol=subject.rtol, seed=subject.seed)
    run = found.run
    X = problem.answer(run.variables, found.scale)
    if subject.case.function == "pair":
        Y = run.variables.Y
        Y = np.linalg.inv(X) if Y is None else Y / found.scale**0.5
        value: tuple[Any, ...] = (X, Y)
    else:
        value = (X,)
    note = "" if found.status.name == "CONVERGED" else f"{found.status.value}; {run.trouble}"
    return Answer(value, len(run.taken), run.cost.products, note.rstrip("; "))


def _named(subject: _Subject, problem: Problem, names: dict[str, str]) -> Iterator[Contestant]:
    for label, name in names.items():
        yield Contestant(
            label,
            ITERATION,
            lambda name=name: _loop(subject, problem, Named(name)),  # type: ignore[misc]
        )


def _sketched(subject: _Subject, problem: Problem) -> Iterator[Contestant]:
    for label, name in {"prism": "PRISM5", "kpe": "KPE", "hybrid": "hybrid"}.items():
        yield Contestant(
            label,
            OURS,
            lambda name=name: _loop(subject, problem, adaptive(name)),  # type: ignore[misc]
        )


def _pair(subject: _Subject) -> Iterator[Contestant]:
    A, problem = subject.A, Problem("sqrt")

    def auto() -> Answer:
        X, Y = (verb(A, assume_a="pos", full_output=True) for verb in (dense.sqrtm, dense.invsqrtm))
        return Answer((X.value, Y.value), None, note=X.method)

    def eigh() -> Answer:
        lam, Q = sl.eigh(A, driver="evd", check_finite=False)  # NumPy's is in double
        root = np.sqrt(lam)
        return Answer(((Q * root) @ Q.T, (Q / root) @ Q.T))

    def sqrtm() -> Answer:
        X = sl.sqrtm(A)
        return Answer((X.astype(A.dtype), np.linalg.inv(X).astype(A.dtype)))

    yield Contestant(AUTO, OURS, auto)
    yield _planned(subject, "sqrt", direct=True)
    yield _planned(subject, "sqrt", direct=False)
    yield from _sketched(subject, problem)
    yield from _named(
        subject,
        problem,
        {
            "Newton": "newton",
            "Denman-Beavers": "denman_beavers",
            "scaled DB": "scaled_db",
            "product DB": "product_db",
            "Newton-Schulz (NSV)": "newton_schulz",
            "minimax polynomials": "polar_express",
        },
    )
    yield Contestant(EIGH, DIRECT, eigh)
    yield Contestant(SQRTM, DIRECT, sqrtm)


def _inverse_root(subject: _Subject) -> Iterator[Contestant]:
    A, p = subject.A, subject.case.p
    problem = Problem("inverse_root", p)

    def auto() -> Answer:
        found = dense.inverse_root(A, p, assume_a="pos", full_output=True)
        return Answer((found.value,), found.n_iterations, note=found.method)

    def eigh() -> Answer:
        lam, Q = sl.eigh(A, driver="evd", check_finite=False)  # NumPy's is in double
        return Answer(((Q * lam ** (-1.0 / p)) @ Q.T,))

    yield Contestant(AUTO, OURS, auto)
    yield _planned(subject, "inverse_root", direct=True)
    yield _planned(subject, "inverse_root", direct=False)
    yield from _sketched(subject, problem)
    yield from _named(
        subject,
        problem,
        {
            "coupled Newton": "coupled_newton",
            "coupled, order 3": "higher_order",
            "Gawlik": "gawlik",
            "minimax polynomials": "polar_express",
        },
    )
    yield Contestant(EIGH, DIRECT, eigh)
    yield Contestant(FRACTIONAL, DIRECT, lambda: Answer((sl.fractional_matrix_power(A, -1.0 / p),)))


def _sign(subject: _Subject) -> Iterator[Contestant]:
    A, problem = subject.A, Problem("sign")

    def auto() -> Answer:
        found = dense.signm(A, assume_a="her", full_output=True)
        return Answer((found.value,), found.n_iterations, note=found.method)

    def eigh() -> Answer:
        lam, Q = sl.eigh(A, driver="evd", check_finite=False)  # NumPy's is in double
        return Answer(((Q * np.sign(lam)) @ Q.T,))

    yield Contestant(AUTO, OURS, auto)
    yield _planned(subject, "sign", direct=True)
    yield _planned(subject, "sign", direct=False)
    yield from _sketched(subject, problem)
    yield from _named(
        subject,
        problem,
        {
            "Newton": "newton",
            "scaled Newton": "scaled_newton",
            "Newton-Schulz": "newton_schulz",
            "QDWH": "qdwh",
            "minimax polynomials": "polar_express",
        },
    )
    yield Contestant(EIGH, DIRECT, eigh)
