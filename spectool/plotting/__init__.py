"""Pictures of results: each function draws on the given axes and returns them."""

from spectool.plotting.canvas import OKABE_ITO as OKABE_ITO
from spectool.plotting.canvas import blank_axes, blank_panels, save, to_svg
from spectool.plotting.clouds import calibration, estimates, rivalry, roofline
from spectool.plotting.curves import (
    convergence,
    density,
    performance_profile,
    profile_ratios,
    response,
)

__all__ = [
    "blank_axes",
    "blank_panels",
    "calibration",
    "convergence",
    "density",
    "estimates",
    "performance_profile",
    "profile_ratios",
    "response",
    "rivalry",
    "roofline",
    "save",
    "to_svg",
]
