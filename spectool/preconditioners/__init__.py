"""Preconditioners as scipy ``LinearOperator`` objects."""

from spectool.preconditioners.operator import Preconditioner
from spectool.preconditioners.polynomial import preconditioner

__all__ = ["Preconditioner", "preconditioner"]
