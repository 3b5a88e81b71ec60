"""Scalar functions by name, with what is needed to bound the error of Lanczos for each.

Source
    Higham, Functions of Matrices, SIAM 2008, chapter 5 and (5.6), for the integrals; Chen,
    Greenbaum, Musco and Musco, Error bounds for Lanczos-based matrix function approximation,
    SIMAX 43 (2022), for turning shifted residuals into error bounds.

Where ``f(z) = f_0(z) + sum_q weights[q] / (z + shifts[q])``, the Lanczos approximation errs by the
same combination of the errors of shifted linear systems, and each of those is its residual times
the inverse, ``||r_q|| / |lambda + shift|``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spectool._types import Array, FloatArray, ScalarMap
from spectool.errors import InputError

Domain = Literal["any", "nonnegative", "positive", "nonzero"]
_POWER = re.compile(r"power\(\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*\)")
STEP = 0.25
"""Step of the trapezoidal rule in log(shift); its error is below 1e-14 for these integrands."""


@dataclass(frozen=True, slots=True)
class ShiftedSum:
    """Shifts, shape (q,), and moduli of weights, shape (q,), of a partial fraction expansion."""

    shifts: Array
    weights: FloatArray


@dataclass(frozen=True, slots=True)
class ScalarFunction:
    """A function of eigenvalues.

    Attributes
    ----------
    name : str
        For reports.
    evaluate : callable
        Vectorized over real and, where ``domain`` is "any", complex arrays.
    domain : {"any", "nonnegative", "positive", "nonzero"}
        Where eigenvalues must lie.
    expansion : callable, optional
        Maps the spectrum's modulus to a ``ShiftedSum``; None where there is none.
    exponentials : tuple of (float, complex)
        Weights and factors with ``f(z) = f_0 + sum_j weight_j phi_p(factor_j z)``, whose errors the
        residual of ``y' = factor t A y`` bounds; empty where there are none.
    phi : int
        p: 0 for the exponential itself, 1 or 2 for its averages phi_1, phi_2.
    slope : callable, optional
        How fast f changes under a perturbation of A, where that is not ``|f'|``.
    """

    name: str
    evaluate: Callable[[Any], Any]
    domain: Domain = "any"
    expansion: Callable[[float], ShiftedSum] | None = None
    exponentials: tuple[tuple[float, complex], ...] = ()
    phi: int = 0
    slope: ScalarMap | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Names travel as names; a callable must be picklable itself."""
        if FUNCTIONS.get(self.name) is self or _POWER.fullmatch(self.name):
            return (as_scalar_function, (self.name,))
        return (ScalarFunction, (self.name, self.evaluate))

    def __call__(self, z: Array) -> Array:
        """Evaluate f at z, float64 or complex128.

        Raises InputError unless the values are finite, of z's shape, and (for real z) real unless
        their type is complex.
        """
        with np.errstate(all="ignore"):
            values: Array = np.asarray(self.evaluate(z))
        if values.shape != z.shape:
            raise InputError(f"f must map shape {z.shape} to itself; it returned {values.shape}.")
        if values.dtype.kind not in "biufc":
            raise InputError(f"f must return numbers; it returned {values.dtype}.")
        values = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
        if not np.isfinite(values).all():
            where = z[np.flatnonzero(~np.isfinite(values))[0]]
            raise InputError(
                f"f must be finite on the spectrum; {self.name}({where:.6g}) is not. For log, sqrt "
                "or inverse powers A must be positive definite; for exp rescale t."
            )
        return values

    def with_slope(self, z: Array) -> tuple[Array, FloatArray]:
        """Return f and ``|f'|`` (a difference quotient, 0 where not finite) at z, shape of z."""
        inside = np.maximum(z, 0.0) if self.domain == "nonnegative" else z
        step = 1e-6 * np.maximum(np.abs(inside), 1e-300)
        if self.domain == "nonnegative":
            # A root's slope at zero is infinite, but rounding moves an eigenvalue only so far.
            step = np.maximum(
                step, float(np.finfo(np.float64).eps) * np.abs(inside).max(initial=0.0)
            )
        values = self(inside)
        if self.slope is not None:
            return values, np.asarray(self.slope(inside), dtype=np.float64)
        with np.errstate(all="ignore"):
            slope = np.abs(np.asarray(self.evaluate(inside + step)) - values) / step
        return values, np.where(np.isfinite(slope), slope, 0.0)


def _log_grid(size: float, *, power: float) -> FloatArray:
    """Points u whose ``exp(power u)`` run from 1e-17 to 1e4 times the spectrum's modulus."""
    low, high = np.log(1e-17 * size) / power, np.log(1e4 * size) / power
    return np.arange(low, high + STEP, STEP)


def _inverse(size: float) -> ShiftedSum:  # noqa: ARG001 - one signature for all expansions
    return ShiftedSum(np.zeros(1), np.ones(1))


def _logarithm(size: float) -> ShiftedSum:
    # log z = int_0^inf (1 / (1 + s) - 1 / (z + s)) ds, s = exp(u)
    u = _log_grid(size, power=1.0)
    return ShiftedSum(np.exp(u), STEP * np.exp(u))


def _sign(size: float) -> ShiftedSum:
    # sign z = (2/pi) int_0^inf z / (z^2 + t^2) dt = (2/pi) int Re 1 / (z + i t) dt
    u = _log_grid(size, power=1.0)
    return ShiftedSum(1j * np.exp(u), (2 / np.pi) * STEP * np.exp(u))


def _power(alpha: float) -> Callable[[float], ShiftedSum]:
    """Return the expansion of ``z^alpha``, 0 < |alpha| < 1."""
    # z^(a - 1) = (sin(pi a) / pi) int_0^inf s^(a - 1) / (z + s) ds for 0 < a < 1, s = exp(u), and
    # z^a = z z^(a - 1) has the same terms times s, z / (z + s) being 1 - s / (z + s).
    a = alpha if alpha > 0 else alpha + 1.0
    factor = np.sin(np.pi * a) / np.pi

    def expansion(size: float) -> ShiftedSum:
        u = _log_grid(size, power=1.0)
        weights = factor * STEP * np.exp(a * u)
        # Shifts below the grid act like none.
        weights[0] += factor * np.exp(a * u[0]) / a
        return ShiftedSum(np.exp(u), weights * (np.exp(u) if alpha > 0 else 1.0))

    return expansion


def power(alpha: float) -> ScalarFunction:
    """Return ``z -> z^alpha`` for a finite real alpha."""
    alpha = float(alpha)
    name = f"power({alpha!r})".replace(".0)", ")")
    if not np.isfinite(alpha):
        raise InputError(f"the exponent of power must be finite; got {alpha}.")
    if alpha == round(alpha):
        domain: Domain = "nonzero" if alpha < 0 else "any"
        return ScalarFunction(
            name, lambda z: np.power(z, alpha), domain, _inverse if alpha == -1 else None
        )
    return ScalarFunction(
        name,
        lambda z: np.power(z, alpha),
        "positive" if alpha < 0 else "nonnegative",
        _power(alpha) if abs(alpha) < 1 else None,
    )


def phi1(z: Any) -> Any:
    """Return ``(exp(z) - 1) / z``, elementwise."""
    small = np.abs(z) < 1e-300
    return np.where(small, 1.0, np.expm1(z) / np.where(small, 1.0, z))


def phi2(z: Any) -> Any:
    """Return ``(exp(z) - 1 - z) / z^2``, elementwise."""
    # Taylor where the subtraction loses digits.
    near = np.abs(z) < 0.5
    far = np.where(near, 1.0, z)
    y = np.where(near, z, 0.0)
    series = np.ones_like(y) / 2.0
    term = np.ones_like(y) / 2.0
    for k in range(3, 20):
        term = term * y / k
        series = series + term
    return np.where(near, series, (np.expm1(far) - far) / far**2)


def _sinc(z: Any) -> Any:
    return np.sinc(z / np.pi)


FUNCTIONS = {
    f.name: f
    for f in (
        ScalarFunction("exp", np.exp, exponentials=((1.0, 1.0),)),
        ScalarFunction("expm1", np.expm1, exponentials=((1.0, 1.0),)),
        ScalarFunction("phi1", phi1, exponentials=((1.0, 1.0),), phi=1),
        ScalarFunction("phi2", phi2, exponentials=((1.0, 1.0),), phi=2),
        ScalarFunction("sinh", np.sinh, exponentials=((0.5, 1.0), (0.5, -1.0))),
        ScalarFunction("cosh", np.cosh, exponentials=((0.5, 1.0), (0.5, -1.0))),
        ScalarFunction("sin", np.sin, exponentials=((0.5, 1.0j), (0.5, -1.0j))),
        ScalarFunction("cos", np.cos, exponentials=((0.5, 1.0j), (0.5, -1.0j))),
        ScalarFunction("sinc", _sinc, exponentials=((0.5, 1.0j), (0.5, -1.0j)), phi=1),
        ScalarFunction("inv", lambda z: 1.0 / z, "nonzero", _inverse),
        ScalarFunction("sqrt", np.sqrt, "nonnegative", _power(0.5)),
        ScalarFunction("invsqrt", lambda z: 1.0 / np.sqrt(z), "positive", _power(-0.5)),
        ScalarFunction("log", np.log, "positive", _logarithm),
        # sign is flat, but a perturbation mixes eigenvectors across zero by its size over |z|.
        ScalarFunction("sign", np.sign, "nonzero", _sign, slope=lambda z: 1.0 / np.abs(z)),
    )
}


class _Conjugate:
    """``z -> conj(f(conj(z)))``."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self.f = f

    def __call__(self, z: Any) -> Any:
        return np.conj(self.f(np.conj(z)))


def conjugate(function: ScalarFunction) -> ScalarFunction:
    """Return ``z -> conj(f(conj(z)))``: f itself where it is real on the real axis."""
    if function.domain != "any" or FUNCTIONS.get(function.name) is function:
        return function
    return ScalarFunction(f"conj {function.name}", _Conjugate(function.evaluate))


def safe_norm(x: FloatArray) -> float:
    """Return the 2-norm of x without overflow of the squares."""
    largest = float(np.abs(x).max(initial=0.0))
    return largest * float(np.linalg.norm(x / largest)) if 0 < largest < np.inf else largest


def as_scalar_function(f: Any) -> ScalarFunction:
    """Return a named function, or wrap a callable; raises InputError for anything else."""
    if isinstance(f, ScalarFunction):
        return f
    if isinstance(f, str):
        if f in FUNCTIONS:
            return FUNCTIONS[f]
        found = _POWER.fullmatch(f.strip())
        if found is None:
            raise InputError(
                f"f must be a callable, 'power(alpha)' or one of {sorted(FUNCTIONS)}; got {f!r}."
            )
        return power(float(found[1]))
    if not callable(f):
        raise InputError(f"f must be a callable or a name; got {type(f).__name__}.")
    return ScalarFunction(getattr(f, "__name__", type(f).__name__), f)


def outside_domain(function: ScalarFunction, values: FloatArray, tolerance: float) -> str:
    """Return a sentence that names the Ritz value for which f is undefined, or ''.

    ``tolerance`` is what rounding may add to an eigenvalue.
    """
    low = float(values.min())
    if function.domain in ("positive", "nonnegative") and low < -tolerance:
        kind = "positive definite" if function.domain == "positive" else "positive semidefinite"
        return (
            f"{function.name} needs a {kind} A, but A has the Ritz value {low:.6g} "
            "(an eigenvalue is at most that)."
        )
    nearest = float(values[np.abs(values).argmin()])
    if function.domain in ("positive", "nonzero") and abs(nearest) <= tolerance:
        return (
            f"{function.name} is undefined at zero, but A has the Ritz value {nearest:.3g}, "
            f"zero to rounding ({tolerance:.1e})."
        )
    return ""
