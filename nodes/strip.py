"""What a run did, on one time line: mouth, voice, and which frames were skipped or covered.

The page draws it under the node (web/strip.js). Whatever the length of the clip, a few hundred
columns and a handful of small pictures are kept.
"""

from __future__ import annotations

import base64
import io
from array import array
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from . import measures

if TYPE_CHECKING:
    from ..omnisync_core.progress import Finished, Progress

# The strip is a few hundred pixels wide.
_COLUMNS = 600
_PICTURES, _PICTURE_SIDE = 8, 96
EDITED, OCCLUDED, SKIPPED = "e", "o", "s"


class Strip:
    """Watches a run through its callback, and tells afterwards what there was to see."""

    def __init__(self, show: Callable[[Progress], None] | None) -> None:
        """show: what else wants to hear of progress."""
        self._show = show
        self.times = array("d")
        """When each finished frame is shown, in seconds."""
        self._opening = array("f")
        self._states: list[str] = []
        self._pictures: list[dict[str, Any]] = []

    def __call__(self, step: Progress) -> None:
        if step.finished is not None:
            self._take(step.finished, step.total)
        if self._show is not None:
            self._show(step)

    def _take(self, frame: Finished, total: int) -> None:
        self.times.append(frame.time)
        if frame.crop is None:
            self._opening.append(float("nan"))
            self._states.append(SKIPPED)
        else:
            self._opening.append(measures.opening(frame.crop))
            self._states.append(OCCLUDED if frame.occluded else EDITED)
        # One picture from the middle of each of as many equal parts of the clip.
        wanted = (2 * len(self._pictures) + 1) * total // (2 * min(_PICTURES, total))
        if frame.index >= wanted:
            picture = None if frame.crop is None else _picture(frame.crop)
            self._pictures.append({"frame": frame.index, "picture": picture})

    def told(self, loud: np.ndarray) -> dict[str, Any]:
        """For the page. loud: the voice's loudness in [0, 1] at `times`."""
        count = len(self.times)
        edges = np.linspace(0, count, min(_COLUMNS, count) + 1).round().astype(int)
        parts = [slice(first, last) for first, last in pairwise(edges)]
        opening = np.frombuffer(self._opening, np.float32)
        largest = float(np.nanmax(opening)) if np.isfinite(opening).any() else 0.0
        return {
            "frames": count,
            "seconds": round(self.times[-1], 3) if count else 0.0,
            "opening": [_mean(opening[part] / (largest or 1.0)) for part in parts],
            "voice": [_mean(loud[part]) for part in parts],
            "states": "".join(_state(self._states[part]) for part in parts),
            "pictures": self._pictures,
        }


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 3) if len(known) else None


def _state(frames: list[str]) -> str:
    """Of several frames in one column the one that is worth a mark."""
    return next((kind for kind in (OCCLUDED, SKIPPED) if kind in frames), EDITED)


def _picture(crop: Any) -> str:
    """[3 s s] in [-1, 1] -> a small JPEG as a data address."""
    pixels = ((crop.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    image = import_module("PIL.Image").fromarray(pixels).resize((_PICTURE_SIDE, _PICTURE_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
