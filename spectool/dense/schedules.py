"""Which steps the classical methods take, with which values: generators that look at the run.

They know bounds of the spectrum: estimated by norms of X and of its inverse where that is at hand,
else ``lower``.

Source
    As named at each kind, and: Byers and Xu, SIAM J. Matrix Anal. Appl. 30 (2008) (scaled Newton);
    Higham, Functions of Matrices, SIAM 2008, section 5.5 (scaling by norms for the sign) and (6.29)
    (by determinants for the square root); Nakatsukasa and Freund, SIAM Rev. 58 (2016) (Zolotarev);
    Chen and Chow, ANL/MCS-P5059-0114 (2014); Amsel, Persson, Musco and Gower, arXiv:2505.16932.
Deviations
    (1) Minimax polynomials begin with the bound ``lower``; where a matrix has not arrived at the
    end, they are repeated for all that rounding can tell from zero. (2) Newton's iterations for
    general A watch the condition of what they invert: an eigenvalue close to the imaginary axis
    shows there, and nowhere else. (3) The product form of Denman and Beavers is scaled as Newton's
    iteration on ``M^(1/2)``, by the norms of M and its inverse.
Cost
    See ``Step.cost``; estimates of bounds that cost an inverse are counted beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from spectool._types import Array, FloatArray
from spectool.dense import coefficients as tables
from spectool.dense.accuracy import widened
from spectool.dense.algebra import Cost, Tensor
from spectool.dense.door import to_host
from spectool.dense.gauss import norm_estimate
from spectool.dense.iterations import find_kind
from spectool.dense.problems import norm_bound
from spectool.dense.run import Run, is_singular
from spectool.dense.steps import Step
from spectool.errors import BreakdownError

__all__ = [
    "Schedule",
    "chen_chow",
    "classical",
    "coupled",
    "gawlik",
    "minimax",
    "of_first",
    "of_product",
    "qdwh",
    "scaled_db",
    "scaled_newton",
    "table",
    "visser_then_schulz",
    "watched",
    "zolotarev",
]

Schedule: TypeAlias = Callable[[Run, float], Iterator[Step]]
"""Steps by the run and a lower bound of singular values, or of the roots of eigenvalues."""
NO_DIGITS = 0.1
"""``eps cond(X)`` beyond which a Newton step has no digit left."""
CLOSE = 1e-2
"""Relative change of X below which scaling ends."""
ARRIVED = 0.9
"""``||R||_F`` at which unscaled steps take over; they converge below 1."""
NEAR = 0.5
"""Estimated ``||R||_2`` at which they do so in large matrices, whose Frobenius norms say little."""
SEEN, RESOLVED = 0.5, 0.02
"""Part of the least Ritz value that is taken for a bound; what Ritz values do not resolve."""
MOST_TRIED = 4
"""Bounds that are tried before the one that rounding sets."""
CUSHION = 0.024
"""Steps are best down to this part of the largest singular value (its p-th power in Y): steeper
ones save a few per cent, and cost the digits of what they take down to the lower end."""
DISTANCE = 0.05
"""Distance from 1 of the bound at which unscaled steps take over."""
MARGIN = (4.0, 1000.0)
"""Multiples of eps by which upper bounds are enlarged against rounding: in half precision, and in
others, where what exceeds a bound grows 13 times per step."""
HALF = 1e-4
"""Rounding of half precisions is larger."""
MOST_TERMS = 8
"""Of Zolotarev's functions."""
MOST_STEPS = 60
"""Of one round of minimax polynomials."""
WARM_UP = 6
"""Visser's steps before Newton-Schulz."""


def _values(rows: Sequence[Sequence[float]], run: Run) -> tuple[Any, ...]:
    """Turn values for each matrix, one row each, into numbers or arrays (...)."""
    batch = tuple(run.variables.X.shape[:-2])
    if not batch:
        return tuple(float(value) for value in rows[0])
    return tuple(np.reshape(np.asarray(column), batch) for column in zip(*rows, strict=True))


def _sizes(run: Run, X: Tensor) -> FloatArray:
    """Return bounds of ``||X||_2`` for each matrix, shape (k,)."""
    return np.atleast_1d(to_host(norm_bound(run.algebra, X)).astype(np.float64)).ravel()


def _inverse_sizes(run: Run, X: Tensor) -> FloatArray:
    """Return bounds of ``||X^-1||_2``; raises BreakdownError where rounding made it meaningless."""
    sizes = _sizes(run, run.algebra.inverse(X))
    eps = float(run.algebra.xp.finfo(X.dtype).eps)
    if not (eps * sizes * _sizes(run, X) < NO_DIGITS / eps**0.5).all():
        raise BreakdownError("a matrix is singular to working precision")
    return sizes


def _watch(run: Run, X: Tensor) -> tuple[FloatArray, FloatArray]:
    """Return bounds of the norms of X and its inverse, which the step computes anyway.

    Raises BreakdownError where X has no digit left: for general A an eigenvalue has come too close
    to the imaginary axis. Hermitian matrices have no such eigenvalues.
    """
    upper, lower = _sizes(run, X), _inverse_sizes(run, X)
    general = not (run.algebra.hermitian or run.algebra.adjoint)
    eps = float(run.algebra.xp.finfo(X.dtype).eps)
    if general and not (eps * upper * lower < NO_DIGITS).all():
        raise BreakdownError("an eigenvalue is within rounding of where the function is undefined")
    return upper, lower


def _lower_bounds(run: Run, X: Tensor) -> FloatArray:
    """Return lower bounds of singular values by an inverse, shape (k,), at least of order eps."""
    o = run.algebra
    if X.shape[-2] > X.shape[-1]:
        X = o.xp.linalg.qr(widened(X))[1]
    run.overhead = run.overhead.plus(Cost(inverses=1.0))
    smallest = 0.125 * float(o.xp.finfo(X.dtype).eps)
    try:
        found = 1.0 / _sizes(run, o.inverse(X))
    except (np.linalg.LinAlgError, RuntimeError) as error:
        if not is_singular(error):
            raise
        found = np.full(int(np.prod(X.shape[:-2])), smallest)
    return np.clip(np.nan_to_num(found, nan=smallest), smallest, 1.0)


class _Change:
    """Whether all X have nearly stopped."""

    def __init__(self) -> None:
        self.before: Tensor | None = None

    def is_small(self, run: Run) -> bool:
        X, before, self.before = run.variables.X, self.before, run.variables.X
        if before is None:
            return False
        o = run.algebra
        change = to_host(o.norm(o.combine((1.0, X), (-1.0, before))))
        return bool((change <= CLOSE * to_host(o.norm(X))).all())


def classical(name: str) -> Schedule:
    """Return a schedule of the literature's values."""

    def schedule(run: Run, lower: float) -> Iterator[Step]:
        del run, lower
        step = find_kind(name).step()
        while True:
            yield step

    return schedule


def watched(name: str, inverted: Callable[[Run], Tensor]) -> Schedule:
    """Return a schedule of the literature's values that looks at what is inverted."""

    def schedule(run: Run, lower: float) -> Iterator[Step]:
        del lower
        step = find_kind(name).step()
        while True:
            _watch(run, inverted(run))
            yield step

    return schedule


def scaled_newton(name: str, inverted: Callable[[Run], Tensor], power: float) -> Schedule:
    """Scale by Byers and Xu's sequence, or by norms for general A.

    Bounds are those of what is inverted, to ``power``: 1/2 where that is M with X of size M^(1/2).
    """

    def schedule(run: Run, lower: float) -> Iterator[Step]:
        del lower
        kind = find_kind(name)
        upper, inverse = _watch(run, inverted(run))
        if run.algebra.hermitian or run.algebra.adjoint:
            sequences = [
                tables.byers_xu(max(u, 1.0 / w), 1.0 / w)
                for u, w in zip(upper**power, inverse**power, strict=True)
            ]
            while True:
                scales = [next(sequence) for sequence in sequences]
                yield kind.step(*_values([(0.5 * s, 0.5 / s) for s in scales], run))
        change = _Change()
        while not change.is_small(run):
            z = (inverse / upper) ** (0.5 * power)
            yield kind.step(*_values([(0.5 * s, 0.5 / s) for s in z], run))
            upper, inverse = _watch(run, inverted(run))
        while True:
            yield kind.step()
            _watch(run, inverted(run))

    return schedule


def scaled_db(run: Run, lower: float) -> Iterator[Step]:
    """Scale by determinants, ``mu = |det X det Y|^(-1/2n)``."""
    del lower
    o, kind, change = run.algebra, find_kind("sqrt.denman_beavers"), _Change()

    def logarithm(X: Tensor) -> FloatArray:
        found = o.xp.linalg.slogdet(widened(X))[1]
        return np.atleast_1d(to_host(found).astype(np.float64)).ravel()

    of_A = logarithm(run.variables.A)
    while not change.is_small(run):
        _watch(run, run.variables.X)
        # X = A Y
        mu = np.exp((of_A - 2.0 * logarithm(run.variables.X)) / (2.0 * _order(run)))
        if not np.isfinite(mu).all():
            raise BreakdownError("a matrix is singular to working precision")
        run.overhead = run.overhead.plus(Cost(inverses=1.0 / 3.0))
        yield kind.step(*_values([(0.5 * s, 0.5 / s) for s in mu], run))
    while True:
        _watch(run, run.variables.X)
        yield kind.step()


def _order(run: Run) -> int:
    """Return n."""
    return int(run.variables.X.shape[-1])


def chen_chow(name: str) -> Schedule:
    """Return a schedule of scaled Newton-Schulz steps."""

    def schedule(run: Run, lower: float) -> Iterator[Step]:
        kind = find_kind(name)
        del run
        for values in tables.chen_chow(lower):
            yield kind.step(*values)

    return schedule


def qdwh(run: Run, lower: float) -> Iterator[Step]:
    """Weight Halley's steps by the bound, dynamically."""
    del lower
    kind = find_kind("sign.halley")
    bounds = _lower_bounds(run, run.variables.X)
    while True:
        rows = [tables.qdwh(bound) for bound in bounds]
        yield kind.step(*_values(rows, run))
        bounds = np.asarray(
            [tables.halley_interval(row, b)[0] for row, b in zip(rows, bounds, strict=True)]
        )


def zolotarev(run: Run, lower: float) -> Iterator[Step]:
    """Take the fewest terms with which two steps are enough."""
    del lower
    kind = find_kind("sign.zolotarev")
    bounds = _lower_bounds(run, run.variables.X)
    eps = float(run.algebra.xp.finfo(run.variables.X.dtype).eps)
    r = MOST_TERMS
    for terms in range(1, MOST_TERMS):
        ends = _images(_images(bounds, terms), terms)
        if (1.0 - ends <= eps).all():
            r = terms
            break
    while True:
        (values,) = _values([(bound,) for bound in bounds], run)
        yield kind.step(values, float(r))
        bounds = _images(bounds, r)


def _images(bounds: FloatArray, r: int) -> FloatArray:
    return np.asarray([min(float(tables.zolotarev(b, r)(b)), 1.0) for b in bounds])


def minimax(name: str) -> Schedule:
    """Polar Express, and its like for every root: the best quadratics in Y on its interval."""

    def schedule(run: Run, lower: float) -> Iterator[Step]:
        kind, family = find_kind(name), run.problem.family
        p = 2 if family == "sign" else run.variables.p
        eps = float(run.algebra.xp.finfo(run.variables.X.dtype).eps)
        first = max(lower**2, eps**2)  # in terms of S, or Y
        smallest = eps / _order(run)
        last = min(smallest**2 if family in ("sign", "inv") else smallest, 0.1 * first)
        best = kind.step(*kind.classical(p))
        arrived = np.zeros(max(int(np.prod(run.variables.X.shape[:-2])), 1), dtype=bool)
        upper, margin = 1.0, MARGIN[1 if eps < HALF else 0] * eps
        bound, tried = first, set[float]()
        while bound not in tried:
            tried.add(bound)
            stage, upper = _stage(bound, upper, p, margin)
            for values in stage:
                rows = [best.values if there else values for there in arrived]
                yield kind.step(*_values(rows, run))
            arrived, seen = _arrived(run)
            while arrived.all():
                yield best
                arrived |= _arrived(run)[0]
            # What a few Ritz values see first, and then whatever there may be.
            bound = SEEN * seen if seen > RESOLVED and len(tried) < MOST_TRIED else last
        raise BreakdownError("a matrix is singular to working precision")

    return schedule


@lru_cache(maxsize=256)
def _stage(
    lower: float, upper: float, p: int, margin: float
) -> tuple[tuple[tuple[float, float, float], ...], float]:
    """Return coefficients that take [lower, upper] close to 1, as spectrum of Y, and its upper end.

    The unscaled steps after it do not move that end up.
    """
    steps: list[tuple[float, float, float]] = []
    while max(upper - 1.0, 1.0 - lower) > DISTANCE and len(steps) < MOST_STEPS:
        upper *= 1.0 + margin
        coefs = tables.optimal_quadratic(max(lower, CUSHION**p * upper), upper, p)
        steps.append(coefs)
        a, b, c = coefs
        _, upper = tables.root_interval(coefs, lower, upper, p)
        lower = min(lower * (a + b * lower + c * lower * lower) ** p, 1.0)
    return tuple(steps), upper


def _arrived(run: Run) -> tuple[Array, float]:
    """Return which matrices are close to the limit, shape (k,), and the least eigenvalue of Y seen.

    It is 1 less the largest Ritz value of R; 0 where nobody looked.
    """
    norms = np.atleast_1d(run.residual_norms()).ravel() * _order(run) ** 0.5
    arrived, seen = np.asarray(norms < ARRIVED), 0.0
    if not arrived.all() and np.isfinite(norms).all():
        R = widened(run.residual())
        estimates = np.atleast_1d(to_host(norm_estimate(R, np.random.default_rng(0)))).ravel()
        arrived |= estimates < NEAR
        seen = 1.0 - float(estimates[~arrived].max(initial=0.0))
    return arrived, seen


def table(steps: Sequence[Sequence[float]]) -> Schedule:
    """Return a schedule that ends: quintics of three values, cubics of two."""

    def schedule(run: Run, lower: float) -> Iterator[Step]:
        del run, lower
        for values in steps:
            yield find_kind("sign.quintic" if len(values) == 3 else "sign.newton_schulz").step(
                *values
            )

    return schedule


def visser_then_schulz(run: Run, lower: float) -> Iterator[Step]:
    """Take the first steps by Visser's iteration, which keeps the coupling."""
    for _ in range(WARM_UP):
        yield find_kind("sqrt.visser_coupled").step()
    yield from classical("sqrt.newton_schulz")(run, lower)


def coupled(name: str) -> Schedule:
    """Scale Y to ``||Y|| <= (p + 1) / 2`` in the first step, as Newton's iteration allows."""

    def schedule(run: Run, lower: float) -> Iterator[Step]:
        del lower
        p = run.variables.p
        kind = find_kind(name)
        a, b = find_kind("inverse_root.newton").classical(p)
        z = 0.5 * (p + 1.0)
        yield find_kind("inverse_root.newton").step(z ** (1.0 / p) * a, z ** (1.0 / p) * z * b)
        while True:
            yield kind.step()

    return schedule


def gawlik(run: Run, lower: float) -> Iterator[Step]:
    """Take the best rational steps of type (1, 0)."""
    del lower
    kind, p = find_kind("inverse_root.gawlik"), run.variables.p
    bounds = _lower_bounds(run, run.variables.A) ** (1.0 / p)
    sequences = [tables.gawlik(float(bound), p) for bound in bounds]
    while True:
        yield kind.step(*_values([next(sequence) for sequence in sequences], run))


def of_first(run: Run) -> Tensor:
    """Return X."""
    return run.variables.X


def of_product(run: Run) -> Tensor:
    """Return ``M = Y X``."""
    return run.algebra.multiply(run.variables.Y, run.variables.X)
