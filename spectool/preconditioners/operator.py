"""The operator that ``preconditioner`` returns: a polynomial of A with its report."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any, cast

from spectool._types import Array, FloatArray
from spectool.errors import BreakdownError, SpectralBoundWarning
from spectool.operators import Operator, PolynomialOperator
from spectool.polynomials import Recurrence
from spectool.preconditioners.monitor import NOTHING, IntervalError, MonitoredOperator, stretched
from spectool.results import PreconditionerReport
from spectool.spectrum import Spectrum

AMENDMENTS = 4


class Preconditioner(PolynomialOperator):
    """M ~ inv(A) as a scipy ``LinearOperator``; positive definite.

    Each application tests that the spectrum is where the polynomial was designed for. If not, the
    polynomial is stretched to safe ends found by a new probe, the application redone, the report
    amended and ``SpectralBoundWarning`` emitted, once.

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
        Products with A so far: set-up, applications and the watch over the interval.
    """

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
        watch: bool = False,
    ) -> None:
        if recurrence.degree:
            # Every design is positive on (0, upper], wherever its own lower end is.
            interval = min(recurrence.interval[0], 0.0), recurrence.interval[1]
            operator = MonitoredOperator(operator, interval, watch=watch)
        super().__init__(operator, recurrence, scale=scale, dtype=dtype)
        self.spectrum = spectrum
        self._report = report
        self._vectors, self._seconds = 0, 0.0
        self._warned = False

    @property
    def report(self) -> PreconditionerReport:
        """What was chosen and why, what it cost, and what applications have cost since."""
        return replace(self._report, n_applied=self._vectors, seconds_applied=self._seconds)

    def __repr__(self) -> str:
        return f"<Preconditioner {self.shape}: {self.report.chosen}>"

    def _run(self, X: Array) -> Array:
        begin = time.perf_counter()
        for _ in range(AMENDMENTS):
            try:
                Y = super()._run(X)
            except IntervalError as found:
                self._amend(found)
            else:
                self._vectors += 1 if X.ndim == 1 else X.shape[1]
                self._seconds += time.perf_counter() - begin
                return Y
        raise BreakdownError(
            f"A keeps growing while it is applied: its spectrum left {AMENDMENTS} intervals in one "
            "application of M. Pass an operator that does not change."
        )

    def _amend(self, found: IntervalError) -> None:
        """Probe A anew and mend what is wrong, so that it is not found again."""
        operator = cast("MonitoredOperator", self.operator)
        label = None if self.spectrum is None else self.spectrum.scaling
        spectrum = operator.probed(label)
        lowest = min(float(spectrum.ritz_values[0]), found.extremes[0])
        highest = max(float(spectrum.ritz_values[-1]), found.extremes[1])
        safe = min(spectrum.interval[0], lowest), max(spectrum.interval[1], highest)
        (lower, upper), room = operator.interval, operator.room()
        low, high = self.recurrence.interval
        two_sided = low < -room
        notes = []
        if not two_sided and lowest < lower - room:
            notes.append(
                f"A is not positive definite: it has the Ritz value {lowest:.6g}, which M "
                "amplifies without bound; make a new M, and use minres"
            )
            lower = safe[0]
        proven = highest > upper + room or (two_sided and lowest < lower - room)
        factor = max(safe[1] / high, safe[0] / low if two_sided else 0.0)
        if factor * upper > upper + room and (proven or found.extremes == NOTHING):
            self.recurrence = stretched(self.recurrence, factor)
            low, high = self.recurrence.interval
            notes.append(
                f"eigenvalues {'lie' if proven else 'may lie'} outside [{lower:.6g}, {upper:.6g}], "
                f"where M was designed to be used (Ritz values reach from {lowest:.6g} to "
                f"{highest:.6g}); it is stretched to [{low:.6g}, {high:.6g}]"
            )
            lower, upper = min(lower, low), high
        if not notes:
            if not found.finite:
                raise BreakdownError(
                    "M @ x is not finite, though x and products with A are and the spectrum lies "
                    f"in [{lower:.6g}, {upper:.6g}]. Rescale A, or raise the precision."
                )
            operator.tests_gain = False
            notes.append(
                "M amplified a vector more than any Hermitian A with this spectrum can, and a new "
                "probe found no reason; is A Hermitian, and the same each time?"
            )
        operator.interval = (lower, upper)
        scaled_by_unit = label is None and self.scale is not None
        self.spectrum = None if scaled_by_unit else spectrum
        note = "; ".join(notes)
        reason = f"{self._report.reason}; at run time: {note}"
        self._report = replace(self._report, reason=reason)
        if not self._warned:
            self._warned = True
            warnings.warn(note, SpectralBoundWarning, stacklevel=2)
