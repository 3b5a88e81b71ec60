r"""Iterations for the matrix sign and the polar factor.

Source
    Higham, Functions of Matrices, SIAM 2008, chapters 5 and 8; Nakatsukasa, Bai and Gygi, SIAM J.
    Matrix Anal. Appl. 31 (2010) (Halley with weights: QDWH); Nakatsukasa and Freund, SIAM Rev. 58
    (2016) (Zolotarev's functions).
Cost
    See ``Step.cost``. ``S = square(X)`` is what the residual ``I - S`` needs too.
"""

from typing import Any

import numpy as np

from spectool.dense.algebra import Algebra, Coefficient
from spectool.dense.coefficients import zolotarev
from spectool.dense.steps import Kind, Parameter, Stability, Variables

__all__ = ["HALLEY", "NEWTON", "NEWTON_SCHULZ", "NEWTON_VARIANT", "QUINTIC", "SIGN", "ZOLOTAREV"]


def _newton(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- a X + b X^-1``."""
    return v._replace(X=o.combine((a, v.X), (b, o.reciprocal(v.X))))


def _newton_schulz(o: Algebra, v: Variables, a: Coefficient, b: Coefficient) -> Variables:
    """``X <- X (a I + b S)``."""
    return v._replace(X=o.multiply(v.X, o.combine((b, o.square(v.X)), shift=a)))


def _quintic(o: Algebra, v: Variables, a: Coefficient, b: Coefficient, c: Coefficient) -> Variables:
    """``X <- X (a I + b S + c S^2)``."""
    S = o.square(v.X)
    inner = o.combine((b, S), (c, o.multiply(S, S)), shift=a)
    return v._replace(X=o.multiply(v.X, inner))


def _halley(o: Algebra, v: Variables, a: Coefficient, b: Coefficient, c: Coefficient) -> Variables:
    """``X <- X (a I + b S)(I + c S)^-1 = (b / c) X + (a - b / c) X (I + c S)^-1``."""
    return v._replace(X=o.combine((b / c, v.X), (a - b / c, o.damp(v.X, c))))


def _newton_variant(o: Algebra, v: Variables, a: Coefficient) -> Variables:
    """``X <- a X (I + S)^-1``: the inverse of a Newton step, without a pole on the real line."""
    return v._replace(X=o.combine((a, o.damp(v.X, 1.0))))


def _zolotarev(o: Algebra, v: Variables, lower: Coefficient, r: float) -> Variables:
    """``X <- M (X + sum_j w_j X (I + S / c_j)^-1)``, best on [lower, 1]; r terms."""
    scale, weights, odd = _fractions(lower, round(float(r)))
    terms = [(scale * w, o.damp(v.X, 1.0 / c)) for w, c in zip(weights, odd, strict=True)]
    return v._replace(X=o.combine((scale, v.X), *terms))


def _fractions(lower: Coefficient, r: int) -> tuple[Any, Any, Any]:
    """Return the factor, the weights and the poles; arrays if there is a bound per matrix."""
    shape = tuple(getattr(lower, "shape", ()))
    if shape == ():
        f = zolotarev(float(lower), r)
        return f.scale, f.weights, f.odd
    each = [zolotarev(float(value), r) for value in lower.reshape(-1)]
    weights = np.moveaxis(np.reshape([f.weights for f in each], (*shape, r)), -1, 0)
    odd = np.moveaxis(np.reshape([f.odd for f in each], (*shape, r)), -1, 0)
    return np.reshape([f.scale for f in each], shape), weights, odd


NEWTON = Kind(
    "sign.newton",
    "sign",
    _newton,
    (Parameter("a", 0.5, 1e-3, 10.0, log=True), Parameter("b", 0.5, 1e-3, 10.0, log=True)),
    2,
    Stability.STABLE,
    "Roberts 1980",
)
NEWTON_SCHULZ = Kind(
    "sign.newton_schulz",
    "sign",
    _newton_schulz,
    (Parameter("a", 1.5, 1.0, 3.0), Parameter("b", -0.5, -3.0, -0.3)),
    2,
    Stability.STABLE,
    "Bjorck and Bowie 1971",
)
QUINTIC = Kind(
    "sign.quintic",
    "sign",
    _quintic,
    (
        Parameter("a", 1.875, 1.5, 8.5),
        Parameter("b", -1.25, -25.0, -1.0),
        Parameter("c", 0.375, 0.2, 18.0),
    ),
    3,
    Stability.STABLE,
    "Bjorck and Bowie 1971",
)
HALLEY = Kind(
    "sign.halley",
    "sign",
    _halley,
    (
        Parameter("a", 3.0, 3.0, 1e3, log=True),
        Parameter("b", 1.0, 1.0, 3e5, log=True),
        Parameter("c", 3.0, 3.0, 3e5, log=True),
    ),
    3,
    Stability.STABLE,
    "Nakatsukasa, Bai and Gygi 2010",
)
NEWTON_VARIANT = Kind(
    "sign.newton_variant",
    "sign",
    _newton_variant,
    (Parameter("a", 2.0, 1.0, 4.0),),
    2,
    Stability.STABLE,
    "Kim et al. 2025",
)
ZOLOTAREV = Kind(
    "sign.zolotarev",
    "sign",
    _zolotarev,
    (Parameter("lower", 1.0, 1e-16, 1.0, log=True), Parameter("r", 8.0, 1.0, 8.0)),
    17,
    Stability.STABLE,
    "Nakatsukasa and Freund 2016",
)
SIGN = (NEWTON, NEWTON_SCHULZ, QUINTIC, HALLEY, NEWTON_VARIANT, ZOLOTAREV)
