r"""The spectrum that is planned for: weighted eigenvalues, or singular values, and where from.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833, section 3 (the spectrum as the state);
    Golub and Meurant, Matrices, Moments and Quadrature, 2010, section 7.3 (block Gauss rules).
Deviations
    (1) A few hundred samples are pooled into quantiles, whose ends stay as they are. (2) Of one
    matrix at hand a block Lanczos process gives 20 to 40 Gauss nodes; what it cannot see below the
    lowest node is extrapolated, as if eigenvalues (singular values) lay there as densely as around.
Cost
    Samples: their eigenvalues, O(n^3) each. Sketches: O(n^2), see ``dense.gauss``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from spectool._types import FloatArray, Rng
from spectool.dense.algebra import Tensor
from spectool.dense.door import to_host
from spectool.dense.gauss import block_lanczos
from spectool.dense.problems import Problem
from spectool.errors import InputError, NotPositiveDefiniteError

__all__ = ["ROOM", "Nodes", "sampled_nodes", "sketched_nodes"]

N_NODES = 96
"""Quantiles that stand for samples."""
ENDS = 8
"""Smallest values that are kept as they are, and as many largest ones."""
ROOM = 1.05
"""Room above the largest value: what later matrices may exceed it by."""
STRETCH = 0.03
"""Part of itself by which the smallest value is made smaller."""
REACH = 1.0
"""Standard deviations that the tail of a sketched node reaches down."""
FEW = 24
"""Values that differ by more than that, below which each is widened."""
CLOSE = 3.0
"""Ratio of neighbors up to which the spectrum is taken to be filled between them."""
SPARE = 8.0
"""Room below the smallest value, as a factor, where it was sampled or sketched."""


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Weighted values that stand for a spectrum.

    Attributes
    ----------
    values : ndarray, shape (k,)
        Eigenvalues of Hermitian matrices, or singular values, by increasing absolute value.
    weights : ndarray, shape (k,)
        Fractions of the spectrum; they add up to 1.
    shape : tuple of int
        (m, n) of the matrices.
    source : str
        Where they are from.
    spare : float
        By what factor matrices to come may have smaller values. Plans need not be the fastest for
        those, but must not diverge.
    singular : bool
        Whether they are singular values of matrices that are not Hermitian.
    """

    values: FloatArray
    weights: FloatArray
    shape: tuple[int, int]
    source: str
    spare: float = 1.0
    singular: bool = False

    @property
    def largest(self) -> float:
        """Largest absolute value."""
        return float(np.abs(self.values[-1]))

    @property
    def smallest(self) -> float:
        """Smallest absolute value."""
        return float(np.abs(self.values[0]))

    def scaled(self) -> Nodes:
        """Return the nodes divided by ``ROOM`` times the largest: in [-1, 1].

        They are stretched downwards a little, and few ones are widened: norms, by which matrices
        will be divided, are known to a percent or two.
        """
        sizes = np.abs(self.values) / self.largest
        stretched = sizes ** (1.0 + STRETCH / max(-float(np.log(sizes[0])), STRETCH))
        values, weights = np.sign(self.values) * stretched / ROOM, self.weights
        if np.unique(np.round(np.log(sizes) / STRETCH)).size < FEW:
            values = np.concatenate([values, (1.0 - STRETCH) * values])
            weights = np.concatenate([weights, weights]) / 2.0
            order = np.argsort(np.abs(values), kind="stable")
            values, weights = values[order], weights[order]
        return replace(self, values=values, weights=weights)

    def guarded(self) -> tuple[FloatArray, FloatArray]:
        """Return values and weights, with values of weight 0 where later matrices may have some.

        The first is the smallest that is provided for. Neighbors that are close get others between
        them, so that plans cannot aim between the samples.
        """
        if self.spare <= 1.0:
            return self.values, self.weights
        first, last = self.values[0] / self.spare, float(np.sign(self.values[-1]))
        added = [np.asarray([first] if self.largest >= 1.0 else [first, last])]
        for sign in (1.0, -1.0):
            side = np.sort(sign * self.values[sign * self.values > 0])
            near = side[1:] < CLOSE * side[:-1]
            places = np.asarray([[1.0 / 3.0], [2.0 / 3.0]])
            between = side[:-1] ** (1.0 - places) * side[1:] ** places
            added.append(sign * between[:, near].ravel())
        values = np.concatenate([*added, self.values])
        weights = np.concatenate([np.zeros(values.size - self.values.size), self.weights])
        order = np.argsort(np.abs(values), kind="stable")
        return values[order], weights[order]

    @classmethod
    def of_values(
        cls,
        values: Any,
        *,
        weights: Any = None,
        shape: tuple[int, int] | None = None,
        source: str = "given spectrum",
        spare: float = 1.0,
    ) -> Self:
        """Return nodes for given values; many values are pooled into quantiles.

        Raises InputError if the values are no finite numbers, or all zero.
        """
        values = np.asarray(values, dtype=np.float64).ravel()
        if values.size == 0 or not np.isfinite(values).all() or not values.any():
            raise InputError(
                f"a spectrum must hold finite numbers that are not all zero, got {values!r}."
            )
        share = np.full(values.size, 1.0) if weights is None else np.asarray(weights, dtype=float)
        if share.shape != values.shape or not (share >= 0).all() or share.sum() <= 0:
            raise InputError("weights must be nonnegative, one for each value of the spectrum.")
        n = values.size if shape is None else shape[1]
        values, share = _pooled(values, share / share.sum())
        return cls(values, share, shape or (n, n), source, spare)

    @classmethod
    def of_interval(cls, lower: float, upper: float = 1.0, *, n: int = 256) -> Self:
        """Return values spread evenly in the logarithm over ``[lower, upper]``, lower > 0."""
        if not 0.0 < lower <= upper < np.inf:
            raise InputError(f"0 < lower <= upper < inf is needed, got ({lower!r}, {upper!r}).")
        values = np.geomspace(lower, upper, N_NODES) if lower < upper else np.asarray([upper])
        weights = np.full(values.size, 1.0 / values.size)
        return cls(values, weights, (n, n), f"interval [{lower:.3g}, {upper:.3g}]")

    def to_json(self) -> dict[str, Any]:
        """Return a record for JSON."""
        return {
            "values": self.values.tolist(),
            "weights": self.weights.tolist(),
            "shape": list(self.shape),
            "source": self.source,
            "spare": self.spare,
            "singular": self.singular,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """Return what ``to_json`` wrote."""
        m, n = record["shape"]
        values, weights = np.asarray(record["values"]), np.asarray(record["weights"])
        spare = float(record["spare"])
        made = cls(values, weights, (int(m), int(n)), str(record["source"]), spare)
        return replace(made, singular=bool(record["singular"]))


def _pooled(values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return at most about ``N_NODES`` values by increasing size: quantiles, and both ends."""
    order = np.argsort(np.abs(values), kind="stable")
    values, weights = values[order], weights[order]
    if values.size <= N_NODES:
        return values, weights
    ends = np.r_[0:ENDS, values.size - ENDS : values.size]
    kept: list[FloatArray] = [values[ends]]
    kept_weights: list[FloatArray] = [weights[ends]]
    middle, share = values[ENDS:-ENDS], weights[ENDS:-ENDS]
    for side in (middle > 0, middle <= 0):
        if side.any():
            part, mass = middle[side], share[side]
            bins = max(1, round((N_NODES - 2 * ENDS) * float(mass.sum() / share.sum())))
            place = np.minimum((np.cumsum(mass) / mass.sum() * bins).astype(int), bins - 1)
            total = np.bincount(place, mass, bins)
            filled = total > 0
            mean = np.bincount(place, mass * part, bins)[filled] / total[filled]
            kept.append(mean)
            kept_weights.append(np.asarray(total[filled], dtype=np.float64))
    values, weights = np.concatenate(kept), np.concatenate(kept_weights)
    order = np.argsort(np.abs(values), kind="stable")
    return values[order], weights[order]


def sampled_nodes(problem: Problem, samples: Any) -> Nodes:
    """Return the nodes of sample matrices, from their exact eigenvalues or singular values.

    Parameters
    ----------
    problem : Problem
        Singular values count for polar factors, and for inverses of what is not Hermitian.
    samples : sequence of arrays (m, n), or array (k, m, n)
        Of NumPy or torch.

    Raises
    ------
    InputError
        If there is none, or they are not finite, or neither square nor for polar factors.
    """
    matrices = [_host(sample) for sample in samples]
    if not matrices or any(matrix.ndim != 2 or 0 in matrix.shape for matrix in matrices):
        raise InputError("samples must be matrices (m, n) that are not empty.")
    if not all(np.isfinite(matrix).all() for matrix in matrices):
        raise InputError("samples must be finite; one has entries that are NaN or infinite.")
    m, n = matrices[0].shape
    values = np.concatenate([_exact(problem, matrix) for matrix in matrices])
    shape = (max(m, n), min(m, n))
    source = f"{len(matrices)} sample{'s' if len(matrices) > 1 else ''}"
    made = Nodes.of_values(values, shape=shape, source=source, spare=SPARE)
    singular = problem.function in ("polar", "inv") and not all(map(is_hermitian, matrices))
    return replace(made, singular=singular)


def _host(sample: Any) -> FloatArray:
    if is_torch_array(sample):
        xp = array_namespace(sample)
        real = not sample.is_complex()
        return to_host(sample.to(xp.float64 if real else xp.complex128))
    values = np.asarray(sample)
    return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)


def _exact(problem: Problem, matrix: FloatArray) -> FloatArray:
    unit = np.abs(matrix).max() or 1.0
    matrix = matrix / unit
    if problem.function == "polar":
        return np.asarray(np.linalg.svd(matrix, compute_uv=False))
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"{problem.function} needs square samples, got {matrix.shape}.")
    if is_hermitian(matrix):
        return np.asarray(np.linalg.eigvalsh(matrix))
    if problem.function == "inv":
        return np.asarray(np.linalg.svd(matrix, compute_uv=False))
    raise InputError(
        f"plans for {problem.function} are for Hermitian matrices; a sample is not. Use the verb "
        "without a plan."
    )


def is_hermitian(A: Tensor) -> bool:
    """Return whether a matrix, or each of a batch, equals its adjoint, but for rounding."""
    if A.shape[-1] != A.shape[-2]:
        return False
    xp = array_namespace(A)
    turned = xp.matrix_transpose(A)
    turned = xp.conj(turned) if xp.isdtype(A.dtype, "complex floating") else turned
    eps = float(xp.finfo(A.dtype).eps)
    gap, size = float(xp.max(xp.abs(A - turned))), float(xp.max(xp.abs(A)))
    return gap <= 8.0 * eps * A.shape[-1] ** 0.5 * size


def sketched_nodes(problem: Problem, A: Tensor, *, rng: Rng = None) -> Nodes:
    """Return Gauss nodes of one matrix from a block Lanczos process, O(n^2).

    Parameters
    ----------
    problem : Problem
        Singular values count for polar factors, and for inverses of what is not Hermitian.
    A : array (m, n) of NumPy or torch
        Finite, m >= n, not zero.
    rng : Generator, int or None
        For the starting vectors.

    Returns
    -------
    Nodes
        Gauss nodes, and up to four extrapolated ones below the lowest.

    Raises
    ------
    InputError
        If A is not Hermitian where it must be.
    NotPositiveDefiniteError
        If a Ritz value is negative under a root.
    """
    singular = problem.function == "polar" or (problem.function == "inv" and not is_hermitian(A))
    if not singular and not is_hermitian(A):
        raise InputError(
            f"plans for {problem.function} are for Hermitian matrices; A is not. Use the verb "
            "without a plan."
        )
    theta, weights, reach = block_lanczos(A, np.random.default_rng(rng), singular=singular)
    n = A.shape[-1]
    eps = float(array_namespace(A).finfo(A.dtype).eps)
    rounding = 8.0 * eps * n**0.5 * float(np.abs(theta).max())
    if problem.family not in ("sign", "inv") and theta[0] < -rounding:
        raise NotPositiveDefiniteError(
            f"A has a Ritz value {theta[0]:.3g}, but {problem.function} needs a positive definite "
            "matrix."
        )
    floor = np.finfo(np.float64).tiny ** 0.5 + 1e-16 * float(np.abs(theta).max())
    if problem.family not in ("sign", "inv") or singular:
        theta = np.maximum(theta, floor)
    theta = np.where(np.abs(theta) < floor, floor, theta)
    theta, weights = _with_tail(theta, weights, reach, n)
    order = np.argsort(np.abs(theta), kind="stable")
    theta, weights = theta[order], weights[order]
    m = A.shape[-2]
    source = f"block Lanczos, {theta.size} nodes"
    return Nodes(theta, weights / weights.sum(), (m, n), source, SPARE, singular)


def _with_tail(
    theta: FloatArray, weights: FloatArray, reach: FloatArray, n: int
) -> tuple[FloatArray, FloatArray]:
    """Split the smallest node into a geometric tail down to where one eigenvalue is expected.

    The tail reaches a standard deviation of the spectral measure of its Ritz vector: where the
    spectrum has an edge, that is small compared with the node; where it reaches zero it is not.
    """
    lowest = int(np.argmin(np.abs(theta)))
    hidden = float(weights[lowest]) * n  # eigenvalues that the node stands for
    if hidden <= 1.5 or theta.size == n:
        return theta, weights
    size = abs(float(theta[lowest]))
    end = max(1.0 / hidden, 1.0 - REACH * float(reach[lowest]) / size)
    if end > 1.0 - 1e-3:
        return theta, weights
    fractions = np.geomspace(1.0, end, 5)[1:]
    share = weights[lowest] * np.diff(np.concatenate([fractions[::-1], [1.0]]))[::-1]
    tail = theta[lowest] * fractions
    tail_weights = 0.5 * share
    weights = weights.copy()
    weights[lowest] -= tail_weights.sum()
    return np.concatenate([theta, tail]), np.concatenate([weights, tail_weights])
