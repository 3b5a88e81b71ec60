"""Real matrices: a small bundle, your own folders, and the SuiteSparse Matrix Collection.

`load` looks in four places, in this order:

1. the bundled matrices (11 of them, 1.4 MB);
2. the folders that the environment variable ``SPECTOOL_DATA`` names (separated as in ``PATH``),
   which hold ``Group__name.mtx.gz`` and a ``catalog.csv`` (columns group, name, n_rows, n_cols,
   nnz; optional kind, field, symmetric, posdef, cond2, licence);
3. the cache of earlier downloads (``SPECTOOL_CACHE`` moves it);
4. the server, by HTTPS.

Downloads resume where they stopped, are verified as they arrive and at every later load, and are
never seen half. Where ``ssgetpy`` is installed, `search` takes the index from its database. Files
are fetched by our own code: ssgetpy (1.0rc2) neither resumes nor verifies, and unpacks archives
whole.

Source
    T. A. Davis, Y. Hu, The University of Florida Sparse Matrix Collection, ACM Trans. Math.
    Softw. 38(1), 2011, article 1; layout of https://sparse.tamu.edu.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from spectool.collection import download as _download
from spectool.collection import entries as _entries
from spectool.collection import reading as _reading
from spectool.collection.download import BASE_URL
from spectool.collection.entries import Entry
from spectool.errors import CollectionError, InputError

if TYPE_CHECKING:
    from scipy import sparse

    from spectool._types import Array

__all__ = ["Entry", "load", "search"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")


@overload
def load(
    name: str, *, rhs: Literal[False] = ..., download: bool = ..., base_url: str = ...
) -> sparse.csr_array[Any]: ...
@overload
def load(
    name: str, *, rhs: Literal[True], download: bool = ..., base_url: str = ...
) -> tuple[sparse.csr_array[Any], Array | None]: ...
def load(
    name: str, *, rhs: bool = False, download: bool = True, base_url: str = BASE_URL
) -> sparse.csr_array[Any] | tuple[sparse.csr_array[Any], Array | None]:
    """Load one matrix A, and its right-hand sides b on demand.

    Symmetric, skew-symmetric and Hermitian storage is expanded, duplicates are summed, indices are
    sorted, stored zeros are kept. Patterns become ones.

    Parameters
    ----------
    name : str
        ``"group/name"``, for example ``"HB/bcsstk17"``; `search` lists names.
    rhs : bool
        Whether to return b too.
    download : bool
        Whether to ask the server for what is not on this machine.
    base_url : str
        Server with the layout of the SuiteSparse collection: ``MM/group/name.tar.gz``.

    Returns
    -------
    A : csr_array, shape (n_rows, n_cols)
        float64, or complex128 where the file is complex; in the units of the source.
    b : ndarray, shape (n_rows,) or (n_rows, k), or None
        Only with ``rhs=True``; None where the source has none.

    Raises
    ------
    InputError
        If ``name`` is not of the form ``"group/name"``, or ``base_url`` is not a web address.
    CollectionError
        If the matrix is nowhere to be found, or its file fails verification.

    Notes
    -----
    Cost: the file is read twice, once for its SHA-256 (bundle and cache), once for its entries.
    An interrupted download (also Ctrl-C) leaves a ``.part`` file in the cache, and the next call
    continues it. A download is verified by the server's checksum where it gives one (Content-MD5,
    Digest, Repr-Digest, an MD5 as ETag) and by reading the archive to its end, where gzip compares
    length and CRC; its SHA-256 is recorded then and compared at each load.

    Examples
    --------
    >>> import spectool as st
    >>> A = st.collection.load("HB/bcsstk01")
    >>> A.shape, A.nnz, abs(A - A.T).max().item()
    ((48, 48), 400, 0.0)
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"name must be 'group/name', for example 'HB/bcsstk17'; got {name!r}"
            + _nearest(str(name), _names(_offline()))
        )
    contents = _find(name, rhs=rhs)
    if contents is None:
        contents = _fetch(name, rhs=rhs, download=download, base_url=base_url)
    return (contents.A, contents.b) if rhs else contents.A


def search(
    *,
    group: str | None = None,
    name: str | None = None,
    kind: str | None = None,
    symmetric: bool | None = None,
    spd: bool | None = None,
    min_rows: int | None = None,
    max_rows: int | None = None,
    min_nnz: int | None = None,
    max_nnz: int | None = None,
    online: bool = False,
    base_url: str = BASE_URL,
) -> list[Entry]:
    """List the matrices that fulfil all conditions.

    Parameters
    ----------
    group : str or None
        Exact group, for example ``"HB"``; case does not matter.
    name : str or None
        Shell pattern, for example ``"bcsstk*"`` or ``"HB/bcsstk*"``; case does not matter.
    kind : str or None
        Part of the kind, for example ``"structural"``; case does not matter.
    symmetric, spd : bool or None
        Demanded property. A matrix whose source does not say fulfils neither True nor False.
    min_rows, max_rows, min_nnz, max_nnz : int or None
        Bounds, inclusive.
    online : bool
        Whether to list also what only the server has (its index, some 0.3 MB, is fetched).
    base_url : str
        Server with the layout of the SuiteSparse collection: ``files/ssstats.csv``.

    Returns
    -------
    list of Entry
        All of them, sorted by name. A matrix in several places is listed once, where `load` finds
        it.

    Raises
    ------
    InputError
        If a lower bound exceeds its upper bound.
    CollectionError
        If a catalogue cannot be read, or the index cannot be fetched whole.

    Examples
    --------
    >>> import spectool as st
    >>> for entry in st.collection.search(group="HB", spd=True, max_rows=50):
    ...     print(entry.name, entry.n_rows, entry.nnz)
    HB/bcsstk01 48 400
    """
    rows, nnz = _bounds("rows", min_rows, max_rows), _bounds("nnz", min_nnz, max_nnz)
    sources = _offline()
    if online:
        known = _entries.from_ssgetpy() if base_url == BASE_URL else []
        sources.append(known or _entries.indexed(*_download.fetch_index(base_url)))
    return [
        entry
        for entry in _entries.merge(sources)
        if (group is None or entry.name.split("/")[0].lower() == group.lower())
        and (name is None or _matches(entry.name, name))
        and (kind is None or kind.lower() in entry.kind.lower())
        and (symmetric is None or entry.symmetric is symmetric)
        and (spd is None or entry.spd is spd)
        and rows[0] <= entry.n_rows <= rows[1]
        and nnz[0] <= entry.nnz <= nnz[1]
    ]


def _find(name: str, *, rhs: bool) -> _reading.Contents | None:
    """Read a matrix from this machine."""
    located = _locate(name)
    if located is None:
        return None
    path, sha256 = located
    try:
        if path.name.endswith(_entries.ARCHIVE_SUFFIX):
            return _reading.read_archive(path, name.split("/")[1], rhs=rhs, sha256=sha256)
        return _reading.read_file(path, rhs=rhs, sha256=sha256)
    except OSError as error:
        raise CollectionError(
            f"{name} could not be read: {error}. Delete the file if it is in the cache (it will be "
            "downloaded again), replace it if it is yours, reinstall spectool if it is bundled"
        ) from error


def _locate(name: str) -> tuple[Path, str | None] | None:
    """Return the file of a matrix on this machine, and its SHA-256 where one is recorded."""
    for entry in _entries.bundled():
        if entry.name == name:
            return _entries.file_in(_entries.bundle_folder(), name), entry.sha256
    for folder in _entries.data_folders():
        path = _entries.file_in(folder, name)
        if path.is_file():
            return path, None
    archive = _entries.archive_in(_entries.cache_folder(), name)
    return (archive, _entries.read_record(archive)["sha256"]) if archive.is_file() else None


def _fetch(name: str, *, rhs: bool, download: bool, base_url: str) -> _reading.Contents:
    cache = _entries.cache_folder()
    looked = ", ".join(str(p) for p in (_entries.bundle_folder(), *_entries.data_folders(), cache))
    if not download:
        raise CollectionError(
            f"{name} is not on this machine (looked in {looked}), and download=False"
            + _nearest(name, _names(_offline()))
        )
    try:
        return _download.fetch(name, cache, rhs=rhs, base_url=base_url)
    except _download.MissingError as error:
        try:
            known = _entries.indexed(*_download.fetch_index(base_url))
        except CollectionError:  # the names on this machine must do
            known = []
        raise CollectionError(
            f"{name} was found neither on this machine (looked in {looked}) nor on the server "
            f"({error})" + _nearest(name, _names([*_offline(), known]))
        ) from error
    except CollectionError as error:
        raise CollectionError(
            f"{name} is not on this machine (looked in {looked}), and {error}"
        ) from error


def _offline() -> list[list[Entry]]:
    return [_entries.bundled(), _entries.in_data_folders(), _entries.cached()]


def _names(sources: Iterable[Iterable[Entry]]) -> list[str]:
    return sorted({entry.name for source in sources for entry in source})


def _nearest(name: str, names: list[str]) -> str:
    """Return the tail of an error message: names like this one, or where to find names."""
    short = name.rsplit("/", 1)[-1].lower()
    by_short = {known.rsplit("/", 1)[-1].lower(): known for known in names}
    near = [by_short[match] for match in difflib.get_close_matches(short, by_short, n=3)]
    if near:
        return f". Did you mean {' or '.join(near)}?"
    return ". spectool.collection.search(online=True) lists all names"


def _matches(full: str, pattern: str) -> bool:
    subject = full if "/" in pattern else full.split("/", 1)[1]
    return fnmatch.fnmatchcase(subject.lower(), pattern.lower())


def _bounds(what: str, lower: int | None, upper: int | None) -> tuple[float, float]:
    low = 0.0 if lower is None else lower
    high = float("inf") if upper is None else upper
    if low > high:
        raise InputError(f"min_{what} must not exceed max_{what}; got {lower} and {upper}")
    return low, high
