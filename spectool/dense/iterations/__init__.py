"""The zoo: every iteration for the inverse, the sign (and polar factor), and roots."""

from spectool.dense.iterations.inverse import INVERSE
from spectool.dense.iterations.roots import ROOTS
from spectool.dense.iterations.sign import SIGN
from spectool.dense.iterations.sqrt import SQRT
from spectool.dense.steps import Kind
from spectool.errors import InputError

__all__ = ["ZOO", "find_kind"]

ZOO: dict[str, Kind] = {kind.name: kind for kind in (*INVERSE, *SIGN, *SQRT, *ROOTS)}
"""All kinds by name."""


def find_kind(name: str) -> Kind:
    """Return the kind of this name; raises InputError with the known ones."""
    if name not in ZOO:
        raise InputError(f"an iteration is one of {', '.join(sorted(ZOO))}; got {name!r}.")
    return ZOO[name]
