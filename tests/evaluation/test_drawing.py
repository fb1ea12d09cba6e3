"""Radars and curves."""

import numpy as np

from omnisync_core.evaluation.drawing import curves_svg, radar_svg, shares


def figure(mean, clips=2):
    return {"mean": mean, "low": mean, "high": mean, "clips": clips}


FOUND = {
    "a": {"copy": figure(0.0), "truth": figure(2.0)},
    "b": {"copy": figure(1.0), "truth": figure(1.0)},
    "c": {"copy": figure(np.nan, 0), "truth": figure(3.0)},
}


def test_an_axis_runs_from_its_worst_row_to_its_best():
    assert shares(FOUND) == {"copy": [0, 1, 0], "truth": [1, 1, 1]}


def test_a_radar_names_axes_and_methods_and_needs_three_axes():
    assert all(f">{name}<" in radar_svg(FOUND) for name in ("a", "b", "c", "copy", "truth"))
    assert "Too few" in radar_svg({"a": FOUND["a"]})


def test_a_curve_breaks_where_nothing_is_known():
    values = np.array([0.0, 1, np.nan, 1, 0])
    svg = curves_svg(np.arange(5) / 25, {"<b>": values}, np.ones(5))
    assert svg.count("M") == 3 and "nan" not in svg and "<b>" not in svg
