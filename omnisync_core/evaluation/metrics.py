"""Figures of one result's pictures, each for uint8 frames [f, h, w, 3] of equal shape.

docs/benchmark.md says which way each figure is better and what it cannot tell.
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio in dB over the frames, at most 100 (equal frames)."""
    pairs = zip(result, truth, strict=True)
    values = [
        100.0 if np.array_equal(a, b) else peak_signal_noise_ratio(b, a, data_range=255)
        for a, b in pairs
    ]
    return float(np.mean(np.minimum(values, 100.0)))


def ssim(result: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity (Wang et al. 2004: Gaussian of 1.5 pixels), 1 where equal."""
    return float(
        np.mean(
            [
                structural_similarity(
                    b,
                    a,
                    channel_axis=-1,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                    data_range=255,
                )
                for a, b in zip(result, truth, strict=True)
            ]
        )
    )


def sharpness(frames: np.ndarray) -> float:
    """Mean variance of the Laplacian of the grey pictures, in squared grey levels."""
    grey = [cv2.cvtColor(np.ascontiguousarray(one), cv2.COLOR_RGB2GRAY) for one in frames]
    return float(np.mean([cv2.Laplacian(one, cv2.CV_64F).var() for one in grey]))


def error_within(result: np.ndarray, source: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute difference in 8-bit levels where `where` [f, h, w] is true; NaN if nowhere."""
    if not where.any():
        return float("nan")
    total, count = 0.0, 0
    for a, b, mask in zip(result, source, where, strict=True):
        inside = int(mask.sum())
        total += sum(cv2.mean(cv2.absdiff(a, b), mask.astype(np.uint8))[:3]) * inside
        count += 3 * inside
    return total / count
