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
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    wide, high = np.float32(width), np.float32(height)
    for m in range(len(triangles)):
        i, j, k = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        y0, y1, y2 = screen[i, 1], screen[j, 1], screen[k, 1]
        low, most = min(y0, y1, y2), max(y0, y1, y2)
        if most <= zero or low >= high:
            continue
        x0, x1, x2 = screen[i, 0], screen[j, 0], screen[k, 0]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= zero:  # y points down: counter-clockwise outside is negative here
            continue
        first, last = min(x0, x1, x2), max(x0, x1, x2)
        if last <= zero or first >= wide:
            continue
        if m >= outside and (
            last < opening[0] or most < opening[1] or first > opening[2] or low > opening[3]
        ):
            continue
        left = np.int32(max(np.ceil(first - half), zero))
        right = np.int32(min(np.floor(last - half), wide - one))
        top = np.int32(max(np.ceil(low - half), zero))
        bottom = np.int32(min(np.floor(most - half), high - one))
        if left > right or top > bottom:
            continue
        inverse = one / area
        bx, by = (y2 - y0) * inverse, (x0 - x2) * inverse
        cx, cy = (y0 - y1) * inverse, (x1 - x0) * inverse
        z0, z1, z2 = screen[i, 2], screen[j, 2], screen[k, 2]
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
    return which, bary, near


@numba.njit(fastmath=True, cache=True)
def light_vertices(
    which: np.ndarray,
    triangles: np.ndarray,
    verts: np.ndarray,
    normals: np.ndarray,
    open_to_light: np.ndarray,
    lights: np.ndarray,
    ambient: np.ndarray,
    wrap: np.ndarray,
    camera: np.ndarray,
    hardness: np.ndarray,
) -> np.ndarray:
    """Diffuse and specular light per vertex [n, 6] of the triangles seen in `which` [h, w].

    open_to_light [n, 1 + lights]: share of the ambient and of each light that arrives. lights
    [l, 6]: unit direction towards the light, colour. ambient [2, 3]: from above, from below.
    wrap [3]: how far each colour bleeds past the terminator (red light travels furthest in skin).
    hardness [n]: exponent of the highlights.
    """
    out = np.empty((len(verts), 6), np.float32)
    seen = np.zeros(len(verts), np.bool_)
    half, zero, one = np.float32(0.5), np.float32(0), np.float32(1)
    for y in range(which.shape[0]):
        for x in range(which.shape[1]):
            if which[y, x] >= 0:
                for c in range(3):
                    seen[triangles[which[y, x], c]] = True
    for i in range(len(verts)):
        if not seen[i]:
            continue
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        up = half + half * ny
        vx, vy, vz = camera[0] - verts[i, 0], camera[1] - verts[i, 1], camera[2] - verts[i, 2]
        inverse = one / np.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * inverse, vy * inverse, vz * inverse
        away = one - max(nx * vx + ny * vy + nz * vz, zero)
        share = open_to_light[i, 0]
        mirror = share * share * (np.float32(0.05) + np.float32(0.4) * away * away * away * away)
        for c in range(3):
            sky = ambient[1, c] + (ambient[0, c] - ambient[1, c]) * up
            out[i, c] = sky * share
            out[i, 3 + c] = sky * mirror
        for m in range(len(lights)):
            lx, ly, lz = lights[m, 0], lights[m, 1], lights[m, 2]
            lambert = nx * lx + ny * ly + nz * lz
            if lambert <= -wrap[0]:
                continue
            hx, hy, hz = lx + vx, ly + vy, lz + vz
            inverse = one / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-9))
            peak = zero
            if lambert > zero:
                peak = max((nx * hx + ny * hy + nz * hz) * inverse, zero) ** hardness[i]
                peak *= min(lambert * np.float32(4), one)
            for c in range(3):
                lit = max((lambert + wrap[c]) / (one + wrap[c]), zero)
                arriving = lights[m, 3 + c] * open_to_light[i, 1 + m]
                out[i, c] += arriving * lit
                out[i, 3 + c] += arriving * peak
    return out


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
    u0, v0 = np.int32(u), np.int32(v)
    fu, fv = u - np.float32(u0), v - np.float32(v0)
    p = page[m]
    w00, w01 = (one - fu) * (one - fv), fu * (one - fv)
    w10, w11 = (one - fu) * fv, fu * fv
    quantised = one
    if steps > zero:
        level = zero
        for c in range(3):
            level += a * light[i, c] + b * light[j, c] + d * light[k, c]
        level = level / np.float32(3) * steps
        quantised = np.floor(level + np.float32(0.5)) + np.float32(0.15)
        quantised = quantised / (level + np.float32(1e-4))
    gloss = zero
    if steps == zero:
        for q, w in ((0, w00), (1, w01), (2, w10), (3, w11)):
            gloss += w * np.float32(pages[p, v0 + q // 2, u0 + q % 2, 3])
        gloss *= (a * tint[i, 3] + b * tint[j, 3] + d * tint[k, 3]) * np.float32(1 / 255)
    for c in range(3):
        value = (
            w00 * np.float32(pages[p, v0, u0, c])
            + w01 * np.float32(pages[p, v0, u0 + 1, c])
            + w10 * np.float32(pages[p, v0 + 1, u0, c])
            + w11 * np.float32(pages[p, v0 + 1, u0 + 1, c])
        ) * np.float32(1 / 255)
        albedo = value * value * (a * tint[i, c] + b * tint[j, c] + d * tint[k, c])
        diffuse = a * light[i, c] + b * light[j, c] + d * light[k, c]
        shine = a * light[i, 3 + c] + b * light[j, 3 + c] + d * light[k, 3 + c]
        out[c] += share * (albedo * diffuse * quantised + gloss * shine)


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
    pages: np.ndarray,
    ground: np.ndarray,
    steps: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Linear colour f32 [h, w, 3] and coverage f32 [h, w] at pixel resolution.

    tint [n, 4]: colour and gloss per vertex. corners [m, 3, 2]: texel coordinates, page [m],
    pages uint8 [p, th, tw, 4] (square root of the colour, gloss). ground [h, w, 3]: what stands
    behind. steps > 0 quantises the light (cel shading).
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
            for q in range(4):
                yy, xx = y + q // 2, x + q % 2
                m = which[yy, xx]
                if m < 0:
                    for c in range(3):
                        out[row, column, c] += quarter * ground[row, column, c]
                    continue
                cover[row, column] += quarter
                _shade_sample(
                    out[row, column], quarter, m, bary[yy, xx, 0], bary[yy, xx, 1], triangles,
                    light, tint, corners, page, pages, stepped,
                )  # fmt: skip
    return out, cover
