"""OmniSync Mouth Mask: IMAGE -> a soft MASK around the mouth in every frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from . import host, place, widgets


class MouthMask:
    TITLE = "OmniSync Mouth Mask"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Finds the mouth in every frame and draws a soft mask around it, for OmniSync's guidance "
        "of other models and for any node that takes a MASK."
    )
    FUNCTION = "draw"
    RETURN_TYPES = ("MASK", "INT")
    RETURN_NAMES = ("mask", "found")
    OUTPUT_TOOLTIPS = (
        "One mask for each frame, white on the lips; black where no mouth was found.",
        "Frames in which a mouth was found.",
    )
    SEARCH_ALIASES = ("lip mask", "mouth region", "face mask", "嘴部遮罩")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": widgets.images_socket("The frames to look at."),
                "size": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.1,
                        "max": 4.0,
                        "step": 0.05,
                        "tooltip": "How far the mask reaches: 1 is the method's own, the corners "
                        "of the mouth at three quarters.",
                    },
                ),
            },
            "optional": {
                "region": widgets.region(advanced=True),
                "speaker": widgets.speaker(advanced=True),
                "fps": widgets.fps(advanced=True),
                "mouth": place.socket(),
            },
        }

    @classmethod
    def IS_CHANGED(cls, region: str = "auto", **_: Any) -> float:
        return widgets.file_time(region)

    @widgets.names_itself
    def draw(
        self,
        images: Any,
        size: float,
        *,
        region: str = "auto",
        speaker: str = "auto",
        fps: float = 25.0,
        mouth: Any = None,
    ) -> tuple:
        from ..omnisync_core.guidance import MOUTH_CENTRE, MOUTH_SIGMA, mouth_map
        from ..omnisync_core.pipeline import track_mouth

        frames = host.images_to_core(images)
        count, height, width = frames.shape[:3]
        times = np.arange(count) / fps
        with place.region_of(
            mouth, region, speaker=speaker, times=times, width=width, height=height
        ) as where:
            found = track_mouth(
                frames,
                times,
                region=where,
                speaker=speaker,
                callback=host.progress(stages=("locate",)),
            )
        mask = torch.zeros(count, height, width)
        for i, box in enumerate(found.track):
            host.check_cancel()
            if box is not None:
                lips = box.cy + (MOUTH_CENTRE[1] - 0.5) * box.side
                reach = size * MOUTH_SIGMA * box.side / min(height, width)
                centre = (box.cx / width, lips / height)
                mask[i] = mouth_map(height, width, centre=centre, sigma=reach)[0, 0, 0]
        return (mask, sum(box is not None for box in found.track))
