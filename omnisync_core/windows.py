"""Windows: a video of any length -> the spans that the network sees at once.

In: the number of frames. Out: windows on an absolute grid, so that neither the length of the video
nor the size of the chunks moves them, and the weights that blend their results. The k-th window
starts at k (window - overlap); the weights of a frame sum to one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Frames start..stop - 1, and the share of each that this window contributes."""

    start: int
    stop: int
    weights: np.ndarray
    """f64 [stop - start] in (0, 1]."""


def plan_windows(frames: int, *, window: int, overlap: int) -> list[Window]:
    """Cover `frames` frames by windows of `window` frames that share `overlap` with the next.

    The last window is shorter where the video ends; it has more than `overlap` frames unless it is
    the only one. Weights rise and fall linearly over an overlap.
    Raises ValueError unless frames >= 1 and 0 <= overlap <= window / 2.
    """
    if frames < 1 or window < 1 or not 0 <= 2 * overlap <= window:
        raise ValueError(
            "expected at least one frame and an overlap of at most half a window; got "
            f"{frames} frames, window {window}, overlap {overlap}"
        )
    stride = window - overlap
    # (i + 1) / (overlap + 1) and its mirror image sum to one, and neither reaches 0.
    rise = np.arange(1, overlap + 1) / (overlap + 1)
    plan = []
    for start in range(0, max(1, frames - overlap), stride):
        stop = min(start + window, frames)
        weights = np.ones(stop - start)
        if start > 0:
            weights[:overlap] = rise
        if stop < frames:
            weights[window - overlap :] = rise[::-1]
        plan.append(Window(start, stop, weights))
    return plan
