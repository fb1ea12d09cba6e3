from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from omnisync_core.media import FrameWriter
from omnisync_core.training.real import (
    LIPS,
    PACKED,
    PackedClip,
    other_moment,
    pack_clip,
    similarity,
    transplant,
)


def test_similarity_finds_the_turn_scale_and_shift_that_made_the_points() -> None:
    turn, scale = np.radians(12), 1.3
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = np.random.default_rng(0).uniform(0, 100, (8, 2))
    found = similarity(points, points @ matrix.T + (5, -3))
    np.testing.assert_allclose(found, np.concatenate([matrix, [[5], [-3]]], axis=1), atol=1e-9)


def test_similarity_averages_what_does_not_fit() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (500, 2))
    found = similarity(points, points + rng.normal(size=points.shape))
    np.testing.assert_allclose(found[:, :2], np.eye(2), atol=0.01)


def test_a_transplant_changes_the_lower_face_and_nothing_else(packed_clip: PackedClip) -> None:
    worn = transplant(packed_clip, 2, 5).astype(int)
    change = np.abs(worn - packed_clip.crops[2]).max(-1)
    assert change[:28].max() == 0  # eyes and the upper nose
    assert change[60:72, 50:70].max() > 50  # the other opening of the mouth


def test_a_transplant_of_itself_is_itself(packed_clip: PackedClip) -> None:
    assert np.abs(transplant(packed_clip, 3, 3).astype(int) - packed_clip.crops[3]).max() <= 1


def test_a_transplant_wears_the_lips_of_the_other_moment(packed_clip: PackedClip) -> None:
    worn = transplant(packed_clip, 2, 5)[60:72, 50:70].astype(int)
    to_source, to_target = (
        np.abs(worn - packed_clip.crops[i][60:72, 50:70]).mean() for i in (5, 2)
    )
    assert to_source < 0.1 * to_target


def test_another_moment_is_moved_onto_the_pose(packed_clip: PackedClip) -> None:
    packed_clip.crops[7] = np.roll(packed_clip.crops[7], (4, -6), axis=(0, 1))
    packed_clip.landmarks[7] += (-6, 4)
    back = other_moment(packed_clip, 2, 7)[20:55, 20:100].astype(int)
    assert np.abs(back - packed_clip.crops[2][20:55, 20:100]).mean() < 2


def test_packing_puts_the_mouth_in_the_middle_of_every_crop(
    packed_clip: PackedClip, tmp_path: Path
) -> None:
    writer = FrameWriter(
        tmp_path / "face.mkv",
        width=PACKED,
        height=PACKED,
        rate=Fraction(25),
        times=None,
        audio=None,
        lossless=True,
        metadata={},
    )
    with writer:
        for crop in packed_clip.crops:
            writer.write(crop)
    landmarks = np.round(packed_clip.landmarks * 32).astype(np.int16)
    packed = pack_clip(tmp_path / "face.mkv", landmarks)
    assert packed.crops.shape == packed_clip.crops.shape
    lips = packed.landmarks[:, LIPS].mean((0, 1))
    assert lips[0] == pytest.approx(PACKED / 2, abs=1)
    assert 0.4 * PACKED < lips[1] < PACKED / 2  # a little above the middle: the chin needs room
    inside = packed.crops[np.arange(12), int(lips[1]), int(lips[0])]
    assert inside.max() < 80  # the dark mouth lies where the landmarks say
