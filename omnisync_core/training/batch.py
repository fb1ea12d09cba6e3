"""What one training step sees: windows drawn from their seeds, as tensors.

TrainOptions says how they are drawn, and everything else about a stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

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
    identity: float = 0.0
    """Above 0: weight of the identity loss (losses.identity_loss), for whole crops; a face embedder
    must be given."""
    ema: float = 0.998
    """Decay of the moving average."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """bf16 computes under autocast; auto does so where it pays (bf16_pays)."""
    checkpointing: bool = False
    """Compute activations again in the backward pass: more frames fit."""
    seed: int = 0
    """Of everything that is drawn."""


AS_SAMPLED_ABOVE = 0.88
"""Sampling starts from the noised source at tau (0.92 by default), never far below this time."""


@dataclass
class Batch:
    """Tensors of one step: pictures and noise [b f 3 h w] (pictures in [-1, 1]), the true flow
    [b f 2 h/2 w/2] (NaN where it is unknown), t [b], audio
    [b f k a], voices' tokens [m a]; which windows hear nothing, hear no order, hear no voiceprint,
    and start as sampling does [b]."""

    source: Tensor
    target: Tensor
    noise: Tensor
    mouth: Tensor
    flow: Tensor
    windows: Tensor
    summary: Tensor
    tokens: list[Tensor]
    t: Tensor
    mute: Tensor
    unordered: Tensor
    nameless: Tensor
    as_sampled: Tensor
    goal: Tensor
    """What predictions are compared with: the target, or the target moved by guidance."""

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""

        def move(value: Any) -> Any:
            return [move(one) for one in value] if isinstance(value, list) else value.to(device)

        return Batch(**{field.name: move(getattr(self, field.name)) for field in fields(self)})


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


def noise_like(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit Gaussian noise [f h w 3]; in half of the windows frames share part of it, as if warped.

    Mixed noise: e = (a s + e') / sqrt(1 + a^2) with s shared by the window (a cheaper
    cousin of warping, after PYoCo, Ge et al. 2023), which stays unit Gaussian in every frame.
    """
    own = rng.standard_normal(pictures.shape, np.float32)
    share = np.float32(2 * rng.random() if rng.random() < 0.5 else 0)
    shared = rng.standard_normal(pictures[:1].shape, np.float32)
    return (share * shared + own) / np.sqrt(1 + share**2)


def draw_batch(pools: Pools, options: TrainOptions, seeds: Sequence[tuple[int, ...]]) -> Batch:
    """The samples of these seeds, as one batch."""
    rows: dict[str, list] = {field.name: [] for field in fields(Batch) if field.name != "goal"}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        t = draw_time(options.high, rng)
        window = pools.draw(t, options.frames, rng)
        if options.view:
            window = around_mouth(window, options.view, rng)
        chance = rng.random()
        parts = {field.name: getattr(window, field.name) for field in fields(window)}
        heard = parts.pop("heard")
        row = {
            **parts,
            "noise": noise_like(window.source, rng),
            "t": t,
            "mute": chance < options.no_audio or not heard,
            "unordered": chance > 1 - options.unordered,
            "nameless": chance < options.no_audio or rng.random() < 0.15 or not heard,
            "as_sampled": t > AS_SAMPLED_ABOVE and rng.random() < options.as_sampled,
        }
        for name, value in row.items():
            rows[name].append(value)

    def pictures(name: str) -> Tensor:
        stacked = torch.from_numpy(np.stack(rows[name])).float()
        return rearrange(stacked, "b f h w c -> b f c h w")

    masks = ("mute", "unordered", "nameless", "as_sampled")
    source, target = (pictures(name) / 127.5 - 1 for name in ("source", "target"))
    # As the network will see it in use, and so that dark faces weigh as much in the loss as others.
    exposures = [Exposure.of(one) for one in source]
    source, target = (
        torch.stack([exposure.lift(one) for exposure, one in zip(exposures, some, strict=True)])
        for some in (source, target)
    )
    return Batch(
        source=source,
        target=target,
        goal=target,
        noise=pictures("noise"),
        mouth=torch.from_numpy(np.stack(rows["mouth"])).float(),
        flow=pictures("flow"),
        windows=torch.from_numpy(np.stack(rows["windows"])).float(),
        summary=torch.from_numpy(np.stack(rows["summary"])).float(),
        tokens=[torch.from_numpy(np.ascontiguousarray(one)).float() for one in rows["tokens"]],
        t=torch.tensor(rows["t"], dtype=torch.float32),
        **{name: torch.tensor(rows[name]) for name in masks},
    )
