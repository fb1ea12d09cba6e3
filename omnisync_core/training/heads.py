"""Heads to render: the rig (HeadKit) and random people on it (Head).

In: facekit.npz (ICT-FaceKit: 100 identity shapes, 57 expressions, teeth, tongue, eyes) and a random
generator. Out: vertices at rest in centimetres (x right, y up, z out of the face), their tints, and
the painted pages of paint.py. Hair, torso and beard are added here: the rig has none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from . import paint
from .raster import deform, nearest, vertex_normals

LABELS = ("background", "skin", "lips", "mouth", "teeth", "eyes", "hair", "clothes")
BACKGROUND, SKIN, LIPS, MOUTH, TEETH, EYES, HAIR, CLOTHES = range(len(LABELS))
_MOUTH_UPPER, _MOUTH_LOWER = 62, 66  # of the 68 landmarks: middles of the inner lips
_REGIONS = ("face", "head_neck", "mouth_socket", "eye_socket_left", "eye_socket_right")
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
    """[100, n, 3], for coefficients of unit variance."""
    expression_names: tuple[str, ...]
    starts: np.ndarray
    index: np.ndarray
    delta: np.ndarray
    """The expressions, sparse (see raster.deform)."""
    landmarks: np.ndarray
    """[68] vertices of the usual points."""
    openness: np.ndarray
    """[2, n] share of the ambient light that arrives, lips closed and jaw wide open."""

    @staticmethod
    def load(path: Path | str | None = None) -> HeadKit:
        """The rig from facekit.npz (default: facekit_path()); read once per process and path."""
        return _load(Path(path) if path is not None else facekit_path())

    def weights(self, **named: float) -> np.ndarray:
        """Expression weights [57]; a name without _L or _R sets both sides."""
        out = np.zeros(len(self.expression_names), np.float32)
        for name, value in named.items():
            sides = [
                i
                for i, n in enumerate(self.expression_names)
                if n in (name, name + "_L", name + "_R")
            ]
            if not sides:
                raise ValueError(f"expected one of {self.expression_names}, got {name}")
            out[sides] = value
        return out


@lru_cache(maxsize=2)
def _load(path: Path) -> HeadKit:
    data = np.load(path)
    names = [str(name) for name in data["region_names"]]
    spans = dict(
        zip(names, zip(data["region_start"], data["region_stop"], strict=True), strict=True)
    )
    # The sclera mesh hides the iris, lashes and tear films flicker below a pixel: left out.
    kept = np.concatenate([np.arange(*spans[name]) for name in (*_REGIONS, *_INSIDE)])
    place = np.full(len(data["neutral"]), -1)
    place[kept] = np.arange(len(kept))
    regions, first = {}, 0
    for name in (*_REGIONS, *_INSIDE):
        count = int(spans[name][1] - spans[name][0])
        regions[name] = slice(first, first + count)
        first += count
    triangles = place[data["triangles"]]
    triangles = triangles[(triangles >= 0).all(1)].astype(np.int32)
    expression = data["expression"][:, kept].astype(np.float32)
    moved = np.abs(expression).max(-1) > 1e-3  # below a hundredth of a millimetre: not seen
    starts = np.concatenate([[0], moved.sum(1).cumsum()]).astype(np.int64)
    neutral = data["neutral"][kept]
    landmarks = place[data["landmarks68"]]
    kit = HeadKit(
        neutral=neutral,
        triangles=triangles,
        labels=_triangle_labels(triangles, regions, neutral, neutral[landmarks]),
        regions=regions,
        identity=data["identity"][:, kept].astype(np.float32),
        expression_names=tuple(str(name) for name in data["expression_names"]),
        starts=starts,
        index=np.nonzero(moved)[1].astype(np.int32),
        delta=expression[moved],
        landmarks=landmarks,
        openness=np.ones((2, len(kept)), np.float32),
    )
    wide = kit.weights(jawOpen=0.6, mouthLowerDown=0.4, mouthUpperUp=0.4)
    posed = deform(neutral, wide, kit.starts, kit.index, kit.delta)
    for row, verts in enumerate((neutral, posed)):
        kit.openness[row] = _ambient_share(verts, triangles)
    return kit


def _triangle_labels(
    triangles: np.ndarray, regions: dict[str, slice], neutral: np.ndarray, points: np.ndarray
) -> np.ndarray:
    of_vertex = np.full(len(neutral), SKIN, np.uint8)
    of_vertex[regions["mouth_socket"]] = of_vertex[regions["gums_tongue"]] = MOUTH
    of_vertex[regions["teeth"]] = TEETH
    for name in ("iris_left", "iris_right", "eye_socket_left", "eye_socket_right"):
        of_vertex[regions[name]] = EYES
    inside = paint.lip_depth(paint.unroll(points))
    u, v = paint.texel(paint.unroll(neutral)).astype(int).T
    front = neutral[:, 2] > 8
    of_vertex[(of_vertex == SKIN) & front & (inside[v.clip(0), u.clip(0)] > 0)] = LIPS
    return of_vertex[triangles].max(1)


def _ambient_share(verts: np.ndarray, triangles: np.ndarray, *, rays: int = 96) -> np.ndarray:
    """Share [n] of the sky that each vertex sees, from depth maps along a Fibonacci sphere."""
    size, span = 224, 44.0
    normals = vertex_normals(verts, triangles)
    seen, total = np.full(len(verts), 1e-3), np.full(len(verts), 1e-3)
    for k in range(rays):
        z = 1 - 2 * (k + 0.5) / rays
        angle = k * np.pi * (3 - 5**0.5)
        way = np.array([np.cos(angle) * (1 - z * z) ** 0.5, np.sin(angle) * (1 - z * z) ** 0.5, z])
        visible = visible_from(way, verts, triangles, size=size, span=span)
        cosine = np.maximum(normals @ way, 0)
        seen += visible * cosine
        total += cosine
    return (seen / total).astype(np.float32)


def visible_from(
    way: np.ndarray, verts: np.ndarray, triangles: np.ndarray, *, size: int, span: float
) -> np.ndarray:
    """Whether light along the unit direction `way` reaches each vertex, [n] in [0, 1]."""
    side = np.cross([0.0, 1.0, 0.1], way)
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(way, side), way]).astype(np.float32)
    local = (verts - np.float32([0, -2, 0])) @ frame.T
    screen = local.copy()
    screen[:, 0] = (local[:, 0] / span + 0.5) * size
    screen[:, 1] = (0.5 - local[:, 1] / span) * size
    _, _, near = nearest(screen, triangles, size, size)
    column, row = screen[:, 0] - 0.5, screen[:, 1] - 0.5
    total = np.zeros(len(verts), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            x = np.clip(column + dx, 0, size - 1).astype(np.int32)
            y = np.clip(row + dy, 0, size - 1).astype(np.int32)
            total += near[y, x] < local[:, 2] + 0.3
    return total / 4


class Head:
    """A random person: geometry at rest, tints and painted pages."""

    def __init__(self, kit: HeadKit, rng: np.random.Generator) -> None:
        self.kit = kit
        # The first shapes carry size and sex; at full spread all hundred together look swollen.
        spread = np.where(np.arange(len(kit.identity)) < 30, 0.9, 0.6)
        coefficients = (rng.normal(size=len(spread)) * spread).astype(np.float32)
        n = len(kit.neutral)
        body = kit.neutral + np.tensordot(coefficients, kit.identity, 1)
        self.look = paint.Look.draw(rng)
        unrolled = paint.unroll(kit.neutral)
        normals = vertex_normals(body, kit.triangles)
        beard = paint.beard_at(self.look, unrolled) * (np.arange(n) < kit.regions["head_neck"].stop)
        body += normals * (beard * self.look.beard_length)[:, None]
        self.pages = paint.paint_pages(rng, self.look, paint.unroll(kit.neutral[kit.landmarks]))
        tint = np.ones((n, 4), np.float32)
        tint[kit.regions["mouth_socket"]] = (*self.look.mouth, 0.6)
        tint[kit.regions["gums_tongue"]] = (*self.look.gums, 0.9)
        tint[kit.regions["teeth"]] = (*self.look.teeth, 0.9)
        for side in ("left", "right"):
            tint[kit.regions["eye_socket_" + side]] = (0.25, 0.1, 0.08, 0.3)
        corners = paint.texel(unrolled)
        plain = np.zeros(n, bool)
        for name in ("mouth_socket", "gums_tongue", "teeth", "eye_socket_left", "eye_socket_right"):
            plain[kit.regions[name]] = True
        page = np.where(plain[kit.triangles].any(1), paint.PLAIN, paint.SKIN)
        for side in ("left", "right"):
            where = kit.regions["iris_" + side]
            eye = kit.neutral[where]
            middle = (eye.max(0) + eye.min(0)) / 2
            corners[where] = paint.eye_texel(eye - middle)
            page[(kit.triangles >= where.start).all(1) & (kit.triangles < where.stop).all(1)] = (
                paint.EYE
            )
        self.body = np.clip((-7 - kit.neutral[:, 1]) / 9, 0, 1).astype(np.float32)
        self.rest = body.astype(np.float32)
        self.tint = tint
        self.triangles = kit.triangles
        self.labels = kit.labels
        self.page = page.astype(np.int32)
        self.corners = _per_triangle(corners, kit.triangles)
        self.openness = kit.openness
        self._add_hair(rng, normals)
        self._add_torso(rng)

    def _add_hair(self, rng: np.random.Generator, normals: np.ndarray) -> None:
        """A shell over the scalp, as thick as the hair."""
        if not self.look.hair_length:
            return
        kit, n = self.kit, len(self.kit.neutral)
        outside = np.arange(n) < kit.regions["head_neck"].stop
        unrolled = paint.unroll(kit.neutral)
        scalp = paint.scalp_at(self.look, unrolled) * outside
        used = kit.triangles[(scalp[kit.triangles] > 0.02).all(1)]
        lumps = 1 + 0.3 * paint.waves(rng, kit.neutral)
        thickness = np.minimum(scalp * 3, 1) * self.look.hair_length * lumps - 0.08
        shell = self.rest[:n] + normals * thickness[:, None]
        self._append(
            shell,
            used,
            label=HAIR,
            page=paint.HAIR,
            corners=paint.texel(unrolled),
            body=self.body[:n] * 0.3,
        )

    def _add_torso(self, rng: np.random.Generator) -> None:
        """Shoulders and chest under the neck, in rings."""
        rings, spokes = 14, 40
        height = np.linspace(-13.5, -46, rings)[:, None]
        turn = np.linspace(-np.pi, np.pi, spokes)[None]
        down = np.clip((-13.5 - height) / 9, 0, None)
        width = 6.3 + rng.uniform(12, 15) * np.tanh(down * 0.9) ** 1.5 + 0.1 * down
        depth = 6.0 + rng.uniform(3.5, 6) * np.tanh(down * 0.8)
        verts = np.stack(
            [width * np.sin(turn), height + 0 * turn, depth * np.cos(turn) - 2.5 + 0 * down], -1
        )
        grid = np.arange(rings * spokes).reshape(rings, spokes)
        a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
        triangles = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3)
        verts = verts.reshape(-1, 3).astype(np.float32)
        self._append(
            verts,
            triangles,
            label=CLOTHES,
            page=paint.CLOTH,
            corners=paint.cloth_texel(verts),
            body=np.ones(len(verts)),
        )

    def _append(
        self,
        verts: np.ndarray,
        triangles: np.ndarray,
        *,
        label: int,
        page: int,
        corners: np.ndarray,
        body: np.ndarray,
    ) -> None:
        used, flat = np.unique(triangles, return_inverse=True)
        local = flat.reshape(-1, 3)
        first = len(self.rest)
        self.rest = np.concatenate([self.rest, verts[used]]).astype(np.float32)
        self.body = np.concatenate([self.body, body[used]]).astype(np.float32)
        self.tint = np.concatenate([self.tint, np.ones((len(used), 4), np.float32)])
        self.openness = np.concatenate([self.openness, np.ones((2, len(used)), np.float32)], 1)
        self.triangles = np.concatenate([self.triangles, local + first]).astype(np.int32)
        self.labels = np.concatenate([self.labels, np.full(len(local), label, np.uint8)])
        self.page = np.concatenate([self.page, np.full(len(local), page, np.int32)])
        self.corners = np.concatenate([self.corners, _per_triangle(corners[used], local)])


def _per_triangle(corners: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Texel coordinates [m, 3, 2]; triangles across the seam at the back stay on one side."""
    out = corners[triangles].astype(np.float32)
    torn = np.ptp(out[..., 0], axis=1) > paint.WIDTH / 2
    left = torn[:, None] & (out[..., 0] < paint.WIDTH / 2)
    out[..., 0][left] = paint.WIDTH
    return out
