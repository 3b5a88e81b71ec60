"""The questions about f(A) b: ours, scipy's answers, a yardstick, and the judge.

The truth comes from sine transforms (poisson), a dense decomposition (n up to 1500), or else from
the yardstick run on until a fifth more steps change nothing: near enough where it says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg as sla

from spectool._types import Array, ScalarMap
from spectool.bench.funm.cases import norm2
from spectool.bench.measure import Answer, Contestant, Task, Trace, Verdict
from spectool.bench.problems import DENSE, EXPONENT, RTOL, Problem
from spectool.functions import funm_multiply
from spectool.results import Status

SPECTOOL, EXPM, YARDSTICK = "spectool", "scipy expm_multiply", "plain Lanczos"
KRYLOV, KRYLOV_LONG = "scipy funm_krylov", "scipy funm, m = 100"
REACHES = {"10": 10.0, "1e2": 1e2, "1e3": 1e3, "1e4": 1e4}
"""``t ||A||`` of the exponentials of the suite funm."""
BASIS, STEPS = 40_000_000, 4_000
"""Most numbers in the basis of a yardstick, and most steps: 320 MB, and some seconds a check."""
SETTLED = 1e-11
"""Change, relative, below which the yardstick is taken for the truth."""
GROWTH = 1.2
"""Steps from one check of the yardstick to the next."""

_SCALAR: dict[str, ScalarMap] = {
    "exp": np.exp,
    "sqrt": np.sqrt,
    "invsqrt": lambda x: 1.0 / np.sqrt(x),
    "log": np.log,
}
_DENSE: dict[str, Callable[[Any], Any]] = {
    "exp": scipy.linalg.expm,
    "sqrt": scipy.linalg.sqrtm,
    "invsqrt": lambda H: scipy.linalg.inv(scipy.linalg.sqrtm(H)),
    "log": scipy.linalg.logm,
}


class Asked(NamedTuple):
    """A function by name; for exp, what ``-t`` times the upper end of the spectrum is."""

    f: str
    reach: float = EXPONENT

    def t(self, problem: Problem) -> float:
        """Return what A is multiplied with."""
        return -self.reach / problem.spectrum.interval[1] if self.f == "exp" else 1.0

    def scalar(self, problem: Problem) -> ScalarMap:
        """Return the function of A's eigenvalues."""
        f, t = _SCALAR[self.f], self.t(problem)
        return lambda lam: f(t * lam)


# --- contestants -----------------------------------------------------------------------------


def _ours(asked: Asked, problem: Problem, _trace: Trace | None) -> Answer:
    t = asked.t(problem)
    solution = funm_multiply(asked.f, problem.A, problem.b, rtol=RTOL, t=t, rng=problem.seed)
    if solution.status is Status.INTERRUPTED:
        raise KeyboardInterrupt  # the verb keeps its best result; the benchmark must stop
    return Answer(
        solution.y,
        solution.converged,
        matvecs=solution.n_matvecs,
        reductions=solution.n_reductions,
        estimate=solution.error_estimate,
        note=solution.method,
    )


def _expm_multiply(asked: Asked, problem: Problem, trace: Trace | None) -> Answer:
    scaled = asked.t(problem) * problem.A
    if trace is None:
        return Answer(sla.expm_multiply(scaled, problem.b))
    y = sla.expm_multiply(trace.watch(scaled), problem.b, traceA=float(scaled.trace()))
    return Answer(y, matvecs=trace.matvecs)


def _funm_krylov(asked: Asked, steps: int | None, problem: Problem, trace: Trace | None) -> Answer:
    """Run scipy's restarted Krylov method; ``steps`` per restart, its default 20 if None."""
    A = problem.A if trace is None else trace.watch(problem.A)
    m = None if steps is None else min(steps, problem.n)
    y = sla.funm_multiply_krylov(
        _DENSE[asked.f],
        A,
        problem.b,
        assume_a="her",
        t=asked.t(problem),
        rtol=RTOL,
        restart_every_m=m,
    )
    return Answer(np.real(y), matvecs=None if trace is None else trace.matvecs)


def most(problem: Problem) -> int:
    """Return the most steps of a yardstick."""
    return min(BASIS // problem.n, STEPS)


def _yardstick(asked: Asked, problem: Problem, _trace: Trace | None) -> Answer:
    y, steps, change = plain_lanczos(
        asked.scalar(problem), problem.A, problem.b, rtol=RTOL, most=most(problem)
    )
    return Answer(y, change <= RTOL, matvecs=steps, note=f"{steps} steps")


def plain_lanczos(
    f: ScalarMap, A: Any, b: Array, *, rtol: float, most: int
) -> tuple[Array, int, float]:
    """Return f(A) b by textbook Lanczos, its steps, and by how much the last check changed it.

    Every vector is stored, nothing is reorthogonalized, and the change is all that is known of the
    error (Saad, SINUM 29, 1992, section 2).
    """
    V = np.empty((most, b.size))
    alpha, beta = np.zeros(most), np.zeros(most)
    size = float(np.linalg.norm(b))
    v: Array = b / size
    known, check, change = np.zeros(0), 10, math.inf
    for k in range(most):
        V[k] = v
        w = A @ v - (beta[k - 1] * V[k - 1] if k else 0.0)
        alpha[k] = v @ w
        w -= alpha[k] * v
        beta[k] = np.linalg.norm(w)
        invariant = beta[k] < 1e-14 * np.abs(alpha[: k + 1]).max()
        if invariant or k + 1 >= min(check, most):
            theta, S = scipy.linalg.eigh_tridiagonal(alpha[: k + 1], beta[:k])
            found = np.asarray(size * (S @ (f(np.asarray(theta)) * S[0])), dtype=np.float64)
            before = np.concatenate([known, np.zeros(k + 1 - known.size)])
            change = 0.0 if invariant else norm2(found - before) / norm2(found)
            known, check = found, int(GROWTH * (k + 1)) + 1
            if change <= rtol:
                break
        v = w / beta[k]
    return known @ V[: known.size], known.size, change


# --- judge -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def truth(asked: Asked, problem: Problem) -> Array | None:
    """Return f(A) b, or None where it is not known to a tenth of RTOL."""
    f = asked.scalar(problem)
    exact = problem.reference(f, singular=asked.f in ("invsqrt", "log"))
    if exact is not None or problem.n <= DENSE:  # without one a small matrix is ill-conditioned
        return exact
    with np.errstate(all="ignore"):
        y, _, change = plain_lanczos(f, problem.A, problem.b, rtol=SETTLED, most=most(problem))
    return y if change <= SETTLED else None


def _judge(asked: Asked, problem: Problem, answers: Mapping[str, Answer]) -> dict[str, Verdict]:
    true = truth(asked, problem)
    if true is not None:
        return {name: Verdict(_distance(each.value, true)) for name, each in answers.items()}
    ours = answers.get(SPECTOOL)
    return {
        name: Verdict(np.nan, note=_difference(name, each, ours)) for name, each in answers.items()
    }


def _difference(name: str, answer: Answer, ours: Answer | None) -> str:
    if ours is None or name == SPECTOOL:
        return ""
    return f"differs from {SPECTOOL} by {_distance(answer.value, ours.value):.1e}"


def _distance(y: Array, true: Array) -> float:
    return norm2(y - true) / norm2(true)


# --- tasks -----------------------------------------------------------------------------------


def _contestants(asked: Asked, *rivals: str) -> tuple[Contestant, ...]:
    runs: dict[str, Callable[[Problem, Trace | None], Answer]] = {
        EXPM: partial(_expm_multiply, asked),
        KRYLOV: partial(_funm_krylov, asked, None),
        KRYLOV_LONG: partial(_funm_krylov, asked, 100),
        YARDSTICK: partial(_yardstick, asked),
    }
    ours = Contestant(SPECTOOL, partial(_ours, asked), ours=True)
    return (*(Contestant(name, runs[name]) for name in rivals), ours)


def _task(name: str, asked: Asked, *rivals: str) -> Task:
    return Task(name, _contestants(asked, *rivals), partial(_judge, asked), RTOL)


def reach_of(task: str) -> float | None:
    """Return ``t ||A||`` of a task named "exp 1e3", None of others."""
    kind, _, reach = task.partition(" ")
    return REACHES.get(reach) if kind == "exp" else None


FUNCTION_TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task("exp", Asked("exp"), EXPM),
        _task("sqrt", Asked("sqrt"), KRYLOV),
        _task("invsqrt", Asked("invsqrt"), KRYLOV),
        *(
            _task(
                f"exp {text}",
                Asked("exp", reach),
                *((EXPM, KRYLOV, YARDSTICK) if reach <= 100 else (EXPM, YARDSTICK)),
            )
            for text, reach in REACHES.items()
        ),
        *(
            _task(f"{f}, yardstick", Asked(f), KRYLOV, YARDSTICK)
            for f in ("sqrt", "invsqrt", "log")
        ),
        _task("invsqrt, long restarts", Asked("invsqrt"), KRYLOV, KRYLOV_LONG, YARDSTICK),
    )
}
FUNCTION_DESCRIPTIONS = {
    "exp": "exp(-t A) b with t = 50 / upper end, relative error 1e-8",
    "sqrt": "A^(1/2) b, relative error 1e-8",
    "invsqrt": "A^(-1/2) b, relative error 1e-8",
    **{
        f"exp {text}": f"exp(-t A) b with t = {text} / upper end, relative error 1e-8"
        for text in REACHES
    },
    "sqrt, yardstick": "A^(1/2) b, relative error 1e-8, beside plain Lanczos too",
    "invsqrt, yardstick": "A^(-1/2) b, relative error 1e-8, beside plain Lanczos too",
    "log, yardstick": "log(A) b, relative error 1e-8, beside plain Lanczos too",
    "invsqrt, long restarts": "A^(-1/2) b, relative error 1e-8; scipy with 20 and 100 steps per "
    "restart",
}
