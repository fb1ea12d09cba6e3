"""Bad videos, boxes, folders and disks, as a user meets them: through the command line."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import ffmpeg

from omnisync_core.checkpoint import save_model
from omnisync_core.cli import main
from omnisync_core.config import ModelConfig
from omnisync_core.media import probe_video, read_frames
from omnisync_core.model import OmniSync
from omnisync_core.resume import work_folder

CHARACTER = Path(__file__).parent.parent / "omnisync_core" / "demo" / "character.mp4"
BOX = ["--region", "12,4,40,40"]
QUICK = ["--window", "4", "--overlap", "2", "--steps", "1", "--lossless"]


@pytest.fixture
def weights(tiny: ModelConfig, tmp_path: Path) -> Path:
    """A model that changes pictures."""
    torch.manual_seed(0)
    model = OmniSync(replace(tiny, crop=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    save_model(model, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    sound = "aevalsrc=0.5*sin(900*t)*sin(20*t):s=16000"
    ffmpeg("-f", "lavfi", "-i", sound, "-t", "4", tmp_path / "voice.wav")
    return tmp_path / "voice.wav"


@pytest.fixture
def sync(weights: Path, voice: Path, tmp_path: Path):
    """omnisync sync VIDEO -o out.mkv, with more words; the exit code."""

    def run(video: Path, *words: str, output: str = "out.mkv") -> int:
        files = [str(video), str(voice), "-o", str(tmp_path / output), "--model", str(weights)]
        return main(["sync", *files, "--device", "cpu", *QUICK, *words])

    return run


def _piece(path: Path, *, frames: int, size: str = "64x48", rate: int = 25) -> Path:
    """A test card in short groups of pictures."""
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}", "-frames:v", str(frames)),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "10", path),
    )
    return path


def _joined(folder: Path, *pieces: Path) -> Path:
    """The pieces one after the other, not encoded anew."""
    (folder / "list.txt").write_text("".join(f"file '{piece.name}'\n" for piece in pieces))
    joined = folder / f"joined{pieces[0].suffix}"
    ffmpeg("-f", "concat", "-i", folder / "list.txt", "-c", "copy", joined)
    return joined


def _frames(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path)))


def _unchanged(source: np.ndarray, result: np.ndarray) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(source, result, strict=True)]


def test_a_video_that_changes_its_size_keeps_that_of_its_first_frame(sync, tmp_path):
    first = _piece(tmp_path / "a.ts", frames=6)
    video = _joined(tmp_path, first, _piece(tmp_path / "b.ts", frames=6, size="96x64"))
    assert sync(video, *BOX) == 0
    info = probe_video(tmp_path / "out.mkv")
    assert (info.width, info.height, info.frames) == (64, 48, 12)
    assert not any(_unchanged(_frames(video), _frames(tmp_path / "out.mkv")))


def test_a_video_that_changes_its_rate_keeps_the_time_of_every_frame(sync, tmp_path):
    first = _piece(tmp_path / "a.mp4", frames=6)
    video = _joined(tmp_path, first, _piece(tmp_path / "b.mp4", frames=12, rate=50))
    assert sync(video, *BOX) == 0
    before, after = probe_video(video), probe_video(tmp_path / "out.mkv")
    assert before.variable_rate and before.frames == after.frames == 18
    assert set(np.diff(before.times).round(3)) == {0.02, 0.04}
    np.testing.assert_allclose(after.times, before.times, atol=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_corrupt_stretch_is_told_and_what_can_be_decoded_stays_in_step(
    sync, tmp_path, capsys, suffix
):
    video = _piece(tmp_path / f"in{suffix}", frames=50)
    content = bytearray(video.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, len(content) // 10, dtype=np.uint8)
    middle = len(content) // 2
    content[middle : middle + len(noise)] = noise.tobytes()
    video.write_bytes(content)
    before = probe_video(video)
    assert before.damaged and 30 <= before.frames <= 50 and before.times[-1] > 1.9
    assert sync(video, *BOX) == 0
    assert "damaged in places" in capsys.readouterr().out
    after = probe_video(tmp_path / "out.mkv")
    assert after.frames == before.frames
    np.testing.assert_allclose(after.times, before.times, atol=1e-3)


def test_a_clip_without_a_face_comes_back_bit_for_bit_and_says_so(sync, tmp_path, capsys):
    video = _piece(tmp_path / "in.mp4", frames=8)
    assert sync(video) == 0
    assert "8 frames, 0 edited, 8 without a visible mouth" in capsys.readouterr().out
    assert all(_unchanged(_frames(video), _frames(tmp_path / "out.mkv")))


def test_a_face_that_leaves_and_returns_is_edited_while_it_is_there(sync, tmp_path, capsys):
    gone = "drawbox=color=gray:t=fill:enable='between(n,8,15)',scale=256:-2"
    ffmpeg("-i", CHARACTER, "-an", "-vf", gone, "-frames:v", "24", tmp_path / "in.mp4")
    assert sync(tmp_path / "in.mp4") == 0
    assert "24 frames, 16 edited, 8 without" in capsys.readouterr().out
    same = _unchanged(_frames(tmp_path / "in.mp4"), _frames(tmp_path / "out.mkv"))
    assert same == [False] * 8 + [True] * 8 + [False] * 8


@pytest.mark.parametrize("rows", [[[12, 4, 40, 40]] * 7, [[900, 4, 40, 40]] * 8])
def test_boxes_of_another_clip_are_refused(sync, tmp_path, capsys, rows):
    video = _piece(tmp_path / "in.mp4", frames=8)
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    assert sync(video, "--region", str(tmp_path / "boxes.json")) == 2
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("words", [["--speaker", "64,60"], ["--other", "30,99", "VOICE"]])
def test_a_speaker_outside_the_picture_is_refused(sync, voice, tmp_path, capsys, words):
    video = _piece(tmp_path / "in.mp4", frames=8)
    assert sync(video, *(str(voice) if word == "VOICE" else word for word in words)) == 2
    assert "inside the picture of 64 x 48" in capsys.readouterr().err
    assert not (tmp_path / "out.mkv").exists()


def test_unfinished_work_on_another_video_is_left_alone(sync, tmp_path, capsys):
    video, other = (_piece(tmp_path / name, frames=8) for name in ("in.mp4", "other.mp4"))
    work = work_folder(tmp_path / "out.mkv")
    work.mkdir()
    (work / "key.json").write_text(json.dumps({"video": [str(other.resolve()), 1, 1]}))
    (work / "edits.bin").write_bytes(b"hours of work")
    assert sync(video, *BOX, "--resume") == 2
    assert f"unfinished work on {other.resolve()}" in capsys.readouterr().err
    assert (work / "edits.bin").read_bytes() == b"hours of work"
    assert not (tmp_path / "out.mkv").exists()


# Runs in a mount namespace of its own: small is a disk of 1000 KiB, 650 of them taken by a ballast.
_ON_A_SMALL_DISK = """
import shutil, sys
from pathlib import Path
from omnisync_core.cli import main
small, whole = Path(sys.argv[1]), Path(sys.argv[2])
ballast = small / "ballast"
ballast.write_bytes(bytes(650 * 1024))
arguments = ["sync", *sys.argv[3:], "-o", str(small / "out.mkv"), "--resume"]
assert main(arguments) == 2
left = sorted(path.name for path in small.iterdir())
assert left == [".out.mkv.work", "ballast"], left
assert (small / ".out.mkv.work/state.npz").stat().st_size > 0
ballast.unlink()
assert main(arguments) == 0
assert (small / "out.mkv").read_bytes() == whole.read_bytes()
assert not (small / ".out.mkv.work").exists()
"""


def _small_disks() -> bool:
    """Whether this system lets a test make a disk."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none"]
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run([*probe, "/tmp"], capture_output=True).returncode
    )


@pytest.mark.skipif(not _small_disks(), reason="a small disk cannot be mounted here")
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on_from_there(
    sync, weights, voice, tmp_path
):
    video, small = tmp_path / "in.mkv", tmp_path / "small"
    noise = "nullsrc=size=64x48:rate=25,geq=random(1)*255:128:128"
    ffmpeg("-f", "lavfi", "-i", noise, "-frames:v", "40", "-c:v", "ffv1", video)
    assert sync(video, *BOX) == 0
    small.mkdir()
    words = [str(video), str(voice), "--model", str(weights), "--device", "cpu", *QUICK, *BOX]
    mount = f"mount -t tmpfs -o size=1000k none {small}"
    run = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount"),
            *("sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", _ON_A_SMALL_DISK),
            *(str(small), str(tmp_path / "out.mkv"), *words),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("omnisync: ") and "space" in run.stderr
    assert len(run.stderr.splitlines()) == 1
