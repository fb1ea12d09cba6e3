"""Do the figures order known damage? The truth video, made worse in known ways, judged again.

Shifted by k frames (lips late), blurred, frozen on its first frame, with the lips of another
voice, with the occluder erased (painted over in the frame's median colour). A figure orders a
family of damages when its mean gets worse with each of them.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..media import FrameWriter
from .bench import one_thread
from .clips import Clip, frames_of, load_clip
from .curves import table
from .judging import FIGURES, Means, judge

_WANTED = (
    *("truth_r", "sound_r", "ose_c", "ose_lag", "closures", "false_closures", "visemes", "lmd"),
    *("psnr", "ssim", "texture", "niqe_own", "style", "likeness", "jerk", "mcs"),
    *("occluder", "repair_iou"),
)
FAMILIES = {
    "late": ("truth", "1 frame late", "2 frames late", "5 frames late"),
    "blurred": ("truth", "blur of 1 pixel", "blur of 2 pixels", "blur of 4 pixels"),
    "frozen": ("truth", "frozen"),
    "other voice": ("truth", "another voice's lips"),
    "erased": ("truth", "occluder erased"),
}
"""Damages that get worse from step to step."""


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


def ordering_table(run: Path, *, workers: int = 1) -> str:
    """What a run's figures order, and their means; what was judged is kept in RUN/order/."""
    folders = sorted(p.parent for p in (run / "items").glob("*/truth.mp4"))
    if not folders:
        raise UserError(f"{run} has no clips with a truth video; run `omnisync bench` there first.")
    (run / "order").mkdir(exist_ok=True)
    work = partial(_kept, place=run / "order")
    if workers == 1 or len(folders) < 2:
        found = [work(folder) for folder in folders]
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawn, initializer=one_thread) as pool:
            found = list(pool.map(work, folders))
    shown = [f for f in _WANTED if any(np.isfinite(clip["truth"].get(f, np.nan)) for clip in found)]
    return f"{_verdicts(found, shown)}\n{_means(found, shown)}"


def _kept(folder: Path, place: Path) -> dict[str, dict[str, float]]:
    stored = place / f"{folder.name}.json"
    if not stored.exists():
        stored.write_text(json.dumps(judge_damage(folder)))
    return json.loads(stored.read_text())


def badness(figure: str, value: float, truth: float) -> float:
    """The same for every figure: the higher, the worse."""
    way = FIGURES[figure][2]
    return -way * value if way else abs(value - truth)


def _verdicts(found: list[dict[str, dict[str, float]]], shown: list[str]) -> str:
    """Figure x family: whether the mean gets worse at every step, and on how many of the clips."""
    body = []
    for figure in shown:
        cells = [figure]
        for steps in FAMILIES.values():
            rows = [
                [badness(figure, clip[s].get(figure, np.nan), clip["truth"][figure]) for s in steps]
                for clip in found
                if all(s in clip for s in steps)
            ]
            rows = [row for row in rows if np.isfinite(row).all()]
            if not rows:
                cells.append("-")
                continue
            right = [bool((np.diff(row) > 0).all()) for row in rows]
            word = "yes" if (np.diff(np.mean(rows, 0)) > 0).all() else "no"
            cells.append(f"{word} ({sum(right)} of {len(right)})")
        body.append(cells)
    return table(["worse at every step?", *FAMILIES], body)


def _means(found: list[dict[str, dict[str, float]]], shown: list[str]) -> str:
    names = list(dict.fromkeys(name for clip in found for name in clip))
    body = []
    for name in names:
        cells = []
        for figure in shown:
            values = [clip[name].get(figure, np.nan) for clip in found if name in clip]
            known = [v for v in values if np.isfinite(v)]
            cells.append(f"{np.mean(known):.3f}" if known else "-")
        body.append([name, *cells])
    arrows = {1: " ↑", -1: " ↓", 0: ""}
    return table(["means", *(f + arrows[FIGURES[f][2]] for f in shown)], body)
