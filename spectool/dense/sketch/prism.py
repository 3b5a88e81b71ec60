r"""PRISM: each step's coefficient is fitted to a sketch of the residual.

Source
    Yang, Wang, Balabanov, Erichson and Mahoney, PRISM, arXiv:2601.22137 (2026).
Deviations
    (1) Half as many thin products: see ``probes``. (2) The minimizer is found to rounding, not on a
    grid. (3) Where the theorem's hypothesis fails, the sketch shows a residual beyond 1, and the
    method stops with an error: [[0, -1], [1, 0]] would diverge. (4) The first residual is scaled by
    ``||M^2||_F^(1/2) >= ||M||_2``, M = I - R, whose product the step needs anyway.
Cost per iteration
    A step of ``sign.newton_schulz`` or ``sign.quintic`` and their like; ``1 + p d`` thin products.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import is_torch_array

from spectool._types import FloatArray
from spectool.dense.algebra import Tensor
from spectool.dense.iterations import find_kind
from spectool.dense.problems import Problem
from spectool.dense.run import Run
from spectool.dense.sketch.fit import (
    GRID,
    alpha_interval,
    degree_of_residual,
    minimizer,
    objective,
    step_values,
)
from spectool.dense.sketch.probes import beside, drawn, moments, upper_bound
from spectool.dense.steps import Kind, Step
from spectool.errors import InputError

__all__ = ["Prism", "in_units", "kind_of", "plain", "root_of"]

KINDS = {
    "sign": ("sign.newton_schulz", "sign.quintic"),
    "sqrt": ("sqrt.newton_schulz", "sqrt.quintic"),
    "inv": ("inv.newton_schulz", "inv.chebyshev"),
    "inverse_root": ("inverse_root.newton", "inverse_root.quadratic"),
}
"""Kinds of degree 1 and 2 by family: all multiply by ``g(M)``, ``M = I - R``."""

NEAR = 0.5
"""``||R||_F`` below which steps without a fit end."""


def kind_of(problem: Problem, degree: int) -> Kind:
    """Return the kind whose steps multiply by a polynomial of this degree.

    Raises InputError if there is none.
    """
    if problem.family not in KINDS:
        raise InputError(
            f"no polynomial iteration computes {problem.function}; compute inverse_root and "
            "multiply: A^(1/p) = A (A^(-1/p))^(p-1)."
        )
    return find_kind(KINDS[problem.family][degree - 1])


def root_of(problem: Problem) -> int:
    """Return p in ``R_+ = I - M g(M)^p``: 2 for the sign, too."""
    return {"sign": 2, "sqrt": 2, "inv": 1}.get(problem.family, problem.p)


@dataclass(frozen=True)
class Prism:
    """Steps ``X <- X g(R)`` with the last coefficient of g fitted to the residual.

    Parameters
    ----------
    degree : int
        Of g: 1 (cubic in X for signs) or 2 (quintic).
    n_sketch : int or None
        Vectors in the sketch; None for the exact fit, by ``1 + p d`` products.
    n_warm : int
        First steps that take the largest coefficient without a fit, while R is large.
    rescale : bool
        Whether the first step divides by a norm of M = I - R that comes with it; the published
        method does not.

    Raises
    ------
    InputError
        If the degree is not 1 or 2, or another number is out of range.

    References
    ----------
    .. [1] Yang, Wang, Balabanov, Erichson and Mahoney, arXiv:2601.22137 (2026).
    """

    degree: int = 2
    n_sketch: int | None = 5
    n_warm: int = 0
    rescale: bool = True

    def __post_init__(self) -> None:
        sized = self.n_sketch is None or self.n_sketch >= 1
        if self.degree not in (1, 2) or not sized or self.n_warm < 0:
            raise InputError(
                "Prism needs degree 1 or 2, n_sketch >= 1 or None, and n_warm >= 0; got "
                f"{self.degree!r}, {self.n_sketch!r} and {self.n_warm!r}."
            )

    @property
    def name(self) -> str:
        """Of the method, for reports."""
        return "prism"

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield the next step.

        Raises
        ------
        InputError
            If no polynomial iteration computes the function.
        BreakdownError
            If the residual has eigenvalues beyond 1: see the module.
        """
        kind, p = kind_of(run.problem, self.degree), root_of(run.problem)
        lower, upper = alpha_interval(p, self.degree)
        grid = np.linspace(lower, upper, GRID)
        S = drawn(run, self.n_sketch)
        for k in itertools.count():
            alpha: Tensor = upper
            unit = None if k or not self.rescale else upper_bound(run, p, self.degree)
            if k >= self.n_warm or _is_near(run):
                power = None if unit is None else unit**p
                gram = moments(run, S, degree_of_residual(p, self.degree), unit=power)
                alpha = minimizer(objective(gram, p, self.degree), grid)
            values = step_values(alpha, p, self.degree)
            if unit is not None:
                values = in_units(values, unit, p)
            yield kind.step(*(plain(value) for value in values))


def _is_near(run: Run) -> bool:
    """Return whether ``||R||_F < 1/2``, where the largest coefficient would delay convergence."""
    return float(run.residual_norms().max(initial=0.0)) * run.variables.X.shape[-1] ** 0.5 < NEAR


def in_units(values: tuple[Tensor, ...], unit: FloatArray, p: int) -> tuple[Tensor, ...]:
    """Return the values of a step that divides t by its unit first."""
    factors = [unit ** -(1.0 + k * p) for k in range(len(values))]
    return tuple(
        value * (factor if isinstance(value, float) else beside(factor, value))
        for value, factor in zip(values, factors, strict=True)
    )


def plain(values: Tensor) -> Tensor:
    """Return a float for a NumPy array without axes; others as they are."""
    return values if is_torch_array(values) or np.ndim(values) else float(values)
