"""Level blocking is legal: each step of each strip once, from values that are there, in any order.

The compiled sweep is run as Python over a recorder instead of a matrix, so what is judged is the
loop that computes, not a model of it.
"""

import inspect
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from kernels.matrices import empty, hermitian, uneven
from kernels.test_formats import diagonals, normed, scattered, steady
from scipy import sparse

from spectool import gallery
from spectool.backends.cpu import CpuBackend
from spectool.backends.execution import Execution
from spectool.backends.layout import csr_matrix
from spectool.kernels import sweeps
from spectool.kernels.formats import LANES
from spectool.kernels.schedule import schedule, strip_rows, strips_of, window
from spectool.kernels.team import available_threads, run

ORDERS = ["clenshaw", "forward"]
DEPTHS = [1, 2, 3, 5, 8, 16]
MANY = 1e6
DEADLINE = 60
"""Seconds after which a subprocess counts as hung."""

# ---------------------------------------------------------------------------------------------
# Patterns


def banded(n, width):
    offsets = sorted({k for k in (-width, -1, 0, 1, width) if abs(k) < n})
    return diagonals(n, offsets)


def arrow(n, *, head=0):
    rows = np.arange(n)
    at = np.full(n, head)
    A = sparse.csr_array((np.ones(n), (rows, at)), shape=(n, n))
    return normed(A + A.T + sparse.eye_array(n))


def upper(n, far=4, seed=281736459):
    """Upper bidiagonal with a few entries far to the right: what they touch does not touch back."""
    rng = np.random.default_rng(seed)
    i = rng.integers(0, n, far)
    j = np.minimum(i + rng.integers(0, n, far), n - 1)
    extra = sparse.csr_array((rng.standard_normal(far), (i, j)), shape=(n, n))
    return normed(diagonals(n, (0, 1) if n > 1 else (0,)) + extra)


def lower(n):
    return normed(upper(n, seed=736451829).T)


def separate(n, size):
    """Diagonal blocks that do not touch: fronts may run freely in each."""
    rng = np.random.default_rng(491827365)
    parts = [rng.standard_normal((min(size, n - k),) * 2) for k in range(0, n, size)]
    return normed(sparse.block_diag(parts, format="csr"))


def half_empty(n):
    """The first half stores nothing, so work is in the second."""
    keep = sparse.diags_array((np.arange(n) >= n // 2).astype(float))
    return normed(keep @ banded(n, 3) @ keep)


def heavy_row(n, at):
    """One row holds nearly all the work: several sections would be cut in the same strip."""
    A = banded(n, 2).tolil()
    A[at] = 1.0
    return normed(A.tocsr())


PATTERNS = {
    "banded": lambda n: banded(n, 7),
    "arrow": arrow,
    "arrow, head last": lambda n: arrow(n, head=n - 1),
    "upper": upper,
    "lower": lower,
    "scattered": lambda n: scattered(n, 2),
    "separate": lambda n: separate(n, 5),
    "no entries": lambda n: empty(n, np.float64),
    "half empty": half_empty,
    "heavy row": lambda n: heavy_row(n, n // 3),
}

# ---------------------------------------------------------------------------------------------
# A recorder in place of the matrix


def python(kernel):
    return getattr(kernel, "py_func", kernel)


def recorded(plan, degree, depth):
    """Run the sweep's own loop for every part; return ``phases[part]``, lists of (step, strip)."""
    names = list(inspect.signature(python(sweeps.sweep)).parameters)
    step_names = list(inspect.signature(python(sweeps.step_rows)).parameters)
    phases = []
    for part in range(plan.parts):
        mine = [[]]

        def step_rows(*arguments, mine=mine):
            given = dict(zip(step_names, arguments, strict=True))
            mine[-1].append((int(given["step"]), int(given["s"])))

        def barrier(parts, phase, _, mine=mine):
            assert parts == plan.parts
            assert phase == len(mine)  # phases are counted from 1, and none is left out
            mine.append([])

        values = dict.fromkeys(names)
        values |= {"a": np.ones(degree), "depth": depth, "schedule": plan, "part": part}
        values["rows"] = np.empty((plan.parts, 1))
        values["fronts"] = np.full((plan.parts, max(depth, 1)), -999_999, dtype=np.int64)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sweeps, "step_rows", step_rows)
            patch.setattr(sweeps, "barrier", barrier)
            python(sweeps.sweep)(**values)
        assert mine.pop() == []  # nobody works after the last barrier
        phases.append(mine)
    return phases


def touched(A, strip):
    """For each strip, the strips whose values its rows read: the entries', and its own."""
    n_strips = max(-(-A.shape[0] // strip), 1)
    rows, columns = A.nonzero()
    stored = sparse.coo_array((np.ones(A.nnz), (rows, columns)), shape=A.shape)
    reads = [{s} for s in range(n_strips)]
    for i, j in zip(stored.row // strip, stored.col // strip, strict=True):
        reads[int(i)].add(int(j))
    return reads


def assert_legal(phases, reads, degree, interleaving):
    """Execute the phases on versions instead of values.

    Two buffers hold, per strip, the number of the step they were written by. Step k reads step
    k - 1 of all strips that it touches, and its own k - 2, which it overwrites. Within a phase, no
    part may write what another reads or writes: then every interleaving equals the one executed.
    """
    n_strips, parts = len(reads), len(phases)
    lengths = {len(mine) for mine in phases}
    assert len(lengths) == 1, f"parts meet at different numbers of barriers: {lengths}"
    buffers = np.full((2, n_strips), -1)
    done = np.zeros((degree, n_strips), dtype=int)
    for phase in range(lengths.pop()):
        owners_read, owners_written = {}, {}
        for part in range(parts):
            for step, s in phases[part][phase]:
                cells = {((step - 1) % 2, t) for t in reads[s]} if step > 0 else set()
                for cell in cells | {(step % 2, s)}:
                    owners_read.setdefault(cell, set()).add(part)
                owners_written.setdefault((step % 2, s), set()).add(part)
        for cell, writers in owners_written.items():
            others = writers | owners_read[cell]
            assert len(others) == 1, f"phase {phase}: parts {others} race for {cell}"
        for part, step, s in interleaving([phases[part][phase] for part in range(parts)]):
            if step > 0:
                for t in reads[s]:
                    held = buffers[(step - 1) % 2, t]
                    assert held == step - 1, f"({step}, {s}) of {part} reads {t} at step {held}"
            if step > 1:
                assert buffers[step % 2, s] == step - 2
            buffers[step % 2, s] = step
            done[step, s] += 1
    assert (done == 1).all()


def shuffled(seed):
    """Return an interleaving that draws the part whose turn it is."""
    rng = np.random.default_rng(seed)

    def interleaving(sequences):
        queues = [list(reversed(sequence)) for sequence in sequences]
        while any(queues):
            part = int(rng.choice([k for k, queue in enumerate(queues) if queue]))
            yield (part, *queues[part].pop())

    return interleaving


def assert_schedule_is_legal(A, strip, parts, depth, degree, seed):
    strips = strips_of(A.indptr, A.indices, strip)
    plan = schedule(strips, parts, depth)
    assert 1 <= plan.parts <= min(parts, max(-(-A.shape[0] // strip), 1))
    assert 1 <= plan.depth <= depth
    phases = recorded(plan, degree, plan.depth)
    assert_legal(phases, touched(A, strip), degree, shuffled(seed))
    return plan


# ---------------------------------------------------------------------------------------------
# Properties


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
@pytest.mark.parametrize("which", PATTERNS)
def test_schedules_of_hard_patterns_are_legal(which, parts):
    for n, strip in ((37, 1), (61, 3), (200, 4), (3, 1), (1, 1), (5, 8)):
        A = PATTERNS[which](n)
        for depth, degree in ((1, 3), (2, 5), (5, 5), (5, 12), (16, 33), (8, 3)):
            assert_schedule_is_legal(A, strip, parts, depth, degree, 918273546)


@settings(max_examples=150)
@given(
    n=hs.integers(1, 60),
    entries=hs.lists(hs.tuples(hs.integers(0, 59), hs.integers(0, 59)), max_size=80),
    band=hs.sampled_from([None, 1, 2, 4]),
    strip=hs.integers(1, 5),
    parts=hs.integers(1, 4),
    depth=hs.integers(1, 9),
    degree=hs.integers(1, 20),
    seed=hs.integers(100_000_000, 999_999_999),
)
def test_schedules_of_drawn_patterns_are_legal(n, entries, band, strip, parts, depth, degree, seed):
    """With a band, entries stay near the diagonal, so that sections hold several steps."""
    pairs = [(i % n, (i % n + j % (2 * band + 1) - band) if band else j % n) for i, j in entries]
    pairs = sorted({(i, j) for i, j in pairs if 0 <= j < n})
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    A = sparse.csr_array((np.ones(len(pairs)), (rows, columns)), shape=(n, n))
    assert_schedule_is_legal(A, strip, parts, depth, degree, seed)


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_schedules_of_real_strips_are_legal(parts):
    for A in (gallery.poisson((64, 100)), gallery.poisson((20, 18, 18)), uneven(np.float64)):
        for columns in (None, 4):
            strip = strip_rows(A.shape[0], parts, 960 if columns is None else 120)
            assert strip % 120 == 0
            assert_schedule_is_legal(A, strip, parts, 8, 24, 564738290)


def test_the_recorder_sees_an_illegal_schedule():
    """The judge is no rubber stamp: fronts that keep no distance are caught, and sections too."""
    A = banded(40, 3)
    strips = strips_of(A.indptr, A.indices, 2)
    reads = touched(A, 2)
    fine = schedule(strips, 2, 3)
    careless = fine._replace(advance=np.arange(fine.advance.size))
    with pytest.raises(AssertionError, match="reads"):
        assert_legal(recorded(careless, 6, 3), reads, 6, shuffled(635241987))
    left, right = fine.left.copy(), fine.right.copy()
    left[:, 1:], right[:, 1:] = left[:, :1], right[:, :1]
    with pytest.raises(AssertionError, match="race"):
        assert_legal(
            recorded(fine._replace(left=left, right=right), 6, 3), reads, 6, shuffled(635241987)
        )
    # What only the transpose touches counts: strips of the pattern as stored are not enough.
    B = sparse.csr_array(([1.0, 1.0], ([0, 19], [19, 19])), shape=(20, 20))
    blind = strips_of(sparse.eye_array(20, format="csr").indptr, np.arange(20), 1)
    with pytest.raises(AssertionError):
        assert_legal(recorded(schedule(blind, 1, 3), 6, 3), touched(B, 1), 6, shuffled(635241987))


@settings(max_examples=100)
@given(
    n=hs.integers(1, 40),
    entries=hs.lists(hs.tuples(hs.integers(0, 39), hs.integers(0, 39)), max_size=60),
    strip=hs.integers(1, 6),
)
def test_reach_is_that_of_the_pattern_joined_with_its_transpose(n, entries, strip):
    pairs = sorted({(i % n, j % n) for i, j in entries})
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    A = sparse.csr_array((np.ones(len(pairs)), (rows, columns)), shape=(n, n))
    strips = strips_of(A.indptr, A.indices, strip)
    reads = touched(A, strip)
    n_strips = len(reads)
    joined = [
        set(reads[s]) | {t for t in range(n_strips) if s in reads[t]} for s in range(n_strips)
    ]
    assert strips.advance.shape == strips.retreat.shape == strips.work.shape == (n_strips + 1,)
    for f in range(n_strips + 1):
        for s in range(strips.advance[f]):
            assert max(joined[s]) < f
        for s in range(strips.retreat[f], n_strips):
            assert min(joined[s]) >= f
        # Not one strip fewer than that: a front that waits too long fits into no cache.
        if strips.advance[f] < n_strips:
            assert max(joined[strips.advance[f]]) >= f
        if strips.retreat[f] > 0:
            assert min(joined[strips.retreat[f] - 1]) < f
    assert strips.work[-1] == A.nnz + 4 * n
    assert (np.diff(strips.work) > 0).all()


def test_sections_share_the_work():
    for A in (banded(4000, 30), half_empty(4000), gallery.poisson((50, 80))):
        strips = strips_of(A.indptr, A.indices, 10)
        for parts in (2, 3, 4):
            plan = schedule(strips, parts, 1)
            work = strips.work[plan.right[:, 0]] - strips.work[plan.left[:, 0]]
            heaviest = np.diff(strips.work).max()
            assert plan.parts == parts
            assert work.max() - work.min() <= 2 * heaviest


def test_sections_of_a_band_hold_several_steps():
    A = banded(4000, 30)
    plan = schedule(strips_of(A.indptr, A.indices, 10), 4, 8)
    assert plan.depth == 8
    assert (plan.left <= plan.right).all()


def test_sections_of_an_arrow_hold_one_step():
    """Every strip waits for the head: what follows the first step is done in between, together."""
    A = arrow(400)
    for parts in (2, 3, 4):
        plan = schedule(strips_of(A.indptr, A.indices, 10), parts, 8)
        assert (plan.left[:, 1:] == plan.right[:, 1:]).all()
    assert schedule(strips_of(A.indptr, A.indices, 10), 1, 8).depth == 8


def test_window_grows_with_depth_and_is_all_for_an_arrow():
    A = banded(4000, 30)
    strips = strips_of(A.indptr, A.indices, 10)
    sizes = [window(strips, depth, 12.0, 24.0) for depth in range(1, 9)]
    assert (np.diff(sizes) > 0).all()
    whole = 12.0 * A.nnz + 24.0 * 4000
    assert sizes[-1] < 0.2 * whole
    B = arrow(4000)
    wide = window(strips_of(B.indptr, B.indices, 10), 2, 12.0, 24.0)
    assert wide >= 0.85 * (12.0 * B.nnz + 24.0 * 4000)


@pytest.mark.parametrize("rows", [0, 1, 119, 120, 1919, 1920, 1921, 10**6, 10**9])
@pytest.mark.parametrize("parts", [1, 2, 7, 64])
def test_strips_are_granules(rows, parts):
    for most in (120, 960):
        strip = strip_rows(rows, parts, most)
        assert strip % 120 == 0
        assert 120 <= strip <= most


# ---------------------------------------------------------------------------------------------
# Bits


def swept(A, X, p, order, strip, parts, depth):
    """Run the compiled sweep over strips that a backend would never cut; CSR takes any."""
    columns = None if X.ndim == 1 else X.shape[1]
    x = X.ravel()
    even, odd = np.full_like(x, np.nan), np.full_like(x, np.nan)  # need not be initialized
    out = np.full_like(x, np.nan) if order == "forward" else None
    strips = strips_of(A.indptr, A.indices, strip)
    together, alone = schedule(strips, parts, depth), schedule(strips, 1, depth)
    rows = np.empty((together.parts, strip * (columns or 1) + LANES + 16))
    fronts = np.empty((together.parts, together.depth + 16), dtype=np.int64)
    matrix = csr_matrix(A)
    coefficients = (np.array(values) for values in (p.a, p.b, p.c, p.w))
    arguments = (matrix, columns, *coefficients, x, even, odd, out, rows, fronts, together.depth)
    run(sweeps.sweep, arguments, together, alone)
    if out is not None:
        return out
    return odd if p.degree % 2 else even


def bits_of_small_strips(threads):
    """Return what differs from the plain sweep: nothing, one hopes."""
    wrong = []
    rng = np.random.default_rng(847362519)
    for which, make in PATTERNS.items():
        for n, strip in ((97, 1), (1203, 4)):
            A = make(n)
            for shape in ((n,), (n, 3)):
                X = rng.standard_normal(shape)
                for order in ORDERS:
                    for degree in (1, 19):
                        p = steady(degree)
                        plain = swept(A, X, p, order, strip, 1, 1)
                        assert np.isfinite(plain).all()
                        for parts in threads:
                            for depth in DEPTHS:
                                found = swept(A, X, p, order, strip, parts, depth)
                                if not np.array_equal(found, plain):
                                    wrong.append(
                                        (which, n, len(shape), order, degree, parts, depth)
                                    )
    return wrong


def test_bits_of_small_strips_with_two_threads():
    assert bits_of_small_strips([1, min(2, available_threads())]) == []


def formats_and_matrices():
    """(format, matrix) pairs of several strips each."""
    plane, space = gallery.poisson((72, 60)), gallery.poisson((18, 16, 15))
    return [
        ("dia", normed(plane)),
        ("sell", normed(space)),
        ("csr", normed(gallery.poisson((8, 600)))),
        ("bsr", normed(sparse.kron(banded(1500, 7), np.ones((3, 3)), format="csr"))),
        ("csr", arrow(4001)),
        ("sell", upper(4321, far=2)),
        ("csr", lower(4321)),
        ("sell", normed(uneven(np.float64))),
        ("csr", scattered(4003, 3)),
        ("csr", banded(121, 5)),
        ("sell", normed(hermitian(961, np.float64, 192837465))),
    ]


def bits_of_backends(threads):
    """Return what differs from depth 1 on one thread, for forced formats."""
    wrong = []
    rng = np.random.default_rng(182736450)
    for name, A in formats_and_matrices():
        n = A.shape[0]
        for shape in ((n,), (n, 5)):
            X = rng.standard_normal(shape)
            for order in ORDERS:
                p = steady(17)
                plain = CpuBackend(A).prepared(MANY, Execution(name, depth=1, threads=1))
                expected = plain.apply(p, X, order=order)
                assert np.isfinite(expected).all()
                for count in threads:
                    for depth in DEPTHS:
                        execution = Execution(name, depth=depth, threads=count)
                        backend = CpuBackend(A).prepared(MANY, execution)
                        assert backend.report.depth == depth
                        answers = [backend.apply(p, X, order=order) for _ in range(2)]
                        if not all(np.array_equal(answer, expected) for answer in answers):
                            wrong.append((name, n, len(shape), order, count, depth))
                    if not np.array_equal(backend.matmul(X), plain.matmul(X)):
                        wrong.append((name, n, len(shape), "matmul", count))
    return wrong


def test_bits_of_every_depth_with_two_threads():
    assert bits_of_backends([1, 2]) == []


def test_bits_of_single_and_complex_values():
    for dtype in (np.float32, np.complex128):
        A = diagonals(4001, (-60, 0, 1), dtype)
        x = np.linspace(-1, 1, 4001).astype(dtype)
        for name in ("csr", "dia"):
            for order in ORDERS:
                found = [
                    CpuBackend(A)
                    .prepared(MANY, Execution(name, depth=depth, threads=threads))
                    .apply(steady(17), x, order=order)
                    for depth, threads in ((1, 1), (5, 1), (16, 2))
                ]
                assert found[0].dtype == dtype
                assert np.array_equal(found[0], found[1])
                assert np.array_equal(found[0], found[2])


def test_lanczos_and_products_have_the_same_bits_however_blocked(rng):
    A = normed(gallery.poisson((72, 60)))
    v = rng.standard_normal(A.shape[0])
    v /= np.linalg.norm(v)
    zero, basis = np.zeros_like(v), v[None, :].copy()
    found = []
    for depth, threads in ((1, 1), (5, 1), (5, 2)):
        backend = CpuBackend(A).prepared(MANY, Execution("sell", depth=depth, threads=threads))
        following = np.empty_like(v)
        pair = backend.lanczos_step(zero, v, 0.0, basis, following)
        found.append((np.array(pair), following, backend.matmul(v)))
    for one in found[1:]:
        assert all(np.array_equal(x, y) for x, y in zip(one, found[0], strict=True))


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="one thread without the JIT")
def test_bits_with_three_and_four_threads():
    source = """
        import json
        from kernels import test_schedule as t
        print(json.dumps([t.available_threads(), t.bits_of_small_strips([3, 4]),
                          t.bits_of_backends([3, 4])]))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "NUMBA_NUM_THREADS": "4",
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [4, [], []]
