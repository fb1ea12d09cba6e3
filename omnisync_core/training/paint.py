"""What a head is painted with: skin, lips, brows, beard, hair, eyes, cloth.

In: a random generator and the 68 points of the unrolled face. Out: pages, uint8 [p, h, w, 4], the
square root of the linear colour and the gloss. The face is unrolled on a cylinder: (s, y) in
centimetres, s along the skin from the middle of the face; texels are densest around the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_RADIUS = 10.0  # of the cylinder; its axis is at x = 0, z = 1
_STRETCH = 8.0  # cm over which the texels stay dense
_DENSITY = _STRETCH / 0.045  # 0.045 cm per texel at the mouth: half a pixel at 128
_MIDDLE_Y = -3.0
WIDTH, HEIGHT = 744, 552
_ROW = 278.0
SKIN, HAIR, EYE, CLOTH, PLAIN = range(5)


def unroll(points: np.ndarray) -> np.ndarray:
    """Places [..., 3] -> (s, y) [..., 2] in centimetres on the cylinder."""
    s = np.arctan2(points[..., 0], points[..., 2] - 1) * _RADIUS
    return np.stack([s, points[..., 1]], -1)


def texel(places: np.ndarray) -> np.ndarray:
    """(s, y) [..., 2] -> texel (u, v) [..., 2]."""
    u = WIDTH / 2 + _DENSITY * np.arcsinh(places[..., 0] / _STRETCH)
    v = _ROW - _DENSITY * np.arcsinh((places[..., 1] - _MIDDLE_Y) / _STRETCH)
    return np.stack([u, v], -1).astype(np.float32)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """(s, y) of every texel, f32 [h, w] each."""
    s = np.sinh((np.arange(WIDTH) - WIDTH / 2) / _DENSITY) * _STRETCH
    y = np.sinh((_ROW - np.arange(HEIGHT)) / _DENSITY) * _STRETCH + _MIDDLE_Y
    return np.meshgrid(s.astype(np.float32), y.astype(np.float32))


S, Y = _grid()


def eye_texel(offset: np.ndarray) -> np.ndarray:
    """Offsets from the eyeball's centre [n, 3] -> texel of the EYE page (a 200-texel disc)."""
    radius = np.linalg.norm(offset, axis=-1, keepdims=True)
    flat = offset[:, :2] / radius
    return (np.array([100.0, 100.0]) + flat * [95, -95]).astype(np.float32)


def cloth_texel(places: np.ndarray) -> np.ndarray:
    """Places on the torso [n, 3] -> texel of the CLOTH page."""
    u = (np.arctan2(places[:, 0], places[:, 2] + 3) / np.pi * 0.5 + 0.5) * (WIDTH - 2)
    return np.stack([u, (-12 - places[:, 1]) / 35 * (HEIGHT - 2)], -1).astype(np.float32)


def _pick(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


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
        [0.2, 0.15, 0.12],
        [0.36, 0.25, 0.17],
        [0.62, 0.5, 0.34],
        [0.5, 0.27, 0.14],
        [0.62, 0.61, 0.6],
        [0.85, 0.84, 0.82],
    ]
)
_IRISES = np.array(
    [[0.28, 0.17, 0.1], [0.4, 0.26, 0.14], [0.35, 0.5, 0.62], [0.36, 0.45, 0.32], [0.45, 0.48, 0.5]]
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a person is painted with. Colours are square roots of linear ones, unless tints."""

    tone: float
    skin: np.ndarray
    lips: np.ndarray
    lip_cover: float
    hair: np.ndarray
    hair_length: float
    hairline: tuple[float, float]
    brow: float
    beard: str
    beard_cover: float
    beard_length: float
    age: float
    iris: np.ndarray
    mouth: np.ndarray
    gums: np.ndarray
    teeth: np.ndarray

    @staticmethod
    def draw(rng: np.random.Generator) -> Look:
        """A random person."""
        tone = _pick(rng, 0, len(_TONES) - 1.001)
        low = int(tone)
        skin = _TONES[low] + (_TONES[low + 1] - _TONES[low]) * (tone - low)
        skin = np.clip(skin * (1 + rng.normal(size=3) * [0.02, 0.03, 0.04]), 0.1, 0.95)
        natural = skin * np.array([0.93, 0.70, 0.72]) * _pick(rng, 0.88, 1.08)
        painted = np.array([0.78, 0.22, 0.3]) * rng.uniform(0.6, 1.15, 3)
        made_up = rng.random() < 0.22
        bearded = rng.random() < 0.33 and not made_up
        colour = _HAIRS[rng.choice(len(_HAIRS), p=[0.28, 0.22, 0.2, 0.12, 0.06, 0.08, 0.04])]
        teeth = (
            np.array([0.80, 0.76, 0.66]) * _pick(rng, 0.75, 1.05) * [1, 1, _pick(rng, 0.85, 1.1)]
        )
        return Look(
            tone=tone,
            skin=skin,
            lips=np.clip(painted if made_up else natural, 0, 1),
            lip_cover=_pick(rng, 0.8, 0.97) if made_up else _pick(rng, 0.4, 0.9),
            hair=np.clip(colour * rng.uniform(0.85, 1.15, 3) * _pick(rng, 0.8, 1.2), 0.05, 0.95),
            hair_length=0.0 if rng.random() < 0.1 else _pick(rng, 0.4, 2.2),
            hairline=(_pick(rng, 8.0, 10.8), _pick(rng, 7.5, 10.5)),
            brow=_pick(rng, 0.25, 0.95),
            beard=str(rng.choice(["full", "moustache", "goatee", "stubble", "stubble"]))
            if bearded
            else "",
            beard_cover=_pick(rng, 0.3, 0.95),
            beard_length=_pick(rng, 0.05, 0.5) if bearded and rng.random() < 0.5 else 0.0,
            age=max(0.0, _pick(rng, -0.5, 1)),
            iris=_IRISES[rng.integers(len(_IRISES))] * rng.uniform(0.8, 1.2),
            mouth=np.array([0.20, 0.045, 0.04]) * _pick(rng, 0.5, 1.2),
            gums=np.array([0.50, 0.17, 0.17]) * rng.uniform(0.8, 1.15, 3),
            teeth=np.clip(teeth, 0, 0.9),
        )


def _smooth(low: float, high: float, value: np.ndarray) -> np.ndarray:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def scalp_at(look: Look, places: np.ndarray) -> np.ndarray:
    """Where hair grows, [...] in [0, 1], for unrolled places [..., 2]."""
    s, y = np.abs(places[..., 0]), places[..., 1]
    front, side = look.hairline
    line = np.where(s < side, front - 0.03 * s * s, front - 0.03 * side**2 - (s - side) * 3.5)
    line = np.maximum(line, -7.0 + 0.2 * (s - 20))
    behind_ear = _smooth(12.0, 13.5, s)
    sideburn = y > 1.5
    return _smooth(-0.3, 1.0, y - line) * np.maximum(sideburn, behind_ear)


def beard_at(look: Look, places: np.ndarray) -> np.ndarray:
    """Where the beard grows, [...] in [0, 1], for unrolled places [..., 2] of the neutral face."""
    s, y = np.abs(places[..., 0]), places[..., 1]
    if not look.beard:
        return np.zeros_like(y)
    moustache = (
        _smooth(-1.1, -1.7, y) * _smooth(3.6, 2.8, s + 0.5 * (y + 2.5)) * _smooth(-3.4, -3.0, y)
    )
    chin = _smooth(3.4, 2.4, s) * _smooth(-4.4, -5.0, y)
    cheeks = _smooth(0.0, -1.0, y + 0.42 * np.maximum(9 - s, 0)) * _smooth(11.5, 10.5, s)
    corners = _smooth(1.0, 0.6, np.hypot(s - 3.1, y + 3.9)) * 0.8
    under = _smooth(-10.5, -8.5, y)
    masks = {
        "moustache": moustache,
        "goatee": np.maximum(np.maximum(moustache, chin), corners) * under,
    }
    full = np.maximum(np.maximum(moustache, chin), np.maximum(cheeks, corners)) * under
    return masks.get(look.beard, full)


def waves(rng: np.random.Generator, verts: np.ndarray) -> np.ndarray:
    """Smooth random field [n] over vertices [n, 3], about unit variance."""
    way = rng.normal(size=(3, 5)) * 0.5
    return np.sin(verts @ way + rng.uniform(0, 6.3, 5)).sum(1) / 5**0.5 * 1.4


def octaves(
    rng: np.random.Generator, cells: tuple[int, ...], *, stretch: float = 1.0
) -> np.ndarray:
    """Noise f32 [h, w] about unit variance, each octave with `cells` bumps across the page."""
    out = np.zeros((HEIGHT, WIDTH), np.float32)
    for count in cells:
        small = rng.normal(size=(max(2, int(count * HEIGHT / WIDTH / stretch)), count))
        out += cv2.resize(small.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return out / (0.75 * len(cells) ** 0.5)


def _curve(points: np.ndarray, *, closed: bool = False, steps: int = 8) -> np.ndarray:
    """Catmull-Rom through unrolled points [k, 2] -> texel points [k', 2]."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate(
            [2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]]
        )
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        parts.append(
            p1
            + 0.5
            * t
            * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
        )
    if not closed:
        parts.append(padded[-2:-1])
    return texel(np.concatenate(parts))


def lip_depth(points: np.ndarray) -> np.ndarray:
    """Depth inside the lips' outline in cm, f32 [h, w], negative outside; points [68, 2]."""
    outline = _curve(points[48:60], closed=True)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    return (inside - outside) * np.float32(0.045)


def _strokes(lines: list[np.ndarray], *, width: int = 1) -> np.ndarray:
    """Anti-aliased polylines in texels -> mask f32 [h, w] in [0, 1]."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    fixed = [np.round(line * 16).astype(np.int32) for line in lines]
    cv2.polylines(mask, fixed, False, 255, width, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _blend(page: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    page += mask[..., None] * (np.asarray(colour, np.float32) - page)


def _brows(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    lines = []
    thick = rng.uniform(0.35, 0.8)
    lift = rng.uniform(-0.1, 0.35)
    for side, sign in ((points[17:22][::-1], -1), (points[22:27], 1)):
        for _ in range(170):
            t = rng.uniform(0, 1) ** 0.9
            k = min(int(t * 4), 3)
            base = side[k] + (side[k + 1] - side[k]) * (t * 4 - k)
            base = base + [0, lift + rng.normal() * thick * 0.5 * (1 - 0.6 * t)]
            lean = np.array([sign * (0.15 + 0.6 * t), 0.42 - 0.55 * t]) * rng.uniform(0.7, 1.3)
            lines.append(texel(np.stack([base, base + lean * 0.7])))
    return cv2.GaussianBlur(_strokes(lines), (0, 0), 0.9)


def _wrinkles(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Folds from the nose to the mouth, on the forehead, beside and under the eyes."""
    lines = []
    for nose, mouth, sign in ((points[31], points[48], -1), (points[35], points[54], 1)):
        lines.append(
            _curve(
                np.stack(
                    [
                        nose + [sign * 0.5, 0.6],
                        nose + [sign * 1.4, -0.8],
                        mouth + [sign * 0.8, 0.0],
                        mouth + [sign * 0.7, -1.2],
                    ]
                )
            )
        )
    for eye, sign in ((points[36], -1), (points[45], 1)):
        for fall in (0.6, 0.0, -0.6):
            lines.append(
                _curve(np.stack([eye + [sign * 0.5, fall * 0.4], eye + [sign * 1.8, fall]]))
            )
        inner = eye - [sign * 2.4, 1.0]
        lines.append(_curve(np.stack([inner, inner + [sign * 1.2, -0.5], eye + [0, -0.9]])))
    for row in range(rng.integers(1, 4)):
        y = 7.6 + row * 0.9 + rng.normal() * 0.15
        lines.append(_curve(np.stack([[-4.5, y], [-1.5, y + 0.3], [1.5, y + 0.3], [4.5, y]])))
    return cv2.GaussianBlur(_strokes(lines, width=2), (0, 0), 1.8)


def _dots(rng: np.random.Generator, count: int, radius: float) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for s, y, size in zip(
        rng.normal(size=count) * 4.5,
        rng.normal(size=count) * 3.5 + 0.5,
        rng.uniform(0.4, 1, count),
        strict=True,
    ):
        u, v = texel(np.array([s, y])) * 16
        cv2.circle(
            mask,
            (int(u), int(v)),
            int(radius * size * 16),
            int(120 + 135 * size),
            -1,
            cv2.LINE_AA,
            4,
        )
    return cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / 255


def _skin(rng: np.random.Generator, look: Look, points: np.ndarray) -> np.ndarray:
    page = np.empty((HEIGHT, WIDTH, 4), np.float32)
    colour = page[..., :3]
    colour[:] = look.skin
    gloss = 0.22 + 0.1 * rng.random() + 0.06 * octaves(rng, (40, 160))
    patches = octaves(rng, (9, 24, 60)) * rng.uniform(0.01, 0.03)
    pores = octaves(rng, (WIDTH // 2, WIDTH)) * rng.uniform(0.005, 0.025)
    blood = octaves(rng, (14, 30)) * rng.uniform(0.005, 0.02)
    for c, red in enumerate((0.4, -1.0, -0.8)):
        colour[..., c] *= 1 + patches + pores + red * blood
    s = np.abs(S)
    flush = np.exp(-(((s - 5.2) / 2) ** 2 + ((Y - 0.2) / 1.8) ** 2))
    flush = np.maximum(flush, 0.8 * np.exp(-((S / 1.3) ** 2 + ((Y + 0.3) / 1.3) ** 2)))
    _blend(colour, flush * rng.uniform(0, 0.35), look.skin * [1.02, 0.75, 0.76])
    bags = np.exp(-(((s - 3.2) / 1.4) ** 2 + ((Y - 2.3) / 0.6) ** 2))
    _blend(colour, bags * rng.uniform(0, 0.4), look.skin * [0.8, 0.74, 0.8])
    if rng.random() < 0.25:
        _blend(
            colour,
            _dots(rng, int(rng.integers(30, 250)), 1.6) * rng.uniform(0.2, 0.5),
            look.skin * [0.78, 0.6, 0.5],
        )
    _blend(colour, _dots(rng, int(rng.integers(0, 6)), 2.2) * 0.8, look.skin * 0.45)
    if look.age > 0:
        _blend(colour, _wrinkles(rng, points) * look.age * 0.55, look.skin * [0.75, 0.62, 0.58])
    _paint_lips(rng, look, points, page, gloss)
    _paint_eyes(rng, look, points, colour)
    _paint_hair_on_skin(rng, look, points, colour, gloss)
    page[..., 3] = gloss
    return page


def _paint_lips(
    rng: np.random.Generator, look: Look, points: np.ndarray, page: np.ndarray, gloss: np.ndarray
) -> None:
    depth = lip_depth(points)
    depth = depth + octaves(rng, (60, 150)) * 0.015
    edge = rng.uniform(0.03, 0.16)
    mask = _smooth(-edge, edge, depth + rng.uniform(-0.05, 0.06)) * look.lip_cover
    lines = octaves(rng, (WIDTH // 2,), stretch=0.15) * rng.uniform(0.02, 0.07)
    shade = (1 + lines) * (1 - 0.18 * _smooth(0.3, 0.9, depth))
    _blend(page[..., :3], mask, look.lips * shade[..., None])
    gloss += mask * (rng.uniform(0.1, 0.8) - 0.1 + lines)


def _paint_eyes(
    rng: np.random.Generator, look: Look, points: np.ndarray, colour: np.ndarray
) -> None:
    """Lash lines, lids' shadow, sometimes make-up."""
    dark = np.array([0.08, 0.06, 0.05])
    upper = [_curve(points[36:40]), _curve(points[42:46])]
    lower = [_curve(points[[39, 40, 41, 36]]), _curve(points[[45, 46, 47, 42]])]
    _blend(colour, _strokes(upper, width=int(rng.integers(3, 6))) * rng.uniform(0.5, 0.95), dark)
    _blend(colour, _strokes(lower, width=2) * rng.uniform(0.1, 0.6), dark)
    if rng.random() < 0.2:
        lids = cv2.GaussianBlur(_strokes(upper, width=14), (0, 0), 4)
        _blend(colour, lids * rng.uniform(0.3, 0.8), rng.uniform(0.15, 0.8, 3))


def _paint_hair_on_skin(
    rng: np.random.Generator,
    look: Look,
    points: np.ndarray,
    colour: np.ndarray,
    gloss: np.ndarray,
) -> None:
    _blend(colour, np.clip(_brows(rng, points) * look.brow * 1.3, 0, 0.95), look.hair * 0.8)
    places = np.stack([S, Y], -1)
    if look.beard:
        grain = octaves(rng, (WIDTH,), stretch=2.0 if look.beard != "stubble" else 1.0)
        mask = beard_at(look, places) * (1 - _smooth(-0.15, 0.05, lip_depth(points)))
        cover = look.beard_cover * (0.35 if look.beard == "stubble" else 1.0)
        mask = mask * np.clip(cover * (1 + 0.5 * grain), 0, 1)
        _blend(colour, mask, look.hair * 0.85 * (1 + 0.15 * grain[..., None]))
        gloss *= 1 - 0.7 * mask
    if look.hair_length:
        scalp = scalp_at(look, places)
        _blend(colour, scalp * 0.9, look.hair * 0.8)


def _hair_page(rng: np.random.Generator, look: Look) -> np.ndarray:
    page = np.empty((HEIGHT, WIDTH, 4), np.float32)
    strands = octaves(rng, (WIDTH, WIDTH // 3), stretch=rng.uniform(6, 20))
    page[..., :3] = look.hair * (1 + 0.22 * strands[..., None])
    page[..., 3] = np.clip(0.35 + 0.2 * strands, 0, 1) * rng.uniform(0.3, 1)
    return page


def _eye_page(look: Look, rng: np.random.Generator) -> np.ndarray:
    page = np.full((HEIGHT, WIDTH, 4), 0.9, np.float32)
    y, x = np.mgrid[:200, :200].astype(np.float32)
    far = np.hypot(x - 100, y - 100) / 95
    angle = np.arctan2(y - 100, x - 100)
    disc = page[:200, :200]
    white = np.array([0.88, 0.85, 0.83]) * rng.uniform(0.85, 1.05)
    disc[..., :3] = white * (1 - 0.25 * _smooth(0.4, 0.9, far))[..., None]
    rays = 1 + 0.2 * np.sin(angle * 23 + 3 * np.sin(angle * 7)) * _smooth(0.1, 0.4, far)
    iris = np.clip(look.iris * rays[..., None], 0, 1)
    _blend(disc[..., :3], _smooth(0.43, 0.40, far), iris)
    _blend(
        disc[..., :3], _smooth(0.36, 0.42, far) * _smooth(0.44, 0.41, far) * 0.7, look.iris * 0.3
    )
    _blend(disc[..., :3], _smooth(0.18, 0.15, far), np.full(3, 0.05))
    return page


def _cloth_page(rng: np.random.Generator) -> np.ndarray:
    page = np.empty((HEIGHT, WIDTH, 4), np.float32)
    base, other = rng.uniform(0.05, 0.9, (2, 3)) ** 1.2
    page[..., :3] = base
    kind = rng.integers(4)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    if kind == 1:
        stripes = np.sin((rows if rng.random() < 0.5 else columns) * rng.uniform(0.1, 0.6)) > 0.3
        _blend(page[..., :3], stripes.astype(np.float32) * 0.9, other)
    elif kind == 2:
        _blend(page[..., :3], (octaves(rng, (20, 50)) > 0.8).astype(np.float32), other)
    page[..., :3] *= 1 + 0.06 * octaves(rng, (12, 40, WIDTH))[..., None]
    page[..., 3] = 0.05
    return page


def paint_pages(rng: np.random.Generator, look: Look, points: np.ndarray) -> np.ndarray:
    """All pages uint8 [5, h, w, 4] of one person; points: the 68 unrolled landmarks."""
    pages = [
        _skin(rng, look, points),
        _hair_page(rng, look),
        _eye_page(look, rng),
        _cloth_page(rng),
        np.ones((HEIGHT, WIDTH, 4), np.float32),
    ]
    return (np.clip(np.stack(pages), 0, 1) * 255).astype(np.uint8)
