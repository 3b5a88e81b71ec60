"""The portfolio: sixteen designs of M ~ inv(A), named, cheap to make, and every one positive.

Source
    Chebyshev: Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 12.3; fourth
    kind: Lottes, Numer. Linear Algebra Appl. 30 (2023); unions: de Boor and Rice, SIAM J. Sci.
    Stat. Comput. 3 (1982); least squares: Johnson, Micchelli and Paul, SIAM J. Numer. Anal. 20
    (1983); GMRES: Loe and Morgan, Numer. Linear Algebra Appl. 29 (2022).
Deviations
    Designs of even degree end at the likely upper end, a few per cent below the safe one: there,
    and beyond, they stay positive, and an eigenvalue in between costs iterations only. Those of odd
    degree end at the safe end. A design that its certificate does not show to be positive on the
    safe interval gives way to the optimal fourth kind of the same degree.
Cost
    A few milliseconds each at degree 32; no products with A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, eigh

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.learned.features import Probe, scaled_probe
from spectool.polynomials import (
    Recurrence,
    added_roots,
    certified_minimum,
    chebyshev_inverse,
    fourth_kind_inverse,
    guessed_intervals,
    inverse_from_roots,
    least_squares_inverse,
    minimax_inverse,
)
from spectool.polynomials.nodes import chebyshev_points
from spectool.spectrum import Spectrum

WIDEST = 0.9
"""Largest lower end of a Chebyshev interval, over the upper end."""
MOST_INTERVALS = 3
SHARE = 0.01
"""Weight that least squares gives to the whole safe interval, where it has seen nothing."""

Designer = Callable[[Probe, Spectrum, int], Recurrence]


class Member(NamedTuple):
    """A design of the portfolio.

    ``recurrence`` approximates the inverse in the unit of A; ``proof`` says why it is positive on
    the safe interval; ``replaced`` tells that the certificate failed, and that the optimal fourth
    kind took its place.
    """

    name: str
    recurrence: Recurrence
    proof: str
    replaced: bool


def _tied(c: float, probe: Probe, _: Spectrum, degree: int) -> Recurrence:
    """Tie the lower end to the degree: ``1 / (c m^2)``, or what is seen of the spectrum."""
    m = degree + 1
    low = max(probe.seen, 1.0 / (c * m * m))
    return chebyshev_inverse((min(low, WIDEST), 1.0), degree)


def _ritz(share: float, probe: Probe, _: Spectrum, degree: int) -> Recurrence:
    """Take a share of the smallest Ritz value for the lower end."""
    return chebyshev_inverse((min(share * probe.lowest, WIDEST), 1.0), degree)


def _fourth(optimal: bool, _: Probe, __: Spectrum, degree: int) -> Recurrence:
    return fourth_kind_inverse(1.0, degree, optimal=optimal)


def _union(c: float, probe: Probe, _: Spectrum, degree: int) -> Recurrence:
    """Equioscillate on the intervals that Ritz values suggest, above ``1 / (c m^2 + 1)``."""
    m = degree + 1
    lower = min(1.0 / (c * m * m + 1.0), 0.5)
    theta = np.clip(probe.theta, lower, 1.0)
    residuals = np.minimum(probe.residuals, 0.5 * theta)
    union = guessed_intervals(theta, residuals, (lower, 1.0), most=MOST_INTERVALS)
    if len(union) == 1:
        return chebyshev_inverse((max(lower, min(probe.seen, WIDEST)), 1.0), degree)
    return minimax_inverse(union, degree)[0]


def _least_squares(power: float, probe: Probe, spectrum: Spectrum, degree: int) -> Recurrence:
    """Fit the density, weighted by ``z^-power``, and a little the whole interval."""
    heights = 1.0 / (1.0 + np.exp(-np.linspace(-1, 1, 258) * np.log(2.0 * spectrum.n + 2.0)))
    levels = np.concatenate([[0.0], heights[1:-1], [1.0]])
    nodes = spectrum.quantile(0.5 * (levels[1:] + levels[:-1])) / probe.upper
    everywhere = chebyshev_points(128, (0.0, 1.0))
    z = np.clip(np.concatenate([nodes, everywhere]), 1e-15, 1.0)
    weights = np.diff(levels) * z[: nodes.size] ** -power
    weights = np.concatenate(
        [weights / weights.sum(), np.full(everywhere.size, SHARE / everywhere.size)]
    )
    return least_squares_inverse(z, weights, (0.0, 1.0), degree)


def _gmres(probe: Probe, _: Spectrum, degree: int) -> Recurrence:
    """Take the harmonic Ritz values of the probe for roots, as many as fit with added ones."""
    k = min(degree + 1, probe.alpha.size)
    while k > 1:
        roots = harmonic_ritz_values(probe, k)
        if roots is not None:
            roots = added_roots(roots)
            if roots.size <= degree + 1:
                return inverse_from_roots(roots, (0.0, 1.0))
        k -= 1
    raise InputError("the probe is too short for roots.")


def harmonic_ritz_values(probe: Probe, k: int) -> FloatArray | None:
    """Return the roots of MINRES's residual polynomial after k steps, or None if T is singular."""
    T = (
        np.diag(probe.alpha[:k])
        + np.diag(probe.beta[: k - 1], 1)
        + np.diag(probe.beta[: k - 1], -1)
    )
    square = T @ T
    square[-1, -1] += probe.beta[k - 1] ** 2
    try:
        roots = eigh(square, T, eigvals_only=True)
    except LinAlgError:
        return None
    return roots if float(roots[0]) > 0 and np.isfinite(roots).all() else None


PORTFOLIO: dict[str, Designer] = {
    "chebyshev 16": partial(_tied, 16.0),
    "chebyshev 4": partial(_tied, 4.0),
    "chebyshev 2": partial(_tied, 2.0),
    "chebyshev 1": partial(_tied, 1.0),
    "chebyshev 1/2": partial(_tied, 0.5),
    "chebyshev 1/4": partial(_tied, 0.25),
    "chebyshev 1/8": partial(_tied, 0.125),
    "chebyshev ritz": partial(_ritz, 1.0),
    "chebyshev ritz/2": partial(_ritz, 0.5),
    "fourth kind": partial(_fourth, True),
    "union 2": partial(_union, 2.0),
    "union 1/2": partial(_union, 0.5),
    "union 1/8": partial(_union, 0.125),
    "least squares 0": partial(_least_squares, 0.0),
    "least squares 1": partial(_least_squares, 1.0),
    "gmres": _gmres,
}
"""Designs by name; the number is the constant c of the lower end ``upper / (c (degree + 1)^2)``."""
NAMES = tuple(PORTFOLIO)
PROVEN = ("chebyshev", "fourth kind")
"""Positive by construction up to their upper end, and everywhere for even degrees."""


def member(name: str, spectrum: Spectrum, degree: int, *, probe: Probe | None = None) -> Member:
    """Design one member of the portfolio.

    Parameters
    ----------
    name : str
        One of ``NAMES``.
    spectrum : Spectrum
        With positive Ritz values.
    degree : int
        Most products with A per application, at least 1; "gmres" and least squares may take fewer.
    probe : Probe, optional
        `scaled_probe` of the spectrum, if it is at hand.

    Returns
    -------
    Member
        Positive on ``(0, spectrum.interval[1]]``.

    Raises
    ------
    InputError
        If the name is unknown, or a Ritz value is not positive.

    Examples
    --------
    >>> import spectool as st
    >>> spectrum = st.estimate_spectrum(st.gallery.poisson((30, 30)), rng=161803398)
    >>> found = member("union 2", spectrum, 8)
    >>> found.recurrence.degree, found.replaced, found.recurrence(spectrum.interval[1]) > 0
    (8, False, True)
    """
    if name not in PORTFOLIO:
        raise InputError(f"name must be one of {NAMES}; got {name!r}.")
    probe = scaled_probe(spectrum) if probe is None else probe
    if degree % 2:
        probe = probe.in_unit(probe.upper * probe.safe)
    try:
        q = PORTFOLIO[name](probe, spectrum, degree)
        if name.startswith(PROVEN):
            return Member(name, _in_unit(q, probe, name), "by construction", False)
        minimum = certified_minimum(q, (0.0, probe.safe)).bound
        if minimum > 0:
            proof = f"certified at least {minimum:.2g} / {probe.upper:.4g}"
            return Member(name, _in_unit(q, probe, name), proof, False)
    except (InputError, LinAlgError):  # the probe carries no such design, or it is not finite
        pass
    q = fourth_kind_inverse(1.0, degree)
    return Member(name, _in_unit(q, probe, name), "by construction", True)


def _in_unit(q: Recurrence, probe: Probe, name: str) -> Recurrence:
    """Return ``q(z / upper) / upper``; its interval ends at the safe end."""
    moved = q.in_unit(probe.upper)
    interval = probe.upper * q.interval[0], probe.upper * max(q.interval[1], probe.safe)
    return replace(moved, interval=interval, name=f"{name} on (0, {interval[1]:.3g}]")
