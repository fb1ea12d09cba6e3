from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import ffmpeg

from omnisync_core import frame_reader
from omnisync_core.errors import UserError
from omnisync_core.frame_reader import _runs, read_frames, read_plan
from omnisync_core.video_info import probe_video


def numbered(path: Path, *codec: str, frames: int = 20, size: str = "32x32") -> Path:
    """A grey clip whose frame n has the level 20 + 8 n."""
    level = "geq=lum='16+(20+8*N)*219/255':cb=128:cr=128,format=yuv420p"
    source = ["-f", "lavfi", "-i", f"color=s={size}:r=25,{level}"]
    ffmpeg(*source, "-frames:v", str(frames), *codec, path)
    return path


def numbers(frames) -> list[int]:
    return [round((float(frame.mean()) - 20) / 8) for frame in frames]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "numbered.mp4"
    return numbered(path, "-crf", "4", "-g", "8", "-bf", "3")


def test_every_frame_comes_once_and_in_order(clip: Path):
    frames = list(read_frames(clip))
    assert frames[0].shape == (32, 32, 3) and frames[0].dtype == np.uint8
    assert numbers(frames) == list(range(20))


@pytest.mark.parametrize("start,stop", [(0, 3), (1, 2), (7, 9), (13, None), (5, 99), (20, None)])
def test_any_stretch_can_be_read(clip: Path, start: int, stop: int | None):
    got = numbers(read_frames(clip, start=start, stop=stop))
    assert got == list(range(20))[start:stop]


@pytest.mark.parametrize(
    "name,codec",
    [
        ("open.mp4", ["-c:v", "libx265", "-x265-params", "open-gop=1:keyint=6:log-level=none"]),
        ("stream.ts", ["-g", "6", "-bf", "3"]),
        ("old.avi", ["-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "6"]),
        ("web.webm", ["-c:v", "libvpx", "-auto-alt-ref", "1", "-crf", "4", "-b:v", "1M"]),
        ("motion.avi", ["-c:v", "mjpeg", "-q:v", "2"]),
    ],
)
def test_a_seek_never_lands_on_another_frame(tmp_path: Path, name: str, codec: list[str]):
    path = numbered(tmp_path / name, *codec)
    assert numbers(read_frames(path, start=9, stop=12)) == [9, 10, 11]


def test_uneven_times_lose_and_repeat_nothing(clip: Path, tmp_path: Path):
    path = tmp_path / "uneven.mkv"
    uneven = ["-vf", "settb=1/1000,setpts=N*N*9+N*2", "-fps_mode", "passthrough"]
    ffmpeg("-i", clip, *uneven, "-crf", "4", path)
    assert numbers(read_frames(path)) == list(range(20))


def test_frames_are_turned_as_the_player_turns_them(clip: Path, tmp_path: Path):
    source = tmp_path / "half.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x32", "-frames:v", "2", "-crf", "1", source)
    ffmpeg("-display_rotation", "90", "-i", source, "-c", "copy", tmp_path / "turned.mp4")
    upright, turned = next(read_frames(source)), next(read_frames(tmp_path / "turned.mp4"))
    np.testing.assert_array_equal(turned, np.rot90(upright))


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("span", ["tv", "pc"])
def test_the_files_own_matrix_and_range_are_used(tmp_path: Path, matrix: str, span: str):
    swscale = {"bt709": "bt709", "smpte170m": "smpte170m", "bt2020nc": "bt2020"}[matrix]
    convert = f"scale=flags=accurate_rnd:out_color_matrix={swscale}:out_range={span}"
    tags = f"format=yuv444p,setparams=colorspace={matrix}:range={span}"
    red, path = f"color=c=0xC83C28:s=32x32,format=gbrp,{convert},{tags}", tmp_path / "red.mp4"
    ffmpeg("-f", "lavfi", "-i", red, "-frames:v", "1", "-c:v", "libx264", "-qp", "0", path)
    colour = next(read_frames(path)).mean(axis=(0, 1))
    np.testing.assert_allclose(colour, [0xC8, 0x3C, 0x28], atol=2)  # a wrong matrix: 10 and more


def test_alpha_is_ignored(tmp_path: Path):
    path = tmp_path / "clear.mov"
    ffmpeg("-f", "lavfi", "-i", "color=c=0xC83C28@0.1:s=32x32,format=argb", "-frames:v", "1", path)
    np.testing.assert_allclose(next(read_frames(path)).mean((0, 1)), [0xC8, 0x3C, 0x28], atol=2)


@pytest.mark.parametrize(
    "plan",
    [
        [0, 1, 2, 3, 2, 1, 0, 1, 2],
        [19, 18, 17, 16, 15, 14, 13],
        [17, 18, 19, 19, 19, 19],
        [3, 1, 19, 0, 0, 5],
        [],
    ],
)
def test_a_plan_is_followed_in_any_order(
    clip: Path, plan: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(frame_reader, "SEGMENT_FRAMES", 4)
    assert numbers(read_plan(clip, np.array(plan, dtype=np.int64))) == plan


def test_a_short_clip_is_decoded_once_for_many_rounds(clip: Path):
    plan = np.tile(np.arange(20), 5)
    assert numbers(read_plan(clip, plan)) == plan.tolist()


@given(st.lists(st.integers(0, 9), max_size=40))
def test_runs_add_up_to_the_plan(plan: list[int]):
    again: list[int] = []
    for first, last in _runs(np.array(plan, dtype=np.int64)):
        step = 1 if last >= first else -1
        again += range(first, last + step, step)
    assert again == plan


def test_closing_the_reader_ends_ffmpeg(clip: Path, monkeypatch: pytest.MonkeyPatch):
    children = []
    start = frame_reader.Ffmpeg.__enter__
    monkeypatch.setattr(
        frame_reader.Ffmpeg, "__enter__", lambda self: children.append(self) or start(self)
    )
    frames = read_frames(clip, info=probe_video(clip))
    next(frames)
    frames.close()
    assert children[-1].wait() is not None and children[-1].stdout.closed


def test_a_file_that_shrank_meanwhile_is_an_error(clip: Path, tmp_path: Path):
    info = probe_video(clip)
    ffmpeg("-i", clip, "-frames:v", "5", tmp_path / "shorter.mp4")
    with pytest.raises(UserError, match=r"5 frames where 20 .* 0\.160 s"):
        list(read_frames(tmp_path / "shorter.mp4", info=info))


def test_a_negative_start_is_refused(clip: Path):
    with pytest.raises(ValueError, match="0 or more"):
        next(read_frames(clip, start=-1))
