"""Heads to render: the rig (HeadKit) and random people on it (Head).

In: facekit.npz (ICT-FaceKit: 100 identity shapes, 57 expressions, teeth, tongue, eyes) and a random
generator. Out: vertices at rest in centimetres (x right, y up, z out of the face), how they take
the light, and the painted pages of paint.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from . import outfit, paint
from .canvas import WIDTH, lip_depth, texel, unroll
from .raster import deform, nearest, vertex_normals

LABELS = ("background", "skin", "lips", "mouth", "teeth", "eyes", "hair", "clothes")
BACKGROUND, SKIN, LIPS, MOUTH, TEETH, EYES, HAIR, CLOTHES = range(len(LABELS))
_LIPS_MEET_CM = 0.03  # the inner lips' points lie this far apart where the lips just touch
_OFF_CM = 0.3  # one sample of a shadow map
_SURFACE = ("face", "head_neck", "mouth_socket", "eye_socket_left", "eye_socket_right")
_INSIDE = ("gums_tongue", "teeth", "iris_left", "iris_right")


def facekit_path() -> Path:
    """$OMNISYNC_DATA/facekit.npz; ValueError when the variable is unset."""
    folder = os.environ.get("OMNISYNC_DATA")
    if not folder:
        raise ValueError(
            "expected the folder of facekit.npz in the environment variable OMNISYNC_DATA; "
            "set it, or pass the path to HeadKit.load"
        )
    return Path(folder) / "facekit.npz"


@dataclass(frozen=True, kw_only=True)
class HeadKit:
    """The rig, read once. n vertices, m triangles, e expressions."""

    neutral: np.ndarray
    """[n, 3] centimetres."""
    triangles: np.ndarray
    """[m, 3]."""
    labels: np.ndarray
    """[m] index into LABELS."""
    regions: dict[str, slice]
    """Vertex ranges by name."""
    identity: np.ndarray
    """[100, n * 3], for coefficients of unit variance."""
    expression_names: tuple[str, ...]
    starts: np.ndarray
    index: np.ndarray
    delta: np.ndarray
    """The expressions, sparse (see raster.deform)."""
    landmarks: np.ndarray
    """[68] vertices of the usual points."""
    landmark_delta: np.ndarray
    """[e, 68, 3] their expressions."""
    hem: np.ndarray
    """[k, 2] directed edges where the bust ends."""
    openness: np.ndarray
    """[2, n] share of the ambient light that arrives, lips closed and jaw wide open."""

    @staticmethod
    def load(path: Path | str | None = None) -> HeadKit:
        """The rig from facekit.npz (default: facekit_path()); read once per process and path."""
        return _load(Path(path) if path is not None else facekit_path())

    @property
    def skin(self) -> slice:
        """The vertices of the outer skin."""
        return slice(0, self.regions["head_neck"].stop)

    def weights(self, **named: float) -> np.ndarray:
        """Expression weights [57]; a name without _L or _R sets both sides."""
        out = np.zeros(len(self.expression_names), np.float32)
        for name, value in named.items():
            both = (name, name + "_L", name + "_R")
            sides = [i for i, n in enumerate(self.expression_names) if n in both]
            if not sides:
                raise ValueError(f"expected one of {self.expression_names}, got {name}")
            out[sides] = value
        return out

    def shape(self, rest: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Vertices at rest [>= n, 3] under expression weights [57]."""
        return deform(rest, weights.astype(np.float32), self.starts, self.index, self.delta)

    def open_mouth(self) -> np.ndarray:
        """The wide-open expression of openness[1]; its inner lips are 2.2 cm apart."""
        return self.weights(jawOpen=0.6, mouthLowerDown=0.4, mouthUpperUp=0.4)


@lru_cache(maxsize=2)
def _load(path: Path) -> HeadKit:
    data = np.load(path)
    spans = {
        str(name): range(start, stop)
        for name, start, stop in zip(
            data["region_names"], data["region_start"], data["region_stop"], strict=True
        )
    }
    # The sclera mesh hides the iris, lashes and tear films flicker below a pixel: left out.
    kept = np.concatenate([spans[name] for name in (*_SURFACE, *_INSIDE)])
    place = np.full(len(data["neutral"]), -1)
    place[kept] = np.arange(len(kept))
    regions = {n: slice(place[spans[n][0]], place[spans[n][-1]] + 1) for n in (*_SURFACE, *_INSIDE)}
    triangles = place[data["triangles"]]
    triangles = triangles[(triangles >= 0).all(1)].astype(np.int32)
    expression = data["expression"][:, kept].astype(np.float32)
    moved = np.abs(expression).max(-1) > 1e-3  # below a hundredth of a millimetre: not seen
    neutral, landmarks = data["neutral"][kept], place[data["landmarks68"]]
    kit = HeadKit(
        neutral=neutral,
        triangles=triangles,
        labels=_triangle_labels(triangles, regions, neutral, neutral[landmarks]),
        regions=regions,
        identity=data["identity"][:, kept].astype(np.float32).reshape(-1, neutral.size),
        expression_names=tuple(str(name) for name in data["expression_names"]),
        starts=np.concatenate([[0], moved.sum(1).cumsum()]).astype(np.int64),
        index=np.nonzero(moved)[1].astype(np.int32),
        delta=expression[moved],
        landmarks=landmarks,
        landmark_delta=expression[:, landmarks],
        hem=_hem(triangles, neutral),
        openness=np.ones((2, len(kept)), np.float32),
    )
    for row, weights in enumerate((kit.weights(), kit.open_mouth())):
        kit.openness[row] = _ambient_share(kit.shape(neutral, weights), triangles)
    # Rays are too coarse for single teeth: they darken with their depth behind the lips instead.
    deep = np.maximum(10.6 - neutral[regions["teeth"], 2], 0)
    kit.openness[:, regions["teeth"]] = np.array([[0.2], [0.95]]) * np.exp(-deep / 2.6)
    return kit


def _hem(triangles: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    low = edges[(neutral[edges, 1] < -12).all(1)].astype(np.int64)
    code, back = low[:, 0] << 32 | low[:, 1], low[:, 1] << 32 | low[:, 0]
    return low[~np.isin(code, back)]


def _triangle_labels(
    triangles: np.ndarray, regions: dict[str, slice], neutral: np.ndarray, points: np.ndarray
) -> np.ndarray:
    of_vertex = np.full(len(neutral), SKIN, np.uint8)
    of_vertex[regions["mouth_socket"]] = of_vertex[regions["gums_tongue"]] = MOUTH
    of_vertex[regions["teeth"]] = TEETH
    for name in ("iris_left", "iris_right", "eye_socket_left", "eye_socket_right"):
        of_vertex[regions[name]] = EYES
    inside = lip_depth(unroll(points))
    u, v = texel(unroll(neutral)).astype(int).T
    front = neutral[:, 2] > 8
    of_vertex[(of_vertex == SKIN) & front & (inside[v.clip(0), u.clip(0)] > 0)] = LIPS
    return of_vertex[triangles].max(1)


def _ambient_share(verts: np.ndarray, triangles: np.ndarray, *, rays: int = 64) -> np.ndarray:
    """Share [n] of the sky that each vertex sees, from depth maps along a Fibonacci sphere."""
    normals = vertex_normals(verts, triangles)
    seen, total = np.full(len(verts), 1e-3), np.full(len(verts), 1e-3)
    for k in range(rays):
        z = 1 - 2 * (k + 0.5) / rays
        angle, flat = k * np.pi * (3 - 5**0.5), (1 - z * z) ** 0.5
        way = np.array([np.cos(angle) * flat, np.sin(angle) * flat, z])
        cosine = np.maximum(normals @ way, 0)
        seen += lit_from(way, verts, normals, triangles) * cosine
        total += cosine
    return (seen / total).astype(np.float32)


def lit_from(
    way: np.ndarray, verts: np.ndarray, normals: np.ndarray, triangles: np.ndarray
) -> np.ndarray:
    """How much light from the unit direction `way` reaches each vertex, [n] in [0, 1].

    The test is made a little off the surface, which would else shade itself.
    """
    size, span = 160, 44.0  # samples, cm: the head with its shoulders, 3 mm a sample
    side = np.cross([0.0, 1.0, 0.1], way)
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(way, side), way]).astype(np.float32)
    middle, whole = np.array([0, -2, 0], np.float32), np.zeros(4, np.float32)

    def on_screen(points: np.ndarray) -> np.ndarray:
        local = ((points - middle) @ frame.T).astype(np.float32)
        local[:, 0] = (local[:, 0] / span + 0.5) * size
        local[:, 1] = (0.5 - local[:, 1] / span) * size
        return local

    _, _, near = nearest(on_screen(verts), triangles, size, size, len(triangles), whole)
    screen = on_screen(verts + normals * np.float32(_OFF_CM))
    total = np.zeros(len(verts), np.float32)
    for dy in (-1, 0):
        for dx in (-1, 0):
            x = np.clip(screen[:, 0] + (dx + 0.5), 0, size - 1).astype(np.int32)
            y = np.clip(screen[:, 1] + (dy + 0.5), 0, size - 1).astype(np.int32)
            total += near[y, x] < screen[:, 2] + np.float32(0.1)
    return total / 4


class Head:
    """A random person: geometry at rest, how it takes the light, painted pages."""

    def __init__(self, kit: HeadKit, rng: np.random.Generator) -> None:
        self.kit = kit
        # The first shapes carry size and sex; at full spread all hundred together look swollen.
        spread = np.where(np.arange(len(kit.identity)) < 30, 0.9, 0.6)
        coefficients = (rng.normal(size=len(spread)) * spread).astype(np.float32)
        body = kit.neutral + (coefficients @ kit.identity).reshape(-1, 3)
        body += _closing(kit, body)
        self.look = look = paint.Look.draw(rng)
        normals = vertex_normals(body, kit.triangles)
        beard = paint.beard_at(look, unroll(kit.neutral[kit.skin])) * look.beard_length
        body[kit.skin] += normals[kit.skin] * beard[:, None]
        self.rest = body
        self.body = np.clip((-7 - kit.neutral[:, 1]) / 9, 0, 1).astype(np.float32)
        self.triangles, self.labels, self.openness = kit.triangles, kit.labels, kit.openness
        self.tint, self.hardness = _surfaces(rng, kit, look)
        self._unfold()
        self.pages = paint.paint_pages(rng, look, unroll(kit.neutral[kit.landmarks]))
        self._other_pages: dict[tuple[int, bool], np.ndarray] = {(0, False): self.pages}
        self._dress(rng, normals[kit.skin])

    def _unfold(self) -> None:
        """Which page and which texel every corner of a triangle takes its colour from."""
        kit = self.kit
        corners = texel(unroll(kit.neutral))
        page_of = np.full(len(kit.neutral), paint.PLAIN)
        page_of[kit.skin] = paint.SKIN
        for name in ("iris_left", "iris_right"):
            where = kit.regions[name]
            eye = kit.neutral[where]
            corners[where] = paint.eye_texel(eye - (eye.max(0) + eye.min(0)) / 2)
            page_of[where] = paint.EYE
        # The lips' rim belongs to the skin and to the mouth: all three corners must be skin.
        self.page = page_of[kit.triangles].max(1).astype(np.int32)
        self.corners = _per_triangle(corners, kit.triangles)

    def _dress(self, rng: np.random.Generator, normals: np.ndarray) -> None:
        kit, skin = self.kit, self.kit.skin
        surface = {
            "neutral": kit.neutral[skin],
            "rest": self.rest[skin],
            "normals": normals,
            "triangles": kit.triangles[(kit.triangles < skin.stop).all(1)],
        }
        if self.look.hair_length:
            self._append(outfit.hair_shell(rng, self.look, **surface), HAIR)
        if self.look.long_hair:
            self._append(outfit.long_hair(rng, self.look, rest=self.rest[skin]), HAIR)
        self._append(outfit.clothes(rng, hem=kit.hem, **surface), CLOTHES)

    def _append(self, part: outfit.Part, label: int) -> None:
        first, count = len(self.rest), len(part.verts)
        self.rest = np.concatenate([self.rest, part.verts]).astype(np.float32)
        self.body = np.concatenate([self.body, part.body]).astype(np.float32)
        self.tint = np.concatenate([self.tint, np.ones((count, 4), np.float32)])
        self.hardness = np.concatenate([self.hardness, np.full(count, 12, np.float32)])
        self.openness = np.concatenate([self.openness, np.ones((2, count), np.float32)], 1)
        self.triangles = np.concatenate([self.triangles, part.triangles + first]).astype(np.int32)
        size = len(part.triangles)
        self.labels = np.concatenate([self.labels, np.full(size, label, np.uint8)])
        self.page = np.concatenate([self.page, np.full(size, part.page, np.int32)])
        corners = _per_triangle(part.corners, part.triangles)
        self.corners = np.concatenate([self.corners, corners])

    def pages_for(self, scale: float, *, flat: bool = False) -> np.ndarray:
        """The pages for pictures of `scale` pixels per cm: halved until a texel is about a sample.

        flat: without pores and other fine detail, as a draughtsman would leave them out.
        """
        level = int(np.clip(np.log2(10.0 / scale), 0, 3))
        if (level, flat) not in self._other_pages:
            size = WIDTH >> level, self.pages.shape[1] >> level
            pages = [cv2.resize(page, size, interpolation=cv2.INTER_AREA) for page in self.pages]
            if flat:
                pages[paint.SKIN] = cv2.medianBlur(pages[paint.SKIN], 5)
                pages[paint.HAIR] = cv2.blur(pages[paint.HAIR], (25, 25))
            self._other_pages[level, flat] = np.stack(pages)
        return self._other_pages[level, flat]


def _closing(kit: HeadKit, rest: np.ndarray) -> np.ndarray:
    """Motion [n, 3] that lets the lips of a face at rest just meet; many identities part them."""
    upper, lower = kit.landmarks[[61, 62, 63]], kit.landmarks[[67, 66, 65]]
    motion = kit.shape(np.zeros_like(rest), kit.weights(mouthClose=1.0))
    gap = (rest[upper] - rest[lower])[:, 1].max()
    travel = (motion[lower] - motion[upper])[:, 1].mean()
    return motion * np.float32((gap - _LIPS_MEET_CM) / travel)


def _surfaces(
    rng: np.random.Generator, kit: HeadKit, look: paint.Look
) -> tuple[np.ndarray, np.ndarray]:
    """Tint and gloss factor [n, 4], exponent of the highlights [n]."""
    tint = np.ones((len(kit.neutral), 4), np.float32)
    hardness = np.full(len(kit.neutral), rng.uniform(8, 30), np.float32)
    depth = np.maximum(10.6 - kit.neutral[kit.regions["teeth"], 2], 0)[:, None]
    warm = np.exp(-depth * [0.0, 0.10, 0.14])  # light that reaches back teeth came off the gums
    gums = np.tile(look.gums, (len(kit.neutral[kit.regions["gums_tongue"]]), 1))
    for name, colour, gloss, hard in (
        ("mouth_socket", look.mouth, 0.15, 30),
        ("gums_tongue", gums, 0.25, 40),
        ("teeth", look.teeth * warm, 0.35, 60),
        ("eye_socket_left", (0.25, 0.1, 0.08), 0.1, 20),
        ("eye_socket_right", (0.25, 0.1, 0.08), 0.1, 20),
    ):
        tint[kit.regions[name], :3], tint[kit.regions[name], 3] = colour, gloss
        hardness[kit.regions[name]] = hard
    for name in ("iris_left", "iris_right"):
        hardness[kit.regions[name]] = 400
    return tint, hardness


def _per_triangle(corners: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Texel coordinates [m, 3, 2]; triangles across the seam at the back stay on one side."""
    out = corners[triangles].astype(np.float32)
    torn = np.ptp(out[..., 0], axis=1) > WIDTH / 2
    out[..., 0][torn[:, None] & (out[..., 0] < WIDTH / 2)] = WIDTH
    return out
