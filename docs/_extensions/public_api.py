"""Writes the reference pages from the package's own ``__all__`` lists."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import pydoc
from pathlib import Path
from types import ModuleType
from typing import Any

from scipy.sparse.linalg import LinearOperator

CHANGELOG = Path("..", "CHANGELOG.md")
GALLERY = ("spectrum", "preconditioner", "learned", "funm", "filter")
PARTS = ("planner.mcts", "preconditioners.amg", "preconditioners.deflation", "spectrum.kpm")
"""Modules one level down whose functions users call by themselves."""


class ReadingOrder:
    """Sorts the gallery as a reader meets it; scripts that are not listed come last, by name."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, filename: str) -> tuple[int, str]:
        topic = filename.removeprefix("plot_").removesuffix(".py")
        return (GALLERY.index(topic) if topic in GALLERY else len(GALLERY), filename)


class Described:
    """Selects the members of a class that its page lists one by one.

    Only members that the package itself defines; of the attributes only properties, because plain
    ones stand in the docstring's table. An object and no function, since Sphinx can store it.
    """

    def __init__(self, package: str, kinds: tuple[str, ...]) -> None:
        self.package, self.kinds = package, kinds

    def __call__(self, path: str, names: list[str]) -> list[str]:
        cls = pydoc.locate(path)
        return [name for name in names if not name.startswith("_") and self._own(cls, name)]

    def _own(self, cls: Any, name: str) -> bool:
        for base in cls.__mro__:
            if name in vars(base):
                kind = type(vars(base)[name]).__name__
                return base.__module__.startswith(self.package) and kind in self.kinds
        return False


def public_names(module: ModuleType) -> list[str]:
    """Return ``__all__``, or else the public names that are defined in the module itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def write(package: ModuleType, docs: Path) -> list[str]:
    """Write one page per public module, one for result types; return the paths, for autosummary."""
    folder = docs / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    members = [(name, getattr(package, name)) for name in package.__all__]
    modules = [value for _, value in members if inspect.ismodule(value)]
    verbs = [name for name, value in members if inspect.isroutine(value)]
    nouns = [name for name, value in members if inspect.isclass(value)]
    described = {name for module in modules for name in public_names(module)}
    results = _result_types(package, described.union(package.__all__))
    pages = [
        _page(
            folder / "verbs.rst",
            package.__name__,
            "Verbs and values",
            "Everything that ``import spectool`` offers at its top level.",
            {"Verbs": verbs, "Values": nouns},
        ),
        _page(
            folder / "results.rst",
            package.__name__,
            "Return types",
            "Classes that the verbs return and that are not made by hand.",
            {"": results},
        ),
    ]
    for module in modules:
        summary = (inspect.getdoc(module) or "").split("\n\n")[0]
        names = public_names(module)
        # A name that is public in two places is described in the shorter one.
        twice = [name for name in names if name in package.__all__]
        if twice:
            links = ", ".join(f":py:obj:`{package.__name__}.{name}`" for name in twice)
            summary += f"\n\nSee also {links}."
        sections = {"": [name for name in names if name not in twice]}
        if others := _operators(module, set(names)):
            sections["Other operators that it returns"] = others
        pages.append(_module_page(folder, package, module, summary, sections))
    returned = {path.rsplit(".", 1)[1] for path in results}
    for part in PARTS:
        module = importlib.import_module(f"{package.__name__}.{part}")
        summary = (inspect.getdoc(module) or "").split("\n\n")[0]
        names = [name for name in public_names(module) if name not in returned]
        pages.append(_module_page(folder, package, module, summary, {"": names}))
    changelog = docs / CHANGELOG
    text = (
        "```{include} ../../../CHANGELOG.md\n```\n"
        if changelog.is_file()
        else "# Changelog\n\nNo release yet.\n"
    )
    _replace(folder / "changelog.md", text)
    return [str(page) for page in pages]


def _result_types(package: ModuleType, known: set[str]) -> list[str]:
    homes = dict.fromkeys(package._HOME.values())  # the packages that the verbs live in
    found: dict[str, Any] = {}
    for home in homes:
        module = importlib.import_module(home)
        for name in public_names(module):
            value = getattr(module, name)
            if inspect.isclass(value) and name not in known:
                found.setdefault(name, f"~{home.split('.', 1)[1]}.{name}")
    return sorted(found.values(), key=lambda path: path.rsplit(".", 1)[1])


def _operators(module: ModuleType, known: set[str]) -> list[str]:
    """Return the public ``LinearOperator`` classes that a package defines in its modules."""
    found = {}
    for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
        part = importlib.import_module(f"{module.__name__}.{info.name}")
        for name, value in vars(part).items():
            if name.startswith("_") or name in known or not inspect.isclass(value):
                continue
            if value.__module__ == part.__name__ and issubclass(value, LinearOperator):
                found[name] = f"~{info.name}.{name}"
    return [found[name] for name in sorted(found)]


def _module_page(
    folder: Path,
    package: ModuleType,
    module: ModuleType,
    summary: str,
    sections: dict[str, list[str]],
) -> Path:
    name = module.__name__.removeprefix(f"{package.__name__}.")
    return _page(folder / f"{name}.rst", module.__name__, module.__name__, summary, sections)


def _page(path: Path, module: str, title: str, summary: str, sections: dict[str, Any]) -> Path:
    lines = [title, "=" * len(title), "", summary, ""]
    for heading, names in sections.items():
        if heading:
            lines += [heading, "-" * len(heading), ""]
        lines += [
            f".. currentmodule:: {module}",
            "",
            ".. autosummary::",
            "   :toctree: objects",
            "",
        ]
        lines += [f"   {name}" for name in names] + [""]
    _replace(path, "\n".join(lines))
    return path


def _replace(path: Path, text: str) -> None:
    """Write only what changed, so that unchanged pages are not built again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
