"""Functions of a Hermitian operator: times vectors, and their traces."""

from spectool.functions.expm_multiply import expm_multiply
from spectool.functions.funm import funm_multiply
from spectool.functions.gaussian import sample_gaussian
from spectool.functions.operator import MatrixFunction, matrix_function
from spectool.functions.task import FunctionState
from spectool.functions.trace import TraceEstimate, logdet, trace_funm

__all__ = [
    "FunctionState",
    "MatrixFunction",
    "TraceEstimate",
    "expm_multiply",
    "funm_multiply",
    "logdet",
    "matrix_function",
    "sample_gaussian",
    "trace_funm",
]
