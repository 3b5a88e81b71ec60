"""The pages' examples see the bundled matrices only, whatever folders this machine has."""

import pytest


@pytest.fixture(autouse=True)
def _bundled_only(monkeypatch, tmp_path_factory):
    monkeypatch.delenv("SPECTOOL_DATA", raising=False)
    monkeypatch.setenv("SPECTOOL_CACHE", str(tmp_path_factory.getbasetemp() / "docs-cache"))
