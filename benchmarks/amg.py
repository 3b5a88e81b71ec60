"""Multigrid cycles: pyamg's own, and ours over the same hierarchy, preconditioning scipy's cg.

Per problem one smoothed aggregation hierarchy with pyamg's defaults. Solved to rtol 1e-8 with
pyamg's cycle (symmetric Gauss-Seidel, its default), with its Chebyshev smoothers (degree 3), and
with `accelerate` in both precisions; last with `amg`, whose hierarchy is its own. Runs are
interleaved; seconds are medians of the solve phase, ratios are medians of the ratios per round.
Run ``OPENBLAS_NUM_THREADS=1 python benchmarks/amg.py [rows, 300000 by default] [problem ...]``.
"""

import copy
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyamg
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from spectool import gallery
from spectool.preconditioners.amg import accelerate, amg

RTOL, ROUNDS, SEED = 1e-8, 5, 662_607_015
CHEBYSHEV = ("chebyshev", {"degree": 3})


def elasticity(n: int) -> tuple[Any, Any]:
    """Return a clamped cube with its rigid body modes, as pyamg wants them."""
    m = max(round((n / 3) ** (1 / 3)), 2)
    A = gallery.elasticity((m, m, m))
    x = np.indices((m, m + 1, m + 1)).reshape(3, -1).T - 0.5 * m
    modes = np.zeros((len(x), 3, 6))
    for i in range(3):
        modes[:, i, i] = 1.0
        j, k = (i + 1) % 3, (i + 2) % 3
        modes[:, j, 3 + i], modes[:, k, 3 + i] = -x[:, k], x[:, j]
    return A.tobsr((3, 3)), modes.reshape(-1, 6)


def problems(n: int) -> dict[str, Callable[[], tuple[Any, Any]]]:
    square, cube = (round(n**0.5),) * 2, (round(n ** (1 / 3)),) * 3
    return {
        "poisson 2D": lambda: (gallery.poisson(square), None),
        "poisson 3D": lambda: (gallery.poisson(cube), None),
        "anisotropic 2D": lambda: (gallery.anisotropic(square), None),
        "jump 2D": lambda: (gallery.jump(square), None),
        "jump 3D": lambda: (gallery.jump(cube), None),
        "elasticity 3D": lambda: elasticity(n),
    }


def with_smoothers(hierarchy: Any, smoother: Any) -> Any:
    levels = [copy.copy(level) for level in hierarchy.levels]
    other = pyamg.MultilevelSolver(levels, coarse_solver="pinv")
    pyamg.relaxation.smoothing.change_smoothers(other, smoother, smoother)
    return other.aspreconditioner()


def solve(A: Any, M: Any, b: Any) -> tuple[float, int, float]:
    """Return seconds, iterations and the true relative residual."""
    count = []
    begin = time.perf_counter()
    x, info = sla.cg(A, b, M=M, rtol=RTOL, maxiter=2_000, callback=lambda _: count.append(0))
    seconds = time.perf_counter() - begin
    residual = float(np.linalg.norm(b - A @ x) / np.linalg.norm(b))
    assert info == 0, f"no convergence in {len(count)} iterations"
    assert residual <= 2 * RTOL, residual
    return seconds, len(count), residual


def timed(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, float]:
    begin = time.perf_counter()
    return function(*args, **options), time.perf_counter() - begin


def main(n: int, names: Sequence[str]) -> None:
    for name, problem in problems(n).items():
        if names and name not in names:
            continue
        A, near_null = problem()
        csr = sp.csr_array(A)
        np.random.seed(SEED)  # noqa: NPY002 (pyamg draws from the global state)
        hierarchy, built = timed(pyamg.smoothed_aggregation_solver, A, B=near_null)
        rivals = {"pyamg": (hierarchy.aspreconditioner(), built)}
        M, more = timed(with_smoothers, hierarchy, CHEBYSHEV)
        rivals["pyamg chebyshev"] = M, built + more
        for precision in ("float64", "float32"):
            accelerate(hierarchy, precision=precision, rng=SEED)  # compiles
            M, more = timed(accelerate, hierarchy, precision=precision, rng=SEED)
            rivals[f"accelerate {precision}"] = M, built + more
        rivals["amg"] = timed(amg, A, near_null=near_null, rng=SEED)
        b = np.random.default_rng(SEED).standard_normal(csr.shape[0])
        runs = {rival: [] for rival in rivals}
        for k in range(ROUNDS + 1):
            for rival, (M, _) in rivals.items():
                run = solve(csr, M, b)
                if k:  # the first round warms up
                    runs[rival].append(run)
        print(f"{name}: {csr.shape[0]} rows, {csr.nnz} entries", flush=True)
        base = np.array([run[0] for run in runs["pyamg"]])
        for rival, (_, setup) in rivals.items():
            seconds = np.array([run[0] for run in runs[rival]])
            _, iterations, residual = runs[rival][0]
            print(
                f"  {rival:<19} {iterations:>4} iterations {np.median(seconds):8.3f} s "
                f"(ratio {np.median(base / seconds):5.2f}), residual {residual:.1e}, "
                f"set-up {setup:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    main(rows, sys.argv[2:])
