"""Fetch archives of the SuiteSparse Matrix Collection: resumed, verified, never half.

Source
    RFC 9110 sections 13.1.5 (If-Range) and 14 (Range); RFC 9530 (Repr-Digest); RFC 3230 (Digest);
    RFC 1864 (Content-MD5).
How a file becomes whole
    Bytes go to ``NAME.part``, and what the server said of the whole to ``NAME.part.json``, so an
    interrupted download continues where it stopped. When all bytes are there, checksums that the
    server gave are compared and the archive is read to its end. Only then is a record with its
    SHA-256 written, and the file gets its name by one atomic rename.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import json
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, Final

from spectool.collection.entries import SUITESPARSE_LICENCE, archive_in, record_of
from spectool.collection.reading import Contents, read_archive
from spectool.errors import CollectionError, InputError
from spectool.progress import bytes_bar

BASE_URL: Final = "https://sparse.tamu.edu"
TIMEOUT: Final = 30.0
"""Longest silence of the server, in seconds."""
ATTEMPTS: Final = 4
PAUSE: float = 1.0
"""Seconds before an interrupted transfer is taken up again."""
CHUNK: Final = 2**16
MAX_INDEX: Final = 2**25
_ALGORITHMS: Final = ("sha512", "sha256", "md5")


class MissingError(CollectionError):
    """The server has no such file."""


class _Cut(Exception):  # noqa: N818 - never leaves this module
    """The transfer ended early; what arrived is kept."""


class _Stale(_Cut):
    """What arrived earlier is no part of what the server has now."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the server said of the whole file, kept beside the part of it."""

    url: str
    total: int | None
    validator: str | None
    checksums: dict[str, str] = field(default_factory=dict)


def fetch(name: str, cache: Path, *, rhs: bool, base_url: str = BASE_URL) -> Contents:
    """Download one matrix into the cache, and read it.

    Parameters
    ----------
    name : str
        ``"group/name"``, already validated.
    cache : Path
        Folder of the cache; made where missing.
    rhs : bool
        Whether to read the right-hand sides too.
    base_url : str
        Server with the layout of the SuiteSparse collection.

    Returns
    -------
    Contents

    Raises
    ------
    MissingError
        If the server has no such matrix.
    CollectionError
        If the transfer fails (its part is kept) or the file is not whole (nothing is kept).
    """
    target = archive_in(cache, name)
    part = target.with_name(target.name + ".part")
    url = f"{_checked(base_url)}/MM/{urllib.parse.quote(name)}.tar.gz"
    short = name.split("/")[1]
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(target.with_name(target.name + ".lock")):
            if target.exists() and record_of(target).exists():  # another process was faster
                return read_archive(target, short, rhs=rhs)
            promise = _transfer(url, part)
            try:
                sha256 = _compare(part, promise)
                contents = read_archive(part, short, rhs=rhs)
            except CollectionError as error:
                _discard(part)
                raise CollectionError(
                    f"{url} arrived, but is not usable, and was deleted: {error}. "
                    "Try again later, or another base_url"
                ) from error
            facts = _facts(name, contents) | {"sha256": sha256, "url": url}
            _write_atomically(record_of(target), json.dumps(facts, indent=1) + "\n")
            part.replace(target)
            _promise_of(part).unlink(missing_ok=True)
            return contents
    except CollectionError:
        raise
    except OSError as error:
        raise CollectionError(
            f"the cache {cache} cannot be written ({error}); "
            "make room, or set SPECTOOL_CACHE to a folder of yours"
        ) from error


def fetch_index(base_url: str = BASE_URL) -> tuple[str, str]:
    """Return the text of the collection's index, and its address."""
    url = f"{_checked(base_url)}/files/ssstats.csv"
    with _request(url, {}) as response:
        total = _length(response.headers)
        try:
            data = response.read(MAX_INDEX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise CollectionError(
                f"the download of {url} broke off ({error}); try again"
            ) from error
    if len(data) > MAX_INDEX or (total is not None and len(data) != total):
        raise CollectionError(
            f"{url}: {len(data)} bytes arrived where {total} were announced and at most "
            f"{MAX_INDEX} are accepted; try again"
        )
    return data.decode("utf-8", errors="replace"), url


def _transfer(url: str, part: Path) -> Promise:
    """Complete ``part``, resuming it after each interruption."""
    for attempt in range(ATTEMPTS):
        try:
            return _continue(url, part)
        except _Cut as cut:
            reason = cut
            if isinstance(cut, _Stale):
                _discard(part)
            time.sleep(PAUSE * (attempt + 1 < ATTEMPTS))
    raise CollectionError(
        f"the download of {url} broke off {ATTEMPTS} times ({reason}); {_size(part)} bytes are "
        f"kept in {part}: load again to continue there"
    ) from reason


def _continue(url: str, part: Path) -> Promise:
    promise, have = _read_promise(url, part)
    if promise is not None and have == promise.total:
        return promise
    headers = {}
    if promise is not None and have:
        headers["Range"] = f"bytes={have}-"
        if promise.validator is not None:
            headers["If-Range"] = promise.validator
    with _request(url, headers) as response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT and promise is not None:
            first, total = _content_range(response.headers)
            if first != have or (promise.total is not None and total != promise.total):
                raise _Stale("the server sent another part than the one asked for")
        elif response.status == http.HTTPStatus.OK:  # a new file, or a server without ranges
            have = 0
            part.write_bytes(b"")
            promise = _promise(url, response.headers)
            _promise_of(part).write_text(json.dumps(asdict(promise)), encoding="utf-8")
        else:
            raise CollectionError(f"{url}: the server answered {response.status}, not 200 or 206")
        _receive(response, part, have, promise.total)
    return promise


def _receive(response: http.client.HTTPResponse, part: Path, have: int, total: int | None) -> None:
    """Append the body to ``part``; what arrived stays there, whatever interrupts."""
    title = part.name.removesuffix(".part")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise CollectionError(
            f"{title} needs {total - have} more bytes in {part.parent}, where {free} are free; "
            "make room, or set SPECTOOL_CACHE to a larger disk"
        )
    quiet = not sys.stderr.isatty()
    with bytes_bar(title, total, disable=quiet) as (bar, task), part.open("ab") as out:
        bar.update(task, completed=have)  # type: ignore[arg-type]
        while total is None or have < total:
            try:
                chunk = response.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Cut(f"{type(error).__name__}: {error}") from error
            if not chunk:
                break
            out.write(chunk)
            have += len(chunk)
            bar.update(task, completed=have)  # type: ignore[arg-type]
    if total is not None and have != total:
        raise _Cut(f"{have} of {total} bytes arrived")


def _request(url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """Open ``url``; no other scheme than http and https, none weaker than that of ``url``."""
    common = {"User-Agent": "spectool", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers={**common, **headers})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _Stale("the server has no such range") from error
            kind = MissingError if error.code == http.HTTPStatus.NOT_FOUND else CollectionError
            raise kind(f"{url}: the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise CollectionError(
            f"{url} could not be reached ({getattr(error, 'reason', error)}). Offline, the bundled "
            "matrices (spectool.collection.search()), the cache and the folders of SPECTOOL_DATA "
            "can be loaded"
        ) from error
    if url.startswith("https:") and not response.url.startswith("https:"):
        response.close()
        raise CollectionError(f"{url} was redirected to {response.url}, which is not encrypted")
    return response


def _checked(base_url: str) -> str:
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in ("https", "http") or not parts.netloc:
        raise InputError(
            f"base_url must be the https (or http) address of a server; got {base_url!r}; "
            f"the default is {BASE_URL!r}"
        )
    return base_url.rstrip("/")


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _content_range(headers: Message) -> tuple[int, int]:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
    if match is None:
        raise _Stale("the server sent a part and did not say which")
    return int(match[1]), int(match[2])


def _promise(url: str, headers: Message) -> Promise:
    etag = headers.get("ETag", "")
    strong = etag.startswith('"')  # If-Range needs a strong validator
    return Promise(
        url=url,
        total=_length(headers),
        validator=etag if strong else headers.get("Last-Modified"),
        checksums=_checksums(headers),
    )


def _checksums(headers: Message) -> dict[str, str]:
    """Return the hexadecimal digests that the headers of a complete answer promise.

    An ETag of 32 hexadecimal digits is the MD5 of an object in S3, unless encrypted by a key.
    """
    found: dict[str, str] = {}
    etag = re.fullmatch(r'"([0-9a-fA-F]{32})"', headers.get("ETag", ""))
    if etag and not headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"):
        found["md5"] = etag[1].lower()
    listed = [("md5", headers.get("Content-MD5", ""))]
    for header in ("Digest", "Repr-Digest"):
        for item in headers.get(header, "").split(","):
            algorithm, _, value = item.strip().partition("=")
            listed.append((algorithm.lower().replace("sha-", "sha"), value.strip(":")))
    for algorithm, value in listed:
        if algorithm in _ALGORITHMS and value:
            try:
                found[algorithm] = base64.b64decode(value, validate=True).hex()
            except binascii.Error:
                found[algorithm] = value  # cannot be right, and must not pass for absent
    return found


def _compare(part: Path, promise: Promise) -> str:
    """Return the SHA-256 of ``part`` after comparing the server's checksums."""
    for algorithm, expected in promise.checksums.items():
        actual = _digest(part, algorithm)
        if actual != expected:
            raise CollectionError(f"its {algorithm} is {actual}, the server promised {expected}")
    return _digest(part, "sha256")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        new = lambda: hashlib.new(algorithm, usedforsecurity=False)  # noqa: E731
        return hashlib.file_digest(file, new).hexdigest()


def _facts(name: str, contents: Contents) -> dict[str, Any]:
    A = contents.A
    return {
        "name": name,
        "n_rows": A.shape[0],
        "n_cols": A.shape[1],
        "nnz": A.nnz,
        "field": contents.field,
        "symmetric": {"symmetric": True, "hermitian": True, "skew-symmetric": False}.get(
            contents.symmetry
        ),
        "licence": SUITESPARSE_LICENCE,
    }


def _promise_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_promise(url: str, part: Path) -> tuple[Promise | None, int]:
    """Return what is known of an interrupted download, and how many bytes of it are here."""
    have = _size(part)
    try:
        promise = Promise(**json.loads(_promise_of(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None, 0
    usable = promise.url == url and promise.total is not None
    return (promise, have) if usable else (None, 0)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _promise_of(part).unlink(missing_ok=True)


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Let one process at a time download a file; without effect on Windows."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
