"""Every figure of one result. docs/benchmark.md defines them and says what each cannot tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..locator import MouthLocator
from ..media import probe_video
from ..region import Box
from . import likeness, motion, naturalness, style
from .clips import Clip, frames_of
from .judge import RATE, WEIGHTS, judge_sync, load_judge, mouth_pictures
from .lips import lip_figures, read, read_truth
from .metrics import error_within, psnr, sharpness, ssim
from .syncnet import faces_of, load_syncnet, syncnet_figures

FIGURES = {
    "truth_r": ("opening against the true opening", "correlation", 1),
    "truth_lag": ("lips late against the true lips", "ms", 0),
    "sound_r": ("opening against the voice's envelope", "correlation", 1),
    "sound_lag": ("lips late against the envelope, best within 200 ms", "ms", 0),
    "ose_c": ("own sync judge, confidence", "cosine", 1),
    "ose_d": ("own sync judge, least distance", "1 - cosine", -1),
    "ose_lag": ("own sync judge, lips late", "frames", 0),
    "lse_c": ("SyncNet confidence", "distance", 1),
    "lse_d": ("SyncNet least distance", "distance", -1),
    "lse_lag": ("SyncNet, lips late", "frames", 0),
    "closures": ("p, b, m at which the lips meet", "share", 1),
    "false_closures": ("open vowels at which the lips meet", "share", -1),
    "visemes": ("phones with the lips of their group, mean over groups", "share", 1),
    "lmd": ("lip points from the truth's", "% of the eyes' distance", -1),
    "leak": ("silent time with open lips", "share", -1),
    "open_ratio": ("mean opening over the truth's", "ratio", 0),
    "psnr": ("mouth against the truth", "dB", 1),
    "ssim": ("mouth against the truth", "", 1),
    "texture": ("sharpness of the mouth over the truth's or source's", "ratio", 0),
    "niqe_own": ("textures of the crop from the source's", "distance", -1),
    "style": ("manner of drawing as the source's", "", 1),
    "outside": ("change outside of the crop", "grey levels", -1),
    "likeness": ("likeness to the source, mean", "cosine", 1),
    "likeness_least": ("likeness to the source, least", "cosine", 1),
    "likeness_drift": ("likeness, first less last third", "cosine", -1),
    "lost": ("frames in which no face is found", "share", -1),
    "occluder": ("change of what covers the mouth", "grey levels", -1),
    "repair_iou": ("changed pixels against those to change", "IoU", 1),
    "flicker": ("warp error over the source's", "ratio", 0),
    "seam": ("95th percentile of the warp ratio over its median", "ratio", -1),
    "jerk": ("third difference of the lips over the truth's", "ratio", 0),
    "mcs": ("motion coherence score", "0 to 100", 1),
    "ruler_r": ("the ruler's own reading of the truth video", "correlation", 1),
    "fps": ("frames a second of the method", "1/s", 1),
}
"""Figure -> its words, its unit, and 1 where higher is better, -1 where lower, 0 where neither."""
SPARE = 5
"""Frames by which a result may be longer or shorter (SyncNet leaves out the last five, too)."""
_CHANGED = 8  # grey levels


@dataclass(frozen=True)
class Means:
    """What the user brings to judge with; all may stay away."""

    syncnet: Path | None = None
    embedder: str = "locator"
    fid: Path | None = None
    fvd: Path | None = None


@dataclass
class Verdict:
    """All of one result."""

    figures: dict[str, float]
    opening: np.ndarray
    """As read [f]; NaN where it could not be."""
    features: dict[str, np.ndarray] = field(default_factory=dict)
    """For distances between sets: name -> [n, d]."""


def judge(clip: Clip, video: Path, means: Means) -> Verdict:
    """Judge one result. Raises UserError for one of another size, rate or length."""
    result = fitting_frames(clip, video)
    count = len(result)
    figures = dict.fromkeys((name for name in FIGURES if name != "fps"), float("nan"))
    seen = read(clip, result)
    opening, lips = seen[:, 0], seen[:, 1:]
    if np.isfinite(opening).any():
        figures |= lip_figures(clip, opening, lips)
    figures |= _sync(clip, result, means)
    figures |= _pictures(clip, result)
    crops = clip.crops(result, likeness.FACE, every=likeness.EVERY)
    figures |= likeness.steadiness(
        likeness.embed(crops, means.embedder), _seen_source(clip, means.embedder)
    )
    figures["lost"] = _lost(clip, result)
    # The truth's lips as the ruler reads them: its own noise jerks as the result's does.
    jerks = (motion.jerk(lips), motion.jerk(read_truth(clip)[:count, 1:]))
    figures |= motion.coherence(
        motion.warp_errors(motion.half(result), _flow(clip)[: count - 1], _beside(clip)[:count]),
        _source_errors(clip)[: count - 1],
        jerks=jerks,
        drift=figures["likeness_drift"],
    )
    return Verdict(figures, opening, set_features(clip, result, means))


def fitting_frames(clip: Clip, video: Path) -> np.ndarray:
    """The result's frames, cut to the source's number.

    Raises UserError for another size, rate, or more than SPARE frames too many or too few.
    """
    info, source = probe_video(video), clip.source
    result = frames_of(video)
    rate = len(clip.numbers["times"]) / max(float(clip.numbers["times"][-1]), 1e-9)
    got_rate = len(info.times) / max(float(info.times[-1]), 1e-9)
    if (
        result.shape[1:] != source.shape[1:]
        or abs(len(result) - len(source)) > SPARE
        or abs(got_rate / rate - 1) > 0.1
    ):
        raise UserError(
            f"expected {len(source)} frames of {source.shape[2]} x {source.shape[1]} at "
            f"{rate:.4g} a second as the source, got {len(result)} of {result.shape[2]} x "
            f"{result.shape[1]} at {got_rate:.4g}; keep length, size and rate"
        )
    return result[: len(source)]


def _sync(clip: Clip, result: np.ndarray, means: Means) -> dict[str, float]:
    """The sync judge that ships, and SyncNet where the user has it, both at 25 frames a second."""
    if np.abs(clip.sound).max() < 1e-4:
        return {}  # nothing to be in sync with
    times = clip.numbers["times"][: len(result)]
    frames = np.arange(int(times[-1] * RATE) + 1) / RATE
    index = np.abs(times[None] - frames[:, None]).argmin(1)
    figures = {}
    numbers = {name: clip.numbers[name][index] for name in ("places", "sides", "centres")}
    if len(index) >= 50 and WEIGHTS.exists():
        mouths = mouth_pictures(result[index], numbers["places"], numbers["sides"])
        said = judge_sync(_judge(), mouths, clip.sound)
        figures = {"ose_c": said.confidence, "ose_d": 1 - said.curve.max(), "ose_lag": said.lag}
    if means.syncnet is not None and len(index) >= 50:
        faces = faces_of(result[index], numbers["centres"], numbers["sides"])
        figures |= syncnet_figures(load_syncnet(means.syncnet), faces, clip.sound)
    return {name: float(value) for name, value in figures.items()}


@lru_cache(maxsize=1)
def _judge():
    return load_judge(WEIGHTS)


def _pictures(clip: Clip, result: np.ndarray) -> dict[str, float]:
    count, source = len(result), clip.source[: len(result)]
    squares = clip.squares(0.5)[:count]
    rows, columns = (min(s[k].stop - s[k].start for s in squares) for k in (0, 1))

    def cut(frames: np.ndarray) -> np.ndarray:
        places = zip(frames, squares, strict=True)
        return np.stack(
            [f[a.start : a.start + rows, b.start : b.start + columns] for f, (a, b) in places]
        )

    seen = cut(result)
    outside = np.ones(result.shape[:3], bool)
    for mask, where in zip(outside, clip.squares(1.3, centres="centres"), strict=False):
        mask[where] = False
    figures = {"outside": error_within(result, source, outside)}
    true = cut(clip.truth[:count]) if clip.truth is not None else None
    figures["texture"] = sharpness(seen) / max(sharpness(cut(source) if true is None else true), 1)
    if true is not None and min(rows, columns) >= 11:  # SSIM's window
        figures |= {"psnr": psnr(seen, true), "ssim": ssim(seen, true)}
    if clip.cover is not None:
        cover = clip.cover[:count]
        figures["occluder"] = error_within(result, source, cover > 95)
        figures["repair_iou"] = _repair_iou(result, source, cover, squares)
    crops, pristine = clip.crops(result, naturalness.SIDE, every=5), _source_textures(clip)
    figures["niqe_own"] = naturalness.distance(naturalness.features(crops), pristine)
    small = clip.crops(result, 96, every=5)
    figures["style"] = style.consistency(style.grams(small), _source_grams(clip))
    return figures


def _repair_iou(result: np.ndarray, source: np.ndarray, cover: np.ndarray, squares: list) -> float:
    """Changed pixels against the mouth's square less what lies in front of it."""
    both, either = 0, 0
    for now, old, hidden, where in zip(result, source, cover, squares, strict=True):
        changed = cv2.absdiff(now, old).max(-1) > _CHANGED
        wanted = np.zeros_like(changed)
        wanted[where] = True
        wanted &= hidden < 50
        both += int((changed & wanted).sum())
        either += int((changed | wanted).sum())
    return both / max(either, 1)


def _lost(clip: Clip, result: np.ndarray) -> float:
    """Share of looked-at frames in which the locator finds no mouth where the source has one."""
    locator, missed = _locator(), []
    for i in range(0, len(result), likeness.EVERY):
        (x, y), side = clip.numbers["centres"][i], float(clip.numbers["sides"][i])
        box = Box(float(x), float(y), side)
        if locator.locate(clip.source[i], box) is not None:
            missed.append(locator.locate(result[i], box) is None)
    return float(np.mean(missed)) if missed else float("nan")


@lru_cache(maxsize=1)
def _locator() -> MouthLocator:
    return MouthLocator.load()


def set_features(clip: Clip, result: np.ndarray, means: Means) -> dict[str, np.ndarray]:
    """What distances between sets compare: crops of every fifth frame, and of all for video."""
    crops = clip.crops(result, 128, every=likeness.EVERY)
    found = {"own": likeness.own_features(crops)}
    if means.fid is not None:
        found["fid"] = likeness.backbone_features(means.fid, crops, video=False)
    if means.fvd is not None:
        found["fvd"] = likeness.backbone_features(means.fvd, clip.crops(result, 128), video=True)
    return found


# What is worked out once for a clip and used for every method; clips come one after another.


def _seen_source(clip: Clip, embedder: str) -> np.ndarray:
    def make() -> np.ndarray:
        crops = clip.crops(clip.source, likeness.FACE, every=likeness.EVERY)
        return likeness.embed(crops, embedder)

    return clip.once("embedded", make)


def _source_textures(clip: Clip) -> np.ndarray:
    def make() -> np.ndarray:
        return naturalness.features(clip.crops(clip.source, naturalness.SIDE, every=5))

    return clip.once("textures", make)


def _source_grams(clip: Clip) -> list[np.ndarray]:
    return clip.once("grams", lambda: style.grams(clip.crops(clip.source, 96, every=5)))


def _flow(clip: Clip) -> np.ndarray:
    return clip.once("flow", lambda: motion.flows(motion.half(clip.source)))


def _source_errors(clip: Clip) -> np.ndarray:
    def make() -> np.ndarray:
        return motion.warp_errors(motion.half(clip.source), _flow(clip), _beside(clip))

    return clip.once("errors", make)


def _beside(clip: Clip) -> np.ndarray:
    """Half-size pixels [f, h/2, w/2] outside of the mouth and of what lies in front."""

    def make() -> np.ndarray:
        high, wide = clip.source.shape[1:3]
        out = np.ones((len(clip.source), max(high // 2, 16), max(wide // 2, 16)), bool)
        for i, (mask, (rows, columns)) in enumerate(zip(out, clip.squares(0.5), strict=True)):
            row, column = (slice(k.start // 2, k.stop // 2 + 1) for k in (rows, columns))
            mask[row, column] = False
            if clip.cover is not None:
                cover = clip.cover[i][: 2 * mask.shape[0] : 2, : 2 * mask.shape[1] : 2]
                mask[: cover.shape[0], : cover.shape[1]] &= cover < 5
        return out

    return clip.once("beside", make)
