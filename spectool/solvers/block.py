"""Conjugate gradients for several right-hand sides in one block Krylov space.

Source
    O'Leary, The block conjugate gradient algorithm and related methods, Linear Algebra Appl. 29
    (1980); Dubrulle, Retooling the method of block conjugate gradients, ETNA 12 (2001), algorithm
    BCGrQ: an orthonormal basis Q of the residuals is carried, R = Q sigma.
Deviations
    (1) With M, Q stays orthonormal in the Euclidean inner product and ``N = Q* M Q`` takes the
    place of the identity, so that M need not be split; (2) a combination of residuals is dropped
    once it matters to no column any more, which serves dependent, zero and converged columns alike
    (Ji and Li, A breakdown-free block conjugate gradient method, BIT 57 (2017)); (3) residuals are
    recomputed from X where the recurrence has reached the targets, and the recurrence starts again
    from there if they are not met.
Cost per iteration with s directions left
    s matvecs and s applications of M; 3 reductions, 4 with M; 5 blocks beside X.
"""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError
from spectool.results import LinearSolution, Status
from spectool.solvers.stopping import FALL, STRIKES, Callback, LinearState, checked_limits
from spectool.solvers.system import LinearSystem

SHARE = 0.01
"""Part of the targets that all dropped directions together may add to the residuals."""


def block_cg(
    A: Any,
    B: Any,
    X0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callback | None = None,
    max_time: float | None = None,
) -> LinearSolution:
    """Solve ``A X = B`` for Hermitian positive definite A, all columns together.

    Every column is approximated from the sum of all columns' Krylov spaces, and products run over
    blocks of vectors: fewer iterations than column by column, and faster products.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian positive definite.
    B : array_like, shape (n, m)
        Right-hand sides; columns may be zero, equal or dependent, and m may exceed n.
    X0 : array_like, shape (n, m), optional
        Start; zero by default.
    rtol, atol : float
        Stops at ``||b_j - A x_j|| <= max(rtol ||b_j||, atol)`` for all columns j.
    maxiter : int, optional
        Most iterations, each of at most m matvecs; 10 n.
    M : sparse array, ndarray or LinearOperator, shape (n, n), optional
        Approximates the inverse of A; Hermitian positive definite.
    callback : callable, optional
        ``callback(state)`` once per iteration, as in ``cg``; ``state.residual_norm`` is that of the
        column farthest from its target. Returning True stops.
    max_time : float, optional
        Seconds after which the best X so far is returned.

    Returns
    -------
    LinearSolution
        Unpacks as ``x, info``; ``x`` has the shape of B. ``residual_norm`` and ``target`` are those
        of the column farthest from its target.

    Raises
    ------
    InputError
        If A is not Hermitian, or an argument is malformed or not finite.
    NotPositiveDefiniteError
        If ``P* A P`` or ``R* M R`` is not positive definite; names the Rayleigh quotient.

    Warns
    -----
    ConvergenceWarning
        If maxiter, max_time, rounding or a breakdown came before the targets.

    Notes
    -----
    Cost per iteration: s matvecs and applications of M where s <= m directions are left, 3
    reductions (4 with M), and ``8 n s^2`` flops of block algebra, 10 with M. The error of each
    column falls as if the s - 1 smallest eigenvalues were absent (O'Leary [1]_, Theorem 5).

    References
    ----------
    .. [1] O'Leary, Linear Algebra Appl. 29 (1980), 293-322.
    .. [2] Dubrulle, Electron. Trans. Numer. Anal. 12 (2001), 216-233.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> from spectool.solvers import block_cg, cg
    >>> A = st.gallery.poisson((40, 40))
    >>> B = np.random.default_rng(271828).standard_normal((1600, 8))
    >>> solution = block_cg(A, B)
    >>> one = cg(A, B[:, 0])
    >>> solution.converged, solution.n_matvecs < 8 * one.n_matvecs
    (True, True)
    """
    begin = time.perf_counter()
    right, start = _block("B", B), None if X0 is None else _block("X0", X0)
    n = right.shape[0]
    if start is not None and start.shape != right.shape:
        raise InputError(f"X0 must have the shape {right.shape} of B; got {start.shape}.")
    # The door of all solvers takes one vector; it sees A, M and the precisions.
    system = LinearSystem(A, right[:, 0], None if start is None else start[:, 0], M)
    limits = checked_limits(rtol, atol, maxiter, callback, max_time, 10 * n)
    units = np.ldexp(1.0, np.frexp(np.abs(right).max(axis=0))[1].astype(int))
    solve = _BlockSolve(system, right, start, np.where(right.any(axis=0), units, 1.0))
    solve.targets = np.maximum(limits.rtol * solve.sizes, limits.atol / solve.units)
    iteration = 0
    status: Status | None = None
    try:
        status = solve.restart()
        while status is None:
            status = solve.step()
            iteration += 1
            if callback is not None:
                worst = solve.worst(solve.norms)
                norm = float(solve.units[worst] * solve.norms[worst])
                if callback(LinearState(iteration, norm, solve.leave)) and status is None:
                    status = Status.STOPPED
            if status is None and time.perf_counter() - begin > limits.max_time:
                status = Status.TIMED_OUT
            if status is None and iteration >= limits.maxiter:
                status = Status.MAXITER
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    solution = solve.solution(status, begin)
    if solution.status not in (Status.CONVERGED, Status.STOPPED, Status.INTERRUPTED):
        told = f" ({solution.report})" if solution.report else ""
        warnings.warn(f"{solution}{told}", ConvergenceWarning, stacklevel=2)
    return solution


class _Basis(NamedTuple):
    """``V = Q zeta`` up to what may be dropped: Q (n, r) orthonormal, zeta (r, s)."""

    Q: Array
    zeta: Array


class _BlockSolve:
    """The recurrence, its restarts, and the best X of each column."""

    Q: Array
    P: Array
    _N: Array
    _zeta: Array
    _sigma: Array
    _fresh: bool

    def __init__(self, system: LinearSystem, B: Array, X0: Array | None, units: FloatArray) -> None:
        self.system = system
        self.units = units
        wide = np.result_type(system.dtype, np.float64)
        self.B = np.ascontiguousarray(B.astype(wide) / units, dtype=system.dtype)
        self.sizes = _column_norms(self.B)
        start = np.zeros_like(B) if X0 is None else X0 * B.any(axis=0)
        self.X = np.ascontiguousarray(start.astype(wide) / units, dtype=system.dtype)
        self.targets = np.zeros(B.shape[1])
        self.norms = self.sizes
        self.history: list[float] = []
        self.notes: list[str] = []
        self.restarts = -1
        self._strikes = 0
        self._best = self.X, np.full(B.shape[1], np.inf)

    def worst(self, norms: FloatArray) -> int:
        """Return the column farthest from its target."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(norms > 0, norms / self.targets, 0.0)
        return int(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)))

    def leave(self) -> Array:
        """Return the current X in the caller's units."""
        return np.asarray(self.units * self.X, dtype=self.system.dtype)

    def restart(self) -> Status | None:
        """Recompute all residuals and begin anew from them; return why not to."""
        system = self.system
        R = self.B - system.operator.matmul(self.X) if self.X.any() else self.B.copy()
        norms = _column_norms(R)
        system.n_reductions += 1
        if not np.isfinite(norms).all():
            return self._broke_down("a residual is not finite")
        before = self._best[1]
        better = norms < before
        fell = (norms <= FALL * before)[before > self.targets].any()
        self._strikes = 0 if fell else self._strikes + 1
        self._best = np.where(better, self.X, self._best[0]), np.minimum(norms, before)
        if self.restarts < 0:
            self._note(norms)
        self.restarts += 1
        if not (self._best[1] > self.targets).any():
            return Status.CONVERGED
        if self._strikes >= STRIKES:
            return Status.STAGNATED
        if not better.all():
            R = self.B - system.operator.matmul(self._best[0])
        self.X, self.norms = self._best[0].copy(), self._best[1]
        self._sigma = np.diag((self.sizes > 0).astype(system.dtype))  # zero columns stay zero
        self._allowed = SHARE * self.targets
        self.Q, zeta = self._orthonormal(R)
        self._sigma = zeta @ self._sigma
        self.P, self._fresh = np.empty((R.shape[0], 0), dtype=system.dtype), True
        return None

    def step(self) -> Status | None:
        """Do one iteration; return why to stop."""
        system, Q = self.system, self.Q
        Z = system.precondition(Q) if system.preconditioned else Q
        N = self._gram(Q, Z) if system.preconditioned else np.eye(Q.shape[1], dtype=Q.dtype)
        if not np.isfinite(N).all():
            return self._broke_down("M R is not finite")
        _require_definite(N, "M", "R* M R")
        P = Z if self._fresh else Z + self.P @ np.linalg.solve(self._N, self._zeta.conj().T @ N)
        AP = system.operator.matmul(np.ascontiguousarray(P))
        D = self._gram(P, AP)
        if not np.isfinite(D).all():
            return self._broke_down("A P is not finite")
        singular = _require_definite(D, "A", "P* A P")
        if singular and not self._fresh:  # directions have become dependent: forget them
            return self.restart()
        if singular:
            self.notes.append("A P is zero to rounding for a direction: A looks singular")
            return Status.STAGNATED
        coefficients = np.linalg.solve(D, N)
        self.X += P @ (coefficients @ self._sigma)
        self.P, self._N, self._fresh = P, N, False
        self.Q, self._zeta = self._orthonormal(Q - AP @ coefficients)
        self._sigma = self._zeta @ self._sigma
        self.norms = _column_norms(self._sigma)  # Q is orthonormal
        self._note(self.norms)
        done = not (self.norms > self.targets).any() or self.Q.shape[1] == 0
        return self.restart() if done else None

    def _orthonormal(self, V: Array) -> _Basis:
        """Return an orthonormal basis of V's columns, less what matters to no column of B."""
        self.system.n_reductions += 1
        Q, zeta = np.linalg.qr(V)
        U, sizes, Wh = np.linalg.svd(zeta)
        eps = self.system.eps * max(V.shape[1], 8)
        shares = sizes[:, None] * np.abs(Wh[: sizes.size] @ self._sigma)
        # All that is dropped, of this and later bases, adds up to at most the allowed share.
        with np.errstate(divide="ignore", invalid="ignore"):
            used = np.cumsum(shares[::-1], axis=0)[::-1] / self._allowed
        needless = (used <= 1.0).all(axis=1) | (sizes <= eps * sizes[0])
        if not needless.any():
            return _Basis(Q, zeta)
        r = int(np.argmax(needless))
        self._allowed = np.maximum(self._allowed - shares[r:].sum(axis=0), 0.0)
        return _Basis(Q @ U[:, :r], sizes[:r, None] * Wh[:r])

    def _gram(self, X: Array, Y: Array) -> Array:
        self.system.n_reductions += 1
        G = X.conj().T @ Y
        return np.asarray(0.5 * (G + G.conj().T))

    def _note(self, norms: FloatArray) -> None:
        self.history.append(float((norms / np.where(self.sizes > 0, self.sizes, 1.0)).max()))

    def _broke_down(self, what: str) -> Status:
        self.notes.append(f"{what} at iteration {len(self.history)}")
        return Status.BROKE_DOWN

    def solution(self, status: Status, begin: float) -> LinearSolution:
        """Return the best X, each column with its true residual."""
        system = self.system
        if status in (Status.MAXITER, Status.TIMED_OUT, Status.STOPPED, Status.INTERRUPTED):
            R = self.B - system.operator.matmul(self.X)
            norms = _column_norms(R)
            better = norms < self._best[1]
            self._best = np.where(better, self.X, self._best[0]), np.minimum(norms, self._best[1])
        X, norms = self._best
        if (norms <= self.targets).all() and status is not Status.BROKE_DOWN:
            status = Status.CONVERGED
        worst = self.worst(norms)
        if self.restarts > (status is Status.CONVERGED):
            self.notes.append(f"residuals recomputed {self.restarts} times")
        name = f"block cg, {self.B.shape[1]} columns"
        return LinearSolution(
            x=np.asarray(self.units * X, dtype=system.dtype),
            status=status,
            residual_norm=float(self.units[worst] * norms[worst]),
            target=float(self.units[worst] * self.targets[worst]),
            history=np.array(self.history),
            n_iterations=max(len(self.history) - 1, 0),
            n_matvecs=system.n_matvecs,
            n_reductions=system.n_reductions,
            elapsed=time.perf_counter() - begin,
            method=f"preconditioned {name}" if system.preconditioned else name,
            report="; ".join(self.notes),
        )


def _column_norms(X: Array) -> FloatArray:
    return np.asarray(np.linalg.norm(X, axis=0), dtype=np.float64)


def _require_definite(G: Array, name: str, what: str) -> bool:
    """Raise NotPositiveDefiniteError unless G is positive definite; return if only to rounding."""
    diagonal = np.diag(G).real
    if diagonal.min() <= 0:
        smallest = float(diagonal.min())
    else:
        scale = 1.0 / np.sqrt(diagonal)
        smallest = float(np.linalg.eigvalsh(scale[:, None] * G * scale)[0])
        tolerance = 10 * len(G) * float(np.finfo(G.dtype).eps)
        if smallest > tolerance:
            return False
        if smallest > -tolerance:
            return True
    raise NotPositiveDefiniteError(
        f"block_cg needs a positive definite {name}, but {what} has the diagonal entry or scaled "
        f"eigenvalue {smallest:.6g}."
    )


def _block(name: str, values: Any) -> Array:
    V = np.asarray(values)
    if V.ndim != 2 or 0 in V.shape:
        raise InputError(f"{name} must have shape (n, m) with m > 0; got {V.shape}.")
    if V.dtype.kind not in "biufc":
        raise InputError(f"{name} must be numeric; got dtype {V.dtype}.")
    if V.dtype.kind in "biu":
        V = V.astype(np.float64)
    if not np.isfinite(V).all():
        raise InputError(
            f"{name} must be finite; {int((~np.isfinite(V)).sum())} of its entries are not."
        )
    return V
