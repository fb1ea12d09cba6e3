"""Training of FlowNet3D."""

import os
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from wave import open as wave_file

import numpy as np
import pytest
import torch

from omnisync_core import cli
from omnisync_core.checkpoint import save_model
from omnisync_core.config import ModelConfig
from omnisync_core.flow_net import FlowNet3D
from omnisync_core.media import FrameWriter
from omnisync_core.model import OmniSync
from omnisync_core.optical_flow import backward_warp
from omnisync_core.training import flow_net
from omnisync_core.training.flow_net import SIDE, Clips, loss_of, made_up_flow, rendered_pairs
from omnisync_core.training.heads import HeadKit
from omnisync_core.training.pairs import save_shard

DATA = os.environ.get("OMNISYNC_DATA")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    y, x = np.mgrid[:144, :144]
    waves = [128 + 60 * np.sin((x + 2 * i) / 9) * np.cos(y / 7) for i in range(4)]
    clips = np.repeat(np.array(waves)[None, ..., None], 3, -1).astype(np.uint8)
    save_shard(tmp_path / "rendered_001", {"source": clips, "target": clips})
    return tmp_path


def test_clips_give_neighbouring_frames(folder: Path) -> None:
    frames = Clips(folder).draw(np.random.default_rng(0), 2)
    assert frames.shape == (2, 3, SIDE, SIDE)
    # The picture moves to the left by two pixels a frame.
    assert torch.equal(frames[1][..., :-2], frames[0][..., 2:])


def test_made_up_flows_are_smooth_and_differ() -> None:
    rng = np.random.default_rng(0)
    flows = torch.stack([made_up_flow(rng) for _ in range(20)])
    assert float(flows.diff(dim=-1).abs().max()) < 1 < float(flows.abs().amax((1, 2, 3)).median())
    picture = torch.linspace(-1, 1, SIDE).expand(1, 3, SIDE, SIDE)
    assert not torch.equal(backward_warp(picture, flows[:1]), backward_warp(picture, flows[1:2]))


def test_the_loss_knows_the_made_up_truth(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_net, "BATCH", 2)
    torch.manual_seed(0)
    net, clips = FlowNet3D(), Clips(folder)
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for _ in range(20):
        loss = loss_of(net, clips, [], np.random.default_rng(3))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.skipif(
    not DATA or not (Path(DATA) / "facekit.npz").exists(),
    reason="OMNISYNC_DATA is unset or holds no facekit.npz",
)
def test_rendered_heads_bring_their_true_flow() -> None:
    moved, still = 0.0, 0.0
    for before, after, flow in rendered_pairs(HeadKit.load(), 11_000, heads=4):
        assert bool(torch.isfinite(flow).all()) and flow.shape == (2, SIDE, SIDE)
        moved += float((backward_warp(before[None], flow[None])[0] - after).abs().mean())
        still += float((before - after).abs().mean())
    assert moved < 0.7 * still


def _edited(folder: Path, tiny: ModelConfig, flow: str) -> bytes:
    """The file that `omnisync sync --flow` makes of a picture that moves."""
    torch.manual_seed(0)
    model = OmniSync(replace(tiny, crop=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    save_model(model, folder / "model.safetensors")
    times = np.arange(6) / 25
    with FrameWriter(folder / "in.mkv", width=48, height=48, rate=Fraction(25)) as writer:
        for time in times:
            wave = np.sin((np.arange(48) - 50 * time) / 5) * np.sin(np.arange(48)[:, None] / 7)
            writer.write(np.repeat((128 + 90 * wave)[..., None], 3, -1).astype(np.uint8))
    voice = (np.sin(np.arange(8000) * 0.3) * 9000).astype(np.int16)
    with wave_file(str(folder / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 16000, len(voice), "NONE", ""))
        file.writeframes(voice.tobytes())
    paths = [str(folder / name) for name in ("in.mkv", "voice.wav", "out.mkv", "model.safetensors")]
    words = [*paths[:2], "-o", paths[2], "--model", paths[3], "--region", "8,8,32,32"]
    assert cli.main(["sync", *words, "--lossless", "--device", "cpu", "--flow", flow]) == 0
    return Path(paths[2]).read_bytes()


def test_a_run_leaves_weights_that_the_command_line_takes(
    folder: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "out"
    monkeypatch.setattr(sys, "argv", ["flow_net", str(folder), str(out), "--minutes", "0"])
    flow_net.main()
    assert _edited(folder, tiny, str(out / "flow.safetensors")) != _edited(folder, tiny, "auto")
    assert not FlowNet3D.load(out / "flow.safetensors").estimate(*torch.rand(2, 3, 32, 32)).any()
