"""``funm_multiply`` and ``matrix_function``: f(A) b with an estimate of how wrong it is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, FloatArray, Rng, ScalarMap
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError
from spectool.functions.chebyshev_funm import chebyshev_funm
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
    which finds the small eigenvalues by itself and stops on an a-posteriori error bound.

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
    the spectrum for Lanczos, near-best on the interval for Chebyshev [1]_.

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
    if method not in _METHODS:
        raise InputError(f"method must be one of {_METHODS}; got {method!r}.")
    if not (np.isscalar(t) and np.isreal(t) and np.isfinite(t) and t != 0):
        raise InputError(f"t must be a finite, real, nonzero number; got {t!r}.")
    limit = MAXITER if maxiter is None else int(maxiter)
    if limit < 1:
        raise InputError(f"maxiter must be positive; got {maxiter}.")
    operator = as_operator(A, assume_a=assume_a)
    B = _right_hand_sides(operator, b)
    if rtol is None:
        rtol = 1e-4 if np.finfo(operator.dtype).eps > 1e-10 else 1e-8
    if not 0 < rtol < 1:
        raise InputError(f"rtol must lie in (0, 1); got {rtol}.")
    if spectrum is not None:
        _check_spectrum(spectrum, operator)
    if not B.any():
        y = np.zeros(B.shape, dtype=np.result_type(operator.dtype, B.dtype))
        return _solution(operator, y, 0.0, Status.CONVERGED, 0, begin, "zero", "b is zero")
    if spectrum is None:
        spectrum = probe(operator, rng=rng)
    eps = float(np.finfo(operator.dtype).eps)
    size = float(np.abs(spectrum.ritz_values).max())
    complaint = outside_domain(function, float(t) * spectrum.ritz_values, 10 * eps * abs(t) * size)
    if complaint:
        raise NotPositiveDefiniteError(complaint + " Shift A, or choose another function.")
    chosen, reason = _choose(function, method, spectrum, float(t))
    if chosen == "chebyshev":
        solution = _by_chebyshev(
            function, operator, B, rtol, float(t), spectrum, limit, begin, reason
        )
    else:
        solution = _by_lanczos(
            function, operator, B, rtol, float(t), spectrum, limit, begin, reason, callback
        )
    if not solution.converged:
        warnings.warn(f"funm_multiply: {solution}", ConvergenceWarning, stacklevel=2)
    return solution


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


def _check_spectrum(spectrum: Any, operator: Operator) -> None:
    if not isinstance(spectrum, Spectrum) or spectrum.n != operator.n:
        raise InputError(f"spectrum must be a Spectrum of size {operator.n}; got {spectrum!r}.")
    if spectrum.scaling is not None:
        raise InputError(
            "spectrum describes the scaled operator D^-1/2 A D^-1/2, but f acts on A itself; "
            "pass estimate_spectrum(A)."
        )


def _choose(
    function: ScalarFunction, method: Method, spectrum: Spectrum, t: float
) -> tuple[str, str]:
    if method != "auto":
        return method, "as asked"
    if function.domain != "any":
        return "lanczos", f"{function.name} is singular at zero, where the probe cannot see"
    if not function.exponential:
        return "chebyshev", "smooth on the safe interval; the tail of the series bounds the error"
    with np.errstate(over="ignore"):
        edge = float(np.max(np.abs(function.evaluate(t * np.array(spectrum.interval)))))
        inside = float(np.max(np.abs(function.evaluate(t * spectrum.ritz_values))))
    if edge > AMPLIFICATION * inside:
        return "lanczos", f"f grows {edge / inside:.1e}-fold between the spectrum and its safe end"
    return "chebyshev", "entire, and no larger on the safe interval than on the spectrum"


def _by_chebyshev(
    function: ScalarFunction,
    operator: Operator,
    B: Array,
    rtol: float,
    t: float,
    spectrum: Spectrum,
    limit: int,
    begin: float,
    reason: str,
) -> FunctionSolution:
    lower, upper = spectrum.interval
    if function.domain != "any" and lower <= 0 <= upper:
        raise InputError(
            f"method='chebyshev' needs zero outside the safe interval [{lower:.4g}, {upper:.4g}], "
            f"because {function.name} is singular there. Use method='lanczos', or pass a spectrum "
            "of more steps."
        )
    answer = chebyshev_funm(
        function, operator, B, rtol=rtol, t=t, interval=(lower, upper), max_degree=limit
    )
    sizes = np.linalg.norm(np.atleast_2d(answer.y.T), axis=1)
    error, rounding = _relative(answer.error, sizes), _relative(answer.rounding, sizes)
    if error + rounding <= rtol:
        status = Status.CONVERGED
    else:
        status = Status.MAXITER if error > rounding else Status.STAGNATED
    return _solution(
        operator,
        answer.y,
        error + rounding,
        status,
        2 * spectrum.ritz_values.size,
        begin,
        f"chebyshev, degree {answer.recurrence.degree}",
        reason,
    )


def _relative(errors: Any, sizes: FloatArray) -> float:
    """Return the largest ratio; a zero answer with zero error counts as exact."""
    errors = np.atleast_1d(errors)
    ratio = np.where(errors > 0, errors / np.maximum(sizes, 1e-300), 0.0)
    return float(ratio.max())


def _by_lanczos(
    function: ScalarFunction,
    operator: Operator,
    B: Array,
    rtol: float,
    t: float,
    spectrum: Spectrum,
    limit: int,
    begin: float,
    reason: str,
    callback: Callable[[FunctionState], Any] | None,
) -> FunctionSolution:
    upper = max(abs(end) for end in spectrum.interval)
    columns = np.atleast_2d(B.T)
    split = B.dtype.kind == "c" and operator.dtype.kind != "c"
    answers: list[Array] = []
    worst, steps, reductions, passes = 0.0, 0, 2 * spectrum.ritz_values.size, ""
    status = Status.CONVERGED
    for column in columns:
        total = np.zeros(operator.n, dtype=np.result_type(operator.dtype, B.dtype))
        error = rounding = 0.0
        for factor, part in ((1.0, column.real), (1j, column.imag)) if split else ((1.0, column),):
            if not part.any():
                continue
            answer = lanczos_funm(
                function,
                operator,
                part.astype(operator.dtype),
                rtol=0.5 * rtol,
                t=t,
                upper=upper,
                maxiter=limit,
                callback=callback,
            )
            total += factor * answer.y
            error, rounding = error + answer.error, rounding + answer.rounding
            steps, reductions = max(steps, answer.steps), reductions + answer.n_reductions
            passes = ", two passes" if answer.two_pass else passes
            if answer.status is not Status.CONVERGED:
                status = answer.status
        size = np.array([np.linalg.norm(total)])
        relative = _relative(error, size) + _relative(rounding, size)
        if status is Status.CONVERGED and relative > rtol:
            status = Status.STAGNATED
        worst = max(worst, relative)
        answers.append(total)
        if status in (Status.STOPPED, Status.INTERRUPTED):
            break
    answers += [np.zeros_like(answers[0])] * (len(columns) - len(answers))
    if len(answers) and status in (Status.STOPPED, Status.INTERRUPTED) and len(columns) > 1:
        worst = max(worst, 1.0)  # columns not reached are zero
    y = answers[0] if B.ndim == 1 else np.stack(answers, axis=1)
    return _solution(
        operator, y, worst, status, reductions, begin, f"lanczos, {steps} steps{passes}", reason
    )


def _solution(
    operator: Operator,
    y: Array,
    error: float,
    status: Status,
    n_reductions: int,
    begin: float,
    method: str,
    report: str,
) -> FunctionSolution:
    return FunctionSolution(
        y=y,
        error_estimate=error,
        status=status,
        n_matvecs=operator.n_matvecs,
        n_reductions=n_reductions,
        elapsed=time.perf_counter() - begin,
        method=method,
        report=report,
    )


class MatrixFunction(LinearOperator):
    """``F @ b`` is ``f(t A) b`` to rtol; Hermitian.

    Attributes
    ----------
    solution : FunctionSolution or None
        The last application: its error estimate and cost.
    n_matvecs : int
        Products with A so far.
    """

    def __init__(
        self, f: str | ScalarMap, operator: Operator, spectrum: Spectrum, options: dict[str, Any]
    ) -> None:
        super().__init__(dtype=operator.dtype, shape=operator.shape)
        self.f = f
        self.operator = operator
        self.spectrum = spectrum
        self.options = options
        self.n_matvecs = spectrum.n_matvecs
        self.solution: FunctionSolution | None = None

    def _matvec(self, x: Array) -> Array:
        return self._matmat(np.asarray(x).ravel())

    def _matmat(self, X: Array) -> Array:
        self.solution = funm_multiply(
            self.f, self.operator, X, spectrum=self.spectrum, **self.options
        )
        self.n_matvecs += self.solution.n_matvecs
        return self.solution.y

    def _adjoint(self) -> Self:
        return self


def matrix_function(
    f: str | ScalarMap,
    A: Any,
    *,
    rtol: float | None = None,
    method: Method = "auto",
    t: float = 1.0,
    spectrum: Spectrum | None = None,
    assume_a: Literal["her", "pos"] | None = None,
    maxiter: int | None = None,
    rng: Rng = None,
) -> MatrixFunction:
    """Return ``f(t A)`` as a Hermitian ``LinearOperator``; the probe is made once, here.

    Parameters are those of ``funm_multiply``; ``F @ b`` equals ``funm_multiply(f, A, b).y``.

    Parameters
    ----------
    f : str or callable
        Function of the eigenvalues of tA.
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian.
    rtol : float, optional
        Relative error of each application.
    method : {"auto", "chebyshev", "lanczos"}
        Forces a method.
    t : float
        Multiplies A.
    spectrum : Spectrum, optional
        A probe of A made before.
    assume_a : {"her", "pos"}, optional
        Declares A's structure.
    maxiter : int, optional
        Most matvecs per column.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    MatrixFunction
        With ``solution`` of the last application.

    Raises
    ------
    InputError
        If A or an option is malformed.

    Notes
    -----
    Chebyshev applications are exactly linear; Lanczos ones only to rtol, like any inner iteration.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> F = st.matrix_function("exp", np.diag([0.0, 1.0]), t=-1.0)
    >>> (F @ np.ones(2)).round(6).tolist()
    [1.0, 0.367879]
    """
    as_scalar_function(f)
    operator = as_operator(A, assume_a=assume_a)
    if spectrum is None:
        spectrum = probe(operator, rng=rng)
    else:
        _check_spectrum(spectrum, operator)
    options = {"rtol": rtol, "method": method, "t": t, "maxiter": maxiter}
    return MatrixFunction(f, operator, spectrum, options)
