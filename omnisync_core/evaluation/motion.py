"""Does the edit move as its source does? The four parts of the motion coherence score (MCS).

A frame is compared with the one before, carried along by the optical flow of the source (OpenCV's
DIS), at half the resolution, outside of the mouth and of what lies in front of it.
"""

from __future__ import annotations

import cv2
import numpy as np

_LEAST = 0.05  # grey levels; below it a source stands still and a ratio says nothing


def half(frames: np.ndarray) -> np.ndarray:
    """Grey uint8 [f, h/2, w/2] of frames uint8 [f, h, w, 3]."""
    size = (max(frames.shape[2] // 2, 16), max(frames.shape[1] // 2, 16))
    grey = (cv2.cvtColor(np.ascontiguousarray(one), cv2.COLOR_RGB2GRAY) for one in frames)
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in grey])


def flows(grey: np.ndarray) -> np.ndarray:
    """Backward flow f16 [f - 1, h, w, 2] in pixels: frame i + 1 at p shows frame i at p + flow."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    empty = np.zeros((*grey.shape[1:], 2), np.float32)
    pairs = zip(grey[1:], grey[:-1], strict=True)
    return np.stack([dis.calc(now, old, empty.copy()).astype(np.float16) for now, old in pairs])


def warp_errors(grey: np.ndarray, flow: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean error [f - 1] in grey levels of every frame against the carried one before it.

    grey uint8 and where bool [f, h, w]; flow of the source.
    """
    y, x = np.mgrid[: grey.shape[1], : grey.shape[2]].astype(np.float32)
    errors = []
    for old, now, way, mask in zip(grey[:-1], grey[1:], flow, where[1:], strict=True):
        dx, dy = np.moveaxis(way.astype(np.float32), -1, 0)
        carried = cv2.remap(old, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        errors.append(cv2.absdiff(carried, now)[mask].mean() if mask.any() else np.nan)
    return np.array(errors)


def coherence(
    result: np.ndarray, source: np.ndarray, *, jerks: tuple[float, float], drift: float
) -> dict[str, float]:
    """Parts and score from warp errors [f - 1] of result and source, jerks of the lips (result's,
    truth's; NaN where not known: that part counts as 1) and the drift of the likeness."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.maximum(result, _LEAST) / np.maximum(source, _LEAST)
        flicker = max(float(np.nanmean(result)), _LEAST) / max(float(np.nanmean(source)), _LEAST)
        jerk = jerks[0] / jerks[1]
    seam = np.nanpercentile(ratio, 95) / max(float(np.nanmedian(ratio)), 1e-6)
    # The source itself has no seams, so its own spread is 1 by construction of the ratio.
    lost = [max(np.log(max(flicker, 1e-6)), 0.0), max(np.log(max(seam, 1.0)), 0.0)]
    lost += [0.5 * abs(np.log(jerk)) if np.isfinite(jerk) and jerk > 0 else 0.0]
    lost += [5 * max(drift, 0.0) if np.isfinite(drift) else 0.0]
    score = 100 * float(np.exp(-sum(lost) / 2))
    return {"flicker": float(flicker), "seam": float(seam), "jerk": float(jerk), "mcs": score}


def jerk(curves: np.ndarray) -> float:
    """Mean absolute third difference in time of curves [f, k]; NaN below four known frames."""
    known = curves[np.isfinite(curves).all(1)]
    return float(np.abs(np.diff(known, 3, axis=0)).mean()) if len(known) > 3 else float("nan")
