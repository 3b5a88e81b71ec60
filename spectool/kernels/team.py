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
from queue import SimpleQueue
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from spectool._types import Array, IntArray
from spectool.kernels.compilation import JIT, THREADS, kernel

_log = logging.getLogger("spectool")
SPINS_BEFORE_YIELD = 4_000
# Slots of the shared counters, one cache line apart.
PHASE, ABANDONED = 0, 8
CHUNK = 2_048
"""Rows per partial sum of a reduction: fixed, so that bits do not depend on the thread count."""
SERIAL_BELOW = 500_000
"""Multiply-adds per application under which waking a second thread costs more than it brings."""


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


def partition(indptr: Array, parts: int) -> IntArray:
    """Cut the rows into parts of nearly equal work, at multiples of CHUNK; shape (parts + 1,)."""
    n = indptr.size - 1
    work = indptr.astype(np.int64) + 4 * np.arange(n + 1)  # a row costs about four entries itself
    targets = work[-1] * np.arange(1, parts) / parts
    cuts = np.round(np.searchsorted(work, targets) / CHUNK).astype(np.int64) * CHUNK
    cuts = np.minimum(cuts, n // CHUNK * CHUNK)  # no part may start inside a chunk
    bounds: IntArray = np.concatenate([[0], cuts, [n]]).astype(np.int64)
    return bounds


class Team:
    """The row partition of one operator, and the way to sweep it together.

    Parameters
    ----------
    indptr : ndarray, shape (n + 1,)
        Row pointers.
    threads : int, optional
        Forces the number of parts whatever the work; by default as many as pay.
    """

    def __init__(self, indptr: Array, threads: int | None = None) -> None:
        self.threads = threads
        parts = (threads or available_threads()) if JIT else 1
        self._alone = partition(indptr, 1)
        self._parts = partition(indptr, parts)

    @property
    def n_parts(self) -> int:
        """Most parts an application may have."""
        return self._parts.size - 1

    def run(self, function: Any, work: float, *arguments: Any) -> None:
        """Call ``function(*arguments, part, bounds, sync)`` once per part, concurrently.

        The work is done as one part if it is small, or if another thread holds the team already.
        """
        sync = np.zeros(16, dtype=np.int64)
        together = self.n_parts > 1 and (self.threads is not None or work >= SERIAL_BELOW)
        members = _members
        if not (together and members.busy.acquire(blocking=False)):
            function(*arguments, 0, self._alone, sync)
            return
        try:
            for part in range(1, self.n_parts):
                members.submit(part - 1, function, (*arguments, part, self._parts, sync))
            function(*arguments, 0, self._parts, sync)
        except BaseException:
            sync[ABANDONED] = 1  # lets the others leave their barrier
            raise
        finally:
            members.busy.release()
        if sync[ABANDONED]:
            raise RuntimeError("a helper thread of spectool failed; its traceback was logged.")


if JIT:
    atomic: Any = intrinsic

    def _slot(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        array = context.make_array(array_type)(context, builder, args[0])
        pointer_to: Any = cgutils.get_item_pointer
        return pointer_to(context, builder, array_type, array, [args[1]], wraparound=False)

    @atomic
    def _add(typing_context: Any, array: Any, slot: Any, value: Any) -> Any:  # noqa: ARG001
        signature = types.int64(array, types.uintp, types.int64)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _slot(context, builder, signature, args)
            return builder.atomic_rmw("add", pointer, args[2], "seq_cst")

        return signature, codegen

    @atomic
    def _load(typing_context: Any, array: Any, slot: Any) -> Any:  # noqa: ARG001
        signature = types.int64(array, types.uintp)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _slot(context, builder, signature, args)
            return builder.load_atomic(pointer, "seq_cst", 8, typ=ir.IntType(64))

        return signature, codegen

    if os.name == "posix":
        _yield: Any = types.ExternalFunction("sched_yield", types.int32())
    else:

        @kernel
        def _yield() -> int:
            return 0

    @kernel
    def barrier(parts: int, phase: int, sync: Array) -> None:
        """Wait until every part has arrived for the ``phase``-th time (counted from 1)."""
        if parts > 1:
            _add(sync, np.uintp(PHASE), 1)
            target = parts * phase
            spins = 0
            while _load(sync, np.uintp(PHASE)) < target:
                spins += 1
                if spins > SPINS_BEFORE_YIELD:
                    _yield()
                    if _load(sync, np.uintp(ABANDONED)) != 0:
                        return

else:

    def barrier(parts: int, phase: int, sync: Array) -> None:
        """Without the JIT there is one part, and nobody to wait for."""
