"""A drawn mouth whose opening is known: clips for the judges without renderer and speech."""

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from omnisync_core.evaluation.built_in import write_sound
from omnisync_core.evaluation.clips import load_clip
from omnisync_core.media import FrameWriter

COUNT, SIZE = 60, 96


def opening_of(seed: int, count: int = COUNT) -> np.ndarray:
    """A smooth random opening [f] in [0, 1]."""
    rng = np.random.default_rng(seed)
    values = np.convolve(rng.random(count + 8), np.hanning(6), "valid")[:count]
    return (values - values.min()) / np.ptp(values)


def draw(opening: np.ndarray) -> np.ndarray:
    """Frames uint8 [f, 96, 96, 3] with a dark ellipse as high as the mouth is open."""
    rng = np.random.default_rng(5)
    ground = cv2.GaussianBlur(rng.integers(90, 220, (SIZE, SIZE, 3)).astype(np.uint8), (0, 0), 2)
    frames = []
    for value in opening:
        frame = ground.copy()
        axes = (14 * 16, round((2 + 9 * float(value)) * 16))
        cv2.ellipse(frame, (48 * 16, 60 * 16), axes, 0, 0, 360, (60, 20, 20), -1, cv2.LINE_AA, 4)
        frames.append(frame)
    return np.stack(frames)


def lips(opening: np.ndarray) -> np.ndarray:
    """Lip points [f, 40] of the drawn mouth, in distances of eyes that are 40 pixels apart."""
    turn = np.arange(20) * np.pi / 10
    x = np.broadcast_to(14 * np.cos(turn) / 40, (len(opening), 20))
    y = (2 + 9 * opening)[:, None] * np.sin(turn) / 40
    return np.concatenate([x, y], 1)


def write_video(path: Path, frames: np.ndarray, rate: int = 25) -> Path:
    high, wide = frames.shape[1:3]
    with FrameWriter(path, width=wide, height=high, rate=Fraction(rate), lossless=True) as writer:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame))
    return path


def write_item(folder: Path, *, track: str = "general") -> Path:
    """A clip as built_in.make leaves it."""
    folder.mkdir(parents=True)
    truth = {"times": np.arange(COUNT) / 25.0}
    for seed, name in enumerate(("source", "truth", "other")):
        truth[name] = opening_of(seed)
        truth[f"{name}_lips"] = lips(truth[name])
        write_video(folder / f"{name}.mp4", draw(truth[name]))
    truth["places"] = np.tile((48.0, 60.0), (COUNT, 1))
    truth["centres"] = np.tile((48.0, 58.0), (COUNT, 1))
    truth["sides"] = np.full(COUNT, 70.0)
    truth["source_visemes"] = np.where(truth["source"] > 0.5, 12, 1)
    wide_open = truth["truth"] > 0.5
    edges = np.flatnonzero(np.diff(wide_open)) + 1
    runs = zip((0, *edges), (*edges, COUNT), strict=True)
    truth["phones"] = np.array([(a / 25, b / 25, 12 if wide_open[a] else 1) for a, b in runs])
    np.savez(folder / "item.npz", **truth)
    rng = np.random.default_rng(3)
    level = np.interp(np.arange(COUNT * 640) / 640, np.arange(COUNT), truth["truth"])
    sound = (0.02 + level) * rng.normal(size=len(level)) * 0.2
    for name in ("voice", "clean"):
        write_sound(folder / f"{name}.wav", sound)
    about = {"track": track, "group": "", "name": folder.name}
    (folder / "item.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def item(tmp_path_factory) -> Path:
    return write_item(tmp_path_factory.mktemp("items") / "drawn-00")


@pytest.fixture
def clip(item):
    return load_clip(item)
