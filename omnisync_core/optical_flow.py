"""Optical flow: how the picture moved from one frame to the next (for the flow init).

In: two frames f32 [3 h w] in [-1, 1]. Out: the backward flow [2 h w] in pixels, (dx, dy) at each
pixel p of the current frame, so that current(p) is about previous(p + flow(p)).

OpenCV's DIS (Kroeger et al. 2016) when cv2 is installed (the extra `flow`), else a pyramid of
iterated dense Lucas-Kanade steps in torch, or a network of one's own (flow_net.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .errors import UserError

# Below 16 pixels DIS has no level left in its pyramid of 8-pixel patches.
_SMALLEST_FOR_DIS = 16
# The coarsest level of our own pyramid: motion of a tenth of the picture is a pixel there.
_COARSEST = 12
# The finest one: 256 x 256 takes 0.2 s on a CPU core, and the flow is smooth anyway.
_FINEST = 256
_ITERATIONS = 4
# Half side of the Lucas-Kanade window: 2 loses weak texture, 6 smears the edges of motion.
_REACH = 3
# Added to the structure tensor (grey in [-1, 1]): without texture the coarser level stands.
_REGULARISER = 1e-3


Estimator = Callable[[Tensor, Tensor], Tensor]
"""Previous and current frame [3 h w] in [-1, 1] -> the backward flow [2 h w]."""


def estimator(name: str) -> Estimator:
    """auto (`dense_flow`), lucas_kanade, or the path of FlowNet3D weights. UserError otherwise."""
    if name == "auto":
        return dense_flow
    if name == "lucas_kanade":
        return lucas_kanade
    if not Path(name).is_file():
        raise UserError(
            "expected the flow as auto, lucas_kanade, or the path of existing FlowNet3D weights, "
            f"got {name!r}"
        )
    from .flow_net import FlowNet3D

    return FlowNet3D.load(Path(name)).estimate


def dense_flow(previous: Tensor, current: Tensor) -> Tensor:
    """The backward flow f32 [2 h w] between two frames [3 h w] in [-1, 1], on their device.

    Raises ValueError when the frames differ in shape.
    """
    if previous.shape != current.shape or previous.ndim != 3:
        raise ValueError(
            "expected two frames [3 h w] of one shape, "
            f"got {tuple(previous.shape)} and {tuple(current.shape)}"
        )
    cv2 = opencv()
    if cv2 is None or min(current.shape[1:]) < _SMALLEST_FOR_DIS:
        return lucas_kanade(previous, current)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dis.calc(_grey_bytes(current), _grey_bytes(previous), None)
    return rearrange(torch.from_numpy(flow), "h w d -> d h w").to(current.device, torch.float32)


def lucas_kanade(previous: Tensor, current: Tensor) -> Tensor:
    """The same without OpenCV: iterated Lucas-Kanade from coarse to fine (Bouguet 2001)."""
    pyramid = [(_grey(previous), _grey(current))]
    while min(pyramid[-1][0].shape[2:]) >= 2 * _COARSEST:
        before, after = pyramid[-1]
        pyramid.append((halve(before), halve(after)))
    flow = torch.zeros(1, 2, *pyramid[-1][0].shape[2:], device=current.device)
    for before, after in reversed(pyramid):
        flow = resize_flow(flow, *after.shape[2:])
        if max(after.shape[2:]) <= _FINEST:
            for _ in range(_ITERATIONS):
                flow = _smooth(flow + _increment(before, after, flow))
    return flow[0]


def backward_warp(image: Tensor, flow: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Read image [b c h w] at p + flow(p), flow [b 2 h w] in pixels; outside, the edge goes on.

    mode: bilinear, or bicubic, which keeps more of fine detail.
    """
    height, width = image.shape[2:]
    x = torch.arange(width, device=image.device) + 0.5 + flow[:, 0]
    y = torch.arange(height, device=image.device)[:, None] + 0.5 + flow[:, 1]
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)


def _increment(before: Tensor, after: Tensor, flow: Tensor) -> Tensor:
    """One Gauss-Newton step of the flow [1 2 h w]: least squares in a window around each pixel."""
    warped = backward_warp(before, flow)
    gx, gy = _gradient((warped + after) / 2)
    difference = after - warped
    xx, xy, yy, xd, yd = _window(
        torch.cat([gx * gx, gx * gy, gy * gy, gx * difference, gy * difference], dim=1)
    ).unbind(1)
    xx, yy = xx + _REGULARISER, yy + _REGULARISER
    determinant = xx * yy - xy * xy
    step = torch.stack([yy * xd - xy * yd, xx * yd - xy * xd], dim=1) / determinant[:, None]
    return step.clamp(-1, 1)  # the linearisation holds for a pixel


def resize_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """The flow [b 2 h w] on a grid of another size, in that grid's pixels."""
    scale = torch.tensor([width / flow.shape[3], height / flow.shape[2]], device=flow.device)
    return F.interpolate(flow, (height, width), mode="bilinear") * scale[None, :, None, None]


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences (d/dx, d/dy) of [1 1 h w]."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return (
        (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2,
        (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2,
    )


def _window(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2 * _REACH + 1, stride=1, padding=_REACH, count_include_pad=False)


def _smooth(flow: Tensor) -> Tensor:
    return F.avg_pool2d(flow, 3, stride=1, padding=1, count_include_pad=False)


def halve(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)


def _grey(frame: Tensor) -> Tensor:
    return frame.float().mean(0)[None, None]


def _grey_bytes(frame: Tensor) -> np.ndarray:
    grey = (frame.float().mean(0).clamp(-1, 1) + 1) * 127.5
    return grey.round().to(torch.uint8).cpu().numpy()


@cache
def opencv() -> ModuleType | None:
    """The module cv2, where it is installed (the extra `flow`) and complete."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2 if hasattr(cv2, "DISOpticalFlow_create") else None
