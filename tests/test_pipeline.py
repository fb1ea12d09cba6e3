import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from media_files import ffmpeg, make_video, make_voice

from omnisync_core import pipeline
from omnisync_core.config import SyncOptions
from omnisync_core.editing import edit_frames
from omnisync_core.errors import UserError
from omnisync_core.media import probe_video, read_audio, read_frames
from omnisync_core.model import OmniSync
from omnisync_core.pipeline import sync_frames, sync_video, track_mouth
from omnisync_core.progress import Progress, Summary
from omnisync_core.region import Box, Tracking

QUICK = SyncOptions(steps=2, region="12,4,40,40", window=4, overlap=2)
VOICE = np.sin(np.arange(8000) * 0.2).astype(np.float32) * np.linspace(0, 1, 8000, dtype=np.float32)


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


def test_progress_reports_both_stages_to_their_ends(model, frames):
    seen: list[Progress] = []
    sync_frames(model, frames, VOICE, TIMES, options=QUICK, callback=seen.append)
    last = {progress.stage: progress for progress in seen}
    assert [last[stage].done for stage in ("locate", "edit")] == [9, 9]
    edits = [progress.done for progress in seen if progress.stage == "edit"]
    assert edits == sorted(edits)
    assert any(progress.preview is not None for progress in seen)


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
