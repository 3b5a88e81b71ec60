r"""PRISM with an inverse: Newton's step, scaled by a fit to the residual.

``X_+ = a X + b X^-1`` with a + b = 1 turns ``E = I - X^2`` into ``a^2 E + b^2 F``, with
``F = I - X^-2``. The square of its norm is ``a^4 + 2 r a^2 b^2 + q b^4``, but for a factor, with
``r = <E, F> / <E, E> <= 0`` and ``q = <F, F> / <E, E>``.

Source
    Yang, Wang, Balabanov, Erichson and Mahoney, PRISM, arXiv:2601.22137 (2026) (Newton and
    Denman-Beavers variants).
Deviations
    (1) In E and F nothing cancels near the limit, as it would in powers of b. (2) For signs and
    polar factors E and F take a product each; they are sketched, unless the fit is to be exact. For
    square roots, in product form, both are at hand: M and its inverse. (3) Where A^2 is not
    positive semidefinite, r is positive, and the method stops with an error.
Cost per iteration
    An inverse; for square roots two or three products; 4 thin products for signs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spectool.dense.accuracy import widened
from spectool.dense.algebra import MatrixAlgebra, Tensor
from spectool.dense.door import to_host
from spectool.dense.iterations import find_kind
from spectool.dense.run import Run
from spectool.dense.sketch.fit import minimizer
from spectool.dense.sketch.prism import plain
from spectool.dense.sketch.probes import charge, drawn, refuse
from spectool.dense.steps import Step
from spectool.errors import InputError

__all__ = ["PrismNewton"]

KINDS = {"sign": "sign.newton", "sqrt": "sqrt.product_db"}
GRID = np.concatenate([np.geomspace(1e-18, 0.25, 1001), np.linspace(0.25, 1.0, 202)[1:]])
"""Where b is looked for: it is about the smallest singular value while that is small."""

SMALL, POSITIVE = 1e-6, 0.1
"""Mean square of E beyond which r counts, and what it may be because of rounding."""


@dataclass(frozen=True)
class PrismNewton:
    """Newton's iteration for signs and square roots, each step scaled by a fit to the residual.

    Parameters
    ----------
    n_sketch : int or None
        Vectors in the sketch, for signs and polar factors; None for the exact fit, by two products.

    Raises
    ------
    InputError
        If n_sketch is not positive.

    References
    ----------
    .. [1] Yang, Wang, Balabanov, Erichson and Mahoney, arXiv:2601.22137 (2026).
    """

    n_sketch: int | None = 5

    def __post_init__(self) -> None:
        if self.n_sketch is not None and self.n_sketch < 1:
            raise InputError(f"n_sketch must be positive or None; got {self.n_sketch!r}.")

    @property
    def name(self) -> str:
        """Of the method, for reports."""
        return "prism_newton"

    @property
    def square(self) -> bool:
        """Whether it inverts X, which must be square."""
        return True

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield the next step.

        Raises
        ------
        InputError
            If the function is neither a sign nor a square root.
        BreakdownError
            If A^2, or A under a root, is not positive semidefinite.
        """
        if run.problem.family not in KINDS:
            raise InputError(
                f"prism_newton computes signs, polar factors and square roots, not "
                f"{run.problem.function}; take prism."
            )
        kind = find_kind(KINDS[run.problem.family])
        S = drawn(run, self.n_sketch) if run.problem.family == "sign" else None
        while True:
            E, F = _sketched(run, S) if S is not None else _exact(run)
            b = plain(_fitted(run, E, F))
            yield kind.step(1.0 - b, b)


def _sketched(run: Run, S: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``E^H S`` and ``F^H S``; what E tells of the residual, the run may know."""
    o = run.algebra
    X, inverse = widened(run.variables.X), widened(o.reciprocal(run.variables.X))
    charge(run, 4 * S.shape[-1])
    images = []
    for factor in (X, inverse):  # the latter is X^-H for polar factors
        left = o.adjoint_of(factor)
        images.append(S - left @ ((factor if o.adjoint else left) @ S))
    E, F = images
    run.estimate = to_host(_inner(o, E, E) / X.shape[-1]) ** 0.5
    return E, F


def _exact(run: Run) -> tuple[Tensor, Tensor]:
    """Return ``I - M`` and ``I - M^-1``."""
    o, v = run.algebra, run.variables
    E, inverse = run.residual(), o.reciprocal(o.multiply(v.Y, v.X))
    return widened(E), widened(o.combine((-1.0, inverse), shift=1.0))


def _fitted(run: Run, E: Tensor, F: Tensor) -> Tensor:
    """Return b, shape (...)."""
    o = run.algebra
    size = _inner(o, E, E)
    gone = size == 0.0
    unit = size + gone  # b = 1/2 where E is zero
    r, q = _inner(o, E, F) / unit - 1.0 * gone, _inner(o, F, F) / unit + 1.0 * gone
    share = to_host(size / E.shape[-1])
    refuse(run, np.where(share > SMALL, to_host(r), -1.0), POSITIVE, "<E, F> / <E, E> is")
    # All but the constant of (1 - b)^4 + 2 r b^2 (1 - b)^2 + q b^4
    zero = 0.0 * r
    terms = [zero, zero - 4.0, 6.0 + 2.0 * r, -4.0 - 4.0 * r, 1.0 + 2.0 * r + q]
    return minimizer(o.xp.stack(terms, axis=-1), GRID)


def _inner(o: MatrixAlgebra, A: Tensor, B: Tensor) -> Tensor:
    """Return ``Re tr(A^H B)``, shape (...)."""
    product = o.xp.conj(A) * B
    if o.xp.isdtype(product.dtype, "complex floating"):
        product = o.xp.real(product)
    return o.xp.sum(o.xp.astype(product, o.xp.float64), axis=(-2, -1))
