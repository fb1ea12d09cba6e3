"""All knobs: what a network is (ModelConfig, kept inside its checkpoint) and what a run does (SyncOptions)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

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
    """Side of a square patch in pixels."""
    detail_width: int = 32
    """Channels of the full-resolution convolutions that join the patches of the output."""
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
        for width, heads, what in (
            (self.width, self.heads, "width"),
            (self.audio_width, self.audio_heads, "audio_width"),
        ):
            if width % heads or (width // heads) % 4:
                raise UserError(
                    f"A model's {what} must divide into heads of a multiple of 4 channels; "
                    f"got {what}={width} and {heads} heads."
                )
        if min(self.depth, self.patch, self.audio_depth, self.detail_width) < 1 or self.crop < 8:
            raise UserError("A model needs at least one block, one audio layer and a crop of 8 pixels.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the checkpoint's header."""
        return asdict(self)


PRESETS: dict[str, ModelConfig] = {
    "omnisync": ModelConfig(),
    "mini": ModelConfig(
        name="mini",
        width=192,
        depth=6,
        heads=3,
        detail_width=16,
        crop=96,
        audio_width=192,
        audio_depth=4,
        audio_heads=3,
    ),
}
"""Sizes by name. `tiny` sizes for tests are made from these with dataclasses.replace."""


def preset(name: str, **changes: Any) -> ModelConfig:
    """A named size, some fields changed. Raises UserError for an unknown name."""
    if name not in PRESETS:
        raise UserError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return replace(PRESETS[name], **changes)
