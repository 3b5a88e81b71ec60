"""Krylov solvers over the fused kernels, with scipy's signatures."""
