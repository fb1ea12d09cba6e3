"""The nodes that Lip Sync is made of: together they do the same, and they check each other."""

import pytest
import torch

REGION = "8,8,24,24"


@pytest.fixture
def chain(nodes, tiny, images, audio):
    heard, _ = nodes.AudioEncode().encode(tiny, audio, 25.0, 0, images=images)
    start, _ = nodes.FlowInit().prepare(tiny, images, 0.92, 3, region=REGION)
    return {"model": tiny, "images": images, "encoded_audio": heard, "start": start}


KNOBS = {
    "steps": 2,
    "spatial_scale": 1.0,
    "temporal_scale": 1.0,
    "profile": "constant",
    "solver": "euler",
    "churn": 0.0,
}


def test_the_chain_gives_what_lip_sync_gives(nodes, tiny, images, audio, chain):
    by_hand, report = nodes.Sampler().sample(**chain, **KNOBS)
    at_once = nodes.LipSync().sync(
        audio, 1.0, images=images, model=tiny, steps=2, seed=3, region=REGION
    )
    assert not torch.equal(by_hand, images)
    assert torch.equal(by_hand, at_once[1]) and report == at_once[2]


def test_the_voice_is_encoded_for_as_many_frames_as_asked(nodes, tiny, images, audio):
    encode = nodes.AudioEncode().encode
    assert encode(tiny, audio, 30.0, 0)[1] == 8  # a quarter second, rounded
    assert encode(tiny, audio, 25.0, 11)[1] == 11
    heard, frames = encode(tiny, audio, 25.0, 11, images=images)
    assert frames == 6 and len(heard.heard.times) == 6


def test_start_noise_is_unit_gaussian_and_follows_the_seed(nodes, tiny, images):
    one, found = nodes.FlowInit().prepare(tiny, images, 0.5, 1, region=REGION)
    same, _ = nodes.FlowInit().prepare(tiny, images, 0.5, 1, region=REGION)
    other, _ = nodes.FlowInit().prepare(tiny, images, 0.5, 2, region=REGION)
    assert found == 6 and one.noise[5].shape == (3, 32, 32)
    assert abs(float(one.noise[5].std()) - 1) < 0.05
    assert torch.equal(one.noise[5], same.noise[5])
    assert not torch.equal(one.noise[5], other.noise[5])


def test_a_window_plan_reaches_the_sampler(nodes, images, chain, monkeypatch):
    from omnisync_pack.omnisync_core import editing

    seen = []
    monkeypatch.setattr(
        editing, "edit_frames", lambda *_, options, **__: seen.append(options) or iter(())
    )
    plan, count, frames = nodes.LongVideoChunker().plan(4, 2, images=images)
    nodes.Sampler().sample(**chain, **KNOBS, windows=plan, window=16, overlap=4)
    assert (count, frames) == (2, 6)
    assert (seen[0].window, seen[0].overlap) == (4, 2)


def test_a_video_is_counted_without_loading_it(nodes, clip):
    plan, count, frames = nodes.LongVideoChunker().plan(4, 1, video=str(clip))
    assert (plan.window, count, frames) == (4, 2, 6)


def test_a_longer_voice_than_the_images_is_cut(nodes, tiny, audio, chain):
    exact, _ = nodes.Sampler().sample(**chain, **KNOBS)
    chain["encoded_audio"], _ = nodes.AudioEncode().encode(tiny, audio, 25.0, 50)
    assert torch.equal(nodes.Sampler().sample(**chain, **KNOBS)[0], exact)


def test_parts_of_another_clip_or_model_are_refused(nodes, tiny, audio, images, chain, other_file):
    sample = nodes.Sampler().sample
    short, _ = nodes.AudioEncode().encode(tiny, audio, 25.0, 5)
    with pytest.raises(ValueError, match=r"Sampler: encoded_audio: .* 6 frames, got 5"):
        sample(**{**chain, "encoded_audio": short}, **KNOBS)
    fewer, _ = nodes.FlowInit().prepare(tiny, images[:4], 0.92, 3, region=REGION)
    with pytest.raises(ValueError, match=r"Sampler: start: .* 6 frames, got one for 4"):
        sample(**{**chain, "start": fewer}, **KNOBS)
    other = nodes.ModelLoader().load(str(other_file), device="cpu")[0]
    with pytest.raises(ValueError, match=r"Sampler: start: .* 48 pixels .* got 32"):
        sample(**{**chain, "model": other}, **KNOBS)
    with pytest.raises(ValueError, match=r"Sampler: start: expected the output of OmniSync Flow"):
        sample(**{**chain, "start": None}, **KNOBS)


def test_an_overlap_of_more_than_half_a_window_is_refused(nodes, images):
    with pytest.raises(ValueError, match=r"Chunker: overlap: .* window of 8 frames, got 5"):
        nodes.LongVideoChunker().plan(8, 5, images=images)
