"""SciPy's own tests of ``expm_multiply``, with ours in its place.

The file is the installed SciPy's. Its tests of private functions that ours does not have are left
out, each with its reason; in the rest two names differ, each for the reason beside it.
"""

import contextlib
import importlib
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.sparse.linalg

from spectool import expm_multiply

# The package's attribute of this name is the function.
ours = importlib.import_module("spectool.functions.expm_multiply")
LEFT_OUT = {
    "test_theta_monotonicity": "the table of backward errors of SciPy's Taylor polynomials",
    "test_p_max_default": "a private parameter of SciPy's choice of degrees",
    "test_p_max_range": "a private parameter of SciPy's choice of degrees",
    "test_onenormest_matrix_power": "a private estimate of norms of powers",
    "test_expm_multiply_interval_status_0": "which of SciPy's three ways of stepping is taken",
    "test_expm_multiply_interval_status_1": "which of SciPy's three ways of stepping is taken",
    "test_expm_multiply_interval_status_2": "which of SciPy's three ways of stepping is taken",
}


def scaled(A, B, t=1.0):
    """What the private ``_expm_multiply_simple`` returns: ``exp(t A) B``."""
    return expm_multiply(A, B, start=t, stop=2 * t, num=2)[0]


def load():
    path = Path(scipy.sparse.linalg.__file__).parent / "tests" / "test_expm_multiply.py"
    if not path.is_file():
        return None
    # A mark of SciPy's own test configuration, which ours refuses as unknown.
    source = re.sub(r"(?m)^ *@pytest\.mark\.fail_slow\(.*\)\n", "", path.read_text("utf-8"))
    module = ModuleType("scipy_test_expm_multiply")
    exec(compile(source, str(path), "exec"), module.__dict__)  # the installed SciPy's file
    module.expm_multiply = expm_multiply
    module._expm_multiply_simple = scaled
    # SciPy warns that it estimates the trace of an operator; we need no trace and do not warn.
    module.estimated_warns = contextlib.nullcontext
    return module


scipys = load()


@pytest.fixture(params=["whole matrices", "Krylov"])
def way(request, monkeypatch):
    """Small matrices as they are treated, and as large ones are."""
    if request.param == "Krylov":
        monkeypatch.setattr(ours, "DENSE_N", 0)


if scipys is None:

    def test_the_installed_scipy_has_its_tests():
        pytest.skip("the installed SciPy came without its tests")

else:

    def kept(cls):
        """A copy of a class of tests without those that are left out."""
        namespace = dict.fromkeys(LEFT_OUT.keys() & vars(cls).keys())
        return pytest.mark.usefixtures("way")(type(cls.__name__, (cls,), namespace))

    TestExpmActionSimple = kept(scipys.TestExpmActionSimple)
    TestExpmActionInterval = kept(scipys.TestExpmActionInterval)
    test_expm_multiply_dtype = scipys.test_expm_multiply_dtype

    # Wider and narrower integers and floats have become one of these where the way is chosen.
    @pytest.mark.parametrize("dtype_a", ["int64", "float32", "float64", "complex64", "complex128"])
    @pytest.mark.parametrize("dtype_b", ["int64", "float32", "float64", "complex64", "complex128"])
    @pytest.mark.parametrize("b_is_matrix", [False, True])
    def test_dtypes_by_krylov(dtype_a, dtype_b, b_is_matrix, monkeypatch):
        monkeypatch.setattr(ours, "DENSE_N", 0)
        types = {"int64": np.longlong, **{t.__name__: t for t in scipys.DTYPES}}
        scipys.test_expm_multiply_dtype(types[dtype_a], types[dtype_b], b_is_matrix)

    def test_what_is_left_out_exists():
        classes = (scipys.TestExpmActionSimple, scipys.TestExpmActionInterval)
        assert set(LEFT_OUT) <= {name for cls in classes for name in vars(cls)}
