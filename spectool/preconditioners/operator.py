"""The operator that ``preconditioner`` returns: a polynomial of A with its report."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from spectool._types import Array, FloatArray, Interval, Rng
from spectool.backends.execution import Execution, alike
from spectool.errors import BreakdownError, SpectralBoundWarning
from spectool.operators import AssumeA, Operator, PolynomialOperator, as_operator
from spectool.polynomials import Recurrence
from spectool.preconditioners.monitor import NOTHING, IntervalError, MonitoredOperator, stretched
from spectool.results import PreconditionerReport
from spectool.spectrum import Spectrum

AMENDMENTS = 4
SEED = 281_035_664
"""Seeds the check of a refreshed M."""
PROMOTED_FOR = 1_000
"""Products expected of an M that is promoted in the middle of a solve."""


class SetUp(NamedTuple):
    """How an M came about, for `Preconditioner.refresh`.

    Attributes
    ----------
    again : functools.partial
        ``again(A, rng=rng)`` sets M up for another matrix, with the options of this one.
    free : bool
        Whether design and degree were chosen.
    execution : Execution or None
        What was asked for.
    watch : bool
        Whether the interval has to be watched at run time.
    discs : tuple of float or None
        Ends of the Gershgorin discs of what the polynomial runs over, where entries are stored:
        they tell later whether A was changed in place.
    drift : float
        How far the interval was stretched since the last full set-up.
    assume_a : {"her", "pos", "gen"} or None
        What was declared.
    """

    again: partial[Any]
    free: bool
    execution: Execution | None
    watch: bool
    discs: Interval | None
    drift: float = 1.0
    assume_a: AssumeA | None = None


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
        set_up: SetUp | None = None,
    ) -> None:
        if recurrence.degree:
            # Every design is positive on (0, upper], wherever its own lower end is.
            interval = min(recurrence.interval[0], 0.0), recurrence.interval[1]
            operator = MonitoredOperator(operator, interval, watch=watch)
        super().__init__(operator, recurrence, scale=scale, dtype=dtype)
        self.spectrum = spectrum
        self.set_up = set_up
        self._report = report
        self._vectors, self._seconds = 0, 0.0
        self._warned = False

    @property
    def report(self) -> PreconditionerReport:
        """What was chosen and why, what it cost, and what applications have cost since."""
        return replace(self._report, n_applied=self._vectors, seconds_applied=self._seconds)

    @property
    def amended(self) -> bool:
        """Whether the spectrum was found outside the interval at run time."""
        return self._warned

    def explained(self, why: str, n_matvecs: int) -> None:
        """Put ``why`` before the reason in the report, and count products spent before."""
        before = self._report
        reason, spent = f"{why}; {before.reason}", before.n_matvecs + n_matvecs
        self._report = replace(before, reason=reason, n_matvecs=spent)
        self.operator.counter.add(n_matvecs)

    def refresh(self, A: Any, *, rng: Rng = SEED) -> Any:
        """Return M for another matrix of the same size, near the last one.

        The design, its degree, precision and format are kept. Where entries are stored, the scaled
        matrices are compared, which bounds how far eigenvalues have moved; eight Lanczos steps look
        at what that does not show. The interval is kept, or stretched by at most a tenth.

        Parameters
        ----------
        A : sparse array, ndarray or LinearOperator, shape (n, n)
            Any A is correct; it pays where A has changed little.
        rng : Generator, int or None
            Seeds the check.

        Returns
        -------
        Preconditioner
            A new one; ``self`` still belongs to the old A. What ``preconditioner(A)`` returns,
            where A has changed too much; the report then begins with "full set-up".

        Raises
        ------
        InputError
            If A is not square and finite.
        NotPositiveDefiniteError
            If a design that needs a positive definite A was forced, and A is not.

        Notes
        -----
        Cost: at most 8 matvecs (and the test of symmetry: 2 for a LinearOperator), none where A
        has not changed but for scalings; 24 more for a full set-up.
        """
        from spectool.preconditioners.refresh import refreshed  # it imports the designers

        return refreshed(self, A, rng)

    def __repr__(self) -> str:
        return f"<Preconditioner {self.shape}: {self.report.chosen}>"

    def promoted(self, A: Any) -> Preconditioner | None:
        """Return M with the precision of A inside, or None where it has that already.

        Parameters
        ----------
        A : sparse array, ndarray or LinearOperator, shape (n, n)
            What M was made for; ``cg`` passes its own where single precision holds it up.

        Notes
        -----
        No matvec; the time of about 10 to lay A out.
        """
        single = np.finfo(self.operator.dtype).bits < np.finfo(self.dtype).bits
        if not (single and self.recurrence.degree):
            return None
        operator = as_operator(A, assume_a=self.operator.assume_a)
        B = operator.recounted() if self.scale is None else operator.scaled(self.scale)
        execution, set_up = None, self.set_up
        if set_up is not None:
            execution, set_up = set_up.execution, set_up._replace(discs=B.gershgorin())
        B = B.prepared(PROMOTED_FOR, execution or alike(self.operator.backend.report))
        report = self.report
        return Preconditioner(
            B,
            self.recurrence,
            replace(
                report,
                reason=f"{report.reason}; promoted to {B.dtype}",
                execution=str(B.backend.report),
                n_matvecs=0,
                elapsed=0.0,
            ),
            self.spectrum,
            scale=self.scale,
            dtype=self.dtype,
            set_up=set_up,
        )

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
