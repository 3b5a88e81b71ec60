"""Dense, slow, obvious versions of what the library does; they import NumPy only."""

from reference.krylov import cg, lanczos, pcg_iterations
from reference.matrices import dense_funm, gershgorin, hermitian_defect, relative_error
from reference.recurrences import clenshaw, forward

__all__ = [
    "cg",
    "clenshaw",
    "dense_funm",
    "forward",
    "gershgorin",
    "hermitian_defect",
    "lanczos",
    "pcg_iterations",
    "relative_error",
]
