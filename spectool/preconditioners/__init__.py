"""Preconditioners as scipy ``LinearOperator`` objects."""

from spectool.preconditioners.preconditioner import Preconditioner, preconditioner

__all__ = ["Preconditioner", "preconditioner"]
