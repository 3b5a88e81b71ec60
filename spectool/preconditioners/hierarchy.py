"""A multigrid hierarchy made ready for polynomial smoothers: tested, scaled, bounded, laid out.

Source
    Lottes, Optimal polynomial smoothers for multigrid V-cycles, Numer. Linear Algebra Appl. 30
    (2023), for the smoother; Bramble and Pasciak, New convergence estimates for multigrid
    algorithms, Math. Comp. 49 (1987), for the variable V-cycle.
Cost
    At most 24 products per level for its upper end, a dense eigenvalue problem on the coarsest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from spectool._types import Array, FloatArray
from spectool.backends.cpu import CpuBackend
from spectool.backends.multigrid import GridLevel, VCycle
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.krylov import LanczosProcess, ritz
from spectool.operators import Operator, as_operator, jacobi_scale
from spectool.polynomials import fourth_kind_inverse
from spectool.spectrum import probe
from spectool.spectrum.bounds import outer_end, smallest_component
from spectool.spectrum.estimate import RISK

GROWTH = 2
"""Products more on each coarser level."""
COARSE = 300
"""Unknowns up to which a level is solved: its dense inverse costs less than smaller levels do."""
LARGEST_COARSE = 4_000
"""Unknowns up to which a given coarsest level is inverted."""
NOISE = 100
"""Diagonal entries of coarser levels below so many rounding errors are taken to be zero."""
SHARP = 1.1
"""An upper bound this close to the largest Ritz value needs no more Lanczos steps."""
APPLICATIONS = 60
"""Cycles that a layout should be repaid in."""


@dataclass(frozen=True, slots=True)
class AmgLevel:
    """One level of a hierarchy.

    Attributes
    ----------
    n, nnz : int
        Rows and entries.
    degree : int
        Products per smoothing; 0 on the coarsest level, which is solved.
    upper : float
        Safe upper end of the spectrum of ``D^-1/2 A D^-1/2``; 0 on the coarsest level.
    execution : str
        How its products are executed.
    """

    n: int
    nnz: int
    degree: int
    upper: float
    execution: str


@dataclass(frozen=True, slots=True)
class AmgReport:
    """What a cycle consists of.

    Attributes
    ----------
    levels : tuple of AmgLevel
        Finest first.
    operator_complexity : float
        Entries of all levels over those of the finest.
    work : float
        Multiply-adds of one cycle, in products with A: smoothing, transfers and coarse solve.
    n_matvecs : int
        Products with A that set-up took.
    elapsed : float
        Seconds of set-up, the hierarchy included if it was built here.
    """

    levels: tuple[AmgLevel, ...]
    operator_complexity: float
    work: float
    n_matvecs: int
    elapsed: float

    @property
    def chosen(self) -> str:
        """One line."""
        return f"V-cycle of {len(self.levels)} levels"

    def __str__(self) -> str:
        lines = [
            f"{self.chosen}: operator complexity "
            f"{self.operator_complexity:.2f}, {self.work:.1f} products' work per cycle",
            f"set-up: {self.n_matvecs} matvecs, {self.elapsed:.3g} s",
        ]
        lines += [
            f"  {level.n:>9} rows {level.nnz:>10} entries  "
            + (f"degree {level.degree} on (0, {level.upper:.4g}]" if level.degree else "solved")
            for level in self.levels
        ]
        return "\n".join(lines)


def polynomial_cycle(
    levels: list[Any],
    degree: int,
    precision: str,
    rng: np.random.Generator,
    begin: float,
) -> tuple[VCycle, AmgReport, np.dtype[Any]]:
    """Return the cycle over levels that hold A, P and perhaps R, its report and A's dtype."""
    small = [i for i, level in enumerate(levels) if level.A.shape[0] <= COARSE]
    levels = levels[: small[0] + 1] if small else levels
    grids = [_grid(levels[0].A, 0)]
    transfers = []
    for i, level in enumerate(levels[1:]):
        coarse = _grid(level.A, i + 1)
        transfers.append(_checked_transfer(levels[i], grids[i], coarse, i))
        grids.append(_without_noise(coarse, grids[i], transfers[i], i + 1))
    dtype = grids[0].operator.dtype
    kind = np.result_type(precision, np.complex64) if dtype.kind == "c" else np.dtype(precision)
    smoothed, facts = [], []
    n_matvecs = 0
    for i, grid in enumerate(grids[:-1]):
        scaled = grid.operator.scaled(grid.scale)
        upper = _upper_end(scaled, i, rng)
        n_matvecs += scaled.n_matvecs if i == 0 else 0
        q = fourth_kind_inverse(upper, degree + GROWTH * i - 1)
        P = _between_scaled(transfers[i], grid, grids[i + 1]).astype(kind)
        smoothed.append(GridLevel.of(_entries(scaled.astype(kind)), q, P, APPLICATIONS))
        execution = str(smoothed[-1].layout.report)
        facts.append(AmgLevel(grid.operator.n, grid.operator.nnz, q.degree + 1, upper, execution))
    last = grids[-1]
    inverse = _inverse(last, len(grids) - 1, float(np.finfo(kind).eps))
    facts.append(AmgLevel(last.operator.n, last.operator.nnz, 0, 0.0, "dense inverse"))
    nnz = facts[0].nnz
    work = sum(2 * level.degree * level.nnz for level in facts) + inverse.size
    work += sum(2 * level.P.nnz for level in smoothed)
    report = AmgReport(
        tuple(facts),
        sum(level.nnz for level in facts) / nnz,
        work / nnz,
        n_matvecs,
        time.perf_counter() - begin,
    )
    return VCycle(smoothed, inverse.astype(kind), grids[0].scale), report, dtype


class _Grid(NamedTuple):
    """A level as an operator, and what it takes to scale it.

    Attributes
    ----------
    operator : Operator
        The matrix.
    diagonal, scale : ndarray, shape (n,)
        Its diagonal, and that to the power -1/2.
    error : ndarray, shape (n,)
        Size of the rounding errors in the diagonal as it came.
    alive : ndarray of bool, shape (n,)
        Which rows hold more than such errors; the others are emptied.
    """

    operator: Operator
    diagonal: FloatArray
    scale: FloatArray
    error: FloatArray
    alive: Array


def _grid(A: Any, i: int) -> _Grid:
    try:
        operator = as_operator(A)
    except InputError as error:
        raise InputError(f"level {i} of the hierarchy: {error}") from error
    facts = operator.row_facts()
    scale = jacobi_scale(operator)
    if facts is None or scale is None or not sp.issparse(A):
        raise InputError(f"level {i} must hold a sparse array A; got {type(A).__name__}.")
    if i == 0:
        check_diagonal(operator)
    diagonal = np.asarray(facts.diagonal.real, dtype=np.float64)
    nothing = np.zeros_like(diagonal)
    return _Grid(operator, diagonal, scale, nothing, np.ones(operator.n, dtype=bool))


def check_diagonal(A: Operator) -> None:
    """Raise NotPositiveDefiniteError if the diagonal shows that A is not semidefinite, or zero."""
    facts = A.row_facts()
    if facts is None:
        return
    diagonal = facts.diagonal.real
    _refuse_diagonal(diagonal, (diagonal < 0) | ((diagonal == 0) & (facts.radius > 0)), 0)
    if not diagonal.any():
        raise NotPositiveDefiniteError(
            "A is zero, and multigrid needs a positive definite A. Leave base='amg' out."
        )


def _refuse_diagonal(diagonal: FloatArray, bad: Array, i: int) -> None:
    """Raise NotPositiveDefiniteError that shows the smallest of the bad entries, if there are."""
    if bad.any():
        row = int(np.where(bad, diagonal, np.inf).argmin())
        raise NotPositiveDefiniteError(
            f"level {i} is not positive definite: a[{row}, {row}] = {diagonal[row]:.6g}. "
            "Multigrid needs a positive definite A."
        )


def _without_noise(coarse: _Grid, fine: _Grid, P: sp.csr_array, i: int) -> _Grid:
    """Empty the rows and columns of a coarser level that hold rounding errors only.

    A singular A, such as the Laplacian of a graph with many components, has null vectors among the
    columns of P, and ``P* A P`` is rounding there. Where an aggregate has fewer unknowns than
    candidates, rows are zero as they come.
    """
    # |P|* |A| |P| is at most this, for |a_ij|^2 <= a_ii a_jj.
    most = (abs(P).T @ np.sqrt(fine.diagonal)) ** 2
    inherited = abs(P).power(2).T @ np.where(fine.alive, fine.error, NOISE * fine.error)
    error = float(np.finfo(fine.operator.dtype).eps) * most + inherited
    _refuse_diagonal(coarse.diagonal, coarse.diagonal < -NOISE * error, i)
    alive = coarse.diagonal > NOISE * error
    if alive.all():
        return coarse._replace(error=error)
    kept = sp.diags_array(alive.astype(coarse.operator.dtype))
    A = sp.csr_array(kept @ _entries(coarse.operator) @ kept)
    A.eliminate_zeros()
    diagonal, scale = np.where(alive, coarse.diagonal, 0.0), np.where(alive, coarse.scale, 1.0)
    return _Grid(as_operator(A, assume_a="her"), diagonal, scale, error, alive)


def _entries(operator: Operator) -> sp.csr_array:
    backend = operator.backend
    assert isinstance(backend, CpuBackend)  # _grid accepts sparse arrays only
    return backend.A


def _checked_transfer(level: Any, fine: _Grid, coarse: _Grid, i: int) -> sp.csr_array:
    """Return P, after testing its shape and that R is its adjoint."""
    P = sp.csr_array(getattr(level, "P", np.empty((0, 0))))
    if P.shape != (fine.operator.n, coarse.operator.n):
        raise InputError(
            f"level {i} must hold P of shape {(fine.operator.n, coarse.operator.n)}; got {P.shape}."
        )
    R = getattr(level, "R", None)
    if R is not None:
        gap = abs(sp.csr_array(R) - P.conj().T)
        largest = float(gap.max()) if gap.nnz else 0.0
        if largest > 1e-6 * float(abs(P).max()):
            raise InputError(
                f"level {i}: R must be the adjoint of P for a symmetric cycle; they differ by "
                f"{largest:.3g}. Build the hierarchy with symmetry='hermitian'."
            )
    return P


def _between_scaled(P: sp.csr_array, fine: _Grid, coarse: _Grid) -> sp.csr_array:
    """Return P between the scaled unknowns that take part on two levels."""
    left = np.where(fine.alive, 1.0 / fine.scale, 0.0)
    right = np.where(coarse.alive, coarse.scale, 0.0)
    P = sp.csr_array(sp.diags_array(left) @ P @ sp.diags_array(right))
    P.eliminate_zeros()
    P.sort_indices()
    return P


def _upper_end(scaled: Operator, i: int, rng: np.random.Generator) -> float:
    discs = scaled.gershgorin()
    limit = np.inf if discs is None else discs[1]
    delta = smallest_component(scaled.n, RISK, complex_vector=scaled.dtype.kind == "c")
    spectrum = probe(scaled, rng=rng, enough=partial(_is_sharp, limit, delta))
    upper, smallest = spectrum.interval[1], float(spectrum.ritz_values[0])
    if smallest < -1e4 * float(np.finfo(scaled.dtype).eps) * upper:
        raise NotPositiveDefiniteError(
            f"level {i} of the hierarchy is not positive definite: scaled to unit diagonal it has "
            f"the Ritz value {smallest:.6g}. Multigrid needs a positive definite A."
        )
    return upper


def _is_sharp(limit: float, delta: float, process: LanczosProcess) -> bool:
    """Whether the safe upper end is close to the largest Ritz value already."""
    if process.steps < 4 or process.steps % 4:
        return False
    run = ritz(process)
    return min(limit, outer_end(run, delta, upper=True)) <= SHARP * float(run.values[-1])


def _inverse(grid: _Grid, i: int, eps: float) -> Array:
    """Return the inverse of the scaled coarsest level, to be stored to the precision eps.

    Null vectors are left as they are, so that M is definite even where A is singular.
    """
    n = grid.operator.n
    if n > LARGEST_COARSE:
        raise InputError(
            f"the coarsest level has {n} unknowns, and at most {LARGEST_COARSE} are inverted; "
            "build the hierarchy with more levels (max_levels)."
        )
    lam, V = np.linalg.eigh(_entries(grid.operator.scaled(grid.scale)).toarray())
    rounding = 100 * n * float(np.finfo(grid.operator.dtype).eps) * float(lam[-1])
    if lam[0] < -rounding:
        raise NotPositiveDefiniteError(
            f"level {i} of the hierarchy is not positive definite: scaled to unit diagonal it has "
            f"the eigenvalue {lam[0]:.6g}."
        )
    # Larger values would leave no digit of the smallest ones in what is stored.
    inverse = 1.0 / np.where(lam > rounding, np.maximum(lam, 2 * eps * lam[-1]), 1.0)
    return np.asarray((V * inverse) @ V.conj().T)
