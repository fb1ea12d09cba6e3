"""Where a rendered head is: pose and its motion, light, camera, background.

Everything here is drawn once per clip from a random generator. Lengths in centimetres, angles in
radians, light linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..region import Box
from .heads import HeadKit
from .looks import Finish

_GROUND = 256  # pixels of the background
_MOODS = (
    ("mouthSmile", 0.3, 0.5),
    ("mouthFrown", 0.15, 0.4),
    ("mouthDimple", 0.1, 0.4),
    ("cheekSquint", 0.2, 0.5),
    ("browInnerUp", 0.3, 0.6),
    ("browOuterUp", 0.2, 0.5),
    ("browDown", 0.25, 0.6),
    ("eyeSquint", 0.3, 0.6),
    ("eyeWide", 0.1, 0.5),
)
"""Expressions that last through a clip: name, how often, largest weight."""


@dataclass(frozen=True)
class Pose:
    """Turn (to the picture's right), nod (down) and tilt in radians; shift in cm (x, y)."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0

    def rotation(self, share: float = 1.0) -> np.ndarray:
        """Rotation [3, 3] of that share of the pose."""
        a, b, c = self.yaw * share, self.pitch * share, self.roll * share
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        return (tilt @ nod @ turn).astype(np.float32)


@dataclass(frozen=True)
class Window:
    """What the camera shows: left, top in cm at the head's plane (y down), pixels per cm, size."""

    left: float
    top: float
    scale: float
    width: int
    height: int

    @staticmethod
    def of_box(box: Box, size: int) -> Window:
        """The square box (in cm) as a picture of size x size."""
        return Window(box.cx - box.side / 2, box.cy - box.side / 2, size / box.side, size, size)


class Scene:
    """Light, camera and background; the same for every frame of a clip.

    extent: what the background spans in cm, beyond which it repeats; random when left out.
    """

    def __init__(self, rng: np.random.Generator, *, extent: float | None = None) -> None:
        key = np.array([rng.normal() * 0.8, rng.normal() * 0.45 + 0.45, 1.0])
        ways, colours = [key], [rng.uniform(0.5, 1.5) * _tint(rng, 0.12)]
        for _ in range(int(rng.integers(0, 3))):
            ways.append(np.array([rng.normal() * 1.5, rng.normal() * 0.7 + 0.2, rng.normal()]))
            colours.append(rng.uniform(0.1, 0.7) * _tint(rng, 0.25))
        directions = np.array(ways)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.lights = np.concatenate([directions, colours], 1).astype(np.float32)
        sky = rng.uniform(0.15, 0.75) * _tint(rng, 0.1)
        below = sky * rng.uniform(0.3, 0.9) * _tint(rng, 0.15)
        self.ambient = np.stack([sky, below]).astype(np.float32)
        total = self.lights[:, 3:].sum() / 3 * 0.6 + self.ambient.mean()
        exposure = np.float32(rng.uniform(0.75, 1.3) / total)
        self.lights[:, 3:] *= exposure
        self.ambient *= exposure
        self.distance = float(np.exp(rng.uniform(np.log(45), np.log(220))))
        self.shadow = float(rng.uniform(0, 1)) if rng.random() < 0.8 else 0.0
        self.extent = extent or float(np.exp(rng.uniform(np.log(25), np.log(150))))
        self.background = _background(rng)
        self.finish = Finish.draw(rng)

    def ground(self, window: Window) -> np.ndarray:
        """The background behind a window, linear f32 [h, w, 3]; it does not move with the head."""
        per_cm = _GROUND / self.extent
        x0, y0 = window.left * per_cm + _GROUND / 2, window.top * per_cm + _GROUND / 2
        step = per_cm / window.scale
        half = step / 2 - 0.5
        return cv2.warpAffine(
            self.background,
            np.array([[step, 0, x0 + half], [0, step, y0 + half]]),
            (window.width, window.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A colour of light: mostly warm or cold, a little green or purple."""
    warm, green = rng.normal(size=2) * [spread, spread / 4]
    return np.exp(np.array([warm, green, -1.2 * warm]))


def _colours(rng: np.random.Generator, count: int, vivid: float) -> np.ndarray:
    """Display colours [count, 3]; vivid 0 is grey, 1 any colour."""
    grey = rng.uniform(0.03, 0.95, (count, 1))
    return np.clip(grey + vivid * (rng.uniform(0, 1, (count, 3)) - grey), 0, 1)


def _background(rng: np.random.Generator) -> np.ndarray:
    """A wall, a room out of focus, lights, foliage or plain noise; linear f32 [256, 256, 3]."""
    n = _GROUND
    vivid = rng.uniform(0, 1) ** 1.7
    cells = int(rng.integers(2, 6) if rng.random() < 0.7 else rng.integers(6, 60))
    steps = _colours(rng, cells * cells, vivid).reshape(cells, cells, 3).astype(np.float32)
    spread = rng.uniform(0, 1) ** 2
    picture = cv2.resize(steps, (n, n), interpolation=cv2.INTER_CUBIC) * np.float32(spread)
    picture += (_colours(rng, 1, vivid)[0] * (1 - spread)).astype(np.float32)
    if rng.random() < 0.6:
        for colour in _colours(rng, int(rng.integers(1, 40)), vivid):
            x, y, a, b = (int(v) for v in rng.integers(0, n, 4))
            shape = rng.random()
            if shape < 0.25:
                cv2.circle(picture, (x, y), a // 14 + 1, colour.tolist(), -1, cv2.LINE_AA)
            elif shape < 0.45:
                ends = (a // 4 + 1, b // 4 + 1)
                cv2.ellipse(picture, (x, y), ends, a, 0, 360, colour.tolist(), -1, cv2.LINE_AA)
            else:
                cv2.rectangle(picture, (x, y), (x + a // 3, y + b // 2), colour.tolist(), -1)
    if rng.random() < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.8, 8)))
    return np.clip(picture, 0, 1) ** 2


def pose_track(rng: np.random.Generator, frames: int) -> list[Pose]:
    """Slow natural head motion at 25 frames a second around a random pose."""
    limits = np.radians([35, 15, 15])
    start = np.clip(rng.normal(size=3) * np.radians([16, 7, 6]), -limits, limits)
    # Two slow sines a coordinate: nods and sways of 0.2 to 1.2 Hz.
    seconds = np.arange(frames) / 25.0
    rates = rng.uniform(0.2, 1.2, (2, 5)) * 2 * np.pi
    sizes = np.array([0.035, 0.03, 0.02, 0.25, 0.2]) * rng.uniform(0, 1.5)
    phases = rng.uniform(0, 2 * np.pi, (2, 5))
    sway = np.sin(seconds[:, None, None] * rates + phases).sum(1) * sizes / 2
    sway[:, :3] += start
    return [Pose(*(float(v) for v in row)) for row in sway]


def idle_track(kit: HeadKit, rng: np.random.Generator, frames: int) -> np.ndarray:
    """What a face does besides speaking [frames, 57]: a lasting mood, blinks."""
    mood = kit.weights()
    for name, odds, size in _MOODS:
        if rng.random() < odds:
            mood += kit.weights(**{name: float(rng.uniform(0.1, size))})
    blink = kit.weights(eyeBlink=1.0)
    # A blink every two to six seconds, of about five frames.
    moments = rng.uniform(-10, 90) + np.cumsum(rng.uniform(50, 150, 2 + frames // 50)) - 50
    away = np.abs(np.arange(frames)[:, None] - moments).min(1)
    closing = np.clip(1 - away / 3, 0, 1)
    return np.clip(mood + closing[:, None] * blink, 0, 1).astype(np.float32)
