"""Real pairs: from clips with landmarks to (source, target) windows of one person in one pose.

In: a corpus folder (clips and landmarks.npz). Out: packed standard crops with landmarks, and from
those pairs [f h w 3] whose target is always a real picture:

- transplant: the target with the lower face of another moment of the clip laid over it. Outside the
  mouth source and target are the same pixels, so the pair is pose-aligned (the paper's
  pseudo-pair).
- dubbed: the target as a model made it say something else (bootstrap.py). Aligned exactly.
- other moment: another stretch of the clip, moved onto the target's pose. Aligned only nearly; an
  arbitrary pair of the same person (OmniSync section 3.2), for low noise levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..media import read_frames
from ..region import standard_box
from .voice import GRID_LANDMARKS

# Packed crops are wider than the standard crop, so that training can shift, scale and turn them.
MARGIN = 1.25
PACKED = 180
"""Side of packed crops for `mini`; those of other models are larger or smaller (packed_side)."""
_INDEX = {number: i for i, number in enumerate(GRID_LANDMARKS)}
_EYES = ((33, 133), (362, 263))
_MOUTH = (61, 291, 13, 14)
# Points that speech does not move: eyes, brows, nose, and the oval above the cheeks.
STEADY = [_INDEX[n] for n in (33, 133, 362, 263, 1, 4, 168, 98, 327, 2, 127, 356, 234, 454, 10)]
LIPS = list(range(40))
# The part of the face that speech moves: chin and jaw between the two mouth-high oval points.
JAW = [_INDEX[n] for n in (361, 288, 397, 365, 379, 378, 400, 377, 152)] + [
    _INDEX[n] for n in (148, 176, 149, 150, 136, 172, 58, 132)
]
_NOSE = [_INDEX[n] for n in (98, 2, 327)]


@dataclass
class PackedClip:
    """Crops [f, s, s, 3] uint8 and landmarks [f, 96, 2] in crop pixels, 25 frames a second."""

    name: str
    crops: np.ndarray
    landmarks: np.ndarray
    edited: np.ndarray | None = None
    """The crops with other lips (bootstrap.py)."""


def packed_side(crop: int) -> int:
    """Side of the packed crops of a model whose own crops have that side: 180 for 144."""
    return round(crop * MARGIN)


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian over frames, ends repeated: [f, k]."""
    radius = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    padded = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
    columns = [np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T]
    return np.stack(columns, axis=1)


def pack_clip(path: Path, landmarks: np.ndarray, side: int = PACKED) -> PackedClip:
    """Cut the standard crop out of every frame, `side` pixels wide; landmarks int16 [f, 96, 2] in
    1/32 pixel."""
    points = landmarks.astype(np.float32) / 32
    boxes = []
    for frame in points:
        left, right = (frame[[_INDEX[n] for n in eye]].mean(0) for eye in _EYES)
        box = standard_box(left, right, frame[[_INDEX[n] for n in _MOUTH]].mean(0))
        boxes.append((box.cx, box.cy, box.side))
    # The product's crop follows the head smoothly too; 0.2 s takes the mouth's own motion out.
    track = _smooth(np.array(boxes), 5.0)
    track[:, 2] = np.median(track[:, 2])
    crops = np.empty((len(track), side, side, 3), np.uint8)
    moved = np.empty_like(points)
    for i, frame in enumerate(read_frames(path)):
        if i == len(track):
            break
        cx, cy, shown = track[i]
        scale = side / (shown * MARGIN)
        matrix = np.array([[scale, 0, side / 2 - scale * cx], [0, scale, side / 2 - scale * cy]])
        pixel = matrix.copy()
        pixel[:, 2] += (scale - 1) / 2  # cv2 counts from pixel centres
        crops[i] = cv2.warpAffine(
            frame, pixel, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        moved[i] = points[i] @ matrix[:, :2].T + matrix[:, 2]
    return PackedClip(path.stem, crops, moved)


def pack_folder(
    folder: Path, *, names: list[str] | None = None, side: int = PACKED
) -> list[PackedClip]:
    """Pack a corpus folder's clips (all that have landmarks, or those named)."""
    landmarks = np.load(folder / "landmarks.npz")
    chosen = names or landmarks.files
    return [pack_clip(folder / f"{name}.mp4", landmarks[name], side) for name in chosen]


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least-squares turn, scale and shift [2, 3] that carries points [k, 2] onto others."""
    a, b = source.mean(0), target.mean(0)
    p, q = source - a, target - b
    norm = (p**2).sum()
    cosine = (p * q).sum() / norm
    sine = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / norm
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.concatenate([turn, (b - turn @ a)[:, None]], axis=1)


def _warp(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(
        picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _speech_mask(points: np.ndarray, size: int) -> np.ndarray:
    """Soft mask [size, size, 1] of everything below the nose that speech moves."""
    unit = size / PACKED
    jaw = points[JAW]
    centre = points[LIPS].mean(0)
    # A little beyond the jaw line: an open chin of the other moment must find room.
    below = centre + (jaw - centre) * np.array([0.92, 1.12])
    hull = cv2.convexHull(np.concatenate([below, points[_NOSE] + (0, 2 * unit)]).astype(np.float32))
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, np.round(hull).astype(np.int32), 1.0)
    return cv2.GaussianBlur(mask, (0, 0), 3 * unit)[..., None]


def transplant(clip: PackedClip, target: int, source: int) -> np.ndarray:
    """The target frame [s, s, 3] uint8 wearing the lower face of another frame of its clip."""
    size = clip.crops.shape[1]
    matrix = similarity(clip.landmarks[source, STEADY], clip.landmarks[target, STEADY])
    moved = _warp(clip.crops[source], matrix, size)
    worn = clip.landmarks[source] @ matrix[:, :2].T + matrix[:, 2]
    mask = np.maximum(_speech_mask(clip.landmarks[target], size), _speech_mask(worn, size))
    mixed = clip.crops[target] * (1 - mask) + moved * mask
    return np.round(mixed).astype(np.uint8)


def other_moment(clip: PackedClip, target: int, source: int) -> np.ndarray:
    """Another frame of the clip [s, s, 3] uint8, moved onto the target's pose."""
    matrix = similarity(clip.landmarks[source, STEADY], clip.landmarks[target, STEADY])
    return _warp(clip.crops[source], matrix, clip.crops.shape[1])
