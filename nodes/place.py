"""Where the mouth is, when another node knows: MASK, BOUNDING_BOX or FACE_LANDMARKS -> boxes.

The core takes a region as text or as a JSON file with one box per frame; a socket of the host's
becomes such a file for as long as a run lasts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..omnisync_core.errors import UserError
from . import host

if TYPE_CHECKING:
    from ..omnisync_core.region import Box

# Any of the three fits the one socket.
PLACE = "MASK,BOUNDING_BOX,FACE_LANDMARKS"
# Where a detector's box around a whole face has the mouth's crop, in shares of its width and
# height: eyes 0.45 of the width apart (MediaPipe's canonical face), the lips at three quarters.
_FACE_DROP, _FACE_SIDE = 0.75, 0.8
_FEATURES = ("left_eye", "right_eye", "lips")


def socket() -> tuple:
    return (
        PLACE,
        {
            "tooltip": "Where the mouth is, from other nodes: a MASK (white on mouth and chin), "
            "BOUNDING_BOX, or FACE_LANDMARKS, one for all frames or one for each. It takes the "
            "place of region; speaker chooses among several faces.",
        },
    )


@contextmanager
def region_of(
    place: Any,
    region: str,
    *,
    speaker: str,
    times: np.ndarray,
    width: int,
    height: int,
    shown: np.ndarray | None = None,
    name: str = "mouth",
) -> Iterator[str]:
    """The core's region for what is on the socket; without it `region` as it is.

    times: seconds of the clip's frames; shown: which of them the core gets, in order (None: all,
    as they are). Raises UserError for another kind of thing, for another
    number of frames, and for a speaker that `parse_speaker` refuses.
    """
    if place is None:
        yield region
        return
    from ..omnisync_core.region import parse_speaker, smooth_track

    faces = _faces(place, name=name, width=width, height=height)
    if len(faces) == 1:
        faces *= len(times)
    if len(faces) != len(times):
        raise UserError(
            f"{name}: expected one for all frames or one for each of the {len(times)} frames, got "
            f"{len(faces)}; make it from the same clip."
        )
    track = _follow(faces, parse_speaker(speaker))
    track = smooth_track(track, times, _jumps(track))
    if shown is not None:
        track = [track[i] for i in shown]
    rows = [
        None if box is None else [box.cx - box.side / 2, box.cy - box.side / 2, box.side, box.side]
        for box in track
    ]
    file = host.temporary(".json")
    try:
        file.write_text(json.dumps(rows), encoding="utf-8")
        yield str(file)
    finally:
        file.unlink(missing_ok=True)


def _faces(place: Any, *, name: str, width: int, height: int) -> list[list[Box]]:
    """All faces of each frame."""
    if isinstance(place, Tensor):
        return _from_mask(place, name=name, width=width, height=height)
    if isinstance(place, Mapping) and "frames" in place:
        return _from_landmarks(place, name=name, width=width, height=height)
    if isinstance(place, Mapping):
        return [[_from_box(place, name=name)]]
    if isinstance(place, Sequence) and not isinstance(place, str) and place:
        groups = [one if isinstance(one, Sequence) else [one] for one in place]
        return [[_from_box(box, name=name) for box in group] for group in groups]
    raise UserError(
        f"{name}: expected a MASK, a BOUNDING_BOX or FACE_LANDMARKS, got {type(place).__name__}; "
        "connect one of those, or write the box into region."
    )


def _from_mask(mask: Tensor, *, name: str, width: int, height: int) -> list[list[Box]]:
    from ..omnisync_core.region import Box

    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3 or mask.shape[1:] != (height, width):
        raise UserError(
            f"{name}: expected a MASK of the clip's {height} x {width} pixels, got "
            f"{tuple(mask.shape)}; make it from the same clip."
        )
    frames = []
    for one in mask:
        rows, columns = ((one > 0.5).any(axis).nonzero().flatten().cpu() for axis in (1, 0))
        if not len(rows):
            frames.append([])
            continue
        top, bottom, left, right = (
            float(edge) for edge in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        )
        side = max(bottom - top, right - left)
        frames.append([Box((left + right) / 2, (top + bottom) / 2, side)])
    return frames


def _from_landmarks(marks: Mapping, *, name: str, width: int, height: int) -> list[list[Box]]:
    from ..omnisync_core.region import standard_box

    sets, size = marks.get("connection_sets", {}), tuple(marks.get("image_size", ()))
    if not set(_FEATURES) <= set(sets) or size != (height, width):
        raise UserError(
            f"{name}: expected FACE_LANDMARKS with eyes and lips of a clip of {height} x {width} "
            f"pixels, got {size} with {', '.join(sorted(sets)) or 'no features'}; make them from "
            "the same clip."
        )
    which = [sorted({i for edge in sets[feature] for i in edge}) for feature in _FEATURES]
    return [
        [
            standard_box(*(np.asarray(face["landmarks_xy"])[i].mean(0) for i in which))
            for face in faces
        ]
        for faces in marks["frames"]
    ]


def _from_box(box: Any, *, name: str) -> Box:
    from ..omnisync_core.region import Box

    try:
        x, y, w, h = (float(box[key]) for key in ("x", "y", "width", "height"))
    except (TypeError, KeyError, ValueError):
        x = y = w = h = math.nan
    if not (math.isfinite(x + y + w + h) and w > 0 and h > 0):
        raise UserError(
            f"{name}: expected a BOUNDING_BOX with x, y, width and height above 0, got {box!r}."
        )
    if box.get("label") == "face":
        return Box(x + w / 2, y + _FACE_DROP * h, _FACE_SIDE * w)
    return Box(x + w / 2, y + h / 2, max(w, h))


def _follow(faces: list[list[Box]], speaker: Any) -> list[Box | None]:
    """One face through the frames; "auto" begins with the first that was found."""
    track: list[Box | None] = []
    last: tuple[float, float] | None = None
    for boxes in faces:
        if not boxes:
            track.append(None)
            continue
        if speaker == "left":
            chosen = min(boxes, key=lambda box: box.cx)
        elif speaker == "right":
            chosen = max(boxes, key=lambda box: box.cx)
        elif speaker == "largest":
            chosen = max(boxes, key=lambda box: box.side)
        else:
            near = speaker if isinstance(speaker, tuple) else last or (boxes[0].cx, boxes[0].cy)
            chosen = min(boxes, key=lambda box: math.dist(near, (box.cx, box.cy)))
            last = chosen.cx, chosen.cy
        track.append(chosen)
    return track


def _jumps(track: list[Box | None]) -> list[int]:
    """Where the next box is about another face: nothing is smoothed across."""
    from ..omnisync_core.region import apart

    return [i for i, (a, b) in enumerate(pairwise(track), 1) if a and b and apart(a, b)]
