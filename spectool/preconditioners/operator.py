"""The operator that ``preconditioner`` returns: a polynomial of A with its report."""

from __future__ import annotations

from typing import Any

from spectool._types import FloatArray
from spectool.operators import Operator, PolynomialOperator
from spectool.polynomials import Recurrence
from spectool.results import PreconditionerReport
from spectool.spectrum import Spectrum


class Preconditioner(PolynomialOperator):
    """M ~ inv(A) as a scipy ``LinearOperator``; positive definite.

    Attributes
    ----------
    recurrence : Recurrence
        The polynomial, in the scaled operator; degree 0 is Jacobi.
    report : PreconditionerReport
        What was chosen, why, and what it cost.
    spectrum : Spectrum or None
        The probe of the scaled operator; pass it on as ``spectrum=``.
    scale : ndarray or None
        ``diag(D)^-1/2``: M = S p(S A S) S.
    n_matvecs : int
        Products with A so far: set-up and applications.
    """

    report: PreconditionerReport
    spectrum: Spectrum | None

    def __init__(
        self,
        operator: Operator,
        recurrence: Recurrence,
        report: PreconditionerReport,
        spectrum: Spectrum | None,
        *,
        scale: FloatArray | None,
        dtype: Any,
    ) -> None:
        super().__init__(operator, recurrence, scale=scale, dtype=dtype)
        self.report = report
        self.spectrum = spectrum

    def __repr__(self) -> str:
        return f"<Preconditioner {self.shape}: {self.report.chosen}>"
