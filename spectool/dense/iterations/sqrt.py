r"""Iterations for ``A^(1/2)`` and ``A^(-1/2)``: X from A, Y from I, and ``X = A Y``.

Coupled steps keep ``X = A Y`` for any values; then ``X -> A^(1/2)`` and ``Y -> A^(-1/2)``. Those
that do not read Y give it up, and ``sqrt.coupling`` makes it anew.

Source
    Higham, Functions of Matrices, SIAM 2008, chapter 6; Higham, Stable iterations for the matrix
    square root, Numer. Algorithms 15 (1997); Higham, Mackey, Mackey and Tisseur, Functions
    preserving matrix groups and iterations for the matrix square root, SIAM J. Matrix Anal. Appl.
    26 (2005), Theorem 4.5: which order of factors is stable; Kim, Dwaraknath, Geng and Pilanci,
    arXiv:2507.03833 (2025) (Visser's iteration coupled, coupling).
Deviations
    The product form of Denman and Beavers computes ``Y X`` rather than update it: it is what the
    residual ``I - Y X`` needs too.
Cost
    See ``Step.cost``. Factors stand as in ``X g(Y X)`` and ``g(Y X) Y``, which makes them stable.
"""

from spectool.dense.algebra import Algebra, Coefficient
from spectool.dense.steps import Kind, Parameter, Stability, Variables

__all__ = [
    "COUPLING",
    "DENMAN_BEAVERS",
    "NEWTON",
    "NEWTON_SCHULZ",
    "NEWTON_VARIANT",
    "PRODUCT_DB",
    "QUINTIC",
    "SQRT",
    "VISSER",
    "VISSER_COUPLED",
]


def _newton(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- a X + b A X^-1``."""
    return v._replace(X=o.combine((a, v.X), (b, o.divide(v.A, v.X))), Y=None)


def _denman_beavers(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- a X + b Y^-1``, ``Y <- a Y + b X^-1``."""
    X = o.combine((a, v.X), (b, o.reciprocal(v.Y)))
    return v._replace(X=X, Y=o.combine((a, v.Y), (b, o.reciprocal(v.X))))


def _product_db(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- X W``, ``Y <- W Y`` with ``W = a I + b (Y X)^-1``."""
    inverse = o.reciprocal(o.multiply(v.Y, v.X))
    return _both(o, v, o.combine((b, inverse), shift=a))


def _newton_schulz(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- X W``, ``Y <- W Y`` with ``W = a I + b Y X``."""
    return _both(o, v, o.combine((b, o.multiply(v.Y, v.X)), shift=a))


def _quintic(o: Algebra, v: Variables, a: Coefficient, b: Coefficient, c: Coefficient) -> Variables:
    """``X <- X W``, ``Y <- W Y`` with ``W = a I + b M + c M^2`` and ``M = Y X``."""
    M = o.multiply(v.Y, v.X)
    return _both(o, v, o.combine((b, M), (c, o.multiply(M, M)), shift=a))


def _newton_variant(o: Algebra, v: Variables, a: Coefficient) -> Variables:
    """``X <- X W``, ``Y <- W Y`` with ``W = a (I + Y X)^-1``: the inverse of a Newton step."""
    W = o.reciprocal(o.combine((1.0, o.multiply(v.Y, v.X)), shift=1.0))
    return _both(o, v, o.combine((a, W)))


def _both(o: Algebra, v: Variables, W: object) -> Variables:
    return v._replace(X=o.multiply(v.X, W), Y=o.multiply(W, v.Y))


def _visser(o: Algebra, v: Variables, s: Coefficient) -> Variables:
    """``X <- X + s (A - X^2)``."""
    return v._replace(X=_relaxed(o, v, s), Y=None)


def _visser_coupled(o: Algebra, v: Variables, s: Coefficient) -> Variables:
    """``X <- X + s (A - X^2)``, ``Y <- Y + s (I - Y X)``."""
    Y = o.combine((1.0, v.Y), (-s, o.multiply(v.Y, v.X)), shift=s)
    return v._replace(X=_relaxed(o, v, s), Y=Y)


def _relaxed(o: Algebra, v: Variables, s: Coefficient) -> object:
    return o.combine((1.0, v.X), (s, v.A), (-s, o.multiply(v.X, v.X)))


def _coupling(o: Algebra, v: Variables) -> Variables:
    """``Y <- A^-1 X``; X is kept."""
    return v._replace(Y=o.divide(v.X, v.A))


_LIKE_NEWTON = (
    Parameter("a", 0.5, 1e-3, 10.0, log=True),
    Parameter("b", 0.5, 1e-3, 10.0, log=True),
)

NEWTON = Kind(
    "sqrt.newton",
    "sqrt",
    _newton,
    _LIKE_NEWTON,
    2,
    Stability.UNSTABLE,  # beyond a condition number of 9
    "Higham 1986",
)
DENMAN_BEAVERS = Kind(
    "sqrt.denman_beavers",
    "sqrt",
    _denman_beavers,
    _LIKE_NEWTON,
    2,
    Stability.STABLE,
    "Denman and Beavers 1976",
    coupled=True,
)
PRODUCT_DB = Kind(
    "sqrt.product_db",
    "sqrt",
    _product_db,
    _LIKE_NEWTON,
    2,
    Stability.STABLE,
    "Cheng, Higham, Kenney and Laub 2001",
    coupled=True,
)
NEWTON_SCHULZ = Kind(
    "sqrt.newton_schulz",
    "sqrt",
    _newton_schulz,
    (Parameter("a", 1.5, 1.0, 3.0), Parameter("b", -0.5, -3.0, -0.3)),
    2,
    Stability.STABLE,
    "Higham 1997, eq. 2.6",
    coupled=True,
)
QUINTIC = Kind(
    "sqrt.quintic",
    "sqrt",
    _quintic,
    (
        Parameter("a", 1.875, 1.5, 8.5),
        Parameter("b", -1.25, -25.0, -1.0),
        Parameter("c", 0.375, 0.2, 18.0),
    ),
    3,
    Stability.STABLE,
    "Higham, Mackey, Mackey and Tisseur 2005",
    coupled=True,
)
NEWTON_VARIANT = Kind(
    "sqrt.newton_variant",
    "sqrt",
    _newton_variant,
    (Parameter("a", 2.0, 1.0, 4.0),),
    2,
    Stability.STABLE,
    "Kim et al. 2025, coupled by Higham et al. 2005",
    coupled=True,
)
VISSER = Kind(
    "sqrt.visser",
    "sqrt",
    _visser,
    (Parameter("s", 0.5, 0.1, 2.0),),
    1,
    Stability.STABLE,
    "Visser 1937",
)
VISSER_COUPLED = Kind(
    "sqrt.visser_coupled",
    "sqrt",
    _visser_coupled,
    (Parameter("s", 0.5, 0.1, 2.0),),
    1,
    Stability.STABLE,
    "Kim et al. 2025",
    coupled=True,
)
COUPLING = Kind(
    "sqrt.coupling",
    "sqrt",
    _coupling,
    (),
    1,
    Stability.CONDITIONAL,
    "Kim et al. 2025",
    recouples=True,
)
SQRT = (
    NEWTON,
    DENMAN_BEAVERS,
    PRODUCT_DB,
    NEWTON_SCHULZ,
    QUINTIC,
    NEWTON_VARIANT,
    VISSER,
    VISSER_COUPLED,
    COUPLING,
)
