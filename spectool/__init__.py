"""Matrix polynomials for large sparse operators.

One spectral probe measures A, coarsely; a designer turns it into a recurrence; a kernel
executes it; you get scipy ``LinearOperator`` objects. Names are loaded on first use, so that
``import spectool`` costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Execution": "spectool.backends.execution",
    "FunctionSolution": "spectool.results",
    "IterationResult": "spectool.results",
    "LinearSolution": "spectool.results",
    "Plan": "spectool.planner.plan",
    "Recurrence": "spectool.polynomials",
    "Spectrum": "spectool.spectrum",
    "cg": "spectool.solvers",
    "estimate_spectrum": "spectool.spectrum",
    "expm_multiply": "spectool.functions",
    "funm_multiply": "spectool.functions",
    "gmres": "spectool.solvers",
    "logdet": "spectool.functions",
    "matrix_function": "spectool.functions",
    "minres": "spectool.solvers",
    "plan": "spectool.planner.sparse",
    "preconditioner": "spectool.preconditioners",
    "sample_gaussian": "spectool.functions",
    "spectral_filter": "spectool.eigen",
    "trace_funm": "spectool.functions",
    "TraceEstimate": "spectool.functions",
}
_MODULES = (
    "collection",
    "dense",
    "errors",
    "gallery",
    "learned",
    "plotting",
    "polynomials",
    "preconditioners",
    "solvers",
)
_OPTIONAL = ("torch",)
"""Modules that need an extra: loaded as attributes, not part of ``__all__``."""

__all__ = [  # noqa: RUF022 - grouped as a reader meets them
    "estimate_spectrum",
    "preconditioner",
    "cg",
    "minres",
    "gmres",
    "funm_multiply",
    "expm_multiply",
    "matrix_function",
    "sample_gaussian",
    "trace_funm",
    "logdet",
    "spectral_filter",
    "plan",
    "Execution",
    "FunctionSolution",
    "IterationResult",
    "LinearSolution",
    "Plan",
    "Recurrence",
    "Spectrum",
    "TraceEstimate",
    "collection",
    "dense",
    "errors",
    "gallery",
    "learned",
    "plotting",
    "polynomials",
    "preconditioners",
    "solvers",
]

if TYPE_CHECKING:
    from spectool import (
        collection,
        dense,
        errors,
        gallery,
        learned,
        plotting,
        polynomials,
        preconditioners,
        solvers,
    )
    from spectool.backends.execution import Execution
    from spectool.eigen import spectral_filter
    from spectool.functions import (
        TraceEstimate,
        funm_multiply,
        logdet,
        matrix_function,
        sample_gaussian,
        trace_funm,
    )
    from spectool.functions.expm_multiply import expm_multiply
    from spectool.planner.plan import Plan
    from spectool.planner.sparse import plan
    from spectool.polynomials import Recurrence
    from spectool.preconditioners import preconditioner
    from spectool.results import FunctionSolution, IterationResult, LinearSolution
    from spectool.solvers import cg, gmres, minres
    from spectool.spectrum import Spectrum, estimate_spectrum


def __getattr__(name: str) -> Any:
    if name in _MODULES or name in _OPTIONAL:
        return importlib.import_module(f"spectool.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'spectool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
