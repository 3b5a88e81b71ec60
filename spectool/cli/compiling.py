"""What ``spectool warmup`` compiles: the kernels that most programs need, into numba's cache.

Every combination is compiled by being used, on matrices too small to take time.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import scipy.sparse as sp

from spectool import gallery
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution, plain, time_slices
from spectool.backends.layout import Fit, FormatName, convert, forced
from spectool.functions import funm_multiply
from spectool.kernels import sweeps
from spectool.krylov import LockstepLanczos
from spectool.operators import Operator
from spectool.polynomials import chebyshev_inverse
from spectool.preconditioners import preconditioner

SEED = 299_792_458
DTYPES = (np.float64, np.float32)
_Use = Callable[[], Any]


def _uses() -> Iterator[tuple[str, _Use]]:
    """Yield what is to be used once, by the name that the bar shows."""
    grid, cube = gallery.poisson((24, 24)), gallery.poisson((9, 9, 9))
    nine = gallery.anisotropic((24, 24))
    full = sp.csr_array(np.eye(60) + np.ones((60, 60)))
    sources: list[tuple[sp.csr_array, FormatName]] = [(grid, "csr"), (full, "csr"), (grid, "sell")]
    sources += [(A, "dia") for A in (grid, cube, nine)]
    plans = [(A, forced(A, name)) for A, name in sources]
    plans += [(full, Fit("bsr", 1.0, b)) for b in (2, 3, 6)]
    for dtype in DTYPES:
        for A, fit in plans:
            rows = " long rows" if A is full and fit.format == "csr" else ""
            size = f" {fit.size}" if fit.size > 1 else rows
            name = f"{fit.format}{size}, {np.dtype(dtype).name}"
            yield name, partial(_sweep, A, fit, dtype)
        yield f"half, {np.dtype(dtype).name}", partial(_halve, grid, dtype)
    yield "preconditioner", partial(_precondition, grid)
    yield "funm_multiply", partial(_apply_function, grid)


def _sweep(A: sp.csr_array, fit: Fit, dtype: Any) -> None:
    """Make products, both sweeps and, over CSR, Lanczos steps: one vector and a block."""
    A = sp.csr_array((A.data.astype(dtype), A.indices, A.indptr), shape=A.shape)
    matrix, n = convert(A, fit), A.shape[0]
    backend = CpuBackend(A, layout=plain(A, None)._replace(matrix=matrix))
    X = np.random.default_rng(SEED).standard_normal((n, 8)).astype(dtype)
    x = np.ascontiguousarray(X[:, 0])
    time_slices({fit: (matrix, 0, n)}, x)
    upper = float(abs(A).sum(axis=1).max())
    p = chebyshev_inverse((upper / 100, upper), 4)
    for block in (x, X) if fit.format == "csr" else (x,):  # blocks run over compressed rows
        backend.matmul(block)
        backend.apply(p, block, order="clenshaw")
        backend.apply(p, block, order="forward")
    if fit.format == "csr":
        basis = np.ascontiguousarray(X[:, :2].T)
        for rows in (basis[:0], basis):
            backend.lanczos_step(np.zeros_like(x), x, 0.0, rows, np.empty_like(x))
        for starts in (x[:, None], X):
            process = LockstepLanczos(Operator(backend, "her"), starts)
            process.step()
            process.combine(np.ones((1, starts.shape[1], 1)))


def _halve(A: sp.csr_array, dtype: Any) -> None:
    """Make products and sweeps over a symmetric matrix kept by half."""
    backend = CpuBackend(A.astype(dtype)).prepared(1.0, Execution(format="half"))
    x = np.ones(A.shape[0], dtype=dtype)
    backend.matmul(x)
    for order in ("clenshaw", "forward"):
        backend.apply(chebyshev_inverse((0.1, 8.0), 4), x, order=order)


def _precondition(A: sp.csr_array) -> None:
    M = preconditioner(A, rng=SEED)
    M @ np.ones(A.shape[0])


def _apply_function(A: sp.csr_array) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the answer is thrown away
        funm_multiply("exp", A, np.ones(A.shape[0]), t=-1.0, rng=SEED)


def n_steps() -> int:
    """Return how many steps `compile_usual` reports."""
    return sum(1 for _ in _uses())


def compile_usual(advance: Callable[[str], Any] = lambda _name: None) -> str:
    """Compile the usual kernels; return how long it took and where they lie.

    Parameters
    ----------
    advance : callable
        ``advance(name)`` is told what has been compiled.
    """
    begin = time.perf_counter()
    for name, use in _uses():
        use()
        advance(name)
    seconds = time.perf_counter() - begin
    cache = cache_folder()
    if not cache:
        return f"nothing to compile: NUMBA_DISABLE_JIT is set ({seconds:.1f} s)"
    return f"usual kernels ready after {seconds:.1f} s; they are kept in {cache}"


def cache_folder() -> str:
    """Return the folder of compiled kernels; empty where the JIT is off."""
    stats = getattr(cast("Any", sweeps.sweep), "stats", None)
    return "" if stats is None else str(stats.cache_path)
