"""Guidance and start point for the host's own models: arithmetic here, real models in a host."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

COMFYUI = os.environ.get("COMFYUI_PATH")


@pytest.fixture
def native(pack):
    from omnisync_pack.nodes import native

    return native


class Sampling:
    def __init__(self, sigma_max):
        self.sigma_max = torch.tensor(sigma_max)


class Model:
    """What a MODEL of the host offers before anything is sampled."""

    def __init__(self, sigma_max=1.0):
        self.sigma_max = sigma_max
        self.patches = []

    def clone(self):
        return Model(self.sigma_max)

    def get_model_object(self, name):
        return Sampling(self.sigma_max)

    def set_model_sampler_pre_cfg_function(self, function):
        self.patches.append(function)


GUIDANCE = {"spatial_scale": 2.0, "temporal_scale": 2.0, "profile": "constant"}
SIGMAS = torch.tensor([1.0, 0.9, 0.5, 0.1, 0.0])


@pytest.mark.parametrize("sigma_max", [1.0, 700.0])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.92])
def test_flow_time_and_noise_level_are_inverse(native, sigma_max, t):
    level = native.noise_level(Sampling(sigma_max), t)
    model = SimpleNamespace(model_sampling=Sampling(sigma_max))
    assert native.flow_time(model, torch.tensor([level])) == pytest.approx(t)


@pytest.mark.parametrize(
    ("level", "left"),
    [
        (1.0, [1.0, 0.9, 0.5, 0.1, 0.0]),
        (0.92, [0.92, 0.9, 0.5, 0.1, 0.0]),
        (0.9, [0.9, 0.5, 0.1, 0.0]),
        (0.05, [0.05, 0.0]),
        (0.0, []),
    ],
)
def test_a_schedule_begins_where_it_is_told(native, level, left):
    assert native.cut_sigmas(SIGMAS, level).tolist() == pytest.approx(left)


def test_pictures_are_grouped_as_a_video_vae_does(native):
    # Nine pictures, three latent frames: the first alone, then four and four.
    values = torch.tensor([9.0, 1, 2, 3, 4, 5, 6, 7, 8])[:, None, None].expand(9, 16, 16)
    small = native.to_latent(values, (1, 16, 3, 2, 2))
    assert small.shape == (3, 2, 2)
    assert small[:, 0, 0].tolist() == [9.0, 2.5, 6.5]
    assert native.to_latent(values, (9, 4, 2, 2))[:, 0, 0].tolist() == values[:, 0, 0].tolist()
    assert native.to_latent(values[:1], (1, 16, 3, 2, 2))[:, 0, 0].tolist() == [9.0] * 3


def test_plain_noise_is_the_hosts_own(nodes, native):
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
    *_, noise = nodes.NativeStart().start(Model(), latent, SIGMAS, 0.9, 7)
    expected = torch.randn((1, 16, 3, 4, 4), generator=torch.manual_seed(7))
    assert torch.equal(noise.generate_noise(latent), expected) and noise.seed == 7


def test_guidance_leaves_the_given_model_alone(nodes):
    model = Model()
    (patched,) = nodes.LipGuidance().patch(model, **GUIDANCE)
    assert not model.patches and len(patched.patches) == 1


def test_a_mouth_mask_is_soft_and_follows_the_mouth(nodes, images):
    box = {"x": 8, "y": 8, "width": 16, "height": 16}
    boxes = [[box | {"x": 8 + 2 * i}] for i in range(6)]
    mask, found = nodes.MouthMask().draw(images, 1.0, mouth=boxes)
    assert mask.shape == (6, 40, 48) and found == 6
    assert 0.9 < mask.max() <= 1 and mask.min() < 0.01
    columns = (mask.sum(1) * torch.arange(48)).sum(1) / mask.sum((1, 2))
    assert (columns.diff() > 1).all()
    wide, _ = nodes.MouthMask().draw(images, 2.0, mouth=boxes)
    assert wide.sum() > 2 * mask.sum()


def test_a_mouth_mask_is_black_without_a_mouth(nodes, images):
    mask, found = nodes.MouthMask().draw(images, 1.0, mouth=torch.zeros(1, 40, 48))
    assert found == 0 and not mask.any()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": 3}, "model: expected a MODEL .* got int"),
        ({"spatial_scale": -1.0}, "spatial_scale: expected a number from 0 to 20, got -1.0"),
        ({"temporal_scale": 21.0}, "temporal_scale: expected"),
        ({"floor": 1.5}, "floor: expected a number from 0 to 1"),
        ({"mask": torch.zeros(0, 4, 4)}, r"mask: expected a MASK .* got \(0, 4, 4\)"),
        ({"mask": "white"}, "mask: expected a MASK .* got str"),
    ],
)
def test_bad_guidance_is_refused_before_anything_runs(nodes, fields, told):
    form = {"model": Model(), **GUIDANCE, **fields}
    with pytest.raises(ValueError, match=rf"^OmniSync Lip Guidance \(ST-CFG\): {told}"):
        nodes.LipGuidance().patch(**form)
    with pytest.raises(ValueError, match=rf"^OmniSync Guider \(ST-CFG\): {told}"):
        nodes.Guider().guider(positive=[], cfg=1.0, **form)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"positive": None}, "positive: expected a CONDITIONING, got NoneType"),
        ({"positive": []}, "positive: expected a CONDITIONING, got an empty one"),
        ({"negative": "no"}, "negative: expected a CONDITIONING, got str"),
    ],
)
def test_a_guider_wants_conditions(nodes, fields, told):
    form = {"positive": [[torch.zeros(1, 1, 4), {}]], "cfg": 1.0, **GUIDANCE, **fields}
    with pytest.raises(ValueError, match=rf"^OmniSync Guider \(ST-CFG\): {told}"):
        nodes.Guider().guider(Model(), **form)


def test_a_cfg_wants_a_negative(nodes):
    with pytest.raises(ValueError, match=r"negative: expected a CONDITIONING for a cfg of 3"):
        nodes.Guider().guider(Model(), [], 3.0, **GUIDANCE)


LATENT = {"samples": torch.zeros(1, 16, 3, 4, 4)}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": None}, "model: expected a MODEL, got NoneType"),
        ({"tau": 1.1}, "tau: expected a number from 0 to 1, got 1.1"),
        ({"tau": float("nan")}, "tau: expected a number from 0 to 1, got nan"),
        ({"sigmas": torch.zeros(0)}, r"sigmas: expected a schedule .* got \(0,\)"),
        ({"sigmas": [1.0, 0.0]}, "sigmas: expected a schedule .* got list"),
        ({"latent": None}, "latent: expected a LATENT, got NoneType"),
        ({"latent": {"samples": torch.zeros(1, 2, 3)}}, "latent: expected a video's LATENT"),
        ({"images": torch.zeros(0, 8, 8, 3)}, "images: expected at least one frame"),
        ({"mask": torch.zeros(2)}, r"mask: expected a MASK .* got \(2,\)"),
    ],
)
def test_a_bad_start_is_refused(nodes, fields, told):
    form = {"model": Model(), "latent": LATENT, "sigmas": SIGMAS, "tau": 0.9, "seed": 0, **fields}
    with pytest.raises(ValueError, match=f"^OmniSync Native Start: {told}"):
        nodes.NativeStart().start(**form)


@pytest.mark.skipif(not COMFYUI, reason="COMFYUI_PATH does not name a ComfyUI")
def test_tiny_models_of_the_hosts_own_classes(tmp_path):
    """Every check of native_models.py, in one process of the host's Python."""
    here, output = Path(__file__).parent, tmp_path / "outcome.json"
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    run = subprocess.run(
        [python, str(here / "native_models.py"), COMFYUI, str(output)],
        env={**os.environ, "PYTHONPATH": str(here / "host_shims")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    outcome = json.loads(output.read_text())
    failed = {name: told for name, told in outcome.items() if told is not True}
    assert not failed, "\n".join(f"{name}\n{told}" for name, told in failed.items())
    assert len(outcome) > 25
