r"""Values for a step, aimed at where the spectrum is now.

Each family has a coordinate ``t > 0`` that tends to 1: ``|x|`` for the sign, ``a x`` for inverses,
``sqrt(y x)`` for square roots, ``y^(1/p)`` for other roots. On an interval of t the best values of
most steps are known in closed form. Where a step is linear in its parameters, it can be fitted to
the spectrum itself, in the sense of least squares or of the largest deviation (Lawson's weights).

Source
    Those of ``dense.coefficients``; Higham, Functions of Matrices, section 5.5 (scaled Newton);
    Lawson, Contributions to the theory of linear least maximum approximation, 1961.
Cost
    Microseconds for closed forms; about 0.3 ms for a fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from spectool._types import FloatArray
from spectool.dense.algebra import SpectrumAlgebra
from spectool.dense.coefficients import (
    gawlik,
    optimal_cubic,
    optimal_linear,
    optimal_quadratic,
    optimal_quintic,
    qdwh,
)
from spectool.dense.problems import Problem
from spectool.dense.steps import Kind, Variables

__all__ = ["CLOSED", "aimed", "coordinate", "fitted", "is_linear", "limit"]

Values = tuple[float, ...]
LAWSON = 12
"""Rounds of reweighting."""
SMALLEST = 1e-100
"""Sum of Lawson's weights below which they are lost."""
_SPECTRUM = SpectrumAlgebra()


def limit(problem: Problem, A: FloatArray) -> FloatArray:
    """Return what X tends to, for the eigenvalues (or singular values) of A."""
    if problem.family == "sign":
        return np.sign(A) if problem.function == "sign" else np.ones_like(A)
    if problem.family == "inv":
        return 1.0 / A
    exponent = -1.0 / problem.p if problem.family == "inverse_root" else 1.0 / problem.p
    return np.asarray(A**exponent)


def coordinate(problem: Problem, v: Variables, target: FloatArray) -> FloatArray:
    """Return t, which tends to 1; NaN or not positive where the iteration left its domain."""
    if problem.family == "sign" or v.Y is None:
        return np.asarray(v.X / target)
    if problem.family == "sqrt":
        return np.asarray(np.sqrt(v.Y * v.X))
    return np.asarray(v.Y ** (1.0 / problem.p))


def aimed(kind: Kind, lower: float, upper: float, p: int) -> Values | None:
    """Return the best values for t in [lower, upper]; None where no closed form is known."""
    make = CLOSED.get(kind.name)
    return None if make is None else make(lower, upper, p)


def _newton(lower: float, upper: float, p: int) -> Values:
    """Scale so that both ends have one image, and center the images around 1."""
    del p
    z = 1.0 / math.sqrt(lower * upper)
    top = 0.5 * (math.sqrt(upper / lower) + math.sqrt(lower / upper))
    c = 1.0 / (1.0 + top)
    return c * z, c / z


def _halley(lower: float, upper: float, p: int) -> Values:
    del p
    a, b, c = qdwh(lower / upper)
    return a / upper, b / upper**3, c / upper**2


def _variant(lower: float, upper: float, p: int) -> Values:
    """``t / (1 + t^2)`` is largest at 1."""
    del p
    ends = [t / (1.0 + t * t) for t in (lower, upper)]
    top = 0.5 if lower <= 1.0 <= upper else max(ends)
    return (2.0 / (min(ends) + top),)


def _gawlik(lower: float, upper: float, p: int) -> Values:
    a, b = next(gawlik(lower / upper, p))
    return a * upper ** (p - 1), b * upper**p


def _iannazzo(lower: float, upper: float, p: int) -> Values:
    """``1 / t <- ((p - 1) a / t + b t^(p - 1)) / p``, with equal ends, around 1."""
    if upper - lower <= 1e-9 * upper:
        t = math.sqrt(lower * upper)
        return t, t ** (1 - p)
    # With b = 1: ends agree for this a; the least value lies between, where t^p = a.
    a = (upper ** (p - 1) - lower ** (p - 1)) / (1.0 / lower - 1.0 / upper) / (p - 1)

    def image(t: float) -> float:
        return ((p - 1) * a / t + t ** (p - 1)) / p

    least, most = image(a ** (1.0 / p)), image(upper)
    scale = 0.5 * (1.0 / least + 1.0 / most)  # images of t are the reciprocals
    return a * scale, scale


CLOSED: dict[str, Callable[[float, float, int], Values]] = {
    "sign.newton": _newton,
    "sign.newton_schulz": lambda lower, upper, p: optimal_cubic(lower, upper),  # noqa: ARG005
    "sign.quintic": lambda lower, upper, p: optimal_quintic(lower, upper),  # noqa: ARG005
    "sign.halley": _halley,
    "sign.newton_variant": _variant,
    "sqrt.denman_beavers": _newton,
    "sqrt.product_db": _newton,
    "sqrt.newton_schulz": lambda lower, upper, p: optimal_linear(lower**2, upper**2, p),
    "sqrt.quintic": lambda lower, upper, p: optimal_quadratic(lower**2, upper**2, p),
    "sqrt.newton_variant": _variant,
    "inv.newton_schulz": lambda lower, upper, p: optimal_linear(lower, upper, p),
    "inv.chebyshev": lambda lower, upper, p: optimal_quadratic(lower, upper, p),
    "inverse_root.newton": lambda lower, upper, p: optimal_linear(lower**p, upper**p, p),
    "inverse_root.quadratic": lambda lower, upper, p: optimal_quadratic(lower**p, upper**p, p),
    "inverse_root.gawlik": _gawlik,
    "root.iannazzo": lambda lower, upper, p: _iannazzo(lower, upper, p) if p > 1 else (1.0, 1.0),
}


def fitted(
    kind: Kind,
    v: Variables,
    target: FloatArray,
    weights: FloatArray,
    *,
    largest: bool = True,
) -> Values | None:
    """Return values that bring ``X / target`` closest to 1 on the spectrum.

    Parameters
    ----------
    kind : Kind
        Its X must depend on the values linearly.
    v : Variables
        Spectra, shape (k,).
    target : ndarray, shape (k,)
        What X tends to.
    weights : ndarray, shape (k,)
        Nonnegative; eigenvalues of weight 0 do not count.
    largest : bool
        Whether the largest deviation counts, or the mean square by weight.
    """
    if not kind.parameters or not is_linear(kind, v.p):
        return None
    constant, directions = _affine(kind, v)
    kept = weights > 0
    basis = (directions / target)[:, kept].T
    wanted = (1.0 - constant / target)[kept]
    if wanted.size == 0 or not (np.isfinite(basis).all() and np.isfinite(wanted).all()):
        return None
    omega = weights[kept] / weights[kept].sum()
    if largest:
        omega = _levelling(basis, wanted)
    root = np.sqrt(omega)
    values, *_ = np.linalg.lstsq(root[:, None] * basis, root * wanted, rcond=None)
    return tuple(float(value) for value in values)


def _levelling(basis: FloatArray, wanted: FloatArray) -> FloatArray:
    """Return Lawson's weights, of the round with the least largest deviation."""
    omega = np.full(wanted.size, 1.0 / wanted.size)
    best, least = omega, math.inf
    for _ in range(LAWSON):
        deviation = np.abs(wanted - basis @ _weighted(basis, wanted, omega))
        worst = float(deviation.max())
        if worst < least:
            best, least = omega, worst
        if not 0.0 < worst < math.inf:
            break
        following = omega * (deviation / worst)
        total = float(following.sum())
        if not total > SMALLEST:  # what deviates has no weight left
            break
        omega = following / total
    return best


def _weighted(basis: FloatArray, wanted: FloatArray, omega: FloatArray) -> FloatArray:
    """Return the weighted least squares solution, by normal equations where they do."""
    scaled = omega[:, None] * basis
    try:
        values = np.linalg.solve(scaled.T @ basis, scaled.T @ wanted)
        if np.isfinite(values).all():
            return np.asarray(values)
    except np.linalg.LinAlgError:
        pass
    root = np.sqrt(omega)
    return np.asarray(np.linalg.lstsq(root[:, None] * basis, root * wanted, rcond=None)[0])


@lru_cache(maxsize=256)
def is_linear(kind: Kind, p: int) -> bool:
    """Return whether X depends on the parameters linearly, but for a constant."""
    if not kind.parameters or kind.name in ("sign.halley", "sign.zolotarev"):
        return False
    A = np.asarray([0.3, 0.6, 0.9])
    v = Variables(0.9 * A, 0.8 * A + 0.3, A, p)
    constant, directions = _affine(kind, v)
    values = np.asarray([0.7, -0.4, 1.3, 0.2][: len(kind.parameters)])
    with np.errstate(all="ignore"):
        found = kind.step(*values.tolist())(_SPECTRUM, v).X
    return bool(np.allclose(found, constant + values @ directions, rtol=1e-9, atol=1e-12))


def _affine(kind: Kind, v: Variables) -> tuple[FloatArray, FloatArray]:
    """Return X for zero values, shape (k,), and its derivatives by each value, shape (m, k)."""
    m = len(kind.parameters)
    with np.errstate(all="ignore"):
        constant = np.asarray(kind.step(*([0.0] * m))(_SPECTRUM, v).X)
        units = np.eye(m).tolist()
        rows = [np.asarray(kind.step(*unit)(_SPECTRUM, v).X) - constant for unit in units]
    return constant, np.stack(rows)
