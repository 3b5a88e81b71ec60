"""Conjugate gradients.

Source
    Hestenes and Stiefel (1952); Saad, Iterative Methods for Sparse Linear Systems, 2nd ed.,
    Algorithm 9.1 and section 6.7.3 for the Lanczos matrix.
Deviations
    (1) stops on the unpreconditioned residual, recomputed from x (see ``stopping``); (2) makes no
    step in a direction whose ``p* A p`` is rounding: b is not in the range of a singular A.
Cost per iteration
    1 matvec and 1 application of M; 2 reductions, 3 with an M that is not diagonal; 4 vectors, 5
    with M.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import NotPositiveDefiniteError
from spectool.results import LinearSolution, Status
from spectool.solvers.stopping import FALL, Callback, Monitor, checked_limits
from spectool.solvers.system import LinearSystem

MOST_RITZ = 500
"""Steps of the Lanczos matrix that are kept."""
DISAGREEMENTS = 2
"""Restarts from a recomputed residual after which an M in lower precision is promoted."""


def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callback | None = None,
    max_time: float | None = None,
) -> LinearSolution:
    """Solve ``A x = b`` for Hermitian positive definite A by conjugate gradients.

    Drop-in for ``scipy.sparse.linalg.cg``, over fused kernels. The residual is recomputed from x
    before convergence is claimed; where the recurrence has drifted away from it, the solve goes on
    from there until x improves no more.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian positive definite; semidefinite if b lies in its range.
    b : array_like, shape (n,), (n, 1) or (n, m)
        Right-hand side; m > 1 columns share one block Krylov space.
    x0 : array_like, shape of b, optional
        Start; zero by default.
    rtol, atol : float
        Stops at ``||b - A x|| <= max(rtol ||b||, atol)``.
    maxiter : int, optional
        Most iterations; 10 n.
    M : sparse array, ndarray or LinearOperator, shape (n, n), optional
        Approximates the inverse of A; Hermitian positive definite.
    callback : callable, optional
        ``callback(state)`` once per iteration, with ``state.iteration``, ``state.residual_norm``
        and ``state.x``; returning True stops. For one of scipy's, ``lambda state: f(state.x)``.
    max_time : float, optional
        Seconds after which the best x so far is returned.

    Returns
    -------
    LinearSolution
        Unpacks as ``x, info``; ``ritz_values`` are those of M A.

    Raises
    ------
    InputError
        If A is not Hermitian, or an argument is malformed or not finite.
    NotPositiveDefiniteError
        If a direction shows that A or M is not positive definite; names the Rayleigh quotient.

    Warns
    -----
    ConvergenceWarning
        If maxiter, max_time, rounding or a breakdown came before the target.

    Notes
    -----
    Cost per iteration: 1 matvec, 1 application of M, 2 reductions (3 with an M of degree 1 or
    more). One matvec more at
    the end, and one per tenfold fall of the residual that takes 64 iterations or more. The iterate
    of smallest residual among those is returned if the target is not met. What rounding lets x
    attain is about ``eps ||A|| ||x||`` [2]_; a smaller target ends as ``STAGNATED``. Before that,
    an M in lower precision is promoted to that of A, which ``report`` tells.

    References
    ----------
    .. [1] Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems,
       J. Res. NBS 49 (1952).
    .. [2] Greenbaum, Estimating the attainable accuracy of recursively computed residual methods,
       SIMAX 18 (1997), Theorem 2.2.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = st.gallery.poisson((40, 40))
    >>> x, info = st.cg(A, np.ones(1600), rtol=1e-10)
    >>> info, bool(np.linalg.norm(A @ x - 1.0) <= 1e-10 * 40)
    (0, True)
    """
    if np.ndim(b) == 2 and np.shape(b)[1] > 1:
        from spectool.solvers.block import block_cg

        return block_cg(
            A, b, x0, rtol=rtol, atol=atol, maxiter=maxiter, M=M, callback=callback,
            max_time=max_time,
        )  # fmt: skip
    begin = time.perf_counter()
    system = LinearSystem(A, b, x0, M)
    limits = checked_limits(rtol, atol, maxiter, callback, max_time, 10 * system.n)
    monitor = Monitor(system, limits, begin)
    iteration = _Iteration(system, monitor)
    status = monitor.watched(iteration.run)
    return monitor.solution(status, "cg", iteration.lanczos())


class _Iteration:
    """The recurrence, and the Lanczos matrices of its runs between restarts."""

    def __init__(self, system: LinearSystem, monitor: Monitor) -> None:
        self.system = system
        self.monitor = monitor
        self.runs: list[list[tuple[float, float]]] = []
        """Per run and step alpha, and the beta that led to its direction."""

    def run(self, r: Array, norm: float) -> Status:
        system, monitor, x = self.system, self.monitor, self.monitor.x
        p, q = np.empty_like(r), np.empty_like(r)
        largest, square, previous, fresh = 0.0, 0.0, 0.0, True
        D, weighted = system.diagonal, 0.0
        while True:
            z = r if D is not None else system.precondition(r)
            if D is not None:
                rho = system.inner(r, D * r) if fresh else weighted
            else:
                rho = system.inner(r, z) if system.preconditioned else norm * norm
            if not math.isfinite(rho):
                return monitor.broke_down("M r is not finite")
            if rho <= 0:
                raise NotPositiveDefiniteError(
                    f"cg needs a positive definite M, but at iteration {monitor.iteration + 1} "
                    f"r* M r / r* r = {rho / norm / norm:.6g}. M must approximate the inverse "
                    "of A, not A; use gmres if M is not positive definite."
                )
            beta = 0.0 if fresh else rho / previous
            if fresh:
                self.runs.append([])
            curvature = system.search(p, q, z, beta, D)
            if not math.isfinite(curvature):
                return monitor.broke_down("A p is not finite")
            # ||p||^2 in the inner product of inv(M), by orthogonality
            square = rho + beta * beta * square
            largest = max(largest, curvature / square)
            if curvature <= system.eps * largest * square and self._is_null(p, q, curvature):
                verdict = monitor.check(r, norm, fall=FALL)
                if verdict.status is not None:
                    return verdict.status
                if fresh or monitor.checked >= monitor.history[0]:
                    return self._singular()
                norm, fresh = monitor.checked, True
                continue
            alpha = rho / curvature
            norm, weighted = system.update_norm(x, r, p, q, alpha, D)
            monitor.history.append(norm)
            self.runs[-1].append((alpha, beta))
            previous, fresh = rho, False
            if not math.isfinite(norm):
                return monitor.broke_down("the residual is not finite")
            if norm * system.eps > monitor.history[0]:
                return self._singular()  # definite A and M let it grow by sqrt(cond) at most
            status: Status | None = None
            if monitor.due(norm):
                verdict = monitor.check(r, norm)
                status, norm, fresh = verdict.status, monitor.checked, verdict.restart
                failed = fresh and monitor.disagreements >= DISAGREEMENTS
                if (failed or status is Status.STAGNATED) and system.promote():
                    monitor.forgive("M promoted to the precision of A")
                    status, fresh = None, True
            if (status := monitor.observe(norm, status)) is not None:
                return status

    def _is_null(self, p: Array, q: Array, curvature: float) -> bool:
        """Whether rounding may explain ``p* A p``; raises if no semidefinite A can."""
        system = self.system
        noise = system.curvature_noise(p)
        # Semidefinite A has ||A p||^2 <= ||A|| p* A p.
        image = system.inner(q, q)
        if curvature < -noise or (curvature <= 0 and image > 4 * system.size * noise):
            length = max(system.inner(p, p), sys.float_info.min)
            raise NotPositiveDefiniteError(
                f"cg needs a positive definite A, but at iteration {self.monitor.iteration + 1} a "
                f"direction p has the Rayleigh quotient p* A p / p* p = {curvature / length:.6g} "
                f"and ||A p|| / ||p|| = {math.sqrt(image / length):.6g}. Use minres if A is "
                "indefinite."
            )
        return curvature <= noise

    def _singular(self) -> Status:
        self.monitor.notes.append(
            "A looks singular to rounding, and b outside its range: p* A p is zero for a direction "
            "p, or the residual grows without bound"
        )
        return Status.STAGNATED

    def lanczos(self) -> tuple[FloatArray, FloatArray]:
        """Return the Lanczos matrix of the longest run, its first steps."""
        steps = np.array(max(self.runs, key=len, default=[])[:MOST_RITZ])
        if steps.size == 0:
            return np.empty(0), np.empty(0)
        alpha, beta = steps.T
        if not (np.isfinite(steps).all() and alpha.all()):
            return np.empty(0), np.empty(0)  # beyond the range of floating point
        diagonal = 1.0 / alpha
        diagonal[1:] += beta[1:] / alpha[:-1]
        return diagonal, np.sqrt(beta[1:]) / alpha[:-1]
