"""What ``bench dense`` finds: rows of counts, of seconds, of plans and of robustness."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from spectool.bench.records import finite

SLACK = 2.0
"""What is up to this factor above the tolerance still meets it: stopping tests round too."""


def _record(row: Any) -> dict[str, Any]:
    """Return the fields as a JSON-ready dict; numbers that are not finite become None."""
    found = {entry.name: finite(getattr(row, entry.name)) for entry in fields(row)}
    return {"part": row.part, **found}


@dataclass(frozen=True, slots=True, eq=False)
class CountRow:
    """How many steps one method took.

    Attributes
    ----------
    table : str
        "spectra", "heavy tails", "theorem" or "inverse roots".
    matrix, method : str
        Names.
    steps : int or None
        Steps to the target; None if it was not reached.
    published : int or None
        Steps that were published.
    target : float
        For ``||R||_F``.
    residual : float
        At the end.
    backward : float
        ``||G - U H||_F / ||G||_F`` in the end; nan where there is no such pair.
    note : str
        What went wrong.
    """

    part: ClassVar[str] = "iterations"
    table: str
    matrix: str
    method: str
    steps: int | None
    published: int | None
    target: float
    residual: float = math.nan
    backward: float = math.nan
    note: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        return _record(self)


@dataclass(frozen=True, slots=True, eq=False)
class TimedRow:
    """One method on one matrix.

    Attributes
    ----------
    part : str
        "polar" or "roots".
    matrix, task, method : str
        Names.
    kind : str
        "ours", "iteration" (the literature's) or "direct".
    shape : tuple of int
        Of the matrix.
    dtype, device : str
        Names.
    threads : int
        Of BLAS, or of torch; 0 on a GPU.
    seconds : float
        Median over ``repeats``; nan if there was none.
    repeats : tuple of float
        All measured times but the first, which warms up; the first if it alone was afforded.
    residual : float
        Of the answer, recomputed in double precision.
    error : float
        ``||G - U H|| / ||G||`` for polar factors, the relative error beside eigh in double
        precision for the rest.
    tolerance : float
        For the error, and for the residual of polar factors.
    steps : int or None
        Taken.
    products : float
        Operations counted as products, where known; nan otherwise.
    note : str
        What happened besides.
    """

    part: str
    matrix: str
    task: str
    method: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    threads: int
    tolerance: float
    seconds: float = math.nan
    repeats: tuple[float, ...] = ()
    residual: float = math.nan
    error: float = math.nan
    steps: int | None = None
    products: float = math.nan
    note: str = ""

    @property
    def solved(self) -> bool:
        """Whether the answer is good enough."""
        measured = max(self.residual, self.error) if self.part == "polar" else self.error
        return measured <= SLACK * self.tolerance

    @property
    def where(self) -> str:
        """Matrix, task, type and device."""
        text = f"{self.matrix}, {self.task}" if self.task else self.matrix
        return f"{text}, {self.dtype}, {self.device}"

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        return _record(self)


@dataclass(frozen=True, slots=True, eq=False)
class PlanRow:
    """What planning found.

    Attributes
    ----------
    table : str
        "ratios", "transfer", "search" or "divergence".
    name : str
        Of the case.
    cost : float
        Predicted, in products.
    exact : float
        Of the exact search on the interval; nan where there is none.
    tree : float
        Of the tree search, which no other one helped; nan where it was not run.
    published : float
        Cost that was published for the exact search.
    kinds : tuple of str
        Of the steps.
    found_by : str
        Which search.
    seconds : float
        Of planning.
    figures : dict of str to float
        What else was measured.
    losses : dict of str to tuple of float
        Curves.
    note : str
        What went wrong.
    """

    part: ClassVar[str] = "planning"
    table: str
    name: str
    cost: float = math.nan
    exact: float = math.nan
    tree: float = math.nan
    published: float = math.nan
    kinds: tuple[str, ...] = ()
    found_by: str = ""
    seconds: float = math.nan
    figures: dict[str, float] = field(default_factory=dict)
    losses: dict[str, tuple[float, ...]] = field(default_factory=dict)
    note: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        record = _record(self)
        record["figures"] = {name: finite(value) for name, value in self.figures.items()}
        record["losses"] = {name: finite(values) for name, values in self.losses.items()}
        return record


@dataclass(frozen=True, slots=True, eq=False)
class RobustRow:
    """Many random matrices of one sort through ``orthogonalize``.

    Attributes
    ----------
    sort, dtype : str
        Names.
    count : int
        Matrices.
    not_finite : int
        Of them with NaN or infinity in the result.
    largest : float
        Largest singular value of a result.
    smallest : float
        Smallest singular value of a result in the space where the matrix has singular values from
        ``SEEN`` times the largest on; nan if none does.
    upper, lower : float
        What is documented for both.
    seconds : float
        Of all.
    note : str
        What went wrong.
    """

    part: ClassVar[str] = "robust"
    sort: str
    dtype: str
    count: int
    not_finite: int = 0
    largest: float = math.nan
    smallest: float = math.nan
    upper: float = math.nan
    lower: float = math.nan
    seconds: float = math.nan
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether all are finite and in the band."""
        low = math.isnan(self.smallest) or self.smallest >= self.lower
        return not self.not_finite and not self.note and self.largest <= self.upper and low

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        return _record(self)


DenseRow = CountRow | TimedRow | PlanRow | RobustRow
