"""When a solver stops: only a residual that was recomputed from x says that it has converged.

Source
    Greenbaum, Estimating the attainable accuracy of recursively computed residual methods, SIMAX
    18 (1997); van der Vorst and Ye, Residual replacement strategies for Krylov subspace iterative
    methods, SISC 22 (2000).
Deviations
    The gap between both residuals is measured, not estimated: where the recurrence reaches the
    target, and, SPACING iterations apart or more, each time it has fallen tenfold. A gap restarts
    the recurrence from x; if x follows the recurrence no more even so, rounding has won.
Cost
    1 matvec and 1 reduction per recomputed residual; 1 vector for the best x.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import ConvergenceWarning, InputError
from spectool.results import LinearSolution, Status
from spectool.solvers.system import LinearSystem

SPACING = 64
"""Fewest iterations between two residuals that are recomputed before the target is reached."""
DRIFT = 0.1
"""Difference of both residual norms, relative to the true one, from which they disagree."""
FALL = 0.5
"""What the true residual must fall to while the recurrence falls tenfold."""
STRIKES = 2
"""Failures to fall, one after the other, that mean stagnation."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearState:
    """What ``callback`` sees once per iteration.

    Attributes
    ----------
    iteration : int
        Counted from 1.
    residual_norm : float
        ``||b - A x||`` as the recurrence sees it.
    x : ndarray, shape (n,)
        A copy of the iterate, made when it is asked for.
    """

    iteration: int
    residual_norm: float
    _x: Callable[[], Array]

    @property
    def x(self) -> Array:
        """The current iterate."""
        return self._x()


Callback = Callable[[LinearState], Any]


class Limits(NamedTuple):
    """When to stop, validated."""

    rtol: float
    atol: float
    maxiter: int
    callback: Callback | None
    max_time: float


def checked_limits(
    rtol: Any, atol: Any, maxiter: Any, callback: Any, max_time: Any, default: int
) -> Limits:
    """Return the options of a solver, or raise InputError that names what is wrong."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        whole = isinstance(value, Real) and not isinstance(value, bool)
        if not (whole and 0 <= float(value) < math.inf):
            raise InputError(f"{name} must be a finite number, not negative; got {value!r}.")
    if maxiter is not None and not (
        isinstance(maxiter, Integral) and not isinstance(maxiter, bool) and int(maxiter) > 0
    ):
        raise InputError(f"maxiter must be a positive integer or None; got {maxiter!r}.")
    if callback is not None and not callable(callback):
        raise InputError(f"callback must be callable or None; got {callback!r}.")
    if max_time is not None and not (
        isinstance(max_time, Real) and not isinstance(max_time, bool) and float(max_time) > 0
    ):
        raise InputError(f"max_time must be a positive number of seconds; got {max_time!r}.")
    return Limits(
        float(rtol),
        float(atol),
        default if maxiter is None else int(maxiter),
        callback,
        math.inf if max_time is None else float(max_time),
    )


class Verdict(NamedTuple):
    """Why to stop, if at all, and whether the recurrence has to start again from x."""

    status: Status | None
    restart: bool


class Monitor:
    """Follows one solve: history, best x, limits, and the true residual where it matters.

    Attributes
    ----------
    x : ndarray, shape (n,)
        The iterate, changed in place by the solver; in the unit of the system.
    target : float
        What ``||b - A x||`` must reach, in that unit.
    history : list of float
        Norms as the recurrence sees them, in that unit.
    checked : float
        The residual norm that was last recomputed.
    notes : list of str
        What happened on the way.
    """

    def __init__(self, system: LinearSystem, limits: Limits, begin: float) -> None:
        self.system = system
        self.limits = limits
        self.x = system.x0.copy()
        self.b_norm = system.norm(system.b)
        self.target = max(limits.rtol * self.b_norm, limits.atol / system.unit)
        self.history: list[float] = []
        self.notes: list[str] = []
        self.begin = begin
        self._best: tuple[float, Array] | None = None
        self.checked = math.inf
        self._checked_at = 0
        self._strikes = 0
        self._restarts = 0

    @property
    def iteration(self) -> int:
        """Iterations so far."""
        return len(self.history) - 1

    @property
    def disagreements(self) -> int:
        """How often the recurrence had to start again from x."""
        return self._restarts

    def start(self) -> tuple[Array, float]:
        """Return the residual of x0 and its norm."""
        r = self.system.residual(self.x)
        norm = self.b_norm if not self.x.any() else self.system.norm(r)
        self.history.append(norm)
        self.checked = norm
        return r, norm

    def watched(self, iterate: Callable[[Array, float], Status]) -> Status:
        """Run ``iterate(r, norm)`` unless x0 will do; Ctrl-C ends it."""
        r, norm = self.start()
        if not math.isfinite(norm):
            return self.broke_down("A x0 is not finite")
        if norm <= self.target:
            self._best = norm, self.x
            return Status.CONVERGED
        try:
            return iterate(r, norm)
        except KeyboardInterrupt:
            return Status.INTERRUPTED

    def due(self, norm: float) -> bool:
        """Whether the recurrence's norm calls for the true one."""
        if norm <= self.target:
            return True
        return norm <= 0.1 * self.checked and self.iteration - self._checked_at >= SPACING

    def check(self, r: Array, norm: float, *, fall: float | None = None) -> Verdict:
        """Recompute the residual of x; compare it with the recurrence's norm.

        Where both disagree, or wherever ``fall`` is given, r becomes the true one, whose norm must
        have fallen to ``fall`` times that of the last check; x returns to the best if it has grown.
        """
        system = self.system
        fresh = system.residual(self.x)
        true = system.norm(fresh)
        restart = not abs(true - norm) <= DRIFT * true
        if restart or fall is not None:
            stuck = not true <= (FALL if fall is None else fall) * self.checked
            self._strikes = self._strikes + 1 if stuck else 0
        if self._best is None or true < self._best[0]:
            if math.isfinite(true):
                self._best = true, self.x.copy()
        elif restart:
            true = self._best[0]
            self.x[:] = self._best[1]
            fresh = system.residual(self.x)
        self.checked, self._checked_at = true, self.iteration
        if restart or fall is not None or norm <= self.target:  # a small gap costs conjugacy
            r[:] = fresh
        if true <= self.target:
            return Verdict(Status.CONVERGED, restart=False)
        if not math.isfinite(true):
            return Verdict(self.broke_down("the residual is not finite"), restart=False)
        if self._strikes >= STRIKES:
            return Verdict(Status.STAGNATED, restart=False)
        self._restarts += restart
        return Verdict(None, restart)

    def forgive(self, why: str) -> None:
        """Note what has been done about it, and count the failures to fall anew."""
        self.notes.append(f"{why} at iteration {self.iteration}")
        self._strikes = 0

    def observe(
        self, norm: float, status: Status | None, x: Callable[[], Array] | None = None
    ) -> Status | None:
        """Show the iteration to the callback; return why to stop: first of all ``status``.

        ``x`` makes the iterate where ``self.x`` is not it.
        """
        limits, system = self.limits, self.system
        if limits.callback is not None:
            iterate = x or (lambda: self.x)

            def shown() -> Array:
                return system.leave(iterate()).reshape(-1)

            state = LinearState(self.iteration, system.unit * norm, shown)
            if limits.callback(state) and status is None:
                return Status.STOPPED
        if status is not None:
            return status
        if time.perf_counter() - self.begin > limits.max_time:
            return Status.TIMED_OUT
        return Status.MAXITER if self.iteration >= limits.maxiter else None

    def broke_down(self, what: str) -> Status:
        """Note what is not finite, and return the status that says so."""
        self.notes.append(f"{what} at iteration {self.iteration}")
        return Status.BROKE_DOWN

    def solution(
        self,
        status: Status,
        method: str,
        lanczos: tuple[FloatArray, FloatArray] = (np.empty(0), np.empty(0)),
    ) -> LinearSolution:
        """Return the best x with its true residual; warn if it is not good enough."""
        system = self.system
        x, norm = self._settled(status)
        if norm <= self.target and status in (Status.MAXITER, Status.TIMED_OUT):
            status = Status.CONVERGED
        layout = system.operator.backend.report
        notes = list(self.notes)
        if self._restarts:
            notes.append(f"restarted {self._restarts} times from a recomputed residual")
        if layout.seconds > 0:
            notes.append(f"A executed as {layout}")
        solution = LinearSolution(
            x=system.leave(x),
            status=status,
            residual_norm=system.unit * norm,
            target=system.unit * self.target,
            history=np.array(self.history) / (self.b_norm or 1.0),
            n_iterations=self.iteration,
            n_matvecs=system.n_matvecs,
            n_reductions=system.n_reductions,
            elapsed=time.perf_counter() - self.begin,
            method=f"preconditioned {method}" if system.preconditioned else method,
            lanczos=lanczos,
            report="; ".join(notes),
        )
        if status not in (Status.CONVERGED, Status.STOPPED, Status.INTERRUPTED):
            told = f" ({solution.report})" if notes else ""
            warnings.warn(f"{solution}{told}", ConvergenceWarning, stacklevel=3)
        return solution

    def _settled(self, status: Status) -> tuple[Array, float]:
        """Return the x of the smallest true residual, and that; x0 only where all else failed.

        Within a limit of time or iterations the error falls though the residual may not have.
        """
        start = self.history[0]
        if status in (Status.CONVERGED, Status.STAGNATED) and self._best is not None:
            return (
                (self._best[1], self._best[0])
                if self._best[0] <= start
                else (self.system.x0, start)
            )
        best, last = self._best, self.history[-1]
        if (best is None or not best[0] <= last) and np.isfinite(self.x).all():
            true = self.system.norm(self.system.residual(self.x))
            if math.isfinite(true) and (best is None or true < best[0]):
                return self.x, true
        if best is not None:
            return best[1], best[0]
        return self.system.x0, self.history[0]
