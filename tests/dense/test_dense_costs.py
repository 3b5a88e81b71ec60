"""What dense operations cost: given, derived, measured and remembered."""

import math

import pytest

import spectool.dense.costs as module
from spectool.dense.algebra import Cost
from spectool.dense.costs import Costs, dtype_name, measured_costs
from spectool.errors import InputError


def test_what_is_not_given_is_derived_or_not_offered():
    costs = Costs(inverse=2.9)
    assert (costs.solve, costs.definite_solve, costs.cholesky) == (2.9, 2.9, 2.9)
    assert costs.tall_product == 1.0
    assert costs.qr_solve == pytest.approx(4.9)
    assert math.isinf(costs.eigh)
    assert math.isinf(costs.svd)
    assert math.isinf(Costs().inverse)


def test_counts_are_priced_and_what_is_not_counted_costs_nothing():
    costs = Costs(product=2.0, tall_product=5.0, inverse=7.0, solve=11.0)
    assert costs.of(Cost(products=3, tall_products=1, solves=2)) == 3 * 2 + 5 + 2 * 11
    assert Costs().of(Cost(products=1)) == 1.0  # 0 inverses of infinite price are free
    assert math.isinf(Costs().of(Cost(inverses=1)))


def test_relative_costs_have_products_of_one():
    costs = Costs(product=0.5, inverse=2.0, eigh=4.0, step=0.1, unit="s").relative()
    assert (costs.product, costs.inverse, costs.eigh, costs.step) == (1.0, 4.0, 8.0, 0.2)
    assert costs.unit == "products"


def test_json_keeps_infinite_prices():
    costs = Costs(inverse=1.7, svd=9.0)
    record = costs.to_json()
    assert record["eigh"] is None
    assert Costs.from_json(record) == costs
    with pytest.raises(InputError, match="record"):
        Costs.from_json({"multiplication": 1.0})


@pytest.mark.parametrize(
    "wrong", [{"product": 0.0}, {"product": math.inf}, {"inverse": -1.0}, {"eigh": math.nan}]
)
def test_prices_outside_their_range_are_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Costs(**wrong)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTOOL_CACHE", str(tmp_path))
    module._remembered.cache_clear()
    yield tmp_path
    module._remembered.cache_clear()


def test_measured_costs_are_kept(cache):
    costs = measured_costs((40, 24), "float32")
    assert costs.unit == "s"
    assert all(0.0 < getattr(costs, name) < 10.0 for name in costs._names())
    (path,) = cache.glob("dense-*.json")
    module._remembered.cache_clear()
    assert measured_costs((40, 24), "float32") == costs
    path.write_text("{not json")
    module._remembered.cache_clear()
    assert measured_costs((40, 24), "float32").unit == "s"


def test_a_single_number_is_a_matrix(cache):
    assert measured_costs((1, 1), float).product > 0.0


def test_wide_shapes_are_refused():
    with pytest.raises(InputError, match="m >= n"):
        measured_costs((3, 4), "float64")


def test_half_precision_is_priced_by_torch(cache):
    torch = pytest.importorskip("torch")
    assert measured_costs((16, 16), torch.bfloat16).product > 0.0
    assert dtype_name(torch.bfloat16) == "bfloat16"
