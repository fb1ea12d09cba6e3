"""Training windows: (source frames, target frames, voice), drawn by flow time.

Two pools are mixed: rendered clips (render.py) and real ones (real.py). Which pairs may appear at
which flow time follows OmniSync (Peng et al. 2025, section 3.2): above t = 0.85, where the network
lays out pose and identity, only pose-aligned pairs; below, any stretch of the same person as well.
A hard switch.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..audio import TOKEN_RATE
from ..errors import UserError
from .looks import FILTERS, stylise
from .occluders import draw_occluder
from .real import LIPS, MARGIN, PACKED, STEADY, PackedClip, other_moment, transplant

ALIGNED_ABOVE = 0.85
"""Flow time above which only pose-aligned pairs are drawn (paper: 850 of 1000)."""
RATE = 25.0  # frames a second of both pools
_DUBBED = 0.5
"""Share of the aligned real pairs whose source a model dubbed, where there is one."""
_DARK, _DARKER = 0.15, (0.2, 0.6)
"""Share of the windows in low light, and how much of theirs is left (both chosen). 8 bits hold
them: what exposure.py lifts again has the steps and the noise of a dark video."""
_CANDIDATES = 8  # moments of a clip among which another one is chosen


@dataclass
class Voice:
    """Tokens [v, m, a] of one sound, v times heard (clean first, then under noise)."""

    tokens: np.ndarray
    heard: bool = True
    """False for pictures without a sound, which are trained on without audio."""

    def windows(self, times: np.ndarray, *, reach: int, take: int) -> np.ndarray:
        """Tokens around frame times [f] -> [f, 2 reach + 1, a]; the twin of audio.frame_windows."""
        tokens = self.tokens[take]
        offsets = np.arange(-reach, reach + 1)
        place = np.clip(times[:, None] * TOKEN_RATE + offsets, 0, len(tokens) - 1)
        below = place.astype(np.int64)
        above = np.minimum(below + 1, len(tokens) - 1)
        share = (place - below)[..., None].astype(np.float32)
        return tokens[below] * (1 - share) + tokens[above] * share


def unheard(width: int) -> Voice:
    """The voice of pictures without a sound: one empty token of that width."""
    return Voice(np.zeros((1, 1, width), np.float32), heard=False)


@dataclass
class RenderedClip:
    """Source and target [f, s, s, 3] uint8, mouth centres [f, 2], its voice and start in it (s)."""

    source: np.ndarray
    target: np.ndarray
    mouth: np.ndarray
    voice: Voice
    start: float
    flow: np.ndarray
    """Packed (pack_flow): where the source has what the target shows."""


@dataclass
class Window:
    """One training sample; pictures uint8 [f, s, s, 3], mouth [f, 2] in crop pixels, flow f32
    [f, s / 2, s / 2, 2]: where in pixels the source has what the target shows, NaN where that is
    unknown (all of a real window)."""

    source: np.ndarray
    target: np.ndarray
    mouth: np.ndarray
    flow: np.ndarray
    windows: np.ndarray
    summary: np.ndarray
    tokens: np.ndarray
    heard: bool = True
    """Whether there was a sound at all."""


@dataclass
class Pools:
    """What training draws from. real_share: how often a window is real."""

    rendered: list[RenderedClip]
    real: list[tuple[PackedClip, Voice]]
    size: int
    reach: int
    real_share: float = 0.5
    drawn: float = 0.15
    """Share of the windows whose pictures are drawn in one of looks.FILTERS."""
    occluded: float = 0.15
    """Share of the windows with something in front of the mouth."""
    real_weights: np.ndarray | None = None
    """Odds per real clip: people with few clips are drawn more often than their clips alone."""

    def draw(self, t: float, frames: int, rng: np.random.Generator) -> Window:
        """A window of that many frames, fit for flow time t."""
        window = (
            self._real(t, frames, rng)
            if self.real and (not self.rendered or rng.random() < self.real_share)
            else self._rendered(frames, rng)
        )
        window = _recolour(window, rng)
        if rng.random() < self.drawn:
            window = _drawn(window, rng)
        if rng.random() < self.occluded:
            window = _in_the_way(window, rng)
        return window

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
            unpack_flow(clip.flow[span]),
            *self._sound(clip.voice, times, rng),
        )

    def _real(self, t: float, frames: int, rng: np.random.Generator) -> Window:
        clip, voice = self.real[rng.choice(len(self.real), p=self.real_weights)]
        count = len(clip.crops)
        # A picture is held for the whole window.
        first = int(rng.integers(max(1, count - frames + 1)))
        other = _other_lips(clip, first, frames, rng)
        aligned = t > ALIGNED_ABOVE or rng.random() < 0.6
        dubbed = clip.edited if aligned and rng.random() < _DUBBED else None
        make = transplant if aligned else other_moment
        place = _placement(rng, self.size, clip.crops.shape[1])
        sources, targets, mouths = [], [], []
        for i in range(frames):
            target = min(first + i, count - 1)
            source = min(other + i, count - 1)
            worn = make(clip, target, source) if dubbed is None else dubbed[target]
            sources.append(_place(worn, place, self.size))
            targets.append(_place(clip.crops[target], place, self.size))
            lips = clip.landmarks[target, LIPS].mean(0)
            mouths.append(place[:, :2] @ lips + place[:, 2])
        times = np.arange(first, first + frames) / RATE
        return Window(
            np.stack(sources),
            np.stack(targets),
            np.stack(mouths),
            np.full((frames, self.size // 2, self.size // 2, 2), np.nan, np.float32),
            *self._sound(voice, times, rng),
            heard=voice.heard,
        )


def _other_lips(clip: PackedClip, first: int, frames: int, rng: np.random.Generator) -> int:
    """Where another stretch of the clip begins: near in pose, with other lips.

    The rule of MuseTalk (Zhang et al. 2024): of random moments the half nearest in pose, and of
    those the half whose lips differ most. A pair with the same lips teaches to copy.
    """
    count = len(clip.crops)
    starts = rng.integers(max(1, count - frames + 1), size=_CANDIDATES)
    middle = frames // 2
    shown = [min(int(start) + middle, count - 1) for start in (first, *starts)]
    steady = np.asarray(clip.landmarks)[shown][:, STEADY]
    pose = steady - steady.mean(1, keepdims=True)
    near = np.argsort(np.abs(pose[1:] - pose[0]).mean((1, 2)), kind="stable")
    near = near[: _CANDIDATES // 2]
    lips = [_lips_of(clip, i) for i in shown]
    unlike = np.array([np.abs(lips[k + 1] - lips[0]).mean() for k in near])
    far = near[np.argsort(-unlike, kind="stable")[: _CANDIDATES // 4]]
    return int(starts[rng.choice(far)])


def _lips_of(clip: PackedClip, frame: int) -> np.ndarray:
    """The green surroundings of the lips, [32, 48] of about two pixels' steps, moved with the face.

    Moved by the steady points, not by the lips themselves: an opening must be seen.
    """
    points = clip.landmarks[frame, STEADY].mean(0) - clip.landmarks[0, STEADY].mean(0)
    x, y = np.round(clip.landmarks[0, LIPS].mean(0) + points).astype(int)
    size = clip.crops.shape[1]
    step = max(1, round(2 * size / PACKED))
    left, top = (int(np.clip(v, 0, size - 48 * step)) for v in (x - 24 * step, y - 16 * step))
    rows, columns = slice(top, top + 32 * step, step), slice(left, left + 48 * step, step)
    return clip.crops[frame, rows, columns, 1].astype(np.int16)


def _placement(rng: np.random.Generator, size: int, packed: int) -> np.ndarray:
    """A random crop [2, 3] out of a packed crop: turned, scaled, shifted as a locator may err."""
    turn = rng.normal() * np.radians(7)
    scale = size / (packed / MARGIN) * rng.uniform(0.87, 1.15)
    shift = rng.uniform(-0.06, 0.06, 2) * size
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([packed / 2, packed / 2])
    return np.concatenate([matrix, (size / 2 + shift - matrix @ middle)[:, None]], axis=1)


def _place(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(
        picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _recolour(window: Window, rng: np.random.Generator) -> Window:
    """The same random light, tint, gamma, mirror and softness for source and target."""
    size = window.source.shape[1]
    gain = rng.uniform(0.7, 1.25) * (1 + rng.normal(size=3) * 0.08)
    if rng.random() < _DARK:
        gain *= rng.uniform(*_DARKER)
    gamma = np.exp(rng.normal() * 0.2)
    mix = np.eye(3) + rng.normal(size=(3, 3)) * 0.06
    grey = rng.random() < 0.08
    levels = (np.linspace(0, 1, 256) ** gamma * 255).astype(np.float32)
    mirrored = rng.random() < 0.5
    soft = rng.uniform(1.3, 2.5) if rng.random() < 0.2 else 0.0

    def change(pictures: np.ndarray) -> np.ndarray:
        values = np.stack([cv2.transform(levels[one], mix * gain) for one in pictures])
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
        return np.clip(values, 0, 255, out=values).astype(np.uint8)

    mouth, flow = window.mouth.copy(), window.flow
    if mirrored:
        mouth[:, 0] = size - mouth[:, 0]
        flow = flow[:, :, ::-1] * np.array([-1, 1], np.float32)
    source, target = change(window.source), change(window.target)
    return replace(window, source=source, target=target, mouth=mouth, flow=flow)


def _drawn(window: Window, rng: np.random.Generator) -> Window:
    """Both pictures in one drawn style."""
    style, strength = str(rng.choice(list(FILTERS))), rng.random()
    source, target = (stylise(p, style, strength) for p in (window.source, window.target))
    return replace(window, source=source, target=target)


def _in_the_way(window: Window, rng: np.random.Generator) -> Window:
    """One thing in front of both pictures, to be left as it is."""
    thing = draw_occluder(rng, window.mouth, window.source.shape[1])
    flow = window.flow.copy()
    flow[thing.cover[:, ::2, ::2] > 0.1] = np.nan
    source, target = thing.over(window.source), thing.over(window.target)
    return replace(window, source=source, target=target, flow=flow)


_FLOW_STEP, _HIDDEN = 0.25, -128  # pixels; a jaw moves by a fifth of a crop of 144 at the most


def pack_flow(flow: np.ndarray) -> np.ndarray:
    """A flow f32 [f, s, s, 2] in pixels at every other one, in steps of a quarter: int8."""
    steps = np.clip(np.round(flow[:, ::2, ::2] / _FLOW_STEP), -127, 127)
    return np.where(np.isfinite(steps), steps, _HIDDEN).astype(np.int8)


def unpack_flow(packed: np.ndarray) -> np.ndarray:
    """What pack_flow kept: f32 [f, s / 2, s / 2, 2] in pixels, NaN where it is unknown."""
    return np.where(packed == _HIDDEN, np.nan, packed * np.float32(_FLOW_STEP)).astype(np.float32)


def save_shard(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a folder with one .npy per array; it gets its name once it is whole."""
    unfinished = path.with_name(f"unfinished_{path.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(unfinished / f"{name}.npy", array)
    shutil.rmtree(path, ignore_errors=True)
    unfinished.rename(path)


def load_shard(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a shard, mapped from disk: processes on one machine share them in memory."""
    return {file.stem: np.load(file, mmap_mode="r") for file in path.glob("*.npy")}


def load_rendered(folder: Path, voices: dict[str, Voice]) -> list[RenderedClip]:
    """Read the shards that render_shard wrote, joining each clip with its voice."""
    clips = []
    for path in sorted(folder.glob("rendered_*")):
        arrays = load_shard(path)
        if unheard := sorted(set(map(str, arrays["voice"])) - voices.keys()):
            raise UserError(
                f"expected tokens for every sound of {path}, but {len(unheard)} are missing (first "
                f"{unheard[0]}); run `omnisync prepare` again"
            )
        for i, name in enumerate(arrays["voice"]):
            clips.append(
                RenderedClip(
                    arrays["source"][i],
                    arrays["target"][i],
                    arrays["mouth"][i],
                    voices[str(name)],
                    float(arrays["start"][i]),
                    arrays["flow"][i],
                )
            )
    return clips
