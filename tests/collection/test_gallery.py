"""Generated matrices against formulas, dense eigenvalues and physics."""

import itertools

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from spectool import gallery
from spectool.errors import InputError
from spectool.gallery.elements import stiffness
from spectool.gallery.graphs import _edges

EPS = np.finfo(float).eps

EXAMPLES = {
    "poisson": lambda: gallery.poisson((5, 4, 3)),
    "anisotropic": lambda: gallery.anisotropic((7, 6)),
    "anisotropic aligned": lambda: gallery.anisotropic((7, 6), 0.1, 0.0),
    "diffusion": lambda: gallery.diffusion(np.arange(1.0, 25).reshape(2, 3, 4)),
    "jump": lambda: gallery.jump((8, 9)),
    "jump random": lambda: gallery.jump((5, 6, 4), 1e3, layout="random", rng=273645918),
    "elasticity 2D": lambda: gallery.elasticity((4, 3)),
    "elasticity 3D": lambda: gallery.elasticity((3, 2, 2)),
    "random_spectrum": lambda: gallery.random_spectrum(np.arange(1, 31), rng=564738291),
    "laplacian": lambda: gallery.graph_laplacian(gallery.grid_graph((4, 5)), shift=0.1),
    "convection": lambda: gallery.convection_diffusion((5, 6)),
    "recirculating": lambda: gallery.convection_diffusion((5, 6, 3), 300, wind="recirculating"),
    "grid_graph": lambda: gallery.grid_graph((4, 5)),
    "path_graph": lambda: gallery.path_graph(7),
    "random_graph": lambda: gallery.random_graph(50, 4, rng=827364519),
}
NOT_SYMMETRIC = ("convection", "recirculating")
NOT_DEFINITE = (*NOT_SYMMETRIC, "grid_graph", "path_graph", "random_graph")


@pytest.fixture(params=EXAMPLES)
def example(request):
    return request.param, EXAMPLES[request.param]()


def spectrum(A):
    return np.linalg.eigvalsh(A.toarray())


def test_everything_is_canonical_csr(example):
    _, A = example
    assert type(A) is sparse.csr_array
    assert A.dtype == np.float64
    assert A.indices.dtype == A.indptr.dtype == np.int32
    assert A.has_canonical_format
    assert A.count_nonzero() == A.nnz


def test_symmetric_bit_for_bit_unless_stated_otherwise(example):
    name, A = example
    assert ((A - A.T).count_nonzero() == 0) == (name not in NOT_SYMMETRIC)


def test_positive_definite_unless_stated_otherwise(example):
    name, A = example
    if name not in NOT_DEFINITE:
        np.linalg.cholesky(A.toarray())


@pytest.mark.parametrize("shape", [(1,), (17,), (6, 9), (1, 4), (4, 5, 6), (2, 3, 2, 3)])
def test_poisson_has_the_exact_eigenvalues(shape):
    A = gallery.poisson(shape)
    np.testing.assert_allclose(
        spectrum(A), gallery.poisson_eigenvalues(shape), rtol=0, atol=100 * EPS * 4 * len(shape)
    )
    assert (A.diagonal() == 2 * len(shape)).all()


def test_poisson_condition_number_is_as_documented():
    lam = gallery.poisson_eigenvalues((20, 20))
    assert lam[-1] / lam[0] == pytest.approx(1 / np.tan(np.pi / 42) ** 2, rel=1e3 * EPS)


@pytest.mark.parametrize("epsilon", [1.0, 1e-3, 50.0])
def test_anisotropic_aligned_has_the_exact_eigenvalues(epsilon):
    shape = (5, 8)
    (s, m), (t, k) = (
        (2 - 2 * np.cos(angle), (2 + np.cos(angle)) / 3)
        for angle in (np.pi * np.arange(1, n + 1) / (n + 1) for n in shape)
    )
    exact = np.sort((np.multiply.outer(s, k) + epsilon * np.multiply.outer(m, t)).ravel())
    computed = spectrum(gallery.anisotropic(shape, epsilon, 0.0))
    np.testing.assert_allclose(computed, exact, rtol=0, atol=100 * EPS * exact[-1])


@pytest.mark.parametrize("theta", np.linspace(-1.0, 4.0, 11))
def test_anisotropic_acts_on_quadratics_as_the_operator_does(theta):
    """-div(K grad u) of a quadratic is constant, and Q1 reproduces it at interior points."""
    epsilon = 0.03
    direction = np.array([np.cos(theta), np.sin(theta)])
    K = epsilon * np.eye(2) + (1 - epsilon) * np.outer(direction, direction)
    x, y = np.indices((5, 5)) - 2.0
    center = gallery.anisotropic((5, 5), epsilon, theta)[[12]].toarray().ravel()
    for u, hessian in ((x * x, [[2, 0], [0, 0]]), (x * y, [[0, 1], [1, 0]]), (y, np.zeros((2, 2)))):
        assert center @ u.ravel() == pytest.approx(-np.sum(K * hessian), abs=100 * EPS)


def test_anisotropic_rotated_by_half_a_turn_is_the_same():
    A, B = (gallery.anisotropic((6, 6), 1e-2, angle) for angle in (0.7, 0.7 + np.pi))
    assert abs(A - B).max() < 10 * EPS


def test_diffusion_of_a_constant_is_poisson_inside():
    k = np.full((5, 6), 3.0)
    inside = gallery.diffusion(k) / 3 - gallery.poisson((5, 6))
    rows = np.arange(30).reshape(5, 6)[1:-1, 1:-1].ravel()
    assert abs(inside[rows]).max() < 10 * EPS


def test_diffusion_is_bounded_as_documented():
    k = np.random.default_rng(918273645).uniform(1, 9, (4, 5, 3))
    lam = spectrum(gallery.diffusion(k))
    assert lam[0] > 0
    assert lam[-1] <= 12 * k.max()


def test_diffusion_in_series_conducts_as_resistors_do():
    k = np.array([1.0, 5.0, 2.0])  # heat enters the left half cell and leaves at the right end
    u = np.linalg.solve(gallery.diffusion(k).toarray(), [2 * k[0], 0, 0])  # u = 1 at the left end
    flux = 2 * k[0] * (1 - u[0])
    assert flux == pytest.approx(1 / np.sum(1 / k), rel=20 * EPS)


@pytest.mark.parametrize("contrast", [1e3, 1e6])
def test_jump_leaves_two_small_eigenvalues_after_scaling(contrast):
    A = gallery.jump((16, 16), contrast)
    d = A.diagonal() ** -0.5
    lam = np.linalg.eigvalsh(d[:, None] * A.toarray() * d)
    assert lam[1] < 1 / contrast
    assert lam[2] > 0.02


def test_jump_random_is_reproducible_and_within_its_contrast():
    A, B = (gallery.jump((8, 8), 100.0, layout="random", rng=192837465) for _ in range(2))
    assert (A - B).count_nonzero() == 0
    # a face between equal cells carries their coefficient
    face = -A.diagonal(1)[::2]
    assert 1 <= face.min() < face.max() <= 100


def test_jump_without_contrast_is_plain_diffusion():
    difference = gallery.jump((6, 7), 1.0) - gallery.diffusion(np.ones((6, 7)))
    assert difference.count_nonzero() == 0


@pytest.mark.parametrize("shape", [(12,), (5, 7), (3, 4, 5)])
def test_constant_wind_has_the_exact_real_eigenvalues(shape):
    d, peclet = len(shape), 20.0
    p = peclet / (max(shape) + 1) / np.sqrt(d)
    exact = np.zeros(1)
    for n in shape:
        angle = np.pi * np.arange(1, n + 1) / (n + 1)
        line = 2 + p - 2 * np.sqrt(1 + p) * np.cos(angle)
        exact = np.add.outer(exact, line).ravel()
    lam = np.linalg.eigvals(gallery.convection_diffusion(shape, peclet).toarray())
    # not normal: the eigenvalues are worse conditioned than those of a symmetric matrix
    np.testing.assert_allclose(np.sort(lam.real), np.sort(exact), rtol=1e-8)
    assert abs(lam.imag).max() < 1e-8


def test_without_wind_it_is_poisson():
    for wind in ("constant", "recirculating"):
        A = gallery.convection_diffusion((5, 6), 0.0, wind=wind)
        assert (A - gallery.poisson((5, 6))).count_nonzero() == 0


@pytest.mark.parametrize("wind", ["constant", "recirculating"])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5)])
def test_convection_is_an_m_matrix(wind, shape):
    A = gallery.convection_diffusion(shape, 1000.0, wind=wind).toarray()
    off = A - np.diag(A.diagonal())
    assert (off <= 0).all()
    assert (A.sum(axis=1) > -1e3 * EPS).all()
    assert np.linalg.inv(A).min() >= -1e3 * EPS
    assert np.linalg.eigvals(A).real.min() > 0


def test_recirculating_wind_turns_about_the_center_along_the_right_axes():
    A = gallery.convection_diffusion((3, 3), 4.0, wind="recirculating").toarray()
    assert (A[4] == [0, -1, 0, -1, 4, -1, 0, -1, 0]).all()  # no wind in the center
    # at x = 0, y = -1/2 (point 3) the wind is (-1/2, 0): it comes from larger x, that is point 6
    assert A[3, 6] == -1.5
    assert A[3, 0] == -1
    # at x = -1/2, y = 0 (point 1) it is (0, 1/2): it comes from smaller y, that is point 0
    assert A[1, 0] == -1.5
    assert A[1, 2] == -1
    assert abs(np.linalg.eigvals(A).imag).max() > 0


def coordinates(shape):
    return np.stack([c.ravel() for c in np.indices([n + 1 for n in shape])], axis=1).astype(float)


def rigid_motions(shape):
    x = coordinates(shape)
    d = x.shape[1]
    modes = [np.tile(e, len(x)) for e in np.eye(d)]
    for a, b in itertools.combinations(range(d), 2):
        u = np.zeros_like(x)
        u[:, a], u[:, b] = x[:, b], -x[:, a]
        modes.append(u.ravel())
    return np.array(modes)


@pytest.mark.parametrize("shape", [(3, 2), (1, 1), (2, 1, 3)])
def test_rigid_motions_are_the_null_space_of_the_free_body(shape):
    K = stiffness(shape, 1.3, 0.7)
    modes = rigid_motions(shape)
    assert abs(K @ modes.T).max() < 1e3 * EPS
    lam = spectrum(K)
    assert (abs(lam[: len(modes)]) < 1e3 * EPS).all()
    assert lam[len(modes)] > 1e-3


@pytest.mark.parametrize("shape", [(3, 2), (2, 1, 3)])
def test_patch_test_constant_strain_has_its_energy_and_no_inner_forces(shape):
    rng = np.random.default_rng(645182739)
    lame, shear = 1.3, 0.7
    x = coordinates(shape)
    d = x.shape[1]
    gradient = rng.standard_normal((d, d))
    u = (x @ gradient.T).ravel()
    strain = (gradient + gradient.T) / 2
    density = lame * np.trace(strain) ** 2 + 2 * shear * np.sum(strain**2)

    force = (stiffness(shape, lame, shear) @ u).reshape(x.shape)

    assert u @ force.ravel() == pytest.approx(density * np.prod(shape), rel=1e3 * EPS)
    inner = ((x > 0) & (x < np.array(shape))).all(axis=1)
    assert abs(force[inner]).max(initial=0) < 1e3 * EPS


def test_element_matrix_equals_gauss_quadrature():
    """The reference: one element, 2-point Gauss, B^T D B."""
    for d in (2, 3):
        lame, shear = 0.9, 0.4
        corners = np.array(list(itertools.product([0, 1], repeat=d)), dtype=float)
        points = np.array(list(itertools.product([-1, 1], repeat=d))) / (2 * np.sqrt(3)) + 0.5
        K = np.zeros((d * len(corners),) * 2)
        for point in points:
            line = np.where(corners == 1, point, 1 - point)
            slope = np.where(corners == 1, 1.0, -1.0)
            grad = np.array(
                [slope[:, a] * np.prod(np.delete(line, a, axis=1), axis=1) for a in range(d)]
            ).T
            for (i, gi), (j, gj) in itertools.product(enumerate(grad), repeat=2):
                block = lame * np.outer(gi, gj) + shear * (np.outer(gj, gi) + gi @ gj * np.eye(d))
                K[d * i : d * i + d, d * j : d * j + d] += block / len(points)
        np.testing.assert_allclose(stiffness((1,) * d, lame, shear).toarray(), K, atol=50 * EPS)


def test_pulled_bar_without_poisson_effect_stretches_as_hooke_says():
    nx, ny = 6, 3
    A = gallery.elasticity((nx, ny), young=2.0, poisson_ratio=0.0)
    load = np.zeros((nx, ny + 1, 2))
    load[-1, :, 0] = [0.5, 1, 1, 0.5]  # traction 1 on the free end
    u = np.linalg.solve(A.toarray(), load.ravel()).reshape(load.shape)
    np.testing.assert_allclose(u[:, :, 0], np.arange(1, nx + 1)[:, None] / 2 * np.ones(ny + 1))
    assert abs(u[:, :, 1]).max() < 1e-12


def test_rows_of_elasticity_are_as_long_as_documented():
    assert np.diff(gallery.elasticity((5, 5)).indptr).max() == 13
    assert np.diff(gallery.elasticity((4, 4, 4)).indptr).max() == 51


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 3, 101])
def test_prescribed_spectrum_is_attained(n, rounds):
    lam = np.sort(np.random.default_rng(718293645).standard_normal(n)) * 1e5
    A = gallery.random_spectrum(lam, rounds=rounds, rng=281937465)
    np.testing.assert_allclose(spectrum(A), lam, rtol=0, atol=1e-12 * abs(lam).max())
    assert np.diff(A.indptr).max() <= (4**rounds + 2) // 3


def test_prescribed_spectrum_keeps_multiplicities_and_integers():
    A = gallery.random_spectrum([2, 2, 2, 5, 5, 0], rng=364518273)
    np.testing.assert_allclose(spectrum(A), [0, 2, 2, 2, 5, 5], atol=100 * EPS)


def test_random_spectrum_is_spread_and_reproducible():
    lam = np.arange(1.0, 201)
    A, B, C = (gallery.random_spectrum(lam, rng=seed) for seed in (918, 918, 919))
    assert (A - B).count_nonzero() == 0
    assert (A - C).count_nonzero() > 0
    assert 15 < A.nnz / 200 <= 22


@pytest.mark.parametrize(("n", "cond"), [(1, 1), (2, 1e3), (500, 1e8), (3, 1)])
def test_log_uniform_attains_both_ends(n, cond):
    lam = gallery.log_uniform(n, cond, rng=546372819)
    assert lam.shape == (n,)
    assert (np.diff(lam) >= 0).all()
    assert lam[-1] == 1
    assert lam[0] == pytest.approx(1 / cond, rel=2 * EPS)
    if n == 500:
        assert np.log10(lam).mean() == pytest.approx(-4, abs=0.5)


def test_laplacian_of_a_grid_has_the_exact_eigenvalues():
    shape = (4, 7)
    L = gallery.graph_laplacian(gallery.grid_graph(shape), shift=0.25)
    a, b = (2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in shape)
    np.testing.assert_allclose(spectrum(L), np.sort(np.add.outer(a, b).ravel()) + 0.25, atol=1e-13)


def test_laplacian_rows_sum_to_the_shift():
    W = gallery.random_graph(200, 5, rng=837465192) * 0.3
    for shift in (0.0, 0.5):
        L = gallery.graph_laplacian(W, shift=shift)
        np.testing.assert_allclose(L.sum(axis=1), shift, atol=100 * EPS)


def test_normalized_laplacian():
    W = gallery.random_graph(80, 3, rng=738291645)
    degree = W.sum(axis=1)
    assert (degree == 0).any()  # the case that divides by zero if done carelessly
    L = gallery.graph_laplacian(W, normalized=True)
    lam = spectrum(L)
    assert lam[0] > -100 * EPS
    assert lam[-1] <= 2 + 100 * EPS
    assert np.sum(lam < 1e-10) == connected_components(W)[0]
    assert (L.diagonal() == (degree > 0)).all()
    assert abs(L @ np.sqrt(degree)).max() < 100 * EPS


def test_laplacian_takes_dense_integers_and_ignores_loops():
    W = np.array([[5, 1], [1, 0]])
    np.testing.assert_array_equal(gallery.graph_laplacian(W).toarray(), [[1, -1], [-1, 1]])
    W = np.array([[True, True], [True, False]])
    np.testing.assert_array_equal(gallery.graph_laplacian(W).toarray(), [[1, -1], [-1, 1]])


@pytest.mark.parametrize(("n", "degree"), [(1, 0), (2, 1), (7, 6), (30, 2.5), (500, 6), (400, 0)])
def test_random_graph_is_simple_and_has_its_edges(n, degree):
    W = gallery.random_graph(n, degree, rng=192736458)
    assert W.nnz == 2 * round(n * degree / 2)
    assert (W.data == 1).all()
    assert W.diagonal().sum() == 0


def test_codes_of_edges_are_decoded_exactly_however_large():
    i = np.concatenate([np.arange(1, 300), 2 ** np.arange(9, 32), 3 ** np.arange(6, 20)])
    first = i * (i - 1) // 2
    for j in (np.zeros_like(i), i - 1):
        np.testing.assert_array_equal(_edges(first + j), (i, j))


def test_random_graph_reaches_every_pair():
    seen = sum(gallery.random_graph(6, 2, rng=seed) for seed in range(60)).toarray()
    assert ((seen > 0) == ~np.eye(6, dtype=bool)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gallery.poisson(5), "shape must be a tuple of one or more"),
        (lambda: gallery.poisson(()), "shape must be"),
        (lambda: gallery.poisson((5, 0)), r"shape\[1\] must be an integer, at least 1; got 0"),
        (lambda: gallery.poisson((5, 2.0)), r"shape\[1\].*got 2\.0"),
        (lambda: gallery.poisson((True, 2)), r"shape\[0\].*got True"),
        (lambda: gallery.poisson_eigenvalues((-1,)), r"shape\[0\]"),
        (lambda: gallery.anisotropic((3, 3, 3)), "tuple of 2 positive"),
        (lambda: gallery.anisotropic((3, 3), 0.0), r"epsilon must lie in \(0, inf\); got 0\.0"),
        (lambda: gallery.anisotropic((3, 3), 1.0, np.nan), "theta"),
        (lambda: gallery.anisotropic((3, 3), 1.0, np.inf), "theta"),
        (lambda: gallery.anisotropic((3, 3), "x"), "epsilon"),
        (lambda: gallery.diffusion([1.0, 0.0]), r"positive finite .*\[0\.0, 1\.0\]"),
        (lambda: gallery.diffusion([1.0, np.nan]), "positive finite"),
        (lambda: gallery.diffusion([1.0, 1j]), "must be real"),
        (lambda: gallery.diffusion([]), "none"),
        (lambda: gallery.diffusion(3.0), "shape"),
        (lambda: gallery.jump((9,)), "2 or 3"),
        (lambda: gallery.jump((9, 9), 0.5), r"contrast must lie in \[1, inf\)"),
        (lambda: gallery.jump((9, 9), blocks=10), "blocks must not exceed .* 9; got 10"),
        (lambda: gallery.jump((9, 9), layout="stripes"), "layout must be one of 'checkerboard'"),
        (lambda: gallery.convection_diffusion((9,), -1.0), "peclet"),
        (lambda: gallery.convection_diffusion((9,), wind="recirculating"), "two or more axes"),
        (lambda: gallery.convection_diffusion((9,), wind="north"), "wind must be one of"),
        (lambda: gallery.elasticity((9,)), "2 or 3"),
        (lambda: gallery.elasticity((2, 2), poisson_ratio=0.5), r"\(-1, 0\.5\); got 0\.5"),
        (lambda: gallery.elasticity((2, 2), young=-1), "young"),
        (lambda: gallery.random_spectrum([[1.0]]), "vector"),
        (lambda: gallery.random_spectrum([]), "vector"),
        (lambda: gallery.random_spectrum([1j]), "real"),
        (lambda: gallery.random_spectrum([np.inf]), "finite"),
        (lambda: gallery.random_spectrum([1.0], rounds=-1), "rounds"),
        (lambda: gallery.log_uniform(0, 10), "n must be an integer, at least 1"),
        (lambda: gallery.log_uniform(1, 10), "at least 2"),
        (lambda: gallery.log_uniform(5, 0.1), "cond"),
        (lambda: gallery.graph_laplacian(np.ones((2, 3))), "square"),
        (lambda: gallery.graph_laplacian(np.ones(3)), "square"),
        (lambda: gallery.graph_laplacian([[0, 1], [2, 0]]), r"take adjacency \+ adjacency\.T"),
        (lambda: gallery.graph_laplacian([[0, -1], [-1, 0]]), "not negative"),
        (lambda: gallery.graph_laplacian([[0, np.nan], [np.nan, 0]]), "finite"),
        (lambda: gallery.graph_laplacian([[0, 1j], [1j, 0]]), "finite weights"),
        (lambda: gallery.graph_laplacian(np.eye(2), shift=-1), "shift"),
        (lambda: gallery.path_graph(0), "n must be"),
        (lambda: gallery.random_graph(5, 4.5), "degree must not exceed n - 1 = 4; got 4.5"),
        (lambda: gallery.random_graph(5, -1), "degree"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(InputError, match=message):
        call()
