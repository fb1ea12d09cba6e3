"""Region: where the mouth is, one square per frame (the step before the audio and the flow init).

In: what the user said (`--region`), or boxes found frame by frame. Out: a track, one `Box` or None
per frame, in pixels of the full frame; the left edge of the picture is x = 0, the centre of its
first pixel x = 0.5.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from .errors import UserError

# The standard crop: the mouth takes about 40 % of its width; nose tip to chin are inside.
SIDE_PER_SPAN = 1.75
DROP_PER_SPAN = 0.06
# A box below one patch of the model holds nothing that could be edited.
SMALLEST = 8
# Widths of the Gaussians in seconds: 0.12 averages about 0.3 s (a nod lasts longer); a head's size
# changes more slowly, and a breathing crop is the more visible fault.
POSITION_SIGMA = 0.12
SIDE_SIGMA = 0.3
# A blink of the locator, at most this many frames, is not the end of a track.
BRIDGE = 2


@dataclass(frozen=True)
class Box:
    """A square, axis-aligned crop in pixels: centre and side. It may stick out of the frame."""

    cx: float
    cy: float
    side: float


Track = list[Box | None]


@dataclass(frozen=True)
class Tracking:
    """One box or None per frame, and the indexes of frames that begin a new shot."""

    track: Track
    cuts: tuple[int, ...] = ()

    def at(self, source: np.ndarray) -> Tracking:
        """The tracking of a sequence of frame indexes; a jump in it is a cut as well."""
        jumps = np.abs(np.diff(source)) > 1
        cut_before = np.isin(source[1:], self.cuts) & (np.diff(source) != 0)
        cuts = tuple(int(i) + 1 for i in np.flatnonzero(jumps | cut_before))
        return Tracking([self.track[i] for i in source], cuts)

    def runs(self) -> Iterator[tuple[int, int]]:
        """[start, stop) of each stretch of frames with a box and without a cut inside."""
        start = None
        for i, box in enumerate([*self.track, None]):
            if start is not None and (box is None or i in self.cuts):
                yield start, i
                start = None
            if box is not None and start is None:
                start = i


def standard_box(
    left_eye: Sequence[float] | np.ndarray,
    right_eye: Sequence[float] | np.ndarray,
    mouth: Sequence[float] | np.ndarray,
) -> Box:
    """The one crop that training, locator and compositing share, from points (x, y) in pixels.

    The eyes are the mean of their corners (or the pupils), the mouth is the mean of its corners and
    of the middles of the inner lips. With e midway between the eyes and m the mouth, the span
    s = max(|left - right|, |e - m|) stays large in profile (where the eyes meet) and when the head
    looks up (where e and m meet). Raises ValueError when all points coincide or are not finite.
    """
    left, right, m = (np.asarray(p, dtype=np.float64) for p in (left_eye, right_eye, mouth))
    e = (left + right) / 2
    drop = float(np.linalg.norm(m - e))
    span = max(float(np.linalg.norm(left - right)), drop)
    if not 0 < span < np.inf:
        raise ValueError(
            f"expected eyes and mouth at different finite points, got eyes {left}, {right} and "
            f"mouth {m}; leave this frame out instead"
        )
    down = (m - e) / drop if drop > 0 else np.zeros(2)
    centre = m + DROP_PER_SPAN * span * down
    return Box(float(centre[0]), float(centre[1]), SIDE_PER_SPAN * span)


def parse_region(text: str, *, frames: int, width: int, height: int) -> Track | Literal["auto"]:
    """What the user wrote for the region -> a track of `frames` boxes, or "auto" (find the mouth).

    "auto"; "full" (the whole frame); "x,y,w,h" in pixels, for every frame; or the path of a JSON
    file with one [x, y, w, h] or null per frame. A box becomes the square around its centre that
    covers it. Raises UserError for anything else, and for boxes outside the picture.
    """
    word = text.strip()
    if word.lower() == "auto":
        return "auto"
    if word.lower() == "full":
        return _still(Box(width / 2, height / 2, float(max(width, height))), frames)
    parts = word.split(",")
    if len(parts) > 1 and not word.lower().endswith(".json"):
        try:
            numbers: list[object] = [float(part) for part in parts]
        except ValueError:
            raise UserError(_wanted(text)) from None
        return _still(_square(numbers, "the region", width, height), frames)
    if not Path(word).is_file():
        raise UserError(_wanted(text))
    return _read_track(Path(word), frames=frames, width=width, height=height)


Speaker = Literal["auto", "left", "right", "largest"] | tuple[float, float]
"""Whose mouth: the clearest, the outermost or the largest one, or the one nearest to (x, y)."""


def parse_speaker(text: str, *, size: tuple[int, int] | None = None) -> Speaker:
    """What the user wrote for the speaker: a word, or x,y in pixels. UserError otherwise.

    size: width and height of the picture, in which a point must lie; None where it is not known.
    """
    word = text.strip().lower()
    if word in ("auto", "left", "right", "largest"):
        return word  # type: ignore[return-value]  # a checked Literal
    try:
        x, y = (float(part) for part in word.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UserError(
            f"expected the speaker as auto, left, right, largest, or x,y in pixels, got {text!r}; "
            "write for example --speaker left"
        )
    if size is not None and not (0 <= x <= size[0] and 0 <= y <= size[1]):
        raise UserError(
            f"expected the speaker's point inside the picture of {size[0]} x {size[1]}, got "
            f"({x:g}, {y:g}); x and y are pixels of the video from its left and top edge"
        )
    return x, y


def _still(box: Box, frames: int) -> Track:
    return [box for _ in range(frames)]


def _wanted(text: str) -> str:
    return (
        "expected the region as auto, full, four numbers x,y,w,h in pixels, or the path of an "
        f"existing JSON file, got {text!r}; write for example --region 100,80,256,256"
    )


def _read_track(path: Path, *, frames: int, width: int, height: int) -> Track:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither JSON nor text
        raise UserError(
            f"expected a JSON list with one [x, y, w, h] or null per frame in {path}, got a file "
            f"that cannot be read as JSON ({error}); write it anew"
        ) from error
    if not isinstance(rows, list):
        raise UserError(
            f"expected a JSON list with one [x, y, w, h] or null per frame in {path}, got "
            f"{type(rows).__name__}; put the boxes into one list"
        )
    if len(rows) != frames:
        raise UserError(
            f"expected {frames} boxes in {path}, one per frame of the video, got {len(rows)}; "
            "write null for the frames to leave alone"
        )
    return [
        None if row is None else _square(row, f"frame {index} of {path}", width, height)
        for index, row in enumerate(rows)
    ]


def _square(row: object, place: str, width: int, height: int) -> Box:
    """[x, y, w, h] -> the square that covers it, checked against the picture."""
    numbers = row if isinstance(row, list) else []
    sound = len(numbers) == 4 and all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers
    )
    if not sound:
        raise UserError(
            f"expected four numbers x, y, w, h for {place}, got {row!r}; give the left and top "
            "edge, the width and the height in pixels"
        )
    x, y, w, h = (float(n) for n in numbers)
    if min(w, h) < SMALLEST:
        raise UserError(
            f"expected a box of at least {SMALLEST} pixels for {place}, got {w:g} x {h:g}; "
            "make it larger: it should hold the face from the nose to the chin"
        )
    cx, cy = x + w / 2, y + h / 2
    fits = max(w, h) <= 2 * max(width, height)
    if not (fits and 0 <= cx <= width and 0 <= cy <= height):
        raise UserError(
            f"expected a box inside the picture of {width} x {height} for {place}, got {w:g} x "
            f"{h:g} around ({cx:g}, {cy:g}); x and y are its left and top edge in "
            "pixels of the video"
        )
    return Box(cx, cy, max(w, h))


def smooth_track(track: Track, times: np.ndarray, cuts: Sequence[int] = ()) -> Track:
    """A steady track without lag: the crop follows the head, not the noise of the locator.

    track: one box or None per frame; times: seconds [frames], rising; cuts: indexes of frames that
    begin a new shot. Gaps stay None, but up to `BRIDGE` frames missing (or astray) inside a steady
    track are filled in. Nothing is averaged across gaps, cuts or jumps. ValueError for lengths.
    """
    times = np.asarray(times, dtype=np.float64)
    if len(times) != len(track):
        raise ValueError(
            f"expected one time per box, got {len(times)} times and {len(track)} boxes; pass the "
            "times of the same frames"
        )
    result: Track = [None] * len(track)
    edges = sorted({0, len(track), *(cut for cut in cuts if 0 < cut < len(track))})
    for start, stop in pairwise(edges):
        shot = _bridge(_without_strays(track[start:stop]), times[start:stop])
        for first, last in _runs(shot):
            now = times[start + first : start + last]
            boxes = [box for box in shot[first:last] if box is not None]
            values = np.array([[box.cx, box.cy, math.log(box.side)] for box in boxes])
            place = _local_line(values[:, :2], now, POSITION_SIGMA)
            side = np.exp(_local_line(values[:, 2:], now, SIDE_SIGMA))
            for index, (cx, cy), s in zip(
                range(start + first, stop), place, side[:, 0], strict=False
            ):
                result[index] = Box(float(cx), float(cy), float(s))
    return result


def apart(a: Box, b: Box) -> bool:
    """Whether two boxes are about different faces: another place, or a very different size."""
    far = math.hypot(a.cx - b.cx, a.cy - b.cy) > 0.5 * max(a.side, b.side)
    return far or max(a.side, b.side) > 2 * min(a.side, b.side)


def _without_strays(shot: Track) -> Track:
    """A single box far from two neighbours that agree was a mistake of the locator."""
    kept = list(shot)
    for index in range(1, len(shot) - 1):
        before, box, after = shot[index - 1 : index + 2]
        if before is None or box is None or after is None or apart(before, after):
            continue
        if apart(before, box) and apart(box, after):
            kept[index] = None
    return kept


def _bridge(shot: Track, times: np.ndarray) -> Track:
    """Short drop-outs between boxes about the same face are filled by a straight line in time."""
    filled = list(shot)
    known = [index for index, box in enumerate(shot) if box is not None]
    for i, j in pairwise(known):
        a, b = shot[i], shot[j]
        if a is None or b is None or not 1 < j - i <= BRIDGE + 1 or apart(a, b):
            continue
        for k in range(i + 1, j):
            u = (times[k] - times[i]) / (times[j] - times[i])
            side = a.side ** (1 - u) * b.side**u
            filled[k] = Box(a.cx + u * (b.cx - a.cx), a.cy + u * (b.cy - a.cy), side)
    return filled


def _runs(shot: Track) -> list[tuple[int, int]]:
    """[first, last) of each stretch of boxes without a gap or a jump to another face."""
    runs: list[tuple[int, int]] = []
    first = None
    for index, box in enumerate([*shot, None]):
        before = shot[index - 1] if index else None
        if first is not None and (box is None or (before is not None and apart(before, box))):
            runs.append((first, index))
            first = None
        if first is None and box is not None:
            first = index
    return runs


def _local_line(values: np.ndarray, times: np.ndarray, sigma: float) -> np.ndarray:
    """Straight lines fitted under a Gaussian of width sigma around each time, values [n k].

    A plain Gaussian mean lags at the ends of a run; a line does not, and uneven times do no harm.
    """
    smooth = np.empty_like(values)
    starts = np.searchsorted(times, times - 3 * sigma)
    stops = np.searchsorted(times, times + 3 * sigma, side="right")
    for index, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        u = times[start:stop] - times[index]
        weight = np.exp(-0.5 * (u / sigma) ** 2)
        weight /= weight.sum()
        near = values[start:stop]
        u_mean, mean = weight @ u, weight @ near
        spread = weight @ (u - u_mean) ** 2
        slope = (weight * (u - u_mean)) @ (near - mean) / spread if spread > 1e-9 else 0.0
        smooth[index] = mean - slope * u_mean
    return smooth
