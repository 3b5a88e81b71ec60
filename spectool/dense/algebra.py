"""The arithmetic of a step: the same formula runs on matrices, on their spectra, and on counters.

Every iteration for a matrix function is a rational function of commuting variables, so what it
does to a matrix it does to each eigenvalue (or singular value). A step is therefore written once,
against ``Algebra``, and is executed on arrays of NumPy or torch (``MatrixAlgebra``), simulated on
spectra (``SpectrumAlgebra``) and priced (``Tally``).

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833, section 3: the spectrum as the state.
Deviations
    The last squares and products are remembered, so that a residual that the next step needs
    anyway costs nothing; a stable form of ``X (I + c X^H X)^-1`` for large c (Nakatsukasa, Bai and
    Gygi, SIAM J. Matrix Anal. Appl. 31 (2010), eq. 5.8).
Cost
    One BLAS or LAPACK call per method; ``Tally`` counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_torch_array

__all__ = ["Algebra", "Coefficient", "Cost", "MatrixAlgebra", "SpectrumAlgebra", "Tally", "Tensor"]

Tensor: TypeAlias = Any
"""An array of NumPy or torch: matrices (..., m, n), or eigenvalues (..., k)."""
Coefficient: TypeAlias = Any
"""A number, or one per matrix of a batch: an array (...)."""
REMEMBERED = 2
"""Products kept for whoever asks again."""
CHOLESKY = 100.0
"""Largest c for which ``I + c X^H X`` is factorized; beyond it a QR factorization is stable."""


class Cost(NamedTuple):
    """How often each operation is done; one unit per matrix of order n.

    Attributes
    ----------
    products : float
        Matrices (n, n) times (n, n).
    tall_products : float
        ``X^H X`` and X times (n, n) for X of shape (m, n).
    inverses : float
        Inverses of general matrices.
    solves : float
        Divisions ``X W^-1`` by LU.
    definite_solves : float
        Divisions ``X W^-1`` by Cholesky, W Hermitian positive definite.
    qr_solves : float
        ``X (I + c X^H X)^-1`` by a QR factorization of X over I.
    """

    products: float = 0.0
    tall_products: float = 0.0
    inverses: float = 0.0
    solves: float = 0.0
    definite_solves: float = 0.0
    qr_solves: float = 0.0

    def plus(self, other: Cost) -> Cost:
        """Return the sum, entry by entry."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


class Algebra(Protocol):
    """What a step may do. Matrices commute, and are Hermitian where the input is."""

    def multiply(self, X: Any, Y: Any) -> Any:
        """``X Y``."""

    def combine(self, *terms: tuple[Coefficient, Any], shift: Coefficient = 0.0) -> Any:
        """``sum c X + shift I``."""

    def identity(self, X: Any) -> Any:
        """I, of the order of X."""

    def adjoint_of(self, X: Any) -> Any:
        """``X^H``."""

    def square(self, X: Any) -> Any:
        """``X X``; ``X^H X`` where the limit is the polar factor."""

    def reciprocal(self, X: Any) -> Any:
        """``X^-1``; ``X^-H`` where the limit is the polar factor."""

    def divide(self, X: Any, W: Any, *, definite: bool = False) -> Any:
        """``X W^-1``; W Hermitian positive definite if so stated."""

    def damp(self, X: Any, c: Coefficient) -> Any:
        """``X (I + c S)^-1`` with ``S = square(X)`` positive semidefinite, stable for any c > 0."""

    def symmetric(self, X: Any) -> Any:
        """Take the Hermitian part, where the exact X is Hermitian."""


class _Memory:
    """The last products, by the identity of their factors."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, tuple[Any, ...], Any]] = []

    def recall(self, name: str, factors: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        for kept, known, product in self._kept:
            if kept == name and all(a is b for a, b in zip(known, factors, strict=True)):
                return product
        product = make()
        self._kept = [*self._kept[1 - REMEMBERED :], (name, factors, product)]
        return product


class MatrixAlgebra:
    """Matrices of NumPy or torch, in batches: shape (..., m, n).

    Parameters
    ----------
    like : array
        Decides on the library, the data type and the device.
    adjoint : bool
        Whether squares are ``X^H X``: polar factors.
    hermitian : bool
        Whether the exact variables are Hermitian, but for rectangular X.
    """

    def __init__(self, like: Tensor, *, adjoint: bool = False, hermitian: bool = False) -> None:
        self.xp = array_namespace(like)
        self.adjoint, self.hermitian = adjoint, hermitian
        self._memory = _Memory()
        self._one: Tensor | None = None  # products with it are free

    def multiply(self, X: Tensor, Y: Tensor) -> Tensor:
        """``X Y``."""
        if X is self._one or Y is self._one:
            return Y if X is self._one else X
        return self._memory.recall("product", (X, Y), lambda: X @ Y)

    def combine(self, *terms: tuple[Coefficient, Tensor], shift: Coefficient = 0.0) -> Tensor:
        """``sum c X + shift I``."""
        (c, X), *others = terms
        total = self._of_batch(c, X) * X
        for c, X in others:
            total = total + self._of_batch(c, X) * X
        if np.ndim(shift) or shift != 0.0:
            total = total + self._of_batch(shift, total) * self._eye(total)
        return total

    def identity(self, X: Tensor) -> Tensor:
        """I, of the order and in the batch of X."""
        self._one = self.xp.zeros_like(X[..., : X.shape[-1], :]) + self._eye(X)
        return self._one

    def adjoint_of(self, X: Tensor) -> Tensor:
        """``X^H``."""
        turned = self.xp.matrix_transpose(X)
        return self.xp.conj(turned) if self.xp.isdtype(X.dtype, "complex floating") else turned

    def square(self, X: Tensor) -> Tensor:
        """``X X`` or ``X^H X``."""
        return self._memory.recall("square", (X,), lambda: self._left(X) @ X)

    def reciprocal(self, X: Tensor) -> Tensor:
        """``X^-1`` or ``X^-H``; X must be square."""
        inverse = self.inverse(X)
        return self.adjoint_of(inverse) if self.adjoint else inverse

    def inverse(self, X: Tensor) -> Tensor:
        """``X^-1``, in single precision or better."""
        if X is self._one:
            return X
        return self._memory.recall("inverse", (X,), lambda: self._cast(self._wide(X), X, "inv"))

    def divide(self, X: Tensor, W: Tensor, *, definite: bool = False) -> Tensor:
        """``X W^-1``."""
        wide, right = self._wide(W), self.adjoint_of(self._wide(X))
        if definite:
            found = self._definite_solve(wide, right)
        else:
            found = self.xp.linalg.solve(self.adjoint_of(wide), right)
        return self._narrow(self.adjoint_of(found), X)

    def damp(self, X: Tensor, c: Coefficient) -> Tensor:
        """``X (I + c S)^-1``."""
        if _largest(c) <= CHOLESKY or not (self.adjoint or self.hermitian):
            W = self.combine((c, self.square(X)), shift=1.0)
            return self.divide(X, W, definite=self.adjoint or self.hermitian)
        wide = self._wide(X)
        root = self._of_batch(c, wide) ** 0.5
        stacked = self.xp.concat([root * wide, self.identity(wide)], axis=-2)
        Q, _ = self.xp.linalg.qr(stacked)
        m = X.shape[-2]
        return self._narrow((Q[..., :m, :] @ self.adjoint_of(Q[..., m:, :])) / root, X)

    def symmetric(self, X: Tensor) -> Tensor:
        """Take the Hermitian part, where the exact X is Hermitian."""
        return 0.5 * (X + self.adjoint_of(X)) if self.hermitian or self.adjoint else X

    def norm(self, X: Tensor) -> Tensor:
        """Frobenius norms, shape (...), real."""
        return self.xp.linalg.matrix_norm(self._wide(X))

    def _left(self, X: Tensor) -> Tensor:
        return self.adjoint_of(X) if self.adjoint else X

    def _eye(self, X: Tensor) -> Tensor:
        options = {"device": X.device} if is_torch_array(X) else {}
        return self.xp.eye(X.shape[-1], dtype=X.dtype, **options)

    def _of_batch(self, c: Coefficient, X: Tensor) -> Any:
        """Numbers stay; one number per matrix is shaped to scale matrices."""
        if np.ndim(c) == 0 and not is_torch_array(c):
            return float(c) if not isinstance(c, complex) else c
        options = {"device": X.device} if is_torch_array(X) else {}
        values = self.xp.asarray(c, dtype=X.dtype, **options)
        return values[..., None, None] if values.ndim else values

    def _wide(self, X: Tensor) -> Tensor:
        """X in single precision if it is in half: no factorization exists there."""
        half = self.xp.finfo(X.dtype).bits < 32
        return self.xp.astype(X, self.xp.float32) if half else X

    def _narrow(self, X: Tensor, like: Tensor) -> Tensor:
        return X if X.dtype == like.dtype else self.xp.astype(X, like.dtype)

    def _cast(self, wide: Tensor, like: Tensor, name: str) -> Tensor:
        return self._narrow(getattr(self.xp.linalg, name)(wide), like)

    def _definite_solve(self, W: Tensor, B: Tensor) -> Tensor:
        if is_torch_array(W):
            L = self.xp.linalg.cholesky(W)
            return B.cholesky_solve(L) if W.ndim == B.ndim else self.xp.linalg.solve(W, B)
        if W.ndim == 2:
            import scipy.linalg as sl

            factor = sl.cho_factor(W, lower=True, check_finite=False)
            return sl.cho_solve(factor, B, check_finite=False)
        return self.xp.linalg.solve(W, B)


class SpectrumAlgebra:
    """Eigenvalues in place of matrices: arrays (..., k) of floats, or of any numbers with + * /."""

    def multiply(self, X: Any, Y: Any) -> Any:
        """``x y``."""
        return X * Y

    def combine(self, *terms: tuple[Coefficient, Any], shift: Coefficient = 0.0) -> Any:
        """``sum c x + shift``."""
        total = sum(_of_spectrum(c) * X for c, X in terms)
        return total + _of_spectrum(shift)

    def identity(self, X: Any) -> Any:
        """Ones."""
        return X * 0 + 1

    def adjoint_of(self, X: Any) -> Any:
        """Return ``conj(x)``."""
        return np.conj(X)

    def square(self, X: Any) -> Any:
        """``x x``."""
        return X * X

    def reciprocal(self, X: Any) -> Any:
        """``1 / x``."""
        return 1 / X

    def divide(self, X: Any, W: Any, *, definite: bool = False) -> Any:
        """``x / w``."""
        del definite
        return X / W

    def damp(self, X: Any, c: Coefficient) -> Any:
        """``x / (1 + c x^2)``."""
        return X / (1 + _of_spectrum(c) * X * X)

    def symmetric(self, X: Any) -> Any:
        """Eigenvalues as they are."""
        return X


def _largest(c: Coefficient) -> float:
    return float(c.max()) if is_torch_array(c) else float(np.max(c))


def _of_spectrum(c: Coefficient) -> Any:
    return c if np.ndim(c) == 0 else np.asarray(c)[..., None]


class Tally:
    """Counts instead of computing; its variables are ``Tally.TALL`` and ``Tally.SMALL``.

    Parameters
    ----------
    tall : bool
        Whether X has more rows than columns; else all products count as square ones.
    """

    def __init__(self, *, tall: bool = False) -> None:
        self.tall = tall
        self.cost = Cost()
        self._memory = _Memory()
        self._one: list[bool] | None = None

    def variable(self, *, tall: bool = False) -> list[bool]:
        """Return a fresh variable."""
        return [tall and self.tall]

    def _add(self, **counts: float) -> None:
        self.cost = self.cost.plus(Cost(**counts))

    def _product(self, X: list[bool], Y: list[bool], made: list[bool]) -> list[bool]:
        tall = X[0] or Y[0]
        self._add(**{"tall_products" if tall else "products": 1.0})
        return made

    def multiply(self, X: Any, Y: Any) -> Any:
        """Count a product, but with the identity."""
        if X is self._one or Y is self._one:
            return Y if X is self._one else X
        made = [X[0] or Y[0]]
        return self._memory.recall("product", (X, Y), lambda: self._product(X, Y, made))

    def combine(self, *terms: tuple[Coefficient, Any], shift: Coefficient = 0.0) -> Any:
        """Count nothing: additions are cheap."""
        del shift
        return [any(X[0] for _, X in terms)]

    def identity(self, X: Any) -> Any:
        """Count nothing."""
        del X
        self._one = [False]
        return self._one

    def adjoint_of(self, X: Any) -> Any:
        """Count nothing."""
        return [X[0]]

    def square(self, X: Any) -> Any:
        """Count a product."""
        return self._memory.recall("square", (X,), lambda: self._product(X, X, [False]))

    def reciprocal(self, X: Any) -> Any:
        """Count an inverse, but of the identity."""
        if X is self._one:
            return X

        def count() -> list[bool]:
            self._add(inverses=1.0)
            return [X[0]]

        return self._memory.recall("inverse", (X,), count)

    def divide(self, X: Any, W: Any, *, definite: bool = False) -> Any:
        """Count a solve."""
        del W
        self._add(**{"definite_solves" if definite else "solves": 1.0})
        return [X[0]]

    def damp(self, X: Any, c: Coefficient) -> Any:
        """Count a square and a definite solve; a QR factorization for large c."""
        if _largest(c) > CHOLESKY:
            self._add(qr_solves=1.0)
            return [X[0]]
        return self.divide(X, self.square(X), definite=True)

    def symmetric(self, X: Any) -> Any:
        """Count nothing."""
        return X
