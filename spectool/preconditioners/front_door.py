"""``preconditioner(A)``: the one verb, which sends A to the designer that suits it.

Source
    Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 12.3.
"""

from __future__ import annotations

import time
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

from spectool._types import Array, Rng
from spectool.backends.execution import Execution
from spectool.errors import InputError
from spectool.operators import Operator, as_operator
from spectool.planner.plan import Option, Plan
from spectool.polynomials.chebyshev import checked_degree
from spectool.preconditioners.operator import Preconditioner
from spectool.preconditioners.polynomial import hermitian_preconditioner
from spectool.spectrum import Spectrum

if TYPE_CHECKING:
    from spectool.preconditioners.amg import AmgPreconditioner
    from spectool.preconditioners.block_jacobi import BlockJacobi
    from spectool.preconditioners.composed import ComposedPreconditioner
    from spectool.preconditioners.deflation import Deflation
    from spectool.preconditioners.general import GeneralPreconditioner

Method: TypeAlias = Literal[
    "auto",
    "none",
    "jacobi",
    "chebyshev",
    "chebyshev4",
    "least_squares",
    "minimax",
    "learned",
    "gmres_poly",
]
AnyPreconditioner: TypeAlias = Union[
    Preconditioner,
    "GeneralPreconditioner",
    "BlockJacobi",
    "AmgPreconditioner",
    "ComposedPreconditioner",
]
_METHODS = (
    "auto", "none", "jacobi", "chebyshev", "chebyshev4", "least_squares", "minimax", "learned",
    "gmres_poly",
)  # fmt: skip
_GENERAL = ("auto", "none", "jacobi", "gmres_poly")
_OVER_A_BASE = ("auto", "chebyshev", "chebyshev4")


def preconditioner(
    A: Any,
    *,
    degree: int | None = None,
    method: Method = "auto",
    scaling: Literal["auto", "symmetric"] | None = "auto",
    base: Any = None,
    precision: Literal["auto", "float64", "float32"] = "auto",
    spectrum: Spectrum | None = None,
    deflate: int | Array | None = None,
    assume_a: Literal["her", "pos", "gen"] | None = None,
    execution: Execution | None = None,
    plan: Plan | None = None,
    rng: Rng = None,
) -> AnyPreconditioner | Deflation:
    """Return a polynomial preconditioner ``M ~ inv(A)`` for CG, MINRES or GMRES.

    One probe measures the spectrum of ``D^-1/2 A D^-1/2``. From it a network chooses a design for
    each degree and predicts the iterations of CG (for indefinite A, and for probes unlike those of
    its training, designs are simulated); at this machine's costs the cheapest is returned, Jacobi
    if nothing promises to beat it. A that is not Hermitian gets the polynomial
    that GMRES makes of an equilibrated A. The result fits scipy's ``M=`` and pyamg's.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Positive definite (for CG), Hermitian indefinite (MINRES) or general (GMRES).
    degree : int, optional
        Products with A per application; chosen if None. Even degrees are safer (see Notes).
    method : {"auto", "none", "jacobi", "chebyshev", "chebyshev4", "least_squares", "minimax", \
"learned", "gmres_poly"}
        Forces a design: Chebyshev of the first kind, or of the optimal fourth kind (needs no lower
        end); least squares on the measured density, or minimax on the intervals that Ritz values
        suggest; what networks choose among sixteen designs, see ``spectool.learned``; the GMRES
        polynomial, which may be indefinite and is for GMRES only.
    scaling : {"auto", "symmetric", None}
        Symmetric Jacobi scaling; "auto" scales wherever A tells its diagonal.
    base : {"jacobi", "block_jacobi", "amg"}, LinearOperator, sparse array or ndarray, optional
        What the polynomial is built over, for positive definite A: its diagonal, its diagonal
        blocks, or a given B ~ inv(A), also positive definite. "amg" is a multigrid cycle whose
        smoothers are polynomials (needs pyamg). Jacobi by default.
    precision : {"auto", "float64", "float32"}
        Storage and arithmetic inside M; "auto" takes single precision where A is too large for
        the caches or measured rates promise a gain, and CG is predicted to lose no iteration.
    spectrum : Spectrum, optional
        A probe made before (``M.spectrum``, or ``estimate_spectrum``); saves the matvecs. It is
        checked against A during the first applications.
    deflate : int or ndarray, shape (n, k), optional
        Vectors near the eigenvectors of the smallest eigenvalues of M A, or how many to compute,
        for about the cost of a solve; pays over several right-hand sides. See
        ``solvers.CGSequence``, which finds them while it solves.
    assume_a : {"her", "pos", "gen"}, optional
        Declares A Hermitian, positive definite too, or general; otherwise symmetry is tested.
    execution : Execution, optional
        Forces format, blocking, threads or order of rows; chosen by measurement otherwise.
    plan : Plan, optional
        What `spectool.plan` chose for this A, or for one much like it: design, degree, precision
        and deflation; no probe is made. M is watched while it is used first.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    Preconditioner
        ``LinearOperator`` with ``recurrence``, ``report``, ``n_matvecs`` and ``refresh(A)``, which
        gives M for the next matrix of a sequence; Hermitian positive definite if A is Hermitian.
        Other bases, ``deflate`` and general A have classes of their own with the same ``report``,
        ``n_matvecs`` and ``refresh``.

    Raises
    ------
    InputError
        If A is not square and finite, or an option is unknown or does not go with the others.
    NotPositiveDefiniteError
        If a design that needs a positive definite A is forced on one that is not.
    BackendUnavailableError
        If ``base="amg"`` and pyamg is not installed.

    Warns
    -----
    SpectralBoundWarning
        During an application, if A turns out to have eigenvalues where M was not designed for
        them; M is mended, and the application redone.

    Notes
    -----
    Cost: at most 24 matvecs for the probe (64 for general A); where a polynomial may pay, the time
    of about 10 to lay A out for many products. One application takes ``degree`` matvecs and no
    reduction. CG is optimal per matvec, so M never saves matvecs (it takes 1.1 to 1.3 times as
    many); it saves reductions, by about the degree, and runs its matvecs in fused kernels.
    For even degree ``z q(z)`` stays positive beyond the upper end.

    References
    ----------
    .. [1] Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 12.3.
    .. [2] Lottes, Optimal polynomial smoothers for multigrid V-cycles, 2023.
    .. [3] Loe and Morgan, Toward efficient polynomial preconditioning for GMRES, 2022.

    Examples
    --------
    >>> import numpy as np, scipy.sparse.linalg as sla, spectool as st
    >>> A = st.gallery.poisson((40, 40))
    >>> M = st.preconditioner(A, method="chebyshev4", degree=8, rng=271828)
    >>> x, info = sla.cg(A, np.ones(1600), M=M, rtol=1e-8)
    >>> info, bool(np.linalg.norm(A @ x - 1.0) <= 1.1e-8 * 40)
    (0, True)
    """
    begin = time.perf_counter()
    _check_options(method, scaling, precision, spectrum, execution)
    if degree is not None:
        degree = checked_degree(degree)
    operator = as_operator(A, assume_a=assume_a, need_hermitian=False)
    M: AnyPreconditioner
    planned: Option | None = None
    if plan is not None:
        planned = _planned(plan, operator)
        _refuse(
            "plan=", degree=degree, method=method, base=base, precision=precision,
            spectrum=spectrum, deflate=deflate, scaling=scaling,
        )  # fmt: skip
        deflate, scaling = planned.action["deflate"] or None, planned.action["scaling"]
        if planned.recurrence is None:
            method = planned.action["method"]
    if not (base is None or (isinstance(base, str) and base == "jacobi")):
        _refuse("base", spectrum=spectrum, execution=execution, scaling=scaling)
        M = _over(base, A, operator, degree, method, precision, rng)
    elif operator.assume_a == "gen" or method == "gmres_poly":
        M = _general(operator, degree, method, scaling, precision, spectrum, execution, rng)
    else:
        M = hermitian_preconditioner(
            operator,
            degree=degree,
            method=method,
            scaling=scaling if base is None else "symmetric",
            precision=precision,
            spectrum=spectrum,
            execution=execution,
            rng=rng,
            begin=begin,
            planned=planned,
        )
    again = partial(
        preconditioner,
        degree=degree,
        method=method if planned is None else "auto",
        scaling=scaling,
        base=base,
        precision=precision,
        assume_a=assume_a,
        execution=execution,
    )
    _remember(M, again, assume_a)
    return M if deflate is None else _deflated(operator, M, deflate, rng)


def _planned(plan: Any, operator: Operator) -> Option:
    """Return the option of a plan; raises InputError if it does not fit A."""
    if not isinstance(plan, Plan):
        raise InputError(f"plan must be a Plan, as spectool.plan returns; got {plan!r}.")
    if operator.assume_a == "gen":
        raise InputError("plan is for a Hermitian A, and A is general; leave it out.")
    return plan.checked("solve", operator.n).chosen


def _remember(M: Any, again: partial[Any], assume_a: Any) -> None:
    """Let M be set up again by this door: A may be general next time."""
    if getattr(M, "set_up", None) is not None:
        M.set_up = M.set_up._replace(again=again, assume_a=assume_a)


def _check_options(
    method: Any, scaling: Any, precision: Any, spectrum: Any, execution: Any
) -> None:
    if method not in _METHODS:
        raise InputError(f"method must be one of {_METHODS}; got {method!r}.")
    if scaling not in ("auto", "symmetric", None):
        raise InputError(f"scaling must be 'auto', 'symmetric' or None; got {scaling!r}.")
    if precision not in ("auto", "float64", "float32"):
        raise InputError(f"precision must be 'auto', 'float64' or 'float32'; got {precision!r}.")
    if spectrum is not None and not isinstance(spectrum, Spectrum):
        raise InputError(f"spectrum must be a Spectrum; got {type(spectrum).__name__}.")
    if execution is not None and not isinstance(execution, Execution):
        raise InputError(
            f"execution must be an Execution or None; got {execution!r}. "
            "Write spectool.Execution(format='sell'), for example."
        )


def _refuse(what: str, **options: Any) -> None:
    """Raise InputError if an option that would have no effect was given."""
    for name, value in options.items():
        if value not in (None, "auto"):
            raise InputError(f"{name}={value!r} has no effect with {what}; leave one of them out.")


def _over(
    base: Any,
    A: Any,
    operator: Operator,
    degree: int | None,
    method: Any,
    precision: Any,
    rng: Rng,
) -> AnyPreconditioner:
    """Return the polynomial over a base; its modules are imported where they are used."""
    if operator.assume_a == "gen":
        raise InputError(f"base={base!r} needs a Hermitian A; leave it out for a general one.")
    if method not in _OVER_A_BASE:
        raise InputError(f"method must be one of {_OVER_A_BASE} with base=; got {method!r}.")
    if not isinstance(base, str):
        from spectool.preconditioners.composed import composed

        _refuse("base", precision=precision)
        return composed(operator, base, degree=degree, method=method, rng=rng)
    if base == "block_jacobi":
        from spectool.preconditioners.block_jacobi import block_jacobi

        return block_jacobi(operator, degree=degree, method=method, precision=precision, rng=rng)
    if base == "amg":
        from spectool.preconditioners.amg import DEGREE, amg

        _refuse("base='amg'", method=method)
        return amg(A, degree=DEGREE if degree is None else degree, precision=precision, rng=rng)
    raise InputError(
        f"base must be 'jacobi', 'block_jacobi', 'amg', an operator or None; got {base!r}."
    )


def _general(
    operator: Operator,
    degree: int | None,
    method: Any,
    scaling: Any,
    precision: Any,
    spectrum: Spectrum | None,
    execution: Execution | None,
    rng: Rng,
) -> GeneralPreconditioner:
    from spectool.preconditioners.general import general_preconditioner

    if method not in _GENERAL:
        raise InputError(
            f"A must be Hermitian for method={method!r}, and is not; use one of {_GENERAL}, or "
            "declare assume_a='her' if the difference is rounding."
        )
    what = "a general A" if method != "gmres_poly" else "method='gmres_poly'"
    _refuse(what, scaling=scaling, precision=precision, spectrum=spectrum)
    return general_preconditioner(
        operator, degree=degree, method=method, execution=execution, rng=rng
    )


def _deflated(operator: Operator, M: AnyPreconditioner, deflate: Any, rng: Rng) -> Deflation:
    from spectool.preconditioners.deflation import deflated, smallest_ritz_vectors

    if operator.assume_a == "gen":
        raise InputError("deflate= needs a Hermitian positive definite A; leave it out.")
    if isinstance(deflate, Integral):
        before = M.n_matvecs
        found = smallest_ritz_vectors(operator, int(deflate), M=M, rng=rng)
        inside = M.n_matvecs - before  # which M counts already
        return deflated(operator, M, found.vectors, spent=found.n_matvecs - inside)
    return deflated(operator, M, deflate)
