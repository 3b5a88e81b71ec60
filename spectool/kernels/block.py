"""Products with many vectors, row-major blocks (n, m), and the door to all products.

A row is read once for 16 columns, then 8, 4, 2 and 1. Blocks always run over compressed rows: with
the columns filling the registers no other format was faster (measured: SELL 0.7 to 1.1, BSR 0.4 to
1.0 times CSR, diagonals 0.9 to 1.0).
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload
from numpy import uintp

from spectool._types import Array
from spectool.kernels.compilation import JIT, OPTIONS, kernel
from spectool.kernels.formats import Csr, product
from spectool.kernels.intrinsics import (
    eight_columns,
    four_columns,
    sixteen_columns,
    two_columns,
)


@kernel
def real_rows(A: Csr, m: int, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out <- A[first:last, :] v`` for flat row-major v (n m,) and out."""
    indptr, indices, data = A.indptr, A.indices, A.data
    width, begin = uintp(m), uintp(first)
    for i in range(begin, uintp(last)):
        p, stop = uintp(indptr[i]), uintp(indptr[i + uintp(1)])
        q = (i - begin) * width
        j = uintp(0)
        while j + uintp(16) <= width:
            sixteen_columns(indices, data, p, stop, v, width, j, out, q + j)
            j += uintp(16)
        if j + uintp(8) <= width:
            eight_columns(indices, data, p, stop, v, width, j, out, q + j)
            j += uintp(8)
        if j + uintp(4) <= width:
            four_columns(indices, data, p, stop, v, width, j, out, q + j)
            j += uintp(4)
        if j + uintp(2) <= width:
            two_columns(indices, data, p, stop, v, width, j, out, q + j)
            j += uintp(2)
        if j < width:
            total = v.dtype.type(0)
            for r in range(p, stop):
                total += data[r] * v[uintp(indices[r]) * width + j]
            out[q + j] = total


@kernel
def complex_rows(A: Csr, m: int, first: int, last: int, v: Array, out: Array) -> None:
    """Do the same for complex values, two columns at a time."""
    indptr, indices, data = A.indptr, A.indices, A.data
    width, begin = uintp(m), uintp(first)
    for i in range(begin, uintp(last)):
        p, stop = uintp(indptr[i]), uintp(indptr[i + uintp(1)])
        q = (i - begin) * width
        j = uintp(0)
        while j + uintp(2) <= width:
            s0, s1 = v.dtype.type(0), v.dtype.type(0)
            for r in range(p, stop):
                value, k = data[r], uintp(indices[r]) * width + j
                s0 += value * v[k]
                s1 += value * v[k + uintp(1)]
            out[q + j] = s0
            out[q + j + uintp(1)] = s1
            j += uintp(2)
        if j < width:
            total = v.dtype.type(0)
            for r in range(p, stop):
                total += data[r] * v[uintp(indices[r]) * width + j]
            out[q + j] = total


def block_rows(A: Any, m: int, first: int, last: int, v: Array, out: Array) -> None:
    """Do the one or the other."""
    kernel = complex_rows if v.dtype.kind == "c" else real_rows
    kernel(A, m, first, last, v, out)


if JIT:
    _overload: Any = overload

    @_overload(block_rows, jit_options=OPTIONS)
    def _block_rows(A: Any, m: Any, first: Any, last: Any, v: Any, out: Any) -> Any:  # noqa: ARG001
        rows: Any = complex_rows if isinstance(v.dtype, types.Complex) else real_rows

        def implementation(A: Any, m: Any, first: Any, last: Any, v: Any, out: Any) -> None:
            rows(A, m, first, last, v, out)

        return implementation


@kernel
def multiply(A: Any, columns: Any, first: int, last: int, v: Array, out: Array) -> None:
    """Do ``out[: (last - first) m] <- A[first:last, :] v``.

    Parameters
    ----------
    A : Matrix
        n rows; Csr or LongCsr if there are columns.
    columns : int or None
        None for one vector, else the number m of columns of v.
    first, last : int
        Rows; first is a multiple of GRANULE, and last too unless it is n.
    v, out : ndarray
        Flat, row-major: n m values, and at least (last - first) m + LANES.
    """
    if columns is None:
        product(A, first, last, v, out)
    else:
        block_rows(A, columns, first, last, v, out)
