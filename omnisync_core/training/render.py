"""Pictures of rendered heads: pairs for training, portraits, talking clips.

In: a Head, a Scene (light, camera, background), expression weights [57], a pose. Out: pictures, the
68 landmarks in pixels, and what each pixel shows (heads.LABELS). A pair shows the same head, pose,
light and noise twice; only the mouth differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ..region import Box, standard_box
from .heads import BACKGROUND, LIPS, Head, HeadKit
from .looks import Finish
from .raster import SAMPLES, deform, light_vertices, nearest, shade, vertex_normals

__all__ = [
    "Head",
    "HeadKit",
    "Picture",
    "Pose",
    "Scene",
    "Window",
    "render",
    "render_clip",
    "render_pair_clip",
    "render_portrait",
]
_PIVOT = np.float32([0, -6.0, -1.0])  # where the head turns on the neck
_SKIN_WRAP = np.float32([0.35, 0.16, 0.10])


@dataclass(frozen=True)
class Pose:
    """Turn (to the picture's right), nod (down) and tilt in radians; shift in cm (x, y)."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0

    def matrix(self, share: float = 1.0) -> np.ndarray:
        """Rotation [3, 3] of that share of the pose."""
        a, b, c = self.yaw * share, self.pitch * share, self.roll * share
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        return (tilt @ nod @ turn).astype(np.float32)


@dataclass(frozen=True)
class Window:
    """What the camera shows: left, top in cm at the head's plane (y down), pixels per cm, size."""

    left: float
    top: float
    scale: float
    width: int
    height: int

    @staticmethod
    def of_box(box: Box, size: int) -> Window:
        """The square box (in cm) as a picture of size x size."""
        return Window(box.cx - box.side / 2, box.cy - box.side / 2, size / box.side, size, size)


@dataclass(frozen=True)
class Picture:
    """linear: light f32 [h, w, 3]; points: 68 landmarks [68, 2] in pixels; labels uint8 [h, w];
    lines: contours f32 [h, w]; face: coverage f32 [h, w]."""

    linear: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    lines: np.ndarray
    cover: np.ndarray

    @property
    def eyes(self) -> np.ndarray:
        """Centres of the eyes [2, 2], the one further left first."""
        return np.stack([self.points[[36, 39]].mean(0), self.points[[42, 45]].mean(0)])

    @property
    def mouth(self) -> np.ndarray:
        """Mean of the mouth's corners and the middles of the inner lips [2]."""
        return mouth_of(self.points)

    @property
    def opening(self) -> float:
        """Distance of the inner lips in pixels."""
        return float(np.linalg.norm(self.points[62] - self.points[66]))


def mouth_of(points: np.ndarray) -> np.ndarray:
    """Mouth centre [2] from the 68 points."""
    return (points[48] + points[54] + points[62] + points[66]) / 4


def box_of(points: np.ndarray) -> Box:
    """The standard crop around 68 points."""
    return standard_box(points[[36, 39]].mean(0), points[[42, 45]].mean(0), mouth_of(points))


class Scene:
    """Light, camera and background; the same for every frame of a clip."""

    def __init__(self, rng: np.random.Generator) -> None:
        key = np.array([rng.normal() * 0.8, rng.normal() * 0.45 + 0.45, 1.0])
        ways, colours = [key], [rng.uniform(0.5, 1.5) * _tint(rng, 0.12)]
        for _ in range(int(rng.integers(0, 3))):
            ways.append(np.array([rng.normal() * 1.5, rng.normal() * 0.7 + 0.2, rng.normal()]))
            colours.append(rng.uniform(0.1, 0.7) * _tint(rng, 0.25))
        directions = np.array(ways)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.lights = np.concatenate([directions, colours], 1).astype(np.float32)
        sky = rng.uniform(0.15, 0.75) * _tint(rng, 0.1)
        self.ambient = np.stack([sky, sky * rng.uniform(0.3, 0.9) * _tint(rng, 0.15)])
        self.ambient = self.ambient.astype(np.float32)
        total = self.lights[:, 3:].sum() / 3 * 0.6 + self.ambient.mean()
        self.exposure = np.float32(rng.uniform(0.75, 1.3) / total)
        self.distance = float(np.exp(rng.uniform(np.log(45), np.log(220))))
        self.hardness = float(rng.uniform(8, 40))
        self.background = _background(rng)
        self.finish = Finish.draw(rng)

    def ground(self, window: Window) -> np.ndarray:
        """The background behind a window, linear f32 [h, w, 3]; it does not move with the head."""
        per_cm = _GROUND / 110.0  # the background spans 110 cm
        x0, y0 = window.left * per_cm + _GROUND / 2, window.top * per_cm + _GROUND / 2
        step = per_cm / window.scale
        matrix = np.float32([[step, 0, x0 + step / 2 - 0.5], [0, step, y0 + step / 2 - 0.5]])
        return cv2.warpAffine(
            self.background,
            matrix,
            (window.width, window.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )


_GROUND = 256


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    return np.exp(rng.normal(size=3) * spread)


def _background(rng: np.random.Generator) -> np.ndarray:
    """A wall, a blurred room, stripes or noise; linear f32 [256, 256, 3]."""
    n = _GROUND
    cells = int(rng.integers(2, 14))
    picture = cv2.resize(
        rng.uniform(0, 1, (cells, cells, 3)).astype(np.float32),
        (n, n),
        interpolation=cv2.INTER_CUBIC,
    )
    picture = picture * rng.uniform(0.05, 1) + rng.uniform(0, 0.9, 3) * rng.uniform(0, 1)
    for _ in range(int(rng.integers(0, 14))):
        colour = [float(c) for c in rng.uniform(0, 1, 3)]
        x, y, a, b = (int(v) for v in rng.integers(0, n, 4))
        if rng.random() < 0.4:
            cv2.ellipse(picture, (x, y), (a // 4 + 1, b // 4 + 1), a, 0, 360, colour, -1)
        else:
            cv2.rectangle(picture, (x, y), (x + a // 2, y + b // 2), colour, -1)
    if rng.random() < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.8, 12)))
    return np.clip(picture, 0, 1).astype(np.float32) ** 2


def pose_track(rng: np.random.Generator, frames: int) -> list[Pose]:
    """Slow natural head motion at 25 frames a second around a random pose."""
    limits = np.radians([35, 15, 15])
    start = np.clip(rng.normal(size=3) * np.radians([16, 7, 6]), -limits, limits)
    # Two slow sines a coordinate: nods and sways of 0.2 to 1.2 Hz.
    seconds = np.arange(frames) / 25.0
    rates = rng.uniform(0.2, 1.2, (2, 5)) * 2 * np.pi
    sizes = np.array([0.035, 0.03, 0.02, 0.25, 0.2]) * rng.uniform(0, 1.5)
    phases = rng.uniform(0, 2 * np.pi, (2, 5))
    sway = (np.sin(seconds[:, None, None] * rates + phases)).sum(1) * sizes / 2
    return [Pose(*(float(v) for v in (*(start + row[:3]), *row[3:]))) for row in sway]


def _pose(head: Head, verts: np.ndarray, pose: Pose) -> np.ndarray:
    """Turn the head on its neck; shoulders follow a quarter of it."""
    centred = verts - _PIVOT
    free = centred @ pose.matrix().T
    held = centred @ pose.matrix(0.15).T
    out = free + (held - free) * head.body[:, None]
    return out + _PIVOT + np.float32([pose.x, pose.y, 0])


def _screen(verts: np.ndarray, distance: float, window: Window, samples: int) -> np.ndarray:
    """Perspective: centimetres at the head's plane -> samples; third column: nearness."""
    grow = distance / (distance - verts[:, 2])
    out = np.empty_like(verts)
    out[:, 0] = (verts[:, 0] * grow - window.left) * (window.scale * samples)
    out[:, 1] = (-verts[:, 1] * grow - window.top) * (window.scale * samples)
    out[:, 2] = verts[:, 2]
    return out


def landmarks(head: Head, scene: Scene, expression: np.ndarray, pose: Pose) -> np.ndarray:
    """The 68 points [68, 2] in cm of the camera's plane (y down), without rendering."""
    verts = _pose(head, _deformed(head, expression), pose)
    return _screen(verts, scene.distance, Window(0, 0, 1, 1, 1), 1)[head.kit.landmarks, :2]


def _deformed(head: Head, expression: np.ndarray) -> np.ndarray:
    kit = head.kit
    return deform(head.rest, expression.astype(np.float32), kit.starts, kit.index, kit.delta)


def _open_to_light(head: Head, verts: np.ndarray, lights: int) -> np.ndarray:
    """[n, 1 + lights]: less light reaches folds, nostrils and, the more closed, the mouth."""
    upper, lower = verts[head.kit.landmarks[[62, 66]]]
    gap = np.linalg.norm(upper - lower)
    wide = min(1.0, float(gap) / 2.2)  # 2.2 cm: the open state of HeadKit.openness
    share = head.openness[0] + (head.openness[1] - head.openness[0]) * np.float32(wide**0.7)
    share = 0.06 + 0.94 * share
    direct = np.minimum(share * 1.5, 1)
    return np.stack([share] + [direct] * lights, 1).astype(np.float32)


def render(
    head: Head, scene: Scene, expression: np.ndarray, *, pose: Pose, window: Window
) -> Picture:
    """One picture of the head; expression [57]."""
    shape = _deformed(head, expression)
    verts = _pose(head, shape, pose)
    normals = vertex_normals(verts, head.triangles)
    light = light_vertices(
        verts,
        normals,
        _open_to_light(head, shape, len(scene.lights)),
        scene.lights,
        scene.ambient,
        _SKIN_WRAP,
        np.float32([0, 0, scene.distance]),
        scene.hardness,
    )
    light *= scene.exposure
    screen = _screen(verts, scene.distance, window, SAMPLES)
    which, bary, near = nearest(
        screen, head.triangles, window.width * SAMPLES, window.height * SAMPLES
    )
    steps = 2.5 if scene.finish.style in ("cel", "flat") else 0.0
    linear, cover = shade(
        which,
        bary,
        head.triangles,
        light,
        head.tint,
        head.corners,
        head.page,
        head.pages,
        scene.ground(window),
        steps,
    )
    labels = np.where(which >= 0, head.labels[which], BACKGROUND)
    lines = np.zeros(linear.shape[:2], np.float32)
    if scene.finish.style in ("cel", "flat", "pencil"):
        lines = _contours(labels, near)
    points = screen[head.kit.landmarks, :2] / SAMPLES
    return Picture(linear, points, labels[::SAMPLES, ::SAMPLES], lines, cover)


def _contours(labels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Where labels change or depth jumps, f32 [h, w] at pixel resolution."""
    edge = np.zeros(labels.shape, np.float32)
    smooth_lips = np.where(labels == LIPS, 1, labels)
    for axis in (0, 1):
        there = np.roll(smooth_lips, 1, axis) != smooth_lips
        jump = np.abs(np.roll(near, 1, axis) - near) > 0.8
        edge = np.maximum(edge, there | jump)
    edge[0] = edge[:, 0] = 0
    size = (labels.shape[1] // SAMPLES, labels.shape[0] // SAMPLES)
    wide = cv2.dilate(edge.astype(np.float32), np.ones((2, 2)))
    return cv2.resize(wide, size, interpolation=cv2.INTER_AREA)


def _idle(kit: HeadKit, rng: np.random.Generator, frames: int) -> np.ndarray:
    """What a face does besides speaking [frames, 57]: blinks, brows, a lasting smile or frown."""
    mood = kit.weights()
    for name, odds, size in (
        ("mouthSmile", 0.3, 0.5),
        ("mouthFrown", 0.15, 0.4),
        ("browInnerUp", 0.3, 0.6),
        ("browDown", 0.25, 0.6),
        ("eyeSquint", 0.3, 0.6),
        ("cheekSquint", 0.2, 0.5),
        ("browOuterUp", 0.2, 0.5),
        ("mouthDimple", 0.1, 0.4),
        ("eyeWide", 0.1, 0.5),
    ):
        if rng.random() < odds:
            mood += kit.weights(**{name: float(rng.uniform(0.1, size))})
    out = np.repeat(mood[None], frames, 0)
    blink = kit.weights(eyeBlink=1.0)
    moment = rng.uniform(-10, 90)  # a blink every four seconds or so, of about 5 frames
    closing = np.clip(1 - np.abs(np.arange(frames) - moment) / 3, 0, 1)
    return np.clip(out + closing[:, None] * blink, 0, 1).astype(np.float32)


def render_pair_clip(
    rng: np.random.Generator,
    head: Head,
    source_expressions: np.ndarray,
    target_expressions: np.ndarray,
    *,
    size: int = 96,
    scene: Scene | None = None,
) -> dict[str, np.ndarray]:
    """Two talking clips that differ in the mouth alone; expressions [f, 57] each.

    Returns source and target uint8 [f, size, size, 3] (the standard crop, a little off as a locator
    would be), mouth [f, 2]: the mouth's resting centre in pixels, source_opening and target_opening
    [f]: distance of the inner lips over the crop's side.
    """
    frames = len(source_expressions)
    if len(target_expressions) != frames:
        raise ValueError(
            f"expected as many source as target expressions, got {frames} and "
            f"{len(target_expressions)}; cut them to the same length"
        )
    scene = scene or Scene(rng)
    poses = pose_track(rng, frames)
    idle = _idle(head.kit, rng, frames)
    grow, shift = rng.uniform(0.88, 1.15), rng.uniform(-0.06, 0.06, 2)
    out: dict[str, list] = {
        k: [] for k in ("source", "target", "mouth", "source_opening", "target_opening")
    }
    for i, pose in enumerate(poses):
        points = landmarks(head, scene, idle[i], pose)
        box = box_of(points)
        off = shift + rng.normal(size=2) * 0.003
        side = box.side * grow * (1 + rng.normal() * 0.003)
        box = Box(box.cx + off[0] * box.side, box.cy + off[1] * box.side, side)
        window = Window.of_box(box, size)
        grain = scene.finish.grain(rng, size, size)
        for name, weights in (("source", source_expressions), ("target", target_expressions)):
            both = np.clip(idle[i] + weights[i], 0, 1)
            picture = render(head, scene, both, pose=pose, window=window)
            out[name].append(scene.finish.apply(picture.linear, picture.lines, grain))
            out[name + "_opening"].append(picture.opening / size)
        corner = np.array([window.left, window.top])
        out["mouth"].append((mouth_of(points) - corner) * window.scale)
    return {
        name: np.array(rows, np.uint8 if name in ("source", "target") else np.float32)
        for name, rows in out.items()
    }


def render_portrait(
    rng: np.random.Generator, head: Head, expression: np.ndarray, *, width: int, height: int
) -> tuple[np.ndarray, Picture]:
    """A whole picture uint8 [h, w, 3] of the head somewhere in it, and its Picture.

    The head takes 12 to 80 % of the picture's height (less where it would be wider than the frame).
    """
    scene = Scene(rng)
    pose = pose_track(rng, 1)[0]
    share = np.exp(rng.uniform(np.log(0.12), np.log(0.8)))
    window = _frame(rng, width, height, share)
    both = np.clip(expression + _idle(head.kit, rng, 1)[0], 0, 1)
    picture = render(head, scene, both, pose=pose, window=window)
    grain = scene.finish.grain(rng, height, width)
    return scene.finish.apply(picture.linear, picture.lines, grain), picture


_HEAD_CM = 26.0  # crown to chin with hair


def _frame(rng: np.random.Generator, width: int, height: int, share: float) -> Window:
    scale = min(height, width * 1.2) * share / _HEAD_CM
    wide, high = width / scale, height / scale
    x = rng.uniform(-1, 1) * max(wide / 2 - 11, 0)
    y = rng.uniform(-1, 1) * max(high / 2 - 14, 0)
    return Window(x - wide / 2, y - high / 2 - 2, scale, width, height)


def render_clip(
    head: Head,
    scene: Scene,
    expressions: np.ndarray,
    *,
    width: int,
    height: int,
    seed: int = 0,
    share: float = 0.62,
) -> Iterator[tuple[np.ndarray, Picture]]:
    """A talking head, frame by frame: uint8 [h, w, 3] and its Picture (true landmarks, labels).

    expressions [f, 57] at 25 frames a second; share: the head's part of the picture's height.
    """
    rng = np.random.default_rng(seed)
    poses = pose_track(rng, len(expressions))
    idle = _idle(head.kit, rng, len(expressions))
    scale = min(height, width * 1.2) * share / _HEAD_CM
    window = Window(-width / scale / 2, -height / scale / 2 - 1, scale, width, height)
    for pose, rest, weights in zip(poses, idle, expressions, strict=True):
        picture = render(head, scene, np.clip(rest + weights, 0, 1), pose=pose, window=window)
        grain = scene.finish.grain(rng, height, width)
        yield scene.finish.apply(picture.linear, picture.lines, grain), picture
