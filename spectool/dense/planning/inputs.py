"""What a plan is made for: spectra, samples, or one matrix, in checked form."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, is_torch_array

from spectool.dense.planning.spectra import Nodes, sampled_nodes, sketched_nodes
from spectool.dense.problems import Problem
from spectool.errors import InputError

__all__ = ["check_domain", "given_nodes"]


def given_nodes(problem: Problem, given: Any, rng: np.random.Generator) -> tuple[Nodes, Any, str]:
    """Return the nodes, and data type and device of what was given."""
    if isinstance(given, Nodes):
        return given, "float64", "cpu"
    if not is_torch_array(given) and not is_numpy_array(given):
        given = list(given)
        if given and all(np.ndim(one) == 0 for one in given):
            given = np.asarray(given)
        elif given and np.ndim(given[0]) == 1:
            given = np.asarray(given, dtype=np.float64)
    if isinstance(given, list):
        if not given:
            raise InputError("samples_or_spectrum is empty; give matrices or eigenvalues.")
        return sampled_nodes(problem, given), given[0].dtype, _device(given[0])
    if given.ndim == 1:
        values = np.asarray(given.cpu() if is_torch_array(given) else given)
        values = np.abs(values) if problem.function == "polar" else values
        return Nodes.of_values(values), "float64", "cpu"
    if given.ndim == 3:
        return sampled_nodes(problem, list(given)), _floating(given), _device(given)
    if given.ndim != 2 or 0 in given.shape:
        raise InputError(
            "samples_or_spectrum must be eigenvalues (k,), a matrix (m, n) or samples (k, m, n), "
            f"none of them empty; got shape {tuple(given.shape)}."
        )
    A = given if is_torch_array(given) else given.astype(_floating(given))
    xp = array_namespace(A)
    if not bool(xp.all(xp.isfinite(A))):
        raise InputError("the matrix must be finite; it has entries that are NaN or infinite.")
    largest = float(xp.max(xp.abs(A)))
    if largest == 0.0:
        raise InputError("the matrix is zero; there is nothing to plan for.")
    half = xp.finfo(A.dtype).bits < 32
    wide = (xp.astype(A, xp.float32) if half else A) / largest
    wide = xp.matrix_transpose(wide) if A.shape[0] < A.shape[1] else wide
    return sketched_nodes(problem, wide, rng=rng), A.dtype, _device(given)


def _floating(given: Any) -> Any:
    if is_torch_array(given):
        return given.dtype
    return given.dtype if given.dtype.kind in "fc" and given.dtype.itemsize >= 4 else np.float64


def _device(given: Any) -> str:
    if not is_torch_array(given):
        return "cpu"
    return "torch" if given.device.type == "cpu" else str(given.device)


def check_domain(problem: Problem, nodes: Nodes) -> None:
    """Raise InputError where the function does not exist on the spectrum."""
    values = nodes.values
    if problem.function in ("polar", "inv", "sign"):
        if nodes.smallest == 0.0:
            raise InputError(
                f"the spectrum must not hold 0 for {problem.function}; leave it out, or shift it."
            )
    elif not (values > 0).all():
        raise InputError(
            f"eigenvalues must be positive for {problem.function}; the least is "
            f"{float(values.min()):.3g}."
        )
