r"""How orthogonal a Lanczos basis still is, from T alone: when to project it out again.

Rounding errors of one step grow, in the others, like the three-term recurrence itself,

    beta_j w_{j+1,k} = beta_k w_{j,k+1} + (alpha_k - alpha_j) w_{j,k} + beta_{k-1} w_{j,k-1}
                       - beta_{j-1} w_{j-1,k} + rounding,        w_{j,k} ~ v_j^* v_k,

and T is that of exact arithmetic, rounding apart, as long as no w exceeds sqrt(eps).

Source
    Simon, The Lanczos algorithm with partial reorthogonalization, Math. Comp. 42 (1984),
    theorem 1 and section 4.
Deviations
    Rounding enters with the sign that makes w larger, not at random: an estimate from above.
Cost
    Ten operations on k numbers at step k.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spectool._types import FloatArray

__all__ = ["Orthogonality"]


class Orthogonality:
    """Estimates of ``v_j^* v_k`` for a Lanczos process of n-vectors.

    Attributes
    ----------
    early, late : float
        Levels above which the next two vectors must be projected, and this one at once.
    """

    def __init__(self, n: int, eps: float) -> None:
        self.early, self.late = eps**0.75, eps**0.5
        self._eps, self._local = eps, eps * float(np.sqrt(n))
        self._before: FloatArray = np.empty(0)
        self._now: FloatArray = np.ones(1)

    def level(self, alpha: Sequence[float], beta: Sequence[float]) -> float:
        """Return the largest estimate of the vector that the last step made, unprojected."""
        a, b = np.array(alpha), np.array(beta)
        j, w = a.size - 1, self._now
        if not b[j] > 0:
            return float(np.inf)
        scale = float(np.abs(a).max() + 2.0 * b.max())
        found = b[:j] * w[1:] + (a[:j] - a[j]) * w[:j]
        if j:
            found[1:] += b[: j - 1] * w[: j - 1]
            found -= b[j - 1] * self._before
        found += np.copysign(2.0 * self._eps * scale, found)
        self._next = np.concatenate([found / b[j], [self._local * scale / b[j]]])
        return float(np.abs(self._next).max())

    def accept(self, *, projected: bool) -> None:
        """Go on to the next vector; a projected one is as orthogonal as rounding lets it be."""
        found = np.full(self._now.size, self._local) if projected else self._next
        self._before, self._now = self._now, np.append(found, 1.0)
