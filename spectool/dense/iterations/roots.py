r"""Iterations for ``A^(1/p)`` and ``A^(-1/p)``, p from the variables.

For roots X starts from I, Y from A, and coupled steps keep ``Y = A X^-p``; for inverse roots they
keep ``Y = X^p A``, for any values. In both, Y tends to I.

Source
    Iannazzo, On the Newton method for the matrix p-th root, SIAM J. Matrix Anal. Appl. 28 (2006);
    Guo and Higham, A Schur-Newton method for the matrix p-th root and its inverse, SIAM J. Matrix
    Anal. Appl. 28 (2006); Guo, On Newton's method and Halley's method for the principal p-th root
    of a matrix, Linear Algebra Appl. 432 (2010) (series); Gawlik, Rational minimax iterations for
    computing the matrix p-th root, Constr. Approx. 54 (2021); Kim, Dwaraknath, Geng and Pilanci,
    arXiv:2507.03833 (2025) (coupling).
Cost
    See ``Step.cost``; powers by repeated squaring.
"""

from typing import Any

from spectool.dense.algebra import Algebra, Coefficient
from spectool.dense.problems import power
from spectool.dense.steps import Kind, Parameter, Stability, Variables

__all__ = [
    "INVERSE_GAWLIK",
    "INVERSE_NEWTON",
    "INVERSE_QUADRATIC",
    "ROOTS",
    "ROOT_COUPLING",
    "ROOT_IANNAZZO",
    "ROOT_NEWTON",
    "ROOT_VISSER",
]


def _iannazzo(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- X W``, ``Y <- W^-p Y`` with ``W = ((p - 1) a I + b Y) / p``."""
    W = o.combine((b / v.p, v.Y), shift=a * (v.p - 1) / v.p)
    inverse = power(o, o.reciprocal(W), v.p)
    return v._replace(X=o.multiply(v.X, W), Y=o.multiply(inverse, v.Y))


def _newton(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- ((p - 1) a X + b A X^(1-p)) / p``."""
    correction = v.A
    if v.p > 1:
        correction = o.multiply(v.A, power(o, o.reciprocal(v.X), v.p - 1))
    X = o.combine((a * (v.p - 1) / v.p, v.X), (b / v.p, correction))
    return v._replace(X=X, Y=None)


def _visser(o: Algebra, v: Variables, s: Coefficient) -> Variables:
    """``X <- X + s (A - X^p) / p``."""
    X = o.combine((1.0, v.X), (s / v.p, v.A), (-s / v.p, power(o, v.X, v.p)))
    return v._replace(X=X, Y=None)


def _coupling(o: Algebra, v: Variables) -> Variables:
    """``Y <- A X^-p``; X is kept."""
    return v._replace(Y=o.multiply(v.A, power(o, o.reciprocal(v.X), v.p)))


def _inverse_newton(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- X g``, ``Y <- g^p Y`` with ``g = a I + b Y``."""
    return _scaled(o, v, o.combine((b, v.Y), shift=a))


def _inverse_quadratic(
    o: Algebra, v: Variables, a: Coefficient, b: Coefficient, c: Coefficient
) -> Variables:
    """``X <- X g``, ``Y <- g^p Y`` with ``g = a I + b Y + c Y^2``."""
    return _scaled(o, v, o.combine((b, v.Y), (c, o.multiply(v.Y, v.Y)), shift=a))


def _inverse_gawlik(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- X W``, ``Y <- W^p Y`` with ``W = p a (Y + (p - 1) b I)^-1``."""
    inverse = o.reciprocal(o.combine((1.0, v.Y), shift=(v.p - 1) * b))
    return _scaled(o, v, o.combine((v.p * a, inverse)))


def _scaled(o: Algebra, v: Variables, g: Any) -> Variables:
    return v._replace(X=o.multiply(v.X, g), Y=o.multiply(power(o, g, v.p), v.Y))


def _linear_taylor(p: int) -> tuple[float, float]:
    """Coefficients of ``1 + R / p`` with ``R = I - Y``."""
    return (p + 1.0) / p, -1.0 / p


def _quadratic_taylor(p: int) -> tuple[float, float, float]:
    """Coefficients of ``1 + R / p + (p + 1) R^2 / (2 p^2)`` with ``R = I - Y``."""
    c = (p + 1.0) / (2.0 * p * p)
    return 1.0 + 1.0 / p + c, -1.0 / p - 2.0 * c, c


_BY_P = float("nan")
_SCALINGS = (
    Parameter("a", 1.0, 0.1, 10.0, log=True),
    Parameter("b", 1.0, 0.1, 100.0, log=True),
)

ROOT_IANNAZZO = Kind(
    "root.iannazzo",
    "root",
    _iannazzo,
    _SCALINGS,
    2,
    Stability.STABLE,
    "Iannazzo 2006",
    coupled=True,
)
ROOT_NEWTON = Kind(
    "root.newton",
    "root",
    _newton,
    _SCALINGS,
    2,
    Stability.UNSTABLE,
    "Iannazzo 2006, eq. 1.2",
)
ROOT_VISSER = Kind(
    "root.visser",
    "root",
    _visser,
    (Parameter("s", 1.0, 0.2, 4.0),),
    1,
    Stability.STABLE,
    "Kim et al. 2025",
)
ROOT_COUPLING = Kind(
    "root.coupling",
    "root",
    _coupling,
    (),
    1,
    Stability.CONDITIONAL,
    "Kim et al. 2025",
    recouples=True,
)
INVERSE_NEWTON = Kind(
    "inverse_root.newton",
    "inverse_root",
    _inverse_newton,
    (Parameter("a", _BY_P, 1.0, 4.0), Parameter("b", _BY_P, -4.0, -0.1)),
    2,
    Stability.STABLE,
    "Guo and Higham 2006",
    coupled=True,
    classical_of=_linear_taylor,
)
INVERSE_QUADRATIC = Kind(
    "inverse_root.quadratic",
    "inverse_root",
    _inverse_quadratic,
    (
        Parameter("a", _BY_P, 1.0, 9.0),
        Parameter("b", _BY_P, -25.0, -0.1),
        Parameter("c", _BY_P, 0.02, 18.0),
    ),
    3,
    Stability.STABLE,
    "Guo 2010",
    coupled=True,
    classical_of=_quadratic_taylor,
)
INVERSE_GAWLIK = Kind(
    "inverse_root.gawlik",
    "inverse_root",
    _inverse_gawlik,
    (
        Parameter("a", 1.0, 1e-4, 10.0, log=True),
        Parameter("b", 1.0, 1e-6, 10.0, log=True),
    ),
    2,
    Stability.STABLE,
    "Gawlik 2021",
    coupled=True,
)
ROOTS = (
    ROOT_IANNAZZO,
    ROOT_NEWTON,
    ROOT_VISSER,
    ROOT_COUPLING,
    INVERSE_NEWTON,
    INVERSE_QUADRATIC,
    INVERSE_GAWLIK,
)
