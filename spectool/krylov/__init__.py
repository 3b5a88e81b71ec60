"""Krylov processes; no problem is solved here."""

from spectool.krylov.lanczos import LanczosProcess, RitzData, jacobi_eigen, lanczos, ritz

__all__ = ["LanczosProcess", "RitzData", "jacobi_eigen", "lanczos", "ritz"]
