r"""Options for ``f(A) b`` and for eigenpairs, counted on a completed spectrum.

Source
    Costs per step as in ``functions.choice``; poles: Hale, Higham and Trefethen, SINUM 46 (2008);
    Lanczos steps for eigenvalues at an end: Saad, Numerical Methods for Large Eigenvalue Problems,
    section 6.6, with a gap of k eigenvalues.
Deviations
    Steps of Lanczos for functions with a singularity at zero are those of CG; for smooth functions
    nine tenths of the Chebyshev degree on the spectrum.
Cost
    One simulated CG, or a Chebyshev expansion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.learned import completed
from spectool.planner.plan import Counts, Option, PlanCosts
from spectool.polynomials import chebyshev_interpolant, inverse_square_root
from spectool.spectrum import Spectrum

__all__ = ["SINGULAR", "SMOOTH", "eigen_options", "function_options"]

SMOOTH: dict[str, Callable[[FloatArray], FloatArray]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "sin": np.sin,
    "cos": np.cos,
    "sinh": np.sinh,
    "cosh": np.cosh,
}
SINGULAR = ("sqrt", "invsqrt", "log", "inv")
STORED, STREAMED, SHIFTED = 20.0, 10.0, 3.0
"""Vector operations of a Lanczos step that keeps its basis, of one that does not, of each pole."""
FASTER = 0.9
"""Steps of Lanczos over Chebyshev's degree, for smooth functions."""
ROOT_DEGREES = (4, 8, 16)
FILTER_DEGREES = (8, 16, 32, 64)
REPEATED = 1.6
"""What a restart with few vectors costs, in steps."""
SINGLE_PASS = 2**30
"""Bytes of a basis that is kept without being asked."""


def function_options(
    name: str,
    spectrum: Spectrum,
    costs: PlanCosts,
    *,
    rtol: float,
    t: float,
    n_columns: int,
    max_memory: float,
    itemsize: int,
) -> list[Option]:
    """Return the methods of ``funm_multiply`` with predicted seconds.

    Raises
    ------
    InputError
        If the function is not one that can be planned for, or not defined on the spectrum.
    """
    found = list(
        _smooth(name, spectrum, rtol, t, n_columns, max_memory, itemsize)
        if name in SMOOTH
        else _singular(name, spectrum, rtol, n_columns, max_memory, itemsize)
    )
    return sorted((option.priced(costs) for option in found), key=lambda option: option.seconds)


def _krylov(
    steps: float, n: int, n_columns: int, max_memory: float, itemsize: int
) -> Iterator[Option]:
    """Yield Lanczos: stored, or in two passes where memory is short; and restarted."""
    held = steps * n_columns
    fits = held * n * itemsize <= min(max_memory, SINGLE_PASS)
    k = steps * n_columns
    passes, vectors = (1.0, STORED) if fits else (2.0, 2.0 * STREAMED)
    yield Option(
        "Lanczos" + ("" if fits else ", two passes"),
        {"method": "lanczos"},
        Counts(passes * k, vectors=vectors * k, reductions=2 * k, held=held if fits else 3.0),
        plain=True,
    )
    if not fits:
        cycle = max(min(max_memory / (n * itemsize * n_columns), 100.0), 10.0)
        again = REPEATED * k
        yield Option(
            "restarted Lanczos",
            {"method": "restarted"},
            Counts(again, vectors=STORED * again, reductions=2 * again, held=cycle * n_columns),
        )


def _smooth(
    name: str,
    spectrum: Spectrum,
    rtol: float,
    t: float,
    n_columns: int,
    max_memory: float,
    itemsize: int,
) -> Iterator[Option]:
    function = SMOOTH[name]
    lower, upper = spectrum.interval
    seen = float(spectrum.ritz_values[0]), float(spectrum.ritz_values[-1])
    if not seen[1] > seen[0]:
        seen = seen[0] - 1e-8 * (abs(seen[0]) + 1.0), seen[1] + 1e-8 * (abs(seen[1]) + 1.0)

    def degree_on(interval: tuple[float, float]) -> int:
        with np.errstate(all="ignore"):
            p, _ = chebyshev_interpolant(lambda z: function(t * z), interval, rtol=rtol)
        return max(p.degree, 1)

    steps = min(FASTER * degree_on(seen), spectrum.n)
    yield from _krylov(steps, spectrum.n, n_columns, max_memory, itemsize)
    try:
        degree = degree_on((lower, upper) if upper > lower else seen)
    except InputError:  # it overflows between the spectrum and its safe ends
        return
    yield Option(
        f"Chebyshev, degree {degree}",
        {"method": "chebyshev"},
        Counts(0.0, n_columns, degree * n_columns, held=3.0 * n_columns, degree=degree),
    )


def _singular(
    name: str, spectrum: Spectrum, rtol: float, n_columns: int, max_memory: float, itemsize: int
) -> Iterator[Option]:
    if name not in SINGULAR:
        known = ", ".join((*SMOOTH, *SINGULAR))
        raise InputError(f"task must be 'solve', 'eigs', or one of {known}; got {name!r}.")
    virtual = completed(spectrum)
    steps = float(min(max(virtual.cg_iterations(None, rtol=rtol), 1), spectrum.n))
    yield from _krylov(steps, spectrum.n, n_columns, max_memory, itemsize)
    if name in ("sqrt", "invsqrt"):
        upper = spectrum.interval[1]
        for degree in ROOT_DEGREES:
            low = upper / max((degree / 1.5) ** 2, 1.5)
            q, _ = inverse_square_root((low, upper), degree)
            outer = float(max(virtual.cg_iterations(q * q, rtol=rtol), 1)) * n_columns
            inner = outer * (2 * degree + 1)
            yield Option(
                f"Lanczos on a polynomial of degree {degree}",
                {"method": "preconditioned"},
                Counts(0.0, outer, inner, STORED * outer, 2 * outer, outer, degree=2 * degree + 1),
            )
    cond = 1.0 / max(float(virtual.nodes[0]), 1e-15)
    poles = math.ceil((math.log(cond) + 3.0) * math.log(1.0 / rtol) / (2.0 * math.pi**2))
    k = steps * n_columns
    yield Option(
        f"rational, {poles} poles",
        {"method": "rational"},
        Counts(k, vectors=(STREAMED + SHIFTED * poles) * k, reductions=2 * k, held=2.0 * poles + 4),
    )


def eigen_options(spectrum: Spectrum, costs: PlanCosts, *, k: int, rtol: float) -> list[Option]:
    """Return ways to the k smallest eigenpairs: Lanczos as in ARPACK, or with filters.

    Lanczos with 2 k vectors takes ``k + log(1 / rtol) / (2 sqrt(gap))`` products, the gap being
    that between the k-th and the 2 k-th eigenvalue relative to the rest, but at least 4 k.
    """
    if not 0 < k < spectrum.n // 4:
        raise InputError(f"k must lie in [1, n / 4); got {k} for {spectrum.n} rows.")
    n = spectrum.n
    heights = np.array([0.5, k - 0.5, min(2 * k, n - 1) - 0.5]) / n
    first, last, beyond = (float(x) for x in spectrum.quantile(heights))
    top = float(spectrum.interval[1])
    gap = max((beyond - last) / max(top - beyond, 1e-300), 1e-14)
    steps = max(4.0 * k, k + math.log(1.0 / rtol) / (2.0 * math.sqrt(gap)))

    def option(name: str, degree: int, taken: float, window: float) -> Option:
        # Each step is orthogonalized against 1.5 k vectors twice; restarts combine as many.
        vectors = 2.0 * 2.0 * 1.5 * k * taken
        action: dict[str, Any] = {"degree": degree, "window": [-1e300, window]}
        counts = (
            Counts(taken, vectors=vectors, reductions=2 * taken, held=2.0 * k)
            if not degree
            else Counts(0.0, taken, taken * degree, vectors, 2 * taken, 2.0 * k, degree)
        )
        return Option(name, action, counts, plain=not degree).priced(costs)

    found = [option("ARPACK", 0, steps, beyond)]
    for degree in FILTER_DEGREES:
        # T_d(1 + x) ~ cosh(d sqrt(2 x)) / ... stretches the gap of eigenvalues near the cut.
        x = 2.0 * (beyond - np.array([first, last])) / max(top - beyond, 1e-300)
        large, small = np.cosh(np.minimum(degree * np.arccosh(1.0 + x), 600.0))
        inside = max((small - 1.0) / (large + 1.0), 1e-14)
        taken = max(2.0 * k, k + math.log(1.0 / rtol) / (2.0 * math.sqrt(inside)))
        found.append(option(f"filter of degree {degree}", degree, taken, beyond))
    return sorted(found, key=lambda each: each.seconds)
