"""Chebyshev: ``f(t A) B ~ p(A) B`` with p the interpolant of f on an interval of the spectrum.

Source
    Druskin and Knizhnerman, Two polynomial methods of calculating functions of symmetric matrices,
    USSR CMMP 29 (1989); Trefethen, Approximation Theory and Approximation Practice, Theorem 8.2.
Cost
    ``degree`` matvecs per column, no reductions, 3 blocks of vectors; blocks share one pass over A.
    More than two real functions share the basis ``T_k(A) B`` of the one with the highest degree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.functions.estimates.hermitian import arcsine_points
from spectool.functions.task import Answer, FunctionState, Target, Task, column_norms
from spectool.operators import Operator
from spectool.polynomials import Recurrence, chebyshev_interpolant, chebyshev_series
from spectool.results import Status

SEPARATE = 2
"""Real polynomials that run one by one, in the fused kernels, rather than from one basis."""
FLOAT64 = float(np.finfo(np.float64).eps)
PLATEAU = 16.0
"""Height of the plateau of coefficients over what one rounding of the arguments makes."""
TIGHTNESS = 0.1
"""Part of rtol that the coefficients of the first interpolant meet."""
CHUNK = 8
"""Basis blocks that are combined at once."""


class Part(NamedTuple):
    """One real polynomial: its factor (1 or i) in target number ``row``, and its errors.

    ``tail`` is what it neglects, ``rounding`` what rounding moves it by, in units of roundoff.
    """

    row: int
    factor: complex
    recurrence: Recurrence
    tail: float
    rounding: float


def interpolants(
    targets: Sequence[Target], interval: Interval, tolerances: FloatArray, max_degree: int
) -> list[Part]:
    """Interpolate real and imaginary parts to ``tolerances`` of their largest values.

    Raises InputError if a target is not finite on the interval.
    """
    parts = []
    for q, target in enumerate(targets):
        turned = target(np.array(interval)).dtype.kind == "c"
        floor = _plateau(target, interval) if turned else 0.0
        for take, factor in ((np.real, 1.0), (np.imag, 1.0j))[: 2 if turned else 1]:

            def values(z: FloatArray, f: Target = target, take: Any = take) -> FloatArray:
                return np.asarray(take(f(z)), dtype=np.float64)

            recurrence, tail = chebyshev_interpolant(
                values,
                interval,
                rtol=max(float(tolerances[q]), floor),
                name=f"Chebyshev {target.function.name}",
            )
            if recurrence.degree > max_degree:  # so that the tail is known all the same
                tail += float(np.abs(recurrence.w[max_degree + 1 :]).sum())
                recurrence = chebyshev_series(
                    recurrence.w[: max_degree + 1], interval, name=recurrence.name
                )
            size = float(np.abs(recurrence.w).sum())  # a series of the first kind
            parts.append(Part(q, factor, recurrence, tail, 2 * size))
    return parts


def _plateau(target: Target, interval: Interval) -> float:
    """Return the relative height that coefficients of an oscillating f do not fall below.

    Rounding of its argument moves f by ``|z f'(z)|`` times roundoff.
    """
    z = target.t * arcsine_points(*interval)
    values, slope = target.function.with_slope(z)
    steep, largest = float((np.abs(z) * slope).max()), float(np.abs(values).max())
    return PLATEAU * FLOAT64 * steep / largest if largest > 0 else 0.0


def chebyshev_funm(
    task: Task,
    interval: Interval,
    *,
    tightness: float = TIGHTNESS,
    parts: Sequence[Part] = (),
) -> Answer:
    """Approximate all targets for all columns; ``interval`` must hold the spectrum of A.

    The degree follows from rtol relative to ``||f(A) b||``, which is known only afterwards: where
    the first answer turns out small against ``max |f|``, the degree is raised once more.
    ``tightness`` is the part of rtol that coefficients have to meet first; ``parts`` are such
    interpolants, if there are any yet.
    """
    norms, shape = column_norms(task.B), (len(task.targets), task.n_columns)
    Y, tolerances = task.empty(), np.full(shape[0], tightness * task.rtol)
    error, rounding = np.full(shape, np.inf), np.zeros(shape)
    degree, status, operator = 0, Status.CONVERGED, task.operator
    while True:
        try:
            if not parts or max(part.recurrence.degree for part in parts) > _most(task):
                parts = interpolants(task.targets, interval, tolerances, _most(task))
            highest = max(part.recurrence.degree for part in parts)
            # Counted and laid out once: a second round finds it so.
            operator = operator.prepared(highest * task.n_columns)
            Y = _executed(operator, parts, task.B, Y)
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
            break
        degree = max(degree, highest)
        error[:], rounding[:] = 0.0, 0.0
        for part in parts:
            error[part.row] += part.tail * norms
            rounding[part.row] += task.eps * part.rounding * norms
        wanted = task.rtol * np.array([column_norms(y) for y in Y])
        unmet = (error > wanted) & (rounding <= wanted)
        if not unmet.any():
            break
        worst = float((error[unmet] / np.maximum(wanted[unmet], 1e-300)).max())
        if highest >= _most(task) or (tolerances[unmet.any(axis=1)] < task.eps).all():
            status = Status.MAXITER if highest >= _most(task) else status
            break
        if task.limits.stop(FunctionState(degree, task.rtol * worst, operator.n_matvecs)):
            status = Status.STOPPED
            break
        if task.limits.spent(0, operator.n_matvecs) is not None:
            status = Status.TIMED_OUT
            break
        parts = ()
        for q in np.flatnonzero(unmet.any(axis=1)):
            ratio = (wanted[q] / error[q])[unmet[q]].min()
            tolerances[q] *= max(0.1 * float(ratio), 1e-12)
    tightness = float(tolerances.min()) / task.rtol
    return Answer(Y, error, rounding, status, 0, f"chebyshev, degree {degree}", tightness)


def _most(task: Task) -> int:
    """Return the degree that the limits leave, at least 1."""
    parts = len(task.targets) * (2 if task.kind.kind == "c" else 1)
    runs = task.n_columns * min(parts, SEPARATE)
    left = (task.limits.max_matvecs - task.operator.n_matvecs) / runs
    return int(min(task.limits.maxiter, max(left, 1.0)))


def _executed(operator: Operator, parts: Sequence[Part], B: Array, Y: Array) -> Array:
    """Return ``Y[q] = sum of factor p(A) B`` over the parts of each target."""
    Y = np.zeros_like(Y)
    if len(parts) <= SEPARATE:
        for part in parts:
            Y[part.row] += part.factor * operator.apply(part.recurrence, B, order="clenshaw")
        return Y
    return _from_one_basis(operator, parts, B, Y)


def _from_one_basis(operator: Operator, parts: Sequence[Part], B: Array, Y: Array) -> Array:
    """Add ``T_k(A) B`` into all targets, a few at once."""
    longest = max(parts, key=lambda part: part.recurrence.degree).recurrence
    d = longest.degree
    weights = np.zeros((len(Y), d + 1), dtype=np.result_type(Y.dtype, np.float64))
    for part in parts:
        weights[part.row, : part.recurrence.degree + 1] += part.factor * part.recurrence.w
    flat = Y.reshape(len(Y), -1)
    basis = np.empty((min(CHUNK, d + 1), B.size), dtype=operator.dtype)
    earlier, v = np.zeros_like(B), B
    zero, unit = np.zeros(1), np.array([0.0, 1.0])
    for k in range(d + 1):
        basis[k % CHUNK] = v.ravel()
        if k % CHUNK == CHUNK - 1 or k == d:
            first = k - k % CHUNK
            w, rows = weights[:, first : k + 1], basis[: k - first + 1]
            if rows.dtype.kind == "c" or w.dtype.kind != "c":
                flat += (w @ rows).astype(flat.dtype, copy=False)
            else:  # no complex copy of a real basis
                flat.real += w.real @ rows
                flat.imag += w.imag @ rows
        if k < d:
            step = Recurrence(
                longest.a[k : k + 1], longest.b[k : k + 1], zero, unit, longest.interval
            )
            following = operator.apply(step, v) + longest.c[k] * earlier
            earlier, v = v, following
    return Y
