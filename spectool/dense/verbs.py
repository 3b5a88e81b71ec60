"""Verbs: polar decomposition, sign and inverse of dense matrices in batches, of NumPy or torch.

Source
    Higham, Functions of Matrices, SIAM 2008, chapters 5 and 8.
Cost
    That of the method; ``full_output=True`` counts it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from spectool._types import Rng
from spectool.dense.algebra import Tensor
from spectool.dense.door import Callback, checked_matrices, checked_options
from spectool.dense.problems import Problem
from spectool.dense.solution import compute

__all__ = ["Polar", "inv", "polar", "signm"]


class Polar(NamedTuple):
    """The polar decomposition ``G = U H``.

    Attributes
    ----------
    U : array, shape (..., m, n)
        Orthonormal columns, or rows if m < n.
    H : array, shape (..., n, n)
        Hermitian positive semidefinite; unit of G.
    """

    U: Tensor
    H: Tensor


def polar(
    G: Any,
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
    """Compute the polar decomposition ``G = U H`` of each matrix of a batch.

    U is the matrix with orthonormal columns (rows, if m < n) that is closest to G.

    Parameters
    ----------
    G : array, shape (..., m, n)
        NumPy or torch; finite, real or complex. Integers become float64, NumPy's float16 float32;
        torch's half precisions stay. Gradients do not pass.
    method : str, or an object with ``steps(run)``
        "auto", "lapack" (SVD, or eigh of a Hermitian G), "scaled_newton", "qdwh", "zolotarev",
        "polar_express", "scaled_newton_schulz", "newton_schulz", "quintic", "halley", "newton",
        "newton_variant", "prism", "prism_newton", "kpe", "hybrid"; tables of a fixed number of
        steps, which end in a band around U: "muon", "jordan", "cans", "deepseek", "cubic5".
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
    Polar
        ``U, H``, of the library, device, data type and batch of G; an ``IterationResult`` with
        that as its value if ``full_output``.

    Raises
    ------
    InputError
        If G is no finite array of numbers, or an option is none.
    BreakdownError
        If H overflows.

    Warns
    -----
    ConvergenceWarning
        If the residual is larger than rtol.

    Notes
    -----
    The residual is ``max(||U^H U - I|| / sqrt(n), ||U H - G|| / ||G||)``, recomputed. Where G has
    no full rank, U is one of many; iterations that do not reach one are done again by LAPACK.

    References
    ----------
    .. [1] Higham, Functions of Matrices, SIAM 2008, chapter 8.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool import dense
    >>> U, H = dense.polar(np.array([[0.0, -2.0], [3.0, 0.0]]))
    >>> np.allclose(U, [[0.0, -1.0], [1.0, 0.0]]), np.allclose(H, [[3.0, 0.0], [0.0, 2.0]])
    (True, True)
    """
    matrices = checked_matrices(G, name="G", square=False, assume_a=assume_a)
    options = checked_options(rtol, maxiter, max_time, callback, rng)
    result = compute(Problem("polar"), matrices, options, method, plan)
    result = replace(result, value=Polar(*result.value))
    return result if full_output else result.value


def signm(
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
    """Compute the matrix sign function ``S = A (A^2)^(-1/2)`` of each matrix of a batch.

    Eigenvalues in the right half-plane go to 1, those in the left to -1.

    Parameters
    ----------
    A : array, shape (..., n, n)
        NumPy or torch; finite, real or complex. Integers become float64, NumPy's float16 float32;
        torch's half precisions stay. Gradients do not pass.
    method : str, or an object with ``steps(run)``
        "auto", "lapack" (eigh, or an ordered Schur form), "scaled_newton", "newton", "halley",
        "qdwh", "zolotarev", "newton_variant" for any A; for Hermitian A also "polar_express",
        "scaled_newton_schulz", "prism", "prism_newton", "kpe", "hybrid" and tables ("muon",
        "jordan", "cans", "deepseek", "cubic5"); "newton_schulz", "quintic" where eigenvalues of
        ``A / ||A||`` satisfy ``|1 - a^2| < 1``. Where a method does not serve, LAPACK does, and the
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
        If A is no finite array of square matrices, an option is none, or an eigenvalue is on the
        imaginary axis to working precision.
    BreakdownError
        If the answer overflows.

    Warns
    -----
    ConvergenceWarning
        If the residual is larger than rtol.

    Notes
    -----
    The residual is ``max(||S^2 - I|| / sqrt(n), ||A S - S A|| / ||A||)``, recomputed.

    References
    ----------
    .. [1] Higham, Functions of Matrices, SIAM 2008, chapter 5.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool import dense
    >>> A = np.array([[2.0, 1.0], [0.0, -1.0]])
    >>> np.allclose(dense.signm(A), [[1.0, 2.0 / 3.0], [0.0, -1.0]])
    True
    """
    matrices = checked_matrices(A, assume_a=assume_a)
    options = checked_options(rtol, maxiter, max_time, callback, rng)
    result = compute(Problem("sign"), matrices, options, method, plan)
    return result if full_output else result.value


def inv(
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
    """Compute the inverse ``A^-1`` of each matrix of a batch.

    By LU or Cholesky, unless an iteration is asked for.

    Parameters
    ----------
    A : array, shape (..., n, n)
        NumPy or torch; finite, real or complex. Integers become float64, NumPy's float16 float32;
        torch's half precisions stay. Gradients do not pass.
    method : str, or an object with ``steps(run)``
        "auto", "lapack", "newton_schulz", "chebyshev", "polar_express" (best polynomials), "prism",
        "kpe", "hybrid".
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
        If A is no finite array of square matrices, an option is none, or A is singular to working
        precision.
    BreakdownError
        If the answer overflows.

    Warns
    -----
    ConvergenceWarning
        If the residual is larger than rtol.

    Notes
    -----
    The residual is ``||A X - I|| / sqrt(n)``, recomputed: at best some eps times the condition
    number of A.

    References
    ----------
    .. [1] Higham, Functions of Matrices, SIAM 2008, section 1.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool import dense
    >>> np.allclose(dense.inv(np.diag([2.0, 4.0])), np.diag([0.5, 0.25]))
    True
    """
    matrices = checked_matrices(A, assume_a=assume_a)
    options = checked_options(rtol, maxiter, max_time, callback, rng)
    result = compute(Problem("inv"), matrices, options, method, plan)
    return result if full_output else result.value
