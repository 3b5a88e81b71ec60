"""f(A) b for torch tensors, with gradients with respect to b, the entries of A, and t.

Importing this module imports torch; ``import spectool`` does not.

Source
    Kandolf, Koskela, Relton and Schweitzer, Computing low-rank approximations of the Frechet
    derivative of a matrix function using Krylov subspace methods, Numer. Linear Algebra Appl. 28
    (2021), Algorithm 1; see ``functions/frechet.py``.
Deviations
    The derivative is evaluated at the stored entries of A only, after a truncated singular value
    decomposition of its small matrix.
Cost
    Backwards, per column of b: 2 k matvecs and vectors for k steps, and r (about 20) passes over
    the stored entries. Where only b has a gradient: one more call like the first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp

from spectool._types import Array, ScalarMap
from spectool.backends.torch_ import (
    Pattern,
    Tensor,
    TorchLanczos,
    check_hermitian,
    check_vectors,
    split_matrix,
    to_numpy,
    torch,
    underflow,
)
from spectool.errors import ConvergenceWarning, InputError
from spectool.functions import funm_multiply as host_funm_multiply
from spectool.functions.derivatives.frechet import FrechetPair, relative_change, relative_rounding
from spectool.functions.door import Method, check_options, check_times, checked_targets
from spectool.functions.estimates.hermitian import Jacobi, error_rule
from spectool.functions.scalar import ScalarFunction, safe_norm
from spectool.functions.task import Target
from spectool.operators import Operator, as_operator

__all__ = ["funm_multiply"]

HOST = ("cpu",)
"""Devices whose memory the kernels of the NumPy verb read."""
MAXITER = 1_000
"""Most steps of a process that keeps its basis."""
BASIS_BYTES = 2**30
"""Columns step together as long as 128 steps of them fit into this."""


def funm_multiply(
    f: str | ScalarMap,
    A: Tensor,
    b: Tensor,
    *,
    rtol: float | None = None,
    method: Method = "auto",
    t: complex | Tensor = 1.0,
    maxiter: int | None = None,
) -> Tensor:
    """Compute ``f(t A) b`` for a Hermitian tensor A, differentiably.

    On the CPU this is ``spectool.funm_multiply`` on the tensors' own memory; on another device
    Lanczos runs there, in torch operations. Gradients flow to b, to the stored entries of A and to
    t; nothing of the size of ``f(A)`` is formed.

    Parameters
    ----------
    f : str or callable
        A name that ``spectool.funm_multiply`` knows, or a function of a NumPy array of eigenvalues
        of tA. For gradients of A or t a callable must be real at real arguments, and accept
        complex ones.
    A : Tensor, shape (n, n)
        Dense, COO or CSR; float32, float64 or complex. Hermitian.
    b : Tensor, shape (n,) or (n, m)
        On A's device.
    rtol : float, optional
        Wanted ``||y - f(tA) b|| / ||f(tA) b||``, and the same of each column's part of the
        gradient; 1e-8, in single precision 1e-4.
    method : str
        As in ``spectool.funm_multiply``; on other devices than the CPU ``"lanczos"`` only.
    t : float, complex or Tensor of shape ()
        Multiplies A. Complex only for functions without singularity.
    maxiter : int, optional
        Most steps per column; on the CPU 20000, elsewhere and for gradients at most 1000, which
        each keep a vector.

    Returns
    -------
    Tensor
        Shape of b, on its device; complex if f, A, b or t is.

    Raises
    ------
    InputError
        If an argument is malformed, A is not Hermitian, or f cannot be differentiated.
    NotPositiveDefiniteError
        If f is undefined at an eigenvalue of tA.

    Warns
    -----
    ConvergenceWarning
        If the estimated error of the answer, or backwards of a gradient, exceeds rtol.

    Notes
    -----
    **The gradient of A is that of** ``f(t (A + A^*) / 2) b``: each stored entry is a parameter of
    its own, of the Hermitian part. So it is Hermitian itself, and a step along it keeps A so, as
    with ``torch.linalg.cholesky``. Where one parameter fills both triangles, the chain rule adds
    both entries, and the result does not depend on this choice. It has A's layout and pattern:
    entries that are not stored stay constant. Second derivatives are not available.

    Cost: forwards as ``spectool.funm_multiply``; backwards k Lanczos steps for each column of b
    and of its gradient, where k is about what Lanczos needs forwards, and their 2 k vectors.

    References
    ----------
    .. [1] Kandolf, Koskela, Relton and Schweitzer, Numer. Linear Algebra Appl. 28 (2021).

    Examples
    --------
    >>> import torch, spectool.torch
    >>> A = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)).requires_grad_()
    >>> y = spectool.torch.funm_multiply("sqrt", A, torch.ones(2, dtype=torch.float64))
    >>> y.sum().backward()
    >>> A.grad.numpy().round(4).tolist()  # 1 / (sqrt(x) + sqrt(y)) for eigenvalues x, y
    [[0.5, 0.3333], [0.3333, 0.25]]
    """
    check_options(method, rtol, maxiter)
    pattern, values = split_matrix(A)
    check_vectors(A, b)
    t = _time(t, A.device)
    (target,) = checked_targets(f, _scalar(t)).targets
    if maxiter is not None and not isinstance(maxiter, Integral):
        raise InputError(f"maxiter must be an integer; got {maxiter!r}.")
    dtype = torch.promote_types(torch.promote_types(A.dtype, b.dtype), torch.float32)
    if t.is_complex() or _is_complex(target):
        dtype = torch.promote_types(dtype, torch.complex64)
    if rtol is None:
        rtol = 1e-4 if torch.finfo(dtype).eps > 1e-10 else 1e-8
    call = _Call(target.function, pattern, float(rtol), method, maxiter)
    columns = b[:, None] if b.ndim == 1 else b
    # Conversions outside, so that the real part of a complex gradient is taken by them.
    apply: Any = _FunmMultiply.apply
    Y: Tensor = apply(values.to(dtype), columns.to(dtype), t, call)
    return Y.reshape(b.shape)


def _time(t: Any, device: Any) -> Tensor:
    """Return t as a tensor of shape (), float64 or complex128; the caller's own if it is one."""
    if isinstance(t, torch.Tensor):
        if t.ndim or not (t.is_floating_point() or t.is_complex()):
            raise InputError(f"t must be a number or a floating tensor of shape (); got {t!r}.")
        return t
    value = check_times(t)
    if value.ndim:
        raise InputError(f"t must be one number; got {t!r}. Call once for each time.")
    kind = torch.complex128 if value.dtype.kind == "c" else torch.float64
    return torch.as_tensor(value.item(), dtype=kind, device=device)


def _scalar(t: Tensor) -> complex:
    value: complex = t.detach().item()
    return value


def _is_complex(target: Target) -> bool:
    with np.errstate(all="ignore"):
        return np.asarray(target.function.evaluate(target.t * np.ones(1))).dtype.kind == "c"


# -- differentiation -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """What of a call is no tensor with a gradient."""

    function: ScalarFunction
    pattern: Pattern
    rtol: float
    method: Method
    maxiter: int | None

    def apply(self, target: Target, values: Tensor, B: Tensor) -> Tensor:
        """Return ``f(t A) B`` without gradients."""
        if target.t == 0 or not B.numel():
            return B * target(np.zeros(1))[0].item()
        if values.device.type in HOST:
            return self._on_host(target, values, B)
        if self.method not in ("auto", "lanczos"):
            raise InputError(f"method must be 'auto' or 'lanczos' on {values.device}.")
        return _on_device(target, self, values, B)

    def _on_host(self, target: Target, values: Tensor, B: Tensor) -> Tensor:
        solution = host_funm_multiply(
            target.function,
            self._operator(values),
            to_numpy(B),
            t=target.t,
            rtol=self.rtol,
            method=self.method,
            maxiter=self.maxiter,
        )
        if np.iscomplexobj(solution.y) and not B.is_complex():
            raise InputError(f"{target} is complex at some eigenvalues of A; pass a complex b.")
        return torch.from_numpy(np.ascontiguousarray(solution.y)).to(B.dtype)

    def _operator(self, values: Tensor) -> Operator:
        """Return A in the kernels' hands; raises InputError unless it is Hermitian."""
        array, n = to_numpy(values), self.pattern.n
        if self.pattern.crow is None or self.pattern.col is None:
            return as_operator(array)
        index = (to_numpy(self.pattern.col), to_numpy(self.pattern.crow))
        return as_operator(sp.csr_array((array, *index), shape=(n, n)))

    def groups(self, B: Tensor, bases: int) -> Iterator[slice]:
        """Yield slices of columns whose bases, so many for each, fit into the memory."""
        width = max(1, BASIS_BYTES // (128 * bases * B.element_size() * B.shape[0]))
        for start in range(0, B.shape[1], width):
            yield slice(start, min(start + width, B.shape[1]))

    @property
    def most(self) -> int:
        """Most steps of a process that keeps its basis."""
        return MAXITER if self.maxiter is None else min(self.maxiter, MAXITER)


class _FunmMultiply(torch.autograd.Function):
    """``(values of A, B, t) -> f(t A) B``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, B: Tensor, t: Tensor, call: _Call) -> Tensor:
        ctx.save_for_backward(values, B, t)
        ctx.call = call
        return call.apply(Target(call.function, _scalar(t)), values, B)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:
        values, B, t = ctx.saved_tensors
        call: _Call = ctx.call
        target = Target(call.function, _scalar(t))
        for_values, for_b, for_t, _ = ctx.needs_input_grad
        gradients: tuple[Tensor | None, ...]
        with torch.no_grad():
            if for_b and not (for_values or for_t):
                adjoint = call.apply(target.conjugate(), values, G.contiguous())
                gradients = (None, adjoint, None)
            else:
                gradients = _gradients(target, call, values, B, G, t)
        if torch.is_grad_enabled():  # create_graph=True
            once: Any = _Once.apply
            gradients = tuple(g if g is None else once(g, values, B, t, G) for g in gradients)
        return *gradients, None


class _Once(torch.autograd.Function):
    """A gradient that depends on its sources, and says so when it is differentiated."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *sources: Tensor) -> Tensor:  # noqa: ARG004
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG004
        raise InputError(
            "funm_multiply has no second derivatives; leave out create_graph=True, or detach() "
            "the gradient."
        )


def _gradients(
    target: Target, call: _Call, values: Tensor, B: Tensor, G: Tensor, t: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the stored values, of B and of t, by Krylov bases of B and of G."""
    multiply, unit = call.pattern.scaled(values)
    target = Target(target.function, target.t * unit)
    eps = torch.finfo(values.dtype).eps
    for_values, for_b = torch.zeros_like(values), torch.zeros_like(G)
    slope: complex = 0.0
    worst = 0.0
    for group in call.groups(B, 2):
        b, g = B[:, group], G[:, group]
        m = b.shape[1]
        process = TorchLanczos(multiply, torch.cat([b, g], dim=1))
        pairs = [FrechetPair(target, call.rtol, eps, process.norms[[j, m + j]]) for j in range(m)]
        for columns in _checks(process, call.most, call.pattern.n):
            for j, pair in enumerate(pairs):
                pair.look(columns[j], columns[m + j])
            if all(pair.met for pair in pairs):
                break
        for j, pair in enumerate(pairs):
            if pair.idle:
                continue
            lost = underflow(safe_norm(np.abs(pair.adjoint)), B)
            worst = max(worst, pair.error + pair.rounding + lost)
            left, right = pair.factors()
            for_values += call.pattern.hermitian_entries(
                process.combine(m + j, left), process.combine(j, right)
            )
            for_b[:, group.start + j] = process.combine(m + j, pair.adjoint[None, :])[0]
            in_t = process.combine(j, pair.in_t[None, :])[0]
            slope += torch.vdot(g[:, j], in_t).item()
    for_values /= unit
    if not torch.isfinite(for_values).all():
        raise InputError(
            f"the gradient of A overflows {for_values.dtype}; rescale A, and t against it."
        )
    if worst > call.rtol:
        _warn("gradient of funm_multiply", worst, call.rtol)
    h = torch.as_tensor(unit * slope, device=t.device)
    return for_values, for_b, (h.conj() if t.is_complex() else h.real).to(t.dtype)


def _checks(process: TorchLanczos, most: int, n: int) -> Iterator[list[Jacobi | None]]:
    """Step, and yield the Jacobi matrices where it is time to look; None for a zero column."""
    check = 8
    while process.steps < min(most, n):
        process.step()
        if process.steps >= check or process.steps == min(most, n):
            check = process.steps + max(4, process.steps // 8)
            yield [Jacobi(*column) if column[0].size else None for column in process.jacobi()]


# -- other devices ---------------------------------------------------------------------------


def _on_device(target: Target, call: _Call, values: Tensor, B: Tensor) -> Tensor:
    """Return ``f(t A) B`` by Lanczos in torch operations."""
    multiply, unit = call.pattern.scaled(values)
    target = Target(target.function, target.t * unit)
    check_hermitian(multiply, call.pattern.n, values)
    Y, worst = torch.zeros_like(B), 0.0
    for group in call.groups(B, 1):
        process = TorchLanczos(multiply, B[:, group])
        columns = [_Column(target, call.rtol, torch.finfo(B.dtype).eps) for _ in process.norms]
        for jacobis in _checks(process, call.most, call.pattern.n):
            for column, jacobi in zip(columns, jacobis, strict=True):
                column.look(jacobi)
            if all(column.met for column in columns):
                break
        for j, column in enumerate(columns):
            c = process.norms[j] * column.coefficients
            Y[:, group.start + j] = process.combine(j, c[None, :])[0]
            lost = underflow(safe_norm(np.abs(c)), B)
            worst = max(worst, column.error + column.rounding + lost)
    if worst > call.rtol:
        _warn("funm_multiply", worst, call.rtol)
    return Y


class _Column:
    """Follows ``f(t T) e_1`` of one column, and its relative error."""

    def __init__(self, target: Target, rtol: float, eps: float) -> None:
        self.target, self.rtol, self.eps = target, rtol, eps
        self.rule = error_rule(target)
        self.coefficients: Array = np.zeros(1)
        self.error, self.rounding = np.inf, 0.0
        self.met = False

    def look(self, jacobi: Jacobi | None) -> None:
        """Evaluate f on the Jacobi matrix, and estimate the error."""
        if self.met:
            return
        if jacobi is None:  # a zero column
            self.error, self.met = 0.0, True
            return
        theta, S = jacobi.eigen
        z = self.target.checked(theta, self.eps)
        values, slope = self.target.function.with_slope(z)
        self.rounding = relative_rounding(values, slope, z, S[0], self.eps)
        earlier, self.coefficients = self.coefficients, S @ (values * S[0])
        change = relative_change(self.coefficients, earlier)
        if jacobi.beta[-1] == 0:
            self.error, self.met = 0.0, True
        elif self.rule is None:
            self.met = max(change, 0.1 * self.error) <= self.rtol
            self.error = change
        else:
            errors = self.rule(jacobi)
            size = max(safe_norm(np.abs(self.coefficients)), 1e-300)
            self.error = max(errors.estimate / size, 0.1 * change)
            self.met = self.error <= self.rtol and errors.bound <= 10 * self.rtol * size


def _warn(what: str, error: float, rtol: float) -> None:
    warnings.warn(
        f"{what}: the error estimate {error:.1e} exceeds rtol = {rtol:.1e}; raise maxiter or "
        "loosen rtol.",
        ConvergenceWarning,
        stacklevel=2,
    )
