"""Checks at the door, and the canonical form of what leaves."""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from spectool.errors import InputError

Csr: TypeAlias = sparse.csr_array[Any]


def checked_integer(name: str, value: Any, minimum: int) -> int:
    """Return ``value`` as an int that is at least ``minimum``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise InputError(f"{name} must be an integer, at least {minimum}; got {value!r}")
    return number


def checked_shape(shape: Sequence[int], dimensions: Collection[int] = ()) -> tuple[int, ...]:
    """Return ``shape`` as a tuple of positive ints, of one of the dimensions (all, if empty)."""
    try:
        sizes = tuple(shape)
    except TypeError:
        sizes = ()
    if not sizes or (dimensions and len(sizes) not in dimensions):
        wanted = " or ".join(map(str, dimensions)) or "one or more"
        raise InputError(f"shape must be a tuple of {wanted} positive integers; got {shape!r}")
    return tuple(checked_integer(f"shape[{axis}]", n, 1) for axis, n in enumerate(sizes))


def checked_number(
    name: str, value: float, low: float, high: float = np.inf, *, open_low: bool = False
) -> float:
    """Return ``value`` as a finite float in [low, high), or (low, high)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (low < number < high or (number == low and not open_low)):
        bracket = "(" if open_low else "["
        raise InputError(f"{name} must lie in {bracket}{low:g}, {high:g}); got {value!r}")
    return number


def checked_word(name: str, value: str, words: Sequence[str]) -> str:
    """Return ``value``, one of ``words``."""
    if value not in words:
        raise InputError(f"{name} must be one of {', '.join(map(repr, words))}; got {value!r}")
    return value


def canonical(A: Any) -> Csr:
    """Return A as csr_array of float64: no duplicates, no zeros, sorted, int32 where it fits."""
    A = sparse.csr_array(A, dtype=np.float64)
    A.sum_duplicates()
    A.eliminate_zeros()
    if max(A.nnz, *A.shape) < 2**31 and A.indices.dtype != np.int32:
        indices, indptr = A.indices.astype(np.int32), A.indptr.astype(np.int32)
        A = sparse.csr_array((A.data, indices, indptr), shape=A.shape)
    return A


def tridiagonal(n: int, lower: float, diagonal: float, upper: float) -> Csr:
    """Return the n x n Toeplitz matrix of three diagonals."""
    T = sparse.diags_array(
        [lower, diagonal, upper], offsets=[-1, 0, 1], shape=(n, n), dtype=np.float64
    )
    return sparse.csr_array(T)


def kron(factors: Sequence[Any]) -> Csr:
    """Return the Kronecker product of one matrix per axis."""
    return reduce(lambda left, right: sparse.kron(left, right, format="csr"), factors)


def on_axis(T: Any, axis: int, shape: tuple[int, ...]) -> Csr:
    """Return the matrix that applies T along one axis of a grid."""
    before, after = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    return kron([sparse.eye_array(before), T, sparse.eye_array(after)])
