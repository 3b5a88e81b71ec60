"""The best rational approximation of an inverse square root on an interval, by elliptic functions.

Source
    Hale, Higham and Trefethen, Computing A^alpha, log(A), and related matrix functions by contour
    integrals, SINUM 46 (2008), section 4 (their method 3): the midpoint rule on the negative axis,
    after a conformal map. It is Zolotarev's best function up to a factor.
Deviations
    (1) The factor is put right. (2) ``sc`` is evaluated by its own AGM in the complementary
    parameter: ``scipy.special.ellipj`` takes ``1 - m``, which cannot tell m = 1e-14 from 1.1e-14.
Cost
    ``log(4 / rtol) log(16 / m) / 20`` poles; a millisecond.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ellipkm1

from spectool._types import FloatArray

_EPS = float(np.finfo(np.float64).eps)


class InverseRoot(NamedTuple):
    """``x^(-1/2)`` as ``sum_j weights[j] / (x + squares[j])`` on [m, 1], to a relative error."""

    squares: FloatArray
    weights: FloatArray
    error: float


def inverse_root(ratio: float, rtol: float, *, square: bool = False) -> InverseRoot:
    r"""Approximate ``x^(-1/2)`` on [m, 1], best possible for its number of poles [1]_.

    With ``x^(-1/2) = (2 / pi) \int_0^inf ds / (x + s^2)`` and ``s = m^(1/2) sc(u | 1 - m)`` the
    midpoint rule of N points in u errs by ``4 exp(-2 pi N K / K')``, once scaled.

    Parameters
    ----------
    ratio : float
        m = ratio, or ratio^2 if ``square``, which is then never rounded to zero or from one.
    rtol : float
        Wanted relative error.
    square : bool
        Whether ratio is that of the square roots.

    References
    ----------
    .. [1] Hale, Higham and Trefethen, SINUM 46 (2008), (4.5) and (4.6).
    """
    root = ratio if square else float(np.sqrt(ratio))
    m = root * root
    period, quarter = float(ellipkm1(m)), float(ellipkm1(1.0 - m))
    x = np.exp(np.linspace(2 * np.log(root), 0.0, 2001))
    count = max(int(np.ceil(np.log(4.0 / rtol) * period / (2 * np.pi * quarter))), 1)
    u = (np.arange(count) + 0.5) * (period / count)
    low = _sc(np.asarray(u[: (count + 1) // 2], dtype=np.float64), root, m)
    # sc(K' - u) = 1 / (m^(1/2) sc(u))
    sc = np.concatenate([low, (1.0 / (root * low))[::-1][count % 2 :]])
    weights = (2 / np.pi) * (period / count) * root * np.sqrt((1 + sc**2) * (1 + m * sc**2))
    squares = m * sc**2
    values = np.sqrt(x) * (weights / (x[:, None] + squares)).sum(axis=1)
    middle = 0.5 * (values.max() + values.min())
    error = float(0.5 * (values.max() - values.min()) / middle)
    return InverseRoot(squares, weights / middle, error)


def _sc(u: FloatArray, root: float, m: float) -> FloatArray:
    """Return Jacobi's ``sc(u | 1 - m) = -i sn(i u | m)`` by the AGM [1]_; exact for tiny m.

    References
    ----------
    .. [1] Abramowitz and Stegun, 16.4 and 16.20.
    """
    a, b, c, ratios = 1.0, float(np.sqrt(1.0 - m)), root, []
    while c > _EPS * 1e-3 * a:
        # Not by differences: they cancel.
        a, b, c = 0.5 * (a + b), float(np.sqrt(a * b)), c * c / (2.0 * (a + b))
        ratios.append(c / a)
        if len(ratios) > 12:
            break
    psi = 2.0 ** len(ratios) * a * u
    for ratio in reversed(ratios):
        # asinh(ratio sinh psi), without overflow
        tail = np.where(psi < 300.0, np.arcsinh(ratio * np.sinh(np.minimum(psi, 300.0))), psi)
        tail = np.where(psi < 300.0, tail, psi + np.log(ratio))
        psi = 0.5 * (psi + tail)
    return np.asarray(np.sinh(psi))
