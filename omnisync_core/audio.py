"""Voice: waveform -> log-mel -> tokens, and a voiceprint.

In: mono waveform [n] in [-1, 1] at 16 kHz. Out: 50 tokens a second [m, d], a voiceprint [256], and
for each video frame a short window of tokens around its own time stamp (so that any frame rate
works).

The encoder has Whisper's form, two 1-D convolutions over an 80-bin log-mel and a Transformer
(Radford et al. 2022, section 2.2), but small and with rotary positions. A sound of any length is
encoded in overlapping segments on a fixed grid, so that memory stays bounded and the tokens do not
depend on how the video is cut into windows.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig
from .layers import Attention, FeedForward, rotary

SAMPLE_RATE = 16_000
HOP = 160  # 10 ms: 100 mel frames a second
WINDOW = 400  # 25 ms
BINS = 80
TOKEN_RATE = 50.0
_FFT = 512
# Quiet floor of the logarithm, and the shift and scale that bring speech near zero mean and unit
# variance: read speech has -9.2 +- 4.4, synthesised -8.3 +- 4.7, so -0.5 +- 1.1 is left.
_FLOOR, _SHIFT, _SCALE = 1e-7, 7.0, 4.0
# Segment of the streaming encoder in tokens: 8 s heard, the middle 6 s kept, a linear cross-fade of
# 1 s to the next segment (neighbours hear different surroundings, so their tokens differ).
_SEGMENT, _MARGIN, _FADE = 400, 50, 50


def _hz_to_mel(hz: Tensor) -> Tensor:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    return torch.where(
        hz < 1000, hz * 3 / 200, 15 + 27 * torch.log(hz / 1000) / torch.log(torch.tensor(6.4))
    )


def _mel_to_hz(mel: Tensor) -> Tensor:
    return torch.where(
        mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * torch.log(torch.tensor(6.4)) / 27)
    )


@lru_cache(maxsize=1)
def mel_filterbank() -> Tensor:
    """Slaney-normalised triangles [80, 257] over 0..8 kHz."""
    ends = _hz_to_mel(torch.tensor([0.0, SAMPLE_RATE / 2], dtype=torch.float64))
    points = _mel_to_hz(
        torch.linspace(float(ends[0]), float(ends[1]), BINS + 2, dtype=torch.float64)
    )
    bins = torch.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1, dtype=torch.float64)
    width = points[1:] - points[:-1]
    rise = (bins[None] - points[:-2, None]) / width[:-1, None]
    fall = (points[2:, None] - bins[None]) / width[1:, None]
    triangles = torch.minimum(rise, fall).clamp(min=0)
    return (triangles * (2 / (points[2:] - points[:-2]))[:, None]).float()


def mel_power(waveform: Tensor) -> Tensor:
    """Mel power spectrum [b, n, 80] of waveforms [b, samples]; frame k is centred on k * 10 ms."""
    padded = F.pad(waveform, (_FFT // 2, _FFT // 2))
    window = torch.hann_window(WINDOW, device=waveform.device)
    spectrum = (
        torch.stft(padded, _FFT, HOP, WINDOW, window, center=False, return_complex=True).abs() ** 2
    )
    return (mel_filterbank().to(spectrum) @ spectrum).transpose(1, 2)


def log_mel(waveform: Tensor) -> Tensor:
    """Log-mel features [b, n, 80], speech about -0.5 +- 1.1, of waveforms [b, samples]."""
    return (torch.log(mel_power(waveform).clamp(min=_FLOOR)) + _SHIFT) / _SCALE


class _EncoderBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.RMSNorm(width)
        self.attention = Attention(width, heads)
        self.norm_feed = nn.RMSNorm(width)
        self.feed = FeedForward(width)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:  # [b m d]
        x = x + self.attention(self.norm_attention(x), positions=positions)
        return x + self.feed(self.norm_feed(x))


class AudioEncoder(nn.Module):
    """1D-CNN + Transformer: log-mel [b, 2m, 80] -> tokens [b, m, d]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.audio_width
        self.head_width = width // config.audio_heads
        self.stem = nn.Conv1d(BINS, width, 3, padding=1)
        self.halve = nn.Conv1d(width, width, 3, stride=2, padding=1)
        blocks = [_EncoderBlock(width, config.audio_heads) for _ in range(config.audio_depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(width)

    def forward(self, mel: Tensor) -> Tensor:
        x = F.gelu(self.stem(rearrange(mel, "b n c -> b c n")))
        x = rearrange(F.gelu(self.halve(x)), "b d m -> b m d")
        positions = rotary(torch.arange(x.shape[1], device=x.device)[:, None], self.head_width)
        for block in self.blocks:
            x = block(x, positions)
        return self.norm(x)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Tokens [m, d] of a whole sound [n], m = ceil(50 n / 16000), segment by segment."""
        count = max(1, -(-waveform.numel() * int(TOKEN_RATE) // SAMPLE_RATE))
        kept, samples = _SEGMENT - 2 * _MARGIN, int(SAMPLE_RATE / TOKEN_RATE)
        place = torch.arange(_SEGMENT, device=waveform.device) - _MARGIN + 0.5
        share = torch.minimum(place + _FADE / 2, kept + _FADE / 2 - place).div(_FADE).clamp(0, 1)
        total = waveform.new_zeros(count + 2 * _SEGMENT, self.norm.weight.numel())
        shares = waveform.new_zeros(count + 2 * _SEGMENT, 1)
        for first in range(0, count, kept):
            start, stop = (first - _MARGIN) * samples, (first + kept + _MARGIN) * samples
            piece = waveform[max(start, 0) : max(stop, 0)]
            piece = F.pad(piece, (max(-start, 0), stop - max(start, 0) - piece.numel()))
            mel = log_mel(piece[None].float())[:, : 2 * _SEGMENT]
            tokens = self(mel.to(self.norm.weight.dtype))[0]
            span = slice(first, first + _SEGMENT)  # of token -_MARGIN and on
            total[span] += tokens * share[:, None]
            shares[span] += share[:, None]
        middle = slice(_MARGIN, _MARGIN + count)
        return total[middle].div_(shares[middle]).to(self.norm.weight.dtype)


class Voiceprint(nn.Module):
    """Who speaks: attentive pooling of tokens [b, m, d] into a unit-variance vector [b, 256].

    counts [b]: how many of the m tokens are a sound's own, where shorter sounds were padded.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.score = nn.Linear(config.audio_width, 1)
        self.project = nn.Linear(config.audio_width, config.voiceprint_width)

    def pool(self, tokens: Tensor, counts: Tensor | None = None) -> Tensor:
        """The mean token [b, d] of where somebody is heard best."""
        scores = self.score(tokens)
        if counts is not None:
            own = torch.arange(tokens.shape[1], device=tokens.device) < counts[:, None]
            scores = scores.masked_fill(~own[..., None], -torch.inf)
        return (scores.softmax(dim=1) * tokens).sum(1)

    def forward(self, tokens: Tensor, counts: Tensor | None = None) -> Tensor:
        pooled = self.project(self.pool(tokens, counts))
        return F.rms_norm(pooled, pooled.shape[-1:])


def frame_windows(tokens: Tensor, times: Tensor, *, reach: int) -> Tensor:
    """Tokens around each frame's time stamp: [m, d], times [f] in seconds -> [f, 2 reach + 1, d].

    Token k is centred on k / 50 s; values between are linear. Outside the sound the ends repeat.
    """
    offsets = torch.arange(-reach, reach + 1, device=tokens.device)
    place = (times.to(tokens.device, torch.float32)[:, None] * TOKEN_RATE + offsets).clamp(
        0, len(tokens) - 1
    )
    below = place.floor().long()
    above = (below + 1).clamp(max=len(tokens) - 1)
    share = (place - below).to(tokens.dtype)[..., None]
    return tokens[below] * (1 - share) + tokens[above] * share
