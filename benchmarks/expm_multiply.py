"""Products and CPU seconds of ``exp(tA) b`` to full accuracy: ours against SciPy's, same arguments.

P is the Poisson matrix of a 150 x 150 grid, C = P + 0.3 (U - U^T) with U the first superdiagonal.
Products are counted by an operator; SciPy is told the trace then, so that it estimates nothing.
Seconds are those of one thread with A as a sparse array, the second call of each. ``apart`` is
the largest distance of the answers, relative to SciPy's.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator
from scipy.sparse.linalg import expm_multiply as scipys

import spectool as st

SEED = 719_304_586
GRID = 150
TIMES: tuple[dict[str, Any], ...] = ({}, {"start": 0, "stop": 1, "num": 11})


def counted(A: Any) -> tuple[LinearOperator[Any], list[int]]:
    """Return A as an operator, and the number of its products with one vector."""
    count = [0]

    def product(X: Any) -> Any:
        count[0] += 1 if X.ndim == 1 else X.shape[1]
        return A @ X

    def adjoint(X: Any) -> Any:
        count[0] += 1 if X.ndim == 1 else X.shape[1]
        return A.conj().T @ X

    operator = LinearOperator(
        A.shape, matvec=product, matmat=product, rmatvec=adjoint, rmatmat=adjoint, dtype=A.dtype
    )
    return operator, count


def timed(call: Callable[..., Any], *arguments: Any, **times: Any) -> tuple[Any, float]:
    """Return the answer, and CPU seconds of a second call."""
    call(*arguments, **times)
    begin = time.process_time()
    answer = call(*arguments, **times)
    return answer, time.process_time() - begin


def main() -> None:
    """Print the table."""
    P = st.gallery.poisson((GRID, GRID))
    U = sp.diags_array(np.ones(P.shape[0] - 1), offsets=1).tocsr()
    C = P + 0.3 * (U - U.T)
    b = np.random.default_rng(SEED).standard_normal(P.shape[0])
    cases = {
        "-P": -P,
        "-10 P": -10 * P,
        "-100 P": -100 * P,
        "-10i P": -10j * P,
        "-100i P": -100j * P,
        "-10 C": -10 * C,
        "-100 C": -100 * C,
    }
    print(f"{'A':8} times  products SciPy   ours   seconds SciPy   ours   apart")
    for name, A in cases.items():
        for times in TIMES:
            theirs, their_seconds = timed(scipys, A, b, **times)
            found, our_seconds = timed(st.expm_multiply, A, b, **times)
            operator, count = counted(A)
            scipys(operator, b, **times, traceA=A.trace())
            their_count = count[0]
            operator, count = counted(A)
            st.expm_multiply(operator, b, **times)
            sizes = np.linalg.norm(theirs, axis=-1)
            apart = float(np.max(np.linalg.norm(found - theirs, axis=-1) / sizes))
            print(
                f"{name:8} {len(theirs) if times else 1:5}  {their_count:14} {count[0]:6}"
                f"  {their_seconds:14.2f} {our_seconds:6.2f}   {apart:.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
