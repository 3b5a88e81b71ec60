"""A multigrid V-cycle as a list of kernel calls, made once: an application allocates nothing.

Source
    Briggs, Henson, McCormick, A Multigrid Tutorial, 2nd ed., SIAM 2000, chapter 3; polynomial
    smoothers as in Adams, Brezina, Hu, Tuminaro, J. Comput. Phys. 188 (2003).
Deviations
    Smoothing before the correction and the residual it leaves are one sweep: ``r - A q(A) r`` is
    one more step of Clenshaw's recurrence for q. Smoothing after it starts from the corrected
    iterate with the same kernel. Both keep their steps blocked where the matrix is large.
Cost
    ``2 m`` products per level for residual polynomials of degree m, and one with each of P and R.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from spectool._types import Array, FloatArray
from spectool.backends.cpu import SERIAL_BELOW
from spectool.backends.execution import STRIP, Execution, Layout, choose
from spectool.backends.layout import csr_matrix
from spectool.kernels import multigrid
from spectool.kernels.formats import LANES
from spectool.kernels.half import Half
from spectool.kernels.schedule import ROW_WORK, Schedule, Strips, schedule, strip_rows, strips_of
from spectool.kernels.team import available_threads, run

if TYPE_CHECKING:
    from spectool.polynomials.recurrence import Recurrence

Coefficients = tuple[Array, Array, Array, Array]
FAMILIAR = 1e9
"""Largest and inverse of the smallest norm of vectors that enter single precision as they are."""
LARGEST_POWER = 1000
"""Largest exponent of a unit: its inverse is finite."""
_PADDING = 16
"""Values between the scratch of two threads, so that they share no cache line."""


class GridLevel(NamedTuple):
    """One level above the coarsest, all values in one precision.

    Attributes
    ----------
    A : csr_array, shape (n, n)
        Canonical.
    layout : Layout
        A in the order of its rows, laid out for many products.
    smoother : Recurrence
        q: an iterate x is smoothed to ``x + q(A) (r - A x)``; degree m - 1 >= 1.
    P, R : csr_array, shape (n, n_coarse) and (n_coarse, n)
        Prolongation, and its adjoint.
    """

    A: sp.csr_array
    layout: Layout
    smoother: Recurrence
    P: sp.csr_array
    R: sp.csr_array

    @classmethod
    def of(
        cls, A: sp.csr_array, smoother: Recurrence, P: sp.csr_array, applications: float
    ) -> GridLevel:
        """Lay a level out for about this many cycles."""
        # Vectors move between levels in the order of the rows, so the rows stay where they are.
        products = 2.0 * (smoother.degree + 1) * applications
        layout = choose(A, Execution(reorder=False), products)
        R = sp.csr_array(P.conj().T)
        R.sort_indices()
        return cls(A, layout, smoother, P, R)


class VCycle:
    """``S V S``: one V-cycle from the zero vector, symmetric if every P is R's adjoint.

    Parameters
    ----------
    levels : sequence of GridLevel
        Finest first; none at all leaves the coarse solver.
    coarse : ndarray, shape (n_coarse, n_coarse)
        The inverse of the coarsest level's matrix, dense.
    scale : ndarray, shape (n,)
        Diagonal of S.
    """

    def __init__(self, levels: Sequence[GridLevel], coarse: Array, scale: FloatArray) -> None:
        self.levels = tuple(levels)
        self.coarse = coarse
        self.scale = scale
        self._spare: list[_Program] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spare": []}

    def apply(self, r: Array) -> Array:
        """Return ``S V S r`` for one vector in the level's kind, in its own precision."""
        # Programs are lent: concurrent applications each get vectors of their own.
        program = self._spare.pop() if self._spare else _Program(self.levels, self.coarse)
        unit = 1.0
        if np.finfo(program.rhs.dtype).bits < np.finfo(r.dtype).bits:
            r = self.scale * r
            largest = float(np.abs(r).max(initial=0.0))
            if not 1.0 / FAMILIAR <= largest <= FAMILIAR:
                # A power of two keeps A and vectors of any unit inside the smaller range.
                unit = float(np.exp2(np.clip(np.frexp(largest)[1], -LARGEST_POWER, LARGEST_POWER)))
                r = r * (1.0 / unit)
            np.copyto(program.rhs, r, casting="same_kind")
        else:
            np.multiply(self.scale, r, out=program.rhs, casting="same_kind")
        for call in program.calls:
            run(*call)
        answer: Array = program.answer * (self.scale if unit == 1.0 else self.scale * unit)
        self._spare.append(program)
        return answer


class _Program:
    """Vectors of one application and the calls that fill them."""

    def __init__(self, levels: Sequence[GridLevel], coarse: Array) -> None:
        dtype = coarse.dtype
        threads = available_threads()
        self._rows = np.empty((threads, STRIP + LANES + _PADDING), dtype=dtype)
        self._fronts = np.empty((threads, 2 * _PADDING), dtype=np.int64)
        self.calls: list[tuple[Any, tuple[Any, ...], Schedule, Schedule]] = []
        self.rhs = r = np.empty(levels[0].A.shape[0] if levels else len(coarse), dtype=dtype)
        held = []
        for level in levels:
            even, odd = np.empty_like(r), np.empty_like(r)
            self._smooth(level, _from_nothing(level.smoother), r, even, odd, 0)
            even_steps = level.smoother.degree % 2 == 1
            x, residual = (odd, even) if even_steps else (even, odd)
            held.append((level, r, x, residual, x if even_steps else residual))
            r = np.empty(level.R.shape[0], dtype=dtype)
            self._transfer(level.R, residual, r, add=False)
        correction = np.empty_like(r)
        self._transfer(sp.csr_array(coarse), r, correction, add=False)
        for level, r, x, residual, smoothed in reversed(held):
            self._transfer(level.P, correction, x, add=True)
            self._smooth(level, _from_iterate(level.smoother), r, x, residual, 2)
            correction = smoothed
        self.answer = correction

    def _smooth(
        self, level: GridLevel, steps: Coefficients, r: Array, even: Array, odd: Array, begin: int
    ) -> None:
        layout, m = level.layout, level.smoother.degree + 1
        parts = _parts(m * level.A.nnz)
        strip = strip_rows(r.size, parts, STRIP)
        strips = strips_of(*layout.rows[:2], strip)
        depth = min(layout.depth, m)
        together, alone = schedule(strips, parts, depth), schedule(strips, 1, depth)
        real = np.empty(0, dtype=r.dtype).real.dtype
        a, b, c, w = (np.array(values, dtype=real) for values in steps)
        if isinstance(layout.matrix, Half):
            private = np.empty(layout.matrix.offsets[-1], dtype=r.dtype)
            halves = (layout.matrix, a, b, c, w, r, even, odd, private, self._rows, begin)
            self.calls.append((multigrid.smooth_by_halves, halves, together, alone))
            return
        arguments = (
            layout.matrix, a, b, c, w, r, even, odd, self._rows, self._fronts, begin,
            together.depth,
        )  # fmt: skip
        self.calls.append((multigrid.smooth, arguments, together, alone))

    def _transfer(self, A: sp.csr_array, v: Array, out: Array, *, add: bool) -> None:
        parts = _parts(A.nnz)
        strip = strip_rows(out.size, parts, STRIP)
        starts = np.minimum(np.arange(-(-out.size // strip) + 1) * strip, out.size)
        work = A.indptr[starts] + ROW_WORK * starts.astype(np.float64)
        strips = Strips(out.size, strip, work, *np.zeros((2, work.size), dtype=np.int64))
        arguments = (csr_matrix(A), v, add, out, self._rows)
        together, alone = schedule(strips, parts, 1), schedule(strips, 1, 1)
        self.calls.append((multigrid.transfer, arguments, together, alone))


def _parts(work: float) -> int:
    return available_threads() if work >= SERIAL_BELOW else 1


def _from_nothing(q: Recurrence) -> Coefficients:
    """Return Clenshaw's coefficients for ``q(A) r`` and, one step further, ``r - A q(A) r``."""
    first = np.zeros(1)
    return (
        np.concatenate([first - 1.0, q.a]),
        np.concatenate([first, q.b]),
        np.concatenate([first, q.c]),
        np.concatenate([first + 1.0, q.w]),
    )


def _from_iterate(q: Recurrence) -> Coefficients:
    """Return the coefficients that smooth an iterate by the same residual polynomial.

    With residuals ``r_{k+1} = (alpha_k A + beta_k) r_k + (1 - beta_k) r_{k-1}`` the iterates obey
    ``x_{k+1} = (alpha_k A + beta_k) x_k + (1 - beta_k) x_{k-1} - alpha_k r``; q holds alpha and
    beta backwards. Two coefficients more stand for steps that are skipped.
    """
    skipped = np.zeros(2)
    alpha = np.append(q.a, -q.w[-1])
    beta = np.append(q.b, 1.0)
    return (
        np.concatenate([alpha, skipped]),
        np.concatenate([beta, skipped]),
        np.concatenate([[0.0], 1.0 - beta, skipped[1:]]),
        np.concatenate([-alpha, skipped, skipped[1:]]),
    )
