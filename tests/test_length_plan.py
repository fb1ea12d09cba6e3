from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnisync_core.audio import frame_windows
from omnisync_core.config import Length
from omnisync_core.length_plan import match_length
from omnisync_core.video_info import FrameLog, VideoInfo, _find_rate, _times


def even(frames: int = 4, *, rate: Fraction = Fraction(25)) -> VideoInfo:
    times = np.arange(frames) * rate.denominator / rate.numerator
    return _info(times, float(frames / rate), rate=rate, variable=False)


def uneven() -> VideoInfo:
    return _info(np.array([0.0, 0.1, 0.3, 0.35]), 0.5, rate=Fraction(8), variable=True)


def _info(times: np.ndarray, duration: float, *, rate: Fraction, variable: bool) -> VideoInfo:
    return VideoInfo(
        width=2,
        height=2,
        frames=len(times),
        rate=rate,
        times=times,
        variable_rate=variable,
        has_audio=False,
        duration=duration,
    )


@pytest.mark.parametrize(
    "mode,seconds,frames",
    [
        ("silence", 0.08, [0, 1, 2, 3]),
        ("silence", 9.0, [0, 1, 2, 3]),
        ("cut", 0.08, [0, 1]),
        ("cut", 0.09, [0, 1, 2]),
        ("cut", 9.0, [0, 1, 2, 3]),
        ("cut", 0.001, [0]),
        ("loop", 0.36, [0, 1, 2, 3, 0, 1, 2, 3, 0]),
        ("loop", 0.08, [0, 1, 2, 3]),
        ("bounce", 0.40, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]),
        ("bounce", 0.17, [0, 1, 2, 3, 2]),
        ("bounce", 0.16, [0, 1, 2, 3]),
        ("bounce", 0.08, [0, 1, 2, 3]),
        ("freeze", 0.24, [0, 1, 2, 3, 3, 3]),
        ("freeze", 0.08, [0, 1, 2, 3]),
    ],
)
def test_each_mode_shows_what_it_says(mode: str, seconds: float, frames: list[int]):
    plan = match_length(even(), seconds, mode)
    assert plan.frames.tolist() == frames
    assert plan.duration == pytest.approx(0.04 * len(frames))


@pytest.mark.parametrize("mode", ["loop", "bounce", "freeze"])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_clips_can_go_on(mode: str, frames: int):
    plan = match_length(even(frames), 0.2, mode)
    assert len(plan.frames) == 5 and plan.frames.max() == frames - 1


def test_an_uneven_frame_lasts_as_long_as_in_the_source():
    plan = match_length(uneven(), 0.84, "bounce")
    assert plan.frames.tolist() == [0, 1, 2, 3, 2, 1, 0]
    np.testing.assert_allclose(np.diff(plan.times), [0.1, 0.2, 0.05, 0.15, 0.05, 0.2])
    assert plan.duration == pytest.approx(0.85)


def test_ten_minutes_of_film_do_not_drift():
    rate = Fraction(24000, 1001)
    plan = match_length(even(24, rate=rate), 600.0, "loop")
    number = len(plan.frames) - 1
    assert plan.times[-1] == pytest.approx(float(number / rate), abs=1e-9)
    assert 600 <= plan.duration < 600 + float(1 / rate)


@given(
    st.sampled_from(["loop", "bounce", "freeze"]),
    st.integers(1, 9),
    st.floats(0.001, 30),
    st.booleans(),
)
def test_a_longer_sound_is_covered_and_by_less_than_a_frame(
    mode: str, frames: int, seconds: float, varies: bool
):
    info = uneven() if varies else even(frames)
    plan = match_length(info, seconds, mode)
    assert plan.times[0] == 0 and (np.diff(plan.times) > 0).all()
    assert plan.duration >= info.duration - 1e-9
    assert plan.duration >= seconds - 0.003
    if seconds > info.duration:
        assert plan.times[-1] < seconds


@pytest.mark.parametrize("mode,seconds", [("stretch", 1.0), ("cut", 0.0), ("cut", float("nan"))])
def test_nonsense_is_refused(mode: str, seconds: float):
    with pytest.raises(ValueError, match="expected a"):
        match_length(even(), seconds, mode)


HALF_AN_HOUR = 1800
RATES = [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(30)]


def _heard_at(times: np.ndarray) -> np.ndarray:
    """When the network hears each frame, in seconds: of tokens that are their own numbers."""
    tokens = torch.arange(50 * HALF_AN_HOUR + 100, dtype=torch.float32)[:, None]
    windows = frame_windows(tokens, torch.from_numpy(times).float(), reach=2)
    return windows[:, 2, 0].double().numpy() / 50


@pytest.mark.parametrize("rate", [*RATES, Fraction(60000, 1001)])
@pytest.mark.parametrize("mode", ["silence", "loop"])
def test_after_half_an_hour_picture_and_sound_are_less_than_half_a_frame_apart(
    rate: Fraction, mode: Length
):
    frames = round(HALF_AN_HOUR * rate)
    shown = frames if mode == "silence" else frames // 7  # a loop adds the same lengths up again
    plan = match_length(even(shown, rate=rate), HALF_AN_HOUR, mode)
    assert abs(len(plan.frames) - frames) <= 1
    exact = np.arange(len(plan.frames)) * (rate.denominator / rate.numerator)
    assert np.abs(plan.times - exact).max() < 1e-6
    assert abs(plan.duration - float(len(plan.frames) / rate)) < 1e-6
    assert np.abs(_heard_at(plan.times) - exact).max() < 0.02 / rate


@pytest.mark.parametrize("mode", ["silence", "loop"])
def test_an_uneven_rate_does_not_drift_in_half_an_hour(mode: Length):
    count = 30 * HALF_AN_HOUR if mode == "silence" else 30 * HALF_AN_HOUR // 7
    lasts = np.random.default_rng(0).integers(20, 48, count) / 1000  # whole ticks of 1 ms
    times = np.concatenate([[0.0], np.cumsum(lasts[:-1])])
    info = _info(times, float(lasts.sum()), rate=Fraction(30), variable=True)
    plan = match_length(info, HALF_AN_HOUR, mode)
    rounds, place = np.divmod(np.arange(len(plan.frames)), count)
    exact = rounds * lasts.sum() + times[place]
    assert np.abs(plan.times - exact).max() < 1e-6
    shown = exact < HALF_AN_HOUR
    assert np.abs(_heard_at(plan.times) - exact)[shown].max() < 1e-3


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "30", "60000/1001"])
@pytest.mark.parametrize("clock", [90_000, 1_000])  # of .mp4 and .mkv
def test_after_half_an_hour_no_frame_is_late(rate: str, clock: int):
    exact = Fraction(rate)
    number = np.arange(int(1800 * exact))
    log = FrameLog(time_base=Fraction(1, clock), nominal=exact)
    ticks = np.round(number * exact.denominator * clock / exact.numerator).astype(np.int64)
    log.ticks.frombytes(ticks.tobytes())
    times, stamped = _times(log)
    found, variable = _find_rate(times, nominal=exact, tick=1 / clock)
    assert (found, variable, stamped) == (exact, False, True)
    seconds = len(number) / exact
    info = _info(times, float(seconds), rate=found, variable=False)
    plan = match_length(info, 1800.0)
    assert len(plan.frames) == len(number) and plan.duration == pytest.approx(float(seconds), 1e-12)
    late = plan.times - number * exact.denominator / exact.numerator
    assert np.abs(late).max() < 1e-6
