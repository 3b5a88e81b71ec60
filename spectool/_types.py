"""Types shared by every layer. Imports nothing of spectool."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""A real or complex vector (n,) or row-major block (n, m)."""
FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
Interval: TypeAlias = tuple[float, float]
"""``(lower, upper)`` with lower < upper."""
Rng: TypeAlias = np.random.Generator | int | None
"""Seed or generator, normalized once by ``numpy.random.default_rng`` (SPEC 7)."""
ScalarMap: TypeAlias = Callable[[FloatArray], Array]
"""Maps an array of eigenvalues to an array of the same shape."""
