"""The worst clips of a method: which, their strips of mouths, their curves."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .bench import Row
from .clips import Clip, frames_of, load_clip
from .curves import envelope
from .methods import Method

MOMENTS = 8
_COUNT, _STRIP = 6, 112
_KEYS = ("truth_r", "sound_r", "ose_c", "mcs")


@dataclass(frozen=True)
class Worst:
    """One clip; key is the figure by which it is bad."""

    row: Row
    key: str
    strips: dict[str, str]
    """Video -> JPEG as base64, mouths at the same moments."""
    times: np.ndarray
    read: dict[str, np.ndarray]
    """Method -> opening as read [f]."""
    sound: np.ndarray
    """The voice's envelope at those times."""


def worst_clips(rows: Sequence[Row], run: Path, label: str) -> list[Worst]:
    """A method's worst clips, the worst first; by the first figure that any clip has."""
    own = [row for row in rows if row["method"] == label and row["status"] == "ok"]
    key = next((k for k in _KEYS if any(_known(row, k) for row in own)), _KEYS[-1])
    ranked = sorted((row for row in own if _known(row, key)), key=lambda row: row[key])
    found = []
    for row in ranked[:_COUNT]:
        item = run / "items" / row["name"]
        videos = {m: _video(run, m, row["name"]) for m in dict.fromkeys((label, "truth"))}
        if not (item / "item.json").exists() or not videos[label].exists():
            continue
        clip = load_clip(item)
        shown = {"source": clip.source} | {m: frames_of(v) for m, v in videos.items() if v.exists()}
        found.append(Worst(row, key, _strips(clip, shown), *_curves(clip, videos)))
    return found


def _known(row: Row, key: str) -> bool:
    return isinstance(row.get(key), float) and np.isfinite(row[key])


def _video(run: Path, label: str, name: str) -> Path:
    return run / "results" / Method(label, lambda item, out: None).folder / f"{name}.mp4"


def _curves(
    clip: Clip, videos: dict[str, Path]
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    times, heard = clip.numbers["times"], envelope(clip.sound)
    sound = np.interp(times, np.arange(len(heard)) / 100, heard)
    read = {}
    for label, video in videos.items():
        if (kept := video.with_suffix(".npz")).exists():
            with np.load(kept) as stored:
                read[label] = stored["opening"]
    return times, read, sound


def _strips(clip: Clip, shown: dict[str, np.ndarray]) -> dict[str, str]:
    moments = np.linspace(0, min(len(f) for f in shown.values()) - 1, MOMENTS + 2).astype(int)[1:-1]
    out = {}
    for label, frames in shown.items():
        crops = [clip.crop(frames[i], i, _STRIP) for i in moments]
        data = cv2.imencode(".jpg", np.concatenate(crops, 1)[..., ::-1])[1].tobytes()
        out[label] = base64.b64encode(data).decode()
    return out
