"""The only place that knows compiler flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar, cast

import numba

_numba: Any = numba  # its configuration attributes are not typed
P = ParamSpec("P")
R = TypeVar("R")

# NaN and inf must propagate (they are how a kernel reports trouble), so no "nnan", no "ninf". No
# "reassoc" either: free to reorder, LLVM vectorizes across a row's entries with emulated gathers,
# which is slower on short rows (measured), and sums get other bits in every copy of a kernel.
FASTMATH: Final = {"arcp", "contract", "nsz"}
# No reference counts ("_nrt"): kernels allocate nothing, and counting, atomically, every array that
# one passes to another made strips of a few hundred rows a fifth slower (measured).
OPTIONS: Final[dict[str, Any]] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": FASTMATH,
    "_nrt": False,
}
JIT: Final = not _numba.config.DISABLE_JIT
THREADS: Final = int(_numba.config.NUMBA_NUM_THREADS)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a serial kernel that releases the GIL; numba's types stop here."""
    compiled: Any = numba.njit(cache=True, **OPTIONS)
    return cast("Callable[P, R]", compiled(function))


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a piece of other kernels into its callers; a call per row would double the cost."""
    compiled: Any = numba.njit(cache=True, forceinline=True, **OPTIONS)
    return cast("Callable[P, R]", compiled(function))
