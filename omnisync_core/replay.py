"""Memory of past windows: what their frames were to the attention in time joins that of the next.

In: the features of a window's frames, as every block shows them to its attention in time, at every
flow time of the sampling. Out: the same with those of past frames before them. Bounded: the first
frames of a shot stay (the sink, which attention leans on: Xiao et al. 2023), and the last few roll.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SINK = 1
"""Frames from the start of a shot that stay; the others of a memory are the last ones."""

Recall = Callable[[Tensor], Tensor]
"""A block's features [(b n) f d] of a window -> [(b n) p + f d], those of the past before them."""


class Replay:
    """The memory of one shot; make another after a cut."""

    def __init__(self, frames: int) -> None:
        """frames: how many past frames are kept at most, 1 or more."""
        if frames < 1:
            raise ValueError(f"expected a memory of at least one frame, got {frames}")
        self._frames = frames
        self._past: dict[float, list[Tensor]] = {}  # by flow time, then by block
        self._now: dict[float, list[Tensor]] = {}

    def begin(self) -> None:
        """A window (or another try of it) begins."""
        self._now = {}

    def past(self, t: float) -> int:
        """How many past frames are known at flow time t."""
        return self._past[t][0].shape[1] if t in self._past else 0

    def recall(self, t: float, block: int) -> Recall:
        """What a block calls with its window's features at flow time t; it also notes them."""

        def joined(features: Tensor) -> Tensor:
            self._now.setdefault(t, []).append(features)
            if not self.past(t):
                return features
            return torch.cat([self._past[t][block], features], dim=1)

        return joined

    def keep(self, count: int) -> None:
        """The window is finished; its first `count` frames become the past."""
        for t, blocks in self._now.items():
            if t in self._past:
                pairs = zip(self._past[t], blocks, strict=True)
                whole = [torch.cat([old, new[:, :count]], dim=1) for old, new in pairs]
            else:
                whole = [new[:, :count] for new in blocks]
            self._past[t] = [self._bounded(one) for one in whole]
        self._now = {}

    def _bounded(self, features: Tensor) -> Tensor:
        if features.shape[1] <= self._frames:
            return features.clone()  # a view would hold the whole window
        sink = min(SINK, self._frames - 1)
        rolling = features[:, features.shape[1] - (self._frames - sink) :]
        return torch.cat([features[:, :sink], rolling], dim=1)

    def state(self) -> dict[float, list[Tensor]]:
        """The past, f32 on the CPU, by flow time and block."""
        return {t: [one.float().cpu() for one in blocks] for t, blocks in self._past.items()}

    def restore(self, state: dict[float, list[Tensor]], like: Tensor) -> None:
        """Go on from a state; like: a tensor of the network's device and precision."""
        self._past = {t: [one.to(like) for one in blocks] for t, blocks in state.items()}
