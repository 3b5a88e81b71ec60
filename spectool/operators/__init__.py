"""What A is: validated, counted, scaled; and a recurrence in front of it."""

from spectool.operators.operator import AssumeA, Operator, as_operator
from spectool.operators.polynomial import PolynomialOperator
from spectool.operators.scaling import jacobi_scale

__all__ = ["AssumeA", "Operator", "PolynomialOperator", "as_operator", "jacobi_scale"]
