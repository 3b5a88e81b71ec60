"""``matrix_function``: f(A) as a scipy ``LinearOperator``."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, Rng, ScalarMap
from spectool.errors import InputError
from spectool.functions.choice import Knowledge
from spectool.functions.door import (
    Asked,
    Method,
    check_method,
    check_options,
    check_spectrum,
    checked_limits,
    checked_targets,
    planned_method,
)
from spectool.functions.funm import multiply
from spectool.functions.task import Limits, Task
from spectool.operators import AssumeA, as_operator
from spectool.planner.plan import Plan
from spectool.results import FunctionSolution
from spectool.spectrum import Spectrum

MANY = 10_000
"""Products that an operator made to be applied again is laid out for."""


class MatrixFunction(LinearOperator[Any]):
    """``F @ b`` is ``f(t A) b`` to rtol; Hermitian where A is and f and t are real.

    Attributes
    ----------
    solution : FunctionSolution or None
        The last application: its error estimate and cost.
    n_matvecs : int
        Products with A so far.
    """

    def __init__(
        self,
        asked: Asked,
        known: Knowledge,
        *,
        rtol: float | None,
        method: Method,
        limits: Limits,
    ) -> None:
        kind = Task(asked.targets, known.operator, np.empty((0, 0)), 0.5, limits).kind
        # scipy-stubs hides the base constructor, which subclasses must call.
        super().__init__(dtype=kind, shape=known.operator.shape)  # type: ignore[call-arg]
        self.asked = asked
        self.known = known
        self.options: dict[str, Any] = {"rtol": rtol, "method": method, "limits": limits}
        self.n_matvecs = known.operator.n_matvecs
        self.solution: FunctionSolution | None = None

    @property
    def spectrum(self) -> Spectrum | None:
        """The probe of A, where one was given or has been needed."""
        return self.known.given

    def _matvec(self, x: Array) -> Array:
        return self._matmat(np.asarray(x).ravel())

    def _matmat(self, X: Array) -> Array:
        begin = time.perf_counter()
        # Laid out for many products once; what this application learns serves the next.
        self.known.operator = self.known.operator.prepared(MANY).recounted()
        self.solution = multiply(self.asked, self.known, X, begin=begin, **self.options)
        self.n_matvecs += self.solution.n_matvecs
        return self.solution.y

    def _adjoint(self) -> LinearOperator[Any]:
        if self.known.operator.assume_a == "gen":
            raise InputError(
                "the adjoint of f(A) needs products with the adjoint of A, which a general A does "
                "not tell; build matrix_function(f, A.conj().T)."
            )
        if self.dtype.kind != "c":
            return self
        targets = tuple(target.conjugate() for target in self.asked.targets)
        if targets == self.asked.targets:
            return self
        known = Knowledge(self.known.operator, self.known.rng, self.known.given)
        return MatrixFunction(Asked(targets, self.asked.axes), known, **self.options)


def matrix_function(
    f: str | ScalarMap,
    A: Any,
    *,
    rtol: float | None = None,
    method: Method = "auto",
    t: complex = 1.0,
    spectrum: Spectrum | None = None,
    assume_a: AssumeA | None = None,
    maxiter: int | None = None,
    max_memory: float | None = None,
    plan: Plan | None = None,
    rng: Rng = None,
) -> MatrixFunction:
    """Return ``f(t A)`` as a ``LinearOperator``; A is probed once at most.

    ``F @ b`` equals ``funm_multiply(f, A, b).y`` and takes the same options.

    Parameters
    ----------
    f : str or callable
        Function of the eigenvalues of tA, as in ``funm_multiply``.
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian or general.
    rtol : float, optional
        Relative error of each application.
    method : str
        Forces a method, as in ``funm_multiply``.
    t : float or complex
        Multiplies A.
    spectrum : Spectrum, optional
        A probe of A made before.
    assume_a : {"her", "pos", "gen"}, optional
        Declares A's structure.
    maxiter : int, optional
        Most steps or degrees per column.
    max_memory : float, optional
        Bytes of vectors to hold in one application.
    plan : Plan, optional
        What `spectool.plan` chose for this function of A: the method.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    MatrixFunction
        With ``solution`` of the last application. Its choice of method, interval and degree is made
        at the first application and kept.

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
    asked = checked_targets(f, t)
    if asked.axes:
        raise InputError(
            "a matrix function has one f and one t; funm_multiply takes several at once."
        )
    check_options(method, rtol, maxiter)
    limits = checked_limits(maxiter, None, max_memory, None, None)
    operator = as_operator(A, assume_a=assume_a, need_hermitian=False)
    method = planned_method(plan, asked, operator, method)
    check_method(method, operator)
    if spectrum is not None:
        check_spectrum(spectrum, operator)
    known = Knowledge(operator, np.random.default_rng(rng), spectrum)
    return MatrixFunction(asked, known, rtol=rtol, method=method, limits=limits)
