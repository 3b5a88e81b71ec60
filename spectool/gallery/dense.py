r"""Dense matrices of the laws that iterations for matrix functions are compared on.

Unlike the rest of the gallery, whose matrices are sparse and come from meshes and graphs, these are
arrays of float64 without zeros. Symmetric ones are symmetric bit for bit; the same ``rng`` draws
the same matrix.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833 (Wishart, uniform spectra, Hessians of
    quartics, Laplacians of random graphs, covariances of images); Yang, Wang, Balabanov, Erichson
    and Mahoney, arXiv:2601.22137 (heavy tails: the beta-Laguerre ensemble of Dumitriu and Edelman,
    Matrix models for beta ensembles, J. Math. Phys. 43 (2002)).
Deviations
    Sizes, and the quartic, are not published: here they are arguments, and
    ``sum x_i^4 / 4 + x^T B x / 2``. Images are generated, with the power spectrum of natural ones.
    The superdiagonal of the bidiagonal factor makes ``B B^T`` positive semidefinite, its
    off-diagonal being ``d_{i+1} t_i``.
Cost
    At most one product or factorization of order n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spectool._types import FloatArray, Rng
from spectool.errors import InputError
from spectool.gallery.checks import checked_integer, checked_number, checked_shape
from spectool.gallery.graphs import graph_laplacian

COLORS = 0.9
"""Correlation of two colors of one pixel."""
CONTRAST = 0.25
"""Standard deviation of a pixel around 1/2, before it is cut to [0, 1]."""


def wishart(
    n: int, d: int | None = None, *, eps: float = 1e-3, uniform: bool = False, rng: Rng = None
) -> FloatArray:
    """Return ``Z^T Z + eps I`` for a random matrix Z of d rows with variance 1/d.

    Parameters
    ----------
    n : int
        Order.
    d : int, optional
        Rows of Z; n.
    eps : float
        Added to the diagonal, not negative.
    uniform : bool
        Whether entries of Z are uniform and not Gaussian; the spectrum has the same limit.
    rng : Generator, int or None
        Draws Z.

    Returns
    -------
    ndarray, shape (n, n)
        Symmetric positive definite for eps > 0.

    Raises
    ------
    InputError
        If n or d is not a positive integer, or eps is negative.

    Notes
    -----
    For large n the eigenvalues fill ``(1 -+ sqrt(n / d))^2 + eps`` (Marchenko and Pastur, 1967),
    and for d < n there are n - d more at eps.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = st.gallery.wishart(500, 2000, rng=263850174)
    >>> np.linalg.eigvalsh(A)[[0, -1]].round(1).tolist()
    [0.3, 2.2]
    """
    n = checked_integer("n", n, 1)
    d = n if d is None else checked_integer("d", d, 1)
    eps = checked_number("eps", eps, 0)
    rng = np.random.default_rng(rng)
    if uniform:
        Z = rng.uniform(-math.sqrt(3.0), math.sqrt(3.0), size=(d, n))
    else:
        Z = rng.standard_normal((d, n))
    return _symmetric(Z.T @ Z / d) + eps * np.eye(n)


def uniform_spectrum(
    n: int, lower: float = -1.0, upper: float = 1.0, *, floor: float = 1e-3, rng: Rng = None
) -> FloatArray:
    """Return ``Q diag(u) Q^T`` with u uniform and Q Haar; ``|u| < floor`` is set to ``floor``.

    Parameters
    ----------
    n : int
        Order.
    lower, upper : float
        Ends of the eigenvalues, lower < upper.
    floor : float
        Smallest modulus of an eigenvalue; smaller ones become ``+floor``.
    rng : Generator, int or None
        Draws u and Q.

    Returns
    -------
    ndarray, shape (n, n)
        Symmetric.

    Raises
    ------
    InputError
        If n is not a positive integer, ``lower < upper`` fails, or floor is negative.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> lam = np.linalg.eigvalsh(st.gallery.uniform_spectrum(50, rng=263850174))
    >>> bool(lam[0] > -1), bool(lam[-1] < 1), bool(abs(lam).min() > 0.00099)
    (True, True, True)
    """
    n = checked_integer("n", n, 1)
    lower = checked_number("lower", lower, -np.inf, open_low=True)
    upper = checked_number("upper", upper, lower, open_low=True)
    floor = checked_number("floor", floor, 0)
    rng = np.random.default_rng(rng)
    u = rng.uniform(lower, upper, size=n)
    u[np.abs(u) < floor] = floor
    Q = _haar(n, n, rng)
    return _symmetric((Q * u) @ Q.T)


def quartic_hessian(n: int, *, floor: float = 1e-3, rng: Rng = None) -> FloatArray:
    """Return the Hessian of ``sum x_i^4 / 4 + x^T B x / 2`` at a random x, of Frobenius norm 1.

    That is ``diag(3 x^2) + B``, x standard Gaussian and B from the Gaussian orthogonal ensemble
    with its spectrum on [-2, 2]: indefinite. Eigenvalues with ``|lambda| < floor`` are set to
    ``floor`` before it is divided by its norm.

    Parameters
    ----------
    n : int
        Order.
    floor : float
        Smallest modulus of an eigenvalue, before the division.
    rng : Generator, int or None
        Draws x and B.

    Returns
    -------
    ndarray, shape (n, n)
        Symmetric.

    Raises
    ------
    InputError
        If n is not a positive integer, or floor negative.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> H = st.gallery.quartic_hessian(60, rng=263850174)
    >>> round(float(np.linalg.norm(H)), 12), bool(np.linalg.eigvalsh(H)[0] < 0)
    (1.0, True)
    """
    n = checked_integer("n", n, 1)
    floor = checked_number("floor", floor, 0)
    rng = np.random.default_rng(rng)
    x = rng.standard_normal(n)
    B = rng.standard_normal((n, n))
    lam, U = np.linalg.eigh(np.diag(3 * x * x) + (B + B.T) / math.sqrt(2 * n))
    lam[np.abs(lam) < floor] = floor
    H = _symmetric((U * lam) @ U.T)
    return H / np.linalg.norm(H)


def erdos_renyi_laplacian(
    n: int, p: float = 0.02, shift: float = 1e-3, *, rng: Rng = None
) -> FloatArray:
    """Return ``I - D^-1/2 W D^-1/2 + shift I`` of a random graph G(n, p).

    Parameters
    ----------
    n : int
        Vertices.
    p : float
        Probability of each edge, in [0, 1].
    shift : float
        Added to the diagonal; without it the matrix is singular.
    rng : Generator, int or None
        Draws the edges.

    Returns
    -------
    ndarray, shape (n, n)
        Symmetric, eigenvalues in ``[shift, 2 + shift]``; vertices without edges keep a zero row
        (plus shift), as in `graph_laplacian`.

    Raises
    ------
    InputError
        If n is not a positive integer, p outside [0, 1], or shift negative.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> L = st.gallery.erdos_renyi_laplacian(100, 0.1, rng=263850174)
    >>> round(float(np.linalg.eigvalsh(L)[0]), 9)
    0.001
    """
    n = checked_integer("n", n, 1)
    p = checked_number("p", p, 0, math.nextafter(1.0, 2.0))
    above = np.triu(np.random.default_rng(rng).random((n, n)) < p, 1)
    W = (above | above.T).astype(np.float64)
    return graph_laplacian(W, shift=shift, normalized=True).toarray()


def image_covariance(
    n: int = 1024,
    n_images: int | None = None,
    *,
    exponent: float = 2.0,
    eps: float = 1e-3,
    rng: Rng = None,
) -> FloatArray:
    """Return ``X^T X / ||X^T X||_F + eps I`` for a batch of generated images, one per row of X.

    What ZCA whitening takes the inverse square root of. The images are Gaussian fields with power
    spectrum ``f^-exponent``, as natural images have with exponent 2 (Field, 1987), cut from a
    larger one, with pixels in [0, 1] that are not centered.

    Parameters
    ----------
    n : int
        Pixels: s^2 for gray images of side s, 3 s^2 for colors, one plane after the other;
        CIFAR-10 has 3072.
    n_images : int, optional
        Rows of X; n. Fewer leave the rest of the eigenvalues at eps.
    exponent : float
        Of the power spectrum, not negative.
    eps : float
        Added to the diagonal, not negative.
    rng : Generator, int or None
        Draws the images.

    Returns
    -------
    ndarray, shape (n, n)
        Symmetric positive definite for eps > 0; Frobenius norm about 1.

    Raises
    ------
    InputError
        If n is neither s^2 nor 3 s^2, n_images not positive, or exponent or eps negative.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> lam = np.linalg.eigvalsh(st.gallery.image_covariance(64, rng=263850174))
    >>> bool(lam[-1] > 10 * lam[-2]), round(float(lam[0]), 4)  # the mean image; eps
    (True, 0.001)
    """
    n = checked_integer("n", n, 1)
    colors = 1 if math.isqrt(n) ** 2 == n else 3
    side = math.isqrt(n // colors)
    if colors * side**2 != n:
        raise InputError(f"n must be s**2 (gray images) or 3 s**2 (colors); got {n}")
    n_images = n if n_images is None else checked_integer("n_images", n_images, 1)
    exponent = checked_number("exponent", exponent, 0)
    eps = checked_number("eps", eps, 0)
    rng = np.random.default_rng(rng)
    fields = _fields(n_images, side, exponent, rng).reshape(n_images, 1, -1)
    if colors > 1:
        own = _fields(n_images * colors, side, exponent, rng).reshape(n_images, colors, -1)
        fields = math.sqrt(COLORS) * fields + math.sqrt(1 - COLORS) * own
    X = np.clip(0.5 + CONTRAST * fields.reshape(n_images, n), 0.0, 1.0)
    A = _symmetric(X.T @ X)
    return A / np.linalg.norm(A) + eps * np.eye(n)


def heavy_tailed(n: int, m: int, kappa: float = 0.5, *, rng: Rng = None) -> FloatArray:
    """Return a matrix with singular values of the high-temperature beta-Laguerre ensemble.

    ``G = U B V^T`` with Haar factors U, V and B bidiagonal, ``d_i`` on its diagonal and ``t_i``
    beside it: chi variables of ``beta (n - i)`` and ``beta (m - 1 - i)`` degrees of freedom, for
    ``beta = kappa / m``. Divided by ``sqrt(beta n)``, so that squared singular values are 1 in the
    mean.

    Parameters
    ----------
    n, m : int
        Rows and columns, n >= m.
    kappa : float
        Positive. Small: heavy tails, and singular values of many orders of magnitude; large: those
        of Marchenko and Pastur, of a Gaussian matrix.
    rng : Generator, int or None
        Draws B, U and V.

    Returns
    -------
    ndarray, shape (n, m)
        Of rank m but for underflow; for kappa < 1 numerically rank-deficient.

    Raises
    ------
    InputError
        If n >= m >= 1 fails, or kappa is not positive.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> s = np.linalg.svd(st.gallery.heavy_tailed(400, 200, 100.0, rng=263850174))[1]
    >>> bool(s[0] / s[-1] < 20)
    True
    >>> s = np.linalg.svd(st.gallery.heavy_tailed(400, 200, 0.1, rng=263850174))[1]
    >>> bool(s[0] / s[-1] > 1e12)
    True
    """
    m = checked_integer("m", m, 1)
    n = checked_integer("n", n, m)
    kappa = checked_number("kappa", kappa, 0, open_low=True)
    rng = np.random.default_rng(rng)
    beta, i = kappa / m, np.arange(m)
    # chi of k degrees is the root of twice a Gamma variable of shape k / 2; small shapes underflow.
    d = np.sqrt(2 * rng.standard_gamma(beta * (n - i) / 2))
    t = np.sqrt(2 * rng.standard_gamma(beta * (m - 1 - i[:-1]) / 2))
    B = (np.diag(d) + np.diag(t, 1)) / math.sqrt(beta * n)
    return _haar(n, m, rng) @ B @ _haar(m, m, rng).T


def prescribed_singular_values(
    s: npt.ArrayLike, shape: Sequence[int], *, rng: Rng = None
) -> FloatArray:
    """Return ``U diag(s) V^T`` with Haar factors U and V.

    Parameters
    ----------
    s : array_like, shape (k,)
        Finite, not negative, in any order; k <= min(shape), the rest are zero.
    shape : (int, int)
        Of the matrix.
    rng : Generator, int or None
        Draws U and V.

    Returns
    -------
    ndarray, shape ``shape``
        Singular values s up to rounding, a small multiple of ``eps max(s)``.

    Raises
    ------
    InputError
        If s is not a vector of finite numbers that are not negative, or too long for the shape.

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> G = st.gallery.prescribed_singular_values([3, 2], (4, 3), rng=263850174)
    >>> np.abs(np.linalg.svd(G)[1].round(12)).tolist()
    [3.0, 2.0, 0.0]
    """
    m, n = checked_shape(shape, (2,))
    values = np.asarray(s)
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not 1 <= values.size <= min(m, n):
        raise InputError(
            f"s must be a vector of 1 to {min(m, n)} real numbers for shape {(m, n)}; got shape "
            f"{values.shape}, dtype {values.dtype}"
        )
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError("s must be finite and not negative; take abs(s) first")
    rng = np.random.default_rng(rng)
    U, V = _haar(m, values.size, rng), _haar(n, values.size, rng)
    return (U * values.astype(np.float64)) @ V.T


def _haar(n: int, k: int, rng: np.random.Generator) -> FloatArray:
    """Return k orthonormal columns, uniformly distributed (Mezzadri 2007: with positive R)."""
    Q, R = np.linalg.qr(rng.standard_normal((n, k)))
    signs = np.where(np.diagonal(R) < 0, -1.0, 1.0)
    return Q * signs


def _symmetric(A: FloatArray) -> FloatArray:
    return (A + A.T) / 2


def _fields(count: int, side: int, exponent: float, rng: np.random.Generator) -> FloatArray:
    """Return periodic Gaussian fields of twice the side, cut to (count, side, side); variance 1."""
    wide = 2 * side
    f = np.hypot(np.fft.fftfreq(wide)[:, None], np.fft.rfftfreq(wide)[None, :])
    f[0, 0] = 1 / wide  # the mean varies as the longest wave
    amplitude = f ** (-exponent / 2)
    made = np.empty((count, side, side))
    for k in range(count):
        noise = np.fft.rfft2(rng.standard_normal((wide, wide)))
        made[k] = np.fft.irfft2(amplitude * noise, s=(wide, wide))[:side, :side]
    full = np.hypot(np.fft.fftfreq(wide)[:, None], np.fft.fftfreq(wide)[None, :])
    full[0, 0] = 1 / wide
    return made / np.sqrt(np.mean(full**-exponent))
