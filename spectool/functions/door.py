"""The door of ``funm_multiply`` and ``matrix_function``: what is asked, in checked form."""

from __future__ import annotations

import math
from numbers import Integral, Number, Real
from typing import Any, Literal, NamedTuple

import numpy as np

from spectool._types import Array, FloatArray, IntArray
from spectool.errors import InputError
from spectool.functions.scalar import as_scalar_function
from spectool.functions.task import Limits, Target
from spectool.operators import Operator
from spectool.planner.plan import Plan
from spectool.spectrum import Spectrum

Method = Literal[
    "auto", "chebyshev", "lanczos", "preconditioned", "rational", "restarted", "arnoldi", "dense"
]
METHODS = (
    "auto",
    "chebyshev",
    "lanczos",
    "preconditioned",
    "rational",
    "restarted",
    "arnoldi",
    "dense",
)
GENERAL = ("auto", "arnoldi", "restarted")
MAXITER = 20_000


class Asked(NamedTuple):
    """Functions and times, as targets in a row, and the axes of the answer they stand for."""

    targets: tuple[Target, ...]
    axes: tuple[int, ...]


def checked_targets(f: Any, t: Any) -> Asked:
    """Return what is asked; raises InputError that names f or t."""
    several = isinstance(f, list | tuple)
    functions = [as_scalar_function(one) for one in (f if several else [f])]
    times = check_times(t)
    if not functions or not times.size:
        raise InputError("f and t must not be empty sequences.")
    for function in functions:
        if times.dtype.kind == "c" and function.domain != "any":
            raise InputError(
                f"t must be real for {function.name}, which is singular at zero; got {t!r}."
            )
    kind = complex if times.dtype.kind == "c" else float
    targets = tuple(Target(function, kind(s)) for function in functions for s in times.ravel())
    return Asked(targets, ((len(functions),) if several else ()) + times.shape)


def check_times(t: Any) -> Array:
    """Return t as an array, shape () or (q,), complex only where needed; raises InputError."""
    numeric = isinstance(t, Number) and not isinstance(t, bool)
    values = np.asarray(t) if numeric or isinstance(t, list | tuple | np.ndarray) else np.array("")
    if values.dtype.kind not in "iufc" or values.ndim > 1 or not np.isfinite(values).all():
        raise InputError(f"t must be a finite number or a 1-D array of them; got {t!r}.")
    if values.dtype.kind == "c" and values.imag.any():
        return values.astype(np.complex128)
    return values.real.astype(np.float64)


def check_options(method: Any, rtol: Any, maxiter: Any) -> None:
    """Raise InputError for what is wrong with the options that need no operator."""
    if method not in METHODS:
        raise InputError(f"method must be one of {METHODS}; got {method!r}.")
    if rtol is not None and not (isinstance(rtol, Real) and 0 < float(rtol) < 1):
        raise InputError(f"rtol must lie in (0, 1); got {rtol!r}.")
    if maxiter is not None and not (isinstance(maxiter, Integral) and int(maxiter) > 0):
        raise InputError(f"maxiter must be a positive integer; got {maxiter!r}.")


def check_method(method: str, operator: Operator) -> None:
    """Raise InputError where a method does not suit the operator's structure."""
    hermitian = operator.assume_a != "gen"
    if hermitian and method == "arnoldi":
        raise InputError(
            "method='arnoldi' is for general A, and this one is Hermitian; use 'lanczos', or "
            "declare assume_a='gen'."
        )
    if not hermitian and method not in GENERAL:
        raise InputError(
            f"method={method!r} needs a Hermitian A, and this one is not. Use one of {GENERAL}; "
            "if the asymmetry is rounding, pass 0.5 * (A + A.conj().T) or declare assume_a='her'."
        )


def planned_method(plan: Any, asked: Asked, operator: Operator, method: Method) -> Method:
    """Return the method of a plan, or the one asked for; raises InputError where they clash."""
    if plan is None:
        return method
    if not isinstance(plan, Plan):
        raise InputError(f"plan must be a Plan, as spectool.plan returns; got {plan!r}.")
    if method != "auto":
        raise InputError(f"give a plan or a method, not both; got method={method!r}.")
    if len(asked.targets) != 1:
        raise InputError("a plan is for one function at one time; leave it out for several.")
    target = asked.targets[0]
    found: Method = plan.checked(target.function.name, operator.n).chosen.action["method"]
    if target.t != plan.options["t"]:
        raise InputError(
            f"plan is for t={plan.options['t']:g}; this is t={target.t:g}. Plan again."
        )
    return found


def checked_limits(
    maxiter: Any, max_matvecs: Any, max_memory: Any, max_time: Any, callback: Any
) -> Limits:
    """Return limits whose deadline counts from the begin of a run; raises InputError."""
    for name, value in (
        ("max_matvecs", max_matvecs),
        ("max_memory", max_memory),
        ("max_time", max_time),
    ):
        real = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (real and float(value) > 0):
            raise InputError(f"{name} must be a positive number or None; got {value!r}.")
    if callback is not None and not callable(callback):
        raise InputError(f"callback must be callable or None; got {callback!r}.")
    return Limits(
        MAXITER if maxiter is None else int(maxiter),
        math.inf if max_matvecs is None else float(max_matvecs),
        math.inf if max_memory is None else float(max_memory),
        math.inf if max_time is None else float(max_time),
        callback,
    )


class Columns(NamedTuple):
    """b as columns in the operator's data type, and how to put the answer together again.

    A real operator acts on the real and imaginary parts of a complex vector separately; zero
    columns are left out.
    """

    b: Array
    B: Array
    origin: IntArray
    factor: Array

    @classmethod
    def of(cls, operator: Operator, b: Any) -> Columns:
        """Take b, shape (n,) or (n, m), apart; raises InputError that says what is wrong."""
        values = np.asarray(b)
        if values.ndim not in (1, 2) or values.shape[0] != operator.n:
            raise InputError(
                f"b must have shape ({operator.n},) or ({operator.n}, m); got {values.shape}."
            )
        if values.dtype.kind not in "biufc":
            raise InputError(f"b must be numeric; got dtype {values.dtype}.")
        if values.dtype.kind in "biu" or values.dtype.itemsize <= 2:
            values = values.astype(np.float64)
        if not np.isfinite(values).all():
            raise InputError(
                f"b must be finite; {int((~np.isfinite(values)).sum())} entries are not."
            )
        flat = values.reshape(operator.n, -1)
        m = flat.shape[1]
        origin, factor = np.arange(m), np.ones(m)
        if flat.dtype.kind == "c" and operator.dtype.kind != "c":
            flat = np.concatenate([flat.real, flat.imag], axis=1)
            origin, factor = np.tile(origin, 2), np.repeat([1.0 + 0j, 1j], m)
        kept = flat.any(axis=0)
        B = np.ascontiguousarray(flat[:, kept], dtype=operator.dtype)
        if not (np.isfinite(B).all() and B.any(axis=0).all()):
            raise InputError(
                f"b must be representable in A's data type {operator.dtype}; it overflows or "
                "vanishes there. Rescale b, or convert A to float64."
            )
        return cls(values, B, origin[kept], factor[kept])

    def gathered(self, Y: Array) -> Array:
        """Return Y, shape (targets, n, columns of B), with the shape of b behind its targets."""
        kind = np.result_type(Y.dtype, self.b.dtype)
        whole = np.zeros((*Y.shape[:2], max(self.b[0].size, 0)), dtype=kind)
        for k, (j, factor) in enumerate(zip(self.origin, self.factor, strict=True)):
            whole[:, :, int(j)] += Y[:, :, k] if factor == 1 else factor * Y[:, :, k]
        return whole.reshape(len(Y), *self.b.shape)

    def summed(self, errors: FloatArray, *, real: bool) -> FloatArray:
        """Return errors, shape (targets, columns of B), added up per column of b.

        Those of real answers to real and imaginary parts are orthogonal to each other.
        """
        whole = np.zeros((len(errors), self.b.reshape(len(self.b), -1).shape[1]))
        add = np.hypot if real else np.add
        for k, j in enumerate(self.origin):
            whole[:, int(j)] = add(whole[:, int(j)], errors[:, k])
        return whole


def check_spectrum(spectrum: Any, operator: Operator) -> None:
    """Raise InputError unless ``spectrum`` is a probe of this operator, unscaled."""
    if not isinstance(spectrum, Spectrum) or spectrum.n != operator.n:
        raise InputError(f"spectrum must be a Spectrum of size {operator.n}; got {spectrum!r}.")
    if operator.assume_a == "gen":
        raise InputError("spectrum describes Hermitian operators, and A is general; leave it out.")
    if spectrum.scaling is not None:
        raise InputError(
            "spectrum describes the scaled operator D^-1/2 A D^-1/2, but f acts on A itself; "
            "pass estimate_spectrum(A)."
        )
