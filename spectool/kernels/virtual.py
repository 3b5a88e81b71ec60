"""Preconditioned CG and MINRES on a virtual (diagonal) operator: iteration counts only."""

from __future__ import annotations

import numpy as np

from spectool._types import FloatArray
from spectool.kernels.compilation import kernel


@kernel
def pcg_iterations(
    eigenvalues: FloatArray,
    preconditioner: FloatArray,
    residual: FloatArray,
    direction: FloatArray,
    rtol: float,
    maxiter: int,
) -> int:
    """Return CG's iteration count on diag(eigenvalues), M = diag(preconditioner).

    ``residual`` holds the right-hand side and is overwritten; ``direction`` is work space. Returns
    maxiter if the tolerance is not met, or if curvature is not positive.
    """
    m = eigenvalues.size
    norm = 0.0
    rho = 0.0
    for i in range(m):
        direction[i] = preconditioner[i] * residual[i]
        rho += direction[i] * residual[i]
        norm += residual[i] * residual[i]
    target = rtol * rtol * norm
    for k in range(maxiter):
        if norm <= target:
            return k
        curvature = 0.0
        for i in range(m):
            curvature += eigenvalues[i] * direction[i] * direction[i]
        if not (curvature > 0.0 and rho > 0.0):
            return maxiter
        step = rho / curvature
        norm = 0.0
        following = 0.0
        for i in range(m):
            residual[i] -= step * eigenvalues[i] * direction[i]
            norm += residual[i] * residual[i]
            following += preconditioner[i] * residual[i] * residual[i]
        ratio = following / rho
        rho = following
        for i in range(m):
            direction[i] = preconditioner[i] * residual[i] + ratio * direction[i]
    return maxiter


@kernel
def minres_iterations(
    eigenvalues: FloatArray,
    start: FloatArray,
    previous: FloatArray,
    rtol: float,
    maxiter: int,
) -> int:
    """Return MINRES's iteration count on diag(eigenvalues), those of M A.

    ``start`` holds the right-hand side and is overwritten; ``previous`` is zero. Returns maxiter if
    the tolerance is not met. Paige and Saunders, SINUM 12 (1975), the residual norm alone.
    """
    m = eigenvalues.size
    norm = 0.0
    for i in range(m):
        norm += start[i] * start[i]
    if norm == 0.0:
        return 0
    for i in range(m):
        start[i] /= np.sqrt(norm)
    beta, residual, c, s, bar = 0.0, 1.0, -1.0, 0.0, 0.0
    for k in range(maxiter):
        alpha = 0.0
        for i in range(m):
            alpha += eigenvalues[i] * start[i] * start[i]
        norm = 0.0
        for i in range(m):
            following = (eigenvalues[i] - alpha) * start[i] - beta * previous[i]
            previous[i] = start[i]
            start[i] = following
            norm += following * following
        beta = np.sqrt(norm)
        left = s * bar - c * alpha
        bar = -c * beta
        length = np.sqrt(left * left + beta * beta)
        if length == 0.0:
            return maxiter
        c, s = left / length, beta / length
        residual *= s
        if residual <= rtol:
            return k + 1
        for i in range(m):
            start[i] /= beta
    return maxiter
