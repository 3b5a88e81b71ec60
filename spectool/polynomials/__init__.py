"""The noun in the middle, ``Recurrence``, and the classical designers that make one."""

from spectool.polynomials.chebyshev import (
    chebyshev_interpolant,
    chebyshev_inverse,
    fourth_kind_inverse,
)
from spectool.polynomials.filters import end_filter, step_filter
from spectool.polynomials.measure import from_measure
from spectool.polynomials.recurrence import Recurrence, chebyshev_series
from spectool.polynomials.roots import from_roots, inverse_from_roots, leja_order

__all__ = [
    "Recurrence",
    "chebyshev_interpolant",
    "chebyshev_inverse",
    "chebyshev_series",
    "end_filter",
    "fourth_kind_inverse",
    "from_measure",
    "from_roots",
    "inverse_from_roots",
    "leja_order",
    "step_filter",
]
