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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spectool._types import Array, FloatArray, ScalarMap
from spectool.errors import InputError
from spectool.polynomials.chebyshev import checked_values

Domain = Literal["any", "nonnegative", "positive", "nonzero"]
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
        Vectorized over real arrays.
    domain : {"any", "nonnegative", "positive", "nonzero"}
        Where eigenvalues must lie.
    expansion : callable, optional
        Maps the spectrum's modulus to a ``ShiftedSum``; None where there is none.
    exponential : bool
        Whether the residual of ``y' = A y`` bounds the error (exp, phi1).
    slope : callable, optional
        How fast f changes under a perturbation of A, where that is not ``|f'|``.
    """

    name: str
    evaluate: ScalarMap
    domain: Domain = "any"
    expansion: Callable[[float], ShiftedSum] | None = None
    exponential: bool = False
    slope: ScalarMap | None = None

    def __call__(self, z: FloatArray) -> FloatArray:
        """Evaluate f at z; raises InputError unless the result is real, finite and of z's shape."""
        return checked_values(self.evaluate, z, name=self.name)

    def with_slope(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
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
            slope = np.abs(np.real(np.asarray(self.evaluate(inside + step))) - values) / step
        return values, np.where(np.isfinite(slope), slope, 0.0)


def _log_grid(size: float, *, power: float) -> FloatArray:
    """Points u whose ``exp(power u)`` run from 1e-17 to 1e4 times the spectrum's modulus."""
    low, high = np.log(1e-17 * size) / power, np.log(1e4 * size) / power
    return np.arange(low, high + STEP, STEP)


def _inverse(size: float) -> ShiftedSum:  # noqa: ARG001 - one signature for all expansions
    return ShiftedSum(np.zeros(1), np.ones(1))


def _inverse_root(size: float) -> ShiftedSum:
    # z^-1/2 = (2/pi) int_0^inf dt / (z + t^2), t = exp(u)
    u = _log_grid(size, power=2.0)
    return ShiftedSum(np.exp(2 * u), (2 / np.pi) * STEP * np.exp(u))


def _root(size: float) -> ShiftedSum:
    # z^1/2 = z z^-1/2 = (2/pi) int_0^inf (1 - t^2 / (z + t^2)) dt
    u = _log_grid(size, power=2.0)
    return ShiftedSum(np.exp(2 * u), (2 / np.pi) * STEP * np.exp(3 * u))


def _logarithm(size: float) -> ShiftedSum:
    # log z = int_0^inf (1 / (1 + s) - 1 / (z + s)) ds, s = exp(u)
    u = _log_grid(size, power=1.0)
    return ShiftedSum(np.exp(u), STEP * np.exp(u))


def _sign(size: float) -> ShiftedSum:
    # sign z = (2/pi) int_0^inf z / (z^2 + t^2) dt = (2/pi) int Re 1 / (z + i t) dt
    u = _log_grid(size, power=1.0)
    return ShiftedSum(1j * np.exp(u), (2 / np.pi) * STEP * np.exp(u))


def _phi1(z: FloatArray) -> FloatArray:
    small = np.abs(z) < 1e-300
    return np.where(small, 1.0, np.expm1(z) / np.where(small, 1.0, z))


FUNCTIONS = {
    f.name: f
    for f in (
        ScalarFunction("exp", np.exp, exponential=True),
        ScalarFunction("phi1", _phi1, exponential=True),
        ScalarFunction("inv", lambda z: 1.0 / z, "nonzero", _inverse),
        ScalarFunction("sqrt", np.sqrt, "nonnegative", _root),
        ScalarFunction("invsqrt", lambda z: 1.0 / np.sqrt(z), "positive", _inverse_root),
        ScalarFunction("log", np.log, "positive", _logarithm),
        # sign is flat, but a perturbation mixes eigenvectors across zero by its size over |z|.
        ScalarFunction("sign", np.sign, "nonzero", _sign, slope=lambda z: 1.0 / np.abs(z)),
    )
}


def safe_norm(x: FloatArray) -> float:
    """Return the 2-norm of x without overflow of the squares."""
    largest = float(np.abs(x).max(initial=0.0))
    return largest * float(np.linalg.norm(x / largest)) if 0 < largest < np.inf else largest


def as_scalar_function(f: Any) -> ScalarFunction:
    """Return a named function, or wrap a callable; raises InputError for anything else."""
    if isinstance(f, str):
        if f not in FUNCTIONS:
            raise InputError(f"f must be a callable or one of {sorted(FUNCTIONS)}; got {f!r}.")
        return FUNCTIONS[f]
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
