import os
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

import omnisync_core
from omnisync_core.locator import WEIGHTS, MouthLocator
from omnisync_core.media import read_frames
from omnisync_core.region import Box, standard_box


def _colour(x: Tensor) -> Tensor:
    """How bright above the locator's grey border, 0 to 1."""
    return (x - 0.2).clamp(min=0) / 0.8


class DotRefiner(nn.Module):
    """Sees a face as three dots: red and green eyes, a blue mouth."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dots = _colour(x)
        line = (torch.arange(64) + 0.5) / 32 - 1
        moment = torch.stack([(dots.sum(2) * line).sum(2), (dots.sum(3) * line).sum(2)], -1)
        mass = dots.sum((2, 3))
        guess = 1e-6 * torch.tensor([[-0.2, -0.3], [0.2, -0.3], [0.0, 0.2]])
        return (moment + guess) / (mass + 1e-6)[..., None], mass.amin(1) * 20 - 5


class DotDetector(nn.Module):
    """Sees a mouth where a blue dot is as large as that of a face of the typical side."""

    def forward(self, x: Tensor) -> Tensor:
        blue = 64 * avg_pool2d(_colour(x)[:, 2:], 8, ceil_mode=True)
        around = 9 * avg_pool2d(blue, 3, 1, 1) + 1e-6
        typical = 2 * np.pi * (0.06 * 22 / 1.75) ** 2 * 0.15  # what _colour leaves of a dot
        logit = 2 - 3 * (around / typical).log().abs() + 3 * blue / around
        return torch.cat([logit, torch.zeros(1, 3, *blue.shape[2:])], 1)


class Blind(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("the whole frame was searched")


def _frame(*faces: Box, width: int = 300, height: int = 220) -> np.ndarray:
    """Black, with the three dots of an upright face for each box."""
    y, x = np.indices((height, width)) + 0.5
    frame = np.zeros((height, width, 3))
    for box in faces:
        span = box.side / 1.75
        mouth = box.cy - 0.06 * span
        for channel, (dx, dy) in enumerate(((-0.4, -1), (0.4, -1), (0, 0))):
            off = (x - box.cx - dx * span) ** 2 + (y - mouth - dy * span) ** 2
            frame[..., channel] += np.exp(-off / (2 * (0.06 * span) ** 2))
    return (frame.clip(0, 1) * 255).astype(np.uint8)


@pytest.fixture
def dots() -> MouthLocator:
    return MouthLocator(DotDetector(), DotRefiner())


def _close(box: Box | None, true: Box) -> bool:
    assert box is not None
    off = np.abs([box.cx - true.cx, box.cy - true.cy, box.side - true.side]).max()
    return float(off) < 0.04 * true.side


@pytest.mark.parametrize("side", [30, 60])
@pytest.mark.parametrize("place", [(150, 130), (60, 110), (230, 150)])
def test_a_face_is_found_anywhere_at_any_size(
    dots: MouthLocator, side: float, place: tuple[float, float]
) -> None:
    face = Box(*place, side)
    assert _close(dots.locate(_frame(face)), face)


def test_a_face_is_found_in_a_large_frame(dots: MouthLocator) -> None:
    face = Box(610, 300, 240)
    assert _close(dots.locate(_frame(face, width=1200, height=880)), face)


def test_a_face_that_leaves_the_frame_is_found_in_its_place(dots: MouthLocator) -> None:
    face = Box(32, 195, 60)
    assert _close(dots.locate(_frame(face)), face)


def test_an_empty_frame_has_no_mouth(dots: MouthLocator) -> None:
    assert dots.locate(_frame()) is None


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (256, 3)])
def test_odd_frames_are_searched(dots: MouthLocator, size: tuple[int, int]) -> None:
    assert dots.locate(_frame(width=size[0], height=size[1])) is None


def test_a_followed_face_needs_no_search(dots: MouthLocator) -> None:
    dots.detector = Blind()
    face = Box(150, 130, 60)
    assert _close(dots.locate(_frame(face), Box(160, 124, 66)), face)


def test_a_lost_face_is_searched_for(dots: MouthLocator) -> None:
    face = Box(60, 110, 60)
    assert _close(dots.locate(_frame(face), Box(240, 150, 40)), face)


def test_following_stays_with_one_of_two(dots: MouthLocator) -> None:
    left, right = Box(70, 110, 50), Box(230, 110, 60)
    boxes = dots.follow([_frame(left), *[_frame(left, right)] * 3])
    assert all(_close(box, left) for box in boxes)


@pytest.mark.parametrize(
    ("speaker", "who"),
    [("left", 0), ("right", 1), ("largest", 1), ((60.0, 90.0), 0), ((300.0, 200.0), 1)],
)
def test_the_named_speaker_is_followed(dots: MouthLocator, speaker, who: int) -> None:
    faces = (Box(70, 110, 50), Box(230, 110, 60))
    boxes = list(dots.follow([_frame(*faces)] * 3, speaker=speaker))
    assert all(_close(box, faces[who]) for box in boxes)


def test_a_named_speaker_is_kept_when_another_outshines(dots: MouthLocator) -> None:
    vague, clear = Box(70, 110, 50), Box(230, 110, 60)
    frame = _frame(vague, clear)
    frame[:, :150, 2] = 0.88 * frame[:, :150, 2]
    boxes = dots.follow([_frame(vague), *[frame] * 59], speaker="left")
    assert all(_close(box, vague) for box in boxes)


def test_following_changes_to_a_far_clearer_face_at_the_recheck(dots: MouthLocator) -> None:
    vague, clear = Box(70, 110, 50), Box(230, 110, 60)
    frame = _frame(vague, clear)
    frame[:, :150, 2] = 0.88 * frame[:, :150, 2]
    boxes = list(dots.follow([_frame(vague), *[frame] * 49]))
    assert _close(boxes[-2], vague)
    assert _close(boxes[-1], clear)


def test_following_passes_frames_without_a_face(dots: MouthLocator) -> None:
    face = Box(150, 130, 60)
    boxes = list(dots.follow([_frame(face), _frame(), _frame(face)]))
    assert [box is None for box in boxes] == [False, True, False]


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 4), (3, 10, 10)])
def test_other_shapes_are_refused(dots: MouthLocator, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected an RGB frame"):
        dots.locate(np.zeros(shape, np.uint8))


def test_floats_are_refused(dots: MouthLocator) -> None:
    with pytest.raises(ValueError, match="float64"):
        dots.locate(np.zeros((10, 10, 3)))


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"format": "other"})
    with pytest.raises(ValueError, match="got 'other'"):
        MouthLocator.load(tmp_path / "other.safetensors")


def test_the_weights_of_the_package_are_small() -> None:
    assert WEIGHTS.stat().st_size < 6e6


def test_the_weights_of_the_package_find_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    locator = MouthLocator.load()
    assert locator.locate(rng.integers(0, 255, (90, 120, 3), np.uint8)) is None


def test_the_shipped_weights_tell_two_people_apart() -> None:
    demo = Path(omnisync_core.__file__).parent / "demo/character.mp4"
    frame = next(iter(read_frames(demo)))
    width = frame.shape[1]
    both, locator = np.concatenate([frame, frame], axis=1), MouthLocator.load()
    alone = locator.locate(frame)
    assert alone is not None
    for speaker, offset in (("left", 0), ("right", width), ((1.5 * width, 0.0), width)):
        box = locator.locate(both, speaker=speaker)
        assert box is not None and abs(box.cx - alone.cx - offset) < 0.2 * alone.side


def test_the_weights_of_the_package_follow_a_speaker_never_trained_on() -> None:
    if "OMNISYNC_DATA" not in os.environ:
        pytest.skip("OMNISYNC_DATA is unset: no clips")
    cv2 = pytest.importorskip("cv2")
    folder = Path(os.environ["OMNISYNC_DATA"]) / "clips" / "train" / "grid_other"
    marks = np.load(folder / "landmarks.npz")["lbbc2a"] / 32
    video = cv2.VideoCapture(str(folder / "lbbc2a.mp4"))
    frames = [video.read()[1][..., ::-1] for _ in range(20)]
    for box, m in zip(MouthLocator.load().follow(frames), marks, strict=False):
        eyes = rearrange(m[76:84], "(eye n) xy -> eye n xy", eye=2).mean(1)
        true = standard_box(*eyes, m[[0, 10, 25, 35]].mean(0))
        assert box is not None
        assert abs(box.cx - true.cx) + abs(box.cy - true.cy) < 0.15 * true.side
        assert box.side == pytest.approx(true.side, rel=0.15)
