"""The lips, read off the pictures around a known mouth.

No network and nothing that trained the product: for every clip a ridge regression from the grey
picture around the mouth to the opening and the 20 lip points is fitted on the source's frames,
whose true lips are known, and then reads any result. How well it reads the truth video, which it
never saw, is printed with the figures. It reads only clips with known lips, so rendered ones.
"""

from __future__ import annotations

import cv2
import numpy as np

_WIDE, _HIGH = 28, 24  # pixels of the picture that is read
_SHARE = 0.5  # its width over the side of the standard crop
_RIDGE = 0.02  # of the mean square of the pictures' deviations


def look(frames: np.ndarray, places: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Grey pictures f32 [f, 24 * 28] around places [f, 2]; sides [f] of the crop in pixels."""
    out = np.empty((len(frames), _HIGH * _WIDE), np.float32)
    for i, (frame, (x, y), side) in enumerate(zip(frames, places, sides, strict=True)):
        scale = _WIDE / (_SHARE * side)
        matrix = np.array([[scale, 0, _WIDE / 2 - scale * x], [0, scale, _HIGH / 2 - scale * y]])
        grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
        soft = cv2.GaussianBlur(grey, (0, 0), max(0.5 / scale, 0.3))
        small = cv2.warpAffine(soft, matrix, (_WIDE, _HIGH), borderMode=cv2.BORDER_REPLICATE)
        out[i] = small.ravel()
    return out


class Ruler:
    """Fitted on pictures [f, n] and what is true of them [f, k]; reads pictures [g, n] -> [g, k].

    Raises ValueError for fewer than eight frames of which it is known (finite).
    """

    def __init__(self, pictures: np.ndarray, true: np.ndarray) -> None:
        known = np.isfinite(true).all(1)
        if known.sum() < 8:
            raise ValueError(f"expected 8 frames of known lips or more, got {known.sum()}")
        self.mean, self.rest = pictures[known].mean(0), true[known].mean(0)
        seen = (pictures[known] - self.mean).astype(np.float64)
        kernel = seen @ seen.T
        damping = _RIDGE * np.trace(kernel) + 1e-9
        damped = kernel + damping * np.eye(len(kernel))
        self.weights = seen.T @ np.linalg.solve(damped, true[known] - self.rest)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return (pictures - self.mean) @ self.weights + self.rest
