"""The Arnoldi process: a Hessenberg matrix and an orthonormal basis. Solves no problem.

Source
    Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., Algorithm 6.1; Paige, Parlett and
    van der Vorst, Numer. Linear Algebra Appl. 2 (1995), for harmonic Ritz values.
Deviations
    Classical Gram-Schmidt, done twice: as orthogonal as Householder's, and one block product per
    pass instead of a chain of inner products.
Cost per step
    1 matvec and 3 reductions (two block projections, one norm); ``4 k n`` values of traffic at
    step k; the basis is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import norm as scaled_norm
from scipy.linalg import solve_triangular

from spectool._types import Array, FloatArray
from spectool.errors import BreakdownError, InputError
from spectool.operators import Operator


class ArnoldiProcess:
    """Expandable Arnoldi factorization ``A V_k = V_{k+1} H_k``.

    Parameters
    ----------
    operator : Operator
        Any square operator.
    start : ndarray, shape (n,)
        Nonzero; normalized here, its norm kept in ``norm``.
    capacity : int
        Steps to reserve room for; the basis grows by chunks of as many beyond it.

    Attributes
    ----------
    steps : int
        Steps made so far.
    invariant : bool
        Whether the Krylov space is exhausted: H's eigenvalues are eigenvalues of A.
    """

    def __init__(self, operator: Operator, start: Array, capacity: int) -> None:
        start = np.asarray(start)
        if start.shape != (operator.n,):
            raise InputError(f"start must have shape ({operator.n},); got {start.shape}.")
        if operator.dtype.kind != "c" and start.dtype.kind == "c":
            raise InputError("start must be real for a real operator; split it in two.")
        self.norm = _norm(start)
        if not (np.isfinite(self.norm) and self.norm > 0):
            raise InputError(f"start must be finite and nonzero; its norm is {self.norm}.")
        if capacity < 1:
            raise InputError(f"steps must be at least 1; got {capacity}.")
        capacity = min(capacity, operator.n)
        wide = np.complex128 if operator.dtype.kind == "c" else np.float64
        self.operator = operator
        self.steps = 0
        self.invariant = False
        self._chunks = [np.empty((capacity + 1, operator.n), dtype=operator.dtype)]
        self._chunks[0][0] = start / self.norm
        self._hessenberg = np.zeros((capacity + 1, capacity), dtype=wide)

    @property
    def basis(self) -> Array:
        """Basis vectors as rows, shape (steps + 1, n), one less if invariant.

        A view as long as ``capacity`` suffices, a copy beyond.
        """
        parts = self._parts(self.steps + (not self.invariant))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def n_bytes(self) -> int:
        """Bytes of the basis, the room reserved for the next vectors left out."""
        return (self.steps + 1) * int(self._chunks[0][0].nbytes)

    @property
    def hessenberg(self) -> Array:
        """H, shape (steps + 1, steps), float64 or complex128; its last row is 0 if invariant."""
        return self._hessenberg[: self.steps + 1, : self.steps].copy()

    def combine(self, coefficients: Array) -> Array:
        """Return ``V C``, shape (n, m), for the C, shape (k, m), of the first k basis vectors."""
        first, total = 0, np.zeros((self.operator.n, coefficients.shape[1]), coefficients.dtype)
        for part in self._parts(len(coefficients)):
            total += part.T @ coefficients[first : first + len(part)]
            first += len(part)
        return total

    def _parts(self, rows: int) -> list[Array]:
        """Return the first ``rows`` basis vectors, chunk by chunk."""
        room = len(self._chunks[0])
        return [chunk[: rows - room * i] for i, chunk in enumerate(self._chunks) if rows > room * i]

    def _widen(self) -> None:
        steps = self._hessenberg.shape[1]
        wider = np.zeros((2 * steps + 1, 2 * steps), dtype=self._hessenberg.dtype)
        wider[: steps + 1, :steps] = self._hessenberg
        self._hessenberg = wider

    def step(self) -> None:
        """Expand by one vector. Raises BreakdownError on NaN or overflow."""
        k, room = self.steps, len(self._chunks[0])
        w = np.array(self.operator.matmul(self._chunks[k // room][k % room]))
        size = _norm(w)
        if not np.isfinite(size):
            raise BreakdownError(
                f"A @ v is not finite or overflows (its norm is {size}). Check the operator for "
                "NaN, and rescale A if its entries are beyond 1e300."
            )
        if k + 1 > self._hessenberg.shape[1]:
            self._widen()
        basis = self._parts(k + 1)
        for _ in range(2):
            first = 0
            projections = [part.conj() @ w for part in basis]
            for part, h in zip(basis, projections, strict=True):
                w -= h @ part
                self._hessenberg[first : first + len(h), k] += h
                first += len(h)
        norm = _norm(w)
        self.steps = k + 1
        eps = float(np.finfo(w.dtype).eps)
        self.invariant = self.steps >= self.operator.n or norm <= 100 * eps * size
        if not self.invariant:
            self._hessenberg[k + 1, k] = norm
            if k + 1 == room * len(self._chunks):
                self._chunks.append(np.empty_like(self._chunks[0]))
            self._chunks[(k + 1) // room][(k + 1) % room] = w / norm


def arnoldi(
    operator: Operator,
    start: Array,
    steps: int,
    *,
    enough: Callable[[ArnoldiProcess], bool] | None = None,
) -> ArnoldiProcess:
    """Run at most ``steps`` Arnoldi steps, reorthogonalized.

    Stops early once the Krylov space is invariant, or ``enough(process)`` says so.

    Parameters
    ----------
    operator : Operator
        Any square operator, order n.
    start : ndarray, shape (n,)
        Nonzero.
    steps : int
        At least 1.
    enough : callable, optional
        Called after each step.

    Returns
    -------
    ArnoldiProcess
        With ``basis`` and ``hessenberg``.

    Raises
    ------
    InputError
        If start is zero, not finite or of the wrong shape, or steps < 1.
    BreakdownError
        If a product is not finite.

    Notes
    -----
    Cost: ``steps`` matvecs, 3 reductions each, ``steps + 1`` vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool.operators import as_operator
    >>> A = as_operator(np.diag([1.0, 2.0, 3.0]), need_hermitian=False)
    >>> process = arnoldi(A, np.ones(3), 2)
    >>> process.hessenberg.shape, bool(abs(process.hessenberg[0, 0] - 2.0) < 1e-14)
    ((3, 2), True)
    """
    process = ArnoldiProcess(operator, start, steps)
    for _ in range(min(steps, operator.n)):
        process.step()
        if process.invariant or (enough is not None and enough(process)):
            break
    return process


def ritz_values(H: Array) -> Array:
    """Return the eigenvalues of the square part of H, shape (m,), complex.

    Parameters
    ----------
    H : ndarray, shape (m + 1, m)
        From ``ArnoldiProcess.hessenberg``.
    """
    return np.linalg.eigvals(_checked(H)[:-1]).astype(np.complex128)


def harmonic_ritz_values(H: Array) -> Array:
    """Return the roots of the GMRES residual polynomial of degree m.

    With ``H = Q R`` and Q's square part ``Q1``, their reciprocals are the eigenvalues of
    ``Q1* R^-1``: no inverse of the square part of H, which may be singular.

    Parameters
    ----------
    H : ndarray, shape (m + 1, m)
        From ``ArnoldiProcess.hessenberg``.

    Returns
    -------
    ndarray, shape (k,), k <= m
        Complex, conjugate pairs for real H. Roots at infinity, which lower the degree, are left
        out; k = 0 where GMRES stagnates in all steps.

    Raises
    ------
    InputError
        If H is not of shape (m + 1, m) or not finite.
    BreakdownError
        If H has not full rank: A is singular on the Krylov space.

    References
    ----------
    .. [1] Goossens and Roose, Ritz and harmonic Ritz values and the convergence of FOM and GMRES,
       Numer. Linear Algebra Appl. 6 (1999).

    Examples
    --------
    >>> import numpy as np
    >>> harmonic_ritz_values(np.array([[1.0], [1.0]]))
    array([2.+0.j])
    """
    H = _checked(H)
    Q, R = np.linalg.qr(H)
    pivots = np.abs(np.diagonal(R))
    if pivots.min() <= np.finfo(np.float64).eps * np.abs(H).max():
        raise BreakdownError(
            f"H of {pivots.size} steps has not full rank: A is singular on the Krylov space. "
            "Use fewer steps."
        )
    # Q1* R^-1 = (R^-* Q1)*
    reciprocal = np.linalg.eigvals(solve_triangular(R, Q[:-1], trans="C").conj().T)
    finite = np.abs(reciprocal) > 1e-14 * np.abs(reciprocal).max()
    return 1.0 / reciprocal[finite].astype(np.complex128)


def gmres_residuals(H: Array) -> FloatArray:
    """Return GMRES's relative residual norms after 1 .. m steps, shape (m,); never ascending."""
    R = _checked(H).astype(np.complex128)
    norms, norm = np.empty(R.shape[1]), 1.0
    for k in range(R.shape[1]):
        diagonal, below = R[k, k], R[k + 1, k]
        length = float(np.hypot(abs(diagonal), abs(below)))
        if length > 0:
            c, s = diagonal / length, below / length
            rotation = np.array([[c.conjugate(), s.conjugate()], [-s, c]])
            R[k : k + 2, k:] = rotation @ R[k : k + 2, k:]
            norm *= float(abs(s))
        norms[k] = norm
    return norms


def field_of_values_box(H: Array) -> tuple[float, float, float, float]:
    """Return ``(re_lower, re_upper, im_lower, im_upper)`` around the field of values of H.

    Parameters
    ----------
    H : ndarray, shape (m + 1, m)
        From ``ArnoldiProcess.hessenberg``.

    Notes
    -----
    The box holds the numerical range of H, which lies inside that of A: an inner estimate, never
    a bound for A. Its ends are eigenvalues of ``(H + H*) / 2`` and ``(H - H*) / 2i``.
    """
    square = _checked(H)[:-1]
    real = np.linalg.eigvalsh(0.5 * (square + square.conj().T))
    imaginary = np.linalg.eigvalsh(-0.5j * (square - square.conj().T))
    return float(real[0]), float(real[-1]), float(imaginary[0]), float(imaginary[-1])


def _norm(w: Array) -> float:
    """Return the 2-norm; its squares neither overflow nor underflow."""
    return float(scaled_norm(w, check_finite=False))


def _checked(H: Array) -> Array:
    H = np.asarray(H)
    if H.ndim != 2 or H.shape[0] != H.shape[1] + 1 or H.shape[1] == 0:
        raise InputError(f"H must have shape (m + 1, m) with m >= 1; got {H.shape}.")
    if not np.isfinite(H).all():
        raise InputError("H must be finite; it holds NaN or Inf.")
    return H
