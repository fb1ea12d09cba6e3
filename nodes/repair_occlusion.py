"""OmniSync Occlusion Repair: source, edited IMAGE and a MASK -> what covers the mouth in front."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..omnisync_core.errors import UserError
from . import host, plot, widgets

logger = logging.getLogger(__name__)


class OcclusionRepair:
    TITLE = "OmniSync Occlusion Repair"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Puts what covers the mouth (a hand, a microphone, hair) back in front of the edit: by a "
        "mask of it, or by finding it. Works after any lip-sync tool."
    )
    FUNCTION = "repair"
    RETURN_TYPES = ("IMAGE", "FLOAT", "MASK", "FLOAT", "IMAGE")
    RETURN_NAMES = ("images", "ratio", "mask", "ratios", "plot")
    OUTPUT_IS_LIST = (False, False, False, True, False)
    OUTPUT_TOOLTIPS = (
        "The edited frames, with the source's own pixels where something covers the mouth.",
        "The share of the mouth that is covered, from 0 to 1: the mean over the frames. With a "
        "mask on the input, the share of the edited pixels, over the frames that were edited.",
        "What covers the mouth, one MASK for each frame.",
        "The same share for each frame, as a list.",
        "The shares over the frames, as a picture.",
    )
    SEARCH_ALIASES = ("occlusion", "hand in front of mouth", "face occlusion", "遮挡", "手挡嘴")

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
                        "one for all. Without it the node looks for the mouth and what covers it."
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
        from ..omnisync_core.occlusion import repair

        host.check_images(source, name="source")
        host.check_images(edited, name="edited")
        if source.shape != edited.shape:
            raise UserError(
                f"edited: expected frames of the source's shape {tuple(source.shape)}, got "
                f"{tuple(edited.shape)}; connect the source that was edited."
            )
        show = host.progress()
        if mask is None:
            masks, ratios = _found(source, show)
            counted = ratios
        else:
            masks = _masks(mask, source)
            ratios, counted = _shares(source, edited, masks)
        result = torch.empty_like(edited)
        # Frame by frame, for a batch of images is large enough once. Mixing knows no range, so the
        # images stay as they are and come back bit for bit.
        layers = host.counted(zip(source, edited, masks, strict=True), len(source), show)
        for i, (before, after, cover) in enumerate(layers):
            one, other = (rearrange(x, "h w c -> 1 c h w") for x in (before, after))
            mixed = repair(one, other, cover[None].to(one), softness=softness)
            result[i] = rearrange(mixed, "1 c h w -> h w c")
        mean = sum(counted) / max(len(counted), 1)
        picture = plot.shares(ratios, title="covered share of the mouth, frame by frame")
        return (result, mean, masks, ratios, host.image(picture))


def _found(source: Tensor, show: Any) -> tuple[Tensor, list[float]]:
    """Masks [f h w] of what covers the mouth, and the covered share per frame."""
    from ..omnisync_core.occluder_net import SIDE, WEIGHTS, OccluderNet
    from ..omnisync_core.occlusion import LOCAL_UNTIL, occluder_masks
    from ..omnisync_core.pipeline import track_mouth

    if not WEIGHTS.is_file():
        logger.warning(
            "%s: %s is missing: the edit passes as it is", OcclusionRepair.TITLE, WEIGHTS
        )
        return torch.zeros(source.shape[:3]), [0.0] * len(source)
    frames = host.images_to_core(source, name="source")
    times = np.arange(len(frames)) / 25  # only smooths the boxes; an IMAGE batch has no rate
    tracking, net = track_mouth(frames, times, callback=show), OccluderNet.load()
    masks, ratios = torch.zeros(source.shape[:3]), []
    for i, (mask, ratio) in enumerate(occluder_masks(frames, tracking, net, size=SIDE)):
        host.check_cancel()
        if ratio >= LOCAL_UNTIL:  # less is what a clear face may get
            masks[i] = mask
        ratios.append(ratio)
    return masks, ratios


def _shares(source: Tensor, edited: Tensor, masks: Tensor) -> tuple[list[float], list[float]]:
    """The share of the edited pixels that is covered, per frame; and that of the edited frames."""
    from ..omnisync_core.occlusion import occlusion_ratio

    ratios, counted = [], []
    for before, after, cover in zip(source, edited, masks, strict=True):
        host.check_cancel()
        region = (before != after).any(-1)[None]
        ratios.append(float(occlusion_ratio(cover[None].to(before), region.to(before))))
        if region.any():
            counted.append(ratios[-1])
    return ratios, counted


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
