"""Direct: ``f(t A) B`` by a dense eigendecomposition, for small Hermitian A.

Source
    Higham, Functions of Matrices, SIAM 2008, section 4.5 for the method, theorem 3.11 (Daleckii and
    Krein) for its error: the computed ``V diag(theta) V*`` is that of ``A - E`` with
    ``E V = A V - V diag(theta)``, which is measured and moves f by its divided differences.
Cost
    About 14 n^3 flops and 5 n^2 values of memory, once for all columns; n^2 (m + 1) per function.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from spectool._types import Array, FloatArray
from spectool.functions.task import Answer, Target, Task, column_norms
from spectool.results import Status

MAX_N = 4_000


def dense_funm(task: Task, A: Array) -> Answer:
    """Evaluate all targets for A as a Hermitian array, shape (n, n): exact to rounding.

    Raises NotPositiveDefiniteError if an eigenvalue lies where f is undefined.
    """
    # MRRR, the default, loses orthogonality where eigenvalues are tiny.
    theta, V = eigh(A, driver="evd")
    theta = np.asarray(theta, dtype=np.float64)
    C = V.conj().T @ task.B
    unit = float(np.abs(theta).max()) or 1.0
    E = V.conj().T @ ((A @ V - V * theta.astype(A.dtype)) / unit)
    Y = task.empty()
    rounding = np.zeros((len(task.targets), task.n_columns))
    for q, target in enumerate(task.targets):
        values, slope = target.function.with_slope(target.checked(theta, task.eps))
        Y[q] = V @ (values[:, None] * C)
        moved = (_divided_differences(target, theta / unit, values, unit * slope) * E) @ C
        rounding[q] = column_norms(moved) + task.eps * column_norms(Y[q])
    return Answer(
        Y, np.zeros_like(rounding), rounding, Status.CONVERGED, 0, "dense eigendecomposition"
    )


def _divided_differences(
    target: Target, theta: FloatArray, values: Array, slope: FloatArray
) -> Array:
    """Return ``(f(t x) - f(t y)) / (x - y)`` over pairs of eigenvalues, ``|t f'|`` where equal.

    All in a unit in which the largest eigenvalue is 1.
    """
    gaps = theta[:, None] - theta
    close = np.abs(gaps) <= 1e-8 * np.maximum(np.abs(theta)[:, None], np.abs(theta))
    steep = abs(target.t) * np.maximum(slope[:, None], slope)
    return np.where(close, steep, (values[:, None] - values) / np.where(close, 1.0, gaps))
