"""What stored entries tell of the spectrum for certain: its mean and its mean square.

Source
    Deville and Saerndal, Calibration estimators in survey sampling, J. Amer. Statist. Assoc. 87
    (1992), for weights that reproduce known totals.
Cost
    One pass over the entries; no products.

A probe samples the spectrum by the weights of one random vector. Weights that are moved, as little
as possible, until they give ``trace A`` and ``trace A^2`` exactly have lost that part of their
randomness: whatever of a function or a window a quadratic polynomial explains is no longer sampled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spectool._types import FloatArray
from spectool.backends.cpu import CpuBackend
from spectool.operators import Operator

CANCELLED = 1e-8
"""Variance of the spectrum relative to its mean square below which rounding has eaten it."""


class Moments(NamedTuple):
    """Mean and mean square of the eigenvalues: ``trace A / n`` and ``trace A^2 / n``."""

    mean: float
    square: float


def known_moments(operator: Operator) -> Moments | None:
    """Return the moments of a Hermitian operator whose entries are stored, else None.

    None too where they leave the range of float64.
    """
    facts, backend = operator.row_facts(), operator.backend
    if facts is None:
        return None
    entries = backend.A.data if isinstance(backend, CpuBackend) else backend.to_dense()
    values = np.ravel(np.asarray(entries))
    parts = values.view(values.real.dtype) if values.size else values.real
    mean = float(np.mean(facts.diagonal.real, dtype=np.float64))
    with np.errstate(over="ignore", under="ignore"):
        # einsum sums in one fixed order, in float64, without a copy.
        square = float(np.einsum("i,i->", parts, parts, dtype=np.float64)) / operator.n
    usable = np.isfinite(square) and (square > 1e-290 or not values.any())
    return Moments(mean, square) if usable else None


def calibrated(
    nodes: FloatArray, weights: FloatArray, moments: Moments | None
) -> tuple[FloatArray, int]:
    """Return weights that reproduce the moments, and how many of them they reproduce (0, 1, 2).

    Both, or only the mean where both would take a negative weight, or none.
    """
    if moments is None:
        return weights, 0
    spread = moments.square - moments.mean**2
    if spread <= CANCELLED * moments.square:
        return weights, 0
    places = (nodes - moments.mean) / np.sqrt(spread)
    for count, target in ((2, (1.0, 0.0, 1.0)), (1, (1.0, 0.0))):
        if nodes.size <= count:
            continue
        P = np.vander(places, count + 1, increasing=True)
        gram = P.T @ (weights[:, None] * P)
        moved = weights * (P @ np.linalg.lstsq(gram, np.array(target), rcond=None)[0])
        if (moved >= 0).all() and np.allclose(P.T @ moved, target, rtol=0, atol=1e-9):
            return moved, count
    return weights, 0
