"""The training loop of the editor: flow matching on pairs, one visible loop.

    python -m omnisync_core.training.train DATA VOICE RUN --minutes 90 --frames 1 --batch 16

DATA is a folder that `omnisync_core.training.prepare` filled; RUN gets state.pt (resumable to the
step), train.jsonl, and model.safetensors (the moving average, without optimiser state).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..checkpoint import load_model, save_model
from ..model import OmniSync
from .losses import edge_loss, motion_loss, mouth_weight, velocity_loss
from .pairs import Pools, Window
from .prepare import load_encoder, load_pools


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """A run's settings; the stages differ in frames, batch and rate."""

    frames: int = 1
    """Frames of a window: 1 for the first stage, more to train attention in time."""
    batch: int = 16
    """Windows per step."""
    rate: float = 8e-4
    """Peak learning rate (AdamW)."""
    minutes: float = 60.0
    """Wall time of this sitting; the rate falls to a twentieth over its last third."""
    no_audio: float = 0.10
    """Share of windows without audio, for v(none) of ST-CFG."""
    unordered: float = 0.06
    """Share of windows that hear the mean token only, for v(unordered)."""
    ema: float = 0.998
    """Decay of the moving average."""
    view: int = 0
    """Side of the part of the crop around the mouth that is trained on; 0 is the whole crop.

    64 of 96 pixels are less than half the tokens; a last stage on whole crops follows.
    """


@dataclass
class Batch:
    """Tensors of one step: pictures [b f 3 h w] in [-1, 1], t [b], audio [b f k a]."""

    source: Tensor
    target: Tensor
    mouth: Tensor
    windows: Tensor
    summary: Tensor
    tokens: list[Tensor]
    t: Tensor


def draw_times(count: int, rng: np.random.Generator) -> np.ndarray:
    """Flow times: two thirds where the voice decides the mouth (0.8..1), the rest anywhere.

    Lower down x_t already shows the mouth and there is little to learn from the voice. The shares
    were chosen by eye (docs/LOG.md).
    """
    high = rng.uniform(0.8, 1.0, count)
    return np.where(rng.random(count) < 0.65, high, rng.uniform(0.02, 0.95, count))


def around_mouth(window: Window, view: int, rng: np.random.Generator) -> Window:
    """The part [f view view 3] of a window around its mouth, a little lower to hold the chin."""
    size = window.source.shape[1]
    middle = window.mouth.mean(0) + (0, 0.08 * view) + rng.normal(size=2) * 0.04 * view
    left, top = np.clip(np.round(middle - view / 2).astype(int), 0, size - view)
    rows, columns = slice(top, top + view), slice(left, left + view)
    return replace(
        window,
        source=window.source[:, rows, columns],
        target=window.target[:, rows, columns],
        mouth=window.mouth - (left, top),
    )


def collate(windows: list[Window], t: np.ndarray) -> Batch:
    """Stack drawn windows."""

    def pictures(name: str) -> Tensor:
        stacked = torch.from_numpy(np.stack([getattr(window, name) for window in windows]))
        return rearrange(stacked.float() / 127.5 - 1, "b f h w c -> b f c h w")

    return Batch(
        source=pictures("source"),
        target=pictures("target"),
        mouth=torch.from_numpy(np.stack([w.mouth for w in windows])).float(),
        windows=torch.from_numpy(np.stack([w.windows for w in windows])).float(),
        summary=torch.from_numpy(np.stack([w.summary for w in windows])).float(),
        tokens=[torch.from_numpy(np.ascontiguousarray(w.tokens)).float() for w in windows],
        t=torch.from_numpy(t).float(),
    )


def noise_like(target: Tensor, generator: torch.Generator) -> Tensor:
    """Unit Gaussian noise; in half of the windows the frames share part of it, as if warped.

    Mixed noise: e = (a s + e') / sqrt(1 + a^2) with s shared by the window (a cheaper
    cousin of warping, after PYoCo, Ge et al. 2023), which stays unit Gaussian in every frame.
    """
    own = torch.randn(target.shape, generator=generator)
    shared = torch.randn(target[:, :1].shape, generator=generator)
    share = torch.rand(len(target), 1, 1, 1, 1, generator=generator) * 2
    share = share * (torch.rand(len(target), 1, 1, 1, 1, generator=generator) < 0.5)
    return (share * shared + own) / (1 + share**2).sqrt()


def loss_of(
    model: OmniSync, batch: Batch, options: TrainOptions, generator: torch.Generator
) -> dict[str, Tensor]:
    """The terms of one step."""
    count, frames = batch.source.shape[:2]
    window = batch.windows.shape[2]
    chance = torch.rand(count, generator=generator)
    mute, unordered = chance < options.no_audio, chance > 1 - options.unordered
    audio = torch.where(
        unordered[:, None, None, None],
        repeat(batch.summary, "b a -> b f k a", f=frames, k=window),
        batch.windows,
    )
    audio = torch.where(mute[:, None, None, None], model.silence, audio)
    voice = torch.stack([model.voiceprint(tokens[None])[0] for tokens in batch.tokens])
    nameless = mute | (torch.rand(count, generator=generator) < 0.15)
    voice = torch.where(nameless[:, None], torch.zeros_like(voice), voice)
    t = batch.t[:, None, None, None, None]
    x_t = (1 - t) * batch.target + t * noise_like(batch.target, generator)
    times = repeat(torch.arange(frames) / 25.0, "f -> b f", b=count)
    clean = model.transformer(x_t, batch.source, batch.t, audio, voice, times)
    weight = mouth_weight(batch.mouth, *batch.target.shape[-2:])
    return {
        "velocity": velocity_loss(clean, batch.target, batch.t, weight),
        "edge": 0.1 * edge_loss(clean, batch.target, weight),
        "motion": 0.1 * motion_loss(clean, batch.target, weight),
    }


class Sitting:
    """One process's training: model, moving average, optimiser and their resumable state."""

    def __init__(self, pools: Pools, model: OmniSync, run: Path, options: TrainOptions) -> None:
        self.pools, self.run, self.options = pools, run, options
        self.model = model
        self.model.encoder.requires_grad_(False)  # taught by voice.py; pixels teach it nothing new
        self.average = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(options.ema), use_buffers=True
        )
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            trained, options.rate, (0.9, 0.95), weight_decay=0.01, fused=True
        )
        self.generator = torch.Generator().manual_seed(0)
        self.step = 0
        if (run / "state.pt").exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.run / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.step = state["step"]
        if "draws" in state:  # the first runs' states lack it: they go on with other draws
            self.pools.rng.bit_generator.state = json.loads(state["draws"])

    def save(self) -> None:
        """Write state and averaged model; each replaces the old file only once it is whole."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "draws": json.dumps(self.pools.rng.bit_generator.state),
            "step": self.step,
        }
        torch.save(state, self.run / "state.tmp")
        (self.run / "state.tmp").replace(self.run / "state.pt")
        averaged = self.average.module
        assert isinstance(averaged, OmniSync)
        save_model(averaged, self.run / "model.tmp", notes={"steps": str(self.step)})
        (self.run / "model.tmp").replace(self.run / "model.safetensors")

    def train(self) -> None:
        """Run for options.minutes of wall time."""
        started, running, seen = time.monotonic(), {}, 0
        while (spent := (time.monotonic() - started) / 60) < self.options.minutes:
            self._set_rate(spent / self.options.minutes)
            for name, value in self._one_step().items():
                running[name] = running.get(name, 0.0) + value
            seen += 1
            if self.step % 50 == 0:
                means = {name: round(value / seen, 5) for name, value in running.items()}
                row = {"step": self.step, "minutes": round(spent, 2), **means}
                with (self.run / "train.jsonl").open("a") as log:
                    log.write(json.dumps(row) + "\n")
                running, seen = {}, 0
            if self.step % 100 == 0:
                self.save()
        self.save()

    def _set_rate(self, done: float) -> None:
        warm, cool = min(1.0, (self.step + 1) / 200), min(1.0, max(0.05, (1 - done) * 3))
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate * warm * cool

    def _one_step(self) -> dict[str, float]:
        t = draw_times(self.options.batch, self.pools.rng)
        drawn = [self.pools.draw(value, self.options.frames) for value in t]
        if view := self.options.view:
            drawn = [around_mouth(window, view, self.pools.rng) for window in drawn]
        batch = collate(drawn, t)
        terms = loss_of(self.model, batch, self.options, self.generator)
        self.optimiser.zero_grad(set_to_none=False)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return {name: float(value.detach()) for name, value in terms.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the editor on prepared pairs.")
    parser.add_argument("data", type=Path)
    parser.add_argument("voice", type=Path, help="voice.safetensors of the voice trainer")
    parser.add_argument("run", type=Path)
    for name in ("frames", "batch", "rate", "minutes", "view"):
        default = getattr(TrainOptions(), name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--real-share", type=float, default=0.5)
    parser.add_argument("--start", type=Path, help="weights to begin a new run with")
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)
    pools = load_pools(arguments.data, real_share=arguments.real_share)
    options = TrainOptions(
        frames=arguments.frames,
        batch=arguments.batch,
        rate=arguments.rate,
        minutes=arguments.minutes,
        view=arguments.view,
    )
    model = load_encoder(arguments.voice)
    if arguments.start:
        model.load_state_dict(load_model(arguments.start).state_dict())
    Sitting(pools, model, arguments.run, options).train()


if __name__ == "__main__":
    main()
