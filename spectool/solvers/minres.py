"""Minimal residuals for Hermitian systems, definite or not.

Source
    Paige and Saunders, Solution of sparse indefinite systems of linear equations, SINUM 12 (1975);
    Choi, Paige and Saunders, MINRES-QLP, SISC 33 (2011), section 2.2, for its residual vector.
Deviations
    (1) with M the Euclidean residual is carried along and stops the iteration, not its M-norm;
    (2) recomputed residuals (see ``stopping``) restart the process where it has drifted; (3) x is
    kept where ``||A r||`` is tiny beside ``||A|| ||r||``: if A is singular and b not in its range
    it is a least-squares solution, and what the recurrence gains later is not true of x.
Cost per iteration
    1 matvec, 1 application of M; 2 reductions, 3 with M; 7 vectors, 10 with M.
"""

from __future__ import annotations

import math
import time
from numbers import Real
from typing import Any

import numpy as np

from spectool._types import Array
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.results import LinearSolution, Status
from spectool.solvers.stopping import Callback, Monitor, checked_limits
from spectool.solvers.system import LinearSystem

FLAT = 0.4
"""Power of eps: ``||A r|| / (||A|| ||r||)`` from which x may be a least-squares solution."""
NULL = 1e3
"""Times eps: the same of a null vector r."""


def minres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    shift: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callback | None = None,
    max_time: float | None = None,
) -> LinearSolution:
    """Solve ``(A - shift I) x = b`` for Hermitian A by minimal residuals.

    Drop-in for ``scipy.sparse.linalg.minres``, but for the stopping test, which is that of the
    other solvers here: scipy's compares with ``||A|| ||x||``, and is looser where x is large. A may
    be indefinite, complex, or singular with b in its range.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian.
    b : array_like, shape (n,) or (n, 1)
        Right-hand side.
    x0 : array_like, shape of b, optional
        Start; zero by default.
    rtol, atol : float
        Stops at ``||b - (A - shift I) x|| <= max(rtol ||b||, atol)``.
    shift : float
        Real.
    maxiter : int, optional
        Most iterations; 5 n.
    M : sparse array, ndarray or LinearOperator, shape (n, n), optional
        Approximates the inverse of ``A - shift I`` or of its modulus; Hermitian positive definite.
    callback : callable, optional
        ``callback(state)`` once per iteration, with ``state.iteration``, ``state.residual_norm``
        and ``state.x``; returning True stops. For one of scipy's, ``lambda state: f(state.x)``.
    max_time : float, optional
        Seconds after which the best x so far is returned.

    Returns
    -------
    LinearSolution
        Unpacks as ``x, info``.

    Raises
    ------
    InputError
        If A is not Hermitian, or an argument is malformed or not finite.
    NotPositiveDefiniteError
        If r* M r is not positive for a residual r.

    Warns
    -----
    ConvergenceWarning
        If maxiter, max_time, rounding, a singular A or a breakdown came before the target.

    Notes
    -----
    Cost per iteration: 1 matvec, 1 application of M, 2 reductions (3 with M). One matvec more at
    the end, and one per tenfold fall of the residual that takes 64 iterations or more. Rounding
    costs MINRES up to ``eps cond(A)^2`` where CG loses ``eps cond(A)`` [2]_; restarts recover it.

    References
    ----------
    .. [1] Paige and Saunders, Solution of sparse indefinite systems of linear equations, SINUM 12
       (1975).
    .. [2] Sleijpen, van der Vorst and Modersitzki, Differences in the effects of rounding errors
       in Krylov solvers for symmetric indefinite linear systems, SIMAX 22 (2000).

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = st.gallery.poisson((20, 20))
    >>> x, info = st.minres(A, np.ones(400), shift=1.0, rtol=1e-8)
    >>> info, bool(np.linalg.norm(A @ x - x - 1.0) <= 1e-8 * 20)
    (0, True)
    """
    begin = time.perf_counter()
    if isinstance(shift, bool) or not (isinstance(shift, Real) and math.isfinite(float(shift))):
        raise InputError(f"shift must be a finite real number; got {shift!r}.")
    system = LinearSystem(A, b, x0, M, shift=float(shift))
    limits = checked_limits(rtol, atol, maxiter, callback, max_time, 5 * system.n)
    monitor = Monitor(system, limits, begin)
    return monitor.solution(monitor.watched(_Iteration(system, monitor).run), "minres")


class _Lanczos:
    """The Lanczos process ``A v_k = beta_k u_k-1 + alpha_k u_k + beta_k+1 u_k+1`` with v = u.

    Attributes
    ----------
    v, u : ndarray, shape (n,)
        After step k: v_k and u_k+1.
    beta : float
        Newest of the beta_k; at first the norm of the start.
    """

    def __init__(self, system: LinearSystem, r: Array, norm: float) -> None:
        self.system = system
        self.beta = norm
        self.v, self.u, self._spare = np.zeros_like(r), r / norm, np.empty_like(r)

    def step(self, *, first: bool) -> float:
        """Expand by one vector; return alpha_k."""
        alpha, self.beta = self.system.lanczos_step(
            self.v, self.u, 0.0 if first else self.beta, self._spare
        )
        self.v, self.u, self._spare = self.u, self._spare, self.v
        return alpha - self.system.shift


class _PreconditionedLanczos(_Lanczos):
    """The same with v = M u: the u are orthonormal in the inner product of M."""

    def __init__(self, system: LinearSystem, r: Array, norm: float) -> None:
        super().__init__(system, r, norm)
        self._following = r.copy()
        self._normalize()
        self.u = self._following
        self._previous, self._following = np.zeros_like(r), np.zeros_like(r)

    def step(self, *, first: bool) -> float:
        """Expand by one vector; return alpha_k."""
        system = self.system
        self.v, q = self._z, self._spare
        alpha = system.product_dot(self.v, q)
        if system.shift:
            alpha -= system.shift * system.inner(self.v, self.v)
            q -= system.shift * self.v
        beta = 0.0 if first else self.beta
        # The place of u_k-1 takes u_k+1.
        system.combine(self._previous, -beta, q, 1.0, self.u, -alpha)
        self._following, self._previous = self._previous, self.u
        self._normalize()
        self.u = self._following
        return alpha

    def _normalize(self) -> None:
        """Make ``following`` a unit vector and z its image by M; beta was its M-norm."""
        following, system = self._following, self.system
        self._z = system.precondition(following)
        square = system.inner(following, self._z)
        if square < 0:
            noise = 10 * system.eps * system.norm(following) * system.norm(self._z)
            if square < -noise:
                raise NotPositiveDefiniteError(
                    f"minres needs a positive definite M, but r* M r = {square:.6g} for a vector r "
                    "of its process. Pass the inverse of |A|, or use gmres."
                )
            square = 0.0
        self.beta = math.sqrt(square)
        if self.beta > 0:
            following /= self.beta
            self._z /= self.beta


class _Iteration:
    """Runs of the process, each from the residual that the last one left."""

    def __init__(self, system: LinearSystem, monitor: Monitor) -> None:
        self.system = system
        self.monitor = monitor
        self.size = 0.0
        """Largest column of the Lanczos matrices so far: about ``||M A||``."""

    def run(self, r: Array, norm: float) -> Status:
        status = None
        while status is None:
            status = self._from(r, norm)
            norm = self.monitor.checked
        if status is Status.STAGNATED and not self.monitor.notes and self._is_flat():
            return self._singular()
        return status

    def _is_flat(self) -> bool:
        """Whether ``A r`` is tiny for the residual of x; 2 products."""
        system = self.system
        r = system.residual(self.monitor.x)
        image = system.matmul(r) - system.shift * r
        largest = (system.size + abs(system.shift)) * system.norm(r)
        return system.norm(image) <= 10 * system.eps**FLAT * largest

    def _from(self, r: Array, norm: float) -> Status | None:
        """Iterate from the residual r; return None if the recurrence has drifted away."""
        system, monitor, x = self.system, self.monitor, self.monitor.x
        kind = _PreconditionedLanczos if system.preconditioned else _Lanczos
        process = kind(system, r, norm)
        earlier, w = np.zeros_like(r), np.zeros_like(r)
        phibar, cs, sn, dbar, epsilon, first = process.beta, -1.0, 0.0, 0.0, 0.0, True
        flattest, dip = 10 * system.eps**FLAT, -1.0
        while True:
            beta = 0.0 if first else process.beta
            alpha = process.step(first=first)
            if not math.isfinite(alpha + process.beta):
                return monitor.broke_down("A v or M v is not finite")
            self.size = max(self.size, math.hypot(alpha, beta, process.beta))
            delta, gbar = cs * dbar + sn * alpha, sn * dbar - cs * alpha
            before, epsilon, dbar = epsilon, sn * process.beta, -cs * process.beta
            slope = math.hypot(gbar, dbar) / self.size if self.size > 0 else 0.0
            if slope <= max(NULL * system.eps, 0.1 * flattest):
                verdict = monitor.check(r, norm)  # keeps x
                if verdict.status is not None or verdict.restart:
                    return verdict.status
                if slope <= NULL * system.eps:
                    return self._singular()
                flattest, dip = slope, phibar
            gamma = math.hypot(gbar, process.beta)
            cs, sn = gbar / gamma, process.beta / gamma
            phi, phibar = cs * phibar, sn * phibar
            system.combine(earlier, -before / gamma, process.v, 1 / gamma, w, -delta / gamma)
            earlier, w = w, earlier
            system.combine(x, 1.0, w, phi, w, 0.0)
            if system.preconditioned:
                u = process.u
                norm = system.combine(r, sn * sn, u, -cs * phibar, u, 0.0, norm=True)
            else:
                norm = phibar
            monitor.history.append(norm)
            if not math.isfinite(norm):
                return monitor.broke_down("the residual is not finite")
            status, restart, first = None, process.beta == 0, False
            beyond = phibar <= 0.99 * dip
            if restart or beyond or monitor.due(norm):
                verdict = monitor.check(r, norm, fall=0.999 if restart else None)
                status, restart = verdict.status, restart or verdict.restart
                if beyond and verdict.restart and status is None:
                    status = self._singular()
                if beyond:  # what x gained is true
                    flattest, dip = 0.0, -1.0
            status = monitor.observe(norm, status)
            if status is not None or restart:
                return status

    def _singular(self) -> Status:
        self.monitor.notes.append(
            "A r is zero to rounding: x is a least-squares solution, and b outside A's range"
        )
        return Status.STAGNATED
