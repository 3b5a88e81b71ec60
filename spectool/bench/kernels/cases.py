"""The matrices of the kernel benchmark, and its two recurrences: scipy's chain and ours."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from spectool import collection, gallery
from spectool._types import Array
from spectool.backends.layout import permuted
from spectool.errors import InputError
from spectool.gallery.checks import canonical
from spectool.polynomials import Recurrence, chebyshev_inverse

SEED = 577_215_664
BEYOND_CACHE = 60_000_000
"""Bytes of CSR from which a matrix is beyond three times a last-level cache as servers share it."""
LARGE_IN_COLLECTION = ("Mycielski/mycielskian15", "AG-Monien/wave", "GHS_indef/boyd1")


@dataclass(frozen=True, slots=True)
class Case:
    """A matrix to be made when its turn comes.

    Attributes
    ----------
    name : str
        As tables show it.
    make : callable
        Returns A, float64 and canonical.
    reorder : bool
        Whether our plans may renumber its rows; scipy takes them as they are.
    """

    name: str
    make: Callable[[], sp.csr_array]
    reorder: bool = False


def stencil27(side: int) -> sp.csr_array:
    """Return 27 on the diagonal and -1 for each of up to 26 neighbors in a cube."""
    line = sp.diags_array([1.0, 1.0, 1.0], offsets=[-1, 0, 1], shape=(side, side))
    cube = sp.kron(sp.kron(line, line), line)
    return canonical(28.0 * sp.eye_array(side**3) - cube)


def shuffled(A: sp.csr_array) -> sp.csr_array:
    """Return A with its rows and columns in one random order."""
    return permuted(A, np.random.default_rng(SEED).permutation(A.shape[0]))


def dominant(A: sp.csr_array) -> sp.csr_array:
    """Return A plus, on the diagonal, the sums of the moduli beside it."""
    diagonal = A.diagonal()
    return canonical(A + sp.diags_array(abs(A).sum(axis=1) - abs(diagonal)))


def _graph() -> sp.csr_array:
    return gallery.graph_laplacian(gallery.random_graph(1_000_000, 5, rng=SEED), shift=0.01)


def _stored(name: str) -> sp.csr_array:
    return dominant(collection.load(name, download=False))


LARGE: tuple[Case, ...] = (
    Case("poisson 1500x1500", lambda: gallery.poisson((1500, 1500))),
    Case("poisson 110^3", lambda: gallery.poisson((110, 110, 110))),
    Case("27-point 70^3", lambda: stencil27(70)),
    Case("anisotropic 1000^2", lambda: gallery.anisotropic((1000, 1000))),
    Case("jump 1020^2", lambda: gallery.jump((1020, 1020))),
    Case("elasticity 500^2", lambda: gallery.elasticity((500, 500))),
    Case("elasticity 36^3", lambda: gallery.elasticity((36, 36, 36))),
    Case("shuffled 90^3", lambda: shuffled(gallery.poisson((90, 90, 90)))),
    Case("shuffled 90^3 + RCM", lambda: shuffled(gallery.poisson((90, 90, 90))), reorder=True),
    Case(
        "convection 110^3",
        lambda: gallery.convection_diffusion((110, 110, 110), 1e3, wind="recirculating"),
    ),
    Case("random graph 1e6", _graph),
)
SMALL: tuple[Case, ...] = (
    Case("poisson 100x100", lambda: gallery.poisson((100, 100))),
    Case("HB/bcsstk16", lambda: collection.load("HB/bcsstk16")),
    Case("elasticity 60x60", lambda: gallery.elasticity((60, 60))),
)
TINY: tuple[Case, ...] = (Case("poisson 5x5", lambda: gallery.poisson((5, 5))),)


def kernel_cases(*, tiny: bool = False, only: str = "*") -> tuple[Case, ...]:
    """Return the matrices whose name matches ``only``.

    Parameters
    ----------
    tiny : bool
        A 5 x 5 grid instead of everything else.
    only : str
        Shell pattern of names.

    Returns
    -------
    tuple of Case
        Large ones first; those of the collection only where ``SPECTOOL_DATA`` holds them.

    Raises
    ------
    InputError
        If no name matches.
    """
    if tiny:
        found = TINY
    else:
        stored: tuple[Case, ...] = ()
        if os.environ.get("SPECTOOL_DATA"):
            here = {entry.name for entry in collection.search()}
            stored = tuple(
                Case(name, partial(_stored, name)) for name in LARGE_IN_COLLECTION if name in here
            )
        found = (*LARGE, *stored, *SMALL)
    kept = tuple(case for case in found if fnmatch.fnmatchcase(case.name, only))
    if not kept:
        names = ", ".join(case.name for case in found)
        raise InputError(f"no matrix of the kernel benchmark matches {only!r}; it has {names}.")
    return kept


def polynomial(A: sp.csr_array, degree: int) -> Recurrence:
    """Return the Chebyshev inverse on the upper 99% of ``[0, ||A||_inf]``."""
    upper = float(abs(A).sum(axis=1).max())
    return chebyshev_inverse((upper / 100, upper), degree)


def scipy_chain(A: Any, p: Recurrence, X: Array) -> Array:
    """Return ``p(A) X`` by one scipy product and three NumPy updates per degree."""
    real = X.dtype.type
    previous, current = np.zeros_like(X), X
    total = real(p.w[0]) * X
    for a, b, c, w in zip(p.a, p.b, p.c, p.w[1:], strict=True):
        following = A @ current
        following *= real(a)
        following += real(b) * current
        following += real(c) * previous
        total += real(w) * following
        previous, current = current, following
    return np.asarray(total)
