"""Matrices whose f(A) b is known, and to what precision: the subjects of the honesty grid.

How the truth is known
    A diagonal A has an exact answer, and no Krylov method notices that it is diagonal. A rotated
    one is ``Q diag(lam) Q^T`` with Q three rounds of rotations of random pairs by 45 degrees and
    lam in multiples of 2**-47: all sums fit 53 bits, so that its stored entries are exact, and its
    answer is known to a few eps whatever the condition number. A real matrix is decomposed by
    ``eigh``, which answers for a matrix that is off by ``BACKWARD`` eps ||A||: what that does to
    f(A) b is the uncertainty of the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from spectool import collection, gallery
from spectool._types import Array, FloatArray
from spectool.bench.suites import clustered
from spectool.errors import InputError

EPS = float(np.finfo(np.float64).eps)
BACKWARD = 3.0
"""Backward error of ``eigh`` over eps ||A||; at most 2.4 on 1600 rotated matrices, n = 2 to 200."""
LARGEST = 5_000
"""Rows up to which a real matrix is decomposed."""
ROUNDS, QUANTUM, COARSE = 3, 2.0**-47, 2.0**-30
KINDS = ("log-uniform", "clustered", "Laplacian-like")
FORMS = ("diagonal", "rotated", "matrix-free")
OVERFLOW = 300.0
"""Largest exponent of a growing exponential that is asked for."""


@dataclass(frozen=True, slots=True)
class Question:
    """One f(tA) b to ask for.

    Attributes
    ----------
    name, f : str
        In tables; for the verb.
    domain : str
        Where eigenvalues must lie: "any", "nonnegative", "positive" or "nonzero".
    values, slopes : callable
        f and ``|f'|`` at an array; written here once more, so that the judge does not trust the
        accused.
    reach : float, optional
        ``|t| ||A||``; t is negative then, and 1 otherwise.
    """

    name: str
    f: str
    domain: str
    values: Callable[[FloatArray], FloatArray]
    slopes: Callable[[FloatArray], FloatArray]
    reach: float | None = None

    def t(self, norm: float) -> float:
        """Return the t for an A of this norm."""
        return 1.0 if self.reach is None else -self.reach / norm

    def defined(self, lam: FloatArray, blur: float) -> bool:
        """Return whether f is defined beyond doubt at eigenvalues that may be off by ``blur``.

        The sign of a definite matrix is defined, but no question.
        """
        norm = float(np.abs(lam).max())
        edge = blur + 100 * EPS * norm
        if self.f == "sign" and lam.min() * lam.max() > 0:
            return False  # b or -b: no question
        if self.domain == "any":
            return bool((self.t(norm) * lam).max() < OVERFLOW)
        if self.domain == "nonnegative":
            return bool(lam.min() > min(-EPS * norm, blur - edge))
        return bool((np.abs(lam) if self.domain == "nonzero" else lam).min() > edge)


def _phi1(z: FloatArray) -> FloatArray:
    safe = np.where(np.abs(z) < 1e-300, 1.0, z)
    return np.where(np.abs(z) < 1e-300, 1.0, np.expm1(safe) / safe)


def _phi1_slope(z: FloatArray) -> FloatArray:
    far = np.where(np.abs(z) < 1e-3, 1.0, z)
    return np.where(
        np.abs(z) < 1e-3, 0.5 + z / 3, np.abs(np.exp(far) - np.expm1(far) / far) / np.abs(far)
    )


def _root_slope(z: FloatArray) -> FloatArray:
    # A perturbation moves a zero eigenvalue only so far.
    return 0.5 / np.sqrt(np.maximum(z, EPS * np.abs(z).max()))


QUESTIONS: dict[str, Question] = {
    question.name: question
    for question in (
        Question("exp 10", "exp", "any", np.exp, np.exp, 10.0),
        Question("exp 1e3", "exp", "any", np.exp, np.exp, 1e3),
        Question("phi1 1e2", "phi1", "any", _phi1, _phi1_slope, 1e2),
        Question("sqrt", "sqrt", "nonnegative", lambda z: np.sqrt(np.maximum(z, 0.0)), _root_slope),
        Question(
            "invsqrt", "invsqrt", "positive", lambda z: 1.0 / np.sqrt(z), lambda z: 0.5 * z**-1.5
        ),
        Question("log", "log", "positive", np.log, lambda z: 1.0 / z),
        Question("inv", "inv", "nonzero", lambda z: 1.0 / z, lambda z: z**-2.0),
        # Flat, but a perturbation mixes eigenvectors across zero by its size over the distance.
        Question("sign", "sign", "nonzero", np.sign, lambda z: 1.0 / np.abs(z)),
    )
}


class Truth(NamedTuple):
    """``f(tA) b``, and what it may be off by, relative to its norm."""

    y: Array
    uncertainty: float


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An operator with its eigendecomposition ``V diag(lam) V^*``, and a right-hand side.

    Attributes
    ----------
    name, kind, form : str
        Of the matrix; of its spectrum, or "real"; of the operator.
    A : sparse array or LinearOperator, shape (n, n)
        What the verb is given.
    b : ndarray, shape (n,)
        Standard normal.
    lam : ndarray, shape (n,)
        Eigenvalues.
    c : ndarray, shape (n,)
        ``V^* b``.
    synthesis : callable
        Applies V.
    backward : float
        Backward error of the decomposition relative to ``||A||``; 0 where it is exact.
    """

    name: str
    kind: str
    form: str
    A: Any
    b: Array
    lam: FloatArray
    c: Array
    synthesis: Callable[[Array], Array]
    backward: float = 0.0

    @property
    def n(self) -> int:
        """Rows."""
        return self.lam.size

    @property
    def norm(self) -> float:
        """``||A||``."""
        return float(np.abs(self.lam).max())

    @property
    def cond(self) -> float:
        """Condition number, inf if singular."""
        least = float(np.abs(self.lam).min())
        return self.norm / least if least > 0 else math.inf

    def questions(self, wanted: Sequence[Question]) -> list[Question]:
        """Return those of the questions that have an answer."""
        return [each for each in wanted if each.defined(self.lam, self.backward * self.norm)]

    def truth(self, question: Question) -> Truth:
        """Return ``f(tA) b`` and its uncertainty.

        A perturbation of A by E, ``||E|| = delta``, with no direction preferred, moves it by about
        ``delta / 2`` times the root of ``||f'(lam) c||^2 + ||c||^2 mean(f'^2)`` or less: divided
        differences of f are at most the slopes at their ends.
        """
        t = question.t(self.norm)
        z = t * self.lam
        with np.errstate(over="ignore", under="ignore"):
            values, slopes = question.values(z), abs(t) * question.slopes(z)
            y = self.synthesis(values * self.c)
            size = norm2(y)
            spread = np.hypot(norm2(slopes * self.c), norm2(self.c) * norm2(slopes) / self.n**0.5)
            moved = self.backward * self.norm * spread
            rounded = EPS * (norm2(self.lam * slopes * self.c) + 8 * size)
        return Truth(y, float((moved + rounded) / size))


def norm2(x: Array) -> float:
    """Return the 2-norm; never overflows."""
    largest = float(np.abs(x).max(initial=0.0))
    if not 0 < largest < math.inf:
        return largest
    return largest * float(np.linalg.norm(x / largest))


class Source(NamedTuple):
    """A subject to be made when its turn comes, with the questions that it is to be asked."""

    name: str
    make: Callable[[], Subject]
    questions: tuple[Question, ...]


# --- prescribed spectra ----------------------------------------------------------------------


def prescribed(
    kinds: Sequence[str],
    conds: Sequence[float],
    forms: Sequence[str],
    questions: Sequence[Question],
    *,
    n: int,
    seed: int,
) -> Iterator[Source]:
    """Yield two sources per kind, condition number and form: definite, and with a gap for sign.

    Parameters
    ----------
    kinds, forms : sequence of str
        Of `KINDS` and `FORMS`.
    conds : sequence of float
        Condition numbers.
    questions : sequence of Question
        What to ask for.
    n : int
        Rows, even.
    seed : int
        Draws eigenvalues, signs, rotations and b.
    """
    definite = tuple(each for each in questions if each.f != "sign")
    signs = tuple(each for each in questions if each.f == "sign")
    for kind in kinds:
        for cond in conds:
            for form in forms:
                name = f"{kind} {cond:.0e}, {form}".replace("e+0", "e")
                for asked, gap in ((definite, False), (signs, True)):
                    make = partial(_subject, name, kind, cond, form, n=n, seed=seed, gap=gap)
                    if asked:
                        yield Source(name, make, asked)


def _subject(
    name: str, kind: str, cond: float, form: str, *, n: int, seed: int, gap: bool
) -> Subject:
    rng = np.random.default_rng([seed, KINDS.index(kind), round(10 * math.log10(cond)), gap])
    lam = np.round(_eigenvalues(kind, n, cond, rng) / QUANTUM) * QUANTUM
    if gap:
        lam *= rng.permutation(np.where(np.arange(n) % 2, 1.0, -1.0))
    b = np.round(rng.standard_normal(n) / COARSE) * COARSE
    if form == "diagonal":
        A = sp.csr_array(sp.diags_array(lam))
        return Subject(name, kind, form, A, b, lam, b, lambda x: x)
    A, H = rotated(lam, rng)
    factor = 2.0 ** (-ROUNDS / 2)
    operator: Any = A
    if form == "matrix-free":
        operator = sla.LinearOperator(
            A.shape, matvec=lambda x: A @ x, matmat=lambda X: A @ X, dtype=np.float64
        )
    # Sums of entries of b are exact too, so that each entry of c is rounded once.
    return Subject(
        name, kind, form, operator, b, lam, factor * (H.T @ b), lambda x: factor * (H @ x)
    )


def _eigenvalues(kind: str, n: int, cond: float, rng: np.random.Generator) -> FloatArray:
    """Return n numbers in [1/cond, 1] with both ends attained."""
    if kind == "log-uniform":
        return rng.permutation(gallery.log_uniform(n, cond, rng))
    if kind == "clustered":
        return clustered(n, cond, rng)
    side = max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)
    lam = gallery.poisson_eigenvalues((side, n // side))
    low, high = float(lam[0]), float(lam[-1])
    return rng.permutation(1.0 / cond + (1.0 - 1.0 / cond) * (lam - low) / (high - low))


def rotated(lam: FloatArray, rng: np.random.Generator) -> tuple[sp.csr_array, sp.csr_array]:
    """Return ``A = Q diag(lam) Q^T``, exact for lam in multiples of `QUANTUM`, and ``2^1.5 Q``.

    Entries of A after r rounds are multiples of ``QUANTUM / 2^r`` and at most 1, and four of them
    are summed: 52 bits.
    """
    n = lam.size
    A = sp.csr_array(sp.diags_array(lam))
    H = sp.csr_array(sp.eye_array(n))
    for _ in range(ROUNDS):
        one, two = rng.permutation(n).reshape(2, n // 2)
        rows, columns = np.concatenate([one, one, two, two]), np.concatenate([one, two, one, two])
        signs = np.repeat([1.0, -1.0, 1.0, 1.0], n // 2)
        turn = sp.csr_array(sp.coo_array((signs, (rows, columns)), shape=(n, n)))
        A = 0.5 * (turn @ A @ turn.T)
        H = turn @ H
    A.sum_duplicates()
    A.eliminate_zeros()
    return A, H


# --- real matrices ---------------------------------------------------------------------------


def real(names: Sequence[str], questions: Sequence[Question], *, seed: int) -> Iterator[Source]:
    """Yield the matrices of that name that are on this machine, not larger than `LARGEST`."""
    here = {entry.name: entry for entry in collection.search(max_rows=LARGEST)}
    for name in names:
        if name in here:
            yield Source(name, partial(_stored, name, seed), tuple(questions))


def _stored(name: str, seed: int) -> Subject:
    A = collection.load(name, download=False)
    rng = np.random.default_rng([seed, *name.encode()])
    return decomposed(name, A, rng.standard_normal(A.shape[0]))


def decomposed(name: str, A: sp.csr_array, b: Array) -> Subject:
    """Return a Hermitian matrix with its eigendecomposition; exact if it is diagonal.

    Raises InputError if A is not Hermitian.
    """
    if (A - A.conj().T).count_nonzero():
        raise InputError(f"{name} is not Hermitian, so that eigh cannot tell f(A) b.")
    rows, columns = A.tocoo().coords
    if (rows == columns).all():
        lam = np.real(A.diagonal())
        return Subject(name, "real", "diagonal", A, b, lam, b, lambda x: x)
    # In reverse order: rounding then differs from that of a verb that does the same.
    lam, V = scipy.linalg.eigh(A.toarray()[::-1, ::-1], driver="evd", overwrite_a=True)
    V = V[::-1]
    c = V.conj().T @ b
    return Subject(name, "real", "stored", A, b, lam, c, lambda x: V @ x, BACKWARD * EPS)
