"""What happens to a picture after the scene: lens, sensor, grading, compression, drawn styles.

In: linear light f32 [h, w, 3]; out: display pictures uint8. A `Finish` is drawn once per clip and
applied to source and target alike, so that a pair differs only where the lips do.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_BROWN, _CREAM, _BLUE = np.array(
    [(0.22, 0.1, 0.1), (0.96, 0.92, 0.8), (0.1, 0.12, 0.24)], np.float32
)
STYLES = ("photo", "cel", "flat", "oil", "pencil")


@dataclass(frozen=True, kw_only=True)
class Finish:
    """One camera and one manner of drawing."""

    style: str
    shrink: float
    """The picture was this much smaller once (1: never)."""
    blur: float
    """Gaussian, pixels."""
    smear: tuple[float, float]
    """Motion blur along (x, y), pixels."""
    noise: float
    """Standard deviation of the sensor noise."""
    noise_size: float
    """Width of its grains, pixels."""
    quality: int
    """JPEG quality, 0: none."""
    mix: np.ndarray
    """Colour matrix [3, 3]."""
    gamma: float
    lift: float
    """Brightness of black: haze, faded film."""
    ink: float
    """Strength of contour lines in the drawn styles."""

    @staticmethod
    def draw(rng: np.random.Generator, *, style: str | None = None) -> Finish:
        """A random camera; a quarter of them draw instead of photographing."""
        if style is None:
            style = str(rng.choice(STYLES, p=[0.75, 0.08, 0.07, 0.06, 0.04]))
        dark = rng.random() < 0.12
        grey = np.full((3, 3), 1 / 3)
        mix = grey + (np.eye(3) - grey) * rng.uniform(0.6, 1.25)
        mix = mix * rng.uniform(0.92, 1.08, 3)[:, None] * (rng.uniform(0.4, 0.75) if dark else 1)
        smear = rng.normal(size=2) * 1.2 if rng.random() < 0.12 else np.zeros(2)
        return Finish(
            style=style,
            shrink=float(rng.uniform(0.35, 0.9)) if rng.random() < 0.35 else 1.0,
            blur=float(rng.choice([0, 0, 0.5, 0.8, 1.2]) * rng.uniform(0.7, 1.2)),
            smear=(float(smear[0]), float(smear[1])),
            noise=float(rng.uniform(0.01, 0.04) if dark else rng.choice([0, 0.005, 0.012, 0.025])),
            noise_size=float(rng.uniform(0.4, 0.9)) if rng.random() < 0.5 else 0.0,
            quality=int(rng.integers(40, 96)) if rng.random() < 0.5 else 0,
            mix=mix.astype(np.float32),
            gamma=float(np.exp(rng.normal() * 0.15)),
            lift=float(rng.uniform(0, 0.12)) if rng.random() < 0.3 else 0.0,
            ink=float(rng.uniform(0.5, 1)),
        )

    @staticmethod
    def clean(style: str = "photo") -> Finish:
        """A faultless camera, for demonstrations and tests."""
        return Finish(
            style=style,
            shrink=1.0,
            blur=0.0,
            smear=(0.0, 0.0),
            noise=0.0,
            noise_size=0.0,
            quality=0,
            mix=np.eye(3, dtype=np.float32),
            gamma=1.0,
            lift=0.0,
            ink=0.8,
        )

    def grain(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """This frame's sensor noise [h, w, 3] (or nothing, [1, 1, 3]); a pair shares it."""
        if not self.noise or self.style != "photo":
            return np.zeros((1, 1, 3), np.float32)
        grain = rng.standard_normal((height, width, 3), dtype=np.float32)
        if self.noise_size:
            # A Gaussian of width s leaves 1 / (2 s sqrt(pi)) of white noise's deviation.
            blurred = cv2.GaussianBlur(grain, (0, 0), self.noise_size)
            grain = blurred * max(1.0, 3.54 * self.noise_size)
        return grain * np.float32(self.noise)

    def apply(self, linear: np.ndarray, lines: np.ndarray, grain: np.ndarray) -> np.ndarray:
        """Linear light [h, w, 3] and contour lines [h, w] -> display picture uint8 [h, w, 3]."""
        height, width = linear.shape[:2]
        if self.shrink < 1:
            area = max(8, round(width * self.shrink)), max(8, round(height * self.shrink))
            linear = cv2.resize(linear, area, interpolation=cv2.INTER_AREA)
            linear = cv2.resize(linear, (width, height), interpolation=cv2.INTER_LINEAR)
        picture = _display(linear)
        if self.style == "pencil":
            picture = _pencil(picture, lines * self.ink)
        elif self.style == "oil":
            picture = _oil(picture)
        elif self.style in ("cel", "flat"):
            picture *= 1 - self.ink * lines[..., None]
        picture = cv2.pow(np.maximum(cv2.transform(picture, self.mix), 0), self.gamma)
        picture = self._optics(picture * np.float32(1 - self.lift) + np.float32(self.lift))
        out = cv2.convertScaleAbs(np.maximum(picture + grain, 0), alpha=255)
        if self.quality:
            _, coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            out = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
        return out

    def _optics(self, picture: np.ndarray) -> np.ndarray:
        if self.blur > 0.3:
            picture = cv2.GaussianBlur(picture, (0, 0), self.blur)
        length = float(np.hypot(*self.smear))
        if length > 0.5:
            kernel = np.zeros((9, 9), np.float32)
            way = np.clip(np.array(self.smear) * 8, -60, 60).astype(int)
            start, end = (int(64 - way[0]), int(64 - way[1])), (int(64 + way[0]), int(64 + way[1]))
            cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_AA, 4)
            picture = cv2.filter2D(picture, -1, kernel / kernel.sum())
        return picture


def stylise(pictures: np.ndarray, style: str, strength: float) -> np.ndarray:
    """Pictures uint8 [f, h, w, 3] drawn in one of FILTERS; strength in [0, 1] is its coarseness.

    The same pixels give the same picture, so a pair differs afterwards where it did before.
    """
    drawn = [FILTERS[style](one.astype(np.float32) / 255, strength) for one in pictures]
    return np.round(np.clip(np.stack(drawn), 0, 1) * 255).astype(np.uint8)


def _ink_lines(picture: np.ndarray, width: float) -> np.ndarray:
    """Dark lines where the picture turns darker than its surroundings, [h, w] in [0, 1]."""
    grey = cv2.GaussianBlur(picture.mean(-1), (0, 0), width)
    wide = cv2.GaussianBlur(grey, (0, 0), 1.6 * width + 0.5)
    return np.clip((wide - grey) * 18 - 0.1, 0, 1)


def _smooth_regions(picture: np.ndarray, strength: float) -> np.ndarray:
    levels = 0.08 + 0.1 * strength
    for _ in range(2):
        picture = cv2.bilateralFilter(picture, 7, levels, 3)
    return picture


def _watercolour(picture: np.ndarray, strength: float) -> np.ndarray:
    """Soft washes on white paper with darker rims."""
    wash = cv2.GaussianBlur(_smooth_regions(picture, strength), (0, 0), 1 + strength)
    rim = _ink_lines(wash, 1.2)[..., None]
    return (1 - (1 - wash) * (0.85 - 0.2 * strength)) * (1 - 0.35 * rim)


def _pixel(picture: np.ndarray, strength: float) -> np.ndarray:
    """Large square pixels of few colours."""
    height, width = picture.shape[:2]
    cells = round(width / (2 + 2 * strength))
    small = cv2.resize(
        picture, (cells, round(cells * height / width)), interpolation=cv2.INTER_AREA
    )
    levels = 7 - 2 * strength
    small = np.round(small * levels) / np.float32(levels)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def _comic(picture: np.ndarray, strength: float) -> np.ndarray:
    """Few steps of brightness, strong colours, black lines."""
    calm = _smooth_regions(picture, strength)
    value = calm.max(-1, keepdims=True)
    steps = 5 - 2 * strength
    flat = calm / np.maximum(value, 1e-3) * (np.round(value * steps) / steps)
    return (flat * 1.1 - 0.05) * (1 - _ink_lines(picture, 0.9)[..., None])


def _ink(picture: np.ndarray, strength: float) -> np.ndarray:
    """A line drawing: dark lines, dark areas, on white."""
    grey = cv2.GaussianBlur(picture.mean(-1), (0, 0), 0.8)
    dark = np.clip((0.3 - grey) * 8, 0, 1)
    tone = 1 - np.maximum(_ink_lines(picture, 0.8 + 0.4 * strength), dark)
    return np.repeat(tone[..., None], 3, -1).astype(np.float32)


def _pastel(picture: np.ndarray, strength: float) -> np.ndarray:
    """Pale chalk with a paper's grain."""
    height, width = picture.shape[:2]
    grain = np.random.default_rng(0).standard_normal((height, width, 1), np.float32)
    pale = 0.35 + 0.6 * _smooth_regions(picture, strength)
    return pale + 0.05 * (0.4 + strength) * grain


def _toon(picture: np.ndarray, strength: float) -> np.ndarray:
    """A 3D cartoon: skin without pores, strong colours, more light."""
    calm = cv2.GaussianBlur(_smooth_regions(picture, 1.0), (0, 0), 0.5 + 0.5 * strength)
    grey = calm.mean(-1, keepdims=True)
    return np.maximum(grey + (calm - grey) * (1.3 + 0.5 * strength), 0) ** 0.85


def _anime(picture: np.ndarray, strength: float) -> np.ndarray:
    """Cel shading: clear light colour, one step to the shade, thin brown lines."""
    calm = _smooth_regions(_smooth_regions(picture, 1.0), strength)
    value = calm.max(-1, keepdims=True)
    # Each step is a tanh wide enough not to flicker from frame to frame.
    steps = sum(np.tanh((value - edge) * 25) for edge in (0.22, 0.55)) / 4 + 0.5
    shade = 0.14 + (0.72 - 0.1 * strength) * steps + 0.22 * value
    grey = calm.mean(-1, keepdims=True)
    hue = np.clip(grey + (calm - grey) * 1.5, 0, 1) / np.maximum(value, 0.08)
    line = _ink_lines(calm, 0.6 + 0.3 * strength)[..., None] * 0.85
    return (hue * shade) * (1 - line) + _BROWN * line


def _engraving(picture: np.ndarray, strength: float) -> np.ndarray:
    """A woodcut's parallel lines, dark blue on cream: the darker, the wider; crossed in shade."""
    grey = cv2.GaussianBlur(picture.mean(-1), (0, 0), 0.8)
    wide = cv2.GaussianBlur(grey, (0, 0), picture.shape[0] / 24)
    tone = np.clip(0.5 * grey + 0.45 * grey / (wide + 0.05), 0, 1)
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    turn = 2 * np.pi / (3.2 + 1.6 * strength)
    along = 0.5 + 0.5 * np.cos(turn * (0.34 * x + 0.94 * y))
    across = 0.5 + 0.5 * np.cos(turn * (0.94 * x - 0.34 * y))
    first = np.clip((along - tone * 1.15) * 5 + 0.5, 0, 1)
    second = np.clip((across - tone * 2.2) * 5 + 0.5, 0, 1)
    dark = np.maximum(np.maximum(first, second), _ink_lines(picture, 0.7))[..., None]
    return _CREAM * (1 - dark) + _BLUE * dark


FILTERS = {
    "oil": lambda picture, strength: _oil(picture),
    "pencil": lambda picture, strength: _pencil(picture, _ink_lines(picture, 0.8)),
    "watercolour": _watercolour,
    "pixel": _pixel,
    "comic": _comic,
    "ink": _ink,
    "pastel": _pastel,
    "toon": _toon,
    "anime": _anime,
    "engraving": _engraving,
}
"""Ten manners that any picture can be drawn in."""


def _display(linear: np.ndarray) -> np.ndarray:
    """Linear light >= 0 -> display values in [0, 1) with a soft shoulder above 0.8."""
    over = np.maximum(linear - np.float32(0.8), 0)
    return np.sqrt(linear - over * (over / (over + np.float32(0.2))))


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
            shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
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
