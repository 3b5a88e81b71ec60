"""What is on this machine: the bundle, folders of SPECTOOL_DATA, names, search."""

import dataclasses
import gzip
import hashlib
import importlib.machinery
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from collection_server import matrix_market
from scipy import sparse
from scipy.io import mmread

from spectool import collection
from spectool.collection import entries
from spectool.errors import CollectionError, InputError

MANIFEST = json.loads((entries.bundle_folder() / "manifest.json").read_text())["matrices"]
USER_DATA = os.environ.get("SPECTOOL_DATA", "")


@pytest.fixture(autouse=True)
def _own_places(monkeypatch, tmp_path):
    monkeypatch.setenv("SPECTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPECTOOL_DATA", raising=False)


def put(folder: Path, name: str, data: bytes, **facts: object) -> None:
    """Add one matrix to a folder and its catalogue."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name.replace('/', '__')}.mtx.gz").write_bytes(gzip.compress(data))
    group, short = name.split("/")
    row = {"group": group, "name": short, "n_rows": 3, "n_cols": 3, "nnz": 3} | facts
    catalog = folder / "catalog.csv"
    if not catalog.exists():
        catalog.write_text(",".join(row) + "\n")
    with catalog.open("a") as file:
        file.write(",".join(map(str, row.values())) + "\n")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    path = tmp_path / "data"
    monkeypatch.setenv("SPECTOOL_DATA", str(path))
    return path


@pytest.mark.parametrize("row", MANIFEST, ids=lambda row: row["name"])
def test_bundled_matrix_is_what_its_manifest_says(row):
    A = collection.load(row["name"], download=False)

    assert type(A) is sparse.csr_array
    assert A.dtype == np.float64
    assert A.has_canonical_format
    assert A.shape == (row["n_rows"], row["n_cols"])
    assert A.nnz == row["nnz"]
    assert ((A - A.T).count_nonzero() == 0) == row["symmetric"]
    data = (entries.bundle_folder() / row["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == row["sha256"]


@pytest.mark.parametrize(
    "row", [r for r in MANIFEST if r["n_rows"] < 1000], ids=lambda row: row["name"]
)
def test_bundled_matrix_has_the_spectrum_its_manifest_says(row):
    A = collection.load(row["name"]).toarray()

    sigma = np.linalg.svd(A, compute_uv=False)
    eps_relative = 10 * len(A) * np.finfo(float).eps * row["cond"]  # of the smallest
    assert sigma[0] / sigma[-1] == pytest.approx(row["cond"], rel=1e-5 + eps_relative)
    if row["symmetric"]:
        assert (np.linalg.eigvalsh(A)[0] > 0) == row["spd"]


def test_bundle_is_small_enough_to_ship():
    assert sum(f.stat().st_size for f in entries.bundle_folder().iterdir()) < 1_500_000


def test_bundle_holds_no_file_without_manifest_row():
    files = {f.name for f in entries.bundle_folder().glob("*.mtx.gz")}
    assert files == {row["file"] for row in MANIFEST}


def test_changed_bundled_file_is_refused(monkeypatch, tmp_path):
    copy = tmp_path / "small"
    copy.mkdir()
    for name in ("manifest.json", "HB__bcsstk01.mtx.gz"):
        (copy / name).write_bytes((entries.bundle_folder() / name).read_bytes())
    text = gzip.decompress((copy / "HB__bcsstk01.mtx.gz").read_bytes())
    (copy / "HB__bcsstk01.mtx.gz").write_bytes(gzip.compress(text.replace(b"1 1 2", b"1 1 3", 1)))
    monkeypatch.setattr(entries, "bundle_folder", lambda: copy)

    with pytest.raises(CollectionError, match="SHA-256"):
        collection.load("HB/bcsstk01")


@pytest.mark.parametrize(
    "name",
    [
        "bcsstk17",
        "",
        "HB/",
        "/bcsstk17",
        "HB/bcsstk17/x",
        "../HB/bcsstk17",
        "HB/../../etc/passwd",
        "HB/..",
        ".hidden/x",
        "HB\\bcsstk17",
        "HB/bcsstk17\n",
        "HB/b c",
        "HB/bcsstk17?x=1",
        "HB/%2e%2e",
        "HB/" + "x" * 200,
        "HB/ß",
        17,
    ],
)
def test_refuses_names_that_are_no_names(name):
    with pytest.raises(InputError, match="name must be 'group/name'"):
        collection.load(name)


def test_suggests_names_like_the_one_asked_for():
    with pytest.raises(InputError, match=r"Did you mean .*HB/bcsstk01"):
        collection.load("bcsstk01")
    with pytest.raises(CollectionError, match=r"looked in .*download=False.*HB/arc130"):
        collection.load("HB/arc131", download=False)


@pytest.mark.parametrize(
    ("header", "body", "expected"),
    [
        (
            "coordinate real symmetric",
            "3 3 3\n1 1 2\n2 1 5\n3 3 1",
            [[2, 5, 0], [5, 0, 0], [0, 0, 1]],
        ),
        ("coordinate real skew-symmetric", "3 3 1\n3 1 5", [[0, 0, -5], [0, 0, 0], [5, 0, 0]]),
        (
            "coordinate complex hermitian",
            "3 3 2\n1 1 2 0\n2 1 1 4",
            [[2, 1 - 4j, 0], [1 + 4j, 0, 0], [0, 0, 0]],
        ),
        ("coordinate pattern general", "3 3 2\n1 2\n3 3", [[0, 1, 0], [0, 0, 0], [0, 0, 1]]),
        ("coordinate integer general", "3 3 2\n1 2 7\n3 3 -1", [[0, 7, 0], [0, 0, 0], [0, 0, -1]]),
        ("coordinate real general", "3 3 3\n1 3 2\n1 1 1\n1 3 4", [[1, 0, 6], [0] * 3, [0] * 3]),
        ("array real general", "3 3\n1\n0\n0\n2\n0\n0\n0\n0\n3", [[1, 2, 0], [0, 0, 0], [0, 0, 3]]),
    ],
)
def test_every_storage_becomes_canonical_csr(folder, header, body, expected):
    put(folder, "G/a", f"%%MatrixMarket matrix {header}\n% a comment\n{body}\n".encode())

    A = collection.load("G/a", download=False)

    assert type(A) is sparse.csr_array
    assert A.dtype == (np.complex128 if "complex" in header else np.float64)
    assert A.has_canonical_format
    assert A.indices.dtype == A.indptr.dtype == np.int32
    np.testing.assert_array_equal(A.toarray(), expected)


def test_stored_zeros_are_kept(folder):
    put(folder, "G/a", b"%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 0\n2 2 1\n")
    assert collection.load("G/a").nnz == 2


@pytest.mark.parametrize("k", [1, 3])
def test_right_hand_sides_beside_the_file(folder, k):
    b = np.random.default_rng(564738291).standard_normal((3, k))
    put(folder, "G/a", matrix_market(sparse.eye_array(3)))
    (folder / "G__a_b.mtx.gz").write_bytes(gzip.compress(matrix_market(b)))

    A, got = collection.load("G/a", rhs=True)

    assert A.shape == (3, 3)
    np.testing.assert_array_equal(got, b[:, 0] if k == 1 else b)


def test_right_hand_side_is_none_where_there_is_none():
    A, b = collection.load("HB/bcsstk01", rhs=True)
    assert A.nnz == 400
    assert b is None


def test_folders_come_in_the_order_of_the_variable(monkeypatch, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    put(one, "G/a", matrix_market(sparse.eye_array(3)), kind="first")
    put(two, "G/a", matrix_market(2 * sparse.eye_array(3)), kind="second", cond2="1.0")
    put(two, "G/b", matrix_market(3 * sparse.eye_array(3)), kind="second", cond2="1.0")
    monkeypatch.setenv("SPECTOOL_DATA", f"{one}{os.pathsep}{os.pathsep}{two}")

    assert collection.load("G/a")[0, 0] == 1
    assert collection.load("G/b")[0, 0] == 3
    a, b = collection.search(group="g")
    assert (a.kind, a.where) == ("first", str(one))
    assert a.cond == 1.0  # filled from the second folder
    assert (b.kind, b.where) == ("second", str(two))


@pytest.mark.parametrize(
    "data",
    [
        b"not gzip at all",
        gzip.compress(matrix_market(sparse.eye_array(50)))[:-30],
        gzip.compress(matrix_market(sparse.eye_array(50)))[:-8] + b"\0" * 8,
        gzip.compress(b""),
        gzip.compress(b"\x80\x04\x95 a pickle"),
        gzip.compress(b"%%MatrixMarket matrix coordinate real general\n3 3 9\n1 1 1\n"),
        gzip.compress(b"%%MatrixMarket matrix coordinate real general\n3 3 1\n9 9 1\n"),
        gzip.compress(b"%%MatrixMarket matrix coordinate real general\n3 3 99999999999999999999\n"),
        gzip.compress(b"%%MatrixMarket vector coordinate real general\n3 1\n1 1\n"),
    ],
    ids=["no-gzip", "cut", "crc", "empty", "pickle", "few", "outside", "overflow", "vector"],
)
def test_damaged_file_is_refused(folder, data):
    put(folder, "G/a", b"")
    (folder / "G__a.mtx.gz").write_bytes(data)

    with pytest.raises(CollectionError, match="G/a could not be read"):
        collection.load("G/a", download=False)


def test_folder_without_catalogue_is_an_error_of_search_that_names_it(folder):
    with pytest.raises(CollectionError, match=r"SPECTOOL_DATA names .*data.*catalog\.csv"):
        collection.search()


def test_catalogue_with_a_bad_row_is_an_error(folder):
    put(folder, "G/a", b"", n_rows="many")
    with pytest.raises(CollectionError, match="many"):
        collection.search()


def test_search_lists_the_bundle_completely():
    found = collection.search()
    assert [entry.name for entry in found] == sorted(row["name"] for row in MANIFEST)
    assert {entry.where for entry in found} == {"bundled"}


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ({"group": "pyamg"}, "pyamg/bar pyamg/ldg_diffusion pyamg/recirc_flow"),
        ({"name": "BCSSTK*"}, "HB/bcsstk01 HB/bcsstk02 HB/bcsstk16"),
        ({"name": "hb/*k16"}, "HB/bcsstk16"),
        ({"name": "bcsstk"}, ""),
        ({"kind": "Elastic"}, "pyamg/bar"),
        ({"spd": True, "max_rows": 147}, "HB/bcsstk01 HB/bcsstk02 HB/lund_a"),
        ({"spd": False, "min_rows": 362}, "HB/plskz362 pyamg/ldg_diffusion"),
        ({"symmetric": True, "min_nnz": 4356, "max_nnz": 23402}, "HB/bcsstk02 pyamg/bar"),
        ({"min_rows": 4884, "max_rows": 4884}, "HB/bcsstk16"),
    ],
)
def test_search_filters(conditions, names):
    assert " ".join(entry.name for entry in collection.search(**conditions)) == names


def test_unknown_properties_match_neither_answer(folder):
    put(folder, "G/a", matrix_market(sparse.eye_array(3)))
    assert len(collection.search(group="G")) == 1
    assert collection.search(group="G", spd=True) == []
    assert collection.search(group="G", spd=False) == []


def test_search_refuses_crossed_bounds():
    with pytest.raises(InputError, match="min_rows must not exceed max_rows; got 5 and 4"):
        collection.search(min_rows=5, max_rows=4)


def test_entry_is_frozen_and_prints_as_one_sentence():
    (entry,) = collection.search(name="bcsstk01")
    assert str(entry) == (
        "HB/bcsstk01: 48 x 48, 400 entries, structural problem, real, "
        "symmetric positive definite, cond 8.8e+05 (bundled)"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.nnz = 3


@pytest.mark.skipif(not USER_DATA, reason="SPECTOOL_DATA is unset")
def test_catalogue_of_the_user_agrees_with_the_files(monkeypatch):
    monkeypatch.setenv("SPECTOOL_DATA", USER_DATA)
    listed = [e for e in collection.search(max_nnz=60_000) if e.where != "bundled"]
    assert listed
    for entry in listed[:: max(1, len(listed) // 12)]:
        A = collection.load(entry.name, download=False)
        assert (A.shape, A.nnz) == ((entry.n_rows, entry.n_cols), entry.nnz), entry.name
        if entry.symmetric and entry.field != "complex":
            assert (A - A.T).count_nonzero() == 0, entry.name
        source = entries.file_in(Path(entry.where), entry.name)
        np.testing.assert_array_equal((A - mmread(source, spmatrix=False).tocsr()).data, 0)


def test_online_search_takes_the_index_from_an_installed_ssgetpy(monkeypatch):
    row = types.SimpleNamespace(
        group="Made", name="up", rows=3, cols=3, nnz=5, dtype="real", isspd=1, nsym=1.0, kind="toy"
    )
    fake = types.ModuleType("ssgetpy")
    fake.__spec__ = importlib.machinery.ModuleSpec("ssgetpy", None)
    fake.search = lambda limit: [row] * (limit > 10)
    monkeypatch.setitem(sys.modules, "ssgetpy", fake)

    (found,) = collection.search(group="Made", online=True)

    assert (found.name, found.n_rows, found.nnz, found.spd) == ("Made/up", 3, 5, True)


def test_a_broken_ssgetpy_counts_as_absent(monkeypatch):
    fake = types.ModuleType("ssgetpy")
    fake.__spec__ = importlib.machinery.ModuleSpec("ssgetpy", None)
    monkeypatch.setitem(sys.modules, "ssgetpy", fake)  # it has no search

    assert entries.from_ssgetpy() == []
