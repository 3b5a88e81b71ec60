"""What A is: one object in front of every kind of input, validated at the door and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, FloatArray
from spectool.backends import Backend, RowFacts
from spectool.backends.cpu import CpuBackend
from spectool.backends.generic import GenericBackend
from spectool.errors import BreakdownError, InputError
from spectool.operators.counting import MatvecCounter

if TYPE_CHECKING:
    from spectool.backends.execution import Execution
    from spectool.polynomials.recurrence import Recurrence

AssumeA = Literal["her", "pos", "gen"]
COMPARED = 1_000_000
"""Stored entries up to which each is compared with its partner. Beyond, two products tell: the
comparison may take as long as twenty on a graph, and the whole solve as long as that."""
_ASSUMPTIONS = ("her", "pos", "gen")
_COMPUTE = {"f": np.float32, "d": np.float64, "F": np.complex64, "D": np.complex128}


class Operator:
    """A square operator: a backend, a matvec counter and what is known of its structure.

    Parameters
    ----------
    backend : Backend
        Executes products and recurrences.
    assume_a : {"her", "pos", "gen"}
        Hermitian, Hermitian positive definite, or general.
    """

    def __init__(self, backend: Backend, assume_a: AssumeA) -> None:
        self.backend = backend
        self.assume_a = assume_a
        self.counter = MatvecCounter()
        self._row_facts: RowFacts | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.backend.shape

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.backend.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the values."""
        return self.backend.dtype

    @property
    def nnz(self) -> int:
        """Entries one product reads."""
        return self.backend.nnz

    @property
    def n_matvecs(self) -> int:
        """Products with A since this object was made, one per (real) column."""
        return self.counter.value

    def recounted(self) -> Operator:
        """Return the same operator with a count of its own."""
        twin = Operator(self.backend, self.assume_a)
        twin._row_facts = self._row_facts
        return twin

    def matmul(self, X: Array) -> Array:
        """Return ``A @ X``; counts one matvec per column, two for complex X and real A."""
        self.counter.add(self._columns(X))
        return self.backend.matmul(X)

    def apply(self, recurrence: Recurrence, X: Array, *, order: str | None = None) -> Array:
        """Return ``p(A) X``; counts ``degree`` matvecs per column, twice that for complex X."""
        self.counter.add(recurrence.degree * self._columns(X))
        return self.backend.apply(recurrence, X, order=order)

    def _columns(self, X: Array) -> int:
        # A real operator acts on real and imaginary parts apart.
        parts = 2 if X.dtype.kind == "c" and self.dtype.kind != "c" else 1
        return parts * (1 if X.ndim == 1 else X.shape[1])

    def lanczos_step(
        self, previous: Array, current: Array, beta: float, basis: Array, following: Array
    ) -> tuple[float, float]:
        """Make one Lanczos step; counts one matvec. Raises BreakdownError on NaN or overflow."""
        self.counter.add(1)
        alpha, beta = self.backend.lanczos_step(previous, current, beta, basis, following)
        if not (np.isfinite(alpha) and np.isfinite(beta)):
            raise BreakdownError(
                f"A @ v is not finite or its square overflows (alpha = {alpha}, beta = {beta}). "
                "Check the operator for NaN, and rescale A if its entries are beyond 1e150."
            )
        return alpha, beta

    def lanczos_steps(
        self,
        previous: Array,
        current: Array,
        norms: FloatArray,
        back: FloatArray,
        following: Array,
        unit: float = 1.0,
    ) -> FloatArray:
        """Make one Lanczos step for every column of a block (n, m), as `Backend` describes it.

        Counts m matvecs. Raises BreakdownError on NaN or overflow.
        """
        self.counter.add(current.shape[1])
        pairs = self.backend.lanczos_steps(previous, current, norms, back, following, unit)
        if not np.isfinite(pairs).all():
            bad = ~np.isfinite(pairs).all(axis=0)
            alpha, beta = pairs[:, int(np.argmax(bad))]
            raise BreakdownError(
                f"A @ v is not finite or its square overflows in {int(bad.sum())} of {bad.size} "
                f"columns (alpha = {alpha}, beta = {beta}, in units of {1 / unit:.3g}). Check the "
                "operator for NaN, and rescale A if it overflows."
            )
        return pairs

    def row_facts(self) -> RowFacts | None:
        """Return the diagonal and Gershgorin radii where entries are stored; cached."""
        if self._row_facts is None:
            self._row_facts = self.backend.row_facts()
        return self._row_facts

    def gershgorin(self) -> tuple[float, float] | None:
        """Return ``(lower, upper)`` that holds every eigenvalue of a Hermitian A, or None."""
        facts = self.row_facts()
        if facts is None:
            return None
        center = facts.diagonal.real.astype(np.float64)
        return float((center - facts.radius).min()), float((center + facts.radius).max())

    def scaled(self, scale: FloatArray) -> Operator:
        """Return ``diag(scale) A diag(scale)``, counted apart."""
        return Operator(self.backend.scaled(scale), self.assume_a)

    def prepared(self, products: float, execution: Execution | None = None) -> Operator:
        """Return the operator laid out for about ``products`` more products, counted together."""
        twin = Operator(self.backend.prepared(products, execution), self.assume_a)
        twin.counter, twin._row_facts = self.counter, self._row_facts
        return twin

    def astype(self, dtype: Any) -> Operator:
        """Return the operator with values in another precision, counted apart."""
        return Operator(self.backend.astype(dtype), self.assume_a)


def as_operator(
    A: Any, *, assume_a: AssumeA | None = None, need_hermitian: bool = True
) -> Operator:
    """Return A as an ``Operator``, or raise InputError that says what is wrong with it.

    Parameters
    ----------
    A : sparse array or matrix, ndarray, LinearOperator, or Operator, shape (n, n)
        Integers become float64, half precision float32. Duplicate entries are summed.
    assume_a : {"her", "pos", "gen"}, optional
        Declared structure: Hermitian, Hermitian positive definite, general. Without it A is tested.
    need_hermitian : bool
        Whether a non-Hermitian A is an error.

    Returns
    -------
    Operator
        With a matvec count that starts at zero; testing a LinearOperator costs 2 matvecs.

    Raises
    ------
    InputError
        If A is not square, empty, not numeric, not finite or not Hermitian.
    """
    if assume_a is not None and assume_a not in _ASSUMPTIONS:
        raise InputError(f"assume_a must be one of {_ASSUMPTIONS} or None; got {assume_a!r}.")
    if isinstance(A, Operator):
        operator = A.recounted()
        if assume_a is not None:
            operator.assume_a = assume_a
        known: AssumeA | None = operator.assume_a
    else:
        operator = Operator(_backend(A), assume_a or "gen")
        known = assume_a
    if known is None:
        operator.assume_a = "her" if _looks_hermitian(operator, need_hermitian) else "gen"
    elif known == "gen" and need_hermitian:
        raise InputError(
            "A must be Hermitian for this task, but assume_a='gen' declares it general; "
            "declare assume_a='her' or 'pos' if it is."
        )
    return operator


def _backend(A: Any) -> Backend:
    shape: tuple[int, ...]
    if isinstance(A, np.matrix):
        A = np.asarray(A)
    if not (sp.issparse(A) or isinstance(A, np.ndarray | LinearOperator)):
        try:
            A = np.asarray(A)
        except (TypeError, ValueError):
            A = np.empty((), dtype=object)
    shape = getattr(A, "shape", ())
    if len(shape) != 2 or shape[0] != shape[1]:
        raise InputError(
            f"A must be square; got {type(A).__name__} of shape {tuple(shape)}. "
            "Pass a sparse array, a 2-D ndarray or a scipy LinearOperator."
        )
    if shape[0] == 0:
        raise InputError("A must not be empty; got shape (0, 0).")
    dtype = _compute_dtype(getattr(A, "dtype", None))
    if isinstance(A, LinearOperator):
        return GenericBackend(A, dtype=dtype)
    A = np.ascontiguousarray(A, dtype=dtype) if isinstance(A, np.ndarray) else _canonical(A, dtype)
    values = A if isinstance(A, np.ndarray) else A.data
    if not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"A must be finite; {int((~np.isfinite(values)).sum())} of its entries are NaN or Inf, "
            f"the first at position {where.tolist()} of its "
            f"{'array' if isinstance(A, np.ndarray) else 'stored data'}."
        )
    if isinstance(A, np.ndarray):
        return GenericBackend(A)
    return CpuBackend(A)


def _compute_dtype(dtype: Any) -> np.dtype[Any]:
    if dtype is None:
        return np.dtype(np.float64)
    kind = np.dtype(dtype)
    if kind.kind in "biu":
        return np.dtype(np.float64)
    if kind.kind not in "fc":
        raise InputError(f"A must be numeric; got dtype {kind}. Convert it to float64 first.")
    if kind.itemsize <= 2:
        return np.dtype(np.float32)
    return np.dtype(_COMPUTE.get(kind.char, np.complex128 if kind.kind == "c" else np.float64))


def _canonical(A: Any, dtype: np.dtype[Any]) -> sp.csr_array:
    """CSR with sorted indices and no duplicates; shares memory with A where A already is that."""
    csr = sp.csr_array(A, dtype=dtype)
    if not csr.has_canonical_format:
        # scipy's constructor shares arrays, and sum_duplicates works in place.
        csr = csr.copy() if csr.data is getattr(A, "data", None) or sp.issparse(A) else csr
        csr.sum_duplicates()
    if csr.indices.dtype == np.int64 and csr.nnz < 2**31 and csr.shape[1] < 2**31:
        csr = sp.csr_array(
            (csr.data, csr.indices.astype(np.int32), csr.indptr.astype(np.int32)), shape=csr.shape
        )
    return csr


def _looks_hermitian(operator: Operator, need: bool) -> bool:
    tolerance = 1e4 * float(np.finfo(operator.dtype).eps)
    stored = operator.row_facts() is not None
    if stored and operator.nnz > COMPARED:
        gap, size = _hermitian_gap(operator)
        if gap <= 1e-3 * tolerance * size < np.inf:
            return True
    if stored:
        defect = cast("float", operator.backend.hermitian_defect())
        facts = cast("RowFacts", operator.row_facts())
        size = float(max(np.abs(facts.diagonal).max(), facts.radius.max()))
        if defect <= tolerance * size:
            return True
        found = f"max |a_ij - conj(a_ji)| is {defect:.3g} against a norm of {size:.3g}"
    else:
        gap, size = _hermitian_gap(operator)
        if not np.isfinite(size):
            raise InputError(
                "A must map finite vectors to finite ones; its product with a random vector is "
                "not finite. Check the operator for NaN, and rescale it if it overflows."
            )
        if gap <= tolerance * size:
            return True
        found = f"|y* A x - conj(x* A y)| is {gap:.3g} for random x, y, against {size:.3g}"
    if need:
        symmetric = "" if operator.dtype.kind != "c" else " (complex symmetric is not Hermitian)"
        raise InputError(
            f"A must be Hermitian for this task: {found}{symmetric}. If this is rounding, pass "
            "0.5 * (A + A.conj().T), or declare assume_a='her' to skip the test."
        )
    return False


def _hermitian_gap(operator: Operator) -> tuple[float, float]:
    """Return ``|y* A x - conj(x* A y)|`` for random x, y, and what to measure it by.

    Two products in one pass over A.
    """
    rng = np.random.default_rng(602214076)
    X = rng.uniform(-1.0, 1.0, (operator.n, 2))
    if operator.dtype.kind == "c":
        X = X + 1j * rng.uniform(-1.0, 1.0, X.shape)
    X = X.astype(operator.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        (x, y), (Ax, Ay) = np.ascontiguousarray(X.T), np.ascontiguousarray(operator.matmul(X).T)
        gap = abs(np.vdot(y, Ax) - np.conj(np.vdot(x, Ay)))
        size = np.linalg.norm(Ax) * np.linalg.norm(y) + np.linalg.norm(Ay) * np.linalg.norm(x)
    return float(gap), float(size)
