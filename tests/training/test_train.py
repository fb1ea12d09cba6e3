import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omnisync_core.checkpoint import load_model
from omnisync_core.config import ModelConfig
from omnisync_core.errors import UserError
from omnisync_core.guidance import mouth_map, st_cfg
from omnisync_core.model import OmniSync
from omnisync_core.training.batch import (
    AS_SAMPLED_ABOVE,
    Batch,
    TrainOptions,
    around_mouth,
    draw_time,
    draw_windows,
    shared_noise,
)
from omnisync_core.training.pairs import Pools, RenderedClip, Voice, Window, pack_flow
from omnisync_core.training.train import Objective, Trainer, bf16_pays, within_colours

OPTIONS = TrainOptions(frames=2, batch=4, steps=4)


def _pools(config: ModelConfig) -> Pools:
    """Three rendered clips of noise, 16 pixels wide."""
    rng = np.random.default_rng(7)
    clips = []
    for _ in range(3):
        source, target = rng.integers(0, 255, (2, 4, 16, 16, 3)).astype(np.uint8)
        voice = Voice(rng.normal(size=(2, 30, config.audio_width)).astype(np.float32))
        flow = pack_flow(rng.normal(size=(4, 16, 16, 2)))
        clips.append(RenderedClip(source, target, np.full((4, 2), 8.0), voice, 0.1, flow))
    return Pools(rendered=clips, real=[], size=16, reach=config.audio_reach)


def _batch(config: ModelConfig, options: TrainOptions = OPTIONS, *, count: int = 3) -> Batch:
    return draw_windows(_pools(config), options, [(0, 0, i) for i in range(count)]).on("cpu")


def _trainer(config: ModelConfig, run: Path) -> Trainer:
    torch.manual_seed(0)
    run.mkdir(exist_ok=True)
    return Trainer(_pools(config), OmniSync(config), run, OPTIONS)


def _curve(trainer: Trainer, steps: int) -> list[dict[str, float]]:
    coming = iter(trainer._coming())
    rows = [trainer._one_step(next(coming)) for _ in range(steps)]
    return [{name: float(value) for name, value in row.items()} for row in rows]


def test_flow_times_are_drawn_in_range_and_mostly_high() -> None:
    rng = np.random.default_rng(0)
    t = np.array([draw_time(0.5, rng) for _ in range(2000)])
    assert t.min() >= 0.02 and t.max() <= 1 and 0.5 < np.mean(t > 0.8) < 0.65
    assert min(draw_time(1.0, rng) for _ in range(200)) >= 0.8


def test_drawn_pictures_fill_minus_one_to_one(tiny: ModelConfig) -> None:
    batch = _batch(tiny)
    assert batch.source.shape == (3, 2, 3, 16, 16) and batch.windows.shape == (3, 2, 13, 32)
    assert batch.target.min() >= -1 and batch.target.max() <= 1 and batch.target.std() > 0.3


def test_a_sample_depends_on_its_own_seed_alone(tiny: ModelConfig) -> None:
    three, pools = _batch(tiny), _pools(tiny)
    alone = draw_windows(pools, OPTIONS, [(0, 0, 2)]).on("cpu")
    for name in ("source", "noise", "windows", "t", "mute"):
        assert torch.equal(getattr(alone, name)[0], getattr(three, name)[2]), name
    assert not torch.equal(three.noise[0], three.noise[1])


def test_windows_start_as_sampling_does_only_near_the_noise(tiny: ModelConfig) -> None:
    batch = _batch(tiny, TrainOptions(as_sampled=1.0), count=60)
    assert torch.equal(batch.as_sampled, batch.t > AS_SAMPLED_ABOVE)
    assert 0 < batch.as_sampled.sum() < 60


def test_the_view_around_the_mouth_holds_the_mouth() -> None:
    pictures, flow = np.zeros((2, 48, 48, 3), np.uint8), np.zeros((2, 24, 24, 2))
    pictures[:, 30, 20], flow[:, 15, 10] = 255, 1
    mouth, nothing = np.full((2, 2), (20.5, 30.5)), np.zeros(1)
    window = Window(pictures, pictures, mouth, flow, nothing, nothing, nothing)
    for seed in range(10):
        part = around_mouth(window, 32, np.random.default_rng(seed))
        assert part.target.shape == (2, 32, 32, 3)
        x, y = part.mouth[0].astype(int)
        assert part.target[0, y, x, 0] == 255
        assert part.flow.shape == (2, 16, 16, 2) and part.flow[0, y // 2, x // 2, 0] == 1


def test_shared_noise_is_still_unit_gaussian_in_every_frame(tiny: ModelConfig) -> None:
    pools, seeds = _pools(tiny), [(0, 0, i) for i in range(400)]
    how = draw_windows(pools, TrainOptions(frames=4), seeds).noise
    noise = torch.stack([shared_noise((4, 3, 8, 8), *each) for each in how])
    per_frame = noise.transpose(0, 1).flatten(1)
    assert per_frame.mean(1).abs().max() < 0.02 and (per_frame.std(1) - 1).abs().max() < 0.02
    assert (per_frame**4).mean(1).sub(3).abs().max() < 0.15
    shared = (noise[:, 0] * noise[:, 1]).mean((1, 2, 3))
    assert shared.max() > 0.5 and shared.median() < 0.2  # in half of the windows only


def test_an_untrained_model_loses_by_the_copy_of_its_source(tiny: ModelConfig) -> None:
    batch = _batch(tiny)
    batch.source, batch.flow = batch.target.clone(), torch.full_like(batch.flow, torch.nan)
    assert all(value.abs() < 1e-6 for value in Objective(OmniSync(tiny))(batch).values())


@pytest.mark.parametrize("share", ["no_audio", "unordered"])
def test_windows_without_their_audio_do_not_hear_it(tiny_model: OmniSync, share: str) -> None:
    options = TrainOptions(**{"no_audio": 0.0, "unordered": 0.0, share: 1.0})
    batch = _batch(tiny_model.config, options)
    before = Objective(tiny_model)(batch)
    batch.windows = -batch.windows
    after = Objective(tiny_model)(batch)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_changes_weigh_more_only_where_a_voice_is_heard(tiny_model: OmniSync) -> None:
    batch = _batch(tiny_model.config)
    for mute in (False, True):
        batch.mute[:] = mute
        batch.unordered[:] = False
        with torch.no_grad():
            plain = Objective(tiny_model)(batch)["velocity"]
            more = Objective(tiny_model, change=10)(batch)["velocity"]
        assert more == plain if mute else more > 2 * plain


def test_a_critic_is_asked_only_where_a_voice_is_heard(tiny_model: OmniSync) -> None:
    def asked(**mask: torch.Tensor) -> float:
        batch = replace(_batch(tiny_model.config), **mask)
        return float(Objective(tiny_model, adversarial=0.3)(batch)["critic"])

    every, never = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    assert asked(mute=never, unordered=never) > 0
    assert asked(mute=every, unordered=never) == asked(mute=never, unordered=every) == 0


def test_a_critics_run_resumes_too(tiny: ModelConfig, tmp_path: Path) -> None:
    def trainer() -> Trainer:
        torch.manual_seed(0)
        options = replace(OPTIONS, adversarial=0.5)
        return Trainer(_pools(tiny), OmniSync(tiny), tmp_path, options)

    through = trainer()
    ahead = _curve(through, 2)
    through.save()
    later = _curve(through, 2)
    assert later == _curve(trainer(), 2) != ahead


def test_windows_that_start_as_sampling_does_hold_the_source(tiny_model: OmniSync) -> None:
    batch = _batch(tiny_model.config)
    batch.t[:] = 0.9
    batch.as_sampled[:] = True
    started = Objective(tiny_model)(batch)
    batch.as_sampled[:] = False
    batch.noise = batch.noise + (1 - 0.9) / 0.9 * (batch.source - batch.target)
    by_hand = Objective(tiny_model)(batch)
    torch.testing.assert_close(started, by_hand, rtol=1e-3, atol=1e-4)


def test_the_ears_are_not_trained_and_all_else_is(tiny: ModelConfig, tmp_path: Path) -> None:
    trainer = _trainer(tiny, tmp_path)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    moved = {
        n for n, value in trainer.model.state_dict().items() if not torch.equal(value, before[n])
    }
    assert not any(name.startswith("encoder.") for name in moved)
    assert {"transformer.decoder.residual.weight", "transformer.embed.weight"} <= moved


def test_a_decoder_alone_is_all_that_is_trained(tiny: ModelConfig, tmp_path: Path) -> None:
    trainer = Trainer(_pools(tiny), OmniSync(tiny), tmp_path, replace(OPTIONS, decoder_alone=True))
    before = deepcopy(trainer.model.state_dict())
    _curve(trainer, 2)
    after = trainer.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("transformer.decoder.") for name in changed)


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(
    tiny: ModelConfig, tmp_path: Path
) -> None:
    whole = _trainer(tiny, tmp_path / "whole")
    expected = _curve(whole, 4)
    first = _trainer(tiny, tmp_path / "parts")
    _curve(first, 2)
    first.save()
    second = _trainer(tiny, tmp_path / "parts")
    assert second.step == 2
    assert _curve(second, 2) == expected[2:]


def test_windows_drawn_by_other_processes_are_the_same(tiny: ModelConfig, tmp_path: Path) -> None:
    alone, helped = _trainer(tiny, tmp_path / "alone"), _trainer(tiny, tmp_path / "helped")
    helped.options = replace(OPTIONS, workers=2)
    assert _curve(helped, 4) == _curve(alone, 4)


def test_a_run_leaves_a_model_that_loads(tiny: ModelConfig, tmp_path: Path) -> None:
    trainer = _trainer(tiny, tmp_path)
    trainer.train()
    loaded, averaged = load_model(tmp_path / "model.safetensors"), trainer.average.module
    assert loaded.config == tiny and trainer.step == 4
    for name, value in averaged.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert not list(tmp_path.glob("*.tmp"))


def test_checkpointing_changes_no_gradient(tiny_model: OmniSync) -> None:
    batch, gradients = _batch(tiny_model.config), []
    for again in (False, True):
        tiny_model.zero_grad()
        tiny_model.transformer.checkpointing = again
        torch.stack(list(Objective(tiny_model)(batch).values())).sum().backward()
        gradients.append(tiny_model.transformer.embed.weight.grad.clone())
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_the_goal_moves_by_what_guidance_adds(tiny_model: OmniSync) -> None:
    batch, objective = _batch(tiny_model.config), Objective(tiny_model)
    batch.mute[:] = batch.unordered[:] = batch.nameless[:] = False

    def predict(kind: str) -> torch.Tensor:
        nothing = torch.full_like(batch.mute, kind == "none")
        return objective.predict(replace(batch, mute=nothing, nameless=nothing))[0]

    with torch.no_grad():
        guided = st_cfg(
            lambda x_t, t, names: [predict(name) for name in names],
            spatial_scale=2.5,
            temporal_scale=2.5,
            profile="constant",
            mouth_map=mouth_map(16, 16),
        )(batch.target, 1.0)
        heard = predict("audio")
    torch.testing.assert_close(heard + objective.guidance_shift(batch, 2.5)[0], guided)


def test_guided_colours_are_those_of_the_pair_near_by() -> None:
    source, target = torch.zeros(1, 1, 3, 48, 48), torch.zeros(1, 1, 3, 48, 48)
    source[..., 20:24, 20:24], target[..., 30:, 30:] = -0.6, 0.4
    goal = torch.full_like(target, 0.9)
    held = within_colours(goal, source, target)
    assert held[..., 40, 40].eq(0.4).all() and held[..., 28, 30].eq(0.4).all()
    assert held[..., 10, 10].eq(0).all()
    held = within_colours(-goal, source, target)
    assert held[..., 22, 22].eq(-0.6).all() and held[..., 19, 25].eq(-0.6).all()
    assert held[..., 10, 10].eq(0).all()
    assert torch.equal(within_colours(target, source, target), target)


def test_a_student_moves_as_guidance_would_move_it(tiny_model: OmniSync, tmp_path: Path) -> None:
    options = TrainOptions(guidance=8.0, rate=5e-3, steps=80, frames=2, batch=8, no_audio=0)
    pools = _pools(tiny_model.config)
    batch = draw_windows(pools, options, [(1, 0, i) for i in range(12)]).on("cpu")
    shift, _ = Objective(tiny_model).guidance_shift(batch, 8.0)
    drawn = {}
    for scale in (0.0, 8.0):
        (tmp_path / str(scale)).mkdir()
        stage = replace(options, guidance=scale)
        trainer = Trainer(pools, deepcopy(tiny_model), tmp_path / str(scale), stage)
        trainer.train()
        with torch.no_grad():
            drawn[scale], _ = Objective(trainer.model).predict(batch)
    moved = drawn[8.0] - drawn[0.0]
    assert float((moved * shift).sum() / (moved.norm() * shift.norm())) > 0.15


def test_a_teacher_needs_the_whole_crop(tiny: ModelConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set view to 0"):
        Trainer(_pools(tiny), OmniSync(tiny), tmp_path, TrainOptions(guidance=2.0, view=8))


def test_bf16_is_chosen_where_the_processor_has_instructions_for_it(monkeypatch) -> None:
    for known, pays in (({"avx512_bf16": True}, True), ({"avx2": True}, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert bf16_pays(torch.device("cpu")) is pays
    assert bf16_pays(torch.device("cuda"))


def test_half_precision_follows_full_precision(tiny_model: OmniSync, tmp_path: Path) -> None:
    first = {}
    for precision in ("fp32", "bf16"):
        options = replace(OPTIONS, precision=precision)
        trainer = Trainer(_pools(tiny_model.config), deepcopy(tiny_model), tmp_path, options)
        first[precision] = _curve(trainer, 1)[0]
    assert first["bf16"] == pytest.approx(first["fp32"], rel=0.05)
    assert first["bf16"] != first["fp32"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_learns_the_same(tiny: ModelConfig, tmp_path: Path) -> None:
    curves = []
    for compiled in (False, True):
        torch.manual_seed(0)
        run = tmp_path / str(compiled)
        run.mkdir()
        trainer = Trainer(_pools(tiny), OmniSync(tiny), run, replace(OPTIONS, compiled=compiled))
        curves.append(_curve(trainer, 1))
        trainer.save()
        load_model(run / "model.safetensors")
    assert curves[0] == [pytest.approx(row, rel=1e-3) for row in curves[1]]


def test_every_fifty_steps_are_logged(tiny: ModelConfig, tmp_path: Path) -> None:
    trainer = _trainer(tiny, tmp_path)
    trainer.options = replace(OPTIONS, steps=50)
    trainer.step = 48
    trainer.train()
    (row,) = (tmp_path / "train.jsonl").read_text().splitlines()
    assert json.loads(row)["step"] == 50 and json.loads(row)["velocity"] > 0


_SHARED_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_train import _curve, _trainer
from omnisync_core.config import ModelConfig
trainer = _trainer(ModelConfig(**{config!r}), Path(sys.argv[1]))
curve = _curve(trainer, 4)
assert trainer.accelerator.num_processes == int(sys.argv[2])
if trainer.accelerator.is_main_process:
    import json
    Path(sys.argv[1], "curve.json").write_text(json.dumps(curve))
trainer.accelerator.end_training()  # else a process may be aborted while the other still ends
"""


def test_two_processes_give_the_loss_curve_of_one(tiny: ModelConfig, tmp_path: Path) -> None:
    script = tmp_path / "shared.py"
    script.write_text(_SHARED_RUN.format(folder=str(Path(__file__).parent), config=asdict(tiny)))
    curves = []
    for processes in (1, 2):
        run = tmp_path / f"of_{processes}"
        run.mkdir()
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(processes), str(script), str(run), str(processes)]
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
        subprocess.run(command, check=True, env=environment, timeout=300)
        curves.append(json.loads((run / "curve.json").read_text()))
    for one, two in zip(*curves, strict=True):
        assert two == pytest.approx(one, rel=1e-4)
