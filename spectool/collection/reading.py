"""Read Matrix Market files and SuiteSparse archives without trusting them.

Nothing is unpacked to disk and nothing is unpickled: members of an archive are streamed, and only
regular files with one of two exact names are looked at. The stream is read to its end, so that the
checksum of the gzip container is compared before anything is returned.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse
from scipy.io import mmread

from spectool.errors import CollectionError

if TYPE_CHECKING:
    from spectool._types import Array

# Text of matrices shrinks 4 to 8 times, a vector of ones up to 1000 times; a bomb is all zeros.
SMALL: Final = 2**26
MAX_EXPANSION: Final = 200
CHUNK: Final = 2**20

_DAMAGE = (
    tarfile.TarError,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    ValueError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What one file held: A of shape (n, m), b of shape (n,) or (n, k), and the header's words."""

    A: sparse.csr_array[Any]
    b: Array | None
    field: str
    symmetry: str


class _Bounded(io.RawIOBase):
    """Pass a stream on, and refuse more than ``limit`` bytes of it."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream = stream
        self._left = limit
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise CollectionError(
                f"the file expands to more than {self._limit} bytes, over {MAX_EXPANSION} times "
                "its size: matrices do not, decompression bombs do"
            )
        buffer[: len(data)] = data
        return len(data)


def read_archive(path: Path, name: str, *, rhs: bool, sha256: str | None = None) -> Contents:
    """Read ``name/name.mtx``, and ``name/name_b.mtx`` on demand, from a .tar.gz file.

    Parameters
    ----------
    path : Path
        The archive.
    name : str
        Name of the matrix, without its group.
    rhs : bool
        Whether to read the right-hand sides too; b stays None where the archive has none.
    sha256 : str or None
        Hexadecimal digest that the file must have.

    Returns
    -------
    Contents

    Raises
    ------
    CollectionError
        If the file is damaged, holds no such matrix, or expands suspiciously.
    """
    found: dict[str, tuple[Any, str, str]] = {}
    main, side = f"{name}/{name}.mtx", f"{name}/{name}_b.mtx"
    with _unzipped(path, sha256) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=2**16) as tar:
            for member in tar:
                if not (member.name == main or (rhs and member.name == side)):
                    continue
                if not member.isreg() or member.issparse():
                    raise CollectionError(f"{path}: member {member.name} is not a regular file")
                if member.name in found:
                    raise CollectionError(f"{path}: member {member.name} occurs twice")
                file = tar.extractfile(member)
                assert file is not None  # a regular file has contents
                found[member.name] = _parse(file)
        _drain(stream)
    if main not in found:
        raise CollectionError(f"{path} holds no member {main}; is it the archive of a matrix?")
    value, field, symmetry = found[main]
    b = _dense(found[side][0]) if side in found else None
    return Contents(_csr(value), b, field, symmetry)


def read_file(path: Path, *, rhs: bool, sha256: str | None = None) -> Contents:
    """Read ``NAME.mtx.gz``, and ``NAME_b.mtx.gz`` beside it on demand; see `read_archive`."""
    with _unzipped(path, sha256) as stream:
        value, field, symmetry = _parse(stream)
        _drain(stream)
    b = None
    beside = path.with_name(path.name.removesuffix(".mtx.gz") + "_b.mtx.gz")
    if rhs and beside.is_file():
        with _unzipped(beside, None) as stream:
            b = _dense(_parse(stream)[0])
            _drain(stream)
    return Contents(_csr(value), b, field, symmetry)


@contextmanager
def _unzipped(path: Path, sha256: str | None) -> Iterator[io.BufferedReader[_Bounded]]:
    """Yield the decompressed bytes of a file whose digest has been compared."""
    try:
        with path.open("rb") as file:
            if sha256 is not None:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
                if actual != sha256:
                    raise CollectionError(
                        f"{path} has SHA-256 {actual}, not {sha256} as recorded: it was changed"
                    )
            limit = SMALL + MAX_EXPANSION * file.seek(0, io.SEEK_END)
            file.seek(0)
            with (
                gzip.GzipFile(fileobj=file) as unzipped,
                io.BufferedReader(_Bounded(unzipped, limit), CHUNK) as stream,
            ):
                yield stream
    except _DAMAGE as error:
        raise CollectionError(
            f"{path} is damaged, or not what it claims to be ({error!r})"
        ) from error


def _parse(stream: Any) -> tuple[Any, str, str]:
    """Return the matrix, its field and its symmetry."""
    header = stream.peek(64).split(b"\n", 1)[0].decode("ascii").lower().split()
    if len(header) != 5 or header[:2] != ["%%matrixmarket", "matrix"]:
        raise ValueError("the first line is not a Matrix Market header")
    return mmread(stream, spmatrix=False), header[3], header[4]


def _drain(stream: IO[bytes]) -> None:
    """Read to the end: only there does gzip compare length and CRC."""
    while stream.read(CHUNK):
        pass


def _dtype(value: Any) -> type[np.float64 | np.complex128]:
    return np.complex128 if np.iscomplexobj(value) else np.float64


def _csr(value: Any) -> sparse.csr_array[Any]:
    A = sparse.csr_array(value, dtype=_dtype(value))
    A.sum_duplicates()
    return A


def _dense(value: Any) -> Array:
    b: Array = value if isinstance(value, np.ndarray) else value.toarray()
    b = b.astype(_dtype(b))
    return b[:, 0] if b.shape[1] == 1 else b
