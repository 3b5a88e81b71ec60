"""Restarted GMRES for general systems, and its flexible variant.

Source
    Saad and Schultz, GMRES, SISSC 7 (1986); Saad, A flexible inner-outer preconditioned GMRES
    algorithm, SISC 14 (1993).
Deviations
    (1) classical Gram-Schmidt, again where a pass cancels most of the vector (Daniel, Gragg,
    Kaufman and Stewart, 1976); (2) preconditioned from the right, so that the residual is
    the true one; (3) turns flexible by itself where M shows that it is not linear.
Cost per iteration
    1 matvec, 1 application of M; 2 reductions, 4 where a pass is repeated; ``restart`` + 4
    vectors, twice that if flexible.
"""

from __future__ import annotations

import math
import time
from numbers import Integral
from typing import Any

import numpy as np
from scipy.linalg import get_lapack_funcs, solve_triangular, svd

from spectool._types import Array
from spectool.errors import InputError
from spectool.results import LinearSolution, Status
from spectool.solvers.stopping import Callback, Monitor, checked_limits
from spectool.solvers.system import LinearSystem

AGAIN = 0.7
"""Norm left by a pass of Gram-Schmidt, relative to the one before, that asks for another: with 0.1
a basis of 50 vectors lost orthogonality to 1e-2 (measured)."""
STALL = 3e-5
"""Fall of the residual per iteration below which a cycle gains nothing; two in a row stagnate."""


def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    restart: int = 30,
    maxiter: int | None = None,
    M: Any = None,
    flexible: bool | None = None,
    callback: Callback | None = None,
    max_time: float | None = None,
) -> LinearSolution:
    """Solve ``A x = b`` for any square A by restarted GMRES.

    Like ``scipy.sparse.linalg.gmres``, but preconditioned from the right: what is minimized is the
    residual that is tested. ``maxiter`` and ``callback`` count iterations, one product with A each,
    as in the other solvers; scipy counts cycles of ``restart`` iterations.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Real or complex, of any structure.
    b : array_like, shape (n,) or (n, 1)
        Right-hand side.
    x0 : array_like, shape of b, optional
        Start; zero by default.
    rtol, atol : float
        Stops at ``||b - A x|| <= max(rtol ||b||, atol)``.
    restart : int
        Iterations per cycle, each of which keeps one vector.
    maxiter : int, optional
        Most iterations; 10 n.
    M : sparse array, ndarray or LinearOperator, shape (n, n), optional
        Approximates the inverse of A.
    flexible : bool, optional
        Whether M may change from one application to the next (an inner solver): keeps ``M v`` of
        every v. None turns it on once a residual shows that M is not linear.
    callback : callable, optional
        ``callback(state)`` once per iteration, with ``state.iteration``, ``state.residual_norm``
        and ``state.x`` (costs a small solve, and M); returning True stops.
    max_time : float, optional
        Seconds after which the best x so far is returned.

    Returns
    -------
    LinearSolution
        Unpacks as ``x, info``.

    Raises
    ------
    InputError
        If an argument is malformed or not finite.

    Warns
    -----
    ConvergenceWarning
        If maxiter, max_time, stagnation or a breakdown came before the target.

    Notes
    -----
    Cost per iteration: 1 matvec, 1 application of M, 2 reductions (4 where orthogonality asks for
    it) and 4 n k values of traffic at step k of a cycle; per cycle 1 matvec, 1 application of M.
    An indefinite or highly nonnormal A may need a longer restart, up to n, to converge at all.

    References
    ----------
    .. [1] Saad and Schultz, GMRES: a generalized minimal residual algorithm, SISSC 7 (1986).
    .. [2] Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., Algorithms 9.5 and 9.6.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = st.gallery.convection_diffusion((20, 20))
    >>> x, info = st.gmres(A, np.ones(400), rtol=1e-8)
    >>> info, bool(np.linalg.norm(A @ x - 1.0) <= 1e-8 * 20)
    (0, True)
    """
    begin = time.perf_counter()
    if isinstance(restart, bool) or not (isinstance(restart, Integral) and int(restart) > 0):
        raise InputError(f"restart must be a positive integer; got {restart!r}.")
    if not (flexible is None or isinstance(flexible, bool)):
        raise InputError(f"flexible must be True, False or None; got {flexible!r}.")
    system = LinearSystem(A, b, x0, M, hermitian=False)
    limits = checked_limits(rtol, atol, maxiter, callback, max_time, 10 * system.n)
    monitor = Monitor(system, limits, begin)
    steps = min(int(restart), system.n, limits.maxiter)
    cycles = _Cycles(system, monitor, steps, flexible)
    status = monitor.watched(cycles.run)
    return monitor.solution(status, f"gmres({steps})")


class _Cycles:
    """Cycles of Arnoldi steps, the last one perhaps unfinished."""

    def __init__(
        self, system: LinearSystem, monitor: Monitor, restart: int, flexible: bool | None
    ) -> None:
        self.system = system
        self.monitor = monitor
        self.restart = restart
        # A diagonal M is linear: what it seems to change is rounding.
        self.may_turn = flexible is None and system.preconditioned and system.diagonal is None
        self.V = np.empty((restart + 1, system.n), dtype=system.dtype)
        self.Z = np.empty_like(self.V[:-1]) if flexible and system.preconditioned else None
        # Coefficients are kept in double precision.
        kind = np.result_type(system.dtype, np.float64)
        self.R = np.zeros((restart, restart), dtype=kind)
        self.g = np.zeros(restart + 1, dtype=kind)
        self.k = 0

    def run(self, r: Array, norm: float) -> Status:
        """Make cycles until something ends them; Ctrl-C keeps the steps of the last."""
        monitor = self.monitor
        while True:
            try:
                status, estimate = self._cycle(r, norm)
            except KeyboardInterrupt:
                monitor.x += self._correction()
                raise
            if status is Status.BROKE_DOWN:
                return status
            monitor.x += self._correction()
            steps, self.k = self.k, 0
            verdict = monitor.check(r, estimate, fall=1 - STALL * steps)
            norm = monitor.checked
            if verdict.status is Status.STAGNATED:
                monitor.notes.append(
                    f"two cycles of {self.restart} iterations gained nothing: A may be singular, "
                    "or the restart too short"
                )
            if status is None or verdict.status is Status.CONVERGED:
                status = verdict.status
            if status is not None:
                return status
            if verdict.restart and self.may_turn:
                self.may_turn, self.Z = False, np.empty_like(self.V[:-1])
                monitor.notes.append(
                    "M is not a fixed linear operator, to rounding: went on as FGMRES"
                )

    def _cycle(self, r: Array, norm: float) -> tuple[Status | None, float]:
        """Build the basis from r; return why to stop, if at all, and the residual's estimate."""
        system, monitor, V, R, g = self.system, self.monitor, self.V, self.R, self.g
        V[0] = r / norm
        g[0] = norm
        rotations: list[tuple[float, Any]] = []
        for k in range(self.restart):
            z = system.precondition(V[k])
            if self.Z is not None:
                self.Z[k] = z
            w = system.matmul(z)
            h, size = self._orthogonalize(w, V[: k + 1])
            if not math.isfinite(size):
                return monitor.broke_down("A M v is not finite"), norm
            for j, (c, s) in enumerate(rotations):
                h[j], h[j + 1] = c * h[j] + s * h[j + 1], c * h[j + 1] - np.conj(s) * h[j]
            c, s, h[k] = _rotation(h[k], size)
            rotations.append((c, s))
            R[: k + 1, k] = h[: k + 1]
            g[k], g[k + 1] = c * g[k], -np.conj(s) * g[k]
            self.k = k + 1
            norm = float(abs(g[k + 1]))
            monitor.history.append(norm)
            status = monitor.observe(norm, None, lambda: monitor.x + self._correction())
            if size == 0 or norm <= monitor.target or status is not None:
                break
            V[k + 1] = w / size
        return status, norm

    def _orthogonalize(self, w: Array, V: Array) -> tuple[Array, float]:
        """Project V out of w; return the coefficients and the norm that is left, 0 if rounding."""
        h, left = self.system.project_out(V, w)
        h = h.astype(self.g.dtype)
        before = math.hypot(left, float(np.linalg.norm(h)))
        if left < AGAIN * before:
            more, left = self.system.project_out(V, w)
            h += more
        return h, 0.0 if left <= 10 * self.system.eps * before else left

    def _correction(self) -> Array:
        """Return ``M V y`` of the steps made so far, y the minimizer of the residual."""
        k = self.k
        if k == 0:
            return np.zeros_like(self.monitor.x)
        R, g = self.R[:k, :k], self.g[:k]
        # The diagonal of R does not tell that A is singular; its condition does.
        trcon: Any = get_lapack_funcs("trcon", (R,))
        if trcon(R)[0] > math.sqrt(self.system.eps):
            y = solve_triangular(R, g, check_finite=False)
        else:
            y = _truncated(R, g, self.system.eps)
        y = y.astype(self.system.dtype)
        if self.Z is not None:
            return np.asarray(y @ self.Z[:k])
        return self.system.precondition(y @ self.V[:k])


def _truncated(R: Array, g: Array, eps: float) -> Array:
    """Solve ``R y = g`` on as many singular vectors as lower the residual more than rounding costs.

    A long y gains nothing where ``eps ||R|| ||y||`` exceeds what it takes off the residual.
    """
    U, s, Vh = svd(R, check_finite=False)
    c = U.conj().T @ g
    rank = int(np.count_nonzero(s > eps * s[0]))
    terms = c[:rank] / s[:rank]
    left = np.sqrt(np.append(np.cumsum(np.abs(c[::-1]) ** 2)[::-1], 0.0))[: rank + 1]
    lengths = np.sqrt(np.append(0.0, np.cumsum(np.abs(terms) ** 2)))
    rank = int(np.argmin(left + 10 * eps * s[0] * lengths))
    return np.asarray(terms[:rank] @ Vh[:rank].conj())


def _rotation(a: Any, b: float) -> tuple[float, Any, Any]:
    """Return c, s and r of the rotation that takes (a, b) to (r, 0)."""
    size = math.hypot(abs(a), b)
    if size == 0:
        return 1.0, 0.0, a
    if a == 0:
        return 0.0, 1.0, b
    phase = a / abs(a)
    return abs(a) / size, phase * b / size, phase * size
