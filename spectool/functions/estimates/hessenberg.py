"""f of a small dense matrix times vectors: what Arnoldi's method evaluates at each check.

Source
    Higham, Functions of Matrices, SIAM 2008: section 4.5 for eigenvectors, (5.34) for the sign;
    Saad, SINUM 29 (1992), section 2.3, for phi functions by a bordered matrix.
Deviations
    Eigenvectors wherever their condition allows: Hessenberg matrices of random-like start vectors
    have tame ones. Else the algorithms that SciPy has by name, and for a callable Cauchy integrals
    over ellipses around the spectrum, of which the one that cancels least is taken: no derivatives,
    and no condition of eigenvectors (Schur and Parlett's recurrence was tried: it fails on
    defective matrices and on spectra that rounding makes up). Where f is not analytic in any of
    them, eigenvectors must do, and the rounding estimate tells.
Cost
    About 25 k^3 flops by eigenvectors, up to 100 k^3 by name; nothing of the order of A.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from spectool._types import Array, FloatArray
from spectool.errors import BreakdownError, InputError, NotPositiveDefiniteError
from spectool.functions.poles.contours import ellipses, is_named
from spectool.functions.poles.field_of_values import FieldOfValues
from spectool.functions.scalar import FUNCTIONS, ScalarFunction
from spectool.functions.task import Target, column_norms

EPS = float(np.finfo(np.float64).eps)
PART = 0.01
"""Part of rtol that the eigenvectors' condition may cost."""
MOST_LOST = 1e3
"""What it may cost in any case, in roundoffs."""
POINTS = 256
"""Of a contour."""
ENOUGH = 100.0
"""Roundoffs that a contour may lose without another one being tried."""
ANALYTIC = 1e-8
"""Error at eigenvalues, relative to ``max |f|``, from which a contour holds a singularity."""


@dataclass(frozen=True, eq=False)
class SmallMatrix:
    """A dense matrix H, shape (k, k), with what several functions of it share."""

    H: Array

    @cached_property
    def norm(self) -> float:
        """Frobenius norm; its squares do not overflow."""
        return float(sl.norm(self.H.ravel(), check_finite=False))

    @cached_property
    def eigen(self) -> tuple[Array, Array]:
        """Eigenvalues, shape (k,), and eigenvectors of length 1, shape (k, k)."""
        theta, W = np.linalg.eig(self.H)
        return np.asarray(theta), np.asarray(W)

    @property
    def theta(self) -> Array:
        """Eigenvalues, shape (k,); real where all of them are and H is."""
        return self.eigen[0]

    @cached_property
    def condition(self) -> float:
        """Condition number of the eigenvector matrix; inf where it is singular."""
        sizes = np.linalg.svd(self.eigen[1], compute_uv=False)
        return float(sizes[0] / sizes[-1]) if sizes[-1] > 0 else np.inf

    def perturbed(self, eps: float, rng: np.random.Generator) -> SmallMatrix:
        """Return H with a random error of norm ``eps ||H||`` in each column."""
        E = rng.standard_normal(self.H.shape)
        if self.H.dtype.kind == "c":
            E = (E + 1j * rng.standard_normal(self.H.shape)) / np.sqrt(2.0)
        size = min(self.norm, np.sqrt(len(self.H)) * float(np.abs(self.H).sum(axis=0).max()))
        return SmallMatrix(self.H + (eps * size / np.sqrt(len(self.H))) * E)


class Evaluation(NamedTuple):
    """``f(t H) B`` for H, shape (k, k), and B, shape (k, m).

    Attributes
    ----------
    values : ndarray, shape (k, m)
        float64 where H, t and B are real and ``f(conj z) = conj f(z)``; else complex128.
    lost : float
        Error of a quadrature, which errors in H do not show; absolute.
    """

    values: Array
    lost: float


def function_of(
    target: Target, small: SmallMatrix, B: Array | None = None, *, rtol: float = 1e-12
) -> Evaluation:
    """Compute ``f(t H) B``.

    Parameters
    ----------
    target : Target
        f and t.
    small : SmallMatrix
        H, shape (k, k), finite.
    B : ndarray, shape (k, m), optional
        The first unit vector.
    rtol : float
        Wanted accuracy; decides whether eigenvectors are good enough.

    Returns
    -------
    Evaluation
        ``values`` of shape (k, m).

    Raises
    ------
    InputError
        If the result is not finite, or f takes no complex argument.

    Notes
    -----
    f is evaluated wherever H's eigenvalues lie; ask ``undefined`` first.
    """
    k = len(small.H)
    if B is None:
        B = np.eye(k, 1)
    with np.errstate(all="ignore"):
        values, losses = _by_eigenvectors(target, small, B)
        lost = 0.0
        if not (losses <= max(PART * rtol, MOST_LOST * EPS) * column_norms(values)).all():
            known = Evaluation(values, float(losses.max(initial=0.0)))
            values, lost = _otherwise(target, small, B, known)
        if _reflects(target, small, B):
            values = np.asarray(values.real)
        else:
            values = values.astype(np.complex128)
    if not np.isfinite(values).all():
        raise InputError(
            f"f must be finite on the spectrum; {target} overflows or is undefined on a Krylov "
            f"space of dimension {k}. Rescale t or A."
        )
    return Evaluation(values, lost)


def rounding_of(
    target: Target,
    small: SmallMatrix,
    known: Evaluation,
    eps: float,
    B: Array | None = None,
    *,
    rtol: float = 1e-12,
) -> FloatArray:
    """Estimate how far errors of ``eps ||H||`` in H, the size of rounding, move ``f(t H) B``.

    f is evaluated twice more, with random errors in H: instabilities of the evaluation show, too.

    Returns
    -------
    ndarray, shape (m,)
        Absolute, per column.
    """
    rng, values = np.random.default_rng(602_214_076), known.values
    moved = np.zeros(values.shape[1])
    for _ in range(2):
        try:
            other = function_of(target, small.perturbed(eps, rng), B, rtol=rtol).values
        except (InputError, np.linalg.LinAlgError):
            return np.full(values.shape[1], np.inf)
        moved = np.maximum(moved, column_norms(other - values))
    return np.asarray(2.0 * moved + eps * column_norms(values) + known.lost)


def undefined(target: Target, theta: Array, eps: float) -> tuple[int, str] | None:
    """Return which eigenvalue of H, shape (k,), known to ``eps``, f does not take, and why.

    Roots and logarithms of a matrix that is not Hermitian are principal: they need eigenvalues off
    the closed negative real axis (a root may have them at zero), not a definite matrix.
    """
    f, z = target.function, target.t * theta
    tolerance = 10 * eps * float(np.abs(z).max(initial=0.0))
    cut = (z.real < -tolerance) & (np.abs(z.imag) <= tolerance)
    if f.domain == "any":
        with np.errstate(all="ignore"):
            bad = ~np.isfinite(_values(target, theta))
        reason = "is not finite there"
    elif f.domain == "nonzero":
        distance = np.abs(z.real) if f.name == "sign" else np.abs(z)
        bad = distance <= tolerance
        reason = f"is undefined {'on the imaginary axis' if f.name == 'sign' else 'at zero'}"
    elif f.domain == "positive":
        bad, reason = cut | (np.abs(z) <= tolerance), "is undefined for z <= 0"
    else:
        bad, reason = cut, "is undefined for z < 0"
    if not bad.any():
        return None
    index = int(np.flatnonzero(bad)[0])
    return index, f"{f.name} {reason}, but tA has the Ritz value {_shown(z[index])}"


def domain_error(target: Target, sentence: str) -> BreakdownError | InputError:
    """Return the error to raise where the sentence of ``undefined`` holds for A itself."""
    if target.function.domain == "any":
        return InputError(f"f must be finite on the spectrum: {sentence}. Rescale t or A.")
    return NotPositiveDefiniteError(f"{sentence}. Shift A, or choose another function.")


def _shown(z: complex) -> str:
    return f"{z.real:.6g}" if z.imag == 0 else f"{z:.6g}"


def _values(target: Target, theta: Array) -> Array:
    """Return ``f(t theta)``, principal values for named functions; complex, or real for real f."""
    f = target.function
    z: Array = target.t * theta
    if np.iscomplexobj(z) and not z.imag.any() and f.domain == "any":
        z = z.real
    if f is FUNCTIONS["sign"]:
        return np.sign(z.real)
    if f.domain in ("positive", "nonnegative"):
        z = z.astype(np.complex128)
    try:
        return np.asarray(f.evaluate(z))
    except TypeError as error:
        raise InputError(
            f"f must take complex arrays, since A is not Hermitian; {f.name} does not: {error}"
        ) from error


def _reflects(target: Target, small: SmallMatrix, B: Array) -> bool:
    """Return whether ``f(t H) B`` is real: all is, and ``f(conj z) = conj f(z)`` holds."""
    if np.iscomplexobj(small.H) or np.iscomplexobj(B) or complex(target.t).imag:
        return False
    if is_named(target.function):
        return True
    values = _values(target, small.theta)
    if not np.iscomplexobj(values):
        return True
    scale = 1e-10 * np.abs(values).max(initial=0.0)
    return bool((np.abs(_values(target, small.theta.conj()) - values.conj()) <= scale).all())


def _by_eigenvectors(target: Target, small: SmallMatrix, B: Array) -> tuple[Array, FloatArray]:
    """Return ``f(t H) B`` and what its columns lose by the condition of the eigenvectors."""
    theta, W = small.eigen
    if not small.condition * EPS < 1.0:
        return np.full(B.shape, np.nan), np.full(B.shape[1], np.inf)
    terms = _values(target, theta)[:, None] * np.linalg.solve(W, B)
    lost = EPS * small.condition * column_norms(terms)
    return np.asarray(W @ terms), np.where(np.isfinite(lost), lost, np.inf)


def _otherwise(target: Target, small: SmallMatrix, B: Array, known: Evaluation) -> Evaluation:
    """By name; or on a contour, if that loses less than the values by eigenvectors have."""
    if not is_named(target.function):
        return _by_contour(target, small, B, known)
    Z: Array = target.t * small.H
    if np.iscomplexobj(Z) and not Z.imag.any():
        Z = Z.real
    with warnings.catch_warnings():
        # SciPy warns of singular matrices; the perturbed evaluation measures what is lost.
        warnings.simplefilter("ignore")
        try:
            values = _by_name(target.function, Z, target.t * small.theta, B)
        except (ValueError, np.linalg.LinAlgError):  # overflow, or a singular matrix
            values = np.full(B.shape, np.nan)
    return Evaluation(values, 0.0)


def _by_name(function: ScalarFunction, Z: Array, z: Array, B: Array) -> Array:
    """Compute f(Z) B for a named f and the Z of eigenvalues z."""
    name = function.name
    if name in ("exp", "cosh", "cos"):
        return _cosine(name, Z, z, B)
    if name in ("expm1", "phi1", "phi2", "sinh", "sin", "sinc"):
        return _average(name, Z, z, B)
    size = float(np.abs(Z).max(initial=0.0))
    if size == 0:
        return np.asarray(complex(function.evaluate(0.0)) * B)
    U = Z / size  # homogeneous functions are spared overflow
    if name == "inv":
        return np.linalg.solve(U, B) / size
    if name == "log":
        return np.asarray(sl.logm(U) @ B + np.log(size) * B)
    if name == "sqrt":
        return np.asarray(sl.sqrtm(U) @ B * np.sqrt(size))
    if name == "invsqrt":
        return np.linalg.solve(sl.sqrtm(U), B.astype(np.complex128)) / np.sqrt(size)
    if name == "sign":
        return _sign(U) @ B
    alpha = float(np.log2(function.evaluate(2.0)))  # the name shows six digits of it
    if function.domain in ("any", "nonzero"):
        power = np.linalg.matrix_power(U, abs(round(alpha)))
        values = power @ B if alpha >= 0 else np.linalg.solve(power, B)
    else:
        values = sl.fractional_matrix_power(U, alpha) @ B
    return np.asarray(values * size**alpha)


def _expm(Z: Array, top: float) -> Array:
    """Return exp(Z), ``top`` being the largest real part of its eigenvalues.

    SciPy's loses three digits on the neighbors of large multiples of the identity: it is given
    none, and half of Z, which it squares anyway.
    """
    E = sl.expm(0.5 * (Z - top * np.eye(len(Z))))
    return np.asarray(np.exp(top) * (E @ E))


def _cosine(name: str, Z: Array, z: Array, B: Array) -> Array:
    if name == "exp":
        return _expm(Z, float(z.real.max())) @ B
    factor = 1j if name == "cos" else 1.0
    top = float(np.abs((factor * z).real).max())
    return np.asarray(0.5 * (_expm(factor * Z, top) @ B + _expm(-factor * Z, top) @ B))


def _average(name: str, Z: Array, z: Array, B: Array) -> Array:
    """Functions that are ``phi_p`` of Z or sums of them: nothing cancels where Z is small."""
    if name in ("phi1", "phi2"):
        return _phi(int(name[-1]), Z, z, B)
    if name == "expm1":
        return np.asarray(Z @ _phi(1, Z, z, B))
    factor = 1.0 if name == "sinh" else 1j
    mean = 0.5 * (_phi(1, factor * Z, factor * z, B) + _phi(1, -factor * Z, -factor * z, B))
    return mean if name == "sinc" else np.asarray(Z @ mean)


def _phi(p: int, Z: Array, z: Array, B: Array) -> Array:
    """``phi_p(Z) B`` is a block of the exponential of ``[[Z, B, 0], [0, 0, I], [0, 0, 0]]``."""
    k, m = B.shape
    bordered = np.zeros((k + p * m, k + p * m), dtype=np.result_type(Z, B))
    bordered[:k, :k] = Z
    scale = max(float(np.abs(B).max(initial=0.0)), 1e-300)
    bordered[:k, k : k + m] = B / scale
    for j in range(1, p):
        bordered[k + (j - 1) * m : k + j * m, k + j * m : k + (j + 1) * m] = np.eye(m)
    E = _expm(bordered, max(float(z.real.max()), 0.0))
    return np.asarray(E[:k, k + (p - 1) * m :] * scale)


def _sign(X: Array) -> Array:
    """Newton's iteration, scaled by determinants."""
    k = len(X)
    for iteration in range(100):
        Y = np.linalg.inv(X)
        mu = 1.0
        if iteration < 20:
            mu = float(np.exp(-np.linalg.slogdet(X)[1] / k))
        following = 0.5 * (mu * X + Y / mu)
        change = float(np.abs(following - X).sum(axis=0).max())
        X = following
        if iteration and change <= 10 * k * EPS * float(np.abs(X).sum(axis=0).max()):
            break
    return X


def _regions(z: Array, T: Array) -> Iterator[FieldOfValues]:
    """Yield polygons around eigenvalues and field of values; the second is seldom needed."""
    yield FieldOfValues.around(z)
    yield FieldOfValues.of(T)


def _by_contour(target: Target, small: SmallMatrix, B: Array, best: Evaluation) -> Evaluation:
    """Return the Cauchy integral that loses least, if that is less than ``best`` does.

    Half of the points err by the difference of the halves, all of them by about its square.
    """
    T, Q = sl.schur(target.t * small.H, output="complex")
    C, unit, z = Q.conj().T @ B, np.eye(len(T)), np.diagonal(T)
    exact = _values(target, z / target.t)
    contours = (
        contour
        for region in _regions(z, T)
        for contour in ellipses(target.function, region, POINTS)
    )
    for _, poles, residues in contours:
        # A singularity inside spoils the integral for numbers, too.
        gap = np.abs((residues / (z[:, None] - poles)).sum(axis=1) - exact).max()
        if not gap <= ANALYTIC * float(np.abs(exact).max()):
            continue
        halves, size = np.zeros((2, *B.shape), dtype=np.complex128), 0.0
        for q, (pole, residue) in enumerate(zip(poles, residues, strict=True)):
            X = residue * sl.solve_triangular(T - pole * unit, C, check_finite=False)
            halves[q % 2] += X
            size += float(np.linalg.norm(X))
        error = float(np.linalg.norm(halves[0] - halves[1])) ** 2 / max(size, 1e-300) + EPS * size
        if error < best.lost:
            best = Evaluation(Q @ (halves[0] + halves[1]), error)
            if error <= ENOUGH * EPS * float(np.linalg.norm(best.values)):
                break
    return best
