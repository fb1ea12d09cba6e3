import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from media_files import ffmpeg, make_voice

from omnisync_core import resume
from omnisync_core.config import SyncOptions
from omnisync_core.errors import UserError
from omnisync_core.pipeline import sync_video
from omnisync_core.progress import Progress

QUICK = SyncOptions(steps=2, region="12,4,40,40", window=4, overlap=2)


class Killed(BaseException):
    """Stands for whatever ends a run in the middle: nothing catches it."""


def _kill_after(frames: float) -> Callable[[Progress], None]:
    def callback(progress: Progress) -> None:
        if progress.stage == "edit" and progress.done >= frames:
            raise Killed

    return callback


@pytest.fixture
def clip(tmp_path) -> dict:
    """A clip of 30 frames with a cut and two frames without a mouth, as arguments of sync_video."""
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-vf"),
        *("negate=enable='gte(n,17)'", "-frames:v", "30", "-pix_fmt", "yuv444p"),
        tmp_path / "in.mp4",
    )
    boxes = [[12 + 0.2 * i, 4, 40, 40] for i in range(30)]
    boxes[8] = boxes[9] = None
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return {
        "video": tmp_path / "in.mp4",
        "audio": make_voice(tmp_path / "voice.wav", seconds=1.2),
        "options": replace(QUICK, region=str(tmp_path / "boxes.json"), lossless=True),
    }


@pytest.mark.parametrize("killed_at", [0.5, 3, 6.5, 9, 13, 18, 24, 29.9])
def test_a_killed_run_goes_on_and_gives_the_file_of_an_uninterrupted_one(
    model, clip, tmp_path, killed_at
):
    whole, parts, work = tmp_path / "whole.mkv", tmp_path / "parts.mkv", tmp_path / "work"
    complete = sync_video(model, output=whole, **clip)
    with pytest.raises(Killed):
        sync_video(model, output=parts, work=work, callback=_kill_after(killed_at), **clip)
    assert work.exists() and not parts.exists() and not list(tmp_path.glob(".*part*"))
    resumed = sync_video(model, output=parts, work=work, **clip)
    assert parts.read_bytes() == whole.read_bytes()
    assert (resumed.frames, resumed.edited) == (complete.frames, complete.edited) == (30, 28)
    assert resumed.windows < complete.windows or killed_at < 6
    assert not work.exists()


@pytest.mark.parametrize("killed_at", [6.5, 13, 24])
def test_anchors_and_memory_survive_a_kill(model, clip, tmp_path, killed_at):
    whole, parts, work = tmp_path / "whole.mkv", tmp_path / "parts.mkv", tmp_path / "work"
    clip["options"] = replace(clip["options"], keyframe_interval=3, replay=3)
    sync_video(model, output=whole, **clip)
    with pytest.raises(Killed):
        sync_video(model, output=parts, work=work, callback=_kill_after(killed_at), **clip)
    sync_video(model, output=parts, work=work, **clip)
    assert parts.read_bytes() == whole.read_bytes()


def test_a_run_killed_twice_goes_on_twice(model, clip, tmp_path):
    whole, parts, work = tmp_path / "whole.mkv", tmp_path / "parts.mkv", tmp_path / "work"
    sync_video(model, output=whole, **clip)
    for killed_at in (6, 20):
        with pytest.raises(Killed):
            sync_video(model, output=parts, work=work, callback=_kill_after(killed_at), **clip)
    sync_video(model, output=parts, work=work, **clip)
    assert parts.read_bytes() == whole.read_bytes()


def test_a_kill_in_the_middle_of_writing_loses_no_more_than_a_window(model, clip, tmp_path):
    whole, parts, work = tmp_path / "whole.mkv", tmp_path / "parts.mkv", tmp_path / "work"
    sync_video(model, output=whole, **clip)
    with pytest.raises(Killed):
        sync_video(model, output=parts, work=work, callback=_kill_after(20), **clip)
    with (work / "edits.bin").open("ab") as edits:
        edits.write(b"half a record")
    sync_video(model, output=parts, work=work, **clip)
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", ["voice", "options"])
def test_the_work_of_another_run_is_not_used(model, clip, tmp_path, change):
    work, output = tmp_path / "work", tmp_path / "out.mkv"
    with pytest.raises(Killed):
        sync_video(model, output=output, work=work, callback=_kill_after(20), **clip)
    if change == "voice":
        make_voice(clip["audio"], seconds=1.1)
    else:
        clip["options"] = replace(clip["options"], seed=5)
    fresh = sync_video(model, output=tmp_path / "fresh.mkv", **clip)
    again = sync_video(model, output=output, work=work, **clip)
    assert again.windows == fresh.windows
    assert output.read_bytes() == (tmp_path / "fresh.mkv").read_bytes()


def test_a_work_folder_that_cannot_be_made_is_refused(model, clip, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be kept"):
        sync_video(model, output=tmp_path / "out.mkv", work=tmp_path / "file" / "work", **clip)
    assert not (tmp_path / "out.mkv").exists()


def test_a_disk_that_fills_up_is_one_sentence_and_what_is_finished_stays(
    model, clip, tmp_path, monkeypatch
):
    saved = []

    def full(path: Path, arrays: dict) -> None:
        saved.append(path)
        if len(saved) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, arrays)

    save, work = resume._save, tmp_path / "work"
    monkeypatch.setattr(resume, "_save", full)
    with pytest.raises(UserError, match="No space left"):
        sync_video(model, output=tmp_path / "out.mkv", work=work, **clip)
    assert not (tmp_path / "out.mkv").exists() and (work / "state.npz").exists()
    monkeypatch.undo()
    sync_video(model, output=tmp_path / "out.mkv", work=work, **clip)
    whole = tmp_path / "whole.mkv"
    sync_video(model, output=whole, **clip)
    assert (tmp_path / "out.mkv").read_bytes() == whole.read_bytes()
