"""Torch tensors: products with a stored Hermitian matrix, and Lanczos processes, on any device.

Source
    Saad, Numerical Methods for Large Eigenvalue Problems, 2nd ed., SIAM 2011, Algorithm 6.5.
Deviations
    (1) All columns step together, each in a Krylov space of its own; (2) each vector is
    orthogonalized against its whole basis, twice, because the basis is kept anyway; (3) the
    coefficients stay on the device until they are asked for, so that a step waits for nothing.
Cost per step and column
    1 matvec, 8 k n flops of orthogonalization at step k, 1 stored vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from spectool._types import Array, FloatArray
from spectool.errors import BackendUnavailableError, BreakdownError, InputError

try:
    import torch
except ImportError as error:
    raise BackendUnavailableError(
        "the torch backend needs torch; pip install 'spectool[torch]'."
    ) from error

__all__ = [
    "Pattern",
    "Tensor",
    "TorchLanczos",
    "check_hermitian",
    "check_vectors",
    "split_matrix",
    "to_numpy",
    "torch",
    "underflow",
]

Tensor: TypeAlias = torch.Tensor
Multiply: TypeAlias = Callable[[Tensor], Tensor]
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
FIRST_CAPACITY = 32


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Where the entries of a square matrix are stored; their values are kept apart.

    Attributes
    ----------
    n : int
        Order of the matrix.
    crow, col : Tensor or None
        Row pointers, shape (n + 1,), and columns, shape (nnz,), of compressed rows; None if dense.
    """

    n: int
    crow: Tensor | None = None
    col: Tensor | None = None

    @property
    def row(self) -> Tensor:
        """Row of each stored entry, shape (nnz,)."""
        assert self.crow is not None
        return torch.repeat_interleave(
            torch.arange(self.n, device=self.crow.device), self.crow.diff()
        )

    def multiply(self, values: Tensor) -> Multiply:
        """Return the map of a block (n, m) to A times it."""
        if self.crow is None or self.col is None:
            return lambda X: values @ X
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*CSR tensor support is in beta")
            A = torch.sparse_csr_tensor(
                self.crow, self.col, values, (self.n, self.n), check_invariants=False
            )
        return lambda X: A @ X

    def scaled(self, values: Tensor) -> tuple[Multiply, float]:
        """Return products with A over a power of two near its largest entry, and that power.

        Raises InputError unless A is finite.
        """
        largest = float(values.abs().max()) if values.numel() else 0.0
        if not np.isfinite(largest):
            raise InputError("A must be finite; it holds NaN or Inf.")
        unit = float(2.0 ** np.floor(np.log2(largest))) if largest > 0 else 1.0
        return self.multiply(values / unit), unit

    def hermitian_entries(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return ``(P^T conj(Q) + Q^T conj(P)) / 2`` for P, Q (r, n), where entries are stored.

        Shape of the values. The work is r times the number of stored entries, the memory one
        value for each of them.
        """
        if self.crow is None or self.col is None:
            outer = P.T @ Q.conj()
            return 0.5 * (outer + outer.conj().T)
        row, col = self.row, self.col
        entries = torch.zeros(col.shape, dtype=P.dtype, device=P.device)
        for p, q in zip(P, Q, strict=True):
            entries += p[row] * q[col].conj() + q[row] * p[col].conj()
        return 0.5 * entries


def split_matrix(A: Tensor) -> tuple[Pattern, Tensor]:
    """Return pattern and values of a dense, COO or CSR tensor; gradients flow to the values.

    Raises InputError for another layout, shape or data type.
    """
    if not isinstance(A, torch.Tensor):
        raise InputError(f"A must be a torch tensor; got {type(A).__name__}.")
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise InputError(f"A must be square and not empty; got shape {tuple(A.shape)}.")
    if A.dtype not in DTYPES:
        raise InputError(f"A must have one of the data types {DTYPES}; got {A.dtype}.")
    n = int(A.shape[0])
    if A.layout == torch.strided:
        return Pattern(n), A
    if A.layout == torch.sparse_csr:
        return Pattern(n, A.crow_indices(), A.col_indices()), A.values()
    if A.layout == torch.sparse_coo:
        A = A.coalesce()
        row, col = A.indices()
        crow = torch.zeros(n + 1, dtype=torch.int64, device=A.device)
        crow[1:] = torch.bincount(row, minlength=n).cumsum(0)
        return Pattern(n, crow, col), A.values()
    raise InputError(f"A must be dense, COO or CSR; got {A.layout}. Use A.to_sparse_csr().")


def check_vectors(A: Tensor, b: Any) -> None:
    """Raise InputError unless b is a finite vector or block on A's device."""
    if not isinstance(b, torch.Tensor):
        raise InputError(f"b must be a torch tensor; got {type(b).__name__}.")
    if b.layout != torch.strided or b.dtype not in DTYPES:
        raise InputError(f"b must be dense, of one of {DTYPES}; got {b.layout}, {b.dtype}.")
    if b.ndim not in (1, 2) or b.shape[0] != A.shape[0]:
        n = A.shape[0]
        raise InputError(f"b must have shape ({n},) or ({n}, m); got {tuple(b.shape)}.")
    if b.device != A.device:
        raise InputError(f"b must be on A's device {A.device}; it is on {b.device}.")
    if not torch.isfinite(b.detach()).all():
        raise InputError("b must be finite; it holds NaN or Inf.")


class TorchLanczos:
    """Lanczos processes of the columns of B, in step: ``A V = V T + beta v e_k^T`` for each.

    Parameters
    ----------
    multiply : callable
        Maps a block (n, m) to A times it, A Hermitian with entries of moderate size.
    B : Tensor, shape (n, m)
        Start vectors. The space of a zero column is empty.

    Attributes
    ----------
    steps : int
        Steps made so far.
    norms : ndarray, shape (m,)
        Norms of the start vectors.
    """

    def __init__(self, multiply: Multiply, B: Tensor) -> None:
        n, m = B.shape
        self._multiply = multiply
        self.steps = 0
        largest = B.abs().amax(dim=0)
        unit = torch.where(largest > 0, largest, torch.ones_like(largest))
        scaled = B / unit
        norm = torch.linalg.vector_norm(scaled, dim=0)
        self.norms: FloatArray = (norm.double() * largest.double()).cpu().numpy()
        self._vectors = B.new_zeros((m, min(FIRST_CAPACITY, n) + 1, n))
        self._vectors[:, 0] = (scaled / torch.where(norm > 0, norm, torch.ones_like(norm))).T
        self._alpha: list[Tensor] = []
        self._beta: list[Tensor] = []
        self._scale = torch.zeros_like(norm)

    def step(self) -> None:
        """Expand every column's basis by one vector; zero where its space is exhausted."""
        k, V = self.steps, self._vectors
        if k + 1 == V.shape[1]:
            longer = V.new_zeros((V.shape[0], min(2 * k, V.shape[2]) + 1, V.shape[2]))
            longer[:, : k + 1] = V
            self._vectors = V = longer
        v = V[:, k]
        r = self._multiply(v.T).T
        alpha = (v.conj() * r).sum(dim=1).real
        basis = V[:, : k + 1]
        for _ in range(2):
            h = torch.bmm(basis.conj(), r[:, :, None])
            r = r - torch.bmm(basis.transpose(1, 2), h)[:, :, 0]
        beta = torch.linalg.vector_norm(r, dim=1)
        self._scale = torch.maximum(self._scale, alpha.abs() + beta)
        alive = beta > 100 * torch.finfo(V.dtype).eps * self._scale
        if k + 1 >= V.shape[2]:
            alive = torch.zeros_like(alive)
        unit = torch.where(alive, beta, torch.ones_like(beta))
        V[:, k + 1] = torch.where(alive[:, None], r / unit[:, None], torch.zeros_like(r))
        self._alpha.append(alpha)
        self._beta.append(torch.where(alive, beta, torch.zeros_like(beta)))
        self.steps = k + 1

    def jacobi(self) -> list[tuple[FloatArray, FloatArray]]:
        """Return alpha and beta of each column, shapes (k,); an exhausted one ends in a zero beta.

        Waits for the device. Raises BreakdownError on NaN or overflow.
        """
        both = torch.stack([torch.stack(self._alpha), torch.stack(self._beta)]).double().cpu()
        alpha, beta = both.numpy()
        if not np.isfinite(alpha).all() or not np.isfinite(beta).all():
            raise BreakdownError(
                "A @ v is not finite or overflows. Check A for NaN, and rescale b if its entries "
                "are at the end of its data type's range."
            )
        columns = []
        for j, norm in enumerate(self.norms):
            end = np.flatnonzero(beta[:, j] == 0)
            k = 0 if norm == 0 else int(end[0]) + 1 if end.size else self.steps
            columns.append((alpha[:k, j].copy(), beta[:k, j].copy()))
        return columns

    def combine(self, j: int, C: Array) -> Tensor:
        """Return ``C V`` for column j's basis V (k, n) and coefficients C, shape (r, k)."""
        basis = self._vectors[j, : C.shape[1]]
        if np.iscomplexobj(C) and not basis.is_complex():
            raise InputError("f is complex at some eigenvalues of A; pass a complex b.")
        return torch.as_tensor(C, device=basis.device).to(basis.dtype) @ basis


def check_hermitian(multiply: Multiply, n: int, values: Tensor) -> None:
    """Raise InputError unless ``y* A x = conj(x* A y)`` for random x, y; 2 matvecs."""
    X = np.random.default_rng(602214076).standard_normal((2, n, 2))
    pair = torch.as_tensor(X[0], device=values.device).to(values.dtype)
    if values.is_complex():
        pair = pair + 1j * torch.as_tensor(X[1], device=values.device)
        pair = pair.to(values.dtype)
    image = multiply(pair)
    gap = (torch.vdot(pair[:, 1], image[:, 0]) - torch.vdot(image[:, 1], pair[:, 0])).abs()
    lengths = torch.linalg.vector_norm(pair, dim=0).flip(0)
    size = (torch.linalg.vector_norm(image, dim=0) * lengths).sum()
    if not float(gap) <= 1e4 * torch.finfo(values.dtype).eps * float(size):
        raise InputError(
            f"A must be Hermitian: |y* A x - conj(x* A y)| is {float(gap):.3g} for random x, y, "
            f"against {float(size):.3g}. If this is rounding, pass 0.5 * (A + A.mH)."
        )


def underflow(size: float, B: Tensor) -> float:
    """Return the relative error of a vector of this norm by what lies below B's normal numbers."""
    numbers = torch.finfo(B.dtype)
    return float(numbers.tiny * numbers.eps * B.shape[0] ** 0.5 / size) if size > 0 else 0.0


def to_numpy(values: Tensor) -> Any:
    """Return a host tensor's memory as an array, without a copy."""
    return values.detach().resolve_conj().resolve_neg().numpy()
