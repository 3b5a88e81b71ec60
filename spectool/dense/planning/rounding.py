r"""How rounding errors travel through steps: a first-order model on pairs of eigenvalues.

Iterates that should commute do not, by rounding. Seen in the eigenvectors of A, the entry (i, j) of
an error obeys the step's derivative, which is the off-diagonal entry d of

    f([[u, d], [0, v]]) = [[f(u), d'], [0, f(v)]],   u, v = eigenvalues i and j.

``PairAlgebra`` computes with (u, v, d), for many pairs and many independent sources of errors at
once; each product, inverse and division adds a source of its own. A step that is stable keeps d
small; Newton's iteration for square roots multiplies it by ``|1 - a_i / (x_i x_j)| / 2``.

Source
    Higham, Functions of Matrices, SIAM 2008, sections 4.9.4 and 6.4 (stability by the Frechet
    derivative); Mathias, SIAM J. Matrix Anal. Appl. 17 (1996) (f of block triangular matrices).
Deviations
    Errors are independent and of typical, not of largest size; what OpenBLAS was seen to commit in
    float32 sets their constants.
Cost
    A step on ``NODES^2`` pairs, 30 to 80 us.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spectool._types import FloatArray
from spectool.dense.algebra import CHOLESKY, Coefficient
from spectool.dense.problems import Problem
from spectool.dense.steps import Step, Variables

__all__ = ["FLOOR", "Noise", "Pairs", "RoundingModel"]

NODES = 6
"""Eigenvalues that stand for the spectrum."""
SOURCES = 10
"""Independent errors followed through one step; the last takes what comes after it."""
PRODUCT = 0.15
"""Entries of the error of a product, in units of ``eps rms(X) rms(Y)``, rms over eigenvalues."""
BACKWARD = 0.2
"""Entries of the backward error of LU and Cholesky, in units of ``eps rms(W) / sqrt(n)``."""
FORWARD = 0.1
"""Entries of the further error of a solution, in units of ``eps rms(X)``."""

FLOOR = 2.0
"""Multiple of ``eps sqrt(n)`` of a residual that is granted to rounding."""


class Pairs(NamedTuple):
    """Matrices ``[[u, d], [0, v]]``, one per pair; d of each source, shape (sources, pairs)."""

    u: FloatArray
    v: FloatArray
    d: FloatArray


class Noise(NamedTuple):
    """Errors of X and Y by pairs, as two independent sources: shape (2, 2, pairs), [variable]."""

    X: FloatArray
    Y: FloatArray


class PairAlgebra:
    """The algebra of ``Pairs``; adds a source per operation.

    Parameters
    ----------
    weights : ndarray, shape (pairs,)
        Of the pairs, ``w_i w_j``.
    eps : float
        Unit of rounding.
    n : int
        Order of the matrices.
    used : int
        Sources in use.
    """

    def __init__(self, weights: FloatArray, eps: float, n: int, used: int) -> None:
        self.weights, self.eps, self.n, self.used = weights, eps, n, used
        self._known: list[tuple[str, Pairs, Pairs, Pairs]] = []

    def _rms(self, u: FloatArray) -> float:
        return float(np.sqrt(self.weights @ (u * u)))

    def _noisy(self, made: Pairs, *amplitudes: Any) -> Pairs:
        """Add a source with the root of the sum of squares of the amplitudes."""
        total = sum(np.square(amplitude) for amplitude in amplitudes)
        d = made.d
        if self.used < SOURCES:
            d[self.used] = np.sqrt(total)
            self.used += 1
        else:
            d[-1] = np.sqrt(d[-1] ** 2 + total)
        return made

    def multiply(self, X: Pairs, Y: Pairs) -> Pairs:
        """``X Y``."""
        for name, first, second, product in self._known:
            if name == "product" and first is X and second is Y:
                return product
        made = Pairs(X.u * Y.u, X.v * Y.v, X.u * Y.d + X.d * Y.v)
        if not _is_identity(X) and not _is_identity(Y):
            amplitude = PRODUCT * self.eps * self._rms(X.u) * self._rms(Y.u)
            made = self._noisy(made, amplitude)
        self._known.append(("product", X, Y, made))
        return made

    def combine(self, *terms: tuple[Coefficient, Pairs], shift: Coefficient = 0.0) -> Pairs:
        """``sum c X + shift I``."""
        u = sum(c * X.u for c, X in terms) + shift
        v = sum(c * X.v for c, X in terms) + shift
        return Pairs(np.asarray(u), np.asarray(v), np.asarray(sum(c * X.d for c, X in terms)))

    def identity(self, X: Pairs) -> Pairs:
        """I, without error."""
        return Pairs(np.ones_like(X.u), np.ones_like(X.v), np.zeros_like(X.d))

    def adjoint_of(self, X: Pairs) -> Pairs:
        """Return X: it is Hermitian, but for the errors, of which only the size counts."""
        return X

    def square(self, X: Pairs) -> Pairs:
        """``X X``."""
        return self.multiply(X, X)

    def reciprocal(self, X: Pairs) -> Pairs:
        """``X^-1``."""
        for name, first, _, product in self._known:
            if name == "inverse" and first is X:
                return product
        made = self._quotient(self.identity(X), X)
        self._known.append(("inverse", X, X, made))
        return made

    def divide(self, X: Pairs, W: Pairs, *, definite: bool = False) -> Pairs:
        """``X W^-1``."""
        del definite
        return self._quotient(X, W)

    def _quotient(self, X: Pairs, W: Pairs) -> Pairs:
        ratio = X.u / W.u
        made = Pairs(ratio, X.v / W.v, (X.d - ratio * W.d) / W.v)
        backward = BACKWARD * self.eps * self._rms(W.u) / np.sqrt(self.n)
        return self._noisy(made, backward * ratio / W.v, FORWARD * self.eps * self._rms(ratio))

    def damp(self, X: Pairs, c: Coefficient) -> Pairs:
        """``X (I + c X^2)^-1``; by QR, which is stable, for large c."""
        if float(np.max(c)) <= CHOLESKY:
            return self.divide(X, self.combine((c, self.square(X)), shift=1.0))
        weight_u, weight_v = 1.0 + c * X.u**2, 1.0 + c * X.v**2
        made = Pairs(
            X.u / weight_u, X.v / weight_v, X.d * (1.0 - c * X.u * X.v) / (weight_u * weight_v)
        )
        return self._noisy(made, PRODUCT * self.eps / np.sqrt(c))

    def symmetric(self, X: Pairs) -> Pairs:
        """Return X."""
        return X


def _is_identity(X: Pairs) -> bool:
    return bool((X.u == 1.0).all() and (X.v == 1.0).all() and not X.d.any())


class RoundingModel:
    """Follows the errors of an iteration on a spectrum.

    Parameters
    ----------
    problem : Problem
        The function.
    A : ndarray, shape (k,)
        Scaled eigenvalues, or singular values.
    weights : ndarray, shape (k,)
        Fractions of the spectrum; they add up to 1. Eigenvalues of weight 0 do not count.
    eps : float
        Rounding of the data type.
    n : int
        Order of the matrices.
    """

    def __init__(
        self, problem: Problem, A: FloatArray, weights: FloatArray, eps: float, n: int
    ) -> None:
        self.problem, self.eps, self.n = problem, eps, n
        counted = np.flatnonzero(weights > 0)
        chosen, share = _representatives(A[counted], weights[counted])
        self.chosen = counted[chosen]
        q = self.chosen.size
        self._first = np.repeat(np.arange(q), q)
        self._second = np.tile(np.arange(q), q)
        self._signs = np.ones(q * q)
        pair_weights = share[self._first] * share[self._second]
        mixed = problem.function == "sign" and A.min() < 0.0 < A.max()
        if problem.function == "polar" or mixed:
            # X = U S V^H behaves like [[0, X], [X^H, 0]], with eigenvalues +-s; for the sign,
            # eigenvalues of both signs are taken to come equally close to zero.
            self._first, self._second = np.tile(self._first, 2), np.tile(self._second, 2)
            self._signs = np.repeat([1.0, -1.0], q * q)
            pair_weights = 0.5 * np.tile(pair_weights, 2)
        self.weights = pair_weights
        a = self._pairs(A, None)
        self.size = float(np.sqrt(pair_weights @ (a.u * a.u)))

    def quiet(self) -> Noise:
        """Return no errors."""
        nothing = np.zeros((2, self.weights.size))
        return Noise(nothing, nothing)

    def _pairs(self, x: FloatArray, noise: FloatArray | None) -> Pairs:
        d = np.zeros((SOURCES, self.weights.size))
        if noise is not None:
            d[:2] = noise
        kept = x[self.chosen]
        return Pairs(kept[self._first], kept[self._second] * self._signs, d)

    def _variables(self, v: Variables, noise: Noise) -> tuple[PairAlgebra, Variables]:
        o = PairAlgebra(self.weights, self.eps, self.n, 2)
        Y = None if v.Y is None else self._pairs(v.Y, noise.Y)
        return o, Variables(self._pairs(v.X, noise.X), Y, self._pairs(v.A, None), v.p)

    def step(self, step: Step, v: Variables, noise: Noise) -> Noise:
        """Return the errors after a step from v."""
        o, pairs = self._variables(v, noise)
        made = step(o, pairs)
        if made.Y is None:
            return Noise(_two(made.X.d, None)[0], self.quiet().Y)
        X, Y = _two(made.X.d, made.Y.d)
        return Noise(X, Y)

    def of_residual(self, v: Variables, noise: Noise) -> float:
        """Return the typical ``||R||_F / sqrt(n)`` that errors leave; relative for uncoupled X."""
        o, pairs = self._variables(v, noise)
        R = self.problem.residual(o, pairs)
        size = self.size if v.Y is None and self.problem.family in ("sqrt", "root") else 1.0
        return self._norm(R.d) / size

    def of_answer(self, v: Variables, noise: Noise) -> float:
        """Return the typical relative error ``||dX||_F / ||X||_F`` of the answer."""
        answer, errors = (v.Y, noise.Y) if self.problem.function == "invsqrt" else (v.X, noise.X)
        if answer is None:
            return float("inf")
        x = answer[self.chosen][self._first]
        return self._norm(errors) / float(np.sqrt(self.weights @ (x * x)))

    def inherent(self, A: FloatArray, limit: FloatArray) -> float:
        """Return the relative error that rounding of A alone leaves in the answer."""
        a, f = A[self.chosen], limit[self.chosen]
        signs = self._signs
        if self.problem.function == "invsqrt":
            f = 1.0 / f
        u, v = a[self._first], a[self._second] * signs
        gap = u - v
        near = np.abs(gap) <= 1e-6 * (np.abs(u) + np.abs(v))
        safe = np.where(near, 1.0, gap)
        difference = (f[self._first] - f[self._second] * signs) / safe
        # f' where the pair is one eigenvalue: f is a power, or constant.
        exponent = {"sign": 0.0, "polar": 0.0, "inv": -1.0, "invsqrt": -0.5}.get(
            self.problem.function,
            (-1.0 if self.problem.function == "inverse_root" else 1.0) / self.problem.p,
        )
        difference = np.where(near, exponent * f[self._first] / u, difference)
        backward = PRODUCT * self.eps * self.size
        size = float(np.sqrt(self.weights @ f[self._first] ** 2))
        return self._norm((backward * difference)[None, :]) / size

    def _norm(self, d: FloatArray) -> float:
        """Return ``||E||_F / sqrt(n)`` of errors with entries d: ``sqrt(n)`` times their rms."""
        return float(np.sqrt(self.n * (self.weights @ np.square(d).sum(axis=0))))


def _representatives(A: FloatArray, weights: FloatArray) -> tuple[np.ndarray[Any, Any], FloatArray]:
    """Return indices of eigenvalues that stand for all, and the fractions they stand for."""
    order = np.argsort(np.abs(A), kind="stable")
    cumulated = np.cumsum(weights[order])
    cumulated /= cumulated[-1]
    # The ends matter most for how errors grow.
    wanted = np.asarray([0.0, 0.02, 0.15, 0.5, 0.85, 1.0])[:NODES]
    places = np.unique(np.minimum(np.searchsorted(cumulated, wanted), A.size - 1))
    places[-1] = A.size - 1
    places = np.unique(places)
    bounds = np.concatenate([[0.0], 0.5 * (cumulated[places[1:]] + cumulated[places[:-1]]), [1.0]])
    first = float(weights[order][0])
    share = np.diff(bounds)
    if share.size > 1:
        spare = max(share[0] - max(first, 0.02), 0.0)
        share[0] -= spare
        share[1] += spare
    return order[places], np.asarray(share)


def _two(dX: FloatArray, dY: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return two sources with the covariances of many: shape (2, pairs) for each variable."""
    xx = np.square(dX).sum(axis=0)
    first = np.sqrt(xx)
    nothing = np.zeros_like(first)
    if dY is None:
        return np.stack([first, nothing]), np.stack([nothing, nothing])
    xy, yy = (dX * dY).sum(axis=0), np.square(dY).sum(axis=0)
    along = np.where(first > 0, xy / np.where(first > 0, first, 1.0), 0.0)
    across = np.sqrt(np.maximum(yy - along * along, 0.0))
    return np.stack([first, nothing]), np.stack([along, across])
