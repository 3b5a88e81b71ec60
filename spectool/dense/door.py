"""The door of all verbs: matrices and options in checked form, and the way back.

Matrices are divided by a power of two, each by its own, so that no unit overflows on the way; the
division is exact. Numbers below single precision stay in storage only where torch keeps them so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, is_torch_array

from spectool._types import Array, FloatArray, Rng
from spectool.dense.algebra import Tensor
from spectool.dense.run import Progress
from spectool.errors import InputError

__all__ = ["Callback", "Matrices", "Options", "checked_matrices", "checked_options", "to_host"]

Callback: TypeAlias = Callable[[Progress], Any]
"""Called after each step; stops where it returns True."""
ASSUMPTIONS = ("her", "pos", "gen")
ASYMMETRY = 8.0
"""Multiple of ``eps sqrt(n) max |a|`` up to which ``A - A^H`` counts as rounding."""
EXACT = 4
"""Largest root p for which the power of two is one of 2^p, so that its root is exact."""


@dataclass(frozen=True, eq=False)
class Matrices:
    """A batch in one row.

    Attributes
    ----------
    A : array, shape (k, m, n)
        Scaled so that the largest entry is in [0.5, 1), or a few powers of two below.
    unit : ndarray, shape (k,), float64
        What A was divided by: powers of two.
    batch : tuple of int
        Shape of the batch.
    hermitian : ndarray, shape (k,), bool
        Which of them are Hermitian, but for rounding.
    zero : ndarray, shape (k,), bool
        Which of them are zero.
    definite : bool
        Whether they are declared positive definite.
    """

    A: Tensor
    unit: FloatArray
    batch: tuple[int, ...]
    hermitian: Array
    zero: Array
    definite: bool

    def restored(self, X: Tensor, exponent: float) -> Tensor:
        """Return ``X unit^exponent`` in the shape of the batch."""
        xp = array_namespace(X)
        if exponent != 0.0:
            with np.errstate(over="ignore", under="ignore"):
                factor = np.exp2(np.log2(self.unit) * exponent)
                X = X * _like(factor, X)[:, None, None]
        return xp.reshape(X, (*self.batch, *X.shape[-2:]))


@dataclass(frozen=True)
class Options:
    """Options of a verb, checked.

    Attributes
    ----------
    rtol : float or None
        Tolerance; None asks for what the data type allows.
    maxiter : int or None
        Most steps.
    max_time : float or None
        Seconds.
    callback : callable or None
        Called with a ``Progress`` after each step.
    rng : Generator
        For sketches.
    """

    rtol: float | None
    maxiter: int | None
    max_time: float | None
    callback: Any
    rng: np.random.Generator


def checked_options(rtol: Any, maxiter: Any, max_time: Any, callback: Any, rng: Rng) -> Options:
    """Return the options; raises InputError that names the wrong one."""
    if rtol is not None and not (_is_real(rtol) and 0 < float(rtol) < 1):
        raise InputError(f"rtol must lie in (0, 1), or be None; got {rtol!r}.")
    whole = isinstance(maxiter, Integral) and not isinstance(maxiter, bool)
    if maxiter is not None and not (whole and int(maxiter) > 0):
        raise InputError(f"maxiter must be a positive integer or None; got {maxiter!r}.")
    if max_time is not None and not (_is_real(max_time) and float(max_time) > 0):
        raise InputError(f"max_time must be a positive number or None; got {max_time!r}.")
    if callback is not None and not callable(callback):
        raise InputError(f"callback must be callable or None; got {callback!r}.")
    return Options(
        None if rtol is None else float(rtol),
        None if maxiter is None else int(maxiter),
        None if max_time is None else float(max_time),
        callback,
        np.random.default_rng(rng),
    )


def checked_matrices(
    A: Any, *, name: str = "A", square: bool = True, assume_a: Any = None, p: int = 1
) -> Matrices:
    """Return the matrices in working precision, scaled.

    Raises InputError for what is no array of numbers (..., n, n), not finite, or badly declared.
    """
    if assume_a is not None and assume_a not in ASSUMPTIONS:
        raise InputError(f"assume_a must be one of {ASSUMPTIONS} or None; got {assume_a!r}.")
    A = _numeric(A, name)
    xp = array_namespace(A)
    if A.ndim < 2:
        raise InputError(f"{name} must be a matrix (m, n) or a batch of them; got {A.ndim}-D.")
    m, n = (int(size) for size in A.shape[-2:])
    if square and m != n:
        raise InputError(
            f"{name} must be square here, shape (..., n, n); got {tuple(A.shape)}. Rectangular "
            "matrices have a polar decomposition, dense.polar."
        )
    batch = tuple(int(size) for size in A.shape[:-2])
    A = xp.reshape(A, (int(np.prod(batch, dtype=np.int64)), m, n))
    largest = _largest_entries(A)
    if not np.isfinite(largest).all():
        raise InputError(f"{name} must be finite; it has entries that are NaN or infinite.")
    info = xp.finfo(A.dtype)
    unit = _powers_of_two(largest, p, float(info.max), float(info.smallest_normal))
    A = A / _like(unit, A)[:, None, None]
    if assume_a is not None or m != n:
        hermitian = np.full(A.shape[0], assume_a in ("her", "pos") and m == n)
    else:
        hermitian = _looks_hermitian(A, largest / unit)
    return Matrices(A, unit, batch, hermitian, largest == 0.0, assume_a == "pos")


def to_host(X: Tensor) -> Array:
    """Return a small array as NumPy's."""
    if not is_torch_array(X):
        return np.asarray(X)
    return np.asarray(X.detach().cpu().resolve_conj().numpy())


def _numeric(A: Any, name: str) -> Tensor:
    """Return an array of NumPy or torch of a supported floating type."""
    if is_torch_array(A):
        xp = array_namespace(A)
        if xp.isdtype(A.dtype, ("real floating", "complex floating")):
            return A.detach()
        if xp.isdtype(A.dtype, "integral"):
            return xp.astype(A, xp.float64)
        raise InputError(f"{name} must hold numbers; got a tensor of {A.dtype}.")
    if not is_numpy_array(A) and not isinstance(A, list | tuple):
        try:
            A = np.asarray(A)
        except Exception as error:
            raise InputError(f"{name} must be an array of numbers; got {type(A)}.") from error
    try:
        values = np.asarray(A)
    except ValueError as error:
        raise InputError(f"{name} must be an array of numbers: {error}") from error
    if values.dtype.kind in "iu":
        return values.astype(np.float64)
    if values.dtype == np.float16:
        return values.astype(np.float32)
    if values.dtype not in (np.float32, np.float64, np.complex64, np.complex128):
        raise InputError(
            f"{name} must hold numbers of single or double precision; got {values.dtype} (of "
            f"{type(A).__name__}). Convert it, for example A.astype(float) or A.toarray()."
        )
    return values


def _largest_entries(A: Tensor) -> FloatArray:
    """Return the largest ``max(|Re a|, |Im a|)`` of each matrix, shape (k,)."""
    xp = array_namespace(A)
    if 0 in A.shape:
        return np.zeros(A.shape[0])
    if xp.isdtype(A.dtype, "complex floating"):
        parts = (xp.abs(xp.real(A)), xp.abs(xp.imag(A)))  # |a| itself may overflow
        largest = xp.maximum(xp.max(parts[0], axis=(-2, -1)), xp.max(parts[1], axis=(-2, -1)))
    else:
        largest = xp.max(xp.abs(A), axis=(-2, -1))
    if is_torch_array(largest):
        largest = largest.to(dtype=xp.float64)
    return to_host(largest).astype(np.float64)


def _powers_of_two(largest: FloatArray, p: int, most: float, least: float) -> FloatArray:
    """Return ``2^e > largest``, with p a divisor of e for small p; 1 for zero matrices.

    They stay between least and most, a normal number and its like: so does the reciprocal.
    """
    _, exponents = np.frexp(np.where(largest > 0, largest, 0.5))
    low, high = (int(np.frexp(end)[1]) - 1 for end in (least, most))
    if p <= EXACT:
        exponents = -(-exponents // p) * p
        low, high = -(-low // p) * p, high // p * p
    return np.ldexp(1.0, np.clip(exponents, low, high))


def _looks_hermitian(A: Tensor, largest: FloatArray) -> Array:
    """Return which matrices equal their adjoints, but for rounding; shape (k,)."""
    if 0 in A.shape:
        return np.ones(A.shape[0], dtype=bool)
    xp = array_namespace(A)
    turned = xp.matrix_transpose(A)
    if xp.isdtype(A.dtype, "complex floating"):
        turned = xp.conj(turned)
    gap = _largest_entries(A - turned)
    rounding = ASYMMETRY * float(xp.finfo(A.dtype).eps) * A.shape[-1] ** 0.5
    return np.asarray(gap <= rounding * largest)


def _like(values: FloatArray, X: Tensor) -> Tensor:
    """Return numbers as an array beside X: its library, real type and device."""
    xp = array_namespace(X)
    if is_torch_array(X):
        real = X.real.dtype if X.is_complex() else X.dtype
        return xp.asarray(values, dtype=real, device=X.device)
    return values.astype(X.real.dtype)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
