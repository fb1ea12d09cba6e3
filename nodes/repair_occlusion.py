"""OmniSync Occlusion Repair: source, edited IMAGE and a MASK -> what covers the mouth in front."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..omnisync_core.errors import UserError
from . import host, widgets


class OcclusionRepair:
    TITLE = "OmniSync Occlusion Repair"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Puts what covers the mouth (a hand, a microphone, hair) back in front of the edit, by a "
        "mask of it. Works after any lip-sync tool."
    )
    FUNCTION = "repair"
    RETURN_TYPES = ("IMAGE", "FLOAT")
    RETURN_NAMES = ("images", "ratio")
    OUTPUT_TOOLTIPS = (
        "The edited frames, with the source's own pixels where the mask is white.",
        "The share of the edited pixels that was covered, from 0 to 1: the mean over the frames "
        "that were edited.",
    )
    SEARCH_ALIASES = ("occlusion", "hand in front of mouth", "face occlusion")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "source": widgets.images_socket("The frames before the edit."),
                "edited": widgets.images_socket("The same frames after it."),
            },
            "optional": {
                "mask": (
                    "MASK",
                    {
                        "tooltip": "White where something covers the mouth; one for each frame, or "
                        "one for all. Without it the edited frames pass."
                    },
                ),
                "softness": (
                    "INT",
                    {
                        "default": 2,
                        "min": 0,
                        "max": 64,
                        "tooltip": "Pixels over which the edge fades, outside the mask.",
                        "advanced": True,
                    },
                ),
            },
        }

    @widgets.names_itself
    def repair(self, source: Any, edited: Any, *, mask: Any = None, softness: int = 2) -> tuple:
        from ..omnisync_core.occlusion import occlusion_ratio, repair

        host.check_images(source, name="source")
        host.check_images(edited, name="edited")
        if source.shape != edited.shape:
            raise UserError(
                f"edited: expected frames of the source's shape {tuple(source.shape)}, got "
                f"{tuple(edited.shape)}; connect the source that was edited."
            )
        if mask is None:
            return (edited, 0.0)
        result, ratios = torch.empty_like(edited), []
        # Frame by frame, for a batch of images is large enough once. Mixing knows no range, so the
        # images stay as they are and come back bit for bit.
        for i, (before, after, cover) in enumerate(
            zip(source, edited, _masks(mask, source), strict=True)
        ):
            one, other = (rearrange(x, "h w c -> 1 c h w") for x in (before, after))
            mixed = repair(one, other, cover[None].to(one), softness=softness)
            result[i] = rearrange(mixed, "1 c h w -> h w c")
            region = (before != after).any(-1)[None]
            if region.any():
                ratios.append(float(occlusion_ratio(cover[None].to(one), region.to(one))))
        return (result, sum(ratios) / max(len(ratios), 1))


def _masks(mask: Any, source: Tensor) -> Tensor:
    """MASK [f, h, w], [1, h, w] or [h, w] -> one for each frame, [f h w]."""
    frames, height, width = source.shape[:3]
    if isinstance(mask, Tensor) and mask.ndim == 2:
        mask = mask[None]
    if not isinstance(mask, Tensor) or mask.shape[1:] != (height, width):
        came = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise UserError(
            f"mask: expected a MASK of {height} x {width} like the images, got {came}; draw or "
            "resize it to their size."
        )
    if len(mask) not in (1, frames):
        raise UserError(
            f"mask: expected one mask for each of {frames} frames or one for all, got {len(mask)}."
        )
    return mask.clamp(0, 1).expand(frames, height, width)
