"""Deflation as a preconditioner: any M, and the exact inverse on a few hard directions.

Source
    Carpentieri, Duff and Giraud, A class of spectral two-level preconditioners, SISC 25 (2003):
    ``M + tau W (W* A W)^-1 W*``. Tang, Nabben, Vuik and Erlangga, Comparison of two-level
    preconditioners derived from deflation, domain decomposition and multigrid methods, J. Sci.
    Comput. 39 (2009), where it is the additive correction AD.
Deviations
    tau is a Rayleigh quotient of M A, so that the deflated eigenvalues, which the correction lifts
    by tau, land amid the others whatever the units of A and M.
Cost per application
    One of M, 1 reduction, and 2 passes over the k vectors (4 k n flops); no product with A.

The additive form is taken because it is positive definite for every positive definite M and every
W, eigenvectors or not, and with A changed since. A-DEF2 is not Hermitian; balancing Neumann
(``P* M P + W E^-1 W*`` with ``P = I - A W E^-1 W*``) is positive definite too, and needs A W and
twice the passes, and saves nothing: on 5 matrices with Jacobi, and Ritz vectors of 1, 2 and 3 CG
solves, the iterations of both were equal to 1 %.
"""

from __future__ import annotations

import math
import time
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, FloatArray, Rng
from spectool.errors import BreakdownError, InputError, NotPositiveDefiniteError
from spectool.krylov.ritz_window import RitzBasis, RitzWindow
from spectool.operators import Operator, as_operator
from spectool.preconditioners.operator import SEED
from spectool.results import PreconditionerReport

ENOUGH = 1e-8
"""Relative residual at which CG has seen the small eigenvalues that can hold a solve up."""


class Deflation(LinearOperator[Any]):
    """``M + tau W (W* A W)^-1 W*`` as a scipy ``LinearOperator``; see ``deflated``.

    Attributes
    ----------
    M : LinearOperator, sparse array, ndarray or None
        What is corrected; None is the identity.
    vectors : ndarray, shape (n, j)
        A-orthonormal basis of the range of W.
    tau : float
        Weight of the correction: where the deflated eigenvalues of M A are lifted to.
    report : PreconditionerReport
        What was chosen, and what it cost.
    n_matvecs : int
        Products with A so far: set-up, and applications of M.
    """

    def __init__(
        self,
        M: Any,
        vectors: Array,
        tau: float,
        report: PreconditionerReport,
        n_matvecs: int,
        dtype: Any,
    ) -> None:
        n = vectors.shape[0]
        # scipy-stubs hides the base constructor, which subclasses must call.
        super().__init__(dtype=np.dtype(dtype), shape=(n, n))  # type: ignore[call-arg]
        self.M = M
        self.vectors = vectors
        self.tau = tau
        self.report = report
        self._spent = n_matvecs

    @property
    def n_matvecs(self) -> int:
        """Products with A so far."""
        return self._spent + int(getattr(self.M, "n_matvecs", 0))

    def refresh(self, A: Any, *, rng: Rng = SEED) -> Deflation:
        """Return M for another matrix near the last one: its M refreshed, on the same vectors.

        Costs a product per vector, and what refreshing M costs; positive definite for any A that
        is. An M that cannot be refreshed is kept.
        """
        refresh = getattr(self.M, "refresh", None)
        M = self.M if refresh is None else refresh(A, rng=rng)
        return deflated(A, M, self.vectors)

    def _matvec(self, x: Array) -> Array:
        return self._run(np.asarray(x).ravel())

    def _matmat(self, X: Array) -> Array:
        return self._run(np.asarray(X))

    def _run(self, X: Array) -> Array:
        if X.dtype.kind not in "fc":
            X = X.astype(np.float64)
        W = self.vectors
        Y = (X if self.M is None else self.M @ X) + self.tau * (W @ (W.conj().T @ X))
        return np.asarray(Y, dtype=np.result_type(self.dtype, X.dtype))

    def _adjoint(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<Deflation {self.shape}: {self.report.chosen}>"


def deflated(A: Any, M: Any, W: Any, *, spent: int = 0) -> Deflation:
    """Return M corrected on the columns of W: ``M + tau W (W* A W)^-1 W*``.

    Eigenvalues of M A whose eigenvectors W spans are lifted by tau, an average eigenvalue; CG then
    converges as if they were not there.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian positive definite.
    M : LinearOperator, sparse array, ndarray or None, shape (n, n)
        Hermitian positive definite; the identity if None.
    W : ndarray, shape (n,) or (n, j)
        Approximate eigenvectors of small eigenvalues of M A, or any basis of what is hard in A.
        Zero and dependent columns are dropped.
    spent : int
        Products with A that W took, to be counted.

    Returns
    -------
    Deflation
        Hermitian positive definite ``LinearOperator``.

    Raises
    ------
    InputError
        If an argument is malformed or not finite.
    NotPositiveDefiniteError
        If ``W* A W`` or a Rayleigh quotient of M A is not positive.

    Notes
    -----
    Cost: j + 1 products with A, 1 application of M, 2 reductions; j vectors.

    References
    ----------
    .. [1] Carpentieri, Duff and Giraud, SIAM J. Sci. Comput. 25 (2003), 749-765, Proposition 2.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> from spectool.preconditioners.deflation import deflated
    >>> A = np.diag([1e-6, 1.0, 2.0])
    >>> M = deflated(A, None, np.array([1.0, 0.0, 0.0]))
    >>> float((M @ A)[1, 1]), bool((M @ A)[0, 0] > 0.1)
    (1.0, True)
    """
    begin = time.perf_counter()
    operator = as_operator(A)
    _check_shape(M, operator)
    columns = _columns(W, operator)
    Q, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    eps = float(np.finfo(operator.dtype).eps)
    Q = np.ascontiguousarray(Q[:, sizes > 1e3 * eps * max(sizes[0], 1e-300)])
    E = Q.conj().T @ operator.matmul(Q)
    lam, U = np.linalg.eigh(0.5 * (E + E.conj().T))
    if lam.size and not lam[0] > eps * lam[-1]:
        raise NotPositiveDefiniteError(
            f"W* A W must be positive definite, but has the eigenvalue {lam[0]:.6g} beside "
            f"{lam[-1]:.6g}. Deflation needs a positive definite A."
        )
    vectors = np.asarray(Q @ (U / np.sqrt(lam)), dtype=operator.dtype)
    tau = _average(operator, M)
    kept, given = vectors.shape[1], columns.shape[1]
    name = "the identity" if M is None else _name(M)
    dropped = f", {given - kept} dependent columns dropped" if kept < given else ""
    report = PreconditionerReport(
        f"{name}, {kept} vectors deflated",
        f"eigenvalues along W are lifted by {tau:.3g}{dropped}",
        (),
        operator.n_matvecs + spent,
        time.perf_counter() - begin,
    )
    dtype = np.result_type(operator.dtype, getattr(M, "dtype", None) or operator.dtype)
    return Deflation(M, vectors, tau, report, operator.n_matvecs + spent, dtype)


def _check_shape(M: Any, operator: Operator) -> None:
    if M is not None and tuple(getattr(M, "shape", ())) != operator.shape:
        raise InputError(
            f"M must be a LinearOperator or array of the shape {operator.shape} of A, or None; got "
            f"{type(M).__name__} of shape {getattr(M, 'shape', None)}."
        )


def _name(M: Any) -> str:
    report = getattr(M, "report", None)
    return report.chosen if isinstance(report, PreconditionerReport) else type(M).__name__


def _average(operator: Operator, M: Any) -> float:
    """Return ``(M v)* A (M v) / v* M v`` for a random v: where most eigenvalues of M A are."""
    v = np.random.default_rng(905816472).standard_normal(operator.n).astype(operator.dtype)
    u = v if M is None else np.asarray(M @ v)
    below = float(np.vdot(v, u).real)
    tau = float(np.vdot(u, operator.matmul(u)).real) / below if below else math.nan
    if not (below > 0 and 0 < tau < math.inf):
        raise NotPositiveDefiniteError(
            f"A and M must be positive definite, but for a random v the quotient "
            f"(M v)* A (M v) / v* M v is {tau:.6g} with v* M v = {below:.6g}."
        )
    return tau


class RitzVectors(NamedTuple):
    """What ``smallest_ritz_vectors`` returns.

    Attributes
    ----------
    vectors : ndarray, shape (n, j)
        Approximate eigenvectors of M A, A-orthonormal; j <= k.
    values : ndarray, shape (j,)
        Ascending Ritz values of M A.
    n_matvecs : int
        Products with A, those inside M included.
    """

    vectors: Array
    values: FloatArray
    n_matvecs: int


def smallest_ritz_vectors(
    A: Any, k: int, *, M: Any = None, maxiter: int | None = None, rng: Rng = None
) -> RitzVectors:
    """Return approximations to the k smallest eigenvectors of M A, good enough to deflate.

    CG solves one system with a random right-hand side, to a residual of 1e-8, and a window of its
    directions keeps the Ritz vectors (eigCG): no reorthogonalization, 6 k vectors.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian positive definite.
    k : int
        Vectors wanted.
    M : LinearOperator, sparse array or ndarray, shape (n, n), optional
        Hermitian positive definite; the vectors fit this preconditioner.
    maxiter : int, optional
        Most steps; 10 n. Fewer than CG takes give fewer good vectors.
    rng : Generator, int or None
        Draws the right-hand side.

    Returns
    -------
    RitzVectors
        Unpacks as ``vectors, values, n_matvecs``.

    Raises
    ------
    InputError
        If A or k is malformed.
    BreakdownError
        If A or M is not positive definite, or not finite.

    Notes
    -----
    Cost: that of one solve by CG, so deflation pays from the second system on.
    ``solvers.CGSequence`` gathers the same vectors while it solves the first one. Of a multiple
    eigenvalue one vector is found.

    References
    ----------
    .. [1] Stathopoulos and Orginos, SIAM J. Sci. Comput. 32 (2010), Algorithm 2.2.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> from spectool.preconditioners.deflation import smallest_ritz_vectors
    >>> A = np.diag(np.concatenate([[1e-3, 1e-2], np.linspace(1.0, 2.0, 98)]))
    >>> smallest_ritz_vectors(A, 2, rng=271828).values.round(6).tolist()
    [0.001, 0.01]
    """
    if isinstance(k, bool) or not isinstance(k, Integral) or int(k) < 1:
        raise InputError(f"k must be a positive integer; got {k!r}.")
    if maxiter is not None and not (isinstance(maxiter, Integral) and int(maxiter) > 0):
        raise InputError(f"maxiter must be a positive integer or None; got {maxiter!r}.")
    operator = as_operator(A)
    _check_shape(M, operator)
    inside = int(getattr(M, "n_matvecs", 0))
    n, backend = operator.n, operator.backend
    window = RitzWindow(int(k), RitzBasis.empty(n, operator.dtype))
    r = np.random.default_rng(rng).standard_normal(n).astype(operator.dtype)
    size = float(np.linalg.norm(r))
    target, limit = ENOUGH * size, size / float(np.finfo(operator.dtype).eps)
    x, q, none = np.zeros_like(r), np.empty_like(r), np.empty(0)
    z = r.copy() if M is None else np.array(M @ r, dtype=r.dtype)
    p = z.copy()
    rho, norm = _positive(np.vdot(r, z), "M"), math.inf
    for _ in range(10 * n if maxiter is None else int(maxiter)):
        operator.counter.add(1)
        alpha = rho / _positive(backend.product_dot(p, q), "A")
        norm = math.sqrt(backend.update_norm(x, r, p, q, alpha)[0])
        if norm > limit:  # definite A and M let it grow by sqrt(cond) at most
            raise NotPositiveDefiniteError(
                f"A and M must be positive definite, but the residual of CG has grown "
                f"{norm / size:.3g}-fold: A looks singular. Leave deflate= out, or pass vectors."
            )
        z = r if M is None else np.array(M @ r, dtype=r.dtype)
        following = float(np.vdot(r, z).real)
        window.record(p, q, alpha, rho, following, none)
        if norm <= target:
            break
        following = _positive(following, "M")
        backend.direction(p, z, following / rho)
        rho = following
    basis = window.basis()
    spent = operator.n_matvecs + int(getattr(M, "n_matvecs", 0)) - inside
    return RitzVectors(np.ascontiguousarray(basis.vectors.T), basis.values, spent)


def _positive(value: Any, name: str) -> float:
    number = float(np.real(value))
    if not math.isfinite(number):
        raise BreakdownError(f"a product with {name} is not finite; check it for NaN and overflow.")
    if number <= 0:
        raise NotPositiveDefiniteError(
            f"{name} must be positive definite, but v* {name} v is {number:.6g} for a vector v."
        )
    return number


def _columns(W: Any, operator: Operator) -> Array:
    """Return W as columns of length one in the dtype of A, or raise InputError."""
    V = np.asarray(W)
    V = V[:, None] if V.ndim == 1 else V
    if V.ndim != 2 or V.shape[0] != operator.n or V.shape[1] == 0:
        raise InputError(
            f"W must have shape ({operator.n},) or ({operator.n}, j); got {np.shape(W)}."
        )
    if V.dtype.kind not in "biufc":
        raise InputError(f"W must be numeric; got dtype {V.dtype}.")
    if not np.isfinite(V).all():
        raise InputError(f"W must be finite; {int((~np.isfinite(V)).sum())} entries are not.")
    if V.dtype.kind == "c" and operator.dtype.kind != "c":
        raise InputError("W must be real for a real A; pass real and imaginary parts as columns.")
    largest = np.abs(V).max(axis=0)
    if not largest.any():
        raise InputError("W must have a nonzero column; all of them are zero.")
    wide = V / np.where(largest > 0, largest, 1.0)  # squares stay in range
    sizes = np.linalg.norm(wide, axis=0)
    return np.asarray(wide / np.where(sizes > 0, sizes, 1.0), dtype=operator.dtype)
