"""Sequences of systems with one matrix: each solve teaches the next one its small eigenvalues.

Source
    Saad, Yeung, Erhel and Guyomarc'h, A deflated version of the conjugate gradient algorithm, SISC
    21 (2000), Algorithm 3.5; Stathopoulos and Orginos, SISC 32 (2010), section 3 (incremental
    eigCG), for the vectors: see ``krylov.ritz_window``.
Deviations
    (1) stops as ``cg`` does, on a recomputed residual; (2) after each solve the old vectors and the
    window's are weighed together in one Rayleigh-Ritz step, so that k vectors are kept, not k more
    per system; (3) learning ends by itself once the Ritz values settle.
Cost per iteration
    That of ``cg``, and 1 reduction and 2 passes over the k vectors (4 k n flops, 2 k n values).
"""

from __future__ import annotations

import math
import time
from numbers import Integral
from typing import Any

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.krylov.ritz_window import RitzBasis, RitzWindow, rayleigh_ritz
from spectool.operators import Operator, as_operator
from spectool.results import LinearSolution, Status
from spectool.solvers.stopping import Callback, Monitor, checked_limits
from spectool.solvers.system import LinearSystem

SETTLED = 0.01
"""Mean relative change of the Ritz values from one system to the next that ends learning."""


class CGSequence:
    """Conjugate gradients for many right-hand sides that come one after the other.

    While a system is solved, approximate eigenvectors of M A are gathered from the directions of
    CG, at no extra product; they are projected out of the systems that follow, which then converge
    as if the k smallest eigenvalues were not there.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian positive definite.
    M : sparse array, ndarray or LinearOperator, shape (n, n), optional
        Approximates the inverse of A; Hermitian positive definite.
    k : int
        Vectors to keep. Memory: 2 k vectors, 8 k while learning.
    vectors : ndarray, shape (n,) or (n, j), optional
        Where to start from: approximate eigenvectors of small eigenvalues, or any basis of what is
        hard in A. Costs j products.

    Attributes
    ----------
    vectors : ndarray, shape (n, j)
        What is projected out, j <= k; A-orthonormal.
    ritz_values : ndarray, shape (j,)
        Their Rayleigh quotients as eigenvectors of M A, ascending.
    n_matvecs : int
        Products with A so far: all solves, ``refresh``, and those inside M.
    learning : bool
        Whether the next solve will improve the vectors.

    Notes
    -----
    Pays from the second system on. From about the third, matvecs are those of CG with the k
    smallest eigenvalues removed: for k = 20 a third to a half of CG's where small eigenvalues are
    few, next to no fewer where the low end is crowded (``benchmarks/sequences.py``). Of a multiple
    eigenvalue each system teaches one vector. Seconds are saved where a product and M cost more
    than the 2 passes over k vectors: not on five-point stencils with Jacobi.

    References
    ----------
    .. [1] Saad, Yeung, Erhel and Guyomarc'h, SIAM J. Sci. Comput. 21 (2000), 1909-1926.
    .. [2] Stathopoulos and Orginos, SIAM J. Sci. Comput. 32 (2010), 439-462.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> from spectool.solvers import CGSequence
    >>> A = st.gallery.jump((40, 40), rng=271828)
    >>> rng = np.random.default_rng(271828)
    >>> sequence = CGSequence(A, M=st.preconditioner(A, method="jacobi"), k=20)
    >>> counts = [sequence.solve(rng.standard_normal(1600)).n_matvecs for _ in range(4)]
    >>> counts[3] < counts[0] / 2
    True
    """

    k: int
    M: Any
    n_matvecs: int
    learning: bool
    _operator: Operator
    _basis: RitzBasis

    def __init__(self, A: Any, *, M: Any = None, k: int = 20, vectors: Any = None) -> None:
        if isinstance(k, bool) or not isinstance(k, Integral) or int(k) < 1:
            raise InputError(f"k must be a positive integer; got {k!r}.")
        self.k = int(k)
        self.M = M
        self.learning = True
        self._operator = as_operator(A)
        self.n_matvecs = self._operator.n_matvecs
        LinearSystem(self._operator, np.zeros(self._operator.n), None, M)  # validates M
        self._basis = RitzBasis.empty(self._operator.n, self._operator.dtype)
        if vectors is not None:
            rows = _checked_vectors(vectors, self._operator)
            if len(rows):
                self._adopt(rows)

    @property
    def vectors(self) -> Array:
        """What is projected out, shape (n, j)."""
        return self._basis.vectors.T

    @property
    def ritz_values(self) -> FloatArray:
        """Rayleigh quotients of the vectors, shape (j,)."""
        return self._basis.values

    def refresh(self, A: Any, *, M: Any = None) -> None:
        """Go on with another matrix of the same size, near the last one.

        Costs j products with A and j applications of M. The vectors are improved again from the
        next solve on. Correct for any A; useful as long as small eigenvectors move little.

        Parameters
        ----------
        A : sparse array, ndarray or LinearOperator, shape (n, n)
            Hermitian positive definite.
        M : sparse array, ndarray or LinearOperator, shape (n, n), optional
            Replaces the preconditioner; the old one is kept if None.
        """
        operator = as_operator(A)
        if operator.n != self._operator.n:
            raise InputError(f"A must be of size {self._operator.n} as before; got {operator.n}.")
        M = self.M if M is None else M
        LinearSystem(operator, np.zeros(operator.n), None, M)
        self._operator, self.M, self.learning = operator, M, True
        self.n_matvecs += operator.n_matvecs
        if len(self._basis.values):
            self._adopt(self._basis.vectors)

    def _adopt(self, rows: Array) -> None:
        """Make the space of the rows the one that is projected out."""
        operator = self._operator
        system = LinearSystem(operator, np.zeros(operator.n, dtype=rows.dtype), None, self.M)
        rows = rows.astype(system.dtype)
        products = np.ascontiguousarray(system.operator.matmul(np.ascontiguousarray(rows.T)).T)
        images = system.precondition(np.ascontiguousarray(products.T))
        self._basis = rayleigh_ritz(rows, products, products.conj() @ images, self.k)
        self.n_matvecs += system.n_matvecs
        squares = np.einsum("ij,ij->i", rows.conj(), products).real
        lowest = np.append(squares, self._basis.values[:1]).min()
        if lowest < -1e3 * system.eps * np.abs(squares).max():
            raise NotPositiveDefiniteError(
                f"CGSequence needs positive definite A and M, but a given vector w has w* A w or "
                f"w* A M A w = {lowest:.6g}."
            )

    def solve(
        self,
        b: Any,
        x0: Any = None,
        *,
        rtol: float = 1e-5,
        atol: float = 0.0,
        maxiter: int | None = None,
        callback: Callback | None = None,
        max_time: float | None = None,
    ) -> LinearSolution:
        """Solve ``A x = b`` and learn from it.

        Parameters
        ----------
        b : array_like, shape (n,) or (n, 1)
            Right-hand side.
        x0 : array_like, shape of b, optional
            Start, for example the solution before this one; zero by default.
        rtol, atol : float
            Stops at ``||b - A x|| <= max(rtol ||b||, atol)``, recomputed from x.
        maxiter : int, optional
            Most iterations; 10 n.
        callback : callable, optional
            ``callback(state)`` once per iteration, as in ``cg``; returning True stops.
        max_time : float, optional
            Seconds after which the best x so far is returned.

        Returns
        -------
        LinearSolution
            Unpacks as ``x, info``; ``ritz_values`` are those of the sequence after this solve.

        Raises
        ------
        InputError
            If an argument is malformed or not finite.
        NotPositiveDefiniteError
            If a direction shows that A or M is not positive definite.

        Warns
        -----
        ConvergenceWarning
            If maxiter, max_time, rounding or a breakdown came before the target.

        Notes
        -----
        Cost per iteration: 1 matvec, 1 application of M, 4 reductions, 2 passes over j vectors.
        A complex b of a real A is solved with the vectors, but teaches none.
        """
        begin = time.perf_counter()
        system = LinearSystem(self._operator, b, x0, self.M)
        limits = checked_limits(rtol, atol, maxiter, callback, max_time, 10 * system.n)
        monitor = Monitor(system, limits, begin)
        known = self._known(system.dtype)
        learns = self.learning and known.vectors.dtype == system.dtype
        window = RitzWindow(self.k, known) if learns else None
        iteration = _DeflatedIteration(system, monitor, known, window)
        try:
            status = monitor.watched(iteration.run)
            if window is not None:
                self._learn(window.basis(), iteration.n_steps)
        finally:
            self.n_matvecs += system.n_matvecs
        if system.dtype == self._operator.dtype:
            self._operator = system.operator  # its layout has been paid for
        if len(known.values):
            monitor.notes.append(f"deflated {len(known.values)} vectors")
        return monitor.solution(status, "deflated cg")

    def _known(self, dtype: np.dtype[Any]) -> RitzBasis:
        """Return the basis in the working precision; real vectors serve complex systems too."""
        W, AW, values = self._basis
        if len(values) == 0 and (dtype.kind == "c") == (W.dtype.kind == "c"):
            return RitzBasis.empty(W.shape[1], dtype)
        if W.dtype.kind == "c" or dtype.kind != "c":
            return RitzBasis(W.astype(dtype, copy=False), AW.astype(dtype, copy=False), values)
        return self._basis

    def _learn(self, basis: RitzBasis, n_steps: int) -> None:
        """Take the better basis; end learning once its Ritz values settle."""
        before, after = self.ritz_values, basis.values
        if n_steps == 0 or after.size == 0:
            return
        if before.size == after.size == self.k:
            self.learning = bool(np.mean(np.abs(np.log(before / after))) > SETTLED)
        self._basis = basis


class _DeflatedIteration:
    """CG whose residuals stay orthogonal to W, and directions A-orthogonal to it."""

    def __init__(
        self, system: LinearSystem, monitor: Monitor, known: RitzBasis, window: RitzWindow | None
    ) -> None:
        self.system = system
        self.monitor = monitor
        self.window = window
        self.W, self.AW = known.vectors, known.products
        self._left, self._left_products = self.W.conj(), self.AW.conj()
        self.n_steps = 0
        if len(self.W):
            E = self._left @ self.AW.T
            self._inverse = np.linalg.inv(E)  # W is A-orthonormal: E is I up to rounding
            system.n_reductions += 1

    def _coefficients(self, moments: Array) -> Array:
        return np.asarray(self._inverse @ moments)

    def _moments(self, rows: Array, v: Array) -> Array:
        if len(rows):
            self.system.n_reductions += 1
        return rows @ v

    def _project(self, x: Array, r: Array, norm: float) -> float:
        """Solve exactly on the space of W: ``W* r = 0`` afterwards. Returns ``||r||``."""
        if len(self.W) == 0:
            return norm
        c = self._coefficients(self._moments(self._left, r))
        x += c @ self.W
        r -= c @ self.AW
        return self.system.norm(r)

    def run(self, r: Array, norm: float) -> Status:
        system, monitor, x, window = self.system, self.monitor, self.monitor.x, self.window
        p, q = np.empty_like(r), np.empty_like(r)
        alpha, previous, fresh, moments = 1.0, 0.0, True, np.empty(0)
        while True:
            if fresh:
                norm = self._project(x, r, norm)
                if norm <= monitor.target:
                    verdict = monitor.check(r, norm)
                    if verdict.status is not None:
                        return verdict.status
                    norm = monitor.checked
            z = system.precondition(r)
            rho = system.inner(r, z) if system.preconditioned else norm * norm
            if not math.isfinite(rho):
                return monitor.broke_down("M r is not finite")
            if rho <= 0:
                raise NotPositiveDefiniteError(
                    f"CGSequence needs a positive definite M, but at iteration "
                    f"{monitor.iteration + 1} r* M r / r* r = {rho / norm / norm:.6g}. M must "
                    "approximate the inverse of A, not A."
                )
            before, moments = moments, self._moments(self._left_products, z)
            if fresh:
                p[:] = z
            else:
                if window is not None:
                    window.record(p, q, alpha, previous, rho, before - moments)
                system.direction(p, z, rho / previous)
            if len(self.W):
                p -= self._coefficients(moments) @ self.W
            curvature = system.product_dot(p, q)
            if not math.isfinite(curvature):
                return monitor.broke_down("A p is not finite")
            if curvature <= 0:
                noise = system.curvature_noise(p)
                # Semidefinite A has ||A p||^2 <= ||A|| p* A p.
                if curvature < -noise or system.inner(q, q) > 4 * system.size * noise:
                    raise NotPositiveDefiniteError(
                        f"CGSequence needs a positive definite A, but at iteration "
                        f"{monitor.iteration + 1} a direction p has the Rayleigh quotient "
                        f"p* A p / p* p = {curvature / system.inner(p, p):.6g}."
                    )
                verdict = monitor.check(r, norm, fall=0.999)  # A p is zero to rounding
                if verdict.status is not None:
                    return verdict.status
                norm, fresh = monitor.checked, True
                self._freeze()
                continue
            alpha = rho / curvature
            norm, _ = system.update_norm(x, r, p, q, alpha)
            monitor.history.append(norm)
            self.n_steps += 1
            previous, fresh = rho, False
            if not math.isfinite(norm):
                return monitor.broke_down("the residual is not finite")
            status: Status | None = None
            if monitor.due(norm):
                verdict = monitor.check(r, norm)
                status, norm, fresh = verdict.status, monitor.checked, verdict.restart
                if fresh:
                    self._freeze()
            if (status := monitor.observe(norm, status)) is not None:
                return status

    def _freeze(self) -> None:
        if self.window is not None:
            self.window.frozen = True


def _checked_vectors(vectors: Any, operator: Operator) -> Array:
    """Return the columns as rows, or raise InputError."""
    V = np.asarray(vectors)
    V = V[:, None] if V.ndim == 1 else V
    if V.ndim != 2 or V.shape[0] != operator.n:
        raise InputError(f"vectors must have shape ({operator.n}, j); got {np.shape(vectors)}.")
    if V.dtype.kind not in "biufc":
        raise InputError(f"vectors must be numeric; got dtype {V.dtype}.")
    if not np.isfinite(V).all():
        raise InputError(f"vectors must be finite; {int((~np.isfinite(V)).sum())} entries are not.")
    if V.dtype.kind == "c" and operator.dtype.kind != "c":
        raise InputError("vectors must be real for a real A; pass real and imaginary parts apart.")
    largest = np.abs(V).max(axis=0, initial=0.0)
    return np.ascontiguousarray((V / np.where(largest > 0, largest, 1.0)).T)
