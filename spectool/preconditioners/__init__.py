"""Preconditioners as scipy ``LinearOperator`` objects."""

from spectool.preconditioners.polynomial import Preconditioner, preconditioner

__all__ = ["Preconditioner", "preconditioner"]
