"""One answer for every form of the same matrix, a typed error for every malformed one."""

import copy

import numpy as np
import pytest
import scipy.linalg
from contracts.verbs import DENSE_FORMS, FORMS, SEED, VERBS, duplicated, jump, unsorted
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import spectool as st
from spectool.errors import InputError, SpectoolError

EPS = np.finfo(float).eps


@pytest.fixture(params=VERBS)
def verb(request):
    return VERBS[request.param]


@pytest.fixture(params=[name for name in VERBS if name not in ("preconditioner auto",)])
def forced(request):
    """Verbs whose choices do not depend on how entries are stored."""
    return VERBS[request.param]


# -- accepted --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_every_sparse_form_gives_the_same_answer(forced, form):
    A = jump()
    expected = forced(A)
    if form == "duplicated":  # halves add up exactly
        assert duplicated(A).nnz == 2 * A.nnz
    found = forced(FORMS[form](A))
    if form == "explicit zeros":  # they shift the other entries between a row's partial sums
        np.testing.assert_allclose(found, expected, atol=1e6 * EPS * np.abs(expected).max())
    else:
        assert np.array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("form", DENSE_FORMS)
def test_every_dense_form_gives_the_same_answer(forced, form):
    A = jump()
    expected = forced(A)
    found = forced(DENSE_FORMS[form](A))
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())


def test_linear_operators_give_the_same_answer(forced):
    A = jump()
    found = forced(aslinearoperator(A))
    assert np.isfinite(found).all()
    if forced in (VERBS["funm_multiply exp"], VERBS["funm_multiply invsqrt"]):
        np.testing.assert_allclose(found, forced(A), atol=1e-7 * np.abs(found).max())


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, bool, np.float16, np.float32])
def test_other_numbers_are_accepted(verb, dtype):
    # Identity for bool: what else is positive definite in two values?
    off = 0 if dtype is bool else 1
    dense = (np.diag(np.full(30, 1 + off)) + off * np.eye(30, k=1) + off * np.eye(30, k=-1)).astype(
        dtype
    )
    found = verb(dense)
    assert found.dtype == np.float64  # Ritz values, and what vectors in double precision become
    assert np.isfinite(found).all()
    if dtype is np.float16:  # scipy stores no half precision
        return
    again = verb(sparse.csr_array(dense))
    assert np.isfinite(again).all()
    if dtype is bool and verb is VERBS["spectral_filter"]:
        return  # its window ends on the only eigenvalue: rounding decides
    # The same arithmetic, summed in another order.
    eps = np.finfo(np.float32 if dtype is np.float32 else float).eps
    np.testing.assert_allclose(again, found, atol=200 * eps * np.abs(found).max())


@pytest.mark.parametrize("form", ["canonical", "unsorted", "duplicated", "dense", "csc"])
def test_inputs_are_never_modified(verb, form):
    A = {
        "canonical": jump,
        "unsorted": lambda: unsorted(jump()),
        "duplicated": lambda: duplicated(jump()),
        "dense": lambda: jump().toarray(),
        "csc": lambda: sparse.csc_array(jump()),
    }[form]()
    kept = copy.deepcopy(A)
    verb(A)
    if form == "dense":
        assert np.array_equal(A, kept)
    else:
        for field in ("data", "indices", "indptr"):
            assert np.array_equal(getattr(A, field), getattr(kept, field))


def test_vectors_are_never_modified():
    A, b = jump(), np.linspace(1, 2, 72)
    b.flags.writeable = False
    st.funm_multiply("exp", A, b, t=-1.0, rng=SEED)
    st.funm_multiply("invsqrt", A, b, rng=SEED)
    for M in (
        st.preconditioner(A, method="chebyshev", degree=4, rng=SEED),
        st.preconditioner(A, rng=SEED),
        st.spectral_filter(A, (1.0, 2.0), rng=SEED),
        st.matrix_function("exp", A, t=-1.0, rng=SEED),
    ):
        y = M @ b
        assert not np.shares_memory(y, b)


def test_answers_are_never_views_of_the_matrix(verb):
    A = jump()
    assert not np.shares_memory(verb(A), A.data)


# -- refused ---------------------------------------------------------------------------------


def with_entry(value, *, dense):
    A = jump().toarray().astype(np.result_type(float, type(value)))
    A[3, 3] = value
    return A if dense else sparse.csr_array(A)


COMPLEX = np.diag(np.full(5, 3.0 + 0j)) + np.diag(np.full(4, 1j), 1)
BAD = {
    "NaN": lambda: with_entry(np.nan, dense=False),
    "NaN dense": lambda: with_entry(np.nan, dense=True),
    "Inf": lambda: with_entry(np.inf, dense=False),
    "not square": lambda: np.ones((3, 4)),
    "not square, sparse": lambda: sparse.csr_array((3, 4)),
    "vector": lambda: np.ones(3),
    "three indices": lambda: np.ones((2, 2, 2)),
    "scalar": lambda: 3.0,
    "none": lambda: None,
    "text": lambda: "poisson",
    "empty": lambda: np.empty((0, 0)),
    "empty, sparse": lambda: sparse.csr_array((0, 0)),
    "objects": lambda: np.array([[1, None], [None, 1]], dtype=object),
    "integer objects": lambda: np.array([[2, 1], [1, 2]], dtype=object),
    "strings": lambda: np.array([["a", "b"], ["b", "a"]]),
    "ragged": lambda: [[1.0, 2.0], [3.0]],
    "dates": lambda: np.zeros((2, 2), dtype="datetime64[s]"),
    "not symmetric": lambda: np.array([[2.0, 1.0], [0.0, 2.0]]),
    "not symmetric, sparse": lambda: sparse.csr_array(np.triu(jump().toarray())),
    "complex not Hermitian": lambda: COMPLEX,
    "complex symmetric": lambda: COMPLEX + np.diag(np.full(4, 1j), -1),
    "complex diagonal": lambda: sparse.csr_array(np.diag([1.0, 1j, 2.0])),
    "not symmetric operator": lambda: aslinearoperator(np.triu(jump().toarray())),
    "operator of NaN": lambda: LinearOperator((4, 4), lambda x: x * np.nan, dtype=float),
    "not square operator": lambda: aslinearoperator(np.ones((3, 4))),
}


GENERAL = (
    "not symmetric", "not symmetric, sparse", "complex not Hermitian", "complex symmetric",
    "complex diagonal", "not symmetric operator",
)  # fmt: skip


FUNCTIONS = ("funm_multiply exp", "funm_multiply invsqrt", "matrix_function")
TAKES_GENERAL = ("preconditioner auto", *FUNCTIONS)


@pytest.mark.parametrize("case", GENERAL)
def test_general_matrices_have_a_preconditioner(case):
    assert np.isfinite(VERBS["preconditioner auto"](BAD[case]())).all()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("case", GENERAL)
def test_general_matrices_have_functions(case, name):
    A = BAD[case]()
    dense = A @ np.eye(A.shape[0]) if isinstance(A, LinearOperator) else A
    dense = dense.toarray() if sparse.issparse(dense) else np.asarray(dense)
    b = np.linspace(1, 2, len(dense))
    f = (
        (lambda A: scipy.linalg.inv(scipy.linalg.sqrtm(A)))
        if name.endswith("invsqrt")
        else (lambda A: scipy.linalg.expm(-0.5 * A))
    )
    truth = f(dense) @ b
    assert np.linalg.norm(VERBS[name](A) - truth) <= 1e-7 * np.linalg.norm(truth)


MALFORMED = [
    (name, case)
    for name in VERBS
    for case in BAD
    if not (name in TAKES_GENERAL and case in GENERAL)
]


@pytest.mark.parametrize(("name", "case"), MALFORMED)
def test_malformed_matrices_raise_input_errors(name, case):
    verb = VERBS[name]

    def call():
        A = BAD[case]()
        if not hasattr(A, "shape") or len(A.shape) != 2:  # our verbs read the shape
            return st.estimate_spectrum(A), st.preconditioner(A)
        return verb(A)

    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith("A must")
    assert message.rstrip().endswith(".")


@pytest.mark.parametrize("case", ["scalar", "none", "text", "vector", "ragged"])
def test_what_is_no_matrix(case):
    for call in (
        lambda A: st.estimate_spectrum(A),
        lambda A: st.preconditioner(A),
        lambda A: st.funm_multiply("exp", A, np.ones(3)),
        lambda A: st.matrix_function("exp", A),
        lambda A: st.spectral_filter(A, (0.0, 1.0)),
    ):
        with pytest.raises(InputError, match="A must"):
            call(BAD[case]())


@pytest.mark.parametrize("value", ["spd", "sym", 3])
def test_unknown_structure(value):
    A = jump()
    with pytest.raises(InputError, match="assume_a"):
        st.estimate_spectrum(A, assume_a=value)
    with pytest.raises(InputError, match="assume_a"):
        st.preconditioner(A, assume_a=value)
    with pytest.raises(InputError, match="assume_a"):
        st.funm_multiply("exp", A, np.ones(72), assume_a=value)


def test_rounding_asymmetry_is_tolerated_and_declared_symmetry_trusted(verb):
    A = jump()
    noisy = A.copy()
    noisy.data *= 1 + 4 * EPS * np.random.default_rng(SEED).standard_normal(A.nnz)
    found, clean = verb(noisy), verb(A)
    np.testing.assert_allclose(found, clean, atol=1e-6 * np.abs(clean).max())


# -- degenerate ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2.0, 1e-30, 1e30, np.float32(3), 5, True])
@pytest.mark.parametrize("kind", [np.array, sparse.csr_array])
def test_one_by_one(verb, kind, value):
    try:
        found = verb(kind(np.array([[value]])))
    except SpectoolError:
        # a window that holds the whole spectrum, or exp of 1e30, may be refused
        assert verb in (VERBS["spectral_filter"], VERBS["funm_multiply exp"])
    else:
        assert found.shape == (1,)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("n", [1, 40])
@pytest.mark.parametrize("kind", [np.zeros, sparse.csr_array])
def test_zero_matrix(verb, kind, n):
    try:
        found = verb(kind((n, n)))
    except SpectoolError:
        # zero has no inverse root, and no window holds a part of its spectrum only
        assert verb in (VERBS["funm_multiply invsqrt"], VERBS["preconditioner"]) or (
            verb is VERBS["spectral_filter"]
        )
    else:
        assert np.isfinite(found).all()


@pytest.mark.parametrize("scale", [1e-120, 1e120])
@pytest.mark.parametrize("sparsely", [True, False])
def test_extreme_units_change_nothing(sparsely, scale):
    A = jump() if sparsely else jump().toarray()
    b = np.linspace(1, 2, 72)
    B = A * scale
    one, other = (st.estimate_spectrum(X, rng=SEED) for X in (A, B))
    np.testing.assert_allclose(np.array(other.interval) / scale, one.interval, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(other.sample(9) / scale, one.sample(9), rtol=1e-6)
    for options in (
        {"method": "chebyshev", "degree": 4},
        {"method": "chebyshev4", "degree": 4, "scaling": None},
        {"method": "jacobi"},
    ):
        x, y = (st.preconditioner(X, rng=SEED, **options) @ b for X in (A, B))
        np.testing.assert_allclose(y * scale, x, rtol=0, atol=1e-9 * np.abs(x).max())
    for name, power in (("invsqrt", -0.5), ("sqrt", 0.5), ("inv", -1.0), ("sign", 0.0)):
        x, y = (st.funm_multiply(name, X, b, rng=SEED).y for X in (A, B))
        np.testing.assert_allclose(y / scale**power, x, atol=1e-7 * np.abs(x).max())
    x = st.funm_multiply("exp", A, b, t=-1.0, rng=SEED).y
    y = st.funm_multiply("exp", B, b, t=-1 / scale, rng=SEED).y
    np.testing.assert_allclose(y, x, atol=1e-7 * np.abs(x).max())


@pytest.mark.parametrize("scale", [1e-120, 1e-30, 1e30, 1e120])
@pytest.mark.parametrize("scaling", ["auto", None])
def test_single_precision_inside_survives_units_beyond_its_range(scaling, scale):
    A, b = jump(), np.linspace(1, 2, 72)
    options = {"method": "chebyshev4", "degree": 4, "scaling": scaling, "rng": SEED}
    x = st.preconditioner(A, **options) @ b
    try:
        y = st.preconditioner(A * scale, precision="float32", **options) @ b
    except SpectoolError:  # a matrix that float32 cannot hold may be refused
        assert not 1e-30 <= scale <= 1e30
    else:
        tolerance = 1e3 * np.finfo(np.float32).eps * np.abs(x).max()
        np.testing.assert_allclose(y * scale, x, rtol=0, atol=tolerance)


@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e-290, 1e305])
def test_beyond_the_squares_range_is_right_or_a_typed_error(verb, scale):
    try:
        found = verb(jump() * scale)
    except SpectoolError:
        # Only squares that over- or underflow excuse a refusal.
        assert not 1e-150 < scale < 1e150
    else:
        assert np.isfinite(found).all()
