"""Pictures for the locator's training, composed anew each time from packed people.

In: cut-outs and backgrounds (see `locator_people`). Out: layers f32 [b 4 s s] with alpha and the
points in them; pictures f32 [b 3 s s], distorted as cameras, codecs and draughtsmen do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from ..locator import CONTEXT, CROP, GREY
from ..region import DROP_PER_SPAN, SIDE_PER_SPAN
from .locator_people import CUT, CUT_SIDE, GROUND, People

# The detector's training picture, and the sides it answers for: octaves of the pyramid overlap.
SCENE = 96
SIDES = (12.0, 40.0)
# Real people are few (nine speakers): more of them would teach those nine by heart.
REAL_SHARE = 0.35


@dataclass(frozen=True)
class Pool:
    """What the batches are drawn from."""

    rendered: People
    real: People
    grounds: np.ndarray


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng) * (high - low) + low


def _chance(count: int, p: float, rng: torch.Generator) -> Tensor:
    """A float [count 1 1 1] that is one with probability p."""
    return (torch.rand((count, 1, 1, 1), generator=rng) < p).float()


def _sample(picture: Tensor, at: Tensor) -> Tensor:
    """Values of [b c n n] at pixel places [b h w 2]; nothing (zero) outside."""
    grid = at / (picture.shape[-1] / 2) - 1
    return F.grid_sample(picture, grid, mode="bilinear", align_corners=False)


def ground(bank: np.ndarray, count: int, size: int, rng: torch.Generator) -> Tensor:
    """Random pieces of the backgrounds, f32 [count 3 size size] in [0, 1]."""
    pick = torch.randint(len(bank), (count,), generator=rng).numpy()
    picture = rearrange(torch.from_numpy(bank[pick]), "b h w c -> b c h w").float() / 255
    extent = uniform((count, 1, 1, 1), 0.3, 0.98, rng) * GROUND
    corner = torch.rand((count, 1, 1, 2), generator=rng) * (GROUND - extent)
    flip = torch.where(torch.rand((count, 1, 1, 1), generator=rng) < 0.5, -1.0, 1.0)
    line = (torch.arange(size) + 0.5) / size - 0.5
    unit = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    unit = torch.cat([unit[..., :1] * flip, unit[..., 1:].expand(count, -1, -1, -1)], -1)
    return _sample(picture, corner + (unit + 0.5) * extent)


def place(
    cutouts: Tensor,
    points: Tensor,
    *,
    size: int,
    centre: Tensor,
    side: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Cut-outs f32 [b 4 n n] and points [b 3 2] -> a layer [b 4 size size] and points in it.

    The crop's centre comes to `centre` [b 2] and its side to about `side` [b], both in pixels of
    the layer, under a random turn, mirror, stretch, gentle warp and (seldom) enlarged eyes.
    """
    b, n = len(cutouts), cutouts.shape[-1]
    k = n / CUT
    points = points * k
    turn = uniform((b,), -1, 1, rng) ** 3 * math.radians(32)
    stretch = torch.exp(0.07 * torch.randn(b, generator=rng))
    shear = 0.06 * torch.randn(b, generator=rng)
    mirror = torch.rand(b, generator=rng) < 0.5
    c, s, m = turn.cos(), turn.sin(), torch.where(mirror, -1.0, 1.0)
    matrix = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    skew = torch.stack(
        [torch.stack([m * stretch, shear], -1), torch.stack([0 * m, 1 / stretch], -1)], -2
    )
    matrix = matrix @ skew * (side / (CUT_SIDE * k))[:, None, None]  # cut-out -> layer
    line = torch.arange(size) + 0.5
    q = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None] - centre[:, None, None]
    at = torch.einsum("bij,bhwj->bhwi", torch.linalg.inv(matrix), q) + n / 2
    field = 0.012 * n * torch.randn((b, 2, 5, 5), generator=rng)
    bend = F.interpolate(field, (size, size), mode="bicubic", align_corners=True)
    at = _enlarge_eyes(at + rearrange(bend, "b c h w -> b h w c"), points, rng)
    straight = torch.einsum("bij,bpj->bpi", matrix, points - n / 2) + centre[:, None]
    moved = straight
    for _ in range(3):  # the warp is given at the place of arrival: follow the point there
        where = ((moved / (size / 2) - 1) * (size / (size - 1)))[:, :, None].clamp(-1, 1)
        bend = F.grid_sample(field, where, mode="bicubic", align_corners=True)[..., 0]
        moved = straight - torch.einsum("bij,bjp->bpi", matrix, bend)
    swap = torch.where(mirror[:, None], torch.tensor([1, 0, 2]), torch.tensor([0, 1, 2]))
    moved = torch.gather(moved, 1, repeat(swap, "b p -> b p c", c=2))
    return _sample(cutouts, at), moved


def _enlarge_eyes(at: Tensor, points: Tensor, rng: torch.Generator) -> Tensor:
    """Drawn people have large eyes: magnify around them in every fifth picture."""
    some = torch.rand(len(at), generator=rng) < 0.2
    near_eyes, points = at[some], points[some]
    strength = uniform((len(points), 1, 1, 1), 0.15, 0.55, rng)
    reach = 0.33 * (points[:, 0] - points[:, 1]).norm(dim=-1)[:, None, None, None] + 1e-3
    for eye in (points[:, 0], points[:, 1]):
        off = near_eyes - eye[:, None, None]
        fade = torch.exp(-(off**2).sum(-1, keepdim=True) / (2 * reach**2))
        near_eyes = near_eyes - strength * fade * off
    at[some] = near_eyes
    return at


def light(layer: Tensor, rng: torch.Generator) -> Tensor:
    """Another lamp on the people alone: a tint and a slope of brightness; alpha is kept."""
    b, size = len(layer), layer.shape[-1]
    line = torch.linspace(-1, 1, size)
    slope = uniform((b, 2), -0.4, 0.4, rng)
    ramp = (
        slope[:, 0, None, None] * line[None, None] + slope[:, 1, None, None] * line[None, :, None]
    )
    gain = uniform((b, 3, 1, 1), 0.8, 1.2, rng) * uniform((b, 1, 1, 1), 0.6, 1.25, rng)
    return torch.cat([layer[:, :3] * gain * (1 + ramp[:, None]), layer[:, 3:]], 1)


def cover(x: Tensor, stuff: Tensor, *, reach: Tensor, rng: torch.Generator) -> Tensor:
    """Put ellipses of `stuff` over every fifth picture [b 3 s s]; radii up to `reach` [b] px."""
    b, size = len(x), x.shape[-1]
    line = torch.arange(size) + 0.5
    centre = uniform((b, 2, 1, 1), 0, size, rng)
    radius = reach[:, None, None, None] * uniform((b, 2, 1, 1), 0.25, 1, rng) + 1
    dx = (line[None, None, None, :] - centre[:, :1]) / radius[:, :1]
    dy = (line[None, None, :, None] - centre[:, 1:]) / radius[:, 1:]
    mask = ((1 - dx**2 - dy**2) * 4).clamp(0, 1) * _chance(b, 0.2, rng)
    plain = _chance(b, 0.5, rng)
    fill = plain * stuff.mean((2, 3), keepdim=True) + (1 - plain) * stuff
    return x * (1 - mask) + fill * mask


def distort(x: Tensor, rng: torch.Generator) -> Tensor:
    """Colour, blur, drawing styles, noise and JPEG on pictures f32 [b 3 s s] in [0, 1]."""
    b, size = len(x), x.shape[-1]
    plain = torch.rand(b, generator=rng) < 0.2
    kept = x[plain].clamp(0, 1)
    x = _grade(x.clamp(1e-3, 1), rng).clamp_(0, 1)
    for share, change in (
        (0.15, lambda y: _soften(y, round(0.6 * size))),
        (0.10, lambda y: _soften(y, round(0.35 * size))),
        (0.06, _pencil),
        (0.06, lambda y: (y * 4).round() / 4),
        (0.12, lambda y: 2 * y - F.avg_pool2d(y, 3, 1, 1, count_include_pad=False)),
        (0.25, lambda y: y + 0.02 * torch.randn(y.shape, generator=rng)),
        (0.20, lambda y: y + 0.05 * torch.randn(y.shape, generator=rng)),
    ):
        some = torch.rand(b, generator=rng) < share
        if some.any():
            x[some] = change(x[some]).clamp_(0, 1)
    x[plain] = kept
    return _codec(x, rng) * 2 - 1


def _grade(x: Tensor, rng: torch.Generator) -> Tensor:
    """Gamma, hue, saturation, contrast, tint and brightness of pictures in (0, 1]."""
    b = len(x)
    x = torch.exp(torch.exp(0.35 * torch.randn((b, 1, 1, 1), generator=rng)) * x.log())
    wild = torch.rand(b, generator=rng) < 0.15
    hue = torch.where(wild, math.pi, 0.25) * uniform((b,), -1, 1, rng)
    saturation = uniform((b,), 0.4, 1.5, rng) * (torch.rand(b, generator=rng) > 0.15)
    third = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    c, s = hue.cos()[:, None, None], hue.sin()[:, None, None]
    turn = third + saturation[:, None, None] * (c * (torch.eye(3) - third) + s * cross)
    contrast = uniform((b, 1, 1), 0.6, 1.35, rng)
    tint = uniform((b, 3, 1), 0.85, 1.15, rng)
    mean = x.mean((1, 2, 3))[:, None, None]
    shift = (1 - contrast) * mean * tint + uniform((b, 1, 1), -0.12, 0.12, rng)
    flat = torch.baddbmm(shift, contrast * tint * turn, rearrange(x, "b c h w -> b c (h w)"))
    return rearrange(flat, "b c (h w) -> b c h w", h=x.shape[2])


def _soften(x: Tensor, size: int) -> Tensor:
    """As if it had been seen at fewer pixels."""
    small = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return F.interpolate(small, x.shape[-2:], mode="bilinear")


def _pencil(x: Tensor) -> Tensor:
    """Dark lines at edges over a pale picture."""
    grey = x.mean(1, keepdim=True)
    edge = (grey - F.avg_pool2d(grey, 5, 1, 2, count_include_pad=False)).abs() * 4
    return torch.lerp(x, ((1 - edge).clamp(0, 1) * (0.5 + 0.5 * grey)).expand_as(x), 0.7)


def _codec(x: Tensor, rng: torch.Generator) -> Tensor:
    """JPEG on a quarter, a median (flat, painted areas) on a twelfth of the pictures in [0, 1]."""
    draw = torch.rand(len(x), generator=rng).tolist()
    quality = torch.randint(12, 75, (len(x),), generator=rng).tolist()
    for i, d in enumerate(draw):
        if d > 0.33:
            continue
        picture = rearrange((x[i] * 255).byte(), "c h w -> h w c").numpy()
        if d < 0.25:
            coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality[i]])[1]
            picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        else:
            picture = cv2.medianBlur(np.ascontiguousarray(picture), 5)
        x[i] = rearrange(torch.from_numpy(picture), "h w c -> c h w").float() / 255
    return x


def boxes_of(points: Tensor) -> Tensor:
    """`standard_box` for points [b 3 2], with gradients: centre and side [b 3]."""
    e, m = points[:, :2].mean(1), points[:, 2]
    drop = (m - e).norm(dim=1)
    span = torch.maximum((points[:, 0] - points[:, 1]).norm(dim=1), drop)
    centre = m + DROP_PER_SPAN * (span / drop.clamp(min=1e-4))[:, None] * (m - e)
    return torch.cat([centre, SIDE_PER_SPAN * span[:, None]], 1)


def draw(pool: Pool, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random people: cut-outs f32 [count 4 144 144] in [0, 1], points [count 3 2] in pixels."""
    real = torch.rand(count, generator=rng) < REAL_SHARE
    luck = torch.rand(count, generator=rng)
    cutouts, points = [], []
    for is_real, u in zip(real.tolist(), luck.tolist(), strict=True):
        people = pool.real if is_real else pool.rendered
        index = int(u * len(people.points))
        cutouts.append(people.cutouts[index])
        points.append(people.points[index])
    picture = rearrange(torch.from_numpy(np.stack(cutouts)), "b h w c -> b c h w")
    return picture.float().div_(255), torch.from_numpy(np.stack(points))


def over(behind: Tensor, layer: Tensor) -> Tensor:
    """A layer with alpha [b 4 s s] over a background [b 3 s s]."""
    return torch.lerp(behind, layer[:, :3], layer[:, 3:])


def _guesses(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How wrong the refiner's first guesses are.

    Shift [count 2] in boxes, log zoom [count], whether a mouth counts as present [count], whether
    anybody is drawn [count]. Half are near (tracking), half wide (after the detector). Absent: a
    guess about one box or more off, a guess of a far wrong size, a background alone. Near must not
    be very near: spreads of 0.08 and 0.1 taught the network to believe its guess, and followed
    boxes stayed up to a third too large.
    """
    luck, near = torch.rand(count, generator=rng), torch.rand(count, generator=rng) < 0.5
    angle, far = uniform((count,), 0, 2 * math.pi, rng), uniform((count,), 0.9, 1.7, rng)
    close = 0.12 * torch.randn((count, 2), generator=rng)
    wide = torch.stack([uniform((count,), -0.35, 0.35, rng) for _ in range(2)], 1)
    aside = far[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    shift = torch.where(near[:, None], close, wide)
    zoom = torch.where(
        near, 0.2 * torch.randn(count, generator=rng), uniform((count,), -0.4, 0.4, rng)
    )
    shift = torch.where(((luck > 0.7) & (luck < 0.8))[:, None], aside, shift)
    zoom = torch.where((luck > 0.8) & (luck < 0.85), angle.cos().sign() * (far + 0.05), zoom)
    return shift, zoom, luck < 0.7, luck < 0.85


def refiner_batch(pool: Pool, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Crops [b 3 64 64] in [-1, 1], points [b 3 2] in half crops, presence [b] (1 or 0)."""
    unit = CROP / CONTEXT
    shift, zoom, present, somebody = _guesses(count, rng)
    side = unit * zoom.exp()
    cutouts, points = draw(pool, count, rng)
    layer, points = place(
        cutouts, points, size=CROP, centre=CROP / 2 + shift * unit, side=side, rng=rng
    )
    layer = light(layer, rng) * somebody[:, None, None, None]
    x = over(ground(pool.grounds, count, CROP, rng), layer)
    mixed = torch.rand(count, generator=rng) < 0.12
    x[mixed], present = scramble(x[mixed], rng), present & ~mixed
    x = cover(x, ground(pool.grounds, count, CROP, rng), reach=0.4 * side, rng=rng)
    x = beyond_the_edge(distort(x, rng), rng)
    return x, points / (CROP / 2) - 1, present.float()


def scramble(x: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures [b c s s] cut into 16 or 64 tiles in random order: skin and hair, but no face."""
    for i, picture in enumerate(x):
        side = 4 if torch.rand(1, generator=rng) < 0.5 else 8
        tiles = rearrange(picture, "c (i h) (j w) -> (i j) c h w", i=side, j=side)
        tiles = tiles[torch.randperm(side * side, generator=rng)]
        x[i] = rearrange(tiles, "(i j) c h w -> c (i h) (j w)", i=side)
    return x


def beyond_the_edge(x: Tensor, rng: torch.Generator) -> Tensor:
    """Every eighth picture gets a grey border on one side, as a crop that leaves the frame has."""
    b, size = len(x), x.shape[-1]
    line = torch.arange(size).float()
    sides = torch.stack([line, line.flip(0)])[torch.randint(2, (b,), generator=rng)]
    width = uniform((b,), 0, 0.35 * size, rng) * (torch.rand(b, generator=rng) < 0.125)
    outside = sides < width[:, None]
    upright = torch.rand(b, generator=rng) < 0.5
    outside = torch.where(upright[:, None, None], outside[:, :, None], outside[:, None, :])
    return torch.where(outside[:, None], GREY / 127.5 - 1, x)


def detector_batch(pool: Pool, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scenes [b 3 96 96] in [-1, 1] and boxes [b 2 3] (centre, side in pixels; side 0: nobody).

    Four scenes in five have somebody, some have two; every tenth is too large or too small for
    this size of the pyramid and must not be answered for. So are people in pieces.
    """
    x = ground(pool.grounds, count, SCENE, rng)
    boxes = torch.zeros((count, 2, 3))
    for slot, share in enumerate((0.3, 0.8)):
        some = torch.nonzero(torch.rand(count, generator=rng) < share)[:, 0]
        cutouts, points = draw(pool, len(some), rng)
        whole = torch.rand(len(some), generator=rng) < (0.5 if slot == 0 else 1.0)
        cutouts[~whole, :3] = scramble(cutouts[~whole, :3], rng)
        layer, box = _stand(cutouts, points, rng)
        box = box * whole[:, None]
        x[some] = over(x[some], light(layer, rng))
        # The nearer person may cover the first: then nothing is asked about that one.
        far = (boxes[some, 0, :2] - box[:, :2]).norm(dim=1) > 2.2 * box[:, 2]
        boxes[some, 0] *= far[:, None]
        boxes[some, slot] = box
    reach = 0.4 * boxes[:, :, 2].amax(1)
    x = cover(x, ground(pool.grounds, count, SCENE, rng), reach=reach, rng=rng)
    return distort(x, rng), boxes


def _stand(cutouts: Tensor, points: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut-outs and points, each somewhere in a layer [b 4 96 96], and boxes [b 3].

    Small people come from halved cut-outs, against aliasing.
    """
    count = len(points)
    low, high = (math.log(s) for s in SIDES)
    side = uniform((count,), low, high, rng).exp()
    odd = torch.rand(count, generator=rng)
    side = torch.where(odd < 0.07, side * 3, torch.where(odd > 0.97, side / 4, side))
    centre = torch.stack([uniform((count,), 0.05, 0.95, rng) for _ in range(2)], 1) * SCENE
    layer = torch.zeros((count, 4, SCENE, SCENE))
    for some, halve in ((side >= 20, 1), ((side < 20) & (side >= 8), 2), (side < 8, 4)):
        if some.any():
            small = F.avg_pool2d(cutouts[some], halve)
            layer[some], points[some] = place(
                small, points[some], size=SCENE, centre=centre[some], side=side[some], rng=rng
            )
    return layer, boxes_of(points)
