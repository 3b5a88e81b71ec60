r"""Partial fractions ``r(z) = z^factor (c_0 + sum_q residues[q] / (z - poles[q]))`` close to f.

Source
    Hale, Higham and Trefethen, Computing A^alpha, log(A), and related matrix functions by contour
    integrals, SINUM 46 (2008), for roots and sign; Nakatsukasa, Sete and Trefethen, The AAA
    algorithm for rational approximation, SISC 40 (2018), for all else.
Deviations
    (1) For log and powers AAA is scaled so that condition numbers of 1e16 do; errors of powers are
    relative to f. These are Stieltjes functions: poles are negative, and found as sign changes of
    the denominator. (2) ``z^alpha`` with alpha > 0 is ``z^m z^(alpha - m)``: all terms have one
    sign, nothing cancels.
Cost
    ``log(1 / rtol) log(kappa) / 19`` poles for ``z^(-1/2)``; 10 ms to 0.2 s, independent of A.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle
from typing import NamedTuple

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.errors import InputError
from spectool.functions.poles.aaa import MAX_POLES, Fit, aaa, fitted, without_doublets
from spectool.functions.poles.zolotarev import inverse_root
from spectool.functions.scalar import FUNCTIONS, ScalarFunction
from spectool.functions.task import Target

LEAST_RTOL = 1e-14
"""Rounding of sums of poles."""
LARGEST_FACTOR = 4
"""Products with A that replace an exponent."""
NARROWEST = 1.02
"""Ratio of the ends to which narrower intervals are widened."""
HOPELESS = 0.1
"""Error that fewer poles would not make smaller."""
LARGEST_ERROR = 1e-4
"""Least error that is refused, or the square root of rtol if that is larger."""
DOUBLET = 0.5
"""Contribution over the tolerance up to which a pole is left out."""
TOLD_APART, NEIGHBORHOOD = 1e-10, 1e-2
"""Least difference of samples over the largest value, in neighborhoods of ends and zero."""
SAMPLES = 600
"""Of log and powers: 40 per factor of ten at the worst."""
_EPS = float(np.finfo(np.float64).eps)


class Halves(NamedTuple):
    """Poles of the upper half plane and the real axis, and what a sum takes of each pair.

    Attributes
    ----------
    poles : ndarray, shape (h,)
        No two of them conjugate.
    residues, partners : ndarray, shape (h,)
        The sum is ``residues / (z - poles) + partners / (z - conj(poles))``; partners of real poles
        are zero. For real functions ``partners == conj(residues)``: twice the real part.
    """

    poles: Array
    residues: Array
    partners: Array


@dataclass(frozen=True, slots=True, eq=False)
class PoleSum:
    """``r(z) = z^factor (constant + sum_q residues[q] / (z - poles[q]))``, close to one function.

    Attributes
    ----------
    constant : complex
        Real if f is.
    poles, residues : ndarray, shape (q,)
        Complex; conjugate pairs are neighbors, the upper one first. No pole lies on the interval.
    factor : int
        Products with A that remain to be made: 0 but for roots and positive powers.
    error : float
        Largest ``|f - r|`` on a fine grid of the interval, relative to ``|f|`` there if
        ``relative``, to ``size`` if not. May exceed the rtol that was asked for.
    relative : bool
        True for inverses, powers and sign: then ``||f(A) b - r(A) b|| <= error ||f(A) b||``.
    size : float
        ``max |f|`` on the interval.
    interval : tuple of float
        Where r is good, without what lies nearer to zero than ``gap``.
    gap : float
        0 but for functions of indefinite A that are singular at zero.
    """

    constant: complex
    poles: Array
    residues: Array
    factor: int
    error: float
    relative: bool
    size: float
    interval: Interval
    gap: float = 0.0

    def __call__(self, z: Array) -> Array:
        """Evaluate r, shape of z: real for real z if r is."""
        z = np.asarray(z)
        values = np.full(z.shape, complex(self.constant))
        for pole, residue in zip(self.poles, self.residues, strict=True):
            values += residue / (z - pole)
        if self.factor:
            values *= z**self.factor
        return np.asarray(values.real) if self.is_real and z.dtype.kind != "c" else values

    @property
    def is_real(self) -> bool:
        """Whether r is real on the real axis."""
        halves = self.halves
        paired = np.where(halves.poles.imag == 0, halves.residues.conj(), halves.partners)
        real = complex(self.constant).imag == 0
        return bool(real and (paired == halves.residues.conj()).all())

    @property
    def halves(self) -> Halves:
        """One pole of each conjugate pair: for real A and b, ``(A - p)^-1 b`` tells the other."""
        found: dict[complex, list[complex]] = {}
        for pole, residue in zip(self.poles.tolist(), self.residues.tolist(), strict=True):
            above = pole if pole.imag >= 0 else pole.conjugate()
            found.setdefault(above, [0.0, 0.0])[int(pole.imag < 0)] += residue
        sums = np.array(list(found.values()), dtype=np.complex128).reshape(-1, 2)
        return Halves(np.array(list(found), dtype=np.complex128), sums[:, 0], sums[:, 1])

    def absolute_error(self, norm_y: float, norm_b: float) -> float:
        """Bound ``||f(A) b - r(A) b||`` for norms of ``f(A) b`` and b, spectrum in the interval."""
        return self.error * (norm_y if self.relative else self.size * norm_b)


def pole_sum(target: Target, interval: Interval, rtol: float, *, gap: float = 0.0) -> PoleSum:
    """Approximate ``z -> f(t z)`` on an interval by a sum of poles.

    Parameters
    ----------
    target : Target
        f and t.
    interval : tuple of float
        ``(lower, upper)`` of z, lower <= upper; ``t z`` must lie in the domain of f.
    rtol : float
        Wanted ``error``; below 1e-14 is not attempted.
    gap : float
        For sign and inv of intervals across zero: no z is nearer to it than that.

    Returns
    -------
    PoleSum
        With as few poles as were found to do; its ``error`` tells how good it is.

    Raises
    ------
    InputError
        If an argument is malformed, the interval leaves the domain of f, or f is not a matter for
        poles: it oscillates too often, or has a singularity inside.
    """
    lower, upper = float(interval[0]), float(interval[1])
    if not (np.isfinite([lower, upper]).all() and lower <= upper):
        raise InputError(f"interval must be finite and (lower, upper); got ({lower}, {upper}).")
    if not 0 < rtol < 1:
        raise InputError(f"rtol must lie in (0, 1); got {rtol!r}.")
    if not (np.isfinite(gap) and gap >= 0):
        raise InputError(f"gap must be finite and at least 0; got {gap!r}.")
    function = target.function
    named = function.domain != "any" or FUNCTIONS.get(function.name) is function
    design = _designed if named else _design
    return design(target, (lower, upper), max(float(rtol), LEAST_RTOL), float(gap))


def _design(target: Target, interval: Interval, rtol: float, gap: float) -> PoleSum:
    function, t = target.function, target.t
    if function.name == "sign":
        return _sign(target, interval, rtol, gap)
    alpha = _exponent(function)
    if alpha == -1.0:
        return _inverse(target, interval, rtol, gap)
    if alpha is not None and alpha == round(alpha) and 0 <= alpha <= LARGEST_FACTOR:
        none = np.zeros(0, dtype=np.complex128)
        size = float(np.abs(target(np.array(interval))).max())
        return PoleSum(t.real**alpha, none, none, int(alpha), 0.0, True, size, interval)
    if alpha is None and function.domain == "any":
        return _smooth(target, interval, rtol)
    return _on_the_positive_axis(target, alpha, interval, rtol)


_designed = lru_cache(maxsize=64)(_design)


def _exponent(function: ScalarFunction) -> float | None:
    """Return alpha of ``z^alpha``, or None."""
    known = {"sqrt": 0.5, "invsqrt": -0.5, "inv": -1.0}
    if function.name.startswith("power("):
        # The name has six digits only.
        alpha = float(np.log2(function.evaluate(2.0)))
        return float(round(alpha)) if abs(alpha - round(alpha)) < 1e-14 else alpha
    return known.get(function.name)


# -- closed forms ----------------------------------------------------------------------------


def _inverse(target: Target, interval: Interval, rtol: float, gap: float) -> PoleSum:
    lower, upper = interval
    value = 1.0 / target.t.real
    if lower <= 0 <= upper:
        gap = _checked_gap(target, interval, gap)
        # z / (z^2 + delta^2): off the axis, where no Ritz value can hit it.
        delta = gap * float(np.sqrt(0.5 * rtol))
        poles, residues = np.array([1j, -1j]) * delta, np.full(2, 0.5 * value, dtype=np.complex128)
        error, nearest = 0.5 * rtol, gap
    else:
        poles, residues = np.zeros(1, dtype=np.complex128), np.array([value], dtype=np.complex128)
        error, gap, nearest = 0.0, 0.0, min(abs(lower), abs(upper))
    size = abs(value) / nearest
    return PoleSum(0.0, poles, residues, 0, error, True, size, interval, gap)


def _sign(target: Target, interval: Interval, rtol: float, gap: float) -> PoleSum:
    lower, upper = interval
    if not lower <= 0 <= upper:
        none = np.zeros(0, dtype=np.complex128)
        constant = float(np.sign(target.t.real * lower))
        return PoleSum(constant, none, none, 0, 0.0, True, 1.0, interval)
    gap = _checked_gap(target, interval, gap)
    # sign z = z (z^2)^(-1/2)
    far = max(-lower, upper, NARROWEST * gap)
    inner = inverse_root(gap / far, rtol, square=True)
    roots = np.sqrt(inner.squares) * far
    weights = 0.5 * far * inner.weights * np.sign(target.t.real)
    poles = (roots[:, None] * np.array([1j, -1j])).ravel()
    residues = np.repeat(weights, 2).astype(np.complex128)
    return PoleSum(0.0, poles, residues, 0, inner.error, True, 1.0, interval, gap)


def _checked_gap(target: Target, interval: Interval, gap: float) -> float:
    if not 0 < gap < max(-interval[0], interval[1]):
        raise InputError(
            f"gap must be positive and below the modulus of the interval's ends, because "
            f"{target.function.name} is singular at zero inside [{interval[0]:.4g}, "
            f"{interval[1]:.4g}]; got {gap:.4g}."
        )
    return gap


# -- functions with a cut along the negative axis --------------------------------------------


def _on_the_positive_axis(
    target: Target, alpha: float | None, interval: Interval, rtol: float
) -> PoleSum:
    """Log (alpha None) and powers that are not whole: all poles on the other half axis."""
    t, name = target.t.real, target.function.name
    x0, x1 = sorted((t * interval[0], t * interval[1]))
    rooted = target.function.domain == "nonnegative"
    if x0 < 0 or x1 <= 0 or (x0 == 0 and not rooted):
        raise InputError(
            f"interval must be {'nonnegative' if rooted else 'positive'} times t for {name}; got "
            f"{interval} with t = {t}."
        )
    if alpha is not None and not -2 < alpha < LARGEST_FACTOR:
        raise InputError(
            f"{name} is no sum of simple poles, or grows too fast; exponents must lie in "
            f"(-2, {LARGEST_FACTOR}). Use method='lanczos'."
        )
    factor = 0 if alpha is None or alpha < 0 else int(np.ceil(alpha))
    divided = alpha is not None and alpha < -1
    shift = factor - int(divided)  # f(x) = x^shift g(x), g of Stieltjes' kind
    # Below eps times the largest eigenvalue a root is known no better.
    ratio = min(max(x0 / x1, _EPS if rooted else 1e-300), 1.0 / NARROWEST)
    if alpha is not None and alpha - shift == -0.5:
        root = inverse_root(ratio, rtol)
        scale = float(target.function.evaluate(x1)) * x1**-shift
        fit = Fit(0.0, -root.squares, root.weights)
    else:
        s = np.geomspace(ratio, 1.0, SAMPLES)
        s[[0, -1]] = ratio, 1.0
        g = target.function(x1 * s) * (x1 * s) ** -shift
        scale = float(np.abs(g).max())
        weights = np.abs(g / scale) if alpha is not None else np.ones_like(g)
        found = aaa(s, g / scale, 0.5 * rtol, weights=weights, scales=np.sqrt(s))
        fit = fitted(s, g / scale, found.negative_poles(), weights)
    constant, poles, residues = scale * fit.constant, x1 * fit.poles, (scale * x1) * fit.residues
    if divided:  # (c + sum rho / (x - p)) / x
        residues = np.append(residues / poles, constant - (residues / poles).sum())
        constant, poles = 0.0, np.append(poles, 0.0)
    ends = sorted((ratio * x1 / t, x1 / t))
    constant, residues = constant * t**factor, residues * (t**factor / t)
    grid = np.geomspace(ends[0], ends[1], 4003)
    return _measured(
        target, grid, constant, poles / t, residues, (ends[0], ends[1]), factor, alpha is not None
    )


# -- functions without singularity -----------------------------------------------------------


def _smooth(target: Target, interval: Interval, rtol: float) -> PoleSum:
    """Functions that have no singularity, or none that is known: poles anywhere."""
    lower, upper = _widened(interval)
    # Coordinates are exact near zero, where exponentials of a wide interval live.
    origin, half = min(max(0.0, lower), upper), 0.5 * (upper - lower)
    dense = _samples((lower, upper), origin, half, 61)
    size = float(np.abs(target(dense)).max())
    z = _told_apart(target, _samples((lower, upper), origin, half, 24), origin, half, size)
    x, first = np.unique((z - origin) / half, return_index=True)
    values, ones = target(z[first]) / (size or 1.0), np.ones(x.size)
    if not values.imag.any():
        values = values.real
    best, tolerance = None, 0.5 * rtol
    for scales in cycle((ones, np.sqrt(np.abs(x) + 1e-19))):
        found = aaa(x, values, tolerance, weights=ones, scales=scales)
        fit, spurious = fitted(x, values, found.poles((x[0], x[-1])), ones), DOUBLET * tolerance
        for _ in range(2):
            fit = without_doublets(x, values, fit, spurious)
            poles = origin + half * fit.poles
            near, height = poles.real, np.abs(poles.imag)
            grid = np.concatenate([dense, near, near + height, near - height])
            measured = _measured(
                target, grid[(grid >= lower) & (grid <= upper)], size * fit.constant, poles,
                (size * half) * fit.residues, (lower, upper),
            )  # fmt: skip
            if best is None or measured.error < best.error:
                best = measured
            if measured.error <= rtol:
                break
            spurious = 2.0 * measured.error
        if best is not None and (
            best.error <= rtol or tolerance >= 0.1 * best.error or best.error > HOPELESS
        ):
            break
        tolerance *= 10.0  # fewer poles cancel less
    assert best is not None
    if not best.error <= max(float(np.sqrt(rtol)), LARGEST_ERROR):
        raise InputError(
            f"{target} has no good approximation by up to {MAX_POLES} poles on [{lower:.4g}, "
            f"{upper:.4g}]: the error of the best that was found is {best.error:.1e}. Use "
            "method='chebyshev' or 'lanczos'."
        )
    return best


def _told_apart(
    target: Target, z: FloatArray, origin: float, half: float, size: float
) -> FloatArray:
    """Return the samples without those whose values differ by rounding from an anchor's nearby.

    AAA divides differences of values by distances: of rounding, that may be anything.
    """
    values, kept = target(z), np.ones(z.size, dtype=bool)
    for anchor in (z[0], z[-1], origin):
        at = int(np.where(kept, np.abs(z - anchor), np.inf).argmin())
        same = np.abs(values - values[at]) <= TOLD_APART * size
        same[at] = False
        kept &= ~(same & (np.abs(z - anchor) < NEIGHBORHOOD * half))
    kept[[0, -1]] = True
    return np.asarray(z[kept])


def _widened(interval: Interval) -> Interval:
    lower, upper = interval
    room = max(0.5 * (NARROWEST - 1) * max(abs(lower), abs(upper)), 1e-290)
    return interval if upper - lower >= room else (lower - room, upper + room)


def _samples(interval: Interval, origin: float, half: float, dense: int) -> FloatArray:
    """Points of an interval: Chebyshev's, and clusters at the ends and at zero, ascending."""
    lower, upper = interval
    angles = np.pi * (np.arange(16 * dense) + 0.5) / (16 * dense)
    steps = np.geomspace(1e-18, 2.0, 18 * dense) * half
    close = steps[steps > 1e-10 * half]
    points = [lower + half * (1 + np.cos(angles)), lower + close, upper - close]
    points += [origin + steps, origin - steps, np.array([lower, origin, upper])]
    z = np.unique(np.concatenate(points))
    z = z[(z >= lower) & (z <= upper)]
    # Two clusters may nearly coincide.
    apart = np.diff(z, prepend=-np.inf) > 1e-9 * np.abs(z - origin)
    return np.asarray(z[apart | (z == upper)])


def _measured(
    target: Target,
    grid: FloatArray,
    constant: complex,
    poles: Array,
    residues: Array,
    interval: Interval,
    factor: int = 0,
    relative: bool = False,
) -> PoleSum:
    """Return the sum with its error and the function's size as a grid shows them."""
    poles, residues = poles.astype(np.complex128), residues.astype(np.complex128)
    for array in (poles, residues):
        array.setflags(write=False)  # sums are cached
    found = PoleSum(constant, poles, residues, factor, 0.0, relative, 0.0, interval)
    values = target(grid)
    size = float(np.abs(values).max())
    with np.errstate(all="ignore"):
        unit = np.abs(values) if relative else (size or 1.0)
        error = float((np.abs(found(grid) - values) / unit).max())
    return replace(found, size=size, error=error if np.isfinite(error) else np.inf)
