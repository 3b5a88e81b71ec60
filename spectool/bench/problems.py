"""One matrix with its right-hand side, and the true f(A) b where it can be known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg

from spectool._types import Array, FloatArray, ScalarMap
from spectool.spectrum import Spectrum, estimate_spectrum

DENSE = 1_500
"""Largest n that is decomposed densely for the true f(A) b."""
RTOL = 1e-8
EXPONENT = 50.0
"""``exp(-t A) b`` is computed with t such that t times the upper end is this."""

Eigenbasis = Callable[[ScalarMap, FloatArray], Array]
"""``basis(f, b)`` returns f(A) b."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A symmetric positive definite matrix and a random b.

    Attributes
    ----------
    name : str
        Of the matrix.
    A : csr_array, shape (n, n)
    seed : int
        Seeds b and every contestant.
    eigenbasis : callable, optional
        Known eigendecomposition; small matrices are decomposed when asked.
    """

    name: str
    A: Any
    seed: int
    eigenbasis: Eigenbasis | None = None

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.A.shape[0])

    @property
    def nnz(self) -> int:
        """Stored entries."""
        return int(self.A.nnz)

    @cached_property
    def b(self) -> FloatArray:
        """The right-hand side, standard normal."""
        return np.random.default_rng(self.seed).standard_normal(self.n)

    @cached_property
    def spectrum(self) -> Spectrum:
        """A probe for scales and pictures; contestants make their own."""
        return estimate_spectrum(self.A, rng=self.seed)

    @cached_property
    def _dense(self) -> tuple[FloatArray, FloatArray] | None:
        if self.n > DENSE:
            return None
        # In reverse order: rounding then differs from that of a contestant that does the same.
        lam, Q = scipy.linalg.eigh(self.A.toarray()[::-1, ::-1])
        return lam, Q[::-1]

    def reference(self, f: ScalarMap, *, singular: bool) -> Array | None:
        """Return f(A) b, or None where it is not known to a tenth of RTOL.

        A dense eigenvalue is off by up to ``eps ||A||``; for a function that is singular at zero
        this is amplified by the condition number.
        """
        if self.eigenbasis is not None:
            return self.eigenbasis(f, self.b)
        if self._dense is None:
            return None
        lam, Q = self._dense
        amplification = float(lam[-1] / lam[0]) if singular else 1.0
        if not 0 < amplification < 0.1 * RTOL / np.finfo(np.float64).eps:
            return None
        return np.asarray(Q @ (f(lam) * (Q.T @ self.b)))

    @cached_property
    def smallest(self) -> FloatArray | None:
        """All eigenvalues, ascending, where the matrix is small enough."""
        return None if self._dense is None else self._dense[0]


def sine_basis(shape: tuple[int, ...]) -> Eigenbasis:
    """Return the eigenbasis of ``gallery.poisson(shape)``: discrete sine transforms."""
    axes = [4.0 * np.sin(0.5 * math.pi * np.arange(1, m + 1) / (m + 1)) ** 2 for m in shape]
    lam = sum(np.ix_(*axes))

    def apply(f: ScalarMap, b: FloatArray) -> Array:
        c = scipy.fft.dstn(b.reshape(shape), type=1, norm="ortho")
        return np.asarray(scipy.fft.dstn(f(np.asarray(lam)) * c, type=1, norm="ortho")).ravel()

    return apply
