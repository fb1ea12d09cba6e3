"""The network: noisy frames, source frames, time and voice -> clean frames.

In: x_t and source [b f 3 h w] in [-1, 1] (h, w multiples of the patch), t [b] in [0, 1], audio
windows [b f k a] (see audio.frame_windows), voiceprint [b 256], frame times [b f] in seconds. Out:
the clean frames x [b f 3 h w].

A diffusion transformer (Peebles and Xie 2023) on raw pixels that predicts the clean picture (Li and
He 2025, "Back to basics", section 4: with patches this small any prediction trains, the clean
picture best). The source enters by channel concatenation and the output is the source, moved and
drawn over (decoder.py): untrained, the model is the identity. Attention is factorised: within a
frame, then across the frames of the window at the same place (and those of past windows, with a
replay.Replay). Every block is modulated (adaLN-Zero) by time, voiceprint and the frame's own sound,
and reads the frame's audio window by cross-attention.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .config import ModelConfig
from .decoder import Decoder, Drawing, compose
from .errors import UserError
from .layers import Attention, FeedForward, TimeEmbedding, rotary
from .replay import Recall, Replay

# Positions in time are counted in frames at 25 a second, so that the same motion has the same
# positions at any frame rate.
_POSITIONS_PER_SECOND = 25.0


# Deviation of pictures in [-1, 1], rounded up (0.42 to 0.44 over the training crops).
_PICTURE_DEVIATION = 0.5


def _wiener(x_t: Tensor, source: Tensor, t: Tensor) -> Tensor:
    """What x_t alone tells of the clean frames if they scatter around the source: [b f 3 h w].

    The mean of x given x_t = (1 - t) x + t eps for x ~ N(source, s^2). x_t itself would flood the
    network with noise just where the voice must decide (near t = 1 it tells next to nothing); this
    input is the source there, and x_t at t = 0.
    """
    t = t[:, None, None, None, None].to(x_t)
    variance = _PICTURE_DEVIATION**2
    gain = (1 - t) * variance / ((1 - t) ** 2 * variance + t**2)
    return source + gain * (x_t - (1 - t) * source)


# Wave lengths in patches of the sinusoids that tell a patch where in the crop it lies.
_PLACE_WAVES = (32.0, 16.0, 8.0, 4.0)


def _place_features(grid: Tensor) -> Tensor:
    """Sines and cosines [n, 16] of rows and columns [n 2]: the standard crop holds the mouth in its
    middle, and rotary positions, which are relative, cannot say where that is."""
    angle = grid[:, :, None] * (2 * torch.pi / torch.tensor(_PLACE_WAVES, device=grid.device))
    return rearrange([angle.sin(), angle.cos()], "part n place wave -> n (part place wave)")


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without parameters, then scale and shift per frame: x [bf n d], shift [bf 1 d]."""
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


class Block(nn.Module):
    """Attention in space, attention in time, sound, feed-forward; each starts as the identity."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        self.space = Attention(width, heads)
        self.time = Attention(width, heads)
        self.sound = Attention(width, heads, context_width=config.audio_width)
        self.norm_sound = nn.RMSNorm(width)
        self.feed = FeedForward(width)
        self.modulation = nn.Linear(width, 9 * width)
        for layer in (self.modulation, self.sound.out):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        x: Tensor,  # [bf n d]
        condition: Tensor,  # [bf d]
        audio: Tensor,  # [bf k a]
        in_space: tuple[Tensor, Tensor],
        in_time: tuple[Tensor, Tensor],
        recall: Recall | None = None,
        in_all_time: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """recall, in_all_time: brings past frames to the attention in time, and the positions of
        past and present."""
        frames, tokens = len(in_time[0]), x.shape[1]
        shift1, scale1, gate1, shift2, scale2, gate2, shift3, scale3, gate3 = rearrange(
            self.modulation(F.silu(condition)), "bf (parts d) -> parts bf 1 d", parts=9
        )
        x = x + gate1 * self.space(_modulate(x, shift1, scale1), positions=in_space)
        y = rearrange(_modulate(x, shift2, scale2), "(b f) n d -> (b n) f d", f=frames)
        known = recall(y) if recall else None
        y = self.time(y, known, positions=in_time, context_positions=in_all_time)
        y = rearrange(y, "(b n) f d -> (b f) n d", n=tokens)
        x = x + gate2 * y
        x = x + self.sound(self.norm_sound(x), audio)
        return x + gate3 * self.feed(_modulate(x, shift3, scale3))


class VideoTransformer(nn.Module):
    """See the module's docstring; forward() has the shapes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False  # training: activations are computed again, not kept
        width, patch = config.width, config.patch
        self.embed = nn.Linear(6 * patch * patch, width)
        self.place = nn.Linear(4 * len(_PLACE_WAVES), width)
        self.time = TimeEmbedding(width)
        self.voice = nn.Linear(config.voiceprint_width, width)
        window = 2 * config.audio_reach + 1
        self.frame_sound = nn.Sequential(
            nn.Linear(window * config.audio_width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.decoder = Decoder(config)

    def forward(
        self,
        x_t: Tensor,
        source: Tensor,
        t: Tensor,
        audio: Tensor,
        voiceprint: Tensor,
        times: Tensor,
        replay: Replay | None = None,
    ) -> Tensor:
        """replay: the past that attention in time sees as well; it notes these frames."""
        drawing, pictures = self.draw(x_t, source, t, audio, voiceprint, times, replay)
        return compose(drawing, pictures).unflatten(0, x_t.shape[:2])

    def draw(
        self,
        x_t: Tensor,
        source: Tensor,
        t: Tensor,
        audio: Tensor,
        voiceprint: Tensor,
        times: Tensor,
        replay: Replay | None = None,
    ) -> tuple[Drawing, Tensor]:
        """What compose() makes the clean frames of, all windows' frames in a row: n = b f."""
        patch = self.config.patch
        height, width = x_t.shape[-2:]
        if height % patch or width % patch:
            raise UserError(
                f"Frames must be a multiple of {patch} pixels high and wide; "
                f"got {height} x {width}."
            )
        estimate = _wiener(x_t, source, t)
        both = rearrange(torch.cat([estimate, source], dim=2), "b f c h w -> (b f) c h w")
        x = self.embed(
            rearrange(both, "bf c (y p) (x q) -> bf (y x) (c p q)", p=patch, q=patch)
        )  # [bf n d]
        grid = self._grid(height // patch, width // patch, x.device)
        x = x + self.place(_place_features(grid).to(x))
        condition = rearrange(
            (self.time(t) + self.voice(voiceprint))[:, None]
            + self.frame_sound(rearrange(audio, "b f k a -> b f (k a)")),
            "b f d -> (b f) d",
        )
        in_space = rotary(grid, self.config.width // self.config.heads)
        # One clock for the batch: windows of a batch share their frame spacing.
        clock = (times[0] - times[0, 0]) * _POSITIONS_PER_SECOND
        past = self._past_clock(clock, replay.past(float(t[0])) if replay else 0)
        turns = rotary(torch.cat([past, clock])[:, None], self.config.width // self.config.heads)
        in_time = (turns[0][len(past) :], turns[1][len(past) :])
        sound = rearrange(audio, "b f k a -> (b f) k a")
        again = self.checkpointing and torch.is_grad_enabled()
        for i, block in enumerate(self.blocks):
            recall = replay.recall(float(t[0]), i) if replay else None
            inputs = (x, condition, sound, in_space, in_time, recall, turns)
            x = checkpoint(block, *inputs, use_reentrant=False) if again else block(*inputs)
        return self.decoder(F.layer_norm(x, x.shape[-1:]), both), both

    def _past_clock(self, clock: Tensor, frames: int) -> Tensor:
        """Positions [frames] of remembered frames: just before the window, a frame apart. However
        long ago the first one was, no distance is larger than the memory."""
        step = (clock[1] - clock[0]).abs() if len(clock) > 1 else torch.ones_like(clock[0])
        return clock[0] - step * torch.arange(frames, 0, -1, device=clock.device)

    def _grid(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """Rows and columns [n 2] of the patches, from the middle: another size keeps its centre."""
        y = torch.arange(rows, device=device) - (rows - 1) / 2
        x = torch.arange(columns, device=device) - (columns - 1) / 2
        return torch.stack(
            [repeat(y, "r -> (r c)", c=columns), repeat(x, "c -> (r c)", r=rows)], dim=1
        )
