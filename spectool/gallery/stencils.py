"""Diffusion and convection on boxes with homogeneous Dirichlet conditions.

Source
    Hackbusch, Elliptic Differential Equations, 2nd ed., Springer 2017, chapters 4 and 5
    (differences, exact eigenvalues); Elman, Silvester, Wathen, Finite Elements and Fast Iterative
    Solvers, 2nd ed., Oxford 2014, chapter 6 (recirculating wind).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from spectool._types import FloatArray, Rng
from spectool.errors import InputError
from spectool.gallery.checks import (
    Csr,
    canonical,
    checked_integer,
    checked_number,
    checked_shape,
    checked_word,
    kron,
    on_axis,
    tridiagonal,
)


def poisson(shape: Sequence[int]) -> Csr:
    """Return the second-difference Laplacian: ``2 d`` on the diagonal, -1 for each neighbor.

    Parameters
    ----------
    shape : sequence of int
        Interior points along each axis; any dimension d.

    Returns
    -------
    csr_array, shape (n, n), n = prod(shape)
        Symmetric positive definite; h**2 times the operator on a grid of spacing h.

    Raises
    ------
    InputError
        If ``shape`` is not a tuple of positive integers.

    Notes
    -----
    The eigenvalues lie in (0, 4 d) and are known: `poisson_eigenvalues`. For m points per axis the
    condition number is ``cot(pi / (2 m + 2))**2``, about ``(2 m / pi)**2``.

    Examples
    --------
    >>> import spectool as st
    >>> A = st.gallery.poisson((2, 2))
    >>> A.toarray().astype(int).tolist()
    [[4, -1, -1, 0], [-1, 4, 0, -1], [-1, 0, 4, -1], [0, -1, -1, 4]]
    """
    shape = checked_shape(shape)
    axes = (on_axis(tridiagonal(n, -1, 2, -1), axis, shape) for axis, n in enumerate(shape))
    return canonical(sum(axes))


def poisson_eigenvalues(shape: Sequence[int]) -> FloatArray:
    """Return the eigenvalues of ``poisson(shape)``, ascending.

    They are the sums over the axes of ``4 sin(pi k / (2 (m + 1)))**2``, k = 1 .. m.

    Parameters
    ----------
    shape : sequence of int
        Interior points along each axis.

    Returns
    -------
    ndarray, shape (n,), n = prod(shape)

    Raises
    ------
    InputError
        If ``shape`` is not a tuple of positive integers.

    Examples
    --------
    >>> import spectool as st
    >>> st.gallery.poisson_eigenvalues((2, 2)).round(12).tolist()
    [2.0, 4.0, 4.0, 6.0]
    """
    total = np.zeros(1)
    for n in checked_shape(shape):
        line = 4 * np.sin(np.pi * np.arange(1, n + 1) / (2 * (n + 1))) ** 2
        total = np.add.outer(total, line).ravel()
    return np.sort(total)


def anisotropic(shape: Sequence[int], epsilon: float = 1e-2, theta: float = np.pi / 6) -> Csr:
    """Return rotated anisotropic diffusion ``-div(K grad u)`` in 2D, bilinear (Q1) elements.

    ``K = Q diag(1, epsilon) Q^T`` conducts with 1 in the direction (cos theta, sin theta) and with
    epsilon across it; the first coordinate is the first axis. The stencil has nine points.

    Parameters
    ----------
    shape : sequence of int
        Interior points along the two axes; the elements are squares.
    epsilon : float
        Conductivity across, positive.
    theta : float
        Angle of the direction of conductivity 1, in radians.

    Returns
    -------
    csr_array, shape (n, n), n = prod(shape)
        Symmetric positive definite for every theta, as the elements are integrated exactly.

    Raises
    ------
    InputError
        If ``shape`` is not two positive integers, epsilon not positive, or theta not finite.

    Notes
    -----
    With the 1D stencils S = [-1, 2, -1], M = [1, 4, 1] / 6 and C = [-1, 0, 1] / 2, the matrix is
    ``K11 S x M + K22 M x S - 2 K12 C x C`` (Kronecker products). For theta = 0 the eigenvalues are
    ``s_j m_k + epsilon m_j s_k`` with ``s = 2 - 2 cos(t)``, ``m = (2 + cos(t)) / 3``,
    ``t = pi j / (m + 1)``.

    Examples
    --------
    >>> import spectool as st
    >>> A = st.gallery.anisotropic((3, 3), epsilon=1.0, theta=0.0)
    >>> (3 * A[[4]].toarray()).round(12).tolist()
    [[-1.0, -1.0, -1.0, -1.0, 8.0, -1.0, -1.0, -1.0, -1.0]]
    """
    n, m = checked_shape(shape, (2,))
    epsilon = checked_number("epsilon", epsilon, 0, open_low=True)
    theta = checked_number("theta", theta, -np.inf, open_low=True)
    c, s = np.cos(theta), np.sin(theta)
    K11, K22, K12 = c * c + epsilon * s * s, s * s + epsilon * c * c, (1 - epsilon) * c * s

    def stiffness(k: int) -> Csr:
        return tridiagonal(k, -1, 2, -1)

    def mass(k: int) -> Csr:
        return tridiagonal(k, 1 / 6, 4 / 6, 1 / 6)

    def slope(k: int) -> Csr:
        return tridiagonal(k, -1 / 2, 0, 1 / 2)

    return canonical(
        K11 * kron([stiffness(n), mass(m)])
        + K22 * kron([mass(n), stiffness(m)])
        - 2 * K12 * kron([slope(n), slope(m)])
    )


def diffusion(coefficient: npt.ArrayLike) -> Csr:
    """Return the finite volumes of ``-div(k grad u)``, with harmonic averages of k at faces.

    Parameters
    ----------
    coefficient : array_like, shape (m_1, .., m_d)
        k in each cell of a uniform grid; positive, finite.

    Returns
    -------
    csr_array, shape (n, n), n = number of cells
        Symmetric positive definite M-matrix; in the unit of k.

    Raises
    ------
    InputError
        If a coefficient is not positive and finite, or there are none.

    Notes
    -----
    Two cells are coupled by ``-2 k1 k2 / (k1 + k2)``; a cell at the boundary, half a spacing away
    from it, adds 2 k to its diagonal for each such face. All eigenvalues lie in (0, 4 d max k].

    Examples
    --------
    >>> import spectool as st
    >>> st.gallery.diffusion([1.0, 1.0, 3.0]).toarray().tolist()
    [[3.0, -1.0, 0.0], [-1.0, 2.5, -1.5], [0.0, -1.5, 7.5]]
    """
    k = np.asarray(coefficient)
    if np.iscomplexobj(k):
        raise InputError(f"coefficient must be real; got dtype {k.dtype}")
    k = k.astype(np.float64)
    if k.ndim == 0 or k.size == 0 or not (np.isfinite(k).all() and (k > 0).all()):
        found = f"values in [{k.min()}, {k.max()}]" if k.size else "none"
        raise InputError(
            "coefficient must be an array of positive finite numbers, one per cell; got "
            f"{found}, shape {k.shape}"
        )
    number = np.arange(k.size).reshape(k.shape)
    diagonal = np.zeros(k.shape)
    rows, cols, values = [], [], []
    for axis in range(k.ndim):
        here, there, total = (np.moveaxis(a, axis, 0) for a in (k, number, diagonal))
        face = 2 / (1 / here[:-1] + 1 / here[1:])
        total[:-1] += face
        total[1:] += face
        total[0] += 2 * here[0]
        total[-1] += 2 * here[-1]
        one, two, minus = there[:-1].ravel(), there[1:].ravel(), -face.ravel()
        rows += [one, two]
        cols += [two, one]
        values += [minus, minus]
    rows.append(number.ravel())
    cols.append(number.ravel())
    values.append(diagonal.ravel())
    coordinates = (np.concatenate(rows), np.concatenate(cols))
    return canonical(
        sparse.coo_array((np.concatenate(values), coordinates), shape=(k.size, k.size))
    )


def jump(
    shape: Sequence[int],
    contrast: float = 1e6,
    *,
    blocks: int = 4,
    layout: str = "checkerboard",
    rng: Rng = None,
) -> Csr:
    """Return `diffusion` whose coefficient jumps between the blocks of a coarse grid.

    Parameters
    ----------
    shape : sequence of int
        Cells along each axis; 2D or 3D.
    contrast : float
        Largest over smallest coefficient, at least 1; the smallest is 1.
    blocks : int
        Blocks along each axis.
    layout : str
        ``"checkerboard"``: 1 and contrast alternate. ``"random"``: log-uniform in [1, contrast].
    rng : Generator, int or None
        Draws the random layout.

    Returns
    -------
    csr_array, shape (n, n), n = prod(shape)
        Symmetric positive definite.

    Raises
    ------
    InputError
        If the shape is not 2D or 3D, contrast < 1, or blocks exceeds the cells along an axis.

    Notes
    -----
    After symmetric diagonal scaling, as many eigenvalues are of the order of 1/contrast as there
    are regions of high coefficient that do not touch the boundary (2 for the 2D checkerboard of 4
    by 4 blocks); the others do not feel the contrast. See Vuik, Segal, Meijerink, J. Comput. Phys.
    152 (1999), 385-403.

    Examples
    --------
    >>> import spectool as st
    >>> A = st.gallery.jump((8, 8), contrast=1e4, blocks=2)
    >>> A.shape, float(A.max())
    ((64, 64), 60000.0)
    """
    shape = checked_shape(shape, (2, 3))
    contrast = checked_number("contrast", contrast, 1)
    blocks = checked_integer("blocks", blocks, 1)
    checked_word("layout", layout, ("checkerboard", "random"))
    if blocks > min(shape):
        raise InputError(
            f"blocks must not exceed the cells along an axis, {min(shape)}; got {blocks}"
        )
    coarse = (blocks,) * len(shape)
    if layout == "random":
        power = np.random.default_rng(rng).random(coarse)
    else:
        power = np.indices(coarse).sum(axis=0) % 2
    block_of = np.ix_(*(np.arange(n) * blocks // n for n in shape))
    return diffusion(contrast ** power[block_of])


def convection_diffusion(
    shape: Sequence[int], peclet: float = 100.0, *, wind: str = "constant"
) -> Csr:
    """Return convection-diffusion with upwind differences, ``-laplace u + peclet div(w u)``.

    Parameters
    ----------
    shape : sequence of int
        Interior points along each axis, at spacing ``h = 1 / (max(shape) + 1)``.
    peclet : float
        Strength of convection, at least 0: speed times side length over diffusivity.
    wind : str
        ``"constant"``: w = (1, .., 1) / sqrt(d). ``"recirculating"``: on the first two axes,
        scaled to x, y in (-1, 1), w = (y (1 - x**2), -x (1 - y**2)); needs 2D or more.

    Returns
    -------
    csr_array, shape (n, n), n = prod(shape)
        h**2 times the operator; an M-matrix with real parts of all eigenvalues positive.

    Raises
    ------
    InputError
        If the shape, peclet or wind are not as stated.

    Notes
    -----
    `poisson` plus ``peclet h w_a`` times the one-sided difference against the wind, on each axis.
    For the constant wind and ``p = peclet h / sqrt(d)`` the eigenvalues are real, namely the sums
    over the axes of ``2 + p - 2 sqrt(1 + p) cos(pi k / (m + 1))``, but the matrix is far from
    normal; for the recirculating wind they are complex.

    Examples
    --------
    >>> import spectool as st
    >>> A = st.gallery.convection_diffusion((3,), peclet=4.0)
    >>> A.toarray().tolist()
    [[3.0, -1.0, 0.0], [-2.0, 3.0, -1.0], [0.0, -2.0, 3.0]]
    """
    shape = checked_shape(shape)
    peclet = checked_number("peclet", peclet, 0)
    checked_word("wind", wind, ("constant", "recirculating"))
    d = len(shape)
    if wind == "constant":
        winds: list[Any] = [np.full(shape, d**-0.5)] * d
    elif d == 1:
        raise InputError(f"wind='recirculating' needs a shape of two or more axes; got {shape}")
    else:
        lines = [2 * np.arange(1, n + 1) / (n + 1) - 1 for n in shape[:2]]
        x = lines[0].reshape(-1, *[1] * (d - 1))
        y = lines[1].reshape(-1, *[1] * (d - 2))
        winds = [np.broadcast_to(w, shape) for w in (y * (1 - x**2), -x * (1 - y**2))]
    A: Any = poisson(shape)
    for axis, w in enumerate(winds):
        p = peclet / (max(shape) + 1) * w.ravel()
        backward = on_axis(tridiagonal(shape[axis], -1, 1, 0), axis, shape)
        forward = on_axis(tridiagonal(shape[axis], 0, -1, 1), axis, shape)
        A = A + sparse.diags_array(p.clip(min=0)) @ backward
        A = A + sparse.diags_array(p.clip(max=0)) @ forward
    return canonical(A)
