"""The field of values of a small matrix, from outside: supporting half-planes.

Source
    Johnson, Numerical determination of the field of values of a general complex matrix, SINUM 15
    (1978): ``max Re e^{-i phi} z`` over the field of values is an eigenvalue of a Hermitian part.
Cost
    One Hermitian eigenvalue problem of order k per direction; a real matrix needs half of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectool._types import Array, FloatArray

DIRECTIONS = 16
"""A multiple of 4, so that intervals on either axis are exact."""
ANGLE = 2 * np.pi / DIRECTIONS
UNITS = np.exp(1j * ANGLE * np.arange(DIRECTIONS))


@dataclass(frozen=True, slots=True, eq=False)
class FieldOfValues:
    """The polygon ``{z : Re conj(UNITS[j]) z <= support[j]}`` around a field of values.

    Attributes
    ----------
    support : ndarray, shape (DIRECTIONS,)
        In the unit of the matrix.
    """

    support: FloatArray

    @classmethod
    def of(cls, Z: Array) -> FieldOfValues:
        """Return the polygon around the field of values of Z, shape (k, k)."""
        support = np.empty(DIRECTIONS)
        real = not np.iscomplexobj(Z)
        for j in range(DIRECTIONS // 2 + 1):
            turned = Z if j == 0 else np.conj(UNITS[j]) * Z
            ends = np.linalg.eigvalsh(0.5 * (turned + turned.conj().T))
            support[j] = ends[-1]
            if real:  # symmetric about the real axis
                support[-j] = ends[-1]
            else:
                support[(j + DIRECTIONS // 2) % DIRECTIONS] = -ends[0]
        return cls(support)

    @classmethod
    def interval(cls, lower: float, upper: float) -> FieldOfValues:
        """Return the polygon around a real interval."""
        return cls(np.maximum(UNITS.real * lower, UNITS.real * upper))

    def joined(self, other: FieldOfValues) -> FieldOfValues:
        """Return the polygon around both."""
        return FieldOfValues(np.maximum(self.support, other.support))

    def moved_outwards(self, margin: float) -> FieldOfValues:
        """Return the polygon whose edges lie ``margin`` further out."""
        return FieldOfValues(self.support + margin)

    def distance(self, z: Array) -> FloatArray:
        """Return lower bounds of the distances of points z; not positive inside. Shape of z."""
        reach = (np.conj(UNITS) * np.asarray(z)[..., None]).real - self.support
        return np.asarray(reach.max(axis=-1), dtype=np.float64)

    @property
    def width(self) -> float:
        """Largest extent over all directions."""
        half = DIRECTIONS // 2
        return float((self.support[:half] + self.support[half:]).max())

    @property
    def center(self) -> complex:
        """Midpoint of the extents along both axes."""
        quarter = DIRECTIONS // 4
        right, up, left, down = self.support[::quarter]
        return complex(0.5 * (right - left), 0.5 * (up - down))

    @property
    def corners(self) -> Array:
        """Corners of the polygon, counterclockwise, shape (DIRECTIONS,)."""
        h, following = self.support, np.roll(self.support, -1)
        return np.asarray(UNITS * (h + 1j * (following - h * np.cos(ANGLE)) / np.sin(ANGLE)))

    def boundary(self, per_edge: int) -> Array:
        """Return points on the boundary, dense towards corners, shape (DIRECTIONS * per_edge,)."""
        corners = self.corners
        fractions = 0.5 - 0.5 * np.cos(np.pi * np.arange(per_edge) / per_edge)
        edges = corners[:, None] + np.outer(np.roll(corners, -1) - corners, fractions)
        return np.asarray(edges.ravel())

    def times(self, t: complex) -> FieldOfValues:
        """Return a polygon around ``t z`` for all z in this one."""
        return FieldOfValues.around(t * self.corners)

    @classmethod
    def around(cls, z: Array) -> FieldOfValues:
        """Return the polygon around points z, shape (k,)."""
        reach = (np.conj(UNITS)[:, None] * z).real
        return cls(np.asarray(reach.max(axis=1), dtype=np.float64))
