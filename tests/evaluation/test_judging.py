"""Figures of a drawn mouth, whose truth is known, and of known damage to it."""

import numpy as np
import pytest

from omnisync_core.errors import UserError
from omnisync_core.evaluation import ordering
from omnisync_core.evaluation.judging import FIGURES, Means, judge
from omnisync_core.evaluation.lips import viseme_share

from .conftest import draw, opening_of, write_video


@pytest.fixture(scope="module")
def judged(item):
    return ordering.judge_damage(item)


def test_the_truth_is_judged_true(judged):
    truth = judged["truth"]
    assert set(truth) == set(FIGURES) - {"fps"}
    assert truth["truth_r"] > 0.98 and truth["truth_lag"] == 0
    assert truth["psnr"] == 100 and truth["ssim"] == pytest.approx(1)
    assert truth["open_ratio"] == pytest.approx(1, abs=0.1)
    assert truth["lmd"] < 2 and truth["visemes"] == 1
    assert truth["jerk"] == pytest.approx(1) and truth["texture"] == pytest.approx(1)


def test_late_lips_are_told_by_how_much(judged):
    for frames in (1, 2, 5):
        late = judged[f"{frames} frame{'s' * (frames > 1)} late"]
        assert late["truth_lag"] == pytest.approx(40 * frames, abs=10)


def test_more_shift_is_less_agreement(judged):
    rows = ("truth", "1 frame late", "2 frames late", "5 frames late")
    values = [judged[row]["truth_r"] for row in rows]
    assert values == sorted(values, reverse=True)
    assert [judged[row]["lmd"] for row in rows] == sorted(judged[row]["lmd"] for row in rows)


def test_more_blur_is_worse_texture_and_structure(judged):
    rows = ["truth", *(f"blur of {n}" for n in ("1 pixel", "2 pixels", "4 pixels"))]
    for figure in ("texture", "ssim", "psnr", "style"):
        values = [judged[row][figure] for row in rows]
        assert values == sorted(values, reverse=True), figure
    values = [judged[row]["niqe_own"] for row in rows]
    assert values == sorted(values)


def test_another_voices_lips_do_not_agree(judged):
    other, truth = judged["another voice's lips"], judged["truth"]
    assert other["truth_r"] < 0.5 < truth["truth_r"]
    assert other["visemes"] < truth["visemes"]
    assert other["lmd"] > 3 * truth["lmd"]


def test_a_frozen_mouth_has_no_agreement(judged):
    assert not judged["frozen"]["truth_r"] > 0.3


def test_a_result_of_another_length_is_refused(clip, tmp_path):
    short = write_video(tmp_path / "short.mp4", draw(opening_of(1))[:40])
    with pytest.raises(UserError, match=r"expected 60 frames of 96 x 96.*got 40"):
        judge(clip, short, Means())


def test_a_few_frames_less_are_judged_on_what_is_there(clip, tmp_path):
    short = write_video(tmp_path / "short.mp4", draw(opening_of(1))[:57])
    assert judge(clip, short, Means()).figures["truth_r"] > 0.95


def test_a_result_of_another_size_is_refused(clip, tmp_path):
    wide = write_video(tmp_path / "wide.mp4", np.zeros((60, 96, 128, 3), np.uint8))
    with pytest.raises(UserError, match="got 60 of 128 x 96"):
        judge(clip, wide, Means())


def test_visemes_of_still_lips_are_right_for_one_group_alone(clip):
    shut = np.broadcast_to(clip.numbers["source_lips"][clip.numbers["source"].argmin()], (60, 40))
    assert viseme_share(clip, shut) == 0.5  # of two groups, however many phones each has


def test_lips_of_another_voice_meet_where_vowels_are_open(judged):
    assert judged["truth"]["false_closures"] == 0
    assert judged["another voice's lips"]["false_closures"] > 0


def test_the_table_says_what_is_ordered_and_on_how_many_clips(judged):
    text = ordering._verdicts([judged, judged], ["truth_r", "texture", "occluder"])
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert "| yes (2 of 2) |" in rows["truth_r"]
    assert rows["texture"].endswith("| no (0 of 2) |")  # nothing was there to be erased
    assert "yes" not in rows["occluder"]
