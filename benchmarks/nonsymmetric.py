"""GMRES(30) on every real nonsymmetric matrix of the collection: Jacobi against our polynomial.

scipy's ``gmres`` solves with a random right-hand side to a true relative residual of 1e-8 within
``--limit`` products with A, set-up included. ``left`` passes M to scipy; ``right`` has it solve
``A M y = b``. ``scaling`` is our M of degree 0. Reductions are what a parallel machine waits for:
j + 2 in iteration j = 0, 1, .. of a cycle (scipy's modified Gram-Schmidt takes one inner product
after the other), 2 norms per cycle, 3 per step of our probe (two blocks and a norm).
``SPECTOOL_DATA`` adds folders of matrices. Structurally singular ones are left out.
"""

import argparse
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import structural_rank
from scipy.sparse.linalg import LinearOperator, gmres

import spectool as st
from spectool.operators import as_operator
from spectool.preconditioners.general import general_preconditioner

RESTART, RTOL, SEED, PROBE_SEED = 30, 1e-8, 480_215_937, 602_214_076


class OverLimitError(Exception):
    """The solve has used up its products."""


class Run(NamedTuple):
    """What a solve took; products and reductions include the set-up."""

    solved: bool
    products: int
    reductions: int

    def __str__(self) -> str:
        return f"{self.products:>5}/{self.reductions:<6}" if self.solved else f"{'-':>5}{'':7}"


class Counted:
    """A and M as scipy sees them, with products and reductions counted."""

    def __init__(self, A: Any, M: Any, limit: int, setup: int, probe: int) -> None:
        self.A, self.M, self.limit = A, M, limit
        self.degree = M.recurrence.degree
        self.products, self.reductions = setup, 3 * probe
        self.column, self.pending = 0, 0

    def _spend(self, products: int) -> None:
        if self.products + products > self.limit:
            raise OverLimitError
        self.products += products

    def multiply(self, x: Any) -> Any:
        """Return ``A @ x``."""
        self._spend(1)
        self.pending += 1
        return self.A @ x

    def precondition(self, x: Any) -> Any:
        """Return ``M @ x``."""
        self._spend(self.degree)
        return self.M @ x

    def iteration(self, _: float) -> None:
        """Count one iteration: a second product before it was the residual of a restart."""
        if self.column == 0 or self.pending > 1:
            self.column = 0
            self.reductions += 2
        self.reductions += self.column + 2
        self.column += 1
        self.pending = 0


def solve(A: Any, b: Any, M: Any, limit: int, *, right: bool, probe: int = 0) -> Run:
    """Run scipy's gmres from zero."""
    work = Counted(A, M, limit, M.report.n_matvecs, probe)

    def operator(function: Any) -> LinearOperator:
        return LinearOperator(A.shape, matvec=function, dtype=np.float64)

    def composed(x: Any) -> Any:
        return work.multiply(work.precondition(x))

    try:
        with np.errstate(all="ignore"):
            x, _ = gmres(
                operator(composed if right else work.multiply),
                b,
                M=None if right else operator(work.precondition),
                rtol=RTOL,
                restart=RESTART,
                maxiter=limit,
                callback=work.iteration,
                callback_type="pr_norm",
            )
            if right:
                x = work.precondition(x)
            residual = float(np.linalg.norm(b - A @ x))
    except OverLimitError:
        return Run(False, limit, 0)
    solved = residual <= 1.1 * RTOL * float(np.linalg.norm(b))
    return Run(solved, work.products, work.reductions)


def main() -> None:
    """Print one line per matrix and the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=1_500, help="most products with A")
    parser.add_argument("--max-rows", type=int, default=60_000)
    parser.add_argument("names", nargs="*", help="part of a name; all by default")
    options = parser.parse_args()
    entries = [
        entry
        for entry in st.collection.search(symmetric=False, max_rows=options.max_rows)
        if entry.n_rows == entry.n_cols and entry.field != "complex"
        if not options.names or any(part in entry.name for part in options.names)
    ]
    columns = ("jacobi", "jacobi right", "scaling", "left", "right")
    results: list[dict[str, Run]] = []
    skipped = 0
    print(f"{'products/reductions':<34}" + "".join(f"{name:<14}" for name in columns))
    for entry in sorted(entries, key=lambda entry: (entry.n_rows, entry.name)):
        A = sp.csr_array(st.collection.load(entry.name, download=False), dtype=np.float64)
        n = A.shape[0]
        if structural_rank(A) < n:
            skipped += 1
            continue
        b = np.random.default_rng(SEED).standard_normal(n)
        operator = as_operator(A, assume_a="gen", need_hermitian=False)
        jacobi = general_preconditioner(operator, method="jacobi")
        scaling = general_preconditioner(operator, degree=0)
        M = general_preconditioner(operator, rng=PROBE_SEED)
        steps = M.report.n_matvecs
        row = {
            "jacobi": solve(A, b, jacobi, options.limit, right=False),
            "jacobi right": solve(A, b, jacobi, options.limit, right=True),
            "scaling": solve(A, b, scaling, options.limit, right=False),
            "left": solve(A, b, M, options.limit, right=False, probe=steps),
            "right": solve(A, b, M, options.limit, right=True, probe=steps),
        }
        results.append(row)
        line = "".join(f"{row[name]!s:<14}" for name in columns)
        print(f"{entry.name:<27}{n:>6} {line}{M.report.chosen}: {M.report.reason}", flush=True)
    print(f"{len(results)} matrices, {skipped} structurally singular ones left out")
    for name in columns:
        both = [row for row in results if row["jacobi"].solved and row[name].solved]
        if not both:
            continue
        fewer = np.median([row["jacobi"].reductions / row[name].reductions for row in both])
        more = np.median([row[name].products / row["jacobi"].products for row in both])
        lost = sum(row["jacobi"].solved and not row[name].solved for row in results)
        print(
            f"{name:<13} solves {sum(row[name].solved for row in results):>3}, loses {lost}; "
            f"median over {len(both)} that jacobi solves too: {fewer:.1f} times fewer reductions, "
            f"{more:.2f} times the products"
        )


if __name__ == "__main__":
    main()
