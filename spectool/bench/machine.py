"""Where and with what a benchmark ran, so that its numbers can be judged later."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

BLAS_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_PACKAGES = ("spectool", "numpy", "scipy", "numba", "matplotlib")


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine and one set of versions.

    Attributes
    ----------
    cpu : str
        Model name.
    cores : int
        Cores this process may use.
    threads : int
        Threads of spectool's kernels; scipy's sparse products always use one.
    blas : str
        What is known of BLAS threads.
    bandwidth : float
        Copy bandwidth of one thread, GB/s: the roof of every sparse product.
    load : float
        Processes that were running beside (1-minute average) when the run began; -1 if unknown.
    python, system, date, commit : str
        Versions, UTC, and the commit of the checkout, empty outside one.
    versions : dict
        Package versions.
    """

    cpu: str
    cores: int
    threads: int
    blas: str
    bandwidth: float
    load: float
    python: str
    system: str
    date: str
    commit: str
    versions: dict[str, str]

    def as_record(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        return asdict(self)


def pin_blas() -> None:
    """Ask BLAS for one thread; works only before numpy is loaded, which `blas_state` reports.

    Idle OpenBLAS threads spin after every long dot product and slow every other thread down, the
    contestants' and ours alike.
    """
    if "numpy" not in sys.modules:
        for name in BLAS_VARIABLES:
            os.environ.setdefault(name, "1")


def blas_state() -> str:
    """Return how many threads BLAS uses, as far as this process can tell."""
    try:
        import threadpoolctl
    except ImportError:
        pass
    else:
        pools = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
        if pools:
            return f"{max(int(p['num_threads']) for p in pools)} (measured by threadpoolctl)"
    values = {name: os.environ[name] for name in BLAS_VARIABLES if name in os.environ}
    if values.get("OPENBLAS_NUM_THREADS") == "1":
        return "1 (OPENBLAS_NUM_THREADS=1)"
    return "not pinned: numpy was loaded before the benchmark began"


def describe() -> Machine:
    """Measure and return this machine; takes about 0.1 s."""
    from spectool.kernels.team import available_threads

    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        cpu=_cpu(),
        cores=len(affinity(0)) if affinity else (os.cpu_count() or 1),
        threads=available_threads(),
        blas=blas_state(),
        bandwidth=round(_bandwidth(), 1),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        commit=_commit(),
        versions={name: version for name in _PACKAGES if (version := _version(name))},
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _bandwidth() -> float:
    """Return the copy bandwidth of one thread in GB/s, reads and writes counted; best of five."""
    import numpy as np

    source = np.ones(4_000_000)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - begin)
    return 2 * source.nbytes / best / 1e9


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}, modified" if dirty else commit


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
