"""What a user waits for: import, first preconditioner, and the same in a second process.

Runs fresh processes with empty caches of compiled code and machine costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

SCRIPT = """
import json, time
begin = time.perf_counter()
import spectool as st
imported = time.perf_counter()
A = st.gallery.poisson((100, 100))
made = time.perf_counter()
st.preconditioner(A, rng=161803398)
first = time.perf_counter()
st.preconditioner(A, rng=161803398)
print(json.dumps({
    "import spectool": imported - begin,
    "gallery.poisson (imports numpy, scipy)": made - imported,
    "first preconditioner(A)": first - made,
    "second preconditioner(A)": time.perf_counter() - first,
}))
"""


def measure(cache: Path) -> dict[str, float]:
    """Return the seconds of each step in a process of its own."""
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(cache / "numba"),
        "SPECTOOL_CACHE": str(cache / "spectool"),
        "OPENBLAS_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    return dict(json.loads(result.stdout))


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = measure(Path(folder)), measure(Path(folder))
    table = Table(title="seconds in a fresh process")
    table.add_column("step")
    table.add_column("empty caches", justify="right")
    table.add_column("warm caches", justify="right")
    for step, seconds in cold.items():
        table.add_row(step, f"{seconds:.3f}", f"{warm[step]:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
