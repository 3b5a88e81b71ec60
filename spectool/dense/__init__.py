"""Functions of dense matrices, in batches, by matrix products: planned, adapted, or classical."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Costs": "spectool.dense.costs",
    "Hybrid": "spectool.dense.sketch",
    "IterationPlan": "spectool.dense.planning.iteration_plan",
    "KrylovMinimax": "spectool.dense.sketch",
    "Named": "spectool.dense.methods",
    "Nodes": "spectool.dense.planning.spectra",
    "Polar": "spectool.dense.verbs",
    "Prism": "spectool.dense.sketch",
    "PrismNewton": "spectool.dense.sketch",
    "inv": "spectool.dense.verbs",
    "inverse_root": "spectool.dense.root_verbs",
    "invsqrtm": "spectool.dense.root_verbs",
    "plan_iteration": "spectool.dense.planning.plan",
    "polar": "spectool.dense.verbs",
    "root": "spectool.dense.root_verbs",
    "signm": "spectool.dense.verbs",
    "sqrtm": "spectool.dense.root_verbs",
}
"""Names are loaded on first use: optimizers need a small part of it."""

__all__ = [
    "Costs",
    "Hybrid",
    "IterationPlan",
    "KrylovMinimax",
    "Named",
    "Nodes",
    "Polar",
    "Prism",
    "PrismNewton",
    "inv",
    "inverse_root",
    "invsqrtm",
    "plan_iteration",
    "polar",
    "root",
    "signm",
    "sqrtm",
]

if TYPE_CHECKING:
    from spectool.dense.costs import Costs
    from spectool.dense.methods import Named
    from spectool.dense.planning.iteration_plan import IterationPlan
    from spectool.dense.planning.plan import plan_iteration
    from spectool.dense.planning.spectra import Nodes
    from spectool.dense.root_verbs import inverse_root, invsqrtm, root, sqrtm
    from spectool.dense.sketch import Hybrid, KrylovMinimax, Prism, PrismNewton
    from spectool.dense.verbs import Polar, inv, polar, signm


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'spectool.dense' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
