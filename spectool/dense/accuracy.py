"""Residuals of answers, recomputed from the answer alone: what the verbs report.

Source
    Higham, Functions of Matrices, SIAM 2008, chapters 5 to 8.
Cost
    Two products for polar, inv and sqrt; three for sign; up to ``2 log2(p) + 1`` for roots.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

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
    with np.errstate(all="ignore"):
        return np.asarray(_MEASURES[problem.function](o, A, X, problem.p))


def widened(X: Tensor) -> Tensor:
    """Return X in single precision if it is in half."""
    xp = array_namespace(X)
    return xp.astype(X, xp.float32) if xp.finfo(X.dtype).bits < 32 else X


def _norm(o: MatrixAlgebra, X: Tensor) -> FloatArray:
    """Return Frobenius norms; matrices that are tiny or huge are scaled first."""
    largest = o.xp.max(o.xp.abs(X), axis=(-2, -1))
    unit = o.xp.where(largest > 0, largest, o.xp.ones_like(largest))
    norms = o.norm(X / unit[..., None, None])
    return to_host(norms).astype(np.float64) * to_host(unit).astype(np.float64)


def _of_identity(o: MatrixAlgebra, product: Tensor) -> FloatArray:
    """Return ``||product - I||_F / sqrt(n)``."""
    R = o.combine((1.0, product), shift=-1.0)
    return _norm(o, R) / R.shape[-1] ** 0.5


def _relative(o: MatrixAlgebra, R: Tensor, A: Tensor) -> FloatArray:
    size = _norm(o, A)
    return _norm(o, R) / np.where(size > 0, size, 1.0)


def _polar(o: MatrixAlgebra, G: Tensor, U: Tensor, p: int) -> FloatArray:
    del p
    turned = o.adjoint_of(U)
    wide = U.shape[-2] < U.shape[-1]
    orthogonality = _of_identity(o, U @ turned if wide else turned @ U)
    product = turned @ G
    H = 0.5 * (product + o.adjoint_of(product))
    return np.maximum(orthogonality, _relative(o, U @ H - G, G))


def _sign(o: MatrixAlgebra, A: Tensor, S: Tensor, p: int) -> FloatArray:
    del p
    return np.maximum(_of_identity(o, S @ S), _relative(o, A @ S - S @ A, A))


def _inv(o: MatrixAlgebra, A: Tensor, X: Tensor, p: int) -> FloatArray:
    del p
    return _of_identity(o, A @ X)


def _root(o: MatrixAlgebra, A: Tensor, X: Tensor, p: int) -> FloatArray:
    return _relative(o, power(o, X, p) - A, A)


def _inverse_root(o: MatrixAlgebra, A: Tensor, X: Tensor, p: int) -> FloatArray:
    return _of_identity(o, A @ power(o, X, p))


_MEASURES = {
    "polar": _polar,
    "sign": _sign,
    "inv": _inv,
    "sqrt": _root,
    "invsqrt": _inverse_root,
    "root": _root,
    "inverse_root": _inverse_root,
}
