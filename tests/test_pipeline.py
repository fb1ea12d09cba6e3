import errno
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from omnisync_core import pipeline, resume
from omnisync_core.config import ModelConfig, SyncOptions
from omnisync_core.errors import UserError
from omnisync_core.media import probe_video, read_audio, read_frames
from omnisync_core.model import OmniSync
from omnisync_core.pipeline import (
    Progress,
    Summary,
    edit_frames,
    sync_frames,
    sync_video,
    track_mouth,
)
from omnisync_core.region import Box, Tracking

QUICK = SyncOptions(steps=2, region="12,4,40,40", window=4, overlap=2)
VOICE = np.sin(np.arange(8000) * 0.2).astype(np.float32) * np.linspace(0, 1, 8000, dtype=np.float32)


def ffmpeg(*arguments: str | Path) -> bytes:
    """Run the bundled ffmpeg; what it writes to standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout


def make_video(path: Path, *, frames: int = 9, rate: str = "25", size: str = "64x48") -> Path:
    scaled = ["-vf", f"scale={size.replace('x', ':')},format=yuv444p", "-frames:v", str(frames)]
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={rate}", *scaled, path)
    return path


def make_voice(path: Path, *, seconds: float = 0.36, rate: int = 22050) -> Path:
    sound = f"aevalsrc=0.5*sin(900*t)*sin(20*t):s={rate}"
    ffmpeg("-f", "lavfi", "-i", sound, "-t", str(seconds), path)
    return path


@pytest.fixture
def untrained(tiny: ModelConfig) -> OmniSync:
    return OmniSync(replace(tiny, crop=32)).eval()


@pytest.fixture
def model(untrained: OmniSync) -> OmniSync:
    """A tiny model whose weights are no longer at their start, so that it changes pictures."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in untrained.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return untrained


@pytest.fixture
def frames() -> np.ndarray:
    """Nine frames [9, 48, 64, 3] of a pattern that moves a little."""
    y, x = np.mgrid[0:48, 0:64]
    rows = [[x * 3, y * 5, 128 + 60 * np.sin((x + i) / 6)] for i in range(9)]
    return np.array(rows).transpose(0, 2, 3, 1).astype(np.uint8)


TIMES = np.arange(9) / 25


def run(model: OmniSync, frames: np.ndarray, options: SyncOptions = QUICK) -> np.ndarray:
    return sync_frames(model, frames, VOICE, TIMES[: len(frames)], options=options)


def test_an_untrained_model_returns_every_frame_bit_for_bit(untrained, frames):
    assert np.array_equal(run(untrained, frames), frames)


def test_outside_the_box_no_pixel_changes_and_inside_some_do(model, frames):
    changed = (run(model, frames) != frames).any(-1)
    assert changed[:, 14:34, 22:42].any()
    changed[:, 4:44, 12:52] = False
    assert not changed.any()


def test_a_start_at_zero_returns_the_source(model, frames):
    assert np.array_equal(run(model, frames, replace(QUICK, tau=0.0)), frames)


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(model, frames):
    again = run(model, frames)
    assert np.array_equal(run(model, frames), again)
    assert not np.array_equal(run(model, frames, replace(QUICK, seed=1)), again)


def test_the_largest_seed_works(model, frames):
    assert run(model, frames[:2], replace(QUICK, seed=2**63 - 1, churn=0.5)).shape == (2, 48, 64, 3)


def test_another_voice_gives_other_frames(model, frames):
    other = sync_frames(model, frames, VOICE[::-1].copy(), TIMES, options=QUICK)
    assert not np.array_equal(run(model, frames), other)


def test_the_window_changes_the_result_by_less_than_its_edit(model, frames):
    # What the network sees differs, the noise of a frame does not.
    whole = run(model, frames, replace(QUICK, window=16, overlap=4)).astype(int)
    parts = run(model, frames).astype(int)
    edit = np.abs(whole - frames).mean()
    assert np.abs(whole - parts).mean() < 0.25 * edit


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_frames_comes_out_as_it_went_in(model, frames, count):
    assert run(model, frames[:count]).shape == frames[:count].shape


def test_every_length_up_to_200_keeps_its_frames_in_order(tiny):
    model = OmniSync(replace(tiny, crop=8)).eval()
    sound = model.encode_audio(torch.zeros(16000), torch.arange(200) / 25)
    options = SyncOptions(tau=0.0)  # not a step: what is tested is what comes in and goes out
    frames = [np.full((12, 12, 3), i, np.uint8) for i in range(200)]
    for count in range(1, 201):
        tracking = Tracking([Box(6.0, 6.0, 8.0)] * count)
        edited = edit_frames(
            model,
            frames[:count],
            tracking,
            sound.span(0, count),
            options=options,
            noise=lambda i, crop: crop,
        )
        assert [int(frame[0, 0, 0]) for frame in edited] == list(range(count))


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_when_memory_runs_out_fewer_frames_are_edited_at_once(model, frames, monkeypatch, error):
    real, sizes = pipeline.edit_window, []

    def small(model, source, *rest, **options):
        sizes.append(len(source))
        if len(source) > 2:
            raise error
        return real(model, source, *rest, **options)

    monkeypatch.setattr(pipeline, "edit_window", small)
    whole, summary = run(model, frames), Summary()
    assert len(whole) == len(frames) and (whole != frames).any(axis=(1, 2, 3)).all()
    sizes.clear()
    sync_frames(model, frames, VOICE, TIMES, options=QUICK, summary=summary)
    assert summary.halved == 1 and sizes.count(4) == 1  # it remembers


def test_too_little_memory_for_one_frame_is_said(model, frames, monkeypatch):
    def none(*_, **__):
        raise MemoryError

    monkeypatch.setattr(pipeline, "edit_window", none)
    with pytest.raises(UserError, match="single frame"):
        run(model, frames)


def test_another_error_is_not_taken_for_want_of_memory(model, frames, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(pipeline, "edit_window", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        run(model, frames)


def test_what_covers_the_mouth_stays_in_front_of_the_edit(model):
    clip = Path(pipeline.__file__).parent / "demo" / "character.mp4"
    shown = np.stack(list(read_frames(clip, stop=6)))
    box = track_mouth(shown, TIMES[:6]).track[0]
    assert box is not None
    x, y, side = int(box.cx), int(box.cy), int(box.side)
    covered = np.zeros(shown.shape[1:3], bool)
    covered[y - side // 16 : y + side // 2, x : x + side // 4] = True
    shown[2:, covered] = (30, 60, 160)
    options = replace(QUICK, region="auto", overlap=0)
    change = {}
    for occlusion in ("off", "auto"):
        summary = Summary()
        edited = sync_frames(
            model,
            shown,
            VOICE,
            TIMES[:6],
            options=replace(options, occlusion=occlusion),
            summary=summary,
        )
        difference = np.abs(edited.astype(int) - shown)[2:].mean((0, 3))
        change[occlusion] = difference[covered].mean(), difference[~covered].sum()
    assert change["auto"][0] < 0.1 * change["off"][0]
    assert change["auto"][1] > 0.5 * change["off"][1]  # the rest of the mouth is edited
    assert summary.occluded == 4


def test_frames_without_a_mouth_pass_through_and_are_counted(model, frames, tmp_path):
    rows = [[12, 4, 40, 40]] * 4 + [None] * 3 + [[12, 4, 40, 40]] * 2
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    summary = Summary()
    options = replace(QUICK, region=str(tmp_path / "boxes.json"))
    result = sync_frames(model, frames, VOICE, TIMES, options=options, summary=summary)
    same = [np.array_equal(a, b) for a, b in zip(result, frames, strict=True)]
    assert same == [False] * 4 + [True] * 3 + [False] * 2
    assert (summary.frames, summary.edited) == (9, 6)


def test_a_video_without_any_mouth_comes_back_as_it_was(model, frames, tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps([None] * 9))
    options = replace(QUICK, region=str(tmp_path / "boxes.json"))
    assert np.array_equal(run(model, frames, options), frames)


def test_no_more_than_a_window_of_frames_is_held(model, frames):
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for i in range(24):
            taken += 1
            yield frames[i % 9]

    times = np.arange(24) / 25
    audio = model.encode_audio(torch.from_numpy(VOICE), torch.from_numpy(times))
    tracking = Tracking([Box(32, 24, 40)] * 24)
    held = []
    for given, _ in enumerate(edit_frames(model, source(), tracking, audio, options=QUICK)):
        held.append(taken - given)
    assert len(held) == 24 and max(held) <= QUICK.window


def test_progress_reports_both_stages_to_their_ends(model, frames):
    seen: list[Progress] = []
    sync_frames(model, frames, VOICE, TIMES, options=QUICK, callback=seen.append)
    last = {progress.stage: progress for progress in seen}
    assert [last[stage].done for stage in ("locate", "edit")] == [9, 9]
    edits = [progress.done for progress in seen if progress.stage == "edit"]
    assert edits == sorted(edits)
    assert any(progress.preview is not None for progress in seen)


def test_a_cut_ends_a_run_and_so_does_a_missing_box():
    box = Box(8, 8, 8)
    tracking = Tracking([box, box, None, box, box, box], cuts=(4,))
    assert list(tracking.runs()) == [(0, 2), (3, 4), (4, 6)]


def test_a_jump_back_to_the_first_frame_is_a_cut():
    tracking = Tracking([Box(i, 8, 8) for i in range(4)]).at(np.array([0, 1, 2, 3, 0, 1]))
    assert tracking.cuts == (4,)
    assert [box.cx for box in tracking.track if box] == [0, 1, 2, 3, 0, 1]


def test_frames_that_turn_back_or_stay_are_no_cut():
    tracking = Tracking([Box(i, 8, 8) for i in range(4)]).at(np.array([0, 1, 2, 3, 3, 2, 1]))
    assert tracking.cuts == ()


def test_a_hard_cut_is_found(frames):
    blocks = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    other = np.repeat(blocks.repeat(8, 0).repeat(8, 1)[None], 9, 0)
    both = np.concatenate([frames, other])
    assert track_mouth(both, np.arange(18) / 25, region="full").cuts == (9,)


def test_no_frames_or_times_that_do_not_fit_are_refused(model, frames):
    with pytest.raises(UserError, match="at least one frame"):
        sync_frames(model, frames[:0], VOICE, TIMES[:0])
    with pytest.raises(UserError, match="9 frames and 3 times"):
        sync_frames(model, frames, VOICE, TIMES[:3])


# From file to file.


@pytest.mark.parametrize(
    ("rate", "size"), [("25", "64x48"), ("30000/1001", "65x47"), ("24000/1001", "48x64")]
)
def test_frames_rate_and_size_stay_what_they_were(model, tmp_path, rate, size):
    video = make_video(tmp_path / "in.mp4", rate=rate, size=size)
    options = replace(QUICK, region="full")
    summary = sync_video(
        model, video, make_voice(tmp_path / "v.wav"), tmp_path / "o.mp4", options=options
    )
    info = probe_video(tmp_path / "o.mp4")
    assert f"{info.width}x{info.height}" == size
    assert (info.frames, info.rate) == (9, Fraction(rate))
    assert (summary.frames, summary.edited) == (9, 9)
    assert info.has_audio


def test_an_untrained_model_returns_the_file_bit_for_bit(untrained, tmp_path):
    video = make_video(tmp_path / "in.mp4")
    options = replace(QUICK, lossless=True)
    sync_video(
        untrained, video, make_voice(tmp_path / "v.wav"), tmp_path / "o.mkv", options=options
    )
    source, result = (np.stack(list(read_frames(p))) for p in (video, tmp_path / "o.mkv"))
    assert np.array_equal(source, result)


def test_the_sound_is_the_new_voice_cut_to_the_video_to_the_sample(untrained, tmp_path):
    video, voice = make_video(tmp_path / "in.mp4"), make_voice(tmp_path / "v.wav", seconds=1)
    options = replace(QUICK, lossless=True)
    sync_video(untrained, video, voice, tmp_path / "o.mkv", options=options)
    raw = ["-f", "s16le", "-c:a", "pcm_s16le", "-"]
    expected, found = (
        np.frombuffer(ffmpeg("-i", path, "-map", "0:a", *raw), np.int16)
        for path in (voice, tmp_path / "o.mkv")
    )
    assert len(found) == 22050 * 9 // 25
    assert np.array_equal(found, expected[: len(found)])


@pytest.mark.parametrize(
    ("mode", "seconds", "frames"),
    [
        ("silence", 0.2, 9),
        ("silence", 0.8, 9),
        ("cut", 0.2, 5),
        ("cut", 0.8, 9),
        ("loop", 0.8, 20),
        ("bounce", 0.8, 20),
        ("freeze", 0.8, 20),
        ("loop", 0.2, 9),
    ],
)
def test_length_modes(untrained, tmp_path, mode, seconds, frames):
    video = make_video(tmp_path / "in.mp4")
    voice = make_voice(tmp_path / "v.wav", seconds=seconds)
    options = replace(QUICK, length=mode, lossless=True)
    summary = sync_video(untrained, video, voice, tmp_path / "o.mkv", options=options)
    source = list(read_frames(video))
    order: dict[str, Callable[[int], int]] = {
        "loop": lambda i: i % 9,
        "bounce": lambda i: 8 - abs(i % 16 - 8),
        "freeze": lambda i: min(i, 8),
    }
    expected = [source[order.get(mode, int)(i)] for i in range(frames)]
    assert np.array_equal(np.stack(list(read_frames(tmp_path / "o.mkv"))), np.stack(expected))
    assert summary.frames == frames


def test_an_uneven_frame_rate_is_kept(untrained, tmp_path):
    even = make_video(tmp_path / "even.mp4")
    uneven = ["-vf", "select='not(eq(n,3)+eq(n,4)+eq(n,6))'", "-fps_mode", "passthrough"]
    ffmpeg("-i", even, *uneven, tmp_path / "in.mp4")
    before = probe_video(tmp_path / "in.mp4")
    assert before.variable_rate
    voice = make_voice(tmp_path / "v.wav")
    sync_video(untrained, tmp_path / "in.mp4", voice, tmp_path / "o.mp4", options=QUICK)
    np.testing.assert_allclose(probe_video(tmp_path / "o.mp4").times, before.times, atol=1e-3)


def test_the_comparison_is_twice_as_wide(untrained, tmp_path):
    video, voice = make_video(tmp_path / "in.mp4"), make_voice(tmp_path / "v.wav")
    both = tmp_path / "both.mp4"
    sync_video(untrained, video, voice, tmp_path / "o.mp4", options=QUICK, compare=both)
    info = probe_video(both)
    assert (info.width, info.height, info.frames) == (128, 48, 9)


def test_a_run_cancelled_while_editing_leaves_nothing(untrained, tmp_path):
    video, voice = make_video(tmp_path / "in.mp4"), make_voice(tmp_path / "v.wav")
    (tmp_path / "out").mkdir()

    def cancel(progress: Progress) -> None:
        if progress.stage == "edit" and progress.done > 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        sync_video(
            untrained,
            video,
            voice,
            tmp_path / "out/o.mp4",
            options=QUICK,
            callback=cancel,
            compare=tmp_path / "out/both.mp4",
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_voice_from_memory_is_as_good_as_a_file(untrained, tmp_path):
    video = make_video(tmp_path / "in.mp4")
    sync_video(untrained, video, (VOICE[None], 16000), tmp_path / "o.mp4", options=QUICK)
    assert probe_video(tmp_path / "o.mp4").has_audio


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


def test_two_people_get_their_own_voices_in_one_run(model, tmp_path, monkeypatch):
    video = make_video(tmp_path / "two.mp4", size="96x48")
    left, right = make_voice(tmp_path / "a.wav"), make_voice(tmp_path / "b.wav", seconds=0.2)
    boxes = {"left": Box(24, 24, 40.0), "right": Box(72, 24, 40.0)}

    def track(frames, times, *, region="auto", speaker="auto", callback=None):
        return Tracking([boxes[speaker]] * len(times))

    monkeypatch.setattr(pipeline, "track_mouth", track)
    options = replace(QUICK, region="auto", speaker="left", lossless=True)
    changed = {}
    for name, others in (("one", []), ("both", [("right", right)])):
        sync_video(model, video, left, tmp_path / f"{name}.mkv", options=options, others=others)
        pairs = zip(read_frames(video), read_frames(tmp_path / f"{name}.mkv"), strict=True)
        changed[name] = [(a != b).any(-1).any(0) for a, b in pairs]
    assert all(row[:48].any() and not row[48:].any() for row in changed["one"])
    assert all(row[:48].any() and row[48:].any() for row in changed["both"])
    sound = read_audio(tmp_path / "both.mkv")
    alone = read_audio(tmp_path / "one.mkv")
    assert np.abs(sound[:3000]).mean() > 1.3 * np.abs(alone[:3000]).mean()  # both at once


def test_several_speakers_and_resume_are_refused_together(model, tmp_path):
    video, voice = make_video(tmp_path / "v.mp4"), make_voice(tmp_path / "a.wav")
    with pytest.raises(UserError, match="one speaker after the other"):
        sync_video(
            model,
            video,
            voice,
            tmp_path / "out.mp4",
            others=[("right", voice)],
            work=tmp_path / "work",
        )
    assert not (tmp_path / "out.mp4").exists()


def test_another_speaker_of_no_known_kind_is_refused_before_any_work(model, tmp_path):
    video, voice = make_video(tmp_path / "v.mp4"), make_voice(tmp_path / "a.wav")
    with pytest.raises(UserError, match="speaker"):
        sync_video(model, video, voice, tmp_path / "out.mp4", others=[("nobody", voice)])
