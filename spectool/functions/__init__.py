"""Functions of a Hermitian operator times vectors."""

from spectool.functions.funm import funm_multiply
from spectool.functions.lanczos_funm import FunctionState
from spectool.functions.operator import MatrixFunction, matrix_function

__all__ = ["FunctionState", "MatrixFunction", "funm_multiply", "matrix_function"]
