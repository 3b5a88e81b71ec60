"""The zoo at work: costs, polar factors, batches, torch, pickles, and published step counts."""

import pickle

import numpy as np
import pytest

from spectool.dense.algebra import Cost, MatrixAlgebra, SpectrumAlgebra
from spectool.dense.coefficients import (
    byers_xu,
    chen_chow,
    gawlik,
    optimal_linear,
    optimal_quadratic,
    polar_express,
    qdwh,
    root_interval,
    zolotarev,
)
from spectool.dense.iterations import ZOO
from spectool.dense.problems import Problem
from spectool.dense.run import shares_residual
from spectool.dense.steps import Variables
from spectool.errors import InputError

EPS = np.finfo(float).eps
ROOTS = {"sqrt": (2,), "root": (1, 2, 3), "inverse_root": (1, 2, 3)}
CASES = [(name, p) for name, kind in ZOO.items() for p in ROOTS.get(kind.function, (1,))]


def unitary(rng, n, dtype=float):
    Z = rng.standard_normal((n, n)).astype(dtype)
    if dtype is complex:
        Z = Z + 1j * rng.standard_normal((n, n))
    return np.linalg.qr(Z)[0]


def matrix(rng, w, dtype=float):
    Q = unitary(rng, len(w), dtype)
    A = (Q * w) @ Q.conj().T
    return (A + A.conj().T) / 2, Q


def start(o, kind, A, p):
    v = Problem(kind.function, p).variables(o, A)
    return v._replace(Y=None) if kind.recouples else v


# --- costs -------------------------------------------------------------------------------------

COSTS = {
    ("inv.newton_schulz", 1): Cost(products=2),
    ("inv.chebyshev", 1): Cost(products=3),
    ("sign.newton", 1): Cost(inverses=1),
    ("sign.newton_schulz", 1): Cost(products=2),
    ("sign.quintic", 1): Cost(products=3),
    ("sign.halley", 1): Cost(products=1, definite_solves=1),
    ("sign.newton_variant", 1): Cost(products=1, definite_solves=1),
    ("sign.zolotarev", 1): Cost(products=1, definite_solves=7, qr_solves=1),
    ("sqrt.newton", 2): Cost(solves=1),
    ("sqrt.denman_beavers", 2): Cost(inverses=2),
    ("sqrt.product_db", 2): Cost(products=3, inverses=1),
    ("sqrt.newton_schulz", 2): Cost(products=3),
    ("sqrt.quintic", 2): Cost(products=4),
    ("sqrt.newton_variant", 2): Cost(products=3, inverses=1),
    ("sqrt.visser", 2): Cost(products=1),
    ("sqrt.visser_coupled", 2): Cost(products=2),
    ("sqrt.coupling", 2): Cost(solves=1),
    ("root.iannazzo", 1): Cost(products=2, inverses=1),
    ("root.iannazzo", 2): Cost(products=3, inverses=1),
    ("root.iannazzo", 3): Cost(products=4, inverses=1),
    ("root.newton", 1): Cost(),
    ("root.newton", 2): Cost(products=1, inverses=1),
    ("root.newton", 3): Cost(products=2, inverses=1),
    ("root.visser", 1): Cost(),
    ("root.visser", 2): Cost(products=1),
    ("root.visser", 3): Cost(products=2),
    ("root.coupling", 1): Cost(products=1, inverses=1),
    ("root.coupling", 2): Cost(products=2, inverses=1),
    ("root.coupling", 3): Cost(products=3, inverses=1),
    ("inverse_root.newton", 1): Cost(products=2),
    ("inverse_root.newton", 2): Cost(products=3),
    ("inverse_root.newton", 3): Cost(products=4),
    ("inverse_root.newton", 4): Cost(products=4),
    ("inverse_root.quadratic", 1): Cost(products=3),
    ("inverse_root.quadratic", 2): Cost(products=4),
    ("inverse_root.quadratic", 3): Cost(products=5),
    ("inverse_root.quadratic", 4): Cost(products=5),
    ("inverse_root.gawlik", 1): Cost(products=2, inverses=1),
    ("inverse_root.gawlik", 2): Cost(products=3, inverses=1),
    ("inverse_root.gawlik", 3): Cost(products=4, inverses=1),
}
TALL = {
    "sign.newton_schulz": Cost(tall_products=2),
    "sign.quintic": Cost(products=1, tall_products=2),
    "sign.halley": Cost(tall_products=1, definite_solves=1),
    "sign.newton_variant": Cost(tall_products=1, definite_solves=1),
}


def test_all_costs_are_stated():
    assert set(COSTS) >= set(CASES)


@pytest.mark.parametrize(("name", "p"), COSTS)
def test_costs(name, p):
    assert ZOO[name].step().cost(p=p) == COSTS[name, p]


@pytest.mark.parametrize("name", TALL)
def test_costs_of_tall_matrices(name):
    assert ZOO[name].step().cost(tall=True) == TALL[name]


def test_costs_follow_the_values():
    assert ZOO["sign.halley"].step(*qdwh(1e-3)).cost() == Cost(qr_solves=1)
    for r in (1, 3):
        cost = ZOO["sign.zolotarev"].step(0.9, r).cost()
        assert cost == Cost(products=1, definite_solves=r)


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("inv.newton_schulz", True), ("inv.chebyshev", True), ("sign.newton", False),
        ("sign.newton_schulz", True), ("sign.quintic", True), ("sign.halley", True),
        ("sign.newton_variant", True), ("sqrt.newton", False), ("sqrt.denman_beavers", False),
        ("sqrt.product_db", True), ("sqrt.newton_schulz", True), ("sqrt.quintic", True),
        ("sqrt.newton_variant", True), ("sqrt.visser", True), ("sqrt.visser_coupled", True),
        ("root.iannazzo", True), ("root.visser", True), ("inverse_root.newton", True),
        ("inverse_root.quadratic", True), ("inverse_root.gawlik", True),
    ],
)  # fmt: skip
def test_residuals_are_free_where_the_step_needs_the_same_product(name, shared):
    kind = ZOO[name]
    p = {"sqrt": 2, "root": 3, "inverse_root": 3}.get(kind.function, 1)
    assert shares_residual(kind, Problem(kind.function, p)) is shared


# --- values that depend on p -------------------------------------------------------------------


def test_classical_values_follow_p():
    for name in ("inverse_root.newton", "inverse_root.quadratic"):
        kind = ZOO[name]
        assert all(np.isnan(parameter.classical) for parameter in kind.parameters)
        assert "a=classical" in str(kind.step())
        for p in (1, 2, 3, 5):
            assert abs(sum(kind.classical(p)) - 1) < 4 * EPS
            assert kind.step().resolved(p) == kind.classical(p)
            mixed = kind.step(2.5, *kind.step().values[1:]).resolved(p)
            assert mixed == (2.5, *kind.classical(p)[1:])
    # Where nothing depends on p, NaN is what it is.
    found = ZOO["sign.newton"].step(np.nan, 0.5)(SpectrumAlgebra(), Variables(0.5, None, 0.5))
    assert np.isnan(found.X)


def test_inverses_are_roots_of_order_one():
    o, y = SpectrumAlgebra(), np.linspace(0.1, 1.0, 5)
    v = Variables(y * 0 + 1, y, y, 1)
    w = Variables(y * 0 + 1, None, y)
    for mine, other in (("newton", "newton_schulz"), ("quadratic", "chebyshev")):
        found = ZOO[f"inverse_root.{mine}"].step()(o, v).X
        np.testing.assert_allclose(found, ZOO[f"inv.{other}"].step()(o, w).X, rtol=4 * EPS)


# --- polar factors, scaled steps ---------------------------------------------------------------


def tall(rng, m, n, kappa, dtype=float):
    s = np.geomspace(1.0, 1 / kappa, n)
    U, V = unitary(rng, m, dtype)[:, :n], unitary(rng, n, dtype)
    return (U * s) @ V.conj().T, U @ V.conj().T, s


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("name", ["newton_schulz", "quintic", "halley", "newton_variant"])
def test_polar_factors_of_tall_matrices(name, dtype):
    A, U, _ = tall(np.random.default_rng(173_205_080), 20, 7, 30.0, dtype)
    o = MatrixAlgebra(A, adjoint=True)
    v = Variables(A, None, A)
    for _ in range(20):
        v = ZOO[f"sign.{name}"].step()(o, v)
    np.testing.assert_allclose(v.X, U, atol=1e-12)


def test_newton_gives_the_polar_factor_of_a_square_matrix():
    A, U, _ = tall(np.random.default_rng(173_205_081), 9, 9, 30.0, complex)
    v = Variables(A, None, A)
    for _ in range(15):
        v = ZOO["sign.newton"].step()(MatrixAlgebra(A, adjoint=True), v)
    np.testing.assert_allclose(v.X, U, atol=1e-12)


@pytest.mark.parametrize("lower", [0.5, 0.1, 1e-2, 1e-4])
def test_halley_by_cholesky_and_by_qr_is_the_singular_value_map(lower):
    A, _, s = tall(np.random.default_rng(223_606_797), 30, 9, 1 / lower)
    a, b, c = qdwh(lower)
    X = ZOO["sign.halley"].step(a, b, c)(MatrixAlgebra(A, adjoint=True), Variables(A, None, A)).X
    left, _, right = np.linalg.svd(A, full_matrices=False)
    expected = (left * (s * (a + b * s * s) / (1 + c * s * s))) @ right
    np.testing.assert_allclose(X, expected, atol=1e-12)


@pytest.mark.parametrize("adjoint", [True, False])
@pytest.mark.parametrize(("lower", "r"), [(1e-8, 8), (1e-3, 3), (0.1, 1), (1.0, 2)])
def test_zolotarev_by_partial_fractions(lower, r, adjoint):
    rng = np.random.default_rng(244_948_974)
    o = MatrixAlgebra(np.eye(2), adjoint=adjoint, hermitian=not adjoint)
    if adjoint:
        A, _, s = tall(rng, 25, 9, 1 / lower)
        left, _, right = np.linalg.svd(A, full_matrices=False)
        expected = (left * zolotarev(lower, r)(s)) @ right
    else:
        s = np.geomspace(1.0, lower, 9) * np.resize([1, -1], 9)
        A, Q = matrix(rng, s)
        expected = (Q * zolotarev(lower, r)(s)) @ Q.T
    X = ZOO["sign.zolotarev"].step(lower, r)(o, Variables(A, None, A)).X
    # The smallest singular value of A is known to eps, and its image is 1e-15 / lower off.
    np.testing.assert_allclose(X, expected, atol=1e-12 + 20 * EPS / lower)
    if r == 1:
        halley = ZOO["sign.halley"].step(*qdwh(lower))(o, Variables(A, None, A)).X
        np.testing.assert_allclose(X, halley, atol=1e-12)


def test_prescaling_is_absorbed_in_the_values():
    o, x, t = SpectrumAlgebra(), np.array([0.02, 0.4, 1.3]), 0.7
    scaled = ZOO["sign.newton"].step()(o, Variables(t * x, None, x)).X
    found = ZOO["sign.newton"].step(t / 2, 1 / (2 * t))(o, Variables(x, None, x)).X
    np.testing.assert_allclose(found, scaled, rtol=4 * EPS)


def run(steps, o, v, done, most=100):
    for k, step in enumerate(steps):
        if done(v):
            return v, k
        assert k < most
        v = step(o, v)
    return v, None


def test_scaled_newton_takes_nine_steps_where_newton_takes_many():
    rng = np.random.default_rng(264_575_131)
    w = np.geomspace(1.0, 1e-10, 24) * np.resize([1, -1], 24)
    A, Q = matrix(rng, w)
    o, kind = MatrixAlgebra(A, hermitian=True), ZOO["sign.newton"]

    def done(v):
        return np.linalg.norm(v.X @ v.X - np.eye(24)) <= 1e-8

    scaled = (kind.step(z / 2, 1 / (2 * z)) for z in byers_xu(1.0, 1e-10))
    v, n_scaled = run(scaled, o, Variables(A, None, A), done)
    _, n_plain = run(iter(kind.step, None), o, Variables(A, None, A), done)
    # The smallest eigenvalues of A are known to six digits.
    assert np.linalg.norm(v.X - (Q * np.sign(w)) @ Q.T) < 1e-4 * 24**0.5
    assert n_scaled <= 9
    assert n_plain > 30


def test_determinantal_scaling_of_denman_and_beavers():
    rng = np.random.default_rng(282_842_712)
    w = np.geomspace(1.0, 1e-8, 24)
    A, Q = matrix(rng, w)
    o, kind = MatrixAlgebra(A), ZOO["sqrt.denman_beavers"]

    def done(v):
        return np.linalg.norm(v.X @ v.X - A) <= 1e-9 * np.linalg.norm(A)

    def scaled(v, n_steps=0):
        while not done(v):
            logs = np.linalg.slogdet(v.X)[1] + np.linalg.slogdet(v.Y)[1]
            mu = np.exp(-logs / (2 * 24))
            v, n_steps = kind.step(mu / 2, 1 / (2 * mu))(o, v), n_steps + 1
        return v, n_steps

    v, n_scaled = scaled(Problem("sqrt").variables(o, A))
    _, n_plain = run(iter(kind.step, None), o, Problem("sqrt").variables(o, A), done)
    assert (n_scaled, n_plain) == (7, 15)
    assert np.linalg.norm(v.X - (Q * w**0.5) @ Q.T) < 1e-6


def test_scaled_newton_schulz_takes_half_the_steps():
    x = np.geomspace(1e-4, 1.0, 200)
    kind, o = ZOO["sign.newton_schulz"], SpectrumAlgebra()

    def done(v):
        return np.abs(v.X * v.X - 1).max() <= 1e-10

    _, n_scaled = run((kind.step(*c) for c in chen_chow(1e-4)), o, Variables(x, None, x), done)
    _, n_plain = run(iter(kind.step, None), o, Variables(x, None, x), done)
    assert (n_scaled, n_plain) == (14, 28)


@pytest.mark.parametrize(("p", "n_newton", "n_quadratic"), [(2, 16, 12), (3, 15, 11), (4, 14, 11)])
def test_inverse_roots_take_the_published_steps(p, n_newton, n_quadratic):
    """Counts of Shampoo's coupled iterations at a condition number of 1e4."""
    w = np.geomspace(1.0, 1e-4, 24)
    A, Q = matrix(np.random.default_rng(300_000_007), w)
    o = MatrixAlgebra(A, hermitian=True)
    newton, quadratic = ZOO["inverse_root.newton"].step(), ZOO["inverse_root.quadratic"].step()

    def done(v):
        return np.abs(v.Y - np.eye(24)).max() < 1e-12

    for z, steps, expected in (
        ((p + 1) / (2 * np.linalg.norm(A)), [newton] * 40, n_newton),
        (1 / np.trace(A), [newton] + [quadratic] * 40, n_quadratic),
    ):
        v, n_steps = run(steps, o, Problem("inverse_root", p).variables(o, z * A), done)
        assert n_steps == expected
        limit = (Q * w ** (-1 / p)) @ Q.T
        assert np.linalg.norm(z ** (1 / p) * v.X - limit) < 1e-7 * np.linalg.norm(limit)


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_gawlik_and_best_polynomials_reach_inverse_roots(p):
    w = np.geomspace(1.0, 1e-4, 24)
    A, Q = matrix(np.random.default_rng(316_227_766), w)
    o = MatrixAlgebra(A, hermitian=True)
    limit = (Q * w ** (-1 / p)) @ Q.T

    def polynomial(name, best):
        bounds = (1e-4, 1.0)
        while True:
            coefs = best(*bounds, p)
            yield ZOO[f"inverse_root.{name}"].step(*coefs)
            bounds = root_interval(coefs, *bounds, p)

    def done(v):
        return np.abs(v.Y - np.eye(24)).max() < 1e-11

    schedules = {
        "gawlik": (ZOO["inverse_root.gawlik"].step(*c) for c in gawlik(1e-4 ** (1 / p), p)),
        "linear": polynomial("newton", optimal_linear),
        "quadratic": polynomial("quadratic", optimal_quadratic),
    }
    counts = {}
    for name, steps in schedules.items():
        v, counts[name] = run(steps, o, Problem("inverse_root", p).variables(o, A), done)
        assert np.linalg.norm(v.X - limit) < 1e-9 * np.linalg.norm(limit)
    classical = iter(ZOO["inverse_root.newton"].step, None)
    _, plain = run(classical, o, Problem("inverse_root", p).variables(o, A), done)
    assert counts["gawlik"] <= 6
    assert counts["quadratic"] < counts["linear"] < plain


def test_coupled_steps_are_sign_steps_of_the_root():
    """What a sign step does to x, its coupled form does to ``(y x)^(1/2)``."""
    o, a = SpectrumAlgebra(), np.geomspace(1e-3, 1.0, 9)
    v = Problem("sqrt").variables(o, a)
    x = a**0.5
    for coefs in polar_express(1e-3**0.5, 6):
        v = ZOO["sqrt.quintic"].step(*coefs)(o, v)
        x = ZOO["sign.quintic"].step(*coefs)(o, Variables(x, None, a)).X
        np.testing.assert_allclose(v.X, x * a**0.5, rtol=1e-11)
        np.testing.assert_allclose(v.Y, x / a**0.5, rtol=1e-11)


def test_a_cushion_keeps_the_digits_of_values_near_the_inner_minimum():
    rng, lower, n = np.random.default_rng(360_555_127), 1e-8, 24
    errors = []
    for cushion in (0.0, 0.024):
        a, b, c = polar_express(lower, 1, cushion=cushion)[0]
        inner = ((-3 * b + (9 * b * b - 20 * a * c) ** 0.5) / (10 * c)) ** 0.5
        s = np.append(np.full(n // 2, inner), np.geomspace(1.0, lower, n // 2))
        left, right = unitary(rng, n), unitary(rng, n)
        A, U = (left * s) @ right.T, left @ right.T
        o = MatrixAlgebra(A, adjoint=True)
        v = Variables(A, None, A)
        for coefs in polar_express(lower, 20, safety=1 + 1e-12, cushion=cushion):
            v = ZOO["sign.quintic"].step(*coefs)(o, v)
        assert np.linalg.norm(v.X.T @ v.X - np.eye(n)) < 1e-13
        H = v.X.T @ A
        errors.append(np.linalg.norm(v.X @ (H + H.T) / 2 - A))
        # The smallest singular value is 1e-8, so U is conditioned like 1e8.
        assert np.linalg.norm(v.X - U) < 1e-4
    assert errors[1] < 1e-12
    assert errors[0] > 1e3 * errors[1]  # eps / lower


# --- batches, libraries, pickles ---------------------------------------------------------------


def batch(rng, kind, n=5, size=3, dtype=float):
    w = np.geomspace(1.0, 0.05, n)
    if kind.function == "sign":
        w = w * np.resize([1, -1], n)
    return np.stack([matrix(rng, w ** (1 + 0.2 * k * (w > 0)), dtype)[0] for k in range(size)])


def per_matrix(kind, p, size=3):
    """Values that differ from matrix to matrix."""
    spread = np.linspace(0.98, 1.0, size)
    values = [value * spread for value in kind.classical(p)]
    if kind.name == "sign.zolotarev":
        values[1] = 3
    return tuple(values)


def picked(values, k):
    return tuple(value if np.ndim(value) == 0 else float(value[k]) for value in values)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize(("name", "p"), CASES)
def test_batches_are_their_matrices(name, p, dtype):
    kind = ZOO[name]
    A = batch(np.random.default_rng(332_000_003), kind, dtype=dtype)
    for values in ((), per_matrix(kind, p) if kind.parameters else ()):
        o = MatrixAlgebra(A)
        together = kind.step(*values)(o, start(o, kind, A, p))
        for k in range(3):
            o = MatrixAlgebra(A[k])
            alone = kind.step(*picked(values, k))(o, start(o, kind, A[k], p))
            # Factorizations of stacks and of single matrices round differently.
            np.testing.assert_allclose(together.X[k], alone.X, rtol=1e-11, atol=1e-12)
            if kind.coupled or kind.recouples:
                np.testing.assert_allclose(together.Y[k], alone.Y, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize(("name", "p"), CASES)
def test_torch_gives_the_same(name, p, dtype):
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    kind = ZOO[name]
    A = batch(np.random.default_rng(346_410_161), kind, dtype=dtype)
    B = torch.from_numpy(A)
    hermitian = {"hermitian": True}
    choices = [()]
    if kind.parameters:
        choices.append(per_matrix(kind, p))
    for values in choices:
        o, q = MatrixAlgebra(A, **hermitian), MatrixAlgebra(B, **hermitian)
        mine = kind.step(*values)(o, start(o, kind, A, p))
        tensors = [torch.from_numpy(np.asarray(c)) if np.ndim(c) else c for c in values]
        theirs = kind.step(*tensors)(q, start(q, kind, B, p))
        assert theirs.X.dtype == B.dtype
        np.testing.assert_allclose(theirs.X.numpy(), mine.X, rtol=1e-11, atol=1e-12)
        if kind.coupled or kind.recouples:
            np.testing.assert_allclose(theirs.Y.numpy(), mine.Y, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("name", "p"), CASES)
def test_matrices_of_order_one(name, p):
    kind = ZOO[name]
    A, w = np.array([[0.3]]), np.array([0.3])
    o, s = MatrixAlgebra(A), SpectrumAlgebra()
    found, expected = (
        kind.step()(algebra, start(algebra, kind, data, p)) for algebra, data in ((o, A), (s, w))
    )
    np.testing.assert_allclose(found.X[0], expected.X, rtol=1e-14)


@pytest.mark.parametrize("name", ZOO)
def test_pickles(name):
    kind = ZOO[name]
    assert pickle.loads(pickle.dumps(kind)) is kind
    step = kind.step(*(0.5 * (parameter.lower + parameter.upper) for parameter in kind.parameters))
    again = pickle.loads(pickle.dumps(step))
    assert again.kind is kind
    assert again.values == step.values
    assert str(again) == str(step)


def test_zolotarev_refuses_bounds_that_are_none():
    x = np.array([0.5])
    with pytest.raises(InputError, match="lower is in"):
        ZOO["sign.zolotarev"].step(0.0, 3)(SpectrumAlgebra(), Variables(x, None, x))
    with pytest.raises(InputError, match="r is at least 1"):
        ZOO["sign.zolotarev"].step(0.1, 0)(SpectrumAlgebra(), Variables(x, None, x))
