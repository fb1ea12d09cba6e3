"""Cut-out people and backgrounds for the locator's training.

In: GRID clips with landmarks, rendered heads, a folder of photographs without people. Out: people
as uint8 RGBA [n, 144, 144, 4] with three points each (eyes, mouth), backgrounds as uint8 RGB
[n, 160, 160, 3].
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..region import Box, standard_box
from .heads import Head, HeadKit
from .render import eyes_of, landmarks, mouth_of, render
from .scene import Pose, Scene, Window

# A cut-out is four standard crops wide (a whole head and the shoulders) at 36 pixels a crop.
CUT = 144
SPREAD = 4.0
CUT_SIDE = CUT / SPREAD
GROUND = 160
# GRID speakers never trained on: the judges of the locator (clips of three people).
HELD_OUT_CLIPS = ("lbbc2a", "lbax4n", "lwbsza")


@dataclass(frozen=True)
class People:
    """Cut-outs uint8 [n, 144, 144, 4] and their points f32 [n, 3, 2] in pixels: eyes and mouth."""

    cutouts: np.ndarray
    points: np.ndarray


def mesh_points(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks [96, 2] of the packed face mesh -> eyes and mouth [3, 2]; see the data's order."""
    mouth = landmarks[[0, 10, 25, 35]].mean(0)  # 61, 291: the corners; 14, 13: the inner middles
    return np.stack([landmarks[76:80].mean(0), landmarks[80:84].mean(0), mouth])


def cut_out(rgba: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 [h, w, 4] and its three points, moved to a cut-out's place and size."""
    box = standard_box(*points)
    scale = CUT_SIDE / box.side
    shift = CUT / 2 - scale * np.array([box.cx, box.cy])
    half = 0.5 * scale - 0.5  # warpAffine counts from pixel centres, our points from edges
    matrix = np.array([[scale, 0, shift[0] + half], [0, scale, shift[1] + half]])
    cut = cv2.warpAffine(rgba, matrix, (CUT, CUT), flags=cv2.INTER_LINEAR)
    return cut, (points * scale + shift).astype(np.float32)


def matte(frame: np.ndarray, oval: np.ndarray) -> np.ndarray:
    """A GRID frame uint8 [h, w, 3] and its face oval [36, 2] -> uint8 [h, w], 255 on the person.

    The studio wall is plain: a quadratic in x and y fitted to the borders predicts its colour.
    """
    h, w = frame.shape[:2]
    colour = cv2.cvtColor(cv2.GaussianBlur(frame, (3, 3), 0), cv2.COLOR_RGB2LAB).astype(np.float32)
    y, x = np.indices((h, w)).astype(np.float32)
    x, y = (x + 0.5) / w - 0.5, (y + 0.5) / h - 0.5
    basis = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
    wall = (abs(x) > 0.36) & (y < 0.25) | (y < -0.45)
    distance = np.zeros((h, w), np.float32)
    for _ in range(3):
        every = np.zeros_like(wall)
        every[::3, ::3] = wall[::3, ::3]
        fit = np.linalg.lstsq(basis[every], colour[every], rcond=None)[0]
        off = (colour - basis @ fit) * (0.35, 1, 1)  # shadows are still wall
        distance = np.sqrt((off**2).sum(-1))
        wall = (distance < 7) & (y < 0.3)
    person = (distance > 9).astype(np.uint8)
    cv2.fillPoly(person, [oval.astype(np.int32)], 1)
    person = cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    person = cv2.morphologyEx(person, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    _, parts = cv2.connectedComponents(person)
    cx, cy = oval.mean(0).astype(int)
    person = cv2.erode((parts == parts[cy, cx]).astype(np.uint8), np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(person * np.uint8(255), (5, 5), 0)


def rendered_people(facekit: Path, *, heads: int, per_head: int, seed: int) -> People:
    """Cut-outs of random heads, each in some poses, lights, expressions and manners of drawing."""
    rng = np.random.default_rng(seed)
    kit = HeadKit.load(facekit)
    cutouts, points = [], []
    for _ in range(heads):
        head = Head(kit, rng)
        for _ in range(per_head):
            picture, marks = _portrait(rng, head)
            cutouts.append(picture)
            points.append(marks)
    return People(np.stack(cutouts), np.stack(points))


def _portrait(rng: np.random.Generator, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """One cut-out of a rendered head and its points; in profile as often as people turn away."""
    kit = head.kit
    expression = np.zeros(len(kit.expression_names), np.float32)
    expression[rng.integers(0, len(expression), 5)] = rng.uniform(0, 0.8, 5)
    expression[kit.expression_names.index("jawOpen")] = max(0.0, rng.normal() * 0.35)
    yaw = rng.normal() * 0.3 if rng.random() < 0.6 else rng.uniform(-1.25, 1.25)
    pose = Pose(yaw, rng.normal() * 0.22, rng.normal() * 0.08)
    scene = Scene(rng)
    marks = landmarks(head, scene, expression, pose)
    left, right = eyes_of(marks)
    box = standard_box(left, right, mouth_of(marks))
    window = Window.of_box(Box(box.cx, box.cy, SPREAD * box.side), CUT)
    picture = render(head, scene, expression, pose=pose, window=window)
    grain = scene.finish.grain(rng, CUT, CUT)
    colours = scene.finish.apply(picture.linear, picture.lines, grain)
    alpha = (picture.cover * 255).round().astype(np.uint8)
    marks = np.stack([*picture.eyes, picture.mouth])
    return np.dstack([colours, alpha]), marks.astype(np.float32)


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """The frames uint8 [h, w, 3] RGB of a GRID clip."""
    video = cv2.VideoCapture(str(path))
    while True:
        ok, frame = video.read()
        if not ok:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def grid_people(clips: dict[Path, np.ndarray], *, per_clip: int) -> People:
    """Cut-outs from GRID: clip -> landmarks [frames, 96, 2] in pixels, evenly spaced frames."""
    cutouts, points = [], []
    for path, mesh in clips.items():
        wanted = {int(i) for i in np.linspace(2, len(mesh) - 3, per_clip)}
        for index, (frame, marks) in enumerate(zip(frames_of(path), mesh, strict=False)):
            if index in wanted:
                rgba = np.dstack([frame, matte(frame, marks[40:76])])
                cut, moved = cut_out(rgba, mesh_points(marks))
                cutouts.append(cut)
                points.append(moved)
    return People(np.stack(cutouts), np.stack(points))


def _texture(rng: np.random.Generator) -> np.ndarray:
    """A procedural background: coloured noise of some octaves, stripes, checks or plain shapes."""
    n = GROUND
    base, other = rng.uniform(0, 255, (2, 3))
    y, x = np.mgrid[:n, :n] / n
    kind = rng.integers(4)
    if kind == 0:
        field = sum(
            cv2.resize(rng.normal(size=(k, k)), (n, n), interpolation=cv2.INTER_CUBIC) / k**0.5
            for k in rng.choice([3, 5, 9, 17, 33, 65], size=3, replace=False)
        )
        field = 1 / (1 + np.exp(-2 * np.asarray(field)))
    elif kind == 1:
        angle, count = rng.uniform(0, math.pi), rng.uniform(2, 30)
        field = np.sin((x * math.cos(angle) + y * math.sin(angle)) * count * 2 * math.pi)
        field = field > 0 if rng.random() < 0.5 else field / 2 + 0.5
    elif kind == 2:
        count = rng.integers(2, 12)
        field = (np.floor(x * count) + np.floor(y * count)) % 2
    else:
        field = x * rng.normal() + y * rng.normal() + 0.5
    picture = base + (other - base) * np.clip(field, 0, 1)[..., None]
    picture = np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))
    for _ in range(rng.integers(0, 12)):
        colour = [int(v) for v in rng.integers(0, 255, 3)]
        cx, cy, a, b = (int(v) for v in rng.integers(0, n, 4))
        if rng.random() < 0.5:
            cv2.ellipse(picture, (cx, cy), (a // 4 + 1, b // 4 + 1), a, 0, 360, colour, -1)
        else:
            cv2.rectangle(picture, (cx, cy), (cx + a // 3, cy + b // 3), colour, -1)
    return picture


def backgrounds(photographs: Iterable[Path], *, count: int, seed: int) -> np.ndarray:
    """Uint8 [count, 160, 160, 3]: two thirds crops of photographs without people, one textures."""
    rng = np.random.default_rng(seed)
    read = [cv2.imread(str(p)) for p in photographs]
    photos = [cv2.cvtColor(p, cv2.COLOR_BGR2RGB) for p in read if p is not None]
    out = []
    for index in range(count):
        if not photos or index % 3 == 0:
            out.append(_texture(rng))
            continue
        photo = photos[rng.integers(len(photos))]
        side = int(min(photo.shape[:2]) * rng.uniform(0.25, 1))
        top = rng.integers(photo.shape[0] - side + 1)
        left = rng.integers(photo.shape[1] - side + 1)
        crop = photo[top : top + side, left : left + side]
        out.append(cv2.resize(crop, (GROUND, GROUND), interpolation=cv2.INTER_AREA))
    return np.stack(out)


def grid_clips(folder: Path, *, held_out: bool) -> dict[Path, np.ndarray]:
    """GRID clips -> landmarks [frames, 96, 2] in pixels, to learn from or to judge by."""
    clips = {}
    # One clip in sixty of the first speaker: as many as of each of the others.
    for part, every in (("grid_s1", 60), ("grid_other", 1)):
        marks = np.load(folder / part / "landmarks.npz")
        for name in sorted(marks.files)[::every]:
            if (name in HELD_OUT_CLIPS) == held_out:
                clips[folder / part / f"{name}.mp4"] = marks[name] / np.float32(32)
    return clips


def load_people(folder: Path, name: str) -> People:
    """Packed people, left on the disk until drawn."""
    cutouts = np.load(folder / f"{name}_cutouts.npy", mmap_mode="r")
    return People(cutouts, np.load(folder / f"{name}_points.npy"))


def save_people(people: People, folder: Path, name: str) -> None:
    np.save(folder / f"{name}_cutouts.npy", people.cutouts)
    np.save(folder / f"{name}_points.npy", people.points)
