r"""``(A + eps I)^(-1/p)`` for batches of positive semidefinite tensors, as Shampoo wants it.

Source
    Gupta, Koren and Singer, Shampoo, ICML 2018; Anil, Gupta, Koren, Regan and Singer,
    arXiv:2002.09018 (damping relative to the largest eigenvalue; coupled Newton).
Deviations
    Eigenvalues that rounding made negative are zero before eps is added.
Cost
    One eigendecomposition and a product; with a method of ``dense.inverse_root`` its products.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from spectool._types import Rng
from spectool.dense.algebra import Tensor
from spectool.errors import InputError, NotPositiveDefiniteError

__all__ = ["inverse_root"]


def inverse_root(
    A: Tensor,
    p: int,
    *,
    eps: float = 0.0,
    relative: bool = False,
    method: str = "auto",
    rtol: float | None = None,
    dtype: Any = None,
    check: bool = True,
    rng: Rng = None,
) -> Tensor:
    """Return ``(A + eps I)^(-1/p)`` for positive semidefinite A.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        Symmetric or Hermitian but for rounding; positive definite, or semidefinite with eps > 0.
    p : int
        Which root: 4 for matrices in Shampoo, 2 for whitening, 1 for the inverse.
    eps : float
        Added to the diagonal, not negative.
    relative : bool
        Whether eps is relative to the largest sum of a row of ``|A|``, which is between the
        largest eigenvalue and ``sqrt(n)`` times it.
    method : str
        ``"eigh"``, also ``"auto"``; or a method of ``spectool.dense.inverse_root``, such as
        "coupled_newton", "higher_order", "polar_express", "gawlik" or "prism", which need products
        only.
    rtol : float, optional
        For the latter: their tolerance.
    dtype : torch.dtype, optional
        In which to work; that of A, but at least single precision.
    check : bool
        Whether to raise for an A that is singular. That waits for the device; without it the
        result is infinite there.
    rng : Generator, int or None
        For methods that sketch.

    Returns
    -------
    Tensor, shape (..., n, n)
        Hermitian, in the data type of A, without gradient.

    Raises
    ------
    InputError
        If A is no batch of square floating tensors, is not finite, or an option is not known.
    NotPositiveDefiniteError
        If ``A + eps I`` is not positive definite to working precision.

    Warns
    -----
    ConvergenceWarning
        If an iteration misses rtol.

    Notes
    -----
    eigh finds eigenvalues to about ``u ||A||``, u the rounding of the data type: smaller ones, and
    a smaller eps, are noise.

    References
    ----------
    .. [1] Anil, Gupta, Koren, Regan and Singer, arXiv:2002.09018, section 3.

    Examples
    --------
    >>> import torch, spectool.torch
    >>> A = torch.tensor([[16.0, 0.0], [0.0, 0.0]])
    >>> spectool.torch.inverse_root(A, 4, eps=1e-4).numpy().round(3).tolist()
    [[0.5, 0.0], [0.0, 10.0]]
    """
    _check(A, p, eps)
    with torch.no_grad():
        X = A.detach().to(torch.promote_types(dtype or A.dtype, torch.float32))
        if X.numel() == 0:
            return A.detach().clone()
        X, unit = _scaled(X)
        damping = float(eps) / unit
        if relative:
            damping = float(eps) * X.abs().sum(-1).amax(-1).to(unit.dtype)
        damping = damping.to(X.real.dtype)
        if method in ("auto", "eigh"):
            root = _by_eigh(X, p, damping, check)
        else:
            root = _by_iteration(X, p, damping, method, rtol, rng)
        factor = (unit ** (-1.0 / p)).to(X.real.dtype)
        return (root * factor[..., None, None]).to(A.dtype)


def _by_eigh(X: Tensor, p: int, damping: Tensor, check: bool) -> Tensor:
    try:
        lam, Q = torch.linalg.eigh(X)
    except torch.linalg.LinAlgError:  # in single precision, for tight clusters
        lam, Q = torch.linalg.eigh(X.to(torch.promote_types(X.dtype, torch.float64)))
        lam, Q = lam.to(X.real.dtype), Q.to(X.dtype)
    lam = lam.clamp(min=0.0) + damping[..., None]
    floor = lam[..., -1] * (lam.shape[-1] * torch.finfo(lam.dtype).eps)
    # Damped eigenvalues may be as small as they are; others would be noise.
    singular = torch.where(damping > 0.0, lam[..., 0] <= 0.0, lam[..., 0] <= floor)
    if check and bool(singular.any()):
        raise NotPositiveDefiniteError(
            f"A + eps I must be positive definite; {int(singular.sum())} of {singular.numel()} "
            f"matrices are singular to {lam.dtype}. Take a larger eps."
        )
    return (Q * lam.pow(-1.0 / p)[..., None, :]) @ Q.mH


def _by_iteration(
    X: Tensor, p: int, damping: Tensor, method: str, rtol: float | None, rng: Rng
) -> Tensor:
    from spectool import dense

    damped = X.clone()
    damped.diagonal(dim1=-2, dim2=-1).add_(damping[..., None])
    root: Tensor = dense.inverse_root(damped, p, method=method, rtol=rtol, assume_a="pos", rng=rng)
    return root


def _scaled(X: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Hermitian parts with entries up to 1, and what they were divided by (float64)."""
    largest = torch.linalg.vector_norm(X, math.inf, dim=(-2, -1))
    if not bool(torch.isfinite(largest).all()):
        raise InputError("A must be finite; it has entries that are NaN or infinite.")
    unit = torch.where(largest > 0, largest, 1.0)
    X = X / unit[..., None, None]
    return 0.5 * (X + X.mH), unit.to(torch.float64)


def _check(A: Any, p: Any, eps: Any) -> None:
    if not isinstance(A, torch.Tensor) or not (A.is_floating_point() or A.is_complex()):
        found = A.dtype if isinstance(A, torch.Tensor) else type(A)
        raise InputError(f"A must be a tensor of floating-point numbers; got {found}.")
    if A.ndim < 2 or A.shape[-1] != A.shape[-2] or A.layout != torch.strided:
        raise InputError(
            f"A must be dense, square or a batch of such; got shape {tuple(A.shape)}, {A.layout}."
        )
    if not isinstance(p, int) or isinstance(p, bool) or p < 1:
        raise InputError(f"p must be a positive integer; got {p!r}.")
    if not 0.0 <= float(eps) < math.inf:
        raise InputError(f"eps must be finite and not negative; got {eps!r}.")
