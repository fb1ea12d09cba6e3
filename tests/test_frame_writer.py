import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from omnisync_core import __version__, ffmpeg
from omnisync_core.audio_files import read_audio
from omnisync_core.errors import UserError
from omnisync_core.ffmpeg import Ffmpeg
from omnisync_core.frame_reader import read_frames
from omnisync_core.frame_writer import FrameWriter, check_output
from omnisync_core.video_info import Display, probe_video

RATE = Fraction(25)


def noise(frames: int = 4, *, width: int = 32, height: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def smooth(frames: int = 4, *, width: int = 64, height: int = 48) -> np.ndarray:
    """Slow gradients in all three colours, of mean levels that no codec has to bend."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [60 + 100 * x / width, 60 + 100 * y / height, 160 - 80 * x / width]
    return np.stack([np.stack(planes, axis=-1).round().astype(np.uint8)] * frames)


def write(path: Path, frames: np.ndarray, **options) -> Path:
    height, width = frames.shape[1:3]
    options = {"rate": RATE, **options}
    with FrameWriter(path, width=width, height=height, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "OUT.MOV"])
@pytest.mark.parametrize("size", [(32, 24), (33, 25), (1, 1)])
def test_lossless_is_exact_to_the_bit(tmp_path: Path, name: str, size: tuple[int, int]):
    frames = noise(width=size[0], height=size[1])
    path = write(tmp_path / name, frames, lossless=True)
    np.testing.assert_array_equal(np.stack(list(read_frames(path))), frames)


@pytest.mark.parametrize("size", [(33, 25), (32, 25), (2, 2), (1, 1), (720, 2)])
def test_any_size_comes_out_as_it_went_in(tmp_path: Path, size: tuple[int, int]):
    path = write(tmp_path / "out.mp4", noise(2, width=size[0], height=size[1]))
    info = probe_video(path)
    assert (info.width, info.height, info.frames) == (*size, 2)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt470bg", "bt2020nc"])
def test_the_lossy_round_trip_shifts_no_colour(tmp_path: Path, matrix: str):
    frames = smooth()
    path = write(tmp_path / "out.mp4", frames, display=Display(matrix=matrix))
    back = np.stack(list(read_frames(path))).astype(float)
    assert (
        np.abs((back - frames).mean(axis=(0, 1, 2))).max() < 0.5
    )  # ffmpeg's own defaults: 1.1 and more
    assert np.abs(back - frames).max() <= 6


def test_display_tags_survive(tmp_path: Path):
    display = Display(
        pixel_aspect=Fraction(1001, 1000),
        matrix="bt2020nc",
        primaries="bt2020",
        transfer="arib-std-b67",
    )
    path = write(tmp_path / "out.mp4", smooth(2), display=display)
    assert probe_video(path).display == display


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60000/1001", "25", "7/2"])
def test_rates_stay_exact(tmp_path: Path, rate: str):
    info = probe_video(write(tmp_path / "out.mp4", noise(9), rate=Fraction(rate)))
    assert info.rate == Fraction(rate) and not info.variable_rate


def test_uneven_times_are_kept_to_the_tick(tmp_path: Path):
    times = np.cumsum([0, 3003, 3003, 1502, 9009, 1, 4500]) / 90000
    frames = noise(7)
    path = write(tmp_path / "out.mp4", frames, times=times, seconds=0.3, lossless=True)
    info = probe_video(path)
    np.testing.assert_allclose(info.times, times, atol=1e-9)
    assert info.duration == pytest.approx(0.3, abs=1e-4)
    np.testing.assert_array_equal(np.stack(list(read_frames(path))), frames)


def test_matroska_keeps_uneven_times_to_the_millisecond(tmp_path: Path):
    times = np.cumsum([0, 3003, 3003, 1502, 9009, 900, 4500]) / 90000
    info = probe_video(write(tmp_path / "out.mkv", noise(7), times=times))
    np.testing.assert_allclose(info.times, times, atol=0.00051)


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_clips_work(tmp_path: Path, frames: int):
    even = probe_video(write(tmp_path / "even.mp4", noise(frames)))
    times = np.array([0.0, 0.7])[:frames]
    uneven = probe_video(write(tmp_path / "uneven.mp4", noise(frames), times=times))
    assert even.frames == uneven.frames == frames
    np.testing.assert_allclose(uneven.times, times)


def test_the_file_says_that_it_was_edited(tmp_path: Path):
    path = write(tmp_path / "out.mp4", noise(), metadata={"omnisync_model": "mini"})
    lines: list[str] = []
    with Ffmpeg(["-i", str(path)], on_line=lines.append) as child:
        child.wait()
    log = "\n".join(lines)
    assert f"Edited with OmniSync {__version__}" in log
    assert any(line.split() == ["omnisync_model", ":", "mini"] for line in lines)


def test_the_index_comes_first_so_that_browsers_can_start(tmp_path: Path):
    data = write(tmp_path / "out.mp4", noise()).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize("lossless", [False, True])
def test_the_sound_is_as_long_as_told_and_in_place(tmp_path: Path, name: str, lossless: bool):
    rate, clicks = 22050, np.zeros((2, 11025), dtype=np.float32)
    clicks[:, 5000:5010] = 0.9
    sound = {"audio": (clicks, rate), "seconds": 0.64, "lossless": lossless}
    heard = read_audio(write(tmp_path / name, noise(16), **sound), rate=rate)
    assert len(heard) == round(0.64 * rate)
    assert 5000 <= np.abs(heard).argmax() < 5010


def test_a_longer_sound_is_cut(tmp_path: Path):
    sound = np.ones((1, 16000), dtype=np.float32) * 0.1
    path = write(tmp_path / "out.mkv", noise(4), audio=(sound, 16000), seconds=0.16)
    assert len(read_audio(path)) == 2560


def test_an_existing_file_stays_until_the_new_one_is_whole(tmp_path: Path):
    path = write(tmp_path / "out.mp4", noise(2))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        with FrameWriter(path, width=32, height=24, rate=RATE) as writer:
            writer.write(noise(1)[0])
            raise KeyboardInterrupt
    assert path.read_bytes() == before and names(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize(
    "count,message", [(0, "1 frame or more"), (2, "3 frames"), (4, "one more")]
)
def test_a_wrong_number_of_frames_leaves_no_file(tmp_path: Path, count: int, message: str):
    times = np.arange(3) * 0.04 if count else None
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "out.mp4", noise(count), times=times)
    assert not names(tmp_path)


@pytest.mark.parametrize("frame", [np.zeros((24, 32)), np.zeros((32, 24, 3), dtype=np.uint8)])
def test_a_frame_of_another_kind_is_refused(tmp_path: Path, frame: np.ndarray):
    with pytest.raises(ValueError, match="expected a uint8 frame"):
        with FrameWriter(tmp_path / "out.mp4", width=32, height=24, rate=RATE) as writer:
            writer.write(frame)
    assert not names(tmp_path)


@pytest.mark.parametrize(
    "times", [np.array([0.1, 0.2]), np.array([0, 0.2, 0.2]), np.zeros((2, 2)), np.zeros(0)]
)
def test_times_that_do_not_rise_from_zero_are_refused(tmp_path: Path, times: np.ndarray):
    with pytest.raises(ValueError, match="start at 0 and rise"):
        write(tmp_path / "out.mp4", noise(2), times=times)


@pytest.mark.parametrize(
    "name,message",
    [
        ("out.avi", r"\.mp4, \.mov, \.mkv"),
        ("out", r"\.mp4, \.mov, \.mkv"),
        ("missing/out.mp4", "create it first"),
        ("folder.mp4", "add a file name"),
        ("in.mp4", "one of the inputs"),
    ],
)
def test_an_output_that_cannot_be_is_refused_early(tmp_path: Path, name: str, message: str):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "in.mp4").touch()
    with pytest.raises(UserError, match=message):
        check_output(tmp_path / name, inputs=[tmp_path / "in.mp4"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        check_output(tmp_path / "out.mp4")


def test_checking_an_output_leaves_nothing(tmp_path: Path):
    check_output(tmp_path / "out.mp4")
    assert not names(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for ffmpeg")
def test_a_full_disk_is_told_in_ffmpegs_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    full = tmp_path / "ffmpeg"
    full.write_text("#!/bin/sh\necho '[out#0] Error: No space left on device' >&2\nexit 1\n")
    full.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "ffmpeg_path", lambda: str(full))
    with pytest.raises(UserError, match=r"No space left on device\); free some space"):
        write(tmp_path / "out.mp4", noise(50, width=128, height=128))
    assert names(tmp_path) == ["ffmpeg"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_leaves_neither_a_file_nor_ffmpeg(tmp_path: Path):
    script = f"""
import signal, sys, numpy as np
from fractions import Fraction
from omnisync_core.frame_writer import FrameWriter
signal.signal(signal.SIGINT, signal.default_int_handler)
options = dict(rate=Fraction(25), audio=(np.zeros((2, 480000), np.float32), 48000))
with FrameWriter({str(tmp_path / "out.mp4")!r}, width=64, height=64, **options) as w:
    print(w._child._child.pid, flush=True)
    while True:
        w.write(np.zeros((64, 64, 3), np.uint8))
"""
    root, quiet = Path(__file__).parents[1], subprocess.DEVNULL
    command = [sys.executable, "-c", script]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, cwd=root)
    assert run.stdout is not None
    child = int(run.stdout.readline())
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=60) != 0
    run.stdout.close()
    assert not names(tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
