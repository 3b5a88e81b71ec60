"""Symmetric Jacobi scaling: polynomials act on D^-1/2 A D^-1/2.

Source
    van der Sluis, Condition numbers and equilibration of matrices, Numer. Math. 14 (1969):
    for positive definite A it is within a factor n (row-wise nonzeros, here) of the best diagonal
    scaling.
"""

from __future__ import annotations

import numpy as np

from spectool._types import FloatArray
from spectool.operators.operator import Operator


def jacobi_scale(operator: Operator) -> FloatArray | None:
    """Return ``|diag(A)|^-1/2``, shape (n,), with 1 where the diagonal is zero; None if unknown.

    Works for definite and indefinite A alike: the modulus keeps the scaling real.
    """
    facts = operator.row_facts()
    if facts is None:
        return None
    modulus = np.abs(facts.diagonal).astype(np.float64)
    return 1.0 / np.sqrt(np.where(modulus > 0, modulus, 1.0))
