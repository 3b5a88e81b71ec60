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
from spectool.plotting.dots import dots
from spectool.plotting.plans import loss_against_time, spectrum_steps

__all__ = [
    "blank_axes",
    "blank_panels",
    "calibration",
    "convergence",
    "density",
    "dots",
    "estimates",
    "loss_against_time",
    "performance_profile",
    "profile_ratios",
    "response",
    "rivalry",
    "roofline",
    "save",
    "spectrum_steps",
    "to_svg",
]
