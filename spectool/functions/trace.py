"""``trace_funm`` and ``logdet``: the trace of f(A), with a standard error and bounds.

Source
    See ``quadrature`` (stochastic Lanczos quadrature, bounds) and ``xtrace``.
Deviations
    The estimator is chosen by the number of products that the probe's virtual spectrum predicts.
Cost
    See the notes of ``trace_funm``.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal

import numpy as np
from scipy.linalg import eigvalsh

from spectool._types import Array, FloatArray, Interval, Rng, ScalarMap
from spectool.errors import ConvergenceWarning, InputError, NotPositiveDefiniteError
from spectool.functions.door import check_options, check_spectrum, check_times
from spectool.functions.funm import funm_multiply
from spectool.functions.scalar import (
    ScalarFunction,
    as_scalar_function,
    outside_domain,
)
from spectool.functions.traces import quadrature
from spectool.functions.traces import xtrace as xtraces
from spectool.functions.traces.xtrace import TraceSample
from spectool.operators import Operator, as_operator
from spectool.spectrum import Spectrum, probe, random_start
from spectool.spectrum.moments import known_moments

TraceMethod = Literal["auto", "dense", "slq", "xtrace"]
_METHODS = ("auto", "dense", "slq", "xtrace")
DENSE_N, DENSE_FREE_N = 1_000, 200
"""Sizes up to which eigenvalues are computed: with stored entries, and from n products."""
DEARER = 4
"""Products of a test vector of XTrace over those of a probe: two rounds, twice the degree."""
LAYOUT = 10_000
"""Products that a block of test vectors is laid out for."""


@dataclass(frozen=True, slots=True, eq=False)
class TraceEstimate:
    """Estimate of ``trace f(A)``.

    Attributes
    ----------
    value : float
        The estimate; unit of f.
    standard_error : float
        Of the value: randomness of the probes, truncation and rounding. Errors beyond four of it
        occur in less than 1% of draws, from 8 probes on: fewer may miss the few eigenvalues that
        make up the trace, and then know nothing of them.
    bounds : tuple of float or None
        ``(lower, upper)`` that hold the trace whatever the probes were, if the safe interval holds
        the spectrum; an infinite end says that nothing is known there. None where no bound is.
    n_matvecs : int
        Products with A, all of them.
    n_probes : int
        Random vectors; 0 if nothing was random.
    method : str
        What was executed.
    elapsed : float
        Wall-clock seconds.
    report : str
        What was chosen and why.
    """

    value: float
    standard_error: float
    bounds: Interval | None
    n_matvecs: int
    n_probes: int
    method: str
    elapsed: float
    report: str = field(default="", repr=False)

    def __str__(self) -> str:
        between = "" if self.bounds is None else " in [{:.6g}, {:.6g}]".format(*self.bounds)
        return (
            f"{self.method}: {self.value:.8g} +- {self.standard_error:.1e}{between}, "
            f"{self.n_matvecs} matvecs, {self.elapsed:.3g} s"
        )


def trace_funm(
    f: str | ScalarMap,
    A: Any,
    *,
    rtol: float = 1e-2,
    n_probes: int | None = None,
    method: TraceMethod = "auto",
    t: float = 1.0,
    spectrum: Spectrum | None = None,
    assume_a: Literal["her", "pos"] | None = None,
    rng: Rng = None,
) -> TraceEstimate:
    """Estimate ``trace f(t A)`` for Hermitian A, with a standard error and bounds.

    Small A are diagonalized. Else stochastic Lanczos quadrature, or XTrace where the eigenvalues of
    f(A) decay so fast that few vectors span what matters.

    Parameters
    ----------
    f : str or callable
        One of ``"exp" "phi1" "inv" "sqrt" "invsqrt" "log" "sign"``, or a function that maps an
        array of eigenvalues of tA to an array of the same shape, real and smooth.
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian; positive definite for ``"sqrt" "invsqrt" "log"``.
    rtol : float
        Wanted standard error relative to ``trace |f(tA)|``, the trace itself where f has one sign.
    n_probes : int, optional
        Fixes the number of random vectors, whatever error that leaves.
    method : {"auto", "dense", "slq", "xtrace"}
        Forces eigenvalues, Lanczos quadrature or XTrace.
    t : float
        Multiplies A. Nonzero.
    spectrum : Spectrum, optional
        A probe of A made before; saves its matvecs.
    assume_a : {"her", "pos"}, optional
        Declares A Hermitian, or positive definite too; without it symmetry is tested.
    rng : Generator, int or None
        Seeds the probes.

    Returns
    -------
    TraceEstimate
        ``value``, ``standard_error``, ``bounds`` and costs.

    Raises
    ------
    InputError
        If A or an option is malformed, or f is not finite on the spectrum.
    NotPositiveDefiniteError
        If f is undefined at an eigenvalue that was found; names the evidence.

    Warns
    -----
    ConvergenceWarning
        If 512 probes or 256 test vectors did not reach rtol.

    Notes
    -----
    Cost: 24 matvecs for the probe; quadrature some tens of matvecs per probe and at least 8 probes,
    3 vectors [1]_; XTrace f(A) times 32 vectors or more, 3 blocks of them [2]_. A relative standard
    error of one probe is about ``sqrt(2 / n)`` for a flat f, less where ``trace A`` and
    ``trace A^2`` are known and explain f. Bounds cost nothing [3]_; those of ``log`` and of inverse
    powers need a safe lower end above zero. A singular A goes unnoticed by quadrature where no Ritz
    value comes near zero: then ``trace log(A)`` is an estimate of its nonzero part.

    References
    ----------
    .. [1] Ubaru, Chen and Saad, SIMAX 38 (2017), section 4.
    .. [2] Epperly, Tropp and Webber, SIMAX 45 (2024).
    .. [3] Bai and Golub, Ann. Numer. Math. 4 (1997), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool.functions.trace import trace_funm
    >>> round(trace_funm("inv", np.diag([1.0, 2.0, 4.0])).value, 6)
    1.75
    """
    begin = time.perf_counter()
    function = as_scalar_function(f)
    check_options("auto", rtol, None)
    if check_times(t).shape != () or np.iscomplexobj(t) or t == 0:
        raise InputError(f"t must be a finite, real, nonzero number; got {t!r}.")
    with np.errstate(all="ignore"):
        if np.iscomplexobj(function.evaluate(float(t) * np.ones(1))):
            raise InputError(f"f must be real on a real spectrum; {function.name} is complex.")
    if method not in _METHODS:
        raise InputError(f"method must be one of {_METHODS}; got {method!r}.")
    if n_probes is not None and not (
        isinstance(n_probes, Integral) and not isinstance(n_probes, bool) and n_probes > 0
    ):
        raise InputError(f"n_probes must be a positive integer; got {n_probes!r}.")
    operator = as_operator(A, assume_a=assume_a)
    if spectrum is not None:
        check_spectrum(spectrum, operator)
    task = _Task(function, operator, float(t), float(rtol), n_probes, np.random.default_rng(rng))
    task.check_diagonal()
    if method == "dense" or (method == "auto" and n_probes is None and task.is_small()):
        sample, reason = task.dense(), "small enough for all eigenvalues"
        bounds: Interval | None = (sample.value - sample.error, sample.value + sample.error)
    else:
        spectrum = spectrum or probe(operator, rng=task.rng)
        chosen, reason = task.choose(spectrum) if method == "auto" else (method, "as asked")
        sample = task.slq() if chosen == "slq" else task.xtrace(spectrum)
        bounds = task.bounds(spectrum)
    low, high = bounds or (-np.inf, np.inf)
    estimate = TraceEstimate(
        value=min(max(sample.value, low), high),
        standard_error=sample.error,
        bounds=bounds,
        n_matvecs=operator.n_matvecs,
        n_probes=sample.n_probes,
        method=sample.method,
        elapsed=time.perf_counter() - begin,
        report=reason,
    )
    if n_probes is None and not sample.met:
        warnings.warn(f"trace_funm: rtol was not met: {estimate}", ConvergenceWarning, stacklevel=2)
    return estimate


def logdet(
    A: Any,
    *,
    rtol: float = 1e-2,
    n_probes: int | None = None,
    method: TraceMethod = "auto",
    spectrum: Spectrum | None = None,
    assume_a: Literal["her", "pos"] | None = None,
    rng: Rng = None,
) -> TraceEstimate:
    """Estimate ``log det A = trace log A`` for Hermitian positive definite A.

    Takes the options of ``trace_funm`` and returns what it returns.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian positive definite.
    rtol : float
        Wanted standard error relative to ``trace |log A|``. It depends on the unit of A.
    n_probes : int, optional
        Fixes the number of random vectors.
    method : {"auto", "dense", "slq", "xtrace"}
        Forces a method.
    spectrum : Spectrum, optional
        A probe of A made before.
    assume_a : {"her", "pos"}, optional
        Declares A's structure.
    rng : Generator, int or None
        Seeds the probes.

    Returns
    -------
    TraceEstimate
        ``value``, ``standard_error``, ``bounds`` and costs.

    Raises
    ------
    InputError
        If A or an option is malformed.
    NotPositiveDefiniteError
        If a diagonal entry, a Ritz value or an eigenvalue shows that A is not positive definite.

    Notes
    -----
    Cost and bounds as of ``trace_funm``.

    References
    ----------
    .. [1] Ubaru, Chen and Saad, SIMAX 38 (2017), section 5.

    Examples
    --------
    >>> import numpy as np
    >>> from spectool.functions.trace import logdet
    >>> A = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> round(float(np.exp(logdet(A).value)), 6)
    3.0
    """
    return trace_funm(
        "log",
        A,
        rtol=rtol,
        n_probes=n_probes,
        method=method,
        spectrum=spectrum,
        assume_a=assume_a,
        rng=rng,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One validated call."""

    function: ScalarFunction
    operator: Operator
    t: float
    rtol: float
    n_probes: int | None
    rng: np.random.Generator

    def check_diagonal(self) -> None:
        """Raise where a diagonal entry already shows an eigenvalue on the wrong side of zero."""
        facts = self.operator.row_facts()
        if facts is None or self.function.domain not in ("positive", "nonnegative"):
            return
        diagonal = self.t * facts.diagonal.real
        i = int(diagonal.argmin())
        if diagonal[i] < 0 or (diagonal[i] == 0 and self.function.domain == "positive"):
            raise NotPositiveDefiniteError(
                f"{self.function.name} needs a positive definite operator, but its diagonal entry "
                f"{i} is {diagonal[i]:.6g} (an eigenvalue is at most that). Shift A, or choose "
                "another function."
            )

    def is_small(self) -> bool:
        stored = self.operator.row_facts() is not None
        return self.operator.n <= (DENSE_N if stored else DENSE_FREE_N)

    def dense(self) -> TraceSample:
        """Sum f over all eigenvalues."""
        operator = self.operator
        A = operator.backend.to_dense()
        if A is None:
            A = operator.matmul(np.eye(operator.n, dtype=operator.dtype))
        z = self.t * np.asarray(eigvalsh(0.5 * (A + A.conj().T)), dtype=np.float64)
        eps = float(np.finfo(operator.dtype).eps)
        extent = float(np.abs(z).max())
        complaint = outside_domain(self.function, z, 10 * eps * extent)
        if complaint:
            raise NotPositiveDefiniteError(complaint + " Shift A, or choose another function.")
        values, slope = self.function.with_slope(z)
        size = float(np.abs(values).sum())
        rounding = eps * (size + extent * float(slope.sum()))
        return TraceSample(float(values.sum()), rounding, True, 0, "eigenvalues")

    def choose(self, spectrum: Spectrum) -> tuple[str, str]:
        """Predict the probes and test vectors that rtol takes, on the virtual spectrum."""
        if self.function.domain != "any":
            return "slq", f"{self.function.name} is singular at zero: applying it takes long"
        energies, counts = self._energies(spectrum)
        target = self.rtol * float(counts @ np.sqrt(energies))
        if target == 0:
            return "slq", "f vanishes on the spectrum"
        probes = max(2.0 * float(counts @ energies) / target**2, float(quadrature.FEWEST))
        below = np.cumsum((counts * energies)[::-1])[::-1]
        q = xtraces.FIRST
        while q <= xtraces.MOST and DEARER * q < probes:
            outside = float(np.interp(q, np.cumsum(counts), below, right=0.0))
            if xtraces.SHARED**2 * 2.0 * outside / q <= target**2:
                return "xtrace", f"{q} test vectors may do what takes {probes:.0f} probes"
            q *= 2
        return "slq", f"{probes:.0f} probes may do, and f(A) has no dominant part to deflate"

    def _energies(self, spectrum: Spectrum) -> tuple[FloatArray, FloatArray]:
        """Return f^2, descending and relative to its largest, with multiplicities."""
        n = spectrum.n
        ends = np.arange(min(n, 2 * xtraces.MOST) + 1)
        edges = np.unique(np.concatenate([ends, n - ends, np.linspace(0, n, 513).astype(int)]))
        z = self.t * spectrum.quantile(0.5 * (edges[1:] + edges[:-1]) / n)
        if self.function.domain in ("positive", "nonnegative"):
            z = np.maximum(z, 1e-16 * float(np.abs(z).max()))
        with np.errstate(all="ignore"):
            values = np.abs(np.asarray(self.function.evaluate(z), dtype=np.float64))
        values = np.where(np.isfinite(values), values, 0.0)
        order = np.argsort(-values, kind="stable")
        largest = float(values.max()) or 1.0
        return (values[order] / largest) ** 2, np.diff(edges)[order].astype(np.float64)

    def slq(self) -> TraceSample:
        return quadrature.quadrature_trace(
            self.function,
            self.operator,
            lambda: random_start(self.operator, self.rng),
            t=self.t,
            moments=known_moments(self.operator),
            target=self.rtol,
            n_probes=self.n_probes,
        )

    def xtrace(self, spectrum: Spectrum) -> TraceSample:
        operator = self.operator.prepared(LAYOUT)

        def apply(X: Array) -> tuple[Array, float]:
            solution = funm_multiply(
                self.function,
                operator,
                X,
                rtol=0.01 * self.rtol,
                t=self.t,
                spectrum=spectrum,
            )
            operator.counter.add(solution.n_matvecs)
            return solution.y, solution.error_estimate

        def draw(q: int) -> Array:
            return np.stack([random_start(operator, self.rng) for _ in range(q)], axis=1)

        return xtraces.xtrace(apply, draw, operator.n, target=self.rtol, n_probes=self.n_probes)

    def bounds(self, spectrum: Spectrum) -> Interval | None:
        moments = known_moments(self.operator)
        if moments is None:
            return None
        return quadrature.moment_bounds(
            self.function, self.operator.n, self.t, moments, spectrum.interval
        )
