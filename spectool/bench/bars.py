"""Promises with figures: what every benchmark ends with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise: what was found, and whether that keeps it (None: no bar)."""

    text: str
    figure: str
    kept: bool | None

    def __str__(self) -> str:
        verdict = {True: "kept", False: "MISSED", None: ""}[self.kept]
        said = ", ".join(text for text in (verdict, self.figure) if text)
        return f"{self.text}: {said or 'not measured'}"
