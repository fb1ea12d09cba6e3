"""Which frames to show when the sound and the picture differ in length (before the first step).

In: the video's frames and their times, the length of the sound, what the user chose. Out: a
`LengthPlan`: source frame numbers and times of the output, and how long its sound is to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from .config import Length
from .video_info import VideoInfo

# A frame that would appear less than this part of itself before the sound ends is left out: lengths
# are rounded to samples, and 10.000 s at 25 fps are 250 frames.
_SLACK = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class LengthPlan:
    """The output's timeline."""

    frames: np.ndarray
    """Int64 [n]: the source frame of each output frame."""
    times: np.ndarray
    """Float64 [n]: when each appears, in seconds, the first at 0."""
    duration: float
    """Seconds to the end of the last frame; the sound is padded or cut to this."""


def match_length(info: VideoInfo, audio_seconds: float, mode: Length = "silence") -> LengthPlan:
    """Plan the output for a sound of `audio_seconds`.

    Every frame is shown as long as in the source, so an uneven rate stays as it is. Raises
    ValueError for an unknown mode or a length that is not above 0.
    """
    if mode not in get_args(Length):
        raise ValueError(f"expected a length mode among {get_args(Length)}, got {mode!r}")
    if not 0 < audio_seconds < np.inf:
        raise ValueError(f"expected a sound longer than 0 seconds, got {audio_seconds}")
    lasts = np.append(np.diff(info.times), info.duration - info.times[-1])
    if not info.variable_rate:
        lasts = np.full(info.frames, 1 / info.rate, dtype=np.float64)
    order = np.arange(info.frames)
    if mode in ("loop", "bounce", "freeze") and audio_seconds > info.duration:
        order = _until(_round(info.frames, mode), order, lasts, audio_seconds)
    elif mode == "cut":
        order = order[: _count_within(lasts, audio_seconds)]
    ends = np.cumsum(lasts[order])
    if not info.variable_rate:  # no sum of rounded numbers where the grid is known
        ends = np.arange(1, len(order) + 1) * info.rate.denominator / info.rate.numerator
    times = np.concatenate([[0.0], ends[:-1]])
    return LengthPlan(frames=order, times=times, duration=float(ends[-1]))


def _round(frames: int, mode: Length) -> np.ndarray:
    """What is repeated after 0 1 2 3: for loop 0 1 2 3, for bounce 2 1 0 1 2 3, for freeze 3."""
    forward = np.arange(frames)
    if mode == "freeze":
        return forward[-1:]
    if mode == "loop" or frames == 1:
        return forward
    return np.concatenate([forward[-2:0:-1], forward])


def _until(again: np.ndarray, order: np.ndarray, lasts: np.ndarray, seconds: float) -> np.ndarray:
    """`order`, and `again` as often as it takes until the sound ends."""
    rounds = int((seconds - lasts[order].sum()) / lasts[again].sum()) + 1
    order = np.concatenate([order, np.tile(again, rounds)])
    return order[: _count_within(lasts[order], seconds)]


def _count_within(lasts: np.ndarray, seconds: float) -> int:
    """How many frames begin before `seconds` (at least one)."""
    starts = np.concatenate([[0.0], np.cumsum(lasts)[:-1]])
    return max(1, int((starts < seconds - _SLACK * lasts).sum()))
