"""What a bare head is given: hair over the scalp, long hair, clothes.

In: the head's vertices at rest, cm. Out: parts, further geometry that moves with the head or stays
with the shoulders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import paint
from .canvas import smooth, texel, unroll
from .paint import Look

_UNDER = 0.25  # cm below the skin


@dataclass(frozen=True, kw_only=True)
class Part:
    """Geometry to add: vertices [k, 3], triangles [t, 3] of them, texels [k, 2] on a page.

    body [k]: 0 follows the head, 1 the shoulders.
    """

    verts: np.ndarray
    triangles: np.ndarray
    corners: np.ndarray
    page: int
    body: np.ndarray


def _waves(rng: np.random.Generator, verts: np.ndarray) -> np.ndarray:
    """Smooth random field [n] over vertices [n, 3], about unit variance."""
    way = rng.normal(size=(3, 5)) * 0.5
    return np.sin(verts @ way + rng.uniform(0, 6.3, 5)).sum(1) * (2 / 5) ** 0.5


def hair_shell(
    rng: np.random.Generator,
    look: Look,
    *,
    neutral: np.ndarray,
    rest: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
) -> Part:
    """The scalp's triangles, moved out by the hair's thickness; arrays of the skin's vertices."""
    unrolled = unroll(neutral)
    s, y = np.abs(unrolled[:, 0]), unrolled[:, 1]
    # Sideburns are only painted: as a shell they would stand off in splinters.
    scalp = paint.scalp_at(look, unrolled) * np.maximum(smooth(4.0, 5.5, y), smooth(18, 20, s))
    thickness = np.minimum(scalp * 2.5, 1) * look.hair_length
    # Bald corners of a triangle lie under the skin: the hairline is where shell and skin cross.
    thickness = np.where(scalp > 0, thickness * (1 + 0.25 * _waves(rng, neutral)), -_UNDER)
    shell = rest + normals * thickness[:, None]
    used, flat = np.unique(triangles[(scalp[triangles] > 0.02).any(1)], return_inverse=True)
    return Part(
        verts=shell[used],
        triangles=flat.reshape(-1, 3),
        corners=texel(unrolled[used]),
        page=paint.HAIR,
        body=np.zeros(len(used)),
    )


def long_hair(rng: np.random.Generator, look: Look, *, rest: np.ndarray) -> Part:
    """A curtain around the sides and the back of the head; rest: the skin's vertices."""
    rows, columns = 18, 44
    opening = rng.uniform(1.35, 1.75)  # radians from the face's middle, on both sides
    around = np.linspace(opening, 2 * np.pi - opening, columns)[None]
    low = rng.uniform(-20, -3)
    height = np.linspace(7, low, rows)[:, None]
    skull = rest[(rest[:, 1] > 3) & (rest[:, 1] < 7)]
    side = np.abs(skull[:, 0]).max() + 0.45 * look.hair_length
    back = 1 - skull[:, 2].min() + 0.6 * look.hair_length
    down = np.clip((7 - height) / 14, 0, 1)
    sway = rng.uniform(-0.1, 0.25)
    folds = 1 + 0.03 * np.sin(around * rng.uniform(9, 25) + rng.uniform(0, 6)) * down
    radius = (0.9 + 0.16 * np.sin(np.pi * np.minimum(down * 1.2, 1)) + sway * down**2) * folds
    verts = np.stack(
        [
            side * radius * np.sin(around) + 0 * height,
            height + 0 * around,
            0.5 + back * radius * np.cos(around) * np.where(np.cos(around) > 0, 0.35, 1),
        ],
        -1,
    )
    verts[-1, :, 1] += rng.normal(size=columns) * 0.8
    triangles = _sheet(rows, columns)
    verts = verts.reshape(-1, 3)
    return Part(
        verts=verts,
        triangles=np.concatenate([triangles, triangles[:, ::-1]]),  # seen from both sides
        corners=texel(unroll(verts)),
        page=paint.HAIR,
        body=np.clip((-6 - verts[:, 1]) / 12, 0, 0.8),
    )


def _sheet(rows: int, columns: int) -> np.ndarray:
    grid = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    return np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3)


def clothes(
    rng: np.random.Generator,
    *,
    neutral: np.ndarray,
    rest: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
    hem: np.ndarray,
) -> Part:
    """Cloth over the bust from a collar down, and the torso under it.

    hem [k, 2]: the directed edges where the rig's bust ends; the torso grows out of them.
    """
    collar = rng.uniform(-15.5, -9.5)
    slope = rng.uniform(0, 0.5)  # a V, or straight across
    cloth = neutral[:, 1] < collar + slope * np.abs(neutral[:, 0]) - 0.35 * neutral[:, 2]
    loose = np.clip((collar + 2 - neutral[:, 1]) / 3, 0.15, 1) * rng.uniform(0.3, 0.9)
    bust = rest + normals * np.where(cloth, loose, -_UNDER)[:, None]
    used = triangles[cloth[triangles].any(1)]
    rim, edges = np.unique(hem, return_inverse=True)
    edges = edges.reshape(-1, 2)
    start = bust[rim]
    middle = np.array([0, 0, -1.5])
    rings, parts, wide = [start], [], rng.uniform(5, 9)
    first = len(bust)
    for ring in range(1, 11):
        # Outwards over the shoulders, then down past the picture's edge.
        out = np.tanh(ring * 0.45)
        flat = (start - middle) * [1, 0, 1]
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        level = start[:, 1] + (-19.0 - start[:, 1]) * min(ring / 4, 1)
        verts = start + flat * [wide * out, 0, 0.35 * wide * out]
        verts[:, 1] = level - 0.3 * ring - 0.1 * ring**3
        rings.append(verts)
    for ring in range(10):
        upper = edges + first + ring * len(rim)
        lower = upper + len(rim)
        i, j, k, m = upper[:, 0], upper[:, 1], lower[:, 0], lower[:, 1]
        parts += [np.stack([j, i, k], 1), np.stack([j, k, m], 1)]
    verts = np.concatenate([bust, *rings])
    every = np.concatenate([used, *parts])
    kept, flat_index = np.unique(every, return_inverse=True)
    verts = verts[kept]
    return Part(
        verts=verts,
        triangles=flat_index.reshape(-1, 3),
        corners=paint.cloth_texel(verts),
        page=paint.CLOTH,
        body=np.ones(len(verts)),
    )
