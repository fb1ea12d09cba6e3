"""Composite: full frame -> the crop that the model edits, and the edit -> back into the full frame.

In and out: frames uint8 [h, w, 3], crops f32 [3 s s] in [-1, 1]. The edit returns as a residual,
what the model changed at its own resolution, so the source keeps its detail where little changed;
where much changed that detail belonged to the old mouth, and goes, all but its grain. What the
model drew anew is soft, and without the grain of its film: it is sharpened and gets that back.
Outside the box every pixel is the source's.

Boxes have float edges and may stick out of the frame; the frame's edge pixels go on outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .region import Box

# The share of the side, at each edge of the crop, over which an edit fades in.
BORDER = 0.12
# Change (of a range of 2) at which the source's detail starts to go and at which it is gone: 8 and
# 24 grey levels of 255. Less is the model's own noise; old teeth under new lips differ by more.
_DETAIL_STAYS, _DETAIL_GONE = 0.06, 0.19
# The grid in which that is decided, cells per side: a cell is about as wide as the edge of a lip.
_DETAIL_GRID = 48
# Fine detail that is this many standard deviations of the picture's own strong belongs to a thing,
# and is no grain (docs/LOG.md).
_GRAIN = 4.0
# How much stronger the fine detail of what is drawn anew is made (docs/LOG.md).
_SHARPEN = 0.8
# A face of a few pixels, whose pixel is wider than this in the crop, gets no more work than others.
_COARSEST = 3.0
# Over so many pixels of a crop, about a lip's height, it is asked whether the source's fine detail
# is still there.
_NEAR = 15


def take_crop(frame: np.ndarray, box: Box, size: int) -> Tensor:
    """The box of a frame uint8 [h, w, 3] as f32 [3 size size] in [-1, 1], antialiased.

    Raises ValueError for another kind of frame, a size below 1, or a box without a finite area.
    """
    _check(frame, box)
    if size < 1:
        raise ValueError(f"expected a crop of at least 1 pixel, got {size}")
    height, width = frame.shape[:2]
    step = box.side / size
    rows, row_weights = _taps(box.cy - box.side / 2, step, size, height)
    columns, column_weights = _taps(box.cx - box.side / 2, step, size, width)
    top, left = int(rows.min()), int(columns.min())
    piece = frame[top : int(rows.max()) + 1, left : int(columns.max()) + 1].astype(np.float32)
    piece = torch.from_numpy(piece) / 127.5 - 1
    crop = _resample(piece, (rows - top, row_weights), (columns - left, column_weights))
    return rearrange(crop, "x y c -> c y x").clamp(-1, 1)


def paste_crop(
    frame: np.ndarray,
    box: Box,
    source_crop: Tensor,
    edited_crop: Tensor,
    *,
    keep: Tensor | None = None,
    own: Tensor | None = None,
    fine: Tensor | None = None,
) -> np.ndarray:
    """A copy of the frame uint8 [h, w, 3] with the edit of its box in it.

    source_crop: take_crop of this frame and box; edited_crop: what the model made of it; both
    [3 s s] in [-1, 1]. keep: [s s] or [1 s s] in [0, 1], 1 where the source's pixels stay (an
    occluder). own: [s s] in [0, 1], how much of the edit was filmed and not drawn: that needs no
    sharpening. fine: [3 n n], detail that takes the place of the source's where that goes.
    An edit that changes nothing gives the frame bit for bit.
    Raises ValueError for crops of two shapes, another kind of frame, or a box that is not finite.
    """
    _check(frame, box)
    _check_pair(source_crop, edited_crop)
    result = frame.copy()
    part = _Part.of(box, *frame.shape[:2])
    source, edited = source_crop.detach().cpu().float(), edited_crop.detach().cpu().float()
    if part is None or torch.equal(edited, source):
        return result
    size = source.shape[-1]
    drawn = 1.0 if own is None else 1 - own.detach().cpu().float()
    change = _crisp(source, edited, drawn, size / box.side) - source
    weight = part.fade(size)
    if keep is not None:
        keep = keep.detach().cpu().float().reshape(1, size, size)
        weight = weight * (1 - part.enlarged(keep).clamp(0, 1))
    pixels = torch.from_numpy(frame[part.rows, part.columns].astype(np.float32))
    detail = pixels - part.enlarged((source + 1) * 127.5)
    detail -= rearrange(_grain(rearrange(detail, "y x c -> c y x")), "c y x -> y x c")
    if fine is not None:
        detail -= part.enlarged(fine.detach().cpu().float() * 127.5)
    lost = part.enlarged(_lost_detail(change)).clamp(0, 1)
    pixels += weight * (part.enlarged(change * 127.5) - lost * detail)
    result[part.rows, part.columns] = pixels.round_().clamp_(0, 255).to(torch.uint8).numpy()
    return result


def paste_mask(mask: Tensor, box: Box, height: int, width: int) -> Tensor:
    """A mask of a crop [s s] in [0, 1], in a frame of that size: [height width], 0 outside."""
    result = torch.zeros(height, width)
    if part := _Part.of(box, height, width):
        grown = part.enlarged(mask.detach().cpu().float()[None])
        result[part.rows, part.columns] = grown[..., 0].clamp(0, 1)
    return result


@dataclass(frozen=True)
class _Part:
    """The part of a box that lies in the frame: its pixels, and where they begin in the box."""

    box: Box
    rows: slice
    columns: slice

    @classmethod
    def of(cls, box: Box, height: int, width: int) -> _Part | None:
        """None where nothing of the box is in the frame."""
        rows, columns = _inside(box.cy, box.side, height), _inside(box.cx, box.side, width)
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            return None
        return cls(box, slice(*rows), slice(*columns))

    def fade(self, size: int) -> Tensor:
        """The border's weights [h w 1] for a crop of that side."""
        step, (top, left) = size / self.box.side, self._start()
        down = _fade(top * step, step, self.rows.stop - self.rows.start, size)
        across = _fade(left * step, step, self.columns.stop - self.columns.start, size)
        return down[:, None, None] * across[:, None]

    def enlarged(self, x: Tensor) -> Tensor:
        """A crop [c n n] as the frame's pixels see it: [h w c]."""
        n = x.shape[-1]
        step, (top, left) = n / self.box.side, self._start()
        across = _taps(left * step, step, self.columns.stop - self.columns.start, n)
        down = _taps(top * step, step, self.rows.stop - self.rows.start, n)
        return _resample(rearrange(x, "c y x -> x y c"), across, down)

    def _start(self) -> tuple[float, float]:
        """Rows and columns of the frame from the box's corner to the first pixel."""
        top = self.rows.start - self.box.cy + self.box.side / 2
        return top, self.columns.start - self.box.cx + self.box.side / 2


def side_by_side(source: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Two frames uint8 [h, w, 3] of one size, left and right: uint8 [h, 2w, 3]."""
    return np.concatenate([source, result], axis=1)


def _crisp(source: Tensor, edited: Tensor, drawn: Tensor | float, scale: float) -> Tensor:
    """An edit [3 s s] of that source, sharper and with its grain wherever the source's own fine
    detail went, as far as it was drawn; as it is where nothing changed. scale: pixels of the crop
    to one of the frame."""
    old, new = fine_detail(source, scale), fine_detail(edited, scale)
    both = _near(torch.stack([(new * old).sum(0), (old * old).sum(0)]))
    gone = 1 - (both[0] / both[1]).nan_to_num(0.0).clamp(0, 1)
    return (edited + drawn * gone * (_SHARPEN * new + _grain(old))).clamp(-1, 1)


def fine_detail(picture: Tensor, scale: float = 1.0) -> Tensor:
    """The fine detail of a picture [c h w]: less its blur of one pixel, or `scale` where a pixel of
    the frame is more."""
    tap, blurred = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16, picture[:, None]
    for _ in range(round(min(max(1.0, scale), _COARSEST) ** 2)):  # each has a variance of one
        blurred = F.pad(blurred, (2, 2, 2, 2), mode="replicate")
        blurred = F.conv2d(F.conv2d(blurred, tap[None, None, None]), tap[None, None, :, None])
    return picture - blurred[:, 0]


def _grain(detail: Tensor) -> Tensor:
    """What of a fine detail [c h w] is as weak as most of it: noise and pores, no edges.

    Tukey's biweight (Beaton and Tukey 1974) on the scale of the median.
    """
    spread = detail[:, ::4, ::4].abs().flatten(1).median(1).values / 0.6745
    most = (_GRAIN * spread).clamp_min(1e-6)[:, None, None]
    return detail * (1 - (detail / most) ** 2).clamp_min(0)


def _near(x: Tensor) -> Tensor:
    """Means [c h w] over what is near."""
    for window, pad in (((_NEAR, 1), (_NEAR // 2, 0)), ((1, _NEAR), (0, _NEAR // 2))):
        x = F.avg_pool2d(x, window, stride=1, padding=pad, count_include_pad=False)
    return x


def _lost_detail(change: Tensor) -> Tensor:
    """How much of the source's detail an edit [3 s s] takes along, in [0, 1]: coarse, [1 g g].

    It follows the largest change near by, not the change itself: where new lips happen to have the
    colour of old teeth the outline of the teeth must go as well.
    """
    amount = F.adaptive_max_pool2d(change.abs().amax(0, keepdim=True), _DETAIL_GRID)
    amount = F.max_pool2d(amount, 3, stride=1, padding=1)
    share = ((amount - _DETAIL_STAYS) / (_DETAIL_GONE - _DETAIL_STAYS)).clamp(0, 1)
    return F.avg_pool2d(_smoothstep(share), 3, stride=1, padding=1, count_include_pad=False)


def _fade(start: float, step: float, count: int, size: int) -> Tensor:
    """The border's weight [count] along one side: 0 at the crop's edge, 1 from BORDER inwards."""
    place = (start + (torch.arange(count) + 0.5) * step) / size
    return _smoothstep((torch.minimum(place, 1 - place) / BORDER).clamp(0, 1))


def _smoothstep(x: Tensor) -> Tensor:
    return x * x * (3 - 2 * x)


def _inside(centre: float, side: float, limit: int) -> tuple[int, int]:
    """[first, last) of the pixels whose centres lie in the box and the frame, along one side."""
    first = math.ceil(centre - side / 2 - 0.5)
    return max(0, first), min(limit, math.floor(centre + side / 2 - 0.5) + 1)


def _taps(start: float, step: float, count: int, limit: int) -> tuple[Tensor, Tensor]:
    """Which input pixels make up each of `count` output pixels, and their weights: both [count k].

    Output pixel i is `step` input pixels wide and starts at start + i step. The filter is Keys'
    cubic (a = -1/2), stretched by a step above 1 against aliasing. Indexes stay below limit.
    """
    stretch = max(step, 1.0)
    centre = start + (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) * step
    first = torch.floor(centre - 2 * stretch + 0.5)
    index = first + torch.arange(math.ceil(4 * stretch) + 1)
    distance = ((index + 0.5 - centre) / stretch).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    weights = weights / weights.sum(1, keepdim=True)
    return index.clamp(0, limit - 1).long(), weights.float()


def _resample(image: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Weighted sums along both sides of an image [a b c], given their taps: [b' a' c].

    The sides come out swapped, for each pass wants its own in front and a large copy costs more
    than the sums. embedding_bag is torch's sparse weighted sum: a tenth of a dense product's time.
    """
    channels = image.shape[2]
    x = rearrange(image, "a b c -> a (b c)").contiguous()
    x = F.embedding_bag(first[0], x, mode="sum", per_sample_weights=first[1])
    x = rearrange(x, "a (b c) -> b (a c)", c=channels).contiguous()
    x = F.embedding_bag(second[0], x, mode="sum", per_sample_weights=second[1])
    return rearrange(x, "b (a c) -> b a c", c=channels)


def _check(frame: np.ndarray, box: Box) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise ValueError(
            f"expected a frame uint8 [h, w, 3], got {frame.dtype} {list(frame.shape)}; "
            "convert it to RGB bytes first"
        )
    if not (math.isfinite(box.cx) and math.isfinite(box.cy) and 0 < box.side < math.inf):
        raise ValueError(f"expected a box with a finite centre and a side above 0, got {box}")


def _check_pair(source_crop: Tensor, edited_crop: Tensor) -> None:
    if source_crop.shape != edited_crop.shape or source_crop.ndim != 3:
        raise ValueError(
            "expected two crops [3 s s] of one shape, "
            f"got {tuple(source_crop.shape)} and {tuple(edited_crop.shape)}"
        )
