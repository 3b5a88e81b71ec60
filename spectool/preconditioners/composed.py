"""Polynomials over any preconditioner: ``M = q(B A) B`` for B ~ inv(A), known by its products.

Source
    Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., sections 9.2 and 12.3: B A is
    self-adjoint in the inner product of ``B^-1``; van Dorsselaer, Hochstenbach and van der Vorst,
    SIMAX 22 (2001), for the bound.
Deviations
    The probe is Lanczos in that inner product, by products with A and B only. Its start B^1/2 v is
    not uniformly distributed, because B^1/2 is not at hand; but with ``v ~ N(0, D)``, the component
    in the direction of an eigenvalue lambda of BA has variance ``w* D w >= lambda / d``, ``w* A w =
    lambda``, for any d with ``A <= d D``, and that is enough for the same bound.
Cost
    Probe: at most 24 products with A and B each, 2 vectors kept per step. An application takes
    ``degree`` products with A and ``degree + 1`` with B.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator
from scipy.special import gammaincinv

from spectool._types import Array, Rng
from spectool.backends.generic import GenericBackend
from spectool.errors import BreakdownError, InputError, NotPositiveDefiniteError
from spectool.krylov import RitzData
from spectool.operators import Operator, as_operator, jacobi_scale
from spectool.planner import OperatorCosts, VirtualOperator
from spectool.polynomials import Recurrence
from spectool.polynomials.chebyshev import checked_degree
from spectool.preconditioners.operator import SEED
from spectool.preconditioners.selection import Choice, select
from spectool.results import PreconditionerReport
from spectool.spectrum import Spectrum, probe
from spectool.spectrum.bounds import outer_end
from spectool.spectrum.estimate import RISK, STEPS
from spectool.spectrum.spectrum import Bound, Certificate

ASYMMETRY = 0.5
"""Relative asymmetry of B in the Frobenius norm, estimated, from which it is refused."""
OVERLAP = 0.1
"""Loss of orthogonality in Lanczos by which B counts as unsymmetric: threshold incomplete
factorizations are symmetric to their drop tolerance only. Such a B is left as it is."""


class ComposedPreconditioner(LinearOperator[Any]):
    """``q(B A) B`` as a scipy ``LinearOperator``; Hermitian positive definite.

    Attributes
    ----------
    recurrence : Recurrence
        q; degree 0 is a multiple of B.
    report : PreconditionerReport
        What was chosen, why, and what it cost.
    spectrum : Spectrum or None
        The probe of B A; None where B turned out not to be Hermitian.
    n_matvecs : int
        Products with A so far: set-up and applications.
    """

    def __init__(
        self,
        operator: Operator,
        B: Operator,
        recurrence: Recurrence,
        report: PreconditionerReport,
        spectrum: Spectrum | None,
        again: partial[ComposedPreconditioner] | None = None,
    ) -> None:
        dtype = np.result_type(operator.dtype, B.dtype)
        # scipy-stubs hides the base constructor, which subclasses must call.
        super().__init__(dtype=dtype, shape=operator.shape)  # type: ignore[call-arg]
        self.operator = operator
        self.B = B
        self.recurrence = recurrence
        self.report = report
        self.spectrum = spectrum
        self._again = again
        self._product = GenericBackend(_Product(operator, B, dtype))

    def __repr__(self) -> str:
        return f"<ComposedPreconditioner {self.shape}: {self.report.chosen}>"

    @property
    def n_matvecs(self) -> int:
        """Products with A so far."""
        return self.operator.n_matvecs

    def refresh(self, A: Any, *, rng: Rng = SEED) -> ComposedPreconditioner:
        """Return M for another matrix and the same B, by a full set-up, which the report says.

        For another B, make a new M.
        """
        again = self._again or partial(composed, B=self.B)
        fresh = again(A, rng=rng)
        reason = f"full set-up, over the same B; {fresh.report.reason}"
        fresh.report = replace(fresh.report, reason=reason)
        return fresh

    def _matvec(self, x: Array) -> Array:
        return self._run(np.asarray(x).ravel())

    def _matmat(self, X: Array) -> Array:
        return self._run(np.ascontiguousarray(X))

    def _run(self, X: Array) -> Array:
        if X.dtype.kind not in "fc":
            X = X.astype(np.float64)
        return self._product.apply(self.recurrence, np.ascontiguousarray(self.B.matmul(X)))

    def _adjoint(self) -> Self:
        return self


class _Product(LinearOperator[Any]):
    """B A, which counts its products with both."""

    def __init__(self, A: Operator, B: Operator, dtype: Any) -> None:
        super().__init__(dtype=dtype, shape=A.shape)  # type: ignore[call-arg]
        self._factors = A, B

    def _matvec(self, x: Array) -> Array:
        A, B = self._factors
        return B.matmul(A.matmul(np.ascontiguousarray(x).ravel()))

    def _matmat(self, X: Array) -> Array:
        A, B = self._factors
        return B.matmul(np.ascontiguousarray(A.matmul(np.ascontiguousarray(X))))


def composed(
    A: Any,
    B: Any,
    *,
    degree: int | None = None,
    method: Literal["auto", "chebyshev", "chebyshev4"] = "auto",
    rng: Rng = None,
) -> ComposedPreconditioner:
    """Return ``M = q(B A) B``, a polynomial over a given preconditioner B ~ inv(A).

    The spectrum of B A is probed, every design and degree is priced by simulated CG with the
    measured times of A and B, and B itself is returned where none promises to beat it.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Hermitian positive definite.
    B : LinearOperator, sparse array or ndarray, shape (n, n)
        Hermitian positive definite approximation of ``inv(A)``.
    degree : int, optional
        Products with A per application; chosen if None, 0 (B itself) included.
    method : {"auto", "chebyshev", "chebyshev4"}
        Forces a design: first kind, or optimal fourth kind.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    ComposedPreconditioner
        Hermitian positive definite ``LinearOperator`` with ``recurrence`` and ``report``.

    Raises
    ------
    InputError
        If A or B is not square, finite and Hermitian, their sizes differ, or an option is unknown.
    NotPositiveDefiniteError
        If the probe finds a vector v with ``v* A v`` or ``v* B v`` not positive.

    Notes
    -----
    Cost: at most 24 products with A and B each, and two more with B. The upper end of the spectrum
    fails with probability at most 1e-4 over the start vector.
    CG is optimal per product, so M never saves products with A or B; it saves reductions.

    References
    ----------
    .. [1] Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 9.2.1.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp, scipy.sparse.linalg as sla, spectool as st
    >>> from spectool.preconditioners.composed import composed
    >>> A = st.gallery.poisson((40, 40))
    >>> B = sp.diags_array(1.0 / A.diagonal())
    >>> M = composed(A, B, degree=4, rng=271828)
    >>> x, info = sla.cg(A, np.ones(1600), M=M, rtol=1e-8)
    >>> info, M.recurrence.degree
    (0, 4)
    """
    begin = time.perf_counter()
    if method not in ("auto", "chebyshev", "chebyshev4"):
        raise InputError(f"method must be 'auto', 'chebyshev' or 'chebyshev4'; got {method!r}.")
    if degree is not None:
        degree = checked_degree(degree)
    operator = as_operator(A)
    generator = np.random.default_rng(rng)
    base = _checked_base(B, operator, generator)
    spectrum, costs, overlap = _probe(operator, base, generator)
    none = np.empty(0)
    itself = Recurrence(none, none, none, np.ones(1), (0.0, spectrum.interval[1]), "degree 0")
    if degree == 0:
        choice = Choice(itself, "B", "as asked", ())
    elif overlap > OVERLAP:
        reason = (
            f"B is not Hermitian: Lanczos vectors that B makes orthogonal overlap by {overlap:.2g}"
        )
        if degree is not None or method != "auto":
            raise InputError(f"{reason}. Use symmetric factors or sweeps, or B itself (degree=0).")
        choice = Choice(itself, "B", reason, ())
    else:
        virtual = VirtualOperator.of(spectrum)
        choice = select(costs, spectrum, virtual, method, degree, itself, "B")
    report = PreconditionerReport(
        f"{choice.chosen}, over B" if choice.recurrence.degree else "B",
        choice.reason,
        choice.candidates,
        operator.n_matvecs,
        time.perf_counter() - begin,
    )
    known = spectrum if overlap <= OVERLAP else None
    again = partial(composed, B=B, degree=degree, method=method)
    return ComposedPreconditioner(operator, base, choice.recurrence, report, known, again)


def _checked_base(B: Any, A: Operator, rng: np.random.Generator) -> Operator:
    base = as_operator(B, assume_a="gen", need_hermitian=False)
    if base.n != A.n:
        raise InputError(f"B must have the shape of A, {A.shape}; got {base.shape}.")
    x, y = rng.standard_normal((2, A.n)).astype(base.dtype)
    Bx, By = base.matmul(x), base.matmul(y)
    if not (np.isfinite(Bx).all() and np.isfinite(By).all()):
        raise InputError("B must be finite; B @ v holds NaN or Inf for a random v.")
    # For Gaussian x, y the gap is of the size ||B - B*||_F, and ||B x|| that of ||B||_F.
    gap = abs(np.vdot(y, Bx) - np.conj(np.vdot(x, By)))
    size = float(np.hypot(np.linalg.norm(Bx), np.linalg.norm(By)))
    if gap > ASYMMETRY * size:
        raise InputError(
            f"B must be Hermitian: |y* B x - conj(x* B y)| is {gap:.3g} for random x, y, against "
            f"||B x|| = {size:.3g}. Use symmetric sweeps or factors, or gmres with B alone."
        )
    return base


def _probe(
    A: Operator, B: Operator, rng: np.random.Generator
) -> tuple[Spectrum, OperatorCosts, float]:
    """Return the spectrum of B A with safe ends, what products cost, and how unsymmetric B is."""
    n, dtype = A.n, np.result_type(A.dtype, B.dtype)
    scale = jacobi_scale(A)
    inside = A if scale is None else A.scaled(scale)
    discs = inside.gershgorin()
    limit = discs[1] if discs is not None else probe(inside, steps=8, rng=rng).interval[1]
    start = rng.standard_normal(n).astype(dtype)
    if dtype.kind == "c":
        start = (start + 1j * rng.standard_normal(n)) * math.sqrt(0.5)
    if scale is not None:
        start /= scale
    run, size, seconds, overlap = _lanczos(A, B, start)
    # |q|^2 >= (lambda / d) chi^2 / size: chi^2 has one degree of freedom, complex vectors two.
    half = 1.0 if dtype.kind == "c" else 0.5
    chi = float(gammaincinv(half, RISK)) / half
    theta, residuals = run.values, run.residuals
    eps = float(np.finfo(dtype).eps)
    if overlap <= OVERLAP and theta[0] < -1e4 * eps * abs(theta[-1]):
        raise NotPositiveDefiniteError(
            f"A must be positive definite, but B A has the Ritz value {theta[0]:.6g}. "
            "Use preconditioner(A) with minres."
        )
    delta = math.sqrt(min(float(theta[-1]) / limit * chi / size, 1.0))
    rounding = max(10 * eps, overlap) * float(theta[-1])
    high = outer_end(run, delta, upper=True) + rounding
    source = "invariant Krylov space" if run.invariant else "Lanczos polynomial"
    upper = Bound(high, float(theta[-1]), float(residuals[-1]), source, run.invariant)
    lower = Bound(0.0, float(theta[0]), float(residuals[0]), "A and B positive definite", True)
    spectrum = Spectrum(
        n=n,
        ritz_values=theta,
        ritz_residuals=residuals,
        weights=run.weights,
        probes=np.zeros(theta.size, dtype=np.int64),
        certificate=Certificate(lower, upper),
        n_probes=1,
        n_matvecs=A.n_matvecs,
        complete=run.invariant,
    )
    return spectrum, _costs(*seconds, n), overlap


def _lanczos(
    A: Operator, B: Operator, v: Array
) -> tuple[RitzData, float, tuple[float, float], float]:
    """Run Lanczos on A B in the inner product of B, one product with each per step.

    Also returns ``v* B v``, seconds per product, and the largest ``|v_i* B v_k|``, i < k, among
    vectors that are orthogonal if B is Hermitian; the run ends beyond OVERLAP.
    """
    n, eps = A.n, float(np.finfo(v.dtype).eps)
    steps = min(STEPS, n)
    z = B.matmul(v)
    size = _square(v, z, "B")
    V, Z = np.empty((2, steps, n), dtype=v.dtype)
    alpha: list[float] = []
    beta: list[float] = []
    seconds = (math.inf, math.inf)
    square, invariant, overlap = size, False, 0.0
    while not invariant and overlap <= OVERLAP and len(alpha) < steps:
        k = len(alpha)
        V[k], Z[k] = v / math.sqrt(square), z / math.sqrt(square)
        times = [time.perf_counter()]
        v = A.matmul(Z[k])
        times.append(time.perf_counter())
        alpha.append(_square(Z[k], v, "A"))
        v = v - alpha[k] * V[k]
        v -= V[: k + 1].T @ (Z[: k + 1].conj() @ v)
        times.append(time.perf_counter())
        z = B.matmul(v)
        times.append(time.perf_counter())
        seconds = min(seconds[0], times[1] - times[0]), min(seconds[1], times[3] - times[2])
        square = float(np.vdot(v, z).real)
        beta.append(math.sqrt(max(square, 1e-300)))
        small = 100 * eps * max(max(alpha) + max(beta[:-1], default=0.0), beta[-1])
        rounding = 100 * eps * float(np.linalg.norm(v) * np.linalg.norm(z))
        invariant = k + 1 == n or (beta[-1] <= small and abs(square) <= rounding + small**2)
        if not invariant:
            found = float(np.abs(V[: k + 1].conj() @ z).max()) / max(abs(square), 1e-300) ** 0.5
            overlap = max(overlap, found)
            if overlap <= OVERLAP:
                _square(v, z, "B")
    theta, S = (np.asarray(part, dtype=np.float64) for part in eigh_tridiagonal(alpha, beta[:-1]))
    residuals, log_norm = np.abs(S[-1]) * beta[-1], float(np.log(beta).sum())
    return RitzData(theta, residuals, S[0] ** 2, log_norm, invariant), size, seconds, overlap


def _square(v: Array, z: Array, name: str) -> float:
    """Return ``v* z``, z being ``name`` times v, or raise the error that it is evidence for."""
    square = float(np.vdot(v, z).real)
    if not np.isfinite(square):
        raise BreakdownError(f"{name} @ v is not finite or overflows: v* {name} v = {square}.")
    if square <= 0:
        raise NotPositiveDefiniteError(
            f"{name} must be positive definite, but v* {name} v = {square:.6g} for a vector v with "
            f"||v|| = {np.linalg.norm(v):.3g}, ||{name} v|| = {np.linalg.norm(z):.3g}. For an "
            "indefinite A use preconditioner(A) with minres."
        )
    return square


def _costs(product: float, base: float, n: int) -> OperatorCosts:
    """Price a degree as a product with A, one with B and four vector passes."""
    x, times = np.ones(n), [time.perf_counter()]
    for _ in range(3):
        x = x + x
        times.append(time.perf_counter())
    vector = float(np.diff(times).min())
    step = product + base + 4 * vector
    return OperatorCosts(product, base, step, step, vector, 0.0, bare=base)
