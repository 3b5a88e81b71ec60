"""The questions: solve, f(A) b, lowest eigenpairs; ours and scipy's answers, and the judges.

What is counted
    ``matvecs`` counts products with A at the border, and inside M and filters by their own
    counters; set-up included. ``scipy.sparse.linalg.cg`` makes three reductions per iteration (two
    inner products, one norm) and one for ``||b||``; a probe of k steps makes at most 3 k. ARPACK
    and ``funm_multiply_krylov`` do not tell, so their reductions are left open.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse.linalg as sla

from spectool._types import Array, FloatArray
from spectool.bench.funm.tasks import FUNCTION_DESCRIPTIONS, FUNCTION_TASKS
from spectool.bench.measure import Answer, Contestant, Task, Trace, Verdict
from spectool.bench.problems import RTOL, Problem
from spectool.eigen import spectral_filter
from spectool.operators import PolynomialOperator
from spectool.preconditioners import preconditioner
from spectool.results import Status
from spectool.solvers import LinearState, cg
from spectool.spectrum import estimate_spectrum

MAXITER = 100_000
PAIRS = 6
"""Eigenpairs wanted at the low end."""
PLAIN, JACOBI, OURS = "cg", "cg + Jacobi", "cg + spectool"
OURS_ALONE, ILU, AMG = "spectool cg", "cg + spilu", "cg + pyamg"


# --- A x = b ---------------------------------------------------------------------------------


def _solver(make: Callable[[Problem], Any] | None) -> Callable[[Problem, Trace | None], Answer]:
    """Return scipy's cg with the preconditioner that ``make`` builds."""

    def run(problem: Problem, trace: Trace | None) -> Answer:
        A, b = problem.A, problem.b
        begin = time.perf_counter()
        M = None if make is None else make(problem)
        setup = 0.0 if make is None else time.perf_counter() - begin
        if trace is None:
            x, info = sla.cg(A, b, M=M, rtol=RTOL, maxiter=MAXITER)
            return Answer(x, info == 0, setup)

        def inner() -> int:
            return int(getattr(M, "n_matvecs", 0))

        def record(x: FloatArray) -> None:
            trace.iterate(inner, lambda: _relative_residual(problem, x))

        probing = inner()
        trace.history.append((probing, 1.0))
        x, info = sla.cg(trace.watch(A), b, M=M, rtol=RTOL, maxiter=MAXITER, callback=record)
        trace.history.append((trace.matvecs + inner(), _relative_residual(problem, x)))
        return Answer(
            x,
            info == 0,
            setup,
            matvecs=trace.matvecs + inner(),
            reductions=3 * trace.iterations + 1 + 3 * probing,
            n_bytes=_held(M),
            note=str(getattr(getattr(M, "report", None), "chosen", "")),
        )

    return run


def _our_cg(problem: Problem, trace: Trace | None) -> Answer:
    """Our cg with our preconditioner."""
    A, b = problem.A, problem.b
    begin = time.perf_counter()
    M = preconditioner(A, rng=problem.seed)
    setup, probing = time.perf_counter() - begin, M.n_matvecs

    def record(state: LinearState) -> None:
        if trace is not None:
            trace.matvecs = state.iteration  # the one product of each iteration outside M
            trace.iterate(lambda: M.n_matvecs, lambda: state.residual_norm / b_norm)

    b_norm = float(np.linalg.norm(b))
    solution = cg(A, b, M=M, rtol=RTOL, maxiter=MAXITER, callback=None if trace is None else record)
    if solution.status is Status.INTERRUPTED:
        raise KeyboardInterrupt  # the solver keeps its best x; the benchmark must stop
    return Answer(
        solution.x,
        solution.converged,
        setup,
        matvecs=probing + solution.n_matvecs,
        reductions=solution.n_reductions + 3 * probing,
        n_bytes=_held(M),
        note=M.report.chosen,
    )


class _Ilu(sla.LinearOperator):
    """Incomplete LU of SuperLU with its default drop tolerance and fill."""

    def __init__(self, problem: Problem) -> None:
        self.factors = sla.spilu(problem.A.tocsc())
        # scipy-stubs hides the base constructor, which subclasses must call.
        super().__init__(dtype=np.dtype(np.float64), shape=problem.A.shape)  # type: ignore[call-arg]

    def _matvec(self, x: Array) -> Array:
        return np.asarray(self.factors.solve(np.ravel(x)))


class _Amg(sla.LinearOperator):
    """One V-cycle of pyamg's smoothed aggregation with its default smoothers."""

    def __init__(self, problem: Problem) -> None:
        import pyamg

        self.hierarchy = pyamg.smoothed_aggregation_solver(problem.A)
        self._cycle = self.hierarchy.aspreconditioner()
        super().__init__(dtype=np.dtype(np.float64), shape=problem.A.shape)  # type: ignore[call-arg]

    def _matvec(self, x: Array) -> Array:
        return np.asarray(self._cycle @ np.ravel(x))


def _held(M: Any) -> int:
    """Return the bytes that M holds beside A, indices as 4 bytes."""
    if isinstance(M, _Ilu):
        return 12 * int(M.factors.nnz)
    if isinstance(M, _Amg):
        levels = M.hierarchy.levels
        entries = sum(level.A.nnz for level in levels[1:])
        return 12 * int(entries + sum(level.P.nnz + level.R.nnz for level in levels[:-1]))
    if isinstance(M, PolynomialOperator):
        scale = 0 if M.scale is None else M.scale.nbytes
        return scale + (M.operator.backend.report.n_bytes if M.recurrence.degree else 0)
    return 0 if M is None else 8 * int(M.shape[0])


def _relative_residual(problem: Problem, x: FloatArray) -> float:
    return float(np.linalg.norm(problem.b - problem.A @ x) / np.linalg.norm(problem.b))


def _jacobi(problem: Problem) -> sla.LinearOperator:
    inverse = 1.0 / problem.A.diagonal()
    return sla.LinearOperator(
        problem.A.shape, matvec=lambda r: inverse * r.ravel(), dtype=np.float64
    )


def _judge_solve(problem: Problem, answers: Mapping[str, Answer]) -> dict[str, Verdict]:
    return {
        name: Verdict(_relative_residual(problem, answer.value)) for name, answer in answers.items()
    }


# --- the lowest eigenpairs -------------------------------------------------------------------


def _plain_eigsh(problem: Problem, trace: Trace | None) -> Answer:
    A = problem.A if trace is None else trace.watch(problem.A)
    _, V = sla.eigsh(A, k=_pairs(problem), which="SA", v0=problem.b)
    w, V = _rayleigh_ritz(problem, V)
    return Answer((w, V), matvecs=None if trace is None else trace.matvecs + V.shape[1])


def low_window(problem: Problem) -> tuple[float, float]:
    """Return a window that the probe expects to hold twice the wanted eigenvalues."""
    k = _pairs(problem)
    return -np.inf, float(problem.spectrum.quantile(2.0 * k / problem.n))


def _filtered_eigsh(problem: Problem, _trace: Trace | None) -> Answer:
    begin = time.perf_counter()
    k = _pairs(problem)
    spectrum = estimate_spectrum(problem.A, rng=problem.seed)
    window = (-np.inf, float(spectrum.quantile(2.0 * k / problem.n)))
    F = spectral_filter(problem.A, window, spectrum=spectrum, rng=problem.seed)
    setup = time.perf_counter() - begin
    _, V = sla.eigsh(F, k=k, which="LA", v0=problem.b)
    w, V = _rayleigh_ritz(problem, V)
    return Answer(
        (w, V),
        setup_seconds=setup,
        matvecs=spectrum.n_matvecs + F.n_matvecs + k,
        note=f"{F.recurrence.name}, degree {F.recurrence.degree}",
    )


def _pairs(problem: Problem) -> int:
    return max(1, min(PAIRS, problem.n // 8))


def _rayleigh_ritz(problem: Problem, V: FloatArray) -> tuple[FloatArray, FloatArray]:
    V, _ = np.linalg.qr(V)
    w, S = np.linalg.eigh(V.T @ (problem.A @ V))
    return w, V @ S


def _judge_pairs(problem: Problem, answers: Mapping[str, Answer]) -> dict[str, Verdict]:
    """Judge residuals relative to ``||A||``, and completeness.

    Rayleigh-Ritz values of any k-dimensional space lie above the k smallest eigenvalues, so a
    value above another method's (or above the dense one) proves that an eigenvalue was missed.
    """
    norm = problem.spectrum.interval[1]
    values = [answer.value[0] for answer in answers.values()]
    if problem.smallest is not None:
        values.append(problem.smallest[: _pairs(problem)])
    lowest = np.min(values, axis=0)
    verdicts = {}
    for name, answer in answers.items():
        w, V = answer.value
        error = float(np.linalg.norm(problem.A @ V - V * w, axis=0).max() / norm)
        above = np.flatnonzero(w > lowest + 10 * RTOL * norm)
        note = f"missed an eigenvalue: number {above[0] + 1} is too high" if above.size else ""
        verdicts[name] = Verdict(error, wrong=above.size > 0, note=note)
    return verdicts


TASKS: dict[str, Task] = {
    "solve": Task(
        "solve",
        (
            Contestant(PLAIN, _solver(None)),
            Contestant(JACOBI, _solver(_jacobi)),
            Contestant(OURS, _solver(lambda p: preconditioner(p.A, rng=p.seed)), ours=True),
        ),
        _judge_solve,
        RTOL,
    ),
    "solve, all": Task(
        "solve, all",
        (
            Contestant(PLAIN, _solver(None)),
            Contestant(JACOBI, _solver(_jacobi)),
            Contestant(ILU, _solver(_Ilu)),
            *([Contestant(AMG, _solver(_Amg))] if importlib.util.find_spec("pyamg") else []),
            Contestant(OURS, _solver(lambda p: preconditioner(p.A, rng=p.seed)), ours=True),
            Contestant(OURS_ALONE, _our_cg, ours=True),
        ),
        _judge_solve,
        RTOL,
    ),
    **FUNCTION_TASKS,
    "eigenpairs": Task(
        "eigenpairs",
        (
            Contestant("scipy eigsh", _plain_eigsh),
            Contestant("spectool filter", _filtered_eigsh, ours=True),
        ),
        _judge_pairs,
        RTOL,
    ),
}
DESCRIPTIONS = {
    "solve": "A x = b, relative residual 1e-8",
    "solve, all": "A x = b, relative residual 1e-8, beside all peers",
    **FUNCTION_DESCRIPTIONS,
    "eigenpairs": f"the {PAIRS} lowest eigenpairs, residual 1e-8 ||A||",
}
