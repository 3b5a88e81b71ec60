"""Direct methods as steps: eigenvalues, singular values, LU, Cholesky; and free changes of scale.

A plan may end with one of them, or be nothing else. They run on matrices only.

Source
    Higham, Functions of Matrices, SIAM 2008, chapters 4 to 8.
Cost
    See ``Decomposition.price``; a change of scale costs O(n^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spectool.dense.algebra import Algebra, Coefficient, MatrixAlgebra
from spectool.dense.costs import Costs
from spectool.dense.lapack import direct
from spectool.dense.problems import Problem, power
from spectool.dense.steps import Kind, Parameter, Stability, Variables

__all__ = ["DECOMPOSITIONS", "SCALINGS", "Decomposition", "decompositions", "scaled_start"]

FASTEST = 99
"""Order of convergence that stands for a direct method."""


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition:
    """A direct method.

    Attributes
    ----------
    kind : Kind
        As a step.
    functions : tuple of str
        What it computes.
    price : callable
        ``price(costs, pair)``; infinite where it is not offered.
    definite : bool
        Whether it needs a positive definite matrix.
    squared : bool
        Whether its error grows with the square of the condition number of X.
    anywhere : bool
        Whether it goes on from any X, and not from the start only.
    """

    kind: Kind
    functions: tuple[str, ...]
    price: Callable[[Costs, bool], float]
    definite: bool = False
    squared: bool = False
    anywhere: bool = False


def _stacked(o: Algebra, problem: Problem, M: Any, *, definite: bool = False) -> Any:
    if not isinstance(o, MatrixAlgebra):
        return M
    hermitian = problem.function != "polar" and (definite or o.hermitian)
    single = M.ndim == 2
    A = M[None, ...] if single else o.xp.reshape(M, (-1, *M.shape[-2:]))
    X = direct(problem, A, hermitian=hermitian, definite=definite).X
    return X[0] if single else o.xp.reshape(X, M.shape)


def _sign(o: Algebra, v: Variables) -> Variables:
    """Sign of X: that of A."""
    return v._replace(X=_stacked(o, Problem("sign"), v.X))


def _polar(o: Algebra, v: Variables) -> Variables:
    """Polar factor of X: that of A."""
    return v._replace(X=_stacked(o, Problem("polar"), v.X))


def _gram(o: Algebra, v: Variables) -> Variables:
    """``X (X^H X)^(-1/2)`` by an eigendecomposition: for well conditioned X."""
    S = o.square(v.X)
    return v._replace(X=o.multiply(v.X, _stacked_hermitian(o, Problem("invsqrt", 2), S)))


def _stacked_hermitian(o: Algebra, problem: Problem, S: Any) -> Any:
    if not isinstance(o, MatrixAlgebra):
        return S
    return _stacked(MatrixAlgebra(S, hermitian=True), problem, S)


def _inverse(o: Algebra, v: Variables) -> Variables:
    return v._replace(X=_stacked(o, Problem("inv"), v.A))


def _cholesky(o: Algebra, v: Variables) -> Variables:
    return v._replace(X=_stacked(o, Problem("inv"), v.A, definite=True))


def _root(o: Algebra, v: Variables) -> Variables:
    return v._replace(X=_stacked(o, Problem("root", v.p), v.A), Y=None)


def _both_roots(o: Algebra, v: Variables) -> Variables:
    Y = _stacked(o, Problem("inverse_root", v.p), v.A)
    return v._replace(X=o.multiply(v.A, Y), Y=Y)


def _inverse_root(o: Algebra, v: Variables) -> Variables:
    """``Y = X^p A`` belongs to the residual."""
    X = _stacked(o, Problem("inverse_root", v.p), v.A)
    return v._replace(X=X, Y=o.multiply(power(o, X, v.p), v.A))


def _kind(name: str, function: str, rule: Any) -> Kind:
    return Kind(name, function, rule, (), FASTEST, Stability.STABLE, "LAPACK")


DECOMPOSITIONS = (
    Decomposition(
        _kind("sign.eigh", "sign", _sign),
        ("sign",),
        lambda costs, pair: costs.eigh + costs.product,  # noqa: ARG005
        anywhere=True,
    ),
    Decomposition(
        _kind("polar.svd", "sign", _polar),
        ("polar",),
        lambda costs, pair: costs.svd + costs.tall_product,  # noqa: ARG005
        anywhere=True,
    ),
    Decomposition(
        _kind("polar.gram", "sign", _gram),
        ("polar",),
        lambda costs, pair: costs.eigh + costs.product + 2 * costs.tall_product,  # noqa: ARG005
        squared=True,
        anywhere=True,
    ),
    Decomposition(
        _kind("inv.lu", "inv", _inverse),
        ("inv",),
        lambda costs, pair: costs.inverse,  # noqa: ARG005
    ),
    Decomposition(
        _kind("inv.cholesky", "inv", _cholesky),
        ("inv",),
        lambda costs, pair: costs.cholesky,  # noqa: ARG005
        definite=True,
    ),
    Decomposition(
        _kind("sqrt.eigh", "sqrt", _root),
        ("sqrt",),
        lambda costs, pair: math.inf if pair else costs.eigh + costs.product,
        definite=True,
    ),
    Decomposition(
        _kind("sqrt.eigh_pair", "sqrt", _both_roots),
        ("sqrt", "invsqrt"),
        lambda costs, pair: costs.eigh + (2 if pair else 1) * costs.product,
        definite=True,
    ),
    Decomposition(
        _kind("root.eigh", "root", _root),
        ("root",),
        lambda costs, pair: costs.eigh + costs.product,  # noqa: ARG005
        definite=True,
    ),
    Decomposition(
        _kind("inverse_root.eigh", "inverse_root", _inverse_root),
        ("inverse_root",),
        lambda costs, pair: costs.eigh + costs.product,  # noqa: ARG005
        definite=True,
    ),
)
"""All direct methods."""


def decompositions(
    problem: Problem, costs: Costs, *, definite: bool, pair: bool
) -> dict[str, tuple[Decomposition, float]]:
    """Return the direct methods that serve, with their prices, by the names of their kinds."""
    found = {}
    for one in DECOMPOSITIONS:
        price = one.price(costs, pair)
        # The pair alone serves the single root too, but costs a product more.
        spare = one.kind.name == "sqrt.eigh_pair" and problem.function == "sqrt" and not pair
        if problem.function in one.functions and definite >= one.definite and not spare:
            found[one.kind.name] = (one, price)
    return {name: entry for name, entry in found.items() if math.isfinite(entry[1])}


def _scale_x(o: Algebra, v: Variables, s: Coefficient) -> Variables:
    """``X <- s X``."""
    return v._replace(X=o.combine((s, v.X)))


def _scale_both(o: Algebra, v: Variables, s: Coefficient) -> Variables:
    """``X <- s X``, ``Y <- s Y``: keeps ``X = A Y``."""
    return v._replace(X=o.combine((s, v.X)), Y=o.combine((s, v.Y)))


def _scale_root(o: Algebra, v: Variables, s: Coefficient) -> Variables:
    """``X <- s X``, ``Y <- s^-p Y``: keeps ``Y = A X^-p``."""
    return v._replace(X=o.combine((s, v.X)), Y=o.combine((s**-v.p, v.Y)))


def _scale_inverse_root(o: Algebra, v: Variables, s: Coefficient) -> Variables:
    """``X <- s X``, ``Y <- s^p Y``: keeps ``Y = X^p A``."""
    return v._replace(X=o.combine((s, v.X)), Y=o.combine((s**v.p, v.Y)))


def _identity_start(o: Algebra, v: Variables) -> Variables:
    """``X <- I``, where A is positive definite with eigenvalues below 1."""
    return v._replace(X=o.identity(v.A))


def _scaling(family: str, rule: Any, *, coupled: bool) -> Kind:
    parameter = Parameter("s", 1.0, 1e-3, 1e3, log=True)
    return Kind(
        f"{family}.scale", family, rule, (parameter,), 1, Stability.STABLE, "", coupled=coupled
    )


SCALINGS = {
    "sign": _scaling("sign", _scale_x, coupled=False),
    "inv": _scaling("inv", _scale_x, coupled=False),
    "sqrt": _scaling("sqrt", _scale_both, coupled=True),
    "root": _scaling("root", _scale_root, coupled=True),
    "inverse_root": _scaling("inverse_root", _scale_inverse_root, coupled=True),
}
"""Changes of scale by the family of problems."""
IDENTITY_START = Kind(
    "inv.identity", "inv", _identity_start, (), 1, Stability.STABLE, "Schulz 1933"
)


def scaled_start(problem: Problem, s: Any, *, identity: bool = False) -> tuple[str, Any]:
    """Return the change of scale of the start that has the effect of scaling A by s.

    Parameters
    ----------
    problem : Problem
        The function.
    s : float or ndarray
        Factor, or one per matrix.
    identity : bool
        Whether an inverse starts from I.

    Returns
    -------
    tuple of str and float or ndarray
        Name of the kind, and its value.
    """
    exponents = {"sign": 1.0, "inv": 1.0 if identity else 2.0, "sqrt": 0.5}
    exponent = exponents.get(problem.family)
    if exponent is None:
        exponent = (1.0 if problem.family == "inverse_root" else -1.0) / problem.p
    return SCALINGS[problem.family].name, s**exponent
