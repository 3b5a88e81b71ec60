"""Threads: right answers from many callers, after fork, after an interrupt; always an end."""

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from kernels.matrices import LARGE, coefficients, hermitian, uneven

from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.polynomials import Recurrence

P = Recurrence(*coefficients(12), (-1.0, 1.0))
DEADLINE = 25
"""Seconds after which a subprocess counts as hung; what it does takes one or two."""


def in_subprocess(source, **environment):
    """Run source in a fresh interpreter that sees tests/; return what it prints as JSON."""
    tests = os.path.dirname(os.path.dirname(__file__))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env={**os.environ, "PYTHONPATH": tests, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_bits_with_three_and_four_threads():
    same = in_subprocess(
        """
        import json
        import numpy as np
        from kernels.matrices import LARGE, coefficients, uneven
        from kernels.test_lanczos import run
        from spectool.backends.cpu import CpuBackend
        from spectool.backends.execution import Execution
        from spectool.kernels.team import available_threads
        from spectool.polynomials import Recurrence

        p = Recurrence(*coefficients(12), (-1.0, 1.0))
        A = uneven(np.float64, n=5 * 2048 + 77)
        rng = np.random.default_rng(271828459)
        x, X = rng.standard_normal(A.shape[0]), rng.standard_normal((A.shape[0], 5))
        def everything(threads):
            backend = CpuBackend(A, execution=Execution(threads=threads))
            return [backend.apply(p, v, order=o) for v in (x, X) for o in ("clenshaw", "forward")
                   ] + [*run(backend, x, 5)]
        one = everything(1)
        same = [all(np.array_equal(a, b) for a, b in zip(one, everything(k), strict=True))
                for k in (2, 3, 4, 3, 4)]
        print(json.dumps([available_threads(), same]))
        """,
        NUMBA_NUM_THREADS="4",
    )
    assert same == [4, [True] * 5]


def test_concurrent_callers_get_right_answers():
    A = uneven(np.float64)
    rng = np.random.default_rng(736451982)
    X = rng.standard_normal((8, LARGE))
    expected = [CpuBackend(A, execution=Execution(threads=1)).apply(P, x) for x in X]
    backend = CpuBackend(A, execution=Execution(threads=2))
    wrong = []

    def call(i):
        answers = [backend.apply(P, X[i]) for _ in range(10)]
        wrong.extend(i for answer in answers if not np.array_equal(answer, expected[i]))

    callers = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(DEADLINE)
    assert not any(caller.is_alive() for caller in callers)
    assert not wrong


def _apply(backend, x, answers):
    answers.put(backend.apply(P, x))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_computes():
    A, x = uneven(np.float64), np.linspace(-1, 1, LARGE)
    backend = CpuBackend(A, execution=Execution(threads=2))
    expected = backend.apply(P, x)  # the helper thread exists now, and the child will lack it
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_apply, args=(backend, x, answers), daemon=True)
    child.start()
    try:
        found = answers.get(timeout=DEADLINE)
    finally:
        child.kill()
        child.join()
    assert np.array_equal(found, expected)
    assert np.array_equal(backend.apply(P, x), expected)  # and the parent goes on


@pytest.mark.parametrize("who", ["main", "helper", "both"])
def test_exception_in_a_member_does_not_break_later_calls(who):
    right = in_subprocess(
        f"""
        import json, threading
        import numpy as np
        from kernels.matrices import LARGE, coefficients, uneven
        from spectool.backends.cpu import CpuBackend
        from spectool.backends.execution import Execution
        from spectool.kernels.team import run as run_team
        from spectool.polynomials import Recurrence

        threading.excepthook = lambda args: None
        p = Recurrence(*coefficients(12), (-1.0, 1.0))
        A, x = uneven(np.float64), np.linspace(-1, 1, LARGE)
        backend = CpuBackend(A, execution=Execution(threads=2))
        expected = backend.apply(p, x)

        def fail(schedule, part, sync):
            if {who!r} == "both" or part == ({who!r} == "helper"):
                raise KeyboardInterrupt("simulated")

        plan = backend._plan(None, 1, 1e9)
        seen = []
        for _ in range(3):
            try:
                run_team(fail, (), *plan)
                seen.append("silence")
            except KeyboardInterrupt:
                seen.append("raised")
            seen.append(bool(np.array_equal(backend.apply(p, x), expected)))
        print(json.dumps(seen))
        """
    )
    assert right[1::2] == [True, True, True]
    if who != "helper":
        assert right[::2] == ["raised"] * 3


def test_abandoned_barrier_lets_the_helper_go():
    """The main member dies before the barrier; the helper must not spin for ever."""
    right = in_subprocess(
        """
        import json
        import numpy as np
        from kernels.matrices import LARGE, coefficients, uneven
        from spectool.backends.cpu import CpuBackend
        from spectool.backends.execution import Execution
        from spectool.kernels import sweeps
        from spectool.kernels.team import run as run_team
        from spectool.polynomials import Recurrence

        p = Recurrence(*coefficients(12), (-1.0, 1.0))
        A, x = uneven(np.float64), np.linspace(-1, 1, LARGE)
        backend = CpuBackend(A, execution=Execution(threads=2))
        expected = backend.apply(p, x)

        def half(*arguments):
            if arguments[-2] == 0:
                raise KeyboardInterrupt
            sweeps.sweep(*arguments)

        even, odd = np.empty_like(x), np.empty_like(x)
        together, alone = backend._plan(None, 12, 1e9)
        rows, fronts = backend._scratch(together, None), np.empty((2, 32), dtype=np.int64)
        matrix = backend._layout.matrix
        vectors = (x, even, odd, None, rows, fronts, 1)
        try:
            run_team(half, (matrix, None, p.a, p.b, p.c, p.w, *vectors), together, alone)
        except KeyboardInterrupt:
            pass
        print(json.dumps(bool(np.array_equal(backend.apply(p, x), expected))))
        """
    )
    assert right is True


def test_small_work_stays_on_one_thread():
    backend = CpuBackend(hermitian(597, np.float64, 827364591))
    together, alone = backend._plan(None, 1, 10.0)
    assert together is alone
    assert together.parts == 1
