"""Is the edit drawn in its source's manner? Gram matrices (Gatys et al., 2016) of a fixed bank.

A bank of Gabor filters stands in for VGG: no weights, the same everywhere. score = 1 - mean over
scales of |G' - G| / (|G'| + |G|), in [0, 1], 1 where the textures are the same.
"""

from __future__ import annotations

import cv2
import numpy as np

_WAVES = (3.0, 6.0)  # pixels; of a crop of 96
_BANK = {
    wave: [
        cv2.getGaborKernel((15, 15), wave / 2, turn, wave, 1.0, phase)
        for turn in np.arange(4) * np.pi / 4
        for phase in (0.0, np.pi / 2)
    ]
    for wave in _WAVES
}


def grams(crops: np.ndarray) -> list[np.ndarray]:
    """Mean Gram matrix [24, 24] of each scale over crops uint8 [f, 96, 96, 3]."""
    out = []
    for bank in _BANK.values():
        found = []
        for crop in crops.astype(np.float32) / 255:
            seen = [cv2.filter2D(crop[..., c], -1, k - k.mean()) for k in bank for c in range(3)]
            flat = np.stack(seen).reshape(len(seen), -1)
            found.append(flat @ flat.T / flat.size)
        out.append(np.mean(found, 0))
    return out


def consistency(result: list[np.ndarray], source: list[np.ndarray]) -> float:
    """How alike the Gram matrices of two sets of crops are."""
    norm = np.linalg.norm
    pairs = zip(result, source, strict=True)
    return 1 - float(np.mean([norm(a - b) / max(norm(a) + norm(b), 1e-12) for a, b in pairs]))
