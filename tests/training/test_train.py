import json
from pathlib import Path

import numpy as np
import pytest
import torch

from omnisync_core.checkpoint import load_model
from omnisync_core.config import ModelConfig
from omnisync_core.model import OmniSync
from omnisync_core.training.pairs import Pools, RenderedClip, Voice, Window
from omnisync_core.training.train import (
    Sitting,
    TrainOptions,
    around_mouth,
    collate,
    draw_times,
    loss_of,
    noise_like,
)

OPTIONS = TrainOptions(frames=2, batch=3, minutes=0.001)


def _pools(config: ModelConfig, *, seed: int = 0) -> Pools:
    """Three rendered clips of noise, 16 pixels wide."""
    rng = np.random.default_rng(7)
    clips = []
    for _ in range(3):
        source, target = rng.integers(0, 255, (2, 4, 16, 16, 3)).astype(np.uint8)
        voice = Voice(rng.normal(size=(2, 30, config.audio_width)).astype(np.float32))
        clips.append(RenderedClip(source, target, np.full((4, 2), 8.0), voice, 0.1))
    draws = np.random.default_rng(seed)
    return Pools(rendered=clips, real=[], size=16, reach=config.audio_reach, rng=draws)


def _sitting(config: ModelConfig, run: Path) -> Sitting:
    torch.manual_seed(0)
    run.mkdir(exist_ok=True)
    return Sitting(_pools(config), OmniSync(config), run, OPTIONS)


def test_flow_times_are_drawn_in_range_and_mostly_high() -> None:
    t = draw_times(2000, np.random.default_rng(0))
    assert t.min() >= 0.02 and t.max() <= 1 and np.mean(t > 0.6) > 0.5


def test_collated_pictures_fill_minus_one_to_one(tiny: ModelConfig) -> None:
    pools = _pools(tiny)
    batch = collate([pools.draw(0.5, 2) for _ in range(3)], np.full(3, 0.5))
    assert batch.source.shape == (3, 2, 3, 16, 16) and batch.windows.shape == (3, 2, 13, 32)
    assert batch.target.min() >= -1 and batch.target.max() <= 1 and batch.target.std() > 0.3


def test_the_view_around_the_mouth_holds_the_mouth() -> None:
    pictures = np.zeros((2, 48, 48, 3), np.uint8)
    pictures[:, 30, 20] = 255
    nothing = np.zeros(1)
    window = Window(pictures, pictures, np.full((2, 2), (20.5, 30.5)), nothing, nothing, nothing)
    for seed in range(10):
        part = around_mouth(window, 32, np.random.default_rng(seed))
        assert part.target.shape == (2, 32, 32, 3)
        x, y = part.mouth[0].astype(int)
        assert part.target[0, y, x, 0] == 255


def test_shared_noise_is_still_unit_gaussian_in_every_frame() -> None:
    noise = noise_like(torch.empty(400, 4, 3, 8, 8), torch.Generator().manual_seed(0))
    per_frame = noise.transpose(0, 1).flatten(1)
    assert per_frame.mean(1).abs().max() < 0.02 and (per_frame.std(1) - 1).abs().max() < 0.02
    assert (per_frame**4).mean(1).sub(3).abs().max() < 0.15
    shared = (noise[:, 0] * noise[:, 1]).mean((1, 2, 3))
    assert shared.max() > 0.5 and shared.median() < 0.2  # in half of the windows only


def test_an_untrained_model_loses_by_the_copy_of_its_source(tiny: ModelConfig) -> None:
    pools = _pools(tiny)
    batch = collate([pools.draw(0.5, 2) for _ in range(3)], np.full(3, 0.9))
    batch.source = batch.target.clone()
    terms = loss_of(OmniSync(tiny), batch, OPTIONS, torch.Generator().manual_seed(0))
    assert all(value.abs() < 1e-6 for value in terms.values())


@pytest.mark.parametrize("share", ["no_audio", "unordered"])
def test_windows_without_their_audio_do_not_hear_it(tiny_model: OmniSync, share: str) -> None:
    options = TrainOptions(**{"no_audio": 0.0, "unordered": 0.0, share: 1.0})
    pools = _pools(tiny_model.config)
    batch = collate([pools.draw(0.5, 2) for _ in range(3)], np.full(3, 0.9))
    before = loss_of(tiny_model, batch, options, torch.Generator().manual_seed(0))
    batch.windows = -batch.windows
    after = loss_of(tiny_model, batch, options, torch.Generator().manual_seed(0))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_ears_are_not_trained_and_all_else_is(tiny: ModelConfig, tmp_path: Path) -> None:
    sitting = _sitting(tiny, tmp_path)
    before = {name: value.clone() for name, value in sitting.model.state_dict().items()}
    for _ in range(4):
        sitting._one_step()
    moved = {
        n for n, value in sitting.model.state_dict().items() if not torch.equal(value, before[n])
    }
    assert not any(name.startswith("encoder.") for name in moved)
    assert {"transformer.residual.weight", "transformer.embed.weight"} <= moved


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(
    tiny: ModelConfig, tmp_path: Path
) -> None:
    whole = _sitting(tiny, tmp_path / "whole")
    expected = [whole._one_step() for _ in range(4)]
    first = _sitting(tiny, tmp_path / "parts")
    for _ in range(2):
        first._one_step()
    first.save()
    second = _sitting(tiny, tmp_path / "parts")
    assert second.step == 2
    assert [second._one_step() for _ in range(2)] == expected[2:]


def test_saving_leaves_a_model_that_loads(tiny: ModelConfig, tmp_path: Path) -> None:
    sitting = _sitting(tiny, tmp_path)
    sitting._one_step()
    sitting.save()
    loaded, averaged = load_model(tmp_path / "model.safetensors"), sitting.average.module
    assert loaded.config == tiny
    for name, value in averaged.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "state.pt"]


def test_a_sitting_ends_in_time_and_logs_every_fifty_steps(
    tiny: ModelConfig, tmp_path: Path
) -> None:
    sitting = _sitting(tiny, tmp_path)
    sitting.step = 49
    sitting.train()  # a sixteenth of a second: at least one step
    row = json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0])
    assert row["step"] == 50 and row["velocity"] > 0 and (tmp_path / "state.pt").exists()
