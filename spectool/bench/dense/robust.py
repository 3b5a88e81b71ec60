"""Thousands of hostile matrices through ``spectool.torch.orthogonalize``, as optimizers call it.

What must hold: no result has NaN or infinity, no singular value of a result exceeds the documented
band, and where the matrix has singular values from ``SEEN ||G||_2`` on, the result is in the band
too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from spectool._types import Array
from spectool.bench.dense.records import RobustRow
from spectool.bench.dense.timing import torch_or_none
from spectool.bench.measure import NOTE

COUNT = 10_000
"""Matrices in all."""
SHAPES = ((32, 32), (64, 16), (16, 48), (24, 23))
SEEN = 0.03
"""Singular values from here on, relative to the largest, must end in the band."""
BANDS = {"float32": (0.88, 1.13), "bfloat16": (0.83, 1.17)}
"""What is documented for five steps of the default method."""
BATCH = 64


def _product(rng: np.random.Generator, s: Array, shape: tuple[int, int]) -> Array:
    count, k = s.shape
    U, V = (np.linalg.qr(rng.standard_normal((count, size, k)))[0] for size in shape)
    return np.asarray((U * s[:, None, :]) @ np.swapaxes(V, 1, 2))


def _gaussian(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    return rng.standard_normal((count, *shape))


def _low_rank(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    k = max(min(shape) // 4, 1)
    left, right = (
        rng.standard_normal((count, shape[0], k)),
        rng.standard_normal((count, k, shape[1])),
    )
    return left @ right


def _tiny_or_huge(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    return _gaussian(rng, count, shape) * 10.0 ** rng.uniform(-30, 30, (count, 1, 1))


def _bad_rows(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    return _gaussian(rng, count, shape) * 10.0 ** rng.uniform(-6, 6, (count, shape[0], 1))


def _bad_columns(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    return _gaussian(rng, count, shape) * 10.0 ** rng.uniform(-6, 6, (count, 1, shape[1]))


def _conditioned(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    s = 10.0 ** -rng.uniform(0, 8, (count, min(shape)))
    s[:, 0] = 1.0
    return _product(rng, s, shape)


def _outlier(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    s = np.full((count, min(shape)), 1e-3)
    s[:, 0] = 1.0
    return _product(rng, s, shape)


def _copies(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    G = _gaussian(rng, count, shape)
    return np.asarray(np.repeat(G[..., :1], shape[1], axis=2) + 1e-4 * G)


def _sparse(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    return _gaussian(rng, count, shape) * (rng.random((count, *shape)) < 0.05)


def _ones(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    return np.ones((count, *shape)) * rng.choice([-1.0, 1.0, 1e-3], (count, 1, 1))


def _zero(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Array:
    del rng
    return np.zeros((count, *shape))


SORTS: dict[str, Callable[[np.random.Generator, int, tuple[int, int]], Array]] = {
    "Gaussian": _gaussian,
    "rank n / 4": _low_rank,
    "1e-30 to 1e30": _tiny_or_huge,
    "rows of 1e-6 to 1e6": _bad_rows,
    "columns of 1e-6 to 1e6": _bad_columns,
    "condition to 1e8": _conditioned,
    "one large value": _outlier,
    "nearly equal columns": _copies,
    "5% of entries": _sparse,
    "all entries equal": _ones,
    "zero": _zero,
}


def stress(sort: str, dtype: str, *, count: int, seed: int) -> Iterator[RobustRow]:
    """Yield one row for many random matrices of a sort in a data type.

    Nothing is yielded where torch is not installed.
    """
    torch = torch_or_none()
    if torch is None:
        return
    lower, upper = BANDS[dtype]
    rng = np.random.default_rng(seed)
    row = RobustRow(sort, dtype, 0, upper=upper, lower=lower)
    bad, largest, smallest, done = 0, 0.0, np.inf, 0
    begun = time.perf_counter()
    try:
        for index in range(-(-count // BATCH)):
            size = min(BATCH, count - done)
            G = torch.asarray(SORTS[sort](rng, size, SHAPES[index % len(SHAPES)]))
            found = _batch(torch, G.to(getattr(torch, dtype)), index % 2 == 0)
            bad, largest, smallest = bad + found[0], max(largest, found[1]), min(smallest, found[2])
            done += size
    except Exception as error:  # noqa: BLE001, RUF100 - a failure is a row, never a crash
        row = replace(row, note=f"{type(error).__name__}: {error}"[:NOTE])
    yield replace(
        row,
        count=done,
        not_finite=bad,
        largest=largest,
        smallest=smallest if np.isfinite(smallest) else float("nan"),
        seconds=time.perf_counter() - begun,
    )


def _batch(torch: Any, G: Any, check: bool) -> tuple[int, float, float]:
    """Return how many are not finite, the largest singular value, and the smallest seen one."""
    from spectool.torch import orthogonalize

    X = orthogonalize(G, check=check).to(torch.float64)
    finite = torch.isfinite(X).all(-1).all(-1)
    bad = int((~finite).sum())
    X = torch.where(finite[:, None, None], X, 0.0)
    wide = G.to(torch.float64)
    largest = float(torch.linalg.svdvals(X).max())
    U, s, Vh = torch.linalg.svd(wide, full_matrices=False)
    inside = torch.einsum("bik,bij,bkj->bk", U, X, Vh)  # U^T X V, its diagonal
    seen = (s >= SEEN * s[:, :1]) & (s > 0) & finite[:, None]
    smallest = float(inside[seen].min()) if bool(seen.any()) else float("inf")
    return bad, largest, smallest
