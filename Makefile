# `make demo` and `make test` start from a bare clone with Python >= 3.11 and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint docs clean help

help:
	@echo "make demo   solve, f(A) b and filters on bundled real matrices; writes report/index.html"
	@echo "make test   the test-suite, with doctests"
	@echo "make lint   ruff, mypy --strict, import-linter"
	@echo "make docs   build the documentation with warnings as errors"

demo: $(VENV)/.demo
	$(BIN)/spectool demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --quiet --doctest-modules --doctest-glob='*.md' spectool \
		docs/index.md docs/how-to docs/tutorials docs/explanation
	$(BIN)/python -m pytest tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	rm -rf docs/reference/generated  # pages of names that may be gone
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable ".[plot]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable ".[dev]"
	@touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) report docs/_build docs/auto_examples docs/reference/generated build dist
