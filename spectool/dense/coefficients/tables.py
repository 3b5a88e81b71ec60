"""Published schedules of odd quintics ``(a, b, c)`` and cubics ``(a, b)``, one entry per step.

They start from X with ``||X||_2 <= 1``. Those for optimizers stop at a band around one.

Source
    As named at each table.
"""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = [
    "CANS",
    "CUBIC5",
    "DEEPSEEK",
    "JORDAN",
    "MUON",
    "POLAR_EXPRESS",
    "TURBO",
    "TURBO_STEEP",
]

Quintics: TypeAlias = tuple[tuple[float, float, float], ...]
Cubics: TypeAlias = tuple[tuple[float, float], ...]

_MUON: Final = (3.4445, -4.7750, 2.0315)

MUON: Final[Quintics] = (_MUON,) * 5
"""Jordan et al., Muon (2024); never converges: singular values stay in [0.68, 1.14]."""
JORDAN: Final[Quintics] = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Jordan et al. (modded-nanogpt, 2024): five different steps, [1.6e-3, 1] into [0.70, 1.15]."""
CANS: Final[Quintics] = (
    (8.4703, -25.1081, 18.6293),
    (4.1828, -3.1087, 0.5806),
    (3.9619, -2.9541, 0.5630),
    (3.2866, -2.4647, 0.5074),
    (2.2737, -1.6447, 0.4162),
)
"""Grishina, Smirnov and Rakhuba, arXiv:2506.10935 (2025): [7e-3, 1] into [0.88, 1.12]."""
DEEPSEEK: Final[Quintics] = (_MUON,) * 8 + ((2.0, -1.5, 0.5),) * 2
"""DeepSeek-V4: Muon's step eight times, and two that converge: [1e-3, 1] to 6e-4."""
CUBIC5: Final[Cubics] = (
    (3.36566, -3.34210),
    (2.57444, -1.49574),
    (2.53690, -1.43126),
    (2.44189, -1.27640),
    (2.22305, -0.96307),
)
"""Five cubics, of 2 products each, from NVIDIA NeMo: [6.3e-3, 1] into [0.70, 1.30]."""
POLAR_EXPRESS: Final[Quintics] = (
    (8.287212, -23.595887, 17.300387),
    (4.107059, -2.947850, 0.544843),
    (3.948691, -2.908902, 0.551819),
    (3.318420, -2.488488, 0.510049),
    (2.300652, -1.668904, 0.418807),
    (1.891301, -1.267996, 0.376804),
    (1.875001, -1.250002, 0.375000),
    (1.875, -1.25, 0.375),
)
"""Amsel, Persson, Musco and Gower, arXiv:2505.16932 (2025), for [1e-3, 1], cushion 0.0240733."""
TURBO: Final[Quintics] = (
    (4.0098, -7.0585, 2.4635),
    (3.4585, -5.5479, 2.5959),
    (2.7573, -3.2939, 1.4254),
    (2.7215, -3.0494, 1.3169),
)
"""Turbo-Muon (2025): four steps, for X whose columns were scaled before: [0.0075, 0.877] into
[0.70, 1.09]. As published, the first of them makes singular values above 0.878 negative."""
TURBO_STEEP: Final[Quintics] = (
    (4.6051, -9.6552, 5.6769),
    (4.7505, -6.0861, 2.1790),
    (2.7763, -2.3190, 0.5523),
    (2.4231, -2.2861, 0.8193),
)
"""Turbo-Muon (2025): four steps, steeper at zero: [0.0054, 1] into [0.70, 1.06]."""
