"""The probe: a few Lanczos steps from random vectors.

Source
    van Dorsselaer, Hochstenbach and van der Vorst, SIMAX 22 (2001), for the safe ends; Lin, Saad
    and Yang, Approximating spectral densities of large matrices, SIAM Review 58 (2016), for Gauss
    quadrature of the density.
Deviations
    Where entries are stored, Gershgorin discs cap the safe ends, and the Gauss weights are moved to
    reproduce ``trace A`` and ``trace A^2``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from spectool._types import FloatArray, Rng
from spectool.errors import InputError
from spectool.krylov import LanczosProcess, RitzData, lanczos, ritz
from spectool.operators import AssumeA, Operator, as_operator, jacobi_scale
from spectool.spectrum.bounds import outer_end, smallest_component
from spectool.spectrum.moments import calibrated, known_moments
from spectool.spectrum.spectrum import Bound, Certificate, Scaling, Spectrum

STEPS = 24
"""Default probe length; the bounds close in like ``(log(n / RISK) / steps)^2``."""
SMALLEST = 1e-150
"""Norm of A below which squares of its products underflow."""
RISK = 1e-4
"""Probability, over the start vector, that an end of the interval is not a bound."""


def estimate_spectrum(
    A: Any,
    *,
    steps: int | None = None,
    n_probes: int = 1,
    assume_a: AssumeA | None = None,
    scaling: Scaling = None,
    rng: Rng = None,
) -> Spectrum:
    """Probe a Hermitian operator with Lanczos: safe bounds, Ritz values, density.

    Each probe runs ``steps`` fully reorthogonalized Lanczos steps from a random vector.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian, definite or not.
    steps : int, optional
        Lanczos steps per probe, at most n; 24 by default. Fewer are as safe, only less sharp.
    n_probes : int
        Random vectors; more sharpen the density and counts, not the bounds.
    assume_a : {"her", "pos"}, optional
        Declares A Hermitian or positive definite; without it symmetry is tested.
    scaling : {"symmetric", None}
        ``"symmetric"`` probes ``D^-1/2 A D^-1/2``, D the modulus of A's diagonal: the operator that
        preconditioners act on.
    rng : Generator, int or None
        Seeds the start vectors.

    Returns
    -------
    Spectrum
        ``interval`` are safe outer bounds in the unit of A; ``certificate`` says how safe.

    Raises
    ------
    InputError
        If A is not square, finite and Hermitian, or a number is out of range.
    BreakdownError
        If a product with A is not finite.

    Notes
    -----
    Cost: ``steps * n_probes`` matvecs and ``steps + 1`` vectors of length n; where entries are
    stored, two passes over them.
    Each end fails with probability at most 1e-4 over the start vector, whatever the spectrum [1]_
    (``theta_max + residual``, the usual choice, is no bound: its residual only says that *some*
    eigenvalue is near). The extreme Ritz values themselves lie inside the spectrum, always.

    References
    ----------
    .. [1] van Dorsselaer, Hochstenbach and van der Vorst, Computing probabilistic bounds for
       extreme eigenvalues of symmetric matrices with the Lanczos method, SIMAX 22 (2001).

    Examples
    --------
    >>> import spectool as st
    >>> spectrum = st.estimate_spectrum(st.gallery.poisson((50, 50)), rng=31415)
    >>> spectrum.interval[1] >= 7.9924  # the largest eigenvalue is 7.99241...
    True
    """
    operator = as_operator(A, assume_a=assume_a)
    if steps is not None and (int(steps) != steps or steps < 1):
        raise InputError(f"steps must be a positive integer; got {steps!r}.")
    if int(n_probes) != n_probes or n_probes < 1:
        raise InputError(f"n_probes must be a positive integer; got {n_probes!r}.")
    if scaling not in (None, "symmetric"):
        raise InputError(f"scaling must be 'symmetric' or None; got {scaling!r}.")
    if scaling == "symmetric":
        scale = jacobi_scale(operator)
        if scale is None:
            raise InputError(
                "scaling='symmetric' needs A's diagonal, and a LinearOperator does not tell it; "
                "pass a sparse array, or scaling=None."
            )
        operator = operator.scaled(scale)
    return probe(
        operator, steps=int(steps or STEPS), n_probes=int(n_probes), scaling=scaling, rng=rng
    )


def probe(
    operator: Operator,
    *,
    steps: int = STEPS,
    n_probes: int = 1,
    scaling: Scaling = None,
    rng: Rng = None,
    enough: Callable[[LanczosProcess], bool] | None = None,
) -> Spectrum:
    """Probe an ``Operator`` as it is; ``scaling`` only labels the result, ``enough`` ends a run."""
    generator = np.random.default_rng(rng)
    discs = operator.gershgorin()
    size = 0.0 if discs is None else max(abs(discs[0]), abs(discs[1]))
    if 0 < size < SMALLEST:
        # Inner products would underflow; powers of two change no digit.
        half = -int(np.frexp(size)[1]) // 2
        lifted = operator.scaled(np.full(operator.n, 2.0**half))
        found = probe(
            lifted, steps=steps, n_probes=n_probes, scaling=scaling, rng=generator, enough=enough
        )
        operator.counter.add(found.n_matvecs)
        return _in_unit(found, 2.0 ** (-2 * half))
    runs = [
        ritz(lanczos(operator, random_start(operator, generator), steps, enough=enough))
        for _ in range(n_probes)
    ]
    return _collect(operator, runs, scaling)


def _in_unit(spectrum: Spectrum, unit: float) -> Spectrum:
    """Return the spectrum of ``unit`` times the operator."""
    ends = (
        replace(
            end,
            value=unit * end.value,
            ritz_value=unit * end.ritz_value,
            residual=unit * end.residual,
        )
        for end in spectrum.certificate
    )
    return replace(
        spectrum,
        ritz_values=unit * spectrum.ritz_values,
        ritz_residuals=unit * spectrum.ritz_residuals,
        certificate=Certificate(*ends),
    )


def random_start(operator: Operator, rng: np.random.Generator) -> Any:
    """Return a Gaussian vector, shape (n,), complex where the operator is."""
    start = rng.standard_normal(operator.n)
    if operator.dtype.kind == "c":
        start = start + 1j * rng.standard_normal(operator.n)
    return start.astype(operator.dtype)


def _collect(operator: Operator, runs: list[RitzData], scaling: Scaling) -> Spectrum:
    values = np.concatenate([run.values for run in runs])
    order = np.argsort(values, kind="stable")
    values = values[order]
    residuals = np.concatenate([run.residuals for run in runs])[order]
    shares, matched = _weights(operator, runs)
    weights = np.concatenate(shares)[order] / len(runs)
    probes = np.repeat(np.arange(len(runs)), [run.values.size for run in runs])[order]
    complete = all(run.invariant for run in runs)
    rounding = 10 * float(np.finfo(operator.dtype).eps) * float(np.abs(values).max())
    source = "invariant Krylov space" if complete else "Lanczos polynomial"
    # Each run is safe on its own, so the innermost end may be taken; the risk is shared out.
    delta = smallest_component(
        operator.n, RISK / len(runs), complex_vector=operator.dtype.kind == "c"
    )
    highs = [outer_end(run, delta, upper=True) for run in runs]
    lows = [outer_end(run, delta, upper=False) for run in runs]
    top = max(runs, key=lambda run: float(run.values[-1]))
    bottom = min(runs, key=lambda run: float(run.values[0]))
    high = max(min(highs), float(top.values[-1])) + rounding
    low = min(max(lows), float(bottom.values[0])) - rounding
    top_end = (float(top.values[-1]), float(top.residuals[-1]))
    bottom_end = (float(bottom.values[0]), float(bottom.residuals[0]))
    upper = Bound(high, *top_end, source, complete)
    lower = Bound(low, *bottom_end, source, complete)
    discs = operator.gershgorin()
    if discs is not None and discs[1] + rounding < high:
        upper = Bound(discs[1] + rounding, *top_end, "Gershgorin", True)
    if discs is not None and discs[0] - rounding > low:
        lower = Bound(discs[0] - rounding, *bottom_end, "Gershgorin", True)
    if operator.assume_a == "pos" and lower.value < 0:
        if bottom_end[0] + rounding < 0:
            raise InputError(
                f"assume_a='pos' is wrong: A has the Ritz value {bottom_end[0]:.6g}, and the "
                "smallest eigenvalue is at most that. Declare assume_a='her'."
            )
        lower = Bound(0.0, *bottom_end, "declared positive definite", True)
    return Spectrum(
        n=operator.n,
        ritz_values=values,
        ritz_residuals=residuals,
        weights=weights,
        probes=probes,
        certificate=Certificate(lower, upper),
        n_probes=len(runs),
        n_matvecs=operator.n_matvecs,
        complete=complete,
        scaling=scaling,
        n_moments=matched,
    )


def _weights(operator: Operator, runs: list[RitzData]) -> tuple[list[FloatArray], int]:
    """Return each run's weights, calibrated, and how many moments of A all of them reproduce."""
    n = operator.n
    if all(run.values.size == n for run in runs):
        return [np.full(n, 1.0 / n) for _ in runs], 2  # every eigenvalue, each once
    moments = known_moments(operator)
    pairs = [calibrated(run.values, run.weights, moments) for run in runs]
    return [weights for weights, _ in pairs], min(matched for _, matched in pairs)
