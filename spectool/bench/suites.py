"""Which matrices a benchmark runs on: frozen lists in ``suites/*.toml``."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import numpy as np

from spectool import collection, gallery
from spectool._types import FloatArray
from spectool.bench.problems import Eigenbasis, Problem, sine_basis
from spectool.errors import InputError

_CLUSTERS = 10


@dataclass(frozen=True, slots=True)
class Source:
    """A matrix to be made when its turn comes.

    Attributes
    ----------
    name : str
        As tables show it.
    make : callable
        ``make(seed)`` returns A.
    eigenbasis : callable, optional
        Its known eigendecomposition.
    tasks : tuple of str
        Restricts the suite's tasks; empty for all.
    without : tuple of str
        Contestants that stay away; the suite's file says why.
    """

    name: str
    make: Callable[[int], Any]
    eigenbasis: Eigenbasis | None = None
    tasks: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def problem(self, seed: int) -> Problem:
        """Make the matrix."""
        return Problem(self.name, self.make(seed), seed, self.eigenbasis)


@dataclass(frozen=True, slots=True)
class Suite:
    """What to run.

    Attributes
    ----------
    name, title : str
        Of the suite.
    tasks : tuple of str
        Names of tasks, in order.
    sources : tuple of Source
        Matrices, in order.
    limit : float
        Seconds per attempt.
    repeats : int
        Timed attempts of short runs.
    remarks : str
        What a reader should know of the choice of matrices.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    sources: tuple[Source, ...]
    limit: float = 10.0
    repeats: int = 3
    remarks: str = ""

    def pairs(self) -> Iterator[tuple[Source, tuple[str, ...]]]:
        """Yield each source with its tasks."""
        for source in self.sources:
            yield source, source.tasks or self.tasks


def available_suites() -> tuple[str, ...]:
    """Return the names of all suites."""
    folder = resources.files("spectool.bench") / "suites"
    names = [entry.name for entry in folder.iterdir()]
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_suite(name: str, *, only: str = "*") -> Suite:
    """Read a suite and keep the matrices whose name matches ``only`` (a shell pattern)."""
    if name not in available_suites():
        raise InputError(
            f"suite must be one of {', '.join(available_suites())} (or kernels, which has its own "
            f"engine); got {name!r}."
        )
    text = (resources.files("spectool.bench") / "suites" / f"{name}.toml").read_text("utf-8")
    table = tomllib.loads(text)
    sources = [
        *_from_collection(table.get("collection")),
        *map(_made, table.get("gallery", [])),
        *_real(table.get("real", [])),
    ]
    kept = tuple(source for source in sources if fnmatch.fnmatchcase(source.name, only))
    if not kept:
        names = ", ".join(source.name for source in sources)
        raise InputError(f"no matrix of suite {name!r} matches {only!r}; it has {names}.")
    return Suite(
        name,
        str(table["title"]),
        tuple(table["tasks"]),
        kept,
        float(table["limit"]),
        int(table.get("repeats", 3)),
        str(table.get("remarks", "")).strip(),
    )


def _from_collection(query: dict[str, Any] | None) -> Iterator[Source]:
    if query is None:
        return
    names, where = query.get("names"), query.get("where")
    conditions = {key: value for key, value in query.items() if key not in ("names", "where")}
    for entry in collection.search(**conditions):
        if (names is None or entry.name in names) and where in (None, entry.where):
            yield Source(entry.name, partial(_stored, entry.name))


def _stored(name: str, _seed: int) -> Any:
    return collection.load(name)


def _real(tables: list[dict[str, Any]]) -> Iterator[Source]:
    """Yield the ``[[real]]`` entries that are on this machine, or the Laplacians of such graphs."""
    here = {entry.name for entry in collection.search()}
    for table in tables:
        name, tasks = table["name"], tuple(table.get("tasks", ()))
        if name not in here:
            continue
        if table.get("laplacian"):
            yield Source(f"Laplacian of {name}", partial(_laplacian, name), tasks=tasks)
        else:
            yield Source(name, partial(_stored, name), tasks=tasks)


def _laplacian(name: str, _seed: int) -> Any:
    return gallery.graph_laplacian(abs(collection.load(name)))


def _made(table: dict[str, Any]) -> Source:
    """Return one ``[[gallery]]`` entry: ``make`` names the function, the rest are arguments."""
    arguments = dict(table)
    make, name = arguments.pop("make"), arguments.pop("name")
    tasks, without = tuple(arguments.pop("tasks", ())), tuple(arguments.pop("without", ()))
    basis = sine_basis(tuple(arguments["shape"])) if make == "poisson" else None
    makers: dict[str, Callable[..., Any]] = {"prescribed": _prescribed, "random graph": _graph}
    if make in makers:
        return Source(name, partial(_seeded, makers[make], arguments), basis, tasks, without)
    function = getattr(gallery, make)
    return Source(name, lambda _: function(**arguments), basis, tasks, without)


def _seeded(make: Callable[..., Any], arguments: dict[str, Any], seed: int) -> Any:
    return make(seed=seed, **arguments)


def _graph(*, n: int, degree: float, shift: float, seed: int) -> Any:
    return gallery.graph_laplacian(gallery.random_graph(n, degree, rng=seed), shift=shift)


def _prescribed(*, n: int, cond: float, spectrum: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    draw = {"log-uniform": gallery.log_uniform, "clustered": clustered}[spectrum]
    return gallery.random_spectrum(draw(n, cond, rng), rng=rng)


def clustered(n: int, cond: float, rng: np.random.Generator) -> FloatArray:
    """Return n eigenvalues in clusters of relative width 1e-3, log-spaced in [1/cond, 1]."""
    centers = np.geomspace(1.0 / cond, 1.0, _CLUSTERS)
    lam = centers[rng.integers(_CLUSTERS, size=n)] * (1.0 + 1e-3 * rng.uniform(-0.5, 0.5, n))
    lam[:2] = 1.0 / cond, 1.0
    return np.clip(lam, 1.0 / cond, 1.0)
