"""Values for the parameters of steps: best approximations, scalings, and published tables."""

from spectool.dense.coefficients.polynomial import (
    chen_chow,
    optimal_cubic,
    optimal_linear,
    optimal_quadratic,
    optimal_quintic,
    optimal_steps,
    polar_express,
    quintic_interval,
    root_interval,
)
from spectool.dense.coefficients.rational import (
    Zolotarev,
    byers_xu,
    gawlik,
    halley_interval,
    qdwh,
    zolotarev,
)
from spectool.dense.coefficients.tables import (
    CANS,
    CUBIC5,
    DEEPSEEK,
    JORDAN,
    MUON,
    POLAR_EXPRESS,
    TURBO,
    TURBO_STEEP,
)

__all__ = [
    "CANS",
    "CUBIC5",
    "DEEPSEEK",
    "JORDAN",
    "MUON",
    "POLAR_EXPRESS",
    "TURBO",
    "TURBO_STEEP",
    "Zolotarev",
    "byers_xu",
    "chen_chow",
    "gawlik",
    "halley_interval",
    "optimal_cubic",
    "optimal_linear",
    "optimal_quadratic",
    "optimal_quintic",
    "optimal_steps",
    "polar_express",
    "qdwh",
    "quintic_interval",
    "root_interval",
    "zolotarev",
]
