"""One clip of the benchmark as its judges see it: source, voice, and what is known of the truth.

A clip's folder holds source.mp4, voice.wav (what the method hears), clean.wav (the same without
added noise), item.json (name, track, group), item.npz (where the mouth is, and for built-in clips
its true lips) and perhaps truth.mp4. A method is given source.mp4 and voice.wav alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from ..media import read_audio, read_frames
from .ruler import Ruler, look

T = TypeVar("T")
_COVERED = 0.1  # share of the mouth's place behind an occluder from which it is not measured


@dataclass(frozen=True)
class Clip:
    """A clip, read once. f frames of h x w."""

    about: dict[str, str]
    source: np.ndarray
    """uint8 [f, h, w, 3]."""
    truth: np.ndarray | None
    """The same head saying the voice, where that is known."""
    sound: np.ndarray
    """The clean voice [n] at 16 kHz."""
    numbers: dict[str, np.ndarray]
    """item.npz: times [f], places [f, 2] of the mouth, sides [f] and centres [f, 2] of the crop;
    built-in clips: true openings, lips, phones, and cover, percent [f, h, w]."""

    @cached_property
    def hidden(self) -> np.ndarray:
        """Frames [f] whose mouth is too much behind something to be measured."""
        if self.cover is None:
            return np.zeros(len(self.source), bool)
        squares = self.squares(0.4)
        return np.array([c[s].mean() > 100 * _COVERED for c, s in zip(self.cover, squares)])  # noqa: B905

    @property
    def cover(self) -> np.ndarray | None:
        """What lies in front, percent [f, h, w]; None where nothing does."""
        return self.numbers.get("cover")

    @cached_property
    def ruler(self) -> Ruler | None:
        """Reads opening and lip points [g, 41] of this head; None where the source's are unknown
        or hardly ever seen."""
        if "source" not in self.numbers or (~self.hidden).sum() < 8:
            return None
        true = np.concatenate([self.numbers["source"][:, None], self.numbers["source_lips"]], 1)
        return Ruler(self.looks(self.source), np.where(self.hidden[:, None], np.nan, true))

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What is worked out once for a clip and used for every result."""
        kept = self.__dict__.setdefault("_kept", {})
        if name not in kept:
            kept[name] = make()
        return kept[name]

    def looks(self, frames: np.ndarray) -> np.ndarray:
        """What the ruler reads of frames [g, h, w, 3], g <= f."""
        count = len(frames)
        return look(frames, self.numbers["places"][:count], self.numbers["sides"][:count])

    def squares(self, share: float, *, centres: str = "places") -> list[tuple[slice, slice]]:
        """Squares of that share of the crop's side around every mouth (or crop centre)."""
        side, (high, wide) = share * float(np.median(self.numbers["sides"])), self.source.shape[1:3]
        return [square(high, wide, x, y, side) for x, y in self.numbers[centres]]

    def crops(self, frames: np.ndarray, size: int, *, every: int = 1) -> np.ndarray:
        """Standard crops uint8 [g, size, size, 3] of every so many frames."""
        chosen = range(0, len(frames), every)
        return np.stack([self.crop(frames[i], i, size) for i in chosen])

    def crop(self, frame: np.ndarray, i: int, size: int) -> np.ndarray:
        """The standard crop of frame i."""
        (x, y), scale = self.numbers["centres"][i], size / self.numbers["sides"][i]
        matrix = np.array([[scale, 0, size / 2 - scale * x], [0, scale, size / 2 - scale * y]])
        whole, border = np.ascontiguousarray(frame), cv2.BORDER_REPLICATE
        return cv2.warpAffine(whole, matrix, (size, size), borderMode=border)


def square(high: int, wide: int, x: float, y: float, side: float) -> tuple[slice, slice]:
    """Rows and columns of a square inside a picture; at least a pixel."""
    top, left = (int(np.clip(c - side / 2, 0, n - 1)) for c, n in ((y, high), (x, wide)))
    return slice(top, min(top + max(int(side), 1), high)), slice(
        left, min(left + max(int(side), 1), wide)
    )


@lru_cache(maxsize=1)
def load_clip(folder: Path) -> Clip:
    """The files of a clip's folder."""
    with np.load(folder / "item.npz") as stored:
        numbers = {name: stored[name] for name in stored.files}
    if "cover" in numbers and not numbers["cover"].any():
        del numbers["cover"]
    truth = folder / "truth.mp4"
    return Clip(
        json.loads((folder / "item.json").read_text()),
        frames_of(folder / "source.mp4"),
        frames_of(truth) if truth.exists() else None,
        read_audio(folder / "clean.wav"),
        numbers,
    )


def frames_of(path: Path) -> np.ndarray:
    """All frames of a video, uint8 [f, h, w, 3]."""
    return np.stack(list(read_frames(path)))
