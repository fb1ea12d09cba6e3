"""The whole model: voice encoder, voiceprint and video transformer, and what guidance asks of them.

In: a waveform and frame times; noisy and source crops. Out: audio per frame; velocities per
condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from .audio import AudioEncoder, Voiceprint, frame_windows
from .config import ModelConfig
from .replay import Replay
from .transformer import VideoTransformer


@dataclass(frozen=True)
class FrameAudio:
    """What the network hears: one sound, for frames at certain times."""

    tokens: Tensor
    """[m a]: the whole sound, 50 tokens a second."""
    reach: int
    """Tokens that a frame hears on either side of its own time."""
    summary: Tensor
    """[a]: the sound without its order in time (the mean token), for guidance."""
    voiceprint: Tensor
    """[256]: who speaks."""
    times: Tensor
    """[f]: the frames' time stamps in seconds."""

    def span(self, start: int, stop: int) -> FrameAudio:
        """The audio of frames start..stop - 1."""
        return replace(self, times=self.times[start:stop])

    def at(self, frames: Sequence[int]) -> FrameAudio:
        """The audio of those frames, in their order."""
        return replace(self, times=self.times[torch.as_tensor(frames)])

    @property
    def windows(self) -> Tensor:
        """[f k a]: tokens around each frame's own time stamp. Made when asked for, for a span: of
        all frames of half an hour they would fill half a gigabyte."""
        return frame_windows(self.tokens, self.times, reach=self.reach)


class OmniSync(nn.Module):
    """Audio encoder + voiceprint + video transformer, as one checkpoint holds them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = AudioEncoder(config)
        self.voiceprint = Voiceprint(config)
        self.transformer = VideoTransformer(config)
        self.silence = nn.Parameter(torch.zeros(config.audio_width))  # the token of "no audio"

    @torch.no_grad()
    def encode_audio(self, waveform: Tensor, times: Tensor) -> FrameAudio:
        """Hear a mono waveform [n] at 16 kHz for frames at times [f] in seconds."""
        device = self.silence.device
        tokens = self.encoder.encode(waveform.to(device))
        return FrameAudio(
            tokens=tokens,
            reach=self.config.audio_reach,
            summary=tokens.mean(0),
            voiceprint=self.voiceprint(tokens[None])[0],
            times=times.to(device, torch.float32),
        )

    @torch.no_grad()
    def velocities(
        self,
        x_t: Tensor,
        t: float,
        source: Tensor,
        audio: FrameAudio,
        names: Sequence[str],
        replay: Replay | None = None,
    ) -> list[Tensor]:
        """Velocities [1 f 3 h w] under the named conditions, as one batch through the network.

        names: among "none" (no audio), "unordered" (audio without its order), "audio" (all of it).
        replay: past frames that these see, and that these join; the names must stay the same.
        v = (x_t - x) / t from the predicted clean frames x. Training clips the division near t = 0;
        here it is exact, since a step then moves x_t towards x and never past it, and the last one
        ends on x instead of leaving some noise.
        """
        windows = audio.windows
        frames, window = windows.shape[:2]
        spread = lambda token: repeat(token, "a -> f k a", f=frames, k=window)  # noqa: E731
        heard = {
            "none": (spread(self.silence), torch.zeros_like(audio.voiceprint)),
            "unordered": (spread(audio.summary), audio.voiceprint),
            "audio": (windows, audio.voiceprint),
        }
        count = len(names)
        # The weights may be in half precision; the sampler's own sums are not.
        clean = self.transformer(
            repeat(x_t.to(self.silence), "1 f c h w -> n f c h w", n=count),
            repeat(source.to(self.silence), "1 f c h w -> n f c h w", n=count),
            torch.full((count,), t, device=x_t.device),
            torch.stack([heard[name][0] for name in names]),
            torch.stack([heard[name][1] for name in names]),
            repeat(audio.times, "f -> n f", n=count),
            replay,
        )
        velocity = (x_t - clean.to(x_t)) / t
        return list(rearrange(velocity, "n f c h w -> n 1 f c h w"))
