"""Which precision a polynomial runs in: single where it is measured to pay, and known not to hurt.

Source
    Measured on the 55 positive definite matrices of the SuiteSparse collection at hand with at most
    20 000 rows, Chebyshev polynomials of degree 8 and 16, CG to 1e-8.
Cost
    No product; one simulated CG, and the machine's rates, which are measured once.

Rounding makes M an operator that differs a little from one application to the next, and CG loses
the conjugacy of its directions early. While CG is far from its n steps nothing is seen of it: equal
counts. Where more than n steps lie ahead convergence lives on what was orthogonal long ago, and
single precision took 1.05 to 2.6 times the iterations. To round the entries of A alone, and work in
double precision, cost none, not even with 8 bits.
"""

from __future__ import annotations

import numpy as np

from spectool.planner.simulate import VirtualOperator

SHARE = 0.25
"""Predicted steps of plain CG, relative to n, up to which single precision is taken to cost no
iteration: of the matrices that it cost any, the least prediction was 0.55 n."""


def single_is_safe(virtual: VirtualOperator, n: int) -> bool:
    """Whether CG will take as many iterations with an M in single precision."""
    eps = float(np.finfo(np.float32).eps)
    condition = float(virtual.nodes[-1] / virtual.nodes[0]) * virtual.stretch**2
    return condition * eps < 1.0 and virtual.plain_iterations <= SHARE * n
