"""The GMRES polynomial of a general matrix: probed, and tested before it is used.

Source
    Loe and Morgan, Toward efficient polynomial preconditioning for GMRES, Numer. Linear Algebra
    Appl. 29 (2022); Joubert, SIAM J. Sci. Comput. 15 (1994), for random start vectors.
Deviations
    (1) The degree follows from the probe's own residuals; (2) a polynomial must pass two tests: its
    product form on the Hessenberg matrix, and a fresh vector.
Cost
    One matvec per probe step, 64 at most, and ``degree + 1`` per test; 3 reductions per step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from spectool._types import Array, FloatArray, Rng
from spectool.backends.generic import GenericBackend
from spectool.errors import BreakdownError, InputError
from spectool.krylov.arnoldi import (
    ArnoldiProcess,
    arnoldi,
    field_of_values_box,
    gmres_residuals,
    harmonic_ritz_values,
)
from spectool.operators import Operator
from spectool.polynomials import Recurrence
from spectool.polynomials.roots import added_roots, inverse_from_roots

MOST_STEPS = 64
"""Most probe steps, hence roots, of a chosen degree."""
FEWEST_STEPS = 4
TARGET = 1e-8
GROWTH = 100.0
"""What a fresh vector's residual may grow by before the polynomial is refused: nonnormal A let it
grow tenfold where GMRES then converged (measured), a product form in trouble by far more."""
MOST_TESTS = 3
"""Most polynomials that a fresh vector tests."""
IDLE = 0.95
"""Probe residual above which no polynomial of this degree does anything."""


class Design(NamedTuple):
    """A polynomial or None, the steps GMRES is predicted to need without it, and why.

    ``left`` is what the polynomial leaves of a fresh residual.
    """

    polynomial: Recurrence | None
    steps: float
    reason: str
    left: float = math.inf


def predicted_steps(norms: FloatArray) -> float:
    """Extrapolate GMRES's steps to TARGET from the second half of its residual norms."""
    m = norms.size
    first, last = float(norms[(m + 1) // 2 - 1]), float(norms[-1])
    if last <= TARGET:
        return float(np.argmax(norms <= TARGET) + 1)
    if last >= first:
        return math.inf
    return m + math.log(last / TARGET) * (m - (m + 1) // 2) / math.log(first / last)


def _enough(process: ArnoldiProcess) -> bool:
    if process.steps < FEWEST_STEPS:
        return False
    return 3.0 * process.steps**3 >= predicted_steps(gmres_residuals(process.hessenberg)) ** 2


def design(B: Operator, degree: int | None, rng: Rng) -> Design:
    """Probe B; return the GMRES polynomial with the most roots that passes the tests."""
    start, fresh = np.random.default_rng(rng).standard_normal((2, B.n)).astype(B.dtype)
    if degree is None:
        process = arnoldi(B, start, MOST_STEPS, enough=_enough)
    else:
        process = arnoldi(B, start, degree + 1)
    H = process.hessenberg
    norms = gmres_residuals(H)
    steps = predicted_steps(norms)
    if degree is None and norms[-1] > IDLE:
        why = f"{norms.size} probe steps left {norms[-1]:.2g} of a random residual"
        return Design(None, steps, why)
    d, tested = norms.size, 0
    while d >= 1 and tested < MOST_TESTS:
        q = _polynomial(H[: d + 1, :d], float(norms[d - 1]), B.dtype)
        if q is not None and q.degree <= (1.5 * d if degree is None else degree):
            tested += 1
            left = residual_left(B, q, fresh)
            if left <= GROWTH:
                return Design(
                    q,
                    steps,
                    f"{norms.size} probe steps predict {steps:.0f} of GMRES to {TARGET:.0e}; "
                    f"{d} roots leave {left:.1e} of a fresh residual",
                    left,
                )
        d = d - 1 if degree is not None or d <= 4 else 3 * d // 4
    why = f"no polynomial with at most {norms.size} roots is stable"
    return Design(None, steps, why)


def residual_left(B: Operator, q: Recurrence, v: Array) -> float:
    """Return ``||v - B q(B) v|| / ||v||``; costs ``degree + 1`` matvecs."""
    residual = v - B.matmul(B.apply(q, v, order="forward"))
    return float(np.linalg.norm(residual) / np.linalg.norm(v))


def _polynomial(H: Array, norm: float, dtype: np.dtype[Any]) -> Recurrence | None:
    """Return q, or None if its product form does not reproduce GMRES's residual on H."""
    d = H.shape[1]
    lower, upper, _, _ = field_of_values_box(H)
    if upper <= lower:
        upper = lower + max(abs(lower), 1.0)
    try:
        roots = harmonic_ritz_values(H)
        if roots.size == 0:
            return None
        roots = added_roots(roots, digits=14.0 if dtype.itemsize == 8 else 5.0)
        q = inverse_from_roots(roots, (lower, upper), name="GMRES polynomial")
    except (BreakdownError, InputError):  # singular H; roots beyond the range of double
        return None
    square = np.zeros((d + 1, d + 1))
    square[:, :d] = H
    first = np.eye(d + 1)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        found = first - square @ GenericBackend(square).apply(q, first, order="forward")
    # What rounding adds must stay in the order of what GMRES attains.
    return q if np.linalg.norm(found) <= max(10.0 * norm, TARGET) else None
