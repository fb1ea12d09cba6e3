"""nodes/strip.py: the time line below a node tells what happened in the run."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch


@pytest.fixture
def strip(pack):
    from omnisync_pack.nodes import strip

    return strip


def mouth(openness: float) -> torch.Tensor:
    """A grey crop whose mouth is as dark as it is open."""
    crop = torch.full((3, 96, 96), 0.5)
    crop[:, 50:80, 30:66] -= openness
    return crop


def watch(strip, frames, *, show=None):
    """frames: (crop or None, occluded) each, at 25 fps."""
    seen = strip.Strip(show)
    for i, (crop, occluded) in enumerate(frames):
        finished = SimpleNamespace(index=i, time=i / 25, crop=crop, occluded=occluded)
        seen(SimpleNamespace(finished=finished, total=len(frames)))
    return seen


def test_every_kind_of_frame_is_marked_at_its_place(strip):
    frames = [(mouth(0.2), False), (mouth(1.0), False), (None, False), (mouth(0.5), True)]
    told = watch(strip, frames).told(np.array([0.0, 1.0, 0.5, 0.25]))
    assert told["states"] == "eeso" and told["voice"] == [0.0, 1.0, 0.5, 0.25]
    assert told["opening"][1] == 1.0 and told["opening"][2] is None
    assert told["opening"][0] < told["opening"][3] < 1
    assert (told["frames"], told["seconds"]) == (4, 0.12)


def test_the_pictures_show_the_mouths_that_were_made(strip):
    frames = [(torch.full((3, 32, 32), i / 10 - 1), False) for i in range(20)]
    pictures = watch(strip, frames).told(np.zeros(20))["pictures"]
    assert [one["frame"] for one in pictures] == [1, 3, 6, 8, 11, 13, 16, 18]
    image = pytest.importorskip("PIL.Image")
    for one in pictures:
        data = base64.b64decode(one["picture"].removeprefix("data:image/jpeg;base64,"))
        grey = np.asarray(image.open(io.BytesIO(data))).mean()
        assert grey == pytest.approx(one["frame"] * 12.75, abs=2)


def test_a_long_clip_keeps_its_marks_in_few_columns(strip):
    frames = [(mouth(0.5), False)] * 3000
    frames[1234] = (None, False)
    told = watch(strip, frames).told(np.ones(3000))
    assert len(told["states"]) == len(told["opening"]) == len(told["voice"]) == 600
    assert told["states"].count("s") == 1 and told["states"][1234 // 5] == "s"


def test_a_run_without_any_mouth_has_a_strip_too(strip):
    told = watch(strip, [(None, False)] * 3).told(np.zeros(3))
    assert told["states"] == "sss" and told["opening"] == [None] * 3
    assert all(one["picture"] is None for one in told["pictures"])


def test_what_else_wants_to_hear_of_progress_hears_all_of_it(strip):
    heard = []
    seen = watch(strip, [(mouth(0.1), False)] * 2, show=heard.append)
    seen(SimpleNamespace(finished=None, total=2))
    assert len(heard) == 3


@pytest.fixture
def shown(monkeypatch, pack):
    """What the nodes hand to the page; outside of ComfyUI there is none."""
    from omnisync_pack.nodes import host

    pages = []
    monkeypatch.setattr(host, "shown", lambda result, **ui: pages.append(ui) or result)
    return pages


def test_lip_sync_and_sampler_tell_the_same_story(nodes, tiny, images, audio, clip, shown):
    region = "8,8,24,24"
    form = {"steps": 1, "guidance": 1.0, "seed": 0, "region": region}
    nodes.LipSync().sync(audio, images=images, model=tiny, **form)
    nodes.LipSync().sync(audio, video=str(clip), model=tiny, **form)
    heard, _ = nodes.AudioEncode().encode(tiny, audio, 25.0, 0, images=images)
    start, _ = nodes.FlowInit().prepare(tiny, images, 0.92, 0, region=region)
    knobs = {"spatial_scale": 1.0, "temporal_scale": 1.0, "profile": "constant"}
    nodes.Sampler().sample(tiny, images, heard, start, steps=1, solver="euler", churn=0.0, **knobs)
    at_once, from_file, by_hand = (page["omnisync_strip"] for page in shown)
    assert at_once == by_hand
    assert at_once["states"] == from_file["states"] == "eeeeee"
    assert from_file["voice"] == pytest.approx(at_once["voice"], abs=0.02)
    assert max(at_once["voice"]) == 1.0  # a tone from the first frame to the last


def test_frames_without_a_mouth_are_marked_in_the_strip(
    nodes, tiny, images, audio, shown, tmp_path
):
    boxes = tmp_path / "boxes.json"
    boxes.write_text("[[8,8,24,24],null,[8,8,24,24],[8,8,24,24],null,null]")
    form = {"steps": 1, "guidance": 1.0, "seed": 0, "region": str(boxes)}
    nodes.LipSync().sync(audio, images=images, model=tiny, **form)
    assert shown[0]["omnisync_strip"]["states"] == "eseess"
