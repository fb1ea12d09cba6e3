"""Guidance (ST-CFG): three velocities of one moment -> the velocity that the sampler follows.

In: a function that evaluates the network under named conditions, and a soft map of the mouth. Out:
a velocity function like any other, so the sampler never hears of guidance.

    v = v(0) + S (v(a') - v(0)) + R (v(a) - v(a'))
      = (1 - S) v(0) + (S - R) v(a') + R v(a)

v(0) is without audio ("none"), v(a') hears the audio without its order in time ("unordered"), v(a)
hears all of it ("audio"). The profile says what S and R are (sigma is the logistic function):

    seed      S = w_s k_s(t) M   R = w_t k_t(t)   k_s = (1 - sigma(t)) / 0.5, k_t = sigma(t) / 0.731
    paper     S = w_s k(t) M     R = w_t k(t) M   k = t^1.5
    constant  S = w_s M          R = w_t M        classifier-free guidance in the mouth

Seed: edits of the place grow as the picture settles, edits of the timing are strongest near noise;
each curve is divided by its largest value on [0, 1], so that the scales are the largest weights.
Paper (arXiv 2505.21448, equations 7 to 9): DS-CFG has one scale, so w_s = w_t = omega_peak. Then
v(a') drops out and what is left is equation 9. Its omega_peak stands in both factors and would act
squared; here it acts once: G = omega_peak M with a map of peak 1 and floor omega_base / omega_peak,
and omega(t) = k(t).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from .config import Profile
from .region import DROP_PER_SPAN, SIDE_PER_SPAN

Velocity = Callable[[Tensor, float], Tensor]
"""x_t [b f c h w] and flow time t -> v, of the same shape."""
Velocities = Callable[[Tensor, float, tuple[str, ...]], list[Tensor]]
"""x_t, t and names of conditions -> one v for each name, evaluated as one batch."""

CONDITIONS = ("none", "unordered", "audio")

# Equation 8 of the paper.
PAPER_EXPONENT = 1.5
# Where the standard crop has the mouth, as (x, y) in fractions of its side.
MOUTH_CENTRE = (0.5, 0.5 - DROP_PER_SPAN / SIDE_PER_SPAN)
# The mouth is about 0.4 of the crop wide: its corners get 0.73 of the guidance, the border 0.14.
MOUTH_SIGMA = 0.25


def schedules(profile: Profile, t: float) -> tuple[float, float]:
    """The curves (k_s, k_t) of a profile at flow time t in [0, 1]; both lie in [0, 1].

    Raises ValueError for an unknown profile or a time outside [0, 1].
    """
    if not 0 <= t <= 1:
        raise ValueError(f"expected a flow time between 0 (clean) and 1 (noise), got {t}")
    if profile == "seed":
        sigmoid = 1 / (1 + math.exp(-t))
        return (1 - sigmoid) / 0.5, sigmoid * (1 + math.exp(-1))
    if profile == "paper":
        return t**PAPER_EXPONENT, t**PAPER_EXPONENT
    if profile == "constant":
        return 1.0, 1.0
    raise ValueError(f"expected a profile out of {', '.join(get_args(Profile))}; got {profile!r}")


def mouth_map(
    height: int,
    width: int,
    *,
    centre: tuple[float, float] = MOUTH_CENTRE,
    sigma: float = MOUTH_SIGMA,
    floor: float = 0.0,
) -> Tensor:
    """The soft map M [1 1 1 h w] in [floor, 1]: a Gaussian around the mouth (paper, equation 7).

    centre: the mouth's (x, y) in fractions of width and height; sigma: in fractions of the shorter
    side; floor: the weight far away, omega_base / omega_peak in the paper, which gives no value.
    """
    if sigma <= 0 or not 0 <= floor <= 1:
        raise ValueError(f"expected sigma > 0 and floor in [0, 1]; got {sigma} and {floor}")
    unit = sigma * min(height, width)
    y = (torch.arange(height) + 0.5 - centre[1] * height) / unit
    x = (torch.arange(width) + 0.5 - centre[0] * width) / unit
    bell = torch.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2)
    return (floor + (1 - floor) * bell)[None, None, None]


def st_cfg(
    velocities: Velocities,
    *,
    spatial_scale: float,
    temporal_scale: float,
    profile: Profile = "seed",
    mouth_map: Tensor | None = None,
) -> Velocity:
    """Guide a network: the returned velocity mixes its conditions as the module's formula says.

    velocities is called once per evaluation, with the conditions whose weight is not zero
    everywhere and no others. mouth_map: M, of any shape that broadcasts to [b f c h w]; None is a
    flat map of 1. With a flat map and the constant profile, scales of 1 are the plain conditional
    velocity and scales of 0 the unconditional one. Raises ValueError for an unknown profile.
    """
    schedules(profile, 0.0)  # an unknown profile is an error here, not in the middle of a run
    soft = torch.ones(1) if mouth_map is None else mouth_map

    def guided(x_t: Tensor, t: float) -> Tensor:
        k_s, k_t = schedules(profile, t)
        spatial = spatial_scale * k_s * soft
        temporal = temporal_scale * k_t * (torch.ones_like(soft) if profile == "seed" else soft)
        weights = {"none": 1 - spatial, "unordered": spatial - temporal, "audio": temporal}
        needed = tuple(name for name in CONDITIONS if bool(weights[name].any()))
        parts = velocities(x_t, t, needed)
        mixed = torch.zeros_like(x_t)
        for name, part in zip(needed, parts, strict=True):
            mixed = mixed + weights[name].to(part) * part
        return mixed

    return guided
