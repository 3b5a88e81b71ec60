"""Direct methods: eigendecomposition, Schur form, SVD, LU and Cholesky. They are always there.

Source
    Higham, Functions of Matrices, SIAM 2008: sections 4.5 (Hermitian A), 5.2 (sign from an ordered
    Schur form and one Sylvester equation), 6.2 (square roots of triangular matrices), 8.1 (polar
    factors from the SVD); Higham and Lin, SIAM J. Matrix Anal. Appl. 32 (2011) (Schur-Pade, for
    other roots of general A, by SciPy).
Deviations
    (1) Eigenvalues of a Hermitian A that are negative by rounding count as zero under roots.
    (2) Schur forms exist on the host only; a tensor on another device travels there and back.
Cost
    In products of order n, float64, one core, n = 600: eigh 4, SVD 9, LU inverse 3, Schur form 24;
    the function takes one or two more. One call per matrix or batch.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from spectool._types import Array
from spectool.dense.accuracy import widened
from spectool.dense.algebra import MatrixAlgebra, Tensor
from spectool.dense.door import to_host
from spectool.dense.problems import Problem
from spectool.dense.run import is_singular
from spectool.errors import BreakdownError

__all__ = [
    "Direct",
    "OutsideDomainError",
    "direct",
    "eigenvalue_outside",
    "natively",
    "raise_if_singular",
    "rounding_level",
]

ROUNDING = 4.0
"""Multiple of ``eps sqrt(n) max |lam|`` below which an eigenvalue is not told from zero."""
LARGE = 64
"""Order from which single precision pays: below, calls one by one would cost more."""
SHIFTS = 3
"""Points of the imaginary axis, beside zero, at which ``A - i w I`` is tested."""


class OutsideDomainError(BreakdownError):
    """A matrix has an eigenvalue where the function does not exist.

    Attributes
    ----------
    index : int
        Which matrix of those passed.
    value : complex
        The eigenvalue.
    """

    def __init__(self, index: int, value: complex) -> None:
        super().__init__(f"eigenvalue {value} of matrix {index}")
        self.index, self.value = index, value


class Direct(NamedTuple):
    """What a direct method returns: the answer, which operation it took, and how it is called."""

    X: Tensor
    operation: str
    name: str


def direct(problem: Problem, A: Tensor, *, hermitian: bool, definite: bool = False) -> Direct:
    """Compute a function of each matrix, shape (k, m, n), all Hermitian or all not.

    Parameters
    ----------
    problem : Problem
        The function.
    A : array, shape (k, m, n)
        Entries of order one or less; half precision is widened first, and the answer narrowed.
    hermitian : bool
        Whether they are Hermitian, but for rounding.
    definite : bool
        Whether they are positive definite besides.

    Raises
    ------
    OutsideDomainError
        If an eigenvalue lies where the function does not exist.
    BreakdownError
        If LAPACK does not converge.
    """
    wide = widened(A)
    xp = array_namespace(A)
    try:
        with np.errstate(all="ignore"):
            found = _solved(problem, wide, hermitian, definite)
    except (np.linalg.LinAlgError, RuntimeError) as error:
        if not is_singular(error):
            raise
        raise BreakdownError(f"LAPACK failed: {str(error).splitlines()[0]}") from error
    return found if A is wide else found._replace(X=xp.astype(found.X, A.dtype))


def rounding_level(A: Tensor, theta: Array) -> float:
    """Return what eigenvalues theta, shape (n,), of a matrix like A are known to, absolutely."""
    eps = float(array_namespace(A).finfo(A.dtype).eps)
    return ROUNDING * eps * theta.shape[-1] ** 0.5 * float(np.abs(theta).max(initial=0.0))


def eigenvalue_outside(problem: Problem, theta: Array, level: float) -> complex | None:
    """Return the eigenvalue where the function of a general A does not exist, or None.

    That is the imaginary axis for the sign, and the closed negative axis for roots.
    """
    if problem.family in ("inv", "sign"):
        size = np.abs(theta.real) if problem.family == "sign" else np.abs(theta)
        bad = size <= (level if problem.family == "sign" else 0.0)
    else:
        bad = (theta.real <= level) & (np.abs(theta.imag) <= level)
    if not bad.any():
        return None
    return complex(theta[int(np.argmin(np.where(bad, theta.real, np.inf)))])


def _solved(problem: Problem, A: Tensor, hermitian: bool, definite: bool) -> Direct:
    if problem.function == "inv":
        return _inverse(A, hermitian, definite)
    if hermitian:
        return _by_eigh(problem, A)
    if problem.function == "polar":
        return Direct(_polar_factor(A), "svd", "SVD")
    return _by_schur(problem, A)


def natively(name: str, A: Tensor, **options: Any) -> Any:
    """Call a routine of linear algebra in the precision of A: NumPy's compute in double."""
    xp = array_namespace(A)
    if is_torch_array(A) or xp.finfo(A.dtype).bits > 32 or min(A.shape[-2:]) < LARGE:
        return getattr(xp.linalg, name)(A, **options)
    routine = getattr(importlib.import_module("scipy.linalg"), name)
    if name == "eigh":
        options["driver"] = "evd"
    made = [routine(one, check_finite=False, **options) for one in A]
    return np.stack(made) if name == "inv" else tuple(map(np.stack, zip(*made, strict=True)))


def _polar_factor(A: Tensor) -> Tensor:
    """Return ``W V^H`` of the SVD: by divide and conquer, or by QR where that does not converge."""
    xp = array_namespace(A)
    try:
        W, _, Vh = natively("svd", A, full_matrices=False)
    except (np.linalg.LinAlgError, RuntimeError) as error:
        if not is_singular(error):
            raise
        from scipy.linalg import svd

        pairs = [svd(one, full_matrices=False, lapack_driver="gesvd") for one in to_host(A)]
        options = {"device": A.device} if is_torch_array(A) else {}
        return xp.asarray(np.stack([W @ Vh for W, _, Vh in pairs]), dtype=A.dtype, **options)
    return W @ Vh


def _inverse(A: Tensor, hermitian: bool, definite: bool) -> Direct:
    o = MatrixAlgebra(A, hermitian=hermitian)
    if definite:
        inverse = _by_cholesky(A)
        if inverse is not None:
            return Direct(inverse, "cholesky", "Cholesky")
    try:
        return Direct(o.symmetric(natively("inv", A)), "inverses", "LU")
    except (np.linalg.LinAlgError, RuntimeError):
        for index in range(A.shape[0]):
            raise_if_singular(A, index)
        raise


def raise_if_singular(A: Tensor, index: int) -> None:
    """Raise OutsideDomainError if matrix ``index`` of A, shape (k, n, n), is singular to rounding.

    Cost: its singular values.
    """
    one = widened(A)[index]
    values = to_host(array_namespace(one).linalg.svdvals(one))
    if values[-1] <= rounding_level(one, values):
        raise OutsideDomainError(index, complex(values[-1]))


def _by_cholesky(A: Tensor) -> Tensor | None:
    """Return ``A^-1``, or None where A has no Cholesky factor."""
    xp = array_namespace(A)
    if is_torch_array(A):
        L, info = xp.linalg.cholesky_ex(A)
        return None if bool(info.any()) else xp.cholesky_inverse(L)
    from scipy.linalg import get_lapack_funcs

    functions: Any = get_lapack_funcs(("potrf", "potri"), (A,))
    potrf, potri = functions
    made = xp.empty_like(A)
    for index, matrix in enumerate(A):
        L, info = potrf(matrix, lower=True)
        if info == 0:
            lower, info = potri(L, lower=True)
        if info != 0:
            return None
        lower = np.tril(lower)
        made[index] = lower + np.tril(lower, -1).conj().T
    return made


def _by_eigh(problem: Problem, A: Tensor) -> Direct:
    """Apply the function to the eigenvalues, in double precision."""
    xp = array_namespace(A)
    theta, V = natively("eigh", A)
    values = np.empty(theta.shape)
    host = to_host(theta).astype(np.float64)
    for index, eigenvalues in enumerate(host):
        level = rounding_level(A, eigenvalues)
        values[index] = _of_real(problem, index, eigenvalues, level)
    options = {"device": theta.device} if is_torch_array(theta) else {}
    weights = xp.asarray(values, dtype=theta.dtype, **options)
    o = MatrixAlgebra(A, hermitian=True)
    X = (V * weights[..., None, :]) @ o.adjoint_of(V)
    return Direct(o.symmetric(X), "eigh", "eigh")


def _of_real(problem: Problem, index: int, theta: Array, level: float) -> Array:
    """Return the function of the eigenvalues of one Hermitian matrix, ascending."""
    if problem.function == "polar":
        return np.where(theta < 0, -1.0, 1.0)
    if problem.function == "sign":
        if theta.size and np.abs(theta).min() <= level:
            raise OutsideDomainError(index, complex(theta[np.argmin(np.abs(theta))]))
        return np.sign(theta)
    exponent = 1.0 / problem.p
    inverse = problem.function in ("invsqrt", "inverse_root")
    if theta.size and (theta[0] < -level or (inverse and theta[0] <= 0)):
        raise OutsideDomainError(index, complex(theta[0]))
    return np.maximum(theta, 0.0) ** (-exponent if inverse else exponent)


def _by_schur(problem: Problem, A: Tensor) -> Direct:
    """Go matrix by matrix, on the host."""
    xp = array_namespace(A)
    made = [_of_general(problem, index, one) for index, one in enumerate(to_host(A))]
    stacked = np.stack(made) if made else np.zeros(A.shape)
    name = {"sign": "Schur form, Sylvester equation", "root": "Schur-Pade"}.get(
        problem.family, "Schur-Pade" if problem.family == "inverse_root" else "Schur form"
    )
    options = {"device": A.device} if is_torch_array(A) else {}
    return Direct(xp.asarray(stacked, dtype=A.dtype, **options), "schur", name)


def _of_general(problem: Problem, index: int, A: Array) -> Array:
    from scipy.linalg import schur

    if problem.function == "sign":
        return _sign(index, A)
    # SciPy takes the Schur-Pade method for complex triangular matrices only.
    T, Q = schur(A, output="real" if problem.p == 2 and not np.iscomplexobj(A) else "complex")
    theta = _schur_eigenvalues(T)
    bad = eigenvalue_outside(problem, theta, rounding_level(A, theta))
    if bad is not None:
        raise OutsideDomainError(index, bad)
    X = Q @ _of_triangular(problem, T) @ Q.conj().T
    # The principal root of a real matrix is real.
    return X if np.iscomplexobj(A) else np.ascontiguousarray(X.real)


def _of_triangular(problem: Problem, T: Array) -> Array:
    from scipy.linalg import fractional_matrix_power, sqrtm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the residual judges
        inverse = problem.function in ("invsqrt", "inverse_root")
        if problem.p != 2:
            try:
                X = fractional_matrix_power(T, (-1.0 if inverse else 1.0) / problem.p)
            except ValueError:  # it overflowed
                X = np.full_like(T, np.nan)
            return np.asarray(X, dtype=T.dtype)
        root = np.asarray(sqrtm(T))
        root = root.astype(T.dtype) if np.iscomplexobj(T) else root.real.astype(T.dtype)
        return np.linalg.inv(root) if inverse else root


def _schur_eigenvalues(T: Array) -> Array:
    """Return the eigenvalues of a Schur form; LAPACK makes pairs of blocks [[a, b], [c, a]]."""
    theta = np.diagonal(T).astype(np.complex128)
    if not np.iscomplexobj(T) and len(T) > 1:
        below, above = np.diagonal(T, -1), np.diagonal(T, 1)
        first = np.flatnonzero(below)
        imaginary = np.sqrt(np.abs(below[first])) * np.sqrt(np.abs(above[first]))
        theta[first] += 1j * imaginary
        theta[first + 1] -= 1j * imaginary
    return theta


def _sign(index: int, A: Array) -> Array:
    """Order the Schur form ``[[T11, T12], [0, T22]]``; sign is ``[[-I, Z], [0, I]]``.

    T and its sign commute, so ``T11 Z - Z T22 = -2 T12``.
    """
    from scipy.linalg import get_lapack_funcs, schur

    T, Q, k = schur(A, sort="lhp")
    theta = _schur_eigenvalues(T)
    bad = eigenvalue_outside(Problem("sign"), theta, rounding_level(A, theta))
    bad = _near_axis(A, theta) if bad is None else bad
    if bad is not None:
        raise OutsideDomainError(index, bad)
    S = np.diag(np.where(np.arange(len(T)) < k, -1.0, 1.0)).astype(T.dtype)
    if 0 < k < len(T):
        trsyl: Any = get_lapack_funcs("trsyl", (T,))
        Z, scale, _ = trsyl(T[:k, :k], T[k:, k:], -2.0 * T[:k, k:], isgn=-1)
        S[:k, k:] = Z / scale
    made: Any = Q @ S @ Q.conj().T
    return made


def _near_axis(A: Array, theta: Array) -> complex | None:
    """Return an eigenvalue that a change of A by rounding takes to the imaginary axis, or None.

    Looks at ``A - i w I`` for w of zero and of the eigenvalues closest to the axis, and estimates
    the norms of their inverses: 4 LU factorizations at most.
    """
    from scipy.linalg import get_lapack_funcs

    closest = theta[np.argsort(np.abs(theta.real))[:SHIFTS]]
    eps = ROUNDING * float(np.finfo(A.dtype).eps)
    shifts = [(0.0, theta[np.argmin(np.abs(theta))]), *((value.imag, value) for value in closest)]
    for w, value in {abs(float(w)): (w, value) for w, value in shifts}.values():
        shifted = A - (1j * w if w != 0.0 else 0.0) * np.eye(len(A), dtype=A.dtype)
        functions: Any = get_lapack_funcs(("getrf", "gecon"), (shifted,))
        getrf, gecon = functions
        rcond, _ = gecon(getrf(shifted)[0], np.linalg.norm(shifted, 1))
        if rcond <= eps:
            return complex(value)
    return None
