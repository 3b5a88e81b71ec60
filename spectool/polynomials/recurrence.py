"""The noun in the middle: a polynomial carried as an executable three-term recurrence.

Source
    Clenshaw, A note on the summation of Chebyshev series, MTAC 9 (1955); Smoktunowicz, Backward
    stability of Clenshaw's algorithm, BIT 42 (2002), for the transposed form.
Deviations
    One noun serves every basis; sums and products of unlike bases go through a Chebyshev series.
Cost
    Degree matvecs for either execution; Clenshaw writes one vector less per step.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from spectool._types import Array, FloatArray, Interval
from spectool.errors import InputError
from spectool.polynomials.nodes import (
    chebyshev_coefficients,
    chebyshev_points,
    checked_interval,
)

# Forward execution is preferred once Clenshaw's intermediate values outgrow it by this factor.
GROWTH_MARGIN = 8.0


def _frozen(values: Any, name: str) -> FloatArray:
    raw = np.asarray(values)
    if raw.dtype.kind == "c":
        raise InputError(f"{name} must be real; got {raw.dtype}. Pair conjugate roots instead.")
    try:
        array = np.array(raw, dtype=np.float64, ndmin=1)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numeric; got {raw.dtype} values.") from None
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional; got shape {array.shape}.")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"{name} must be finite; {name}[{bad}] is {array[bad]}.")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=False, eq=False, repr=False)
class Recurrence:
    r"""A polynomial p of degree d as a three-term recurrence.

    .. math::

        v_{-1} = 0,\quad v_0 = x,\quad v_{k+1} = (a_k A + b_k I) v_k + c_k v_{k-1},\qquad
        p(A) x = \sum_{k=0}^{d} w_k v_k .

    The same numbers run two ways. *Forward*, as written; and *Clenshaw*, its transposition
    ``u_k = w_k x + (a_k A + b_k) u_{k+1} + c_{k+1} u_{k+2}`` with ``p(A) x = u_0``, which writes
    one vector less per step. ``order`` names the one that is stable on ``interval``.

    Parameters
    ----------
    a, b, c : array_like, shape (d,)
        Recurrence coefficients; ``c[0]`` multiplies zero.
    w : array_like, shape (d + 1,)
        Weights of the basis vectors.
    interval : tuple of float
        ``(lower, upper)``: where the polynomial was designed to be used.
    name : str
        One line that says what this polynomial is.

    Raises
    ------
    InputError
        If lengths disagree, a coefficient is not finite, or the interval is empty.

    Notes
    -----
    Cost of ``p(A) x``: d matvecs and 3 vectors beside x; no inner products.
    Immutable, picklable, JSON round-trip without loss.

    Examples
    --------
    >>> from spectool.polynomials import chebyshev_series
    >>> p = chebyshev_series([0.0, 0.0, 1.0], (-1.0, 1.0))  # T_2(x) = 2 x^2 - 1
    >>> p.degree, p(0.5), (2 * p)(1.0)
    (2, -0.5, 2.0)
    """

    a: FloatArray
    b: FloatArray
    c: FloatArray
    w: FloatArray
    interval: Interval
    name: str = "polynomial"

    def __post_init__(self) -> None:
        for field in ("a", "b", "c", "w"):
            object.__setattr__(self, field, _frozen(getattr(self, field), field))
        object.__setattr__(self, "interval", checked_interval(self.interval))
        d = self.w.size - 1
        if d < 0 or not (self.a.size == self.b.size == self.c.size == d):
            raise InputError(
                "a, b, c need length d and w length d + 1; got "
                f"{self.a.size}, {self.b.size}, {self.c.size} and {self.w.size}."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.a, self.b, self.c, self.w, self.interval, self.name))

    def __repr__(self) -> str:
        lower, upper = self.interval
        return f"<Recurrence {self.name!r}: degree {self.degree} on [{lower:.4g}, {upper:.4g}]>"

    @property
    def degree(self) -> int:
        """Products with A that one application costs."""
        return self.w.size - 1

    # -- evaluation ------------------------------------------------------------------------

    def __call__(self, x: Any, *, order: str | None = None) -> Any:
        """Evaluate ``p(x)`` elementwise; a scalar gives a float, an array its own shape.

        Parameters
        ----------
        x : float, complex or array_like
            Points, in the unit of A's eigenvalues.
        order : {"clenshaw", "forward"}, optional
            Execution; the stable one by default.
        """
        if order not in (None, "clenshaw", "forward"):
            raise InputError(f"order must be 'clenshaw' or 'forward'; got {order!r}.")
        points = np.asarray(x)
        if points.dtype.kind not in "fc":
            points = points.astype(np.float64)
        values = (
            self._clenshaw(points) if (order or self.order) == "clenshaw" else self._forward(points)
        )
        return values if points.ndim else values.item()

    def _clenshaw(self, x: Array) -> Array:
        u = np.full_like(x, self.w[-1])
        later = np.zeros_like(x)
        for k in range(self.degree - 1, -1, -1):
            c = self.c[k + 1] if k + 1 < self.degree else 0.0
            u, later = self.w[k] + (self.a[k] * x + self.b[k]) * u + c * later, u
        return u

    def _forward(self, x: Array) -> Array:
        v, earlier = np.ones_like(x), np.zeros_like(x)
        total = np.full_like(x, self.w[0])
        for k in range(self.degree):
            v, earlier = (self.a[k] * x + self.b[k]) * v + self.c[k] * earlier, v
            total = total + self.w[k + 1] * v
        return total

    def basis(self, x: Any) -> FloatArray:
        """Evaluate the basis polynomials ``v_0 .. v_d`` at x, shape (d + 1, len(x))."""
        points = np.atleast_1d(np.asarray(x, dtype=np.float64))
        rows = np.empty((self.degree + 1, points.size))
        rows[0] = 1.0
        for k in range(self.degree):
            rows[k + 1] = (self.a[k] * points + self.b[k]) * rows[k]
            if k:
                rows[k + 1] += self.c[k] * rows[k - 1]
        return rows

    @cached_property
    def order(self) -> str:
        """The execution whose intermediate values stay smaller on the interval.

        Leja-ordered products are stable forward only (their tails overflow), affine
        (semi-iterative) recurrences backward only; orthogonal bases run either way and get
        Clenshaw, which moves less memory.
        """
        if self.degree == 0:
            return "clenshaw"
        x = chebyshev_points(65, self.interval)
        with np.errstate(over="ignore", invalid="ignore"):
            forward = np.abs(self.basis(x) * self.w[:, None]).sum(axis=0).max()
            u, later = np.full_like(x, self.w[-1]), np.zeros_like(x)
            backward = np.abs(u).max()
            for k in range(self.degree - 1, -1, -1):
                c = self.c[k + 1] if k + 1 < self.degree else 0.0
                u, later = self.w[k] + (self.a[k] * x + self.b[k]) * u + c * later, u
                backward = max(backward, np.abs(u).max())
        if not math.isfinite(forward):
            return "clenshaw"
        return "clenshaw" if backward <= GROWTH_MARGIN * forward else "forward"

    # -- algebra ---------------------------------------------------------------------------

    def chebyshev_coefficients(self, interval: Interval | None = None) -> FloatArray:
        """Return p's first-kind Chebyshev coefficients on ``interval``, shape (d + 1,)."""
        where = checked_interval(interval or self.interval)
        return chebyshev_coefficients(self(chebyshev_points(self.degree + 1, where)))

    def affine(self, scale: float, shift: float = 0.0) -> Recurrence:
        """Return q with ``q(z) = p(scale z + shift)``; its interval is the preimage of p's."""
        if not (math.isfinite(scale) and scale != 0 and math.isfinite(shift)):
            raise InputError(f"affine needs finite scale != 0; got scale={scale}, shift={shift}.")
        ends = sorted((end - shift) / scale for end in self.interval)
        return Recurrence(
            self.a * scale, self.b + self.a * shift, self.c, self.w, (ends[0], ends[1]), self.name
        )

    def in_unit(self, factor: float) -> Recurrence:
        """Return the same design for an operator in another unit, ``factor`` times as large.

        If q approximates ``1 / z`` on [l, u] with residual ``r(z) = 1 - z q(z)``, then
        ``s q(s z)``, s = 1 / factor, has the residual ``r(s z)``: what q is on [l / s, u / s].
        """
        return (1.0 / factor) * self.affine(1.0 / factor)

    def __mul__(self, other: Any) -> Recurrence:
        if isinstance(other, Recurrence):
            return self._through_chebyshev(
                other, self.degree + other.degree, np.multiply, f"({self.name}) ({other.name})"
            )
        if np.isscalar(other) and not isinstance(other, str | bytes):
            return Recurrence(
                self.a,
                self.b,
                self.c,
                self.w * float(np.real_if_close(other)),
                self.interval,
                self.name,
            )
        return NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> Recurrence:
        return -1.0 * self

    def __add__(self, other: Any) -> Recurrence:
        if not isinstance(other, Recurrence):
            return NotImplemented
        name = f"{self.name} + {other.name}"
        long, short = (self, other) if self.degree >= other.degree else (other, self)
        d = short.degree
        same_basis = long.interval == short.interval and all(
            np.array_equal(getattr(long, f)[:d], getattr(short, f)) for f in ("a", "b", "c")
        )
        if same_basis:
            w = long.w.copy()
            w[: d + 1] += short.w
            return Recurrence(long.a, long.b, long.c, w, long.interval, name)
        return self._through_chebyshev(other, long.degree, np.add, name)

    def __sub__(self, other: Any) -> Recurrence:
        if not isinstance(other, Recurrence):
            return NotImplemented
        return self + (-other)

    def _through_chebyshev(
        self, other: Recurrence, degree: int, combine: np.ufunc, name: str
    ) -> Recurrence:
        hull = (
            min(self.interval[0], other.interval[0]),
            max(self.interval[1], other.interval[1]),
        )
        x = chebyshev_points(degree + 1, hull)
        return chebyshev_series(chebyshev_coefficients(combine(self(x), other(x))), hull, name=name)

    def derivative(self) -> Recurrence:
        """Return p' as a Chebyshev series on the same interval."""
        lower, upper = self.interval
        coefficients = np.polynomial.chebyshev.chebder(self.chebyshev_coefficients())
        return chebyshev_series(
            coefficients * (2.0 / (upper - lower)), self.interval, name=f"d/dz {self.name}"
        )

    # -- persistence -----------------------------------------------------------------------

    def to_json(self) -> str:
        """Return a JSON object that ``from_json`` reads back bit for bit."""
        return json.dumps(
            {
                "format": "spectool.Recurrence/1",
                "name": self.name,
                "interval": list(self.interval),
                **{field: getattr(self, field).tolist() for field in "abcw"},
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; raises InputError on anything else."""
        try:
            record = json.loads(text)
            if record["format"] != "spectool.Recurrence/1":
                raise InputError(f"format {record['format']!r} is not spectool.Recurrence/1.")
            a, b, c, w = (record[field] for field in "abcw")
            return cls(a, b, c, w, tuple(record["interval"]), record["name"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise InputError(f"text is not the JSON of a Recurrence: {error!r}.") from error

    # -- construction ----------------------------------------------------------------------

    @classmethod
    def from_affine(
        cls,
        alpha: Any,
        beta: Any,
        gamma: Any,
        delta: Any,
        start: float,
        interval: Interval,
        name: str = "affine recurrence",
    ) -> Self:
        """Build p from the affine iteration that ends in ``y_d = p(A) x``.

        ``y_0 = start x``, ``y_{k+1} = (alpha_k A + beta_k) y_k + gamma_k y_{k-1} + delta_k x``
        is Clenshaw's algorithm of the recurrence with the coefficients read backwards, so that
        semi-iterative methods and AutoSpec's affine paradigm [1]_ need no second noun.

        Parameters
        ----------
        alpha, beta, gamma, delta : array_like, shape (d,)
            Coefficients of the steps; ``gamma[0]`` multiplies zero.
        start : float
            Multiple of x that the iteration starts from.
        interval : tuple of float
            Where the iteration is to be used.

        References
        ----------
        .. [1] Liu, Balabanov, Yang, Mahoney, AutoSpec, arXiv:2602.09530, 2026.
        """
        alpha, beta, gamma, delta = (
            _frozen(values, name)
            for values, name in (
                (alpha, "alpha"),
                (beta, "beta"),
                (gamma, "gamma"),
                (delta, "delta"),
            )
        )
        if not alpha.size == beta.size == gamma.size == delta.size:
            raise InputError("alpha, beta, gamma, delta need one common length.")
        c = np.zeros_like(gamma)
        c[1:] = gamma[:0:-1]
        w = np.append(delta[::-1], start)
        return cls(alpha[::-1], beta[::-1], c, w, interval, name)


def chebyshev_series(
    coefficients: Any,
    interval: Interval,
    *,
    kind: Literal[1, 2, 3, 4] = 1,
    name: str | None = None,
) -> Recurrence:
    """Return ``sum_k coefficients[k] P_k`` for the Chebyshev polynomials of one kind.

    Parameters
    ----------
    coefficients : array_like, shape (d + 1,)
        Weights of ``P_0 .. P_d`` on ``interval`` mapped to [-1, 1].
    interval : tuple of float
        ``(lower, upper)``.
    kind : {1, 2, 3, 4}
        ``T, U, V, W``: ``P_1 = x, 2x, 2x - 1, 2x + 1`` and ``P_{k+1} = 2 x P_k - P_{k-1}``.

    Returns
    -------
    Recurrence
        Of degree ``len(coefficients) - 1``.

    Raises
    ------
    InputError
        If a coefficient is not finite, the interval is empty or the kind unknown.

    References
    ----------
    .. [1] Mason and Handscomb, Chebyshev Polynomials, CRC 2003, section 1.2.
    """
    if kind not in (1, 2, 3, 4):
        raise InputError(f"kind must be 1, 2, 3 or 4; got {kind!r}.")
    lower, upper = checked_interval(interval)
    w = np.atleast_1d(np.asarray(coefficients))
    d = w.size - 1
    slope = 2.0 / (upper - lower)
    offset = -(upper + lower) / (upper - lower)
    a = np.full(max(d, 0), 2.0 * slope)
    b = np.full(max(d, 0), 2.0 * offset)
    c = np.full(max(d, 0), -1.0)
    if d > 0:
        c[0] = 0.0
        if kind == 1:
            a[0], b[0] = slope, offset
        elif kind > 2:
            b[0] += -1.0 if kind == 3 else 1.0
    return Recurrence(a, b, c, w, (lower, upper), name or f"Chebyshev series, kind {kind}")
