"""Preconditioners as scipy ``LinearOperator`` objects."""

from spectool.preconditioners.front_door import preconditioner
from spectool.preconditioners.operator import Preconditioner

__all__ = ["Preconditioner", "preconditioner"]
