"""Minimax steps aimed by Ritz values, and their choice against a fit: counts, safety, probes."""

import math

import numpy as np
import pytest

from spectool import dense
from spectool.dense.coefficients import optimal_quadratic, optimal_steps, polar_express
from spectool.dense.problems import Problem
from spectool.dense.run import Run, iterate
from spectool.dense.sketch import Hybrid, KrylovMinimax, Prism
from spectool.dense.sketch.minimax import (
    Interval,
    best_values,
    first_interval,
    image,
    image_range,
)
from spectool.dense.sketch.probes import drawn, probed, upper_bound
from spectool.errors import BreakdownError, InputError
from spectool.results import Status

SEED = 249071385
EPS = float(np.finfo(np.float64).eps)
TOLERANCE = 1e-8
METHODS = [KrylovMinimax(1), KrylovMinimax(), Hybrid()]


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


def with_eigenvalues(w, rng, dtype=float):
    Z = rng.standard_normal((len(w), len(w)))
    if np.issubdtype(dtype, np.complexfloating):
        Z = Z + 1j * rng.standard_normal(Z.shape)
    Q, _ = np.linalg.qr(Z)
    A = (Q * w) @ Q.conj().T
    return ((A + A.conj().T) / 2).astype(dtype)


def started(function, A, p=1, *, hermitian=True, seed=SEED):
    """Return a run for A, which is scaled already."""
    problem = Problem(function, p)
    o = problem.algebra(A, hermitian=hermitian)
    return Run(problem, o, problem.variables(o, A), np.random.default_rng(seed))


def finished(function, A, method, p=1, *, tolerance=TOLERANCE, **options):
    """Return a run at its end, for ``||R||_F <= tolerance``."""
    run = started(function, A, p, **options)
    status = iterate(run, method, rtol=tolerance / A.shape[-1] ** 0.5, maxiter=100)
    assert status is Status.CONVERGED, (status, run.trouble, run.history)
    return run


def count(sigma, method, **options):
    """Return the steps for singular values: no sketch tells a diagonal matrix from others."""
    return len(finished("polar", np.diag(sigma), method, hermitian=False, **options).taken)


def oracle_count(sigma):
    """Return the steps of Polar Express for the true lower bound, from the Frobenius norm."""
    for k, (a, b, c) in enumerate(polar_express(0.99 * sigma.min(), 60, cushion=0.024)):
        if np.linalg.norm(1 - sigma**2) <= TOLERANCE:
            return k
        sigma = sigma * (a + sigma**2 * (b + sigma**2 * c))
    raise AssertionError


# -- steps needed ------------------------------------------------------------------------------

SPECTRA = {
    # singular values, and the counts of a prototype that knew no upper end but the norm
    "log-uniform 1e2": (np.logspace(0, -2, 400), 8),
    "log-uniform 1e4": (np.logspace(0, -4, 400), 10),
    "log-uniform 1e6": (np.logspace(0, -6, 400), 14),
    "log-uniform 1e8": (np.logspace(0, -8, 400), 17),
    "cluster and outlier": (np.r_[np.ones(399), 1e-4], 12),
    "1/j": (1 / np.arange(1.0, 401), 7),
    "1/j^2": (1 / np.arange(1.0, 401) ** 2, 12),
    "Gaussian 4:1": ((1600, 400), 5),
    "Gaussian 50:1": ((5000, 100), 5),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_counts(rng, name):
    values, most = SPECTRA[name]
    if isinstance(values, tuple):
        values = np.linalg.svd(rng.standard_normal(values), compute_uv=False)
    sigma = values / np.linalg.norm(values)
    kpe = count(sigma, KrylovMinimax())
    assert kpe <= most
    assert kpe <= count(sigma, Prism())
    assert kpe <= oracle_count(sigma) + 1
    assert count(sigma, Hybrid()) <= kpe


@pytest.mark.parametrize("p", [1, 2, 3, 4, 7])
def test_inverse_roots_take_no_more_than_fits(rng, p):
    w = np.logspace(0, -4, 24)
    A = with_eigenvalues(w / np.linalg.norm(w), rng)
    counts = {}
    for method in (Prism(rescale=False), KrylovMinimax(), Hybrid()):
        run = finished("inverse_root", A, method, p, tolerance=1e-10)
        counts[method.name] = len(run.taken)
        lam, Q = np.linalg.eigh(A)
        # 1e4 is the condition number; roots divide it by p, and inverses scale by 1 / min(lam).
        wanted = (Q * lam ** (-1 / p)) @ Q.T
        np.testing.assert_allclose(
            run.variables.X, wanted, rtol=0, atol=1e4 * 100 * EPS * np.abs(wanted).max() + 1e-9
        )
    assert counts["kpe"] < counts["prism"]
    assert counts["hybrid"] <= counts["kpe"]


@pytest.mark.parametrize("n", [1, 7, 100])
def test_the_choice_takes_the_fit_for_one_cluster(n):
    sigma = np.full(n, n**-0.5)
    assert count(sigma, Hybrid()) < count(sigma, KrylovMinimax()) or n == 1


# -- safety ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("degree", [1, 2])
def test_an_end_that_is_too_large_costs_speed_only(rng, p, degree):
    for _ in range(50):
        u = rng.uniform(0.05, 1.9)
        l = u * 10 ** -rng.uniform(0, 2)  # noqa: E741
        values = best_values(np.asarray(l), np.asarray(u), p, degree)
        below, inside = np.linspace(0, l, 400)[1:], np.linspace(l, u, 400)
        error = 1 - image(values, np.asarray(l), p)
        assert np.abs(1 - image(values, inside, p)).max() <= error + 1e-12
        t = image(values, below, p)
        assert (t > 0).all()
        assert (np.diff(t) > 0).all()
        assert t.max() <= 1 - error + 1e-12


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_tiny_value_among_many_is_not_lost(rng, method):
    """A probe of 20 vectors cannot see one value in 300 well; it arrives all the same."""
    for smallest in (1e-2, 1e-4, 1e-6):
        sigma = np.r_[rng.uniform(0.1, 1, 299), smallest]
        sigma /= np.linalg.norm(sigma)
        assert count(sigma, method) <= 30


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_images_of_intervals(rng, p, degree):
    l = rng.uniform(0.01, 1, 30)  # noqa: E741
    u = l + rng.uniform(0, 1, 30)
    values = tuple(
        value * rng.uniform(0.9, 1.1) for value in best_values(l * 0.7, u * 1.1, p, degree)
    )
    lower, upper = image_range(values, l, u, p)
    s = np.linspace(0, 1, 2001)[:, None]
    inside, all_below = image(values, l + s * (u - l), p), image(values, s * u, p)
    # The grid misses extrema by the square of its width, times the curvature.
    np.testing.assert_allclose(lower, inside.min(axis=0), atol=1e-4)
    np.testing.assert_allclose(upper, all_below.max(axis=0), atol=1e-4)
    assert (lower <= inside.min(axis=0) + 1e-12).all()
    assert (upper >= all_below.max(axis=0) - 1e-12).all()


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize(
    ("function", "p"), [("polar", 1), ("sign", 1), ("inv", 1), ("sqrt", 2), ("inverse_root", 3)]
)
def test_the_first_upper_end_is_a_bound(rng, function, p, degree):
    w = 10 ** -rng.uniform(0, 2, (5, 12))
    A = np.stack([with_eigenvalues(row / np.linalg.norm(row), rng) for row in w])
    run = started(function, A, p, hermitian=True)
    M = np.eye(12) - run.residual()
    root = {"inverse_root": p, "inv": 1}.get(function, 2)
    largest = np.linalg.eigvalsh(M)[:, -1] ** (1 / root)
    bound = upper_bound(run, root, degree)
    assert bound.shape == (5,)
    assert (bound >= largest).all()
    assert (bound <= 1).all()
    assert (first_interval(run, root, degree).upper == bound).all()
    if degree == 2:
        # ||M^2||_F <= sqrt(12) ||M||_2^2, and the margin for rounding.
        assert (bound <= largest * 12 ** (1 / (4 * (root / 2) * 2)) * (1 + 16 * EPS)).all()


def test_the_bound_costs_no_product(rng):
    A = with_eigenvalues(np.linspace(0.01, 0.5, 10), rng)
    run = started("polar", A, hermitian=False)
    step = next(KrylovMinimax().steps(run))
    made = []
    plain = type(run.algebra._memory).recall

    def counting(memory, name, factors, make):
        def noted():
            made.append(name)
            return make()

        return plain(memory, name, factors, noted)

    run.algebra._memory.recall = counting.__get__(run.algebra._memory)
    step(run.algebra, run.variables)
    assert made == ["product"]  # X times the polynomial; X^T X and its square are known


def test_what_was_rounding_is_left_behind(rng):
    """A column that is zero to working precision does not keep the others from converging."""
    for dtype in (np.float32, np.float64):
        X = np.zeros((30, 12), dtype=dtype)
        X[:, :9] = rng.standard_normal((30, 9)) * np.logspace(0, -2, 9) / 20
        for method in (KrylovMinimax(), Hybrid()):
            run = started("polar", X, hermitian=False)
            iterate(run, method, rtol=1e-30, maxiter=50)
            s = np.linalg.svd(run.variables.X, compute_uv=False)
            wanted = [1.0] * 9 + [0.0] * 3
            np.testing.assert_allclose(s, wanted, atol=20 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize(
    ("function", "p"), [("polar", 1), ("inv", 1), ("sign", 1), ("sqrt", 2), ("inverse_root", 3)]
)
def test_steps_beyond_the_limit_stay_there(rng, method, function, p):
    """Rounding of a Ritz value must not widen the interval again, in single precision least."""
    B = rng.standard_normal((6, 12, 8)).astype(np.float32)
    A = np.swapaxes(B, -1, -2) @ B + np.eye(8, dtype=np.float32)
    A = (A / np.linalg.norm(A, axis=(-2, -1), keepdims=True)).astype(np.float32)
    run = started(function, A, p)
    v, o = run.variables, run.algebra
    steps = method.steps(run)
    norms = []
    for _ in range(20):
        run.variables = next(steps)(o, run.variables)
        norms.append(float(run.residual_norms().max()))
    assert run.variables.X.dtype == v.X.dtype
    # Condition numbers up to 60, squared for the inverse.
    assert max(norms[14:]) <= 3600 * 8 * np.finfo(np.float32).eps


def test_a_general_matrix_is_refused(rng):
    for A in (
        np.asarray([[0.5, 0.4], [0.0, 0.5]]),  # not normal
        0.5 * np.asarray([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]]),
    ):
        for method in METHODS:
            run = started("sign", A, hermitian=False)
            with pytest.raises(BreakdownError, match="skew part"):
                next(method.steps(run))


# -- probes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_ritz_values_are_a_quadrature(rng, dtype):
    w = rng.uniform(0.05, 1, 40)
    A = with_eigenvalues(w, rng, dtype)
    run = started("inverse_root", A, 2)
    S = drawn(run, 3)
    theta, weights = probed(run, S, 4)
    assert theta.shape == weights.shape == (12,)
    assert (np.diff(theta) >= 0).all()
    assert theta[0] >= (1 - w).min() - 1e-12
    assert theta[-1] <= (1 - w).max() + 1e-12
    assert weights.sum() == pytest.approx(1)
    Q, _ = np.linalg.qr(S)
    R = np.eye(40) - A
    for i in range(8):
        moment = np.trace(Q.conj().T @ np.linalg.matrix_power(R, i) @ Q).real / 3
        assert (weights * theta**i).sum() == pytest.approx(moment, rel=1e-10)


def test_a_probe_of_the_whole_space_is_exact(rng):
    A = with_eigenvalues([0.9, 0.5, 0.5, 0.1, 1e-6], rng)
    run = started("inverse_root", A, 2)
    theta, _ = probed(run, drawn(run, 1), 9)
    # A double eigenvalue shows once; the fifth vector is then arbitrary.
    for value in (0.9, 0.5, 0.1, 1e-6):
        assert np.abs(1 - theta - value).min() < 1e-12


def test_a_deficient_space_gives_true_ritz_values(rng):
    w = np.r_[np.full(29, 0.5), 1e-5]
    run = started("inverse_root", with_eigenvalues(w, rng), 2)
    theta, weights = probed(run, drawn(run, 4), 5)
    assert np.abs(theta[:-1] - 0.5).max() < 1e-12
    assert theta[-1] == pytest.approx(1 - 1e-5, abs=1e-12)
    assert weights.sum() == pytest.approx(1)


def test_narrow_spectra_are_trusted_and_others_are_not():
    known = Interval(np.asarray(0.8), np.asarray(1.1), np.asarray(0.0))
    l, u = known.narrowed(1 - np.asarray([0.99, 0.98])[::-1] ** 2, 2, 0.02, 0.7)  # noqa: E741
    assert u < 1.1
    assert l > 0.9
    _, u = known.narrowed(1 - np.asarray([0.99, 0.5]) ** 2, 2, 0.02, 0.7)
    assert u == 1.1
    wide = known._replace(upper=np.asarray(1.9))
    _, u = wide.narrowed(1 - np.asarray([0.99, 0.98]) ** 2, 2, 0.02, 0.7)
    assert u == 1.9


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_best_steps_for_many_ratios(p):
    ratios = np.asarray([[0.0, 1e-6, 0.02], [0.3, 0.9, 1.0]])
    found = optimal_steps(ratios, p, 2)
    for index in np.ndindex(2, 3):
        # optimal_quadratic takes bounds of y = t^p.
        one = optimal_quadratic(ratios[index] ** p, 1.0, p)
        assert [values[index] for values in found] == pytest.approx(one, rel=1e-9)
    assert [len(optimal_steps(ratios, p, degree)) for degree in (1, 2)] == [2, 3]


# -- libraries and what is degenerate ----------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_torch_batches_and_complex_numbers(rng, method):
    torch = pytest.importorskip("torch")
    A = np.stack([with_eigenvalues(10 ** -rng.uniform(0, k, 9), rng, complex) for k in (1, 2)])
    A /= np.linalg.norm(A, axis=(-2, -1), keepdims=True)
    for X in (A, A.real.copy(), torch.as_tensor(A), torch.as_tensor(A.real.copy())):
        run = finished("polar", X, method, hermitian=False)
        one = finished("polar", X[1], method, hermitian=False)
        U = np.asarray(run.variables.X[1])
        np.testing.assert_allclose(U.conj().T @ U, np.eye(9), atol=TOLERANCE)
        np.testing.assert_allclose(np.asarray(one.variables.X), U, atol=3 * TOLERANCE * 9**0.5)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("method", [KrylovMinimax(), Hybrid()], ids=lambda method: method.name)
def test_low_precision(rng, name, method):
    torch = pytest.importorskip("torch")
    G = torch.as_tensor(rng.standard_normal((3, 40, 20)) / 40, dtype=getattr(torch, name))
    run = started("polar", G, hermitian=False)
    iterate(run, method, rtol=1e-9, maxiter=10)
    assert run.variables.X.dtype == G.dtype
    s = np.linalg.svd(run.variables.X.float().numpy(), compute_uv=False)
    # A product of 20 rows rounds by sqrt(20) eps, a few times over.
    assert np.abs(s - 1).max() <= 8 * math.sqrt(20) * torch.finfo(G.dtype).eps


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_degenerate_matrices(rng, method):
    assert count(np.asarray([0.3]), method) <= 8
    assert count(np.asarray([0.5, 0.5]), method) <= 8
    tall = rng.standard_normal((90, 2)) / 100
    assert len(finished("polar", tall, method, hermitian=False).taken) <= 8
    empty = started("polar", np.zeros((0, 4, 4)), hermitian=False)
    assert iterate(empty, method, rtol=1e-8, maxiter=9) is Status.CONVERGED
    lost = started("polar", np.full((3, 3), np.nan), hermitian=False)
    assert iterate(lost, method, rtol=1e-8, maxiter=9) is Status.BROKE_DOWN
    zero = started("polar", np.zeros((3, 3)), hermitian=False)
    iterate(zero, method, rtol=1e-8, maxiter=9)
    assert (zero.variables.X == 0).all()


def test_arguments_are_checked():
    for wrong in ({"n_sketch": 0}, {"n_products": 0}, {"cushion": 1.0}, {"shrink": 0.0}):
        for make in (KrylovMinimax, Hybrid):
            with pytest.raises(InputError, match=f"{make.__name__} needs"):
                make(**wrong)
    for method in METHODS:
        with pytest.raises(InputError, match="inverse_root and multiply"):
            next(method.steps(started("root", np.eye(3) / 2, 3)))


@pytest.mark.parametrize("name", ["kpe", "hybrid"])
@pytest.mark.parametrize("verb", ["polar", "signm", "sqrtm", "invsqrtm", "inv"])
def test_verbs_take_the_method_by_name(rng, verb, name):
    A = with_eigenvalues(np.linspace(0.1, 1, 12), rng)
    found = getattr(dense, verb)(A, method=name, rng=SEED, full_output=True)
    assert found.converged
    assert found.method.endswith(f"by {name}")
