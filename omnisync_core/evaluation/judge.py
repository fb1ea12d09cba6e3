"""A sync judge of our own: do these lips and this sound belong together, and with which lag?

SyncNet's form (Chung and Zisserman, "Out of time", 2016): one encoder for eight frames of the
mouth, one for the sound around them, compared by the cosine of their embeddings. It judges results
and is never part of a training loss. training/judge.py trains it.

In: mouth pictures grey uint8 [f, 48, 48] at 25 frames a second, sound [n] at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..audio import BINS, log_mel
from ..errors import UserError

FRAMES = 8
"""Frames that are judged at once: 0.32 s; SyncNet takes five."""
SIDE = 48
MEL = 40
"""Mel frames (10 ms) heard with them: 40 ms more on either side."""
RATE = 25.0
SHARE = 0.5
"""The part of the standard crop's side, around the mouth, that the judge sees."""
_MEL_PER_FRAME = 4
_MARGIN = (MEL - FRAMES * _MEL_PER_FRAME) // 2
_LAST = 8  # what three convolutions leave of a window's 40 mel frames: 38, 18, 8
WEIGHTS = Path(__file__).parents[1] / "weights" / "judge.safetensors"
"""The judge that ships."""
MOST_LAG = 15
"""Frames to either side that are tried, as in SyncNet's own evaluation."""


class SyncJudge(nn.Module):
    """Eight mouth pictures and 0.4 s of sound -> unit vectors; their cosine says how they fit."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()

        def look(a: int, b: int) -> nn.Sequential:
            convolution = nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(b), nn.ReLU())

        def listen(a: int, b: int, stride: int) -> nn.Sequential:
            convolution = nn.Conv1d(a, b, 3, stride=stride, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm1d(b), nn.ReLU())

        self.seen = nn.Sequential(
            *(look(FRAMES, 48), look(48, 64), look(64, 96), look(96, 128)),
            nn.Flatten(),
            nn.Linear(128 * (SIDE // 16) ** 2, width),
        )
        # Without padding, and four mel frames a step: one pass hears a window at every video frame.
        self.heard = nn.Sequential(
            *(listen(BINS, 128, 1), listen(128, 128, 2), listen(128, 128, 2)),
            nn.Conv1d(128, width, _LAST),
        )
        self.scale = nn.Parameter(torch.tensor(2.3))  # log of the cosine's factor in training

    def see(self, mouths: Tensor) -> Tensor:
        """Mouth pictures uint8 or float [b, 8, 48, 48] -> unit vectors [b, d]."""
        pictures = mouths.float()
        mean = pictures.mean((1, 2, 3), keepdim=True)
        deviation = pictures.std((1, 2, 3), keepdim=True)
        return F.normalize(self.seen((pictures - mean) / (deviation + 1)), dim=1)

    def hear(self, mel: Tensor) -> Tensor:
        """Log-mel [b, 36 + 4 k, 80] -> unit vectors [b, k, d], one for each frame's window."""
        heard = self.heard(rearrange(mel, "b n c -> b c n"))
        return F.normalize(rearrange(heard, "b d k -> b k d"), dim=2)


@dataclass(frozen=True)
class Judgement:
    """Cosines at every lag of the lips behind the sound, and what they say."""

    curve: np.ndarray
    """Mean cosine at lags -15 to 15 frames [31]."""
    lag: int
    """Frames by which the lips are late, where the cosine is highest."""
    at_zero: float
    """Mean cosine as the video plays."""
    confidence: float
    """Highest less median cosine: SyncNet's confidence (LSE-C), on this judge's own scale."""


def load_judge(path: Path) -> SyncJudge:
    """A trained judge from its .safetensors file."""
    judge = SyncJudge()
    try:
        judge.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError):
        raise UserError(
            f"{path} holds no sync judge; train one with `python -m omnisync_core.training.judge`."
        ) from None
    return judge.eval()


def mel_around(mel: Tensor, first: float, count: int) -> Tensor:
    """The sound of windows that begin at frames first, first + 1 ...: [n, 80] -> [36 + 4 k, 80].

    Frames count at 25 a second from the sound's start; before and after it there is silence.
    """
    start = round(first * _MEL_PER_FRAME) - _MARGIN
    index = start + torch.arange(MEL + (count - 1) * _MEL_PER_FRAME)
    inside = (index >= 0) & (index < len(mel))
    silence = log_mel(torch.zeros(1, 1600))[0, 0].to(mel)
    return torch.where(inside[:, None], mel[index.clamp(0, len(mel) - 1)], silence)


def mouth_pictures(frames: np.ndarray, places: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Grey uint8 [f, 48, 48] around mouths [f, 2] that the head carries; sides [f] of the crop."""
    import cv2

    out = np.empty((len(frames), SIDE, SIDE), np.uint8)
    for i, (frame, (x, y), side) in enumerate(zip(frames, places, sides, strict=True)):
        scale = SIDE / (SHARE * side)
        matrix = np.array([[scale, 0, SIDE / 2 - scale * x], [0, scale, SIDE / 2 - scale * y]])
        grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
        out[i] = cv2.warpAffine(grey, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return out


@torch.no_grad()
def judge_sync(judge: SyncJudge, mouths: np.ndarray, sound: np.ndarray) -> Judgement:
    """Judge mouth pictures uint8 [f, 48, 48] against the sound [n] that plays with them.

    Raises ValueError for fewer than eight frames.
    """
    if len(mouths) < FRAMES or mouths.shape[1:] != (SIDE, SIDE):
        raise ValueError(
            f"expected at least {FRAMES} grey pictures of {SIDE} x {SIDE}, got {mouths.shape}"
        )
    starts = np.arange(len(mouths) - FRAMES + 1)
    windows = torch.from_numpy(np.stack([mouths[i : i + FRAMES] for i in starts]))
    seen = judge.see(windows)
    mel = log_mel(torch.from_numpy(np.ascontiguousarray(sound, np.float32))[None])[0]
    heard = judge.hear(mel_around(mel, -MOST_LAG, len(starts) + 2 * MOST_LAG)[None])[0]
    # Lips that are late by k frames show at frame i what was heard at i - k.
    lags = np.arange(-MOST_LAG, MOST_LAG + 1)
    curve = np.array([float((seen * heard[starts - lag + MOST_LAG]).sum(1).mean()) for lag in lags])
    best = int(curve.argmax())
    return Judgement(
        curve, int(lags[best]), float(curve[MOST_LAG]), float(curve[best] - np.median(curve))
    )
