r"""What is computed of a matrix: scaling, start, residual and answer of each function.

Source
    Higham, Functions of Matrices, SIAM 2008, chapters 5 to 8.
Deviations
    A is divided by ``c >= ||A||_2``, the smaller of the Frobenius norm and
    ``sqrt(||A||_1 ||A||_inf)``, so that each polynomial step starts where it converges.
Cost
    Norms only; the residual costs the product that the next step needs anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spectool.dense.algebra import Algebra, MatrixAlgebra, Tensor
from spectool.dense.steps import Variables
from spectool.errors import InputError

__all__ = ["FUNCTIONS", "Problem"]

FUNCTIONS = ("inv", "sign", "polar", "sqrt", "invsqrt", "root", "inverse_root")
FAMILIES = {"polar": "sign", "invsqrt": "sqrt"}
"""Functions that share the iterations of another one."""
SAFETY = 1.0 + 1e-3
"""By what norm bounds are enlarged, against rounding of A in low precision."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One function of a matrix.

    Attributes
    ----------
    function : str
        "inv", "sign", "polar", "sqrt", "invsqrt", "root" or "inverse_root".
    p : int
        Which root; 2 for square roots, 1 for the rest.
    """

    function: str
    p: int = 1

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise InputError(f"function is one of {', '.join(FUNCTIONS)}; got {self.function!r}.")
        if self.function in ("sqrt", "invsqrt") and self.p != 2:
            object.__setattr__(self, "p", 2)

    @property
    def family(self) -> str:
        """Which iterations serve: their ``Kind.function``."""
        return FAMILIES.get(self.function, self.function)

    def algebra(self, A: Tensor, *, hermitian: bool) -> MatrixAlgebra:
        """Return the algebra of matrices like A.

        The sign of a Hermitian A is its polar factor. Squares are then ``X^H X``: what rounding
        takes from X being Hermitian does not grow.
        """
        adjoint = self.function == "polar" or (self.function == "sign" and hermitian)
        return MatrixAlgebra(A, adjoint=adjoint, hermitian=hermitian)

    def start(self, o: MatrixAlgebra, A: Tensor) -> tuple[Variables, Tensor]:
        """Return the first variables and the scale c, shape (...), by which A was divided.

        Zero matrices are divided by 1. A must be finite.
        """
        c = norm_bound(o, A)
        scaled = A / o.xp.astype(c, A.dtype)[..., None, None]
        return self.variables(o, scaled), c

    def variables(self, o: Algebra, A: Any) -> Variables:
        """Return the first variables for A with ``||A||_2 <= 1``, a matrix or a spectrum.

        Inverses start from the adjoint, which needs ``||A||_2 <= 1`` as well.
        """
        if self.family == "sign":
            return Variables(A, None, A)
        if self.family == "inv":
            return Variables(o.adjoint_of(A), None, A)
        if self.family == "sqrt":
            return Variables(A, o.identity(A), A, 2)
        return Variables(o.identity(A), A, A, self.p)

    def residual(self, o: Algebra, v: Variables) -> Any:
        """Return R, which is 0 at the limit and has the spectrum ``1 - ...`` in [0, 1) before."""
        if self.family == "sign":
            return o.combine((-1.0, o.square(v.X)), shift=1.0)
        if self.family == "inv":
            return o.combine((-1.0, o.multiply(v.A, v.X)), shift=1.0)
        if not v.coupled:
            return o.combine((1.0, v.A), (-1.0, power(o, v.X, self.p)))
        if self.family == "sqrt":
            return o.combine((-1.0, o.multiply(v.Y, v.X)), shift=1.0)
        return o.combine((-1.0, v.Y), shift=1.0)

    def answer(self, v: Variables, c: Any) -> Any:
        """Return the function of the unscaled matrix; c is a number or an array (..., 1, 1)."""
        if self.family == "sign":
            return v.X
        if self.function == "inv":
            return v.X / c
        if self.function == "invsqrt":
            return v.Y / c**0.5
        exponent = 1.0 / self.p
        return v.X / c**exponent if self.function == "inverse_root" else v.X * c**exponent


def power(o: Algebra, X: Any, p: int) -> Any:
    """Return ``X^p``, p >= 1, by repeated squaring."""
    made, factor = None, X
    while True:
        if p & 1:
            made = factor if made is None else o.multiply(made, factor)
        p >>= 1
        if p == 0:
            return made
        factor = o.multiply(factor, factor)


def norm_bound(o: MatrixAlgebra, A: Tensor) -> Tensor:
    """Return an upper bound of ``||A||_2`` for each matrix, shape (...); 1 for zero matrices.

    In single precision or better, without overflow on the way.
    """
    xp = o.xp
    entries = xp.abs(A)
    if xp.finfo(entries.dtype).bits < 32:
        entries = xp.astype(entries, xp.float32)
    largest = xp.max(entries, axis=(-2, -1))
    unit = xp.where(largest > 0, largest, xp.ones_like(largest))
    entries = entries / unit[..., None, None]
    columns = xp.max(xp.sum(entries, axis=-2), axis=-1)
    rows = xp.max(xp.sum(entries, axis=-1), axis=-1)
    frobenius = xp.sqrt(xp.sum(entries * entries, axis=(-2, -1)))
    bound = unit * xp.minimum(frobenius, xp.sqrt(columns * rows)) * SAFETY
    return xp.where(largest > 0, bound, np.float32(1.0) * xp.ones_like(bound))
