import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnisync_core.errors import UserError
from omnisync_core.region import (
    Box,
    Track,
    Tracking,
    parse_region,
    parse_speaker,
    smooth_track,
    standard_box,
)

SIZE = {"width": 320, "height": 240}
TIMES = np.arange(50) / 25


def _moving(frames: int = 50, *, noise: float = 0.0) -> Track:
    rng = np.random.default_rng(0)
    jitter = noise * rng.normal(size=(frames, 2))
    return [Box(60 + 2 * i + dx, 80 + i + dy, 40.0) for i, (dx, dy) in enumerate(jitter)]


def _steps(track: Track) -> np.ndarray:
    return np.diff([[box.cx, box.cy] for box in track if box is not None], axis=0)


def test_standard_box_of_an_upright_face() -> None:
    box = standard_box((40, 50), (60, 50), (50, 72))  # the span is eyes to mouth: 22
    assert (box.cx, box.cy, box.side) == pytest.approx((50, 72 + 0.06 * 22, 1.75 * 22))


def test_standard_box_turns_with_the_head() -> None:
    box = standard_box((50, 40), (50, 60), (28, 50))  # lying on its side
    assert (box.cx, box.cy, box.side) == pytest.approx((28 - 0.06 * 22, 50, 1.75 * 22))


def test_standard_box_in_profile_keeps_its_size() -> None:
    assert standard_box((50, 50), (50, 50), (50, 72)).side == pytest.approx(1.75 * 22)


def test_standard_box_where_eyes_and_mouth_meet_uses_the_eyes() -> None:
    box = standard_box((40, 50), (60, 50), (50, 50))
    assert (box.cx, box.cy, box.side) == pytest.approx((50, 50, 35))


@pytest.mark.parametrize("mouth", [(5, 5), (float("nan"), 9), (float("inf"), 9)])
def test_standard_box_refuses_points_without_extent(mouth: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="different finite points"):
        standard_box((5, 5), (5, 5), mouth)


def test_auto_is_left_to_the_locator() -> None:
    assert parse_region(" Auto", frames=3, **SIZE) == "auto"


def test_full_covers_the_whole_frame() -> None:
    assert parse_region("full", frames=2, **SIZE) == [Box(160, 120, 320)] * 2


def test_four_numbers_become_the_square_that_covers_them() -> None:
    assert parse_region("100,80, 40,60", frames=2, **SIZE) == [Box(120, 110, 60)] * 2


def test_a_file_gives_one_box_or_none_per_frame(tmp_path: Path) -> None:
    path = tmp_path / "boxes, mine.json"
    path.write_text("[[100, 80, 40, 60], null]")
    assert parse_region(str(path), frames=2, **SIZE) == [Box(120, 110, 60), None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "auto, full"),
        ("mouth", "auto, full"),
        ("missing.json", "existing JSON file"),
        ("a,b,c,d", "auto, full"),
        ("1,2,3", "four numbers"),
        ("1,2,3,4,5", "four numbers"),
        ("nan,0,50,50", "four numbers"),
        ("10,10,0,50", "at least 8 pixels"),
        ("10,10,50,-50", "at least 8 pixels"),
        ("400,10,50,50", "inside the picture"),
        ("-60,10,50,50", "inside the picture"),
        ("-4000,-4000,8300,8300", "inside the picture"),
    ],
)
def test_a_bad_region_is_explained(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_region(text, frames=2, **SIZE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1, 2", "cannot be read as JSON"),
        ('{"boxes": []}', "got dict"),
        ("[null]", "expected 2 boxes"),
        ("[null, null, null]", "got 3"),
        ("[null, 7]", "frame 1"),
        ('[null, ["a", 2, 30, 40]]', "frame 1"),
        ("[null, [true, 2, 30, 40]]", "frame 1"),
        ("[[NaN, 2, 30, 40], null]", "frame 0"),
        ("[[900, 2, 30, 40], null]", "inside the picture"),
    ],
)
def test_a_bad_file_is_explained(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        parse_region(str(path), frames=2, **SIZE)


def test_a_file_that_is_no_text_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(UserError, match="cannot be read as JSON"):
        parse_region(str(path), frames=2, **SIZE)


def test_smoothing_keeps_straight_motion_without_lag() -> None:
    for smooth, true in zip(smooth_track(_moving(), TIMES), _moving(), strict=True):
        assert smooth is not None and true is not None
        assert (smooth.cx, smooth.cy, smooth.side) == pytest.approx((true.cx, true.cy, true.side))


@given(st.lists(st.floats(0.005, 0.2), min_size=2, max_size=40))
def test_smoothing_keeps_straight_motion_at_uneven_times(gaps: list[float]) -> None:
    times = np.cumsum(gaps)
    track: Track = [Box(50 + 20 * x, 80 - 10 * x, 60.0) for x in times]
    for box, x in zip(smooth_track(track, times), times, strict=True):
        assert box is not None
        assert (box.cx, box.cy, box.side) == pytest.approx((50 + 20 * x, 80 - 10 * x, 60))


def test_smoothing_calms_jitter() -> None:
    noisy = _moving(noise=1.0)
    assert _steps(smooth_track(noisy, TIMES)).std(0).max() < 0.3 * _steps(noisy).std(0).min()


def test_a_short_drop_out_is_bridged() -> None:
    track = _moving()
    track[20] = track[21] = None
    box = smooth_track(track, TIMES)[21]
    assert box is not None
    assert (box.cx, box.cy) == pytest.approx((102, 101))


def test_a_long_gap_stays_open() -> None:
    track = _moving()
    track[20] = track[21] = track[22] = None
    found = [index for index, box in enumerate(smooth_track(track, TIMES)) if box is None]
    assert found == [20, 21, 22]


def test_a_stray_box_is_replaced() -> None:
    track = _moving()
    track[20] = Box(300, 10, 200)
    box = smooth_track(track, TIMES)[20]
    assert box is not None
    assert (box.cx, box.cy, box.side) == pytest.approx((100, 100, 40))


def test_nothing_is_averaged_across_a_cut() -> None:
    track: Track = [Box(100, 100, 40)] * 25 + [Box(110, 104, 44)] * 25
    smooth = smooth_track(track, TIMES, [25])
    assert [round(box.cx, 6) for box in smooth if box is not None] == [100] * 25 + [110] * 25


def test_a_jump_to_another_face_is_a_cut() -> None:
    track: Track = [Box(100, 100, 40)] * 25 + [Box(200, 100, 40)] * 25
    smooth = smooth_track(track, TIMES)
    assert {round(box.cx, 6) for box in smooth if box is not None} == {100, 200}


def test_a_drop_out_at_a_cut_is_not_bridged() -> None:
    track: Track = [*_moving()]
    track[24] = None
    assert smooth_track(track, TIMES, [25])[24] is None


@pytest.mark.parametrize("track", [[], [None], [Box(5, 6, 7)], [None, Box(5, 6, 7)]])
def test_tiny_tracks_pass_through(track: Track) -> None:
    smooth = smooth_track(track, TIMES[: len(track)])
    assert [box and round(box.side, 6) for box in smooth] == [box and box.side for box in track]


def test_smoothing_wants_a_time_per_box() -> None:
    with pytest.raises(ValueError, match="one time per box"):
        smooth_track([None], TIMES)


def test_a_track_survives_the_file(tmp_path: Path) -> None:
    rows = [None if box is None else [box.cx - 20, box.cy - 20, 40, 40] for box in _moving(9)]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(rows))
    assert parse_region(str(path), frames=9, **SIZE) == _moving(9)


@pytest.mark.parametrize(
    ("text", "speaker"), [("auto", "auto"), (" Left ", "left"), ("120, 80.5", (120.0, 80.5))]
)
def test_a_speaker_is_a_word_or_a_point(text: str, speaker) -> None:
    assert parse_speaker(text) == speaker


@pytest.mark.parametrize("text", ["", "middle", "1", "1,2,3", "nan,1", "a,b"])
def test_another_speaker_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="--speaker left"):
        parse_speaker(text)


def test_a_cut_ends_a_run_and_so_does_a_missing_box():
    box = Box(8, 8, 8)
    tracking = Tracking([box, box, None, box, box, box], cuts=(4,))
    assert list(tracking.runs()) == [(0, 2), (3, 4), (4, 6)]


def test_a_jump_back_to_the_first_frame_is_a_cut():
    tracking = Tracking([Box(i, 8, 8) for i in range(4)]).at(np.array([0, 1, 2, 3, 0, 1]))
    assert tracking.cuts == (4,)
    assert [box.cx for box in tracking.track if box] == [0, 1, 2, 3, 0, 1]
