"""The speaker's own lips and teeth, from other moments of the shot, in the place of drawn ones.

In: an edit [3 s s], and crops of the same shot. Out: the edit wearing a mouth of the shot, and how
much of it that mouth is.

A network draws the mean of all that a voice leaves open: grey teeth, blurred lips. But most shots
show this very mouth open, closed and in between at other moments. As Video Rewrite (Bregler et al.
1997) puts a speaker's own mouth pictures together anew, the picture that is most like the drawn one
is looked up, moved onto it along the optical flow, and lit as it is; where the two do not agree the
drawing stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .composite import fine_detail, take_crop
from .exposure import Exposure
from .occlusion import MaskFinder, is_clear, mouth_area, soft_edge
from .optical_flow import (
    Estimator,
    backward_warp,
    dense_flow,
    halve,
    lucas_kanade,
    opencv,
    resize_flow,
)
from .region import Box

# The numbers below were chosen by measuring and by eye (docs/LOG.md, 2026-11-28).

# Pictures of a shot that are kept, evenly over its time: of six seconds every one.
_MOST = 160
# So many of them tell the shot's exposure.
_FEW = 16
# A face larger than this many times the network's crop is kept in twice the crop's side.
_LARGE = 1.2
# Times the mouth's ellipse: what is compared, and what is worn.
_COMPARED, _WORN = 1.7, 1.5
# Lengths in pixels of a crop of this side: the embedded model's. In others they grow with it.
_SIDE = 144
# The soft edge of what is worn; half widths of the blurs for the flow, of what counts as light, and
# as form.
_SOFT, _FLOW, _LIGHT, _FORM = 6, 2, 14, 1
# Lucas-Kanade's flow (that without OpenCV) is rougher, and blurred by this.
_ROUGH_FLOW = 6
# Pictures are compared in cells of so many pixels, moved by up to so many cells either way: the box
# of a talking head is a few pixels off.
_CELL, _SHIFT = 2, 3
# By so much (mean square of a range of 2), less what the drawing has moved since the frame before,
# another picture must be more alike than the last one: a mouth at rest keeps its picture.
_HOLD = 0.012
# Difference in form (of a range of 2) at which 1 / e of the found mouth is left.
_AGREE = 0.3
# Reading along a flow and mixing with a drawing blur; at most so many times the detail comes back.
_SHARPEN = 2.0


@dataclass(frozen=True)
class Worn:
    """An edit that wears a mouth of its shot."""

    edited: Tensor
    """[3 s s] in [-1, 1]."""
    own: Tensor
    """[s s] in [0, 1]: how much of it was found and not drawn."""
    fine: Tensor | None
    """[3 2s 2s]: the found mouth's detail finer than a pixel of the crop; None: there is none."""


class OwnMouth:
    """The mouths of one shot, asked for in the order of its frames."""

    def __init__(self, crops: Tensor, size: int, *, flow: Estimator = dense_flow) -> None:
        """crops: uint8 [n 3 s s], s being size or twice that; one at least."""
        self._crops, self._large = crops, crops.shape[-1] > size
        self._flow, self._last = flow, 0
        rough = flow is lucas_kanade or (flow is dense_flow and opencv() is None)
        self._roughness = _ROUGH_FLOW if rough else _FLOW
        self._before: Tensor | None = None
        self._unit = max(1, round(size / _SIDE))
        self._mouth = soft_edge(mouth_area(size, grown=_WORN), self._unit * _SOFT)
        every = range(len(crops))
        few = every[:: -(-len(crops) // _FEW)]
        self._exposure = Exposure.of(torch.stack([self._crop(i) for i in few]))
        area = F.avg_pool2d(mouth_area(size, grown=_COMPARED), self._unit * _CELL)[0]
        rows, columns = area.any(1).nonzero(), area.any(0).nonzero()
        self._rows = slice(int(rows.min()), int(rows.max()) + 1)
        self._columns = slice(int(columns.min()), int(columns.max()) + 1)
        self._weight = area[self._rows, self._columns]
        self._weight = self._weight / self._weight.sum()
        self._known = torch.cat([self._features(self._crop(i), reach=0) for i in every])

    @classmethod
    def gather(
        cls,
        frames: Iterable[np.ndarray],
        boxes: Sequence[Box],
        size: int,
        *,
        finder: MaskFinder | None = None,
        flow: Estimator = dense_flow,
    ) -> OwnMouth | None:
        """The mouths of a shot's frames uint8 [h w 3], one box each; None where all are covered.

        size: side of the network's crops. finder: leaves out frames with something in front.
        """
        side = size * (1 + (median(box.side for box in boxes) > _LARGE * size))
        every = -(-len(boxes) // _MOST)
        crops = []
        for i, (frame, box) in enumerate(zip(frames, boxes, strict=False)):
            if i % every == 0:
                crop = take_crop(frame, box, side)
                if finder is None or is_clear(finder, crop):
                    crops.append(_bytes(crop))
        return cls(torch.stack(crops), size, flow=flow) if crops else None

    def wear(self, edited: Tensor) -> Worn:
        """The next frame's edit [3 s s] in [-1, 1], in the look of the shot's own mouth."""
        asked = self._features(edited, reach=_SHIFT)
        cost = torch.cdist(asked, self._known).amin(0) ** 2
        unmoved = asked[len(asked) // 2]
        if self._before is not None:
            moved = float(((unmoved - self._before) ** 2).sum())
            cost[self._last] -= max(0.0, _HOLD - moved)
        self._before, self._last = unmoved, int(cost.argmin())
        found = self._crop(self._last)
        # As soft as one another: detail that only one of them has would lead the flow astray.
        soft = [self._blur(self._exposure.lift(x), _FLOW) for x in (found, edited)]
        flow = self._blur(self._flow(*soft), self._roughness)[None]
        moved = _read(found, flow)
        moved = moved + self._blur(edited - moved, _LIGHT)
        differ = self._blur(edited - moved, _FORM).abs().amax(0, keepdim=True)
        differ = self._exposure.gain * self._blur(differ, _FORM)
        own = self._mouth * torch.exp(-((differ / _AGREE) ** 2))
        worn = torch.lerp(edited, moved, own)
        worn = worn + own * (self._blurred(worn, found) - 1) * fine_detail(worn)
        if not self._large:
            return Worn(worn, own[0], None)
        whole = self._crops[self._last].float() / 127.5 - 1
        size = whole.shape[-1]
        fine = _read(whole - _enlarged(halve(whole[None])[0], size), resize_flow(flow, size, size))
        return Worn(worn, own[0], fine * _enlarged(own, size))

    def _blurred(self, worn: Tensor, found: Tensor) -> float:
        """How many times as much fine detail a found mouth has as what was made of it."""
        had, has = ((self._mouth * fine_detail(x) ** 2).sum() for x in (found, worn))
        return float((had / has.clamp_min(1e-9)).sqrt().clamp(1, _SHARPEN))

    def _crop(self, i: int) -> Tensor:
        """A kept crop at the network's size, [3 s s]."""
        crop = self._crops[i].float() / 127.5 - 1
        return halve(crop[None])[0] if self._large else crop

    def _features(self, crop: Tensor, *, reach: int) -> Tensor:
        """What tells mouths apart: a coarse picture without its mean colour, moved by up to `reach`
        cells either way: [(2 reach + 1)^2 d]."""
        cells = F.avg_pool2d(self._blur(self._exposure.gain * crop, _CELL), self._unit * _CELL)
        places = product(range(-reach, reach + 1), repeat=2)
        seen = torch.stack([torch.roll(cells, place, (1, 2)) for place in places])
        seen = seen[..., self._rows, self._columns]
        seen = seen - (self._weight * seen).sum((2, 3), keepdim=True)
        return (self._weight.sqrt() * seen).flatten(1)

    def _blur(self, x: Tensor, reach: int) -> Tensor:
        """A picture [c h w], less sharp: twice the mean of 2 reach + 1 pixels."""
        for dim in (1, 2, 1, 2):
            x = _mean(x, self._unit * reach, dim)
        return x


def _mean(x: Tensor, reach: int, dim: int) -> Tensor:
    """The mean of 2 reach + 1 pixels along a side, fewer at the edges.

    By running sums: with avg_pool2d, as elsewhere, these blurs take half of a frame's time here.
    """
    place = torch.arange(x.shape[dim])
    first, last = (place - reach).clamp_min(0), (place + reach).clamp_max(x.shape[dim] - 1)
    total = x.cumsum(dim)
    before = total - x
    shape = [1] * x.ndim
    shape[dim] = -1
    inside = total.index_select(dim, last) - before.index_select(dim, first)
    return inside / (last - first + 1).reshape(shape)


def _bytes(crop: Tensor) -> Tensor:
    """A crop in [-1, 1] as uint8: a shot's crops are held as long as it lasts."""
    return ((crop + 1) * 127.5).round().byte()


def _read(picture: Tensor, flow: Tensor) -> Tensor:
    """A picture [c h w] read along a flow [1 2 h w]."""
    return backward_warp(picture[None], flow, mode="bicubic")[0]


def _enlarged(picture: Tensor, size: int) -> Tensor:
    """[c h w] -> [c size size]."""
    return F.interpolate(picture[None], (size, size), mode="bicubic")[0]
