r"""Iterations for ``A^-1``; they converge where ``||I - A X_0|| < 1``.

Source
    Schulz, Z. Angew. Math. Mech. 13 (1933) (Newton-Schulz); Amat, Busquier and Gutierrez, Geometric
    constructions of iterative functions to solve nonlinear equations, J. Comput. Appl. Math. 157
    (2003) (Chebyshev's method).
Cost
    2 and 3 products; the residual ``I - A X`` comes with them.
"""

from spectool.dense.algebra import Algebra, Coefficient
from spectool.dense.steps import Kind, Parameter, Stability, Variables

__all__ = ["CHEBYSHEV", "INVERSE", "NEWTON_SCHULZ"]


def _newton_schulz(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- a X + b X A X``."""
    M = o.multiply(v.A, v.X)
    return v._replace(X=o.combine((a, v.X), (b, o.multiply(v.X, M))))


def _chebyshev(
    o: Algebra, v: Variables, a: Coefficient, b: Coefficient, c: Coefficient
) -> Variables:
    """``X <- X (a I + b M + c M^2)`` with ``M = A X``."""
    M = o.multiply(v.A, v.X)
    inner = o.combine((b, M), (c, o.multiply(M, M)), shift=a)
    return v._replace(X=o.multiply(v.X, inner))


NEWTON_SCHULZ = Kind(
    "inv.newton_schulz",
    "inv",
    _newton_schulz,
    (Parameter("a", 2.0, 1.5, 4.0), Parameter("b", -1.0, -4.0, -0.5)),
    2,
    Stability.STABLE,
    "Schulz 1933",
)
CHEBYSHEV = Kind(
    "inv.chebyshev",
    "inv",
    _chebyshev,
    (
        Parameter("a", 3.0, 2.0, 9.0),
        Parameter("b", -3.0, -15.0, -2.0),
        Parameter("c", 1.0, 0.5, 8.0),
    ),
    3,
    Stability.STABLE,
    "Amat, Busquier and Gutierrez 2003",
)
INVERSE = (NEWTON_SCHULZ, CHEBYSHEV)
