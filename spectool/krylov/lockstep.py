"""The Lanczos process from m starts in lockstep: one product with a block per step.

Source
    Golub and Van Loan, Matrix Computations, 4th ed., Algorithm 10.1.1, for each column; Musco,
    Musco and Sidford, Stability of the Lanczos method for matrix function approximation, SODA 2018,
    for why ``f(A) b`` needs no reorthogonalization.
Deviations
    (1) Basis vectors are stored times their norms, so that no sweep normalizes them; (2) the
    recurrence runs on A times a power of two if the first step says that A's own unit would over-
    or underflow; (3) columns whose Krylov space is exhausted, or that are left out, leave the
    block.
Cost per step
    1 matvec per column in one product; 2 reductions; reads 5 and writes 2 blocks.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from spectool._types import Array, FloatArray, IntArray
from spectool.backends.generic import column_dots
from spectool.errors import BreakdownError, InputError
from spectool.kernels.combination import Piece, add_combination
from spectool.operators import Operator

BLOCKS = 16
"""Blocks of basis vectors that are allocated at a time."""


class _Chunk(NamedTuple):
    """Blocks (BLOCKS, n, w) of steps ``first`` and later; w columns of the starts, ascending.

    Without a basis they are (3, n, w), used in turn.
    """

    first: int
    columns: IntArray
    blocks: Array


class LockstepLanczos:
    """Lanczos factorizations ``A V_j = V_j T_j + beta_k v_{k+1} e_k*``, one per column j.

    Parameters
    ----------
    operator : Operator
        Hermitian.
    starts : ndarray, shape (n, m)
        Nonzero columns; normalized here.
    keep_basis : bool
        Keep all blocks instead of three.

    Attributes
    ----------
    norms : ndarray, shape (m,)
        Norms of the starts.
    steps : int
        Steps made so far.

    Raises
    ------
    InputError
        If starts have another shape, a column that is zero or not finite, or are complex although
        the operator is real.

    Notes
    -----
    The bits of a column depend on which columns stand beside it, but neither on the threads nor on
    whether the basis is kept. Memory: steps + 1 blocks, or three.
    """

    _moving: IntArray | slice

    def __init__(self, operator: Operator, starts: Array, *, keep_basis: bool = True) -> None:
        self.operator = operator
        self.steps = 0
        start = _checked(operator, starts)
        m = start.shape[1]
        self._keep = keep_basis
        self._exhausted = np.zeros(m, dtype=bool)
        self._narrower = False
        self._stops = np.full(m, np.iinfo(np.int64).max)
        self._unit = 1.0
        # Of unit A: the alphas, and the norms of the stored vectors, which are the betas but one.
        self._alpha, self._norm = np.zeros((BLOCKS, m)), np.zeros((BLOCKS + 1, m))
        self._norm[0] = 1.0
        self._scale = np.zeros(m)
        self._rounding = 100 * float(np.finfo(operator.dtype).eps)
        self._chunks: list[_Chunk] = []
        self._current = self._previous = self._open(0, np.arange(m))[0]
        self.norms = _normalize(start, self._current)

    @property
    def alphas(self) -> FloatArray:
        """Diagonals of T, shape (steps, m); zero where a column stood still."""
        return self._alpha[: self.steps] / self._unit

    @property
    def betas(self) -> FloatArray:
        """Norms of the residuals after each step, shape (steps, m): T's off-diagonals and one."""
        return self._norm[1 : self.steps + 1] / self._unit

    @property
    def lengths(self) -> IntArray:
        """Steps that each column has made, shape (m,): fewer once it was exhausted or left out."""
        return np.minimum(self._stops, self.steps)

    @property
    def exhausted(self) -> Array:
        """Whether a column's Krylov space is invariant, bool, shape (m,).

        Its last beta is rounding only, and its Ritz values are eigenvalues of A.
        """
        return self._exhausted & (self._stops <= self.steps)

    @property
    def columns(self) -> IntArray:
        """The columns that the next step will expand."""
        return np.flatnonzero(self._stops > self.steps)

    @property
    def n_moving(self) -> int:
        """How many columns the next step will expand."""
        return int(np.count_nonzero(self._stops > self.steps))

    def jacobi(self, j: int) -> tuple[FloatArray, FloatArray]:
        """Return column j's alphas and betas, shape (lengths[j],) each.

        T has the off-diagonal ``betas[:-1]``; the last beta is the norm of the residual.
        """
        k = int(self.lengths[j])
        return self._alpha[:k, j] / self._unit, self._norm[1 : k + 1, j] / self._unit

    def step(self) -> None:
        """Expand every column that still moves by one vector; one matvec each.

        The first step costs three if A's unit is extreme: ``||A v||`` beyond 1e61 or 1e-61, in
        single precision 1e7 or 1e-7.

        Raises BreakdownError on NaN or overflow; the steps before it stay good.
        """
        k = self.steps
        self._reserve(k + 1)
        if self._narrower:
            columns = self._chunks[-1].columns
            self._restart(columns[self._stops[columns] > k])
            self._narrower = False
        columns = self._chunks[-1].columns
        if columns.size:
            following = self._slot(k + 1)
            alpha, norm = self._expand(following) if k else self._first(following)
            at = self._moving
            self._alpha[k, at], self._norm[k + 1, at] = alpha, norm
            scale = np.maximum(self._scale[at], np.abs(alpha) + norm)
            done = norm <= self._rounding * scale
            if done.any():
                self._exhausted[columns[done]], self._stops[columns[done]] = True, k + 1
                self._narrower = True
            self._scale[at] = scale
            self._previous, self._current = self._current, following
        self.steps = k + 1

    def _expand(self, following: Array) -> FloatArray:
        k, at = self.steps, self._moving
        norms = self._norm[k, at]
        back = norms / self._norm[k - 1, at] if k else np.zeros_like(norms)
        return self.operator.lanczos_steps(
            self._previous, self._current, norms, back, following, self._unit
        )

    def _first(self, following: Array) -> FloatArray:
        """Make the first step; once more, in another unit, if A's is extreme."""
        pair = None
        with suppress(BreakdownError):  # told again below, unless it was overflow
            pair = self._expand(following)
        limit = float(np.finfo(self.operator.dtype).max) ** 0.2
        if pair is not None and 1 / limit <= np.hypot(*pair).max() <= limit:
            return pair
        V = self._current if self._current.shape[1] > 1 else self._current[:, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            largest = float(np.abs(self.operator.matmul(V)).max())
        if 0 < largest < np.inf:
            self._unit = float(np.ldexp(1.0, -int(np.clip(np.frexp(largest)[1], -970, 970))))
        elif pair is not None:
            return pair  # A maps every start to zero
        return self._expand(following)

    def keep(self, columns: Any) -> None:
        """Go on with these columns; the others stand still, as exhausted ones do.

        Parameters
        ----------
        columns : array_like
            Columns of the starts, as numbers or as a mask of m. What stands still stays so.

        Notes
        -----
        What the others have stored is kept where it is, and `combine` still serves all columns.
        The next step copies two blocks.
        """
        m, wanted = self._stops.size, np.atleast_1d(columns)
        kept = np.zeros(m, dtype=bool)
        try:
            kept[wanted if wanted.size else []] = True
        except IndexError as error:
            raise InputError(
                f"columns must be numbers below {m} or a mask of {m}; got {columns!r}."
            ) from error
        dropped = ~kept & (self._stops > self.steps)
        self._narrower |= bool(dropped.any())
        self._stops[dropped] = self.steps

    @property
    def keeps_basis(self) -> bool:
        """Whether all blocks are held."""
        return self._keep

    @property
    def n_bytes(self) -> int:
        """Bytes of the vectors held, without the room reserved for the next ones."""
        if not self._keep:
            return int(self._chunks[0].blocks.nbytes)
        ends = [chunk.first for chunk in self._chunks[1:]] + [self.steps]
        pairs = zip(self._chunks, ends, strict=True)
        return sum(c.blocks[: end - c.first + 1].nbytes for c, end in pairs)

    def drop_basis(self) -> None:
        """Go on with three blocks."""
        if self._keep:
            self._keep = False
            self._restart(self._chunks[-1].columns)

    def combine(self, coefficients: Array, out: Array | None = None) -> Array:
        """Return ``Y[q] = sum over k of V_k coefficients[k, :, q]``, column by column.

        Parameters
        ----------
        coefficients : ndarray, shape (k, m, q), k <= steps
            Real or complex; what lies beyond a column's length is ignored.
        out : ndarray, shape (q, n, m), optional
            C-contiguous and of the answer's dtype; overwritten.

        Returns
        -------
        ndarray, shape (q, n, m)
            In the operator's precision; complex if the operator or the coefficients are.

        Raises
        ------
        InputError
            If the basis was dropped, or a shape or dtype does not fit.

        Notes
        -----
        One pass over the basis for all q. Sums are formed in double precision; complex coefficients
        make no complex copy of a real basis.
        """
        if not self._keep:
            raise InputError("the basis was not kept; use second_pass, or keep_basis=True.")
        c = _coefficients(coefficients, self._stops.size)
        if len(c) > self.steps:
            raise InputError(f"coefficients must have at most {self.steps} rows; got {len(c)}.")
        out = _answer(self.operator, c, out)
        weights = np.zeros_like(c)
        inside = (np.arange(len(c))[:, None] < self.lengths)[:, :, None]
        np.divide(c, self._norm[: len(c), :, None], out=weights, where=inside)
        ends = [chunk.first for chunk in self._chunks[1:]] + [len(c)]
        pieces = [
            Piece(chunk.blocks[: len(w)], chunk.columns, w[:, chunk.columns])
            for chunk, end in zip(self._chunks, ends, strict=True)
            if len(w := weights[chunk.first : end])
        ]
        add_combination(pieces, out)
        return out

    def _open(self, k: int, columns: IntArray) -> Array:
        """Return the blocks of a new chunk that begins with step k."""
        shape = (BLOCKS if self._keep else 3, self.operator.n, columns.size)
        self._chunks.append(_Chunk(k, columns, np.empty(shape, dtype=self.operator.dtype)))
        self._moving = columns if columns.size < self._stops.size else slice(None)
        return self._chunks[-1].blocks

    def _slot(self, k: int) -> Array:
        """Return where the block of step k goes."""
        chunk = self._chunks[-1]
        place = k - chunk.first
        if self._keep and place == BLOCKS:
            return self._open(k, chunk.columns)[0]
        return chunk.blocks[place if self._keep else place % 3]

    def _restart(self, columns: IntArray) -> None:
        """Go on in new storage with these of the last chunk's columns."""
        places = np.searchsorted(self._chunks[-1].columns, columns)
        self._previous, self._current = (
            np.ascontiguousarray(block[:, places]) for block in (self._previous, self._current)
        )
        if not self._keep:
            self._chunks.clear()
        blocks = self._open(self.steps, columns)
        blocks[0] = self._current
        self._current = blocks[0]
        if not self._keep:
            blocks[2] = self._previous
            self._previous = blocks[2]

    def _reserve(self, steps: int) -> None:
        """Make room for the coefficients of this many steps."""
        if steps > len(self._alpha):
            more = np.zeros_like(self._alpha)
            self._alpha = np.concatenate([self._alpha, more])
            self._norm = np.concatenate([self._norm, more])


def second_pass(
    operator: Operator, starts: Array, coefficients: Array, *, lengths: IntArray | None = None
) -> Array:
    """Regenerate a basis bit for bit, and combine it on the way.

    Parameters
    ----------
    operator, starts
        Those of a `LockstepLanczos`.
    coefficients : ndarray, shape (k, m, q)
        As `LockstepLanczos.combine` takes them.
    lengths : ndarray, shape (m,), optional
        Those of the process. Needed if `LockstepLanczos.keep` was used: bits of a column depend on
        those beside it. Exhausted columns are found again.

    Returns
    -------
    ndarray, shape (q, n, m)
        What `combine` returns: in double precision to the last bit, in single up to the rounding of
        sums.

    Notes
    -----
    Cost: k - 1 matvecs per column, fewer where it stands still (2 more if A's unit is extreme);
    three blocks beside the answer.
    """
    process = LockstepLanczos(operator, starts, keep_basis=False)
    m = process.norms.size
    c = _coefficients(coefficients, m)
    stops = np.full(m, len(c)) if lengths is None else np.asarray(lengths)
    if stops.shape != (m,):
        raise InputError(f"lengths must have shape ({m},); got {stops.shape}.")
    out, weights, begin = _answer(operator, c, None), np.zeros_like(c), 0
    for k in range(len(c)):
        if k:
            process.step()
        process.keep(stops > k)
        moving = process.columns
        weights[k, moving] = c[k, moving] / process._norm[k, moving, None]
        chunk = process._chunks[0]
        full = (k - chunk.first) % 3 == 2
        if full or moving.size < chunk.columns.size or k + 1 == len(c):
            place, w = (begin - chunk.first) % 3, weights[begin : k + 1, chunk.columns]
            add_combination([Piece(chunk.blocks[place : place + len(w)], chunk.columns, w)], out)
            begin = k + 1
    return out


def _checked(operator: Operator, starts: Any) -> Array:
    start, n = np.asarray(starts), operator.n
    if start.ndim != 2 or start.shape[0] != n or start.shape[1] == 0:
        raise InputError(f"starts must have shape ({n}, m) with m >= 1; got {start.shape}.")
    if start.dtype.kind == "c" and operator.dtype.kind != "c":
        raise InputError("starts must be real for a real operator; split them in two.")
    return start


def _normalize(start: Array, out: Array) -> FloatArray:
    """Write the normalized columns, and return their norms; raises InputError for bad ones."""
    largest = np.abs(start).max(axis=0).astype(np.float64)
    bad = ~(np.isfinite(largest) & (largest > 0))
    if bad.any():
        j = int(np.argmax(bad))
        raise InputError(
            f"starts must have finite, nonzero columns; the largest modulus in column {j} is "
            f"{largest[j]}. Leave such columns out."
        )
    # A power of two, so that it neither rounds nor lets squares leave the range.
    units = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    np.divide(start.real, units, out=out.real, casting="same_kind")
    if out.dtype.kind == "c":  # apart: complex division forms 1 / units, which may overflow
        np.divide(start.imag, units, out=out.imag, casting="same_kind")
    sizes = np.sqrt(column_dots(out, out))
    np.divide(out, sizes, out=out, casting="same_kind")
    return np.asarray(units * sizes, dtype=np.float64)


def _coefficients(coefficients: Array, m: int) -> Array:
    c = np.asarray(coefficients)
    if c.ndim != 3 or c.shape[1] != m:
        raise InputError(f"coefficients must have shape (k, {m}, q); got {c.shape}.")
    return c.astype(np.complex128 if c.dtype.kind == "c" else np.float64, copy=False)


def _answer(operator: Operator, coefficients: Array, out: Array | None) -> Array:
    """Return zeros to add to."""
    _, m, q = coefficients.shape
    shape = (q, operator.n, m)
    kind = np.complex64 if coefficients.dtype.kind == "c" else np.float32
    dtype = np.result_type(operator.dtype, kind)
    if out is None:
        return np.zeros(shape, dtype=dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        found = f"got {out.shape}, {out.dtype}"
        raise InputError(f"out must be C-contiguous, of shape {shape} and dtype {dtype}; {found}.")
    out[...] = 0
    return out
