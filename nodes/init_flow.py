"""OmniSync Flow Init: IMAGE -> where the mouth is, and noise that moves with the picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import host, place, sockets, widgets


class FlowInit:
    TITLE = "OmniSync Flow Init"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Prepares where sampling begins: finds the mouth in every frame, and makes noise that "
        "moves with the picture (fresh in the mouth, fresh at cuts): the result is steady."
    )
    FUNCTION = "prepare"
    RETURN_TYPES = (sockets.START, "INT")
    RETURN_NAMES = ("start", "found")
    OUTPUT_TOOLTIPS = (
        "The start point, for OmniSync Sampler.",
        "Frames in which a mouth was found; the others will pass through unchanged.",
    )
    SEARCH_ALIASES = ("optical flow noise", "warped noise", "start point")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": widgets.model_socket(),
                "images": widgets.images_socket("The frames to edit."),
                "tau": widgets.tau(),
                "seed": widgets.seed(),
            },
            "optional": {
                "region": widgets.region(),
                "fps": widgets.fps(advanced=True),
                "speaker": widgets.speaker(advanced=True),
                "mouth": place.socket(),
            },
        }

    @classmethod
    def IS_CHANGED(cls, region: str = "auto", **_: Any) -> float:
        return widgets.file_time(region)

    @widgets.names_itself
    def prepare(
        self,
        model: Any,
        images: Any,
        tau: float,
        seed: int,
        *,
        region: str = "auto",
        fps: float = 25.0,
        speaker: str = "auto",
        mouth: Any = None,
    ) -> tuple:
        from ..omnisync_core.composite import take_crop
        from ..omnisync_core.editing import FlowNoise
        from ..omnisync_core.pipeline import track_mouth

        widgets.expect(model, sockets.LoadedModel, "model", source="OmniSync Model Loader")
        frames = host.images_to_core(images)
        size = model.network.config.crop
        height, width = frames.shape[1:3]
        times = np.arange(len(frames)) / fps
        show = host.progress()
        with place.region_of(
            mouth, region, speaker=speaker, times=times, width=width, height=height
        ) as where:
            tracking = track_mouth(
                frames,
                times,
                region=where,
                speaker=speaker,
                callback=show,
            )
        draw = FlowNoise(size, seed)
        noise = {
            i: draw(i, take_crop(frames[i], box, size))
            for i, box in enumerate(host.counted(tracking.track, len(frames), show))
            if box is not None
        }
        return (sockets.StartPoint(tracking, noise, tau, seed), len(noise))
