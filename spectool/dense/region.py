"""Where iterations lead to the principal function: what a residual alone cannot tell.

``S^2 = I`` has many solutions. A method states its region, and a matrix that is not Hermitian is
looked at before. For a Hermitian one, the steps taken are replayed on an eigenvalue that is zero to
working precision: if they take it to the limit too, nothing says which sign it had.

Source
    Kenney and Laub, SIAM J. Matrix Anal. Appl. 12 (1991) (Pade iterations for the sign: half-planes
    and discs); Higham, Functions of Matrices, SIAM 2008, theorem 5.8; Iannazzo, SIAM J. Matrix
    Anal. Appl. 28 (2006) (roots: the right half of the unit disc).
Cost
    One computation of eigenvalues, but for methods that need none; a replay costs nothing; a
    Cholesky factorization of roots of Hermitian matrices.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from spectool._types import Array, FloatArray
from spectool.dense.accuracy import widened
from spectool.dense.algebra import MatrixAlgebra, SpectrumAlgebra, Tensor
from spectool.dense.door import to_host
from spectool.dense.lapack import ROUNDING, OutsideDomainError, eigenvalue_outside, rounding_level
from spectool.dense.problems import Problem, norm_bound
from spectool.dense.run import Method, Run, is_singular
from spectool.dense.steps import Step, Variables

__all__ = ["Region", "excluded", "other_solutions"]

GRID = np.concatenate([np.geomspace(1e-12, 0.01, 200), np.linspace(0.01, 1.0, 1000)])
"""Singular values at which the sign of steps is tested."""
MOST_NUMBERS = 100_000
"""Of a replay; larger batches are tested at fewer singular values."""
HUNDRED = 100.0
"""Multiple of eps that is rounding of A, seen through an iteration."""
NEAR = 0.5
"""``|1 - x^2|`` of a replayed eigenvalue that counts as arrived."""


class Region(enum.Enum):
    """Eigenvalues of ``A / ||A||`` from which a method converges to the principal function."""

    REAL = "needs real eigenvalues, as of Hermitian matrices"
    DISC = "needs |1 - a^2| < 1 for the sign, |1 - a| < 1 for roots"
    HALF_PLANE = "needs eigenvalues off the imaginary axis; for roots, in the right half-plane"
    WATCHED = "finds out by itself"


def excluded(problem: Problem, A: Tensor, method: Method) -> str:
    """Return why a method does not serve these general matrices, shape (k, n, n), or "".

    Methods that state no region are taken to need real eigenvalues.

    Raises
    ------
    OutsideDomainError
        If a matrix has an eigenvalue where the function does not exist.
    """
    stated = getattr(method, "region", None)
    region = stated(problem) if callable(stated) else Region.REAL
    if problem.function in ("polar", "inv") or region is Region.WATCHED:
        return ""  # polar and inv work on A^H A, or A A^H
    if region is Region.REAL:
        return f"{region.value}, and A is not Hermitian"
    wide = widened(A)
    xp = array_namespace(wide)
    spectra = to_host(xp.linalg.eigvals(wide))
    scales = to_host(norm_bound(MatrixAlgebra(wide), wide))
    for index, theta in enumerate(spectra):
        bad = eigenvalue_outside(problem, theta, rounding_level(wide, theta))
        if bad is not None:
            raise OutsideDomainError(index, bad)
        a = theta / scales[index]
        if problem.family == "sign":
            inside = np.abs(1.0 - a * a) < 1.0 if region is Region.DISC else a.real != 0.0
        else:
            inside = np.abs(1.0 - a) < 1.0 if region is Region.DISC else a.real > 0.0
        if not inside.all():
            found = complex(a[int(np.argmin(inside))])
            return f"{region.value}, and A / ||A|| has the eigenvalue {found:.3g}"
    return ""


def other_solutions(run: Run, A: Tensor, X: Tensor, *, hermitian: bool) -> tuple[Array, str]:
    """Return which answers solve the equation but are not the function, shape (k,), and why.

    Parameters
    ----------
    run : Run
        At its end.
    A, X : array, shape (k, m, n)
        The matrices and the answers.
    hermitian : bool
        Whether the matrices are; general ones have been looked at before, see ``excluded``.
    """
    problem, wrong = run.problem, np.zeros(X.shape[0], dtype=bool)
    if problem.function == "sign" and hermitian:
        wrong = _undecided(run)
        if wrong.any():
            return wrong, "an eigenvalue is too close to zero for these steps to tell its sign"
    if problem.function == "polar" or (problem.family == "sign" and hermitian):
        wrong, why = _flipped(run, A, X), "singular values went to -1"
    elif hermitian and problem.function != "inv":
        wrong, why = _indefinite(X), "the root is not positive semidefinite"
    else:
        why = ""
    return wrong, why if wrong.any() else ""


def _undecided(run: Run) -> Array:
    """Return for which matrices the steps taken would have given a sign to rounding, shape (k,)."""
    X = run.variables.X
    level = ROUNDING * float(run.algebra.xp.finfo(X.dtype).eps) * X.shape[-1] ** 0.5
    x = _replayed(run, np.asarray([level]))
    with np.errstate(all="ignore"):
        return np.asarray((np.abs(1.0 - x * x) < NEAR)[..., 0])


def _flipped(run: Run, A: Tensor, X: Tensor) -> Array:
    """Return for which matrices some singular values went to -1, shape (k,).

    Then ``X H = A`` all the same, but H is indefinite: it is looked at where the steps take any
    number in (0, 1] to a negative one.

    Parameters
    ----------
    run : Run
        At its end.
    A, X : array, shape (k, m, n)
        The matrices, and their polar factors or signs.
    """
    with np.errstate(all="ignore"):
        made = np.asarray((_replayed(run, GRID) < 0.0).any(axis=-1))
    for index in np.flatnonzero(made):
        o = MatrixAlgebra(widened(X)[int(index)], hermitian=True)
        H = o.symmetric(o.adjoint_of(widened(X)[int(index)]) @ widened(A)[int(index)])
        theta = np.nan_to_num(to_host(H))
        theta = np.linalg.eigvalsh(theta)
        made[index] = theta[0] < -HUNDRED * float(o.xp.finfo(X.dtype).eps) * np.abs(theta).max()
    return made


def _replayed(run: Run, x: FloatArray) -> Array:
    """Return where the steps taken lead the eigenvalues x, shape (g,), of each matrix: (k, g)."""
    shape = run.variables.X.shape[:-2]
    k = int(np.prod(shape))
    columns = [
        np.broadcast_to(to_host(c) if is_torch_array(c) else np.asarray(c), shape).reshape(k)
        for step in run.taken
        for c in step.resolved(run.problem.p)
    ]
    table = np.stack([np.zeros(k), *columns], axis=1)
    rows, where = np.unique(table, axis=0, return_inverse=True)
    start: Any = np.tile(x[:: max(len(rows) * len(x) // MOST_NUMBERS, 1)], (len(rows), 1))
    v, o, used = Variables(start, None, start), SpectrumAlgebra(), 1
    with np.errstate(all="ignore"):
        for step in run.taken:
            values = tuple(rows[:, used + j] for j in range(len(step.values)))
            v = _step(step, values)(o, v)
            used += len(values)
    return np.asarray(v.X)[where.ravel()]


def _step(step: Step, values: tuple[Array, ...]) -> Step:
    """Return the step with values per row, but for those that are counts."""
    kept = tuple(
        float(value) if isinstance(value, int | float) else row
        for value, row in zip(step.values, values, strict=True)
    )
    return Step(step.kind, kept)


def _indefinite(X: Tensor) -> Array:
    """Return which roots X of Hermitian matrices are not positive semidefinite, shape (k,).

    ``X^3 = A`` has a Hermitian solution for every Hermitian A, but it is not the principal one.
    """
    wide = widened(X)
    xp = array_namespace(wide)
    try:
        if bool(xp.all(xp.isfinite(xp.linalg.cholesky(wide)))):
            return np.zeros(X.shape[0], dtype=bool)
    except (np.linalg.LinAlgError, RuntimeError) as error:
        if not is_singular(error):
            raise
    made = np.zeros(X.shape[0], dtype=bool)
    level = HUNDRED * float(xp.finfo(X.dtype).eps)
    for index in range(X.shape[0]):
        if bool(xp.all(xp.isfinite(wide[index]))):
            theta = to_host(xp.linalg.eigvalsh(wide[index]))
            made[index] = bool(theta[0] < -level * np.abs(theta).max())
    return made
