"""The built-in clips: plans, and one rendered clip where speech can be made."""

import json

import numpy as np
import pytest

from omnisync_core.errors import UserError
from omnisync_core.evaluation import built_in
from omnisync_core.media import probe_video


def test_every_track_has_clips_in_both_sizes_with_names_of_their_own():
    for size in ("small", "full"):
        found = built_in.plans(size)
        assert {p.track for p in found} == set(built_in.TRACKS)
        assert len({p.name for p in found}) == len(found)
    assert len({p.group for p in built_in.plans("full", tracks=["multilingual"])}) == 8
    assert len({p.group for p in built_in.plans("full", tracks=["style"])}) == 10
    assert sum(p.seconds for p in built_in.plans("small")) < 120


def test_noise_is_as_far_below_the_voice_as_it_says():
    rng = np.random.default_rng(0)
    voice = rng.normal(size=160_000).astype(np.float32) * 0.1
    noisy = built_in._noisy(voice, built_in.Plan("snr", 0, 1, "10 dB"), rng)
    ratio = 20 * np.log10(voice.std() / (noisy - voice).std())
    assert ratio == pytest.approx(10, abs=0.1)


def test_lip_shapes_do_not_depend_on_place_size_and_turn():
    rng = np.random.default_rng(0)
    eyes, lips = np.array([(10.0, 10), (50, 12)]), rng.normal(size=(20, 2)) * 9 + (30, 50)
    turn = 3 * np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
    moved = built_in.lip_shape(eyes @ turn + 7, lips @ turn + 7)
    assert moved == pytest.approx(built_in.lip_shape(eyes, lips))


def test_a_clip_is_rendered_once_and_knows_its_truth(tmp_path):
    plan = built_in.Plan("silence", 0, 0.6, "")
    try:
        (folder,) = built_in.make_all([plan], tmp_path)
    except UserError as error:
        pytest.skip(str(error))
    assert json.loads((folder / "item.json").read_text())["track"] == "silence"
    numbers = np.load(folder / "item.npz")
    assert len(probe_video(folder / "source.mp4").times) == 15 == len(numbers["truth"])
    assert numbers["truth"].max() < 0.02 and not len(numbers["phones"])  # silence is a shut mouth
    before = (folder / "source.mp4").stat().st_mtime_ns
    assert list(built_in.make_all([plan], tmp_path)) == [folder]
    assert (folder / "source.mp4").stat().st_mtime_ns == before
