"""Partial fractions close to f on a region of the complex plane, for A that is not Hermitian.

Source
    Weideman and Trefethen, Parabolic and hyperbolic contours for computing the Bromwich integral,
    Math. Comp. 76 (2007); Hale, Higham and Trefethen, SINUM 46 (2008), for the trapezoidal rule in
    the logarithm of the pole.
Deviations
    Contours are not optimal for a shape that is assumed: of a family, the one with fewest poles is
    taken whose error on the boundary of the region, where analytic errors are largest, is small
    enough. Errors are measured, never predicted.
Cost
    20 to some 100 poles, milliseconds, independent of A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spectool._types import Array
from spectool.errors import InputError
from spectool.functions.poles.field_of_values import FieldOfValues
from spectool.functions.poles.fractions import LARGEST_FACTOR, PoleSum
from spectool.functions.scalar import FUNCTIONS, ScalarFunction, power
from spectool.functions.task import Target

PER_EDGE = 16
COUNTS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Numbers of poles that are tried."""
SIZES = np.geomspace(0.3, 30.0, 16)
"""Parabolas ``mu (i theta + 1)^2`` that are tried; e^mu is what rounding is amplified by."""
MARGINS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Distances of ellipses to the region, in units of its width, that are tried."""
WIDEST = 0.92 * np.pi
"""Largest angle to the positive axis that is kept off the negative one."""
MOST_OFF = 1e-2
"""Error of a sum that is not worth its poles."""
LEAST_RTOL = 1e-14
TINY = 1e-290

Sum = tuple[complex, Array, Array]


def contour_sum(target: Target, region: FieldOfValues, theta: Array, rtol: float) -> PoleSum:
    """Approximate ``z -> f(t z)`` by a sum of poles around a region.

    Parameters
    ----------
    target : Target
        f and t.
    region : FieldOfValues
        Holds z. Where it holds singularities of f, too, theta stands for it.
    theta : ndarray, shape (k,)
        Ritz values.
    rtol : float
        Wanted error, relative to f for powers and sign, to ``max |f|`` otherwise.

    Returns
    -------
    PoleSum
        Its ``error`` is measured on the region's boundary, or at theta.

    Raises
    ------
    InputError
        If no contour comes close to f: it is singular inside, oscillates or grows too much.
    """
    function, t, rtol = target.function, complex(target.t), max(rtol, LEAST_RTOL)
    scaled = region.times(t)
    samples = np.concatenate([scaled.boundary(PER_EDGE), t * theta])
    factor = power_taken_out(target)
    with np.errstate(all="ignore"):
        if function.domain != "any":
            found, points = _cut(function, factor, scaled, t * theta, rtol)
        elif factor:  # a whole power
            found, points = (1.0, np.zeros(0), np.zeros(0)), samples
        else:
            found, points = _entire(function, scaled, samples, rtol), samples
        error, size = _error(function, found, factor, points)
    constant, poles, residues = found
    if not error <= MOST_OFF:
        raise InputError(
            f"{target} has no partial fractions near the field of values of A, about "
            f"{region.width:.3g} wide: it oscillates, grows, or has singularities there. "
            "Allow more memory, so that nothing is restarted, or take smaller t."
        )
    ends = float(region.corners.real.min()), float(region.corners.real.max())
    if t.imag == 0:
        t = t.real
    with np.errstate(all="ignore"):
        scale = np.power(t, factor)
        found = constant * scale, poles / t, residues * (scale / t)
    if not all(np.isfinite(part).all() for part in found):
        raise InputError(f"{target} overflows where its poles are. Rescale A or t.")
    return PoleSum(*found, factor, error, _is_relative(function), size, ends)


def power_taken_out(target: Target) -> int:
    """Return m of ``f(z) = z^m g(z)`` for the g that poles are for; as ``pole_sum`` chooses it."""
    function = target.function
    if not is_named(function) or not function.name.startswith(("power(", "sqrt")):
        return 0
    alpha = float(np.log2(function.evaluate(2.0)))  # the name shows six digits of it
    m = max(round(alpha) if function.domain == "any" else int(np.ceil(alpha)), 0)
    return m if m <= LARGEST_FACTOR else 0


def without_power(target: Target) -> Target:
    """Return g of ``f(z) = z^m g(z)``, m being ``power_taken_out``."""
    m = power_taken_out(target)
    if m == 0:
        return target
    return Target(power(float(np.log2(target.function.evaluate(2.0))) - m), target.t)


def divided(total: PoleSum, size: float) -> PoleSum:
    """Return a sum of poles divided by a number; raises InputError where that over- or underflows.

    What may be taken out of it, and its error, remain.
    """
    if not TINY < size < 1.0 / TINY:
        raise InputError(
            f"powers of t must be representable, but {size:.3g} scales the sum of poles. Rescale "
            "A, so that t is nearer to 1."
        )
    with np.errstate(over="ignore"):
        constant, residues = total.constant / size, total.residues / size
    if not (np.isfinite(constant) and np.isfinite(residues).all()):
        raise InputError("f(t A) overflows where its poles are. Rescale A or t.")
    return replace(total, constant=constant, residues=residues, size=total.size / size)


def error_at(target: Target, found: PoleSum, points: Array) -> float:
    """Return the largest ``|f - r|`` at points z, shape (k,), in the unit of ``found.error``."""
    with np.errstate(all="ignore"):
        exact = np.asarray(principal(target.function, target.t * points))
        terms = found.residues / (points[:, None] - found.poles)
        values = (found.constant + terms.sum(axis=1)) * points.astype(np.complex128) ** found.factor
        gaps = np.abs(values - exact)
        largest = gaps / np.abs(exact) if found.relative else gaps / max(found.size, 1e-300)
    return float(np.where(np.isfinite(largest), largest, np.inf).max(initial=0.0))


def is_named(function: ScalarFunction) -> bool:
    """Return whether f is one of ours, not a callable."""
    return FUNCTIONS.get(function.name) is function or function.name.startswith("power(")


def principal(function: ScalarFunction, z: Array) -> Array:
    """Return f at complex z; the sign of a matrix is that of the real part."""
    if is_named(function) and function.name == "sign":
        return np.sign(z.real)
    return np.asarray(function.evaluate(z.astype(np.complex128)))


def _is_relative(function: ScalarFunction) -> bool:
    return function.domain != "any" and function.name != "log"


def _error(function: ScalarFunction, found: Sum, factor: int, points: Array) -> tuple[float, float]:
    """Return the largest error, relative as the function's kind is, and ``max |f|``."""
    constant, poles, residues = found
    exact = principal(function, points)
    values = constant + (residues / (points[:, None] - poles)).sum(axis=1)
    gaps, sizes = np.abs(values * points**factor - exact), np.abs(exact)
    size = float(sizes.max())
    largest = float((gaps / sizes).max() if _is_relative(function) else gaps.max() / size)
    return (largest if np.isfinite(largest) else np.inf), size


# -- singular at zero, or along the negative axis ---------------------------------------------


def _cut(
    function: ScalarFunction, factor: int, region: FieldOfValues, theta: Array, rtol: float
) -> tuple[Sum, Array]:
    """Sum by the trapezoidal rule in the logarithm of the pole; the sector tells its step."""
    name = function.name
    if name in ("inv", "power(-1)"):
        points = theta if region.distance(np.zeros(1))[0] <= 0 else region.boundary(PER_EDGE)
        return (0.0, np.zeros(1, np.complex128), np.ones(1, np.complex128)), points
    points = region.boundary(PER_EDGE)
    if region.distance(np.zeros(1))[0] <= 0 or not in_sector(function, points).all():
        points = theta[in_sector(function, theta)]
    if points.size == 0:
        where = "imaginary" if name == "sign" else "negative real"
        raise InputError(
            f"{name} has no partial fractions where Ritz values are, all of them close to the "
            f"{where} axis, like {theta[np.abs(theta).argmax()]:.6g}. Allow more memory, so that "
            "nothing is restarted."
        )
    turned = np.copysign(1.0, points.real) * points if name == "sign" else points
    open_angle = (0.5 if name == "sign" else 1.0) * np.pi - float(np.abs(np.angle(turned)).max())
    step = 2.0 * np.pi * 0.9 * open_angle / np.log(1.0 / (0.1 * rtol))
    least, most = 1e-4 * float(np.abs(points).min()), 1e2 * float(np.abs(points).max())
    if name == "sign":
        u = _grid(least * rtol, most / rtol, step)
        poles = np.concatenate([1j * np.exp(u), -1j * np.exp(u)])
        return (0.0, poles, np.tile(step / np.pi * np.exp(u), 2) + 0j), points
    if name == "log":
        middle = float(np.sqrt(least * most))
        u = _grid(least / middle * rtol, most / middle / rtol, step)
        s, constant = np.exp(u), np.log(middle) + float((step / (1.0 + np.exp(-u))).sum())
        return (constant, -middle * s + 0j, -middle * step * s + 0j), points
    alpha = float(np.log2(function.evaluate(2.0)))  # the name shows six digits of it
    a = alpha - factor + 1.0
    if not 0 < a < 1:
        raise InputError(f"{name} has no simple poles to be summed. Allow more memory.")
    # z^(a - 1) = sin(pi a) / pi int exp(a u) / (z + exp(u)) du; the ends are geometric series
    u = _grid(least * rtol ** (1 / (1 + a)), most * rtol ** (-1 / (2 - a)), step)
    scale = step * np.sin(np.pi * a) / np.pi
    residues = scale * np.exp(a * u)
    residues[0] /= 1.0 - np.exp(-a * step)
    constant = scale * np.exp((a - 1) * (u[-1] + step)) / (1.0 - np.exp((a - 1) * step))
    return (constant, -np.exp(u) + 0j, residues + 0j), points


def in_sector(function: ScalarFunction, z: Array) -> Array:
    """Return which points z have an angle to the real axis, or its positive half, that poles do."""
    folded = np.where(z.real < 0, -z, z) if function.name == "sign" else z
    limit = 0.5 * WIDEST if function.name == "sign" else WIDEST
    if function.name in ("inv", "power(-1)"):
        limit = np.inf
    return np.asarray((np.abs(np.angle(folded)) <= limit) & (z != 0))


def _grid(low: float, high: float, step: float) -> Array:
    return np.arange(np.log(low), np.log(high) + step, step)


# -- no singularity, or none that is known ----------------------------------------------------


def _entire(function: ScalarFunction, region: FieldOfValues, samples: Array, rtol: float) -> Sum:
    """Of parabolas (for exponentials) and ellipses, the sum with fewest poles that does."""
    families: list[Callable[[int], list[Sum]]] = [lambda n: ellipses(function, region, n)]
    if is_named(function) and function.name in ("exp", "expm1", "phi1", "phi2"):
        p = int(function.name[-1]) if function.name.startswith("phi") else 0
        top = float(samples.real.max())
        if p:  # the integrand has poles at zero, too
            top = max(top, 0.0)
        offset = -1.0 if function.name == "expm1" else 0.0
        families.insert(0, lambda n: [_parabola(n, mu, top, p, offset, rtol) for mu in SIZES])
    best: tuple[float, Sum] | None = None
    for count in COUNTS:
        for family in families:
            for found in family(count):
                error = _error(function, found, 0, samples)[0]
                if best is None or error < best[0]:
                    best = error, found
        if best is not None and best[0] <= rtol:
            break
    assert best is not None
    return best[1]


def _parabola(n: int, mu: float, top: float, p: int, offset: float, rtol: float) -> Sum:
    """Trapezoidal rule on ``top + mu (i theta + 1)^2`` for ``e^s s^-p``, cut where e^s is small."""
    reach = np.sqrt(1.0 + np.log(10.0 / rtol) / mu)
    step = 2.0 * reach / n
    w = 1j * (np.arange(n) + 0.5 - 0.5 * n) * step + 1.0
    s = top + mu * w**2
    residues = -(step / np.pi) * mu * w * np.exp(s) / s**p
    return offset, s, residues


def ellipses(function: ScalarFunction, region: FieldOfValues, n: int) -> list[Sum]:
    """Return Cauchy integrals for f by n points, n even, on ellipses around a region, in order."""
    corners, center = region.corners, region.center
    if abs(center.imag) <= 1e-10 * region.width:  # conjugate poles have conjugate residues
        center = complex(center.real)
    x, y = np.abs((corners - center).real), np.abs((corners - center).imag)
    a, b = max(float(x.max()), 1e-290), max(float(y.max()), 1e-290)
    rounder = float(np.sqrt((x / a) ** 2 + (y / b) ** 2).max())
    upper = np.exp(2j * np.pi * (np.arange(n // 2) + 0.5) / n)
    turn = np.concatenate([upper, upper[::-1].conj()])
    sums: list[Sum] = []
    for margin in MARGINS:
        extra = margin * max(region.width, 1e-3 * abs(center), 1e-290)
        major, minor = rounder * a + extra, rounder * b + extra
        s = center + major * turn.real + 1j * minor * turn.imag
        slope = -major * turn.imag + 1j * minor * turn.real
        f = np.asarray(function.evaluate(s)) * np.ones(n)
        sums.append((0.0, s, -f * slope / (1j * n)))
    return sums
