"""Linear elasticity on a grid of squares or cubes, clamped at one side.

Source
    Hughes, The Finite Element Method, Dover 2000, sections 2.7 and 3.2 (bilinear and trilinear
    elements).
Deviations
    No loop over elements: on a uniform grid the stiffness is a sum of Kronecker products of the
    matrices of linear elements on a line, and so integrated exactly (as 2-point Gauss does).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from spectool.gallery.checks import (
    Csr,
    canonical,
    checked_number,
    checked_shape,
    kron,
    tridiagonal,
)


def elasticity(shape: Sequence[int], *, young: float = 1.0, poisson_ratio: float = 0.3) -> Csr:
    """Return the stiffness of a body of unit squares (plane strain) or cubes, clamped at one side.

    Parameters
    ----------
    shape : sequence of int
        Elements along each axis, 2D or 3D. The body is clamped where the first coordinate is 0 and
        free elsewhere.
    young : float
        Young's modulus, positive; the unit of the matrix is that of ``young`` (times length in 3D).
    poisson_ratio : float
        Poisson's ratio, in (-1, 0.5); the matrix degenerates towards 0.5.

    Returns
    -------
    csr_array, shape (n, n)
        Symmetric positive definite. ``n = d shape[0] (shape[1] + 1) [(shape[2] + 1)]``: the d
        components of the displacement run fastest, then the nodes, last axis first.

    Raises
    ------
    InputError
        If the shape is not 2D or 3D, or a modulus out of its range.

    Notes
    -----
    ``a(u, v) = int lambda div u div v + 2 mu e(u) : e(v)`` with
    ``lambda = E nu / ((1 + nu) (1 - 2 nu))`` and ``mu = E / (2 (1 + nu))``. Without the clamp, the
    null space is that of the rigid motions, 3 in 2D and 6 in 3D. The condition number grows with
    the square of the number of elements along the body, faster for slender ones. Rows hold up to 13
    entries in 2D, 51 in 3D.

    Examples
    --------
    >>> import spectool as st
    >>> A = st.gallery.elasticity((4, 2, 2))
    >>> A.shape, abs(A - A.T).max().item()
    ((108, 108), 0.0)
    """
    shape = checked_shape(shape, (2, 3))
    young = checked_number("young", young, 0, open_low=True)
    nu = checked_number("poisson_ratio", poisson_ratio, -1, 0.5, open_low=True)
    lame = young * nu / ((1 + nu) * (1 - 2 * nu))
    shear = young / (2 * (1 + nu))
    clamped = len(shape) * int(np.prod([n + 1 for n in shape[1:]]))  # the first nodes
    return canonical(stiffness(shape, lame, shear)[clamped:, clamped:])


def stiffness(shape: tuple[int, ...], lame: float, shear: float) -> Csr:
    """Return the stiffness of the free body; see `elasticity`.

    Parameters
    ----------
    shape : tuple of int
        Elements along each axis.
    lame, shear : float
        Lame's moduli lambda and mu.

    Returns
    -------
    csr_array, shape (n, n), n = d prod(shape + 1)
    """
    d = len(shape)
    # G[a, b] = int (d_a phi_i) (d_b phi_j), for test function i and trial function j.
    G: dict[tuple[int, int], Any] = {
        (a, b): kron([_line(n, axis == a, axis == b) for axis, n in enumerate(shape)])
        for a in range(d)
        for b in range(d)
    }
    laplacian = sum(G[a, a] for a in range(d))
    rows, cols, values = [], [], []
    for a in range(d):
        for b in range(d):
            block = lame * G[a, b] + shear * G[b, a]
            block = (block + shear * laplacian if a == b else block).tocoo()
            i, j = block.coords
            rows.append(d * i + a)
            cols.append(d * j + b)
            values.append(block.data)
    n = d * int(np.prod([m + 1 for m in shape]))
    coordinates = (np.concatenate(rows), np.concatenate(cols))
    return sparse.csr_array(sparse.coo_array((np.concatenate(values), coordinates), shape=(n, n)))


def _line(n: int, test: bool, trial: bool) -> Csr:
    """Return int phi_i phi_j of n linear elements, with test or trial function derived or both.

    ``end`` corrects the two diagonal entries that belong to one element only.
    """
    if test and trial:
        T, end = tridiagonal(n + 1, -1, 2, -1), (-1.0, -1.0)
    elif test:
        T, end = tridiagonal(n + 1, 1 / 2, 0, -1 / 2), (-1 / 2, 1 / 2)
    elif trial:
        T, end = tridiagonal(n + 1, -1 / 2, 0, 1 / 2), (-1 / 2, 1 / 2)
    else:
        T, end = tridiagonal(n + 1, 1 / 6, 4 / 6, 1 / 6), (-2 / 6, -2 / 6)
    ends = sparse.coo_array((end, ([0, n], [0, n])), shape=T.shape)
    return sparse.csr_array(T + ends)
