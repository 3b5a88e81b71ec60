"""A team of threads that sweeps an operator together, one parallel region per application.

A polynomial of degree d needs d dependent sweeps. The team is woken once; its members meet at a
barrier between sweeps, inside the kernel. Members are plain Python threads (kernels release the
GIL) that sleep when idle. OpenMP's pool was measured and rejected: its idle threads spin, and so do
those of OpenBLAS after every long dot product of a solver; together they made an application inside
``scipy.sparse.linalg.cg`` ten times slower than one thread. Plain threads also survive ``fork``.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from spectool._types import Array
from spectool.kernels.compilation import JIT, THREADS, kernel
from spectool.kernels.intrinsics import atomic_add, atomic_load, yield_core

if TYPE_CHECKING:
    from spectool.kernels.schedule import Schedule

_log = logging.getLogger("spectool")
SPINS_BEFORE_YIELD = 4_000
# Slots of the shared counters, one cache line apart.
PHASE, ABANDONED = 0, 8
SHARED_FROM = 1_000_000
"""Entries from which a single pass is shared by threads."""


def available_threads() -> int:
    """Return how many threads a sweep may use (``NUMBA_NUM_THREADS``; all cores by default)."""
    return THREADS if JIT else 1


class _Members:
    """The helper threads of this process, started when first needed."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self._queues: list[SimpleQueue[tuple[Any, tuple[Any, ...]]]] = []

    def submit(self, member: int, function: Any, arguments: tuple[Any, ...]) -> None:
        while len(self._queues) <= member:
            queue: SimpleQueue[tuple[Any, tuple[Any, ...]]] = SimpleQueue()
            name = f"spectool-{len(self._queues) + 1}"
            threading.Thread(target=self._serve, args=(queue,), name=name, daemon=True).start()
            self._queues.append(queue)
        self._queues[member].put((function, arguments))

    @staticmethod
    def _serve(queue: SimpleQueue[tuple[Any, tuple[Any, ...]]]) -> None:
        while True:
            function, arguments = queue.get()
            try:
                function(*arguments)
            except BaseException:  # the others must not wait for this part for ever
                arguments[-1][ABANDONED] = 1
                _log.exception("a helper thread of spectool failed")
            del function, arguments  # keep no operator alive while waiting


_members = _Members()


def _after_fork() -> None:
    global _members
    _members = _Members()  # threads do not survive a fork; the child starts its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(function: Any, arguments: tuple[Any, ...], together: Schedule, alone: Schedule) -> None:
    """Call ``function(*arguments, schedule, part, sync)`` once per part of ``together``, at once.

    The work is done as one part, ``alone``, if another thread holds the team already.
    """
    sync = np.zeros(16, dtype=np.int64)
    members, parts = _members, together.parts
    if parts == 1 or not members.busy.acquire(blocking=False):
        function(*arguments, alone, 0, sync)
        return
    try:
        for part in range(1, parts):
            members.submit(part - 1, function, (*arguments, together, part, sync))
        function(*arguments, together, 0, sync)
    except BaseException:
        sync[ABANDONED] = 1  # lets the others leave their barrier
        raise
    finally:
        members.busy.release()
    if sync[ABANDONED]:
        raise RuntimeError("a helper thread of spectool failed; its traceback was logged.")


def share(work: float, total: int, function: Callable[[int, int], Any]) -> None:
    """Call ``function(first, last)`` on equal parts of range(total), at once if the work is much.

    For passes that need no barrier, such as conversions.
    """
    parts = min(available_threads(), max(total, 1)) if work >= SHARED_FROM else 1
    if parts == 1:
        function(0, total)
        return
    ends = [total * k // parts for k in range(parts + 1)]
    with ThreadPoolExecutor(parts - 1) as pool:
        others = [pool.submit(function, *ends[k : k + 2]) for k in range(1, parts)]
        function(*ends[:2])
        for other in others:
            other.result()


if JIT:

    @kernel
    def barrier(parts: int, phase: int, sync: Array) -> None:
        """Wait until every part has arrived for the ``phase``-th time (counted from 1)."""
        if parts > 1:
            atomic_add(sync, np.uintp(PHASE), 1)
            target = parts * phase
            spins = 0
            while atomic_load(sync, np.uintp(PHASE)) < target:
                spins += 1
                if spins > SPINS_BEFORE_YIELD:
                    yield_core()
                    if atomic_load(sync, np.uintp(ABANDONED)) != 0:
                        return

else:

    def barrier(parts: int, phase: int, sync: Array) -> None:
        """Without the JIT there is one part, and nobody to wait for."""
