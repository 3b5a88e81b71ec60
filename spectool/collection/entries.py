"""What is known of each matrix, and the four kinds of places that know it."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from platformdirs import user_cache_dir

from spectool.errors import CollectionError

_log = logging.getLogger("spectool")
SUITESPARSE_LICENCE: Final = "CC-BY-4.0"
MATRIX_SUFFIX: Final = ".mtx.gz"
ARCHIVE_SUFFIX: Final = ".tar.gz"


@dataclass(frozen=True, slots=True)
class Entry:
    """One matrix of the collection.

    Attributes
    ----------
    name : str
        ``"group/name"``, as `spectool.collection.load` takes it.
    n_rows, n_cols : int
        Shape.
    nnz : int
        Stored entries of the loaded array; the online index counts no stored zeros.
    kind : str
        Where the matrix comes from, for example ``"structural problem"``; empty where unknown.
    field : str
        ``"real"``, ``"complex"``, ``"integer"`` or ``"pattern"`` (loaded as ones).
    symmetric : bool or None
        Whether A equals its transpose or, if complex, its transpose or its conjugate transpose;
        None where the source does not say.
    spd : bool or None
        Whether A is symmetric positive definite; None where the source does not say.
    cond : float or None
        2-norm condition number, may be inf; None where unknown.
    licence : str
        Licence of the data; empty where unknown.
    where : str
        ``"bundled"``, the folder, ``"cache"`` or ``"online"``.
    sha256 : str or None
        Digest of the stored file, where recorded.
    """

    name: str
    n_rows: int
    n_cols: int
    nnz: int
    kind: str
    field: str
    symmetric: bool | None
    spd: bool | None
    cond: float | None
    licence: str
    where: str
    sha256: str | None = dataclasses.field(default=None, repr=False)

    def __str__(self) -> str:
        shape = f"{self.name}: {self.n_rows} x {self.n_cols}, {self.nnz} entries"
        words = [shape, self.kind, self.field]
        if self.spd or self.symmetric:
            words.append("symmetric positive definite" if self.spd else "symmetric")
        if self.cond is not None:
            words.append(f"cond {self.cond:.2g}")
        return ", ".join(word for word in words if word) + f" ({self.where})"


def bundle_folder() -> Path:
    """Return the folder of the bundled matrices, in a wheel or in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data" / "small"
    return installed if installed.is_dir() else package.parent / "data" / "small"


def data_folders() -> list[Path]:
    """Return the folders that SPECTOOL_DATA names, in its order."""
    return [Path(entry) for entry in os.environ.get("SPECTOOL_DATA", "").split(os.pathsep) if entry]


def cache_folder() -> Path:
    """Return the folder that downloads go to; SPECTOOL_CACHE moves it."""
    return Path(os.environ.get("SPECTOOL_CACHE") or user_cache_dir("spectool")) / "collection"


def file_in(folder: Path, name: str) -> Path:
    """Return where a folder of SPECTOOL_DATA, or the bundle, would hold a matrix."""
    return folder / (name.replace("/", "__") + MATRIX_SUFFIX)


def archive_in(cache: Path, name: str) -> Path:
    """Return where the cache would hold a matrix."""
    return cache / (name + ARCHIVE_SUFFIX)


def record_of(archive: Path) -> Path:
    """Return the file that holds digest and facts of a cached archive."""
    return archive.with_name(archive.name + ".json")


def bundled() -> list[Entry]:
    """Return what ships with the package."""
    manifest = bundle_folder() / "manifest.json"
    try:
        rows = json.loads(manifest.read_text(encoding="utf-8"))["matrices"]
        return [_entry(row, where="bundled") for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollectionError(
            f"the manifest of the bundled matrices, {manifest}, cannot be read ({error!r}); "
            "reinstall spectool"
        ) from error


def in_data_folders() -> list[Entry]:
    """Return what the catalogues of the SPECTOOL_DATA folders list."""
    entries: list[Entry] = []
    for folder in data_folders():
        catalog = folder / "catalog.csv"
        try:
            with catalog.open(encoding="utf-8", newline="") as file:
                entries += [_catalogued(row, str(folder)) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CollectionError(
                f"SPECTOOL_DATA names {folder}, whose catalog.csv cannot be read ({error!r}); it "
                "needs the columns group, name, n_rows, n_cols and nnz. Correct it, or take the "
                "folder out of SPECTOOL_DATA"
            ) from error
    return entries


def cached() -> list[Entry]:
    """Return what has been downloaded; records without their archive do not count."""
    archives = sorted(cache_folder().glob(f"*/*{ARCHIVE_SUFFIX}"))
    return [_entry(read_record(a), where="cache") for a in archives if record_of(a).is_file()]


def read_record(archive: Path) -> dict[str, Any]:
    """Return digest and facts that were recorded when an archive was downloaded."""
    path = record_of(archive)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _entry(record, where="cache")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollectionError(
            f"{archive} cannot be verified, because its record {path.name} cannot be read "
            f"({error!r}); delete the archive to download it again"
        ) from error
    else:
        return dict(record)


def indexed(text: str, source: str) -> list[Entry]:
    """Return what the SuiteSparse index lists.

    Parameters
    ----------
    text : str
        Number of matrices, date, then one line each: group, name, rows, columns, nonzeros,
        real?, binary?, 2D/3D?, posdef?, pattern symmetry, numerical symmetry, kind[, entries].
    source : str
        Where it came from, for the error.

    Returns
    -------
    list of Entry

    Raises
    ------
    CollectionError
        If a line cannot be understood, or the lines are not as many as the first one says.
    """
    rows = list(csv.reader(io.StringIO(text)))
    try:
        count = int(rows[0][0])
        entries = [_from_index(row) for row in rows[2:] if row]
    except (ValueError, IndexError) as error:
        raise CollectionError(f"{source} is not an index of the collection ({error})") from error
    if len(entries) != count:
        raise CollectionError(
            f"{source} announces {count} matrices and lists {len(entries)}: it is not whole; "
            "try again"
        )
    return entries


def from_ssgetpy() -> list[Entry]:
    """Return the index that an installed ``ssgetpy`` keeps in its own database, or nothing.

    It answers without the server once it has been filled; any trouble of that package means an
    empty list, so that the caller reads the server's index itself.
    """
    if importlib.util.find_spec("ssgetpy") is None:
        return []
    try:
        ssgetpy: Any = importlib.import_module("ssgetpy")
        found = ssgetpy.search(limit=1_000_000)  # its default would be 10
        return [
            Entry(
                name=f"{row.group}/{row.name}",
                n_rows=int(row.rows),
                n_cols=int(row.cols),
                nnz=int(row.nnz),
                kind=str(row.kind),
                field="pattern" if row.dtype == "binary" else str(row.dtype),
                symmetric=int(row.rows) == int(row.cols) and float(row.nsym) == 1.0,
                spd=bool(row.isspd),
                cond=None,
                licence=SUITESPARSE_LICENCE,
                where="online",
            )
            for row in found
        ]
    except Exception as error:
        _log.info("ssgetpy's index is not used: %r", error)
        return []


def merge(sources: Iterable[Iterable[Entry]]) -> list[Entry]:
    """Return one entry for each name: the first one, its gaps filled from later ones."""
    merged: dict[str, Entry] = {}
    for entries in sources:
        for entry in entries:
            first = merged.setdefault(entry.name, entry)
            if first is not entry:
                gaps = {
                    f.name: getattr(entry, f.name)
                    for f in dataclasses.fields(Entry)
                    if f.name != "sha256" and getattr(first, f.name) in (None, "")
                }
                merged[entry.name] = dataclasses.replace(first, **gaps)
    return sorted(merged.values(), key=lambda entry: entry.name)


def _entry(row: Mapping[str, Any], *, where: str) -> Entry:
    return Entry(
        name=str(row["name"]),
        n_rows=int(row["n_rows"]),
        n_cols=int(row["n_cols"]),
        nnz=int(row["nnz"]),
        kind=str(row.get("kind") or ""),
        field=str(row.get("field") or ""),
        symmetric=row.get("symmetric"),
        spd=row.get("spd"),
        cond=row.get("cond"),
        licence=str(row.get("licence") or ""),
        where=where,
        sha256=row["sha256"],
    )


def _catalogued(row: Mapping[str, str], where: str) -> Entry:
    known = {"yes": True, "no": False, "skew": False}
    symmetric = known.get(row.get("symmetric", ""))
    return Entry(
        name=f"{row['group']}/{row['name']}",
        n_rows=int(row["n_rows"]),
        n_cols=int(row["n_cols"]),
        nnz=int(row["nnz"]),
        kind=row.get("kind", ""),
        field=row.get("field", ""),
        symmetric=symmetric,
        spd=False if symmetric is False else known.get(row.get("posdef", "")),
        cond=float(row["cond2"]) if row.get("cond2") else None,
        licence=row.get("licence", ""),
        where=where,
    )


def _from_index(row: list[str]) -> Entry:
    n_rows, n_cols = int(row[2]), int(row[3])
    real, binary = bool(int(row[5])), bool(int(row[6]))
    return Entry(
        name=f"{row[0]}/{row[1]}",
        n_rows=n_rows,
        n_cols=n_cols,
        nnz=int(row[4]),
        kind=row[11],
        field="pattern" if binary else "real" if real else "complex",
        symmetric=n_rows == n_cols and float(row[10]) == 1.0,
        spd=bool(int(row[8])),
        cond=None,
        licence=SUITESPARSE_LICENCE,
        where="online",
    )
