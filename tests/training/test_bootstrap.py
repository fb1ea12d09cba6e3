from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omnisync_core.config import ModelConfig
from omnisync_core.model import OmniSync
from omnisync_core.training.bootstrap import bootstrap
from omnisync_core.training.pairs import Pools, Voice, load_shard, save_shard
from omnisync_core.training.real import PackedClip

SIDE = 30  # of packed crops for crops of 24


@pytest.fixture
def model(tiny: ModelConfig) -> OmniSync:
    torch.manual_seed(0)
    model = OmniSync(replace(tiny, crop=24)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def _pack(out: Path, *, takes: int = 3, heard: bool = True) -> np.ndarray:
    rng = np.random.default_rng(0)
    names = np.array([f"take{i}" for i in range(takes)])
    crops = rng.integers(0, 255, (takes, 5, SIDE, SIDE, 3)).astype(np.uint8)
    landmarks = rng.uniform(8, 22, (takes, 5, 96, 2)).astype(np.float32)
    save_shard(out / "real_set", {"names": names, "crops": crops, "landmarks": landmarks})
    if heard:
        sounds = rng.integers(-9000, 9000, (takes, 4000)).astype(np.int16)
        np.savez(out / "sounds_set.npz", **dict(zip(names, sounds, strict=True)))
    return crops


def test_every_heard_take_is_dubbed_within_the_models_crop(tmp_path: Path, model: OmniSync):
    crops = _pack(tmp_path)
    verdicts = list(bootstrap(tmp_path, model))
    assert [v.name for v in verdicts] == ["take0", "take1", "take2"] and all(
        v.kept for v in verdicts
    )
    pack = load_shard(tmp_path / "real_set")
    changed = (pack["edited"] != crops).any(-1)
    assert np.array_equal(pack["crops"], crops) and changed.any((1, 2, 3)).all()
    assert not changed[:, :, :3].any() and not changed[:, :, :, -3:].any()


def test_finished_packs_are_left_alone(tmp_path: Path, model: OmniSync):
    _pack(tmp_path)
    assert list(bootstrap(tmp_path, model)) and not list(bootstrap(tmp_path, model))


@pytest.mark.parametrize("lacks", [{"heard": False}, {"takes": 1}])
def test_what_has_no_other_voice_is_named_and_stays(tmp_path: Path, model: OmniSync, lacks):
    _pack(tmp_path, **lacks)
    (verdict,) = bootstrap(tmp_path, model)
    assert not verdict.kept and "not dubbed" in verdict.why
    assert "edited" not in load_shard(tmp_path / "real_set")


def test_dubbed_sources_go_with_real_targets_where_pairs_are_aligned(packed_clip: PackedClip):
    clip = replace(packed_clip, edited=np.zeros_like(packed_clip.crops))
    voice = Voice(np.zeros((2, 60, 8), np.float16))
    pools = Pools(rendered=[], real=[(clip, voice)], size=96, reach=2, drawn=0, occluded=0)
    rng = np.random.default_rng(0)
    windows = [pools.draw(0.9, 1, rng) for _ in range(60)]
    dubbed = [not window.source.any() for window in windows]
    assert 0.3 < np.mean(dubbed) < 0.7 and all(window.target.any() for window in windows)
    other = [pools.draw(0.5, 1, rng) for _ in range(120)]
    assert 0.15 < np.mean([not window.source.any() for window in other]) < 0.45
