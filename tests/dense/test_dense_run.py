"""The loop: when it looks at a residual, when it stops, what it keeps; and problems' scaling."""

import numpy as np
import pytest

from spectool.dense.algebra import Cost
from spectool.dense.iterations import ZOO, find_kind
from spectool.dense.methods import Named
from spectool.dense.problems import Problem
from spectool.dense.run import Run, inverts_something, iterate, shares_residual
from spectool.errors import BreakdownError
from spectool.results import Status

EPS = float(np.finfo(np.float64).eps)


class Steps:
    """Yields given steps."""

    name = "given"

    def __init__(self, *steps):
        self.given = steps

    def steps(self, run):
        yield from self.given


def definite(rng, n, cond):
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = (Q * np.geomspace(1.0, 1.0 / cond, n)) @ Q.T
    return 0.5 * (A + A.T)


def started(function, A, p=1):
    problem = Problem(function, p)
    o = problem.algebra(A, hermitian=function != "polar")
    v, _ = problem.start(o, A)
    return Run(problem, o, v, np.random.default_rng(0))


def test_residuals_are_free_where_steps_need_them():
    shared = {
        ("sign.newton_schulz", "polar"): True,
        ("sign.quintic", "sign"): True,
        ("sign.newton", "sign"): False,
        ("sqrt.newton_schulz", "sqrt"): True,
        ("sqrt.product_db", "invsqrt"): True,
        ("sqrt.denman_beavers", "sqrt"): False,
        ("inv.newton_schulz", "inv"): True,
        ("inverse_root.newton", "inverse_root"): True,
    }
    for (kind, function), expected in shared.items():
        assert shares_residual(find_kind(kind), Problem(function, 3)) is expected


def test_which_kinds_invert():
    names = {name for name, kind in ZOO.items() if inverts_something(kind)}
    assert {"sign.newton", "sign.halley", "sqrt.product_db", "root.iannazzo"} <= names
    assert not {"sign.quintic", "sqrt.visser", "inverse_root.newton"} & names


@pytest.mark.parametrize("name", ["newton_schulz", "scaled_newton", "qdwh", "polar_express"])
def test_a_run_ends_at_the_tolerance(rng, name):
    run = started("polar", rng.standard_normal((9, 9)))
    status = iterate(run, Named(name), rtol=1e-6, maxiter=50)
    assert status is Status.CONVERGED
    assert len(run.history) == len(run.taken) + 1
    assert run.history[-1] <= 1e-6
    assert run.residual_norms() == pytest.approx(run.history[-1])
    looked = np.isfinite(run.history)
    # Newton's step needs no square: looked at when the change says so
    assert looked.all() == (name != "scaled_newton")
    assert looked.sum() <= 3 or looked.all()


def test_a_run_stagnates_at_rounding(rng):
    run = started("polar", rng.standard_normal((9, 9)))
    status = iterate(run, Named("newton_schulz"), rtol=1e-30, maxiter=90)
    assert status is Status.STAGNATED
    assert len(run.taken) < 60
    assert run.best[1] <= 10 * EPS
    # the square root of an ill-conditioned matrix stagnates well above eps
    run = started("sqrt", definite(rng, 9, 1e10))
    assert iterate(run, Named("newton_schulz"), rtol=1e-15, maxiter=90) is Status.STAGNATED
    assert 1e-15 < run.best[1] < 1e-8


def test_slow_convergence_is_not_stagnation(rng):
    # one tiny singular value: the residual stays at n^(-1/2) for long
    G = np.diag(np.r_[np.ones(99), 1e-9])
    run = started("polar", G)
    assert iterate(run, Named("newton_schulz"), rtol=1e-12, maxiter=99) is Status.CONVERGED
    assert len(run.taken) > 50
    run = started("sqrt", definite(rng, 9, 20.0))
    assert iterate(run, Named("visser"), rtol=1e-10, maxiter=500) is Status.CONVERGED
    assert len(run.taken) > 60


def test_divergence_is_found_and_the_best_kept(rng):
    run = started("polar", rng.standard_normal((9, 9)))
    good, bad = find_kind("sign.newton_schulz").step(), find_kind("sign.newton_schulz").step(9, 9)
    status = iterate(run, Steps(*[good] * 30, *[bad] * 30), rtol=1e-30, maxiter=90)
    assert status in (Status.STAGNATED, Status.BROKE_DOWN)
    run = started("polar", rng.standard_normal((9, 9)))
    status = iterate(run, Steps(*[good] * 6, *[bad] * 30), rtol=1e-12, maxiter=90)
    assert status is Status.BROKE_DOWN
    assert "grew" in run.trouble
    assert run.best[1] == np.nanmin(run.history)
    assert len(run.taken) < 20


def test_newton_may_overshoot(rng):
    # the first iterate is large where A is ill-conditioned
    run = started("sqrt", definite(rng, 9, 1e12))
    status = iterate(run, Named("product_db"), rtol=1e-9, maxiter=60)
    assert max(run.history) > 1e3
    assert status in (Status.CONVERGED, Status.STAGNATED)


def test_a_singular_matrix_and_a_breakdown_are_told():
    run = started("polar", np.diag([1.0, 0.0]))
    assert iterate(run, Named("newton"), rtol=1e-9, maxiter=60) is Status.BROKE_DOWN
    assert "singular" in run.trouble

    class Hopeless(Steps):
        def steps(self, run):
            yield find_kind("sign.newton_schulz").step()
            raise BreakdownError("nothing to do")

    run = started("polar", np.eye(2))
    assert iterate(run, Hopeless(), rtol=1e-30, maxiter=60) is Status.BROKE_DOWN
    assert run.trouble == "nothing to do"


def test_errors_of_others_pass():
    def complain(progress):
        raise RuntimeError("not yours")

    run = started("polar", np.eye(2))
    with pytest.raises(RuntimeError, match="not yours"):
        iterate(run, Named("newton_schulz"), rtol=1e-30, maxiter=9, callback=complain)


def test_a_method_without_more_steps_ends_a_run(rng):
    run = started("polar", rng.standard_normal((9, 9)))
    step = find_kind("sign.newton_schulz").step()
    assert iterate(run, Steps(step, step), rtol=1e-9, maxiter=60) is Status.MAXITER
    assert len(run.history) == 3
    assert iterate(started("polar", np.eye(3)), Steps(), rtol=0.9, maxiter=9) is Status.CONVERGED


def test_cost_counts_steps_and_what_is_beside(rng):
    run = started("polar", rng.standard_normal((9, 9)))
    iterate(run, Named("qdwh"), rtol=1e-9, maxiter=60)
    counted = run.cost
    assert counted.inverses == 1.0  # the bound of the smallest singular value
    assert counted.definite_solves + counted.qr_solves == len(run.taken)
    run = started("polar", rng.standard_normal((9, 4)))
    iterate(run, Named("newton_schulz"), rtol=1e-9, maxiter=60)
    assert run.cost == Cost(tall_products=2.0 * len(run.taken))


def test_scales_bound_the_norm(rng):
    for shape in ((1, 1), (5, 5), (9, 3)):
        A = rng.standard_normal((4, *shape)) * np.array([1e-300, 1.0, 1e150, 0.0])[:, None, None]
        v, c = Problem("polar").start(Problem("polar").algebra(A, hermitian=False), A)
        norms = np.linalg.norm(v.X, 2, axis=(-2, -1))
        assert (norms <= 1.0).all()
        assert (norms[:3] >= 0.4).all()  # sharper than n^(-1/2) here
        assert np.allclose(v.X * c[:, None, None], A)


def test_problems_are_named():
    with pytest.raises(ValueError, match="function is one of"):
        Problem("cosine")
    assert Problem("invsqrt").p == 2
    assert Problem("polar").family == "sign"
