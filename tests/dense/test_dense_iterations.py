"""The zoo: what each iteration does to spectra, where it tends, how fast, and how stably."""

import mpmath as mp
import numpy as np
import pytest

from spectool.dense.algebra import MatrixAlgebra, SpectrumAlgebra
from spectool.dense.iterations import ZOO, find_kind
from spectool.dense.problems import Problem
from spectool.dense.steps import Stability, Variables
from spectool.errors import InputError

EPS = np.finfo(float).eps
N = 12
ROOTS = {"sqrt": (2,), "root": (1, 2, 3, 4), "inverse_root": (1, 2, 3, 4)}
CASES = [(name, p) for name, kind in ZOO.items() for p in ROOTS.get(kind.function, (1,))]
ITERATING = [(name, p) for name, p in CASES if not ZOO[name].recouples]
COUPLED = [(name, p) for name, p in CASES if ZOO[name].coupled]
# x = 1/a, sign, a^(1/2), ... by hand, from the literature's formulas
FORMULAS = {
    "inv.newton_schulz": lambda x, y, a, p: (2 * x - a * x * x, None),
    "inv.chebyshev": lambda x, y, a, p: (x * (3 - a * x * (3 - a * x)), None),
    "sign.newton": lambda x, y, a, p: ((x + 1 / x) / 2, None),
    "sign.newton_schulz": lambda x, y, a, p: ((3 * x - x**3) / 2, None),
    "sign.quintic": lambda x, y, a, p: ((15 * x - 10 * x**3 + 3 * x**5) / 8, None),
    "sign.halley": lambda x, y, a, p: (x * (3 + x * x) / (1 + 3 * x * x), None),
    "sign.newton_variant": lambda x, y, a, p: (2 * x / (1 + x * x), None),
    "sign.zolotarev": lambda x, y, a, p: (np.tanh(17 * np.arctanh(x)), None),
    "sqrt.newton": lambda x, y, a, p: ((x + a / x) / 2, None),
    "sqrt.denman_beavers": lambda x, y, a, p: ((x + 1 / y) / 2, (y + 1 / x) / 2),
    "sqrt.product_db": lambda x, y, a, p: ((x + 1 / y) / 2, (y + 1 / x) / 2),
    "sqrt.newton_schulz": lambda x, y, a, p: (x * (3 - x * y) / 2, y * (3 - x * y) / 2),
    "sqrt.quintic": lambda x, y, a, p: tuple(
        z * (15 - 10 * x * y + 3 * (x * y) ** 2) / 8 for z in (x, y)
    ),
    "sqrt.newton_variant": lambda x, y, a, p: (2 * x / (1 + x * y), 2 * y / (1 + x * y)),
    "sqrt.visser": lambda x, y, a, p: (x + (a - x * x) / 2, None),
    "sqrt.visser_coupled": lambda x, y, a, p: (x + (a - x * x) / 2, y + (1 - x * y) / 2),
    "sqrt.coupling": lambda x, y, a, p: (x, x / a),
    "root.iannazzo": lambda x, y, a, p: (x * (p - 1 + y) / p, y * (p / (p - 1 + y)) ** p),
    "root.newton": lambda x, y, a, p: (((p - 1) * x + a * x ** (1 - p)) / p, None),
    "root.visser": lambda x, y, a, p: (x + (a - x**p) / p, None),
    "root.coupling": lambda x, y, a, p: (x, a * x ** (-float(p))),
    "inverse_root.newton": lambda x, y, a, p: (
        x * (p + 1 - y) / p, y * ((p + 1 - y) / p) ** p
    ),
    "inverse_root.quadratic": lambda x, y, a, p: (
        x * taylor(1 - y, p), y * taylor(1 - y, p) ** p
    ),
    "inverse_root.gawlik": lambda x, y, a, p: (
        x * p / (y + p - 1), y * (p / (y + p - 1)) ** p
    ),
}  # fmt: skip
LIMITS = {
    "inv": lambda a, p: 1 / a,
    "sign": lambda a, p: np.sign(a),
    "sqrt": lambda a, p: a**0.5,
    "root": lambda a, p: a ** (1 / p),
    "inverse_root": lambda a, p: a ** (-1 / p),
}
KAPPA = {"sqrt.newton": 5.0, "root.newton": 1.5}
"""Of the matrices on which unstable iterations are run to the limit; 50 for the rest."""
N_STEPS = {1: 400, 2: 60, 3: 40, 17: 6}


def taylor(r, p):
    return 1 + r / p + (p + 1) * r * r / (2 * p * p)


def unitary(rng, n, dtype=float):
    Z = rng.standard_normal((n, n))
    if dtype is complex:
        Z = Z + 1j * rng.standard_normal((n, n))
    return np.linalg.qr(Z)[0]


def matrix(rng, w, dtype=float):
    """A Hermitian matrix of spectrum w, with its eigenvectors."""
    Q = unitary(rng, len(w), dtype)
    A = (Q * w) @ Q.conj().T
    return (A + A.conj().T) / 2, Q


def spectrum(function, kappa=50.0, n=N):
    w = np.geomspace(1.0, 1 / kappa, n)
    return w * np.where(np.arange(n) % 2, -1, 1) if function == "sign" else w


def begin(o, kind, A, p):
    """The first variables, with what a step needs."""
    v = Problem(kind.function, p).variables(o, A)
    if kind.recouples:
        # Some X that commutes with A, without its Y.
        v = v._replace(X=o.combine((0.5, v.A), shift=0.7), Y=None)
    return v


def draw(rng, kind):
    """Values anywhere in their ranges."""
    values = []
    for parameter in kind.parameters:
        ends = np.array([parameter.lower, parameter.upper])
        if parameter.log:
            values.append(float(np.exp(rng.uniform(*np.log(ends)))))
        else:
            values.append(float(rng.uniform(*ends)))
    if kind.name == "sign.zolotarev":
        values[0] = max(values[0], 1e-4)  # beyond, rounding of x at 1e-16 is all there is
    return tuple(values)


def spectral(Q, values):
    return (Q * values) @ Q.conj().T


def distance(X, Y):
    return np.linalg.norm(X - Y) / max(np.linalg.norm(Y), 1.0)


def test_the_zoo_is_complete_and_coherent():
    assert set(ZOO) == set(FORMULAS)
    for name, kind in ZOO.items():
        assert kind.name == name
        assert name.startswith(kind.function + ".")
        assert not (kind.coupled and kind.recouples)
        assert kind.source
        for parameter, value in zip(kind.parameters, kind.classical(3), strict=True):
            assert parameter.lower <= value <= parameter.upper
            assert not parameter.log or parameter.lower > 0
    with pytest.raises(InputError, match="an iteration is one of"):
        find_kind("sqrt.magic")
    with pytest.raises(InputError, match="takes 2 values"):
        ZOO["sign.newton"].step(1.0)


@pytest.mark.parametrize(("name", "p"), CASES)
def test_classical_values_give_the_formula_of_the_literature(name, p):
    kind, o = ZOO[name], SpectrumAlgebra()
    a = np.array([0.05, 0.3, 0.8])
    v = begin(o, kind, a, p)
    if kind.coupled:
        v = v._replace(X=v.X * 1.1, Y=v.Y * 0.9)
    for step in (kind.step(), kind.step(*kind.classical(p))):
        found = step(o, v)
        x, y = FORMULAS[name](v.X, v.Y, a, p)
        np.testing.assert_allclose(found.X, x, rtol=1e-13)
        if y is None:
            assert not found.coupled
        else:
            np.testing.assert_allclose(found.Y, y, rtol=1e-13)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("hermitian", [True, False])
@pytest.mark.parametrize(("name", "p"), CASES)
def test_matrices_follow_their_spectra(name, p, hermitian, dtype):
    kind, rng = ZOO[name], np.random.default_rng(618_033_988)
    w = spectrum(kind.function)
    A, Q = matrix(rng, w, dtype)
    o, s = MatrixAlgebra(A, hermitian=hermitian), SpectrumAlgebra()
    for values in [(), *(draw(rng, kind) for _ in range(5 if kind.parameters else 0))]:
        v, u = begin(o, kind, A, p), begin(s, kind, w, p)
        for _ in range(2 if values else 3):
            v, u = kind.step(*values)(o, v), kind.step(*values)(s, u)
            # Two steps of any values, on condition numbers of 50: 1e-9 as in the design.
            assert distance(v.X, spectral(Q, u.X)) < 1e-9
            assert v.coupled == u.coupled
            if v.coupled:
                assert distance(v.Y, spectral(Q, u.Y)) < 1e-9


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize(("name", "p"), ITERATING)
def test_limits(name, p, dtype):
    kind, rng = ZOO[name], np.random.default_rng(271_828_182)
    w = spectrum(kind.function, KAPPA.get(name, 50.0))
    A, Q = matrix(rng, w, dtype)
    o = MatrixAlgebra(A)
    v = begin(o, kind, A, p)
    step = kind.step()
    for _ in range(N_STEPS[kind.order]):
        v = step(o, v)
    assert distance(v.X, spectral(Q, LIMITS[kind.function](w, p))) < 1e-9
    if kind.coupled:
        y = w**-0.5 if kind.function == "sqrt" else np.ones(N)
        assert distance(v.Y, spectral(Q, y)) < 1e-8
    problem = Problem(kind.function, p)
    assert np.linalg.norm(problem.residual(o, v)) < 1e-9


@pytest.mark.parametrize(("name", "p"), [case for case in ITERATING if case[0] != "sign.zolotarev"])
def test_order_of_convergence(name, p):
    kind, o = ZOO[name], SpectrumAlgebra()
    if p == 1 and name in ("root.newton", "root.iannazzo", "root.visser", "inverse_root.gawlik"):
        pytest.skip("exact after one step for p = 1")
    digits = 300 if kind.order == 1 else 4000
    with mp.workdps(digits):
        a = mp.mpf("0.3")
        v = Problem(kind.function, p).variables(o, a)
        if kind.function == "inv":
            v = v._replace(X=mp.mpf("0.7"))
        limit = {"sign": mp.mpf(1), "inv": 1 / a}.get(
            kind.function, mp.root(a, p) ** (-1 if kind.function == "inverse_root" else 1)
        )
        # In as many digits: 1/3 is none in float64.
        exact = {
            "inverse_root.newton": lambda: (1 + mp.mpf(1) / p, -mp.mpf(1) / p),
            "inverse_root.quadratic": lambda: quadratic_classical(p),
        }.get(name, lambda: tuple(mp.mpf(value) for value in kind.classical(p)))
        step, errors = kind.step(*exact()), []
        for _ in range(400 if kind.order == 1 else 14):
            v = step(o, v)
            error = abs(v.X - limit)
            if error < mp.mpf(10) ** (60 - digits):
                break
            errors.append(mp.log(error))
        errors = [error for error in errors if error < -3]
        found = float((errors[-1] - errors[-2]) / (errors[-2] - errors[-3]))
    assert abs(found - kind.order) < 0.15


def quadratic_classical(p):
    c = mp.mpf(p + 1) / (2 * p * p)
    return 1 + mp.mpf(1) / p + c, -mp.mpf(1) / p - 2 * c, c


@pytest.mark.parametrize(("name", "p"), COUPLED)
def test_coupled_steps_keep_their_relation_for_any_values(name, p):
    kind, rng = ZOO[name], np.random.default_rng(141_421_356)
    A, _ = matrix(rng, spectrum(kind.function, 10.0))
    o = MatrixAlgebra(A)
    for _ in range(10):
        v = begin(o, kind, A, p)
        for _ in range(2):
            v = kind.step(*draw(rng, kind))(o, v)
            left, right = {
                "sqrt": lambda v: (v.X, A @ v.Y),
                "root": lambda v: (v.Y @ np.linalg.matrix_power(v.X, p), A),
                "inverse_root": lambda v: (v.Y, np.linalg.matrix_power(v.X, p) @ A),
            }[kind.function](v)
            # Both sides lose digits with the size of their factors only.
            factors = np.linalg.norm(v.Y) * np.linalg.norm(v.X) ** p
            assert np.linalg.norm(left - right) <= 1e-11 * max(factors, 1.0)


def test_steps_without_y_give_it_up_and_coupling_makes_it_anew():
    rng = np.random.default_rng(577_215_664)
    A, _ = matrix(rng, spectrum("sqrt"))
    o = MatrixAlgebra(A)
    for name in ("sqrt.newton", "sqrt.visser", "root.newton", "root.visser"):
        p = 3 if name.startswith("root") else 2
        kind = ZOO[name]
        v = kind.step()(o, Problem(kind.function, p).variables(o, A))
        assert not v.coupled
        v = ZOO[f"{kind.function}.coupling"].step()(o, v)
        expected = A @ v.Y if p == 2 else A @ np.linalg.inv(np.linalg.matrix_power(v.X, 3))
        np.testing.assert_allclose(v.X if p == 2 else v.Y, expected, rtol=1e-10, atol=1e-12)


def count(step, o, v, problem, tol=1e-12):
    for k in range(60):
        if np.linalg.norm(problem.residual(o, v)) <= tol:
            return v, k
        v = step(o, v)
    raise AssertionError(step)


def test_visser_first_saves_coupled_steps():
    rng = np.random.default_rng(161_803_398)
    w = spectrum("sqrt")
    A, Q = matrix(rng, w)
    o, problem = MatrixAlgebra(A), Problem("sqrt")
    newton_schulz = ZOO["sqrt.newton_schulz"].step()
    _, cold = count(newton_schulz, o, problem.variables(o, A), problem)
    for names in (["sqrt.visser"] * 6 + ["sqrt.coupling"], ["sqrt.visser_coupled"] * 6):
        v = problem.variables(o, A)
        for name in names:
            v = ZOO[name].step()(o, v)
        assert np.linalg.norm(A @ v.Y - v.X) < 1e-12
        v, warm = count(newton_schulz, o, v, problem)
        assert distance(v.X, spectral(Q, w**0.5)) < 1e-10
        assert warm <= cold - 2


def test_visser_coupling_iannazzo_for_third_roots():
    rng = np.random.default_rng(314_159_265)
    w = spectrum("root")
    A, Q = matrix(rng, w)
    o, problem = MatrixAlgebra(A), Problem("root", 3)
    v = problem.variables(o, A)
    for name in ["root.visser"] * 6 + ["root.coupling"]:
        v = ZOO[name].step()(o, v)
    v, _ = count(ZOO["root.iannazzo"].step(), o, v, problem)
    assert distance(v.X, spectral(Q, w ** (1 / 3))) < 1e-10


@pytest.mark.parametrize(("name", "p"), ITERATING)
def test_stability(name, p):
    """At a condition number of 1e4 iterations are run on, far beyond convergence."""
    kind, rng = ZOO[name], np.random.default_rng(662_607_015)
    if kind.stability is Stability.UNSTABLE and p == 1:
        pytest.skip("one step is exact for p = 1")
    w = spectrum(kind.function, 1e4)
    A, Q = matrix(rng, w)
    o, step = MatrixAlgebra(A), kind.step()
    v = begin(o, kind, A, p)
    limit = spectral(Q, LIMITS[kind.function](w, p))
    n_steps = 60
    if name.endswith(("visser", "visser_coupled")):
        # Their convergence takes kappa^((p - 1) / p) steps, not their stability.
        n_steps = 2000
        noise = rng.standard_normal(A.shape)
        v = v._replace(X=limit + 1e-12 * (noise + noise.T))
        if v.coupled and kind.coupled:
            v = v._replace(Y=np.linalg.inv(limit))
    best, last = np.inf, np.inf
    for _ in range(n_steps):
        v = step(o, v)
        last = np.linalg.norm(v.X - limit) / np.linalg.norm(limit)
        best = min(best, last)
        if last > 1e4 * best and best < 1e-2:
            break
    if kind.stability is Stability.UNSTABLE:
        assert best < 1e-2
        assert last > 1e3 * best
    else:
        assert last < 1e-8
        # It wanders at the level of rounding.
        assert last < 100 * best + 1e4 * EPS


@pytest.mark.parametrize("function", ["sqrt", "root"])
def test_coupling_is_stable_for_moderate_condition_numbers_only(function):
    assert ZOO[f"{function}.coupling"].stability is Stability.CONDITIONAL
    rng, p = np.random.default_rng(299_792_458), 3 if function == "root" else 2
    errors = []
    for kappa in (1e2, 1e12):
        w = spectrum(function, kappa)
        A, Q = matrix(rng, w)
        o = MatrixAlgebra(A)
        v = Variables(spectral(Q, w ** (1 / p)), None, A, p)
        v = ZOO[f"{function}.coupling"].step()(o, v)
        expected = spectral(Q, w**-0.5 if p == 2 else np.ones(N))
        errors.append(distance(v.Y, expected))
    assert errors[0] < 1e-11
    assert errors[1] > 1e-8
