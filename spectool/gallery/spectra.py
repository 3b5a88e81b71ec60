"""Sparse symmetric matrices with exactly the eigenvalues that are asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from spectool._types import FloatArray, Rng
from spectool.errors import InputError
from spectool.gallery.checks import Csr, canonical, checked_integer, checked_number


def random_spectrum(eigenvalues: npt.ArrayLike, *, rounds: int = 3, rng: Rng = None) -> Csr:
    """Return ``Q diag(eigenvalues) Q^T`` for a random sparse orthogonal Q.

    In each round all unknowns are paired at random, and each pair is rotated by a random angle, so
    the result stays sparse and its eigenvectors spread over ``2**rounds`` unknowns.

    Parameters
    ----------
    eigenvalues : array_like, shape (n,)
        Real, finite, in any order.
    rounds : int
        Rounds of rotations; 0 returns a diagonal matrix. Rows hold at most ``(4**rounds + 2) / 3``
        entries: 2, 6, 22, 86.
    rng : Generator, int or None
        Draws pairs and angles.

    Returns
    -------
    csr_array, shape (n, n)
        Symmetric, bit for bit; in the unit of the eigenvalues.

    Raises
    ------
    InputError
        If the eigenvalues are not a vector of finite real numbers, or ``rounds`` is negative.

    Notes
    -----
    The eigenvalues are those given up to rounding, a small multiple of ``rounds eps max|lambda|``.
    Cost: two sparse products per round.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = st.gallery.random_spectrum([-1.0, 0.5, 2.0, 7.0], rng=471936205)
    >>> np.linalg.eigvalsh(A.toarray()).round(12).tolist()
    [-1.0, 0.5, 2.0, 7.0]
    """
    lam = np.asarray(eigenvalues)
    if lam.ndim != 1 or lam.size == 0 or lam.dtype.kind not in "iuf" or not np.isfinite(lam).all():
        raise InputError(
            "eigenvalues must be a vector of finite real numbers; got "
            f"shape {lam.shape}, dtype {lam.dtype}"
        )
    rounds = checked_integer("rounds", rounds, 0)
    rng = np.random.default_rng(rng)
    A = sparse.csr_array(sparse.diags_array(lam.astype(np.float64)))
    for _ in range(rounds):
        Q = _rotations(lam.size, rng)
        A = Q @ A @ Q.T
    return canonical((A + A.T) / 2)


def log_uniform(n: int, cond: float, rng: Rng = None) -> FloatArray:
    """Return n numbers in [1/cond, 1], log-uniform, with both ends attained.

    Parameters
    ----------
    n : int
        How many; 1 only for ``cond=1``.
    cond : float
        Largest over smallest, at least 1.
    rng : Generator, int or None
        Draws the numbers in between.

    Returns
    -------
    ndarray, shape (n,)
        Ascending.

    Raises
    ------
    InputError
        If n < 1, cond < 1, or one number is to have two ends.

    Examples
    --------
    >>> import spectool as st
    >>> st.gallery.log_uniform(4, 1e4, rng=471936205)[[0, -1]].tolist()
    [0.0001, 1.0]
    """
    n = checked_integer("n", n, 1)
    cond = checked_number("cond", cond, 1)
    if n == 1 and cond > 1:
        raise InputError(f"n must be at least 2 for cond > 1; got n = 1, cond = {cond}")
    inner = np.random.default_rng(rng).random(max(n - 2, 0))
    lam = cond ** -np.concatenate([[0.0], inner, [1.0]])[:n]
    return np.sort(lam)


def _rotations(n: int, rng: np.random.Generator) -> Csr:
    """Return an orthogonal matrix that rotates random pairs; an odd unknown stays."""
    order = rng.permutation(n)
    one, two = order[: n // 2], order[n // 2 : 2 * (n // 2)]
    angle = rng.uniform(0, 2 * np.pi, size=n // 2)
    c, s = np.cos(angle), np.sin(angle)
    rest = order[2 * (n // 2) :]
    rows = np.concatenate([one, one, two, two, rest])
    cols = np.concatenate([one, two, one, two, rest])
    values = np.concatenate([c, -s, s, c, np.ones(rest.size)])
    return sparse.csr_array(sparse.coo_array((values, (rows, cols)), shape=(n, n)))
