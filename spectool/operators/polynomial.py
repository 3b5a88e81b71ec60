"""A recurrence in front of an operator, as a scipy ``LinearOperator``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, FloatArray
from spectool.kernels.rescaling import largest, rescale
from spectool.operators.operator import Operator

if TYPE_CHECKING:
    from spectool.polynomials.recurrence import Recurrence


class PolynomialOperator(LinearOperator[Any]):
    """``S p(S A S) S`` for Hermitian A, a real polynomial p and a real diagonal S.

    Parameters
    ----------
    operator : Operator
        ``S A S``.
    recurrence : Recurrence
        p.
    scale : ndarray, shape (n,), optional
        Diagonal of S; the identity if None.
    dtype : dtype, optional
        Of the vectors; the operator's values may be stored in less.

    Attributes
    ----------
    recurrence : Recurrence
        What one application executes.
    n_matvecs : int
        Products with A that all applications so far have cost, one per column and degree.
    """

    def __init__(
        self,
        operator: Operator,
        recurrence: Recurrence,
        *,
        scale: FloatArray | None = None,
        dtype: Any = None,
    ) -> None:
        kind = np.dtype(dtype or operator.dtype)
        # scipy-stubs hides the base constructor, which subclasses must call.
        super().__init__(dtype=kind, shape=operator.shape)  # type: ignore[call-arg]
        self.operator = operator
        self.recurrence = recurrence
        self.scale = scale
        weight = recurrence.w[0]
        self._diagonal = np.asarray(weight if scale is None else weight * scale * scale)

    @property
    def n_matvecs(self) -> int:
        """Products with A so far."""
        return self.operator.n_matvecs

    @property
    def diagonal(self) -> FloatArray | None:
        """Return the diagonal, shape (n,), where the degree is 0; None where it is not."""
        if self.recurrence.degree:
            return None
        return np.broadcast_to(self._diagonal, self.shape[:1])

    def _matvec(self, x: Array) -> Array:
        return self._run(np.asarray(x).ravel())

    def _matmat(self, X: Array) -> Array:
        return self._run(np.ascontiguousarray(X))

    def _run(self, X: Array) -> Array:
        if self.recurrence.degree == 0 and X.ndim == 1 and X.dtype == self.dtype:
            return np.asarray(self._diagonal * X, dtype=self.dtype)
        if X.dtype.kind not in "fc":
            X = X.astype(np.float64)
        result = np.result_type(self.dtype, X.dtype)
        if self.recurrence.degree == 0:
            y = self._diagonal if X.ndim == 1 or self.scale is None else self._diagonal[:, None]
            return np.asarray(y * X, dtype=result)
        if np.finfo(self.operator.dtype).bits < np.finfo(X.dtype).bits:
            ones = np.ones(X.shape[0]) if self.scale is None else self.scale
            kind = np.result_type(X.dtype, self.operator.dtype)
            apply = self._vector_in_single if X.ndim == 1 else self._block_in_single
            return np.asarray(apply(X.astype(kind, copy=False), ones), dtype=result)
        scale = self.scale if self.scale is None or X.ndim == 1 else self.scale[:, None]
        Y = self.operator.apply(self.recurrence, X if scale is None else scale * X)
        return np.asarray(Y if scale is None else scale * Y, dtype=result)

    def _vector_in_single(self, x: Array, scale: FloatArray) -> Array:
        """Return ``scale p(A) scale x`` of x in a higher precision than the operator's.

        A power of two keeps vectors of any unit inside the smaller range.
        """
        if x.dtype.itemsize > (16 if x.dtype.kind == "c" else 8):
            x = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
        exponent = _exponents(largest(x, scale))
        single = np.empty(x.size, dtype=np.complex64 if x.dtype.kind == "c" else np.float32)
        rescale(x, scale, float(np.exp2(-exponent)), single)
        y = np.empty_like(x)
        rescale(self.operator.apply(self.recurrence, single), scale, float(np.exp2(exponent)), y)
        return y

    def _block_in_single(self, X: Array, scale: FloatArray) -> Array:
        """Do the same for columns, each with a power of its own."""
        X = scale[:, None] * X
        exponents = _exponents(np.abs(X).max(axis=0, initial=0.0))
        Y = self.operator.apply(self.recurrence, X * np.exp2(-exponents)) * np.exp2(exponents)
        return np.asarray(scale[:, None] * Y)

    def _adjoint(self) -> Self:
        return self


def _exponents(sizes: Any) -> Any:
    """Return exponents of two, of denormal numbers too."""
    return np.clip(np.frexp(sizes)[1], -1000, 1000)
