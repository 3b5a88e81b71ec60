"""Samples of a Gaussian whose precision or covariance is a large sparse matrix, without a factor.

Source
    Chow and Saad, Preconditioned Krylov subspace methods for sampling multivariate Gaussian
    distributions, SIAM J. Sci. Comput. 36 (2014).
Deviations
    The symmetric root times white noise, by ``funm_multiply``; nothing is factorized.
Cost
    That of ``funm_multiply`` for one column per sample; columns share each pass over A.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

import numpy as np

from spectool._types import Array, Rng
from spectool.errors import InputError
from spectool.functions.door import Method
from spectool.functions.funm import funm_multiply
from spectool.operators import Operator, as_operator
from spectool.results import FunctionSolution
from spectool.spectrum import Spectrum

_ROOTS = {"precision": "invsqrt", "covariance": "sqrt"}


def sample_gaussian(
    A: Any,
    n_samples: int | None = None,
    *,
    given: Literal["precision", "covariance"] = "precision",
    z: Any = None,
    rtol: float | None = None,
    method: Method = "auto",
    spectrum: Spectrum | None = None,
    max_memory: float | None = None,
    rng: Rng = None,
) -> FunctionSolution:
    """Sample ``N(0, A^-1)``, or ``N(0, A)`` where A is the covariance.

    A sample is ``A^(-1/2) z``, or ``A^(1/2) z``, for white noise z: the symmetric root, so that one
    z gives one sample whatever the order of the unknowns.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian positive definite; a covariance may be semidefinite.
    n_samples : int, optional
        Number of samples; 1.
    given : {"precision", "covariance"}
        What A is.
    z : array_like, shape (n,) or (n, m), optional
        White noise to use, instead of n_samples and rng: for common random numbers, or antithetic
        ones.
    rtol : float, optional
        Wanted relative error of each sample, in norm; 1e-8, in single precision 1e-4.
    method : str
        As in ``funm_multiply``.
    spectrum : Spectrum, optional
        A probe of A made before.
    max_memory : float, optional
        Bytes of vectors to hold beside the samples; 1 GiB.
    rng : Generator, int or None
        Draws z, and seeds the probe.

    Returns
    -------
    FunctionSolution
        ``y`` holds the samples as columns, shape (n, n_samples) or that of z; ``error_estimate``
        is the largest relative error of one.

    Raises
    ------
    InputError
        If an argument is malformed.
    NotPositiveDefiniteError
        If A is not positive definite.

    Warns
    -----
    ConvergenceWarning
        If the error estimate exceeds rtol.

    Notes
    -----
    Cost: that of ``funm_multiply`` with ``"invsqrt"`` or ``"sqrt"``. Complex Hermitian A takes
    circular noise, ``E z z^* = I``. An error of relative size e in each sample changes its
    covariance by 2 e: far less than what a million samples can tell, at the default. Where A has a
    cheap Cholesky factor, sampling by that is quicker.

    References
    ----------
    .. [1] Chow and Saad, SIAM J. Sci. Comput. 36 (2014).

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = st.gallery.poisson((30, 30))
    >>> X = st.sample_gaussian(A, 200, rng=618033988).y
    >>> round(float((X * (A @ X)).sum() / X.size), 1)  # E x* A x = n
    1.0
    """
    if given not in _ROOTS:
        raise InputError(f"given must be one of {tuple(_ROOTS)}; got {given!r}.")
    operator = as_operator(A)
    generator = np.random.default_rng(rng)
    if z is None:
        z = _white_noise(operator, n_samples, generator)
    elif n_samples is not None:
        raise InputError("n_samples and z exclude each other: z has as many columns as samples.")
    return funm_multiply(
        _ROOTS[given],
        operator,
        z,
        rtol=rtol,
        method=method,
        spectrum=spectrum,
        max_memory=max_memory,
        rng=generator,
    )


def _white_noise(operator: Operator, n_samples: Any, generator: np.random.Generator) -> Array:
    count = 1 if n_samples is None else n_samples
    if isinstance(count, bool) or not isinstance(count, Integral) or int(count) < 0:
        raise InputError(f"n_samples must be a nonnegative integer; got {n_samples!r}.")
    shape = (operator.n, int(count))
    if operator.dtype.kind != "c":
        return generator.standard_normal(shape).astype(operator.dtype)
    parts = generator.standard_normal((2, *shape)) / np.sqrt(2.0)
    return (parts[0] + 1j * parts[1]).astype(operator.dtype)
