"""Triangles to pixels on the CPU: the renderer's inner loops, compiled by numba.

In: vertices [n, 3] (x right, y up, z towards the camera, centimetres), triangles [m, 3]; a screen
has x right, y down, in samples. Out: nearest triangle per sample, then linear-light colour
[h, w, 3] averaged over 2 x 2 samples.
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
    screen: np.ndarray, triangles: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth-test front-facing triangles; screen is [n, 3] (x, y, nearness).

    Returns the triangle per sample int32 [h, w] (-1: none), its two first barycentric weights
    f32 [h, w, 2], and the nearness f32 [h, w].
    """
    which = np.full((height, width), -1, np.int32)
    bary = np.empty((height, width, 2), np.float32)
    near = np.full((height, width), -1e9, np.float32)
    half = np.float32(0.5)
    for m in range(len(triangles)):
        i, j, k = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        x0, y0 = screen[i, 0], screen[i, 1]
        x1, y1 = screen[j, 0], screen[j, 1]
        x2, y2 = screen[k, 0], screen[k, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= 0:  # y points down: counter-clockwise outside is negative here
            continue
        left = max(int(np.ceil(min(x0, x1, x2) - half)), 0)
        right = min(int(np.floor(max(x0, x1, x2) - half)), width - 1)
        top = max(int(np.ceil(min(y0, y1, y2) - half)), 0)
        bottom = min(int(np.floor(max(y0, y1, y2) - half)), height - 1)
        if left > right or top > bottom:
            continue
        inverse = np.float32(1) / area
        z0, z1, z2 = screen[i, 2], screen[j, 2], screen[k, 2]
        for y in range(top, bottom + 1):
            py = y + half
            for x in range(left, right + 1):
                px = x + half
                b = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * inverse
                c = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * inverse
                a = 1 - b - c
                if a < 0 or b < 0 or c < 0:
                    continue
                z = a * z0 + b * z1 + c * z2
                if z > near[y, x]:
                    near[y, x] = z
                    which[y, x] = m
                    bary[y, x, 0] = a
                    bary[y, x, 1] = b
    return which, bary, near


@numba.njit(fastmath=True, cache=True)
def light_vertices(
    verts: np.ndarray,
    normals: np.ndarray,
    open_to_light: np.ndarray,
    lights: np.ndarray,
    ambient: np.ndarray,
    wrap: np.ndarray,
    camera: np.ndarray,
    hardness: float,
) -> np.ndarray:
    """Diffuse and specular light per vertex [n, 6].

    open_to_light [n, 1 + lights]: share of the ambient and of each light that arrives. lights
    [l, 6]: unit direction towards the light, colour. ambient [2, 3]: from above, from below.
    wrap [3]: how far each colour bleeds past the terminator (red light travels furthest in skin).
    """
    out = np.empty((len(verts), 6), np.float32)
    for i in range(len(verts)):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        up = np.float32(0.5) + np.float32(0.5) * ny
        vx, vy, vz = camera[0] - verts[i, 0], camera[1] - verts[i, 1], camera[2] - verts[i, 2]
        inverse = 1 / np.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * inverse, vy * inverse, vz * inverse
        facing = max(nx * vx + ny * vy + nz * vz, np.float32(0))
        rim = (1 - facing) ** 4 * open_to_light[i, 0]
        for c in range(3):
            sky = ambient[1, c] + (ambient[0, c] - ambient[1, c]) * up
            out[i, c] = sky * open_to_light[i, 0]
            out[i, 3 + c] = sky * (np.float32(0.08) + np.float32(0.5) * rim)
        for m in range(len(lights)):
            lx, ly, lz = lights[m, 0], lights[m, 1], lights[m, 2]
            lambert = nx * lx + ny * ly + nz * lz
            hx, hy, hz = lx + vx, ly + vy, lz + vz
            inverse = 1 / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-9))
            peak = max((nx * hx + ny * hy + nz * hz) * inverse, np.float32(0)) ** hardness
            for c in range(3):
                lit = max((lambert + wrap[c]) / (1 + wrap[c]), np.float32(0))
                out[i, c] += lights[m, 3 + c] * lit * open_to_light[i, 1 + m]
                if lambert > 0:
                    out[i, 3 + c] += lights[m, 3 + c] * peak * open_to_light[i, 1 + m]
    return out


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
    th, tw = pages.shape[1], pages.shape[2]
    share = np.float32(1 / (SAMPLES * SAMPLES))
    albedo = np.empty(4, np.float32)
    for y in range(height * SAMPLES):
        for x in range(width * SAMPLES):
            row, column = y // SAMPLES, x // SAMPLES
            m = which[y, x]
            if m < 0:
                for c in range(3):
                    out[row, column, c] += share * ground[row, column, c]
                continue
            cover[row, column] += share
            a, b = bary[y, x, 0], bary[y, x, 1]
            d = 1 - a - b
            i, j, k = triangles[m, 0], triangles[m, 1], triangles[m, 2]
            u = a * corners[m, 0, 0] + b * corners[m, 1, 0] + d * corners[m, 2, 0]
            v = a * corners[m, 0, 1] + b * corners[m, 1, 1] + d * corners[m, 2, 1]
            u = min(max(u, np.float32(0)), np.float32(tw - 1.001))
            v = min(max(v, np.float32(0)), np.float32(th - 1.001))
            u0, v0 = int(u), int(v)
            fu, fv = u - u0, v - v0
            p = page[m]
            for c in range(4):
                above = pages[p, v0, u0, c] * (1 - fu) + pages[p, v0, u0 + 1, c] * fu
                below = pages[p, v0 + 1, u0, c] * (1 - fu) + pages[p, v0 + 1, u0 + 1, c] * fu
                value = (above * (1 - fv) + below * fv) * np.float32(1 / 255)
                albedo[c] = value * (a * tint[i, c] + b * tint[j, c] + d * tint[k, c])
                if c < 3:
                    albedo[c] *= value
            quantised = np.float32(1)
            if steps > 0:
                level = np.float32(0)
                for c in range(3):
                    level += a * light[i, c] + b * light[j, c] + d * light[k, c]
                level = level / 3 * steps
                quantised = (np.floor(level + np.float32(0.5)) + np.float32(0.15)) / (level + 1e-4)
            for c in range(3):
                diffuse = a * light[i, c] + b * light[j, c] + d * light[k, c]
                shine = a * light[i, 3 + c] + b * light[j, 3 + c] + d * light[k, 3 + c]
                value = albedo[c] * diffuse * quantised
                if steps == 0:
                    value += albedo[3] * shine
                out[row, column, c] += share * value
    return out, cover
