import os

import numpy as np
import pytest
import torch


@pytest.fixture
def form() -> dict:
    """The visible knobs, and a region, so that no mouth has to be found in noise."""
    return {"steps": 1, "guidance": 1.0, "seed": 0, "region": "8,8,24,24"}


def test_images_come_back_edited_in_the_region_alone(nodes, tiny, images, audio, form):
    _, result, report = nodes.LipSync().sync(audio, images=images, model=tiny, **form)
    changed = (result != images).any(-1)
    assert changed[:, 8:32, 8:32].any()
    changed[:, 8:32, 8:32] = False
    assert not changed.any()
    assert report == "6 frames, 6 edited"


def test_images_give_a_video_that_says_that_it_was_edited(nodes, tiny, images, audio, form):
    from omnisync_pack.omnisync_core import __version__
    from omnisync_pack.omnisync_core.media import probe_video

    video, *_ = nodes.LipSync().sync(audio, images=images, model=tiny, fps=24.0, **form)
    info = probe_video(video)
    assert (info.frames, info.rate, info.width, info.has_audio) == (6, 24, 48, True)
    text = video.read_bytes()
    assert f"Edited with OmniSync {__version__}".encode() in text and b"omnisync_model" in text


def test_a_region_file_that_changed_is_read_again(nodes, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text("[]")
    before = nodes.LipSync.IS_CHANGED(region=str(boxes), steps=2)
    os.utime(boxes, (1, 1))
    assert nodes.LipSync.IS_CHANGED(region=str(boxes), steps=2) != before
    assert (
        nodes.LipSync.IS_CHANGED(region="auto") == nodes.LipSync.IS_CHANGED(region="0,0,9,9") == 0
    )


def test_an_untrained_model_returns_the_very_images(nodes, untrained, images, audio, form):
    _, result, _ = nodes.LipSync().sync(audio, images=images, model=untrained, **form)
    assert torch.equal(result, images)


def test_frames_without_a_mouth_pass_and_are_counted(nodes, tiny, images, audio, form, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text("[[8,8,24,24],null,null,null,null,null]")
    form["region"] = str(boxes)
    _, result, report = nodes.LipSync().sync(audio, images=images, model=tiny, **form)
    assert torch.equal(result[1:], images[1:])
    assert report == "6 frames, 1 edited, 5 without a visible mouth passed through unchanged"


def test_a_longer_voice_loops_the_images(nodes, tiny, images, audio, form):
    form |= {"length": "loop", "fps": 40.0}
    _, result, _ = nodes.LipSync().sync(audio, images=images, model=tiny, **form)
    assert len(result) == 10  # a quarter second at 40 fps
    assert torch.equal(result[6:, 0], images[:4, 0])


def test_a_video_streams_from_file_to_file(nodes, tiny, clip, audio, form, fake_host):
    from omnisync_pack.omnisync_core.media import probe_video, read_frames

    video, none, report = nodes.LipSync().sync(
        audio, video=str(clip), model=tiny, lossless=True, **form
    )
    info = probe_video(video)
    assert none is None and info.frames == 6 and info.has_audio
    pairs = zip(read_frames(video), read_frames(clip), strict=True)
    assert all(np.array_equal(a[:, 33:], b[:, 33:]) for a, b in pairs)
    assert fake_host.bar[-1] == 1.0 and report.startswith("6 frames")


def test_a_cancelled_video_goes_on_from_its_finished_windows(
    nodes, tiny, clip, audio, form, fake_host
):
    form |= {"window": 2, "overlap": 0, "lossless": True}
    calls, cancel_at = 0, 0

    def count(*_):
        nonlocal calls
        calls += 1
        if calls == cancel_at:
            raise KeyboardInterrupt

    def run():
        video, *_ = nodes.LipSync().sync(audio, video=str(clip), model=tiny, **form)
        return video.read_bytes()

    hook = tiny.network.transformer.register_forward_pre_hook(count)
    try:
        whole = run()
        windows, cancel_at = calls, calls + 3
        with pytest.raises(KeyboardInterrupt):
            run()
        calls = 0
        assert run() == whole and calls == windows - 2  # two were finished
        calls = 0
        assert run() == whole and calls == windows  # a run that ended well leaves nothing behind
    finally:
        hook.remove()


def test_another_sound_is_played_than_the_lips_follow(nodes, tiny, clip, audio, form):
    from omnisync_pack.omnisync_core.media import read_audio

    quiet = {**audio, "waveform": 0.01 * audio["waveform"]}
    loudness = []
    for sound in (None, quiet):
        video, *_ = nodes.LipSync().sync(audio, video=str(clip), model=tiny, sound=sound, **form)
        loudness.append(float(np.abs(read_audio(video)).max()))
        video.unlink()
    assert loudness[1] < 0.05 * loudness[0]
    with pytest.raises(ValueError, match="sound: expected"):
        nodes.LipSync().sync(audio, video=str(clip), model=tiny, sound=[1], **form)


def test_guidance_multiplies_both_scales(pack):
    from omnisync_pack.nodes.sync_video import _options

    options = _options(2.0, None, {"temporal_scale": 1.5, "steps": 3})
    assert (options.spatial_scale, options.temporal_scale, options.steps) == (2.0, 3.0, 3)


def test_a_plan_takes_the_place_of_the_windows_below(nodes, images):
    from omnisync_pack.nodes.sync_video import _options

    plan, *_ = nodes.LongVideoChunker().plan(4, 1, images=images)
    options = _options(1.0, plan, {"window": 16, "overlap": 8})
    assert (options.window, options.overlap) == (4, 1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "video, images: expected one of the two, got neither"),
        ({"video": "a.mp4", "images": torch.zeros(1, 8, 8, 3)}, "got both"),
        ({"video": "gone.mp4"}, "gone.mp4"),
        ({"images": torch.zeros(1, 8, 8, 3), "audio": None}, "audio: expected a sound"),
        ({"images": torch.zeros(1, 8, 8, 3), "model": 3}, "model: .* got int; connect"),
        ({"images": torch.zeros(1, 8, 8, 3), "steps": 0}, "steps: expected a whole number from 1"),
        ({"images": torch.zeros(1, 8, 8, 3), "region": "90,90,9,9"}, "for the region"),
    ],
)
def test_bad_input_names_the_node_and_the_input(nodes, tiny, audio, form, fields, told):
    form |= {"audio": audio, "model": tiny, **fields}
    with pytest.raises(ValueError, match=f"(?s)^OmniSync Lip Sync: .*{told}"):
        nodes.LipSync().sync(**form)


def test_other_nodes_files_of_the_run_say_that_it_was_edited(nodes, tiny, images, audio, form):
    from omnisync_pack.omnisync_core import __version__

    saved = {"workflow": {}}
    nodes.LipSync().sync(audio, images=images, model=tiny, extra_pnginfo=saved, **form)
    told = saved.pop("omnisync")
    assert saved == {"workflow": {}}
    assert told == f"Edited with OmniSync {__version__}: model {tiny.network.config.name}"
