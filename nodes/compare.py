"""OmniSync Compare: source and edit side by side, the mouths enlarged below -> VIDEO."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from . import clips, host, sounds, widgets

# The mouths are shown at most this large; a standard crop holds no more detail in most clips.
_ZOOM = 512
_EMPTY = 24


class Compare:
    TITLE = "OmniSync Compare"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Puts source and result side by side, with both mouths enlarged below, so that the "
        "difference can be seen. Works after any lip-sync tool; clips stream and may be long."
    )
    FUNCTION = "compare"
    RETURN_TYPES = ("VIDEO",)
    RETURN_NAMES = ("video",)
    OUTPUT_TOOLTIPS = ("Left the source, right the result, below them their mouths.",)
    SEARCH_ALIASES = ("before after", "side by side", "mouth zoom", "对比", "前后对比")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "source": clips.socket("The clip before the edit: the left side."),
                "edited": clips.socket("The same frames after it: the right side."),
            },
            "optional": {
                "audio": (
                    "AUDIO",
                    {"tooltip": "The sound to play. Without it the sound of an edited VIDEO."},
                ),
                "zoom": (
                    "BOOLEAN",
                    {"default": True, "tooltip": "Show both mouths enlarged below the pictures."},
                ),
                "region": widgets.region(advanced=True),
                "speaker": widgets.speaker(advanced=True),
                "fps": widgets.fps(advanced=True),
            },
        }

    @classmethod
    def IS_CHANGED(cls, region: str = "auto", **_: Any) -> float:
        return widgets.file_time(region)

    @widgets.names_itself
    def compare(
        self,
        source: Any,
        edited: Any,
        *,
        audio: Any = None,
        zoom: bool = True,
        region: str = "auto",
        speaker: str = "auto",
        fps: float = 25.0,
    ) -> tuple:
        from ..omnisync_core.composite import side_by_side
        from ..omnisync_core.media import Display, FrameWriter
        from ..omnisync_core.pipeline import track_mouth

        show = host.progress(stages=("locate", "edit") if zoom else ("edit",))
        output = host.temporary(".mp4")
        with (
            clips.opened(source, name="source", fps=fps) as before,
            clips.opened(edited, name="edited", fps=fps) as after,
        ):
            clips.expect_pair(before, after)
            sound = after.path
            if audio is not None:
                sound = sounds.audio_to_core(audio, seconds=before.seconds)
            track, side = [], 0
            if zoom:
                found = track_mouth(
                    before.frames(), before.times, region=region, speaker=speaker, callback=show
                )
                # Even, as 4:2:0 wants it.
                track, side = found.track, min(_ZOOM, before.width) // 2 * 2
            pairs = host.counted(
                zip(before.frames(), after.frames(), strict=True), before.count, show
            )
            with FrameWriter(
                output,
                width=2 * before.width,
                height=before.height + side,
                rate=before.rate,
                times=before.times if before.variable_rate else None,
                audio=sound,
                seconds=before.seconds,
                display=after.display or Display(),
            ) as writer:
                for i, pair in enumerate(pairs):
                    picture = side_by_side(*pair)
                    if zoom:
                        picture = np.concatenate([picture, _mouths(pair, track[i], side)])
                    writer.write(picture)
        return (host.video_from_file(output),)


def _mouths(pair: tuple[np.ndarray, np.ndarray], box: Any, side: int) -> np.ndarray:
    """Both crops, each in the middle of its half: uint8 [side, 2w, 3]; empty without a mouth."""
    from ..omnisync_core.composite import take_crop

    width = pair[0].shape[1]
    strip = np.full((side, 2 * width, 3), _EMPTY, np.uint8)
    if box is not None:
        for half, frame in enumerate(pair):
            left = half * width + (width - side) // 2
            strip[:, left : left + side] = _bytes(take_crop(frame, box, side))
    return strip


def _bytes(crop: Tensor) -> np.ndarray:
    """[3 s s] in [-1, 1] -> uint8 [s s 3]."""
    return ((crop + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
