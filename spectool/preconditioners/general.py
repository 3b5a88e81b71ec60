"""Polynomial preconditioners for general A: the GMRES polynomial of an equilibrated A.

Source
    Loe and Morgan, Toward efficient polynomial preconditioning for GMRES, Numer. Linear Algebra
    Appl. 29 (2022); Joubert, SIAM J. Sci. Comput. 15 (1994), for random start vectors.
Deviations
    (1) A is permuted and scaled on both sides first; (2) the degree follows from the probe's own
    residuals; (3) a polynomial must pass two tests: its product form on the Hessenberg matrix, and
    a fresh vector.
Cost
    Set-up: one matvec per probe step (64 at most) and about ``degree`` for the test; 3 reductions
    per step. One application: ``degree`` matvecs, no reduction.
"""

from __future__ import annotations

import math
import time
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, FloatArray, Rng
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.backends.generic import GenericBackend
from spectool.errors import BreakdownError, InputError
from spectool.krylov.arnoldi import (
    ArnoldiProcess,
    arnoldi,
    field_of_values_box,
    gmres_residuals,
    harmonic_ritz_values,
)
from spectool.operators import Operator, PolynomialOperator, as_operator
from spectool.operators.scaling import Equilibration, equilibrate
from spectool.polynomials import Recurrence
from spectool.polynomials.chebyshev import checked_degree
from spectool.polynomials.roots import added_roots, inverse_from_roots
from spectool.results import PreconditionerReport

Method = Literal["auto", "gmres_poly", "jacobi", "none"]
_METHODS = ("auto", "gmres_poly", "jacobi", "none")
MOST_STEPS = 64
"""Most probe steps, hence roots, of a chosen degree."""
FEWEST_STEPS = 4
TARGET = 1e-8
GROWTH = 100.0
"""What a fresh vector's residual may grow by before the polynomial is refused: nonnormal A let it
grow tenfold where GMRES then converged (measured), a product form in trouble by far more."""
MOST_TESTS = 3
"""Most polynomials that a fresh vector tests."""
MOST_EXPECTED = 2_000
"""Products that a solve is expected to need where the probe cannot tell."""
IDLE = 0.95
"""Probe residual above which no polynomial of this degree does anything."""


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
    ) -> None:
        super().__init__(operator, recurrence, dtype=dtype)
        self.report = report
        self.equilibration = equilibration
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
    matrix = _stored(operator)
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
        design = _Design(None, 0.0, "as asked")
    elif is_complex:
        design = _Design(None, 0.0, "A is complex, and a real polynomial needs conjugate roots")
    else:
        design = _design(scaled, degree, rng)
    if design.polynomial is None and method == "gmres_poly":
        raise BreakdownError(
            f"method='gmres_poly' found no polynomial: {design.reason}. Use method='auto'."
        )
    spent, q = scaled.n_matvecs, design.polynomial or _one()
    if q.degree:
        label = f"{q.name}, degree {q.degree}"
        scaled = scaled.prepared(min(design.steps, MOST_EXPECTED), execution)
    counted = scaled.recounted()
    counted.counter.add(spent)
    report = PreconditionerReport(
        label,
        design.reason,
        (),
        spent,
        time.perf_counter() - begin,
        str(counted.backend.report) if q.degree else "",
    )
    return GeneralPreconditioner(counted, q, report, equilibration, operator.dtype)


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


def _stored(operator: Operator) -> Any:
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


class _Design(NamedTuple):
    """A polynomial or None, the steps GMRES is predicted to need without it, and why."""

    polynomial: Recurrence | None
    steps: float
    reason: str


def predicted_steps(norms: FloatArray) -> float:
    """Extrapolate GMRES's steps to TARGET from the second half of its residual norms."""
    m = norms.size
    first, last = float(norms[(m + 1) // 2 - 1]), float(norms[-1])
    if last <= TARGET:
        return float(np.argmax(norms <= TARGET) + 1)
    if last >= first:
        return math.inf
    return m + math.log(last / TARGET) * (m - (m + 1) // 2) / math.log(first / last)


def _enough(process: ArnoldiProcess) -> bool:
    if process.steps < FEWEST_STEPS:
        return False
    return 3.0 * process.steps**3 >= predicted_steps(gmres_residuals(process.hessenberg)) ** 2


def _design(B: Operator, degree: int | None, rng: Rng) -> _Design:
    """Probe B; return the GMRES polynomial with the most roots that passes the tests."""
    start, fresh = np.random.default_rng(rng).standard_normal((2, B.n)).astype(B.dtype)
    if degree is None:
        process = arnoldi(B, start, MOST_STEPS, enough=_enough)
    else:
        process = arnoldi(B, start, degree + 1)
    H = process.hessenberg
    norms = gmres_residuals(H)
    steps = predicted_steps(norms)
    if degree is None and norms[-1] > IDLE:
        why = f"{norms.size} probe steps left {norms[-1]:.2g} of a random residual"
        return _Design(None, steps, why)
    d, tested = norms.size, 0
    while d >= 1 and tested < MOST_TESTS:
        q = _polynomial(H[: d + 1, :d], float(norms[d - 1]), B.dtype)
        if q is not None and q.degree <= (1.5 * d if degree is None else degree):
            tested += 1
            residual = fresh - B.matmul(B.apply(q, fresh, order="forward"))
            left = float(np.linalg.norm(residual) / np.linalg.norm(fresh))
            if left <= GROWTH:
                return _Design(
                    q,
                    steps,
                    f"{norms.size} probe steps predict {steps:.0f} of GMRES to {TARGET:.0e}; "
                    f"{d} roots leave {left:.1e} of a fresh residual",
                )
        d = d - 1 if degree is not None or d <= 4 else 3 * d // 4
    why = f"no polynomial with at most {norms.size} roots is stable"
    return _Design(None, steps, why)


def _polynomial(H: Array, norm: float, dtype: np.dtype[Any]) -> Recurrence | None:
    """Return q, or None if its product form does not reproduce GMRES's residual on H."""
    d = H.shape[1]
    lower, upper, _, _ = field_of_values_box(H)
    if upper <= lower:
        upper = lower + max(abs(lower), 1.0)
    try:
        roots = harmonic_ritz_values(H)
        if roots.size == 0:
            return None
        roots = added_roots(roots, digits=14.0 if dtype.itemsize == 8 else 5.0)
        q = inverse_from_roots(roots, (lower, upper), name="GMRES polynomial")
    except (BreakdownError, InputError):  # singular H; roots beyond the range of double
        return None
    square = np.zeros((d + 1, d + 1))
    square[:, :d] = H
    first = np.eye(d + 1)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        found = first - square @ GenericBackend(square).apply(q, first, order="forward")
    # What rounding adds must stay in the order of what GMRES attains.
    return q if np.linalg.norm(found) <= max(10.0 * norm, TARGET) else None
