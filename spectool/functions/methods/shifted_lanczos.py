"""``(A - p_q)^-1 b`` for many poles from one Lanczos recurrence, without storing its basis.

Source
    Frommer and Maass, Fast CG-based methods for Tikhonov-Phillips regularization, SISC 20 (1999);
    van den Eshof, Frommer, Lippert, Schilling and van der Vorst, Numerical methods for the QCD
    overlap operator, Comput. Phys. Commun. 146 (2002), for sums of poles and their stopping.
Deviations
    (1) Written as Lanczos with ``T - p = L D L^T`` per pole, so that A's own sign does not matter;
    (2) only weighted sums of solutions are kept; (3) directions of real A and b stay real: those of
    a complex pole are their real and imaginary parts; (4) solved poles leave.
Cost per step
    1 matvec, 2 reductions, and one pass over the directions: a vector per real pole, two per
    complex one. Vectors: those, four of Lanczos and the sums.
"""

from __future__ import annotations

import numpy as np

from spectool._types import Array, FloatArray
from spectool.kernels.shifted import empty_directions, kept_directions, update
from spectool.krylov.lanczos import LanczosProcess
from spectool.operators import Operator


def n_directions(poles: Array) -> int:
    """Return how many vectors the directions take."""
    return int(poles.size + (poles.imag != 0).sum())


def n_vectors(poles: Array, residues: Array, partners: Array) -> int:
    """Return how many vectors are held in all: directions, four of Lanczos and sums."""
    sums = len(residues) * (1 if _are_plain(poles, residues, partners) else 2)
    return n_directions(poles) + 4 + sums


def _are_plain(poles: Array, residues: Array, partners: Array) -> bool:
    """Return whether sums of real solutions are real."""
    conjugate = np.where(poles.imag == 0, residues, partners.conj())
    return bool((residues == conjugate).all() and not residues[:, poles.imag == 0].imag.any())


class ShiftedLanczos:
    """Sums ``y_t = sum_q residues[t, q] x_q + partners[t, q] x'_q`` with ``(A - p_q) x_q = b``.

    ``x'_q`` belongs to the conjugate pole. ``||b|| = 1``.

    Parameters
    ----------
    operator : Operator
        Hermitian.
    start : ndarray, shape (n,)
        b.
    poles : ndarray, shape (h,)
        Complex; real ones lie outside of the spectrum.
    residues, partners : ndarray, shape (T, h)
        Complex.

    Attributes
    ----------
    process : LanczosProcess
        Not reorthogonalized.
    sums : ndarray, shape (T, n) or (2 T, n)
        The sums, in the operator's data type; their real parts and then their imaginary parts
        (each complex, if A is) where sums of real A and b are complex.
    last : ndarray, shape (h,)
        Signed residuals: ``b - (A - p_q) x_q = last[q] v_{k+1}``; of poles that have left, as they
        did.
    crossed : bool
        Whether a real pole was found inside the spectrum: the sums are then worthless.
    """

    def __init__(
        self, operator: Operator, start: Array, poles: Array, residues: Array, partners: Array
    ) -> None:
        self.process = LanczosProcess(operator, start, reorthogonalize=False)
        order = np.argsort(poles.imag != 0, kind="stable")
        self._order = order
        self._active = np.arange(poles.size)
        self._poles = poles[order].astype(np.complex128)
        self._residues, self._partners = residues[:, order], partners[:, order]
        plain = _are_plain(poles, residues, partners)
        real = operator.dtype.type(0).real.dtype
        kinds = 2 if operator.dtype.kind == "c" else 1
        length = kinds * operator.n
        self._D = empty_directions(length, n_directions(poles), real)
        self.sums = np.zeros((len(residues) * (1 if plain else 2), operator.n), operator.dtype)
        self._plain = plain
        self._flat = self.sums.view(real)
        self._pivot = self._w = np.ones(poles.size, dtype=np.complex128)
        self._side = np.zeros(poles.size)
        self._last = np.full(poles.size, np.inf, dtype=np.complex128)
        self.crossed = False

    @property
    def last(self) -> Array:
        """Signed residuals, in the order of the poles."""
        values = np.empty_like(self._last)
        values[self._order] = self._last
        return values

    @property
    def active(self) -> Array:
        """Which poles are still iterated on, bool, shape (h,)."""
        mask = np.zeros(self._order.size, dtype=bool)
        mask[self._order[self._active]] = True
        return mask

    def step(self) -> None:
        """Expand the Krylov space by one vector; 1 matvec."""
        process, active = self.process, self._active
        v = process.current
        before = process.beta[-1] if process.beta else 0.0
        alpha, beta = process.step()
        with np.errstate(all="ignore"):
            rates = before / self._pivot
            self._pivot = (alpha - self._poles[active]) - before * rates
            self._w = -rates * self._w if before else self._w
            c = self._w / self._pivot
        real = self._poles[active].imag == 0
        sides = np.sign(self._pivot.real)
        if process.steps == 1:
            self._side = sides
        if (real & ((sides != self._side) | (sides == 0))).any():
            self.crossed = True
            return
        self._last[active] = -beta * c
        update(v.view(self._flat.dtype), rates, self._weights(c, real), self._D, self._flat)

    def _weights(self, c: Array, real: Array) -> FloatArray:
        """Return what sums take of each direction."""
        near = self._residues[:, self._active] * c
        far = self._partners[:, self._active] * c.conj()
        total, turned = near + far, 1j * (near - far)[:, ~real]
        weights = np.concatenate([total[:, real], total[:, ~real], turned], axis=1)
        parts = [weights.real] if self._plain else [weights.real, weights.imag]
        return np.concatenate(parts)

    def leave(self, solved: Array) -> None:
        """Stop iterating on poles, a mask of shape (h,); their residuals stay as they are."""
        keep = ~solved[self._order][self._active]
        if keep.all():
            return
        real = self._poles[self._active].imag == 0
        columns = np.concatenate([keep[real], keep[~real], keep[~real]])
        self._D = kept_directions(self._D, np.flatnonzero(columns))
        self._active = self._active[keep]
        self._pivot, self._w, self._side = self._pivot[keep], self._w[keep], self._side[keep]
