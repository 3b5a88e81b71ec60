"""Verbs: square roots and p-th roots of dense matrices in batches, and their inverses.

Source
    Higham, Functions of Matrices, SIAM 2008, chapters 6 and 7.
Cost
    That of the method; ``full_output=True`` counts it.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

from spectool._types import Rng
from spectool.dense.door import Callback, checked_matrices, checked_options
from spectool.dense.problems import Problem
from spectool.dense.solution import compute
from spectool.errors import InputError

__all__ = ["inverse_root", "invsqrtm", "root", "sqrtm"]

MOST = 1000
"""Largest p."""


def sqrtm(
    A: Any,
    *,
    method: Any = "auto",
    rtol: float | None = None,
    maxiter: int | None = None,
    full_output: bool = False,
    assume_a: str | None = None,
    plan: Any = None,
    callback: Callback | None = None,
    max_time: float | None = None,
    rng: Rng = None,
) -> Any:
    """Compute the principal square root ``A^(1/2)`` of each matrix of a batch.

    Eigenvalues of the root lie in the right half-plane. A Hermitian A may be singular.

    Parameters
    ----------
    A : array, shape (..., n, n)
        NumPy or torch; finite, real or complex. Integers become float64, NumPy's float16 float32;
        torch's half precisions stay. Gradients do not pass.
    method : str, or an object with ``steps(run)``
        "auto", "lapack" (eigh, or a Schur form), "product_db", "scaled_db", "denman_beavers" for
        any A;
        "newton_variant", "newton_schulz", "quintic", "newton" for eigenvalues of A/||A|| in the
        right half-plane, or in ``|1 - a| < 1``; for Hermitian A also "polar_express",
        "scaled_newton_schulz", "visser_coupled", "visser", "prism", "kpe", "hybrid". Where a method
        does not serve, LAPACK does, and the report says so.
    rtol : float, optional
        Tolerance for the residual. Without it iterations go on to rounding, and a residual above
        ``eps^(1/2)`` of the data type is told by a warning.
    maxiter : int, optional
        Most steps; given, nothing else is tried after them.
    full_output : bool
        Whether to return an ``IterationResult`` with residuals, steps and costs.
    assume_a : {"her", "pos", "gen"}, optional
        Hermitian, positive definite, general. Without it each matrix is tested, up to rounding.
    plan : object, optional
        In place of a method: a plan, or what has ``method()``.
    callback : callable, optional
        ``callback(progress)`` after each step; stops where it returns True.
    max_time : float, optional
        Seconds for the iteration.
    rng : Generator, int or None
        For methods that sketch.

    Returns
    -------
    array, shape (..., n, n)
        Of the library, device and data type of A; an ``IterationResult`` with that as its value
        if ``full_output``.

    Raises
    ------
    InputError
        If A is no finite array of square matrices, or an option is none.
    NotPositiveDefiniteError
        If A has a negative eigenvalue; or, not Hermitian, a zero one; it names the eigenvalue.
    BreakdownError
        If the answer overflows.

    Warns
    -----
    ConvergenceWarning
        If the residual is larger than rtol.

    Notes
    -----
    The residual is ``||X^2 - A|| / ||A||``, recomputed. Eigenvalues of a Hermitian A that are
    negative by rounding count as zero.

    References
    ----------
    .. [1] Higham, Functions of Matrices, SIAM 2008, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool import dense
    >>> X = dense.sqrtm(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> np.allclose(X @ X, [[2.0, 1.0], [1.0, 2.0]])
    True
    """
    matrices = checked_matrices(A, assume_a=assume_a, p=2)
    options = checked_options(rtol, maxiter, max_time, callback, rng)
    result = compute(Problem("sqrt"), matrices, options, method, plan)
    return result if full_output else result.value


def invsqrtm(
    A: Any,
    *,
    method: Any = "auto",
    rtol: float | None = None,
    maxiter: int | None = None,
    full_output: bool = False,
    assume_a: str | None = None,
    plan: Any = None,
    callback: Callback | None = None,
    max_time: float | None = None,
    rng: Rng = None,
) -> Any:
    """Compute the inverse square root ``A^(-1/2)`` of each matrix of a batch.

    It is the inverse of the principal square root.

    Parameters
    ----------
    A : array, shape (..., n, n)
        NumPy or torch; finite, real or complex. Integers become float64, NumPy's float16 float32;
        torch's half precisions stay. Gradients do not pass.
    method : str, or an object with ``steps(run)``
        "auto", "lapack" (eigh, or a Schur form), "product_db", "scaled_db", "denman_beavers" for
        any A;
        "newton_variant", "newton_schulz", "quintic" for eigenvalues of A/||A|| in the
        right half-plane, or in ``|1 - a| < 1``; for Hermitian A also "polar_express",
        "scaled_newton_schulz", "visser_coupled", "prism", "kpe", "hybrid". Where a method does
        not serve, LAPACK does, and the report says so.
    rtol : float, optional
        Tolerance for the residual. Without it iterations go on to rounding, and a residual above
        ``eps^(1/2)`` of the data type is told by a warning.
    maxiter : int, optional
        Most steps; given, nothing else is tried after them.
    full_output : bool
        Whether to return an ``IterationResult`` with residuals, steps and costs.
    assume_a : {"her", "pos", "gen"}, optional
        Hermitian, positive definite, general. Without it each matrix is tested, up to rounding.
    plan : object, optional
        In place of a method: a plan, or what has ``method()``.
    callback : callable, optional
        ``callback(progress)`` after each step; stops where it returns True.
    max_time : float, optional
        Seconds for the iteration.
    rng : Generator, int or None
        For methods that sketch.

    Returns
    -------
    array, shape (..., n, n)
        Of the library, device and data type of A; an ``IterationResult`` with that as its value
        if ``full_output``.

    Raises
    ------
    InputError
        If A is no finite array of square matrices, or an option is none.
    NotPositiveDefiniteError
        If A has an eigenvalue that is not positive; it names the eigenvalue.
    BreakdownError
        If the answer overflows.

    Warns
    -----
    ConvergenceWarning
        If the residual is larger than rtol.

    Notes
    -----
    The residual is ``||A X^2 - I|| / sqrt(n)``, recomputed: at best some eps times the condition
    number of A.

    References
    ----------
    .. [1] Higham, Functions of Matrices, SIAM 2008, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool import dense
    >>> X = dense.invsqrtm(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> np.allclose(X @ X, np.array([[2.0, -1.0], [-1.0, 2.0]]) / 3.0)
    True
    """
    matrices = checked_matrices(A, assume_a=assume_a, p=2)
    options = checked_options(rtol, maxiter, max_time, callback, rng)
    result = compute(Problem("invsqrt"), matrices, options, method, plan)
    return result if full_output else result.value


def root(
    A: Any,
    p: int,
    *,
    method: Any = "auto",
    rtol: float | None = None,
    maxiter: int | None = None,
    full_output: bool = False,
    assume_a: str | None = None,
    plan: Any = None,
    callback: Callback | None = None,
    max_time: float | None = None,
    rng: Rng = None,
) -> Any:
    """Compute the principal p-th root ``A^(1/p)`` of each matrix of a batch.

    Eigenvalues of the root lie within pi / p of the positive axis.

    Parameters
    ----------
    A : array, shape (..., n, n)
        NumPy or torch; finite, real or complex. Integers become float64, NumPy's float16 float32;
        torch's half precisions stay. Gradients do not pass.
    p : int
        At least 1.
    method : str, or an object with ``steps(run)``
        "auto", "lapack" (eigh, or Schur-Pade), "iannazzo", "newton" for eigenvalues in the right
        half-plane, "visser" for Hermitian A. Where a method does not serve, LAPACK does, and the
        report says so.
    rtol : float, optional
        Tolerance for the residual. Without it iterations go on to rounding, and a residual above
        ``eps^(1/2)`` of the data type is told by a warning.
    maxiter : int, optional
        Most steps; given, nothing else is tried after them.
    full_output : bool
        Whether to return an ``IterationResult`` with residuals, steps and costs.
    assume_a : {"her", "pos", "gen"}, optional
        Hermitian, positive definite, general. Without it each matrix is tested, up to rounding.
    plan : object, optional
        In place of a method: a plan, or what has ``method()``.
    callback : callable, optional
        ``callback(progress)`` after each step; stops where it returns True.
    max_time : float, optional
        Seconds for the iteration.
    rng : Generator, int or None
        For methods that sketch.

    Returns
    -------
    array, shape (..., n, n)
        Of the library, device and data type of A; an ``IterationResult`` with that as its value
        if ``full_output``.

    Raises
    ------
    InputError
        If A is no finite array of square matrices, or an option is none.
    NotPositiveDefiniteError
        If A has a negative eigenvalue; or, not Hermitian, a zero one; it names the eigenvalue.
    BreakdownError
        If the answer overflows.

    Warns
    -----
    ConvergenceWarning
        If the residual is larger than rtol.

    Notes
    -----
    The residual is ``||X^p - A|| / ||A||``, recomputed.

    References
    ----------
    .. [1] Higham, Functions of Matrices, SIAM 2008, chapter 7.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool import dense
    >>> np.allclose(dense.root(np.diag([8.0, 27.0]), 3), np.diag([2.0, 3.0]))
    True
    """
    p = _checked_root(p)
    matrices = checked_matrices(A, assume_a=assume_a, p=p)
    options = checked_options(rtol, maxiter, max_time, callback, rng)
    result = compute(Problem("root", p), matrices, options, method, plan)
    return result if full_output else result.value


def inverse_root(
    A: Any,
    p: int,
    *,
    method: Any = "auto",
    rtol: float | None = None,
    maxiter: int | None = None,
    full_output: bool = False,
    assume_a: str | None = None,
    plan: Any = None,
    callback: Callback | None = None,
    max_time: float | None = None,
    rng: Rng = None,
) -> Any:
    """Compute the inverse p-th root ``A^(-1/p)`` of each matrix of a batch.

    It is the inverse of the principal p-th root; p = 4 is what Shampoo needs.

    Parameters
    ----------
    A : array, shape (..., n, n)
        NumPy or torch; finite, real or complex. Integers become float64, NumPy's float16 float32;
        torch's half precisions stay. Gradients do not pass.
    p : int
        At least 1.
    method : str, or an object with ``steps(run)``
        "auto", "lapack" (eigh, or Schur-Pade), "coupled_newton", "higher_order", "polar_express"
        (best polynomials), "gawlik", "prism", "kpe", "hybrid", for Hermitian A. Where a method does
        not serve, LAPACK does, and the report says so.
    rtol : float, optional
        Tolerance for the residual. Without it iterations go on to rounding, and a residual above
        ``eps^(1/2)`` of the data type is told by a warning.
    maxiter : int, optional
        Most steps; given, nothing else is tried after them.
    full_output : bool
        Whether to return an ``IterationResult`` with residuals, steps and costs.
    assume_a : {"her", "pos", "gen"}, optional
        Hermitian, positive definite, general. Without it each matrix is tested, up to rounding.
    plan : object, optional
        In place of a method: a plan, or what has ``method()``.
    callback : callable, optional
        ``callback(progress)`` after each step; stops where it returns True.
    max_time : float, optional
        Seconds for the iteration.
    rng : Generator, int or None
        For methods that sketch.

    Returns
    -------
    array, shape (..., n, n)
        Of the library, device and data type of A; an ``IterationResult`` with that as its value
        if ``full_output``.

    Raises
    ------
    InputError
        If A is no finite array of square matrices, or an option is none.
    NotPositiveDefiniteError
        If A has an eigenvalue that is not positive; it names the eigenvalue.
    BreakdownError
        If the answer overflows.

    Warns
    -----
    ConvergenceWarning
        If the residual is larger than rtol.

    Notes
    -----
    The residual is ``||A X^p - I|| / sqrt(n)``, recomputed: at best some eps times the condition
    number of A.

    References
    ----------
    .. [1] Higham, Functions of Matrices, SIAM 2008, chapter 7.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool import dense
    >>> np.allclose(dense.inverse_root(np.diag([16.0, 81.0]), 4), np.diag([1 / 2, 1 / 3]))
    True
    """
    p = _checked_root(p)
    matrices = checked_matrices(A, assume_a=assume_a, p=p)
    options = checked_options(rtol, maxiter, max_time, callback, rng)
    result = compute(Problem("inverse_root", p), matrices, options, method, plan)
    return result if full_output else result.value


def _checked_root(p: Any) -> int:
    if not isinstance(p, Integral) or isinstance(p, bool) or not 1 <= int(p) <= MOST:
        raise InputError(f"p must be an integer from 1 to {MOST}; got {p!r}.")
    return int(p)
