"""Errors and warnings. Each message says what is needed, what was found, and what to try."""

from __future__ import annotations

from typing import Any


class SpectoolError(Exception):
    """Base of every error that spectool raises on purpose."""


class InputError(SpectoolError, ValueError):
    """An argument is outside its domain; the message names it, its value and the remedy."""


class BreakdownError(SpectoolError, ArithmeticError):
    """A process could not continue: its numbers are no longer meaningful."""


class NotPositiveDefiniteError(BreakdownError, InputError):
    """The operator has an eigenvalue that is not positive where the task needs positive ones."""


class NotConvergedError(SpectoolError):
    """Raised by ``solution.check()``; the partial solution is in ``solution``."""

    def __init__(self, solution: Any) -> None:
        super().__init__(str(solution))
        self.solution = solution


class BackendUnavailableError(SpectoolError, ImportError):
    """An optional package is missing; the message holds the pip command that installs it."""


class CollectionError(SpectoolError, OSError):
    """A matrix could not be found, downloaded or verified."""


class SpectoolWarning(UserWarning):
    """Base of every warning of spectool."""


class ConvergenceWarning(SpectoolWarning):
    """The requested tolerance was not met; the best result so far is returned."""


class SpectralBoundWarning(SpectoolWarning):
    """An eigenvalue was found outside the interval a polynomial was designed for."""
