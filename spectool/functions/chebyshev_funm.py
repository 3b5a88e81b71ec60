"""Chebyshev: ``f(A) B ~ p(A) B`` with p the interpolant of f on the safe interval.

Source
    Druskin and Knizhnerman, Two polynomial methods of calculating functions of symmetric matrices,
    USSR CMMP 29 (1989); Trefethen, Approximation Theory and Approximation Practice, Theorem 8.2.
Cost
    ``degree`` matvecs per column, no reductions, 3 blocks of vectors; blocks share one pass over A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.functions.scalar import ScalarFunction
from spectool.operators import Operator
from spectool.polynomials import Recurrence, chebyshev_interpolant


@dataclass(frozen=True, slots=True, eq=False)
class ChebyshevAnswer:
    """Approximation, bounds of its truncation and rounding errors (absolute, per column)."""

    y: Array
    error: FloatArray
    rounding: FloatArray
    recurrence: Recurrence


def column_norms(B: Array) -> FloatArray:
    """Return the 2-norms of the columns of (n,) or (n, m), shape (1,) or (m,); never overflows."""
    columns = np.abs(B.reshape(len(B), -1))
    largest = columns.max(axis=0, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    return np.asarray(largest * np.linalg.norm(columns / unit, axis=0), dtype=np.float64)


def chebyshev_funm(
    function: ScalarFunction,
    operator: Operator,
    B: Array,
    *,
    rtol: float,
    t: float,
    interval: Interval,
    max_degree: int,
) -> ChebyshevAnswer:
    """Approximate ``f(t A) B`` for B of shape (n,) or (n, m).

    The degree follows from rtol relative to ``||f(A) b||``, which is known only afterwards: where
    the first answer turns out small against ``max |f|``, the degree is raised once more.
    """
    norms = column_norms(B)
    eps = float(np.finfo(operator.dtype).eps)

    def f(z: FloatArray) -> FloatArray:
        return function(t * z)

    tolerance = 0.1 * rtol
    while True:
        recurrence, tail = chebyshev_interpolant(
            f, interval, rtol=tolerance, max_degree=max_degree, name=f"Chebyshev {function.name}"
        )
        # Counted and laid out once: a second round finds it so.
        operator = operator.prepared(recurrence.degree * norms.size)
        y = operator.apply(recurrence, B)
        sizes = column_norms(y)
        largest = float(np.abs(recurrence.chebyshev_coefficients()).sum())
        rounding = 2 * eps * largest * norms
        error = tail * norms
        wanted = rtol * sizes
        unmet = (error > wanted) & (rounding <= wanted)
        if not unmet.any() or recurrence.degree >= max_degree or tolerance < eps:
            return ChebyshevAnswer(y, error, rounding, recurrence)
        tolerance *= max(0.1 * float((wanted[unmet] / error[unmet]).min()), 1e-12)
