"""``spectral_filter(A, window)``: a polynomial that keeps the eigenvectors of a window.

Source
    Zhou and Saad, SIMAX 29 (2007), at the ends of the spectrum; Di Napoli, Polizzi and Saad, Numer.
    Linear Algebra Appl. 23 (2016), inside it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from spectool._types import Interval, Rng
from spectool.errors import InputError
from spectool.operators import Operator, PolynomialOperator, as_operator
from spectool.planner.plan import Plan
from spectool.polynomials import Recurrence, end_filter, step_filter
from spectool.polynomials.chebyshev import checked_degree
from spectool.spectrum import Spectrum, probe

Kind = Literal["auto", "chebyshev", "step"]
_KINDS = ("auto", "chebyshev", "step")
MAX_DEGREE = 2_000
SUPPRESSION = 1e4
"""Amplification of the far end over the unwanted part that an automatic end filter aims at."""
SHARPNESS = 6.0
"""Automatic steps have degree SHARPNESS half-widths of the spectrum per width of the window."""

APPLICATIONS = 100
"""Applications that a filter is laid out for: an eigensolver needs so many, or more."""


class SpectralFilter(PolynomialOperator):
    """``F ~ indicator of the window at A`` as a Hermitian ``LinearOperator``.

    Attributes
    ----------
    recurrence : Recurrence
        The filter polynomial: ``F.recurrence(eigenvalue)`` is F's eigenvalue.
    window : tuple of float
        What was asked for.
    spectrum : Spectrum
        The probe.
    """

    def __init__(
        self, operator: Operator, recurrence: Recurrence, window: Interval, spectrum: Spectrum
    ) -> None:
        super().__init__(operator, recurrence)
        self.window = window
        self.spectrum = spectrum

    def __repr__(self) -> str:
        p = self.recurrence
        return f"<SpectralFilter {self.shape}: {p.name}, degree {p.degree}>"


def spectral_filter(
    A: Any,
    window: Interval | None = None,
    *,
    degree: int | None = None,
    kind: Kind = "auto",
    spectrum: Spectrum | None = None,
    plan: Plan | None = None,
    rng: Rng = None,
) -> SpectralFilter:
    """Return a polynomial filter that is large on ``window`` and small elsewhere.

    Its dominant eigenvectors are A's eigenvectors in the window: hand it to
    ``scipy.sparse.linalg.eigsh(F, k, which="LA")`` and take Rayleigh quotients with A. A window
    that reaches an end of the spectrum gets the minimax Chebyshev filter, one inside it a
    Jackson-damped step.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian.
    window : tuple of float
        ``(lo, hi)``, lo < hi; ``-inf`` and ``inf`` stand for the ends of the spectrum. May be left
        to a plan.
    degree : int, optional
        Products with A per application; from the width of the window if None.
    kind : {"auto", "chebyshev", "step"}
        Forces a design. "chebyshev" needs a window at an end.
    spectrum : Spectrum, optional
        A probe of A made before; saves its matvecs.
    plan : Plan, optional
        What ``spectool.plan(A, "eigs", k=k)`` chose: degree and window.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    SpectralFilter
        With values in [0, 1] on the spectrum ("step"; about 0.7 in the middle of the window and
        half of that at its ends for the automatic degree, nearly 1 for four times as much), or 1
        at the extreme Ritz value and at most ``1 / T_d`` on the unwanted part ("chebyshev").

    Raises
    ------
    InputError
        If the window is empty or misses the spectrum, or A is malformed.

    Notes
    -----
    Cost: 24 matvecs for the probe; ``degree`` matvecs per application, no reductions.
    Interior steps fall from 90% to 10% over about ``2.4 pi / degree`` half-widths of the spectrum;
    the automatic degree is 6 / w for a window w half-widths wide, at most 2000.

    References
    ----------
    .. [1] Di Napoli, Polizzi and Saad, Efficient estimation of eigenvalue counts in an interval.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> F = st.spectral_filter(np.diag(np.arange(100.0)), (40.0, 50.0), degree=200, rng=2718)
    >>> bool(F.recurrence(45.0) > 0.99), bool(abs(F.recurrence(70.0)) < 0.01)
    (True, True)
    """
    if kind not in _KINDS:
        raise InputError(f"kind must be one of {_KINDS}; got {kind!r}.")
    operator = as_operator(A)
    if plan is not None:
        window, degree = _planned(plan, operator, window, degree)
    lo, hi = _checked_window(window)
    if spectrum is None:
        spectrum = probe(operator, rng=rng)
    elif (
        not isinstance(spectrum, Spectrum)
        or spectrum.n != operator.n
        or spectrum.scaling is not None
    ):
        raise InputError(
            f"spectrum must be an unscaled Spectrum of size {operator.n}; got {spectrum!r}."
        )
    lower, upper = spectrum.interval
    inner_low = float(spectrum.ritz_values[0])
    inner_high = float(spectrum.ritz_values[-1])
    if hi < lower or lo > upper or (lo <= lower and hi >= upper):
        raise InputError(
            f"window ({lo:.6g}, {hi:.6g}) must hold a part of the spectrum, which lies in "
            f"[{lower:.6g}, {upper:.6g}]."
        )
    at_low = lo <= inner_low and lower < hi < upper
    at_high = hi >= inner_high and lower < lo < upper
    if kind == "chebyshev" and not (at_low or at_high):
        raise InputError(
            f"kind='chebyshev' needs a window that reaches an end of the spectrum, beyond the Ritz "
            f"value {inner_low:.6g} or {inner_high:.6g}; use kind='step'."
        )
    if degree is not None:
        degree = checked_degree(degree, least=1)
    if (at_low or at_high) and kind != "step":
        end: Literal["lower", "upper"] = "lower" if at_low else "upper"
        edge, ritz, safe = (hi, inner_low, lower) if at_low else (lo, inner_high, upper)
        # Where no Ritz value lies in the window, its eigenvalues are nearer than the safe end.
        inside = ritz < edge if at_low else ritz > edge
        unit = ritz if inside else 0.5 * (edge + safe)
        d = degree if degree is not None else _end_degree(edge, unit, (lower, upper), end)
        recurrence = end_filter(edge, (lower, upper), d, end=end, unit=unit)
    else:
        width = (min(hi, upper) - max(lo, lower)) / (0.5 * (upper - lower))
        d = degree if degree is not None else math.ceil(SHARPNESS / max(width, 1e-12))
        recurrence = step_filter(
            (lo, hi), (lower, upper), min(max(d, 1), MAX_DEGREE) if degree is None else d
        )
    operator = operator.prepared(APPLICATIONS * recurrence.degree)
    return SpectralFilter(operator, recurrence, (lo, hi), spectrum)


def _planned(
    plan: Any, operator: Operator, window: Interval | None, degree: int | None
) -> tuple[Interval, int]:
    """Return window and degree of a plan; raises InputError if it has none, or they clash."""
    if not isinstance(plan, Plan):
        raise InputError(f"plan must be a Plan, as spectool.plan returns; got {plan!r}.")
    if degree is not None or window is not None:
        raise InputError(
            f"give a plan, or window and degree; got window={window} and degree={degree} besides."
        )
    action = plan.checked("eigs", operator.n).chosen.action
    if not action["degree"]:
        raise InputError("plan says that ARPACK without a filter is the quickest; use eigsh(A).")
    low, high = action["window"]
    return (low, high), int(action["degree"])


def _checked_window(window: Any) -> Interval:
    try:
        lo, hi = (float(end) for end in window)
    except (TypeError, ValueError):
        raise InputError(f"window must be a pair (lo, hi); got {window!r}.") from None
    if not lo < hi:  # NaN fails too
        raise InputError(f"window needs lo < hi; got ({lo}, {hi}).")
    return lo, hi


def _end_degree(edge: float, far: float, interval: Interval, end: str) -> int:
    """Return the degree at which the Ritz value at the end is amplified by SUPPRESSION."""
    unwanted = (edge, interval[1]) if end == "lower" else (interval[0], edge)
    half = 0.5 * (unwanted[1] - unwanted[0])
    y = abs(far - 0.5 * (unwanted[0] + unwanted[1])) / half
    growth = float(np.arccosh(max(y, 1.0 + 1e-12)))
    return int(min(max(math.ceil(math.acosh(SUPPRESSION) / growth), 2), MAX_DEGREE))
