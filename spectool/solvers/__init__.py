"""Krylov solvers over the fused kernels, with scipy's signatures and honest results."""

from spectool.solvers.block import block_cg
from spectool.solvers.cg import cg
from spectool.solvers.gmres import gmres
from spectool.solvers.minres import minres
from spectool.solvers.recycling import CGSequence
from spectool.solvers.stopping import LinearState

__all__ = ["CGSequence", "LinearState", "block_cg", "cg", "gmres", "minres"]
