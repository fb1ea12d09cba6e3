"""The speaker's own mouth: found among the shot's frames, moved onto the drawn one, and left out
where it does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import omnisync_core
from omnisync_core import editing, own_mouth
from omnisync_core.cli import main
from omnisync_core.composite import take_crop
from omnisync_core.config import SyncOptions
from omnisync_core.editing import edit_frames
from omnisync_core.errors import UserError
from omnisync_core.evaluation.metrics import sharpness
from omnisync_core.guidance import MOUTH_CENTRE
from omnisync_core.media import FrameWriter, read_frames
from omnisync_core.optical_flow import lucas_kanade
from omnisync_core.own_mouth import OwnMouth
from omnisync_core.pipeline import track_mouth
from omnisync_core.region import Box, Tracking

SIZE = 144


def face(opening: float, *, moved: int = 0, light: float = 1.0, size: int = SIZE) -> torch.Tensor:
    """A crop with a mouth that is open so far (0 to 1): lips, a dark inside, striped teeth."""
    scale = size / SIZE
    y, x = torch.meshgrid(torch.arange(size) / scale, torch.arange(size) / scale, indexing="ij")
    x, y = x - SIZE * MOUTH_CENTRE[0] - moved, y - SIZE * MOUTH_CENTRE[1]
    high = 4 + 14 * opening
    picture = torch.tensor([0.4, 0.1, -0.1])[:, None, None].expand(3, size, size).clone()
    picture += 0.05 * torch.sin(x / 9) * torch.cos(y / 7)
    lips = ((x / 30) ** 2 + (y / (high + 4)) ** 2 < 1) & (y > -30)
    picture[:, lips] = torch.tensor([0.3, -0.5, -0.4])[:, None]
    if opening > 0:
        inside = (x / 24) ** 2 + (y / high) ** 2 < 1
        picture[:, inside] = -0.8
        teeth = inside & (y < -high / 3)
        picture[:, teeth] = torch.where(torch.sin(x[teeth] * 1.2) > -0.5, 0.8, -0.2)
    return (light * picture).clamp(-1, 1)


def drawn(picture: torch.Tensor) -> torch.Tensor:
    """A soft drawing of a crop, as a network makes it."""
    return F.avg_pool2d(picture, 7, stride=1, padding=3, count_include_pad=False)


def bank(crops: list[torch.Tensor], **options) -> OwnMouth:
    return OwnMouth(torch.stack([((x + 1) * 127.5).round().byte() for x in crops]), SIZE, **options)


def mouth_of(picture: torch.Tensor) -> torch.Tensor:
    return picture[:, 40:85, 40:104]


SHOT = [face(k / 7) for k in range(8)]


@pytest.mark.parametrize("light", [1.0, 0.15])
@pytest.mark.parametrize("moved", [0, 3])
def test_a_soft_drawing_gets_the_speakers_own_teeth(moved, light):
    shot = [light * one for one in SHOT]
    true = face(5 / 7, moved=moved, light=light)
    worn = bank(shot).wear(drawn(true))
    before = (mouth_of(drawn(true)) - mouth_of(true)).abs().mean()
    after = (mouth_of(worn.edited) - mouth_of(true)).abs().mean()
    assert after < 0.6 * before
    assert worn.own.max() > 0.9


def test_without_opencv_as_well():
    true = face(5 / 7)
    worn = bank(SHOT, flow=lucas_kanade).wear(drawn(true))
    before = (mouth_of(drawn(true)) - mouth_of(true)).abs().mean()
    assert (mouth_of(worn.edited) - mouth_of(true)).abs().mean() < 0.8 * before


def test_away_from_the_mouth_the_edit_stays_bit_for_bit():
    edited = drawn(face(0.4))
    worn = bank(SHOT).wear(edited)
    outside = worn.own == 0
    assert outside[:15].all() and outside[125:].all() and outside[:, :10].all()
    assert torch.equal(worn.edited[:, outside], edited[:, outside])
    assert worn.fine is None


def test_a_mouth_that_the_shot_never_shows_stays_as_it_was_drawn():
    """A photograph: lips that never part have no teeth to give."""
    edited = drawn(face(1.0))
    worn = bank([face(0.0)] * 4).wear(edited)
    inside = slice(58, 66), slice(60, 84)
    assert worn.own[inside].mean() < 0.3
    assert (worn.edited - edited).mean(0)[inside].abs().mean() < 0.1


def test_it_takes_on_the_light_of_the_drawing():
    true = face(5 / 7)
    true = true + torch.linspace(-0.2, 0.2, SIZE)
    worn = bank(SHOT).wear(drawn(true))
    before = (mouth_of(drawn(true)) - mouth_of(true)).abs().mean()
    assert (mouth_of(worn.edited) - mouth_of(true)).abs().mean() < 0.65 * before
    assert (worn.edited - true).mean((1, 2)).abs().max() < 0.02


def test_a_picture_stays_in_use_until_another_is_clearly_more_alike():
    mouth = bank([face(0.50), face(0.52)])
    first = mouth.wear(face(0.50))
    still = mouth.wear(face(0.511))
    fresh = bank([face(0.50), face(0.52)]).wear(face(0.511))
    assert not torch.equal(still.edited, fresh.edited)
    assert (first.edited - face(0.50)).abs().mean() < 0.01


def test_large_faces_keep_the_detail_that_a_crop_has_no_pixels_for():
    shot = [face(k / 7, size=2 * SIZE) for k in range(8)]
    mouth = bank(shot)
    worn = mouth.wear(drawn(face(5 / 7)))
    assert worn.edited.shape == (3, SIZE, SIZE) and worn.fine is not None
    assert worn.fine.shape == (3, 2 * SIZE, 2 * SIZE)
    whole = F.interpolate(worn.edited[None], scale_factor=2, mode="bicubic")[0] + worn.fine
    true, part = face(5 / 7, size=2 * SIZE), (slice(None), slice(80, 170), slice(80, 208))
    soft = F.interpolate(worn.edited[None], scale_factor=2, mode="bicubic")[0]
    assert (whole - true)[part].abs().mean() < 0.9 * (soft - true)[part].abs().mean()
    assert worn.fine[:, :30].abs().max() == 0


def frames_of(crops: list[torch.Tensor]) -> tuple[list[np.ndarray], list[Box]]:
    pictures = [((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy() for x in crops]
    return pictures, [Box(SIZE / 2, SIZE / 2, float(SIZE))] * len(pictures)


def test_a_shots_pictures_are_taken_evenly_and_no_more_than_are_held(monkeypatch):
    monkeypatch.setattr(own_mouth, "_MOST", 3)
    taken = []
    monkeypatch.setattr(own_mouth, "take_crop", lambda f, *_: taken.append(f) or take_crop(f, *_))
    pictures, boxes = frames_of(SHOT)
    OwnMouth.gather(iter(pictures), boxes, SIZE)
    assert [next(i for i, p in enumerate(pictures) if p is t) for t in taken] == [0, 3, 6]


def test_pictures_with_something_in_front_are_left_out():
    class Finder:
        def find(self, crops, clear=None, before=None):
            """Red things are in front."""
            return ((crops[:, 0] > 0.9) & (crops[:, 1] < -0.9)).float()

    covered = face(5 / 7)
    covered[:, 50:, 60:90] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    pictures, boxes = frames_of([face(0.0), covered])
    mouth = OwnMouth.gather(pictures, boxes, SIZE, finder=Finder())
    alone = bank([face(0.0)])
    assert mouth is not None
    edited = drawn(face(5 / 7))
    assert torch.allclose(mouth.wear(edited).edited, alone.wear(edited).edited, atol=0.02)
    assert OwnMouth.gather(pictures[1:], boxes[1:], SIZE, finder=Finder()) is None


def test_frames_are_read_one_shot_ahead_and_no_further(model, frames):
    tracking = Tracking([Box(24.0, 24.0, 40.0)] * len(frames), cuts=(4,))
    times = torch.arange(len(frames)) / 25
    heard = model.encode_audio(torch.zeros(8000), times)
    read = []

    def again():
        for i, frame in enumerate(frames):
            read.append(i)
            yield frame

    options = SyncOptions(window=4, overlap=0)
    edited = edit_frames(model, frames, tracking, heard, options=options, again=again())
    next(edited)
    assert read == [0, 1, 2, 3]
    assert len(list(edited)) == len(frames) - 1 and read == list(range(len(frames)))


def test_a_long_shot_is_read_stretch_by_stretch_and_its_rest_with_the_last(
    model, frames, monkeypatch
):
    monkeypatch.setattr(editing, "_STRETCH", 3)
    shown = np.concatenate([frames, frames])[:11]
    tracking = Tracking([Box(24.0, 24.0, 40.0)] * 11)
    heard = model.encode_audio(torch.zeros(8000), torch.arange(11) / 25)
    read, options = [], SyncOptions(window=2, overlap=0)

    def again():
        for i, frame in enumerate(shown):
            read.append(i)
            yield frame

    counts = []
    for _ in edit_frames(model, shown, tracking, heard, options=options, again=again()):
        counts.append(len(read))
    assert counts == [3, 3, 3, 6, 6, 6, 11, 11, 11, 11, 11]


def test_drawn_reads_nothing_ahead_and_is_what_edit_frames_gives_without_it(model, frames):
    tracking = Tracking([Box(24.0, 24.0, 40.0)] * len(frames))
    heard = model.encode_audio(torch.zeros(8000), torch.arange(len(frames)) / 25)

    def never():
        raise AssertionError("read")
        yield

    options = SyncOptions(window=4, overlap=0, texture="drawn")
    plain = list(edit_frames(model, frames, tracking, heard, options=options, again=never()))
    options = SyncOptions(window=4, overlap=0)
    without = list(edit_frames(model, frames, tracking, heard, options=options))
    own = list(edit_frames(model, frames, tracking, heard, options=options, again=frames))
    assert np.array_equal(plain, without)
    assert not np.array_equal(plain, own)


def test_an_edit_that_changes_nothing_still_gives_the_source(model, frames):
    tracking = Tracking([Box(24.0, 24.0, 40.0)] * len(frames))
    heard = model.encode_audio(torch.zeros(8000), torch.arange(len(frames)) / 25)
    options = SyncOptions(tau=0.0)
    same = list(edit_frames(model, frames, tracking, heard, options=options, again=frames))
    assert np.array_equal(same, frames)


def test_another_texture_is_refused():
    with pytest.raises(UserError, match="texture must be one of own, drawn"):
        SyncOptions(texture="filmed")  # type: ignore[arg-type]


def test_the_command_line_gives_the_demo_sharper_lips(tmp_path):
    demo = Path(omnisync_core.__file__).parent / "demo"
    clip = tmp_path / "clip.mp4"
    shown = list(read_frames(demo / "character.mp4", stop=50))
    with FrameWriter(clip, width=shown[0].shape[1], height=shown[0].shape[0], rate=25) as writer:
        for frame in shown:
            writer.write(frame)
    (box, *_) = track_mouth(shown[:1], np.zeros(1)).track
    detail = {}
    for texture in ("own", "drawn"):
        out = tmp_path / f"{texture}.mkv"
        command = ["sync", str(clip), str(demo / "voice.wav"), "-o", str(out), "--lossless"]
        assert main([*command, "--texture", texture]) == 0
        x, y, half = int(box.cx), int(box.cy - 0.03 * box.side), int(0.2 * box.side)
        mouths = [f[y - half : y + half, x - half : x + half] for f in read_frames(out)]
        assert len(mouths) == len(shown)
        detail[texture] = np.mean([sharpness(one[None]) for one in mouths])
    assert detail["own"] > 1.2 * detail["drawn"]
