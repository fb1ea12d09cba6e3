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
from .heads import BACKGROUND, EYES, HAIR, LIPS, MOUTH, SKIN, TEETH, Head, HeadKit, lit_from
from .raster import (
    SAMPLES,
    light_vertices,
    nearest,
    project,
    shade,
    turn,
    vertex_normals,
)
from .scene import Pose, Scene, Window, idle_track, pose_track

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
_PIVOT = np.array([0, -6.0, -1.0], np.float32)  # where the head turns on the neck
# How far red, green, blue bleed past the terminator: by eye, red most, as light does in skin.
_SKIN_WRAP = np.array([0.35, 0.16, 0.10], np.float32)
_OPEN_CM = 2.2  # the inner lips' distance in HeadKit.open_mouth
_RIM_CM = 0.5  # how far past the inner lips' points the inside can show
_HEAD_CM = 26.0  # crown to chin, with hair
_CEL_STEPS = {"cel": 2.5, "flat": 1.2}  # steps of light, for light around one


@dataclass(frozen=True)
class Picture:
    """linear: light f32 [h, w, 3]; points: the 68 landmarks [68, 2] in pixels; lines: contours f32
    [h, w]; cover: the person's share of each pixel f32 [h, w]; which, bary [2 h, 2 w] triangle of
    kinds, and where in it; triangles [m, 3] of screen [n, 3], in samples.
    """

    linear: np.ndarray
    points: np.ndarray
    lines: np.ndarray
    cover: np.ndarray
    which: np.ndarray
    bary: np.ndarray
    kinds: np.ndarray
    triangles: np.ndarray
    screen: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """What the pixels show, uint8 [h, w], indices into heads.LABELS."""
        return _labels(self.which[::SAMPLES, ::SAMPLES], self.kinds)

    @property
    def eyes(self) -> np.ndarray:
        """Centres of the eyes [2, 2], the left one in the picture first."""
        return eyes_of(self.points)

    @property
    def mouth(self) -> np.ndarray:
        """Mean of the mouth's corners and the middles of the inner lips [2]."""
        return mouth_of(self.points)

    @property
    def lips(self) -> np.ndarray:
        """Outer (12) and inner (8) points of the lips [20, 2]."""
        return self.points[48:]

    @property
    def opening(self) -> float:
        """Distance of the inner lips in pixels, 0 where they are pressed or rolled in."""
        down = self.mouth - self.eyes.mean(0)
        apart = (self.points[66] - self.points[62]) @ down / np.linalg.norm(down)
        return max(0.0, float(apart))


def flow_between(now: Picture, before: Picture) -> np.ndarray:
    """The true backward flow f32 [h, w, 2] in pixels: what `now` shows at p, `before` has at
    p + flow(p); NaN where it is hidden there. Both from one Take."""
    which, bary = (x[::SAMPLES, ::SAMPLES] for x in (now.which, now.bary))
    shown = which >= 0  # the ground behind the head stands still
    bary = bary[shown]  # elsewhere nothing was written
    shares = np.concatenate([bary, 1 - bary.sum(-1, keepdims=True)], -1)
    way = (before.screen - now.screen)[now.triangles[which[shown]], :2] / SAMPLES  # [k 3 2]
    flow = np.zeros((*which.shape, 2), np.float32)
    flow[shown] = (shares[..., None] * way).sum(1)
    size = np.array(which.shape[::-1]) - 1
    place = np.stack(np.meshgrid(*map(np.arange, which.shape[::-1])), -1)
    x, y = np.moveaxis(np.clip(np.round(place + flow), 0, size).astype(int), -1, 0)
    flow[before.labels[y, x] != now.labels] = np.nan
    return flow


def eyes_of(points: np.ndarray) -> np.ndarray:
    """Centres of the eyes [2, 2] from the 68 points: the means of their corners."""
    return np.stack([points[[36, 39]].mean(0), points[[42, 45]].mean(0)])


def mouth_of(points: np.ndarray) -> np.ndarray:
    """Mouth centre [2] from the 68 points."""
    return (points[48] + points[54] + points[62] + points[66]) / 4


def _box_of(points: np.ndarray) -> Box:
    left, right = eyes_of(points)
    return standard_box(left, right, mouth_of(points))


def posed(head: Head, verts: np.ndarray, pose: Pose, body: np.ndarray) -> np.ndarray:
    """Turn the head on its neck; the shoulders follow a little."""
    shift = np.array([[pose.x], [pose.y], [0]], np.float32)
    free, held = (np.concatenate([pose.rotation(share), shift], 1) for share in (1.0, 0.15))
    return turn(verts, body, free, held, _PIVOT)


def landmarks(head: Head, scene: Scene, expression: np.ndarray, pose: Pose) -> np.ndarray:
    """The 68 points [68, 2] in cm of the camera's plane (y down), without rendering."""
    kit, at = head.kit, head.kit.landmarks
    moved = np.einsum("e,enc->nc", expression.astype(np.float32), kit.landmark_delta)
    verts = posed(head, head.rest[at] + moved, pose, head.body[at])
    return project(verts, scene.distance, 0.0, 0.0, 1.0)[:, :2]


def _cast_shadows(head: Head, scene: Scene, pose: Pose) -> np.ndarray:
    """Share of each light that arrives, [2, lights, n]: lips closed, and wide open."""
    out = np.ones((2, len(scene.lights), len(head.rest)), np.float32)
    if not scene.shadow:
        return out
    casters = head.triangles[(head.labels <= LIPS) | (head.labels >= HAIR)]
    for row, weights in enumerate((head.kit.weights(), head.kit.open_mouth())):
        verts = head.kit.shape(head.rest, weights)
        normals = vertex_normals(verts, head.triangles)
        for m, light in enumerate(scene.lights):
            if row == 1 and m > 0:
                out[1, m] = out[0, m]  # only the key light is worth a second map
                continue
            way = light[:3] @ pose.rotation()
            # Only surfaces that face the light can lie in another's shadow; the rest are dark
            # by themselves, softly (see light_vertices).
            facing = np.clip((normals @ way - 0.05) * 4, 0, 1)
            dark = 1 - lit_from(way, verts, normals, casters)
            out[row, m] = 1 - scene.shadow * facing * dark
    return out


@dataclass(frozen=True)
class Take:
    """What a clip needs to work out only once, in its middle pose, for heads move slowly.

    shadows [2, lights, n]; triangles [m, 3] that can come into the window, and their attributes;
    those from `outside` on lie behind the lips.
    """

    shadows: np.ndarray
    outside: int
    triangles: np.ndarray
    labels: np.ndarray
    page: np.ndarray
    corners: np.ndarray


def prepare(head: Head, scene: Scene, pose: Pose, window: Window) -> Take:
    """A Take of everything in or near the window at this pose."""
    verts = posed(head, head.rest, pose, head.body)
    screen = project(verts, scene.distance, window.left, window.top, window.scale)
    size = np.array([window.width, window.height])
    # A wide-open jaw and the sway of the head move things by less than a third of a crop.
    near = np.all(np.abs(screen[:, :2] - size / 2) < size * (1 / 2 + 1 / 3), axis=1)
    # What lies further back the face hides, but not hair and clothes.
    front = np.greater(verts[:, 2], -5)
    triangles = head.triangles
    seen = near[triangles].any(axis=1) & (front[triangles].any(axis=1) | (head.labels > EYES))
    inside = (head.labels == MOUTH) | (head.labels == TEETH)
    order = np.concatenate([np.flatnonzero(seen & ~inside), np.flatnonzero(seen & inside)])
    return Take(
        _cast_shadows(head, scene, pose),
        int((seen & ~inside).sum()),
        triangles[order],
        head.labels[order],
        head.page[order],
        head.corners[order],
    )


def opening_of(head: Head, screen: np.ndarray, window: Window) -> np.ndarray:
    """The rectangle [4] of samples in which the mouth's inside can show."""
    inner = screen[head.kit.landmarks[60:68], :2]
    rim = _RIM_CM * window.scale * SAMPLES
    return np.concatenate([inner.min(0) - rim, inner.max(0) + rim]).astype(np.float32)


def _lit(
    head: Head, scene: Scene, shape: np.ndarray, verts: np.ndarray, which: np.ndarray, take: Take
) -> np.ndarray:
    """Light per vertex [n, 6]: the more the lips part, the more of it reaches the mouth."""
    upper, lower = shape[head.kit.landmarks[[62, 66]]]
    return light_vertices(
        which,
        take.triangles,
        verts,
        vertex_normals(verts, take.triangles),
        head.openness,
        take.shadows,
        min(1.0, float(np.linalg.norm(upper - lower)) / _OPEN_CM) ** 0.5,
        scene.lights,
        scene.ambient,
        _SKIN_WRAP,
        scene.distance,
        head.hardness,
    )


def render(
    head: Head,
    scene: Scene,
    expression: np.ndarray,
    *,
    pose: Pose,
    window: Window,
    take: Take | None = None,
) -> Picture:
    """One picture of the head; expression [57], take from `prepare` (made here when left out).

    Raises ValueError when the expression has another length.
    """
    if expression.shape != (len(head.kit.expression_names),):
        raise ValueError(
            f"expected {len(head.kit.expression_names)} expression weights, got shape "
            f"{expression.shape}; HeadKit.weights makes them"
        )
    take = take or prepare(head, scene, pose, window)
    shape = head.kit.shape(head.rest, expression)
    verts = posed(head, shape, pose, head.body)
    screen = project(verts, scene.distance, window.left, window.top, window.scale * SAMPLES)
    width, height = window.width * SAMPLES, window.height * SAMPLES
    opening = opening_of(head, screen, window)
    which, bary, near = nearest(screen, take.triangles, width, height, take.outside, opening)
    light = _lit(head, scene, shape, verts, which, take)
    style = scene.finish.style
    linear, cover = shade(
        which,
        bary,
        take.triangles,
        light,
        head.tint,
        take.corners,
        take.page,
        take.labels,
        head.pages_for(window.scale, flat=style in ("cel", "flat")),
        scene.ground(window),
        _CEL_STEPS.get(style, 0.0),
    )
    lines = np.zeros(linear.shape[:2], np.float32)
    if style in ("cel", "flat", "pencil"):
        lines = _contours(_labels(which, take.labels), near)
    points = screen[head.kit.landmarks, :2] / SAMPLES
    return Picture(linear, points, lines, cover, which, bary, take.labels, take.triangles, screen)


def _labels(which: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    return np.where(which >= 0, kinds[which], BACKGROUND).astype(np.uint8)


def _contours(labels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Where labels change or depth jumps, f32 [h, w] at pixel resolution."""
    edge = np.zeros(labels.shape, np.float32)
    parts = np.where(labels == LIPS, SKIN, labels)
    for axis in (0, 1):
        there = np.roll(parts, 1, axis) != parts
        jump = np.abs(np.roll(near, 1, axis) - near) > 0.8  # cm
        edge = np.maximum(edge, there | jump)
    edge[0] = edge[:, 0] = 0
    size = (labels.shape[1] // SAMPLES, labels.shape[0] // SAMPLES)
    wide = cv2.dilate(edge.astype(np.float32), np.ones((2, 2)))
    return cv2.resize(wide, size, interpolation=cv2.INTER_AREA)


def _jittered(rng: np.random.Generator, boxes: list[Box]) -> list[Box]:
    """Boxes as a locator would find them: off by a steady error, and a little by each frame's."""
    grow, shift = rng.uniform(0.88, 1.15), rng.uniform(-0.06, 0.06, 2)
    out = []
    for box in boxes:
        off = (shift + rng.normal(size=2) * 0.003) * box.side
        side = box.side * grow * (1 + rng.normal() * 0.003)
        out.append(Box(box.cx + off[0], box.cy + off[1], side))
    return out


def render_pair_clip(
    rng: np.random.Generator,
    head: Head,
    source_expressions: np.ndarray,
    target_expressions: np.ndarray,
    *,
    size: int = 96,
) -> dict[str, np.ndarray]:
    """Two talking clips that differ in the mouth alone; expressions [f, 57] each, 25 frames/s.

    Returns source and target uint8 [f, size, size, 3] (the standard crop, a little off as a locator
    would be), mouth [f, 2]: the resting mouth's centre in pixels, source_opening and target_opening
    [f]: distance of the inner lips over the crop's side, flow f32 [f, size, size, 2]: where the
    source has what the target shows (see flow_between), landmarks [f, 68, 2] in pixels and labels
    [f, size, size] (heads.LABELS), both of the target. Raises ValueError for unequal lengths.
    """
    frames = len(source_expressions)
    if len(target_expressions) != frames:
        raise ValueError(
            f"expected as many source as target expressions, got {frames} and "
            f"{len(target_expressions)}; cut them to the same length"
        )
    scene = Scene(rng)
    poses = pose_track(rng, frames)
    idle = idle_track(head.kit, rng, frames)
    points = [landmarks(head, scene, *each) for each in zip(idle, poses, strict=True)]
    boxes = _jittered(rng, [_box_of(p) for p in points])
    take = prepare(head, scene, poses[frames // 2], Window.of_box(boxes[frames // 2], size))
    clips: dict[str, list[np.ndarray]] = {"source": [], "target": []}
    openings: dict[str, list[float]] = {"source": [], "target": []}
    mouths, flows, marks, labels = [], [], [], []
    for i, (pose, box) in enumerate(zip(poses, boxes, strict=True)):
        window = Window.of_box(box, size)
        grain = scene.finish.grain(rng, size, size)
        drawn = {}
        for name, weights in (("source", source_expressions), ("target", target_expressions)):
            both = np.clip(idle[i] + weights[i], 0, 1)
            picture = render(head, scene, both, pose=pose, window=window, take=take)
            clips[name].append(scene.finish.apply(picture.linear, picture.lines, grain))
            openings[name].append(picture.opening / size)
            drawn[name] = picture
        flows.append(flow_between(drawn["target"], drawn["source"]))
        marks.append(drawn["target"].points)
        labels.append(drawn["target"].labels)
        mouths.append((mouth_of(points[i]) - [window.left, window.top]) * window.scale)
    return {
        "source": np.stack(clips["source"]),
        "target": np.stack(clips["target"]),
        "mouth": np.array(mouths, np.float32),
        "source_opening": np.array(openings["source"], np.float32),
        "target_opening": np.array(openings["target"], np.float32),
        "flow": np.stack(flows),
        "landmarks": np.stack(marks).astype(np.float32),
        "labels": np.stack(labels),
    }


def render_portrait(
    rng: np.random.Generator, head: Head, expression: np.ndarray, *, width: int, height: int
) -> tuple[np.ndarray, Picture]:
    """A picture uint8 [h, w, 3] with the head (with neck and shoulders) somewhere in it, and its
    Picture: landmarks, labels, cover. The head takes 12 to 80 % of the picture's height, less
    where it would be wider than the frame.
    """
    pose = pose_track(rng, 1)[0]
    share = float(np.exp(rng.uniform(np.log(0.12), np.log(0.8))))
    scale = min(height, width * 1.2) * share / _HEAD_CM
    wide, high = width / scale, height / scale
    scene = Scene(rng, extent=max(wide, high) * float(rng.uniform(1, 1.5)))
    x, y = rng.uniform(-1, 1, 2) * np.maximum([wide / 2 - 11, high / 2 - 14], 0)
    window = Window(x - wide / 2, y - high / 2 - 2, scale, width, height)
    both = np.clip(expression + idle_track(head.kit, rng, 1)[0], 0, 1)
    picture = render(head, scene, both, pose=pose, window=window)
    grain = scene.finish.grain(rng, height, width)
    return scene.finish.apply(picture.linear, picture.lines, grain), picture


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
    idle = idle_track(head.kit, rng, len(expressions))
    scale = min(height, width * 1.2) * share / _HEAD_CM
    window = Window(-width / scale / 2, -height / scale / 2 - 1, scale, width, height)
    take = prepare(head, scene, poses[len(poses) // 2], window)
    for pose, rest, weights in zip(poses, idle, expressions, strict=True):
        both = np.clip(rest + weights, 0, 1)
        picture = render(head, scene, both, pose=pose, window=window, take=take)
        grain = scene.finish.grain(rng, height, width)
        yield scene.finish.apply(picture.linear, picture.lines, grain), picture
