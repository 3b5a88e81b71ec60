"""Krylov processes; no problem is solved here."""

from spectool.krylov.lanczos import LanczosProcess, RitzData, jacobi_eigen, lanczos, ritz
from spectool.krylov.lockstep import LockstepLanczos, second_pass

__all__ = [
    "LanczosProcess",
    "LockstepLanczos",
    "RitzData",
    "jacobi_eigen",
    "lanczos",
    "ritz",
    "second_pass",
]
