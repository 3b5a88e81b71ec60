"""Which method ``method="auto"`` means, and why.

Source
    Counted in products of order n on one core (float64, n = 600): LU inverse 3, eigh 4, SVD 9,
    Schur form 24, against 5 to 7 steps of 1 inverse and 3 products for a square root, and 10 to 16
    inverses for a sign: never clearly less. On a GPU, and in half precision, products are cheaper
    than that by an order of magnitude, and factorizations do not exist in half precision.
"""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import array_namespace, is_torch_array

from spectool.dense.algebra import Tensor
from spectool.dense.problems import Problem

__all__ = ["Choice", "choose", "favors_products"]


class Choice(NamedTuple):
    """A method's name, and one line of why."""

    name: str
    reason: str


def favors_products(A: Tensor) -> bool:
    """Return whether products are much cheaper here than factorizations: half precision, a GPU."""
    if not is_torch_array(A):
        return False
    return A.device.type != "cpu" or bool(array_namespace(A).finfo(A.dtype).bits < 32)


def choose(problem: Problem, A: Tensor, *, hermitian: bool) -> Choice:
    """Return the method for matrices like A, shape (k, m, n), all Hermitian or all not."""
    if problem.function == "inv":
        return Choice("lapack", "an inverse by LU costs 3 products; no iteration is cheaper")
    half = array_namespace(A).finfo(A.dtype).bits < 32
    general = not hermitian and problem.function != "polar"
    if favors_products(A) and general and not half:
        names = {"sign": "scaled_newton", "sqrt": "product_db"}
        if problem.family in names:
            return Choice(names[problem.family], "A is not Hermitian: some ten inverses here")
    if favors_products(A) and not general:
        if problem.family == "root" or (half and problem.family == "inverse_root"):
            return Choice("lapack", "iterations for this root lose digits that are missing here")
        return Choice("polar_express", "products are cheap here, factorizations are not")
    if hermitian:
        return Choice("lapack", "A is Hermitian: eigh costs about 4 products on this device")
    if problem.function == "polar":
        return Choice("lapack", "an SVD costs about 9 products on this device")
    return Choice("lapack", "A is not Hermitian: a Schur form tells where the function exists")
