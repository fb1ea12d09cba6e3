"""Things in front of a mouth, drawn procedurally: hands, microphones, masks, cups, hair ...

In: a random generator, how long, how large, where the mouth is. Out: the thing's own picture and
its exact share of every pixel, frame by frame, to lay over source and target alike.

Everything is flat shapes with a round shading: an occluder teaches where it is and that it stays,
not what hands look like. Blobs and slabs are no thing at all: with them, what lies in front is told
by lying in front. KINDS are trained on; HELD_OUT are kept for judging.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SKIN = ("finger", "hand", "arm")
"""Kinds of bare skin."""
KINDS = (
    *SKIN,
    *("microphone", "headset", "mask", "scarf", "hair", "sheet", "spoon", "held", "blob", "slab"),
)
HELD_OUT = ("cup", "phone", "leaf")
_SAMPLES = 2  # per pixel and side, for soft edges


@dataclass(frozen=True)
class Occluder:
    """A thing that moves: pictures uint8 [f, s, s, 3] and its share of each pixel f32 [f, s, s]."""

    pictures: np.ndarray
    cover: np.ndarray

    def over(self, frames: np.ndarray) -> np.ndarray:
        """Frames uint8 [f, s, s, 3] with the thing in front."""
        share = self.cover[..., None]
        return np.round(frames * (1 - share) + self.pictures * share).astype(np.uint8)

    def tinted(self, colour: np.ndarray) -> Occluder:
        """The same thing with that mean colour (RGB)."""
        mean = np.average(self.pictures, axis=(0, 1, 2), weights=self._weights())
        pictures = np.clip(self.pictures * (colour / np.maximum(mean, 1)), 0, 255)
        return Occluder(pictures.astype(np.uint8), self.cover)

    def _weights(self) -> np.ndarray:
        return np.repeat(self.cover[..., None] + 1e-6, 3, -1)


def draw_occluder(
    rng: np.random.Generator, mouth: np.ndarray, size: int, *, kind: str | None = None
) -> Occluder:
    """One thing that crosses the mouth; mouth [f, 2] in pixels of a crop of that side."""
    kind = kind or str(rng.choice(KINDS))
    shape = _SHAPES[kind](rng)
    frames = len(mouth)
    turn = rng.uniform(-0.25, 0.25) if kind == "mask" else rng.uniform(-np.pi, np.pi)
    grow = rng.uniform(0.8, 1.25)
    # Covers some of the mouth: its tip lies within a mouth's width of the centre.
    off = rng.normal(size=2) * (0.03 if kind == "mask" else 0.12)
    drift = rng.normal(size=2) * (0.0 if kind == "mask" else 0.012)
    sway = rng.normal() * 0.01
    soft = float(rng.choice([0.0, 0.6, 1.2]))  # out of focus
    pictures, covers = [], []
    for i, centre in enumerate(mouth):
        at = centre / size + off + drift * (i - frames / 2)
        angle = turn + sway * i
        matrix = grow * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        picture, cover = _paint(shape, matrix, at, size, soft)
        pictures.append(picture)
        covers.append(cover)
    return Occluder(np.stack(pictures), np.clip(np.stack(covers), 0, 1))


@dataclass(frozen=True)
class _Piece:
    """A polygon [k, 2] (closed) or a stroke [k, 2] of some width, in crop sides from the tip."""

    points: np.ndarray
    colour: np.ndarray
    width: float = 0.0
    round: float = 1.0
    """How strongly the shading rounds it."""


def _paint(
    pieces: list[_Piece], matrix: np.ndarray, at: np.ndarray, size: int, soft: float
) -> tuple[np.ndarray, np.ndarray]:
    side = size * _SAMPLES
    colour = np.zeros((side, side, 3), np.float32)
    cover = np.zeros((side, side), np.float32)
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    for piece in pieces:
        points = np.round((piece.points @ matrix.T + at) * side * 16).astype(np.int32)
        mask = np.zeros((side, side), np.uint8)
        if piece.width:
            width = max(1, round(piece.width * scale * side))
            cv2.polylines(mask, [points], False, 255, width, cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, 4)
        if not mask.any():
            continue
        here = _around(mask)
        share = (mask[here] / np.float32(255))[..., None]
        shade = (_rounded(mask[here]) * piece.round + 1 - piece.round)[..., None]
        colour[here] = colour[here] * (1 - share) + piece.colour.astype(np.float32) * shade * share
        cover[here] = np.maximum(cover[here], share[..., 0])
    small = cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA)
    mean = cv2.resize(colour, (size, size), interpolation=cv2.INTER_AREA)
    if soft:
        small, mean = (cv2.GaussianBlur(one, (0, 0), soft) for one in (small, mean))
    # mean is black where nothing is: divided by the cover, edges keep the thing's colour.
    picture = mean / np.maximum(small, 1e-3)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8), small


def _around(mask: np.ndarray, *, margin: int = 8) -> tuple[slice, slice]:
    """The rows and columns of what is not 0 and a little more, from an even one to an even one."""
    x, y, width, height = cv2.boundingRect(mask)
    first = (max(0, y - margin) // 2 * 2, max(0, x - margin) // 2 * 2)
    last = (y + height + margin + 1, x + width + margin + 1)
    rows, columns = (
        slice(a, min(n, b // 2 * 2)) for a, b, n in zip(first, last, mask.shape, strict=True)
    )
    return rows, columns


def _rounded(mask: np.ndarray) -> np.ndarray:
    """Light of a rounded body, 0.35 to 1.15: bright in the middle and above, dark at the rim."""
    size = mask.shape[::-1]
    mask = mask[::_SAMPLES, ::_SAMPLES]  # light changes slowly
    depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    top = max(float(depth.max()), 1.0)
    height = np.sqrt(np.clip(1 - (1 - depth / top) ** 2, 0, 1))
    slope = cv2.Sobel(cv2.GaussianBlur(height, (0, 0), top / 4 + 0.5), cv2.CV_32F, 0, 1)
    light = np.clip(0.6 + 0.42 * height + 1.5 * slope, 0.35, 1.15).astype(np.float32)
    return cv2.resize(light, size, interpolation=cv2.INTER_LINEAR)


def _skin(rng: np.random.Generator) -> np.ndarray:
    """A skin colour, from dark to fair; RGB."""
    fair = rng.uniform(0, 1)
    base = np.array([75, 45, 32]) * (1 - fair) + np.array([238, 200, 178]) * fair
    return base * rng.uniform(0.85, 1.1) + rng.normal(size=3) * 5


def _any_colour(rng: np.random.Generator) -> np.ndarray:
    grey = rng.uniform(20, 235)
    return np.clip(grey + rng.normal(size=3) * 50, 5, 250)


def _stroke(
    rng: np.random.Generator, start: tuple, length: float, bend: float = 0.06
) -> np.ndarray:
    """A slightly bent line [8, 2] downwards from a point."""
    along = np.linspace(0, 1, 8)
    aside = rng.normal() * bend * np.sin(along * np.pi * rng.uniform(0.5, 1))
    return np.stack([start[0] + aside, start[1] + along * length], 1)


def _finger(rng: np.random.Generator) -> list[_Piece]:
    width, skin = rng.uniform(0.09, 0.15), _skin(rng)
    nail = np.array([[0.0, 0.005], [0.0, 0.04]])
    return [
        _Piece(_stroke(rng, (0, 0), 1.4), skin, width),
        _Piece(nail, skin * 0.6 + 90, width * 0.55, 0.3),
    ]


def _hand(rng: np.random.Generator) -> list[_Piece]:
    skin, width = _skin(rng), rng.uniform(0.1, 0.14)
    count = int(rng.integers(2, 5))
    pieces = []
    for k in range(count):
        x = (k - (count - 1) / 2) * width * rng.uniform(0.92, 1.15)
        start = (x, rng.uniform(-0.03, 0.1))
        pieces.append(_Piece(_stroke(rng, start, 0.55, 0.03), skin * rng.uniform(0.93, 1), width))
    palm = np.array([[-0.5, 0.42], [0.5, 0.42], [0.42, 1.6], [-0.42, 1.6]]) * [count * width, 1]
    return [*pieces, _Piece(palm, skin, 0.0, 0.4)]


def _arm(rng: np.random.Generator) -> list[_Piece]:
    """A fist with its forearm, bare or in a sleeve."""
    skin, width = _skin(rng), rng.uniform(0.16, 0.3)
    cloth = skin * 0.95 if rng.random() < 0.5 else _any_colour(rng)
    fist = [
        _Piece(_stroke(rng, (x * width, 0.0), 0.12, 0.01), skin * rng.uniform(0.92, 1), width * 0.4)
        for x in np.linspace(-0.6, 0.6, int(rng.integers(3, 5)))
    ]
    return [_Piece(_stroke(rng, (0, 0.2), 1.4, 0.05), cloth, width * 1.3), *fist]


def _microphone(rng: np.random.Generator) -> list[_Piece]:
    dark = rng.uniform(15, 90) + rng.normal(size=3) * 6
    radius = rng.uniform(0.09, 0.17)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ball = np.stack([np.cos(turn), np.sin(turn)], 1) * radius
    pieces = [
        _Piece(_stroke(rng, (0, radius * 0.8), 1.4, 0.01), dark * 0.8, radius * 0.9),
        _Piece(ball, dark + rng.uniform(10, 80)),
    ]
    for x in np.linspace(-0.8, 0.8, 6):
        reach = np.sqrt(1 - x**2)
        line = np.array([[x, -reach], [x, reach]]) * radius
        pieces.append(_Piece(line, dark, 0.006, 0.0))
        pieces.append(_Piece(line[:, ::-1], dark, 0.006, 0.0))
    return pieces


def _headset(rng: np.random.Generator) -> list[_Piece]:
    """A thin bent arm with foam at its end."""
    dark = rng.uniform(10, 80) + rng.normal(size=3) * 5
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    foam = np.stack([np.cos(turn) * rng.uniform(0.6, 1), np.sin(turn)], 1) * rng.uniform(0.03, 0.08)
    wire = _Piece(_stroke(rng, (0, 0), 1.3, 0.25), dark, rng.uniform(0.008, 0.025), 0.5)
    return [wire, _Piece(foam, dark * rng.uniform(0.6, 1.4))]


def _mask(rng: np.random.Generator) -> list[_Piece]:
    colour = np.clip(
        rng.choice([[120, 180, 220], [235, 240, 240], [40, 40, 45]]) + rng.normal(size=3) * 15,
        5,
        250,
    )
    top, low = rng.uniform(-0.3, -0.1), rng.uniform(0.28, 0.42)
    outline = np.array(
        [[-0.42, top + 0.06], [0, top], [0.42, top + 0.06], [0.36, low - 0.1], [0, low]]
    )
    outline = np.concatenate([outline, [[-0.36, low - 0.1]]])
    pieces = [_Piece(outline, colour, 0.0, 0.5)]
    for y in np.linspace(top + 0.12, low - 0.12, 3):
        pieces.append(_Piece(np.array([[-0.36, y], [0.36, y]]), colour * 0.85, 0.008, 0.0))
    return pieces


def _scarf(rng: np.random.Generator) -> list[_Piece]:
    """Cloth with a wavy upper edge and stripes."""
    x = np.linspace(-0.9, 0.9, 20)
    edge = np.stack([x, 0.05 * rng.normal() * np.cos(x * rng.uniform(2, 9)) + 0.02], 1)
    colour = _any_colour(rng)
    pieces = [_Piece(np.concatenate([edge, edge[::-1] + np.array([0, 1.5])]), colour, 0.0, 0.3)]
    for y in np.arange(rng.uniform(0.03, 0.15), 1.2, rng.uniform(0.08, 0.3)):
        shade = _any_colour(rng) if rng.random() < 0.3 else colour * rng.uniform(0.7, 1.2)
        pieces.append(_Piece(edge + np.array([0, y]), shade, rng.uniform(0.008, 0.05), 0.2))
    return pieces


def _hair(rng: np.random.Generator) -> list[_Piece]:
    colour = rng.choice([[30, 22, 18], [90, 60, 35], [180, 145, 95], [120, 115, 110]])
    colour = colour * rng.uniform(0.7, 1.2)
    pieces = []
    for _ in range(int(rng.integers(1, 14))):
        x = rng.normal() * 0.06
        strand = _stroke(rng, (x, -0.9), 1.9, 0.2)
        width = float(rng.choice([0.006, 0.01, 0.016, 0.03]))
        pieces.append(_Piece(strand, colour * rng.uniform(0.7, 1.3), width, 0.3))
    return pieces


def _sheet(rng: np.random.Generator) -> list[_Piece]:
    paper = rng.uniform(170, 245) + rng.normal(size=3) * 6
    wide = rng.uniform(0.3, 0.8)
    outline = np.array([[-wide, 0], [wide, 0], [wide, 1.5], [-wide, 1.5]])
    pieces = [_Piece(outline, paper, 0.0, 0.15)]
    for y in np.arange(0.08, 1.2, rng.uniform(0.06, 0.12)):
        line = np.array([[-wide * 0.8, y], [wide * rng.uniform(0.2, 0.8), y]])
        pieces.append(_Piece(line, paper * rng.uniform(0.2, 0.7), 0.012, 0.0))
    return pieces


def _spoon(rng: np.random.Generator) -> list[_Piece]:
    metal = rng.uniform(110, 210) + rng.normal(size=3) * 8
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    bowl = np.stack([np.cos(turn) * 0.09, np.sin(turn) * 0.14], 1)
    return [
        _Piece(_stroke(rng, (0, 0.1), 1.3, 0.02), metal * 0.9, rng.uniform(0.02, 0.05)),
        _Piece(bowl, metal),
    ]


def _held(rng: np.random.Generator) -> list[_Piece]:
    """Something angular with the fingers around it."""
    skin, width = _skin(rng), rng.uniform(0.07, 0.11)
    side, low = rng.choice([-1.0, 1.0]), rng.uniform(0.1, 0.3)
    pieces = _slab(rng)
    for k in range(int(rng.integers(2, 5))):
        tip = np.array([side * rng.uniform(-0.15, 0.05), low + k * width])
        root = tip + np.array([side * rng.uniform(0.3, 0.5), rng.uniform(0.0, 0.12)])
        pieces.append(_Piece(np.stack([tip, root]), skin * rng.uniform(0.93, 1), width))
    back = np.array([side * 0.65, low + 0.15])
    return [*pieces, _Piece(np.stack([back, back + np.array([side * 0.3, 1.2])]), skin, 0.45, 0.5)]


def _blob(rng: np.random.Generator) -> list[_Piece]:
    """A round outline of three waves, from the tip down."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    waves = [rng.normal() * 0.3 / k * np.cos(k * turn + rng.uniform(0, 6)) for k in (2, 3, 5)]
    radius = rng.uniform(0.08, 0.35) * np.clip(1 + sum(waves), 0.3, None)
    outline = np.stack([np.cos(turn) * rng.uniform(0.5, 1), np.sin(turn)], 1) * radius[:, None]
    return [_Piece(outline - [0, outline[:, 1].min()], _any_colour(rng), 0.0, rng.uniform(0, 1))]


def _slab(rng: np.random.Generator) -> list[_Piece]:
    """An angular outline with up to three patches or bands of other colours on it."""
    corners = rng.uniform(-1, 1, (int(rng.integers(3, 9)), 2)) * rng.uniform(0.12, 0.45, 2)
    corners -= [0, corners[:, 1].min()]
    outline = cv2.convexHull(corners.astype(np.float32))[:, 0].astype(np.float64)
    pieces = [_Piece(outline, _any_colour(rng), 0.0, rng.uniform(0, 0.8))]
    middle = outline.mean(0)
    for _ in range(int(rng.integers(0, 4))):
        if rng.random() < 0.5:
            inner = middle + (outline - middle) * rng.uniform(0.2, 0.9, 2)
        else:
            inner = _band(rng, outline)
        pieces.append(_Piece(inner, _any_colour(rng), 0.0, rng.uniform(0, 0.5)))
    return pieces


def _band(rng: np.random.Generator, outline: np.ndarray) -> np.ndarray:
    """A strip [4, 2] across a convex outline, from rim to rim."""
    start, other = rng.uniform(0, 1), rng.uniform(0.35, 0.65)
    first, second = rng.uniform(0.03, 0.15, 2)
    along = (start + np.array([0.0, first, other, other + second])) % 1.0 * len(outline)
    corners = np.concatenate([outline, outline[:1]])
    ticks = np.arange(len(corners))
    return np.stack([np.interp(along, ticks, corners[:, k]) for k in (0, 1)], 1)


def _cup(rng: np.random.Generator) -> list[_Piece]:
    colour = _any_colour(rng)
    wide, high = rng.uniform(0.16, 0.28), rng.uniform(0.4, 0.6)
    body = np.array([[-wide, 0], [wide, 0], [wide * 0.8, high], [-wide * 0.8, high]])
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rim = np.stack([np.cos(turn) * wide, np.sin(turn) * 0.05], 1)
    band = np.array([[-wide * 0.93, high * 0.4], [wide * 0.93, high * 0.4]])
    return [
        _Piece(body, colour, 0.0, 0.7),
        _Piece(band, _any_colour(rng), 0.06, 0.0),
        _Piece(rim, colour * 0.7, 0.0, 0.2),
    ]


def _phone(rng: np.random.Generator) -> list[_Piece]:
    dark = rng.uniform(10, 60) + rng.normal(size=3) * 4
    wide, high = rng.uniform(0.14, 0.22), rng.uniform(0.5, 0.8)
    box = np.array([[-wide, 0], [wide, 0], [wide, high], [-wide, high]])
    screen = box * [0.9, 0.92] + [0, 0.04 * high]
    return [_Piece(box, dark, 0.0, 0.2), _Piece(screen, _any_colour(rng), 0.0, 0.1)]


def _leaf(rng: np.random.Generator) -> list[_Piece]:
    green = np.array([60, 120, 45]) * rng.uniform(0.5, 1.5) + rng.normal(size=3) * 12
    along = np.linspace(0, 1, 16)
    wide = rng.uniform(0.1, 0.2) * np.sin(np.pi * along) ** 0.8
    outline = np.concatenate(
        [np.stack([wide, along * 0.8], 1), np.stack([-wide, along * 0.8], 1)[::-1]]
    )
    vein = np.array([[0, 0.02], [0, 1.4]])
    return [_Piece(outline, green, 0.0, 0.5), _Piece(vein, green * 0.7, 0.012, 0.0)]


_SHAPES = {
    "finger": _finger,
    "hand": _hand,
    "arm": _arm,
    "microphone": _microphone,
    "headset": _headset,
    "mask": _mask,
    "scarf": _scarf,
    "hair": _hair,
    "sheet": _sheet,
    "spoon": _spoon,
    "held": _held,
    "blob": _blob,
    "slab": _slab,
    "cup": _cup,
    "phone": _phone,
    "leaf": _leaf,
}
