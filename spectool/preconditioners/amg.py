"""Algebraic multigrid whose smoothers are optimal fourth-kind polynomials, run by our kernels.

Source
    Vanek, Mandel, Brezina, Algebraic multigrid by smoothed aggregation, Computing 56 (1996), for
    the hierarchy, which pyamg builds; Lottes, Optimal polynomial smoothers for multigrid V-cycles,
    Numer. Linear Algebra Appl. 30 (2023); Phillips and Fischer, Optimal Chebyshev smoothers and
    one-sided V-cycles, 2022.
Deviations
    (1) Every level is scaled symmetrically, ``S A S`` with unit diagonal: unscaled, jumps of
    coefficients make Chebyshev smoothers useless. (2) Upper ends are safe bounds, not estimates.
    (3) Degrees grow by two from level to level, as in the variable V-cycle: coarse products are
    cheap. (4) Small levels are not smoothed but solved.
Cost
    Per application ``2 degree`` products with A, and about half as much on all other levels.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, Rng
from spectool.backends.cpu import CpuBackend
from spectool.backends.multigrid import VCycle
from spectool.errors import BackendUnavailableError, InputError
from spectool.operators import as_operator
from spectool.operators.counting import MatvecCounter
from spectool.polynomials.chebyshev import checked_degree
from spectool.preconditioners.hierarchy import COARSE, AmgReport, check_diagonal, polynomial_cycle
from spectool.preconditioners.operator import SEED
from spectool.preconditioners.polynomial import SINGLE_FROM

__all__ = ["AmgPreconditioner", "AmgReport", "accelerate", "amg"]

DEGREE = 3
"""Products per smoothing on the finest level."""
LEVELS = 10
STRENGTH = [("symmetric", {"theta": 0.08 * 0.5**level}) for level in range(LEVELS)]
"""Couplings below these fractions do not aggregate: Vanek, Mandel and Brezina's choice. Without a
threshold, jumping and anisotropic coefficients take 1.5 to 6 times the work (measured)."""


class AmgPreconditioner(LinearOperator[Any]):
    """One V-cycle as a scipy ``LinearOperator``; Hermitian positive definite.

    Attributes
    ----------
    report : AmgReport
        Levels, degrees and work.
    n_matvecs : int
        Products with A (the finest level) so far: set-up and applications.
    """

    def __init__(self, cycle: VCycle, report: AmgReport, dtype: Any) -> None:
        n = report.levels[0].n
        # scipy-stubs hides the base constructor, which subclasses must call.
        super().__init__(dtype=dtype, shape=(n, n))  # type: ignore[call-arg]
        self.cycle = cycle
        self.report = report
        self._counter = MatvecCounter(report.n_matvecs)
        self._again: partial[AmgPreconditioner] | None = None

    def __repr__(self) -> str:
        return f"<AmgPreconditioner {self.shape}: {len(self.report.levels)} levels>"

    @property
    def n_matvecs(self) -> int:
        """Products with A so far."""
        return self._counter.value

    def refresh(self, A: Any, *, rng: Rng = SEED) -> AmgPreconditioner:
        """Return a new cycle for another matrix: a full set-up with the options of this one.

        Raises InputError if the hierarchy was given.
        """
        if self._again is None:
            raise InputError(
                "the hierarchy of this M was given, not built here; build one for the new A and "
                "pass it to accelerate(ml)."
            )
        return self._again(A, rng=rng)

    def _matvec(self, x: Array) -> Array:
        r = np.asarray(x).ravel()
        if r.dtype.kind not in "fc":
            r = r.astype(np.float64)
        result = np.result_type(self.dtype, r.dtype)
        if r.dtype.kind == "c" and self.dtype.kind != "c":
            return np.asarray(self._cycle(r.real) + 1j * self._cycle(r.imag), dtype=result)
        return np.asarray(self._cycle(r), dtype=result)

    def _cycle(self, r: Array) -> Array:
        self._counter.add(2 * self.report.levels[0].degree)
        return self.cycle.apply(r)

    def _adjoint(self) -> Self:
        return self


def amg(
    A: Any,
    *,
    near_null: Array | None = None,
    degree: int = DEGREE,
    precision: Literal["auto", "float64", "float32"] = "auto",
    rng: Rng = None,
) -> AmgPreconditioner:
    """Return a smoothed aggregation V-cycle ``M ~ inv(A)`` with polynomial smoothers.

    pyamg builds the hierarchy; `accelerate` turns it into a cycle of our kernels.

    Parameters
    ----------
    A : sparse array, shape (n, n)
        Hermitian positive definite. Where it is a ``bsr_array``, its blocks are the nodes.
    near_null : ndarray, shape (n, k), optional
        Vectors that A nearly annihilates, such as rigid body modes; constants by default.
    degree : int
        Products per smoothing on the finest level, at least 2.
    precision : {"auto", "float64", "float32"}
        Storage and arithmetic inside the cycle; "auto" takes single precision where A is too
        large for the caches, and that of A otherwise.
    rng : Generator, int or None
        Seeds the probes, and pyamg's.

    Returns
    -------
    AmgPreconditioner
        Hermitian positive definite ``LinearOperator`` with ``report``.

    Raises
    ------
    BackendUnavailableError
        If pyamg is not installed.
    InputError
        If A is not sparse, square, finite and Hermitian, or an option is out of range.
    NotPositiveDefiniteError
        If a level is found not to be positive definite.

    Notes
    -----
    Set-up: pyamg's, and at most 24 products per level for safe upper ends.
    Cost per application: ``2 degree`` products with A, ``report.work`` in all.

    References
    ----------
    .. [1] Vanek, Mandel, Brezina, Computing 56 (1996), 179-196.
    .. [2] Lottes, Optimal polynomial smoothers for multigrid V-cycles, 2023.

    Examples
    --------
    >>> import numpy as np, scipy.sparse.linalg as sla, spectool as st
    >>> from spectool.preconditioners.amg import amg
    >>> A = st.gallery.poisson((60, 60))
    >>> M = amg(A, rng=271828)
    >>> x, info = sla.cg(A, np.ones(3600), M=M, rtol=1e-8)
    >>> info, bool(np.linalg.norm(A @ x - 1.0) <= 1.1e-8 * 60)
    (0, True)
    """
    begin = time.perf_counter()
    checked_degree(degree, least=2, most=64)
    pyamg = _pyamg()
    operator = as_operator(A)
    if not isinstance(operator.backend, CpuBackend):
        raise InputError(f"A must be a sparse array; got {type(A).__name__}. Pass a csr_array.")
    check_diagonal(operator)
    if near_null is not None:
        near_null = np.asarray(near_null, dtype=operator.dtype)
        if near_null.ndim != 2 or len(near_null) != operator.n or near_null.shape[1] == 0:
            raise InputError(
                f"near_null must have shape (n, k) with n = {operator.n} and k >= 1; "
                f"got {near_null.shape}."
            )
    generator = np.random.default_rng(rng)
    fine: Any = operator.backend.A
    if isinstance(A, sp.bsr_array | sp.bsr_matrix):
        fine = fine.tobsr(A.blocksize)
    # pyamg draws from NumPy's global state; it is seeded, and given back as it was.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(int(generator.integers(2**32)))  # noqa: NPY002
    try:
        hierarchy = pyamg.smoothed_aggregation_solver(
            fine,
            B=near_null,
            strength=STRENGTH,
            max_levels=LEVELS,
            max_coarse=COARSE,
            presmoother=None,
            postsmoother=None,
        )
    finally:
        np.random.set_state(state)  # noqa: NPY002
    M = _cycle_of(hierarchy.levels, degree, precision, generator, begin)
    M._again = partial(amg, near_null=near_null, degree=degree, precision=precision)
    return M


def accelerate(
    ml: Any,
    *,
    degree: int = DEGREE,
    precision: Literal["auto", "float64", "float32"] = "auto",
    rng: Rng = None,
) -> AmgPreconditioner:
    """Return one V-cycle over a given hierarchy, with optimal fourth-kind smoothers.

    Each level is smoothed by ``x + q(S A S) (r - S A S x)`` in symmetrically scaled unknowns, with
    the same q before and after the coarse correction, so M is Hermitian positive definite.

    Parameters
    ----------
    ml : pyamg.MultilevelSolver
        Any object with ``levels`` that hold ``A``, and except the last ``P`` (and ``R``). Its
        smoothers and its coarse solver are not used.
    degree : int
        Products per smoothing on the finest level, at least 2; two more on each coarser level.
    precision : {"auto", "float64", "float32"}
        Storage and arithmetic inside the cycle; "auto" takes single precision where A is too
        large for the caches, and that of A otherwise.
    rng : Generator, int or None
        Seeds the probes.

    Returns
    -------
    AmgPreconditioner
        Hermitian positive definite ``LinearOperator`` with ``report``.

    Raises
    ------
    InputError
        If ml holds no levels, A is not Hermitian or R not the adjoint of P, or an option is out of
        range.
    NotPositiveDefiniteError
        If a level is found not to be positive definite.

    Notes
    -----
    Set-up: at most 24 products per level for safe upper ends, and laying levels out.
    Cost per application: ``2 degree`` products with A, ``report.work`` in all, no reduction.
    With m products the smoothing factor of a level is bounded by ``C / (C + gamma)``, gamma =
    ``cot(pi / (4 m + 2))^2 / upper``, whatever the number of levels [1]_.

    References
    ----------
    .. [1] Lottes, Optimal polynomial smoothers for multigrid V-cycles, 2023, sections 4 and 5.

    Examples
    --------
    >>> import numpy as np, pyamg, scipy.sparse.linalg as sla, spectool as st
    >>> from spectool.preconditioners.amg import accelerate
    >>> A = st.gallery.poisson((60, 60))
    >>> M = accelerate(pyamg.smoothed_aggregation_solver(A), degree=4, rng=271828)
    >>> x, info = sla.cg(A, np.ones(3600), M=M, rtol=1e-8)
    >>> info, [level.degree for level in M.report.levels]
    (0, [4, 6, 0])
    """
    begin = time.perf_counter()
    checked_degree(degree, least=2, most=64)
    levels = getattr(ml, "levels", None)
    if not levels or not all(sp.issparse(getattr(level, "A", None)) for level in levels):
        raise InputError(
            f"ml must hold levels with sparse matrices A; got {type(ml).__name__}. "
            "Pass what pyamg.smoothed_aggregation_solver(A) returns."
        )
    return _cycle_of(list(levels), degree, precision, np.random.default_rng(rng), begin)


def _pyamg() -> Any:
    try:
        import pyamg
    except ImportError:
        raise BackendUnavailableError(
            'multigrid hierarchies are built by pyamg; pip install "spectool[amg]".'
        ) from None
    return pyamg


def _cycle_of(
    levels: list[Any], degree: int, precision: str, rng: np.random.Generator, begin: float
) -> AmgPreconditioner:
    if precision not in ("auto", "float64", "float32"):
        raise InputError(f"precision must be 'auto', 'float64' or 'float32'; got {precision!r}.")
    if precision == "auto":
        A = levels[0].A
        single = A.dtype.char in "fF" or A.nnz * (A.dtype.itemsize + 4) >= SINGLE_FROM
        precision = "float32" if single else "float64"
    cycle, report, dtype = polynomial_cycle(levels, degree, precision, rng, begin)
    return AmgPreconditioner(cycle, report, dtype)
