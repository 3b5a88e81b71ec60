r"""What a few vectors tell of the residual R: moments, extremes, and a quadrature of its spectrum.

Source
    Yang, Wang, Balabanov, Erichson and Mahoney, arXiv:2601.22137 (2026) (PRISM: sketched traces);
    Golub and Meurant, Matrices, Moments and Quadrature, 2010, section 7.3 (block Gauss rules).
Deviations
    (1) ``tr(S^T R^(i+j) S)`` is the inner product of ``R^i S`` and ``R^j S``: half as many products
    as in the published method. As ``<(R^H)^i S, (R^H)^j S>`` it serves any R, Hermitian or not.
    (2) The basis of the block Krylov space is made orthonormal against all of itself, so that its
    Ritz values are right where a block is deficient.
Cost
    ``degree`` products of R, shape (n, n), with s vectors for moments of degree ``2 degree``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from spectool._types import Array, FloatArray
from spectool.dense.accuracy import widened
from spectool.dense.algebra import Cost, Tensor
from spectool.dense.door import to_host
from spectool.dense.run import Run
from spectool.errors import BreakdownError

__all__ = ["Ritz", "charge", "drawn", "moments", "probed", "refuse", "upper_bound"]

MARGIN = 8.0
"""Multiple of eps by which upper bounds are enlarged against rounding."""
NARROW = 1e-30
"""Smallest normal number of data types whose squares do not underflow."""
MOST_SLACK = 0.2
"""What ``||R||_2`` may exceed 1 by in low precision."""
SLACK = 16.0
"""The same in high precision, as a multiple of ``eps^(1/2)``: coupled variables drift apart."""

NEEDED = {
    "sign": "A^2 must be Hermitian positive semidefinite, as it is for Hermitian A",
    "polar": "A must be scaled to singular values up to 1",
    "inv": "the start must make A X Hermitian positive semidefinite, as A^H does",
}
"""What each function needs; the others are roots."""


class Ritz(NamedTuple):
    """Quadrature nodes for the spectrum of R, on the host.

    Attributes
    ----------
    theta : ndarray, shape (..., k)
        Ritz values, ascending.
    weights : ndarray, shape (..., k)
        Fractions of the spectrum; they add up to 1.
    """

    theta: Array
    weights: Array


def drawn(run: Run, n_sketch: int | None) -> Tensor:
    """Return a Gaussian sketch, shape (n, s) with s <= n, of variance 1 / s; I for None."""
    X = run.variables.X
    n = int(X.shape[-1])
    s = n if n_sketch is None else min(n_sketch, n)
    S = np.eye(n) if n_sketch is None else run.rng.standard_normal((n, s)) / s**0.5
    return beside(S, widened(X[..., :1, :1]))


def beside(values: FloatArray, like: Tensor) -> Tensor:
    """Return an array of the host in the library, the type and on the device of another one."""
    if is_torch_array(like):
        return array_namespace(like).asarray(values).to(dtype=like.dtype, device=like.device)
    return values.astype(like.dtype)


def upper_bound(run: Run, p: int, degree: int) -> FloatArray:
    """Return an upper bound of the p-th roots of the eigenvalues of M = I - R, shape (...).

    They are at most 1 at the start, the only place to ask: it is the smallest of 1, ``||M||_F``,
    and ``||M^2||_F^(1/2)`` where a step of this degree computes the square anyway.
    """
    o, v = run.algebra, run.variables
    info = o.xp.finfo(v.X.dtype)
    if run.problem.family == "sign":
        M = o.square(v.X)
    elif run.problem.family == "inverse_root":
        M = v.Y
    else:
        M = o.multiply(*((v.Y, v.X) if run.problem.family == "sqrt" else (v.A, v.X)))
    squared = degree > 1 and float(info.smallest_normal) < NARROW
    norms = to_host(o.norm(o.multiply(M, M) if squared else M)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        bound = norms ** ((0.5 if squared else 1.0) / p) * (1.0 + MARGIN * float(info.eps))
    return np.where(bound > 0.0, np.fmin(bound, 1.0), 1.0)


def moments(run: Run, S: Tensor, degree: int, *, unit: FloatArray | None = None) -> Tensor:
    """Return the Gram matrices of ``S, R^H S, ..., (R^H)^degree S``, in double precision.

    Parameters
    ----------
    run : Run
        Its residual R is looked at.
    S : array, shape (n, s)
        The sketch.
    degree : int
        Highest power.
    unit : ndarray, shape (...), optional
        Of M = I - R: then R is ``I - M / unit``.

    Returns
    -------
    array, shape (..., degree + 1, degree + 1)
        Real parts of the inner products, on the device of R.

    Raises
    ------
    BreakdownError
        If ``||R||_2 > 1``, or R is not finite.
    """
    o, xp = run.algebra, run.algebra.xp
    R = o.adjoint_of(widened(run.residual()))
    first = R @ S
    powers = [xp.broadcast_to(S, first.shape)]
    for k in range(degree):
        V = R @ powers[-1] if k else first
        if unit is not None:
            V = powers[-1] + (V - powers[-1]) / beside(unit, V)[..., None, None]
        powers.append(V)
    charge(run, degree * S.shape[-1])
    V = xp.stack(powers, axis=-3)  # (..., degree + 1, n, s)
    flat = xp.reshape(V, (*V.shape[:-2], V.shape[-2] * V.shape[-1]))
    gram = flat @ o.adjoint_of(flat)
    gram = xp.real(gram) if xp.isdtype(gram.dtype, "complex floating") else gram
    sizes = xp.astype(xp.linalg.vector_norm(V, axis=-2), xp.float64)
    _check_norm(run, sizes)
    return xp.astype(gram, xp.float64)


def _check_norm(run: Run, sizes: Tensor) -> None:
    """Raise if a vector grew under R; sizes (..., degree + 1, s) are the norms of its powers."""
    before, after = to_host(sizes[..., :-1, :]), to_host(sizes[..., 1:, :])
    if not np.isfinite(after).all():
        raise BreakdownError("the residual is not finite")
    # Powers that underflow tell nothing.
    known = before > np.finfo(np.float32).tiny
    growth = np.where(known, after / np.where(known, before, 1.0), 0.0).max(axis=(-2, -1))
    refuse(run, growth, 1.0 + slack(run), "a vector grew under R by")


def slack(run: Run) -> float:
    """Return by how much R may exceed 1 because of rounding."""
    eps = float(run.algebra.xp.finfo(run.variables.X.dtype).eps)
    return min(SLACK * eps**0.5, MOST_SLACK)


def refuse(run: Run, found: Array, most: float, what: str) -> None:
    """Raise BreakdownError if a number for each matrix, shape (...), exceeds what it may be."""
    if (found <= most).all():
        return
    worst = np.unravel_index(int(np.argmax(found)), np.shape(found))
    which = f" (matrix {', '.join(str(int(i)) for i in worst)} of the batch)" if worst else ""
    needed = NEEDED.get(run.problem.function, "A must be Hermitian positive definite")
    raise BreakdownError(
        f"steps chosen by a sketch need a Hermitian residual R with eigenvalues of at most 1, but "
        f"{what} {float(np.max(found)):.6g}{which}. For {run.problem.function}, {needed}. Take a "
        "method for general matrices, or method='lapack'."
    )


def probed(run: Run, S: Tensor, n_products: int) -> Ritz:
    """Return Ritz values of the Hermitian R on ``span(S, R S, ..., R^(n_products - 1) S)``.

    Parameters
    ----------
    run : Run
        Its residual R is looked at.
    S : array, shape (n, s)
        The sketch.
    n_products : int
        Products with blocks of s vectors; fewer where the space is full.

    Raises
    ------
    BreakdownError
        If a Ritz value exceeds 1, or R is not Hermitian, or not finite.
    """
    o, xp = run.algebra, run.algebra.xp
    R = widened(run.residual())
    n, s = (int(size) for size in S.shape)
    V, _ = xp.linalg.qr(xp.broadcast_to(xp.astype(S, R.dtype), (*R.shape[:-2], n, s)))
    blocks, images = [V], [R @ V]
    while len(blocks) < min(n_products, n // s):
        basis, V = xp.concat(blocks, axis=-1), images[-1]
        for _ in range(2):  # the second time takes out what the first blew up, if little was left
            V = V - basis @ (o.adjoint_of(basis) @ V)
            V, _ = xp.linalg.qr(V)
        V = V - basis @ (o.adjoint_of(basis) @ V)
        blocks.append(V)
        images.append(R @ V)
    charge(run, len(blocks) * s)
    basis = xp.concat(blocks, axis=-1)
    T = to_host(o.adjoint_of(basis) @ xp.concat(images, axis=-1))
    if not np.isfinite(T).all():
        raise BreakdownError("the residual is not finite")
    T = T.astype(np.complex128 if np.iscomplexobj(T) else np.float64)
    turned = np.conj(np.swapaxes(T, -1, -2))
    theta, U = np.linalg.eigh(0.5 * (T + turned))
    refuse(run, theta[..., -1], 1.0 + slack(run), "R has the Ritz value")
    general = not (o.hermitian or o.adjoint or run.problem.family == "inv")
    if general:
        skew = 0.5 * np.linalg.norm(T - turned, axis=(-2, -1))
        refuse(run, skew, slack(run), "its skew part has a norm of at least")
    weights = np.square(np.abs(U[..., :s, :])).sum(axis=-2) / s
    return Ritz(theta, weights)


def charge(run: Run, n_vectors: int) -> None:
    """Count thin products with R, as parts of a product of matrices."""
    share = n_vectors / run.variables.X.shape[-1]
    run.overhead = run.overhead.plus(Cost(products=share))
