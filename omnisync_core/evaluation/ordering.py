"""Do the figures order known damage? The truth video, made worse in known ways, judged again.

Shifted by k frames (lips late), blurred, frozen on its first frame, with the lips of another
voice, with the occluder erased (painted over in the frame's median colour). A figure orders a row
of damages when its mean gets worse with each of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..media import FrameWriter
from .clips import Clip, frames_of, load_clip
from .curves import table
from .judging import FIGURES, Means, judge

_WANTED = (
    *("truth_r", "ose_c", "ose_lag", "sound_r", "closures", "visemes", "lmd", "psnr", "ssim"),
    *("texture", "niqe_own", "style", "likeness", "mcs", "jerk", "occluder", "repair_iou"),
)


def shifted(frames: np.ndarray, count: int) -> np.ndarray:
    """Lips that are count frames late; the first frame stands still before."""
    return np.concatenate([frames[:1].repeat(count, 0), frames[: len(frames) - count]])


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of that many pixels."""
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in frames])


def erased(frames: np.ndarray, clip: Clip) -> np.ndarray:
    """What covers the mouth taken away: its pixels get the frame's median colour."""
    out = frames.copy()
    if clip.cover is not None:
        for one, cover in zip(out, clip.cover, strict=True):
            one[cover > 50] = np.median(one[cover <= 50], 0).astype(np.uint8)
    return out


def damages(folder: Path) -> dict[str, Callable[[np.ndarray, Clip], np.ndarray]]:
    """Name of a damage -> what it makes of the truth's frames."""
    rows: dict[str, Callable[[np.ndarray, Clip], np.ndarray]] = {
        "truth": lambda frames, clip: frames,
        "1 frame late": lambda frames, clip: shifted(frames, 1),
        "2 frames late": lambda frames, clip: shifted(frames, 2),
        "5 frames late": lambda frames, clip: shifted(frames, 5),
        "10 frames late": lambda frames, clip: shifted(frames, 10),
        "blur of 1 pixel": lambda frames, clip: blurred(frames, 1),
        "blur of 2 pixels": lambda frames, clip: blurred(frames, 2),
        "blur of 4 pixels": lambda frames, clip: blurred(frames, 4),
        "frozen": lambda frames, clip: frames[:1].repeat(len(frames), 0),
        "occluder erased": erased,
    }
    if (folder / "other.mp4").exists():
        rows["another voice's lips"] = lambda frames, clip: frames_of(folder / "other.mp4")
    return rows


def judge_damage(folder: Path) -> dict[str, dict[str, float]]:
    """Damage -> figures, of one clip with a truth video."""
    clip = load_clip(folder)
    if clip.truth is None:
        raise UserError(f"{folder} has no truth video; use a run on the built-in clips.")
    found, rate = {}, Fraction(len(clip.truth) - 1) / Fraction(float(clip.numbers["times"][-1]))
    with tempfile.TemporaryDirectory(prefix="order") as room:
        for name, damage in damages(folder).items():
            video = Path(room) / "result.mp4"
            frames = damage(clip.truth, clip)
            high, wide = frames.shape[1:3]
            steady = rate.limit_denominator(1001)
            with FrameWriter(video, width=wide, height=high, rate=steady, lossless=True) as writer:
                for frame in frames:
                    writer.write(np.ascontiguousarray(frame))
            found[name] = judge(clip, video, Means()).figures
    return found


def ordering_table(run: Path) -> str:
    """The table of means over a run's clips; what was judged is kept in RUN/order.json."""
    folders = sorted(p.parent for p in (run / "items").glob("*/truth.mp4"))
    if not folders:
        raise UserError(f"{run} has no clips with a truth video; run `omnisync bench` there first.")
    kept = run / "order.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    for folder in folders:
        if folder.name not in found:
            found[folder.name] = judge_damage(folder)
            kept.write_text(json.dumps(found))
    names = list(dict.fromkeys(name for clip in found.values() for name in clip))
    truths = [clip["truth"] for clip in found.values()]
    shown = [f for f in _WANTED if any(np.isfinite(t[f]) for t in truths)]
    body = []
    for name in names:
        cells = []
        for figure in shown:
            values = [clip[name][figure] for clip in found.values() if name in clip]
            known = [v for v in values if np.isfinite(v)]
            cells.append(f"{np.mean(known):.3f}" if known else "-")
        body.append([name, *cells])
    arrows = {1: " ↑", -1: " ↓", 0: ""}
    return table(["", *(f + arrows[FIGURES[f][2]] for f in shown)], body)
