"""Counts products with A where they happen, so that no tally is kept by hand."""

from __future__ import annotations

import threading
from typing import Any


class MatvecCounter:
    """A thread-safe count of matvecs (products of A with one column)."""

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._lock = threading.Lock()

    def add(self, n: int) -> None:
        """Count n more matvecs."""
        with self._lock:
            self.value += n

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.value,))
