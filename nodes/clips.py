"""A clip on one socket, VIDEO or IMAGE: frames uint8 [h, w, 3] one at a time, and their times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..omnisync_core.errors import UserError
from . import host

if TYPE_CHECKING:
    from ..omnisync_core.media import Display

# ComfyUI lets a socket name several types; a link of any of them fits.
CLIP = "VIDEO,IMAGE"


@dataclass(frozen=True)
class Clip:
    """What a socket of either kind holds."""

    count: int
    """Frames."""
    height: int
    width: int
    rate: Fraction
    """Frames per second."""
    times: np.ndarray
    """Float64 [count], seconds: when each frame appears."""
    seconds: float
    """To the end of the last frame."""
    frames: Callable[[], Iterator[np.ndarray]]
    """Reads all frames, from the first; may be called again."""
    path: Path | None = None
    """The file, when there is one with a sound in it."""
    variable_rate: bool = False
    """Whether `times` leave the grid of `rate`."""
    display: Display | None = None
    """Pixel aspect and colour tags of a VIDEO."""


def socket(tooltip: str) -> tuple:
    return (CLIP, {"tooltip": tooltip})


@contextmanager
def opened(clip: Any, *, name: str, fps: float) -> Iterator[Clip]:
    """VIDEO or IMAGE -> Clip, for as long as the block lasts; fps counts for IMAGE alone.

    Raises UserError for anything else, and as `host.images_to_core` and `probe_video` do.
    """
    from ..omnisync_core.media import probe_video, read_frames

    if clip is None:
        raise UserError(f"{name}: expected a VIDEO or IMAGE, got nothing; connect a clip.")
    if isinstance(clip, Tensor):
        frames = host.images_to_core(clip, name=name)
        count, height, width = frames.shape[:3]
        times, rate = np.arange(count) / fps, host.exact_rate(fps)
        yield Clip(count, height, width, rate, times, count / fps, lambda: iter(frames))
        return
    with host.video_file(clip, name=name) as path:
        info = probe_video(path)
        yield Clip(
            info.frames,
            info.height,
            info.width,
            info.rate,
            info.times,
            info.duration,
            lambda: read_frames(path, info=info),
            path if info.has_audio else None,
            info.variable_rate,
            info.display,
        )


def expect_pair(source: Clip, edited: Clip) -> None:
    """Raise UserError unless two clips have the same frames' count and size."""
    expected, came = (
        f"{clip.count} frames of {clip.width} x {clip.height}" for clip in (source, edited)
    )
    if expected != came:
        raise UserError(
            f"edited: expected {expected} as the source has, got {came}; connect the clip that "
            "the edit was made from (a result of another length was made with length = loop, "
            "bounce, freeze or cut)."
        )
