"""Polar factors in single precision: seconds to ``||I - U^H U||_F / sqrt(n) <= 1e-5``.

Everybody returns U and H, so everybody pays for ``H = U^H G``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg as sl

from spectool import dense
from spectool._types import Array
from spectool.bench.dense.cases import composed, iterated, newton_schulz, polar_pair, shipped
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
    on_host,
    run_contest,
    torch_or_none,
    waiting,
)
from spectool.dense.planning.iteration_plan import IterationPlan
from spectool.dense.planning.plan import plan_iteration
from spectool.dense.problems import Problem
from spectool.dense.run import Method

RTOL = 1e-5
SHAPES = ((2000, 2000), (4000, 1000), (10_000, 200))
TINY_SHAPES = ((40, 40), (60, 20))
PLANNING = 2.0
"""Seconds that planning may take, beforehand."""
ONLINE, ONLINE_SECONDS = "plan, planning included", 0.1
POLAR = Problem("polar")
SHIPPED, ORACLE = "Polar Express, shipped", "Polar Express, oracle"
NEWTON_SCHULZ = "Newton-Schulz, quintic"
SCIPY, NUMPY_SVD, TORCH_SVD = "scipy polar", "numpy SVD", "torch SVD"


def time_polar(
    shape: tuple[int, int],
    *,
    device: str = "cpu",
    seed: int,
    repeats: int = REPEATS,
    limit: float = LIMIT,
    planning: float = PLANNING,
) -> Iterator[TimedRow]:
    """Yield the seconds of all methods on one Gaussian matrix.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns, m >= n.
    device : str
        "cpu", or "cuda" for torch tensors.
    seed : int
        Draws the matrix, and another one to plan with.
    repeats, limit : int, float
        Measured rounds; seconds per call.
    planning : float
        Seconds that planning may take.
    """
    rng = np.random.default_rng(seed)
    host = rng.standard_normal(shape).astype(np.float32)
    sample = rng.standard_normal(shape).astype(np.float32)
    G, other = (_placed(M, device) for M in (host, sample))
    threads = blas_threads() if device == "cpu" else 0
    blank = TimedRow(
        "polar", f"Gaussian {shape[0]} x {shape[1]}", "", "", "", shape, "float32", device,
        threads, RTOL,
    )  # fmt: skip
    lower = float(np.linalg.svd(host, compute_uv=False)[-1] / np.linalg.norm(host))
    contest = Contest(
        blank,
        [*_ours(G, other, seed, planning), *_rivals(G, lower, seed), *_direct(G)],
        lambda value: _judged(host, value),
        waiting(device),
    )
    yield from run_contest(contest, repeats=repeats, limit=limit)


def _placed(M: Array, device: str) -> Any:
    torch = torch_or_none()
    return M if device == "cpu" else torch.asarray(M).to(device)


def _judged(G: Array, value: tuple[Any, ...]) -> tuple[float, float]:
    """Return ``||I - U^H U|| / sqrt(n)`` and ``||G - U H|| / ||G||``, in double precision."""
    U, H = (on_host(X) for X in value)
    wide = G.astype(np.float64)
    n = U.shape[1]
    residual = np.linalg.norm(U.T @ U - np.eye(n)) / n**0.5
    return float(residual), float(np.linalg.norm(wide - U @ H) / np.linalg.norm(wide))


# --- contestants -----------------------------------------------------------------------------


def _ours(G: Any, other: Any, seed: int, planning: float) -> Iterator[Contestant]:
    def verb(**options: Any) -> Answer:
        result = dense.polar(G, full_output=True, rng=seed, **options)
        square, tall = (result.cost.get(name, 0.0) for name in ("products", "tall_products"))
        products = square + tall * G.shape[0] / G.shape[1]
        return Answer(result.value, result.n_iterations, products, result.method)

    yield Contestant("auto", OURS, verb)
    for name in ("prism", "kpe", "hybrid"):
        yield Contestant(name, OURS, lambda name=name: verb(method=name, rtol=RTOL))  # type: ignore[misc]
    for name, direct in (("plan", True), ("plan, iterations only", False)):
        yield _planned(name, G, other, seed, planning, direct=direct)
    yield Contestant(ONLINE, OURS, lambda: _online(G, seed))


def _planned(
    name: str, G: Any, other: Any, seed: int, planning: float, *, direct: bool
) -> Contestant:
    """Return a contestant that plans for another matrix, beforehand."""
    made: list[IterationPlan] = []

    def prepare() -> None:
        made.append(
            plan_iteration("polar", other, rtol=RTOL, max_time=planning, direct=direct, rng=seed)
        )

    def run() -> Answer:
        seconds = made[0].statistics.get("seconds", float("nan"))
        return _by_plan(G, made[0], f"planned in {seconds:.2g} s")

    return Contestant(name, OURS, run, prepare)


def _online(G: Any, seed: int) -> Answer:
    """Sketch the spectrum, plan, and run, all of it timed."""
    plan = plan_iteration("polar", G, rtol=RTOL, max_time=ONLINE_SECONDS, rng=seed)
    return _by_plan(G, plan, "planning included")


def _by_plan(G: Any, plan: IterationPlan, note: str) -> Answer:
    found = plan.run(G)
    steps = ", ".join(step.kind.name.partition(".")[2] for step in plan.schedule)
    note = f"{steps}; predicted {plan.cost:.3g} products; {note}"
    if found.n_further or found.replaced:
        note += f"; {found.n_further} more steps, {found.replaced} replaced"
    o = POLAR.algebra(G, hermitian=False)
    return Answer(polar_pair(o, G, found.value), len(plan.schedule), note=note)


def _rivals(G: Any, lower: float, seed: int) -> Iterator[Contestant]:
    def loop(method: Method, *, frobenius: bool) -> Answer:
        found = iterated(POLAR, G, method, rtol=RTOL, seed=seed, frobenius=frobenius)
        run = found.run
        cost = run.cost
        return Answer(
            polar_pair(run.algebra, G, run.variables.X),
            len(run.taken),
            cost.products + cost.tall_products * G.shape[0] / G.shape[1],
            found.status.value if float(run.residual_norms().max()) > RTOL else "",
        )

    for name, method in (
        (NEWTON_SCHULZ, newton_schulz()),
        (SHIPPED, shipped()),
        (ORACLE, composed("PE oracle", 0.99 * lower)),
    ):
        yield Contestant(
            name,
            ITERATION,
            lambda method=method: loop(method, frobenius=True),  # type: ignore[misc]
        )


def _direct(G: Any) -> Iterator[Contestant]:
    torch = torch_or_none()

    def by_torch() -> Answer:
        U, s, Vh = torch.linalg.svd(torch.asarray(G), full_matrices=False)
        return Answer((U @ Vh, (Vh.mH * s) @ Vh))

    def by_numpy() -> Answer:
        U, s, Vh = np.linalg.svd(G, full_matrices=False)
        return Answer((U @ Vh, (Vh.conj().T * s) @ Vh))

    if torch is not None:
        yield Contestant(TORCH_SVD, DIRECT, by_torch)
    if isinstance(G, np.ndarray):
        yield Contestant(NUMPY_SVD, DIRECT, by_numpy)
        yield Contestant(SCIPY, DIRECT, lambda: Answer(sl.polar(G)))
