"""Direct: ``f(A) B`` by a dense eigendecomposition, for small A whose Krylov space has outgrown it.

Source
    Higham, Functions of Matrices, SIAM 2008, section 4.5.
Cost
    About 10 n^3 flops and 3 n^2 values of memory, once for all columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from spectool._types import Array, FloatArray
from spectool.errors import NotPositiveDefiniteError
from spectool.functions.scalar import ScalarFunction, outside_domain

MAX_N = 4_000


@dataclass(frozen=True, slots=True, eq=False)
class DenseAnswer:
    """Exact to rounding, whose size per column is ``rounding``."""

    y: Array
    rounding: FloatArray


def dense_funm(function: ScalarFunction, A: Array, B: Array, *, t: float) -> DenseAnswer:
    """Compute ``f(t A) B`` for a Hermitian array A, shape (n, n), and B, shape (n,) or (n, m).

    Raises NotPositiveDefiniteError if an eigenvalue lies where f is undefined.
    """
    theta, V = eigh(A)
    eps = float(np.finfo(A.dtype).eps)
    z = t * np.asarray(theta, dtype=np.float64)
    size = float(np.abs(z).max())
    complaint = outside_domain(function, z, 10 * eps * size)
    if complaint:
        raise NotPositiveDefiniteError(complaint + " Shift A, or choose another function.")
    values, slope = function.with_slope(z)
    coefficients = V.conj().T @ B
    columns = coefficients.reshape(len(z), -1)
    y = V @ (values[:, None] * columns)
    # A backward error of eps ||A|| moves every eigenvalue by as much, and f by f' times that.
    rounding = eps * (
        size * np.linalg.norm(slope[:, None] * columns, axis=0) + np.linalg.norm(y, axis=0)
    )
    return DenseAnswer(y.reshape(B.shape), rounding)
