"""``funm_multiply``: f(A) b with an estimate of how wrong it is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from spectool._types import Array, FloatArray, Rng, ScalarMap
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError
from spectool.functions.chebyshev_funm import chebyshev_funm, column_norms
from spectool.functions.dense_funm import MAX_N, dense_funm
from spectool.functions.lanczos_funm import FunctionState, lanczos_funm
from spectool.functions.scalar import ScalarFunction, as_scalar_function, outside_domain
from spectool.operators import Operator, as_operator
from spectool.results import FunctionSolution, Status
from spectool.spectrum import Spectrum, probe

Method = Literal["auto", "chebyshev", "lanczos"]
_METHODS = ("auto", "chebyshev", "lanczos")
MAXITER = 20_000
AMPLIFICATION = 1e4
"""Chebyshev loses one digit per factor ten that max |f| on the safe interval exceeds f's size."""


def funm_multiply(
    f: str | ScalarMap,
    A: Any,
    b: Any,
    *,
    rtol: float | None = None,
    method: Method = "auto",
    t: float = 1.0,
    spectrum: Spectrum | None = None,
    assume_a: Literal["her", "pos"] | None = None,
    maxiter: int | None = None,
    callback: Callable[[FunctionState], Any] | None = None,
    rng: Rng = None,
) -> FunctionSolution:
    """Compute ``f(t A) b`` for Hermitian A, with an estimate of the error.

    ``"exp"``, ``"phi1"`` and callables run Chebyshev interpolation on safe bounds of the spectrum;
    functions with a singularity at zero (``"inv" "sqrt" "invsqrt" "log" "sign"``) run Lanczos,
    which finds the small eigenvalues by itself and stops on an a-posteriori error bound. A stored A
    of at most 4000 rows that Lanczos has not finished after n steps is diagonalized instead.

    Parameters
    ----------
    f : str or callable
        One of ``"exp" "phi1" "inv" "sqrt" "invsqrt" "log" "sign"``, or a function that maps an
        array of eigenvalues of tA to an array of the same shape, real and smooth.
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian; positive definite for ``"sqrt" "invsqrt" "log"``.
    b : array_like, shape (n,) or (n, m)
        Vector or block that f(tA) acts on.
    rtol : float, optional
        Wanted ``||y - f(tA) b|| / ||f(tA) b||``; 1e-8, in single precision 1e-4.
    method : {"auto", "chebyshev", "lanczos"}
        Forces a method.
    t : float
        Multiplies A: time, for the exponential. Nonzero.
    spectrum : Spectrum, optional
        A probe of A made before; saves its matvecs.
    assume_a : {"her", "pos"}, optional
        Declares A Hermitian, or positive definite too; without it symmetry is tested.
    maxiter : int, optional
        Most matvecs per column; 20000.
    callback : callable, optional
        ``callback(state)`` at each check of the Lanczos error; returning True stops.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    FunctionSolution
        ``y`` with the shape of b, ``error_estimate`` relative to ``||f(tA) b||``.

    Raises
    ------
    InputError
        If A, b or an option is malformed, or f is not finite on the spectrum's interval.
    NotPositiveDefiniteError
        If f is undefined at an eigenvalue; names the Ritz value.

    Warns
    -----
    ConvergenceWarning
        If the error estimate exceeds rtol: maxiter, rounding, Ctrl-C or the callback came first.

    Notes
    -----
    Cost: Chebyshev 24 matvecs for the bounds, then ``degree`` per column, no reductions, 3 vectors;
    Lanczos one matvec, two reductions and one stored vector per step (beyond 1 GiB of basis twice
    the matvecs and 3 vectors). Error of degree d or d steps: at most twice the best polynomial's on
    ``[lambda_min, lambda_max]`` for Lanczos, near-best on the safe interval for Chebyshev [1]_.

    References
    ----------
    .. [1] Druskin and Knizhnerman, USSR CMMP 29 (1989).
    .. [2] Chen, Greenbaum, Musco and Musco, SIMAX 43 (2022), Theorem 2.1.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = np.diag([1.0, 4.0, 9.0])
    >>> st.funm_multiply("invsqrt", A, np.ones(3)).y.round(6).tolist()
    [1.0, 0.5, 0.333333]
    """
    begin = time.perf_counter()
    function = as_scalar_function(f)
    check_options(method, t, rtol, maxiter)
    limit = MAXITER if maxiter is None else int(maxiter)
    operator = as_operator(A, assume_a=assume_a)
    B = _right_hand_sides(operator, b)
    if rtol is None:
        rtol = 1e-4 if np.finfo(operator.dtype).eps > 1e-10 else 1e-8
    if spectrum is not None:
        check_spectrum(spectrum, operator)
    if not B.any():
        y = np.zeros(B.shape, dtype=np.result_type(operator.dtype, B.dtype))
        seconds = time.perf_counter() - begin
        return FunctionSolution(
            y, 0.0, Status.CONVERGED, operator.n_matvecs, 0, seconds, "b is zero"
        )
    if spectrum is None:
        spectrum = probe(operator, rng=rng)
    task = _Task(function, operator, B, rtol, float(t), spectrum, limit, callback, begin)
    task.check_domain()
    chosen, reason = _choose(task, method)
    if chosen == "chebyshev":
        solution = _by_chebyshev(task, reason)
    else:
        solution = _by_lanczos(task, reason, exclusive=method == "lanczos")
    if not solution.converged:
        warnings.warn(f"funm_multiply: {solution}", ConvergenceWarning, stacklevel=2)
    return solution


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One validated call."""

    function: ScalarFunction
    operator: Operator
    B: Array
    rtol: float
    t: float
    spectrum: Spectrum
    limit: int
    callback: Callable[[FunctionState], Any] | None
    begin: float

    def check_domain(self) -> None:
        z = self.t * self.spectrum.ritz_values
        eps = float(np.finfo(self.operator.dtype).eps)
        complaint = outside_domain(self.function, z, 10 * eps * float(np.abs(z).max()))
        if complaint:
            raise NotPositiveDefiniteError(complaint + " Shift A, or choose another function.")

    def solution(
        self,
        y: Array,
        error: float,
        rounding: float,
        status: Status,
        n_reductions: int,
        method: str,
        report: str,
    ) -> FunctionSolution:
        if status is Status.CONVERGED and error + rounding > self.rtol:
            status = Status.STAGNATED
        return FunctionSolution(
            y=y,
            error_estimate=error + rounding,
            status=status,
            n_matvecs=self.operator.n_matvecs,
            n_reductions=n_reductions + 2 * self.spectrum.ritz_values.size,
            elapsed=time.perf_counter() - self.begin,
            method=method,
            report=report,
        )


def check_options(method: Any, t: Any, rtol: Any, maxiter: Any) -> None:
    """Raise InputError for what is wrong with the options that need no operator."""
    if method not in _METHODS:
        raise InputError(f"method must be one of {_METHODS}; got {method!r}.")
    if isinstance(t, bool) or not (isinstance(t, Real) and np.isfinite(float(t)) and t != 0):
        raise InputError(f"t must be a finite, real, nonzero number; got {t!r}.")
    if rtol is not None and not (isinstance(rtol, Real) and 0 < float(rtol) < 1):
        raise InputError(f"rtol must lie in (0, 1); got {rtol!r}.")
    if maxiter is not None and not (isinstance(maxiter, Integral) and int(maxiter) > 0):
        raise InputError(f"maxiter must be a positive integer; got {maxiter!r}.")


def _right_hand_sides(operator: Operator, b: Any) -> Array:
    B = np.asarray(b)
    if B.ndim not in (1, 2) or B.shape[0] != operator.n:
        raise InputError(f"b must have shape ({operator.n},) or ({operator.n}, m); got {B.shape}.")
    if B.dtype.kind not in "biufc":
        raise InputError(f"b must be numeric; got dtype {B.dtype}.")
    if B.dtype.kind in "biu" or B.dtype.itemsize <= 2:
        B = B.astype(np.float64)
    if not np.isfinite(B).all():
        raise InputError(f"b must be finite; {int((~np.isfinite(B)).sum())} entries are not.")
    return np.ascontiguousarray(B)


def check_spectrum(spectrum: Any, operator: Operator) -> None:
    """Raise InputError unless ``spectrum`` is a probe of this operator, unscaled."""
    if not isinstance(spectrum, Spectrum) or spectrum.n != operator.n:
        raise InputError(f"spectrum must be a Spectrum of size {operator.n}; got {spectrum!r}.")
    if spectrum.scaling is not None:
        raise InputError(
            "spectrum describes the scaled operator D^-1/2 A D^-1/2, but f acts on A itself; "
            "pass estimate_spectrum(A)."
        )


def _choose(task: _Task, method: Method) -> tuple[str, str]:
    function, spectrum = task.function, task.spectrum
    if method != "auto":
        return method, "as asked"
    if function.domain != "any":
        return "lanczos", f"{function.name} is singular at zero, where the probe cannot see"
    if not function.exponential:
        return "chebyshev", "smooth on the safe interval; the tail of the series bounds the error"
    with np.errstate(over="ignore"):
        edge = float(np.max(np.abs(function.evaluate(task.t * np.array(spectrum.interval)))))
        inside = float(np.max(np.abs(function.evaluate(task.t * spectrum.ritz_values))))
    if not edge <= AMPLIFICATION * inside:
        return "lanczos", f"f grows {edge / inside:.1e}-fold between the spectrum and its safe end"
    return "chebyshev", "entire, and no larger on the safe interval than on the spectrum"


def _by_chebyshev(task: _Task, reason: str) -> FunctionSolution:
    lower, upper = task.spectrum.interval
    if task.function.domain != "any" and lower <= 0 <= upper:
        raise InputError(
            f"method='chebyshev' needs zero outside the safe interval [{lower:.4g}, {upper:.4g}], "
            f"because {task.function.name} is singular there. Use method='lanczos', or pass a "
            "spectrum of more steps."
        )
    answer = chebyshev_funm(
        task.function,
        task.operator,
        task.B,
        rtol=task.rtol,
        t=task.t,
        interval=(lower, upper),
        max_degree=task.limit,
    )
    sizes = column_norms(answer.y)
    error, rounding = _relative(answer.error, sizes), _relative(answer.rounding, sizes)
    degree = answer.recurrence.degree
    exhausted = error > task.rtol and degree >= task.limit
    status = Status.MAXITER if exhausted else Status.CONVERGED
    return task.solution(
        answer.y, error, rounding, status, 0, f"chebyshev, degree {degree}", reason
    )


def _relative(errors: FloatArray, sizes: FloatArray) -> float:
    """Return the largest ratio over columns; no error of a zero answer counts as exact."""
    ratio = np.where(errors > 0, errors / np.maximum(sizes, 1e-300), 0.0)
    return float(ratio.max())


def _by_lanczos(task: _Task, reason: str, *, exclusive: bool) -> FunctionSolution:
    """Run Lanczos column by column; go direct where it outgrows a small operator."""
    operator, B = task.operator, task.B
    direct = not exclusive and operator.n <= MAX_N and operator.backend.to_dense() is not None
    limit = min(task.limit, operator.n) if direct else task.limit
    # A real operator acts on the real and imaginary parts of a complex vector separately.
    split = B.dtype.kind == "c" and operator.dtype.kind != "c"
    columns = B.reshape(operator.n, -1)
    Y = np.zeros(columns.shape, dtype=np.result_type(operator.dtype, B.dtype))
    error, rounding = np.zeros(columns.shape[1]), np.zeros(columns.shape[1])
    steps, reductions, two_pass, status = 0, 0, False, Status.CONVERGED
    upper = max(abs(end) for end in task.spectrum.interval)
    for j in range(columns.shape[1]):
        for factor, part in _parts(columns[:, j], split):
            answer = lanczos_funm(
                task.function,
                operator,
                part.astype(operator.dtype),
                rtol=0.5 * task.rtol,
                t=task.t,
                upper=upper,
                maxiter=limit,
                callback=task.callback,
            )
            Y[:, j] += factor * answer.y
            error[j] += answer.error
            rounding[j] += answer.rounding
            steps, reductions = max(steps, answer.steps), reductions + answer.n_reductions
            two_pass = two_pass or answer.two_pass
            if answer.status is not Status.CONVERGED:
                status = answer.status
        if status is Status.MAXITER and direct and limit < task.limit:
            return _directly(task, reductions)
        if status in (Status.STOPPED, Status.INTERRUPTED):
            error[j + 1 :] = np.inf  # not reached: zero
            break
    sizes = column_norms(Y)
    return task.solution(
        Y.reshape(B.shape),
        _relative(error, sizes),
        _relative(rounding, sizes),
        status,
        reductions,
        f"lanczos, {steps} steps{', two passes' if two_pass else ''}",
        reason,
    )


def _parts(column: Array, split: bool) -> list[tuple[complex, Array]]:
    parts = [(1.0 + 0j, column.real), (1j, column.imag)] if split else [(1.0 + 0j, column)]
    if column.dtype.kind != "c":
        parts = [(1.0, column)]
    return [(factor, part) for factor, part in parts if part.any()]


def _directly(task: _Task, n_reductions: int) -> FunctionSolution:
    A = task.operator.backend.to_dense()
    answer = dense_funm(task.function, np.asarray(A), task.B, t=task.t)
    return task.solution(
        answer.y,
        0.0,
        _relative(answer.rounding, column_norms(answer.y)),
        Status.CONVERGED,
        n_reductions,
        "dense eigendecomposition",
        f"Lanczos had not converged after n = {task.operator.n} steps",
    )
