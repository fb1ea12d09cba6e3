from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_files import ffmpeg

from omnisync_core.errors import UserError
from omnisync_core.video_info import probe_video

PICTURE = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=0.48"]
SOUND = ["-f", "lavfi", "-i", "sine=d=0.48"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames with B-frames, and a sound; the index at the front."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    codec = ["-pix_fmt", "yuv420p", "-g", "6", "-bf", "2", "-movflags", "+faststart"]
    ffmpeg(*PICTURE, *SOUND, *codec, path)
    return path


def test_a_plain_clip_is_described_exactly(clip: Path):
    info = probe_video(clip)
    assert (info.width, info.height, info.frames, info.rate) == (64, 48, 12, 25)
    assert info.has_audio and not info.variable_rate
    np.testing.assert_allclose(info.times, np.arange(12) / 25, atol=1e-12)
    assert info.duration == pytest.approx(0.48)


def test_rotation_swaps_the_sides_and_the_pixel_aspect(clip: Path, tmp_path: Path):
    ffmpeg(*PICTURE, "-vf", "setsar=16/15", "-pix_fmt", "yuv420p", tmp_path / "wide.mp4")
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "wide.mp4", "-c", "copy", path)
    info = probe_video(path)
    assert (info.width, info.height) == (48, 64)
    assert info.display.pixel_aspect == Fraction(15, 16)


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60000/1001", "12"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_rates_are_exact_even_where_the_clock_rounds(tmp_path: Path, rate: str, suffix: str):
    path = tmp_path / f"clip{suffix}"
    source = f"testsrc=s=32x32:r={rate}:d=0.5"
    ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", path)
    info = probe_video(path)
    assert info.rate == Fraction(rate) and not info.variable_rate


def test_uneven_times_are_reported_to_the_tick(tmp_path: Path):
    path, ticks = tmp_path / "uneven.mp4", np.array([n * 1500 + n * n * 37 for n in range(12)])
    uneven = ["-vf", "settb=1/90000,setpts=N*1500+N*N*37", "-fps_mode", "passthrough"]
    clock = ["-enc_time_base", "1/90000", "-video_track_timescale", "90000"]
    ffmpeg(*PICTURE, *uneven, *clock, "-pix_fmt", "yuv420p", path)
    info = probe_video(path)
    assert info.variable_rate
    np.testing.assert_allclose(info.times, ticks / 90000, atol=1e-9)


def test_times_start_at_zero_when_the_stamps_do_not(clip: Path, tmp_path: Path):
    path = tmp_path / "late.mkv"
    both = ["-itsoffset", "0.37", "-i", clip, "-i", clip, "-map", "0:v", "-map", "1:a"]
    ffmpeg(*both, "-c", "copy", path)
    info = probe_video(path)
    assert info.times[0] == 0 and info.rate == 25
    assert info.clock_start == pytest.approx(0.37, abs=0.03)


def test_frames_outside_the_edit_list_are_not_counted(clip: Path, tmp_path: Path):
    path = tmp_path / "edited.mp4"
    ffmpeg("-ss", "0.28", "-i", clip, "-c", "copy", path)
    assert probe_video(path).frames == 5


def test_a_stream_without_stamps_gets_an_even_grid(clip: Path, tmp_path: Path):
    ffmpeg("-i", clip, "-c", "copy", "-an", tmp_path / "raw.h264")
    info = probe_video(tmp_path / "raw.h264")
    assert info.frames == 12 and not info.variable_rate and not info.has_audio


def test_colour_tags_come_from_the_file_or_from_its_size(clip: Path, tmp_path: Path):
    tags = "colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
    path = tmp_path / "hdr.mp4"
    ffmpeg(*PICTURE, "-vf", f"format=yuv420p10le,setparams={tags}", "-c:v", "libx264", path)
    display = probe_video(path).display
    assert (display.matrix, display.primaries, display.transfer) == (
        "bt2020nc",
        "bt2020",
        "smpte2084",
    )
    assert probe_video(clip).display.matrix == "smpte170m"


def test_a_gif_is_a_video(tmp_path: Path):
    ffmpeg(*PICTURE, tmp_path / "clip.gif")
    assert probe_video(tmp_path / "clip.gif").frames == 12


@pytest.mark.parametrize("name", ["still.png", "still.jpg", "still.bmp"])
def test_a_still_picture_is_refused(tmp_path: Path, name: str):
    ffmpeg(*PICTURE, "-frames:v", "1", tmp_path / name)
    with pytest.raises(UserError, match="still picture"):
        probe_video(tmp_path / name)


def test_a_cover_picture_is_no_video(tmp_path: Path):
    ffmpeg(*PICTURE, "-frames:v", "1", tmp_path / "cover.png")
    song = [*SOUND, "-i", tmp_path / "cover.png", "-map", "0", "-map", "1", "-c:v", "copy"]
    ffmpeg(*song, "-disposition:v", "attached_pic", tmp_path / "song.m4a")
    with pytest.raises(UserError, match="only sound"):
        probe_video(tmp_path / "song.m4a")


def test_text_is_no_video(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("not a film\n" * 50)
    with pytest.raises(UserError, match=r"make sense|still"):
        probe_video(tmp_path / "notes.txt")


def test_a_file_without_its_index_is_refused(clip: Path, tmp_path: Path):
    late = tmp_path / "late_index.mp4"
    ffmpeg("-i", clip, "-c", "copy", late)
    late.write_bytes(late.read_bytes()[: late.stat().st_size // 2])
    with pytest.raises(UserError, match="moov"):
        probe_video(late)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cut_off_file_names_its_last_good_time(clip: Path, tmp_path: Path, suffix: str):
    whole, half = tmp_path / f"whole{suffix}", tmp_path / f"half{suffix}"
    ffmpeg("-i", clip, "-c", "copy", "-movflags", "+faststart", whole)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    with pytest.raises(UserError, match=r"last good frame is at 0\.\d+ s"):
        probe_video(half)


def test_a_changed_file_is_looked_at_again(clip: Path, tmp_path: Path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes())
    assert probe_video(path).frames == 12
    ffmpeg("-i", clip, "-frames:v", "2", path)
    assert probe_video(path).frames == 2


def test_the_caller_may_change_its_times(clip: Path):
    probe_video(clip).times[:] = -1
    assert probe_video(clip).times[0] == 0
