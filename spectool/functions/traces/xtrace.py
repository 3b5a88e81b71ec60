"""XTrace: the trace of f(A) from f(A) times test vectors, each of which serves twice.

Source
    Epperly, Tropp and Webber, XTrace: making the most of every sample in stochastic trace
    estimation, SIMAX 45 (2024), section 2.3 and (2.4); the leave-one-out formulas of section 3.
Deviations
    The leave-one-out estimates share all their products and agree too well: their standard error
    is widened by ``SHARED``.
Cost
    f(A) times 2 q vectors for q test vectors, 3 blocks of shape (n, q), O(n q^2) flops.

Each test vector is left out in turn: the others span most of the range of f(A), whose trace is then
known; the one left out samples the rest. Where the eigenvalues of f(A) decay, so does the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spectool._types import Array, FloatArray

SHARED = 1.5
"""Errors over standard errors of 16 or more leave-one-out estimates deviate by 1.2 to 1.7."""
FIRST = 16
MOST = 256


class TraceSample(NamedTuple):
    """An estimate, its standard error, whether that is what was wanted, probes, what was done."""

    value: float
    error: float
    met: bool
    n_probes: int
    method: str


def xtrace(
    apply: Callable[[Array], tuple[Array, float]],
    draw: Callable[[int], Array],
    n: int,
    *,
    target: float,
    n_probes: int | None,
) -> TraceSample:
    """Estimate the trace of a Hermitian matrix F from products with it.

    ``apply(X)`` returns ``F X`` and its relative error; ``draw(q)`` returns q random vectors, shape
    (n, q). Test vectors double until the standard error is at most ``target`` times ``trace |F|``,
    or are ``n_probes``. Where their products would number n, the unit vectors are taken instead,
    and nothing is random.
    """
    most = min(MOST, max(FIRST, 2**30 // (24 * n)))
    wanted = n_probes or FIRST
    Omega = Y = Q = Z = np.empty((n, 0))
    while 2 * wanted <= n:
        fresh = draw(wanted - Omega.shape[1])
        images, relative = apply(fresh)
        directions = _extension(Q, images)
        products, error = apply(directions)
        Omega, Y, Q, Z = (
            np.concatenate(pair, axis=1)
            for pair in ((Omega, fresh), (Y, images), (Q, directions), (Z, products))
        )
        estimates = leave_one_out(Omega, Y, Q, Z)
        value = float(estimates.mean())
        truncation = max(relative, error) * _size(Omega, Y, Z)
        spread = float(estimates.std(ddof=1)) / np.sqrt(wanted) if wanted > 1 else abs(value)
        total = SHARED * spread + truncation
        size = max(abs(value), float(np.abs(np.linalg.eigvalsh(Q.conj().T @ Z)).sum()))
        met = total <= target * size
        if n_probes is not None or met or 2 * wanted > most:
            return TraceSample(value, total, met, wanted, f"xtrace, {wanted} test vectors")
        wanted *= 2
    Z, relative = apply(np.eye(n, dtype=Omega.dtype))
    diagonal = np.diagonal(Z).real
    error = relative * float(np.linalg.norm(Z, axis=0).sum())
    met = error <= target * float(np.abs(diagonal).sum())
    return TraceSample(float(diagonal.sum()), error, met, 0, f"{n} unit vectors")


def leave_one_out(Omega: Array, Y: Array, Q: Array, Z: Array) -> FloatArray:
    """Return q estimates of trace F from ``Y = F Omega``, Q an orthonormal basis of Y, ``Z = F Q``.

    The i-th projects by Q less the direction s_i that only ``Y[:, i]`` contributes, and samples the
    rest with ``Omega[:, i]``, scaled as if it were uniform on the sphere of what is left.
    """
    n, q = Omega.shape
    R = Q.conj().T @ Y
    # Each column of R^-* is orthogonal to all columns of R but one. Where R is singular, none of
    # its columns is missed: the direction that is left out is the one that none of them has.
    U, sigma, Vh = np.linalg.svd(R)
    floor = float(np.finfo(R.dtype).eps) * float(sigma[0]) or 1.0
    S = (U * (floor / np.maximum(sigma, floor))) @ Vh
    S /= np.linalg.norm(S, axis=0)
    H, W, T = Q.conj().T @ Z, Q.conj().T @ Omega, Z.conj().T @ Omega
    C = W - S * _dots(S, W)
    inside = np.trace(H).real - _dots(S, H @ S).real
    form = _dots(Omega, Y).real - 2.0 * _dots(C, T).real + _dots(C, H @ C).real
    outside = _dots(Omega, Omega).real - _dots(C, C).real
    return np.asarray(inside + (n - q + 1) / outside * form, dtype=np.float64)


def _extension(Q: Array, Y: Array) -> Array:
    """Return an orthonormal basis of what the columns of Y add to those of Q."""
    for _ in range(2):
        Y = Y - Q @ (Q.conj().T @ Y)
        Y = np.linalg.qr(Y)[0]
    return Y


def _dots(X: Array, Y: Array) -> Array:
    return np.einsum("ij,ij->j", X.conj(), Y)


def _size(Omega: Array, Y: Array, Z: Array) -> float:
    """Return what a relative error of the products is multiplied with in the estimate."""
    forms = np.linalg.norm(Omega, axis=0) * np.linalg.norm(Y, axis=0)
    return float(np.linalg.norm(Z, axis=0).sum() + forms.mean())
