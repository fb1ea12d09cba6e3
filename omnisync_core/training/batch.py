"""What one training step sees: windows drawn from their seeds, as tensors.

TrainOptions says how they are drawn, and everything else about a stage. Drawing is work for CPUs
and may happen in other processes (draw_windows); what comes of it travels as bytes and becomes
pictures and noise on the device that trains (Windows.on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..exposure import Exposure
from .pairs import Pools, Window


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """A run's settings; the stages differ in frames, batch, rate and view."""

    steps: int = 8000
    """Optimiser steps in all; the rate falls to a twentieth over the last third of them."""
    frames: int = 1
    """Frames of a window: 1 for the first stage, more to train attention in time."""
    batch: int = 16
    """Windows per step, over all processes."""
    rate: float = 8e-4
    """Peak learning rate (AdamW)."""
    view: int = 0
    """Side of the part of the crop around the mouth that is trained on; 0 is the whole crop.

    64 of 96 pixels are less than half the tokens; a last stage on whole crops follows.
    """
    high: float = 0.65
    """Share of flow times in 0.8..1, where the voice decides the mouth; the rest are anywhere.

    Lower down x_t already shows the mouth and there is little to learn from the voice.
    """
    no_audio: float = 0.10
    """Share of windows without audio, for v(none) of ST-CFG."""
    unordered: float = 0.06
    """Share of windows that hear the mean token only, for v(unordered)."""
    as_sampled: float = 0.5
    """Share of the windows near t = 1 whose x_t holds the source, as when sampling starts."""
    real_share: float = 0.5
    """Share of windows from real clips; the others are rendered."""
    guidance: float = 0.0
    """Above 0: one pass learns what guidance of this scale gives. The goal is the truth, moved by
    what guidance adds to the prediction of the weights that the stage begins with (model guidance,
    Tang et al. 2025, arXiv 2502.12154, with a fixed teacher and the constant profile): its mean is
    the guided picture, and unlike a teacher's picture it is not blurred."""
    change: float = 0.0
    """Above 0: an error weighs 1 + this x how much its place is to change, where a voice is heard.
    Of what is unsure, the mean so weighted lies further from the source than the plain one, and yet
    among true colours, which guidance leaves."""
    adversarial: float = 0.0
    """Above 0: how hard a critic (critic.py) that is sure pulls, as a share of all other terms but
    identity, where a voice is heard: what the voice leaves open is drawn as one of the likely
    mouths, not as their mean. For weights that can edit."""
    decoder_alone: bool = False
    """Train what draws (decoder.py), not what decides when the mouth opens: steps take less time
    and the timing stays."""
    identity: float = 0.0
    """Above 0: weight of the identity loss (losses.identity_loss), for whole crops; a face embedder
    must be given."""
    ema: float = 0.998
    """Decay of the moving average."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """bf16 computes under autocast; auto does so where it pays (bf16_pays)."""
    checkpointing: bool = False
    """Compute activations again in the backward pass: more frames fit."""
    compiled: bool = False
    """Let torch.compile fuse the blocks' small operations, which takes a C++ compiler and a minute:
    on a CPU with AVX-512 a step then takes two thirds of the time (docs/LOG.md)."""
    workers: int = 0
    """Processes that draw the windows of coming steps; 0 draws them between the steps. A GPU waits
    for less than a dozen of them."""
    seed: int = 0
    """Of everything that is drawn."""


_MASKS = ("mute", "unordered", "nameless", "as_sampled")
AS_SAMPLED_ABOVE = 0.88
"""Sampling starts from the noised source at tau (0.92 by default), never far below this time."""


@dataclass
class Batch:
    """Tensors of one step: pictures and noise [b f 3 h w] (pictures in [-1, 1]), the true flow
    [b f 2 h/2 w/2] (NaN where it is unknown), t [b], audio
    [b f k a], voices' tokens [b m a], of which the first counts [b] are a voice's own; which
    windows hear nothing, hear no order, hear no voiceprint, and start as sampling does [b]."""

    source: Tensor
    target: Tensor
    noise: Tensor
    mouth: Tensor
    flow: Tensor
    windows: Tensor
    summary: Tensor
    tokens: Tensor
    counts: Tensor
    t: Tensor
    mute: Tensor
    unordered: Tensor
    nameless: Tensor
    as_sampled: Tensor
    goal: Tensor
    """What predictions are compared with: the target, or the target moved by guidance."""


@dataclass
class Windows:
    """A Batch as it is drawn and travels: pictures as bytes [b f h w 3], noise as its seed."""

    source: Tensor
    target: Tensor
    exposures: list[Exposure]
    noise: list[tuple[int, float]]
    """A seed and how much of the noise the frames of a window share."""
    flow: Tensor
    """[b f h/2 w/2 2]"""
    ready: dict[str, Tensor]
    """Batch's other fields."""

    def on(self, device: torch.device | str) -> Batch:
        """The batch on the device that trains, its pictures lifted as the network will see them in
        use (and so that dark faces weigh as much in the loss as others)."""

        def pictures(bytes_: Tensor) -> Tensor:
            whole = rearrange(bytes_.to(device).float() / 127.5 - 1, "b f h w c -> b f c h w")
            pairs = zip(self.exposures, whole, strict=True)
            return torch.stack([exposure.lift(one) for exposure, one in pairs])

        source, target = pictures(self.source), pictures(self.target)
        noise = [shared_noise(source.shape[1:], *how, device) for how in self.noise]
        return Batch(
            source=source,
            target=target,
            goal=target,
            noise=torch.stack(noise),
            flow=rearrange(self.flow.to(device), "b f h w c -> b f c h w"),
            **{name: value.to(device) for name, value in self.ready.items()},
        )


def draw_time(high: float, rng: np.random.Generator) -> float:
    """A flow time: with odds `high` in 0.8..1, otherwise in 0.02..0.95."""
    return float(rng.uniform(0.8, 1.0) if rng.random() < high else rng.uniform(0.02, 0.95))


def around_mouth(window: Window, view: int, rng: np.random.Generator) -> Window:
    """The part [f view view 3] of a window around its mouth, a little lower to hold the chin."""
    size = window.source.shape[1]
    middle = window.mouth.mean(0) + (0, 0.08 * view) + rng.normal(size=2) * 0.04 * view
    # Even places: the flow has half the resolution.
    left, top = 2 * np.clip(np.round((middle - view / 2) / 2).astype(int), 0, (size - view) // 2)
    rows, columns = slice(top, top + view), slice(left, left + view)
    coarse = (slice(top // 2, (top + view) // 2), slice(left // 2, (left + view) // 2))
    return replace(
        window,
        source=window.source[:, rows, columns],
        target=window.target[:, rows, columns],
        mouth=window.mouth - (left, top),
        flow=window.flow[:, coarse[0], coarse[1]],
    )


def shared_noise(
    shape: Sequence[int], seed: int, share: float, device: torch.device | str = "cpu"
) -> Tensor:
    """Unit Gaussian noise [f ..] of that seed whose frames share part of it, as if warped.

    Mixed noise: e = (a s + e') / sqrt(1 + a^2) with s shared by the window and a the share (a
    cheaper cousin of warping, after PYoCo, Ge et al. 2023), unit Gaussian in every frame.
    """
    generator = torch.Generator(device).manual_seed(seed)
    own, shared = (
        torch.randn((frames, *shape[1:]), generator=generator, device=device)
        for frames in (shape[0], 1)
    )
    return (share * shared + own) / (1 + share**2) ** 0.5


def draw_windows(pools: Pools, options: TrainOptions, seeds: Sequence[tuple[int, ...]]) -> Windows:
    """The samples of these seeds, ready to travel to a device."""
    drawn: list[Window] = []
    rows: dict[str, list] = {name: [] for name in ("t", *_MASKS, "noise")}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        t = draw_time(options.high, rng)
        window = pools.draw(t, options.frames, rng)
        if options.view:
            window = around_mouth(window, options.view, rng)
        drawn.append(window)
        chance, heard = rng.random(), window.heard
        row = {
            "t": t,
            "mute": chance < options.no_audio or not heard,
            "unordered": chance > 1 - options.unordered,
            "nameless": chance < options.no_audio or rng.random() < 0.15 or not heard,
            "as_sampled": t > AS_SAMPLED_ABOVE and rng.random() < options.as_sampled,
            # In half of the windows frames share noise.
            "noise": (int(rng.integers(2**63)), max(0.0, float(rng.uniform(-2, 2)))),
        }
        for name, value in row.items():
            rows[name].append(value)
    stacked = lambda name: torch.from_numpy(np.stack([getattr(w, name) for w in drawn]))  # noqa: E731
    source = stacked("source")
    tokens = [torch.from_numpy(np.ascontiguousarray(w.tokens)).float() for w in drawn]
    return Windows(
        source=source,
        target=stacked("target"),
        exposures=[Exposure.of(one.movedim(-1, 1) / 127.5 - 1) for one in source],
        noise=rows["noise"],
        flow=stacked("flow").float(),
        ready={
            **{name: stacked(name).float() for name in ("mouth", "windows", "summary")},
            "tokens": pad_sequence(tokens, batch_first=True),
            "counts": torch.tensor([len(one) for one in tokens]),
            "t": torch.tensor(rows["t"], dtype=torch.float32),
            **{name: torch.tensor(rows[name]) for name in _MASKS},
        },
    )
