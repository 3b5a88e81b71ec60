"""Residuals of answers, recomputed from the answer alone: what the verbs report.

Source
    Higham, Functions of Matrices, SIAM 2008, chapters 5 to 8; a Gaussian sketch of the Frobenius
    norm: Gratton and Titley-Peloquin, SIAM J. Matrix Anal. Appl. 39 (2018).
Deviations
    From order ``EXACT`` on residuals are multiplied by ``COLUMNS`` Gaussian vectors: ``||E W||_F``
    is ``sqrt(COLUMNS) ||E||_F`` in the mean, rarely wrong by more than a factor of two, and less
    than a tenth of it with a probability of 1e-7.
Cost
    Two to six products with ``COLUMNS`` vectors; below ``EXACT`` as many products of matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from spectool._types import FloatArray
from spectool.dense.algebra import MatrixAlgebra, Tensor
from spectool.dense.door import to_host
from spectool.dense.problems import Problem, power

__all__ = ["MEASURES", "residual_norms", "widened"]

MEASURES = {
    "polar": "max(||U^H U - I|| / sqrt(n), ||U H - G|| / ||G||)",
    "sign": "max(||S^2 - I|| / sqrt(n), ||A S - S A|| / ||A||)",
    "inv": "||A X - I|| / sqrt(n)",
    "sqrt": "||X^2 - A|| / ||A||",
    "invsqrt": "||A X^2 - I|| / sqrt(n)",
    "root": "||X^p - A|| / ||A||",
    "inverse_root": "||A X^p - I|| / sqrt(n)",
}
"""What the residual of an answer is, in Frobenius norms."""
EXACT = 128
"""Order below which residuals are computed exactly: products with a few vectors cost as much."""
COLUMNS = 8
MOST_CHAINED = 16
"""Root up to which powers are products with the vectors, one after the other."""
SEED = 538_126_409
"""Of the vectors, so that an answer and its residual repeat themselves."""


def residual_norms(problem: Problem, A: Tensor, X: Tensor) -> FloatArray:
    """Return the residual of each answer X for A, shape (k,); not finite where X is not.

    Parameters
    ----------
    problem : Problem
        The function.
    A : array, shape (k, m, n)
        The matrices, with entries of order one or less.
    X : array, shape (k, n, n), or (k, m, n) for polar
        The answers; for polar the factor U, whose H is ``(U^H A + A^H U) / 2``.
    """
    A, X = widened(A), widened(X)
    o = MatrixAlgebra(X)
    if problem.function == "polar" and X.shape[-2] < X.shape[-1]:
        A, X = o.adjoint_of(A), o.adjoint_of(X)
    n = int(X.shape[-1])
    W = None if n < EXACT or problem.p > MOST_CHAINED else _gaussian(n, X)
    with np.errstate(all="ignore"):
        return np.asarray(_MEASURES[problem.function](o, A, X, W, problem.p))


def widened(X: Tensor) -> Tensor:
    """Return X in single precision if it is in half."""
    xp = array_namespace(X)
    return xp.astype(X, xp.float32) if xp.finfo(X.dtype).bits < 32 else X


def _gaussian(n: int, like: Tensor) -> Tensor:
    """Return vectors (n, COLUMNS) with ``E ||E W||_F^2 = ||E||_F^2``."""
    xp = array_namespace(like)
    W = np.random.default_rng([SEED, n]).standard_normal((n, COLUMNS)) / COLUMNS**0.5
    options: dict[str, Any] = {"device": like.device} if is_torch_array(like) else {}
    return xp.asarray(W, dtype=like.dtype, **options)


def _times(X: Tensor, W: Tensor | None) -> Tensor:
    """Return X W; X itself for the identity, None."""
    return X if W is None else X @ W


def _norm(o: MatrixAlgebra, X: Tensor) -> FloatArray:
    """Return Frobenius norms; matrices that are tiny or huge are scaled first."""
    largest = o.xp.max(o.xp.abs(X), axis=(-2, -1))
    unit = o.xp.where(largest > 0, largest, o.xp.ones_like(largest))
    norms = o.norm(X / unit[..., None, None])
    return to_host(norms).astype(np.float64) * to_host(unit).astype(np.float64)


def _of_identity(o: MatrixAlgebra, product: Tensor, W: Tensor | None) -> FloatArray:
    """Return ``||product - W||_F / sqrt(n)``."""
    R = o.combine((1.0, product), shift=-1.0) if W is None else product - W
    return _norm(o, R) / R.shape[-2] ** 0.5


def _relative(o: MatrixAlgebra, R: Tensor, A: Tensor) -> FloatArray:
    size = _norm(o, A)
    return _norm(o, R) / np.where(size > 0, size, 1.0)


def _polar(o: MatrixAlgebra, G: Tensor, U: Tensor, W: Tensor | None, p: int) -> FloatArray:
    del p
    turned, image, moved = o.adjoint_of(U), _times(U, W), _times(G, W)
    if W is None:
        product = turned @ G
        H = 0.5 * (product + o.adjoint_of(product))
    else:
        H = 0.5 * (turned @ moved + o.adjoint_of(G) @ image)
    orthogonality = _of_identity(o, turned @ image, W)
    return np.maximum(orthogonality, _relative(o, U @ H - moved, G))


def _sign(o: MatrixAlgebra, A: Tensor, S: Tensor, W: Tensor | None, p: int) -> FloatArray:
    del p
    image, moved = _times(S, W), _times(A, W)
    return np.maximum(_of_identity(o, S @ image, W), _relative(o, A @ image - S @ moved, A))


def _inv(o: MatrixAlgebra, A: Tensor, X: Tensor, W: Tensor | None, p: int) -> FloatArray:
    del p
    return _of_identity(o, A @ _times(X, W), W)


def _root(o: MatrixAlgebra, A: Tensor, X: Tensor, W: Tensor | None, p: int) -> FloatArray:
    return _relative(o, _power(o, X, W, p) - _times(A, W), A)


def _inverse_root(o: MatrixAlgebra, A: Tensor, X: Tensor, W: Tensor | None, p: int) -> FloatArray:
    return _of_identity(o, A @ _power(o, X, W, p), W)


def _power(o: MatrixAlgebra, X: Tensor, W: Tensor | None, p: int) -> Tensor:
    """Return ``X^p W``."""
    if W is None:
        return power(o, X, p)
    for _ in range(p):
        W = X @ W
    return W


_MEASURES = {
    "polar": _polar,
    "sign": _sign,
    "inv": _inv,
    "sqrt": _root,
    "invsqrt": _inverse_root,
    "root": _root,
    "inverse_root": _inverse_root,
}
