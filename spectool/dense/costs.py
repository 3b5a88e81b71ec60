"""What matrix operations cost: measured on this machine, or given as ratios.

Operations are timed in turn, round after round, so that what else the machine does meets all of
them; medians are kept, in the process and in the user's cache.

Source
    Kim, Dwaraknath, Geng and Pilanci, arXiv:2507.03833, section 3 (an iteration is worth the time
    it takes here, in this data type).
Deviations
    LAPACK's eigenvalue, singular value, LU and Cholesky routines are priced too; orders above
    ``LARGEST`` are timed there and scaled by the number of operations.
Cost
    About a second per device, data type and shape, once.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from spectool.dense.algebra import Cost, MatrixAlgebra, Tensor
from spectool.errors import BackendUnavailableError, InputError

__all__ = ["Costs", "measured_costs"]

_log = logging.getLogger("spectool")
LARGEST = 1024
"""Largest order that is timed."""
ROUNDS = 7
"""Most timings of each operation; the median counts."""
SECONDS = 1.5
"""After which no further round begins; three are done in any case."""
LIKE_INVERSE = ("solve", "definite_solve", "cholesky")
"""What costs as much as an inverse where it is not given."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What operations with matrices of order n cost, in any one unit.

    Ratios suffice: ``Costs(product=1, inverse=2.9)``. What is not given is derived; what has no
    finite price is not offered.

    Attributes
    ----------
    product : float
        A matrix (n, n) times (n, n).
    tall_product : float
        ``X^H X``, or X (m, n) times (n, n); as ``product`` if not given.
    inverse, solve, definite_solve : float
        An inverse by LU; a division by LU, by Cholesky; as ``inverse`` if not given.
    qr_solve : float
        ``X (I + c X^H X)^-1`` by QR; as a division, a product and a tall product if not given.
    cholesky : float
        The inverse of a positive definite matrix; as ``inverse`` if not given.
    eigh, svd : float
        Decompositions with vectors; infinite if not given.
    step : float
        What each step costs besides, for sums.
    unit : str
        "products" or "s".
    """

    product: float = 1.0
    tall_product: float = math.nan
    inverse: float = math.inf
    solve: float = math.nan
    definite_solve: float = math.nan
    qr_solve: float = math.nan
    cholesky: float = math.nan
    eigh: float = math.inf
    svd: float = math.inf
    step: float = 0.0
    unit: str = "products"

    def __post_init__(self) -> None:
        derived = {"tall_product": self.product, **dict.fromkeys(LIKE_INVERSE, self.inverse)}
        for name, value in derived.items():
            if math.isnan(getattr(self, name)):
                object.__setattr__(self, name, float(value))
        if math.isnan(self.qr_solve):
            value = self.definite_solve + self.product + self.tall_product
            object.__setattr__(self, "qr_solve", value)
        for name in self._names():
            value = getattr(self, name)
            if not value >= 0.0 or (name.endswith("product") and not 0.0 < value < math.inf):
                raise InputError(
                    f"{name} must be a positive number (inf where there is none but for products), "
                    f"got {value!r}."
                )

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name != "unit"]

    def of(self, cost: Cost) -> float:
        """Return what counted operations cost, with nothing for the step itself."""
        priced = (
            (cost.products, self.product),
            (cost.tall_products, self.tall_product),
            (cost.inverses, self.inverse),
            (cost.solves, self.solve),
            (cost.definite_solves, self.definite_solve),
            (cost.qr_solves, self.qr_solve),
        )
        return sum(count * price for count, price in priced if count)

    def relative(self) -> Costs:
        """Return the costs in units of a product."""
        scaled: dict[str, Any] = {
            name: getattr(self, name) / self.product for name in self._names()
        }
        return Costs(**scaled)

    def to_json(self) -> dict[str, Any]:
        """Return a record for JSON; infinite prices are null."""
        record = asdict(self)
        return {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in record.items()
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Costs:
        """Return the costs that ``to_json`` wrote; raises InputError for anything else."""
        try:
            found: dict[str, Any] = {
                name: math.inf if value is None else value for name, value in record.items()
            }
            return cls(**found)
        except TypeError as error:
            raise InputError(f"costs must be a record of Costs.to_json, got {record!r}.") from error


def measured_costs(shape: tuple[int, int], dtype: Any, device: str = "cpu") -> Costs:
    """Return seconds of each operation on this machine, measured once and then remembered.

    Parameters
    ----------
    shape : tuple of int
        (m, n) of the matrices, m >= n.
    dtype : dtype or str
        Like "float32"; "bfloat16" and "float16" exist in torch only.
    device : str
        "cpu" for NumPy; "torch" for torch on the CPU; or a device of torch, like "cuda".

    Raises
    ------
    InputError
        If the shape is empty or wide.
    BackendUnavailableError
        If the device needs torch, which is missing.
    """
    m, n = (int(size) for size in shape)
    if not m >= n >= 1:
        raise InputError(f"shape must be (m, n) with m >= n >= 1, got {shape!r}.")
    return _remembered(m, n, dtype_name(dtype), str(device))


def dtype_name(dtype: Any) -> str:
    """Return the name of a data type of NumPy or torch."""
    if isinstance(dtype, str):
        return dtype.removeprefix("torch.")
    name = str(dtype)
    return name.removeprefix("torch.") if name.startswith("torch.") else np.dtype(dtype).name


@lru_cache(maxsize=64)
def _remembered(m: int, n: int, dtype: str, device: str) -> Costs:
    path = _cache_file(m, n, dtype, device)
    try:
        return Costs.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError):
        costs = _measure(m, n, dtype, device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps(costs.to_json(), indent=1), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        _log.info("costs of dense operations could not be cached in %s: %s", path, error)
    return costs


def _cache_file(m: int, n: int, dtype: str, device: str) -> Path:
    root = os.environ.get("SPECTOOL_CACHE") or platformdirs.user_cache_dir("spectool")
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    threads = "-".join(os.environ.get(name, "") for name in names)
    host = f"{platform.node() or 'host'}-{platform.machine()}-{os.cpu_count()}-{threads}"
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in f"{device}-{host}")
    return Path(root) / f"dense-2-{m}x{n}-{dtype}-{safe}.json"


def _measure(m: int, n: int, dtype: str, device: str) -> Costs:
    """Time all operations in turn."""
    shrink = min(1.0, LARGEST / n)
    order, rows = max(1, round(n * shrink)), max(1, round(m * shrink))
    X, S, wait = _matrices(rows, order, dtype, device)
    jobs = _jobs(X, S)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    repeats = {name: _warmed(job, wait) for name, job in jobs.items()}
    begun = time.perf_counter()
    for done in range(ROUNDS):
        if done >= 3 and time.perf_counter() - begun > SECONDS:
            break
        for name, job in jobs.items():
            seconds[name].append(_timed(job, repeats[name], wait))
    growth = (n / order) ** 3
    medians = {name: float(np.median(times)) * growth for name, times in seconds.items()}
    medians["tall_product"] /= 2.0  # it was two of them
    medians["step"] = 3.0 * medians["step"] * (order / n)  # three sums per step, O(n^2)
    found: dict[str, Any] = {**medians, "unit": "s"}
    return Costs(**found)


def _jobs(X: Tensor, S: Tensor) -> dict[str, Callable[[], Any]]:
    """Return what is timed; S is Hermitian positive definite, with eigenvalues in [0.5, 1.5]."""

    # A fresh algebra each time, which remembers nothing.
    def polar() -> MatrixAlgebra:
        return MatrixAlgebra(X, adjoint=True)

    xp = polar().xp
    half = xp.finfo(X.dtype).bits < 32
    wide_X, wide_S = (xp.astype(M, xp.float32) if half else M for M in (X, S))

    def tall() -> Any:
        o = polar()
        return o.multiply(X, o.square(X))

    from spectool.dense.lapack import direct, natively
    from spectool.dense.problems import Problem

    stacked = wide_S[None, ...]
    return {
        "product": lambda: S @ S,
        "tall_product": tall,
        "inverse": lambda: polar().inverse(S),
        "solve": lambda: polar().divide(X, S),
        "definite_solve": lambda: polar().divide(X, S, definite=True),
        "qr_solve": lambda: polar().damp(X, 1e3),
        "cholesky": partial(direct, Problem("inv"), stacked, hermitian=True, definite=True),
        "eigh": partial(natively, "eigh", stacked),
        "svd": partial(natively, "svd", wide_X[None, ...], full_matrices=False),
        "step": lambda: S + S,
    }


def _matrices(m: int, n: int, dtype: str, device: str) -> tuple[Tensor, Tensor, Callable[[], None]]:
    """Return X (m, n) and S (n, n) on the device, and what waits for it."""
    rng = np.random.default_rng(584_120_937)
    X = rng.standard_normal((m, n)) / math.sqrt(m)
    S = rng.standard_normal((n, n)) / math.sqrt(8 * n)
    S = np.eye(n) + 0.5 * (S + S.T)
    if device == "cpu" and dtype not in ("bfloat16", "float16"):
        return X.astype(dtype), S.astype(dtype), lambda: None
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailableError(
            f"device {device!r} with {dtype} needs torch; pip install spectool[torch]"
        ) from error
    place = "cpu" if device in ("cpu", "torch") else device
    wait = torch.cuda.synchronize if place.startswith("cuda") else lambda: None
    made = (torch.asarray(M).to(device=place, dtype=getattr(torch, dtype)) for M in (X, S))
    return (*made, wait)


def _warmed(job: Callable[[], Any], wait: Callable[[], None]) -> int:
    """Run once or twice, and return how many runs fill a fraction of a millisecond."""
    job()
    seconds = _timed(job, 1, wait)
    return max(1, min(200, round(3e-4 / max(seconds, 1e-7))))


def _timed(job: Callable[[], Any], repeats: int, wait: Callable[[], None]) -> float:
    wait()
    begun = time.perf_counter()
    for _ in range(repeats):
        job()
    wait()
    return (time.perf_counter() - begun) / repeats
