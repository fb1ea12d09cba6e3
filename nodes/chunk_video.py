"""OmniSync Long Video Chunker: a clip's length -> the windows that it is edited in."""

from __future__ import annotations

from typing import Any

from ..omnisync_core.errors import UserError
from . import host, sockets, widgets


class LongVideoChunker:
    TITLE = "OmniSync Long Video Chunker"
    CATEGORY = widgets.CATEGORY
    DESCRIPTION = (
        "Plans how a clip of any length is cut into windows that the network sees at once. Memory "
        "depends on the window, never on the length of the clip; neighbouring windows are blended."
    )
    FUNCTION = "plan"
    RETURN_TYPES = (sockets.WINDOWS, "INT", "INT")
    RETURN_NAMES = ("windows", "count", "frames")
    OUTPUT_TOOLTIPS = (
        "The plan, for OmniSync Lip Sync or OmniSync Sampler.",
        "How many windows the clip has.",
        "How many frames the clip has.",
    )
    SEARCH_ALIASES = ("long video", "chunk", "context window")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": widgets.windows(),
            "optional": {
                "video": ("VIDEO", {"tooltip": "The clip; it is counted, not loaded."}),
                "images": widgets.images_socket("The clip as frames, instead of a VIDEO."),
            },
        }

    @widgets.names_itself
    def plan(self, window: int, overlap: int, *, video: Any = None, images: Any = None) -> tuple:
        from ..omnisync_core.media import probe_video
        from ..omnisync_core.windows import plan_windows

        widgets.one_of(video, images)
        if images is not None:
            host.check_images(images)
            frames = len(images)
        else:
            with host.video_file(video) as path:
                frames = probe_video(path).frames
        if not 0 <= overlap <= window // 2:
            raise UserError(
                f"overlap: expected at most half the window of {window} frames, got {overlap}; "
                f"set it to {window // 2} or less."
            )
        count = len(plan_windows(frames, window=window, overlap=overlap))
        return (sockets.WindowPlan(window, overlap, frames, count), count, frames)
