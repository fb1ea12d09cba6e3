"""What a head is painted with: skin, lips, brows, beard, hair, eyes, cloth.

In: a random generator and the 68 points of the unrolled face. Out: pages, uint8 [p, h, w, 4], the
square root of the linear colour and the gloss (see canvas.py for the layout).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import (
    FINE,
    HEIGHT,
    WIDTH,
    blend,
    curve,
    dots,
    lip_depth,
    octaves,
    places,
    smooth,
    strokes,
    texel,
)

SKIN, HAIR, EYE, CLOTH, PLAIN = range(5)
_EYE_DISC = 200  # texels
# Square roots of linear skin colours from very light to very dark, picked by eye from the
# Fitzpatrick scale's six types.
_TONES = np.array(
    [
        [0.88, 0.73, 0.66],
        [0.82, 0.65, 0.56],
        [0.74, 0.56, 0.45],
        [0.62, 0.44, 0.34],
        [0.46, 0.31, 0.23],
        [0.30, 0.20, 0.16],
    ]
)
_HAIRS = np.array(
    [
        [0.12, 0.11, 0.10],
        [0.20, 0.15, 0.12],
        [0.36, 0.25, 0.17],
        [0.62, 0.50, 0.34],
        [0.50, 0.27, 0.14],
        [0.62, 0.61, 0.60],
        [0.85, 0.84, 0.82],
    ]
)
_HAIR_ODDS = (0.28, 0.22, 0.2, 0.12, 0.06, 0.08, 0.04)
_IRISES = np.array(
    [
        [0.28, 0.17, 0.10],
        [0.40, 0.26, 0.14],
        [0.35, 0.50, 0.62],
        [0.36, 0.45, 0.32],
        [0.45, 0.48, 0.50],
    ]
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a person is painted with. Colours are square roots of linear ones, unless tints."""

    skin: np.ndarray
    lips: np.ndarray
    lip_cover: float
    hair: np.ndarray
    hair_length: float
    """How far the hair stands off the scalp, cm; 0 is bald."""
    long_hair: bool
    hairline: tuple[float, float]
    """Height over the forehead, half width of the forehead, cm."""
    brow: float
    beard: str
    beard_cover: float
    beard_length: float
    age: float
    iris: np.ndarray
    mouth: np.ndarray
    """Tint (linear) of the inner cheeks; likewise gums (and tongue), teeth."""
    gums: np.ndarray
    teeth: np.ndarray

    @staticmethod
    def draw(rng: np.random.Generator) -> Look:
        """A random person."""
        tone = rng.uniform(0, len(_TONES) - 1.001)
        low = int(tone)
        skin = _TONES[low] + (_TONES[low + 1] - _TONES[low]) * (tone - low)
        skin = np.clip(skin * (1 + rng.normal(size=3) * [0.015, 0.02, 0.03]), 0.1, 0.95)
        natural = skin * np.array([0.93, 0.70, 0.72]) * rng.uniform(0.88, 1.08)
        painted = np.array([0.78, 0.22, 0.3]) * rng.uniform(0.6, 1.15, 3)
        made_up = rng.random() < 0.22
        bearded = rng.random() < 0.33 and not made_up
        beards = ["full", "moustache", "goatee", "stubble", "stubble"]
        hair = _HAIRS[rng.choice(len(_HAIRS), p=_HAIR_ODDS)]
        hair = hair * rng.uniform(0.9, 1.1, 3) * rng.uniform(0.8, 1.2)
        bald = rng.random() < 0.1
        teeth = np.array([0.80, 0.76, 0.66 * rng.uniform(0.85, 1.1)]) * rng.uniform(0.7, 1.0)
        return Look(
            skin=skin,
            lips=np.clip(painted if made_up else natural, 0, 1),
            lip_cover=float(rng.uniform(0.8, 0.97) if made_up else rng.uniform(0.4, 0.9)),
            hair=np.clip(hair, 0.05, 0.95),
            hair_length=0.0 if bald else float(rng.uniform(0.3, 1.8)),
            long_hair=bool(not bald and rng.random() < (0.2 if bearded else 0.5)),
            hairline=(float(rng.uniform(8.0, 10.8)), float(rng.uniform(7.5, 10.0))),
            brow=float(rng.uniform(0.25, 0.95)),
            beard=str(rng.choice(beards)) if bearded else "",
            beard_cover=float(rng.uniform(0.3, 0.95)),
            beard_length=float(rng.uniform(0.05, 0.5)) if bearded and rng.random() < 0.5 else 0.0,
            age=max(0.0, float(rng.uniform(-0.5, 1))),
            iris=_IRISES[rng.integers(len(_IRISES))] * rng.uniform(0.8, 1.2),
            mouth=np.array([0.24, 0.06, 0.05]) * rng.uniform(0.6, 1.2),
            gums=np.array([0.52, 0.18, 0.17]) * rng.uniform(0.85, 1.15, 3),
            teeth=np.clip(teeth, 0, 0.9),
        )


def scalp_at(look: Look, where: np.ndarray) -> np.ndarray:
    """Where hair grows, [...] in [0, 1], for unrolled places [..., 2]."""
    s, y = np.abs(where[..., 0]), where[..., 1]
    front, side = look.hairline
    line = front - 0.03 * np.minimum(s, side) ** 2 - np.maximum(s - side, 0) * 3.5
    line = np.maximum(line, -7.0 + 0.2 * (s - 20))
    ear = ((s - 17) / 3.2) ** 2 + ((y - 1.6) / 4.4) ** 2
    grown = smooth(-0.3, 1.0, y - line) * np.maximum(smooth(0.6, 2.4, y), smooth(18.5, 20, s))
    return grown * smooth(1.0, 1.3, ear)


def beard_at(look: Look, where: np.ndarray) -> np.ndarray:
    """Where the beard grows, [...] in [0, 1], for unrolled places [..., 2] of the neutral face."""
    s, y = np.abs(where[..., 0]), where[..., 1]
    if not look.beard:
        return np.zeros_like(y)
    moustache = smooth(-1.0, -1.8, y) * smooth(3.7, 2.5, s + 0.5 * (y + 2.5))
    moustache = moustache * smooth(-3.5, -2.9, y)
    chin = smooth(3.6, 2.2, s) * smooth(-4.3, -5.1, y)
    cheeks = smooth(0.4, -1.4, y + 0.42 * np.maximum(9 - s, 0)) * smooth(11.5, 10.5, s)
    corners = smooth(1.1, 0.5, np.hypot(s - 3.1, y + 3.9)) * 0.8
    under = smooth(-10.5, -8.5, y)
    if look.beard == "moustache":
        return moustache
    if look.beard == "goatee":
        return np.maximum(np.maximum(moustache, chin), corners) * under
    return np.maximum(np.maximum(moustache, chin), np.maximum(cheeks, corners)) * under


def eye_texel(offset: np.ndarray) -> np.ndarray:
    """Offsets from the eyeball's centre [n, 3] -> texel of the EYE page."""
    flat = offset[:, :2] / np.linalg.norm(offset, axis=-1, keepdims=True)
    return (_EYE_DISC / 2 + flat * [95, -95]).astype(np.float32)


def cloth_texel(points: np.ndarray) -> np.ndarray:
    """Places on the torso [n, 3] -> texel of the CLOTH page."""
    u = (np.arctan2(points[:, 0], points[:, 2] + 3) / np.pi * 0.5 + 0.5) * (WIDTH - 2)
    return np.stack([u, (-9 - points[:, 1]) / 40 * (HEIGHT - 2)], -1).astype(np.float32)


def _brows(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    hairs, ends = 150, []
    thick, lift = rng.uniform(0.35, 0.8), rng.uniform(-0.1, 0.35)
    for side, sign in ((points[17:22][::-1], -1), (points[22:27], 1)):
        t = rng.uniform(0, 1, hairs) ** 0.9
        base = np.stack([np.interp(t * 4, range(5), side[:, axis]) for axis in (0, 1)], -1)
        base[:, 1] += lift + rng.normal(size=hairs) * thick * 0.5 * (1 - 0.6 * t)
        lean = np.stack([sign * (0.15 + 0.6 * t), 0.42 - 0.55 * t], -1)
        lean *= rng.uniform(0.5, 0.9, (hairs, 1))
        ends.append(texel(np.stack([base, base + lean], 1)))
    return strokes(np.concatenate(ends), soft=0.9)


def _wrinkles(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Folds from the nose to the mouth, on the forehead, beside and under the eyes."""
    lines: list[list[np.ndarray]] = []
    for sign, nose, mouth, eye in ((-1, 31, 48, 36), (1, 35, 54, 45)):
        beside = np.array([sign, 1.0])

        def away(point: int, s: float, y: float, beside: np.ndarray = beside) -> np.ndarray:
            return points[point] + beside * [s, y]

        lines.append([away(nose, 0.5, 0.6), away(nose, 1.4, -0.8), away(mouth, 0.8, 0.0)])
        lines[-1].append(away(mouth, 0.7, -1.2))
        lines.extend([away(eye, 0.5, y * 0.4), away(eye, 1.8, y)] for y in (0.6, 0.0, -0.6))
        lines.append([away(eye, -2.4, -1.0), away(eye, -1.2, -1.5), away(eye, 0, -0.9)])
    for row in range(rng.integers(1, 4)):
        y = 7.6 + row * 0.9 + rng.normal() * 0.15
        lines.append([np.array([s, y + 0.3 * (abs(s) < 2)]) for s in (-4.5, -1.5, 1.5, 4.5)])
    return strokes([curve(np.array(line)) for line in lines], width=2, soft=1.8)


def _base(rng: np.random.Generator, look: Look) -> np.ndarray:
    """Skin without a face: patches, pores, blood."""
    page = np.empty((HEIGHT, WIDTH, 4), np.float32)
    patches = octaves(rng, (9, 24, 60)) * np.float32(rng.uniform(0.01, 0.03))
    patches += octaves(rng, FINE) * np.float32(rng.uniform(0.005, 0.025))
    blood = octaves(rng, (14, 30)) * np.float32(rng.uniform(0.005, 0.02))
    for c, red in enumerate((0.4, -1.0, -0.8)):
        page[..., c] = np.float32(look.skin[c]) * (1 + patches + np.float32(red) * blood)
    gloss = octaves(rng, (40, WIDTH // 2))
    page[..., 3] = np.float32(rng.uniform(0.05, 0.2)) * (1 + np.float32(0.15) * gloss)
    return page


def _spot(s: float, y: float, wide: float, high: float) -> np.ndarray:
    """A soft round patch at (s, y) and its mirror image."""
    where = places()
    across = (np.abs(where[..., 0]) - s) / wide
    return np.exp(-(across**2) - ((where[..., 1] - y) / high) ** 2)


def _skin(rng: np.random.Generator, look: Look, points: np.ndarray) -> np.ndarray:
    page = _base(rng, look)
    flush = np.maximum(_spot(5.2, 0.2, 2, 1.8), 0.8 * _spot(0, -0.3, 1.3, 1.3))
    blend(page, flush * rng.uniform(0, 0.35), look.skin * [1.02, 0.75, 0.76])
    blend(page, _spot(3.2, 2.3, 1.4, 0.6) * rng.uniform(0, 0.4), look.skin * [0.8, 0.74, 0.8])
    if rng.random() < 0.25:
        count = int(rng.integers(30, 250))
        spots = rng.normal(size=(count, 2)) * [4.5, 3.5] + [0, 0.5]
        freckles = dots(spots, rng.uniform(0.6, 1.6, count), soft=0.8)
        blend(page, freckles * rng.uniform(0.2, 0.5), look.skin * [0.78, 0.6, 0.5])
    count = int(rng.integers(0, 6))
    moles = dots(rng.normal(size=(count, 2)) * [4.5, 4.5], rng.uniform(1, 2, count), soft=0.8)
    blend(page, moles * 0.8, look.skin * 0.45)
    if look.age > 0:
        folds = _wrinkles(rng, points) * (look.age * 0.45)
        blend(page, folds, look.skin * [0.75, 0.62, 0.58])
    _paint_lips(rng, look, points, page)
    _paint_eyes(rng, points, page)
    _paint_hair(rng, look, points, page)
    return page


def _paint_lips(rng: np.random.Generator, look: Look, points: np.ndarray, page: np.ndarray) -> None:
    depth = lip_depth(points)
    rows = np.flatnonzero((depth > -0.4).any(1))
    rows = slice(rows[0], rows[-1] + 1)
    depth = depth[rows] + octaves(rng, (60, 150))[rows] * np.float32(0.015)
    edge = rng.uniform(0.03, 0.16)
    mask = smooth(-edge, edge, depth + rng.uniform(-0.05, 0.06)) * look.lip_cover
    lines = octaves(rng, (WIDTH // 2,), stretch=0.15)[rows] * rng.uniform(0.02, 0.06)
    shade = (1 + lines) * (1 - 0.18 * smooth(0.3, 0.9, depth))
    page[rows, :, :3] += mask[..., None] * (look.lips * shade[..., None] - page[rows, :, :3])
    page[rows, :, 3] += mask * (rng.uniform(0.05, 0.6) + lines)


def _paint_eyes(rng: np.random.Generator, points: np.ndarray, page: np.ndarray) -> None:
    """Lash lines, sometimes shadow on the lids."""
    dark = np.array([0.08, 0.06, 0.05])
    upper = [curve(points[36:40]), curve(points[42:46])]
    lower = [curve(points[[39, 40, 41, 36]]), curve(points[[45, 46, 47, 42]])]
    blend(page, strokes(upper, width=int(rng.integers(3, 6))) * rng.uniform(0.5, 0.95), dark)
    blend(page, strokes(lower, width=2) * rng.uniform(0.1, 0.6), dark)
    if rng.random() < 0.2:
        lids = strokes(upper, width=14, soft=4)
        blend(page, lids * rng.uniform(0.3, 0.8), rng.uniform(0.15, 0.8, 3))


def _paint_hair(rng: np.random.Generator, look: Look, points: np.ndarray, page: np.ndarray) -> None:
    """Brows, beard, the roots of the hair."""
    blend(page, np.clip(_brows(rng, points) * look.brow * 1.3, 0, 0.95), look.hair * 0.8)
    where = places()
    if look.beard:
        stubble = look.beard == "stubble"
        grain = octaves(rng, FINE, stretch=1.0 if stubble else 2.5)
        mask = beard_at(look, where) * (1 - smooth(-0.15, 0.05, lip_depth(points)))
        # The edge thins out hair by hair.
        mask *= smooth(-0.2, 0.5, mask - 0.35 + 0.25 * grain)
        mask *= np.clip(look.beard_cover * (0.35 if stubble else 1) * (1 + 0.4 * grain), 0, 1)
        blend(page, mask, look.hair * rng.uniform(0.75, 1.0))
        page[..., 3] *= 1 - 0.7 * mask
    if look.hair_length:
        blend(page, scalp_at(look, where) * 0.9, look.hair * 0.8)


def _hair_page(rng: np.random.Generator, look: Look) -> np.ndarray:
    strands = octaves(rng, (WIDTH, WIDTH // 3), stretch=rng.uniform(6, 20))[::3]
    page = np.empty((*strands.shape, 4), np.float32)
    page[..., :3] = look.hair * (1 + 0.16 * strands[..., None])
    page[..., 3] = np.clip(0.2 + 0.15 * strands, 0, 1) * rng.uniform(0.3, 1)
    return page


def _eye_page(rng: np.random.Generator, look: Look) -> np.ndarray:
    n = _EYE_DISC
    disc = np.full((n, n, 4), 0.9, np.float32)
    y, x = np.mgrid[:n, :n].astype(np.float32) - n / 2
    far, angle = np.hypot(x, y) / 95, np.arctan2(y, x)
    white = np.array([0.88, 0.85, 0.83]) * rng.uniform(0.85, 1.05)
    disc[..., :3] = white * (1 - 0.25 * smooth(0.4, 0.9, far))[..., None]
    rays = 1 + 0.2 * np.sin(angle * 23 + 3 * np.sin(angle * 7)) * smooth(0.1, 0.4, far)
    iris = smooth(0.43, 0.40, far)[..., None]
    disc[..., :3] += iris * (np.clip(look.iris * rays[..., None], 0, 1) - disc[..., :3])
    blend(disc, smooth(0.36, 0.42, far) * smooth(0.44, 0.41, far) * 0.7, look.iris * 0.3)
    blend(disc, smooth(0.19, 0.16, far), np.full(3, 0.05))
    page = np.ones((HEIGHT, WIDTH, 4), np.float32)
    page[:n, :n] = disc
    return page


def _cloth_page(rng: np.random.Generator) -> np.ndarray:
    base, other = rng.uniform(0.05, 0.9) + rng.normal(size=(2, 3)) * 0.12
    grain = octaves(rng, (12, 40, WIDTH))[::3, ::3]
    page = np.empty((*grain.shape, 4), np.float32)
    page[..., :3] = base
    kind = rng.integers(4)
    rows, columns = np.indices(grain.shape, dtype=np.float32)
    if kind == 1:
        stripes = np.sin((rows if rng.random() < 0.5 else columns) * rng.uniform(0.2, 1.2)) > 0.3
        blend(page, stripes * 0.9, other)
    elif kind == 2:
        blend(page, octaves(rng, (20, 50))[::3, ::3] > 0.8, other)
    page[..., :3] *= 1 + 0.06 * grain[..., None]
    page[..., 3] = 0.03
    return page


def _bytes(page: np.ndarray) -> np.ndarray:
    out = cv2.convertScaleAbs(np.maximum(page, 0), alpha=255)
    return cv2.resize(out, (WIDTH, HEIGHT)) if out.shape[:2] != (HEIGHT, WIDTH) else out


def paint_pages(rng: np.random.Generator, look: Look, points: np.ndarray) -> np.ndarray:
    """All pages uint8 [5, h, w, 4] of one person; points: the 68 unrolled landmarks."""
    out = np.full((5, HEIGHT, WIDTH, 4), 255, np.uint8)
    out[SKIN] = _bytes(_skin(rng, look, points))
    out[HAIR] = _bytes(_hair_page(rng, look))
    out[EYE] = _bytes(_eye_page(rng, look))
    out[CLOTH] = _bytes(_cloth_page(rng))
    return out
