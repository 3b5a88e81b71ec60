"""Preconditioned conjugate gradients on a virtual (diagonal) operator: iteration counts only."""

from __future__ import annotations

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
