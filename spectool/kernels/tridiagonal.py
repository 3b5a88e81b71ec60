"""Shifted tridiagonal systems: the last entry of the first column of the inverse."""

from __future__ import annotations

import numpy as np

from spectool._types import Array, FloatArray
from spectool.kernels.compilation import kernel


@kernel
def log_shifted_residuals(
    alpha: FloatArray, beta: FloatArray, shifts: Array, out: FloatArray
) -> None:
    """Do ``out[q] <- log |beta_k e_k* (T + shifts[q])^-1 e_1|``: the residual of shifted CG.

    ``T`` has diagonal alpha (k,) and off-diagonal ``beta[:k-1]``. By Cramer's rule the entry is the
    product of the betas over the determinant, the product of the pivots of ``T + s``.
    """
    k = alpha.size
    tiny = 1e-300
    for q in range(shifts.size):
        pivot = alpha[0] + shifts[q]
        total = np.log(beta[0]) - np.log(abs(pivot) + tiny)
        for j in range(1, k):
            if abs(pivot) < tiny:
                pivot = pivot * 0 + tiny
            pivot = alpha[j] + shifts[q] - beta[j - 1] * beta[j - 1] / pivot
            total += np.log(beta[j]) - np.log(abs(pivot) + tiny)
        out[q] = total
