r"""The derivative of ``g^* f(t A) b`` with respect to Hermitian A, from two Lanczos processes.

Source
    Kandolf, Koskela, Relton and Schweitzer, Computing low-rank approximations of the Frechet
    derivative of a matrix function using Krylov subspace methods, Numer. Linear Algebra Appl. 28
    (2021), Algorithm 1: with Krylov bases V of b and W of g, in their Ritz vectors,
    ``L_f(A, g b^*) ~ W (F o (W^* g)(b^* V)) V^*`` with the divided differences
    ``F_ij = f[theta_i, tau_j]`` of the two sets of Ritz values.
Deviations
    The stopping test is two small changes of the small matrix in a row: it is the derivative in
    orthonormal bases, so that its changes are those of the derivative.
Cost
    O(k^3) per check for k steps; no products with A.
"""

from __future__ import annotations

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import InputError
from spectool.functions.derivatives.divided_differences import derivative, divided_differences
from spectool.functions.estimates.hermitian import Jacobi
from spectool.functions.scalar import safe_norm
from spectool.functions.task import Target

STEP = 1e-5
"""Relative step of the difference quotient that tells f''."""


class FrechetPair:
    """A column b and its gradient g: ``L_f(A, g b^*)`` in their bases V, W, and how exact it is.

    Parameters
    ----------
    target : Target
        f and t.
    rtol : float
        Wanted relative change of the small matrix in two checks in a row.
    eps : float
        Relative rounding of the Ritz values, twice the unit roundoff of their process.
    norms : ndarray, shape (2,)
        Norms of b and g.

    Attributes
    ----------
    C : ndarray, shape (k, l)
        ``L_f ~ W^T C conj(V)``, for bases as rows; its norm is that of the derivative.
    adjoint : ndarray, shape (k,)
        ``f(t A)^* g ~ W^T adjoint``.
    in_t : ndarray, shape (l,)
        ``A f'(t A) b ~ V^T in_t``.
    error : float
        The last relative change, of C or adjoint; 0 once both spaces are exhausted.
    rounding : float
        What rounding adds to it.
    """

    def __init__(self, target: Target, rtol: float, eps: float, norms: FloatArray) -> None:
        self.target, self.rtol, self.eps = target, rtol, eps
        self.b_norm, self.g_norm = (float(norm) for norm in norms)
        self.idle = self.g_norm == 0
        self.met = self.idle
        self.error = 0.0 if self.idle else np.inf
        self.rounding = 0.0
        self.C: Array = np.zeros((1, 1))
        self.adjoint: Array = np.zeros(1)
        self.in_t: Array = np.zeros(1)

    def look(self, of_b: Jacobi | None, of_g: Jacobi | None) -> None:
        """Evaluate the small matrices of this many steps, and how much they changed."""
        if self.met or of_g is None:
            return
        earlier, adjoint = self.C, self.adjoint
        theta, S = of_g.eigen
        x = self.target.checked(theta, self.eps)
        values, slope = self.target.function.with_slope(x)
        self.adjoint = self.g_norm * (S @ (values.conj() * S[0]))
        self.rounding = relative_rounding(values, slope, x, S[0], self.eps)
        exhausted = of_g.beta[-1] == 0
        if of_b is None:  # b is zero
            self.C, self.in_t = np.zeros((x.size, 1)), np.zeros(1)
        else:
            tau, U = of_b.eigen
            y = self.target.checked(tau, self.eps)
            F = self.target.t * divided_differences(self.target.function, x, y)
            slope = derivative(self.target.function, y)
            if not (np.isfinite(F).all() and np.isfinite(slope).all()):
                raise InputError(
                    f"the gradient is infinite: {self.target} is not differentiable at an "
                    "eigenvalue of A. Shift A by a small multiple of the identity."
                )
            weighted = F.conj() * np.outer(S[0], U[0])
            self._check_rounding(weighted, x, y)
            self.C = self.g_norm * self.b_norm * (S @ weighted @ U.T)
            self.in_t = self.b_norm * (U @ (tau * slope * U[0]))
            for z, weights in ((x, S[0]), (y, U[0])):
                self.rounding = max(self.rounding, self._rounding_of_slope(z, weights))
            exhausted = exhausted and of_b.beta[-1] == 0
        self._judge(earlier, adjoint, exhausted=exhausted)

    def _rounding_of_slope(self, z: Array, weights: FloatArray) -> float:
        slope, near = (derivative(self.target.function, w) for w in (z, z * (1 + STEP)))
        with np.errstate(all="ignore"):
            second = np.abs(near - slope) / (STEP * np.abs(z))
        second = np.where(np.isfinite(second), second, 0.0)
        return relative_rounding(slope, second, z, weights, self.eps)

    def _check_rounding(self, weighted: Array, x: Array, y: Array) -> None:
        """Raise InputError where a root's infinite slope at zero makes most of the derivative."""
        if self.target.function.domain != "nonnegative":
            return
        tiny = 50 * self.eps * max(x.max(), y.max())
        lost = weighted[np.ix_(x <= tiny, y <= tiny)]
        if np.linalg.norm(lost) > 1e-3 * np.linalg.norm(weighted):
            raise InputError(
                f"the gradient is infinite: {self.target} is not differentiable at the eigenvalue "
                "zero of A. Shift A by a small multiple of the identity."
            )

    def _judge(self, earlier: Array, adjoint: Array, *, exhausted: bool) -> None:
        change = max(relative_change(self.C, earlier), relative_change(self.adjoint, adjoint))
        # Two in a row: one small change may be chance.
        self.met = exhausted or max(change, 0.1 * self.error) <= self.rtol
        self.error = 0.0 if exhausted else change

    def factors(self) -> tuple[Array, Array]:
        """Return P (r, k), Q (r, l) with ``C = P^T conj(Q)`` and the least r that rtol allows."""
        left, sigma, right = np.linalg.svd(self.C, full_matrices=False)
        rank = max(int((sigma > 0.01 * self.rtol * sigma[0]).sum()), 1)
        return (left * sigma)[:, :rank].T, right[:rank].conj()


def relative_rounding(
    values: Array, slope: FloatArray, z: Array, weights: FloatArray, eps: float
) -> float:
    """Return how far a change eps of A, in norm, and k roundings move ``f(T) e_1``, relatively.

    ``values`` and ``slope`` are f and ``|f'|`` at the Ritz values z, whose eigenvectors' first
    entries are ``weights``; all of shape (k,).
    """
    size = safe_norm(np.abs(values * weights))
    moved = float(np.abs(z).max()) * safe_norm(np.abs(slope * weights))
    return eps * (moved / size + float(len(z)) ** 0.5) if size > 0 else 0.0


def relative_change(new: Array, old: Array) -> float:
    """Return ``||new - old|| / ||new||``, old padded by zeros."""
    difference = np.array(new)
    difference[tuple(slice(length) for length in old.shape)] -= old
    size = safe_norm(np.abs(new).ravel())
    return safe_norm(np.abs(difference).ravel()) / size if size > 0 else 0.0
