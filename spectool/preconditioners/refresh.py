"""M for a matrix that has changed a little: the design is kept, its interval checked.

Source
    Weyl's inequality: eigenvalues of ``B + E`` differ from those of B by ``||E||`` at most, which
    the largest row sum of ``|E|`` bounds.
Deviations
    Both matrices are scaled first, each by its own diagonal, so that scalings and units do not
    count as changes. An operator that does not show its entries is compared by Ritz values of
    equally many steps, and watched at run time.
Cost
    Some passes over the entries and at most 8 matvecs; a full set-up where A has changed too much.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from spectool._types import FloatArray, Interval, Rng
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import alike
from spectool.krylov import lanczos, ritz
from spectool.operators import Operator, as_operator, jacobi_scale
from spectool.operators.counting import MatvecCounter
from spectool.planner import operator_costs
from spectool.preconditioners.monitor import ROUNDING, stretched
from spectool.preconditioners.operator import Preconditioner, SetUp
from spectool.preconditioners.polynomial import MOST_EXPECTED, bad_diagonal, jacobi_recurrence
from spectool.preconditioners.selection import WORTHWHILE, iterations_bound
from spectool.results import PreconditionerReport
from spectool.spectrum import Certificate, Scaling, Spectrum, probe

STEPS = 8
"""Products of the check, a test of symmetry included: a third of a probe."""
MOST_STRETCH = 1.1
"""Stretching costs iterations like its square root; beyond this a new probe is cheaper."""
TOP, BOTTOM = 1.25, 4.0
"""Factors that extreme Ritz values of as many steps may differ by: another start vector alone
changes them by less."""


class TooDifferentError(Exception):
    """The old design is of no use, and the message says why. Never seen by users."""


class _Old(NamedTuple):
    """What is known of the matrix before, ``B = S A S``, in the unit that M works in.

    Attributes
    ----------
    M : Preconditioner
        Made for it.
    set_up : SetUp
        How.
    spectrum : Spectrum
        Its probe.
    reach : tuple of float
        Where the polynomial may be used; the safe interval for degree 0.
    room : float
        What rounding may add to an eigenvalue.
    two_sided : bool
        Whether the polynomial was designed for negative eigenvalues, too.
    """

    M: Preconditioner
    set_up: SetUp
    spectrum: Spectrum
    reach: Interval
    room: float
    two_sided: bool


class _Change(NamedTuple):
    """How the new B differs from the old one.

    Attributes
    ----------
    B : Operator
        The new one.
    scale : ndarray, shape (n,), or None
        S.
    scaling : {"symmetric", None}
        Whether S is that of A's diagonal.
    unit : float
        Its unit, in that of the old one.
    norm : float
        Bound of ``||B / unit - B_old||``; infinite where entries are not stored.
    same_pattern : bool
        Whether the old layout suits it.
    """

    B: Operator
    scale: FloatArray | None
    scaling: Scaling
    unit: float
    norm: float
    same_pattern: bool


def refreshed(M: Preconditioner, A: Any, rng: Rng) -> Any:
    """Return M for another A; see `Preconditioner.refresh`."""
    begin = time.perf_counter()
    set_up = M.set_up
    operator = as_operator(A, assume_a=set_up and set_up.assume_a, need_hermitian=False)
    spent = [operator.counter]
    try:
        old = _known(M, set_up, operator)
        change = _change(old, operator)
        spent.append(change.B.counter)
        return _refreshed(old, operator, change, rng, begin)
    except TooDifferentError as found:
        return set_up_again(set_up, operator, rng, str(found), spent)


def set_up_again(
    set_up: SetUp | None, operator: Operator, rng: Rng, why: str, spent: list[MatvecCounter]
) -> Any:
    """Return what the options of the old M give for a new A; its report says why."""
    from spectool.preconditioners.front_door import preconditioner  # it imports this module

    again: Any = preconditioner if set_up is None else set_up.again
    fresh = again(operator.recounted(), rng=rng)
    fresh.explained(f"full set-up: {why}", sum(counter.value for counter in spent))
    return fresh


def _known(M: Preconditioner, set_up: SetUp | None, operator: Operator) -> _Old:
    """Return what is known, or raise TooDifferentError if it cannot be of use."""
    if operator.n != M.shape[0]:
        raise TooDifferentError(f"A has {operator.n} rows now, and had {M.shape[0]}")
    if operator.assume_a == "gen":
        raise TooDifferentError("A is not Hermitian any more")
    if operator.dtype != M.dtype:
        raise TooDifferentError(f"A is {operator.dtype} now, and was {M.dtype}")
    if M.amended:
        raise TooDifferentError("M had to be mended at run time")
    if set_up is None or M.spectrum is None:
        raise TooDifferentError("the one before took no probe")
    if (set_up.discs is None) != (operator.row_facts() is None):
        raise TooDifferentError("entries of A are stored at one time, and not at the other")
    if set_up.discs and Operator(M.operator.backend, "her").gershgorin() != set_up.discs:
        raise TooDifferentError("the matrix that M was made for has been changed in place")
    spectrum = in_other_unit(M.spectrum, _taken_out(M.scale, M.spectrum))
    reach = M.recurrence.interval if M.recurrence.degree else spectrum.interval
    size = max(abs(end) for end in reach)
    room = ROUNDING * float(np.finfo(M.operator.dtype).eps) * size
    two_sided = M.recurrence.degree > 0 and reach[0] < -room
    return _Old(M, set_up, spectrum, reach, room, two_sided)


def _taken_out(scale: FloatArray | None, spectrum: Spectrum) -> float:
    """Return what A is multiplied with where S is a multiple of I, and takes A's unit out."""
    return 1.0 if scale is None or spectrum.scaling is not None else float(scale[0]) ** 2


def _change(old: _Old, operator: Operator) -> _Change:
    """Scale the new A as the old one was, and compare both."""
    M, scale, scaling = old.M, old.M.scale, old.spectrum.scaling
    if old.set_up.discs is None:
        B = operator.recounted() if scale is None else operator.scaled(scale)
        return _Change(B, scale, scaling, 1.0, np.inf, same_pattern=False)
    before = Operator(M.operator.backend, "her")
    if not M.recurrence.degree and scale is not None:
        before = before.scaled(scale)  # Jacobi runs over A itself
    moduli = np.abs(_diagonal(before))
    new = jacobi_scale(operator)
    automatic = old.set_up.again.keywords.get("scaling") == "auto" and np.ptp(moduli) == 0
    if new is not None and (scaling is not None or (automatic and np.ptp(new) > 0)):
        scale, scaling = new, "symmetric"
    B = operator.recounted() if scale is None else operator.scaled(scale)
    unit, size = 1.0, float(np.abs(_diagonal(B)).mean())
    if old.spectrum.scaling is None and size > 0 and moduli.any():
        unit = size / float(moduli.mean())
        if scale is not None and scaling is None and unit != 1.0:
            scale = scale / np.sqrt(unit)
            B, unit = operator.scaled(scale), 1.0
    if bool(bad_diagonal(B)) != bool(bad_diagonal(before)):
        raise TooDifferentError(bad_diagonal(B) or "A's diagonal may be definite now")
    norm, same_pattern = _distance(_entries(B), _entries(before), unit)
    return _Change(B, scale, scaling, unit, norm, same_pattern)


def _diagonal(operator: Operator) -> FloatArray:
    facts = operator.row_facts()
    return np.zeros(1) if facts is None else facts.diagonal.real.astype(np.float64)


def _entries(operator: Operator) -> Any:
    backend = operator.backend
    return backend.A if isinstance(backend, CpuBackend) else backend.to_dense()


def _distance(A: Any, B: Any, unit: float) -> tuple[float, bool]:
    """Return a bound of ``||A / unit - B||``, and whether both have one sparsity pattern."""
    sparse = [isinstance(part, sp.csr_array) for part in (A, B)]
    if not any(sparse):
        return float(np.abs(A / unit - B).sum(axis=1).max()), True
    if not all(sparse):
        raise TooDifferentError("A is sparse at one time, and dense at the other")
    same = np.array_equal(A.indptr, B.indptr) and np.array_equal(A.indices, B.indices)
    if same:
        moduli = np.abs(A.data / unit - B.data)
        E: Any = sp.csr_array((moduli, A.indices, A.indptr), shape=A.shape, copy=False)
    else:
        E = abs(A / unit - B)
    return float(E.sum(axis=1).max()), same


def _refreshed(
    old: _Old, operator: Operator, change: _Change, rng: Rng, begin: float
) -> Preconditioner:
    """Return M for the new B, or raise TooDifferentError."""
    M, before, unit, norm = old.M, old.spectrum, change.unit, change.norm
    free, stored = old.set_up.free, norm < np.inf
    definite = not (old.two_sided or M.report.chosen.startswith("|"))
    iteration = operator_costs(operator).cg_iteration(0) if stored and definite and free else np.inf
    if not M.recurrence.degree and iterations_bound(before) * iteration <= WORTHWHILE:
        raise TooDifferentError("CG was quick as it is; a few products tell whether it still is")
    rounding = 16.0 * float(np.finfo(M.operator.dtype).eps)
    if old.set_up.discs and norm <= rounding * max(abs(end) for end in old.set_up.discs):
        told = "" if abs(unit - 1.0) <= rounding else f", its unit apart ({unit:.6g} times)"
        reason = f"refreshed: A is what it was, but for scalings and rounding{told}"
        ends = before.interval[0] - norm, before.interval[1] + norm
        certificate = _certified(before, before, ends, stored=True)
        spectrum = replace(before, scaling=change.scaling, certificate=certificate)
        return _made(old, operator, change, 1.0, spectrum, reason, begin)
    discs = change.B.gershgorin()
    if discs is not None:
        _checked_factor(old, _ends(old, change, _times(discs, 1.0 / unit)), norm)
    steps = STEPS - operator.n_matvecs
    found = probe(change.B, steps=steps, scaling=change.scaling, rng=rng)
    found = in_other_unit(found, 1.0 / unit)
    known = first_ritz_values(before, steps)
    _compare(old, found.ritz_values, known)
    if M.recurrence.degree and iterations_bound(found) * iteration <= WORTHWHILE:
        raise TooDifferentError("CG is quick as it is now")
    ends = _ends(old, change, found.interval, found.ritz_values[[0, -1]] / known[[0, -1]])
    factor = _checked_factor(old, ends, norm)
    told = f"eigenvalues have moved by {norm:.3g} at most" if stored else "no entries to compare"
    reason = (
        f"refreshed: {told}, {steps} Lanczos steps reach from {found.ritz_values[0]:.4g} to "
        f"{found.ritz_values[-1]:.4g}, and the interval is "
        + (f"stretched by {100 * (factor - 1):.2g} %" if factor > 1.0 else "kept")
    )
    spectrum = replace(found, certificate=_certified(before, found, ends, stored=stored))
    return _made(old, operator, change, factor, spectrum, reason, begin)


def _times(interval: Interval, factor: float) -> Interval:
    return interval[0] * factor, interval[1] * factor


def _ends(old: _Old, change: _Change, safe: Interval, grown: FloatArray | None = None) -> Interval:
    """Return the sharper ends of what the change allows and of ``safe``, in the old unit.

    Where entries are not stored, both ends are presumed to have moved like Ritz values did.
    """
    low, high = old.spectrum.interval
    if change.norm < np.inf:
        low, high = low - change.norm, high + change.norm
    elif grown is not None:
        high *= max(float(grown[1]), 1.0)
        low = low * max(float(grown[0]), 1.0) if old.two_sided else safe[0]
    return max(low, safe[0]), min(high, safe[1])


def _checked_factor(old: _Old, ends: Interval, norm: float) -> float:
    """Return how far the polynomial must be stretched, 1 or more; raise if that is too much."""
    factor = 1.0
    if old.M.recurrence.degree:
        factor = max(factor, ends[1] / old.reach[1])
        if old.two_sided:
            factor = max(factor, ends[0] / old.reach[0])
    if factor * old.set_up.drift > MOST_STRETCH:
        why = f"eigenvalues may have moved by {norm:.3g}" if norm < np.inf else "it has grown"
        raise TooDifferentError(
            f"{why}, to [{ends[0]:.4g}, {ends[1]:.4g}], and M is for "
            f"[{old.reach[0]:.4g}, {old.reach[1]:.4g}]"
        )
    return 1.0 if factor <= 1.0 + 1e-12 else factor


def _compare(old: _Old, theta: FloatArray, known: FloatArray) -> None:
    """Raise TooDifferentError unless Ritz values of as many steps tell of a similar spectrum."""
    room = old.room
    lowest, highest = float(theta[0]), float(theta[-1])
    for now, then in ((lowest, float(known[0])), (highest, float(known[-1]))):
        if (now < -room) != (then < -room) or (now > room) != (then > room):
            raise TooDifferentError(f"it has the Ritz value {now:.6g} where {then:.6g} was before")
    if not old.two_sided and lowest < -room and old.M.recurrence.degree:
        raise TooDifferentError(f"A is not positive definite: it has the Ritz value {lowest:.6g}")
    for now, then, limit in (
        (highest, float(known[-1]), TOP),
        (lowest, float(known[0]), TOP if lowest < 0 else BOTTOM),
    ):
        if not abs(then) <= limit * abs(now) + room or not abs(now) <= limit * abs(then) + room:
            raise TooDifferentError(f"it has the Ritz value {now:.6g} where {then:.6g} was before")


def first_ritz_values(spectrum: Spectrum, steps: int) -> FloatArray:
    """Return the Ritz values that the first probe of a spectrum had after so many steps.

    Its values and weights are the Gauss quadrature of the start vector, so that Lanczos on them
    repeats the run.
    """
    of = spectrum.probes == 0
    nodes = as_operator(np.diag(spectrum.ritz_values[of]), assume_a="her")
    return ritz(lanczos(nodes, np.sqrt(spectrum.weights[of]), steps)).values


def in_other_unit(spectrum: Spectrum, factor: float) -> Spectrum:
    """Return the spectrum of ``factor`` times the operator, factor > 0."""
    if factor == 1.0:
        return spectrum
    lower, upper = (
        replace(
            bound,
            value=factor * bound.value,
            ritz_value=factor * bound.ritz_value,
            residual=factor * bound.residual,
        )
        for bound in spectrum.certificate
    )
    return replace(
        spectrum,
        ritz_values=factor * spectrum.ritz_values,
        ritz_residuals=factor * spectrum.ritz_residuals,
        certificate=Certificate(lower, upper),
    )


def _certified(before: Spectrum, found: Spectrum, ends: Interval, *, stored: bool) -> Certificate:
    """Return the certificate of the ends: of the check where it set them, else of the change."""
    ritz_values = float(found.ritz_values[0]), float(found.ritz_values[-1])
    bounds = []
    for now, then, end, theta in zip(
        found.certificate, before.certificate, ends, ritz_values, strict=True
    ):
        if end != now.value:
            source = f"{then.source}, moved" if stored else f"{then.source}, presumed"
            now = replace(now, value=end, source=source, proven=stored and then.proven)
        bounds.append(replace(now, ritz_value=theta))
    return Certificate(*bounds)


def _made(
    old: _Old,
    operator: Operator,
    change: _Change,
    factor: float,
    spectrum: Spectrum,
    reason: str,
    begin: float,
) -> Preconditioner:
    """Return M over the new B, laid out as the old one was where patterns agree."""
    M, inner, q = old.M, operator, old.M.recurrence
    chosen = M.report.chosen
    if q.degree:
        q = q.in_unit(change.unit) if factor == 1.0 else stretched(q, factor * change.unit)
        chosen = f"{q.name}, degree {q.degree}"
        report = M.operator.backend.report
        execution = old.set_up.execution or (alike(report) if change.same_pattern else None)
        expected = min(iterations_bound(spectrum), MOST_EXPECTED)
        inner = change.B.astype(M.operator.dtype).prepared(expected, execution)
    else:
        q = jacobi_recurrence(operator, change.scale, "auto")
    unit = change.unit / _taken_out(change.scale, spectrum)
    n_matvecs = operator.n_matvecs + change.B.n_matvecs
    counted = inner.recounted()
    counted.counter.add(n_matvecs)
    set_up = old.set_up._replace(
        watch=old.set_up.watch or change.norm == np.inf,
        discs=inner.gershgorin(),
        drift=old.set_up.drift * factor,
    )
    return Preconditioner(
        counted,
        q,
        PreconditionerReport(
            chosen,
            reason,
            (),
            n_matvecs,
            time.perf_counter() - begin,
            str(inner.backend.report) if q.degree else "",
        ),
        in_other_unit(spectrum, unit),
        scale=change.scale,
        dtype=operator.dtype,
        watch=set_up.watch,
        set_up=set_up,
    )
