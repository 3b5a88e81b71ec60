"""Polar factors by steps that are fitted to each matrix, cut to a fixed number of them.

Source
    ``dense.sketch``.
Deviations
    Best steps are made for what follows: after one that was made for ``[l, u]``, values lie in
    ``[l', 2 - l']``, up to twice too large where l is small. Where a number of steps is given, the
    last one is made for what it finds, and for values from 0.3 times the largest on: none comes
    out above 1.11.
Cost
    That of the steps and their sketches; each looks at numbers on the host.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spectool._types import Rng
from spectool.dense.algebra import MatrixAlgebra, Tensor
from spectool.dense.coefficients import optimal_quintic
from spectool.dense.iterations.sign import QUINTIC
from spectool.dense.problems import Problem
from spectool.dense.run import Method, Run, iterate
from spectool.dense.sketch import KrylovMinimax, Prism
from spectool.dense.steps import Step, Variables
from spectool.errors import ConvergenceWarning
from spectool.results import Status

__all__ = ["fitted"]

LAST = 0.3
"""Smallest value, relative to the largest, that the last step of kpe brings to 1."""


def fitted(
    X: Tensor, method: str, maxiter: int, rtol: float | None, rng: Rng, safety: float
) -> Tensor:
    """Return X after the steps of prism or kpe, all maxiter of them if there is no rtol.

    Parameters
    ----------
    X : Tensor, shape (m, n) or (k, m, n)
        Of norm at most 1, m >= n.
    method : str
        ``"prism"`` or ``"kpe"``.
    maxiter : int
        Most steps.
    rtol : float or None
        For ``||I - X^H X||_F / sqrt(n)``; a ConvergenceWarning says if it is missed.
    rng : Generator, int or None
        Draws the sketches.
    safety : float
        By what norms are taken larger.
    """
    chooses: Method = Prism() if method == "prism" else KrylovMinimax()
    if rtol is None and method == "kpe":
        chooses = _Cut(chooses, maxiter, safety)
    algebra = MatrixAlgebra(X, adjoint=True)
    start = Variables(X, None, X)
    run = Run(Problem("polar"), algebra, start, np.random.default_rng(rng))
    status = iterate(run, chooses, rtol=rtol or 0.0, maxiter=maxiter)
    if rtol is not None and status is not Status.CONVERGED:
        warnings.warn(
            f"orthogonalize missed rtol={rtol:g} after {len(run.taken)} steps: "
            f"{run.history[-1]:.1e}. G may not have full rank, or its data type too few digits.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return run.variables.X


@dataclass(frozen=True)
class _Cut:
    """A method's first steps, and a last one that leaves no value far above 1.

    Best steps are made for what follows: before the last one, values lie in ``[l, 2 - l]``.
    """

    method: Method
    n_steps: int
    safety: float

    @property
    def name(self) -> str:
        """The method's."""
        return self.method.name

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield the next step."""
        if self.n_steps > 1:
            for step in self.method.steps(run):
                yield step
                if len(run.taken) == self.n_steps - 1:
                    break
        o, S = run.algebra, run.algebra.square(run.variables.X)
        bound = o.norm(o.multiply(S, S)).double().cpu().numpy() ** 0.25
        upper = np.where(bound > 0, bound, 1.0) * (1.0 + self.safety)
        spread = run.residual_norms() * S.shape[-1] ** 0.5
        lower = np.maximum(np.maximum(1.0 - spread, 0.0) ** 0.5, LAST * upper)
        ends = zip(lower.ravel(), np.maximum(upper, lower).ravel(), strict=True)
        values = np.array([optimal_quintic(float(low), float(high)) for low, high in ends])
        yield QUINTIC.step(*values.T.reshape(3, *upper.shape))
