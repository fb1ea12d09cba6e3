"""Training clips out of any talking videos."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from omnisync_core.audio import AudioEncoder
from omnisync_core.cli import main
from omnisync_core.config import preset
from omnisync_core.errors import UserError
from omnisync_core.media import FrameWriter
from omnisync_core.region import Box
from omnisync_core.training.pairs import load_shard
from omnisync_core.training.prepare import load_pools
from omnisync_core.training.real import LIPS, PACKED, PackedClip
from omnisync_core.training.talking import (
    TAKE,
    Listener,
    Take,
    Verdict,
    carry_template,
    measure_sync,
    sources_in,
    takes_of,
)
from omnisync_core.training.voice import VoiceHeads

SIZE = 220


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice that was never trained: files and shapes are those of a real one."""
    torch.manual_seed(0)
    config = preset("mini")
    both = {"encoder": AudioEncoder(config), "heads": VoiceHeads(config.audio_width)}
    tensors = {f"{k}.{n}": v for k, m in both.items() for n, v in m.state_dict().items()}
    path = tmp_path_factory.mktemp("voice") / "voice.safetensors"
    save_file(tensors, path)
    return path


def _face(opening: float, *, turn: float = 0.0, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """A packed crop with texture in its upper part and a mouth that is that far open."""
    rng = np.random.default_rng(0)
    crop = cv2.resize(rng.uniform(60, 190, (12, 12, 3)).astype(np.float32), (PACKED, PACKED))
    centre = (PACKED // 2, round(0.475 * PACKED))
    cv2.ellipse(crop, centre, (24, 2 + round(opening)), 0, 0, 360, (25, 10, 10), -1)
    matrix = cv2.getRotationMatrix2D((PACKED / 2, PACKED / 2), np.degrees(turn), 1)
    matrix[:, 2] += shift
    moved = cv2.warpAffine(crop, matrix, (PACKED, PACKED), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(moved, 0, 255).astype(np.uint8)


def test_the_mean_face_follows_turns_and_shifts() -> None:
    moves = [(0.02 * np.sin(i / 3), (2 * np.sin(i / 4), i / 5 - 2)) for i in range(20)]
    crops = np.stack([_face(6 + 5 * np.sin(i), turn=t, shift=s) for i, (t, s) in enumerate(moves)])
    landmarks = carry_template(crops)
    assert landmarks is not None and landmarks.shape == (20, 96, 2)
    middle = landmarks[10]
    for (turn, shift), points in zip(moves, landmarks, strict=True):
        matrix = cv2.getRotationMatrix2D((PACKED / 2, PACKED / 2), np.degrees(turn), 1)
        base = cv2.getRotationMatrix2D((PACKED / 2, PACKED / 2), np.degrees(moves[10][0]), 1)
        matrix[:, 2] += shift
        base[:, 2] += moves[10][1]
        still = np.linalg.solve(base[:, :2], (middle - base[:, 2]).T).T
        np.testing.assert_allclose(points, still @ matrix[:, :2].T + matrix[:, 2], atol=1.5)


def test_a_face_that_cannot_be_followed_is_told() -> None:
    assert carry_template(np.zeros((5, PACKED, PACKED, 3), np.uint8)) is None


@pytest.mark.parametrize("late", [-3, 0, 5])
def test_lips_that_follow_the_sound_are_found_with_their_lag(late: int) -> None:
    times = np.arange(0, 5, 0.02)
    heard = np.convolve(np.random.default_rng(1).normal(size=len(times)), np.ones(9) / 9, "same")
    seen = np.interp(1 + (np.arange(TAKE) - late) / 25, times, heard)
    crops = np.stack([_face(9 + 14 * value) for value in seen])
    landmarks = carry_template(crops)
    assert landmarks is not None
    agreement, lag = measure_sync(crops, landmarks, (times, heard), 1.0)
    assert lag == late and agreement > 0.8
    other = np.convolve(np.random.default_rng(2).normal(size=len(times)), np.ones(9) / 9, "same")
    assert measure_sync(crops, landmarks, (times, other), 1.0)[0] < agreement - 0.2


def _video(path: Path, frames: int, *, sound: bool = True) -> None:
    audio = np.random.default_rng(0).normal(size=(1, 16000)).astype(np.float32) * 0.1
    with FrameWriter(
        path,
        width=64,
        height=64,
        rate=Fraction(25),
        audio=(audio, 16000) if sound else None,
        seconds=frames / 25,
    ) as writer:
        for i in range(frames):
            writer.write(np.full((64, 64, 3), 100 + i % 9, np.uint8))


def test_videos_without_face_or_sound_are_dropped_with_the_reason(
    tmp_path: Path, voice: Path
) -> None:
    _video(tmp_path / "empty.mp4", 5)
    (tmp_path / "broken.mov").write_bytes(b"nothing")
    listener = Listener(voice)
    said = {p.name: list(takes_of(p, p.stem, listener)) for p in sources_in(tmp_path)}
    assert all(isinstance(v, Verdict) and not v.kept for found in said.values() for v in found)
    assert "no face" in said["empty.mp4"][0].why


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none"):
        sources_in(tmp_path)


@pytest.fixture
def face_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The locator would not take a pattern for a face, and no untrained voice agrees with it."""
    from omnisync_core.pipeline import Tracking
    from omnisync_core.training import talking

    box = Box(SIZE / 2, SIZE / 2, SIZE / 1.25)
    monkeypatch.setattr(talking, "track_mouth", lambda frames, times: Tracking([box] * len(times)))
    monkeypatch.setattr(talking, "_AGREE", 0.0)


def _talking(path: Path, *, sound: bool, blur: float = 0) -> None:
    """3.2 s at 50 frames a second of a mouth that opens and closes."""
    audio = np.random.default_rng(0).normal(size=(1, 6 * 16000)).astype(np.float32) * 0.1
    path.parent.mkdir(parents=True, exist_ok=True)
    with FrameWriter(
        path,
        width=SIZE,
        height=SIZE,
        rate=Fraction(50),
        audio=(audio, 16000) if sound else None,
        seconds=3.2,
    ) as writer:
        for i in range(160):
            face = cv2.resize(_face(6 + 5 * np.sin(i / 5)), (SIZE, SIZE))
            writer.write(cv2.GaussianBlur(face, (0, 0), blur) if blur else face)


@pytest.mark.usefixtures("face_everywhere")
def test_the_command_line_packs_takes_that_training_draws(
    tmp_path: Path, voice: Path, capsys: pytest.CaptureFixture
) -> None:
    _talking(tmp_path / "videos" / "speaker.mp4", sound=True)
    out = tmp_path / "out"
    assert main(["prepare", str(tmp_path / "videos"), "--voice", str(voice), "-o", str(out)]) == 0
    assert "1 kept, 0 dropped" in capsys.readouterr().out
    (packed,) = out.glob("real_*")
    assert load_shard(packed)["crops"].shape == (1, TAKE, PACKED, PACKED, 3)
    window = load_pools(out).draw(0.9, 2, np.random.default_rng(0))
    assert len(window.source) == 2 and window.heard


@pytest.mark.usefixtures("face_everywhere")
def test_silent_videos_and_pictures_teach_looks_without_a_voice(
    tmp_path: Path, voice: Path, capsys: pytest.CaptureFixture
) -> None:
    source, out = tmp_path / "generated", tmp_path / "out"
    _talking(source / "clip.mp4", sound=False)
    cv2.imwrite(str(source / "00001.png"), cv2.resize(_face(5), (SIZE, SIZE)))
    assert main(["prepare", str(source), "--voice", str(voice), "-o", str(out)]) == 0
    assert "2 kept, 0 dropped" in capsys.readouterr().out
    pools = load_pools(out)
    rng = np.random.default_rng(0)
    assert not any(pools.draw(t, 4, rng).heard for t in (0.3, 0.9, 0.9, 0.9))


@pytest.mark.usefixtures("face_everywhere")
def test_the_sound_of_voxceleb_lies_beside_its_videos(tmp_path: Path, voice: Path) -> None:
    video = tmp_path / "mp4" / "id00012" / "21Uxsk56VDQ" / "00001.mp4"
    _talking(video, sound=False)
    listener = Listener(voice)
    found = {r.why for r in takes_of(video, "a", listener) if isinstance(r, Verdict)}
    assert found == {"no sound: teaches looks, not lips"}
    _talking(tmp_path / "with_sound.mp4", sound=True)
    beside = tmp_path / "aac" / "id00012" / "21Uxsk56VDQ" / "00001.m4a"
    beside.parent.mkdir(parents=True)
    (tmp_path / "with_sound.mp4").rename(beside)  # what is read is its sound
    takes = [r for r in takes_of(video, "a", listener) if not isinstance(r, Verdict)]
    assert len(takes) == 1 and takes[0].sound is not None


@pytest.mark.usefixtures("face_everywhere")
def test_blurred_videos_are_dropped(tmp_path: Path, voice: Path) -> None:
    _talking(tmp_path / "soft.mp4", sound=True, blur=4)
    (verdict,) = takes_of(tmp_path / "soft.mp4", "soft", Listener(voice))
    assert isinstance(verdict, Verdict) and "blurred" in verdict.why


@pytest.mark.usefixtures("face_everywhere")
def test_packs_of_a_larger_model_are_larger(tmp_path: Path, voice: Path) -> None:
    listener = Listener(voice)
    listener.side = 240
    _talking(tmp_path / "speaker.mp4", sound=True)
    (take,) = (r for r in takes_of(tmp_path / "speaker.mp4", "a", listener) if isinstance(r, Take))
    assert take.clip.crops.shape == (TAKE, 240, 240, 3)
    assert take.clip.landmarks[:, LIPS].mean(0)[:, 0].mean() == pytest.approx(120, abs=8)


def test_a_corpus_with_landmarks_is_packed_with_them(
    tmp_path: Path, voice: Path, packed_clip: PackedClip, capsys: pytest.CaptureFixture
) -> None:
    source, out = tmp_path / "corpus", tmp_path / "out"
    _talking(source / "a.mp4", sound=True)
    points = packed_clip.landmarks[:1] * SIZE / PACKED
    np.savez(source / "landmarks.npz", a=np.repeat(points * 32, 160, axis=0).astype(np.int16))
    assert main(["prepare", str(source), "--voice", str(voice), "-o", str(out)]) == 0
    assert "1 kept, 0 dropped" in capsys.readouterr().out
    assert load_shard(out / "real_corpus")["crops"].shape == (1, 160, PACKED, PACKED, 3)
    assert load_pools(out).draw(0.9, 2, np.random.default_rng(0)).heard


def test_a_source_that_is_not_there_is_refused(
    tmp_path: Path, voice: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["prepare", str(tmp_path / "none"), "--voice", str(voice), "-o", str(tmp_path)]
    assert main(command) == 2
    assert "there is no" in capsys.readouterr().err
