"""From tokens to pictures: where the source moves, and what is drawn over it.

In: tokens [bf n d] and, for each frame, the estimate and the source [bf 6 h w]. Out: a Drawing, of
which compose() makes the clean frames [bf 3 h w].

Most of a new mouth is the old face moved: lips part, the chin drops, skin keeps its grain. So the
source is first read along a flow (in the manner of the first-order motion model, Siarohin et al.
2019), which keeps it sharp; only what it does not have (teeth, the inside of the mouth) is drawn.
Everything ends in layers that start at zero: untrained, the source comes back to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig
from .optical_flow import backward_warp


class Drawing(NamedTuple):
    """How a clean frame is made of its source: compose() does it."""

    flow: Tensor
    """[n 2 h/2 w/2]: where the source is read, (dx, dy) in pixels as optical_flow.py has it."""
    colour: Tensor
    """[n 3 h w]: what is drawn over it."""
    replaced: Tensor
    """[n 1 h w]: how much of the source goes."""
    taken: Tensor
    """[n 1 h w]: how much of x_t's estimate is taken for it."""


def compose(drawing: Drawing, pictures: Tensor) -> Tensor:
    """The clean frames [n 3 h w] of a drawing; pictures [n 6 h w]: the estimate and the source."""
    flow, colour, replaced, taken = drawing
    estimate, source = pictures.split(3, dim=1)
    fine = F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)
    read = backward_warp(source.float(), fine)
    # Without this difference, rounding would change the source even where nothing moves.
    moved = source + (read - backward_warp(source.float(), torch.zeros_like(fine))).to(source)
    # Two shares say where the moved source goes and where x_t shows the new mouth. Without them the
    # tokens would have to carry every old pixel, negated: such runs kept the old lips.
    return moved + colour - replaced * moved + taken * (estimate - moved)


class Decoder(nn.Module):
    """See the module's docstring. Convolutions at half the resolution join the patches."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide, self.patch = config.detail_width, config.patch
        self.out = nn.Linear(config.width, wide * (config.patch // 2) ** 2)
        self.stem = nn.Conv2d(4 * 6, wide, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(),
                nn.Conv2d(2 * wide, 2 * wide, 3, padding=reach, dilation=reach),
                nn.SiLU(),
                nn.Conv2d(2 * wide, 2 * wide, 3, padding=1),
            )
            for reach in (1, 2)
        )
        self.motion = nn.Conv2d(2 * wide, 2, 3, padding=1)
        # New colours (3), how much of the source they replace (1), how much of x_t is taken (1).
        self.residual = nn.Conv2d(2 * wide, 4 * 5, 3, padding=1)
        for layer in (self.motion, self.residual):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, pictures: Tensor) -> Drawing:
        half = self.patch // 2
        drawn = rearrange(
            self.out(tokens),
            "bf (y x) (c p q) -> bf c (y p) (x q)",
            y=pictures.shape[2] // self.patch,
            p=half,
            q=half,
        )
        x = torch.cat([drawn, self.stem(F.pixel_unshuffle(pictures, 2))], dim=1)
        for layer in self.body:
            x = x + layer(x)
        x = F.silu(x)
        flow = self.patch * self.motion(x).float()  # in half precision places would be off
        return Drawing(flow, *F.pixel_shuffle(self.residual(x), 2).split([3, 1, 1], dim=1))
