r"""A few steps of block Lanczos on dense matrices: Ritz values with weights, and norms.

Source
    Golub and Meurant, Matrices, Moments and Quadrature, 2010, section 7.3 (block Gauss rules);
    Musco and Musco, NIPS 2015 (block Krylov methods for singular values).
Deviations
    Full reorthogonalization, on the host, in double precision; products are made where A is.
Cost
    ``STEPS`` products of A (and its adjoint) with ``BLOCK`` vectors, O(n^2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from spectool._types import FloatArray
from spectool.dense.algebra import Tensor
from spectool.dense.door import to_host

__all__ = ["BLOCK", "block_lanczos", "norm_estimate"]

BLOCK, STEPS = 3, 10
"""Vectors per block, and blocks."""
INVARIANT = 1e-10
"""Relative size of what is new in a product below which the space is invariant."""


def block_lanczos(
    A: Tensor, rng: np.random.Generator, *, singular: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Ritz values, ascending, their weights, and how far around them the spectrum reaches.

    That is the residual norm of the Ritz vector: the standard deviation of its spectral measure.
    For singular values the process is that of ``A^H A``, whose Ritz values are the squares of the
    singular values of A on the space.
    """
    n = int(A.shape[-1])
    block = min(BLOCK, n)
    steps = max(1, min(STEPS, n // block))
    V, _ = np.linalg.qr(rng.standard_normal((n, block)))
    bases: list[FloatArray] = []
    images: list[FloatArray] = []
    products: list[FloatArray] = []
    for _ in range(steps):
        image = _times(A, V)
        product = _times_adjoint(A, image) if singular else image
        bases.append(V)
        images.append(image)
        products.append(product)
        whole, W = np.concatenate(bases, axis=1), product
        for _ in range(2):
            W = W - whole @ (whole.conj().T @ W)
        if float(np.linalg.norm(W)) <= INVARIANT * float(np.linalg.norm(product)):
            break
        V, _ = np.linalg.qr(W)
    whole, image = np.concatenate(bases, axis=1), np.concatenate(images, axis=1)
    if singular:
        _, theta, Vh = np.linalg.svd(image, full_matrices=False)
        theta, S = theta[::-1], Vh[::-1].conj().T
    else:
        T = whole.conj().T @ image
        theta, S = np.linalg.eigh(0.5 * (T + T.conj().T))
    squares = theta**2 if singular else theta
    gaps = np.concatenate(products, axis=1) @ S - (whole @ S) * squares
    reach = np.linalg.norm(gaps, axis=0)
    if singular:  # of s, where that of s^2 is known
        reach = theta - np.sqrt(np.maximum(theta**2 - reach, 0.0))
    weights = np.square(np.abs(S[:block])).sum(axis=0) / block
    return np.asarray(theta, dtype=np.float64), np.asarray(weights), np.asarray(reach)


def norm_estimate(A: Tensor, rng: np.random.Generator, *, steps: int = 4) -> Tensor:
    """Return an estimate of ``||A||_2`` for each matrix: the largest block Krylov Ritz value.

    It is at most the norm, and in general smaller by less than a percent.

    Parameters
    ----------
    A : array (..., m, n) of NumPy or torch
        In single precision or better.
    rng : Generator
        For the start.
    steps : int
        Products with A and its adjoint, of blocks of ``BLOCK`` vectors.
    """
    xp = array_namespace(A)
    n = int(A.shape[-1])
    turned = xp.matrix_transpose(A)
    turned = xp.conj(turned) if xp.isdtype(A.dtype, "complex floating") else turned
    block = min(BLOCK, n)
    V = _beside(np.linalg.qr(rng.standard_normal((n, block)))[0], A)
    V = V + xp.zeros_like(A[..., :1, :1])  # in the batch of A
    blocks = [V]
    for _ in range(min(steps, -(-n // block) - 1)):
        V, _ = xp.linalg.qr(turned @ (A @ V))
        blocks.append(V)
    basis, _ = xp.linalg.qr(xp.concat(blocks, axis=-1))
    return xp.linalg.svdvals(A @ basis)[..., 0]


def _times(A: Tensor, V: FloatArray) -> FloatArray:
    return _doubled(to_host(A @ _beside(V, A)))


def _times_adjoint(A: Tensor, V: FloatArray) -> FloatArray:
    turned = array_namespace(A).matrix_transpose(A)
    if array_namespace(A).isdtype(A.dtype, "complex floating"):
        turned = array_namespace(A).conj(turned)
    return _doubled(to_host(turned @ _beside(V, A)))


def _doubled(X: Any) -> FloatArray:
    return np.asarray(X, dtype=np.result_type(X.dtype, np.float64))


def _beside(V: FloatArray, A: Tensor) -> Tensor:
    if is_numpy_array(A):
        return V.astype(A.dtype)
    return array_namespace(A).asarray(V).to(dtype=A.dtype, device=A.device)
