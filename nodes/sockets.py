"""What travels between the expert nodes: the pack's own socket types.

A type's name is what ComfyUI compares when a link is drawn; the object is what a node hands over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..omnisync_core.model import FrameAudio, OmniSync
    from ..omnisync_core.region import Tracking

MODEL = "OMNISYNC_MODEL"
AUDIO = "OMNISYNC_AUDIO"
START = "OMNISYNC_START"
WINDOWS = "OMNISYNC_WINDOWS"


@dataclass(frozen=True)
class LoadedModel:
    """MODEL: a network and, inside ComfyUI, the handle by which the host moves it around."""

    network: OmniSync
    name: str
    patcher: Any = None


@dataclass(frozen=True)
class EncodedAudio:
    """AUDIO: a voice as the network hears it, frame by frame."""

    heard: FrameAudio
    fps: float
    loud: np.ndarray
    """[f] in [0, 1]: how loud the voice is at each frame."""


@dataclass(frozen=True)
class StartPoint:
    """START: where sampling begins, for one batch of frames."""

    tracking: Tracking
    """Where the mouth is in each frame."""
    noise: dict[int, Tensor]
    """Frame number -> noise f32 [3 s s], for the frames with a mouth."""
    tau: float
    seed: int

    @property
    def size(self) -> int | None:
        """Side of the crops that the noise is for; None when no frame has a mouth."""
        return next((noise.shape[-1] for noise in self.noise.values()), None)


@dataclass(frozen=True)
class WindowPlan:
    """WINDOWS: how a clip is cut into the spans that the network sees at once."""

    window: int
    overlap: int
    frames: int
    count: int
