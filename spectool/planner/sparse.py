"""``plan(A, task)``: what to run for a sparse task, with everything else that was considered.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025).
Cost
    The probe (24 products, twice as many for systems whose diagonal varies), laying A out (about 10
    more, where polynomials may pay), and a search within ``budget`` seconds; nothing for a matrix
    and task that were planned before.
"""

from __future__ import annotations

import time
from dataclasses import replace
from numbers import Real
from typing import Any, Final, NamedTuple

import numpy as np

from spectool._types import Rng
from spectool.backends.execution import alike
from spectool.errors import InputError, NotPositiveDefiniteError
from spectool.operators import Operator, as_operator, jacobi_scale
from spectool.planner.costs import operator_costs, rough_costs, single_costs
from spectool.planner.plan import Option, Plan, PlanCosts, fingerprint, recall, remember
from spectool.planner.precision import single_is_safe
from spectool.planner.products import SINGULAR, SMOOTH, eigen_options, function_options
from spectool.planner.simulate import VirtualOperator
from spectool.planner.systems import CgSpace, cg_options, unscaled_options
from spectool.planner.timing import timed_costs
from spectool.spectrum import Scaling, Spectrum, probe

__all__ = ["plan"]

TASKS: Final = ("solve", "eigs", *SMOOTH, *SINGULAR)
MILD = 100.0
"""Ratio of diagonal entries up to which A before scaling is probed: its condition is that or more.
"""
EXPECTED = 1000.0
"""Products per right-hand side that A is laid out for."""
TIMING_SHARE, LEAST_TIMED = 0.02, 2e-3
"""Share of a solve's seconds, and seconds, that timing its steps may take."""
LAYOUT = 40.0
"""Products that laying A out in single precision must be small beside."""
ENTRIES = 8
"""Entries per row that a spectrum alone is priced with."""


def plan(
    A: Any,
    task: str = "solve",
    *,
    rtol: float = 1e-8,
    n_rhs: int = 1,
    t: float = 1.0,
    k: int | None = None,
    max_memory: float | None = None,
    budget: float | None = None,
    n_iterations: int | None = None,
    cache: bool = True,
    rng: Rng = None,
) -> Plan:
    """Plan a sparse task: enumerate, search, and price by what operations cost on this machine.

    Parameters
    ----------
    A : sparse array, ndarray, LinearOperator or Spectrum, shape (n, n)
        Hermitian, positive definite for "solve" and functions singular at zero. For a `Spectrum`
        alone products are priced like those of a sparse matrix with 8 entries per row.
    task : str
        "solve" (conjugate gradients), "eigs" (the k smallest eigenpairs), or a function:
        "exp" "expm1" "sin" "cos" "sinh" "cosh" "sqrt" "invsqrt" "log" "inv".
    rtol : float
        Tolerance of the task.
    n_rhs : int
        Right-hand sides; one after the other for "solve", columns for functions.
    t : float
        Multiplies A inside functions.
    k : int, optional
        Eigenpairs for "eigs".
    max_memory : float, optional
        Bytes for the vectors of functions; 1 GiB.
    budget : float, optional
        Seconds for all of planning; without it the tree search gets 3% of the seconds that the
        best enumerated option is predicted to take, 1 at most.
    n_iterations : int, optional
        Iterations of the tree search instead of what is left of the budget; then the plan depends
        on A, rng and measured costs alone.
    cache : bool
        Whether to return the plan that was made before for this matrix and task, and to keep this
        one. Only matrices with stored entries have a fingerprint.
    rng : Generator, int or None
        Seeds probe and tree search.

    Returns
    -------
    Plan
        Pass it as ``plan=`` to `preconditioner`, `funm_multiply`, `matrix_function` or
        `spectral_filter`; ``print(plan)`` shows what was considered.

    Raises
    ------
    InputError
        If A is not Hermitian, the task unknown, or an option out of range.
    NotPositiveDefiniteError
        If a Ritz value is negative where A must be positive definite.

    Notes
    -----
    Cost: at most 24 matvecs for the probe, for "solve" another 24 where scaling changes A; where A
    is stored, the time of some 10 to lay it out, as verbs will; simulated CG on at most 2048 nodes;
    what the tree search is given. Counts are ratios to a simulated plain CG: right to ten per cent
    between options, to a factor of two by themselves.

    References
    ----------
    .. [1] Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025).

    Examples
    --------
    >>> import spectool as st
    >>> A = st.gallery.poisson((60, 60))
    >>> found = st.plan(A, "solve", n_iterations=20, cache=False, rng=271828)
    >>> M = st.preconditioner(A, plan=found)
    >>> st.Plan.from_json(found.to_json()).chosen.name == found.chosen.name
    True
    """
    begun = time.perf_counter()
    options = _checked(task, rtol, n_rhs, t, k, max_memory, budget, n_iterations)
    generator = np.random.default_rng(rng)
    subject = _subject(A, task, cache, options)
    if isinstance(subject, Plan):
        return subject
    spectrum = _probed(subject, task, generator)
    laid_out = _laid_out(subject, options)
    costs = _costs(subject, spectrum, laid_out)
    found_by, statistics = "enumeration", {"products": float(spectrum.n_matvecs)}
    candidates: list[Option]
    if task == "solve":
        safe = _single_is_safe(subject, spectrum)
        space = CgSpace(spectrum, costs, rtol, n_rhs, safe, subject.scaling, subject.unit)
        if laid_out is not None:
            space.costs = _timed(subject, space, laid_out)
        found = cg_options(
            space,
            scaled=subject.scaled,
            deadline=None if budget is None else begun + float(budget),
            rng=generator,
            n_tree=n_iterations,
        )
        candidates, found_by = found.options, found.found_by
        if subject.original is not None:
            own = None
            if subject.ratio <= MILD:
                own = probe(subject.original, rng=generator)
                statistics["products"] += float(subject.original.n_matvecs)
            candidates += unscaled_options(space, own, subject.ratio)
            candidates.sort(key=lambda option: option.seconds)
        statistics |= {"evaluated": float(found.evaluated), "tree_gain": found.tree_gain}
    elif task == "eigs":
        candidates = eigen_options(spectrum, costs, k=int(k or 0), rtol=rtol)
    else:
        candidates = function_options(
            task,
            spectrum,
            costs,
            rtol=rtol,
            t=t,
            n_columns=n_rhs,
            max_memory=float(options["max_memory"]),
            itemsize=subject.itemsize,
        )
    statistics.setdefault("evaluated", float(len(candidates)))
    statistics["seconds"] = time.perf_counter() - begun
    operator = subject.operator
    made = Plan(
        task,
        options,
        spectrum.n,
        subject.nnz,
        "float64" if operator is None else str(operator.dtype),
        subject.fingerprint,
        tuple(candidates),
        found_by,
        statistics,
    )
    if cache:
        remember(made)
    return made


class _Subject(NamedTuple):
    """What is planned for: an operator, scaled where it pays, or a spectrum alone.

    ``original`` is the operator before its entries were scaled, ``ratio`` that of its largest and
    smallest diagonal entries.
    """

    operator: Operator | None
    spectrum: Spectrum | None
    fingerprint: str
    scaled: bool
    original: Operator | None = None
    ratio: float = 1.0

    @property
    def scaling(self) -> Scaling:
        """How the operator, or that of the spectrum, is scaled."""
        if self.operator is None:
            assert self.spectrum is not None
            return self.spectrum.scaling
        return None if self.original is None else "symmetric"

    @property
    def unit(self) -> float | None:
        """The mean diagonal entry, if it is known."""
        if self.scaling is not None:
            return 1.0
        facts = None if self.operator is None else self.operator.row_facts()
        return None if facts is None else float(np.mean(facts.diagonal.real, dtype=np.float64))

    @property
    def nnz(self) -> int:
        if self.operator is not None:
            return int(self.operator.nnz)
        assert self.spectrum is not None
        return ENTRIES * self.spectrum.n

    @property
    def itemsize(self) -> int:
        return 8 if self.operator is None else self.operator.dtype.itemsize


def _checked(
    task: Any,
    rtol: Any,
    n_rhs: Any,
    t: Any,
    k: Any,
    max_memory: Any,
    budget: Any,
    n_iterations: Any,
) -> dict[str, Any]:
    """Return the options that matter for the task; raises InputError for a wrong one."""
    if task not in TASKS:
        raise InputError(f"task must be one of {', '.join(TASKS)}; got {task!r}.")
    if not (isinstance(rtol, Real) and 0 < float(rtol) < 1):
        raise InputError(f"rtol must lie in (0, 1); got {rtol!r}.")
    for name, value in {"n_rhs": n_rhs, "k": k, "n_iterations": n_iterations}.items():
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0
        if not (whole or (value is None and name != "n_rhs")):
            raise InputError(f"{name} must be a positive integer; got {value!r}.")
    for name, value in {"max_memory": max_memory, "budget": budget}.items():
        if value is not None and not (isinstance(value, Real) and float(value) > 0):
            raise InputError(f"{name} must be positive or None; got {value!r}.")
    if not (isinstance(t, Real) and np.isfinite(float(t))):
        raise InputError(f"t must be a finite real number; got {t!r}.")
    if (task == "eigs") != (k is not None):
        raise InputError(f"k belongs to task='eigs', which needs it; got {k!r} for {task!r}.")
    if t != 1.0 and task in ("solve", "eigs"):
        raise InputError(f"t belongs to functions; got {t!r} for {task!r}.")
    options: dict[str, Any] = {"rtol": float(rtol)}
    if task == "eigs":
        return options | {"k": int(k)}
    options["n_rhs"] = int(n_rhs)
    if task == "solve":
        return options
    memory = 2.0**30 if max_memory is None else float(max_memory)
    return options | {"t": float(t), "max_memory": memory}


def _subject(A: Any, task: str, cache: bool, options: dict[str, Any]) -> _Subject | Plan:
    """Return what is planned for, or the plan that was made before."""
    if isinstance(A, Spectrum):
        return _Subject(None, A, "", A.scaling is not None)
    operator = as_operator(A)
    mark = fingerprint(operator)
    if cache:
        known = recall(mark, task, options)
        if known is not None:
            return replace(known, statistics=known.statistics | {"kept": 1.0})
    if task == "solve":
        scale = jacobi_scale(operator)
        if scale is not None and np.ptp(scale) > 0:
            ratio = float(scale.max() / scale.min()) ** 2
            scaled = operator.scaled(scale)
            return _Subject(scaled, None, mark, True, operator.recounted(), ratio)
        return _Subject(operator, None, mark, scale is not None)
    return _Subject(operator, None, mark, False)


def _probed(subject: _Subject, task: str, rng: np.random.Generator) -> Spectrum:
    spectrum = subject.spectrum
    if spectrum is None:
        assert subject.operator is not None
        label: Scaling = "symmetric" if subject.scaled else None
        spectrum = probe(subject.operator, scaling=label, rng=rng)
    smallest = float(spectrum.ritz_values[0])
    size = float(np.abs(spectrum.ritz_values).max())
    if task not in ("eigs", *SMOOTH) and not (
        smallest > -1e3 * float(np.finfo(np.float64).eps) * size and size > 0
    ):
        raise NotPositiveDefiniteError(
            f"task={task!r} is planned for positive definite A, but A has the Ritz value "
            f"{smallest:.6g}. preconditioner(A) serves MINRES without a plan."
        )
    return spectrum


def _laid_out(subject: _Subject, options: dict[str, Any]) -> Operator | None:
    """Return A as verbs lay it out for the products expected; None where there is no A."""
    if subject.operator is None:
        return None
    return subject.operator.prepared(EXPECTED * options.get("n_rhs", 1))


def _costs(subject: _Subject, spectrum: Spectrum, laid_out: Operator | None) -> PlanCosts:
    """Price A by the machine's rates."""
    operator = subject.operator
    if operator is None or laid_out is None:
        double = rough_costs(spectrum.n, subject.nnz)
        return PlanCosts(double, double)
    double = operator_costs(operator, laid_out)
    if operator.backend.name != "cpu":
        return PlanCosts(double, double)
    return PlanCosts(double, single_costs(double, operator, laid_out.backend.report))


def _timed(subject: _Subject, space: CgSpace, laid_out: Operator) -> PlanCosts:
    """Return the costs with steps timed on A itself, for a share of the seconds of a solve."""
    operator, (double, single) = subject.operator, space.costs
    if operator is None or operator.backend.name != "cpu":
        return space.costs
    iterations = space.plain * space.n_rhs
    seconds = max(TIMING_SHARE * iterations * double.step_large, LEAST_TIMED)
    interval = space.spectrum.interval
    kind = operator.dtype
    if space.single and seconds > LAYOUT * double.product:
        seconds /= 2
        single = timed_costs(
            single,
            operator,
            operator.astype(np.float32).prepared(EXPECTED, alike(laid_out.backend.report)),
            interval,
            dtype=kind,
            seconds=seconds,
        )
    double = timed_costs(double, operator, laid_out, interval, dtype=kind, seconds=seconds)
    return PlanCosts(double, single)


def _single_is_safe(subject: _Subject, spectrum: Spectrum) -> bool:
    operator = subject.operator
    if operator is None or operator.backend.name != "cpu" or operator.dtype != np.float64:
        return False
    if not float(spectrum.ritz_values[0]) > 0:
        return False
    return single_is_safe(VirtualOperator.of(spectrum), operator.n)
