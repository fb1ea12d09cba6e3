"""What happens to a picture after the scene: lens, sensor, grading, compression, drawn styles.

In and out: pictures f32 [h, w, 3] in [0, 1], display values. A `Look` of the camera is drawn once per
clip and applied to source and target alike, so that a pair differs only where the lips do.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

STYLES = ("photo", "cel", "flat", "oil", "pencil")


@dataclass(frozen=True, kw_only=True)
class Finish:
    """One camera and one manner of drawing."""

    style: str
    blur: float
    """Gaussian, pixels."""
    noise: float
    """Standard deviation of the sensor noise."""
    quality: int
    """JPEG quality, 0: none."""
    mix: np.ndarray
    """Colour matrix [3, 3]."""
    gamma: float
    ink: float
    """Strength of contour lines in the drawn styles."""

    @staticmethod
    def draw(rng: np.random.Generator, *, style: str | None = None) -> Finish:
        """A random camera; about a quarter of them draw instead of photographing."""
        if style is None:
            style = str(rng.choice(STYLES, p=[0.75, 0.08, 0.07, 0.06, 0.04]))
        dark = rng.random() < 0.15
        saturation = rng.uniform(0.6, 1.25)
        grey = np.full((3, 3), 1 / 3)
        mix = grey + (np.eye(3) - grey) * saturation
        mix = mix * rng.uniform(0.92, 1.08, 3)[:, None] * (rng.uniform(0.35, 0.7) if dark else 1)
        return Finish(
            style=style,
            blur=float(rng.choice([0, 0.4, 0.7, 1.1])) * float(rng.uniform(0.7, 1.2)),
            noise=float(rng.uniform(0.015, 0.05) if dark else rng.choice([0, 0.006, 0.015, 0.03])),
            quality=int(rng.integers(40, 96)) if rng.random() < 0.5 else 0,
            mix=mix.astype(np.float32),
            gamma=float(np.exp(rng.normal() * 0.12)),
            ink=float(rng.uniform(0.5, 1)),
        )

    def grain(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """This frame's sensor noise [h, w, 3]; the pair shares it."""
        if not self.noise or self.style != "photo":
            return np.zeros((1, 1, 3), np.float32)
        grain = rng.standard_normal((height, width, 3), dtype=np.float32) * np.float32(self.noise)
        return grain

    def apply(self, linear: np.ndarray, lines: np.ndarray, grain: np.ndarray) -> np.ndarray:
        """Linear light [h, w, 3] and contour lines [h, w] -> display picture uint8 [h, w, 3]."""
        picture = display(linear)
        if self.style == "pencil":
            picture = _pencil(picture, lines * self.ink)
        elif self.style == "oil":
            picture = _oil(picture)
        elif self.style in ("cel", "flat"):
            picture = picture * (1 - self.ink * lines[..., None])
        picture = picture @ self.mix.T
        if self.gamma != 1:
            picture = np.maximum(picture, 0) ** np.float32(self.gamma)
        if self.blur > 0.3:
            picture = cv2.GaussianBlur(picture, (0, 0), self.blur)
        out = np.clip((picture + grain) * 255 + 0.5, 0, 255).astype(np.uint8)
        if self.quality:
            _, coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            out = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        return out


def display(linear: np.ndarray) -> np.ndarray:
    """Linear light >= 0 -> display values in [0, 1] with a soft shoulder above 0.8."""
    over = np.maximum(linear - 0.8, 0)
    soft = np.minimum(linear, 0.8) + 0.2 * (over / (over + 0.2))
    return np.sqrt(soft)


def _pencil(picture: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Grey pencil: the picture divided by its blurred self, with contours."""
    grey = picture.mean(-1)
    wide = cv2.GaussianBlur(grey, (0, 0), picture.shape[0] / 24)
    sketch = np.clip(0.35 * grey + 0.62 * np.minimum(grey / (wide + 0.02), 1.05), 0, 1)
    return np.repeat((sketch * (1 - 0.8 * lines))[..., None], 3, -1).astype(np.float32)


def _oil(picture: np.ndarray) -> np.ndarray:
    """Kuwahara's filter: each pixel takes the mean of its calmest quarter."""
    r = max(2, picture.shape[0] // 48)
    size = (r + 1, r + 1)
    mean = cv2.blur(picture, size, anchor=(0, 0))
    spread = (cv2.blur(picture * picture, size, anchor=(0, 0)) - mean * mean).sum(-1)
    best, out = None, mean
    for dy in (0, r):
        for dx in (0, r):
            shift = np.float32([[1, 0, dx], [0, 1, dy]])
            area = picture.shape[1], picture.shape[0]
            moved = cv2.warpAffine(mean, shift, area, borderMode=cv2.BORDER_REPLICATE)
            wild = cv2.warpAffine(spread, shift, area, borderMode=cv2.BORDER_REPLICATE)
            if best is None:
                best, out = wild, moved
                continue
            calmer = wild < best
            best = np.where(calmer, wild, best)
            out = np.where(calmer[..., None], moved, out)
    return out
