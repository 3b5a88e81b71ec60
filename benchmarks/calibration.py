"""Iterations predicted on the virtual operator against those that CG takes.

Every positive definite matrix of the collection (``SPECTOOL_DATA`` adds folders) with at most
30000 rows or 1e6 entries, diagonal ones left out, is probed once; then ``st.cg`` solves it to 1e-8
for a random b with Jacobi and with Chebyshev designs of both kinds, degrees 4 to 32, forced.
Counts only, no timing. What is not solved within ``--seconds`` per solve is left out of all
figures, and counted. Prints

- per matrix its rows, the ratio of the extreme Ritz values, and per design predicted/true
  iterations;
- over all solves Spearman's rank correlation and quantiles of the factor predicted/true; and of
  that factor over Jacobi's on the same matrix, by design: selection lives by ratios alone;
- per matrix the rank correlation among designs, of iterations and of products with A;
- the regret: what the design that is predicted best takes over what the truly best one takes, for
  three costs of an iteration: 1 (iterations), degree + 1 (matvecs), and degree + 1 + 3 (work), as
  reductions and vector operations of an iteration take about as long as three products.

All this twice: for all designs, and for those that ``preconditioner`` considers unless it is told
a degree: Jacobi, and what is predicted ``FEWEST`` iterations or more.

``--plot file.svg`` draws the calibration plot. Run
``OPENBLAS_NUM_THREADS=1 python benchmarks/calibration.py [part of a name ...]``.
"""

import argparse
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

import spectool as st
from spectool import plotting
from spectool.planner import VirtualOperator
from spectool.preconditioners.selection import FEWEST

RTOL, SEED, PROBE_SEED = 1e-8, 314_159_265, 602_214_076
DEGREES = (4, 8, 16, 32)
DESIGNS = (("jacobi", 0), *((m, d) for m in ("chebyshev", "chebyshev4") for d in DEGREES))
MARKERS = {"jacobi": "o", "chebyshev": "s", "chebyshev4": "^"}
VECTORS = 3
"""Products that take as long as the reductions and vector operations of an iteration."""
COSTS = {"iterations": (0, 1), "matvecs": (1, 1), "work": (1, 1 + VECTORS)}
"""Of an iteration: per degree, and without M."""


class Run(NamedTuple):
    """One design on one matrix; ``true`` is inf where time ran out."""

    matrix: str
    method: str
    degree: int
    predicted: float
    true: float

    @property
    def design(self) -> str:
        """Method and degree."""
        return f"{self.method} {self.degree}" if self.degree else self.method


def measured(name: str, A: Any, seconds: float) -> tuple[list[Run], float]:
    """Return all designs on one matrix, and the condition number that the probe sees."""
    n = A.shape[0]
    b = np.random.default_rng(SEED).standard_normal(n)
    spectrum = st.estimate_spectrum(A, scaling="symmetric", rng=PROBE_SEED)
    virtual = VirtualOperator.of(spectrum)
    runs: list[Run] = []
    shrink = 1.0
    for method, degree in DESIGNS:
        M = st.preconditioner(
            A, method=method, degree=degree, spectrum=spectrum, precision="float64"
        )
        counted = max(virtual.cg_iterations(M.recurrence, rtol=RTOL), 1)
        if degree == 0:
            shrink = min(1.0, n / counted)  # as selection does
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", st.errors.ConvergenceWarning)
            solution = st.cg(A, b, M=M, rtol=RTOL, max_time=seconds)
        true = max(solution.n_iterations, 1) if solution.converged else math.inf
        runs.append(Run(name, method, degree, max(round(shrink * counted), 1), true))
    return runs, float(spectrum.ritz_values[-1] / spectrum.ritz_values[0])


def rank_correlation(x: Any, y: Any) -> float:
    """Return Spearman's rho; nan where either is constant."""
    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else math.nan


def factors(values: Any) -> str:
    """Return quantiles of factors, and the one farthest from 1."""
    logs = np.log(np.asarray(values, dtype=float))
    low, middle, high = np.exp(np.quantile(logs, [0.1, 0.5, 0.9]))
    worst = float(np.exp(logs[np.abs(logs).argmax()]))
    return f"median {middle:.2f}, 80% within [{low:.2f}, {high:.2f}], worst {worst:.3g}"


def report(matrices: list[list[Run]]) -> None:
    """Print the summary; Jacobi is each matrix's first design."""
    solved = [[run for run in runs if math.isfinite(run.true)] for runs in matrices]
    solved = [runs for runs in solved if runs]
    every = [run for runs in solved for run in runs]
    print(f"{len(every)} of {sum(map(len, matrices))} solves within the time")
    rho = rank_correlation([r.predicted for r in every], [r.true for r in every])
    print(f"  rank correlation over all: {rho:.3f}")
    print(f"  predicted/true iterations: {factors([r.predicted / r.true for r in every])}")
    relative: dict[str, list[float]] = {}
    for jacobi, *others in (runs for runs in solved if runs[0].degree == 0):
        own = jacobi.predicted / jacobi.true
        for run in others:
            relative.setdefault(run.design, []).append(run.predicted / run.true / own)
    print("  the same over Jacobi's on the same matrix")
    for design, values in relative.items():
        print(f"    {design:<14}{len(values):>4} matrices: {factors(values)}")
    for unit, (slope, rest) in COSTS.items():
        rhos, regrets = [], {}
        for runs in solved:
            costs = [slope * run.degree + rest for run in runs]
            guess = np.array([run.predicted * c for run, c in zip(runs, costs, strict=True)])
            truth = np.array([run.true * c for run, c in zip(runs, costs, strict=True)])
            if len(runs) > 2:
                rhos.append(rank_correlation(guess, truth))
            regrets[runs[0].matrix] = float(truth[guess.argmin()] / truth.min())
        worst = max(regrets, key=lambda name: regrets[name])
        values = np.array(list(regrets.values()))
        print(
            f"  {unit}: rank correlation among designs median {np.nanmedian(rhos):.3f}, lowest "
            f"{np.nanmin(rhos):.3f}; regret median {np.median(values):.3f}, mean "
            f"{values.mean():.3f}, worst {regrets[worst]:.2f} ({worst})"
        )


def drawn(runs: list[Run]) -> Any:
    """Draw true against predicted iterations: colors are degrees, markers are methods."""
    points: dict[str, list[tuple[float, float]]] = {}
    for run in sorted(runs, key=lambda run: run.degree):
        if math.isfinite(run.true):
            points.setdefault(run.design, []).append((run.predicted, run.true))
    colors = dict(zip((0, *DEGREES), plotting.OKABE_ITO, strict=False))
    return plotting.calibration(
        points,
        colors={f"{m} {d}" if d else m: colors[d] for m, d in DESIGNS},
        markers={f"{m} {d}" if d else m: MARKERS[m] for m, d in DESIGNS},
    )


def main() -> None:
    """Print one line per matrix and the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="most per solve")
    parser.add_argument("--max-rows", type=int, default=30_000)
    parser.add_argument("--max-entries", type=int, default=1_000_000)
    parser.add_argument("--plot", help="file for the calibration plot")
    parser.add_argument("names", nargs="*", help="part of a name; all by default")
    options = parser.parse_args()
    entries = [
        entry
        for entry in st.collection.search(spd=True)
        if entry.n_rows <= options.max_rows or entry.nnz <= options.max_entries
        if not options.names or any(part in entry.name for part in options.names)
    ]
    matrices: list[list[Run]] = []
    print(f"{'predicted/true iterations':<37}" + "".join(f"{m} {d or '':<8}" for m, d in DESIGNS))
    for entry in sorted(entries, key=lambda entry: (entry.n_rows, entry.name)):
        A = st.collection.load(entry.name, download=False).astype(np.float64)
        if A.nnz == np.count_nonzero(A.diagonal()):
            continue
        runs, condition = measured(entry.name, A, options.seconds)
        matrices.append(runs)
        cells = (f"{r.predicted:.0f}/{r.true:.0f}".replace("inf", "-") for r in runs)
        line = "".join(f"{cell:<{len(r.method) + 9}}" for cell, r in zip(cells, runs, strict=True))
        print(f"{entry.name:<22}{entry.n_rows:>6} {condition:>7.1e} {line}", flush=True)
    if not matrices:
        parser.error("no matrix found; set SPECTOOL_DATA to a folder of matrices")
    print("\nall designs:", end=" ")
    report(matrices)
    print(f"\nJacobi, and what is predicted {FEWEST} iterations or more:", end=" ")
    report([[r for r in runs if r.degree == 0 or r.predicted >= FEWEST] for runs in matrices])
    if options.plot:
        plotting.save(drawn([run for runs in matrices for run in runs]), options.plot)


if __name__ == "__main__":
    main()
