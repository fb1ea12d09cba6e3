"""NIQE's distance (Mittal, Soundararajan, Bovik, 2013), against the source's own statistics.

18 features of locally normalised grey levels at two scales, of patches of a crop; a multivariate
Gaussian of them for source and result; the distance of the two Gaussians. The published NIQE
measures against photographs; its model carries no licence for us, and drawn or dark sources would
be called unnatural. So ours says how far a result's textures are from its source's: `niqe_own`.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.special import gamma

SIDE, _PATCH = 192, 48  # pixels of the crop and of a patch at the first scale
_SHAPES = np.arange(0.2, 10, 0.001)
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))


def normalised(grey: np.ndarray) -> np.ndarray:
    """Grey f32 [h, w] less its local mean over its local deviation (Gaussian, 7 pixels)."""
    mean = cv2.GaussianBlur(grey, (7, 7), 7 / 6)
    variance = cv2.GaussianBlur(grey * grey, (7, 7), 7 / 6) - mean * mean
    return (grey - mean) / (np.sqrt(np.maximum(variance, 0)) + 1)


def asymmetric_fit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape, left and right deviation of asymmetric generalised Gaussians, fitted by moments.

    values [p, n], one row for each patch; each of the answers [p].
    """
    left = np.sqrt(_mean_where(values**2, values < 0))
    right = np.sqrt(_mean_where(values**2, values > 0))
    skew = left / np.maximum(right, 1e-6)
    moment = np.abs(values).mean(1) ** 2 / np.maximum((values**2).mean(1), 1e-12)
    moment = moment * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    # The ratio rises with the shape.
    return _SHAPES[np.searchsorted(_RATIOS, moment).clip(0, len(_SHAPES) - 1)], left, right


def _mean_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return (values * where).sum(1) / np.maximum(where.sum(1), 1)


def features(crops: np.ndarray) -> np.ndarray:
    """Features [16 f, 36] of crops uint8 [f, 192, 192, 3]."""
    rows = []
    for crop in crops:
        grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY).astype(np.float32)
        small = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
        scales = ((grey, _PATCH), (small, _PATCH // 2))
        rows.append(np.concatenate([_of_patches(normalised(g), p) for g, p in scales], 1))
    return np.concatenate(rows)


def _of_patches(values: np.ndarray, side: int) -> np.ndarray:
    def cut(one: np.ndarray) -> np.ndarray:
        n = one.shape[0] // side
        return one.reshape(n, side, n, side).swapaxes(1, 2).reshape(n * n, -1)

    shape, left, right = asymmetric_fit(cut(values))
    found = [shape, (left + right) / 2]
    for move in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = asymmetric_fit(cut(values * np.roll(values, move, (0, 1))))
        spread = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
        mean = (right - left) * spread * gamma(2 / shape) / gamma(1 / shape)
        found += [shape, mean, left**2, right**2]
    return np.stack(found, 1)


def distance(result: np.ndarray, pristine: np.ndarray) -> float:
    """Of the Gaussians of two sets of features [n, 36]; 0 where they are the same."""
    a, b = result.mean(0), pristine.mean(0)
    spread = (np.cov(result.T) + np.cov(pristine.T)) / 2
    return float(np.sqrt(max((a - b) @ np.linalg.pinv(spread) @ (a - b), 0)))
