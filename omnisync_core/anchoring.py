"""Anchors: source keyframes that keep a long clip's face what it is.

Every so many frames a frame of the source, unedited, joins the window as one more frame that the
attention in time can look at. What comes out is compared with it; a window that has drifted is
sampled again, drawn towards its source.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .guidance import Velocity, mouth_map

STRENGTH = 0.5
"""Of the second try: away from the mouth it halves the distance to the source."""
# The face is compared in cells of an eighth of the embedded model's crop: coarser than the grain
# of the picture and than what a pixel of motion changes.
_CELLS = 18


@dataclass(frozen=True)
class Keyframe:
    """A source frame that later windows look at."""

    index: int
    """Which frame of the video."""
    source: Tensor
    """Its crop [3 s s] in [-1, 1]."""


def likeness(pictures: Tensor, keyframe: Tensor) -> Tensor:
    """How much crops [f 3 s s] look like the keyframe's [3 s s] where the voice changes nothing.

    Cosine of the coarse pictures around the mouth, each without its mean colour: [f], at most 1.
    It compares one face with itself in nearly one pose; it does not recognise people.
    """
    weight = (1 - mouth_map(_CELLS, _CELLS)[0, 0]).to(pictures).sqrt()

    def features(x: Tensor) -> Tensor:
        coarse = F.interpolate(x, (_CELLS, _CELLS), mode="area")
        mean = (weight**2 * coarse).sum((2, 3), keepdim=True) / (weight**2).sum()
        return (weight * (coarse - mean)).flatten(1)

    return F.cosine_similarity(features(pictures), features(keyframe[None]))


def kept_identity(edited: Tensor, source: Tensor, keyframe: Tensor) -> float:
    """The edit's likeness to the keyframe over its source's own: mean over a window [f 3 s s].

    The head may have turned since the keyframe; the source says how much of a change is its own.
    """
    own = likeness(source, keyframe).clamp_min(0.1)  # a covered face is like nothing
    return float((likeness(edited, keyframe) / own).mean())


def towards_source(velocity: Velocity, source: Tensor, strength: float) -> Velocity:
    """Guide a velocity so that each step's clean picture is, away from the mouth, mixed with the
    source [b f 3 h w]: the share is strength (1 - M), M the soft map of the mouth."""
    share = strength * (1 - mouth_map(*source.shape[-2:]).to(source))

    def guided(x_t: Tensor, t: float) -> Tensor:
        return torch.lerp(velocity(x_t, t), (x_t - source) / t, share.expand_as(x_t))

    return guided
