"""``funm_multiply``: f(t A) b with an estimate of how wrong it is."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spectool._types import Rng, ScalarMap
from spectool.errors import ConvergenceWarning, InputError
from spectool.functions.choice import Choice, Knowledge, choose
from spectool.functions.door import (
    Asked,
    Columns,
    Method,
    check_method,
    check_options,
    check_spectrum,
    checked_limits,
    checked_targets,
    planned_method,
)
from spectool.functions.methods.arnoldi import arnoldi_funm
from spectool.functions.methods.chebyshev import chebyshev_funm
from spectool.functions.methods.dense import MAX_N, dense_funm
from spectool.functions.methods.lanczos import lanczos_funm
from spectool.functions.methods.preconditioned import preconditioned_funm
from spectool.functions.methods.rational import rational_funm
from spectool.functions.methods.restarted import restarted_funm
from spectool.functions.task import Answer, FunctionState, Limits, Task, column_norms, relative
from spectool.operators import AssumeA, as_operator
from spectool.planner.plan import Plan
from spectool.results import FunctionSolution, Status
from spectool.spectrum import Spectrum

RESTART = 100
"""Most steps of a cycle of restarted methods."""
TINY_N = 100
"""Order up to which a stored A is diagonalized where f is singular: quicker than 100 steps."""


def funm_multiply(
    f: str | ScalarMap | Sequence[str | ScalarMap],
    A: Any,
    b: Any,
    *,
    rtol: float | None = None,
    method: Method = "auto",
    t: Any = 1.0,
    spectrum: Spectrum | None = None,
    assume_a: AssumeA | None = None,
    maxiter: int | None = None,
    max_matvecs: int | None = None,
    max_memory: float | None = None,
    max_time: float | None = None,
    callback: Callable[[FunctionState], Any] | None = None,
    plan: Plan | None = None,
    rng: Rng = None,
) -> FunctionSolution:
    """Compute ``f(t A) b``, with an estimate of the error.

    For Hermitian A functions without a singularity run Chebyshev interpolation on safe bounds of
    the spectrum; functions with one at zero (``"inv" "sqrt" "invsqrt" "log" "sign" "power(a)"``)
    run Lanczos, which finds the small eigenvalues by itself and stops on an a-posteriori error
    bound, for roots of large matrices with a polynomial preconditioner. A stored A of at most 4000
    rows that Lanczos has not finished after n / 2 steps is diagonalized instead. Nonsymmetric A
    runs Arnoldi, restarted where memory is short.

    Parameters
    ----------
    f : str or callable, or a sequence of them
        One of ``"exp" "expm1" "phi1" "phi2" "sqrt" "invsqrt" "log" "inv" "sign" "sin" "cos" "sinc"
        "sinh" "cosh"``, ``"power(0.3)"`` with any exponent, or a function that maps an array of
        eigenvalues of tA, real or complex as they are, to an array of the same shape. Several share
        the matvecs.
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian or general; positive definite for ``"invsqrt" "log"`` and negative powers where
        Hermitian, with no eigenvalue on the negative axis where general.
    b : array_like, shape (n,) or (n, m)
        Vector or block that f(tA) acts on.
    rtol : float, optional
        Wanted ``||y - f(tA) b|| / ||f(tA) b||``; 1e-8, in single precision 1e-4.
    method : str
        Forces ``"chebyshev" "lanczos" "preconditioned" "rational" "restarted" "dense"`` for
        Hermitian A, ``"arnoldi" "restarted"`` for any.
    t : float, complex or array of them, shape (q,)
        Multiplies A: time, for the exponential. Complex only for functions without singularity.
    spectrum : Spectrum, optional
        A probe of A made before; saves its matvecs.
    assume_a : {"her", "pos", "gen"}, optional
        Declares A Hermitian, positive definite too, or general; without it symmetry is tested.
    maxiter : int, optional
        Most steps or degrees per column; 20000.
    max_matvecs : int, optional
        Most products with A in all, the probe's included.
    max_memory : float, optional
        Bytes of vectors to hold beside b and y; 1 GiB. Less costs more matvecs; three vectors per
        column are always used.
    max_time : float, optional
        Seconds after which the best y so far is returned; Chebyshev runs are not cut short.
    callback : callable, optional
        ``callback(state)`` at each check of the error; returning True stops.
    plan : Plan, optional
        What `spectool.plan` chose for this function of A: the method.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    FunctionSolution
        ``y`` with the shape of b, behind an axis of functions where f is a sequence and one of
        times where t is an array; ``error_estimate`` relative to ``||f(tA) b||``, the largest over
        columns, functions and times.

    Raises
    ------
    InputError
        If A, b or an option is malformed, or f is not finite on the spectrum's interval.
    NotPositiveDefiniteError
        If f is undefined at an eigenvalue; names the Ritz value.

    Warns
    -----
    ConvergenceWarning
        If the error estimate exceeds rtol: a limit, rounding, Ctrl-C or the callback came first.

    Notes
    -----
    Cost per column: Chebyshev ``degree`` matvecs, no reductions, 3 vectors, and 24 matvecs for the
    bounds unless Gershgorin's will do; Lanczos one matvec, two reductions and one stored vector per
    step (beyond ``max_memory`` twice the matvecs and 3 vectors). Error of degree d or d steps: at
    most twice the best polynomial's on ``[lambda_min, lambda_max]`` for Lanczos, near-best on the
    safe interval for Chebyshev [1]_. The error of Lanczos is estimated and bounded through the
    residuals of shifted systems [2]_ or of ``y' = tA y`` [3]_; for callables by its last changes.

    References
    ----------
    .. [1] Druskin and Knizhnerman, USSR CMMP 29 (1989).
    .. [2] Chen, Greenbaum, Musco and Musco, SIMAX 43 (2022), Theorem 2.1.
    .. [3] Botchev, Grimm and Hochbruck, SISC 35 (2013).

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = np.diag([1.0, 4.0, 9.0])
    >>> st.funm_multiply("invsqrt", A, np.ones(3)).y.round(6).tolist()
    [1.0, 0.5, 0.333333]
    >>> st.funm_multiply(["sqrt", "inv"], A, np.ones(3)).y.round(3).tolist()
    [[1.0, 2.0, 3.0], [1.0, 0.25, 0.111]]
    """
    begin = time.perf_counter()
    asked = checked_targets(f, t)
    check_options(method, rtol, maxiter)
    limits = checked_limits(maxiter, max_matvecs, max_memory, max_time, callback)
    operator = as_operator(A, assume_a=assume_a, need_hermitian=False)
    method = planned_method(plan, asked, operator, method)
    check_method(method, operator)
    if spectrum is not None:
        check_spectrum(spectrum, operator)
    known = Knowledge(operator, np.random.default_rng(rng), spectrum)
    return multiply(asked, known, b, rtol=rtol, method=method, limits=limits, begin=begin)


def multiply(
    asked: Asked,
    known: Knowledge,
    b: Any,
    *,
    rtol: float | None,
    method: Method,
    limits: Limits,
    begin: float,
) -> FunctionSolution:
    """Compute what was asked, with options that were checked; warn if rtol is not met.

    ``known`` keeps what one application learns for the next.
    """
    operator = known.operator
    columns = Columns.of(operator, b)
    if rtol is None:
        rtol = 1e-4 if np.finfo(operator.dtype).eps > 1e-10 else 1e-8
    limits = dataclasses.replace(limits, deadline=begin + limits.deadline)
    moving = tuple(target for target in asked.targets if target.t != 0)
    if not (moving and columns.B.shape[1]):
        answer, reason = None, "b is zero" if moving else "t is zero"
    else:
        task = Task(moving, operator, columns.B, float(rtol), limits)
        run = _general if operator.assume_a == "gen" else _hermitian
        answer, reason = run(task, method, known)
    solution = _solution(asked, columns, answer, float(rtol), known, reason, begin)
    if not solution.converged:
        warnings.warn(f"funm_multiply: {solution}", ConvergenceWarning, stacklevel=3)
    return solution


# -- the methods -----------------------------------------------------------------------------


def _hermitian(task: Task, method: str, known: Knowledge) -> tuple[Answer, str]:
    if known.given is not None:
        for target in task.targets:
            target.checked(known.given.ritz_values, task.eps)
    singular = any(target.function.domain != "any" for target in task.targets)
    stored = task.operator.n <= MAX_N and task.operator.row_facts() is not None
    tiny = singular and stored and task.operator.n <= TINY_N
    if method == "dense" or (method == "auto" and tiny):
        return _directly(task), "as asked" if method == "dense" else "n is small"
    choice = known.choice or choose(task, method, known)
    known.choice = choice
    if choice.method == "chebyshev":
        answer = chebyshev_funm(
            task, choice.interval, tightness=known.tightness, parts=choice.parts
        )
        known.tightness = answer.tightness
        return answer, choice.reason
    if choice.method == "preconditioned":
        return preconditioned_funm(task, choice.interval, choice.degree), choice.reason
    if choice.method == "rational":
        return rational_funm(task, known.spectrum.interval), choice.reason
    if choice.method == "restarted":
        return restarted_funm(task, restart=_restart(task)), choice.reason
    return _lanczos(task, choice, direct=stored and method == "auto")


def _general(task: Task, method: str, known: Knowledge) -> tuple[Answer, str]:  # noqa: ARG001
    if method == "restarted":
        return restarted_funm(task, restart=_restart(task)), "as asked"
    return arnoldi_funm(task), "as asked" if method == "arnoldi" else "A is not Hermitian"


def _restart(task: Task) -> int:
    """Return a cycle's length: what the memory holds, at most RESTART."""
    vectors = task.limits.max_memory / task.B[:, 0].nbytes - 4
    return int(min(max(vectors, 2), RESTART))


def _lanczos(task: Task, choice: Choice, *, direct: bool) -> tuple[Answer, str]:
    """Run Lanczos; go direct where it outgrows a small operator."""
    half = max(task.operator.n // 2, TINY_N)
    if not direct or task.limits.maxiter <= half:
        return lanczos_funm(task), choice.reason
    short = dataclasses.replace(task, limits=dataclasses.replace(task.limits, maxiter=half))
    answer = lanczos_funm(short)
    spent = task.limits.spent(0, task.operator.n_matvecs + 1)
    if answer.status is not Status.MAXITER or spent is not None:
        return answer, choice.reason
    return (
        dataclasses.replace(_directly(task), n_reductions=answer.n_reductions),
        f"Lanczos had not converged after n / 2 = {half} steps",
    )


def _directly(task: Task) -> Answer:
    A = task.operator.backend.to_dense()
    if A is None:
        raise InputError(
            "method='dense' needs stored entries, and A is known by its products only; leave "
            "method out."
        )
    return dense_funm(task, np.asarray(A))


def _solution(
    asked: Asked,
    columns: Columns,
    answer: Answer | None,
    rtol: float,
    known: Knowledge,
    reason: str,
    begin: float,
) -> FunctionSolution:
    """Put columns and resting targets (t = 0) together; say how wrong the whole is."""
    operator, n = known.operator, known.operator.n
    eps = float(np.finfo(operator.dtype).eps)
    kinds = [columns.b.dtype, operator.dtype] + ([] if answer is None else [answer.Y.dtype])
    Y = np.zeros((len(asked.targets), n, columns.B.shape[1]), dtype=np.result_type(*kinds))
    error = np.zeros((len(asked.targets), columns.B.shape[1]))
    rounding = error.copy()
    moving = [q for q, target in enumerate(asked.targets) if target.t != 0]
    for q, target in enumerate(asked.targets):
        if target.t == 0:
            value = target(np.zeros(1))[0].item()
            Y[q] = value * columns.B
            rounding[q] = eps * abs(value) * column_norms(columns.B)
    if answer is not None:
        Y[moving], error[moving], rounding[moving] = answer.Y, answer.error, answer.rounding
    whole = columns.gathered(Y)
    sizes = np.array([column_norms(y) for y in whole])
    real = answer is None or answer.Y.dtype.kind != "c"
    estimate = relative(columns.summed(error + rounding, real=real), sizes)
    status = Status.CONVERGED if answer is None else answer.status
    if status is Status.CONVERGED and not estimate <= rtol:
        status = Status.STAGNATED
    return FunctionSolution(
        y=whole.reshape(*asked.axes, *columns.b.shape),
        error_estimate=estimate,
        status=status,
        n_matvecs=operator.n_matvecs,
        n_reductions=known.n_reductions + (0 if answer is None else answer.n_reductions),
        elapsed=time.perf_counter() - begin,
        method=reason if answer is None else answer.method,
        report=reason,
    )
