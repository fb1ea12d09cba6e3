"""What training minimises, given the predicted and the true clean frames.

In: clean prediction, truth [b f 3 h w] in [-1, 1], flow time t [b], mouth centres
[b f 2] in pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# Below this flow time the velocity weight 1 / t^2 stops growing. Without a floor a draw at t = 0.05
# would weigh 400 times one at t = 1, where the voice decides; with 0.5 two fifths of the loss came
# from times below 0.8, where there is little left to learn. Chosen, not swept.
_WEIGHT_FLOOR = 0.8
# The mouth takes 40 % of the standard crop's width; the weight falls off over half of that.
_MOUTH_SIGMA = 0.17
_MOUTH_WEIGHT = 6.0
# Share of the crop's side (one in so many) over which a change counts: a lip's height. Not swept.
_CHANGE_WITHIN = 24
# Above this flow time a clean prediction is too blurred to show whose face it is.
_KNOWN_BELOW = 0.5


def mouth_weight(mouth: Tensor, height: int, width: int) -> Tensor:
    """1 far from the mouth, 7 at its centre: [b f 2] pixels -> [b f 1 h w]."""
    y = torch.arange(height, device=mouth.device) + 0.5
    x = torch.arange(width, device=mouth.device) + 0.5
    far = (y[:, None] - mouth[..., 1, None, None]) ** 2 + (x - mouth[..., 0, None, None]) ** 2
    return (1 + _MOUTH_WEIGHT * torch.exp(-far / (2 * (_MOUTH_SIGMA * width) ** 2)))[:, :, None]


def change_weight(source: Tensor, target: Tensor) -> Tensor:
    """How much an area is to change, 0 to 2: [b f 3 h w] twice -> [b f 1 h w]."""
    reach = max(1, target.shape[-1] // _CHANGE_WITHIN)
    apart = (target - source).abs().mean(2)
    return F.avg_pool2d(apart, 2 * reach + 1, stride=1, padding=reach)[:, :, None]


def velocity_loss(clean: Tensor, truth: Tensor, t: Tensor, weight: Tensor) -> Tensor:
    """Mean squared velocity error of a clean prediction, v = (x_t - x) / t (JiT, section 4)."""
    scale = t.clamp(min=_WEIGHT_FLOOR)[:, None, None, None, None]
    return (((clean - truth) / scale).square() * weight).mean()


def edge_loss(clean: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Absolute error of pixel differences at two scales: keeps teeth and lip lines sharp without a
    pre-trained perceptual network."""
    total = clean.new_zeros(())
    for _ in range(2):
        for step in ((..., slice(1, None), slice(None)), (..., slice(None), slice(1, None))):
            back = tuple(slice(None, -1) if part == slice(1, None) else part for part in step)
            error = (clean[step] - clean[back]) - (truth[step] - truth[back])
            total = total + (error.abs() * weight[step]).mean()
        clean, truth, weight = (
            F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])
            for x in (clean, truth, weight)
        )
    return total


def flow_loss(flow: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean distance in pixels of the flow [b f 2 h w] along which the source is read from the true
    one, which is NaN where it is unknown; weight [b f 1 h w]."""
    known = truth.isfinite().all(2, keepdim=True)
    error = torch.where(known, flow - truth.nan_to_num(), 0).square().sum(2, keepdim=True)
    return ((error + 1e-4).sqrt() * weight * known).mean()


def motion_loss(clean: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Absolute error of frame-to-frame change (a difference of differences).

    The literal form |M_t - M_{t-1}| would punish the mouth for moving and freeze it.
    """
    if clean.shape[1] < 2:
        return clean.new_zeros(())
    error = (clean[:, 1:] - clean[:, :-1]) - (truth[:, 1:] - truth[:, :-1])
    return (error.abs() * weight[:, 1:]).mean()


def identity_loss(
    embed: Callable[[Tensor], Tensor], clean: Tensor, truth: Tensor, t: Tensor
) -> Tensor:
    """Mean of 1 - cos(embed(clean), embed(truth)) over the frames of windows with t < 0.5; 0 if
    there are none. embed: pictures [n 3 h w] -> unit vectors [n d]."""
    known = t < _KNOWN_BELOW
    if not known.any():
        return clean.new_zeros(())
    with torch.no_grad():
        wanted = embed(truth[known].flatten(0, 1))
    return (1 - (embed(clean[known].flatten(0, 1)) * wanted).sum(1)).mean()
