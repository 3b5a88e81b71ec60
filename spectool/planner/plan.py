"""A plan for a sparse task: what to run, what else was considered, and what each costs here.

A plan is a value. It holds counts of operations, which belong to the matrix, and seconds, which
belong to a machine: another machine prices the same counts again and chooses anew.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (2025), for planning by measured cost.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from spectool.backends.cpu import CpuBackend
from spectool.errors import InputError
from spectool.operators import Operator
from spectool.planner.costs import OperatorCosts, cache_folder, machine_mark
from spectool.polynomials import Recurrence

__all__ = ["Counts", "Option", "Plan", "PlanCosts", "fingerprint", "recall", "remember"]

_log = logging.getLogger("spectool")
FORMAT: Final = "spectool.plan/1"
SHOWN = 8
"""Options that a printed plan lists."""


class PlanCosts(NamedTuple):
    """Seconds of operations with one operator, in its precision and in single."""

    double: OperatorCosts
    single: OperatorCosts


class Counts(NamedTuple):
    """Operations of one option, for the whole task.

    Attributes
    ----------
    products : float
        With A by themselves, set-up included.
    applications, steps : float
        Of polynomials, and products inside them.
    vectors : float
        Vector operations: inner products, updates.
    reductions : float
        Inner products and norms among them.
    held : float
        Vectors held besides b and the answer.
    degree : int
        Products of one application.
    single : bool
        Whether polynomials run in single precision.
    """

    products: float
    applications: float = 0.0
    steps: float = 0.0
    vectors: float = 0.0
    reductions: float = 0.0
    held: float = 0.0
    degree: int = 0
    single: bool = False

    @property
    def matvecs(self) -> float:
        """All products with A."""
        return self.products + self.steps

    def seconds(self, costs: PlanCosts) -> float:
        """Return what they take."""
        inside = costs.single if self.single else costs.double
        shared = self.degree >= inside.threshold
        step = inside.step_large if shared else inside.step_small
        return (
            self.products * costs.double.product
            + self.applications * (inside.call + (inside.wake if shared else 0.0))
            + self.steps * step
            + self.vectors * costs.double.vector
        )


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One way to do the task.

    Attributes
    ----------
    name : str
        In words.
    action : dict
        What verbs are told: method, degree, precision, deflate, as far as it has them; scaling, and
        the mean diagonal entry that the polynomial is for.
    counts : Counts
        Predicted operations.
    seconds : float
        Predicted, on the machine that planned or priced.
    plain : bool
        Whether it is a method that needs no plan: CG, Lanczos, ARPACK.
    recurrence : Recurrence or None
        Polynomial that no method name stands for.
    """

    name: str
    action: dict[str, Any]
    counts: Counts
    seconds: float = math.nan
    plain: bool = False
    recurrence: Recurrence | None = field(default=None, repr=False)

    def priced(self, costs: PlanCosts) -> Self:
        """Return the same option with seconds of a machine."""
        return replace(self, seconds=self.counts.seconds(costs))

    def to_record(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        recurrence = None if self.recurrence is None else json.loads(self.recurrence.to_json())
        return {
            "name": self.name,
            "action": self.action,
            "counts": self.counts._asdict(),
            "seconds": self.seconds,
            "plain": self.plain,
            "recurrence": recurrence,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return what `to_record` wrote."""
        stored = record["recurrence"]
        recurrence = None if stored is None else Recurrence.from_json(json.dumps(stored))
        counts = Counts(**record["counts"])
        return cls(
            str(record["name"]),
            dict(record["action"]),
            counts,
            float(record["seconds"]),
            bool(record["plain"]),
            recurrence,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What to run for a task; pass it to verbs as ``plan=``.

    Attributes
    ----------
    task : str
        "solve", "eigs", or the name of a function.
    options : dict
        What was asked: rtol, right-hand sides and the like.
    n, nnz : int
        Of A.
    dtype, fingerprint : str
        Of A; the fingerprint is empty where A's entries are not stored.
    candidates : tuple of Option
        All that were priced, the quickest first; the first one is what runs.
    found_by : str
        "enumeration" or "tree search".
    statistics : dict
        Seconds of planning, products spent, options evaluated, and the like.
    """

    task: str
    options: dict[str, Any]
    n: int
    nnz: int
    dtype: str
    fingerprint: str
    candidates: tuple[Option, ...]
    found_by: str
    statistics: dict[str, float]

    def __post_init__(self) -> None:
        if not self.candidates:
            raise InputError("a plan needs candidates.")

    @property
    def chosen(self) -> Option:
        """What runs."""
        return self.candidates[0]

    @property
    def plainest(self) -> Option | None:
        """The quickest method that needs no plan."""
        return next((option for option in self.candidates if option.plain), None)

    @property
    def gain(self) -> float:
        """How many times quicker than the quickest plain method; 1 for no gain."""
        plain = self.plainest
        if plain is None or not self.chosen.seconds > 0:
            return 1.0
        return plain.seconds / self.chosen.seconds

    @property
    def seconds(self) -> float:
        """Predicted seconds of what runs."""
        return self.chosen.seconds

    def repriced(self, costs: PlanCosts) -> Self:
        """Return the plan for another machine: the same counts, other seconds, a new choice.

        Parameters
        ----------
        costs : PlanCosts
            Of that machine.
        """
        priced = sorted((o.priced(costs) for o in self.candidates), key=lambda o: o.seconds)
        return replace(self, candidates=tuple(priced))

    def checked(self, task: str, n: int) -> Self:
        """Return the plan; raises InputError if it is for another task or size."""
        if task != self.task:
            raise InputError(f"plan is for the task {self.task!r}; this one is {task!r}.")
        if n != self.n:
            raise InputError(f"plan is for {self.n} rows; A has {n}. Plan again.")
        return self

    def __str__(self) -> str:
        asked = ", ".join(f"{name} {value:g}" for name, value in self.options.items() if value)
        lines = [
            f"{self.task} with {self.n:,} rows and {self.nnz:,} entries ({asked}): "
            f"{self.chosen.name}, {self.chosen.seconds:.3g} s predicted"
        ]
        plain = self.plainest
        if plain is not None:
            lines.append(
                f"  no gain: {plain.name} is as quick"
                if self.chosen.plain
                else f"  {self.gain:.2f} times as quick as {plain.name}"
            )
        lines.append(
            f"  found by {self.found_by}, {self.statistics.get('evaluated', 0):.0f} options in "
            f"{self.statistics.get('seconds', 0.0):.2g} s"
        )
        lines.append(f"  {'option':<38}{'seconds':>10}{'matvecs':>10}{'reductions':>12}")
        lines += [
            f"  {option.name[:37]:<38}{option.seconds:>10.3g}{option.counts.matvecs:>10.0f}"
            f"{option.counts.reductions:>12.0f}"
            for option in _shown(self.candidates)
        ]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the plan as JSON; `from_json` gives an equal one."""
        record = {
            "format": FORMAT,
            "task": self.task,
            "options": self.options,
            "n": self.n,
            "nnz": self.nnz,
            "dtype": self.dtype,
            "fingerprint": self.fingerprint,
            "candidates": [option.to_record() for option in self.candidates],
            "found_by": self.found_by,
            "statistics": self.statistics,
        }
        return json.dumps(record, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the plan that `to_json` wrote.

        Raises
        ------
        InputError
            If it is no plan, or of another version.
        """
        try:
            record = json.loads(text)
            if record.pop("format") != FORMAT:
                raise InputError(f"text must be a plan of format {FORMAT}; plan again.")
            candidates = tuple(Option.from_record(each) for each in record.pop("candidates"))
            return cls(candidates=candidates, **record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"text is no plan: {error!r}.") from error


def _shown(candidates: tuple[Option, ...]) -> Iterator[Option]:
    """Yield the first few, and the first plain one in any case."""
    yield from candidates[:SHOWN]
    if not any(option.plain for option in candidates[:SHOWN]):
        yield from [option for option in candidates[SHOWN:] if option.plain][:1]


def fingerprint(operator: Operator) -> str:
    """Return a digest of a stored matrix, every entry of it; empty where none are stored."""
    backend = operator.backend
    if not isinstance(backend, CpuBackend):
        return ""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(f"{operator.n} {operator.nnz} {operator.dtype}".encode())
    for part in (backend.A.indptr, backend.A.indices, backend.A.data):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def recall(mark: str, task: str, options: dict[str, Any]) -> Plan | None:
    """Return the plan that was kept for this matrix and task, or None."""
    if not mark:
        return None
    try:
        return Plan.from_json(_file(mark, task, options).read_text(encoding="utf-8"))
    except (OSError, InputError):
        return None


def remember(plan: Plan) -> None:
    """Keep a plan in the user's cache, if it has a fingerprint."""
    if not plan.fingerprint:
        return
    path = _file(plan.fingerprint, plan.task, plan.options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(plan.to_json(), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        _log.info("the plan could not be kept in %s: %s", path, error)


def _file(mark: str, task: str, options: dict[str, Any]) -> Path:
    asked = json.dumps([FORMAT, task, options, machine_mark()], sort_keys=True)
    name = hashlib.blake2b(asked.encode(), digest_size=6).hexdigest()
    return cache_folder() / "plans" / f"{mark}-{name}.json"
