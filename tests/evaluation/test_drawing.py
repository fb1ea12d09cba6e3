"""Radars and curves."""

import numpy as np

from omnisync_core.evaluation.drawing import colour_of, curves_svg, dots_svg, radar_svg, shares


def figure(mean, clips=2):
    return {"mean": mean, "low": mean, "high": mean, "clips": clips}


FOUND = {
    "a": {"copy": figure(0.0), "truth": figure(2.0)},
    "b": {"copy": figure(1.0), "truth": figure(1.0)},
    "c": {"copy": figure(np.nan, 0), "truth": figure(3.0)},
}


def test_an_axis_runs_from_its_worst_row_to_its_best():
    assert shares(FOUND) == {"copy": [0, 1, 0], "truth": [1, 1, 1]}


def test_a_radar_names_its_axes_and_needs_three():
    svg = radar_svg(FOUND)
    assert all(f">{name}<" in svg for name in ("a", "b", "c"))
    assert "m-copy" in svg and "m-truth" in svg
    assert "Too few" in radar_svg({"a": FOUND["a"]})


def test_dots_stand_in_their_order_and_who_has_none_is_told():
    svg = dots_svg("words", {"copy": figure(1.0), "ours": figure(3.0), "b": figure(0, 0)}, better=1)
    places = [float(part.split('"')[0]) for part in svg.split('cx="')[1:]]
    assert len(places) == 2 and places[0] < places[1]
    assert ">none<" in svg and "words ↑" in svg


def test_methods_keep_their_colour_wherever_they_stand():
    labels = ["copy", "a", "b"]
    assert [colour_of(one, labels) for one in labels] == ["m-copy", "m0", "m1"]


def test_a_curve_breaks_where_nothing_is_known():
    values = np.array([0.0, 1, np.nan, 1, 0])
    svg = curves_svg(np.arange(5) / 25, {"ours": values}, np.ones(5), ["ours"])
    assert svg.count("M") == 2 and "nan" not in svg
