"""``A x = b`` at the door of a solver: validated, in one working precision, everything counted."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from spectool._types import Array
from spectool.errors import InputError
from spectool.operators import AssumeA, Operator, PolynomialOperator, as_operator

PREPARE_AFTER = 60
"""Products after which A is laid out for its kernels: as many more will repay that."""
PREPARE_FOR = 250
"""Products then expected: too few for renumbered rows, which would cost more than they save."""


class LinearSystem:
    """One system in one dtype, b scaled by a power of two to size one.

    Parameters
    ----------
    A, b, x0, M
        As the solvers take them.
    hermitian : bool
        Whether A must be Hermitian.
    shift : float
        The operator is ``A - shift I``.

    Attributes
    ----------
    b, x0 : ndarray, shape (n,)
        Right-hand side and start, divided by ``unit``.
    unit : float
        The power of two: squares of tiny or huge b neither underflow nor overflow.
    shape : tuple of int
        Shape of b as it came.
    n_reductions : int
        Inner products and norms so far.
    diagonal : ndarray, shape (n,), or None
        M, where it is known to be diagonal: fused passes apply it on their way.
    """

    def __init__(
        self, A: Any, b: Any, x0: Any, M: Any, *, hermitian: bool = True, shift: float = 0.0
    ) -> None:
        known: AssumeA | None = None
        if isinstance(M, PolynomialOperator) and M.operator.assume_a != "gen" and hermitian:
            known = M.operator.assume_a  # whoever made M has tested A's symmetry
        operator = as_operator(A, assume_a=known, need_hermitian=hermitian)
        right = _vector("b", b, operator.n)
        start = None if x0 is None else _vector("x0", x0, operator.n)
        self._inverse = None if M is None else _preconditioner(M, operator.shape)
        self.dtype = _working_dtype(operator, right, start, self._inverse)
        self.shape = np.shape(b)
        _, exponent = math.frexp(float(np.abs(right).max()))
        self.unit = math.ldexp(1.0, exponent - 1) if right.any() else 1.0
        self.b = _scaled(right, self.unit, self.dtype)
        nothing = start is None or not right.any()
        self.x0 = np.zeros_like(self.b) if nothing else _scaled(start, self.unit, self.dtype)
        self.shift = shift
        self.n_reductions = 0
        self._counted = M
        self._before_solve = getattr(M, "n_matvecs", 0)
        self._spent = 0
        self.operator, self._parts = _in_dtype(operator, self.dtype)
        self.diagonal = _diagonal(M, self.dtype)
        self._products = 0

    @property
    def n(self) -> int:
        """Number of unknowns."""
        return self.operator.n

    @property
    def eps(self) -> float:
        """Unit of rounding of the working precision."""
        return float(np.finfo(self.dtype).eps)

    @property
    def preconditioned(self) -> bool:
        """Whether there is an M."""
        return self._inverse is not None

    @property
    def n_matvecs(self) -> int:
        """Products with A so far, those that M reports included."""
        inside = getattr(self._counted, "n_matvecs", 0) - self._before_solve
        return self.operator.n_matvecs + self._spent + int(inside)

    def promote(self) -> bool:
        """Go on with M in the working precision; False where it is, or cannot be, in that."""
        promoted = getattr(self._counted, "promoted", None)
        M = None if promoted is None else promoted(self.operator)
        if M is None:
            return False
        self._spent += self._counted.n_matvecs - self._before_solve
        self._counted, self._before_solve = M, M.n_matvecs
        self._inverse = _preconditioner(M, self.operator.shape)
        return True

    def precondition(self, r: Array) -> Array:
        """Return ``M r``: r itself where M is the identity."""
        if self._inverse is None:
            return r
        if self.diagonal is not None:
            D = self.diagonal if r.ndim == 1 else self.diagonal[:, None]
            return np.asarray(D * r)
        return np.array(self._inverse.matmul(r), dtype=self.dtype)

    def matmul(self, v: Array) -> Array:
        """Return ``A v``, without the shift."""
        self._count()
        return self.operator.backend.matmul(v)

    def product_dot(self, p: Array, q: Array) -> float:
        """Do ``q <- A p`` and return the real ``p* q``, without the shift."""
        self._count()
        self.n_reductions += 1
        return float(self.operator.backend.product_dot(p, q).real)

    def lanczos_step(
        self, previous: Array, current: Array, beta: float, following: Array
    ) -> tuple[float, float]:
        """Write the next Lanczos vector of A into ``following``; return alpha and beta."""
        self._count()
        self.n_reductions += 2
        nothing = np.empty((0, self.n), dtype=self.dtype)
        return self.operator.backend.lanczos_step(previous, current, beta, nothing, following)

    def search(self, p: Array, q: Array, z: Array, beta: float, D: Array | None = None) -> float:
        """Do ``p <- D z + beta p``, ``q <- A p`` and return the real ``p* q``."""
        self._count()
        self.n_reductions += 1
        return float(self.operator.backend.search(p, q, z, beta, D).real)

    def update_norm(
        self, x: Array, r: Array, p: Array, q: Array, alpha: float, D: Array | None = None
    ) -> tuple[float, float]:
        """Do ``x <- x + alpha p``, ``r <- r - alpha q``; return ``||r||`` and ``r* D r``."""
        self.n_reductions += 1
        square, weighted = self.operator.backend.update_norm(x, r, p, q, alpha, D)
        return _root(square), weighted

    def direction(self, p: Array, z: Array, beta: float) -> None:
        """Do ``p <- z + beta p``."""
        self.operator.backend.direction(p, z, beta)

    def inner(self, x: Array, y: Array) -> float:
        """Return the real part of ``x* y``."""
        self.n_reductions += 1
        return float(self.operator.backend.inner(x, y).real)

    def norm(self, x: Array) -> float:
        """Return ``||x||``."""
        return _root(self.inner(x, x))

    def combine(
        self, y: Array, c: float, u: Array, a: float, v: Array, b: float, *, norm: bool = False
    ) -> float:
        """Do ``y <- c y + a u + b v``; return ``||y||``, which counts only if it is wanted."""
        self.n_reductions += norm
        return _root(self.operator.backend.combine(y, c, u, a, v, b))

    def project_out(self, V: Array, w: Array) -> tuple[Array, float]:
        """Do ``w <- w - V^T h`` with h = ``conj(V) w``; return h and ``||w||``."""
        self.n_reductions += 2
        h, square = self.operator.backend.project_out(V, w)
        return h, _root(square)

    def residual(self, x: Array) -> Array:
        """Return ``b - (A - shift I) x``; b itself costs no product."""
        if not x.any():
            return self.b.copy()
        r = self.b - self.matmul(x)
        if self.shift:
            r += self.shift * x
        return r

    @cached_property
    def size(self) -> float:
        """A bound of ``||A||`` from its entries, or an estimate by one product."""
        interval = self.operator.gershgorin()
        if interval is not None:
            return max(abs(end) for end in interval)
        v = np.random.default_rng(448170293).standard_normal(self.n).astype(self.dtype)
        return float(np.linalg.norm(self.matmul(v)) / np.linalg.norm(v))

    def curvature_noise(self, p: Array) -> float:
        """Return a bound of what rounding may add to ``p* A p``, about ``10 eps |p|* |A| |p|``."""
        moduli = np.abs(p).astype(np.float64)
        facts = self.operator.row_facts()
        if facts is None:
            return float(10 * self.eps * self.size * (moduli @ moduli))
        image = np.abs(facts.diagonal) * moduli + facts.radius * moduli.max()
        return float(10 * self.eps * (moduli @ image))

    def leave(self, x: Array) -> Array:
        """Return x in the caller's unit and shape."""
        return np.asarray(self.unit * x, dtype=self.dtype).reshape(self.shape)

    def _count(self) -> None:
        self.operator.counter.add(self._parts)
        self._products += 1
        if self._products == PREPARE_AFTER:
            self.operator = self.operator.prepared(PREPARE_FOR)


def _diagonal(M: Any, dtype: np.dtype[Any]) -> Array | None:
    """Return M's diagonal in the real precision of dtype, where it is all there is of M."""
    found = M.diagonal if isinstance(M, PolynomialOperator) else None
    if found is None:
        return None
    found = np.array(found, dtype=np.empty(0, dtype=dtype).real.dtype)
    return found if np.isfinite(found).all() else None


def _root(square: float) -> float:
    return math.sqrt(square) if square >= 0 else math.nan


def _vector(name: str, values: Any, n: int) -> Array:
    v = np.asarray(values)
    if v.shape not in ((n,), (n, 1)):
        raise InputError(f"{name} must have shape ({n},) or ({n}, 1); got {v.shape}.")
    if v.dtype.kind not in "biufc":
        raise InputError(f"{name} must be numeric; got dtype {v.dtype}.")
    if v.dtype.kind in "biu":
        v = v.astype(np.float64)
    if not np.isfinite(v).all():
        raise InputError(
            f"{name} must be finite; {int((~np.isfinite(v)).sum())} of its {n} entries are not."
        )
    return v.reshape(n)


def _preconditioner(M: Any, shape: tuple[int, int]) -> Operator:
    found = getattr(M, "shape", None)
    if found is None or tuple(found) != shape:
        raise InputError(
            f"M must approximate the inverse of A and have its shape {shape}; got "
            f"{type(M).__name__}{'' if found is None else f' of shape {tuple(found)}'}. Wrap a "
            "function in scipy.sparse.linalg.LinearOperator(A.shape, matvec=function)."
        )
    try:
        return as_operator(M, assume_a="gen", need_hermitian=False)
    except InputError as error:
        raise InputError(f"M is not usable: {error}") from error


def _working_dtype(
    operator: Operator, b: Array, x0: Array | None, M: Operator | None
) -> np.dtype[Any]:
    """Precision of A and b together, at most double; complex if anything is."""
    kind = np.result_type(operator.dtype, b.dtype, np.float32)
    others = [v.dtype for v in (x0, M) if v is not None]
    if any(other.kind == "c" for other in others):
        kind = np.result_type(kind, np.complex64)
    if kind.kind == "c":
        return np.dtype(np.complex64 if kind == np.complex64 else np.complex128)
    return np.dtype(np.float32 if kind == np.float32 else np.float64)


def _scaled(v: Any, unit: float, dtype: np.dtype[Any]) -> Array:
    wide = np.asarray(v, dtype=np.result_type(dtype, np.float64))
    return np.ascontiguousarray(wide / unit, dtype=dtype)


def _in_dtype(operator: Operator, dtype: np.dtype[Any]) -> tuple[Operator, int]:
    """Return A in the working dtype, and its real products per vector."""
    parts = 1
    if dtype.kind == "c" and operator.dtype.kind != "c" and operator.row_facts() is None:
        # What a LinearOperator that calls itself real does to complex vectors is not known.
        dtype, parts = np.empty(0, dtype=dtype).real.dtype, 2
    if dtype == operator.dtype:
        return operator, parts
    twin = operator.astype(dtype)
    twin.counter = operator.counter
    return twin, parts
