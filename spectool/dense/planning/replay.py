"""Runs a planned schedule on a small matrix, in its data type, and compares with what was foreseen.

Cost
    The steps at order ``ORDER``: milliseconds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import is_torch_array

from spectool._types import FloatArray
from spectool.dense.planning.aims import limit
from spectool.dense.planning.environment import IterationEnvironment
from spectool.dense.planning.spectra import Nodes
from spectool.dense.run import is_singular
from spectool.dense.steps import Step
from spectool.errors import BreakdownError

__all__ = ["replayed"]

ORDER = 96
"""Order of the matrix on which finalists are replayed."""
AGREEMENT = 3.0
"""How much larger than foreseen a replayed residual, or error, may be."""


def replayed(
    environment: IterationEnvironment, schedule: list[Step], dtype: str, rng: np.random.Generator
) -> bool:
    """Return whether a schedule does on a matrix, in the data type, what was foreseen."""
    problem = environment.problem
    a = _drawn(environment.nodes, ORDER)
    n = a.size
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    P = np.linalg.qr(rng.standard_normal((n, n)))[0] if problem.function == "polar" else Q
    A = (Q * a) @ P.T
    target = limit(problem, a)
    exact = (Q * (1.0 / target if problem.function == "invsqrt" else target)) @ P.T
    A = _in_type(A if problem.function == "polar" else 0.5 * (A + A.T), dtype)
    hermitian = problem.function != "polar"
    o = problem.algebra(A, hermitian=hermitian)
    with np.errstate(all="ignore"):
        try:
            v = problem.variables(o, A)
            for step in schedule:
                v = step(o, v)
            R = problem.residual(o, v)
        except (np.linalg.LinAlgError, RuntimeError, BreakdownError) as error:
            if not (is_singular(error) or isinstance(error, BreakdownError)):
                raise
            return False
        residual = float(o.norm(R))
    uncoupled = problem.family in ("sqrt", "root") and not v.coupled
    residual /= float(o.norm(A)) if uncoupled else math.sqrt(n)
    answer = np.asarray(_on_host(v.Y if problem.function == "invsqrt" else v.X), dtype=float)
    wrong = float(np.linalg.norm(answer - exact) / np.linalg.norm(exact))
    return bool(
        residual <= AGREEMENT * environment.granted
        and wrong <= AGREEMENT * max(environment.tolerated, environment.rtol)
    )


def _drawn(nodes: Nodes, n: int) -> FloatArray:
    """Return n values of the spectrum: both ends and quantiles."""
    if nodes.values.size <= n:
        counts = np.maximum(np.round(nodes.weights * n).astype(int), 1)
        return np.repeat(nodes.values, counts)
    cumulated = np.cumsum(nodes.weights)
    places = np.searchsorted(cumulated, (np.arange(n - 2) + 0.5) / (n - 2) * cumulated[-1])
    kept = np.minimum(places, nodes.values.size - 1)
    return np.sort(np.concatenate([nodes.values[[0, -1]], nodes.values[kept]]))


def _in_type(A: FloatArray, dtype: str) -> Any:
    if dtype in ("float32", "float64"):
        return A.astype(dtype)
    try:
        import torch
    except ImportError:  # numbers like these exist in torch only
        return A.astype(np.float32)
    return torch.asarray(A).to(dtype=getattr(torch, dtype))


def _on_host(X: Any) -> Any:
    return X.float().cpu().numpy() if is_torch_array(X) else X
