"""Occlusion repair: what covers the mouth stays in front of the edit (before the composite).

A mask says where the occluder is (occluder_net.py finds it): [f h w] in [0, 1], 1 on a hand, a
microphone, hair. How much of the mouth it covers decides, frame by frame:

    clear     nothing to do
    local     under 30 %: the visible mouth is edited, the occluder's own pixels stay
    complete  from 30 %: the whole mouth is first taken from the last clear frame of the shot (half
              an old one and half a new one is none), edited, and the occluder goes on top

In both the network sees a face with nothing in front, for it moves lips timidly beside a thing:
what is under the occluder comes from that clear frame too, in local repair only where that frame
fits. Everything looks back only: frames stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F

from .composite import paste_mask, take_crop
from .guidance import MOUTH_CENTRE
from .optical_flow import opencv
from .region import Tracking

Mode = Literal["clear", "local", "complete"]

# Up and down across the 30 % of the method, so that a hand at the border does not flicker.
COMPLETE_FROM, COMPLETE_UNTIL = 0.33, 0.27
# Less of the mouth than this is left to the network: a clear face may get so much (docs/LOG.md).
LOCAL_FROM, LOCAL_UNTIL = 0.015, 0.008
# A frame that may stand in for others shows all of its mouth.
_CLEAR = 0.005
# The covered share is averaged over about this many frames before a face is completed.
_MEMORY = 4
# The lips at rest and a little around them, in fractions of the standard crop's side.
_MOUTH_RADII = (0.22, 0.13)
# Times that, an open mouth's teeth lie within. So much is taken from a clear frame (docs/LOG.md).
TEETH_REACH = 1.25
# Times that, all of a mouth and its moustache lies within, and hardly a whole thing (docs/LOG.md).
_FACE_REACH = 1.7
# What is a thing by at least this is kept whole where the face was filled: a piece of it that the
# mask half misses would be erased there (docs/LOG.md).
_KEPT_WHOLE = 0.5
# A clear frame fits from this correlation on: of pairs of crops of the development clips a fifth of
# a second apart 26 of 28 have it, of two people 2 (docs/LOG.md).
_FITS = 0.8
# The border of what is taken fades over twice so many pixels.
_TAKEN_SOFT = 3


def mouth_area(size: int, *, grown: float = 1.0) -> Tensor:
    """The ellipse of the mouth in a standard crop, times `grown`: [1 size size], 1 inside."""
    place = (torch.arange(size) + 0.5) / size
    x = (place - MOUTH_CENTRE[0]) / (grown * _MOUTH_RADII[0])
    y = (place - MOUTH_CENTRE[1]) / (grown * _MOUTH_RADII[1])
    return (x[None] ** 2 + y[:, None] ** 2 <= 1).float()[None]


def in_front(mask: Tensor) -> Tensor:
    """A found mask [s s] without teeth, tongue and moustaches that were taken for a thing.

    What covers a mouth comes from outside: only what hangs together with something there stays.
    """
    inside = mouth_area(mask.shape[-1], grown=_FACE_REACH)[0]
    solid = (mask > 0.2).float()
    reached = (mask > 0.5) * (1 - inside)
    for _ in range(mask.shape[-1]):  # at most as many steps as a thing is long
        further = F.max_pool2d(reached[None], 3, stride=1, padding=1)[0] * solid
        if torch.equal(further, reached):
            break
        reached = further
    # One pixel more, for the soft edge.
    return mask * F.max_pool2d(reached[None], 3, stride=1, padding=1)[0]


def occluder_masks(
    frames: Iterable[np.ndarray], tracking: Tracking, finder: MaskFinder, *, size: int
) -> Iterator[tuple[Tensor, float]]:
    """The occluder's mask [h w] in [0, 1] and the covered share of the mouth, frame by frame.

    frames uint8 [h, w, 3] with a box each (None: no mouth, an empty mask); size: side of the crops
    that are looked at.
    """
    search, starts = OccluderSearch(finder), {start for start, _ in tracking.runs()}
    for i, (frame, box) in enumerate(zip(frames, tracking.track, strict=True)):
        if i in starts:  # what was clear before a cut is another picture
            search = OccluderSearch(finder)
        height, width = frame.shape[:2]
        if box is None:
            yield torch.zeros(height, width), 0.0
            continue
        mask, ratio = search.look(take_crop(frame, box, size))
        yield paste_mask(mask, box, height, width), ratio


class MaskFinder(Protocol):
    """What tells an occluder from a face; OccluderNet is one."""

    def find(
        self, crops: Tensor, clear: Tensor | None = None, before: Tensor | None = None
    ) -> Tensor:
        """Crops [b 3 s s] in [-1, 1], clear ones of the same faces, and the masks [b s s] of the
        frames before -> masks [b s s] in [0, 1]."""
        ...


def is_clear(finder: MaskFinder, crop: Tensor) -> bool:
    """Whether a crop [3 s s] shows all of its mouth."""
    return _found(finder, crop, None, None)[1] <= _CLEAR


def _found(
    finder: MaskFinder, crop: Tensor, clear: Tensor | None, before: Tensor | None
) -> tuple[Tensor, float]:
    """The mask [s s] of what is in front of a crop, and the covered share of the mouth."""
    mask = in_front(finder.find(crop[None], clear, before)[0].float().cpu())
    return mask, float(occlusion_ratio(mask[None], mouth_area(crop.shape[-1])))


class OccluderSearch:
    """Finds what is in front in the crops of one shot, in order, beside the last clear one and the
    one before."""

    def __init__(self, finder: MaskFinder) -> None:
        self.finder = finder
        self.clear: Tensor | None = None
        """The last crop [3 s s] that showed all of its mouth."""
        self._before: Tensor | None = None

    def look(self, crop: Tensor) -> tuple[Tensor, float]:
        """A crop [3 s s] -> its mask [s s] in [0, 1] and the covered share of the mouth."""
        clear, before = (None if x is None else x[None] for x in (self.clear, self._before))
        mask, ratio = _found(self.finder, crop, clear, before)
        self._before = mask
        if ratio <= _CLEAR:
            self.clear = crop
        return mask, ratio


@dataclass(frozen=True)
class View:
    """One frame's crop as the network should see it, and what must stay of it."""

    mode: Mode
    ratio: float
    """Covered share of the mouth, 0 to 1."""
    source: Tensor
    """[3 s s]: the crop, or the crop with the mouth completed."""
    keep: Tensor | None
    """[s s] in [0, 1], 1 where the frame's own pixels stay; None when nothing is in the way."""


class OcclusionWatch:
    """Follows the crops of one shot, in order: look(crop [3 s s]) -> View."""

    def __init__(self, finder: MaskFinder) -> None:
        self._search = OccluderSearch(finder)
        self._mode: Mode = "clear"
        self._ratio = 0.0

    def look(self, crop: Tensor) -> View:
        mask, ratio = self._search.look(crop)
        clear = self._search.clear
        # The average begins with the thing: the clear frames before it say nothing of its size.
        self._ratio += (ratio - self._ratio) / (1 if self._mode == "clear" else _MEMORY)
        self._mode = _next_mode(self._mode, ratio, self._ratio)
        if self._mode == "clear":
            return View("clear", ratio, crop, None)
        if clear is None:
            return View("local", ratio, crop, mask)
        fill = uncover if self._mode == "local" else complete
        return View(self._mode, ratio, fill(crop, mask, clear), kept_whole(mask))


def _next_mode(mode: Mode, now: float, mean: float) -> Mode:
    if mean >= (COMPLETE_UNTIL if mode == "complete" else COMPLETE_FROM):
        return "complete"
    # At once: a finger must not get lips for the frames that an average takes.
    return "local" if now >= (LOCAL_FROM if mode == "clear" else LOCAL_UNTIL) else "clear"


def uncover(crop: Tensor, mask: Tensor, reference: Tensor) -> Tensor:
    """The crop [3 s s] with what the mask [s s] covers near the mouth, and a pixel around it, from
    a clear one of the same face; as it is where the two do not fit."""
    moved, fit = _moved_onto(crop, mask, reference)
    # The rim of a thing that is left behind becomes a line in the new face.
    taken = F.max_pool2d(_near_mouth(mask)[None], 3, stride=1, padding=1)[0]
    return torch.lerp(crop, moved, taken) if fit >= _FITS else crop


def complete(crop: Tensor, mask: Tensor, reference: Tensor) -> Tensor:
    """The crop [3 s s] with the mouth, and what the mask [s s] covers near it, from a clear one of
    the same face."""
    mouth = mouth_area(crop.shape[-1], grown=TEETH_REACH)[0]
    taken = torch.maximum(_near_mouth(mask), mouth)
    moved, _ = _moved_onto(crop, mask, reference)
    return torch.lerp(crop, moved, soft_edge(taken[None], _TAKEN_SOFT)[0])


def _near_mouth(mask: Tensor) -> Tensor:
    """A mask [s s] where lips, jaw and moustache are: further away the edit changes nothing, and
    the rim of what was taken would show."""
    area = mouth_area(mask.shape[-1], grown=_FACE_REACH)
    return mask * soft_edge(area, _TAKEN_SOFT)[0]


def kept_whole(mask: Tensor) -> Tensor:
    """What stays of a filled crop's own pixels, for a mask [s s]."""
    return (mask / _KEPT_WHOLE).clamp(max=1)


def _moved_onto(crop: Tensor, mask: Tensor, reference: Tensor) -> tuple[Tensor, float]:
    """The reference under the shift and turn that fit best where the face is seen and still, and
    how the two correlate there, up to 1.

    ECC (Evangelidis and Psarakis 2008); as it lies, and 0, where none can be found, or without
    OpenCV (the extra `flow`). The mouth does not count: it speaks.
    """
    cv2 = opencv()
    if cv2 is None:
        return reference, 0.0
    size = crop.shape[-1]
    grey = [((x.mean(0) + 1) * 127.5).byte().numpy() for x in (crop, reference)]
    seen = ((mask < 0.1) & (mouth_area(size)[0] == 0)).byte().numpy()
    matrix = np.eye(2, 3, dtype=np.float32)
    rule = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    try:
        fit, matrix = cv2.findTransformECC(
            grey[0], grey[1], matrix, cv2.MOTION_EUCLIDEAN, rule, seen, 5
        )
    except cv2.error:  # nothing in common: too little is seen, or it has no texture
        return reference, 0.0
    moved = cv2.warpAffine(
        rearrange(reference, "c y x -> y x c").numpy(),
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return rearrange(torch.from_numpy(moved), "y x c -> c y x"), float(fit)


def soft_edge(mask: Tensor, softness: int) -> Tensor:
    """A mask [f h w], whole as it is, that fades over twice `softness` pixels outside."""
    if softness == 0:
        return mask
    # Grown by as much as it is blurred: the ramp lies outside and the mask itself keeps its 1.
    window = 2 * softness + 1
    grown = F.max_pool2d(mask[:, None], window, stride=1, padding=softness)
    blurred = F.avg_pool2d(grown, window, stride=1, padding=softness, count_include_pad=False)
    return torch.maximum(mask, blurred[:, 0])


def repair(
    source_frames: Tensor, edited_frames: Tensor, mask: Tensor, *, softness: int = 2
) -> Tensor:
    """Put the occluder back: source where the mask is 1, edited away from it, a soft edge between.

    softness: the edge fades over twice as many pixels outside the mask; the occluder stays whole,
    bit for bit, and so does the edit further away. Values of the mask between 0 and 1 mix.
    Raises ValueError for shapes that do not belong together or a negative softness.
    """
    frames, _, height, width = source_frames.shape
    if edited_frames.shape != source_frames.shape or mask.shape != (frames, height, width):
        raise ValueError(
            "expected source and edited frames [f c h w] of one shape and a mask [f h w]; got "
            f"{tuple(source_frames.shape)}, {tuple(edited_frames.shape)} and {tuple(mask.shape)}"
        )
    if softness < 0:
        raise ValueError(f"expected a softness of 0 pixels or more, got {softness}")
    weight = rearrange(soft_edge(mask.to(source_frames), softness), "f h w -> f 1 h w")
    return torch.lerp(edited_frames, source_frames, weight)  # exact at both ends


def occlusion_ratio(mask: Tensor, mouth_region: Tensor) -> Tensor:
    """The share of the mouth that is covered: [f] in [0, 1]; 0 where there is no mouth.

    mask, mouth_region: [f h w] in [0, 1] (the region may be [1 h w], the same for all frames).
    """
    covered = reduce(mask * mouth_region, "f h w -> f", "sum")
    mouth = reduce(mouth_region.expand_as(mask), "f h w -> f", "sum")
    return torch.where(mouth > 0, covered / mouth.clamp_min(1e-6), 0.0)
