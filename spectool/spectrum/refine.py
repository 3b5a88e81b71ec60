"""What a solve by conjugate gradients has learned of the ends of the spectrum.

Source
    Golub and Meurant, Matrices, Moments and Quadrature with Applications, Princeton 2010, chapter
    12: the coefficients of CG are the Lanczos matrix of ``M A``.
Deviations
    Only the ends are taken. A right-hand side is no random vector: neither its weights are those of
    the spectrum, nor do the bounds of van Dorsselaer and others hold. No safe end is sharpened.
Cost
    No product; the extreme eigenvalues of a tridiagonal matrix.

The lowest Ritz value lies inside the spectrum whatever the start, copies of converged ones included
that CG makes in floating point: to some thousand units of rounding of the largest eigenvalue, as
measured. The highest may be off by far more once CG has lost orthogonality (by a tenth, measured);
so it is taken from the first steps, and only to tell that an upper end is wrong.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal, eigvalsh_tridiagonal

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.operators import PolynomialOperator
from spectool.polynomials import Recurrence
from spectool.polynomials.nodes import chebyshev_points
from spectool.results import LinearSolution
from spectool.spectrum.moments import Moments, calibrated
from spectool.spectrum.spectrum import Bound, Certificate, Spectrum

ROUNDING = 1e4
"""Units of rounding, relative to the interval, that the lowest Ritz value may be off."""
FALL, EARLY = 1e-2, 1e-6
"""The highest Ritz value is taken before residuals fall to this; how far it may be off then."""
MISMATCH = 1e-3
"""Excess over a proven end, relative to the interval, that no rounding explains."""
CLEAR = 0.99
"""Share of the least value of ``z p(z)`` beyond its first maximum, below which its preimage is
taken to be known."""


class RitzEnd(NamedTuple):
    """An extreme Ritz value, and a distance within which an eigenvalue lies."""

    value: float
    residual: float


def refined(spectrum: Spectrum, solution: LinearSolution, M: Any) -> Spectrum:
    """Return the spectrum with the ends that a solve has found; see ``Spectrum.refined``."""
    lowest, highest = _found(spectrum, solution, M)
    size = max(abs(end) for end in spectrum.interval)
    eps = float(np.finfo(solution.x.dtype).eps)
    lower, upper = spectrum.certificate
    if highest is not None and 1e3 * eps < EARLY:
        upper = _widened(upper, highest, size, EARLY * size, 1.0)
    room = ROUNDING * eps * size
    if lowest is None or lowest.value <= room:  # nothing that rounding could not make
        return replace(spectrum, certificate=Certificate(lower, upper))
    lower = _widened(lower, lowest, size, room, -1.0)
    if spectrum.complete:
        return replace(spectrum, certificate=Certificate(lower, upper))
    gain = lower.ritz_value - lowest.value
    if gain > room:
        distance = min(lowest.residual, gain + lower.residual)
        lower = replace(lower, ritz_value=lowest.value, residual=distance)
    else:
        distance = min(lower.residual, abs(gain) + lowest.residual)
        lower = replace(lower, residual=distance)
    spectrum = _with_lowest(spectrum, lowest, room)
    return replace(spectrum, certificate=Certificate(lower, upper))


def _found(
    spectrum: Spectrum, solution: LinearSolution, M: Any
) -> tuple[RitzEnd | None, RitzEnd | None]:
    """Return the lowest and the highest Ritz value, in the spectrum's unit, where they tell."""
    if not isinstance(solution, LinearSolution):
        raise InputError(f"solution must be a LinearSolution; got {type(solution).__name__}.")
    if solution.lanczos[0].size == 0:
        raise InputError(
            f"the solution by {solution.method} holds no Lanczos matrix; solve by cg, with one "
            "right-hand side that x0 does not solve already."
        )
    if solution.x.size != spectrum.n:
        raise InputError(f"the solution has {solution.x.size} unknowns, A {spectrum.n} rows.")
    if solution.method.startswith("preconditioned") != (M is not None):
        raise InputError(
            f"M must be what the system was solved with: method is {solution.method!r}, and M is "
            f"{type(M).__name__}."
        )
    factor = _factor(spectrum, M)
    lowest, highest = _ends(*solution.lanczos)
    if M is not None and M.recurrence.degree:
        mapped = _preimage(M.recurrence, lowest, float(np.finfo(M.operator.dtype).eps))
        return None if mapped is None else _times(mapped, factor), None
    return _times(lowest, factor), _times(highest, factor)


def _factor(spectrum: Spectrum, M: Any) -> float:
    """Return what maps eigenvalues of what M works on to the spectrum's, or raise InputError."""
    scaled = spectrum.scaling is not None
    if M is None:
        if scaled:
            raise InputError(
                "without M, Ritz values are those of A, and this spectrum is that of "
                "D^-1/2 A D^-1/2; solve with method='jacobi', or probe with scaling=None."
            )
        return 1.0
    if not isinstance(M, PolynomialOperator) or M.operator.assume_a == "gen":
        raise InputError(
            f"Ritz values of M A tell nothing of A's spectrum where M is a {type(M).__name__}; "
            "solve with M = None, or with preconditioner(A) over A's diagonal."
        )
    q, scale = M.recurrence, M.scale
    if q.degree and q.interval[0] < -1e-9 * q.interval[1]:
        raise InputError("M is for an indefinite A, where cg tells nothing; solve by minres.")
    if getattr(M, "amended", False):
        raise InputError("M was mended at run time: its Ritz values are of no one polynomial.")
    unit = 1.0 if q.degree else 1.0 / float(q.w[0])
    constant = scale is not None and float(np.ptp(scale)) == 0.0
    probed = getattr(M, "spectrum", None)
    if scaled and (scale is None or (q.degree and probed is not None and probed.scaling is None)):
        raise InputError("M is not scaled by A's diagonal, and the spectrum is.")
    if not scaled and scale is not None:
        if not constant:
            raise InputError("M is scaled by A's diagonal, and the spectrum is not.")
        unit /= float(scale[0]) ** 2
    return unit


def _times(end: RitzEnd, factor: float) -> RitzEnd:
    return RitzEnd(factor * end.value, factor * end.residual)


def _ends(diagonal: FloatArray, off: FloatArray) -> tuple[RitzEnd, RitzEnd]:
    """Return the lowest Ritz value, and the highest of the first steps.

    The residual of the lowest is known one step before the last, that of the highest not at all.
    """
    unit = float(np.ldexp(1.0, np.frexp(np.abs(diagonal).max())[1]))
    diagonal, off = diagonal / unit, off / unit
    theta = eigvalsh_tridiagonal(diagonal, off, select="i", select_range=(0, 0))[0]
    early = _early(diagonal, off)
    top = eigvalsh_tridiagonal(diagonal[:early], off[: early - 1])[-1]
    residual = math.inf
    if diagonal.size > 1:
        before, s = eigh_tridiagonal(diagonal[:-1], off[:-1], select="i", select_range=(0, 0))
        residual = abs(off[-1] * s[-1, 0]) + abs(before[0] - theta)
    lowest = RitzEnd(unit * float(theta), unit * float(residual))
    return lowest, RitzEnd(unit * float(top), math.inf)


def _early(diagonal: FloatArray, off: FloatArray) -> int:
    """Return how many steps CG made before its residual, in the norm of M, fell to FALL."""
    alpha, square, largest = 1.0 / diagonal[0], 1.0, 1.0
    for k in range(off.size):
        beta = (off[k] * alpha) ** 2
        square *= beta
        largest = max(largest, square)
        if not square >= FALL**2 * largest:
            return k + 1
        alpha = 1.0 / (diagonal[k + 1] - beta / alpha)
    return int(diagonal.size)


def _preimage(p: Recurrence, end: RitzEnd, eps: float) -> RitzEnd | None:
    """Return what the lowest Ritz value of ``A p(A)`` tells of A, or None; eps is M's rounding.

    ``f(z) = z p(z)`` rises from zero to its first maximum. A Ritz value below all that f takes
    beyond has an eigenvalue at or below its preimage, which thus is as good as a Ritz value of A.
    """
    z = np.sort(chebyshev_points(64 * (p.degree + 1), (0.0, p.interval[1])))
    q = p(z)
    f = z * q
    falling = np.flatnonzero(np.diff(f) < 0)
    summit = int(falling[0]) if falling.size else z.size - 1
    if not (q.min() > 0 and 0 < end.value < CLEAR * float(f[summit:].min())):
        return None

    def inverse(y: float) -> float:
        low, high = 0.5 * y / float(q.max()), float(z[summit])
        for _ in range(80):
            middle = math.sqrt(low) * math.sqrt(high)
            low, high = (middle, high) if middle * p(middle) < y else (low, middle)
        return high

    value, below = inverse((1.0 + 1e3 * eps) * end.value), end.value - end.residual
    return RitzEnd(value, value - inverse(below) if below > 0 else value)


def _widened(bound: Bound, end: RitzEnd, size: float, room: float, sign: float) -> Bound:
    """Return the bound, moved where a Ritz value lies outside; raise where that cannot be."""
    value, residual = end
    excess = sign * (value - bound.value)
    if bound.proven and excess > MISMATCH * size:
        raise InputError(
            f"the solve has the Ritz value {value:.6g}, and no eigenvalue lies beyond "
            f"{bound.value:.6g} ({bound.source}). Is it a solution with this A, and this M?"
        )
    if bound.proven or excess <= room:
        return bound
    beyond = max(excess, residual if math.isfinite(residual) else 0.0) + room
    moved = value + sign * beyond
    source = "Ritz value of a solve"
    return replace(bound, value=moved, ritz_value=value, residual=beyond, source=source)


def _with_lowest(spectrum: Spectrum, end: RitzEnd, room: float) -> Spectrum:
    """Return the spectrum with the end before the Ritz values of each probe that it lies below.

    It stands for one eigenvalue, whose share is taken from the first Ritz value.
    """
    parts = []
    matched = spectrum.n_moments
    for i in range(spectrum.n_probes):
        of = spectrum.probes == i
        v, r, w = (
            part[of].copy()
            for part in (spectrum.ritz_values, spectrum.ritz_residuals, spectrum.weights)
        )
        gap = float(v[0] - end.value)
        if gap <= room:
            r[0] = min(r[0], abs(gap) + end.residual)
        else:
            total = float(w.sum())
            kept = Moments(*(float(w @ v**j) / total for j in (1, 2)))
            share = min(total / spectrum.n, 0.5 * float(w[0]))
            w[0] -= share
            r = np.insert(r, 0, min(end.residual, gap + float(r[0])))
            v, w = np.insert(v, 0, end.value), np.insert(w, 0, share)
            usable = matched == 2 and 1e-290 < kept.square < math.inf
            w, found = calibrated(v, w / total, kept if usable else None)
            w, matched = w * total, min(matched, found)
        parts.append((v, r, w, np.full(v.size, i)))
    values, residuals, weights, probes = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(values, kind="stable")
    return replace(
        spectrum,
        ritz_values=values[order],
        ritz_residuals=residuals[order],
        weights=weights[order],
        probes=probes[order],
        n_moments=matched,
    )
