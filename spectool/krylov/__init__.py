"""Krylov processes; no problem is solved here."""

from spectool.krylov.lanczos import LanczosProcess, RitzData, lanczos, ritz

__all__ = ["LanczosProcess", "RitzData", "lanczos", "ritz"]
