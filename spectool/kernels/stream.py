"""What memory can do: passes over long vectors that compute next to nothing.

Source
    McCalpin, Memory bandwidth and machine balance in current high performance computers, IEEE TCCA
    Newsletter (1995): the triad.
"""

from __future__ import annotations

from numpy import uintp

from spectool._types import Array
from spectool.kernels.compilation import kernel
from spectool.kernels.vector import dot


@kernel
def triad(a: Array, b: Array, c: Array, scale: float, first: int, last: int) -> None:
    """Do ``a <- b + scale c`` on [first, last): reads two vectors, writes one."""
    for i in range(uintp(first), uintp(last)):
        a[i] = b[i] + scale * c[i]


@kernel
def read(a: Array, first: int, last: int) -> float:
    """Return ``sum a^2`` on [first, last): reads one vector."""
    return float(dot(a, a, first, last))
