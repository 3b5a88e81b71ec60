"""Hermitian A: a positive definite polynomial M ~ inv(A), chosen by predicted seconds.

Source
    Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 12.3; Lottes (2023) for the
    optimal fourth kind.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from spectool._types import FloatArray, Interval, Rng
from spectool.backends.execution import Execution, alike
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.operators import Operator, jacobi_scale
from spectool.planner import VirtualOperator, operator_costs, single_costs
from spectool.planner.plan import Option
from spectool.planner.precision import single_is_safe
from spectool.polynomials import Recurrence
from spectool.preconditioners.indefinite import is_definite, select_for_minres
from spectool.preconditioners.operator import Preconditioner, SetUp
from spectool.preconditioners.selection import (
    MARGIN,
    WORTHWHILE,
    is_easy,
    iterations_bound,
    select,
)
from spectool.results import Candidate, PreconditionerReport
from spectool.spectrum import Scaling, Spectrum, probe

Method = Literal[
    "auto", "none", "jacobi", "chebyshev", "chebyshev4", "least_squares", "minimax", "learned"
]
SINGLE_FROM = 12 * 2**20
"""Bytes of a matrix from which single precision inside M is taken to pay: half as much has to come
from memory. Below, measured rates tell. Both only where it costs CG no iterations (`precision`)."""
PLANNED = 1_000.0
"""Products that a plan is laid out for, at least."""
MOST_EXPECTED = 2_000
"""Products that a solve is expected to need where the probe cannot tell."""


def hermitian_preconditioner(
    operator: Operator,
    *,
    degree: int | None = None,
    method: Method = "auto",
    scaling: Literal["auto", "symmetric"] | None = "auto",
    precision: Literal["auto", "float64", "float32"] = "auto",
    spectrum: Spectrum | None = None,
    execution: Execution | None = None,
    rng: Rng = None,
    begin: float | None = None,
    planned: Option | None = None,
) -> Preconditioner:
    """Return a positive definite polynomial ``M ~ inv(A)`` of a Hermitian A.

    The arguments, costs and errors are those of `preconditioner`, which validates them; ``begin``
    is when set-up began, ``planned`` a design in place of all others.
    """
    begin = time.perf_counter() if begin is None else begin
    again = partial(
        hermitian_preconditioner,
        degree=degree,
        method=method,
        scaling=scaling,
        precision=precision,
        execution=execution,
    )
    scale = None if method == "none" else _scale(operator, scaling, spectrum)
    # A bound that did not come from these products may be wrong: it is watched at run time.
    watch = spectrum is not None or planned is not None or operator.row_facts() is None

    def finish(
        recurrence: Recurrence,
        chosen: str,
        reason: str,
        candidates: tuple[Candidate, ...] = (),
        inner: Inner | None = None,
    ) -> Preconditioner:
        counters = {operator.counter, scaled.counter}
        if inner is not None:
            counters.add(inner.operator.counter)
        n_matvecs = sum(counter.value for counter in counters)
        inner = inner or Inner(operator, scale, 1.0)
        report = PreconditionerReport(
            chosen,
            reason,
            candidates,
            n_matvecs,
            time.perf_counter() - begin,
            str(inner.operator.backend.report) if recurrence.degree else "",
        )
        if inner.unit != 1.0:
            recurrence = recurrence.in_unit(1.0 / inner.unit)
        counted = inner.operator.recounted()
        counted.counter.add(n_matvecs)
        discs = inner.operator.gershgorin()
        set_up = SetUp(again, method == "auto" and degree is None, execution, watch, discs)
        return Preconditioner(
            counted,
            recurrence,
            report,
            spectrum,
            scale=inner.scale,
            dtype=operator.dtype,
            watch=watch,
            set_up=set_up,
        )

    scaled = operator  # until it is needed
    free = method == "auto" and degree is None
    plain = "Jacobi" if scale is not None else "identity"
    jacobi = jacobi_recurrence(operator, scale, method)
    if method in ("none", "jacobi") or (method == "auto" and degree == 0):
        if method == "jacobi" and scale is None and _constant(operator) is None:
            raise InputError(
                "method='jacobi' needs A's diagonal, and a LinearOperator does not tell it; "
                "pass a sparse array, or method='chebyshev'."
            )
        return finish(jacobi, plain, "as asked")
    if planned is not None and planned.recurrence is not None:
        q = _in_unit(planned.recurrence, planned.action["unit"], operator, scale)
        if indefinite := bad_diagonal(operator):
            raise NotPositiveDefiniteError(f"plan is for a positive definite A, but {indefinite}")
        scaled = operator.recounted() if scale is None else operator.scaled(scale)
        kind = np.dtype(np.float32 if planned.counts.single else operator.dtype)
        expected = max(planned.counts.matvecs, PLANNED)
        inner = lay_out(scaled, scale, q.interval, expected, kind, execution)
        return finish(q, planned.name, "as planned", inner=inner)
    exact = scale is not None or _constant(operator) is not None
    if free and exact and _is_diagonal(operator):
        return finish(jacobi, plain, "A is diagonal, so M is its inverse")
    indefinite = bad_diagonal(operator)
    iteration = operator_costs(operator).cg_iteration(0)
    if free and spectrum is None and operator.n * iteration <= WORTHWHILE:
        if indefinite:
            return finish(jacobi, f"|{plain}|", indefinite)
        return finish(jacobi, plain, "A is too small to be worth a probe")
    scaled = operator.recounted() if scale is None else operator.scaled(scale)
    given = spectrum is not None
    if spectrum is None:
        label: Scaling = None if scale is None else "symmetric"
        enough = partial(is_easy, iteration) if free and not indefinite else None
        spectrum = probe(scaled, scaling=label, rng=rng, enough=enough)
    indefinite = indefinite or bad_ritz_value(operator, spectrum, given=given)
    if indefinite and method != "auto":
        raise NotPositiveDefiniteError(
            f"method={method!r} needs a positive definite A, but {indefinite} "
            "Use method='auto', whose M is positive definite all the same, with minres."
        )
    if indefinite and is_definite(spectrum):  # negative definite, or zero
        if degree:
            raise NotPositiveDefiniteError(
                f"degree={degree} needs an A with positive eigenvalues, but {indefinite} "
                "Pass -A and negate the solution, or leave degree out."
            )
        return finish(jacobi, f"|{plain}|", indefinite)
    if free and not indefinite and (most := iterations_bound(spectrum)) * iteration <= WORTHWHILE:
        return finish(jacobi, plain, f"CG takes at most {most:.0f} iterations as it is")
    if degree == 0:
        return finish(jacobi, plain, "as asked")
    virtual = None if indefinite else VirtualOperator.of(spectrum)
    if free and virtual is not None:
        # CG ends within n iterations, rounding apart.
        expected = min(virtual.plain_iterations, operator.n) * iteration
        if expected <= WORTHWHILE:
            return finish(jacobi, plain, f"predicted {expected:.2g} s for CG leave little to gain")
    kind = _inner_dtype(precision, operator, virtual)
    expected = min(iterations_bound(spectrum), MOST_EXPECTED)
    inner = lay_out(scaled, scale, spectrum.interval, expected, kind, execution)
    costs = operator_costs(scaled, inner.operator)
    if virtual is None:
        choice = select_for_minres(costs, spectrum, degree, jacobi, f"|{plain}|", indefinite)
        return finish(*choice[:4], inner if choice.recurrence.degree else None)
    choice = select(costs, spectrum, virtual, method, degree, jacobi, plain)
    if free and precision == "auto" and _may_be_single(inner, virtual):
        report = inner.operator.backend.report
        cheap = single_costs(costs, scaled, report)
        single = select(cheap, spectrum, virtual, method, degree, jacobi, plain)
        if single.recurrence.degree and single.seconds <= MARGIN * choice.seconds:
            inner = lay_out(
                scaled, scale, spectrum.interval, expected, np.float32, execution or alike(report)
            )
            share = single.seconds / choice.seconds
            reason = f"{single.reason}, in single precision {share:.0%} of the time in double"
            choice = single._replace(reason=reason)
    return finish(*choice[:4], inner if choice.recurrence.degree else None)


def _in_unit(
    q: Recurrence, unit: float | None, operator: Operator, scale: FloatArray | None
) -> Recurrence:
    """Return a planned polynomial in the unit of this A: that in which its diagonal averages."""
    facts = operator.row_facts()
    if unit is None or facts is None or scale is not None:
        return q
    ratio = float(np.mean(facts.diagonal.real, dtype=np.float64)) / unit
    return q if ratio == 1.0 or not ratio > 0 else q.in_unit(ratio)


class Inner(NamedTuple):
    """What the recurrence runs over: ``S A S`` laid out, S, and the unit of A taken out by S."""

    operator: Operator
    scale: FloatArray | None
    unit: float


def lay_out(
    scaled: Operator,
    scale: FloatArray | None,
    interval: Interval,
    expected: float,
    kind: Any,
    execution: Execution | None,
) -> Inner:
    """Return ``S A S`` in the precision ``kind``, laid out for the products expected."""
    unit = 1.0
    if scale is None and np.finfo(kind).bits < np.finfo(scaled.dtype).bits:
        # Entries in the unit of A may leave the range of single precision: S = I / sqrt(unit).
        # A given spectrum may be in another unit, so discs go first.
        unit = max(abs(end) for end in scaled.gershgorin() or interval)
        scale = np.full(scaled.n, 1.0 / np.sqrt(unit))
        scaled = scaled.scaled(scale)
    return Inner(scaled.astype(kind).prepared(expected, execution), scale, unit)


def _inner_dtype(
    precision: str, operator: Operator, virtual: VirtualOperator | None
) -> np.dtype[Any]:
    """Return the dtype of storage and arithmetic inside M, as far as sizes tell it."""
    dtype = operator.dtype
    single = precision == "float32"
    if precision == "auto":
        n_bytes = operator.nnz * (dtype.itemsize + 4)
        if operator.backend.name != "cpu" or n_bytes < SINGLE_FROM:
            return dtype
        single = virtual is None or single_is_safe(virtual, operator.n)
        if not single:
            return dtype
    if dtype.kind == "c":
        return np.dtype(np.complex64 if single else np.complex128)
    return np.dtype(np.float32 if single else np.float64)


def _may_be_single(inner: Inner, virtual: VirtualOperator) -> bool:
    """Whether the double precision chosen for its size may be given up if single is faster."""
    operator = inner.operator
    stored = operator.backend.name == "cpu" and operator.dtype == np.float64
    return stored and single_is_safe(virtual, operator.n)


def _scale(operator: Operator, scaling: Any, spectrum: Spectrum | None) -> FloatArray | None:
    """Choose S, or None for the identity."""
    if spectrum is not None:
        if spectrum.n != operator.n:
            raise InputError(f"spectrum is of size {spectrum.n}, A of size {operator.n}.")
        if scaling != "auto" and scaling != spectrum.scaling:
            raise InputError(
                f"scaling={scaling!r} but the given spectrum was probed with "
                f"scaling={spectrum.scaling!r}; leave scaling='auto'."
            )
        scaling = spectrum.scaling
    if scaling is None:
        return None
    scale = jacobi_scale(operator)
    if scale is None and scaling == "symmetric":
        raise InputError("scaling='symmetric' needs A's diagonal; pass a sparse array.")
    if scaling == "auto" and scale is not None and np.ptp(scale) == 0:
        return None  # a multiple of the identity: nothing to scale, nothing to copy
    return scale


def _constant(operator: Operator) -> float | None:
    """Return the modulus of a constant nonzero diagonal, else None."""
    facts = operator.row_facts()
    if facts is None:
        return None
    modulus = np.abs(facts.diagonal)
    return float(modulus[0]) if np.ptp(modulus) == 0 and modulus[0] > 0 else None


def jacobi_recurrence(operator: Operator, scale: FloatArray | None, method: str) -> Recurrence:
    """Degree 0: ``S 1 S`` is Jacobi; without S the constant diagonal, or the identity."""
    value = 1.0
    if scale is None and method != "none":
        value = 1.0 / (_constant(operator) or 1.0)
    none = np.empty(0)
    return Recurrence(none, none, none, np.array([value]), (0.0, 2.0 / value), "degree 0")


def _is_diagonal(operator: Operator) -> bool:
    facts = operator.row_facts()
    return facts is not None and not facts.radius.any() and bool((facts.diagonal.real > 0).all())


def bad_diagonal(operator: Operator) -> str:
    """Say why the diagonal shows that A is not positive definite, or nothing."""
    facts = operator.row_facts()
    if facts is None:
        return ""
    diagonal = facts.diagonal.real
    if not (diagonal.any() or facts.radius.any()):
        return "A is zero."
    # An empty row is an eigenvalue zero: A may be semidefinite.
    bad = np.flatnonzero((diagonal < 0) | ((diagonal == 0) & (facts.radius > 0)))
    if not bad.size:
        return ""
    i = int(bad[diagonal[bad].argmin()])
    return f"A is not positive definite: a[{i}, {i}] = {diagonal[i]:.6g}."


def bad_ritz_value(operator: Operator, spectrum: Spectrum, *, given: bool) -> str:
    """Say why a probe, or the spectrum given, shows that A is not definite, or nothing."""
    smallest = float(spectrum.ritz_values[0])
    size = float(np.abs(spectrum.ritz_values).max())
    if size == 0:
        return "A is zero."
    if smallest < -1e3 * float(np.finfo(operator.dtype).eps) * size:
        owner = "the given spectrum" if given else "it"
        return f"A is not positive definite: {owner} has the Ritz value {smallest:.6g}."
    return ""
