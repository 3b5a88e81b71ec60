"""Pictures: axes come back, nothing is shown, numbers by hand."""

import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

import spectool as st
from spectool import plotting


@pytest.fixture(autouse=True)
def _never_show(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("show was called"))
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def spectrum():
    return st.estimate_spectrum(st.gallery.poisson((12, 12)), rng=662607015)


def test_density_draws_on_given_axes_and_returns_them(spectrum):
    ax = plotting.blank_axes()
    assert plotting.density(spectrum, ax=ax) is ax
    assert ax.get_xscale() == "log"


def test_density_areas_are_fractions(spectrum):
    ax = plotting.density(spectrum, ax=plotting.blank_axes())
    values, edges, _ = ax.patches[0].get_data()
    assert np.sum(values * np.diff(np.log(edges))) == pytest.approx(1.0, abs=0.02)


def test_density_of_an_indefinite_spectrum_is_linear():
    A = st.gallery.poisson((12, 12)).toarray() - 4.0 * np.eye(144)
    shifted = st.estimate_spectrum(A, rng=602214076)
    assert plotting.density(shifted, ax=plotting.blank_axes()).get_xscale() == "linear"


def test_axes_are_made_where_none_are_given(spectrum):
    assert plotting.density(spectrum).figure is plt.gcf()


def test_response_shades_the_window():
    p = st.polynomials.chebyshev_inverse((0.1, 1.0), 4)
    ax = plotting.response(p, ax=plotting.blank_axes(), window=(-np.inf, 0.2))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["window", "degree 4"]


def test_convergence_axis_is_logarithmic_only_for_unlike_lengths():
    short, long = [(1, 1.0), (10, 1e-8)], [(0, 1.0), (1000, 1e-8)]
    near = plotting.convergence({"a": short, "b": short}, ax=plotting.blank_axes())
    far = plotting.convergence({"a": short, "b": long}, ax=plotting.blank_axes(), tolerance=1e-8)
    assert near.get_xscale() == "linear"
    assert far.get_xscale() == "log"
    assert far.lines[1].get_xdata()[0] == 1.0


def test_convergence_leaves_empty_histories_out():
    ax = plotting.convergence({"a": []}, ax=plotting.blank_axes())
    assert not ax.lines


def test_colors_belong_to_names():
    ax = plotting.convergence(
        {"b": [(1, 1.0)], "a": [(1, 1.0)]}, ax=plotting.blank_axes(), colors={"a": "#009E73"}
    )
    assert ax.lines[1].get_color() == "#009E73"


def test_profile_ratios_by_hand():
    ratios = plotting.profile_ratios({"a": [1.0, 4.0, np.inf], "b": [2.0, 2.0, np.inf]})
    np.testing.assert_array_equal(ratios["a"], [1.0, 2.0, np.inf])
    np.testing.assert_array_equal(ratios["b"], [2.0, 1.0, np.inf])


def test_profile_curve_by_hand():
    costs = {"a": [1.0, 4.0, np.inf], "b": [2.0, 2.0, np.inf]}
    ax = plotting.performance_profile(costs, ax=plotting.blank_axes(), unit="time")
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(x, [1.0, 1.0, 2.0, 2.5])
    np.testing.assert_allclose(y, [0.0, 1 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize("costs", [{"a": [np.inf]}, {"a": []}, {}])
def test_profile_of_nothing(costs):
    plotting.to_svg(
        plotting.performance_profile(costs, ax=plotting.blank_axes()), label="", key="a"
    )


def test_roofline_by_hand():
    ax = plotting.roofline(
        {"a": [(0.1, 1.0), (0.5, 4.0)], "b": [], "c": [(0.2, 9.0)]},
        {"two": 20.0, "one": 10.0},
        ax=plotting.blank_axes(),
        colors={"c": "#009E73"},
        markers={"c": "X"},
    )
    assert ax.get_xscale() == ax.get_yscale() == "log"
    a, c, two, one = ax.lines
    assert c.get_color() == "#009E73"
    assert c.get_marker() == "X"
    np.testing.assert_allclose(two.get_ydata() / two.get_xdata(), 20.0)
    np.testing.assert_allclose(one.get_ydata() / one.get_xdata(), 10.0)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["a", "c", "two, 20 GB/s", "one, 10 GB/s"]
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for line in (a, c, two, one):
        x, y = line.get_data()
        assert left <= x.min() <= x.max() <= right
        assert low <= y.min() <= y.max() <= high


def test_roofline_of_nothing():
    ax = plotting.roofline({}, {}, ax=plotting.blank_axes())
    assert ax.get_legend() is None
    plotting.to_svg(ax, label="", key="a")


@pytest.mark.parametrize(
    ("points", "roofs"), [({"a": [(0.1, 0.0)]}, {}), ({}, {"a": np.nan}), ({}, {"a": -1.0})]
)
def test_roofline_needs_positive_numbers(points, roofs):
    with pytest.raises(st.errors.InputError, match="positive"):
        plotting.roofline(points, roofs, ax=plotting.blank_axes())


def test_calibration_shows_the_diagonal_and_the_points():
    points = {"a": [(10, 12), (1000, 400)], "b": [(3, 3)], "c": []}
    ax = plotting.calibration(points, ax=plotting.blank_axes(), markers={"b": "x"})
    diagonal, a, b = ax.get_lines()
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_array_equal(a.get_xydata(), points["a"])
    assert b.get_marker() == "x"
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_xlim() == ax.get_ylim()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert plotting.calibration({}, ax=plotting.blank_axes()).get_legend() is None
    with pytest.raises(st.errors.InputError, match="positive"):
        plotting.calibration({"a": [(1, np.inf)]}, ax=plotting.blank_axes())


def test_svg_is_an_element_with_ids_of_its_own():
    ax = plotting.convergence({"$a_1$ <b>": [(1, 1.0), (2, 0.5)]}, ax=plotting.blank_axes())
    svg = plotting.to_svg(ax, label='a "b" <c> & d', key="first")
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == 'a "b" <c> & d'
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert all(name.startswith("first-") for name in ids)
    links = [v for element in root.iter() for k, v in element.attrib.items() if k.endswith("href")]
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_save_writes_what_the_suffix_says(tmp_path):
    ax = plotting.convergence({"a": [(1, 1.0), (2, 0.5)]}, ax=plotting.blank_axes())
    plotting.save(ax, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
