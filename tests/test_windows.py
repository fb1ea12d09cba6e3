"""The window plan: every frame covered, weights that sum to one, a grid that does not move."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnisync_core.windows import plan_windows

SIZES = st.integers(1, 40).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w // 2)))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), SIZES)
def test_weights_of_every_frame_sum_to_one(frames, sizes):
    window, overlap = sizes
    total = np.zeros(frames)
    for part in plan_windows(frames, window=window, overlap=overlap):
        assert len(part.weights) == part.stop - part.start <= window
        assert (part.weights > 0).all()
        total[part.start : part.stop] += part.weights
    np.testing.assert_allclose(total, 1, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), SIZES)
def test_windows_lie_on_an_absolute_grid_and_none_is_superfluous(frames, sizes):
    window, overlap = sizes
    plan = plan_windows(frames, window=window, overlap=overlap)
    assert [part.start for part in plan] == [k * (window - overlap) for k in range(len(plan))]
    assert all(part.stop - part.start > overlap for part in plan[1:])
    assert all(part.stop == part.start + window for part in plan[:-1])


def test_a_longer_video_has_the_same_windows_before_its_end():
    short, long = (plan_windows(n, window=16, overlap=4) for n in (100, 500))
    for one, other in zip(short[:-1], long, strict=False):
        assert (one.start, one.stop) == (other.start, other.stop)
        assert np.array_equal(one.weights, other.weights)


def test_identity_in_gives_identity_out():
    frames = np.random.default_rng(0).normal(size=101)
    result = np.zeros(101)
    for part in plan_windows(101, window=33, overlap=8):
        result[part.start : part.stop] += part.weights * frames[part.start : part.stop]
    np.testing.assert_allclose(result, frames, atol=1e-12)


@pytest.mark.parametrize(
    ("frames", "window", "overlap"), [(0, 8, 2), (9, 0, 0), (9, 8, 5), (9, 8, -1)]
)
def test_an_impossible_plan_is_refused(frames, window, overlap):
    with pytest.raises(ValueError, match="expected at least one frame"):
        plan_windows(frames, window=window, overlap=overlap)
