"""Polynomial preconditioners for general A: the GMRES polynomial of an equilibrated A.

Source
    Loe and Morgan, Toward efficient polynomial preconditioning for GMRES, Numer. Linear Algebra
    Appl. 29 (2022).
Deviations
    A is permuted and scaled on both sides first.
Cost
    Set-up: one matvec per probe step (64 at most) and about ``degree`` for the test; 3 reductions
    per step. One application: ``degree`` matvecs, no reduction.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, Rng
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.errors import BreakdownError, InputError
from spectool.operators import Operator, PolynomialOperator, as_operator
from spectool.operators.scaling import Equilibration, equilibrate
from spectool.polynomials import Recurrence
from spectool.polynomials.chebyshev import checked_degree
from spectool.preconditioners.gmres_polynomial import Design, design
from spectool.preconditioners.operator import SEED, SetUp
from spectool.results import PreconditionerReport

Method = Literal["auto", "gmres_poly", "jacobi", "none"]
_METHODS = ("auto", "gmres_poly", "jacobi", "none")
MOST_EXPECTED = 2_000
"""Products that a solve is expected to need where the probe cannot tell."""


class GeneralPreconditioner(PolynomialOperator):
    """``M = diag(right) q(B) diag(left) P`` for ``B = diag(left) P A diag(right)``; M ~ inv(A).

    Attributes
    ----------
    recurrence : Recurrence
        q; degree 0 is a scaling.
    report : PreconditionerReport
        What was chosen, why, and what it cost.
    equilibration : Equilibration or None
        P and the diagonals; None leaves A as it is.
    trial : Trial
        What q did to a random residual, and how many steps GMRES is predicted to take.
    n_matvecs : int
        Products with A (or its adjoint) so far: set-up and applications.
    """

    def __init__(
        self,
        operator: Operator,
        recurrence: Recurrence,
        report: PreconditionerReport,
        equilibration: Equilibration | None,
        dtype: Any,
        *,
        trial: Trial | None = None,
        set_up: SetUp | None = None,
    ) -> None:
        super().__init__(operator, recurrence, dtype=dtype)
        self.report = report
        self.equilibration = equilibration
        self.trial = trial or Trial(math.inf, math.inf)
        self.set_up = set_up
        self._adjoint_operator: Operator | None = None

    @property
    def diagonal(self) -> None:
        """Return None: rows may be permuted, also where the degree is 0."""

    def _run(self, X: Array) -> Array:
        result = np.result_type(self.dtype, X.dtype)
        X = np.asarray(X, dtype=result)
        E = self.equilibration
        if E is not None:
            X = np.asarray(_rows(E.left, X) * X[E.rows], dtype=result)
        Y = self.operator.apply(self.recurrence, X, order="forward")
        return np.asarray(Y if E is None else _rows(E.right, Y) * Y, dtype=result)

    def _run_adjoint(self, X: Array) -> Array:
        if self._adjoint_operator is None:
            B = self.operator.backend.A  # type: ignore[attr-defined]
            B = B.adjoint() if isinstance(B, LinearOperator) else B.conj().T
            self._adjoint_operator = as_operator(B, assume_a="gen", need_hermitian=False)
            self._adjoint_operator.counter = self.operator.counter
        result = np.result_type(self.dtype, X.dtype)
        X = np.asarray(X, dtype=result)
        E = self.equilibration
        X = X if E is None else np.asarray(_rows(E.right, X) * X, dtype=result)
        Y = self._adjoint_operator.apply(self.recurrence, X, order="forward")
        if E is None:
            return np.asarray(Y, dtype=result)
        Z = np.empty_like(Y)
        Z[E.rows] = _rows(E.left.conj(), Y) * Y
        return np.asarray(Z, dtype=result)

    def _rmatvec(self, x: Array) -> Array:
        return self._run_adjoint(np.asarray(x).ravel())

    def _rmatmat(self, X: Array) -> Array:
        return self._run_adjoint(np.ascontiguousarray(X))

    def _adjoint(self) -> Any:
        return LinearOperator(
            self.shape,
            matvec=self._rmatvec,
            rmatvec=self._matvec,
            matmat=self._rmatmat,
            rmatmat=self._matmat,
            dtype=self.dtype,
        )

    def __repr__(self) -> str:
        return f"<GeneralPreconditioner {self.shape}: {self.report.chosen}>"

    def explained(self, why: str, n_matvecs: int) -> None:
        """Put ``why`` before the reason in the report, and count products spent before."""
        before = self.report
        reason, spent = f"{why}; {before.reason}", before.n_matvecs + n_matvecs
        self.report = replace(before, reason=reason, n_matvecs=spent)
        self.operator.counter.add(n_matvecs)

    def refresh(self, A: Any, *, rng: Rng = SEED) -> Any:
        """Return M for another matrix of the same size, near the last one.

        A is scaled anew; the polynomial is kept if it does to a random residual what it did, which
        takes ``degree + 1`` matvecs (none where A has not changed but for scalings and rounding).
        Else M is set up in full, and the report says so. See `Preconditioner.refresh`.
        """
        from spectool.preconditioners.general_refresh import refreshed  # it imports this module

        return refreshed(self, A, rng)


class Trial(NamedTuple):
    """What q leaves of a random residual, relative, and GMRES's steps predicted without it."""

    left: float
    steps: float


def _rows(scale: Array, X: Array) -> Array:
    return scale if X.ndim == 1 else scale[:, None]


def general_preconditioner(
    operator: Operator,
    *,
    degree: int | None = None,
    method: Method = "auto",
    execution: Execution | None = None,
    rng: Rng = None,
) -> GeneralPreconditioner:
    """Return the GMRES polynomial ``M ~ inv(A)`` of a general A.

    A is permuted and scaled on both sides (``equilibrate``); an Arnoldi probe from a random vector
    gives the harmonic Ritz values, which are the roots of ``1 - z q(z)``. The probe ends where one
    more step would cost more reductions than it saves.

    Parameters
    ----------
    operator : Operator
        Of ``as_operator(A, need_hermitian=False)``, order n. Complex A gets a scaling only.
    degree : int, optional
        Most products with A per application; chosen if None. 0 asks for the scaling alone.
    method : {"auto", "gmres_poly", "jacobi", "none"}
        "gmres_poly" insists on a polynomial, "jacobi" is ``1 / diag(A)``, "none" the identity.
    execution : Execution, optional
        Forces format, blocking, threads or order of rows; chosen by measurement otherwise.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    GeneralPreconditioner
        A fixed linear operator with an adjoint.

    Raises
    ------
    InputError
        If an option is unknown, or the polynomial is forced on a complex A.
    BreakdownError
        If it is forced where no polynomial passes the tests, or A is not finite.

    Notes
    -----
    Degree. If GMRES needs N steps, a polynomial with d roots leaves about ``N / d`` iterations
    with ``(N / d)^2 / 2`` reductions, and the probe costs ``3 d``. The sum is least at
    ``d = (N^2 / 3)^(1/3)``; N is extrapolated from the probe's residuals at each step.

    Cost: at most 64 matvecs and 192 reductions for the probe, plus ``degree + 1`` matvecs per
    polynomial tested; one application takes ``degree`` matvecs and no reduction.

    Use it from the right where rows of A have very different units: ``y = gmres(A @ M, b)``,
    ``x = M @ y``. From the left GMRES minimizes ``||M r||`` and may stop early again and again.

    References
    ----------
    .. [1] Loe and Morgan, Numer. Linear Algebra Appl. 29 (2022).

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp, scipy.sparse.linalg as sla
    >>> A = sp.diags_array([-1.2, 2.0, -0.8], offsets=[-1, 0, 1], shape=(500, 500), format="csr")
    >>> M = general_preconditioner(as_operator(A, need_hermitian=False), rng=271828)
    >>> x, info = sla.gmres(A, np.ones(500), M=M, restart=30, rtol=1e-8)
    >>> info, bool(np.linalg.norm(A @ x - 1.0) <= 1.1e-8 * np.sqrt(500))
    (0, True)
    """
    begin = time.perf_counter()
    if method not in _METHODS:
        raise InputError(f"method must be one of {_METHODS}; got {method!r}.")
    degree = _checked_degree(degree, method)
    is_complex = operator.dtype.kind == "c"
    if is_complex and method == "gmres_poly":
        raise InputError(
            "method='gmres_poly' needs a real A: recurrences are real, and roots of a complex A "
            "lack conjugates. Use method='auto' (a scaling), or solve the real system "
            "[[Re A, -Im A], [Im A, Re A]]."
        )
    matrix = stored_matrix(operator)
    scaled, equilibration, label = operator.recounted(), None, "identity"
    if matrix is not None and method == "jacobi":
        equilibration, label = _jacobi(matrix), "Jacobi"
    elif matrix is not None and method != "none":
        equilibration, label = equilibrate(matrix), "scaling"
        B = equilibration.apply(matrix)
        scaled = as_operator(B, assume_a="gen", need_hermitian=False)
    elif method == "jacobi":
        raise InputError(
            "method='jacobi' needs A's diagonal, and a LinearOperator does not tell it; pass a "
            "sparse array, or method='gmres_poly'."
        )
    if method in ("jacobi", "none") or degree == 0:
        found = Design(None, 0.0, "as asked")
    elif is_complex:
        found = Design(None, 0.0, "A is complex, and a real polynomial needs conjugate roots")
    else:
        found = design(scaled, degree, rng)
    if found.polynomial is None and method == "gmres_poly":
        raise BreakdownError(
            f"method='gmres_poly' found no polynomial: {found.reason}. Use method='auto'."
        )
    spent, q = scaled.n_matvecs, found.polynomial or _one()
    if q.degree:
        label = f"{q.name}, degree {q.degree}"
        scaled = scaled.prepared(min(found.steps, MOST_EXPECTED), execution)
    counted = scaled.recounted()
    counted.counter.add(spent)
    report = PreconditionerReport(
        label,
        found.reason,
        (),
        spent,
        time.perf_counter() - begin,
        str(counted.backend.report) if q.degree else "",
    )
    again = partial(general_preconditioner, degree=degree, method=method, execution=execution)
    return GeneralPreconditioner(
        counted,
        q,
        report,
        equilibration,
        operator.dtype,
        trial=Trial(found.left, found.steps),
        set_up=SetUp(again, degree is None, execution, watch=False, discs=None),
    )


def _checked_degree(degree: Any, method: str) -> int | None:
    if degree is None:
        return None
    degree = checked_degree(degree)
    if (degree == 0) != (method in ("jacobi", "none")) and method != "auto":
        raise InputError(
            f"method={method!r} with degree={degree}: 'jacobi' and 'none' have degree 0, "
            "'gmres_poly' at least 1."
        )
    return degree


def stored_matrix(operator: Operator) -> Any:
    """Return A where its entries are stored, sparse or dense, else None."""
    if isinstance(operator.backend, CpuBackend):
        return operator.backend.A
    return operator.backend.to_dense()


def _jacobi(A: Any) -> Equilibration:
    diagonal = np.asarray(A.diagonal())
    n = diagonal.size
    return Equilibration(np.arange(n), 1.0 / np.where(diagonal == 0, 1.0, diagonal), np.ones(n))


def _one() -> Recurrence:
    none = np.empty(0)
    return Recurrence(none, none, none, np.ones(1), (0.0, 2.0), "degree 0")
