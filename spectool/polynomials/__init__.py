"""The noun in the middle, ``Recurrence``, and the classical designers that make one."""

from spectool.polynomials.certificates import Extremum, certified_minimum, largest
from spectool.polynomials.chebyshev import (
    chebyshev_interpolant,
    chebyshev_inverse,
    fourth_kind_inverse,
)
from spectool.polynomials.definite import absolute_inverse, inverse_square_root
from spectool.polynomials.filters import end_filter, step_filter
from spectool.polynomials.least_squares import least_squares_inverse
from spectool.polynomials.measure import from_measure
from spectool.polynomials.minimax import minimax, minimax_inverse
from spectool.polynomials.recurrence import Recurrence, chebyshev_series
from spectool.polynomials.roots import added_roots, from_roots, inverse_from_roots, leja_order
from spectool.polynomials.unions import guessed_intervals

__all__ = [
    "Extremum",
    "Recurrence",
    "absolute_inverse",
    "added_roots",
    "certified_minimum",
    "chebyshev_interpolant",
    "chebyshev_inverse",
    "chebyshev_series",
    "end_filter",
    "fourth_kind_inverse",
    "from_measure",
    "from_roots",
    "guessed_intervals",
    "inverse_from_roots",
    "inverse_square_root",
    "largest",
    "least_squares_inverse",
    "leja_order",
    "minimax",
    "minimax_inverse",
    "step_filter",
]
