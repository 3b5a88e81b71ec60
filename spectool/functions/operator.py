"""``matrix_function``: f(A) as a scipy ``LinearOperator``."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, Rng, ScalarMap
from spectool.functions.funm import Method, check_options, check_spectrum, funm_multiply
from spectool.functions.scalar import as_scalar_function
from spectool.operators import Operator, as_operator
from spectool.results import FunctionSolution
from spectool.spectrum import Spectrum, probe

MANY = 10_000
"""Products that an operator made to be applied again is laid out for."""


class MatrixFunction(LinearOperator[Any]):
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
        # scipy-stubs hides the base constructor, which subclasses must call.
        super().__init__(dtype=operator.dtype, shape=operator.shape)  # type: ignore[call-arg]
        self.f = f
        self.operator = operator
        self.spectrum = spectrum
        self.options = options
        self.n_matvecs = operator.n_matvecs
        self.solution: FunctionSolution | None = None

    def _matvec(self, x: Array) -> Array:
        return self._matmat(np.asarray(x).ravel())

    def _matmat(self, X: Array) -> Array:
        self.operator = self.operator.prepared(MANY)
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

    ``F @ b`` equals ``funm_multiply(f, A, b).y`` and takes the same options.

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
    check_options(method, t, rtol, maxiter)
    operator = as_operator(A, assume_a=assume_a)
    if spectrum is None:
        spectrum = probe(operator, rng=rng)
    else:
        check_spectrum(spectrum, operator)
    options = {"rtol": rtol, "method": method, "t": t, "maxiter": maxiter}
    return MatrixFunction(f, operator, spectrum, options)
