"""The arithmetic of polynomial steps on tensors: additions ride on products, or on small matrices.

The steps are those of ``dense.iterations``; here they run on algebras that give the same numbers,
but for rounding, with fewer passes over memory or fewer products.

Source
    The Gram form: Dao et al., Gram Newton-Schulz (2026): a polynomial of X times X is X_0 Q, where
    Q and ``X^H X`` need the small side only.
Deviations
    It restarts from ``X = X_0 Q`` not after a fixed number of steps, but where the slopes at zero
    have amplified the rounding errors of ``X^H X``; see ``orthogonalize``.
Cost
    A quintic step: 2 products with X and 1 of the small side; as Gram matrices, 4 of the small side
    (1 less in the first step, 2 less in the last), and 2 products with X per restart. Fusing saves
    three passes over the small matrices: on a CPU 3 to 12 % of the seconds from n = 256 to 1024,
    and a quarter or more at 64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from spectool.dense.algebra import Coefficient, MatrixAlgebra, Tensor

__all__ = ["FusedAlgebra", "Gram", "GramAlgebra"]


class _Square(NamedTuple):
    """``S S``, not computed yet: whoever adds to it can do both at once."""

    S: Tensor


class FusedAlgebra(MatrixAlgebra):
    """Adds multiples of S and I to ``S S`` while multiplying; for kinds with numbers as values.

    A square ``multiply(S, S)`` may go into ``combine`` only, as its last term.

    Parameters
    ----------
    like : Tensor, shape (m, n) or (k, m, n)
        Decides on the data type and the device.
    """

    def __init__(self, like: Tensor) -> None:
        super().__init__(like, adjoint=True)
        self._known: tuple[Tensor, Tensor] | None = None

    def remember(self, X: Tensor, S: Tensor, squared: Tensor) -> None:
        """Take S for ``square(X)`` and ``squared`` for ``S S`` from now on."""
        self._memory.recall("square", (X,), lambda: S)
        self._known = (S, squared)

    def multiply(self, X: Any, Y: Any) -> Any:
        """``X Y``; of a matrix with itself only when it is added to something."""
        return _Square(X) if X is Y else super().multiply(X, Y)

    def combine(self, *terms: tuple[Coefficient, Any], shift: Coefficient = 0.0) -> Tensor:
        """``sum c X + shift I``."""
        total = self._sum(*terms)
        total.diagonal(dim1=-2, dim2=-1).add_(shift)
        return total

    def _sum(self, *terms: tuple[Coefficient, Any]) -> Tensor:
        (b, M), (c, last) = terms[0], terms[-1]
        if not isinstance(last, _Square):
            return super().combine(*terms)
        if self._known is not None and self._known[0] is last.S:
            return torch.add(b * M, self._known[1], alpha=c)
        fused = torch.addmm if last.S.ndim == 2 else torch.baddbmm
        return fused(M, last.S, last.S, beta=b, alpha=c)


class Gram:
    """``X = X_0 Q`` by Q and ``S = X^H X``, which is made from the step before when asked for.

    Parameters
    ----------
    S : Tensor, shape (n, n) or (k, n, n)
        Of the step before: of X itself where there was none.
    Q : Tensor or None
        Shape of S; None is I.
    Z : Tensor or None
        The last step's factor: ``X^H X = Z S Z``.
    """

    def __init__(self, S: Tensor, Q: Tensor | None = None, Z: Tensor | None = None) -> None:
        self.S, self.Q, self.Z = S, Q, Z


class GramAlgebra(FusedAlgebra):
    """Runs polynomial steps on ``Gram`` in place of X."""

    def square(self, X: Any) -> Tensor:
        """``X^H X``."""
        if X.Z is not None:
            X.S, X.Z = X.Z @ X.S @ X.Z, None
        return X.S

    def multiply(self, X: Any, Y: Any) -> Any:
        """``X Y``."""
        if isinstance(X, Gram):
            return Gram(self.square(X), Y if X.Q is None else X.Q @ Y, Y)
        return super().multiply(X, Y)
