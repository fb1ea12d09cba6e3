"""What a run tells while it goes on, and what it did.

Out: Progress for the callback of a run, and a Summary at its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Finished:
    """A frame that is ready to be shown."""

    index: int
    time: float
    """When it is shown, in seconds."""
    crop: Tensor | None
    """Its mouth as edited, [3 s s] in [-1, 1]; None: no mouth, the frame passed through."""
    occluded: bool
    """Whether something is in front of the mouth."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands; a callback gets one after every frame located, every sampling step and
    every frame finished."""

    stage: str
    """"locate" or "edit"."""
    done: float
    """Frames finished; between whole numbers while a window is being sampled."""
    total: int
    """Frames in all."""
    preview: Tensor | None = None
    """The mouth crop as it is now, [3 h w] in [-1, 1], or None."""
    finished: Finished | None = None


Callback = Callable[[Progress], None]
"""May raise to cancel: nothing half-written remains."""


@dataclass
class Summary:
    """What a run did."""

    frames: int = 0
    """Frames written."""
    edited: int = 0
    """Frames with new lips; the others passed through unchanged."""
    halved: int = 0
    """How often memory ran out, so that half as many frames were edited at once from there on."""
    occluded: int = 0
    """Edited frames with something in front of the mouth."""
    windows: int = 0
    """Windows sampled."""
    anchored: int = 0
    """Windows edited again because they had drifted away from their keyframe."""
    damaged: bool = False
    """Whether parts of the video could not be decoded; see `VideoInfo.damaged`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds per stage; "edit" holds "occlusion", "flow init", "sampling", "texture",
    "composite" and the writing."""

    def add_time(self, stage: str, started: float) -> float:
        """Book the time since started (time.perf_counter) under a stage; returns the time now."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - started
        return now
