"""Triangles to pixels on the CPU: the renderer's inner loops, compiled by numba.

In: vertices [n, 3] (x right, y up, z towards the camera, centimetres), triangles [m, 3]; a screen
has x right, y down, in samples. Out: nearest triangle per sample, then linear-light colour
[h, w, 3] averaged over 2 x 2 samples. All arrays are float32 or int32: mixing in wider types
halves the speed.
"""

from __future__ import annotations

import numba
import numpy as np

SAMPLES = 2
"""Samples per pixel and axis; 2 keeps teeth and lip edges clean at 96 pixels."""


@numba.njit(fastmath=True, cache=True)
def deform(
    rest: np.ndarray, weights: np.ndarray, starts: np.ndarray, index: np.ndarray, delta: np.ndarray
) -> np.ndarray:
    """Rest [n, 3] plus weighted sparse blendshapes; shape e owns rows starts[e]:starts[e + 1]."""
    out = rest.copy()
    for e in range(len(weights)):
        w = weights[e]
        if w == 0:
            continue
        for k in range(starts[e], starts[e + 1]):
            i = index[k]
            out[i, 0] += w * delta[k, 0]
            out[i, 1] += w * delta[k, 1]
            out[i, 2] += w * delta[k, 2]
    return out


@numba.njit(fastmath=True, cache=True)
def turn(
    verts: np.ndarray, held: np.ndarray, free: np.ndarray, fixed: np.ndarray, pivot: np.ndarray
) -> np.ndarray:
    """Vertices [n, 3] under a blend of two rigid motions [3, 4] about the pivot: a share held [n]
    follows `fixed` (the shoulders), the rest `free` (the head)."""
    out = np.empty_like(verts)
    motion = np.empty((3, 4), np.float32)
    for i in range(len(verts)):
        x, y, z = verts[i, 0] - pivot[0], verts[i, 1] - pivot[1], verts[i, 2] - pivot[2]
        h = held[i]
        if h == 0:
            for r in range(3):
                out[i, r] = free[r, 0] * x + free[r, 1] * y + free[r, 2] * z + free[r, 3] + pivot[r]
            continue
        for r in range(3):
            for c in range(4):
                motion[r, c] = free[r, c] + (fixed[r, c] - free[r, c]) * h
            out[i, r] = (
                motion[r, 0] * x + motion[r, 1] * y + motion[r, 2] * z + motion[r, 3] + pivot[r]
            )
    return out


@numba.njit(fastmath=True, cache=True)
def project(
    verts: np.ndarray, distance: float, left: float, top: float, scale: float
) -> np.ndarray:
    """Perspective from `distance` cm: [n, 3] -> samples (x, y), and z as the nearness."""
    out = np.empty_like(verts)
    away, x0, y0 = np.float32(distance), np.float32(left), np.float32(top)
    size = np.float32(scale)
    for i in range(len(verts)):
        grow = away / (away - verts[i, 2])
        out[i, 0] = (verts[i, 0] * grow - x0) * size
        out[i, 1] = (-verts[i, 1] * grow - y0) * size
        out[i, 2] = verts[i, 2]
    return out


@numba.njit(fastmath=True, cache=True)
def vertex_normals(verts: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [n, 3], weighted by triangle area; zero for unused vertices."""
    out = np.zeros_like(verts)
    for m in range(len(triangles)):
        i, j, k = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        ux, uy, uz = verts[j, 0] - verts[i, 0], verts[j, 1] - verts[i, 1], verts[j, 2] - verts[i, 2]
        vx, vy, vz = verts[k, 0] - verts[i, 0], verts[k, 1] - verts[i, 1], verts[k, 2] - verts[i, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for c in (i, j, k):
            out[c, 0] += nx
            out[c, 1] += ny
            out[c, 2] += nz
    for i in range(len(out)):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + np.float32(1e-9)
        out[i, 0] /= length
        out[i, 1] /= length
        out[i, 2] /= length
    return out


@numba.njit(fastmath=True, inline="always")
def _fill(
    m: int,
    corners: tuple[float, float, float, float, float, float, float, float, float],
    box: tuple[float, float, float, float],
    which: np.ndarray,
    bary: np.ndarray,
    near: np.ndarray,
) -> None:
    """Depth-test triangle m on the samples of its box (left, top, right, bottom, cut to fit)."""
    x0, y0, z0, x1, y1, z1, x2, y2, z2 = corners
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    left, right = np.int32(np.ceil(box[0] - half)), np.int32(np.floor(box[2] - half))
    top, bottom = np.int32(np.ceil(box[1] - half)), np.int32(np.floor(box[3] - half))
    inverse = one / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
    bx, by = (y2 - y0) * inverse, (x0 - x2) * inverse
    cx, cy = (y0 - y1) * inverse, (x1 - x0) * inverse
    px = np.float32(left) + half - x0
    for y in range(top, bottom + 1):
        py = np.float32(y) + half - y0
        b = px * bx + py * by
        c = px * cx + py * cy
        for x in range(left, right + 1):
            a = one - b - c
            if a >= zero and b >= zero and c >= zero:
                z = a * z0 + b * z1 + c * z2
                if z > near[y, x]:
                    near[y, x] = z
                    which[y, x] = m
                    bary[y, x, 0] = a
                    bary[y, x, 1] = b
            b += bx
            c += cx


@numba.njit(fastmath=True, cache=True)
def nearest(
    screen: np.ndarray,
    triangles: np.ndarray,
    width: int,
    height: int,
    outside: int,
    opening: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth-test front-facing triangles; screen is [n, 3] (x, y, nearness).

    The triangles from `outside` on (the mouth's inside) can only be seen in the rectangle
    `opening` [4]: left, top, right, bottom.

    Returns the triangle per sample int32 [h, w] (-1: none), its two first barycentric weights
    f32 [h, w, 2], and the nearness f32 [h, w].
    """
    which = np.full((height, width), -1, np.int32)
    bary = np.empty((height, width, 2), np.float32)
    near = np.full((height, width), np.float32(-1e9))
    zero, wide, high = np.float32(0), np.float32(width), np.float32(height)
    for m in range(len(triangles)):
        i, j, k = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        y0, y1, y2 = screen[i, 1], screen[j, 1], screen[k, 1]
        top, bottom = min(y0, y1, y2), max(y0, y1, y2)
        if bottom <= zero or top >= high:
            continue
        x0, x1, x2 = screen[i, 0], screen[j, 0], screen[k, 0]
        if (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) >= zero:
            continue  # y points down: counter-clockwise outside has a negative area here
        left, right = min(x0, x1, x2), max(x0, x1, x2)
        if right <= zero or left >= wide:
            continue
        if m >= outside and (
            right < opening[0] or bottom < opening[1] or left > opening[2] or top > opening[3]
        ):
            continue
        corners = (x0, y0, screen[i, 2], x1, y1, screen[j, 2], x2, y2, screen[k, 2])
        box = (max(left, zero), max(top, zero), min(right, wide), min(bottom, high))
        _fill(m, corners, box, which, bary, near)
    return which, bary, near


@numba.njit(fastmath=True, inline="always")
def _seen(which: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    """Which of the vertices belong to a visible triangle, bool [count]."""
    seen = np.zeros(count, np.bool_)
    for y in range(which.shape[0]):
        for x in range(which.shape[1]):
            if which[y, x] >= 0:
                for c in range(3):
                    seen[triangles[which[y, x], c]] = True
    return seen


@numba.njit(fastmath=True, cache=True)
def light_vertices(
    which: np.ndarray,
    triangles: np.ndarray,
    verts: np.ndarray,
    normals: np.ndarray,
    openness: np.ndarray,
    shadows: np.ndarray,
    wide: float,
    lights: np.ndarray,
    ambient: np.ndarray,
    wrap: np.ndarray,
    distance: float,
    hardness: np.ndarray,
) -> np.ndarray:
    """Diffuse and specular light per vertex [n, 6] of the triangles seen in `which` [h, w].

    openness [2, n], shadows [2, l, n]: share of the ambient and of each light that arrives with a
    closed and an open mouth; wide in [0, 1] blends them. lights [l, 6]: unit direction towards the
    light, colour. ambient [2, 3]: from above, from below. wrap [3]: how far each colour bleeds past
    the terminator. hardness [n]: exponent of the highlights. The camera is at z = distance.
    """
    out = np.empty((len(verts), 6), np.float32)
    seen = _seen(which, triangles, len(verts))
    half, zero, one = np.float32(0.5), np.float32(0), np.float32(1)
    mouth, away = np.float32(wide), np.float32(distance)
    for i in range(len(verts)):
        if not seen[i]:
            continue
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        vx, vy, vz = -verts[i, 0], -verts[i, 1], away - verts[i, 2]
        inverse = one / np.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * inverse, vy * inverse, vz * inverse
        share = openness[0, i] + (openness[1, i] - openness[0, i]) * mouth
        share = np.float32(0.05) + np.float32(0.95) * share  # no fold is quite black
        grazing = one - max(nx * vx + ny * vy + nz * vz, zero)
        mirror = share * share * (np.float32(0.05) + np.float32(0.4) * grazing**4)
        for c in range(3):
            sky = ambient[1, c] + (ambient[0, c] - ambient[1, c]) * (half + half * ny)
            out[i, c] = sky * share
            out[i, 3 + c] = sky * mirror
        for m in range(len(lights)):
            lx, ly, lz = lights[m, 0], lights[m, 1], lights[m, 2]
            lambert = nx * lx + ny * ly + nz * lz
            if lambert <= -wrap[0]:
                continue
            hx, hy, hz = lx + vx, ly + vy, lz + vz
            inverse = one / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-9))
            peak = max((nx * hx + ny * hy + nz * hz) * inverse, zero) ** hardness[i]
            peak *= min(max(lambert * np.float32(4), zero), one)
            lit = shadows[0, m, i] + (shadows[1, m, i] - shadows[0, m, i]) * mouth
            lit *= min(share * np.float32(1.5), one)
            for c in range(3):
                arriving = lights[m, 3 + c] * lit
                out[i, c] += arriving * max((lambert + wrap[c]) / (one + wrap[c]), zero)
                out[i, 3 + c] += arriving * peak
    return out


@numba.njit(fastmath=True, inline="always")
def _step(level: np.float32, steps: np.float32) -> np.float32:
    """Factor that brings a light level to the nearest of `steps` steps a unit."""
    scaled = level * steps
    return (np.floor(scaled + np.float32(0.5)) + np.float32(0.15)) / (scaled + np.float32(1e-4))


@numba.njit(fastmath=True, inline="always")
def _shade_sample(
    out: np.ndarray,
    share: np.float32,
    m: np.int32,
    a: np.float32,
    b: np.float32,
    triangles: np.ndarray,
    light: np.ndarray,
    tint: np.ndarray,
    corners: np.ndarray,
    page: np.ndarray,
    pages: np.ndarray,
    steps: np.float32,
) -> None:
    """Add the colour of one point of triangle m to out [3]."""
    zero, one = np.float32(0), np.float32(1)
    d = one - a - b
    i, j, k = triangles[m, 0], triangles[m, 1], triangles[m, 2]
    shrink = np.float32(pages.shape[2]) / np.float32(TEXELS)
    u = (a * corners[m, 0, 0] + b * corners[m, 1, 0] + d * corners[m, 2, 0]) * shrink
    v = (a * corners[m, 0, 1] + b * corners[m, 1, 1] + d * corners[m, 2, 1]) * shrink
    u = min(max(u - np.float32(0.5), zero), np.float32(pages.shape[2] - 1.01))
    v = min(max(v - np.float32(0.5), zero), np.float32(pages.shape[1] - 1.01))
    u0, v0, p = np.int32(u), np.int32(v), page[m]
    fu, fv = u - np.float32(u0), v - np.float32(v0)
    weights = ((one - fu) * (one - fv), fu * (one - fv), (one - fu) * fv, fu * fv)
    gloss, stepped = zero, one
    if steps == zero:
        for q in range(4):
            gloss += weights[q] * np.float32(pages[p, v0 + q // 2, u0 + q % 2, 3])
        gloss *= (a * tint[i, 3] + b * tint[j, 3] + d * tint[k, 3]) * np.float32(1 / 255)
    else:
        level = zero
        for c in range(3):
            level += (a * light[i, c] + b * light[j, c] + d * light[k, c]) * np.float32(1 / 3)
        stepped = _step(level, steps)
    for c in range(3):
        value = zero
        for q in range(4):
            value += weights[q] * np.float32(pages[p, v0 + q // 2, u0 + q % 2, c])
        value *= np.float32(1 / 255)
        albedo = value * value * (a * tint[i, c] + b * tint[j, c] + d * tint[k, c])
        diffuse = a * light[i, c] + b * light[j, c] + d * light[k, c]
        shine = a * light[i, 3 + c] + b * light[j, 3 + c] + d * light[k, 3 + c]
        out[c] += share * (albedo * diffuse * stepped + gloss * shine)


@numba.njit(fastmath=True, inline="always")
def _one_kind(which: np.ndarray, kinds: np.ndarray, y: int, x: int) -> bool:
    """Whether the 2 x 2 samples from (y, x) on all show the same kind of surface."""
    same = True
    for q in range(4):
        m = which[y + q // 2, x + q % 2]
        same = same and m >= 0 and kinds[m] == kinds[which[y, x]]
    return same


TEXELS = 744
"""Width of the pages in whose texels the corners are given; smaller pages are their copies."""


@numba.njit(fastmath=True, cache=True)
def shade(
    which: np.ndarray,
    bary: np.ndarray,
    triangles: np.ndarray,
    light: np.ndarray,
    tint: np.ndarray,
    corners: np.ndarray,
    page: np.ndarray,
    kinds: np.ndarray,
    pages: np.ndarray,
    ground: np.ndarray,
    steps: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Linear colour f32 [h, w, 3] and coverage f32 [h, w] at pixel resolution.

    tint [n, 4]: colour and gloss per vertex. corners [m, 3, 2]: texel coordinates, page [m], kinds
    [m]: a pixel whose samples all show one kind of surface is shaded at two of them. pages uint8
    [p, th, tw, 4] (square root of the colour, gloss). ground [h, w, 3]: what stands behind.
    steps > 0 quantises the light (cel shading).
    """
    height, width = ground.shape[0], ground.shape[1]
    out = np.zeros((height, width, 3), np.float32)
    cover = np.zeros((height, width), np.float32)
    quarter, half, stepped = np.float32(0.25), np.float32(0.5), np.float32(steps)
    for row in range(height):
        y = 2 * row
        for column in range(width):
            x = 2 * column
            m = which[y, x]
            if m >= 0 and m == which[y, x + 1] == which[y + 1, x] == which[y + 1, x + 1]:
                cover[row, column] = 1
                # Barycentrics are linear: the middle of the diagonal is the pixel's centre.
                a = (bary[y, x, 0] + bary[y + 1, x + 1, 0]) * half
                b = (bary[y, x, 1] + bary[y + 1, x + 1, 1]) * half
                _shade_sample(
                    out[row, column], np.float32(1), m, a, b, triangles, light, tint, corners,
                    page, pages, stepped,
                )  # fmt: skip
                continue
            share, stride = (half, 3) if _one_kind(which, kinds, y, x) else (quarter, 1)
            for q in range(0, 4, stride):
                yy, xx = y + q // 2, x + q % 2
                m = which[yy, xx]
                if m < 0:
                    for c in range(3):
                        out[row, column, c] += share * ground[row, column, c]
                    continue
                cover[row, column] += share
                _shade_sample(
                    out[row, column], share, m, bary[yy, xx, 0], bary[yy, xx, 1], triangles,
                    light, tint, corners, page, pages, stepped,
                )  # fmt: skip
    return out, cover
