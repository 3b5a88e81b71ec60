"""Polynomials over block Jacobi: A's diagonal blocks are divided out exactly, blocks by blocks.

Source
    Demmel, The condition number of equivalence transformations that block diagonalize matrix
    pencils, SIAM J. Numer. Anal. 20 (1983): within a factor of the number of blocks, block Jacobi
    is the best block diagonal scaling.
Deviations
    The split matrix ``L^-1 A L^-*``, ``L L* = blockdiag(A)``, is formed: it has the pattern of A's
    blocks, so polynomials run over it in the fused kernels, and L acts twice per application only.
Cost
    Set-up: two products of b x b blocks per block of A, about 4 b products with A.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, Rng
from spectool.backends.cpu import CpuBackend
from spectool.backends.layout import best_blocks, fits
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.operators import Operator, as_operator
from spectool.polynomials import Recurrence
from spectool.preconditioners.operator import SEED, Preconditioner
from spectool.preconditioners.polynomial import hermitian_preconditioner
from spectool.results import PreconditionerReport
from spectool.spectrum import Spectrum

FULL = 0.6
"""Entries of A per stored value from which a block size counts as A's own; scalar stencils on grids
fill half of blocks of two."""
LARGEST = 64
"""Largest block size: blocks are dense."""


class BlockSplit(NamedTuple):
    """``L^-1 A L^-*`` and what leads there.

    Attributes
    ----------
    operator : Operator
        The split matrix; its diagonal blocks are identities.
    forward, backward : Operator
        ``L^-1``, applied before polynomials, and ``L^-*``, applied after them.
    block_size : int
        Rows of a block.
    """

    operator: Operator
    forward: Operator
    backward: Operator
    block_size: int


class BlockJacobi(LinearOperator[Any]):
    """``L^-* p(L^-1 A L^-*) L^-1`` for ``L L* = blockdiag(A)``; positive definite.

    Attributes
    ----------
    recurrence : Recurrence
        p; degree 0 is block Jacobi itself.
    report : PreconditionerReport
        What was chosen, why, and what it cost.
    spectrum : Spectrum or None
        The probe of the split matrix.
    block_size : int
        Rows of a block.
    n_matvecs : int
        Products with the split matrix so far: set-up and applications.
    """

    def __init__(self, split: BlockSplit, inner: Preconditioner, elapsed: float) -> None:
        # scipy-stubs hides the base constructor, which subclasses must call.
        super().__init__(dtype=inner.dtype, shape=inner.shape)  # type: ignore[call-arg]
        self.inner = inner
        self.forward = split.forward
        self.backward = split.backward
        self.block_size = split.block_size
        base = f"block Jacobi ({split.block_size} rows)"
        report = inner.report
        self.report: PreconditionerReport = replace(
            report,
            chosen=f"{report.chosen}, over {base}" if inner.recurrence.degree else base,
            reason=report.reason.replace("identity", "block Jacobi"),
            candidates=tuple(
                c if c.degree else replace(c, method="block Jacobi") for c in report.candidates
            ),
            elapsed=elapsed,
        )

    def __repr__(self) -> str:
        return f"<BlockJacobi {self.shape}: {self.report.chosen}>"

    @property
    def recurrence(self) -> Recurrence:
        """The polynomial."""
        return self.inner.recurrence

    @property
    def spectrum(self) -> Spectrum | None:
        """The probe of the split matrix."""
        return self.inner.spectrum

    @property
    def n_matvecs(self) -> int:
        """Products so far."""
        return self.inner.n_matvecs

    def refresh(self, A: Any, *, rng: Rng = SEED) -> BlockJacobi:
        """Return M for another matrix near the last one: A is split anew, the polynomial kept.

        See `Preconditioner.refresh`. Raises NotPositiveDefiniteError if a diagonal block is not
        positive definite.
        """
        begin = time.perf_counter()
        rows = np.shape(A)[0] if np.ndim(A) == 2 else self.shape[0]
        split = block_split(A, self.block_size if rows % self.block_size == 0 else None)
        inner = self.inner.refresh(split.operator, rng=rng)
        return BlockJacobi(split, inner, time.perf_counter() - begin)

    def _matvec(self, x: Array) -> Array:
        return self._run(np.asarray(x).ravel())

    def _matmat(self, X: Array) -> Array:
        return self._run(np.ascontiguousarray(X))

    def _run(self, X: Array) -> Array:
        if X.dtype.kind not in "fc":
            X = X.astype(np.float64)
        Y = self.inner @ self.forward.matmul(X)
        return np.asarray(self.backward.matmul(np.ascontiguousarray(Y)))

    def _adjoint(self) -> Self:
        return self


def block_jacobi(
    A: Any,
    *,
    block_size: int | None = None,
    degree: int | None = None,
    method: Literal["auto", "chebyshev", "chebyshev4"] = "auto",
    precision: Literal["auto", "float64", "float32"] = "auto",
    rng: Rng = None,
) -> BlockJacobi:
    """Return a polynomial preconditioner over block Jacobi, ``M = L^-* p(L^-1 A L^-*) L^-1``.

    The polynomial is chosen as by `preconditioner`, for the split matrix.

    Parameters
    ----------
    A : sparse array, shape (n, n)
        Hermitian positive definite.
    block_size : int, optional
        Rows of a block, at most 64; divides n. By default the size of A's own dense blocks, 1 to
        6; 1, which is Jacobi, where it has none.
    degree : int, optional
        Products per application; chosen if None. 0 is block Jacobi itself.
    method : {"auto", "chebyshev", "chebyshev4"}
        Forces a design.
    precision : {"auto", "float64", "float32"}
        Storage and arithmetic of the split matrix, as in `preconditioner`.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    BlockJacobi
        Hermitian positive definite ``LinearOperator`` with ``recurrence`` and ``report``.

    Raises
    ------
    InputError
        If A is not sparse, square, finite and Hermitian, or the block size does not divide n.
    NotPositiveDefiniteError
        If a diagonal block is not positive definite, or a forced design finds that A is not.

    Notes
    -----
    Cost: about ``4 b`` products for the split, then that of `preconditioner`. An application takes
    ``degree`` products, and two with block diagonal triangular matrices.

    References
    ----------
    .. [1] Demmel, SIAM J. Numer. Anal. 20 (1983), 599-610.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> from spectool.preconditioners.block_jacobi import block_jacobi
    >>> A = st.gallery.elasticity((6, 6))
    >>> M = block_jacobi(A, degree=0)
    >>> M.block_size, bool(np.allclose((M @ np.eye(84))[:2, :2] @ A[:2, :2], np.eye(2)))
    (2, True)
    """
    begin = time.perf_counter()
    if method not in ("auto", "chebyshev", "chebyshev4"):
        raise InputError(f"method must be 'auto', 'chebyshev' or 'chebyshev4'; got {method!r}.")
    split = block_split(A, block_size)
    inner = hermitian_preconditioner(
        split.operator, degree=degree, method=method, scaling=None, precision=precision, rng=rng
    )
    return BlockJacobi(split, inner, time.perf_counter() - begin)


def block_split(A: Any, block_size: int | None = None) -> BlockSplit:
    """Return ``L^-1 A L^-*`` with its maps; parameters and errors as in `block_jacobi`."""
    operator = as_operator(A)
    backend = operator.backend
    if not isinstance(backend, CpuBackend):
        raise InputError(
            f"block Jacobi needs stored entries; got {type(A).__name__}. Pass a sparse array."
        )
    n, csr = operator.n, backend.A
    b = _block_size(csr, block_size)
    bsr = csr.tobsr((b, b))
    data = np.asarray(bsr.data)
    rows = np.repeat(np.arange(n // b), np.diff(bsr.indptr))
    on_diagonal = bsr.indices == rows
    diagonal = np.zeros((n // b, b, b), dtype=operator.dtype)
    diagonal[rows[on_diagonal]] = data[on_diagonal]
    inverse = np.linalg.inv(_cholesky(diagonal, b))
    adjoint = inverse.conj().transpose(0, 2, 1)
    data = inverse[rows] @ data @ adjoint[bsr.indices]
    data[on_diagonal] = np.eye(b)
    split = _csr(data, bsr.indices, bsr.indptr, n)
    places = np.arange(n // b + 1, dtype=bsr.indices.dtype)

    def block_diagonal(blocks: Array) -> Operator:
        matrix = _csr(blocks, places[:-1], places, n)
        matrix.eliminate_zeros()
        return Operator(CpuBackend(matrix), "gen")

    return BlockSplit(
        Operator(CpuBackend(split), "her"), block_diagonal(inverse), block_diagonal(adjoint), b
    )


def _block_size(A: sp.csr_array, wanted: Any) -> int:
    n = A.shape[0]
    if wanted is None:
        full = [fit for fit in fits(A, ("bsr",)) if fit.fill >= FULL]
        return best_blocks(full).size if full else 1
    if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer):
        raise InputError(f"block_size must be an integer or None; got {wanted!r}.")
    if not 1 <= wanted <= min(LARGEST, n) or n % wanted:
        raise InputError(
            f"block_size must lie in [1, {min(LARGEST, n)}] and divide n = {n}; got {wanted}."
        )
    return int(wanted)


def _cholesky(diagonal: Array, b: int) -> Array:
    try:
        return np.linalg.cholesky(diagonal)
    except np.linalg.LinAlgError:
        smallest = np.linalg.eigvalsh(diagonal)[:, 0]
        block = int(smallest.argmin())
        raise NotPositiveDefiniteError(
            f"A is not positive definite: its diagonal block of rows {block * b} to "
            f"{block * b + b - 1} has the eigenvalue {smallest[block]:.6g}. Use "
            "preconditioner(A), which falls back to |diag(A)|, with minres."
        ) from None


def _csr(blocks: Array, indices: Array, indptr: Array, n: int) -> sp.csr_array:
    matrix = sp.csr_array(sp.bsr_array((blocks, indices, indptr), shape=(n, n)))
    matrix.sort_indices()
    return matrix
