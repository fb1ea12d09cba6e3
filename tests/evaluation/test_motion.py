"""Motion coherence: what an untouched video, flicker, seams and drift come to."""

import numpy as np
import pytest

from omnisync_core.evaluation import motion

from .conftest import draw, opening_of


@pytest.fixture(scope="module")
def source():
    still = draw(opening_of(0))[:12]
    return motion.half(np.stack([np.roll(frame, i, 1) for i, frame in enumerate(still)]))


def errors(grey, source):
    return motion.warp_errors(grey, motion.flows(source), np.ones(grey.shape, bool))


def test_an_untouched_video_scores_100(source):
    same = errors(source, source)
    found = motion.coherence(same, same, jerks=(1.0, 1.0), drift=0.0)
    assert found["mcs"] == pytest.approx(100) and found["flicker"] == found["seam"] == 1


def test_the_flow_of_the_source_explains_its_motion(source):
    carried = errors(source, source).mean()
    left = np.abs(np.diff(source.astype(float), axis=0)).mean()
    assert carried < left


def test_flicker_jerk_and_drift_each_cost_points(source):
    same = errors(source, source)
    rng = np.random.default_rng(0)
    noisy = np.clip(source + rng.normal(0, 12, source.shape), 0, 255).astype(np.uint8)
    flicker = motion.coherence(errors(noisy, source), same, jerks=(1, 1), drift=0)
    assert flicker["flicker"] > 1.2 and flicker["mcs"] < 95
    jerky = motion.coherence(same, same, jerks=(4, 1), drift=0)
    assert jerky["mcs"] == pytest.approx(100 * np.exp(-0.5 * np.log(4) / 2))
    drift = motion.coherence(same, same, jerks=(1, 1), drift=0.1)
    assert drift["mcs"] == pytest.approx(100 * np.exp(-0.25))


def test_a_seam_is_told_from_steady_flicker():
    even, seam = np.ones(40), np.ones(40)
    seam[::10] = 3.0
    assert motion.coherence(2 * even, even, jerks=(1, 1), drift=0)["seam"] == 1
    assert motion.coherence(seam, even, jerks=(1, 1), drift=0)["seam"] > 2


def test_jerk_is_the_third_difference():
    cubic = np.arange(10.0)[:, None] ** 3
    assert motion.jerk(cubic) == pytest.approx(6)
    assert np.isnan(motion.jerk(cubic[:3]))


def test_a_source_that_stands_still_keeps_its_100():
    still = np.zeros(40)
    found = motion.coherence(still, still, jerks=(np.nan, np.nan), drift=0)
    assert found["mcs"] == pytest.approx(100) and found["flicker"] == found["seam"] == 1
