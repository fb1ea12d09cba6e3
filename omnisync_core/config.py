"""All knobs: what a network is (ModelConfig, kept in its checkpoint), and what a run does."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from .errors import UserError


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One network, any size. The defaults are the full `omnisync` preset."""

    name: str = "omnisync"
    """Preset that this derives from, for messages only."""
    width: int = 768
    """Channels of a video token."""
    depth: int = 24
    """Transformer blocks."""
    heads: int = 12
    """Attention heads; width / heads channels each, a multiple of 4."""
    patch: int = 8
    """Side of a square patch in pixels, an even number."""
    detail_width: int = 32
    """Channels that tokens and pictures each bring to the decoder's convolutions."""
    crop: int = 512
    """Side in pixels of the crops that the network was trained on."""
    audio_width: int = 384
    """Channels of an audio token."""
    audio_depth: int = 6
    """Transformer layers of the audio encoder."""
    audio_heads: int = 6
    """Attention heads of the audio encoder."""
    audio_reach: int = 6
    """Audio tokens (20 ms each) that a frame sees on either side of its own time."""
    voiceprint_width: int = 256
    """Channels of the voiceprint."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "name" and (type(value) is not int or value < 1):
                raise UserError(f"A model's {name} must be a whole number above 0; got {value!r}.")
        if self.patch % 2:
            raise UserError(f"A model's patch must be an even number; got {self.patch}.")
        for width, heads, what in (
            (self.width, self.heads, "width"),
            (self.audio_width, self.audio_heads, "audio_width"),
        ):
            if width % heads or (width // heads) % 4:
                raise UserError(
                    f"A model's {what} must divide into heads of a multiple of 4 channels; "
                    f"got {what}={width} and {heads} heads."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the checkpoint's header."""
        return asdict(self)


Profile = Literal["seed", "paper", "constant"]
Solver = Literal["euler", "heun"]
Length = Literal["silence", "cut", "loop", "bounce", "freeze"]
Occlusion = Literal["auto", "off"]
Texture = Literal["own", "drawn"]


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """One run. The command line and the nodes show the same fields with the same words."""

    steps: int = 1
    """Sampling steps, 1 to 1000. More is slower; the embedded model was taught to need one."""
    seed: int = 0
    """The same seed gives the same result."""
    tau: float = 0.92
    """Where sampling starts: 0 returns the source, 1 starts from plain noise."""
    spatial_scale: float = 1.0
    """How strongly guidance edits the place of the mouth: 1 is the plain network (the embedded one
    has guidance in its weights), 0 the network without the voice."""
    temporal_scale: float = 1.0
    """How strongly guidance follows the timing of the voice."""
    profile: Profile = "constant"
    """Guidance schedule: constant, seed (two sigmoids) or paper (one power curve)."""
    solver: Solver = "euler"
    """euler, or heun (twice the work per step, more exact)."""
    churn: float = 0.0
    """Noise injected again by phase; 0 is deterministic."""
    region: str = "auto"
    """Where the mouth is: auto, full, x,y,w,h in pixels, or a JSON file with one box per frame."""
    speaker: str = "auto"
    """Whose mouth `auto` follows: auto (the clearest), left, right, largest, or x,y in pixels."""
    occlusion: Occlusion = "off"
    """auto keeps what covers the mouth (a hand, a microphone) in front of the edit; off does not
    look for it."""
    texture: Texture = "own"
    """own gives the new mouth lips and teeth of the same shot, where one looks like it; drawn shows
    what the network drew."""
    length: Length = "silence"
    """When voice and video differ in length: silence keeps the video's length, cut ends both at the
    shorter one, loop, bounce and freeze lengthen the video until a longer voice ends."""
    lossless: bool = False
    """Write without loss: FFV1 in .mkv, x264 without loss in .mp4 and .mov."""
    window: int = 16
    """Frames that the network sees at once."""
    overlap: int = 4
    """Frames that neighbouring windows share and blend."""
    flow: str = "auto"
    """What finds how the picture moves, for the noise that moves with it: auto (OpenCV's DIS where
    it is installed, else Lucas-Kanade), lucas_kanade, or the path of FlowNet3D weights."""
    keyframe_interval: int = 0
    """Every how many frames a source keyframe joins the windows after it as an anchor, and the
    result is compared with it; 0 is never. Costs one frame more per window."""
    identity_floor: float = 0.97
    """Share of its source's likeness to the keyframe that a window must keep; below it the window
    is edited again, drawn towards the source."""
    replay: int = 0
    """Frames of past windows that the network remembers, the shot's first among them; 0 is none."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("steps", 1, 1000),
            ("tau", 0, 1),
            ("spatial_scale", 0, 20),
            ("temporal_scale", 0, 20),
            ("churn", 0, 1),
            ("window", 1, 256),
            ("seed", 0, 2**63 - 1),
            ("keyframe_interval", 0, 100_000),
            ("identity_floor", 0, 1),
            ("replay", 0, 256),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise UserError(f"{name} must lie between {low} and {high}; got {value}.")
        if not 0 <= self.overlap <= self.window // 2:
            raise UserError(
                f"overlap must lie between 0 and half the window of {self.window} frames; "
                f"got {self.overlap}."
            )
        for name, choices in (
            ("profile", Profile),
            ("solver", Solver),
            ("length", Length),
            ("occlusion", Occlusion),
            ("texture", Texture),
        ):
            if getattr(self, name) not in get_args(choices):
                raise UserError(
                    f"{name} must be one of {', '.join(get_args(choices))}; "
                    f"got {getattr(self, name)!r}."
                )


PRESETS: dict[str, ModelConfig] = {
    "omnisync": ModelConfig(),
    "mini": ModelConfig(
        name="mini",
        width=192,
        depth=8,
        heads=3,
        patch=12,
        detail_width=24,
        crop=144,
        audio_width=192,
        audio_depth=8,
        audio_heads=3,
    ),
}
"""Sizes by name. `tiny` sizes for tests are made from these with dataclasses.replace."""


def preset(name: str, **changes: Any) -> ModelConfig:
    """A named size, some fields changed. Raises UserError for an unknown name."""
    if name not in PRESETS:
        raise UserError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return replace(PRESETS[name], **changes)
