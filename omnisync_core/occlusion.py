"""Occlusion repair: what covers the mouth stays in front of the edit (before the composite).

In: source and edited frames [f c h w] in [-1, 1], and a mask of the occluder [f h w] in [0, 1]: 1
on a hand, a microphone, hair. Out: the edited frames with the occluder's own source pixels.
"""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F


def repair(
    source_frames: Tensor, edited_frames: Tensor, mask: Tensor, *, softness: int = 2
) -> Tensor:
    """Put the occluder back: source where the mask is 1, edited away from it, a soft edge between.

    softness: the edge fades over twice as many pixels outside the mask; the occluder stays whole,
    bit for bit, and so does the edit further away. Values of the mask between 0 and 1 mix.
    Raises ValueError for shapes that do not belong together or a negative softness.
    """
    frames, _, height, width = source_frames.shape
    if edited_frames.shape != source_frames.shape or mask.shape != (frames, height, width):
        raise ValueError(
            "expected source and edited frames [f c h w] of one shape and a mask [f h w]; got "
            f"{tuple(source_frames.shape)}, {tuple(edited_frames.shape)} and {tuple(mask.shape)}"
        )
    if softness < 0:
        raise ValueError(f"expected a softness of 0 pixels or more, got {softness}")
    weight = rearrange(mask, "f h w -> f 1 h w").to(source_frames)
    if softness > 0:
        # Grown by as much as it is blurred: the ramp lies outside and the mask itself keeps its 1.
        window = 2 * softness + 1
        grown = F.max_pool2d(weight, window, stride=1, padding=softness)
        blurred = F.avg_pool2d(grown, window, stride=1, padding=softness, count_include_pad=False)
        weight = torch.maximum(weight, blurred)
    return torch.lerp(edited_frames, source_frames, weight)  # exact at both ends


def occlusion_ratio(mask: Tensor, mouth_region: Tensor) -> Tensor:
    """The share of the mouth that is covered: [f] in [0, 1]; 0 where there is no mouth.

    mask, mouth_region: [f h w] in [0, 1] (the region may be [1 h w], the same for all frames).
    """
    covered = reduce(mask * mouth_region, "f h w -> f", "sum")
    mouth = reduce(mouth_region.expand_as(mask), "f h w -> f", "sum")
    return torch.where(mouth > 0, covered / mouth.clamp_min(1e-6), 0.0)
