"""Locator: finds the mouth in a frame (the automatic half of the region step).

In: full frames, uint8 [h, w, 3] RGB. Out: one `Box` (the standard crop, see `region`) or None per
frame. Two small networks of our own: a detector that looks at the whole frame at several sizes and
a refiner that looks at a crop around a guess. While a face is followed only the refiner runs.
Trained by `training/locator.py` on rendered heads and GRID clips. One face is followed: the
largest and clearest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors import safe_open
from torch import Tensor, nn

from .region import Box, Speaker, apart, standard_box

WEIGHTS = Path(__file__).parent / "weights" / "locator.safetensors"
FORMAT = "omnisync-locator-1"

# The refiner's picture: twice the standard crop (so that the eyes are inside), at 64 pixels.
CONTEXT = 2.0
CROP = 64
# The detector is trained on crops of 12 to 40 pixels; octaves of the frame's long side overlap.
LEVELS = (512, 256, 128, 64)
STRIDE = 8
TYPICAL_SIDE = 22.0
# Candidates that the refiner checks in a frame without a known face.
CANDIDATES = 6
# Below this the answer is "no mouth": the two kinds of error cost the refiner's training the same.
PRESENT = 0.5
# In a search both networks must agree: their product. Measured on 500 unseen rendered heads and as
# many empty backgrounds: at 0.5, 8 % are missed and 3 % of the empty ones taken for a face.
FOUND = 0.5
# Another face takes over only when it is this much clearer: the choice should not flicker.
OUTSHINE = 1.5
# How often the whole frame is searched again while a face is followed: every two seconds at 25 fps.
# A search takes about 25 times as long as a followed frame (100 ms, 4 ms): a third on top.
RECHECK = 50
GREY = 127


def _down(c: int, d: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c, d, 3, 2, 1, bias=False), nn.BatchNorm2d(d), nn.ReLU())


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; the first may be dilated to see further."""

    def __init__(self, channels: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


class Detector(nn.Module):
    """Frames f32 [b 3 h w] in [-1, 1] -> [b 4 h/8 w/8]: logit, dx and dy in cells, log side.

    The side is relative to `TYPICAL_SIDE` pixels; dx and dy lead from the cell's centre to the
    box's centre.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            _down(3, 16),
            _down(16, 32),
            Residual(32),
            _down(32, 64),
            Residual(64),
            Residual(64, dilation=2),
            Residual(64, dilation=4),
            nn.Conv2d(64, 4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Refiner(nn.Module):
    """Crops f32 [b 3 64 64] in [-1, 1] -> (points [b 3 2], logit [b]).

    The points are the two eyes (left in the picture first) and the mouth, x and y in units of half
    the crop from its centre: -1 is the left or top edge.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            _down(3, 24),
            _down(24, 48),
            Residual(48),
            _down(48, 96),
            Residual(96),
            _down(96, 128),
            Residual(128),
            nn.Flatten(),
            nn.Linear(128 * (CROP // 16) ** 2, 128),
            nn.ReLU(),
            nn.Linear(128, 7),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.net(x)
        return rearrange(y[:, :6], "b (point place) -> b point place", place=2), y[:, 6]


def _shrink(picture: np.ndarray, height: int, width: int) -> Tensor:
    """Picture uint8 [h w 3] -> f32 [1 3 height width] in [-1, 1], antialiased."""
    x = rearrange(torch.from_numpy(np.ascontiguousarray(picture)), "h w c -> 1 c h w")
    if x.shape[-2:] != (height, width):
        x = F.interpolate(x, (height, width), mode="bilinear", antialias=True)
    return x.float() / 127.5 - 1


def _cut(frame: np.ndarray, box: Box) -> tuple[Tensor, tuple[float, float, float]]:
    """The refiner's view of a guess, and its place in the frame: centre x, y and half its side."""
    n = max(4, round(CONTEXT * box.side))
    left, top = round(box.cx - n / 2), round(box.cy - n / 2)
    h, w = frame.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + n, w), min(top + n, h)
    if x1 - x0 == n and y1 - y0 == n:
        picture = frame[y0:y1, x0:x1]
    else:
        picture = np.full((n, n, 3), GREY, np.uint8)
        if x1 > x0 and y1 > y0:
            picture[y0 - top : y1 - top, x0 - left : x1 - left] = frame[y0:y1, x0:x1]
    return _shrink(picture, CROP, CROP), (left + n / 2, top + n / 2, n / 2)


class MouthLocator:
    """Finds one mouth and stays with it. `MouthLocator.load()` opens the weights of the package."""

    def __init__(self, detector: Detector, refiner: Refiner) -> None:
        self.detector = detector.eval()
        self.refiner = refiner.eval()

    @classmethod
    def load(cls, path: Path | None = None) -> MouthLocator:
        """Weights from a safetensors file; ValueError when it holds something else."""
        detector, refiner = Detector(), Refiner()
        with safe_open(str(path or WEIGHTS), framework="pt") as file:
            found = (file.metadata() or {}).get("format")
            if found != FORMAT:
                raise ValueError(
                    f"expected locator weights of format {FORMAT!r} in {path or WEIGHTS}, got "
                    f"{found!r}; use the file that came with this version"
                )
            weights = {key: file.get_tensor(key).float() for key in file.keys()}
        for name, network in (("detector.", detector), ("refiner.", refiner)):
            own = {k[len(name) :]: v for k, v in weights.items() if k.startswith(name)}
            network.load_state_dict(own)
        return cls(detector, refiner)

    @torch.inference_mode()
    def locate(
        self, frame: np.ndarray, previous: Box | None = None, *, speaker: Speaker = "auto"
    ) -> Box | None:
        """The standard crop in a frame uint8 [h, w, 3] RGB, or None where no mouth is found.

        With the box of the frame before, only its surroundings are looked at first (fast); the
        whole frame is searched when nothing is there. ValueError for another shape or dtype.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(
                f"expected an RGB frame uint8 [h, w, 3], got {frame.dtype} {list(frame.shape)}; "
                "convert it to 8-bit RGB first"
            )
        if previous is not None:
            box, presence = self._refine(frame, [previous])[0]
            if presence >= PRESENT:
                return box
        return _choose([box for box, _ in self._search(frame)], speaker)

    @torch.inference_mode()
    def follow(
        self, frames: Iterable[np.ndarray], *, speaker: Speaker = "auto"
    ) -> Iterator[Box | None]:
        """One box or None per frame, in order: the speaker's, as long as that mouth is seen.

        With "auto" the whole frame is searched every `RECHECK` frames, and the search takes over
        where it finds a far clearer mouth than the one followed.
        """
        box: Box | None = None
        for index, frame in enumerate(frames):
            box = self.locate(frame, box, speaker=speaker)
            if speaker == "auto" and box is not None and index % RECHECK == RECHECK - 1:
                found = self._search(frame)
                same = max((score for other, score in found if not apart(other, box)), default=0.0)
                if found and found[0][1] > OUTSHINE * same and apart(found[0][0], box):
                    box = found[0][0]
            yield box

    def _refine(self, frame: np.ndarray, guesses: list[Box]) -> list[tuple[Box, float]]:
        """For each guess the box seen there and how surely a mouth is there (0 to 1)."""
        views, places = zip(*(_cut(frame, guess) for guess in guesses), strict=True)
        points, logit = self.refiner(torch.cat(views))
        found = []
        for p, presence, (x, y, half) in zip(
            points.numpy(), torch.sigmoid(logit).tolist(), places, strict=True
        ):
            left, right, mouth = p.astype(np.float64) * half + np.array([x, y])
            found.append((standard_box(left, right, mouth), presence))
        return found

    def _search(self, frame: np.ndarray) -> list[tuple[Box, float]]:
        """The mouths of a whole frame with how clear they are, the clearest first."""
        sure, guesses = self._detect(frame)
        found: list[tuple[Box, float]] = []
        for _ in range(2):  # the detector's boxes are coarse: the second look is centred
            found = self._refine(frame, guesses)
            guesses = [box for box, _ in found]
        both = [(box, a * b) for a, (box, b) in zip(sure, found, strict=True) if a * b >= FOUND]
        return sorted(both, key=lambda pair: -pair[1] * pair[0].side ** 0.25)

    def _detect(self, frame: np.ndarray) -> tuple[list[float], list[Box]]:
        """The detector's best guesses over all sizes: how sure (0 to 1), and boxes."""
        h, w = frame.shape[:2]
        guesses: list[tuple[float, Box]] = []
        for level in LEVELS:
            scale = level / max(h, w)
            height, width = max(STRIDE, round(h * scale)), max(STRIDE, round(w * scale))
            if scale <= 1 or level == LEVELS[-1]:
                maps = self.detector(_shrink(frame, height, width))[0]
                guesses += _peaks(maps, w / width, h / height)
        kept: list[tuple[float, Box]] = []
        for sure, box in sorted(guesses, key=lambda pair: -pair[0]):
            if all(apart(box, other) for _, other in kept):
                kept.append((sure, box))
        kept = kept[:CANDIDATES]
        return [1 / (1 + math.exp(-logit)) for logit, _ in kept], [box for _, box in kept]


def _choose(boxes: list[Box], speaker: Speaker) -> Box | None:
    """The speaker's among the mouths of a frame, the clearest first; None if there is none."""
    rules = {"auto": lambda b: 0, "left": lambda b: b.cx, "right": lambda b: -b.cx}
    rules["largest"] = lambda b: -b.side
    if isinstance(speaker, tuple):
        return min(boxes, key=lambda b: math.dist(speaker, (b.cx, b.cy)), default=None)
    return min(boxes, key=rules[speaker], default=None)


def _peaks(maps: Tensor, x_scale: float, y_scale: float) -> list[tuple[float, Box]]:
    """Local maxima of the detector's output [4 h w] as (logit, box in frame pixels)."""
    logit, dx, dy, size = maps
    top = F.max_pool2d(logit[None], 3, 1, 1)[0] == logit
    value, place = torch.where(top, logit, -math.inf).flatten().topk(min(4, logit.numel()))
    peaks = []
    for v, i in zip(value.tolist(), place.tolist(), strict=True):
        y, x = divmod(i, logit.shape[1])
        if math.isfinite(v):
            side = TYPICAL_SIDE * math.exp(min(max(float(size[y, x]), -2.0), 2.0))
            cx = (x + 0.5 + float(dx[y, x])) * STRIDE * x_scale
            cy = (y + 0.5 + float(dy[y, x])) * STRIDE * y_scale
            peaks.append((v, Box(cx, cy, side * math.sqrt(x_scale * y_scale))))
    return peaks
