"""Functions of a Hermitian operator: times vectors, and their traces."""

from spectool.functions.funm import funm_multiply
from spectool.functions.operator import MatrixFunction, matrix_function
from spectool.functions.task import FunctionState
from spectool.functions.trace import TraceEstimate, logdet, trace_funm

__all__ = [
    "FunctionState",
    "MatrixFunction",
    "TraceEstimate",
    "funm_multiply",
    "logdet",
    "matrix_function",
    "trace_funm",
]
