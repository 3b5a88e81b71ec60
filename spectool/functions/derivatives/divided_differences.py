r"""Divided differences ``f[x, y] = (f(x) - f(y)) / (x - y)``, also for close or equal x, y.

They are what the derivative of a matrix function is made of: in the eigenvectors of Hermitian A,
``L_f(A, E)`` multiplies E entry by entry by ``f[lambda_i, lambda_j]``.

Source
    Higham, Functions of Matrices, SIAM 2008, Theorem 3.11 (Daleckii and Krein); Squire and Trapp,
    Using complex variables to estimate derivatives of real functions, SIAM Rev. 40 (1998), and
    Lyness and Moler, Numerical differentiation of analytic functions, SINUM 4 (1967), for f'.
Deviations
    A close pair takes ``f[x, y] = \int_0^1 f'(y + s (x - y)) ds`` by Gauss-Legendre; which of the
    two is more accurate, the quotient or the integral, is decided by their error estimates.
Cost
    13 evaluations of f' per pair, for 100 x 100 pairs milliseconds.
"""

from __future__ import annotations

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import InputError
from spectool.functions.scalar import ScalarFunction, as_scalar_function

FINE, COARSE = np.polynomial.legendre.leggauss(8), np.polynomial.legendre.leggauss(5)
"""Gauss rules of the integral, and of the one its error is estimated by."""
RING = 16
"""Points on a circle of radius 1 around z; for functions of exponential type exact to rounding."""
AGREEMENT = 1e-3
"""Relative distance of quotient and integral beyond which f is not what its derivative says."""


def divided_differences(function: ScalarFunction, x: Array, y: Array) -> Array:
    """Return ``f[x_i, y_j]``, shape (len(x), len(y)).

    Parameters
    ----------
    function : ScalarFunction
        f; a callable must accept complex arguments, where it is its analytic continuation.
    x, y : ndarray, shapes (k,), (l,)
        Real, or complex for functions of exponential type.

    Returns
    -------
    ndarray, shape (k, l)
        float64, or complex128 where f or its arguments are complex.

    Raises
    ------
    InputError
        If f rejects complex arguments, or is not analytic.

    Notes
    -----
    Relative errors are about ``1e-14`` for smooth f; near a jump or a pole they grow as the
    problem's own sensitivity does.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool.functions.scalar import as_scalar_function
    >>> divided_differences(as_scalar_function("inv"), np.array([2.0]), np.array([2.0, 4.0]))
    array([[-0.25 , -0.125]])
    """
    if function.name == "expm1":
        function = as_scalar_function("exp")  # the same differences, and no digits lost to the 1
    fx, fy = function(x)[:, None], function(y)
    if fx.dtype.kind == "c" and not function.exponentials:
        raise InputError(
            f"{function.name} returned complex values at real arguments; differentiate its real "
            "and imaginary parts by calls of their own, or pass a complex t to a named function."
        )
    x = np.asarray(x)[:, None]
    gap = x - y
    equal = gap == 0
    eps = float(np.finfo(np.float64).eps)
    with np.errstate(all="ignore"):
        quotient = (fx - fy) / np.where(equal, 1.0, gap)
        # Rounding of the values, and of the arguments wherever f scales them.
        rounding = 2 * (np.abs(fx) + np.abs(fy)) + (np.abs(x) + np.abs(y)) * np.abs(quotient)
        doubt = np.where(equal, np.inf, eps * rounding / np.abs(gap))
        fine, coarse = (_mean_slope(function, y, gap, rule) for rule in (FINE, COARSE))
        distrust = np.abs(fine - coarse) + eps * np.abs(fine)
        distrust = np.where(np.isfinite(distrust), distrust, np.inf)
        distance = np.abs(fine - quotient)
        slopes = np.abs(fine) + np.abs(quotient)
        certain = (doubt <= 1e-6 * slopes) & (distrust <= 1e-6 * np.abs(fine))
        # Where f underflows both are wrong, and it matters to nobody; far pairs may hide a jump.
        certain &= slopes > 1e-10 * np.max(slopes, where=certain, initial=0.0)
        certain &= np.abs(gap) <= 0.1 * np.abs(y)
    if (distance[certain] > AGREEMENT * slopes[certain]).any():
        raise InputError(
            f"f must be analytic to be differentiated: at complex arguments {function.name} is not "
            "the continuation of what it is at real ones (np.abs, np.real?). Write it without."
        )
    # The quotient's error is bounded; the integral's is estimated, and all its nodes can miss f.
    better = (distrust < doubt) & ~(distance > 50 * doubt)
    return np.where(better, fine, quotient)


def _mean_slope(
    function: ScalarFunction, y: Array, gap: Array, rule: tuple[FloatArray, FloatArray]
) -> Array:
    s = 0.5 * (rule[0] + 1.0)
    slopes = derivative(function, y + s[:, None, None] * gap)
    return np.asarray(np.tensordot(0.5 * rule[1], slopes, axes=1))


def derivative(function: ScalarFunction, z: Array) -> Array:
    """Return ``f'(z)``, shape of z; not finite where f is singular.

    Raises InputError if a callable rejects complex arguments.
    """
    z = np.asarray(z)
    if function.name == "sign":
        return np.zeros(z.shape)
    with np.errstate(all="ignore"):
        if function.exponentials:
            w = np.exp(2j * np.pi * (np.arange(RING) + 0.5) / RING)
            values = function.evaluate(z[..., None] + w) @ w.conj() / RING
            return np.asarray(values if z.dtype.kind == "c" else values.real)
        if z.dtype.kind == "c":
            raise InputError(f"{function.name} can be differentiated at real arguments only.")
        return _complex_step(function, np.asarray(z, dtype=np.float64))


def _complex_step(function: ScalarFunction, z: FloatArray) -> Array:
    # f(z + i h) = f(z) + i h f'(z) + O(h^2): no subtraction, so that h may be tiny.
    h = 1e-30 * np.where(z == 0, 1.0, np.abs(z))
    try:
        values = np.asarray(function.evaluate(z + 1j * h))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the derivative of {function.name} needs its values at complex arguments; it raised "
            f"{type(error).__name__}: {error}. Write it with functions that take complex arrays."
        ) from error
    if values.dtype.kind != "c":
        raise InputError(
            f"the derivative of {function.name} needs its values at complex arguments, and there "
            f"it returned {values.dtype}. Write it without np.abs, np.real and the like."
        )
    return np.asarray(values.imag / h)
