"""``expm_multiply``: exp(A) B and exp(t A) B with the signature of SciPy's function.

Source
    The signature, shapes and times are those of ``scipy.sparse.linalg.expm_multiply`` (Al-Mohy and
    Higham, SISC 33 (2011)); the methods are ``funm_multiply``'s.
Deviations
    (1) Small stored matrices are exponentiated whole; (2) a skew-Hermitian A = -i H goes as H with
    imaginary times, so that it keeps short recurrences; (3) no trace is needed.
Cost
    Small A: two dense exponentials, then one product per time. Otherwise the matvecs of the last
    time, for all times, from one basis.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from spectool._types import Array, Rng
from spectool.errors import ConvergenceWarning, InputError
from spectool.functions.door import check_options
from spectool.functions.funm import funm_multiply
from spectool.operators import Operator, as_operator
from spectool.results import FunctionSolution, Status
from spectool.spectrum import Spectrum, probe

DENSE_N = 100
"""Order up to which stored matrices are exponentiated whole: milliseconds."""
SAFETY = 50.0
"""The default tolerance over the machine epsilon, at least; rounding alone takes some of it."""


def expm_multiply(
    A: Any,
    B: Any,
    start: complex | None = None,
    stop: complex | None = None,
    num: int | None = None,
    endpoint: bool | None = None,
    traceA: Any = None,  # noqa: ARG001 - SciPy's; no method here depends on a shift of A
    *,
    rtol: float | None = None,
    rng: Rng = None,
) -> Array:
    """Compute ``exp(A) B``, or ``exp(t A) B`` at evenly spaced times, like SciPy's function.

    Replaces ``scipy.sparse.linalg.expm_multiply``: same arguments, shapes and meaning.
    ``funm_multiply("exp", A, B, t=...)`` does the same work, and tells its error and cost.

    Parameters
    ----------
    A : sparse array, ndarray or LinearOperator, shape (n, n)
        Any square matrix; Hermitian and skew-Hermitian ones are recognized, and cheaper.
    B : ndarray or sparse array, shape (n,) or (n, m)
        Vector or block that exp(tA) acts on.
    start, stop : scalar, optional
        Ends of the times. Without these, num and endpoint there is one time, t = 1.
    num : int, optional
        Number of times, at least 2; 50.
    endpoint : bool, optional
        Whether stop is the last time; True.
    traceA : scalar, optional
        Accepted and not used: Krylov spaces are those of any shifted A.
    rtol : float, optional
        Wanted relative error of each column at each time, in norm. By default what rounding
        allows, and 50 machine epsilons where it allows more.
    rng : Generator, int or None
        Seeds the probe.

    Returns
    -------
    ndarray
        Shape of B, behind an axis of times where start or the like is given.

    Raises
    ------
    InputError
        If an argument is malformed, or exp(tA) B overflows.

    Warns
    -----
    ConvergenceWarning
        If the estimated error exceeds rtol; by default if half of the digits are lost.

    Notes
    -----
    Cost: see ``funm_multiply``; one basis serves all times. Stored matrices of order up to 100
    are exponentiated whole, which costs about ``30 n^3`` flops.

    Differences from SciPy: the answer is dense, also for sparse B; float32 stays float32 at several
    times too, extended precision becomes double; no warning asks for the trace of a LinearOperator;
    times may be complex.

    References
    ----------
    .. [1] Al-Mohy and Higham, Computing the action of the matrix exponential, SISC 33 (2011).

    Examples
    --------
    >>> import numpy as np, spectool as st
    >>> A = np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> st.expm_multiply(A, np.array([1.0, 0.0]), start=0, stop=np.pi, num=3).round(6).tolist()
    [[1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]]
    """
    check_options("auto", rtol, None)
    times = _times(start, stop, num, endpoint)
    block = _block(B)
    A, block = _one_precision(A, block)
    operator = as_operator(A, need_hermitian=False)
    n = operator.n
    if block.ndim not in (1, 2) or block.shape[0] != n:
        raise InputError(f"B must have shape ({n},) or ({n}, m); got {block.shape}.")
    if not np.isfinite(block).all():
        raise InputError(f"B must be finite; {int((~np.isfinite(block)).sum())} entries are not.")
    dense = operator.backend.to_dense() if n <= DENSE_N else None
    if dense is not None:
        return _by_expm(np.asarray(dense), block, times)
    turned = None if operator.assume_a == "her" else _turned(A, operator)
    if turned is None:
        return _by_funm(operator, block, times, rtol, rng)
    # exp(t A) = exp(-i t (i A)), and i A is Hermitian.
    real = not any(np.iscomplexobj(part) for part in (times, block)) and operator.dtype.kind != "c"
    y = _by_funm(turned, block, -1j * times, rtol, rng)
    return np.ascontiguousarray(y.real) if real else y


def _times(start: Any, stop: Any, num: Any, endpoint: Any) -> Array:
    """Return the times, shape (q,), or () for the one time 1."""
    if start is None and stop is None and num is None and endpoint is None:
        return np.array(1.0)
    if start is None or stop is None:
        raise InputError(
            f"start and stop must both be given where either, num or endpoint is; got start="
            f"{start!r}, stop={stop!r}."
        )
    count = 50 if num is None else int(num)
    if count < 2:
        raise InputError(f"num must be at least 2, since two ends make an interval; got {num!r}.")
    ends = np.asarray([start, stop])
    if ends.ndim != 1 or ends.dtype.kind not in "iufc" or not np.isfinite(ends).all():
        raise InputError(f"start and stop must be finite numbers; got {start!r}, {stop!r}.")
    return np.linspace(start, stop, count, endpoint=True if endpoint is None else bool(endpoint))


def _block(B: Any) -> Array:
    values: Array = B.toarray() if hasattr(B, "toarray") else np.asarray(B)
    if values.dtype.kind not in "biufc":
        raise InputError(f"B must be numeric; got dtype {values.dtype}.")
    if values.dtype.kind in "biu":
        return values.astype(np.float64)
    if values.dtype.kind == "c":
        return values.astype(np.complex64 if values.dtype.itemsize <= 8 else np.complex128)
    return values.astype(np.float32 if values.dtype.itemsize <= 4 else np.float64)


def _one_precision(A: Any, block: Array) -> tuple[Any, Array]:
    """Return A and the block in the wider of their two precisions; an operator keeps its own."""
    dtype = getattr(A, "dtype", None)
    if isinstance(A, LinearOperator) or dtype is None or np.dtype(dtype).kind not in "fc":
        return A, block
    eps = min(np.finfo(dtype).eps, np.finfo(block.dtype).eps)
    if np.finfo(dtype).eps > eps:
        A = A.astype(np.complex128 if np.dtype(dtype).kind == "c" else np.float64)
    if np.finfo(block.dtype).eps > eps:
        block = block.astype(np.complex128 if block.dtype.kind == "c" else np.float64)
    return A, block


def _turned(A: Any, operator: Operator) -> Operator | None:
    """Return ``i A`` if that is Hermitian; for operators that are real this is not asked."""
    if isinstance(A, LinearOperator) and operator.dtype.kind != "c":
        return None
    factor: Any = A if sp.issparse(A) or isinstance(A, LinearOperator) else np.asarray(A)
    turned = as_operator(1j * factor, need_hermitian=False)
    return turned if turned.assume_a == "her" else None


def _by_expm(A: Array, block: Array, times: Array) -> Array:
    """Step by ``exp(h A)`` away from zero on either side: towards it, rounding would grow."""
    samples: list[Any] = np.atleast_1d(times).tolist()
    h = samples[1] - samples[0] if times.ndim else 1.0
    ahead = [k for k, t in enumerate(samples) if (np.conj(h) * t).real >= 0]
    behind = [k for k in range(len(samples)) if k not in ahead][::-1]
    result = [block] * len(samples)
    with np.errstate(all="ignore"):
        for side, step in ((ahead, h), (behind, -h)):
            for i, k in enumerate(side):
                if i == 0:
                    result[k] = scipy.linalg.expm(samples[k] * A) @ block
                    E = scipy.linalg.expm(step * A) if len(side) > 1 else None
                else:
                    result[k] = E @ result[side[i - 1]]
    if not all(np.isfinite(X).all() for X in result):
        raise InputError("exp(tA) B overflows; take shorter times, or subtract a shift from A.")
    return np.stack(result) if times.ndim else result[0]


def _by_funm(operator: Operator, block: Array, times: Array, rtol: float | None, rng: Rng) -> Array:
    eps = float(np.finfo(operator.dtype).eps)
    spectrum = None
    if rtol is None and operator.assume_a != "gen" and operator.row_facts() is None:
        spectrum = probe(operator, rng=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        solution = funm_multiply(
            "exp",
            operator,
            block,
            t=times if times.ndim else times.item(),
            rtol=_attainable(operator, times, spectrum) if rtol is None else rtol,
            spectrum=spectrum,
            rng=rng,
        )
    if not _good(solution, eps, rtol):
        warnings.warn(f"expm_multiply: {solution}", ConvergenceWarning, stacklevel=3)
    return solution.y


def _attainable(operator: Operator, times: Array, spectrum: Spectrum | None) -> float:
    """Return what rounding allows where ``||tA||`` is known: it moves tA by eps times that."""
    eps = float(np.finfo(operator.dtype).eps)
    facts = operator.row_facts()
    if facts is not None:
        norm = float((np.abs(facts.diagonal) + facts.radius).max())
    else:
        norm = 0.0 if spectrum is None else max(abs(end) for end in spectrum.interval)
    # Decay damps what oscillation keeps: the rounding of the arguments in every coefficient.
    factor = 64.0 if np.iscomplexobj(times) else 1.0
    size = factor * norm * float(np.abs(times).max())
    return min(max(SAFETY, size) * eps, 0.1 * eps**0.5)


def _good(solution: FunctionSolution, eps: float, rtol: float | None) -> bool:
    """Say whether the answer is what was asked; by default, rounding may take half the digits."""
    if rtol is None and solution.status is Status.STAGNATED:
        return solution.error_estimate <= eps**0.5
    return solution.converged
