"""The import graph, the public names and their docstrings."""

import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import spectool as st

ROOT = Path(__file__).parents[1]
LIGHT = [
    "torch",
    "matplotlib",
    "numba",
    "llvmlite",
    "scipy",
    "pyamg",
    "ssgetpy",
    "rich",
    "typer",
    "petsc4py",
]
FUNCTIONS = [name for name in st.__all__ if inspect.isroutine(getattr(st, name))]
CLASSES = [name for name in st.__all__ if inspect.isclass(getattr(st, name))]


def loaded_after(statement):
    source = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(done.stdout))


def test_import_is_light():
    assert loaded_after("import spectool").isdisjoint(LIGHT)


def test_a_probe_needs_no_plot_and_no_torch():
    loaded = loaded_after("import spectool as st; st.estimate_spectrum([[2.0]])")
    assert "numba" in loaded
    assert loaded.isdisjoint({"torch", "matplotlib", "pyamg", "ssgetpy", "rich", "typer"})


def test_public_names_resolve_once():
    assert len(set(st.__all__)) == len(st.__all__)
    for name in st.__all__:
        assert getattr(st, name) is not None
        assert name in dir(st)
    with pytest.raises(AttributeError, match="nonsense"):
        st.nonsense  # noqa: B018


def modules():
    for path in sorted((ROOT / "spectool").rglob("__init__.py")):
        name = ".".join(path.parent.relative_to(ROOT).parts)
        if not name.endswith((".cli", ".bench")):
            yield name


@pytest.mark.parametrize("name", list(modules()))
def test_all_of_each_package_resolves(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", []):
        assert hasattr(module, public)


def sections(text):
    return re.findall(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(text), flags=re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_follow_numpydoc(name):
    function = getattr(st, name)
    text = inspect.cleandoc(function.__doc__)
    first = text.splitlines()[0]
    assert len(first) < 100
    assert first.endswith(".")
    found = sections(text)
    order = ["Parameters", "Returns", "Raises", "Warns", "Notes", "References", "Examples"]
    assert found == [section for section in order if section in found]
    assert {"Parameters", "Returns", "Raises", "Notes", "Examples"} <= set(found)
    parameters = text.split("Parameters\n")[1].split("\nReturns\n")[0]
    for parameter in inspect.signature(function).parameters:
        described = rf"^(\w+, )*{parameter}(, \w+)* : "  # numpydoc lets parameters share a line
        assert re.search(described, parameters, flags=re.MULTILINE), parameter


@pytest.mark.parametrize("name", CLASSES)
def test_classes_document_what_they_hold(name):
    assert {"Attributes", "Parameters"} & set(sections(getattr(st, name).__doc__))


def test_only_two_or_three_positional_arguments():
    for name in FUNCTIONS:
        if name == "expm_multiply":
            continue  # takes the place of scipy's, whose arguments are positional
        kinds = [p.kind for p in inspect.signature(getattr(st, name)).parameters.values()]
        assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 3


def test_layers_hold():
    command = shutil.which("lint-imports", path=Path(sys.executable).parent)
    if command is None:  # a tool of developers, which a plain "pip install spectool" lacks
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [command, "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "0 broken" in done.stdout


def test_files_stay_readable():
    """House rule: no file beyond 600 lines, none named after nothing in particular."""
    for path in (ROOT / "spectool").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, path
        assert path.stem not in {"utils", "helpers", "misc", "common", "core", "base", "manager"}
