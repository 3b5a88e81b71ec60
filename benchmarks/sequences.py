"""Matvecs of ten systems with one matrix: separate CG solves against ``CGSequence``.

Right-hand sides are random and new each time, rtol is 1e-8 of a recomputed residual, both sides are
preconditioned by Jacobi. Positive definite matrices of 1 500 to 20 000 rows come from the
collection on this machine (``SPECTOOL_DATA`` adds folders), and two from the gallery. Printed per
matrix: rows, matvecs of a separate solve (mean), then for each k the matvecs system by system, all
of them over those of separate solves, and the same for CPU seconds.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import spectool as st
from spectool.errors import ConvergenceWarning
from spectool.results import LinearSolution
from spectool.solvers.cg import cg
from spectool.solvers.recycling import CGSequence

SYSTEMS, RTOL, SEED = 10, 1e-8, 719_304_586
SIZES = (20, 40)
NAMES = (
    "HB/bcsstk13",
    "HB/bcsstk14",
    "HB/bcsstk15",
    "HB/bcsstk16",
    "HB/bcsstk17",
    "HB/bcsstk21",
    "Nasa/nasa4704",
    "Cylshell/s1rmq4m1",
    "Cylshell/s3rmt3m1",
    "Oberwolfach/gyro_m",
    "UTEP/Dubcova1",
    "Pothen/bodyy5",
    "JGD_Trefethen/Trefethen_20000",
)
BAR = 0.5


def matrices() -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {
        "poisson 100x100": lambda: st.gallery.poisson((100, 100)),
        "jump 100x100": lambda: st.gallery.jump((100, 100), rng=SEED),
    }
    here = {entry.name for entry in st.collection.search(spd=True)}
    for name in NAMES:
        if name in here:
            found[name] = lambda name=name: st.collection.load(name)
    return found


def timed(
    solve: Callable[[Any], LinearSolution], columns: list[Any]
) -> tuple[list[LinearSolution], float]:
    """Return the solutions and CPU seconds."""
    begin = time.process_time()
    solutions = [solve(b) for b in columns]
    return solutions, time.process_time() - begin


def main() -> None:
    """Print one block per matrix and one line per k."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # failures are marked instead
    met: dict[int, list[float]] = {k: [] for k in SIZES}
    for name, make in matrices().items():
        A = make()
        M = st.preconditioner(A, method="jacobi")
        rng = np.random.default_rng(SEED)
        columns = [rng.standard_normal(A.shape[0]) for _ in range(SYSTEMS)]
        cg(A, columns[0], M=M, maxiter=70)  # compiles, and lays A out
        alone, seconds = timed(lambda b, A=A, M=M: cg(A, b, M=M, rtol=RTOL), columns)
        n_alone = sum(s.n_matvecs for s in alone)
        failed = "" if all(s.converged for s in alone) else ", NOT ALL CONVERGED"
        print(f"{name}, n = {A.shape[0]}: {n_alone / SYSTEMS:.0f} matvecs alone{failed}")
        for k in SIZES:
            sequence = CGSequence(A, M=M, k=k)
            solutions, spent = timed(lambda b, s=sequence: s.solve(b, rtol=RTOL), columns)
            ratio = sequence.n_matvecs / n_alone
            met[k].append(ratio)
            counts = " ".join(f"{s.n_matvecs:5d}" for s in solutions)
            failed = "" if all(s.converged for s in solutions) else ", NOT ALL CONVERGED"
            print(f"  k = {k}: {counts}  matvecs x{ratio:.2f}, CPU x{spent / seconds:.2f}{failed}")
    for k, ratios in met.items():
        n_met = sum(ratio <= BAR for ratio in ratios)
        print(f"k = {k}: at most {BAR} on {n_met} of {len(ratios)}, median {np.median(ratios):.2f}")


if __name__ == "__main__":
    main()
