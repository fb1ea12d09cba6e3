"""NIQE's parts against distributions whose parameters are known."""

import numpy as np
import pytest

from omnisync_core.evaluation.naturalness import SIDE, asymmetric_fit, distance, features


def test_the_fit_finds_the_shape_of_known_distributions():
    rng = np.random.default_rng(0)
    shape, left, right = asymmetric_fit(
        np.stack([rng.normal(size=60_000), rng.laplace(size=60_000)])
    )
    assert shape == pytest.approx([2, 1], abs=0.05)
    assert left == pytest.approx([1, np.sqrt(2)], abs=0.03)
    assert right == pytest.approx(left, abs=0.05)


def test_the_fit_tells_the_sides_apart():
    rng = np.random.default_rng(0)
    # The density is continuous at 0, so the wider side holds more of the values.
    sides = np.where(rng.random((1, 60_000)) < 0.75, 3.0, -1.0)
    values = sides * np.abs(rng.normal(size=sides.shape))
    shape, left, right = asymmetric_fit(values)
    assert (shape[0], left[0], right[0]) == pytest.approx((2, 1, 3), abs=0.15)


def test_a_picture_is_at_no_distance_from_itself_and_blur_is_further_than_none():
    import cv2

    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.uint8)
    crops = np.stack([cv2.GaussianBlur(c, (0, 0), 1) for c in crops])
    own = features(crops)
    assert own.shape == (64, 36)
    assert distance(own, own) == 0
    soft = [features(np.stack([cv2.GaussianBlur(c, (0, 0), s) for c in crops])) for s in (1, 3)]
    assert 0 < distance(soft[0], own) < distance(soft[1], own)
