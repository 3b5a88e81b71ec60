"""A matrix laid out for its kernels: conversion from CSR, by all cores and without scipy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from spectool._types import Array, IntArray
from spectool.errors import InputError
from spectool.kernels import bsr, csr, dia, sell, structure
from spectool.kernels.formats import LANES, Bsr, Csr, Dia, LongCsr, Matrix, Sell
from spectool.kernels.half import Half
from spectool.kernels.team import share

FormatName = Literal["csr", "sell", "bsr", "dia", "half"]
FORMAT_NAMES: tuple[FormatName, ...] = ("csr", "sell", "bsr", "dia", "half")
ROW_FORMATS = FORMAT_NAMES[:4]
"""Those that multiply a range of rows, and may be blocked."""


class Fit(NamedTuple):
    """How well a format suits a matrix.

    Attributes
    ----------
    format : str
        Its name.
    fill : float
        Entries of the matrix per stored value, at most 1.
    size : int
        Block size, or number of diagonals.
    offsets : tuple of int
        The diagonals.
    """

    format: FormatName
    fill: float
    size: int = 1
    offsets: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The format with its size, as reports show it."""
        sizes = {"bsr": f" {self.size}x{self.size}", "dia": f" {self.size}"}
        return self.format + sizes.get(self.format, "")


def fits(A: sp.csr_array, names: Sequence[FormatName] = ROW_FORMATS) -> Iterator[Fit]:
    """Yield the formats that can hold A with their fill, diagonals first; blocks are sampled."""
    n, nnz = A.shape[0], A.nnz
    if "dia" in names and (offsets := _offsets(A)):
        yield Fit("dia", nnz / (len(offsets) * n), len(offsets), offsets)
    if "csr" in names:
        yield Fit("csr", 1.0)
    if "sell" in names and A.indices.dtype == np.int32 and A.dtype.kind == "f":
        yield Fit("sell", nnz / max(int(_chunks(A, _sorted(A))[-1]), 1))
    if "bsr" in names:
        for b in bsr.SIZES:
            if n % b == 0 and n > b:
                yield Fit("bsr", _block_fill(A, b), b)
    if "half" in names and A.dtype.kind == "f" and _equals_transpose(A):
        yield Fit("half", 1.0)


def _equals_transpose(A: sp.csr_array) -> bool:
    """Whether A is symmetric in every bit; costs 3 to 12 products, by one thread."""
    return structure.asymmetry(A.indptr, A.indices, A.data, A.indptr[:-1].copy()) == 0


def _offsets(A: sp.csr_array) -> tuple[int, ...]:
    """Return the diagonals of A in order, or nothing if they are too many."""
    found: list[IntArray] = []

    def find(first: int, last: int) -> None:
        offsets = np.empty(dia.MOST + 1, dtype=np.int64)
        number = dia.find_offsets(A.indptr, A.indices, offsets, first, last)
        found.append(offsets[:number])

    share(A.nnz, A.shape[0], find)
    distinct = np.unique(np.concatenate(found))
    return tuple(distinct.tolist()) if distinct.size <= dia.MOST else ()


def _block_fill(A: sp.csr_array, b: int) -> float:
    """Entries per stored value in blocks of b, from up to 64 runs of block rows."""
    n_blocks = A.shape[0] // b
    run = min(8, n_blocks)
    counts, at = np.empty(run, dtype=np.int64), np.empty(b, dtype=np.int64)
    entries = blocks = 0
    for first in np.unique(np.linspace(0, n_blocks - run, 64).astype(int)):
        bsr.count_blocks(A.indptr, A.indices, b, first, first + run, at, counts)
        blocks += int(counts.sum())
        entries += int(A.indptr[(first + run) * b] - A.indptr[first * b])
    return entries / max(b * b * blocks, 1)


def _sorted(A: sp.csr_array) -> IntArray:
    """Return the rows sorted by length, or an empty array where sorting saves nothing."""
    n, none = A.shape[0], np.empty(0, dtype=np.int64)
    as_is = int(_chunks(A, none)[-1])
    if as_is * 0.95 <= A.nnz:
        return none
    order = np.empty(-(-n // LANES) * LANES, dtype=np.int64)
    sell.sort_rows(A.indptr, order)
    return none if int(_chunks(A, order)[-1]) > 0.95 * as_is else order


def _chunks(A: sp.csr_array, order: IntArray) -> IntArray:
    chunks = np.empty(-(-A.shape[0] // LANES) + 1, dtype=np.int64)
    sell.chunk_starts(A.indptr, order, A.shape[0], chunks)
    return chunks


def csr_matrix(A: sp.csr_array) -> Csr | LongCsr:
    """Return A's own arrays in front of the CSR kernels."""
    kind = Csr if A.nnz <= csr.SHORT * A.shape[0] else LongCsr
    return kind(A.indptr, A.indices, A.data)


def convert(A: sp.csr_array, fit: Fit) -> Matrix:
    """Return A in the row format of the fit; CSR shares A's arrays."""
    n, source = A.shape[0], (A.indptr, A.indices, A.data)
    if fit.format == "sell":
        order = _sorted(A)
        chunks = _chunks(A, order)
        matrix = Sell(
            chunks,
            np.empty(chunks[-1], dtype=A.indices.dtype),
            np.empty(chunks[-1], dtype=A.dtype),
            order,
        )
        share(A.nnz, chunks.size - 1, lambda i, j: sell.fill(*source, matrix, i, j))
        return matrix
    if fit.format == "dia":
        diagonals = Dia(np.zeros(fit.size * n, dtype=A.dtype), fit.offsets, n)
        share(A.nnz, n, lambda i, j: dia.fill(*source, diagonals, i, j))
        return diagonals
    if fit.format == "bsr":
        b = fit.size
        indptr = np.zeros(n // b + 1, dtype=np.int64)
        share(
            A.nnz,
            n // b,
            lambda i, j: bsr.count_blocks(
                *source[:2], b, i, j, np.empty(b, dtype=np.int64), indptr[i + 1 : j + 1]
            ),
        )
        np.cumsum(indptr, out=indptr)
        blocks = Bsr(
            indptr,
            np.empty(indptr[-1], dtype=A.indices.dtype),
            np.empty(indptr[-1] * b * b, dtype=A.dtype),
            tuple(range(b)),
        )
        share(
            A.nnz,
            n // b,
            lambda i, j: bsr.fill(*source, blocks, i, j, np.empty(b, dtype=np.int64)),
        )
        return blocks
    return csr_matrix(A)


def forced(A: sp.csr_array, name: FormatName) -> Fit:
    """Return the best fit of one format, or raise InputError that says why there is none."""
    found = list(fits(A, (name,)))
    if found:
        return best_blocks(found)
    needs = {
        "dia": f"at most {dia.MOST} diagonals and at least one entry",
        "sell": "real values and int32 indices",
        "bsr": f"a number of rows divisible by one of {bsr.SIZES}, and more than one block",
        "half": "finite real values that equal those of the transpose in every bit",
    }[name]
    raise InputError(
        f"format={name!r} needs {needs}; A has {A.nnz} {A.dtype} entries with {A.indices.dtype} "
        f"indices in {A.shape[0]} rows. Use format='auto' or 'csr'."
    )


def best_blocks(found: Sequence[Fit]) -> Fit:
    """Return the fullest; of the same fill, larger blocks read fewer indices."""
    return max(found, key=lambda fit: (round(fit.fill, 1), fit.size))


def permuted(A: sp.csr_array, order: IntArray) -> sp.csr_array:
    """Return ``A[order][:, order]`` with sorted rows."""
    n = A.shape[0]
    place = np.empty(n, dtype=A.indices.dtype)
    place[order] = np.arange(n, dtype=A.indices.dtype)
    lengths = np.diff(A.indptr)[order]
    indptr = np.zeros(n + 1, dtype=A.indptr.dtype)
    np.cumsum(lengths, out=indptr[1:])
    indices, data = np.empty_like(A.indices), np.empty_like(A.data)
    share(
        A.nnz,
        n,
        lambda i, j: structure.permute_rows(
            A.indptr, A.indices, A.data, order, place, indptr, indices, data, i, j
        ),
    )
    result = sp.csr_array((data, indices, indptr), shape=A.shape)
    result.sort_indices()
    return result


def scaled_data(A: sp.csr_array, scale: Array) -> Array:
    """Return the data of ``diag(scale) A diag(scale)``."""
    data = np.empty_like(A.data)
    share(
        A.nnz,
        A.shape[0],
        lambda i, j: structure.scale_symmetric(A.indptr, A.indices, A.data, scale, data, i, j),
    )
    return data


def n_bytes(matrix: Matrix | Half) -> int:
    """Return the bytes that one product reads of the matrix."""
    arrays = [part for part in matrix if isinstance(part, np.ndarray)]
    return sum(part.nbytes for part in arrays)
