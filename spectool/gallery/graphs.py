"""Adjacency matrices of plain graphs, and their Laplacians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from spectool._types import IntArray, Rng
from spectool.errors import InputError
from spectool.gallery.checks import (
    Csr,
    canonical,
    checked_integer,
    checked_number,
    checked_shape,
    on_axis,
    tridiagonal,
)


def graph_laplacian(adjacency: Any, *, shift: float = 0.0, normalized: bool = False) -> Csr:
    """Return the Laplacian ``D - W + shift I``, or ``I - D^-1/2 W D^-1/2 + shift I``.

    Parameters
    ----------
    adjacency : array_like or sparse array, shape (n, n)
        Symmetric weights W, finite and not negative. Its diagonal (loops) is ignored.
    shift : float
        Added to the diagonal; any positive number makes the matrix positive definite.
    normalized : bool
        Whether to scale by the degrees; vertices without edges keep a row of zeros (plus shift).

    Returns
    -------
    csr_array, shape (n, n)
        Symmetric positive semidefinite plus the shift; in the unit of the weights, or none.

    Raises
    ------
    InputError
        If the adjacency is not square, symmetric, finite and nonnegative, or shift negative.

    Notes
    -----
    The multiplicity of the eigenvalue ``shift`` is the number of connected components. All others
    are at most twice the largest degree plus shift, or 2 plus shift when normalized. See Chung,
    Spectral Graph Theory, AMS 1997, lemma 1.7.

    Examples
    --------
    >>> import spectool as st
    >>> st.gallery.graph_laplacian(st.gallery.path_graph(3)).toarray().tolist()
    [[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]]
    """
    W = sparse.csr_array(adjacency)
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise InputError(f"adjacency must be square; got shape {W.shape}")
    if np.iscomplexobj(W) or not np.isfinite(W.data).all() or (W.data < 0).any():
        raise InputError(
            "adjacency must hold finite weights that are not negative; take abs(adjacency) first"
        )
    W = canonical(W)
    if (W - W.T).count_nonzero():
        raise InputError("adjacency must be symmetric; take adjacency + adjacency.T first")
    shift = checked_number("shift", shift, 0)
    W = canonical(W - sparse.diags_array(W.diagonal()))
    degree = W.sum(axis=1)
    if normalized:
        linked = degree > 0
        scale = np.divide(1, np.sqrt(degree), where=linked, out=np.zeros_like(degree))
        i, j = W.tocoo().coords
        W.data *= scale[i] * scale[j]  # the product first: it is symmetric bit for bit
        degree = linked.astype(np.float64)
    return canonical(sparse.diags_array(degree + shift) - W)


def grid_graph(shape: Sequence[int]) -> Csr:
    """Return the adjacency of a grid: points are linked to their neighbors along the axes.

    Parameters
    ----------
    shape : sequence of int
        Points along each axis; any dimension.

    Returns
    -------
    csr_array, shape (n, n), n = prod(shape)
        Ones.

    Raises
    ------
    InputError
        If ``shape`` is not a tuple of positive integers.

    Notes
    -----
    Laplacian eigenvalues: sums over the axes of ``2 - 2 cos(pi k / m)``, k = 0 .. m - 1.

    Examples
    --------
    >>> import spectool as st
    >>> st.gallery.grid_graph((2, 2)).sum(axis=1).tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    shape = checked_shape(shape)
    axes = (on_axis(tridiagonal(n, 1, 0, 1), axis, shape) for axis, n in enumerate(shape))
    return canonical(sum(axes))


def path_graph(n: int) -> Csr:
    """Return the adjacency of a path of n vertices; see `grid_graph`.

    Parameters
    ----------
    n : int
        Vertices, at least 1.

    Returns
    -------
    csr_array, shape (n, n)
        Ones.

    Raises
    ------
    InputError
        If n is not a positive integer.

    Examples
    --------
    >>> import spectool as st
    >>> st.gallery.path_graph(3).toarray().astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    return grid_graph((checked_integer("n", n, 1),))


def random_graph(n: int, degree: float, rng: Rng = None) -> Csr:
    """Return the adjacency of an Erdos-Renyi graph G(n, m) with ``m = round(n degree / 2)``.

    Parameters
    ----------
    n : int
        Vertices, at least 1.
    degree : float
        Mean degree, at most n - 1.
    rng : Generator, int or None
        Draws the m edges, all different, none a loop.

    Returns
    -------
    csr_array, shape (n, n)
        Ones; exactly 2 m of them.

    Raises
    ------
    InputError
        If n is not a positive integer, or ``degree`` outside [0, n - 1].

    Notes
    -----
    Below degree log(n) some vertices have no edge, so the Laplacian has more than one zero.

    Examples
    --------
    >>> import spectool as st
    >>> st.gallery.random_graph(1000, 6, rng=918264530).nnz
    6000
    """
    n = checked_integer("n", n, 1)
    degree = checked_number("degree", degree, 0)
    if degree > n - 1:
        raise InputError(f"degree must not exceed n - 1 = {n - 1}; got {degree}")
    edges = round(n * degree / 2)
    code = np.random.default_rng(rng).choice(n * (n - 1) // 2, size=edges, replace=False)
    i, j = _edges(code)
    W = sparse.coo_array((np.ones(edges), (i, j)), shape=(n, n))
    return canonical(W + W.T)


def _edges(code: IntArray) -> tuple[IntArray, IntArray]:
    """Return i and j, j < i, of the edges with the codes ``i (i - 1) / 2 + j``."""
    i = ((1 + np.sqrt(1 + 8 * code.astype(np.float64))) / 2).astype(np.int64)
    i -= i * (i - 1) // 2 > code  # the rounded root may be one too large, never too small
    return i, code - i * (i - 1) // 2
