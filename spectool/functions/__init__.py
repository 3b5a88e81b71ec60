"""Functions of a Hermitian operator times vectors."""

from spectool.functions.funm import MatrixFunction, funm_multiply, matrix_function
from spectool.functions.lanczos_funm import FunctionState

__all__ = ["FunctionState", "MatrixFunction", "funm_multiply", "matrix_function"]
