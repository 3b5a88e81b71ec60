"""Classical methods by name, and for which functions and matrices each serves.

Source
    As named at each kind and in ``schedules``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from spectool.dense import coefficients as tables
from spectool.dense.problems import Problem
from spectool.dense.region import Region
from spectool.dense.run import Run
from spectool.dense.schedules import (
    Schedule,
    chen_chow,
    classical,
    coupled,
    gawlik,
    minimax,
    of_first,
    of_product,
    qdwh,
    scaled_db,
    scaled_newton,
    table,
    visser_then_schulz,
    watched,
    zolotarev,
)
from spectool.dense.steps import Step
from spectool.errors import InputError

__all__ = ["Named", "method_names"]

LOWER = 1e-3
"""Bound of singular values relative to the norm, where nothing is known."""


@dataclass(frozen=True)
class Named:
    """A method of the literature.

    Parameters
    ----------
    name : str
        One of ``method_names(problem)``.
    lower : float or None
        A lower bound of the singular values of the matrix, or of its eigenvalues under roots,
        relative to its norm; methods that measure it or need none ignore it. An estimate costs
        steps, never the result.
    """

    name: str
    lower: float | None = None

    def __post_init__(self) -> None:
        if not any(self.name in names for names in SCHEDULES.values()):
            known = sorted(set().union(*SCHEDULES.values()))
            raise InputError(f"a method is one of {', '.join(known)}; got {self.name!r}.")
        if self.lower is not None and not 0.0 < self.lower <= 1.0:
            raise InputError(f"lower must lie in (0, 1], relative to the norm; got {self.lower!r}.")

    def steps(self, run: Run) -> Iterator[Step]:
        """Yield the next step."""
        names = SCHEDULES[run.problem.family]
        if self.name not in names:
            raise InputError(
                f"method {self.name!r} does not compute {run.problem.function}; one of "
                f"{', '.join(names)} does."
            )
        lower = LOWER if self.lower is None else self.lower
        if self.lower is not None and run.problem.family not in ("sign", "inv"):
            lower = self.lower**0.5
        return names[self.name](run, lower)

    def region(self, problem: Problem) -> Region:
        """Return from which eigenvalues it converges, where matrices are not Hermitian."""
        if self.name == "newton" and problem.family != "sign":
            return Region.HALF_PLANE
        return REGIONS.get(self.name, Region.REAL)

    @property
    def square(self) -> bool:
        """Whether it inverts X, which must be square."""
        return self.name in ("newton", "scaled_newton")

    @property
    def tolerance(self) -> float | None:
        """Residual at the end of a fixed number of steps; None if there is no such number."""
        return _table_tolerance(self.name) if self.name in TABLES else None


def method_names(problem: Problem) -> tuple[str, ...]:
    """Return the names of methods for a problem, without "auto" and "lapack"."""
    names = tuple(SCHEDULES[problem.family])
    uncoupled = ("newton", "visser") if problem.function == "invsqrt" else ()
    return tuple(name for name in names if name not in uncoupled)


TABLES: dict[str, Sequence[Sequence[float]]] = {
    "muon": tables.MUON,
    "jordan": tables.JORDAN,
    "cans": tables.CANS,
    "deepseek": tables.DEEPSEEK,
    "cubic5": tables.CUBIC5,
}
"""Fixed numbers of steps."""
SCHEDULES: dict[str, dict[str, Schedule]] = {
    "inv": {
        "newton_schulz": classical("inv.newton_schulz"),
        "chebyshev": classical("inv.chebyshev"),
        "polar_express": minimax("inv.chebyshev"),
    },
    "sign": {
        "newton": watched("sign.newton", of_first),
        "scaled_newton": scaled_newton("sign.newton", of_first, 1.0),
        "newton_variant": classical("sign.newton_variant"),
        "halley": classical("sign.halley"),
        "qdwh": qdwh,
        "zolotarev": zolotarev,
        "newton_schulz": classical("sign.newton_schulz"),
        "scaled_newton_schulz": chen_chow("sign.newton_schulz"),
        "quintic": classical("sign.quintic"),
        "polar_express": minimax("sign.quintic"),
        **{name: table(values) for name, values in TABLES.items()},
    },
    "sqrt": {
        "denman_beavers": watched("sqrt.denman_beavers", of_first),
        "scaled_db": scaled_db,
        "product_db": scaled_newton("sqrt.product_db", of_product, 0.5),
        "newton_variant": classical("sqrt.newton_variant"),
        "newton_schulz": classical("sqrt.newton_schulz"),
        "scaled_newton_schulz": chen_chow("sqrt.newton_schulz"),
        "quintic": classical("sqrt.quintic"),
        "polar_express": minimax("sqrt.quintic"),
        "visser_coupled": visser_then_schulz,
        "visser": classical("sqrt.visser"),
        "newton": classical("sqrt.newton"),
    },
    "root": {
        "iannazzo": classical("root.iannazzo"),
        "visser": classical("root.visser"),
        "newton": classical("root.newton"),
    },
    "inverse_root": {
        "coupled_newton": coupled("inverse_root.newton"),
        "higher_order": coupled("inverse_root.quadratic"),
        "polar_express": minimax("inverse_root.quadratic"),
        "gawlik": gawlik,
    },
}
"""Methods by family of functions and name."""
REGIONS = {
    "newton": Region.WATCHED,
    "scaled_newton": Region.WATCHED,
    "denman_beavers": Region.WATCHED,
    "scaled_db": Region.WATCHED,
    "product_db": Region.WATCHED,
    "newton_variant": Region.HALF_PLANE,
    "halley": Region.HALF_PLANE,
    "qdwh": Region.HALF_PLANE,
    "zolotarev": Region.HALF_PLANE,
    "iannazzo": Region.HALF_PLANE,
    "newton_schulz": Region.DISC,
    "quintic": Region.DISC,
}


@lru_cache(maxsize=16)
def _table_tolerance(name: str) -> float:
    """Return the largest ``|1 - x^2|`` at the end of a table, for singular values in [0.02, 1]."""
    x = np.linspace(0.02, 1.0, 4001)
    for values in TABLES[name]:
        a, b, c = (*values, 0.0)[:3]
        x = x * (a + x * x * (b + x * x * c))
    return float(np.abs(1.0 - x * x).max()) * 1.05
