"""The unrolled head as a canvas: places, noise, curves, blending.

The head is unrolled on a cylinder: (s, y) in centimetres, s along the skin from the middle of the
face. Pages are [HEIGHT, WIDTH] texels, densest around the mouth (0.045 cm, half a pixel of a
128-pixel crop) and coarser towards the back of the head.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numba
import numpy as np

from .raster import TEXELS

WIDTH, HEIGHT = TEXELS, 552
FINE = (WIDTH // 2, WIDTH)
"""Octaves of pores and hairs."""
_RADIUS = 10.0  # of the cylinder; its axis is at x = 0, z = 1
_STRETCH = 8.0  # cm over which the texels stay dense
_DENSITY = _STRETCH / 0.045
_MIDDLE_Y, _ROW = -3.0, 278.0  # the densest row


def unroll(points: np.ndarray) -> np.ndarray:
    """Places [..., 3] -> (s, y) [..., 2] in centimetres on the cylinder."""
    s = np.arctan2(points[..., 0], points[..., 2] - 1) * _RADIUS
    return np.stack([s, points[..., 1]], -1)


def texel(places: np.ndarray) -> np.ndarray:
    """(s, y) [..., 2] -> texel (u, v) f32 [..., 2]."""
    u = WIDTH / 2 + _DENSITY * np.arcsinh(places[..., 0] / _STRETCH)
    v = _ROW - _DENSITY * np.arcsinh((places[..., 1] - _MIDDLE_Y) / _STRETCH)
    return np.stack([u, v], -1).astype(np.float32)


@lru_cache(maxsize=1)
def places() -> np.ndarray:
    """(s, y) of every texel, f32 [h, w, 2]."""
    s = np.sinh((np.arange(WIDTH) - WIDTH / 2) / _DENSITY) * _STRETCH
    y = np.sinh((_ROW - np.arange(HEIGHT)) / _DENSITY) * _STRETCH + _MIDDLE_Y
    return np.stack(np.meshgrid(s, y), -1).astype(np.float32)


def smooth(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 at low, 1 at high, without a kink; low may be the greater."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=1)
def _white_noise() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2 * HEIGHT, 2 * WIDTH), dtype=np.float32)


def octaves(
    rng: np.random.Generator, cells: tuple[int, ...], *, stretch: float = 1.0
) -> np.ndarray:
    """Noise f32 [h, w] about unit variance; one octave for each number of bumps across the page.

    stretch > 1 draws the bumps out along y. Windows of one fixed white noise: ten times the speed.
    """
    out = np.zeros((HEIGHT, WIDTH), np.float32)
    bank = _white_noise()
    for wide in cells:
        high = max(2, int(wide * HEIGHT / WIDTH / stretch))
        high = min(high, bank.shape[0])
        top = int(rng.integers(bank.shape[0] - high + 1))
        left = int(rng.integers(bank.shape[1] - wide + 1))
        small = bank[top : top + high, left : left + wide]
        if small.shape == out.shape:
            out += small
        else:
            out += cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) * 1.4
    return out * np.float32(1 / len(cells) ** 0.5)


def curve(points: np.ndarray, *, closed: bool = False, steps: int = 8) -> np.ndarray:
    """Catmull-Rom through unrolled points [k, 2] -> texel points [k', 2]."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        before, after = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
        padded = np.concatenate([before, points, after])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i] for i in range(4))
    bend = 2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)
    line = (p1 + 0.5 * t * (p2 - p0 + t * bend)).swapaxes(0, 1).reshape(-1, 2)
    return texel(line if closed else np.concatenate([line, points[-1:]]))


def strokes(lines: list[np.ndarray] | np.ndarray, *, width: int = 1, soft: float = 0) -> np.ndarray:
    """Anti-aliased polylines in texels -> mask f32 [h, w] in [0, 1], blurred by soft texels."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    fixed = [np.round(line * 16).astype(np.int32) for line in lines]
    cv2.polylines(mask, fixed, False, 255, width, cv2.LINE_AA, 4)
    if soft:
        mask = cv2.GaussianBlur(mask, (0, 0), soft)
    return mask.astype(np.float32) / 255


def dots(places: np.ndarray, radii: np.ndarray, *, soft: float) -> np.ndarray:
    """Spots at unrolled places [k, 2] of some radii [k] in texels -> mask f32 [h, w]."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for (u, v), radius in zip(texel(places) * 16, radii, strict=True):
        cv2.circle(mask, (int(u), int(v)), int(radius * 16), 255, -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), soft).astype(np.float32) / 255


def lip_depth(points: np.ndarray) -> np.ndarray:
    """Depth inside the lips' outline in cm, f32 [h, w], negative outside; points [68, 2]."""
    outline = curve(points[48:60], closed=True)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    return (inside - outside) * np.float32(0.045)


@numba.njit(fastmath=True, cache=True)
def _blend(page: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            m = mask[y, x]
            if m != 0:
                for c in range(3):
                    page[y, x, c] += m * (colour[c] - page[y, x, c])


def blend(page: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Lay a colour [3] over a page [h, w, 3 or 4] where mask [h, w] says."""
    _blend(page, mask.astype(np.float32), np.asarray(colour, np.float32))
