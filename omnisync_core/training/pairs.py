"""Training windows: (source frames, target frames, voice), drawn by flow time.

Two pools are mixed: rendered clips (render.py) and real ones (real.py). Which pairs may appear at
which flow time follows OmniSync (Peng et al. 2025, section 3.2): above t = 0.85, where the network
lays out pose and identity, only pose-aligned pairs; below, any stretch of the same person as well.
A hard switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..audio import TOKEN_RATE
from ..errors import UserError
from .real import LIPS, PACKED, PackedClip, other_moment, transplant

ALIGNED_ABOVE = 0.85
"""Flow time above which only pose-aligned pairs are drawn (paper: 850 of 1000)."""
RATE = 25.0  # frames a second of both pools


@dataclass
class Voice:
    """Tokens [v, m, a] of one sound, v times heard (clean first, then under noise)."""

    tokens: np.ndarray

    def windows(self, times: np.ndarray, *, reach: int, take: int) -> np.ndarray:
        """Tokens around frame times [f] -> [f, 2 reach + 1, a]; the twin of audio.frame_windows."""
        tokens = self.tokens[take]
        offsets = np.arange(-reach, reach + 1)
        place = np.clip(times[:, None] * TOKEN_RATE + offsets, 0, len(tokens) - 1)
        below = place.astype(np.int64)
        above = np.minimum(below + 1, len(tokens) - 1)
        share = (place - below)[..., None].astype(np.float32)
        return tokens[below] * (1 - share) + tokens[above] * share


@dataclass
class RenderedClip:
    """Source and target [f, s, s, 3] uint8, mouth centres [f, 2], its voice and start in it (s)."""

    source: np.ndarray
    target: np.ndarray
    mouth: np.ndarray
    voice: Voice
    start: float


@dataclass
class Window:
    """One training sample; pictures uint8 [f, s, s, 3], mouth [f, 2] in crop pixels."""

    source: np.ndarray
    target: np.ndarray
    mouth: np.ndarray
    windows: np.ndarray
    summary: np.ndarray
    tokens: np.ndarray


@dataclass
class Pools:
    """What training draws from. real_share: how often a window is real."""

    rendered: list[RenderedClip]
    real: list[tuple[PackedClip, Voice]]
    size: int
    reach: int
    real_share: float = 0.5
    real_weights: np.ndarray | None = None
    """Odds per real clip: people with few clips are drawn more often than their clips alone."""

    def draw(self, t: float, frames: int, rng: np.random.Generator) -> Window:
        """A window of that many frames, fit for flow time t."""
        window = (
            self._real(t, frames, rng)
            if self.real and (not self.rendered or rng.random() < self.real_share)
            else self._rendered(frames, rng)
        )
        return _recolour(window, rng)

    def _sound(
        self, voice: Voice, times: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        take = int(rng.integers(len(voice.tokens)))
        tokens = voice.tokens[take]
        return voice.windows(times, reach=self.reach, take=take), tokens.mean(0), tokens

    def _rendered(self, frames: int, rng: np.random.Generator) -> Window:
        clip = self.rendered[rng.integers(len(self.rendered))]
        first = int(rng.integers(len(clip.source) - frames + 1))
        span = slice(first, first + frames)
        times = clip.start + np.arange(first, first + frames) / RATE
        return Window(
            clip.source[span],
            clip.target[span],
            clip.mouth[span],
            *self._sound(clip.voice, times, rng),
        )

    def _real(self, t: float, frames: int, rng: np.random.Generator) -> Window:
        clip, voice = self.real[rng.choice(len(self.real), p=self.real_weights)]
        count = len(clip.crops)
        first = int(rng.integers(count - frames + 1))
        other = int(rng.integers(count - frames + 1))
        aligned = t > ALIGNED_ABOVE or rng.random() < 0.6
        make = transplant if aligned else other_moment
        place = _placement(rng, self.size)
        sources, targets, mouths = [], [], []
        for i in range(frames):
            target = first + i
            sources.append(_place(make(clip, target, other + i), place, self.size))
            targets.append(_place(clip.crops[target], place, self.size))
            lips = clip.landmarks[target, LIPS].mean(0)
            mouths.append(place[:, :2] @ lips + place[:, 2])
        times = np.arange(first, first + frames) / RATE
        return Window(
            np.stack(sources), np.stack(targets), np.stack(mouths), *self._sound(voice, times, rng)
        )


def _placement(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random crop [2, 3] out of a packed crop: turned, scaled, shifted as a locator may err."""
    turn = rng.normal() * np.radians(7)
    scale = size / (PACKED / 1.25) * rng.uniform(0.87, 1.15)
    shift = rng.uniform(-0.06, 0.06, 2) * size
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([PACKED / 2, PACKED / 2])
    return np.concatenate([matrix, (size / 2 + shift - matrix @ middle)[:, None]], axis=1)


def _place(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(
        picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _recolour(window: Window, rng: np.random.Generator) -> Window:
    """The same random light, tint, gamma, mirror and softness for source and target."""
    size = window.source.shape[1]
    gain = rng.uniform(0.7, 1.25) * (1 + rng.normal(size=3) * 0.08)
    gamma = np.exp(rng.normal() * 0.2)
    mix = np.eye(3) + rng.normal(size=(3, 3)) * 0.06
    grey = rng.random() < 0.08
    levels = np.linspace(0, 1, 256) ** gamma * 255
    mirrored = rng.random() < 0.5
    soft = rng.uniform(1.3, 2.5) if rng.random() < 0.2 else 0.0

    def change(pictures: np.ndarray) -> np.ndarray:
        values = levels[pictures].astype(np.float32) @ (mix * gain).T.astype(np.float32)
        if grey:
            values = np.repeat(values.mean(-1, keepdims=True), 3, axis=-1)
        if mirrored:
            values = values[:, :, ::-1]
        if soft:
            low = max(8, int(size / soft))
            values = np.stack(
                [
                    cv2.resize(
                        cv2.resize(one, (low, low), interpolation=cv2.INTER_AREA),
                        (size, size),
                        interpolation=cv2.INTER_LINEAR,
                    )
                    for one in values
                ]
            )
        return np.clip(values, 0, 255).astype(np.uint8)

    mouth = window.mouth.copy()
    if mirrored:
        mouth[:, 0] = size - mouth[:, 0]
    return Window(
        change(window.source),
        change(window.target),
        mouth,
        window.windows,
        window.summary,
        window.tokens,
    )


def load_rendered(folder: Path, voices: dict[str, Voice]) -> list[RenderedClip]:
    """Read the shards that render_shard wrote (npz), joining each clip with its voice."""
    clips = []
    for path in sorted(folder.glob("rendered_*.npz")):
        shard = np.load(path)
        arrays = {name: shard[name] for name in ("source", "target", "mouth", "start", "voice")}
        if unheard := sorted(set(map(str, arrays["voice"])) - voices.keys()):
            raise UserError(
                f"expected tokens for every sound of {path}, but {len(unheard)} are missing (first "
                f"{unheard[0]}); run `python -m omnisync_core.training.prepare hear` again"
            )
        for i, name in enumerate(arrays["voice"]):
            clips.append(
                RenderedClip(
                    arrays["source"][i],
                    arrays["target"][i],
                    arrays["mouth"][i],
                    voices[str(name)],
                    float(arrays["start"][i]),
                )
            )
    return clips
